//! Numbers that lie all over the place, and records as a producer would send them.

use broker::client::Producer;
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;

const BATCH_BYTES: usize = 64 << 10;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub fn scattered(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Sends records, each with its time in ms, in batches.
pub async fn send(
    producer: &mut dyn Producer,
    to: &TopicPartition,
    records: impl Iterator<Item = (i64, String)>,
) {
    let mut batch = BatchBuilder::default();
    for (at_ms, value) in records {
        batch.append(at_ms, None, Some(value.as_bytes()));
        if batch.size() >= BATCH_BYTES {
            producer.send(to, std::mem::take(&mut batch)).await.expect("room for it");
        }
    }
    if !batch.is_empty() {
        producer.send(to, batch).await.expect("room for it");
    }
}
