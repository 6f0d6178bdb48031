//! Sinks on a real broker: each record in the file once, whatever is killed when.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use broker::client::{ClientError, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use connectors::{ConnectorConfig, ConnectorState, Worker, WorkerOptions};
use support::{connector, numbered, options, process, produce, reaches};

fn file_sink(dir: &Path) -> ConnectorConfig {
    connector(dir, "out", "connector.class=file-sink\nfile=out/lines.txt\ntopics=t")
}

fn lines(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("out/lines.txt")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn all_that_is_there_is_written_and_committed_when_asked_to_finish() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &numbered(0, 1_000)).await;
        // So that nothing but finishing makes it commit.
        let commit_interval = Duration::from_secs(3600);
        let rarely = WorkerOptions { commit_interval, ..WorkerOptions::default() };
        let worker = Worker::start(client.clone(), vec![file_sink(dir.path())], rarely);
        worker.finish_sinks_at_end().await.unwrap();
        let status = worker.shutdown().await.unwrap().connectors[0].clone();
        assert_eq!(status.state, ConnectorState::Finished);
        assert_eq!((status.records, status.skipped), (1_000, 0));
        assert_eq!(status.bytes, fs::metadata(dir.path().join("out/lines.txt")).unwrap().len());
        assert_eq!(lines(dir.path()), numbered(0, 1_000));
        let partition = TopicPartition::new("t", 0);
        let committed = client.committed_offsets("connect-out", &[partition]).await.unwrap();
        assert_eq!(committed[0].as_ref().unwrap().offset.0, 1_000);
    });
    // Finishing where there is nothing new ends at once, with nothing written.
    process(dir.path(), async |client| {
        let worker = Worker::start(client, vec![file_sink(dir.path())], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        assert_eq!(worker.shutdown().await.unwrap().connectors[0].records, 0);
        assert_eq!(lines(dir.path()).len(), 1_000);
    });
}

#[test]
fn a_topic_that_does_not_exist_is_created_and_an_empty_one_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let worker = Worker::start(client.clone(), vec![file_sink(dir.path())], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        assert!(client.topic("t").await.unwrap().is_some());
        assert_eq!(lines(dir.path()), [] as [&str; 0]);
    });
}

#[test]
fn only_what_transactions_commit_is_written() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        client.create_topic(&NewTopic::new("t", 1)).await.unwrap();
        let options_of = |id: &str| ProducerOptions {
            transactional_id: Some(id.to_owned()),
            ..ProducerOptions::default()
        };
        let mut producer = client.producer(options_of("a")).await.unwrap();
        for (value, commit) in [("kept", true), ("taken back", false), ("kept too", true)] {
            producer.begin().await.unwrap();
            let mut batch = BatchBuilder::default();
            batch.append(0, None, Some(value.as_bytes()));
            producer.send(&TopicPartition::new("t", 0), batch).await.unwrap();
            let ended: Result<(), ClientError> =
                if commit { producer.commit(None).await } else { producer.abort().await };
            ended.unwrap();
        }
        let worker = Worker::start(client.clone(), vec![file_sink(dir.path())], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        assert_eq!(lines(dir.path()), ["kept", "kept too"]);
    });
}

#[test]
fn killed_at_any_moment_every_record_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = 0;
    let mut commits = 0;
    for round in 0..12u64 {
        process(dir.path(), async |client| {
            let worker = Worker::start(client.clone(), vec![file_sink(dir.path())], options(false));
            let mut statuses = worker.statuses();
            for _ in 0..round {
                produce(&*client, "t", 0, &numbered(written, 50)).await;
                written += 50;
                statuses.changed().await.unwrap();
                commits += 1;
            }
            tokio::time::sleep(Duration::from_micros(300 * round)).await;
        });
    }
    process(dir.path(), async |client| {
        let worker = Worker::start(client, vec![file_sink(dir.path())], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
    });
    assert_eq!(lines(dir.path()), numbered(0, written));
    assert!(commits > 50);
}

#[test]
fn a_topic_deleted_and_created_anew_is_written_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &numbered(0, 10)).await;
        let worker = Worker::start(client.clone(), vec![file_sink(dir.path())], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
        client.delete_topic("t").await.unwrap();
        produce(&*client, "t", 0, &numbered(10, 5)).await;
        let worker = Worker::start(client.clone(), vec![file_sink(dir.path())], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
    });
    assert_eq!(lines(dir.path()), numbered(0, 15));
}

#[test]
fn a_file_that_cannot_be_written_fails_the_task_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("out"), "in the way").unwrap();
    process(dir.path(), async |client| {
        let worker = Worker::start(client, vec![file_sink(dir.path())], options(false));
        let error = worker.failed().await.to_string();
        let error = error.replace(dir.path().to_str().unwrap(), "DIR");
        expect_test::expect!["connector 'out', task 0: DIR/out: cannot create this directory: File exists (os error 17); what was not recorded as written will be written again after a restart"]
            .assert_eq(&error);
    });
}

#[test]
fn from_file_to_file_through_a_topic() {
    let dir = tempfile::tempdir().unwrap();
    support::append(&dir.path().join("in.txt"), &numbered(0, 5_000));
    process(dir.path(), async |client| {
        let properties = "connector.class=FileStreamSource\nfile=in.txt\ntopic=t";
        let source = connector(dir.path(), "in", properties);
        let worker = Worker::start(client, vec![source, file_sink(dir.path())], options(true));
        worker.sources_finished().await.unwrap();
        worker.finish_sinks_at_end().await.unwrap();
        let summary = worker.shutdown().await.unwrap();
        assert!(summary.connectors.iter().all(|one| one.state == ConnectorState::Finished));
    });
    assert_eq!(lines(dir.path()), numbered(0, 5_000));
}

#[test]
fn a_sink_that_has_caught_up_says_so() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &numbered(0, 10)).await;
        let worker = Worker::start(client, vec![file_sink(dir.path())], options(false));
        reaches(&worker, "out", ConnectorState::CaughtUp).await;
    });
}
