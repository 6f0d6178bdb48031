//! Kafka's commands against themselves: the same script by Kafka's own programs and by ours has to
//! print the same, on our broker and on Apache Kafka.
//!
//! - [`java`]: Kafka's programs; [`live`]: groups with members at work, [`shares`]: and such as
//!   share; [`transactions`]: open and hanging ones; [`segments`]: log files; [`performance`]:
//!   figures; [`programs`]: what Kafka tests itself with, and [`streams`], on our broker; here: all
//!   that needs no such company.

#[path = "../fixture/mod.rs"]
mod fixture;
mod java;
#[path = "../kafka/fixture.rs"]
mod kafka;
mod live;
mod performance;
mod programs;
mod segments;
mod shares;
mod streams;
mod transactions;

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fixture::Running;
use java::{Done, Java, ours};
use tempfile::tempdir;

/// Lines without what is random, in an order of their own: Kafka's is often that of a hash table.
fn lines(printed: &str, address: &str) -> Vec<String> {
    let mut lines: Vec<String> = printed
        .lines()
        .map(|line| line.replace(address, "HOST:PORT"))
        .map(|line| match line.split_once("TopicId: ") {
            Some((before, after)) => format!("{before}TopicId: ID{}", &after[22..]),
            None => line,
        })
        .map(|line| match line.split_once("Configs: ") {
            Some((before, configs)) => {
                let mut parts: Vec<&str> = configs.split(',').collect();
                parts.sort_unstable();
                format!("{before}Configs: {}", parts.join(","))
            }
            None => line,
        })
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort();
    lines
}

/// Changes and looks, in turn. What stands behind `<` is a command's own input.
const SCRIPT: &[&str] = &[
    "kafka-topics --create --topic t --partitions 3 --replication-factor 1",
    "kafka-topics --create --topic t --if-not-exists",
    "kafka-topics --create --topic a.b --config retention.ms=1000",
    "kafka-topics --create --topic a.c --config nope=1",
    "kafka-topics --create --topic two --replica-assignment 1,1",
    "kafka-topics --create --topic none --partitions 0",
    "kafka-topics --list",
    "kafka-topics --list --topic t.*",
    "kafka-topics --describe --topic t",
    "kafka-topics --describe",
    "kafka-topics --describe --topics-with-overrides",
    "kafka-topics --describe --under-replicated-partitions",
    "kafka-topics --describe --topic nope",
    "kafka-topics --describe --topic nope --if-exists",
    "kafka-topics --alter --topic two --partitions 3",
    "kafka-topics --alter --topic two --partitions 1",
    "kafka-topics --alter --topic nope --partitions 2",
    "kafka-topics --delete --topic two",
    "kafka-topics --delete --topic two",
    "kafka-console-producer --topic t --property parse.key=true --property key.separator=: \
     <a:1\nb:2\nc:3:4\n\n",
    "kafka-console-producer --topic t --property parse.key=true --property key.separator=: \
     --property parse.headers=true --property null.marker=N <h:1,i:N\td:N\nN\te:5\n",
    "kafka-console-consumer --topic t --from-beginning --max-messages 5 --timeout-ms 20000 \
     --property print.key=true --property print.partition=true --property print.offset=true \
     --property print.headers=true",
    "kafka-console-consumer --topic t --partition 1 --offset 1 --max-messages 1 --timeout-ms 20000",
    "kafka-console-consumer --topic t --group g --from-beginning --max-messages 5 --timeout-ms 20000",
    "kafka-groups --list --share",
    "kafka-consumer-groups --describe --group g",
    "kafka-consumer-groups --describe --group g --members",
    "kafka-consumer-groups --describe --group g --members --verbose",
    "kafka-consumer-groups --describe --group g --state",
    "kafka-consumer-groups --describe --group nope",
    "kafka-consumer-groups --reset-offsets --group g --topic t --to-earliest --dry-run",
    "kafka-consumer-groups --reset-offsets --group g --topic t:0,1 --to-offset 1 --execute",
    "kafka-consumer-groups --reset-offsets --group g --topic t --shift-by -1 --execute",
    "kafka-consumer-groups --reset-offsets --group g --all-topics --to-latest --execute",
    "kafka-consumer-groups --reset-offsets --group g --topic t --to-current --dry-run",
    "kafka-consumer-groups --reset-offsets --group g --topic t --to-datetime \
     2020-01-01T00:00:00.000 --dry-run",
    "kafka-consumer-groups --reset-offsets --group g --topic t --to-datetime \
     2099-01-01T00:00:00.000Z --dry-run",
    "kafka-consumer-groups --reset-offsets --group g --topic t --by-duration PT1H --dry-run",
    "kafka-consumer-groups --reset-offsets --group g --topic t --to-earliest --export --dry-run",
    "kafka-consumer-groups --reset-offsets --group h --topic t --to-latest --execute",
    "kafka-consumer-groups --delete-offsets --group h --topic t:0",
    "kafka-consumer-groups --delete-offsets --group h --topic t",
    "kafka-consumer-groups --delete-offsets --group nope --topic t:0",
    "kafka-consumer-groups --delete --group h --group nope",
    "kafka-consumer-groups --delete --group nope",
    "kafka-configs --describe --topic a.b",
    "kafka-configs --alter --topic a.b --add-config retention.ms=5000,cleanup.policy=[compact,delete]",
    "kafka-configs --describe --entity-type topics --entity-name a.b",
    "kafka-configs --describe --topic a.b --all",
    "kafka-configs --alter --topic a.b --delete-config cleanup.policy",
    "kafka-configs --describe --entity-type topics",
    "kafka-configs --describe --topic nope",
    "kafka-get-offsets --exclude-internal-topics",
    "kafka-get-offsets --topic t --time earliest",
    "kafka-get-offsets --topic t --time 99999999999999",
    "kafka-get-offsets --topic-partitions t:0,a.*:0-1",
];

/// Held by each test: Kafka is told a port that is free, and another's broker might take it.
fn turn() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wrong flags: the first line on stderr counts.
const MISTAKES: &[&str] = &[
    "kafka-topics",
    "kafka-topics --create",
    "kafka-topics --create --list",
    "kafka-topics --nope",
    "kafka-topics --create --topic x --if-exists",
    "kafka-topics --alter --topic t",
    "kafka-console-producer",
    "kafka-console-consumer",
    "kafka-console-consumer --topic t --offset 1",
    "kafka-console-consumer --topic t --partition 0 --offset x",
    "kafka-console-consumer --topic t --partition 0 --offset 1 --from-beginning",
    "kafka-console-consumer --topic t --group g --consumer-property group.id=h",
    "kafka-consumer-groups",
    "kafka-consumer-groups --describe",
    "kafka-consumer-groups --reset-offsets --group g --topic t --dry-run --execute --to-latest",
    "kafka-groups",
    "kafka-groups --list --group-type nope",
    "kafka-groups --list --consumer --protocol consumer",
    "kafka-configs",
    "kafka-configs --describe",
    "kafka-configs --alter --topic t",
    "kafka-configs --alter --topic t --delete-config nope",
    "kafka-get-offsets --topic t --time nope",
    "kafka-get-offsets --topic nope",
    "kafka-delete-records",
];

fn words<'a>(line: &'a str, address: &'a str) -> (Vec<&'a str>, &'a str) {
    let (command, input) = line.split_once('<').unwrap_or((line, ""));
    let mut words: Vec<&str> = command.split_whitespace().collect();
    // Before all others: some commands have commands of their own, with options of their own.
    words.splice(1..1, ["--bootstrap-server", address]);
    (words, input)
}

/// Collects differences, so that one run shows them all.
#[derive(Default)]
struct Differences(String);

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, line: &str, kafkas: T, ours: T) {
        if kafkas != ours {
            write!(self.0, "$ {line}\n kafka: {kafkas:#?}\n  ours: {ours:#?}\n").unwrap();
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0);
    }
}

#[test]
fn kafkas_commands_and_ours_print_the_same() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let (theirs, mine) = (tempdir().unwrap(), tempdir().unwrap());
    let (_broker, kafkas_address) = Running::broker(theirs.path());
    let (_other, our_address) = Running::broker(mine.path());
    let mut differences = Differences::default();
    for line in SCRIPT {
        let (kafkas_words, input) = words(line, &kafkas_address);
        let kafkas = java.run(&kafkas_words, input);
        let done = ours(mine.path(), &words(line, &our_address).0, input);
        let outcome = |done: &Done, address: &str| (done.status, lines(&done.stdout, address));
        let kafkas = outcome(&kafkas, &kafkas_address);
        differences.compare(line, kafkas, outcome(&done, &our_address));
    }
    for line in MISTAKES {
        let kafkas = java.run(&words(line, &kafkas_address).0, "");
        let done = ours(mine.path(), &words(line, &our_address).0, "");
        let outcome =
            |done: &Done| (done.status, done.stderr.lines().next().unwrap_or_default().to_owned());
        differences.compare(line, outcome(&kafkas), outcome(&done));
    }
    differences.none();
}

/// What looks and changes nothing, for both on one cluster.
const LOOKS: &[&str] = &[
    "kafka-topics --list",
    "kafka-topics --describe --topic c.*",
    "kafka-consumer-groups --list --state",
    "kafka-groups --list",
    "kafka-groups --list --consumer",
    "kafka-groups --list --streams",
    "kafka-groups --list --group-type classic --protocol consumer",
    "kafka-consumer-groups --describe --group cg",
    "kafka-consumer-groups --describe --group cg --state",
    "kafka-configs --describe --entity-type topics --entity-name ct",
    "kafka-configs --describe --entity-type brokers",
    "kafka-get-offsets",
    "kafka-get-offsets --time earliest",
];

#[test]
fn our_commands_look_after_apache_kafka_as_its_own_do() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let Some(kafka) = kafka::kafka() else { return };
    let (dir, address) = (tempdir().unwrap(), kafka.address.as_str());
    let changes = [
        ("kafka-topics --create --topic ct --partitions 2 --config retention.ms=1000000", ""),
        ("kafka-topics --alter --topic ct --partitions 3", ""),
        ("kafka-configs --alter --topic ct --add-config cleanup.policy=[compact,delete]", ""),
        ("kafka-console-producer --topic ct --property parse.key=true", "a\t1\nb\t2\nc\t3\n"),
        ("kafka-console-consumer --topic ct --group cg --from-beginning --max-messages 3", ""),
        ("kafka-consumer-groups --reset-offsets --group cg --topic ct --to-offset 1 --execute", ""),
    ];
    for (line, input) in changes {
        let done = ours(dir.path(), &words(line, address).0, input);
        assert_eq!(done.status, 0, "{line}: {done:?}");
    }
    let mut differences = Differences::default();
    for line in LOOKS {
        let (words, _) = words(line, address);
        let kafkas = java.run(&words, "");
        let done = ours(dir.path(), &words, "");
        let outcome = |done: &Done| (done.status, lines(&done.stdout, address));
        differences.compare(line, outcome(&kafkas), outcome(&done));
    }
    differences.none();
    for line in ["kafka-consumer-groups --delete --group cg", "kafka-topics --delete --topic ct"] {
        let done = ours(dir.path(), &words(line, address).0, "");
        assert_eq!(done.status, 0, "{line}: {done:?}");
    }
}
