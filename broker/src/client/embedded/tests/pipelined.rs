//! Transactions that are filled while those before are being committed.

use super::*;
use crate::client::PipelinedProducer;

#[tokio::test(flavor = "multi_thread")]
async fn transactions_follow_each_other_without_anyone_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    // Room for less than there is: sending waits, and goes on.
    let producer = client.producer(transactional("t")).await.unwrap();
    let producer = PipelinedProducer::new(producer, 100);
    let mut commits = Vec::new();
    let names: Vec<String> = (0..50).map(|number| format!("value {number}")).collect();
    for name in &names {
        for partition in 0..2 {
            producer.send(a(partition), batch(&[name])).await.unwrap();
        }
        commits.push(producer.commit(None, None).await.unwrap());
    }
    producer.send(a(0), batch(&["left open"])).await.unwrap();
    for commit in commits {
        commit.await.unwrap();
    }
    producer.close().await;
    // Aborted, it no longer holds readers back.
    let end = async || {
        let end = OffsetSpec::Latest(Isolation::ReadCommitted);
        client.list_offsets(&[a(0)], end).await.unwrap()[0].unwrap()
    };
    let mut reader =
        client.reader(ReaderOptions::partitions(vec![(a(0), Offset(100))])).await.unwrap();
    assert_eq!(next(&mut reader).await.next_offset, Offset(102));
    assert_eq!(end().await, Offset(102));
    assert_eq!(all_values(&client, 0).await, names);
    assert_eq!(all_values(&client, 1).await, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_one_that_failed_none_is_committed() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    let producer = client.producer(transactional("t")).await.unwrap();
    let producer = PipelinedProducer::new(producer, 1 << 20);
    let mut commits = Vec::new();
    for (value, partition) in [("good", 0), ("bad", 9), ("late", 0)] {
        producer.send(a(0), batch(&[value])).await.unwrap();
        producer.send(a(partition), batch(&[value])).await.unwrap();
        commits.push(producer.commit(None, None).await.unwrap());
    }
    let unknown = Err(ClientError::UnknownPartition(a(9)));
    let mut ended = Vec::new();
    for commit in commits {
        ended.push(commit.await);
    }
    assert_eq!(ended, [Ok(()), unknown.clone(), unknown]);
    assert_eq!(all_values(&client, 0).await, ["good", "good"]);
}

/// Rows that are seen at once are on disk before the offsets behind them are.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_waits_for_what_it_stands_on() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    let producer = client.producer(transactional("t")).await.unwrap();
    let producer = PipelinedProducer::new(producer, 1 << 20);
    let (flushed, flush) = tokio::sync::oneshot::channel::<Result<(), ClientError>>();
    let after: crate::client::Flushing = Box::pin(async move { flush.await.unwrap() });
    producer.send(a(0), batch(&["first"])).await.unwrap();
    let mut first = producer.commit(None, Some(after)).await.unwrap();
    tokio::select! {
        biased;
        early = &mut first => panic!("{early:?}"),
        () = tokio::task::yield_now() => {}
    }
    flushed.send(Ok(())).unwrap();
    first.await.unwrap();
    let lost = ClientError::UnknownPartition(a(7));
    let failed = lost.clone();
    producer.send(a(1), batch(&["second"])).await.unwrap();
    let after: crate::client::Flushing = Box::pin(async move { Err(failed) });
    assert_eq!(producer.commit(None, Some(after)).await.unwrap().await, Err(lost));
    producer.close().await;
    assert_eq!(all_values(&client, 0).await, ["first"]);
    assert_eq!(all_values(&client, 1).await, [""; 0]);
}

/// Seen at once, and on disk when flushed: what a flush that has begun does not wait for may come
/// meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_seen_before_it_is_flushed() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    let options = ProducerOptions { acks: Acks::OnFlush, ..ProducerOptions::default() };
    let mut producer = client.producer(options).await.unwrap();
    producer.send(&a(0), batch(&["first"])).await.unwrap();
    assert_eq!(all_values(&client, 0).await, ["first"]);
    let flushing = producer.flushing();
    producer.send(&a(0), batch(&["second"])).await.unwrap();
    assert_eq!(all_values(&client, 0).await, ["first", "second"]);
    flushing.await.unwrap();
    producer.flush().await.unwrap();
}
