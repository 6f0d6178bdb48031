//! AlterPartitionReassignments: every partition is on the one broker, and can be nowhere else.

use std::collections::HashSet;

use super::{Call, partition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k45_alter_partition_reassignments::*;
use crate::security::acl::Operation;

type Refused = (ErrorCode, String);

pub async fn handle(
    call: &Call,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let mut response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change,
        error_message: None,
        ..Default::default()
    };
    if !call.may_on_cluster(Operation::Alter) {
        response.error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        response.error_message = Some(response.error_code.message().to_owned());
        return response;
    }
    let topics = request.topics.into_iter().map(|ReassignableTopic { name, partitions }| {
        let reassign = |wanted: ReassignablePartition| {
            let partition_index = wanted.partition_index;
            let (error_code, error_message) = match check(call, &name, wanted) {
                Ok(()) => (ErrorCode::NONE, None),
                // The code says it all, and so does Kafka.
                Err((error_code, message)) => {
                    (error_code, Some(message).filter(|text| !text.is_empty()))
                }
            };
            ReassignablePartitionResponse { partition_index, error_code, error_message }
        };
        let partitions = partitions.into_iter().map(reassign).collect();
        ReassignableTopicResponse { name, partitions }
    });
    response.responses = topics.collect();
    response
}

/// Whether a partition is where it is wanted already.
fn check(call: &Call, topic: &str, wanted: ReassignablePartition) -> Result<(), Refused> {
    let index = wanted.partition_index;
    partition(call, topic, index)
        .map_err(|code| (code, format!("Unable to find partition {topic}:{index}.")))?;
    let Some(replicas) = wanted.replicas else {
        return Err((ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, String::new()));
    };
    let invalid = |why: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    let begins = "The manual partition assignment includes";
    if replicas.is_empty() {
        return invalid(format!("{begins} an empty replica list."));
    }
    let mut seen = HashSet::new();
    if let Some(twice) = replicas.iter().find(|id| !seen.insert(**id)) {
        return invalid(format!("{begins} the broker {twice} more than once."));
    }
    match replicas.iter().find(|id| **id != call.broker().node_id()) {
        Some(other) => {
            invalid(format!("{begins} broker {other}, but no such broker is registered."))
        }
        None => Ok(()),
    }
}
