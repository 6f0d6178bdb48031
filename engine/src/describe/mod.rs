//! What a query does, in words: for people who read it, and for pictures of it.
//!
//! ```text
//! Query ─┬─ plan ──────────────► PlanNode: what was asked, as SQL reads from the outside in
//!        └─ topology, parts ───► Step: inputs, operators, sink, and what goes from one to another
//! ```
//!
//! - [`words`]: expressions as a person would have written them; [`plan`]: the tree of the plan;
//!   [`steps`]: the topology, as its tasks run it;
//! - [`empty`]: why a query at work has written nothing.
//!
//! What an operator does and keeps it says itself: [`OperatorSpec::describe`].
//!
//! [`OperatorSpec::describe`]: crate::operators::OperatorSpec::describe

pub mod empty;
mod plan;
mod steps;
pub mod words;

use crate::pipeline::{LateRows, OnError, Pipeline, Query, SourceKind, Span};
use crate::topology::{Topology, TopologyError};
use crate::type_names::type_text;
use datafusion_expr::LogicalPlan;
pub use words::{Words, with_intervals};

/// A query, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryDescription {
    pub name: String,
    pub plan: PlanNode,
    pub sources: Vec<SourceDescription>,
    /// Each after those that feed it; the last one is the sink.
    pub steps: Vec<Step>,
    pub tasks: usize,
    /// Topics that tasks hand rows on by.
    pub exchanges: Vec<ExchangeDescription>,
    pub output: OutputDescription,
    pub warnings: Vec<Warning>,
}

/// What was asked: `SELECT a, b`, and what that is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanNode {
    /// `GROUP BY`.
    pub clause: String,
    /// What stands behind it, to be separated by commas.
    pub items: Vec<String>,
    pub inputs: Vec<PlanNode>,
}

/// A topic that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDescription {
    pub name: String,
    pub topic: String,
    /// The columns of the key, if it is a table.
    pub table_key: Option<Vec<String>>,
    pub format: String,
    /// `None`: the records' timestamps.
    pub event_time: Option<String>,
    pub delay_ms: i64,
    pub idle_timeout_ms: i64,
    pub late: LateRows,
    pub on_error: OnError,
}

/// One thing that happens to rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub kind: StepKind,
    /// `read flights`, `aggregate by window`.
    pub title: String,
    /// What it reads or writes outside of the query.
    pub topic: Option<String>,
    /// What it does, a line each.
    pub details: Vec<String>,
    /// What it remembers.
    pub state: Option<StateDescription>,
    /// Which part of the query it belongs to: what is of one part runs in the same tasks.
    pub part: usize,
    /// The steps that feed it, by index.
    pub from: Vec<Flow>,
    /// Which input, table or node of its part it is.
    pub place: usize,
    /// What happens to its rows without anything being remembered, in order.
    pub stage: Vec<RowStep>,
}

/// A step that remembers nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowStep {
    /// All of these must hold.
    Filter(Vec<Condition>),
    /// Rows meet those of a table.
    Join { table: String, text: String },
    /// Columns are computed.
    Project,
    /// Lists become rows.
    Unnest(String),
    /// Rows come once for each window that they lie in.
    Windows,
}

/// What must hold of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub sql: String,
    /// Where it stands in the file, if that is known.
    pub span: Option<Span>,
}

/// Rows that go from one step to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub step: usize,
    /// Through which of the exchanges.
    pub exchange: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Reads a stream.
    Source,
    /// Reads a table whole, for rows to be joined with.
    Table,
    Operator,
    Sink,
}

/// What an operator remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDescription {
    pub keeps: Keeps,
    pub changelog: String,
}

/// A topic between parts of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeDescription {
    pub topic: String,
    /// Rows for which these are equal meet in one task; all of them do if there are none.
    pub keys: Vec<String>,
    pub combining: Combining,
}

/// What tasks do with rows before they send them to where they meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Combining {
    /// They are for no aggregate.
    Nothing,
    /// Those of one group are combined.
    Combined,
    /// Those of one group go one by one, and why.
    OneByOne(String),
}

/// Where the answer goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputDescription {
    pub topic: String,
    pub format: String,
    /// Columns, each with its type.
    pub columns: Vec<(String, String)>,
    pub key: Vec<String>,
    pub mode: OutputMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputMode {
    /// Each row is written once and stays.
    Append,
    /// A record replaces the one before of its key; one without a value deletes it.
    Upsert,
}

/// Something to think about before it runs for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub message: String,
    pub help: String,
}

/// An operator in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub title: String,
    pub details: Vec<String>,
    pub keeps: Keeps,
}

/// What is kept, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeps {
    /// `the aggregates of each group`.
    pub what: String,
    /// What one of them is found by.
    pub by: Vec<String>,
    pub until: Until,
}

/// When an operator forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// When the watermark has come so far: `the watermark passes the end of its window`.
    Watermark(String),
    /// When a table's row is deleted, or a row that was given is taken back.
    TakenBack,
    /// Never: there is one of them for each key that ever came.
    Never,
}

impl Keeps {
    pub fn new(what: impl Into<String>, by: Vec<String>, until: Until) -> Keeps {
        Keeps { what: what.into(), by, until }
    }
}

/// What a node of a plan does, as a clause of SQL.
pub(crate) fn clause_text(node: &LogicalPlan, words: &Words) -> String {
    plan::line(node, words)
}

/// All queries of a pipeline.
pub fn describe(pipeline: &Pipeline) -> Result<Vec<QueryDescription>, TopologyError> {
    pipeline.queries.iter().map(|query| of_query(pipeline, query)).collect()
}

fn of_query(pipeline: &Pipeline, query: &Query) -> Result<QueryDescription, TopologyError> {
    let topology = Topology::new(query, &pipeline.sources)?;
    let words = Words::new(&query.plan);
    let id = format!("{}-{}", pipeline.name, query.name);
    let tasks = pipeline.settings.tasks;
    let laid_out = steps::lay_out(&topology, &words, &pipeline.predicates, &id, tasks);
    let warnings = warnings(&laid_out, tasks);
    let names = query.inputs();
    let sources = pipeline.sources.iter().filter(|source| names.contains(&source.name));
    let sources = sources.map(|source| {
        let column = |at: &usize| source.columns[*at].name.clone();
        SourceDescription {
            name: source.name.clone(),
            topic: source.topic.clone(),
            table_key: match &source.kind {
                SourceKind::Stream => None,
                SourceKind::Table { key } => Some(key.iter().map(column).collect()),
            },
            format: source.format.name().to_owned(),
            event_time: source.event_time_column().as_ref().map(column),
            delay_ms: ms(source.watermark.delay),
            idle_timeout_ms: ms(source.watermark.idle_timeout),
            late: source.watermark.late.clone(),
            on_error: source.on_error.clone(),
        }
    });
    let fields = topology.schema().fields();
    let field = |at: &usize| fields[*at].name().clone();
    let output = OutputDescription {
        topic: query.sink.topic.clone(),
        format: query.sink.format.name().to_owned(),
        columns: fields
            .iter()
            .map(|field| (field.name().clone(), type_text(field.data_type())))
            .collect(),
        key: query.sink.key.iter().map(field).collect(),
        mode: if topology.updating { OutputMode::Upsert } else { OutputMode::Append },
    };
    Ok(QueryDescription {
        name: query.name.clone(),
        plan: plan::tree(&query.plan, &words),
        sources: sources.collect(),
        steps: laid_out.steps,
        tasks,
        exchanges: laid_out.exchanges,
        output,
        warnings,
    })
}

fn ms(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn warnings(laid_out: &steps::LaidOut, tasks: usize) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    let mut warn = |message: String, help: &str| {
        if warnings.iter().all(|other| other.message != message) {
            warnings.push(Warning { message, help: help.to_owned() });
        }
    };
    for step in laid_out.steps.iter().filter(|step| step.kind == StepKind::Operator) {
        let title = &step.title;
        if let Some(StateDescription { keeps, .. }) = &step.state
            && keeps.until == Until::Never
            && !keeps.by.is_empty()
        {
            let (what, by) = (&keeps.what, keeps.by.join(", "));
            warn(
                format!("{title}: keeps {what} for every {by} that ever comes, and forgets none"),
                "fine if these are few; else group, deduplicate or rank within a window",
            );
        }
        let mut through = step.from.iter().filter_map(|flow| flow.exchange);
        let is_alone = |at: usize| {
            let exchange = &laid_out.exchanges[at];
            exchange.keys.is_empty() && exchange.combining != Combining::Combined
        };
        if tasks > 1 && through.any(is_alone) {
            warn(
                format!("{title}: all rows go through one of the {tasks} tasks"),
                "only what has a key to meet by can be shared out",
            );
        }
    }
    warnings
}
