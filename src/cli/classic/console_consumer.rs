//! `kafka-console-consumer`.

use std::time::Duration;

use broker::client::{Client, Isolation, WithoutOffset};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::options::{Given, Tool, flag, value};
use super::{Error, properties};
use crate::cli::connection;
use crate::cli::consume::print::{BytesAs, Format, Printer};
use crate::cli::consume::{Ended, Origin, Reading, Start, matching, read};
use crate::cli::patterns::Pattern;
use crate::cli::properties::Properties;
use crate::cli::{Failure, stopped, unless_stopped};

pub const TOOL: Tool = Tool {
    name: "kafka-console-consumer",
    about: "This tool helps to read data from Kafka topics and outputs it to standard output.",
    example: "kafka-console-consumer --topic orders --from-beginning --property print.key=true",
    options: &[
        value("broker-list", "HOST:PORT", "The old name of --bootstrap-server"),
        value("consumer-property", "KEY=VALUE", "A consumer's property; may be repeated"),
        value("command-property", "KEY=VALUE", "The same"),
        value("consumer.config", "FILE", "A file of consumer's properties"),
        flag("enable-systest-events", "Print when the consumer ends"),
        value(
            "formatter",
            "CLASS",
            "DefaultMessageFormatter, LoggingMessageFormatter or \
               NoOpMessageFormatter",
        ),
        value("formatter-config", "FILE", "A file of the formatter's properties"),
        value("formatter-property", "KEY=VALUE", "As --property"),
        flag("from-beginning", "Start with the first record, where the group has committed none"),
        value("group", "GROUP", "Read as a member of this group; else alone"),
        value("include", "REGEX", "Topics whose whole name matches this"),
        value("isolation-level", "LEVEL", "read_committed or read_uncommitted (default)"),
        value("key-deserializer", "CLASS", "Of keys that are numbers, such as LongDeserializer"),
        value("max-messages", "N", "End after so many records"),
        value("offset", "OFFSET", "Start at this offset, or at earliest or latest"),
        value("partition", "N", "Read this partition alone"),
        value(
            "property",
            "KEY=VALUE",
            "What is printed: print.key, print.value, print.timestamp, \
               print.partition, print.offset, print.headers, key.separator and their kin",
        ),
        flag("skip-message-on-error", "Taken, without effect"),
        value("timeout-ms", "MS", "End if no record comes for so long"),
        value("topic", "TOPIC", "The topic"),
        value("value-deserializer", "CLASS", "As --key-deserializer, of values"),
        value("whitelist", "REGEX", "The old name of --include"),
    ],
};

/// How often to look whether a topic has come into being.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_millis(200);

pub async fn run(given: &Given, stop: CancellationToken) -> Result<(), Error> {
    let pairs = ["consumer-property", "command-property"];
    let consumer = properties(given, "consumer.config", &pairs)?;
    let pairs = ["property", "formatter-property"];
    let printer = printer(given, &properties(given, "formatter-config", &pairs)?)?;
    let pattern = given.value("include").or_else(|| given.value("whitelist"));
    if given.has("topic") == pattern.is_some() {
        return Err(Error::usage("Exactly one of --include/--topic is required. "));
    }
    let from = from(given, &consumer)?;
    let mut reading = Reading {
        topics: Vec::new(),
        include: pattern.map(Pattern::new).transpose()?,
        from,
        isolation: isolation(given, &consumer)?,
        max_messages: given.parsed("max-messages")?,
        idle_timeout: given.parsed("timeout-ms")?.map(Duration::from_millis),
        until_end: false,
    };
    let broker = super::broker_of_client(given, &consumer)?;
    let connection = unless_stopped(&stop, connection::open(&broker)).await?;
    let client = connection.client.as_ref();
    let done = async {
        let waiting = match (given.value("topic"), &reading.include) {
            (Some(topic), _) => wait_for(client, &reading, &stop, Wanted::Topic(topic)).await?,
            (None, Some(pattern)) => {
                wait_for(client, &reading, &stop, Wanted::Matching(pattern)).await?
            }
            (None, None) => None,
        };
        match waiting {
            Some(topics) => reading.topics = topics,
            None => {
                let stopped = stop.is_cancelled();
                return Ok(Ended { records: 0, idle: !stopped, stopped });
            }
        }
        read(client, &reading, &printer, stop.clone()).await
    };
    let done = done.await;
    connection.close().await;
    if given.has("enable-systest-events") {
        println!("shutdown_complete");
    }
    let ended = done?;
    eprintln!("Processed a total of {} messages", ended.records);
    match ended.stopped {
        true => Err(stopped().into()),
        false => Ok(()),
    }
}

/// What is waited for.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    Topic(&'a str),
    Matching(&'a Pattern),
}

/// The topics that are wanted, once there is one; it is waited for as long as records would be.
async fn wait_for(
    client: &dyn Client,
    reading: &Reading,
    stop: &CancellationToken,
    wanted: Wanted<'_>,
) -> Result<Option<Vec<String>>, Failure> {
    let deadline = reading.idle_timeout.map(|timeout| Instant::now() + timeout);
    let mut told = false;
    loop {
        let found = match wanted {
            Wanted::Topic(topic) => {
                let there = client.topic(topic).await?;
                there.map(|_| topic.to_owned()).into_iter().collect()
            }
            Wanted::Matching(pattern) => matching(client, pattern).await?,
        };
        if !found.is_empty() {
            return Ok(Some(found));
        }
        if !told {
            eprintln!(
                "{}; waiting for it",
                match wanted {
                    Wanted::Topic(topic) => format!("topic '{topic}' does not exist yet"),
                    Wanted::Matching(pattern) => format!("no topic matches '{pattern}' yet"),
                }
            );
            told = true;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(None);
        }
        // No broker tells when a topic has been created.
        let pause = tokio::time::sleep(TOPIC_CHECK_INTERVAL);
        if stop.run_until_cancelled(pause).await.is_none() {
            return Ok(None);
        }
    }
}

fn isolation(given: &Given, consumer: &Properties) -> Result<Isolation, Error> {
    let set = consumer.get("isolation.level").map(String::as_str);
    match given.value("isolation-level").or(set).unwrap_or("read_uncommitted") {
        "read_committed" => Ok(Isolation::ReadCommitted),
        "read_uncommitted" => Ok(Isolation::ReadUncommitted),
        other => Err(Error::usage(format!(
            "org.apache.kafka.common.config.ConfigException: Invalid value {other} for \
             configuration isolation.level: String must be one of: read_committed, read_uncommitted"
        ))),
    }
}

fn from(given: &Given, consumer: &Properties) -> Result<Origin, Error> {
    let reset = consumer.get("auto.offset.reset").map(String::as_str);
    let beginning = given.has("from-beginning");
    if beginning && reset.is_some_and(|reset| reset != "earliest") {
        return Err(Error::usage(format!(
            "Can't simultaneously specify --from-beginning and 'auto.offset.reset={}', please \
             remove one option",
            reset.unwrap_or_default()
        )));
    }
    if reset == Some("none") && group(given, consumer)?.is_none() {
        return Err(Error::usage(
            "org.apache.kafka.clients.consumer.NoOffsetForPartitionException: Undefined offset with \
             no reset policy: auto.offset.reset=none needs a --group that has committed offsets",
        ));
    }
    let earliest = beginning || reset == Some("earliest");
    let partition = given.parsed::<i32>("partition")?;
    let start = start(given, earliest, partition.is_some())?;
    match group(given, consumer)? {
        Some(_) if partition.is_some() => {
            Err(Error::usage("Options group and partition cannot be specified together."))
        }
        Some(group) => Ok(Origin::Group {
            group,
            without_offset: match earliest {
                true => WithoutOffset::Earliest,
                false => WithoutOffset::Latest,
            },
            commit: consumer.get("enable.auto.commit").is_none_or(|commit| commit != "false"),
        }),
        None => Ok(Origin::Partitions { only: partition, start }),
    }
}

fn start(given: &Given, earliest: bool, has_partition: bool) -> Result<Start, Error> {
    let Some(offset) = given.value("offset") else {
        return Ok(if earliest { Start::Earliest } else { Start::Latest });
    };
    if !has_partition {
        return Err(Error::usage("The partition is required when offset is specified."));
    }
    if given.has("from-beginning") {
        return Err(Error::usage(
            "Options from-beginning and offset cannot be specified together.",
        ));
    }
    offset.to_lowercase().parse().map_err(|_| {
        Error::usage(format!(
            "The provided offset value '{offset}' is incorrect. Valid values are 'earliest', \
             'latest', or a non-negative long."
        ))
    })
}

fn group(given: &Given, consumer: &Properties) -> Result<Option<String>, Error> {
    let (option, property) = (given.value("group"), consumer.get("group.id"));
    match (option, property) {
        (Some(option), Some(property)) if option != property => Err(Error::usage(format!(
            "The group ids provided in different places (directly using '--group', via \
             '--consumer-property', or via '--consumer.config') do not match. Detected group ids: \
             '{option}', '{property}'"
        ))),
        (option, property) => Ok(option.map(str::to_owned).or_else(|| property.cloned())),
    }
}

fn printer(given: &Given, properties: &Properties) -> Result<Printer, Error> {
    let class = given.value("formatter").unwrap_or("DefaultMessageFormatter");
    match class.rsplit(['.', '$']).next().unwrap_or(class) {
        "NoOpMessageFormatter" => return Ok(Printer::Nothing),
        "DefaultMessageFormatter" | "LoggingMessageFormatter" => {}
        _ => {
            return Err(Failure::usage(format!("{class}: there are no Java classes here"))
                .with_help("leave --formatter out; `millstream consume --json` prints all parts")
                .into());
        }
    }
    let flag = |name: &str, default: bool| {
        properties.get(name).map_or(default, |value| value.trim().eq_ignore_ascii_case("true"))
    };
    let text = |name: &str, default: String| properties.get(name).cloned().unwrap_or(default);
    let bytes_as = |option: &str, property: &str| {
        deserializer(given.value(option).or_else(|| properties.get(property).map(String::as_str)))
    };
    let defaults = Format::default();
    Ok(Printer::Text(Format {
        timestamp: flag("print.timestamp", false),
        partition: flag("print.partition", false),
        offset: flag("print.offset", false),
        epoch: flag("print.epoch", false),
        headers: flag("print.headers", false),
        key: flag("print.key", false),
        value: flag("print.value", true),
        key_separator: text("key.separator", defaults.key_separator),
        line_separator: text("line.separator", defaults.line_separator),
        headers_separator: text("headers.separator", defaults.headers_separator),
        null_literal: text("null.literal", defaults.null_literal),
        key_as: bytes_as("key-deserializer", "key.deserializer")?,
        value_as: bytes_as("value-deserializer", "value.deserializer")?,
    }))
}

fn deserializer(class: Option<&str>) -> Result<BytesAs, Error> {
    let Some(class) = class else { return Ok(BytesAs::Text) };
    match class.rsplit('.').next().unwrap_or(class) {
        "StringDeserializer" | "ByteArrayDeserializer" | "BytesDeserializer" => Ok(BytesAs::Text),
        "ShortDeserializer" => Ok(BytesAs::Short),
        "IntegerDeserializer" => Ok(BytesAs::Integer),
        "LongDeserializer" => Ok(BytesAs::Long),
        "FloatDeserializer" => Ok(BytesAs::Float),
        "DoubleDeserializer" => Ok(BytesAs::Double),
        _ => Err(Failure::usage(format!("{class}: there are no Java classes here"))
            .with_help("String, Short, Integer, Long, Float and DoubleDeserializer are known")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(line: &str) -> Given {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        TOOL.parse(&words).unwrap()
    }

    fn refusal<T>(outcome: Result<T, Error>) -> String {
        match outcome {
            Err(Error::Usage(message)) => message,
            _ => panic!("it was taken"),
        }
    }

    #[test]
    fn where_to_start_is_said_once() {
        let none = Properties::new();
        let start_of = |line: &str| from(&given(line), &none);
        assert!(matches!(
            start_of("--from-beginning").unwrap(),
            Origin::Partitions { only: None, start: Start::Earliest }
        ));
        assert!(matches!(
            start_of("--partition 3 --offset LATEST").unwrap(),
            Origin::Partitions { only: Some(3), start: Start::Latest }
        ));
        assert!(refusal(start_of("--offset 1")).starts_with("The partition is required"));
        assert!(refusal(start_of("--partition 0 --offset -1")).contains("'-1' is incorrect"));
        let twice = refusal(start_of("--partition 0 --offset 1 --from-beginning"));
        assert!(twice.contains("cannot be specified together"), "{twice}");
        let properties = Properties::from([("group.id".to_owned(), "h".to_owned())]);
        assert!(refusal(from(&given("--group g"), &properties)).contains("'g', 'h'"));
        assert!(matches!(
            from(&given(""), &properties).unwrap(),
            Origin::Group { group, without_offset: WithoutOffset::Latest, commit: true }
                if group == "h"
        ));
    }
}
