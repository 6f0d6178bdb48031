//! Clients under test, and short ways to write and read.

use std::any::Any;
#[cfg(feature = "kafka")]
use std::net::SocketAddr;
#[cfg(feature = "kafka")]
use std::path::Path;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{
    Client, ClientError, FetchedBatches, Isolation, NewTopic, OffsetSpec, Producer,
    ProducerOptions, Reader, ReaderEvent, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::{BatchBuilder, Compression};
#[cfg(feature = "kafka")]
use broker::server::{Server, ServerConfig};
use tempfile::TempDir;
#[cfg(feature = "kafka")]
use tokio::task::JoinHandle;
#[cfg(feature = "kafka")]
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub type Subject = Arc<dyn Client>;

/// A client under test, with what it needs to live.
pub struct Target {
    pub client: Subject,
    _kept: Vec<Box<dyn Any + Send>>,
}

impl Target {
    #[cfg(feature = "kafka")]
    pub fn keeping(client: Subject, kept: Box<dyn Any + Send>) -> Target {
        Target { client, _kept: vec![kept] }
    }
}

/// The client of a broker in this process.
pub async fn embedded() -> Option<Target> {
    let (dir, broker) = new_broker().await;
    let client = Arc::new(EmbeddedClient::new(broker));
    Some(Target { client, _kept: vec![Box::new(dir)] })
}

/// The remote client on a broker of ours, over TCP.
#[cfg(feature = "kafka")]
pub async fn served() -> Option<Target> {
    let (mut target, client) = inside_and_outside().await;
    target.client = client;
    Some(target)
}

/// The same by TLS and SCRAM, with logins that do not hold for long.
#[cfg(feature = "kafka")]
pub async fn tunnelled() -> Option<Target> {
    let session_max = Some(Duration::from_millis(2000));
    Some(crate::secured::Guarded::start(session_max).await.target().await)
}

/// Both clients of one broker.
#[cfg(feature = "kafka")]
pub async fn inside_and_outside() -> (Target, Subject) {
    let (dir, broker) = new_broker().await;
    let serving = Serving::start(broker.clone(), "127.0.0.1:0").await;
    let outside = remote(&serving.address).await;
    let client = Arc::new(EmbeddedClient::new(broker));
    (Target { client, _kept: vec![Box::new(serving), Box::new(dir)] }, outside)
}

/// A broker of ours that listens.
#[cfg(feature = "kafka")]
pub struct Serving {
    pub address: String,
    pub addresses: Vec<SocketAddr>,
    pub broker: Arc<Broker>,
    stop: DropGuard,
    task: JoinHandle<()>,
}

#[cfg(feature = "kafka")]
impl Serving {
    pub async fn open(dir: &Path, listen: &str) -> Serving {
        Serving::start(Broker::open(BrokerConfig::new(dir)).await.unwrap(), listen).await
    }

    async fn start(broker: Arc<Broker>, listen: &str) -> Serving {
        Serving::with(broker, ServerConfig::new(listen)).await
    }

    pub async fn with(broker: Arc<Broker>, config: ServerConfig) -> Serving {
        let server = Server::bind(broker.clone(), config).await.unwrap();
        let address = server.local_addr().to_string();
        let addresses = server.local_addrs().into_iter().map(|(_, address)| address).collect();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Serving { address, addresses, broker, stop: stop.drop_guard(), task }
    }

    /// Ends in order.
    pub async fn close(self) {
        drop(self.stop);
        self.task.await.unwrap();
        self.broker.shutdown().await.unwrap();
    }
}

pub async fn new_broker() -> (TempDir, Arc<Broker>) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    (dir, broker)
}

/// The remote client on Apache Kafka.
#[cfg(feature = "kafka")]
pub async fn kafka() -> Option<Target> {
    let kafka = tokio::task::spawn_blocking(crate::fixture::kafka).await.unwrap()?;
    Some(Target { client: remote(&kafka.address).await, _kept: Vec::new() })
}

#[cfg(feature = "kafka")]
pub async fn remote(address: &str) -> Subject {
    use broker::client::{RemoteClient, RemoteOptions};
    Arc::new(RemoteClient::connect(address, RemoteOptions::default()).await.unwrap())
}

/// No case takes long; one that hangs fails.
pub async fn in_time(case: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(90), case).await.expect("the case does not hang");
}

/// A name that no other case and no earlier run has.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

/// A new topic of this many partitions.
pub async fn topic(client: &Subject, name: &str, partitions: i32) -> String {
    let name = unique(name);
    client.create_topic(&NewTopic::new(&name, partitions)).await.unwrap();
    name
}

pub fn at(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// A record, as it was sent or as it came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Row {
    pub fn new(timestamp_ms: i64, value: impl AsRef<[u8]>) -> Row {
        let value = Some(value.as_ref().to_vec());
        Row { timestamp_ms, key: None, value, headers: Vec::new() }
    }
}

pub fn batch(rows: &[Row]) -> BatchBuilder {
    batch_packed(rows, Compression::None)
}

pub fn batch_packed(rows: &[Row], compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new(compression);
    for row in rows {
        let headers: Vec<(&str, Option<&[u8]>)> =
            row.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let (key, value) = (row.key.as_deref(), row.value.as_deref());
        builder.append_with_headers(row.timestamp_ms, key, value, &headers);
    }
    builder
}

/// Records of these values, a millisecond apart.
pub fn values(values: impl IntoIterator<Item = impl ToString>) -> BatchBuilder {
    let rows: Vec<Row> = values
        .into_iter()
        .enumerate()
        .map(|(index, value)| Row::new(1_000 + index as i64, value.to_string()))
        .collect();
    batch(&rows)
}

pub async fn plain_producer(client: &Subject) -> Box<dyn Producer> {
    client.producer(ProducerOptions::default()).await.unwrap()
}

pub async fn transactional_producer(client: &Subject, id: &str) -> Box<dyn Producer> {
    let transactional_id = Some(id.to_owned());
    client.producer(ProducerOptions { transactional_id, ..Default::default() }).await.unwrap()
}

/// Writes one batch and waits until it is there.
pub async fn write(client: &Subject, to: &TopicPartition, batch: BatchBuilder) {
    let mut producer = plain_producer(client).await;
    producer.send(to, batch).await.unwrap();
    producer.flush().await.unwrap();
}

pub async fn reader_at(
    client: &Subject,
    partition: &TopicPartition,
    offset: i64,
    isolation: Isolation,
) -> Box<dyn Reader> {
    let from = vec![(partition.clone(), Offset(offset))];
    let options = ReaderOptions { isolation, ..ReaderOptions::partitions(from) };
    client.reader(options).await.unwrap()
}

/// The next batches, whatever else is told on the way.
pub async fn next_batches(reader: &mut dyn Reader) -> Result<FetchedBatches, ClientError> {
    loop {
        if let ReaderEvent::Batches(fetched) = reader.next().await? {
            return Ok(fetched);
        }
    }
}

/// What a single-partition reader said until it had caught up.
#[derive(Debug)]
pub struct Caught {
    /// With their offsets.
    pub rows: Vec<(i64, Row)>,
    pub end: i64,
}

impl Caught {
    pub fn values(&self) -> Vec<String> {
        let text = |row: &Row| String::from_utf8(row.value.clone().unwrap()).unwrap();
        self.rows.iter().map(|(_, row)| text(row)).collect()
    }

    pub fn offsets(&self) -> Vec<i64> {
        self.rows.iter().map(|(offset, _)| *offset).collect()
    }
}

/// Reads a partition from an offset to its end. No transaction may be open there.
pub async fn read_from(
    client: &Subject,
    partition: &TopicPartition,
    offset: i64,
    isolation: Isolation,
) -> Caught {
    let end = settled_end(client, partition).await;
    let mut reader = reader_at(client, partition, offset, isolation).await;
    catch_up_to(reader.as_mut(), partition, offset, end).await
}

/// The end, once the transactions that have ended are seen to have: Kafka answers as soon as that
/// is decided, and lets readers know a little later.
async fn settled_end(client: &Subject, partition: &TopicPartition) -> i64 {
    let end = async |isolation| {
        let end = client.list_offsets(slice::from_ref(partition), OffsetSpec::Latest(isolation));
        end.await.unwrap()[0].unwrap().0
    };
    loop {
        let stable = end(Isolation::ReadCommitted).await;
        if stable == end(Isolation::ReadUncommitted).await {
            return stable;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn read(client: &Subject, partition: &TopicPartition) -> Caught {
    read_from(client, partition, 0, Isolation::ReadCommitted).await
}

/// Reads until the end is at `end` and reached, checking what every event promises.
pub async fn catch_up_to(
    reader: &mut dyn Reader,
    partition: &TopicPartition,
    from: i64,
    end: i64,
) -> Caught {
    let (mut caught, mut next) = (Caught { rows: Vec::new(), end: from }, from);
    while next < end || caught.end != next {
        let fetched = next_batches(reader).await.unwrap();
        assert_eq!(fetched.partition, *partition);
        for (offset, row) in rows_of(&fetched, next) {
            assert!(offset >= next && offset < fetched.next_offset.0, "{offset} in {fetched:?}");
            next = offset + 1;
            caught.rows.push((offset, row));
        }
        assert!(fetched.next_offset.0 >= next, "offsets only grow: {fetched:?} after {next}");
        assert!(fetched.next_offset <= fetched.end_offset, "{fetched:?}");
        next = fetched.next_offset.0;
        caught.end = fetched.end_offset.0;
    }
    caught
}

/// Records from offset `from` on.
pub fn rows_of(fetched: &FetchedBatches, from: i64) -> Vec<(i64, Row)> {
    let mut rows = Vec::new();
    for batch in &fetched.batches {
        assert!(!batch.is_control(), "markers are not for readers");
        batch.verify_checksum().unwrap();
        for record in batch.records().unwrap().iter() {
            let record = record.unwrap();
            if record.offset.0 < from {
                continue;
            }
            let headers = record
                .headers()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
            let row = Row {
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers,
            };
            rows.push((record.offset.0, row));
        }
    }
    rows
}
