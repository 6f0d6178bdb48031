//! `kafka-consumer-groups`.
//!
//! - [`describe`]: offsets, members and states; [`reset`]: where groups go on; here: the rest.

mod describe;
mod reset;

use broker::client::admin::groups::GroupListing;
use broker::client::admin::{Admin, AdminError};
use broker::ids::TopicPartition;
use broker::protocol::ErrorCode;

use super::options::{Given, Tool, flag, maybe, value};
use super::{Error, java};
use crate::cli::Failure;
use crate::cli::groups::reset::topic_scope;
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-consumer-groups",
    about: "This tool helps to list all consumer groups, describe a consumer group, delete consumer \
            group info, or reset consumer group offsets.",
    example: "kafka-consumer-groups --reset-offsets --group audit --topic orders --to-earliest \
              --execute",
    options: &[
        flag("all-groups", "All groups"),
        flag("all-topics", "All topics that the group has committed offsets of"),
        value("by-duration", "DURATION", "Reset to so long ago, such as PT1H30M"),
        flag("delete", "Delete groups"),
        flag("delete-offsets", "Forget a group's offsets of topics"),
        flag("describe", "Show a group's offsets, members or state"),
        flag("dry-run", "Only show what a reset would do"),
        flag("execute", "Do the reset"),
        flag("export", "Show a reset as CSV"),
        value("from-file", "FILE", "Reset to the offsets in a CSV file"),
        value("group", "GROUP", "The group; may be repeated"),
        flag("list", "List groups"),
        flag("members", "With --describe: the members"),
        flag("offsets", "With --describe: the offsets (default)"),
        flag("reset-offsets", "Set where a group goes on"),
        value("shift-by", "N", "Reset by so many records, forward or back"),
        maybe(
            "state",
            "STATES",
            "With --describe: the state; with --list: show states, or only \
               groups in these",
        ),
        value("timeout", "MS", "Taken, without effect"),
        flag("to-current", "Reset to what is committed now"),
        value("to-datetime", "TIME", "Reset to a time, such as 2024-05-01T12:30:00.000"),
        flag("to-earliest", "Reset to the first records"),
        flag("to-latest", "Reset to the ends"),
        value("to-offset", "OFFSET", "Reset to this offset"),
        value(
            "topic",
            "TOPIC",
            "A topic, or TOPIC:0,1 for some of its partitions; may be repeated",
        ),
        maybe("type", "TYPES", "With --list: show types, or only groups of these"),
        value("validate-regex", "REGEX", "Tell whether a regular expression is valid"),
        flag("verbose", "With --describe: more columns"),
    ],
};

const ACTIONS: &[&str] =
    &["list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"];
const ONE_ACTION: &str = "Command must include exactly one action: --list, --describe, --delete, \
                          --reset-offsets, --delete-offsets, --validate-regex";
const STATES: [&str; 7] = [
    "Dead",
    "Empty",
    "CompletingRebalance",
    "Reconciling",
    "Assigning",
    "Stable",
    "PreparingRebalance",
];

pub async fn run(given: &Given) -> Result<(), Error> {
    let action = given.one_of(ACTIONS, ONE_ACTION)?;
    if action == "validate-regex" {
        return validate_regex(given);
    }
    check(given, action)?;
    let reset = if action == "reset-offsets" { Some(reset::Reset::new(given)?) } else { None };
    let connection = super::connect(given).await?;
    let admin = &connection.admin;
    let done = match (action, &reset) {
        ("list", _) => list(admin, given).await,
        ("describe", _) => describe::describe(admin, given).await,
        ("delete", _) => delete(admin, given).await,
        (_, Some(reset)) => reset.run(admin, given).await,
        (_, None) => delete_offsets(admin, given).await,
    };
    connection.close().await;
    // What goes wrong with a group is told, and no failure of the command: so does Kafka.
    match done {
        Err(Error::Told(message)) => Ok(print(&format!("\nError: {message}\n"))?),
        done => done,
    }
}

/// An error of a group, told as Kafka tells exceptions here.
fn executing(error: AdminError) -> Error {
    match error.code() {
        None => error.into(),
        Some(_) => failed(java::thrown(&error)),
    }
}

fn failed(message: impl std::fmt::Display) -> Error {
    Error::Told(format!("Executing consumer group command failed due to {message}"))
}

fn check(given: &Given, action: &str) -> Result<(), Error> {
    let grouped = given.has("group") || given.has("all-groups");
    if matches!(action, "describe" | "delete" | "reset-offsets") && !grouped {
        return Err(Error::usage(format!(
            "Option [{action}] takes one of these options: [all-groups], [group]"
        )));
    }
    if action == "delete-offsets" && !(given.has("group") && given.has("topic")) {
        return Err(Error::usage(
            "Option [delete-offsets] takes the following options: [topic], [group]",
        ));
    }
    given.forbid("group", &["all-groups"])?;
    given.forbid("all-topics", &["topic"])?;
    match action {
        "list" => list_only(given),
        "describe" => {
            given.forbid("describe", &["topic", "all-topics", "type", "execute", "export"])
        }
        "delete" => given.forbid("delete", &["topic", "all-topics", "state", "type"]),
        _ => given.forbid(action, &["members", "offsets", "state", "type", "verbose"]),
    }
}

fn list_only(given: &Given) -> Result<(), Error> {
    for other in ["group", "topic", "all-groups", "members", "offsets", "verbose"] {
        given.forbid(other, &["list"])?;
    }
    Ok(())
}

fn validate_regex(given: &Given) -> Result<(), Error> {
    let text = given.value("validate-regex").unwrap_or_default();
    Ok(print(&match regex::Regex::new(text) {
        Ok(_) => format!("The regular expression `{text}` is valid.\n"),
        Err(_) => format!("The regular expression `{text}` is invalid.\n"),
    })?)
}

/// The groups that were named, or all consumer groups.
async fn chosen(admin: &Admin, given: &Given) -> Result<Vec<String>, Error> {
    if given.has("all-groups") {
        return Ok(listed(admin).await?.into_iter().map(|group| group.id).collect());
    }
    Ok(given.values("group").map(str::to_owned).collect())
}

async fn listed(admin: &Admin) -> Result<Vec<GroupListing>, Error> {
    let mut groups = admin.groups().await?;
    // Others are Connect's and their kin; one that only commits has no type at all.
    groups.retain(|group| matches!(group.protocol_type.as_str(), "consumer" | ""));
    Ok(groups)
}

/// What old brokers do not tell is unknown.
fn known(word: &str) -> String {
    java::capitalized(if word.is_empty() { "unknown" } else { word })
}

async fn list(admin: &Admin, given: &Given) -> Result<(), Error> {
    let wanted = |name: &str| -> Vec<String> {
        let words = given.value(name).unwrap_or_default().split(',').map(str::trim);
        words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let (states, types) = (wanted("state"), wanted("type"));
    if states.iter().any(|state| !STATES.iter().any(|known| known.eq_ignore_ascii_case(state))) {
        return Err(Error::usage(format!(
            "Invalid state list '{}'. Valid states are: {}",
            given.value("state").unwrap_or_default(),
            STATES.join(", ")
        )));
    }
    if types.iter().any(|kind| !["classic", "consumer"].contains(&kind.as_str())) {
        return Err(Error::usage(format!(
            "Invalid types list '{}'. Valid types are: Consumer, Classic",
            given.value("type").unwrap_or_default()
        )));
    }
    let mut groups = listed(admin).await?;
    groups.retain(|group| {
        (states.is_empty() || states.contains(&group.state.to_lowercase()))
            && (types.is_empty() || types.contains(&group.kind.to_lowercase()))
    });
    let (with_type, with_state) = (given.has("type"), given.has("state"));
    let mut text = String::new();
    let width = groups.iter().map(|group| group.id.len()).max().unwrap_or(0).max(15) + 10;
    let mut line = |id: &str, kind: &str, state: &str| {
        let mut cells = vec![(id, if with_type || with_state { width } else { 0 })];
        cells.extend(with_type.then_some((kind, 20)));
        cells.extend(with_state.then_some((state, 20)));
        text.push_str(&(java::padded(&cells) + "\n"));
    };
    if with_type || with_state {
        line("GROUP", "TYPE", "STATE");
    }
    for group in &groups {
        line(&group.id, &known(&group.kind), &known(&group.state));
    }
    Ok(print(&text)?)
}

async fn delete(admin: &Admin, given: &Given) -> Result<(), Error> {
    let (mut deleted, mut refused) = (Vec::new(), Vec::new());
    for group in chosen(admin, given).await? {
        match admin.delete_group(&group).await {
            Ok(()) => deleted.push(format!("'{group}'")),
            Err(error) if error.code().is_some() => {
                let thrown = java::thrown(&error);
                refused.push(format!("* Group '{group}' could not be deleted due to: {thrown}\n"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let deleted = deleted.join(", ");
    Ok(print(&match (refused.is_empty(), deleted.is_empty()) {
        (true, _) => {
            format!("Deletion of requested consumer groups ({deleted}) was successful.\n")
        }
        (false, true) => {
            format!("\nError: Deletion of some consumer groups failed:\n{}", refused.concat())
        }
        (false, false) => format!(
            "\nError: Deletion of some consumer groups failed:\n{}\nThese consumer groups were \
             deleted successfully: {deleted}\n",
            refused.concat()
        ),
    })?)
}

async fn delete_offsets(admin: &Admin, given: &Given) -> Result<(), Error> {
    let group = given.required("group")?;
    let mut partitions = Vec::new();
    // Of topics that there are not nothing can be asked, and the others are done all the same.
    let mut missing = Vec::new();
    for topic in given.values("topic") {
        let (topic, numbers) = topic_scope(topic).map_err(Error::usage)?;
        let of = |number| TopicPartition::new(topic.as_str(), number);
        match numbers {
            Some(numbers) => partitions.extend(numbers.into_iter().map(of)),
            None => match admin.describe_topic(&topic).await {
                Ok(found) => partitions.extend(found.partitions.iter().map(|at| of(at.number))),
                Err(error) if error.is_unknown_topic() => missing.push((topic, error)),
                Err(error) => return Err(executing(error)),
            },
        }
    }
    partitions.sort();
    partitions.dedup();
    let (summary, outcomes) = match admin.delete_group_offsets(group, &partitions).await {
        Ok(outcomes) => {
            let worst = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
            let summary = match worst {
                None => format!("Request succeeded for deleting offsets from group {group}.\n"),
                Some(_) => "\nError: Encountered some partition-level error, see the follow-up \
                            details.\n"
                    .to_owned(),
            };
            (summary, outcomes)
        }
        Err(error) => match error.code() {
            None => return Err(error.into()),
            Some(code) => (refusal(group, code, &error), vec![Err(error); partitions.len()]),
        },
    };
    let missing = missing.iter().map(|(topic, error)| (&**topic, None, Some(error)));
    let told = partitions.iter().zip(&outcomes);
    let told = told.map(|(of, outcome)| (&*of.topic, Some(of.partition), outcome.as_ref().err()));
    let mut statuses: Vec<Status<'_>> = missing.chain(told).collect();
    statuses.sort_by_key(|(topic, partition, _)| (*topic, *partition));
    Ok(print(&format!("{summary}{}", shown(&statuses)))?)
}

fn refusal(group: &str, code: ErrorCode, error: &AdminError) -> String {
    let reason = match code {
        ErrorCode::NON_EMPTY_GROUP => format!(
            "Deleting offsets of a consumer group '{group}' is forbidden if the group is not empty."
        ),
        _ => java::message(error),
    };
    format!("\nError: {reason}\n")
}

/// A topic, its partition unless there is no such topic, and what went wrong.
type Status<'a> = (&'a str, Option<i32>, Option<&'a AdminError>);

fn shown(statuses: &[Status<'_>]) -> String {
    let width = statuses.iter().map(|(topic, _, _)| topic.len()).max().unwrap_or(0).max(15);
    let line = |topic: &str, partition: &str, status: &str| {
        format!("\n{}", java::padded(&[(topic, width), (partition, 10), (status, 15)]))
    };
    let mut text = line("TOPIC", "PARTITION", "STATUS");
    for (topic, partition, error) in statuses {
        let status = match error {
            None => "Successful".to_owned(),
            Some(error) => format!("Error: {}", java::thrown(error)),
        };
        let partition = partition.map_or_else(|| "-".to_owned(), |number| number.to_string());
        text.push_str(&line(topic, &partition, &status));
    }
    text.push('\n');
    text
}

/// Ours, for what is no error of the broker's.
fn wrong(message: impl ToString) -> Error {
    Error::Failure(Failure::usage(message))
}
