//! CreatePartitions.

use std::collections::HashMap;

use super::Call;
use super::k19_create_topics::wrong_replicas;
use crate::broker::TopicError;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k37_create_partitions::*;
use crate::security::acl::Operation;

/// The first version whose clients know of the quota on changes (KIP-599).
const STRICT_QUOTAS_FROM: i16 = 3;

pub async fn handle(call: &Call, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut named: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let mut response = CreatePartitionsResponse::default();
    for topic in request.topics {
        let grown = match named.remove(&topic.name) {
            // All of the same name have had their one answer.
            None => continue,
            Some(1) if !call.may_on_topic(Operation::Alter, &topic.name) => {
                let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
                Err((code, code.message().to_owned()))
            }
            Some(1) => grow(call, &topic, request.validate_only).await,
            Some(_) => {
                Err((ErrorCode::INVALID_REQUEST, "the topic is named more than once".to_owned()))
            }
        };
        let (error_code, error_message) = match grown {
            Ok(()) => (ErrorCode::NONE, None),
            Err((error_code, message)) => (error_code, Some(message)),
        };
        let name = topic.name;
        response.results.push(CreatePartitionsTopicResult { name, error_code, error_message });
    }
    response
}

async fn grow(
    call: &Call,
    wanted: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let refused = |error: TopicError| (ErrorCode(error.code()), error.to_string());
    let (broker, name) = (call.broker(), &wanted.name);
    let topic = broker.topic(name).ok_or_else(|| refused(TopicError::Unknown(name.clone())))?;
    let now = topic.partitions_count();
    if wanted.count <= now {
        let name = name.clone();
        return Err(refused(TopicError::FewerPartitions { name, now, wanted: wanted.count }));
    }
    if let Some(assignments) = &wanted.assignments {
        let node_id = broker.node_id();
        if assignments.len() as i64 != i64::from(wanted.count) - i64::from(now) {
            let why = format!(
                "{} assignments for {} more partitions",
                assignments.len(),
                i64::from(wanted.count) - i64::from(now)
            );
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        if assignments.iter().any(|assignment| assignment.broker_ids != [node_id]) {
            return Err(wrong_replicas(node_id));
        }
    }
    call.count_mutations((wanted.count - now) as usize, STRICT_QUOTAS_FROM)?;
    if validate_only {
        return Ok(());
    }
    broker.create_partitions(name, wanted.count).await.map_err(refused)?;
    tracing::info!(topic = name, from = now, to = wanted.count, "added partitions to a topic");
    Ok(())
}
