//! Topics and partitions through restarts, orderly and not.

mod cleaner;
mod compacted;
mod power_cuts;

use super::*;
use crate::client::{Acks, Isolation, NewTopic};
use crate::ids::Offset;
use crate::log::{AppendOptions, Origin, ReadOptions};
use crate::record::{BatchBuilder, ProducerStamp, RecordBatch};

async fn open(dir: &std::path::Path) -> Arc<Broker> {
    Broker::open(BrokerConfig::new(dir)).await.unwrap()
}

async fn produce(partition: &Arc<Partition>, value: &str, acks: Acks) -> Offset {
    let mut builder = BatchBuilder::default();
    builder.append(now_ms(), None, Some(value.as_bytes()));
    let batch = builder.build(ProducerStamp::NONE).into_bytes();
    let options = AppendOptions { origin: Origin::Client, acks, now_ms: now_ms() };
    partition.produce(batch, options).await.unwrap().base_offset
}

fn values(partition: &Partition) -> Vec<String> {
    let isolation = Isolation::ReadCommitted;
    let options = ReadOptions { isolation, bytes_max: 1 << 20, at_least_one: true };
    let slice = partition.read(Offset(0), options).unwrap();
    let mut values = Vec::new();
    for batch in RecordBatch::split_all(slice.records).unwrap() {
        for record in batch.records().unwrap().iter() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

/// What a kill leaves: nothing is closed, the lock is free.
async fn kill(broker: Arc<Broker>) {
    broker.stop.cancel();
    broker.jobs.close();
    broker.jobs.wait().await;
    assert_eq!(Arc::strong_count(&broker), 1, "nothing else holds the broker");
    drop(broker);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_survive_a_shutdown_and_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let cluster_id = broker.cluster_id().to_owned();
    let topic = broker.create_topic(NewTopic::new("a", 2)).await.unwrap();
    let id = topic.id;
    produce(&topic.partitions()[0], "one", Acks::All).await;
    produce(&topic.partitions()[1], "two", Acks::Leader).await;
    broker.shutdown().await.unwrap();
    drop((broker, topic));

    let broker = open(dir.path()).await;
    assert_eq!(broker.recovery_reports(), []);
    assert_eq!(broker.cluster_id(), cluster_id);
    let topic = broker.topic_by_id(id).unwrap();
    assert_eq!(values(&topic.partitions()[0]), ["one"]);
    assert_eq!(values(&topic.partitions()[1]), ["two"]);
    produce(&topic.partitions()[0], "three", Acks::All).await;
    drop(topic);
    kill(broker).await;

    let broker = open(dir.path()).await;
    let [(partition, report)] = broker.recovery_reports() else { panic!("one was written to") };
    assert_eq!((partition.to_string().as_str(), report.cuts.len()), ("a-0", 0));
    let partition = broker.partition(&TopicPartition::new("a", 0)).unwrap();
    assert_eq!(values(&partition), ["one", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_changed_and_deleted_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let code = |result: Result<Arc<Topic>, TopicError>| result.unwrap_err().code();
    let first = broker.create_topic(NewTopic::new("a.b", 1)).await.unwrap();
    assert_eq!(code(broker.create_topic(NewTopic::new("a.b", 1)).await), 36);
    assert_eq!(code(broker.create_topic(NewTopic::new("a_b", 1)).await), 17);
    assert_eq!(code(broker.create_topic(NewTopic::new("c", 0)).await), 37);
    let wrong = NewTopic::new("c", 1).with_config("retention.ms", "soon");
    assert_eq!(code(broker.create_topic(wrong).await), 40);
    std::fs::create_dir(dir.path().join("d-0")).unwrap();
    assert_eq!(code(broker.create_topic(NewTopic::new("d", 1)).await), 56);
    assert!(broker.topic("c").is_none() && broker.topic("d").is_none());

    assert_eq!(code(broker.create_partitions("a.b", 1).await), 37);
    let grown = broker.create_partitions("a.b", 3).await.unwrap();
    assert_eq!((grown.id, grown.partitions_count()), (first.id, 3));
    let configs = BTreeMap::from([("max.message.bytes".to_owned(), "100".to_owned())]);
    broker.set_topic_configs("a.b", configs.clone()).await.unwrap();
    assert_eq!(grown.partitions()[2].config().max_message_bytes, 100);
    assert_eq!(code(broker.set_topic_configs("x", configs.clone()).await), 3);

    let mut changes = broker.changes();
    changes.mark_unchanged();
    broker.delete_topic("a.b").await.unwrap();
    assert!(changes.has_changed().unwrap());
    assert_eq!(broker.delete_topic("a.b").await.unwrap_err().code(), 3);
    assert!(grown.partitions()[0].is_closed());
    let again = broker.topic_or_create("a.b").await.unwrap();
    assert_ne!(again.id, first.id);
    assert_eq!((again.partitions_count(), again.config.own()), (1, &BTreeMap::new()));
    broker.shutdown().await.unwrap();
    assert_eq!(code(broker.create_topic(NewTopic::new("e", 1)).await), 6);
    drop((broker, first, grown, again));
    let broker = open(dir.path()).await;
    let names: Vec<String> = broker.topics().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(names, ["a.b"]);
    assert!(!dir.path().join("a.b-2").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_directory_has_one_broker() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    broker.announce("127.0.0.1:9092").unwrap();
    let error = Broker::open(BrokerConfig::new(dir.path())).await.unwrap_err();
    let OpenError::DataDir(DataDirError::Locked { pid, address, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!(pid, Some(std::process::id()));
    assert_eq!(address.as_deref(), Some("127.0.0.1:9092"));
    broker.shutdown().await.unwrap();
    open(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_ms_makes_records_durable_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let new = NewTopic::new("a", 1).with_config("flush.ms", 1);
    let topic = broker.create_topic(new).await.unwrap();
    let partition = topic.partition(0).unwrap();
    let offset = produce(partition, "one", Acks::All).await;
    partition.synced(offset).await.unwrap();
    broker.shutdown().await.unwrap();
}
