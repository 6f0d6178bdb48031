//! Signals that come by a topic.

use std::sync::Arc;
use std::time::Duration;

use broker::client::{Client, ClientError, Isolation, OffsetSpec, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::signal::{self, Signal};

/// Signals that may wait.
const WAITING_MAX: usize = 16;
/// How often it is looked whether the topic has come to be, and a lost reader tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What came, and where to go on behind it.
#[derive(Debug)]
pub struct Told {
    pub next: Offset,
    pub signal: Option<Signal>,
}

/// Listens to the first partition of a topic.
#[derive(Debug)]
pub struct Channel {
    receiver: mpsc::Receiver<Told>,
    /// What came while waiting.
    waiting: Option<Told>,
    /// Ends with the channel.
    _listener: JoinSet<()>,
}

impl Channel {
    /// From an offset on. Without one, what stands in the topic already is for somebody else.
    pub fn listen(
        client: Arc<dyn Client>,
        topic: String,
        prefix: String,
        from: Option<Offset>,
    ) -> Channel {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            let mut at = from;
            let mut told = false;
            loop {
                match follow(&*client, &topic, &prefix, &mut at, &sender).await {
                    Ok(()) => return,
                    Err(error) if !told => {
                        warn!("signals in topic '{topic}': {error}; trying again");
                        told = true;
                    }
                    Err(_) => {}
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        Channel { receiver, waiting: None, _listener: listener }
    }

    /// What has come, without waiting.
    pub fn told_now(&mut self) -> Option<Told> {
        self.waiting.take().or_else(|| self.receiver.try_recv().ok())
    }

    /// Waits until there is something. Dropped and called again at any time.
    pub async fn readable(&mut self) {
        if self.waiting.is_none() {
            match self.receiver.recv().await {
                Some(told) => self.waiting = Some(told),
                None => std::future::pending().await,
            }
        }
    }
}

/// Reads until nobody listens any more.
async fn follow(
    client: &dyn Client,
    topic: &str,
    prefix: &str,
    at: &mut Option<Offset>,
    sender: &mpsc::Sender<Told>,
) -> Result<(), ClientError> {
    let partition = TopicPartition::new(topic, 0);
    // Once it has come to be, all that is in it is ours.
    while client.topic(topic).await?.is_none() {
        at.get_or_insert(Offset::ZERO);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let all = std::slice::from_ref(&partition);
    let first = client.list_offsets(all, OffsetSpec::Earliest).await?[0].unwrap_or(Offset::ZERO);
    let from = match *at {
        Some(at) => at.max(first),
        None => {
            let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
            client.list_offsets(all, latest).await?[0].unwrap_or(first)
        }
    };
    *at = Some(from);
    if sender.send(Told { next: from, signal: None }).await.is_err() {
        return Ok(());
    }
    let mut reader = client.reader(ReaderOptions::partitions(vec![(partition, from)])).await?;
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
        for batch in &fetched.batches {
            let Ok(records) = batch.records() else { continue };
            for record in records.iter().filter_map(Result::ok) {
                if record.offset < from {
                    continue;
                }
                let signal = signal::parse_record(prefix, record.key, record.value);
                let signal = signal.unwrap_or_else(|error| {
                    warn!("topic '{topic}', offset {}: {error}", record.offset);
                    None
                });
                let next = Offset(record.offset.0 + 1);
                if sender.send(Told { next, signal }).await.is_err() {
                    return Ok(());
                }
                *at = Some(next);
            }
        }
    }
}
