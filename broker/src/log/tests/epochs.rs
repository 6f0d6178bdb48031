//! Leader epochs: one for each start of the broker in which something was written.

use super::super::simulation::SimulatedDisk;
use super::*;
use crate::ids::LeaderEpoch;

fn open_in(disk: &SimulatedDisk, epoch: i32) -> Arc<Partition> {
    let dir = Path::new("/data");
    let options = options(Arc::new(disk.clone()), dir, small_segments());
    Partition::open(PartitionOptions { epoch: LeaderEpoch(epoch), ..options }).unwrap()
}

fn ends(log: &Partition, epochs: std::ops::RangeInclusive<i32>) -> Vec<Option<(i32, i64)>> {
    let end = |epoch| Some(log.epoch_end(LeaderEpoch(epoch))?).map(|(of, end)| (of.0, end.0));
    epochs.map(end).collect()
}

#[test]
fn each_start_has_its_epoch_even_after_a_power_cut() {
    let disk = SimulatedDisk::default();
    let log = open_in(&disk, 0);
    append(&log, numbered(0, 2, ProducerStamp::NONE));
    drop(log);
    // Nothing is written in this one.
    assert_eq!(open_in(&disk, 1).leader_epoch(), LeaderEpoch(1));
    let log = open_in(&disk, 2);
    append(&log, numbered(2, 1, ProducerStamp::NONE));
    assert_eq!(ends(&log, -1..=3), [None, Some((0, 2)), Some((0, 2)), Some((2, 3)), Some((2, 3))]);
    log.flush_blocking().unwrap();
    append(&log, numbered(3, 1, ProducerStamp::NONE));

    // Nobody has written the file of epochs: the records tell. The last one is lost.
    let disk = disk.after_power_cut(&mut |_| 0);
    let log = open_in(&disk, 3);
    assert_eq!(log.visible().log_end, Offset(3));
    assert_eq!(append(&log, numbered(3, 1, ProducerStamp::NONE)).base_offset, Offset(3));
    assert_eq!(ends(&log, 0..=3), [Some((0, 2)), Some((0, 2)), Some((2, 3)), Some((3, 4))]);
    assert_eq!([0, 2, 3].map(|at| log.epoch_at(Offset(at)).unwrap().0), [0, 2, 3]);
    for number in 4..60 {
        append(&log, numbered(number, 1, ProducerStamp::NONE));
    }
    // Segments are sealed: recovery will look at the last one alone.
    log.flush_blocking().unwrap();
    let log = open_in(&disk.after_power_cut(&mut |_| 0), 4);
    assert_eq!(log.recovery_report().unwrap().segments_scanned, 1);
    append(&log, numbered(60, 1, ProducerStamp::NONE));
    assert_eq!(ends(&log, 2..=4), [Some((2, 3)), Some((3, 60)), Some((4, 61))]);
    log.close().unwrap();
    let log = open_in(&disk.after_power_cut(&mut |_| 0), 9);
    assert_eq!(log.leader_epoch(), LeaderEpoch(9));

    log.delete_records(Offset(20)).unwrap();
    assert_eq!(log.epoch_at(Offset(20)), Some(LeaderEpoch(3)));
    // Of epochs from before the log's start it is known where what follows them begins.
    assert_eq!(ends(&log, 0..=3)[..3], [Some((0, 20)), Some((1, 20)), Some((2, 20))]);
}

/// A power cut took records that readers had seen, and others came in their place, in an epoch
/// that readers knew already.
#[test]
fn an_epoch_that_was_cut_off_does_not_come_again() {
    let disk = SimulatedDisk::default();
    let log = open_in(&disk, 0);
    append(&log, numbered(0, 1, ProducerStamp::NONE));
    log.flush_blocking().unwrap();
    let log = open_in(&disk, 1);
    append(&log, numbered(1, 2, ProducerStamp::NONE));
    assert_eq!(log.visible().high_watermark, Offset(3));
    let log = open_in(&disk.after_power_cut(&mut |_| 0), 2);
    append(&log, numbered(1, 1, ProducerStamp::NONE));
    assert_eq!(ends(&log, 0..=2), [Some((0, 1)), Some((0, 1)), Some((2, 2))]);
}
