//! From a query's plan to what runs it.
//!
//! ```text
//! input ─ source, wanted columns ─ stage (filters, projections) ─┐
//! input ─ …                                                      ├─ node: operator, stage ┐
//! input ─ …                                     (UNION ALL) ─────┘                        ├ sink
//!                                                     input ─ … ─ node: operator, stage ──┘
//! ```
//!
//! A topology is a tree: rows go from inputs through nodes, each an operator that remembers
//! something and the stage after it, to the sink. Stages also join tables, which every task holds
//! whole. One task reads all partitions of its inputs, so rows of one group meet without being
//! written to a topic in between. For more tasks it is cut between nodes, by repartition topics.
//!
//! Invariants: what a stream cannot do (an ORDER BY, a LIMIT, an aggregate that never ends) is
//! refused here with the reason and what to do instead, never at run time. The order of inputs,
//! nodes and steps is that of the plan; a node stands after those that feed it. A node's
//! fingerprint changes exactly when state that was kept under it no longer fits; parts of an
//! aggregate, whose state may come and go, stand beside it.
//!
//! - [`flow`]: a topology as it grows; [`join`]: a stream that meets a table; [`ranking`]: the
//!   first rows of many; [`over`]: rows beside those before them; [`lineage`]:
//!   what columns are made of; [`split`]: a topology shared by
//!   several tasks.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection, TableScan};
use datafusion_physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use thiserror::Error;

use crate::operators::aggregate::AggregateCall;
use crate::operators::aggregate::retracting::RetractingSpec;
use crate::operators::aggregate::session::{SessionSpec, Telling};
use crate::operators::aggregate::updating::UpdatingSpec;
use crate::operators::aggregate::window::WindowSpec;
use crate::operators::aggregate::window_updates::WindowUpdatesSpec;
use crate::operators::filter_project::{Stage, Step};
use crate::operators::idle_keys::IdleKeysSpec;
use crate::operators::unnest::Unnest;
use crate::operators::{Distribution, OperatorSpec, reason};
use crate::pipeline::{ColumnFrom, Emit, Format, LateRows, Query, Sink, Source, SourceKind};
use crate::plan::user_functions::Functions;
use crate::plan::windows::{Shape, WindowError, group_window};
use crate::state::changelog::{KeptFor, Operators, StateId, ToldBy};
use crate::state::layouts::Part;
use crate::time::Watermark;

mod flow;
mod join;
mod lineage;
pub(crate) mod over;
pub(crate) mod ranking;
mod split;

use flow::{Builder, Changes, Flow};
pub use split::{Exchange, Writes, for_tasks, split};

#[cfg(test)]
mod tests;

/// A query, ready to run.
#[derive(Clone, Debug)]
pub struct Topology {
    pub query: String,
    pub inputs: Vec<Input>,
    /// What it reads of other parts of the query.
    pub exchanges: Vec<ExchangeInput>,
    /// What joins look rows up in, in the order of the joins.
    pub tables: Vec<TableInput>,
    pub nodes: Vec<Node>,
    /// Of the rows that go to the sink.
    pub schema: SchemaRef,
    /// Rows that went to the sink may be taken back.
    pub updating: bool,
    pub sink: Sink,
    /// Where rows go instead, if this is a part of a query that another part follows.
    pub writes: Option<Writes>,
    /// Where rows go that come too late for their window, if not nowhere.
    pub late_topic: Option<Arc<str>>,
    /// Functions of users that the query calls, in whatever part of it.
    pub functions: Functions,
}

/// One scan of a source.
#[derive(Clone, Debug)]
pub struct Input {
    pub source: Arc<Source>,
    /// The columns to decode, by index into the source's.
    pub projection: Vec<usize>,
    pub stage: Stage,
    pub to: Port,
    /// Its records replace and delete rows: they come with their keys, those that delete too (see
    /// [`normalize`](crate::operators::normalize)).
    pub by_key: bool,
}

/// Rows that come from other parts of the query.
#[derive(Clone, Debug)]
pub struct ExchangeInput {
    pub exchange: Arc<Exchange>,
    pub to: Port,
}

impl Topology {
    /// The topics of tables that rows are joined with as they were at a time.
    pub fn looked_up(&self) -> BTreeSet<String> {
        let is_looked_up = |input: &&Input| match input.to {
            Port::Node { node, side } => self.nodes[node].operator.is_looked_up(side),
            Port::Sink => false,
        };
        self.inputs.iter().filter(is_looked_up).map(|input| input.source.topic.clone()).collect()
    }
}

/// An operator, and what its rows go through afterwards.
#[derive(Clone, Debug)]
pub struct Node {
    pub operator: Arc<dyn OperatorSpec>,
    pub stage: Stage,
    pub to: Port,
    /// How far its watermark is behind that of the task: rows that come in are older than that by
    /// no more.
    pub lag_ms: i64,
    /// All that its state depends on: the operator and everything before it. Steps after it and
    /// the sink may change freely.
    pub fingerprint: String,
    /// What may come and go while the state is kept; not in the fingerprint.
    pub parts: Vec<Part>,
}

impl Node {
    /// All that its state depends on, parts that may come and go included.
    pub fn kept_for(&self) -> String {
        KeptFor { text: self.fingerprint.clone(), parts: self.parts.clone() }.to_string()
    }

    /// What the task's watermark is for this node.
    pub fn behind(&self, watermark: Watermark) -> Watermark {
        Watermark(watermark.0.saturating_sub(self.lag_ms))
    }
}

/// Where rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Into that input of a node.
    Node {
        node: usize,
        side: usize,
    },
    Sink,
}

/// A table, read whole by every task.
#[derive(Clone, Debug)]
pub struct TableInput {
    pub source: Arc<Source>,
    /// The columns to decode: `columns_wanted` of them, then those of the table's key.
    pub projection: Vec<usize>,
    pub columns_wanted: usize,
    pub stage: Stage,
    /// What the rows that come out of `stage` are found by.
    pub join_keys: Vec<Arc<dyn PhysicalExpr>>,
    /// `IS NOT DISTINCT FROM` rather than `=`.
    pub nulls_equal: bool,
}

/// Why a plan cannot run as a stream.
#[derive(Debug, Error)]
pub enum TopologyError {
    #[error("query '{query}': {what} cannot run as a stream: {reason}; {help}")]
    Unsupported { query: String, what: String, reason: Cow<'static, str>, help: Cow<'static, str> },
    #[error("query '{query}': {message}; {help}")]
    Join { query: String, message: String, help: &'static str },
    #[error("query '{query}': source '{name}' is not declared")]
    UnknownSource { query: String, name: String },
    #[error("query '{query}': {error}")]
    Window { query: String, error: WindowError },
    #[error("query '{query}': {reason}")]
    Expression { query: String, reason: String },
}

/// What follows that which is being lowered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Above {
    Nothing,
    /// Aggregates that take rows back.
    Updating,
    /// A window, which takes none back.
    Window,
}

struct Lowering<'a> {
    query: &'a str,
    emit: Emit,
    /// How long keys are kept that are left alone.
    state_ttl: Option<Duration>,
    above: Above,
    sources: &'a [Arc<Source>],
    built: Builder,
    props: ExecutionProps,
    context: PhysicalPlanningContext,
}

impl Topology {
    /// Lowers `query`, whose scans name `sources`.
    pub fn new(query: &Query, sources: &[Arc<Source>]) -> Result<Topology, TopologyError> {
        let mut lowering = Lowering {
            query: &query.name,
            emit: query.emit,
            state_ttl: query.state_ttl,
            above: Above::Nothing,
            sources,
            built: Builder::default(),
            props: ExecutionProps::new(),
            context: PhysicalPlanningContext::default(),
        };
        let flow = lowering.lower(&query.plan)?;
        let Flow { schema, updating, .. } = flow;
        let Builder { inputs, tables, nodes } = lowering.built;
        let functions = Functions::of(&query.plan);
        let (query, sink) = (query.name.clone(), query.sink.clone());
        let (exchanges, writes) = (Vec::new(), None);
        let late_topic =
            inputs.iter().find_map(|input: &Input| match &input.source.watermark.late {
                LateRows::Topic { topic } => Some(topic.as_str().into()),
                LateRows::Drop | LateRows::Update { .. } => None,
            });
        Ok(Topology {
            query,
            inputs,
            exchanges,
            tables,
            nodes,
            schema,
            updating,
            sink,
            writes,
            late_topic,
            functions,
        })
    }

    /// What the state of each operator depends on, by its id.
    pub fn kept_for(&self) -> Operators {
        let kept_for = |node: &Node| {
            let of = KeptFor { text: node.fingerprint.clone(), parts: node.parts.clone() };
            (StateId::of(&node.fingerprint).to_string(), of)
        };
        self.nodes.iter().map(kept_for).collect()
    }

    /// Which records its answers replace, if they may be corrected.
    pub fn told_by(&self) -> Option<ToldBy> {
        if !self.updating || self.writes.is_some() {
            return None;
        }
        let name = |&column: &usize| self.schema.field(column).name().clone();
        Some(ToldBy {
            topic: self.sink.topic.clone(),
            key: self.sink.key.iter().map(name).collect(),
            key_format: self.sink.key_format.name().to_owned(),
        })
    }

    /// Of the rows that go to the sink.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Lowering<'_> {
    fn lower(&mut self, plan: &LogicalPlan) -> Result<Flow, TopologyError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Projection(projection) => {
                let flow = self.projected(projection)?;
                let step = self.projection(projection)?;
                Ok(self.built.push(flow, step))
            }
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::Unnest(unnest) => {
                let flow = self.lower(&unnest.input)?;
                Ok(self.built.push(flow, Step::Unnest(Arc::new(Unnest::new(unnest)))))
            }
            LogicalPlan::Union(union) => {
                let schema = union.schema.inner();
                let mut flows = Vec::new();
                for input in &union.inputs {
                    let flow = self.lower(input)?;
                    flows.push(match flow.schema == *schema {
                        true => flow,
                        false => {
                            let renamed = rename(&flow.schema, schema);
                            self.built.push(flow, renamed)
                        }
                    });
                }
                Ok(Flow::union(schema.clone(), flows))
            }
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => self.distinct(input),
            LogicalPlan::Distinct(Distinct::On(distinct)) => self.distinct_on(distinct),
            other => Err(self.refused(other)),
        }
    }

    pub(super) fn projection(&self, projection: &Projection) -> Result<Step, TopologyError> {
        let exprs = self.exprs(&projection.expr, projection.input.schema())?;
        Ok(Step::Project { exprs, schema: projection.schema.inner().clone() })
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Flow, TopologyError> {
        let name = scan.table_name.table();
        let source = self.sources.iter().find(|source| source.name == name).ok_or_else(|| {
            TopologyError::UnknownSource { query: self.query.to_owned(), name: name.to_owned() }
        })?;
        if let SourceKind::Table { key } = &source.kind {
            return self.table_by_itself(source, scan, key);
        }
        let input = self.scan_of(source, scan)?;
        // Change events take back the rows that were before.
        let updating = source.format == Format::DebeziumJson;
        let mut flow = self.built.input(input);
        flow.updating = updating;
        Ok(flow)
    }

    /// A scan of a stream or a table.
    fn scan_of(&self, source: &Arc<Source>, scan: &TableScan) -> Result<Input, TopologyError> {
        if scan.fetch.is_some() {
            return Err(self.unsupported(
                "LIMIT",
                "a stream has no end at which its first rows are all there are",
                "leave it out",
            ));
        }
        let projection: Vec<usize> = match &scan.projection {
            Some(projection) => projection.clone(),
            None => (0..source.columns.len()).collect(),
        };
        let schema = scan.projected_schema.inner().clone();
        let mut stage = Stage::new(schema);
        for filter in &scan.filters {
            stage.push(Step::Filter(self.expr(filter, &scan.projected_schema)?));
        }
        Ok(Input { source: source.clone(), projection, stage, to: Port::Sink, by_key: false })
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Flow, TopologyError> {
        let window = group_window(aggregate)
            .map_err(|error| TopologyError::Window { query: self.query.to_owned(), error })?;
        let above = self.above;
        let updates = match &window {
            Some(_) => self.updates(&aggregate.input)?,
            None => None,
        };
        self.above = match &window {
            Some(_) => Above::Window,
            None if above == Above::Nothing => Above::Updating,
            None => above,
        };
        let flow = self.lower(&aggregate.input)?;
        self.above = above;
        let input_schema = aggregate.input.schema();
        let group = self.exprs(&aggregate.group_expr, input_schema)?;
        let calls = aggregate
            .aggr_expr
            .iter()
            .map(|expr| self.aggregate_call(expr, input_schema))
            .collect::<Result<Vec<_>, _>>()?;
        let schema: SchemaRef = aggregate.schema.inner().clone();
        let Some(window) = window else {
            return Ok(self.updating_aggregate(flow, group, calls, schema));
        };
        self.check_not_updating(
            &flow,
            "a window over rows that are taken back",
            "GROUP BY date_bin(INTERVAL '1 minute', ts) counts them too, as an answer that is \
             updated; events that only insert can be read as JSON: after ROW<…>, op STRING",
        )?;
        let spec: Result<Arc<dyn OperatorSpec>, _> = match window.shape {
            Shape::Session { .. } => SessionSpec::new(group, &window, calls, schema)
                .map(|spec| Arc::new(spec.telling(updates)) as Arc<dyn OperatorSpec>),
            _ => WindowSpec::new(group, &window, calls, schema).map(|spec| match updates {
                None => Arc::new(spec) as Arc<dyn OperatorSpec>,
                Some(Telling { early, grace_ms }) => {
                    Arc::new(WindowUpdatesSpec::new(spec, early, grace_ms))
                }
            }),
        };
        let spec = spec.map_err(|error| self.expression_error(error))?;
        let changes = if updates.is_some() { Changes::Updating } else { Changes::Final };
        let flow = self.built.node(vec![flow], spec, changes);
        Ok(Flow { of_windows: true, ..flow })
    }

    /// Whether and when a window is told more than once: late rows correct it where what follows
    /// can take its answer back, and it is told early where no aggregate follows.
    fn updates(&self, input: &LogicalPlan) -> Result<Option<Telling>, TopologyError> {
        if self.above == Above::Window {
            return Ok(None);
        }
        let early = self.emit == Emit::Changes && self.above == Above::Nothing;
        let grace_ms = self.lateness_ms(input);
        Ok((early || grace_ms > 0).then_some(Telling { early, grace_ms }))
    }

    /// For how long late rows correct what is computed of these.
    fn lateness_ms(&self, input: &LogicalPlan) -> i64 {
        let of_sources = self.sources_of(input).into_iter().map(|source| {
            let LateRows::Update { lateness } = source.watermark.late else { return 0 };
            i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX)
        });
        of_sources.max().unwrap_or(0)
    }

    fn sources_of(&self, plan: &LogicalPlan) -> Vec<&Arc<Source>> {
        let mut sources = Vec::new();
        let mut below = vec![plan];
        while let Some(plan) = below.pop() {
            if let LogicalPlan::TableScan(scan) = plan {
                let name = scan.table_name.table();
                sources.extend(self.sources.iter().find(|source| source.name == name));
            }
            below.extend(plan.inputs().into_iter().rev());
        }
        sources
    }

    /// Rows that are alike come out once.
    fn distinct(&mut self, input: &LogicalPlan) -> Result<Flow, TopologyError> {
        let flow = self.lower(input)?;
        let schema = flow.schema.clone();
        let columns = schema.fields().iter().enumerate();
        let group = columns
            .map(|(at, field)| Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>)
            .collect();
        if flow.updating {
            return Ok(self.updating_aggregate(flow, group, Vec::new(), schema));
        }
        let spec = self.forgetting(Arc::new(UpdatingSpec::new(group, Vec::new(), schema)));
        // A row that was there never goes, so nothing is ever taken back.
        Ok(self.built.node(vec![flow], spec, Changes::Final))
    }

    fn updating_aggregate(
        &mut self,
        flow: Flow,
        group: Vec<Arc<dyn PhysicalExpr>>,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> Flow {
        let spec: Arc<dyn OperatorSpec> = match flow.updating {
            true => Arc::new(RetractingSpec::new(group, calls, schema)),
            false => Arc::new(UpdatingSpec::new(group, calls, schema)),
        };
        let spec = self.forgetting(spec);
        self.built.node(vec![flow], spec, Changes::Updating)
    }

    /// An operator that keeps something of every key that ever came, unless that is left alone for
    /// too long.
    fn forgetting(&self, spec: Arc<dyn OperatorSpec>) -> Arc<dyn OperatorSpec> {
        let sides = [0, 1].map(|side| match spec.distribution(side) {
            Distribution::ByKey(keys) => keys,
            Distribution::Together => Vec::new(),
        });
        self.forgetting_by(spec, sides.into())
    }

    /// The same of one that keeps rows by windows, to which nothing comes once they have closed.
    fn forgetting_windows(
        &self,
        spec: Arc<dyn OperatorSpec>,
        lag_ms: i64,
        inputs: &[&LogicalPlan],
    ) -> Arc<dyn OperatorSpec> {
        // A row of a window happens at the last moment of it.
        let lateness_ms = inputs.iter().map(|input| self.lateness_ms(input)).max().unwrap_or(0);
        let closed_ms = lateness_ms.saturating_add(lag_ms).saturating_add(1);
        let ttl = self.state_ttl.map_or(closed_ms, |ttl| {
            i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).min(closed_ms)
        });
        let sides = [0, 1].map(|side| match spec.distribution(side) {
            Distribution::ByKey(keys) => keys,
            Distribution::Together => Vec::new(),
        });
        Arc::new(IdleKeysSpec::new(spec, sides.into(), ttl))
    }

    /// The same, of one that keeps rows by these; by nothing, it keeps one thing.
    fn forgetting_by(
        &self,
        spec: Arc<dyn OperatorSpec>,
        keys: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    ) -> Arc<dyn OperatorSpec> {
        match self.state_ttl {
            Some(ttl) if keys.iter().any(|keys| !keys.is_empty()) => {
                let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
                Arc::new(IdleKeysSpec::new(spec, keys, ttl_ms))
            }
            _ => spec,
        }
    }

    fn check_not_updating(
        &self,
        flow: &Flow,
        what: &str,
        help: &'static str,
    ) -> Result<(), TopologyError> {
        match flow.updating {
            true => Err(self.unsupported(what, "it is not there yet", help)),
            false => Ok(()),
        }
    }

    fn aggregate_call(
        &self,
        expr: &Expr,
        input_schema: &DFSchema,
    ) -> Result<AggregateCall, TopologyError> {
        let lowered = LoweredAggregateBuilder::new(
            expr,
            input_schema,
            input_schema.as_arrow(),
            &self.props,
            &self.context,
        )
        .build()
        .map_err(|error| self.expression_error(error))?;
        AggregateCall::new(lowered, input_schema.as_arrow())
            .map_err(|error| self.expression_error(error))
    }

    fn exprs(
        &self,
        exprs: &[Expr],
        schema: &DFSchema,
    ) -> Result<Vec<Arc<dyn PhysicalExpr>>, TopologyError> {
        exprs.iter().map(|expr| self.expr(expr, schema)).collect()
    }

    fn expr(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>, TopologyError> {
        create_physical_expr(expr, schema, &self.props, &self.context)
            .map_err(|error| self.expression_error(error))
    }

    fn refused(&self, plan: &LogicalPlan) -> TopologyError {
        let (what, reason, help) = match plan {
            LogicalPlan::Sort(_) => (
                "ORDER BY",
                "a stream has no end at which it could be sorted",
                "leave it out: the rows of a window are written together, sorted by their group",
            ),
            LogicalPlan::Limit(_) => (
                "LIMIT",
                "a stream has no end at which its first rows are all there are",
                "leave it out",
            ),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
                ("a query without a source", "nothing ever comes", "add FROM with a source")
            }
            _ => ("this statement", "it is no query over sources", "use INSERT INTO … SELECT …"),
        };
        self.unsupported(what, reason, help)
    }

    fn unsupported(
        &self,
        what: &str,
        reason: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
    ) -> TopologyError {
        let (query, what) = (self.query.to_owned(), what.to_owned());
        TopologyError::Unsupported { query, what, reason: reason.into(), help: help.into() }
    }

    fn expression_error(&self, error: DataFusionError) -> TopologyError {
        self.wrong(reason(error))
    }

    fn wrong(&self, reason: String) -> TopologyError {
        TopologyError::Expression { query: self.query.to_owned(), reason }
    }
}

/// The same columns under the names of a union.
fn rename(from: &Schema, to: &SchemaRef) -> Step {
    let columns = from.fields().iter().enumerate();
    let exprs = columns
        .map(|(index, field)| Arc::new(Column::new(field.name(), index)) as Arc<dyn PhysicalExpr>)
        .collect();
    Step::Project { exprs, schema: to.clone() }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "query {}", self.query)?;
        self.fmt_into(f, Port::Sink)?;
        match &self.writes {
            Some(Writes { exchange, writer }) => write!(f, "{exchange}, writer {writer}"),
            None => {
                write!(f, "sink {}", self.sink.topic)?;
                f.write_str(if self.updating { ", updating" } else { "" })
            }
        }
    }
}

impl Topology {
    /// What feeds `port`, each after what feeds it.
    fn fmt_into(&self, f: &mut fmt::Formatter<'_>, port: Port) -> fmt::Result {
        for input in self.inputs.iter().filter(|input| input.to == port) {
            writeln!(f, "{input}")?;
            self.fmt_tables(f, &input.stage)?;
        }
        for input in self.exchanges.iter().filter(|input| input.to == port) {
            writeln!(f, "{}", input.exchange)?;
        }
        for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.to == port) {
            for side in 0..self.sides(index) {
                if side > 0 {
                    writeln!(f, "with")?;
                }
                self.fmt_into(f, Port::Node { node: index, side })?;
            }
            writeln!(f, "{}{}", node.operator, node.stage)?;
            self.fmt_tables(f, &node.stage)?;
        }
        Ok(())
    }

    fn fmt_tables(&self, f: &mut fmt::Formatter<'_>, stage: &Stage) -> fmt::Result {
        let joined = self.tables.iter().enumerate().filter(|(index, _)| stage.joins(*index));
        joined.map(|(_, table)| table).try_for_each(|table| writeln!(f, "{table}"))
    }

    /// How many inputs a node has.
    pub(crate) fn sides(&self, of: usize) -> usize {
        let ports = self.inputs.iter().map(|input| input.to);
        let ports = ports.chain(self.exchanges.iter().map(|input| input.to));
        let sides = ports.chain(self.nodes.iter().map(|node| node.to)).map(|port| match port {
            Port::Node { node, side } if node == of => side + 1,
            _ => 0,
        });
        sides.max().unwrap_or(0)
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<String> = self.keys.iter().map(|key| key.to_string()).collect();
        let keys = if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") };
        write!(f, "exchange {} by {keys}", self.topic)?;
        if let Some(to_all) = &self.to_all {
            write!(f, ", to all where {to_all}")?;
        }
        if self.combines().is_some() {
            f.write_str(", combined before")?;
        }
        write!(f, ", {} tasks", self.tasks)
    }
}

/// A column by its name, and what it is computed of: state that was kept of another does not fit.
fn column_text(source: &Source, column: usize) -> String {
    let column = &source.columns[column];
    match &column.from {
        ColumnFrom::Computed(expr) => format!("{} = {expr}", column.name),
        _ => column.name.clone(),
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.projection.iter().map(|&column| column_text(&self.source, column));
        let columns: Vec<String> = columns.collect();
        let what = if self.by_key { "input by key" } else { "input" };
        write!(f, "{what} {} [{}]{}", self.source.topic, columns.join(", "), self.stage)
    }
}

impl fmt::Display for TableInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, key) = self.projection.split_at(self.columns_wanted);
        let names = |columns: &[usize]| {
            let names = columns.iter().map(|&column| column_text(&self.source, column));
            names.collect::<Vec<_>>().join(", ")
        };
        let (topic, wanted, key) = (&self.source.topic, names(wanted), names(key));
        let keys: Vec<String> = self.join_keys.iter().map(|key| key.to_string()).collect();
        write!(f, "table {topic} [{wanted}] key {key}, found by {}{}", keys.join(", "), self.stage)
    }
}
