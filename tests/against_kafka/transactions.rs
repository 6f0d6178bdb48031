//! Transactions: open ones, and hanging ones, which no coordinator knows.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use broker::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use broker::protocol::messages::k00_produce::{
    PartitionProduceData, ProduceRequest, TopicProduceData,
};
use broker::protocol::{ApiKey, RequestHeader, decode_response, encode_request};
use broker::record::{BatchBuilder, Compression, ProducerStamp, RecordBatch};
use bytes::{Buf, Bytes};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tempfile::tempdir;

use crate::fixture::{PATIENCE, Running, succeed};
use crate::java::{Done, Java, ours};
use crate::{Differences, kafka, lines, turn, words};

/// How a transaction is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producing {
    Open,
    Committed,
    Aborted,
}

/// Writes three records in a transaction. It stays open while the producer lives.
pub fn produce(address: &str, id: &str, topic: &str, how: Producing) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address).set("transactional.id", id);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for value in ["one", "two", "three"] {
        producer.send(BaseRecord::to(topic).key("k").payload(value).partition(0)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    match how {
        Producing::Open => {}
        Producing::Committed => producer.commit_transaction(PATIENCE).unwrap(),
        Producing::Aborted => producer.abort_transaction(PATIENCE).unwrap(),
    }
    producer
}

const HANGING_ID: i64 = 4711;

/// A batch in a transaction of a producer of whom no coordinator has heard, an hour ago.
fn hanging_batch() -> RecordBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(broker::broker::now_ms() - 3_600_000, None, Some(b"hanging"));
    builder.build(ProducerStamp {
        producer_id: ProducerId(HANGING_ID),
        epoch: ProducerEpoch(0),
        base_sequence: 0,
        transactional: true,
    })
}

/// Sends it as a client of old does, once the broker has heard that it shall not look into it.
fn send_hanging(address: &str, topic: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = try_to_send_hanging(address, topic);
        if answer.contains("error_code: NONE") {
            return;
        }
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn try_to_send_hanging(address: &str, topic: &str) -> String {
    let request = ProduceRequest {
        transactional_id: Some("nobody".to_owned()),
        acks: -1,
        timeout_ms: 10_000,
        topic_data: vec![TopicProduceData {
            name: topic.to_owned(),
            partition_data: vec![PartitionProduceData {
                index: 0,
                records: Some(hanging_batch().into_bytes()),
            }],
            ..TopicProduceData::default()
        }],
    };
    let version = 9;
    let header =
        RequestHeader { api: ApiKey::Produce, version, correlation_id: 1, client_id: None };
    let mut frame = encode_request(&header, &request.into()).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes = frame.copy_to_bytes(frame.remaining());
    stream.write_all(&bytes).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    let answer = decode_response(ApiKey::Produce, version, Bytes::from(answer)).unwrap();
    format!("{answer:?}")
}

/// Puts it into the log of a broker that does not run.
fn write_hanging(dir: &Path, topic: &str) {
    let path = dir.join(format!("data/{topic}-0/00000000000000000000.log"));
    let batch = hanging_batch().stamped(Offset(0), LeaderEpoch(0));
    assert_eq!(std::fs::read(&path).unwrap_or_default(), b"", "nothing was written before");
    std::fs::write(path, batch.bytes()).unwrap();
}

/// What is random or goes on: durations, and the epochs that our broker begins at each start.
fn outcome(done: &Done, address: &str) -> (i32, Vec<String>, String) {
    let without_duration = |line: String| match line.split('\t').collect::<Vec<_>>().as_slice() {
        [.., start, duration, partitions, ""] if line.contains("\ttx") => {
            assert!(duration.trim().parse::<i64>().is_ok() || duration.trim() == "None");
            format!("{} {} {}", line.split('\t').next().unwrap(), start.trim(), partitions.trim())
        }
        _ => line.split('\t').map(str::trim).collect::<Vec<_>>().join("\t"),
    };
    let stdout = lines(&done.stdout, address).into_iter().map(without_duration).collect();
    // Kafka gives the same advice whatever is wrong, and shows its options.
    let told = done.stderr.lines().next().unwrap_or_default();
    let told = told.split(" Enable debug logging").next().unwrap_or_default();
    (done.status, stdout, told.to_owned())
}

const LOOKS: &[&str] = &[
    "kafka-transactions list",
    "kafka-transactions list --duration-filter 3600000",
    "kafka-transactions list --transactional-id-pattern tx-o.*",
    "kafka-transactions describe --transactional-id tx-open",
    "kafka-transactions describe --transactional-id tx-done",
    "kafka-transactions describe --transactional-id nope",
    "kafka-transactions describe-producers --topic tt --partition 0",
    "kafka-transactions describe-producers --topic hanging --partition 0",
    "kafka-transactions find-hanging --topic hanging",
    "kafka-transactions find-hanging --topic hanging --partition 0",
    "kafka-transactions find-hanging --topic hanging --max-transaction-timeout 120",
    "kafka-transactions find-hanging --topic tt --max-transaction-timeout 0",
    "kafka-transactions find-hanging",
    "kafka-transactions abort --topic hanging --partition 0 --start-offset 99",
    "kafka-transactions abort --topic hanging --partition 0",
];

/// With the topics `tt` and `hanging` there, and a transaction hanging in the latter if `hangs`.
fn compare(java: &mut Java, address: &str, hangs: bool) {
    let dir = tempdir().unwrap();
    let mut producer = produce(address, "tx-open", "tt", Producing::Open);
    produce(address, "tx-done", "tt", Producing::Committed);
    let mut differences = Differences::default();
    let mut both = |line: &str| {
        let (words, _) = words(line, address);
        let kafkas = outcome(&java.run(&words, ""), address);
        differences.compare(line, kafkas, outcome(&ours(dir.path(), &words, ""), address));
    };
    LOOKS.iter().for_each(|line| both(line));

    let run = |line: &str| ours(dir.path(), &words(line, address).0, "");
    // Kafka's goes on asking for a minute.
    for missing in ["--topic nope --partition 0", "--topic tt --partition 7"] {
        let done = run(&format!("kafka-transactions describe-producers {missing}"));
        assert!(done.status == 1 && done.stderr.contains("does not host"), "{done:?}");
    }
    let silent = |done: Done| (done.status, done.stdout, done.stderr);
    let nothing = (0, String::new(), String::new());
    let abort = "kafka-transactions abort --topic hanging --partition 0 --start-offset 0";
    let aborted = silent(run(abort));
    if hangs {
        assert_eq!(aborted, nothing);
    } else {
        assert_eq!(aborted.0, 1);
        assert!(aborted.2.starts_with("Could not find any open transactions"), "{aborted:?}");
    }
    let line = "kafka-transactions forceTerminateTransaction --transactionalId tx-open";
    assert_eq!(silent(run(line)), nothing);
    both("kafka-transactions find-hanging --topic hanging");
    both("kafka-transactions describe-producers --topic hanging --partition 0");
    both("kafka-transactions describe-producers --topic tt --partition 0");
    let described = run("kafka-transactions describe --transactional-id tx-open");
    let state = described.stdout.lines().last().unwrap().to_owned();
    assert!(state.contains("CompleteAbort") || state.contains("Empty"), "{state}");
    // Its producer is fenced, and readers of what is committed pass by what it has written.
    let committed = producer.commit_transaction(Duration::from_secs(10));
    assert!(committed.is_err(), "the producer was fenced");
    producer = produce(address, "tx-open", "hanging", Producing::Committed);
    drop(producer);
    let read = "kafka-console-consumer --topic hanging --from-beginning --max-messages 3 \
                --isolation-level read_committed --timeout-ms 20000";
    assert_eq!(run(read).stdout, "one\ntwo\nthree\n");
    differences.none();
}

/// A transaction that no coordinator knows of does not outlive a start here, so none can hang.
#[test]
fn transactions_are_told_found_and_ended_as_kafka_does_on_our_broker() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    let (broker, address) = Running::broker(dir.path());
    for topic in ["tt", "hanging"] {
        let to = ["--bootstrap-server", &address];
        succeed(dir.path(), &[&["topics", "create", topic, "--partitions", "1"], &to[..]].concat());
    }
    assert_eq!(broker.interrupt().0, Some(0));
    write_hanging(dir.path(), "hanging");
    let (_broker, address) = Running::broker(dir.path());
    compare(&mut java, &address, false);
}

#[test]
fn transactions_are_told_found_and_ended_as_kafka_does_on_apache_kafka() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let Some(kafka) = kafka::kafka() else { return };
    let (dir, address) = (tempdir().unwrap(), kafka.address.as_str());
    let run = |line: &str| {
        let done = ours(dir.path(), &words(line, address).0, "");
        assert_eq!(done.status, 0, "{line}: {done:?}");
    };
    run("kafka-topics --create --topic tt --partitions 1");
    run("kafka-topics --create --topic hanging --partitions 1");
    let checks = "transaction.partition.verification.enable";
    let brokers = "kafka-configs --alter --entity-type brokers --entity-default";
    run(&format!("{brokers} --add-config {checks}=false"));
    send_hanging(address, "hanging");
    run(&format!("{brokers} --delete-config {checks}"));
    compare(&mut java, address, true);
    run("kafka-topics --delete --topic tt");
    run("kafka-topics --delete --topic hanging");
}
