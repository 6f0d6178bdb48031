//! Random walks of the members of a classic group: they join, sync, are heard of, commit and
//! leave, rightly and wrongly, in all versions; whoever waits for others is answered when they
//! have come.
//!
//! `MILLSTREAM_SEEDS=20` walks more of them.

use std::time::Duration;

use broker::protocol::messages::k08_offset_commit::*;
use broker::protocol::messages::k11_join_group::*;
use broker::protocol::messages::k12_heartbeat::*;
use broker::protocol::messages::k13_leave_group::*;
use broker::protocol::messages::k14_sync_group::*;
use broker::protocol::messages::k15_describe_groups::*;
use broker::protocol::{ApiKey, ErrorCode, Request, Response, decode_response};
use bytes::Bytes;

use crate::harness::Connection;
use crate::script::Script;

const SEEDS: u64 = 4;
const STEPS: usize = 45;
const MEMBERS: usize = 4;
/// How long after a request those who wait for it are answered: there is no event for that. Where
/// the two differ they walk once more with more of it, for a machine that has much to do.
pub const PATIENCE: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(1500)];

/// A small generator of our own, so that a seed means the same forever.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn among<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What a member knows of itself.
#[derive(Clone, Debug, Default)]
struct Member {
    id: String,
    generation: i32,
    instance: Option<String>,
    /// Of a leader: all there are.
    members: Vec<String>,
    leads: bool,
}

/// A request that is not answered yet.
struct Waiting {
    what: String,
    /// The id that it joins with.
    joining: Option<String>,
    member: usize,
    api: ApiKey,
    version: i16,
    client: Connection,
}

impl Waiting {
    fn joins(&self, member_id: &str) -> bool {
        self.joining.as_deref() == Some(member_id)
    }
}

struct Walk<'a> {
    script: &'a mut Script,
    random: Random,
    group: String,
    members: Vec<Member>,
    waiting: Vec<Waiting>,
    free: Vec<Connection>,
    /// Member ids by when they came.
    named: Vec<String>,
    patience: Duration,
}

/// What a consumer says to its leader: that it reads topic `t`, and its own number. At anything
/// else Kafka stumbles, and never answers.
fn subscription(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, number])
}

pub fn seeds() -> u64 {
    let given = std::env::var("MILLSTREAM_SEEDS").ok();
    given.map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"))
}

pub async fn classic(script: &mut Script, seed: u64, patience: Duration) {
    let topic = script.topic("walked", 1).await;
    let instance = |at: usize| (at >= 2).then(|| format!("i{at}"));
    let member = |at| Member { instance: instance(at), generation: -1, ..Default::default() };
    let mut walk = Walk {
        group: script.named(&format!("walk{seed}")),
        random: Random(seed),
        members: (0..MEMBERS).map(member).collect(),
        waiting: Vec::new(),
        free: Vec::new(),
        named: Vec::new(),
        script,
        patience,
    };
    walk.begin(&topic).await;
    for step in 0..STEPS {
        walk.step(seed, step).await;
    }
}

impl Walk<'_> {
    /// Until something of a group is kept Kafka says that there is none.
    async fn begin(&mut self, topic: &str) {
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: topic.to_owned(),
                partitions: vec![OffsetCommitRequestPartition::default()],
            }],
            ..Default::default()
        };
        self.script.ask_quietly(8, request).await;
    }

    async fn step(&mut self, seed: u64, step: usize) {
        let at = self.random.below(MEMBERS);
        let (version, request) = match self.random.below(12) {
            0..=4 => self.join(at),
            5..=7 => self.sync(at),
            8 | 9 => self.heartbeat(at),
            10 => self.leave(at),
            _ => self.commit(at),
        };
        let what = format!("seed {seed} step {step}: v{version} {request:?}");
        let mut client = match self.free.pop() {
            Some(client) => client,
            None => self.script.another().await,
        };
        let api = request.api();
        let joining = match &request {
            Request::JoinGroup(join) => Some(join.member_id.clone()),
            _ => None,
        };
        client.send(version, request).await;
        self.waiting.push(Waiting { what, joining, member: at, api, version, client });
        // Others may be answered for it.
        self.waiting.rotate_right(1);
        self.hear().await;
        self.describe(seed, step).await;
    }

    /// Takes in what has been answered by now, the latest request first.
    async fn hear(&mut self) {
        let mut heard = Vec::new();
        for (at, mut one) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            let mut first = [0];
            let peeked = one.client.stream.peek(&mut first);
            let patience = if at == 0 { self.patience } else { self.patience / 10 };
            if tokio::time::timeout(patience, peeked).await.is_err() {
                heard.push((one, None));
                continue;
            }
            let frame = one.client.receive_frame().await.expect("a response, not the end");
            let (_, response) = decode_response(one.api, one.version, frame).unwrap();
            if let Response::JoinGroup(JoinGroupResponse { member_id, .. }) = &response
                && !member_id.is_empty()
                && !self.named.contains(member_id)
            {
                self.named.push(member_id.clone());
            }
            heard.push((one, Some(response)));
        }
        for (one, response) in heard {
            match response {
                Some(response) => {
                    self.learn(one.member, response, one.what);
                    self.free.push(one.client);
                }
                None => {
                    self.note(one.what.clone(), "waits".to_owned());
                    self.waiting.push(one);
                }
            }
        }
    }

    fn learn(&mut self, at: usize, mut response: Response, what: String) {
        if let Response::JoinGroup(joined) = &mut response {
            let age = |id: &String| self.named.iter().position(|other| other == id);
            joined.members.sort_by_key(|member| age(&member.member_id));
            let learns = [ErrorCode::NONE, ErrorCode::MEMBER_ID_REQUIRED];
            if learns.contains(&joined.error_code) {
                let member = &mut self.members[at];
                member.id = joined.member_id.clone();
                member.generation = joined.generation_id;
                member.leads = joined.leader == joined.member_id;
                member.members =
                    joined.members.iter().map(|member| member.member_id.clone()).collect();
            }
        }
        // Of several the first is itself, if it leaves at all.
        if let Response::LeaveGroup(left) = &response
            && left.error_code == ErrorCode::NONE
            && left.members.first().is_none_or(|first| first.error_code == ErrorCode::NONE)
        {
            let here = &mut self.members[at];
            *here = Member { instance: here.instance.take(), generation: -1, ..Member::default() };
        }
        self.note(what, format!("{response:?}"));
    }

    /// With names for ids, which are random.
    fn note(&mut self, what: String, answer: String) {
        let masked = |mut text: String| {
            for (number, id) in self.named.iter().enumerate() {
                text = text.replace(id, &format!("member {number}"));
            }
            text
        };
        let (what, answer) = (masked(what), masked(answer));
        self.script.note(what, answer);
    }

    fn join(&mut self, at: usize) -> (i16, Request) {
        let member = self.members[at].clone();
        let random = &mut self.random;
        let version = match &member.instance {
            Some(_) => random.among(&[5, 6, 7, 8, 9, 9]),
            None => random.among(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]),
        };
        // Of two protocols with as many votes Kafka takes the one with the lesser hash: all of these
        // put the same one first.
        let names = match random.below(12) {
            0 => &["sticky"][..],
            1 => &["range", "sticky"],
            // In a group that is not there yet it would leave an empty one.
            2 if !self.named.is_empty() => &[],
            _ => &["range", "roundrobin"],
        };
        let protocol = |name: &&str| JoinGroupRequestProtocol {
            name: (*name).to_owned(),
            metadata: subscription(at as u8),
        };
        let kind = if random.one_in(15) { "connect" } else { "consumer" };
        let member_id = match random.below(14) {
            0 => "stranger".to_owned(),
            1 => String::new(),
            2 => {
                let other = &self.members[random.below(MEMBERS)];
                // Kafka fails if one without a name is said to have one.
                let alike = other.instance.is_some() == member.instance.is_some();
                if alike { other.id.clone() } else { "stranger".to_owned() }
            }
            _ => member.id,
        };
        // Kafka leaves the older join of the two without an answer.
        let joins = self.waiting.iter().any(|one| one.joins(&member_id));
        if joins && !member_id.is_empty() {
            return self.heartbeat(at);
        }
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: if random.one_in(25) { 5 } else { 30_000 },
            rebalance_timeout_ms: 30_000,
            member_id,
            group_instance_id: member.instance,
            protocol_type: kind.to_owned(),
            protocols: names.iter().map(protocol).collect(),
            reason: None,
        };
        (version, request.into())
    }

    fn sync(&mut self, at: usize) -> (i16, Request) {
        let member = self.members[at].clone();
        let random = &mut self.random;
        let version = random.among(&[3, 4, 5, 5]);
        let assigned = |id: &String| SyncGroupRequestAssignment {
            member_id: id.clone(),
            assignment: Bytes::from(format!("part of {}", member.members.len())),
        };
        let assignments = match member.leads {
            true => member.members.iter().map(assigned).collect(),
            false => Vec::new(),
        };
        let (kind, name) = match random.below(8) {
            0 => (Some("connect"), Some("range")),
            1 => (Some("consumer"), Some("roundrobin")),
            2 => (None, None),
            _ => (Some("consumer"), Some("range")),
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: member.generation + random.among(&[0, 0, 0, 0, 0, 0, 1, -1]),
            member_id: if random.one_in(12) { "stranger".to_owned() } else { member.id },
            group_instance_id: member.instance,
            protocol_type: kind.filter(|_| version >= 5).map(str::to_owned),
            protocol_name: name.filter(|_| version >= 5).map(str::to_owned),
            assignments,
        };
        (version, request.into())
    }

    fn heartbeat(&mut self, at: usize) -> (i16, Request) {
        let member = self.members[at].clone();
        let random = &mut self.random;
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id: member.generation + random.among(&[0, 0, 0, 1, -1]),
            member_id: if random.one_in(8) { "stranger".to_owned() } else { member.id },
            group_instance_id: member.instance.filter(|_| !random.one_in(5)),
        };
        (random.among(&[3, 4]), request.into())
    }

    fn leave(&mut self, at: usize) -> (i16, Request) {
        let group_id = self.group.clone();
        let member = self.members[at].clone();
        // Who leads after a leader that leaves is Kafka's own guess among several.
        let is_there = |other: &usize| {
            !self.members[*other].id.is_empty()
                || self.waiting.iter().any(|one| one.member == *other && one.joining.is_some())
        };
        let others = (0..MEMBERS).filter(|other| *other != at).filter(is_there).count();
        // And one that has only been given its id makes Kafka rebalance when it leaves.
        let leaves = others < 2 && (member.generation >= 0 || member.id.is_empty());
        // And whoever leaves is left without an answer to what it has asked before.
        let leaves = leaves && !self.waiting.iter().any(|one| one.member == at);
        let member_id = if leaves { member.id } else { "stranger".to_owned() };
        if member.instance.is_none() && self.random.one_in(2) {
            let request = LeaveGroupRequest { group_id, member_id, ..Default::default() };
            return (self.random.among(&[0, 1, 2]), request.into());
        }
        let identity = |member_id: &str, instance: Option<&str>| MemberIdentity {
            member_id: member_id.to_owned(),
            group_instance_id: instance.map(str::to_owned),
            reason: None,
        };
        let instance = member.instance.as_deref().filter(|_| leaves);
        let member_id = if self.random.one_in(3) && instance.is_some() { "" } else { &member_id };
        let mut members = vec![identity(member_id, instance)];
        if self.random.one_in(3) {
            members.push(identity("nobody", None));
            members.push(identity("", Some("i9")));
            members.push(identity("nobody", member.instance.as_deref()));
        }
        let request = LeaveGroupRequest { group_id, members, ..Default::default() };
        (self.random.among(&[3, 4, 5]), request.into())
    }

    fn commit(&mut self, at: usize) -> (i16, Request) {
        let member = self.members[at].clone();
        let request = OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: member.generation + self.random.among(&[0, 0, 0, 1, -1]),
            member_id: member.id,
            group_instance_id: member.instance,
            topics: vec![OffsetCommitRequestTopic {
                name: "none".to_owned(),
                partitions: vec![OffsetCommitRequestPartition::default()],
            }],
            ..Default::default()
        };
        (self.random.among(&[7, 8]), request.into())
    }

    async fn describe(&mut self, seed: u64, step: usize) {
        let groups = vec![self.group.clone()];
        let request = DescribeGroupsRequest { groups, ..Default::default() };
        let Response::DescribeGroups(described) = self.script.ask_quietly(5, request).await else {
            panic!()
        };
        let group = &described.groups[0];
        let state = (&group.group_state, &group.protocol_type, group.members.len());
        self.note(format!("seed {seed} step {step}: state"), format!("{state:?}"));
    }
}
