//! The task beside batch DataFusion: the same rows, any order of partitions, any crash.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use broker::ids::LeaderEpoch;
use broker::record::{ProducerStamp, RecordBatch as LogBatch};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::formats::RowEncoder;
use crate::pipeline::{Format, OnError, Source};
use crate::state::changelog::Restored as Changelog;
use crate::testing::{batch_engine, events, planned, topology, topology_that_forgets};
use disk::Disk;

mod aggregates;
mod combining;
mod disk;
mod evolution;
mod functions;
mod idle_keys;
mod interval_joins;
mod joins;
mod kept;
mod lists;
mod random_queries;
mod ranking;
mod split;
mod table_joins;
mod temporal_joins;
mod windows;

const NOW: WallTime = WallTime(10_000_000);

/// A broker in miniature: inputs, and what transactions have made visible.
struct World {
    topology: Topology,
    inputs: BTreeMap<TopicPartition, Vec<LogBatch>>,
    /// One partition each.
    tables: BTreeMap<TopicPartition, Vec<LogBatch>>,
    changelog: Vec<Change>,
    disk: Disk,
    offsets: BTreeMap<TopicPartition, Offset>,
    /// Values written to each topic.
    written: HashMap<String, Vec<Value>>,
    /// The last value of each key of the sink's topic, if its rows may be taken back.
    latest: BTreeMap<Vec<u8>, Value>,
    /// Rows shown less those taken back, and how often each is there.
    shown: BTreeMap<String, i64>,
    /// Rows that may be taken back are told apart by the sink's key.
    by_key: bool,
    /// Rows that were shown have other columns than those that take them back.
    is_reshaped: bool,
}

impl World {
    fn new(topology: Topology) -> World {
        World {
            topology,
            inputs: BTreeMap::new(),
            tables: BTreeMap::new(),
            changelog: Vec::new(),
            disk: Disk::default(),
            offsets: BTreeMap::new(),
            written: HashMap::new(),
            latest: BTreeMap::new(),
            shown: BTreeMap::new(),
            by_key: true,
            is_reshaped: false,
        }
    }

    fn produce(&mut self, topic: &str, partition: i32, values: &[impl AsRef<[u8]>]) {
        let log = self.inputs.entry(TopicPartition::new(topic, partition)).or_default();
        if values.is_empty() {
            return;
        }
        let mut builder = BatchBuilder::default();
        for value in values {
            builder.append(NOW.0, None, Some(value.as_ref()));
        }
        let base = log.last().map_or(Offset::ZERO, LogBatch::next_offset);
        log.push(builder.build(ProducerStamp::NONE).stamped(base, LeaderEpoch(0)));
    }

    /// Topic `a`, with a partition for each of these logs.
    fn fill(&mut self, logs: &[Vec<Vec<Event>>]) {
        for (partition, batches) in logs.iter().enumerate() {
            self.produce("a", partition as i32, &[] as &[&str]);
            for batch in batches {
                let values: Vec<String> = batch.iter().map(Event::json).collect();
                self.produce("a", partition as i32, &values);
            }
        }
    }

    fn partitions(&self, topic: &str) -> i32 {
        self.inputs.keys().filter(|partition| *partition.topic == *topic).count() as i32
    }

    fn end(&self, partition: &TopicPartition) -> Offset {
        self.inputs[partition].last().map_or(Offset::ZERO, LogBatch::next_offset)
    }

    /// A task as it starts after the last transaction.
    fn start(&self) -> Task {
        let inputs = self.topology.inputs.iter();
        let setup = TaskSetup {
            topology: self.topology.clone(),
            batch_rows_max: 7,
            task: 0,
            input_partitions: inputs
                .map(|input| (0..self.partitions(&input.source.topic)).collect())
                .collect(),
            sink_partitions: 2,
        };
        let task = Task::new(setup, NOW).unwrap();
        let (mut task, meta) = self.disk.restore(task, &self.changelog);
        for (partition, batches) in &self.tables {
            let end_offset = batches.last().map_or(Offset::ZERO, LogBatch::next_offset);
            let fetched = FetchedBatches {
                partition: partition.clone(),
                batches: batches.clone(),
                next_offset: end_offset,
                end_offset,
            };
            task.process_table(&fetched, Offset::ZERO).unwrap();
        }
        for partition in self.inputs.keys() {
            let next = self.offsets.get(partition).copied().unwrap_or_default();
            if let Some(meta) = &meta {
                assert_eq!(meta.offset(partition), Some(next));
            }
            task.start_at(partition, Position { next, end: self.end(partition) }, NOW);
        }
        task
    }

    /// The next batches of a partition from where the task is; none at its end.
    fn fetch(&self, task: &Task, partition: &TopicPartition, max: usize) -> Option<FetchedBatches> {
        let next = task.position(partition)?.next;
        let log = &self.inputs[partition];
        let from = log.iter().position(|batch| batch.next_offset() > next)?;
        let batches: Vec<LogBatch> = log[from..].iter().take(max.max(1)).cloned().collect();
        Some(FetchedBatches {
            partition: partition.clone(),
            next_offset: batches.last()?.next_offset(),
            batches,
            end_offset: self.end(partition),
        })
    }

    /// The transaction takes effect, whole.
    fn write(&mut self, commit: Commit) {
        for (to, builder) in commit.outputs {
            let batch = builder.build(ProducerStamp::NONE);
            for record in batch.records().unwrap().iter() {
                let record = record.unwrap();
                if self.topology.updating && *to.topic == *self.topology.sink.topic {
                    if self.by_key {
                        self.upsert(&record);
                    }
                    continue;
                }
                let value = record.value.unwrap_or(b"null").to_vec();
                let value = serde_json::from_slice(&value)
                    .unwrap_or_else(|_| Value::String(String::from_utf8(value).unwrap()));
                self.written.entry(to.topic.to_string()).or_default().push(value);
            }
        }
        self.changelog.extend(commit.changes);
        self.offsets.extend(commit.offsets);
        if !self.is_reshaped {
            commit.printed.iter().for_each(|rows| self.show(rows));
        }
    }

    /// A transaction of all that the task has done.
    fn commit(&mut self, task: &mut Task) {
        let commit = task.commit(NOW).unwrap();
        self.settle(task, commit, true);
    }

    /// A transaction has been written. `spills`: the task has done nothing since it was taken.
    fn settle(&mut self, task: &mut Task, commit: Commit, spills: bool) {
        let (changes, derived) = (commit.changes.clone(), commit.derived.clone());
        self.write(commit);
        self.disk.committed(task, (&changes, &derived), self.changelog.len(), spills);
    }

    fn upsert(&mut self, record: &Record<'_>) {
        let key = record.key.unwrap().to_vec();
        match record.value {
            Some(value) => {
                let value = serde_json::from_slice(value).unwrap();
                self.latest.insert(key, value);
            }
            None => {
                let gone = self.latest.remove(&key);
                assert!(gone.is_some(), "a tombstone for a key that was not there");
            }
        }
    }

    /// Every row that is taken back is there.
    fn show(&mut self, rows: &Rows) {
        let encoder = RowEncoder::new(&Format::Json, &rows.batch.schema(), &[]).unwrap();
        let encoded = encoder.encode(&rows.batch).unwrap();
        for row in 0..rows.len() {
            let text = String::from_utf8(encoded.value(row).unwrap().to_vec()).unwrap();
            let count = self.shown.entry(text.clone()).or_default();
            *count += if rows.is_retraction(row) { -1 } else { 1 };
            assert!(*count >= 0, "{text} is taken back, and never came");
        }
        self.shown.retain(|_, count| *count != 0);
    }

    /// What an answer that is updated has come to; told twice, by key and by row.
    fn answer(&self) -> Vec<Value> {
        let rows = self.rows();
        assert_same(&rows, &self.latest.values().cloned().collect::<Vec<_>>());
        rows
    }

    /// What was shown and not taken back.
    fn rows(&self) -> Vec<Value> {
        let rows = self.shown.iter().flat_map(|(text, &count)| {
            let value: Value = serde_json::from_str(text).unwrap();
            std::iter::repeat_n(value, count as usize)
        });
        rows.collect()
    }

    /// Reads everything to its end without a crash, committing after each event.
    fn run_to_end(&mut self) -> Task {
        let mut task = self.start();
        let partitions: Vec<_> = self.inputs.keys().cloned().collect();
        for partition in &partitions {
            while let Some(fetched) = self.fetch(&task, partition, 2) {
                task.process(&fetched, NOW).unwrap();
                self.commit(&mut task);
            }
        }
        task.finish(NOW).unwrap();
        self.commit(&mut task);
        task
    }

    fn out(&self) -> &[Value] {
        self.written.get("out").map_or(&[], Vec::as_slice)
    }
}

#[derive(Clone, Debug)]
struct Event {
    time: i64,
    key: Option<String>,
    n: Option<i64>,
}

impl Event {
    fn json(&self) -> String {
        serde_json::json!({"ts": self.time, "key": self.key, "n": self.n}).to_string()
    }
}

fn event() -> impl Strategy<Value = Event> {
    let key = prop::option::weighted(0.9, "[ab]{0,2}");
    (0..100_000i64, key, prop::option::weighted(0.9, -50..50i64)).prop_map(|(time, key, n)| Event {
        time,
        key,
        n,
    })
}

fn table(source: &Source, events: &[Event]) -> RecordBatch {
    let times: TimestampMillisecondArray = events.iter().map(|event| Some(event.time)).collect();
    let keys: StringArray = events.iter().map(|event| event.key.as_deref()).collect();
    let numbers: Int64Array = events.iter().map(|event| event.n).collect();
    let columns = vec![Arc::new(times) as _, Arc::new(keys) as _, Arc::new(numbers) as _];
    RecordBatch::try_new(source.schema.clone(), columns).unwrap()
}

/// What batch DataFusion answers, as JSON.
async fn batch_answer(sql: &str, source: &Source, events: &[Event]) -> Vec<Value> {
    answer(&batch_engine(&[(source, vec![table(source, events)])]), sql).await
}

async fn answer(engine: &SessionContext, sql: &str) -> Vec<Value> {
    let mut values = Vec::new();
    let plan = planned(engine, sql).await;
    let answer = engine.execute_logical_plan(plan).await.unwrap();
    for rows in answer.collect().await.unwrap() {
        let encoder = RowEncoder::new(&Format::Json, &rows.schema(), &[]).unwrap();
        let encoded = encoder.encode(&rows).unwrap();
        let parse = |row| serde_json::from_slice(encoded.value(row).unwrap()).unwrap();
        values.extend((0..encoded.len()).map(parse));
    }
    values
}

/// The same rows in any order; floats may differ in their last digits, as sums do that are
/// added up in another order.
fn assert_same(ours: &[Value], batch: &[Value]) {
    assert_eq!(comparable(ours), comparable(batch));
}

fn is_same(ours: &[Value], batch: &[Value]) -> bool {
    comparable(ours) == comparable(batch)
}

fn comparable(values: &[Value]) -> Vec<String> {
    fn rounded(value: &Value) -> Value {
        match value {
            Value::Number(number) if number.is_f64() => {
                Value::String(format!("{:.9e}", number.as_f64().unwrap() + 0.0))
            }
            Value::Array(values) => values.iter().map(rounded).collect(),
            Value::Object(fields) => Value::Object(
                fields.iter().map(|(key, value)| (key.clone(), rounded(value))).collect(),
            ),
            other => other.clone(),
        }
    }
    let mut texts: Vec<String> = values.iter().map(|value| rounded(value).to_string()).collect();
    texts.sort();
    texts
}

/// Every row is on time.
fn patient(mut source: Source) -> Source {
    source.watermark.delay = Duration::from_secs(1000);
    source
}

const WINDOW: &str = "tumble_start(ts, INTERVAL '10 seconds')";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Where a step of the random walk ends.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Goes,
    Commits,
    /// A transaction of what there is now is written while the task goes on.
    BeginsToCommit,
    /// Nothing of it is seen again.
    DiesBeforeWriting,
    /// The transaction was written, and its writer never knew.
    DiesAfterWriting,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Goes),
        2 => Just(Fate::Commits),
        3 => Just(Fate::BeginsToCommit),
        1 => Just(Fate::DiesBeforeWriting),
        1 => Just(Fate::DiesAfterWriting),
    ]
}

fn walk(world: &mut World, steps: &[(usize, usize, Fate)]) {
    let partitions: Vec<_> = world.inputs.keys().cloned().collect();
    // As good as by chance, and the same when a case is run again.
    if steps.iter().map(|(partition, ..)| partition).sum::<usize>() % 2 == 1 {
        world.disk.on();
    }
    let mut task = world.start();
    let mut under_way: Option<Commit> = None;
    for &(partition, max, fate) in steps {
        if let Some(fetched) = world.fetch(&task, &partitions[partition % partitions.len()], max) {
            task.process(&fetched, NOW).unwrap();
        }
        if matches!(fate, Fate::Commits | Fate::BeginsToCommit)
            && let Some(commit) = under_way.take()
        {
            // One at a time.
            world.settle(&mut task, commit, false);
        }
        match fate {
            Fate::Goes => {}
            Fate::Commits => world.commit(&mut task),
            Fate::BeginsToCommit => under_way = Some(task.commit(NOW).unwrap()),
            Fate::DiesBeforeWriting => {
                under_way = None;
                task.commit(NOW).unwrap();
                task = world.start();
            }
            Fate::DiesAfterWriting => {
                let last = under_way.take().unwrap_or_else(|| task.commit(NOW).unwrap());
                world.write(last);
                task = world.start();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Random data, partitions, batches and crashes: the answer is that of batch SQL, nothing
    /// lost and nothing twice.
    #[test]
    fn a_window_aggregate_equals_batch_sql_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30),
    ) {
        let source = patient(events("a"));
        let sql = format!(
            "SELECT {WINDOW} AS window_start, key, count(*) AS rows, sum(n) AS total,
                    min(key) AS least, max(n) AS most, avg(n) AS mean, median(n) AS middle,
                    count(DISTINCT n) AS numbers, sum(n) FILTER (WHERE n > 0) AS positive
             FROM a WHERE n IS NULL OR n <> 7
             GROUP BY {WINDOW}, key HAVING count(*) > 1"
        );
        block_on(async {
            let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
            world.fill(&logs);
            walk(&mut world, &steps);
            world.run_to_end();
            let all: Vec<Event> = logs.into_iter().flatten().flatten().collect();
            assert_same(world.out(), &batch_answer(&sql, &source, &all).await);
        });
    }

    #[test]
    fn a_stateless_query_equals_batch_sql_through_crashes(
        logs in prop::collection::vec(prop::collection::vec(event(), 1..30), 1..4),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..10),
    ) {
        let source = events("a");
        let sql = "SELECT upper(key) AS k, n * 2 AS twice FROM a WHERE n > 0";
        block_on(async {
            let mut world = World::new(topology(sql, &[&source]).await.unwrap());
            for (partition, batch) in logs.iter().enumerate() {
                for part in batch.chunks(4) {
                    let values: Vec<String> = part.iter().map(Event::json).collect();
                    world.produce("a", partition as i32, &values);
                }
            }
            walk(&mut world, &steps);
            world.run_to_end();
            let all: Vec<Event> = logs.into_iter().flatten().collect();
            assert_same(world.out(), &batch_answer(sql, &source, &all).await);
        });
    }
}

const EVERY_CALL: &[&str] = &[
    "count(n)",
    "count(*)",
    "sum(n)",
    "avg(n)",
    "min(n)",
    "max(n)",
    "min(key)",
    "max(key)",
    "median(n)",
    "stddev(n)",
    "stddev_pop(n)",
    "var(n)",
    "var_pop(n)",
    "corr(n, n + 1)",
    "covar_samp(n, n * n)",
    "covar_pop(n, n)",
    "regr_slope(n, n * n)",
    "regr_count(n, n)",
    "bool_and(n > 0)",
    "bool_or(n > 0)",
    "bit_and(n)",
    "bit_or(n)",
    "bit_xor(n)",
    "first_value(n ORDER BY n, key)",
    "last_value(n ORDER BY n, key)",
    "first_value(n IGNORE NULLS ORDER BY ts, n)",
    "nth_value(n, 2 ORDER BY n, key)",
    "nth_value(n, 300 ORDER BY ts DESC, n)",
    "array_agg(n ORDER BY n)",
    "array_agg(DISTINCT n ORDER BY n)",
    "string_agg(key, ',' ORDER BY key)",
    "approx_distinct(n)",
    "percentile_cont(n, 0.9)",
    "percentile_cont(0.25) WITHIN GROUP (ORDER BY n)",
    "count(DISTINCT key)",
    "sum(DISTINCT n)",
    "avg(DISTINCT n)",
    "sum(n) FILTER (WHERE key = 'a')",
    "min(ts)",
    "max(arrow_cast(n, 'Decimal128(20, 3)'))",
    "sum(arrow_cast(n, 'Float64') / 8)",
    "avg(arrow_cast(n, 'Decimal128(20, 3)'))",
];

/// Every aggregate's state survives being written, merged and restored.
#[tokio::test]
async fn every_aggregate_equals_batch_sql_with_a_restart_after_each_batch() {
    let source = patient(events("a"));
    let all: Vec<Event> = (0..400i64)
        .map(|at| Event {
            time: at * 7919 % 30_000,
            key: (at % 11 != 0).then(|| ["a", "b", "c"][at as usize % 3].to_owned()),
            n: (at % 13 != 0).then_some(at * 31 % 17 - 5),
        })
        .collect();
    for call in EVERY_CALL {
        let sql = format!("SELECT {WINDOW} AS w, {call} AS answer FROM a GROUP BY {WINDOW}");
        let topology = topology(&sql, &[&source]).await;
        let mut world = World::new(topology.unwrap_or_else(|error| panic!("{call}: {error}")));
        for part in all.chunks(25) {
            let values: Vec<String> = part.iter().map(Event::json).collect();
            world.produce("a", 0, &values);
        }
        walk(&mut world, &[(0, 1, Fate::DiesAfterWriting); 10]);
        world.run_to_end();
        println!("{call}");
        assert_same(world.out(), &batch_answer(&sql, &source, &all).await);
    }
}

/// Approximate ones differ from batch by their own error, and not by more.
#[tokio::test]
async fn approximate_percentiles_stay_near() {
    let source = patient(events("a"));
    let sql = format!(
        "SELECT {WINDOW} AS w, approx_percentile_cont(n, 0.5) AS p, approx_median(n) AS m
         FROM a GROUP BY {WINDOW}"
    );
    let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
    for part in (0..2000i64).collect::<Vec<_>>().chunks(100) {
        let event = |&at: &i64| Event { time: 1, key: None, n: Some(at * 733 % 2000) }.json();
        world.produce("a", 0, &part.iter().map(event).collect::<Vec<_>>());
    }
    walk(&mut world, &[(0, 1, Fate::Commits); 10]);
    world.run_to_end();
    for field in ["p", "m"] {
        let found = world.out()[0][field].as_f64().unwrap_or_else(|| panic!("{:?}", world.out()));
        assert!((980.0..=1020.0).contains(&found), "{field} {found}");
    }
}

fn at(time: i64) -> String {
    Event { time, key: Some("a".to_owned()), n: Some(1) }.json()
}

#[tokio::test]
async fn a_window_closes_once_and_late_rows_are_counted() {
    let source = events("a");
    let sql = format!("SELECT {WINDOW} AS w, count(*) AS c FROM a GROUP BY {WINDOW}");
    let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
    world.produce("a", 0, &[at(1000), at(9000)]);
    world.produce("a", 0, &[at(10_000)]);
    world.produce("a", 0, &[at(9999), at(12_000), r#"{"n":1}"#.to_owned()]);
    let mut task = world.start();
    let partition = TopicPartition::new("a", 0);
    let mut seen = Vec::new();
    while let Some(fetched) = world.fetch(&task, &partition, 1) {
        task.process(&fetched, NOW).unwrap();
        world.write(task.commit(NOW).unwrap());
        seen.push(world.out().len());
    }
    assert_eq!(seen, [0, 1, 1]);
    let counts = task.counts();
    assert_eq!((counts.rows_in, counts.late, counts.untimed), (6, 1, 1));
    assert_eq!(task.watermark(), Some(Watermark(12_000)));
    // The same after a restart, and at the end.
    let mut task = world.start();
    assert_eq!(task.watermark(), Some(Watermark(12_000)));
    assert_eq!(task.kept(), Kept { windows: 1, groups: 1 });
    task.finish(NOW).unwrap();
    world.write(task.commit(NOW).unwrap());
    world.produce("a", 0, &[at(13_000), at(21_000)]);
    let task = world.run_to_end();
    assert_eq!(task.counts().late, 1);
    let starts: Vec<String> = world.out().iter().map(|row| row.to_string()).collect();
    assert_eq!(
        starts,
        [
            r#"{"c":2,"w":"1970-01-01T00:00:00"}"#,
            r#"{"c":2,"w":"1970-01-01T00:00:10"}"#,
            r#"{"c":1,"w":"1970-01-01T00:00:20"}"#,
        ]
    );
}

/// A source with a row each ten seconds: five quiet ones closed the hour, and each later row of it
/// was late.
#[tokio::test]
async fn a_window_that_has_not_ended_by_the_wall_clock_stays_open() {
    let source = events("a");
    let sql = format!("SELECT {WINDOW} AS w, count(*) AS n FROM a GROUP BY 1");
    let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
    // The window goes on until 10 s from now.
    let event = |after_ms| Event { time: NOW.0 + after_ms, key: None, n: Some(1) }.json();
    world.produce("a", 0, &[event(1), event(2)]);
    let mut task = world.start();
    let partition = TopicPartition::new("a", 0);
    let fetched = world.fetch(&task, &partition, 1).unwrap();
    task.process(&fetched, NOW).unwrap();
    // Quiet for longer than the idle timeout, more than once.
    let mut now = NOW;
    while now < WallTime(NOW.0 + 9_000) {
        now = task.next_tick().expect("it waits for the window to end").max(now);
        task.tick(now).unwrap();
        world.write(task.commit(now).unwrap());
        assert!(world.out().is_empty() || now.0 >= NOW.0 + 10_000, "{now:?}");
    }
    world.produce("a", 0, &[event(9_000)]);
    let fetched = world.fetch(&task, &partition, 1).unwrap();
    task.process(&fetched, WallTime(NOW.0 + 9_001)).unwrap();
    assert_eq!(task.counts().late, 0);
    // It has ended, and nothing has come for as long as is waited: the clocks tell.
    let ended = WallTime(NOW.0 + 10_000 + 5_000);
    while now < ended {
        now = task.next_tick().expect("it waits for the window to end").max(now);
        task.tick(now).unwrap();
    }
    world.write(task.commit(now).unwrap());
    assert_eq!(world.out().len(), 1);
    assert_eq!(world.out()[0]["n"], 3);
    assert_eq!(task.next_tick(), None);
}

#[tokio::test]
async fn idle_partitions_let_windows_close() {
    let source = events("a");
    let sql = format!("SELECT {WINDOW} AS w, count(*) AS c FROM a GROUP BY {WINDOW}");
    let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
    world.produce("a", 0, &[at(1000)]);
    world.produce("a", 1, &[] as &[&str]);
    let mut task = world.start();
    let fetched = world.fetch(&task, &TopicPartition::new("a", 0), 1).unwrap();
    task.process(&fetched, NOW).unwrap();
    let idle = task.next_tick().unwrap();
    assert_eq!(idle, NOW.plus(source.watermark.idle_timeout));
    task.tick(WallTime(idle.0 - 1)).unwrap();
    world.write(task.commit(idle.plus(source.watermark.idle_timeout)).unwrap());
    assert_eq!(world.out().len(), 0);
    // However long the commit took, the moment is not missed.
    assert_eq!(task.next_tick(), Some(idle));
    task.tick(idle).unwrap();
    assert!(task.is_dirty());
    world.write(task.commit(NOW).unwrap());
    assert_eq!(world.out().len(), 1);
    assert_eq!((task.watermark(), task.next_tick()), (Some(Watermark(10_000)), None));
    assert!(!task.is_dirty());
}

#[tokio::test]
async fn a_record_that_fails_is_named_skipped_or_put_aside() {
    let sql = "SELECT 10 / n AS q FROM a";
    let bad = r#"{"n":"x"}"#.to_owned();
    let zero = r#"{"n":0}"#.to_owned();
    let good = r#"{"n":5}"#.to_owned();
    let values = [good.clone(), bad, good, zero];
    let run = async |on_error: OnError| {
        let mut source = events("a");
        source.on_error = on_error;
        let mut world = World::new(topology(sql, &[&source]).await.unwrap());
        world.produce("a", 0, &values);
        world
    };
    let world = run(OnError::Fail).await;
    let mut task = world.start();
    let fetched = world.fetch(&task, &TopicPartition::new("a", 0), 1).unwrap();
    let error = task.process(&fetched, NOW).unwrap_err().to_string();
    assert!(
        error.starts_with("topic 'a', partition 0, offset 1: JSON field 'n' is the text"),
        "{error}"
    );

    let mut world = run(OnError::Skip).await;
    let task = world.run_to_end();
    assert_eq!((task.counts().skipped, world.out().len()), (2, 2));

    let mut world = run(OnError::DeadLetter { topic: "dead".to_owned() }).await;
    let task = world.run_to_end();
    assert_eq!((task.counts().dead_lettered, world.out().len()), (2, 2));
    let put_aside: Vec<String> = world.written["dead"].iter().map(Value::to_string).collect();
    assert_eq!(put_aside, [r#"{"n":"x"}"#, r#"{"n":0}"#]);
}

/// One record that the sink's topic does not take must not end a query for good.
#[tokio::test]
async fn a_row_that_is_too_long_for_its_topic_is_left_out_as_the_file_says() {
    let run = async |on_error| {
        let mut source = patient(events("a"));
        source.on_error = on_error;
        let sql = "SELECT key, repeat('x', n) AS x FROM a";
        let mut world = World::new(topology(sql, &[&source]).await.unwrap());
        world.topology.sink.key = vec![0];
        let value = |key, n| format!(r#"{{"ts":1,"key":"{key}","n":{n}}}"#);
        world.produce("a", 0, &[value("short", 10), value("long", 10_000), value("too", 10)]);
        let mut task = world.start();
        task.set_output_bytes_max(1000);
        let fetched = world.fetch(&task, &TopicPartition::new("a", 0), 10).unwrap();
        task.process(&fetched, NOW).map(|()| {
            let commit = task.commit(NOW).unwrap();
            assert!(commit.outputs.iter().all(|(_, batch)| batch.size() <= 1000));
            world.write(commit);
            (task.counts(), world)
        })
    };
    let error = run(OnError::Fail).await.err().unwrap().to_string();
    expect_test::expect![[r#"topic 'out': a row with key 'long' is a record of 10097 bytes, more than max.message.bytes = 1000; raise that (`millstream configs alter`), or leave such rows out: on_error = "skip" or a dead-letter topic"#]].assert_eq(&error);
    let (counts, world) = run(OnError::Skip).await.unwrap();
    assert_eq!((counts.skipped, counts.rows_out, world.out().len()), (1, 2, 2));
    let letters = OnError::DeadLetter { topic: "dead".to_owned() };
    let (counts, world) = run(letters).await.unwrap();
    assert_eq!((counts.dead_lettered, counts.rows_out, world.out().len()), (1, 2, 2));
    assert_eq!(world.written["dead"], [Value::Null]);
}

#[tokio::test]
async fn a_changed_query_is_refused_over_old_state() {
    let source = patient(events("a"));
    let sql = |call| format!("SELECT {WINDOW} AS w, {call} AS c FROM a GROUP BY {WINDOW}");
    let mut world = World::new(topology(&sql("count(*)"), &[&source]).await.unwrap());
    world.produce("a", 0, &[at(1)]);
    walk(&mut world, &[(0, 1, Fate::Commits)]);
    world.topology = topology(&sql("sum(n)"), &[&source]).await.unwrap();
    let setup = TaskSetup {
        topology: world.topology.clone(),
        batch_rows_max: 10,
        task: 0,
        input_partitions: vec![vec![0]],
        sink_partitions: 1,
    };
    let task = Task::new(setup, NOW).unwrap();
    let mut restoring = Restoring::new(task, usize::MAX);
    for change in &world.changelog {
        restoring.take(Some(&change.key), change.value.as_deref()).unwrap();
    }
    let error = restoring.finish(NOW).err().unwrap();
    assert!(error.to_string().contains("1 entries would be lost"), "{error}");
}

/// State that grows is not written anew at every commit.
#[tokio::test]
async fn growing_state_is_written_a_few_times_only() {
    let source = patient(events("a"));
    let sql = format!("SELECT {WINDOW} AS w, array_agg(n) AS c FROM a GROUP BY {WINDOW}");
    let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
    for _ in 0..256 {
        world.produce("a", 0, &vec![at(1); 16]);
    }
    walk(&mut world, &[(0, 1, Fate::Commits); 256]);
    let bytes: usize =
        world.changelog.iter().map(|change| change.value.as_ref().map_or(0, Vec::len)).sum();
    // 4,096 numbers of 9 bytes; rewritten at each of 256 commits they would be 4.7 MB.
    assert!(bytes < 700_000, "{bytes}");
    world.run_to_end();
    assert_eq!(world.out()[0]["c"].as_array().unwrap().len(), 4096);
    let mut restored = Changelog::default();
    for change in &world.changelog {
        restored.apply(Some(&change.key), change.value.as_deref());
    }
    assert_eq!(restored.keys().count(), 1, "only the meta record is left");
}
