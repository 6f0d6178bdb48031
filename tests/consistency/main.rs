//! Readers, writers, transactions, groups and compaction while the broker is killed again and
//! again, and a checker that says what must not have happened.
//!
//!   cargo test --release --workspace --test consistency
//!   MILLSTREAM_ROUNDS=300 MILLSTREAM_SEED=7 cargo test … --test consistency -- --nocapture
//!
//! - [`checker`]: which anomalies there are, as a pure function of what was written and read;
//! - [`workers`]: clients (librdkafka) that go on through every crash; [`history`]: what they say.

mod checker;
#[path = "../fixture/mod.rs"]
mod fixture;
mod history;
mod workers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::client::{Client, Isolation, NewTopic, RemoteClient, RemoteOptions};
use checker::{Outcome, Read, Write};
use fixture::Running;
use history::{History, Random};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use workers::{IN, LATEST, OUT, PARTITIONS, TRANSACTIONS, World};

/// Kills in an ordinary run.
const ROUNDS: u64 = 5;
/// What is waited for comes much sooner.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

fn start(dir: &Path, listen: &str) -> (Running, String) {
    let args = ["broker", "--data-dir", "data", "--listen", listen];
    let mut running = Running::start(dir, &args);
    let address = running.address();
    (running, address)
}

async fn world(address: &str) -> Arc<World> {
    let client = RemoteClient::connect(address, RemoteOptions::default()).await.unwrap();
    for topic in [IN, TRANSACTIONS, OUT] {
        client.create_topic(&NewTopic::new(topic, PARTITIONS)).await.unwrap();
    }
    let compacted = NewTopic::new(LATEST, 1)
        .with_config("cleanup.policy", "compact")
        .with_config("segment.bytes", 1 << 20)
        .with_config("min.cleanable.dirty.ratio", 0.01);
    client.create_topic(&compacted).await.unwrap();
    Arc::new(World {
        client,
        history: History::default(),
        reads: Mutex::default(),
        latest: Mutex::default(),
        progress: Notify::new(),
        stop: CancellationToken::new(),
        stop_mirrors: CancellationToken::new(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_doubles_nothing_and_mixes_nothing_up() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = setting("MILLSTREAM_SEED").unwrap_or(now);
    let rounds = setting("MILLSTREAM_ROUNDS").unwrap_or(ROUNDS);
    println!("MILLSTREAM_SEED={seed} MILLSTREAM_ROUNDS={rounds}");
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    let (mut broker, address) = start(dir.path(), "127.0.0.1:0");
    let world = world(&address).await;

    let ids: Vec<String> = (0..3).map(|number| format!("transactions-{number}")).collect();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..2 {
        writers.spawn(world.clone().write(Random(seed ^ number)));
    }
    for (number, id) in ids.iter().enumerate() {
        let random = Random(seed ^ (100 + number as u64));
        writers.spawn(world.clone().write_transactions(id.clone(), random));
    }
    writers.spawn(world.clone().write_latest(Random(seed ^ 200)));
    writers.spawn(world.clone().read_again_and_again());
    let mut mirrors = tokio::task::JoinSet::new();
    let mirror_ids: Vec<String> = (0..3).map(|number| format!("mirror-{number}")).collect();
    for (number, id) in mirror_ids.iter().enumerate() {
        mirrors.spawn(world.clone().mirror(id.clone(), number == 0));
    }

    for round in 1..=rounds {
        let until = world.history.acknowledged() + 200 + random.below(2_000);
        let grown = async {
            while world.history.acknowledged() < until {
                world.progress.notified().await;
            }
        };
        timeout(PATIENCE, grown).await.expect("writers make progress after each crash");
        broker.kill();
        broker = start(dir.path(), &address).0;
        println!("round {round}: {} acknowledged", world.history.acknowledged());
    }
    world.stop.cancel();
    timeout(PATIENCE, writers.join_all()).await.expect("writers stop");
    timeout(PATIENCE, world.all_mirrored()).await.expect("mirrors catch up");
    world.stop_mirrors.cancel();
    timeout(PATIENCE, mirrors.join_all()).await.expect("mirrors stop");
    world.abort_open(&ids).await;
    world.abort_open(&mirror_ids).await;

    // What is read at the end was recovered once more.
    broker.kill();
    broker = start(dir.path(), &address).0;
    for topic in [IN, TRANSACTIONS, OUT] {
        for read in world.read(topic, true).await.unwrap() {
            world.reads.lock().unwrap().add(read);
        }
    }
    let reads = std::mem::take(&mut *world.reads.lock().unwrap());
    let mut writes = world.history.writes();
    let copies = copies(reads.last());
    println!("{} writes, {} copies, {} reads", writes.len(), copies.len(), reads.count);
    assert!(!copies.is_empty());
    writes.extend(copies);
    let found = reads.check(&writes);
    assert!(found.is_empty(), "{} anomalies: {:#?}", found.len(), found.first());
    check_latest(&world).await;
    assert_eq!(broker.interrupt().0, Some(0));
}

/// What mirrors must have written: every record of their topic once, in its order.
fn copies(reads: &[Read]) -> Vec<Write> {
    let last = reads.iter().filter(|read| read.last && read.isolation == Isolation::ReadCommitted);
    let of_in = last.filter(|read| read.from.0 == IN);
    let copies = of_in.flat_map(|read| {
        read.records.iter().enumerate().map(|(number, (_, value))| Write {
            value: format!("mirrored {value}"),
            writer: 1_000_000 + read.from.1 as usize,
            number: number as u64,
            to: (OUT.to_owned(), read.from.1),
            transaction: None,
            outcome: Outcome::Done,
        })
    });
    copies.collect()
}

/// Of each key the last record is there that was acknowledged, or a later one; and what is there
/// is in its order.
async fn check_latest(world: &World) {
    let reads = world.read(LATEST, true).await.unwrap();
    for read in &reads {
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut after = -1;
        for (offset, record) in &read.records {
            assert!(*offset > after, "offset {offset} after {after}");
            after = *offset;
            let (key, value) = record.split_once('=').unwrap();
            let number: u64 = value.trim_start_matches('0').parse().unwrap();
            let before = last.insert(key, number);
            assert!(
                before.is_none_or(|before| before < number),
                "{key}: {number} after {before:?}"
            );
        }
        let latest = world.latest.lock().unwrap().clone();
        assert!(!latest.is_empty());
        for (key, (sent, acknowledged)) in &latest {
            let found = last.get(key.as_str()).copied().unwrap_or(0);
            assert!(
                (*acknowledged..=*sent).contains(&found),
                "{key}: {found} is there, {acknowledged} was acknowledged, {sent} sent"
            );
        }
    }
}
