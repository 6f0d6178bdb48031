//! Sources on a real broker: nothing lost, nothing twice, whatever is killed when.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::client::{ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::Compression;
use connectors::{ConnectorConfig, ConnectorState, Worker};
use support::{append, connector, numbered, options, process, reaches, read, values};

fn file_source(dir: &Path, more: &str) -> ConnectorConfig {
    let properties = format!("connector.class=file-source\nfile=in.txt\ntopic=t\n{more}");
    connector(dir, "files", &properties)
}

#[test]
fn a_file_is_read_to_its_end_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in.txt");
    let lines = numbered(0, 20_000);
    append(&file, &lines);
    process(dir.path(), async |client| {
        let config = file_source(dir.path(), "batch.size=7000");
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        let summary = worker.shutdown().await.unwrap();
        let status = &summary.connectors[0];
        assert_eq!(status.state, ConnectorState::Finished);
        assert_eq!(status.records, 20_000);
        let bytes = fs::metadata(&file).unwrap().len();
        assert_eq!((status.bytes, status.total_bytes), (bytes, Some(bytes)));
        assert_eq!(values(&*client, "t").await, lines);
        let offsets = read(&*client, "connect-offsets", 0).await;
        let (key, value) = offsets.last().unwrap().clone();
        assert_eq!(key.unwrap(), r#"["files",{"filename":"in.txt"}]"#);
        let value: serde_json::Value = serde_json::from_str(&value.unwrap()).unwrap();
        assert_eq!(value["position"], bytes);
    });
    // Once more, and there is nothing left to do.
    process(dir.path(), async |client| {
        let config = file_source(dir.path(), "");
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(worker.shutdown().await.unwrap().connectors[0].records, 0);
        assert_eq!(values(&*client, "t").await.len(), 20_000);
    });
}

/// `producer.override.*` was named as without a meaning, and passed over.
#[test]
fn batches_are_compressed_if_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("in.txt"), &numbered(0, 100));
    process(dir.path(), async |client| {
        let source = file_source(dir.path(), "producer.override.compression.type=zstd");
        let worker = Worker::start(client.clone(), vec![source], options(true));
        worker.sources_finished().await.unwrap();
        worker.shutdown().await.unwrap();
        assert_eq!(values(&*client, "t").await, numbered(0, 100));
        let from = vec![(TopicPartition::new("t", 0), Offset::ZERO)];
        let mut reader = client.reader(ReaderOptions::partitions(from)).await.unwrap();
        let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { unreachable!() };
        assert_eq!(fetched.batches[0].compression().unwrap(), Compression::Zstd);
    });
}

#[test]
fn appended_lines_arrive_and_a_partial_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in.txt");
    process(dir.path(), async |client| {
        let config = file_source(dir.path(), "poll.interval.ms=3600000");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        reaches(&worker, "files", ConnectorState::CaughtUp).await;
        let mut statuses = worker.statuses();
        fs::write(&file, "one\ntw").unwrap();
        statuses.wait_for(|all| all[0].records == 1).await.unwrap();
        assert_eq!(values(&*client, "t").await, ["one"]);
        append(&file, &["o".to_owned()]);
        statuses.wait_for(|all| all[0].records == 2).await.unwrap();
        assert_eq!(values(&*client, "t").await, ["one", "two"]);
        worker.shutdown().await.unwrap();
    });
}

/// A writer appends all the time and rotates now and then, while the process is killed again and
/// again.
#[test]
fn killed_at_any_moment_every_line_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in.txt");
    let follow = || file_source(dir.path(), "");
    let mut written = 0;
    let mut commits = 0;
    for round in 0..12u64 {
        let over = AtomicBool::new(false);
        written += std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut lines = 0;
                while !over.load(Ordering::Relaxed) {
                    append(&file, &numbered(written + lines, 20));
                    lines += 20;
                    // The pace of the input, so that it is drained again and again.
                    std::thread::sleep(Duration::from_micros(200));
                }
                lines
            });
            process(dir.path(), async |client| {
                let worker = Worker::start(client.clone(), vec![follow()], options(false));
                let mut statuses = worker.statuses();
                // Killed while starting, or after so many commits.
                for _ in 0..round * 2 {
                    statuses.changed().await.unwrap();
                    commits += 1;
                }
                tokio::time::sleep(Duration::from_micros(300 * round)).await;
            });
            over.store(true, Ordering::Relaxed);
            writer.join().unwrap()
        });
        if round % 3 == 2 {
            // A file that was never looked at could not be found again under its new name.
            process(dir.path(), async |client| {
                let worker = Worker::start(client.clone(), vec![follow()], options(false));
                reaches(&worker, "files", ConnectorState::CaughtUp).await;
            });
            append(&file, &numbered(written, 100));
            written += 100;
            fs::rename(&file, dir.path().join(format!("in.txt.{round}"))).unwrap();
        }
    }
    append(&file, &numbered(written, 1));
    written += 1;
    process(dir.path(), async |client| {
        let worker = Worker::start(client.clone(), vec![follow()], options(true));
        worker.sources_finished().await.unwrap();
        worker.shutdown().await.unwrap();
        let got = values(&*client, "t").await;
        let expected = numbered(0, written);
        let first_difference = got.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!((got.len(), first_difference), (expected.len(), None));
    });
    assert!(commits > 50, "{commits}");
}

#[test]
fn a_line_too_long_fails_the_task_after_what_came_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(3_000_000);
    append(&dir.path().join("in.txt"), &["before".into(), long.clone(), "after".into()]);
    process(dir.path(), async |client| {
        let worker =
            Worker::start(client.clone(), vec![file_source(dir.path(), "")], options(true));
        let error = worker.sources_finished().await.unwrap_err().to_string();
        let error = error.replace(dir.path().to_str().unwrap(), "DIR");
        expect_test::expect!["connector 'files', task 0: DIR/in.txt: the line that begins at byte 7 is 3000000 bytes long, more than line.bytes.max = 1000000; raise it (and the topic's max.message.bytes), or skip such lines with errors.tolerance = all"]
            .assert_eq(&error);
        assert_eq!(values(&*client, "t").await, ["before"]);
        assert!(matches!(worker.statuses().borrow()[0].state, ConnectorState::Failed(_)));
        assert!(worker.shutdown().await.is_err());
    });
    process(dir.path(), async |client| {
        let config = file_source(dir.path(), "errors.tolerance=all");
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(worker.shutdown().await.unwrap().connectors[0].skipped, 1);
        assert_eq!(values(&*client, "t").await, ["before", "after"]);
    });
}

#[test]
fn longer_lines_are_possible_in_a_topic_that_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(3_000_000);
    append(&dir.path().join("in.txt"), std::slice::from_ref(&long));
    process(dir.path(), async |client| {
        let config = file_source(dir.path(), "line.bytes.max=3000000");
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(values(&*client, "t").await, [long]);
    });
}

#[test]
fn a_second_worker_of_the_same_name_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("in.txt");
    append(&file, &numbered(0, 10));
    process(dir.path(), async |client| {
        let start =
            || Worker::start(client.clone(), vec![file_source(dir.path(), "")], options(false));
        let first = start();
        reaches(&first, "files", ConnectorState::CaughtUp).await;
        let second = start();
        reaches(&second, "files", ConnectorState::CaughtUp).await;
        append(&file, &numbered(10, 10));
        let error = first.failed().await.to_string();
        assert!(error.contains("another producer with transactional id 'connect-files-0'"));
        let mut statuses = second.statuses();
        statuses.wait_for(|all| all[0].records == 10).await.unwrap();
        assert_eq!(values(&*client, "t").await, numbered(0, 20));
    });
}

#[test]
fn a_missing_file_is_an_error_when_reading_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let worker = Worker::start(client, vec![file_source(dir.path(), "")], options(true));
        let error = worker.sources_finished().await.unwrap_err().to_string();
        assert!(error.contains("in.txt: there is no such file"), "{error}");
    });
}

#[test]
fn lines_spread_over_partitions_batch_by_batch() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("in.txt"), &numbered(0, 1_000));
    process(dir.path(), async |client| {
        let config = file_source(dir.path(), "topic.creation.default.partitions=3\nbatch.size=100");
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        let mut all = Vec::new();
        for partition in 0..3 {
            let records = read(&*client, "t", partition).await;
            assert!(records.len() >= 300, "{}", records.len());
            all.extend(records.into_iter().map(|(_, value)| value.unwrap()));
        }
        all.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
        assert_eq!(all, numbered(0, 1_000));
    });
}
