//! The HTTP sink: each record calls the services that it is for.
//!
//! A put takes so many records, waits until all calls that it has begun are over, and tells where
//! to go on. What was done beyond that place, out of order, is remembered, so that it is not done
//! again while the task lives. After a crash, records since the last commit are delivered again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use async_trait::async_trait;
use broker::ids::{Offset, TopicPartition};
use tokio::time::Instant;

use super::client::{ClientOptions, HttpClient};
use super::delivery::{Deliverer, Done, Job, Outcome, Waits};
use super::oauth::Tokens;
use super::record::RecordView;
use super::retry::{RetryPolicy, StatusCodes};
use super::service::{Batching, Prepared, Service};
use super::{service, tls};
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::data::ConnectRecord;
use crate::task::{Put, Refused, SinkContext, SinkPartition, SinkRecords, SinkTask, TaskError};

/// A put begins no call after this long, so that what is done gets committed.
const PUT_TIME: Duration = Duration::from_secs(1);
/// How many records a put looks at, at least and at most.
const PUT_RECORDS: std::ops::RangeInclusive<usize> = 500..=20_000;
/// The most of an answer that is read: what is more cannot say more in a message.
const REPLY_BYTES_MAX: usize = 16 << 10;

/// What becomes of records without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnNull {
    Ignore,
    Delete,
    Fail,
}

pub struct HttpSink {
    config: ConnectorConfig,
    running: Option<Running>,
}

struct Running {
    services: Vec<Service>,
    on_null: OnNull,
    deliverer: Deliverer,
    partitions: BTreeMap<TopicPartition, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// All records before this one are done with; `None` until something was put.
    done: Option<Offset>,
    /// What was done beyond that.
    ahead: BTreeMap<(Offset, usize), Outcome>,
    /// Calls that are to be tried again.
    waits: Waits,
}

/// What a put is to do.
#[derive(Default)]
struct Plan {
    jobs: Vec<Job>,
    /// Services by record: all of them are to be called.
    wanted: BTreeMap<Offset, BTreeSet<usize>>,
    skipped: Vec<Offset>,
    /// Where it was cut short, after a record that was refused.
    end: Option<Offset>,
}

impl HttpSink {
    pub fn new(config: &ConnectorConfig) -> HttpSink {
        HttpSink { config: config.clone(), running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the worker starts a task before all else")
    }
}

/// The services that the properties name: the one without a name, if none is named.
fn members(config: &ConnectorConfig) -> Vec<(&str, &Settings)> {
    match config.members() {
        [] => vec![("", config.settings())],
        members => members.iter().map(|(name, settings)| (name.as_str(), settings)).collect(),
    }
}

/// What is wrong with the properties, taken together. Services that have names are looked at one
/// by one, by [`check_service`].
pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    check_codes(settings, &["retry.on.status.codes", "fail.on.status.codes"], problems);
    if settings.list("services").is_empty() {
        check_service(settings, "", problems);
    }
}

pub(super) fn check_service(settings: &Settings, prefix: &str, problems: &mut Vec<ConfigProblem>) {
    let batching = Batching::new(settings);
    problems.extend(service::problems(settings, prefix, batching.as_ref()));
}

pub(super) fn check_codes(
    settings: &Settings,
    keys: &[&'static str],
    problems: &mut Vec<ConfigProblem>,
) {
    for key in keys {
        let Err(mistake) = StatusCodes::parse(settings.list(key)) else { continue };
        problems.push(ConfigProblem {
            key: (*key).to_owned(),
            value: Some(settings.list(key).join(", ")),
            message: format!("`{key}`: {mistake}"),
            help: None,
        });
    }
}

/// How the properties that sinks and polls share say that calls are made.
pub(super) fn client(
    config: &ConnectorConfig,
    reply_bytes_max: usize,
) -> Result<HttpClient, TaskError> {
    let settings = config.settings();
    let ms = |key| Duration::from_millis(settings.integer(key) as u64);
    let seconds = settings.get("http.timeout").map(|_| settings.integer("http.timeout") as u64);
    let options = ClientOptions {
        connect_timeout: ms("http.connect.timeout.ms"),
        request_timeout: seconds.map_or_else(|| ms("http.request.timeout.ms"), Duration::from_secs),
        redirects_max: settings.integer("http.redirects.max") as u32,
        reply_bytes_max,
    };
    let key = "http.ssl.truststore.location";
    let authorities = settings.optional_text(key).map(|_| config.path(key));
    Ok(HttpClient::new(tls::client(authorities.as_deref())?, options))
}

pub(super) fn retry(settings: &Settings) -> RetryPolicy {
    let ms = |key| Duration::from_millis(settings.integer(key) as u64);
    RetryPolicy {
        retries_max: u32::try_from(settings.integer("max.retries")).ok(),
        backoff: ms("retry.backoff.ms"),
        backoff_max: ms("retry.backoff.max.ms"),
        retry_after_max: ms("retry.after.max.ms"),
    }
}

#[async_trait]
impl SinkTask for HttpSink {
    async fn start(&mut self, context: &SinkContext) -> Result<(), TaskError> {
        let settings = self.config.settings();
        let batching = Batching::new(settings);
        let client = client(&self.config, REPLY_BYTES_MAX)?;
        let (mut services, mut tokens) = (Vec::new(), Vec::new());
        for (name, settings) in members(&self.config) {
            tokens.push(Tokens::new(settings, &client));
            let service = Service::new(name, settings, batching.as_ref());
            services.push(service.map_err(|mistakes| {
                let words = mistakes.iter().map(|(key, mistake)| format!("`{key}`: {mistake}"));
                words.collect::<Vec<_>>().join("; ")
            })?);
        }
        let deliverer = Deliverer {
            connector: self.config.name().to_owned(),
            client,
            tokens,
            retry: retry(settings),
            retry_codes: StatusCodes::parse(settings.list("retry.on.status.codes"))?,
            fail_codes: StatusCodes::parse(settings.list("fail.on.status.codes"))?,
            batching,
            in_flight_max: settings.integer("http.max.in.flight") as usize,
            ends_at_refusal: settings.text("errors.tolerance") == "none",
            stop: context.stop().clone(),
            warnings: Default::default(),
            trouble: context.trouble().clone(),
        };
        let on_null = match settings.text("behavior.on.null.values") {
            "delete" => OnNull::Delete,
            "fail" => OnNull::Fail,
            _ => OnNull::Ignore,
        };
        self.running = Some(Running { services, on_null, deliverer, partitions: BTreeMap::new() });
        Ok(())
    }

    fn wants_values(&self) -> bool {
        true
    }

    async fn open(
        &mut self,
        partitions: &[SinkPartition],
    ) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        let running = self.running();
        for opened in partitions {
            running.partitions.insert(opened.partition.clone(), Progress::default());
        }
        Ok(Vec::new())
    }

    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        self.running().put(records).await
    }

    async fn flush(&mut self) -> Result<Vec<(TopicPartition, Offset)>, TaskError> {
        Ok(self.delivered())
    }

    fn delivered(&self) -> Vec<(TopicPartition, Offset)> {
        let partitions = self.running.iter().flat_map(|running| &running.partitions);
        let done = partitions.filter_map(|(partition, one)| Some((partition.clone(), one.done?)));
        done.collect()
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<(), TaskError> {
        for partition in partitions {
            self.running().partitions.remove(partition);
        }
        Ok(())
    }
}

impl Running {
    async fn put(&mut self, records: &SinkRecords) -> Result<Put, TaskError> {
        let mut progress = self.partitions.remove(records.partition()).unwrap_or_default();
        let (values, is_all) = self.portion(records.values());
        let plan = self.plan(values, &mut progress.ahead);
        let until = Instant::now() + PUT_TIME;
        let run = self.deliverer.run(&plan.jobs, until, &progress.waits);
        let Done { outcomes, waits, failure } = run.await;
        progress.ahead.extend(outcomes);
        progress.waits.extend(waits);
        let after_portion = match is_all {
            true => records.next_offset(),
            false => values.last().map_or(Offset::ZERO, |last| offset_of(last).next()),
        };
        let end = plan.end.unwrap_or(after_portion);
        let next = plan.first_left(&progress.ahead).unwrap_or(end);
        progress.waits = progress.waits.split_off(&(next, 0));
        progress.waits.retain(|at, _| !progress.ahead.contains_key(at));
        let put = self.settle(plan, &mut progress, next, records.next_offset());
        progress.done = Some(next);
        self.partitions.insert(records.partition().clone(), progress);
        match failure {
            // A record that was refused has to be named first.
            Some(error) if put.refused.is_empty() => Err(error),
            _ => Ok(put),
        }
    }

    /// As many records as one put takes; whether that is all of them.
    fn portion<'a>(&self, values: &'a [ConnectRecord]) -> (&'a [ConnectRecord], bool) {
        let records_max = self.deliverer.batching.as_ref().map_or(1, |it| it.records_max);
        let wanted = self.deliverer.in_flight_max.saturating_mul(records_max);
        let count = wanted.clamp(*PUT_RECORDS.start(), *PUT_RECORDS.end()).min(values.len());
        (&values[..count], count == values.len())
    }

    /// What calls these records take that have not been made.
    fn plan(
        &self,
        values: &[ConnectRecord],
        ahead: &mut BTreeMap<(Offset, usize), Outcome>,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut batches = Batches { deliverer: &self.deliverer, open: BTreeMap::new() };
        for (index, record) in values.iter().enumerate() {
            let offset = offset_of(record);
            let view = RecordView::new(record);
            let is_null = record.value.value.is_null();
            if is_null && self.on_null == OnNull::Ignore {
                plan.skipped.push(offset);
                continue;
            }
            let mut wanted = BTreeSet::new();
            for (number, service) in self.services.iter().enumerate() {
                let prepared = match service.wants(&view) {
                    Ok(false) => continue,
                    Ok(true) => self.prepare(service, &view, is_null),
                    Err(error) => Err(error),
                };
                wanted.insert(number);
                if ahead.contains_key(&(offset, number)) {
                    continue;
                }
                match prepared {
                    Ok(prepared) => {
                        let lane = lane(number, record, index, &self.deliverer);
                        batches.add(&mut plan.jobs, lane, number, offset, prepared, is_null);
                    }
                    Err(reason) => drop(ahead.insert((offset, number), Outcome::Refused(reason))),
                }
            }
            let is_refused =
                |number: &usize| matches!(ahead.get(&(offset, *number)), Some(Outcome::Refused(_)));
            let ends = self.deliverer.ends_at_refusal && wanted.iter().any(is_refused);
            match wanted.is_empty() {
                true => plan.skipped.push(offset),
                false => drop(plan.wanted.insert(offset, wanted)),
            }
            if ends {
                plan.end = Some(offset.next());
                break;
            }
        }
        plan
    }

    fn prepare(
        &self,
        service: &Service,
        record: &RecordView<'_>,
        is_null: bool,
    ) -> Result<Prepared, String> {
        match (is_null, self.on_null) {
            (false, _) => service.prepare(record, self.deliverer.batching.as_ref()),
            (true, OnNull::Delete) => service.prepare_delete(record),
            (true, _) => Err("it has no value, and behavior.on.null.values is fail".to_owned()),
        }
    }

    /// Tells of all records before `next`, and forgets them.
    fn settle(&self, plan: Plan, progress: &mut Progress, next: Offset, end: Offset) -> Put {
        let rest = progress.ahead.split_off(&(next, 0));
        let done = std::mem::replace(&mut progress.ahead, rest);
        let mut put = Put { next: (next < end).then_some(next), ..Put::default() };
        put.skipped = plan.skipped.iter().filter(|offset| **offset < next).count() as u64;
        for (offset, services) in plan.wanted.range(..next) {
            let mut reasons = Vec::new();
            for number in services {
                match done.get(&(*offset, *number)) {
                    Some(Outcome::Delivered { bytes }) => put.bytes += bytes,
                    Some(Outcome::Refused(reason)) => reasons.push(self.of(*number, reason)),
                    None => {}
                }
            }
            match reasons.is_empty() {
                true => put.records += 1,
                false => put.refused.push(Refused { offset: *offset, reason: reasons.join("; ") }),
            }
        }
        put
    }

    fn of(&self, service: usize, reason: &str) -> String {
        match self.services[service].name.as_str() {
            "" => reason.to_owned(),
            name => format!("service '{name}': {reason}"),
        }
    }
}

impl Plan {
    /// The first record that not all of its services are done with.
    fn first_left(&self, outcomes: &BTreeMap<(Offset, usize), Outcome>) -> Option<Offset> {
        let is_left = |(offset, services): &(&Offset, &BTreeSet<usize>)| {
            services.iter().any(|number| !outcomes.contains_key(&(**offset, *number)))
        };
        self.wanted.iter().find(is_left).map(|(offset, _)| *offset)
    }
}

/// Jobs that take further records.
struct Batches<'a> {
    deliverer: &'a Deliverer,
    /// By lane: the job's place, and the bytes in it.
    open: BTreeMap<u64, (usize, usize)>,
}

impl Batches<'_> {
    fn add(
        &mut self,
        jobs: &mut Vec<Job>,
        lane: u64,
        service: usize,
        offset: Offset,
        prepared: Prepared,
        is_alone: bool,
    ) {
        let Prepared { target, body } = prepared;
        let size = body.len();
        if let (Some(batching), false) = (&self.deliverer.batching, is_alone) {
            if let Some((index, bytes)) = self.open.get_mut(&lane)
                && jobs[*index].parts.len() < batching.records_max
                && *bytes + size <= batching.bytes_max
                && jobs[*index].target == target
            {
                jobs[*index].parts.push((offset, body));
                *bytes += size;
                return;
            }
            self.open.insert(lane, (jobs.len(), size));
        } else {
            // What comes after it in its lane must not go before it.
            self.open.remove(&lane);
        }
        let is_batch = self.deliverer.batching.is_some() && !is_alone;
        jobs.push(Job { lane, service, target, parts: vec![(offset, body)], is_batch });
    }
}

fn offset_of(record: &ConnectRecord) -> Offset {
    record.kafka_offset.expect("a record that was read from a topic has one")
}

/// Records of one key have one lane at a service, so that they keep their order. Those without a
/// key have none to keep: each goes alone, or by the batch.
fn lane(service: usize, record: &ConnectRecord, index: usize, deliverer: &Deliverer) -> u64 {
    let mut hasher = DefaultHasher::new();
    let lanes = deliverer.in_flight_max as u64;
    let chosen = match (&deliverer.batching, record.key.value.is_null()) {
        (None, true) => index as u64,
        (Some(batching), true) => (index / batching.records_max) as u64 % lanes,
        (batching, false) => {
            record.key.value.hash(&mut hasher);
            let key = hasher.finish();
            if batching.is_some() { key % lanes } else { key }
        }
    };
    let mut hasher = DefaultHasher::new();
    (service, record.key.value.is_null(), chosen).hash(&mut hasher);
    hasher.finish()
}
