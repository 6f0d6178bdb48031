//! Compaction against a model: the list of all records ever appended, and how their transactions
//! ended. Whatever was compacted, a reader must end up with the model's latest value of each key.

mod damage;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::simulation::SimulatedDisk;
use super::*;

const DAY_MS: i64 = 24 * 3_600_000;
const RETENTION_MS: i64 = 1_000;
const KEYS: u8 = 7;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 700,
        index_interval_bytes: 120,
        cleanup: Cleanup { delete: false, compact: true },
        compaction: Compaction {
            dirty_ratio_min: 0.0,
            delete_retention_ms: RETENTION_MS,
            ..Compaction::default()
        },
        ..LogConfig::default()
    }
}

/// A whole pass, with so much for the offset map.
fn unhurried(memory_bytes_max: usize) -> CompactOptions<'static> {
    CompactOptions { now_ms: NOW_MS, memory_bytes_max, stop: &|| false, moved: &|_| {} }
}

fn dir() -> PathBuf {
    PathBuf::from("/data")
}

fn open_on(disk: &SimulatedDisk) -> Result<Arc<Partition>, LogOpenError> {
    Partition::open(options(Arc::new(disk.clone()), &dir(), config()))
}

#[derive(Clone, Debug)]
enum Step {
    /// Records of these keys, deleting where the flag says so.
    Append {
        keys: Vec<(u8, bool)>,
        producer: i64,
        codec: i16,
    },
    End {
        producer: i64,
        commit: bool,
    },
    Flush,
    /// With room for so many keys.
    Compact {
        keys_max: usize,
    },
    Wait {
        ms: i64,
    },
    Close,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = proptest::collection::vec((0..KEYS, proptest::bool::weighted(0.2)), 1..5);
    let append = (keys, 0i64..5, 0i16..5);
    prop_oneof![
        14 => append.prop_map(|(keys, producer, codec)| Step::Append { keys, producer, codec }),
        4 => (3i64..5, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
        2 => Just(Step::Flush),
        3 => (1usize..12).prop_map(|keys_max| Step::Compact { keys_max }),
        2 => (1i64..2_000).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
    ]
}

/// A record that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Appendix {
    offset: i64,
    key: u8,
    value: Option<String>,
    /// The producer whose transaction it belongs to.
    transaction: Option<i64>,
    aborted: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    records: Vec<Appendix>,
    /// What was appended without anybody waiting for the disk may be lost.
    synced: i64,
    end: i64,
    sequences: BTreeMap<i64, i32>,
    open: BTreeMap<i64, i64>,
    now_ms: i64,
}

impl Model {
    fn stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end)
    }

    /// Of each key the latest value below the last stable offset, with its offset.
    fn latest(&self) -> BTreeMap<u8, (i64, String)> {
        let mut latest = BTreeMap::new();
        for record in self.records.iter().filter(|record| !record.aborted) {
            if record.offset >= self.stable() {
                break;
            }
            match &record.value {
                Some(value) => _ = latest.insert(record.key, (record.offset, value.clone())),
                None => _ = latest.remove(&record.key),
            }
        }
        latest
    }
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    offset: i64,
    key: u8,
    value: Option<String>,
}

/// All records that `isolation` sees, aborted ones left out as a consumer leaves them out.
fn read_all(log: &Partition, isolation: Isolation) -> Vec<Found> {
    let mut found = Vec::new();
    let mut from = log.visible().log_start;
    loop {
        let slice = log.read(from, read_options(isolation, 250)).unwrap();
        if slice.records.is_empty() {
            assert_eq!(slice.next_offset, slice.end_offset, "no gap at the end");
            return found;
        }
        for batch in RecordBatch::split_all(slice.records).unwrap() {
            batch.verify_checksum().unwrap();
            let is_aborted = slice.aborted.iter().any(|aborted| {
                aborted.producer_id == batch.producer_id()
                    && (aborted.first_offset..=aborted.last_offset).contains(&batch.base_offset())
            });
            if batch.is_control() || (batch.is_transactional() && is_aborted) {
                continue;
            }
            for record in batch.records().unwrap().iter().map(Result::unwrap) {
                assert_eq!(record.timestamp_ms, NOW_MS + record.offset.0);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                found.push(Found {
                    offset: record.offset.0,
                    key: record.key.unwrap()[0],
                    value: record.value.map(text),
                });
                assert_eq!(record.headers().count(), 1);
            }
        }
        assert!(slice.next_offset > from);
        from = slice.next_offset;
    }
}

fn build(records: &[Appendix], stamp: ProducerStamp, codec: i16) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::from_attributes(codec).unwrap());
    for record in records {
        let value = record.value.as_deref().map(str::as_bytes);
        let time_ms = NOW_MS + record.offset;
        builder.append_with_headers(time_ms, Some(&[record.key]), value, &[("h", Some(b"x"))]);
    }
    builder.build(stamp).into_bytes()
}

struct Subject {
    disk: SimulatedDisk,
    log: Arc<Partition>,
    model: Model,
}

impl Subject {
    fn new(disk: SimulatedDisk) -> Option<Subject> {
        let log = open_on(&disk).ok()?;
        let model = Model { now_ms: NOW_MS, ..Model::default() };
        Some(Subject { disk, log, model })
    }

    /// `None` if the power has gone.
    fn take(&mut self, step: &Step) -> Option<()> {
        let model = &mut self.model;
        match step {
            Step::Append { keys, producer, codec } => self.append(keys, *producer, *codec)?,
            Step::End { producer, commit } => self.end(*producer, *commit)?,
            Step::Flush => {
                self.log.flush_blocking().ok()?;
                model.synced = model.end;
            }
            Step::Compact { keys_max } => {
                self.log.flush_blocking().ok()?;
                model.synced = model.end;
                compact(&self.log, model, *keys_max)?;
            }
            Step::Wait { ms } => model.now_ms += ms,
            Step::Close => {
                self.log.close().ok()?;
                model.synced = model.end;
                self.log = open_on(&self.disk).ok()?;
                // A sync that failed may have left something to scan, but nothing to cut.
                let report = self.log.recovery_report();
                assert!(report.is_none_or(|report| report.cuts.is_empty()), "{report:?}");
            }
            Step::Kill => {
                self.disk = self.disk.after_kill();
                self.log = open_on(&self.disk).ok()?;
            }
        }
        Some(())
    }

    fn append(&mut self, keys: &[(u8, bool)], producer: i64, codec: i16) -> Option<()> {
        let model = &mut self.model;
        let transactional = producer >= 3;
        let first = model.end;
        let records: Vec<Appendix> = (first..)
            .zip(keys)
            .map(|(offset, (key, deletes))| Appendix {
                offset,
                key: *key,
                value: (!deletes).then(|| format!("value {offset}")),
                transaction: transactional.then_some(producer),
                aborted: false,
            })
            .collect();
        let stamp = match producer {
            0 => ProducerStamp::NONE,
            id => {
                let sequence = model.sequences.entry(id).or_default();
                let stamp = stamp(id, 0, *sequence, transactional);
                *sequence += keys.len() as i32;
                stamp
            }
        };
        let batch = build(&records, stamp, codec);
        // Even if the power goes now, they may be there afterwards.
        model.end += keys.len() as i64;
        model.records.extend(records);
        if transactional {
            model.open.entry(producer).or_insert(first);
        }
        let appended = match self.log.append(batch, CLIENT) {
            Ok(appended) => appended,
            Err(error) if error.code() == 56 => return None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(appended.base_offset.0, first);
        assert!(!appended.duplicate);
        Some(())
    }

    fn end(&mut self, producer: i64, commit: bool) -> Option<()> {
        let model = &mut self.model;
        if model.open.remove(&producer).is_none() {
            return Some(());
        }
        let kind = if commit { ControlType::Commit } else { ControlType::Abort };
        for record in model.records.iter_mut().rev() {
            if record.transaction == Some(producer) {
                record.transaction = None;
                record.aborted |= !commit;
            }
        }
        model.end += 1;
        let marker = control_batch(ProducerId(producer), ProducerEpoch(0), kind, 1, NOW_MS);
        self.log.append(marker.into_bytes(), by(Origin::Coordinator, Acks::Leader)).ok()?;
        Some(())
    }

    fn check(&self) {
        check(&self.log, &self.model);
    }
}

fn compact(log: &Partition, model: &Model, keys_max: usize) -> Option<()> {
    let before = log.producers();
    let options = CompactOptions {
        now_ms: model.now_ms,
        memory_bytes_max: (keys_max * 10).div_ceil(9) * 24,
        stop: &|| false,
        moved: &|_| {},
    };
    let Some(done) = log.compact(options).ok()? else {
        return log.offline().is_none().then_some(());
    };
    assert!(done.end.0 <= model.stable());
    assert_eq!(log.producers(), before);
    let uncommitted = read_all(log, Isolation::ReadUncommitted);
    let mut later: HashMap<u8, i64> = HashMap::new();
    for record in model.records.iter().rev() {
        let below = record.offset < done.end.0;
        let is_there = uncommitted.iter().any(|found| found.offset == record.offset);
        if below && record.aborted {
            assert!(!is_there, "an aborted record is left: {record:?}");
        } else if below && later.contains_key(&record.key) {
            assert!(!is_there, "{record:?} is left, replaced by {:?}", later.get(&record.key));
        } else if !below && !record.aborted {
            assert!(is_there, "{record:?} was not to be compacted");
        }
        if below && !record.aborted {
            later.entry(record.key).or_insert(record.offset);
        }
    }
    Some(())
}

fn check(log: &Partition, model: &Model) {
    log.positions.clear();
    let found = read_all(log, Isolation::ReadCommitted);
    assert!(found.is_sorted_by(|one, next| one.offset < next.offset));
    let mut latest = BTreeMap::new();
    for Found { offset, key, value } in found {
        let at = model.records.binary_search_by_key(&offset, |record| record.offset);
        let appended = &model.records[at.unwrap()];
        assert_eq!((appended.key, &appended.value), (key, &value));
        assert!(!appended.aborted, "{appended:?}");
        match value {
            Some(value) => _ = latest.insert(key, (offset, value)),
            None => _ = latest.remove(&key),
        }
    }
    assert_eq!(latest, model.latest());
    for (_, (offset, _)) in latest {
        let time_ms = NOW_MS + offset;
        let found = log.offset_at_timestamp(time_ms, Isolation::ReadCommitted).unwrap().unwrap();
        assert!(found.timestamp_ms >= time_ms);
    }
}

proptest! {
    #[test]
    fn of_each_key_the_latest_record_stays(
        steps in proptest::collection::vec(step(), 1..80)
    ) {
        let mut subject = Subject::new(SimulatedDisk::default()).unwrap();
        for step in &steps {
            subject.take(step).unwrap();
            subject.check();
        }
    }
}

fn scripted(seed: u64) -> Vec<Step> {
    let mut random = crashes::Random(seed);
    let mut steps = Vec::new();
    for _ in 0..30 {
        let keys = (0..1 + random.below(4))
            .map(|_| (random.below(KEYS as usize) as u8, random.below(5) == 0));
        let keys = keys.collect();
        let (producer, codec) = (random.below(5) as i64, random.below(5) as i16);
        steps.push(Step::Append { keys, producer, codec });
        match random.below(8) {
            0 => steps.push(Step::Flush),
            1 | 2 => steps.push(Step::Compact { keys_max: 1 + random.below(12) }),
            3 => steps.push(Step::Wait { ms: random.below(2_000) as i64 }),
            4 => {
                let producer = 3 + random.below(2) as i64;
                steps.push(Step::End { producer, commit: random.below(2) == 0 });
                steps.push(Step::Flush);
            }
            5 if random.below(3) == 0 => steps.push(Step::Close),
            _ => {}
        }
    }
    steps.push(Step::Compact { keys_max: 100 });
    steps
}

/// Runs a script until the power goes; the model after each step, the last one perhaps not done.
fn run(disk: &SimulatedDisk, steps: &[Step]) -> Vec<Model> {
    let Some(mut subject) = Subject::new(disk.clone()) else { return vec![Model::default()] };
    let mut models = vec![subject.model.clone()];
    for step in steps {
        let taken = subject.take(step);
        models.push(subject.model.clone());
        if taken.is_none() {
            break;
        }
    }
    models
}

/// Opens what is left, holds it against the model, and goes on with it.
fn check_left(disk: &SimulatedDisk, models: &[Model], what: &str) {
    let log = open_on(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let names = disk.list(&dir().join("t-0")).unwrap();
    let stray = |name: &&String| name.ends_with(".cleaned") || name.ends_with(".swap");
    assert_eq!(names.iter().find(stray), None, "{what}");
    let end = log.visible().log_end.0;
    let last = models.last().unwrap();
    assert!(end >= last.synced, "{what}: {end}, but {} was synced", last.synced);
    // The log is as it was after one of the steps.
    let model = models.iter().rfind(|model| model.end <= end).unwrap();
    assert_eq!(model.end, end, "{what}");
    let model = Model { now_ms: last.now_ms, ..model.clone() };
    let fits = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&log, &model)));
    if let Err(reason) = fits {
        eprintln!("{what}: {model:?}");
        std::panic::resume_unwind(reason);
    }
    // What a crash has left over is compacted as anything else.
    log.flush_blocking().unwrap();
    compact(&log, &model, 100).unwrap();
    check(&log, &model);
    log.close().unwrap();
    check(&open_on(disk).unwrap(), &model);
}

#[test]
fn at_each_step_of_a_compaction_the_power_goes() {
    for seed in 0..crashes::seeds().div_ceil(5) {
        let steps = scripted(seed);
        let disk = SimulatedDisk::default();
        let models = run(&disk, &steps);
        assert_eq!(models.len(), steps.len() + 1, "the power stays on");
        check_left(&disk.after_kill(), &models, &format!("seed {seed}, killed at the end"));
        for step in 1..=disk.steps() {
            let disk = SimulatedDisk::default();
            disk.power_off_at(step);
            let models = run(&disk, &steps);
            let what = format!("seed {seed}, killed at {step}");
            check_left(&disk.after_kill(), &models, &what);
            for cut in 0..2 {
                let mut random = crashes::Random(seed * 1_000_000 + step * 10 + cut);
                let left = disk.after_power_cut(&mut |choices| random.below(choices));
                let what = format!("seed {seed}, power off at {step}, variant {cut}");
                check_left(&left, &models, &what);
            }
        }
    }
}

/// A reader that had looked up a segment went on reading at a position of it in the file that had
/// taken its place.
#[test]
fn readers_and_the_writer_go_on_while_segments_are_replaced() {
    let log = open_on(&SimulatedDisk::default()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let done = &done;
    let ended = || done.load(std::sync::atomic::Ordering::SeqCst);
    let passes = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let reader = |bytes_max: usize| {
            let log = &log;
            move || {
                let mut rounds = 0;
                while !ended() || rounds == 0 {
                    rounds += 1;
                    let mut from = Offset(0);
                    let mut seen = Vec::new();
                    // Up to where the log ends by then: what was compacted away was replaced.
                    while from < log.visible().high_watermark {
                        let options = read_options(Isolation::ReadCommitted, bytes_max);
                        let slice = log.read(from, options).unwrap();
                        assert!(slice.next_offset > from, "{slice:?}");
                        for batch in RecordBatch::split_all(slice.records).unwrap() {
                            batch.verify_checksum().unwrap();
                            for record in batch.records().unwrap().iter().map(Result::unwrap) {
                                let value = format!("value {}", record.offset);
                                assert_eq!(record.value, Some(value.as_bytes()));
                                seen.push(record.offset.0);
                            }
                        }
                        from = slice.next_offset;
                    }
                    assert!(seen.is_sorted_by(|one, next| one < next));
                    let last = seen.iter().rev().map(|offset| offset % 7).take(7);
                    let last: std::collections::BTreeSet<i64> = last.collect();
                    assert!(from.0 < 7 || last.len() == 7, "each of seven keys: {seen:?}");
                    let time_ms = NOW_MS + from.0 / 2;
                    let found = log.offset_at_timestamp(time_ms, Isolation::ReadCommitted).unwrap();
                    assert!(found.is_none_or(|found| found.timestamp_ms >= time_ms));
                }
                rounds
            }
        };
        let readers = [200, 5_000].map(|bytes_max| scope.spawn(reader(bytes_max)));
        let cleaner = scope.spawn(|| {
            while !ended() {
                log.flush_blocking().unwrap();
                if log.compact(unhurried(100 * 24)).unwrap().is_some() {
                    passes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
        });
        let compacted = || passes.load(std::sync::atomic::Ordering::SeqCst);
        for offset in (0..).take_while(|_| compacted() < 10) {
            // Compaction keeps up, so that the log stays short.
            while offset > 100 * (compacted() as i64 + 1) {
                std::thread::yield_now();
            }
            let record = Appendix {
                offset,
                key: (offset % 7) as u8,
                value: Some(format!("value {offset}")),
                transaction: None,
                aborted: false,
            };
            log.append(build(&[record], ProducerStamp::NONE, 0), CLIENT).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        cleaner.join().unwrap();
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
}

/// Disks fail in other ways than all at once.
#[test]
fn a_sync_fails_or_the_disk_is_full_at_each_step_of_a_compaction() {
    for seed in 100..100 + crashes::seeds().div_ceil(5) {
        let steps = scripted(seed);
        let disk = SimulatedDisk::default();
        run(&disk, &steps);
        let mut random = crashes::Random(seed);
        for step in (1..=disk.steps()).step_by(3) {
            let disk = SimulatedDisk::default();
            disk.fail_sync_at(step);
            let models = run(&disk, &steps);
            let what = format!("seed {seed}, sync failed at {step}");
            let left = disk.after_power_cut(&mut |choices| random.below(choices));
            check_left(&left, &models, &what);
        }
        for room in (0..12_000).step_by(397) {
            let disk = SimulatedDisk::default();
            disk.set_room(Some(room));
            let models = run(&disk, &steps);
            let what = format!("seed {seed}, room for {room}");
            let left = disk.after_power_cut(&mut |choices| random.below(choices));
            check_left(&left, &models, &what);
        }
    }
}

fn keyed(offset: i64, key: &[u8], value: Option<&[u8]>) -> Bytes {
    let mut builder = BatchBuilder::default();
    builder.append_with_headers(NOW_MS + offset, Some(key), value, &[("h", None)]);
    builder.build(ProducerStamp::NONE).into_bytes()
}

fn compact_at(log: &Partition, now_ms: i64) -> Option<super::super::compaction::Compacted> {
    log.flush_blocking().unwrap();
    log.compact(CompactOptions {
        now_ms,
        memory_bytes_max: 1 << 20,
        stop: &|| false,
        moved: &|_| {},
    })
    .unwrap()
}

/// Every batch, with its delete horizon.
fn batches(log: &Partition) -> Vec<RecordBatch> {
    let segments = log.segments();
    let mut batches = Vec::new();
    for segment in segments.iter() {
        let bytes = Bytes::from(segment.read_at(0, segment.size() as usize).unwrap());
        batches.extend(RecordBatch::split_all(bytes).unwrap());
    }
    batches
}

#[test]
fn a_tombstone_stays_for_its_time_from_when_compaction_first_met_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), config());
    log.append(keyed(0, b"gone", Some(b"value")), CLIENT).unwrap();
    log.append(keyed(1, b"gone", None), CLIENT).unwrap();
    let mut offset = 2;
    let fill = |offset: &mut i64| {
        let before = log.segments().len();
        while log.segments().len() == before {
            log.append(keyed(*offset, b"other", Some(b"value")), CLIENT).unwrap();
            *offset += 1;
        }
    };
    let tombstone = || batches(&log).into_iter().find(|batch| batch.base_offset() == Offset(1));
    fill(&mut offset);
    compact_at(&log, NOW_MS + DAY_MS).unwrap();
    let horizon_ms = NOW_MS + DAY_MS + RETENTION_MS;
    let kept = tombstone().unwrap();
    assert_eq!(kept.delete_horizon_ms(), Some(horizon_ms));
    let records = kept.records().unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!((record.timestamp_ms, record.value), (NOW_MS + 1, None));
    assert!(batches(&log).iter().all(|batch| batch.base_offset() != Offset(0)));
    fill(&mut offset);
    compact_at(&log, horizon_ms - 1).unwrap();
    assert_eq!(tombstone().unwrap().delete_horizon_ms(), Some(horizon_ms), "stamped once");
    fill(&mut offset);
    compact_at(&log, horizon_ms).unwrap();
    assert_eq!(tombstone(), None);
}

#[test]
fn a_marker_stays_until_its_transactions_data_is_gone_and_then_for_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), config());
    let send = |id: i64, sequence: i32, key: &[u8]| {
        let mut builder = BatchBuilder::default();
        builder.append(NOW_MS, Some(key), Some(b"value"));
        append(&log, builder.build(stamp(id, 0, sequence, true))).base_offset
    };
    let aborted = send(1, 0, b"a");
    let abort = append_marker(&log, 1, 0, ControlType::Abort).base_offset;
    let committed = send(1, 1, b"b");
    let commit = append_marker(&log, 1, 0, ControlType::Commit).base_offset;
    let last = send(1, 2, b"b");
    let last_commit = append_marker(&log, 1, 0, ControlType::Commit).base_offset;
    let mut time_ms = NOW_MS;
    let mut pass = |wait_ms: i64| {
        time_ms += wait_ms;
        let before = log.segments().len();
        while log.segments().len() == before {
            append(&log, numbered(0, 1, ProducerStamp::NONE));
        }
        compact_at(&log, time_ms).unwrap();
        let all = batches(&log);
        [aborted, abort, committed, commit, last, last_commit].map(|offset| {
            let batch = all.iter().find(|batch| batch.base_offset() == offset)?;
            Some((batch.records_count(), batch.delete_horizon_ms().is_some()))
        })
    };
    let (whole, stamped) = (Some((1, false)), Some((1, true)));
    assert_eq!(pass(0), [None, whole, None, whole, whole, whole]);
    assert_eq!(pass(1), [None, stamped, None, stamped, whole, whole]);
    let aborted_now: usize =
        log.segments().iter().map(|segment| segment.aborted().unwrap().len()).sum();
    assert_eq!(aborted_now, 0, "nothing of it is left");
    assert_eq!(pass(RETENTION_MS - 1), [None, stamped, None, stamped, whole, whole]);
    assert_eq!(pass(1), [None, None, None, None, whole, whole]);
    // The key is written again: the producer's last batch stays, without its record, and with it
    // the marker.
    append(&log, RecordBatch::parse(keyed(0, b"b", Some(b"v"))).unwrap());
    assert_eq!(pass(1), [None, None, None, None, Some((0, false)), whole]);
    drop(log);
    let log = open(dir.path(), config());
    assert_eq!(log.visible().last_stable, log.visible().log_end);
    assert_eq!(log.producers()[0].last_sequence, 2);
    assert_eq!(log.append(batch_of(1, 3).into_bytes(), CLIENT).unwrap_err().code(), 87);
    let mut builder = BatchBuilder::default();
    builder.append(NOW_MS, Some(b"k"), None);
    append(&log, builder.build(stamp(1, 0, 3, true)));
}

/// A batch without keys.
fn batch_of(id: i64, sequence: i32) -> RecordBatch {
    let mut builder = BatchBuilder::default();
    builder.append(NOW_MS, None, Some(b"value"));
    builder.build(stamp(id, 0, sequence, true))
}

#[test]
fn a_full_or_failing_disk_leaves_the_log_as_it_was() {
    let disk = SimulatedDisk::default();
    let log = open_on(&disk).unwrap();
    for offset in 0..60 {
        log.append(keyed(offset, &[offset as u8 % 5], Some(b"value")), CLIENT).unwrap();
    }
    log.flush_blocking().unwrap();
    let latest = || {
        let found = read_all(&log, Isolation::ReadCommitted).into_iter();
        found.map(|found| (found.key, found.offset)).collect::<BTreeMap<u8, i64>>()
    };
    let before = latest();
    let compact = || log.compact(unhurried(1000));
    for room in [0, 100, 150] {
        disk.set_room(Some(room));
        compact().unwrap_err();
        disk.set_room(None);
        assert_eq!(latest(), before);
    }
    let path = dir().join("t-0");
    let strays = disk.list(&path).unwrap();
    assert!(strays.iter().all(|name| !name.ends_with(".cleaned")), "{strays:?}");
    assert_eq!(log.offline().map(|error| error.to_string()), None);
    assert!(log.compact(CompactOptions { stop: &|| true, ..unhurried(1000) }).unwrap().is_none());
    assert_eq!(latest(), before);
    assert!(compact().unwrap().unwrap().bytes_after < 1_000);
    // Now what cannot be taken back: the disk no longer says what it has.
    for offset in 60..120 {
        log.append(keyed(offset, &[offset as u8 % 5], Some(b"value")), CLIENT).unwrap();
    }
    log.flush_blocking().unwrap();
    disk.fail_syncs(true);
    compact().unwrap_err();
    disk.fail_syncs(false);
    assert!(latest().values().all(|offset| *offset >= 115));
}

/// A reader found its way in a segment by the index of the one that had replaced it.
#[test]
fn who_holds_a_replaced_segment_is_told_to_look_again() {
    let log = open_on(&SimulatedDisk::default()).unwrap();
    for offset in 0..60 {
        log.append(keyed(offset, &[offset as u8 % 5], Some(b"value")), CLIENT).unwrap();
    }
    let old = log.segments();
    compact_at(&log, NOW_MS).unwrap();
    assert_ne!(log.segments()[1].id, old[1].id);
    assert!(old[1].locate(Offset(12)).unwrap_err().is_gone());
    assert!(old[1].largest_timestamp().is_ok(), "what is remembered is still true");
    let bytes = Bytes::from(old[1].read_at(0, 1_000).unwrap());
    assert_eq!(RecordBatch::split_all(bytes).unwrap()[0].base_offset(), old[1].base);
    assert!(old[1].aborted().is_ok());
    // Nobody had opened this one, or asked it for anything.
    let fresh = {
        let (disk, dir): (Arc<dyn Disk>, _) = (log.disk.clone(), log.dir.clone());
        super::super::segment::Segment::existing(disk, dir, Offset(0), 100, NOW_MS)
    };
    fresh.retire();
    assert!(fresh.open().is_err() && fresh.aborted().is_err() && fresh.modified_ms().is_err());
}

/// Sets it when it is dropped.
struct End<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// A compaction and a flush wrote the checkpoint under one temporary name: once in a while it was
/// in the log twice, or one from before a deletion came back, and the log did not open again.
#[test]
fn what_several_write_down_of_a_log_is_written_by_one_at_a_time() {
    let disk = SimulatedDisk::default();
    let log = open_on(&disk).unwrap();
    let passes = std::sync::atomic::AtomicUsize::new(0);
    let compacted = || passes.load(std::sync::atomic::Ordering::SeqCst);
    let done = std::sync::atomic::AtomicBool::new(false);
    let ended = || compacted() >= 100 || done.load(std::sync::atomic::Ordering::SeqCst);
    // One that fails ends the others.
    let end = || End(&done);
    let stored_start = || {
        let path = dir().join("t-0/log-checkpoint");
        let text = String::from_utf8(disk.contents(&path)).unwrap();
        let start = text.lines().find_map(|line| line.strip_prefix("start ")).unwrap();
        start.parse::<i64>().unwrap()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _end = end();
            while !ended() {
                log.flush_blocking().unwrap();
            }
        });
        scope.spawn(|| {
            let _end = end();
            while !ended() {
                if log.compact(unhurried(100 * 24)).unwrap().is_some() {
                    passes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                }
            }
        });
        scope.spawn(|| {
            let _end = end();
            while !ended() {
                log.enforce_retention(NOW_MS).unwrap();
                let Visible { log_start, high_watermark, .. } = log.visible();
                if high_watermark.0 > log_start.0 + 50 {
                    let start = log.delete_records(Offset(high_watermark.0 - 50)).unwrap();
                    for _ in 0..100 {
                        assert!(stored_start() >= start.0, "a deletion was taken back");
                    }
                }
            }
        });
        for offset in (0..).take_while(|_| !ended()) {
            while offset > 100 * (compacted() as i64 + 1) && !ended() {
                std::thread::yield_now();
            }
            let (key, value) = ((offset % 7) as u8, Some(format!("value {offset}")));
            let record = Appendix { offset, key, value, transaction: None, aborted: false };
            log.append(build(&[record], ProducerStamp::NONE, 0), CLIENT).unwrap();
        }
    });
    let Visible { log_start, log_end, .. } = log.visible();
    let opened = open_on(&disk.after_kill()).unwrap().visible();
    assert!(opened.log_start >= log_start && opened.log_end == log_end, "{opened:?}");
}
