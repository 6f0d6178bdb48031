//! Where topics end that are read to what is there now.

use std::collections::{BTreeMap, BTreeSet};

use broker::client::{Client, ClientError, Isolation, OffsetSpec};
use broker::ids::{Offset, TopicPartition};

/// One past the last record of each partition. A commit is answered before its records are visible
/// (Kafka writes a transaction's markers after its answer; a partition that others write to shows
/// them with the next fsync): `fed`, the topics that this run writes, end at their last record,
/// whose transaction ends soon. Transactions that others have left open are not waited for.
pub async fn ends(
    client: &dyn Client,
    partitions: impl IntoIterator<Item = TopicPartition>,
    fed: &BTreeSet<String>,
) -> Result<BTreeMap<TopicPartition, Offset>, ClientError> {
    let is_fed = |of: &TopicPartition| fed.contains(&*of.topic);
    let (fed, given): (Vec<_>, Vec<_>) = partitions.into_iter().partition(is_fed);
    let mut ends = BTreeMap::new();
    for (partitions, isolation) in
        [(fed, Isolation::ReadUncommitted), (given, Isolation::ReadCommitted)]
    {
        if partitions.is_empty() {
            continue;
        }
        let found = client.list_offsets(&partitions, OffsetSpec::Latest(isolation)).await?;
        let found = found.into_iter().map(Option::unwrap_or_default);
        ends.extend(partitions.into_iter().zip(found));
    }
    Ok(ends)
}
