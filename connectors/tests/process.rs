//! Programs as sources and sinks: those of examples/process, and some that go wrong.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use connectors::{ConnectorConfig, ConnectorState, Worker};
use support::{connector, options, process, produce, reaches, read, values};

fn example(name: &str) -> String {
    format!("{}/../examples/process/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn source(dir: &Path, command: &str, more: &str) -> ConnectorConfig {
    let common = "connector.class=process-source\ntopic=t\nprocess.restart.backoff.ms=5";
    connector(dir, "program", &format!("{common}\nprocess.command={command}\n{more}"))
}

fn sink(dir: &Path, command: &str, more: &str) -> ConnectorConfig {
    let common = "connector.class=process-sink\ntopics=t\nprocess.restart.backoff.ms=5";
    connector(dir, "program", &format!("{common}\nprocess.command={command}\n{more}"))
}

/// A script in the directory.
fn script(dir: &Path, text: &str) -> String {
    fs::write(dir.join("program.sh"), text).unwrap();
    "sh program.sh".to_owned()
}

/// Runs SQL by Python's own SQLite, and gives what it prints.
fn sqlite(dir: &Path, database: &str, code: &str) -> String {
    let program =
        format!("import sqlite3\ndb = sqlite3.connect('{database}')\n{code}\ndb.commit()");
    let output = Command::new("python3").args(["-c", &program]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rows_of_a_table_come_once_through_any_kill() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |from: usize, to: usize| {
        let insert = format!(
            "db.executemany('INSERT INTO orders VALUES (?, ?)', [(n, n * 1.5) for n in range({from}, {to})])"
        );
        sqlite(dir.path(), "shop.db", &insert);
    };
    sqlite(
        dir.path(),
        "shop.db",
        "db.execute('CREATE TABLE orders (id INTEGER PRIMARY KEY, amount REAL)')",
    );
    let command = format!("python3 {} shop.db orders", example("sqlite_source.py"));
    for round in 0..5usize {
        rows(round * 1000 + 1, round * 1000 + 1001);
        process(dir.path(), async |client| {
            let config = source(dir.path(), &command, "");
            let worker = Worker::start(client, vec![config], options(false));
            let wanted = round as u64 * 250;
            worker.statuses().wait_for(|all| all[0].records >= wanted).await.unwrap();
        });
    }
    process(dir.path(), async |client| {
        let config = source(dir.path(), &command, "");
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        worker.shutdown().await.unwrap();
        let all = read(&*client, "t", 0).await;
        assert_eq!(all.len(), 5000);
        for (index, (key, value)) in all.into_iter().enumerate() {
            let id = index + 1;
            let amount = format!("{:?}", id as f64 * 1.5);
            assert_eq!(key.unwrap(), id.to_string());
            assert_eq!(value.unwrap(), format!(r#"{{"id": {id}, "amount": {amount}}}"#));
        }
    });
}

#[test]
fn records_are_in_a_table_once_through_any_kill() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!("python3 {} copy.db orders", example("sqlite_sink.py"));
    let config = || {
        let more = "errors.tolerance=all\nerrors.deadletterqueue.topic.name=dead";
        sink(dir.path(), &command, more)
    };
    for round in 0..4usize {
        process(dir.path(), async |client| {
            let worker = Worker::start(client.clone(), vec![config()], options(false));
            let mut statuses = worker.statuses();
            for batch in 0..4 {
                let values = (0..25).map(|n| match n {
                    7 => "[\"no object\"]".to_owned(),
                    n => format!("{{\"n\": {}}}", round * 100 + batch * 25 + n),
                });
                produce(&*client, "t", 0, &values.collect::<Vec<_>>()).await;
                statuses.changed().await.unwrap();
            }
        });
    }
    process(dir.path(), async |client| {
        let worker = Worker::start(client.clone(), vec![config()], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
        let dead = values(&*client, "dead").await;
        assert!(
            dead.len() >= 16 && dead.iter().all(|value| value == "[\"no object\"]"),
            "{dead:?}"
        );
    });
    let query = "for row in db.execute('SELECT position, value FROM orders ORDER BY position'): print(*row)";
    let expected: String =
        (0..400).filter(|n| n % 25 != 7).map(|n| format!("{n} {{\"n\": {n}}}\n")).collect();
    assert_eq!(sqlite(dir.path(), "copy.db", query), expected);
}

#[test]
fn a_shell_is_enough_for_either() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let more = "process.format=lines\nprocess.interval.ms=20";
        let config = source(dir.path(), &format!("sh {}", example("load.sh")), more);
        let worker = Worker::start(client.clone(), vec![config], options(false));
        worker.statuses().wait_for(|all| all[0].records >= 3).await.unwrap();
        worker.shutdown().await.unwrap();
        let config = sink(dir.path(), &format!("sh {} out.jsonl", example("append.sh")), "");
        let worker = Worker::start(client.clone(), vec![config], options(false));
        worker.finish_sinks_at_end().await.unwrap();
        worker.shutdown().await.unwrap();
        let records = values(&*client, "t").await;
        let lines = fs::read_to_string(dir.path().join("out.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), records.len());
        for (line, record) in lines.lines().zip(&records) {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(json["value"], serde_json::from_str::<serde_json::Value>(record).unwrap());
            assert_eq!(json["value"]["load"].as_array().unwrap().len(), 3);
        }
    });
}

/// What was said before a commit and no commit came is not written.
#[test]
fn what_a_program_did_not_commit_comes_again_after_it_has_failed() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let command = script(
            dir.path(),
            r#"read -r start
            echo "$start" >> starts
            n=$(wc -l < starts)
            echo "{\"type\":\"record\",\"value\":\"a$n\",\"topic\":\"other\",\"headers\":{\"h\":1}}"
            echo "{\"type\":\"record\",\"value\":{\"b\":$n},\"key\":[1],\"offset\":{\"n\":$n}}"
            echo '{"type":"record","value":"lost"}'
            [ $n -lt 3 ] && { echo oh no >&2; exit 3; }
            echo '{"type":"commit"}'"#,
        );
        let worker =
            Worker::start(client.clone(), vec![source(dir.path(), &command, "")], options(true));
        worker.sources_finished().await.unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = [
            (text("[1]"), text("{\"b\":1}")),
            (text("[1]"), text("{\"b\":2}")),
            (text("[1]"), text("{\"b\":3}")),
            (None, text("lost")),
        ];
        assert_eq!(read(&*client, "t", 0).await, expected);
        assert_eq!(values(&*client, "other").await, ["a1", "a2", "a3"]);
        let starts = fs::read_to_string(dir.path().join("starts")).unwrap();
        let offsets = starts.lines().map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["offset"].to_string()
        });
        assert_eq!(offsets.collect::<Vec<_>>(), ["null", "{\"n\":1}", "{\"n\":2}"]);
    });
}

#[test]
fn a_program_that_cannot_go_on_fails_the_task_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let mut told = String::new();
        for text in [
            "echo 'no such feed' >&2; exit 7",
            "echo hello",
            "echo '{\"type\":\"error\",\"message\":\"the feed is gone\",\"fatal\":true}'; sleep 60",
            "echo '{\"type\":\"record\",\"vlaue\":1}'",
            "head -c 2000 /dev/zero | tr '\\0' 'x'; sleep 60",
            "kill -9 $$",
        ] {
            let command = script(dir.path(), text);
            let more = "process.restarts.max=1\nprocess.line.bytes.max=1000";
            let worker = Worker::start(
                client.clone(),
                vec![source(dir.path(), &command, more)],
                options(false),
            );
            told.push_str(&format!("{}\n", worker.failed().await));
        }
        for (command, more) in [("no-such-program", ""), ("sh", "\nprocess.directory=nowhere")] {
            let more = format!("process.restarts.max=0{more}");
            let missing = source(dir.path(), command, &more);
            let worker = Worker::start(client.clone(), vec![missing], options(false));
            told.push_str(&format!("{}\n", worker.failed().await));
        }
        let told = told.replace(dir.path().to_str().unwrap(), "DIR");
        expect_test::expect![[r#"
            connector 'program', task 0: 'sh': it ended with exit status: 7; its last words: no such feed
            connector 'program', task 0: 'sh': what it wrote is no message: it is no JSON: expected value at line 1 column 1: hello
            connector 'program', task 0: 'sh': it says: the feed is gone
            connector 'program', task 0: 'sh': what it wrote is no message: a message has no 'vlaue': {"type":"record","vlaue":1}
            connector 'program', task 0: 'sh': it wrote a line of more than process.line.bytes.max = 1000 bytes
            connector 'program', task 0: 'sh': it ended with signal: 9 (SIGKILL)
            connector 'program', task 0: 'no-such-program': cannot be started: No such file or directory (os error 2)
            connector 'program', task 0: 'sh': cannot be started in 'DIR/nowhere', which is no directory
        "#]]
        .assert_eq(&told);
        assert_eq!(values(&*client, "t").await, [] as [&str; 0]);
    });
}

#[test]
fn what_a_sinks_program_has_taken_before_a_record_it_refuses_does_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let command = script(
            dir.path(),
            r#"while read -r line; do
              case $line in
                '{"type":"flush"'*)
                  echo "{\"type\":\"flushed\",\"id\":${line#*\"id\":}" ;;
                '{"type":"record"'*) echo "$line" >> taken ;;
              esac
            done"#,
        );
        let values = ["1", "2", "no json", "3"].map(str::to_owned);
        produce(&*client, "t", 0, &values).await;
        for _ in 0..3 {
            let config = sink(dir.path(), &command, "");
            let worker = Worker::start(client.clone(), vec![config], options(false));
            let error = worker.failed().await.to_string();
            assert!(error.contains("at offset 2 of partition t-0"), "{error}");
            worker.shutdown().await.unwrap_err();
        }
        let taken = fs::read_to_string(dir.path().join("taken")).unwrap();
        assert_eq!(taken.lines().count(), 2, "{taken}");
    });
}

#[test]
fn a_sinks_program_that_hangs_or_ends_gets_its_records_again() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        produce(&*client, "t", 0, &["1".to_owned(), "2".to_owned(), "x".to_owned()]).await;
        let command = script(
            dir.path(),
            r#"echo x >> starts
            n=$(wc -l < starts)
            [ $n = 1 ] && exec sleep 60
            while read -r line; do
              case $line in
                '{"type":"flush"'*)
                  [ $n = 2 ] && { echo full >&2; exit 1; }
                  echo "{\"type\":\"flushed\",\"id\":${line#*\"id\":}" ;;
                '{"type":"record"'*) [ $n = 3 ] && echo "$line" >> taken ;;
              esac
            done
            echo done >> ended"#,
        );
        let more = "process.flush.timeout.ms=300\nerrors.tolerance=all";
        let worker =
            Worker::start(client.clone(), vec![sink(dir.path(), &command, more)], options(false));
        reaches(&worker, "program", ConnectorState::CaughtUp).await;
        let status = worker.statuses().borrow()[0].clone();
        assert_eq!((status.records, status.skipped), (2, 1));
        worker.shutdown().await.unwrap();
        let taken = fs::read_to_string(dir.path().join("taken")).unwrap();
        assert_eq!(taken.lines().count(), 2);
        // It was asked to end, and did what it had to do.
        assert_eq!(fs::read_to_string(dir.path().join("ended")).unwrap(), "done\n");
    });
}

#[test]
fn a_program_that_will_not_end_is_killed_and_none_outlives_its_task() {
    let dir = tempfile::tempdir().unwrap();
    let alive = |id: &str| Path::new(&format!("/proc/{}", id.trim())).exists();
    process(dir.path(), async |client| {
        let text = "trap '' TERM\necho $$ > id\necho '{\"type\":\"commit\",\"offset\":{}}'\nwhile :; do sleep 0.05; done";
        let command = script(dir.path(), text);
        let config = || source(dir.path(), &command, "process.stop.timeout.ms=100");
        let worker = Worker::start(client.clone(), vec![config()], options(false));
        reaches(&worker, "program", ConnectorState::CaughtUp).await;
        let id = || fs::read_to_string(dir.path().join("id")).unwrap_or_default();
        while id().trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(alive(&id()));
        let begin = Instant::now();
        worker.shutdown().await.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert!(!alive(&id()));
        // Dropped, as by a crash of the worker alone.
        fs::remove_file(dir.path().join("id")).unwrap();
        let worker = Worker::start(client.clone(), vec![config()], options(false));
        while id().trim().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(worker);
        while alive(&id()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
