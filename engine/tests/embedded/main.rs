//! Pipelines on the broker in this process, from topics to topics.
//!
//! - [`functions`]: with functions in WebAssembly; [`begins`]: where they begin, and what fails.

mod begins;
mod functions;
mod unwritable;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Client, Isolation, NewTopic, OffsetSpec, ProducerOptions, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use datafusion::prelude::{CsvReadOptions, SessionConfig, SessionContext};
use engine::pipeline::{Pipeline, load, load_text};
use engine::runtime::{Phase, QuerySummary, Reset, RunError, Runtime, RuntimeOptions};
use serde_json::Value;

struct World {
    _dir: tempfile::TempDir,
    broker: Arc<Broker>,
    client: Arc<dyn Client>,
}

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
        let client = Arc::new(EmbeddedClient::new(broker.clone()));
        World { _dir: dir, broker, client }
    }

    async fn create(&self, topic: &str, partitions: i32) {
        self.client.create_topic(&NewTopic::new(topic, partitions)).await.unwrap();
    }

    async fn produce(&self, topic: &str, partition: i32, values: &[impl AsRef<[u8]>]) {
        let mut producer = self.client.producer(ProducerOptions::default()).await.unwrap();
        let to = TopicPartition::new(topic, partition);
        for part in values.chunks(500) {
            let mut batch = BatchBuilder::default();
            part.iter().for_each(|value| batch.append(1000, None, Some(value.as_ref())));
            producer.send(&to, batch).await.unwrap();
        }
        producer.flush().await.unwrap();
    }

    /// Everything committed in a topic: keys and values as text.
    async fn read(&self, topic: &str) -> Vec<(Option<String>, String)> {
        let partitions = self.client.topic(topic).await.unwrap().unwrap().partitions;
        let mut found = Vec::new();
        for partition in 0..partitions {
            found.extend(self.read_records(topic, partition).await);
        }
        found
    }

    /// Values committed in a partition, in their order.
    async fn read_partition(&self, topic: &str, partition: i32) -> Vec<String> {
        let records = self.read_records(topic, partition).await.into_iter();
        records.map(|(_, value)| value).collect()
    }

    async fn read_records(&self, topic: &str, partition: i32) -> Vec<(Option<String>, String)> {
        let partition = TopicPartition::new(topic, partition);
        let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
        let one = std::slice::from_ref(&partition);
        let end = self.client.list_offsets(one, latest).await.unwrap()[0].unwrap();
        let (mut found, mut next) = (Vec::new(), Offset::ZERO);
        let options = ReaderOptions::partitions(vec![(partition.clone(), next)]);
        let mut reader = self.client.reader(options).await.unwrap();
        while next < end {
            let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { continue };
            for record in fetched.batches.iter().map(|batch| batch.records().unwrap()) {
                found.extend(record.iter().map(|record| {
                    let record = record.unwrap();
                    let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
                    (record.key.map(text), text(record.value.unwrap()))
                }));
            }
            next = fetched.next_offset;
        }
        found
    }

    fn start(&self, pipelines: &[&Pipeline]) -> Runtime {
        self.start_with(pipelines, RuntimeOptions::default())
    }

    fn start_with(&self, pipelines: &[&Pipeline], options: RuntimeOptions) -> Runtime {
        let pipelines = pipelines.iter().map(|&pipeline| pipeline.clone()).collect();
        Runtime::start(self.client.clone(), pipelines, options).unwrap()
    }

    /// Waits until a group has committed all of a topic.
    async fn wait_until_read(&self, group: &str, topic: &str, partitions: i32) {
        let all: Vec<TopicPartition> =
            (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
        let ends = self.client.list_offsets(&all, latest).await.unwrap();
        let is_read = async || {
            let committed = self.client.committed_offsets(group, &all).await.unwrap();
            committed.iter().zip(&ends).all(|(committed, end)| {
                committed.as_ref().map(|at| at.offset).unwrap_or_default() >= end.unwrap()
            })
        };
        let reading = async {
            while !is_read().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
        read.unwrap_or_else(|_| panic!("{group} does not read all of {topic}"));
    }

    async fn run_to_end(&self, pipelines: &[&Pipeline]) -> Result<Vec<QuerySummary>, RunError> {
        let runtime = self.start(pipelines);
        runtime.inputs_complete();
        runtime.finished().await
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn flight_delays(file: &str) -> Pipeline {
    let path = root().join("pipelines").join(file);
    let (mut pipelines, _) = load(&[path]).unwrap_or_else(|problems| panic!("{problems:?}"));
    pipelines.remove(0)
}

fn flights() -> Vec<String> {
    let text = std::fs::read_to_string(root().join("examples/data/flights-2013-01.csv")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn pipeline(text: &str) -> Pipeline {
    let loaded = load_text("test.toml".into(), text.to_owned());
    loaded.unwrap_or_else(|problems| panic!("{problems:?}")).0
}

/// The same question to batch DataFusion over the same file.
async fn batch_delays(pipeline: &Pipeline) -> Vec<Value> {
    let mut context =
        SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    engine::plan::windows::register(&mut context).unwrap();
    let options = CsvReadOptions::new().schema(&pipeline.sources[0].schema).has_header(true);
    // DataFusion's CSV has no token for NULL but the empty field.
    let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
    std::fs::write(&file, flights().join("\n").replace(",NA", ",")).unwrap();
    context.register_csv("flights", file.path().to_str().unwrap(), options).await.unwrap();
    let sql = "
        SELECT tumble_start(time_hour, INTERVAL '1 hour') AS window_start,
               tumble_end(time_hour, INTERVAL '1 hour') AS window_end, origin,
               count(*) AS flights, count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
               avg(dep_delay) AS mean_delay, max(dep_delay) AS max_delay,
               percentile_cont(0.9) WITHIN GROUP (ORDER BY dep_delay) AS p90_delay
        FROM flights GROUP BY 1, 2, 3";
    let mut values = Vec::new();
    for rows in context.sql(sql).await.unwrap().collect().await.unwrap() {
        let format = engine::pipeline::Format::Json;
        let encoder = engine::formats::RowEncoder::new(&format, &rows.schema(), &[]).unwrap();
        let encoded = encoder.encode(&rows).unwrap();
        let value = |row| serde_json::from_slice(encoded.value(row).unwrap()).unwrap();
        values.extend((0..encoded.len()).map(value));
    }
    values
}

/// By window and airport, each once; means are rounded, since sums of parts round otherwise.
fn by_group(values: impl IntoIterator<Item = Value>) -> BTreeMap<String, String> {
    let mut groups = BTreeMap::new();
    for mut value in values {
        if let Some(mean) = value["mean_delay"].as_f64() {
            value["mean_delay"] = Value::String(format!("{mean:.9}"));
        }
        let key = format!("{} {}", value["window_start"], value["origin"]);
        assert_eq!(groups.insert(key, value.to_string()), None, "a group comes once");
    }
    groups
}

async fn delays(world: &World) -> BTreeMap<String, String> {
    let rows = world.read("delays-by-hour").await;
    by_group(rows.into_iter().map(|(key, value)| {
        let value: Value = serde_json::from_str(&value).unwrap();
        assert_eq!(key.as_deref(), value["origin"].as_str());
        value
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn flight_delays_equal_batch_sql_in_both_forms() {
    let batch = by_group(batch_delays(&flight_delays("flight-delays.toml")).await);
    assert!(batch.len() > 1000, "{}", batch.len());
    for file in ["flight-delays.toml", "flight-delays.sql"] {
        let world = World::new().await;
        world.create("flights", 1).await;
        world.produce("flights", 0, &flights()).await;
        let mut runtime = world.start(&[&flight_delays(file)]);
        runtime.inputs_complete();
        let mut printed = runtime.printed().unwrap();
        let (finished, shown) = tokio::join!(runtime.finished(), async {
            let mut rows = 0;
            while let Some(batch) = printed.recv().await {
                rows += batch.rows.len();
            }
            rows
        });
        let summary = finished.unwrap().remove(0);
        assert!(summary.complete);
        assert_eq!((summary.counts.rows_in, summary.counts.late), (27_004, 0));
        assert_eq!(shown, batch.len());
        assert_eq!(delays(&world).await, batch);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pipeline_goes_on_where_it_committed() {
    let pipeline = flight_delays("flight-delays.toml");
    let world = World::new().await;
    world.create("flights", 1).await;
    let lines = flights();
    for part in lines.chunks(lines.len() / 5) {
        world.produce("flights", 0, part).await;
        let runtime = world.start(&[&pipeline]);
        let mut progress = runtime.progress();
        // Somewhere in the middle, wherever the first commit is.
        progress.wait_for(|queries| queries[0].counts.rows_in > 0).await.unwrap();
        runtime.stop();
        let summary = runtime.finished().await.unwrap().remove(0);
        assert!(!summary.complete);
    }
    let runtime = world.start(&[&pipeline]);
    runtime.inputs_complete();
    let progress = runtime.progress();
    runtime.finished().await.unwrap();
    let resumed = progress.borrow()[0].resumed_from.clone().unwrap();
    assert!(resumed.windows > 0 && resumed.groups > 0, "{resumed:?}");
    assert_eq!(delays(&world).await, by_group(batch_delays(&pipeline).await));
    // All is closed now: nothing comes a second time, however often it ends.
    let again = world.run_to_end(&[&pipeline]).await.unwrap().remove(0);
    assert_eq!(again.counts.rows_out, 0);
    assert_eq!(delays(&world).await.len(), by_group(batch_delays(&pipeline).await).len());
}

/// Stopped again and again, shared by other numbers of tasks only when it starts anew.
#[tokio::test(flavor = "multi_thread")]
async fn several_tasks_share_a_query() {
    let mut pipeline = flight_delays("flight-delays.toml");
    pipeline.settings.tasks = 3;
    // Partitions are not read in step, and nothing is to be late.
    let mut source = (*pipeline.sources[0]).clone();
    source.watermark.delay = Duration::from_secs(40 * 24 * 3600);
    pipeline.sources = vec![Arc::new(source)];
    let world = World::new().await;
    world.create("flights", 4).await;
    let lines = flights();
    for (index, part) in lines.chunks(lines.len() / 6).enumerate() {
        world.produce("flights", (index % 4) as i32, part).await;
        let runtime = world.start(&[&pipeline]);
        let mut progress = runtime.progress();
        progress.wait_for(|queries| queries[0].counts.rows_in > 0).await.unwrap();
        runtime.stop();
        assert!(!runtime.finished().await.unwrap()[0].complete);
    }
    let summary = world.run_to_end(&[&pipeline]).await.unwrap().remove(0);
    assert!(summary.complete);
    let batch = by_group(batch_delays(&pipeline).await);
    assert_eq!(delays(&world).await, batch);

    let exchange = "flight-delays-delays-by-hour-0of3-repartition";
    let one = [TopicPartition::new(exchange, 0)];
    let kept_from = world.client.list_offsets(&one, OffsetSpec::Earliest).await.unwrap();
    assert!(kept_from[0].unwrap() > Offset::ZERO, "what was read is deleted");

    pipeline.settings.tasks = 2;
    let refused = world.run_to_end(&[&pipeline]).await.unwrap_err().to_string();
    assert!(refused.contains("shared by 3 tasks, and is to be by 2"), "{refused}");
    world.broker.delete_topic("delays-by-hour").await.unwrap();
    let options = RuntimeOptions { reset_state: Reset::All, ..RuntimeOptions::default() };
    let runtime = world.start_with(&[&pipeline], options);
    runtime.inputs_complete();
    let summary = runtime.finished().await.unwrap().remove(0);
    assert_eq!((summary.counts.rows_in, summary.counts.late), (27_004, 0));
    assert_eq!(delays(&world).await, batch);
}

/// More tasks than partitions: those with nothing to read never said that they were idle, and no
/// window closed while the pipeline ran.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_without_a_partition_hold_no_window_open() {
    let mut pipeline = flight_delays("flight-delays.toml");
    pipeline.settings.tasks = 3;
    let mut source = (*pipeline.sources[0]).clone();
    source.watermark.idle_timeout = Duration::from_millis(100);
    pipeline.sources = vec![Arc::new(source)];
    let world = World::new().await;
    world.create("flights", 1).await;
    world.produce("flights", 0, &flights()).await;
    let runtime = world.start(&[&pipeline]);
    let batch = by_group(batch_delays(&pipeline).await);
    let mut progress = runtime.progress();
    let all_closed =
        progress.wait_for(|queries| queries[0].counts.rows_out as usize == batch.len());
    tokio::time::timeout(Duration::from_secs(60), all_closed).await.expect("they close").unwrap();
    runtime.stop_and_wait().await;
    assert_eq!(delays(&world).await, batch);
}

/// Workers come and go while rows do: tasks move with their state, nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread")]
async fn workers_share_the_tasks_of_a_query() {
    let mut pipeline = flight_delays("flight-delays.toml");
    pipeline.settings.tasks = 4;
    let mut source = (*pipeline.sources[0]).clone();
    source.watermark.delay = Duration::from_secs(40 * 24 * 3600);
    pipeline.sources = vec![Arc::new(source)];
    let world = World::new().await;
    world.create("flights", 4).await;
    let lines = flights();
    let parts: Vec<&[String]> = lines.chunks(lines.len() / 8 + 1).collect();
    let shared = RuntimeOptions { shared: true, ..RuntimeOptions::default() };
    let start = || world.start_with(&[&pipeline], shared.clone());
    // 1 → 3 → 2 → 1 workers, each number of them for two parts.
    let mut workers = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match index {
            0 => workers.push(start()),
            2 => workers.extend([start(), start()]),
            4 | 6 => {
                workers.remove(0).stop_and_wait().await;
            }
            _ => {}
        }
        world.produce("flights", (index % 4) as i32, part).await;
        world.wait_until_read("flight-delays-delays-by-hour", "flights", 4).await;
    }
    for worker in workers {
        worker.stop_and_wait().await;
    }
    let summary = world.run_to_end(&[&pipeline]).await.unwrap().remove(0);
    assert_eq!(summary.counts.rows_in, 0);
    assert_eq!(delays(&world).await, by_group(batch_delays(&pipeline).await));
}

trait StopAndWait {
    async fn stop_and_wait(self);
}

impl StopAndWait for Runtime {
    async fn stop_and_wait(self) {
        self.stop();
        self.finished().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn state_survives_the_broker() {
    let pipeline = flight_delays("flight-delays.toml");
    let mut world = World::new().await;
    world.create("flights", 1).await;
    let lines = flights();
    let (first, second) = lines.split_at(9000);
    world.produce("flights", 0, first).await;
    let runtime = world.start(&[&pipeline]);
    let mut progress = runtime.progress();
    progress.wait_for(|queries| queries[0].counts.rows_in == 8999).await.unwrap();
    runtime.stop();
    runtime.finished().await.unwrap();
    world.broker.shutdown().await.unwrap();
    let config = BrokerConfig::new(world._dir.path());
    drop((world.broker, world.client));
    world.broker = Broker::open(config).await.unwrap();
    world.client = Arc::new(EmbeddedClient::new(world.broker.clone()));
    world.produce("flights", 0, second).await;
    world.run_to_end(&[&pipeline]).await.unwrap();
    assert_eq!(delays(&world).await, by_group(batch_delays(&pipeline).await));
}

/// A second instance of a pipeline takes over at any moment; the first can write no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_fences_the_first() {
    let pipeline = flight_delays("flight-delays.toml");
    let world = World::new().await;
    world.create("flights", 1).await;
    let lines = flights();
    let (first, second) = lines.split_at(20_000);
    world.produce("flights", 0, first).await;
    let zombie = world.start(&[&pipeline]);
    let mut progress = zombie.progress();
    progress.wait_for(|queries| queries[0].counts.rows_in > 0).await.unwrap();
    let successor = world.start(&[&pipeline]);
    let mut progress = successor.progress();
    progress.wait_for(|queries| queries[0].resumed_from.is_some()).await.unwrap();
    world.produce("flights", 0, second).await;
    successor.inputs_complete();
    successor.finished().await.unwrap();
    let error = zombie.finished().await.unwrap_err().to_string();
    assert!(error.contains("another producer with transactional id"), "{error}");
    assert_eq!(delays(&world).await, by_group(batch_delays(&pipeline).await));
}

const CHAIN: &str = r#"
[sources.numbers]
format = "json"
[sources.numbers.columns]
at = "timestamp"
n = "bigint"

[sources.doubled]
format = "json"
event_time = "at"
[sources.doubled.columns]
at = "timestamp"
n = "bigint"

[[queries]]
name = "double"
from = "numbers"
sink = { topic = "doubled", format = "json" }
[[queries.steps]]
filter = "n > 0"
[[queries.steps]]
map = { at = "at", n = "n * 2" }

[[queries]]
name = "sums"
from = "doubled"
sink = { topic = "sums", format = "json" }
[[queries.steps]]
window = { tumble = "10 seconds" }
[queries.steps.aggregate]
total = "sum(n)"
"#;

fn number(second: i64, n: i64) -> String {
    format!(r#"{{"at":"1970-01-01T00:00:{second:02}","n":{n}}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_queries_ends_in_order() {
    let pipeline = pipeline(CHAIN);
    let world = World::new().await;
    world.create("numbers", 3).await;
    for partition in 0..3 {
        let values: Vec<String> = (0..1000).map(|at| number(at / 50, at - 500)).collect();
        world.produce("numbers", partition, &values).await;
    }
    let summaries = world.run_to_end(&[&pipeline]).await.unwrap();
    assert_eq!(summaries.len(), 2);
    let sums: i64 = world
        .read("sums")
        .await
        .iter()
        .map(|(_, value)| serde_json::from_str::<Value>(value).unwrap()["total"].as_i64().unwrap())
        .sum();
    let expected: i64 = (1..500).map(|n| n * 2 * 3).sum();
    assert_eq!(sums, expected);
    assert_eq!(world.client.topic("doubled").await.unwrap().unwrap().partitions, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_comes_alone_is_visible_at_once() {
    let pipeline = pipeline(CHAIN);
    let world = World::new().await;
    world.create("numbers", 1).await;
    let runtime = world.start(&[&pipeline]);
    let mut progress = runtime.progress();
    progress
        .wait_for(|queries| queries.iter().all(|query| query.phase == Phase::Running))
        .await
        .unwrap();
    let doubled = TopicPartition::new("doubled", 0);
    let options = ReaderOptions::partitions(vec![(doubled, Offset::ZERO)]);
    let mut reader = world.client.reader(options).await.unwrap();
    for n in 1..=5 {
        world.produce("numbers", 0, &[number(1, n)]).await;
        let seen = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { continue };
                if !fetched.batches.is_empty() {
                    break;
                }
            }
        });
        seen.await.expect("one row is not held back for others");
    }
    runtime.stop();
    runtime.finished().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_query_is_refused_until_its_state_is_reset() {
    let world = World::new().await;
    world.create("doubled", 1).await;
    world.produce("doubled", 0, &[number(1, 5), number(2, 7)]).await;
    let text = CHAIN.replace(
        "from = \"numbers\"\nsink = { topic = \"doubled\"",
        "from = \"numbers\"\nsink = { topic = \"other\"",
    );
    let before = pipeline(&text);
    let runtime = world.start(&[&before]);
    let mut progress = runtime.progress();
    progress.wait_for(|queries| queries[1].counts.rows_in == 2).await.unwrap();
    runtime.stop();
    runtime.finished().await.unwrap();

    let after = pipeline(&text.replace("sum(n)", "max(n)"));
    let error = world.run_to_end(&[&after]).await.unwrap_err().to_string();
    assert!(error.contains("query 'sums'"), "{error}");
    assert!(error.contains("1 entries would be lost"), "{error}");
    let runtime = world.start_with(
        &[&after],
        RuntimeOptions { reset_state: Reset::All, ..RuntimeOptions::default() },
    );
    runtime.inputs_complete();
    runtime.finished().await.unwrap();
    let sums = world.read("sums").await;
    assert_eq!(sums.len(), 1);
    assert!(sums[0].1.contains("\"total\":7"), "{sums:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_stops_the_query_and_names_its_place() {
    let world = World::new().await;
    world.create("numbers", 1).await;
    let values = [number(1, 1), "{\"n\":".to_owned(), number(2, 2)];
    world.produce("numbers", 0, &values).await;
    let error = world.run_to_end(&[&pipeline(CHAIN)]).await.unwrap_err().to_string();
    assert!(
        error.contains(
            "query 'double': topic 'numbers', partition 0, offset 1: not valid JSON: it ends in \
             the middle"
        ),
        "{error}"
    );
}

/// All queries of the files began again where one of them had changed.
#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_one_query_is_reset_and_the_others_go_on() {
    let world = World::new().await;
    world.create("numbers", 1).await;
    let values: Vec<String> = (1..=10).map(|n| number(n, n)).collect();
    world.produce("numbers", 0, &values).await;
    let totals = |name: &str, call: &str| {
        pipeline(&format!(
            "name = \"{name}\"\nsources.numbers.columns = {{ n = \"bigint\" }}\n
             [[queries]]\nname = \"{name}\"\nsql = \"SELECT {call} AS x FROM numbers\"\n
             sink.topic = \"{name}\""
        ))
    };
    world.run_to_end(&[&totals("one", "sum(n)"), &totals("two", "sum(n)")]).await.unwrap();
    // Another query, which does not fit what the first one kept.
    let (one, two) = (totals("one", "sum(n + 1)"), totals("two", "sum(n)"));
    let names = ["one".to_owned()].into();
    let options =
        RuntimeOptions { reset_state: Reset::Queries(names), ..RuntimeOptions::default() };
    let runtime = world.start_with(&[&one, &two], options);
    runtime.inputs_complete();
    let summaries = runtime.finished().await.unwrap();
    let read: Vec<u64> = summaries.iter().map(|summary| summary.counts.rows_in).collect();
    assert_eq!(read, [10, 0]);
    assert_eq!(world.read("one").await.last().unwrap().1, r#"{"x":65}"#);
    assert_eq!(world.read("two").await.last().unwrap().1, r#"{"x":55}"#);
}

/// What is deleted when a state is reset lies in the changelog before what is kept anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_reset_again_and_again() {
    let pipeline = pipeline(TOTALS);
    let world = World::new().await;
    world.create("sales", 1).await;
    let sales: Vec<String> =
        (0..100).map(|n| format!(r#"{{"item":"item {}","n":{n}}}"#, n % 10)).collect();
    world.produce("sales", 0, &sales).await;
    for is_reset in [false, true, true, false] {
        let reset_state = if is_reset { Reset::All } else { Reset::Nothing };
        let options = RuntimeOptions { reset_state, ..Default::default() };
        let runtime = world.start_with(&[&pipeline], options);
        runtime.inputs_complete();
        let summary = runtime.finished().await.unwrap().remove(0);
        let read_again = is_reset || world.read("totals").await.len() == 10;
        assert_eq!(summary.counts.rows_in, if read_again { 100 } else { 0 });
    }
    // Each time from nothing.
    let totals = world.read("totals").await;
    assert_eq!(totals.len(), 30);
    for (_, value) in totals {
        let value: Value = serde_json::from_str(&value).unwrap();
        let item: u64 = value["item"].as_str().unwrap()[5..].parse().unwrap();
        assert_eq!(value["total"].as_u64(), Some((0..10).map(|tens| tens * 10 + item).sum()));
    }
}

const AT_ONCE: &str = r#"
[settings]
guarantee = "at-least-once"
commit_interval = "5 minutes"
[sources.numbers]
topic = "numbers"
format = "json"
columns = { at = "timestamp", n = "int" }
[[queries]]
name = "all"
from = "numbers"
sink = { topic = "seen", format = "json" }
"#;

/// Rows are seen long before they are committed, and once more after a crash.
#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_means_at_once_and_perhaps_twice() {
    let pipeline = pipeline(AT_ONCE);
    let world = World::new().await;
    world.create("numbers", 1).await;
    world.create("seen", 1).await;
    let wait_for = async |count: usize| {
        let seen = async {
            while world.read("seen").await.len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), seen).await;
        assert!(waited.is_ok(), "{:?}", world.read("seen").await);
    };
    let first = world.start(&[&pipeline]);
    // What comes alone is committed at once.
    world.produce("numbers", 0, &[number(0, 0)]).await;
    world.wait_until_read("test-all", "numbers", 1).await;
    for n in 1..=10 {
        world.produce("numbers", 0, &[number(1, n)]).await;
        wait_for(1 + n as usize).await;
    }
    // Another instance does not know what this one has written, and goes on from the commit.
    let second = world.start(&[&pipeline]);
    wait_for(21).await;
    first.stop();
    let error = first.finished().await.unwrap_err();
    assert!(error.to_string().contains("has taken over"), "{error}");
    second.stop();
    second.finished().await.unwrap();
    let third = world.run_to_end(&[&pipeline]).await.unwrap();
    assert_eq!(third[0].counts.rows_in, 0);
    assert_eq!(world.read("seen").await.len(), 21);
}

const TOTALS: &str = r#"
[settings]
commit_interval = "200ms"
state_memory = "16MB"
[sources.sales]
topic = "sales"
format = "json"
columns = { item = "string", n = "int" }
[[queries]]
name = "totals"
from = "sales"
sink = { topic = "totals", format = "json" }
[[queries.steps]]
group_by = ["item"]
[queries.steps.aggregate]
total = "sum(n)"
"#;

const ITEMS: usize = 100_000;

/// Sells each of some items, for its number and `more`.
async fn sell(
    world: &World,
    expected: &mut BTreeMap<usize, usize>,
    items: std::ops::Range<usize>,
    more: usize,
) {
    let sale = |item: usize| format!(r#"{{"item":"item {item:>40}","n":{}}}"#, item + more);
    world.produce("sales", 0, &items.clone().map(sale).collect::<Vec<_>>()).await;
    items.for_each(|item| *expected.entry(item).or_default() += item + more);
}

/// What was told last of each item.
async fn totals(world: &World) -> BTreeMap<usize, usize> {
    let rows = world.read("totals").await.into_iter().map(|(_, value)| {
        let value: Value = serde_json::from_str(&value).unwrap();
        let item = value["item"].as_str().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        (item, value["total"].as_u64().unwrap() as usize)
    });
    rows.collect()
}

/// Far more groups than fit in what the pipeline may take of memory.
#[tokio::test(flavor = "multi_thread")]
async fn state_that_outgrows_memory_goes_to_disk_and_a_restart_begins_there() {
    let pipeline = pipeline(TOTALS);
    let world = World::new().await;
    world.create("sales", 1).await;
    let state = tempfile::tempdir().unwrap();
    let state_dir = state.path().join("state");
    let mut expected: BTreeMap<usize, usize> = BTreeMap::new();
    // Which items are sold: all, the same again by a restart from disk, and from nothing.
    let rounds = [(0..ITEMS, true), (1000..1200, true), (500..1100, false), (0..300, true)];
    for (round, (items, keeps_disk)) in rounds.into_iter().enumerate() {
        sell(&world, &mut expected, items, round).await;
        if !keeps_disk {
            std::fs::remove_dir_all(&state_dir).unwrap();
        }
        let options = RuntimeOptions { state_dir: Some(state_dir.clone()), ..Default::default() };
        let runtime = world.start_with(&[&pipeline], options);
        world.wait_until_read("test-totals", "sales", 1).await;
        let restored = runtime.progress().borrow()[0].restored;
        runtime.stop();
        runtime.finished().await.unwrap();
        assert!(state_dir.is_dir(), "{round}: nothing went to disk");
        match (round, keeps_disk) {
            (0, _) => assert_eq!(restored, (0, 0)),
            // All that had been committed was on disk, but for the last commit, which was empty.
            (_, true) => assert_eq!(restored, (2, 2), "{round}"),
            (_, false) => assert!(restored.1 > ITEMS as u64, "{restored:?}"),
        }
    }
    assert_eq!(totals(&world).await, expected);
}

/// What another instance has written since is not on the disk of the one that it fenced, whatever
/// that one believes when it stops.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_fenced_leaves_no_checkpoint() {
    let pipeline = pipeline(TOTALS);
    let world = World::new().await;
    world.create("sales", 1).await;
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = |dir: &tempfile::TempDir| {
        let state_dir = Some(dir.path().join("state"));
        world.start_with(&[&pipeline], RuntimeOptions { state_dir, ..Default::default() })
    };
    let mut expected: BTreeMap<usize, usize> = BTreeMap::new();
    sell(&world, &mut expected, 0..ITEMS, 0).await;
    let first = start(&one);
    world.wait_until_read("test-totals", "sales", 1).await;
    let second = start(&other);
    let mut progress = second.progress();
    progress.wait_for(|queries| queries[0].phase == Phase::Running).await.unwrap();
    // Nothing has come since the first one's last commit.
    first.stop();
    let error = first.finished().await.unwrap_err();
    assert!(error.to_string().contains("has taken over"), "{error}");
    sell(&world, &mut expected, 1000..1200, 1).await;
    world.wait_until_read("test-totals", "sales", 1).await;
    second.stop();
    second.finished().await.unwrap();
    let third = start(&one);
    sell(&world, &mut expected, 1100..1300, 2).await;
    world.wait_until_read("test-totals", "sales", 1).await;
    third.stop();
    third.finished().await.unwrap();
    assert_eq!(totals(&world).await, expected);
}
