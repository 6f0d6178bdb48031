//! Drives a sink task: read, put, flush, commit.
//!
//! The task reads as a member of its connector's group. Offsets are committed after the task
//! has made their records durable, so nothing is lost; a task that keeps offsets with its output
//! says where it is, and gets nothing twice. Where a pattern says which topics to read, it looks
//! for others now and then, and reads them from then on.

use std::collections::BTreeMap;
use std::time::Duration;

use broker::client::{
    Client, ClientError, FetchedBatches, Isolation, OffsetSpec, Reader, ReaderEvent, WithoutOffset,
};
use broker::ids::{Offset, TopicPartition};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Ended, TaskSetup};
use crate::chain::{Chain, ChainError, FailedRecord};
use crate::config::clients::Reading;
use crate::config::topics::TopicChoice;
use crate::data::{ConnectRecord, Text};
use crate::errors::{DeadLetters, ErrorPolicy, Retriable};
use crate::plugin::{METADATA_MAX_AGE, Plugin};
use crate::status::{ConnectorState, Trouble};
use crate::task::{
    Put, Refused, SinkContext, SinkPartition, SinkRecords, SinkTask, TaskError, UnreadableBatch,
};
use crate::topics;

pub(super) async fn run(
    setup: TaskSetup,
    mut task: Box<dyn SinkTask>,
    finish: CancellationToken,
) -> Result<Ended, TaskError> {
    let reading = setup.config.reading();
    let start = async {
        let trouble = Trouble::new(setup.reporter.clone());
        task.start(&SinkContext { stop: setup.stop.clone(), trouble }).await?;
        Ok::<_, TaskError>(Topics::open(&setup, &reading).await?)
    };
    let topics = tokio::select! {
        () = setup.stop.cancelled() => return Ok(Ended::Stopped),
        topics = start => topics?,
    };
    let errors = ErrorPolicy::new(&setup.config, setup.task);
    let mut runner = Runner {
        chain: Chain::new(&setup.config),
        dead_letters: DeadLetters::new(&setup.config, setup.task),
        errors,
        setup,
        task,
        topics,
        reading,
        partitions: BTreeMap::new(),
        assigned: false,
        commit_at: None,
        putting: None,
    };
    match runner.run(finish).await {
        Ok(ended) => {
            runner.task.stop().await;
            Ok(ended)
        }
        Err(error) => {
            runner.commit_delivered().await;
            Err(error)
        }
    }
}

/// One partition that the task has.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Records before this one are in the sink's output already, or were committed: a batch that is
    /// read may begin before that.
    from: Offset,
    /// The next record to read.
    position: Offset,
    /// One past the last record there was at the last look.
    end: Offset,
    /// Where to finish, once that is asked for.
    goal: Option<Offset>,
    /// Where it was when it was assigned.
    began: Offset,
}

/// Records being put.
struct Putting {
    records: SinkRecords,
    /// The first of them that was refused.
    refused: Option<Offset>,
}

/// The topics that are read, and reading them.
struct Topics {
    names: Vec<String>,
    /// `None`: none matches yet.
    reader: Option<Box<dyn Reader>>,
    /// When to look for others.
    look_at: Option<Instant>,
}

impl Topics {
    async fn open(setup: &TaskSetup, reading: &Reading) -> Result<Topics, ClientError> {
        let found = chosen(setup).await?;
        let mut topics = Topics { names: Vec::new(), reader: None, look_at: None };
        topics.read(setup, reading, found).await?;
        topics.look_later(setup);
        Ok(topics)
    }

    fn look_later(&mut self, setup: &TaskSetup) {
        if let TopicChoice::Matching(_) = setup.config.topics() {
            let ms = setup.config.integer(METADATA_MAX_AGE) as u64;
            self.look_at = Some(Instant::now() + Duration::from_millis(ms));
        }
    }

    /// Those that match now, if they are others than are read.
    async fn changed(&mut self, setup: &TaskSetup) -> Result<Option<Vec<String>>, ClientError> {
        if self.look_at.is_none() {
            return Ok(None);
        }
        self.look_later(setup);
        let found = chosen(setup).await?;
        Ok((found != self.names).then_some(found))
    }

    /// Reads these from now on, as the member that it is of the group.
    async fn read(
        &mut self,
        setup: &TaskSetup,
        reading: &Reading,
        names: Vec<String>,
    ) -> Result<(), ClientError> {
        self.reader = None;
        if !names.is_empty() {
            let options = reading.options(names.clone(), setup.options.session_timeout);
            self.reader = Some(setup.client.reader(options).await?);
        }
        self.names = names;
        Ok(())
    }

    async fn next(&mut self) -> Result<ReaderEvent, ClientError> {
        match &mut self.reader {
            Some(reader) => reader.next().await,
            None => std::future::pending().await,
        }
    }

    async fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        match &mut self.reader {
            Some(reader) => reader.commit(offsets).await,
            None => Ok(()),
        }
    }
}

async fn chosen(setup: &TaskSetup) -> Result<Vec<String>, ClientError> {
    let found = topics::chosen(&*setup.client, setup.config.topics()).await?;
    Ok(found.into_iter().map(|topic| topic.name).collect())
}

struct Runner {
    setup: TaskSetup,
    task: Box<dyn SinkTask>,
    topics: Topics,
    reading: Reading,
    partitions: BTreeMap<TopicPartition, Progress>,
    /// Whether the group has said what is ours.
    assigned: bool,
    /// When to commit what was put since the last commit.
    commit_at: Option<Instant>,
    /// What did not get through yet.
    putting: Option<Putting>,
    chain: Chain,
    errors: ErrorPolicy,
    dead_letters: Option<DeadLetters>,
}

impl Runner {
    async fn run(&mut self, finish: CancellationToken) -> Result<Ended, TaskError> {
        let stop = self.setup.stop.clone();
        let mut finishing = false;
        loop {
            // Only waiting is given up when another branch is first: reading can be resumed.
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.commit().await?;
                    return Ok(Ended::Stopped);
                }
                () = finish.cancelled(), if !finishing => {
                    finishing = true;
                    self.look_for_topics().await?;
                    self.set_goals().await?;
                }
                () = sleep_until(self.commit_at) => {
                    self.setup.activity.begin();
                    self.commit().await?;
                }
                () = sleep_until(self.topics.look_at) => self.look_for_topics().await?,
                event = self.topics.next() => match event? {
                    ReaderEvent::Batches(fetched) => {
                        self.setup.activity.begin();
                        self.setup.activity.used(&fetched.partition);
                        self.put(fetched).await?;
                    }
                    ReaderEvent::Assigned(partitions) => {
                        self.assign(partitions).await?;
                        if finishing {
                            self.set_goals().await?;
                        }
                    }
                    ReaderEvent::Revoked(partitions) => self.revoke(&partitions).await?,
                },
            }
            self.setup.activity.end();
            if finishing && self.is_at_goals() {
                self.task.finish().await?;
                self.commit_at.get_or_insert_with(Instant::now);
                self.commit().await?;
                return Ok(Ended::Finished);
            }
        }
    }

    /// Reads those too that match by now, if a pattern says which to read.
    async fn look_for_topics(&mut self) -> Result<(), TaskError> {
        let found = match self.topics.changed(&self.setup).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(error) => {
                warn!("connector '{}': no look at topics: {error}", self.setup.config.name());
                return Ok(());
            }
        };
        let partitions: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        if !partitions.is_empty() {
            self.revoke(&partitions).await?;
        }
        self.assigned = false;
        Ok(self.topics.read(&self.setup, &self.reading, found).await?)
    }

    async fn put(&mut self, fetched: FetchedBatches) -> Result<(), TaskError> {
        let Some(progress) = self.partitions.get_mut(&fetched.partition) else { return Ok(()) };
        progress.position = fetched.next_offset;
        progress.end = fetched.end_offset;
        let from = progress.from;
        if fetched.next_offset > from {
            let (mut records, failed) = self.read(fetched, from)?;
            let mut skipped = self.dispose(failed).await?;
            while let Some(put) = self.put_with_retries(&records).await? {
                skipped += put.skipped;
                self.report(put.records, put.bytes, std::mem::take(&mut skipped));
                let has_moved = has_moved(&put);
                let Some(next) = put.next else { break };
                if self.setup.stop.is_cancelled() {
                    break;
                }
                records = records.after(next);
                self.commit_if_due().await?;
                if has_moved {
                    self.setup.activity.end();
                    self.setup.activity.begin();
                }
            }
        }
        self.commit_later();
        Ok(())
    }

    fn commit_later(&mut self) {
        let interval = self.setup.options.commit_interval;
        self.commit_at.get_or_insert_with(|| Instant::now() + interval);
    }

    /// In the midst of records that take long.
    async fn commit_if_due(&mut self) -> Result<(), TaskError> {
        self.commit_later();
        if self.commit_at.is_some_and(|at| at <= Instant::now()) {
            self.commit().await?;
        }
        Ok(())
    }

    /// What the task gets of these records, and those that did not get through.
    fn read(
        &mut self,
        fetched: FetchedBatches,
        from: Offset,
    ) -> Result<(SinkRecords, Vec<FailedRecord>), TaskError> {
        let mut records = SinkRecords::new(fetched, from);
        if self.chain.passes_bytes() && !self.task.wants_values() {
            return Ok((records, Vec::new()));
        }
        let (mut values, mut failed) = (Vec::new(), Vec::new());
        let TopicPartition { topic, partition } = records.partition().clone();
        let topic = Text::from(&*topic);
        records.for_each(|record| {
            match self.chain.read(&topic, partition, record) {
                Ok(value) => values.extend(value),
                Err(error) => failed.push(FailedRecord::new(&topic, partition, record, error)),
            }
            Ok::<(), UnreadableBatch>(())
        })?;
        records.values = Some(values.into());
        Ok((records, failed))
    }

    /// Lets records go that did not get through, if that is wanted. Returns how many.
    async fn dispose(&mut self, failed: Vec<FailedRecord>) -> Result<u64, TaskError> {
        if failed.is_empty() {
            return Ok(0);
        }
        for record in &failed {
            let FailedRecord { topic, partition, offset, error, .. } = record;
            let place = format!("record at offset {offset} of partition {topic}-{partition}");
            self.errors.tolerate(error, &place)?;
        }
        if let Some(letters) = &mut self.dead_letters {
            letters.write(&*self.setup.client, &failed).await?;
        }
        Ok(failed.len() as u64)
    }

    /// Records that the task refuses are disposed of before the others count.
    async fn try_put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        self.putting = Some(Putting { records: records.clone(), refused: None });
        let mut put = self.task.put(records).await?;
        let refused = std::mem::take(&mut put.refused);
        let first = refused.iter().map(|one| one.offset).min();
        self.putting = Some(Putting { records: records.clone(), refused: first });
        let refused = self::refused(self.setup.config.plugin(), records, refused)?;
        put.skipped += self.dispose(refused).await?;
        self.task.disposed().await?;
        self.putting = None;
        Ok(put)
    }

    /// After a failure: what is delivered need not come again at the next start.
    async fn commit_delivered(&mut self) {
        let mut done = self.task.delivered();
        let mut records = 0;
        if let Some(Putting { records: put, refused }) = &self.putting
            && let Some((_, to)) =
                done.iter_mut().find(|(partition, _)| partition == put.partition())
        {
            *to = refused.map_or(*to, |refused| refused.min(*to));
            let is_done = |value: &&ConnectRecord| value.kafka_offset.is_some_and(|at| at < *to);
            let values = put.given_values().unwrap_or_default();
            records = values.iter().filter(is_done).count() as u64;
        }
        done.retain(|(partition, offset)| {
            self.partitions.get(partition).is_some_and(|progress| progress.began < *offset)
        });
        if done.is_empty() {
            return;
        }
        if let Err(error) = self.topics.commit(&done).await {
            let name = self.setup.config.name();
            warn!(
                "connector '{name}': what was delivered before it failed will come again, since \
                 its offsets are not committed: {error}"
            );
        }
        self.report(records, 0, 0);
    }

    /// `None`: it was told to stop between two attempts.
    async fn put_with_retries(&mut self, records: &SinkRecords) -> Result<Option<Put>, TaskError> {
        let mut attempts = self.errors.attempts();
        loop {
            let error = match self.try_put(records).await {
                Ok(put) => {
                    if has_moved(&put) {
                        self.setup.reporter.trouble(None);
                    }
                    return Ok(Some(put));
                }
                Err(error) => error,
            };
            if self.setup.stop.is_cancelled() && error.is::<Retriable>() {
                warn!("connector '{}': stopped before a retry: {error}", self.setup.config.name());
                return Ok(None);
            }
            let Some(delay) = attempts.next(&error, Instant::now()) else { return Err(error) };
            warn!("connector '{}': {error}; next attempt in {delay:?}", self.setup.config.name());
            self.setup.reporter.trouble(Some(error.to_string()));
            tokio::select! {
                // Its offsets are not committed, so it is put again after the next start.
                () = self.setup.stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn assign(&mut self, partitions: Vec<TopicPartition>) -> Result<(), TaskError> {
        self.assigned = true;
        let opened = topic_ids(&*self.setup.client, &partitions).await?;
        let in_output: BTreeMap<_, _> = self.task.open(&opened).await?.into_iter().collect();
        let client = self.setup.client.clone();
        let (committed, starts, ends) = futures::try_join!(
            client.committed_offsets(&self.reading.group, &partitions),
            client.list_offsets(&partitions, OffsetSpec::Earliest),
            client.list_offsets(&partitions, OffsetSpec::Latest(Isolation::ReadUncommitted)),
        )?;
        let offsets = committed.into_iter().zip(starts).zip(ends);
        for (partition, ((committed, start), end)) in partitions.into_iter().zip(offsets) {
            let start = start.unwrap_or(Offset::ZERO);
            let end = end.unwrap_or(start);
            let mut from = in_output.get(&partition).copied().unwrap_or(Offset::ZERO);
            if from > end {
                warn!(
                    "connector '{}': its output holds partition {partition} up to offset {from}, \
                     but that ends at {end}; it was deleted or lost, and is written from there on",
                    self.setup.config.name()
                );
                from = Offset::ZERO;
            }
            // As the reader does: what is committed may be gone, or of a topic deleted since.
            let committed = committed.map(|committed| committed.offset);
            let committed = committed.filter(|at| (start..=end).contains(at));
            let position = committed.unwrap_or(match self.reading.without_offset {
                WithoutOffset::Earliest => start,
                WithoutOffset::Latest => end,
            });
            // The reader saw its end by itself, perhaps before this one.
            let from = from.max(committed.unwrap_or(start));
            let progress = Progress { from, position, end, goal: None, began: position };
            self.partitions.insert(partition, progress);
        }
        self.report(0, 0, 0);
        Ok(())
    }

    async fn revoke(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        self.commit().await?;
        self.task.close(partitions).await?;
        for partition in partitions {
            self.partitions.remove(partition);
        }
        Ok(())
    }

    /// Makes durable what was put, then commits its offsets.
    async fn commit(&mut self) -> Result<(), TaskError> {
        if self.commit_at.take().is_none() {
            return Ok(());
        }
        let mut done = self.task.flush().await?;
        self.commit_at = self.task.flush_at();
        done.retain(|(partition, _)| self.partitions.contains_key(partition));
        match self.topics.commit(&done).await {
            // The group has moved on: it will say so. What is durable stays so, and another
            // member may write it again where the output does not know it.
            Err(error @ ClientError::Group { .. }) => {
                warn!("connector '{}': offsets not committed: {error}", self.setup.config.name());
                Ok(())
            }
            other => Ok(other?),
        }
    }

    /// To the last record that there is, visible or not: who wrote it may have been told that it
    /// is committed before its transaction's markers are written, and it is not seen before those
    /// of earlier transactions are.
    async fn set_goals(&mut self) -> Result<(), TaskError> {
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        let latest = OffsetSpec::Latest(Isolation::ReadUncommitted);
        let ends = self.setup.client.list_offsets(&partitions, latest).await?;
        for (progress, end) in self.partitions.values_mut().zip(ends) {
            progress.goal.get_or_insert(end.unwrap_or(Offset::ZERO));
        }
        Ok(())
    }

    fn is_at_goals(&self) -> bool {
        let at_goal = |one: &Progress| one.goal.is_some_and(|goal| one.position >= goal);
        let nothing_to_read = self.topics.reader.is_none();
        (self.assigned || nothing_to_read) && self.partitions.values().all(at_goal)
    }

    fn report(&self, records: u64, bytes: u64, skipped: u64) {
        let caught_up = self.partitions.values().all(|one| one.position >= one.end);
        let state = if caught_up { ConnectorState::CaughtUp } else { ConnectorState::Running };
        self.setup.reporter.progress(state, records, bytes, skipped, None);
    }
}

/// Whether anything came of it: a task may return before that, so that others are not held up.
fn has_moved(put: &Put) -> bool {
    put.next.is_none() || put.records + put.skipped > 0
}

/// The records that the outside would not have, as dead letters.
fn refused(
    plugin: &Plugin,
    records: &SinkRecords,
    refused: Vec<Refused>,
) -> Result<Vec<FailedRecord>, UnreadableBatch> {
    let mut failed = Vec::with_capacity(refused.len());
    if refused.is_empty() {
        return Ok(failed);
    }
    let TopicPartition { topic, partition } = records.partition().clone();
    let topic = Text::from(&*topic);
    let mut reasons: BTreeMap<Offset, String> =
        refused.into_iter().map(|one| (one.offset, one.reason)).collect();
    let class = plugin.class();
    records.for_each(|record| {
        if let Some(reason) = reasons.remove(&record.offset) {
            let error = ChainError::put(class, reason);
            failed.push(FailedRecord::new(&topic, partition, record, error));
        }
        Ok::<(), UnreadableBatch>(())
    })?;
    Ok(failed)
}

/// Which topics these partitions are of.
async fn topic_ids(
    client: &dyn Client,
    partitions: &[TopicPartition],
) -> Result<Vec<SinkPartition>, ClientError> {
    let mut ids = BTreeMap::new();
    for partition in partitions {
        if !ids.contains_key(&partition.topic) {
            let info = client.topic(&partition.topic).await?;
            ids.insert(partition.topic.clone(), info.and_then(|info| info.id));
        }
    }
    let opened = partitions.iter().map(|partition| SinkPartition {
        partition: partition.clone(),
        topic_id: ids.get(&partition.topic).copied().flatten(),
    });
    Ok(opened.collect())
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
