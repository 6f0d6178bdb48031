//! Rows per second of the file sink, from a topic of the broker in this process into a directory of
//! files.
//!
//! `cargo bench --workspace --bench file_sink [-- ROWS]`

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use connectors::{Worker, WorkerOptions, validate};

const ROWS: usize = 2_000_000;
const ROWS_PER_BATCH: usize = 2_000;

#[tokio::main]
async fn main() {
    let rows = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(ROWS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = BrokerConfig::new(dir.path().join("data"));
    let broker = Broker::open(config).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    produce(&*client, "plain", rows, row).await;
    let schema = r#"{"type":"struct","optional":false,"fields":[
        {"field":"id","type":"int64","optional":false},
        {"field":"at","type":"int64","optional":false,"name":"io.debezium.time.MicroTimestamp"},
        {"field":"carrier","type":"string","optional":false},
        {"field":"delay","type":"double","optional":true},
        {"field":"cancelled","type":"boolean","optional":false}]}"#;
    let with_schema =
        move |number: usize| format!("{{\"schema\":{schema},\"payload\":{}}}", row(number));
    produce(&*client, "typed", rows / 4, with_schema).await;
    println!("| what | result |\n|---|---|");
    for (topic, format) in [
        ("plain", "format=json"),
        ("plain", "format=parquet"),
        ("plain", "format=parquet compression=zstd"),
        ("plain", "format=parquet partition.by=carrier"),
        ("typed", "format=parquet value.converter=Json"),
    ] {
        write(&client, dir.path(), topic, format).await;
    }
    broker.shutdown().await.expect("an orderly end");
}

fn row(number: usize) -> String {
    let carrier = ["AA", "B6", "DL", "EV", "UA", "US", "WN"][number % 7];
    let delay = match number % 10 {
        0 => "null".to_owned(),
        _ => format!("{}", number.wrapping_mul(7_919) as f64 % 600.0 / 4.0),
    };
    format!(
        r#"{{"id":{number},"at":{},"carrier":"{carrier}","delay":{delay},"cancelled":{}}}"#,
        1_357_034_400_000_000_u64 + number as u64 * 60_000_000,
        number % 10 == 0,
    )
}

async fn produce(client: &dyn Client, topic: &str, rows: usize, row: impl Fn(usize) -> String) {
    client.create_topic(&NewTopic::new(topic, 1)).await.expect("a topic");
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    let partition = TopicPartition::new(topic, 0);
    for first in (0..rows).step_by(ROWS_PER_BATCH) {
        let mut batch = BatchBuilder::default();
        for number in first..rows.min(first + ROWS_PER_BATCH) {
            batch.append(0, None, Some(row(number).as_bytes()));
        }
        producer.send(&partition, batch).await.expect("room for it");
    }
    producer.flush().await.expect("room for it");
}

async fn write(client: &Arc<dyn Client>, dir: &Path, topic: &str, settings: &str) {
    let name = format!("{topic}-{}", settings.replace([' ', '=', '.'], "-"));
    let given = settings.split(' ').filter_map(|one| one.split_once('='));
    let fixed = [("connector.class", "file-sink"), ("topics", topic), ("directory", &name)];
    let properties: BTreeMap<_, _> =
        fixed.into_iter().chain(given).map(|(key, value)| (key.into(), value.into())).collect();
    let config = validate(&name, &properties, dir).expect("sound properties");
    let begin = Instant::now();
    let worker = Worker::start(client.clone(), vec![config], WorkerOptions::default());
    worker.finish_sinks_at_end().await.expect("no failure");
    let took = begin.elapsed().as_secs_f64();
    let done = worker.shutdown().await.expect("no failure").connectors[0].clone();
    println!(
        "| file sink, {settings}, from {topic} JSON | {:.2} M rows/s, {:.1} MB ({took:.2} s) |",
        done.records as f64 / took / 1e6,
        bytes_in(&dir.join(&name)) as f64 / 1e6,
    );
    fs::remove_dir_all(dir.join(name)).expect("it is ours");
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).expect("it is there").flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_in(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
