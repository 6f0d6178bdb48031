//! Share groups (KIP-932): Kafka's console consumer of such a group reads on our broker and on
//! Apache Kafka, and both commands tell of it alike.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::fixture::{PATIENCE, ROOT, Running};
use crate::java::{Java, ours};
use crate::{Differences, kafka, lines, turn, words};

/// A member that prints what it reads and accepts it.
struct Member(Child);

impl Member {
    /// Returns once it has read so many records.
    fn join(address: &str, records: usize) -> Member {
        let mut member = Command::new(Path::new(ROOT).join("tests/kafka/start-kafka.sh"))
            .args(["class", "org.apache.kafka.tools.consumer.ConsoleShareConsumer"])
            .args(["--bootstrap-server", address, "--topic", "st", "--group", "shared"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(member.stdout.take().unwrap());
        let read: Vec<String> = output.lines().take(records).map_while(Result::ok).collect();
        assert_eq!(read.len(), records, "{read:?}");
        Member(member)
    }

    /// Has it leave in order.
    fn leave(&self) {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is asked while there is a member.
const LOOKS: &[&str] = &[
    "kafka-share-groups --list",
    "kafka-share-groups --list --state",
    "kafka-share-groups --list --state Stable",
    "kafka-share-groups --list --state empty,dead",
    "kafka-share-groups --describe --group shared",
    "kafka-share-groups --describe --group shared --offsets --verbose",
    "kafka-share-groups --describe --group shared --members",
    "kafka-share-groups --describe --group shared --members --verbose",
    "kafka-share-groups --describe --group shared --state",
    "kafka-share-groups --describe --all-groups --state --verbose",
    "kafka-share-groups --describe --group nope",
    "kafka-share-groups --delete --group shared --group nope",
    "kafka-share-groups --delete-offsets --group shared --topic st",
    "kafka-groups --list --share",
];

/// Wrong flags: the first line on stderr counts.
const MISTAKES: &[&str] = &[
    "kafka-share-groups",
    "kafka-share-groups --describe",
    "kafka-share-groups --describe --group g --topic t",
    "kafka-share-groups --describe --group g --all-groups",
    "kafka-share-groups --reset-offsets --group g --execute --dry-run --to-latest",
    "kafka-share-groups --describe --group g --state Empty",
    "kafka-share-groups --delete --group g --topic t",
    "kafka-share-groups --list --group g",
];

fn compare(java: &mut Java, address: &str) {
    let dir = tempdir().unwrap();
    let run = |line: &str, input: &str| {
        let done = ours(dir.path(), &words(line, address).0, input);
        assert_eq!(done.status, 0, "{line}: {done:?}");
        done.stdout
    };
    run("kafka-topics --create --topic st --partitions 2", "");
    run(
        "kafka-configs --alter --entity-type groups --entity-name shared --add-config \
         share.auto.offset.reset=earliest",
        "",
    );
    run("kafka-console-producer --topic st", "a\nb\nc\nd\n");
    let member = Member::join(address, 4);
    let mut differences = Differences::default();
    for line in LOOKS {
        let (words, _) = words(line, address);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // What the member has read last it accepts a little later.
            let kafkas = java.run(&words, "");
            // Kafka prints where it failed.
            let is_of_trace = |line: &&str| {
                line.starts_with("\tat ") || line.starts_with("java.") || line.starts_with("Caused")
            };
            let text: Vec<&str> = kafkas.stdout.lines().filter(|line| !is_of_trace(line)).collect();
            let kafkas = (kafkas.status, lines(&text.join("\n"), address));
            let done = ours(dir.path(), &words, "");
            let done = (done.status, lines(&done.stdout, address));
            if kafkas == done || Instant::now() > deadline {
                differences.compare(line, kafkas, done);
                break;
            }
        }
    }
    for line in MISTAKES {
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        let kafkas = java.run(&words(line, address).0, "");
        let done = ours(dir.path(), &words(line, address).0, "");
        let kafkas = (kafkas.status, first(&kafkas.stderr));
        differences.compare(line, kafkas, (done.status, first(&done.stderr)));
    }
    differences.none();
    let reset = "kafka-share-groups --reset-offsets --group shared --topic st --to-earliest";
    assert!(run(&format!("{reset} --execute"), "").contains("is not empty"));
    member.leave();
    let deadline = Instant::now() + PATIENCE;
    while !run("kafka-share-groups --list --state", "").contains("Empty") {
        assert!(Instant::now() < deadline, "the member does not leave");
    }
    drop(member);
    for command in [
        &["groups", "describe", "shared"][..],
        &["groups", "reset", "shared", "--to", "latest", "--topic", "st"],
    ] {
        let told = ours(dir.path(), &[command, &["--bootstrap-server", address]].concat(), "");
        assert_eq!(told.status, 1, "{told:?}");
        assert!(told.stderr.contains("group 'shared' is a share group"), "{told:?}");
    }
    let would = run(&format!("{reset} --dry-run"), "");
    assert_eq!(would.matches(" 0 ").count(), 3, "{would}");
    assert_eq!(run(&format!("{reset} --execute"), ""), would);
    run("kafka-share-groups --delete-offsets --group shared --topic st", "");
    let deleted = run("kafka-share-groups --delete --all-groups", "");
    assert_eq!(deleted, "Deletion of requested share groups ('shared') was successful.\n");
    run("kafka-topics --delete --topic st", "");
}

#[test]
fn share_groups_are_told_as_kafka_does_on_our_broker() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    compare(&mut java, &address);
    let log = dir.path().join("data/__share_group_state-0/00000000000000000000.log");
    let log = log.to_str().unwrap();
    let words = ["kafka-dump-log", "--files", log, "--share-group-state-decoder"];
    let (kafkas, done) = (java.run(&words, ""), ours(dir.path(), &words, ""));
    assert!(done.stdout.contains("\"startOffset\":"), "{done:?}");
    assert_eq!(kafkas, done);
}

#[test]
fn share_groups_are_told_as_kafka_does_on_apache_kafka() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let Some(kafka) = kafka::kafka() else { return };
    compare(&mut java, &kafka.address);
}
