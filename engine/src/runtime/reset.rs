//! Forgetting the state and the place of all tasks, before any of them starts: what one of them
//! writes anew must not be taken for what was there before.

use broker::client::{Client, ClientError};

use super::RunError;
use super::begin::starts;
use super::planned::Planned;
use super::restore::{Note, ReadError, Wanted, places, read_changelog};
use super::topics::Partitions;
use super::writer::Writer;
use crate::state::StateError;
use crate::state::changelog::Change;

/// Deletes state and goes back to the beginning of what is read from outside; what tasks had told
/// each other is skipped.
pub async fn reset(
    client: &dyn Client,
    planned: &[Planned],
    partitions: &Partitions,
) -> Result<(), RunError> {
    for task in planned {
        reset_task(client, task, partitions).await?;
    }
    Ok(())
}

async fn reset_task(
    client: &dyn Client,
    planned: &Planned,
    partitions: &Partitions,
) -> Result<(), RunError> {
    let failed = |error: ClientError| planned.client_error("its state cannot be reset", error);
    let mut writer = Writer::open(client, planned).await.map_err(failed)?;
    // What keeps nothing now may have done so before.
    let changelog = planned.changelog();
    let topic = client.topic(&changelog.topic).await.map_err(failed)?;
    if topic.is_some_and(|topic| topic.partitions > changelog.partition) {
        let restored = match read_changelog(client, &changelog, Wanted::Keys).await {
            Ok(restored) => restored,
            Err(ReadError::Client(error)) => return Err(failed(error)),
            Err(ReadError::Batch(error)) => {
                return Err(planned.state_error(StateError::Damaged(error.to_string())));
            }
        };
        let changes: Vec<Change> =
            restored.keys().map(|key| Change { key: key.to_vec(), value: None }).collect();
        writer.send_changes(&changes).await.map_err(failed)?;
    }
    let reads = planned.reads_of(partitions);
    let places = places(client, &planned.group(), reads, None, true).await.map_err(failed)?;
    let reads: Vec<_> = places.iter().map(|place| place.partition.clone()).collect();
    let starts = starts(client, planned, &reads).await.map_err(failed)?;
    let offsets = places.into_iter().zip(starts).map(|(place, start)| {
        let is_exchange = planned.reads_exchange(&place.partition.topic);
        let next = if is_exchange { place.position.end } else { start };
        (place.partition, next, Note { tasks: planned.tasks, latest_ms: None })
    });
    writer.commit(offsets).await.map_err(failed)?.await.map_err(failed)
}
