//! Power cuts, kills, full and failing disks, all on the simulated one.
//!
//! A script of appends, flushes, rolls, deletions and orderly restarts runs on a disk whose power
//! goes off at one of its steps; then the log is opened on what is left. Whatever was
//! acknowledged as synced must be there, what is there must be a prefix of what was appended, and
//! indexes and producers' state must agree with the records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::simulation::SimulatedDisk;
use super::*;

/// A small generator of our own, so that a seed means the same forever.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 700, index_interval_bytes: 150, ..LogConfig::default() }
}

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

fn open_on(disk: &SimulatedDisk) -> Result<Arc<Partition>, LogOpenError> {
    Partition::open(options(Arc::new(disk.clone()), &dir(), config()))
}

/// What the log should hold.
#[derive(Clone, Debug, Default)]
struct Model {
    /// The value of every data record by offset; `None` for markers.
    records: Vec<Option<String>>,
    synced: i64,
    /// Deletion was confirmed up to here, and was asked for up to there.
    deleted: i64,
    deleted_max: i64,
    /// Next sequence, by producer id.
    sequences: BTreeMap<i64, i32>,
    open: BTreeMap<i64, bool>,
}

/// Runs the script until it ends or the power goes; leaves what was acknowledged in the model.
fn run(
    disk: &SimulatedDisk,
    model: &mut Model,
    seed: u64,
    length: usize,
) -> Option<Arc<Partition>> {
    let mut random = Random(seed);
    let mut log = open_on(disk).ok()?;
    for _ in 0..length {
        match random.below(12) {
            0..=5 => append_data(&log, model, &mut random)?,
            6 => append_end(&log, model, &mut random)?,
            7 | 8 => {
                log.flush_blocking().ok()?;
                model.synced = model.records.len() as i64;
            }
            9 => {
                let before = log.visible().high_watermark.0;
                let before = random.below(before as usize + 1) as i64;
                model.deleted_max = model.deleted_max.max(before);
                log.delete_records(Offset(before)).ok()?;
                model.deleted = model.deleted.max(before);
            }
            10 => {
                log.set_config(LogConfig { retention_bytes: Some(2_000), ..config() });
                let ends = log.visible().log_end.0;
                model.deleted_max = model.deleted_max.max(ends);
                log.enforce_retention(NOW_MS).ok()?;
            }
            _ => {
                log.close().ok()?;
                model.synced = model.records.len() as i64;
                log = open_on(disk).ok()?;
                assert!(log.recovery_report().is_none(), "closed in order");
            }
        }
    }
    Some(log)
}

fn append_data(log: &Arc<Partition>, model: &mut Model, random: &mut Random) -> Option<()> {
    let first = model.records.len() as i64;
    let count = 1 + random.below(4) as i64;
    let id = random.below(4) as i64;
    let stamp = match id {
        0 => ProducerStamp::NONE,
        _ => {
            let sequence = model.sequences.entry(id).or_default();
            let stamp = stamp(id, 0, *sequence, id > 1);
            *sequence += count as i32;
            stamp
        }
    };
    let acks = if random.below(2) == 0 { Acks::All } else { Acks::Leader };
    let batch = numbered(first, count, stamp).into_bytes();
    // Even if the power goes now, the records may be there afterwards.
    model.records.extend((first..first + count).map(|number| Some(format!("v{number}"))));
    model.open.insert(id, id > 1);
    log.append(batch, by(Origin::Admitted { from_zero: false }, acks)).ok()?;
    Some(())
}

fn append_end(log: &Arc<Partition>, model: &mut Model, random: &mut Random) -> Option<()> {
    let id = 2 + random.below(2) as i64;
    if model.open.insert(id, false) != Some(true) {
        return Some(());
    }
    let kind = if random.below(2) == 0 { ControlType::Abort } else { ControlType::Commit };
    let marker = control_batch(ProducerId(id), ProducerEpoch(0), kind, 1, NOW_MS);
    model.records.push(None);
    log.append(marker.into_bytes(), by(Origin::Coordinator, Acks::All)).ok()?;
    Some(())
}

/// Opens what is left and holds it against the model.
fn check(disk: &SimulatedDisk, model: &Model, what: &str) {
    let log = open_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let visible = log.visible();
    assert!(visible.log_end.0 >= model.synced, "{what}: {visible:?}, synced {}", model.synced);
    let end = visible.log_end.0.max(model.deleted);
    assert_eq!(visible.high_watermark, visible.log_end, "{what}: all that is left is synced");
    let start = visible.log_start.0;
    assert!((model.deleted..=model.deleted_max.max(0)).contains(&start), "{what}: {visible:?}");
    let expected: Vec<(i64, String)> = (start..end)
        .filter_map(|offset| Some((offset, model.records.get(offset as usize)?.clone()?)))
        .collect();
    let found = read_values(&log, Offset(start), Isolation::ReadUncommitted);
    assert_eq!(found, expected, "{what}");
    check_derived(&log, what);
}

/// Every record is found by offset and by time, and the producers are those of a full replay.
fn check_derived(log: &Arc<Partition>, what: &str) {
    let start = log.visible().log_start;
    for (offset, value) in read_values(log, start, Isolation::ReadUncommitted) {
        log.positions.clear();
        let options = read_options(Isolation::ReadUncommitted, 1);
        let slice = log.read(Offset(offset), options).unwrap();
        let batch = RecordBatch::parse(slice.records).unwrap();
        assert!(batch.base_offset() <= Offset(offset) && batch.last_offset() >= Offset(offset));
        let time_ms = NOW_MS + value[1..].parse::<i64>().unwrap();
        let found = log.offset_at_timestamp(time_ms, Isolation::ReadUncommitted).unwrap();
        assert_eq!(found.map(|found| found.offset.0), Some(offset), "{what}");
    }
    let mut replayed = super::super::producers::Producers::default();
    for segment in log.segments().iter() {
        let options = super::super::scan::ScanOptions {
            expected: segment.base,
            producers_from: Offset::ZERO,
            verify_checksums: true,
            contiguous: true,
            epoch_max: log.leader_epoch(),
            index_interval_bytes: config().index_interval_bytes,
        };
        let scanned = super::super::scan::scan(segment, &mut replayed, options).unwrap();
        assert_eq!(scanned.fault, None, "{what}");
    }
    let known = log.producers();
    for (id, producer) in replayed.iter() {
        let known = known.iter().find(|known| known.producer_id == id).unwrap();
        assert_eq!(known.epoch, producer.epoch, "{what}");
        // Its batches may have been in segments that are gone.
        if !producer.batches.is_empty() {
            assert_eq!(known.last_sequence, producer.last_sequence(), "{what}");
        }
        // A transaction that began in a segment that is gone is open from there all the same.
        if log.segments()[0].base == Offset(0) {
            assert_eq!(known.transaction_start, producer.transaction_start, "{what}");
        }
    }
}

/// Scripts to run; more of them with `MILLSTREAM_CRASH_SEEDS`.
pub(super) fn seeds() -> u64 {
    let wanted = std::env::var("MILLSTREAM_CRASH_SEEDS").ok();
    wanted.map_or(10, |seeds| seeds.parse().expect("a number of seeds"))
}

#[test]
fn at_each_step_the_power_goes() {
    for seed in 0..seeds() {
        let disk = SimulatedDisk::default();
        let mut model = Model::default();
        run(&disk, &mut model, seed, 40).expect("the power stays on");
        let steps = disk.steps();
        check(&disk.after_kill(), &model, &format!("seed {seed}, killed at the end"));
        for step in 1..=steps {
            let disk = SimulatedDisk::default();
            disk.power_off_at(step);
            let mut model = Model::default();
            // It may be a step that is only tried again later, such as a sealed segment's index.
            _ = run(&disk, &mut model, seed, 40);
            check(&disk.after_kill(), &model, &format!("seed {seed}, killed at {step}"));
            for cut in 0..4 {
                let mut random = Random(seed * 1_000_000 + step * 10 + cut);
                let left = disk.after_power_cut(&mut |choices| random.below(choices));
                check(&left, &model, &format!("seed {seed}, power off at {step}, variant {cut}"));
            }
        }
    }
}

#[test]
fn the_power_goes_again_during_recovery() {
    for seed in 1_000..1_000 + seeds() {
        let disk = SimulatedDisk::default();
        let mut model = Model::default();
        run(&disk, &mut model, seed, 40).expect("the power stays on");
        let mut random = Random(seed);
        let left = disk.after_power_cut(&mut |choices| random.below(choices));
        let trial = left.copy();
        drop(open_on(&trial).unwrap());
        for step in 1..=trial.steps() {
            let again = left.copy();
            again.power_off_at(step);
            // It may be a step that is only tried again later.
            _ = open_on(&again);
            let mut random = Random(seed * 1_000 + step);
            let left = again.after_power_cut(&mut |choices| random.below(choices));
            check(&left, &model, &format!("seed {seed}, off again at {step}"));
        }
    }
}

#[test]
fn every_byte_of_the_last_batch_is_cut_and_flipped() {
    let disk = SimulatedDisk::default();
    let log = open_on(&disk).unwrap();
    let batches = [numbered(0, 2, ProducerStamp::NONE), numbered(2, 3, stamp(5, 0, 0, false))];
    let kept = batches[0].size();
    for batch in batches {
        append(&log, batch);
    }
    drop(log);
    let file = dir().join("t-0/00000000000000000000.log");
    let whole = disk.contents(&file);
    let check = |damaged: Vec<u8>, what: String| {
        let disk = disk.copy();
        let cut = damaged.len() - kept;
        disk.damage(&file, damaged);
        let log = open_on(&disk).unwrap();
        let report = log.recovery_report().unwrap();
        if cut == 0 {
            assert_eq!(report.cuts, [], "{what}");
        } else {
            assert_eq!((report.cuts[0].position, report.cuts[0].bytes), (kept as u64, cut as u64));
            assert_eq!(report.cuts[0].offset, Offset(2), "{what}");
        }
        let values = read_values(&log, Offset(0), Isolation::ReadCommitted);
        assert_eq!(values, expected_values(0..2), "{what}");
        assert_eq!(log.producers(), [], "{what}");
        append(&log, numbered(2, 1, stamp(5, 0, 0, false)));
    };
    for at in kept..whole.len() {
        check(whole[..at].to_vec(), format!("cut at {at}"));
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            check(flipped, format!("bit {bit} of byte {at}"));
        }
    }
}

#[test]
fn a_failed_fsync_takes_the_partition_offline_and_is_not_taken_back() {
    let disk = SimulatedDisk::default();
    let log = open_on(&disk).unwrap();
    append(&log, numbered(0, 2, ProducerStamp::NONE));
    log.flush_blocking().unwrap();
    let all = by(Origin::Client, Acks::All);
    log.append(numbered(2, 2, ProducerStamp::NONE).into_bytes(), all).unwrap();
    disk.fail_syncs(true);
    let error = log.flush_blocking().unwrap_err();
    assert!(error.to_string().contains("cannot sync (fdatasync): input/output error"), "{error}");
    disk.fail_syncs(false);
    assert!(log.flush_blocking().is_err(), "the disk being well again changes nothing");
    let refused = log.append(numbered(4, 1, ProducerStamp::NONE).into_bytes(), CLIENT);
    assert_eq!(refused.unwrap_err().code(), 56);
    let read = |from| log.read(Offset(from), read_options(Isolation::ReadUncommitted, 1000));
    assert_eq!(read(0).unwrap().next_offset, Offset(2), "what is synced can still be read");
    assert_eq!(read(2).unwrap_err().code(), 56, "a reader at the end learns of it");
}

#[test]
fn unsynced_records_of_an_offline_partition_are_not_read() {
    let disk = SimulatedDisk::default();
    let log = open_on(&disk).unwrap();
    append(&log, numbered(0, 2, ProducerStamp::NONE));
    assert_eq!(log.visible().high_watermark, Offset(2), "acks=1 is visible at once");
    disk.fail_syncs(true);
    log.flush_blocking().unwrap_err();
    assert_eq!(log.visible().high_watermark, Offset(0));
    let read = log.read(Offset(0), read_options(Isolation::ReadUncommitted, 1000));
    assert_eq!(read.unwrap_err().code(), 56);
}

#[test]
fn a_full_disk_refuses_and_goes_on_once_there_is_room() {
    let disk = SimulatedDisk::default();
    let log = open_on(&disk).unwrap();
    append(&log, numbered(0, 2, ProducerStamp::NONE));
    let before = disk.contents(&dir().join("t-0/00000000000000000000.log"));
    for room in [0, 1, 70] {
        disk.set_room(Some(room));
        let batch = numbered(2, 2, stamp(1, 0, 0, false)).into_bytes();
        let error = log.append(batch, CLIENT).unwrap_err();
        assert_eq!(error.code(), 56);
        assert!(error.to_string().contains("make room"), "{error}");
        let after = disk.contents(&dir().join("t-0/00000000000000000000.log"));
        assert_eq!(after, before, "the torn tail is cut off");
        assert_eq!(read_values(&log, Offset(0), Isolation::ReadUncommitted).len(), 2);
    }
    disk.set_room(None);
    disk.tear_writes(true);
    let batch = numbered(2, 2, stamp(1, 0, 0, false)).into_bytes();
    assert_eq!(log.append(batch.clone(), CLIENT).unwrap_err().code(), 56);
    disk.tear_writes(false);
    assert!(!log.append(batch, CLIENT).unwrap().duplicate);
    assert_eq!(read_values(&log, Offset(0), Isolation::ReadUncommitted), expected_values(0..4));
    log.close().unwrap();
}
