//! Made-up records: the same ones, each once, whatever is killed when.

mod support;

use std::path::Path;
use std::time::Instant;

use connectors::{ConnectorConfig, ConnectorState, Worker};
use support::{connector, options, process, reaches, read};

fn generator(dir: &Path, more: &str) -> ConnectorConfig {
    let common = "connector.class=generator-source\ntopic=t\nstart.time.ms=1700000000000";
    connector(dir, "made", &format!("{common}\n{more}"))
}

const ORDERS: &str = "generator.fields=id:sequence, amount:decimal(1.00..500.00), at:time
    generator.key=id
    seed=7
    count=20000
    rate=0";

type Records = Vec<(Option<String>, Option<String>)>;

/// What comes of it when nothing goes wrong.
fn undisturbed(properties: &str) -> Vec<Records> {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let config = generator(dir.path(), properties);
        let worker = Worker::start(client.clone(), vec![config], options(true));
        worker.sources_finished().await.unwrap();
        let mut all = Vec::new();
        for topic in ["t", "t-person", "t-auction", "t-bid"] {
            if client.topic(topic).await.unwrap().is_some() {
                all.push(read(&*client, topic, 0).await);
            }
        }
        all
    })
}

#[test]
fn killed_at_any_moment_the_same_records_go_on() {
    for (properties, topics) in [
        (ORDERS, &["t"][..]),
        ("generator.kind=nexmark\ncount=20000\nrate=0", &["t-person", "t-auction", "t-bid"]),
    ] {
        let expected = undisturbed(properties);
        assert_eq!(expected.iter().map(Vec::len).sum::<usize>(), 20_000);
        let dir = tempfile::tempdir().unwrap();
        // A rate, so that there is time to be killed in; without one the times are the same.
        let slow = properties.replace("rate=0", "rate=10000");
        for round in 1..5u64 {
            process(dir.path(), async |client| {
                let config = generator(dir.path(), &slow);
                let worker = Worker::start(client, vec![config], options(false));
                let mut statuses = worker.statuses();
                let enough = |records| records >= round * 300;
                statuses.wait_for(|all| enough(all[0].records)).await.unwrap();
            });
        }
        process(dir.path(), async |client| {
            let config = generator(dir.path(), properties);
            let worker = Worker::start(client.clone(), vec![config], options(true));
            worker.sources_finished().await.unwrap();
            for (topic, expected) in topics.iter().zip(&expected) {
                let got = read(&*client, topic, 0).await;
                let differs = got.iter().zip(expected).position(|(a, b)| a != b);
                assert_eq!((got.len(), differs), (expected.len(), None), "{topic}");
            }
        });
    }
}

#[test]
fn a_rate_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let config = generator(dir.path(), "generator.fields=a:uuid\nrate=2000\ncount=1000");
        let begin = Instant::now();
        let worker = Worker::start(client.clone(), vec![config], options(false));
        reaches(&worker, "made", ConnectorState::Finished).await;
        assert!(begin.elapsed().as_millis() >= 490, "{:?}", begin.elapsed());
        assert_eq!(read(&*client, "t", 0).await.len(), 1000);
    });
}

#[test]
fn without_an_end_it_cannot_be_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    process(dir.path(), async |client| {
        let config = generator(dir.path(), "generator.kind=nexmark");
        let worker = Worker::start(client, vec![config], options(true));
        let error = worker.sources_finished().await.unwrap_err().to_string();
        assert!(error.contains("there is no end to its records: set `count`"), "{error}");
    });
}
