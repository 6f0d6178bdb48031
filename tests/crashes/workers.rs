//! Processes that share the tasks of a query, on a broker of their own and on Apache Kafka: they
//! join, leave in order and die, and each takes up the state that another has left.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::course;
use crate::fixture::{Running, stdout, succeed, succeed_with};
use crate::kafka::kafka;
use crate::shop::{QUERY, Random, Shop, answered};

const ROUNDS: u64 = 8;
const WORKERS_MAX: usize = 3;

/// What stands before [`QUERY`]; how many copies of each state are kept follows.
const SETTINGS: &str = r#"
[settings]
tasks = 4
commit_interval = "50ms"
standby_replicas = "#;

/// The workers of a test, each with a directory of its own.
struct Workers<'t> {
    dir: &'t Path,
    address: &'t str,
    started: usize,
    running: Vec<Running>,
}

impl Workers<'_> {
    fn start(&mut self) {
        self.started += 1;
        let data = format!("worker-{}", self.started);
        let run = ["run", "shop.toml", "--bootstrap-server", self.address, "--data-dir", &data];
        self.running.push(Running::start(self.dir, &run));
    }

    /// One comes, goes or dies.
    fn change(&mut self, random: &mut Random) {
        let some = random.below(self.running.len().max(1) as u64) as usize;
        match random.below(4) {
            _ if self.running.is_empty() => self.start(),
            0 => drop(self.running.swap_remove(some).kill()),
            1 => {
                let (status, _, said) = self.running.swap_remove(some).interrupt();
                assert_eq!(status, Some(0), "{said:#?}");
            }
            _ if self.running.len() < WORKERS_MAX => self.start(),
            _ => {}
        }
    }
}

/// What becomes of rows that are late: none is to be.
#[derive(Clone, Copy, PartialEq)]
enum Late {
    /// They are only counted, so rows are combined before they meet.
    Counted,
    /// They go to a topic, so rows go one by one.
    ToTopic,
}

fn shared_by_workers(address: &str, copies: usize, late: Late) {
    let (mut random, rounds) = course(ROUNDS);
    let place = tempdir().unwrap();
    let dir = place.path();
    open_shop(dir, address, copies, late);
    let mut shop = Shop::default();
    let mut workers = Workers { dir, address, started: 0, running: Vec::new() };
    let mut reader = Running::start(dir, &["consume", "revenue", "--bootstrap-server", address]);
    let mut seen = 0;
    for round in 1..=rounds {
        workers.change(&mut random);
        trade(dir, address, &mut shop, &mut random);
        // In every second round the next one comes or goes while there is much to do.
        let ready = if round % 2 == 0 { shop.answered_by_now() } else { 0 };
        while seen < ready && !workers.running.is_empty() {
            reader.wait_stdout("window_start");
            seen += 1;
        }
        if round % 20 == 0 {
            println!("round {round}: {seen} rows of {} workers", workers.started);
        }
    }
    // By chance none may have been there whenever rows were waited for.
    if workers.running.is_empty() {
        workers.start();
    }
    while seen < shop.answered_by_now() {
        reader.wait_stdout("window_start");
        seen += 1;
    }
    drop(reader);
    // Those that still run are fenced by the last one.
    workers.running.drain(..).for_each(|worker| drop(worker.kill()));
    check(dir, address, &shop);
    assert!(shop.expected.len() as u64 > rounds, "{}", shop.expected.len());
}

fn open_shop(dir: &Path, address: &str, copies: usize, late: Late) {
    let query = match late {
        Late::Counted => QUERY.to_owned(),
        Late::ToTopic => QUERY.replace("idle_timeout", "late = { topic = \"late\" }, idle_timeout"),
    };
    fs::write(dir.join("shop.toml"), format!("{SETTINGS}{copies}\n{query}")).unwrap();
    let explained = stdout(&succeed(dir, &["explain", "shop.toml"]));
    let is_combined = explained.contains("combined before they meet");
    assert_eq!(is_combined, late == Late::Counted, "{explained}");
    let create = |topic: &str, options: &[&str]| {
        let create = ["topics", "create", topic, "--bootstrap-server", address];
        succeed(dir, &[&create[..], options].concat());
    };
    for topic in ["orders", "payments"] {
        create(topic, &["--partitions", "4"]);
    }
    // Event times are old, by which Kafka would delete the first rows before the test is over.
    for topic in ["revenue", "late"] {
        create(topic, &["--config", "retention.ms=-1"]);
    }
}

fn trade(dir: &Path, address: &str, shop: &mut Shop, random: &mut Random) {
    for _ in 0..4 {
        let (orders, payments) = shop.trade(random);
        for (topic, lines) in [("orders", orders), ("payments", payments)] {
            // Each to the partition of its key, so that time passes in all of them.
            let number = |(number, line): (usize, &str)| format!("{number}\t{line}\n");
            let lines: String = lines.lines().enumerate().map(number).collect();
            let produce = ["produce", topic, "--key-separator", "\t"];
            let produce = [&produce[..], &["--bootstrap-server", address]].concat();
            succeed_with(dir, &produce, &lines);
        }
    }
}

/// Lets what is open be answered, and compares all answers.
fn check(dir: &Path, address: &str, shop: &Shop) {
    let run = ["run", "shop.toml", "--until-end", "--bootstrap-server", address];
    let said = succeed(dir, &[&run[..], &["--data-dir", "last"]].concat()).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains("late"), "{said}");
    let all_of = |topic: &str| {
        let consume = ["consume", topic, "--until-end", "--bootstrap-server", address];
        stdout(&succeed(dir, &consume))
    };
    assert_eq!(all_of("late"), "", "late rows");
    let found = answered(&all_of("revenue"));
    assert_eq!(found, shop.expected);
}

/// One that sleeps for longer than its session finds its tasks taken, and takes part again.
#[test]
fn a_worker_that_was_asleep_shares_again() {
    let place = tempdir().unwrap();
    let (_broker, address) = Running::broker(place.path());
    let place = tempdir().unwrap();
    let (dir, (mut random, _)) = (place.path(), course(1));
    open_shop(dir, &address, 0, Late::ToTopic);
    let mut shop = Shop::default();
    let mut reader = Running::start(dir, &["consume", "revenue", "--bootstrap-server", &address]);
    let mut seen = 0;
    let mut answered = |shop: &Shop| {
        while seen < shop.answered_by_now() {
            reader.wait_stdout("window_start");
            seen += 1;
        }
    };
    let mut workers = Workers { dir, address: &address, started: 0, running: Vec::new() };
    workers.start();
    trade(dir, &address, &mut shop, &mut random);
    answered(&shop);
    workers.start();
    trade(dir, &address, &mut shop, &mut random);
    answered(&shop);
    workers.running[0].signal("STOP");
    trade(dir, &address, &mut shop, &mut random);
    answered(&shop);
    workers.running[0].signal("CONT");
    trade(dir, &address, &mut shop, &mut random);
    answered(&shop);
    // Alone it has all of them.
    for _ in 0..2 {
        let (status, _, said) = workers.running.pop().unwrap().interrupt();
        assert_eq!(status, Some(0), "{said:#?}");
        if !workers.running.is_empty() {
            trade(dir, &address, &mut shop, &mut random);
            answered(&shop);
        }
    }
    drop(reader);
    check(dir, &address, &shop);
}

#[test]
fn workers_of_a_broker_come_go_and_die() {
    let place = tempdir().unwrap();
    let (_broker, address) = Running::broker(place.path());
    shared_by_workers(&address, 0, Late::ToTopic);
}

#[test]
fn workers_that_combine_rows_come_go_and_die() {
    let place = tempdir().unwrap();
    let (_broker, address) = Running::broker(place.path());
    shared_by_workers(&address, 0, Late::Counted);
}

#[test]
fn workers_that_keep_copies_come_go_and_die() {
    let place = tempdir().unwrap();
    let (_broker, address) = Running::broker(place.path());
    shared_by_workers(&address, 1, Late::ToTopic);
}

#[test]
fn workers_of_kafka_come_go_and_die() {
    let Some(kafka) = kafka() else { return };
    shared_by_workers(&kafka.address, 1, Late::Counted);
}
