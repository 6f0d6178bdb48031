//! Groups with members at work, of the classic protocol on both brokers and of KIP-848's on Apache
//! Kafka.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use tempfile::tempdir;

use crate::fixture::{PATIENCE, Running};
use crate::java::{Java, ours};
use crate::{Differences, kafka, lines, turn, words};

const PARTITIONS: usize = 3;

/// A member; librdkafka's own thread says that it lives.
fn join(address: &str, group: &str, protocol: &str, topic: &str, index: usize) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("group.id", group);
    config.set("group.protocol", protocol).set("client.id", format!("client-{index}"));
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    // A static member stays for so long after its end; of KIP-848's the broker says how long.
    if protocol == "classic" {
        config.set("session.timeout.ms", "6000");
    }
    if index == 0 {
        config.set("group.instance.id", "instance-0");
    }
    let member: BaseConsumer = config.create().unwrap();
    member.subscribe(&[topic]).unwrap();
    member
}

/// Waits until the members have all partitions among them and have committed what they read.
fn settle(members: &[BaseConsumer], records: usize) {
    let deadline = Instant::now() + PATIENCE;
    let mut read = 0;
    let shared = |members: &[BaseConsumer]| {
        let counts = members.iter().map(|member| member.assignment().unwrap().count());
        let counts: Vec<usize> = counts.collect();
        counts.iter().sum::<usize>() == PARTITIONS && !counts.contains(&0)
    };
    while read < records || !shared(members) {
        assert!(Instant::now() < deadline, "{read} of {records} records read");
        for member in members {
            if let Some(Ok(record)) = member.poll(Duration::from_millis(50)) {
                read += 1;
                member.commit_message(&record, CommitMode::Sync).unwrap();
            }
        }
    }
}

/// What is asked about the group `live` and told by both; nothing of it changes anything.
const LOOKS: &[&str] = &[
    "kafka-consumer-groups --list",
    "kafka-consumer-groups --list --state",
    "kafka-consumer-groups --list --state Stable",
    "kafka-consumer-groups --list --state Empty",
    "kafka-consumer-groups --list --type",
    "kafka-consumer-groups --list --type consumer",
    "kafka-consumer-groups --list --type classic --state",
    "kafka-consumer-groups --describe --group live",
    "kafka-consumer-groups --describe --group live --offsets",
    "kafka-consumer-groups --describe --group live --verbose",
    "kafka-consumer-groups --describe --group live --members",
    "kafka-consumer-groups --describe --group live --members --verbose",
    "kafka-consumer-groups --describe --group live --state",
    "kafka-consumer-groups --describe --group live --state --verbose",
    "kafka-consumer-groups --describe --all-groups",
    "kafka-consumer-groups --describe --all-groups --state --timeout 20000",
    "kafka-consumer-groups --delete --group live",
    "kafka-consumer-groups --reset-offsets --group live --topic lt --to-earliest --execute",
    "kafka-consumer-groups --reset-offsets --all-groups --topic lt --to-latest --dry-run",
    "kafka-consumer-groups --delete-offsets --group live --topic lt",
    "kafka-consumer-groups --delete-offsets --group live --topic lt:0",
];

fn compare(java: &mut Java, address: &str, protocol: &str) {
    let dir = tempdir().unwrap();
    let run = |line: &str, input: &str| {
        let done = ours(dir.path(), &words(line, address).0, input);
        assert_eq!(done.status, 0, "{line}: {done:?}");
    };
    run("kafka-topics --create --topic lt --partitions 3", "");
    run("kafka-console-producer --topic lt --property parse.key=true", "a\t1\nb\t2\nc\t3\nd\t4\n");
    let members: Vec<BaseConsumer> =
        (0..2).map(|index| join(address, "live", protocol, "lt", index)).collect();
    settle(&members, 4);
    let mut differences = Differences::default();
    for line in LOOKS {
        let (words, _) = words(line, address);
        let kafkas = java.run(&words, "");
        let done = ours(dir.path(), &words, "");
        let told = |stderr: &str| {
            // Kafka prints where it failed; a warning is a line of its own.
            let first = stderr.lines().find(|line| !line.is_empty()).unwrap_or_default();
            first.split("Exception").next().unwrap_or_default().to_owned()
        };
        let kafkas_told =
            if kafkas.stderr.contains("\tat ") { String::new() } else { told(&kafkas.stderr) };
        differences.compare(
            &format!("{protocol}: {line}"),
            (kafkas.status, lines(&kafkas.stdout, address), kafkas_told),
            (done.status, lines(&done.stdout, address), told(&done.stderr)),
        );
    }
    drop(members);
    differences.none();
    let gone = ["--delete --group live", "--list"];
    for line in gone.map(|options| format!("kafka-consumer-groups {options}")) {
        let deadline = Instant::now() + PATIENCE;
        // A static member stays until its session times out; it is let go by the group's admin.
        loop {
            let done = ours(dir.path(), &words(&line, address).0, "");
            if !done.stdout.contains("Error") && !done.stdout.contains("live\n") {
                break;
            }
            assert!(Instant::now() < deadline, "{line}: {done:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    run("kafka-topics --delete --topic lt", "");
}

#[test]
fn groups_with_members_are_told_as_kafka_does_on_our_broker() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    compare(&mut java, &address, "classic");
}

#[test]
fn groups_with_members_of_both_protocols_are_told_as_kafka_does_on_apache_kafka() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let Some(kafka) = kafka::kafka() else { return };
    compare(&mut java, &kafka.address, "classic");
    compare(&mut java, &kafka.address, "consumer");
}
