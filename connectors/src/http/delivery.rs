//! Calls for records, several at a time and those of one key one after the other.
//!
//! ```text
//! jobs in the order of offsets ─► lanes, one per service and key
//!                                   │ the first of each lane is ready
//!                                   ▼
//!                     at most so many under way ─► outcome ─► the next of its lane is ready
//! ```
//!
//! A job that is not done when the time is up, or the task is to stop, is left: it comes again. So
//! are calls that wait to be tried again, which nobody has to wait for: what is done meanwhile is
//! committed, and they go on where they were.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use broker::ids::Offset;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hyper::header::RETRY_AFTER;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::client::{Call, HttpClient, Reply, shown};
use super::oauth::{self, NoReply, Tokens};
use super::retry::{RetryPolicy, StatusCodes, retry_after};
use super::service::{Batching, Target};
use crate::random::random;
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
    /// By service, where it takes tokens.
    pub tokens: Vec<Option<Tokens>>,
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
    /// Calls that are to be tried again, by the first of their records.
    pub waits: Vec<((Offset, usize), Wait)>,
    pub failure: Option<TaskError>,
}

/// A call that has failed so often, and when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    failures: u32,
    due: Instant,
}

/// Such calls of a partition, by their first record and service.
pub type Waits = BTreeMap<(Offset, usize), Wait>;

/// What one call came to.
enum Answer {
    Accepted,
    Refused {
        reason: String,
        /// By the service, and not for want of an answer: of a batch one record may be at fault.
        by_service: bool,
        /// It was tried as often as may be.
        is_last: bool,
    },
    /// The task is to stop.
    Left,
    /// The time is up before it is tried again.
    Waits(Wait),
    Failed(TaskError),
}

/// What one attempt at it came to.
enum Attempt {
    Over(Answer),
    Again {
        reason: String,
        by_service: bool,
        /// What the server wants to be waited.
        asked: Option<Duration>,
    },
}

/// What the calls of one run share.
struct Shared<'a> {
    /// Calls that have failed so far, those that are under way again included.
    failing: AtomicUsize,
    /// What is known of calls from the run before.
    waits: &'a Waits,
    until: Instant,
}

/// What became of a job.
#[derive(Default)]
struct Delivered {
    outcomes: Vec<(Offset, Outcome)>,
    /// From that record on it is to be tried again.
    wait: Option<(Offset, Wait)>,
    failure: Option<TaskError>,
}

impl Deliverer {
    /// Makes the calls. None is begun after `until`; those under way then are waited for.
    pub async fn run(&self, jobs: &[Job], until: Instant, waits: &Waits) -> Done {
        let mut lanes: HashMap<u64, VecDeque<usize>> = HashMap::new();
        for (index, job) in jobs.iter().enumerate() {
            lanes.entry(job.lane).or_default().push_back(index);
        }
        let mut ready: BTreeSet<usize> =
            lanes.values_mut().filter_map(VecDeque::pop_front).collect();
        let mut done = Done::default();
        let mut is_over = false;
        let shared = &Shared { failing: AtomicUsize::new(0), waits, until };
        let mut under_way = FuturesUnordered::new();
        loop {
            is_over |= self.stop.is_cancelled();
            let is_late = Instant::now() >= until;
            while !is_over && !is_late && under_way.len() < self.in_flight_max {
                let Some(index) = ready.pop_first() else { break };
                under_way.push(async move { (index, self.deliver(&jobs[index], shared).await) });
            }
            let Some((index, left)) = under_way.next().await else { return done };
            let Delivered { outcomes, wait, failure } = left;
            let job = &jobs[index];
            let all_done = outcomes.len() == job.parts.len();
            for (offset, outcome) in outcomes {
                is_over |= self.ends_at_refusal && matches!(outcome, Outcome::Refused(_));
                done.outcomes.push(((offset, job.service), outcome));
            }
            done.waits.extend(wait.map(|(offset, wait)| ((offset, job.service), wait)));
            if failure.is_some() {
                is_over = true;
                done.failure = done.failure.or(failure);
            }
            if all_done && let Some(next) = lanes.get_mut(&job.lane).and_then(VecDeque::pop_front) {
                ready.insert(next);
            }
        }
    }

    /// What becomes of a job's records, in their order; those that have no outcome were left.
    async fn deliver(&self, job: &Job, shared: &Shared<'_>) -> Delivered {
        let mut done = Delivered::default();
        let outcomes = &mut done.outcomes;
        // The last one is the next. What the service has refused again and again is not tried as
        // often in halves: of each it says once what it thinks.
        let mut ranges = vec![(0..job.parts.len(), false)];
        while let Some((range, was_last)) = ranges.pop() {
            let body = self.body(job, &range);
            let bytes = body.len() as u64 / range.len().max(1) as u64;
            let first = job.parts[range.start].0;
            match self.call(job, first, body, was_last, shared).await {
                Answer::Accepted => {
                    let delivered = || Outcome::Delivered { bytes };
                    outcomes.extend(job.parts[range].iter().map(|part| (part.0, delivered())));
                }
                // One of them may be at fault: the others need not suffer for it.
                Answer::Refused { by_service: true, is_last, .. } if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    ranges.push((middle..range.end, is_last));
                    ranges.push((range.start..middle, is_last));
                }
                Answer::Refused { reason, .. } => {
                    let refused = || Outcome::Refused(reason.clone());
                    outcomes.extend(job.parts[range].iter().map(|part| (part.0, refused())));
                    if self.ends_at_refusal {
                        return done;
                    }
                }
                Answer::Left => return done,
                Answer::Waits(wait) => {
                    done.wait = Some((first, wait));
                    return done;
                }
                Answer::Failed(error) => {
                    done.failure = Some(error);
                    return done;
                }
            }
        }
        done
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
    fn answered(&self, shared: &Shared<'_>, failures: u32) {
        if failures > 0 {
            shared.failing.fetch_sub(1, Ordering::Relaxed);
        }
        if shared.failing.load(Ordering::Relaxed) == 0 {
            self.trouble.is_over();
        }
    }

    /// Calls, and tries again what may succeed later; what the service itself refuses not, if it
    /// `was_last` tried as a whole.
    async fn call(
        &self,
        job: &Job,
        first: Offset,
        body: Bytes,
        was_last: bool,
        shared: &Shared<'_>,
    ) -> Answer {
        let Target { method, url, headers } = job.target.clone();
        let what = format!("{method} {}", shown(&url));
        let mut call = Call { method, url, headers, body };
        let tokens = self.tokens.get(job.service).and_then(Option::as_ref);
        let mut failures = 0;
        if let Some(wait) = shared.waits.get(&(first, job.service)) {
            failures = wait.failures;
            shared.failing.fetch_add(1, Ordering::Relaxed);
            if let Some(answer) = self.pause(*wait, shared).await {
                return answer;
            }
        }
        loop {
            let stopped = async {
                self.stop.cancelled().await;
                tokio::time::sleep(STOP_PATIENCE).await;
            };
            let attempt = tokio::select! {
                attempt = self.attempt(&mut call, tokens, &what) => attempt,
                () = stopped => return Answer::Left,
            };
            let (reason, by_service, asked) = match attempt {
                Attempt::Over(answer) => {
                    if !matches!(answer, Answer::Failed(_)) {
                        self.answered(shared, failures);
                    }
                    return answer;
                }
                Attempt::Again { reason, by_service, asked } => (reason, by_service, asked),
            };
            if failures == 0 {
                shared.failing.fetch_add(1, Ordering::Relaxed);
            }
            failures += 1;
            let pause = self.retry.pause(failures, asked, random());
            let Some(pause) = pause.filter(|_| !(was_last && by_service)) else {
                let times = if failures == 1 { "once" } else { &format!("{failures} times") };
                let reason = format!("{reason}; tried {times}");
                shared.failing.fetch_sub(1, Ordering::Relaxed);
                return Answer::Refused { reason, by_service, is_last: true };
            };
            self.warnings.say(&format!(
                "connector '{}': {reason}; next attempt in {pause:.1?}",
                self.connector
            ));
            self.trouble.is(reason.as_str());
            let wait = Wait { failures, due: Instant::now() + pause };
            if let Some(answer) = self.pause(wait, shared).await {
                return answer;
            }
        }
    }

    /// Waits until a call is to be tried again; what it comes to if that is not to be.
    async fn pause(&self, wait: Wait, shared: &Shared<'_>) -> Option<Answer> {
        tokio::select! {
            () = self.stop.cancelled() => Some(Answer::Left),
            () = tokio::time::sleep_until(wait.due.min(shared.until)) => {
                (wait.due > shared.until).then_some(Answer::Waits(wait))
            }
        }
    }

    /// One call, and what its answer means.
    async fn attempt(&self, call: &mut Call, tokens: Option<&Tokens>, what: &str) -> Attempt {
        let reply = match oauth::call(&self.client, call, tokens).await {
            Ok(reply) => reply,
            Err(NoReply { reason, is_transient: true }) => {
                let reason = format!("{what}: {reason}");
                return Attempt::Again { reason, by_service: false, asked: None };
            }
            Err(NoReply { reason, .. }) => {
                return Attempt::Over(Answer::Failed(format!("{what}: {reason}").into()));
            }
        };
        if reply.status.is_success() {
            return Attempt::Over(Answer::Accepted);
        }
        let status = reply.status.as_u16();
        let reason = format!("{what}: {}", in_words(&reply));
        if self.fail_codes.contains(status) {
            return Attempt::Over(Answer::Failed(not_of_the_record(&reason)));
        }
        if !self.retry_codes.contains(status) {
            return Attempt::Over(Answer::Refused { reason, by_service: true, is_last: false });
        }
        let asked = reply.headers.get(RETRY_AFTER).and_then(|text| text.to_str().ok());
        let asked = asked.and_then(|text| retry_after(text, SystemTime::now()));
        Attempt::Again { reason, by_service: true, asked }
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
