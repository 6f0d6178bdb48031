//! Kafka Streams' word count on our broker.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::fixture::{PATIENCE, ROOT, Running, stdout, succeed, succeed_with};
use crate::java::has_java;
use crate::turn;

/// Fetching Streams' jars before the first included.
const START_TIME: Duration = Duration::from_secs(300);

/// The program of WordCount.java.
struct WordCount {
    process: Child,
    input: Option<ChildStdin>,
}

impl WordCount {
    fn start(address: &str, guarantee: &str, state: &Path) -> WordCount {
        let mut process = Command::new(Path::new(ROOT).join("tests/kafka/start-kafka.sh"))
            .args(["streams", address, guarantee])
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let input = process.stdin.take();
        let (sender, running) = channel();
        thread::spawn(move || {
            let is_running = |line: &String| line == "running";
            _ = sender.send(lines.by_ref().map_while(Result::ok).any(|line| is_running(&line)));
            // It may go on to print.
            lines.for_each(drop);
        });
        let started = WordCount { process, input };
        assert_eq!(running.recv_timeout(START_TIME), Ok(true), "{guarantee}: it runs");
        started
    }

    /// Lets it end in order.
    fn stop(mut self) {
        drop(self.input.take());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for WordCount {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What was counted last of each word, of what is committed.
fn counts(dir: &Path, address: &str) -> BTreeMap<String, u64> {
    let read = ["consume", "counts", "--until-end", "--print-key"];
    let read = succeed(dir, &[&read[..], &["--bootstrap-server", address]].concat());
    let read = stdout(&read);
    let pairs = read.lines().map(|line| line.split_once('\t').unwrap());
    pairs.map(|(word, count)| (word.to_owned(), count.parse().unwrap())).collect()
}

fn wait_for(dir: &Path, address: &str, wanted: &[(&str, u64)]) {
    let wanted: BTreeMap<String, u64> =
        wanted.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = counts(dir, address);
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "counted {found:?}, expected {wanted:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn count_words(guarantee: &str) {
    let dir = tempdir().unwrap();
    let (_broker, address) = Running::broker(dir.path());
    let to = ["--bootstrap-server", address.as_str()];
    for (topic, partitions) in [("lines", "3"), ("counts", "2")] {
        let create = ["topics", "create", topic, "--partitions", partitions];
        succeed(dir.path(), &[&create[..], &to].concat());
    }
    let write = |lines: &str| {
        succeed_with(dir.path(), &[&["produce", "lines"], &to[..]].concat(), lines);
    };
    let state = dir.path().join("state");
    let counting = WordCount::start(&address, guarantee, &state);
    write("all streams lead to Kafka\nhello kafka streams\n");
    let first = [("all", 1), ("streams", 2), ("lead", 1), ("to", 1), ("kafka", 2), ("hello", 1)];
    wait_for(dir.path(), &address, &first);
    counting.stop();

    // Its state is gone: it comes back from the topic of changes that Streams keeps.
    std::fs::remove_dir_all(&state).unwrap();
    write(&"hello streams\n".repeat(500));
    let counting = WordCount::start(&address, guarantee, &state);
    let then = [("all", 1), ("streams", 502), ("lead", 1), ("to", 1), ("kafka", 2), ("hello", 501)];
    wait_for(dir.path(), &address, &then);
    counting.stop();
}

#[test]
fn kafka_streams_counts_words_at_least_once() {
    let _turn = turn();
    if has_java() {
        count_words("at_least_once");
    }
}

#[test]
fn kafka_streams_counts_words_exactly_once() {
    let _turn = turn();
    if has_java() {
        count_words("exactly_once_v2");
    }
}
