//! Fetch: a long poll over many partitions.
//!
//! ```text
//! read what is there ─► enough, an error, or no time to wait? ─► answer
//!        ▲                            │ no
//!        └── a partition wakes us ◄───┘ subscribe; deadline, shutdown ─► answer
//! ```
//!
//! What has been read stays and is added to, so waiting for many bytes reads each of them once.
//! Which partitions are meant, and which of them are worth telling of, is known to the reader's
//! session ([`fetch_sessions`](crate::server::fetch_sessions)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{
    Call, blocking, check_leader_epoch, isolation, opened, permitted_topic, read_error_code,
};
use crate::broker::Topic;
use crate::client::Isolation;
use crate::ids::Offset;
use crate::log::{self, Partition, ReadOptions, Visible};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k01_fetch::*;
use crate::security::acl::Operation;
use crate::server::fetch_sessions::{self, Answer, Fetched, Fetching, Named, Position, Refused};

/// A reader this close to the end reads what was just written, from memory; others may have to
/// wait for the disk, which they do on another thread.
const TAIL_RECORDS: i64 = 10_000;
/// The least memory that a fetch waits for when there is little.
const LEASE_BYTES_MIN: usize = 1 << 20;

/// The first version with topics by id.
const TOPIC_IDS_FROM: i16 = 13;

pub async fn handle(call: &Call, request: FetchRequest) -> FetchResponse {
    let refused = |Refused { code, id }| FetchResponse {
        error_code: code,
        session_id: id,
        ..FetchResponse::default()
    };
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + wait;
    let begun = call.shared.with_fetch_sessions(|sessions, now_ms| {
        let asked = asked(&request, call.version >= TOPIC_IDS_FROM);
        sessions.begin(asked, &call.identity.principal, now_ms)
    });
    let fetching = match begun {
        Ok(fetching) => fetching,
        Err(error) => return refused(error),
    };
    let mut fetch = Fetch::new(call, &request, &fetching);
    fetch.read(call).await;
    if !fetch.is_done() && !wait.is_zero() {
        fetch.wait(call, deadline).await;
    }
    if !call.count_read(fetch.bytes) {
        // The reader asks again once it may; what is not sent is not told of either.
        let throttled =
            call.shared.with_fetch_sessions(|sessions, _| sessions.throttled(&fetching));
        return throttled.map_or_else(refused, |id| FetchResponse {
            session_id: id,
            ..FetchResponse::default()
        });
    }
    let fetched = fetch.fetched();
    let answer = call.shared.with_fetch_sessions(|sessions, now_ms| {
        sessions.finish(&fetching, &fetched, fresh_session_id, now_ms)
    });
    match answer {
        Ok(answer) => fetch.response(answer),
        Err(error) => refused(error),
    }
}

fn fresh_session_id() -> i32 {
    (Uuid::new_v4().as_u128() as u32 & i32::MAX as u32) as i32
}

fn asked(request: &FetchRequest, by_topic_id: bool) -> fetch_sessions::Request {
    let named = |topic: &Arc<str>, topic_id: Uuid, partition: i32| Named {
        topic: topic.clone(),
        topic_id,
        partition,
    };
    let partitions = request.topics.iter().flat_map(|wanted| {
        let (topic, id) = (Arc::from(wanted.topic.as_str()), wanted.topic_id);
        wanted.partitions.iter().map(move |wanted| {
            let position = Position {
                offset: wanted.fetch_offset,
                leader_epoch: wanted.current_leader_epoch,
                bytes_max: wanted.partition_max_bytes,
            };
            (named(&topic, id, wanted.partition), position)
        })
    });
    let forgotten = request.forgotten_topics_data.iter().flat_map(|forgotten| {
        let (topic, id) = (Arc::from(forgotten.topic.as_str()), forgotten.topic_id);
        forgotten.partitions.iter().map(move |partition| named(&topic, id, *partition))
    });
    fetch_sessions::Request {
        id: request.session_id,
        epoch: request.session_epoch,
        by_topic_id,
        partitions: partitions.collect(),
        forgotten: forgotten.collect(),
    }
}

/// A fetch under way. It owns what it needs, so that it can go to another thread and back.
struct Fetch {
    isolation: Isolation,
    bytes_min: usize,
    bytes_max: usize,
    bytes: usize,
    /// Answer at once: a partition cannot be read.
    failed: bool,
    topics: Vec<TopicFetch>,
}

struct TopicFetch {
    name: Arc<str>,
    id: Uuid,
    partitions: Vec<PartitionFetch>,
}

struct PartitionFetch {
    index: i32,
    bytes_max: usize,
    state: Result<Open, ErrorCode>,
}

/// A partition that can be read.
struct Open {
    partition: Arc<Partition>,
    next: Offset,
    /// Whether it has been looked into at all.
    visited: bool,
    visible: Visible,
    bytes: usize,
    chunks: Vec<Bytes>,
    aborted: Vec<log::AbortedTransaction>,
}

impl Open {
    fn end(&self, isolation: Isolation) -> Offset {
        let visible = self.partition.visible();
        match isolation {
            Isolation::ReadUncommitted => visible.high_watermark,
            Isolation::ReadCommitted => visible.last_stable,
        }
    }
}

impl Fetch {
    /// In the order of the session, in which a topic may come several times.
    fn new(call: &Call, request: &FetchRequest, fetching: &Fetching) -> Fetch {
        let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let bytes_max = bytes(request.max_bytes).min(call.shared.config.fetch_bytes_max);
        let bytes_max = bytes_max.min(call.read_max());
        let mut fetch = Fetch {
            isolation: isolation(request.isolation_level),
            bytes_min: bytes(request.min_bytes).min(bytes_max),
            bytes_max,
            ..Fetch::empty()
        };
        for wanted in fetching.partitions.chunk_by(|(one, _), (next, _)| {
            (&one.topic, one.topic_id) == (&next.topic, next.topic_id)
        }) {
            let (name, id) = (wanted[0].0.topic.clone(), wanted[0].0.topic_id);
            let topic =
                permitted_topic(call, Operation::Read, call.version >= TOPIC_IDS_FROM, &name, id);
            let partitions = wanted.iter().map(|(named, position)| PartitionFetch {
                index: named.partition,
                bytes_max: bytes(position.bytes_max),
                state: open(topic.as_deref(), named.partition, *position),
            });
            let partitions = partitions.collect();
            fetch.topics.push(TopicFetch { name, id, partitions });
        }
        // What does not exist, or may not be read, can wait as long as there is anything to wait
        // for: readers come back at once, and would go round and round.
        let mut errors = fetch.partitions().filter_map(|wanted| wanted.state.as_ref().err());
        let has_failed = errors.any(|error| !is_never_read(error));
        drop(errors);
        fetch.failed = has_failed || fetch.open().next().is_none();
        fetch
    }

    fn partitions(&self) -> impl Iterator<Item = &PartitionFetch> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    fn is_done(&self) -> bool {
        self.failed || self.bytes >= self.bytes_min
    }

    fn open(&self) -> impl Iterator<Item = (usize, &Open)> {
        self.partitions().filter_map(|wanted| Some((wanted.bytes_max, wanted.state.as_ref().ok()?)))
    }

    /// Reads what is there and has room, and holds the memory for it.
    async fn read(&mut self, call: &Call) {
        let (mut room, mut is_cold, mut is_due) = (0, false, false);
        for (bytes_max, open) in self.open() {
            let behind = open.end(self.isolation).since(open.next);
            is_due |= !open.visited;
            if behind > 0 && bytes_max > open.bytes {
                room += bytes_max - open.bytes;
                is_due = true;
                is_cold |= behind > TAIL_RECORDS;
            }
        }
        if !is_due {
            return;
        }
        let room = room.min(self.bytes_max.saturating_sub(self.bytes));
        let (mut lease, room) = call.shared.response_memory.lease(room, LEASE_BYTES_MIN).await;
        let before = self.bytes;
        if is_cold {
            let mut fetch = std::mem::replace(self, Fetch::empty());
            let read = move || {
                let errors = fetch.read_now(room);
                (fetch, errors)
            };
            let errors;
            (*self, errors) = blocking(read).await;
            self.refuse(call, errors);
        } else {
            let errors = self.read_now(room);
            self.refuse(call, errors);
        }
        // More only where a single batch was larger than all the room.
        lease.shrink(self.bytes - before);
        call.hold(lease);
    }

    fn empty() -> Fetch {
        Fetch {
            isolation: Isolation::ReadUncommitted,
            bytes_min: 0,
            bytes_max: 0,
            bytes: 0,
            failed: false,
            topics: Vec::new(),
        }
    }

    /// Reads up to `room` more bytes. The first batch of all comes whole, whatever its size, so
    /// that a reader gets on (KIP-74).
    fn read_now(&mut self, mut room: usize) -> Vec<(At, log::ReadError)> {
        let mut errors = Vec::new();
        for (topic_at, topic) in self.topics.iter_mut().enumerate() {
            for (partition_at, wanted) in topic.partitions.iter_mut().enumerate() {
                let Ok(open) = &mut wanted.state else { continue };
                let bytes_max = room.min(wanted.bytes_max.saturating_sub(open.bytes));
                let at_least_one = self.bytes == 0;
                if bytes_max == 0 && !at_least_one && open.visited {
                    continue;
                }
                open.visited = true;
                let options = ReadOptions { isolation: self.isolation, bytes_max, at_least_one };
                match open.partition.read(open.next, options) {
                    Ok(slice) => {
                        open.visible = slice.visible;
                        open.next = slice.next_offset;
                        open.bytes += slice.records.len();
                        self.bytes += slice.records.len();
                        room = room.saturating_sub(slice.records.len());
                        if !slice.records.is_empty() {
                            open.chunks.push(slice.records);
                            open.aborted.extend(slice.aborted);
                        }
                    }
                    // What was read before is an answer too.
                    Err(_) if open.bytes > 0 => {}
                    Err(error) => errors.push((At { topic_at, partition_at }, error)),
                }
            }
        }
        errors
    }

    fn refuse(&mut self, call: &Call, errors: Vec<(At, log::ReadError)>) {
        for (At { topic_at, partition_at }, error) in errors {
            let state = &mut self.topics[topic_at].partitions[partition_at].state;
            let Ok(open) = state else { continue };
            *state = Err(read_error_code(call, &open.partition, &error));
            self.failed = true;
        }
    }

    /// Goes on until there is enough, or the time is over.
    async fn wait(&mut self, call: &Call, deadline: Instant) {
        let notify = Arc::new(Notify::new());
        // One for each partition, however often the request names it.
        let partitions: HashMap<*const Partition, &Arc<Partition>> =
            self.open().map(|(_, open)| (Arc::as_ptr(&open.partition), &open.partition)).collect();
        let subscribed: Vec<_> =
            partitions.into_values().map(|partition| partition.subscribe(&notify)).collect();
        loop {
            // Looked at after subscribing, so that no append is missed.
            self.read(call).await;
            if !self.is_done() && self.find_ended() {
                self.read(call).await;
            }
            if self.is_done() {
                break;
            }
            tokio::select! {
                () = notify.notified() => {}
                () = sleep_until(deadline) => break,
                () = call.shared.shutdown.cancelled() => break,
            }
        }
        drop(subscribed);
    }

    /// Finds partitions that were deleted or have failed; the next read has another look into
    /// them, and so learns why.
    fn find_ended(&mut self) -> bool {
        let mut found = false;
        let partitions = self.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for open in partitions.filter_map(|wanted| wanted.state.as_mut().ok()) {
            if open.partition.is_closed() || open.partition.offline().is_some() {
                open.visited = false;
                found = true;
            }
        }
        found
    }

    fn fetched(&self) -> Vec<Fetched> {
        let fetched = self.partitions().map(|wanted| match &wanted.state {
            Ok(open) => Fetched {
                high_watermark: open.visible.high_watermark.0,
                log_start: open.visible.log_start.0,
                has_records: open.bytes > 0,
                has_failed: false,
            },
            Err(_) => {
                Fetched { high_watermark: -1, log_start: -1, has_records: false, has_failed: true }
            }
        });
        fetched.collect()
    }

    fn response(self, answer: Answer) -> FetchResponse {
        let isolation = self.isolation;
        let mut told = answer.told.into_iter();
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().zip(told.by_ref());
            let partitions = partitions.filter(|(_, told)| *told);
            FetchableTopicResponse {
                topic: topic.name.to_string(),
                topic_id: topic.id,
                partitions: partitions.map(|(one, _)| one.response(isolation)).collect(),
            }
        });
        let responses = topics.filter(|topic| !topic.partitions.is_empty()).collect();
        FetchResponse { session_id: answer.id, responses, ..FetchResponse::default() }
    }
}

/// Whether it was decided before any log was looked at.
fn is_never_read(error: &ErrorCode) -> bool {
    let never = [
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::TOPIC_AUTHORIZATION_FAILED,
    ];
    never.contains(error)
}

/// A partition ready to be read, or why it is not.
fn open(
    topic: Result<&Topic, &ErrorCode>,
    partition: i32,
    from: Position,
) -> Result<Open, ErrorCode> {
    let partition = topic.map_err(|error| *error)?.partition(partition).cloned();
    let partition = opened(partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?)?;
    check_leader_epoch(&partition, from.leader_epoch)?;
    Ok(Open {
        visible: partition.visible(),
        partition,
        next: Offset(from.offset),
        visited: false,
        bytes: 0,
        chunks: Vec::new(),
        aborted: Vec::new(),
    })
}

/// Where a partition stands in the request.
struct At {
    topic_at: usize,
    partition_at: usize,
}

impl PartitionFetch {
    fn response(self, isolation: Isolation) -> PartitionData {
        let partition_index = self.index;
        let mut open = match self.state {
            Ok(open) => open,
            Err(error_code) => {
                // Of a partition that it reads, Kafka knows that it has looked for none.
                let exists = !is_never_read(&error_code);
                return PartitionData {
                    partition_index,
                    error_code,
                    high_watermark: -1,
                    aborted_transactions: (!exists).then(Vec::new),
                    ..PartitionData::default()
                };
            }
        };
        let aborted_transactions = (isolation == Isolation::ReadCommitted).then(|| {
            // One that reaches over two reads was found by both.
            open.aborted.sort_unstable_by_key(|one| (one.first_offset, one.producer_id));
            open.aborted.dedup();
            let aborted = open.aborted.iter().map(|one| AbortedTransaction {
                producer_id: one.producer_id.0,
                first_offset: one.first_offset.0,
            });
            aborted.collect()
        });
        PartitionData {
            partition_index,
            high_watermark: open.visible.high_watermark.0,
            last_stable_offset: open.visible.last_stable.0,
            log_start_offset: open.visible.log_start.0,
            aborted_transactions,
            records: Some(joined(open.chunks)),
            ..PartitionData::default()
        }
    }
}

/// Mostly one read, which goes out as it is.
fn joined(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}
