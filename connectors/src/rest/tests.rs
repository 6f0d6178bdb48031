//! The shapes of answers, by a herder on a broker of this process.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use expect_test::{Expect, expect};

use super::*;
use crate::herder::{HerderOptions, Standalone, TaskState};
use crate::worker::WorkerOptions;

/// A herder, what is around it, and the directives that its logs follow.
struct Api(Standalone, About, Arc<Mutex<String>>);

impl Api {
    async fn new(dir: &Path) -> Api {
        let broker = Broker::open(BrokerConfig::new(dir.join("data"))).await.unwrap();
        let options = HerderOptions {
            worker: BTreeMap::new(),
            base_dir: dir.to_owned(),
            worker_id: "worker:8083".to_owned(),
            options: WorkerOptions {
                commit_interval: Duration::from_millis(1),
                ..WorkerOptions::default()
            },
            graceful: Duration::from_secs(5),
        };
        let followed = Arc::new(Mutex::new(String::new()));
        let following = followed.clone();
        let follow = move |directives: &str| {
            *following.lock().unwrap() = directives.to_owned();
            match directives.contains("engine=trace") {
                true => Err("engine: not that much".to_owned()),
                false => Ok(()),
            }
        };
        let loggers = Loggers::new("warn,broker=info", follow);
        let about = About { cluster_id: "cluster".to_owned(), loggers };
        Api(Standalone::new(Arc::new(EmbeddedClient::new(broker)), options), about, followed)
    }

    async fn ask(&self, method: &str, target: &str, body: &str) -> Answer {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let target = RequestTarget::new(path, query);
        let (content_type, body) = (Some("application/json"), body.as_bytes());
        let request = Request { method, target, content_type, body, served: Served::ALL };
        answer(&self.0, &self.1, request).await
    }

    async fn shows(&self, method: &str, target: &str, body: &str, expected: Expect) {
        let Answer { status, body, location } = self.ask(method, target, body).await;
        let location = location.map_or(String::new(), |location| format!(" at {location}"));
        let body = body.map_or("nothing".to_owned(), |body| body.to_string());
        expected.assert_eq(&format!("{status}{location} {body}"));
    }

    async fn until(&self, name: &str, holds: impl Fn(&crate::herder::View) -> bool) {
        let mut view = self.0.watch(name).unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(60), view.wait_for(|it| holds(it)));
        waited.await.expect("in time").unwrap();
    }
}

fn source(dir: &Path, file: &str, lines: &[&str]) -> String {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(dir.join(file), text).unwrap();
    json!({
        "name": "lines",
        "config": { "connector.class": "FileStreamSource", "file": file, "topic": "t" },
    })
    .to_string()
}

#[tokio::test]
async fn a_connector_lives_as_in_kafka_connect() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    api.shows("GET", "/connectors", "", expect!["200 []"]).await;
    let body = source(dir.path(), "in.txt", &["a", "b"]);
    api.shows("POST", "/connectors", &body, expect![[r#"201 at /connectors/lines {"config":{"connector.class":"FileStreamSource","file":"in.txt","name":"lines","topic":"t"},"name":"lines","tasks":[{"connector":"lines","task":0}],"type":"source"}"#]]).await;
    api.shows(
        "POST",
        "/connectors",
        &body,
        expect![[r#"409 {"error_code":409,"message":"connector 'lines' exists already"}"#]],
    )
    .await;
    api.until("lines", |view| view.tasks[0].records == 2).await;
    api.shows("GET", "/connectors/lines/status", "", expect![[r#"200 {"connector":{"state":"RUNNING","version":"0.1.0","worker_id":"worker:8083"},"name":"lines","tasks":[{"id":0,"records":2,"skipped":0,"state":"RUNNING","version":"0.1.0","worker_id":"worker:8083"}],"type":"source"}"#]]).await;
    api.shows(
        "GET",
        "/connectors/lines/topics",
        "",
        expect![[r#"200 {"lines":{"topics":["t"]}}"#]],
    )
    .await;
    api.shows("GET", "/connectors/lines/tasks", "", expect![[r#"200 [{"config":{"connector.class":"FileStreamSource","file":"in.txt","name":"lines","task.id":"0","topic":"t"},"id":{"connector":"lines","task":0}}]"#]]).await;
    api.shows("GET", "/connectors?expand=status", "", expect![[r#"200 {"lines":{"status":{"connector":{"state":"RUNNING","version":"0.1.0","worker_id":"worker:8083"},"name":"lines","tasks":[{"id":0,"records":2,"skipped":0,"state":"RUNNING","version":"0.1.0","worker_id":"worker:8083"}],"type":"source"}}}"#]]).await;
    api.shows("PUT", "/connectors/lines/pause", "", expect!["202 nothing"]).await;
    api.shows("GET", "/connectors/lines/tasks/0/status", "", expect![[r#"200 {"id":0,"records":2,"skipped":0,"state":"PAUSED","version":"0.1.0","worker_id":"worker:8083"}"#]]).await;
    api.shows("PUT", "/connectors/lines/stop", "", expect!["204 nothing"]).await;
    api.shows("GET", "/connectors/lines/status", "", expect![[r#"200 {"connector":{"state":"STOPPED","version":"0.1.0","worker_id":"worker:8083"},"name":"lines","tasks":[],"type":"source"}"#]]).await;
    api.shows("PUT", "/connectors/lines/resume", "", expect!["202 nothing"]).await;
    api.until("lines", |view| view.tasks[0].state == TaskState::Running).await;
    api.shows("POST", "/connectors/lines/restart", "", expect!["204 nothing"]).await;
    let restart = api.ask("POST", "/connectors/lines/restart?includeTasks=true", "").await;
    assert_eq!(restart.status, 202);
    api.shows("POST", "/connectors/lines/tasks/0/restart", "", expect!["204 nothing"]).await;
    api.shows(
        "POST",
        "/connectors/lines/tasks/7/restart",
        "",
        expect![[r#"404 {"error_code":404,"message":"connector 'lines' has no task 7"}"#]],
    )
    .await;
    let change = r#"{"batch.size": "7", "topic": null, "topic": "t"}"#;
    api.shows("PATCH", "/connectors/lines/config", change, expect![[r#"200 {"config":{"batch.size":"7","connector.class":"FileStreamSource","file":"in.txt","name":"lines","topic":"t"},"name":"lines","tasks":[{"connector":"lines","task":0}],"type":"source"}"#]]).await;
    api.shows("GET", "/connectors/lines/config", "", expect![[r#"200 {"batch.size":"7","connector.class":"FileStreamSource","file":"in.txt","name":"lines","topic":"t"}"#]]).await;
    api.shows("PUT", "/connectors/lines/topics/reset", "", expect!["200 nothing"]).await;
    api.shows("DELETE", "/connectors/lines", "", expect!["204 nothing"]).await;
    api.shows(
        "GET",
        "/connectors/lines",
        "",
        expect![[r#"404 {"error_code":404,"message":"connector 'lines' does not exist"}"#]],
    )
    .await;
    api.0.shutdown().await;
}

#[tokio::test]
async fn offsets_are_shown_altered_and_reset() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    let body = source(dir.path(), "in.txt", &["a", "b", "c"]);
    api.ask("POST", "/connectors", &body).await;
    api.until("lines", |view| view.tasks[0].records == 3).await;
    let to_b = r#"{"offsets":[{"partition":{"filename":"in.txt"},"offset":{"position":2}}]}"#;
    api.shows("PATCH", "/connectors/lines/offsets", to_b, expect![[r#"400 {"error_code":400,"message":"connectors must be in the STOPPED state before their offsets can be modified; for this one: PUT /connectors/lines/stop"}"#]]).await;
    api.ask("PUT", "/connectors/lines/stop", "").await;
    let offsets = api.ask("GET", "/connectors/lines/offsets", "").await.body.unwrap();
    assert_eq!(offsets["offsets"][0]["partition"], json!({ "filename": "in.txt" }));
    assert_eq!(offsets["offsets"][0]["offset"]["position"], 6);
    api.shows(
        "PATCH",
        "/connectors/lines/offsets",
        to_b,
        expect![[
            r#"200 {"message":"The offsets for this connector have been altered successfully"}"#
        ]],
    )
    .await;
    // What the source could not go on from: it would begin anew, and all come again.
    let nonsense = [
        (r#"{"filenam":"in.txt"}"#, r#"{"position":2}"#),
        (r#"{"filename":"other.txt"}"#, r#"{"position":2}"#),
        (r#"{"filename":"in.txt"}"#, r#"{"position":"x"}"#),
        (r#"{"filename":"in.txt"}"#, r#"{"position":-5}"#),
        (r#"{"filename":"in.txt"}"#, r#"{"pos":5}"#),
        (r#""in.txt""#, r#"{"position":5}"#),
    ];
    let mut told = String::new();
    for (partition, offset) in nonsense {
        let body = format!(r#"{{"offsets":[{{"partition":{partition},"offset":{offset}}}]}}"#);
        let Answer { status, body, .. } =
            api.ask("PATCH", "/connectors/lines/offsets", &body).await;
        told.push_str(&format!("{status} {}\n", body.unwrap()["message"].as_str().unwrap()));
    }
    expect![[r#"
        400 partition {"filenam":"in.txt"} has no text `filename`; GET /connectors/lines/offsets shows those that there are
        400 partition {"filename":"other.txt"}: the connector reads `filename` 'in.txt'
        400 `position` of 'in.txt' is "x": it is a whole number of bytes, at least 0
        400 `position` of 'in.txt' is -5: it is a whole number of bytes, at least 0
        400 offset {"pos":5} of 'in.txt' has no `position`: it is a whole number of bytes, at least 0
        400 partition "in.txt" has no text `filename`; GET /connectors/lines/offsets shows those that there are
    "#]]
    .assert_eq(&told);
    // What is wrong already may be forgotten.
    let forget = r#"{"offsets":[{"partition":{"filenam":"in.txt"},"offset":null}]}"#;
    assert_eq!(api.ask("PATCH", "/connectors/lines/offsets", forget).await.status, 200);
    api.ask("PUT", "/connectors/lines/resume", "").await;
    // The three from before, and two of them again.
    api.until("lines", |view| view.tasks.iter().any(|task| task.records == 5)).await;
    api.ask("PUT", "/connectors/lines/stop", "").await;
    api.shows(
        "DELETE",
        "/connectors/lines/offsets",
        "",
        expect![[
            r#"200 {"message":"The offsets for this connector have been reset successfully"}"#
        ]],
    )
    .await;
    api.shows("GET", "/connectors/lines/offsets", "", expect![[r#"200 {"offsets":[]}"#]]).await;

    let config = r#"{"connector.class":"FileStreamSink","topics":"t","file":"out.txt"}"#;
    api.ask("PUT", "/connectors/out/config", config).await;
    api.until("out", |view| view.tasks[0].records == 5).await;
    api.ask("PUT", "/connectors/out/stop", "").await;
    api.shows("GET", "/connectors/out/offsets", "", expect![[r#"200 {"offsets":[{"offset":{"kafka_offset":7},"partition":{"kafka_partition":0,"kafka_topic":"t"}}]}"#]]).await;
    let back = r#"{"offsets":[{"partition":{"kafka_topic":"t","kafka_partition":0},"offset":{"kafka_offset":1}}]}"#;
    let altered = api.ask("PATCH", "/connectors/out/offsets", back).await;
    assert_eq!(altered.status, 200, "{altered:?}");
    api.ask("PUT", "/connectors/out/resume", "").await;
    api.until("out", |view| view.tasks.iter().any(|task| task.records == 9)).await;
    api.0.shutdown().await;
    let written = std::fs::read_to_string(dir.path().join("out.txt")).unwrap();
    assert_eq!(written, "a\nb\nc\nb\nc\nb\nc\nb\nc\n");
}

/// Clients write `"tasks.max": 1`, and Kafka Connect takes it.
#[tokio::test]
async fn numbers_and_booleans_are_texts_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    let config = |more: &str| {
        format!(r#"{{"connector.class": "FileStreamSource", "file": "f", "topic": "t", {more}}}"#)
    };
    let create = |more: &str| format!(r#"{{"name": "c", "config": {}}}"#, config(more));
    let more = r#""tasks.max": 1, "decompress": false, "batch.size": null"#;
    assert_eq!(api.ask("POST", "/connectors", &create(more)).await.status, 201);
    let put = config(r#""tasks.max": 2, "batch.size": 12345678901234567890"#);
    let answer = api.ask("PUT", "/connectors/c/config", &put).await;
    assert!(answer.body.unwrap()["message"].as_str().unwrap().contains("12345678901234567890"));
    let put = config(r#""tasks.max": 2, "batch.size": 20"#);
    assert_eq!(api.ask("PUT", "/connectors/c/config", &put).await.status, 200);
    let patch = r#"{"batch.size": 30, "decompress": true, "tasks.max": null}"#;
    let target = "/connectors/c/config";
    api.shows("PATCH", target, patch, expect![[r#"200 {"config":{"batch.size":"30","connector.class":"FileStreamSource","decompress":"true","file":"f","name":"c","topic":"t"},"name":"c","tasks":[{"connector":"c","task":0}],"type":"source"}"#]]).await;
    let validate = "/connector-plugins/FileStreamSource/config/validate";
    let body = config(r#""name": "d", "tasks.max": 3"#);
    let answer = api.ask("PUT", validate, &body).await.body.unwrap();
    assert_eq!(answer["error_count"], 0, "{answer}");
    let nested = config(r#""transforms": ["a"], "x": {"type": "y"}"#);
    let message = || {
        expect![[
            r#"400 {"error_code":400,"message":"a property is a text, a number, true or false: `transforms` is an array, `x` is an object; write a list as one text, such as \"a,b\", and what belongs to a thing as keys with dots"}"#
        ]]
    };
    for (method, target) in [("PUT", target), ("PATCH", target), ("PUT", validate)] {
        api.shows(method, target, &nested, message()).await;
    }
    let nested = format!(r#"{{"name": "d", "config": {nested}}}"#);
    api.shows("POST", "/connectors", &nested, message()).await;
    let mistaken = r#"{"name": "d", "config": ["a"]}"#;
    assert_eq!(api.ask("POST", "/connectors", mistaken).await.status, 400);
}

#[tokio::test]
async fn mistakes_are_told_as_kafka_connect_does() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    api.shows(
        "GET",
        "/nothing",
        "",
        expect![[r#"404 {"error_code":404,"message":"HTTP 404 Not Found"}"#]],
    )
    .await;
    api.shows(
        "DELETE",
        "/connectors",
        "",
        expect![[r#"405 {"error_code":405,"message":"HTTP 405 Method Not Allowed"}"#]],
    )
    .await;
    api.shows("POST", "/connectors", "{", expect![[r#"400 {"error_code":400,"message":"the request's body is not as it should: EOF while parsing an object at line 1 column 1"}"#]]).await;
    let wrong = r#"{"name":"a","config":{"connector.class":"FileStreamSource","fil":"x"}}"#;
    api.shows("POST", "/connectors", wrong, expect![[r#"400 {"error_code":400,"message":"connector configuration is invalid and contains the following 3 error(s):\n`file` is missing: the file to read, a directory, a pattern (`logs/*.log`, `in/**`), or `-` for standard input; for example `file = data/flights.csv`\n`topic` is missing: the topic to write to, created if it does not exist; for example `topic = flights`\n`file-source` has no key `fil`; did you mean `file`?\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`"}"#]]).await;
    let config = r#"{"name":"a","connector.class":"FileStreamSink","topics":"t","file":"f/","transforms":"x"}"#;
    let path = "/connector-plugins/FileStreamSink/config/validate";
    let told = api.ask("PUT", path, config).await.body.unwrap();
    assert_eq!(told["error_count"], 2);
    let of = |name: &str| {
        let configs = told["configs"].as_array().unwrap();
        configs.iter().find(|one| one["value"]["name"] == name).unwrap().to_string()
    };
    expect![[r#"{"definition":{"default_value":null,"dependents":[],"display_name":"file","documentation":"The file to append to, created with its directories, or `-` for standard output","group":"Connector","importance":"MEDIUM","name":"file","order":23,"required":false,"type":"STRING","width":"NONE"},"value":{"errors":["`file` is a directory: 'f/'; name one file in it"],"name":"file","recommended_values":[],"value":"f/","visible":true}}"#]].assert_eq(&of("file"));
    expect![[r#"{"definition":null,"value":{"errors":["`transforms.x.type` is missing: it says what kind of transform this is; for example `transforms.x.type = org.apache.kafka.connect.transforms.Cast`"],"name":"transforms.x.type","recommended_values":[],"value":null,"visible":true}}"#]].assert_eq(&of("transforms.x.type"));
    let plugins = api.ask("GET", "/connector-plugins", "").await.body.unwrap();
    expect![[r#"{"class":"org.apache.kafka.connect.file.FileStreamSourceConnector","type":"source","version":"0.1.0"}"#]].assert_eq(&plugins[0].to_string());
    let all = api.ask("GET", "/connector-plugins?connectorsOnly=false", "").await.body.unwrap();
    assert!(all.as_array().unwrap().len() > plugins.as_array().unwrap().len() + 20);
    let keys = "/connector-plugins/org.apache.kafka.connect.transforms.HoistField$Value/config";
    api.shows("GET", keys, "", expect![[r#"200 [{"default_value":null,"dependents":[],"display_name":"field","documentation":"The name of the field","group":"Connector","importance":"HIGH","name":"field","order":1,"required":true,"type":"STRING","width":"NONE"}]"#]]).await;
}

#[tokio::test]
async fn levels_of_logs_are_shown_and_set() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    api.shows(
        "GET",
        "/admin/loggers",
        "",
        expect![[
            r#"200 {"broker":{"last_modified":null,"level":"INFO"},"connectors":{"last_modified":null,"level":"WARN"},"engine":{"last_modified":null,"level":"WARN"},"millstream":{"last_modified":null,"level":"WARN"},"root":{"last_modified":null,"level":"WARN"},"udfs":{"last_modified":null,"level":"WARN"}}"#
        ]],
    )
    .await;
    let debug = r#"{"level":"debug"}"#;
    let path = "/admin/loggers/org.apache.kafka.connect.runtime.WorkerSinkTask";
    api.shows("PUT", path, debug, expect![[r#"200 ["connectors"]"#]]).await;
    let root = "/admin/loggers/root";
    api.shows("PUT", &format!("{root}?scope=cluster"), debug, expect!["204 nothing"]).await;
    assert_eq!(*api.2.lock().unwrap(), "debug,broker=info,connectors=debug");
    for name in ["root", "connectors::file", "udfs"] {
        let answer = api.ask("GET", &format!("/admin/loggers/{name}"), "").await;
        let body = answer.body.unwrap();
        assert_eq!((answer.status, &body["level"]), (200, &json!("DEBUG")));
        assert_eq!(body["last_modified"].is_i64(), true);
    }
    let mut told = String::new();
    for (method, name, body) in [
        ("GET", "org.eclipse.jetty", ""),
        ("PUT", "org.eclipse.jetty", debug),
        ("PUT", "root", "{}"),
        ("PUT", "root", r#"{"level":"loud"}"#),
        ("PUT", "engine", r#"{"level":"TRACE"}"#),
        ("DELETE", "root", ""),
    ] {
        let answer = api.ask(method, &format!("/admin/loggers/{name}"), body).await;
        let message = answer.body.unwrap()["message"].as_str().unwrap().to_owned();
        told.push_str(&format!("{} {message}\n", answer.status));
    }
    expect![[r#"
        404 Logger org.eclipse.jetty not found.
        404 Logger org.eclipse.jetty not found.
        400 Desired 'level' parameter was not specified in request.
        404 invalid log level 'loud'; it is one of OFF, ERROR, WARN, INFO, DEBUG, TRACE
        400 engine: not that much
        405 HTTP 405 Method Not Allowed
    "#]]
    .assert_eq(&told);
    // What could not be followed is not said to be so.
    let engine = api.ask("GET", "/admin/loggers/engine", "").await;
    assert_eq!(engine.body.unwrap()["level"], "DEBUG");
}

#[tokio::test]
async fn a_failed_task_is_started_again_and_then_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    std::fs::write(dir.path().join("in.txt"), "1\nx\n").unwrap();
    let config = json!({
        "connector.class": "FileStreamSource", "file": "in.txt", "topic": "n",
        "transforms": "c", "transforms.c.type": "Cast$Value", "transforms.c.spec": "int32",
        "tasks.restart.max": "2", "tasks.restart.backoff.ms": "10",
    });
    api.ask("PUT", "/connectors/n/config", &config.to_string()).await;
    api.until("n", |view| view.tasks.iter().any(|task| task.state == TaskState::Failed)).await;
    api.shows("GET", "/connectors/n/status", "", expect![[r#"200 {"connector":{"state":"RUNNING","version":"0.1.0","worker_id":"worker:8083"},"name":"n","tasks":[{"id":0,"records":0,"skipped":0,"state":"FAILED","trace":"record for 'n': transform 'c': 'x' is no int32; with errors.tolerance=all such records are skipped and counted","version":"0.1.0","worker_id":"worker:8083"}],"type":"source"}"#]]).await;
    let mut lenient = config;
    lenient["errors.tolerance"] = json!("all");
    let changed = api.ask("PUT", "/connectors/n/config", &lenient.to_string()).await;
    assert_eq!(changed.status, 200);
    api.until("n", |view| view.tasks[0].records == 1 && view.tasks[0].skipped == 1).await;
    api.0.shutdown().await;
}

#[tokio::test]
async fn signals_go_to_the_topic_of_those_who_take_them() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    api.ask("POST", "/connectors", &source(dir.path(), "a", &["one"])).await;
    let wanted = r#"{"type": "execute-snapshot", "data": {"data-collections": ["public.t"]}}"#;
    let refused = api.ask("POST", "/connectors/lines/signals", wanted).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    let nobody = api.ask("POST", "/connectors/none/signals", wanted).await;
    assert_eq!(nobody.status, 404);
    let postgres = json!({ "name": "pg", "initial_state": "STOPPED", "config": {
        "connector.class": "postgres-source", "topic.prefix": "inv", "database.hostname": "nowhere",
        "database.dbname": "d", "database.user": "u" } });
    api.ask("POST", "/connectors", &postgres.to_string()).await;
    api.shows("POST", "/connectors/pg/signals", wanted, expect!["202 nothing"]).await;
    api.shows("POST", "/connectors/pg/signals", r#"{"type": "dance"}"#, expect![[r#"400 {"error_code":400,"message":"connector 'pg': signal '': nothing is known of the type 'dance'"}"#]]).await;
    assert_eq!(api.ask("GET", "/connectors/pg/signals", "").await.status, 405);
}

/// The regression was that any page in a browser could create a connector here, and with it run a
/// program: a form is sent to whatever server it names, without asking.
#[tokio::test]
async fn only_json_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    let ask = async |method, path, content_type, body: &str| {
        let (target, body) = (RequestTarget::new(path, ""), body.as_bytes());
        let request = Request { method, target, content_type, body, served: Served::ALL };
        answer(&api.0, &api.1, request).await
    };
    let body = source(dir.path(), "in.txt", &["a"]);
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("")] {
        let answer = ask("POST", "/connectors", kind, &body).await;
        let told = answer.body.unwrap();
        assert_eq!((answer.status, told["error_code"].as_u64()), (415, Some(415)), "{told}");
        let message = told["message"].as_str().unwrap();
        assert!(message.starts_with("HTTP 415 Unsupported Media Type: "), "{message}");
        assert!(message.ends_with("; send Content-Type: application/json"), "{message}");
    }
    api.shows("GET", "/connectors", "", expect!["200 []"]).await;
    let kind = Some("Application/JSON; charset=utf-8");
    assert_eq!(ask("POST", "/connectors", kind, &body).await.status, 201);
    assert_eq!(ask("PUT", "/connectors/lines/pause", None, "").await.status, 202);
    api.0.shutdown().await;
}

#[tokio::test]
async fn admin_may_be_served_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let api = Api::new(dir.path()).await;
    let status = async |path, connectors, admin| {
        let (target, served) = (RequestTarget::new(path, ""), Served { connectors, admin });
        let request = Request { method: "GET", target, content_type: None, body: b"", served };
        answer(&api.0, &api.1, request).await.status
    };
    for (path, of_connectors, of_admin) in
        [("/", 200, 404), ("/connectors", 200, 404), ("/admin/loggers", 404, 200)]
    {
        assert_eq!(status(path, true, false).await, of_connectors, "{path}");
        assert_eq!(status(path, false, true).await, of_admin, "{path}");
    }
}
