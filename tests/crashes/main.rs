//! A windowed join with an aggregate behind it, in several tasks, through crashes: the answer is
//! that of a loop over what was written, nothing lost and nothing twice.
//!
//!   MILLSTREAM_ROUNDS=300 MILLSTREAM_SEED=7 cargo test … --test crashes -- --nocapture
//!
//! - here: one process, killed again and again (`kill -9`) while its files grow; [`workers`]:
//!   several processes that come, go and die; [`takeover`]: how long that takes; [`shop`]: the
//!   query and its data; [`functions`]: functions that give up at some rows.

#[path = "../fixture/mod.rs"]
mod fixture;
mod functions;
#[path = "../kafka/fixture.rs"]
mod kafka;
mod shop;
mod takeover;
mod workers;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fixture::{Running, stdout, succeed};
use shop::{Random, Shop, answered};
use tempfile::tempdir;

const ROUNDS: u64 = 6;
/// In a round.
const PIECES: u64 = 10;

const FILES: &str = r#"
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

"#;

fn append(path: &Path, lines: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

/// Numbers of a seed that is told, and how many rounds there are.
fn course(rounds: u64) -> (Random, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let seed = setting("MILLSTREAM_SEED").unwrap_or(now);
    let rounds = setting("MILLSTREAM_ROUNDS").unwrap_or(rounds);
    println!("MILLSTREAM_SEED={seed} MILLSTREAM_ROUNDS={rounds}");
    (Random(seed), rounds)
}

#[test]
fn a_windowed_join_killed_at_any_moment_loses_nothing_and_doubles_nothing() {
    let (mut random, rounds) = course(ROUNDS);
    let place = tempdir().unwrap();
    let (orders, payments) =
        (place.path().join("orders.jsonl"), place.path().join("payments.jsonl"));
    fs::write(place.path().join("shop.toml"), format!("{FILES}{}", shop::QUERY)).unwrap();
    let explained = stdout(&succeed(place.path(), &["explain", "shop.toml"]));
    assert!(explained.contains("combined before they meet"), "{explained}");
    let run = ["run", "shop.toml", "--listen", "127.0.0.1:0", "--data-dir", "data", "--json"];
    let mut shop = Shop::default();
    for round in 1..=rounds {
        let mut running = Running::start(place.path(), &run);
        for _ in 0..PIECES {
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
