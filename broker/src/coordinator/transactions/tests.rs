//! Rules of the machine one by one, and of the service by itself.

mod simulation;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::simulation::{Entry, SimulatedLog, service, service_with};
use super::listing::TransactionFilter;
use super::machine::{
    self, ProducerIdentity, Protocol, Status, Step, Transaction, TransactionError, expire, init,
    verify,
};
use super::records;
use super::service::{TransactionConfig, TransactionService};
use crate::ids::{ProducerEpoch, ProducerId, TopicPartition};
use crate::record::ControlType;

const FRESH: ProducerId = ProducerId(1_000);

fn data(partition: i32) -> TopicPartition {
    TopicPartition::new("data", partition)
}

fn at(status: Status, epoch: i16) -> Transaction {
    Transaction {
        producer_id: ProducerId(7),
        epoch: ProducerEpoch(epoch),
        previous_id: ProducerId::NONE,
        next_id: ProducerId::NONE,
        last_epoch: ProducerEpoch::NONE,
        timeout_ms: 60_000,
        status,
        partitions: [data(0)].into(),
        started_ms: 5,
        updated_ms: 5,
        protocol: Protocol::V1,
    }
}

fn id(producer_id: i64, epoch: i16) -> ProducerIdentity {
    ProducerIdentity { producer_id: ProducerId(producer_id), epoch: ProducerEpoch(epoch) }
}

const ID: ProducerIdentity =
    ProducerIdentity { producer_id: ProducerId(7), epoch: ProducerEpoch(3) };

fn add(
    found: Option<&Transaction>,
    producer: ProducerIdentity,
    partitions: &[TopicPartition],
    now_ms: i64,
) -> Result<Step, TransactionError> {
    machine::add(found, producer, partitions, Protocol::V1, now_ms)
}

fn end(
    found: Option<&Transaction>,
    producer: ProducerIdentity,
    decision: ControlType,
    now_ms: i64,
) -> Result<Step, TransactionError> {
    machine::end(found, producer, decision, Protocol::V1, FRESH, now_ms)
}

fn end_v2(
    found: &Transaction,
    producer: ProducerIdentity,
    decision: ControlType,
) -> Result<Step, TransactionError> {
    machine::end(Some(found), producer, decision, Protocol::V2, FRESH, 9)
}

#[test]
fn a_successor_aborts_what_is_open_with_an_epoch_that_fences() {
    let step = init(Some(&at(Status::Ongoing, 3)), None, 1, FRESH, 9).unwrap();
    let Step::End(decided) = step else { panic!("{step:?}") };
    assert_eq!((decided.status, decided.epoch), (Status::PrepareAbort, ProducerEpoch(4)));
    // And is given a higher epoch still, so that it differs from the marker's.
    let done = decided.completed(ControlType::Abort, 10);
    let Step::Keep(new) = init(Some(&done), None, 1, FRESH, 11).unwrap() else { panic!() };
    assert_eq!((new.producer_id, new.epoch), (ProducerId(7), ProducerEpoch(5)));
}

#[test]
fn when_epochs_run_out_a_new_producer_id_begins() {
    let last = at(Status::CompleteCommit, i16::MAX - 1);
    let Step::Keep(new) = init(Some(&last), None, 1, FRESH, 9).unwrap() else { panic!() };
    assert_eq!((new.producer_id, new.epoch), (FRESH, ProducerEpoch(0)));
    // There is still one epoch left to fence with.
    let Step::End(fenced) = expire(&at(Status::Ongoing, i16::MAX - 1), 5, 9) else { panic!() };
    assert_eq!(fenced.epoch, ProducerEpoch(i16::MAX));
}

#[test]
fn a_producer_that_recovers_must_be_the_latest() {
    let found = at(Status::CompleteAbort, 3);
    assert!(init(Some(&found), Some(ID), 1, FRESH, 9).is_ok());
    for other in [id(7, 2), id(8, 3)] {
        let refused = init(Some(&found), Some(other), 1, FRESH, 9);
        assert_eq!(refused, Err(TransactionError::Fenced));
    }
}

#[test]
fn a_producer_that_has_not_heard_of_its_new_epoch_asks_again() {
    let found = at(Status::CompleteAbort, 3);
    let Step::Keep(raised) = init(Some(&found), Some(ID), 1, FRESH, 9).unwrap() else { panic!() };
    assert_eq!(raised.identity(), id(7, 4));
    let Step::Keep(again) = init(Some(&raised), Some(ID), 1, FRESH, 9).unwrap() else { panic!() };
    assert_eq!(again.identity(), id(7, 4));
    // But not once a successor has come.
    let Step::Keep(heir) = init(Some(&raised), None, 1, FRESH, 9).unwrap() else { panic!() };
    assert_eq!(init(Some(&heir), Some(ID), 1, FRESH, 9), Err(TransactionError::Fenced));
    // The same where the epochs of an id run out.
    let last = at(Status::Empty, i16::MAX - 1);
    let expected = Some(last.identity());
    let Step::Keep(new) = init(Some(&last), expected, 1, FRESH, 9).unwrap() else { panic!() };
    assert_eq!(new.identity(), id(FRESH.0, 0));
    let Step::Keep(again) = init(Some(&new), expected, 1, ProducerId(9), 9).unwrap() else {
        panic!()
    };
    assert_eq!(again.identity(), id(FRESH.0, 0));
}

#[test]
fn a_producer_that_recovers_from_an_open_transaction_goes_on_with_the_epoch_that_fenced_it() {
    let step = init(Some(&at(Status::Ongoing, 3)), Some(ID), 1, FRESH, 9).unwrap();
    let Step::End(decided) = step else { panic!("{step:?}") };
    let done = decided.completed(ControlType::Abort, 10);
    let Step::Keep(again) = init(Some(&done), Some(ID), 1, FRESH, 11).unwrap() else { panic!() };
    assert_eq!(again.identity(), id(7, 4));
    // The last epoch is only for fencing.
    let last = at(Status::Ongoing, i16::MAX - 1);
    let expected = Some(last.identity());
    let Step::End(decided) = init(Some(&last), expected, 1, FRESH, 9).unwrap() else { panic!() };
    let done = decided.completed(ControlType::Abort, 10);
    let Step::Keep(new) = init(Some(&done), expected, 1, FRESH, 11).unwrap() else { panic!() };
    assert_eq!(new.identity(), id(FRESH.0, 0));
}

#[test]
fn in_version_2_each_end_raises_the_epoch() {
    use ControlType::{Abort, Commit};
    let Step::End(decided) = end_v2(&at(Status::Ongoing, 3), ID, Commit).unwrap() else { panic!() };
    assert_eq!((decided.status, decided.identity()), (Status::PrepareCommit, id(7, 4)));
    let done = decided.completed(Commit, 10);
    assert_eq!(done.identity(), id(7, 4));
    // A retry of the same is answered, its opposite refused, and so is the old epoch elsewhere.
    assert_eq!(end_v2(&decided, ID, Commit), Ok(Step::End(decided.clone())));
    assert_eq!(end_v2(&done, ID, Commit), Ok(Step::Answer));
    assert_eq!(end_v2(&done, ID, Abort), Err(TransactionError::InvalidState));
    assert_eq!(add(Some(&done), ID, &[data(1)], 9), Err(TransactionError::Fenced));
    // With the new epoch there is nothing to commit, yet an abort is good for the epoch alone.
    assert_eq!(end_v2(&done, id(7, 4), Commit), Err(TransactionError::InvalidState));
    let Step::End(empty) = end_v2(&done, id(7, 4), Abort).unwrap() else { panic!() };
    assert_eq!((empty.identity(), empty.partitions.len()), (id(7, 5), 0));
    assert_eq!(end_v2(&at(Status::Empty, 3), ID, Commit), Err(TransactionError::InvalidState));
    assert!(matches!(end_v2(&at(Status::Empty, 3), ID, Abort), Ok(Step::End(_))));
    for (other, error) in [
        (id(8, 3), TransactionError::InvalidProducerIdMapping),
        (id(7, 2), TransactionError::Fenced),
        (id(7, 9), TransactionError::Fenced),
    ] {
        for status in [Status::Ongoing, Status::Empty] {
            assert_eq!(end_v2(&at(status, 3), other, Commit), Err(error.clone()), "{status:?}");
        }
    }
}

#[test]
fn in_version_2_the_last_epoch_gives_way_to_a_new_id() {
    let last = at(Status::Ongoing, i16::MAX - 1);
    let old = last.identity();
    let Step::End(decided) = end_v2(&last, old, ControlType::Commit).unwrap() else { panic!() };
    // Its marker still fences in the name of the old id.
    assert_eq!(decided.identity(), id(7, i16::MAX));
    let bytes = records::encode_value(&decided).unwrap();
    let decided = records::decode_value(&bytes).unwrap();
    let done = decided.completed(ControlType::Commit, 10);
    assert_eq!((done.identity(), done.previous_id), (id(FRESH.0, 0), ProducerId(7)));
    assert_eq!(end_v2(&done, old, ControlType::Commit), Ok(Step::Answer));
    let refused = end_v2(&done, old, ControlType::Abort);
    assert_eq!(refused, Err(TransactionError::InvalidState));
    let next = at(Status::Ongoing, 0);
    let next = Transaction { producer_id: FRESH, previous_id: ProducerId(7), ..next };
    assert_eq!(end_v2(&next, old, ControlType::Commit), Err(TransactionError::Fenced));
}

#[test]
fn only_partitions_of_the_open_transaction_may_be_written_to() {
    let open = at(Status::Ongoing, 3);
    assert_eq!(verify(Some(&open), ID, &[data(1), data(0)]), Ok(vec![false, true]));
    let done = open.completed(ControlType::Commit, 6);
    assert_eq!(verify(Some(&done), ID, &[data(0)]), Ok(vec![false]));
    assert_eq!(verify(Some(&open), id(7, 2), &[data(0)]), Err(TransactionError::Fenced));
    let unknown = Err(TransactionError::InvalidProducerIdMapping);
    assert_eq!(verify(Some(&open), id(8, 3), &[data(0)]), unknown);
    assert_eq!(verify(None, ID, &[data(0)]), unknown);
}

#[test]
fn only_the_latest_producer_adds_and_ends() {
    let open = at(Status::Ongoing, 3);
    for (id, error) in [
        (id(8, 3), TransactionError::InvalidProducerIdMapping),
        (id(7, 2), TransactionError::Fenced),
        (id(7, 4), TransactionError::Fenced),
    ] {
        assert_eq!(add(Some(&open), id, &[data(1)], 9), Err(error.clone()));
        assert_eq!(end(Some(&open), id, ControlType::Commit, 9), Err(error));
    }
    assert_eq!(add(None, ID, &[], 9), Err(TransactionError::InvalidProducerIdMapping));
}

#[test]
fn partitions_are_kept_once() {
    let open = at(Status::Ongoing, 3);
    assert_eq!(add(Some(&open), ID, &[data(0)], 9), Ok(Step::Answer));
    let Step::Keep(more) = add(Some(&open), ID, &[data(1)], 9).unwrap() else { panic!() };
    assert_eq!(more.partitions, [data(0), data(1)].into());
    assert_eq!(more.started_ms, 5, "time runs from the first partition");
    let done = open.completed(ControlType::Commit, 6);
    let Step::Keep(next) = add(Some(&done), ID, &[data(2)], 9).unwrap() else { panic!() };
    assert_eq!((next.partitions, next.started_ms), ([data(2)].into(), 9));
}

#[test]
fn an_end_can_be_retried_but_not_turned_round() {
    use ControlType::{Abort, Commit};
    for (status, decision, answer) in [
        (Status::CompleteCommit, Commit, Ok(Step::Answer)),
        (Status::CompleteCommit, Abort, Err(TransactionError::InvalidState)),
        (Status::CompleteAbort, Abort, Ok(Step::Answer)),
        (Status::CompleteAbort, Commit, Err(TransactionError::InvalidState)),
        (Status::Empty, Commit, Err(TransactionError::InvalidState)),
        (Status::PrepareCommit, Abort, Err(TransactionError::InvalidState)),
        (Status::PrepareCommit, Commit, Ok(Step::End(at(Status::PrepareCommit, 3)))),
    ] {
        assert_eq!(end(Some(&at(status, 3)), ID, decision, 9), answer, "{status:?} {decision:?}");
    }
}

#[test]
fn a_timeout_of_an_earlier_transaction_does_nothing() {
    assert_eq!(expire(&at(Status::Ongoing, 3), 4, 9), Step::Answer);
    assert_eq!(expire(&at(Status::CompleteCommit, 3), 5, 9), Step::Answer);
}

#[test]
fn what_was_kept_is_read_back() {
    for status in [Status::Empty, Status::Ongoing, Status::PrepareAbort, Status::CompleteCommit] {
        let mut kept = at(status, 3);
        kept.partitions = match status {
            Status::Empty => BTreeSet::new(),
            _ => [data(0), data(3), TopicPartition::new("other", 1)].into(),
        };
        let bytes = records::encode_value(&kept).unwrap();
        assert_eq!(records::decode_value(&bytes).unwrap(), kept);
    }
    let key = records::encode_key("orders-é").unwrap();
    assert_eq!(records::decode_key(&key).unwrap(), "orders-é");
}

#[tokio::test]
async fn a_transaction_left_open_is_aborted_and_its_producer_fenced() {
    let log = SimulatedLog::new(u32::MAX);
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let service = service_with(&log, move |transaction| sender.send(transaction).unwrap());
    let producer = service.init_producer("id", 20, None).await.unwrap();
    service.add_partitions("id", producer, vec![data(0)], Protocol::V1).await.unwrap();
    let aborted = ended.recv().await.unwrap();
    assert_eq!(aborted.decision, ControlType::Abort);
    let late = service.end("id", producer, ControlType::Commit, Protocol::V1).await;
    assert_eq!(late, Err(TransactionError::Fenced));
    let entries = log.entries(&data(0));
    let [Entry::Marker(marker)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(marker.control_type, ControlType::Abort);
    assert!(marker.epoch > producer.epoch);
}

#[tokio::test]
async fn ids_that_nobody_uses_are_forgotten_for_good() {
    let log = SimulatedLog::new(u32::MAX);
    let now = Arc::new(std::sync::atomic::AtomicI64::new(1_000));
    let clock = now.clone();
    let config = TransactionConfig { id_expiration_ms: 500, ..TransactionConfig::default() };
    let service = TransactionService::new(
        Arc::new(simulation::Shared(log.clone())),
        config,
        Arc::new(move || clock.load(std::sync::atomic::Ordering::SeqCst)),
        Box::new(|_| {}),
    );
    let open = service.init_producer("open", 60_000, None).await.unwrap();
    service.add_partitions("open", open, vec![data(0)], Protocol::V2).await.unwrap();
    let idle = service.init_producer("idle", 60_000, None).await.unwrap();
    now.store(1_499, std::sync::atomic::Ordering::SeqCst);
    service.forget_unused().await;
    let all = TransactionFilter { open_for_ms: -1, ..TransactionFilter::default() };
    assert_eq!(service.list(&all).await.len(), 2);
    now.store(1_500, std::sync::atomic::Ordering::SeqCst);
    service.forget_unused().await;
    let listed = service.list(&all).await;
    assert_eq!((listed.len(), &*listed[0].transactional_id), (1, "open"));
    assert_eq!((listed[0].status, listed[0].started_ms), (Status::Ongoing, 1_000));
    let refused = service.end("idle", idle, ControlType::Abort, Protocol::V2).await;
    assert_eq!(refused, Err(TransactionError::InvalidProducerIdMapping));
    assert_eq!(service.describe("idle").await, None);
    let again = self::service(&log);
    again.recover().await.unwrap();
    assert_eq!(again.describe("idle").await, None);
    assert!(again.describe("open").await.is_some());
}

/// A marker that a partition did not take was written only when somebody asked for its
/// transactional id again, and until then nobody could read what was committed.
#[tokio::test]
async fn markers_are_written_as_soon_as_partitions_take_them() {
    let log = SimulatedLog::new(u32::MAX);
    *log.refuses.lock().unwrap() = Some(data(1));
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let service = service_with(&log, move |transaction| sender.send(transaction).unwrap());
    let producer = service.init_producer("id", 60_000, None).await.unwrap();
    let both = vec![data(0), data(1)];
    service.add_partitions("id", producer, both, Protocol::V2).await.unwrap();
    let refused = service.end("id", producer, ControlType::Commit, Protocol::V2).await;
    assert!(matches!(refused, Err(TransactionError::Unavailable(_))), "{refused:?}");
    assert_eq!(service.describe("id").await.unwrap().status, Status::PrepareCommit);
    *log.refuses.lock().unwrap() = None;
    let decided = ended.recv().await.unwrap();
    assert_eq!(
        (decided.producer_id, decided.decision),
        (producer.producer_id, ControlType::Commit)
    );
    let markers = |partition| log.entries(&data(partition)).len();
    assert_eq!((markers(0), markers(1)), (1, 1), "and to each partition once");
    let retried = service.end("id", producer, ControlType::Commit, Protocol::V2).await.unwrap();
    assert_eq!(retried.epoch, ProducerEpoch(1));
}
