//! Reading as a member of a consumer group, by the same protocol as over sockets.
//!
//! ```text
//! member task:  join ─► sync ─► Assigned ──► heartbeats … the group rebalances ─► Rebalance ─┐
//!                 ▲                                                                          │
//!                 └────────────── let go ◄── next() again ◄── Revoked, the caller commits ◄──┘
//! ```
//!
//! The task keeps the member alive, whatever the caller does meanwhile. It learns of a rebalance
//! when that begins, and of new partitions when they are created.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::assignment::{
    RANGE, assign, decode_assignment, decode_subscription, encode_assignment, encode_subscription,
};
use super::reader::EmbeddedReader;
use super::{committed, existing, group_error};
use crate::broker::Broker;
use crate::broker::coordinators::EMBEDDED_HOST;
use crate::client::{
    ClientError, GroupMembership, GroupOptions, Isolation, Reader, ReaderEvent, WithoutOffset,
};
use crate::coordinator::groups::{
    CommitRequest, GroupError, JoinRequest, Joined, LeavingMember, MemberClaim, MemberId,
    OffsetToCommit, SyncRequest,
};
use crate::ids::{Offset, TopicPartition};

/// Kafka's `max.poll.interval.ms`: how long the others wait for a member to let go.
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
/// Kafka's `heartbeat.interval.ms`; never more than a third of the session timeout.
const HEARTBEAT_INTERVAL_MAX: Duration = Duration::from_secs(3);
/// The task waits for each of its events to be taken.
const EVENTS_MAX: usize = 1;

pub(super) struct GroupReader {
    broker: Arc<Broker>,
    options: GroupOptions,
    isolation: Isolation,
    reader: EmbeddedReader,
    events: mpsc::Receiver<MemberEvent>,
    /// Tells the task that the partitions are no longer read.
    let_go: Arc<Notify>,
    /// Given to this member, but where to begin is not yet known.
    assigned: Option<(MemberClaim, Vec<TopicPartition>)>,
    claim: Option<MemberClaim>,
    owned: Vec<TopicPartition>,
    /// The caller has been told to let go; its next call means that it has.
    revoking: bool,
    member_id: Arc<Mutex<MemberId>>,
    task: AbortHandle,
}

enum MemberEvent {
    Assigned(MemberClaim, Vec<TopicPartition>),
    Rebalance,
    Failed(ClientError),
}

impl GroupReader {
    pub fn new(
        broker: Arc<Broker>,
        options: GroupOptions,
        isolation: Isolation,
        bytes_max: usize,
    ) -> Result<GroupReader, ClientError> {
        if let Some(unknown) = options.topics.iter().find(|topic| broker.topic(topic).is_none()) {
            return Err(ClientError::UnknownTopic(unknown.clone()));
        }
        let (events, received) = mpsc::channel(EVENTS_MAX);
        let let_go = Arc::new(Notify::new());
        let member_id = Arc::new(Mutex::new(MemberId::default()));
        let member = Member {
            broker: broker.clone(),
            options: options.clone(),
            member_id: member_id.clone(),
            let_go: let_go.clone(),
            rebalances: broker.groups().rebalances(&options.group),
        };
        let task = tokio::spawn(async move {
            // Nobody hears of it if the reader is gone by now.
            if let Err(error) = member.run(&events).await {
                _ = events.send(MemberEvent::Failed(error)).await;
            }
        });
        Ok(GroupReader {
            reader: EmbeddedReader::new(broker.clone(), isolation, bytes_max),
            broker,
            options,
            isolation,
            events: received,
            let_go,
            assigned: None,
            claim: None,
            owned: Vec::new(),
            revoking: false,
            member_id,
            task: task.abort_handle(),
        })
    }

    /// Begins to read what was assigned. Cancelled in between, it starts over.
    async fn begin(&mut self) -> Result<Option<ReaderEvent>, ClientError> {
        let Some((_, partitions)) = &self.assigned else { return Ok(None) };
        let from = committed(&self.broker, &self.options.group, partitions).await?;
        let mut starts = Vec::with_capacity(partitions.len());
        for (partition, committed) in partitions.iter().zip(from) {
            let committed = committed.map(|committed| committed.offset);
            starts.push((partition.clone(), self.start(partition, committed)?));
        }
        self.reader.set_partitions(starts)?;
        let (claim, partitions) = self.assigned.take().expect("looked at above");
        self.claim = Some(claim);
        self.owned.clone_from(&partitions);
        Ok(Some(ReaderEvent::Assigned(partitions)))
    }

    /// Where to begin: as committed, if that is still in the log.
    fn start(
        &self,
        partition: &TopicPartition,
        committed: Option<Offset>,
    ) -> Result<Offset, ClientError> {
        let visible = existing(&self.broker, partition)?.visible();
        if let Some(offset) = committed {
            if (visible.log_start..=visible.log_end).contains(&offset) {
                return Ok(offset);
            }
            tracing::warn!(group = self.options.group, %partition, %offset,
                start = %visible.log_start, end = %visible.log_end,
                "the committed offset is no longer in the log");
        }
        Ok(match (self.options.without_offset, self.isolation) {
            (WithoutOffset::Earliest, _) => visible.log_start,
            (WithoutOffset::Latest, Isolation::ReadUncommitted) => visible.high_watermark,
            (WithoutOffset::Latest, Isolation::ReadCommitted) => visible.last_stable,
        })
    }

    fn release(&mut self) -> Result<(), ClientError> {
        self.revoking = false;
        self.owned.clear();
        self.claim = None;
        self.reader.set_partitions(Vec::new())?;
        self.let_go.notify_one();
        Ok(())
    }
}

#[async_trait]
impl Reader for GroupReader {
    async fn next(&mut self) -> Result<ReaderEvent, ClientError> {
        if self.revoking {
            self.release()?;
        }
        loop {
            if let Some(begun) = self.begin().await? {
                return Ok(begun);
            }
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(MemberEvent::Assigned(claim, partitions)) => {
                        self.assigned = Some((claim, partitions));
                    }
                    Some(MemberEvent::Rebalance) if self.owned.is_empty() => self.release()?,
                    Some(MemberEvent::Rebalance) => {
                        self.revoking = true;
                        return Ok(ReaderEvent::Revoked(self.owned.clone()));
                    }
                    Some(MemberEvent::Failed(error)) => return Err(error),
                    None => return Err(ClientError::ShuttingDown),
                },
                fetched = self.reader.next() => return fetched,
            }
        }
    }

    async fn assign(&mut self, _: Vec<(TopicPartition, Offset)>) -> Result<(), ClientError> {
        let reason = format!("the reader is in group '{}', which assigns", self.options.group);
        Err(ClientError::Refused { what: "assignment of partitions".to_owned(), reason })
    }

    async fn commit(&mut self, offsets: &[(TopicPartition, Offset)]) -> Result<(), ClientError> {
        let group = &self.options.group;
        let Some(member) = self.claim.clone() else {
            return Err(group_error(group, GroupError::RebalanceInProgress));
        };
        let offsets = offsets.iter().map(|(partition, offset)| OffsetToCommit {
            partition: partition.clone(),
            offset: offset.0,
            leader_epoch: -1,
            metadata: String::new(),
        });
        let request = CommitRequest {
            member,
            producer: None,
            knows_epochs: true,
            offsets: offsets.collect(),
        };
        let results = self.broker.groups().commit_offsets(group, request).await;
        let results = results.map_err(|error| group_error(group, error))?;
        let failed = results.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| Err(group_error(group, error)))
    }

    fn group(&self) -> Option<GroupMembership> {
        let claim = self.claim.as_ref()?;
        Some(GroupMembership {
            group: self.options.group.clone(),
            member_id: claim.member_id.to_string(),
            generation: claim.generation,
        })
    }
}

impl Drop for GroupReader {
    fn drop(&mut self) {
        self.task.abort();
        let member_id = self.member_id.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Without a runtime nobody is left who would wait for this member.
        if let (false, Ok(runtime)) = (member_id.is_none(), tokio::runtime::Handle::try_current()) {
            let _in_runtime = runtime.enter();
            let leaving = LeavingMember { member_id, instance_id: None };
            _ = self.broker.groups().leave(&self.options.group, &[leaving]);
        }
    }
}

/// What runs beside the reader.
struct Member {
    broker: Arc<Broker>,
    options: GroupOptions,
    /// Shared with the reader, which leaves in its name.
    member_id: Arc<Mutex<MemberId>>,
    let_go: Arc<Notify>,
    rebalances: watch::Receiver<u64>,
}

impl Member {
    async fn run(mut self, events: &mpsc::Sender<MemberEvent>) -> Result<(), ClientError> {
        loop {
            let joined = self.join().await?;
            let leads = joined.leader == joined.member_id;
            let counts = self.partition_counts();
            let Some(partitions) = self.sync(&joined, leads).await? else { continue };
            let claim = claim(&joined);
            let assigned = MemberEvent::Assigned(claim.clone(), partitions);
            if events.send(assigned).await.is_err() {
                return Ok(());
            }
            let known = self.until_rebalance(&claim, leads.then_some(counts)).await;
            if events.send(MemberEvent::Rebalance).await.is_err() {
                return Ok(());
            }
            self.until_let_go(&claim).await;
            if !known {
                self.set_member_id(MemberId::default());
            }
        }
    }

    fn member_id(&self) -> MemberId {
        self.member_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_member_id(&self, id: MemberId) {
        *self.member_id.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn refused(&self, error: GroupError) -> ClientError {
        group_error(&self.options.group, error)
    }

    async fn join(&self) -> Result<Joined, ClientError> {
        let metadata = encode_subscription(&self.options.topics).map_err(|error| {
            let (group, reason) = (self.options.group.clone(), error.to_string());
            ClientError::Group { group, reason }
        })?;
        let session_timeout_ms = i32::try_from(self.options.session_timeout.as_millis());
        loop {
            let request = JoinRequest {
                member_id: self.member_id(),
                instance_id: None,
                client_id: "millstream".to_owned(),
                client_host: EMBEDDED_HOST.to_owned(),
                session_timeout_ms: session_timeout_ms.unwrap_or(i32::MAX),
                rebalance_timeout_ms: REBALANCE_TIMEOUT_MS,
                protocol_type: "consumer".into(),
                protocols: vec![(RANGE.into(), metadata.clone())],
                // So that the id is known before the join can be interrupted.
                requires_known_member: true,
                can_skip_assignment: false,
                fresh: Uuid::new_v4(),
            };
            match self.broker.groups().join(&self.options.group, request).await {
                Ok(joined) => return Ok(joined),
                Err(refused) => match refused.error {
                    GroupError::MemberIdRequired => self.set_member_id(refused.member_id),
                    GroupError::UnknownMemberId => self.set_member_id(MemberId::default()),
                    error => return Err(self.refused(error)),
                },
            }
        }
    }

    /// What this member gets; `None` if the group has moved on already.
    async fn sync(
        &self,
        joined: &Joined,
        leads: bool,
    ) -> Result<Option<Vec<TopicPartition>>, ClientError> {
        let malformed = |reason: String| {
            let group = self.options.group.clone();
            ClientError::Group { group, reason }
        };
        let mut assignments = Vec::new();
        if leads {
            let mut members = BTreeMap::new();
            for member in &joined.members {
                let topics = decode_subscription(&member.metadata)
                    .map_err(|error| malformed(format!("member {}: {error}", member.member_id)))?;
                members.insert(member.member_id.clone(), topics);
            }
            let broker = &self.broker;
            let count =
                |topic: &str| broker.topic(topic).map_or(0, |topic| topic.partitions_count());
            for (member, partitions) in assign(&members, count) {
                let bytes =
                    encode_assignment(&partitions).map_err(|error| malformed(error.to_string()))?;
                assignments.push((member, bytes));
            }
        }
        let request = SyncRequest {
            member: claim(joined),
            protocol_type: Some(joined.protocol_type.clone()),
            protocol: Some(joined.protocol.clone()),
            assignments,
        };
        match self.broker.groups().sync(&self.options.group, request).await {
            Ok(synced) => decode_assignment(&synced.assignment)
                .map(Some)
                .map_err(|error| malformed(error.to_string())),
            Err(GroupError::RebalanceInProgress) => Ok(None),
            Err(GroupError::UnknownMemberId | GroupError::IllegalGeneration) => {
                self.set_member_id(MemberId::default());
                Ok(None)
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Stays a member until there is another generation to join, because others come or go or,
    /// for the leader, because there are other partitions than `counts`. Says whether the group
    /// still knows this member.
    async fn until_rebalance(&mut self, claim: &MemberClaim, counts: Option<Vec<i32>>) -> bool {
        let mut topics = self.broker.changes();
        loop {
            match self.broker.groups().heartbeat(&self.options.group, claim) {
                Ok(()) => {}
                Err(GroupError::RebalanceInProgress) => return true,
                Err(_) => return false,
            }
            if counts.as_ref().is_some_and(|counts| *counts != self.partition_counts()) {
                return true;
            }
            let interval = self.heartbeat_interval();
            tokio::select! {
                _ = self.rebalances.changed() => {}
                _ = topics.changed(), if counts.is_some() => {}
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    async fn until_let_go(&self, claim: &MemberClaim) {
        loop {
            tokio::select! {
                () = self.let_go.notified() => return,
                () = tokio::time::sleep(self.heartbeat_interval()) => {
                    // Keeps the session alive; that the group rebalances is known.
                    _ = self.broker.groups().heartbeat(&self.options.group, claim);
                }
            }
        }
    }

    fn heartbeat_interval(&self) -> Duration {
        (self.options.session_timeout / 3).min(HEARTBEAT_INTERVAL_MAX)
    }

    fn partition_counts(&self) -> Vec<i32> {
        let count = |topic| self.broker.topic(topic).map_or(0, |topic| topic.partitions_count());
        self.options.topics.iter().map(|topic| count(topic)).collect()
    }
}

fn claim(joined: &Joined) -> MemberClaim {
    let (member_id, generation) = (joined.member_id.clone(), joined.generation);
    MemberClaim { member_id, instance_id: None, generation }
}
