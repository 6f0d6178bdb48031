//! What more partitions, keys and open windows cost: sums per key and second, from topic to topic
//! on the broker of this process, its transactions fsynced, by one task. From a base of one
//! partition, a thousand keys and one window, one of them grows.
//!
//!   cargo bench --workspace --bench scaling
//!   MILLSTREAM_RECORDS=5000000 …

mod load;
mod stopwatch;

use std::sync::Arc;

use broker::broker::{Broker, BrokerConfig};
use broker::client::embedded::EmbeddedClient;
use broker::client::{Client, NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use engine::pipeline::load_text;
use engine::runtime::{Runtime, RuntimeOptions};
use load::{scattered, send};
use stopwatch::{Stopwatch, Took};

const RECORDS: u64 = 500_000;

/// An hour of delay: all windows stay open until the end.
const QUERY: &str = "
CREATE TABLE sales (
  item BIGINT, n BIGINT, at TIMESTAMP(3), WATERMARK FOR at AS at - INTERVAL '1' HOUR
) WITH (topic = 'sales', format = 'json');
CREATE TABLE totals WITH (topic = 'totals', format = 'json');
INSERT INTO totals
SELECT item, window_start, sum(n) AS total, count(*) AS sales
FROM TABLE(TUMBLE(TABLE sales, DESCRIPTOR(at), INTERVAL '1' SECOND))
GROUP BY item, window_start, window_end;
";

#[derive(Clone, Copy)]
struct Load {
    partitions: u64,
    keys: u64,
    windows: u64,
}

fn main() {
    let records = std::env::var("MILLSTREAM_RECORDS").ok().map(|records| records.parse());
    let records = records.unwrap_or(Ok(RECORDS)).expect("MILLSTREAM_RECORDS is a number");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let base = Load { partitions: 1, keys: 1000, windows: 1 };
    let grown = [
        base,
        Load { partitions: 10, ..base },
        Load { partitions: 100, ..base },
        Load { keys: 10_000, ..base },
        Load { keys: 100_000, ..base },
        Load { windows: 10, ..base },
        Load { windows: 100, ..base },
        Load { windows: 1000, ..base },
    ];
    println!("{records} records, thousands per second");
    println!("partitions     keys  windows   groups    clock   per core");
    for load in grown {
        let (took, groups) = runtime.block_on(run(load, records));
        let rate = |seconds: f64| records as f64 / seconds / 1000.0;
        println!(
            "{:>10} {:>8} {:>8} {groups:>8} {:>8.0} {:>10.0}",
            load.partitions,
            load.keys,
            load.windows,
            rate(took.wall.as_secs_f64()),
            rate(took.processor.as_secs_f64().max(0.01)),
        );
    }
}

async fn run(load: Load, records: u64) -> (Took, u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.expect("a broker");
    let client: Arc<dyn Client> = Arc::new(EmbeddedClient::new(broker.clone()));
    fill(client.as_ref(), load, records).await;
    let watch = Stopwatch::start();
    let (pipeline, _) = load_text("scaling.sql".into(), QUERY.to_owned())
        .unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let options = RuntimeOptions { until_end: true, ..RuntimeOptions::default() };
    let running = Runtime::start(client.clone(), vec![pipeline], options);
    let running = running.expect("the pipeline can run");
    running.inputs_complete();
    let summaries = running.finished().await.expect("the data is good");
    let took = watch.read();
    broker.shutdown().await.expect("an orderly end");
    (took, summaries[0].counts.rows_out)
}

/// Records over all partitions, keys and windows.
async fn fill(client: &dyn Client, load: Load, records: u64) {
    let topic = NewTopic::new("sales", load.partitions as i32);
    client.create_topic(&topic).await.expect("a new topic");
    let mut producer = client.producer(ProducerOptions::default()).await.expect("a producer");
    for partition in 0..load.partitions {
        let to = TopicPartition::new("sales", partition as i32);
        let numbers = (partition..records).step_by(load.partitions as usize);
        let values = numbers.map(|record| {
            let scattered = scattered(record);
            let (key, window) = ((scattered >> 32) % load.keys, scattered % load.windows);
            let at_ms = 1_700_000_000_000 + window * 1000 + record % 1000;
            let value = format!(r#"{{"item":{key},"n":{},"at":{at_ms}}}"#, record % 100);
            (at_ms as i64, value)
        });
        send(producer.as_mut(), &to, values).await;
    }
    producer.flush().await.expect("a disk");
}
