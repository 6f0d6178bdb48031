//! Rules of the machine one by one, and a seeded simulation of the whole coordinator that cuts
//! the power at every append.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::listing::TransactionFilter;
use super::machine::{
    self, ProducerIdentity, Protocol, Status, Step, Transaction, TransactionError, expire, init,
    verify,
};
use super::records;
use super::service::{TransactionConfig, TransactionService};
use crate::coordinator::state_log::{Marker, StateLog, StateLogError, TRANSACTIONS_TOPIC};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::record::{ControlType, RecordBatch};

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

/// What lies in a simulated partition.
#[derive(Clone, Debug)]
enum Entry {
    Kept(RecordBatch),
    Data { producer: ProducerIdentity, transaction: u32 },
    Marker(Marker),
}

/// Partitions in memory, and a power supply that fails after so many appends: from then on
/// nothing becomes durable and nobody gets an answer.
#[derive(Debug, Default)]
struct SimulatedLog {
    partitions: Mutex<BTreeMap<TopicPartition, Vec<Entry>>>,
    /// Entries that survive, by partition.
    durable: Mutex<BTreeMap<TopicPartition, usize>>,
    appends_left: Mutex<u32>,
    /// Takes no markers.
    refuses: Mutex<Option<TopicPartition>>,
}

impl SimulatedLog {
    fn push(
        self: &Arc<Self>,
        to: &TopicPartition,
        entry: Entry,
    ) -> BoxFuture<'static, Result<Offset, StateLogError>> {
        let len = {
            let mut partitions = self.partitions.lock().unwrap();
            let entries = partitions.entry(to.clone()).or_default();
            entries.push(entry);
            entries.len()
        };
        let (log, to) = (self.clone(), to.clone());
        async move {
            tokio::task::yield_now().await;
            {
                let mut left = log.appends_left.lock().unwrap();
                if *left > 0 {
                    *left -= 1;
                    let mut durable = log.durable.lock().unwrap();
                    let mark = durable.entry(to).or_default();
                    *mark = len.max(*mark);
                    return Ok(Offset(len as i64 - 1));
                }
            }
            std::future::pending().await
        }
        .boxed()
    }

    /// The partition takes only the newest epoch it has seen of a producer id, as the log does.
    fn write(self: &Arc<Self>, to: i32, producer: ProducerIdentity, transaction: u32) -> bool {
        let fenced = {
            let partitions = self.partitions.lock().unwrap();
            partitions.get(&data(to)).into_iter().flatten().any(|entry| match entry {
                Entry::Data { producer: other, .. } => {
                    other.producer_id == producer.producer_id && other.epoch > producer.epoch
                }
                Entry::Marker(marker) => {
                    marker.producer_id == producer.producer_id && marker.epoch > producer.epoch
                }
                Entry::Kept(_) => false,
            })
        };
        // Written and flushed before the transaction ends, as `Producer::commit` does.
        !fenced
            && self.push(&data(to), Entry::Data { producer, transaction }).now_or_never().is_none()
    }

    /// What is left after a power cut; `keep` may spare some of what was not yet durable.
    fn after_crash(&self, keep: usize) -> Arc<SimulatedLog> {
        let durable = self.durable.lock().unwrap();
        let mut partitions = self.partitions.lock().unwrap().clone();
        for (partition, entries) in &mut partitions {
            entries.truncate(durable.get(partition).copied().unwrap_or(0) + keep);
        }
        let durable = partitions.iter().map(|(to, entries)| (to.clone(), entries.len())).collect();
        Arc::new(SimulatedLog {
            partitions: Mutex::new(partitions),
            durable: Mutex::new(durable),
            appends_left: Mutex::new(u32::MAX),
            refuses: Mutex::default(),
        })
    }
}

/// The log as the service holds it.
struct Shared(Arc<SimulatedLog>);

impl StateLog for Shared {
    fn append(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> BoxFuture<'static, Result<Offset, StateLogError>> {
        self.0.push(to, Entry::Kept(batch))
    }

    fn append_marker(
        &self,
        to: &TopicPartition,
        marker: Marker,
    ) -> BoxFuture<'static, Result<Option<Offset>, StateLogError>> {
        if self.0.refuses.lock().unwrap().as_ref() == Some(to) {
            let error = StateLogError::TooLarge { partition: to.clone(), size: 0 };
            return futures::future::ready(Err(error)).boxed();
        }
        self.0.push(to, Entry::Marker(marker)).map(|written| written.map(Some)).boxed()
    }

    fn ensure_topic(
        &self,
        _: &'static str,
        partitions: i32,
    ) -> BoxFuture<'static, Result<i32, StateLogError>> {
        async move { Ok(partitions) }.boxed()
    }

    fn partitions(&self, _: &'static str) -> Option<i32> {
        Some(1)
    }

    fn replay(
        &self,
        from: &TopicPartition,
        each: &mut dyn FnMut(RecordBatch),
    ) -> Result<(), StateLogError> {
        assert_eq!(&*from.topic, TRANSACTIONS_TOPIC);
        for entry in self.0.partitions.lock().unwrap().get(from).into_iter().flatten() {
            if let Entry::Kept(batch) = entry {
                each(batch.clone());
            }
        }
        Ok(())
    }
}

fn service(log: &Arc<SimulatedLog>) -> Arc<TransactionService> {
    let log = Arc::new(Shared(log.clone()));
    let config = TransactionConfig::default();
    TransactionService::new(log, config, Arc::new(|| 1_000), Box::new(|_| {}))
}

/// Transactions that were answered as committed: (producer id, epoch, number).
type Committed = Arc<Mutex<BTreeSet<(i64, i16, u32)>>>;

#[derive(Clone, Debug)]
struct Life {
    protocol: Protocol,
    /// Partitions to write to, and whether to commit.
    plan: Vec<(Vec<i32>, bool)>,
}

/// One producer's life: transactions over several partitions, ended either way.
async fn produce(
    service: Arc<TransactionService>,
    log: Arc<SimulatedLog>,
    id: &str,
    Life { protocol, plan }: Life,
    committed: Committed,
) -> Result<(), TransactionError> {
    let mut producer = service.init_producer(id, 60_000, None).await?;
    for (number, (partitions, commit)) in plan.into_iter().enumerate() {
        let mut last = None;
        for partition in partitions {
            let to = vec![data(partition)];
            let admission = service.admit(id, producer, to, protocol).await?;
            tokio::task::yield_now().await;
            log.write(partition, producer, number as u32);
            drop(admission);
            tokio::task::yield_now().await;
            last = Some(partition);
        }
        // Flushed: all that was written is durable, unless the power is gone.
        let all = log.partitions.lock().unwrap().clone();
        for (to, entries) in all.into_iter().filter(|(to, _)| &*to.topic == "data") {
            let powered = *log.appends_left.lock().unwrap() > 0;
            if !powered {
                std::future::pending::<()>().await;
            }
            let mut durable = log.durable.lock().unwrap();
            let mark = durable.entry(to).or_default();
            *mark = entries.len().max(*mark);
        }
        let decision = if commit { ControlType::Commit } else { ControlType::Abort };
        match service.end(id, producer, decision, protocol).await {
            Ok(next) => {
                if commit {
                    let key = (producer.producer_id.0, producer.epoch.0, number as u32);
                    committed.lock().unwrap().insert(key);
                }
                // What was on its way is too late now: nobody admits it.
                if let Some(last) = last {
                    let late = service.verify(id, producer, &[data(last)]).await;
                    assert!(!late.is_ok_and(|(_, added)| added[0]), "admitted after the end");
                }
                producer = next;
            }
            Err(TransactionError::InvalidState) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// How each transaction ended in each partition, by the first marker behind its records.
fn outcomes(log: &SimulatedLog) -> BTreeMap<(i64, i16, u32), Vec<Option<ControlType>>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let partitions = log.partitions.lock().unwrap();
    for entries in partitions.iter().filter(|(to, _)| &*to.topic == "data").map(|(_, all)| all) {
        for (index, entry) in entries.iter().enumerate() {
            let Entry::Data { producer, transaction } = entry else { continue };
            let ended = entries[index..].iter().find_map(|entry| match entry {
                Entry::Marker(marker) if marker.producer_id == producer.producer_id => {
                    Some(marker.control_type)
                }
                _ => None,
            });
            let key = (producer.producer_id.0, producer.epoch.0, *transaction);
            found.entry(key).or_default().push(ended);
        }
    }
    found
}

/// More turns than the longest simulated lives take.
const TURNS_MAX: usize = 2_000;

fn simulate(plans: Vec<Life>, same_id: bool, power: u32, keep: usize) {
    let new_runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build();
    let log = Arc::new(SimulatedLog { appends_left: Mutex::new(power), ..Default::default() });
    let committed = Committed::default();
    let runtime = new_runtime().unwrap();
    runtime.block_on(async {
        let service = service(&log);
        let lives: Vec<_> = plans
            .iter()
            .enumerate()
            .map(|(index, plan)| {
                let id = if same_id { "same".to_owned() } else { format!("id-{index}") };
                let (service, log) = (service.clone(), log.clone());
                let (plan, committed) = (plan.clone(), committed.clone());
                tokio::spawn(async move { produce(service, log, &id, plan, committed).await })
            })
            .collect();
        // All lives end, or wait for a power that does not come back.
        for _ in 0..TURNS_MAX {
            if lives.iter().all(|life| life.is_finished()) {
                return;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(*log.appends_left.lock().unwrap(), 0, "stuck with the power on");
    });
    drop(runtime);
    let log = log.after_crash(keep);
    new_runtime().unwrap().block_on(async {
        let service = service(&log);
        service.recover().await.unwrap();
        for id in ["same", "id-0", "id-1", "id-2"] {
            service.init_producer(id, 60_000, None).await.unwrap();
        }
    });
    for (transaction, ended) in outcomes(&log) {
        let first = ended[0];
        assert!(first.is_some(), "{transaction:?} hangs");
        assert!(ended.iter().all(|end| *end == first), "{transaction:?} is torn: {ended:?}");
        if committed.lock().unwrap().contains(&transaction) {
            assert_eq!(first, Some(ControlType::Commit), "{transaction:?} was acknowledged");
        }
    }
}

fn life() -> impl Strategy<Value = Life> {
    let partitions = proptest::collection::vec(0..3i32, 1..4);
    let plan = proptest::collection::vec((partitions, any::<bool>()), 1..4);
    (any::<bool>(), plan).prop_map(|(v2, plan)| {
        let protocol = if v2 { Protocol::V2 } else { Protocol::V1 };
        Life { protocol, plan }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn all_partitions_agree_whenever_the_power_goes(
        plans in proptest::collection::vec(life(), 1..4),
        same_id: bool,
        power in 0u32..60,
        keep in 0usize..2,
    ) {
        simulate(plans, same_id, power, keep);
    }
}

#[tokio::test]
async fn a_transaction_left_open_is_aborted_and_its_producer_fenced() {
    let log = SimulatedLog { appends_left: Mutex::new(u32::MAX), ..Default::default() };
    let log = Arc::new(log);
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let service = TransactionService::new(
        Arc::new(Shared(log.clone())),
        TransactionConfig::default(),
        Arc::new(|| 1_000),
        Box::new(move |transaction| sender.send(transaction).unwrap()),
    );
    let producer = service.init_producer("id", 20, None).await.unwrap();
    service.add_partitions("id", producer, vec![data(0)], Protocol::V1).await.unwrap();
    let aborted = ended.recv().await.unwrap();
    assert_eq!(aborted.decision, ControlType::Abort);
    let late = service.end("id", producer, ControlType::Commit, Protocol::V1).await;
    assert_eq!(late, Err(TransactionError::Fenced));
    let entries = log.partitions.lock().unwrap()[&data(0)].clone();
    let [Entry::Marker(marker)] = entries[..] else { panic!("{entries:?}") };
    assert_eq!(marker.control_type, ControlType::Abort);
    assert!(marker.epoch > producer.epoch);
}

#[tokio::test]
async fn ids_that_nobody_uses_are_forgotten_for_good() {
    let log = SimulatedLog { appends_left: Mutex::new(u32::MAX), ..Default::default() };
    let log = Arc::new(log);
    let now = Arc::new(std::sync::atomic::AtomicI64::new(1_000));
    let clock = now.clone();
    let config = TransactionConfig { id_expiration_ms: 500, ..TransactionConfig::default() };
    let service = TransactionService::new(
        Arc::new(Shared(log.clone())),
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
    let log = SimulatedLog { appends_left: Mutex::new(u32::MAX), ..Default::default() };
    let log = Arc::new(log);
    *log.refuses.lock().unwrap() = Some(data(1));
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let service = TransactionService::new(
        Arc::new(Shared(log.clone())),
        TransactionConfig::default(),
        Arc::new(|| 1_000),
        Box::new(move |transaction| sender.send(transaction).unwrap()),
    );
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
    let markers = |partition| log.partitions.lock().unwrap()[&data(partition)].len();
    assert_eq!((markers(0), markers(1)), (1, 1), "and to each partition once");
    let retried = service.end("id", producer, ControlType::Commit, Protocol::V2).await.unwrap();
    assert_eq!(retried.epoch, ProducerEpoch(1));
}
