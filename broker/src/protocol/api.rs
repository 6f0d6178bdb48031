//! The one table of the APIs that are served. Dispatch, ApiVersions and the compatibility table
//! of the documentation are all made from it; versions come from the messages' declarations.

use std::fmt;
use std::ops::RangeInclusive;

use super::error::{DecodeError, EncodeError};
use super::message::{Message, Throttled};
use super::messages::*;
use super::wire::{Reader, Writer};

/// Hands the table to a macro: key, name, module, request, response.
macro_rules! with_apis {
    ($then:ident) => {
        $then! {
            0 Produce k00_produce ProduceRequest ProduceResponse;
            1 Fetch k01_fetch FetchRequest FetchResponse;
            2 ListOffsets k02_list_offsets ListOffsetsRequest ListOffsetsResponse;
            3 Metadata k03_metadata MetadataRequest MetadataResponse;
            8 OffsetCommit k08_offset_commit OffsetCommitRequest OffsetCommitResponse;
            9 OffsetFetch k09_offset_fetch OffsetFetchRequest OffsetFetchResponse;
            10 FindCoordinator k10_find_coordinator
                FindCoordinatorRequest FindCoordinatorResponse;
            11 JoinGroup k11_join_group JoinGroupRequest JoinGroupResponse;
            12 Heartbeat k12_heartbeat HeartbeatRequest HeartbeatResponse;
            13 LeaveGroup k13_leave_group LeaveGroupRequest LeaveGroupResponse;
            14 SyncGroup k14_sync_group SyncGroupRequest SyncGroupResponse;
            15 DescribeGroups k15_describe_groups DescribeGroupsRequest DescribeGroupsResponse;
            16 ListGroups k16_list_groups ListGroupsRequest ListGroupsResponse;
            17 SaslHandshake k17_sasl_handshake SaslHandshakeRequest SaslHandshakeResponse;
            18 ApiVersions k18_api_versions ApiVersionsRequest ApiVersionsResponse;
            19 CreateTopics k19_create_topics CreateTopicsRequest CreateTopicsResponse;
            20 DeleteTopics k20_delete_topics DeleteTopicsRequest DeleteTopicsResponse;
            21 DeleteRecords k21_delete_records DeleteRecordsRequest DeleteRecordsResponse;
            22 InitProducerId k22_init_producer_id
                InitProducerIdRequest InitProducerIdResponse;
            23 OffsetForLeaderEpoch k23_offset_for_leader_epoch
                OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
            24 AddPartitionsToTxn k24_add_partitions_to_txn
                AddPartitionsToTxnRequest AddPartitionsToTxnResponse;
            25 AddOffsetsToTxn k25_add_offsets_to_txn
                AddOffsetsToTxnRequest AddOffsetsToTxnResponse;
            26 EndTxn k26_end_txn EndTxnRequest EndTxnResponse;
            27 WriteTxnMarkers k27_write_txn_markers
                WriteTxnMarkersRequest WriteTxnMarkersResponse;
            28 TxnOffsetCommit k28_txn_offset_commit
                TxnOffsetCommitRequest TxnOffsetCommitResponse;
            29 DescribeAcls k29_describe_acls DescribeAclsRequest DescribeAclsResponse;
            30 CreateAcls k30_create_acls CreateAclsRequest CreateAclsResponse;
            31 DeleteAcls k31_delete_acls DeleteAclsRequest DeleteAclsResponse;
            32 DescribeConfigs k32_describe_configs
                DescribeConfigsRequest DescribeConfigsResponse;
            33 AlterConfigs k33_alter_configs AlterConfigsRequest AlterConfigsResponse;
            34 AlterReplicaLogDirs k34_alter_replica_log_dirs
                AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse;
            35 DescribeLogDirs k35_describe_log_dirs
                DescribeLogDirsRequest DescribeLogDirsResponse;
            36 SaslAuthenticate k36_sasl_authenticate
                SaslAuthenticateRequest SaslAuthenticateResponse;
            37 CreatePartitions k37_create_partitions
                CreatePartitionsRequest CreatePartitionsResponse;
            42 DeleteGroups k42_delete_groups DeleteGroupsRequest DeleteGroupsResponse;
            43 ElectLeaders k43_elect_leaders
                ElectLeadersRequest ElectLeadersResponse;
            44 IncrementalAlterConfigs k44_incremental_alter_configs
                IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
            45 AlterPartitionReassignments k45_alter_partition_reassignments
                AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
            46 ListPartitionReassignments k46_list_partition_reassignments
                ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
            47 OffsetDelete k47_offset_delete OffsetDeleteRequest OffsetDeleteResponse;
            48 DescribeClientQuotas k48_describe_client_quotas
                DescribeClientQuotasRequest DescribeClientQuotasResponse;
            49 AlterClientQuotas k49_alter_client_quotas
                AlterClientQuotasRequest AlterClientQuotasResponse;
            50 DescribeUserScramCredentials k50_describe_user_scram_credentials
                DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
            51 AlterUserScramCredentials k51_alter_user_scram_credentials
                AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse;
            57 UpdateFeatures k57_update_features UpdateFeaturesRequest UpdateFeaturesResponse;
            60 DescribeCluster k60_describe_cluster
                DescribeClusterRequest DescribeClusterResponse;
            61 DescribeProducers k61_describe_producers
                DescribeProducersRequest DescribeProducersResponse;
            64 UnregisterBroker k64_unregister_broker
                UnregisterBrokerRequest UnregisterBrokerResponse;
            65 DescribeTransactions k65_describe_transactions
                DescribeTransactionsRequest DescribeTransactionsResponse;
            66 ListTransactions k66_list_transactions
                ListTransactionsRequest ListTransactionsResponse;
            68 ConsumerGroupHeartbeat k68_consumer_group_heartbeat
                ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
            69 ConsumerGroupDescribe k69_consumer_group_describe
                ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
            74 ListConfigResources k74_list_config_resources
                ListConfigResourcesRequest ListConfigResourcesResponse;
            75 DescribeTopicPartitions k75_describe_topic_partitions
                DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
            76 ShareGroupHeartbeat k76_share_group_heartbeat
                ShareGroupHeartbeatRequest ShareGroupHeartbeatResponse;
            77 ShareGroupDescribe k77_share_group_describe
                ShareGroupDescribeRequest ShareGroupDescribeResponse;
            78 ShareFetch k78_share_fetch ShareFetchRequest ShareFetchResponse;
            79 ShareAcknowledge k79_share_acknowledge
                ShareAcknowledgeRequest ShareAcknowledgeResponse;
            90 DescribeShareGroupOffsets k90_describe_share_group_offsets
                DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse;
            91 AlterShareGroupOffsets k91_alter_share_group_offsets
                AlterShareGroupOffsetsRequest AlterShareGroupOffsetsResponse;
            92 DeleteShareGroupOffsets k92_delete_share_group_offsets
                DeleteShareGroupOffsetsRequest DeleteShareGroupOffsetsResponse;
        }
    };
}

/// A request as a type of its own, and what answers it.
pub trait Ask: Into<Request> {
    const API: ApiKey;
    type Answer;

    /// The answer, if that is what the response is.
    fn answer(response: Response) -> Option<Self::Answer>;
}

macro_rules! define_apis {
    ($($key:literal $api:ident $module:ident $request:ident $response:ident;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $( $api = $key, )+
        }

        #[derive(Debug, Clone, PartialEq)]
        pub enum Request {
            $( $api($module::$request), )+
        }

        #[derive(Debug, Clone, PartialEq)]
        pub enum Response {
            $( $api($module::$response), )+
        }

        impl ApiKey {
            /// Every API that is served, by key.
            pub const ALL: &[ApiKey] = &[$( ApiKey::$api, )+];

            pub fn from_i16(key: i16) -> Option<ApiKey> {
                match key {
                    $( $key => Some(ApiKey::$api), )+
                    _ => None,
                }
            }

            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $( ApiKey::$api => stringify!($api), )+
                }
            }

            /// The versions that are served.
            pub fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $( ApiKey::$api => $module::$request::VERSIONS, )+
                }
            }

            fn first_flexible(self) -> i16 {
                match self {
                    $( ApiKey::$api => $module::$request::FLEXIBLE, )+
                }
            }
        }

        // A response has the request's versions.
        $( const _: () = {
            let (request, response) = (&$module::$request::VERSIONS, &$module::$response::VERSIONS);
            assert!(*request.start() == *response.start() && *request.end() == *response.end());
            assert!($module::$request::FLEXIBLE == $module::$response::FLEXIBLE);
        }; )+

        $(
            impl From<$module::$request> for Request {
                fn from(request: $module::$request) -> Request {
                    Request::$api(request)
                }
            }

            impl Ask for $module::$request {
                const API: ApiKey = ApiKey::$api;
                type Answer = $module::$response;

                fn answer(response: Response) -> Option<$module::$response> {
                    match response {
                        Response::$api(response) => Some(response),
                        _ => None,
                    }
                }
            }

            impl From<$module::$response> for Response {
                fn from(response: $module::$response) -> Response {
                    Response::$api(response)
                }
            }
        )+

        impl Request {
            pub fn api(&self) -> ApiKey {
                match self {
                    $( Request::$api(_) => ApiKey::$api, )+
                }
            }

            pub fn decode(
                api: ApiKey,
                version: i16,
                input: &mut Reader,
            ) -> Result<Request, DecodeError> {
                Ok(match api {
                    $( ApiKey::$api => Request::$api(Message::decode(input, version)?), )+
                })
            }

            pub fn encode(&self, version: i16, out: &mut Writer) -> Result<(), EncodeError> {
                match self {
                    $( Request::$api(request) => request.encode(out, version), )+
                }
            }
        }

        impl Response {
            /// Tells a client for how long to be quiet, where the message has room for that.
            pub fn set_throttle_time_ms(&mut self, ms: i32) {
                match self {
                    $( Response::$api(response) => response.set_throttle_time_ms(ms), )+
                }
            }

            pub fn api(&self) -> ApiKey {
                match self {
                    $( Response::$api(_) => ApiKey::$api, )+
                }
            }

            pub fn decode(
                api: ApiKey,
                version: i16,
                input: &mut Reader,
            ) -> Result<Response, DecodeError> {
                Ok(match api {
                    $( ApiKey::$api => Response::$api(Message::decode(input, version)?), )+
                })
            }

            pub fn encode(&self, version: i16, out: &mut Writer) -> Result<(), EncodeError> {
                match self {
                    $( Response::$api(response) => response.encode(out, version), )+
                }
            }
        }
    };
}

with_apis!(define_apis);

#[cfg(test)]
pub(super) use with_apis;

impl ApiKey {
    /// Kafka's name for an API that may not be served here.
    pub fn any_name(key: i16) -> &'static str {
        let absent = || super::ABSENT_APIS.iter().find(|absent| absent.0 == key);
        match (ApiKey::from_i16(key), absent()) {
            (Some(api), _) => api.name(),
            (None, Some((_, name, _))) => name,
            (None, None) => "UNKNOWN",
        }
    }

    /// The versions that ApiVersions names. Produce is named from 0 on although only 3 and later
    /// are served: librdkafka does not compress for a broker without v0 (KAFKA-18659).
    pub fn advertised_versions(self) -> RangeInclusive<i16> {
        let served = self.versions();
        match self {
            ApiKey::Produce => 0..=*served.end(),
            _ => served,
        }
    }

    /// Whether the version has compact lengths and tagged fields (KIP-482).
    pub fn is_flexible(self, version: i16) -> bool {
        version >= self.first_flexible()
    }

    pub(super) fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    pub(super) fn response_header_version(self, version: i16) -> i16 {
        let never_flexible = self == ApiKey::ApiVersions;
        if self.is_flexible(version) && !never_flexible { 1 } else { 0 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
