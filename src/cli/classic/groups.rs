//! `kafka-groups`.

use broker::client::admin::groups::GroupListing;

use super::options::{Given, Tool, flag, value};
use super::{Error, java};
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-groups",
    about: "This tool helps to list groups of all types.",
    example: "kafka-groups --list --consumer",
    options: &[
        flag("consumer", "Only consumer groups of all kinds, those that only commit included"),
        value("group-type", "TYPE", "Only groups of this type: classic, consumer, share, streams"),
        flag("list", "List groups"),
        value("protocol", "NAME", "Only groups of this protocol, such as consumer or connect"),
        flag("share", "Only share groups"),
        flag("streams", "Only streams groups"),
    ],
};

const TYPES: [&str; 4] = ["classic", "consumer", "share", "streams"];
/// Cells are as wide as the widest of all, or at least this.
const WIDTH_MIN: usize = 20;

pub async fn run(given: &Given) -> Result<(), Error> {
    check(given)?;
    let connection = super::connect(given).await?;
    let listed = connection.admin.groups().await;
    connection.close().await;
    let mut groups = listed?;
    groups.retain(|group| is_wanted(given, group));
    Ok(print(&lines(&groups))?)
}

fn check(given: &Given) -> Result<(), Error> {
    given.one_of(&["list"], "Command must include exactly one action: --list.")?;
    let kind = given.value("group-type").map(str::to_lowercase);
    if kind.is_some_and(|kind| !TYPES.contains(&kind.as_str())) {
        return Err(Error::usage("--group-type must be a valid group type."));
    }
    for (one, others) in [
        ("consumer", ["group-type", "protocol", "share", "streams"]),
        ("share", ["consumer", "group-type", "protocol", "streams"]),
        ("streams", ["consumer", "group-type", "protocol", "share"]),
    ] {
        for other in others {
            given.forbid(other, &[one])?;
        }
    }
    Ok(())
}

fn is_wanted(given: &Given, group: &GroupListing) -> bool {
    let is_of = |kind: &str| group.kind.eq_ignore_ascii_case(kind);
    let protocol = group.protocol_type.as_str();
    if given.has("consumer") {
        return matches!(protocol, "consumer" | "") || is_of("consumer");
    }
    (!given.has("share") || is_of("share"))
        && (!given.has("streams") || is_of("streams"))
        && given.value("group-type").is_none_or(is_of)
        && given.value("protocol").is_none_or(|wanted| wanted == protocol)
}

fn lines(groups: &[GroupListing]) -> String {
    let row = |group: &GroupListing| {
        [group.id.clone(), java::capitalized(&group.kind), group.protocol_type.clone()]
    };
    let rows: Vec<[String; 3]> = groups.iter().map(row).collect();
    let cells = rows.iter().flatten().map(|cell| cell.chars().count());
    let width = cells.max().unwrap_or(0).max(WIDTH_MIN);
    let header = ["GROUP", "TYPE", "PROTOCOL"].map(|name| (name, width));
    let mut text = java::padded(&header) + "\n";
    for row in &rows {
        let cells: Vec<(&str, usize)> = row.iter().map(|cell| (cell.as_str(), width)).collect();
        text.push_str(&(java::padded(&cells) + " \n"));
    }
    text
}
