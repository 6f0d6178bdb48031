//! Records as rows of a real server: each once, whatever is killed and refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use broker::client::{Client, CommittedOffset, ProducerOptions, TransactionOffsets};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use connectors::{ConnectorConfig, ConnectorState, Worker};

use crate::server::Postgres;
use crate::support::{connector, ensure_topic, options, process, reaches, values};
use crate::{PLAIN, failure};

/// A key and a value, of which either may be missing.
type Given<'a> = (Option<&'a str>, Option<&'a str>);

async fn produce(client: &dyn Client, topic: &str, records: &[Given<'_>]) {
    ensure_topic(client, topic).await;
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    let mut batch = BatchBuilder::default();
    for (key, value) in records {
        batch.append(1_767_322_800_000, key.map(str::as_bytes), value.map(str::as_bytes));
    }
    producer.send(&TopicPartition::new(topic, 0), batch).await.unwrap();
    producer.flush().await.unwrap();
}

fn sink(dir: &Path, server: &Postgres, more: &str) -> ConnectorConfig {
    let target = server.target("postgres");
    let properties = format!(
        "connector.class=postgres-sink\nconnection.url=postgresql:///postgres?host={}&port={}\n\
         connection.user={}\n{PLAIN}\n{more}",
        target.host, target.port, target.user
    );
    connector(dir, "rows", &properties)
}

/// Writes all that is there.
async fn to_the_end(client: std::sync::Arc<dyn Client>, config: ConnectorConfig) -> u64 {
    let worker = Worker::start(client, vec![config], options(false));
    worker.finish_sinks_at_end().await.unwrap();
    worker.shutdown().await.unwrap().connectors[0].skipped
}

const UPSERT: &str = "topics=t\ninsert.mode=upsert\npk.mode=record_key\ndelete.enabled=true\n\
                      auto.create=true\nauto.evolve=true";

#[test]
fn rows_are_put_and_deleted_by_key_in_a_table_that_grows() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        let records = [
            (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"it's","tags":["a"],"n":1.5}"#)),
            (Some(r#"{"id":2}"#), Some(r#"{"id":2,"name":null,"tags":{},"n":2}"#)),
            (Some(r#"{"id":1}"#), Some(r#"{"id":1,"name":"new","more":true}"#)),
            (Some(r#"{"id":3}"#), Some(r#"{"id":3,"name":"gone"}"#)),
            (Some(r#"{"id":3}"#), None),
        ];
        produce(&*client, "t", &records).await;
        let config = sink(dir.path(), &server, UPSERT);
        assert_eq!(to_the_end(client.clone(), config.clone()).await, 0);
        // Once more, and there is nothing to do.
        to_the_end(client, config).await;
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(server.sql("select id, name, tags, n, more from t order by id"));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        answer.rows,
        [
            vec![text("1"), text("new"), text("[\"a\"]"), text("1.5"), text("t")],
            vec![text("2"), None, text("{}"), text("2"), None],
        ]
    );
    let offset = runtime.block_on(server.sql("select next_offset from millstream_offsets"));
    assert_eq!(offset.single(), Some("5"));
}

/// The tombstone that follows a deletion names no table by what a change says, and failed the sink.
#[test]
fn tables_are_named_by_changes_and_tombstones_passed_over() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        let change = |op: &str, before: &str, after: &str| {
            format!(
                "{{\"before\":{before},\"after\":{after},\"source\":{{\"table\":\"c\"}},\
                 \"op\":\"{op}\",\"ts_ms\":1}}"
            )
        };
        let (one, two) = (r#"{"id":1,"n":5}"#, r#"{"id":2,"n":6}"#);
        let changes =
            [change("c", "null", one), change("c", "null", two), change("d", one, "null")];
        let records = [
            (Some(r#"{"id":1}"#), Some(&*changes[0])),
            (Some(r#"{"id":2}"#), Some(&*changes[1])),
            (Some(r#"{"id":1}"#), Some(&*changes[2])),
            (Some(r#"{"id":1}"#), None),
        ];
        produce(&*client, "t", &records).await;
        let config = sink(
            dir.path(),
            &server,
            &format!("{UPSERT}\ntable.name.format=${{source.table}}_copy"),
        );
        to_the_end(client, config).await;
        let left = server.sql("select id, n from c_copy").await;
        assert_eq!(left.rows, [[Some("2".to_owned()), Some("6".to_owned())]]);
    });
}

#[test]
fn rows_that_the_server_refuses_take_no_others_with_them() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server.sql("create table t (id integer primary key, n integer check (n < 100))").await;
        let records: Vec<String> = (0..50)
            .map(|id| {
                let n = if id % 10 == 7 { 1000 } else { id };
                format!("{{\"id\":{id},\"n\":{n}}}")
            })
            .chain(["{\"id\":\"x\",\"n\":1}".to_owned(), "{\"id\":90,\"other\":1}".to_owned()])
            .collect();
        let records: Vec<Given<'_>> =
            records.iter().map(|value| (None, Some(value.as_str()))).collect();
        produce(&*client, "t", &records).await;
        let tolerant = "topics=t\nerrors.tolerance=all\n\
                        errors.deadletterqueue.topic.name=dead";
        assert_eq!(to_the_end(client.clone(), sink(dir.path(), &server, tolerant)).await, 7);
        assert_eq!(server.sql("select count(*) from t").await.single(), Some("45"));
        let dead = values(&*client, "dead").await;
        assert_eq!(dead.len(), 7);
        assert!(dead.contains(&"{\"id\":7,\"n\":1000}".to_owned()), "{dead:?}");
    });
}

#[test]
fn a_refused_row_is_where_it_goes_on_once_it_can() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server.sql("create table t (id integer primary key, n integer check (n < 100))").await;
        let records = ["{\"id\":1,\"n\":1}", "{\"id\":2,\"n\":500}", "{\"id\":3,\"n\":3}"];
        produce(&*client, "t", &records.map(|value| (None, Some(value)))).await;
        let config = sink(dir.path(), &server, "topics=t");
        let worker = Worker::start(client.clone(), vec![config.clone()], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("record at offset 1 of partition t-0: refused:"), "{error}");
        assert!(error.contains("violates check constraint"), "{error}");
        drop(worker);
        assert_eq!(server.sql("select count(*) from t").await.single(), Some("1"));
        server.sql("alter table t drop constraint t_n_check").await;
        to_the_end(client, config).await;
        assert_eq!(server.sql("select count(*) from t").await.single(), Some("3"));
    });
}

/// As `PATCH /connectors/…/offsets` does it.
#[test]
fn rows_are_written_again_where_offsets_are_taken_back() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server.sql("create table t (id integer)").await;
        let records = ["{\"id\":1}", "{\"id\":2}", "{\"id\":3}"];
        produce(&*client, "t", &records.map(|value| (None, Some(value)))).await;
        let config = sink(dir.path(), &server, "topics=t");
        to_the_end(client.clone(), config.clone()).await;
        let alter = config.plugin().alter_offsets.unwrap();
        let back = [(TopicPartition::new("t", 0), Some(Offset(1)))];
        let altered = config.clone();
        tokio::task::spawn_blocking(move || alter(&altered, &back)).await.unwrap().unwrap();
        let mut producer = client
            .producer(ProducerOptions {
                transactional_id: Some("back".to_owned()),
                ..ProducerOptions::default()
            })
            .await
            .unwrap();
        producer.begin().await.unwrap();
        let offset = CommittedOffset { offset: Offset(1), metadata: String::new() };
        let offsets = TransactionOffsets {
            group: "connect-rows".to_owned(),
            membership: None,
            offsets: vec![(TopicPartition::new("t", 0), offset)],
        };
        producer.commit(Some(&offsets)).await.unwrap();
        to_the_end(client, config).await;
        let rows = server.sql("select string_agg(id::text, ',' order by id) from t").await;
        assert_eq!(rows.single(), Some("1,2,2,3,3"));
    });
}

#[test]
fn what_stands_in_the_way_is_said() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        produce(&*client, "t", &[(None, Some("{\"id\":1}"))]).await;
        let worker =
            Worker::start(client, vec![sink(dir.path(), &server, "topics=t")], options(false));
        let error = worker.failed().await.to_string();
        let hint = "there is no table \"public\".\"t\"; create it, or set auto.create=true";
        assert!(error.contains(hint), "{error}");
    });
}

/// Records are produced, and the process and the server are killed, again and again. Rows are
/// only added, so that one written twice would show.
#[test]
fn every_record_is_one_row_whatever_is_killed_when() {
    let (mut server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    let mut written = 0;
    for round in 0..10u64 {
        process(dir.path(), async |client| {
            let more = "topics=t\nauto.create=true\nbatch.size=40";
            let worker = Worker::start(
                client.clone(),
                vec![sink(dir.path(), &server, more)],
                options(false),
            );
            let mut statuses = worker.statuses();
            for part in 0..round {
                let records: Vec<String> =
                    (written..written + 70).map(|id| format!("{{\"id\":{id}}}")).collect();
                let records: Vec<Given<'_>> =
                    records.iter().map(|value| (None, Some(value.as_str()))).collect();
                produce(&*client, "t", &records).await;
                written += 70;
                if round % 3 == 2 && part == round / 2 {
                    server.kill();
                    server.run();
                } else {
                    statuses.changed().await.unwrap();
                }
                assert_eq!(failure(&worker), None);
            }
            tokio::time::sleep(Duration::from_micros(700 * round)).await;
        });
    }
    process(dir.path(), async |client| {
        to_the_end(client, sink(dir.path(), &server, "topics=t\nbatch.size=40")).await;
        let answer = server.sql("select count(*), count(distinct id), max(id) from t").await;
        let count = Some(written.to_string());
        let rows = vec![count.clone(), count, Some((written - 1).to_string())];
        assert_eq!(answer.rows, [rows]);
    });
}

#[test]
fn rows_that_are_not_there_stay_so_where_only_updates_are_wanted() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server.sql("create table t (id int primary key, n int, s text)").await;
        server.sql("insert into t values (1, 1, 'kept'), (2, 2, 'kept')").await;
        let records = [
            (Some(r#"{"id":1}"#), Some(r#"{"id":1,"n":5}"#)),
            (Some(r#"{"id":3}"#), Some(r#"{"id":3,"n":3}"#)),
            (Some(r#"{"id":1}"#), Some(r#"{"id":1,"n":6}"#)),
            (Some(r#"{"id":2}"#), Some(r#"{"id":2,"n":7,"s":"it's"}"#)),
        ];
        produce(&*client, "t", &records).await;
        let update = "topics=t\ninsert.mode=update\npk.mode=record_key";
        to_the_end(client, sink(dir.path(), &server, update)).await;
        let rows = server.sql("select string_agg(t::text, ' ' order by id) from t").await;
        assert_eq!(rows.single(), Some("(1,6,kept) (2,7,it's)"));
    });
}

/// From a table to a topic as Debezium tells it, and into another table, with types and schemas. A
/// row that came again within a batch was gone, where the columns of the key are in another order
/// than those of the table.
#[test]
fn a_table_is_copied_by_its_changes() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server
            .sql(
                "create table a (id bigint, t timestamp, tz timestamptz, d date, \
                 n numeric(10,2), j jsonb, u uuid, b bytea, x text[], f boolean, vn numeric, \
                 vs numeric[], di date, ti timestamp, tzi timestamptz, bi bit(5), b1 bit, vb varbit, \
                 pt point, k text default 'k', primary key (k, id))",
            )
            .await;
        server
            .sql(
                "insert into a select i, '2026-01-02 03:04:05.678901', now(), '2026-02-03', \
                 i + 0.25, '{\"a\": [1]}', gen_random_uuid(), '\\x00ff', '{a,\"b c\",null}', i % 2 = 0, \
                 -i - 0.000125, array[i + 0.5, null, 1], 'infinity', '-infinity', 'infinity', \
                 i::bit(5), (i % 2)::bit(1), b'10110', point(i, -0.5) \
                 from generate_series(1, 100) i",
            )
            .await;
        let source = server.properties("table.include.list=public.a\nskipped.operations=none");
        let source = connector(dir.path(), "pg", &source);
        let json = "org.apache.kafka.connect.json.JsonConverter";
        let target = server.target("postgres");
        let copy = format!(
            "connector.class=io.debezium.connector.jdbc.JdbcSinkConnector\n\
             connection.url=jdbc:postgresql:///postgres?host={}&port={}\n\
             connection.username={}\ninsert.mode=upsert\nprimary.key.mode=record_key\n\
             delete.enabled=true\ntruncate.enabled=true\nschema.evolution=basic\ntable.name.format=public.copy\n\
             topics=pg.public.a\nkey.converter={json}\nvalue.converter={json}",
            target.host, target.port, target.user
        );
        let worker = Worker::start(client.clone(), vec![source], options(false));
        reaches(&worker, "pg", ConnectorState::CaughtUp).await;
        server.sql("update a set n = -1, j = 'null' where id % 3 = 0").await;
        server.sql("delete from a where id % 5 = 0").await;
        server.sql("update a set id = 1000 where id = 1").await;
        let kept = "create table kept as table a; truncate a; insert into a table kept";
        server.sql(kept).await;
        let again = "insert into a (id) values (2000); delete from a where id in (7, 2000); \
                     insert into a select * from kept where id = 7";
        server.sql(again).await;
        let copier =
            Worker::start(client, vec![connector(dir.path(), "copy", &copy)], options(false));
        let rows = "select array_agg(r::text order by id)::text from (select * from TABLE) r";
        let wanted = server.sql(&rows.replace("TABLE", "a")).await;
        loop {
            assert_eq!(failure(&copier), None);
            if server.sql("select to_regclass('public.copy')").await.single().is_some() {
                let columns = "id, t, tz, d, n, j, u, b, x, f, vn, vs, di, ti, tzi, bi, \
                               b1::int::bit, vb, pt, k";
                let copied = rows.replace("*", columns).replace("TABLE", "copy");
                if server.sql(&copied).await == wanted {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn properties_that_do_not_go_together_are_told_at_once() {
    let properties: BTreeMap<String, String> = [
        ("connector.class", "JdbcSinkConnector"),
        ("topics", "t"),
        ("connection.url", "jdbc:mysql://root:secret@localhost/shop"),
        ("insert.mode", "upsert"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let problems = connectors::validate("rows", &properties, Path::new("/")).unwrap_err();
    let words: Vec<String> = problems.iter().map(|problem| problem.in_words()).collect();
    expect_test::expect![[r#"
        `connection.url` does not begin with `jdbc:postgresql://` or `postgresql://`; for example `jdbc:postgresql://localhost:5432/shop?sslmode=require`
        `insert.mode = upsert` needs to know what makes a row the same one; set `pk.mode`, for example to `record_key`"#]].assert_eq(&words.join("\n"));
    assert!(!words.join("\n").contains("secret"));
}

/// Rows of which each tenth is refused, by their numbers.
fn numbered(ids: std::ops::Range<u64>) -> Vec<String> {
    let row = |id| format!("{{\"id\":{id},\"n\":{}}}", if id % 10 == 7 { 1000 } else { 1 });
    ids.map(row).collect()
}

const LETTERS: &str = "topics=t\nbatch.size=20\nerrors.tolerance=all\n\
                       errors.deadletterqueue.topic.name=";

/// Once the others are committed with the offset behind them, nobody looks at a refused row again:
/// where its dead letter cannot be written, nothing may be committed.
#[test]
fn rows_count_only_once_those_beside_them_are_dead_letters() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server.sql("create table t (id integer, n integer check (n < 100))").await;
        let small = broker::client::NewTopic::new("small", 1).with_config("max.message.bytes", 60);
        client.create_topic(&small).await.unwrap();
        let records = numbered(0..50);
        let given: Vec<Given<'_>> =
            records.iter().map(|value| (None, Some(value.as_str()))).collect();
        produce(&*client, "t", &given).await;
        let config = sink(dir.path(), &server, &format!("{LETTERS}small"));
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        assert!(error.contains("dead-letter topic 'small'"), "{error}");
        drop(worker);
        let written =
            "select (select count(*) from t) || ' ' || next_offset from millstream_offsets";
        assert_eq!(server.sql(written).await.single(), Some("0 0"));

        let config = sink(dir.path(), &server, &format!("{LETTERS}dead"));
        assert_eq!(to_the_end(client.clone(), config).await, 5);
        assert_eq!(server.sql(written).await.single(), Some("45 50"));
        assert_eq!(server.sql("select count(distinct id) from t").await.single(), Some("45"));
        let dead = values(&*client, "dead").await;
        let wanted: Vec<String> = (0..5).map(|ten| records[ten * 10 + 7].clone()).collect();
        assert_eq!(dead, wanted);
    });
}

#[test]
fn no_dead_letter_is_lost_and_no_row_comes_twice_whatever_is_killed_when() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    const EACH: u64 = 200;
    let mut written = 0;
    for round in 0..12u64 {
        process(dir.path(), async |client| {
            if round == 0 {
                server.sql("create table t (id integer, n integer check (n < 100))").await;
            }
            let records = numbered(written..written + EACH);
            let given: Vec<Given<'_>> =
                records.iter().map(|value| (None, Some(value.as_str()))).collect();
            produce(&*client, "t", &given).await;
            written += EACH;
            let config = sink(dir.path(), &server, &format!("{LETTERS}dead"));
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let mut statuses = worker.statuses();
            // So far that some is done, and then to a moment like no other.
            for _ in 0..=round % 4 {
                statuses.changed().await.unwrap();
            }
            tokio::time::sleep(Duration::from_micros(900 * round)).await;
            assert_eq!(failure(&worker), None);
        });
    }
    process(dir.path(), async |client| {
        to_the_end(client.clone(), sink(dir.path(), &server, &format!("{LETTERS}dead"))).await;
        let answer = server.sql("select count(*) || ' ' || count(distinct id) from t").await;
        let good = written / 10 * 9;
        assert_eq!(answer.single(), Some(format!("{good} {good}").as_str()));
        let dead: std::collections::BTreeSet<String> =
            values(&*client, "dead").await.into_iter().collect();
        let bad = numbered(0..written).into_iter().filter(|row| row.contains("1000}"));
        assert_eq!(dead, bad.collect());
    });
}

/// A large text that an update had not changed was overwritten by what stands for it in the
/// event, and a null by its column's default.
#[test]
fn what_an_update_leaves_alone_stays_and_a_null_is_a_null() {
    let (server, dir) = (Postgres::start(), tempfile::tempdir().unwrap());
    process(dir.path(), async |client| {
        server
            .sql(
                "create table t (id integer primary key, n smallint default 5, big text not null, \
                 more bytea); alter table t alter big set storage external; \
                 alter table t alter more set storage external; \
                 insert into t select i, i, repeat('x', 9000), decode(repeat('ab', 9000), 'hex') \
                 from generate_series(1, 20) i",
            )
            .await;
        server.sql("create schema copy; create table copy.t (like public.t including all)").await;
        let json = "key.converter=org.apache.kafka.connect.json.JsonConverter
            value.converter=org.apache.kafka.connect.json.JsonConverter
            key.converter.schemas.enable=true\nvalue.converter.schemas.enable=true
            value.converter.replace.null.with.default=false";
        let source = server.properties(&format!("{json}\ntable.include.list=public.t"));
        let source = connector(dir.path(), "source", &source);
        let more = format!(
            "topics=pg.public.t\ninsert.mode=upsert\npk.mode=record_key\ndelete.enabled=true
            table.name.format=copy.t\n{json}"
        );
        let copy = sink(dir.path(), &server, &more);
        let worker = Worker::start(client.clone(), vec![source, copy], options(false));
        let same = "select count(*) filter (where a is distinct from b), count(a), count(b) \
                    from public.t a full join copy.t b using (id)";
        let settled = async |rows: &str| {
            let alike = vec![Some("0".to_owned()), Some(rows.to_owned()), Some(rows.to_owned())];
            while server.sql(same).await.rows[0] != alike {
                assert_eq!(crate::failure(&worker), None);
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        settled("20").await;
        server
            .sql(
                "update t set n = n + 1 where id < 10; update t set n = null where id = 3; \
                 update t set more = null, n = 7 where id = 4; update t set big = 'y' where id = 5; \
                 begin; update t set n = 1 where id = 6; update t set big = 'z' where id = 6; \
                 update t set n = 2 where id = 6; commit; \
                 delete from t where id = 8; insert into t values (31, null, 'new', null)",
            )
            .await;
        settled("20").await;
        let of = "select n is null from copy.t where id in (3, 31)";
        assert!(server.sql(of).await.rows.iter().all(|row| row[0].as_deref() == Some("t")));
        worker.shutdown().await.unwrap();
    });
}
