//! What happens to a database while it is followed, and what is refused.

use std::time::Duration;

use connectors::postgres::preflight::{self, Level};
use connectors::{Worker, postgres};
use serde_json::Value;

use crate::incremental::released;
use crate::server::Postgres;
use crate::support::{connector, options, process};
use crate::{PLAIN, at_least, failure};

/// Waits until the connector has failed, and says why.
async fn failed(worker: &Worker) -> String {
    worker.failed().await.failures.remove(0).reason
}

fn after(record: &crate::Record) -> Value {
    let value: Value = serde_json::from_str(record.1.as_ref().unwrap()).unwrap();
    value["after"].clone()
}

#[test]
fn a_table_may_change_its_columns_in_mid_stream() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key, a text not null)").await;
        let told = format!("{PLAIN}\ninclude.schema.changes=true");
        let config = connector(directory.path(), "t", &server.properties(&told));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        server.sql("insert into t values (1, 'x')").await;
        at_least(&*client, &worker, "pg.public.t", 1).await;
        // All of it is in the log before we read any: the catalog is ahead of the stream.
        server
            .sql(
                "create type colour as enum ('red', 'green'); \
                 insert into t values (2, 'y'); \
                 alter table t add column b int default 5, add column c colour; \
                 insert into t values (3, 'z', 6, 'red'); \
                 alter table t drop column a; \
                 insert into t values (4, 7, 'green'); \
                 alter table t rename column b to d; \
                 alter table t alter column d type text; \
                 insert into t values (5, 'text', null); \
                 insert into t values (6, null, null)",
            )
            .await;
        server.sql("delete from t where id = 6; alter table t alter column d set not null").await;
        let records = at_least(&*client, &worker, "pg.public.t", 8).await;
        let rows: Vec<String> =
            records[..6].iter().map(|record| after(record).to_string()).collect();
        assert_eq!(
            rows,
            [
                r#"{"a":"x","id":1}"#,
                r#"{"a":"y","id":2}"#,
                r#"{"a":"z","b":6,"c":"red","id":3}"#,
                r#"{"b":7,"c":"green","id":4}"#,
                r#"{"c":null,"d":"text","id":5}"#,
                r#"{"c":null,"d":null,"id":6}"#,
            ]
        );
        let tables = at_least(&*client, &worker, "pg.schema-changes", 4).await;
        let columns = |record: &crate::Record| {
            let value: Value = serde_json::from_str(record.1.as_ref().unwrap()).unwrap();
            let columns = value["columns"].as_array().unwrap().clone();
            let words = columns.iter().map(|column| {
                format!("{}:{}", column["name"].as_str().unwrap(), column["type"].as_str().unwrap())
            });
            words.collect::<Vec<_>>().join(" ")
        };
        let last = tables.iter().map(columns).collect::<Vec<_>>();
        assert!(last.contains(&"id:int4 a:text b:int4 c:colour".to_owned()), "{last:?}");
        assert!(last.contains(&"id:int4 d:text c:colour".to_owned()), "{last:?}");
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn large_values_that_were_not_changed_are_filled_in_or_named() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key, n int, big text, bytes bytea)").await;
        server
            .sql("alter table t alter big set storage external, alter bytes set storage external")
            .await;
        let config = connector(directory.path(), "t", &server.properties(PLAIN));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        server
            .sql(
                "insert into t values (1, 1, repeat('x', 9000), decode(repeat('00', 9000), 'hex'))",
            )
            .await;
        at_least(&*client, &worker, "pg.public.t", 1).await;
        server.sql("update t set n = 2").await;
        server.sql("alter table t replica identity full").await;
        server.sql("update t set n = 3").await;
        let records = at_least(&*client, &worker, "pg.public.t", 3).await;
        let unavailable = "__debezium_unavailable_value";
        let row = after(&records[1]);
        assert_eq!(
            (&row["big"], &row["bytes"]),
            (&unavailable.into(), &"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==".into())
        );
        let row = after(&records[2]);
        assert_eq!(row["big"].as_str().unwrap().len(), 9_000);
        assert_eq!(row["n"], 3);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_slot_that_is_gone_or_has_moved_on_is_refused_unless_a_snapshot_may_replace_it() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let config = |more: &str| {
        connector(directory.path(), "t", &server.properties(&format!("{PLAIN}\n{more}")))
    };
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key)").await;
        server.sql("insert into t values (1)").await;
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        at_least(&*client, &worker, "pg.public.t", 1).await;
        server.sql("insert into t values (2)").await;
        at_least(&*client, &worker, "pg.public.t", 2).await;
        worker.shutdown().await.unwrap();

        server.sql("insert into t values (3)").await;
        released(&server, "debezium").await;
        server.sql("select pg_replication_slot_advance('debezium', pg_current_wal_lsn())").await;
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        let reason = failed(&worker).await;
        assert!(reason.contains("was moved on") && reason.contains("when_needed"), "{reason}");

        server.sql("select pg_drop_replication_slot('debezium')").await;
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        let reason = failed(&worker).await;
        assert!(reason.contains("is gone") && reason.contains("when_needed"), "{reason}");

        let needed = config("snapshot.mode=when_needed");
        let worker = Worker::start(client.clone(), vec![needed], options(false));
        let records = at_least(&*client, &worker, "pg.public.t", 5).await;
        let again: Vec<Value> =
            records[2..].iter().map(|record| after(record)["id"].clone()).collect();
        assert_eq!(again, [1, 2, 3]);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn another_system_under_the_same_address_is_refused() {
    let (one, other) = (Postgres::start(), Postgres::fresh());
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        for server in [&one, &other] {
            server.sql("create table t (id int primary key); insert into t values (1)").await;
        }
        let config = connector(directory.path(), "t", &one.properties(PLAIN));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.t", 1).await;
        worker.shutdown().await.unwrap();
        let config = connector(directory.path(), "t", &other.properties(PLAIN));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let reason = failed(&worker).await;
        assert!(reason.contains("another PostgreSQL system"), "{reason}");
    });
}

#[test]
fn while_nothing_happens_in_our_tables_the_log_is_released() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key); create table other (filler text)").await;
        let more = format!("{PLAIN}\ntable.include.list=public.t\nstatus.update.interval.ms=100");
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        server.sql("insert into t values (1)").await;
        at_least(&*client, &worker, "pg.public.t", 1).await;
        server
            .sql("insert into other select repeat('x', 1000) from generate_series(1, 5000)")
            .await;
        let end = server.sql("select pg_current_wal_lsn()").await;
        let end = end.single().unwrap().to_owned();
        loop {
            let confirmed = server
                .sql(&format!("select confirmed_flush_lsn >= '{end}' from pg_replication_slots"))
                .await;
            if confirmed.single() == Some("t") {
                break;
            }
            assert_eq!(failure(&worker), None);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_slot_in_use_is_waited_for() {
    let server = Postgres::start();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = &directories;
    process(first.path(), async |client| {
        server.sql("create table t (id int primary key); insert into t values (1)").await;
        let config = connector(first.path(), "t", &server.properties(PLAIN));
        let holder = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &holder, "pg.public.t", 1).await;
        loop {
            let active = server.sql("select active from pg_replication_slots").await;
            if active.single() == Some("t") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let more = format!("{PLAIN}\nsnapshot.mode=no_data\ntopic.prefix=two");
        let properties = server.properties(&more).replace("topic.prefix=pg", "");
        let config = connector(second.path(), "two", &properties);
        let waiting = Worker::start(client.clone(), vec![config], options(false));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(failure(&waiting), None);
        holder.shutdown().await.unwrap();
        loop {
            server.sql("insert into t select coalesce(max(id), 0) + 1 from t").await;
            if client.topic("two.public.t").await.unwrap().is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        waiting.shutdown().await.unwrap();
    });
}

#[test]
fn what_is_wrong_is_said_before_with_what_to_do() {
    let server = Postgres::with_options(&["wal_level=replica", "max_replication_slots=0"]);
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create role poor login; create table secret (id int primary key); \
                 create table keyless (id int); create table nothing (id int primary key); \
                 alter table nothing replica identity nothing; grant select on keyless, nothing to poor",
            )
            .await;
        let properties = server.properties("").replace("user=postgres", "user=poor");
        let config = connector(directory.path(), "t", &properties);
        let findings = preflight::check(&config).await;
        let text: Vec<String> = findings
            .iter()
            .filter(|finding| finding.level > Level::Fine)
            .map(|finding| {
                format!("{}: {}", finding.message, finding.help.as_deref().unwrap_or(""))
            })
            .collect();
        expect_test::expect![[r#"
            wal_level is replica: set wal_level = logical in postgresql.conf and restart the server
            all 0 replication slots are taken: raise max_replication_slots, or drop a slot that nobody uses
            role 'poor' has no REPLICATION: alter role "poor" replication
            publication 'dbz_publication' is not there, and role 'poor' may not create it: create it as the tables' owner, or grant create on the database
            these tables may not be read: public.secret: grant select on them, and usage on their schemas
            tables that nothing identifies the rows of: public.keyless, public.nothing: once published, PostgreSQL refuses updates and deletions in them: add a primary key, or alter table … replica identity full"#]]
        .assert_eq(&text.join("\n"));
        // Whoever starts all the same hears the same.
        let config = connector(directory.path(), "t", &server.properties(""));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let reason = failed(&worker).await;
        assert!(
            reason.contains("max_replication_slots") || reason.contains("wal_level"),
            "{reason}"
        );
    });
}

#[test]
fn a_password_is_checked_by_scram_and_never_shown() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |_client| {
        server.sql("create role guarded login replication superuser password 'geheim'").await;
        let rules = server.directory().join("data/pg_hba.conf");
        std::fs::write(&rules, "local all postgres trust\nhost all guarded all scram-sha-256\n")
            .unwrap();
        server.sql("select pg_reload_conf()").await;
        use postgres::wire::session::Purpose;
        use postgres::wire::{PgError, Session};
        let mut target = server.target("postgres");
        target.host = "127.0.0.1".into();
        target.user = "guarded".into();
        let refused = Session::connect(&target, Purpose::Queries).await.unwrap_err();
        assert!(refused.to_string().contains("database.password"), "{refused}");
        target.password = Some("falsch".into());
        let refused = Session::connect(&target, Purpose::Queries).await.unwrap_err();
        assert!(matches!(refused, PgError::Server { .. }) && !refused.is_transient(), "{refused}");
        assert!(!format!("{target:?}{refused}").contains("falsch"));
        target.password = Some("geheim".into());
        let mut session = Session::connect(&target, Purpose::Replication).await.unwrap();
        assert_eq!(session.query("select 1").await.unwrap().single(), Some("1"));
    });
}

#[test]
fn a_password_is_checked_by_md5_where_the_server_still_does_so() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |_client| {
        use postgres::wire::Session;
        use postgres::wire::session::Purpose;
        let role = "set password_encryption = md5; create role old login password 'geheim'";
        server.sql(role).await;
        let rules = server.directory().join("data/pg_hba.conf");
        std::fs::write(&rules, "local all postgres trust\nhost all old all md5\n").unwrap();
        server.sql("select pg_reload_conf()").await;
        let mut target = server.target("postgres");
        (target.host, target.user) = ("127.0.0.1".into(), "old".into());
        target.password = Some("falsch".into());
        let refused = Session::connect(&target, Purpose::Queries).await.unwrap_err();
        assert_eq!(refused.code(), "28P01", "{refused}");
        target.password = Some("geheim".into());
        let mut session = Session::connect(&target, Purpose::Queries).await.unwrap();
        assert_eq!(session.query("select current_user").await.unwrap().single(), Some("old"));
    });
}

#[test]
fn a_server_that_asks_for_our_certificate_gets_it() {
    let server = Postgres::start();
    // Its own certificate is of a name that is a role too.
    server.certify("localhost");
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |_client| {
        use postgres::wire::session::Purpose;
        use postgres::wire::{Session, SslMode};
        server.sql("create role localhost login").await;
        for setting in [
            "ssl = on",
            "ssl_cert_file = '../server.crt'",
            "ssl_key_file = '../server.key'",
            "ssl_ca_file = '../ca.crt'",
        ] {
            server.sql(&format!("alter system set {setting}")).await;
        }
        let rules = server.directory().join("data/pg_hba.conf");
        std::fs::write(&rules, "local all postgres trust\nhostssl all all all cert\n").unwrap();
        server.sql("select pg_reload_conf()").await;
        let at = |file: &str| Some(server.directory().join(file));
        let mut target = server.target("postgres");
        (target.host, target.user) = ("localhost".into(), "localhost".into());
        (target.ssl.mode, target.ssl.root_cert) = (SslMode::VerifyFull, at("ca.crt"));
        (target.ssl.cert, target.ssl.key) = (at("server.crt"), at("server.key"));
        // The configuration is taken up some moments after the signal.
        let mut session = loop {
            match Session::connect(&target, Purpose::Queries).await {
                Ok(session) => break session,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let subject = "select client_dn from pg_stat_ssl where pid = pg_backend_pid()";
        assert_eq!(session.query(subject).await.unwrap().single(), Some("/CN=localhost"));
        (target.ssl.cert, target.ssl.key) = (None, None);
        let refused = Session::connect(&target, Purpose::Queries).await.unwrap_err();
        assert!(refused.to_string().contains("client certificate"), "{refused}");
    });
}

#[test]
fn tls_checks_what_each_mode_says() {
    let server = Postgres::start();
    let authority = server.certify("localhost");
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |_client| {
        use postgres::wire::session::Purpose;
        use postgres::wire::{Session, SslMode};
        for setting in
            ["ssl = on", "ssl_cert_file = '../server.crt'", "ssl_key_file = '../server.key'"]
        {
            server.sql(&format!("alter system set {setting}")).await;
        }
        let rules = server.directory().join("data/pg_hba.conf");
        std::fs::write(&rules, "local all all trust\nhostssl all all all trust\n").unwrap();
        server.sql("select pg_reload_conf()").await;
        let try_with = async |host: &str, mode: SslMode, root: Option<&std::path::Path>| {
            let mut target = server.target("postgres");
            target.host = host.into();
            target.ssl.mode = mode;
            target.ssl.root_cert = root.map(Into::into);
            let mut session = Session::connect(&target, Purpose::Queries).await?;
            let secured = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
            session.query(secured).await.map(|rows| rows.single() == Some("t"))
        };
        let ours = Some(authority.as_path());
        // The configuration is taken up some moments after the signal.
        while !matches!(try_with("localhost", SslMode::Require, None).await, Ok(true)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for mode in [SslMode::Allow, SslMode::Prefer, SslMode::Require] {
            assert!(try_with("127.0.0.1", mode, None).await.unwrap(), "{mode:?}");
        }
        assert!(try_with("localhost", SslMode::VerifyFull, ours).await.unwrap());
        assert!(try_with("127.0.0.1", SslMode::VerifyCa, ours).await.unwrap());
        for (host, mode, root, reason) in [
            ("127.0.0.1", SslMode::VerifyFull, ours, "not valid for name"),
            ("localhost", SslMode::VerifyFull, None, "vouches for it by database.sslrootcert"),
            ("localhost", SslMode::VerifyCa, None, "UnknownIssuer"),
            ("localhost", SslMode::Disable, None, "no pg_hba.conf entry"),
        ] {
            let refused = try_with(host, mode, root).await.unwrap_err();
            assert!(refused.to_string().contains(reason), "{host} {mode:?}: {refused}");
            assert!(!refused.is_transient());
        }
    });
}
