//! `millstream produce`: lines from stdin to a topic.
//!
//! - [`line`]: a line as a record; here: lines to batches to partitions.

pub mod line;

use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use broker::client::{Acks, Client, ClientError, NewTopic, Producer, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::{BatchBuilder, Compression};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio_util::sync::CancellationToken;

use self::line::{LineError, LineForm};
use super::{BrokerChoice, Failure, connection, unless_stopped};
use crate::render::table::plural;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'hello' | millstream produce greetings
  millstream produce orders --key-separator : < orders.txt
  printf 'trace:7\\tkey\\tvalue\\n' | millstream produce orders --headers --key-separator '\t'

The topic is created if it is not there. Each line is one record; a line ends with \\n or \\r\\n.")]
pub struct ProduceArgs {
    /// The topic to write to
    topic: String,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Split each line at the first of these: the key before, the value after
    #[arg(long, value_name = "SEPARATOR")]
    key_separator: Option<String>,
    /// Each line begins with headers, NAME:VALUE with commas between, and a tab
    #[arg(long)]
    headers: bool,
    /// What stands for no key, no value or no headers
    #[arg(long, value_name = "TEXT")]
    null_marker: Option<String>,
    /// Write to this partition; else keys choose theirs, and lines without a key go a batch at a
    /// time to one partition after the other, beginning anywhere
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", default_value = "none")]
    compression: Compression,
}

/// Lines on their way to a topic.
#[derive(Clone, Debug)]
pub struct Lines {
    pub topic: String,
    pub partition: Option<i32>,
    pub form: LineForm,
    pub compression: Compression,
    pub acks: Acks,
    /// A batch is sent at this size even if more lines are at hand.
    pub batch_bytes: usize,
}

/// What fills a request well and keeps the first line from waiting.
pub const BATCH_BYTES: usize = 256 << 10;

/// Why not all lines were written.
#[derive(Debug)]
pub enum ProduceError {
    /// Those before it were.
    Line(LineError),
    Failure(Failure),
}

impl<F: Into<Failure>> From<F> for ProduceError {
    fn from(failure: F) -> ProduceError {
        ProduceError::Failure(failure.into())
    }
}

pub async fn produce(args: ProduceArgs, stop: CancellationToken) -> Result<(), Failure> {
    let form = LineForm {
        parse_key: args.key_separator.is_some(),
        parse_headers: args.headers,
        key_separator: args.key_separator.unwrap_or_else(|| "\t".to_owned()),
        null_marker: args.null_marker,
        ..LineForm::default()
    };
    if let Some(conflict) = form.conflict() {
        return Err(Failure::usage(conflict));
    }
    let lines = Lines {
        topic: args.topic,
        partition: args.partition,
        form,
        compression: args.compression,
        acks: Acks::All,
        batch_bytes: BATCH_BYTES,
    };
    let connection = unless_stopped(&stop, connection::open(&args.broker)).await?;
    let done = write(connection.client.as_ref(), &lines, stop).await;
    connection.close().await;
    match done {
        Ok(count) => {
            eprintln!("wrote {} to '{}'", plural(count as i64, "record"), lines.topic);
            Ok(())
        }
        Err(ProduceError::Failure(failure)) => Err(failure),
        Err(ProduceError::Line(error)) => Err(Failure::running(format!("stdin: {error}"))
            .with_help("lines before it were written; --key-separator sets another")),
    }
}

/// Writes lines until their end, or until it is told to stop; how many.
pub async fn write(
    client: &dyn Client,
    lines: &Lines,
    stop: CancellationToken,
) -> Result<u64, ProduceError> {
    let partitions = partitions_of(client, &lines.topic).await?;
    if let Some(partition) =
        lines.partition.filter(|partition| !(0..partitions).contains(partition))
    {
        return Err(Failure::usage(format!(
            "topic '{}' has no partition {partition}; it has 0 to {}",
            lines.topic,
            partitions - 1
        ))
        .into());
    }
    let options = ProducerOptions { acks: lines.acks, ..ProducerOptions::default() };
    let mut writer = LineWriter {
        producer: client.producer(options).await?,
        batches: (0..partitions).map(|_| BatchBuilder::new(lines.compression)).collect(),
        next_in_turn: anywhere(partitions),
        lines,
    };
    let count = writer.copy(stop).await;
    writer.send_all().await?;
    writer.producer.flush().await?;
    count
}

/// Where the first batch without keys goes: the lines of many short runs are spread as well.
fn anywhere(partitions: i32) -> usize {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    (random % u64::from(partitions.max(1).unsigned_abs())) as usize
}

struct LineWriter<'a> {
    producer: Box<dyn Producer>,
    batches: Vec<BatchBuilder>,
    next_in_turn: usize,
    lines: &'a Lines,
}

impl LineWriter<'_> {
    async fn copy(&mut self, stop: CancellationToken) -> Result<u64, ProduceError> {
        let mut input = BufReader::with_capacity(BATCH_BYTES, tokio::io::stdin());
        let mut line = Vec::new();
        let mut count = 0;
        // As Kafka's own: someone who types sees where.
        let prompts = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        loop {
            if prompts {
                print!("> ");
                // A prompt that cannot be shown is no reason to stop.
                let _ = std::io::stdout().flush();
            }
            line.clear();
            let read = tokio::select! {
                read = input.read_until(b'\n', &mut line) => read,
                () = stop.cancelled() => Ok(0),
            };
            let read = read.map_err(|error| Failure::running(format!("stdin: {error}")))?;
            if read == 0 {
                return Ok(count);
            }
            self.append(count + 1, without_line_end(&line)).await?;
            count += 1;
            if input.buffer().is_empty() {
                // Nothing more at hand: someone may be typing, and each line should arrive at once.
                self.send_all().await?;
            }
        }
    }

    async fn append(&mut self, number: u64, line: &[u8]) -> Result<(), ProduceError> {
        let parts = self.lines.form.parse(number, line).map_err(ProduceError::Line)?;
        let partition = match (self.lines.partition, parts.key) {
            (Some(partition), _) => partition as usize,
            (None, Some(key)) => {
                broker::client::partition_for_key(key, self.batches.len() as i32) as usize
            }
            (None, None) => self.next_in_turn,
        };
        let headers: Vec<(&str, Option<&[u8]>)> =
            parts.headers.iter().map(|(key, value)| (key.as_ref(), *value)).collect();
        let batch = &mut self.batches[partition];
        batch.append_with_headers(now_ms(), parts.key, parts.value, &headers);
        if batch.size() >= self.lines.batch_bytes {
            self.send(partition).await?;
            if partition == self.next_in_turn {
                self.turn();
            }
        }
        Ok(())
    }

    /// Lines without a key stay with one partition for a batch (KIP-480).
    fn turn(&mut self) {
        self.next_in_turn = (self.next_in_turn + 1) % self.batches.len();
    }

    async fn send_all(&mut self) -> Result<(), Failure> {
        for partition in 0..self.batches.len() {
            self.send(partition).await?;
        }
        self.turn();
        Ok(())
    }

    async fn send(&mut self, partition: usize) -> Result<(), Failure> {
        if self.batches[partition].is_empty() {
            return Ok(());
        }
        let next = BatchBuilder::new(self.lines.compression);
        let batch = std::mem::replace(&mut self.batches[partition], next);
        let to = TopicPartition::new(self.lines.topic.as_str(), partition as i32);
        Ok(self.producer.send(&to, batch).await?)
    }
}

/// How many partitions the topic has; it is created if it is not there.
async fn partitions_of(client: &dyn Client, topic: &str) -> Result<i32, Failure> {
    if let Some(found) = client.topic(topic).await? {
        return Ok(found.partitions);
    }
    let new = NewTopic { name: topic.to_owned(), partitions: None, configs: Default::default() };
    match client.create_topic(&new).await {
        Ok(()) => eprintln!("created topic '{topic}'"),
        Err(ClientError::TopicExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let found = client.topic(topic).await?;
    found.map(|topic| topic.partitions).ok_or_else(|| {
        Failure::running(format!("topic '{topic}' was deleted while it was being written to"))
    })
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_no_part_of_the_record() {
        assert_eq!(without_line_end(b"one\r\n"), b"one");
        assert_eq!(without_line_end(b"one\n"), b"one");
        assert_eq!(without_line_end(b"one"), b"one");
    }
}
