//! Whole consumers against one group: they join, lead, heartbeat, commit, lag, leave, die and come
//! back, some as static members, while the coordinator loses power and is replayed from its log.
//! Each seed is one life of a group, and the same again.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use uuid::Uuid;

use super::group::{Group, GroupConfig, GroupState};
use super::messages::*;
use crate::coordinator::{Now, Waiter};

const PARTITIONS: u8 = 6;
const CONSUMERS: usize = 5;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 20_000;
const HEARTBEAT_MS: u64 = 3_000;
/// Longer than a group needs to settle once nothing disturbs it: all sessions and rebalances that
/// are under way run out, and the next generation begins.
const CALM_MS: u64 = 120_000;
const SEEDS: u64 = 400;
const STEPS: usize = 300;

/// A small generator with a seed: the machines must not have any randomness of their own.
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

/// What a consumer is at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    Out,
    Joining(Waiter),
    /// It has its place in a generation, and those to share it with if it leads.
    Joined(Box<Joined>),
    Syncing(Waiter, i32),
    Member {
        generation: i32,
        owns: Vec<u8>,
    },
}

#[derive(Clone, Debug)]
struct Consumer {
    instance_id: Option<InstanceId>,
    member_id: MemberId,
    at: At,
    next_heartbeat_ms: u64,
    /// Switched off: it does nothing until it is switched on again.
    dead: bool,
}

impl Consumer {
    fn claim(&self, generation: i32) -> MemberClaim {
        let (member_id, instance_id) = (self.member_id.clone(), self.instance_id.clone());
        MemberClaim { member_id, instance_id, generation }
    }
}

/// The coordinator with what it has on its way to the log.
struct World {
    random: Seeded,
    config: GroupConfig,
    group: Group,
    now_ms: u64,
    waiters: u64,
    /// What is durable.
    kept: Option<GroupSnapshot>,
    /// Outputs behind a snapshot that is not durable yet, in order.
    held: VecDeque<Output>,
    consumers: Vec<Consumer>,
    /// Who has had which partition in each generation. A static member is one in all its lives.
    owners: BTreeMap<i32, BTreeMap<u8, String>>,
    newest_assigned: i32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Seeded::new(seed);
        let statics = random.below(CONSUMERS as u64 + 1) as usize;
        let consumer = |index: usize| Consumer {
            instance_id: (index < statics).then(|| format!("fixed-{index}").as_str().into()),
            member_id: MemberId::default(),
            at: At::Out,
            next_heartbeat_ms: 0,
            dead: true,
        };
        let initial_rebalance_delay_ms = if random.one_in(2) { 3_000 } else { 0 };
        let config = GroupConfig { initial_rebalance_delay_ms, ..GroupConfig::default() };
        World {
            random,
            config,
            group: Group::new(Now { elapsed_ms: 0, wall_ms: 0 }),
            now_ms: 0,
            waiters: 0,
            kept: None,
            held: VecDeque::new(),
            consumers: (0..CONSUMERS).map(consumer).collect(),
            owners: BTreeMap::new(),
            newest_assigned: 0,
        }
    }

    fn now(&self) -> Now {
        Now { elapsed_ms: self.now_ms, wall_ms: self.now_ms as i64 }
    }

    fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        Waiter(self.waiters)
    }

    /// Takes what the machine has said: answers that rest on a snapshot wait for it.
    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            let is_success = matches!(output, Output::Join(_, Ok(_)) | Output::Sync(_, Ok(_)));
            let is_snapshot = matches!(output, Output::Persist(_));
            if is_snapshot || (is_success && !self.held.is_empty()) {
                self.held.push_back(output);
            } else {
                self.deliver(output);
            }
        }
    }

    /// The log has written everything.
    fn flush(&mut self) {
        for output in std::mem::take(&mut self.held) {
            match output {
                Output::Persist(snapshot) => self.kept = Some(snapshot),
                answer => self.deliver(answer),
            }
        }
    }

    fn deliver(&mut self, output: Output) {
        match output {
            Output::Join(waiter, answer) => self.heard_of_join(waiter, answer),
            Output::Sync(waiter, answer) => self.heard_of_sync(waiter, answer),
            Output::Persist(_) | Output::Keep(_) => unreachable!("it is held"),
            Output::Beat(..) => unreachable!("nobody speaks the new protocol"),
        }
    }

    fn heard_of_join(&mut self, waiter: Waiter, answer: Result<Joined, JoinRefused>) {
        let Some(consumer) = self.consumers.iter_mut().find(|one| one.at == At::Joining(waiter))
        else {
            return;
        };
        match answer {
            Ok(joined) => {
                consumer.member_id = joined.member_id.clone();
                consumer.at = At::Joined(Box::new(joined));
            }
            Err(refused) => {
                consumer.at = At::Out;
                consumer.member_id = match refused.error {
                    GroupError::MemberIdRequired => refused.member_id,
                    GroupError::RebalanceInProgress => consumer.member_id.clone(),
                    _ => MemberId::default(),
                };
            }
        }
    }

    fn heard_of_sync(&mut self, waiter: Waiter, answer: Result<Synced, GroupError>) {
        let syncing = |one: &&mut Consumer| matches!(one.at, At::Syncing(to, _) if to == waiter);
        let Some(consumer) = self.consumers.iter_mut().find(syncing) else { return };
        let At::Syncing(_, generation) = consumer.at else { return };
        match answer {
            Ok(synced) => {
                let owns = synced.assignment.to_vec();
                let instance = consumer.instance_id.as_ref().map(|id| id.to_string());
                let who = instance.unwrap_or_else(|| consumer.member_id.to_string());
                let owners = self.owners.entry(generation).or_default();
                for partition in &owns {
                    let owner = owners.entry(*partition).or_insert_with(|| who.clone());
                    assert_eq!(*owner, who, "partition {partition} in generation {generation}");
                }
                self.newest_assigned = self.newest_assigned.max(generation);
                consumer.next_heartbeat_ms = self.now_ms + HEARTBEAT_MS;
                consumer.at = At::Member { generation, owns };
            }
            Err(error) => {
                consumer.at = At::Out;
                if !matches!(error, GroupError::RebalanceInProgress) {
                    consumer.member_id = MemberId::default();
                }
            }
        }
    }

    fn join(&mut self, index: usize) {
        let waiter = self.waiter();
        let fresh = Uuid::from_u128(u128::from(self.random.next()));
        let consumer = &mut self.consumers[index];
        let request = JoinRequest {
            member_id: consumer.member_id.clone(),
            instance_id: consumer.instance_id.clone(),
            client_id: format!("client-{index}"),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            protocol_type: "consumer".into(),
            protocols: vec![("range".into(), Bytes::from_static(b"subscription"))],
            requires_known_member: true,
            can_skip_assignment: true,
            fresh,
        };
        consumer.at = At::Joining(waiter);
        let mut out = Vec::new();
        self.group.join(waiter, request, &self.config, self.now(), &mut out);
        self.take(out);
    }

    /// The leader shares out the partitions, everyone else asks for its part.
    fn sync(&mut self, index: usize) {
        let At::Joined(joined) = self.consumers[index].at.clone() else { return };
        let waiter = self.waiter();
        let members: Vec<MemberId> =
            joined.members.iter().map(|member| member.member_id.clone()).collect();
        let leads = joined.leader == joined.member_id && !joined.skip_assignment;
        let share = |at: usize| -> Bytes {
            (0..PARTITIONS).filter(|number| *number as usize % members.len() == at).collect()
        };
        let assignments = match leads {
            true => members.iter().enumerate().map(|(at, id)| (id.clone(), share(at))).collect(),
            false => Vec::new(),
        };
        let consumer = &mut self.consumers[index];
        consumer.at = At::Syncing(waiter, joined.generation);
        let request = SyncRequest {
            member: consumer.claim(joined.generation),
            protocol_type: Some("consumer".into()),
            protocol: Some("range".into()),
            assignments,
        };
        let mut out = Vec::new();
        self.group.sync(waiter, request, self.now(), &mut out);
        self.take(out);
    }

    fn heartbeat(&mut self, index: usize) {
        let At::Member { generation, .. } = self.consumers[index].at else { return };
        let claim = self.consumers[index].claim(generation);
        let beaten = self.group.heartbeat(&claim, self.now());
        let consumer = &mut self.consumers[index];
        consumer.next_heartbeat_ms = self.now_ms + HEARTBEAT_MS;
        match beaten {
            Ok(()) => {}
            Err(GroupError::RebalanceInProgress) => consumer.at = At::Out,
            Err(_) => {
                consumer.at = At::Out;
                consumer.member_id = MemberId::default();
            }
        }
    }

    /// Commits, perhaps in the name of a generation that is over.
    fn commit(&mut self, index: usize) {
        let At::Member { generation, .. } = self.consumers[index].at else { return };
        let said = generation - self.random.below(3) as i32 / 2;
        let claim = self.consumers[index].claim(said);
        let now = self.now();
        if self.group.check_commit(&claim, false, now).is_ok() {
            assert_eq!(said, self.group.generation(), "of another generation");
            assert!(said >= self.newest_assigned, "others have had these partitions since");
        }
    }

    fn leave(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        let leaving =
            LeavingMember { member_id: std::mem::take(&mut consumer.member_id), instance_id: None };
        (consumer.at, consumer.dead) = (At::Out, true);
        let mut out = Vec::new();
        _ = self.group.leave(&leaving, self.now(), &mut out);
        self.take(out);
    }

    /// Its process is gone without a word, and with it what it knew.
    fn die(&mut self, index: usize) {
        let consumer = &mut self.consumers[index];
        (consumer.at, consumer.dead) = (At::Out, true);
        consumer.member_id = MemberId::default();
    }

    /// Time passes, with each deadline on the way.
    fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(deadline) = self.group.next_deadline_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(deadline);
            let mut out = Vec::new();
            self.group.tick(self.now(), &mut out);
            self.take(out);
        }
        self.now_ms = until;
    }

    /// The coordinator loses power: what was on its way is lost, connections end.
    fn restart(&mut self) {
        self.held.clear();
        self.group = match &self.kept {
            Some(kept) => Group::restore(kept.clone(), self.now()),
            None => Group::new(self.now()),
        };
        for consumer in &mut self.consumers {
            if !matches!(consumer.at, At::Member { .. }) {
                consumer.at = At::Out;
            }
        }
    }

    /// What was kept is what there is.
    fn check_replay(&mut self) {
        self.flush();
        if !matches!(self.group.state(), GroupState::Stable | GroupState::Empty) {
            return;
        }
        let Some(kept) = &self.kept else { return };
        let replayed = Group::restore(kept.clone(), self.now());
        assert_eq!(replayed.state(), self.group.state());
        assert_eq!(replayed.snapshot(), self.group.snapshot());
    }

    /// What a consumer does by itself.
    fn go_on(&mut self, index: usize) {
        let consumer = &self.consumers[index];
        if consumer.dead {
            return;
        }
        match consumer.at {
            At::Out => self.join(index),
            At::Joined(_) => self.sync(index),
            At::Member { .. } if consumer.next_heartbeat_ms <= self.now_ms => {
                self.heartbeat(index);
            }
            At::Member { .. } | At::Joining(_) | At::Syncing(..) => {}
        }
    }

    fn disturb(&mut self) {
        let index = self.random.below(CONSUMERS as u64) as usize;
        match self.random.below(40) {
            0 => self.leave(index),
            1 => self.die(index),
            2 => self.restart(),
            3..8 => self.consumers[index].dead = false,
            8..14 => self.commit(index),
            14..20 => self.flush(),
            20 => self.check_replay(),
            21..25 => {
                let ms = self.random.below(8_000);
                self.wait(ms);
            }
            _ => self.go_on(index),
        }
    }

    /// Nothing disturbs it any more: all who are alive share all partitions.
    fn settle(&mut self) {
        self.consumers[0].dead = false;
        let until = self.now_ms + CALM_MS;
        while self.now_ms < until {
            for index in 0..CONSUMERS {
                self.go_on(index);
            }
            self.flush();
            self.wait(500);
        }
        let mut owned: Vec<u8> = Vec::new();
        for consumer in self.consumers.iter().filter(|consumer| !consumer.dead) {
            let At::Member { generation, owns } = &consumer.at else {
                panic!("{consumer:?} is not settled in {:?}", self.group.state())
            };
            assert_eq!(*generation, self.group.generation());
            owned.extend(owns);
        }
        owned.sort_unstable();
        assert_eq!(owned, (0..PARTITIONS).collect::<Vec<u8>>());
        self.check_replay();
    }
}

#[test]
fn partitions_have_one_owner_and_the_log_knows_whatever_happens() {
    for_each_seed(SEEDS, |seed| {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.disturb();
        }
        world.settle();
    });
}

/// Runs a simulation from each of so many seeds, or from the one that is asked for.
pub(super) fn for_each_seed(seeds: u64, simulate: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let seeds = match std::env::var("MILLSTREAM_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..seeds).collect(),
    };
    for seed in seeds {
        let failed = std::panic::catch_unwind(|| simulate(seed));
        assert!(failed.is_ok(), "with MILLSTREAM_SEED={seed} the above comes again");
    }
}
