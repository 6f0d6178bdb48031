//! Idempotence and transactions.

use super::*;

#[test]
fn a_retry_is_answered_with_the_first_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogConfig::default());
    let batch = |sequence: i32| numbered(sequence.into(), 2, stamp(9, 0, sequence, false));
    for sequence in (0..12).step_by(2) {
        append(&log, batch(sequence));
    }
    let retried = append(&log, batch(4));
    assert!(retried.duplicate);
    assert_eq!((retried.base_offset, retried.last_offset), (Offset(4), Offset(5)));
    assert_eq!(log.visible().log_end, Offset(12));
    // Six batches ago is too long.
    assert_eq!(log.append(batch(0).into_bytes(), CLIENT).unwrap_err().code(), 45);
    assert_eq!(log.append(batch(14).into_bytes(), CLIENT).unwrap_err().code(), 45);

    // All five are remembered across an orderly restart and across a crash.
    log.close().unwrap();
    let log = open(dir.path(), LogConfig::default());
    assert!(log.recovery_report().is_none());
    assert_eq!(append(&log, batch(2)).base_offset, Offset(2));
    append(&log, batch(12));
    drop(log);
    let log = open(dir.path(), LogConfig::default());
    assert!(log.recovery_report().is_some());
    assert_eq!(append(&log, batch(4)).base_offset, Offset(4));
    assert_eq!(append(&log, batch(12)).base_offset, Offset(12));
    append(&log, batch(14));
}

#[test]
fn sequences_wrap_and_epochs_fence() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogConfig::default());
    let send = |epoch, sequence, count| {
        let batch = numbered(0, count, stamp(9, epoch, sequence, false));
        log.append(batch.into_bytes(), CLIENT).map(|appended| appended.duplicate)
    };
    // A producer that is not known may go on where it was: its state may have expired.
    assert!(!send(3, i32::MAX - 2, 2).unwrap());
    assert!(!send(3, i32::MAX, 3).unwrap());
    assert!(send(3, i32::MAX, 3).unwrap(), "a duplicate across the wrap");
    assert!(!send(3, 2, 1).unwrap());
    assert_eq!(send(2, 3, 1).unwrap_err().code(), 47);
    assert_eq!(send(4, 3, 1).unwrap_err().code(), 45);
    assert!(!send(4, 0, 1).unwrap());
    assert_eq!(send(3, 3, 1).unwrap_err().code(), 47);
}

#[test]
fn transactions_hold_back_and_aborts_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), small_segments());
    let check = |log: &Partition| {
        let committed = read_values(log, Offset(0), Isolation::ReadCommitted);
        assert_eq!(committed.len(), 4 + 3 + 2, "open ones end what is stable");
        let slice = log.read(Offset(0), read_options(Isolation::ReadCommitted, 1 << 20)).unwrap();
        assert_eq!(slice.end_offset, Offset(11));
        let [aborted] = slice.aborted[..] else { panic!("{:?}", slice.aborted) };
        assert_eq!(aborted.producer_id, ProducerId(2));
        assert_eq!((aborted.first_offset, aborted.last_offset), (Offset(4), Offset(8)));
        // Of the open transaction at 11, nothing began before 8 that was still open.
        assert!(aborted.last_stable_offset <= Offset(9));
        assert!(
            log.read(Offset(9), read_options(Isolation::ReadCommitted, 1 << 20))
                .unwrap()
                .aborted
                .is_empty()
        );
    };
    append(&log, numbered(0, 4, stamp(1, 0, 0, true)));
    assert_eq!(log.visible().last_stable, Offset(0));
    append(&log, numbered(4, 3, stamp(2, 0, 0, true)));
    append_marker(&log, 1, 0, ControlType::Commit);
    assert_eq!(log.visible().last_stable, Offset(4));
    append_marker(&log, 2, 0, ControlType::Abort);
    assert_eq!(log.visible().last_stable, Offset(9));
    append(&log, numbered(9, 2, ProducerStamp::NONE));
    append(&log, numbered(11, 5, stamp(1, 0, 4, true)));
    let error = log.append(numbered(0, 1, stamp(1, 0, 9, false)).into_bytes(), CLIENT).unwrap_err();
    assert_eq!(error.code(), 48);
    check(&log);
    drop(log);
    let log = open(dir.path(), small_segments());
    check(&log);
    log.close().unwrap();
    let log = open(dir.path(), small_segments());
    assert!(log.recovery_report().is_none());
    check(&log);
    assert_eq!(log.producers()[0].transaction_start, Some(Offset(11)));
    append_marker(&log, 1, 1, ControlType::Abort);
    assert_eq!(log.visible().last_stable, Offset(17));
    let zombie = log.append(numbered(0, 1, stamp(1, 0, 9, true)).into_bytes(), CLIENT);
    assert_eq!(zombie.unwrap_err().code(), 47, "the marker's epoch fences");
    let old = control_batch(ProducerId(1), ProducerEpoch(1), ControlType::Abort, 0, NOW_MS);
    let old = log.append(old.into_bytes(), by(Origin::Coordinator, Acks::All));
    assert_eq!(old.unwrap_err().code(), 52);
}

#[test]
fn how_a_transaction_ended_is_not_seen_before_the_marker_is_synced() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogConfig::default());
    append(&log, numbered(0, 4, stamp(1, 0, 0, true)));
    let marker = control_batch(ProducerId(1), ProducerEpoch(0), ControlType::Commit, 1, NOW_MS);
    log.append(marker.into_bytes(), by(Origin::Coordinator, Acks::All)).unwrap();
    let visible = log.visible();
    assert_eq!((visible.last_stable, visible.high_watermark), (Offset(0), Offset(4)));
    log.flush_blocking().unwrap();
    let visible = log.visible();
    assert_eq!((visible.last_stable, visible.high_watermark), (Offset(5), Offset(5)));
}

/// A batch that was still on its way when its transaction ended began another, which nobody knew
/// of and so nobody ended (KIP-890).
#[test]
fn a_transaction_begins_only_where_it_is_admitted() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path(), LogConfig::default());
    let batch = |sequence| numbered(0, 1, stamp(1, 0, sequence, true));
    let send =
        |sequence, origin| log.append(batch(sequence).into_bytes(), by(origin, Acks::Leader));
    let refused = send(0, Origin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::NotAdmitted { .. }), "{refused}");
    send(0, Origin::Admitted { from_zero: false }).unwrap();
    // While it is open, whatever follows belongs to it.
    send(1, Origin::Client).unwrap();
    append_marker(&log, 1, 0, ControlType::Commit);
    let refused = send(2, Origin::Client).unwrap_err();
    assert!(matches!(refused, AppendError::NotAdmitted { .. }), "{refused}");
    assert_eq!(log.visible().last_stable, log.visible().log_end);
    // What is in the log already begins nothing.
    assert!(send(1, Origin::Client).unwrap().duplicate);
}
