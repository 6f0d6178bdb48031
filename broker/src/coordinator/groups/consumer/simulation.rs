//! Whole consumers of both protocols against one group: they join, report, revoke late, leave, die
//! and come back; requests and answers are lost; topics grow, come and go; appends are refused;
//! the coordinator loses power and is replayed from its log. Each seed is one life of a group, and
//! the same again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::assignment::{Assignment, Place};
use super::changes::{Change, KeptGroup};
use super::heartbeat::{Beat, Beaten, Refusal};
use super::member::{AWAY, JOINING, LEAVING};
use super::tests::{classic, topic};
use super::topics::{TopicFacts, Topics};
use super::*;
use crate::coordinator::Waiter;
use crate::coordinator::groups::any::{AnyGroup, Around, Kind};
use crate::coordinator::groups::group::{Group, GroupConfig, GroupState};
use crate::coordinator::groups::messages::*;
use crate::coordinator::groups::simulation::{Seeded, for_each_seed};
use crate::protocol::message::Message;
use crate::protocol::messages::consumer_protocol::{
    self, ConsumerProtocolAssignment, TopicPartition,
};

const CONSUMERS: usize = 5;
const BEAT_MS: u64 = 5_000;
/// Longer than a group needs to settle once nothing disturbs it.
const CALM_MS: u64 = 400_000;
const SEEDS: u64 = 300;
const STEPS: usize = 300;

/// What a consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Beat(Waiter),
    Join(Waiter),
    Sync(Waiter),
}

#[derive(Clone, Debug)]
struct Consumer {
    speaks_classic: bool,
    instance_id: Option<InstanceId>,
    member_id: MemberId,
    /// Or the generation, for one of the classic protocol.
    epoch: i32,
    owned: Assignment,
    /// What it has been told to own; it lets go of the rest first, in its own time.
    told: Assignment,
    asked: Asked,
    /// The next heartbeat tells everything.
    tells_all: bool,
    /// It has joined a generation, and who is in it if it leads.
    joined: Option<Joined>,
    is_member: bool,
    next_beat_ms: u64,
    dead: bool,
    lives: u128,
}

impl Consumer {
    fn begin_anew(&mut self) {
        (self.epoch, self.is_member, self.joined) = (JOINING, false, None);
        (self.owned, self.told) = (Assignment::default(), Assignment::default());
        (self.asked, self.tells_all) = (Asked::Nothing, true);
    }
}

/// What is durable.
#[derive(Clone, Debug, Default)]
struct Durable {
    classic: Option<GroupSnapshot>,
    consumer: KeptGroup,
}

impl Durable {
    fn apply(&mut self, change: Change) {
        match &change {
            Change::Classic(snapshot) => self.classic.clone_from(snapshot),
            Change::Epoch(Some(_)) => self.classic = None,
            _ => {}
        }
        self.consumer.apply(change);
    }
}

struct World {
    random: Seeded,
    config: GroupConfig,
    group: AnyGroup,
    topics: Topics,
    /// By name: id and partitions.
    there: BTreeMap<&'static str, (u128, i32)>,
    created: u128,
    now_ms: u64,
    waiters: u64,
    durable: Durable,
    /// What is on its way to the log, and the answers behind it, in order.
    held: VecDeque<Output>,
    consumers: Vec<Consumer>,
    newest_epoch: i32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Seeded::new(seed);
        let policy = MigrationPolicy::ALL[random.below(4) as usize];
        // Often all speak the new protocol.
        let classics = if random.one_in(2) { random.below(CONSUMERS as u64) as usize } else { 0 };
        let mut config = GroupConfig::default();
        config.consumer.migration = policy;
        let consumer = |index: usize| Consumer {
            speaks_classic: index < classics,
            instance_id: (index >= CONSUMERS - 2 && index >= classics)
                .then(|| InstanceId(format!("fixed-{index}").into())),
            member_id: MemberId::default(),
            epoch: JOINING,
            owned: Assignment::default(),
            told: Assignment::default(),
            asked: Asked::Nothing,
            tells_all: true,
            joined: None,
            is_member: false,
            next_beat_ms: 0,
            dead: true,
            lives: 0,
        };
        let mut world = World {
            random,
            config,
            group: AnyGroup::new(Now { elapsed_ms: 0, wall_ms: 0 }),
            topics: Topics::default(),
            there: BTreeMap::from([("t", (1, 4))]),
            created: 1,
            now_ms: 0,
            waiters: 0,
            durable: Durable::default(),
            held: VecDeque::new(),
            consumers: (0..CONSUMERS).map(consumer).collect(),
            newest_epoch: 0,
        };
        world.look_again();
        world
    }

    fn look_again(&mut self) {
        let facts = self.there.iter().map(|(name, (id, partitions))| {
            (Arc::from(*name), TopicFacts { id: topic(*id), partitions: *partitions })
        });
        self.topics = Topics::new(self.topics.version() + 1, facts);
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut AnyGroup, Around<'_>, &mut Vec<Output>) -> T) -> T {
        let now = Now { elapsed_ms: self.now_ms, wall_ms: self.now_ms as i64 };
        let consumer = Surroundings { config: &self.config.consumer, topics: &self.topics, now };
        let around = Around { classic: &self.config, consumer, share: &self.config.share };
        let mut out = Vec::new();
        let done = act(&mut self.group, around, &mut out);
        self.take(out);
        done
    }

    /// Answers that rest on a record wait for it.
    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            let is_record = matches!(output, Output::Persist(_) | Output::Keep(_));
            if is_record || !self.held.is_empty() {
                self.held.push_back(output);
            } else {
                self.deliver(output);
            }
        }
        match self.group.kind() {
            Kind::Consumer(group) => {
                assert!(group.epoch() >= self.newest_epoch, "epochs only grow");
                self.newest_epoch = group.epoch();
            }
            // After that it begins anew.
            Kind::Classic(group) if group.members.is_empty() => self.newest_epoch = 0,
            Kind::Classic(group) => self.newest_epoch = group.generation(),
            Kind::Share(_) => unreachable!("nobody asks for one"),
        }
    }

    /// The log has written everything.
    fn flush(&mut self) {
        for output in std::mem::take(&mut self.held) {
            match output {
                Output::Persist(snapshot) => self.durable.apply(Change::Classic(Some(snapshot))),
                Output::Keep(changes) => {
                    changes.into_iter().for_each(|change| self.durable.apply(change));
                }
                answer => self.deliver(answer),
            }
        }
        // What was refused is told with what changes next.
        if let Kind::Consumer(group) = self.group.kind()
            && group.changed == Changed::default()
        {
            assert_eq!(self.durable.consumer, group.kept(), "what is kept is what there is");
        }
    }

    /// The log refuses all that is on its way, and all who wait for it hear of that.
    fn refuse(&mut self) {
        let mut lost = Vec::new();
        for output in std::mem::take(&mut self.held) {
            match output {
                Output::Persist(snapshot) => lost.push(Change::Classic(Some(snapshot))),
                Output::Keep(changes) => lost.extend(changes),
                answer => self.deliver(failed(answer)),
            }
        }
        if !lost.is_empty() {
            self.act(|group, around, out| group.not_kept(&lost, around.consumer.now, out));
        }
    }

    fn deliver(&mut self, output: Output) {
        match output {
            Output::Beat(waiter, answer) => {
                if let Some(index) = self.waiting(Asked::Beat(waiter)) {
                    self.heard_of_beat(index, answer);
                }
            }
            Output::Join(waiter, answer) => {
                if let Some(index) = self.waiting(Asked::Join(waiter)) {
                    self.heard_of_join(index, answer);
                }
            }
            Output::Sync(waiter, answer) => {
                if let Some(index) = self.waiting(Asked::Sync(waiter)) {
                    self.heard_of_sync(index, answer);
                }
            }
            Output::Persist(_) | Output::Keep(_) => unreachable!("they are held"),
        }
    }

    fn waiting(&mut self, asked: Asked) -> Option<usize> {
        let index = self.consumers.iter().position(|one| one.asked == asked)?;
        self.consumers[index].asked = Asked::Nothing;
        Some(index)
    }

    fn heard_of_beat(&mut self, index: usize, answer: Result<Beaten, Refusal>) {
        let next_beat_ms = self.now_ms + BEAT_MS;
        let consumer = &mut self.consumers[index];
        consumer.next_beat_ms = next_beat_ms;
        match answer {
            Ok(beaten) => {
                assert!(beaten.epoch >= consumer.epoch, "the epochs of a member only grow");
                (consumer.epoch, consumer.is_member) = (beaten.epoch, true);
                consumer.tells_all = false;
                if let Some(told) = beaten.assignment {
                    consumer.told = told;
                    // At once: the next heartbeat may be the one that counts.
                    consumer.next_beat_ms = self.now_ms;
                }
            }
            Err(refusal) if refusal.error == GroupError::CoordinatorNotAvailable => {
                consumer.tells_all = true;
            }
            Err(_) => consumer.begin_anew(),
        }
    }

    fn heard_of_join(&mut self, index: usize, answer: Result<Joined, JoinRefused>) {
        let consumer = &mut self.consumers[index];
        match answer {
            Ok(joined) => {
                (consumer.member_id, consumer.epoch) =
                    (joined.member_id.clone(), joined.generation);
                consumer.joined = Some(joined);
            }
            Err(refused) => {
                let known = consumer.member_id.clone();
                consumer.begin_anew();
                consumer.member_id = match refused.error {
                    GroupError::MemberIdRequired => refused.member_id,
                    GroupError::RebalanceInProgress | GroupError::CoordinatorNotAvailable => known,
                    _ => MemberId::default(),
                };
            }
        }
    }

    fn heard_of_sync(&mut self, index: usize, answer: Result<Synced, GroupError>) {
        let (topics, next_beat_ms) = (&self.topics, self.now_ms + 1_000);
        let consumer = &mut self.consumers[index];
        match answer {
            Ok(synced) => {
                let read =
                    consumer_protocol::decode::<ConsumerProtocolAssignment>(&synced.assignment);
                let read = read.map(|(_, assignment)| assignment).unwrap_or_default();
                let named = read.assigned_partitions.iter();
                consumer.told =
                    topics.places(named.map(|one| (one.topic.as_str(), one.partitions.as_slice())));
                (consumer.is_member, consumer.next_beat_ms) = (true, next_beat_ms);
            }
            Err(error) => {
                let known = consumer.member_id.clone();
                consumer.begin_anew();
                let again = [GroupError::RebalanceInProgress, GroupError::CoordinatorNotAvailable];
                consumer.member_id =
                    if again.contains(&error) { known } else { MemberId::default() };
            }
        }
    }

    fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        Waiter(self.waiters)
    }

    fn beat(&mut self, index: usize) {
        let waiter = self.waiter();
        let consumer = &mut self.consumers[index];
        let all = consumer.tells_all || consumer.epoch == JOINING;
        let topics = || vec![Arc::from("t"), Arc::from("u")];
        let beat = Beat {
            member_id: consumer.member_id.clone(),
            epoch: consumer.epoch,
            instance_id: consumer.instance_id.clone(),
            rebalance_timeout_ms: all.then_some(20_000),
            // One by name, the others by expression.
            topics: (all && index == 0).then(topics),
            regex: (all && index > 0).then(|| Arc::from("t|u")),
            owned: Some(consumer.owned.clone()),
            ..Beat::default()
        };
        consumer.asked = Asked::Beat(waiter);
        self.act(|group, around, out| group.beat(waiter, beat, around, out));
    }

    fn join(&mut self, index: usize) {
        let waiter = self.waiter();
        let fresh = Uuid::from_u128(u128::from(self.random.next()));
        let consumer = &mut self.consumers[index];
        // All of it is let go before a rebalance.
        consumer.owned = Assignment::default();
        consumer.told = Assignment::default();
        let request = JoinRequest {
            rebalance_timeout_ms: 20_000,
            fresh,
            ..classic(&consumer.member_id.0, &["t", "u"], &[])
        };
        consumer.asked = Asked::Join(waiter);
        self.act(|group, around, out| group.join(waiter, request, around, out));
    }

    /// The leader shares out the partitions, everyone else asks for its part.
    fn sync(&mut self, index: usize) {
        let Some(joined) = self.consumers[index].joined.take() else { return };
        let waiter = self.waiter();
        let count = joined.members.len();
        let mut shares: Vec<Vec<TopicPartition>> = vec![Vec::new(); count];
        if count > 0 {
            for (name, (_, partitions)) in &self.there {
                for partition in 0..*partitions {
                    let (topic, partitions) = ((*name).to_owned(), vec![partition]);
                    shares[partition as usize % count].push(TopicPartition { topic, partitions });
                }
            }
        }
        let assignments = joined.members.iter().zip(shares).map(|(member, share)| {
            let share = ConsumerProtocolAssignment { assigned_partitions: share, user_data: None };
            (member.member_id.clone(), share.encode_versioned(1).unwrap())
        });
        let member = MemberClaim {
            member_id: joined.member_id.clone(),
            instance_id: None,
            generation: joined.generation,
        };
        let assignments = assignments.collect();
        let request = SyncRequest { member, protocol_type: None, protocol: None, assignments };
        self.consumers[index].asked = Asked::Sync(waiter);
        self.act(|group, around, out| group.sync(waiter, request, around, out));
    }

    fn claim(&self, index: usize) -> MemberClaim {
        let consumer = &self.consumers[index];
        let (member_id, generation) = (consumer.member_id.clone(), consumer.epoch);
        MemberClaim { member_id, instance_id: None, generation }
    }

    fn classic_beat(&mut self, index: usize) {
        let claim = self.claim(index);
        let beaten = self.act(|group, around, _| group.heartbeat(&claim, around.consumer.now));
        let next_beat_ms = self.now_ms + 1_000;
        let consumer = &mut self.consumers[index];
        consumer.next_beat_ms = next_beat_ms;
        if let Err(error) = beaten {
            let known = consumer.member_id.clone();
            consumer.begin_anew();
            let stays = error == GroupError::RebalanceInProgress;
            consumer.member_id = if stays { known } else { MemberId::default() };
        }
    }

    /// What a consumer does by itself.
    fn go_on(&mut self, index: usize) {
        let consumer = &self.consumers[index];
        let is_due = consumer.next_beat_ms <= self.now_ms;
        if consumer.dead || consumer.asked != Asked::Nothing {
            return;
        }
        match (consumer.speaks_classic, consumer.is_member) {
            (false, _) if is_due => self.beat(index),
            (true, true) if is_due => self.classic_beat(index),
            (true, false) if consumer.joined.is_some() => self.sync(index),
            (true, false) => self.join(index),
            _ => {}
        }
    }

    /// It lets go of what it has to; once it has, it takes what it may. But it takes nothing while
    /// a heartbeat is under way in which it said that it does not own it: the coordinator may rely
    /// on that.
    fn reconcile(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        if consumer.dead || consumer.owned == consumer.told {
            return;
        }
        let gone = consumer.owned.without(&consumer.told);
        consumer.owned = match gone.is_empty() {
            true if matches!(consumer.asked, Asked::Beat(_)) => return,
            true => consumer.told.clone(),
            false => consumer.owned.and(&consumer.told),
        };
        consumer.next_beat_ms = self.now_ms;
    }

    fn leave(&mut self, index: usize) {
        let waiter = self.waiter();
        let consumer = &mut self.consumers[index];
        if consumer.dead || !consumer.is_member {
            return;
        }
        let (id, instance_id) = (consumer.member_id.clone(), consumer.instance_id.clone());
        let (speaks_classic, away) = (consumer.speaks_classic, instance_id.is_some());
        consumer.begin_anew();
        consumer.dead = true;
        if speaks_classic {
            let leaving = LeavingMember { member_id: id, instance_id: None };
            _ = self.act(|group, around, out| group.leave(&leaving, around, out));
            return;
        }
        let epoch = if away { AWAY } else { LEAVING };
        let beat = Beat { member_id: id, epoch, instance_id, ..Beat::default() };
        self.act(|group, around, out| group.beat(waiter, beat, around, out));
    }

    fn die(&mut self, index: usize) {
        self.consumers[index].begin_anew();
        self.consumers[index].dead = true;
    }

    fn begin(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        if !consumer.dead {
            return;
        }
        (consumer.dead, consumer.next_beat_ms) = (false, self.now_ms);
        consumer.lives += 1;
        consumer.member_id = match consumer.speaks_classic {
            true => MemberId::default(),
            false => MemberId(format!("new-{index}-{}", consumer.lives).into()),
        };
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.group.next_deadline_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            self.act(|group, around, out| group.tick(around, out));
        }
        self.now_ms = until;
    }

    /// Its request or the answer to it is lost; it cannot tell which.
    fn lose(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        match consumer.asked {
            Asked::Nothing => {}
            Asked::Beat(_) => (consumer.asked, consumer.tells_all) = (Asked::Nothing, true),
            Asked::Join(_) | Asked::Sync(_) => {
                let known = consumer.member_id.clone();
                consumer.begin_anew();
                consumer.member_id = known;
            }
        }
    }

    /// The coordinator loses power: what was on its way is lost, connections end.
    fn restart(&mut self) {
        self.held.clear();
        let now = Now { elapsed_ms: self.now_ms, wall_ms: self.now_ms as i64 };
        let Durable { classic, consumer } = self.durable.clone();
        self.group = match classic {
            Some(snapshot) => AnyGroup::of(Kind::Classic(Group::restore(snapshot, now))),
            None if consumer.epoch.is_some() => {
                let group = ConsumerGroup::restore(consumer, &self.config.consumer, now);
                AnyGroup::of(Kind::Consumer(Box::new(group)))
            }
            None => AnyGroup::new(now),
        };
        // What nobody was told need not have been.
        self.newest_epoch = 0;
        (0..CONSUMERS).for_each(|index| self.lose(index));
    }

    fn change_topics(&mut self) {
        let more = self.random.one_in(2);
        if more && let Some((_, partitions)) = self.there.get_mut("t") {
            *partitions = (*partitions + 1).min(7);
        } else if self.there.remove("u").is_none() {
            self.created += 1;
            self.there.insert("u", (self.created, 2));
        }
        self.look_again();
    }

    fn disturb(&mut self) {
        let index = self.random.below(CONSUMERS as u64) as usize;
        match self.random.below(60) {
            0 => self.leave(index),
            1 => self.die(index),
            2 => self.restart(),
            3 => self.refuse(),
            4 => self.change_topics(),
            5..8 => self.lose(index),
            8..12 => self.begin(index),
            12..20 => self.flush(),
            20..24 => {
                let ms = self.random.below(9_000);
                self.wait(ms);
            }
            24..36 => self.reconcile(index),
            _ => self.go_on(index),
        }
        self.check();
    }

    /// Of those that may commit, no two own the same.
    fn check(&self) {
        let mut owners: BTreeMap<Place, usize> = BTreeMap::new();
        for index in 0..CONSUMERS {
            let claim = self.claim(index);
            let consumer = &self.consumers[index];
            let may = match self.group.kind() {
                Kind::Consumer(group) => group.check_commit(&claim, false, true).is_ok(),
                Kind::Classic(group) => {
                    group.check_member(&claim).is_ok()
                        && group.state() != GroupState::CompletingRebalance
                }
                Kind::Share(_) => unreachable!("nobody asks for one"),
            };
            // It lets go of everything before it joins again.
            if !consumer.is_member || !may {
                continue;
            }
            for place in consumer.owned.iter() {
                let before = owners.insert(place, index);
                assert_eq!(before, None, "{place:?} is owned by {index}, too");
            }
        }
    }

    /// Nothing disturbs it any more: all who are alive share all partitions.
    fn settle(&mut self) {
        self.begin(0);
        let until = self.now_ms + CALM_MS;
        while self.now_ms < until {
            for index in 0..CONSUMERS {
                self.go_on(index);
                self.flush();
                self.reconcile(index);
            }
            self.check();
            self.wait(1_000);
        }
        // Where the policy keeps a group what it is, those of the other protocol stay outside.
        let is_stable = match self.group.kind() {
            Kind::Classic(group) => group.state() == GroupState::Stable,
            Kind::Consumer(group) => group.state() == ConsumerState::Stable,
            Kind::Share(_) => unreachable!("nobody asks for one"),
        };
        let members = self.consumers.iter().filter(|one| !one.dead && one.is_member);
        assert!(is_stable, "{:?}", self.group);
        let mut owned: Vec<Place> = members.flat_map(|one| one.owned.iter()).collect();
        owned.sort_unstable();
        let all = self
            .there
            .values()
            .flat_map(|(id, count)| (0..*count).map(|partition| (topic(*id), partition)));
        let mut all: Vec<Place> = all.collect();
        all.sort_unstable();
        // A classic leader learns of new topics by itself, which these do not look for.
        if matches!(self.group.kind(), Kind::Consumer(_)) {
            assert_eq!(owned, all);
        }
    }
}

fn failed(answer: Output) -> Output {
    let error = GroupError::CoordinatorNotAvailable;
    match answer {
        Output::Beat(waiter, _) => Output::Beat(waiter, Err(error.into())),
        Output::Sync(waiter, _) => Output::Sync(waiter, Err(error)),
        Output::Join(waiter, _) => {
            let member_id = MemberId::default();
            Output::Join(waiter, Err(JoinRefused { error, member_id }))
        }
        record => record,
    }
}

#[test]
fn partitions_have_one_owner_whatever_happens() {
    for_each_seed(SEEDS, |seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.disturb();
        }
        world.settle();
    });
}
