//! The rules of `tail.rs`, case by case and, by `model`, in every order.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::file::open::{Framing, READ_BYTES};

pub const FOLLOW: ReadOptions = ReadOptions {
    line_bytes_max: 1_000_000,
    skip_bad: false,
    until_end: false,
    start_at_end: false,
    unpack: true,
    framing: Framing::Lines,
};

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// All lines at hand.
fn drain(tail: &mut Tail) -> Vec<String> {
    let mut lines = Vec::new();
    let mut take = |line: Piece<'_>| {
        lines.push(String::from_utf8_lossy(line.bytes).into_owned());
        Taken::More
    };
    while tail.fill(&mut take).unwrap() == Filled::More {}
    lines
}

struct Fixture {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        Fixture { path: dir.path().join("app.log"), _dir: dir }
    }

    fn tail(&self, options: ReadOptions, resume: Option<Position>) -> Tail {
        Tail::new(self.path.clone(), options, resume)
    }

    fn rotated(&self) -> PathBuf {
        self.path.with_extension("log.1")
    }
}

#[test]
fn a_missing_file_is_waited_for_but_not_when_reading_to_the_end() {
    let fixture = Fixture::new();
    let mut tail = fixture.tail(FOLLOW, None);
    assert_eq!(tail.fill(|_| Taken::More).unwrap(), Filled::Drained);
    append(&fixture.path, "a\n");
    assert_eq!(drain(&mut tail), ["a"]);
    fs::remove_file(&fixture.path).unwrap();
    let mut tail = fixture.tail(ReadOptions { until_end: true, ..FOLLOW }, None);
    assert!(matches!(tail.fill(|_| Taken::More), Err(TailError::Missing { .. })));
}

#[test]
fn a_partial_line_is_held_back_until_its_newline_comes() {
    let fixture = Fixture::new();
    let mut tail = fixture.tail(FOLLOW, None);
    append(&fixture.path, "a\r\nb\r");
    assert_eq!(drain(&mut tail), ["a"]);
    append(&fixture.path, "\n\nc");
    assert_eq!(drain(&mut tail), ["b", ""]);
    assert_eq!(tail.position().unwrap().bytes, 7);
    assert_eq!(tail.remaining_bytes(), 1);
}

#[test]
fn at_the_end_a_line_needs_no_newline_and_a_late_one_makes_no_line() {
    let fixture = Fixture::new();
    let until_end = ReadOptions { until_end: true, ..FOLLOW };
    append(&fixture.path, "a\nb");
    let mut tail = fixture.tail(until_end, None);
    assert_eq!(drain(&mut tail), ["a", "b"]);
    assert_eq!(tail.fill(|_| Taken::More).unwrap(), Filled::End);
    let position = tail.position().unwrap();
    append(&fixture.path, "\nc\n");
    assert_eq!(drain(&mut fixture.tail(until_end, Some(position.clone()))), ["c"]);
    fs::write(&fixture.path, "a\nbb\n").unwrap();
    assert_eq!(drain(&mut fixture.tail(FOLLOW, Some(position))), ["b"]);
}

#[test]
fn a_file_emptied_and_rewritten_longer_is_read_from_its_start() {
    let fixture = Fixture::new();
    append(&fixture.path, "old 1\nold 2\npart");
    let mut tail = fixture.tail(FOLLOW, None);
    assert_eq!(drain(&mut tail), ["old 1", "old 2"]);
    fs::write(&fixture.path, "new 1\nnew 2\nnew 3\nnew 4\n").unwrap();
    assert_eq!(drain(&mut tail), ["new 1", "new 2", "new 3", "new 4"]);
}

#[test]
fn a_rotated_file_is_read_to_its_end_before_the_new_one() {
    let fixture = Fixture::new();
    append(&fixture.path, "1\n");
    let mut tail = fixture.tail(FOLLOW, None);
    assert_eq!(drain(&mut tail), ["1"]);
    fs::rename(&fixture.path, fixture.rotated()).unwrap();
    fs::write(&fixture.path, "").unwrap();
    // The writer still holds the old file.
    append(&fixture.rotated(), "2\n");
    assert_eq!(drain(&mut tail), ["2"]);
    append(&fixture.rotated(), "3\n4");
    append(&fixture.path, "5\n");
    assert_eq!(drain(&mut tail), ["3", "4", "5"]);
}

#[test]
fn a_file_rotated_meanwhile_is_found_again() {
    let fixture = Fixture::new();
    append(&fixture.path, "1\n2\n");
    let mut tail = fixture.tail(FOLLOW, None);
    let mut first = Vec::new();
    tail.fill(|line| {
        first.push(line.bytes.to_vec());
        Taken::Enough
    })
    .unwrap();
    assert_eq!(first, [b"1"]);
    let position = tail.position();
    drop(tail);
    append(&fixture.path, "3\n");
    fs::rename(&fixture.path, fixture.rotated()).unwrap();
    append(&fixture.path, "4\n");
    assert_eq!(drain(&mut fixture.tail(FOLLOW, position)), ["2", "3", "4"]);
}

#[test]
fn a_replaced_file_or_an_offset_beyond_the_end_means_from_the_start() {
    let fixture = Fixture::new();
    append(&fixture.path, "1\n2\n");
    let mut tail = fixture.tail(FOLLOW, None);
    drain(&mut tail);
    let position = tail.position();
    append(&fixture.rotated(), "one\ntwo\nthree\n");
    fs::rename(fixture.rotated(), &fixture.path).unwrap();
    assert_eq!(drain(&mut fixture.tail(FOLLOW, position)), ["one", "two", "three"]);
    let beyond = Position { bytes: 1000, ..Position::default() };
    assert_eq!(drain(&mut fixture.tail(FOLLOW, Some(beyond))).len(), 3);
    let connects_own = Position { bytes: 4, ..Position::default() };
    assert_eq!(drain(&mut fixture.tail(FOLLOW, Some(connects_own))), ["two", "three"]);
}

#[test]
fn a_line_too_long_is_an_error_that_names_it_or_is_skipped_in_bounded_memory() {
    let fixture = Fixture::new();
    let mut file = File::create(&fixture.path).unwrap();
    file.write_all(b"before\n").unwrap();
    for _ in 0..50 {
        file.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    file.write_all(b"\nafter\n").unwrap();
    let mut lines = Vec::new();
    let mut tail = fixture.tail(FOLLOW, None);
    let mut take = |line: Piece<'_>| {
        lines.push(line.bytes.len());
        Taken::More
    };
    let error = loop {
        match tail.fill(&mut take) {
            Ok(filled) => assert_eq!(filled, Filled::More),
            Err(error) => break error,
        }
    };
    let message = error.to_string().replace(fixture.path.to_str().unwrap(), "app.log");
    expect_test::expect![[r#"app.log: the line that begins at byte 7 is 52428800 bytes long, more than line.bytes.max = 1000000; raise it (and the topic's max.message.bytes), or skip such lines with errors.tolerance = all"#]]
        .assert_eq(&message);
    assert_eq!(lines, [6]);
    assert_eq!(tail.position().unwrap().bytes, 7);

    let mut tail = fixture.tail(ReadOptions { skip_bad: true, ..FOLLOW }, None);
    assert_eq!(drain(&mut tail), ["before", "after"]);
    let open = tail.current.as_ref().unwrap();
    assert!(open.buffer.capacity() <= 2 * (1_000_000 + READ_BYTES), "{}", open.buffer.capacity());
    let bytes = fs::metadata(&fixture.path).unwrap().len();
    assert_eq!(tail.take_counts(), Counts { bytes, skipped: 1 });
}

#[test]
fn a_line_may_be_as_long_as_the_limit_its_end_not_counted() {
    let fixture = Fixture::new();
    let options = ReadOptions { line_bytes_max: 3, ..FOLLOW };
    append(&fixture.path, "abc\nabc\r\nabc\r");
    let mut tail = fixture.tail(options, None);
    assert_eq!(drain(&mut tail), ["abc", "abc"]);
    append(&fixture.path, "\nabcd\n");
    let mut lines = 0;
    let result = tail.fill(|_| {
        lines += 1;
        Taken::More
    });
    assert!(matches!(result, Err(TailError::LineTooLong { position: 14, length: 4, .. })));
    assert_eq!(lines, 1);
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let fixture = Fixture::new();
    fs::create_dir(&fixture.path).unwrap();
    let mut tail = fixture.tail(FOLLOW, None);
    assert!(matches!(tail.fill(|_| Taken::More), Err(TailError::NotAFile { .. })));
}

#[test]
fn invalid_utf8_passes_as_it_is() {
    let fixture = Fixture::new();
    fs::write(&fixture.path, b"\xff\xfe\0\n").unwrap();
    let mut lines = Vec::new();
    let take = |line: Piece<'_>| {
        lines.push(line.bytes.to_vec());
        Taken::More
    };
    fixture.tail(FOLLOW, None).fill(take).unwrap();
    assert_eq!(lines, [b"\xff\xfe\0"]);
}

/// A logger that rotates: it goes on writing to the renamed file for a while, then opens a new
/// one. Each file is begun only after the tail has seen the one before it.
#[test]
fn a_writer_that_rotates_meanwhile_loses_no_line() {
    const ROTATIONS: usize = 300;
    let fixture = Fixture::new();
    let delivered = AtomicUsize::new(0);
    let lines = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            for rotation in 0..ROTATIONS {
                let mut file = File::create_new(&fixture.path).unwrap();
                let mut write = |lines: usize| {
                    for _ in 0..lines {
                        writeln!(file, "{written}").unwrap();
                        written += 1;
                    }
                    written
                };
                let first = write(1);
                let begin = Instant::now();
                while delivered.load(Ordering::Acquire) < first {
                    assert!(begin.elapsed() < Duration::from_secs(30), "a line was lost");
                    std::thread::yield_now();
                }
                write(rotation % 7);
                let to = fixture.path.with_extension(rotation.to_string());
                fs::rename(&fixture.path, to).unwrap();
                write(rotation % 5);
            }
            written
        });
        let mut tail = fixture.tail(FOLLOW, None);
        let mut lines = Vec::new();
        while !writer.is_finished() {
            lines.extend(drain(&mut tail));
            delivered.store(lines.len(), Ordering::Release);
        }
        lines.extend(drain(&mut tail));
        assert_eq!(lines.len(), writer.join().unwrap());
        lines
    });
    let expected: Vec<_> = (0..lines.len()).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);
}

mod model;
