//! Log files, shown by Kafka's own program and by ours.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::Differences;
use crate::fixture::{Running, succeed, succeed_with};
use crate::java::{Java, ours};
use crate::transactions::{Producing, produce};

/// A data directory with a bit of everything: codecs, keys, headers, groups, transactions that were
/// committed and aborted, indexes.
fn fill(dir: &Path) {
    let (broker, address) = Running::broker(dir);
    let to = ["--bootstrap-server", address.as_str()];
    let run = |args: &[&str]| succeed(dir, &[args, &to].concat());
    let create =
        ["kafka-topics", "--create", "--topic", "t", "--config", "index.interval.bytes=100"];
    run(&create);
    let write = ["kafka-console-producer", "--topic", "t", "--property", "parse.key=true"];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let lines: String = (0..50).map(|n| format!("key {n}\tvalue {n} in {codec}\n")).collect();
        let codec = ["--compression-codec", codec];
        succeed_with(dir, &[&write, &codec[..], &to].concat(), &lines);
    }
    let headers = ["--property", "parse.headers=true", "--property", "null.marker=N"];
    succeed_with(dir, &[&write, &headers[..], &to].concat(), "h:1,i:2\tk\tv\nN\tN\tN\n");
    produce(&address, "tx", "t", Producing::Committed);
    produce(&address, "tx", "t", Producing::Aborted);
    let read = ["kafka-console-consumer", "--topic", "t", "--from-beginning", "--group", "g"];
    run(&[&read[..], &["--max-messages", "20"]].concat());
    assert_eq!(broker.interrupt().0, Some(0));
}

/// Copies of a segment and its indexes: a batch cut short, wrong indexes, a byte that was changed.
fn damage(dir: &Path) {
    let copy = |to: &str, suffix: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let (name, to) = (format!("00000000000000000000.{suffix}"), dir.join(to));
        let mut bytes = fs::read(dir.join("data/t-0").join(&name)).unwrap();
        change(&mut bytes);
        fs::create_dir_all(&to).unwrap();
        fs::write(to.join(&name), bytes).unwrap();
    };
    copy("damaged-0", "log", &|bytes| bytes.truncate(bytes.len() - 5));
    copy("damaged-1", "log", &|_| {});
    copy("damaged-1", "index", &|bytes| bytes.extend([0, 0, 0, 7, 0, 0, 0, 0]));
    copy("damaged-1", "timeindex", &|bytes| bytes.extend([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 3]));
    // Only the checksum tells.
    copy("damaged-2", "log", &|bytes| bytes[70] ^= 1);
}

const SCRIPT: &[&str] = &[
    "--files data/t-0/0.log",
    "--files data/t-0/0.log --deep-iteration",
    "--files data/t-0/0.log --print-data-log",
    "--files data/t-0/0.log --print-data-log --skip-record-metadata",
    "--files data/t-0/0.log --max-bytes 700",
    "--files data/t-0/0.log --value-decoder-class org.apache.kafka.tools.api.StringDecoder",
    "--files data/t-0/0.index,data/t-0/0.timeindex,data/t-0/0.txnindex",
    "--files data/t-0/0.index,data/t-0/0.timeindex --index-sanity-check",
    "--files data/t-0/0.index,data/t-0/0.timeindex --verify-index-only",
    "--files data/__consumer_offsets-0/0.log --offsets-decoder",
    "--files data/__consumer_offsets-0/0.log --offsets-decoder --skip-record-metadata",
    "--files data/__transaction_state-0/0.log --transaction-log-decoder",
    "--files damaged-0/0.log --deep-iteration",
    "--files damaged-1/0.index",
    "--files damaged-1/0.timeindex --verify-index-only",
    "--files damaged-2/0.log",
    "--files data/t-0/partition.metadata",
];

#[test]
fn log_files_are_shown_as_kafka_does() {
    let Some(mut java) = Java::start() else { return };
    let dir = tempdir().unwrap();
    fill(dir.path());
    damage(dir.path());
    let mut script: Vec<String> = SCRIPT.iter().map(|line| (*line).to_owned()).collect();
    for entry in fs::read_dir(dir.path().join("data/t-0")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "snapshot") {
            script.push(format!("--files {}", path.display()));
        }
    }
    assert!(script.len() > SCRIPT.len(), "an orderly end leaves a snapshot");
    let mut differences = Differences::default();
    for line in &script {
        let long = line.replace("/0.", "/00000000000000000000.");
        // Kafka's program is not started in that directory.
        let prefix = format!("{}/", dir.path().display());
        let long = long.replace("data/", "DIR/data/").replace("damaged", "DIR/damaged");
        let long = long.replace(&format!("{prefix}DIR/"), &prefix).replace("DIR/", &prefix);
        let mut words = vec!["kafka-dump-log"];
        words.extend(long.split_whitespace());
        let kafkas = java.run(&words, "");
        let done = ours(dir.path(), &words, "");
        assert_eq!(kafkas.status, 0, "{line}: {kafkas:?}");
        differences.compare(line, kafkas, done);
    }
    differences.none();
}
