//! CreateTopics.

use std::collections::{BTreeMap, HashMap};

use super::{Call, k32_describe_configs as configs};
use crate::broker::Topic;
use crate::client::NewTopic;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k19_create_topics::*;
use crate::security::acl::{Operation, ResourceType};
use crate::topics::TopicConfig;

/// A code and what to say with it.
type Refused = (ErrorCode, String);

/// The first version whose clients know of the quota on changes (KIP-599).
const STRICT_QUOTAS_FROM: i16 = 6;

pub async fn handle(call: &Call, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut named: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.clone()).or_default() += 1;
    }
    let may_create_all = call.may_on_cluster_quietly(Operation::Create);
    let mut response = CreateTopicsResponse::default();
    for topic in request.topics {
        let name = topic.name.clone();
        let created = match named.remove(&name) {
            // All of the same name have had their one answer.
            None => continue,
            Some(1) if !may_create_all && !call.may_on_topic(Operation::Create, &name) => {
                let code = ErrorCode::TOPIC_AUTHORIZATION_FAILED;
                Err((code, code.message().to_owned()))
            }
            Some(1) => create(call, topic, request.validate_only).await.map(|result| {
                let (describes, kind) = (Operation::DescribeConfigs, ResourceType::Topic);
                if call.may_quietly(describes, kind, &name) { result } else { hidden(result) }
            }),
            Some(_) => {
                Err((ErrorCode::INVALID_REQUEST, "the topic is named more than once".to_owned()))
            }
        };
        response.topics.push(created.unwrap_or_else(|(error_code, message)| {
            CreatableTopicResult {
                name,
                error_code,
                error_message: Some(message),
                ..CreatableTopicResult::default()
            }
        }));
    }
    response
}

/// What is created, for somebody who may not see its configs.
fn hidden(result: CreatableTopicResult) -> CreatableTopicResult {
    CreatableTopicResult {
        topic_config_error_code: ErrorCode::TOPIC_AUTHORIZATION_FAILED.0,
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..result
    }
}

async fn create(
    call: &Call,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refused> {
    let broker = call.broker();
    let new = NewTopic {
        partitions: partitions(broker.node_id(), &topic)?,
        configs: own_configs(topic.configs)?,
        name: topic.name,
    };
    let refused = |error: crate::broker::TopicError| (ErrorCode(error.code()), error.to_string());
    broker.check_topic(&new).map_err(refused)?;
    let partitions = new.partitions.unwrap_or(broker.config().partitions_default);
    call.count_mutations(usize::try_from(partitions).unwrap_or(0), STRICT_QUOTAS_FROM)?;
    if validate_only {
        let config = TopicConfig::new(new.configs, broker.topic_defaults())
            .map_err(|error| (ErrorCode::INVALID_CONFIG, error.to_string()))?;
        return Ok(result(new.name, partitions, &config));
    }
    let created = broker.create_topic(new).await.map_err(refused)?;
    let Topic { name, id, config, .. } = &*created;
    tracing::info!(topic = %name, partitions = created.partitions_count(), "created a topic");
    let topic_id = *id;
    let result = result(name.to_string(), created.partitions_count(), config);
    Ok(CreatableTopicResult { topic_id, ..result })
}

/// How many partitions are asked for, by number or by naming their replicas; `None`: the default.
fn partitions(node_id: i32, topic: &CreatableTopic) -> Result<Option<i32>, Refused> {
    let refuse = |code: ErrorCode, why: &str| Err((code, why.to_owned()));
    if !topic.assignments.is_empty() {
        if topic.num_partitions != -1 || topic.replication_factor != -1 {
            let why = "with assignments, the numbers of partitions and replicas must be -1";
            return refuse(ErrorCode::INVALID_REQUEST, why);
        }
        let mut indexes: Vec<i32> =
            topic.assignments.iter().map(|assignment| assignment.partition_index).collect();
        indexes.sort_unstable();
        if !indexes.iter().copied().eq(0..indexes.len() as i32) {
            let why = "assignments must name each partition from 0 on once";
            return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why);
        }
        if topic.assignments.iter().any(|assignment| assignment.broker_ids != [node_id]) {
            return Err(wrong_replicas(node_id));
        }
        return Ok(Some(indexes.len() as i32));
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        let why = "the replication factor must be 1 (or -1), since there is one node";
        return refuse(ErrorCode::INVALID_REPLICATION_FACTOR, why);
    }
    Ok((topic.num_partitions != -1).then_some(topic.num_partitions))
}

pub fn wrong_replicas(node_id: i32) -> Refused {
    let why = format!("each partition has one replica, on node {node_id}");
    (ErrorCode::INVALID_REPLICA_ASSIGNMENT, why)
}

fn own_configs(given: Vec<CreatableTopicConfig>) -> Result<BTreeMap<String, String>, Refused> {
    let mut configs = BTreeMap::new();
    for CreatableTopicConfig { name, value } in given {
        let Some(value) = value else {
            return Err((ErrorCode::INVALID_CONFIG, format!("topic config '{name}' has no value")));
        };
        configs.insert(name, value);
    }
    Ok(configs)
}

fn result(name: String, num_partitions: i32, config: &TopicConfig) -> CreatableTopicResult {
    let configs = configs::of_topic(config).map(|entry| CreatableTopicConfigs {
        name: entry.definition.name.to_owned(),
        value: Some(entry.value),
        read_only: false,
        config_source: entry.source,
        is_sensitive: false,
    });
    CreatableTopicResult {
        name,
        error_message: None,
        num_partitions,
        replication_factor: 1,
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}
