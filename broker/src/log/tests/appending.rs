//! Append, roll, close, reopen; and what is refused.

use super::*;
use crate::ids::LeaderEpoch;
use crate::log::simulation::SimulatedDisk;

#[test]
fn what_is_appended_is_read_across_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small_segments());
    for number in 0..50 {
        let appended = append(&log, numbered(number * 2, 2, ProducerStamp::NONE));
        assert_eq!((appended.base_offset.0, appended.last_offset.0), (number * 2, number * 2 + 1));
    }
    assert!(log.segments().len() > 3, "segments have rolled");
    for from in [0, 1, 2, 37, 99] {
        let values = read_values(&log, Offset(from), Isolation::ReadCommitted);
        assert_eq!(values, expected_values(from..100));
    }
    log.close().unwrap();
    assert_eq!(
        log.append(numbered(0, 1, ProducerStamp::NONE).into_bytes(), CLIENT).unwrap_err().code(),
        6
    );

    let log = open(dir.path(), small_segments());
    assert_eq!(log.recovery_report(), None, "no scan after an orderly close");
    assert_eq!(read_values(&log, Offset(0), Isolation::ReadCommitted), expected_values(0..100));
    append(&log, numbered(100, 1, ProducerStamp::NONE));
    drop(log);

    let log = open(dir.path(), small_segments());
    let report = log.recovery_report().expect("not closed in order");
    assert!(report.cuts.is_empty() && report.segments_scanned == 1, "{report:?}");
    assert_eq!(read_values(&log, Offset(0), Isolation::ReadCommitted), expected_values(0..101));
    assert_eq!(log.leader_epoch().0, 0);
}

/// A broker of a thousand partitions took a minute to stop, though most had been idle.
#[test]
fn closing_what_was_only_read_writes_nothing() {
    let disk = SimulatedDisk::default();
    // A broker begins an epoch with each start.
    let epochs = std::cell::Cell::new(0);
    let open = || {
        let disk = Arc::new(disk.clone());
        let options = options(disk, Path::new("/data"), LogConfig::default());
        let epoch = LeaderEpoch(epochs.replace(epochs.get() + 1));
        Partition::open(PartitionOptions { epoch, ..options })
    };
    let log = open().unwrap();
    append(&log, numbered(0, 3, ProducerStamp::NONE));
    log.close().unwrap();
    let log = open().unwrap();
    assert_eq!(read_values(&log, Offset(0), Isolation::ReadCommitted), expected_values(0..3));
    let steps = disk.steps();
    log.close().unwrap();
    assert_eq!(disk.steps(), steps, "all is there already");

    let log = open().unwrap();
    append(&log, numbered(3, 1, ProducerStamp::NONE));
    log.close().unwrap();
    let log = open().unwrap();
    assert_eq!(log.recovery_report(), None, "what was appended since was closed too");
    assert_eq!(read_values(&log, Offset(0), Isolation::ReadCommitted), expected_values(0..4));
}

#[test]
fn a_torn_tail_is_cut_off_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogConfig::default());
    append(&log, numbered(0, 3, ProducerStamp::NONE));
    append(&log, numbered(3, 3, ProducerStamp::NONE));
    drop(log);
    let file = dir.path().join("t-0/00000000000000000000.log");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();

    let log = open(dir.path(), LogConfig::default());
    let half = bytes.len() as u64 / 2;
    let cut = &log.recovery_report().unwrap().cuts[0];
    assert_eq!((cut.position, cut.bytes, cut.offset), (half, half - 1, Offset(3)));
    assert_eq!(cut.file, file);
    assert_eq!(log.leader_epoch().0, 1, "other records can follow at the same offsets");
    assert_eq!(append(&log, numbered(3, 1, ProducerStamp::NONE)).base_offset, Offset(3));
    assert_eq!(read_values(&log, Offset(0), Isolation::ReadUncommitted), expected_values(0..4));
    assert_eq!(log.epoch_end(crate::ids::LeaderEpoch(0)).unwrap().1, Offset(3));
}

#[test]
fn broken_batches_are_refused_with_kafkas_codes() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { max_message_bytes: 200, ..LogConfig::default() };
    let log = open(dir.path(), config);
    let good = numbered(0, 2, ProducerStamp::NONE);
    let changed = |at: usize, to: &[u8], fix_crc: bool| {
        let mut bytes = good.bytes().to_vec();
        bytes[at..at + to.len()].copy_from_slice(to);
        if fix_crc {
            let crc = crc32c::crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        log.append(Bytes::from(bytes), CLIENT).unwrap_err().code()
    };
    assert_eq!(changed(70, &[0xff], false), 2, "checksum");
    assert_eq!(changed(16, &[1], false), 87, "magic");
    assert_eq!(changed(8, &[0, 0, 0, 1], false), 2, "length");
    assert_eq!(changed(21, &[0, 7], true), 76, "codec");
    assert_eq!(changed(21, &[0, 8], true), 32, "append time from a client");
    assert_eq!(changed(21, &[0, 32], true), 87, "control batch from a client");
    assert_eq!(changed(23, &[0, 0, 0, 5], true), 87, "offset delta against count");
    assert_eq!(changed(57, &[0, 0, 0, 9], true), 87, "count against offset delta");
    assert_eq!(changed(61, &[0x7f], true), 87, "a record longer than the batch");
    let large = numbered(0, 20, ProducerStamp::NONE).into_bytes();
    assert_eq!(log.append(large, CLIENT).unwrap_err().code(), 10);
    let mut two = good.bytes().to_vec();
    two.extend_from_slice(good.bytes());
    assert_eq!(log.append(Bytes::from(two.clone()), CLIENT).unwrap_err().code(), 87);
    assert_eq!(log.append(Bytes::new(), CLIENT).unwrap_err().code(), 87);
    let mut far = BatchBuilder::default();
    far.append(NOW_MS + 3_600_001, None, Some(b"x"));
    let far = far.build(ProducerStamp::NONE);
    assert_eq!(log.append(far.into_bytes(), CLIENT).unwrap_err().code(), 32);
    assert_eq!(log.visible().log_end, Offset(0), "none of it is in the log");
    let embedded = by(Origin::Embedded, Acks::Leader);
    assert_eq!(log.append(Bytes::from(two), embedded).unwrap().last_offset, Offset(3));
}

#[test]
fn append_time_and_compression_are_set_by_the_topic() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        timestamp_type: crate::record::TimestampType::LogAppendTime,
        compression: Some(Compression::Zstd),
        ..LogConfig::default()
    };
    let log = open(dir.path(), config);
    assert_eq!(append(&log, numbered(5, 3, ProducerStamp::NONE)).append_time_ms, Some(NOW_MS));
    let slice = log.read(Offset(0), read_options(Isolation::ReadCommitted, 1000)).unwrap();
    let batch = RecordBatch::parse(slice.records).unwrap();
    batch.verify_checksum().unwrap();
    assert_eq!(batch.compression(), Ok(Compression::Zstd));
    let records = batch.records().unwrap();
    let times: Vec<i64> = records.iter().map(|record| record.unwrap().timestamp_ms).collect();
    assert_eq!(times, [NOW_MS; 3]);
}

#[test]
fn a_compacted_topic_needs_keys() {
    let dir = tempfile::tempdir().unwrap();
    let cleanup = Cleanup { delete: false, compact: true };
    let log = open(dir.path(), LogConfig { cleanup, ..LogConfig::default() });
    let mut builder = BatchBuilder::default();
    builder.append(NOW_MS, None, Some(b"x"));
    let batch = builder.build(ProducerStamp::NONE).into_bytes();
    for origin in [Origin::Client, Origin::Embedded] {
        let error = log.append(batch.clone(), by(origin, Acks::Leader)).unwrap_err();
        assert_eq!(error.code(), 87);
    }
    append(&log, numbered(0, 1, ProducerStamp::NONE));
}

#[tokio::test(flavor = "multi_thread")]
async fn acks_all_is_visible_once_synced_and_wakes_those_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut opts = options(Arc::new(OsDisk), dir.path(), LogConfig::default());
    opts.runtime = Some(tokio::runtime::Handle::current());
    let log = Partition::open(opts).unwrap();
    let notify = Arc::new(tokio::sync::Notify::new());
    let subscription = log.subscribe(&notify);
    let waiting = {
        let (log, notify) = (log.clone(), notify.clone());
        tokio::spawn(async move {
            while log.visible().high_watermark < Offset(20) {
                notify.notified().await;
            }
        })
    };
    let appends = (0..20).map(|number| {
        let batch = numbered(number, 1, ProducerStamp::NONE).into_bytes();
        let log = log.clone();
        async move { log.produce(batch, by(Origin::Client, Acks::All)).await.unwrap() }
    });
    for appended in futures::future::join_all(appends).await {
        assert!(appended.wait_for_sync && appended.last_offset < log.visible().high_watermark);
    }
    waiting.await.unwrap();
    drop(subscription);
    log.sync(Offset(19)).await.unwrap();
}
