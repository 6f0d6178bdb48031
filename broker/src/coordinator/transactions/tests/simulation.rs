//! A seeded simulation of the whole coordinator. Producers of all protocols live, and fence each
//! other, over partitions in memory; the power goes after any number of steps, and of what was
//! not synced each partition keeps a part of its own. Then the coordinator recovers, and all of it
//! begins again on what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};
use proptest::prelude::*;

use super::super::listing::TransactionFilter;
use super::super::machine::{ProducerIdentity, Protocol, Status, TransactionError};
use super::super::service::{EndedTransaction, TransactionConfig, TransactionService};
use super::data;
use crate::coordinator::state_log::{
    Marker, OpenTransaction, StateLog, StateLogError, TRANSACTIONS_TOPIC, TransactionLog,
};
use crate::ids::{Offset, ProducerEpoch, ProducerId, TopicPartition};
use crate::record::{ControlType, RecordBatch};

/// What lies in a simulated partition.
#[derive(Clone, Debug)]
pub enum Entry {
    Kept(RecordBatch),
    Data { producer: ProducerIdentity, transaction: u32 },
    Marker(Marker),
}

impl Entry {
    /// Who has written it or is ended by it.
    fn identity(&self) -> Option<ProducerIdentity> {
        match self {
            Entry::Kept(_) => None,
            Entry::Data { producer, .. } => Some(*producer),
            Entry::Marker(Marker { producer_id, epoch, .. }) => {
                Some(ProducerIdentity { producer_id: *producer_id, epoch: *epoch })
            }
        }
    }
}

/// Partitions in memory, and a power supply that fails after so many steps: from then on nothing
/// is written, nothing becomes durable, and nobody gets an answer.
#[derive(Debug)]
pub struct SimulatedLog {
    partitions: Mutex<BTreeMap<TopicPartition, Vec<Entry>>>,
    /// Entries that survive, by partition.
    durable: Mutex<BTreeMap<TopicPartition, usize>>,
    steps_left: Mutex<u32>,
    /// Takes no markers.
    pub refuses: Mutex<Option<TopicPartition>>,
}

impl SimulatedLog {
    pub fn new(steps: u32) -> Arc<SimulatedLog> {
        SimulatedLog::with(BTreeMap::new(), steps)
    }

    fn with(partitions: BTreeMap<TopicPartition, Vec<Entry>>, steps: u32) -> Arc<SimulatedLog> {
        let durable = partitions.iter().map(|(to, entries)| (to.clone(), entries.len())).collect();
        Arc::new(SimulatedLog {
            partitions: Mutex::new(partitions),
            durable: Mutex::new(durable),
            steps_left: Mutex::new(steps),
            refuses: Mutex::default(),
        })
    }

    pub fn entries(&self, of: &TopicPartition) -> Vec<Entry> {
        self.partitions.lock().unwrap().get(of).cloned().unwrap_or_default()
    }

    /// False if the power is off by now.
    fn step(&self) -> bool {
        let mut left = self.steps_left.lock().unwrap();
        let powered = *left > 0;
        *left = left.saturating_sub(1);
        powered
    }

    fn is_on(&self) -> bool {
        *self.steps_left.lock().unwrap() > 0
    }

    /// The offset, unless the power is off.
    fn push(&self, to: &TopicPartition, entry: Entry) -> Option<Offset> {
        if !self.step() {
            return None;
        }
        let mut partitions = self.partitions.lock().unwrap();
        let entries = partitions.entry(to.clone()).or_default();
        entries.push(entry);
        Some(Offset(entries.len() as i64 - 1))
    }

    /// An fsync, which makes durable all that is there when it begins.
    async fn sync(&self, of: &TopicPartition, offset: Offset) {
        let is_durable =
            || self.durable.lock().unwrap().get(of).is_some_and(|end| *end > offset.0 as usize);
        if is_durable() {
            return;
        }
        let end = self.entries(of).len();
        tokio::task::yield_now().await;
        if !self.step() {
            return std::future::pending().await;
        }
        let mut durable = self.durable.lock().unwrap();
        let mark = durable.entry(of.clone()).or_default();
        *mark = end.max(*mark);
    }

    /// The partition takes only the newest epoch it has seen of a producer id, as the log does.
    fn write(&self, to: i32, producer: ProducerIdentity, transaction: u32) -> Option<Offset> {
        let newest = self.newest_epoch(&data(to), producer.producer_id);
        if newest.is_some_and(|newest| newest > producer.epoch) {
            return None;
        }
        self.push(&data(to), Entry::Data { producer, transaction })
    }

    fn newest_epoch(&self, of: &TopicPartition, producer: ProducerId) -> Option<ProducerEpoch> {
        let entries = self.entries(of);
        let own = entries.iter().filter_map(Entry::identity);
        own.filter(|own| own.producer_id == producer).map(|own| own.epoch).max()
    }

    /// What is left after a power cut; each partition keeps as much of what was not yet durable
    /// as `keep` says. A kill keeps all.
    fn after_crash(&self, mut keep: impl FnMut(usize) -> usize, steps: u32) -> Arc<SimulatedLog> {
        let durable = self.durable.lock().unwrap();
        let mut partitions = self.partitions.lock().unwrap().clone();
        for (partition, entries) in &mut partitions {
            let synced = durable.get(partition).copied().unwrap_or(0);
            entries.truncate(synced + keep(entries.len() - synced));
        }
        SimulatedLog::with(partitions, steps)
    }
}

/// The log as the service holds it.
pub struct Shared(pub Arc<SimulatedLog>);

impl StateLog for Shared {
    fn append(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> BoxFuture<'static, Result<Offset, StateLogError>> {
        let pushed = self.0.push(to, Entry::Kept(batch));
        let (log, to) = (self.0.clone(), to.clone());
        async move {
            let Some(offset) = pushed else { return std::future::pending().await };
            log.sync(&to, offset).await;
            Ok(offset)
        }
        .boxed()
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
        match self.0.push(to, Entry::Marker(marker)) {
            Some(offset) => futures::future::ready(Ok(Some(offset))).boxed(),
            None => futures::future::pending().boxed(),
        }
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
        for entry in self.0.entries(from) {
            if let Entry::Kept(batch) = entry {
                each(batch);
            }
        }
        Ok(())
    }
}

impl TransactionLog for Shared {
    fn append_unsynced(
        &self,
        to: &TopicPartition,
        batch: RecordBatch,
    ) -> Result<Offset, StateLogError> {
        // Without power it is as good as any other offset: there is no going on from here.
        Ok(self.0.push(to, Entry::Kept(batch)).unwrap_or_default())
    }

    fn synced(
        &self,
        of: &TopicPartition,
        offset: Offset,
    ) -> BoxFuture<'static, Result<(), StateLogError>> {
        let (log, of) = (self.0.clone(), of.clone());
        async move {
            log.sync(&of, offset).await;
            Ok(())
        }
        .boxed()
    }

    fn producer_epoch(&self, of: &TopicPartition, producer: ProducerId) -> Option<ProducerEpoch> {
        self.0.newest_epoch(of, producer)
    }

    fn open_transactions(&self) -> Vec<OpenTransaction> {
        let mut open = BTreeMap::new();
        for (partition, entries) in self.0.partitions.lock().unwrap().iter() {
            for entry in entries {
                let Some(ProducerIdentity { producer_id, epoch }) = entry.identity() else {
                    continue;
                };
                let at = (partition.clone(), producer_id);
                match entry {
                    Entry::Data { .. } => _ = open.insert(at, epoch),
                    _ => _ = open.remove(&at),
                }
            }
        }
        let describe =
            |((partition, producer_id), epoch)| OpenTransaction { partition, producer_id, epoch };
        open.into_iter().map(describe).collect()
    }
}

pub fn service(log: &Arc<SimulatedLog>) -> Arc<TransactionService> {
    service_with(log, |_| {})
}

pub fn service_with(
    log: &Arc<SimulatedLog>,
    on_ended: impl Fn(EndedTransaction) + Send + Sync + 'static,
) -> Arc<TransactionService> {
    let log = Arc::new(Shared(log.clone()));
    let config = TransactionConfig::default();
    TransactionService::new(log, config, Arc::new(|| 1_000), Box::new(on_ended))
}

/// A transaction: producer id, epoch, number.
type Key = (i64, i16, u32);

/// What producers know.
#[derive(Debug, Default)]
struct Known {
    /// They have asked for these to be committed.
    asked: BTreeSet<Key>,
    /// And were told that they were; with the number of their records.
    committed: BTreeMap<Key, usize>,
}

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
    id: String,
    first: u32,
    Life { protocol, plan }: Life,
    known: Arc<Mutex<Known>>,
) -> Result<(), TransactionError> {
    let mut producer = service.init_producer(&id, 60_000, None).await?;
    for (number, (partitions, commit)) in (first..).zip(plan) {
        let mut written = Vec::new();
        for partition in partitions {
            let to = vec![data(partition)];
            let admission = service.admit(&id, producer, to, protocol).await?;
            // In the broker's own process nobody holds on to it, the partition's word is enough.
            let admission = (protocol != Protocol::InProcess).then_some(admission);
            tokio::task::yield_now().await;
            match log.write(partition, producer, number) {
                Some(offset) => written.push((data(partition), offset)),
                None if log.is_on() => return Err(TransactionError::Fenced),
                None => std::future::pending().await,
            }
            drop(admission);
            tokio::task::yield_now().await;
        }
        // What was acknowledged, or is about to be committed, is durable.
        let synced = written.iter().map(|(of, offset)| log.sync(of, *offset).map(Ok));
        futures::future::try_join(try_join_all(synced), service.settled(&id)).await?;
        let key = (producer.producer_id.0, producer.epoch.0, number);
        let decision = if commit { ControlType::Commit } else { ControlType::Abort };
        if commit {
            known.lock().unwrap().asked.insert(key);
        }
        match service.end(&id, producer, decision, protocol).await {
            Ok(next) => {
                if commit {
                    known.lock().unwrap().committed.insert(key, written.len());
                }
                // What was on its way is too late now: nobody admits it.
                if let Some((last, _)) = written.last() {
                    let late = service.verify(&id, producer, std::slice::from_ref(last)).await;
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
fn outcomes(log: &SimulatedLog) -> BTreeMap<Key, Vec<Option<ControlType>>> {
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

/// What happens between two starts of the broker.
#[derive(Clone, Debug)]
struct Round {
    lives: Vec<Life>,
    same_id: bool,
    /// Steps until the power goes.
    power: u32,
    /// Steps of recovering after that until it goes again.
    recovery: u32,
    /// How much of what was not synced each partition keeps: that share of 4.
    keep: Vec<usize>,
}

fn simulate(rounds: &[Round]) {
    let known = Arc::new(Mutex::new(Known::default()));
    let mut log = SimulatedLog::new(0);
    for (index, round) in rounds.iter().enumerate() {
        log = log.after_crash(|unsynced| unsynced, round.power);
        run(&log, round, index as u32 * 100, &known);
        log = log.after_crash(keep_some(&round.keep), u32::MAX);
        check(&log.after_crash(|unsynced| unsynced, u32::MAX), &known.lock().unwrap());
        // Recovering can be cut short like anything else.
        log = log.after_crash(|unsynced| unsynced, round.recovery);
        turn(async |()| _ = recover(&log).await);
        log = log.after_crash(keep_some(&round.keep), u32::MAX);
        check(&log.after_crash(|unsynced| unsynced, u32::MAX), &known.lock().unwrap());
    }
}

fn keep_some(shares: &[usize]) -> impl FnMut(usize) -> usize {
    let mut shares = shares.iter().cycle();
    move |unsynced| (unsynced * shares.next().unwrap_or(&0)).div_ceil(4)
}

fn turn(work: impl AsyncFnOnce(())) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(work(()));
}

/// The coordinator, unless the power goes before it is ready.
async fn recover(log: &Arc<SimulatedLog>) -> Option<Arc<TransactionService>> {
    let service = service(log);
    let recovering = service.clone();
    let recovered = tokio::spawn(async move { recovering.recover().await });
    if finished(&[&recovered]).await {
        recovered.await.unwrap().unwrap();
        return Some(service);
    }
    assert!(!log.is_on(), "stuck with the power on");
    None
}

/// All lives, until they end or the power goes.
fn run(log: &Arc<SimulatedLog>, round: &Round, first: u32, known: &Arc<Mutex<Known>>) {
    turn(async |()| {
        let Some(service) = recover(log).await else { return };
        let lives = round.lives.iter().enumerate().map(|(index, life)| {
            let id = if round.same_id { "same".to_owned() } else { format!("id-{index}") };
            let life =
                produce(service.clone(), log.clone(), id, first, life.clone(), known.clone());
            tokio::spawn(life)
        });
        let lives: Vec<_> = lives.collect();
        let all: Vec<_> = lives.iter().collect();
        if !finished(&all).await {
            assert!(!log.is_on(), "stuck with the power on");
        }
        for life in lives {
            assert!(life.now_or_never().is_none_or(|life| life.is_ok()), "panicked");
        }
    });
}

async fn finished<T>(tasks: &[&tokio::task::JoinHandle<T>]) -> bool {
    for _ in 0..TURNS_MAX {
        if tasks.iter().all(|task| task.is_finished()) {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

fn check(log: &Arc<SimulatedLog>, known: &Known) {
    turn(async |()| {
        let service = service(log);
        service.recover().await.unwrap();
        let all = TransactionFilter { open_for_ms: -1, ..TransactionFilter::default() };
        let listed = service.list(&all).await;
        for open in Shared(log.clone()).open_transactions() {
            let by = ProducerIdentity { producer_id: open.producer_id, epoch: open.epoch };
            let mut ongoing = listed.iter().filter(|one| one.status == Status::Ongoing);
            let holds =
                ongoing.any(|one| one.producer == by && one.partitions.contains(&open.partition));
            assert!(holds, "{open:?} is open for ever");
        }
        for id in ["same", "id-0", "id-1", "id-2"] {
            service.init_producer(id, 60_000, None).await.unwrap();
        }
    });
    let outcomes = outcomes(log);
    for (transaction, ended) in &outcomes {
        let first = ended[0];
        assert!(first.is_some(), "{transaction:?} hangs");
        assert!(ended.iter().all(|end| *end == first), "{transaction:?} is torn: {ended:?}");
        let visible = first == Some(ControlType::Commit);
        assert!(!visible || known.asked.contains(transaction), "{transaction:?} was not asked for");
    }
    for (transaction, records) in &known.committed {
        let found = outcomes.get(transaction).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(found.len(), *records, "{transaction:?} was acknowledged and is not whole");
        let committed = found.iter().all(|end| *end == Some(ControlType::Commit));
        assert!(committed, "{transaction:?} was acknowledged: {found:?}");
    }
}

fn life() -> impl Strategy<Value = Life> {
    let protocol = prop_oneof![Just(Protocol::V1), Just(Protocol::V2), Just(Protocol::InProcess)];
    let partitions = proptest::collection::vec(0..3i32, 1..4);
    let plan = proptest::collection::vec((partitions, any::<bool>()), 1..5);
    (protocol, plan).prop_map(|(protocol, plan)| Life { protocol, plan })
}

fn round() -> impl Strategy<Value = Round> {
    let lives = proptest::collection::vec(life(), 1..4);
    let keep = proptest::collection::vec(0..5usize, 1..6);
    (lives, any::<bool>(), 0u32..120, 0u32..20, keep).prop_map(
        |(lives, same_id, power, recovery, keep)| Round { lives, same_id, power, recovery, keep },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn all_partitions_agree_whenever_the_power_goes(
        rounds in proptest::collection::vec(round(), 1..4),
    ) {
        simulate(&rounds);
    }
}
