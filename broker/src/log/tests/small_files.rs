//! Small files that cannot be read: the log goes on without them, and loses nothing.

use std::path::PathBuf;

use super::super::simulation::SimulatedDisk;
use super::*;
use crate::ids::LeaderEpoch;

const DAMAGES: [&[u8]; 4] = [b"", &[0; 64], b"\xff\xfe", b"0\nstart x\n"];

fn file(name: &str) -> PathBuf {
    Path::new("/data/t-0").join(name)
}

fn open_in(disk: &SimulatedDisk, epoch: i32) -> Result<Arc<Partition>, LogOpenError> {
    let options = options(Arc::new(disk.clone()), Path::new("/data"), small_segments());
    Partition::open(PartitionOptions { epoch: LeaderEpoch(epoch), ..options })
}

/// Segments of two epochs, the last records in the page cache alone.
fn log_of_60() -> (SimulatedDisk, Arc<Partition>) {
    let disk = SimulatedDisk::default();
    for (epoch, numbers) in [(1, 0..30), (4, 30..60)] {
        let log = open_in(&disk, epoch).unwrap();
        for number in numbers {
            append(&log, numbered(number, 1, stamp(7, 0, number as i32, false)));
        }
        log.flush_blocking().unwrap();
    }
    let log = open_in(&disk, 4).unwrap();
    assert!(log.segments().len() > 3);
    (disk, log)
}

/// One partition's checkpoint of a few bytes kept the whole broker from starting.
#[test]
fn without_its_checkpoint_a_log_has_its_records_and_says_where_it_begins() {
    let (disk, log) = log_of_60();
    log.delete_records(Offset(20)).unwrap();
    let first = log.segments()[0].base;
    log.close().unwrap();
    for damage in DAMAGES {
        let disk = disk.copy();
        disk.damage(&file("log-checkpoint"), damage.to_vec());
        let log = open_in(&disk, 5).unwrap();
        // What was deleted within a segment is there again.
        assert!(first < Offset(20) && log.visible().log_start == first);
        let values = read_values(&log, first, Isolation::ReadUncommitted);
        assert_eq!(values, expected_values(first.0..60));
        assert_eq!(log.recovery_report().unwrap().segments_scanned, 1, "the rest was synced");
        let retry = log.append(numbered(59, 1, stamp(7, 0, 59, false)).into_bytes(), CLIENT);
        assert!(retry.unwrap().duplicate, "producers are known");
        log.delete_records(Offset(25)).unwrap();
        let log = open_in(&disk.after_kill(), 6).unwrap();
        assert_eq!(log.visible().log_start, Offset(25), "the next one can be read");
    }
}

#[test]
fn without_its_checkpoint_a_log_keeps_what_was_synced_through_a_power_cut() {
    let (disk, log) = log_of_60();
    append(&log, numbered(60, 1, ProducerStamp::NONE));
    for seed in 0..20 {
        let mut random = super::crashes::Random(seed);
        let left = disk.after_power_cut(&mut |choices| random.below(choices));
        left.damage(&file("log-checkpoint"), Vec::new());
        let log = open_in(&left, 5).unwrap();
        let end = log.visible().log_end;
        assert!((60..=61).contains(&end.0), "seed {seed}: {end}");
        let values = read_values(&log, Offset(0), Isolation::ReadUncommitted);
        assert_eq!(values, expected_values(0..end.0), "seed {seed}");
    }
}

#[test]
fn leader_epochs_come_back_from_the_records() {
    let (disk, log) = log_of_60();
    log.close().unwrap();
    for damage in DAMAGES {
        let disk = disk.copy();
        disk.damage(&file("leader-epoch-checkpoint"), damage.to_vec());
        // Not the latest that the log has had: nothing is cut off for it.
        let log = open_in(&disk, 2).unwrap();
        assert_eq!(log.visible().log_end, Offset(60));
        assert_eq!(log.leader_epoch(), LeaderEpoch(4));
        let end = |epoch| log.epoch_end(LeaderEpoch(epoch)).map(|(of, end)| (of.0, end.0));
        assert_eq!((end(1), end(3), end(4)), (Some((1, 30)), Some((1, 30)), Some((4, 60))));
    }
}

/// No offset may come twice, and nothing tells which have been.
#[test]
fn with_neither_checkpoint_nor_segments_a_log_is_refused() {
    let (disk, log) = log_of_60();
    log.close().unwrap();
    for name in disk.list(Path::new("/data/t-0")).unwrap() {
        if name.ends_with(".log") {
            disk.remove_file(&file(&name)).unwrap();
        }
    }
    disk.damage(&file("log-checkpoint"), Vec::new());
    let error = open_in(&disk, 5).unwrap_err().to_string();
    assert!(error.contains("/data/t-0/log-checkpoint: malformed"), "{error}");
}
