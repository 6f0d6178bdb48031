//! Metadata: this one node leads everything.

use std::sync::Arc;

use uuid::Uuid;

use super::{Call, OPERATIONS_NOT_ASKED};
use crate::broker::{Topic, TopicError};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k03_metadata::*;
use crate::security::acl::{Operation, ResourceType};
use crate::topics::name::check as check_name;
use crate::topics::{CONSUMER_OFFSETS, is_internal};

/// Topics that one request may create by naming them; each costs files and a sync.
const CREATED_MAX: usize = 100;

pub async fn handle(call: &Call, request: MetadataRequest) -> MetadataResponse {
    let broker = call.broker();
    let tells_operations = request.include_topic_authorized_operations;
    let mut topics = Vec::new();
    match request.topics {
        // Before v1 there was no null.
        Some(wanted) if call.version > 0 || !wanted.is_empty() => {
            let mut may_create = if request.allow_auto_topic_creation { CREATED_MAX } else { 0 };
            for wanted in wanted {
                topics.push(find(call, wanted, &mut may_create).await);
            }
        }
        _ => {
            let all = broker.topics();
            let shown = all.iter().filter(|topic| {
                call.may_quietly(Operation::Describe, ResourceType::Topic, &topic.name)
            });
            topics.extend(shown.map(|topic| found(call, topic)));
        }
    }
    if tells_operations {
        for topic in &mut topics {
            tell_operations(call, topic);
        }
    }
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: broker.node_id(),
            host: call.advertised.host.clone(),
            port: i32::from(call.advertised.port),
            rack: None,
        }],
        cluster_id: Some(broker.cluster_id().to_owned()),
        controller_id: broker.node_id(),
        topics,
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => call.cluster_operations(),
            false => OPERATIONS_NOT_ASKED,
        },
        ..MetadataResponse::default()
    }
}

/// What the client may do to a topic that it may see.
fn tell_operations(call: &Call, topic: &mut MetadataResponseTopic) {
    let hidden = [
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INVALID_REQUEST,
    ];
    if let (false, Some(name)) = (hidden.contains(&topic.error_code), &topic.name) {
        topic.topic_authorized_operations = call.operations(ResourceType::Topic, name);
    }
}

async fn find(
    call: &Call,
    wanted: MetadataRequestTopic,
    may_create: &mut usize,
) -> MetadataResponseTopic {
    let MetadataRequestTopic { topic_id, name } = wanted;
    if topic_id != Uuid::nil() {
        return match call.broker().topic_by_id(topic_id) {
            // An id is no secret, but the name is.
            Some(topic) if !call.may_on_topic(Operation::Describe, &topic.name) => {
                missing(call, ErrorCode::TOPIC_AUTHORIZATION_FAILED, None, topic_id)
            }
            Some(topic) => found(call, &topic),
            None => missing(call, ErrorCode::UNKNOWN_TOPIC_ID, None, topic_id),
        };
    }
    let Some(name) = name else {
        return missing(call, ErrorCode::INVALID_REQUEST, None, topic_id);
    };
    match find_or_create(call, &name, may_create).await {
        Ok(topic) => found(call, &topic),
        Err(code) => missing(call, code, Some(name), topic_id),
    }
}

async fn find_or_create(
    call: &Call,
    name: &str,
    may_create: &mut usize,
) -> Result<Arc<Topic>, ErrorCode> {
    if !call.may_on_topic(Operation::Describe, name) {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    if let Some(topic) = call.broker().topic(name) {
        return Ok(topic);
    }
    let code = |error: TopicError| ErrorCode(error.code());
    check_name(name).map_err(|error| code(error.into()))?;
    if *may_create == 0 {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    if call.broker().config().auto_create_topics
        && !call.may_on_cluster_quietly(Operation::Create)
        && !call.may_on_topic(Operation::Create, name)
    {
        return Err(ErrorCode::TOPIC_AUTHORIZATION_FAILED);
    }
    if is_internal(name) && call.broker().config().auto_create_topics {
        create_internal(call, name).await?;
    }
    let topic = call.broker().topic_or_create(name).await.map_err(code)?;
    *may_create -= 1;
    let client = call.client_id.as_deref().unwrap_or_default();
    tracing::info!(topic = name, client, "created a topic that a client asked for");
    Ok(topic)
}

/// The broker's own topics get the partitions and configs that they must have.
pub(super) async fn create_internal(call: &Call, name: &str) -> Result<(), ErrorCode> {
    let created = match name {
        CONSUMER_OFFSETS => call.broker().groups().ensure_topic().await,
        _ => call.broker().transactions().ensure_topic().await,
    };
    created.map(|_| ()).map_err(|error| {
        tracing::warn!(topic = name, %error, "cannot create one of the broker's own topics");
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    })
}

/// Nobody leads a partition whose disk has failed.
pub(super) fn leader_error(offline: bool) -> ErrorCode {
    if offline { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE }
}

fn found(call: &Call, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let node_id = call.broker().node_id();
    let partitions = topic.partitions().iter().map(|partition| {
        let offline = partition.offline().is_some();
        MetadataResponsePartition {
            error_code: leader_error(offline),
            partition_index: partition.id().partition,
            leader_id: if offline { -1 } else { node_id },
            leader_epoch: partition.leader_epoch().0,
            replica_nodes: vec![node_id],
            isr_nodes: vec![node_id],
            offline_replicas: if offline { vec![node_id] } else { Vec::new() },
        }
    });
    MetadataResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.to_string()),
        topic_id: topic.id,
        is_internal: topic.internal,
        partitions: partitions.collect(),
        topic_authorized_operations: OPERATIONS_NOT_ASKED,
    }
}

fn missing(
    call: &Call,
    error_code: ErrorCode,
    name: Option<String>,
    topic_id: Uuid,
) -> MetadataResponseTopic {
    // Null is permitted only since v12.
    let name = if call.version >= 12 { name } else { Some(name.unwrap_or_default()) };
    MetadataResponseTopic { error_code, name, topic_id, ..MetadataResponseTopic::default() }
}
