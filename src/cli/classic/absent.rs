//! Kafka's commands that are not here, each with the reason in one line.

use std::process::ExitCode;

const ONE_BROKER: &str = "there is one broker, which leads every partition";
const NO_TOKENS: &str =
    "there are no delegation tokens; SCRAM and OAUTHBEARER serve in their place";
const NO_SHARE_CONSUMER: &str = "share groups (KIP-932) are read by Java's KafkaShareConsumer; \
    kafka-share-groups shows them";
const NO_CLASSES: &str = "there are no Java classes here";

/// Name, and why it is not needed or not there.
const ABSENT: &[(&str, &str)] = &[
    ("connect-mirror-maker", "topics are not mirrored between clusters yet"),
    ("connect-plugin-path", NO_CLASSES),
    (
        "kafka-client-metrics",
        "metrics of clients are not collected; the broker's own are at \
      `millstream broker --metrics-listen HOST:PORT`",
    ),
    ("kafka-console-share-consumer", NO_SHARE_CONSUMER),
    ("kafka-delegation-tokens", NO_TOKENS),
    (
        "kafka-features",
        "one broker of one version has no features to agree on; \
      kafka-broker-api-versions shows what it serves",
    ),
    ("kafka-jmx", "there is no JVM; metrics are at `millstream broker --metrics-listen HOST:PORT`"),
    ("kafka-leader-election", ONE_BROKER),
    ("kafka-metadata-quorum", "one broker needs no quorum: it is its own controller"),
    (
        "kafka-metadata-shell",
        "there is no metadata log; topics are in topics.json of the data directory",
    ),
    ("kafka-reassign-partitions", ONE_BROKER),
    ("kafka-replica-verification", ONE_BROKER),
    ("kafka-run-class", NO_CLASSES),
    ("kafka-share-consumer-perf-test", NO_SHARE_CONSUMER),
    (
        "kafka-streams-application-reset",
        "pipelines are not Kafka Streams applications; \
      kafka-consumer-groups --reset-offsets sets where a group goes on",
    ),
    ("kafka-streams-groups", "there are no streams groups (KIP-1071); pipelines use ordinary ones"),
    ("kafka-verifiable-consumer", "not there yet; kafka-console-consumer reads"),
    ("kafka-verifiable-producer", "not there yet; kafka-console-producer writes"),
    ("zookeeper-security-migration", "there is no ZooKeeper, and none is needed"),
    ("zookeeper-shell", "there is no ZooKeeper, and none is needed"),
];

/// A command that is not here, by its name.
pub fn find(name: &str) -> Option<&'static str> {
    names().find(|absent| *absent == name)
}

/// All of them.
pub fn names() -> impl Iterator<Item = &'static str> {
    ABSENT.iter().map(|(name, _)| *name)
}

/// Tells why.
pub fn main(name: &str) -> ExitCode {
    let why = ABSENT.iter().find(|(absent, _)| *absent == name).map_or("not here", |(_, why)| why);
    eprintln!("{name}: {why}");
    ExitCode::from(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_none_is_here_after_all() {
        assert!(ABSENT.is_sorted_by_key(|(name, _)| *name));
        assert!(ABSENT.iter().all(|(name, _)| super::super::find(name).is_none()));
    }
}
