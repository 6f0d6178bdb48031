//! Records: written and read, by offset and by time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::client::{
    Acks, ClientError, Isolation, NewTopic, OffsetSpec, ProducerOptions, ReaderOptions,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::Compression;

use crate::harness::{
    Row, Subject, at, batch, batch_packed, catch_up_to, next_batches, plain_producer, read,
    read_from, reader_at, rows_of, topic, unique, values, write,
};
#[cfg(feature = "kafka")]
use crate::harness::{Serving, remote};

pub async fn records_come_back_as_they_were_sent(client: Subject) {
    let to = at(&topic(&client, "faithful", 2).await, 1);
    let headers = vec![
        ("trace".to_owned(), Some(b"1".to_vec())),
        ("trace".to_owned(), Some(b"2".to_vec())),
        ("none".to_owned(), None),
        ("empty".to_owned(), Some(Vec::new())),
        ("größe".to_owned(), Some(vec![0, 255])),
    ];
    let rows = [
        Row { key: Some(b"key".to_vec()), headers, ..Row::new(1_357_034_400_000, "first") },
        Row { value: None, key: Some(b"gone".to_vec()), ..Row::new(5, "") },
        Row { key: Some(Vec::new()), ..Row::new(1_357_034_400_001, "") },
        Row { value: None, ..Row::new(2, "") },
        Row::new(1_357_034_399_999, "earlier than the first"),
    ];
    write(&client, &to, batch(&rows)).await;
    write(&client, &to, batch(&rows[..1])).await;

    let caught = read(&client, &to).await;
    let expected: Vec<(i64, Row)> = (0..).zip(rows.iter().chain(&rows[..1]).cloned()).collect();
    assert_eq!(caught.rows, expected);
    assert_eq!(caught.end, 6);
    assert!(read(&client, &at(&to.topic, 0)).await.rows.is_empty());
}

pub async fn all_codecs_come_back(client: Subject) {
    let name = topic(&client, "packed", 5).await;
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    let rows: Vec<Row> = (0..500).map(|n| Row::new(n + 1, format!("line {n} of many"))).collect();
    for (partition, codec) in (0..).zip(codecs) {
        let to = at(&name, partition);
        write(&client, &to, batch_packed(&rows, codec)).await;
        let caught = read(&client, &to).await;
        assert!(caught.rows.into_iter().map(|(_, row)| row).eq(rows.clone()), "{codec}");
    }
}

pub async fn a_reader_starts_where_it_is_told(client: Subject) {
    let to = at(&topic(&client, "start", 1).await, 0);
    write(&client, &to, values(0..100)).await;
    let caught = read_from(&client, &to, 97, Isolation::ReadCommitted).await;
    assert_eq!(caught.offsets(), [97, 98, 99]);

    // The same reader goes where it is sent: back, ahead, and nowhere for a while.
    let mut reader = reader_at(&client, &to, 97, Isolation::ReadCommitted).await;
    catch_up_to(reader.as_mut(), &to, 97, 100).await;
    for start in [0, 98, 50] {
        reader.assign(vec![(to.clone(), Offset(start))]).await.unwrap();
        let caught = catch_up_to(reader.as_mut(), &to, start, 100).await;
        assert!(caught.offsets().into_iter().eq(start..100), "from {start}");
    }
    reader.assign(Vec::new()).await.unwrap();
    write(&client, &to, values(["more"])).await;
    let quiet = tokio::time::timeout(Duration::from_millis(500), reader.next()).await;
    assert!(quiet.is_err(), "nothing is assigned: {quiet:?}");
    reader.assign(vec![(to.clone(), Offset(99))]).await.unwrap();
    assert_eq!(catch_up_to(reader.as_mut(), &to, 99, 101).await.offsets(), [99, 100]);
}

pub async fn an_offset_outside_the_log_is_an_error(client: Subject) {
    let name = topic(&client, "outside", 2).await;
    let (to, other) = (at(&name, 0), at(&name, 1));
    write(&client, &to, values(0..10)).await;
    let mut reader = reader_at(&client, &to, 11, Isolation::ReadCommitted).await;
    let expected = ClientError::OffsetOutOfRange {
        partition: to.clone(),
        offset: Offset(11),
        start: Offset(0),
        end: Offset(10),
    };
    assert_eq!(next_batches(reader.as_mut()).await.unwrap_err(), expected);

    // It is of use still.
    write(&client, &other, values(["here"])).await;
    reader.assign(vec![(other.clone(), Offset(0))]).await.unwrap();
    assert_eq!(catch_up_to(reader.as_mut(), &other, 0, 1).await.values(), ["here"]);
    reader.assign(vec![(to.clone(), Offset(8))]).await.unwrap();
    assert_eq!(catch_up_to(reader.as_mut(), &to, 8, 10).await.offsets(), [8, 9]);
}

pub async fn the_end_is_reached_exactly(client: Subject) {
    let name = topic(&client, "end", 2).await;
    let (to, empty) = (at(&name, 0), at(&name, 1));
    let mut reader = reader_at(&client, &to, 0, Isolation::ReadCommitted).await;
    let mut end = 0;
    for count in [1, 1, 300, 7] {
        write(&client, &to, values(0..count)).await;
        let caught = catch_up_to(reader.as_mut(), &to, end, end + count).await;
        assert!(caught.offsets().into_iter().eq(end..end + count));
        end += count;
        assert_eq!(caught.end, end);
        let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
        let found = client.list_offsets(&[to.clone(), empty.clone()], latest).await.unwrap();
        assert_eq!(found, [Some(Offset(end)), Some(Offset(0))]);
    }
}

pub async fn offsets_are_found_by_time(client: Subject) {
    let name = topic(&client, "time", 2).await;
    let (to, empty) = (at(&name, 0), at(&name, 1));
    for timestamp in [1_000, 2_000, 2_000, 5_000] {
        write(&client, &to, batch(&[Row::new(timestamp, "x")])).await;
    }
    let find = async |timestamp| {
        let asked = [to.clone(), empty.clone(), to.clone()];
        let found = client.list_offsets(&asked, OffsetSpec::AtTimestamp(timestamp)).await.unwrap();
        assert_eq!((found[0], found[1]), (found[2], None), "one for each asked, in order");
        found[0].map(|offset| offset.0)
    };
    assert_eq!(find(0).await, Some(0));
    assert_eq!(find(1_000).await, Some(0));
    assert_eq!(find(1_001).await, Some(1));
    assert_eq!(find(2_000).await, Some(1));
    assert_eq!(find(2_001).await, Some(3));
    assert_eq!(find(5_000).await, Some(3));
    assert_eq!(find(5_001).await, None);
    let earliest = client.list_offsets(&[to, empty], OffsetSpec::Earliest).await.unwrap();
    assert_eq!(earliest, [Some(Offset(0)), Some(Offset(0))]);
}

pub async fn a_waiting_reader_wakes_up(client: Subject) {
    let to = at(&topic(&client, "wake", 1).await, 0);
    let mut reader = reader_at(&client, &to, 0, Isolation::ReadCommitted).await;
    let mut producer = plain_producer(&client).await;
    let mut slowest = Duration::ZERO;
    for round in 0..20 {
        let wait = async {
            loop {
                let fetched = next_batches(reader.as_mut()).await.unwrap();
                if !fetched.batches.is_empty() {
                    return (rows_of(&fetched, round), Instant::now());
                }
            }
        };
        let send = async {
            // Late enough that the reader is waiting.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let sent = Instant::now();
            producer.send(&to, values([round])).await.unwrap();
            producer.flush().await.unwrap();
            sent
        };
        let ((rows, woken), sent) = tokio::join!(wait, send);
        assert_eq!((rows.len(), rows[0].0), (1, round));
        slowest = slowest.max(woken.duration_since(sent));
    }
    assert!(slowest < Duration::from_secs(2), "woken by the record, not by chance: {slowest:?}");
}

pub async fn a_cancelled_wait_loses_nothing(client: Subject) {
    let to = at(&topic(&client, "cancel", 1).await, 0);
    let mut reader = reader_at(&client, &to, 0, Isolation::ReadCommitted).await;
    let mut producer = plain_producer(&client).await;
    let (mut sent, mut seen) = (0, 0);
    while seen < 400 {
        if sent < 400 {
            producer.send(&to, values([sent])).await.unwrap();
            sent += 1;
        }
        let soon = Duration::from_micros(300);
        if let Ok(fetched) = tokio::time::timeout(soon, next_batches(reader.as_mut())).await {
            for (offset, _) in rows_of(&fetched.unwrap(), seen) {
                assert_eq!(offset, seen);
                seen += 1;
            }
        }
    }
    assert_eq!(sent, 400);
}

pub async fn no_partition_starves(client: Subject) {
    const PARTITIONS: i32 = 4;
    const RECORDS: i64 = 3_000;
    let name = topic(&client, "fair", PARTITIONS).await;
    let mut producer = plain_producer(&client).await;
    let rows: Vec<Row> = (0..RECORDS).map(|n| Row::new(n + 1, [b'x'; 1_000])).collect();
    for partition in 0..PARTITIONS {
        for part in rows.chunks(500) {
            producer.send(&at(&name, partition), batch(part)).await.unwrap();
        }
    }
    producer.flush().await.unwrap();

    let from = (0..PARTITIONS).map(|partition| (at(&name, partition), Offset::ZERO)).collect();
    let options = ReaderOptions { event_bytes_max: 64 << 10, ..ReaderOptions::partitions(from) };
    let mut reader = client.reader(options).await.unwrap();
    let mut next: BTreeMap<i32, i64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let mut first_done = true;
    while next.values().any(|next| *next < RECORDS) {
        let fetched = next_batches(reader.as_mut()).await.unwrap();
        // One batch may be larger than asked, and still comes whole.
        let bytes: usize = fetched.batches.iter().map(|batch| batch.size()).sum();
        assert!(fetched.batches.len() <= 1 || bytes <= 128 << 10, "{bytes} bytes at a time");
        let place = next.get_mut(&fetched.partition.partition).unwrap();
        for (offset, _) in rows_of(&fetched, *place) {
            assert_eq!(offset, *place);
            *place += 1;
        }
        if *place == RECORDS && std::mem::take(&mut first_done) {
            assert!(next.values().all(|next| *next > RECORDS / 4), "served in turn: {next:?}");
        }
    }
}

pub async fn a_large_record_comes_whole(client: Subject) {
    let name = unique("large");
    let new = NewTopic::new(&name, 1).with_config("max.message.bytes", 10 << 20);
    client.create_topic(&new).await.unwrap();
    let to = at(&name, 0);
    let large: Vec<u8> = (0..5 << 20).map(|n: u32| (n % 251) as u8).collect();
    let rows = [Row::new(1, "before"), Row::new(2, &large), Row::new(3, "after")];
    let mut producer = plain_producer(&client).await;
    for row in &rows {
        producer.send(&to, batch(std::slice::from_ref(row))).await.unwrap();
    }
    producer.flush().await.unwrap();
    let options = ReaderOptions {
        event_bytes_max: 64 << 10,
        ..ReaderOptions::partitions(vec![(to.clone(), Offset::ZERO)])
    };
    let mut reader = client.reader(options).await.unwrap();
    let caught = catch_up_to(reader.as_mut(), &to, 0, 3).await;
    assert!(caught.rows.into_iter().map(|(_, row)| row).eq(rows));
}

pub async fn a_record_too_large_is_refused(client: Subject) {
    let name = unique("limit");
    let new = NewTopic::new(&name, 1).with_config("max.message.bytes", 100_000);
    client.create_topic(&new).await.unwrap();
    let to = at(&name, 0);
    let mut producer = plain_producer(&client).await;
    let sent = producer.send(&to, batch(&[Row::new(1, vec![b'x'; 200_000])])).await;
    let error = match sent {
        Ok(()) => producer.flush().await.unwrap_err(),
        Err(error) => error,
    };
    match error {
        ClientError::BatchTooLarge { to: refused, size, size_max: 100_000 } => {
            assert_eq!(refused, to);
            assert!(size >= 200_000);
        }
        error => panic!("{error}"),
    }
    // The producer can go on.
    producer.send(&to, values(["small"])).await.unwrap();
    producer.flush().await.unwrap();
    assert_eq!(read(&client, &to).await.values(), ["small"]);
}

pub async fn order_holds_without_waiting_for_disks(client: Subject) {
    let to = at(&topic(&client, "leader", 1).await, 0);
    let options = ProducerOptions { acks: Acks::Leader, ..ProducerOptions::default() };
    let mut producer = client.producer(options).await.unwrap();
    for start in (0..2_000).step_by(50) {
        producer.send(&to, values(start..start + 50)).await.unwrap();
    }
    producer.flush().await.unwrap();
    let caught = read(&client, &to).await;
    assert!(caught.values().into_iter().eq((0..2_000).map(|n| n.to_string())));
}

/// Readers and producers of a broker elsewhere outlive its restart: nothing lost, nothing twice.
pub async fn records_are_deleted_up_to_an_offset(client: Subject) {
    let name = topic(&client, "purged", 2).await;
    let (one, other) = (at(&name, 0), at(&name, 1));
    write(&client, &one, values(0..10)).await;
    write(&client, &one, values(10..20)).await;
    write(&client, &other, values(["kept"])).await;
    let starts = async || {
        let both = [one.clone(), other.clone()];
        let starts = client.list_offsets(&both, OffsetSpec::Earliest).await.unwrap();
        starts.into_iter().map(|start| start.unwrap().0).collect::<Vec<_>>()
    };

    client.delete_records(&[]).await.unwrap();
    // Within a batch, and nothing of the other partition.
    let up_to = [(one.clone(), Offset(13)), (other.clone(), Offset(0))];
    client.delete_records(&up_to).await.unwrap();
    assert_eq!(starts().await, [13, 0]);
    let caught = read_from(&client, &one, 13, Isolation::ReadCommitted).await;
    assert!(caught.offsets().into_iter().eq(13..20));

    // What is gone stays gone, and of several offsets the last counts.
    let up_to = [5, 15, 14].map(|before| (one.clone(), Offset(before)));
    client.delete_records(&up_to).await.unwrap();
    assert_eq!(starts().await, [15, 0]);

    // All of it: offsets go on where they were.
    let up_to = [(one.clone(), Offset(20)), (other.clone(), Offset(1))];
    client.delete_records(&up_to).await.unwrap();
    assert_eq!(starts().await, [20, 1]);
    write(&client, &one, values(["more"])).await;
    let caught = read_from(&client, &one, 20, Isolation::ReadCommitted).await;
    assert_eq!((caught.offsets(), caught.values()), (vec![20], vec!["more".to_owned()]));
}

pub async fn what_cannot_be_deleted_is_refused(client: Subject) {
    let name = topic(&client, "unpurged", 1).await;
    let (to, beyond) = (at(&name, 0), at(&name, 1));
    write(&client, &to, values(0..3)).await;
    let delete = async |of: &TopicPartition, before| {
        client.delete_records(&[(of.clone(), Offset(before))]).await
    };
    for offset in [4, i64::MAX, -1, -2, i64::MIN] {
        let (start, end) = (Offset(0), Offset(3));
        let (partition, offset) = (to.clone(), Offset(offset));
        let expected = ClientError::OffsetOutOfRange { partition, offset, start, end };
        assert_eq!(delete(&to, offset.0).await, Err(expected));
    }
    assert_eq!(delete(&beyond, 0).await, Err(ClientError::UnknownPartition(beyond.clone())));
    let nowhere = at(&unique("nowhere"), 0);
    let unknown = ClientError::UnknownTopic(nowhere.topic.to_string());
    assert_eq!(delete(&nowhere, 0).await, Err(unknown));
    assert_eq!(client.topic(&nowhere.topic).await, Ok(None));

    let compacted = NewTopic::new(unique("compacted"), 1).with_config("cleanup.policy", "compact");
    client.create_topic(&compacted).await.unwrap();
    let outcome = delete(&at(&compacted.name, 0), 0).await;
    assert!(matches!(outcome, Err(ClientError::Refused { .. })), "{outcome:?}");
    assert_eq!(read(&client, &to).await.offsets(), [0, 1, 2]);
}

#[cfg(feature = "kafka")]
pub async fn a_broker_that_comes_back_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Serving::open(dir.path(), "127.0.0.1:0").await;
    let client = remote(&broker.address).await;
    let to = at(&topic(&client, "restart", 1).await, 0);
    let mut producer = plain_producer(&client).await;
    let mut reader = reader_at(&client, &to, 0, Isolation::ReadCommitted).await;
    let (mut sent, address) = (0, broker.address.clone());
    let mut broker = Some(broker);
    for _ in 0..3 {
        producer.send(&to, values(sent..sent + 10)).await.unwrap();
        producer.flush().await.unwrap();
        let caught = catch_up_to(reader.as_mut(), &to, sent, sent + 10).await;
        assert!(caught.values().into_iter().eq((sent..sent + 10).map(|n| n.to_string())));
        sent += 10;
        broker.take().unwrap().close().await;
        // While nobody is there.
        producer.send(&to, values(sent..sent + 10)).await.unwrap();
        broker = Some(Serving::open(dir.path(), &address).await);
        producer.flush().await.unwrap();
        let caught = catch_up_to(reader.as_mut(), &to, sent, sent + 10).await;
        assert!(caught.values().into_iter().eq((sent..sent + 10).map(|n| n.to_string())));
        sent += 10;
    }
}
