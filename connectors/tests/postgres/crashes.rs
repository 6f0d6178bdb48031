//! Whatever is killed, the topic ends at what the tables hold, and nothing is told twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::client::{Client, Isolation, OffsetSpec};
use broker::ids::{Offset, TopicPartition};
use connectors::{ConnectorConfig, ConnectorState, Worker};
use serde_json::Value;

use crate::server::Postgres;
use crate::support::{connector, options, process, reaches, read};
use crate::{PLAIN, Record, failure};

/// Numbers that look random and are the same each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What somebody who keeps the last value of each key ends at.
pub fn state(records: &[Record]) -> BTreeMap<i64, i64> {
    let mut state = BTreeMap::new();
    for (key, value) in records {
        let key: Value = serde_json::from_str(key.as_ref().unwrap()).unwrap();
        let id = key["id"].as_i64().unwrap();
        let Some(value) = value else {
            state.remove(&id);
            continue;
        };
        let value: Value = serde_json::from_str(value).unwrap();
        match &value["after"] {
            Value::Null => drop(state.remove(&id)),
            after => drop(state.insert(id, after["n"].as_i64().unwrap())),
        }
    }
    state
}

/// Each change has its place in the log, and no place may come twice; deletions of a change of
/// key share one with the creation.
fn assert_nothing_twice(records: &[Record]) {
    let mut seen: HashMap<(i64, String, String), usize> = HashMap::new();
    for (index, (key, value)) in records.iter().enumerate() {
        let Some(value) = value else { continue };
        let event: Value = serde_json::from_str(value).unwrap();
        let operation = event["op"].as_str().unwrap().to_owned();
        let lsn = if operation == "r" { 0 } else { event["source"]["lsn"].as_i64().unwrap() };
        if let Some(before) = seen.insert((lsn, operation, key.clone().unwrap()), index) {
            panic!("told twice, as records {before} and {index}: {value}");
        }
    }
}

pub async fn table(server: &Postgres) -> BTreeMap<i64, i64> {
    let rows = server.sql("select id, n from t").await;
    let number = |text: &Option<String>| text.as_ref().unwrap().parse().unwrap();
    rows.rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
}

pub async fn records(client: &dyn Client) -> Vec<Record> {
    match client.topic("pg.public.t").await.unwrap() {
        Some(_) => read(client, "pg.public.t", 0).await,
        None => Vec::new(),
    }
}

/// Waits until the topic ends at what the table holds.
pub async fn settles(client: &dyn Client, worker: &Worker, server: &Postgres) -> Vec<Record> {
    let wanted = table(server).await;
    loop {
        let records = records(client).await;
        if state(&records) == wanted {
            return records;
        }
        assert_eq!(failure(worker), None);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn config(directory: &std::path::Path, server: &Postgres, more: &str) -> ConnectorConfig {
    let more = format!("{PLAIN}\ntable.include.list=public.t\n{more}");
    connector(directory, "t", &server.properties(&more))
}

/// A few changes of a few rows, now and then many.
pub fn changes(random: &mut Random) -> String {
    let mut sql = String::from("begin;");
    for _ in 0..=random.below(6) {
        let (id, n) = (random.below(400), random.below(1_000_000));
        sql.push_str(&match random.below(6) {
            0 => format!("delete from t where id = {id};"),
            1 => format!("update t set n = {n} where id between {id} and {};", id + 20),
            2 => format!(
                "update t set id = id + 1000 where id = {id} and not exists \
                 (select from t where id = {});",
                id + 1_000
            ),
            _ => format!(
                "insert into t values ({id}, {n}) on conflict (id) do update set n = excluded.n;"
            ),
        });
    }
    sql.push_str(if random.below(5) == 0 { "rollback" } else { "commit" });
    sql
}

#[test]
fn a_snapshot_under_concurrent_writes_misses_nothing_and_repeats_nothing() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id bigint primary key, n bigint not null, filler text)").await;
        server
            .sql("insert into t select i, 0, repeat('x', 300) from generate_series(0, 20000) i")
            .await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut session = server.session().await;
        let stopped = stop.clone();
        let writer = tokio::spawn(async move {
            let mut random = Random(4_711);
            session.query("set search_path = public").await.unwrap();
            while !stopped.load(Ordering::Relaxed) {
                session.query(&changes(&mut random)).await.unwrap();
            }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let config = config(directory.path(), &server, "snapshot.max.threads=3");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        loop {
            let records = records(&*client).await;
            let streamed = records.iter().filter(|(_, value)| {
                value.as_ref().is_some_and(|value| !value.contains("\"op\":\"r\""))
            });
            if streamed.count() > 300 {
                break;
            }
            assert_eq!(failure(&worker), None);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.store(true, Ordering::Relaxed);
        writer.await.unwrap();
        assert_nothing_twice(&settles(&*client, &worker, &server).await);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_connector_that_is_killed_again_and_again_goes_on_exactly() {
    const ROUNDS: u64 = 25;
    let mut server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    // Another seed makes other lives: MILLSTREAM_SEED=7.
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or(42));
    for round in 0..=ROUNDS {
        let server_dies = round % 4 == 3;
        let kill_after = Duration::from_millis(random.below(150));
        process(directory.path(), async |client| {
            if round == 0 {
                server.sql("create table t (id bigint primary key, n bigint not null)").await;
                server.sql("insert into t select i, 0 from generate_series(0, 300) i").await;
            }
            let config = config(directory.path(), &server, "status.update.interval.ms=100");
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let mut session = server.session().await;
            session.query("set search_path = public").await.unwrap();
            for _ in 0..30 {
                session.query(&changes(&mut random)).await.unwrap();
            }
            // One transaction in a few is large, so that it is cut.
            if round % 3 == 0 {
                session.query("update t set n = n + 1").await.unwrap();
            }
            tokio::time::sleep(kill_after).await;
            assert_eq!(failure(&worker), None);
            if round == ROUNDS {
                let records = settles(&*client, &worker, &server).await;
                assert_nothing_twice(&records);
                worker.shutdown().await.unwrap();
            }
        });
        if server_dies {
            server.kill();
            server.run();
        }
    }
}

#[test]
fn a_server_that_dies_and_comes_back_is_followed_on() {
    let mut server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id bigint primary key, n bigint not null)").await;
        let config = config(directory.path(), &server, "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        for round in 0..4 {
            server
                .sql(&format!(
                    "insert into t select i, 0 from generate_series({0}, {0} + 99) i",
                    round * 100
                ))
                .await;
            if round % 2 == 0 {
                settles(&*client, &worker, &server).await;
                server.kill();
                // It has nothing to do, and is not well: to be seen as DEGRADED after a while.
                reaches(&worker, "t", ConnectorState::Running).await;
            } else {
                server.stop();
            }
            server.run();
        }
        let records = settles(&*client, &worker, &server).await;
        assert_nothing_twice(&records);
        assert_eq!(state(&records).len(), 400);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_snapshot_that_is_cut_goes_on_where_it_was() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    const ROWS: usize = 60_000;
    let mut seen = 0;
    for round in 0..30 {
        let whole = process(directory.path(), async |client| {
            if round == 0 {
                server
                    .sql("create table t (id bigint primary key, n bigint not null, f text)")
                    .await;
                let rows = format!(
                    "insert into t select i, 0, repeat('x', 200) from generate_series(1, {ROWS}) i"
                );
                server.sql(&rows).await;
            }
            let config = config(directory.path(), &server, "");
            let worker = Worker::start(client.clone(), vec![config], options(false));
            loop {
                let count = records(&*client).await.len();
                assert_eq!(failure(&worker), None);
                if count >= ROWS || (count > seen + 5_000 && round < 29) {
                    seen = count;
                    break count >= ROWS;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        if whole {
            assert!(round >= 2, "it was cut");
            break;
        }
    }
    process(directory.path(), async |client| {
        server.sql("update t set n = 1 where id = 7").await;
        let config = config(directory.path(), &server, "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let records = settles(&*client, &worker, &server).await;
        assert_nothing_twice(&records);
        assert_eq!(records.len(), ROWS + 1);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_large_transaction_that_is_cut_is_told_once() {
    // In a build without optimisation fewer take as long.
    const ROWS: usize = if cfg!(debug_assertions) { 40_000 } else { 1_000_000 };
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let count = async |client: &dyn Client| match client.topic("pg.public.t").await.unwrap() {
        Some(_) => {
            let topic = TopicPartition::new("pg.public.t", 0);
            let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
            client.list_offsets(&[topic], latest).await.unwrap()[0].unwrap_or(Offset::ZERO).0
        }
        None => 0,
    };
    let mut cut = 0;
    for round in 0..12 {
        let whole = process(directory.path(), async |client| {
            if round == 0 {
                server.sql("create table t (id bigint primary key, n bigint not null)").await;
            }
            let config = config(directory.path(), &server, "snapshot.mode=no_data");
            let worker = Worker::start(client.clone(), vec![config], options(false));
            if round == 0 {
                while server.sql("select from pg_replication_slots").await.rows.is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                let rows = format!("insert into t select i, i from generate_series(1, {ROWS}) i");
                server.sql(&rows).await;
            }
            let before = count(&*client).await;
            // Two in three lives end in the middle of it.
            for _ in 0..if round % 3 == 0 { 2_000 } else { 200 } {
                assert_eq!(failure(&worker), None);
                let now = count(&*client).await;
                if now >= ROWS as i64 || (round < 8 && now > before) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            count(&*client).await >= ROWS as i64
        });
        if whole {
            break;
        }
        cut += 1;
    }
    assert!(cut >= 3, "it was cut");
    process(directory.path(), async |client| {
        let config = config(directory.path(), &server, "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        server.sql("update t set n = -1 where id = 1").await;
        let records = settles(&*client, &worker, &server).await;
        assert_nothing_twice(&records);
        assert!(records.len() == ROWS + 1);
        worker.shutdown().await.unwrap();
    });
}
