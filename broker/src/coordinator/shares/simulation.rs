//! Random members of a share group, their crashes and the broker's, beside a model that knows each
//! record by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::partition::*;

const LIMITS: Limits = Limits { locks_max: 40, deliveries_max: 3 };
const LOCK_MS: u64 = 50;
const RECORDS: i64 = 120;

/// A record as the model sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    deliveries: i16,
    holder: Option<(usize, u64)>,
    is_done: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Fetch {
        member: usize,
        records_max: i64,
        batches: usize,
    },
    /// What is said of the records that the member has, in turn.
    Acknowledge {
        member: usize,
        verdicts: Vec<Verdict>,
    },
    /// Of one record, whoever has it.
    Meddle {
        member: usize,
        offset: i64,
    },
    Leave {
        member: usize,
    },
    Wait {
        ms: u64,
    },
    Crash,
    /// Compaction takes a batch away.
    Compact {
        batch: usize,
    },
    LogStart {
        offset: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..4usize;
    let verdict = prop_oneof![
        4 => Just(Verdict::Accept),
        2 => Just(Verdict::Release),
        1 => Just(Verdict::Reject),
        1 => Just(Verdict::Gap),
    ];
    prop_oneof![
        6 => (member.clone(), 1..30i64, 1..6usize)
            .prop_map(|(member, records_max, batches)| Step::Fetch { member, records_max, batches }),
        6 => (member.clone(), prop::collection::vec(verdict, 1..20))
            .prop_map(|(member, verdicts)| Step::Acknowledge { member, verdicts }),
        2 => (member.clone(), 0..RECORDS).prop_map(|(member, offset)| Step::Meddle { member, offset }),
        1 => member.prop_map(|member| Step::Leave { member }),
        2 => (1..60u64).prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Crash),
        1 => (0..40usize).prop_map(|batch| Step::Compact { batch }),
        1 => (0..RECORDS / 2).prop_map(|offset| Step::LogStart { offset }),
    ]
}

struct World {
    partition: SharePartition,
    /// As the log keeps it: after each acknowledgement, release and end of a lock.
    kept: Kept,
    /// Of the model when that was written.
    kept_model: BTreeMap<i64, Record>,
    model: BTreeMap<i64, Record>,
    log: Vec<Span>,
    now_ms: u64,
}

impl World {
    fn new() -> World {
        let sizes = [1, 2, 3, 5, 8, 1, 4];
        let mut log = Vec::new();
        let mut at = 0;
        for size in sizes.iter().cycle() {
            if at >= RECORDS {
                break;
            }
            log.push(Span { first: at, last: at + size - 1, is_aborted: log.len() % 11 == 7 });
            at += size;
        }
        let partition = SharePartition::new(0, LIMITS);
        let kept = partition.kept();
        let model: BTreeMap<i64, Record> =
            (0..at).map(|offset| (offset, Record::default())).collect();
        World { partition, kept, kept_model: model.clone(), model, log, now_ms: 0 }
    }

    fn keep(&mut self) {
        self.kept = self.partition.kept();
        self.kept_model = self.model.clone();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Fetch { member, records_max, batches } => {
                self.fetch(member, records_max, batches)
            }
            Step::Acknowledge { member, verdicts } => self.acknowledge(member, &verdicts),
            Step::Meddle { member, offset } => self.meddle(member, offset),
            Step::Leave { member } => {
                let left = self.partition.release(&name(member));
                let mut had = false;
                for record in self.model.values_mut() {
                    if record.holder.is_some_and(|(holder, _)| holder == member) {
                        (record.holder, had) = (None, true);
                        record.deliveries -= 1;
                    }
                }
                assert_eq!(left, had);
                self.keep();
            }
            Step::Wait { ms } => self.wait(ms),
            Step::Crash => {
                self.partition = SharePartition::restored(&self.kept, LIMITS);
                // Deliveries that nothing was said of are forgotten with their locks.
                self.model = self.kept_model.clone();
                for record in self.model.values_mut() {
                    if record.holder.take().is_some() {
                        record.deliveries -= 1;
                    }
                }
            }
            Step::Compact { batch } => {
                if batch < self.log.len() {
                    self.log.remove(batch);
                }
            }
            Step::LogStart { offset } => {
                if self.partition.log_starts_at(offset) {
                    self.log.retain(|span| span.last >= offset);
                    for record in self.model.range_mut(..offset) {
                        *record.1 = Record { is_done: true, ..Record::default() };
                    }
                    self.keep();
                }
            }
        }
        self.agree();
    }

    fn fetch(&mut self, member: usize, records_max: i64, batches: usize) {
        let Some(from) = self.partition.next_fetch() else { return };
        let read = self.log.iter().filter(|span| span.last >= from);
        let read: Vec<Span> = read.take(batches).copied().collect();
        let asking = Asking {
            member: name(member),
            records_max,
            batch_size: 7,
            now_ms: self.now_ms,
            lock_ms: LOCK_MS,
        };
        let given = self.partition.acquire(&asking, from, &read);
        for one in &given {
            for offset in one.first..=one.last {
                let is_aborted = |span: &&Span| span.is_aborted && span.last >= offset;
                let aborted = read.iter().find(is_aborted).filter(|span| span.first <= offset);
                assert_eq!(aborted, None, "{offset} is given out");
                let exists = self.has(offset);
                let record = self.model.get_mut(&offset).unwrap();
                assert!(record.holder.is_none(), "{offset} is given to two");
                assert!(!record.is_done || !exists, "{offset} is given out again");
                record.holder = Some((member, self.now_ms + LOCK_MS));
                record.deliveries += 1;
                assert_eq!(record.deliveries, one.deliveries, "of {offset}");
                assert!(one.deliveries <= LIMITS.deliveries_max);
            }
        }
    }

    /// Whether there is such a record, for those who read what is committed.
    fn has(&self, offset: i64) -> bool {
        let mut spans = self.log.iter();
        spans.any(|span| (span.first..=span.last).contains(&offset) && !span.is_aborted)
    }

    fn acknowledge(&mut self, member: usize, verdicts: &[Verdict]) {
        let held = self
            .model
            .iter()
            .filter(|(_, record)| record.holder.is_some_and(|(holder, _)| holder == member));
        let held: Vec<i64> = held.map(|(offset, _)| *offset).collect();
        let said: Vec<(i64, Verdict)> = held.into_iter().zip(verdicts.iter().copied()).collect();
        let mut batches: Vec<Acknowledgement> = Vec::new();
        for (offset, verdict) in &said {
            match batches.last_mut() {
                Some(batch) if batch.last + 1 == *offset => {
                    batch.last = *offset;
                    batch.verdicts.push(*verdict);
                }
                _ => batches.push(Acknowledgement {
                    first: *offset,
                    last: *offset,
                    verdicts: vec![*verdict],
                }),
            }
        }
        let acknowledged = self.partition.acknowledge(&name(member), &batches);
        assert_eq!(acknowledged, Ok(!said.is_empty()));
        for (offset, verdict) in said {
            let record = self.model.get_mut(&offset).unwrap();
            record.holder = None;
            record.is_done =
                verdict != Verdict::Release || record.deliveries >= LIMITS.deliveries_max;
        }
        self.keep();
    }

    fn meddle(&mut self, member: usize, offset: i64) {
        let record = &self.model[&offset];
        let is_own = record.holder.is_some_and(|(holder, _)| holder == member);
        if !is_own && offset >= self.partition.start() {
            let verdicts = vec![Verdict::Accept];
            let said = Acknowledgement { first: offset, last: offset, verdicts };
            let before = self.partition.kept();
            assert!(self.partition.acknowledge(&name(member), &[said]).is_err());
            assert_eq!(self.partition.kept(), before);
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        let mut ended = false;
        for record in self.model.values_mut() {
            if record.holder.is_some_and(|(_, until_ms)| until_ms <= self.now_ms) {
                (record.holder, ended) = (None, true);
                record.is_done = record.deliveries >= LIMITS.deliveries_max;
            }
        }
        assert_eq!(self.partition.expire(self.now_ms), ended);
        if ended {
            self.keep();
        }
        let deadlines = self.model.values().filter_map(|record| record.holder);
        let next = deadlines.map(|(_, until_ms)| until_ms).min();
        assert_eq!(self.partition.next_deadline_ms(), next);
    }

    /// Nothing before the start is left.
    fn agree(&self) {
        let start = self.partition.start();
        let mut left = self.model.range(..start).filter(|(_, record)| !record.is_done);
        let lost = left.find(|(offset, _)| self.has(**offset));
        assert_eq!(lost, None, "before {start}");
    }
}

fn name(member: usize) -> Arc<str> {
    format!("member-{member}").into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_record_is_lost_or_given_to_two(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // In the end all that is there is given out, and accepted by one member.
        world.wait(LOCK_MS);
        for _ in 0..200 {
            world.fetch(0, 50, 50);
            world.acknowledge(0, &[Verdict::Accept; 200]);
        }
        let mut left = world.model.iter().filter(|(_, record)| !record.is_done);
        prop_assert_eq!(left.find(|(offset, _)| world.has(**offset)), None);
    }
}
