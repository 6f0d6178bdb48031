//! Damaged files of a log that was compacted and closed in order: whatever is asked of it then has
//! the same answer as before, or is refused; never another.
//!
//! `MILLSTREAM_ROUNDS=1000000` damages every byte of every file, which takes a while.

use super::*;

/// How many bytes of a file are damaged in an ordinary run.
const ROUNDS: usize = 7;

/// Which bytes of a range are damaged: its ends and some between, spread evenly.
fn damaged_bytes(range: std::ops::Range<usize>) -> impl Iterator<Item = usize> {
    let given = std::env::var("MILLSTREAM_ROUNDS").ok();
    let rounds = given.map_or(ROUNDS, |text| text.parse().expect("MILLSTREAM_ROUNDS is a number"));
    let step = range.len().div_ceil(rounds).max(1);
    range.clone().step_by(step).chain(range.last().filter(|_| step > 1))
}

/// A disk with a log that was compacted in part, with transactions of both ends in all of it.
fn closed_log() -> (SimulatedDisk, Model) {
    let mut subject = Subject::new(SimulatedDisk::default()).unwrap();
    let mut steps = scripted(7);
    for round in 0..8u8 {
        let keys = vec![(round % KEYS, false), (3, false)];
        steps.push(Step::Append { keys: keys.clone(), producer: 3, codec: 0 });
        steps.push(Step::Append { keys, producer: 1, codec: 0 });
        steps.push(Step::End { producer: 3, commit: round % 2 == 0 });
    }
    steps.push(Step::Flush);
    steps.iter().for_each(|step| subject.take(step).unwrap());
    subject.check();
    subject.log.close().unwrap();
    (subject.disk, subject.model)
}

/// What a log answers to whatever it can be asked.
#[derive(Debug, PartialEq, Eq)]
struct Answers {
    /// From each offset: where reading goes on, and the committed records until there.
    from: Vec<(Offset, Vec<i64>)>,
    /// Where each moment's first record is.
    at: Vec<Option<Offset>>,
    latest: Option<Offset>,
    producers: Vec<ProducerDescription>,
}

fn answers(log: &Partition) -> Result<Answers, ReadError> {
    let visible = log.visible();
    let mut from = Vec::new();
    for offset in visible.log_start.0..visible.high_watermark.0 {
        log.positions.clear();
        let slice = log.read(Offset(offset), read_options(Isolation::ReadCommitted, 250))?;
        let mut committed = Vec::new();
        for batch in RecordBatch::split_all(slice.records).unwrap() {
            let is_aborted = slice.aborted.iter().any(|aborted| {
                aborted.producer_id == batch.producer_id()
                    && (aborted.first_offset..=aborted.last_offset).contains(&batch.base_offset())
            });
            let hidden = batch.is_control() || batch.is_transactional() && is_aborted;
            if !hidden {
                let records = batch.records().unwrap();
                committed.extend(records.iter().map(|record| record.unwrap().offset.0));
            }
        }
        from.push((slice.next_offset, committed));
    }
    let find = |offset| log.offset_at_timestamp(NOW_MS + offset, Isolation::ReadUncommitted);
    let at = (-1..visible.high_watermark.0 + 1)
        .map(|offset| Ok(find(offset)?.map(|found| found.offset)))
        .collect::<Result<_, ReadError>>()?;
    let latest = log.max_timestamp()?.map(|found| found.offset);
    // A snapshot has the time of the last batch, the log that of a marker after it.
    let producers = log.producers().into_iter();
    let producers = producers.map(|one| ProducerDescription { last_timestamp_ms: 0, ..one });
    Ok(Answers { from, at, latest, producers: producers.collect() })
}

fn paths(disk: &SimulatedDisk, extension: &str) -> Vec<PathBuf> {
    let dir = dir().join("t-0");
    let mut names = disk.list(&dir).unwrap();
    names.retain(|name| name.ends_with(extension));
    names.sort();
    names.into_iter().map(|name| dir.join(name)).collect()
}

#[test]
fn a_damaged_index_or_snapshot_changes_no_answer() {
    let (disk, _) = closed_log();
    let expected = answers(&open_on(&disk.copy()).unwrap()).unwrap();
    let aborted = |path: &PathBuf| !disk.contents(path).is_empty();
    assert!(paths(&disk, ".txnindex").iter().any(aborted), "some transactions were aborted");
    let check = |disk: SimulatedDisk, what: String| {
        let log = open_on(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = answers(&log).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(found, expected, "{what}");
        disk
    };
    for extension in [".index", ".timeindex", ".txnindex", ".snapshot", "index-checksums"] {
        let mut damages = 0;
        for path in paths(&disk, extension) {
            let whole = disk.contents(&path);
            let with = |contents: Vec<u8>, what: &str| {
                let disk = disk.copy();
                disk.damage(&path, contents);
                check(disk, format!("{} {what}", path.display()))
            };
            for at in damaged_bytes(0..whole.len()) {
                with(whole[..at].to_vec(), &format!("cut at {at}"));
                let mut flipped = whole.clone();
                flipped[at] ^= 1 << (at % 8);
                with(flipped, &format!("flipped at {at}"));
                damages += 2;
            }
            for more in [1, 8, 12, 34] {
                with([&whole[..], &vec![0xff; more]].concat(), &format!("with {more} more"));
            }
            let disk = disk.copy();
            disk.remove_file(&path).unwrap();
            check(disk, format!("{} is gone", path.display()));
        }
        assert!(damages > 0, "there is no {extension}");
    }
}

#[test]
fn damaged_indexes_are_rebuilt_for_good() {
    let (disk, _) = closed_log();
    let path = paths(&disk, ".index").remove(0);
    let whole = disk.contents(&path);
    disk.damage(&path, vec![0xff; 16]);
    let log = open_on(&disk).unwrap();
    answers(&log).unwrap();
    log.enforce_retention(NOW_MS).unwrap();
    assert_ne!(disk.contents(&path), vec![0xff; 16], "{} bytes once", whole.len());
    log.close().unwrap();
    let log = open_on(&disk).unwrap();
    assert_eq!(log.recovery_report(), None);
    log.read(Offset(0), read_options(Isolation::ReadCommitted, 250)).unwrap();
    assert!(!log.segments()[0].awaits_indexes(), "what was rebuilt is believed");
}

/// A checkpoint that could not be read kept the whole broker from starting. Where synced records
/// end was not known without it, and in a compacted log each gap would have looked like the place.
#[test]
fn a_damaged_checkpoint_or_list_of_epochs_changes_no_answer() {
    let (disk, _) = closed_log();
    let expected = answers(&open_on(&disk.copy()).unwrap()).unwrap();
    for name in ["log-checkpoint", "leader-epoch-checkpoint"] {
        let path = dir().join("t-0").join(name);
        assert!(!disk.contents(&path).is_empty());
        for damage in ["", "\0\0\0\0\0\0\0\0", "1\n", "0\nrecovery far\n"] {
            let disk = disk.copy();
            disk.damage(&path, damage.into());
            let log = open_on(&disk).unwrap();
            assert_eq!(answers(&log).unwrap(), expected, "{name} is {damage:?}");
            append(&log, numbered(0, 1, ProducerStamp::NONE));
            drop(log);
            let log = open_on(&disk.after_kill()).unwrap();
            assert_eq!(log.recovery_report().unwrap().cuts, [], "{name} was {damage:?}");
        }
        let disk = disk.copy();
        disk.remove_file(&path).unwrap();
        assert_eq!(answers(&open_on(&disk).unwrap()).unwrap(), expected, "{name} is gone");
    }
}

/// Without the producers' state at its beginning, nobody can say which transactions a segment's
/// markers end.
#[test]
fn what_cannot_be_rebuilt_is_refused_and_a_restart_heals_it() {
    let (disk, _) = closed_log();
    let expected = answers(&open_on(&disk.copy()).unwrap()).unwrap();
    let with_aborted = paths(&disk, ".txnindex");
    let path = with_aborted.iter().rfind(|path| !disk.contents(path).is_empty()).unwrap();
    disk.damage(path, Vec::new());
    disk.damage(&path.with_extension("snapshot"), b"no snapshot".to_vec());
    let error = answers(&open_on(&disk).unwrap()).unwrap_err();
    assert_eq!(error.code(), 56);
    let index = path.with_extension("index");
    assert!(error.to_string().contains(&format!("delete {}", index.display())), "{error}");
    disk.remove_file(&index).unwrap();
    assert_eq!(answers(&open_on(&disk).unwrap()).unwrap(), expected);
}

/// As [`crashes::every_byte_of_the_last_batch_is_cut_and_flipped`], but of a segment that
/// compaction has written, which recovery reads only if it lacks an index.
#[test]
fn every_byte_of_the_last_compacted_batch_is_cut_and_flipped() {
    let (disk, model) = closed_log();
    let log = open_on(&disk.copy()).unwrap();
    let all = read_all(&log, Isolation::ReadUncommitted);
    let cleaned = log.writer().cleaned;
    let segments = log.segments();
    let pair = segments.windows(2).rfind(|pair| pair[1].base <= cleaned && pair[0].size() > 0);
    let segment = &pair.expect("some of it was compacted")[0];
    let (path, index) = (segment.path("log"), segment.path("index"));
    let whole = disk.contents(&path);
    let batches = RecordBatch::split_all(whole.clone().into()).unwrap();
    let last = batches.last().unwrap();
    assert!(model.records.iter().any(|record| record.offset < last.base_offset().0));
    let kept = whole.len() - last.size();
    let before = all.iter().filter(|found| found.offset < last.base_offset().0);
    let before: Vec<Found> = before.cloned().collect();
    let check = |damaged: Vec<u8>, what: String| {
        let disk = disk.copy();
        disk.remove_file(&index).unwrap();
        disk.damage(&path, damaged);
        let log = open_on(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = read_all(&log, Isolation::ReadUncommitted);
        assert_eq!(found, before, "what follows a cut is not served: {what}");
        let report = log.recovery_report().unwrap();
        assert_eq!(report.cuts[0].position, kept as u64, "{what}");
    };
    for at in damaged_bytes(kept + 1..whole.len()) {
        check(whole[..at].to_vec(), format!("cut at {at}"));
    }
    // The base offset lies outside of the checksum, and gaps are lawful here.
    for at in damaged_bytes(kept + 8..whole.len()) {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            check(flipped, format!("bit {bit} of byte {}", at - kept));
        }
    }
}
