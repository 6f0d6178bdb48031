//! The HTTP source: records that others send by POST, answered once they are durable.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use broker::client::NewTopic;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use super::intake::{self, Intake};
use super::listener::{Accepted, Listener, ListenerOptions, Skipped};
use super::surface;
use crate::clock;
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::json_records::JsonRecords;
use crate::offsets::{SourceOffset, SourcePartition};
use crate::records::SourceRecords;
use crate::task::{Polled, SourceContext, SourceRecord, SourceTask, TaskError, Topic};

/// Kafka's default of `max.message.bytes`, which a topic for longer bodies must exceed,
pub(super) const MESSAGE_BYTES_MAX_DEFAULT: usize = 1_048_588;
/// by what a batch holds beside the body: its key and headers too.
pub(super) const BATCH_OVERHEAD: usize = 16 << 10;

pub struct HttpSource {
    config: ConnectorConfig,
    running: Option<Running>,
}

struct Running {
    topic: Topic,
    accepted: mpsc::Receiver<Accepted>,
    /// Taken out of the queue while waiting.
    next: Option<Accepted>,
    /// Those who are told when all that was handed over is durable, and what of theirs was skipped.
    waiting: Vec<(oneshot::Sender<Skipped>, Skipped)>,
    writer: JsonRecords,
    /// Records taken since the connector was made.
    taken: u64,
    until_end: bool,
    _stop: DropGuard,
}

pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    surface::check(settings, problems);
    intake::check(settings, problems);
    let path = settings.text("http.path");
    if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
        problems.push(ConfigProblem {
            key: "http.path".to_owned(),
            value: Some(path.to_owned()),
            message: format!("`http.path`: '{path}' is no path"),
            help: Some("a path begins with a slash and has no query, as `/events`".to_owned()),
        });
    }
}

impl HttpSource {
    pub fn new(config: &ConnectorConfig) -> HttpSource {
        HttpSource { config: config.clone(), running: None }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the worker starts a task before all else")
    }

    fn options(&self, address: SocketAddr) -> Result<ListenerOptions, TaskError> {
        let settings = self.config.settings();
        let number = |key| settings.integer(key) as usize;
        let tls = surface::tls(&self.config)?;
        Ok(ListenerOptions {
            path: settings.text("http.path").to_owned(),
            intake: Intake::new(&self.config)?,
            guard: Arc::new(surface::guard(&self.config, address, tls.is_some())?),
            tls: tls.map(Arc::new),
            body_bytes_max: number("body.bytes.max"),
            requests_max: number("http.max.pending"),
            // A semaphore counts no further.
            bytes_max: number("http.max.pending.bytes").min(u32::MAX as usize),
            connections_max: number("http.max.connections"),
            ack_timeout: Duration::from_millis(settings.integer("http.ack.timeout.ms") as u64),
        })
    }
}

/// What the offset is stored under.
fn partition() -> SourcePartition {
    SourcePartition::new(&[("source", "http")])
}

#[async_trait]
impl SourceTask for HttpSource {
    async fn start(&mut self, context: &SourceContext) -> Result<(), TaskError> {
        let listener = Listener::bind(self.config.text("http.listen")).await?;
        let options = self.options(listener.address)?;
        let partitions = self.config.integer("topic.creation.default.partitions") as i32;
        let mut topic = NewTopic::new(self.config.text("topic"), partitions);
        if options.body_bytes_max + BATCH_OVERHEAD > MESSAGE_BYTES_MAX_DEFAULT {
            let bytes = options.body_bytes_max + BATCH_OVERHEAD;
            topic = topic.with_config("max.message.bytes", bytes);
        }
        let topic = context.topic(&topic).await?;
        let (name, at, path) = (self.config.name(), listener.address, &options.path);
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        info!("connector '{name}': takes records at {scheme}://{at}{path}");
        let stop = CancellationToken::new();
        let stored = context.offset(&partition()).and_then(|at| at.0["records"].as_u64());
        self.running = Some(Running {
            topic,
            accepted: listener.serve(options, stop.clone()),
            next: None,
            waiting: Vec::new(),
            writer: JsonRecords::new(&self.config),
            taken: stored.unwrap_or_default(),
            until_end: context.until_end(),
            _stop: stop.drop_guard(),
        });
        Ok(())
    }

    async fn poll(&mut self, out: &mut SourceRecords) -> Result<Polled, TaskError> {
        let running = self.running();
        let before = running.waiting.len();
        while !out.is_full() {
            let next = running.next.take().or_else(|| running.accepted.try_recv().ok());
            let Some(accepted) = next else { break };
            running.append(accepted, out)?;
        }
        if running.waiting.len() > before {
            // Stored even if transforms leave nothing of the records, so that there is a commit.
            out.set_offset(partition(), SourceOffset(json!({ "records": running.taken })));
        }
        Ok(match (out.is_full(), running.until_end) {
            (true, _) => Polled::More,
            (false, true) => Polled::End,
            (false, false) => Polled::Drained,
        })
    }

    async fn wait(&mut self) -> Result<(), TaskError> {
        let running = self.running();
        if running.next.is_none() {
            running.next = running.accepted.recv().await;
        }
        match running.next {
            Some(_) => Ok(()),
            None => Err("the listener has ended".into()),
        }
    }

    async fn committed(
        &mut self,
        _offsets: &[(SourcePartition, SourceOffset)],
    ) -> Result<(), TaskError> {
        for (durable, skipped) in self.running().waiting.drain(..) {
            // Who asked may be gone.
            let _ = durable.send(skipped);
        }
        Ok(())
    }
}

impl Running {
    fn append(&mut self, accepted: Accepted, out: &mut SourceRecords) -> Result<(), TaskError> {
        let timestamp_ms = clock::now_ms();
        let skipped_before = out.skipped();
        for record in &accepted.records {
            out.count_input(record.value.len() as u64, 0);
            let headers = record.headers.iter();
            let headers: Vec<(&str, Option<&[u8]>)> =
                headers.map(|(name, value)| (name.as_str(), Some(value.as_ref()))).collect();
            let record = SourceRecord {
                timestamp_ms,
                key: record.key.as_deref().map(str::as_bytes),
                value: Some(&record.value),
                headers: &headers,
                partition: None,
            };
            self.writer.append(out, &self.topic, record)?;
        }
        self.taken += accepted.records.len() as u64;
        let skipped = (out.skipped() - skipped_before) as Skipped;
        self.waiting.push((accepted.durable, skipped));
        Ok(())
    }
}
