//! `millstream records`: where partitions begin and end, deleting their oldest records, and
//! looking into log files.

mod dump;

use broker::client::Isolation;
use broker::client::admin::Admin;
use broker::client::admin::offsets::OffsetAt;
use broker::ids::{Offset, TopicPartition};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::groups::time::datetime_ms;
use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection};
use crate::render::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream records offsets orders
  millstream records offsets orders --at 2024-05-01T12:00:00
  millstream records delete orders --partition 0 --before 1000
  millstream records dump .millstream/orders-0")]
pub struct RecordsArgs {
    #[command(subcommand)]
    command: RecordsCommand,
}

#[derive(Debug, Subcommand)]
enum RecordsCommand {
    /// Show offsets of each partition of a topic: the end, unless --at says otherwise
    #[command(after_help = "Example:\n  millstream records offsets orders --at earliest --json")]
    Offsets {
        topic: String,
        /// earliest, latest, max-timestamp, or a time such as 2024-05-01T12:00:00
        #[arg(long, value_name = "WHERE", value_parser = offset_at, default_value = "latest")]
        at: OffsetAt,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per partition
        #[arg(long)]
        json: bool,
    },
    /// Delete the records before an offset
    #[command(
        after_help = "Example:\n  millstream records delete orders --partition 0 --before end"
    )]
    Delete {
        topic: String,
        /// In this partition; all of them unless given
        #[arg(long, value_name = "N")]
        partition: Option<i32>,
        /// The first offset to keep, or `end` to keep none
        #[arg(long, value_name = "OFFSET", value_parser = before)]
        before: Offset,
        #[command(flatten)]
        broker: BrokerChoice,
    },
    /// Show what lies in log files, without a broker
    Dump(dump::DumpArgs),
}

fn offset_at(text: &str) -> Result<OffsetAt, String> {
    match text {
        "earliest" => Ok(OffsetAt::Earliest),
        "latest" => Ok(OffsetAt::Latest),
        "max-timestamp" => Ok(OffsetAt::MaxTimestamp),
        time => datetime_ms(time).map(OffsetAt::Time).ok_or_else(|| {
            "expected earliest, latest, max-timestamp or a time such as 2024-05-01T12:00:00"
                .to_owned()
        }),
    }
}

fn before(text: &str) -> Result<Offset, String> {
    match (text, text.parse()) {
        ("end", _) => Ok(Offset(-1)),
        (_, Ok(offset)) if offset >= 0 => Ok(Offset(offset)),
        _ => Err("expected an offset from 0 up, or end".to_owned()),
    }
}

pub async fn records(args: RecordsArgs) -> Result<(), Failure> {
    let broker = match &args.command {
        RecordsCommand::Offsets { broker, .. } | RecordsCommand::Delete { broker, .. } => broker,
        RecordsCommand::Dump(args) => return dump::dump(args),
    };
    let connection = connection::open_admin(broker).await?;
    let admin = &connection.admin;
    let done = match args.command {
        RecordsCommand::Offsets { topic, at, json, .. } => offsets(admin, &topic, at, json).await,
        RecordsCommand::Delete { topic, partition, before, .. } => {
            delete(admin, &topic, partition, before).await
        }
        RecordsCommand::Dump(args) => dump::dump(&args),
    };
    connection.close().await;
    done
}

/// All partitions of a topic that exists.
pub async fn partitions(admin: &Admin, topic: &str) -> Result<Vec<TopicPartition>, Failure> {
    let described = admin.describe_topic(topic).await?;
    let of = |number| TopicPartition::new(topic, number);
    Ok(described.partitions.iter().map(|partition| of(partition.number)).collect())
}

async fn offsets(admin: &Admin, topic: &str, at: OffsetAt, json: bool) -> Result<(), Failure> {
    let partitions = partitions(admin, topic).await?;
    let found = admin.list_offsets(&partitions, at, Isolation::ReadUncommitted).await?;
    let mut offsets = Vec::with_capacity(found.len());
    for (of, offset) in partitions.iter().zip(found) {
        offsets.push((of.partition, offset?));
    }
    if json {
        let value = |(partition, offset): &(i32, Option<Offset>)| {
            json!({ "topic": topic, "partition": partition,
                    "offset": offset.map(|offset| offset.0) })
        };
        let values: Vec<Value> = offsets.iter().map(value).collect();
        return print_json(&values);
    }
    let row = |(partition, offset): &(i32, Option<Offset>)| {
        vec![partition.to_string(), offset.map_or("-".to_owned(), |offset| offset.to_string())]
    };
    let rows: Vec<Vec<String>> = offsets.iter().map(row).collect();
    print(&Table::new([("partition", true), ("offset", true)]).lines(&rows))
}

async fn delete(
    admin: &Admin,
    topic: &str,
    partition: Option<i32>,
    before: Offset,
) -> Result<(), Failure> {
    let mut partitions = partitions(admin, topic).await?;
    if let Some(wanted) = partition {
        let count = partitions.len();
        partitions.retain(|of| of.partition == wanted);
        if partitions.is_empty() {
            return Err(Failure::usage(format!(
                "topic '{topic}' has no partition {wanted}; it has {count}, from 0 on"
            )));
        }
    }
    check_ends(admin, &partitions, before).await?;
    let wanted: Vec<_> = partitions.into_iter().map(|of| (of, before)).collect();
    let left = admin.delete_records(&wanted).await?;
    for ((of, _), left) in wanted.iter().zip(left) {
        eprintln!("partition {of} begins at offset {} now", left?);
    }
    Ok(())
}

/// Nothing is deleted anywhere if one of the partitions ends before.
async fn check_ends(
    admin: &Admin,
    partitions: &[TopicPartition],
    before: Offset,
) -> Result<(), Failure> {
    let ends = admin.list_offsets(partitions, OffsetAt::Latest, Isolation::ReadUncommitted).await?;
    for (of, end) in partitions.iter().zip(ends) {
        if let Some(end) = end?
            && before > end
        {
            let beyond = format!("partition {of} ends at offset {end}, before {before}");
            return Err(Failure::running(beyond)
                .with_help("nothing was deleted; `--before end` deletes all records"));
        }
    }
    Ok(())
}
