//! Share groups (KIP-932): records that are given out, and what outlasts connections and the
//! broker. What answers look like beside Kafka's is compared in tests/parity.

use std::time::Duration;

use broker::protocol::ErrorCode;
use broker::protocol::messages::{
    k02_list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic},
    k20_delete_topics::{DeleteTopicState, DeleteTopicsRequest},
    k21_delete_records::{DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic},
    k42_delete_groups::DeleteGroupsRequest,
    k44_incremental_alter_configs::{
        AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
    },
    k76_share_group_heartbeat::ShareGroupHeartbeatRequest,
    k78_share_fetch::{FetchPartition, FetchTopic, PartitionData, ShareFetchRequest},
    k79_share_acknowledge::{
        AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch, ShareAcknowledgeRequest,
    },
    k90_describe_share_group_offsets::*,
};
use uuid::Uuid;

use crate::harness::{Connection, TestBroker, ask, put};

const ACCEPT: i8 = 1;
const RELEASE: i8 = 2;

/// A member of the group, with a topic of one partition.
struct Member {
    client: Connection,
    id: String,
    topic: Uuid,
    epoch: i32,
}

impl Member {
    async fn join(broker: &TestBroker, id: &str) -> Member {
        let mut client = broker.connect().await;
        let beat = ShareGroupHeartbeatRequest {
            group_id: "g".to_owned(),
            member_id: id.to_owned(),
            subscribed_topic_names: Some(vec!["t".to_owned()]),
            ..Default::default()
        };
        let told = ask!(client, ShareGroupHeartbeat v 1, beat);
        assert_eq!(told.error_code, ErrorCode::NONE);
        let topic = told.assignment.unwrap().topic_partitions[0].topic_id;
        Member { client, id: id.to_owned(), topic, epoch: 0 }
    }

    fn fetching(&mut self, wait_ms: i32) -> ShareFetchRequest {
        let epoch = self.epoch;
        self.epoch += 1;
        ShareFetchRequest {
            group_id: Some("g".to_owned()),
            member_id: Some(self.id.clone()),
            share_session_epoch: epoch,
            max_wait_ms: wait_ms,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 500,
            batch_size: 500,
            topics: match epoch {
                0 => vec![FetchTopic {
                    topic_id: self.topic,
                    partitions: vec![FetchPartition::default()],
                }],
                _ => vec![],
            },
            ..ShareFetchRequest::default()
        }
    }

    async fn fetch(&mut self, wait_ms: i32) -> Option<PartitionData> {
        let request = self.fetching(wait_ms);
        let mut told = ask!(self.client, ShareFetch v 1, request);
        assert_eq!(told.error_code, ErrorCode::NONE);
        Some(told.responses.pop()?.partitions.remove(0))
    }

    /// First and last offsets, and how often they were delivered.
    async fn acquire(&mut self, wait_ms: i32) -> Vec<(i64, i64, i16)> {
        let acquired = self.fetch(wait_ms).await.map(|told| told.acquired_records);
        let each = acquired.unwrap_or_default().into_iter();
        each.map(|one| (one.first_offset, one.last_offset, one.delivery_count)).collect()
    }

    async fn say(&mut self, first: i64, last: i64, verdict: i8) -> ErrorCode {
        let batch = AcknowledgementBatch {
            first_offset: first,
            last_offset: last,
            acknowledge_types: vec![verdict],
        };
        let partition =
            AcknowledgePartition { partition_index: 0, acknowledgement_batches: vec![batch] };
        let request = ShareAcknowledgeRequest {
            group_id: Some("g".to_owned()),
            member_id: Some(self.id.clone()),
            share_session_epoch: self.epoch,
            topics: vec![AcknowledgeTopic { topic_id: self.topic, partitions: vec![partition] }],
        };
        self.epoch += 1;
        let told = ask!(self.client, ShareAcknowledge v 1, request);
        assert_eq!(told.error_code, ErrorCode::NONE);
        told.responses[0].partitions[0].error_code
    }
}

/// A broker with a topic whose share group begins at its beginning.
async fn start() -> TestBroker {
    let broker = TestBroker::with(|broker, _| {
        (broker.shares.lock_ms, broker.shares.lock_ms_min) = (600_000, 100);
        broker.shares.lock_ms_max = 600_000;
        broker.shares.limits.deliveries_max = 1_000;
    });
    let broker = broker.await;
    broker.topic("t", 1).await;
    set(&broker, "share.auto.offset.reset", "earliest").await;
    broker
}

async fn set(broker: &TestBroker, name: &str, value: &str) {
    let mut client = broker.connect().await;
    let resource = AlterConfigsResource {
        resource_type: 32,
        resource_name: "g".to_owned(),
        configs: vec![AlterableConfig {
            name: name.to_owned(),
            config_operation: 0,
            value: Some(value.to_owned()),
        }],
    };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let told = ask!(client, IncrementalAlterConfigs v 1, request);
    assert_eq!(told.responses[0].error_code, ErrorCode::NONE);
}

async fn offset(broker: &TestBroker) -> Option<i64> {
    let mut client = broker.connect().await;
    let asked = DescribeShareGroupOffsetsRequestGroup { group_id: "g".to_owned(), topics: None };
    let request = DescribeShareGroupOffsetsRequest { groups: vec![asked] };
    let told = ask!(client, DescribeShareGroupOffsets v 0, request);
    let topic = told.groups[0].topics.first()?;
    Some(topic.partitions[0].start_offset)
}

#[tokio::test]
async fn what_was_accepted_outlasts_the_broker_and_locks_do_not() {
    let broker = start().await;
    let mut one = Member::join(&broker, "one").await;
    put(&mut one.client, "t", &["a", "b", "c", "d", "e"]).await;
    assert_eq!(one.acquire(0).await, [(0, 4, 1)]);
    assert_eq!(one.say(0, 1, ACCEPT).await, ErrorCode::NONE);
    assert_eq!(one.say(3, 3, ACCEPT).await, ErrorCode::NONE);
    assert_eq!(one.say(4, 4, RELEASE).await, ErrorCode::NONE);
    assert_eq!(offset(&broker).await, Some(2));

    let broker = broker.restarted().await;
    assert_eq!(offset(&broker).await, Some(2));
    let mut two = Member::join(&broker, "two").await;
    // That of 2 was under way, and counts for nothing; that of 4 was given back.
    assert_eq!(two.acquire(0).await, [(2, 2, 1), (4, 4, 2)]);
    assert_eq!(two.say(2, 2, ACCEPT).await, ErrorCode::NONE);
    assert_eq!(two.say(4, 4, ACCEPT).await, ErrorCode::NONE);
    let broker = broker.restarted().await;
    assert_eq!(offset(&broker).await, Some(5));
}

#[tokio::test]
async fn a_member_that_is_cut_off_leaves_its_records_to_who_waits() {
    let broker = start().await;
    let (mut one, mut two) =
        (Member::join(&broker, "one").await, Member::join(&broker, "two").await);
    put(&mut one.client, "t", &["a", "b"]).await;
    assert_eq!(one.acquire(0).await, [(0, 1, 1)]);
    assert_eq!(two.acquire(0).await, []);
    let waiting = two.fetching(60_000);
    let id = two.client.send(1, waiting.into()).await;
    drop(one);
    let (answered, told) = two.client.receive(broker::protocol::ApiKey::ShareFetch, 1).await;
    let broker::protocol::Response::ShareFetch(told) = told else { panic!() };
    let given = &told.responses[0].partitions[0].acquired_records[0];
    assert_eq!((answered, given.first_offset, given.last_offset), (id, 0, 1));
    assert_eq!(given.delivery_count, 1);
}

#[tokio::test]
async fn a_lock_ends_by_itself_and_wakes_who_waits() {
    let broker = start().await;
    set(&broker, "share.record.lock.duration.ms", "100").await;
    let (mut one, mut two) =
        (Member::join(&broker, "one").await, Member::join(&broker, "two").await);
    put(&mut one.client, "t", &["a", "b"]).await;
    assert_eq!(one.acquire(0).await, [(0, 1, 1)]);
    assert_eq!(two.acquire(60_000).await, [(0, 1, 2)]);
    assert_eq!(one.say(0, 1, ACCEPT).await, ErrorCode::INVALID_RECORD_STATE);
    // What is new wakes, too.
    let waiting = one.fetching(60_000);
    one.client.send(1, waiting.into()).await;
    put(&mut two.client, "t", &["c"]).await;
    let (_, told) = one.client.receive(broker::protocol::ApiKey::ShareFetch, 1).await;
    let broker::protocol::Response::ShareFetch(told) = told else { panic!() };
    assert!(!told.responses[0].partitions[0].acquired_records.is_empty());
}

#[tokio::test]
async fn records_that_are_deleted_are_done() {
    let broker = start().await;
    let mut one = Member::join(&broker, "one").await;
    put(&mut one.client, "t", &["a", "b", "c"]).await;
    put(&mut one.client, "t", &["d"]).await;
    assert_eq!(one.acquire(0).await, [(0, 3, 1)]);
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 2 };
    let topic = DeleteRecordsTopic { name: "t".to_owned(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 1_000 };
    let told = ask!(one.client, DeleteRecords v 2, request);
    assert_eq!(told.topics[0].partitions[0].error_code, ErrorCode::NONE);
    assert_eq!(one.acquire(0).await, []);
    assert_eq!(offset(&broker).await, Some(2));
    assert_eq!(one.say(0, 3, ACCEPT).await, ErrorCode::NONE);
    assert_eq!(offset(&broker).await, Some(4));
}

/// The topic `__share_group_state` has nothing left of either.
#[tokio::test]
async fn with_a_topic_or_a_group_goes_what_was_read() {
    let broker = start().await;
    let mut one = Member::join(&broker, "one").await;
    put(&mut one.client, "t", &["a"]).await;
    assert_eq!(one.acquire(0).await, [(0, 0, 1)]);
    assert_eq!(one.say(0, 0, ACCEPT).await, ErrorCode::NONE);
    assert_eq!(offset(&broker).await, Some(1));
    let topic = DeleteTopicState { name: Some("t".to_owned()), ..Default::default() };
    let request = DeleteTopicsRequest {
        topics: vec![topic],
        timeout_ms: 1_000,
        ..DeleteTopicsRequest::default()
    };
    ask!(one.client, DeleteTopics v 6, request);
    assert_eq!(offset(&broker).await, None);
    broker.topic("t", 1).await;
    drop(one);

    let mut two = Member::join(&broker, "two").await;
    put(&mut two.client, "t", &["a"]).await;
    assert_eq!(two.acquire(0).await, [(0, 0, 1)]);
    assert_eq!(two.say(0, 0, ACCEPT).await, ErrorCode::NONE);
    let beat = ShareGroupHeartbeatRequest {
        group_id: "g".to_owned(),
        member_id: "two".to_owned(),
        member_epoch: -1,
        ..Default::default()
    };
    ask!(two.client, ShareGroupHeartbeat v 1, beat.clone());
    let beat = ShareGroupHeartbeatRequest { member_id: "one".to_owned(), ..beat };
    ask!(two.client, ShareGroupHeartbeat v 1, beat);
    let delete = DeleteGroupsRequest { groups_names: vec!["g".to_owned()] };
    let deleted = ask!(two.client, DeleteGroups v 2, delete);
    assert_eq!(deleted.results[0].error_code, ErrorCode::NONE);
    let broker = broker.restarted().await;
    let mut three = Member::join(&broker, "three").await;
    assert_eq!(offset(&broker).await, None);
    assert_eq!(three.acquire(0).await, [(0, 0, 1)]);
    assert!(ends_at(&mut three.client, "__share_group_state").await > 0);
}

async fn ends_at(client: &mut Connection, topic: &str) -> i64 {
    let partition = ListOffsetsPartition { timestamp: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let told = ask!(client, ListOffsets v 5, request);
    told.topics[0].partitions[0].offset
}

/// Many members at once: each record comes to one of them, and none is left.
#[tokio::test(flavor = "multi_thread")]
async fn members_at_once_have_different_records() {
    const RECORDS: usize = 2_000;
    let broker = start().await;
    let mut members = Vec::new();
    for id in ["one", "two", "three", "four"] {
        members.push(Member::join(&broker, id).await);
    }
    let mut writer = broker.connect().await;
    let writing = tokio::spawn(async move {
        for at in 0..RECORDS / 10 {
            let values: Vec<String> = (0..10).map(|one| format!("{}", at * 10 + one)).collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            put(&mut writer, "t", &values).await;
        }
    });
    let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![0u32; RECORDS]));
    let readers = members.into_iter().enumerate().map(|(number, mut member)| {
        let seen = seen.clone();
        tokio::spawn(async move {
            for round in 0.. {
                for (first, last, _) in member.acquire(200).await {
                    // Some are given back now and then.
                    let verdict = if (round + number) % 5 == 4 { RELEASE } else { ACCEPT };
                    assert_eq!(member.say(first, last, verdict).await, ErrorCode::NONE);
                    if verdict == ACCEPT {
                        let mut seen = seen.lock().unwrap();
                        (first..=last).for_each(|offset| seen[offset as usize] += 1);
                    }
                }
                if seen.lock().unwrap().iter().all(|count| *count > 0) {
                    return;
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    writing.await.unwrap();
    let all = futures::future::join_all(readers);
    let all = tokio::time::timeout(Duration::from_secs(60), all).await;
    all.expect("all is read").into_iter().for_each(|reader| reader.unwrap());
    assert!(seen.lock().unwrap().iter().all(|count| *count == 1));
    assert_eq!(offset(&broker).await, Some(RECORDS as i64));
}
