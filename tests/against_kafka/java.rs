//! Kafka's own programs, and ours in the same way.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::fixture::{ROOT, run_with};

/// Longer than a command may take, and fetching Kafka before the first.
const ANSWER_TIME: Duration = Duration::from_secs(300);

const CLASSES: [(&str, &str); 18] = [
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
    ("kafka-consumer-groups", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"),
    ("kafka-share-groups", "org.apache.kafka.tools.consumer.group.ShareGroupCommand"),
    ("kafka-groups", "org.apache.kafka.tools.GroupsCommand"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    ("kafka-delete-records", "org.apache.kafka.tools.DeleteRecordsCommand"),
    ("kafka-transactions", "org.apache.kafka.tools.TransactionsCommand"),
    ("kafka-dump-log", "kafka.tools.DumpLogSegments"),
    ("kafka-broker-api-versions", "org.apache.kafka.tools.BrokerApiVersionsCommand"),
    ("kafka-producer-perf-test", "org.apache.kafka.tools.ProducerPerformance"),
    ("kafka-consumer-perf-test", "org.apache.kafka.tools.ConsumerPerformance"),
    ("kafka-e2e-latency", "org.apache.kafka.tools.EndToEndLatency"),
    ("kafka-verifiable-producer", "org.apache.kafka.tools.VerifiableProducer"),
    ("kafka-verifiable-consumer", "org.apache.kafka.tools.VerifiableConsumer"),
    ("transactional-message-copier", "org.apache.kafka.tools.TransactionalMessageCopier"),
];

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Kafka's own programs, all in one process.
pub struct Java {
    process: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

/// Whether Kafka's programs can be fetched and run; says so if not.
pub fn has_java() -> bool {
    ["javac", "mvn"].into_iter().all(|tool| {
        let found = Command::new(tool).arg("-version").output();
        let is_there = found.is_ok_and(|output| output.status.success());
        if !is_there {
            eprintln!("skipped: comparing with Kafka's own commands needs '{tool}'");
        }
        is_there
    })
}

impl Java {
    pub fn start() -> Option<Java> {
        if !has_java() {
            return None;
        }
        let mut process = Command::new(Path::new(ROOT).join("tests/kafka/start-kafka.sh"))
            .arg("commands")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Some(Java { process, input, answers })
    }

    pub fn run(&mut self, words: &[&str], input: &str) -> Done {
        let (_, class) = CLASSES.iter().find(|(name, _)| *name == words[0]).unwrap();
        let all = [&[*class], &words[1..], &[input]].concat();
        let line: Vec<String> = all.iter().map(|word| hexadecimal(word)).collect();
        writeln!(self.input, "{}", line.join(" ")).unwrap();
        let answer = || {
            let answer = self.answers.recv_timeout(ANSWER_TIME);
            answer.unwrap_or_else(|error| panic!("{words:?}: no answer: {error}"))
        };
        let status = answer().parse().unwrap();
        Done { status, stdout: text(&answer()), stderr: text(&answer()) }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn hexadecimal(word: &str) -> String {
    let mut digits = String::new();
    for byte in word.bytes() {
        write!(digits, "{byte:02x}").unwrap();
    }
    digits
}

fn text(digits: &str) -> String {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    String::from_utf8((0..digits.len()).step_by(2).map(byte).collect()).unwrap()
}

pub fn ours(dir: &Path, words: &[&str], input: &str) -> Done {
    let output = run_with(dir, words, input);
    Done {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}
