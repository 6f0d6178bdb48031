//! A broker in this process, connectors on it, and a look at what came of it.
#![allow(dead_code, reason = "each test file uses its part of this")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Client, ClientError, Isolation, NewTopic, OffsetSpec, ProducerOptions, ReaderEvent,
    ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use connectors::{ConnectorConfig, ConnectorState, Worker, WorkerOptions, validate};

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `life` as a process that opens the broker of `dir` and is killed at its end: whatever it
/// left running stops where it is, and nothing is closed in order.
pub fn process<R>(dir: &Path, life: impl AsyncFnOnce(Arc<dyn Client>) -> R) -> R {
    process_within(PATIENCE, dir, life)
}

/// The same, where it may take longer.
pub fn process_within<R>(
    patience: Duration,
    dir: &Path,
    life: impl AsyncFnOnce(Arc<dyn Client>) -> R,
) -> R {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let broker = Broker::open(BrokerConfig::new(dir.join("data"))).await.unwrap();
        let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker));
        tokio::time::timeout(patience, life(client)).await.expect("done in time")
    });
    runtime.shutdown_timeout(PATIENCE);
    result
}

/// A connector called `name` by `key=value` lines.
pub fn connector(dir: &Path, name: &str, properties: &str) -> ConnectorConfig {
    let lines = properties.lines().filter_map(|line| line.split_once('='));
    let properties: BTreeMap<String, String> =
        lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
    validate(name, &properties, dir).unwrap()
}

/// Commits often, so that there are many moments to be killed at.
pub fn options(until_end: bool) -> WorkerOptions {
    WorkerOptions {
        until_end,
        commit_interval: Duration::from_millis(1),
        ..WorkerOptions::default()
    }
}

/// Waits until the connector has that state.
pub async fn reaches(worker: &Worker, name: &str, state: ConnectorState) {
    let mut statuses = worker.statuses();
    let there =
        statuses.wait_for(|all| all.iter().any(|one| one.name == name && one.state == state)).await;
    there.unwrap();
}

/// Keys and values of a partition, as a reader of committed records sees them now.
pub async fn read(
    client: &dyn Client,
    topic: &str,
    partition: i32,
) -> Vec<(Option<String>, Option<String>)> {
    let partition = TopicPartition::new(topic, partition);
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let end =
        client.list_offsets(std::slice::from_ref(&partition), latest).await.unwrap()[0].unwrap();
    let mut records = Vec::new();
    if end == Offset::ZERO {
        return records;
    }
    let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into());
    let from = vec![(partition, Offset::ZERO)];
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.unwrap();
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { unreachable!() };
        for batch in &fetched.batches {
            for record in batch.records().unwrap().iter() {
                let record = record.unwrap();
                records.push((text(record.key), text(record.value)));
            }
        }
        if fetched.next_offset >= end {
            return records;
        }
    }
}

/// The values of a topic with one partition.
pub async fn values(client: &dyn Client, topic: &str) -> Vec<String> {
    let records = read(client, topic, 0).await;
    records.into_iter().map(|(_, value)| value.unwrap()).collect()
}

/// Makes a topic of one partition unless it is there. The sink that reads it makes it too, and
/// may be quicker at any moment.
pub async fn ensure_topic(client: &dyn Client, topic: &str) {
    if client.topic(topic).await.unwrap().is_some() {
        return;
    }
    match client.create_topic(&NewTopic::new(topic, 1)).await {
        Ok(()) | Err(ClientError::TopicExists(_)) => {}
        Err(error) => panic!("topic {topic}: {error}"),
    }
}

/// Produces values to a partition, durably.
pub async fn produce(client: &dyn Client, topic: &str, partition: i32, values: &[String]) {
    ensure_topic(client, topic).await;
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    let mut batch = BatchBuilder::default();
    for value in values {
        batch.append(0, None, Some(value.as_bytes()));
    }
    producer.send(&TopicPartition::new(topic, partition), batch).await.unwrap();
    producer.flush().await.unwrap();
}

/// `lines` numbered lines, from `first` on.
pub fn numbered(first: usize, lines: usize) -> Vec<String> {
    (first..first + lines).map(|number| format!("line {number}")).collect()
}

pub fn append(path: &Path, lines: &[String]) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    file.write_all(text.as_bytes()).unwrap();
}
