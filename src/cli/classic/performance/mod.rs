//! Kafka's measuring commands, by librdkafka: `kafka-producer-perf-test`,
//! `kafka-consumer-perf-test`, `kafka-e2e-latency`.
//!
//! ```text
//! Kafka's flags and properties ─► librdkafka's settings ─► records ─► acknowledgements ─► figures
//! ```
//!
//! They print what Kafka's print, but that latencies have fractions of a millisecond.
//!
//! - [`producer`], [`consumer`], [`end_to_end`]: one command each;
//! - [`latencies`]: how long things took; [`payloads`]: what is written; [`dates`]: when.

mod consumer;
mod dates;
mod end_to_end;
mod latencies;
mod payloads;
mod producer;

use broker::client::admin::Admin;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::options::Given;
use crate::cli::connection::{self, AdminConnection};
use crate::cli::properties::Properties;
use crate::cli::{BrokerChoice, Failure, stopped, unless_stopped};

pub use consumer::TOOL as CONSUMER;
pub use end_to_end::TOOL as END_TO_END;
pub use producer::TOOL as PRODUCER;

/// Names of settings that librdkafka has another name for.
const RENAMED: &[(&str, &str)] = &[
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
];

pub async fn run(name: &str, given: &Given, stop: CancellationToken) -> Result<(), Error> {
    match name {
        "kafka-producer-perf-test" => producer::run(given, stop).await,
        "kafka-consumer-perf-test" => consumer::run(given, stop).await,
        _ => end_to_end::run(given, stop).await,
    }
}

/// Measures a broker on a thread of its own: what is measured waits for librdkafka.
async fn measure<T: Send + 'static>(
    given: &Given,
    properties: &Properties,
    stop: &CancellationToken,
    work: impl FnOnce(String) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let connection = unless_stopped(stop, connect(given, properties)).await?;
    if connection.is_inside() {
        connection.close().await;
        let reason = "there is nobody to measure: the broker of this directory does not run";
        return Err(Failure::usage(reason.to_owned())
            .with_help("start it with `millstream broker`, or name one with --bootstrap-server")
            .into());
    }
    let address = address(given, properties, &connection.admin);
    let done = tokio::task::spawn_blocking(move || work(address)).await;
    connection.close().await;
    let done = done.map_err(|error| Failure::running(format!("measuring: {error}")))??;
    if stop.is_cancelled() { Err(stopped().into()) } else { Ok(done) }
}

/// The broker of the properties, else that of the flags; an error at once if nobody is there.
async fn connect(given: &Given, properties: &Properties) -> Result<AdminConnection, Error> {
    let choice = match named(given, properties) {
        None => super::broker(given)?,
        Some(address) => BrokerChoice {
            data_dir: Default::default(),
            bootstrap_server: Some(address),
            command_config: None,
            client_config: Properties::new(),
        },
    };
    Ok(connection::open_admin(&choice).await?)
}

fn named(given: &Given, properties: &Properties) -> Option<String> {
    let named = given.value("bootstrap-server").map(str::to_owned);
    named.or_else(|| properties.get("bootstrap.servers").cloned())
}

fn address(given: &Given, properties: &Properties, admin: &Admin) -> String {
    named(given, properties).unwrap_or_else(|| admin.address())
}

/// librdkafka's settings. What it does not know is told and ignored, as Kafka's clients do.
fn settings(
    address: &str,
    defaults: &[(&str, &str)],
    given: &Properties,
) -> Result<ClientConfig, Error> {
    check_security(given)?;
    let mut config = ClientConfig::new();
    // Small requests go out at once; no reports on ourselves to the cluster (KIP-714).
    let ours = [("socket.nagle.disable", "true"), ("enable.metrics.push", "false")];
    for (name, value) in defaults.iter().chain(&ours) {
        config.set(*name, *value);
    }
    for (name, value) in given {
        let named = RENAMED.iter().find(|(kafkas, _)| kafkas == name);
        let native = named.map_or(name.as_str(), |(_, native)| native);
        // Names of Java's classes; records are bytes here.
        if native.ends_with(".serializer") || native.ends_with(".deserializer") {
            continue;
        }
        match ClientConfig::new().set(native, value).create_native_config() {
            Ok(_) => _ = config.set(native, value),
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
                eprintln!("note: {name} has no counterpart in librdkafka and is ignored");
            }
            Err(error) => return Err(invalid(name, value, &error)),
        }
    }
    config.set("bootstrap.servers", address);
    Ok(config)
}

/// Refuses what would pretend to be secure: what is measured here is librdkafka as it is.
fn check_security(properties: &Properties) -> Result<(), Error> {
    let protocol = properties.get("security.protocol").map_or("PLAINTEXT", String::as_str);
    let secure = properties.keys().find(|key| key.starts_with("sasl.") || key.starts_with("ssl."));
    match (protocol, secure) {
        ("PLAINTEXT", None) => Ok(()),
        ("PLAINTEXT", Some(key)) => Err(Failure::usage(format!("{key}: not supported")).into()),
        (protocol, _) => Err(Error::Failure(
            Failure::usage(format!("security.protocol={protocol}: not supported"))
                .with_help("only PLAINTEXT is measured: leave the settings of TLS and SASL out"),
        )),
    }
}

fn invalid(name: &str, value: &str, error: &KafkaError) -> Error {
    let reason = match error {
        KafkaError::ClientConfig(_, reason, ..) => reason.clone(),
        error => error.to_string(),
    };
    Error::usage(format!(
        "org.apache.kafka.common.config.ConfigException: Invalid value {value} for configuration \
         {name}: {reason}"
    ))
}

/// An instance of librdkafka could not be made, or does not go on.
fn failed(error: KafkaError) -> Error {
    let reason = match &error {
        KafkaError::ClientConfig(_, reason, name, value) => format!("{name}={value}: {reason}"),
        error => error.to_string(),
    };
    Failure::running(reason).into()
}

const MIB: f64 = (1 << 20) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> Properties {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn kafkas_properties_become_librdkafkas_settings() {
        let given = properties(&[
            ("max.request.size", "2000000"),
            ("linger.ms", "7"),
            ("key.serializer", "org.apache.kafka.common.serialization.StringSerializer"),
            ("no.such.thing", "1"),
        ]);
        let config = settings("h:1", &[("linger.ms", "5"), ("acks", "all")], &given).unwrap();
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("message.max.bytes"), Some("2000000"));
        assert_eq!(config.get("bootstrap.servers"), Some("h:1"));
        assert_eq!((config.get("key.serializer"), config.get("no.such.thing")), (None, None));
        for wrong in [("linger.ms", "soon"), ("sasl.username", "me")] {
            assert!(settings("h:1", &[], &properties(&[wrong])).is_err(), "{wrong:?}");
        }
    }
}
