//! The client as the engine and connectors use it.

mod groups;
mod pipelined;
mod transactions;

use std::time::Duration;

use super::*;
use crate::broker::{BrokerConfig, now_ms};
use crate::client::{
    Acks, CommittedOffset, FetchedBatches, GroupMembership, ReaderEvent, TransactionOffsets,
};
use crate::record::BatchBuilder;

async fn client(dir: &std::path::Path) -> EmbeddedClient {
    EmbeddedClient::new(Broker::open(BrokerConfig::new(dir)).await.unwrap())
}

fn batch(values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::default();
    for value in values {
        builder.append(now_ms(), None, Some(value.as_bytes()));
    }
    builder
}

fn values(fetched: &FetchedBatches) -> Vec<String> {
    let mut values = Vec::new();
    for batch in &fetched.batches {
        for record in batch.records().unwrap().iter() {
            values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

async fn next(reader: &mut Box<dyn Reader>) -> FetchedBatches {
    let event = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
    let ReaderEvent::Batches(fetched) = event.expect("an event in time").unwrap() else {
        panic!("not in a group")
    };
    fetched
}

fn a(partition: i32) -> TopicPartition {
    TopicPartition::new("a", partition)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_woken_serves_in_turn_and_knows_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    let from = vec![(a(0), Offset(0)), (a(1), Offset(0))];
    let mut options = ReaderOptions::partitions(from);
    options.event_bytes_max = 1;
    let mut reader = client.reader(options).await.unwrap();
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();

    let woken = tokio::spawn(async move {
        let fetched = next(&mut reader).await;
        (reader, fetched)
    });
    producer.send(&a(1), batch(&["one", "two"])).await.unwrap();
    producer.flush().await.unwrap();
    let (mut reader, fetched) = woken.await.unwrap();
    assert_eq!(
        (fetched.partition.clone(), values(&fetched)),
        (a(1), vec!["one".into(), "two".into()])
    );
    assert_eq!((fetched.next_offset, fetched.end_offset), (Offset(2), Offset(2)));

    for _ in 0..3 {
        producer.send(&a(0), batch(&["x"])).await.unwrap();
        producer.send(&a(1), batch(&["y"])).await.unwrap();
    }
    producer.flush().await.unwrap();
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(next(&mut reader).await.partition.partition);
    }
    assert_eq!(order, [0, 1, 0, 1, 0, 1], "each in turn");

    reader.assign(vec![(a(0), Offset(2))]).await.unwrap();
    let fetched = next(&mut reader).await;
    assert_eq!((fetched.next_offset, fetched.end_offset), (Offset(3), Offset(3)));
    let ends =
        client.list_offsets(&[a(0), a(1)], OffsetSpec::Latest(Isolation::ReadCommitted)).await;
    assert_eq!(ends, Ok(vec![Some(Offset(3)), Some(Offset(5))]));
    let later = client.list_offsets(&[a(0)], OffsetSpec::AtTimestamp(i64::MAX)).await;
    assert_eq!(later, Ok(vec![None]));

    reader.assign(vec![(a(0), Offset(9))]).await.unwrap();
    let error = reader.next().await.unwrap_err();
    assert!(matches!(error, ClientError::OffsetOutOfRange { offset: Offset(9), .. }), "{error}");
    let unknown = reader.assign(vec![(a(7), Offset(0))]).await.unwrap_err();
    assert_eq!(unknown, ClientError::UnknownPartition(a(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_learn_of_a_deletion_and_of_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    let options = || ReaderOptions::partitions(vec![(a(0), Offset(0))]);
    let mut reader = client.reader(options()).await.unwrap();
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    producer.send(&a(0), batch(&["x"])).await.unwrap();
    next(&mut reader).await;
    let waiting = tokio::spawn(async move { reader.next().await.unwrap_err() });
    client.delete_topic("a").await.unwrap();
    assert_eq!(waiting.await.unwrap(), ClientError::UnknownPartition(a(0)));
    let error = producer.send(&a(0), batch(&["x"])).await.unwrap_err();
    assert_eq!(error, ClientError::UnknownPartition(a(0)));

    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    let mut reader = client.reader(options()).await.unwrap();
    let waiting = tokio::spawn(async move { reader.next().await.unwrap_err() });
    client.broker.shutdown().await.unwrap();
    assert_eq!(waiting.await.unwrap(), ClientError::ShuttingDown);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_what_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    let small = NewTopic::new("a", 1).with_config("max.message.bytes", 100);
    client.create_topic(&small).await.unwrap();
    assert_eq!(client.create_topic(&small).await, Err(ClientError::TopicExists("a".into())));
    let gone = client.delete_topic("b").await.unwrap_err();
    assert_eq!(gone, ClientError::UnknownTopic("b".into()));
    let acks = Acks::Leader;
    let options = ProducerOptions { acks, ..ProducerOptions::default() };
    let mut producer = client.producer(options).await.unwrap();
    let error = producer.send(&a(0), batch(&["x".repeat(100).as_str()])).await.unwrap_err();
    assert!(matches!(error, ClientError::BatchTooLarge { size_max: 100, .. }), "{error}");
    assert!(matches!(producer.begin().await, Err(ClientError::Refused { .. })));
}

fn transactional(id: &str) -> ProducerOptions {
    ProducerOptions { transactional_id: Some(id.to_owned()), ..ProducerOptions::default() }
}

async fn all_values(client: &EmbeddedClient, partition: i32) -> Vec<String> {
    let end = OffsetSpec::Latest(Isolation::ReadCommitted);
    let end = client.list_offsets(&[a(partition)], end).await.unwrap()[0].unwrap();
    let from = vec![(a(partition), Offset(0))];
    let mut reader = client.reader(ReaderOptions::partitions(from)).await.unwrap();
    let (mut found, mut next_offset) = (Vec::new(), Offset(0));
    while next_offset < end {
        let fetched = next(&mut reader).await;
        found.extend(values(&fetched));
        next_offset = fetched.next_offset;
    }
    assert_eq!(next_offset, end, "markers at the end are passed too");
    found
}

/// Stands in for a kill: a copy of the directory as it is while the broker runs.
fn copy_of(dir: &std::path::Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let to = copy.path().join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            for file in std::fs::read_dir(entry.path()).unwrap().map(Result::unwrap) {
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
    copy
}
