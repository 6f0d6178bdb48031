//! Many files, compressed files and files with a format, on a real broker.

mod support;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use connectors::{ConnectorConfig, ConnectorState, Worker, WorkerOptions};
use support::{append, connector, numbered, options, process, reaches, read, values};

fn source(dir: &Path, properties: &str) -> ConnectorConfig {
    connector(dir, "files", &format!("connector.class=file-source\ntopic=t\n{properties}"))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// Runs the source to the end of its input, and tells how many records that gave.
fn to_the_end(dir: &Path, properties: &str) -> u64 {
    process(dir, async |client| {
        let worker = Worker::start(client, vec![source(dir, properties)], options(true));
        worker.sources_finished().await.unwrap();
        worker.shutdown().await.unwrap().connectors[0].records
    })
}

#[test]
fn files_of_a_pattern_are_split_over_tasks_and_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let properties = "file=in/**/*.log*\ntasks.max=3";
    for part in 0..12 {
        let path = dir.path().join(format!("in/{}/part-{part}.log", part % 2));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        append(&path, &numbered(part * 100, 100));
    }
    assert_eq!(to_the_end(dir.path(), properties), 1_200);
    // Rotated and compressed, with one line that is new.
    let path = dir.path().join("in/0/part-4.log");
    append(&path, &numbered(5_000, 1));
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path.with_extension("log.1.gz"), gzip(&text)).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(to_the_end(dir.path(), properties), 1);
    // With fewer tasks too.
    append(&path, &numbered(6_000, 2));
    assert_eq!(to_the_end(dir.path(), "file=in/**/*.log*"), 2);
    process(dir.path(), async |client| {
        let mut lines = values(&*client, "t").await;
        lines.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
        let mut expected = numbered(0, 1_200);
        expected.extend(numbered(5_000, 1));
        expected.extend(numbered(6_000, 2));
        assert_eq!(lines, expected);
    });
}

#[test]
fn a_file_that_is_renamed_stays_with_the_task_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |host: &str, name: &str| dir.path().join("in").join(host).join(name);
    for (number, host) in ["a", "b", "c", "d"].into_iter().enumerate() {
        fs::create_dir_all(path(host, "")).unwrap();
        append(&path(host, "app.log"), &numbered(number * 100, 10));
    }
    process(dir.path(), async |client| {
        let config = source(dir.path(), "file=in/**\ntasks.max=4");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        let mut statuses = worker.statuses();
        statuses.wait_for(|all| all[0].records == 40).await.unwrap();
        // Into another directory and to another name: it is read by whom it was.
        fs::rename(path("a", "app.log"), path("d", "old.log")).unwrap();
        append(&path("d", "old.log"), &numbered(10, 1));
        statuses.wait_for(|all| all[0].records >= 41).await.unwrap();
        append(&path("b", "app.log"), &numbered(110, 1));
        statuses.wait_for(|all| all[0].records >= 42).await.unwrap();
        worker.shutdown().await.unwrap();
        let mut lines = values(&*client, "t").await;
        lines.sort_by_key(|line| line[5..].parse::<usize>().unwrap());
        let mut expected = [numbered(0, 11), numbered(100, 11)].concat();
        expected.extend([numbered(200, 10), numbered(300, 10)].concat());
        assert_eq!(lines, expected);
    });
}

#[test]
fn new_files_are_seen_at_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in")).unwrap();
    process(dir.path(), async |client| {
        // No tick will come.
        let config = source(dir.path(), "file=in/**\npoll.interval.ms=3600000");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        reaches(&worker, "files", ConnectorState::CaughtUp).await;
        let mut statuses = worker.statuses();
        append(&dir.path().join("in/a"), &numbered(0, 1));
        statuses.wait_for(|all| all[0].records == 1).await.unwrap();
        append(&dir.path().join("in/b"), &numbered(1, 1));
        statuses.wait_for(|all| all[0].records == 2).await.unwrap();
        assert_eq!(values(&*client, "t").await, numbered(0, 2));
    });
}

#[test]
fn only_what_comes_later_is_read_if_asked() {
    for properties in ["file=in/a.log\nstart=end", "file=in/\nstart=end"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("in/a.log");
        fs::create_dir_all(dir.path().join("in")).unwrap();
        append(&file, &numbered(0, 10));
        assert_eq!(to_the_end(dir.path(), properties), 0, "{properties}");
        append(&file, &numbered(10, 5));
        assert_eq!(to_the_end(dir.path(), properties), 5, "{properties}");
    }
}

#[test]
fn rows_of_csv_are_structs_and_bad_ones_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.csv"), "id;name\n1;one\n2;\"two;\n\"\"2\"\"\"\nbad\n\n3;three\n")
        .unwrap();
    process(dir.path(), async |client| {
        let config = source(dir.path(), "file=in.csv\nformat=csv\ncsv.delimiter=;");
        let worker = Worker::start(client, vec![config], options(true));
        let error = worker.sources_finished().await.unwrap_err().to_string();
        assert!(error.contains("in.csv: the record that begins at byte"), "{error}");
        assert!(error.contains("1 fields where the first row has 2"), "{error}");
    });
    process(dir.path(), async |client| {
        let tolerant = "file=in.csv\nformat=csv\ncsv.delimiter=;\nerrors.tolerance=all";
        let worker =
            Worker::start(client.clone(), vec![source(dir.path(), tolerant)], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(worker.shutdown().await.unwrap().connectors[0].skipped, 1);
        let expected = [
            r#"{"id":"1","name":"one"}"#,
            r#"{"id":"2","name":"two;\n\"2\""}"#,
            r#"{"id":"3","name":"three"}"#,
        ];
        assert_eq!(values(&*client, "t").await, expected);
    });
}

#[test]
fn what_is_not_in_utf8_becomes_so() {
    let dir = tempfile::tempdir().unwrap();
    let latin = |text: &str| text.chars().map(|c| c as u32 as u8).collect::<Vec<u8>>();
    fs::write(dir.path().join("in.csv"), latin("größe;\"straße\"\n1;\"Café\"\n")).unwrap();
    fs::write(dir.path().join("in.jsonl"), latin("{\"é\":\"ü\"}\n")).unwrap();
    fs::write(dir.path().join("in.txt"), latin("à\n\nplain\n")).unwrap();
    for (properties, expected) in [
        ("file=in.csv\nformat=csv\ncsv.delimiter=;", &[r#"{"größe":"1","straße":"Café"}"#][..]),
        ("file=in.jsonl\nformat=json", &[r#"{"é":"ü"}"#]),
        ("file=in.txt", &["à", "", "plain"]),
    ] {
        let data = tempfile::tempdir().unwrap();
        process(data.path(), async |client| {
            let latin = format!("{properties}\nencoding=ISO-8859-1\n");
            let config = source(dir.path(), &latin);
            let worker = Worker::start(client.clone(), vec![config], options(true));
            worker.sources_finished().await.unwrap();
            assert_eq!(values(&*client, "t").await, expected);
        });
    }
}

#[test]
fn lines_of_json_are_checked_and_can_be_transformed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("in.jsonl"), "{\"a\": 1,\"b\":[]}\n\nnot json\n{\"a\":2}\n").unwrap();
    let tolerant = "file=in.jsonl\nformat=json\nerrors.tolerance=all";
    assert_eq!(to_the_end(dir.path(), tolerant), 2);
    process(dir.path(), async |client| {
        let cast = "file=in.jsonl\nformat=json\nerrors.tolerance=all\n\
                    value.converter=org.apache.kafka.connect.json.JsonConverter\n\
                    value.converter.schemas.enable=false\ntransforms=c\n\
                    transforms.c.type=org.apache.kafka.connect.transforms.Cast$Value\n\
                    transforms.c.spec=a:string";
        let config = connector(
            dir.path(),
            "cast",
            &format!("connector.class=file-source\ntopic=cast\n{cast}"),
        );
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(values(&*client, "t").await, ["{\"a\": 1,\"b\":[]}", "{\"a\":2}"]);
        assert_eq!(values(&*client, "cast").await, [r#"{"a":"1","b":[]}"#, r#"{"a":"2"}"#]);
    });
}

#[test]
fn whole_files_are_records_by_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("in")).unwrap();
    fs::write(dir.path().join("in/a.txt"), "two\nlines\n").unwrap();
    fs::write(dir.path().join("in/b.txt.gz"), gzip("packed")).unwrap();
    assert_eq!(to_the_end(dir.path(), "file=in/*\nformat=whole"), 2);
    assert_eq!(to_the_end(dir.path(), "file=in/*\nformat=whole"), 0);
    fs::write(dir.path().join("in/a.txt"), "changed").unwrap();
    assert_eq!(to_the_end(dir.path(), "file=in/*\nformat=whole"), 1);
    process(dir.path(), async |client| {
        let record = |key: &str, value: &str| (Some(key.to_owned()), Some(value.to_owned()));
        let expected = [
            record("a.txt", "two\nlines\n"),
            record("b.txt.gz", "packed"),
            record("a.txt", "changed"),
        ];
        assert_eq!(read(&*client, "t", 0).await, expected);
    });
}

/// A compressed file, read by a process that is killed again and again.
#[test]
fn killed_while_unpacking_every_line_arrives_once() {
    const LINES: usize = 60_000;
    let dir = tempfile::tempdir().unwrap();
    let text: String = numbered(0, LINES).iter().map(|line| format!("{line}\n")).collect();
    fs::create_dir_all(dir.path().join("in")).unwrap();
    fs::write(dir.path().join("in/a.log.gz"), gzip(&text)).unwrap();
    let often = WorkerOptions { commit_interval: Duration::ZERO, ..options(false) };
    for round in 0..6 {
        process(dir.path(), async |client| {
            let config = source(dir.path(), "file=in/*.gz\nbatch.size=500");
            let worker = Worker::start(client, vec![config], often.clone());
            let mut statuses = worker.statuses();
            for _ in 0..round {
                statuses.changed().await.unwrap();
            }
        });
    }
    to_the_end(dir.path(), "file=in/*.gz");
    process(dir.path(), async |client| {
        assert_eq!(values(&*client, "t").await, numbered(0, LINES));
    });
}

#[test]
fn topics_are_made_as_their_group_says() {
    let dir = tempfile::tempdir().unwrap();
    append(&dir.path().join("in.txt"), &numbered(0, 3));
    process(dir.path(), async |client| {
        let properties = "file=in.txt\ntopic.creation.groups=wide\n\
                          topic.creation.wide.include=[a-z]\n\
                          topic.creation.wide.partitions=3\n\
                          topic.creation.wide.retention.ms=3600000";
        let config = source(dir.path(), properties);
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        assert_eq!(client.topic("t").await.unwrap().unwrap().partitions, 3);
    });
}
