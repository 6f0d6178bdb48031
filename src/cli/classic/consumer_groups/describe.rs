//! `kafka-consumer-groups --describe`.

use broker::client::admin::Admin;
use broker::client::admin::groups::{GroupDescription, MemberDescription};

use super::{chosen, executing};
use crate::cli::classic::options::Given;
use crate::cli::classic::{Error, java};
use crate::cli::groups::lag::{Progress, progress};
use crate::cli::stdout::print;

pub async fn describe(admin: &Admin, given: &Given) -> Result<(), Error> {
    let verbose = given.has("verbose");
    let mut names = chosen(admin, given).await?;
    names.sort();
    for name in names {
        let group = admin.group(&name).await.map_err(executing)?;
        if !tell_state(&group)? {
            continue;
        }
        let text = match (given.has("members"), given.has("state")) {
            (true, _) => members(&group, verbose),
            (_, true) => state(&group, verbose),
            _ => offsets(&group, &progress(admin, &group).await.map_err(executing)?, verbose),
        };
        print(&text)?;
    }
    Ok(())
}

/// Tells what is remarkable about the group's state; whether there is more to show.
fn tell_state(group: &GroupDescription) -> Result<bool, Error> {
    let id = &group.id;
    match group.state.as_str() {
        "Dead" => print(&format!("\nError: Consumer group '{id}' does not exist.\n"))?,
        "Empty" => eprintln!("\nConsumer group '{id}' has no active members."),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            eprintln!("\nWarning: Consumer group '{id}' is rebalancing.");
        }
        _ => {}
    }
    Ok(group.state != "Dead")
}

/// As wide as the longest, but at least so wide.
fn width<'a>(texts: impl Iterator<Item = &'a str>, least: usize) -> usize {
    texts.map(str::len).max().unwrap_or(0).max(least)
}

fn known<T: ToString>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

fn offsets(group: &GroupDescription, rows: &[Progress], verbose: bool) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let members = || rows.iter().filter_map(|row| row.member.as_ref());
    let topics = rows.iter().filter_map(|row| row.partition.as_ref()).map(|of| &*of.topic);
    let widths = [
        width([group.id.as_str()].into_iter(), 15),
        width(topics, 15),
        width(members().map(|member| member.member_id.as_str()), 15),
        width(members().map(|member| member.host.as_str()), 15),
    ];
    let line = |cells: [&str; 10]| {
        let [group, topic, partition, epoch, current, end, lag, member, host, client] = cells;
        let mut padded = vec![(group, widths[0]), (topic, widths[1]), (partition, 10)];
        padded.extend(verbose.then_some((epoch, 15)));
        padded.extend([(current, 15), (end, 15), (lag, 15)]);
        padded.extend([(member, widths[2]), (host, widths[3]), (client, 0)]);
        format!("\n{}", java::padded(&padded))
    };
    let mut text = line([
        "GROUP",
        "TOPIC",
        "PARTITION",
        "LEADER-EPOCH",
        "CURRENT-OFFSET",
        "LOG-END-OFFSET",
        "LAG",
        "CONSUMER-ID",
        "HOST",
        "CLIENT-ID",
    ]);
    for row in rows {
        let of = row.partition.as_ref();
        let member = row.member.as_ref();
        text.push_str(&line([
            &group.id,
            &known(of.map(|of| of.topic.as_ref())),
            &known(of.map(|of| of.partition)),
            &known(row.leader_epoch),
            &known(row.committed),
            &known(row.end),
            &known(row.lag()),
            &known(member.map(|member| member.member_id.as_str())),
            &known(member.map(|member| member.host.as_str())),
            &known(member.map(|member| member.client_id.as_str())),
        ]));
    }
    text.push('\n');
    text
}

fn members(group: &GroupDescription, verbose: bool) -> String {
    let all = &group.members;
    let instances = all.iter().any(|member| member.instance_id.is_some());
    let widths = [
        width([group.id.as_str()].into_iter(), 15),
        width(all.iter().map(|member| member.member_id.as_str()), 15),
        width(all.iter().filter_map(|member| member.instance_id.as_deref()), 17),
        width(all.iter().map(|member| member.host.as_str()), 15),
        width(all.iter().map(|member| member.client_id.as_str()), 15),
    ];
    let assigned: Vec<String> =
        all.iter().map(|member| java::assignment(&member.assigned)).collect();
    let target = |member: &MemberDescription| {
        member.target.as_ref().map_or("-".to_owned(), |target| java::assignment(&target.assigned))
    };
    let targets: Vec<String> = all.iter().map(target).collect();
    let assigned_width = width(assigned.iter().map(String::as_str), 20);
    let targets_width = width(targets.iter().map(String::as_str), 20);
    let line = |cells: [&str; 10]| {
        let [group, member, instance, host, client, count, epoch, now, target_epoch, target] =
            cells;
        let mut padded = vec![(group, widths[0]), (member, widths[1])];
        padded.extend(instances.then_some((instance, widths[2])));
        padded.extend([(host, widths[3]), (client, widths[4]), (count, 15)]);
        if verbose {
            padded.extend([(epoch, 15), (now, assigned_width)]);
            padded.extend([(target_epoch, 15), (target, targets_width)]);
        }
        // Java's format ends with a blank, but not with more columns behind it.
        java::padded(&padded) + if verbose { "\n" } else { " \n" }
    };
    let mut text = "\n".to_owned();
    text.push_str(&line([
        "GROUP",
        "CONSUMER-ID",
        "GROUP-INSTANCE-ID",
        "HOST",
        "CLIENT-ID",
        "#PARTITIONS",
        "CURRENT-EPOCH",
        "CURRENT-ASSIGNMENT",
        "TARGET-EPOCH",
        "TARGET-ASSIGNMENT",
    ]));
    let target_epoch = known(group.epochs.map(|epochs| epochs.target));
    for ((member, assigned), target) in all.iter().zip(&assigned).zip(&targets) {
        text.push_str(&line([
            &group.id,
            &member.member_id,
            member.instance_id.as_deref().unwrap_or_default(),
            &member.host,
            &member.client_id,
            &member.assigned.len().to_string(),
            &known(member.target.as_ref().map(|target| target.epoch)),
            assigned,
            &target_epoch,
            target,
        ]));
    }
    text
}

fn state(group: &GroupDescription, verbose: bool) -> String {
    let coordinator = format!("{}  ({})", group.coordinator, group.coordinator.id);
    let widths = [width([group.id.as_str()].into_iter(), 15), coordinator.len().max(25)];
    let line = |cells: [&str; 7]| {
        let [group, coordinator, strategy, state, epoch, target_epoch, count] = cells;
        let mut padded = vec![(group, widths[0]), (coordinator, widths[1])];
        padded.extend([(strategy, 20), (state, 20)]);
        if verbose {
            padded.extend([(epoch, 15), (target_epoch, 25)]);
        }
        padded.push((count, 0));
        format!("\n{}", java::padded(&padded))
    };
    let assignor = if group.assignor.is_empty() { "-" } else { &group.assignor };
    let mut text = line([
        "GROUP",
        "COORDINATOR (ID)",
        "ASSIGNMENT-STRATEGY",
        "STATE",
        "GROUP-EPOCH",
        "TARGET-ASSIGNMENT-EPOCH",
        "#MEMBERS",
    ]);
    let count = group.members.len().to_string();
    let epoch = known(group.epochs.map(|epochs| epochs.group));
    let target_epoch = known(group.epochs.map(|epochs| epochs.target));
    let cells = [&group.id, &coordinator, assignor, &group.state, &epoch, &target_epoch, &count];
    text.push_str(&line(cells));
    text.push('\n');
    text
}
