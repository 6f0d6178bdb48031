//! Drives a source task: poll, send, commit.
//!
//! Records and the offsets they end at go into one transaction. It is committed when the input is
//! drained, so that a new record is visible at once; or, while there is always more, when it has
//! been open for the commit interval or holds [`TRANSACTION_BYTES_MAX`]. A task that takes over,
//! after a crash or elsewhere, fences the one before by the transactional id and aborts what that
//! left open, before it reads the offsets.
//!
//! ```text
//! poll ─► transaction 2, in memory ─┐ once 1 is durable
//! poll ─► transaction 1 ─► commit ──┴─► committed(offsets of 1)
//! ```
//!
//! A task that [polls ahead](SourceTask::polls_ahead) goes on while its last transaction is being
//! made durable; one commit is under way at a time, and what comes meanwhile goes together into
//! the next. Any other task is polled only when all it gave is durable.

use broker::client::{ClientError, Committing, NewTopic, PipelinedProducer};
use futures::FutureExt as _;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Ended, TaskSetup};
use crate::chain::Chain;
use crate::clock;
use crate::errors::ErrorPolicy;
use crate::offsets::{OffsetsTopic, SourceOffset, SourcePartition};
use crate::records::SourceRecords;
use crate::status::ConnectorState;
use crate::task::{OutgoingBatch, Polled, SourceContext, SourceTask, TaskError, Topic};
use crate::topics;

/// Size at which a transaction is committed although there is more at hand.
const TRANSACTION_BYTES_MAX: usize = 32 << 20;
/// What waits in memory for the transaction before it to be committed.
const QUEUED_BYTES_MAX: u32 = 8 << 20;

pub(super) async fn run(
    setup: TaskSetup,
    mut task: Box<dyn SourceTask>,
) -> Result<Ended, TaskError> {
    let mut commits = tokio::select! {
        () = setup.stop.cancelled() => return Ok(Ended::Stopped),
        started = start(&setup, &mut *task) => started?,
    };
    let ended = turns(&setup, &mut *task, &mut commits).await;
    // What failed is taken back here, and what is not committed.
    commits.producer.close().await;
    let ended = ended?;
    task.stop().await;
    Ok(ended)
}

async fn turns(
    setup: &TaskSetup,
    task: &mut dyn SourceTask,
    commits: &mut Commits,
) -> Result<Ended, TaskError> {
    let errors = ErrorPolicy::new(&setup.config, setup.task);
    let mut attempts = errors.attempts();
    let mut records = SourceRecords::new(Chain::new(&setup.config), errors)
        .compressed(setup.config.writing().compression);
    loop {
        commits.see(setup, task).await?;
        setup.activity.begin();
        let polled = task.poll(&mut records).await;
        if let Some(failure) = records.take_failure() {
            return Err(failure);
        }
        find_topics(setup, &mut records).await?;
        let (bytes, skipped) = records.take_counts();
        let pace = match &polled {
            _ if setup.stop.is_cancelled() => Pace::Last,
            Ok(Polled::More) => Pace::More,
            Ok(Polled::Drained) => Pace::Drained,
            Ok(Polled::End) | Err(_) => Pace::Last,
        };
        let moved = commits.take(setup, task, &mut records, pace).await;
        let polled = match polled {
            Ok(polled) => polled,
            // What the task has to say comes first: a commit may have failed in its wake.
            Err(error) => match attempts.next(&error, Instant::now()) {
                Some(delay) if moved.is_ok() => {
                    setup.reporter.trouble(Some(error.to_string()));
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
        attempts.succeeded();
        let moved = moved?;
        if !task.out_of_reach() && commits.is_settled() {
            setup.activity.end();
        }
        commits.looked(setup, task, polled);
        let (state, left) = (commits.state(task, polled), task.remaining_bytes());
        setup.reporter.trouble(task.trouble());
        setup.reporter.progress(state, moved, bytes, skipped, left);
        if polled == Polled::End {
            return Ok(Ended::Finished);
        }
        if setup.stop.is_cancelled() {
            return Ok(Ended::Stopped);
        }
        if polled == Polled::Drained && !wait(setup, task, commits, &mut records).await? {
            return Ok(Ended::Stopped);
        }
        if moved == 0 {
            // A task that waits for nothing, by mistake, keeps nobody else from running.
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until there may be more to poll, and sees to commits meanwhile. `false`: it is to stop,
/// and all is committed.
async fn wait(
    setup: &TaskSetup,
    task: &mut dyn SourceTask,
    commits: &mut Commits,
    records: &mut SourceRecords,
) -> Result<bool, TaskError> {
    loop {
        let done = tokio::select! {
            () = setup.stop.cancelled() => None,
            done = commits.done() => Some(done),
            waited = task.wait() => return waited.map(|()| true),
        };
        let (stop, pace) = match done {
            Some(done) => {
                commits.committed(setup, task, done).await?;
                (false, Pace::Drained)
            }
            None => (true, Pace::Last),
        };
        let moved = commits.take(setup, task, records, pace).await?;
        if !task.out_of_reach() && commits.is_settled() {
            setup.activity.end();
        }
        let (state, left) = (commits.state(task, Polled::Drained), task.remaining_bytes());
        setup.reporter.progress(state, moved, 0, 0, left);
        if stop {
            return Ok(false);
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
    let transactional_id = setup.options.transactional_id(connector, setup.task);
    let options = setup.config.writing().options(transactional_id);
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
    let producer = PipelinedProducer::new(producer, QUEUED_BYTES_MAX);
    Ok(Commits { producer, offsets, open: None, under_way: None, first: First::Reading })
}

/// What comes after what was gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// There is more to poll at once.
    More,
    /// There is nothing to poll for now.
    Drained,
    /// Nothing is polled until all is durable.
    Last,
}

/// Sends and commits what a task has gathered.
struct Commits {
    producer: PipelinedProducer,
    offsets: OffsetsTopic,
    open: Option<OpenTransaction>,
    under_way: Option<UnderWay>,
    first: First,
}

/// What has become of the input that was there when the task began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Reading,
    /// All of it was polled; so many commits are needed for it to be durable.
    Polled {
        commits: u8,
    },
    Durable,
}

struct OpenTransaction {
    since: Instant,
    bytes: usize,
}

/// A commit that is being made durable.
struct UnderWay {
    commit: Committing,
    offsets: Vec<(SourcePartition, SourceOffset)>,
}

impl Commits {
    /// Takes what was gathered, and commits if it is time. Returns the records taken. After an
    /// error nothing more is committed.
    async fn take(
        &mut self,
        setup: &TaskSetup,
        task: &mut dyn SourceTask,
        records: &mut SourceRecords,
        pace: Pace,
    ) -> Result<u64, TaskError> {
        let ahead = task.polls_ahead();
        let mut moved = 0;
        if self.open.is_some() || !records.is_empty() {
            let interval = setup.options.commit_interval;
            self.open.get_or_insert_with(|| OpenTransaction { since: Instant::now(), bytes: 0 });
            moved += self.send(setup, records.take_full()).await?;
            let due = self.open.as_ref().is_some_and(|open| {
                open.since.elapsed() >= interval || open.bytes >= TRANSACTION_BYTES_MAX
            });
            let now = match pace {
                Pace::More => due,
                // Otherwise it goes as soon as the commit before it is done.
                Pace::Drained => due || !ahead || self.under_way.is_none(),
                Pace::Last => true,
            };
            if now {
                self.settle(setup, task).await?;
                moved += self.commit(setup, records).await?;
            }
        }
        if !ahead || pace == Pace::Last {
            self.settle(setup, task).await?;
        }
        Ok(moved)
    }

    /// Begins to commit all that was gathered.
    async fn commit(
        &mut self,
        setup: &TaskSetup,
        records: &mut SourceRecords,
    ) -> Result<u64, TaskError> {
        let moved = self.send(setup, records.take_all()).await?;
        let offsets = records.take_offsets();
        for (to, batch) in self.offsets.batches(&offsets, clock::now_ms()) {
            self.producer.send(to, batch).await?;
        }
        let commit = self.producer.commit(None, None).await?;
        self.open = None;
        self.under_way = Some(UnderWay { commit, offsets });
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
            self.producer.send(to, batch).await?;
        }
        Ok(records)
    }

    /// Waits for the commit that is under way; without one, for ever. Dropped and called again at
    /// any time, until [`committed`](Commits::committed) has taken what came out.
    async fn done(&mut self) -> Result<(), ClientError> {
        match &mut self.under_way {
            Some(under_way) => (&mut under_way.commit).await,
            None => std::future::pending().await,
        }
    }

    /// Tells the task what has become durable.
    async fn committed(
        &mut self,
        setup: &TaskSetup,
        task: &mut dyn SourceTask,
        done: Result<(), ClientError>,
    ) -> Result<(), TaskError> {
        done?;
        // What follows is another thing to be at.
        setup.activity.end();
        setup.activity.begin();
        if let First::Polled { commits } = self.first {
            self.lead(setup, commits - 1);
        }
        match self.under_way.take() {
            Some(under_way) => task.committed(&under_way.offsets).await,
            None => Ok(()),
        }
    }

    /// Takes note of where the input ends for the first time.
    fn looked(&mut self, setup: &TaskSetup, task: &dyn SourceTask, polled: Polled) {
        if self.first == First::Reading && polled != Polled::More && !waits(task) {
            self.lead(setup, u8::from(self.open.is_some()) + u8::from(self.under_way.is_some()));
        }
    }

    fn lead(&mut self, setup: &TaskSetup, commits: u8) {
        self.first = match commits {
            0 => First::Durable,
            _ => First::Polled { commits },
        };
        if self.first == First::Durable {
            setup.reporter.filled();
        }
    }

    /// Takes note of a commit that is done, without waiting.
    async fn see(&mut self, setup: &TaskSetup, task: &mut dyn SourceTask) -> Result<(), TaskError> {
        match self.done().now_or_never() {
            Some(done) => self.committed(setup, task, done).await,
            None => Ok(()),
        }
    }

    /// Waits until no commit is under way.
    async fn settle(
        &mut self,
        setup: &TaskSetup,
        task: &mut dyn SourceTask,
    ) -> Result<(), TaskError> {
        if self.under_way.is_none() {
            return Ok(());
        }
        let done = self.done().await;
        self.committed(setup, task, done).await
    }

    /// Whether all that was handed over is durable.
    fn is_settled(&self) -> bool {
        self.open.is_none() && self.under_way.is_none()
    }

    fn state(&self, task: &dyn SourceTask, polled: Polled) -> ConnectorState {
        match polled {
            Polled::Drained | Polled::End if self.is_settled() && !waits(task) => {
                ConnectorState::CaughtUp
            }
            _ => ConnectorState::Running,
        }
    }
}

/// Whether a task has more to read, though nothing can be polled.
fn waits(task: &dyn SourceTask) -> bool {
    task.out_of_reach() || task.is_behind()
}
