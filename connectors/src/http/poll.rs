//! The HTTP poll source: asks an address again and again, and stores where to go on in the
//! transaction that holds the records.
//!
//! ```text
//! offset ─► {{offset}} in address, headers, body ─► answer ─► list ─► records
//!    ▲                                                  └─► the last one's offset, or its own
//!    └────────────── changed: ask again at once; else after poll.interval.ms
//! ```
//!
//! Without an offset each answer counts whole; one that has not changed since the last, as its
//! ETag or Last-Modified says, is not sent again by servers that know these.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use broker::client::NewTopic;
use bytes::Bytes;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, RETRY_AFTER,
};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;
use tracing::warn;

use super::client::{Call, HttpClient, Reply, shown};
use super::delivery::in_words;
use super::oauth::{self, NoReply, Tokens};
use super::retry::{RetryPolicy, StatusCodes, retry_after};
use super::source::{BATCH_OVERHEAD, MESSAGE_BYTES_MAX_DEFAULT};
use super::{auth, record, service, sink};
use crate::clock;
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::json_records::JsonRecords;
use crate::json_text::{self, Pointer};
use crate::offsets::{SourceOffset, SourcePartition};
use crate::random::random;
use crate::records::SourceRecords;
use crate::rest::encoded;
use crate::task::{Polled, SourceContext, SourceRecord, SourceTask, TaskError, Topic};

/// What stands for the offset in addresses, headers and bodies.
const OFFSET: &str = "{{offset}}";

pub struct HttpPoll {
    config: ConnectorConfig,
    running: Option<Running>,
}

struct Running {
    name: String,
    asked: Asked,
    pointers: Pointers,
    client: HttpClient,
    tokens: Option<Tokens>,
    retry: RetryPolicy,
    retry_codes: StatusCodes,
    interval: Duration,
    response_bytes_max: usize,
    topic: Topic,
    writer: JsonRecords,
    position: Position,
    due: Instant,
    failures: u32,
    /// Why the last attempt has failed.
    trouble: Option<String>,
    until_end: bool,
}

/// What is asked, with places for the offset.
struct Asked {
    method: Method,
    url: String,
    headers: Vec<(HeaderName, String)>,
    body: Option<String>,
    authorization: Option<HeaderValue>,
}

struct Pointers {
    list: Pointer,
    value: Pointer,
    key: Option<Pointer>,
    timestamp: Option<Pointer>,
    item_offset: Option<Pointer>,
    offset: Option<Pointer>,
}

/// Where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Position {
    /// As JSON; empty: there is none yet.
    offset: String,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl Position {
    fn initial(settings: &Settings) -> Position {
        let text = settings.text("http.offset.initial");
        let is_number = text.parse::<i64>().is_ok();
        let offset = match text {
            "" => String::new(),
            text if is_number => text.to_owned(),
            text => record::quoted(text),
        };
        Position { offset, ..Position::default() }
    }

    fn of(stored: &SourceOffset) -> Option<Position> {
        let text = |key: &str| stored.0[key].as_str().map(str::to_owned);
        let (etag, last_modified) = (text("etag"), text("last_modified"));
        Some(Position { offset: text("offset")?, etag, last_modified })
    }

    fn to_stored(&self) -> SourceOffset {
        let Position { offset, etag, last_modified } = self;
        SourceOffset(json!({ "offset": offset, "etag": etag, "last_modified": last_modified }))
    }

    fn text(&self) -> String {
        json_text::string(&self.offset).into_owned()
    }
}

pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    problems.append(&mut auth::check(settings, ""));
    sink::check_codes(settings, &["retry.on.status.codes"], problems);
    let mut wrong = |key: &'static str, mistake: String| {
        let value = None;
        let message = format!("`{key}`: {mistake}");
        problems.push(ConfigProblem { key: key.to_owned(), value, message, help: None });
    };
    if let Err(mistake) = service::parse_url(&settings.text("http.url").replace(OFFSET, "0")) {
        wrong("http.url", mistake);
    }
    if let Err(mistake) = headers(settings) {
        wrong("http.headers.additional", mistake);
    }
    for key in POINTERS {
        let text = settings.optional_text(key).unwrap_or_default();
        if let Err(mistake) = Pointer::parse(text) {
            wrong(key, mistake);
        }
    }
    for key in ["http.url", "http.body"] {
        let text = settings.optional_text(key).unwrap_or_default().replace(OFFSET, "");
        if let Some(at) = text.find("{{") {
            wrong(key, format!("'{}' is none: there is {OFFSET} alone", &text[at..]));
        }
    }
}

const POINTERS: [&str; 6] = [
    "http.response.list.pointer",
    "http.response.record.pointer",
    "http.response.record.key.pointer",
    "http.response.record.timestamp.pointer",
    "http.response.record.offset.pointer",
    "http.response.offset.pointer",
];

fn headers(settings: &Settings) -> Result<Vec<(HeaderName, String)>, String> {
    let one = |item: &String| {
        let Some((name, value)) = item.split_once(':') else {
            return Err(format!("'{item}' has no colon between a name and a value"));
        };
        let known = HeaderName::from_bytes(name.trim().as_bytes());
        let name = known.map_err(|_| format!("'{}' is no name of a header", name.trim()))?;
        Ok((name, value.trim().to_owned()))
    };
    settings.list("http.headers.additional").iter().map(one).collect()
}

impl HttpPoll {
    pub fn new(config: &ConnectorConfig) -> HttpPoll {
        HttpPoll { config: config.clone(), running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the worker starts a task before all else")
    }
}

fn partition() -> SourcePartition {
    SourcePartition::new(&[("source", "http-poll")])
}

impl Asked {
    fn new(settings: &Settings) -> Result<Asked, TaskError> {
        Ok(Asked {
            method: settings.text("http.method").parse()?,
            url: settings.text("http.url").to_owned(),
            headers: headers(settings)?,
            body: settings.optional_text("http.body").map(str::to_owned),
            authorization: auth::header_value(settings),
        })
    }

    fn call(&self, position: &Position) -> Result<Call, TaskError> {
        let text = position.text();
        let url = service::parse_url(&self.url.replace(OFFSET, &encoded(&text)))?;
        let mut headers = HeaderMap::new();
        if let Some(authorization) = self.authorization.clone().or_else(|| service::of_url(&url)) {
            headers.insert(AUTHORIZATION, authorization);
        }
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let known = [(IF_NONE_MATCH, &position.etag), (IF_MODIFIED_SINCE, &position.last_modified)];
        for (name, value) in known {
            if let Some(value) = value {
                headers.insert(name, HeaderValue::from_str(value)?);
            }
        }
        for (name, value) in &self.headers {
            let value = value.replace(OFFSET, &text);
            headers.insert(name.clone(), HeaderValue::from_str(&value)?);
        }
        let offset = if position.offset.is_empty() { "null" } else { &position.offset };
        let body = self.body.as_ref().map(|body| Bytes::from(body.replace(OFFSET, offset)));
        let url = service::without_credentials(url);
        Ok(Call { method: self.method.clone(), url, headers, body: body.unwrap_or_default() })
    }
}

impl Pointers {
    fn new(settings: &Settings) -> Result<Pointers, TaskError> {
        let optional = |key| settings.optional_text(key).map(Pointer::parse).transpose();
        Ok(Pointers {
            list: Pointer::parse(settings.text(POINTERS[0]))?,
            value: Pointer::parse(settings.text(POINTERS[1]))?,
            key: optional(POINTERS[2])?,
            timestamp: optional(POINTERS[3])?,
            item_offset: optional(POINTERS[4])?,
            offset: optional(POINTERS[5])?,
        })
    }
}

#[async_trait]
impl SourceTask for HttpPoll {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let settings = self.config.settings();
        let response_bytes_max = settings.integer("http.response.bytes.max") as usize;
        let partitions = self.config.integer("topic.creation.default.partitions") as i32;
        let mut topic = NewTopic::new(self.config.text("topic"), partitions);
        if response_bytes_max + BATCH_OVERHEAD > MESSAGE_BYTES_MAX_DEFAULT {
            // An answer may be one record.
            topic = topic.with_config("max.message.bytes", response_bytes_max + BATCH_OVERHEAD);
        }
        let client = sink::client(&self.config, response_bytes_max)?;
        let stored = context.offset(&partition()).and_then(Position::of);
        self.running = Some(Running {
            name: self.config.name().to_owned(),
            asked: Asked::new(settings)?,
            pointers: Pointers::new(settings)?,
            tokens: Tokens::new(settings, &client),
            client,
            retry: sink::retry(settings),
            retry_codes: StatusCodes::parse(settings.list("retry.on.status.codes"))?,
            interval: Duration::from_millis(settings.integer("poll.interval.ms") as u64),
            response_bytes_max,
            topic: context.topic(&topic).await?,
            writer: JsonRecords::new(&self.config),
            position: stored.unwrap_or_else(|| Position::initial(settings)),
            due: Instant::now(),
            failures: 0,
            trouble: None,
            until_end: context.until_end(),
        });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        self.running().poll(out).await
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        tokio::time::sleep_until(self.running().due).await;
        Ok(())
    }

    fn out_of_reach(&self) -> bool {
        self.trouble().is_some()
    }

    fn trouble(&self) -> Option<String> {
        self.running.as_ref()?.trouble.clone()
    }
}

/// Why an answer is of no use.
struct Failure {
    reason: String,
    /// It may be otherwise the next time.
    is_transient: bool,
    asked: Option<Duration>,
}

impl Failure {
    fn lasting(reason: String) -> Failure {
        Failure { reason, is_transient: false, asked: None }
    }

    fn transient(reason: String) -> Failure {
        Failure { reason, is_transient: true, asked: None }
    }
}

impl Running {
    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        if Instant::now() < self.due {
            return Ok(Polled::Drained);
        }
        let mut call = self.asked.call(&self.position)?;
        let what = format!("{} {}", call.method, shown(&call.url));
        let result = match self.ask(&mut call).await {
            Ok(Some(reply)) => self.take(&reply, out),
            Ok(None) => Ok(false),
            Err(failure) => Err(failure),
        };
        match result {
            Ok(has_more) => {
                (self.failures, self.trouble) = (0, None);
                if has_more {
                    return Ok(Polled::More);
                }
                self.due = Instant::now() + self.interval;
                Ok(if self.until_end { Polled::End } else { Polled::Drained })
            }
            Err(Failure { reason, is_transient, asked }) => {
                self.failures += 1;
                let pause = self.retry.pause(self.failures, asked, random());
                let Some(pause) = pause.filter(|_| is_transient) else {
                    return Err(format!("{what}: {reason}").into());
                };
                warn!("connector '{}': {what}: {reason}; next attempt in {pause:.1?}", self.name);
                self.trouble = Some(format!("{what}: {reason}"));
                self.due = Instant::now() + pause;
                Ok(Polled::Drained)
            }
        }
    }

    /// `None`: it has not changed.
    async fn ask(&self, call: &mut Call) -> Result<Option<Reply>, Failure> {
        let reply = oauth::call(&self.client, call, self.tokens.as_ref()).await;
        let reply = reply.map_err(|NoReply { reason, is_transient }| Failure {
            reason,
            is_transient,
            asked: None,
        })?;
        let status = reply.status;
        if status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        if !status.is_success() {
            let asked = reply.headers.get(RETRY_AFTER).and_then(|text| text.to_str().ok());
            return Err(Failure {
                reason: in_words(&reply),
                is_transient: self.retry_codes.contains(status.as_u16()),
                asked: asked.and_then(|text| retry_after(text, SystemTime::now())),
            });
        }
        if reply.is_cut {
            let max = self.response_bytes_max;
            let reason = format!("the answer has more than http.response.bytes.max = {max} bytes");
            return Err(Failure::lasting(reason));
        }
        Ok(Some(reply))
    }

    /// Adds the records of an answer. Whether there may be more at once: the offset has moved on.
    fn take(&mut self, reply: &Reply, out: &mut SourceRecords) -> Result<bool, Failure> {
        let json = json_text::check(&reply.body).map_err(|error| {
            let mut cut = reply.clone();
            cut.status = StatusCode::OK;
            Failure::transient(format!("the answer is no JSON: {error}: {}", in_words(&cut)))
        })?;
        let Some(list) = self.pointers.list.find(json) else {
            let words = in_words(reply);
            return Err(Failure::lasting(format!(
                "there is nothing at http.response.list.pointer in the answer: {words}"
            )));
        };
        let items: Vec<&str> = match list.starts_with('[') {
            true => json_text::items(list).collect(),
            false => vec![list],
        };
        let records = items.iter().enumerate().map(|(index, item)| self.record(index, item));
        let records: Vec<ItemRecord<'_>> = records.collect::<Result<_, _>>()?;
        let found = match (&self.pointers.offset, &self.pointers.item_offset) {
            (Some(pointer), _) => pointer.find(json),
            (None, Some(pointer)) => items.last().and_then(|item| pointer.find(item)),
            (None, None) => None,
        };
        let offset = found.filter(|found| *found != "null").unwrap_or(&self.position.offset);
        let has_moved = offset != self.position.offset;
        let header = |name: HeaderName| {
            // What was asked with another offset says nothing of what will be asked.
            let value = reply.headers.get(name).filter(|_| !has_moved)?;
            value.to_str().ok().map(str::to_owned)
        };
        let position = Position {
            offset: offset.to_owned(),
            etag: header(ETAG),
            last_modified: header(LAST_MODIFIED),
        };
        let count = records.len();
        for record in records {
            let key = record.key.as_deref().map(str::as_bytes);
            let value = Some(record.value.as_bytes());
            out.count_input(record.value.len() as u64, 0);
            let timestamp_ms = record.timestamp_ms;
            let written = SourceRecord { timestamp_ms, key, value, ..SourceRecord::default() };
            self.writer.append(out, &self.topic, written).map_err(Failure::lasting)?;
        }
        if position != self.position {
            out.set_offset(partition(), position.to_stored());
            self.position = position;
        }
        Ok(has_moved && count > 0)
    }

    fn record<'a>(&self, index: usize, item: &'a str) -> Result<ItemRecord<'a>, Failure> {
        let missing = |what: &str| {
            Failure::lasting(format!("item {index} of the answer has nothing at its {what}"))
        };
        let value = self.pointers.value.find(item);
        let key = self.pointers.key.as_ref().map(|pointer| {
            let found = pointer.find(item).filter(|found| *found != "null");
            found.ok_or_else(|| missing("http.response.record.key.pointer"))
        });
        let timestamp_ms = self.pointers.timestamp.as_ref().map(|pointer| {
            let found = pointer.find(item).and_then(|found| found.parse().ok());
            found
                .ok_or_else(|| missing("http.response.record.timestamp.pointer (in ms since 1970)"))
        });
        if let Some(pointer) = &self.pointers.item_offset
            && pointer.find(item).is_none()
        {
            return Err(missing("http.response.record.offset.pointer"));
        }
        Ok(ItemRecord {
            key: key.transpose()?.map(|key| json_text::string(key).into_owned()),
            value: value.ok_or_else(|| missing("http.response.record.pointer"))?,
            timestamp_ms: timestamp_ms.transpose()?.unwrap_or_else(clock::now_ms),
        })
    }
}

struct ItemRecord<'a> {
    key: Option<String>,
    value: &'a str,
    timestamp_ms: i64,
}
