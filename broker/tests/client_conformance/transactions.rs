//! Transactions: all or nothing, and one producer of a name at a time.

use std::time::Duration;

use broker::client::{
    ClientError, CommittedOffset, Isolation, OffsetSpec, ReaderEvent, ReaderOptions,
    TransactionOffsets,
};
use broker::ids::Offset;

use crate::harness::{
    Subject, at, catch_up_to, plain_producer, read, read_from, reader_at, topic,
    transactional_producer, unique, values, write,
};

pub async fn only_what_is_committed_is_read(client: Subject) {
    let name = topic(&client, "atomic", 2).await;
    let (to, other) = (at(&name, 0), at(&name, 1));
    let mut producer = transactional_producer(&client, &unique("atomic")).await;
    for (start, commits) in [(0, true), (10, false), (20, true), (30, false)] {
        producer.begin().await.unwrap();
        producer.send(&to, values(start..start + 3)).await.unwrap();
        producer.send(&other, values([start])).await.unwrap();
        // Written, though not visible yet.
        producer.flush().await.unwrap();
        if commits {
            producer.commit(None).await.unwrap();
        } else {
            producer.abort().await.unwrap();
        }
    }
    // Three records and a marker each time.
    let caught = read(&client, &to).await;
    assert_eq!(caught.values(), ["0", "1", "2", "20", "21", "22"]);
    assert_eq!(caught.offsets(), [0, 1, 2, 8, 9, 10]);
    assert_eq!(caught.end, 16, "past what was aborted, markers included");
    assert_eq!(read(&client, &other).await.values(), ["0", "20"]);

    let all = read_from(&client, &to, 0, Isolation::ReadUncommitted).await;
    assert_eq!(all.offsets(), [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]);
    assert_eq!(all.end, 16);
    // Into the middle of what was aborted.
    assert_eq!(read_from(&client, &to, 5, Isolation::ReadCommitted).await.offsets(), [8, 9, 10]);
}

pub async fn an_open_transaction_holds_readers_back(client: Subject) {
    let to = at(&topic(&client, "stable", 1).await, 0);
    write(&client, &to, values(["before"])).await;
    let mut producer = transactional_producer(&client, &unique("stable")).await;
    producer.begin().await.unwrap();
    producer.send(&to, values(["open"])).await.unwrap();
    producer.flush().await.unwrap();
    write(&client, &to, values(["after"])).await;

    let latest = async |isolation| {
        let found =
            client.list_offsets(std::slice::from_ref(&to), OffsetSpec::Latest(isolation)).await;
        found.unwrap()[0].unwrap().0
    };
    assert_eq!(latest(Isolation::ReadCommitted).await, 1);
    assert_eq!(latest(Isolation::ReadUncommitted).await, 3);
    let mut reader = reader_at(&client, &to, 0, Isolation::ReadCommitted).await;
    let caught = catch_up_to(reader.as_mut(), &to, 0, 1).await;
    assert_eq!((caught.values(), caught.end), (vec!["before".to_owned()], 1));
    let mut uncommitted = reader_at(&client, &to, 0, Isolation::ReadUncommitted).await;
    let uncommitted = catch_up_to(uncommitted.as_mut(), &to, 0, 3).await;
    assert_eq!(uncommitted.values(), ["before", "open", "after"]);

    let (outcome, caught) =
        tokio::join!(producer.commit(None), catch_up_to(reader.as_mut(), &to, 1, 4));
    outcome.unwrap();
    assert_eq!(caught.values(), ["open", "after"]);
    assert_eq!(latest(Isolation::ReadCommitted).await, 4);
}

pub async fn offsets_commit_with_the_records(client: Subject) {
    let input = topic(&client, "input", 2).await;
    let to = at(&topic(&client, "output", 1).await, 0);
    let group = unique("group");
    let partitions = [at(&input, 1), at(&input, 0), at(&input, 1)];
    let committed = async || client.committed_offsets(&group, &partitions).await.unwrap();
    assert_eq!(committed().await, [None, None, None]);

    let offsets = |offset, metadata: &str| TransactionOffsets {
        group: group.clone(),
        membership: None,
        offsets: vec![(
            partitions[0].clone(),
            CommittedOffset { offset: Offset(offset), metadata: metadata.to_owned() },
        )],
    };
    let mut producer = transactional_producer(&client, &unique("offsets")).await;
    producer.begin().await.unwrap();
    producer.send(&to, values(["one"])).await.unwrap();
    producer.commit(Some(&offsets(7, "state/7"))).await.unwrap();
    let found = CommittedOffset { offset: Offset(7), metadata: "state/7".to_owned() };
    assert_eq!(committed().await, [Some(found.clone()), None, Some(found.clone())]);
    assert_eq!(read(&client, &to).await.values(), ["one"]);

    producer.begin().await.unwrap();
    producer.send(&to, values(["two"])).await.unwrap();
    producer.abort().await.unwrap();
    assert_eq!(committed().await[0], Some(found));

    // Offsets alone.
    producer.begin().await.unwrap();
    producer.commit(Some(&offsets(9, ""))).await.unwrap();
    let found = CommittedOffset { offset: Offset(9), metadata: String::new() };
    assert_eq!(committed().await[0], Some(found));
    assert_eq!(read(&client, &to).await.values(), ["one"]);
}

pub async fn a_newer_producer_fences_the_older(client: Subject) {
    let to = at(&topic(&client, "fence", 1).await, 0);
    let id = unique("fence");
    let fenced = Err(ClientError::Fenced { transactional_id: id.clone() });
    let mut older = transactional_producer(&client, &id).await;
    older.begin().await.unwrap();
    older.send(&to, values(["older"])).await.unwrap();
    older.flush().await.unwrap();

    let mut newer = transactional_producer(&client, &id).await;
    newer.begin().await.unwrap();
    newer.send(&to, values(["newer"])).await.unwrap();
    assert_eq!(older.commit(None).await, fenced);
    newer.commit(None).await.unwrap();
    assert_eq!(older.begin().await, fenced);
    assert_eq!(read(&client, &to).await.values(), ["newer"]);
}

pub async fn what_an_earlier_run_left_open_is_aborted(client: Subject) {
    let to = at(&topic(&client, "orphan", 1).await, 0);
    let id = unique("orphan");
    let mut crashed = transactional_producer(&client, &id).await;
    crashed.begin().await.unwrap();
    crashed.send(&to, values(["left open"])).await.unwrap();
    crashed.flush().await.unwrap();
    drop(crashed);

    let mut next = transactional_producer(&client, &id).await;
    let caught = read(&client, &to).await;
    assert!(caught.rows.is_empty(), "{caught:?}");
    next.begin().await.unwrap();
    next.send(&to, values(["done"])).await.unwrap();
    next.commit(None).await.unwrap();
    assert_eq!(read(&client, &to).await.values(), ["done"]);
}

pub async fn calls_out_of_turn_are_refused(client: Subject) {
    let is_refused = |outcome: Result<(), ClientError>| {
        assert!(matches!(outcome, Err(ClientError::Refused { .. })), "{outcome:?}");
    };
    let to = at(&topic(&client, "turn", 1).await, 0);
    let mut plain = plain_producer(&client).await;
    is_refused(plain.begin().await);
    is_refused(plain.commit(None).await);
    is_refused(plain.abort().await);

    let mut producer = transactional_producer(&client, &unique("turn")).await;
    is_refused(producer.commit(None).await);
    is_refused(producer.abort().await);
    is_refused(producer.send(&to, values(["outside"])).await);
    producer.begin().await.unwrap();
    is_refused(producer.begin().await);
    producer.send(&to, values(["inside"])).await.unwrap();
    producer.commit(None).await.unwrap();
    is_refused(producer.commit(None).await);
    assert_eq!(read(&client, &to).await.values(), ["inside"]);
}

/// KIP-447: what a member read may be written by another by now.
pub async fn a_member_that_left_commits_nothing(client: Subject) {
    let input = topic(&client, "zombie-in", 1).await;
    let to = at(&topic(&client, "zombie-out", 1).await, 0);
    let group = unique("zombies");
    let mut reader =
        client.reader(ReaderOptions::group(&group, vec![input.clone()])).await.unwrap();
    assert!(matches!(reader.next().await.unwrap(), ReaderEvent::Assigned(_)));
    let membership = reader.group().unwrap();
    assert_eq!(membership.group, group);
    let offsets = TransactionOffsets {
        group: group.clone(),
        membership: Some(membership),
        offsets: vec![(
            at(&input, 0),
            CommittedOffset { offset: Offset(3), metadata: String::new() },
        )],
    };
    let mut producer = transactional_producer(&client, &unique("zombies")).await;
    producer.begin().await.unwrap();
    producer.send(&to, values(["alive"])).await.unwrap();
    producer.commit(Some(&offsets)).await.unwrap();

    // Another member takes over.
    drop(reader);
    let mut heir = client.reader(ReaderOptions::group(&group, vec![input.clone()])).await.unwrap();
    assert!(matches!(heir.next().await.unwrap(), ReaderEvent::Assigned(_)));
    producer.begin().await.unwrap();
    producer.send(&to, values(["zombie"])).await.unwrap();
    let outcome = producer.commit(Some(&offsets)).await;
    assert!(
        matches!(&outcome, Err(ClientError::Group { group: of, .. }) if *of == group),
        "{outcome:?}"
    );
    producer.abort().await.unwrap();
    assert_eq!(read(&client, &to).await.values(), ["alive"]);

    // The producer itself is sound.
    producer.begin().await.unwrap();
    producer.send(&to, values(["again"])).await.unwrap();
    producer.commit(None).await.unwrap();
    assert_eq!(read(&client, &to).await.values(), ["alive", "again"]);
    tokio::time::timeout(Duration::from_secs(1), heir.next()).await.ok();
}
