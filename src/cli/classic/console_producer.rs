//! `kafka-console-producer`.

use broker::client::Acks;
use broker::record::Compression;
use tokio_util::sync::CancellationToken;

use super::options::{Given, Tool, flag, maybe, value};
use super::{Error, properties};
use crate::cli::connection;
use crate::cli::produce::line::{LineError, LineForm};
use crate::cli::produce::{BATCH_BYTES, Lines, ProduceError, write};
use crate::cli::properties::Properties;
use crate::cli::{Failure, unless_stopped};

pub const TOOL: Tool = Tool {
    name: "kafka-console-producer",
    about: "This tool helps to read data from standard input and publish it to Kafka.",
    example: "kafka-console-producer --topic orders --property parse.key=true --property \
              key.separator=:",
    options: &[
        value("batch-size", "BYTES", "A batch is sent at this size"),
        value("broker-list", "HOST:PORT", "The old name of --bootstrap-server"),
        maybe("compression-codec", "CODEC", "none, gzip (default if not named), snappy, lz4, zstd"),
        value("line-reader", "CLASS", "Only Kafka's own LineMessageReader"),
        value("max-block-ms", "MS", "Taken, without effect"),
        value("max-memory-bytes", "BYTES", "Taken, without effect"),
        value("max-partition-memory-bytes", "BYTES", "As --batch-size"),
        value("message-send-max-retries", "N", "Taken, without effect: see delivery.timeout.ms"),
        value("metadata-expiry-ms", "MS", "Taken, without effect"),
        value("producer-property", "KEY=VALUE", "A producer's property; may be repeated"),
        value("command-property", "KEY=VALUE", "The same"),
        value("producer.config", "FILE", "A file of producer's properties"),
        value(
            "property",
            "KEY=VALUE",
            "How lines are read: parse.key, key.separator, \
               parse.headers, null.marker, ignore.error and their kin; may be repeated",
        ),
        value("reader-property", "KEY=VALUE", "The same"),
        value("reader-config", "FILE", "A file of such properties"),
        value("request-required-acks", "ACKS", "all (default), -1, 1 or 0"),
        value("request-timeout-ms", "MS", "Taken, without effect"),
        value("retry-backoff-ms", "MS", "Taken, without effect"),
        value("socket-buffer-size", "BYTES", "Taken, without effect"),
        flag("sync", "Taken, without effect: each line is sent at once if no other is at hand"),
        value("timeout", "MS", "Taken, without effect"),
        value("topic", "TOPIC", "The topic"),
    ],
};

pub async fn run(given: &Given, stop: CancellationToken) -> Result<(), Error> {
    let topic = given.required("topic")?.to_owned();
    let pairs = ["producer-property", "command-property"];
    let producer = properties(given, "producer.config", &pairs)?;
    let reader = properties(given, "reader-config", &["property", "reader-property"])?;
    let reader_class = given.value("line-reader").unwrap_or("LineMessageReader");
    if !reader_class.ends_with("LineMessageReader") {
        return Err(Failure::usage(format!("{reader_class}: there are no Java classes here"))
            .with_help("leave --line-reader out, or convert the lines before they come here")
            .into());
    }
    let lines = Lines {
        topic,
        partition: None,
        form: form(&reader)?,
        compression: compression(given, &producer)?,
        acks: acks(given, &producer)?,
        batch_bytes: batch_bytes(given, &producer)?,
    };
    let broker = super::broker_of_client(given, &producer)?;
    let connection = unless_stopped(&stop, connection::open(&broker)).await?;
    let done = write(connection.client.as_ref(), &lines, stop).await;
    connection.close().await;
    match done {
        Ok(_) => Ok(()),
        Err(ProduceError::Failure(failure)) => Err(failure.into()),
        Err(ProduceError::Line(error)) => Err(thrown(&kafkas_words(&error))),
    }
}

fn thrown(message: &str) -> Error {
    Error::usage(format!("org.apache.kafka.common.KafkaException: {message}"))
}

fn kafkas_words(error: &LineError) -> String {
    match error {
        LineError::Missing { what, number, line, .. } => {
            format!("No {what} found on line number {number}: '{line}'")
        }
        LineError::Header { pair, number, .. } => {
            format!("No header key separator found in pair '{pair}' on line number {number}")
        }
        LineError::NullHeader { marker, .. } => format!(
            "Header keys should not be equal to the null marker '{marker}' as they can't be null"
        ),
    }
}

fn form(reader: &Properties) -> Result<LineForm, Error> {
    let is_true =
        |name| reader.get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    let text = |name, default: String| reader.get(name).cloned().unwrap_or(default);
    let defaults = LineForm::default();
    let form = LineForm {
        parse_key: is_true("parse.key"),
        parse_headers: is_true("parse.headers"),
        key_separator: text("key.separator", defaults.key_separator),
        headers_delimiter: text("headers.delimiter", defaults.headers_delimiter),
        headers_separator: text("headers.separator", defaults.headers_separator),
        headers_key_separator: text("headers.key.separator", defaults.headers_key_separator),
        null_marker: reader.get("null.marker").cloned(),
        ignore_error: is_true("ignore.error"),
    };
    match form.conflict() {
        Some(conflict) => Err(thrown(&conflict)),
        None => Ok(form),
    }
}

fn compression(given: &Given, producer: &Properties) -> Result<Compression, Error> {
    let named = match given.has("compression-codec") {
        true => given.value("compression-codec").unwrap_or("gzip"),
        false => producer.get("compression.type").map_or("none", String::as_str),
    };
    named.parse().map_err(|_| invalid(named, "compression.type", "none, gzip, snappy, lz4, zstd"))
}

fn acks(given: &Given, producer: &Properties) -> Result<Acks, Error> {
    let set = producer.get("acks").map(String::as_str);
    match given.value("request-required-acks").or(set).unwrap_or("-1") {
        "all" | "-1" => Ok(Acks::All),
        // Without acknowledgement nothing would tell that a record is lost: one costs little more.
        "1" | "0" => Ok(Acks::Leader),
        other => Err(invalid(other, "acks", "all, -1, 0, 1")),
    }
}

fn invalid(value: &str, name: &str, choice: &str) -> Error {
    Error::usage(format!(
        "org.apache.kafka.common.config.ConfigException: Invalid value {value} for configuration \
         {name}: String must be one of: {choice}"
    ))
}

fn batch_bytes(given: &Given, producer: &Properties) -> Result<usize, Error> {
    let option = given.parsed::<usize>("max-partition-memory-bytes")?;
    let option = option.or(given.parsed::<usize>("batch-size")?);
    let property = producer.get("batch.size").and_then(|size| size.trim().parse().ok());
    Ok(option.or(property).unwrap_or(BATCH_BYTES).min(BATCH_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_say_how_lines_are_read() {
        let properties = |pairs: &[&str]| -> Properties {
            pairs.iter().map(|pair| crate::cli::properties::pair(pair)).collect()
        };
        let form_of = |pairs: &[&str]| form(&properties(pairs));
        let keyed = form_of(&["parse.key=true", "key.separator=:"]).unwrap();
        assert!(keyed.parse_key && !keyed.parse_headers);
        assert_eq!(keyed.key_separator, ":");
        assert!(form_of(&["headers.separator=:"]).is_err());
        let none = Given::default();
        assert_eq!(acks(&none, &properties(&["acks=1"])).unwrap(), Acks::Leader);
        assert!(acks(&none, &properties(&["acks=7"])).is_err());
        let zstd = compression(&none, &properties(&["compression.type=zstd"])).unwrap();
        assert_eq!(zstd, Compression::Zstd);
    }
}
