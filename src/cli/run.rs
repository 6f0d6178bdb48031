//! `millstream run`: pipeline files, their connectors and, unless one is named, a broker.
//!
//! ```text
//! files ─► checked ─► broker ─► queries and connectors at work ─► rows to stdout
//!   mistakes: nothing starts       stop, or the end of the input: connectors that read,
//!                                  then queries, then connectors that write, then the broker
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use broker::client::NewTopic;
use clap::Args;
use connectors::{
    ConfigProblem, ConnectorConfig, ConnectorKind, ConnectorState, ConnectorStatus, Worker,
    WorkerOptions,
};
use engine::describe::QueryDescription;
use engine::pipeline::{
    Connector, Diagnostic, Diagnostics, Pipeline, STANDBY_REPLICAS_MAX, Severity,
};
use engine::plan::user_functions;
use engine::runtime::{
    LiveFunctions, Outcome as ReloadOutcome, Phase, PrintedRows, QueryProgress, Reloaded, Reset,
    Runtime, RuntimeOptions,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::broker::Listen;
use super::connection::{self, Connection, How};
use super::empty::{EXPLAIN_EMPTY_EVERY, EmptyQueries};
use super::explain::described;
use super::snapshot::snapshot;
use super::watched_functions::WatchedFunctions;
use super::{BrokerChoice, Failure};
use crate::http::QueryStatus;
use crate::render::diagnostics;
use crate::render::rows::{RowStyle, RowWriter};
use crate::render::status::{self, Progress, Reading, Unit};
#[cfg(unix)]
use crate::status_socket::{Request, StatusSocket};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream run pipelines/flight-delays.toml
  millstream run pipelines/flight-delays.toml --until-end > delays.jsonl
  millstream run a.toml b.sql --bootstrap-server kafka:9092
  millstream run my-pipeline.toml --explain-empty

Rows of queries with `print = true` go to stdout: a table on a terminal, else JSON lines. Ctrl-C
stops in order; the next run goes on where this one committed.")]
pub struct RunArgs {
    /// Pipeline files, TOML or SQL
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Finish when the inputs are read, closing all windows
    #[arg(long)]
    until_end: bool,
    /// Print rows as JSON lines on a terminal too
    #[arg(long)]
    json: bool,
    /// Forget what earlier runs have computed and read, and start from the beginning; of these
    /// queries alone if any are named
    #[arg(
        long,
        value_name = "QUERY",
        num_args = 0..,
        require_equals = true,
        value_delimiter = ','
    )]
    reset_state: Option<Vec<String>>,
    /// How many other workers keep a copy of each task's state; as the file says if left out
    #[arg(long, value_name = "NUMBER", value_parser = standby_replicas)]
    standby_replicas: Option<usize>,
    /// Take up functions whose modules change, without a restart
    #[arg(long)]
    watch_functions: bool,
    /// Say of queries that write nothing why: what they read, what dropped it, what it waits for
    #[arg(long)]
    explain_empty: bool,
}

impl RunArgs {
    fn reset(&self) -> Reset {
        match self.reset_state.as_deref() {
            None => Reset::Nothing,
            Some([]) => Reset::All,
            Some(names) => Reset::Queries(names.iter().cloned().collect()),
        }
    }

    /// Refuses names that no query has.
    fn check_reset(&self, loaded: &[Loaded]) -> Result<(), Failure> {
        let queries = || loaded.iter().flat_map(|(pipeline, _)| &pipeline.queries);
        let is_known = |name: &&String| queries().any(|query| query.name == **name);
        let Some(unknown) = self.reset_state.iter().flatten().find(|name| !is_known(name)) else {
            return Ok(());
        };
        let names: Vec<&str> = queries().map(|query| query.name.as_str()).collect();
        let message = format!("--reset-state: there is no query '{unknown}'");
        Err(Failure::usage(message).with_help(format!("there is {}", names.join(", "))))
    }
}

fn standby_replicas(text: &str) -> Result<usize, String> {
    let copies = text.parse().ok().filter(|copies| *copies <= STANDBY_REPLICAS_MAX);
    copies.ok_or_else(|| format!("expected a number from 0 to {STANDBY_REPLICAS_MAX}"))
}

/// A checked pipeline with its connectors.
pub type Loaded = (Pipeline, Vec<ConnectorConfig>);

/// Checked pipelines that are to run together; every mistake of all files otherwise.
fn load(files: &[PathBuf]) -> Result<Vec<Loaded>, Failure> {
    configured(engine::pipeline::load_with(files, connector_mistakes))
}

/// Compiled modules are kept where the broker keeps its data, if that is there or will be.
pub fn keep_compiled_functions() {
    let directory =
        std::env::var_os("MILLSTREAM_DATA_DIR").map_or(".millstream".into(), PathBuf::from);
    if directory.is_dir() {
        user_functions::keep_compiled_in(directory.join("udfs"));
    }
}

/// Checked pipelines, each for itself; every mistake of all files otherwise.
pub fn load_each(files: &[PathBuf]) -> Result<Vec<Loaded>, Failure> {
    keep_compiled_functions();
    configured(engine::pipeline::load_each(files, connector_mistakes))
}

fn configured(
    loaded: Result<(Vec<Pipeline>, Vec<Diagnostic>), Diagnostics>,
) -> Result<Vec<Loaded>, Failure> {
    let (pipelines, warnings) = loaded.map_err(Failure::Pipeline)?;
    diagnostics::print_warnings(warnings);
    let configured = pipelines.into_iter().map(|pipeline| {
        let base = pipeline.path.parent().unwrap_or(Path::new("."));
        let configs = pipeline.connectors.iter().map(|connector| {
            connectors::validate(&connector.name, &with_functions(connector), base)
                .expect("the connector was found right when its file was loaded")
        });
        let configs = configs.collect();
        (pipeline, configs)
    });
    Ok(configured.collect())
}

/// The properties, functions of the file declared in each SQL transform that calls them.
fn with_functions(connector: &Connector) -> BTreeMap<String, String> {
    let mut properties = connector.properties.clone();
    for (key, kind) in &connector.properties {
        let Some(transform) = key.strip_suffix(".type") else { continue };
        let is_sql = matches!(kind.rsplit('.').next(), Some("Sql$Value" | "Sql$Key"));
        if !is_sql || !transform.starts_with("transforms.") {
            continue;
        }
        if let Some(sql) = properties.get_mut(&format!("{transform}.sql")) {
            let lower = sql.to_lowercase();
            let called = connector.functions.iter().filter(|(name, _)| {
                let name = name.to_lowercase();
                lower.contains(&name) && !lower.contains(&format!("function {name}"))
            });
            let declared: Vec<String> = called.map(|(_, says)| format!("{says}; ")).collect();
            *sql = format!("{}{sql}", declared.concat());
        }
    }
    properties
}

fn connector_mistakes(connector: &Connector, base: &Path) -> Vec<Diagnostic> {
    let problems = connectors::validate(&connector.name, &with_functions(connector), base)
        .err()
        .unwrap_or_default();
    let mistake = |problem: ConfigProblem| Diagnostic {
        severity: Severity::Error,
        span: connector.property_spans.get(&problem.key).or(Some(&connector.span)).cloned(),
        message: format!("connector '{}': {}", connector.name, problem.message),
        label: None,
        help: problem.help,
    };
    problems.into_iter().map(mistake).collect()
}

pub async fn run(args: RunArgs, stop: CancellationToken) -> Result<(), Failure> {
    user_functions::keep_compiled_in(args.broker.data_dir.join("udfs"));
    let loaded = load(&args.files)?;
    args.check_reset(&loaded)?;
    let setup = args.listen.setup(&args.broker.data_dir)?;
    let metrics = setup.metrics.clone();
    let connection = connection::serve(&args.broker, setup).await?;
    let began = Instant::now();
    let told = QueryStatus::default();
    let done = match connection.serve_metrics(&metrics, told.clone()).await {
        Ok(metrics) => match Session::start(&args, &connection, metrics, told, loaded).await {
            Ok(session) => session.run(stop, args.until_end).await,
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    connection.close().await;
    let outcome = done?;
    eprintln!("{}", outcome.in_words(began.elapsed()));
    Ok(())
}

/// Of more partitions than these nobody reads the offsets.
const OFFSETS_SHOWN_MAX: usize = 4;

/// Everything that is at work.
struct Session {
    worker: Worker,
    runtime: Runtime,
    connectors: watch::Receiver<Vec<ConnectorStatus>>,
    queries: watch::Receiver<Vec<QueryProgress>>,
    printed: mpsc::Receiver<PrintedRows>,
    filled: Filled,
    rows: RowWriter,
    progress: Progress,
    /// What has failed while other files go on, as told; `None` if one failure ends all.
    failures: Option<BTreeSet<String>>,
    /// Explains queries that write nothing, if that is wanted.
    empty: Option<EmptyQueries>,
    /// Takes up functions that change, if that is wanted.
    watched: Option<WatchedFunctions>,
    /// Tells others on this machine how it stands.
    #[cfg(unix)]
    status: Option<StatusSocket>,
}

/// Tells queries which topics connectors are still filling: a table is joined when it is there.
struct Filled {
    /// Which of the topics that are read each source connector fills, by the connector's name.
    topics: BTreeMap<String, BTreeSet<String>>,
    filling: watch::Sender<BTreeSet<String>>,
}

impl Filled {
    fn new(topics: BTreeMap<String, BTreeSet<String>>) -> Filled {
        let filling = watch::Sender::new(topics.values().flatten().cloned().collect());
        Filled { topics, filling }
    }

    fn tell(&self, connectors: &[ConnectorStatus], until_end: bool) {
        // More may come while it goes to the end.
        let fills = |one: &&ConnectorStatus| !one.state.is_over() && (until_end || !one.is_filled);
        let topics = connectors.iter().filter(fills).filter_map(|one| self.topics.get(&one.name));
        let topics: BTreeSet<String> = topics.flatten().cloned().collect();
        self.filling.send_if_modified(|filling| {
            let changed = *filling != topics;
            *filling = topics;
            changed
        });
    }
}

/// How a run ended.
struct Outcome {
    complete: bool,
    queries: Vec<QueryProgress>,
    /// By its connectors.
    carried: u64,
}

impl Session {
    async fn start(
        args: &RunArgs,
        connection: &Connection,
        metrics: Option<String>,
        told: QueryStatus,
        loaded: Vec<Loaded>,
    ) -> Result<Session, Failure> {
        announce(args, connection, metrics.as_deref(), &loaded);
        let last = loaded.iter().flat_map(|(pipeline, _)| &pipeline.queries).next_back();
        let shown_topic = last.map(|query| query.sink.topic.clone());
        let inputs = inputs(&loaded);
        let (pipelines, configs): (Vec<_>, Vec<_>) = loaded.into_iter().unzip();
        let mut described_queries = Vec::new();
        for pipeline in &pipelines {
            described_queries.extend(described(pipeline)?);
        }
        let empty = args.explain_empty.then(|| EmptyQueries::new(described_queries.clone()));
        let filled = Filled::new(filled_topics(&pipelines, configs.iter().flatten()));
        let options = RuntimeOptions {
            // Others may run the same files against a cluster; an own broker has one worker.
            shared: matches!(connection.how, How::Remote(_)) && !args.until_end,
            reset_state: args.reset(),
            standby_replicas: args.standby_replicas,
            until_end: args.until_end,
            filling: Some(filled.filling.subscribe()),
            inputs,
            state_dir: Some(args.broker.data_dir.join("state")),
        };
        let mut runtime = Runtime::start(connection.client.clone(), pipelines, options)
            .map_err(Failure::running)?;
        let options = WorkerOptions { until_end: args.until_end, ..WorkerOptions::default() };
        let configs: Vec<ConnectorConfig> = configs.into_iter().flatten().collect();
        // Connectors would make them too, and know less of what they are for.
        for change in runtime.prepared().await {
            status::checked("state", &change.to_string());
        }
        if let Some(topic) = &shown_topic {
            look(connection, args, topic);
        }
        let worker = Worker::start(connection.client.clone(), configs, options);
        let (connectors, queries) = (worker.statuses(), runtime.progress());
        tell(&told, described_queries, &connectors, &queries);
        let functions = runtime.functions().clone();
        let watched = args.watch_functions.then(|| WatchedFunctions::new(functions.clone()));
        #[cfg(unix)]
        let status = status_socket(args, told, functions);
        Ok(Session {
            connectors,
            queries,
            #[cfg(unix)]
            status,
            printed: runtime.printed().expect("nobody else has taken the rows"),
            worker,
            runtime,
            filled,
            rows: RowWriter::new(RowStyle::for_stdout(args.json)),
            progress: Progress::new(),
            failures: (args.files.len() > 1 && !args.until_end).then(BTreeSet::new),
            empty,
            watched,
        })
    }

    async fn run(mut self, stop: CancellationToken, until_end: bool) -> Result<Outcome, Failure> {
        let worked = self.work(&stop, until_end).await;
        self.progress.clear();
        // Whatever happened: let all that was begun be committed.
        let complete = matches!(worked, Ok(true));
        self.runtime.stop();
        // Others see it until the end.
        #[cfg(unix)]
        let _status = self.status.take();
        let Session { worker, runtime, queries, mut printed, mut rows, empty, .. } = self;
        let finished = runtime.finished();
        let printing = async {
            while let Some(batch) = printed.recv().await {
                print(&mut rows, &batch)?;
            }
            Ok::<(), Failure>(())
        };
        let (finished, shown) = tokio::join!(finished, printing);
        if complete && finished.is_ok() {
            // A sink that fails says so in `shutdown` too.
            let _ = worker.finish_sinks_at_end().await;
        }
        let stopped = worker.shutdown().await;
        finished.map_err(Failure::running)?;
        let connectors = stopped.map_err(Failure::running)?.connectors;
        let carried = connectors.iter().map(|connector| connector.records).sum();
        worked?;
        shown?;
        let queries = queries.borrow().clone();
        if let Some(mut empty) = empty {
            empty.explain(&queries);
        }
        Ok(Outcome { complete, queries, carried })
    }

    /// Until the user stops it, something fails, or the end of the input: then `Ok(true)`.
    async fn work(&mut self, stop: &CancellationToken, until_end: bool) -> Result<bool, Failure> {
        let mut ticks = tokio::time::interval(self.progress.interval());
        let mut explanations = tokio::time::interval(EXPLAIN_EMPTY_EVERY);
        explanations.reset();
        let mut sources_done = false;
        let mut resumed = false;
        // A file may have nothing but connectors.
        let has_queries = !self.queries.borrow().is_empty();
        if until_end && sources_over(&self.connectors.borrow()) {
            // There is no source to wait for.
            sources_done = true;
            self.runtime.inputs_complete();
        }
        loop {
            if sources_done && !has_queries {
                return Ok(true);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                batch = self.printed.recv(), if has_queries => match batch {
                    Some(batch) => {
                        self.progress.clear();
                        print(&mut self.rows, &batch)?;
                    }
                    // All queries have ended: in order, or one with the error that
                    // `Runtime::finished` tells.
                    None => return Ok(until_end),
                },
                _ = ticks.tick() => self.show_progress(),
                reloaded = reloaded(&mut self.watched) => {
                    self.progress.clear();
                    reloaded.into_iter().for_each(tell_reloaded);
                }
                _ = explanations.tick() => {
                    if let Some(empty) = &mut self.empty {
                        self.progress.clear();
                        empty.explain(&self.queries.borrow());
                    }
                }
                changed = self.connectors.changed() => {
                    if changed.is_err() {
                        return Ok(false);
                    }
                    if self.connectors_changed(until_end)? && until_end && !sources_done {
                        sources_done = true;
                        self.runtime.inputs_complete();
                    }
                }
                Ok(()) = self.queries.changed() => {
                    self.tell_failed_queries();
                    if !resumed {
                        resumed = self.tell_started();
                    }
                }
            }
        }
    }

    /// Tells what connectors fill, and which have failed; whether all sources are over.
    fn connectors_changed(&mut self, until_end: bool) -> Result<bool, Failure> {
        let connectors = self.connectors.borrow_and_update();
        let has_queries = !self.queries.borrow().is_empty();
        let all_over = connectors.iter().all(|one| one.state.is_over());
        for reason in failed(&connectors) {
            match &mut self.failures {
                Some(told) if has_queries || !all_over => {
                    tell_failed(told, reason, &mut self.progress);
                }
                _ => return Err(Failure::running(reason)),
            }
        }
        self.filled.tell(&connectors, until_end);
        Ok(sources_over(&connectors))
    }

    /// Says of queries that have failed that they have, where others go on.
    fn tell_failed_queries(&mut self) {
        let Some(told) = &mut self.failures else { return };
        let queries = self.queries.borrow();
        if queries.iter().all(|query| matches!(query.phase, Phase::Failed | Phase::Finished)) {
            return;
        }
        for reason in queries.iter().filter_map(|query| query.failure.as_deref()) {
            tell_failed(told, reason.to_owned(), &mut self.progress);
        }
    }

    /// Says once, when all queries know, what they join and where they go on.
    fn tell_started(&mut self) -> bool {
        let queries = self.queries.borrow_and_update();
        if queries.iter().any(|query| {
            matches!(query.phase, Phase::Starting | Phase::Restoring | Phase::LoadingTables)
        }) {
            return false;
        }
        let tables = queries.iter().flat_map(|query| &query.tables);
        for (name, rows) in tables.map(|(name, rows)| (name, rows)).collect::<BTreeMap<_, _>>() {
            status::checked("table", &format!("{name}: {} rows", status::grouped(*rows)));
        }
        for query in queries.iter() {
            let Some(from) = &query.resumed_from else { continue };
            let at: Vec<_> = from
                .offsets
                .iter()
                .map(|(partition, offset)| {
                    let offset = status::grouped(offset.0.max(0) as u64);
                    format!("{partition} at offset {offset}")
                })
                .take(OFFSETS_SHOWN_MAX)
                .collect();
            let more = if from.offsets.len() > OFFSETS_SHOWN_MAX { ", …" } else { "" };
            let mut how = format!("query '{}' goes on with {}{more}", query.query, at.join(", "));
            if from.windows > 0 {
                how.push_str(&format!(", {} windows open", from.windows));
            }
            status::checked("resumed", &how);
        }
        true
    }

    fn show_progress(&mut self) {
        let reading = reading(&self.connectors.borrow(), &self.queries.borrow());
        match reading {
            Some(reading) => self.progress.show(&reading, Instant::now()),
            None => self.progress.clear(),
        }
    }
}

/// How topics are made that queries read, where the connector that fills them says it: queries
/// look for them before it does.
fn inputs(loaded: &[Loaded]) -> BTreeMap<String, NewTopic> {
    let sources = || {
        let all = loaded.iter().flat_map(|(pipeline, configs)| {
            let declared = pipeline.connectors.iter();
            declared.map(|connector| &connector.properties).zip(configs)
        });
        let says = |properties: &BTreeMap<String, String>| {
            properties.keys().any(|key| key.starts_with("topic.creation."))
        };
        all.filter(move |(properties, one)| is_source(one) && says(properties))
    };
    let topics = loaded.iter().flat_map(|(pipeline, _)| &pipeline.sources);
    let made = topics.filter_map(|source| {
        let topic = source.topic.as_str();
        let (_, config) = sources().find(|(_, config)| config.fills(topic))?;
        let partitions = i32::try_from(config.integer("topic.creation.default.partitions")).ok()?;
        let made = config.topic_creation().of(&NewTopic::new(topic, partitions));
        Some((topic.to_owned(), made))
    });
    made.collect()
}

/// Which of the topics that queries read each source fills, by the source's name.
pub fn filled_topics<'a>(
    pipelines: &[Pipeline],
    connectors: impl Iterator<Item = &'a ConnectorConfig>,
) -> BTreeMap<String, BTreeSet<String>> {
    let sources: Vec<_> = connectors.filter(|one| is_source(one)).collect();
    let written: BTreeSet<&str> =
        pipelines.iter().flat_map(|one| &one.queries).map(|one| &*one.sink.topic).collect();
    let read = pipelines.iter().flat_map(|one| &one.sources).map(|one| &*one.topic);
    let read: BTreeSet<&str> = read.filter(|topic| !written.contains(topic)).collect();
    // Whose records transforms lead elsewhere fills what nobody else does.
    let is_left = |topic: &str| !sources.iter().any(|one| one.fills(topic));
    let fills =
        |one: &ConnectorConfig, topic: &str| one.fills(topic) || (one.reroutes() && is_left(topic));
    let topics = sources.iter().map(|one| {
        let topics = read.iter().filter(|topic| fills(one, topic));
        (one.name().to_owned(), topics.map(|topic| (*topic).to_owned()).collect())
    });
    topics.collect()
}

fn print(rows: &mut RowWriter, batch: &PrintedRows) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let PrintedRows { query, rows: shown, updating, .. } = batch;
    let retracts: Vec<bool> = (0..shown.len()).map(|row| shown.is_retraction(row)).collect();
    let changes = updating.then_some(retracts.as_slice());
    rows.write(query, &shown.batch, changes, &mut out)
        .and_then(|()| Ok(out.flush()?))
        .map_err(|error| Failure::running(format!("stdout: {error}")))
}

fn is_source(connector: &ConnectorConfig) -> bool {
    connector.plugin().kind() == ConnectorKind::Source
}

fn failed(connectors: &[ConnectorStatus]) -> Vec<String> {
    let reason = |connector: &ConnectorStatus| match &connector.state {
        ConnectorState::Failed(reason) => Some(format!("connector '{}': {reason}", connector.name)),
        _ => None,
    };
    connectors.iter().filter_map(reason).collect()
}

fn tell_failed(told: &mut BTreeSet<String>, reason: String, progress: &mut Progress) {
    if !told.contains(&reason) {
        progress.clear();
        status::failed("failed", &format!("{reason}; the other files go on"));
        told.insert(reason);
    }
}

fn sources_over(connectors: &[ConnectorStatus]) -> bool {
    let mut sources = connectors.iter().filter(|one| one.kind == ConnectorKind::Source);
    sources.all(|source| source.state.is_over())
}

/// What there is to wait for: a source that catches up, else a query that does.
fn reading(connectors: &[ConnectorStatus], queries: &[QueryProgress]) -> Option<Reading> {
    let source = connectors
        .iter()
        .find(|one| one.kind == ConnectorKind::Source && one.state == ConnectorState::Running);
    if let Some(source) = source {
        return Some(Reading {
            phase: format!("connector '{}' reads", source.name),
            done: source.bytes,
            total: source.total_bytes,
            unit: Unit::Bytes,
        });
    }
    let restores = |query: &&QueryProgress| query.phase == Phase::Restoring && query.restored.1 > 0;
    if let Some(query) = queries.iter().find(restores) {
        return Some(Reading {
            phase: format!("query '{}' takes up its state", query.query),
            done: query.restored.0,
            total: Some(query.restored.1),
            unit: Unit::Records,
        });
    }
    let query = queries.iter().find(|query| query.lag > 0)?;
    let done = query.counts.rows_in;
    Some(Reading {
        phase: format!("query '{}' reads", query.query),
        done,
        total: Some(done + query.lag),
        unit: Unit::Records,
    })
}

/// Lets others ask how queries stand.
fn tell(
    told: &QueryStatus,
    described: Vec<QueryDescription>,
    connectors: &watch::Receiver<Vec<ConnectorStatus>>,
    queries: &watch::Receiver<Vec<QueryProgress>>,
) {
    let (connectors, queries) = (connectors.clone(), queries.clone());
    let status = move || snapshot(&described, &queries.borrow(), &connectors.borrow());
    // Nobody else sets it.
    let _ = told.set(Box::new(status));
}

/// For `millstream top` and `millstream udf reload`. A run goes on without it.
#[cfg(unix)]
fn status_socket(
    args: &RunArgs,
    told: QueryStatus,
    functions: LiveFunctions,
) -> Option<StatusSocket> {
    let answer = move |request| {
        let (told, functions) = (told.clone(), functions.clone());
        async move {
            match request {
                Request::Status => told.get().map(|status| status()).unwrap_or_default(),
                Request::ReloadFunctions => reload(&functions).await,
            }
        }
    };
    let opened = StatusSocket::open(&args.broker.data_dir, answer);
    opened.inspect_err(|error| tracing::debug!(%error, "no status socket")).ok()
}

/// Functions that were taken up because their modules have changed; nothing, for good, if nobody
/// looks.
async fn reloaded(watched: &mut Option<WatchedFunctions>) -> Vec<Reloaded> {
    match watched {
        Some(watched) => watched.reloaded().await,
        None => std::future::pending().await,
    }
}

fn tell_reloaded(one: Reloaded) {
    let Reloaded { function, file, outcome } = one;
    let file = file.display();
    match outcome {
        ReloadOutcome::Same => {}
        ReloadOutcome::Replaced => status::checked("function", &format!("{function}: {file}")),
        ReloadOutcome::Kept(reason) => {
            let kept = format!("{function} keeps the module that it had: {reason}");
            status::pointer("function", &kept);
        }
    }
}

/// Takes up functions whose modules have changed; what has become of each.
async fn reload(functions: &LiveFunctions) -> Value {
    let reloaded =
        functions.reload().await.into_iter().map(|Reloaded { function, file, outcome }| {
            let file = file.display().to_string();
            let (outcome, reason) = match outcome {
                ReloadOutcome::Same => ("same", None),
                ReloadOutcome::Replaced => {
                    tracing::info!(function, file, "another module is called from now on");
                    ("replaced", None)
                }
                ReloadOutcome::Kept(reason) => {
                    tracing::warn!(function, file, reason, "the module before is kept");
                    ("kept", Some(reason))
                }
            };
            json!({ "function": function, "file": file, "outcome": outcome, "reason": reason })
        });
    json!({ "pid": std::process::id(), "functions": reloaded.collect::<Vec<_>>() })
}

/// The checklist: what is at work and where to look.
fn announce(args: &RunArgs, connection: &Connection, metrics: Option<&str>, loaded: &[Loaded]) {
    let names: Vec<_> = loaded.iter().map(|(pipeline, _)| pipeline.name.as_str()).collect();
    eprintln!("millstream {} · {}", env!("CARGO_PKG_VERSION"), names.join(", "));
    let dir = args.broker.data_dir.display();
    let how = match &connection.how {
        How::Serving(address) => format!("{address}, data in {dir}"),
        How::Joined(address) => format!("{address}, which serves {dir} already"),
        How::Remote(address) => address.clone(),
        How::Offline => format!("data in {dir}"),
    };
    status::checked("broker", &how);
    if let Some(metrics) = metrics {
        status::checked("metrics", metrics);
    }
    for (pipeline, connectors) in loaded {
        for connector in connectors {
            status::checked("connector", &connector_in_words(connector));
        }
        for query in &pipeline.queries {
            let how = format!("{} → {}", query.inputs().join(", "), query.sink.topic);
            status::checked("query", &format!("{}: {how}", query.name));
        }
    }
}

/// Where to look, which is there by now.
fn look(connection: &Connection, args: &RunArgs, topic: &str) {
    let address = match &connection.how {
        How::Serving(address) => address.to_string(),
        How::Joined(address) | How::Remote(address) => address.clone(),
        How::Offline => args.broker.data_dir.display().to_string(),
    };
    status::pointer("look", &format!("kcat -b {address} -C -t {topic}   (Ctrl-C stops)"));
}

/// `flights-file: examples/data/flights.csv → flights`
pub fn connector_in_words(connector: &ConnectorConfig) -> String {
    let (name, outside) = (connector.name(), connector_outside(connector));
    match connector.plugin().kind() {
        ConnectorKind::Source => match source_topic(connector) {
            Some(topic) => format!("{name}: {outside} → {topic}"),
            None => match connector.settings().optional_text("topic.prefix") {
                Some(prefix) => format!("{name}: {outside} → {prefix}.*"),
                None => format!("{name}: {outside}"),
            },
        },
        ConnectorKind::Sink => {
            format!("{name}: {} → {outside}", connector.topics())
        }
    }
}

/// The one topic that a source writes to, if its properties name one. A database's tables each
/// have their own.
pub fn source_topic(connector: &ConnectorConfig) -> Option<&str> {
    connector.settings().optional_text("topic")
}

/// What it reads or writes that is no topic.
pub fn connector_outside(connector: &ConnectorConfig) -> String {
    let settings = connector.settings();
    let path = |key| without_detours(&connector.path(key)).display().to_string();
    match (settings.optional_text("file"), settings.optional_text("directory")) {
        (Some("-"), _) => match connector.plugin().kind() {
            ConnectorKind::Source => "standard input".to_owned(),
            ConnectorKind::Sink => "standard output".to_owned(),
        },
        (Some(_), _) => path("file"),
        (None, Some(_)) => format!("{}/", path("directory").trim_end_matches('/')),
        (None, None) => connector.plugin().name.to_owned(),
    }
}

/// `pipelines/../examples` is `examples`, for people to read; links may say otherwise.
fn without_detours(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        let named = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        if part == Component::ParentDir && named {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

impl Outcome {
    /// `read 27,004 rows, wrote 1,234; finished after 0.8 s`
    fn in_words(&self, took: Duration) -> String {
        let how = if self.complete { "finished" } else { "stopped in order" };
        if self.queries.is_empty() {
            let (carried, seconds) = (status::grouped(self.carried), took.as_secs_f64());
            return format!("carried {carried} records; {how} after {seconds:.1} s");
        }
        let sum = |count: fn(&QueryProgress) -> u64| self.queries.iter().map(count).sum::<u64>();
        let mut words = format!(
            "read {} rows, wrote {}",
            status::grouped(sum(|query| query.counts.rows_in)),
            status::grouped(sum(|query| query.counts.rows_out)),
        );
        for (what, count) in [
            ("late", sum(|query| query.counts.late)),
            ("skipped", sum(|query| query.counts.skipped)),
            ("dead-lettered", sum(|query| query.counts.dead_lettered)),
        ] {
            if count > 0 {
                words.push_str(&format!(", {} {what}", status::grouped(count)));
            }
        }
        format!("{words}; {how} after {:.1} s", took.as_secs_f64())
    }
}
