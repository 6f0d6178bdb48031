//! DeleteTopics, by name or by id.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Call;
use crate::broker::Topic;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k20_delete_topics::*;
use crate::security::acl::Operation;

/// The first version whose clients know of the quota on changes (KIP-599).
const STRICT_QUOTAS_FROM: i16 = 5;

pub async fn handle(call: &Call, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let named = request.topic_names.into_iter();
    let named =
        named.map(|name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() });
    let wanted: Vec<DeleteTopicState> = request.topics.into_iter().chain(named).collect();
    let found: Vec<_> = wanted.iter().map(|wanted| find(call, wanted)).collect();
    let mut times: HashMap<Uuid, usize> = HashMap::new();
    for topic in found.iter().flatten() {
        *times.entry(topic.id).or_default() += 1;
    }
    let mut response = DeleteTopicsResponse::default();
    for (wanted, found) in wanted.into_iter().zip(found) {
        let result = match found {
            Ok(topic) => match times.remove(&topic.id) {
                Some(1) => delete(call, &topic).await.map(|()| topic),
                Some(_) => Err((
                    ErrorCode::INVALID_REQUEST,
                    "the topic is named more than once".to_owned(),
                )),
                // All of the same name have had their one answer.
                None => continue,
            },
            Err(error) => Err(error),
        };
        response.responses.push(match result {
            Ok(topic) => DeletableTopicResult {
                name: Some(topic.name.to_string()),
                topic_id: topic.id,
                ..DeletableTopicResult::default()
            },
            Err((error_code, message)) => DeletableTopicResult {
                name: wanted.name,
                topic_id: wanted.topic_id,
                error_code,
                error_message: Some(message),
            },
        });
    }
    response
}

fn find(call: &Call, wanted: &DeleteTopicState) -> Result<Arc<Topic>, (ErrorCode, String)> {
    let refuse = |code: ErrorCode, why: &str| Err((code, why.to_owned()));
    match (&wanted.name, wanted.topic_id) {
        (Some(name), id) if id.is_nil() => {
            if !may_delete_all(call) && !call.may_on_topic(Operation::Describe, name) {
                return Err(denied());
            }
            let topic = call.broker().topic(name).ok_or_else(|| {
                let why = format!("topic '{name}' does not exist");
                (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why)
            })?;
            permitted(call, topic)
        }
        (None, id) if !id.is_nil() => {
            let topic = call.broker().topic_by_id(id);
            let unknown = || (ErrorCode::UNKNOWN_TOPIC_ID, format!("no topic has the id {id}"));
            permitted(call, topic.ok_or_else(unknown)?)
        }
        (None, _) => refuse(ErrorCode::INVALID_REQUEST, "neither name nor id of a topic is given"),
        (Some(_), _) => refuse(ErrorCode::INVALID_REQUEST, "give a topic's name or id, not both"),
    }
}

fn may_delete_all(call: &Call) -> bool {
    call.may_on_cluster_quietly(Operation::Delete)
}

fn permitted(call: &Call, topic: Arc<Topic>) -> Result<Arc<Topic>, (ErrorCode, String)> {
    let may = may_delete_all(call) || call.may_on_topic(Operation::Delete, &topic.name);
    if may { Ok(topic) } else { Err(denied()) }
}

fn denied() -> (ErrorCode, String) {
    let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
    (code, code.message().to_owned())
}

async fn delete(call: &Call, topic: &Topic) -> Result<(), (ErrorCode, String)> {
    // The coordinators' memory would be gone, and with it committed offsets of all groups.
    if topic.internal {
        let why = "the broker keeps groups and transactions in this topic".to_owned();
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
    }
    call.count_mutations(topic.partitions().len(), STRICT_QUOTAS_FROM)?;
    let deleted = call.broker().delete_topic(&topic.name).await;
    deleted.map_err(|error| (ErrorCode(error.code()), error.to_string()))?;
    tracing::info!(topic = %topic.name, "deleted a topic");
    Ok(())
}
