//! ApiVersions, Metadata, and what administers topics.

use broker::protocol::messages::k03_metadata::{MetadataRequest, MetadataRequestTopic};
use broker::protocol::messages::k18_api_versions::ApiVersionsRequest;
use broker::protocol::messages::k20_delete_topics::*;
use broker::protocol::messages::k32_describe_configs::*;
use broker::protocol::messages::k35_describe_log_dirs::*;
use broker::protocol::messages::k37_create_partitions::*;
use broker::protocol::messages::k60_describe_cluster::DescribeClusterRequest;
use broker::protocol::messages::{
    k33_alter_configs as k33, k44_incremental_alter_configs as k44,
    k75_describe_topic_partitions as k75,
};
use broker::protocol::{ApiKey, ErrorCode, Response, decode_response};
use uuid::Uuid;

use crate::harness::*;

fn software(name: &str) -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: name.to_owned(),
        client_software_version: "1.0".to_owned(),
    }
}

#[tokio::test]
async fn api_versions_names_what_is_served() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=4 {
        let response = ask!(client, ApiVersions v version, software("test"));
        assert_eq!(response.error_code, ErrorCode::NONE);
        let span = |api: ApiKey| {
            let mut named = response.api_keys.iter();
            let found = named.find(|named| named.api_key == api as i16);
            found.map(|named| (named.min_version, named.max_version))
        };
        // librdkafka needs Produce v0 to be named, though it is not served.
        assert_eq!(span(ApiKey::Produce), Some((0, 13)));
        assert_eq!(span(ApiKey::Fetch), Some((4, 18)));
    }
    let response = ask!(client, ApiVersions v 3, software("-no-"));
    assert_eq!(response.error_code, ErrorCode::INVALID_REQUEST);
}

/// A client newer than the broker learns by v0 what it may ask (KIP-511), and goes on.
#[tokio::test]
async fn api_versions_asked_too_high_is_answered_in_its_first_form() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut bytes = encoded(4, 5, software("test").into());
    bytes[6..8].copy_from_slice(&9i16.to_be_bytes());
    bytes.extend_from_slice(&encoded(9, 6, produce("t", 0, 1, batch(&["x"])).into()));
    client.send_bytes(&bytes).await;
    let frame = client.receive_frame().await.unwrap();
    let (correlation_id, response) = decode_response(ApiKey::ApiVersions, 0, frame).unwrap();
    let Response::ApiVersions(response) = response else { panic!() };
    assert_eq!((correlation_id, response.error_code), (5, ErrorCode::UNSUPPORTED_VERSION));
    assert!(response.api_keys.len() > 10);
    let (correlation_id, _) = client.receive(ApiKey::Produce, 9).await;
    assert_eq!(correlation_id, 6);
}

fn metadata(names: &[&str]) -> MetadataRequest {
    let topics = names
        .iter()
        .map(|name| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() });
    MetadataRequest { topics: Some(topics.collect()), ..Default::default() }
}

#[tokio::test]
async fn metadata_tells_of_the_node_and_its_topics() {
    let broker = TestBroker::start().await;
    broker.topic("a", 3).await;
    broker.topic("b", 1).await;
    let mut client = broker.connect().await;
    for version in 0..=13 {
        let all = if version == 0 { Some(Vec::new()) } else { None };
        let request = MetadataRequest { topics: all, ..Default::default() };
        let response = ask!(client, Metadata v version, request);
        let node = &response.brokers[0];
        assert_eq!((node.host.as_str(), node.port), ("127.0.0.1", broker.address.port().into()));
        if version >= 1 {
            assert_eq!(response.controller_id, node.node_id);
        }
        let expected = (version >= 2).then(|| broker.broker.cluster_id().to_owned());
        assert_eq!(response.cluster_id, expected);
        let names: Vec<_> = response.topics.iter().map(|t| t.name.clone().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        let partitions = &response.topics[0].partitions;
        assert_eq!(partitions.len(), 3);
        assert!(partitions.iter().all(|partition| partition.leader_id == node.node_id
            && partition.isr_nodes == [node.node_id]));
        if version >= 1 {
            let none = ask!(client, Metadata v version, metadata(&[]));
            assert!(none.topics.is_empty() && none.brokers.len() == 1);
        }
    }
    let id = broker.broker.topic("b").unwrap().id;
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: None }]),
        ..Default::default()
    };
    for version in 10..=13 {
        let response = ask!(client, Metadata v version, by_id(id));
        assert_eq!(response.topics[0].name.as_deref(), Some("b"));
        let response = ask!(client, Metadata v version, by_id(Uuid::from_u128(5)));
        assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    }
    let mut request = metadata(&["a"]);
    request.include_topic_authorized_operations = true;
    let response = ask!(client, Metadata v 12, request);
    assert_eq!(response.topics[0].topic_authorized_operations, 0b1101_1111_1000);
}

#[tokio::test]
async fn metadata_creates_topics_where_it_may() {
    let broker = TestBroker::with(|broker, _| broker.partitions_default = 2).await;
    let mut client = broker.connect().await;
    let mut forbidden = metadata(&["new"]);
    forbidden.allow_auto_topic_creation = false;
    let response = ask!(client, Metadata v 9, forbidden);
    assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(broker.broker.topic("new").is_none());
    let response = ask!(client, Metadata v 9, metadata(&["new", "not/ok", "__consumer_offsets"]));
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, ErrorCode::INVALID_TOPIC_EXCEPTION, ErrorCode::NONE]);
    assert_eq!(response.topics[0].partitions.len(), 2);
    assert_eq!(response.topics[2].partitions.len(), 1, "the broker's own have their own number");

    let broker = TestBroker::with(|broker, _| broker.auto_create_topics = false).await;
    let mut client = broker.connect().await;
    let response = ask!(client, Metadata v 9, metadata(&["new"]));
    assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

/// What clients are told is configured, or is how they came.
#[tokio::test]
async fn the_advertised_address_is_the_one_that_was_set() {
    let broker = TestBroker::with(|_, server| {
        server.listeners[0].advertised = Some("broker.example:1234".parse().unwrap());
    })
    .await;
    let mut client = broker.connect().await;
    let response = ask!(client, Metadata v 9, metadata(&[]));
    assert_eq!(
        (response.brokers[0].host.as_str(), response.brokers[0].port),
        ("broker.example", 1234)
    );
    let response = ask!(client, DescribeCluster v 1, DescribeClusterRequest::default());
    assert_eq!(response.brokers[0].host, "broker.example");
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let broker = TestBroker::start().await;
    for name in ["a", "b", "c", "d"] {
        broker.topic(name, 1).await;
    }
    let mut client = broker.connect().await;
    let by_name = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    };
    let response = ask!(client, DeleteTopics v 5, by_name(&["a", "none", "d", "d"]));
    let codes = |response: &DeleteTopicsResponse| -> Vec<ErrorCode> {
        response.responses.iter().map(|result| result.error_code).collect()
    };
    let (unknown, invalid) = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::INVALID_REQUEST);
    // Of the same name there is one answer.
    assert_eq!(codes(&response), [ErrorCode::NONE, unknown, invalid]);
    let id = broker.broker.topic("b").unwrap().id;
    let topics = vec![
        DeleteTopicState { name: None, topic_id: id },
        DeleteTopicState { name: Some("c".to_owned()), topic_id: Uuid::nil() },
        DeleteTopicState { name: None, topic_id: Uuid::from_u128(3) },
        DeleteTopicState { name: Some("d".to_owned()), topic_id: id },
        DeleteTopicState { name: None, topic_id: Uuid::nil() },
    ];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let response = ask!(client, DeleteTopics v 6, request);
    let none = ErrorCode::NONE;
    let unknown_id = ErrorCode::UNKNOWN_TOPIC_ID;
    assert_eq!(codes(&response), [none, none, unknown_id, invalid, invalid]);
    assert_eq!(response.responses[0].name.as_deref(), Some("b"));
    let left: Vec<_> = broker.broker.topics().iter().map(|topic| topic.name.to_string()).collect();
    assert_eq!(left, ["d"]);
}

#[tokio::test]
async fn partitions_can_only_grow() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    let mut client = broker.connect().await;
    let node_id = broker.broker.node_id();
    for (name, count, assigned, validate_only, expected) in [
        ("none", 3, None, false, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        ("t", 2, None, false, ErrorCode::INVALID_PARTITIONS),
        ("t", 3, Some(vec![]), false, ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        ("t", 3, Some(vec![node_id + 1]), false, ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        ("t", 3, Some(vec![node_id]), true, ErrorCode::NONE),
        ("t", 4, None, false, ErrorCode::NONE),
    ] {
        let assignments = assigned.map(|nodes| {
            let assign = |node: i32| CreatePartitionsAssignment { broker_ids: vec![node] };
            nodes.into_iter().map(assign).collect()
        });
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: name.to_owned(), count, assignments }],
            validate_only,
            ..Default::default()
        };
        let response = ask!(client, CreatePartitions v 3, request);
        assert_eq!(response.results[0].error_code, expected, "{:?}", response.results);
    }
    assert_eq!(broker.broker.topic("t").unwrap().partitions_count(), 4);
    let done = produced(ask!(client, Produce v 9, produce("t", 3, -1, batch(&["x"]))));
    assert_eq!(done.error_code, ErrorCode::NONE);
}

#[tokio::test]
async fn configs_are_described_with_their_sources() {
    let broker = TestBroker::with(|broker, _| {
        broker.topic_defaults.insert("segment.ms".to_owned(), "7".to_owned());
        broker.partitions_default = 3;
    })
    .await;
    let topic = broker::client::NewTopic::new("t", 1).with_config("retention.ms", 5);
    broker.broker.create_topic(topic).await.unwrap();
    let mut client = broker.connect().await;
    let resource = |resource_type, name: &str, keys: Option<&[&str]>| DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
    };
    let request = DescribeConfigsRequest {
        resources: vec![
            resource(2, "t", Some(&["retention.ms", "segment.ms", "segment.bytes"])),
            resource(2, "none", None),
            resource(4, &broker.broker.node_id().to_string(), None),
            resource(4, "99", None),
            resource(32, "group", None),
            resource(32, "", None),
            resource(8, "99", None),
            resource(4, "", None),
        ],
        include_synonyms: true,
        include_documentation: true,
    };
    for version in 1..=4 {
        let mut request = request.clone();
        request.include_documentation = version >= 3;
        let response = ask!(client, DescribeConfigs v version, request);
        let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
        let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let invalid = ErrorCode::INVALID_REQUEST;
        let none = ErrorCode::NONE;
        assert_eq!(codes, [none, unknown, none, invalid, none, invalid, invalid, none]);
        let configs = response.results[0].configs.iter();
        let told: Vec<_> = configs
            .map(|config| {
                (config.name.as_str(), config.value.clone().unwrap(), config.config_source)
            })
            .collect();
        assert_eq!(
            told,
            [
                ("retention.ms", "5".to_owned(), 1),
                ("segment.bytes", "1073741824".to_owned(), 5),
                ("segment.ms", "7".to_owned(), 4),
            ]
        );
        // The broker's defaults under the names that they have there, as Kafka tells them.
        let synonyms = |at: usize| -> Vec<(&str, Option<&str>, i8)> {
            let synonyms = response.results[0].configs[at].synonyms.iter();
            synonyms.map(|one| (&*one.name, one.value.as_deref(), one.source)).collect()
        };
        assert_eq!(synonyms(0), [("retention.ms", Some("5"), 1)]);
        assert_eq!(synonyms(1), [("log.segment.bytes", Some("1073741824"), 5)]);
        assert_eq!(synonyms(2), [("log.roll.ms", Some("7"), 4)]);
        let told = response.results[0].configs[0].documentation.as_deref().unwrap();
        assert_eq!(!told.is_empty(), version >= 3);
        let of_broker = response.results[2].configs.iter();
        for config in of_broker.filter(|_| version >= 3) {
            let told = config.documentation.as_deref().unwrap_or_default();
            assert!((10..200).contains(&told.len()), "{}: {told}", config.name);
        }
        let of_broker = &response.results[2].configs;
        let told = |name: &str| {
            let config = of_broker.iter().find(|config| config.name == name).unwrap();
            (config.value.as_deref().unwrap(), config.config_source)
        };
        assert_eq!(told("num.partitions"), ("3", 4));
        assert_eq!(told("log.roll.ms"), ("7", 4));
        assert_eq!(told("log.cleaner.backoff.ms"), ("15000", 5));
        assert_eq!(told("transaction.max.timeout.ms"), ("900000", 5));
        assert!(of_broker.is_sorted_by(|one, next| one.name < next.name));
        assert!(response.results[7].configs.is_empty());
    }
}

#[tokio::test]
async fn the_log_directory_tells_sizes() {
    let broker = TestBroker::start().await;
    broker.topic("t", 2).await;
    let mut client = broker.connect().await;
    put(&mut client, "t", &["a"]).await;
    let size = batch(&["a"]).len() as i64;
    for version in 1..=4 {
        let all = DescribeLogDirsRequest { topics: None };
        let response = ask!(client, DescribeLogDirs v version, all);
        let topic = &response.results[0].topics[0];
        let sizes: Vec<_> = topic.partitions.iter().map(|one| one.partition_size).collect();
        assert_eq!(sizes, [size, 0]);
        let (total, usable) = (response.results[0].total_bytes, response.results[0].usable_bytes);
        assert_eq!((total > 0, usable > 0), (version >= 4, version >= 4), "{total} {usable}");
        assert!(usable <= total);
        let one = DescribeLogDirsRequest {
            topics: Some(vec![DescribableLogDirTopic {
                topic: "t".to_owned(),
                partitions: vec![1, 9],
            }]),
        };
        let response = ask!(client, DescribeLogDirs v version, one);
        assert_eq!(response.results[0].topics[0].partitions.len(), 1);
    }
}

#[tokio::test]
async fn the_cluster_is_one_node() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=2 {
        let response = ask!(client, DescribeCluster v version, DescribeClusterRequest::default());
        assert_eq!(response.error_code, ErrorCode::NONE);
        assert_eq!(response.cluster_id, broker.broker.cluster_id());
        assert_eq!(response.brokers[0].broker_id, response.controller_id);
    }
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let response = ask!(client, DescribeCluster v 1, controllers);
    assert_eq!(response.error_code, ErrorCode::MISMATCHED_ENDPOINT_TYPE);
}

#[tokio::test]
async fn configs_are_changed_one_by_one_or_all_together() {
    let broker = TestBroker::start().await;
    let topic = broker::client::NewTopic::new("t", 1).with_config("retention.ms", 5);
    broker.broker.create_topic(topic).await.unwrap();
    let mut client = broker.connect().await;
    let change = |name: &str, config_operation, value: Option<&str>| k44::AlterableConfig {
        name: name.to_owned(),
        config_operation,
        value: value.map(str::to_owned),
    };
    let own = || broker.broker.topic("t").unwrap().config.own().clone();
    let cases = [
        (2, "t", change("segment.ms", 0, Some("7")), ErrorCode::NONE),
        (2, "t", change("cleanup.policy", 2, Some("compact")), ErrorCode::NONE),
        (2, "t", change("cleanup.policy", 3, Some("delete")), ErrorCode::NONE),
        (2, "t", change("retention.ms", 1, None), ErrorCode::NONE),
        (2, "t", change("segment.ms", 0, Some("x")), ErrorCode::INVALID_CONFIG),
        (2, "t", change("segment.ms", 2, Some("1")), ErrorCode::INVALID_CONFIG),
        (2, "t", change("segment", 0, Some("1")), ErrorCode::INVALID_CONFIG),
        (2, "t", change("segment.ms", 0, None), ErrorCode::INVALID_REQUEST),
        (2, "t", change("segment.ms", 9, Some("1")), ErrorCode::INVALID_REQUEST),
        (2, "none", change("segment.ms", 0, Some("1")), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (2, "t", change("cleanup.policy", 3, Some("compact")), ErrorCode::NONE),
        (2, "t", change("cleanup.policy", 2, Some("compact")), ErrorCode::NONE),
        (4, "1", change("num.partitions", 0, Some("1")), ErrorCode::INVALID_REQUEST),
        (32, "g", change("no.such", 0, Some("1")), ErrorCode::INVALID_CONFIG),
        (8, "1", change("kafka", 0, Some("DEBUG")), ErrorCode::INVALID_REQUEST),
    ];
    for (resource_type, name, config, expected) in cases {
        let before = own();
        for validate_only in [true, false] {
            let request = k44::IncrementalAlterConfigsRequest {
                resources: vec![k44::AlterConfigsResource {
                    resource_type,
                    resource_name: name.to_owned(),
                    configs: vec![config.clone()],
                }],
                validate_only,
            };
            let response = ask!(client, IncrementalAlterConfigs v 1, request);
            let code = response.responses[0].error_code;
            assert_eq!(code, expected, "{:?}", response.responses[0].error_message);
            let unchanged = validate_only || expected != ErrorCode::NONE;
            assert_eq!(own() == before, unchanged, "{config:?}");
        }
    }
    let told: Vec<_> = own().into_iter().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(told, [pair("cleanup.policy", "compact"), pair("segment.ms", "7")]);
    let request = k33::AlterConfigsRequest {
        resources: vec![k33::AlterConfigsResource {
            resource_type: 2,
            resource_name: "t".to_owned(),
            configs: vec![k33::AlterableConfig {
                name: "retention.ms".to_owned(),
                value: Some("9".to_owned()),
            }],
        }],
        validate_only: false,
    };
    let response = ask!(client, AlterConfigs v 2, request);
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    assert_eq!(own().into_iter().collect::<Vec<_>>(), [pair("retention.ms", "9")]);
}

#[tokio::test]
async fn partitions_are_described_in_pages() {
    let broker = TestBroker::start().await;
    broker.topic("a", 3).await;
    broker.topic("b", 2).await;
    broker.topic("c", 1).await;
    let mut client = broker.connect().await;
    for limit in 1..=7 {
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let request = k75::DescribeTopicPartitionsRequest {
                topics: Vec::new(),
                response_partition_limit: limit,
                cursor,
            };
            let response = ask!(client, DescribeTopicPartitions v 0, request);
            let mut told = 0;
            for topic in response.topics {
                for partition in topic.partitions {
                    seen.push((topic.name.clone().unwrap(), partition.partition_index));
                    told += 1;
                }
            }
            assert!(told <= limit);
            cursor = response.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let expected = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("c", 0)];
        let expected: Vec<_> = expected.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(seen, expected, "{limit} at a time");
    }
    let request = k75::DescribeTopicPartitionsRequest {
        topics: vec![k75::TopicRequest { name: "none".to_owned() }],
        ..Default::default()
    };
    let response = ask!(client, DescribeTopicPartitions v 0, request);
    assert_eq!(response.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}
