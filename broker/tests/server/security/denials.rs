//! What each API requires: a table in which every API has a row.
//!
//! For each requirement of a row: without it the request is denied by the code that Kafka has for
//! that; with everything else that can be permitted for the resource it still is; with it, and
//! the others of the row, it is not.

use std::time::Duration;

use broker::protocol::messages::*;
use broker::protocol::{ApiKey, ErrorCode, Request, Response};
use broker::security::acl::ResourceType::{Cluster, Group, Topic, TransactionalId};
use broker::security::acl::{CLUSTER_NAME, Operation, ResourceType};
use broker::server::AuthorizerConfig;
use bytes::Bytes;

use super::{Office, Rule};
use crate::harness::*;

/// A request, and what it requires.
struct Row {
    version: i16,
    request: Box<dyn Fn() -> Request>,
    code: Box<dyn Fn(Response) -> ErrorCode>,
    needs: Vec<(Rule<'static>, ErrorCode)>,
}

const TOPIC: ErrorCode = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
const GROUP: ErrorCode = ErrorCode::GROUP_AUTHORIZATION_FAILED;
const CLUSTER: ErrorCode = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
const ID: ErrorCode = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;

macro_rules! row {
    ($api:ident v $version:literal, $request:expr, |$response:ident| $code:expr, $needs:expr) => {
        Row {
            version: $version,
            request: Box::new(|| $request.into()),
            code: Box::new(|response| match response {
                Response::$api(mut $response) => {
                    _ = &mut $response;
                    $code
                }
                other => panic!("{other:?}"),
            }),
            needs: $needs.into_iter().collect(),
        }
    };
}

fn on_topic(operation: Operation) -> (Rule<'static>, ErrorCode) {
    ((Topic, "t", operation), TOPIC)
}

fn on_group(operation: Operation) -> (Rule<'static>, ErrorCode) {
    ((Group, "g", operation), GROUP)
}

fn on_cluster(operation: Operation) -> (Rule<'static>, ErrorCode) {
    ((Cluster, CLUSTER_NAME, operation), CLUSTER)
}

fn on_id(operation: Operation) -> (Rule<'static>, ErrorCode) {
    ((TransactionalId, "x", operation), ID)
}

/// What is asked for nobody is denied: it says nothing, or has been decided before.
const NOTHING: [(Rule<'static>, ErrorCode); 0] = [];

fn t() -> String {
    "t".to_owned()
}

fn g() -> String {
    "g".to_owned()
}

fn x() -> String {
    "x".to_owned()
}

fn row(api: ApiKey) -> Row {
    use Operation::*;
    match api {
        ApiKey::Produce => row!(Produce v 9, produce("t", 0, -1, batch(&["a"])),
            |response| produced(response).error_code, [on_topic(Write)]),
        ApiKey::Fetch => row!(Fetch v 12, fetch("t", 0, 0),
            |response| fetched(response).error_code, [on_topic(Read)]),
        ApiKey::ListOffsets => row!(ListOffsets v 7, k02_list_offsets::ListOffsetsRequest {
            topics: vec![k02_list_offsets::ListOffsetsTopic {
                name: t(),
                partitions: vec![k02_list_offsets::ListOffsetsPartition {
                    timestamp: -1, ..Default::default()
                }],
            }],
            ..Default::default()
        }, |response| response.topics[0].partitions[0].error_code, [on_topic(Describe)]),
        ApiKey::Metadata => row!(Metadata v 9, k03_metadata::MetadataRequest {
            topics: Some(vec![k03_metadata::MetadataRequestTopic {
                name: Some(t()), ..Default::default()
            }]),
            ..Default::default()
        }, |response| response.topics[0].error_code, [on_topic(Describe)]),
        ApiKey::OffsetCommit => row!(OffsetCommit v 8, k08_offset_commit::OffsetCommitRequest {
            group_id: g(),
            topics: vec![k08_offset_commit::OffsetCommitRequestTopic {
                name: t(), partitions: vec![Default::default()],
            }],
            ..Default::default()
        }, |response| response.topics[0].partitions[0].error_code,
            [on_group(Read), on_topic(Read)]),
        ApiKey::OffsetFetch => row!(OffsetFetch v 8, k09_offset_fetch::OffsetFetchRequest {
            groups: vec![k09_offset_fetch::OffsetFetchRequestGroup {
                group_id: g(),
                topics: Some(vec![k09_offset_fetch::OffsetFetchRequestTopics {
                    name: t(), partition_indexes: vec![0],
                }]),
                ..Default::default()
            }],
            ..Default::default()
        }, |response| {
            let group = response.groups.remove(0);
            match group.topics.first() {
                Some(topic) if !group.error_code.is_error() => topic.partitions[0].error_code,
                _ => group.error_code,
            }
        }, [on_group(Describe), on_topic(Describe)]),
        ApiKey::FindCoordinator => row!(FindCoordinator v 4,
            k10_find_coordinator::FindCoordinatorRequest {
                coordinator_keys: vec![g()], ..Default::default()
            }, |response| response.coordinators[0].error_code, [on_group(Describe)]),
        ApiKey::JoinGroup => row!(JoinGroup v 7, k11_join_group::JoinGroupRequest {
            group_id: g(), session_timeout_ms: 10_000, ..Default::default()
        }, |response| response.error_code, [on_group(Read)]),
        ApiKey::Heartbeat => row!(Heartbeat v 4, k12_heartbeat::HeartbeatRequest {
            group_id: g(), ..Default::default()
        }, |response| response.error_code, [on_group(Read)]),
        ApiKey::LeaveGroup => row!(LeaveGroup v 4, k13_leave_group::LeaveGroupRequest {
            group_id: g(), ..Default::default()
        }, |response| response.error_code, [on_group(Read)]),
        ApiKey::SyncGroup => row!(SyncGroup v 4, k14_sync_group::SyncGroupRequest {
            group_id: g(), ..Default::default()
        }, |response| response.error_code, [on_group(Read)]),
        ApiKey::DescribeGroups => row!(DescribeGroups v 5,
            k15_describe_groups::DescribeGroupsRequest { groups: vec![g()], ..Default::default() },
            |response| response.groups[0].error_code, [on_group(Describe)]),
        // Whoever may not see a group is not told that there is one.
        ApiKey::ListGroups => row!(ListGroups v 4, k16_list_groups::ListGroupsRequest::default(),
            |response| response.error_code, NOTHING),
        ApiKey::SaslHandshake => row!(SaslHandshake v 1,
            k17_sasl_handshake::SaslHandshakeRequest::default(),
            |response| response.error_code, NOTHING),
        ApiKey::ApiVersions => row!(ApiVersions v 2,
            k18_api_versions::ApiVersionsRequest::default(),
            |response| response.error_code, NOTHING),
        ApiKey::CreateTopics => row!(CreateTopics v 7, k19_create_topics::CreateTopicsRequest {
            topics: vec![k19_create_topics::CreatableTopic {
                name: t(), num_partitions: 1, replication_factor: 1, ..Default::default()
            }],
            ..Default::default()
        }, |response| response.topics[0].error_code, [on_topic(Create)]),
        ApiKey::DeleteTopics => row!(DeleteTopics v 6, k20_delete_topics::DeleteTopicsRequest {
            topics: vec![k20_delete_topics::DeleteTopicState {
                name: Some(t()), ..Default::default()
            }],
            ..Default::default()
        }, |response| response.responses[0].error_code, [on_topic(Delete)]),
        ApiKey::DeleteRecords => row!(DeleteRecords v 2,
            k21_delete_records::DeleteRecordsRequest {
                topics: vec![k21_delete_records::DeleteRecordsTopic {
                    name: t(), partitions: vec![Default::default()],
                }],
                ..Default::default()
            }, |response| response.topics[0].partitions[0].error_code, [on_topic(Delete)]),
        ApiKey::InitProducerId => row!(InitProducerId v 4,
            k22_init_producer_id::InitProducerIdRequest {
                transactional_id: Some(x()), transaction_timeout_ms: 1000, ..Default::default()
            }, |response| response.error_code, [on_id(Write)]),
        ApiKey::OffsetForLeaderEpoch => row!(OffsetForLeaderEpoch v 4,
            k23_offset_for_leader_epoch::OffsetForLeaderEpochRequest {
                topics: vec![k23_offset_for_leader_epoch::OffsetForLeaderTopic {
                    topic: t(), partitions: vec![Default::default()],
                }],
                ..Default::default()
            }, |response| response.topics[0].partitions[0].error_code, [on_topic(Describe)]),
        ApiKey::AddPartitionsToTxn => row!(AddPartitionsToTxn v 3,
            k24_add_partitions_to_txn::AddPartitionsToTxnRequest {
                v3_and_below_transactional_id: x(),
                v3_and_below_topics: vec![k24_add_partitions_to_txn::AddPartitionsToTxnTopic {
                    name: t(), partitions: vec![0],
                }],
                ..Default::default()
            }, |response| response.results_by_topic_v3_and_below[0].results_by_partition[0]
                .partition_error_code, [on_id(Write), on_topic(Write)]),
        ApiKey::AddOffsetsToTxn => row!(AddOffsetsToTxn v 3,
            k25_add_offsets_to_txn::AddOffsetsToTxnRequest {
                transactional_id: x(), group_id: g(), ..Default::default()
            }, |response| response.error_code, [on_id(Write), on_group(Read)]),
        ApiKey::EndTxn => row!(EndTxn v 3, k26_end_txn::EndTxnRequest {
            transactional_id: x(), ..Default::default()
        }, |response| response.error_code, [on_id(Write)]),
        ApiKey::WriteTxnMarkers => row!(WriteTxnMarkers v 1,
            k27_write_txn_markers::WriteTxnMarkersRequest {
                markers: vec![k27_write_txn_markers::WritableTxnMarker {
                    producer_id: 7,
                    topics: vec![k27_write_txn_markers::WritableTxnMarkerTopic {
                        name: t(), partition_indexes: vec![0],
                    }],
                    ..Default::default()
                }],
            }, |response| response.markers[0].topics[0].partitions[0].error_code,
            [on_cluster(Alter)]),
        ApiKey::TxnOffsetCommit => row!(TxnOffsetCommit v 3,
            k28_txn_offset_commit::TxnOffsetCommitRequest {
                transactional_id: x(),
                group_id: g(),
                topics: vec![k28_txn_offset_commit::TxnOffsetCommitRequestTopic {
                    name: t(), partitions: vec![Default::default()],
                }],
                ..Default::default()
            }, |response| response.topics[0].partitions[0].error_code,
            [on_id(Write), on_group(Read)]),
        ApiKey::DescribeAcls => row!(DescribeAcls v 3, k29_describe_acls::DescribeAclsRequest {
            resource_type_filter: 1, pattern_type_filter: 1, operation: 1, permission_type: 1,
            ..Default::default()
        }, |response| response.error_code, [on_cluster(Describe)]),
        ApiKey::CreateAcls => row!(CreateAcls v 3, k30_create_acls::CreateAclsRequest {
            creations: vec![Default::default()],
        }, |response| response.results[0].error_code, [on_cluster(Alter)]),
        ApiKey::DeleteAcls => row!(DeleteAcls v 3, k31_delete_acls::DeleteAclsRequest {
            filters: vec![Default::default()],
        }, |response| response.filter_results[0].error_code, [on_cluster(Alter)]),
        ApiKey::DescribeConfigs => row!(DescribeConfigs v 4,
            describe_configs(2, &t(), None), |response| response.results[0].error_code, [on_topic(DescribeConfigs)]),
        ApiKey::AlterConfigs => row!(AlterConfigs v 2, k33_alter_configs::AlterConfigsRequest {
            resources: vec![k33_alter_configs::AlterConfigsResource {
                resource_type: 2, resource_name: t(), ..Default::default()
            }],
            ..Default::default()
        }, |response| response.responses[0].error_code, [on_topic(AlterConfigs)]),
        ApiKey::DescribeLogDirs => row!(DescribeLogDirs v 4,
            k35_describe_log_dirs::DescribeLogDirsRequest::default(),
            |response| response.error_code, [on_cluster(Describe)]),
        ApiKey::SaslAuthenticate => row!(SaslAuthenticate v 2,
            k36_sasl_authenticate::SaslAuthenticateRequest::default(),
            |response| response.error_code, NOTHING),
        ApiKey::CreatePartitions => row!(CreatePartitions v 3,
            k37_create_partitions::CreatePartitionsRequest {
                topics: vec![k37_create_partitions::CreatePartitionsTopic {
                    name: t(), count: 2, assignments: None,
                }],
                ..Default::default()
            }, |response| response.results[0].error_code, [on_topic(Alter)]),
        ApiKey::DeleteGroups => row!(DeleteGroups v 2,
            k42_delete_groups::DeleteGroupsRequest { groups_names: vec![g()] },
            |response| response.results[0].error_code, [on_group(Delete)]),
        ApiKey::IncrementalAlterConfigs => row!(IncrementalAlterConfigs v 1,
            k44_incremental_alter_configs::IncrementalAlterConfigsRequest {
                resources: vec![k44_incremental_alter_configs::AlterConfigsResource {
                    resource_type: 4, ..Default::default()
                }],
                ..Default::default()
            }, |response| response.responses[0].error_code, [on_cluster(AlterConfigs)]),
        ApiKey::OffsetDelete => row!(OffsetDelete v 0, k47_offset_delete::OffsetDeleteRequest {
            group_id: g(),
            topics: vec![k47_offset_delete::OffsetDeleteRequestTopic {
                name: t(), partitions: vec![Default::default()],
            }],
        }, |response| match response.topics.first() {
            Some(topic) if !response.error_code.is_error() => topic.partitions[0].error_code,
            _ => response.error_code,
        }, [on_group(Delete)]),
        ApiKey::AlterReplicaLogDirs => row!(AlterReplicaLogDirs v 2,
            k34_alter_replica_log_dirs::AlterReplicaLogDirsRequest {
                dirs: vec![k34_alter_replica_log_dirs::AlterReplicaLogDir {
                    path: "/".to_owned(),
                    topics: vec![k34_alter_replica_log_dirs::AlterReplicaLogDirTopic {
                        name: t(), partitions: vec![0],
                    }],
                }],
            }, |response| response.results[0].partitions[0].error_code, [on_cluster(Alter)]),
        ApiKey::ElectLeaders => row!(ElectLeaders v 2, k43_elect_leaders::ElectLeadersRequest {
            topic_partitions: None, ..Default::default()
        }, |response| response.error_code, [on_cluster(Alter)]),
        ApiKey::AlterPartitionReassignments => row!(AlterPartitionReassignments v 1,
            k45_alter_partition_reassignments::AlterPartitionReassignmentsRequest::default(),
            |response| response.error_code, [on_cluster(Alter)]),
        ApiKey::ListPartitionReassignments => row!(ListPartitionReassignments v 0,
            k46_list_partition_reassignments::ListPartitionReassignmentsRequest::default(),
            |response| response.error_code, [on_cluster(Describe)]),
        ApiKey::UpdateFeatures => row!(UpdateFeatures v 2,
            k57_update_features::UpdateFeaturesRequest::default(),
            |response| response.error_code, [on_cluster(Alter)]),
        ApiKey::UnregisterBroker => row!(UnregisterBroker v 0,
            k64_unregister_broker::UnregisterBrokerRequest { broker_id: 99 },
            |response| response.error_code, [on_cluster(Alter)]),
        ApiKey::ListConfigResources => row!(ListConfigResources v 1,
            k74_list_config_resources::ListConfigResourcesRequest::default(),
            |response| response.error_code, [on_cluster(DescribeConfigs)]),
        ApiKey::DescribeClientQuotas => row!(DescribeClientQuotas v 1,
            k48_describe_client_quotas::DescribeClientQuotasRequest::default(),
            |response| response.error_code, [on_cluster(DescribeConfigs)]),
        ApiKey::AlterClientQuotas => row!(AlterClientQuotas v 1,
            k49_alter_client_quotas::AlterClientQuotasRequest {
                entries: vec![Default::default()], ..Default::default()
            }, |response| response.entries[0].error_code, [on_cluster(AlterConfigs)]),
        ApiKey::DescribeUserScramCredentials => row!(DescribeUserScramCredentials v 0,
            k50_describe_user_scram_credentials::DescribeUserScramCredentialsRequest::default(),
            |response| response.error_code, [on_cluster(Describe)]),
        ApiKey::AlterUserScramCredentials => row!(AlterUserScramCredentials v 0,
            k51_alter_user_scram_credentials::AlterUserScramCredentialsRequest {
                deletions: vec![Default::default()], ..Default::default()
            }, |response| response.results[0].error_code, [on_cluster(Alter)]),
        // All are told where the broker is; what may be done to it, only who may see it.
        ApiKey::DescribeCluster => row!(DescribeCluster v 1,
            k60_describe_cluster::DescribeClusterRequest::default(),
            |response| response.error_code, NOTHING),
        ApiKey::DescribeProducers => row!(DescribeProducers v 0,
            k61_describe_producers::DescribeProducersRequest {
                topics: vec![k61_describe_producers::TopicRequest {
                    name: t(), partition_indexes: vec![0],
                }],
            }, |response| response.topics[0].partitions[0].error_code, [on_topic(Read)]),
        ApiKey::DescribeTransactions => row!(DescribeTransactions v 0,
            k65_describe_transactions::DescribeTransactionsRequest { transactional_ids: vec![x()] },
            |response| response.transaction_states[0].error_code, [on_id(Describe)]),
        ApiKey::ListTransactions => row!(ListTransactions v 0,
            k66_list_transactions::ListTransactionsRequest::default(),
            |response| response.error_code, NOTHING),
        ApiKey::ConsumerGroupHeartbeat => row!(ConsumerGroupHeartbeat v 1,
            k68_consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
                group_id: g(),
                subscribed_topic_names: Some(vec![t()]),
                ..Default::default()
            }, |response| response.error_code, [on_group(Read), on_topic(Describe)]),
        ApiKey::ConsumerGroupDescribe => row!(ConsumerGroupDescribe v 1,
            k69_consumer_group_describe::ConsumerGroupDescribeRequest {
                group_ids: vec![g()], ..Default::default()
            }, |response| response.groups[0].error_code, [on_group(Describe)]),
        ApiKey::ShareGroupHeartbeat => row!(ShareGroupHeartbeat v 1,
            k76_share_group_heartbeat::ShareGroupHeartbeatRequest {
                group_id: g(),
                subscribed_topic_names: Some(vec![t()]),
                ..Default::default()
            }, |response| response.error_code, [on_group(Read), on_topic(Describe)]),
        ApiKey::ShareGroupDescribe => row!(ShareGroupDescribe v 1,
            k77_share_group_describe::ShareGroupDescribeRequest {
                group_ids: vec![g()], ..Default::default()
            }, |response| response.groups[0].error_code, [on_group(Describe)]),
        ApiKey::ShareFetch => row!(ShareFetch v 1, k78_share_fetch::ShareFetchRequest {
            group_id: Some(g()), member_id: Some(x()), ..Default::default()
        }, |response| response.error_code, [on_group(Read)]),
        ApiKey::ShareAcknowledge => row!(ShareAcknowledge v 1,
            k79_share_acknowledge::ShareAcknowledgeRequest {
                group_id: Some(g()), member_id: Some(x()), ..Default::default()
            }, |response| response.error_code, [on_group(Read)]),
        ApiKey::DescribeShareGroupOffsets => row!(DescribeShareGroupOffsets v 0,
            k90_describe_share_group_offsets::DescribeShareGroupOffsetsRequest {
                groups: vec![
                    k90_describe_share_group_offsets::DescribeShareGroupOffsetsRequestGroup {
                        group_id: g(), topics: None,
                    },
                ],
            }, |response| response.groups[0].error_code, [on_group(Describe)]),
        ApiKey::AlterShareGroupOffsets => row!(AlterShareGroupOffsets v 0,
            k91_alter_share_group_offsets::AlterShareGroupOffsetsRequest {
                group_id: g(), topics: vec![],
            }, |response| response.error_code, [on_group(Read)]),
        ApiKey::DeleteShareGroupOffsets => row!(DeleteShareGroupOffsets v 0,
            k92_delete_share_group_offsets::DeleteShareGroupOffsetsRequest {
                group_id: g(), topics: vec![],
            }, |response| response.error_code, [on_group(Delete)]),
        ApiKey::DescribeTopicPartitions => row!(DescribeTopicPartitions v 0,
            k75_describe_topic_partitions::DescribeTopicPartitionsRequest {
                topics: vec![k75_describe_topic_partitions::TopicRequest { name: t() }],
                ..Default::default()
            }, |response| response.topics[0].error_code, [on_topic(Describe)]),
    }
}

/// All other operations that do not bring `operation` with them.
fn others(operation: Operation) -> impl Iterator<Item = Operation> {
    let implying: &[Operation] = match operation {
        Operation::Describe => {
            &[Operation::Read, Operation::Write, Operation::Delete, Operation::Alter]
        }
        Operation::DescribeConfigs => &[Operation::AlterConfigs],
        // Either of these permits markers.
        Operation::Alter => &[Operation::ClusterAction],
        _ => &[],
    };
    let all = Operation::ALL.iter().copied();
    all.filter(move |other| {
        *other != operation && *other != Operation::All && !implying.contains(other)
    })
}

async fn guarded() -> (TestBroker, Office) {
    let broker = TestBroker::with(|_, server| {
        server.authorizer = Some(AuthorizerConfig::default());
    })
    .await;
    let office = Office::of(&broker.broker).await;
    (broker, office)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_api_requires_what_kafkas_does() {
    let (broker, office) = guarded().await;
    for api in ApiKey::ALL {
        let Row { version, request, code, needs } = row(*api);
        let ask = async || {
            if broker.broker.topic("t").is_none() && *api != ApiKey::CreateTopics {
                broker.topic("t", 1).await;
            }
            let mut client = broker.connect().await;
            code(client.ask(version, request()).await)
        };
        let rules: Vec<Rule<'_>> = needs.iter().map(|(rule, _)| *rule).collect();
        for (at, (missing, denied)) in needs.iter().enumerate() {
            let (resource_type, name, operation) = *missing;
            let mut without = rules.clone();
            without.remove(at);
            office.allow(&without).await;
            assert_eq!(ask().await, *denied, "{api} without {missing:?}");
            let instead: Vec<Rule<'_>> =
                others(operation).map(|other| (resource_type, name, other)).collect();
            office.allow(&instead).await;
            assert_eq!(ask().await, *denied, "{api} with all but {missing:?}");
            office.forbid_all_again().await;
        }
        office.allow(&rules).await;
        let answered = ask().await;
        assert!(![TOPIC, GROUP, CLUSTER, ID].contains(&answered), "{api}: {answered}");
        office.forbid_all_again().await;
    }
    let text = broker.broker.metrics_text().await;
    assert!(!text.contains("millstream_requests_denied_total 0"), "{text}");
    office.close().await;
}

async fn names(client: &mut Connection) -> Vec<String> {
    let request = k03_metadata::MetadataRequest { topics: None, ..Default::default() };
    let metadata = ask!(client, Metadata v 12, request);
    metadata.topics.into_iter().filter_map(|topic| topic.name).collect()
}

/// What may not be seen is left out where all is asked for, and nothing tells whether it exists.
#[tokio::test]
async fn what_may_not_be_seen_is_not_listed() {
    let (broker, office) = guarded().await;
    for topic in ["open", "secret"] {
        broker.topic(topic, 1).await;
    }
    let mut client = broker.connect().await;
    assert_eq!(names(&mut client).await, [""; 0]);
    office.allow(&[(Topic, "open", Operation::Read)]).await;
    assert_eq!(names(&mut client).await, ["open"]);
    let all = k75_describe_topic_partitions::DescribeTopicPartitionsRequest::default();
    let listed = ask!(client, DescribeTopicPartitions v 0, all);
    assert_eq!(listed.topics.len(), 1);
    // Nor where the cursor is none.
    for (topic, partition_index) in [("", -1), ("open", -1), ("zzz", 0)] {
        let topic_name = topic.to_owned();
        let request = k75_describe_topic_partitions::DescribeTopicPartitionsRequest {
            cursor: Some(k75_describe_topic_partitions::Cursor { topic_name, partition_index }),
            ..Default::default()
        };
        let refused = ask!(client, DescribeTopicPartitions v 0, request).topics;
        let names: Vec<Option<&str>> = refused.iter().map(|one| one.name.as_deref()).collect();
        assert_eq!(names, [Some("open")], "cursor {topic:?} {partition_index}");
        assert_eq!(refused[0].error_code, ErrorCode::INVALID_REQUEST);
    }
    // By its name, one that there is and one that there is not look alike.
    let by_name = |name: &str| k03_metadata::MetadataRequest {
        topics: Some(vec![k03_metadata::MetadataRequestTopic {
            name: Some(name.to_owned()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let mut answers = Vec::new();
    for name in ["secret", "absent"] {
        let mut answer = ask!(client, Metadata v 12, by_name(name));
        answer.topics[0].name = None;
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    // By its id, the name stays hidden.
    let topic_id = broker.broker.topic("secret").unwrap().id;
    let by_id = k03_metadata::MetadataRequest {
        topics: Some(vec![k03_metadata::MetadataRequestTopic { topic_id, name: None }]),
        ..Default::default()
    };
    let answer = ask!(client, Metadata v 12, by_id).topics.remove(0);
    assert_eq!((answer.error_code, answer.name), (TOPIC, None));
    let delete = k20_delete_topics::DeleteTopicsRequest {
        topics: vec![k20_delete_topics::DeleteTopicState { topic_id, name: None }],
        ..Default::default()
    };
    let answer = ask!(client, DeleteTopics v 6, delete).responses.remove(0);
    assert_eq!((answer.error_code, answer.name), (TOPIC, None));
    let mut by_id = fetch("", 0, 0);
    by_id.topics[0].topic_id = topic_id;
    assert_eq!(fetched(ask!(client, Fetch v 13, by_id)).error_code, TOPIC);
    let mut by_id = produce("", 0, -1, batch(&["a"]));
    by_id.topic_data[0].topic_id = topic_id;
    assert_eq!(produced(ask!(client, Produce v 13, by_id)).error_code, TOPIC);
    // Groups, and the transactions that touch them.
    let mut inside = office.connect().await;
    for group in ["open", "secret"] {
        let request = k08_offset_commit::OffsetCommitRequest {
            group_id: group.to_owned(),
            topics: vec![k08_offset_commit::OffsetCommitRequestTopic {
                name: "secret".to_owned(),
                partitions: vec![Default::default()],
            }],
            ..Default::default()
        };
        let done = ask!(inside, OffsetCommit v 8, request);
        assert_eq!(done.topics[0].partitions[0].error_code, ErrorCode::NONE);
        let request = k22_init_producer_id::InitProducerIdRequest {
            transactional_id: Some(group.to_owned()),
            transaction_timeout_ms: 1000,
            ..Default::default()
        };
        assert_eq!(ask!(inside, InitProducerId v 4, request).error_code, ErrorCode::NONE);
    }
    let listed = async |client: &mut Connection| {
        let groups = ask!(client, ListGroups v 4, k16_list_groups::ListGroupsRequest::default());
        let request = k66_list_transactions::ListTransactionsRequest::default();
        let transactions = ask!(client, ListTransactions v 0, request);
        (groups.groups.len(), transactions.transaction_states.len())
    };
    assert_eq!(listed(&mut client).await, (0, 0));
    let describe = Operation::Describe;
    office.allow(&[(Group, "open", describe), (TransactionalId, "open", describe)]).await;
    assert_eq!(listed(&mut client).await, (1, 1));
    // All offsets of a group, save those of topics that may not be seen.
    let request = k09_offset_fetch::OffsetFetchRequest {
        groups: vec![k09_offset_fetch::OffsetFetchRequestGroup {
            group_id: "open".to_owned(),
            topics: None,
            ..Default::default()
        }],
        ..Default::default()
    };
    let offsets = ask!(client, OffsetFetch v 8, request);
    assert_eq!(offsets.groups[0].topics.len(), 0);
    office.allow(&[(Cluster, CLUSTER_NAME, describe)]).await;
    assert_eq!(listed(&mut client).await, (2, 1));
    office.close().await;
}

/// What is denied has brought nothing into being.
#[tokio::test]
async fn whoever_may_not_find_coordinators_creates_none_of_their_topics() {
    let (broker, office) = guarded().await;
    let mut client = broker.connect().await;
    for key_type in [0, 1] {
        let request = k10_find_coordinator::FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec![g(), x()],
            ..Default::default()
        };
        let found = ask!(client, FindCoordinator v 4, request).coordinators;
        assert!(found.iter().all(|one| one.error_code.is_error()), "{found:?}");
        let request = k10_find_coordinator::FindCoordinatorRequest {
            key_type,
            key: g(),
            ..Default::default()
        };
        assert!(ask!(client, FindCoordinator v 3, request).error_code.is_error());
    }
    assert!(broker.broker.topics().is_empty());
    office.allow(&[(Group, "g", Operation::Describe)]).await;
    let request = k10_find_coordinator::FindCoordinatorRequest {
        coordinator_keys: vec![g(), x()],
        ..Default::default()
    };
    let found = ask!(client, FindCoordinator v 4, request).coordinators;
    let codes: Vec<ErrorCode> = found.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, GROUP]);
    assert_eq!(broker.broker.topics().len(), 1);
    office.close().await;
}

/// Whoever may do everything may not write to the broker's own topics in transactions.
#[tokio::test]
async fn topics_of_the_broker_are_in_no_transaction_of_a_producer() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let request = k22_init_producer_id::InitProducerIdRequest {
        transactional_id: Some(x()),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    let producer = ask!(client, InitProducerId v 4, request);
    assert_eq!(producer.error_code, ErrorCode::NONE);
    let topic = "__transaction_state".to_owned();
    assert!(broker.broker.topic(&topic).is_some());
    let request = k24_add_partitions_to_txn::AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: x(),
        v3_and_below_producer_id: producer.producer_id,
        v3_and_below_producer_epoch: producer.producer_epoch,
        v3_and_below_topics: vec![k24_add_partitions_to_txn::AddPartitionsToTxnTopic {
            name: topic,
            partitions: vec![0],
        }],
        ..Default::default()
    };
    let added = ask!(client, AddPartitionsToTxn v 3, request);
    let result = &added.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(result.partition_error_code, TOPIC);
}

#[tokio::test]
async fn long_patterns_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (length, expected) in
        [(1024, ErrorCode::NONE), (1025, ErrorCode::INVALID_REGULAR_EXPRESSION)]
    {
        let request = k66_list_transactions::ListTransactionsRequest {
            transactional_id_pattern: Some("a".repeat(length)),
            ..Default::default()
        };
        let listed = ask!(client, ListTransactions v 2, request);
        assert_eq!(listed.error_code, expected, "{length}");
    }
}

/// There is more than one way to some permissions.
#[tokio::test]
async fn some_things_are_permitted_in_two_ways() {
    let (broker, office) = guarded().await;
    let mut client = broker.connect().await;
    let create = |name: &str| k19_create_topics::CreateTopicsRequest {
        topics: vec![k19_create_topics::CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..Default::default()
        }],
        ..Default::default()
    };
    let idempotent = || k22_init_producer_id::InitProducerIdRequest {
        transactional_id: None,
        ..Default::default()
    };
    assert_eq!(ask!(client, CreateTopics v 7, create("a")).topics[0].error_code, TOPIC);
    assert_eq!(ask!(client, InitProducerId v 4, idempotent()).error_code, CLUSTER);
    office.allow(&[(Cluster, CLUSTER_NAME, Operation::Create)]).await;
    let created = ask!(client, CreateTopics v 7, create("a")).topics.remove(0);
    assert_eq!(created.error_code, ErrorCode::NONE);
    assert_eq!(created.topic_config_error_code, TOPIC.0, "it may not see the configs");
    assert_eq!((created.num_partitions, created.configs), (-1, Some(Vec::new())));
    office.allow(&[(Cluster, CLUSTER_NAME, Operation::IdempotentWrite)]).await;
    assert_eq!(ask!(client, InitProducerId v 4, idempotent()).error_code, ErrorCode::NONE);
    office.forbid_all_again().await;
    office.allow(&[(Topic, "somewhere", Operation::Write)]).await;
    assert_eq!(ask!(client, InitProducerId v 4, idempotent()).error_code, ErrorCode::NONE);
    // Writing is no permission to create what is not there yet.
    let metadata = k03_metadata::MetadataRequest {
        topics: Some(vec![k03_metadata::MetadataRequestTopic {
            name: Some("somewhere".to_owned()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let answer = ask!(client, Metadata v 9, metadata.clone());
    assert_eq!(answer.topics[0].error_code, TOPIC);
    assert!(broker.broker.topic("somewhere").is_none());
    office.allow(&[(Topic, "somewhere", Operation::Create)]).await;
    let answer = ask!(client, Metadata v 9, metadata);
    assert_eq!(answer.topics[0].error_code, ErrorCode::NONE);
    // From v4 on adding to transactions is for brokers.
    let add = k24_add_partitions_to_txn::AddPartitionsToTxnRequest::default();
    assert_eq!(ask!(client, AddPartitionsToTxn v 4, add).error_code, CLUSTER);
    office.close().await;
}

#[tokio::test]
async fn what_a_client_may_do_is_told_when_it_asks() {
    let (broker, office) = guarded().await;
    broker.topic("t", 1).await;
    office.allow(&[(Topic, "t", Operation::Write), (Group, "g", Operation::Read)]).await;
    let bits = |operations: &[Operation]| {
        operations.iter().fold(0, |set, operation| set | 1 << (*operation as i8))
    };
    let mut client = broker.connect().await;
    let request = k03_metadata::MetadataRequest {
        topics: None,
        include_topic_authorized_operations: true,
        include_cluster_authorized_operations: true,
        ..Default::default()
    };
    let metadata = ask!(client, Metadata v 9, request.clone());
    let of_topic = metadata.topics[0].topic_authorized_operations;
    assert_eq!(of_topic, bits(&[Operation::Write, Operation::Describe]));
    assert_eq!(metadata.cluster_authorized_operations, 0, "it may not even see it");
    office.allow(&[(Cluster, CLUSTER_NAME, Operation::Alter)]).await;
    let request = k60_describe_cluster::DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        ..Default::default()
    };
    let cluster = ask!(client, DescribeCluster v 0, request);
    let expected = bits(&[Operation::Alter, Operation::Describe]);
    assert_eq!(cluster.cluster_authorized_operations, expected);
    let request = k15_describe_groups::DescribeGroupsRequest {
        groups: vec!["g".to_owned()],
        include_authorized_operations: true,
    };
    let groups = ask!(client, DescribeGroups v 5, request);
    let expected = bits(&[Operation::Read, Operation::Describe]);
    assert_eq!(groups.groups[0].authorized_operations, expected);
    office.close().await;
}

/// A transactional batch needs the permission for its id, whatever else is permitted.
#[tokio::test]
async fn transactional_batches_need_their_id() {
    let (broker, office) = guarded().await;
    broker.topic("t", 1).await;
    office.allow(&[(Topic, "t", Operation::Write)]).await;
    let mut client = broker.connect().await;
    let mut records = batch(&["a"]).to_vec();
    records[22] |= 0x10;
    let checksum = crc32c(&records[21..]).to_be_bytes();
    records[17..21].copy_from_slice(&checksum);
    let mut request = produce("t", 0, -1, Bytes::from(records));
    request.transactional_id = Some("x".to_owned());
    assert_eq!(produced(ask!(client, Produce v 9, request.clone())).error_code, ID);
    office.allow(&[(TransactionalId, "x", Operation::Write)]).await;
    let answered = produced(ask!(client, Produce v 9, request)).error_code;
    assert!(answered.is_error() && answered != ID, "it belongs to no transaction: {answered}");
    office.close().await;
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// A topic that may not be read does not keep a reader of others from waiting: else it would come
/// back at once, for ever.
#[tokio::test]
async fn what_is_denied_waits_with_what_is_not() {
    let (broker, office) = guarded().await;
    for topic in ["open", "secret"] {
        broker.topic(topic, 1).await;
    }
    office.allow(&[(Topic, "open", Operation::Read)]).await;
    let mut request = fetch("open", 0, 0);
    request.topics.extend(fetch("secret", 0, 0).topics);
    request.max_wait_ms = 60_000;
    let mut client = broker.connect().await;
    client.send(12, request.into()).await;
    let waits = tokio::time::timeout(Duration::from_millis(300), client.receive_frame()).await;
    assert!(waits.is_err(), "it is answered at once: {waits:?}");
    put(&mut office.connect().await, "open", &["a"]).await;
    let (_, response) = client.receive(ApiKey::Fetch, 12).await;
    let Response::Fetch(response) = response else { panic!("{response:?}") };
    let codes: Vec<ErrorCode> =
        response.responses.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(codes, [ErrorCode::NONE, TOPIC]);
    office.close().await;
}

/// The type that a rule is about counts: a group's name is no topic's.
#[tokio::test]
async fn names_count_by_their_type() {
    let (broker, office) = guarded().await;
    broker.topic("g", 1).await;
    let all: [ResourceType; 4] = [Group, Cluster, TransactionalId, ResourceType::User];
    let rules =
        all.map(|kind| (kind, if kind == Cluster { CLUSTER_NAME } else { "g" }, Operation::Read));
    office.allow(&rules).await;
    let mut client = broker.connect().await;
    assert_eq!(fetched(ask!(client, Fetch v 12, fetch("g", 0, 0))).error_code, TOPIC);
    office.allow(&[(Topic, "g", Operation::All)]).await;
    assert_eq!(fetched(ask!(client, Fetch v 12, fetch("g", 0, 0))).error_code, ErrorCode::NONE);
    office.close().await;
}
