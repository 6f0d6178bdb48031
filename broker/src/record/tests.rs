//! What the builder writes, the views read; what is damaged, they refuse.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};

#[derive(Clone, Debug)]
struct Plain {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn bytes_or_null() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40))
}

fn plain() -> impl Strategy<Value = Plain> {
    let header = (proptest::string::string_regex("\\PC{0,8}").unwrap(), bytes_or_null());
    (
        -1i64..2_000_000_000_000,
        bytes_or_null(),
        bytes_or_null(),
        proptest::collection::vec(header, 0..3),
    )
        .prop_map(|(timestamp_ms, key, value, headers)| Plain {
            timestamp_ms,
            key,
            value,
            headers,
        })
}

fn codec() -> impl Strategy<Value = Compression> {
    (0i16..5).prop_map(|bits| Compression::from_attributes(bits).unwrap())
}

fn build(records: &[Plain], codec: Compression) -> RecordBatch {
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        builder.append_with_headers(
            record.timestamp_ms,
            record.key.as_deref(),
            record.value.as_deref(),
            &headers,
        );
    }
    builder.build(ProducerStamp {
        producer_id: ProducerId(7),
        epoch: ProducerEpoch(3),
        base_sequence: i32::MAX,
        transactional: true,
    })
}

proptest! {
    #[test]
    fn what_was_built_is_read(
        records in proptest::collection::vec(plain(), 1..20),
        codec in codec(),
        base in 0i64..1 << 40,
    ) {
        let batch = build(&records, codec).stamped(Offset(base), LeaderEpoch(5));
        batch.verify_checksum().unwrap();
        prop_assert_eq!(batch.leader_epoch(), LeaderEpoch(5));
        prop_assert_eq!(batch.next_offset(), Offset(base + records.len() as i64));
        prop_assert_eq!(batch.producer_id(), ProducerId(7));
        prop_assert_eq!(batch.last_sequence(), if records.len() == 1 { i32::MAX } else {
            records.len() as i32 - 2
        });
        prop_assert!(batch.is_transactional() && !batch.is_control());
        let max = records.iter().map(|record| record.timestamp_ms).max().unwrap();
        prop_assert_eq!(batch.max_timestamp_ms(), max);
        let read = batch.records().unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (index, (got, put)) in read.iter().zip(&records).enumerate() {
            let got = got.unwrap();
            prop_assert_eq!(got.offset, Offset(base + index as i64));
            prop_assert_eq!(got.timestamp_ms, put.timestamp_ms);
            prop_assert_eq!(got.key, put.key.as_deref());
            prop_assert_eq!(got.value, put.value.as_deref());
            let headers: Vec<_> = got
                .headers()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
            prop_assert_eq!(&headers, &put.headers);
        }
    }

    #[test]
    fn a_flipped_bit_is_found(
        records in proptest::collection::vec(plain(), 1..5),
        codec in codec(),
        at in 0usize..10_000,
        bit in 0u8..8,
    ) {
        let batch = build(&records, codec);
        let mut bytes = batch.bytes().to_vec();
        let at = batch::at::CRC + at % (bytes.len() - batch::at::CRC);
        bytes[at] ^= 1 << bit;
        let damaged = RecordBatch::parse(Bytes::from(bytes)).unwrap();
        prop_assert!(damaged.verify_checksum().is_err());
        // Nothing panics on damaged records either, checksum or not.
        if let Ok(records) = damaged.records() {
            records.iter().for_each(drop);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        magic_in_place: bool,
    ) {
        if let (true, Some(magic)) = (magic_in_place, bytes.get_mut(batch::at::MAGIC)) {
            *magic = 2;
        }
        for batch in RecordBatch::split_all(Bytes::from(bytes)).unwrap_or_default() {
            if let Ok(records) = batch.records() {
                records.iter().for_each(drop);
            }
        }
    }
}

#[test]
fn several_batches_split_and_a_torn_tail_is_left() {
    let one = {
        let mut builder = BatchBuilder::default();
        builder.append(1, None, Some(b"one"));
        builder.build(ProducerStamp::NONE)
    };
    let mut stream = one.bytes().to_vec();
    stream.extend_from_slice(one.bytes());
    stream.extend_from_slice(&one.bytes()[..one.size() - 1]);
    let batches = RecordBatch::split_all(Bytes::from(stream)).unwrap();
    assert_eq!(batches, [one.clone(), one]);
}

#[test]
fn a_control_batch_says_how_the_transaction_ended() {
    for control_type in [ControlType::Abort, ControlType::Commit] {
        let batch = control_batch(ProducerId(1), ProducerEpoch(2), control_type, 9, 1_000);
        batch.verify_checksum().unwrap();
        assert!(batch.is_control() && batch.is_transactional());
        let records = batch.records().unwrap();
        let marker = records.iter().next().unwrap().unwrap();
        assert_eq!(marker.control_type(), Some(control_type));
        assert_eq!(marker.value, Some([0, 0, 0, 0, 0, 9].as_slice()));
    }
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused() {
    let mut builder = BatchBuilder::default();
    builder.append(1, None, Some(b"x"));
    let mut bytes = builder.build(ProducerStamp::NONE).bytes().to_vec();
    bytes[batch::at::RECORDS_COUNT..][..4].copy_from_slice(&i32::MAX.to_be_bytes());
    let error = RecordBatch::parse(Bytes::from(bytes)).unwrap().records().unwrap_err();
    assert_eq!(error.to_string(), "record batch at offset 0: claims 2147483647 records in 8 bytes");
}
