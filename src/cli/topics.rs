//! `millstream topics`: list, create, describe, alter, infer, delete.

use std::collections::BTreeMap;

use broker::client::Isolation;
use broker::client::admin::configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
use broker::client::admin::offsets::OffsetAt;
use broker::client::admin::topics::{TopicDescription, TopicToCreate};
use broker::client::admin::{Admin, AdminError};
use broker::ids::{Offset, TopicPartition};
use broker::protocol::ErrorCode;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::infer::{InferArgs, infer_topic};
use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection, key_value};
use crate::render::table::{Table, plural};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream topics list
  millstream topics create orders --partitions 6 --config retention.ms=86400000
  millstream topics describe orders --json
  millstream topics alter orders --partitions 12
  millstream topics infer orders
  millstream topics delete orders")]
pub struct TopicsArgs {
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// List topics with their partitions and records
    #[command(after_help = "Example:\n  millstream topics list --json")]
    List {
        #[command(flatten)]
        broker: BrokerChoice,
        /// Also the broker's own, such as __consumer_offsets
        #[arg(long)]
        internal: bool,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Create a topic
    #[command(after_help = "Example:
  millstream topics create orders --partitions 6 --config cleanup.policy=compact")]
    Create {
        topic: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// How many partitions; the broker's num.partitions unless given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: Option<i32>,
        /// How many brokers keep each partition; the broker's default unless given
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A topic config by Kafka's name; may be repeated
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
        configs: Vec<(String, String)>,
        /// Succeed if the topic is there already
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Show a topic's partitions with leaders and offsets, and its own configs
    #[command(after_help = "Example:\n  millstream topics describe orders")]
    Describe {
        topic: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Add partitions, set configs or take them back
    #[command(after_help = "Example:
  millstream topics alter orders --partitions 12 --config retention.ms=3600000")]
    Alter {
        topic: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// How many partitions there shall be; the number can only grow
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
        partitions: Option<i32>,
        /// Set a topic config; may be repeated
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
        configs: Vec<(String, String)>,
        /// Take a topic config back to its default; may be repeated
        #[arg(long = "delete-config", value_name = "KEY")]
        delete_configs: Vec<String>,
    },
    /// Guess what a topic holds, and print it as a declaration for pipeline files
    Infer(Box<InferArgs>),
    /// Delete topics and all their records
    #[command(after_help = "Example:\n  millstream topics delete orders payments")]
    Delete {
        #[arg(required = true)]
        topics: Vec<String>,
        #[command(flatten)]
        broker: BrokerChoice,
        /// Succeed if a topic is not there
        #[arg(long)]
        if_exists: bool,
    },
}

pub async fn topics(args: TopicsArgs) -> Result<(), Failure> {
    let command = match args.command {
        TopicsCommand::Infer(args) => return infer_topic(*args).await,
        command => command,
    };
    let broker = match &command {
        TopicsCommand::List { broker, .. }
        | TopicsCommand::Create { broker, .. }
        | TopicsCommand::Describe { broker, .. }
        | TopicsCommand::Alter { broker, .. }
        | TopicsCommand::Delete { broker, .. } => broker,
        TopicsCommand::Infer(infer) => &infer.broker,
    };
    let connection = connection::open_admin(broker).await?;
    let done = act(&connection.admin, command).await;
    connection.close().await;
    done
}

async fn act(admin: &Admin, command: TopicsCommand) -> Result<(), Failure> {
    match command {
        TopicsCommand::List { internal, json, .. } => list(admin, internal, json).await,
        TopicsCommand::Create {
            topic,
            partitions,
            replication_factor,
            configs,
            if_not_exists,
            ..
        } => {
            let configs: BTreeMap<String, String> = configs.into_iter().collect();
            let new = TopicToCreate {
                name: topic.clone(),
                partitions,
                replication_factor,
                configs,
                ..TopicToCreate::default()
            };
            match admin.create_topic(&new).await {
                Err(error) if exists(&error) && if_not_exists => {
                    eprintln!("topic '{topic}' is there already");
                }
                Err(error) => return Err(error.into()),
                Ok(()) => eprintln!("created topic '{topic}'"),
            }
            Ok(())
        }
        TopicsCommand::Describe { topic, json, .. } => describe(admin, &topic, json).await,
        TopicsCommand::Alter { topic, partitions, configs, delete_configs, .. } => {
            let set = configs.into_iter().map(|(name, value)| (name, ConfigChange::Set(value)));
            let deleted = delete_configs.into_iter().map(|name| (name, ConfigChange::Delete));
            alter(admin, &topic, partitions, set.chain(deleted).collect()).await
        }
        TopicsCommand::Infer(_) => unreachable!("it reads records, and has its own connection"),
        TopicsCommand::Delete { topics, if_exists, .. } => delete(admin, &topics, if_exists).await,
    }
}

/// Whether this says that a topic is there already.
pub fn exists(error: &AdminError) -> bool {
    error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS)
}

async fn alter(
    admin: &Admin,
    topic: &str,
    partitions: Option<i32>,
    changes: Vec<(String, ConfigChange)>,
) -> Result<(), Failure> {
    if partitions.is_none() && changes.is_empty() {
        return Err(Failure::usage("nothing to change")
            .with_help("give --partitions N, --config KEY=VALUE or --delete-config KEY"));
    }
    if !changes.is_empty() {
        admin.alter_configs(&ConfigResource::Topic(topic.to_owned()), &changes).await?;
        eprintln!("changed the configs of topic '{topic}'");
    }
    if let Some(partitions) = partitions {
        admin.create_partitions(topic, partitions, &[]).await?;
        eprintln!("topic '{topic}' has {} now", plural(i64::from(partitions), "partition"));
    }
    Ok(())
}

async fn delete(admin: &Admin, topics: &[String], if_exists: bool) -> Result<(), Failure> {
    for topic in topics {
        match admin.delete_topic(topic).await {
            Ok(()) => eprintln!("deleted topic '{topic}'"),
            Err(error) if error.is_unknown_topic() && if_exists => {
                eprintln!("there is no topic '{topic}'");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// First and next offset of each partition; `None` where it cannot be told at the moment.
type Extents = Vec<(Option<Offset>, Option<Offset>)>;

async fn extents(admin: &Admin, topics: &[TopicDescription]) -> Result<Vec<Extents>, Failure> {
    let mut wanted = Vec::new();
    for topic in topics {
        let of = |number| TopicPartition::new(topic.name.as_str(), number);
        wanted.extend(topic.partitions.iter().map(|partition| of(partition.number)));
    }
    let isolation = Isolation::ReadUncommitted;
    let first = admin.list_offsets(&wanted, OffsetAt::Earliest, isolation).await?;
    let next = admin.list_offsets(&wanted, OffsetAt::Latest, isolation).await?;
    let both = first.into_iter().zip(next);
    let mut both = both.map(|(first, next)| (first.ok().flatten(), next.ok().flatten()));
    let own = |topic: &TopicDescription| both.by_ref().take(topic.partitions.len()).collect();
    Ok(topics.iter().map(own).collect())
}

async fn list(admin: &Admin, internal: bool, json: bool) -> Result<(), Failure> {
    let names = admin.topic_names().await?;
    let names: Vec<&str> = names
        .iter()
        .filter(|(_, is_internal)| internal || !is_internal)
        .map(|(name, _)| name.as_str())
        .collect();
    let topics = admin.describe_topics(&names).await?;
    let extents = extents(admin, &topics).await?;
    let records = |extents: &Extents| -> i64 {
        let count = |(first, next): &(Option<Offset>, Option<Offset>)| match (first, next) {
            (Some(first), Some(next)) => next.since(*first),
            _ => 0,
        };
        extents.iter().map(count).sum()
    };
    if json {
        let values: Vec<Value> = topics
            .iter()
            .zip(&extents)
            .map(|(topic, extents)| {
                json!({ "topic": topic.name, "id": topic.id_text(),
                        "partitions": topic.partitions.len(), "offsets": records(extents),
                        "internal": topic.internal })
            })
            .collect();
        return print_json(&values);
    }
    if topics.is_empty() {
        eprintln!("no topics yet; `millstream topics create NAME` makes one");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = topics
        .iter()
        .zip(&extents)
        .map(|(topic, extents)| {
            let partitions = topic.partitions.len().to_string();
            vec![topic.name.clone(), partitions, records(extents).to_string()]
        })
        .collect();
    let mut table = Table::new([("topic", false), ("partitions", true), ("offsets", true)]);
    print(&table.lines(&rows))
}

async fn describe(admin: &Admin, name: &str, json: bool) -> Result<(), Failure> {
    let topic = admin.describe_topic(name).await?;
    let extents = extents(admin, std::slice::from_ref(&topic)).await?.remove(0);
    let configs = admin.configs(&ConfigResource::Topic(name.to_owned())).await?;
    let own: Vec<&ConfigEntry> =
        configs.iter().filter(|entry| entry.source == ConfigSource::TOPIC).collect();
    if json {
        return print_json([&as_json(&topic, &extents, &own)]);
    }
    let partitions = plural(topic.partitions.len() as i64, "partition");
    let mut text = format!("{}: {partitions}, id {}\n", topic.name, topic.id_text());
    for entry in &own {
        text.push_str(&format!("  {} = {}\n", entry.name, shown(entry)));
    }
    let offset = |offset: &Option<Offset>| offset.map_or("?".to_owned(), |at| at.to_string());
    let rows: Vec<Vec<String>> = topic
        .partitions
        .iter()
        .zip(&extents)
        .map(|(partition, (first, next))| {
            vec![
                partition.number.to_string(),
                partition.leader.map_or("none".to_owned(), |leader| leader.to_string()),
                joined(&partition.replicas),
                joined(&partition.in_sync),
                offset(first),
                offset(next),
            ]
        })
        .collect();
    let mut table = Table::new([
        ("partition", true),
        ("leader", true),
        ("replicas", false),
        ("in_sync", false),
        ("first_offset", true),
        ("next_offset", true),
    ]);
    text.push_str(&table.lines(&rows));
    print(&text)
}

fn as_json(topic: &TopicDescription, extents: &Extents, own: &[&ConfigEntry]) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .zip(extents)
        .map(|(partition, (first, next))| {
            json!({ "partition": partition.number, "leader": partition.leader,
                    "replicas": partition.replicas, "in_sync": partition.in_sync,
                    "first_offset": first.map(|first| first.0),
                    "next_offset": next.map(|next| next.0) })
        })
        .collect();
    let configs: BTreeMap<&str, &Option<String>> =
        own.iter().map(|entry| (entry.name.as_str(), &entry.value)).collect();
    json!({ "topic": topic.name, "id": topic.id_text(), "internal": topic.internal,
            "configs": configs, "partitions": partitions })
}

/// A setting's value for people.
pub fn shown(entry: &ConfigEntry) -> &str {
    entry.value.as_deref().unwrap_or("(secret)")
}

/// Numbers with commas between.
pub fn joined(numbers: &[i32]) -> String {
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    texts.join(",")
}
