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
        commits.push(producer.commit(None).await.unwrap());
    }
    producer.send(a(0), batch(&["left open"])).await.unwrap();
    for commit in commits {
        commit.await.unwrap();
    }
    drop(producer);
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
        commits.push(producer.commit(None).await.unwrap());
    }
    let unknown = Err(ClientError::UnknownPartition(a(9)));
    let mut ended = Vec::new();
    for commit in commits {
        ended.push(commit.await);
    }
    assert_eq!(ended, [Ok(()), unknown.clone(), unknown]);
    assert_eq!(all_values(&client, 0).await, ["good", "good"]);
}
