//! Deliveries per second of the HTTP sink to a server in this process, one by one and in batches,
//! and how long a record takes from being durable in its topic to being at the server.
//!
//! `cargo bench --workspace --bench http_sink [-- RECORDS]`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use bytes::Bytes;
use connectors::{ConnectorConfig, Worker, WorkerOptions, validate};
use http_body_util::{BodyExt, Full};
use hyper::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const RECORDS: usize = 100_000;
const SINGLE: usize = 2_000;

#[tokio::main]
async fn main() {
    let records = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(RECORDS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = BrokerConfig::new(dir.path().join("data"));
    let broker = Broker::open(config).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    let (address, calls) = serve().await;
    println!("| what | result |\n|---|---|");
    client.create_topic(&NewTopic::new("many", 1)).await.expect("a topic");
    produce(&*client, "many", records).await;
    let mut calls = calls;
    for (name, more) in [
        ("one by one, 16 in flight", &[("http.max.in.flight", "16")][..]),
        ("one by one, 64 in flight", &[("http.max.in.flight", "64")]),
        ("one by one, 1 in flight", &[("http.max.in.flight", "1")]),
        ("batches of 500", &[("batching.enabled", "true"), ("batch.format", "array")]),
    ] {
        throughput(&client, dir.path(), address, name, more, records).await;
        while calls.try_recv().is_ok() {}
    }
    latency(&client, dir.path(), address, &mut calls).await;
    broker.shutdown().await.expect("an orderly end");
}

/// A server that takes all and says when.
async fn serve() -> (SocketAddr, mpsc::UnboundedReceiver<Instant>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let (sender, calls) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a TCP stream");
            let sender = sender.clone();
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let sender = sender.clone();
                async move {
                    let _ = request.into_body().collect().await;
                    let _ = sender.send(Instant::now());
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"{}"))))
                }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(async move { http.serve_connection(TokioIo::new(stream), service).await });
        }
    });
    (address, calls)
}

async fn produce(client: &dyn Client, topic: &str, records: usize) {
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    for first in (0..records).step_by(1000) {
        let mut batch = BatchBuilder::default();
        for number in first..(first + 1000).min(records) {
            let value = format!("{{\"id\":{number},\"note\":\"{number:070}\"}}");
            batch.append(0, Some(number.to_string().as_bytes()), Some(value.as_bytes()));
        }
        producer.send(&TopicPartition::new(topic, 0), batch).await.expect("room");
    }
    producer.flush().await.expect("room");
}

fn sink(
    dir: &Path,
    name: &str,
    topic: &str,
    to: SocketAddr,
    more: &[(&str, &str)],
) -> ConnectorConfig {
    let url = format!("http://{to}/records");
    let common = [("connector.class", "http-sink"), ("topics", topic), ("http.url", &url)];
    let properties: BTreeMap<String, String> = common
        .iter()
        .chain(more)
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    validate(name, &properties, dir).expect("sound properties")
}

async fn throughput(
    client: &Arc<dyn Client>,
    dir: &Path,
    to: SocketAddr,
    name: &str,
    more: &[(&str, &str)],
    records: usize,
) {
    let config = sink(dir, name, "many", to, more);
    let begin = Instant::now();
    let worker = Worker::start(client.clone(), vec![config], WorkerOptions::default());
    worker.finish_sinks_at_end().await.expect("no failure");
    let took = begin.elapsed().as_secs_f64();
    let done = worker.shutdown().await.expect("no failure").connectors[0].clone();
    assert_eq!(done.records, records as u64);
    println!("| {name} | {:.0} records/s ({took:.2} s) |", records as f64 / took);
}

async fn latency(
    client: &Arc<dyn Client>,
    dir: &Path,
    to: SocketAddr,
    calls: &mut mpsc::UnboundedReceiver<Instant>,
) {
    client.create_topic(&NewTopic::new("single", 1)).await.expect("a topic");
    let config = sink(dir, "single", "single", to, &[]);
    let worker = Worker::start(client.clone(), vec![config], WorkerOptions::default());
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..SINGLE {
        let mut batch = BatchBuilder::default();
        batch.append(0, None, Some(b"{\"id\":1}"));
        producer.send(&TopicPartition::new("single", 0), batch).await.expect("room");
        producer.flush().await.expect("room");
        let begin = Instant::now();
        let at = calls.recv().await.expect("the server lives");
        took.push(at.saturating_duration_since(begin));
    }
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "| durable in the topic to at the server | p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms |",
        at(0.5),
        at(0.99),
        at(1.0 - 1e-9),
    );
    worker.shutdown().await.expect("no failure");
}
