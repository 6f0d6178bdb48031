//! How long a record takes through a pipeline, from the moment it is given to a producer to the
//! moment a reader of the output has it; on the broker of this process. With acks=all a record is
//! seen by the pipeline once it is fsynced, with acks=1 at once.
//!
//!   cargo bench --workspace --bench latency [-- 'stateless at-least-once acks=1 50000']
//!
//! Records come at a fixed rate, whatever the pipeline does (no coordinated omission: a record that
//! should have been sent earlier counts from then). `windowed` is from the record that moves the
//! watermark past the end of a window to that window's answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Acks, Client, NewTopic, ProducerOptions, Reader, ReaderEvent, ReaderOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use engine::pipeline::load_text;
use engine::runtime::{Phase, Runtime, RuntimeOptions};
use tokio::sync::oneshot;

/// Records of so long go into one batch, as with `linger.ms = 1`.
const LINGER: Duration = Duration::from_millis(1);
const SECONDS: u64 = 10;
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW_MS: u64 = 100;

const STATELESS: &str = r#"
[[queries]]
name = "through"
from = "events"
sink = { topic = "out", format = "json" }
[[queries.steps]]
filter = "key <> 'none'"
"#;
const WINDOWED: &str = r#"
[[queries]]
name = "counts"
from = "events"
sink = { topic = "out", format = "json" }
[[queries.steps]]
window = { tumble = "100ms" }
group_by = ["key"]
[queries.steps.aggregate]
events = "count(*)"
"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!("latency in ms                      records/s      p50      p99    p99.9      max");
    for (name, query) in [("stateless", STATELESS), ("windowed", WINDOWED)] {
        for (guarantee, acks) in [
            ("at-least-once", Acks::Leader),
            ("at-least-once", Acks::All),
            ("exactly-once", Acks::All),
        ] {
            for rate in [10, 1000, 50_000] {
                let asked = if acks == Acks::All { "acks=all" } else { "acks=1" };
                let all = format!("{name} {guarantee} {asked} {rate}");
                if wanted.as_ref().is_some_and(|wanted| !all.starts_with(wanted)) {
                    continue;
                }
                let mut took =
                    runtime.block_on(run(name == "windowed", query, (guarantee, acks), rate));
                took.sort_unstable();
                let at = |part: f64| {
                    let place = ((took.len() as f64 * part) as usize).min(took.len() - 1);
                    took[place].as_secs_f64() * 1000.0
                };
                println!(
                    "{name:<10} {guarantee:<13} {asked:<8} {rate:>10} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                    at(0.5),
                    at(0.99),
                    at(0.999),
                    at(1.0)
                );
            }
        }
    }
}

async fn run(
    windowed: bool,
    query: &str,
    (guarantee, acks): (&str, Acks),
    rate: u64,
) -> Vec<Duration> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    for topic in ["events", "out"] {
        client.create_topic(&NewTopic::new(topic, 1)).await.expect("a new topic");
    }
    let text = format!(
        r#"
[settings]
guarantee = "{guarantee}"
commit_interval = "10ms"
[sources.events]
topic = "events"
format = "json"
columns = {{ at = {{ type = "timestamp", from = "timestamp" }}, key = "string", number = "int" }}
event_time = "at"
watermark = "0 ms"
{query}"#
    );
    let (pipeline, _) =
        load_text("bench.toml".into(), text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let options = RuntimeOptions::default();
    let running = Runtime::start(client.clone(), vec![pipeline], options).expect("it can run");
    let mut progress = running.progress();
    let ready = progress.wait_for(|queries| queries[0].phase >= Phase::Running).await;
    ready.expect("it runs");
    let out = vec![(TopicPartition::new("out", 0), Offset::ZERO)];
    let reader = client.reader(ReaderOptions::partitions(out)).await.expect("a reader");
    let (ended, end) = oneshot::channel();
    let reading = tokio::spawn(read(reader, windowed, end));
    let sent = send(client.as_ref(), windowed, acks, rate).await;
    // What is under way comes in a moment.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let _ = ended.send(());
    let seen = reading.await.expect("a reader");
    running.stop();
    running.finished().await.expect("the data is good");
    broker.shutdown().await.expect("an orderly end");
    let warm = Instant::now().checked_sub(Duration::from_secs(SECONDS + 1)).expect("later");
    let warm = warm + WARM_UP;
    let pairs = seen.iter().filter_map(|(number, at)| Some((*sent.get(number)?, *at)));
    pairs.filter(|(sent, _)| *sent > warm).map(|(sent, at)| at - sent).collect()
}

/// When each record was to be sent, by number; or when each window ended, by its start.
async fn send(client: &dyn Client, windowed: bool, acks: Acks, rate: u64) -> HashMap<u64, Instant> {
    let mut producer = client
        .producer(ProducerOptions { acks, ..ProducerOptions::default() })
        .await
        .expect("a producer");
    let to = TopicPartition::new("events", 0);
    let mut sent = HashMap::new();
    let start = Instant::now();
    let base_ms = now_ms();
    let mut ended = 0;
    let mut number = 0;
    while number < rate * SECONDS {
        let mut batch = BatchBuilder::default();
        loop {
            let due = start + Duration::from_nanos(number * 1_000_000_000 / rate);
            if due > Instant::now() || number == rate * SECONDS {
                break;
            }
            let at_ms = base_ms + (due - start).as_millis() as u64;
            let window = at_ms / WINDOW_MS * WINDOW_MS;
            if windowed {
                while ended < window {
                    ended = if ended == 0 { window } else { ended + WINDOW_MS };
                    sent.insert(ended - WINDOW_MS, due);
                }
            } else {
                sent.insert(number, due);
            }
            let value = format!(r#"{{"key":"k{}","number":{number}}}"#, number % 10);
            batch.append(at_ms as i64, None, Some(value.as_bytes()));
            number += 1;
        }
        if !batch.is_empty() {
            producer.send(&to, batch).await.expect("room for it");
        }
        let next = start + Duration::from_nanos(number * 1_000_000_000 / rate);
        tokio::time::sleep_until(next.max(Instant::now() + LINGER).into()).await;
    }
    sent
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    since.as_millis() as u64
}

/// When the row of each number came, or the first one of each window.
async fn read(
    mut reader: Box<dyn Reader>,
    windowed: bool,
    mut end: oneshot::Receiver<()>,
) -> HashMap<u64, Instant> {
    let mut seen = HashMap::new();
    loop {
        let event = tokio::select! {
            _ = &mut end => return seen,
            event = reader.next() => event.expect("a broker"),
        };
        let ReaderEvent::Batches(fetched) = event else { continue };
        let now = Instant::now();
        for batch in &fetched.batches {
            for record in batch.records().expect("what was written").iter() {
                let record = record.expect("what was written");
                let number = match windowed {
                    // The timestamp is the last moment of the window.
                    true => (record.timestamp_ms as u64 + 1).saturating_sub(WINDOW_MS),
                    false => number(record.value.unwrap_or_default()),
                };
                seen.entry(number).or_insert(now);
            }
        }
    }
}

/// That of a row, which comes last.
fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).unwrap_or_default();
    let digits = text.trim_end_matches('}').rsplit(':').next().unwrap_or_default();
    digits.parse().unwrap_or(u64::MAX)
}
