//! What readers may see of what writers did, as a pure function of both.
//!
//! The anomalies are those of Jepsen's Kafka and Redpanda analyses: lost and doubled writes,
//! writes out of order, reads of aborted transactions, transactions seen in part, offsets that go
//! backwards or name another record than before.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use broker::client::Isolation;

/// What a writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is there, for good.
    Done,
    /// It is not there, and never will be seen.
    Aborted,
    /// Nobody knows: it is there or it is not.
    Unknown,
}

/// One record that was sent. Values are unique.
#[derive(Clone, Debug)]
pub struct Write {
    pub value: String,
    /// Who sent it, and as which in order.
    pub writer: usize,
    pub number: u64,
    pub to: (String, i32),
    /// Which of the writer's transactions it is part of; outcomes of one transaction are equal.
    pub transaction: Option<u64>,
    pub outcome: Outcome,
}

/// A partition read from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Read {
    pub from: (String, i32),
    pub isolation: Isolation,
    /// Offset and value, in the order in which they came.
    pub records: Vec<(i64, String)>,
    /// Nothing was written any more, and nothing was open: what is missing here is lost.
    pub last: bool,
}

/// All that was read, in the memory of one read: those before the last agree on what is at each
/// offset, or there is an anomaly.
#[derive(Debug, Default)]
pub struct Reads {
    /// By partition, and whether it was of committed records alone.
    merged: BTreeMap<((String, i32), bool), BTreeMap<i64, String>>,
    last: Vec<Read>,
    found: BTreeSet<Anomaly>,
    pub count: usize,
}

impl Reads {
    pub fn add(&mut self, read: Read) {
        self.count += 1;
        if read.last {
            self.last.push(read);
            return;
        }
        let Read { from, isolation, records, .. } = read;
        let key = (from.clone(), isolation == Isolation::ReadCommitted);
        let merged = self.merged.entry(key).or_default();
        let mut after = -1;
        for (offset, value) in records {
            if offset <= after {
                self.found.insert(Anomaly::Backwards { from: from.clone(), offset, after });
            }
            after = offset;
            match merged.get(&offset) {
                None => _ = merged.insert(offset, value),
                Some(before) if *before == value => {}
                Some(before) => {
                    let values = (before.clone(), value);
                    self.found.insert(Anomaly::Changed { from: from.clone(), offset, values });
                }
            }
        }
    }

    pub fn last(&self) -> &[Read] {
        &self.last
    }

    /// Everything that must not be.
    pub fn check(&self, writes: &[Write]) -> BTreeSet<Anomaly> {
        let merged = self.merged.iter().map(|((from, committed), records)| Read {
            from: from.clone(),
            isolation: match committed {
                true => Isolation::ReadCommitted,
                false => Isolation::ReadUncommitted,
            },
            records: records.iter().map(|(offset, value)| (*offset, value.clone())).collect(),
            last: false,
        });
        let reads: Vec<Read> = merged.chain(self.last.iter().cloned()).collect();
        let mut found = check(writes, &reads);
        found.extend(self.found.iter().cloned());
        found
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Anomaly {
    /// It was acknowledged and is not there.
    Lost { value: String, from: (String, i32) },
    /// It was sent once and is there twice.
    Doubled { value: String, at: (i64, i64), from: (String, i32) },
    /// A later record of the same writer stands before it.
    Reordered { value: String, before: String, from: (String, i32) },
    /// It was aborted, and a reader of committed records saw it.
    AbortedRead { value: String, offset: i64 },
    /// Readers of committed records saw a part of a transaction.
    Torn { writer: usize, transaction: u64, seen: usize, of: usize },
    /// Nobody has sent it, or not to there.
    Phantom { value: String, from: (String, i32) },
    /// Offsets of one read do not ascend.
    Backwards { from: (String, i32), offset: i64, after: i64 },
    /// Two reads saw different records at one offset.
    Changed { from: (String, i32), offset: i64, values: (String, String) },
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Everything that must not be. Records of compacted topics are not for here: they may go.
pub fn check(writes: &[Write], reads: &[Read]) -> BTreeSet<Anomaly> {
    let by_value: HashMap<&str, &Write> =
        writes.iter().map(|write| (write.value.as_str(), write)).collect();
    let mut found = BTreeSet::new();
    let mut at_offset: HashMap<(&(String, i32), i64), &str> = HashMap::new();
    for read in reads {
        one_read(read, &by_value, &mut found);
        for (offset, value) in &read.records {
            let before = at_offset.insert((&read.from, *offset), value);
            if let Some(before) = before.filter(|before| before != value) {
                let values = (before.to_owned(), value.clone());
                found.insert(Anomaly::Changed { from: read.from.clone(), offset: *offset, values });
            }
        }
    }
    at_the_end(writes, reads, &mut found);
    found
}

fn one_read(read: &Read, by_value: &HashMap<&str, &Write>, found: &mut BTreeSet<Anomaly>) {
    let from = || read.from.clone();
    let mut seen: HashMap<&str, i64> = HashMap::new();
    let mut latest: HashMap<usize, &Write> = HashMap::new();
    let mut after = -1;
    for (offset, value) in &read.records {
        let (offset, value) = (*offset, value.as_str());
        if offset <= after {
            found.insert(Anomaly::Backwards { from: from(), offset, after });
        }
        after = offset;
        if let Some(first) = seen.insert(value, offset) {
            let value = value.to_owned();
            found.insert(Anomaly::Doubled { value, at: (first, offset), from: from() });
            continue;
        }
        let Some(write) = by_value.get(value).filter(|write| write.to == read.from) else {
            found.insert(Anomaly::Phantom { value: value.to_owned(), from: from() });
            continue;
        };
        if write.outcome == Outcome::Aborted && read.isolation == Isolation::ReadCommitted {
            found.insert(Anomaly::AbortedRead { value: value.to_owned(), offset });
        }
        if let Some(before) = latest.insert(write.writer, write)
            && before.number > write.number
        {
            let (value, before) = (value.to_owned(), before.value.clone());
            found.insert(Anomaly::Reordered { value, before, from: from() });
        }
    }
}

/// What only shows when all is over: losses, and transactions of which a part is there.
fn at_the_end(writes: &[Write], reads: &[Read], found: &mut BTreeSet<Anomaly>) {
    let last = reads.iter().filter(|read| read.last && read.isolation == Isolation::ReadCommitted);
    let mut values: HashMap<&(String, i32), BTreeSet<&str>> = HashMap::new();
    for read in last {
        let of_partition = values.entry(&read.from).or_default();
        of_partition.extend(read.records.iter().map(|(_, value)| value.as_str()));
    }
    let mut transactions: BTreeMap<(usize, u64), (usize, usize)> = BTreeMap::new();
    for write in writes {
        let Some(seen) = values.get(&write.to) else { continue };
        let is_there = seen.contains(write.value.as_str());
        if write.outcome == Outcome::Done && !is_there {
            let (value, from) = (write.value.clone(), write.to.clone());
            found.insert(Anomaly::Lost { value, from });
        }
        if let Some(transaction) = write.transaction {
            let counts = transactions.entry((write.writer, transaction)).or_default();
            counts.0 += usize::from(is_there);
            counts.1 += 1;
        }
    }
    for ((writer, transaction), (seen, of)) in transactions {
        if seen > 0 && seen < of {
            found.insert(Anomaly::Torn { writer, transaction, seen, of });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(partition: i32) -> (String, i32) {
        ("t".to_owned(), partition)
    }

    fn write(value: &str, number: u64, outcome: Outcome) -> Write {
        Write { value: value.to_owned(), writer: 1, number, to: to(0), transaction: None, outcome }
    }

    fn read(records: &[(i64, &str)]) -> Read {
        Read {
            from: to(0),
            isolation: Isolation::ReadCommitted,
            records: records.iter().map(|(at, value)| (*at, (*value).to_owned())).collect(),
            last: true,
        }
    }

    /// At once, and read by read.
    fn both(writes: &[Write], reads: &[Read]) -> BTreeSet<Anomaly> {
        let mut one_by_one = Reads::default();
        reads.iter().cloned().for_each(|read| one_by_one.add(read));
        let found = check(writes, reads);
        assert_eq!(one_by_one.check(writes).is_empty(), found.is_empty(), "{found:?}");
        found
    }

    fn only(writes: &[Write], reads: &[Read]) -> Anomaly {
        let found = both(writes, reads);
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    }

    #[test]
    fn what_is_right_is_not_found() {
        let writes = [
            write("a", 1, Outcome::Done),
            write("b", 2, Outcome::Unknown),
            write("c", 3, Outcome::Unknown),
            write("d", 4, Outcome::Aborted),
        ];
        let uncommitted = Read {
            isolation: Isolation::ReadUncommitted,
            last: false,
            ..read(&[(0, "a"), (2, "c"), (3, "d")])
        };
        assert_eq!(both(&writes, &[read(&[(0, "a"), (2, "c")]), uncommitted]), BTreeSet::new());
    }

    #[test]
    fn each_anomaly_is_found() {
        let done = [write("a", 1, Outcome::Done), write("b", 2, Outcome::Done)];
        assert!(matches!(only(&done, &[read(&[(0, "a")])]), Anomaly::Lost { .. }));
        let twice = read(&[(0, "a"), (1, "b"), (2, "a")]);
        assert!(matches!(only(&done, &[twice]), Anomaly::Doubled { at: (0, 2), .. }));
        let swapped = read(&[(0, "b"), (1, "a")]);
        assert!(matches!(only(&done, &[swapped]), Anomaly::Reordered { .. }));
        let strange = read(&[(0, "a"), (1, "b"), (2, "x")]);
        assert!(matches!(only(&done, &[strange]), Anomaly::Phantom { .. }));
        let back = read(&[(1, "a"), (1, "b")]);
        let found = both(&done, &[back]);
        assert!(found.iter().any(|one| matches!(one, Anomaly::Backwards { offset: 1, .. })));
        let moved =
            [read(&[(0, "a"), (1, "b")]), Read { last: false, ..read(&[(0, "a"), (1, "a")]) }];
        let found = both(&done, &moved);
        assert!(found.iter().any(|one| matches!(one, Anomaly::Changed { offset: 1, .. })));
        let aborted = [write("a", 1, Outcome::Aborted)];
        assert!(matches!(only(&aborted, &[read(&[(0, "a")])]), Anomaly::AbortedRead { .. }));
        let part = |value, number, partition| Write {
            transaction: Some(7),
            to: to(partition),
            ..write(value, number, Outcome::Unknown)
        };
        let torn = [part("a", 1, 0), part("b", 2, 1)];
        let other = Read { from: to(1), ..read(&[]) };
        let found = only(&torn, &[read(&[(0, "a")]), other]);
        assert_eq!(found, Anomaly::Torn { writer: 1, transaction: 7, seen: 1, of: 2 });
    }
}
