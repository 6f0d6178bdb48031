//! What a worker's own properties say: Kafka Connect's `connect-standalone.properties` and
//! `connect-distributed.properties`.

use std::time::Duration;

use connectors::ConfigProblem;
use connectors::herder::distributed::settings::{GroupSettings, KEYS};

use crate::cli::Failure;
use crate::cli::properties::Properties;

/// Where the REST API is served if nobody says anything. Kafka Connect listens on all addresses.
pub const REST_LISTEN: &str = "127.0.0.1:8083";

/// How long a task may take to end in order, as in Kafka Connect.
const GRACEFUL_DEFAULT: Duration = Duration::from_secs(5);

/// What was understood.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    pub bootstrap_server: Option<String>,
    pub rest_listen: Option<String>,
    /// How other workers and people reach the REST API, where that is not where it listens.
    pub advertised_host: Option<String>,
    pub advertised_port: Option<u16>,
    /// Of a worker that is one of several.
    pub group: Option<GroupSettings>,
    pub graceful: Duration,
    /// One warning that names what has no meaning here.
    pub warning: Option<String>,
}

/// Properties that are understood elsewhere, those of converters and config providers.
const ELSEWHERE: &[&str] =
    &["key.converter", "value.converter", "header.converter", "config.providers"];

impl WorkerSettings {
    pub fn new(properties: &Properties) -> Result<WorkerSettings, Failure> {
        let group = GroupSettings::of(properties).map_err(|problems| wrong(&problems))?;
        let mut settings = WorkerSettings {
            bootstrap_server: None,
            rest_listen: None,
            advertised_host: None,
            advertised_port: None,
            group,
            graceful: GRACEFUL_DEFAULT,
            warning: None,
        };
        let mut ignored = Vec::new();
        for (key, value) in properties {
            let value = value.trim();
            match key.as_str() {
                "bootstrap.servers" => {
                    let first = value.split(',').map(str::trim).find(|one| !one.is_empty());
                    settings.bootstrap_server = first.map(str::to_owned);
                }
                "listeners" => settings.rest_listen = Some(listener(value)?),
                "rest.advertised.host.name" => settings.advertised_host = Some(value.to_owned()),
                "rest.advertised.port" => settings.advertised_port = Some(number(key, value)?),
                "task.shutdown.graceful.timeout.ms" => {
                    settings.graceful = Duration::from_millis(number(key, value)?);
                }
                key if settings.group.is_some() && KEYS.iter().any(|known| known.name == key) => {}
                key => {
                    let of = |known: &&str| {
                        key == *known
                            || key.strip_prefix(known).is_some_and(|it| it.starts_with('.'))
                    };
                    if !ELSEWHERE.iter().any(|known| of(&known)) {
                        ignored.push(key);
                    }
                }
            }
        }
        if !ignored.is_empty() {
            let list = ignored.join("', '");
            settings.warning = Some(format!("worker: '{list}' have no meaning here"));
        }
        Ok(settings)
    }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, Failure> {
    let wrong = |_| Failure::usage(format!("{key} must be a whole number, not '{value}'"));
    value.parse().map_err(wrong)
}

/// All that is wrong with what is said of the group.
fn wrong(problems: &[ConfigProblem]) -> Failure {
    let words: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
    Failure::usage(format!("worker: {}", words.join("\nworker: ")))
}

/// `http://host:port`, of several the first; without a host, all addresses.
fn listener(text: &str) -> Result<String, Failure> {
    let first = text.split(',').next().unwrap_or_default().trim();
    let wrong = |help: &str| {
        Err(Failure::usage(format!("listeners: '{first}' cannot be served")).with_help(help))
    };
    let (scheme, address) = first.split_once("://").unwrap_or(("http", first));
    if !scheme.eq_ignore_ascii_case("http") {
        return wrong("the REST API speaks http; put a proxy before it that speaks https");
    }
    match address.trim_end_matches('/').rsplit_once(':') {
        Some(("", port)) => Ok(format!("0.0.0.0:{port}")),
        Some((host, port)) => Ok(format!("{host}:{port}")),
        None => wrong("write it as http://127.0.0.1:8083"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::properties;

    #[test]
    fn kafkas_own_file_of_a_group_is_understood() {
        let text = "bootstrap.servers=localhost:9092
            group.id=connect-cluster
            key.converter=org.apache.kafka.connect.json.JsonConverter
            value.converter=org.apache.kafka.connect.json.JsonConverter
            key.converter.schemas.enable=true
            value.converter.schemas.enable=true
            offset.storage.topic=connect-offsets
            offset.storage.replication.factor=1
            config.storage.topic=connect-configs
            config.storage.replication.factor=1
            status.storage.topic=connect-status
            status.storage.replication.factor=1
            offset.flush.interval.ms=10000
            rest.advertised.host.name=here
            rest.advertised.port=9000";
        let settings = WorkerSettings::new(&properties::parse(text)).unwrap();
        assert_eq!(settings.group.unwrap().group, "connect-cluster");
        assert_eq!(settings.advertised_host.as_deref(), Some("here"));
        assert_eq!(settings.advertised_port, Some(9000));
        assert_eq!(
            settings.warning.unwrap(),
            "worker: 'config.storage.replication.factor', 'offset.flush.interval.ms', \
             'offset.storage.replication.factor', 'status.storage.replication.factor' have no \
             meaning here"
        );
    }

    #[test]
    fn kafkas_own_file_is_understood() {
        let text = "bootstrap.servers=localhost:9092,other:9092
            key.converter=org.apache.kafka.connect.json.JsonConverter
            value.converter=org.apache.kafka.connect.json.JsonConverter
            key.converter.schemas.enable=true
            value.converter.schemas.enable=true
            offset.storage.file.filename=/tmp/connect.offsets
            offset.flush.interval.ms=10000
            listeners=HTTP://:8083
            task.shutdown.graceful.timeout.ms=100";
        let settings = WorkerSettings::new(&properties::parse(text)).unwrap();
        assert_eq!(settings.bootstrap_server.as_deref(), Some("localhost:9092"));
        assert_eq!(settings.rest_listen.as_deref(), Some("0.0.0.0:8083"));
        assert_eq!(settings.graceful, Duration::from_millis(100));
        assert_eq!(
            settings.warning.unwrap(),
            "worker: 'offset.flush.interval.ms', 'offset.storage.file.filename' have no meaning \
             here"
        );
        assert!(settings.group.is_none());
        for wrong in ["listeners=https://:8443", "listeners=8083", "group.id="] {
            assert!(WorkerSettings::new(&properties::parse(wrong)).is_err(), "{wrong}");
        }
    }
}
