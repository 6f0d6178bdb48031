//! Sinks on a real broker: each record in the file once, whatever is killed when.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::array::types::Int64Type;
use broker::client::{ClientError, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use connectors::{ConnectorConfig, ConnectorState, Worker, WorkerOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
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

/// `consumer.override.*` was named as without a meaning, and passed over.
#[test]
fn a_sink_reads_as_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &numbered(0, 10)).await;
        let sink = "connector.class=file-sink\nfile=out/lines.txt\ntopics=t\n\
                    consumer.override.group.id=mine\nconsumer.override.auto.offset.reset=latest";
        let worker =
            Worker::start(client.clone(), vec![connector(dir.path(), "out", sink)], options(false));
        reaches(&worker, "out", ConnectorState::CaughtUp).await;
        produce(&*client, "t", 0, &numbered(10, 5)).await;
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
        assert_eq!(lines(dir.path()), numbered(10, 5));
        let partition = [TopicPartition::new("t", 0)];
        let committed = client.committed_offsets("mine", &partition).await.unwrap();
        assert_eq!(committed[0].as_ref().unwrap().offset.0, 15);
        assert_eq!(client.committed_offsets("connect-out", &partition).await.unwrap(), [None]);
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

/// Complete files below `out`, by path.
fn complete_files(dir: &Path) -> Vec<(String, String)> {
    let (mut files, mut dirs) = (Vec::new(), vec![dir.join("out")]);
    while let Some(at) = dirs.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir.join("out")).unwrap().display().to_string();
            if path.is_dir() && !name.starts_with('.') {
                dirs.push(path);
            } else if path.is_file() {
                files.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn records_are_divided_over_directories_by_their_fields() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\ndirectory=out\ntopics=t\nformat=csv\n\
                      partition.by=c\nerrors.tolerance=all";
    process(dir.path(), async |client| {
        let rows = [
            r#"{"c":"DE","n":1}"#,
            r#"{"c":"FR","n":2}"#,
            "no JSON",
            r#"{"c":"DE","n":3}"#,
            r#"{"c":"DE","x":4}"#,
        ];
        produce(&*client, "t", 0, &rows.map(str::to_owned)).await;
        let config = connector(dir.path(), "out", properties);
        let worker = Worker::start(client, vec![config], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        let status = worker.shutdown().await.unwrap().connectors[0].clone();
        assert_eq!(status.skipped, 2);
    });
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let expected = [
        file("c=DE/t+0+0000000000.csv", "c,n\nDE,1\nDE,3\n"),
        file("c=FR/t+0+0000000001.csv", "c,n\nFR,2\n"),
    ];
    assert_eq!(complete_files(dir.path()), expected);
}

/// What the topic `t` holds goes to a sink that is killed eight times while 70 records after 70 are
/// produced, and then to its end. How many records that were.
fn write_through_kills(dir: &Path, properties: &str, rows: &dyn Fn(usize) -> Vec<String>) -> usize {
    let sink = || connector(dir, "out", properties);
    let mut written = 0;
    for round in 0..8u64 {
        process(dir, async |client| {
            let worker = Worker::start(client.clone(), vec![sink()], options(false));
            let mut statuses = worker.statuses();
            for _ in 0..round {
                let rows = rows(written);
                produce(&*client, "t", 0, &rows).await;
                written += rows.len();
                statuses.changed().await.unwrap();
            }
            tokio::time::sleep(Duration::from_micros(300 * round)).await;
        });
    }
    process(dir, async |client| {
        let worker = Worker::start(client, vec![sink()], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
    });
    written
}

#[test]
fn rolled_files_hold_every_record_once_whatever_is_killed_when() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\ndirectory=out\ntopics=t\nroll.bytes=3000";
    let written = write_through_kills(dir.path(), properties, &|n| numbered(n, 70));
    let files = complete_files(dir.path());
    assert!(files.len() > 5);
    let lines: Vec<&str> = files.iter().flat_map(|(_, text)| text.lines()).collect();
    assert_eq!(lines, numbered(0, written));
}

/// The numbers in a column, by Parquet's own reader.
fn numbers_in(path: &Path) -> Vec<i64> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let batches = reader.build().unwrap().map(Result::unwrap);
    let numbers = batches.flat_map(|batch| {
        let column = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>().clone();
        column.values().to_vec()
    });
    numbers.collect()
}

#[test]
fn files_of_columns_hold_every_record_once_whatever_is_killed_when() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\ndirectory=out\ntopics=t\nformat=parquet\n\
                      partition.by=of\nroll.records=150";
    let row = |n: usize| format!("{{\"n\":{n},\"of\":\"{}\"}}", n % 3);
    let written = write_through_kills(dir.path(), properties, &|n| (n..n + 70).map(row).collect());
    let mut numbers = Vec::new();
    for of in 0..3 {
        let mut paths: Vec<_> = fs::read_dir(dir.path().join(format!("out/of={of}")))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        assert!(paths.len() > 5, "{paths:?}");
        let of_it: Vec<i64> = paths.iter().flat_map(|path| numbers_in(path)).collect();
        assert!(of_it.is_sorted() && of_it.iter().all(|number| number % 3 == of));
        numbers.extend(of_it);
    }
    numbers.sort();
    assert_eq!(numbers, (0..written as i64).collect::<Vec<_>>());
}

#[test]
fn columns_are_asked_of_records_with_fields() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\ndirectory=out\ntopics=t\nformat=parquet";
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &["{\"n\":1}".to_owned(), "\"text\"".to_owned()]).await;
        let config = connector(dir.path(), "out", properties);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let error = worker.failed().await.to_string();
        expect_test::expect!["connector 'out', task 0: record at offset 1 of partition t-0: refused: Parquet needs records with fields, and this is a string; name the converter that reads them (value.converter = org.apache.kafka.connect.json.JsonConverter), or make a field of it by the transform HoistField$Value; with errors.tolerance=all such records are skipped and counted"].assert_eq(&error);
        drop(worker);
        let tolerant = format!("{properties}\nerrors.tolerance=all");
        let config = connector(dir.path(), "out", &tolerant);
        let worker = Worker::start(client, vec![config], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        assert_eq!(worker.shutdown().await.unwrap().connectors[0].skipped, 1);
    });
    assert_eq!(numbers_in(&dir.path().join("out/t+0+0000000000.parquet")), [1]);
}

#[test]
fn a_file_of_csv_has_one_header_through_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\nfile=out/a.csv\ntopics=t\nformat=csv";
    for number in 0..3 {
        process(dir.path(), async |client| {
            produce(&*client, "t", 0, &[format!("{{\"n\":{number}}}")]).await;
            let config = connector(dir.path(), "out", properties);
            let worker = Worker::start(client, vec![config], options(false));
            worker.finish_sinks_at_end().await.unwrap();
            worker.shutdown().await.unwrap();
        });
    }
    assert_eq!(fs::read_to_string(dir.path().join("out/a.csv")).unwrap(), "n\n0\n1\n2\n");
}

#[test]
fn files_are_complete_in_time_without_more_records() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\ndirectory=out\ntopics=t\nroll.ms=200";
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &numbered(0, 3)).await;
        let config = connector(dir.path(), "out", properties);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        reaches(&worker, "out", ConnectorState::CaughtUp).await;
        let partition = [TopicPartition::new("t", 0)];
        loop {
            let committed = client.committed_offsets("connect-out", &partition).await.unwrap();
            if committed[0].as_ref().is_some_and(|committed| committed.offset.0 == 3) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(complete_files(dir.path()).len(), 1);
    });
}

#[test]
fn a_stop_in_order_completes_files_and_nothing_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "connector.class=file-sink\ndirectory=out\ntopics=t";
    for number in 0..3 {
        process(dir.path(), async |client| {
            produce(&*client, "t", 0, &numbered(number * 10, 10)).await;
            let config = connector(dir.path(), "out", properties);
            let worker = Worker::start(client.clone(), vec![config], options(false));
            reaches(&worker, "out", ConnectorState::CaughtUp).await;
            worker.shutdown().await.unwrap();
            let files = complete_files(dir.path());
            assert_eq!(files.len(), number + 1);
            let lines: Vec<&str> = files.iter().flat_map(|(_, text)| text.lines()).collect();
            assert_eq!(lines, numbered(0, number * 10 + 10));
        });
    }
}

#[test]
fn topics_that_match_are_read_those_too_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out.txt");
    let properties = "connector.class=file-sink\ntopics.regex=orders-.*\nfile=out.txt\n\
                      metadata.max.age.ms=100\ntasks.max=2";
    process(dir.path(), async |client| {
        let config = connector(dir.path(), "out", properties);
        let worker = Worker::start(client.clone(), vec![config.clone()], options(false));
        let lines = || {
            let text = std::fs::read_to_string(&out).unwrap_or_default();
            text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let until = async |count| {
            while lines().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        // None matches yet, and these never do.
        produce(&*client, "old-orders-1", 0, &numbered(100, 1)).await;
        produce(&*client, "orders", 0, &numbered(200, 1)).await;
        for (topic, first) in [("orders-1", 0), ("orders-2", 10), ("orders-3", 20)] {
            produce(&*client, topic, 0, &numbered(first, 10)).await;
            until(first + 10).await;
        }
        worker.shutdown().await.unwrap();
        // What came while nobody read is there at the end, and nothing is there twice.
        produce(&*client, "orders-4", 0, &numbered(30, 10)).await;
        let worker = Worker::start(client.clone(), vec![config], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
        assert_eq!(lines(), numbered(0, 40).into_iter().collect());
        assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 40);
    });
}
