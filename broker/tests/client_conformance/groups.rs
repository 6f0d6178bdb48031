//! Groups: partitions shared, handed over, and gone on with where they were left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker::client::{
    ClientError, GroupOptions, ReadFrom, Reader, ReaderEvent, ReaderOptions, WithoutOffset,
};
use broker::ids::{Offset, TopicPartition};
use tokio::sync::mpsc;

use crate::harness::{Subject, at, plain_producer, rows_of, topic, unique, values, write};

async fn join(client: &Subject, group: &str, topic: &str) -> Box<dyn Reader> {
    client.reader(ReaderOptions::group(group, vec![topic.to_owned()])).await.unwrap()
}

pub async fn a_group_goes_on_where_it_committed(client: Subject) {
    let name = topic(&client, "resume", 1).await;
    let (to, group) = (at(&name, 0), unique("resume"));
    write(&client, &to, values(0..10)).await;

    let mut reader = join(&client, &group, &name).await;
    let ReaderEvent::Assigned(given) = reader.next().await.unwrap() else { panic!() };
    assert_eq!(given, std::slice::from_ref(&to));
    let membership = reader.group().unwrap();
    assert!(!membership.member_id.is_empty() && membership.generation >= 0, "{membership:?}");
    assert_eq!(read_until(reader.as_mut(), 0, 10).await, 0, "from the first, for want of a commit");
    reader.commit(&[(to.clone(), Offset(4))]).await.unwrap();
    let committed = client.committed_offsets(&group, std::slice::from_ref(&to)).await.unwrap();
    assert_eq!(committed[0].as_ref().map(|committed| committed.offset), Some(Offset(4)));
    drop(reader);

    let mut reader = join(&client, &group, &name).await;
    assert!(matches!(reader.next().await.unwrap(), ReaderEvent::Assigned(_)));
    assert_eq!(read_until(reader.as_mut(), 4, 10).await, 4);
}

/// Reads until the record before `end` was seen; tells the first offset from `from` on.
async fn read_until(reader: &mut dyn Reader, from: i64, end: i64) -> i64 {
    let mut first = None;
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await.unwrap() else { continue };
        for (offset, _) in rows_of(&fetched, from) {
            first.get_or_insert(offset);
            if offset == end - 1 {
                return first.unwrap();
            }
        }
        assert!(fetched.next_offset.0 > from, "what is before {from} is not fetched: {fetched:?}");
    }
}

pub async fn a_group_without_offsets_can_start_at_the_end(client: Subject) {
    let name = topic(&client, "latest", 1).await;
    let to = at(&name, 0);
    write(&client, &to, values(0..10)).await;
    let options = ReaderOptions::group(unique("latest"), vec![name]);
    let ReadFrom::Group(group) = options.from.clone() else { panic!() };
    let from = ReadFrom::Group(GroupOptions { without_offset: WithoutOffset::Latest, ..group });
    let mut reader = client.reader(ReaderOptions { from, ..options }).await.unwrap();
    assert!(matches!(reader.next().await.unwrap(), ReaderEvent::Assigned(_)));
    // Where the end is, the reader finds out only after it was assigned.
    let mut producer = plain_producer(&client).await;
    let (mut next, mut first) = (10, None);
    while first.is_none() {
        producer.send(&to, values([next])).await.unwrap();
        producer.flush().await.unwrap();
        next += 1;
        let soon = Duration::from_millis(300);
        if let Ok(Ok(ReaderEvent::Batches(fetched))) =
            tokio::time::timeout(soon, reader.next()).await
        {
            first = rows_of(&fetched, 0).first().map(|(offset, _)| *offset);
        }
    }
    assert!(first.unwrap() >= 10, "{first:?}");
}

/// What a member of a group has to tell.
#[derive(Debug)]
enum Told {
    Given(Vec<TopicPartition>),
    Taken(Vec<TopicPartition>),
    Read(TopicPartition, i64),
}

/// A member that commits what it read before it gives a partition away.
struct Member {
    task: tokio::task::JoinHandle<()>,
    told: mpsc::UnboundedReceiver<Told>,
    has: BTreeSet<TopicPartition>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Member {
    async fn join(client: &Subject, group: &str, topic: &str) -> Member {
        let mut reader = join(client, group, topic).await;
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let mut next: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
            loop {
                match reader.next().await.unwrap() {
                    ReaderEvent::Assigned(given) => tell.send(Told::Given(given)).unwrap(),
                    ReaderEvent::Revoked(taken) => {
                        next.retain(|partition, _| taken.contains(partition));
                        let done: Vec<_> = std::mem::take(&mut next).into_iter().collect();
                        reader.commit(&done).await.unwrap();
                        tell.send(Told::Taken(taken)).unwrap();
                    }
                    ReaderEvent::Batches(fetched) => {
                        for (offset, _) in rows_of(&fetched, 0) {
                            tell.send(Told::Read(fetched.partition.clone(), offset)).unwrap();
                        }
                        next.insert(fetched.partition, fetched.next_offset);
                    }
                }
            }
        });
        Member { task, told, has: BTreeSet::new() }
    }

    /// Takes in what the member tells until it has so many partitions, and tells what it read.
    async fn settle(&mut self, partitions: usize, read: &mut Vec<(TopicPartition, i64)>) {
        while self.has.len() != partitions {
            self.hear(read).await;
        }
    }

    async fn hear(&mut self, read: &mut Vec<(TopicPartition, i64)>) {
        match self.told.recv().await.expect("the member lives") {
            Told::Given(given) => self.has.extend(given),
            Told::Taken(taken) => self.has.retain(|partition| !taken.contains(partition)),
            Told::Read(partition, offset) => {
                assert!(self.has.contains(&partition), "{partition} is not this member's");
                read.push((partition, offset));
            }
        }
    }
}

pub async fn two_members_share_and_hand_over(client: Subject) {
    const PARTITIONS: i32 = 4;
    let name = topic(&client, "shared", PARTITIONS).await;
    let group = unique("shared");
    let mut producer = plain_producer(&client).await;
    let mut written = 0;
    let mut write_all = async |producer: &mut dyn broker::client::Producer| {
        for partition in 0..PARTITIONS {
            producer.send(&at(&name, partition), values(written..written + 5)).await.unwrap();
        }
        producer.flush().await.unwrap();
        written += 5;
        written
    };
    write_all(producer.as_mut()).await;
    let mut read = Vec::new();
    let mut first = Member::join(&client, &group, &name).await;
    first.settle(4, &mut read).await;
    while read.len() < 20 {
        first.hear(&mut read).await;
    }

    // A second one comes, and gets half; what the first had read there, it does not read again.
    let mut second = Member::join(&client, &group, &name).await;
    let mut read_by_second = Vec::new();
    let settled = async {
        tokio::join!(first.settle(2, &mut read), second.settle(2, &mut read_by_second));
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("they share");
    assert!(first.has.is_disjoint(&second.has), "{:?} {:?}", first.has, second.has);
    write_all(producer.as_mut()).await;
    while read.len() < 30 {
        first.hear(&mut read).await;
    }
    while read_by_second.len() < 10 {
        second.hear(&mut read_by_second).await;
    }
    assert!(read_by_second.iter().all(|(_, offset)| *offset >= 5), "{read_by_second:?}");

    // It leaves without a word: what it had comes back before any session ends, and since it had
    // committed nothing, it is read again from the last commit.
    drop(second);
    let settled = first.settle(4, &mut read);
    tokio::time::timeout(Duration::from_secs(20), settled).await.expect("it left the group");
    let end = write_all(producer.as_mut()).await;
    let seen =
        |read: &[(TopicPartition, i64)]| read.iter().cloned().collect::<BTreeSet<_>>().len() as i64;
    while seen(&read) < end * i64::from(PARTITIONS) {
        first.hear(&mut read).await;
    }
    for partition in 0..PARTITIONS {
        let of: Vec<i64> =
            read.iter().filter(|(at, _)| at.partition == partition).map(|(_, at)| *at).collect();
        assert!(of.is_sorted(), "each in order: {of:?}");
        assert_eq!(of.len() as i64, end, "each once, save what had no commit: {of:?}");
    }
}

pub async fn a_member_without_partitions_is_told_so(client: Subject) {
    let (name, group) = (topic(&client, "idle", 1).await, unique("idle"));
    let mut first = Member::join(&client, &group, &name).await;
    first.settle(1, &mut Vec::new()).await;
    let mut second = Member::join(&client, &group, &name).await;
    match second.told.recv().await.unwrap() {
        Told::Given(given) if given.is_empty() => {}
        // Kafka may let the newcomer lead and sort itself first.
        Told::Given(_) => {
            while !first.has.is_empty() {
                first.hear(&mut Vec::new()).await;
            }
            let told = first.told.recv().await.unwrap();
            assert!(matches!(&told, Told::Given(given) if given.is_empty()), "{told:?}");
        }
        told => panic!("{told:?}"),
    }
}

/// A second process joins the broker of the first, and they run the same pipeline.
#[cfg(feature = "kafka")]
pub async fn members_in_and_outside_of_the_brokers_process_share() {
    let (inside, outside) = crate::harness::inside_and_outside().await;
    let name = topic(&inside.client, "mixed", 4).await;
    let (group, mut read, mut others) = (unique("mixed"), Vec::new(), Vec::new());
    let mut first = Member::join(&inside.client, &group, &name).await;
    first.settle(4, &mut read).await;
    let mut second = Member::join(&outside, &group, &name).await;
    let settled = async { tokio::join!(first.settle(2, &mut read), second.settle(2, &mut others)) };
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("they share");
    assert!(first.has.is_disjoint(&second.has), "{:?} {:?}", first.has, second.has);
    drop(first);
    let settled = second.settle(4, &mut read);
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("it takes over");
}

pub async fn what_only_groups_do_is_refused_elsewhere(client: Subject) {
    let name = topic(&client, "misuse", 1).await;
    let to = at(&name, 0);
    let options = ReaderOptions::partitions(vec![(to.clone(), Offset::ZERO)]);
    let mut alone = client.reader(options).await.unwrap();
    assert_eq!(alone.group(), None);
    let outcome = alone.commit(&[(to.clone(), Offset(1))]).await;
    assert!(matches!(outcome, Err(ClientError::Refused { .. })), "{outcome:?}");

    let group = unique("misuse");
    let mut member = join(&client, &group, &name).await;
    let outcome = member.assign(vec![(to, Offset::ZERO)]).await;
    assert!(matches!(outcome, Err(ClientError::Refused { .. })), "{outcome:?}");
}
