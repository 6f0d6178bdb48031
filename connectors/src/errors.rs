//! What becomes of records that do not get through, and of attempts that may succeed later.
//!
//! ```text
//! errors.tolerance = none    the task fails, and says with which record and why
//! errors.tolerance = all     the record is left out and counted; a sink's goes to the topic
//!                            errors.deadletterqueue.topic.name, if there is one
//! ```

use std::time::Duration;

use broker::client::{Client, NewTopic, Producer, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use thiserror::Error;
use tokio::time::Instant;
use tracing::error;

use crate::chain::{ChainError, FailedRecord};
use crate::config::{ConfigKey, ConnectorConfig, KeyType, Presence};
use crate::task::TaskError;
use crate::topics;

pub(crate) const KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "errors.tolerance",
        key_type: KeyType::OneOf(&["none", "all"]),
        presence: Presence::Default("none"),
        doc: "Whether a record that cannot be handled fails the task or is skipped and counted",
        example: "all",
    },
    ConfigKey {
        name: "errors.retry.timeout",
        key_type: KeyType::Integer { min: -1, max: i64::MAX / 2 },
        presence: Presence::Default("0"),
        doc: "For how many ms to try again what may succeed later; -1 is for ever",
        example: "60000",
    },
    ConfigKey {
        name: "errors.retry.delay.max.ms",
        key_type: KeyType::Integer { min: 1, max: 3_600_000 },
        presence: Presence::Default("60000"),
        doc: "The longest pause between two attempts; it begins with 300 ms and doubles",
        example: "10000",
    },
    ConfigKey {
        name: "errors.log.enable",
        key_type: KeyType::Boolean,
        presence: Presence::Default("false"),
        doc: "Whether each record that is skipped is logged",
        example: "true",
    },
    ConfigKey {
        name: "errors.log.include.messages",
        key_type: KeyType::Boolean,
        presence: Presence::Default("false"),
        doc: "Whether the log says where in its topic such a record is",
        example: "true",
    },
];

pub(crate) const DEAD_LETTER_TOPIC: ConfigKey = ConfigKey {
    name: "errors.deadletterqueue.topic.name",
    key_type: KeyType::AnyText,
    presence: Presence::Default(""),
    doc: "The topic for records that are skipped, created if it does not exist",
    example: "dead-letters",
};

pub(crate) const DEAD_LETTER_CONTEXT: ConfigKey = ConfigKey {
    name: "errors.deadletterqueue.context.headers.enable",
    key_type: KeyType::Boolean,
    presence: Presence::Default("false"),
    doc: "Whether headers of such a record say where it was and why it failed",
    example: "true",
};

/// The pause after the first attempt.
const DELAY_FIRST: Duration = Duration::from_millis(300);

/// An error of a task that may be gone at a later attempt, such as a server that does not answer.
/// It is tried again for `errors.retry.timeout`.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Retriable(pub TaskError);

/// What one task does about errors.
#[derive(Clone, Debug)]
pub(crate) struct ErrorPolicy {
    connector: String,
    task: usize,
    tolerates: bool,
    logs: bool,
    logs_place: bool,
    /// `None`: without end.
    retry_timeout: Option<Duration>,
    delay_max: Duration,
}

impl Default for ErrorPolicy {
    fn default() -> ErrorPolicy {
        ErrorPolicy {
            connector: String::new(),
            task: 0,
            tolerates: false,
            logs: false,
            logs_place: false,
            retry_timeout: Some(Duration::ZERO),
            delay_max: DELAY_FIRST,
        }
    }
}

impl ErrorPolicy {
    pub(crate) fn new(config: &ConnectorConfig, task: usize) -> ErrorPolicy {
        let settings = config.settings();
        let timeout = u64::try_from(settings.integer("errors.retry.timeout")).ok();
        ErrorPolicy {
            connector: config.name().to_owned(),
            task,
            tolerates: settings.text("errors.tolerance") == "all",
            logs: settings.flag("errors.log.enable"),
            logs_place: settings.flag("errors.log.include.messages"),
            retry_timeout: timeout.map(Duration::from_millis),
            delay_max: Duration::from_millis(settings.integer("errors.retry.delay.max.ms") as u64),
        }
    }

    /// Whether to go on without the record; otherwise with which words to fail.
    pub(crate) fn tolerate(&self, error: &ChainError, place: &str) -> Result<(), TaskError> {
        if !self.tolerates {
            let message = format!(
                "{place}: {error}; with errors.tolerance=all such records are skipped and counted"
            );
            return Err(message.into());
        }
        if self.logs {
            let place = if self.logs_place { place } else { "a record" };
            error!("connector '{}', task {}: skipped {place}: {error}", self.connector, self.task);
        }
        Ok(())
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts { policy: self.clone(), began: None, delay: DELAY_FIRST }
    }
}

/// Counts attempts at one thing.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    policy: ErrorPolicy,
    began: Option<Instant>,
    delay: Duration,
}

impl Attempts {
    /// How long to wait before the next attempt after one failed at `now`; `None`: give up.
    pub(crate) fn next(&mut self, error: &TaskError, now: Instant) -> Option<Duration> {
        error.downcast_ref::<Retriable>()?;
        let began = *self.began.get_or_insert(now);
        let mut delay = self.delay.min(self.policy.delay_max);
        if let Some(timeout) = self.policy.retry_timeout {
            let left = timeout.checked_sub(now - began).filter(|left| !left.is_zero())?;
            delay = delay.min(left);
        }
        self.delay = (delay * 2).min(self.policy.delay_max);
        Some(delay)
    }

    /// The next failure is the first of another series.
    pub(crate) fn succeeded(&mut self) {
        self.began = None;
        self.delay = DELAY_FIRST;
    }
}

/// The topic that a sink's failed records go to.
pub(crate) struct DeadLetters {
    topic: String,
    context: bool,
    connector: String,
    task: usize,
    producer: Option<Box<dyn Producer>>,
}

impl DeadLetters {
    /// As the sink's settings say; `None` if they name no topic.
    pub(crate) fn new(config: &ConnectorConfig, task: usize) -> Option<DeadLetters> {
        let settings = config.settings();
        let topic = settings.text(DEAD_LETTER_TOPIC.name);
        (!topic.is_empty()).then(|| DeadLetters {
            topic: topic.to_owned(),
            context: settings.flag(DEAD_LETTER_CONTEXT.name),
            connector: config.name().to_owned(),
            task,
            producer: None,
        })
    }

    /// Writes records, durably: what comes after them may be committed then.
    pub(crate) async fn write(
        &mut self,
        client: &dyn Client,
        records: &[FailedRecord],
    ) -> Result<(), TaskError> {
        let failed = |error| format!("dead-letter topic '{}': {error}", self.topic);
        let producer = match &mut self.producer {
            Some(producer) => producer,
            None => {
                topics::ensure(client, &NewTopic::new(&self.topic, 1)).await.map_err(failed)?;
                let producer = client.producer(ProducerOptions::default()).await;
                self.producer.insert(producer.map_err(failed)?)
            }
        };
        let to = TopicPartition::new(self.topic.as_str(), 0);
        // One by one: together they might exceed what a batch may hold.
        for record in records {
            let context = match self.context {
                true => context_headers(&self.connector, self.task, record),
                false => Vec::new(),
            };
            let own = record.bytes.headers.iter();
            let own = own.map(|(name, value)| (name.as_str(), value.as_deref()));
            let context = context.iter().map(|(name, value)| (*name, Some(value.as_bytes())));
            let headers: Vec<_> = own.chain(context).collect();
            let mut batch = BatchBuilder::default();
            let (key, value) = (record.bytes.key.as_deref(), record.bytes.value.as_deref());
            batch.append_with_headers(record.timestamp_ms, key, value, &headers);
            producer.send(&to, batch).await.map_err(failed)?;
        }
        Ok(producer.flush().await.map_err(failed)?)
    }
}

/// What Kafka Connect writes beside a dead letter. Java's stack trace is the message here.
fn context_headers(
    connector: &str,
    task: usize,
    record: &FailedRecord,
) -> Vec<(&'static str, String)> {
    let FailedRecord { topic, partition, offset, error, .. } = record;
    vec![
        ("__connect.errors.topic", topic.to_string()),
        ("__connect.errors.partition", partition.to_string()),
        ("__connect.errors.offset", offset.0.to_string()),
        ("__connect.errors.connector.name", connector.to_owned()),
        ("__connect.errors.task.id", task.to_string()),
        ("__connect.errors.stage", error.stage.name().to_owned()),
        ("__connect.errors.class.name", error.class.clone()),
        (
            "__connect.errors.exception.class.name",
            "org.apache.kafka.connect.errors.DataException".to_owned(),
        ),
        ("__connect.errors.exception.message", error.to_string()),
        ("__connect.errors.exception.stacktrace", error.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_further_and_further_apart_and_end() {
        let policy = ErrorPolicy {
            retry_timeout: Some(Duration::from_secs(3)),
            delay_max: Duration::from_secs(1),
            ..ErrorPolicy::default()
        };
        let error: TaskError = Retriable("no answer".into()).into();
        let mut attempts = policy.attempts();
        let mut now = Instant::now();
        let mut delays = Vec::new();
        while let Some(delay) = attempts.next(&error, now) {
            delays.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(delays, [300, 600, 1000, 1000, 100]);
        attempts.succeeded();
        assert_eq!(attempts.next(&error, now), Some(DELAY_FIRST));
        let fatal: TaskError = "wrong password".into();
        assert_eq!(policy.attempts().next(&fatal, now), None);
        assert_eq!(ErrorPolicy::default().attempts().next(&error, now), None);
    }
}
