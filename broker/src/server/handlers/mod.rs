//! What each API does: one file for each, named by its key.
//!
//! A new handler is its file and one line in the table below; which versions it serves is what the
//! messages declare. A handler is
//! `async fn handle(call: &Call, request: XRequest) -> XResponse`: errors are codes within the
//! response, and it may be dropped at any await when its client is gone. It asks first whether the
//! client may (`call.may_…`), and whoever may not learns nothing of what there is.

mod acls;
mod admission;
mod altering;
mod codes;
mod committing;
pub mod k00_produce;
mod k01_fetch;
mod k02_list_offsets;
mod k03_metadata;
mod k08_offset_commit;
mod k09_offset_fetch;
mod k10_find_coordinator;
mod k11_join_group;
mod k12_heartbeat;
mod k13_leave_group;
mod k14_sync_group;
mod k15_describe_groups;
mod k16_list_groups;
mod k17_sasl_handshake;
pub mod k18_api_versions;
mod k19_create_topics;
mod k20_delete_topics;
mod k21_delete_records;
mod k22_init_producer_id;
mod k23_offset_for_leader_epoch;
mod k24_add_partitions_to_txn;
mod k25_add_offsets_to_txn;
mod k26_end_txn;
mod k27_write_txn_markers;
mod k28_txn_offset_commit;
mod k29_describe_acls;
mod k30_create_acls;
mod k31_delete_acls;
mod k32_describe_configs;
mod k33_alter_configs;
mod k34_alter_replica_log_dirs;
mod k35_describe_log_dirs;
mod k36_sasl_authenticate;
mod k37_create_partitions;
mod k42_delete_groups;
mod k43_elect_leaders;
mod k44_incremental_alter_configs;
mod k45_alter_partition_reassignments;
mod k46_list_partition_reassignments;
mod k47_offset_delete;
mod k48_describe_client_quotas;
mod k49_alter_client_quotas;
mod k50_describe_user_scram_credentials;
mod k51_alter_user_scram_credentials;
mod k57_update_features;
mod k60_describe_cluster;
mod k61_describe_producers;
mod k64_unregister_broker;
mod k65_describe_transactions;
mod k66_list_transactions;
mod k68_consumer_group_heartbeat;
mod k69_consumer_group_describe;
mod k74_list_config_resources;
mod k75_describe_topic_partitions;
mod k76_share_group_heartbeat;
mod k77_share_group_describe;
mod k78_share_fetch;
mod k79_share_acknowledge;
mod k90_describe_share_group_offsets;
mod k91_alter_share_group_offsets;
mod k92_delete_share_group_offsets;
mod sharing;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::authorization::Identity;
use super::memory::Lease;
use super::{HostPort, Shared, throttle};
use crate::broker::{Broker, Topic};
use crate::client::Isolation;
use crate::log::{Partition, ReadError};
use crate::protocol::{ApiKey, ErrorCode, Request, Response};
use crate::security::acl::Operation;

/// One request's surroundings.
#[derive(Debug)]
pub struct Call {
    pub(super) shared: Arc<Shared>,
    /// Which of all connections asks.
    pub(super) connection: u64,
    /// Where this client reaches the broker.
    pub advertised: Arc<HostPort>,
    /// Who asks.
    pub identity: Arc<Identity>,
    pub api: ApiKey,
    pub version: i16,
    pub client_id: Option<String>,
    /// For how long the client is to be quiet.
    pub(super) throttle_ms: AtomicU64,
    /// Kept until the response is sent.
    pub(super) held: Mutex<Vec<Lease>>,
}

impl Call {
    pub fn broker(&self) -> &Arc<Broker> {
        &self.shared.broker
    }

    /// Where the client is, as Kafka shows it.
    fn client_host(&self) -> String {
        format!("/{}", self.identity.host)
    }

    /// Waits for something, but no longer than the server runs.
    async fn before_shutdown<T>(&self, something: impl Future<Output = T>) -> Option<T> {
        self.shared.shutdown.run_until_cancelled(something).await
    }

    /// Keeps memory accounted for until the response is sent.
    pub(super) fn hold(&self, lease: Lease) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
    }
}

macro_rules! handlers {
    ($($api:ident $module:ident;)+) => {
        /// Does what a request asks for.
        pub async fn answer(call: &Call, request: Request) -> Response {
            match request {
                $( Request::$api(request) => $module::handle(call, request).await.into(), )+
            }
        }
    };
}

handlers! {
    Produce k00_produce;
    Fetch k01_fetch;
    ListOffsets k02_list_offsets;
    Metadata k03_metadata;
    OffsetCommit k08_offset_commit;
    OffsetFetch k09_offset_fetch;
    FindCoordinator k10_find_coordinator;
    JoinGroup k11_join_group;
    Heartbeat k12_heartbeat;
    LeaveGroup k13_leave_group;
    SyncGroup k14_sync_group;
    DescribeGroups k15_describe_groups;
    ListGroups k16_list_groups;
    SaslHandshake k17_sasl_handshake;
    ApiVersions k18_api_versions;
    CreateTopics k19_create_topics;
    DeleteTopics k20_delete_topics;
    DeleteRecords k21_delete_records;
    InitProducerId k22_init_producer_id;
    OffsetForLeaderEpoch k23_offset_for_leader_epoch;
    AddPartitionsToTxn k24_add_partitions_to_txn;
    AddOffsetsToTxn k25_add_offsets_to_txn;
    EndTxn k26_end_txn;
    WriteTxnMarkers k27_write_txn_markers;
    TxnOffsetCommit k28_txn_offset_commit;
    DescribeAcls k29_describe_acls;
    CreateAcls k30_create_acls;
    DeleteAcls k31_delete_acls;
    DescribeConfigs k32_describe_configs;
    AlterConfigs k33_alter_configs;
    AlterReplicaLogDirs k34_alter_replica_log_dirs;
    DescribeLogDirs k35_describe_log_dirs;
    SaslAuthenticate k36_sasl_authenticate;
    CreatePartitions k37_create_partitions;
    DeleteGroups k42_delete_groups;
    ElectLeaders k43_elect_leaders;
    IncrementalAlterConfigs k44_incremental_alter_configs;
    AlterPartitionReassignments k45_alter_partition_reassignments;
    ListPartitionReassignments k46_list_partition_reassignments;
    OffsetDelete k47_offset_delete;
    DescribeClientQuotas k48_describe_client_quotas;
    AlterClientQuotas k49_alter_client_quotas;
    DescribeUserScramCredentials k50_describe_user_scram_credentials;
    AlterUserScramCredentials k51_alter_user_scram_credentials;
    UpdateFeatures k57_update_features;
    DescribeCluster k60_describe_cluster;
    DescribeProducers k61_describe_producers;
    UnregisterBroker k64_unregister_broker;
    DescribeTransactions k65_describe_transactions;
    ListTransactions k66_list_transactions;
    ConsumerGroupHeartbeat k68_consumer_group_heartbeat;
    ConsumerGroupDescribe k69_consumer_group_describe;
    ListConfigResources k74_list_config_resources;
    DescribeTopicPartitions k75_describe_topic_partitions;
    ShareGroupHeartbeat k76_share_group_heartbeat;
    ShareGroupDescribe k77_share_group_describe;
    ShareFetch k78_share_fetch;
    ShareAcknowledge k79_share_acknowledge;
    DescribeShareGroupOffsets k90_describe_share_group_offsets;
    AlterShareGroupOffsets k91_alter_share_group_offsets;
    DeleteShareGroupOffsets k92_delete_share_group_offsets;
}

/// The topic that a request names, by id if its version has ids.
fn topic(call: &Call, by_id: bool, name: &str, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
    if by_id {
        call.broker().topic_by_id(id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        call.broker().topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

/// The same, if the client may do that to it.
fn permitted_topic(
    call: &Call,
    operation: Operation,
    by_id: bool,
    name: &str,
    id: Uuid,
) -> Result<Arc<Topic>, ErrorCode> {
    let found = topic(call, by_id, name, id);
    let name = match &found {
        Ok(topic) => &topic.name,
        Err(_) if by_id => return found,
        Err(_) => name,
    };
    match call.may_on_topic(operation, name) {
        true => found,
        false => Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
    }
}

/// The partition that a request names.
fn partition(call: &Call, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
    let topic = call.broker().topic(topic);
    let partition = topic.and_then(|topic| topic.partition(partition).cloned());
    partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
}

/// The partition that a request names, if the client may do that to its topic.
fn permitted_partition(
    call: &Call,
    operation: Operation,
    topic: &str,
    index: i32,
) -> Result<Arc<Partition>, ErrorCode> {
    if !call.may_on_topic(operation, topic) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    partition(call, topic, index)
}

/// The same, if its log could be opened.
fn opened(partition: Arc<Partition>) -> Result<Arc<Partition>, ErrorCode> {
    match partition.check_opened() {
        Ok(()) => Ok(partition),
        Err(error) => Err(ErrorCode(error.code())),
    }
}

/// Compares the leader epoch that a client knows, if it does, with the partition's (KIP-320).
fn check_leader_epoch(partition: &Partition, known: i32) -> Result<(), ErrorCode> {
    if known < 0 {
        return Ok(());
    }
    match known.cmp(&partition.leader_epoch().0) {
        std::cmp::Ordering::Less => Err(ErrorCode::FENCED_LEADER_EPOCH),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
    }
}

/// The code of a read that failed; a topic deleted meanwhile is unknown, not broken.
fn read_error_code(call: &Call, partition: &Partition, error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OffsetOutOfRange { .. } => {}
        _ if call.broker().is_shutting_down() => return ErrorCode::NOT_LEADER_OR_FOLLOWER,
        _ if partition.is_closed() => return ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        error => tracing::warn!(partition = %partition.id(), %error, "cannot read"),
    }
    ErrorCode(error.code())
}

/// Kafka's number for an isolation level; of others than 1 the laxer is taken.
fn isolation(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// In the place of a bit set of operations that nobody has asked for.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// Runs what may wait for a disk off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let work = throttle::counted(work);
    tokio::task::spawn_blocking(work).await.expect("handlers do not panic")
}
