//! Clients that people use, unchanged, against the real binary: the examples in examples/clients,
//! and what goes beyond them in tests/clients.

mod fixture;
#[path = "clients/group.rs"]
mod group;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fixture::{ROOT, Running, finish, succeed, tools};
use tempfile::tempdir;

/// Runs a client to its end; what it printed.
fn client(command: &mut Command) -> String {
    let output = finish(command.stdin(Stdio::null()));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}\n{errors}");
    printed
}

fn python() -> PathBuf {
    tools().join("venv/bin/python")
}

fn example(path: &str) -> PathBuf {
    Path::new(ROOT).join("examples/clients").join(path)
}

/// Whether a tool is there that `tests/all.sh` does not install; says so where it is not.
fn is_there(tool: &str, version: &str) -> bool {
    let output = Command::new(tool).arg(version).output();
    let is_there = output.is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: this client needs '{tool}', which is not installed");
    }
    is_there
}

/// What every example reads: a customer's partition is the same in all languages.
const ORDERS: [(&str, &[&str]); 3] = [
    ("partition 0", &["grace = 1 book"]),
    ("partition 1", &["alan = 1 pen"]),
    ("partition 2", &["ada = 3 apples", "ada = 2 pears"]),
];

/// What the examples have written when one of them has run this often.
fn orders(times: usize) -> Vec<String> {
    let of = |(partition, orders): &(&str, &[&str])| {
        orders.repeat(times).iter().map(|order| format!("{partition}: {order}")).collect::<Vec<_>>()
    };
    ORDERS.iter().flat_map(of).collect()
}

/// Only within a partition is there an order.
fn by_partition(printed: &str) -> Vec<String> {
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort_by_key(|line| line.split(':').next().map(str::to_owned));
    lines
}

/// Runs an example twice against a new broker.
fn writes_and_reads(example: Command) {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    writes_and_reads_at(&address, example);
}

fn writes_and_reads_at(address: &str, mut example: Command) {
    example.arg(address);
    for _ in 0..2 {
        // The second time too it reads what it has just written and nothing else: its group goes on
        // where it stopped.
        assert_eq!(by_partition(&client(&mut example)), orders(1), "{example:?}");
    }
    // Another client sees it all.
    let all = ["-t", "orders", "-C", "-e", "-q", "-f", "partition %p: %k = %s\n"];
    let all = client(Command::new("kcat").args(["-b", address]).args(all));
    assert_eq!(by_partition(&all), orders(2), "{example:?}");
}

#[test]
fn the_example_with_confluent_kafka_in_python() {
    let mut command = Command::new(python());
    command.arg(example("python/with_confluent_kafka.py"));
    writes_and_reads(command);
}

#[test]
fn the_example_with_kafka_python() {
    let mut command = Command::new(python());
    command.arg(example("python/with_kafka_python.py"));
    writes_and_reads(command);
}

#[test]
fn the_example_with_aiokafka_in_python() {
    let mut command = Command::new(python());
    command.arg(example("python/with_aiokafka.py"));
    writes_and_reads(command);
}

#[test]
fn the_example_with_kafkajs() {
    let mut command = Command::new("node");
    command.arg(example("javascript/orders.js"));
    command.env("NODE_PATH", tools().join("node_modules"));
    writes_and_reads(command);
}

/// `cargo test --test clients` builds no examples. Of the same selection of packages as tests, so
/// that what is there already serves.
fn build_example(name: &str, program: &Path) {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--workspace", "--example", name]).current_dir(ROOT);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // The folder of the program is `PROFILE/examples` in cargo's target directory.
    cargo.arg("--target-dir").arg(program.ancestors().nth(3).unwrap());
    assert!(cargo.status().is_ok_and(|status| status.success()), "{cargo:?}");
    assert!(program.is_file(), "no {}: run {cargo:?}", program.display());
}

#[test]
fn the_example_with_rdkafka_in_rust() {
    // The folder of this test is `deps`, beside it.
    let tests = std::env::current_exe().unwrap();
    let orders = tests.ancestors().nth(2).unwrap().join("examples/orders");
    if !orders.is_file() {
        build_example("orders", &orders);
    }
    writes_and_reads(Command::new(orders));
}

#[test]
fn the_example_with_kafka_clients_in_java() {
    if !is_there("java", "-version") || !is_there("mvn", "-version") {
        return;
    }
    // Kafka's server brings its client.
    let kafka = Path::new(ROOT).join("tests/kafka/start-kafka.sh");
    let jars = client(Command::new(kafka).arg("fetch"));
    let mut command = Command::new("java");
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", jars.trim_end())).arg(example("java/Orders.java"));
    writes_and_reads(command);
}

#[test]
fn the_example_with_franz_go() {
    if !is_there("go", "version") {
        return;
    }
    let mut command = Command::new("go");
    command.args(["run", "."]).current_dir(example("go"));
    writes_and_reads(command);
}

#[test]
fn the_example_with_kcat() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let topic = ["topics", "create", "orders", "--partitions", "3", "--bootstrap-server", &address];
    succeed(dir.path(), &topic);
    writes_and_reads_at(&address, Command::new(example("kcat/orders.sh")));
}

#[test]
fn confluent_kafka_in_python_produces_consumes_and_forms_groups() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let script = Path::new(ROOT).join("tests/clients/confluent.py");
    let printed = client(Command::new(python()).arg(script).arg(&address));
    assert_eq!(printed, "ok\n");
}

#[test]
fn confluent_kafka_in_python_forms_groups_of_the_new_protocol() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let script = Path::new(ROOT).join("tests/clients/consumer_groups.py");
    let printed = client(Command::new(python()).arg(script).arg(&address));
    assert_eq!(printed, "ok\n");
}

#[test]
fn kafkajs_produces_consumes_and_forms_groups() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let script = Path::new(ROOT).join("tests/clients/kafkajs.js");
    let printed = client(
        Command::new("node")
            .arg(script)
            .arg(&address)
            .env("NODE_PATH", tools().join("node_modules")),
    );
    assert_eq!(printed, "ok\n");
}

#[test]
fn kcat_lists_produces_consumes_and_forms_groups() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let lines: String = (0..500).map(|number| format!("key-{number}:value {number}\n")).collect();
    let input = dir.path().join("lines");
    std::fs::write(&input, &lines).unwrap();
    for codec in ["none", "gzip", "snappy", "lz4"] {
        let topic = format!("kcat-{codec}");
        client(
            Command::new("kcat")
                .args(["-b", &address, "-P", "-t", &topic, "-K", ":", "-z", codec, "-l"])
                .arg(&input),
        );
        let read = client(
            Command::new("kcat").args(["-b", &address, "-C", "-t", &topic, "-e", "-q", "-K", ":"]),
        );
        assert_eq!(read, lines, "{codec}");
    }
    let listed = client(Command::new("kcat").args(["-b", &address, "-L"]));
    assert!(listed.contains("topic \"kcat-gzip\" with 1 partitions"), "{listed}");
    let grouped = client(
        Command::new("kcat")
            .args(["-b", &address, "-q", "-c", "500", "-X", "auto.offset.reset=earliest"])
            .args(["-G", "kcat-group", "kcat-lz4"]),
    );
    assert_eq!(grouped.lines().count(), 500);
}
