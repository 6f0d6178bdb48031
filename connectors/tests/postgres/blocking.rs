//! Tables are read again in one go while changes wait, and what becomes of snapshots is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::client::Client;
use connectors::Worker;
use serde_json::{Value, json};

use crate::crashes::{config, records, settles, state, table};
use crate::incremental::{
    ask, assert_nothing_goes_back, event, make_tables, send, streams, until, writer,
};
use crate::server::Postgres;
use crate::support::{connector, options, process, read};
use crate::{PLAIN, Record, failure};

const BY_TABLE: &str = "signal.data.collection=public.signals\nsnapshot.mode=no_data";

fn blocking(tables: &[&str]) -> Value {
    json!({ "type": "BLOCKING", "data-collections": tables })
}

fn is_read(record: &Record) -> bool {
    event(record)["op"] == "r"
}

/// Waits until a topic has a row of a snapshot that is marked so.
async fn marked(client: &dyn Client, worker: &Worker, topic: &str, mark: &str) -> Vec<Record> {
    let mut found = Vec::new();
    until(&format!("a row marked '{mark}' in {topic}"), async || {
        assert_eq!(failure(worker), None);
        if client.topic(topic).await.unwrap().is_some() {
            found = read(client, topic, 0).await;
        }
        found.iter().any(|record| event(record)["source"]["snapshot"] == mark)
    })
    .await;
    found
}

#[test]
fn a_table_that_is_written_to_is_read_whole_between_its_changes() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        make_tables(&server).await;
        let config = config(directory.path(), &server, BY_TABLE);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(&server).await;
        let stop = Arc::new(AtomicBool::new(false));
        let writers =
            [writer(&server, &stop, 0, false).await, writer(&server, &stop, 2_000, true).await];
        for round in 0..3 {
            let before = records(&*client).await.len();
            ask(&server, &round.to_string(), "execute-snapshot", blocking(&["public.t"])).await;
            until("the last row", async || {
                assert_eq!(failure(&worker), None);
                let all = records(&*client).await;
                all[before..].iter().any(|one| event(one)["source"]["snapshot"] == "last")
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        let records = settles(&*client, &worker, &server).await;
        assert_nothing_goes_back(&records);
        // Each time they stand together: nothing comes between them.
        let runs = records.chunk_by(|a, b| is_read(a) == is_read(b));
        let runs: Vec<&[Record]> = runs.filter(|run| is_read(&run[0])).collect();
        assert_eq!(runs.len(), 3);
        for run in runs {
            let mut keys: Vec<_> = run.iter().map(|one| &one.0).collect();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), run.len());
            assert!(run.len() > 2_000, "{}", run.len());
        }
        worker.shutdown().await.unwrap();
    });
}

/// Half of a table is read, and the worker ends; what is missing is read when it comes again, and
/// changes made meanwhile come behind or before, as they were made.
#[test]
fn what_was_cut_goes_on() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let (life, server_) = (directory.path(), &server);
    let rows = 40_000;
    // Rows behind that one wait.
    let gate = format!("id < {} or pg_advisory_xact_lock_shared(7)::text is not null", rows / 2);
    process(life, async |client| {
        server_.sql("create table t (id bigint primary key, n bigint not null)").await;
        server_.sql(&format!("insert into t select i, 0 from generate_series(1, {rows}) i")).await;
        let config = config(life, server_, "snapshot.mode=no_data");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        streams(server_).await;
        let mut session = server_.session().await;
        session.query("select pg_advisory_lock(7)").await.unwrap();
        let mut request = blocking(&["public.t"]);
        request["additional-conditions"] =
            json!([{ "data-collection": "public.t", "filter": gate }]);
        send(&*client, "execute-snapshot", request).await;
        until("a part of the rows", async || {
            assert_eq!(failure(&worker), None);
            records(&*client).await.len() >= 2_000
        })
        .await;
        // It waits for the rows.
        server_.sql("update t set n = 1 where id in (1, 39999)").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(records(&*client).await.iter().all(is_read));
        worker.shutdown().await.unwrap();
    });
    process(life, async |client| {
        let config = config(life, server_, "snapshot.mode=no_data");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        marked(&*client, &worker, "pg.public.t", "last").await;
        let records = settles(&*client, &worker, server_).await;
        assert_nothing_goes_back(&records);
        assert_eq!(state(&records), table(server_).await);
        // None was read twice but what had changed its place, or had not been stored.
        let read = records.iter().filter(|one| is_read(one)).count();
        assert!((rows..rows + 10).contains(&read), "{read}");
        worker.shutdown().await.unwrap();
    });
}

/// The notifications, as type and what they say, without the connector's name.
async fn notes(client: &dyn Client) -> Vec<String> {
    if client.topic("notes").await.unwrap().is_none() {
        return Vec::new();
    }
    let records = read(client, "notes", 0).await;
    let notes = records.iter().map(|record| {
        let note: Value = serde_json::from_str(record.1.as_ref().unwrap()).unwrap();
        let key: Value = serde_json::from_str(record.0.as_ref().unwrap()).unwrap();
        assert_eq!(key["id"], note["id"]);
        assert!(note["timestamp"].as_i64().unwrap() > 1_600_000_000_000);
        let mut data = note["additional_data"].clone();
        let connector = data.as_object_mut().unwrap().remove("connector_name");
        assert_eq!(connector, Some(json!("pg")));
        let about = note["aggregate_type"].as_str().unwrap().split(' ').next().unwrap();
        format!("{about} {} {data}", note["type"].as_str().unwrap())
    });
    notes.collect()
}

#[test]
fn what_becomes_of_snapshots_is_told() {
    let server = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    let config = |more: &str| {
        let properties = server.properties(&format!(
            "{PLAIN}\nnotification.enabled.channels=log,sink\nnotification.sink.topic.name=notes
             incremental.snapshot.chunk.size=2\n{more}"
        ));
        connector(directory.path(), "t", &properties)
    };
    let said = async |client: &dyn Client, count: usize| {
        let mut all = Vec::new();
        until("notifications", async || {
            all = notes(client).await;
            all.len() >= count
        })
        .await;
        all
    };
    process(directory.path(), async |client| {
        server
            .sql(
                "create table a (id int primary key); insert into a values (1), (2), (3); \
                 create table b (id int primary key); create table nokey (n int); \
                 alter table nokey replica identity full",
            )
            .await;
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        streams(&server).await;
        said(&*client, 8).await;
        let request = json!({
            "type": "blocking", "data-collections": ["public.a", "public.x"],
            "additional-conditions":
                [{ "data-collection": "public.a", "filter": "SELECT * FROM public.a WHERE id > 1" }],
        });
        send(&*client, "execute-snapshot", request).await;
        said(&*client, 12).await;
        let wrong = json!({
            "type": "blocking", "data-collections": ["public.a"],
            "additional-conditions": [{ "data-collection": "public.a", "filter": "nothing > 1" }],
        });
        send(&*client, "execute-snapshot", wrong).await;
        said(&*client, 14).await;
        send(
            &*client,
            "execute-snapshot",
            json!({
                "data-collections": ["public.a", "public.b", "public.nokey", "public.y"]
            }),
        )
        .await;
        said(&*client, 22).await;
        send(&*client, "pause-snapshot", Value::Null).await;
        send(&*client, "execute-snapshot", json!({ "data-collections": ["public.a"] })).await;
        send(&*client, "resume-snapshot", Value::Null).await;
        said(&*client, 28).await;
        send(&*client, "pause-snapshot", Value::Null).await;
        send(&*client, "execute-snapshot", json!({ "data-collections": ["public.a"] })).await;
        send(&*client, "stop-snapshot", Value::Null).await;
        said(&*client, 29).await;
        // Changes have gone on all along.
        server.sql("insert into a values (9)").await;
        let all = crate::at_least(&*client, &worker, "pg.public.a", 3 + 2 + 3 + 3 + 1).await;
        let marks = all.iter().map(|one| event(one)["source"]["snapshot"].clone());
        let marks: Vec<Value> = marks.skip(3).take(2).collect();
        assert_eq!(marks, ["first", "last"]);
        worker.shutdown().await.unwrap();
    });
    process(directory.path(), async |client| {
        let worker = Worker::start(client.clone(), vec![config("")], options(false));
        let all = said(&*client, 30).await;
        worker.shutdown().await.unwrap();
        expect_test::expect![[r#"
            Initial STARTED {}
            Initial IN_PROGRESS {"current_collection_in_progress":"public.a","data_collections":"public.a,public.b,public.nokey"}
            Initial TABLE_SCAN_COMPLETED {"data_collections":"public.a,public.b,public.nokey","scanned_collection":"public.a","status":"SUCCEEDED","total_rows_scanned":"3"}
            Initial IN_PROGRESS {"current_collection_in_progress":"public.b","data_collections":"public.a,public.b,public.nokey"}
            Initial TABLE_SCAN_COMPLETED {"data_collections":"public.a,public.b,public.nokey","scanned_collection":"public.b","status":"SUCCEEDED","total_rows_scanned":"0"}
            Initial IN_PROGRESS {"current_collection_in_progress":"public.nokey","data_collections":"public.a,public.b,public.nokey"}
            Initial TABLE_SCAN_COMPLETED {"data_collections":"public.a,public.b,public.nokey","scanned_collection":"public.nokey","status":"SUCCEEDED","total_rows_scanned":"0"}
            Initial COMPLETED {}
            Initial STARTED {}
            Initial IN_PROGRESS {"current_collection_in_progress":"public.a","data_collections":"public.a"}
            Initial TABLE_SCAN_COMPLETED {"data_collections":"public.a","scanned_collection":"public.a","status":"SUCCEEDED","total_rows_scanned":"2"}
            Initial COMPLETED {}
            Initial STARTED {}
            Initial ABORTED {}
            Incremental STARTED {"data_collections":"public.a,public.b,public.nokey,public.y"}
            Incremental TABLE_SCAN_COMPLETED {"data_collections":"public.a,public.b,public.nokey,public.y","scanned_collection":"public.y","status":"UNKNOWN_SCHEMA","total_rows_scanned":"0"}
            Incremental IN_PROGRESS {"current_collection_in_progress":"public.a","data_collections":"public.a,public.b,public.nokey","last_processed_key":"2","maximum_key":"3"}
            Incremental IN_PROGRESS {"current_collection_in_progress":"public.a","data_collections":"public.a,public.b,public.nokey","last_processed_key":"3","maximum_key":"3"}
            Incremental TABLE_SCAN_COMPLETED {"data_collections":"public.a,public.b,public.nokey","scanned_collection":"public.a","status":"SUCCEEDED","total_rows_scanned":"3"}
            Incremental TABLE_SCAN_COMPLETED {"data_collections":"public.b,public.nokey","scanned_collection":"public.b","status":"EMPTY","total_rows_scanned":"0"}
            Incremental TABLE_SCAN_COMPLETED {"data_collections":"public.nokey","scanned_collection":"public.nokey","status":"NO_PRIMARY_KEY","total_rows_scanned":"0"}
            Incremental COMPLETED {}
            Incremental RESUMED {"data_collections":"public.a"}
            Incremental STARTED {"data_collections":"public.a"}
            Incremental IN_PROGRESS {"current_collection_in_progress":"public.a","data_collections":"public.a","last_processed_key":"2","maximum_key":"3"}
            Incremental IN_PROGRESS {"current_collection_in_progress":"public.a","data_collections":"public.a","last_processed_key":"3","maximum_key":"3"}
            Incremental TABLE_SCAN_COMPLETED {"data_collections":"public.a","scanned_collection":"public.a","status":"SUCCEEDED","total_rows_scanned":"3"}
            Incremental COMPLETED {}
            Incremental ABORTED {"data_collections":"public.a"}
            Initial SKIPPED {}"#]].assert_eq(&all.join("\n"));
    });
}
