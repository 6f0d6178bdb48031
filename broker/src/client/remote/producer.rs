//! Producing: batches become librdkafka's messages; transactions are its own.
//!
//! librdkafka reports only what it could not deliver. Such a report fails the next send or flush,
//! and makes a transaction one that can only be aborted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::native::error::{NativeError, code};
use super::native::handle::FailedDelivery;
use super::native::partitions::PartitionList;
use super::native::producer::{self as native, WhenFull};
use super::native::queue::Queue;
use super::tunnel::Refusal;
use super::{Cluster, blocking, settings, unless_refused};
use crate::client::{ClientError, Flushing, Producer, ProducerOptions, TransactionOffsets};
use crate::ids::TopicPartition;
use crate::record::{BatchBuilder, Compression, ProducerStamp, Records};

/// Pause before a call of a transaction is made again that librdkafka says can be.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Writes to a cluster.
pub struct RemoteProducer {
    line: Line,
    /// Kept so that its callback serves failed deliveries.
    _queue: Queue,
    serving: AbortHandle,
    topics: HashMap<Arc<str>, KnownTopic>,
    transaction: Transaction,
    /// How long a transaction may take, and so each of its calls.
    transaction_timeout: Duration,
    /// Held by a flush under way: librdkafka waits until nothing is left to deliver, which would
    /// never be while more is sent.
    sending: Arc<Mutex<()>>,
}

/// What knows how a delivery went.
#[derive(Clone)]
struct Line {
    producer: native::Producer,
    transactional_id: Option<String>,
    cluster: Arc<Cluster>,
}

struct KnownTopic {
    native: Arc<native::Topic>,
    partitions: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A commit failed and took the records back itself; an abort has nothing left to do.
    TakenBack,
}

impl Line {
    /// Runs a call that waits for the network.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&native::Producer) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let producer = self.producer.clone();
        let handle = self.producer.handle();
        if let Some(Refusal { address, reason }) = handle.callbacks().refusal() {
            return Err(ClientError::NotLetIn { address, reason });
        }
        let done = unless_refused(handle, blocking(move || call(&producer))).await;
        if done.is_err() {
            // Else the thread would wait for records that will never be delivered.
            self.producer.give_up();
        }
        done?
    }

    /// The failed delivery of an earlier record, if there is one.
    async fn failed_delivery(&self) -> Result<(), ClientError> {
        match self.producer.take_failed_delivery() {
            None => Ok(()),
            Some(failed) => Err(self.delivery_error(failed).await),
        }
    }

    async fn delivery_error(&self, failed: FailedDelivery) -> ClientError {
        let FailedDelivery { topic, partition, size, error } = failed;
        if let Some(fatal) = self.producer.fatal() {
            return self.fenced_or_refused(fatal);
        }
        let to = TopicPartition::new(topic, partition);
        if matches!(error.code, code::MSG_SIZE_TOO_LARGE | code::RECORD_LIST_TOO_LARGE) {
            let limit = self.cluster.admin.topic_config(&to.topic, "max.message.bytes").await;
            let limit = limit.ok().flatten().and_then(|limit| limit.parse().ok());
            if let Some(size_max) = limit {
                return ClientError::BatchTooLarge { to, size, size_max };
            }
        }
        self.cluster.of_partition(&to, error)
    }

    fn fenced_or_refused(&self, error: NativeError) -> ClientError {
        let error = match self.producer.fatal() {
            Some(fatal) => fatal,
            None => error,
        };
        match &self.transactional_id {
            Some(id) if error.is_fenced() => ClientError::Fenced { transactional_id: id.clone() },
            Some(id) => self.cluster.refused(format!("transaction of '{id}'"), error),
            None => self.cluster.refused("producer".into(), error),
        }
    }

    /// Each record is delivered or given up when it returns.
    async fn flush(&self) -> Result<(), ClientError> {
        let timeout = settings::DELIVERY_TIMEOUT * 2;
        let outcome = self.call(move |native| native.flush(timeout)).await?;
        self.failed_delivery().await?;
        match self.producer.fatal() {
            Some(fatal) => Err(self.fenced_or_refused(fatal)),
            None => outcome.map_err(|error| self.fenced_or_refused(error)),
        }
    }
}

impl RemoteProducer {
    pub(super) async fn open(
        cluster: &Arc<Cluster>,
        options: ProducerOptions,
    ) -> Result<RemoteProducer, ClientError> {
        let what = match &options.transactional_id {
            Some(id) => format!("producer with transactional id '{id}'"),
            None => "producer".to_owned(),
        };
        let refused = |error| cluster.refused(what.clone(), error);
        let conf = settings::producer(&cluster.address, &cluster.options, &options);
        let producer = native::Producer::new(conf.map_err(refused)?, &cluster.closing.0);
        let producer = producer.map_err(refused)?;
        let (queue, serve) = producer.watch();
        let line = Line {
            producer,
            transactional_id: options.transactional_id,
            cluster: Arc::clone(cluster),
        };
        let producer = RemoteProducer {
            line,
            _queue: queue,
            serving: tokio::spawn(serve).abort_handle(),
            topics: HashMap::new(),
            transaction: Transaction::None,
            transaction_timeout: options.transaction_timeout,
            sending: Arc::default(),
        };
        let timeout = cluster.options.connect_timeout;
        let connected = producer.line.call(move |native| native.connect(timeout)).await?;
        connected.map_err(refused)?;
        if producer.line.transactional_id.is_some() {
            let deadline = producer.deadline();
            let outcome = producer
                .line
                .call(move |native| retry(deadline, |left| native.init_transactions(left)))
                .await?;
            outcome.map_err(|error| producer.line.fenced_or_refused(error))?;
        }
        Ok(producer)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.transaction_timeout
    }

    async fn topic(
        &mut self,
        partition: &TopicPartition,
        compression: Compression,
    ) -> Result<Arc<native::Topic>, ClientError> {
        let name = &partition.topic;
        let known = self.topics.get(name).filter(|known| partition.partition < known.partitions);
        if let (Some(known), true) = (known, partition.partition >= 0) {
            return Ok(Arc::clone(&known.native));
        }
        // Not known, or it has more partitions by now.
        let found = self.line.cluster.topic(name).await?;
        let found = found.ok_or_else(|| ClientError::UnknownTopic(name.to_string()))?;
        let native = match self.topics.get(name) {
            Some(known) => Arc::clone(&known.native),
            None => {
                let native = self.line.producer.topic(name, compression);
                Arc::new(native.map_err(|error| self.line.cluster.of_topic(name, error))?)
            }
        };
        let known = KnownTopic { native: Arc::clone(&native), partitions: found.partitions };
        self.topics.insert(Arc::clone(name), known);
        if (0..found.partitions).contains(&partition.partition) {
            Ok(native)
        } else {
            Err(ClientError::UnknownPartition(partition.clone()))
        }
    }

    /// Puts all records on the queue; off this thread from where that is full.
    async fn enqueue(
        &self,
        topic: Arc<native::Topic>,
        partition: i32,
        records: Records,
    ) -> Result<(), NativeError> {
        let sent =
            match produce(&self.line.producer, &topic, partition, &records, 0, WhenFull::Fail) {
                Err((sent, error)) if error.code == code::QUEUE_FULL => sent,
                outcome => return outcome.map_err(|(_, error)| error),
            };
        let rest = move |native: &native::Producer| {
            produce(native, &topic, partition, &records, sent, WhenFull::Block)
        };
        match self.line.call(rest).await {
            Ok(outcome) => outcome.map_err(|(_, error)| error),
            Err(error) => Err(NativeError::new(code::FATAL, error.to_string())),
        }
    }

    fn refused(&self, reason: &str) -> ClientError {
        let what = match &self.line.transactional_id {
            Some(id) => format!("transaction of '{id}'"),
            None => "producer without a transactional id".to_owned(),
        };
        ClientError::Refused { what, reason: reason.to_owned() }
    }

    /// Sends the offsets and commits.
    async fn try_commit(
        &self,
        offsets: Option<&TransactionOffsets>,
    ) -> Result<Result<(), NativeError>, ClientError> {
        let deadline = self.deadline();
        let offsets = match offsets.filter(|offsets| !offsets.offsets.is_empty()) {
            None => None,
            Some(offsets) => {
                let list = list_of(offsets).map_err(|error| self.line.fenced_or_refused(error))?;
                Some((offsets.group.clone(), offsets.membership.clone(), list))
            }
        };
        self.line
            .call(move |native| {
                if let Some((group, member, list)) = &offsets {
                    let member = member.as_ref().map(|it| (it.member_id.as_str(), it.generation));
                    retry(deadline, |left| native.send_offsets(group, member, list, left))?;
                }
                retry(deadline, |left| native.commit_transaction(left))
            })
            .await
    }

    async fn try_abort(&self) -> Result<(), ClientError> {
        let deadline = self.deadline();
        let abort =
            move |native: &native::Producer| retry(deadline, |left| native.abort_transaction(left));
        self.line.call(abort).await?.map_err(|error| self.line.fenced_or_refused(error))
    }
}

#[async_trait]
impl Producer for RemoteProducer {
    async fn send(&mut self, to: &TopicPartition, batch: BatchBuilder) -> Result<(), ClientError> {
        let sending = self.sending.clone();
        let _flushed = sending.lock().await;
        self.line.failed_delivery().await?;
        if self.line.transactional_id.is_some() && self.transaction != Transaction::Open {
            return Err(self.refused("send needs an open transaction: call begin before"));
        }
        if batch.is_empty() {
            return Ok(());
        }
        let (size, compression) = (batch.size(), batch.compression());
        let topic = self.topic(to, compression).await?;
        // librdkafka packs by itself, as the topic was set up for.
        let batch = batch.with_compression(Compression::None).build(ProducerStamp::NONE);
        let records = batch.records().map_err(|error| ClientError::Refused {
            what: format!("batch for {to}"),
            reason: error.to_string(),
        })?;
        match self.enqueue(topic, to.partition, records).await {
            Ok(()) => Ok(()),
            Err(error) if error.code == code::MSG_SIZE_TOO_LARGE => {
                let size_max = settings::RECORD_BYTES_MAX;
                Err(ClientError::BatchTooLarge { to: to.clone(), size, size_max })
            }
            Err(error) => {
                // What made the producer refuse is mostly in an earlier record's report.
                self.line.failed_delivery().await?;
                Err(self.line.fenced_or_refused(error))
            }
        }
    }

    fn flushing(&mut self) -> Flushing {
        let (line, sending) = (self.line.clone(), self.sending.clone());
        let held = sending.clone().try_lock_owned();
        Box::pin(async move {
            let _held = match held {
                Ok(held) => held,
                Err(_) => sending.lock_owned().await,
            };
            line.flush().await
        })
    }

    async fn begin(&mut self) -> Result<(), ClientError> {
        if self.line.transactional_id.is_none() {
            return Err(self.refused("it has no transactions"));
        }
        if let Some(fatal) = self.line.producer.fatal() {
            return Err(self.line.fenced_or_refused(fatal));
        }
        if self.transaction == Transaction::Open {
            return Err(self.refused("it is open already: commit or abort it before the next"));
        }
        let outcome = self.line.call(native::Producer::begin_transaction).await?;
        outcome.map_err(|error| self.line.fenced_or_refused(error))?;
        self.transaction = Transaction::Open;
        Ok(())
    }

    async fn commit(&mut self, offsets: Option<&TransactionOffsets>) -> Result<(), ClientError> {
        if self.transaction != Transaction::Open {
            return Err(self.refused("none is open: call begin before"));
        }
        let Err(error) = self.try_commit(offsets).await? else {
            self.transaction = Transaction::None;
            return Ok(());
        };
        let failed = self.line.producer.take_failed_delivery();
        let failed = failed.filter(|failed| !failed.error.is_purged());
        if error.abortable {
            // Whether this producer was fenced shows here at the latest.
            self.try_abort().await?;
            self.line.producer.take_failed_delivery();
            self.transaction = Transaction::TakenBack;
        }
        Err(match (failed, offsets) {
            (Some(failed), _) => self.line.delivery_error(failed).await,
            (None, Some(offsets)) if is_of_member(&error) => {
                self.line.cluster.of_group(&offsets.group, error)
            }
            _ => self.line.fenced_or_refused(error),
        })
    }

    async fn abort(&mut self) -> Result<(), ClientError> {
        match self.transaction {
            Transaction::None => return Err(self.refused("none is open: call begin before")),
            Transaction::TakenBack => {}
            Transaction::Open => self.try_abort().await?,
        }
        self.transaction = Transaction::None;
        // What the abort dropped counts as not delivered.
        self.line.producer.take_failed_delivery();
        Ok(())
    }
}

impl Drop for RemoteProducer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Puts records on the queue from index `from` on; an error comes with how far that got.
fn produce(
    producer: &native::Producer,
    topic: &native::Topic,
    partition: i32,
    records: &Records,
    from: usize,
    when_full: WhenFull,
) -> Result<(), (usize, NativeError)> {
    for (index, record) in records.iter().enumerate().skip(from) {
        let malformed = |reason: String| NativeError::new(code::BAD_MSG, reason);
        let record = record.map_err(|error| (index, malformed(error.to_string())))?;
        producer.produce(topic, partition, &record, when_full).map_err(|error| (index, error))?;
    }
    Ok(())
}

/// Makes a call again as long as librdkafka says that this can help.
fn retry(
    deadline: Instant,
    call: impl Fn(Duration) -> Result<(), NativeError>,
) -> Result<(), NativeError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(RETRY_PAUSE);
        match call(left) {
            Err(error) if error.retriable && !error.fatal && Instant::now() < deadline => {
                std::thread::sleep(RETRY_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn list_of(offsets: &TransactionOffsets) -> Result<PartitionList, NativeError> {
    let mut list = PartitionList::with_capacity(offsets.offsets.len());
    for (at, committed) in &offsets.offsets {
        let offset = committed.offset.0;
        list.add_with_metadata(&at.topic, at.partition, offset, &committed.metadata)?;
    }
    Ok(list)
}

/// The group has moved on without the member that read the records.
fn is_of_member(error: &NativeError) -> bool {
    matches!(
        error.code,
        code::ILLEGAL_GENERATION
            | code::UNKNOWN_MEMBER_ID
            | code::FENCED_INSTANCE_ID
            | code::REBALANCE_IN_PROGRESS
    )
}
