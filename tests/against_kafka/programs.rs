//! What Kafka's own system tests write, read and copy with, on our broker. (`VerifiableProducer`
//! and its like print what they do as a JSON object a line.)

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::tempdir;

use crate::fixture::{PATIENCE, Running, stdout, succeed};
use crate::java::{Done, Java};
use crate::turn;

const MESSAGES: usize = 1000;

/// Runs one to its good end; what it has told of.
fn told(java: &mut Java, line: &str) -> Vec<Value> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Done { status, stdout, stderr } = java.run(&words, "");
    assert_eq!(status, 0, "{line}: {stdout}\n{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(told: &'a [Value], name: &'a str) -> impl Iterator<Item = &'a Value> {
    told.iter().filter(move |event| event["name"] == name)
}

/// The values of records, as numbers, in order.
fn values<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<usize> {
    let number = |event: &Value| event["value"].as_str().unwrap().parse().unwrap();
    let mut values: Vec<usize> = events.map(number).collect();
    values.sort_unstable();
    values
}

#[test]
fn kafkas_verifiable_clients_lose_nothing_and_see_nothing_twice() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let to = ["--bootstrap-server", &address];
    succeed(dir.path(), &[&["topics", "create", "v", "--partitions", "3"], &to[..]].concat());
    let all: Vec<usize> = (0..MESSAGES).collect();

    let line = format!(
        "kafka-verifiable-producer --bootstrap-server {address} --topic v --acks -1 \
         --max-messages {MESSAGES} --throughput 500 --repeating-keys 7"
    );
    let produced = told(&mut java, &line);
    // It tells nothing more once it has to end, though all is written: the readers find it.
    let acknowledged = values(of(&produced, "producer_send_success"));
    assert!(acknowledged.contains(&0), "{produced:?}");
    assert_eq!(of(&produced, "producer_send_error").next(), None);

    for (group, how) in [
        (
            "classic",
            "--assignment-strategy org.apache.kafka.clients.consumer.CooperativeStickyAssignor",
        ),
        ("static", "--group-instance-id one"),
        ("new", "--group-protocol consumer"),
        ("range", "--group-protocol consumer --group-remote-assignor range"),
    ] {
        let line = format!(
            "kafka-verifiable-consumer --bootstrap-server {address} --topic v --group-id {group} \
             --max-messages {MESSAGES} --reset-policy earliest --verbose {how}"
        );
        let read = told(&mut java, &line);
        assert_eq!(values(of(&read, "record_data")), all, "{group}");
        let is_good = |event: &Value| event["success"] == true;
        assert!(of(&read, "offsets_committed").all(is_good), "{group}: {read:?}");
        let committed =
            succeed(dir.path(), &[&["groups", "describe", group, "--json"], &to[..]].concat());
        let committed: Value = serde_json::from_str(&stdout(&committed)).unwrap();
        let lags = find_all(&committed, "lag");
        assert_eq!(lags, vec![&Value::from(0); 3], "{group}: {committed}");
    }
}

/// All that is kept under a name, however deep.
fn find_all<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    match value {
        Value::Array(all) => all.iter().flat_map(|one| find_all(one, name)).collect(),
        Value::Object(all) => {
            let each = all.iter();
            each.flat_map(|(key, one)| match key == name {
                true => vec![one],
                false => find_all(one, name),
            })
            .collect()
        }
        _ => Vec::new(),
    }
}

/// The broker is killed while it is written to: what was acknowledged is there, in order and once,
/// and what comes afterwards too.
#[test]
fn kafkas_verifiable_producer_outlives_a_broker_that_is_killed() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    succeed(dir.path(), &["topics", "create", "k", "--bootstrap-server", &address]);
    let line = format!(
        "kafka-verifiable-producer --bootstrap-server {address} --topic k --acks -1 \
         --max-messages {MESSAGES} --throughput 250"
    );
    let produced = thread::scope(|scope| {
        let producing = scope.spawn(|| told(&mut java, &line));
        let written = || {
            let to = ["--bootstrap-server", address.as_str()];
            let words = [&["records", "offsets", "k", "--json"], &to[..]].concat();
            let told = stdout(&succeed(dir.path(), &words));
            let told: Vec<Value> =
                told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            find_all(&told.into(), "offset").iter().filter_map(|end| end.as_u64()).sum::<u64>()
        };
        while written() < 100 {
            assert!(!producing.is_finished(), "it has ended before the broker was killed");
            thread::sleep(Duration::from_millis(20));
        }
        broker.kill();
        let listen = ["broker", "--data-dir", "data", "--listen", &address];
        let mut again = Running::start(dir.path(), &listen);
        again.address();
        (producing.join().unwrap(), again)
    });
    let (produced, _broker) = produced;
    // It sends nothing twice, so what was under way when the broker died may be there or not.
    let acknowledged = values(of(&produced, "producer_send_success"));
    assert!(acknowledged.contains(&0), "{produced:?}");
    let deadline = Instant::now() + PATIENCE;
    let read = loop {
        let words = ["consume", "k", "--until-end", "--bootstrap-server", &address];
        let read = stdout(&succeed(dir.path(), &words));
        let read: Vec<usize> = read.lines().map(|line| line.parse().unwrap()).collect();
        // Sent long after the broker was killed.
        if read.last() == Some(&(MESSAGES - 1)) {
            break read;
        }
        assert!(Instant::now() < deadline, "it does not go on: {read:?}");
    };
    assert!(read.is_sorted_by(|one, next| one < next), "in order, and once: {read:?}");
    let lost: Vec<_> = acknowledged.iter().filter(|value| !read.contains(value)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

#[test]
fn kafkas_transactional_copier_copies_exactly_once_though_it_aborts() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let to = ["--bootstrap-server", address.as_str()];
    for topic in ["from", "by-partition", "by-group"] {
        succeed(dir.path(), &[&["topics", "create", topic, "--partitions", "1"], &to[..]].concat());
    }
    let line = format!(
        "kafka-verifiable-producer --bootstrap-server {address} --topic from --acks -1 \
         --max-messages {MESSAGES}"
    );
    told(&mut java, &line);
    let read = |topic: &str| {
        let line = ["consume", topic, "--until-end"];
        stdout(&succeed(dir.path(), &[&line[..], &to].concat()))
    };
    for (target, how) in [("by-partition", ""), ("by-group", "--group-mode --use-group-metadata")] {
        let line = format!(
            "transactional-message-copier --broker-list {address} --input-topic from \
             --input-partition 0 --output-topic {target} --transactional-id {target} \
             --transaction-size 90 --consumer-group {target} --max-messages {MESSAGES} \
             --enable-random-aborts {how}"
        );
        let copied = told(&mut java, &line);
        let last = copied.last().unwrap();
        assert_eq!((&last["stage"], &last["remaining"]), (&"ShutdownComplete".into(), &0.into()));
        // Committed ones alone are read.
        assert_eq!(read(target), read("from"), "{target}");
    }
}
