//! What a worker's own properties say: Kafka Connect's `connect-standalone.properties` and
//! `connect-distributed.properties`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use connectors::ConfigProblem;
use connectors::config::clients;
use connectors::config::keys::nearest;
use connectors::herder::distributed::settings::{GroupSettings, KEYS};

use super::rest_settings::{self, RestSettings};
use crate::cli::properties::Properties;
use crate::cli::secured::{self, is_security};

/// Where the REST API is served if nobody says anything. Kafka Connect listens on all addresses.
pub const REST_LISTEN: &str = "127.0.0.1:8083";

/// How long a task may take to end in order, as in Kafka Connect.
const GRACEFUL_DEFAULT: Duration = Duration::from_secs(5);

/// What was understood.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    pub bootstrap_server: Option<String>,
    /// Where the REST API is served, and to whom.
    pub rest: RestSettings,
    /// How other workers and people reach the REST API, where that is not where it listens.
    pub advertised_host: Option<String>,
    pub advertised_port: Option<u16>,
    /// Of a worker that is one of several.
    pub group: Option<GroupSettings>,
    pub graceful: Duration,
    /// Whether it says how the broker is reached.
    pub is_secured: bool,
    /// The file that says all that.
    pub path: Option<PathBuf>,
    /// One warning that names what has no meaning here.
    pub warning: Option<String>,
}

/// Properties that are understood elsewhere, those of converters and config providers. What begins
/// so, and goes on after a dot, is one of them too.
const ELSEWHERE: &[&str] =
    &["key.converter", "value.converter", "header.converter", "config.providers"];

/// Where the broker is and how it is reached; the last two with what goes on after a dot.
const BROKER: &[&str] = &["bootstrap.servers", "security.protocol", "sasl", "ssl"];

const OWN: &[&str] =
    &["rest.advertised.host.name", "rest.advertised.port", "task.shutdown.graceful.timeout.ms"];

/// What Kafka Connect's workers have and this one needs nothing of.
const WITHOUT_MEANING: &[&str] = &[
    "plugin.path",
    "plugin.discovery",
    "offset.storage.file.filename",
    "offset.storage.replication.factor",
    "config.storage.replication.factor",
    "status.storage.replication.factor",
    "offset.flush.interval.ms",
    "offset.flush.timeout.ms",
    "exactly.once.source.support",
    "transaction.boundary",
    "topic.creation.enable",
    "topic.tracking.enable",
    "topic.tracking.allow.reset",
    "connector.client.config.override.policy",
    "connect.protocol",
    "client.id",
    "client.dns.lookup",
    "heartbeat.interval.ms",
    "worker.sync.timeout.ms",
    "worker.unsync.backoff.ms",
    "scheduled.rebalance.max.delay.ms",
    "inter.worker.key.generation.algorithm",
    "inter.worker.key.size",
    "inter.worker.key.ttl.ms",
    "inter.worker.signature.algorithm",
    "inter.worker.verification.algorithms",
    "header.version",
    "rest.host.name",
    "rest.port",
    "metadata.max.age.ms",
    "metadata.recovery.strategy",
    "metadata.recovery.rebootstrap.trigger.ms",
    "metric.reporters",
    "metrics.num.samples",
    "metrics.recording.level",
    "metrics.sample.window.ms",
    "metrics.context",
    "auto.include.jmx.reporter",
    "connections.max.idle.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
    "request.timeout.ms",
    "receive.buffer.bytes",
    "send.buffer.bytes",
    "socket.connection.setup.timeout.ms",
    "socket.connection.setup.timeout.max.ms",
    "internal.key.converter",
    "internal.value.converter",
    "config.storage",
    "offset.storage",
    "status.storage",
    "task.shutdown",
    "producer",
    "consumer",
    "admin",
];

fn is_of(key: &str, known: &str) -> bool {
    key.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// All names that a worker's keys begin with.
fn known() -> impl Iterator<Item = &'static str> {
    let group = KEYS.iter().map(|key| key.name);
    let all = [ELSEWHERE, BROKER, OWN, rest_settings::KEYS, WITHOUT_MEANING];
    all.into_iter().flatten().copied().chain(group)
}

/// Whether a key is a worker's, or a misspelling of one.
pub fn is_workers(key: &str) -> bool {
    known().any(|known| is_of(key, known)) || nearest(key, known()).is_some()
}

impl WorkerSettings {
    /// Relative paths of values that stand elsewhere start at `base_dir`.
    pub fn new(
        properties: &Properties,
        base_dir: &Path,
    ) -> Result<WorkerSettings, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let group = GroupSettings::of(properties).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            None
        });
        let java_options = std::env::var("KAFKA_OPTS").ok();
        let rest = RestSettings::new(properties, java_options.as_deref());
        let rest = rest.unwrap_or_else(|wrong| {
            problems.extend(wrong);
            RestSettings::default()
        });
        let mut settings = WorkerSettings {
            bootstrap_server: None,
            rest,
            advertised_host: None,
            advertised_port: None,
            group,
            graceful: GRACEFUL_DEFAULT,
            is_secured: secured::is_said(properties),
            path: None,
            warning: None,
        };
        if let Err(problem) = secured::of(properties, base_dir) {
            let help = || "how the broker is reached is said as for Kafka's own clients".to_owned();
            problems.push(ConfigProblem { help: problem.help.or_else(|| Some(help())), ..problem });
        }
        let mut ignored = Vec::new();
        for (key, value) in properties {
            match settings.take(key, value.trim(), properties) {
                Ok(true) => {}
                Ok(false) => ignored.push(key.as_str()),
                Err((message, help)) => problems.push(problem(key, properties, message, &help)),
            }
        }
        let list = ignored.join("', '");
        settings.warning = match ignored.len() {
            0 => None,
            1 => Some(format!("worker: key '{list}' has no meaning here")),
            _ => Some(format!("worker: keys '{list}' have no meaning here")),
        };
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    /// Takes in one property. `false`: it has no meaning here; an error says what is wrong and
    /// what to do.
    fn take(&mut self, key: &str, value: &str, all: &Properties) -> Result<bool, (String, String)> {
        match key {
            "bootstrap.servers" => {
                let first = value.split(',').map(str::trim).find(|one| !one.is_empty());
                self.bootstrap_server = first.map(str::to_owned);
            }
            "rest.advertised.host.name" => self.advertised_host = Some(value.to_owned()),
            "rest.advertised.port" => self.advertised_port = Some(number(key, value)?),
            "task.shutdown.graceful.timeout.ms" => {
                self.graceful = Duration::from_millis(number(key, value)?);
            }
            key if KEYS.iter().any(|known| known.name == key) => return Ok(self.group.is_some()),
            key if ELSEWHERE.iter().any(|known| is_of(key, known)) || is_security(key) => {}
            key if clients::is_workers(key) => {}
            key if rest_settings::KEYS.iter().any(|known| is_of(key, known)) => {}
            key => {
                let of_client = ["producer.", "consumer.", "admin."]
                    .iter()
                    .find_map(|client| key.strip_prefix(client));
                if let Some(own) = of_client.filter(|own| is_security(own)) {
                    return of_one_client(key, own, value, all).map(|()| true);
                }
                let is_known = WITHOUT_MEANING.iter().any(|known| is_of(key, known));
                if !is_known && let Some(near) = nearest(key, known()) {
                    let message = format!("a worker has no key `{key}`");
                    return Err((message, format!("did you mean `{near}`?")));
                }
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What Kafka Connect's producers, consumers and admin clients have of their own stands in most
/// files of secured clusters: it may say again what the worker's own keys say.
fn of_one_client(
    key: &str,
    own: &str,
    value: &str,
    all: &Properties,
) -> Result<(), (String, String)> {
    match all.get(own).is_some_and(|said| said.trim() == value) {
        true => Ok(()),
        false => Err((
            format!("`{key}` says what `{own}` does not: the worker reaches its broker in one way"),
            format!("set `{own}` to the same, or take the key out"),
        )),
    }
}

fn problem(key: &str, properties: &Properties, message: String, help: &str) -> ConfigProblem {
    // Passwords stand among them.
    let value = properties.get(key).filter(|_| !is_security(key)).cloned();
    ConfigProblem { key: key.to_owned(), value, message, help: Some(help.to_owned()) }
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, (String, String)> {
    let message = || format!("`{key}` must be a whole number, not '{value}'");
    value.parse().map_err(|_| (message(), format!("for example `{key} = 8083`")))
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
        let settings = WorkerSettings::new(&properties::parse(text), Path::new(".")).unwrap();
        assert_eq!(settings.group.unwrap().group, "connect-cluster");
        assert_eq!(settings.advertised_host.as_deref(), Some("here"));
        assert_eq!(settings.advertised_port, Some(9000));
        assert_eq!(
            settings.warning.unwrap(),
            "worker: keys 'config.storage.replication.factor', 'offset.flush.interval.ms', \
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
        let settings = WorkerSettings::new(&properties::parse(text), Path::new(".")).unwrap();
        assert_eq!(settings.bootstrap_server.as_deref(), Some("localhost:9092"));
        assert_eq!(settings.rest.listeners[0].address, "0.0.0.0:8083");
        assert_eq!(settings.graceful, Duration::from_millis(100));
        assert_eq!(
            settings.warning.unwrap(),
            "worker: keys 'offset.flush.interval.ms', 'offset.storage.file.filename' have no meaning \
             here"
        );
        assert!(settings.group.is_none());
    }

    #[test]
    fn what_would_be_passed_over_and_must_not_be_is_a_mistake() {
        let text = "bootstrap.servers=h:9092
            grup.id=g
            offset.flush.intervall.ms=1
            listeners=https://:8443
            rest.extension.classes=org.Guard
            sasl.mechanism=SCRAM-SHA-512
            producer.security.protocol=SASL_SSL
            rest.advertised.port=x
            my.own.thing=1";
        let problems = WorkerSettings::new(&properties::parse(text), Path::new(".")).unwrap_err();
        let told: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
        expect_test::expect![[r#"
            `ssl.keystore.location`: https of the REST API needs it: a file with a key and certificates as PEM; or ssl.keystore.key and ssl.keystore.certificate.chain; a file of PEM has the private key and behind it the certificates
            `rest.extension.classes` would do nothing here; classes of Java cannot be loaded here; put a proxy before the REST API that does what they do, and take the key out
            sasl.mechanism means nothing with security.protocol=PLAINTEXT; give the protocol, such as SASL_SSL, or leave it out; how the broker is reached is said as for Kafka's own clients
            a worker has no key `grup.id`; did you mean `group.id`?
            a worker has no key `offset.flush.intervall.ms`; did you mean `offset.flush.interval.ms`?
            `producer.security.protocol` says what `security.protocol` does not: the worker reaches its broker in one way; set `security.protocol` to the same, or take the key out
            `rest.advertised.port` must be a whole number, not 'x'; for example `rest.advertised.port = 8083`"#]]
        .assert_eq(&told.join("\n"));
        let twice = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN
            sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
            username=\"u\" password=\"p\";
            producer.security.protocol=SASL_PLAINTEXT\nconsumer.sasl.mechanism=PLAIN";
        let settings = WorkerSettings::new(&properties::parse(twice), Path::new(".")).unwrap();
        assert!(settings.is_secured && settings.warning.is_none());
        for wrong in ["listeners=https://:8443", "listeners=8083", "group.id="] {
            assert!(
                WorkerSettings::new(&properties::parse(wrong), Path::new(".")).is_err(),
                "{wrong}"
            );
        }
    }
}
