//! What each property changes.

use std::collections::BTreeMap;

use connectors::{ConnectorConfig, ConnectorState, Worker};
use serde_json::Value;

use crate::incremental::released;
use crate::server::Postgres;
use crate::support::{connector, options, process, reaches, read};
use crate::{PLAIN, Record, at_least, failure};

fn value(record: &Record) -> Value {
    serde_json::from_str(record.1.as_ref().unwrap()).unwrap()
}

fn keys(records: &[Record]) -> Vec<String> {
    records.iter().map(|(key, _)| key.clone().unwrap_or_else(|| "none".into())).collect()
}

#[test]
fn tables_columns_and_keys_are_chosen_by_patterns() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create schema sales; create table sales.orders \
                 (id int primary key, region text not null, number int not null, secret text); \
                 create table sales.log (id int primary key); create table hidden (id int primary key); \
                 create table \"odd Näme\" (\"Ü\" int primary key); insert into \"odd Näme\" values (1); \
                 insert into sales.orders values (1, 'n', 7, 'x'); insert into sales.log values (1); \
                 insert into hidden values (1)",
            )
            .await;
        let more = format!(
            r"{PLAIN}
            table.exclude.list=public\.hidden, sales\.l.*
            column.exclude.list=.*\.secret
            message.key.columns=sales.orders:region,number"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.sales.orders", 1).await;
        server
            .sql("insert into sales.orders values (2, 's', 8, 'y'); insert into hidden values (2)")
            .await;
        let records = at_least(&*client, &worker, "pg.sales.orders", 2).await;
        assert_eq!(
            keys(&records),
            [r#"{"region":"n","number":7}"#, r#"{"region":"s","number":8}"#]
        );
        assert_eq!(value(&records[1])["after"].to_string(), r#"{"id":2,"number":8,"region":"s"}"#);
        // Letters that a topic's name cannot have.
        let odd = at_least(&*client, &worker, "pg.public.odd_N_me", 1).await;
        assert_eq!(keys(&odd), [r#"{"Ü":1}"#]);
        for topic in ["pg.public.hidden", "pg.sales.log"] {
            assert!(client.topic(topic).await.unwrap().is_none(), "{topic}");
        }
        let published =
            "select string_agg(tablename, ' ' order by tablename) from pg_publication_tables";
        assert_eq!(server.sql(published).await.single(), Some("odd Näme orders"));
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn how_far_a_snapshot_is_is_told() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key, filler text)").await;
        server
            .sql("insert into t select g, repeat('x', 300) from generate_series(1, 20000) g")
            .await;
        let size = server.sql("select pg_relation_size('t')").await;
        let size: u64 = size.single().unwrap().parse().unwrap();
        let properties = server.properties(PLAIN);
        let config = connector(directory.path(), "pg", &properties);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let mut statuses = worker.statuses();
        loop {
            statuses.changed().await.unwrap();
            let now = statuses.borrow_and_update()[0].clone();
            assert_eq!(failure(&worker), None);
            if let Some(total) = now.total_bytes.filter(|_| now.bytes > 0) {
                assert_eq!(total, size, "of which {} are read", now.bytes);
            }
            if now.is_filled {
                assert_eq!(now.bytes, size);
                break;
            }
        }
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn snapshots_are_taken_as_their_mode_says() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key); insert into t values (1), (2)").await;
        let config = |name: &str, mode: &str| {
            let more = format!("{PLAIN}\nsnapshot.mode={mode}\nslot.name={name}");
            let properties = server.properties(&more);
            let properties = properties.replace("topic.prefix=pg", &format!("topic.prefix={name}"));
            connector(directory.path(), name, &properties)
        };
        // The rows alone: it ends, and leaves no slot behind.
        let worker =
            Worker::start(client.clone(), vec![config("only", "initial_only")], options(false));
        reaches(&worker, "only", ConnectorState::Finished).await;
        worker.shutdown().await.unwrap();
        assert_eq!(read(&*client, "only.public.t", 0).await.len(), 2);
        assert!(server.sql("select from pg_replication_slots").await.rows.is_empty());

        // Once is enough.
        let worker =
            Worker::start(client.clone(), vec![config("only", "initial_only")], options(false));
        reaches(&worker, "only", ConnectorState::Finished).await;
        worker.shutdown().await.unwrap();
        assert_eq!(read(&*client, "only.public.t", 0).await.len(), 2);
        // Whoever follows on from there reads the rows again: changes since then were not kept.
        let worker = Worker::start(client.clone(), vec![config("only", "initial")], options(false));
        at_least(&*client, &worker, "only.public.t", 4).await;
        worker.shutdown().await.unwrap();
        released(&server, "only").await;
        server.sql("select pg_drop_replication_slot('only')").await;

        // No rows, only what happens from then on.
        let worker = Worker::start(client.clone(), vec![config("none", "no_data")], options(false));
        while server.sql("select from pg_replication_slots").await.rows.is_empty() {
            assert_eq!(failure(&worker), None);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        server.sql("insert into t values (3)").await;
        let records = at_least(&*client, &worker, "none.public.t", 1).await;
        assert_eq!(keys(&records), [r#"{"id":3}"#]);
        worker.shutdown().await.unwrap();

        // The rows at each start.
        for round in 1..3 {
            let worker =
                Worker::start(client.clone(), vec![config("each", "always")], options(false));
            let records = at_least(&*client, &worker, "each.public.t", round * 3).await;
            assert!(records.iter().all(|record| value(record)["op"] == "r"));
            worker.shutdown().await.unwrap();
        }
    });
}

#[test]
fn a_table_in_partitions_may_show_as_one() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create table m (id int, day date, primary key (id, day)) partition by range (day); \
                 create table m1 partition of m for values from ('2024-01-01') to ('2024-02-01'); \
                 create table m2 partition of m for values from ('2024-02-01') to ('2024-03-01'); \
                 insert into m values (1, '2024-01-05'), (2, '2024-02-05')",
            )
            .await;
        for (name, more) in [("parts", ""), ("whole", "publish.via.partition.root=true")] {
            let more = format!("{PLAIN}\n{more}\nslot.name={name}\npublication.name={name}");
            let properties = server.properties(&more);
            let properties = properties.replace("topic.prefix=pg", &format!("topic.prefix={name}"));
            let config = connector(directory.path(), name, &properties);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let topics = match name {
                "parts" => vec![("parts.public.m1", 2), ("parts.public.m2", 2)],
                _ => vec![("whole.public.m", 6)],
            };
            for (topic, count) in &topics {
                let rows_before = if name == "parts" { 1 } else { 4 };
                assert!(rows_before < *count);
                at_least(&*client, &worker, topic, rows_before).await;
            }
            let id = if name == "parts" { 3 } else { 5 };
            let rows = format!("insert into m values ({id}, '2024-01-06'), ({id}, '2024-02-06')");
            server.sql(&rows).await;
            for (topic, count) in topics {
                let records = at_least(&*client, &worker, topic, count).await;
                assert_eq!(records.len(), count, "{topic}");
            }
            worker.shutdown().await.unwrap();
        }
    });
}

#[test]
fn heartbeats_beat_and_run_their_statement() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql("create table beat (id int primary key, n int); insert into beat values (1, 0)")
            .await;
        let more = format!(
            "{PLAIN}\nheartbeat.interval.ms=50
            heartbeat.action.query=update public.beat set n = n + 1"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let beats = at_least(&*client, &worker, "__debezium-heartbeat.pg", 3).await;
        assert_eq!(keys(&beats)[0], r#"{"serverName":"pg"}"#);
        let changes = at_least(&*client, &worker, "pg.public.beat", 3).await;
        let counts: Vec<Value> =
            changes.iter().map(|record| value(record)["after"]["n"].clone()).collect();
        assert_eq!(counts[..3], [0, 1, 2]);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_publication_that_somebody_else_made_is_used_as_it_is() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql("create table t (id int primary key, n int); create table u (id int primary key)")
            .await;
        let more =
            format!("{PLAIN}\npublication.autocreate.mode=disabled\npublication.name=theirs");
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config.clone()], options(false));
        let reason = worker.failed().await.failures.remove(0).reason;
        assert!(reason.contains("no publication 'theirs'"), "{reason}");
        server
            .sql("create publication theirs for table t where (n > 5) with (publish = 'insert')")
            .await;
        let worker = Worker::start(client.clone(), vec![config], options(false));
        while server.sql("select from pg_replication_slots where active").await.rows.is_empty() {
            assert_eq!(failure(&worker), None);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        server
            .sql("insert into t values (1, 1), (2, 9); insert into u values (1); delete from t")
            .await;
        server.sql("insert into t values (3, 10)").await;
        let records = at_least(&*client, &worker, "pg.public.t", 2).await;
        assert_eq!(keys(&records), [r#"{"id":2}"#, r#"{"id":3}"#]);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_change_of_key_names_the_other_key_in_a_header() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key); insert into t values (1)").await;
        let config = connector(directory.path(), "t", &server.properties(PLAIN));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.t", 1).await;
        server.sql("update t set id = 2").await;
        at_least(&*client, &worker, "pg.public.t", 4).await;
        let topic = broker::ids::TopicPartition::new("pg.public.t", 0);
        let from = vec![(topic, broker::ids::Offset::ZERO)];
        let options = broker::client::ReaderOptions::partitions(from);
        let mut reader = client.reader(options).await.unwrap();
        let mut found = BTreeMap::new();
        while found.len() < 2 {
            let event = reader.next().await.unwrap();
            let broker::client::ReaderEvent::Batches(fetched) = event else { continue };
            for batch in &fetched.batches {
                for record in batch.records().unwrap().iter() {
                    let record = record.unwrap();
                    for header in record.headers() {
                        let value = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
                        found.insert(header.key.to_owned(), value);
                    }
                }
            }
        }
        assert!(found["__debezium.newkey"].contains('2'), "{found:?}");
        assert!(found["__debezium.oldkey"].contains('1'), "{found:?}");
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_publication_of_all_tables_brings_no_more_than_the_chosen_ones() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create table t (id int primary key); create table hidden (id int primary key); \
                 insert into t values (1); insert into hidden values (1)",
            )
            .await;
        let more = format!(
            "{PLAIN}\npublication.autocreate.mode=all_tables\ntable.include.list=public.t
            include.schema.changes=true\nskipped.operations=none"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.t", 1).await;
        let all = server.sql("select puballtables from pg_publication").await;
        assert_eq!(all.single(), Some("t"));
        server
            .sql(
                "insert into hidden values (2); update hidden set id = 3 where id = 2; \
                 delete from hidden; create table later (id int primary key); \
                 insert into later values (1); truncate hidden, later; insert into t values (2)",
            )
            .await;
        let records = at_least(&*client, &worker, "pg.public.t", 2).await;
        assert_eq!(keys(&records), [r#"{"id":1}"#, r#"{"id":2}"#]);
        for topic in ["pg.public.hidden", "pg.public.later"] {
            assert!(client.topic(topic).await.unwrap().is_none(), "{topic}");
        }
        assert_eq!(at_least(&*client, &worker, "pg.schema-changes", 1).await.len(), 1);
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn texts_are_masked_hashed_and_cut() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        let columns = "id int primary key, name varchar(10), email text, short varchar(10), \
                       body text, code char(3), number int";
        let row = "'a name', 'hello', 'hello', 'äöü and more', 'abc', 7";
        server
            .sql(&format!(
                "create table t ({columns}); insert into t values (1, {row}); \
                 create table other ({columns}); insert into other values (1, {row})"
            ))
            .await;
        let more = format!(
            r"{PLAIN}
            column.mask.with.5.chars=public\.t\.name, public\.t\.number
            column.mask.hash.v2.SHA-256.with.salt.salt=public\.t\.(email|name)
            column.mask.hash.SHA-256.with.salt.salt=.*\.t\.short
            column.truncate.to.3.chars=public\.t\.(body|code)"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.t", 1).await;
        server
            .sql(&format!(
                "alter table t replica identity full; insert into t values (2, {row}); \
                 insert into t values (3); delete from t where id = 2"
            ))
            .await;
        let records = at_least(&*client, &worker, "pg.public.t", 4).await;
        let masked = serde_json::json!({
            "name": "*****",
            "email": "cd31b3b98ece60cb739c0bf770b2de892ae0ad133f645513c3d83f08757a843a",
            // As wide as the column at most.
            "short": "af5843a0f0",
            "body": "äöü",
            "code": "abc",
            // It is no text.
            "number": 7,
        });
        let with_id = |id: i32, mut row: Value| {
            row["id"] = id.into();
            row
        };
        assert_eq!(value(&records[0])["after"], with_id(1, masked.clone()));
        assert_eq!(value(&records[1])["after"], with_id(2, masked.clone()));
        let missing = serde_json::json!({
            "name": "*****", "email": null, "short": null, "body": null, "code": null,
            "number": null,
        });
        assert_eq!(value(&records[2])["after"], with_id(3, missing));
        assert_eq!(value(&records[3])["before"], with_id(2, masked));
        let others = at_least(&*client, &worker, "pg.public.other", 1).await;
        let plain = value(&others[0])["after"].clone();
        assert_eq!((&plain["name"], &plain["email"]), (&"a name".into(), &"hello".into()));
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn a_mask_that_is_none_is_told_at_once_and_without_its_salt() {
    let problems = |key: &str| {
        let mut properties: BTreeMap<String, String> = [
            ("connector.class", "postgres-source"),
            ("database.hostname", "h"),
            ("database.dbname", "d"),
            ("database.user", "u"),
            ("topic.prefix", "p"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        properties.insert(key.to_owned(), "public.t.a".to_owned());
        let checked = connectors::validate("t", &properties, std::path::Path::new("/"));
        let problems = checked.err().unwrap_or_default();
        problems.iter().map(|problem| problem.in_words()).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(problems("column.mask.with.0.chars"), "");
    assert_eq!(problems("column.mask.hash.v2.SHA-512.with.salt.x"), "");
    expect_test::expect![[r#"
        `column.truncate.to.0.chars`: '0' is no number from 1 to 1048576"#]]
    .assert_eq(&problems("column.truncate.to.0.chars"));
    let hash = problems("column.mask.hash.v2.ROT-13.with.salt.secret");
    expect_test::expect![[r#"
        `column.mask.hash.*`: a hash is called `column.mask.hash.v2.SHA-256.with.salt.SALT`, or the same without `v2.`; known are SHA-1, SHA-256, SHA-384, SHA-512"#]]
    .assert_eq(&hash);
}

#[test]
fn rows_come_out_of_their_events_where_that_is_asked_for() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server.sql("create table t (id int primary key, n int); insert into t values (1, 1)").await;
        let more = format!(
            "{PLAIN}\ntransforms=unwrap
            transforms.unwrap.type=io.debezium.transforms.ExtractNewRecordState
            transforms.unwrap.delete.tombstone.handling.mode=rewrite-with-tombstone
            transforms.unwrap.add.fields=op,source.table:from"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.t", 1).await;
        server.sql("update t set n = 2").await;
        server.sql("truncate t; insert into t values (2, 5)").await;
        server.sql("delete from t").await;
        let records = at_least(&*client, &worker, "pg.public.t", 5).await;
        let values: Vec<String> =
            records.into_iter().map(|(_, value)| value.unwrap_or("nothing".into())).collect();
        assert_eq!(
            values,
            [
                r#"{"id":1,"n":1,"__deleted":"false","__op":"r","__from":"t"}"#,
                r#"{"id":1,"n":2,"__deleted":"false","__op":"u","__from":"t"}"#,
                r#"{"id":2,"n":5,"__deleted":"false","__op":"c","__from":"t"}"#,
                r#"{"id":2,"n":null,"__deleted":"true","__op":"d","__from":"t"}"#,
                "nothing",
            ]
        );
        worker.shutdown().await.unwrap();
    });
}

#[test]
fn an_outbox_tells_its_messages_and_shards_come_into_one_topic() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create table outbox (id uuid primary key default gen_random_uuid(), \
                 aggregatetype text, aggregateid text, type text, payload jsonb); \
                 create table shard1 (id int primary key); create table shard2 (id int primary key); \
                 insert into shard1 values (7); insert into shard2 values (7)",
            )
            .await;
        let more = format!(
            "{PLAIN}\ntransforms=outbox,shards\npredicates=outbox
            predicates.outbox.type=org.apache.kafka.connect.transforms.predicates.TopicNameMatches
            predicates.outbox.pattern=.*outbox
            transforms.outbox.predicate=outbox
            transforms.outbox.type=io.debezium.transforms.outbox.EventRouter
            transforms.outbox.table.expand.json.payload=true
            transforms.shards.type=io.debezium.transforms.ByLogicalTableRouter
            transforms.shards.topic.regex=pg.public.shard.*
            transforms.shards.topic.replacement=shards"
        );
        let config = connector(directory.path(), "t", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let shards = at_least(&*client, &worker, "shards", 2).await;
        let mut keys = keys(&shards);
        keys.sort();
        let of =
            |shard| format!(r#"{{"id":7,"__dbz__physicalTableIdentifier":"pg.public.{shard}"}}"#);
        assert_eq!(keys, [of("shard1"), of("shard2")]);
        let insert = "insert into outbox (aggregatetype, aggregateid, type, payload) values";
        server.sql(&format!("{insert} ('Order', 'o-7', 'Created', '{{\"total\": 5}}')")).await;
        server
            .sql(&format!("delete from outbox; {insert} ('Order', 'o-8', 'Created', '[1]')"))
            .await;
        let told = at_least(&*client, &worker, "outbox.event.Order", 2).await;
        let pair = |key: &str, value: &str| (Some(format!("\"{key}\"")), Some(value.to_owned()));
        assert_eq!(told, [pair("o-7", r#"{"total":5}"#), pair("o-8", "[1]")]);
        worker.shutdown().await.unwrap();
    });
}

/// What `check` says of the publication of the test below.
async fn check_told(config: &ConnectorConfig, publication: &str) {
    let findings = connectors::postgres::preflight::check(config).await;
    let told: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    let told = told.join("\n");
    for (text, of) in [
        ("does not have these tables, which are left out: public.u", "roots leaves"),
        ("leaves these operations out: update", "roots"),
        ("filters rows of public.t", "roots"),
        ("leaves columns out of public.t", "roots"),
    ] {
        assert_eq!(told.contains(text), of.contains(publication), "{text}: {told}");
    }
}

/// Changes came in the partitioned table's topic, and the rows of the snapshot not at all or in
/// those of its partitions; a table that the publication lacks was read once and then stood still.
#[test]
fn a_publication_made_by_hand_says_what_comes_of_which_tables() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create table m (id int primary key) partition by range (id); \
                 create table m1 partition of m for values from (0) to (10); \
                 create table m2 partition of m for values from (10) to (20); \
                 create table t (id int primary key, n int, extra int); \
                 create table u (id int primary key); \
                 insert into m values (1), (11); insert into t values (1, 1, 1); \
                 insert into u values (1); \
                 create publication roots for table m, t (id, n) where (id > 0) \
                 with (publish_via_partition_root = true, publish = 'insert, delete'); \
                 create publication leaves for table m, t",
            )
            .await;
        for (publication, topics) in [
            ("roots", vec![("m", vec![1, 11, 2, 12]), ("t", vec![1, 2])]),
            ("leaves", vec![("m1", vec![1, 2, 3]), ("m2", vec![11, 12, 13]), ("t", vec![1, 2, 3])]),
        ] {
            let more = format!(
                "{PLAIN}\npublication.autocreate.mode=disabled\npublication.name={publication}\n\
                 slot.name={publication}\ntable.include.list=public.*"
            );
            let properties = server
                .properties(&more)
                .replace("topic.prefix=pg", &format!("topic.prefix={publication}"));
            let config = connector(directory.path(), publication, &properties);
            check_told(&config, publication).await;
            let worker = Worker::start(client.clone(), vec![config], options(false));
            for (topic, ids) in &topics {
                let snapshot = if *topic == "m" { 2 } else { ids.len() - 1 };
                let topic = format!("{publication}.public.{topic}");
                at_least(&*client, &worker, &topic, snapshot).await;
            }
            let number = if publication == "roots" { 2 } else { 3 };
            server
                .sql(&format!(
                    "insert into u values ({number}); insert into t values ({number}, 0, 0); \
                     insert into m values ({number}), ({number} + 10)"
                ))
                .await;
            for (topic, mut ids) in topics {
                let topic = format!("{publication}.public.{topic}");
                let records = at_least(&*client, &worker, &topic, ids.len()).await;
                let id = |record: &Record| value(record)["after"]["id"].as_i64().unwrap();
                let mut found: Vec<i64> = records.iter().map(id).collect();
                found.sort_unstable();
                ids.sort_unstable();
                assert_eq!(found, ids, "{topic}");
            }
            let left_out = client.topic(&format!("{publication}.public.u")).await.unwrap();
            assert!(left_out.is_none(), "{left_out:?}");
            worker.shutdown().await.unwrap();
        }
        // None of the chosen ones is in it.
        let more = format!(
            "{PLAIN}\npublication.autocreate.mode=disabled\npublication.name=leaves\n\
             slot.name=none\ntable.include.list=public.u"
        );
        let config = connector(directory.path(), "none", &server.properties(&more));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let reason = worker.failed().await.failures.remove(0).reason;
        assert!(reason.contains("has none of the chosen tables, which are public.u"), "{reason}");
    });
}

/// `snapshot.select.statement.overrides` was refused.
#[test]
fn a_snapshot_reads_what_its_statements_give() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        server
            .sql(
                "create table t (id int primary key, n int, \"Done\" bool); \
                 insert into t select i, i, i % 3 = 0 from generate_series(1, 30) i; \
                 create table whole (id int primary key); insert into whole values (1)",
            )
            .await;
        let with = |name: &str, select: &str| {
            let more = format!(
                "{PLAIN}\nslot.name={name}\nsnapshot.select.statement.overrides=public.t\n\
                 snapshot.select.statement.overrides.public.t={select}"
            );
            let properties = server.properties(&more);
            let properties = properties.replace("topic.prefix=pg", &format!("topic.prefix={name}"));
            connector(directory.path(), name, &properties)
        };
        let select = "select n * 10 as n, id, \"Done\" from public.t where not \"Done\";";
        let worker = Worker::start(client.clone(), vec![with("some", select)], options(false));
        at_least(&*client, &worker, "some.public.whole", 1).await;
        at_least(&*client, &worker, "some.public.t", 20).await;
        // Changes are told whatever the statement leaves out.
        server.sql("update t set n = -1 where id = 3").await;
        let records = at_least(&*client, &worker, "some.public.t", 21).await;
        let row = |record: &Record| {
            let after = &value(record)["after"];
            (after["id"].as_i64().unwrap(), after["n"].as_i64().unwrap())
        };
        let mut rows: Vec<(i64, i64)> = records.iter().map(row).collect();
        assert_eq!(rows.pop(), Some((3, -1)));
        rows.sort_unstable();
        let left: Vec<(i64, i64)> =
            (1..=30).filter(|id| id % 3 > 0).map(|id| (id, id * 10)).collect();
        assert_eq!(rows, left);
        worker.shutdown().await.unwrap();

        let lacking = with("lacking", "select id from public.t");
        let worker = Worker::start(client.clone(), vec![lacking], options(false));
        let reason = worker.failed().await.failures.remove(0).reason;
        assert!(
            reason.contains("`snapshot.select.statement.overrides.public.t`")
                && reason.contains("has to be a SELECT that gives all columns"),
            "{reason}"
        );
    });
}
