//! `millstream transactions`: which are open, and ending one that hangs.

use broker::client::admin::transactions::{HangingTransaction, ProducerDescription};
use broker::client::admin::{Admin, AdminError};
use broker::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use broker::protocol::ErrorCode;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection};
use crate::render::table::Table;

/// Kafka's: as long as brokers let a transaction take.
pub const OLDER_THAN_MIN: i64 = 15;
const MINUTE_MS: i64 = 60_000;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream transactions list
  millstream transactions describe my-transactional-id
  millstream transactions producers orders --partition 0
  millstream transactions hanging orders
  millstream transactions abort orders --partition 0 --start-offset 1234")]
pub struct TransactionsArgs {
    #[command(subcommand)]
    command: TransactionsCommand,
}

#[derive(Debug, Subcommand)]
enum TransactionsCommand {
    /// List transactional ids with their states
    #[command(after_help = "Example:\n  millstream transactions list --json")]
    List {
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Show what a transactional id has under way
    #[command(after_help = "Example:\n  millstream transactions describe my-transactional-id")]
    Describe {
        transactional_id: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the producers that a partition remembers
    #[command(after_help = "Example:\n  millstream transactions producers orders --partition 0")]
    Producers {
        topic: String,
        #[arg(long, value_name = "N")]
        partition: i32,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per producer
        #[arg(long)]
        json: bool,
    },
    /// Find transactions that hold back readers and that no coordinator will ever end
    #[command(after_help = "Examples:
  millstream transactions hanging orders
  millstream transactions hanging --older-than-min 1")]
    Hanging {
        /// Of this topic; of all unless given
        topic: Option<String>,
        /// Only those with nothing written for so many minutes; more than any producer's timeout
        #[arg(long, value_name = "MINUTES", default_value_t = OLDER_THAN_MIN)]
        older_than_min: i64,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per transaction
        #[arg(long)]
        json: bool,
    },
    /// Abort the open transaction of a transactional id, and fence its producer
    #[command(after_help = "Example:\n  millstream transactions terminate my-transactional-id")]
    Terminate {
        transactional_id: String,
        #[command(flatten)]
        broker: BrokerChoice,
    },
    /// Abort a transaction that holds back readers and that no producer will end
    #[command(after_help = "Example:
  millstream transactions abort orders --partition 0 --start-offset 1234")]
    Abort {
        topic: String,
        #[arg(long, value_name = "N")]
        partition: i32,
        /// Where the transaction begins, as `transactions producers` shows it
        #[arg(long, value_name = "OFFSET")]
        start_offset: i64,
        #[command(flatten)]
        broker: BrokerChoice,
    },
}

pub async fn transactions(args: TransactionsArgs) -> Result<(), Failure> {
    let (TransactionsCommand::List { broker, .. }
    | TransactionsCommand::Describe { broker, .. }
    | TransactionsCommand::Producers { broker, .. }
    | TransactionsCommand::Hanging { broker, .. }
    | TransactionsCommand::Terminate { broker, .. }
    | TransactionsCommand::Abort { broker, .. }) = &args.command;
    let connection = connection::open_admin(broker).await?;
    let admin = &connection.admin;
    let done = match args.command {
        TransactionsCommand::List { json, .. } => list(admin, json).await,
        TransactionsCommand::Describe { transactional_id, json, .. } => {
            describe(admin, &transactional_id, json).await
        }
        TransactionsCommand::Producers { topic, partition, json, .. } => {
            producers(admin, &TopicPartition::new(topic, partition), json).await
        }
        TransactionsCommand::Hanging { topic, older_than_min, json, .. } => {
            hanging(admin, topic, older_than_min, json).await
        }
        TransactionsCommand::Terminate { transactional_id, .. } => {
            terminate(admin, &transactional_id).await
        }
        TransactionsCommand::Abort { topic, partition, start_offset, .. } => {
            let of = TopicPartition::new(topic, partition);
            let done = abort(admin, &of, Offset(start_offset)).await;
            done.map(|()| eprintln!("aborted the transaction from offset {start_offset} in {of}"))
        }
    };
    connection.close().await;
    done
}

async fn list(admin: &Admin, json: bool) -> Result<(), Failure> {
    let found = admin.transactions(None, None).await?;
    if json {
        let values: Vec<Value> = found
            .iter()
            .map(|listed| {
                json!({ "transactional_id": listed.transactional_id, "state": listed.state,
                        "producer_id": listed.producer_id.0, "coordinator": listed.coordinator })
            })
            .collect();
        return print_json(&values);
    }
    if found.is_empty() {
        eprintln!("no transactional ids yet");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = found
        .into_iter()
        .map(|listed| {
            let id = listed.producer_id.to_string();
            vec![listed.transactional_id, listed.state, id, listed.coordinator.to_string()]
        })
        .collect();
    let mut table = Table::new([
        ("transactional_id", false),
        ("state", false),
        ("producer_id", true),
        ("coordinator", true),
    ]);
    print(&table.lines(&rows))
}

async fn describe(admin: &Admin, id: &str, json: bool) -> Result<(), Failure> {
    let found = admin.transaction(id).await?;
    let partitions: Vec<String> = found.partitions.iter().map(ToString::to_string).collect();
    if json {
        return print_json([&json!({
            "transactional_id": id, "state": found.state, "producer_id": found.producer_id.0,
            "producer_epoch": found.epoch.0, "coordinator": found.coordinator,
            "timeout_ms": found.timeout_ms, "start_time_ms": found.start_time_ms,
            "partitions": partitions,
        })]);
    }
    let mut text = format!(
        "{id}: {}, producer {} epoch {}, coordinator {}, timeout {} ms\n",
        found.state, found.producer_id, found.epoch, found.coordinator, found.timeout_ms
    );
    if let Some(start) = found.start_time_ms {
        let open_s = (broker::broker::now_ms() - start).max(0) / 1000;
        text.push_str(&format!("  open for {open_s} s in {}\n", partitions.join(", ")));
    }
    print(&text)
}

async fn producers(admin: &Admin, of: &TopicPartition, json: bool) -> Result<(), Failure> {
    let found = admin.producers(of, None).await?;
    if json {
        let value = |producer: &ProducerDescription| {
            json!({ "producer_id": producer.producer_id.0, "producer_epoch": producer.epoch,
                    "last_sequence": producer.last_sequence,
                    "last_timestamp_ms": producer.last_timestamp_ms,
                    "coordinator_epoch": producer.coordinator_epoch,
                    "transaction_start": producer.transaction_start.map(|start| start.0) })
        };
        let values: Vec<Value> = found.iter().map(value).collect();
        return print_json(&values);
    }
    if found.is_empty() {
        eprintln!("partition {of} remembers no producers");
        return Ok(());
    }
    let row = |producer: &ProducerDescription| {
        vec![
            producer.producer_id.to_string(),
            producer.epoch.to_string(),
            producer.last_sequence.to_string(),
            producer.last_timestamp_ms.to_string(),
            producer.transaction_start.map_or("-".to_owned(), |start| start.to_string()),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let mut table = Table::new([
        ("producer_id", true),
        ("epoch", true),
        ("last_sequence", true),
        ("last_timestamp_ms", true),
        ("transaction_start", true),
    ]);
    print(&table.lines(&rows))
}

/// A transaction that is open in a partition and that no coordinator knows.
#[derive(Clone, Debug)]
pub struct Hanging {
    pub partition: TopicPartition,
    pub producer: ProducerDescription,
    pub idle_min: i64,
}

/// Those in these partitions with nothing written for longer than so many minutes.
pub async fn find_hanging(
    admin: &Admin,
    candidates: Vec<TopicPartition>,
    older_than_min: i64,
) -> Result<Vec<Hanging>, AdminError> {
    let now_ms = broker::broker::now_ms();
    let mut found = Vec::new();
    for partition in candidates {
        for producer in admin.producers(&partition, None).await? {
            let idle_ms = now_ms.saturating_sub(producer.last_timestamp_ms);
            let is_old = idle_ms > older_than_min.saturating_mul(MINUTE_MS);
            if producer.transaction_start.is_some() && is_old {
                let idle_min = idle_ms / MINUTE_MS;
                found.push(Hanging { partition: partition.clone(), producer, idle_min });
            }
        }
    }
    if found.is_empty() {
        return Ok(found);
    }
    let mut known: Vec<(ProducerId, TopicPartition)> = Vec::new();
    for listed in admin.transactions(None, None).await? {
        match admin.transaction(&listed.transactional_id).await {
            Ok(open) => {
                known.extend(open.partitions.into_iter().map(|of| (open.producer_id, of)));
            }
            // It has expired since.
            Err(error) if error.code() == Some(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
    }
    found.retain(|one| !known.contains(&(one.producer.producer_id, one.partition.clone())));
    Ok(found)
}

async fn hanging(
    admin: &Admin,
    topic: Option<String>,
    older_than_min: i64,
    json: bool,
) -> Result<(), Failure> {
    let names = match topic {
        Some(topic) => vec![topic],
        None => admin.topic_names().await?.into_iter().map(|(name, _)| name).collect(),
    };
    let mut candidates = Vec::new();
    for name in &names {
        candidates.extend(super::records::partitions(admin, name).await?);
    }
    let found = find_hanging(admin, candidates, older_than_min).await?;
    if json {
        let value = |one: &Hanging| {
            json!({ "topic": one.partition.topic.as_ref(), "partition": one.partition.partition,
                    "start_offset": one.producer.transaction_start.map(|start| start.0),
                    "producer_id": one.producer.producer_id.0,
                    "producer_epoch": one.producer.epoch,
                    "last_timestamp_ms": one.producer.last_timestamp_ms })
        };
        let values: Vec<Value> = found.iter().map(value).collect();
        return print_json(&values);
    }
    if found.is_empty() {
        eprintln!("no hanging transactions");
        return Ok(());
    }
    let row = |one: &Hanging| {
        vec![
            one.partition.topic.to_string(),
            one.partition.partition.to_string(),
            one.producer.transaction_start.unwrap_or_default().to_string(),
            one.producer.producer_id.to_string(),
            one.idle_min.to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    let mut table = Table::new([
        ("topic", false),
        ("partition", true),
        ("start_offset", true),
        ("producer_id", true),
        ("idle_min", true),
    ]);
    print(&table.lines(&rows))?;
    eprintln!("`millstream transactions abort TOPIC --partition N --start-offset OFFSET` ends one");
    Ok(())
}

async fn terminate(admin: &Admin, id: &str) -> Result<(), Failure> {
    // Whoever asks for an id that does not exist would create it.
    let before = admin.transaction(id).await?;
    admin.terminate_transaction(id).await?;
    match before.start_time_ms {
        Some(_) => eprintln!("aborted the transaction of '{id}' and fenced its producer"),
        None => eprintln!("'{id}' had no open transaction; its producer is fenced"),
    }
    Ok(())
}

/// Aborts the transaction that begins at this offset.
pub async fn abort(admin: &Admin, of: &TopicPartition, start: Offset) -> Result<(), Failure> {
    let open = admin.producers(of, None).await?.into_iter();
    let found = open.into_iter().find(|producer| producer.transaction_start == Some(start));
    let Some(producer) = found else {
        return Err(Failure::running(format!(
            "Could not find any open transactions starting at offset {start} on partition {of}"
        )));
    };
    let hanging = HangingTransaction {
        partition: of.clone(),
        producer_id: producer.producer_id,
        // Epochs are 16 bits wide; this field is wider than what it holds.
        epoch: ProducerEpoch(producer.epoch as i16),
        coordinator_epoch: producer.coordinator_epoch.max(0),
    };
    Ok(admin.abort_transaction(&hanging).await?)
}
