//! `millstream groups`: list, describe, reset, forget, delete.

pub mod lag;
pub mod reset;
pub mod time;

use std::collections::BTreeSet;

use broker::client::admin::Admin;
use broker::client::admin::groups::GroupDescription;
use broker::ids::TopicPartition;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::lag::Progress;
use self::reset::{ResetTo, Scope};
use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection};
use crate::render::table::{Table, plural};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream groups list
  millstream groups describe audit
  millstream groups reset audit --topic orders --to earliest
  millstream groups reset audit --topic orders:0,1 --to 2024-05-01T12:00:00 --execute")]
pub struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    /// List consumer groups with their states
    #[command(after_help = "Example:\n  millstream groups list --json")]
    List {
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Show how far a group is in each partition, and who reads it
    #[command(after_help = "Example:\n  millstream groups describe audit")]
    Describe {
        group: String,
        #[command(flatten)]
        broker: BrokerChoice,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show, and with --execute do, where a group without members goes on
    #[command(after_help = "Examples:
  millstream groups reset audit --to latest --execute
  millstream groups reset audit --topic orders --shift-by=-10")]
    Reset(ResetArgs),
    /// Forget what a group has committed for topics that it no longer reads
    #[command(after_help = "Example:\n  millstream groups forget audit --topic orders")]
    Forget {
        group: String,
        /// Of this topic; TOPIC:0,1 for some of its partitions; may be repeated
        #[arg(long = "topic", value_name = "TOPIC", value_parser = reset::topic_scope,
              required = true)]
        topics: Vec<(String, Option<BTreeSet<i32>>)>,
        #[command(flatten)]
        broker: BrokerChoice,
    },
    /// Delete groups without members, and all that they have committed
    #[command(after_help = "Example:\n  millstream groups delete audit")]
    Delete {
        #[arg(required = true)]
        groups: Vec<String>,
        #[command(flatten)]
        broker: BrokerChoice,
    },
}

#[derive(Debug, Args)]
struct ResetArgs {
    group: String,
    /// Only this topic; TOPIC:0,1 for some of its partitions; may be repeated
    #[arg(long = "topic", value_name = "TOPIC", value_parser = reset::topic_scope)]
    topics: Vec<(String, Option<BTreeSet<i32>>)>,
    /// earliest, latest, current, an offset, or a time such as 2024-05-01T12:00:00
    #[arg(long, value_name = "WHERE", value_parser = reset_to, required_unless_present = "shift_by")]
    to: Option<ResetTo>,
    /// So many records forward, or back if negative
    #[arg(long, value_name = "N", allow_negative_numbers = true, conflicts_with = "to")]
    shift_by: Option<i64>,
    /// Do it; otherwise it is only shown
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    broker: BrokerChoice,
    /// One JSON object per partition
    #[arg(long)]
    json: bool,
}

fn reset_to(text: &str) -> Result<ResetTo, String> {
    match text {
        "earliest" => Ok(ResetTo::Earliest),
        "latest" => Ok(ResetTo::Latest),
        "current" => Ok(ResetTo::Current),
        text => match (text.parse::<i64>(), time::datetime_ms(text)) {
            (Ok(offset), _) if offset >= 0 => Ok(ResetTo::Offset(offset)),
            (_, Some(ms)) => Ok(ResetTo::Time(ms)),
            _ => Err("expected earliest, latest, current, an offset from 0 up or a time such as \
                      2024-05-01T12:00:00"
                .to_owned()),
        },
    }
}

pub async fn groups(args: GroupsArgs) -> Result<(), Failure> {
    let broker = match &args.command {
        GroupsCommand::List { broker, .. }
        | GroupsCommand::Describe { broker, .. }
        | GroupsCommand::Forget { broker, .. }
        | GroupsCommand::Delete { broker, .. } => broker,
        GroupsCommand::Reset(args) => &args.broker,
    };
    let connection = connection::open_admin(broker).await?;
    let admin = &connection.admin;
    let done = match args.command {
        GroupsCommand::List { json, .. } => list(admin, json).await,
        GroupsCommand::Describe { group, json, .. } => describe(admin, &group, json).await,
        GroupsCommand::Reset(args) => reset(admin, args).await,
        GroupsCommand::Forget { group, topics, .. } => forget(admin, &group, topics).await,
        GroupsCommand::Delete { groups, .. } => delete(admin, &groups).await,
    };
    connection.close().await;
    done
}

async fn list(admin: &Admin, json: bool) -> Result<(), Failure> {
    let groups = admin.groups().await?;
    if json {
        let values: Vec<Value> = groups
            .iter()
            .map(|group| {
                json!({ "group": group.id, "state": group.state, "type": group.kind,
                        "protocol_type": group.protocol_type })
            })
            .collect();
        return print_json(&values);
    }
    if groups.is_empty() {
        eprintln!("no consumer groups yet");
        return Ok(());
    }
    let row = |group: broker::client::admin::groups::GroupListing| {
        vec![group.id, group.state, group.protocol_type]
    };
    let rows: Vec<Vec<String>> = groups.into_iter().map(row).collect();
    let mut table = Table::new([("group", false), ("state", false), ("protocol", false)]);
    print(&table.lines(&rows))
}

/// A group that exists and commits offsets.
pub async fn existing(admin: &Admin, id: &str) -> Result<GroupDescription, Failure> {
    let unknown = || {
        Failure::running(format!("group '{id}' does not exist"))
            .with_help("`millstream groups list` shows which there are")
    };
    match admin.group(id).await {
        Ok(group) if group.state == "Dead" => Err(unknown()),
        Err(error) if error.code() == Some(broker::protocol::ErrorCode::GROUP_ID_NOT_FOUND) => {
            check_no_share_group(admin, id).await?;
            Err(unknown())
        }
        found => Ok(found?),
    }
}

/// What members of a share group have done is no offset of theirs.
async fn check_no_share_group(admin: &Admin, id: &str) -> Result<(), Failure> {
    match is_share_group(admin, id).await {
        true => Err(Failure::running(format!("group '{id}' is a share group (KIP-932)"))
            .with_help(format!(
                "`millstream kafka-share-groups --describe --group {id}` shows it"
            ))),
        false => Ok(()),
    }
}

/// Brokers before Kafka 4.1 have none.
async fn is_share_group(admin: &Admin, id: &str) -> bool {
    admin.share_group(id).await.is_ok()
}

async fn describe(admin: &Admin, id: &str, json: bool) -> Result<(), Failure> {
    let group = existing(admin, id).await?;
    let progress = lag::progress(admin, &group).await?;
    if json {
        return print_json([&as_json(&group, &progress)]);
    }
    let lag = lag_text(&progress);
    let members = plural(group.members.len() as i64, "member");
    let coordinator = format!("coordinator {} (id {})", group.coordinator, group.coordinator.id);
    let mut text = format!("{id}: {}, {members}, {lag}, {coordinator}\n", group.state);
    let known = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    let rows: Vec<Vec<String>> = progress
        .iter()
        .map(|row| {
            let of = row.partition.as_ref();
            let member = row.member.as_ref();
            vec![
                of.map_or("-".to_owned(), |of| of.topic.to_string()),
                of.map_or("-".to_owned(), |of| of.partition.to_string()),
                known(row.committed.map(|offset| offset.0)),
                known(row.end.map(|offset| offset.0)),
                known(row.lag()),
                member.map_or("-".to_owned(), |member| member.member_id.clone()),
                member.map_or("-".to_owned(), |member| member.host.clone()),
            ]
        })
        .collect();
    let mut table = Table::new([
        ("topic", false),
        ("partition", true),
        ("committed", true),
        ("end", true),
        ("lag", true),
        ("member", false),
        ("host", false),
    ]);
    text.push_str(&table.lines(&rows));
    print(&text)
}

/// How far behind the group is, as far as anything is committed.
fn lag_text(progress: &[Progress]) -> String {
    let lag: i64 = progress.iter().filter_map(Progress::lag).sum();
    let read = progress.iter().filter(|row| row.partition.is_some());
    let (known, unknown): (Vec<_>, Vec<_>) = read.partition(|row| row.lag().is_some());
    match (known.len(), unknown.len() as i64) {
        (_, 0) => format!("lag {lag}"),
        (0, _) => "lag unknown: nothing is committed".to_owned(),
        (_, unknown) => {
            format!("lag {lag}, nothing is committed of {}", plural(unknown, "partition"))
        }
    }
}

fn as_json(group: &GroupDescription, progress: &[Progress]) -> Value {
    let partitions: Vec<Value> = progress
        .iter()
        .filter_map(|row| {
            let of = row.partition.as_ref()?;
            Some(json!({ "topic": of.topic.as_ref(), "partition": of.partition,
                         "committed": row.committed.map(|offset| offset.0),
                         "end": row.end.map(|offset| offset.0), "lag": row.lag(),
                         "member": row.member.as_ref().map(|member| &member.member_id) }))
        })
        .collect();
    let members: Vec<Value> = group
        .members
        .iter()
        .map(|member| {
            json!({ "member": member.member_id, "instance": member.instance_id,
                    "client": member.client_id, "host": member.host,
                    "partitions": member.assigned.len() })
        })
        .collect();
    json!({ "group": group.id, "state": group.state, "assignor": group.assignor,
            "protocol_type": group.protocol_type, "coordinator": group.coordinator.id,
            "members": members, "partitions": partitions })
}

async fn reset(admin: &Admin, args: ResetArgs) -> Result<(), Failure> {
    let to = match (args.to, args.shift_by) {
        (Some(to), _) => to,
        (None, Some(by)) => ResetTo::Shift(by),
        (None, None) => return Err(Failure::usage("give --to WHERE or --shift-by N")),
    };
    check_without_members(admin, &args.group).await?;
    let scope = match args.topics.is_empty() {
        true => Scope::Committed,
        false => Scope::Topics(args.topics),
    };
    let partitions = reset::partitions(admin, &args.group, &scope).await?;
    if partitions.is_empty() {
        return Err(Failure::running(format!("group '{}' has committed nothing", args.group))
            .with_help("name the topics that it shall read with --topic"));
    }
    let plan = reset::plan(admin, &args.group, &partitions, &to).await?;
    for moved in &plan.moved {
        eprintln!("{moved}");
    }
    for of in &plan.without_time {
        eprintln!("partition {of} has no record of that time or later: its end is taken");
    }
    if args.execute {
        admin.set_group_offsets(&args.group, &plan.offsets).await?;
    }
    show(&plan.offsets, args.json)?;
    if !args.execute {
        eprintln!("nothing was changed; --execute does it");
    }
    Ok(())
}

async fn check_without_members(admin: &Admin, group: &str) -> Result<(), Failure> {
    match admin.group(group).await {
        Ok(found) if !found.members.is_empty() => {
            let members = plural(found.members.len() as i64, "member");
            Err(Failure::running(format!("group '{group}' has {members} at work"))
                .with_help("stop them first: they would go on where they are"))
        }
        // A group that does not exist comes into being with its first offset.
        _ => check_no_share_group(admin, group).await,
    }
}

fn show(offsets: &[(TopicPartition, broker::ids::Offset)], json: bool) -> Result<(), Failure> {
    if json {
        let values: Vec<Value> = offsets
            .iter()
            .map(|(of, offset)| {
                json!({ "topic": of.topic.as_ref(), "partition": of.partition,
                        "offset": offset.0 })
            })
            .collect();
        return print_json(&values);
    }
    let row = |(of, offset): &(TopicPartition, broker::ids::Offset)| {
        vec![of.topic.to_string(), of.partition.to_string(), offset.to_string()]
    };
    let rows: Vec<Vec<String>> = offsets.iter().map(row).collect();
    let mut table = Table::new([("topic", false), ("partition", true), ("new_offset", true)]);
    print(&table.lines(&rows))
}

async fn forget(
    admin: &Admin,
    group: &str,
    topics: Vec<(String, Option<BTreeSet<i32>>)>,
) -> Result<(), Failure> {
    existing(admin, group).await?;
    let partitions = reset::partitions(admin, group, &Scope::Topics(topics)).await?;
    for outcome in admin.delete_group_offsets(group, &partitions).await? {
        outcome?;
    }
    let count = plural(partitions.len() as i64, "partition");
    eprintln!("group '{group}' has forgotten {count}");
    Ok(())
}

async fn delete(admin: &Admin, groups: &[String]) -> Result<(), Failure> {
    for group in groups {
        if !is_share_group(admin, group).await {
            existing(admin, group).await?;
        }
        admin.delete_group(group).await?;
        eprintln!("deleted group '{group}'");
    }
    Ok(())
}
