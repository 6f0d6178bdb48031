//! Records of the internal topics as Kafka's tools print them: JSON, its fields in the order of
//! Kafka's schemas, which scripts rely on. Hence it is written by hand.

use broker::protocol::messages::consumer_offsets::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use broker::protocol::messages::consumer_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use broker::protocol::messages::share_group_state::{
    ShareSnapshotKey, ShareSnapshotValue, StateBatch,
};
use broker::protocol::messages::transaction_state::{TransactionLogKey, TransactionLogValue};
use broker::protocol::{DecodeError, Message};
use bytes::{Buf, Bytes};
use serde_json::Value;

/// Which internal topic records are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Internal {
    ConsumerOffsets,
    TransactionState,
    ShareGroupState,
}

impl Internal {
    /// The topic that a partition's directory belongs to.
    pub fn of_dir(name: &str) -> Option<Internal> {
        match name.rsplit_once('-')?.0 {
            "__consumer_offsets" => Some(Internal::ConsumerOffsets),
            "__transaction_state" => Some(Internal::TransactionState),
            "__share_group_state" => Some(Internal::ShareGroupState),
            _ => None,
        }
    }
}

/// Key and value as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub key: String,
    /// `None` for a tombstone.
    pub value: Option<String>,
}

/// Why a record was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Of a kind that came after ours, such as those of KIP-848's groups.
    Kind(i16),
    Malformed(String),
}

impl From<DecodeError> for Unknown {
    fn from(error: DecodeError) -> Unknown {
        Unknown::Malformed(error.to_string())
    }
}

/// Reads a record of an internal topic.
pub fn decode(of: Internal, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Decoded, Unknown> {
    let key = Bytes::copy_from_slice(key.ok_or(Unknown::Malformed("no key".to_owned()))?);
    let value = value.map(Bytes::copy_from_slice);
    let short = || Unknown::Malformed("key is cut short".to_owned());
    let kind = key.get(..2).ok_or_else(short)?.get_i16();
    let (key, value) = match (of, kind) {
        (Internal::ConsumerOffsets, 0 | 1) => {
            let (_, key) = OffsetCommitKey::decode_versioned(&key)?;
            let key = object(&[
                ("group", text(&key.group)),
                ("topic", text(&key.topic)),
                ("partition", key.partition.to_string()),
            ]);
            (key, value.map(|value| offset(&value)).transpose()?)
        }
        (Internal::ConsumerOffsets, 2) => {
            let (_, key) = GroupMetadataKey::decode_versioned(&key)?;
            let key = object(&[("group", text(&key.group))]);
            (key, value.map(|value| group(&value)).transpose()?)
        }
        (Internal::TransactionState, 0) => {
            let (_, key) = TransactionLogKey::decode_versioned(&key)?;
            let key = object(&[("transactionalId", text(&key.transactional_id))]);
            (key, value.map(|value| transaction(&value)).transpose()?)
        }
        (Internal::ShareGroupState, 0) => {
            let (_, key) = ShareSnapshotKey::decode_versioned(&key)?;
            let key = object(&[
                ("groupId", text(&key.group_id)),
                ("topicId", text(&broker::dump::encode_id(key.topic_id))),
                ("partition", key.partition.to_string()),
            ]);
            (key, value.map(|value| share_snapshot(&value)).transpose()?)
        }
        _ => return Err(Unknown::Kind(kind)),
    };
    let key = object(&[("type", text(&kind.to_string())), ("data", key)]);
    let value = value
        .map(|(version, data)| object(&[("version", text(&version.to_string())), ("data", data)]));
    Ok(Decoded { key, value })
}

fn offset(value: &Bytes) -> Result<(i16, String), DecodeError> {
    let (version, value) = OffsetCommitValue::decode_versioned(value)?;
    let mut fields = vec![("offset", value.offset.to_string())];
    if version >= 3 {
        fields.push(("leaderEpoch", value.leader_epoch.to_string()));
    }
    fields.push(("metadata", text(&value.metadata)));
    fields.push(("commitTimestamp", value.commit_timestamp.to_string()));
    if version == 1 {
        fields.push(("expireTimestamp", value.expire_timestamp.to_string()));
    }
    if !value.topic_id.is_nil() {
        fields.push(("topicId", text(&broker::dump::encode_id(value.topic_id))));
    }
    Ok((version, object(&fields)))
}

fn share_snapshot(value: &Bytes) -> Result<(i16, String), DecodeError> {
    let (version, value) = ShareSnapshotValue::decode_versioned(value)?;
    let batch = |batch: &StateBatch| {
        object(&[
            ("firstOffset", batch.first_offset.to_string()),
            ("lastOffset", batch.last_offset.to_string()),
            ("deliveryState", batch.delivery_state.to_string()),
            ("deliveryCount", batch.delivery_count.to_string()),
        ])
    };
    let fields = [
        ("snapshotEpoch", value.snapshot_epoch.to_string()),
        ("stateEpoch", value.state_epoch.to_string()),
        ("leaderEpoch", value.leader_epoch.to_string()),
        ("startOffset", value.start_offset.to_string()),
        ("createTimestamp", value.create_timestamp.to_string()),
        ("writeTimestamp", value.write_timestamp.to_string()),
        ("stateBatches", array(value.state_batches.iter().map(batch))),
    ];
    Ok((version, object(&fields)))
}

fn group(value: &Bytes) -> Result<(i16, String), DecodeError> {
    let (version, value) = GroupMetadataValue::decode_versioned(value)?;
    let consumers = value.protocol_type == "consumer";
    let member = |member: &MemberMetadata| {
        let mut fields = vec![("memberId", text(&member.member_id))];
        if version >= 3 {
            fields.push(("groupInstanceId", nullable(member.group_instance_id.as_deref())));
        }
        fields.push(("clientId", text(&member.client_id)));
        fields.push(("clientHost", text(&member.client_host)));
        if version >= 1 {
            fields.push(("rebalanceTimeout", member.rebalance_timeout.to_string()));
        }
        fields.push(("sessionTimeout", member.session_timeout.to_string()));
        let known = |json: Option<String>, bytes: &Bytes| {
            json.filter(|_| consumers).unwrap_or_else(|| base64(bytes))
        };
        fields.push((
            "subscription",
            known(subscription(&member.subscription), &member.subscription),
        ));
        fields.push(("assignment", known(assignment(&member.assignment), &member.assignment)));
        object(&fields)
    };
    let mut fields = vec![
        ("protocolType", text(&value.protocol_type)),
        ("generation", value.generation.to_string()),
        ("protocol", nullable(value.protocol.as_deref())),
        ("leader", nullable(value.leader.as_deref())),
    ];
    if version >= 2 {
        fields.push(("currentStateTimestamp", value.current_state_timestamp.to_string()));
    }
    fields.push(("members", array(value.members.iter().map(member))));
    Ok((version, object(&fields)))
}

fn subscription(bytes: &Bytes) -> Option<String> {
    let (version, found) = consumer_protocol::decode::<ConsumerProtocolSubscription>(bytes).ok()?;
    let mut fields = vec![
        ("topics", array(found.topics.iter().map(|topic| text(topic)))),
        ("userData", found.user_data.as_ref().map_or("null".to_owned(), base64)),
    ];
    if version >= 1 {
        fields.push(("ownedPartitions", array(found.owned_partitions.iter().map(partitions))));
    }
    if version >= 2 {
        fields.push(("generationId", found.generation_id.to_string()));
    }
    if version >= 3 {
        fields.push(("rackId", nullable(found.rack_id.as_deref())));
    }
    Some(object(&fields))
}

fn assignment(bytes: &Bytes) -> Option<String> {
    let (_, found) = consumer_protocol::decode::<ConsumerProtocolAssignment>(bytes).ok()?;
    Some(object(&[
        ("assignedPartitions", array(found.assigned_partitions.iter().map(partitions))),
        ("userData", found.user_data.as_ref().map_or("null".to_owned(), base64)),
    ]))
}

fn partitions(of: &TopicPartition) -> String {
    let numbers = array(of.partitions.iter().map(i32::to_string));
    object(&[("topic", text(&of.topic)), ("partitions", numbers)])
}

fn transaction(value: &Bytes) -> Result<(i16, String), DecodeError> {
    let (version, value) = TransactionLogValue::decode_versioned(value)?;
    let mut fields = vec![("producerId", value.producer_id.to_string())];
    // Tagged: left out while they have their defaults.
    if value.previous_producer_id != -1 {
        fields.push(("previousProducerId", value.previous_producer_id.to_string()));
    }
    if value.next_producer_id != -1 {
        fields.push(("nextProducerId", value.next_producer_id.to_string()));
    }
    fields.push(("producerEpoch", value.producer_epoch.to_string()));
    fields.push(("transactionTimeoutMs", value.transaction_timeout_ms.to_string()));
    fields.push(("transactionStatus", value.transaction_status.to_string()));
    let topics = value.transaction_partitions.map(|topics| {
        array(topics.iter().map(|topic| {
            let numbers = array(topic.partition_ids.iter().map(i32::to_string));
            object(&[("topic", text(&topic.topic)), ("partitionIds", numbers)])
        }))
    });
    fields.push(("transactionPartitions", topics.unwrap_or_else(|| "null".to_owned())));
    let updated = value.transaction_last_update_timestamp_ms;
    fields.push(("transactionLastUpdateTimestampMs", updated.to_string()));
    let started = value.transaction_start_timestamp_ms;
    fields.push(("transactionStartTimestampMs", started.to_string()));
    if value.client_transaction_version != 0 {
        let version = value.client_transaction_version;
        fields.push(("clientTransactionVersion", version.to_string()));
    }
    Ok((version, object(&fields)))
}

/// A field's value is JSON already.
fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn text(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn nullable(nullable: Option<&str>) -> String {
    nullable.map_or("null".to_owned(), text)
}

/// Bytes as JSON has them at Kafka: base64 with padding, in quotes.
fn base64(bytes: &Bytes) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::from("\"");
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            match digit <= three.len() {
                true => out.push(char::from(ALPHABET[(bits >> (18 - 6 * digit)) as usize & 63])),
                false => out.push('='),
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn bytes_are_base64() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(&Bytes::from(plain)), format!("\"{coded}\""));
        }
    }

    #[test]
    fn offsets_are_read_and_what_is_none_is_told() {
        let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 3 };
        let key = key.encode_versioned(1).unwrap();
        let value = OffsetCommitValue { offset: 7, ..OffsetCommitValue::default() };
        let value = value.encode_versioned(3).unwrap();
        let decoded = decode(Internal::ConsumerOffsets, Some(&key), Some(&value)).unwrap();
        expect![[r#"{"type":"1","data":{"group":"g","topic":"t","partition":3}}"#]]
            .assert_eq(&decoded.key);
        expect![[r#"{"version":"3","data":{"offset":7,"leaderEpoch":-1,"metadata":"","commitTimestamp":0}}"#]]
            .assert_eq(&decoded.value.unwrap());
        let tombstone = decode(Internal::ConsumerOffsets, Some(&key), None).unwrap();
        assert_eq!(tombstone.value, None);
        let unknown = decode(Internal::TransactionState, Some(&[0, 9]), None);
        assert_eq!(unknown, Err(Unknown::Kind(9)));
        for wrong in [None, Some(&[0][..]), Some(&[0, 1, 0, 9][..])] {
            let told = decode(Internal::ConsumerOffsets, wrong, None);
            assert!(matches!(told, Err(Unknown::Malformed(_))), "{told:?}");
        }
        let cut = decode(Internal::ConsumerOffsets, Some(&key), Some(&value[..5]));
        assert!(matches!(cut, Err(Unknown::Malformed(_))));
    }
}
