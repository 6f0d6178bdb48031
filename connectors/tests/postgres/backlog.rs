//! Changes from before their table was changed, read after that: the catalog is ahead.

use std::sync::Arc;

use broker::client::Client;
use connectors::Worker;
use serde_json::Value;

use crate::server::Postgres;
use crate::support::{connector, options, process, read};
use crate::{PLAIN, Record, at_least, failure};

/// Runs the connector until it has read what is there.
async fn catch_up(client: &Arc<dyn Client>, server: &Postgres, dir: &std::path::Path, more: &str) {
    let config = connector(dir, "t", &server.properties(&format!("{PLAIN}\n{more}")));
    let worker = Worker::start(client.clone(), vec![config], options(true));
    worker.sources_finished().await.unwrap();
    worker.shutdown().await.unwrap();
}

/// `{"id":1} c`, and `{"id":1}` for a tombstone.
fn told(records: &[Record]) -> Vec<String> {
    let told = records.iter().map(|(key, value)| {
        let key = key.as_deref().unwrap_or("none");
        let Some(value) = value else { return key.to_owned() };
        let value: Value = serde_json::from_str(value).unwrap();
        format!("{key} {}", value["op"].as_str().unwrap())
    });
    told.collect()
}

/// The deletion of `{"a":1}` came as one of `{"b":0}`, and everything before a rename had no key.
#[test]
fn events_have_the_key_that_their_table_had() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create table pkc (a int primary key, b int not null); insert into pkc values (1, 10); \
                 create table pkr (id int primary key, n int); insert into pkr values (1, 1); \
                 create table pkf (id int primary key, n text); insert into pkf values (1, 'x'); \
                 alter table pkf replica identity full; \
                 create table pki (id int primary key, u int not null unique); \
                 alter table pki replica identity using index pki_u_key; \
                 insert into pki values (1, 1); \
                 create table later (n int)",
            )
            .await;
        catch_up(&client, &server, directory.path(), "").await;
        server
            .sql(
                "insert into pkc values (2, 20); update pkc set b = 21 where a = 2; \
                 delete from pkc where a = 1; insert into later values (1); \
                 insert into pki values (2, 2); update pkr set n = 2; update pkf set n = 'y'",
            )
            .await;
        server
            .sql("alter table pkc drop constraint pkc_pkey; alter table pkc add primary key (b)")
            .await;
        server.sql("alter table pkr rename id to key; alter table pkf rename id to key").await;
        server.sql("alter table later add primary key (n)").await;
        server
            .sql(
                "insert into pkc values (3, 30); delete from pkr; delete from pkf; \
                 insert into later values (2)",
            )
            .await;
        catch_up(&client, &server, directory.path(), "").await;
        let told_of =
            async |table: &str| told(&read(&*client, &format!("pg.public.{table}"), 0).await);
        let expected = [
            r#"{"a":1} r"#,
            r#"{"a":2} c"#,
            r#"{"a":2} u"#,
            r#"{"a":1} d"#,
            r#"{"a":1}"#,
            r#"{"b":30} c"#,
        ];
        assert_eq!(told_of("pkc").await, expected);
        let renamed = [r#"{"id":1} r"#, r#"{"id":1} u"#, r#"{"key":1} d"#, r#"{"key":1}"#];
        assert_eq!(told_of("pkr").await, renamed);
        assert_eq!(told_of("pkf").await, renamed);
        assert_eq!(told_of("pki").await, [r#"{"id":1} r"#, r#"{"id":2} c"#]);
        assert_eq!(told_of("later").await, ["none c", r#"{"n":2} c"#]);
    });
}

#[test]
fn what_changed_in_a_table_comes_although_the_table_is_gone() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql("create table t (a int, b int, primary key (b, a)); insert into t values (1, 10)")
            .await;
        catch_up(&client, &server, directory.path(), "").await;
        server.sql("insert into t values (2, 20); delete from t where a = 1; drop table t").await;
        catch_up(&client, &server, directory.path(), "").await;
        let records = read(&*client, "pg.public.t", 0).await;
        // In which order columns are in a key nobody knows any more.
        let expected = [
            r#"{"b":10,"a":1} r"#,
            r#"{"a":2,"b":20} c"#,
            r#"{"a":1,"b":10} d"#,
            r#"{"a":1,"b":10}"#,
        ];
        assert_eq!(told(&records), expected);
    });
}

#[test]
fn a_publication_that_is_gone_is_refused_or_made_anew_with_all_rows() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key); insert into t values (1)").await;
        let config = |more: &str| {
            let more = format!("{PLAIN}\npublication.name=pub\n{more}");
            connector(directory.path(), "t", &server.properties(&more))
        };
        catch_up(&client, &server, directory.path(), "publication.name=pub").await;
        server.sql("drop publication pub; insert into t values (2)").await;
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        let reason = worker.failed().await.failures.remove(0).reason;
        assert!(reason.contains("'pub' is gone") && reason.contains("when_needed"), "{reason}");
        // Made anew by hand, it does not tell of what was before it.
        server.sql("create publication pub for table t").await;
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        let reason = worker.failed().await.failures.remove(0).reason;
        assert!(reason.contains("when_needed"), "{reason}");
        let needed = config("snapshot.mode=when_needed");
        let worker = Worker::start(client.clone(), vec![needed], options(false));
        let records = at_least(&*client, &worker, "pg.public.t", 3).await;
        assert_eq!(told(&records), [r#"{"id":1} r"#, r#"{"id":1} r"#, r#"{"id":2} r"#]);
        server.sql("insert into t values (3)").await;
        at_least(&*client, &worker, "pg.public.t", 4).await;
        // While it streams, too.
        server.sql("drop publication pub").await;
        server.sql("insert into t values (4)").await;
        let records = at_least(&*client, &worker, "pg.public.t", 8).await;
        assert_eq!(
            told(&records[4..8]).join(" "),
            r#"{"id":1} r {"id":2} r {"id":3} r {"id":4} r"#
        );
        assert_eq!(failure(&worker), None);
        worker.shutdown().await.unwrap();
    });
}

/// The statement of heartbeats ran with an empty search path, failed, and the task began anew at
/// each of them.
#[test]
fn a_heartbeat_finds_its_table_and_stops_nothing_where_it_fails() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key)").await;
        let beat = |statement: &str| {
            format!(
                "{PLAIN}\ntable.include.list=public.t\nheartbeat.interval.ms=20
                heartbeat.action.query={statement}"
            )
        };
        let config = |statement: &str| {
            connector(directory.path(), "t", &server.properties(&beat(statement)))
        };
        let failing = config("update beat set n = n + 1");
        let worker = Worker::start(client.clone(), vec![failing], options(false));
        at_least(&*client, &worker, "__debezium-heartbeat.pg", 5).await;
        server.sql("insert into t values (1)").await;
        at_least(&*client, &worker, "pg.public.t", 1).await;
        // It works as soon as it can.
        server.sql("create table beat (n int); insert into beat values (0)").await;
        while server.sql("select from beat where n > 2").await.rows.is_empty() {
            assert_eq!(failure(&worker), None);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        // One that waits for another's lock holds nothing up.
        let mut session = server.session().await;
        session.query("begin; lock table public.beat in access exclusive mode").await.unwrap();
        server.sql("insert into t values (2)").await;
        at_least(&*client, &worker, "pg.public.t", 2).await;
        session.query("rollback").await.unwrap();
        worker.shutdown().await.unwrap();
    });
}
