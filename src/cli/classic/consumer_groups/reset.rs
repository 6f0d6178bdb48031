//! `kafka-consumer-groups --reset-offsets`.

use std::collections::{BTreeMap, BTreeSet};

use broker::client::admin::Admin;
use broker::durations::iso_ms;
use broker::ids::{Offset, TopicPartition};

use super::{chosen, executing, failed, wrong};
use crate::cli::Failure;
use crate::cli::classic::options::Given;
use crate::cli::classic::{Error, java};
use crate::cli::groups::reset::{self, ResetTo, Scope};
use crate::cli::groups::time::datetime_ms;
use crate::cli::stdout::print;

const TO: [&str; 8] = [
    "to-offset",
    "to-current",
    "to-datetime",
    "from-file",
    "by-duration",
    "to-earliest",
    "to-latest",
    "shift-by",
];
const NOT_EXECUTED: &str = "WARN: No action will be performed as the --execute option is missing. In a future major \
     release, the default behavior of this command will be to prompt the user before executing the \
     reset rather than doing a dry run. You should add the --dry-run option explicitly if you are \
     scripting this command and want to keep the current default behavior without prompting.";

/// A reset as it was asked for.
#[derive(Debug)]
pub struct Reset {
    to: To,
    scope: Scope,
    execute: bool,
    export: bool,
}

#[derive(Debug)]
enum To {
    Known(ResetTo),
    /// By group.
    Each(BTreeMap<String, BTreeMap<TopicPartition, i64>>),
}

/// Where a group shall go on, by partition.
type Offsets = Vec<(TopicPartition, Offset)>;

impl Reset {
    pub fn new(given: &Given) -> Result<Reset, Error> {
        let (execute, dry_run) = (given.has("execute"), given.has("dry-run"));
        if execute && dry_run {
            return Err(Error::usage(
                "Option [reset-offsets] only accepts one of [execute] and [dry-run]",
            ));
        }
        if !execute && !dry_run {
            eprintln!("{NOT_EXECUTED}");
        }
        let scenarios: Vec<&str> = TO.into_iter().filter(|name| given.has(name)).collect();
        let scenario = match scenarios.as_slice() {
            [one] => *one,
            [] => {
                let all: Vec<String> = TO.iter().map(|name| format!("[{name}]")).collect();
                return Err(Error::usage(format!(
                    "Option '[reset-offsets]' requires one of the following scenarios: [{}]",
                    all.join(", ")
                )));
            }
            [one, other, ..] => {
                return Err(Error::usage(format!(
                    "Option \"[{other}]\" can't be used with option \"[{one}]\""
                )));
            }
        };
        let to = to(given, scenario)?;
        let mut topics: Vec<(String, Option<BTreeSet<i32>>)> = Vec::new();
        for topic in given.values("topic") {
            topics.push(reset::topic_scope(topic).map_err(wrong)?);
        }
        let scope = match (topics.is_empty(), given.has("all-topics")) {
            (false, _) => Scope::Topics(topics),
            (true, true) => Scope::Committed,
            (true, false) if matches!(to, To::Each(_)) => Scope::Committed,
            (true, false) => {
                return Err(Error::usage(
                    "One of the reset scopes should be defined: --all-topics, --topic.",
                ));
            }
        };
        Ok(Reset { to, scope, execute, export: given.has("export") })
    }

    pub async fn run(&self, admin: &Admin, given: &Given) -> Result<(), Error> {
        let groups = chosen(admin, given).await?;
        let mut plans: Vec<(String, Offsets)> = Vec::new();
        for group in &groups {
            plans.push((group.clone(), self.reset(admin, group).await?));
        }
        if self.export {
            // With one group its name goes without saying.
            let one = groups.len() == 1;
            let mut text = String::new();
            for (group, offsets) in &plans {
                for (of, offset) in offsets {
                    let group = if one { String::new() } else { format!("{group},") };
                    text.push_str(&format!("{group}{},{},{offset}\n", of.topic, of.partition));
                }
            }
            return Ok(print(&(text + "\n"))?);
        }
        let mut text = String::new();
        let mut line = |group: &str, topic: &str, partition: &str, offset: &str| {
            let cells = [(group, 30), (topic, 30), (partition, 10), (offset, 15)];
            text.push_str(&format!("\n{}", java::padded(&cells)));
        };
        if !plans.is_empty() {
            line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET");
        }
        for (group, offsets) in &plans {
            for (of, offset) in offsets {
                line(group, &of.topic, &of.partition.to_string(), &offset.to_string());
            }
        }
        Ok(print(&(text + "\n"))?)
    }

    /// Works out and, if so asked, sets where one group goes on.
    async fn reset(&self, admin: &Admin, group: &str) -> Result<Offsets, Error> {
        // A group that does not exist comes into being with its first offset.
        let state = admin.group(group).await.map_or("Dead".to_owned(), |found| found.state);
        if !matches!(state.as_str(), "Empty" | "Dead") {
            print(&format!(
                "\nError: Assignments can only be reset if the group '{group}' is inactive, but \
                 the current state is {state}.\n"
            ))?;
            return Ok(Vec::new());
        }
        let told = |failure: Failure| match failure {
            Failure::Running { message, .. } => failed(message),
            Failure::Usage { message, .. } => Error::usage(message),
            failure => Error::Failure(failure),
        };
        let (to, partitions) = match &self.to {
            To::Known(to) => {
                let scope = reset::partitions(admin, group, &self.scope).await.map_err(told)?;
                (to.clone(), scope)
            }
            To::Each(groups) => {
                let offsets = groups.get(group).cloned().unwrap_or_default();
                let partitions = offsets.keys().cloned().collect();
                (ResetTo::Each(offsets), partitions)
            }
        };
        let plan = reset::plan(admin, group, &partitions, &to).await.map_err(told)?;
        for moved in &plan.moved {
            eprintln!("{moved}");
        }
        for of in &plan.without_time {
            print(&format!(
                "\nWarn: Partition {} from topic {} is empty. Falling back to latest known \
                 offset.\n",
                of.partition, of.topic
            ))?;
        }
        if self.execute {
            admin.set_group_offsets(group, &plan.offsets).await.map_err(executing)?;
        }
        Ok(plan.offsets)
    }
}

fn to(given: &Given, scenario: &str) -> Result<To, Error> {
    Ok(To::Known(match scenario {
        "to-earliest" => ResetTo::Earliest,
        "to-latest" => ResetTo::Latest,
        "to-current" => ResetTo::Current,
        "to-offset" => ResetTo::Offset(given.parsed(scenario)?.unwrap_or_default()),
        "shift-by" => ResetTo::Shift(given.parsed(scenario)?.unwrap_or_default()),
        "to-datetime" => {
            let text = given.value(scenario).unwrap_or_default();
            let wrong = || {
                wrong(format!("'{text}' is no time; expected one such as 2024-05-01T12:30:00.000"))
            };
            ResetTo::Time(datetime_ms(text).ok_or_else(wrong)?)
        }
        "by-duration" => {
            let text = given.value(scenario).unwrap_or_default();
            let wrong = || wrong(format!("'{text}' is no duration; expected one such as PT1H30M"));
            let ago = iso_ms(text).ok_or_else(wrong)?;
            ResetTo::Time(broker::broker::now_ms().saturating_sub(ago))
        }
        _ => return from_file(given),
    }))
}

fn from_file(given: &Given) -> Result<To, Error> {
    let path = given.value("from-file").unwrap_or_default();
    let text = std::fs::read_to_string(path).map_err(|error| wrong(format!("{path}: {error}")))?;
    let groups: Vec<&str> = given.values("group").collect();
    let only = if groups.len() == 1 { Some(groups[0]) } else { None };
    let offsets = reset::from_csv(&text, only);
    Ok(To::Each(offsets.map_err(|reason| wrong(format!("{path}: {reason}")))?))
}
