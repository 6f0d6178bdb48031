//! From a query's plan to what runs it.
//!
//! ```text
//! input ─ source, wanted columns ─ stage (filters, projections) ─┐
//! input ─ …                                                      ├─ aggregate ─ stage ─ sink
//! input ─ …                                     (UNION ALL) ─────┘ (per window, if any)
//!                         ▲ joins                                       ▲ joins
//! table ─ stage ──────────┴─────────────────────────────────────────────┘
//! ```
//!
//! A topology is one task: it reads all partitions of its inputs, so rows of one group meet
//! without being written to a topic in between. Splitting it at the aggregate into sub-topologies
//! that many tasks share is what a repartition topic is for; inputs and aggregate are kept apart
//! here so that the cut is between them.
//!
//! Invariants: what a stream cannot do (an ORDER BY, a LIMIT, an aggregate that never ends) is
//! refused here with the reason and what to do instead, never at run time. The order of inputs,
//! steps and groups is that of the plan, and [`Topology::fingerprint`] changes exactly when state
//! that was kept under it no longer fits.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::{Aggregate, Expr, LogicalPlan, TableScan};
use datafusion_physical_expr::aggregate::LoweredAggregateBuilder;
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{PhysicalExpr, create_physical_expr};
use thiserror::Error;

use crate::operators::filter_project::{Stage, Step};
use crate::operators::reason;
use crate::operators::window_aggregate::{AggregateCall, AggregateSpec};
use crate::pipeline::{Query, Sink, Source, SourceKind};
use crate::plan::windows::{WindowError, group_window};

mod join;

#[cfg(test)]
mod tests;

/// A query, ready to run.
#[derive(Clone, Debug)]
pub struct Topology {
    pub query: String,
    pub inputs: Vec<Input>,
    /// What joins look rows up in, in the order of the joins.
    pub tables: Vec<TableInput>,
    pub aggregate: Option<Arc<AggregateSpec>>,
    /// After the aggregate; does nothing without one.
    pub output: Stage,
    pub sink: Sink,
}

/// One scan of a source.
#[derive(Clone, Debug)]
pub struct Input {
    pub source: Arc<Source>,
    /// The columns to decode, by index into the source's.
    pub projection: Vec<usize>,
    pub stage: Stage,
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
    Unsupported { query: String, what: String, reason: &'static str, help: &'static str },
    #[error("query '{query}': source '{name}' is not declared")]
    UnknownSource { query: String, name: String },
    #[error("query '{query}': {error}")]
    Window { query: String, error: WindowError },
    #[error("query '{query}': {reason}")]
    Expression { query: String, reason: String },
}

/// What has been lowered of a plan so far.
struct Lowered {
    inputs: Vec<Input>,
    tables: Vec<TableInput>,
    aggregate: Option<Arc<AggregateSpec>>,
    output: Stage,
}

impl Lowered {
    /// Adds a step where rows are at this point: after the aggregate, or in each input.
    fn push(&mut self, step: Step) {
        if self.aggregate.is_some() {
            self.output.push(step);
        } else {
            for input in &mut self.inputs {
                input.stage.push(step.clone());
            }
        }
    }
}

struct Lowering<'a> {
    query: &'a str,
    sources: &'a [Arc<Source>],
    props: ExecutionProps,
    context: PhysicalPlanningContext,
}

impl Topology {
    /// Lowers `query`, whose scans name `sources`.
    pub fn new(query: &Query, sources: &[Arc<Source>]) -> Result<Topology, TopologyError> {
        let lowering = Lowering {
            query: &query.name,
            sources,
            props: ExecutionProps::new(),
            context: PhysicalPlanningContext::default(),
        };
        let Lowered { inputs, tables, aggregate, output } = lowering.lower(&query.plan)?;
        let sink = query.sink.clone();
        Ok(Topology { query: query.name.clone(), inputs, tables, aggregate, output, sink })
    }

    /// Of the rows that go to the sink.
    pub fn schema(&self) -> &SchemaRef {
        match &self.aggregate {
            Some(_) => self.output.schema(),
            None => self.inputs[0].stage.schema(),
        }
    }

    /// What kept state depends on: everything up to and including the aggregate, as text. Steps
    /// after it and the sink may change freely.
    pub fn fingerprint(&self) -> String {
        struct Kept<'a>(&'a Topology);
        impl fmt::Display for Kept<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_kept(f)
            }
        }
        Kept(self).to_string()
    }

    fn fmt_kept(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for input in &self.inputs {
            writeln!(f, "{input}")?;
        }
        for (index, table) in self.tables.iter().enumerate() {
            if self.inputs.iter().any(|input| input.stage.joins(index)) {
                writeln!(f, "{table}")?;
            }
        }
        match &self.aggregate {
            Some(aggregate) => writeln!(f, "{aggregate}"),
            None => Ok(()),
        }
    }
}

impl Lowering<'_> {
    fn lower(&self, plan: &LogicalPlan) -> Result<Lowered, TopologyError> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Projection(projection) => {
                let mut lowered = self.lower(&projection.input)?;
                let exprs = self.exprs(&projection.expr, projection.input.schema())?;
                let schema = projection.schema.inner().clone();
                lowered.push(Step::Project { exprs, schema });
                Ok(lowered)
            }
            LogicalPlan::Filter(filter) => {
                let mut lowered = self.lower(&filter.input)?;
                let predicate = self.expr(&filter.predicate, filter.input.schema())?;
                lowered.push(Step::Filter(predicate));
                Ok(lowered)
            }
            LogicalPlan::Union(union) => {
                let (mut inputs, mut tables) = (Vec::new(), Vec::new());
                for input in &union.inputs {
                    let mut lowered = self.lower(input)?;
                    lowered.renumber_tables(tables.len());
                    tables.append(&mut lowered.tables);
                    if lowered.aggregate.is_some() {
                        return Err(self.unsupported(
                            "UNION ALL of aggregates",
                            "their windows close at different times",
                            "write each to its own topic and read these topics together",
                        ));
                    }
                    inputs.extend(lowered.inputs);
                }
                let schema = union.schema.inner().clone();
                for input in &mut inputs {
                    if *input.stage.schema() != schema {
                        input.stage.push(rename(input.stage.schema(), &schema));
                    }
                }
                Ok(Lowered { inputs, tables, aggregate: None, output: Stage::new(schema) })
            }
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            other => Err(self.refused(other)),
        }
    }

    fn scan(&self, scan: &TableScan) -> Result<Lowered, TopologyError> {
        let name = scan.table_name.table();
        let source = self.sources.iter().find(|source| source.name == name).ok_or_else(|| {
            TopologyError::UnknownSource { query: self.query.to_owned(), name: name.to_owned() }
        })?;
        if let SourceKind::Table { .. } = source.kind {
            return Err(self.unsupported(
                "a table by itself",
                "its rows are replaced and deleted",
                "join a stream with it, or declare it without a key to read its records",
            ));
        }
        self.scan_of(source, scan)
    }

    /// A scan of a stream or a table.
    fn scan_of(&self, source: &Arc<Source>, scan: &TableScan) -> Result<Lowered, TopologyError> {
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
        let output = Stage::new(stage.schema().clone());
        let inputs = vec![Input { source: source.clone(), projection, stage }];
        Ok(Lowered { inputs, tables: Vec::new(), aggregate: None, output })
    }

    fn aggregate(&self, aggregate: &Aggregate) -> Result<Lowered, TopologyError> {
        let lowered = self.lower(&aggregate.input)?;
        if lowered.aggregate.is_some() {
            return Err(self.unsupported(
                "an aggregate of an aggregate",
                "the inner one is final only when its window closes",
                "write the inner one to a topic with a query of its own and aggregate that",
            ));
        }
        let window = group_window(aggregate)
            .map_err(|error| TopologyError::Window { query: self.query.to_owned(), error })?;
        let Some(window) = window else {
            return Err(self.unsupported(
                "GROUP BY without a window",
                "its groups would never be complete",
                "group by the window_start and window_end of TUMBLE(…) as well",
            ));
        };
        let input_schema = aggregate.input.schema();
        let group = self.exprs(&aggregate.group_expr, input_schema)?;
        let calls = aggregate
            .aggr_expr
            .iter()
            .map(|expr| self.aggregate_call(expr, input_schema))
            .collect::<Result<Vec<_>, _>>()?;
        let schema: SchemaRef = aggregate.schema.inner().clone();
        let time = schema.field(window.start).data_type().clone();
        if !matches!(time, DataType::Timestamp(_, _)) {
            let reason = format!("the window's start is a {time}, not a timestamp");
            return Err(self.wrong(reason));
        }
        let spec = AggregateSpec::new(group, &window, calls, schema.clone())
            .map_err(|error| self.expression_error(error))?;
        Ok(Lowered {
            inputs: lowered.inputs,
            tables: lowered.tables,
            aggregate: Some(Arc::new(spec)),
            output: Stage::new(schema),
        })
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
        AggregateCall::new(lowered).map_err(|error| self.expression_error(error))
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
            LogicalPlan::Distinct(_) => (
                "DISTINCT",
                "every row ever seen would have to be kept",
                "group by the columns and a window instead",
            ),
            LogicalPlan::Window(_) => (
                "OVER (…)",
                "window functions over rows are not there yet",
                "use an aggregate over TUMBLE(…)",
            ),
            LogicalPlan::Unnest(_) => {
                ("UNNEST", "it is not there yet", "write one record per element")
            }
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
                ("a query without a source", "nothing ever comes", "add FROM with a source")
            }
            _ => ("this statement", "it is no query over sources", "use INSERT INTO … SELECT …"),
        };
        self.unsupported(what, reason, help)
    }

    fn unsupported(&self, what: &str, reason: &'static str, help: &'static str) -> TopologyError {
        let (query, what) = (self.query.to_owned(), what.to_owned());
        TopologyError::Unsupported { query, what, reason, help }
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
        self.fmt_kept(f)?;
        for (index, table) in self.tables.iter().enumerate() {
            if self.output.joins(index) {
                writeln!(f, "{table}")?;
            }
        }
        if !self.output.is_empty() {
            writeln!(f, "output{}", self.output)?;
        }
        write!(f, "sink {}", self.sink.topic)
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self
            .projection
            .iter()
            .map(|&column| self.source.columns[column].name.as_str())
            .collect();
        write!(f, "input {} [{}]{}", self.source.topic, columns.join(", "), self.stage)
    }
}

impl fmt::Display for TableInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, key) = self.projection.split_at(self.columns_wanted);
        let names = |columns: &[usize]| {
            let names: Vec<&str> =
                columns.iter().map(|&column| self.source.columns[column].name.as_str()).collect();
            names.join(", ")
        };
        let (topic, wanted, key) = (&self.source.topic, names(wanted), names(key));
        let keys: Vec<String> = self.join_keys.iter().map(|key| key.to_string()).collect();
        write!(f, "table {topic} [{wanted}] key {key}, found by {}{}", keys.join(", "), self.stage)
    }
}
