//! The broker: topics, their partitions, and the jobs that keep them.
//!
//! ```text
//! Broker::open ─► lock, identity, catalog ─► partitions (recovered in parallel) ─► jobs
//!    create, delete, alter ─► catalog (durable) ─► directories ─► visible to lookups
//!    topic, partition ─► one shared snapshot, no lock held across anything
//!    shutdown ─► jobs end ─► every partition flushed and closed in order ─► lock released
//! ```
//!
//! Invariants: changes of topics are made one at a time, in the catalog first. Lookups never wait
//! for them. A partition that fails to open is offline, rather than served empty, and keeps no
//! other from being served; only those of the broker's own topics keep it from starting, since
//! groups and transactions would be forgotten without them.

mod changes;
pub(crate) mod client_metrics;
pub(crate) mod client_quotas;
pub(crate) mod coordinators;
mod dynamic;
pub(crate) mod group_configs;
mod jobs;
pub(crate) mod state_log;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::histogram::Histogram;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::coordinators::Coordinators;
pub use self::dynamic::{DynamicConfigError, Scope, is_dynamic};
pub use crate::coordinator::groups::GroupConfig;
use crate::coordinator::groups::GroupService;
pub use crate::coordinator::groups::consumer::{
    ConsumerConfig, MigrationPolicy, assignor::Assignor,
};
use crate::coordinator::shares::service::ShareService;
pub use crate::coordinator::shares::{partition::Limits as ShareLimits, service::ShareConfig};
pub use crate::coordinator::transactions::TransactionConfig;
use crate::coordinator::transactions::TransactionService;
use crate::data_dir::{self, DataDirError, DataDirLock, Meta, load_meta};
use crate::ids::{LeaderEpoch, TopicPartition};
use crate::log::disk::{Disk, OsDisk};
pub use crate::log::{Cut, LogOpenError, RecoveryReport, StorageError};
use crate::log::{OpenFiles, Partition, PartitionOptions};
use crate::metrics::{self, Metrics};
use crate::quotas::Quotas;
use crate::security::store::{SecurityStore, StoreError};
use crate::topics::{
    Catalog, CatalogError, ConfigError, DynamicConfigs, TopicConfig, TopicNameError, TopicRecord,
    config, is_internal,
};

/// More partitions per topic than this are a mistake: each costs files.
pub const PARTITIONS_MAX: i32 = 100_000;

/// How a broker runs.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    pub data_dir: PathBuf,
    /// Taken for a new data directory only.
    pub node_id: i32,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `num.partitions`
    pub partitions_default: i32,
    /// Topic configs that hold where a topic has none of its own.
    pub topic_defaults: BTreeMap<String, String>,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval: Duration,
    /// `log.cleaner.enable`: without it nothing is compacted, not even the broker's own topics.
    pub cleaner_enabled: bool,
    /// `log.cleaner.backoff.ms`: how often compacted topics are looked at.
    pub cleaner_backoff: Duration,
    /// `log.cleaner.io.max.bytes.per.second`: of reading and writing together; a change takes
    /// effect at once.
    pub cleaner_bytes_per_second_max: f64,
    /// `producer.id.expiration.ms`: after such a silence a producer is forgotten, and a retry of
    /// its last batches no longer recognised.
    pub producer_id_expiration_ms: i64,
    /// `log.cleaner.dedupe.buffer.size`: what compaction takes to know the latest record of each
    /// key. Less memory means more passes.
    pub cleaner_dedupe_bytes: usize,
    pub groups: GroupConfig,
    pub shares: ShareConfig,
    pub transactions: TransactionConfig,
}

impl BrokerConfig {
    pub fn new(data_dir: impl Into<PathBuf>) -> BrokerConfig {
        BrokerConfig {
            data_dir: data_dir.into(),
            node_id: 1,
            auto_create_topics: true,
            partitions_default: 1,
            topic_defaults: BTreeMap::new(),
            retention_check_interval: Duration::from_secs(300),
            cleaner_enabled: true,
            cleaner_backoff: Duration::from_secs(15),
            cleaner_bytes_per_second_max: f64::MAX,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            cleaner_dedupe_bytes: 128 << 20,
            groups: GroupConfig::default(),
            shares: ShareConfig::default(),
            transactions: TransactionConfig::default(),
        }
    }
}

/// Why a broker cannot start.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Security(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogOpenError),
    #[error("topic '{topic}': {source}")]
    Config { topic: String, source: ConfigError },
    #[error("{0}")]
    Defaults(ConfigError),
    #[error("cannot read the state of groups and transactions: {0}")]
    Coordinator(String),
}

/// Why topics were not changed.
#[derive(Clone, Debug, Error)]
pub enum TopicError {
    #[error("topic '{0}' exists already")]
    Exists(String),
    #[error("topic '{0}' does not exist")]
    Unknown(String),
    #[error(transparent)]
    Name(#[from] TopicNameError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("topic '{name}': {partitions} partitions, where 1 to {PARTITIONS_MAX} are possible")]
    Partitions { name: String, partitions: i32 },
    #[error("topic '{name}' has {now} partitions; the number can only grow, not become {wanted}")]
    FewerPartitions { name: String, now: i32, wanted: i32 },
    #[error("topic '{name}': {} is in the way; it belongs to no topic, move it", dir.display())]
    InTheWay { name: String, dir: PathBuf },
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Log(#[from] LogOpenError),
    #[error("the broker is shutting down")]
    ShuttingDown,
}

impl TopicError {
    /// Kafka's error code.
    pub fn code(&self) -> i16 {
        match self {
            TopicError::Unknown(_) => 3,
            TopicError::ShuttingDown => 6,
            TopicError::Name(_) => 17,
            TopicError::Exists(_) => 36,
            TopicError::Partitions { .. } | TopicError::FewerPartitions { .. } => 37,
            TopicError::Config(_) => 40,
            TopicError::InTheWay { .. } | TopicError::Catalog(_) | TopicError::Log(_) => 56,
        }
    }
}

impl From<StorageError> for TopicError {
    fn from(error: StorageError) -> TopicError {
        TopicError::Catalog(error.into())
    }
}

/// A topic as it is now; a change makes another.
#[derive(Debug)]
pub struct Topic {
    pub name: Arc<str>,
    pub id: Uuid,
    pub config: TopicConfig,
    pub internal: bool,
    partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// In order of their numbers.
    pub(crate) fn partitions(&self) -> &[Arc<Partition>] {
        &self.partitions
    }

    pub fn partitions_count(&self) -> i32 {
        self.partitions.len() as i32
    }

    pub(crate) fn partition(&self, partition: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

/// What lookups see.
#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Topics {
    fn put(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }
}

/// One node's broker. Everything that serves clients, over sockets or in this process, goes
/// through it.
#[derive(Debug)]
pub struct Broker {
    config: BrokerConfig,
    meta: Meta,
    disk: Arc<dyn Disk>,
    runtime: Handle,
    topics: RwLock<Topics>,
    /// Held while topics are changed.
    catalog: Mutex<Catalog>,
    /// Counts changes of topics.
    changes: watch::Sender<u64>,
    reports: Vec<(TopicPartition, RecoveryReport)>,
    closing: AtomicBool,
    stop: CancellationToken,
    jobs: TaskTracker,
    lock: Mutex<Option<DataDirLock>>,
    address: Mutex<Option<String>>,
    coordinators: OnceLock<Coordinators>,
    open_files: Arc<OpenFiles>,
    dynamic: RwLock<DynamicConfigs>,
    /// Those of `dynamic`, for every request to look at.
    quotas: RwLock<Arc<Quotas>>,
    has_quotas: AtomicBool,
    security: Arc<SecurityStore>,
    /// How long fsyncs of records take.
    fsyncs: Histogram,
    metrics: OnceLock<Metrics>,
}

/// The wall clock, in ms since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Opening and closing.
impl Broker {
    /// Opens the data directory, which is created if need be, and starts the jobs on the current
    /// runtime.
    pub async fn open(config: BrokerConfig) -> Result<Arc<Broker>, OpenError> {
        Broker::open_on(Arc::new(OsDisk), config).await
    }

    async fn open_on(disk: Arc<dyn Disk>, config: BrokerConfig) -> Result<Arc<Broker>, OpenError> {
        let runtime = Handle::current();
        let open = move || Broker::open_blocking(disk, config, runtime);
        let broker = tokio::task::spawn_blocking(open).await.expect("opening does not panic")?;
        broker.coordinators().recover(&broker).await?;
        broker.start_jobs();
        Ok(broker)
    }

    fn open_blocking(
        disk: Arc<dyn Disk>,
        config: BrokerConfig,
        runtime: Handle,
    ) -> Result<Arc<Broker>, OpenError> {
        config::check(&config.topic_defaults).map_err(OpenError::Defaults)?;
        data_dir::allow_open_files();
        let lock = DataDirLock::acquire(&config.data_dir)?;
        let meta = load_meta(&*disk, &config.data_dir, config.node_id)?;
        let catalog = Catalog::open(disk.clone(), &config.data_dir)?;
        let security = Arc::new(SecurityStore::open(disk.clone(), &config.data_dir)?);
        let records: Vec<TopicRecord> = catalog.topics().cloned().collect();
        let dynamic = catalog.dynamic().clone();
        let mut broker = Broker {
            config,
            meta,
            disk,
            runtime,
            topics: RwLock::default(),
            catalog: Mutex::new(catalog),
            changes: watch::Sender::new(0),
            reports: Vec::new(),
            closing: AtomicBool::new(false),
            stop: CancellationToken::new(),
            jobs: TaskTracker::new(),
            lock: Mutex::new(Some(lock)),
            address: Mutex::default(),
            coordinators: OnceLock::new(),
            open_files: Arc::default(),
            quotas: RwLock::new(Arc::new(dynamic.quotas.clone())),
            has_quotas: AtomicBool::new(!dynamic.quotas.is_empty()),
            dynamic: RwLock::new(dynamic),
            security,
            fsyncs: metrics::durations(),
            metrics: OnceLock::new(),
        };
        let topics = broker.open_topics(&records)?;
        for topic in &topics {
            for partition in topic.partitions() {
                if let Some(report) = partition.recovery_report() {
                    broker.reports.push((partition.id().clone(), report.clone()));
                }
            }
        }
        for topic in topics {
            broker.topics_mut(|topics| topics.put(Arc::new(topic)));
        }
        let broker = Arc::new(broker);
        broker.coordinators.set(Coordinators::new(&broker)).expect("set once, here");
        let metrics = Metrics::new(Arc::downgrade(&broker), broker.fsyncs.clone());
        broker.metrics.set(metrics).expect("set once, here");
        Ok(broker)
    }

    /// Opens partitions on all cores: after a crash each is scanned.
    fn open_topics(&self, records: &[TopicRecord]) -> Result<Vec<Topic>, OpenError> {
        let configs: Vec<TopicConfig> =
            records.iter().map(|record| self.topic_config(record)).collect::<Result<_, _>>()?;
        let wanted: Vec<(usize, i32)> = records
            .iter()
            .enumerate()
            .flat_map(|(topic, record)| (0..record.partitions).map(move |number| (topic, number)))
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
        let share = wanted.len().div_ceil(threads).max(1);
        let open = |(topic, number): &(usize, i32)| {
            self.open_or_do_without(&records[*topic], &configs[*topic], *number)
        };
        let opened: Vec<Result<Vec<Arc<Partition>>, LogOpenError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = wanted
                .chunks(share)
                .map(|share| scope.spawn(move || share.iter().map(open).collect()))
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|opened| opened.expect("opening does not panic")).collect()
        });
        let opened: Vec<Vec<Arc<Partition>>> = opened.into_iter().collect::<Result<_, _>>()?;
        let mut partitions = opened.into_iter().flatten();
        let topics = records.iter().zip(configs).map(|(record, config)| {
            let own = partitions.by_ref().take(record.partitions as usize).collect();
            topic(record, config, own)
        });
        Ok(topics.collect())
    }

    fn topic_config(&self, record: &TopicRecord) -> Result<TopicConfig, OpenError> {
        TopicConfig::new(record.configs.clone(), self.topic_defaults())
            .map_err(|source| OpenError::Config { topic: record.name.clone(), source })
    }

    /// Opens a partition that was there before; one that cannot be opened is offline (KIP-112).
    fn open_or_do_without(
        &self,
        record: &TopicRecord,
        config: &TopicConfig,
        number: i32,
    ) -> Result<Arc<Partition>, LogOpenError> {
        let error = match self.open_partition(record, config, number) {
            Err(error) if !is_internal(&record.name) && !error.is_of_process() => error,
            opened => return opened,
        };
        let options = self.partition_options(record, config, number);
        tracing::error!(partition = %options.partition, %error,
            "cannot open the log: this partition is offline, all others are served. Mend or \
             restore {} and restart the broker, or delete the topic", options.dir.display());
        Ok(Partition::unread(options, error))
    }

    fn open_partition(
        &self,
        record: &TopicRecord,
        config: &TopicConfig,
        number: i32,
    ) -> Result<Arc<Partition>, LogOpenError> {
        Partition::open(self.partition_options(record, config, number))
    }

    fn partition_options(
        &self,
        record: &TopicRecord,
        config: &TopicConfig,
        number: i32,
    ) -> PartitionOptions {
        PartitionOptions {
            partition: TopicPartition::new(record.name.as_str(), number),
            topic_id: record.id,
            dir: self.config.data_dir.join(record.dir_name(number)),
            config: self.log_config(config),
            disk: self.disk.clone(),
            runtime: Some(self.runtime.clone()),
            fsyncs: Some(self.fsyncs.clone()),
            open_files: self.open_files.clone(),
            epoch: LeaderEpoch(self.meta.starts),
            now_ms: now_ms(),
        }
    }

    /// Ends the jobs, then makes everything durable and marks it so. Appends are refused from
    /// here on. Calling it again does nothing.
    pub async fn shutdown(self: &Arc<Self>) -> Result<(), StorageError> {
        if self.closing.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.stop.cancel();
        self.jobs.close();
        self.jobs.wait().await;
        let broker = self.clone();
        let close = move || {
            // A change of topics that is under way ends first.
            let _no_changes = broker.catalog.lock().unwrap_or_else(PoisonError::into_inner);
            let result = jobs::close_all(&broker.topics());
            broker.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
            result
        };
        tokio::task::spawn_blocking(close).await.expect("closing does not panic")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Looking up.
impl Broker {
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    pub fn cluster_id(&self) -> &str {
        &self.meta.cluster_id
    }

    pub fn node_id(&self) -> i32 {
        self.meta.node_id
    }

    /// Tells other processes that find the directory locked where this broker listens.
    pub fn announce(&self, address: &str) -> Result<(), StorageError> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address.to_owned());
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_ref().map_or(Ok(()), |lock| lock.announce(address))
    }

    /// Where this broker listens, or else where its data is.
    pub fn address(&self) -> String {
        let announced = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        announced.unwrap_or_else(|| self.config.data_dir.display().to_string())
    }

    /// Waits until the broker begins to shut down.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// The coordinator of consumer groups.
    pub(crate) fn groups(&self) -> &Arc<GroupService> {
        &self.coordinators().groups
    }

    /// What share groups have read.
    pub(crate) fn shares(&self) -> &Arc<ShareService> {
        &self.coordinators().shares
    }

    /// The coordinator of transactions.
    pub(crate) fn transactions(&self) -> &Arc<TransactionService> {
        &self.coordinators().transactions
    }

    /// Changes its value whenever a transaction has ended and its offsets are decided.
    pub(crate) fn ended_transactions(&self) -> watch::Receiver<u64> {
        self.coordinators().ended.subscribe()
    }

    /// Who may do what, and who is who.
    pub(crate) fn security(&self) -> &Arc<SecurityStore> {
        &self.security
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.metrics.get().expect("set before the broker is handed out")
    }

    fn coordinators(&self) -> &Coordinators {
        self.coordinators.get().expect("set before the broker is handed out")
    }

    /// What opening had to scan and repair, by partition; empty after an orderly shutdown.
    pub fn recovery_reports(&self) -> &[(TopicPartition, RecoveryReport)] {
        &self.reports
    }

    pub fn is_shutting_down(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics_ref(|topics| topics.by_name.get(name).cloned())
    }

    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics_ref(|topics| topics.by_id.get(&id).cloned())
    }

    /// All topics by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics_ref(|topics| topics.by_name.values().cloned().collect())
    }

    pub(crate) fn partition(&self, of: &TopicPartition) -> Option<Arc<Partition>> {
        let topic = self.topic(&of.topic)?;
        topic.partition(of.partition).cloned()
    }

    /// Changes its value whenever a topic is created, deleted or changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn topics_ref<T>(&self, look: impl FnOnce(&Topics) -> T) -> T {
        look(&self.topics.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn topics_mut(&self, change: impl FnOnce(&mut Topics)) {
        change(&mut self.topics.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
    }
}

/// A topic as lookups see it.
fn topic(record: &TopicRecord, config: TopicConfig, partitions: Vec<Arc<Partition>>) -> Topic {
    let name: Arc<str> = record.name.as_str().into();
    Topic { id: record.id, config, internal: is_internal(&name), name, partitions }
}

#[cfg(test)]
mod tests;
