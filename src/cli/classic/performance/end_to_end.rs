//! `kafka-e2e-latency`: from `send` to a consumer that waits, one record at a time.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::latencies::Latencies;
use super::payloads::Payloads;
use super::{Error, failed, measure, settings};
use crate::cli::Failure;
use crate::cli::classic::options::{Given, Tool, value};
use crate::cli::classic::properties;
use crate::cli::properties::{self as files, Properties};

pub const TOOL: Tool = Tool {
    name: "kafka-e2e-latency",
    about: "Measures the time from sending a record to reading it, one record at a time.\n\
            Takes flags, or in this order: broker_list topic num_messages producer_acks \
            message_size_bytes [properties_file].",
    example: "kafka-e2e-latency --topic latency --num-records 10000 --producer-acks all \
              --record-size 100",
    options: &[
        value("num-records", "N", "How many records"),
        value("producer-acks", "ACKS", "1 or all"),
        value("record-size", "BYTES", "How large each is"),
        value("topic", "TOPIC", "The topic"),
    ],
};

const PRODUCER: &[(&str, &str)] = &[("linger.ms", "0"), ("max.in.flight", "1")];
const CONSUMER: &[(&str, &str)] = &[
    ("group.id", "millstream-e2e-latency"),
    ("enable.auto.commit", "false"),
    ("fetch.wait.max.ms", "100"),
];
/// A record that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a figure is printed.
const REPORT_EVERY: u64 = 1_000;

struct Plan {
    topic: String,
    records: u64,
    acks: String,
    size: usize,
    properties: Properties,
}

pub async fn run(given: &Given, stop: CancellationToken) -> Result<(), Error> {
    let plan = plan(given)?;
    let properties = plan.properties.clone();
    let stopped = stop.clone();
    measure(given, &properties, &stop, move |address| ping(&address, &plan, &stopped)).await
}

fn plan(given: &Given) -> Result<Plan, Error> {
    let number = |text: &str, name: &str| {
        let wrong = || Error::usage(format!("Value for --{name} must be a positive integer."));
        text.trim().parse().ok().filter(|number| *number > 0).ok_or_else(wrong)
    };
    let mut properties = properties(given, "command-config", &[])?;
    let rest: Vec<&str> = given.rest.iter().map(String::as_str).collect();
    let [topic, records, acks, size] = match rest.as_slice() {
        [] => ["topic", "num-records", "producer-acks", "record-size"]
            .map(|name| given.required(name))
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?
            .try_into()
            .expect("there are four names"),
        [brokers, topic, records, acks, size, file @ ..] if file.len() <= 1 => {
            if let [file] = file {
                properties.extend(files::read(file.as_ref())?);
            }
            properties.insert("bootstrap.servers".to_owned(), (*brokers).to_owned());
            [*topic, records, acks, size]
        }
        _ => {
            return Err(Error::usage(
                "USAGE: broker_list topic num_messages producer_acks message_size_bytes \
                 [optional] properties_file",
            ));
        }
    };
    if !["1", "all"].contains(&acks) {
        return Err(Error::usage(
            "Latency testing requires synchronous acknowledgement. Please use 1 or all",
        ));
    }
    Ok(Plan {
        topic: topic.to_owned(),
        records: number(records, "num-records")?,
        acks: acks.to_owned(),
        size: number(size, "record-size")? as usize,
        properties,
    })
}

/// Tells of each record that was written, or why it was not.
struct Told(Sender<Result<(), String>>);

impl ClientContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let outcome = result.as_ref().map(drop).map_err(|(error, _)| error.to_string());
        // Nobody listens any more once something has failed.
        _ = self.0.send(outcome);
    }
}

fn ping(address: &str, plan: &Plan, stop: &CancellationToken) -> Result<(), Error> {
    let mut config = settings(address, PRODUCER, &plan.properties)?;
    let (told, written) = channel();
    let producer: ThreadedProducer<Told> =
        config.set("acks", &plan.acks).create_with_context(Told(told)).map_err(failed)?;
    let consumer: BaseConsumer =
        settings(address, CONSUMER, &plan.properties)?.create().map_err(failed)?;
    assign_ends(&producer, &consumer, &plan.topic)?;
    let mut payloads = Payloads::of_size(plan.size);
    let mut latencies = Latencies::default();
    for number in 0..plan.records {
        if stop.is_cancelled() {
            break;
        }
        let payload = payloads.next();
        let began = Instant::now();
        let record = BaseRecord::<(), [u8]>::to(&plan.topic).payload(payload);
        producer.send(record).map_err(|(error, _)| failed(error))?;
        let missing = || format!("record {number} was not there after {PATIENCE:?}");
        let outcome = written.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(missing()));
        outcome.map_err(Failure::running)?;
        let record = consumer.poll(PATIENCE).ok_or_else(|| Failure::running(missing()))?;
        let took = began.elapsed();
        if record.map_err(failed)?.payload() != Some(payload) {
            return Err(Failure::running(format!("another writes to '{}' too", plan.topic)).into());
        }
        latencies.add(took);
        if number % REPORT_EVERY == 0 {
            println!("{number}\t{}", took.as_secs_f64() * 1e3);
        }
    }
    println!("Avg latency: {:.4} ms", latencies.average_ms());
    let at = |share| latencies.percentile_ms(share);
    println!(
        "Percentiles: 50th = {:.2}, 99th = {:.2}, 99.9th = {:.2}",
        at(0.5),
        at(0.99),
        at(0.999)
    );
    Ok(())
}

/// Gives the consumer the end of each partition of the topic, which asking creates.
fn assign_ends(
    producer: &ThreadedProducer<Told>,
    consumer: &BaseConsumer,
    topic: &str,
) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let asked = |topic| producer.client().fetch_metadata(topic, PATIENCE).map_err(failed);
    let is_new = !asked(None)?.topics().iter().any(|there| there.name() == topic);
    let partitions = loop {
        let metadata = asked(Some(topic))?;
        let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if found > 0 {
            break found as i32;
        }
        if Instant::now() > deadline {
            return Err(Failure::running(format!("topic '{topic}' does not exist")).into());
        }
    };
    if is_new {
        println!(
            "Topic \"{topic}\" does not exist. Will create topic with {partitions} partition(s) and \
             replication factor = 1"
        );
    }
    let mut ends = TopicPartitionList::new();
    for partition in 0..partitions {
        let watermarks = consumer.fetch_watermarks(topic, partition, PATIENCE);
        let (_, end) = watermarks.map_err(failed)?;
        ends.add_partition_offset(topic, partition, Offset::Offset(end)).map_err(failed)?;
    }
    consumer.assign(&ends).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        TOOL.parse(&words).and_then(|given| plan(&given)).map_err(|error| match error {
            Error::Usage(message) => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn both_forms_are_taken() {
        let by_place = planned("h:1 t 10 all 100").unwrap();
        assert_eq!((by_place.topic.as_str(), by_place.records, by_place.size), ("t", 10, 100));
        assert_eq!(by_place.properties["bootstrap.servers"], "h:1");
        let flags = "--topic t --num-records 10 --producer-acks 1 --record-size 100";
        assert_eq!(planned(flags).unwrap().acks, "1");
        for wrong in ["", "h:1 t 10 0 100", "h:1 t x 1 100", "h:1 t 10 1", "--topic t"] {
            assert!(planned(wrong).is_err(), "{wrong}");
        }
    }
}
