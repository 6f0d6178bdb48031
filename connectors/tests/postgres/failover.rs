//! A standby takes the server's place.

use std::time::Duration;

use connectors::{ConnectorConfig, ConnectorState, Worker};
use serde_json::Value;

use crate::server::Postgres;
use crate::support::{connector, options, process, reaches};
use crate::{PLAIN, at_least};

fn source(dir: &std::path::Path, server: &Postgres, more: &str) -> ConnectorConfig {
    connector(dir, "t", &server.properties(&format!("{PLAIN}\n{more}")))
}

async fn rows_are(server: &Postgres, count: &str) {
    while server.sql("select count(*) from t").await.single() != Some(count) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_promoted_standby_is_refused_until_that_is_accepted() {
    let mut primary = Postgres::start();
    let directory = tempfile::tempdir().unwrap();
    process(directory.path(), async |client| {
        primary.sql("create table t (id int primary key); insert into t values (1)").await;
        let config = source(directory.path(), &primary, "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        reaches(&worker, "t", ConnectorState::CaughtUp).await;
        primary.sql("insert into t values (2)").await;
        at_least(&*client, &worker, "pg.public.t", 2).await;
        worker.shutdown().await.unwrap();
        let standby = tokio::task::block_in_place(|| primary.standby());
        primary.sql("insert into t values (3)").await;
        rows_are(&standby, "3").await;
        primary.stop();
        tokio::task::block_in_place(|| standby.promote());
        standby.sql("insert into t values (4)").await;

        let refused = async |more| {
            let config = source(directory.path(), &standby, more);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            worker.failed().await.to_string()
        };
        // Told by the timeline alone: it is the same system.
        let reason = refused("").await;
        assert!(reason.contains("on timeline 2, and was on 1"), "{reason}");
        assert!(reason.contains("timeline.change = accept"), "{reason}");
        // Nothing was read meanwhile, and the slot was not carried over.
        let reason = refused("timeline.change=accept").await;
        assert!(reason.contains("'debezium' is gone"), "{reason}");
        // A slot of the same name that was made since is none of ours.
        standby.sql("select pg_create_logical_replication_slot('debezium', 'pgoutput')").await;
        let reason = refused("timeline.change=accept").await;
        assert!(reason.contains("was moved on"), "{reason}");

        let more = "timeline.change=accept\nsnapshot.mode=when_needed";
        let config = source(directory.path(), &standby, more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        at_least(&*client, &worker, "pg.public.t", 6).await;
        worker.shutdown().await.unwrap();
        standby.sql("insert into t values (5)").await;
        // From here on it is the server that is known.
        let config = source(directory.path(), &standby, "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let records = at_least(&*client, &worker, "pg.public.t", 7).await;
        let told = records.iter().map(|record| {
            let value: Value = serde_json::from_str(record.1.as_ref().unwrap()).unwrap();
            format!("{}{}", value["op"].as_str().unwrap(), value["after"]["id"])
        });
        assert_eq!(told.collect::<Vec<_>>(), ["r1", "c2", "r1", "r2", "r3", "r4", "c5"]);
        worker.shutdown().await.unwrap();
    });
}
