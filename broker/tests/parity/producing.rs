//! Batches that a broker has something against: each is answered with the same code, and says of
//! which records that is (KIP-467). Left out are those that Kafka takes, but ought not to, such as
//! a compressed batch with a record that cannot be read, or answers with UNKNOWN_SERVER_ERROR; and
//! messages, of which ours has one more often.

use broker::protocol::Response;
use broker::protocol::messages::k19_create_topics::*;
use broker::record::{BatchBuilder, Compression, ProducerStamp};
use bytes::Bytes;

use crate::harness::{now_ms, produce};
use crate::script::Script;

/// Where the fields of a batch's header begin.
mod at {
    pub const BASE_OFFSET: usize = 0;
    pub const LENGTH: usize = 8;
    pub const LEADER_EPOCH: usize = 12;
    pub const MAGIC: usize = 16;
    pub const CRC: usize = 17;
    pub const ATTRIBUTES: usize = 21;
    pub const LAST_OFFSET_DELTA: usize = 23;
    pub const BASE_TIMESTAMP: usize = 27;
    pub const MAX_TIMESTAMP: usize = 35;
    pub const PRODUCER_ID: usize = 43;
    pub const PRODUCER_EPOCH: usize = 51;
    pub const BASE_SEQUENCE: usize = 53;
    pub const COUNT: usize = 57;
    pub const RECORDS: usize = 61;
}

/// A batch of records with these keys and times.
fn keyed(records: &[(Option<&str>, i64)], compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (key, time_ms) in records {
        builder.append(*time_ms, key.map(str::as_bytes), Some(b"value"));
    }
    builder.build(ProducerStamp::NONE).into_bytes()
}

/// The batch with other bytes in these places, and a checksum that says so.
fn bent(batch: &Bytes, changes: &[(usize, &[u8])]) -> Bytes {
    let mut bytes = batch.to_vec();
    for (at, with) in changes {
        bytes[*at..*at + with.len()].copy_from_slice(with);
    }
    let crc = crc32c::crc32c(&bytes[at::ATTRIBUTES..]);
    bytes[at::CRC..][..4].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// The same records in other bytes.
fn with_records(batch: &Bytes, records: &[u8], compression: Compression) -> Bytes {
    let packed = compression.compress(records).unwrap();
    let bytes = Bytes::from([&batch[..at::RECORDS], &packed].concat());
    let length = (bytes.len() - at::LEADER_EPOCH) as i32;
    let attributes = compression.attribute_bits().to_be_bytes();
    bent(&bytes, &[(at::LENGTH, &length.to_be_bytes()), (at::ATTRIBUTES, &attributes)])
}

async fn topic(script: &mut Script, name: &str, configs: &[(&str, &str)]) -> String {
    let name = script.named(name);
    let config = |(name, value): &(&str, &str)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: Some((*value).to_owned()),
    };
    let topic = CreatableTopic {
        name: name.clone(),
        num_partitions: 1,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
    script.ask_quietly(5, request).await;
    script.ready(&name).await;
    name
}

async fn put(script: &mut Script, topic: &str, what: &str, records: Bytes) {
    for version in [7, 9] {
        let request = produce(topic, 0, -1, records.clone());
        let Response::Produce(response) = script.ask_quietly(version, request).await else {
            panic!()
        };
        let said = &response.responses[0].partition_responses[0];
        let code = said.error_code;
        let offsets = (said.base_offset, said.log_start_offset);
        script.note(format!("v{version} to {topic}: {what}"), format!("{code:?} {offsets:?}"));
        script.note("and of its records".to_owned(), format!("{:?}", said.record_errors));
    }
}

pub async fn refusals(script: &mut Script) {
    let topic = &topic(script, "t", &[]).await;
    let now = now_ms();
    let good = &keyed(&[(Some("a"), now), (Some("b"), now), (Some("c"), now)], Compression::None);
    headers(script, topic, good).await;
    records(script, topic, good).await;
    let other = topic_of_time(script).await;
    times(script, &other).await;
    keys(script).await;
}

async fn headers(script: &mut Script, topic: &str, good: &Bytes) {
    for (what, change) in [
        ("base offset 5", (at::BASE_OFFSET, &5i64.to_be_bytes()[..])),
        ("base offset -1", (at::BASE_OFFSET, &(-1i64).to_be_bytes())),
        ("leader epoch 77", (at::LEADER_EPOCH, &77i32.to_be_bytes())),
        ("magic 3", (at::MAGIC, &[3])),
        ("magic -1", (at::MAGIC, &[0xff])),
        ("last offset delta 1", (at::LAST_OFFSET_DELTA, &1i32.to_be_bytes())),
        ("last offset delta 5", (at::LAST_OFFSET_DELTA, &5i32.to_be_bytes())),
        ("last offset delta -1", (at::LAST_OFFSET_DELTA, &(-1i32).to_be_bytes())),
        ("2 records", (at::COUNT, &2i32.to_be_bytes())),
        ("4 records", (at::COUNT, &4i32.to_be_bytes())),
        ("0 records", (at::COUNT, &0i32.to_be_bytes())),
        ("-1 records", (at::COUNT, &(-1i32).to_be_bytes())),
        ("control", (at::ATTRIBUTES, &[0, 0x20])),
        ("transactional", (at::ATTRIBUTES, &[0, 0x10])),
        ("unknown attributes", (at::ATTRIBUTES, &[0x7f, 0x80])),
        ("base time -1", (at::BASE_TIMESTAMP, &(-1i64).to_be_bytes())),
        ("max time 0", (at::MAX_TIMESTAMP, &0i64.to_be_bytes())),
        ("max time -1", (at::MAX_TIMESTAMP, &(-1i64).to_be_bytes())),
        ("sequence 0 of nobody", (at::BASE_SEQUENCE, &0i32.to_be_bytes())),
        ("epoch 0 of nobody", (at::PRODUCER_EPOCH, &0i16.to_be_bytes())),
    ] {
        put(script, topic, what, bent(good, &[change])).await;
    }
    let control: &[u8] = &[0, 0x30];
    for (what, producer, epoch, sequence, attributes) in [
        ("producer without sequence", 7_002i64, 0i16, -1i32, &[0u8, 0][..]),
        ("producer -2", -2, 0, 0, &[0, 0]),
        ("sequence 5 of a new producer", 7_003, 0, 5, &[0, 0]),
        ("control of a producer", 7_004, 0, -1, control),
    ] {
        let changes = [
            (at::PRODUCER_ID, &producer.to_be_bytes()[..]),
            (at::PRODUCER_EPOCH, &epoch.to_be_bytes()),
            (at::BASE_SEQUENCE, &sequence.to_be_bytes()),
            (at::ATTRIBUTES, attributes),
        ];
        put(script, topic, what, bent(good, &changes)).await;
    }
    let fewer = (good.len() - at::LEADER_EPOCH - 1) as i32;
    put(script, topic, "too short", bent(good, &[(at::LENGTH, &fewer.to_be_bytes())])).await;
    put(script, topic, "no length", bent(good, &[(at::LENGTH, &0i32.to_be_bytes())])).await;
    put(script, topic, "header alone", bent(&good.slice(..at::RECORDS), &[])).await;
}

/// The first record has its length, attributes, time, offset and the length of its key in a byte
/// each, as do all.
async fn records(script: &mut Script, topic: &str, good: &Bytes) {
    let plain = &good[at::RECORDS..];
    let size = plain.len() / 3;
    let changed = |at: usize, to: u8| {
        let mut plain = plain.to_vec();
        plain[at] = to;
        plain
    };
    let more = [plain, &[0, 0]].concat();
    let everywhere = [Compression::None, Compression::Gzip, Compression::Lz4];
    for (what, plain, compressions) in [
        ("attributes of a record", changed(size + 1, 0xff), &everywhere[..]),
        ("a record too short", changed(size, 2), &everywhere[..1]),
        ("a record too long", changed(size, 0x7e), &everywhere[..1]),
        ("a record of negative size", changed(size, 1), &everywhere[..1]),
        ("a key of -3 bytes", changed(size + 4, 5), &everywhere),
        ("a key beyond the record", changed(size + 4, 0x7e), &everywhere),
        ("-1 headers", changed(2 * size - 1, 1), &everywhere),
        ("9 headers", changed(2 * size - 1, 18), &everywhere),
        ("bytes after the last", more, &everywhere),
        ("bytes missing", plain[..3 * size - 1].to_vec(), &everywhere),
        ("nothing", Vec::new(), &everywhere),
    ] {
        for compression in compressions {
            let batch = with_records(good, &plain, *compression);
            put(script, topic, &format!("{what}, {compression:?}"), batch).await;
        }
    }
}

async fn topic_of_time(script: &mut Script) -> String {
    let limits =
        [("message.timestamp.before.max.ms", "1000"), ("message.timestamp.after.max.ms", "1000")];
    topic(script, "time", &limits).await
}

async fn times(script: &mut Script, topic_name: &str) {
    let now = now_ms();
    let (old, new) = (now - 3_600_000, now + 3_600_000);
    let good = now + 500;
    let key = Some("k");
    for compression in [Compression::None, Compression::Zstd] {
        for times in [
            &[old][..],
            &[new],
            &[good, old],
            &[old, good, new],
            &[new, new],
            &[-1],
            &[-1, old],
            &[good, -1],
        ] {
            let records: Vec<_> = times.iter().map(|time| (key, *time)).collect();
            let what = times.iter().map(|time| match *time {
                time if time == old => "old ",
                time if time == new => "new ",
                -1 => "none ",
                _ => "good ",
            });
            let what = format!("{}{compression:?}", what.collect::<String>());
            put(script, topic_name, &what, keyed(&records, compression)).await;
        }
    }
    let many: Vec<_> = (0..20).map(|_| (key, old)).collect();
    put(script, topic_name, "20 old", keyed(&many, Compression::None)).await;
    let appended = topic(script, "appended", &[("message.timestamp.type", "LogAppendTime")]).await;
    put(script, &appended, "old", keyed(&[(key, old)], Compression::None)).await;
    let usual = topic(script, "usual", &[]).await;
    put(script, &usual, "two days on", keyed(&[(key, now + 172_800_000)], Compression::None)).await;
}

async fn keys(script: &mut Script) {
    let now = now_ms();
    let compact = topic(script, "compact", &[("cleanup.policy", "compact")]).await;
    let both = [
        ("cleanup.policy", "compact,delete"),
        ("message.timestamp.before.max.ms", "1000"),
        ("compression.type", "gzip"),
    ];
    let both = topic(script, "both", &both).await;
    let (key, old) = (Some("k"), now - 3_600_000);
    for topic in [&compact, &both] {
        for compression in [Compression::None, Compression::Snappy] {
            for (what, records) in [
                ("no key", &[(None, now)][..]),
                ("key, none, key, none", &[(key, now), (None, now), (key, now), (None, now)]),
                ("none, old", &[(None, now), (key, old)]),
                ("old, none", &[(key, old), (None, now)]),
                ("old without key", &[(None, old)]),
                ("keys", &[(key, now + 900), (key, now + 900)]),
            ] {
                let what = format!("{what} {compression:?}");
                put(script, topic, &what, keyed(records, compression)).await;
            }
        }
    }
    let small = topic(script, "small", &[("max.message.bytes", "60")]).await;
    put(script, &small, "too large", keyed(&[(None, now)], Compression::None)).await;
}
