//! `millstream consume`: a topic to stdout.
//!
//! - [`print`]: records as text; here: which partitions, from where, and when to end.

pub mod print;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

use broker::client::{
    Client, ClientError, GroupOptions, Isolation, OffsetSpec, ReadFrom, Reader, ReaderEvent,
    ReaderOptions, WithoutOffset,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::RecordBatch;
use clap::Args;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::print::{Format, Printer};
use super::patterns::Pattern;
use super::stdout::reader_gone;
use super::{BrokerChoice, Failure, connection, stopped, unless_stopped};

/// How often to look for topics that have come into being.
pub const TOPICS_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream consume delays-by-hour --until-end
  millstream consume orders --print-key --offset latest
  millstream consume orders --group audit --json

Without --json each record's value is one line, as it is in the topic.")]
pub struct ConsumeArgs {
    /// The topic to read
    topic: String,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Where to start: earliest, latest or an offset
    #[arg(
        long,
        value_name = "WHERE",
        default_value = "earliest",
        allow_negative_numbers = true,
        conflicts_with = "group"
    )]
    offset: Start,
    /// Read this partition alone
    #[arg(long, value_name = "N", conflicts_with = "group")]
    partition: Option<i32>,
    /// Read as a member of this consumer group, going on where it committed
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Stop after this many records
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Stop at the end of what is there now
    #[arg(long, conflicts_with = "group")]
    until_end: bool,
    /// Put the key and a tab before each value
    #[arg(long, conflicts_with = "json")]
    print_key: bool,
    /// One JSON object per record: topic, partition, offset, timestamp, key, value, headers
    #[arg(long)]
    json: bool,
    /// Also show records of open and aborted transactions
    #[arg(long)]
    read_uncommitted: bool,
}

/// What is read, and until when.
#[derive(Clone, Debug)]
pub struct Reading {
    pub topics: Vec<String>,
    /// Topics that come into being later are read as well, from their beginning.
    pub include: Option<Pattern>,
    pub from: Origin,
    pub isolation: Isolation,
    pub max_messages: Option<u64>,
    /// Ends when no record has come for so long.
    pub idle_timeout: Option<Duration>,
    /// Ends where the partitions end now.
    pub until_end: bool,
}

/// Whose place is taken.
#[derive(Clone, Debug)]
pub enum Origin {
    Partitions { only: Option<i32>, start: Start },
    Group { group: String, without_offset: WithoutOffset, commit: bool },
}

/// Where to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    At(Offset),
}

impl std::str::FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        match text {
            "earliest" => Ok(Start::Earliest),
            "latest" => Ok(Start::Latest),
            number => match number.parse() {
                Ok(offset) if offset >= 0 => Ok(Start::At(Offset(offset))),
                _ => Err("expected earliest, latest or an offset from 0 up".to_owned()),
            },
        }
    }
}

/// How reading has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub records: u64,
    /// Because nothing came in time.
    pub idle: bool,
    /// Because it was told to.
    pub stopped: bool,
}

pub async fn consume(args: ConsumeArgs, stop: CancellationToken) -> Result<(), Failure> {
    let from = match args.group {
        Some(group) => {
            Origin::Group { group, without_offset: WithoutOffset::Earliest, commit: true }
        }
        None => Origin::Partitions { only: args.partition, start: args.offset },
    };
    let isolation = match args.read_uncommitted {
        true => Isolation::ReadUncommitted,
        false => Isolation::ReadCommitted,
    };
    let reading = Reading {
        topics: vec![args.topic],
        include: None,
        from,
        isolation,
        max_messages: args.max_messages,
        idle_timeout: None,
        until_end: args.until_end,
    };
    let printer = match args.json {
        true => Printer::Json,
        false => Printer::Text(Format { key: args.print_key, ..Format::default() }),
    };
    let connection = unless_stopped(&stop, connection::open(&args.broker)).await?;
    let done = read(connection.client.as_ref(), &reading, &printer, stop).await;
    connection.close().await;
    match done?.stopped {
        true => Err(stopped()),
        false => Ok(()),
    }
}

/// Prints what is read until it ends or is told to stop.
pub async fn read(
    client: &dyn Client,
    reading: &Reading,
    printer: &Printer,
    stop: CancellationToken,
) -> Result<Ended, Failure> {
    let mut printing = Printing {
        out: BufWriter::new(io::stdout().lock()),
        reading,
        printer,
        topics: reading.topics.clone(),
        places: BTreeMap::new(),
        ended: Ended { records: 0, idle: false, stopped: false },
    };
    match printing.run(client, stop).await {
        Ok(()) => {}
        // `millstream consume t | head` closes the pipe: nothing is wrong.
        Err(ConsumeError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            // What is left in the buffer has no reader: dropping it must not write it.
            let Printing { out, ended, .. } = printing;
            drop(out.into_parts());
            return Ok(ended);
        }
        Err(ConsumeError::Stdout(error)) => {
            return Err(Failure::running(format!("stdout: {error}")));
        }
        Err(ConsumeError::Failure(failure)) => return Err(failure),
    }
    Ok(printing.ended)
}

enum ConsumeError {
    Stdout(io::Error),
    Failure(Failure),
}

impl From<io::Error> for ConsumeError {
    fn from(error: io::Error) -> ConsumeError {
        ConsumeError::Stdout(error)
    }
}

impl From<ClientError> for ConsumeError {
    fn from(error: ClientError) -> ConsumeError {
        ConsumeError::Failure(error.into())
    }
}

impl From<Failure> for ConsumeError {
    fn from(failure: Failure) -> ConsumeError {
        ConsumeError::Failure(failure)
    }
}

/// The topics there are that a pattern means. Internal ones are not among them.
pub async fn matching(client: &dyn Client, pattern: &Pattern) -> Result<Vec<String>, ClientError> {
    let topics = client.topics().await?.into_iter();
    let found = topics.filter(|topic| !topic.internal && pattern.matches(&topic.name));
    Ok(found.map(|topic| topic.name).collect())
}

type Ends = Vec<(TopicPartition, Offset)>;

/// Where to start in each partition, and those that are not read yet with their ends.
async fn partitions_to_read(
    client: &dyn Client,
    reading: &Reading,
    topics: &[String],
    only: Option<i32>,
    start: Start,
) -> Result<(Vec<(TopicPartition, Offset)>, Ends), ConsumeError> {
    let mut partitions = Vec::new();
    for name in topics {
        let Some(topic) = client.topic(name).await? else {
            return Err(ClientError::UnknownTopic(name.clone()).into());
        };
        let numbers = match only {
            None => 0..topic.partitions,
            Some(one) if (0..topic.partitions).contains(&one) => one..one + 1,
            Some(one) => {
                let last = topic.partitions - 1;
                let reason = format!("topic '{name}' has no partition {one}; it has 0 to {last}");
                return Err(Failure::usage(reason).into());
            }
        };
        partitions.extend(numbers.map(|number| TopicPartition::new(name.as_str(), number)));
    }
    let latest = OffsetSpec::Latest(reading.isolation);
    let ends = client.list_offsets(&partitions, latest).await?;
    let ends: Vec<_> = ends.into_iter().map(Option::unwrap_or_default).collect();
    let starts = match start {
        Start::Latest => ends.clone(),
        Start::At(offset) => vec![offset; partitions.len()],
        Start::Earliest => {
            let starts = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
            starts.into_iter().map(Option::unwrap_or_default).collect()
        }
    };
    let from: Vec<_> = partitions.into_iter().zip(starts).collect();
    let open = from.iter().zip(ends).filter(|((_, start), end)| start < end);
    let open = open.map(|((partition, _), end)| (partition.clone(), end)).collect();
    Ok((from, open))
}

struct Printing<'a, W: Write> {
    out: BufWriter<W>,
    reading: &'a Reading,
    printer: &'a Printer,
    topics: Vec<String>,
    /// Where each partition goes on: a batch may begin with records before it.
    places: BTreeMap<TopicPartition, Offset>,
    ended: Ended,
}

impl<W: Write> Printing<'_, W> {
    async fn run(
        &mut self,
        client: &dyn Client,
        stop: CancellationToken,
    ) -> Result<(), ConsumeError> {
        let Some(opened) = stop.run_until_cancelled(self.open(client)).await else {
            self.ended.stopped = true;
            return Ok(());
        };
        let (mut reader, mut open) = opened?;
        if self.reading.max_messages == Some(0) {
            return Ok(());
        }
        let commits = matches!(self.reading.from, Origin::Group { commit: true, .. });
        let mut idle_at = self.idle_at();
        let mut look_at = Instant::now() + TOPICS_INTERVAL;
        let mut reader_gone = std::pin::pin!(reader_gone());
        while !(self.reading.until_end && open.is_empty()) {
            let event = tokio::select! {
                event = reader.next() => event?,
                () = stop.cancelled() => {
                    self.ended.stopped = true;
                    return Ok(());
                }
                // Without more records to print nothing else would tell.
                () = &mut reader_gone => return Ok(()),
                // No broker tells when a topic has been created.
                () = tokio::time::sleep_until(look_at), if self.reading.include.is_some() => {
                    if let Some(with_new) = self.take_new_topics(client).await? {
                        reader = with_new;
                    }
                    look_at = Instant::now() + TOPICS_INTERVAL;
                    continue;
                }
                () = tokio::time::sleep_until(idle_at.unwrap_or_else(Instant::now)),
                    if idle_at.is_some() =>
                {
                    self.ended.idle = true;
                    return Ok(());
                }
            };
            let fetched = match event {
                ReaderEvent::Batches(fetched) => fetched,
                ReaderEvent::Assigned(partitions) => {
                    self.assigned(client, reader.as_mut(), &partitions).await?;
                    continue;
                }
                ReaderEvent::Revoked(_) => continue,
            };
            let before = self.ended.records;
            for batch in &fetched.batches {
                if self.batch(&fetched.partition, batch, reader.as_mut()).await? {
                    return Ok(());
                }
            }
            self.places.insert(fetched.partition.clone(), fetched.next_offset);
            self.out.flush()?;
            if self.ended.records > before {
                idle_at = self.idle_at();
            }
            if commits {
                reader.commit(&[(fetched.partition.clone(), fetched.next_offset)]).await?;
            }
            open.retain(|(partition, end)| {
                *partition != fetched.partition || fetched.next_offset < *end
            });
        }
        Ok(())
    }

    /// Finds topics that have come since and match; a reader of them as well, if there are any.
    async fn take_new_topics(
        &mut self,
        client: &dyn Client,
    ) -> Result<Option<Box<dyn Reader>>, ConsumeError> {
        let reading = self.reading;
        let Some(pattern) = &reading.include else { return Ok(None) };
        let mut new = matching(client, pattern).await?;
        new.retain(|name| !self.topics.contains(name));
        if new.is_empty() {
            return Ok(None);
        }
        let from = match &reading.from {
            Origin::Group { group, without_offset, .. } => {
                self.topics.extend(new);
                ReadFrom::Group(self.membership(group, *without_offset))
            }
            Origin::Partitions { .. } => {
                let start = Start::Earliest;
                let (from, _) = partitions_to_read(client, reading, &new, None, start).await?;
                self.topics.extend(new);
                self.places.extend(from);
                ReadFrom::Partitions(self.places.clone().into_iter().collect())
            }
        };
        Ok(Some(client.reader(self.options(from)).await?))
    }

    fn membership(&self, group: &str, without_offset: WithoutOffset) -> GroupOptions {
        GroupOptions {
            group: group.to_owned(),
            topics: self.topics.clone(),
            session_timeout: Duration::from_secs(45),
            without_offset,
        }
    }

    fn options(&self, from: ReadFrom) -> ReaderOptions {
        ReaderOptions { from, isolation: self.reading.isolation, event_bytes_max: 1 << 20 }
    }

    /// Finds out where the partitions go on that the group gave. Where it has committed nothing,
    /// the place is committed at once, so that what comes in until the next start is not missed.
    async fn assigned(
        &mut self,
        client: &dyn Client,
        reader: &mut dyn Reader,
        partitions: &[TopicPartition],
    ) -> Result<(), ConsumeError> {
        let Origin::Group { group, without_offset, commit } = &self.reading.from else {
            return Ok(());
        };
        let committed = client.committed_offsets(group, partitions).await?;
        let at = match without_offset {
            WithoutOffset::Earliest => OffsetSpec::Earliest,
            WithoutOffset::Latest => OffsetSpec::Latest(self.reading.isolation),
        };
        let others = client.list_offsets(partitions, at).await?;
        let mut new = Vec::new();
        for ((partition, committed), other) in partitions.iter().zip(committed).zip(others) {
            let place = match committed {
                Some(committed) => committed.offset,
                None => {
                    new.push((partition.clone(), other.unwrap_or_default()));
                    other.unwrap_or_default()
                }
            };
            self.places.insert(partition.clone(), place);
        }
        if *commit && !new.is_empty() {
            reader.commit(&new).await?;
        }
        Ok(())
    }

    async fn open(&mut self, client: &dyn Client) -> Result<(Box<dyn Reader>, Ends), ConsumeError> {
        let (from, open) = match &self.reading.from {
            Origin::Partitions { only, start } => {
                let (from, open) =
                    partitions_to_read(client, self.reading, &self.topics, *only, *start).await?;
                self.places = from.iter().cloned().collect();
                (ReadFrom::Partitions(from), open)
            }
            Origin::Group { group, without_offset, .. } => {
                (ReadFrom::Group(self.membership(group, *without_offset)), Vec::new())
            }
        };
        Ok((client.reader(self.options(from)).await?, open))
    }

    fn idle_at(&self) -> Option<Instant> {
        self.reading.idle_timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Prints a batch's records; true once as many were printed as were asked for.
    async fn batch(
        &mut self,
        partition: &TopicPartition,
        batch: &RecordBatch,
        reader: &mut dyn Reader,
    ) -> Result<bool, ConsumeError> {
        let malformed = |error| Failure::running(format!("partition {partition}: {error}"));
        let place = self.places.get(partition).copied().unwrap_or_default();
        for record in batch.records().map_err(malformed)?.iter() {
            let record = record.map_err(malformed)?;
            if record.offset < place {
                continue;
            }
            self.printer.record(&mut self.out, partition, batch, &record)?;
            self.ended.records += 1;
            if Some(self.ended.records) == self.reading.max_messages {
                self.out.flush()?;
                if matches!(self.reading.from, Origin::Group { commit: true, .. }) {
                    reader.commit(&[(partition.clone(), record.offset.next())]).await?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }
}
