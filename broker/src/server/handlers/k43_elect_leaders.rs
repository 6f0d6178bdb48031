//! ElectLeaders: one broker leads every partition that there is, and is preferred to.

use super::{Call, partition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k43_elect_leaders::*;
use crate::security::acl::Operation;

/// Kafka's numbers: the preferred replica, and any.
const ELECTION_TYPES: [i8; 2] = [0, 1];

pub async fn handle(call: &Call, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let refused = match () {
        () if !call.may_on_cluster(Operation::Alter) => {
            Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED)
        }
        () if !ELECTION_TYPES.contains(&request.election_type) => Some(ErrorCode::INVALID_REQUEST),
        () => None,
    };
    let Some(wanted) = request.topic_partitions else {
        // Of all, only what has come of it is told; nothing has.
        let topics = call.broker().topics();
        let topics = topics.iter().filter(|_| refused.is_none());
        let all = topics.map(|topic| ReplicaElectionResult {
            topic: topic.name.to_string(),
            partition_result: Vec::new(),
        });
        return response(call, refused, all.collect());
    };
    let results = wanted.into_iter().map(|TopicPartitions { topic, partitions }| {
        let elected = |partition_id: &i32| {
            let (error_code, error_message) = match partition(call, &topic, *partition_id) {
                _ if let Some(code) = refused => (code, code.message()),
                Ok(_) => (ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::ELECTION_NOT_NEEDED.message()),
                Err(code) => (code, "there is no such partition"),
            };
            PartitionResult {
                partition_id: *partition_id,
                error_code,
                error_message: Some(error_message.to_owned()),
            }
        };
        let partition_result = partitions.iter().map(elected).collect();
        ReplicaElectionResult { topic, partition_result }
    });
    let results = results.collect();
    response(call, refused, results)
}

fn response(
    call: &Call,
    refused: Option<ErrorCode>,
    replica_election_results: Vec<ReplicaElectionResult>,
) -> ElectLeadersResponse {
    // The first version says it of each partition alone.
    let error_code = refused.filter(|_| call.version >= 1).unwrap_or(ErrorCode::NONE);
    ElectLeadersResponse { error_code, replica_election_results, ..Default::default() }
}
