//! What it costs that several tasks share a query: sums per key and window, and what passes between
//! the tasks, as keys grow; with rows that are combined before they meet, and one by one (as they go
//! where late ones go to a topic). From topic to topic on the broker of this process, its
//! transactions fsynced.
//!
//!   cargo bench --workspace --bench exchange [-- hop]
//!   MILLSTREAM_RECORDS=5000000 MILLSTREAM_TASKS=4 …

mod load;
mod stopwatch;

use std::path::Path;
use std::sync::Arc;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use engine::pipeline::load_text;
use engine::runtime::{Runtime, RuntimeOptions};
use load::{scattered, send};
use stopwatch::{Stopwatch, Took, median};

const RECORDS: u64 = 1_000_000;
/// Runs of each, of which the median is told.
const RUNS: usize = 3;

/// An hour of delay: all windows stay open until the end.
const SOURCE: &str = "
CREATE TABLE sales (
  item BIGINT, shop VARCHAR, n BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' HOUR
) WITH (topic = 'sales', format = 'json', …);
CREATE TABLE totals WITH (topic = 'totals', format = 'json');
";

const ONE_BY_ONE: &str = "one by one";

/// How many tasks there are, and what they do with rows.
#[derive(Clone, Copy)]
struct Sharing {
    tasks: u64,
    /// What the source says for it.
    setting: &'static str,
    name: &'static str,
}

/// What is asked, by what it is called.
const QUERIES: [(&str, &str); 4] = [
    (
        "tumble",
        "SELECT item, window_start, sum(n) AS total, count(*) AS sales
         FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(at), INTERVAL '10' SECOND))
         GROUP BY item, window_start, window_end",
    ),
    (
        "hop",
        "SELECT item, window_start, sum(n) AS total, count(*) AS sales
         FROM TABLE(HOP(TABLE sales, DESCRIPTOR(at), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
         GROUP BY item, window_start, window_end",
    ),
    (
        "all",
        "SELECT window_start, avg(n) AS mean, max(shop) AS last
         FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(at), INTERVAL '10' SECOND))
         GROUP BY window_start, window_end",
    ),
    (
        "forever",
        "SELECT item, sum(n) AS total, avg(n) AS mean, min(shop) AS first FROM sales GROUP BY item",
    ),
];

fn main() {
    let number = |name: &str, otherwise: u64| {
        let text = std::env::var(name).ok();
        text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: {text}")))
    };
    let records = number("MILLSTREAM_RECORDS", RECORDS);
    let tasks = number("MILLSTREAM_TASKS", 2);
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    println!("{records} records, thousands per second; {tasks} tasks; median of {RUNS}");
    println!("query        keys  tasks              clock   per core   between tasks");
    let ways = [
        Sharing { tasks: 1, setting: "'watermark.late' = 'drop'", name: "" },
        Sharing { tasks, setting: "'late.topic' = 'late'", name: ONE_BY_ONE },
        Sharing { tasks, setting: "'watermark.late' = 'drop'", name: "combined" },
    ];
    for (name, query) in QUERIES {
        if wanted.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        for keys in [10, 1000, 100_000] {
            if name == "all" && keys != 1000 {
                continue;
            }
            // Without windows no row is late.
            for way in ways.into_iter().filter(|of| name != "forever" || of.name != ONE_BY_ONE) {
                let (mut took, mut between) = (Vec::new(), 0);
                for _ in 0..RUNS {
                    let (one, bytes) = runtime.block_on(run(query, keys, way, records));
                    took.push(one);
                    between = bytes;
                }
                let took = median(took);
                let rate = |seconds: f64| records as f64 / seconds / 1000.0;
                println!(
                    "{name:<8} {keys:>8} {:>6}  {:<10} {:>8.0} {:>10.0} {:>12.2} MB",
                    way.tasks,
                    way.name,
                    rate(took.wall.as_secs_f64()),
                    rate(took.processor.as_secs_f64().max(0.01)),
                    between as f64 / 1e6,
                );
            }
        }
    }
}

async fn run(query: &str, keys: u64, way: Sharing, records: u64) -> (Took, u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    fill(client.as_ref(), keys, records).await;
    let source = SOURCE.replace('…', way.setting);
    let text = format!("{source}INSERT INTO totals {query};");
    let (mut pipeline, _) =
        load_text("exchange.sql".into(), text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    pipeline.settings.tasks = way.tasks as usize;
    let watch = Stopwatch::start();
    let options = RuntimeOptions { until_end: true, ..RuntimeOptions::default() };
    let running = Runtime::start(client.clone(), vec![pipeline], options);
    let mut running = running.expect("the pipeline can run");
    drop(running.printed());
    running.inputs_complete();
    running.finished().await.expect("the data is good");
    let took = watch.read();
    broker.shutdown().await.expect("an orderly end");
    (took, between(dir.path()))
}

/// Bytes of the logs that tasks hand rows on by.
fn between(dir: &Path) -> u64 {
    let mut bytes = 0;
    let mut below = vec![dir.to_owned()];
    while let Some(dir) = below.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("one")) {
            let (path, about) = (entry.path(), entry.metadata().expect("it is there"));
            let text = path.to_string_lossy();
            if about.is_dir() {
                below.push(path);
            } else if text.contains("-repartition-") && text.ends_with(".log") {
                bytes += about.len();
            }
        }
    }
    bytes
}

/// A thousand records a second, over as many partitions as there may be tasks, and all keys.
async fn fill(client: &dyn Client, keys: u64, records: u64) {
    const PARTITIONS: u64 = 4;
    client.create_topic(&NewTopic::new("sales", PARTITIONS as i32)).await.expect("a new topic");
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    for partition in 0..PARTITIONS {
        let to = TopicPartition::new("sales", partition as i32);
        let numbers = (partition..records).step_by(PARTITIONS as usize);
        let values = numbers.map(|record| {
            let (item, at_ms) = ((scattered(record) >> 32) % keys, 1_700_000_000_000 + record);
            let (shop, n) = (item % 7, record % 100);
            let value = format!(r#"{{"item":{item},"shop":"shop {shop}","n":{n},"at":{at_ms}}}"#);
            (at_ms as i64, value)
        });
        send(producer.as_mut(), &to, values).await;
    }
    producer.flush().await.expect("a disk");
}
