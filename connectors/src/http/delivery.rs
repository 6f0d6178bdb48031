//! Calls for records, several at a time and those of one key one after the other.
//!
//! ```text
//! jobs in the order of offsets ─► lanes, one per service and key
//!                                   │ the first of each lane is ready
//!                                   ▼
//!                     at most so many under way ─► outcome ─► the next of its lane is ready
//! ```
//!
//! A job that is not done when the time is up, or the task is to stop, is left: it comes again.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use broker::ids::Offset;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::header::RETRY_AFTER;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::client::{Call, HttpClient, Reply, shown};
use super::retry::{RetryPolicy, StatusCodes, random, retry_after};
use super::service::{Batching, Target};
use crate::status::Trouble;
use crate::task::TaskError;

/// How long calls under way may go on once the task is to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// The most of an answer that messages show.
const SNIPPET_CHARS: usize = 200;

/// A call to make, for one record or several.
#[derive(Clone, Debug)]
pub struct Job {
    /// Jobs of one lane are done one after the other.
    pub lane: u64,
    pub service: usize,
    pub target: Target,
    /// For each record its offset and its part of the body.
    pub parts: Vec<(Offset, Bytes)>,
    /// Whether the parts are put together; else there is one.
    pub is_batch: bool,
}

/// What became of a record at a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Delivered { bytes: u64 },
    Refused(String),
}

/// How calls are made.
#[derive(Clone, Debug)]
pub struct Deliverer {
    pub connector: String,
    pub client: HttpClient,
    pub retry: RetryPolicy,
    pub retry_codes: StatusCodes,
    pub fail_codes: StatusCodes,
    pub batching: Option<Batching>,
    pub in_flight_max: usize,
    /// Whether the first record that is refused is the last one tried.
    pub ends_at_refusal: bool,
    pub stop: CancellationToken,
    pub warnings: Arc<Warnings>,
    pub trouble: Trouble,
}

/// Says what has failed, but not for each of many calls that fail alike.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<(Option<Instant>, u32)>);

/// How often at most.
const WARNING_INTERVAL: Duration = Duration::from_secs(5);

impl Warnings {
    fn say(&self, text: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = &mut *state;
        let now = Instant::now();
        if last.is_some_and(|last| now - last < WARNING_INTERVAL) {
            *unsaid += 1;
            return;
        }
        match std::mem::take(unsaid) {
            0 => warn!("{text}"),
            unsaid => warn!("{text} (and {unsaid} more failures since the last one told)"),
        }
        *last = Some(now);
    }
}

/// What has been done: outcomes by offset and service, and why the task cannot go on.
#[derive(Debug, Default)]
pub struct Done {
    pub outcomes: Vec<((Offset, usize), Outcome)>,
    pub failure: Option<TaskError>,
}

/// What one call came to.
enum Answer {
    Accepted,
    Refused {
        reason: String,
        may_be_one_record: bool,
    },
    /// The task is to stop.
    Left,
    Failed(TaskError),
}

/// Calls that are not done at the first attempt; `calls` wait to be tried again.
#[derive(Debug, Default)]
struct Retrying {
    calls: AtomicUsize,
    /// Calls that have failed so far, those that are under way again included.
    failing: AtomicUsize,
    /// There is one more: others need not wait for it.
    begun: Notify,
}

impl Retrying {
    fn count(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// Statuses that say of a batch that something in it is wrong.
const STATUSES_OF_CONTENT: [u16; 3] = [400, 413, 422];

impl Deliverer {
    /// Makes the calls. None is begun after `until`, unless there is one to be waited for anyway,
    /// since it is to be tried again.
    pub async fn run(&self, jobs: &[Job], until: Instant) -> Done {
        let mut lanes: HashMap<u64, VecDeque<usize>> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            lanes.entry(job.lane).or_default().push_back(index);
        }
        let mut ready: BTreeSet<usize> =
            lanes.values_mut().filter_map(VecDeque::pop_front).collect();
        let mut done = Done::default();
        let mut is_over = false;
        let retrying = &Retrying::default();
        let mut under_way = FuturesUnordered::new();
        loop {
            is_over |= self.stop.is_cancelled();
            let is_late = Instant::now() >= until && retrying.count() == 0;
            while !is_over && !is_late && under_way.len() < self.in_flight_max {
                let Some(index) = ready.pop_first() else { break };
                under_way.push(async move { (index, self.deliver(&jobs[index], retrying).await) });
            }
            let next = tokio::select! {
                next = under_way.next() => next,
                () = retrying.begun.notified() => continue,
            };
            let Some((index, (outcomes, failure))) = next else { return done };
            let job = &jobs[index];
            let all_done = outcomes.len() == job.parts.len();
            for (offset, outcome) in outcomes {
                is_over |= self.ends_at_refusal && matches!(outcome, Outcome::Refused(_));
                done.outcomes.push(((offset, job.service), outcome));
            }
            if failure.is_some() {
                is_over = true;
                done.failure = done.failure.or(failure);
            }
            if all_done && let Some(next) = lanes.get_mut(&job.lane).and_then(VecDeque::pop_front) {
                ready.insert(next);
            }
        }
    }

    /// The outcomes of a job's records, in their order; those that are missing were left.
    async fn deliver(
        &self,
        job: &Job,
        retrying: &Retrying,
    ) -> (Vec<(Offset, Outcome)>, Option<TaskError>) {
        let mut outcomes = Vec::with_capacity(job.parts.len());
        // The last one is the next.
        let mut ranges = vec![0..job.parts.len()];
        while let Some(range) = ranges.pop() {
            let body = self.body(job, &range);
            let bytes = body.len() as u64 / range.len().max(1) as u64;
            match self.call(&job.target, body, retrying).await {
                Answer::Accepted => {
                    let delivered = || Outcome::Delivered { bytes };
                    outcomes.extend(job.parts[range].iter().map(|part| (part.0, delivered())));
                }
                // One of them may be at fault: the others need not suffer for it.
                Answer::Refused { may_be_one_record: true, .. } if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
                Answer::Refused { reason, .. } => {
                    let refused = || Outcome::Refused(reason.clone());
                    outcomes.extend(job.parts[range].iter().map(|part| (part.0, refused())));
                    if self.ends_at_refusal {
                        return (outcomes, None);
                    }
                }
                Answer::Left => return (outcomes, None),
                Answer::Failed(error) => return (outcomes, Some(error)),
            }
        }
        (outcomes, None)
    }

    fn body(&self, job: &Job, range: &Range<usize>) -> Bytes {
        let parts = job.parts[range.clone()].iter().map(|(_, part)| part);
        match &self.batching {
            Some(batching) if job.is_batch => batching.join(parts),
            _ => parts.cloned().next().unwrap_or_default(),
        }
    }

    /// A call is over that has failed so often before. Others may fail meanwhile, of another
    /// service perhaps: what they said stands.
    fn answered(&self, retrying: &Retrying, failures: u32) {
        if failures > 0 {
            retrying.failing.fetch_sub(1, Ordering::Relaxed);
        }
        if retrying.failing.load(Ordering::Relaxed) == 0 {
            self.trouble.is_over();
        }
    }

    /// Calls, and tries again what may succeed later.
    async fn call(&self, target: &Target, body: Bytes, retrying: &Retrying) -> Answer {
        let Target { method, url, headers } = target.clone();
        let what = format!("{method} {}", shown(&url));
        let call = Call { method, url, headers, body };
        let mut failures = 0;
        loop {
            let stopped = async {
                self.stop.cancelled().await;
                tokio::time::sleep(STOP_PATIENCE).await;
            };
            let answer = tokio::select! {
                answer = self.client.call(&call) => answer,
                () = stopped => return Answer::Left,
            };
            let (reason, asked) = match answer {
                Ok(reply) if reply.status.is_success() => {
                    self.answered(retrying, failures);
                    return Answer::Accepted;
                }
                Ok(reply) => {
                    let status = reply.status.as_u16();
                    let reason = format!("{what}: {}", in_words(&reply));
                    if self.fail_codes.contains(status) {
                        return Answer::Failed(not_of_the_record(&reason));
                    }
                    if !self.retry_codes.contains(status) {
                        self.answered(retrying, failures);
                        let may_be_one_record = STATUSES_OF_CONTENT.contains(&status);
                        return Answer::Refused { reason, may_be_one_record };
                    }
                    let asked = reply.headers.get(RETRY_AFTER).and_then(|text| text.to_str().ok());
                    (reason, asked.and_then(|text| retry_after(text, SystemTime::now())))
                }
                Err(error) if error.is_transient() => (format!("{what}: {error}"), None),
                Err(error) => return Answer::Failed(format!("{what}: {error}").into()),
            };
            if failures == 0 {
                retrying.failing.fetch_add(1, Ordering::Relaxed);
            }
            failures += 1;
            let Some(pause) = self.retry.pause(failures, asked, random()) else {
                let times = if failures == 1 { "once" } else { &format!("{failures} times") };
                let reason = format!("{reason}; tried {times}");
                retrying.failing.fetch_sub(1, Ordering::Relaxed);
                return Answer::Refused { reason, may_be_one_record: false };
            };
            self.warnings.say(&format!(
                "connector '{}': {reason}; next attempt in {pause:.1?}",
                self.connector
            ));
            self.trouble.is(reason.as_str());
            retrying.calls.fetch_add(1, Ordering::Relaxed);
            retrying.begun.notify_one();
            let stopped = tokio::select! {
                () = self.stop.cancelled() => true,
                () = tokio::time::sleep(pause) => false,
            };
            retrying.calls.fetch_sub(1, Ordering::Relaxed);
            if stopped {
                return Answer::Left;
            }
        }
    }
}

fn not_of_the_record(reason: &str) -> TaskError {
    let message = format!(
        "{reason}; look at http.authorization.*, or take the status out of fail.on.status.codes \
         if it is about single records"
    );
    message.into()
}

/// `400 Bad Request: no such customer`
pub fn in_words(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.body);
    let mut snippet: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = snippet.char_indices().nth(SNIPPET_CHARS) {
        snippet.truncate(at);
        snippet.push('…');
    }
    let mut words = reply.status.to_string();
    if reply.status.is_redirection()
        && let Some(to) = reply.headers.get(hyper::header::LOCATION).and_then(|to| to.to_str().ok())
    {
        words.push_str(&format!(", to {to}, which would change the call; put that into http.url"));
    }
    if !snippet.is_empty() {
        words.push_str(&format!(": {snippet}"));
    }
    words
}
