//! What groups and transactions are kept in is compacted like any topic, and Kafka's own tool
//! reads what we write, compacted or not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;
use crate::coordinator::groups::{CommitRequest, MemberClaim, OffsetToCommit};
use crate::coordinator::transactions::{ProducerIdentity, Protocol};
use crate::ids::{ProducerEpoch, ProducerId};
use crate::log::{Cleanup, LogConfig};
use crate::record::{Compression, ControlType};
use crate::topics::{CONSUMER_OFFSETS, TRANSACTION_STATE};

fn a(partition: i32) -> TopicPartition {
    TopicPartition::new("a", partition)
}

async fn commit(broker: &Broker, group: &str, offset: i64, producer: Option<ProducerIdentity>) {
    let offset =
        OffsetToCommit { partition: a(0), offset, leader_epoch: -1, metadata: String::new() };
    let request = CommitRequest {
        member: MemberClaim::none(),
        producer: producer.map(|producer| (producer.producer_id, producer.epoch)),
        knows_epochs: false,
        offsets: vec![offset],
    };
    let committed = broker.groups().commit_offsets(group, request).await.unwrap();
    assert!(committed.iter().all(Result::is_ok), "{committed:?}");
}

/// One transaction: offsets of a group and a record, ended as said or left open.
async fn transact(broker: &Broker, id: &str, offset: i64, end: Option<ControlType>) {
    let transactions = broker.transactions();
    let producer = transactions.init_producer(id, 60_000, None).await.unwrap();
    transactions.add_offsets(id, producer, id).await.unwrap();
    commit(broker, id, offset, Some(producer)).await;
    if let Some(end) = end {
        transactions.end(id, producer, end, Protocol::V1).await.unwrap();
    }
}

/// Makes segments smaller than the topic's settings can, so that there are some to compact.
fn shrink(broker: &Broker, topic: &str, cleanup: Cleanup) {
    for partition in broker.topic(topic).unwrap().partitions() {
        let (segment_bytes, index_interval_bytes) = (900, 50);
        let config = (*partition.config()).clone();
        let config = LogConfig { cleanup, segment_bytes, index_interval_bytes, ..config };
        partition.set_config(config);
    }
}

const COMPACT: Cleanup = Cleanup { delete: false, compact: true };

fn bytes_of(broker: &Broker, topic: &str) -> u64 {
    broker.topic(topic).unwrap().partitions().iter().map(|partition| partition.size()).sum()
}

async fn compact_all(broker: &Arc<Broker>) {
    let broker = broker.clone();
    let compact = move || {
        for topic in broker.topics() {
            topic.partitions().iter().for_each(|partition| partition.flush_blocking().unwrap());
        }
        broker.compact_logs(&CancellationToken::new());
    };
    tokio::task::spawn_blocking(compact).await.unwrap();
}

/// Groups `g0` to `g2` with offsets, transactions of `t` and `u` one after the other, and `open`.
async fn fill(broker: &Arc<Broker>) {
    broker.create_topic(NewTopic::new("a", 1)).await.unwrap();
    transact(broker, "t", 0, Some(ControlType::Commit)).await;
    shrink(broker, CONSUMER_OFFSETS, COMPACT);
    shrink(broker, TRANSACTION_STATE, COMPACT);
    for round in 1..=12 {
        let groups = (0..3).map(|number| async move {
            commit(broker, &format!("g{number}"), round * 10 + number, None).await;
        });
        futures::future::join_all(groups).await;
        let end = if round % 3 == 0 { ControlType::Abort } else { ControlType::Commit };
        transact(broker, "t", round, Some(end)).await;
        transact(broker, "u", round, Some(ControlType::Commit)).await;
    }
    transact(broker, "open", 7, None).await;
}

fn committed(broker: &Broker, group: &str) -> Option<i64> {
    let mut found = broker.groups().fetch_offsets(group, Some(&[a(0)]), false);
    Some(found.pop()?.1.unwrap()?.offset)
}

async fn check_state(broker: &Arc<Broker>) {
    for number in 0..3 {
        assert_eq!(committed(broker, &format!("g{number}")), Some(120 + number));
    }
    assert_eq!((committed(broker, "t"), committed(broker, "u")), (Some(11), Some(12)));
    assert_eq!(committed(broker, "open"), None, "its transaction has not ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_and_open_transactions_outlive_compaction_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    fill(&broker).await;
    let before = [CONSUMER_OFFSETS, TRANSACTION_STATE].map(|topic| bytes_of(&broker, topic));
    compact_all(&broker).await;
    let after = [CONSUMER_OFFSETS, TRANSACTION_STATE].map(|topic| bytes_of(&broker, topic));
    assert!(after[0] < before[0] && after[1] < before[1] / 2, "{before:?} became {after:?}");
    check_state(&broker).await;
    kill(broker).await;

    let broker = open(dir.path()).await;
    check_state(&broker).await;
    compact_all(&broker).await;
    broker.shutdown().await.unwrap();
    drop(broker);
    let broker = open(dir.path()).await;
    check_state(&broker).await;
    // The one who has it open ends it: nothing of it was forgotten.
    let listed = broker.groups().fetch_offsets("open", None, false);
    assert!(listed.is_empty(), "{listed:?}");
    let stored = offsets_partition(&broker, "open");
    let [open] = open_transactions(&stored)[..] else { panic!("one is open") };
    let commit = ControlType::Commit;
    broker.transactions().end("open", open, commit, Protocol::V1).await.unwrap();
    assert_eq!(committed(&broker, "open"), Some(7));
}

fn offsets_partition(broker: &Broker, group: &str) -> Arc<Partition> {
    let topic = broker.topic(CONSUMER_OFFSETS).unwrap();
    let number = crate::coordinator::state_log::partition_for(group, topic.partitions_count());
    topic.partition(number).unwrap().clone()
}

fn open_transactions(partition: &Partition) -> Vec<ProducerIdentity> {
    let open = partition.producers().into_iter().filter(|one| one.transaction_start.is_some());
    let identity = |producer: crate::log::ProducerDescription| ProducerIdentity {
        producer_id: producer.producer_id,
        epoch: producer.epoch,
    };
    open.map(identity).collect()
}

/// What Kafka's DumpLogSegments says to these files; `None`, with a notice, where Java is missing.
fn dump(files: &[PathBuf], options: &[&str]) -> Option<String> {
    for tool in ["java", "mvn"] {
        if Command::new(tool).arg("-version").output().is_err() {
            eprintln!("skipped: Kafka's tool needs '{tool}', which is not installed");
            return None;
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka");
    let quiet = format!("-Dlog4j2.configurationFile={}", folder.join("quiet.properties").display());
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let output = Command::new(folder.join("start-kafka.sh"))
        .args(["class", "kafka.tools.DumpLogSegments", "--files", &names.join(",")])
        .args(options)
        .env("KAFKA_JVM_OPTIONS", quiet)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = [output.stderr, output.stdout].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{printed}");
    Some(printed)
}

/// Files of a topic that have one of these kinds, in order.
fn files(dir: &Path, topic: &str, kinds: &[&str]) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.rsplit_once('-').is_some_and(|(of, _)| of == topic) {
            let inside = std::fs::read_dir(entry.path()).unwrap();
            files.extend(inside.map(|file| file.unwrap().path()));
        }
    }
    let kind = |file: &PathBuf| file.extension().and_then(|kind| kind.to_str().map(str::to_owned));
    files.retain(|file| kind(file).is_some_and(|kind| kinds.contains(&kind.as_str())));
    files.sort();
    files
}

fn complaints(printed: &str) -> Vec<&str> {
    let bad = ["Mismatches", "out of order", "isvalid: false", "Exception", "Error", "ERROR"];
    let bad = |line: &&str| bad.iter().any(|bad| line.contains(bad)) || line.contains("Could not");
    printed.lines().filter(bad).collect()
}

/// Topics of records in all codecs, with transactions that ended either way.
async fn fill_topic(broker: &Arc<Broker>, name: &str, cleanup: Cleanup) {
    let topic = broker.create_topic(NewTopic::new(name, 1)).await.unwrap();
    shrink(broker, name, cleanup);
    let partition = topic.partition(0).unwrap();
    let append = |origin, batch: RecordBatch| {
        let options = AppendOptions { origin, acks: Acks::Leader, now_ms: now_ms() };
        partition.append(batch.into_bytes(), options).unwrap();
    };
    for round in 0..60i32 {
        let mut builder =
            BatchBuilder::new(Compression::from_attributes(round as i16 % 5).unwrap());
        for number in 0..3 {
            let key = format!("key {}", (round + number) % 7);
            let value = (round % 4 > 0).then_some(b"value of a record".as_slice());
            let headers = [("name", Some(b"x".as_slice())), ("none", None)];
            let time_ms = now_ms() + i64::from(round * 7 % 50);
            builder.append_with_headers(time_ms, Some(key.as_bytes()), value, &headers);
        }
        let producer_id = ProducerId(i64::from(round % 3) - 1);
        let transactional = producer_id.0 == 1;
        let stamp = ProducerStamp {
            producer_id,
            epoch: ProducerEpoch(if producer_id.is_some() { 0 } else { -1 }),
            base_sequence: if producer_id.is_some() { round / 3 * 3 } else { -1 },
            transactional,
        };
        append(Origin::Embedded, builder.build(stamp));
        if transactional {
            let kind = if round % 2 == 0 { ControlType::Abort } else { ControlType::Commit };
            let marker =
                crate::record::control_batch(producer_id, ProducerEpoch(0), kind, 0, now_ms());
            append(Origin::Coordinator, marker);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_own_tool_reads_segments_and_indexes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    fill(&broker).await;
    fill_topic(&broker, "plain", Cleanup { delete: true, compact: false }).await;
    fill_topic(&broker, "compacted", COMPACT).await;
    let before = bytes_of(&broker, "compacted");
    compact_all(&broker).await;
    assert!(bytes_of(&broker, "compacted") < before / 2);
    broker.shutdown().await.unwrap();
    let all = ["log", "index", "timeindex", "txnindex", "snapshot"];
    tokio::task::spawn_blocking(move || {
        let plain = files(dir.path(), "plain", &all);
        for kind in all {
            assert!(plain.iter().any(|file| file.extension().unwrap() == kind), "{kind}");
        }
        let Some(printed) = dump(&plain, &["--deep-iteration"]) else { return };
        assert_eq!(complaints(&printed), [""; 0]);
        assert!(!printed.contains("Non-consecutive"), "{printed}");
        assert_eq!(printed.matches("| offset: ").count(), 180 + 20, "{printed}");
        for kind in ["producerId: 1", "firstOffset: ", "endTxnMarker: ABORT", "codec: zstd"] {
            assert!(printed.to_lowercase().contains(&kind.to_lowercase()), "{kind}: {printed}");
        }
        let compacted = files(dir.path(), "compacted", &all);
        let printed = dump(&compacted, &["--deep-iteration", "--verify-index-only"]).unwrap();
        assert_eq!(complaints(&printed), [""; 0]);
        assert!(printed.contains("deleteHorizonMs: OptionalLong[1"), "{printed}");
        let indexes = ["index", "timeindex"];
        let indexes: Vec<PathBuf> = ["plain", "compacted", CONSUMER_OFFSETS, TRANSACTION_STATE]
            .iter()
            .flat_map(|topic| files(dir.path(), topic, &indexes))
            .collect();
        let printed = dump(&indexes, &["--index-sanity-check"]).unwrap();
        let fine =
            |line: &&str| ["Dumping", "is empty", "passed"].iter().any(|fine| line.contains(fine));
        let others: Vec<&str> = printed.lines().filter(|line| !fine(line)).collect();
        assert_eq!(others, [""; 0]);

        let printed =
            dump(&files(dir.path(), CONSUMER_OFFSETS, &["log"]), &["--offsets-decoder"]).unwrap();
        assert_eq!(complaints(&printed), [""; 0]);
        assert!(printed.contains(r#""group":"g1","topic":"a","partition":0"#), "{printed}");
        assert!(printed.contains(r#""offset":121"#), "{printed}");
        let states = files(dir.path(), TRANSACTION_STATE, &["log"]);
        let printed = dump(&states, &["--transaction-log-decoder"]).unwrap();
        assert_eq!(complaints(&printed), [""; 0]);
        assert!(printed.contains("transactionalId"), "{printed}");
    })
    .await
    .unwrap();
}
