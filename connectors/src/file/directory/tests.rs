//! The rules of `directory.rs`, case by case and, by `model`, in every order.

use std::fs;
use std::io::Write as _;

use super::*;
use crate::file::csv::Dialect;
use crate::file::encoding::Encoding;
use crate::file::open::Framing;

const FOLLOW: ReadOptions = ReadOptions {
    line_bytes_max: 1_000_000,
    skip_bad: false,
    until_end: false,
    start_at_end: false,
    unpack: true,
    framing: Framing::Lines,
};

type Stored = BTreeMap<SourcePartition, Known>;

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// As `gzip` and `zstd --rm` do it, but at once.
fn compress(path: &Path, with_zstd: bool) -> PathBuf {
    let bytes = fs::read(path).unwrap();
    let (packed, ending) = if with_zstd { (zstd(&bytes), "zst") } else { (gzip(&bytes), "gz") };
    let to = PathBuf::from(format!("{}.{ending}", path.display()));
    fs::write(&to, packed).unwrap();
    fs::remove_file(path).unwrap();
    to
}

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open_with(&self, options: ReadOptions, stored: &Stored, begun: bool) -> Directory {
        self.open_share(options, stored, begun, Share::All)
    }

    fn open_share(
        &self,
        options: ReadOptions,
        stored: &Stored,
        begun: bool,
        share: Share,
    ) -> Directory {
        let pattern = Pattern::new(&self.path("*")).unwrap().unwrap();
        let mut directory = Directory::new(pattern, options, stored.clone(), begun, share);
        directory.copying = Duration::ZERO;
        directory
    }

    fn open(&self) -> Directory {
        self.open_with(FOLLOW, &Stored::new(), false)
    }
}

fn try_drain(directory: &mut Directory) -> Result<Vec<String>, TailError> {
    let mut lines = Vec::new();
    let mut take = |line: Piece<'_>| {
        lines.push(String::from_utf8_lossy(line.bytes).into_owned());
        Taken::More
    };
    directory.look_again();
    while directory.fill(&mut take)? == Filled::More {}
    Ok(lines)
}

fn drain(directory: &mut Directory) -> Vec<String> {
    try_drain(directory).unwrap()
}

fn store(directory: &mut Directory, stored: &mut Stored) {
    for (partition, known) in directory.take_changed() {
        match known {
            Some(known) => drop(stored.insert(partition, known)),
            None => drop(stored.remove(&partition)),
        }
    }
}

#[test]
fn files_are_read_oldest_first_and_new_ones_found() {
    let fixture = Fixture::new();
    append(&fixture.path("app.log.2"), "1\n2\n");
    compress(&fixture.path("app.log.2"), false);
    append(&fixture.path("app.log.1"), "3\n4");
    append(&fixture.path("app.log"), "5\n");
    let now = SystemTime::now();
    for (age, name) in ["app.log", "app.log.1", "app.log.2.gz"].into_iter().enumerate() {
        let file = fs::File::options().write(true).open(fixture.path(name)).unwrap();
        file.set_modified(now - Duration::from_secs(age as u64 * 10)).unwrap();
    }
    let mut directory = fixture.open();
    assert_eq!(drain(&mut directory), ["1", "2", "3", "4", "5"]);
    append(&fixture.path("other.log"), "a\n");
    append(&fixture.path("app.log"), "6\n");
    let mut lines = drain(&mut directory);
    lines.sort();
    assert_eq!(lines, ["6", "a"]);
    let mut stored = Stored::new();
    store(&mut directory, &mut stored);
    assert_eq!(stored.len(), 4);
    append(&fixture.path("other.log"), "b\n");
    assert_eq!(drain(&mut fixture.open_with(FOLLOW, &stored, true)), ["b"]);
}

#[test]
fn a_rotated_file_that_is_compressed_is_not_read_twice() {
    for with_zstd in [false, true] {
        let fixture = Fixture::new();
        let mut directory = fixture.open();
        append(&fixture.path("app.log"), "1\n2\n");
        assert_eq!(drain(&mut directory), ["1", "2"]);
        fs::rename(fixture.path("app.log"), fixture.path("app.log.1")).unwrap();
        append(&fixture.path("app.log"), "3\n");
        assert_eq!(drain(&mut directory), ["3"]);
        let mut stored = Stored::new();
        store(&mut directory, &mut stored);
        compress(&fixture.path("app.log.1"), with_zstd);
        assert_eq!(drain(&mut directory), [] as [&str; 0]);
        let mut again = fixture.open_with(FOLLOW, &stored, true);
        assert_eq!(drain(&mut again), [] as [&str; 0]);
        store(&mut again, &mut stored);
        assert_eq!(drain(&mut fixture.open_with(FOLLOW, &stored, true)), [] as [&str; 0]);
    }
}

#[test]
fn what_was_not_read_before_it_was_compressed_is_read_then() {
    let fixture = Fixture::new();
    let mut directory = fixture.open();
    append(&fixture.path("app.log"), "1\n2\n");
    drain(&mut directory);
    let mut stored = Stored::new();
    store(&mut directory, &mut stored);
    drop(directory);
    append(&fixture.path("app.log"), "3\n4");
    fs::rename(fixture.path("app.log"), fixture.path("app.log.1")).unwrap();
    compress(&fixture.path("app.log.1"), false);
    let mut directory = fixture.open_with(FOLLOW, &stored, true);
    assert_eq!(drain(&mut directory), ["3", "4"]);
}

#[test]
fn a_compressed_file_is_resumed_by_the_byte_of_its_text() {
    let fixture = Fixture::new();
    let text: String = (0..100_000).map(|number| format!("line {number}\n")).collect();
    fs::write(fixture.path("a.txt.gz"), gzip(text.as_bytes())).unwrap();
    let (mut stored, mut lines) = (Stored::new(), Vec::new());
    let mut again = true;
    while again {
        let mut directory = fixture.open_with(FOLLOW, &stored, true);
        let mut left = 30_000;
        let take = |line: Piece<'_>| {
            lines.push(String::from_utf8_lossy(line.bytes).into_owned());
            left -= 1;
            if left > 0 { Taken::More } else { Taken::Enough }
        };
        again = directory.fill(take).unwrap() == Filled::More;
        store(&mut directory, &mut stored);
    }
    assert_eq!(lines.len(), 100_000);
    assert_eq!(lines.join("\n") + "\n", text);
}

#[test]
fn a_compressed_file_that_is_being_written_is_waited_for() {
    for name in ["app.log.1.gz", "app.log.1.gz.tmp"] {
        written_piece_by_piece(name);
    }
}

fn written_piece_by_piece(name: &str) {
    let fixture = Fixture::new();
    let mut directory = fixture.open();
    directory.copying = COPYING;
    let text: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    append(&fixture.path("app.log"), &text);
    assert_eq!(drain(&mut directory).len(), 20_000);
    fs::rename(fixture.path("app.log"), fixture.path("app.log.1")).unwrap();
    let packed = gzip(text.as_bytes());
    for part in packed.chunks(packed.len() / 3) {
        let mut options = fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(fixture.path(name)).unwrap();
        file.write_all(part).unwrap();
        assert_eq!(drain(&mut directory), [] as [&str; 0]);
    }
    if name != "app.log.1.gz" {
        fs::rename(fixture.path(name), fixture.path("app.log.1.gz")).unwrap();
    }
    fs::remove_file(fixture.path("app.log.1")).unwrap();
    assert_eq!(drain(&mut directory), [] as [&str; 0]);
    // A second part behind the first, as `cat` would put it.
    let mut file = fs::OpenOptions::new().append(true).open(fixture.path("app.log.1.gz")).unwrap();
    file.write_all(&gzip(b"more\n")).unwrap();
    let mut stored = Stored::new();
    store(&mut directory, &mut stored);
    assert_eq!(drain(&mut fixture.open_with(FOLLOW, &stored, true)), ["more"]);
}

#[test]
fn a_file_cut_within_its_compressed_data_is_an_error_at_the_end() {
    let fixture = Fixture::new();
    let packed = gzip("line\n".repeat(1000).as_bytes());
    fs::write(fixture.path("a.gz"), &packed[..packed.len() - 4]).unwrap();
    let until_end = ReadOptions { until_end: true, ..FOLLOW };
    let mut directory = fixture.open_with(until_end, &Stored::new(), false);
    assert!(matches!(try_drain(&mut directory), Err(TailError::Cut { .. })));
}

#[test]
fn a_copy_made_before_emptying_continues_what_was_read() {
    let fixture = Fixture::new();
    let mut directory = fixture.open();
    append(&fixture.path("app.log"), "1\n2\n");
    assert_eq!(drain(&mut directory), ["1", "2"]);
    append(&fixture.path("app.log"), "3\n");
    fs::copy(fixture.path("app.log"), fixture.path("app.log.1")).unwrap();
    fs::write(fixture.path("app.log"), "4\n").unwrap();
    assert_eq!(drain(&mut directory), ["3", "4"]);
}

#[test]
fn files_alike_are_copies_only_by_their_names() {
    let fixture = Fixture::new();
    for name in ["a.csv", "b.csv"] {
        append(&fixture.path(name), "same\n");
    }
    let mut directory = fixture.open();
    assert_eq!(drain(&mut directory), ["same", "same"]);
    // A log that begins anew with the same line is no copy of the one before.
    fs::rename(fixture.path("a.csv"), fixture.path("a.csv.1")).unwrap();
    append(&fixture.path("a.csv"), "same\n");
    assert_eq!(drain(&mut directory), ["same"]);
}

#[test]
fn what_was_there_before_is_passed_over_if_asked() {
    let fixture = Fixture::new();
    let at_end = ReadOptions { start_at_end: true, ..FOLLOW };
    append(&fixture.path("app.log"), "old\nol");
    let mut directory = fixture.open_with(at_end, &Stored::new(), false);
    assert_eq!(drain(&mut directory), [] as [&str; 0]);
    assert!(directory.take_begun());
    append(&fixture.path("app.log"), "d\nnew\n");
    append(&fixture.path("b.log"), "b\n");
    let mut lines = drain(&mut directory);
    lines.sort();
    assert_eq!(lines, ["b", "new", "old"]);
    let mut stored = Stored::new();
    store(&mut directory, &mut stored);
    append(&fixture.path("c.log"), "c\n");
    fs::rename(fixture.path("app.log"), fixture.path("app.log.1")).unwrap();
    compress(&fixture.path("app.log.1"), false);
    assert_eq!(drain(&mut fixture.open_with(at_end, &stored, true)), ["c"]);
}

#[test]
fn a_file_that_is_deleted_is_read_to_its_end() {
    let fixture = Fixture::new();
    let mut directory = fixture.open();
    append(&fixture.path("app.log"), "1\n");
    assert_eq!(drain(&mut directory), ["1"]);
    append(&fixture.path("app.log"), "2\n3");
    fs::remove_file(fixture.path("app.log")).unwrap();
    assert_eq!(drain(&mut directory), ["2", "3"]);
    assert!(directory.texts[0].open.is_none());
}

#[test]
fn rows_of_csv_may_span_lines_and_bad_ones_are_skipped_or_an_error() {
    let fixture = Fixture::new();
    let rows = Dialect { delimiter: b',', header: true, encoding: Encoding::UTF_8 };
    let csv = ReadOptions { framing: Framing::Csv(rows), ..FOLLOW };
    append(&fixture.path("a.csv"), "id,text\r\n1,\"one\nline\"\r\n2\r\n3,three\r\n");
    let rows = |directory: &mut Directory| {
        let mut rows = Vec::new();
        let mut take = |piece: Piece<'_>| match piece.columns.unwrap().row(piece.bytes) {
            Ok(row) => {
                rows.push(format!("{:?}", row.value));
                Taken::More
            }
            Err(reason) => Taken::Refused(reason),
        };
        directory.look_again();
        let result = loop {
            match directory.fill(&mut take) {
                Ok(Filled::More) => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        (rows.len(), result)
    };
    let mut directory = fixture.open_with(csv, &Stored::new(), false);
    let (count, result) = rows(&mut directory);
    let error = result.unwrap_err().to_string();
    assert_eq!(count, 1);
    assert!(
        error.ends_with(
            "a.csv: the record that begins at byte 23 is malformed: 1 fields where the first row \
             has 2; mend it, or skip such records with errors.tolerance = all"
        ),
        "{error}"
    );
    let mut stored = Stored::new();
    store(&mut directory, &mut stored);
    let tolerant = ReadOptions { skip_bad: true, ..csv };
    let mut directory = fixture.open_with(tolerant, &stored, true);
    assert_eq!(rows(&mut directory).0, 1);
    assert_eq!(directory.take_counts().skipped, 1);
    // A quote that is never closed takes no more than its own line with it.
    append(&fixture.path("a.csv"), &format!("4,\"open\n{}", "5,five\n".repeat(100)));
    let short = ReadOptions { line_bytes_max: 100, ..tolerant };
    store(&mut directory, &mut stored);
    let mut directory = fixture.open_with(short, &stored, true);
    assert_eq!(rows(&mut directory).0, 100);
}

mod model;
