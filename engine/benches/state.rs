//! What much state costs: totals per key, over a million keys and more, from topic to topic on the
//! broker of this process, its transactions fsynced; once with room for all of it in memory, once
//! with a little.
//!
//!   MILLSTREAM_KEYS=10000000 cargo bench --workspace --bench state
//!
//! Each key comes once in a random order, then once more in another one. Memory is that of the whole
//! process (VmRSS), broker included. `from disk` is a start that finds a snapshot, `from the
//! changelog` one that does not: both until the first record can be read.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use engine::pipeline::load_text;
use engine::runtime::{Phase, Runtime, RuntimeOptions};

const BATCH_BYTES: usize = 64 << 10;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let keys = std::env::var("MILLSTREAM_KEYS").ok().and_then(|keys| keys.parse().ok());
    let keys: u64 = keys.unwrap_or(1_000_000);
    // Each in a process of its own, so that its memory is its own.
    let Ok(memory) = std::env::var("MILLSTREAM_STATE_MEMORY") else {
        println!("totals of {keys} keys, each comes twice");
        let this = std::env::current_exe().expect("this program is a file");
        for memory in ["16GB", "128MB"] {
            let child = Command::new(&this).env("MILLSTREAM_STATE_MEMORY", memory).status();
            assert!(child.expect("it can run again").success());
        }
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(run(keys, &memory));
}

async fn run(keys: u64, memory: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open(BrokerConfig::new(&dir.path().join("logs"))).await;
    let broker = broker.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    client.create_topic(&NewTopic::new("sales", 1)).await.expect("a new topic");
    let state = dir.path().join("state");
    println!("  state_memory = {memory}");
    for (pass, name) in ["every key is new", "every key is there"].into_iter().enumerate() {
        fill(client.as_ref(), keys, pass as u64).await;
        let (start, processor) = (Instant::now(), processor_time());
        let running = start_on(&client, &state, memory);
        let mut progress = running.progress();
        let all = progress.wait_for(|queries| queries[0].counts.rows_in == keys).await;
        all.expect("it runs");
        let resident = resident_mb();
        running.stop();
        running.finished().await.expect("the data is good");
        let rate = |took: Duration| keys as f64 / took.as_secs_f64();
        let (wall, processor) = (rate(start.elapsed()), rate(processor_time() - processor));
        println!(
            "    {name:<20} {wall:>10.0} records/s, {processor:.0} per core   {resident:>6} MB \
             resident"
        );
    }
    let topics = dir.path().join("logs");
    println!(
        "    on disk              {:>6} MB of state, {} MB of topics",
        size_mb(&state),
        size_mb(&topics)
    );
    for (how, keeps_disk) in [("from disk", true), ("from the changelog", false)] {
        if !keeps_disk {
            // Small state has none.
            let _ = std::fs::remove_dir_all(&state);
        }
        let start = Instant::now();
        let running = start_on(&client, &state, memory);
        let mut progress = running.progress();
        let ready = progress.wait_for(|queries| queries[0].phase >= Phase::Running).await;
        let restored = ready.expect("it runs")[0].restored.1;
        let took = start.elapsed();
        let resident = resident_mb();
        running.stop();
        running.finished().await.expect("the data is good");
        println!(
            "    starts {how:<18} {:>7.2} s, {restored} records read back   {resident} MB resident",
            took.as_secs_f64()
        );
    }
    broker.shutdown().await.expect("an orderly end");
}

fn start_on(client: &Arc<dyn Client>, state: &Path, memory: &str) -> Runtime {
    let text = format!(
        r#"
[settings]
state_memory = "{memory}"
[sources.sales]
topic = "sales"
format = "json"
columns = {{ item = "int", n = "int" }}
[[queries]]
name = "totals"
from = "sales"
sink = {{ topic = "totals", format = "json" }}
[[queries.steps]]
group_by = ["item"]
[queries.steps.aggregate]
sales = "count(*)"
total = "sum(n)"
most = "max(n)"
"#
    );
    let loaded = load_text("bench.toml".into(), text);
    let (pipeline, _) = loaded.unwrap_or_else(|problems| panic!("{problems:?}"));
    let options = RuntimeOptions { state_dir: Some(state.to_owned()), ..Default::default() };
    Runtime::start(client.clone(), vec![pipeline], options).expect("the pipeline can run")
}

/// All keys in the order of a walk that visits each once.
async fn fill(client: &dyn Client, keys: u64, pass: u64) {
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    let to = TopicPartition::new("sales", 0);
    let mut batch = BatchBuilder::default();
    // Steps of a number without a common divisor meet every key.
    let mut step = keys / 3 + 2 * pass + 1;
    while gcd(step, keys) != 1 {
        step += 1;
    }
    let mut key = 0;
    for _ in 0..keys {
        let value = format!(r#"{{"item":{key},"n":{}}}"#, key % 1000);
        batch.append(1_800_000_000_000, None, Some(value.as_bytes()));
        if batch.size() >= BATCH_BYTES {
            producer.send(&to, std::mem::take(&mut batch)).await.expect("room for it");
        }
        key = (key + step) % keys;
    }
    if !batch.is_empty() {
        producer.send(&to, batch).await.expect("room for it");
    }
    producer.flush().await.expect("a disk");
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// Of all threads of this process so far, in user and kernel mode.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux says it there");
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    // The 14th and the 15th field (proc_pid_stat(5)), in ticks of 10 ms; two came before ") ".
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Duration::from_millis(ticks * 10)
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says it there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kb.unwrap_or_default() / 1024
}

fn size_mb(dir: &Path) -> u64 {
    fn bytes(dir: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        let sizes = entries.flatten().map(|entry| match entry.metadata() {
            Ok(of) if of.is_dir() => bytes(&entry.path()),
            Ok(of) => of.len(),
            Err(_) => 0,
        });
        sizes.sum()
    }
    bytes(dir) >> 20
}
