//! The cleaner's limits: how fast it may be, and what it leaves alone.

use super::*;
use crate::log::LogConfig;

/// A broker with a compacted topic of 40 records in small segments, all on disk.
async fn with_dirt(dir: &std::path::Path, bytes_per_second: f64) -> (Arc<Broker>, Arc<Partition>) {
    let config = BrokerConfig {
        cleaner_bytes_per_second_max: bytes_per_second,
        cleaner_backoff: Duration::from_secs(3_600),
        ..BrokerConfig::new(dir)
    };
    let broker = Broker::open(config).await.unwrap();
    if broker.topic("a").is_none() {
        let new = NewTopic::new("a", 1)
            .with_config("cleanup.policy", "compact")
            .with_config("min.cleanable.dirty.ratio", 0);
        broker.create_topic(new).await.unwrap();
    }
    let partition = broker.partition(&TopicPartition::new("a", 0)).unwrap();
    let small = LogConfig { segment_bytes: 500, ..(*partition.config()).clone() };
    partition.set_config(small);
    for number in 0..40 {
        let mut builder = BatchBuilder::default();
        builder.append(now_ms(), Some(b"key"), Some(format!("{number}").as_bytes()));
        let batch = builder.build(ProducerStamp::NONE).into_bytes();
        let options = AppendOptions { origin: Origin::Client, acks: Acks::All, now_ms: now_ms() };
        partition.produce(batch, options).await.unwrap();
    }
    (broker, partition)
}

async fn clean(broker: &Arc<Broker>, stop: &CancellationToken) -> Duration {
    let (broker, stop) = (broker.clone(), stop.clone());
    let clean = move || {
        let began = std::time::Instant::now();
        broker.topics().iter().for_each(|topic| {
            topic.partitions().iter().for_each(|partition| partition.flush_blocking().unwrap());
        });
        broker.compact_logs(&stop);
        began.elapsed()
    };
    tokio::task::spawn_blocking(clean).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_is_no_faster_than_it_may_be_and_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, partition) = with_dirt(dir.path(), 10_000.0).await;
    let size = partition.size();
    // Read twice, once for the keys and once to copy, and written hardly at all.
    let took = clean(&broker, &CancellationToken::new()).await;
    assert!(partition.size() < size / 4, "{size} bytes became {}", partition.size());
    let least = Duration::from_secs_f64(2.0 * (size as f64 - 1_000.0) / 10_000.0);
    assert!(took + Duration::from_millis(200) >= least, "{size} bytes in {took:?}");
    broker.shutdown().await.unwrap();
    drop((broker, partition));

    // So slow that it would take a year.
    let (broker, partition) = with_dirt(dir.path(), 0.0001).await;
    let stop = CancellationToken::new();
    let cleaning = tokio::spawn({
        let (broker, stop) = (broker.clone(), stop.clone());
        async move { clean(&broker, &stop).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), cleaning).await.unwrap().unwrap();
    assert!(!partition.is_uncleanable(), "it was told to stop");
    broker.shutdown().await.unwrap();
}

/// It was tried again in each round, every 15 seconds, with a warning each.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_compacted_is_left_alone_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, partition) = with_dirt(dir.path(), f64::MAX).await;
    partition.flush_blocking().unwrap();
    let path = dir.path().join("a-0/00000000000000000000.log");
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    // The magic of the first batch.
    damaged[16] = 9;
    std::fs::write(&path, damaged).unwrap();
    clean(&broker, &CancellationToken::new()).await;
    assert!(partition.is_uncleanable());
    assert!(partition.dirt(now_ms()).unwrap().is_none());
    let told = broker.metrics_text().await;
    assert!(told.contains("\nmillstream_uncleanable_partitions 1\n"), "{told}");
    let offset = produce_keyed(&partition).await;
    assert!(offset > Offset(39), "it goes on otherwise");

    std::fs::write(&path, whole).unwrap();
    broker.shutdown().await.unwrap();
    drop((broker, partition));
    let (broker, partition) = with_dirt(dir.path(), f64::MAX).await;
    assert!(!partition.is_uncleanable());
    let size = partition.size();
    clean(&broker, &CancellationToken::new()).await;
    assert!(partition.size() < size / 4, "{size} bytes became {}", partition.size());
    let told = broker.metrics_text().await;
    assert!(told.contains("\nmillstream_uncleanable_partitions 0\n"), "{told}");
}

async fn produce_keyed(partition: &Arc<Partition>) -> Offset {
    let mut builder = BatchBuilder::default();
    builder.append(now_ms(), Some(b"key"), Some(b"more"));
    let batch = builder.build(ProducerStamp::NONE).into_bytes();
    let options = AppendOptions { origin: Origin::Client, acks: Acks::All, now_ms: now_ms() };
    partition.produce(batch, options).await.unwrap().base_offset
}
