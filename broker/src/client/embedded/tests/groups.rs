//! Readers in consumer groups.

use super::*;

async fn member(client: &EmbeddedClient) -> Box<dyn Reader> {
    client.reader(ReaderOptions::group("g", vec!["a".into()])).await.unwrap()
}

async fn event(reader: &mut Box<dyn Reader>) -> ReaderEvent {
    let event = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
    event.expect("an event in time").unwrap()
}

async fn assigned(reader: &mut Box<dyn Reader>) -> Vec<i32> {
    match event(reader).await {
        ReaderEvent::Assigned(partitions) => partitions.iter().map(|of| of.partition).collect(),
        other => panic!("{other:?}"),
    }
}

async fn revoked(reader: &mut Box<dyn Reader>) -> Vec<i32> {
    match event(reader).await {
        ReaderEvent::Revoked(partitions) => partitions.iter().map(|of| of.partition).collect(),
        other => panic!("{other:?}"),
    }
}

async fn fill(client: &EmbeddedClient, partitions: i32) {
    let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
    for partition in 0..partitions {
        producer.send(&a(partition), batch(&["x", "y"])).await.unwrap();
    }
    producer.flush().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_partitions_and_take_over() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 4)).await.unwrap();
    fill(&client, 4).await;
    let mut first = member(&client).await;
    assert_eq!(first.group(), None);
    assert_eq!(assigned(&mut first).await, [0, 1, 2, 3]);
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..4 {
        let fetched = next(&mut first).await;
        ends.insert(fetched.partition.partition, fetched.next_offset);
    }
    assert!(ends.values().all(|end| *end == Offset(2)));

    // A second one comes: the first is told to let go, commits, and both get their share.
    let mut second = member(&client).await;
    let joining = tokio::spawn(async move {
        let partitions = assigned(&mut second).await;
        (second, partitions)
    });
    assert_eq!(revoked(&mut first).await, [0, 1, 2, 3]);
    let done: Vec<_> = (0..4).map(|partition| (a(partition), Offset(1))).collect();
    first.commit(&done).await.unwrap();
    let generation = first.group().unwrap().generation;
    let mut shared = assigned(&mut first).await;
    assert_eq!(first.group().unwrap().generation, generation + 1);
    let (mut second, others) = joining.await.unwrap();
    assert_eq!((shared.len(), others.len()), (2, 2));
    for reader in [&mut first, &mut second] {
        for _ in 0..2 {
            let fetched = next(reader).await;
            assert_eq!(fetched.next_offset, Offset(2), "one batch again: it was not committed");
            reader.commit(&[(fetched.partition, Offset(2))]).await.unwrap();
        }
    }

    // It goes away: its partitions come back.
    drop(second);
    assert_eq!(revoked(&mut first).await, shared);
    shared = assigned(&mut first).await;
    assert_eq!(shared, [0, 1, 2, 3]);
    let found = client.committed_offsets("g", &[a(0), a(3)]).await.unwrap();
    assert!(found.iter().all(|one| one.as_ref().unwrap().offset == Offset(2)));
    fill(&client, 1).await;
    assert_eq!(values(&next(&mut first).await), ["x", "y"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_partitions_are_found_and_restarts_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    let unknown = client.reader(ReaderOptions::group("g", vec!["b".into()])).await.err();
    assert_eq!(unknown, Some(ClientError::UnknownTopic("b".into())));
    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    fill(&client, 1).await;
    let mut reader = member(&client).await;
    assert_eq!(assigned(&mut reader).await, [0]);
    next(&mut reader).await;
    reader.commit(&[(a(0), Offset(2))]).await.unwrap();
    client.broker.create_partitions("a", 2).await.unwrap();
    assert_eq!(revoked(&mut reader).await, [0]);
    assert_eq!(assigned(&mut reader).await, [0, 1]);
    let refused = reader.assign(Vec::new()).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { .. }));

    client.broker.shutdown().await.unwrap();
    assert_eq!(reader.next().await.unwrap_err(), ClientError::ShuttingDown);
    drop((reader, client));
    let client = super::client(dir.path()).await;
    fill(&client, 1).await;
    let mut reader = member(&client).await;
    assert_eq!(assigned(&mut reader).await, [0, 1]);
    let fetched = next(&mut reader).await;
    assert_eq!((fetched.partition, fetched.next_offset), (a(0), Offset(4)), "from the committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_offset_a_group_starts_where_it_was_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let client = client(dir.path()).await;
    client.create_topic(&NewTopic::new("a", 1)).await.unwrap();
    fill(&client, 1).await;
    let mut options = ReaderOptions::group("g", vec!["a".into()]);
    let ReadFrom::Group(group) = &mut options.from else { unreachable!() };
    group.without_offset = crate::client::WithoutOffset::Latest;
    let mut reader = client.reader(options).await.unwrap();
    assert_eq!(assigned(&mut reader).await, [0]);
    fill(&client, 1).await;
    let fetched = next(&mut reader).await;
    assert_eq!((fetched.next_offset, fetched.batches.len()), (Offset(4), 1));
}
