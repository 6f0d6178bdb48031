//! Times, bounds, retention.

use super::*;

#[test]
fn a_read_keeps_to_its_bytes_but_brings_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogConfig::default());
    let sizes: Vec<usize> = (0..4)
        .map(|number| {
            let batch = numbered(number * 3, 3, ProducerStamp::NONE);
            let size = batch.size();
            append(&log, batch);
            size
        })
        .collect();
    let read = |from, bytes_max, at_least_one| {
        let isolation = Isolation::ReadUncommitted;
        let slice = log.read(Offset(from), ReadOptions { isolation, bytes_max, at_least_one });
        let slice = slice.unwrap();
        (slice.records.len(), slice.next_offset.0)
    };
    assert_eq!(read(0, 10, true), (sizes[0], 3));
    assert_eq!(read(0, 10, false), (0, 0));
    assert_eq!(read(4, sizes[1] + sizes[2] + 60, true), (sizes[1] + sizes[2], 9));
    assert_eq!(read(11, 1 << 20, true), (sizes[3], 12));
    assert_eq!(read(12, 1 << 20, true), (0, 12));
    for beyond in [13, -1] {
        let error = log.read(Offset(beyond), read_options(Isolation::ReadCommitted, 1));
        assert_eq!(error.unwrap_err().code(), 1);
    }
}

#[test]
fn a_time_finds_the_exact_record() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small_segments());
    for number in 0..40 {
        append(&log, numbered(number * 3, 3, ProducerStamp::NONE));
    }
    let check = |log: &Partition| {
        for number in 0..120 {
            let time_ms = NOW_MS + number;
            let found = log.offset_at_timestamp(time_ms, Isolation::ReadCommitted).unwrap();
            let found = found.unwrap();
            assert_eq!((found.offset.0, found.timestamp_ms), (number, time_ms));
        }
        let at = |time_ms| log.offset_at_timestamp(time_ms, Isolation::ReadCommitted).unwrap();
        assert_eq!(at(0).unwrap().offset, Offset(0));
        assert_eq!(at(NOW_MS + 120), None);
        assert_eq!(log.max_timestamp().unwrap().unwrap().offset, Offset(119));
    };
    check(&log);
    log.close().unwrap();
    check(&log);
    check(&open(dir.path(), small_segments()));
}

/// Each segment that was ever read kept its file open, later four of each log: a thousand logs
/// took more file descriptors than a process has.
#[test]
fn few_files_stay_open_however_many_segments_of_however_many_logs_are_read() {
    const OPEN_MAX: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let open_files = Arc::new(OpenFiles::new(OPEN_MAX));
    let logs: Vec<Arc<Partition>> = (0..20)
        .map(|number| {
            let options = options(Arc::new(OsDisk), dir.path(), small_segments());
            let dir = dir.path().join(format!("t-{number}"));
            let options = PartitionOptions { dir, open_files: open_files.clone(), ..options };
            Partition::open(options).unwrap()
        })
        .collect();
    let open_of =
        |log: &Arc<Partition>| log.segments().iter().filter(|segment| segment.is_open()).count();
    for log in &logs {
        for number in 0..60 {
            append(log, numbered(number, 1, ProducerStamp::NONE));
        }
        assert_eq!(open_of(log), log.segments().len(), "what is not synced stays open");
        log.flush_blocking().unwrap();
        assert_eq!(open_of(log), 1);
    }
    let open = || logs.iter().map(open_of).sum::<usize>();
    for log in &logs {
        assert_eq!(read_values(log, Offset(0), Isolation::ReadCommitted), expected_values(0..60));
        assert!(open() <= logs.len() + OPEN_MAX);
    }
    assert_eq!(open(), logs.len() + OPEN_MAX, "the last one of each is written to");
    for number in 0..60 {
        let log = &logs[number as usize % logs.len()];
        log.offset_at_timestamp(NOW_MS + number, Isolation::ReadCommitted).unwrap().unwrap();
        assert!(open() <= logs.len() + OPEN_MAX + 1);
    }
    // One that is read again and again stays.
    let often = logs[0].segments()[0].clone();
    for log in &logs[1..] {
        logs[0].positions.clear();
        logs[0].read(Offset(0), read_options(Isolation::ReadCommitted, 1)).unwrap();
        read_values(log, Offset(often.size() as i64 % 40), Isolation::ReadCommitted);
        logs[0].read(Offset(0), read_options(Isolation::ReadCommitted, 1)).unwrap();
        assert!(often.is_open());
    }
}

#[test]
fn retention_takes_whole_segments_by_size_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small_segments());
    for number in 0..60 {
        append(&log, numbered(number, 1, ProducerStamp::NONE));
    }
    let segments = log.segments().len();
    assert!(segments > 4);
    let keep = log.size() - 1;
    log.set_config(LogConfig { retention_bytes: Some(keep), ..small_segments() });
    assert_eq!(log.enforce_retention(0).unwrap().segments_deleted, 0, "only what is in excess");
    log.set_config(LogConfig { retention_bytes: Some(keep - 1000), ..small_segments() });
    let retained = log.enforce_retention(0).unwrap();
    assert_eq!(retained.segments_deleted, 1);
    assert_eq!(log.visible().log_start, retained.log_start);
    assert_eq!(
        log.read(Offset(0), read_options(Isolation::ReadCommitted, 1)).unwrap_err().code(),
        1
    );
    let start = retained.log_start.0;
    let values = read_values(&log, retained.log_start, Isolation::ReadCommitted);
    assert_eq!(values, expected_values(start..60));

    // Everything has expired: the active segment is rolled, then goes too.
    log.set_config(LogConfig { retention_ms: Some(1000), ..small_segments() });
    assert_eq!(log.enforce_retention(NOW_MS).unwrap().segments_deleted, 0, "written just now");
    let later_ms = i64::MAX;
    assert_eq!(log.enforce_retention(later_ms).unwrap().log_start, Offset(60));
    assert_eq!(log.visible().log_start, Offset(60));
    assert_eq!(log.enforce_retention(later_ms).unwrap().segments_deleted, 0);
    assert_eq!(append(&log, numbered(60, 1, ProducerStamp::NONE)).base_offset, Offset(60));
    drop(log);
    let names: Vec<String> = OsDisk.list(&dir.path().join("t-0")).unwrap();
    let logs = names.iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!(logs, 1, "{names:?}");
    let log = open(dir.path(), small_segments());
    assert_eq!(log.visible().log_start, Offset(60));
    assert_eq!(read_values(&log, Offset(60), Isolation::ReadCommitted), expected_values(60..61));
}

#[test]
fn deleted_records_stay_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small_segments());
    for number in 0..60 {
        append(&log, numbered(number, 1, ProducerStamp::NONE));
    }
    assert_eq!(log.delete_records(Offset(61)).unwrap_err().code(), 1);
    assert_eq!(log.delete_records(Offset(33)).unwrap(), Offset(33));
    assert_eq!(log.delete_records(Offset(10)).unwrap(), Offset(33));
    assert!(log.segments()[0].base > Offset(20), "segments below are gone");
    drop(log);
    let log = open(dir.path(), small_segments());
    assert_eq!(log.visible().log_start, Offset(33));
    assert_eq!(read_values(&log, Offset(33), Isolation::ReadCommitted), expected_values(33..60));
    assert_eq!(log.delete_records(Offset(60)).unwrap(), Offset(60));
    log.close().unwrap();
    let log = open(dir.path(), small_segments());
    assert_eq!(log.visible().log_start, Offset(60));
    assert_eq!(log.visible().log_end, Offset(60));
}
