//! Filling the next transaction while the one before is being committed.
//!
//! ```text
//! send, commit ──► queue, bounded in bytes ──► task: begin, send …, commit ──► Committing
//! ```
//!
//! Records of a transaction cannot be in a partition before the decision of the one before is
//! durable: were the power cut in between, whether that one has ended, and so whose records those
//! are, would be open. So they wait here, in memory, and go to the broker as soon as it is. What
//! the caller gains is that it goes on working meanwhile.
//!
//! Invariants: transactions are carried out one at a time, in order. After one has failed none is
//! begun: it may hold what the next ones rest on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{ClientError, Flushing, Producer, TransactionOffsets};
use crate::ids::TopicPartition;
use crate::record::BatchBuilder;

/// Batches and commits that may wait, however small they are.
const QUEUED_MAX: usize = 1_024;

/// A transactional producer that works in a task of its own. Dropped, it carries out what is queued
/// and aborts what is open then; [`PipelinedProducer::close`] waits for that.
#[derive(Debug)]
pub struct PipelinedProducer {
    queue: mpsc::Sender<Command>,
    working: JoinHandle<()>,
    /// In bytes.
    room: Arc<Semaphore>,
    queued_bytes_max: u32,
}

enum Command {
    Send {
        to: TopicPartition,
        batch: BatchBuilder,
        _room: OwnedSemaphorePermit,
    },
    Commit {
        offsets: Option<TransactionOffsets>,
        after: Option<Flushing>,
        done: oneshot::Sender<Result<(), ClientError>>,
    },
}

/// A commit under way: resolves once it is durable, or with why it is not. It goes on whether or
/// not anybody waits for it.
#[derive(Debug)]
pub struct Committing(oneshot::Receiver<Result<(), ClientError>>);

impl Future for Committing {
    type Output = Result<(), ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answered.unwrap_or(Err(ClientError::ShuttingDown)))
    }
}

impl PipelinedProducer {
    /// Takes over a transactional producer with no transaction open. Not more than
    /// `queued_bytes_max` of records wait for earlier transactions, save a single larger batch.
    pub fn new(producer: Box<dyn Producer>, queued_bytes_max: u32) -> PipelinedProducer {
        let (queue, commands) = mpsc::channel(QUEUED_MAX);
        let working = tokio::spawn(work(producer, commands));
        let room = Arc::new(Semaphore::new(queued_bytes_max as usize));
        PipelinedProducer { queue, working, room, queued_bytes_max }
    }

    /// Puts a batch into the present transaction, which the first one opens. Waits while too much
    /// is queued. What fails is told by the transaction's commit.
    pub async fn send(&self, to: TopicPartition, batch: BatchBuilder) -> Result<(), ClientError> {
        let size = u32::try_from(batch.size()).unwrap_or(u32::MAX).min(self.queued_bytes_max);
        let room = self.room.clone().acquire_many_owned(size).await;
        let room = room.expect("the semaphore is never closed");
        self.put(Command::Send { to, batch, _room: room }).await
    }

    /// Ends the present transaction, as [`Producer::commit`] does, without waiting for it: once
    /// `after` has gone well, if it is given. What is sent from now on belongs to the next.
    pub async fn commit(
        &self,
        offsets: Option<TransactionOffsets>,
        after: Option<Flushing>,
    ) -> Result<Committing, ClientError> {
        let (done, committing) = oneshot::channel();
        self.put(Command::Commit { offsets, after, done }).await?;
        Ok(Committing(committing))
    }

    /// Carries out what is queued, and aborts what is open then.
    pub async fn close(self) {
        let PipelinedProducer { queue, working, .. } = self;
        drop(queue);
        if let Err(panicked) = working.await
            && let Ok(panic) = panicked.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn put(&self, command: Command) -> Result<(), ClientError> {
        self.queue.send(command).await.map_err(|_| ClientError::ShuttingDown)
    }
}

/// Carries out what is queued, until the queue is dropped.
async fn work(mut producer: Box<dyn Producer>, mut commands: mpsc::Receiver<Command>) {
    let mut open = false;
    let mut failed: Option<ClientError> = None;
    while let Some(command) = commands.recv().await {
        let (result, done) = match (command, &failed) {
            (Command::Send { .. }, Some(_)) => continue,
            (Command::Commit { done, .. }, Some(error)) => (Err(error.clone()), Some(done)),
            (Command::Send { to, batch, _room }, None) => {
                (send(&mut *producer, &mut open, &to, batch).await, None)
            }
            (Command::Commit { offsets, after, done }, None) => {
                let flushed = match after {
                    Some(after) => after.await,
                    None => Ok(()),
                };
                let committed = match flushed {
                    Ok(()) => commit(&mut *producer, &mut open, offsets.as_ref()).await,
                    Err(error) => Err(error),
                };
                (committed, Some(done))
            }
        };
        if let (Err(error), None) = (&result, &failed) {
            failed = Some(error.clone());
            // Fenced, it has been aborted already; else the next producer of this id tries again.
            _ = producer.abort().await;
        }
        if let Some(done) = done {
            // Nobody need wait for it.
            _ = done.send(result);
        }
    }
    if open && failed.is_none() {
        _ = producer.abort().await;
    }
}

async fn begin(producer: &mut dyn Producer, open: &mut bool) -> Result<(), ClientError> {
    if !*open {
        producer.begin().await?;
        *open = true;
    }
    Ok(())
}

async fn send(
    producer: &mut dyn Producer,
    open: &mut bool,
    to: &TopicPartition,
    batch: BatchBuilder,
) -> Result<(), ClientError> {
    begin(producer, open).await?;
    producer.send(to, batch).await
}

async fn commit(
    producer: &mut dyn Producer,
    open: &mut bool,
    offsets: Option<&TransactionOffsets>,
) -> Result<(), ClientError> {
    begin(producer, open).await?;
    producer.commit(offsets).await?;
    *open = false;
    Ok(())
}
