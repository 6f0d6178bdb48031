//! CreateTopics.

use broker::protocol::ErrorCode;
use broker::protocol::messages::k19_create_topics::*;

use crate::harness::*;

fn creatable(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.to_owned(),
        num_partitions,
        replication_factor,
        ..Default::default()
    }
}

#[tokio::test]
async fn topics_are_created_or_refused_each_with_its_reason() {
    let broker = TestBroker::start().await;
    broker.topic("there", 1).await;
    let mut client = broker.connect().await;
    let node_id = broker.broker.node_id();
    let config = |name: &str, value: Option<&str>| CreatableTopicConfig {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    };
    let assigned = |indexes: &[i32], node_id: i32| -> Vec<CreatableReplicaAssignment> {
        let assign = |index: &i32| CreatableReplicaAssignment {
            partition_index: *index,
            broker_ids: vec![node_id],
        };
        indexes.iter().map(assign).collect()
    };
    let with_config = |name: &str, config: CreatableTopicConfig| CreatableTopic {
        configs: vec![config],
        ..creatable(name, 1, 1)
    };
    let with_assignments = |name: &str, count, assignments| CreatableTopic {
        assignments,
        ..creatable(name, count, -1)
    };
    let cases = [
        (creatable("good", 3, 1), ErrorCode::NONE),
        (creatable("default", -1, -1), ErrorCode::NONE),
        (with_config("configured", config("retention.ms", Some("5"))), ErrorCode::NONE),
        (with_assignments("assigned", -1, assigned(&[1, 0], node_id)), ErrorCode::NONE),
        (creatable("there", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (creatable("zero", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (creatable("negative", -2, 1), ErrorCode::INVALID_PARTITIONS),
        (creatable("three-replicas", 1, 3), ErrorCode::INVALID_REPLICATION_FACTOR),
        (creatable("no-replicas", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (creatable("bad name", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (with_config("c1", config("retention", Some("5"))), ErrorCode::INVALID_CONFIG),
        (with_config("c2", config("retention.ms", Some("x"))), ErrorCode::INVALID_CONFIG),
        (with_config("c3", config("retention.ms", None)), ErrorCode::INVALID_CONFIG),
        (with_assignments("a1", 2, assigned(&[0, 1], node_id)), ErrorCode::INVALID_REQUEST),
        (
            with_assignments("a2", -1, assigned(&[0, 2], node_id)),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            with_assignments("a3", -1, assigned(&[0], node_id + 1)),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        ),
    ];
    for (topic, expected) in cases {
        for validate_only in [true, false] {
            let name = topic.name.clone();
            let existed = broker.broker.topic(&name).is_some();
            let request = CreateTopicsRequest {
                topics: vec![topic.clone()],
                validate_only,
                ..Default::default()
            };
            let response = ask!(client, CreateTopics v 7, request);
            let result = &response.topics[0];
            assert_eq!(result.error_code, expected, "{name}: {:?}", result.error_message);
            let exists = existed || (expected == ErrorCode::NONE && !validate_only);
            assert_eq!(broker.broker.topic(&name).is_some(), exists, "{name}");
            if expected == ErrorCode::NONE {
                assert_eq!(result.replication_factor, 1);
                assert_eq!(result.topic_id.is_nil(), validate_only);
            }
        }
    }
    assert_eq!(broker.broker.topic("good").unwrap().partitions_count(), 3);
    assert_eq!(broker.broker.topic("assigned").unwrap().partitions_count(), 2);
}

#[tokio::test]
async fn a_topic_that_is_named_twice_is_not_created() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let request = CreateTopicsRequest {
        topics: vec![creatable("twice", 1, 1), creatable("once", 1, 1), creatable("twice", 1, 1)],
        ..Default::default()
    };
    let response = ask!(client, CreateTopics v 2, request);
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::INVALID_REQUEST, ErrorCode::NONE]);
}

/// The broker's own topics come to be when somebody asks for them or for a coordinator, with the
/// configs that they must have, as Kafka's do.
#[tokio::test]
async fn asking_for_a_coordinator_creates_its_topic() {
    use broker::protocol::messages::k03_metadata::*;
    use broker::protocol::messages::k10_find_coordinator::*;
    let names = |broker: &TestBroker| -> Vec<String> {
        broker.broker.topics().iter().map(|topic| topic.name.to_string()).collect()
    };
    let metadata = |name: &str, allow_auto_topic_creation| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..Default::default()
        }]),
        allow_auto_topic_creation,
        ..Default::default()
    };
    for (key_type, topic) in [(0, "__consumer_offsets"), (1, "__transaction_state")] {
        let broker = TestBroker::with(|broker, _| broker.auto_create_topics = false).await;
        let mut client = broker.connect().await;
        let not_created = ask!(client, Metadata v 12, metadata(topic, true));
        assert_eq!(not_created.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        assert!(names(&broker).is_empty());
        let keys = vec!["k".to_owned()];
        let find =
            FindCoordinatorRequest { key_type, coordinator_keys: keys, ..Default::default() };
        let found = ask!(client, FindCoordinator v 4, find);
        assert_eq!(found.coordinators[0].error_code, ErrorCode::NONE);
        assert_eq!(names(&broker), [topic], "whether or not topics are created by asking for them");

        let broker = TestBroker::start().await;
        let mut client = broker.connect().await;
        ask!(client, Metadata v 12, metadata(topic, false));
        assert!(names(&broker).is_empty());
        let created = ask!(client, Metadata v 12, metadata(topic, true));
        assert_eq!(created.topics[0].error_code, ErrorCode::NONE);
        assert!(created.topics[0].is_internal);
        let topic = broker.broker.topic(topic).unwrap();
        assert_eq!(topic.config.own()["cleanup.policy"], "compact");
    }
}
