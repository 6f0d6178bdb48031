//! ShareFetch (KIP-932): a long poll over the partitions of a share session.
//!
//! ```text
//! what became of earlier records ─► session ─► give out what is there ─► some? ─► answer
//!                                                    ▲                    │ none
//!            a partition grows, a lock ends, ────────┘◄── subscribe ◄─────┘ deadline ─► answer
//!            a member releases or leaves
//! ```
//!
//! Records are given out partition by partition, each time beginning with another. Of one
//! partition only one member is read for at a time, so that members are given different records.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::sharing::{self, not_kept};
use super::{Call, blocking, opened, permitted_topic, read_error_code};
use crate::broker::group_configs::{ShareSettings, Start};
use crate::client::Isolation;
use crate::coordinator::shares::partition::{Acquired, Asking, Span};
use crate::coordinator::shares::service::Slot;
use crate::coordinator::shares::sessions::{FINAL_EPOCH, INITIAL_EPOCH, Named, Owner};
use crate::ids::Offset;
use crate::log::{LogSlice, Partition, ReadError, ReadOptions};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k78_share_fetch::*;
use crate::record::RecordBatch;
use crate::security::acl::Operation;

/// A reader this close to the end reads what was just written, from memory.
const TAIL_RECORDS: i64 = 10_000;
/// The least memory that a fetch waits for when there is little.
const LEASE_BYTES_MIN: usize = 1 << 20;

pub async fn handle(call: &Call, request: ShareFetchRequest) -> ShareFetchResponse {
    match fetch(call, request).await {
        Ok(response) => response,
        Err(error_code) => ShareFetchResponse { error_code, ..ShareFetchResponse::default() },
    }
}

async fn fetch(
    call: &Call,
    mut request: ShareFetchRequest,
) -> Result<ShareFetchResponse, ErrorCode> {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait;
    let (group, member) = (request.group_id.as_deref(), request.member_id.as_deref());
    let owner = sharing::owner(call, group, member)?;
    let epoch = request.share_session_epoch;
    let mut answer = Answer::default();
    let partitions = match begin(call, &owner, &request, &mut answer) {
        // Whoever finds no room comes back at once, and would go round and round.
        Err(ErrorCode::SHARE_SESSION_LIMIT_REACHED) => {
            call.before_shutdown(sleep_until(deadline)).await;
            return Err(ErrorCode::SHARE_SESSION_LIMIT_REACHED);
        }
        begun => begun?,
    };
    acknowledge(call, &owner, &mut request, &mut answer).await;
    let settings = call.broker().share_settings(&owner.group);
    let mut sharing = Sharing::new(call, &owner, &request, settings);
    sharing.open(call, partitions, &mut answer).await;
    sharing.give(call, deadline, &mut answer).await;
    if epoch == FINAL_EPOCH {
        call.broker().shares().end_session(&owner);
    }
    Ok(ShareFetchResponse {
        acquisition_lock_timeout_ms: settings.lock_ms,
        responses: answer.topics,
        ..ShareFetchResponse::default()
    })
}

/// The partitions of the session. What is named but not there is told of, and forgotten.
fn begin(
    call: &Call,
    owner: &Owner,
    request: &ShareFetchRequest,
    answer: &mut Answer,
) -> Result<Vec<Named>, ErrorCode> {
    let epoch = request.share_session_epoch;
    let partitions = || request.topics.iter().flat_map(|topic| &topic.partitions);
    let says_something = partitions().any(|one| !one.acknowledgement_batches.is_empty());
    if epoch == INITIAL_EPOCH && says_something {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    let (mut added, mut unknown) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let known = call.broker().topic_by_id(topic.topic_id);
        for one in &topic.partitions {
            let index = one.partition_index;
            let exists = known.as_ref().map(|known| known.partition(index).is_some());
            match exists {
                Some(true) => added.push((topic.topic_id, index)),
                Some(false) => {
                    unknown.push((topic.topic_id, index, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
                }
                None => unknown.push((topic.topic_id, index, ErrorCode::UNKNOWN_TOPIC_ID)),
            }
        }
    }
    let forgotten = request
        .forgotten_topics_data
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic_id, *partition)));
    let forgotten: Vec<Named> = forgotten.collect();
    let mut sessions = call.broker().shares().sessions();
    let partitions = sessions.fetch(owner, epoch, call.connection, &added, &forgotten)?;
    if epoch != FINAL_EPOCH {
        // Those that are named are in the answer, whether they have anything or not.
        for (topic_id, index) in added {
            answer.partition(topic_id, index);
        }
        for (topic_id, index, code) in unknown {
            answer.partition(topic_id, index).error_code = code;
        }
    }
    Ok(partitions)
}

/// Takes what the member says of records that it was given before.
async fn acknowledge(
    call: &Call,
    owner: &Owner,
    request: &mut ShareFetchRequest,
    answer: &mut Answer,
) {
    let mut under_way = Vec::new();
    for topic in &mut request.topics {
        for one in &mut topic.partitions {
            let (topic_id, index) = (topic.topic_id, one.partition_index);
            let said = std::mem::take(&mut one.acknowledgement_batches);
            if said.is_empty() {
                continue;
            }
            let said = said.into_iter();
            let said = said.map(|it| (it.first_offset, it.last_offset, it.acknowledge_types));
            let done = sharing::acknowledge(call, owner, topic_id, index, said.collect());
            under_way.push(async move { (topic_id, index, done.await) });
        }
    }
    for (topic_id, index, outcome) in join_all(under_way).await {
        let told = answer.partition(topic_id, index);
        if let Err((code, message)) = outcome {
            told.acknowledge_error_code = code;
            told.acknowledge_error_message = message;
        }
    }
}

/// What is answered, by topics.
#[derive(Default)]
struct Answer {
    topics: Vec<ShareFetchableTopicResponse>,
}

impl Answer {
    fn partition(&mut self, topic_id: Uuid, partition_index: i32) -> &mut PartitionData {
        let at = self.topics.iter().position(|topic| topic.topic_id == topic_id);
        let at = at.unwrap_or_else(|| {
            let partitions = Vec::new();
            self.topics.push(ShareFetchableTopicResponse { topic_id, partitions });
            self.topics.len() - 1
        });
        let partitions = &mut self.topics[at].partitions;
        let at = partitions.iter().position(|one| one.partition_index == partition_index);
        let at = at.unwrap_or_else(|| {
            let records = Some(Bytes::new());
            partitions.push(PartitionData { partition_index, records, ..Default::default() });
            partitions.len() - 1
        });
        &mut partitions[at]
    }
}

/// A partition that records may be given out of.
struct Open {
    named: Named,
    partition: Arc<Partition>,
    slot: Arc<Slot>,
}

impl Open {
    fn end(&self, isolation: Isolation) -> i64 {
        let visible = self.partition.visible();
        match isolation {
            Isolation::ReadUncommitted => visible.high_watermark.0,
            Isolation::ReadCommitted => visible.last_stable.0,
        }
    }

    /// Where to read, if there is anything to be found.
    fn due(&self, isolation: Isolation) -> Option<i64> {
        let visible = self.partition.visible();
        let from = self.slot.next_fetch(visible.log_start.0, visible.log_end.0)?;
        let has_ended = self.partition.is_closed() || self.partition.offline().is_some();
        (from < self.end(isolation) || has_ended).then_some(from)
    }
}

/// Giving out under way.
struct Sharing {
    owner: Owner,
    settings: ShareSettings,
    records_left: i64,
    batch_size: i64,
    bytes_min: usize,
    bytes_left: usize,
    open: Vec<Open>,
    /// Answer at once: a partition cannot be read, or something was given out.
    is_done: bool,
}

impl Sharing {
    fn new(
        call: &Call,
        owner: &Owner,
        request: &ShareFetchRequest,
        settings: ShareSettings,
    ) -> Sharing {
        let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let bytes_max = bytes(request.max_bytes).min(call.shared.config.fetch_bytes_max);
        Sharing {
            owner: owner.clone(),
            settings,
            records_left: i64::from(request.max_records),
            batch_size: i64::from(request.batch_size.max(1)),
            bytes_min: bytes(request.min_bytes).min(bytes_max),
            bytes_left: bytes_max.min(call.read_max()),
            open: Vec::new(),
            is_done: false,
        }
    }

    /// Looks the partitions up, and has the group begin where it has not yet.
    async fn open(&mut self, call: &Call, partitions: Vec<Named>, answer: &mut Answer) {
        for named in partitions {
            match self.open_one(call, named).await {
                Ok(open) => self.open.push(open),
                Err(code) => {
                    answer.partition(named.0, named.1).error_code = code;
                    self.is_done = true;
                }
            }
        }
    }

    async fn open_one(&self, call: &Call, named: Named) -> Result<Open, ErrorCode> {
        let topic = permitted_topic(call, Operation::Read, true, "", named.0)?;
        let partition = topic.partition(named.1).cloned();
        let partition = opened(partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?)?;
        if !call.broker().groups().is_share_group(&self.owner.group) {
            return Err(ErrorCode::GROUP_ID_NOT_FOUND);
        }
        let start = start(partition.clone(), self.settings.start);
        let begun = call.broker().shares().begin(&self.owner.group, named, start).await;
        let slot = begun.map_err(|error| not_kept(&self.owner.group, &error))?;
        Ok(Open { named, partition, slot })
    }

    /// Until there is something, or the time is over.
    async fn give(&mut self, call: &Call, deadline: Instant, answer: &mut Answer) {
        let notify = Arc::new(Notify::new());
        let subscribed = self.open.iter().map(|open| open.partition.subscribe(&notify));
        let _subscribed: Vec<_> = subscribed.collect();
        let woken = self.open.first().map_or_else(Arc::default, |open| open.slot.woken().clone());
        loop {
            // Looked at after subscribing, so that nothing is missed.
            let notified = woken.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            let is_last = self.is_done || Instant::now() >= deadline;
            if is_last || self.has_enough().await {
                self.give_now(call, answer).await;
            }
            if self.is_done || is_last {
                return;
            }
            tokio::select! {
                () = notify.notified() => {}
                () = notified => {}
                () = sleep_until(deadline) => {}
                () = call.shared.shutdown.cancelled() => return,
            }
        }
    }

    /// Whether there are as many bytes as the member waits for; most wait for any.
    async fn has_enough(&self) -> bool {
        let mut bytes = 0;
        for open in &self.open {
            let Some(from) = open.due(self.settings.isolation) else { continue };
            if self.bytes_min <= 1 {
                return true;
            }
            match self.read(open, from, self.bytes_min - bytes).await {
                Ok(slice) => bytes += slice.records.len(),
                Err(_) => return true,
            }
            if bytes >= self.bytes_min {
                return true;
            }
        }
        false
    }

    async fn give_now(&mut self, call: &Call, answer: &mut Answer) {
        let isolation = self.settings.isolation;
        if !self.open.iter().any(|open| open.due(isolation).is_some()) {
            return;
        }
        let memory = &call.shared.response_memory;
        let (mut lease, mut room) = memory.lease(self.bytes_left, LEASE_BYTES_MIN).await;
        let mut given = Vec::new();
        let mut bytes = 0;
        for (at, open) in self.open.iter().enumerate() {
            if self.records_left <= 0 || (room == 0 && bytes > 0) {
                break;
            }
            let share = (room / (self.open.len() - at)).max(1);
            match self.take(call, open, share).await {
                Ok(None) => {}
                Ok(Some((records, acquired))) => {
                    self.records_left -= acquired.iter().map(Acquired::count).sum::<i64>();
                    bytes += records.len();
                    room = room.saturating_sub(records.len());
                    given.push((at, records, acquired));
                }
                Err(code) => {
                    answer.partition(open.named.0, open.named.1).error_code = code;
                    self.is_done = true;
                }
            }
        }
        lease.shrink(bytes);
        call.hold(lease);
        self.is_done |= !given.is_empty();
        if !given.is_empty() && !call.count_read(bytes) {
            // The member asks again once it may.
            for (at, _, acquired) in given {
                self.open[at].slot.take_back(&self.owner.member, &acquired);
            }
            return;
        }
        for (at, records, acquired) in given {
            let (topic_id, index) = self.open[at].named;
            let told = answer.partition(topic_id, index);
            told.records = Some(records);
            told.acquired_records = acquired.iter().map(acquired_records).collect();
        }
    }

    /// Acquires what is there in one partition, with the batches that it lies in.
    async fn take(
        &self,
        call: &Call,
        open: &Open,
        bytes_max: usize,
    ) -> Result<Option<(Bytes, Vec<Acquired>)>, ErrorCode> {
        let _turn = open.slot.turn().await;
        while let Some(from) = open.due(self.settings.isolation) {
            let slice = match self.read(open, from, bytes_max).await {
                Ok(slice) => slice,
                // The log has been cut at its beginning; looked at again.
                Err(ReadError::OffsetOutOfRange { .. }) if !open.partition.is_closed() => continue,
                Err(error) => return Err(read_error_code(call, &open.partition, &error)),
            };
            let batches = RecordBatch::split_all(slice.records.clone());
            let batches = batches.map_err(|error| {
                tracing::warn!(partition = %open.partition.id(), %error, "cannot read");
                ErrorCode::CORRUPT_MESSAGE
            })?;
            let spans: Vec<Span> = batches.iter().map(|batch| span(batch, &slice)).collect();
            let asking = Asking {
                member: self.owner.member.clone(),
                records_max: self.records_left,
                batch_size: self.batch_size,
                now_ms: 0,
                lock_ms: u64::try_from(self.settings.lock_ms).unwrap_or(0),
            };
            let shares = call.broker().shares();
            let acquired = shares.acquire(&open.slot, asking, from, &spans);
            if !acquired.is_empty() {
                return Ok(Some((cut(&slice.records, &batches, &acquired), acquired)));
            }
            // What was there is for nobody: on to what comes after it.
            if open.due(self.settings.isolation) == Some(from) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn read(&self, open: &Open, from: i64, bytes_max: usize) -> Result<LogSlice, ReadError> {
        let isolation = self.settings.isolation;
        let options = ReadOptions { isolation, bytes_max, at_least_one: true };
        if open.end(isolation) - from <= TAIL_RECORDS {
            return open.partition.read(Offset(from), options);
        }
        let partition = open.partition.clone();
        blocking(move || partition.read(Offset(from), options)).await
    }
}

/// Where a group begins that has nothing of a partition yet.
async fn start(partition: Arc<Partition>, start: Start) -> i64 {
    let visible = partition.visible();
    match start {
        Start::Latest => visible.high_watermark.0,
        Start::Earliest => visible.log_start.0,
        Start::Ago { ms } => {
            let since_ms = crate::broker::now_ms().saturating_sub(ms);
            let find = move || partition.offset_at_timestamp(since_ms, Isolation::ReadUncommitted);
            let found = blocking(find).await;
            found.ok().flatten().map_or(visible.high_watermark.0, |found| found.offset.0)
        }
    }
}

fn span(batch: &RecordBatch, slice: &LogSlice) -> Span {
    let first = batch.base_offset();
    let is_aborted = batch.is_transactional()
        && !batch.is_control()
        && slice.aborted.iter().any(|aborted| {
            aborted.producer_id == batch.producer_id()
                && (aborted.first_offset..=aborted.last_offset).contains(&first)
        });
    Span { first: first.0, last: batch.last_offset().0, is_aborted }
}

/// The batches from the first to the last record that was acquired.
fn cut(records: &Bytes, batches: &[RecordBatch], acquired: &[Acquired]) -> Bytes {
    let (Some(front), Some(back)) = (acquired.first(), acquired.last()) else {
        return Bytes::new();
    };
    let size = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::size).sum::<usize>();
    let begin = batches.partition_point(|batch| batch.last_offset().0 < front.first);
    let end = batches.partition_point(|batch| batch.base_offset().0 <= back.last);
    records.slice(size(&batches[..begin])..size(&batches[..end]))
}

fn acquired_records(acquired: &Acquired) -> AcquiredRecords {
    AcquiredRecords {
        first_offset: acquired.first,
        last_offset: acquired.last,
        delivery_count: acquired.deliveries,
    }
}
