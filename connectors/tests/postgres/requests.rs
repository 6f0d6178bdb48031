//! What a connector is asked for while it runs is done, whatever comes in between.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use broker::client::{Client, Isolation, OffsetSpec};
use broker::ids::{Offset, TopicPartition};
use connectors::postgres::wire::Session;
use connectors::rest::loggers::Loggers;
use connectors::rest::{About, Request, RequestTarget, Served, answer};
use connectors::{ConnectorConfig, Herder, HerderOptions, Standalone, Worker};
use serde_json::{Value, json};

use crate::crashes::{state, table};
use crate::incremental::{
    SIGNALS, all_of, assert_nothing_goes_back, event, incremental, send, streams, until,
};
use crate::server::Postgres;
use crate::support::{connector, options, process, read};
use crate::{PLAIN, Record, failure};

/// Holds up queries that pass it by their filter.
struct Gate<'a> {
    server: &'a Postgres,
    session: Session,
}

const FILTER: &str = "(select pg_advisory_xact_lock_shared(7))::text is not null";

impl Gate<'_> {
    async fn closed(server: &Postgres) -> Gate<'_> {
        let mut session = server.session().await;
        session.query("select pg_advisory_lock(7)").await.unwrap();
        Gate { server, session }
    }

    /// What passes it: the table, by chunks.
    fn request(table: &str) -> Value {
        let condition = json!({ "data-collection": table, "filter": FILTER });
        json!({ "data-collections": [table], "additional-conditions": [condition] })
    }

    /// Waits until somebody stands there with such a query.
    async fn waits(&self, query: &str) {
        let sql = format!(
            "select from pg_stat_activity where wait_event = 'advisory' and query like '{query}%'"
        );
        until(query, async || !self.server.sql(&sql).await.rows.is_empty()).await;
    }

    /// Lets in whoever waits, and closes again.
    async fn pass(&mut self) {
        let both = "select pg_advisory_unlock(7); select pg_advisory_lock(7)";
        self.session.query(both).await.unwrap();
    }

    async fn open(&mut self) {
        self.session.query("select pg_advisory_unlock(7)").await.unwrap();
    }
}

/// A connector that follows all tables.
fn config(directory: &Path, server: &Postgres, more: &str) -> ConnectorConfig {
    connector(directory, "t", &server.properties(&format!("{PLAIN}\n{more}")))
}

async fn topic(client: &dyn Client, name: &str) -> Vec<Record> {
    match client.topic(name).await.unwrap() {
        Some(_) => read(client, name, 0).await,
        None => Vec::new(),
    }
}

/// Waits until so many rows of a table were read again.
async fn read_again(client: &dyn Client, worker: &Worker, table: &str, count: usize) {
    let name = format!("pg.public.{table}");
    until(&format!("{count} rows of {table}"), async || {
        assert_eq!(failure(worker), None);
        incremental(&topic(client, &name).await) >= count
    })
    .await;
    assert_eq!(incremental(&topic(client, &name).await), count);
}

/// How long a topic is: records, and marks of transactions.
async fn length(client: &dyn Client, name: &str) -> i64 {
    if client.topic(name).await.unwrap().is_none() {
        return 0;
    }
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let ends = client.list_offsets(&[TopicPartition::new(name, 0)], latest).await.unwrap();
    ends[0].unwrap_or(Offset::ZERO).0
}

/// The stored offset, as text.
async fn stored(client: &dyn Client) -> String {
    let last = topic(client, "connect-offsets").await.pop();
    last.and_then(|(_, value)| value).unwrap_or_default()
}

async fn two_tables(server: &Postgres) {
    server.sql("create table t (id bigint primary key, n bigint not null)").await;
    server.sql("create table u (id bigint primary key, n bigint not null)").await;
    server.sql("insert into t select i, 0 from generate_series(1, 500) i").await;
    server.sql("insert into u select i, 0 from generate_series(1, 10) i").await;
}

/// Its progress was stored, and its rows were thrown away with what came of the next request: the
/// log said that all rows were read, and none of them came.
#[test]
fn a_chunk_is_not_lost_when_what_comes_behind_it_fails() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        two_tables(&server).await;
        let config = config(directory.path(), &server, "snapshot.mode=no_data");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let mut gate = Gate::closed(&server).await;
        send(&*client, "execute-snapshot", Gate::request("public.t")).await;
        send(&*client, "execute-snapshot", all_of(&["public.u"])).await;
        gate.waits("select \"id\"").await;
        gate.pass().await;
        gate.waits("copy").await;
        // The tables of the second request are looked up on this one, behind the chunk.
        let gone = server
            .sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle' \
                 and application_name = 'Millstream t' and backend_type = 'client backend'",
            )
            .await;
        assert_eq!(gone.rows.len(), 1);
        gate.open().await;
        read_again(&*client, &worker, "u", 10).await;
        read_again(&*client, &worker, "t", 500).await;
        worker.shutdown().await.unwrap();
    });
}

/// The stream is held up in the midst of it until the chunk is there, and nobody took the chunk
/// in before the transaction's end: each turn waited for what was there already.
#[test]
fn a_transaction_of_any_size_may_come_while_a_chunk_is_read() {
    const ROWS: i64 = 120_000;
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id bigint primary key, n bigint not null)").await;
        server.sql(&format!("insert into t select i, 0 from generate_series(1, {ROWS}) i")).await;
        let more = "snapshot.mode=no_data\nincremental.snapshot.chunk.size=40000";
        let config = config(directory.path(), &server, more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let mut gate = Gate::closed(&server).await;
        send(&*client, "execute-snapshot", Gate::request("public.t")).await;
        gate.waits("select \"id\"").await;
        gate.pass().await;
        gate.waits("copy").await;
        server.sql("update t set n = 1").await;
        // So many changed keys are kept.
        let there = async || length(&*client, "pg.public.t").await;
        until("a stream that is held up", async || there().await >= 100_000).await;
        gate.open().await;
        // The rows of the first chunk are those that have changed.
        until("the other chunks", async || there().await >= ROWS + ROWS - 40_000).await;
        assert_eq!(failure(&worker), None);
        let records = topic(&*client, "pg.public.t").await;
        assert_eq!(incremental(&records) as i64, ROWS - 40_000);
        assert_eq!(state(&records), table(&server).await);
        assert_nothing_goes_back(&records);
        worker.shutdown().await.unwrap();
    });
}

/// A look that was under way when its table was stopped was taken for one at the next table.
#[test]
fn a_table_that_is_stopped_while_it_is_looked_at_leaves_the_next_one_alone() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        two_tables(&server).await;
        let config = config(directory.path(), &server, "snapshot.mode=no_data");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let mut gate = Gate::closed(&server).await;
        let mut request = Gate::request("public.t");
        request["data-collections"] = json!(["public.t", "public.u"]);
        send(&*client, "execute-snapshot", request).await;
        gate.waits("select \"id\"").await;
        send(&*client, "stop-snapshot", all_of(&["public.t"])).await;
        // The next one is soon done, and gone from what is stored last.
        until("a stored request without it", async || {
            let stored = topic(&*client, "connect-offsets").await;
            let mut stored = stored.into_iter().filter_map(|(_, value)| value);
            stored.any(|one| one.contains(r#""table":"u""#) && !one.contains(r#""table":"t""#))
        })
        .await;
        gate.open().await;
        read_again(&*client, &worker, "u", 10).await;
        assert!(client.topic("pg.public.t").await.unwrap().is_none());
        worker.shutdown().await.unwrap();
    });
}

/// Nothing had come for a second, which was taken for nothing more to come: a server that reads
/// a large transaction of other tables is as silent.
#[test]
fn a_chunk_waits_for_a_stream_that_is_silent() {
    for read_only in [false, true] {
        let server = Postgres::start();
        let directory = tempfile::tempdir().unwrap();
        process(directory.path(), async |client| {
            two_tables(&server).await;
            let more = format!("snapshot.mode=no_data\nread.only={read_only}");
            let config = config(directory.path(), &server, &more);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            streams(&server).await;
            // The server's end of the stream stands still as if it had much else to do.
            // It waits for work then: in the midst of it, it could hold what all others wait for.
            let waits = "select from pg_stat_activity join pg_replication_slots on pid = active_pid
                 where wait_event_type in ('Activity', 'Client')";
            until("a stream at rest", async || !server.sql(waits).await.rows.is_empty()).await;
            let pid = server.sql("select active_pid from pg_replication_slots").await;
            let signal = |signal: &str| {
                let pid = pid.single().unwrap();
                let done = std::process::Command::new("kill").args([signal, pid]).status();
                assert!(done.unwrap().success());
            };
            signal("-STOP");
            server.sql("update t set n = 1").await;
            server.sql("update t set n = 2").await;
            send(&*client, "execute-snapshot", all_of(&["public.t"])).await;
            let read = "select from pg_stat_activity where query = 'commit' and state = 'idle'";
            until("a chunk", async || !server.sql(read).await.rows.is_empty()).await;
            // Twice as long as a commit may take to be in the log for sure.
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(client.topic("pg.public.t").await.unwrap().is_none());
            signal("-CONT");
            read_again(&*client, &worker, "t", 500).await;
            let records = topic(&*client, "pg.public.t").await;
            assert_nothing_goes_back(&records);
            assert_eq!(state(&records), table(&server).await);
            worker.shutdown().await.unwrap();
        });
    }
}

/// The table `u`, of which the first life was asked.
fn second_life_reads_again(directory: &Path, server: &Postgres, more: &str) {
    process(directory, async |client| {
        let config = config(directory, server, more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        read_again(&*client, &worker, "u", 10).await;
        worker.shutdown().await.unwrap();
    });
}

/// It was taken in behind its transaction, and what was stored before was already past its row.
#[test]
fn a_signal_in_a_large_transaction_that_is_cut_is_not_lost() {
    // In a build without optimisation fewer take as long.
    const ROWS: i64 = if cfg!(debug_assertions) { 40_000 } else { 500_000 };
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let more = "snapshot.mode=no_data\nsignal.data.collection=public.signals";
    process(directory.path(), async |client| {
        server.sql(SIGNALS).await;
        two_tables(&server).await;
        let config = config(directory.path(), &server, more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let mut session = server.session().await;
        let request = all_of(&["public.u"]);
        let sql = format!(
            "set search_path = public; begin; \
             insert into signals values ('1', 'execute-snapshot', '{request}'); \
             insert into t select i, 0 from generate_series(1001, 1000 + {ROWS}) i; commit"
        );
        session.query(&sql).await.unwrap();
        until("the first rows", async || {
            assert_eq!(failure(&worker), None);
            length(&*client, "pg.public.t").await > 0
        })
        .await;
        assert!(length(&*client, "pg.public.t").await < ROWS, "it was cut");
    });
    second_life_reads_again(directory.path(), &server, more);
}

/// How far the topic of signals was read was stored while changes streamed alone.
#[test]
fn a_signal_during_a_snapshot_that_is_cut_is_not_lost() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        two_tables(&server).await;
        server.sql("create table big (id bigint primary key, f text)").await;
        server
            .sql(
                "insert into big select i, repeat('x', 200) \
                 from generate_series(1, 300000) i",
            )
            .await;
        let config = config(directory.path(), &server, "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        until("a stored beginning", async || {
            assert_eq!(failure(&worker), None);
            stored(&*client).await.contains("signals")
        })
        .await;
        send(&*client, "execute-snapshot", all_of(&["public.u"])).await;
        let cut = stored(&*client).await;
        assert!(cut.contains(r#""snapshot":"initial""#), "{cut}");
    });
    second_life_reads_again(directory.path(), &server, "");
}

/// It had been accepted, and the connector began at the end of the topic when it ran at last.
#[test]
fn a_signal_for_a_connector_that_never_ran_waits_for_it() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        two_tables(&server).await;
        let options = HerderOptions {
            worker: BTreeMap::new(),
            base_dir: directory.path().to_owned(),
            worker_id: "worker".to_owned(),
            options: options(false),
            graceful: Duration::from_secs(5),
        };
        let herder = Standalone::new(client.clone(), options);
        let loggers = Loggers::new("warn", |_| Ok(()));
        let about = About { cluster_id: "cluster".to_owned(), loggers };
        let order = async |method: &str, path: &str, body: Value| {
            let (target, body) = (RequestTarget::new(path, ""), body.to_string());
            let (content_type, body) = (Some("application/json"), body.as_bytes());
            let request = Request { method, target, content_type, body, served: Served::ALL };
            answer(&herder, &about, request).await.status
        };
        let lines = server.properties(&format!("{PLAIN}\nsnapshot.mode=no_data"));
        let lines = lines.lines().filter_map(|line| line.split_once('='));
        let properties: BTreeMap<&str, &str> =
            lines.map(|(key, value)| (key.trim(), value.trim())).collect();
        let created = json!({ "name": "t", "initial_state": "STOPPED", "config": properties });
        assert_eq!(order("POST", "/connectors", created).await, 201);
        // What others have left there is for others.
        send(&*client, "execute-snapshot", all_of(&["public.t"])).await;
        let wanted = json!({ "type": "execute-snapshot", "data": all_of(&["public.u"]) });
        assert_eq!(order("POST", "/connectors/t/signals", wanted).await, 202);
        assert_eq!(order("PUT", "/connectors/t/resume", Value::Null).await, 202);
        let rows = async || incremental(&topic(&*client, "pg.public.u").await);
        until("the rows that were asked for", async || rows().await == 10).await;
        // From now on it is all his.
        send(&*client, "execute-snapshot", all_of(&["public.u"])).await;
        until("the rows that were asked for later", async || rows().await == 20).await;
        assert!(client.topic("pg.public.t").await.unwrap().is_none());
        herder.shutdown().await;
    });
}

/// Such a row failed the connector, and again after each start.
#[test]
fn a_row_that_cannot_be_told_ends_its_request_alone() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        two_tables(&server).await;
        server
            .sql(
                "create table prices (id bigint primary key, price numeric not null); \
                 insert into prices values (1, 1), (2, 'NaN'), (3, 3); \
                 create table loose (id bigint primary key, n bigint); \
                 insert into loose values (1, 1), (2, null), (3, 3); \
                 update pg_attribute set attnotnull = true \
                 where attrelid = 'loose'::regclass and attname = 'n'",
            )
            .await;
        let more = "snapshot.mode=no_data\ndecimal.handling.mode=precise";
        let config = config(directory.path(), &server, more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let all = all_of(&["public.prices", "public.loose", "public.u"]);
        send(&*client, "execute-snapshot", all).await;
        read_again(&*client, &worker, "u", 10).await;
        // The catalog says that there is no null, and is not believed any more.
        read_again(&*client, &worker, "loose", 3).await;
        let nothing = event(&topic(&*client, "pg.public.loose").await[1]);
        assert_eq!(nothing["after"], json!({ "id": 2, "n": null }));
        assert!(client.topic("pg.public.prices").await.unwrap().is_none());
        worker.shutdown().await.unwrap();
    });
}

/// It waited for somebody to resume, for ever.
#[test]
fn a_run_to_the_end_ends_while_a_request_is_paused() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        two_tables(&server).await;
        let config = || config(directory.path(), &server, "snapshot.mode=no_data");
        let worker = Worker::start(client.clone(), vec![config()], options(false));
        streams(&server).await;
        send(&*client, "pause-snapshot", json!({})).await;
        send(&*client, "execute-snapshot", all_of(&["public.u"])).await;
        until("a stored request", async || stored(&*client).await.contains("public.u")).await;
        worker.shutdown().await.unwrap();
        server.sql("update t set n = 1 where id = 7").await;
        let worker = Worker::start(client.clone(), vec![config()], options(true));
        let ended = tokio::time::timeout(Duration::from_secs(20), worker.sources_finished()).await;
        ended.expect("it ends").unwrap();
        assert_eq!(topic(&*client, "pg.public.t").await.len(), 1);
        worker.shutdown().await.unwrap();
        // It is still there for whoever resumes it.
        let worker = Worker::start(client.clone(), vec![config()], options(false));
        send(&*client, "resume-snapshot", json!({})).await;
        read_again(&*client, &worker, "u", 10).await;
        worker.shutdown().await.unwrap();
    });
}
