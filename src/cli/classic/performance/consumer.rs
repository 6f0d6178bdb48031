//! `kafka-consumer-perf-test`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use tokio_util::sync::CancellationToken;

use super::dates::DateFormat;
use super::{Error, MIB, failed, measure, settings};
use crate::cli::Failure;
use crate::cli::classic::options::{Given, Tool, flag, value};
use crate::cli::classic::properties;
use crate::cli::properties::Properties;

pub const TOOL: Tool = Tool {
    name: "kafka-consumer-perf-test",
    about: "This tool is used to verify the consumer performance.",
    example: "kafka-consumer-perf-test --topic orders --messages 1000000",
    options: &[
        value("broker-list", "HOST:PORT", "The old name of --bootstrap-server"),
        value("command-property", "KEY=VALUE", "A consumer's property; may be repeated"),
        value("consumer.config", "FILE", "A file of consumer's properties"),
        value("date-format", "FORMAT", "Of times (UTC), as of Java's SimpleDateFormat"),
        value("fetch-size", "BYTES", "How much is fetched at once (default: 1048576)"),
        flag("from-latest", "Start at the end where the group has committed no offset"),
        value("group", "GROUP", "The group (default: perf-consumer- and a number)"),
        flag("hide-header", "Leave the line of names out"),
        value("include", "REGEX", "Topics whose whole name matches"),
        value("messages", "N", "How many records"),
        value("num-records", "N", "The same"),
        flag("print-metrics", "Taken, without effect"),
        value("reporting-interval", "MS", "How often figures are printed (default: 5000)"),
        flag("show-detailed-stats", "Print figures every --reporting-interval"),
        value("socket-buffer-size", "BYTES", "The receive buffer (default: 2097152)"),
        value("timeout", "MS", "The longest time without a record (default: 10000)"),
        value("topic", "TOPIC", "The topic"),
    ],
};

const DEFAULTS: &[(&str, &str)] = &[
    ("check.crcs", "false"),
    ("auto.offset.reset", "earliest"),
    ("allow.auto.create.topics", "true"),
    ("fetch.wait.max.ms", "500"),
    // The defaults let a fast reader of small records starve for a second at a time.
    ("queued.max.messages.kbytes", "131072"),
    ("queued.min.messages", "1000000"),
    ("fetch.queue.backoff.ms", "10"),
];
/// How long one look for a record waits.
const POLL: Duration = Duration::from_millis(100);

/// What is to be read.
struct Plan {
    subscription: String,
    records: u64,
    properties: Properties,
    timeout: Duration,
    reporting_interval: Duration,
    detailed: bool,
    header: bool,
    format: DateFormat,
}

pub async fn run(given: &Given, stop: CancellationToken) -> Result<(), Error> {
    let plan = plan(given)?;
    let properties = plan.properties.clone();
    let stopped = stop.clone();
    measure(given, &properties, &stop, move |address| read(&address, &plan, &stopped)).await
}

fn plan(given: &Given) -> Result<Plan, Error> {
    let subscription = match (given.value("topic"), given.value("include")) {
        (Some(topic), None) => topic.to_owned(),
        // Of the whole name, as Java's patterns are.
        (None, Some(pattern)) => format!("^({pattern})$"),
        _ => return Err(Error::usage("Exactly one of --include/--topic is required. ")),
    };
    let records = given.parsed("num-records")?.or(given.parsed("messages")?);
    let records = match records {
        Some(records) => records,
        None => given.required("messages").map(|_| 0)?,
    };
    let mut properties = properties(given, "consumer.config", &["command-property"])?;
    let mut set = |name: &str, value: &str| properties.insert(name.to_owned(), value.to_owned());
    let number = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let random = format!("perf-consumer-{}", number % 100_000);
    set("group.id", given.value("group").unwrap_or(&random));
    set("fetch.message.max.bytes", given.value("fetch-size").unwrap_or("1048576"));
    set("receive.buffer.bytes", given.value("socket-buffer-size").unwrap_or("2097152"));
    if given.has("from-latest") {
        set("auto.offset.reset", "latest");
    }
    let ms = |name, default| {
        let ms: Option<u64> = given.parsed(name)?;
        Ok::<_, Error>(Duration::from_millis(ms.unwrap_or(default)))
    };
    let format = given.value("date-format").unwrap_or("yyyy-MM-dd HH:mm:ss:SSS");
    Ok(Plan {
        subscription,
        records,
        properties,
        timeout: ms("timeout", 10_000)?,
        reporting_interval: ms("reporting-interval", 5_000)?.max(Duration::from_millis(1)),
        detailed: given.has("show-detailed-stats"),
        header: !given.has("hide-header"),
        format: DateFormat::new(format).map_err(Error::usage)?,
    })
}

/// How long the group took to give partitions.
struct Joining {
    state: Mutex<JoinState>,
}

struct JoinState {
    partitions: usize,
    since: Instant,
    all: Duration,
    /// In the present interval of reports.
    interval: Duration,
}

impl Joining {
    fn state(&self) -> MutexGuard<'_, JoinState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Joining {}

impl ConsumerContext for Joining {
    fn post_rebalance(&self, _: &BaseConsumer<Joining>, rebalance: &Rebalance<'_>) {
        let mut state = self.state();
        match rebalance {
            Rebalance::Assign(partitions) => {
                if state.partitions == 0 {
                    let took = state.since.elapsed();
                    state.all += took;
                    state.interval += took;
                }
                state.partitions += partitions.count();
            }
            Rebalance::Revoke(partitions) => {
                state.partitions = state.partitions.saturating_sub(partitions.count());
                if state.partitions == 0 {
                    state.since = Instant::now();
                }
            }
            Rebalance::Error(_) => {}
        }
    }
}

/// Records and bytes of a span of time.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    records: u64,
    bytes: u64,
    time: Duration,
    joining: Duration,
}

impl Span {
    fn per_second(amount: f64, time: Duration) -> f64 {
        if time.is_zero() { 0.0 } else { amount / time.as_secs_f64() }
    }

    /// MB/s and records/s.
    fn rates(&self, time: Duration) -> (f64, f64) {
        let mib = Span::per_second(self.bytes as f64 / MIB, time);
        (mib, Span::per_second(self.records as f64, time))
    }

    /// Time spent on joining and on fetching, and the rates of the latter.
    fn extended(&self) -> String {
        let fetching = self.time.saturating_sub(self.joining);
        let (mib, records) = self.rates(fetching);
        let (joining, fetching) = (self.joining.as_millis(), fetching.as_millis());
        format!("{joining}, {fetching}, {mib:.4}, {records:.4}")
    }
}

const HEADER_END: &str = "data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                          rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec";

fn read(address: &str, plan: &Plan, stop: &CancellationToken) -> Result<(), Error> {
    let config = settings(address, DEFAULTS, &plan.properties)?;
    if plan.header {
        let begin = if plan.detailed { "time, threadId" } else { "start.time, end.time" };
        println!("{begin}, {HEADER_END}");
    }
    let (began, began_at) = (Instant::now(), SystemTime::now());
    let joining =
        JoinState { partitions: 0, since: began, all: Duration::ZERO, interval: Duration::ZERO };
    let consumer: BaseConsumer<Joining> =
        config.create_with_context(Joining { state: Mutex::new(joining) }).map_err(failed)?;
    consumer.subscribe(&[&plan.subscription]).map_err(failed)?;
    let all = read_all(&consumer, plan, began, stop)?;
    if all.records < plan.records && !stop.is_cancelled() {
        println!(
            "WARNING: Exiting before consuming the expected number of messages: timeout ({} ms) \
             exceeded. You can use the --timeout option to increase the timeout.",
            plan.timeout.as_millis()
        );
    }
    if !plan.detailed {
        let (mib, records) = all.rates(all.time);
        println!(
            "{}, {}, {:.4}, {mib:.4}, {}, {records:.4}, {}",
            plan.format.format(began_at),
            plan.format.format(began_at + all.time),
            all.bytes as f64 / MIB,
            all.records,
            all.extended()
        );
    }
    Ok(())
}

/// Reads until there was enough, or nothing came for too long.
fn read_all(
    consumer: &BaseConsumer<Joining>,
    plan: &Plan,
    began: Instant,
    stop: &CancellationToken,
) -> Result<Span, Error> {
    let (mut all, mut interval) = (Span::default(), Span::default());
    let (mut last_report, mut last_record) = (began, began);
    while all.records < plan.records && !stop.is_cancelled() {
        let record = match consumer.poll(POLL) {
            None => None,
            Some(Ok(record)) => Some(record),
            Some(Err(error)) if error.rdkafka_error_code().is_some() => {
                // A topic may yet come into being, and a broker come back.
                tracing::warn!(%error, "the consumer goes on");
                None
            }
            Some(Err(error)) => return Err(failed(error)),
        };
        let now = Instant::now();
        let Some(record) = record else {
            if now - last_record > plan.timeout {
                break;
            }
            continue;
        };
        last_record = now;
        let bytes = record.key_len() + record.payload_len();
        for span in [&mut all, &mut interval] {
            span.records += 1;
            span.bytes += bytes as u64;
        }
        if now - last_report >= plan.reporting_interval {
            interval.time = now - last_report;
            interval.joining = std::mem::take(&mut consumer.context().state().interval);
            if plan.detailed {
                report(&all, &interval, plan);
            }
            (interval, last_report) = (Span::default(), now);
        }
    }
    all.time = began.elapsed();
    all.joining = consumer.context().state().all;
    if all.records == 0 && plan.records > 0 && all.joining.is_zero() && !stop.is_cancelled() {
        let topic = &plan.subscription;
        return Err(Failure::running(format!("no partition of {topic} was assigned"))
            .with_help("is there such a topic? `millstream topics list` shows them")
            .into());
    }
    Ok(all)
}

fn report(all: &Span, interval: &Span, plan: &Plan) {
    let (mib, records) = interval.rates(interval.time);
    println!(
        "{}, 0, {:.4}, {mib:.4}, {}, {records:.4}, {}",
        plan.format.format(SystemTime::now()),
        all.bytes as f64 / MIB,
        all.records,
        interval.extended()
    );
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
        let plan = planned("--topic t --messages 5 --group g --from-latest --timeout 7").unwrap();
        assert_eq!((plan.records, plan.timeout), (5, Duration::from_millis(7)));
        assert_eq!(plan.properties["group.id"], "g");
        assert_eq!(plan.properties["auto.offset.reset"], "latest");
        let plan = planned("--include a.* --num-records 5").unwrap();
        assert_eq!(plan.subscription, "^(a.*)$");
        for wrong in ["--messages 1", "--topic t", "--topic t --messages 1 --date-format QQ"] {
            assert!(planned(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_of_fetching_alone_and_of_all() {
        let seconds = Duration::from_secs;
        let span = Span { records: 100, bytes: 4 << 20, time: seconds(4), joining: seconds(2) };
        assert_eq!(span.rates(span.time), (1.0, 25.0));
        assert_eq!(span.extended(), "2000, 2000, 2.0000, 50.0000");
        assert_eq!(Span::default().extended(), "0, 0, 0.0000, 0.0000");
    }
}
