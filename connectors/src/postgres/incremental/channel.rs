//! Signals that come by a topic.

use std::sync::Arc;
use std::time::Duration;

use broker::client::{Client, ClientError, Isolation, OffsetSpec, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::records::Record;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use super::progress::WORK_MAX;
use super::signal::{self, Signal};

/// Signals that may wait.
const WAITING_MAX: usize = 16;
/// How often it is looked whether the topic has come to be, and a lost reader tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Names the connector of that name on a signal that it was promised before it had a place in the
/// topic to go on from.
pub const PROMISED_HEADER: &str = "millstream.promised.to";

/// What came, and where to go on behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Told {
    pub next: Offset,
    pub signals: Vec<Signal>,
}

/// What is listened to, and for whom.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub topic: String,
    pub connector: String,
    /// What its signals have as their key.
    pub prefix: String,
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
    /// From an offset on. Without one, what stands in the topic already is for somebody else, save
    /// what was promised to the connector.
    pub fn listen(client: Arc<dyn Client>, wanted: Wanted, from: Option<Offset>) -> Channel {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            let mut at = from;
            let mut told = false;
            loop {
                match follow(&*client, &wanted, &mut at, &sender).await {
                    Ok(()) => return,
                    Err(error) if !told => {
                        warn!("signals in topic '{}': {error}; trying again", wanted.topic);
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
    wanted: &Wanted,
    at: &mut Option<Offset>,
    sender: &mpsc::Sender<Told>,
) -> Result<(), ClientError> {
    // Once it has come to be, all that is in it is ours.
    while client.topic(&wanted.topic).await?.is_none() {
        if at.is_none() {
            *at = Some(Offset::ZERO);
            if sender.send(Told { next: Offset::ZERO, signals: Vec::new() }).await.is_err() {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    let partition = TopicPartition::new(wanted.topic.as_str(), 0);
    let all = std::slice::from_ref(&partition);
    let first = client.list_offsets(all, OffsetSpec::Earliest).await?[0].unwrap_or(Offset::ZERO);
    let latest = OffsetSpec::Latest(Isolation::ReadCommitted);
    let end = client.list_offsets(all, latest).await?[0].unwrap_or(first);
    let (from, signals) = match *at {
        // It was deleted and made anew.
        Some(at) if at > end => (first, Vec::new()),
        Some(at) => (at.max(first), Vec::new()),
        None => (end, promised(client, wanted, first, end).await?),
    };
    *at = Some(from);
    if sender.send(Told { next: from, signals }).await.is_err() {
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
                let signals = parse(wanted, &record).into_iter().collect();
                let next = Offset(record.offset.0 + 1);
                if sender.send(Told { next, signals }).await.is_err() {
                    return Ok(());
                }
                *at = Some(next);
            }
        }
    }
}

/// Signals in a part of the topic that the connector was promised before it ran.
async fn promised(
    client: &dyn Client,
    wanted: &Wanted,
    first: Offset,
    end: Offset,
) -> Result<Vec<Signal>, ClientError> {
    let mut signals = Vec::new();
    if first >= end {
        return Ok(signals);
    }
    let partition = TopicPartition::new(wanted.topic.as_str(), 0);
    let mut reader = client.reader(ReaderOptions::partitions(vec![(partition, first)])).await?;
    loop {
        let ReaderEvent::Batches(fetched) = reader.next().await? else { continue };
        for batch in &fetched.batches {
            let Ok(records) = batch.records() else { continue };
            for record in records.iter().filter_map(Result::ok) {
                let name = Some(wanted.connector.as_bytes());
                let mut headers = record.headers();
                let ours = headers.any(|one| one.key == PROMISED_HEADER && one.value == name);
                if ours && (first..end).contains(&record.offset) && signals.len() < WORK_MAX {
                    signals.extend(parse(wanted, &record));
                }
            }
        }
        if fetched.next_offset >= end {
            return Ok(signals);
        }
    }
}

fn parse(wanted: &Wanted, record: &Record<'_>) -> Option<Signal> {
    let signal = signal::parse_record(&wanted.prefix, record.key, record.value);
    signal.unwrap_or_else(|error| {
        warn!("topic '{}', offset {}: {error}", wanted.topic, record.offset);
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::broker::{Broker, BrokerConfig};
    use broker::client::embedded::EmbeddedClient;
    use broker::client::{NewTopic, ProducerOptions};
    use broker::record::BatchBuilder;

    async fn send(client: &dyn Client, message: &str, promised_to: Option<&str>) {
        let mut producer = client.producer(ProducerOptions::default()).await.unwrap();
        let value = format!(r#"{{"type": "log", "data": {{"message": "{message}"}}}}"#);
        let header = promised_to.map(|name| (PROMISED_HEADER, Some(name.as_bytes())));
        let mut batch = BatchBuilder::default();
        batch.append_with_headers(0, Some(b"pg"), Some(value.as_bytes()), header.as_slice());
        producer.send(&TopicPartition::new("signals", 0), batch).await.unwrap();
        producer.flush().await.unwrap();
    }

    /// What a connector called `name` is told, which goes on from there.
    async fn told(client: &Arc<dyn Client>, from: Option<i64>, times: usize) -> Vec<String> {
        let wanted = Wanted {
            topic: "signals".to_owned(),
            connector: "name".to_owned(),
            prefix: "pg".to_owned(),
        };
        let mut channel = Channel::listen(client.clone(), wanted, from.map(Offset));
        let mut told = Vec::new();
        for _ in 0..times {
            let come = tokio::time::timeout(Duration::from_secs(30), channel.readable());
            come.await.expect("it comes");
            let Told { next, signals } = channel.told_now().unwrap();
            let signals = signals.iter().map(|signal| match signal {
                Signal::Log(message) => message.as_str(),
                other => panic!("{other:?}"),
            });
            told.push(format!("{} {}", next.0, signals.collect::<Vec<_>>().join(" ")));
        }
        told
    }

    #[tokio::test]
    async fn what_was_promised_is_told_although_it_was_there_before() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(BrokerConfig::new(dir.path().join("data"))).await.unwrap();
        let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker));
        // There is no such topic yet: all that will be in it is ours.
        assert_eq!(told(&client, None, 1).await, ["0 "]);
        client.create_topic(&NewTopic::new("signals", 1)).await.unwrap();
        for (message, promised_to) in
            [("a", None), ("b", Some("name")), ("c", Some("other")), ("d", Some("name"))]
        {
            send(&*client, message, promised_to).await;
        }
        // Together, so that none can be stored without the others.
        assert_eq!(told(&client, None, 1).await, ["4 b d"]);
        assert_eq!(told(&client, Some(2), 3).await, ["2 ", "3 c", "4 d"]);
        // The topic that this offset is of was another.
        assert_eq!(told(&client, Some(9), 2).await, ["0 ", "1 a"]);
    }
}
