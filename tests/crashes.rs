//! A windowed join with an aggregate behind it, in two tasks, killed again and again (`kill -9`)
//! while its files grow: the answer is that of a loop over the files, nothing lost and nothing
//! twice.
//!
//!   MILLSTREAM_ROUNDS=300 MILLSTREAM_SEED=7 cargo test … --test crashes -- --nocapture

mod fixture;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fixture::{Running, stdout, succeed};
use serde_json::{Value, json};
use tempfile::tempdir;

const ROUNDS: u64 = 6;
/// Orders that are written in a round, and in a piece.
const ORDERS: u64 = 600;
const PIECE: u64 = 60;
const WINDOW_MS: u64 = 10_000;
/// 2026-01-01T00:00:00Z; the shop opens an hour later.
const EPOCH_MS: u64 = 1_767_225_600_000;

const PIPELINE: &str = r#"
[settings]
tasks = 2
commit_interval = "20ms"

[connectors.orders-file]
connector.class = "FileStreamSource"
file = "orders.jsonl"
topic = "orders"

[connectors.payments-file]
connector.class = "FileStreamSource"
file = "payments.jsonl"
topic = "payments"

[sources.orders]
topic = "orders"
format = "json"
columns = { id = "int", item = "text", at = "timestamp" }
event_time = "at"
watermark = { delay = "3 s", idle_timeout = "1 h" }

[sources.payments]
topic = "payments"
format = "json"
columns = { order_id = "int", amount = "int", at = "timestamp" }
event_time = "at"
watermark = { delay = "3 s", idle_timeout = "1 h" }

[[queries]]
name = "revenue"
sink = { topic = "revenue", format = "json" }
sql = """
SELECT o.window_start, o.window_end, o.item, count(*) AS paid, sum(p.amount) AS amount
FROM TUMBLE(TABLE orders, DESCRIPTOR(at), INTERVAL '10' SECOND) AS o
JOIN TUMBLE(TABLE payments, DESCRIPTOR(at), INTERVAL '10' SECOND) AS p
  ON o.window_start = p.window_start AND o.window_end = p.window_end AND o.id = p.order_id
GROUP BY o.window_start, o.window_end, o.item
"""
"#;

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What has been written, and what must be answered for it.
#[derive(Default)]
struct Shop {
    orders: u64,
    /// Of each order, when it was made and what of.
    made: BTreeMap<u64, (u64, String)>,
    /// By window and item: payments, and their sum.
    expected: BTreeMap<(u64, String), (u64, u64)>,
}

impl Shop {
    /// The next lines of both files. Rows are out of order by less than what is waited for.
    fn trade(&mut self, random: &mut Random) -> (String, String) {
        let (mut orders, mut payments) = (String::new(), String::new());
        for _ in 0..PIECE {
            let id = self.orders;
            self.orders += 1;
            let now_ms = EPOCH_MS + 3_600_000 + id * 100;
            let at_ms = now_ms - random.below(1_000);
            let item = format!("item {}", random.below(5));
            let order = json!({"id": id, "item": item, "at": time(at_ms)});
            orders += &format!("{order}\n");
            self.made.insert(id, (at_ms, item));
            // Mostly of a recent order, perhaps of one that was paid already.
            let order = id.saturating_sub(random.below(40));
            let (amount, at_ms) = (1 + random.below(99), now_ms - random.below(2_000));
            let payment = json!({"order_id": order, "amount": amount, "at": time(at_ms)});
            payments += &format!("{payment}\n");
            let (made_ms, item) = &self.made[&order];
            if made_ms / WINDOW_MS == at_ms / WINDOW_MS {
                let key = (at_ms / WINDOW_MS * WINDOW_MS, item.clone());
                let (count, sum) = self.expected.entry(key).or_default();
                (*count, *sum) = (*count + 1, *sum + amount);
            }
        }
        (orders, payments)
    }
}

fn time(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000 % 86_400, at_ms % 1000);
    let day = 1 + (at_ms - EPOCH_MS) / 86_400_000;
    format!(
        "2026-01-{day:02}T{:02}:{:02}:{:02}.{ms:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

fn append(path: &Path, lines: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Rows by window and item. None may come twice.
fn answered(lines: &str) -> BTreeMap<(u64, String), (u64, u64)> {
    let mut found = BTreeMap::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let start = row["window_start"].as_str().unwrap();
        let part = |at: usize, len: usize| start[at..at + len].parse::<u64>().unwrap();
        let seconds = part(11, 2) * 3600 + part(14, 2) * 60 + part(17, 2);
        let start_ms = EPOCH_MS + (part(8, 2) - 1) * 86_400_000 + seconds * 1000;
        let key = (start_ms, row["item"].as_str().unwrap().to_owned());
        let value = (row["paid"].as_u64().unwrap(), row["amount"].as_u64().unwrap());
        assert!(found.insert(key.clone(), value).is_none(), "{key:?} came twice");
    }
    found
}

#[test]
fn a_windowed_join_killed_at_any_moment_loses_nothing_and_doubles_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = setting("MILLSTREAM_SEED").unwrap_or(now);
    let rounds = setting("MILLSTREAM_ROUNDS").unwrap_or(ROUNDS);
    println!("MILLSTREAM_SEED={seed} MILLSTREAM_ROUNDS={rounds}");
    let mut random = Random(seed);
    let place = tempdir().unwrap();
    let (orders, payments) =
        (place.path().join("orders.jsonl"), place.path().join("payments.jsonl"));
    fs::write(place.path().join("shop.toml"), PIPELINE).unwrap();
    let run = ["run", "shop.toml", "--listen", "127.0.0.1:0", "--data-dir", "data", "--json"];
    let mut shop = Shop::default();
    for round in 1..=rounds {
        let mut running = Running::start(place.path(), &run);
        for _ in 0..ORDERS / PIECE {
            let (some_orders, some_payments) = shop.trade(&mut random);
            append(&orders, &some_orders);
            append(&payments, &some_payments);
        }
        // Some die before they have begun, some in the middle of a commit, some later.
        if random.below(4) > 0 {
            running.wait_stderr("look");
        }
        std::thread::sleep(Duration::from_millis(random.below(400)));
        running.kill();
        if round % 20 == 0 {
            println!("round {round}: {} orders", shop.orders);
        }
    }
    let until_end = [&run[..], &["--until-end"]].concat();
    let said = succeed(place.path(), &until_end).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains("late"), "{said}");
    let topic = ["consume", "revenue", "--until-end", "--data-dir", "data"];
    let found = answered(&stdout(&succeed(place.path(), &topic)));
    assert!(shop.expected.len() as u64 > rounds * 10, "{}", shop.expected.len());
    assert_eq!(found, shop.expected);
}
