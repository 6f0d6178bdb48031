//! Events per second of each Nexmark query of `pipelines/nexmark`, beside batch DataFusion over the
//! same bytes: from topics to a topic on the broker of this process, its transactions fsynced; and
//! from files of JSON lines to rows in memory, in one partition.
//!
//!   cargo bench --workspace --bench nexmark [-- q7]
//!   MILLSTREAM_EVENTS=5000000 …
//!   MILLSTREAM_FLINK=1 …           beside Apache Flink too (benches/flink, which needs Java)
//!
//! Processor time is that of all threads: events per second of it are what one core does.

mod nexmark_events;
mod stopwatch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use datafusion::datasource::provider_as_source;
use datafusion::prelude::{JsonReadOptions, SessionConfig, SessionContext};
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_expr::{LogicalPlan, LogicalPlanBuilder};
use engine::pipeline::Pipeline;
use engine::runtime::{Runtime, RuntimeOptions};
use nexmark_events::{Topics, events, pipelines};
use stopwatch::{Stopwatch, Took};

const EVENTS: usize = 500_000;
/// As a producer would batch them.
const BATCH_BYTES: usize = 64 << 10;
/// Batch SQL has no words for sessions.
const WITHOUT_BATCH: &[&str] = &["q11"];

fn main() {
    let count = std::env::var("MILLSTREAM_EVENTS").ok().map(|count| count.parse());
    let count = count.unwrap_or(Ok(EVENTS)).expect("MILLSTREAM_EVENTS is a number");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let topics = events(count);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (broker, client) = runtime.block_on(filled(dir.path(), &topics));
    let bytes: usize = topics.values().flatten().map(|line| line.len() + 1).sum();
    println!("Nexmark, {count} events, {} MB of JSON, thousands of events per second", bytes >> 20);
    let flink = std::env::var_os("MILLSTREAM_FLINK").map(|_| flink(dir.path(), wanted.as_deref()));
    println!(
        "query      clock   per core   batch, per core   of batch   Flink, per core   of Flink   rows"
    );
    for pipeline in pipelines() {
        if wanted.as_ref().is_some_and(|wanted| *wanted != pipeline.name) {
            continue;
        }
        let (took, rows) = runtime.block_on(stream(&client, &pipeline));
        let batch = (!WITHOUT_BATCH.contains(&&*pipeline.name))
            .then(|| runtime.block_on(batch(dir.path(), &pipeline)));
        let rate = |seconds: f64| count as f64 / seconds / 1000.0;
        let core = took.processor.as_secs_f64().max(0.01);
        let (beside, ratio) = match batch {
            Some(batch) => {
                let theirs = batch.processor.as_secs_f64().max(0.01);
                (format!("{:.0}", rate(theirs)), format!("{:.2}", theirs / core))
            }
            None => ("-".to_owned(), "-".to_owned()),
        };
        let theirs = flink.as_ref().and_then(|flink| flink.get(&*pipeline.name));
        let (flink, faster) = match theirs {
            Some(theirs) => (format!("{:.0}", rate(*theirs)), format!("{:.1}", theirs / core)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "{:<7} {:>8.0} {:>10.0} {beside:>17} {ratio:>10} {flink:>17} {faster:>10} {rows:>6}",
            pipeline.name,
            rate(took.wall.as_secs_f64()),
            rate(core),
        );
    }
    runtime.block_on(broker.shutdown()).expect("an orderly end");
}

/// A broker with the events in its topics, and a file of each topic beside it.
async fn filled(dir: &Path, topics: &Topics) -> (Arc<Broker>, Arc<dyn Client>) {
    let broker = Broker::open(BrokerConfig::new(&dir.join("data"))).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    for (topic, lines) in topics {
        std::fs::write(file(dir, topic), lines.join("\n")).expect("room for it");
        client.create_topic(&NewTopic::new(*topic, 1)).await.expect("a new topic");
        let to = TopicPartition::new(*topic, 0);
        let mut batch = BatchBuilder::default();
        for (index, line) in lines.iter().enumerate() {
            batch.append(1000, None, Some(line.as_bytes()));
            if batch.size() >= BATCH_BYTES || index + 1 == lines.len() {
                producer.send(&to, std::mem::take(&mut batch)).await.expect("room for it");
            }
        }
    }
    producer.flush().await.expect("a disk");
    (broker, client)
}

fn file(dir: &Path, topic: &str) -> PathBuf {
    dir.join(format!("{topic}.json"))
}

async fn stream(client: &Arc<dyn Client>, pipeline: &Pipeline) -> (Took, u64) {
    let watch = Stopwatch::start();
    let options = RuntimeOptions { until_end: true, ..RuntimeOptions::default() };
    let running = Runtime::start(client.clone(), vec![pipeline.clone()], options);
    let mut running = running.expect("the pipeline can run");
    drop(running.printed());
    running.inputs_complete();
    let summaries = running.finished().await.expect("the data is good");
    (watch.read(), summaries[0].counts.rows_out)
}

/// Seconds of processor time that each query takes Apache Flink, from files to nowhere.
fn flink(dir: &Path, wanted: Option<&str>) -> BTreeMap<String, f64> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/flink/run.sh");
    let mut command = Command::new(script);
    command.arg(dir).args(wanted).stderr(Stdio::inherit());
    let output = command.output().expect("benches/flink/run.sh can be run");
    assert!(output.status.success(), "Flink ended with {}", output.status);
    let lines = String::from_utf8(output.stdout).expect("names and numbers");
    let one = |line: &str| {
        let mut words = line.split(' ');
        let (query, _clock) = (words.next()?, words.next()?);
        Some((query.to_owned(), words.next()?.parse().ok()?))
    };
    lines.lines().filter_map(one).collect()
}

async fn batch(dir: &Path, pipeline: &Pipeline) -> Took {
    let config = SessionConfig::new().with_target_partitions(1);
    let mut context = SessionContext::new_with_config(config);
    engine::plan::windows::register(&mut context).expect("the functions are new");
    let watch = Stopwatch::start();
    let mut tables = BTreeMap::new();
    for source in &pipeline.sources {
        let path = file(dir, &source.topic);
        let options = JsonReadOptions::default().schema(&source.schema);
        let path = path.to_str().expect("a plain path");
        context.register_json(&source.name, path, options).await.expect("a JSON file");
        let table = context.table_provider(source.name.as_str()).await.expect("it is there");
        tables.insert(source.name.as_str(), table);
    }
    let over_files = |plan: LogicalPlan| {
        let LogicalPlan::TableScan(scan) = &plan else { return Ok(Transformed::no(plan)) };
        let rows = provider_as_source(tables[scan.table_name.table()].clone());
        let (name, projection) = (scan.table_name.clone(), scan.projection.clone());
        let filters = scan.filters.clone();
        let scan = LogicalPlanBuilder::scan_with_filters(name, rows, projection, filters)?;
        Ok(Transformed::yes(scan.build()?))
    };
    let plan = pipeline.queries[0].plan.clone().transform(over_files).expect("a plan").data;
    let answer = context.execute_logical_plan(plan).await.expect("a plan");
    answer.collect().await.expect("an answer");
    watch.read()
}
