//! `millstream consume`: a topic to stdout.

use std::io::{self, BufWriter, Write};

use broker::client::{
    Client, ClientError, Isolation, OffsetSpec, ReadFrom, Reader, ReaderEvent, ReaderOptions,
    TopicInfo,
};
use broker::ids::{Offset, TopicPartition};
use broker::record::Record;
use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::connection;
use super::{BrokerChoice, Failure};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream consume delays-by-hour --until-end
  millstream consume orders --print-key --offset latest
  millstream consume orders --group audit --json

Without --json each record's value is one line, as it is in the topic.")]
pub struct ConsumeArgs {
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

#[derive(Clone, Copy, Debug)]
enum Start {
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

pub async fn consume(args: ConsumeArgs, stop: CancellationToken) -> Result<(), Failure> {
    let connection = connection::open(&args.broker).await?;
    let done = topic_to_stdout(connection.client.as_ref(), &args, stop).await;
    connection.close().await;
    match done {
        // `millstream consume t | head` closes the pipe: nothing is wrong.
        Err(ConsumeError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(ConsumeError::Stdout(error)) => Err(Failure::running(format!("stdout: {error}"))),
        Err(ConsumeError::Failure(failure)) => Err(failure),
        Ok(()) => Ok(()),
    }
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

async fn topic_to_stdout(
    client: &dyn Client,
    args: &ConsumeArgs,
    stop: CancellationToken,
) -> Result<(), ConsumeError> {
    let Some(topic) = client.topic(&args.topic).await? else {
        return Err(ClientError::UnknownTopic(args.topic.clone()).into());
    };
    let isolation = match args.read_uncommitted {
        true => Isolation::ReadUncommitted,
        false => Isolation::ReadCommitted,
    };
    let (mut options, mut open) = match &args.group {
        Some(group) => (ReaderOptions::group(group, vec![args.topic.clone()]), Vec::new()),
        None => partitions_to_read(client, args, &topic, isolation).await?,
    };
    options.isolation = isolation;
    let mut reader = client.reader(options).await?;
    let mut out = RecordWriter { out: BufWriter::new(io::stdout().lock()), args, written: 0 };
    if args.max_messages == Some(0) {
        return Ok(());
    }
    while !(args.until_end && open.is_empty()) {
        let event = tokio::select! {
            event = reader.next() => event?,
            () = stop.cancelled() => break,
        };
        let ReaderEvent::Batches(fetched) = event else { continue };
        for batch in &fetched.batches {
            if out.batch(&fetched.partition, batch, reader.as_mut()).await? {
                return Ok(());
            }
        }
        out.out.flush()?;
        if args.group.is_some() {
            reader.commit(&[(fetched.partition.clone(), fetched.next_offset)]).await?;
        }
        open.retain(|(partition, end)| {
            *partition != fetched.partition || fetched.next_offset < *end
        });
    }
    Ok(())
}

type Ends = Vec<(TopicPartition, Offset)>;

/// Where to start in each partition, and for `--until-end` those that are not read yet with
/// their ends.
async fn partitions_to_read(
    client: &dyn Client,
    args: &ConsumeArgs,
    topic: &TopicInfo,
    isolation: Isolation,
) -> Result<(ReaderOptions, Ends), ConsumeError> {
    let numbers = match args.partition {
        None => 0..topic.partitions,
        Some(partition) if (0..topic.partitions).contains(&partition) => partition..partition + 1,
        Some(partition) => {
            return Err(Failure::usage(format!(
                "topic '{}' has no partition {partition}; it has 0 to {}",
                topic.name,
                topic.partitions - 1
            ))
            .into());
        }
    };
    let partitions: Vec<_> =
        numbers.map(|number| TopicPartition::new(topic.name.as_str(), number)).collect();
    let ends = client.list_offsets(&partitions, OffsetSpec::Latest(isolation)).await?;
    let ends: Vec<_> = ends.into_iter().map(Option::unwrap_or_default).collect();
    let starts = match args.offset {
        Start::Latest => ends.clone(),
        Start::At(offset) => vec![offset; partitions.len()],
        Start::Earliest => {
            let starts = client.list_offsets(&partitions, OffsetSpec::Earliest).await?;
            starts.into_iter().map(Option::unwrap_or_default).collect()
        }
    };
    let from: Vec<_> = partitions.iter().cloned().zip(starts).collect();
    let open = from
        .iter()
        .zip(ends)
        .filter(|((_, start), end)| start < end)
        .map(|((partition, _), end)| (partition.clone(), end))
        .collect();
    Ok((
        ReaderOptions {
            from: ReadFrom::Partitions(from.clone()),
            ..ReaderOptions::partitions(from)
        },
        open,
    ))
}

struct RecordWriter<'a, W: Write> {
    out: W,
    args: &'a ConsumeArgs,
    written: u64,
}

impl<W: Write> RecordWriter<'_, W> {
    /// Writes a batch's records; true once as many were written as were asked for.
    async fn batch(
        &mut self,
        partition: &TopicPartition,
        batch: &broker::record::RecordBatch,
        reader: &mut dyn Reader,
    ) -> Result<bool, ConsumeError> {
        let malformed = |error| Failure::running(format!("partition {partition}: {error}"));
        for record in batch.records().map_err(malformed)?.iter() {
            let record = record.map_err(malformed)?;
            if let (Start::At(start), None) = (self.args.offset, &self.args.group)
                && record.offset < start
            {
                continue;
            }
            self.record(partition, &record)?;
            self.written += 1;
            if Some(self.written) == self.args.max_messages {
                self.out.flush()?;
                if self.args.group.is_some() {
                    reader.commit(&[(partition.clone(), record.offset.next())]).await?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn record(&mut self, partition: &TopicPartition, record: &Record<'_>) -> io::Result<()> {
        if self.args.json {
            return writeln!(self.out, "{}", as_json(partition, record));
        }
        if self.args.print_key {
            self.out.write_all(record.key.unwrap_or(b"null"))?;
            self.out.write_all(b"\t")?;
        }
        self.out.write_all(record.value.unwrap_or(b"null"))?;
        self.out.write_all(b"\n")
    }
}

/// Values that are JSON stay JSON, text becomes a string, other bytes are said to be such.
fn as_json(partition: &TopicPartition, record: &Record<'_>) -> Value {
    let headers: Vec<_> = record
        .headers()
        .map(|header| json!({ "key": header.key, "value": bytes_as_json(header.value) }))
        .collect();
    let value = match record.value.map(serde_json::from_slice::<Value>) {
        Some(Ok(value)) => value,
        _ => bytes_as_json(record.value),
    };
    json!({
        "topic": partition.topic.as_ref(),
        "partition": partition.partition,
        "offset": record.offset.0,
        "timestamp_ms": record.timestamp_ms,
        "key": bytes_as_json(record.key),
        "value": value,
        "headers": headers,
    })
}

fn bytes_as_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::String(text.to_owned()),
        Some((bytes, Err(_))) => json!({ "bytes": bytes }),
    }
}
