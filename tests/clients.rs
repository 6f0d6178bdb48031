//! Clients that people use, unchanged, against the real binary.

mod fixture;

use std::path::Path;
use std::process::{Command, Stdio};

use fixture::{ROOT, Running, tools};
use tempfile::tempdir;

/// Runs a client to its end; what it printed.
fn client(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {printed}\n{errors}");
    printed
}

#[test]
fn confluent_kafka_in_python_produces_consumes_and_forms_groups() {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let script = Path::new(ROOT).join("tests/clients/confluent.py");
    let printed = client(Command::new(tools().join("venv/bin/python")).arg(script).arg(&address));
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
