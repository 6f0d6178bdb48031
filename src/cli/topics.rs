//! `millstream topics`: list, create, describe, delete.

use std::collections::BTreeMap;
use std::io::Write;

use broker::client::{Client, Isolation, NewTopic, OffsetSpec, TopicInfo};
use broker::ids::{Offset, TopicPartition};
use clap::{Args, Subcommand};
use serde_json::json;

use super::connection;
use super::{BrokerChoice, Failure};
use crate::render::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream topics list
  millstream topics create orders --partitions 6 --config retention.ms=86400000
  millstream topics describe orders --json
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
        /// A topic config by Kafka's name; may be repeated
        #[arg(long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
        configs: Vec<(String, String)>,
        /// Succeed if the topic is there already
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Show a topic's partitions with their first and next offsets
    #[command(after_help = "Example:\n  millstream topics describe orders")]
    Describe {
        topic: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
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

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| "expected KEY=VALUE, such as retention.ms=86400000".to_owned())
}

pub async fn topics(args: TopicsArgs) -> Result<(), Failure> {
    let broker = match &args.command {
        TopicsCommand::List { broker, .. }
        | TopicsCommand::Create { broker, .. }
        | TopicsCommand::Describe { broker, .. }
        | TopicsCommand::Delete { broker, .. } => broker,
    };
    let connection = connection::open(broker).await?;
    let done = act(connection.client.as_ref(), args.command).await;
    connection.close().await;
    done
}

async fn act(client: &dyn Client, command: TopicsCommand) -> Result<(), Failure> {
    match command {
        TopicsCommand::List { internal, json, .. } => list(client, internal, json).await,
        TopicsCommand::Create { topic, partitions, configs, if_not_exists, .. } => {
            let configs: BTreeMap<String, String> = configs.into_iter().collect();
            let new = NewTopic { name: topic.clone(), partitions, configs };
            match client.create_topic(&new).await {
                Err(broker::client::ClientError::TopicExists(_)) if if_not_exists => {
                    eprintln!("topic '{topic}' is there already");
                    Ok(())
                }
                Err(error) => Err(error.into()),
                Ok(()) => {
                    eprintln!("created topic '{topic}'");
                    Ok(())
                }
            }
        }
        TopicsCommand::Describe { topic, json, .. } => describe(client, &topic, json).await,
        TopicsCommand::Delete { topics, if_exists, .. } => delete(client, &topics, if_exists).await,
    }
}

async fn delete(client: &dyn Client, topics: &[String], if_exists: bool) -> Result<(), Failure> {
    for topic in topics {
        match client.delete_topic(topic).await {
            Ok(()) => eprintln!("deleted topic '{topic}'"),
            Err(broker::client::ClientError::UnknownTopic(_)) if if_exists => {
                eprintln!("there is no topic '{topic}'");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// First and next offset of each partition.
async fn extents(client: &dyn Client, topic: &TopicInfo) -> Result<Vec<(Offset, Offset)>, Failure> {
    let partitions: Vec<_> = (0..topic.partitions)
        .map(|partition| TopicPartition::new(topic.name.as_str(), partition))
        .collect();
    let first = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
    let next =
        client.list_offsets(&partitions, OffsetSpec::Latest(Isolation::ReadUncommitted)).await?;
    let extent = |(first, next): (Option<Offset>, Option<Offset>)| {
        (first.unwrap_or_default(), next.unwrap_or_default())
    };
    Ok(first.into_iter().zip(next).map(extent).collect())
}

async fn list(client: &dyn Client, internal: bool, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for topic in client.topics().await? {
        if topic.internal && !internal {
            continue;
        }
        let offsets: i64 =
            extents(client, &topic).await?.iter().map(|(first, next)| next.since(*first)).sum();
        if json {
            let id = topic.id.map(|id| id.to_string());
            print(&format!(
                "{}\n",
                json!({ "topic": topic.name, "id": id, "partitions": topic.partitions,
                        "offsets": offsets, "internal": topic.internal })
            ))?;
        } else {
            rows.push(vec![topic.name, topic.partitions.to_string(), offsets.to_string()]);
        }
    }
    if json {
        return Ok(());
    }
    if rows.is_empty() {
        eprintln!("no topics yet; `millstream topics create NAME` makes one");
        return Ok(());
    }
    let mut table = Table::new([("topic", false), ("partitions", true), ("offsets", true)]);
    print(&table.lines(&rows))
}

async fn describe(client: &dyn Client, name: &str, json: bool) -> Result<(), Failure> {
    let Some(topic) = client.topic(name).await? else {
        return Err(broker::client::ClientError::UnknownTopic(name.to_owned()).into());
    };
    let extents = extents(client, &topic).await?;
    if json {
        let partitions: Vec<_> = extents
            .iter()
            .enumerate()
            .map(|(partition, (first, next))| {
                json!({ "partition": partition, "first_offset": first.0, "next_offset": next.0 })
            })
            .collect();
        let id = topic.id.map(|id| id.to_string());
        return print(&format!(
            "{}\n",
            json!({ "topic": topic.name, "id": id, "internal": topic.internal,
                    "partitions": partitions })
        ));
    }
    let id = topic.id.map(|id| format!(", id {id}")).unwrap_or_default();
    let s = if topic.partitions == 1 { "" } else { "s" };
    print(&format!("{}: {} partition{s}{id}\n", topic.name, topic.partitions))?;
    let rows: Vec<_> = extents
        .iter()
        .enumerate()
        .map(|(partition, (first, next))| {
            vec![partition.to_string(), first.to_string(), next.to_string()]
        })
        .collect();
    let mut table =
        Table::new([("partition", true), ("first_offset", true), ("next_offset", true)]);
    print(&table.lines(&rows))
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::running(format!("stdout: {error}")))
}
