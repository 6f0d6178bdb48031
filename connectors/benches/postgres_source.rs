//! Rows per second of the PostgreSQL source into the broker of this process, how long a change
//! takes from its commit until a reader sees it, and what memory that takes.
//!
//! `cargo bench --workspace --bench postgres_source [-- ROWS]`; needs Debian's `postgresql`. With
//! `MILLSTREAM_DEBEZIUM_DIR`, as `connectors/tests/debezium/fetch.sh` says, Debezium takes turns.
#![allow(dead_code, reason = "the tests' server can do more")]

mod debezium;
#[path = "../tests/postgres/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use connectors::{ConnectorConfig, Worker, WorkerOptions, validate};
use debezium::Debezium;
use server::Postgres;

const ROWS: usize = 1_000_000;
const COMMITS: usize = 400;

fn main() {
    let rows = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(ROWS);
    let server = Postgres::start();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(&server, rows));
}

async fn run(server: &Postgres, rows: usize) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open(BrokerConfig::new(dir.path().join("data"))).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    println!("| what | result |\n|---|---|");
    let debezium = Debezium::found(dir.path());
    let columns = "id bigint primary key, customer int not null, amount numeric(12, 2), \
        note text, at timestamptz not null";
    server.sql(&format!("create table t ({columns})")).await;
    // Makes the slot; what is committed from here on waits for us in the log.
    drain(&client, &source(dir.path(), server, "")).await;
    if let Some(debezium) = &debezium {
        debezium.make_slot(server).await;
    }
    for (what, each, total) in [
        ("1,000-row transactions", 1_000, rows),
        ("one transaction", rows, rows),
        ("1-row transactions", 1, rows / 20),
    ] {
        server.sql("truncate t").await;
        server.sql(&inserts(each, total / each)).await;
        measure(&client, &source(dir.path(), server, ""), what, total).await;
        beside(debezium.as_ref(), server, "no_data", what, total);
    }
    let snapshot = "snapshot.mode=initial_only\nsnapshot.max.threads=2";
    server.sql("truncate t").await;
    server.sql(&inserts(rows, 1)).await;
    measure(&client, &source(dir.path(), server, snapshot), "snapshot", rows).await;
    beside(debezium.as_ref(), server, "initial_only", "snapshot", rows);
    latency(&client, &source(dir.path(), server, ""), server).await;
    println!("| memory at most, broker included | {:.0} MB |", memory_at_most_mb());
    broker.shutdown().await.expect("an orderly end");
}

/// Transactions of so many rows, and how many of them.
fn inserts(each: usize, transactions: usize) -> String {
    format!(
        "do $$ begin for n in 0..{transactions} - 1 loop insert into t select n * {each} + i, i, \
         i * 0.37, 'a note on the row of ' || i, now() from generate_series(1, {each}) i; \
         commit; end loop; end $$"
    )
}

fn source(dir: &Path, server: &Postgres, more: &str) -> ConnectorConfig {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let name = if more.is_empty() { "stream" } else { "snapshot" };
    let more = format!(
        "key.converter={json}\nkey.converter.schemas.enable=false\nvalue.converter={json}\n\
         value.converter.schemas.enable=false\n{more}"
    );
    // Debezium's own, which its class stands for, are Debezium's here.
    let snapshot = match name {
        "stream" => "snapshot.mode=no_data\nslot.name=millstream\npublication.name=millstream",
        _ => "slot.name=unused",
    };
    let properties = server.properties(&format!("{more}\n{snapshot}"));
    let properties = properties.replace("topic.prefix=pg", &format!("topic.prefix={name}"));
    let lines = properties.lines().filter_map(|line| line.split_once('='));
    let properties: BTreeMap<String, String> =
        lines.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect();
    validate(name, &properties, dir).expect("sound properties")
}

/// Runs the connector up to the end of the log as it is now; how many records that were.
async fn drain(client: &Arc<dyn Client>, config: &ConnectorConfig) -> u64 {
    let options = WorkerOptions { until_end: true, ..WorkerOptions::default() };
    let worker = Worker::start(client.clone(), vec![config.clone()], options);
    worker.sources_finished().await.expect("no failure");
    worker.shutdown().await.expect("no failure").connectors[0].records
}

async fn measure(client: &Arc<dyn Client>, config: &ConnectorConfig, what: &str, rows: usize) {
    let (begin, [user, system]) = (Instant::now(), processor_time_s());
    let records = drain(client, config).await;
    let took = begin.elapsed().as_secs_f64();
    let [user_after, system_after] = processor_time_s();
    assert!(records >= rows as u64, "{records} of {rows}");
    let each_us = |seconds: f64| seconds * 1e6 / rows as f64;
    let (user, system) = (each_us(user_after - user), each_us(system_after - system));
    println!(
        "| {what} | {:.0} rows/s ({took:.2} s); a row takes us {user:.1} + {system:.1} µs \
         (user + system) |",
        rows as f64 / took
    );
}

fn beside(debezium: Option<&Debezium>, server: &Postgres, mode: &str, what: &str, rows: usize) {
    let Some(debezium) = debezium else { return };
    let run = debezium.run(server, mode, rows);
    println!(
        "| {what}, Debezium | {:.0} rows/s ({:.2} s); {:.0} MB |",
        rows as f64 / run.seconds,
        run.seconds,
        run.memory_mb
    );
}

/// What this process has used of the processors, as itself and in the kernel; the server's is
/// not in it.
fn processor_time_s() -> [f64; 2] {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    [11, 12].map(|index| ticks(index).unwrap_or(f64::NAN) / TICKS_PER_SECOND)
}

async fn latency(client: &Arc<dyn Client>, config: &ConnectorConfig, server: &Postgres) {
    drain(client, config).await;
    let worker = Worker::start(client.clone(), vec![config.clone()], WorkerOptions::default());
    let topic = TopicPartition::new("stream.public.t", 0);
    let latest = broker::client::OffsetSpec::Latest(broker::client::Isolation::ReadCommitted);
    let end = client.list_offsets(std::slice::from_ref(&topic), latest).await.expect("offsets");
    let from = vec![(topic, end[0].unwrap_or(Offset::ZERO))];
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.expect("a reader");
    let mut session = server.session().await;
    let mut took = Vec::new();
    for number in 0..=COMMITS {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let sql = format!("insert into public.t values ({}, 1, 1, 'x', now())", 1 << 40 | number);
        session.query(&sql).await.expect("an insert");
        let begin = Instant::now();
        loop {
            let event = reader.next().await.expect("records");
            if matches!(event, ReaderEvent::Batches(fetched) if !fetched.batches.is_empty()) {
                break;
            }
        }
        // The first one waits until the connector has connected.
        if number > 0 {
            took.push(begin.elapsed());
        }
    }
    took.sort();
    let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    let (p50, p99, most) = (at(0.5), at(0.99), at(1.0 - 1e-9));
    println!("| commit to visible | p50 {p50:.1} ms, p99 {p99:.1} ms, max {most:.1} ms |");
    worker.shutdown().await.expect("no failure");
}

fn memory_at_most_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(f64::NAN) / 1024.0
}
