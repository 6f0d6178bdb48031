//! `millstream connect` as a person, a script and Kafka Connect's users meet it: files, REST over
//! a socket, and the commands that speak to it.

mod fixture;
#[path = "kafka/fixture.rs"]
mod kafka;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use expect_test::expect;
use fixture::{PATIENCE, Running, finish, millstream, succeed, succeed_with};
use serde_json::{Value, json};

const WORKER: &str = "# Kafka's connect-standalone.properties
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter.schemas.enable=false
offset.storage.file.filename=/tmp/connect.offsets
";

const SOURCE: &str = "name=lines
connector.class=FileStreamSource
file=in.txt
topic=lines
transforms=hoist,origin
transforms.hoist.type=org.apache.kafka.connect.transforms.HoistField$Value
transforms.hoist.field=line
transforms.origin.type=org.apache.kafka.connect.transforms.InsertField$Value
transforms.origin.static.field=origin
transforms.origin.static.value=${file:secrets.properties:origin}
";

fn sink(topics: &str, file: &str) -> Value {
    json!({ "connector.class": "FileStreamSink", "topics": topics, "file": file })
}

/// A worker with these files, and its REST API's address.
fn start(dir: &Path, files: &[&str]) -> (Running, String) {
    let free = ["--data-dir", "data", "--listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0"];
    let mut worker = Running::start(dir, &[&["connect"], files, &free[..]].concat());
    let line = worker.wait_stderr("✓ rest");
    let address = line.rsplit("http://").next().unwrap().to_owned();
    worker.wait_stderr("→ look");
    (worker, address)
}

/// One request, as curl would send it: status, and JSON if there is any.
fn request(address: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head[9..12].parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn get(address: &str, path: &str) -> Value {
    let (status, body) = request(address, "GET", path, "");
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// Waits until something holds; there is no event to wait for from outside.
fn until(what: &str, holds: impl Fn() -> bool) {
    until_within(PATIENCE, what, holds);
}

fn until_within(patience: Duration, what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < patience, "{what} in {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn kafkas_files_run_and_rest_looks_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("worker.properties"), WORKER).unwrap();
    fs::write(path("lines.properties"), SOURCE).unwrap();
    fs::write(path("secrets.properties"), "origin=s3cret\n").unwrap();
    fs::write(
        path("out.json"),
        json!({ "name": "out", "config": sink("lines", "out.txt") }).to_string(),
    )
    .unwrap();
    fs::write(path("in.txt"), "one\ntwo\n").unwrap();
    let files = ["worker.properties", "lines.properties", "out.json"];
    let (worker, rest) = start(dir.path(), &files);
    until("two lines", || lines(&path("out.txt")) == 2);
    let written = fs::read_to_string(path("out.txt")).unwrap();
    expect![[r#"
        {"line":"one","origin":"s3cret"}
        {"line":"two","origin":"s3cret"}
    "#]]
    .assert_eq(&written);

    assert_eq!(get(&rest, "/connectors"), json!(["lines", "out"]));
    assert_eq!(get(&rest, "/health")["status"], "healthy");
    let config = get(&rest, "/connectors/lines/config");
    assert_eq!(config["transforms.origin.static.value"], "${file:secrets.properties:origin}");
    let status = get(&rest, "/connectors/lines/status");
    assert_eq!(
        (&status["tasks"][0]["state"], &status["type"]),
        (&json!("RUNNING"), &json!("source"))
    );

    // Paused, it takes nothing; resumed, it takes what has come since.
    assert_eq!(request(&rest, "PUT", "/connectors/lines/pause", "").0, 202);
    fs::write(path("in.txt"), "one\ntwo\nthree\n").unwrap();
    let state = &get(&rest, "/connectors/lines/status")["tasks"][0]["state"];
    assert_eq!(state, "PAUSED");
    assert_eq!(request(&rest, "PUT", "/connectors/lines/resume", "").0, 202);
    until("three lines", || lines(&path("out.txt")) == 3);

    // A second sink, of the same topic, by REST.
    let body = json!({ "name": "again", "config": sink("lines", "again.txt") }).to_string();
    let (created, info) = request(&rest, "POST", "/connectors", &body);
    assert_eq!((created, &info["type"]), (201, &json!("sink")));
    until("the second sink", || lines(&path("again.txt")) == 3);
    assert_eq!(get(&rest, "/connectors/again/topics")["again"]["topics"], json!(["lines"]));
    assert_eq!(request(&rest, "DELETE", "/connectors/again", "").0, 204);
    assert_eq!(request(&rest, "GET", "/connectors/again", "").0, 404);
    let long = "x".repeat(64 << 20);
    assert_eq!(request(&rest, "POST", "/connectors", &long).0, 413);

    let (status, _, stderr) = worker.interrupt();
    assert_eq!(status, Some(0), "{stderr:#?}");
    assert_eq!(stderr.last().unwrap(), "stopped in order");
    assert!(!stderr.iter().any(|line| line.contains("s3cret")), "{stderr:#?}");

    // Started again, and by Kafka's name: it goes on where it was.
    fs::write(path("in.txt"), "one\ntwo\nthree\nfour\n").unwrap();
    let free = ["--data-dir", "data", "--listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0"];
    let words = [&["connect-standalone.sh"], &files[..], &free[..]].concat();
    let mut worker = Running::start(dir.path(), &words);
    worker.wait_stderr("→ look");
    until("four lines", || lines(&path("out.txt")) == 4);
    let (status, _, _) = worker.interrupt();
    assert_eq!((status, lines(&path("out.txt"))), (Some(0), 4));
}

#[test]
fn commands_look_after_a_worker() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("in.txt"), "1\n2\nx\n").unwrap();
    fs::write(
        path("numbers.toml"),
        "[connectors.numbers]
         connector.class = \"file-source\"
         file = \"in.txt\"
         topic = \"numbers\"
         transforms = \"cast\"
         \"transforms.cast.type\" = \"Cast$Value\"
         \"transforms.cast.spec\" = \"int32\"
         value.converter = \"JsonConverter\"
         tasks.restart.max = 0
        ",
    )
    .unwrap();
    let (worker, rest) = start(dir.path(), &[]);
    let url = format!("http://{rest}");
    let order = |words: &[&str]| {
        let all = [&["connect"], words, &["--url", &url]].concat();
        let output = finish(millstream(dir.path(), &all).stdin(Stdio::null()));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(order(&["list"]), (Some(0), String::new(), "no connectors\n".to_owned()));
    let created = order(&["create", "numbers.toml"]);
    assert_eq!(created, (Some(0), String::new(), "created connector 'numbers'\n".to_owned()));
    let failed = || get(&rest, "/connectors/numbers/status")["tasks"][0]["state"] == "FAILED";
    until("failed", failed);
    let (_, listed, _) = order(&["list"]);
    expect![[r#"
        NAME     TYPE    STATE   TASKS  CLASS
        numbers  source  FAILED      1  file-source
    "#]]
    .assert_eq(&listed);
    let (_, status, _) = order(&["status", "numbers"]);
    let status = status.replace(&rest, "127.0.0.1:8083");
    expect![[r#"
        NAME     TASK  STATE    RECORDS  SKIPPED  WORKER
        numbers        RUNNING                    127.0.0.1:8083
        numbers     0  FAILED         0        0  127.0.0.1:8083
        numbers, task 0: record for 'numbers': transform 'cast': 'x' is no int32; with errors.tolerance=all such records are skipped and counted
    "#]]
    .assert_eq(&status);
    let (code, config, _) = order(&["config", "numbers", "--set", "errors.tolerance=all"]);
    assert_eq!(code, Some(0));
    assert!(config.contains("errors.tolerance=all\n"), "{config}");
    let moved = || get(&rest, "/connectors/numbers/status")["tasks"][0]["records"] == 2;
    until("two records", moved);
    let (code, _, told) = order(&["stop"]);
    assert_eq!((code, told.as_str()), (Some(0), "stopped connector 'numbers'\n"));
    let (_, offsets, _) = order(&["offsets", "numbers"]);
    assert!(offsets.starts_with(r#"{"filename":"in.txt"} {"#), "{offsets}");
    assert_eq!(order(&["offsets", "numbers", "--reset"]).0, Some(0));
    assert_eq!(order(&["offsets", "numbers"]).1, "");
    assert_eq!(order(&["delete", "numbers"]).0, Some(0));
    let (code, _, told) = order(&["delete", "numbers"]);
    expect![[r#"
        error: connector 'numbers' does not exist
          help: `millstream connect list` shows which there are
    "#]]
    .assert_eq(&told);
    assert_eq!(code, Some(1));
    assert_eq!(worker.interrupt().0, Some(0));
}

#[test]
fn sql_chooses_and_changes_records_on_their_way() {
    let dir = tempfile::tempdir().unwrap();
    let lines = "{\"id\":1,\"n\":2}\n{\"id\":2,\"n\":-1}\n{\"id\":3,\"n\":5,\"more\":[1]}\n";
    fs::write(dir.path().join("in.jsonl"), lines).unwrap();
    let of = |sql: &str| {
        format!(
            "name=in\nconnector.class=file-source\nfile=in.jsonl\ntopic=t\nformat=json\n\
             value.converter=JsonConverter\nvalue.converter.schemas.enable=false\n\
             transforms=sql\ntransforms.sql.type=Sql$Value\ntransforms.sql.sql={sql}\n"
        )
    };
    let sql = "SELECT *, n * 10 AS ten FROM record WHERE n > 0";
    fs::write(dir.path().join("in.properties"), of(sql)).unwrap();
    let (worker, rest) = start(dir.path(), &["in.properties"]);
    until("two records", || get(&rest, "/connectors/in/status")["tasks"][0]["records"] == 2);
    assert_eq!(worker.interrupt().0, Some(0));
    let read = ["consume", "t", "--data-dir", "data", "--until-end"];
    let read = String::from_utf8(succeed(dir.path(), &read).stdout).unwrap();
    expect![[r#"
        {"id":1,"n":2,"ten":20}
        {"id":3,"n":5,"more":[1],"ten":50}
    "#]]
    .assert_eq(&read);
    fs::write(dir.path().join("in.properties"), of("SELECT cuont(*) FROM record")).unwrap();
    let lint = ["connect", "lint", "in.properties"];
    let output = finish(millstream(dir.path(), &lint).stdin(Stdio::null()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("there is no function 'cuont': did you mean 'count'?"), "{told}");
}

/// RUNNING means that it makes progress: who waits for a service that does not answer is shown.
#[test]
fn a_task_that_is_stuck_is_degraded_until_it_moves() {
    let dir = tempfile::tempdir().unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", service.local_addr().unwrap());
    fs::write(dir.path().join("in.txt"), "1\n").unwrap();
    let source = "name=in\nconnector.class=FileStreamSource\nfile=in.txt\ntopic=t\n";
    fs::write(dir.path().join("in.properties"), source).unwrap();
    let sink = format!(
        "name=out\nconnector.class=http-sink\ntopics=t\nhttp.url={url}\n\
         task.liveness.timeout.ms=200\n"
    );
    fs::write(dir.path().join("out.properties"), sink).unwrap();
    let (worker, rest) = start(dir.path(), &["in.properties", "out.properties"]);
    let (mut called, _) = service.accept().unwrap();
    let task = || get(&rest, "/connectors/out/status")["tasks"][0].clone();
    until("stuck", || task()["state"] == "DEGRADED");
    assert_eq!(task()["records"], 0);
    let listed = succeed(dir.path(), &["connect", "list", "--url", &format!("http://{rest}")]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.lines().any(|line| line.starts_with("out ") && line.contains("DEGRADED")));
    // Its body is the last of the request.
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n1") {
        let mut byte = [0];
        called.read_exact(&mut byte).unwrap();
        request.push(byte[0]);
    }
    called.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    until("delivered", || task()["state"] == "RUNNING" && task()["records"] == 1);
    assert_eq!(worker.interrupt().0, Some(0));
}

#[test]
fn mistakes_are_shown_at_once_and_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("a.properties"),
        "name=a\nconnector.class=FileStreamSource\nfile=f\n",
    )
    .unwrap();
    let broken = r#"{"name": "b", "config": {"connector.class": "FileStreamSnik"}}"#;
    fs::write(dir.path().join("b.json"), broken).unwrap();
    for words in [&["connect", "lint"][..], &["connect"]] {
        let all = [words, &["a.properties", "b.json"]].concat();
        let output = finish(millstream(dir.path(), &all).stdin(Stdio::null()));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        for part in ["`topic` is missing", "FileStreamSnik", "did you mean `FileStreamSink`?"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!dir.path().join(".millstream").exists());
    }
    let right = succeed(dir.path(), &["connect", "plugins", "file-source"]);
    let right = String::from_utf8(right.stdout).unwrap();
    assert!(right.contains("tasks.restart.max   whole number from 0 to 1000000, by default 5"));
}

#[test]
fn a_worker_uses_the_broker_that_its_file_names() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    fs::write(dir.path().join("w.properties"), format!("bootstrap.servers={address}\n")).unwrap();
    fs::write(dir.path().join("in.txt"), "hello\n").unwrap();
    let source = "name=in\nconnector.class=FileStreamSource\nfile=in.txt\ntopic=t\n";
    fs::write(dir.path().join("in.properties"), source).unwrap();
    let files = ["connect", "w.properties", "in.properties", "--rest-listen", "127.0.0.1:0"];
    let mut worker = Running::start(dir.path(), &files);
    assert_eq!(worker.address(), address);
    worker.wait_stderr("→ look");
    let words = ["consume", "t", "--until-end", "--bootstrap-server", &address];
    until("the line", || finish(&mut millstream(dir.path(), &words)).stdout == b"hello\n");
    assert_eq!(worker.interrupt().0, Some(0));
    // Where nobody is any more, it starts a broker itself.
    assert_eq!(broker.interrupt().0, Some(0));
    let files = ["connect", "w.properties", "in.properties", "--rest-listen", "127.0.0.1:0"];
    let all = [&files[..], &["--data-dir", "data"]].concat();
    let mut worker = Running::start(dir.path(), &all);
    assert_eq!(worker.address(), address);
    assert_eq!(worker.interrupt().0, Some(0));
}

/// Made-up records go out by HTTP and come in by HTTP, through a worker that is killed: each comes
/// at least once, none with another's key.
#[test]
fn records_go_round_by_http_and_none_is_lost_when_the_worker_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let file = format!(
        r#"[connectors.made]
        connector.class = "generator-source"
        topic = "made"
        generator.fields = "id:sequence, name:text(5)"
        rate = 2000
        count = 3000

        [connectors.out]
        connector.class = "http-sink"
        topics = "made"
        services = ["all", "tenth"]
        service.all.http.url = "http://127.0.0.1:{port}/in"
        service.tenth.http.url = "http://127.0.0.1:{port}/in"
        service.tenth.condition = "value.name =~ '[ab].*'"
        http.headers.additional = "X-Id:{{{{value.id}}}}"
        retry.backoff.ms = 20
        max.retries = -1

        [connectors.in]
        connector.class = "http-source"
        topic = "in"
        http.listen = "127.0.0.1:{port}"
        http.path = "/in"
        record.key = "{{{{header.X-Id}}}}"

        [connectors.file]
        connector.class = "file-sink"
        topics = "in"
        file = "out.txt"
        "#
    );
    fs::write(dir.path().join("round.toml"), file).unwrap();
    let lines = || {
        let text = fs::read_to_string(dir.path().join("out.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>().len()
    };
    for part in [600, 1500] {
        let (worker, _) = start(dir.path(), &["round.toml"]);
        until("a part of them", || lines() >= part);
        worker.kill();
    }
    let (worker, _) = start(dir.path(), &["round.toml"]);
    until("all of them", || lines() == 3000);
    assert_eq!(worker.interrupt().0, Some(0));
}

#[test]
fn the_checklist_says_where_connectors_read_and_write() {
    let dir = tempfile::tempdir().unwrap();
    let lake =
        "name=lake\nconnector.class=file-sink\ntopics=a,b\ndirectory=out/lake\nformat=parquet\n";
    fs::write(dir.path().join("lake.properties"), lake).unwrap();
    let source = "name=lines\nconnector.class=file-source\ntopic=a\nfile=in/*.jsonl\n";
    fs::write(dir.path().join("lines.properties"), source).unwrap();
    let free = ["--data-dir", "data", "--listen", "127.0.0.1:0", "--rest-listen", "127.0.0.1:0"];
    let files = ["connect", "lake.properties", "lines.properties"];
    let mut worker = Running::start(dir.path(), &[&files, &free[..]].concat());
    for line in ["✓ connector   lake: a, b → out/lake/", "✓ connector   lines: in/*.jsonl → a"]
    {
        assert_eq!(worker.wait_stderr("✓ connector").trim(), line);
    }
    assert_eq!(worker.interrupt().0, Some(0));
}

/// The properties of a group's workers.
fn worker_of(address: &str, group: &str) -> String {
    format!(
        "bootstrap.servers={address}\ngroup.id={group}\nsession.timeout.ms=6000\n\
         config.storage.topic={group}-configs\noffset.storage.topic={group}-offsets\n\
         offset.storage.partitions=3\nstatus.storage.topic={group}-status\n"
    )
}

/// A worker of a group, by Kafka's name for it, and its REST API's address.
fn member(dir: &Path, file: &str) -> (Running, String) {
    let words = ["connect-distributed.sh", file, "--rest-listen", "127.0.0.1:0"];
    let mut worker = Running::start(dir, &words);
    let line = worker.wait_stderr("✓ rest");
    let address = line.rsplit("http://").next().unwrap().to_owned();
    worker.wait_stderr("→ look");
    (worker, address)
}

/// Who runs tasks that are RUNNING, as that worker tells it.
fn workers_of(rest: &str, connectors: &[String]) -> Vec<String> {
    let all = get(rest, "/connectors?expand=status");
    let mut ids = Vec::new();
    for name in connectors {
        for task in all[name]["status"]["tasks"].as_array().into_iter().flatten() {
            if task["state"] == "RUNNING" {
                ids.push(task["worker_id"].as_str().unwrap().to_owned());
            }
        }
    }
    ids
}

/// Workers in processes of their own share what sources make and a sink writes, while one is
/// killed, one ends in order and another comes: each record is there once.
fn share_connectors(address: &str, group: &str) {
    let dir = tempfile::tempdir().unwrap();
    let count = 1500;
    fs::write(dir.path().join("w.properties"), worker_of(address, group)).unwrap();
    let (first, first_rest) = member(dir.path(), "w.properties");
    let sources: Vec<String> = (0..4).map(|number| format!("{group}-m{number}")).collect();
    for name in &sources {
        let config = json!({
            "connector.class": "generator-source", "topic": name, "rate": "250",
            "generator.fields": "id:sequence", "count": count.to_string(),
            "tasks.restart.backoff.ms": "100",
        });
        let body = json!({ "name": name, "config": config }).to_string();
        let (created, answer) = request(&first_rest, "POST", "/connectors", &body);
        assert_eq!(created, 201, "{answer}");
    }
    let all = sources.join(",");
    let out = format!("{group}-out");
    let sink = sink(&all, "out.txt").to_string();
    let path = format!("/connectors/{out}/config");
    assert_eq!(request(&first_rest, "PUT", &path, &sink).0, 201);

    let (second, second_rest) = member(dir.path(), "w.properties");
    let (third, third_rest) = member(dir.path(), "w.properties");
    let everyone = [sources.clone(), vec![out.clone()]].concat();
    let spread = |rest: &str, workers: &[&String]| {
        let ids = workers_of(rest, &everyone);
        ids.len() == 5 && workers.iter().all(|id| ids.contains(id))
    };
    let three = [&first_rest, &second_rest, &third_rest];
    until("three workers have tasks", || spread(&third_rest, &three));
    // An order to one is carried out by another.
    let pause = |what: &str| format!("/connectors/{}/{what}", sources[0]);
    assert_eq!(request(&third_rest, "PUT", &pause("pause"), "").0, 202);
    let state = |rest: &str| get(rest, &pause("status"))["tasks"][0]["state"].clone();
    until("it is paused", || state(&second_rest) == "PAUSED");
    assert_eq!(request(&second_rest, "PUT", &pause("resume"), "").0, 202);
    // So is one to all of them.
    let logger = "/admin/loggers/connectors::generator";
    let everywhere = format!("{logger}?scope=cluster");
    assert_eq!(request(&second_rest, "PUT", &everywhere, r#"{"level":"debug"}"#).0, 204);
    until("all log more", || three.iter().all(|rest| get(rest, logger)["level"] == "DEBUG"));

    second.kill();
    let two = [&first_rest, &third_rest];
    until("the others have its tasks", || spread(&third_rest, &two));
    assert_eq!(first.interrupt().0, Some(0));
    let (fourth, fourth_rest) = member(dir.path(), "w.properties");
    let two = [&third_rest, &fourth_rest];
    until("a newcomer has tasks", || spread(&fourth_rest, &two));
    let out = dir.path().join("out.txt");
    until("all records", || lines(&out) >= 4 * count);
    assert_eq!(third.interrupt().0, Some(0));
    assert_eq!(fourth.interrupt().0, Some(0));
    let mut times = std::collections::BTreeMap::new();
    for line in fs::read_to_string(&out).unwrap().lines() {
        *times.entry(line.to_owned()).or_insert(0) += 1;
    }
    let wrong: Vec<_> = times.iter().filter(|(_, times)| **times != 4).collect();
    assert!(wrong.is_empty() && times.len() == count, "{} ids, {wrong:?}", times.len());
}

#[test]
fn workers_share_connectors() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    share_connectors(&address, "here");
    assert_eq!(broker.interrupt().0, Some(0));
}

#[test]
fn workers_share_connectors_on_kafka() {
    let Some(kafka) = kafka::kafka() else { return };
    share_connectors(&kafka.address, "there");
}

/// A program that writes down what it is given, in a file of its own.
const WRITER: &str = "import json, os, sys
out = None
for line in sys.stdin:
    said = json.loads(line)
    if said['type'] == 'start':
        out = open(f\"out-{said['task']}-{os.getppid()}.txt\", 'a')
    elif said['type'] == 'record':
        print(said['topic'], said['value'], file=out)
    elif said['type'] == 'flush':
        out.flush()
        print(json.dumps({'type': 'flushed', 'id': said['id']}), flush=True)
";

/// Lines of all files that were written, each once, and by how many workers' tasks.
fn written(dir: &Path) -> (std::collections::BTreeSet<String>, usize) {
    let mut lines = std::collections::BTreeSet::new();
    let mut workers = std::collections::BTreeSet::new();
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if let Some((_, worker)) = name.strip_prefix("out-").and_then(|it| it.split_once('-')) {
            let text = fs::read_to_string(&path).unwrap();
            if !text.is_empty() {
                workers.insert(worker.to_owned());
            }
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    (lines, workers.len())
}

/// The tasks of one sink, in processes of their own, share the partitions of all topics that match,
/// one that comes later among them; what is there is written whoever is killed.
fn share_sink_tasks(address: &str, group: &str) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("w.properties"), worker_of(address, group)).unwrap();
    fs::write(dir.path().join("writer.py"), WRITER).unwrap();
    let at = ["--bootstrap-server", address];
    let topic = |name: &str| format!("{group}-in-{name}");
    let create = |name: &str| {
        let words = ["topics", "create", &topic(name), "--partitions", "4"];
        succeed(dir.path(), &[&words[..], &at[..]].concat());
    };
    let produce = |name: &str, from: usize| {
        let lines: String = (from..from + 100).map(|n| format!("key {n}:{n}\n")).collect();
        let words = ["produce", &topic(name), "--key-separator", ":"];
        succeed_with(dir.path(), &[&words[..], &at[..]].concat(), &lines);
    };
    create("a");
    // One that does not match.
    succeed(dir.path(), &[&["topics", "create", &format!("{group}-other")], &at[..]].concat());
    let (first, rest) = member(dir.path(), "w.properties");
    let (second, second_rest) = member(dir.path(), "w.properties");
    let name = format!("{group}-sink");
    let config = json!({
        "connector.class": "process-sink", "process.command": "python3 writer.py",
        "topics.regex": format!("{group}-in-.*"), "tasks.max": "4", "metadata.max.age.ms": "200",
    });
    let path = format!("/connectors/{name}/config");
    let (created, answer) = request(&rest, "PUT", &path, &config.to_string());
    assert_eq!(created, 201, "{answer}");
    let names = [name];
    until("each has two of the tasks", || {
        let ids = workers_of(&rest, &names);
        [&rest, &second_rest].iter().all(|id| ids.iter().filter(|of| of == id).count() == 2)
    });
    produce("a", 0);
    until("the topic that was there", || written(dir.path()).0.len() == 100);
    create("b");
    produce("b", 0);
    until("one that has come", || written(dir.path()).0.len() == 200);
    assert_eq!(written(dir.path()).1, 2, "both workers' tasks have written");
    second.kill();
    produce("a", 100);
    produce("b", 100);
    // Its tasks are members of the sink's group too, which takes them for dead when the workers'
    // does: waiting for 45 s as Kafka's consumers do would take longer than this has patience for.
    until_within(Duration::from_secs(40), "what it had", || written(dir.path()).0.len() == 400);
    until("four tasks of one", || workers_of(&rest, &names) == vec![rest.clone(); 4]);
    let topics = get(&rest, &format!("/connectors/{}/topics", names[0]));
    assert_eq!(topics[&names[0]]["topics"], json!([topic("a"), topic("b")]));
    assert_eq!(first.interrupt().0, Some(0));
}

#[test]
fn workers_share_the_tasks_of_a_sink() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    share_sink_tasks(&address, "here");
    assert_eq!(broker.interrupt().0, Some(0));
}

#[test]
fn workers_share_the_tasks_of_a_sink_on_kafka() {
    let Some(kafka) = kafka::kafka() else { return };
    share_sink_tasks(&kafka.address, "sinks");
}

/// A worker that is alone was killed: its sink's partitions stayed with it for the 45 s that Kafka's
/// consumers have, whatever the connector's file said, and another worker waited.
#[test]
fn a_sinks_partitions_are_free_when_its_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    let worker = |number: usize| {
        let sink = format!(
            "name=out\nconnector.class=file-sink\ntopics=t\nfile=out-{number}.txt\n\
             consumer.override.session.timeout.ms=6000\n"
        );
        let file = format!("{number}.properties");
        fs::write(dir.path().join(&file), sink).unwrap();
        let at = ["--bootstrap-server", &address, "--rest-listen", "127.0.0.1:0"];
        Running::start(dir.path(), &[&["connect", &file], &at[..]].concat())
    };
    let produce = |line: &str| {
        let words = ["produce", "t", "--bootstrap-server", &address];
        succeed_with(dir.path(), &words, line);
    };
    let first = worker(1);
    produce("one\n");
    until("the first writes", || lines(&dir.path().join("out-1.txt")) == 1);
    first.kill();
    let second = worker(2);
    produce("two\n");
    // The first may not have committed what it wrote.
    until_within(Duration::from_secs(30), "the second does", || {
        let written = fs::read_to_string(dir.path().join("out-2.txt"));
        written.is_ok_and(|text| text.ends_with("two\n"))
    });
    assert_eq!(second.interrupt().0, Some(0));
    assert_eq!(broker.interrupt().0, Some(0));
}

/// It waited without end for its broker to take that its tasks had stopped.
#[test]
fn a_worker_of_a_group_ends_though_its_broker_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    let properties = worker_of(&address, "left") + "task.shutdown.graceful.timeout.ms=500\n";
    fs::write(dir.path().join("worker.properties"), properties).unwrap();
    let (worker, rest) = member(dir.path(), "worker.properties");
    for (name, config) in [
        (
            "made",
            json!({ "connector.class": "generator-source", "topic": "t", "rate": "100",
                         "generator.fields": "id:sequence" }),
        ),
        ("out", sink("t", "out.txt")),
    ] {
        let config = json!({ "name": name, "config": config }).to_string();
        assert_eq!(request(&rest, "POST", "/connectors", &config).0, 201);
    }
    until("records are written", || lines(&dir.path().join("out.txt")) > 100);
    broker.kill();
    let (status, _, told) = worker.interrupt();
    assert_eq!(status, Some(0), "{told:#?}");
}

/// A sink that begins at the end of what it has not read began at the beginning.
#[test]
fn offsets_that_are_deleted_are_those_of_a_new_sink() {
    let dir = tempfile::tempdir().unwrap();
    let (worker, rest) = start(dir.path(), &[]);
    succeed_with(dir.path(), &["produce", "t", "--data-dir", "data"], "1\n2\n3\n");
    for (reset, offset) in [("latest", 3), ("earliest", 0)] {
        let mut config = sink("t", &format!("{reset}.txt"));
        config["consumer.override.auto.offset.reset"] = json!(reset);
        let config = json!({ "name": reset, "config": config, "initial_state": "STOPPED" });
        assert_eq!(request(&rest, "POST", "/connectors", &config.to_string()).0, 201);
        let path = format!("/connectors/{reset}/offsets");
        until("it is reset", || request(&rest, "DELETE", &path, "").0 == 200);
        let offsets = get(&rest, &path);
        assert_eq!(offsets["offsets"][0]["offset"], json!({ "kafka_offset": offset }));
    }
    assert_eq!(worker.interrupt().0, Some(0));
}

/// Two machines where the REST API is served at 127.0.0.1: both workers have one name.
#[test]
fn workers_of_one_name_are_told_and_work() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    let same = "rest.advertised.host.name=localhost\nrest.advertised.port=8083\n";
    fs::write(dir.path().join("w.properties"), worker_of(&address, "g") + same).unwrap();
    let (mut first, rest) = member(dir.path(), "w.properties");
    let sources: Vec<String> = (0..4).map(|number| format!("m{number}")).collect();
    for name in &sources {
        let config = json!({
            "connector.class": "generator-source", "topic": name, "rate": "100",
            "generator.fields": "id:sequence",
        });
        let path = format!("/connectors/{name}/config");
        assert_eq!(request(&rest, "PUT", &path, &config.to_string()).0, 201);
    }
    until("four tasks", || workers_of(&rest, &sources) == vec!["localhost:8083"; 4]);
    let (mut second, _) = member(dir.path(), "w.properties");
    for worker in [&mut first, &mut second] {
        let told = worker.wait_stderr("calls itself localhost:8083 too");
        assert!(told.contains("rest.advertised.host.name"), "{told}");
    }
    let records = || {
        let all = get(&rest, "/connectors?expand=status");
        let of = |name: &String| all[name]["status"]["tasks"][0]["records"].as_u64().unwrap_or(0);
        sources.iter().map(of).collect::<Vec<_>>()
    };
    let before = records();
    until("all go on", || records().iter().zip(&before).all(|(now, before)| now > before));
    for worker in [first, second] {
        let (status, _, said) = worker.interrupt();
        let told = said.iter().filter(|line| line.contains("calls itself")).count();
        assert!(status == Some(0) && told < 10, "they share out without end: {said:#?}");
    }
    assert_eq!(broker.interrupt().0, Some(0));
}
