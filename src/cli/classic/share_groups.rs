//! `kafka-share-groups`.

use std::collections::{BTreeMap, BTreeSet};

use broker::client::admin::Admin;
use broker::client::admin::groups::GroupListing;
use broker::client::admin::shares::{ShareGroupDescription, ShareOffset};
use broker::ids::TopicPartition;
use broker::protocol::ErrorCode;

use super::options::{Given, Tool, flag, maybe, value};
use super::{Error, java};
use crate::cli::Failure;
use crate::cli::groups::reset::{self, ResetTo, Scope, topic_scope};
use crate::cli::groups::time::datetime_ms;
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-share-groups",
    about: "This tool helps to list, describe, reset and delete share groups.",
    example: "kafka-share-groups --describe --group workers",
    options: &[
        flag("all-groups", "All share groups"),
        flag("all-topics", "With --reset-offsets: all topics that the group has"),
        flag("delete", "Delete share groups"),
        flag("delete-offsets", "Forget what a share group has of topics"),
        flag("describe", "Show a share group's offsets, members or state"),
        flag("dry-run", "Only show what a reset would do"),
        flag("execute", "Do the reset"),
        value("group", "GROUP", "The share group; may be repeated"),
        flag("list", "List share groups"),
        flag("members", "With --describe: the members"),
        flag("offsets", "With --describe: the offsets (default)"),
        flag("reset-offsets", "Set where a share group begins anew"),
        maybe(
            "state",
            "STATES",
            "With --describe: the state; with --list: show states, or only groups in these",
        ),
        value("timeout", "MS", "Taken, without effect"),
        value("to-datetime", "TIME", "Reset to a time, such as 2024-05-01T12:30:00.000"),
        flag("to-earliest", "Reset to the first records"),
        flag("to-latest", "Reset to the ends"),
        value("topic", "TOPIC", "A topic; may be repeated"),
        flag("verbose", "With --describe: more columns"),
    ],
};

const ACTIONS: &[&str] = &["list", "describe", "delete", "reset-offsets", "delete-offsets"];
const ONE_ACTION: &str = "Command must include exactly one action: --list, --describe, --delete, \
                          --reset-offsets, --delete-offsets.";
const SCENARIOS: &[&str] = &["to-datetime", "to-earliest", "to-latest"];
const STATES: [&str; 3] = ["Dead", "Empty", "Stable"];
/// Columns are as wide as the widest cell, or at least this.
const WIDTH_MIN: usize = 15;

pub async fn run(given: &Given) -> Result<(), Error> {
    let action = given.one_of(ACTIONS, ONE_ACTION)?;
    check(given, action)?;
    let to = if action == "reset-offsets" { Some(scenario(given)?) } else { None };
    let connection = super::connect(given).await?;
    let admin = &connection.admin;
    let done = match (action, to) {
        ("list", _) => list(admin, given).await,
        ("describe", _) => describe(admin, given).await,
        ("delete", _) => delete(admin, given).await,
        (_, Some(to)) => reset_offsets(admin, given, &to).await,
        (_, None) => delete_offsets(admin, given).await,
    };
    connection.close().await;
    match done {
        Err(Error::Told(message)) => Ok(print(&format!("\nError: {message}\n"))?),
        done => done,
    }
}

fn check(given: &Given, action: &str) -> Result<(), Error> {
    let takes = |what: &str| {
        let message = format!("Option [{action}] takes {what}");
        Err(Error::usage(message))
    };
    let grouped = given.has("group") || given.has("all-groups");
    match action {
        "describe" if !grouped => takes("one of these options: [all-groups], [group]")?,
        "describe" => {
            let ways = ["members", "offsets", "state"];
            if ways.iter().filter(|way| given.has(way)).count() > 1 {
                takes("at most one of these options: [members], [offsets], [state]")?;
            }
            if given.value("state").is_some() {
                let message = "Option [describe] does not take a value for [state]";
                return Err(Error::usage(message));
            }
        }
        "delete" if !grouped => takes("the options [group] or [all-groups]")?,
        "delete" if given.has("topic") => {
            return Err(Error::usage("Option [delete] does not take the option: [topic]"));
        }
        "delete-offsets" if !(given.has("group") && given.has("topic")) => {
            takes("the following options: [topic], [group]")?;
        }
        "reset-offsets" => match (given.has("execute"), given.has("dry-run")) {
            (true, true) => {
                let message = "Option [reset-offsets] only accepts one of [execute] and [dry-run]";
                return Err(Error::usage(message));
            }
            (false, false) => takes("the option: [execute] or [dry-run]")?,
            _ if !given.has("group") => takes("the option: [group]")?,
            _ => {}
        },
        _ => {}
    }
    given.forbid("all-groups", &["group"])?;
    given.forbid("all-topics", &["topic"])?;
    given.forbid("list", &["group", "topic"])?;
    given.forbid("describe", &["topic"])
}

fn scenario(given: &Given) -> Result<ResetTo, Error> {
    let message = "Option [reset-offsets] takes one of these options: [to-datetime], \
                   [to-earliest], [to-latest]";
    Ok(match given.one_of(SCENARIOS, message)? {
        "to-earliest" => ResetTo::Earliest,
        "to-latest" => ResetTo::Latest,
        name => {
            let text = given.value(name).unwrap_or_default();
            let wrong =
                format!("'{text}' is no time; expected one such as 2024-05-01T12:30:00.000");
            let time = datetime_ms(text).ok_or(Error::Failure(Failure::usage(wrong)))?;
            ResetTo::Time(time)
        }
    })
}

async fn listed(admin: &Admin) -> Result<Vec<GroupListing>, Error> {
    let mut groups = admin.groups().await?;
    groups.retain(|group| group.kind.eq_ignore_ascii_case("share"));
    Ok(groups)
}

/// The groups that were named, or all share groups; in order.
async fn chosen(admin: &Admin, given: &Given) -> Result<BTreeSet<String>, Error> {
    if given.has("all-groups") {
        return Ok(listed(admin).await?.into_iter().map(|group| group.id).collect());
    }
    Ok(given.values("group").map(str::to_owned).collect())
}

async fn list(admin: &Admin, given: &Given) -> Result<(), Error> {
    let mut groups = listed(admin).await?;
    if !given.has("state") {
        let lines = groups.iter().map(|group| format!("{}\n", group.id));
        return Ok(print(&lines.collect::<String>())?);
    }
    let text = given.value("state").unwrap_or_default();
    let states = text.split(',').map(str::trim).filter(|state| !state.is_empty());
    let states: Vec<&str> = states.collect();
    let is_known = |state: &&str| STATES.iter().any(|known| known.eq_ignore_ascii_case(state));
    if !states.iter().all(is_known) {
        return Err(Error::usage(format!(
            "Invalid state list '{text}'. Valid states are: {}",
            STATES.join(", ")
        )));
    }
    let is_wanted = |state: &str| states.iter().any(|wanted| wanted.eq_ignore_ascii_case(state));
    groups.retain(|group| states.is_empty() || is_wanted(&group.state));
    let width = width(groups.iter().map(|group| group.id.as_str()));
    let mut text = java::padded(&[("GROUP", width), ("STATE", 0)]) + "\n";
    for group in &groups {
        text.push_str(&(java::padded(&[(&group.id, width), (&group.state, 0)]) + "\n"));
    }
    Ok(print(&text)?)
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Error> {
    let verbose = given.has("verbose");
    for id in chosen(admin, given).await? {
        let group = match admin.share_group(&id).await {
            Ok(group) => group,
            Err(error) if error.code().is_some() => {
                let thrown = java::thrown(&error);
                let message = format!("Executing share group command failed due to {thrown}");
                return Err(Error::Told(message));
            }
            Err(error) => return Err(error.into()),
        };
        if !given.has("members") && !given.has("state") {
            let offsets = admin.share_group_offsets(&id).await?;
            print(&shown_offsets(&id, &offsets, verbose))?;
            continue;
        }
        if group.state == "Empty" {
            eprintln!("\nShare group '{id}' has no active members.");
        }
        if given.has("state") {
            print(&shown_state(&group, verbose))?;
        } else if !group.members.is_empty() {
            print(&shown_members(&group, verbose))?;
        }
    }
    Ok(())
}

fn width<'a>(cells: impl Iterator<Item = &'a str>) -> usize {
    cells.map(str::len).max().unwrap_or(0).max(WIDTH_MIN)
}

fn shown_offsets(
    id: &str,
    offsets: &BTreeMap<TopicPartition, ShareOffset>,
    verbose: bool,
) -> String {
    let widths = [width([id].into_iter()), width(offsets.keys().map(|of| &*of.topic))];
    let line = |[group, topic, partition, epoch, start]: [&str; 5]| {
        let mut cells = vec![(group, widths[0]), (topic, widths[1]), (partition, 10)];
        cells.extend(verbose.then_some((epoch, 13)));
        cells.push((start, 0));
        format!("\n{}", java::padded(&cells))
    };
    let mut text = line(["GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "START-OFFSET"]);
    for (of, offset) in offsets {
        let start = offset.start.map_or("-".to_owned(), |start| start.to_string());
        let epoch = match offset.start {
            Some(_) => offset.leader_epoch.to_string(),
            None => "-".to_owned(),
        };
        text.push_str(&line([id, &of.topic, &of.partition.to_string(), &epoch, &start]));
    }
    text + "\n"
}

fn shown_state(group: &ShareGroupDescription, verbose: bool) -> String {
    let coordinator = format!("{}  ({})", group.coordinator, group.coordinator.id);
    let widths = [width([group.id.as_str()].into_iter()), coordinator.len().max(25)];
    let line = |[id, coordinator, state, epoch, assignment_epoch, count]: [&str; 6]| {
        let mut cells = vec![(id, widths[0]), (coordinator, widths[1]), (state, 15)];
        if verbose {
            cells.extend([(epoch, 12), (assignment_epoch, 17)]);
        }
        cells.push((count, 0));
        format!("\n{}", java::padded(&cells))
    };
    let header =
        ["GROUP", "COORDINATOR (ID)", "STATE", "GROUP-EPOCH", "ASSIGNMENT-EPOCH", "#MEMBERS"];
    let row = [
        &group.id,
        &coordinator,
        &group.state,
        &group.epoch.to_string(),
        &group.assignment_epoch.to_string(),
        &group.members.len().to_string(),
    ];
    line(header) + &line(row.map(String::as_str)) + "\n"
}

fn shown_members(group: &ShareGroupDescription, verbose: bool) -> String {
    let members = &group.members;
    let widths = [
        width([group.id.as_str()].into_iter()),
        width(members.iter().map(|member| member.member_id.as_str())),
        width(members.iter().map(|member| member.host.as_str())),
        width(members.iter().map(|member| member.client_id.as_str())),
    ];
    let line = |[id, member, host, client, count, epoch, assigned]: [&str; 7]| {
        let mut cells = vec![(id, widths[0]), (member, widths[1]), (host, widths[2])];
        cells.extend([(client, widths[3]), (count, 12)]);
        cells.extend(verbose.then_some((epoch, 13)));
        cells.push((assigned, 0));
        format!("\n{}", java::padded(&cells))
    };
    let mut text = line([
        "GROUP",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
        "#PARTITIONS",
        "MEMBER-EPOCH",
        "ASSIGNMENT",
    ]);
    for member in members {
        text.push_str(&line([
            &group.id,
            &member.member_id,
            &member.host,
            &member.client_id,
            &member.assigned.len().to_string(),
            &member.epoch.to_string(),
            &java::assignment(&member.assigned),
        ]));
    }
    text + "\n"
}

async fn delete(admin: &Admin, given: &Given) -> Result<(), Error> {
    let known = listed(admin).await?;
    let (mut deleted, mut refused) = (Vec::new(), Vec::new());
    for id in chosen(admin, given).await? {
        let reason = match known.iter().find(|group| group.id == id) {
            None => Some(format!(
                "java.lang.IllegalArgumentException: Group '{id}' is not a share group."
            )),
            Some(group) if group.state != "Empty" => {
                let thrown = java::exception(ErrorCode::NON_EMPTY_GROUP);
                Some(format!("{thrown}: Share group '{id}' is not EMPTY."))
            }
            Some(_) => match admin.delete_group(&id).await {
                Ok(()) => None,
                Err(error) if error.code().is_some() => Some(java::thrown(&error)),
                Err(error) => return Err(error.into()),
            },
        };
        match reason {
            None => deleted.push(format!("'{id}'")),
            Some(reason) => {
                refused.push(format!("* Group '{id}' could not be deleted due to: {reason}\n"));
            }
        }
    }
    let deleted = deleted.join(", ");
    let failed = format!("\nError: Deletion of some share groups failed:\n{}", refused.concat());
    Ok(print(&match (refused.is_empty(), deleted.is_empty()) {
        (true, _) => format!("Deletion of requested share groups ({deleted}) was successful.\n"),
        (false, true) => failed,
        (false, false) => {
            format!("{failed}\nThese share groups were deleted successfully: {deleted}\n")
        }
    })?)
}

async fn delete_offsets(admin: &Admin, given: &Given) -> Result<(), Error> {
    let id = given.required("group")?;
    let topics: BTreeSet<String> = given.values("topic").map(str::to_owned).collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let mut text = String::new();
    let outcomes = match admin.delete_share_group_offsets(id, &topics).await {
        Ok(outcomes) => outcomes,
        Err(error) if error.code().is_some() => {
            text.push_str(&format!("\nError: {}\n", java::message(&error)));
            vec![Err(error); topics.len()]
        }
        Err(error) => return Err(error.into()),
    };
    let width = width(topics.iter().map(String::as_str));
    text.push_str(&format!("\n{}", java::padded(&[("TOPIC", width), ("STATUS", 0)])));
    for (topic, outcome) in topics.iter().zip(&outcomes) {
        let status = match outcome {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", java::message(error)),
        };
        text.push_str(&format!("\n{}", java::padded(&[(topic, width), (&status, 0)])));
    }
    Ok(print(&(text + "\n"))?)
}

async fn reset_offsets(admin: &Admin, given: &Given, to: &ResetTo) -> Result<(), Error> {
    let id = given.required("group")?;
    let group = admin.share_group(id).await.map_err(|error| match error.code() {
        Some(_) => Error::Told(java::message(&error)),
        None => error.into(),
    })?;
    if group.state != "Empty" {
        return Err(Error::Told(format!(
            "Share group '{id}' is not empty: its offsets can be reset once its members are gone."
        )));
    }
    let topics: Vec<&str> = given.values("topic").collect();
    let partitions: Vec<TopicPartition> = match (topics.is_empty(), given.has("all-topics")) {
        (true, true) => admin.share_group_offsets(id).await?.into_keys().collect(),
        (true, false) => {
            let message =
                "Option [reset-offsets] takes one of these options: [all-topics], [topic]";
            return Err(Error::usage(message));
        }
        _ => {
            let scopes = topics.into_iter().map(topic_scope).collect::<Result<_, _>>();
            let scope = Scope::Topics(scopes.map_err(Error::usage)?);
            reset::partitions(admin, id, &scope).await?
        }
    };
    let plan = reset::plan(admin, id, &partitions, to).await?;
    if given.has("execute") {
        admin.set_share_group_offsets(id, &plan.offsets).await?;
    }
    let line = |group: &str, topic: &str, partition: &str, offset: &str| {
        let cells = [(group, 30), (topic, 30), (partition, 10), (offset, 15)];
        format!("\n{}", java::padded(&cells))
    };
    let mut text = line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
    for (of, offset) in &plan.offsets {
        text.push_str(&line(id, &of.topic, &of.partition.to_string(), &offset.to_string()));
    }
    Ok(print(&(text + "\n"))?)
}
