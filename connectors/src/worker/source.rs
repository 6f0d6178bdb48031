//! Drives a source task: poll, send, commit.
//!
//! Records and the offsets they end at go into one transaction. It is committed when the input is
//! drained, so that a new record is visible at once; or, while there is always more, when it has
//! been open for the commit interval or holds [`TRANSACTION_BYTES_MAX`]. A task that takes over,
//! after a crash or elsewhere, fences the one before by the transactional id and aborts what that
//! left open, before it reads the offsets.

use broker::client::{NewTopic, Producer, ProducerOptions};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Ended, TaskSetup};
use crate::chain::Chain;
use crate::clock;
use crate::errors::ErrorPolicy;
use crate::offsets::OffsetsTopic;
use crate::records::SourceRecords;
use crate::status::ConnectorState;
use crate::task::{OutgoingBatch, Polled, SourceContext, SourceTask, TaskError, Topic};
use crate::topics;

/// Size at which a transaction is committed although there is more at hand.
const TRANSACTION_BYTES_MAX: usize = 32 << 20;

pub(super) async fn run(
    setup: TaskSetup,
    mut task: Box<dyn SourceTask>,
) -> Result<Ended, TaskError> {
    let commits = tokio::select! {
        () = setup.stop.cancelled() => return Ok(Ended::Stopped),
        started = start(&setup, &mut *task) => started?,
    };
    let ended = turns(&setup, &mut *task, commits).await?;
    task.stop().await;
    Ok(ended)
}

async fn turns(
    setup: &TaskSetup,
    task: &mut dyn SourceTask,
    mut commits: Commits,
) -> Result<Ended, TaskError> {
    let errors = ErrorPolicy::new(&setup.config, setup.task);
    let mut attempts = errors.attempts();
    let mut records = SourceRecords::new(Chain::new(&setup.config), errors);
    loop {
        setup.activity.begin();
        let polled = task.poll(&mut records).await;
        if let Some(failure) = records.take_failure() {
            commits.give_up(setup).await;
            return Err(failure);
        }
        find_topics(setup, &mut records).await?;
        let (bytes, skipped) = records.take_counts();
        let more = matches!(polled, Ok(Polled::More)) && !setup.stop.is_cancelled();
        let moved = commits.take(setup, task, &mut records, more).await;
        let polled = match polled {
            Ok(polled) => polled,
            // What the task has to say comes first: a commit may have failed in its wake.
            Err(error) => match attempts.next(&error, Instant::now()) {
                Some(delay) if moved.is_ok() => {
                    warn!(
                        "connector '{}': {error}; next attempt in {delay:?}",
                        setup.config.name()
                    );
                    tokio::select! {
                        () = setup.stop.cancelled() => return Ok(Ended::Stopped),
                        () = tokio::time::sleep(delay) => continue,
                    }
                }
                _ => return Err(error),
            },
        };
        if !task.out_of_reach() {
            setup.activity.end();
        }
        attempts.succeeded();
        let moved = moved?;
        let state = match polled {
            Polled::More => ConnectorState::Running,
            Polled::Drained if task.out_of_reach() => ConnectorState::Running,
            Polled::Drained | Polled::End => ConnectorState::CaughtUp,
        };
        setup.reporter.progress(state, moved, bytes, skipped, task.remaining_bytes());
        if polled == Polled::End {
            return Ok(Ended::Finished);
        }
        if setup.stop.is_cancelled() {
            return Ok(Ended::Stopped);
        }
        if polled == Polled::Drained {
            tokio::select! {
                () = setup.stop.cancelled() => return Ok(Ended::Stopped),
                waited = task.wait() => waited?,
            }
        }
    }
}

/// Looks up, or creates, the topics that records wait for.
async fn find_topics(setup: &TaskSetup, records: &mut SourceRecords) -> Result<(), TaskError> {
    let names = records.topics_to_find();
    if names.is_empty() {
        return Ok(());
    }
    let partitions = setup.config.integer("topic.creation.default.partitions") as i32;
    let mut found = Vec::new();
    for name in names {
        let wanted = setup.config.topic_creation().of(&NewTopic::new(name.as_str(), partitions));
        let info = topics::ensure(&*setup.client, &wanted).await?;
        found.push(Topic { name: info.name.into(), partitions: info.partitions });
    }
    records.found(found);
    Ok(())
}

async fn start(setup: &TaskSetup, task: &mut dyn SourceTask) -> Result<Commits, TaskError> {
    let connector = setup.config.name();
    if let Some(gate) = &setup.gate {
        gate.fence_earlier().await?;
    }
    let transactional_id = Some(setup.options.transactional_id(connector, setup.task));
    let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
    let producer = setup.client.producer(options).await?;
    if let Some(gate) = &setup.gate {
        gate.check().await?;
    }
    let wanted = &setup.options.offsets_topic;
    let offsets = OffsetsTopic::open(&*setup.client, wanted, connector).await?;
    let stored = offsets.load(&*setup.client).await?;
    debug!("connector '{connector}' goes on from {stored:?}");
    let client = setup.client.clone();
    let until_end = setup.options.until_end;
    let creation = setup.config.topic_creation().clone();
    let alone = setup.gate.is_none();
    task.start(&SourceContext { client, stored, until_end, alone, creation }).await?;
    setup.reporter.state(ConnectorState::Running);
    Ok(Commits { producer, offsets, open: None })
}

/// Sends and commits what a task has gathered.
struct Commits {
    producer: Box<dyn Producer>,
    offsets: OffsetsTopic,
    open: Option<OpenTransaction>,
}

struct OpenTransaction {
    since: Instant,
    bytes: usize,
}

impl Commits {
    /// Takes what was gathered, and commits if it is time. Returns the records taken. On an
    /// error the transaction is taken back.
    async fn take(
        &mut self,
        setup: &TaskSetup,
        task: &mut dyn SourceTask,
        records: &mut SourceRecords,
        more: bool,
    ) -> Result<u64, TaskError> {
        let result = self.try_take(setup, task, records, more).await;
        if result.is_err() {
            self.give_up(setup).await;
        }
        result
    }

    /// Takes back what is not committed.
    async fn give_up(&mut self, setup: &TaskSetup) {
        if self.open.take().is_some()
            && let Err(error) = self.producer.abort().await
        {
            // The next producer of this transactional id, or the timeout, will abort it.
            warn!("connector '{}': transaction left open: {error}", setup.config.name());
        }
    }

    async fn try_take(
        &mut self,
        setup: &TaskSetup,
        task: &mut dyn SourceTask,
        records: &mut SourceRecords,
        more: bool,
    ) -> Result<u64, TaskError> {
        if records.is_empty() && self.open.is_none() {
            return Ok(0);
        }
        if self.open.is_none() {
            self.producer.begin().await?;
            self.open = Some(OpenTransaction { since: Instant::now(), bytes: 0 });
        }
        let mut moved = self.send(setup, records.take_full()).await?;
        let due = self.open.as_ref().is_some_and(|open| {
            open.since.elapsed() >= setup.options.commit_interval
                || open.bytes >= TRANSACTION_BYTES_MAX
        });
        if more && !due {
            return Ok(moved);
        }
        moved += self.send(setup, records.take_all()).await?;
        let offsets = records.take_offsets();
        for (to, batch) in self.offsets.batches(&offsets, clock::now_ms()) {
            self.producer.send(&to, batch).await?;
        }
        self.producer.commit(None).await?;
        self.open = None;
        task.committed(&offsets).await?;
        Ok(moved)
    }

    async fn send(
        &mut self,
        setup: &TaskSetup,
        batches: Vec<OutgoingBatch>,
    ) -> Result<u64, TaskError> {
        let mut records = 0;
        for (to, batch) in batches {
            setup.activity.used(&to);
            records += batch.len() as u64;
            if let Some(open) = &mut self.open {
                open.bytes += batch.size();
            }
            self.producer.send(&to, batch).await?;
        }
        Ok(records)
    }
}
