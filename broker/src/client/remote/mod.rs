//! The remote client: an existing Kafka cluster, or a running Millstream, through librdkafka.
//!
//! A [`RemoteClient`] asks and orders with an instance of librdkafka of its own; each reader and
//! each producer has another. librdkafka connects, retries, heartbeats and fetches ahead in its
//! own threads; here its messages become record batches and the other way round.
//!
//! - [`settings`]: how librdkafka is set up; [`native`]: librdkafka behind safe types;
//! - [`tunnel`]: its connections to brokers that want TLS or SASL;
//! - [`reader`]: messages to [`ReaderEvent`](super::ReaderEvent)s; [`places`]: where it is;
//! - [`producer`]: batches to messages, and transactions.
//!
//! Invariants: nothing is created that was not asked for (topics are looked up before librdkafka
//! hears of them). Nothing waits in a loop: librdkafka wakes whoever waits. What waits for the
//! network in librdkafka runs on blocking threads. What is read keeps its offset, so gaps left by
//! compaction, markers and aborted transactions stay gaps. Secrets are never logged.

mod native;
mod places;
mod producer;
mod reader;
mod settings;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::admin::members::RemoteCoordinator;
use super::member::GroupCoordinator;
use super::secured::Secured;
use super::{
    Client, ClientError, CommittedOffset, Isolation, NewTopic, OffsetSpec, Producer,
    ProducerOptions, Reader, ReaderOptions, TopicInfo, TopicRules,
};
use crate::ids::{Offset, TopicPartition};
use native::admin::{Admin, EARLIEST, LATEST};
use native::error::{NativeError, code};
use native::handle::{Closing, Handle, Kind};
use native::partitions::PartitionList;
use producer::RemoteProducer;
use reader::RemoteReader;
use tunnel::Refusal;

/// How long a question to the cluster may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last one out waits for readers to leave their groups.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause before a question is asked again.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How to reach a cluster.
#[derive(Clone)]
pub struct RemoteOptions {
    /// How this client calls itself in the cluster's logs and quotas.
    pub client_id: String,
    /// How long [`RemoteClient::connect`] waits for a broker to answer.
    pub connect_timeout: Duration,
    /// TLS, and who we are.
    pub secured: Secured,
    /// librdkafka's own settings, but those of TLS and SASL. They may hold secrets.
    pub properties: BTreeMap<String, String>,
}

impl Default for RemoteOptions {
    fn default() -> RemoteOptions {
        RemoteOptions {
            client_id: "millstream".into(),
            connect_timeout: Duration::from_secs(5),
            secured: Secured::default(),
            properties: BTreeMap::new(),
        }
    }
}

/// Names the properties, but not their values.
impl fmt::Debug for RemoteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteOptions")
            .field("client_id", &self.client_id)
            .field("connect_timeout", &self.connect_timeout)
            .field("secured", &self.secured)
            .field("properties", &self.properties.keys())
            .finish()
    }
}

/// A cluster that answered when it was connected to.
#[derive(Clone, Debug)]
pub struct RemoteClient {
    cluster: Arc<Cluster>,
}

/// What the client, its readers and its producers share. Fields drop in this order.
struct Cluster {
    address: String,
    options: RemoteOptions,
    admin: Admin,
    closing: Farewell,
}

/// Waits, when the last owner goes, until readers have left their groups.
struct Farewell(Arc<Closing>);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.wait(CLOSE_TIMEOUT);
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("address", &self.address)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RemoteClient {
    /// Connects to a cluster by some of its brokers, `HOST:PORT` with commas between. Fails if
    /// none answers in time.
    pub async fn connect(
        bootstrap: &str,
        options: RemoteOptions,
    ) -> Result<RemoteClient, ClientError> {
        let address = check_address(bootstrap)?;
        let refused = |error: NativeError| ClientError::Refused {
            what: format!("client for {address}"),
            reason: error.reason,
        };
        let closing = Arc::new(Closing::default());
        let conf = settings::admin(&address, &options).map_err(refused)?;
        let handle = Arc::new(Handle::new(Kind::Producer, conf, &closing).map_err(refused)?);
        handle.callbacks().set_quiet(true);
        let ping = Admin::new(Arc::clone(&handle), options.connect_timeout);
        let pinged = unless_refused(&handle, blocking(move || ping.ping())).await??;
        pinged.map_err(|error| ClientError::Unreachable {
            address: address.clone(),
            reason: format!(
                "{}; start one with `millstream broker`, or check the address",
                handle.callbacks().last_failure().unwrap_or(error.reason)
            ),
        })?;
        handle.callbacks().set_quiet(false);
        let admin = Admin::new(handle, REQUEST_TIMEOUT);
        let cluster = Cluster { address, options, admin, closing: Farewell(closing) };
        Ok(RemoteClient { cluster: Arc::new(cluster) })
    }
}

#[async_trait]
impl Client for RemoteClient {
    fn address(&self) -> String {
        self.cluster.address.clone()
    }

    async fn create_topic(&self, topic: &NewTopic) -> Result<(), ClientError> {
        let cluster = &self.cluster;
        let exists = match cluster.admin.create_topic(topic).await {
            Ok(()) => false,
            Err(error) if error.code == code::TOPIC_ALREADY_EXISTS => true,
            Err(error) => return Err(cluster.refused(format!("topic '{}'", topic.name), error)),
        };
        // The controller has it; brokers hear of it a little later, also of another's.
        cluster.wait_for(&topic.name, |found| found.is_some()).await?;
        if exists { Err(ClientError::TopicExists(topic.name.clone())) } else { Ok(()) }
    }

    async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let cluster = &self.cluster;
        cluster.admin.delete_topic(name).await.map_err(|error| cluster.of_topic(name, error))?;
        cluster.wait_for(name, |found| found.is_none()).await
    }

    async fn topics(&self) -> Result<Vec<TopicInfo>, ClientError> {
        let cluster = &self.cluster;
        let admin = cluster.admin.clone();
        let refused = |error| cluster.refused("list of topics".into(), error);
        let asked = blocking(move || admin.topic_names());
        let asked = unless_refused(cluster.admin.handle(), asked).await??;
        let mut names = asked.map_err(refused)?;
        names.sort_unstable();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = cluster.admin.describe(&names).await.map_err(refused)?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError> {
        self.cluster.topic(name).await
    }

    async fn topic_rules(&self, topic: &str) -> Result<TopicRules, ClientError> {
        let refused = |error| self.cluster.refused(format!("settings of topic '{topic}'"), error);
        let admin = &self.cluster.admin;
        let bytes = admin.topic_config(topic, "max.message.bytes").await.map_err(refused)?;
        let policies = admin.topic_config(topic, "cleanup.policy").await.map_err(refused)?;
        Ok(TopicRules {
            batch_bytes_max: bytes.and_then(|bytes| bytes.parse().ok()),
            is_compacted: policies.is_some_and(|policies| policies.contains("compact")),
        })
    }

    async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetSpec,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        self.cluster.check_partitions(partitions).await?;
        self.cluster.list_offsets(partitions, at).await
    }

    async fn delete_records(&self, up_to: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let partitions: Vec<_> = up_to.iter().map(|(partition, _)| partition.clone()).collect();
        self.cluster.check_partitions(&partitions).await?;
        // Negative ones would ask for the end.
        if let Some((partition, offset)) = up_to.iter().find(|(_, offset)| *offset < Offset::ZERO) {
            return Err(self.cluster.out_of_range(partition, *offset).await);
        }
        self.cluster.delete_records(up_to).await
    }

    async fn committed_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>, ClientError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let refused = |error: NativeError| self.cluster.of_group(group, error);
        let wanted = PartitionList::of(&distinct(partitions)).map_err(refused)?;
        let mut patience = Patience::new();
        let found = loop {
            match self.cluster.admin.committed(group, &wanted).await {
                Err(error) if patience.lasts(&error).await => {}
                outcome => break outcome.map_err(refused)?,
            }
        };
        let find = |partition: &TopicPartition| {
            let entry = found.iter().find(|entry| entry.is_of(partition))?;
            let metadata = entry.metadata.clone().into_owned();
            entry.offset().map(|offset| CommittedOffset { offset, metadata })
        };
        Ok(partitions.iter().map(find).collect())
    }

    async fn reader(&self, options: ReaderOptions) -> Result<Box<dyn Reader>, ClientError> {
        Ok(Box::new(RemoteReader::open(&self.cluster, options).await?))
    }

    /// By a connection of our own: librdkafka has its own idea of what groups share.
    async fn coordinator(&self) -> Result<Arc<dyn GroupCoordinator>, ClientError> {
        let Cluster { address, options, .. } = &*self.cluster;
        let secured = options.secured.clone();
        let coordinator = RemoteCoordinator::new(address, &options.client_id, secured);
        let unreachable = |reason| ClientError::Unreachable { address: address.clone(), reason };
        Ok(Arc::new(coordinator.map_err(|error| unreachable(error.to_string()))?))
    }

    async fn producer(&self, options: ProducerOptions) -> Result<Box<dyn Producer>, ClientError> {
        Ok(Box::new(RemoteProducer::open(&self.cluster, options).await?))
    }
}

impl Cluster {
    async fn topic(&self, name: &str) -> Result<Option<TopicInfo>, ClientError> {
        if name.is_empty() {
            return Ok(None);
        }
        let found = self.admin.describe(&[name]).await;
        let found = found.map_err(|error| self.refused(format!("topic '{name}'"), error))?;
        Ok(found.into_iter().next().flatten())
    }

    async fn wait_for(
        &self,
        name: &str,
        settled: impl Fn(&Option<TopicInfo>) -> bool,
    ) -> Result<(), ClientError> {
        let mut patience = Patience::new();
        while !settled(&self.topic(name).await?) {
            if !patience.pause().await {
                let reason = format!("no broker has heard of it within {REQUEST_TIMEOUT:?}");
                return Err(ClientError::Refused { what: format!("topic '{name}'"), reason });
            }
        }
        Ok(())
    }

    /// Fails unless all these partitions exist. librdkafka would wait for them, and some of its
    /// requests would make the broker create them.
    async fn check_partitions(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let names: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let found = self.describe(&names).await?;
        for partition in partitions {
            let topic = found.iter().find(|topic| topic.name == *partition.topic);
            let topic =
                topic.ok_or_else(|| ClientError::UnknownTopic(partition.topic.to_string()))?;
            if !(0..topic.partitions).contains(&partition.partition) {
                return Err(ClientError::UnknownPartition(partition.clone()));
            }
        }
        Ok(())
    }

    /// All these topics; an error if one of them does not exist.
    async fn describe(&self, names: &[&str]) -> Result<Vec<TopicInfo>, ClientError> {
        if let Some(name) = names.iter().find(|name| name.is_empty()) {
            return Err(ClientError::UnknownTopic((*name).to_owned()));
        }
        let found = self.admin.describe(names).await;
        let found = found.map_err(|error| self.refused("topics".into(), error))?;
        let unknown = |name: &&str| ClientError::UnknownTopic((*name).to_owned());
        found
            .into_iter()
            .zip(names)
            .map(|(topic, name)| topic.ok_or_else(|| unknown(name)))
            .collect()
    }

    async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetSpec,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let (offset, isolation) = match at {
            OffsetSpec::Earliest => (EARLIEST, Isolation::ReadUncommitted),
            OffsetSpec::Latest(isolation) => (LATEST, isolation),
            // Negative numbers would ask for something else.
            OffsetSpec::AtTimestamp(ms) => (Offset(ms.max(0)), Isolation::ReadUncommitted),
        };
        let refused = |error| self.refused("list of offsets".into(), error);
        let wanted: Vec<_> = distinct(partitions).into_iter().map(|at| (at, offset)).collect();
        let wanted = PartitionList::at(&wanted).map_err(refused)?;
        let mut patience = Patience::new();
        let found = loop {
            match self.admin.list_offsets(&wanted, isolation).await {
                Err(error) if patience.lasts(&error).await => {}
                outcome => break outcome.map_err(refused)?,
            }
        };
        let find = |partition: &TopicPartition| {
            found.iter().find(|entry| entry.is_of(partition)).and_then(|entry| entry.offset())
        };
        Ok(partitions.iter().map(find).collect())
    }

    async fn delete_records(&self, up_to: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        // Each partition once: librdkafka refuses more.
        let mut wanted: BTreeMap<&TopicPartition, Offset> = BTreeMap::new();
        for (partition, offset) in up_to {
            let before = wanted.entry(partition).or_insert(*offset);
            *before = (*before).max(*offset);
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let refused = |error| self.refused("deletion of records".into(), error);
        let lines: Vec<_> = wanted.iter().map(|(at, before)| ((*at).clone(), *before)).collect();
        let list = PartitionList::at(&lines).map_err(refused)?;
        let mut patience = Patience::new();
        let deleted = loop {
            let deleted = match self.admin.delete_records(&list).await {
                Err(error) if patience.lasts(&error).await => continue,
                outcome => outcome.map_err(refused)?,
            };
            match deleted.first_error() {
                Some(error) if patience.lasts(&error).await => {}
                _ => break deleted,
            }
        };
        for (partition, before) in lines {
            let Some(line) = deleted.iter().find(|line| line.is_of(&partition)) else { continue };
            match line.code {
                code::NONE => {}
                code::OFFSET_OUT_OF_RANGE => {
                    return Err(self.out_of_range(&partition, before).await);
                }
                code => return Err(self.of_partition(&partition, NativeError::of(code))),
            }
        }
        Ok(())
    }

    /// That an offset is not in the log, with what is.
    async fn out_of_range(&self, partition: &TopicPartition, offset: Offset) -> ClientError {
        let ask = std::slice::from_ref(partition);
        let end = OffsetSpec::Latest(Isolation::ReadUncommitted);
        let (start, end) = match (
            self.list_offsets(ask, OffsetSpec::Earliest).await,
            self.list_offsets(ask, end).await,
        ) {
            (Ok(start), Ok(end)) => (start[0], end[0]),
            (Err(error), _) | (_, Err(error)) => return error,
        };
        ClientError::OffsetOutOfRange {
            partition: partition.clone(),
            offset,
            start: start.unwrap_or_default(),
            end: end.unwrap_or_default(),
        }
    }

    fn refused(&self, what: String, error: NativeError) -> ClientError {
        if let Some(error) = self.no_way(&error) {
            return error;
        }
        match error.code {
            code::STORAGE_ERROR => ClientError::Storage { what, reason: error.reason },
            _ => ClientError::Refused { what, reason: error.reason },
        }
    }

    fn of_topic(&self, name: &str, error: NativeError) -> ClientError {
        if error.is_unknown_topic() {
            return ClientError::UnknownTopic(name.to_owned());
        }
        self.refused(format!("topic '{name}'"), error)
    }

    fn of_partition(&self, partition: &TopicPartition, error: NativeError) -> ClientError {
        match error.code {
            code::UNKNOWN_PARTITION_LOCAL => ClientError::UnknownPartition(partition.clone()),
            _ if error.is_unknown_topic() => ClientError::UnknownTopic(partition.topic.to_string()),
            _ => self.refused(format!("partition {partition}"), error),
        }
    }

    /// That there is no way to the broker, if that is so.
    fn no_way(&self, error: &NativeError) -> Option<ClientError> {
        if let Some(address) = &error.refused_by {
            let (address, reason) = (address.clone(), error.reason.clone());
            return Some(ClientError::NotLetIn { address, reason });
        }
        error.is_unreachable().then(|| {
            let trouble = self.admin.handle().callbacks().tunnels.as_ref();
            let trouble = trouble.and_then(|tunnels| tunnels.last_trouble());
            let reason = match trouble {
                Some(trouble) => format!("{}: {trouble}", error.reason),
                None => error.reason.clone(),
            };
            ClientError::Unreachable { address: self.address.clone(), reason }
        })
    }

    fn of_group(&self, group: &str, error: NativeError) -> ClientError {
        if let Some(error) = self.no_way(&error) {
            return error;
        }
        ClientError::Group { group: group.to_owned(), reason: error.reason }
    }
}

/// The address, if it is one: hosts with ports, and commas between.
fn check_address(bootstrap: &str) -> Result<String, ClientError> {
    let brokers: Vec<&str> = bootstrap.split(',').map(str::trim).collect();
    let is_broker = |broker: &&str| {
        broker.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    match brokers.iter().find(|broker| !is_broker(broker)) {
        None => Ok(brokers.join(",")),
        Some(broker) => Err(ClientError::Refused {
            what: format!("bootstrap server '{broker}'"),
            reason: "expected HOST:PORT, such as 127.0.0.1:9092".into(),
        }),
    }
}

fn distinct(partitions: &[TopicPartition]) -> Vec<TopicPartition> {
    partitions.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

/// Allows asking again while the cluster is just settling: leaders are elected, coordinators load,
/// a transaction is about to change the answer.
struct Patience {
    deadline: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Patience {
        Patience { deadline: Instant::now() + REQUEST_TIMEOUT, pause: PAUSE_MIN }
    }

    /// Whether to ask again, after a pause, if that is so.
    async fn lasts(&mut self, error: &NativeError) -> bool {
        let settles = error.heals_itself() && !error.is_unreachable();
        settles && self.pause().await
    }

    /// Pauses, longer each time; `false` at the end.
    async fn pause(&mut self) -> bool {
        if Instant::now() >= self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

/// Waits for what waits for the network, but no longer once a broker does not let us in. What was
/// waited for goes on for its time, and nobody hears of it.
async fn unless_refused<T>(
    handle: &Handle,
    asked: impl Future<Output = T>,
) -> Result<T, ClientError> {
    tokio::select! {
        biased;
        done = asked => Ok(done),
        Refusal { address, reason } = handle.callbacks().refused() => {
            Err(ClientError::NotLetIn { address, reason })
        }
    }
}

/// Runs what waits for the network on a thread of its own.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ClientError> {
    // It does not panic, so that it did not finish means that the runtime is ending.
    tokio::task::spawn_blocking(call).await.map_err(|_| ClientError::ShuttingDown)
}

/// Which librdkafka this was built with.
pub fn librdkafka_version() -> String {
    native::handle::version()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_hosts_with_ports() {
        assert_eq!(check_address("localhost:9092").unwrap(), "localhost:9092");
        assert_eq!(check_address(" a:1, [::1]:2 ").unwrap(), "a:1,[::1]:2");
        for bad in ["", "localhost", "localhost:", ":9092", "a:1,,b:2", "a:0", "a:99999"] {
            let error = check_address(bad).unwrap_err().to_string();
            assert!(error.contains("expected HOST:PORT"), "{bad}: {error}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let properties = BTreeMap::from([("sasl.password".to_owned(), "hunter2".to_owned())]);
        let shown = format!("{:?}", RemoteOptions { properties, ..RemoteOptions::default() });
        assert!(shown.contains("sasl.password") && !shown.contains("hunter2"), "{shown}");
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_reason_and_what_to_do() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let connect_timeout = Duration::from_millis(300);
        let options = RemoteOptions { connect_timeout, ..RemoteOptions::default() };
        let error = RemoteClient::connect(&address, options).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{address}: no answer from the broker: ")), "{error}");
        assert!(error.contains("refused") && error.contains("millstream broker"), "{error}");
    }
}
