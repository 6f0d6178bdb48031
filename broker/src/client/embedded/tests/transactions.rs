//! Transactions: all or nothing, over partitions, offsets, successors and restarts.

use super::*;
use crate::coordinator::transactions::Protocol;

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_seen_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 3)).await.unwrap();
    let mut producer = client.producer(transactional("t")).await.unwrap();
    let error = producer.send(&a(0), batch(&["x"])).await.unwrap_err();
    assert!(error.to_string().contains("call begin first"), "{error}");

    producer.begin().await.unwrap();
    for partition in 0..2 {
        producer.send(&a(partition), batch(&["committed"])).await.unwrap();
        assert_eq!(all_values(&client, partition).await, [""; 0]);
    }
    producer.commit(None).await.unwrap();
    producer.begin().await.unwrap();
    for partition in 0..3 {
        producer.send(&a(partition), batch(&["aborted"])).await.unwrap();
    }
    producer.abort().await.unwrap();
    producer.begin().await.unwrap();
    producer.commit(None).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(&a(1), batch(&["again"])).await.unwrap();
    producer.commit(None).await.unwrap();
    assert_eq!(all_values(&client, 0).await, ["committed"]);
    assert_eq!(all_values(&client, 1).await, ["committed", "again"]);
    assert_eq!(all_values(&client, 2).await, [""; 0]);
    let mut options = ReaderOptions::partitions(vec![(a(2), Offset(0))]);
    options.isolation = Isolation::ReadUncommitted;
    let mut reader = client.reader(options).await.unwrap();
    assert_eq!(values(&next(&mut reader).await), ["aborted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_fences_and_aborts_what_was_left_open() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    let mut first = client.producer(transactional("t")).await.unwrap();
    first.begin().await.unwrap();
    first.send(&a(0), batch(&["zombie"])).await.unwrap();
    let mut second = client.producer(transactional("t")).await.unwrap();
    let fenced = ClientError::Fenced { transactional_id: "t".into() };
    assert_eq!(first.send(&a(0), batch(&["zombie"])).await, Err(fenced.clone()));
    assert_eq!(first.send(&a(1), batch(&["zombie"])).await, Err(fenced.clone()));
    assert_eq!(first.abort().await, Err(fenced));
    second.begin().await.unwrap();
    second.send(&a(0), batch(&["successor"])).await.unwrap();
    second.commit(None).await.unwrap();
    assert_eq!(all_values(&client, 0).await, ["successor"]);
    assert_eq!(all_values(&client, 1).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_goes_away_aborts() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    let mut producer = client.producer(transactional("t")).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(&a(0), batch(&["lost"])).await.unwrap();
    let mut reader =
        client.reader(ReaderOptions::partitions(vec![(a(0), Offset(0))])).await.unwrap();
    drop(producer);
    let fetched = next(&mut reader).await;
    assert_eq!((fetched.batches.len(), fetched.next_offset), (0, Offset(2)), "woken by the abort");
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = client(dir.path()).await;
    first.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    let mut producer = first.producer(transactional("t")).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(&a(0), batch(&["committed"])).await.unwrap();
    producer.send(&a(1), batch(&["committed"])).await.unwrap();
    producer.commit(None).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(&a(0), batch(&["open"])).await.unwrap();
    let killed = copy_of(dir.path());

    let second = client(killed.path()).await;
    assert_eq!(all_values(&second, 0).await, ["committed"]);
    assert_eq!(all_values(&second, 1).await, ["committed"]);
    let stable = second.list_offsets(&[a(0)], OffsetSpec::Latest(Isolation::ReadCommitted)).await;
    assert_eq!(stable, Ok(vec![Some(Offset(4))]), "the open one has ended with its process");
    let mut producer = second.producer(transactional("t")).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(&a(0), batch(&["after"])).await.unwrap();
    producer.commit(None).await.unwrap();
    assert_eq!(all_values(&second, 0).await, ["committed", "after"]);
}

fn offsets(group: &str, offset: i64, membership: Option<GroupMembership>) -> TransactionOffsets {
    let committed = CommittedOffset { offset: Offset(offset), metadata: "note".into() };
    TransactionOffsets { group: group.into(), membership, offsets: vec![(a(0), committed)] }
}

async fn committed_offset(client: &EmbeddedClient, group: &str) -> Option<i64> {
    let found = client.committed_offsets(group, &[a(0)]).await.unwrap();
    found[0].as_ref().map(|committed| committed.offset.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_with_the_records_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let first = client(dir.path()).await;
    first.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    let mut producer = first.producer(transactional("t")).await.unwrap();
    producer.begin().await.unwrap();
    producer.send(&a(1), batch(&["one"])).await.unwrap();
    producer.commit(Some(&offsets("g", 5, None))).await.unwrap();
    assert_eq!(committed_offset(&first, "g").await, Some(5));

    // Offsets alone make a transaction too.
    producer.begin().await.unwrap();
    producer.commit(Some(&offsets("g", 6, None))).await.unwrap();
    assert_eq!(committed_offset(&first, "g").await, Some(6));

    // A member that the group does not know, a zombie, takes the records down with it.
    let (group, member_id) = ("g".to_owned(), "zombie".to_owned());
    let zombie = GroupMembership { group, member_id, generation: 3 };
    producer.begin().await.unwrap();
    producer.send(&a(1), batch(&["two"])).await.unwrap();
    let error = producer.commit(Some(&offsets("g", 7, Some(zombie)))).await.unwrap_err();
    assert!(matches!(error, ClientError::Group { .. }), "{error}");
    let error = producer.commit(None).await.unwrap_err();
    assert!(error.to_string().contains("abort the transaction"), "{error}");
    producer.abort().await.unwrap();
    assert_eq!(committed_offset(&first, "g").await, Some(6));
    assert_eq!(all_values(&first, 1).await, ["one"]);

    let second = client(copy_of(dir.path()).path()).await;
    assert_eq!(committed_offset(&second, "g").await, Some(6));
    assert_eq!(all_values(&second, 1).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_an_offset_waits_for_the_transaction_that_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = client(dir.path()).await;
    first.create_topic(&NewTopic::new("a", 2)).await.unwrap();
    let broker = &first.broker;
    let id = broker.transactions().init_producer("t", 60_000, None).await.unwrap();
    broker.transactions().add_offsets("t", id, "g").await.unwrap();
    let offset = crate::coordinator::groups::OffsetToCommit {
        partition: a(0),
        offset: 9,
        leader_epoch: -1,
        metadata: String::new(),
    };
    let request = crate::coordinator::groups::CommitRequest {
        member: crate::coordinator::groups::MemberClaim::none(),
        producer: Some((id.producer_id, id.epoch)),
        knows_epochs: false,
        offsets: vec![offset],
    };
    broker.groups().commit_offsets("g", request).await.unwrap();
    let asking = {
        let client = first.clone();
        tokio::spawn(async move { committed_offset(&client, "g").await })
    };
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    let (commit, v1) = (crate::record::ControlType::Commit, Protocol::V1);
    broker.transactions().end("t", id, commit, v1).await.unwrap();
    assert_eq!(asking.await.unwrap(), Some(9));
}
