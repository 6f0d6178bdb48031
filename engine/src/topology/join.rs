//! Joins: of a stream with a table, of two streams, and of two tables.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{JoinType, NullEquality, ScalarValue};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{
    Distinct, Expr, ExprSchemable, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection,
    TableScan, col, lit,
};
use datafusion_functions_aggregate::count::count;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::flow::Changes;
use super::ranking::partition_window;
use super::{Flow, Input, Lowering, Port, TableInput, TopologyError};
use crate::operators::aggregate::updating::UpdatingSpec;
use crate::operators::filter_project::{Stage, Step};
use crate::operators::interval_join::{IntervalSpec, SideTime};
use crate::operators::lookup_join::{LookupJoin, LookupKind, PairFilter};
use crate::operators::normalize::{NormalizeSpec, schema_of_records};
use crate::operators::sides::{Role, Side, Sides};
use crate::operators::temporal_join::TemporalSpec;
use crate::operators::updating_join::UpdatingJoinSpec;
use crate::pipeline::{ColumnFrom, Format, Source, SourceKind};
use crate::plan::as_of;
use crate::plan::joins::{event_after_ms, time_bounds};
use crate::plan::windows::trace;
use crate::type_names::type_text;

impl Lowering<'_> {
    pub(super) fn join(&mut self, join: &Join) -> Result<Flow, TopologyError> {
        let conditions = join.filter.iter().flat_map(|filter| split_conjunction(filter));
        if let Some(time) = conditions.clone().find_map(as_of::time_of) {
            let rest = conditions.filter(|condition| as_of::time_of(condition).is_none());
            let rest: Vec<&Expr> = rest.collect();
            return self.temporal_join(join, time, &rest);
        }
        if join.join_type == JoinType::LeftMark {
            return self.mark_join(join);
        }
        let tables = (self.table(&join.left), self.table(&join.right));
        if join.null_aware && tables.0.is_some() | tables.1.is_none() {
            return self.not_in(join);
        }
        let (stream, table_first) = match tables {
            (None, Some(_)) => (&join.left, false),
            (Some(_), None) => (&join.right, true),
            _ => {
                let (left, right) = (self.lower(&join.left)?, self.lower(&join.right)?);
                return self.join_of_kept(join, left, right);
            }
        };
        let before = join.null_aware.then(|| self.built.clone());
        let flow = self.lower(stream)?;
        let about_keys = is_about_keys(join, (table_first, !table_first));
        if !is_table(&flow, stream) && !about_keys {
            return self.lookup(join, flow, table_first);
        }
        if let Some(before) = before {
            self.built = before;
            return self.not_in(join);
        }
        // What is looked up must not have changed when a row is taken back.
        let table = self.lower(if table_first { &join.left } else { &join.right })?;
        let (left, right) = if table_first { (table, flow) } else { (flow, table) };
        self.join_of_kept(join, left, right)
    }

    /// Both sides are kept: as long as their times say, or as long as they are there.
    fn join_of_kept(
        &mut self,
        join: &Join,
        left: Flow,
        right: Flow,
    ) -> Result<Flow, TopologyError> {
        match (is_table(&left, &join.left), is_table(&right, &join.right)) {
            (true, true) => self.join_of_tables(join, left, right),
            (false, false) => self.join_of_streams(join, left, right),
            tables if is_about_keys(join, tables) => self.join_with_keys(join, left, right),
            _ => {
                let message = "a stream cannot be joined with an answer that keeps changing: its \
                               rows would have to be kept for ever";
                let help = "write that answer to a topic with a query of its own, declare the \
                            topic as a table, and join the stream with it as it stands";
                Err(self.no_join(message.to_owned(), help))
            }
        }
    }

    /// `EXISTS` or `IN` as a value: rows that meet any, and the others.
    fn mark_join(&mut self, join: &Join) -> Result<Flow, TopologyError> {
        let mut parts = Vec::new();
        for (join_type, mark) in [(JoinType::LeftSemi, true), (JoinType::LeftAnti, false)] {
            let rows = Join { join_type, schema: join.left.schema().clone(), ..join.clone() };
            let mut exprs: Vec<Expr> =
                join.left.schema().columns().into_iter().map(Expr::Column).collect();
            exprs.push(Expr::Literal(ScalarValue::Boolean(Some(mark)), None));
            let rows = Arc::new(LogicalPlan::Join(rows));
            let marked = Projection::try_new_with_schema(exprs, rows, join.schema.clone());
            let marked = marked.map_err(|error| self.expression_error(error))?;
            parts.push(self.lower(&LogicalPlan::Projection(marked))?);
        }
        Ok(Flow::union(join.schema.inner().clone(), parts))
    }

    /// `NOT IN`, where both sides may change: rows that meet none, if the other side has no rows at
    /// all, or neither of them a NULL.
    fn not_in(&mut self, join: &Join) -> Result<Flow, TopologyError> {
        let [(left, right)] = join.on.as_slice() else {
            return Err(self.correlated_not_in());
        };
        if join.filter.is_some() {
            return Err(self.correlated_not_in());
        }
        let plan = self.rewritten_not_in(join, left, right);
        self.lower(&plan.map_err(|error| self.expression_error(error))?)
    }

    fn correlated_not_in(&self) -> TopologyError {
        let message = "NOT IN (SELECT …) cannot depend on the row it is asked for where columns may \
                       be NULL: one NULL among the others would make it unknown";
        let help = "declare the columns that are compared NOT NULL, or say NOT EXISTS (SELECT … \
                    WHERE other.column = this.column)";
        self.no_join(message.to_owned(), help)
    }

    fn rewritten_not_in(
        &self,
        join: &Join,
        left: &Expr,
        right: &Expr,
    ) -> datafusion_common::Result<LogicalPlan> {
        let certain = Join { null_aware: false, ..join.clone() };
        let others = LogicalPlanBuilder::from(join.right.as_ref().clone()).aggregate(
            Vec::<Expr>::new(),
            vec![count(lit(1i64)).alias("rows"), count(right.clone()).alias("known")],
        )?;
        let others = others.alias("__others")?.build()?;
        let (rows, known) = (col("__others.rows"), col("__others.known"));
        let holds = rows.clone().is_null().or(rows.clone().eq(lit(0i64)));
        let holds = holds.or(rows.eq(known).and(left.clone().is_not_null()));
        let columns: Vec<Expr> = join.schema.columns().into_iter().map(Expr::Column).collect();
        LogicalPlanBuilder::from(LogicalPlan::Join(certain))
            .join_on(others, JoinType::Left, [lit(true)])?
            .filter(holds)?
            .project(columns)?
            .build()
    }

    /// A stream that meets a table as it was.
    fn temporal_join(
        &mut self,
        join: &Join,
        time: &Expr,
        rest: &[&Expr],
    ) -> Result<Flow, TopologyError> {
        let refuse = |message: &str, help| Err(self.no_join(message.to_owned(), help));
        let help = "such as FROM trips JOIN rates FOR SYSTEM_TIME AS OF trips.at ON trips.city = \
                    rates.city";
        if self.table(&join.right).is_none() {
            return refuse("FOR SYSTEM_TIME AS OF is for a table of its own, with a key", help);
        }
        if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
            return refuse("a join with a table as it was keeps rows of the stream only", help);
        }
        let sources = self.sources;
        let source_of = |scan: &TableScan| source_of(sources, scan);
        let after_ms = match event_after_ms(time, &join.left, &source_of) {
            Some((0, 0)) => 0,
            // The end of the window that a row is of.
            Some((-1, -1)) => 1,
            _ => return refuse("a table is seen as of the event time of the stream", help),
        };
        let Input { source, mut projection, stage, .. } = self.table_stage(&join.right)?;
        let SourceKind::Table { key } = &source.kind else {
            return refuse("FOR SYSTEM_TIME AS OF is for a table of its own, with a key", help);
        };
        let mut rest: Vec<Expr> = rest.iter().map(|&condition| condition.clone()).collect();
        let mut found: Vec<Option<(Expr, Expr)>> = vec![None; key.len()];
        for (left, right) in &join.on {
            let column = traced_column(right, &join.right);
            let names = |part: &usize| column.as_ref() == Some(&source.columns[*part].name);
            match key.iter().position(names).filter(|&part| found[part].is_none()) {
                Some(part) => {
                    self.check_types(left, &join.left, right, &join.right)?;
                    found[part] = Some((left.clone(), right.clone()));
                }
                None => rest.push(left.clone().eq(right.clone())),
            }
        }
        let Some(on) = found.into_iter().collect::<Option<Vec<_>>>() else {
            return refuse("a table as it was is found by its whole key", help);
        };
        let join = Join { on, filter: conjunction(rest), ..join.clone() };
        let version: Vec<usize> = (0..projection.len()).collect();
        projection.extend(key);
        let (decoded, version) = self.records_of(&source, &projection, &version)?;
        let flow = self.lower(&join.left)?;
        self.check_not_updating(
            &flow,
            "a join of rows that are taken back with a table as it was",
            "join with the table as it stands, without FOR SYSTEM_TIME AS OF: rows are corrected",
        )?;
        let sides = Arc::new(self.sides(&join)?);
        let records = Stage::new(decoded);
        let spec = TemporalSpec {
            sides,
            version,
            stage,
            after_ms,
            key: key.iter().map(|&column| source.columns[column].name.clone()).collect(),
            is_by_record_key: is_by_record_key(&source, key),
            deletions_wait: source.format != Format::DebeziumJson,
        };
        let input = Input { source, projection, stage: records, to: Port::Sink, by_key: true };
        let table = self.built.input(input);
        Ok(self.built.node(vec![flow, table], Arc::new(spec), Changes::Final))
    }

    /// What a filter keeps. The optimiser says of each side what it is told of both, also of the
    /// time at which a table is seen: there it means nothing.
    pub(super) fn kept_by(&self, filter: &Filter) -> Result<Option<Step>, TopologyError> {
        let conditions = split_conjunction(&filter.predicate).into_iter();
        let conditions = conditions.filter(|condition| as_of::time_of(condition).is_none());
        let Some(predicate) = conjunction(conditions.cloned()) else { return Ok(None) };
        Ok(Some(Step::Filter(self.expr(&predicate, filter.input.schema())?)))
    }

    /// What records of a table come as, and the rows that they hold.
    fn records_of(
        &self,
        source: &Source,
        projection: &[usize],
        wanted: &[usize],
    ) -> Result<(SchemaRef, SchemaRef), TopologyError> {
        let decoded = source.schema.project(projection);
        let records = schema_of_records(&decoded.map_err(|error| self.wrong(error.to_string()))?);
        let rows = records.project(wanted).map_err(|error| self.wrong(error.to_string()))?;
        Ok((records, Arc::new(rows)))
    }

    /// A table, and a stream that only says which keys there are: each of them is kept once.
    fn join_with_keys(
        &mut self,
        join: &Join,
        left: Flow,
        right: Flow,
    ) -> Result<Flow, TopologyError> {
        let mut sides = self.sides(join)?;
        let witness = usize::from(sides.roles[1] == Role::Witness);
        let Side { schema, keys } = &mut sides.of[witness];
        let field = |(at, key): (usize, &Arc<dyn PhysicalExpr>)| {
            let data_type = key.data_type(schema).map_err(|error| self.expression_error(error))?;
            Ok(Field::new(format!("key{at}"), data_type, true))
        };
        let fields = keys.iter().enumerate().map(field).collect::<Result<Vec<_>, _>>()?;
        let found: SchemaRef = Arc::new(Schema::new(fields));
        let column = |at: usize| Arc::new(Column::new(found.field(at).name(), at));
        let columns: Vec<Arc<dyn PhysicalExpr>> =
            (0..keys.len()).map(|at| column(at) as Arc<dyn PhysicalExpr>).collect();
        let exprs = std::mem::replace(keys, columns.clone());
        *schema = found.clone();
        let mut flows = [left, right];
        flows.rotate_left(witness);
        let [stream, table] = flows;
        let stream = self.built.push(stream, Step::Project { exprs, schema: found.clone() });
        let distinct = UpdatingSpec::new(columns, Vec::new(), found);
        let stream = self.built.node(vec![stream], Arc::new(distinct), Changes::Final);
        let mut flows = [stream, table];
        flows.rotate_right(witness);
        // Of keys that are found again nothing comes here, so none of them is left alone.
        let spec = UpdatingJoinSpec { sides: Arc::new(sides) };
        Ok(self.built.node(flows.into(), Arc::new(spec), Changes::Updating))
    }

    fn join_of_tables(
        &mut self,
        join: &Join,
        left: Flow,
        right: Flow,
    ) -> Result<Flow, TopologyError> {
        let spec = Arc::new(UpdatingJoinSpec { sides: Arc::new(self.sides(join)?) });
        let is_by_window =
            |plan: &LogicalPlan, keys: Vec<Expr>| partition_window(plan, &keys).is_some();
        let (left_keys, right_keys) = join.on.iter().cloned().unzip();
        let of_windows = left.of_windows
            && right.of_windows
            && is_by_window(&join.left, left_keys)
            && is_by_window(&join.right, right_keys);
        let lag_ms = left.lag_ms.max(right.lag_ms);
        let spec = match of_windows {
            true => self.forgetting_windows(spec, lag_ms, &[&join.left, &join.right]),
            false => self.forgetting(spec),
        };
        let flow = self.built.node(vec![left, right], spec, Changes::Updating);
        Ok(Flow { of_windows, ..flow })
    }

    /// A stream that meets a table as it stands.
    fn lookup(
        &mut self,
        join: &Join,
        flow: Flow,
        table_first: bool,
    ) -> Result<Flow, TopologyError> {
        let (stream, table) = match table_first {
            true => (&join.right, &join.left),
            false => (&join.left, &join.right),
        };
        let kind = match (join.null_aware, join.filter.is_none() && join.on.len() == 1) {
            (true, true) => Some(LookupKind::NotIn),
            (true, false) => return Err(self.correlated_not_in()),
            (false, _) => lookup_kind(join.join_type, table_first),
        };
        let kind = kind.ok_or_else(|| {
            let message = "rows of a table that nothing meets can never come out: there is no end \
                           at which that is known";
            let help = "keep the rows of the stream: stream LEFT JOIN table, or an inner join";
            self.no_join(message.to_owned(), help)
        })?;
        let mut stream_keys = Vec::new();
        let mut table_keys = Vec::new();
        for (left, right) in &join.on {
            let (of_stream, of_table) = if table_first { (right, left) } else { (left, right) };
            stream_keys.push(self.expr(of_stream, stream.schema())?);
            table_keys.push(self.expr(of_table, table.schema())?);
            self.check_types(of_stream, stream, of_table, table)?;
        }
        let nulls_equal = join.null_equality == NullEquality::NullEqualsNull;
        let input = self.table_input(table, table_keys, nulls_equal)?;
        let table_name = input.source.name.clone();
        let filter = self.pair_filter(join)?;
        let table = self.built.table(input);
        let schema = join.schema.inner().clone();
        let keys = stream_keys;
        let step = LookupJoin { kind, table, table_name, keys, filter, table_first, schema };
        Ok(self.built.push(flow, Step::Join(Arc::new(step))))
    }

    fn join_of_streams(
        &mut self,
        join: &Join,
        left: Flow,
        right: Flow,
    ) -> Result<Flow, TopologyError> {
        let sources = self.sources;
        let source_of = |scan: &TableScan| source_of(sources, scan);
        let spec = match (time_bounds(join, &source_of), self.state_ttl) {
            (Some(bounds), _) => {
                let time = |side: usize, of: &LogicalPlan, flow: &Flow| {
                    let (least, most) = bounds.event_after_ms[side];
                    // What comes from another join may hold times older than its own.
                    let event_after_ms = (least.saturating_sub(flow.lag_ms), most);
                    let time = Some(self.expr(&bounds.times[side], of.schema())?);
                    Ok::<_, TopologyError>(SideTime { time, event_after_ms })
                };
                let times = [time(0, &join.left, &left)?, time(1, &join.right, &right)?];
                let sides = Arc::new(self.sides(join)?);
                IntervalSpec { sides, times, within_ms: bounds.within_ms }
            }
            (None, Some(ttl)) => {
                let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
                let times = [(); 2].map(|()| SideTime { time: None, event_after_ms: (0, 0) });
                let sides = Arc::new(self.sides(join)?);
                IntervalSpec { sides, times, within_ms: (ttl_ms.saturating_neg(), ttl_ms) }
            }
            (None, None) => {
                let message = "rows of two streams that may meet at any time would have to be \
                               kept for ever";
                let help = "say how near in time they are, such as AND b.ts BETWEEN a.ts AND \
                            a.ts + INTERVAL '1 hour', by the event time of both; or how long \
                            they are kept, by the state.ttl of the query; or join windows, by \
                            equal window_start and window_end; or declare one of them as a table";
                return Err(self.no_join(message.to_owned(), help));
            }
        };
        let lag_ms = spec.lag_ms();
        let mut flow = self.built.node(vec![left, right], Arc::new(spec), Changes::Final);
        flow.lag_ms = flow.lag_ms.saturating_add(lag_ms);
        Ok(flow)
    }

    /// Which rows of two inputs that are kept meet.
    fn sides(&self, join: &Join) -> Result<Sides, TopologyError> {
        let roles = Role::of(join.join_type).ok_or_else(|| {
            let message = "EXISTS and IN within OR cannot run as a stream yet".to_owned();
            self.no_join(message, "write a query for each part, and UNION them")
        })?;
        let mut keys = [Vec::new(), Vec::new()];
        for (left, right) in &join.on {
            keys[0].push(self.expr(left, join.left.schema())?);
            keys[1].push(self.expr(right, join.right.schema())?);
            self.check_types(left, &join.left, right, &join.right)?;
        }
        let [left, right] = keys;
        let schema = |of: &LogicalPlan| of.schema().inner().clone();
        Ok(Sides {
            of: [
                Side { schema: schema(&join.left), keys: left },
                Side { schema: schema(&join.right), keys: right },
            ],
            roles,
            nulls_equal: join.null_equality == NullEquality::NullEqualsNull,
            filter: self.pair_filter(join)?,
            schema: join.schema.inner().clone(),
        })
    }

    fn no_join(&self, message: String, help: &'static str) -> TopologyError {
        TopologyError::Join { query: self.query.to_owned(), message, help }
    }

    /// Rows that replace each other by key.
    pub(super) fn table_by_itself(
        &mut self,
        source: &Arc<Source>,
        scan: &TableScan,
        key: &[usize],
    ) -> Result<Flow, TopologyError> {
        let Input { mut projection, stage, .. } = self.scan_of(source, scan)?;
        let wanted: Vec<usize> = (0..projection.len()).collect();
        projection.extend(key);
        let (schema, rows) = self.records_of(source, &projection, &wanted)?;
        let input = Input {
            source: source.clone(),
            projection,
            stage: Stage::new(schema),
            to: Port::Sink,
            by_key: true,
        };
        let flow = self.built.input(input);
        let names: Vec<String> =
            key.iter().map(|&column| source.columns[column].name.clone()).collect();
        let keys = names.iter().enumerate().map(|(at, name)| {
            let behind = wanted.len() + at;
            Arc::new(Column::new(name, behind)) as Arc<dyn PhysicalExpr>
        });
        let keys = vec![keys.collect()];
        let is_by_record_key = is_by_record_key(source, key);
        let spec = Arc::new(NormalizeSpec { schema: rows, key: names, is_by_record_key });
        let spec = self.forgetting_by(spec, keys);
        let mut flow = self.built.node(vec![flow], spec, Changes::Updating);
        for step in stage.into_steps() {
            flow = self.built.push(flow, step);
        }
        Ok(flow)
    }

    /// The planner has made both sides of one type.
    fn check_types(
        &self,
        stream_key: &Expr,
        stream: &LogicalPlan,
        table_key: &Expr,
        table: &LogicalPlan,
    ) -> Result<(), TopologyError> {
        let type_of = |key: &Expr, of: &LogicalPlan| {
            key.get_type(of.schema()).map_err(|error| self.expression_error(error))
        };
        let (left, right) = (type_of(stream_key, stream)?, type_of(table_key, table)?);
        if left == right {
            return Ok(());
        }
        let (left, right) = (type_text(&left), type_text(&right));
        Err(self.wrong(format!("a join of {left} with {right}: CAST one of them")))
    }

    fn pair_filter(&self, join: &Join) -> Result<Option<PairFilter>, TopologyError> {
        let Some(filter) = &join.filter else { return Ok(None) };
        let both = join.left.schema().join(join.right.schema());
        let both = both.map_err(|error| self.expression_error(error))?;
        let predicate = self.expr(filter, &both)?;
        Ok(Some(PairFilter { predicate, schema: both.inner().clone() }))
    }

    /// The scan of a table, if nothing but filters and projections stand above it.
    fn table<'p>(&self, plan: &'p LogicalPlan) -> Option<(&Arc<Source>, &'p TableScan)> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let source = self.sources.iter().find(|source| source.name == name)?;
                matches!(source.kind, SourceKind::Table { .. }).then_some((source, scan))
            }
            LogicalPlan::SubqueryAlias(alias) => self.table(&alias.input),
            LogicalPlan::Projection(projection) => self.table(&projection.input),
            LogicalPlan::Filter(filter) => self.table(&filter.input),
            _ => None,
        }
    }

    fn table_input(
        &self,
        plan: &LogicalPlan,
        join_keys: Vec<Arc<dyn PhysicalExpr>>,
        nulls_equal: bool,
    ) -> Result<TableInput, TopologyError> {
        let Input { source, mut projection, stage, .. } = self.table_stage(plan)?;
        let columns_wanted = projection.len();
        if let SourceKind::Table { key } = &source.kind {
            projection.extend(key);
        }
        Ok(TableInput { source, projection, columns_wanted, stage, join_keys, nulls_equal })
    }

    fn table_stage(&self, plan: &LogicalPlan) -> Result<Input, TopologyError> {
        match plan {
            LogicalPlan::SubqueryAlias(alias) => self.table_stage(&alias.input),
            LogicalPlan::Projection(projection) => {
                let mut input = self.table_stage(&projection.input)?;
                input.stage.push(self.projection(projection)?);
                Ok(input)
            }
            LogicalPlan::Filter(filter) => {
                let mut input = self.table_stage(&filter.input)?;
                if let Some(step) = self.kept_by(filter)? {
                    input.stage.push(step);
                }
                Ok(input)
            }
            other => {
                let (source, scan) = self.table(other).ok_or_else(|| self.refused(other))?;
                self.scan_of(source, scan)
            }
        }
    }
}

/// Whether records of one key are rows of one key, always: then a record that only deletes can go
/// to every task, for none of them but the one that has its row knows of its key. Where the key
/// stands in the value, one record key may have brought several rows in turn.
fn is_by_record_key(source: &Source, key: &[usize]) -> bool {
    let is_of_key = |&column: &usize| source.columns[column].from == ColumnFrom::Key;
    key.iter().all(is_of_key) || source.format == Format::DebeziumJson
}

/// Whether one side only says by its keys which rows of the other come out, and that is a table.
fn is_about_keys(join: &Join, (left, right): (bool, bool)) -> bool {
    let other_is_table = match join.join_type {
        JoinType::LeftSemi | JoinType::LeftAnti => left,
        JoinType::RightSemi | JoinType::RightAnti => right,
        _ => false,
    };
    other_is_table && !join.on.is_empty() && join.filter.is_none()
}

pub(super) fn source_of(sources: &[Arc<Source>], scan: &TableScan) -> Option<Arc<Source>> {
    let name = scan.table_name.table();
    sources.iter().find(|source| source.name == name).cloned()
}

/// The column of a scan that an expression is, however it was renamed.
fn traced_column(expr: &Expr, plan: &LogicalPlan) -> Option<String> {
    let traced = trace(expr, plan);
    match (traced.expr, traced.input) {
        (Expr::Column(column), LogicalPlan::TableScan(_)) => Some(column.name),
        _ => None,
    }
}

/// Whether rows are kept as long as they are there, rather than going by: what has a key bounds
/// them.
fn is_table(flow: &Flow, plan: &LogicalPlan) -> bool {
    match plan {
        _ if flow.updating => true,
        LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            plan.inputs().into_iter().all(|input| is_table(flow, input))
        }
        _ => false,
    }
}

fn lookup_kind(of: JoinType, table_first: bool) -> Option<LookupKind> {
    let kind = match (of, table_first) {
        (JoinType::Inner, _) => LookupKind::Inner,
        (JoinType::Left, false) | (JoinType::Right, true) => LookupKind::Outer,
        (JoinType::LeftSemi, false) | (JoinType::RightSemi, true) => LookupKind::Semi,
        (JoinType::LeftAnti, false) | (JoinType::RightAnti, true) => LookupKind::Anti,
        _ => return None,
    };
    Some(kind)
}
