//! The log against the simplest thing that could be one: a list of batches and where it starts.

use std::path::PathBuf;

use proptest::prelude::*;

use super::super::simulation::SimulatedDisk;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// So many records, of this producer unless 0, with timestamps that far from their offsets.
    Append {
        count: i64,
        producer: i64,
        skew_ms: i64,
    },
    /// The last batch of this producer once more.
    Retry {
        producer: i64,
    },
    Close,
    Kill,
    /// Up to this share of the log, in 256ths.
    DeleteRecords(u8),
    RetainBytes(u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let append = (1i64..6, 0i64..3, -40i64..40)
        .prop_map(|(count, producer, skew_ms)| Step::Append { count, producer, skew_ms });
    prop_oneof![
        10 => append,
        2 => (1i64..3).prop_map(|producer| Step::Retry { producer }),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        1 => any::<u8>().prop_map(Step::DeleteRecords),
        1 => (500u64..3_000).prop_map(Step::RetainBytes),
        2 => Just(Step::Flush),
    ]
}

#[derive(Clone, Debug)]
struct Batch {
    base: i64,
    times_ms: Vec<i64>,
    producer: i64,
    sequence: i32,
}

impl Batch {
    fn end(&self) -> i64 {
        self.base + self.times_ms.len() as i64
    }
}

#[derive(Debug, Default)]
struct Model {
    batches: Vec<Batch>,
    start: i64,
}

impl Model {
    fn end(&self) -> i64 {
        self.batches.last().map_or(0, Batch::end).max(self.start)
    }

    fn at(&self, share: u8) -> i64 {
        self.start + (self.end() - self.start) * i64::from(share) / 256
    }

    fn last_of(&self, producer: i64) -> Option<&Batch> {
        self.batches.iter().rfind(|batch| batch.producer == producer)
    }

    fn next_sequence(&self, producer: i64) -> i32 {
        self.last_of(producer).map_or(0, |last| last.sequence + last.times_ms.len() as i32)
    }

    /// Every record that is left, as (offset, timestamp).
    fn records(&self) -> impl Iterator<Item = (i64, i64)> {
        let all = self.batches.iter().flat_map(|batch| (batch.base..).zip(batch.times_ms.clone()));
        all.filter(|(offset, _)| *offset >= self.start)
    }
}

fn config() -> LogConfig {
    let (segment_bytes, index_interval_bytes) = (600, 100);
    LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() }
}

fn build(batch: &Batch) -> Bytes {
    let mut builder = BatchBuilder::default();
    for time_ms in &batch.times_ms {
        builder.append(NOW_MS + time_ms, None, Some(b"value"));
    }
    let stamp = match batch.producer {
        0 => ProducerStamp::NONE,
        id => stamp(id, 0, batch.sequence, false),
    };
    builder.build(stamp).into_bytes()
}

struct Subject {
    disk: SimulatedDisk,
    log: Arc<Partition>,
    model: Model,
}

impl Subject {
    fn new() -> Subject {
        let disk = SimulatedDisk::default();
        disk.set_now_ms(NOW_MS);
        let log = reopen(&disk);
        Subject { disk, log, model: Model::default() }
    }

    fn take(&mut self, step: &Step) {
        let model = &mut self.model;
        match *step {
            Step::Append { count, producer, skew_ms } => {
                let (base, sequence) = (model.end(), model.next_sequence(producer));
                let times_ms = (base..base + count).map(|offset| offset + skew_ms).collect();
                let batch = Batch { base, times_ms, producer, sequence };
                let appended = self.log.append(build(&batch), CLIENT).unwrap();
                assert_eq!((appended.base_offset.0, appended.duplicate), (base, false));
                model.batches.push(batch);
            }
            Step::Retry { producer } => {
                let Some(last) = model.last_of(producer) else { return };
                let appended = self.log.append(build(last), CLIENT).unwrap();
                assert_eq!((appended.base_offset.0, appended.duplicate), (last.base, true));
            }
            Step::Close => {
                self.log.close().unwrap();
                self.log = reopen(&self.disk);
                assert!(self.log.recovery_report().is_none());
            }
            Step::Kill => {
                self.disk = self.disk.after_kill();
                self.log = reopen(&self.disk);
                assert!(self.log.recovery_report().is_none_or(|report| report.cuts.is_empty()));
            }
            Step::DeleteRecords(share) => {
                let before = model.at(share);
                assert_eq!(self.log.delete_records(Offset(before)).unwrap().0, before);
                model.start = before;
            }
            Step::RetainBytes(bytes) => {
                self.log.set_config(LogConfig { retention_bytes: Some(bytes), ..config() });
                let retained = self.log.enforce_retention(NOW_MS).unwrap();
                let moved = retained.log_start.0 > model.start;
                assert!(!moved || self.log.size() >= bytes, "as many bytes are kept");
                self.log.set_config(config());
                // What was deleted follows from sizes; that it is a first part is checked below.
                assert!(retained.log_start.0 >= model.start);
                model.start = retained.log_start.0;
            }
            Step::Flush => self.log.flush_blocking().unwrap(),
        }
    }

    fn check(&self) {
        let visible = self.log.visible();
        let (start, end) = (visible.log_start.0, visible.log_end.0);
        assert_eq!((start, end), (self.model.start, self.model.end()));
        let records: Vec<(i64, i64)> = self.model.records().collect();
        let mut found = Vec::new();
        let mut from = visible.log_start;
        loop {
            let options = read_options(Isolation::ReadCommitted, 200);
            let slice = self.log.read(from, options).unwrap();
            if slice.records.is_empty() {
                break;
            }
            for batch in RecordBatch::split_all(slice.records).unwrap() {
                for record in batch.records().unwrap().iter().map(Result::unwrap) {
                    if record.offset >= from {
                        found.push((record.offset.0, record.timestamp_ms - NOW_MS));
                    }
                }
            }
            from = slice.next_offset;
        }
        assert_eq!(found, records);
        for probe_ms in [-50, 0, end / 2, end - 1, end + 50] {
            let expected = records.iter().find(|(_, time_ms)| *time_ms >= probe_ms);
            let at = self.log.offset_at_timestamp(NOW_MS + probe_ms, Isolation::ReadCommitted);
            let at = at.unwrap().map(|found| (found.offset.0, found.timestamp_ms - NOW_MS));
            assert_eq!(at, expected.copied(), "the first record at {probe_ms} or later");
        }
    }
}

fn reopen(disk: &SimulatedDisk) -> Arc<Partition> {
    let dir = PathBuf::from("/data");
    Partition::open(options(Arc::new(disk.clone()), &dir, config())).unwrap()
}

proptest! {
    #[test]
    fn the_log_is_a_list_of_batches(steps in proptest::collection::vec(step(), 1..60)) {
        let mut subject = Subject::new();
        for step in &steps {
            subject.take(step);
            subject.check();
        }
    }
}
