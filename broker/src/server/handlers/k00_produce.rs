//! Produce. All partitions are appended to first, then their syncs are waited for together.
//!
//! A batch that would begin a transaction in its partition is sent back by the log; the
//! coordinator is asked, and what it admits is appended before the transaction can end (KIP-890).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::admission::{self, Admitting};
use super::{Call, permitted_topic};
use crate::broker::now_ms;
use crate::client::Acks;
use crate::coordinator::transactions::{Admission, ProducerIdentity};
use crate::ids::{Offset, TopicPartition};
use crate::log::{AppendError, AppendOptions, Appended, Origin, Partition, RefusedRecord};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k00_produce::*;
use crate::record::RecordBatch;
use crate::security::acl::Operation;
use crate::topics::is_internal;

/// The first version with topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// From here on checking and writing take longer than the way to another thread, some 10 µs.
const HEAVY_BYTES: usize = 64 * 1024;
/// Where a record batch has its codec, and whether it is transactional.
const ATTRIBUTES_BYTE: usize = 22;
const CODEC_BITS: u8 = 0x07;
const TRANSACTIONAL_BIT: u8 = 0x10;

pub async fn handle(call: &Call, request: ProduceRequest) -> ProduceResponse {
    append(call, request).await.acknowledged().await
}

/// What was appended, and what is still to be waited for.
pub struct Appends {
    response: ProduceResponse,
    waits: Vec<Wait>,
    deadline: Instant,
}

struct Wait {
    partition: Arc<Partition>,
    last_offset: Offset,
    /// Of the response.
    at: At,
}

/// Appends all that a request brings.
pub async fn append(call: &Call, request: ProduceRequest) -> Appends {
    let acks = acks(call, &request);
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let mut appends = Appends {
        response: ProduceResponse::default(),
        waits: Vec::new(),
        deadline: Instant::now() + timeout,
    };
    let mut jobs = Vec::new();
    for (topic_at, data) in request.topic_data.into_iter().enumerate() {
        let mut responses = Vec::with_capacity(data.partition_data.len());
        // The broker's own topics are refused whether or not they are there yet.
        let topic = match permitted_topic(
            call,
            Operation::Write,
            call.version >= TOPIC_IDS_FROM,
            &data.name,
            data.topic_id,
        ) {
            Ok(topic) if topic.internal => Err(ErrorCode::INVALID_TOPIC_EXCEPTION),
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) if is_internal(&data.name) => {
                Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
            }
            found => found,
        };
        for (partition_at, partition_data) in data.partition_data.into_iter().enumerate() {
            let index = partition_data.index;
            responses.push(PartitionProduceResponse { index, ..refused(ErrorCode::NONE) });
            let found = acks.and_then(|acks| {
                let topic = topic.as_ref().map_err(|error| *error)?;
                let partition = topic.partition(index).cloned();
                Ok((partition.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?, acks))
            });
            match found {
                Ok((partition, acks)) => {
                    let records = partition_data.records.unwrap_or_default();
                    let options = AppendOptions { origin: Origin::Client, acks, now_ms: now_ms() };
                    let at = (topic_at, partition_at);
                    jobs.push(Job { partition, records, options, at });
                }
                Err(error_code) => responses[partition_at].error_code = error_code,
            }
        }
        appends.response.responses.push(TopicProduceResponse {
            name: data.name,
            topic_id: data.topic_id,
            partition_responses: responses,
        });
    }
    let not_admitted = appends.run(call, jobs, None).await;
    if let (false, Some(id)) = (not_admitted.is_empty(), request.transactional_id) {
        appends.run_admitted(call, &id, not_admitted).await;
    }
    appends
}

/// How all is to be acknowledged, if the request makes sense as a whole.
fn acks(call: &Call, request: &ProduceRequest) -> Result<Acks, ErrorCode> {
    let mut all = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let is_transactional = |data: &PartitionProduceData| {
        let attributes = data.records.as_ref().and_then(|records| records.get(ATTRIBUTES_BYTE));
        attributes.is_some_and(|attributes| attributes & TRANSACTIONAL_BIT != 0)
    };
    if all.any(is_transactional) {
        let id = request.transactional_id.as_deref();
        if !id.is_some_and(|id| call.may_on_transactional_id(Operation::Write, id)) {
            return Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        }
    }
    match request.acks {
        -1 => Ok(Acks::All),
        0 | 1 => Ok(Acks::Leader),
        _ => Err(ErrorCode::INVALID_REQUIRED_ACKS),
    }
}

type At = (usize, usize);

struct Job {
    partition: Arc<Partition>,
    records: Bytes,
    options: AppendOptions,
    at: At,
}

/// What has come of a job.
enum Outcome {
    Appended(PartitionProduceResponse, Option<Wait>),
    /// It would begin a transaction that the coordinator has to know of.
    NotAdmitted(Job),
}

impl Job {
    /// Whether it may keep a thread busy: a compressed batch of some KB can hold hundreds of MB.
    fn is_compressed(&self) -> bool {
        self.records.get(ATTRIBUTES_BYTE).is_some_and(|attributes| attributes & CODEC_BITS != 0)
    }

    /// Who has written it; only to be asked of a batch that the log has looked at.
    fn producer(&self) -> Option<ProducerIdentity> {
        let batch = RecordBatch::parse(self.records.clone()).ok()?;
        let (producer_id, epoch) = (batch.producer_id(), batch.producer_epoch());
        Some(ProducerIdentity { producer_id, epoch })
    }

    fn run(self) -> Outcome {
        let index = self.partition.id().partition;
        if self.options.origin == Origin::Client && self.partition.begins_transaction(&self.records)
        {
            return Outcome::NotAdmitted(self);
        }
        match self.partition.append(self.records.clone(), self.options) {
            Ok(appended) => self.appended(appended),
            Err(AppendError::NotAdmitted { .. }) => Outcome::NotAdmitted(self),
            Err(error) => {
                let error_message = Some(error.to_string());
                // What the log itself has against the records, it says with where it begins.
                let begins = matches!(
                    error,
                    AppendError::OutOfOrderSequence { .. }
                        | AppendError::InvalidTransactionState { .. }
                        | AppendError::InvalidTimestamp { .. }
                        | AppendError::InvalidRecord { .. }
                );
                let log_start = begins.then(|| self.partition.visible().log_start.0);
                let response = PartitionProduceResponse {
                    index,
                    record_errors: record_errors(&error),
                    error_message,
                    log_start_offset: log_start.unwrap_or(-1),
                    ..refused(ErrorCode(error.code()))
                };
                Outcome::Appended(response, None)
            }
        }
    }

    fn appended(self, appended: Appended) -> Outcome {
        let Job { partition, at, .. } = self;
        let response = PartitionProduceResponse {
            index: partition.id().partition,
            error_code: ErrorCode::NONE,
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.append_time_ms.unwrap_or(-1),
            log_start_offset: appended.log_start.0,
            ..PartitionProduceResponse::default()
        };
        let last_offset = appended.last_offset;
        let wait = appended.wait_for_sync.then_some(Wait { partition, last_offset, at });
        Outcome::Appended(response, wait)
    }
}

impl Appends {
    /// The appends themselves; gives those back that are not admitted. They write to the page
    /// cache, which takes microseconds, so small ones are done here and now; large or compressed
    /// ones go to another thread, and the admission with them.
    async fn run(&mut self, call: &Call, jobs: Vec<Job>, admission: Option<Admission>) -> Vec<Job> {
        let bytes: usize = jobs.iter().map(|job| job.records.len()).sum();
        let is_heavy = bytes >= HEAVY_BYTES || jobs.iter().any(Job::is_compressed);
        let run = move || {
            let _held_to_the_end = admission;
            let run = |job: Job| (job.at, job.run());
            jobs.into_iter().map(run).collect::<Vec<_>>()
        };
        let done = if is_heavy {
            let _slot = call.shared.heavy_appends.acquire().await;
            super::blocking(run).await
        } else {
            run()
        };
        let mut not_admitted = Vec::new();
        for (at, outcome) in done {
            match outcome {
                Outcome::Appended(response, wait) => {
                    *self.response_at(at) = response;
                    self.waits.extend(wait);
                }
                Outcome::NotAdmitted(job) => {
                    self.response_at(at).error_code = ErrorCode::INVALID_TXN_STATE;
                    not_admitted.push(job);
                }
            }
        }
        not_admitted
    }

    /// Asks the coordinator for admission, and appends what it admits.
    async fn run_admitted(&mut self, call: &Call, id: &str, jobs: Vec<Job>) {
        let partitions: Vec<TopicPartition> =
            jobs.iter().map(|job| job.partition.id().clone()).collect();
        let producer = jobs[0].producer();
        let admitting = Admitting::of_produce(call.version);
        let admitted = match producer {
            Some(producer) if jobs.iter().all(|job| job.producer() == Some(producer)) => {
                admission::admit(call, id, producer, partitions, admitting).await
            }
            _ => Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING),
        };
        let (admission, each) = match admitted {
            Ok((admission, each)) => (Some(admission), each),
            Err(error_code) => (None, vec![Err(error_code); jobs.len()]),
        };
        let mut admitted = Vec::with_capacity(jobs.len());
        for (mut job, result) in jobs.into_iter().zip(each) {
            match result {
                Ok(()) => {
                    let from_zero = admitting == Admitting::Adds;
                    job.options.origin = Origin::Admitted { from_zero };
                    admitted.push(job);
                }
                Err(error_code) => self.response_at(job.at).error_code = error_code,
            }
        }
        self.run(call, admitted, admission).await;
    }

    fn response_at(&mut self, (topic, partition): At) -> &mut PartitionProduceResponse {
        &mut self.response.responses[topic].partition_responses[partition]
    }

    /// Waits until all is acknowledged as it was asked for, or the time is over. The syncs have
    /// all been asked for, so waiting for one after the other is waiting for all together.
    pub async fn acknowledged(mut self) -> ProduceResponse {
        for Wait { partition, last_offset, at: (topic, index) } in self.waits {
            let error = match timeout_at(self.deadline, partition.synced(last_offset)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => (ErrorCode::KAFKA_STORAGE_ERROR, error.to_string()),
                Err(_) => {
                    let message = "written, but not on disk within the request's timeout";
                    (ErrorCode::REQUEST_TIMED_OUT, message.to_owned())
                }
            };
            let response = &mut self.response.responses[topic].partition_responses[index];
            let index = response.index;
            let (error_code, error_message) = (error.0, Some(error.1));
            *response = PartitionProduceResponse { index, error_message, ..refused(error_code) };
        }
        self.response
    }
}

/// Which records a batch was refused for (KIP-467).
fn record_errors(error: &AppendError) -> Vec<BatchIndexAndErrorMessage> {
    let (AppendError::InvalidRecord { records, .. }
    | AppendError::InvalidTimestamp { records, .. }) = error
    else {
        return Vec::new();
    };
    let told = records.iter().map(|RefusedRecord { index, reason }| BatchIndexAndErrorMessage {
        batch_index: *index,
        batch_index_error_message: Some(reason.clone()),
    });
    told.collect()
}

/// Whether anything was not appended.
pub fn is_refused(response: &ProduceResponse) -> bool {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.into_iter().any(|partition| partition.error_code != ErrorCode::NONE)
}

fn refused(error_code: ErrorCode) -> PartitionProduceResponse {
    PartitionProduceResponse { error_code, base_offset: -1, ..Default::default() }
}
