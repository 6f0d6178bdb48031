//! `kafka-configs`.

use std::path::Path;

use broker::client::admin::configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
use broker::client::admin::{Admin, AdminError};
use broker::protocol::ErrorCode;

use super::options::{Given, Tool, flag, value};
use super::{Error, java, scram};
use crate::cli::Failure;
use crate::cli::properties;
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-configs",
    about: "This tool helps to manipulate and describe entity config for a topic, broker or group.",
    example: "kafka-configs --alter --topic orders --add-config retention.ms=3600000",
    options: &[
        value("add-config", "K=V,K=[V,V]", "Settings to set"),
        value("add-config-file", "FILE", "A file of such settings"),
        flag("all", "Show defaults as well"),
        flag("alter", "Change settings"),
        value("bootstrap-controller", "HOST:PORT", "Taken as --bootstrap-server"),
        value("broker", "ID", "The broker"),
        flag("broker-defaults", "What all brokers have by default"),
        value("broker-logger", "ID", "The logs of a broker"),
        value("client-metrics", "NAME", "A subscription to clients' metrics"),
        value("delete-config", "K,K", "Settings to take back to their defaults"),
        flag("describe", "Show settings"),
        flag("entity-default", "With --entity-type brokers: what all have by default"),
        value("entity-name", "NAME", "Of the type, this one"),
        value("entity-type", "TYPE", "topics, brokers, groups or users"),
        value("group", "GROUP", "The group"),
        value("topic", "TOPIC", "The topic"),
        value("user", "NAME", "The user, whose settings are SCRAM-SHA-256 and SCRAM-SHA-512"),
    ],
};

const TYPES: &str = "topics, clients, users, brokers, ips, client-metrics, groups, broker-loggers";

/// What was named: one thing or, to be described, all of its kind.
#[derive(Debug, PartialEq, Eq)]
enum Entity {
    One(ConfigResource),
    AllTopics,
    AllBrokers,
    AllGroups,
    AllClientMetrics,
    /// What users log in by; `None`: all.
    Users(Option<String>),
}

pub async fn run(given: &Given) -> Result<(), Error> {
    let action = given.one_of(
        &["describe", "alter"],
        "Command must include exactly one action: --describe, --alter",
    )?;
    let entity = entity(given)?;
    let changes = if action == "alter" { changes(given)? } else { Vec::new() };
    if let Entity::Users(user) = entity {
        return run_for_users(given, action, user, changes).await;
    }
    let connection = super::connect(given).await?;
    let admin = &connection.admin;
    let done = match (action, entity) {
        ("describe", entity) => describe(admin, given, entity).await,
        (_, Entity::One(resource)) => alter(admin, given, &resource, changes).await,
        _ => Err(Error::usage("Exactly one --entity-name must be specified with --alter")),
    };
    connection.close().await;
    done
}

fn entity(given: &Given) -> Result<Entity, Error> {
    let one = |resource| Ok(Entity::One(resource));
    let id = |name: &str| match name.parse() {
        Ok(id) => Ok(id),
        Err(_) => Err(Error::usage(format!(
            "The entity name for brokers must be a valid integer broker id, but it is: {name}"
        ))),
    };
    if let Some(topic) = given.value("topic") {
        return one(ConfigResource::Topic(topic.to_owned()));
    }
    if let Some(broker) = given.value("broker") {
        return one(ConfigResource::Broker(Some(id(broker)?)));
    }
    if given.has("broker-defaults") {
        return one(ConfigResource::Broker(None));
    }
    if let Some(broker) = given.value("broker-logger") {
        return one(ConfigResource::BrokerLogger(id(broker)?));
    }
    if let Some(group) = given.value("group") {
        return one(ConfigResource::Group(group.to_owned()));
    }
    if let Some(name) = given.value("client-metrics") {
        return one(ConfigResource::ClientMetrics(name.to_owned()));
    }
    if let Some(user) = given.value("user") {
        return Ok(Entity::Users(Some(user.to_owned())));
    }
    let Some(kind) = given.value("entity-type") else {
        return Err(Error::usage("At least one entity type must be specified"));
    };
    match (kind, given.value("entity-name")) {
        ("topics", Some(name)) => one(ConfigResource::Topic(name.to_owned())),
        ("topics", None) => Ok(Entity::AllTopics),
        ("brokers", Some(name)) => one(ConfigResource::Broker(Some(id(name)?))),
        ("brokers", None) if given.has("entity-default") => one(ConfigResource::Broker(None)),
        ("brokers", None) => Ok(Entity::AllBrokers),
        ("groups", Some(name)) => one(ConfigResource::Group(name.to_owned())),
        ("groups", None) => Ok(Entity::AllGroups),
        ("broker-loggers", Some(name)) => one(ConfigResource::BrokerLogger(id(name)?)),
        ("client-metrics", None) => Ok(Entity::AllClientMetrics),
        ("client-metrics", Some(name)) => one(ConfigResource::ClientMetrics(name.to_owned())),
        ("users", _) if given.has("entity-default") => Err(Error::usage(
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM \
             Credentials using --bootstrap-server.",
        )),
        ("users", name) => Ok(Entity::Users(name.map(str::to_owned))),
        ("clients" | "ips", _) => {
            Err(Failure::usage(format!("entity type '{kind}' is not served here"))
                .with_help("Kafka's own kafka-configs.sh sets quotas, which the broker keeps to")
                .into())
        }
        ("broker-loggers", _) => {
            Err(Failure::usage(format!("entity type '{kind}' is not served here"))
                .with_help("topics, brokers, groups and users are")
                .into())
        }
        _ => Err(Error::usage(format!(
            "Invalid entity type {kind}, the entity type must be one of {TYPES} with a \
             --bootstrap-server or --bootstrap-controller argument"
        ))),
    }
}

/// `k1=v1,k2=[a,b]` and the names to delete.
fn changes(given: &Given) -> Result<Vec<(String, ConfigChange)>, Error> {
    if !["add-config", "add-config-file", "delete-config"].iter().any(|name| given.has(name)) {
        return Err(Error::usage(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified \
             with --alter",
        ));
    }
    let mut changes = Vec::new();
    if let Some(path) = given.value("add-config-file") {
        let set = properties::read(Path::new(path))?.into_iter();
        changes.extend(set.map(|(name, value)| (name, ConfigChange::Set(value))));
    }
    for list in given.values("add-config") {
        for pair in outside_brackets(list) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::usage(
                    "requirement failed: Invalid entity config: all configs to be added must be in \
                     the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain \
                     commas.",
                ));
            };
            let value = value.trim();
            let list = value.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
            let value = list.unwrap_or(value).to_owned();
            changes.push((name.trim().to_owned(), ConfigChange::Set(value)));
        }
    }
    for list in given.values("delete-config") {
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        changes.extend(names.map(|name| (name.to_owned(), ConfigChange::Delete)));
    }
    Ok(changes)
}

/// Splits at the commas that are in no brackets.
fn outside_brackets(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, character) in list.char_indices() {
        match character {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// Users have nothing but what they log in by.
async fn run_for_users(
    given: &Given,
    action: &str,
    user: Option<String>,
    changes: Vec<(String, ConfigChange)>,
) -> Result<(), Error> {
    let user = match (action, user) {
        ("alter", None) => {
            return Err(Error::usage("Exactly one --entity-name must be specified with --alter"));
        }
        (_, user) => user,
    };
    let changes = changes
        .into_iter()
        .map(|(name, change)| Ok((scram::mechanism(&name)?, scram::credential(change)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let connection = super::connect(given).await?;
    let done = match &user {
        Some(user) if action == "alter" => scram::alter(&connection.admin, user, changes).await,
        user => scram::describe(&connection.admin, user.as_deref()).await,
    };
    connection.close().await;
    done.map_err(|error| match error.code() {
        None => Error::Failure(error.into()),
        // Without the arguments that Kafka shows here: there are passwords among them.
        Some(_) => Error::usage(format!(
            "Error while executing config command\n\
             java.util.concurrent.ExecutionException: {}",
            java::thrown(&error)
        )),
    })
}

async fn describe(admin: &Admin, given: &Given, entity: Entity) -> Result<(), Error> {
    let resources = match entity {
        Entity::One(resource) => vec![resource],
        Entity::AllTopics => {
            let names = admin.topic_names().await?.into_iter();
            names.map(|(name, _)| ConfigResource::Topic(name)).collect()
        }
        Entity::AllBrokers => {
            let nodes = admin.cluster().await?.nodes.into_iter();
            let brokers = nodes.map(|node| ConfigResource::Broker(Some(node.id)));
            brokers.chain([ConfigResource::Broker(None)]).collect()
        }
        Entity::Users(_) => Vec::new(),
        Entity::AllClientMetrics => {
            let like = ConfigResource::ClientMetrics(String::new());
            let names = admin.configured(&like).await?.unwrap_or_default();
            names.into_iter().map(ConfigResource::ClientMetrics).collect()
        }
        Entity::AllGroups => {
            let groups = admin.groups().await?.into_iter();
            groups.map(|group| ConfigResource::Group(group.id)).collect()
        }
    };
    let all = given.has("all");
    let mut text = String::new();
    for resource in &resources {
        let found = match exists(admin, resource).await {
            Ok(true) => admin.configs(resource).await.map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        match found {
            Ok(Some(entries)) => text.push_str(&described(resource, &entries, all)),
            Ok(None) => text.push_str(&absent(resource)),
            Err(error) if is_absent(&error) => text.push_str(&absent(resource)),
            Err(error) => return Err(executing(given, &error)),
        }
    }
    Ok(print(&text)?)
}

/// Whether something was set for it, or it is there without. Brokers describe any group and any
/// subscription, with what would hold.
async fn exists(admin: &Admin, resource: &ConfigResource) -> Result<bool, AdminError> {
    let (ConfigResource::ClientMetrics(name) | ConfigResource::Group(name)) = resource else {
        return Ok(true);
    };
    match admin.configured(resource).await? {
        Some(names) if names.contains(name) => Ok(true),
        Some(_) if matches!(resource, ConfigResource::Group(_)) => {
            Ok(admin.groups().await?.iter().any(|group| group.id == *name))
        }
        configured => Ok(configured.is_none()),
    }
}

fn absent(resource: &ConfigResource) -> String {
    let (kind, name) = (kind(resource), resource.name());
    format!("The {kind} '{name}' doesn't exist and doesn't have dynamic config.\n")
}

fn is_absent(error: &AdminError) -> bool {
    error.is_unknown_topic() || error.code() == Some(ErrorCode::GROUP_ID_NOT_FOUND)
}

fn kind(resource: &ConfigResource) -> &'static str {
    match resource {
        ConfigResource::Topic(_) => "topic",
        ConfigResource::Broker(_) => "broker",
        ConfigResource::BrokerLogger(_) => "broker-logger",
        ConfigResource::ClientMetrics(_) => "client-metric",
        ConfigResource::Group(_) => "group",
    }
}

/// Set for this very thing, rather than for all of its kind.
fn is_own(resource: &ConfigResource, source: ConfigSource) -> bool {
    match resource {
        ConfigResource::Topic(_) => source == ConfigSource::TOPIC,
        ConfigResource::Broker(Some(_)) => source == ConfigSource::BROKER,
        ConfigResource::Broker(None) => source == ConfigSource::ALL_BROKERS,
        ConfigResource::BrokerLogger(_) => true,
        ConfigResource::ClientMetrics(_) | ConfigResource::Group(_) => source.is_dynamic(),
    }
}

fn described(resource: &ConfigResource, entries: &[ConfigEntry], all: bool) -> String {
    let (kind, name) = (kind(resource), resource.name());
    let mut text = match (resource, all) {
        (ConfigResource::Broker(None), _) => {
            "Default configs for brokers in the cluster are:\n".to_owned()
        }
        (_, true) => format!("All configs for {kind} {name} are:\n"),
        (_, false) => format!("Dynamic configs for {kind} {name} are:\n"),
    };
    for entry in entries.iter().filter(|entry| all || is_own(resource, entry.source)) {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        let synonyms: Vec<String> = entry
            .synonyms
            .iter()
            .map(|set| format!("{}:{}={}", set.source.name(), set.name, value(&set.value)))
            .collect();
        text.push_str(&format!(
            "  {}={} sensitive={} synonyms={{{}}}\n",
            entry.name,
            value(&entry.value),
            entry.sensitive,
            synonyms.join(", ")
        ));
    }
    text
}

async fn alter(
    admin: &Admin,
    given: &Given,
    resource: &ConfigResource,
    changes: Vec<(String, ConfigChange)>,
) -> Result<(), Error> {
    let deleted = changes.iter().filter(|(_, change)| *change == ConfigChange::Delete);
    let deleted: Vec<&str> = deleted.map(|(name, _)| name.as_str()).collect();
    if !deleted.is_empty() {
        let entries = admin.configs(resource).await.map_err(|error| executing(given, &error))?;
        let is_set = |name: &&&str| {
            let mut named = entries.iter().filter(|entry| entry.name == ***name);
            named.any(|entry| entry.synonyms.iter().any(|set| is_own(resource, set.source)))
        };
        let wrong: Vec<&str> = deleted.iter().filter(|name| !is_set(name)).copied().collect();
        if !wrong.is_empty() {
            return Err(Error::usage(format!("Invalid config(s): {}", wrong.join(","))));
        }
    }
    admin.alter_configs(resource, &changes).await.map_err(|error| executing(given, &error))?;
    let (kind, name) = (kind(resource), resource.name());
    Ok(print(&match resource {
        ConfigResource::Broker(None) => {
            "Completed updating default config for brokers in the cluster.\n".to_owned()
        }
        _ => format!("Completed updating config for {kind} {name}.\n"),
    })?)
}

fn executing(given: &Given, error: &AdminError) -> Error {
    if error.code().is_none() {
        return Error::Failure(error.clone().into());
    }
    let words = given.words.join(" ");
    Error::usage(format!(
        "Error while executing config command with args '{words}'\n\
         java.util.concurrent.ExecutionException: {}",
        java::thrown(error)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Given {
        TOOL.parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn lists_are_in_brackets() {
        let given = given(&["--add-config", "a=1,b=[x,y], c=", "--delete-config", "d,e"]);
        let set = |value: &str| ConfigChange::Set(value.to_owned());
        let expected = [
            ("a".to_owned(), set("1")),
            ("b".to_owned(), set("x,y")),
            ("c".to_owned(), set("")),
            ("d".to_owned(), ConfigChange::Delete),
            ("e".to_owned(), ConfigChange::Delete),
        ];
        assert_eq!(changes(&given).unwrap(), expected);
        assert!(changes(&super::tests::given(&["--add-config", "noeq"])).is_err());
        assert!(changes(&super::tests::given(&["--alter"])).is_err());
    }

    #[test]
    fn things_are_named_in_two_ways() {
        let topic = Entity::One(ConfigResource::Topic("t".to_owned()));
        assert_eq!(entity(&given(&["--topic", "t"])).unwrap(), topic);
        let named = given(&["--entity-type", "topics", "--entity-name", "t"]);
        assert_eq!(entity(&named).unwrap(), topic);
        let all = entity(&given(&["--entity-type", "brokers"])).unwrap();
        assert_eq!(all, Entity::AllBrokers);
        assert!(entity(&given(&["--broker", "x"])).is_err());
        assert!(entity(&given(&["--entity-type", "nope"])).is_err());
        let alice = given(&["--entity-type", "users", "--entity-name", "alice"]);
        assert_eq!(entity(&alice).unwrap(), Entity::Users(Some("alice".to_owned())));
        assert!(entity(&given(&["--entity-type", "users", "--entity-default"])).is_err());
    }
}
