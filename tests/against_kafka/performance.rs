//! Commands that measure: the same shape of figures by Kafka's own programs and by ours.

use tempfile::tempdir;

use crate::fixture::Running;
use crate::java::{Done, Java, ours};
use crate::{Differences, turn};

const SCRIPT: &[&str] = &[
    "kafka-producer-perf-test --topic p --num-records 3000 --record-size 100 --throughput -1 \
     --producer-props bootstrap.servers=ADDRESS acks=all linger.ms=1",
    "kafka-producer-perf-test --topic p --num-records 500 --payload-monotonic --throughput 2000 \
     --transaction-duration-ms 50 --producer-props bootstrap.servers=ADDRESS",
    "kafka-consumer-perf-test --bootstrap-server ADDRESS --topic p --messages 3500",
    "kafka-consumer-perf-test --bootstrap-server ADDRESS --topic p --messages 3500 --hide-header",
    "kafka-consumer-perf-test --bootstrap-server ADDRESS --topic p --messages 1000000000 \
     --timeout 1500 --show-detailed-stats --reporting-interval 100000",
    "kafka-e2e-latency ADDRESS e 1001 all 100",
];

/// What is printed with all numbers made one: they differ from run to run.
fn shape(done: &Done) -> (i32, Vec<String>) {
    let of_line = |line: &str| {
        let mut shape = String::new();
        for character in line.chars() {
            let number = character.is_ascii_digit() || character == '.' && shape.ends_with('N');
            match number {
                true if shape.ends_with('N') => {}
                true => shape.push('N'),
                false => shape.push(character),
            }
        }
        // A number at the end of a sentence.
        shape.trim_end_matches('.').to_owned()
    };
    (done.status, done.stdout.lines().map(of_line).collect())
}

#[test]
fn figures_have_the_shape_of_kafkas() {
    let _turn = turn();
    let Some(mut java) = Java::start() else { return };
    let mut differences = Differences::default();
    let (theirs, mine) = (tempdir().unwrap(), tempdir().unwrap());
    let (_broker, kafkas_address) = Running::broker(theirs.path());
    let (_other, our_address) = Running::broker(mine.path());
    for line in SCRIPT {
        let with = |address: &str| line.replace("ADDRESS", address);
        let (kafkas_line, our_line) = (with(&kafkas_address), with(&our_address));
        let kafkas = java.run(&kafkas_line.split_whitespace().collect::<Vec<_>>(), "");
        let done = ours(mine.path(), &our_line.split_whitespace().collect::<Vec<_>>(), "");
        assert_eq!(kafkas.status, 0, "{line}: {kafkas:?}");
        differences.compare(line, shape(&kafkas), shape(&done));
    }
    differences.none();
}
