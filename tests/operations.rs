//! What the real binary tells those who run it: metrics, health, and addresses that cannot be reached.

mod fixture;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use fixture::{PATIENCE, Running, fail, stdout, succeed, succeed_with};
use tempfile::tempdir;

/// A broker with its metrics; where clients and where scrapers reach it.
fn start(dir: &std::path::Path) -> (Running, String, String) {
    let args = ["broker", "--data-dir", "data", "--listen", "127.0.0.1:0"];
    let metrics = ["--metrics-listen", "127.0.0.1:0"];
    let mut running = Running::start(dir, &[&args[..], &metrics[..]].concat());
    let address = running.address();
    let line = running.wait_stderr("metrics");
    let http = line.split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    (running, address, http)
}

/// Status line and body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Samples by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && line.contains(' '));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
    };
    lines.map(sample).collect()
}

#[test]
fn metrics_tell_what_has_happened() {
    let dir = tempdir().unwrap();
    let (broker, address, http) = start(dir.path());
    let to = ["--bootstrap-server", &address];
    succeed(dir.path(), &[&["topics", "create", "t", "--partitions", "1"], &to[..]].concat());
    let lines: String = (0..50).map(|number| format!("value {number}\n")).collect();
    succeed_with(dir.path(), &[&["produce", "t"], &to[..]].concat(), &lines);
    let consume = ["consume", "t", "--group", "readers", "--max-messages", "50"];
    succeed(dir.path(), &[&consume[..], &to[..]].concat());

    let (status, text) = get(&http, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(text.ends_with("# EOF\n"), "OpenMetrics says where it ends");
    let found = samples(&text);
    let value = |name: &str| *found.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    let of_t = "topic=\"t\",partition=\"0\"";
    assert_eq!(value(&format!("millstream_partition_end_offset{{{of_t}}}")), 50.0);
    assert_eq!(value(&format!("millstream_partition_start_offset{{{of_t}}}")), 0.0);
    assert!(value(&format!("millstream_partition_log_bytes{{{of_t}}}")) > 50.0 * 7.0);
    assert_eq!(value(&format!("millstream_group_lag{{group=\"readers\",{of_t}}}")), 0.0);
    assert!(value("millstream_request_duration_seconds_count{api=\"Produce\"}") >= 1.0);
    assert!(value("millstream_request_duration_seconds_count{api=\"Fetch\"}") >= 1.0);
    assert!(value("millstream_fsync_duration_seconds_count") >= 1.0);
    assert!(value("millstream_resident_memory_bytes") > 1e6);
    assert_eq!(value("millstream_topic_records_in_total{topic=\"t\"}"), 50.0);
    assert_eq!(value("millstream_topic_records_out_total{topic=\"t\"}"), 50.0);
    assert!(value("millstream_topic_bytes_in_total{topic=\"t\"}") > 50.0 * 7.0);
    assert!(value("millstream_topic_bytes_out_total{topic=\"t\"}") > 50.0 * 7.0);

    // What the group has not read yet.
    succeed_with(dir.path(), &[&["produce", "t"], &to[..]].concat(), "one\ntwo\nthree\n");
    let found = samples(&get(&http, "/metrics").1);
    assert_eq!(found[&format!("millstream_group_lag{{group=\"readers\",{of_t}}}")], 3.0);
    assert_eq!(get(&http, "/health"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    assert_eq!(get(&http, "/nothing").0, "HTTP/1.1 404 Not Found");
    assert_eq!(broker.interrupt().0, Some(0));
}

#[test]
fn metrics_tell_how_queries_stand() {
    let dir = tempdir().unwrap();
    let pipeline = r#"
name = "shop"
[connectors.orders]
connector.class = "FileStreamSource"
file = "orders.csv"
topic = "orders"
[sources.orders]
format = "csv"
columns = { id = "bigint", note = "text" }
[[queries]]
name = "known"
from = "orders"
steps = [{ filter = "note <> 'a \"b\"'" }]
sink = { topic = "known", print = true }
"#;
    std::fs::write(dir.path().join("shop.toml"), pipeline).unwrap();
    std::fs::write(dir.path().join("orders.csv"), "1,x\n2,y\n3,\"a \"\"b\"\"\"\n").unwrap();
    let listen = ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--json"];
    let args = [&["run", "shop.toml"][..], &listen].concat();
    let mut running = Running::start(dir.path(), &args);
    let line = running.wait_stderr("metrics");
    let http = line.split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    running.wait_stdout("\"y\"");
    let (_, text) = get(&http, "/metrics");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let found = samples(&text);
    let value = |name: &str| *found.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
    let of = "pipeline=\"shop\",query=\"known\"";
    assert_eq!(value(&format!("millstream_query_rows_read_total{{{of}}}")), 3.0);
    assert_eq!(value(&format!("millstream_query_rows_written_total{{{of}}}")), 2.0);
    assert_eq!(value(&format!("millstream_query_lag_records{{{of}}}")), 0.0);
    let by = r#"by="where note <> 'a \"b\"'""#;
    assert_eq!(value(&format!("millstream_query_rows_dropped_total{{{of},{by}}}")), 1.0);
    assert_eq!(running.interrupt().0, Some(0));
}

/// Clients that connect and say nothing take no place for long that others need.
#[test]
fn scrapers_that_say_nothing_cost_no_kafka_client_anything() {
    let dir = tempdir().unwrap();
    let (_broker, address, http) = start(dir.path());
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(&http).unwrap()).collect();
    let to = ["--bootstrap-server", &address];
    succeed(dir.path(), &[&["topics", "create", "t"], &to[..]].concat());
    succeed_with(dir.path(), &[&["produce", "t"], &to[..]].concat(), "still served\n");
    drop(silent);
    assert_eq!(get(&http, "/health").0, "HTTP/1.1 200 OK");
}

#[test]
fn a_port_in_use_is_an_error_with_the_flag_to_change() {
    let dir = tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let args = ["broker", "--data-dir", "data", "--listen", "127.0.0.1:0", "--metrics-listen"];
    let said = fail(dir.path(), &[&args[..], &[address.as_str()]].concat(), 1);
    assert!(said.contains(&address) && said.contains("--metrics-listen"), "{said}");
}

#[test]
fn an_advertised_address_that_nobody_reaches_is_named() {
    let dir = tempdir().unwrap();
    // Bound and let go: nobody answers there now.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unused = unused.to_string();
    let args = ["broker", "--data-dir", "data", "--listen", "127.0.0.1:0", "--advertise"];
    let mut running = Running::start(dir.path(), &[&args[..], &[unused.as_str()]].concat());
    let warning = running.wait_stderr("clients are told to connect to");
    assert!(warning.contains(&unused) && warning.contains("--advertise"), "{warning}");
}

#[test]
fn every_setting_of_a_broker_config_is_followed() {
    let dir = tempdir().unwrap();
    let properties = "listeners=PLAINTEXT://127.0.0.1:0\nlog.dirs=elsewhere\nnum.partitions=3\n\
                      log.retention.ms=3600000\nmillstream.metrics.listen=127.0.0.1:0\n";
    std::fs::write(dir.path().join("server.properties"), properties).unwrap();
    let broker = ["broker", "--broker-config", "server.properties", "--data-dir", "data"];
    let mut running = Running::start(dir.path(), &broker);
    running.wait_stderr("log.dirs = elsewhere is not followed: --data-dir is data");
    let address = running.address();
    running.wait_stderr("http://127.0.0.1:");
    let to = ["--bootstrap-server", &address];
    let run = |words: &[&str]| stdout(&succeed(dir.path(), &[words, &to[..]].concat()));
    succeed_with(dir.path(), &[&["produce", "t"], &to[..]].concat(), "made by itself\n");
    let described = run(&["topics", "describe", "t"]);
    assert!(described.starts_with("t: 3 partitions"), "{described}");
    let configs = run(&["configs", "describe", "--topic", "t", "--all"]);
    let retention = configs.lines().find(|line| line.starts_with("retention.ms "));
    assert!(retention.is_some_and(|line| line.contains("3600000")), "{configs}");
    assert!(!dir.path().join("elsewhere").exists());
}
