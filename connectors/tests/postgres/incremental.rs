//! Tables are read again while they change, on request: nothing is missed, repeated or taken back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use connectors::Worker;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::crashes::{Random, changes, config, records, settles};
use crate::server::Postgres;
use crate::support::{connector, options, process};
use crate::{PLAIN, Record, at_least, failure};

pub const SIGNALS: &str =
    "create table signals (id text primary key, type text not null, data text)";
const BY_TABLE: &str = "signal.data.collection=public.signals\nincremental.snapshot.chunk.size=100";

/// Longer than anything takes that works, and shorter than a whole life may be.
const DEADLINE: Duration = Duration::from_secs(50);

/// Waits for what is called so.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let there = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let there = tokio::time::timeout(DEADLINE, there).await;
    assert!(there.is_ok(), "not within {DEADLINE:?}: {what}");
}

/// Waits until the server knows that whoever read a slot is gone: it lets nobody else have it.
pub async fn released(server: &Postgres, slot: &str) {
    let active = format!("select from pg_replication_slots where active and slot_name = '{slot}'");
    until("a slot that nobody reads", async || server.sql(&active).await.rows.is_empty()).await;
}

/// Waits until the connector's stream is open.
pub async fn streams(server: &Postgres) {
    let active = "select from pg_replication_slots where active";
    until("an open stream", async || !server.sql(active).await.rows.is_empty()).await;
}

/// A table of 4,000 rows, and one to ask by.
pub async fn make_tables(server: &Postgres) {
    server.sql(SIGNALS).await;
    server.sql("create table t (id bigint primary key, n bigint not null)").await;
    server
        .sql("create sequence s; insert into t select i, 0 from generate_series(0, 3999) i")
        .await;
}

/// Asks by the table.
pub async fn ask(server: &Postgres, id: &str, kind: &str, data: Value) {
    let data = data.to_string().replace('\'', "''");
    server.sql(&format!("insert into signals values ('{id}', '{kind}', '{data}')")).await;
}

pub fn all_of(tables: &[&str]) -> Value {
    json!({ "type": "incremental", "data-collections": tables })
}

/// Asks by the topic.
pub async fn send(client: &dyn Client, kind: &str, data: Value) {
    let name = "pg-signal";
    if client.topic(name).await.unwrap().is_none() {
        client.create_topic(&NewTopic::new(name, 1)).await.unwrap();
    }
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    let mut batch = BatchBuilder::default();
    let value = json!({ "id": "x", "type": kind, "data": data }).to_string();
    batch.append(0, Some(b"pg"), Some(value.as_bytes()));
    producer.send(&TopicPartition::new(name, 0), batch).await.unwrap();
    producer.flush().await.unwrap();
}

pub fn event(record: &Record) -> Value {
    record.1.as_ref().map_or(Value::Null, |value| serde_json::from_str(value).unwrap())
}

pub fn is_incremental(record: &Record) -> bool {
    record.1.as_ref().is_some_and(|value| value.contains("\"snapshot\":\"incremental\""))
}

pub fn incremental(records: &[Record]) -> usize {
    records.iter().filter(|record| is_incremental(record)).count()
}

/// Waits until so many rows were read again.
async fn read_again(client: &dyn Client, worker: &Worker, count: usize) -> Vec<Record> {
    let mut all = Vec::new();
    until(&format!("{count} rows that were read again"), async || {
        assert_eq!(failure(worker), None);
        all = records(client).await;
        incremental(&all) >= count
    })
    .await;
    all
}

/// Changes rows of a part of the table until it is told to stop. Each change has a number greater
/// than those before; now and then a transaction stays open for a while.
pub async fn writer(
    server: &Postgres,
    stop: &Arc<AtomicBool>,
    first: u64,
    slow: bool,
) -> JoinHandle<()> {
    let mut session = server.session().await;
    session.query("set search_path = public").await.unwrap();
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut random = Random(first + 4_711);
        while !stop.load(Ordering::Relaxed) {
            session.query("begin").await.unwrap();
            for _ in 0..=random.below(5) {
                let id = first + random.below(2_000);
                let sql = match random.below(5) {
                    0 => format!("delete from t where id = {id}"),
                    1 => format!(
                        "update t set n = nextval('s') where id between {id} and {} \
                         and id < {}",
                        id + 20,
                        first + 2_000
                    ),
                    _ => format!(
                        "insert into t values ({id}, nextval('s')) \
                         on conflict (id) do update set n = excluded.n"
                    ),
                };
                session.query(&sql).await.unwrap();
            }
            let pause = Duration::from_millis(random.below(if slow { 15 } else { 3 }));
            tokio::time::sleep(pause).await;
            session.query(if random.below(6) == 0 { "rollback" } else { "commit" }).await.unwrap();
        }
    })
}

/// Whoever looks at a key sees it go forth only: what was deleted does not come back as it was.
pub fn assert_nothing_goes_back(records: &[Record]) {
    let mut seen: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        let event = event(record);
        let key: Value = serde_json::from_str(record.0.as_ref().unwrap()).unwrap();
        let id = key["id"].as_i64().unwrap();
        let Some(n) = event["after"]["n"].as_i64() else {
            if let Some((_, gone)) = seen.get_mut(&id) {
                *gone = true;
            }
            continue;
        };
        if let Some((before, gone)) = seen.insert(id, (n, false)) {
            let forth = if gone { n > before } else { n >= before };
            assert!(forth, "record {index}: {id} goes back from {before} to {event}");
        }
    }
}

#[test]
fn a_table_that_is_written_to_is_read_again_and_no_row_goes_back() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        make_tables(&server).await;
        let config =
            config(directory.path(), &server, &format!("{BY_TABLE}\nsnapshot.mode=no_data"));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writers =
            [writer(&server, &stop, 0, false).await, writer(&server, &stop, 2_000, true).await];
        ask(&server, "1", "execute-snapshot", all_of(&["public.t"])).await;
        // The whole table has been told once its last rows were; a few are dropped as they change.
        read_again(&*client, &worker, 3_000).await;
        let last = async || {
            let records = records(&*client).await;
            incremental(&records) as i64
        };
        let mut before = -1;
        until("the end of what is read again", async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let now = last().await;
            std::mem::replace(&mut before, now) == now
        })
        .await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        let records = settles(&*client, &worker, &server).await;
        assert_nothing_goes_back(&records);
        // None came twice.
        let mut keys: Vec<_> =
            records.iter().filter(|one| is_incremental(one)).map(|one| &one.0).collect();
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
        // Signals are no rows of ours.
        assert!(client.topic("pg.public.signals").await.unwrap().is_none());
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_connector_that_is_killed_while_it_reads_again_goes_on_where_it_was() {
    const ROUNDS: u64 = 24;
    const ROWS: i64 = 6_000;
    let mut server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let seed = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut random = Random(seed.unwrap_or(42));
    let mut cut = 0;
    for round in 0..=ROUNDS {
        // Some chunks further, or in the midst of the next one.
        let further = 100 * random.below(5) as usize + 1;
        process(directory.path(), async |client| {
            if round == 0 {
                server.sql(SIGNALS).await;
                server.sql("create table t (id bigint primary key, n bigint not null)").await;
                server
                    .sql(&format!(
                        "insert into t select i, 0 from generate_series(2000, {}) i",
                        1_999 + ROWS
                    ))
                    .await;
            }
            let more = format!("{BY_TABLE}\nsnapshot.mode=no_data\nstatus.update.interval.ms=100");
            let config = config(directory.path(), &server, &more);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            if round == 0 {
                streams(&server).await;
                ask(&server, "1", "execute-snapshot", all_of(&["public.t"])).await;
            }
            let mut session = server.session().await;
            session.query("set search_path = public").await.unwrap();
            for _ in 0..10 {
                session.query(&changes(&mut random)).await.unwrap();
            }
            let before = incremental(&records(&*client).await);
            let until = (before + further).min(ROWS as usize);
            let now = incremental(&read_again(&*client, &worker, until).await);
            cut += usize::from(before < now && now < ROWS as usize);
            if round == ROUNDS {
                read_again(&*client, &worker, ROWS as usize).await;
                let records = settles(&*client, &worker, &server).await;
                let mut of: Vec<i64> = Vec::new();
                for record in records.iter().filter(|record| is_incremental(record)) {
                    of.push(event(record)["after"]["id"].as_i64().unwrap());
                }
                // Nobody writes to these: each is told, and once.
                of.retain(|id| *id >= 2_000);
                assert_eq!(of, (2_000..2_000 + ROWS).collect::<Vec<_>>());
                worker.shutdown().await.unwrap();
            }
        });
        if round % 6 == 5 {
            server.kill();
            server.run();
        }
    }
    assert!(cut >= 3, "it was cut {cut} times");
}

#[test]
fn signals_by_topic_pause_resume_filter_and_stop() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id bigint primary key, n bigint not null)").await;
        server.sql("insert into t select i, i from generate_series(1, 20000) i").await;
        server.sql("create table keyless (a int); insert into keyless values (1)").await;
        let more = format!(
            "{PLAIN}\nsnapshot.mode=no_data\nincremental.snapshot.chunk.size=50\n\
             table.exclude.list=public.hidden"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        // What is nonsense is passed over.
        send(&*client, "execute-snapshot", json!({ "data-collections": ["public.none"] })).await;
        send(&*client, "execute-snapshot", json!({ "data-collections": ["public.keyless"] })).await;
        let wrong = json!({ "data-collections": ["public.t"],
            "additional-conditions": [{ "data-collection": "public.t", "filter": "nothing = 3" }] });
        send(&*client, "execute-snapshot", wrong).await;
        send(&*client, "execute-snapshot", json!({})).await;
        let few = json!({ "data-collections": ["public.t"],
            "additional-conditions": [{ "data-collection": "public.t", "filter": "n % 1000 = 0" }] });
        send(&*client, "execute-snapshot", few).await;
        let records = read_again(&*client, &worker, 20).await;
        let ids: Vec<i64> =
            records.iter().map(|one| event(one)["after"]["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, (1..=20).map(|number| number * 1_000).collect::<Vec<_>>());
        send(&*client, "execute-snapshot", all_of(&["public.t"])).await;
        read_again(&*client, &worker, 200).await;
        send(&*client, "pause-snapshot", json!({ "type": "incremental" })).await;
        // The chunk at hand is told to its end.
        let mut paused = 0;
        until("the end of the chunk at hand", async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = incremental(&crate::crashes::records(&*client).await);
            std::mem::replace(&mut paused, now) == now
        })
        .await;
        assert!(paused < 20_000, "{paused}");
        // Changes go on.
        server.sql("update t set n = 0 where id = 7").await;
        until("a change while it is paused", async || {
            crate::crashes::records(&*client).await.iter().any(|one| event(one)["op"] == "u")
        })
        .await;
        send(&*client, "resume-snapshot", json!({ "type": "incremental" })).await;
        let now = incremental(&read_again(&*client, &worker, paused + 100).await);
        send(&*client, "stop-snapshot", json!({ "data-collections": ["public.t"] })).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        // It is of no more use, and a new one begins anew.
        send(&*client, "execute-snapshot", all_of(&["public.t"])).await;
        let records = read_again(&*client, &worker, now + 20_000).await;
        let first_again = records
            .iter()
            .filter(|one| is_incremental(one))
            .filter(|one| one.0.as_deref() == Some(r#"{"id":1}"#));
        assert_eq!(first_again.count(), 2);
        assert!(client.topic("pg.public.keyless").await.unwrap().is_none());
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn keys_of_any_kind_are_gone_by_and_nothing_is_written_where_that_is_asked_for() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create extension citext; create type mood as enum ('sad', 'ok', 'glad'); \
                 create table pair (a text, b numeric, note text, primary key (b, a)); \
                 create table ci (c citext primary key); \
                 create table moods (m mood, d timestamptz, u uuid, primary key (m, d, u)); \
                 create table plain (n int unique, t text); alter table plain replica identity full; \
                 create table parts (id int primary key) partition by range (id); \
                 create table parts_1 partition of parts for values from (0) to (100); \
                 create table empty (id int primary key); \
                 insert into pair select chr(97 + i % 26) || '''\\', i / 26, repeat('x', 3000) \
                 from generate_series(0, 499) i; \
                 insert into ci select md5(i::text) from generate_series(0, 299) i; \
                 update ci set c = upper(c::text) where c::text < '8'; \
                 insert into moods select (enum_range(null::mood))[1 + i % 3], \
                 now() - i * interval '1 day', gen_random_uuid() from generate_series(0, 299) i; \
                 insert into plain select i, 'x' from generate_series(1, 99) i; \
                 insert into plain values (null, 'no key'); \
                 insert into parts select generate_series(0, 99)",
            )
            .await;
        let before = server.sql("select txid_current()").await.single().unwrap().to_owned();
        let more = format!(
            "{PLAIN}\nsnapshot.mode=no_data\nincremental.snapshot.chunk.size=7\nread.only=true\n\
             publish.via.partition.root=true"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let published = server.sql("select txid_current()").await.single().unwrap().to_owned();
        assert_ne!(before, published);
        let tables = json!({ "data-collections": ["public.empty", "public.(pair|ci|moods)", "public.parts"] });
        send(&*client, "execute-snapshot", tables).await;
        let by_number = json!({ "data-collections": ["public.plain"], "surrogate-key": "n" });
        send(&*client, "execute-snapshot", by_number).await;
        for (table, count) in
            [("ci", 300), ("moods", 300), ("pair", 500), ("parts", 100), ("plain", 99)]
        {
            let records = at_least(&*client, &worker, &format!("pg.public.{table}"), count).await;
            let mut keys: Vec<String> =
                records.iter().map(|one| event(one)["after"].to_string()).collect();
            keys.sort();
            keys.dedup();
            assert_eq!((records.len(), keys.len()), (count, count), "{table}");
        }
        let now = server.sql("select txid_current()").await.single().unwrap().to_owned();
        assert_eq!(now.parse::<u64>().unwrap(), published.parse::<u64>().unwrap() + 1);
        worker.shutdown().await.unwrap();
    });
}
