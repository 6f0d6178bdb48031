//! librdkafka's settings, as this client needs them.

use std::sync::Arc;
use std::time::Duration;

use super::RemoteOptions;
use super::native::error::NativeError;
use super::native::handle::Conf;
use super::tunnel::Tunnels;
use crate::client::{Acks, Isolation, ProducerOptions, ReadFrom, ReaderOptions, WithoutOffset};

/// Messages fetched ahead by one reader, and again as many while they are handed on.
const PREFETCHED_KIB_MAX: usize = 16 << 10;
/// How long a broker may wait for records before it answers a fetch with none. librdkafka tells
/// only with such an answer that a partition's end was reached, so this bounds how late that is.
const FETCH_WAIT: Duration = Duration::from_millis(100);
/// Pause after the prefetch limit was hit. The default of a second starves a fast reader.
const FETCH_PAUSE: Duration = Duration::from_millis(10);
/// The largest answer taken from a broker: room for a batch of the largest size that can be read.
const RESPONSE_BYTES_MAX: usize = 300 << 20;
/// Bytes of records under way in one producer.
pub const QUEUED_BYTES_MAX: usize = 64 << 20;
/// The largest record that can be sent; it must fit into the queue with room to spare.
pub const RECORD_BYTES_MAX: usize = QUEUED_BYTES_MAX - (1 << 20);
/// How long a record may take to be acknowledged: Kafka's `delivery.timeout.ms`.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long records wait for company. librdkafka's 5 ms are a lot for one record alone.
const LINGER: Duration = Duration::from_millis(1);
const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(20);
/// A member that asks for nothing for so long leaves its group: it is stuck.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(300);
/// The longest that a reader may wait without asking librdkafka, so that it is not taken for stuck.
pub const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// How late a member may learn of a rebalance, unless the session is short.
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// A group that readers without one have in name only: they never join it and commit nothing, but
/// librdkafka assigns no partitions without a group.
const NO_GROUP: &str = "millstream-reader";

/// Collects settings; the first that is refused is the outcome.
struct Settings(Result<Conf, NativeError>);

impl Settings {
    /// What all instances have in common; the user's own settings included.
    fn of(address: &str, options: &RemoteOptions) -> Settings {
        let mut conf = Conf::new();
        let is_tunnelled = !options.secured.is_plain();
        if is_tunnelled {
            let tunnels = Tunnels::new(&options.client_id, options.secured.clone());
            conf.lead_through(Arc::new(tunnels));
        }
        let mut settings = Settings(Ok(conf))
            .set("client.id", &options.client_id)
            // Small requests go out at once; a tunnel's ends know no other way.
            .set("socket.nagle.disable", !is_tunnelled)
            // Doubles each time, up to 10 s. The default of 100 ms also slows the first connection.
            .ms("reconnect.backoff.ms", RECONNECT_PAUSE_MIN)
            // Brokers close idle connections; that is nothing to log.
            .set("log.connection.close", false)
            // No reports on ourselves to the cluster (KIP-714).
            .set("enable.metrics.push", false);
        for (name, value) in &options.properties {
            settings = settings.set(name, value);
        }
        settings.set("bootstrap.servers", address)
    }

    fn set(self, name: &str, value: impl ToString) -> Settings {
        Settings(self.0.and_then(|mut conf| {
            conf.set(name, &value.to_string())?;
            Ok(conf)
        }))
    }

    fn ms(self, name: &str, value: Duration) -> Settings {
        self.set(name, value.as_millis())
    }
}

pub fn admin(address: &str, options: &RemoteOptions) -> Result<Conf, NativeError> {
    Settings::of(address, options).0
}

pub fn reader(
    address: &str,
    options: &RemoteOptions,
    reader: &ReaderOptions,
) -> Result<Conf, NativeError> {
    let isolation = match reader.isolation {
        Isolation::ReadUncommitted => "read_uncommitted",
        Isolation::ReadCommitted => "read_committed",
    };
    let settings = Settings::of(address, options)
        .set("enable.auto.commit", false)
        .set("enable.auto.offset.store", false)
        .set("enable.partition.eof", true)
        .set("allow.auto.create.topics", false)
        .set("check.crcs", true)
        .set("isolation.level", isolation)
        .set("queued.max.messages.kbytes", PREFETCHED_KIB_MAX)
        .set("fetch.message.max.bytes", reader.event_bytes_max.clamp(1 << 16, 1 << 30))
        .set("receive.message.max.bytes", RESPONSE_BYTES_MAX)
        .ms("fetch.wait.max.ms", FETCH_WAIT)
        .ms("fetch.queue.backoff.ms", FETCH_PAUSE);
    let settings = match &reader.from {
        ReadFrom::Partitions(_) => {
            settings.set("group.id", NO_GROUP).set("auto.offset.reset", "error")
        }
        ReadFrom::Group(group) => settings
            .set("group.id", &group.group)
            .ms("session.timeout.ms", group.session_timeout)
            .ms("heartbeat.interval.ms", (group.session_timeout / 3).min(HEARTBEAT_INTERVAL_MAX))
            .ms("max.poll.interval.ms", POLL_INTERVAL_MAX.max(group.session_timeout))
            // As the embedded client: members of both kinds can share a group.
            .set("partition.assignment.strategy", "range")
            .set(
                "auto.offset.reset",
                match group.without_offset {
                    WithoutOffset::Earliest => "earliest",
                    WithoutOffset::Latest => "latest",
                },
            ),
    };
    settings.0
}

pub fn producer(
    address: &str,
    options: &RemoteOptions,
    producer: &ProducerOptions,
) -> Result<Conf, NativeError> {
    let settings = Settings::of(address, options)
        .set("queue.buffering.max.kbytes", QUEUED_BYTES_MAX >> 10)
        // Bytes are the bound, not a number of records.
        .set("queue.buffering.max.messages", 0)
        .set("message.max.bytes", RECORD_BYTES_MAX)
        .set("delivery.report.only.error", true)
        .ms("linger.ms", LINGER);
    let settings = match (&producer.transactional_id, producer.acks) {
        (Some(id), _) => settings
            .set("transactional.id", id)
            .ms("transaction.timeout.ms", producer.transaction_timeout)
            .ms("message.timeout.ms", DELIVERY_TIMEOUT.min(producer.transaction_timeout)),
        // Neither lost nor doubled nor reordered by retries.
        (None, Acks::All | Acks::OnFlush) => {
            settings.set("enable.idempotence", true).ms("message.timeout.ms", DELIVERY_TIMEOUT)
        }
        // Idempotence asks for all acks; so order is kept by one request at a time.
        (None, Acks::Leader) => settings
            .set("acks", 1)
            .set("max.in.flight.requests.per.connection", 1)
            .ms("message.timeout.ms", DELIVERY_TIMEOUT),
    };
    settings.0
}
