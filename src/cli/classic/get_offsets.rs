//! `kafka-get-offsets`.

use broker::client::Isolation;
use broker::client::admin::Admin;
use broker::client::admin::offsets::OffsetAt;
use broker::ids::TopicPartition;

use super::options::{Given, Tool, flag, value};
use super::{Error, java};
use crate::cli::patterns::Pattern;
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-get-offsets",
    about: "An interactive shell for getting topic-partition offsets.",
    example: "kafka-get-offsets --topic orders --time earliest",
    options: &[
        value("broker-list", "HOST:PORT", "The old name of --bootstrap-server"),
        flag("exclude-internal-topics", "Leave internal topics out"),
        value("partitions", "IDS", "Only these partitions, with commas between"),
        value(
            "time",
            "TIME",
            "A timestamp in ms, -1 or latest (default), -2 or earliest, -3 or \
               max-timestamp, -4 or earliest-local, -5 or latest-tiered",
        ),
        value("topic", "REGEX", "Topics whose whole name matches; else all"),
        value(
            "topic-partitions",
            "LIST",
            "TOPIC:PARTITION with commas between, where PARTITION \
               is one, FROM-TO (TO left out of it), FROM- or -TO, or nothing",
        ),
    ],
};

/// An error as this command tells it.
fn occurred(message: impl std::fmt::Display) -> Error {
    Error::usage(format!("Error occurred: {message}"))
}

/// Which partitions are asked for.
struct Filter {
    topic: Option<Pattern>,
    partitions: Partitions,
}

enum Partitions {
    All,
    Only(Vec<i32>),
    /// From this one to before that one.
    Between(i32, i32),
}

impl Filter {
    fn matches(&self, of: &TopicPartition) -> bool {
        self.topic.as_ref().is_none_or(|topic| topic.matches(&of.topic))
            && match &self.partitions {
                Partitions::All => true,
                Partitions::Only(numbers) => numbers.contains(&of.partition),
                Partitions::Between(from, to) => (*from..*to).contains(&of.partition),
            }
    }
}

pub async fn run(given: &Given) -> Result<(), Error> {
    let at = time(given.value("time").unwrap_or("latest"))?;
    let filters = filters(given)?;
    let connection = super::connect(given).await?;
    let done = show(&connection.admin, given, at, &filters).await;
    connection.close().await;
    done
}

async fn show(admin: &Admin, given: &Given, at: OffsetAt, filters: &[Filter]) -> Result<(), Error> {
    let hidden = given.has("exclude-internal-topics");
    let names = admin.topic_names().await?;
    let names: Vec<&str> = names
        .iter()
        .filter(|(_, internal)| !(hidden && *internal))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut wanted = Vec::new();
    for topic in admin.describe_topics(&names).await? {
        let of = |number| TopicPartition::new(topic.name.as_str(), number);
        let all = topic.partitions.iter().map(|partition| of(partition.number));
        wanted.extend(all.filter(|of| filters.iter().any(|filter| filter.matches(of))));
    }
    if wanted.is_empty() {
        return Err(occurred("Could not match any topic-partitions with the specified filters"));
    }
    let found = admin.list_offsets(&wanted, at, Isolation::ReadUncommitted).await?;
    let mut text = String::new();
    for (of, offset) in wanted.iter().zip(found) {
        match offset {
            Ok(Some(offset)) => text.push_str(&format!("{}:{}:{offset}\n", of.topic, of.partition)),
            Ok(None) => {}
            Err(error) => {
                let thrown = java::thrown(&error);
                eprintln!("Skip getting offsets for topic-partition {of} due to error: {thrown}");
            }
        }
    }
    Ok(print(&text)?)
}

fn time(text: &str) -> Result<OffsetAt, Error> {
    match text {
        "latest" | "-1" => Ok(OffsetAt::Latest),
        "earliest" | "-2" => Ok(OffsetAt::Earliest),
        "max-timestamp" | "-3" => Ok(OffsetAt::MaxTimestamp),
        "earliest-local" | "-4" => Ok(OffsetAt::EarliestLocal),
        "latest-tiered" | "-5" => Ok(OffsetAt::LatestTiered),
        text => text.parse().map(OffsetAt::Time).map_err(|_| {
            occurred(format!(
                "Malformed time argument {text}. Please use -1 or latest / -2 or earliest / -3 or \
                 max-timestamp / -4 or earliest-local / -5 or latest-tiered, or a specified long \
                 format timestamp"
            ))
        }),
    }
}

fn filters(given: &Given) -> Result<Vec<Filter>, Error> {
    if let Some(list) = given.value("topic-partitions") {
        if given.has("topic") || given.has("partitions") {
            return Err(occurred("--topic-partitions cannot be used with --topic or --partitions"));
        }
        return list.split(',').map(filter).collect();
    }
    let topic = given.value("topic").map(Pattern::new).transpose()?;
    let number = |text: &str| {
        text.trim().parse().map_err(|_| {
            occurred(format!(
                "--partitions expects a comma separated list of numeric partition ids, but \
                 received: {}",
                given.value("partitions").unwrap_or_default()
            ))
        })
    };
    let partitions = match given.value("partitions") {
        Some(list) => Partitions::Only(list.split(',').map(number).collect::<Result<_, _>>()?),
        None => Partitions::All,
    };
    Ok(vec![Filter { topic, partitions }])
}

fn filter(rule: &str) -> Result<Filter, Error> {
    let invalid = || occurred(format!("Invalid rule specification: {rule}"));
    let (topic, partitions) = rule.split_once(':').unwrap_or((rule, ""));
    let topic = if topic.is_empty() { None } else { Some(Pattern::new(topic)?) };
    let number = |text: &str, default: i32| match text {
        "" => Ok(default),
        text => text.parse().map_err(|_| invalid()),
    };
    let partitions = match partitions.split_once('-') {
        Some((from, to)) => Partitions::Between(number(from, 0)?, number(to, i32::MAX)?),
        None if partitions.is_empty() => Partitions::All,
        None => Partitions::Only(vec![number(partitions, 0)?]),
    };
    Ok(Filter { topic, partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_name_topics_and_partitions() {
        let matches = |rule: &str, topic: &str, partition: i32| {
            filter(rule).unwrap().matches(&TopicPartition::new(topic, partition))
        };
        assert!(matches("t", "t", 7) && !matches("t", "u", 7));
        assert!(matches("t.*:1", "t2", 1) && !matches("t.*:1", "t2", 2));
        assert!(matches("t:1-3", "t", 2) && !matches("t:1-3", "t", 3));
        assert!(matches("t:2-", "t", 9) && !matches("t:2-", "t", 1));
        assert!(matches(":-2", "any", 1) && !matches(":-2", "any", 2));
        assert!(filter("t:x").is_err() && filter("t:1-x").is_err());
    }
}
