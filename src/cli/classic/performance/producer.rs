//! `kafka-producer-perf-test`.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::latencies::Latencies;
use super::payloads::Payloads;
use super::{Error, MIB, failed, measure, settings};
use crate::cli::Failure;
use crate::cli::classic::options::{Given, Tool, flag, value};
use crate::cli::classic::properties;
use crate::cli::properties::{Properties, pair};

pub const TOOL: Tool = Tool {
    name: "kafka-producer-perf-test",
    about: "This tool is used to verify the producer performance.",
    example: "kafka-producer-perf-test --topic orders --num-records 1000000 --record-size 100 \
              --throughput -1 --producer-props acks=all",
    options: &[
        value("command-property", "KEY=VALUE", "A producer's property; may be repeated"),
        value("num-records", "N", "How many records"),
        value("payload-delimiter", "TEXT", "What is between payloads of a file (default: \\n)"),
        value("payload-file", "FILE", "Payloads, taken at random"),
        flag("payload-monotonic", "Payloads are 0, 1, 2 and so on"),
        flag("print-metrics", "Taken, without effect"),
        value("producer-props", "KEY=VALUE ...", "A producer's properties, such as acks=all"),
        value("producer.config", "FILE", "A file of them; --producer-props win"),
        value("record-size", "BYTES", "Payloads are so many random letters"),
        value("reporting-interval", "MS", "How often figures are printed (default: 5000)"),
        value("throughput", "N", "Records per second at most; -1 for all that goes"),
        value("topic", "TOPIC", "The topic"),
        value("transaction-duration-ms", "MS", "Write transactions of such a length"),
        value("transactional-id", "ID", "Write transactions (of 3000 ms) by this id"),
    ],
};

/// As Kafka's producer has them.
const DEFAULTS: &[(&str, &str)] = &[
    ("acks", "all"),
    ("batch.size", "16384"),
    ("client.id", "perf-producer-client"),
    ("linger.ms", "5"),
    ("socket.send.buffer.bytes", "131072"),
];
/// `buffer.memory`, after which sending waits.
const BUFFER_BYTES: usize = 32 << 20;
/// What a record on the queue takes besides its payload.
const RECORD_BYTES: usize = 96;
const TRANSACTION_DURATION: Duration = Duration::from_secs(3);
/// Longer than a record may take to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is to be written.
struct Plan {
    topic: String,
    records: u64,
    payloads: Payloads,
    /// Records per second.
    throughput: Option<f64>,
    transactions: Option<Transactions>,
    properties: Properties,
    buffer_bytes: usize,
    reporting_interval: Duration,
}

struct Transactions {
    id: String,
    duration: Duration,
}

pub async fn run(given: &Given, stop: CancellationToken) -> Result<(), Error> {
    let plan = plan(given)?;
    let properties = plan.properties.clone();
    let stopped = stop.clone();
    measure(given, &properties, &stop, move |address| write(&address, plan, &stopped)).await
}

fn wrong(message: impl std::fmt::Display) -> Error {
    Error::usage(format!("producer-performance: error: {message}"))
}

fn plan(given: &Given) -> Result<Plan, Error> {
    let required = |name: &str| {
        let missing = || wrong(format!("argument --{name} is required"));
        given.value(name).map(str::to_owned).ok_or_else(missing)
    };
    let topic = required("topic")?;
    required("num-records")?;
    let records = positive(given, "num-records")?.unwrap_or(0);
    required("throughput")?;
    let throughput: f64 = given.parsed("throughput")?.unwrap_or(-1.0);
    if throughput == 0.0 || throughput.is_nan() {
        return Err(wrong("--throughput should be greater than zero, or -1"));
    }
    let properties = producer_properties(given)?;
    let duration = positive(given, "transaction-duration-ms")?.map(Duration::from_millis);
    let id = given.value("transactional-id").or(properties.get("transactional.id").map(|id| &**id));
    let transactions = (id.is_some() || duration.is_some()).then(|| Transactions {
        id: id.map_or_else(|| format!("performance-producer-{}", uuid::Uuid::new_v4()), Into::into),
        duration: duration.unwrap_or(TRANSACTION_DURATION),
    });
    let buffer = properties.get("buffer.memory").and_then(|bytes| bytes.trim().parse().ok());
    let interval = positive(given, "reporting-interval")?.unwrap_or(5_000);
    Ok(Plan {
        topic,
        records,
        payloads: payloads(given)?,
        throughput: (throughput > 0.0).then_some(throughput),
        transactions,
        properties,
        buffer_bytes: buffer.unwrap_or(BUFFER_BYTES),
        reporting_interval: Duration::from_millis(interval),
    })
}

fn positive(given: &Given, name: &str) -> Result<Option<u64>, Error> {
    match given.parsed(name)? {
        Some(0) => Err(wrong(format!("--{name} should be greater than zero"))),
        parsed => Ok(parsed),
    }
}

fn producer_properties(given: &Given) -> Result<Properties, Error> {
    let mut all = properties(given, "producer.config", &["command-property", "producer-props"])?;
    // Several may stand behind one --producer-props.
    for word in &given.rest {
        if !word.contains('=') {
            return Err(wrong(format!("unrecognized arguments: '{word}'")));
        }
        all.extend([pair(word)]);
    }
    Ok(all)
}

fn payloads(given: &Given) -> Result<Payloads, Error> {
    let kinds = ["record-size", "payload-file", "payload-monotonic"];
    let message = "producer-performance: error: exactly one of the arguments --record-size \
                   --payload-file --payload-monotonic is required";
    match given.one_of(&kinds, message)? {
        "record-size" => {
            let size = positive(given, "record-size")?.unwrap_or(1);
            Ok(Payloads::of_size(usize::try_from(size).unwrap_or(usize::MAX).min(1 << 30)))
        }
        "payload-file" => {
            let delimiter = given.value("payload-delimiter").unwrap_or("\\n");
            Payloads::read(Path::new(given.value("payload-file").unwrap_or_default()), delimiter)
        }
        _ => Ok(Payloads::numbers()),
    }
}

fn producer_settings(address: &str, plan: &Plan) -> Result<ClientConfig, Error> {
    let mut given = plan.properties.clone();
    given.remove("buffer.memory");
    // Java's producer waits for room in `send`; here that is done before it.
    given.remove("max.block.ms");
    let mut config = settings(address, DEFAULTS, &given)?;
    // As Kafka's: unless it was asked for, given up where it cannot be.
    let acks = config.get("acks").unwrap_or("all");
    let idempotent = acks == "all" || acks == "-1";
    if idempotent && !given.contains_key("enable.idempotence") {
        config.set("enable.idempotence", "true");
    }
    // The bound is ours; librdkafka's must only be higher.
    let kib = (plan.buffer_bytes >> 10).saturating_mul(4).clamp(1 << 10, 1 << 30);
    config.set("queue.buffering.max.kbytes", kib.to_string());
    config.set("queue.buffering.max.messages", "0");
    if let Some(transactions) = &plan.transactions {
        config.set("transactional.id", &transactions.id);
    }
    Ok(config)
}

/// What came of records, and what is under way.
struct Acknowledged {
    began: Instant,
    reporting_interval: Duration,
    state: Mutex<State>,
    /// Less is under way than before.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes sent and not answered yet.
    under_way: usize,
    all: Figures,
    window: Figures,
    window_began: Duration,
    refused: u64,
    /// Why the first was refused.
    reason: Option<String>,
}

#[derive(Default)]
struct Figures {
    latencies: Latencies,
    bytes: u64,
}

impl Figures {
    fn add(&mut self, bytes: usize, latency: Duration) {
        self.latencies.add(latency);
        self.bytes += bytes as u64;
    }

    fn rates(&self, time: Duration) -> String {
        let (records, seconds) = (self.latencies.count(), time.as_secs_f64().max(1e-9));
        let mib = self.bytes as f64 / seconds / MIB;
        format!(
            "{records} records sent, {:.1} records/sec ({mib:.2} MB/sec)",
            records as f64 / seconds
        )
    }

    fn window(&self, time: Duration) -> String {
        let (average, max) = (self.latencies.average_ms(), self.latencies.max_ms());
        format!("{}, {average:.1} ms avg latency, {max:.1} ms max latency.", self.rates(time))
    }

    fn total(&self, time: Duration) -> String {
        let (average, max) = (self.latencies.average_ms(), self.latencies.max_ms());
        let at = |share| self.latencies.percentile_ms(share);
        format!(
            "{}, {average:.2} ms avg latency, {max:.2} ms max latency, {:.2} ms 50th, \
             {:.2} ms 95th, {:.2} ms 99th, {:.2} ms 99.9th.",
            self.rates(time),
            at(0.5),
            at(0.95),
            at(0.99),
            at(0.999)
        )
    }
}

impl Acknowledged {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for a record.
    fn reserve(&self, bytes: usize, bytes_max: usize) {
        let full = |state: &mut State| state.under_way > 0 && state.under_way + bytes > bytes_max;
        let room = self.room.wait_while(self.state(), full);
        room.unwrap_or_else(PoisonError::into_inner).under_way += bytes;
    }

    /// Waits until all is answered: before librdkafka is asked to flush, which is slow to notice.
    fn drained(&self) {
        let busy = |state: &mut State| state.under_way > 0;
        drop(self.room.wait_while(self.state(), busy));
    }

    fn release(state: &mut State, bytes: usize) {
        state.under_way = state.under_way.saturating_sub(bytes);
    }
}

/// What librdkafka tells, on a thread of its own.
struct Told(Arc<Acknowledged>);

impl ClientContext for Told {}

impl ProducerContext for Told {
    /// Microseconds from the beginning until the record was sent.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent_us: usize) {
        let now = self.0.began.elapsed();
        let message = match result {
            Ok(message) => message,
            Err((_, message)) => message,
        };
        let bytes = message.payload().map_or(0, <[u8]>::len);
        let mut state = self.0.state();
        Acknowledged::release(&mut state, bytes + RECORD_BYTES);
        match result {
            Ok(_) => {
                let latency = now.saturating_sub(Duration::from_micros(sent_us as u64));
                state.all.add(bytes, latency);
                state.window.add(bytes, latency);
            }
            Err((error, _)) => {
                state.refused += 1;
                state.reason.get_or_insert_with(|| error.to_string());
            }
        }
        let window = now.saturating_sub(state.window_began);
        if window >= self.0.reporting_interval {
            println!("{}", state.window.window(window));
            state.window = Figures::default();
            state.window_began = now;
        }
        drop(state);
        self.0.room.notify_one();
    }
}

fn write(address: &str, mut plan: Plan, stop: &CancellationToken) -> Result<(), Error> {
    let config = producer_settings(address, &plan)?;
    let acknowledged = Arc::new(Acknowledged {
        began: Instant::now(),
        reporting_interval: plan.reporting_interval,
        state: Mutex::default(),
        room: Condvar::new(),
    });
    let producer: ThreadedProducer<Told> =
        config.create_with_context(Told(acknowledged.clone())).map_err(failed)?;
    send_all(&producer, &acknowledged, &mut plan, stop)?;
    producer.flush(PATIENCE).map_err(failed)?;
    let time = acknowledged.began.elapsed();
    let state = acknowledged.state();
    println!("{}", state.all.total(time));
    match &state.reason {
        None => Ok(()),
        Some(reason) => {
            let refused = state.refused;
            Err(Failure::running(format!("{refused} records were not written: {reason}")).into())
        }
    }
}

fn send_all(
    producer: &ThreadedProducer<Told>,
    acknowledged: &Acknowledged,
    plan: &mut Plan,
    stop: &CancellationToken,
) -> Result<(), Error> {
    if plan.transactions.is_some() {
        producer.init_transactions(PATIENCE).map_err(failed)?;
    }
    let began = Instant::now();
    let mut transaction: Option<Instant> = None;
    for number in 0..plan.records {
        if stop.is_cancelled() {
            break;
        }
        if plan.transactions.is_some() && transaction.is_none() {
            producer.begin_transaction().map_err(failed)?;
            transaction = Some(Instant::now());
        }
        let payload = plan.payloads.next();
        let sent = acknowledged.began.elapsed();
        let bytes = payload.len() + RECORD_BYTES;
        acknowledged.reserve(bytes, plan.buffer_bytes);
        let record = BaseRecord::<(), [u8], usize>::with_opaque_to(
            &plan.topic,
            usize::try_from(sent.as_micros()).unwrap_or(usize::MAX),
        );
        if let Err((error, _)) = producer.send(record.payload(payload)) {
            return Err(refused(acknowledged, bytes, error));
        }
        if let (Some(begun), Some(transactions)) = (transaction, &plan.transactions)
            && begun.elapsed() >= transactions.duration
        {
            acknowledged.drained();
            producer.commit_transaction(PATIENCE).map_err(failed)?;
            transaction = None;
        }
        if let Some(per_second) = plan.throughput {
            wait_until(began + Duration::from_secs_f64((number + 1) as f64 / per_second), stop);
        }
    }
    acknowledged.drained();
    if transaction.is_some() {
        producer.commit_transaction(PATIENCE).map_err(failed)?;
    }
    Ok(())
}

/// Clocks are not exact: records come in bursts of as many as are due within a millisecond.
fn wait_until(due: Instant, stop: &CancellationToken) {
    let early = due.saturating_duration_since(Instant::now());
    if early > Duration::from_millis(1) {
        let waiting = stop.run_until_cancelled(tokio::time::sleep(early));
        _ = Handle::current().block_on(waiting);
    }
}

/// A record was refused before it was sent, as one too large is.
fn refused(acknowledged: &Acknowledged, bytes: usize, error: KafkaError) -> Error {
    Acknowledged::release(&mut acknowledged.state(), bytes);
    match error {
        KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge) => Failure::running(
            "a record is larger than max.request.size, which a producer has as a property",
        )
        .into(),
        error => failed(error),
    }
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
    fn flags_are_kafkas() {
        let plan = planned(
            "--topic t --num-records 9 --record-size 7 --throughput 0.5 \
             --producer-props acks=1 buffer.memory=1000 --transaction-duration-ms 20",
        )
        .unwrap();
        assert_eq!((plan.records, plan.throughput, plan.buffer_bytes), (9, Some(0.5), 1000));
        assert_eq!(plan.transactions.unwrap().duration, Duration::from_millis(20));
        assert_eq!(plan.properties["acks"], "1");
        let plan = planned("--topic t --num-records 9 --payload-monotonic --throughput -1");
        let plan = plan.unwrap();
        assert!(plan.throughput.is_none() && plan.transactions.is_none());
        let config = producer_settings("h:1", &plan).unwrap();
        assert_eq!(config.get("enable.idempotence"), Some("true"));
        assert_eq!(config.get("linger.ms"), Some("5"));
        for (wrong, told) in [
            ("", "argument --topic is required"),
            ("--topic t --num-records 0 --throughput 1", "--num-records should be greater"),
            ("--topic t --num-records 1 --throughput 0", "--throughput should be"),
            ("--topic t --num-records 1 --throughput 1", "exactly one of"),
            ("--topic t --num-records 1 --throughput 1 --record-size 0", "--record-size should"),
            ("--topic t --num-records 1 --throughput 1 more", "'more'"),
        ] {
            let error = planned(wrong).map(|_| ()).unwrap_err();
            assert!(error.contains(told), "{wrong}: {error}");
        }
    }

    #[test]
    fn figures_have_kafkas_shape() {
        let mut figures = Figures::default();
        for ms in [1, 2, 3, 4] {
            figures.add(1 << 19, Duration::from_millis(ms));
        }
        let second = Duration::from_secs(1);
        assert_eq!(
            figures.window(second),
            "4 records sent, 4.0 records/sec (2.00 MB/sec), 2.5 ms avg latency, 4.0 ms max latency."
        );
        let total = figures.total(second);
        assert!(total.ends_with("4.00 ms 99th, 4.00 ms 99.9th."), "{total}");
    }
}
