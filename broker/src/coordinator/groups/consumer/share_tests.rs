//! Share groups: their rules one by one, and whole lives of one, each seed the same again.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::assignment::Assignment;
use super::changes::{Change, KeptGroup};
use super::heartbeat::{Beat, Beaten, Refusal};
use super::member::{AWAY, JOINING, LEAVING};
use super::tests::topic;
use super::topics::{TopicFacts, Topics};
use super::*;
use crate::coordinator::Waiter;
use crate::coordinator::groups::any::{AnyGroup, Around, Kind};
use crate::coordinator::groups::group::GroupConfig;
use crate::coordinator::groups::messages::{GroupError, LeavingMember, MemberClaim, Output};
use crate::coordinator::groups::simulation::{Seeded, for_each_seed};

const SEEDS: u64 = 300;
const STEPS: usize = 200;
const MEMBERS: usize = 4;
const NAMES: [&str; 3] = ["s", "t", "u"];

/// A group with what surrounds it, and a log of what it has told.
struct World {
    group: AnyGroup,
    config: GroupConfig,
    there: BTreeMap<&'static str, (Uuid, i32)>,
    topics: Topics,
    now_ms: u64,
    kept: KeptGroup,
    /// The log refuses what it is told.
    refuses: bool,
    topic_ids: u128,
}

impl World {
    fn new(topics: &[(&'static str, i32)]) -> World {
        let mut world = World {
            group: AnyGroup::new(Now { elapsed_ms: 0, wall_ms: 0 }),
            config: GroupConfig::default(),
            there: BTreeMap::new(),
            topics: Topics::default(),
            now_ms: 0,
            kept: KeptGroup::default(),
            refuses: false,
            topic_ids: 0,
        };
        for (name, partitions) in topics {
            world.create(name, *partitions);
        }
        world
    }

    fn create(&mut self, name: &'static str, partitions: i32) {
        self.topic_ids += 1;
        self.there.insert(name, (topic(self.topic_ids), partitions));
        self.tell_topics();
    }

    fn tell_topics(&mut self) {
        let facts = self.there.iter().map(|(name, (id, partitions))| {
            (Arc::from(*name), TopicFacts { id: *id, partitions: *partitions })
        });
        self.topics = Topics::new(self.topics.version() + 1, facts);
    }

    fn now(&self) -> Now {
        Now { elapsed_ms: self.now_ms, wall_ms: self.now_ms as i64 }
    }

    fn act<T>(
        &mut self,
        act: impl FnOnce(&mut AnyGroup, Around<'_>, &mut Vec<Output>) -> T,
    ) -> (T, Vec<Output>) {
        let now = self.now();
        let consumer = Surroundings { config: &self.config.consumer, topics: &self.topics, now };
        let around = Around { classic: &self.config, consumer, share: &self.config.share };
        let mut out = Vec::new();
        let done = act(&mut self.group, around, &mut out);
        for output in &out {
            let Output::Keep(changes) = output else { continue };
            if self.refuses {
                self.group.not_kept(changes, now, &mut Vec::new());
                continue;
            }
            for change in changes {
                // What is of another kind of group no test here restores.
                let Change::Shared(change) = change else { continue };
                self.kept.apply((**change).clone());
            }
        }
        (done, out)
    }

    fn beat(&mut self, beat: Beat) -> Result<Beaten, Refusal> {
        let (_, out) =
            self.act(|group, around, out| group.beat_shared(Waiter(0), beat, false, around, out));
        let answer = out.into_iter().find_map(|output| match output {
            Output::Beat(_, answer) => Some(answer),
            _ => None,
        });
        answer.expect("a heartbeat is answered at once")
    }

    fn wait(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.group.next_deadline_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            self.act(|group, around, out| group.tick(around, out));
        }
        self.now_ms = until;
    }

    fn share(&self) -> &ConsumerGroup {
        match self.group.kind() {
            Kind::Share(group) => group,
            other => panic!("{other:?}"),
        }
    }

    /// What the log has, and what is read of the topics, which it has not.
    fn is_kept(&self) -> bool {
        let kept = KeptGroup { subscribed: BTreeMap::new(), ..self.share().kept() };
        self.kept == kept
    }

    fn restart(&mut self) {
        if self.kept.epoch.is_none() {
            self.group = AnyGroup::new(self.now());
            return;
        }
        let now = self.now();
        let group = ConsumerGroup::restore_shared(self.kept.clone(), &self.config.share, now);
        self.group = AnyGroup::of(Kind::Share(Box::new(group)));
    }

    /// All partitions of these topics.
    fn all(&self, names: &[&str]) -> Assignment {
        let topics = names.iter().filter_map(|name| self.there.get(name));
        topics.flat_map(|(id, count)| (0..*count).map(|number| (*id, number))).collect()
    }
}

fn beat(id: &str, epoch: i32, topics: Option<&[&str]>) -> Beat {
    let topics = topics.map(|names| names.iter().map(|name| Arc::from(*name)).collect());
    Beat { member_id: id.into(), epoch, topics, ..Beat::default() }
}

#[test]
fn each_member_has_everything_at_once() {
    let mut world = World::new(&[("s", 2), ("t", 3)]);
    let one = world.beat(beat("one", JOINING, Some(&["s"]))).unwrap();
    assert_eq!((one.epoch, one.heartbeat_interval_ms), (1, 5_000));
    assert_eq!(one.assignment, Some(world.all(&["s"])));
    let two = world.beat(beat("two", JOINING, Some(&["s", "t"]))).unwrap();
    assert_eq!((two.epoch, two.assignment), (2, Some(world.all(&["s", "t"]))));
    let again = world.beat(beat("one", 1, None)).unwrap();
    assert_eq!((again.epoch, again.assignment), (2, None), "nothing of its own has changed");
    assert_eq!(world.share().state(), ConsumerState::Stable);

    world.there.insert("s", (world.there["s"].0, 5));
    world.tell_topics();
    let more = world.beat(beat("one", 2, None)).unwrap();
    assert_eq!((more.epoch, more.assignment), (3, Some(world.all(&["s"]))));
    world.beat(beat("one", LEAVING, None)).unwrap();
    assert_eq!(world.share().members().len(), 1);
    world.wait(45_000);
    assert_eq!(world.share().state(), ConsumerState::Empty, "nothing was heard of the other");
    assert!(world.is_kept());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut world = World::new(&[("t", 1)]);
    let error = |refused: Result<Beaten, Refusal>| refused.unwrap_err().error;
    let bad = [
        beat("", JOINING, Some(&["t"])),
        beat("m", JOINING, None),
        beat("m", JOINING, Some(&[])),
        beat("m", AWAY, None),
        Beat { rack_id: Some(String::new()), ..beat("m", JOINING, Some(&["t"])) },
    ];
    for beat in bad {
        assert_eq!(error(world.beat(beat)), GroupError::InvalidRequest);
    }
    assert_eq!(error(world.beat(beat("m", 1, None))), GroupError::GroupIdNotFound);
    assert!(world.group.is_untouched(), "a refusal leaves nothing behind");
    world.config.share.members_max = 1;
    world.beat(beat("m", JOINING, Some(&["t"]))).unwrap();
    let more = world.beat(beat("n", JOINING, Some(&["t"])));
    assert_eq!(error(more), GroupError::GroupMaxSizeReached);
    assert_eq!(error(world.beat(beat("n", 1, None))), GroupError::UnknownMemberId);
    assert_eq!(error(world.beat(beat("n", LEAVING, None))), GroupError::UnknownMemberId);
    assert_eq!(error(world.beat(beat("m", 2, None))), GroupError::FencedMemberEpoch);
    world.beat(beat("m", 1, Some(&["t", "u"]))).unwrap();
    world.beat(beat("m", 2, Some(&["t"]))).unwrap();
    assert_eq!(error(world.beat(beat("m", 1, None))), GroupError::FencedMemberEpoch);
    world.beat(beat("m", 2, None)).expect("the answer with the newer epoch may have been lost");
}

#[test]
fn other_requests_are_not_for_share_groups() {
    let mut world = World::new(&[("t", 1)]);
    world.beat(beat("m", JOINING, Some(&["t"]))).unwrap();
    let full = Beat {
        rebalance_timeout_ms: Some(1),
        owned: Some(Assignment::default()),
        ..beat("c", JOINING, Some(&["t"]))
    };
    let (_, out) = world.act(|group, around, out| group.beat(Waiter(0), full.clone(), around, out));
    let Some(Output::Beat(_, Err(refused))) = out.into_iter().next() else { panic!() };
    assert_eq!(refused.error, GroupError::GroupIdNotFound);
    let claim = MemberClaim { member_id: "m".into(), instance_id: None, generation: 1 };
    let group = &mut world.group;
    let now = Now { elapsed_ms: 0, wall_ms: 0 };
    assert_eq!(group.heartbeat(&claim, now), Err(GroupError::UnknownMemberId));
    let committed = group.check_commit(&claim, false, true, now);
    assert_eq!(committed, Err(GroupError::GroupIdNotFound));
    assert_eq!(group.check_fetch(&"m".into(), 1), Err(GroupError::GroupIdNotFound));
    let leaving = LeavingMember { member_id: "m".into(), instance_id: None };
    let (left, _) = world.act(|group, around, out| group.leave(&leaving, around, out));
    assert_eq!(left, Err(GroupError::UnknownMemberId));

    let mut world = World::new(&[("t", 1)]);
    world.act(|group, around, out| group.beat(Waiter(0), full, around, out));
    let refused = world.beat(beat("m", JOINING, Some(&["t"]))).unwrap_err();
    assert_eq!(refused.error, GroupError::GroupIdNotFound, "it is a consumer group");
}

/// A member as itself sees it.
#[derive(Clone, Debug, Default)]
struct Client {
    /// `None`: it is not there.
    epoch: Option<i32>,
    wants: Vec<&'static str>,
    told: Assignment,
}

fn pick(random: &mut Seeded, end: usize) -> usize {
    random.below(end as u64) as usize
}

fn go_on(world: &mut World, random: &mut Seeded, clients: &mut [Client]) {
    let index = pick(random, MEMBERS);
    let id = format!("m{index}");
    let client = &mut clients[index];
    let changes = client.epoch.is_none() || random.one_in(8);
    if changes {
        client.wants = NAMES.iter().filter(|_| random.one_in(2)).copied().collect();
        if client.wants.is_empty() {
            client.wants.push("t");
        }
    }
    let epoch = client.epoch.unwrap_or(JOINING);
    match world.beat(beat(&id, epoch, changes.then_some(&client.wants))) {
        Ok(beaten) => {
            assert!(beaten.epoch >= epoch, "the epochs of a member only grow");
            client.epoch = Some(beaten.epoch);
            client.told = beaten.assignment.unwrap_or_else(|| std::mem::take(&mut client.told));
            let all = world.all(&client.wants);
            assert_eq!(client.told, all, "{id} has all that it wants of what there is");
        }
        // It was silent for too long, or the log has lost its coming; it begins anew.
        Err(refused) => {
            let expected = [
                GroupError::UnknownMemberId,
                GroupError::FencedMemberEpoch,
                GroupError::GroupIdNotFound,
            ];
            assert!(expected.contains(&refused.error), "{refused:?}");
            // Who comes again under its old id waits until that is forgotten, as at Kafka.
            let waits = refused.error == GroupError::FencedMemberEpoch;
            assert!(client.epoch.is_some() || waits, "{refused:?}");
            *client = Client::default();
        }
    }
}

fn disturb(world: &mut World, random: &mut Seeded, clients: &mut [Client]) {
    match random.below(12) {
        0 => {
            let name = NAMES[pick(random, NAMES.len())];
            world.create(name, 1 + random.below(3) as i32);
        }
        1 => {
            world.there.remove(NAMES[pick(random, NAMES.len())]);
            world.tell_topics();
        }
        2 => world.wait(random.below(60_000)),
        3 => {
            let index = pick(random, MEMBERS);
            if clients[index].epoch.take().is_some() {
                // It may have been silent for too long already.
                let _ = world.beat(beat(&format!("m{index}"), LEAVING, None));
            }
        }
        // Dies, and is forgotten in time.
        4 => clients[pick(random, MEMBERS)] = Client::default(),
        5 => world.refuses = !world.refuses,
        6 => world.restart(),
        _ => go_on(world, random, clients),
    }
}

#[test]
fn members_have_all_that_they_want_whatever_happens() {
    for_each_seed(SEEDS, |seed| {
        let mut random = Seeded::new(seed);
        let mut world = World::new(&[("s", 2), ("t", 1)]);
        let mut clients = vec![Client::default(); MEMBERS];
        for _ in 0..STEPS {
            disturb(&mut world, &mut random, &mut clients);
        }
        world.refuses = false;
        for _ in 0..40 {
            go_on(&mut world, &mut random, &mut clients);
        }
        assert!(world.is_kept(), "{:?} is kept of {:?}", world.kept, world.share());
        let members = world.share().kept().members;
        world.restart();
        assert_eq!(world.share().kept().members, members, "a restart changes nothing");
        world.wait(60_000);
        assert_eq!(world.share().state(), ConsumerState::Empty);
        assert_eq!(world.kept.members.len(), 0);
        for change in world.group.removal() {
            let Change::Shared(change) = change else { panic!("{change:?}") };
            world.kept.apply(*change);
        }
        assert_eq!(world.kept, KeptGroup::default(), "nothing is left of a deleted group");
    });
}
