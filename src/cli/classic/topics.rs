//! `kafka-topics`.

use std::collections::BTreeMap;

use broker::client::admin::configs::{ConfigEntry, ConfigResource, ConfigSource};
use broker::client::admin::topics::{PartitionDescription, TopicDescription, TopicToCreate};
use broker::client::admin::{Admin, AdminError};
use broker::protocol::ErrorCode;
use broker::topics::config::DEFINITIONS;

use super::options::{Given, Tool, flag, value};
use super::{Error, java};
use crate::cli::Failure;
use crate::cli::patterns::Pattern;
use crate::cli::stdout::print;
use crate::cli::topics::{exists, joined};

/// What Java writes for no id at all, and takes for none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

pub const TOOL: Tool = Tool {
    name: "kafka-topics",
    about: "This tool helps to create, delete, describe, or change a topic.",
    example: "kafka-topics --create --topic orders --partitions 6 --if-not-exists",
    options: &[
        flag("alter", "Add partitions to a topic"),
        flag("at-min-isr-partitions", "Describe only partitions with min.insync.replicas in sync"),
        value("config", "NAME=VALUE", "With --create: a config of the topic; may be repeated"),
        flag("create", "Create a topic"),
        flag("delete", "Delete topics"),
        flag("describe", "Show topics with their partitions"),
        flag("exclude-internal", "Leave internal topics out"),
        flag("if-exists", "With --alter, --delete or --describe: nothing to do if there is none"),
        flag("if-not-exists", "With --create: nothing to do if there is one"),
        flag("list", "List topics"),
        value("partition-size-limit-per-response", "N", "Taken, without effect"),
        value("partitions", "N", "How many partitions"),
        value("replica-assignment", "IDS", "Brokers of each partition, such as 1:2,2:1"),
        value("replication-factor", "N", "How many brokers keep each partition"),
        value("topic", "TOPIC", "The topic; a regular expression except with --create"),
        value("topic-id", "ID", "With --describe: the topic of this id"),
        flag("topics-with-overrides", "Describe only topics with configs of their own"),
        flag("unavailable-partitions", "Describe only partitions without a leader"),
        flag("under-min-isr-partitions", "Describe only partitions below min.insync.replicas"),
        flag("under-replicated-partitions", "Describe only partitions with replicas out of sync"),
    ],
};

const ACTIONS: &[&str] = &["create", "list", "alter", "describe", "delete"];
const ONE_ACTION: &str = "Command must include exactly one action: --list, --describe, --create, \
                          --alter or --delete";

/// Kafka tells it on stdout, after these words.
fn told(message: impl std::fmt::Display) -> Error {
    Error::Told(format!("Error while executing topic command : {message}"))
}

fn refused(error: AdminError) -> Error {
    match error.code() {
        Some(_) => told(java::message(&error)),
        None => error.into(),
    }
}

pub async fn run(given: &Given) -> Result<(), Error> {
    let action = given.one_of(ACTIONS, ONE_ACTION)?;
    check(given, action)?;
    let connection = super::connect(given).await?;
    let admin = &connection.admin;
    let done = match action {
        "create" => create(admin, given).await,
        "list" => list(admin, given).await,
        "alter" => alter(admin, given).await,
        "describe" => describe(admin, given).await,
        _ => delete(admin, given).await,
    };
    connection.close().await;
    done
}

fn check(given: &Given, action: &str) -> Result<(), Error> {
    if !matches!(action, "list" | "describe") {
        given.required("topic")?;
    }
    if action == "alter" {
        if given.has("config") {
            return Err(Error::usage(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \
                 \"[alter]\" (To alter topic configurations, the kafka-configs tool can be used.)",
            ));
        }
        given.required("partitions")?;
    }
    let create: &[&str] = &["config", "if-not-exists"];
    let sized: &[&str] = &["partitions", "replica-assignment"];
    let filters: &[&str] = &[
        "under-replicated-partitions",
        "unavailable-partitions",
        "under-min-isr-partitions",
        "at-min-isr-partitions",
        "topics-with-overrides",
        "topic-id",
    ];
    match action {
        "create" => given.forbid(action, &[&["if-exists", "exclude-internal"], filters].concat()),
        "alter" => given.forbid(action, &[create, &["replication-factor"], filters].concat()),
        "describe" => given.forbid(action, &[create, sized, &["replication-factor"]].concat()),
        "list" => given.forbid(
            action,
            &[create, sized, filters, &["replication-factor", "if-exists"]].concat(),
        ),
        _ => given.forbid(action, &[create, sized, filters, &["replication-factor"]].concat()),
    }
}

async fn create(admin: &Admin, given: &Given) -> Result<(), Error> {
    let topic = given.required("topic")?;
    let configs = configs(given)?;
    if topic.contains(['.', '_']) {
        print(
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore \
             ('_') could collide. To avoid issues it is best to use either, but not both.\n",
        )?;
    }
    let count = |name| given.parsed::<i32>(name).map_err(usage_told);
    let partitions = count("partitions")?;
    if partitions.is_some_and(|count| count < 1) {
        return Err(told("The partitions must be greater than 0"));
    }
    let replication_factor = given.parsed::<i16>("replication-factor").map_err(usage_told)?;
    if replication_factor.is_some_and(|count| count < 1) {
        return Err(told("The replication factor must be between 1 and 32767 inclusive"));
    }
    let new = TopicToCreate {
        name: topic.to_owned(),
        partitions,
        replication_factor,
        assignments: assignments(given)?,
        configs,
    };
    match admin.create_topic(&new).await {
        Ok(()) => Ok(print(&format!("Created topic {topic}.\n"))?),
        Err(error) if exists(&error) && given.has("if-not-exists") => Ok(()),
        Err(error) if exists(&error) => Err(told(format!("Topic '{topic}' already exists."))),
        Err(error) => Err(refused(error)),
    }
}

/// Names are checked here, as Kafka does; values are the broker's matter.
fn configs(given: &Given) -> Result<BTreeMap<String, String>, Error> {
    let mut configs = BTreeMap::new();
    for config in given.values("config") {
        let Some((name, value)) = config.split_once('=') else {
            return Err(told(
                "requirement failed: Invalid topic config: all configs to be added must be in the \
                 format \"key=val\".",
            ));
        };
        let name = name.trim();
        if !DEFINITIONS.iter().any(|definition| definition.name == name) {
            return Err(told(format!("Unknown topic config name: {name}")));
        }
        configs.insert(name.to_owned(), value.trim().to_owned());
    }
    Ok(configs)
}

/// Numbers that are none are told as Kafka tells its exceptions here.
fn usage_told(error: Error) -> Error {
    match error {
        Error::Usage(message) => told(message),
        error => error,
    }
}

/// `1:2,2:1`: the brokers of partition 0, then those of partition 1.
fn assignments(given: &Given) -> Result<Vec<Vec<i32>>, Error> {
    let Some(text) = given.value("replica-assignment") else { return Ok(Vec::new()) };
    let id = |id: &str| {
        id.trim().parse().map_err(|_| told(format!("'{id}' is no broker id in '{text}'")))
    };
    let brokers = |ids: &str| ids.split(':').map(id).collect::<Result<Vec<i32>, _>>();
    text.split(',').map(brokers).collect()
}

/// The topics that are meant, in order.
async fn chosen(admin: &Admin, given: &Given) -> Result<Vec<String>, Error> {
    let pattern = given.value("topic").map(Pattern::new).transpose()?;
    let hidden = given.has("exclude-internal");
    let names = admin.topic_names().await?.into_iter();
    let wanted = names.filter(|(name, internal)| {
        !(hidden && *internal) && pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
    });
    Ok(wanted.map(|(name, _)| name).collect())
}

/// The same; none is an error unless `--if-exists` was given.
async fn existing(admin: &Admin, given: &Given) -> Result<Vec<String>, Error> {
    let names = chosen(admin, given).await?;
    match given.value("topic") {
        Some(topic) if names.is_empty() && !given.has("if-exists") => {
            Err(told(format!("Topic '{topic}' does not exist as expected")))
        }
        _ => Ok(names),
    }
}

async fn list(admin: &Admin, given: &Given) -> Result<(), Error> {
    let lines: String =
        chosen(admin, given).await?.iter().map(|name| format!("{name}\n")).collect();
    Ok(print(&lines)?)
}

async fn alter(admin: &Admin, given: &Given) -> Result<(), Error> {
    let count = given.parsed::<i32>("partitions").map_err(usage_told)?.unwrap_or_default();
    let assigned = assignments(given)?;
    for topic in existing(admin, given).await? {
        let now = admin.describe_topic(&topic).await?.partitions.len();
        // Those that are there already keep their brokers.
        let added = assigned.get(now..).unwrap_or_default();
        admin.create_partitions(&topic, count, added).await.map_err(refused)?;
    }
    Ok(())
}

async fn delete(admin: &Admin, given: &Given) -> Result<(), Error> {
    for topic in existing(admin, given).await? {
        admin.delete_topic(&topic).await.map_err(refused)?;
    }
    Ok(())
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Error> {
    let topics = described(admin, given).await?;
    let filtered = ["under-replicated-partitions", "unavailable-partitions"]
        .into_iter()
        .chain(["under-min-isr-partitions", "at-min-isr-partitions"])
        .any(|filter| given.has(filter));
    let mut text = String::new();
    for topic in &topics {
        let configs = match admin.configs(&ConfigResource::Topic(topic.name.clone())).await {
            Ok(configs) => configs,
            // Deleted just now.
            Err(error) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => continue,
            Err(error) => return Err(refused(error)),
        };
        let own: Vec<&ConfigEntry> =
            configs.iter().filter(|entry| entry.source != ConfigSource::DEFAULT).collect();
        if given.has("topics-with-overrides") {
            if !own.is_empty() {
                text.push_str(&summary(topic, &own));
            }
            continue;
        }
        if !filtered {
            text.push_str(&summary(topic, &own));
        }
        let in_sync_min = in_sync_min(&configs);
        for partition in &topic.partitions {
            if !filtered || is_wanted(given, partition, in_sync_min) {
                text.push_str(&line(&topic.name, partition));
            }
        }
    }
    Ok(print(&text).map_err(|failure: Failure| Error::Failure(failure))?)
}

/// The topics to be described. An id goes before a name.
async fn described(admin: &Admin, given: &Given) -> Result<Vec<TopicDescription>, Error> {
    let all = async |names: Vec<String>| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        admin.describe_topics(&names).await
    };
    let Some(id) = given.value("topic-id").map(str::trim).filter(|id| *id != NO_ID) else {
        return Ok(all(existing(admin, given).await?).await?);
    };
    let names = admin.topic_names().await?.into_iter().map(|(name, _)| name);
    let mut topics = all(names.collect()).await?;
    topics.retain(|topic| topic.id_text() == id);
    if topics.is_empty() && !given.has("if-exists") {
        return Err(told(format!("TopicId '{id}' does not exist as expected")));
    }
    Ok(topics)
}

fn in_sync_min(configs: &[ConfigEntry]) -> usize {
    let entry = configs.iter().find(|entry| entry.name == "min.insync.replicas");
    entry.and_then(|entry| entry.value.as_deref()?.parse().ok()).unwrap_or(1)
}

fn is_wanted(given: &Given, partition: &PartitionDescription, in_sync_min: usize) -> bool {
    let in_sync = partition.in_sync.len();
    (given.has("under-replicated-partitions") && in_sync < partition.replicas.len())
        || (given.has("unavailable-partitions") && partition.leader.is_none())
        || (given.has("under-min-isr-partitions") && in_sync < in_sync_min)
        || (given.has("at-min-isr-partitions") && in_sync == in_sync_min)
}

fn summary(topic: &TopicDescription, own: &[&ConfigEntry]) -> String {
    let replicas = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
    let configs: Vec<String> = own
        .iter()
        .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null")))
        .collect();
    format!(
        "Topic: {}\tTopicId: {}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}\n",
        topic.name,
        topic.id_text(),
        topic.partitions.len(),
        configs.join(",")
    )
}

fn line(topic: &str, partition: &PartitionDescription) -> String {
    let leader = partition.leader.map_or("none".to_owned(), |leader| leader.to_string());
    let (eligible, last_known) = match &partition.eligible {
        Some((eligible, last_known)) => (joined(eligible), joined(last_known)),
        None => ("N/A".to_owned(), "N/A".to_owned()),
    };
    format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: \
         {eligible}\tLastKnownElr: {last_known}\n",
        partition.number,
        joined(&partition.replicas),
        joined(&partition.in_sync),
    )
}
