//! WriteTxnMarkers: ends a transaction in single partitions, past the coordinator. It is how an
//! operator gets rid of a transaction that hangs (KIP-664).

use super::{Call, partition};
use crate::broker::now_ms;
use crate::client::Acks;
use crate::coordinator::state_log::OFFSETS_TOPIC;
use crate::ids::{ProducerEpoch, ProducerId};
use crate::log::{AppendOptions, Origin};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k27_write_txn_markers::*;
use crate::record::{ControlType, control_batch};
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
    let may = call.may_on_cluster_quietly(Operation::Alter)
        || call.may_on_cluster(Operation::ClusterAction);
    let mut response = WriteTxnMarkersResponse::default();
    for marker in request.markers {
        let mut topics = Vec::with_capacity(marker.topics.len());
        for topic in &marker.topics {
            let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
            for &partition_index in &topic.partition_indexes {
                let written = match may {
                    true => write(call, &marker, &topic.name, partition_index).await,
                    false => Err(ErrorCode::CLUSTER_AUTHORIZATION_FAILED),
                };
                let error_code = written.err().unwrap_or(ErrorCode::NONE);
                partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code });
            }
            topics.push(WritableTxnMarkerTopicResult { name: topic.name.clone(), partitions });
        }
        let producer_id = marker.producer_id;
        response.markers.push(WritableTxnMarkerResult { producer_id, topics });
    }
    response
}

async fn write(
    call: &Call,
    marker: &WritableTxnMarker,
    topic: &str,
    index: i32,
) -> Result<(), ErrorCode> {
    let partition = partition(call, topic, index)?;
    let (producer_id, epoch) =
        (ProducerId(marker.producer_id), ProducerEpoch(marker.producer_epoch));
    let decision = if marker.transaction_result { ControlType::Commit } else { ControlType::Abort };
    let now_ms = now_ms();
    let batch = control_batch(producer_id, epoch, decision, marker.coordinator_epoch, now_ms);
    let options = AppendOptions { origin: Origin::Coordinator, acks: Acks::All, now_ms };
    let written = partition.produce(batch.into_bytes(), options).await;
    written.map_err(|error| ErrorCode(error.code()))?;
    tracing::info!(partition = %partition.id(), %producer_id, ?decision,
        "ended a transaction by request");
    if topic == OFFSETS_TOPIC {
        call.broker().groups().transaction_ended(producer_id, decision, &[index]);
    }
    Ok(())
}
