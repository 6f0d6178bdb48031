//! `millstream produce`: lines from stdin to a topic.

use std::time::{SystemTime, UNIX_EPOCH};

use broker::client::{ClientError, NewTopic, Producer, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::{BatchBuilder, Compression};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection};
use super::{BrokerChoice, Failure};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'hello' | millstream produce greetings
  millstream produce orders --key-separator : < orders.txt

The topic is created if it is not there. Each line is one record; a line ends with \\n or \\r\\n.")]
pub struct ProduceArgs {
    topic: String,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Split each line at the first of these: the key before, the value after
    #[arg(long, value_name = "SEPARATOR")]
    key_separator: Option<String>,
    /// Write to this partition; else keys choose theirs and lines without a key go in turn
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", default_value = "none")]
    compression: Compression,
}

/// A batch is sent at this size even if more lines are at hand.
const BATCH_BYTES: usize = 256 << 10;

pub async fn produce(args: ProduceArgs, stop: CancellationToken) -> Result<(), Failure> {
    let connection = connection::open(&args.broker).await?;
    let done = lines_to_topic(&connection, &args, stop).await;
    connection.close().await;
    let count = done?;
    let s = if count == 1 { "" } else { "s" };
    eprintln!("wrote {count} record{s} to '{}'", args.topic);
    Ok(())
}

async fn lines_to_topic(
    connection: &Connection,
    args: &ProduceArgs,
    stop: CancellationToken,
) -> Result<u64, Failure> {
    let partitions = partitions_of(connection, &args.topic).await?;
    if let Some(partition) = args.partition.filter(|partition| !(0..partitions).contains(partition))
    {
        return Err(Failure::usage(format!(
            "topic '{}' has no partition {partition}; it has 0 to {}",
            args.topic,
            partitions - 1
        )));
    }
    let producer = connection.client.producer(ProducerOptions::default()).await?;
    let mut writer = LineWriter {
        producer,
        batches: (0..partitions).map(|_| BatchBuilder::new(args.compression)).collect(),
        next_in_turn: 0,
        args,
    };
    let mut lines = BufReader::with_capacity(BATCH_BYTES, tokio::io::stdin());
    let mut line = Vec::new();
    let mut count = 0;
    loop {
        line.clear();
        let read = tokio::select! {
            read = lines.read_until(b'\n', &mut line) => read,
            () = stop.cancelled() => Ok(0),
        };
        let read = read.map_err(|error| Failure::running(format!("stdin: {error}")))?;
        if read == 0 {
            break;
        }
        writer.append(count + 1, without_line_end(&line)).await?;
        count += 1;
        if lines.buffer().is_empty() {
            // Nothing more at hand: someone may be typing, and each line should arrive at once.
            writer.send_all().await?;
        }
    }
    writer.send_all().await?;
    writer.producer.flush().await?;
    Ok(count)
}

struct LineWriter<'a> {
    producer: Box<dyn Producer>,
    batches: Vec<BatchBuilder>,
    next_in_turn: usize,
    args: &'a ProduceArgs,
}

impl LineWriter<'_> {
    async fn append(&mut self, number: u64, line: &[u8]) -> Result<(), Failure> {
        let (key, value) = match &self.args.key_separator {
            None => (None, line),
            Some(separator) => {
                let (key, value) = split_key(line, separator.as_bytes()).ok_or_else(|| {
                    Failure::running(format!("stdin: line {number} has no '{separator}' in it"))
                        .with_help("lines before it were written; --key-separator sets another")
                })?;
                (Some(key), value)
            }
        };
        let partition = match (self.args.partition, key) {
            (Some(partition), _) => partition as usize,
            (None, Some(key)) => {
                broker::client::partition_for_key(key, self.batches.len() as i32) as usize
            }
            (None, None) => self.next_in_turn,
        };
        let batch = &mut self.batches[partition];
        batch.append(now_ms(), key, Some(value));
        if batch.size() >= BATCH_BYTES {
            self.send(partition).await?;
        }
        Ok(())
    }

    async fn send_all(&mut self) -> Result<(), Failure> {
        for partition in 0..self.batches.len() {
            self.send(partition).await?;
        }
        self.next_in_turn = (self.next_in_turn + 1) % self.batches.len();
        Ok(())
    }

    async fn send(&mut self, partition: usize) -> Result<(), Failure> {
        if self.batches[partition].is_empty() {
            return Ok(());
        }
        let next = BatchBuilder::new(self.args.compression);
        let batch = std::mem::replace(&mut self.batches[partition], next);
        let to = TopicPartition::new(self.args.topic.as_str(), partition as i32);
        Ok(self.producer.send(&to, batch).await?)
    }
}

/// How many partitions the topic has; it is created if it is not there.
async fn partitions_of(connection: &Connection, topic: &str) -> Result<i32, Failure> {
    if let Some(found) = connection.client.topic(topic).await? {
        return Ok(found.partitions);
    }
    let new = NewTopic { name: topic.to_owned(), partitions: None, configs: Default::default() };
    match connection.client.create_topic(&new).await {
        Ok(()) => eprintln!("created topic '{topic}'"),
        Err(ClientError::TopicExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let found = connection.client.topic(topic).await?;
    found.map(|topic| topic.partitions).ok_or_else(|| {
        Failure::running(format!("topic '{topic}' was deleted while it was being written to"))
    })
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn split_key<'a>(line: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(separator.len().max(1)).position(|window| window == separator)?;
    Some((&line[..at], &line[at + separator.len()..]))
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split_key(b"k::v::w", b"::"), Some((b"k".as_slice(), b"v::w".as_slice())));
        assert_eq!(split_key(b"no key", b":"), None);
        assert_eq!(split_key(b"", b":"), None);
    }

    #[test]
    fn line_ends_are_no_part_of_the_record() {
        assert_eq!(without_line_end(b"one\r\n"), b"one");
        assert_eq!(without_line_end(b"one\n"), b"one");
        assert_eq!(without_line_end(b"one"), b"one");
    }
}
