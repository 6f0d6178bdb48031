//! A broker in this process, and a client that sends exactly what a test says.

use std::io;
use std::path::Path;
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::client::NewTopic;
use broker::protocol::messages::{k00_produce, k01_fetch, k32_describe_configs};
use broker::protocol::{
    ApiKey, ErrorCode, Request, RequestHeader, Response, decode_response, encode_request,
};
use broker::record::{BatchBuilder, Compression, ProducerStamp, RecordBatch};
use broker::server::{Server, ServerConfig};
use bytes::{Buf, Bytes};
use std::net::SocketAddr;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Long enough for a loaded machine; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestBroker {
    pub broker: Arc<Broker>,
    /// Of the first listener.
    pub address: SocketAddr,
    pub addresses: Vec<SocketAddr>,
    pub shutdown: CancellationToken,
    pub server: JoinHandle<()>,
    dir: TempDir,
}

impl TestBroker {
    pub async fn start() -> TestBroker {
        TestBroker::with(|_, _| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut BrokerConfig, &mut ServerConfig)) -> TestBroker {
        TestBroker::over(tempfile::tempdir().unwrap(), change).await
    }

    async fn over(
        dir: TempDir,
        change: impl FnOnce(&mut BrokerConfig, &mut ServerConfig),
    ) -> TestBroker {
        let mut broker_config = BrokerConfig::new(dir.path());
        let mut server_config = ServerConfig::new("127.0.0.1:0");
        change(&mut broker_config, &mut server_config);
        let broker = Broker::open(broker_config).await.unwrap();
        let server = Server::bind(broker.clone(), server_config).await.unwrap();
        let addresses = server.local_addrs().into_iter().map(|(_, address)| address).collect();
        let (address, shutdown) = (server.local_addr(), CancellationToken::new());
        let server = tokio::spawn(server.run(shutdown.clone()));
        TestBroker { broker, address, addresses, shutdown, server, dir }
    }

    /// Where its data is.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has is served again, by another with the settings of [`TestBroker::start`].
    pub async fn restarted(self) -> TestBroker {
        self.restarted_after(|| ()).await
    }

    /// The same, and something happens to its files in between.
    pub async fn restarted_after(self, happens: impl FnOnce()) -> TestBroker {
        self.shutdown.cancel();
        self.server.await.unwrap();
        self.broker.shutdown().await.unwrap();
        drop(self.broker);
        happens();
        TestBroker::over(self.dir, |_, _| {}).await
    }

    pub async fn topic(&self, name: &str, partitions: i32) {
        self.broker.create_topic(NewTopic::new(name, partitions)).await.unwrap();
    }

    pub async fn connect(&self) -> Connection {
        self.connect_at(0).await
    }

    /// By one of several listeners.
    pub async fn connect_at(&self, listener: usize) -> Connection {
        let stream = TcpStream::connect(self.addresses[listener]).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection::over(stream)
    }
}

pub struct Connection<S = TcpStream> {
    pub stream: S,
    correlation_id: i32,
}

/// Sends a request in a version and gives the response, of the same API.
macro_rules! ask {
    ($connection:expr, $api:ident v $version:expr, $request:expr) => {
        match $connection.ask($version, $request.into()).await {
            broker::protocol::Response::$api(response) => response,
            other => panic!("{other:?}"),
        }
    };
}
pub(crate) use ask;

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn over(stream: S) -> Connection<S> {
        Connection { stream, correlation_id: 0 }
    }

    /// Sends without waiting for the response.
    pub async fn send(&mut self, version: i16, request: Request) -> i32 {
        self.send_or_fail(version, request).await.unwrap()
    }

    /// The same, where the server may have closed the connection.
    pub async fn send_or_fail(&mut self, version: i16, request: Request) -> io::Result<i32> {
        self.correlation_id += 1;
        let header = RequestHeader {
            api: request.api(),
            version,
            correlation_id: self.correlation_id,
            client_id: Some("test".to_owned()),
        };
        let mut frame = encode_request(&header, &request).unwrap();
        self.stream.write_all_buf(&mut frame).await?;
        self.stream.flush().await?;
        Ok(self.correlation_id)
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next frame without its length, or `None` when the server has closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        let read = async {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).await.ok()?;
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        };
        timeout(PATIENCE, read).await.expect("a response in time")
    }

    pub async fn receive(&mut self, api: ApiKey, version: i16) -> (i32, Response) {
        let frame = self.receive_frame().await.expect("a response, not the end");
        decode_response(api, version, frame).unwrap()
    }

    pub async fn ask(&mut self, version: i16, request: Request) -> Response {
        let api = request.api();
        let sent = self.send(version, request).await;
        let (correlation_id, response) = self.receive(api, version).await;
        assert_eq!(correlation_id, sent);
        response
    }

    /// Whether the server has closed the connection, without sending anything more.
    pub async fn is_closed(&mut self) -> bool {
        self.receive_frame().await.is_none()
    }
}

/// A batch of records with these values.
pub fn batch(values: &[&str]) -> Bytes {
    stamped_batch(values, ProducerStamp::NONE)
}

pub fn stamped_batch(values: &[&str], stamp: ProducerStamp) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.append(now_ms(), None, Some(value.as_bytes()));
    }
    builder.build(stamp).into_bytes()
}

pub fn now_ms() -> i64 {
    broker::broker::now_ms()
}

/// A produce request for one partition, by name.
pub fn produce(
    topic: &str,
    partition: i32,
    acks: i16,
    records: Bytes,
) -> k00_produce::ProduceRequest {
    k00_produce::ProduceRequest {
        acks,
        timeout_ms: 10_000,
        topic_data: vec![k00_produce::TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![k00_produce::PartitionProduceData {
                index: partition,
                records: Some(records),
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Asks for one setting of a thing that has some, or for all, with what would hold in its place.
pub fn describe_configs(
    resource_type: i8,
    resource: &str,
    key: Option<&str>,
) -> k32_describe_configs::DescribeConfigsRequest {
    k32_describe_configs::DescribeConfigsRequest {
        resources: vec![k32_describe_configs::DescribeConfigsResource {
            resource_type,
            resource_name: resource.to_owned(),
            configuration_keys: key.map(|key| vec![key.to_owned()]),
        }],
        include_synonyms: true,
        include_documentation: false,
    }
}

/// The one partition's part of a response.
pub fn produced(
    mut response: k00_produce::ProduceResponse,
) -> k00_produce::PartitionProduceResponse {
    response.responses.remove(0).partition_responses.remove(0)
}

/// Appends values and expects it to go well; gives the base offset.
pub async fn put<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    topic: &str,
    values: &[&str],
) -> i64 {
    let done = produced(ask!(connection, Produce v 9, produce(topic, 0, -1, batch(values))));
    assert_eq!(done.error_code, ErrorCode::NONE, "{done:?}");
    done.base_offset
}

/// A fetch of one partition, by name, that does not wait.
pub fn fetch(topic: &str, partition: i32, offset: i64) -> k01_fetch::FetchRequest {
    k01_fetch::FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 50 << 20,
        topics: vec![k01_fetch::FetchTopic {
            topic: topic.to_owned(),
            partitions: vec![k01_fetch::FetchPartition {
                partition,
                fetch_offset: offset,
                partition_max_bytes: 1 << 20,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn fetched(mut response: k01_fetch::FetchResponse) -> k01_fetch::PartitionData {
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(response.session_id, 0);
    response.responses.remove(0).partitions.remove(0)
}

/// The values of all whole batches.
pub fn values(data: &k01_fetch::PartitionData) -> Vec<String> {
    assert_eq!(data.error_code, ErrorCode::NONE);
    let records = data.records.clone().expect("records are never null");
    let batches = RecordBatch::split_all(records).unwrap();
    let values = batches.iter().flat_map(|batch| {
        let records = batch.records().unwrap();
        let texts = records.iter().map(|record| {
            let record = record.unwrap();
            String::from_utf8(record.value.unwrap().to_vec()).unwrap()
        });
        texts.collect::<Vec<_>>()
    });
    values.collect()
}

/// A frame with its length in front.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// The bytes of a request as they go over the wire.
pub fn encoded(version: i16, correlation_id: i32, request: Request) -> Vec<u8> {
    let header = RequestHeader { api: request.api(), version, correlation_id, client_id: None };
    let mut frame = encode_request(&header, &request).unwrap();
    frame.copy_to_bytes(frame.remaining()).to_vec()
}
