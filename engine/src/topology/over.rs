//! Functions over windows of rows: what DataFusion plans them as, to what the operator computes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Column as PlanColumn, ScalarValue};
use datafusion_expr::expr::{
    AggregateFunction, NullTreatment, WindowFunction, WindowFunctionParams,
};
use datafusion_expr::{
    Aggregate, AggregateUDF, Expr, LogicalPlan, Operator, SortExpr, Window, WindowFrame,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};
use datafusion_functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion_functions_aggregate::nth_value::nth_value_udaf;
use datafusion_physical_expr::expressions::{BinaryExpr, Column, Literal};

use super::ranking::{Ranking, partition_window, rank_of, window_function};
use super::{Changes, Flow, Lowering, TopologyError};
use crate::operators::OperatorSpec;
use crate::operators::filter_project::Step;
use crate::operators::ordered_rows::Ordering;
use crate::operators::over::OverSpec;
use crate::operators::over::calls::OverCall;
use crate::operators::over::frame::{Frame, Units};
use crate::pipeline::SourceKind;
use crate::plan::one_within::Which;
use crate::plan::windows::{
    Bound, Shape, Traced, end_of_time, fixed_length_ns, group_window, partitioned_by,
    passed_by_join, trace, window_bound,
};

const BY_EVENT_TIME: &str = "write ORDER BY with the event-time column first, ascending; to keep \
                             the first rows by anything else, number them with ROW_NUMBER() and \
                             filter: WHERE rn <= 10";

/// What a column says of when rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EventTime {
    /// It is their event time, or the end of the window that they come out of.
    OfRows,
    /// The start of that window: rows come in its order, but later.
    WindowStart,
    /// The watermark says when it is complete, though the time of the rows is another: a join has
    /// given them the later one of two (and the watermark behind it lags by as much as that may
    /// be), or it is the end of the window that they lie in.
    OfColumn,
}

/// So many values of each key are kept at most for NTH_VALUE.
const NTH_MAX: u64 = 1_000;

impl Lowering<'_> {
    pub(super) fn over(&mut self, window: &Window) -> Result<Flow, TopologyError> {
        let functions: Vec<&WindowFunction> =
            window.window_expr.iter().filter_map(window_function).collect();
        let Some(WindowFunctionParams { partition_by, order_by, .. }) =
            functions.first().map(|function| &function.params)
        else {
            return Err(self.wrong("a window function is missing".to_owned()));
        };
        let same = |function: &&WindowFunction| {
            function.params.partition_by == *partition_by && function.params.order_by == *order_by
        };
        if !functions.iter().all(same) {
            return Err(self.unsupported(
                "one step with several OVER (…)",
                "they sort rows in different ways",
                "compute one of them in a query around the other",
            ));
        }
        let flow = self.lower(&window.input)?;
        self.check_over(&flow, order_by, &window.input)?;
        let mut calls = Vec::new();
        for expr in &window.window_expr {
            calls.push(self.over_call(expr, &window.input, order_by)?);
        }
        let lengths = calls.iter().filter_map(|call| match call {
            OverCall::OneWithin { within_ns, .. } => Some(within_ns),
            _ => None,
        });
        if lengths.collect::<BTreeSet<_>>().len() > 1 {
            return Err(self.unsupported(
                "first_within or last_within of two lengths in one step",
                "when the first row was is kept once for each partition",
                "compute one of them in a query around the other",
            ));
        }
        let ordering = self.ordering(&window.input, partition_by, order_by)?;
        let flow = self.in_time(flow, order_by, &window.input);
        let spec = OverSpec::new(ordering, calls, None, window.schema.inner().clone());
        let spec = self.forgetting_over(spec);
        Ok(self.built.node(vec![flow], spec, Changes::Final))
    }

    fn check_over(
        &self,
        flow: &Flow,
        order: &[SortExpr],
        input: &LogicalPlan,
    ) -> Result<(), TopologyError> {
        if order.is_empty() {
            let reason = "without ORDER BY it looks at the whole partition, which never ends";
            return Err(self.unsupported("OVER (…)", reason, BY_EVENT_TIME));
        }
        if flow.updating {
            return Err(self.unsupported(
                "OVER (…)",
                "rows that come in are taken back, and those beside them would change with them",
                "group by a window, whose rows are final, or keep the first rows of each key",
            ));
        }
        if let (false, Some(ahead)) =
            (self.sorts_by_event_time(order, input), looks_ahead_below(input))
            && self.sorts_by_event_time(order, &ahead.input)
        {
            return Err(self.unsupported(
                "OVER (…) behind a LEAD or a frame that looks ahead",
                "rows wait there for those that follow them, and come out later than their event \
                 time says",
                "compute what looks ahead in the last step, or in the outermost query",
            ));
        }
        if !self.sorts_by_event_time(order, input) {
            let reason = "rows can only be put beside those before them in the order in which \
                          they become known, which is that of the event time";
            return Err(self.unsupported("OVER (… ORDER BY …)", reason, BY_EVENT_TIME));
        }
        Ok(())
    }

    /// Whether rows are sorted by the event time, the earliest first.
    pub(super) fn sorts_by_event_time(&self, order: &[SortExpr], input: &LogicalPlan) -> bool {
        self.sorts_by(order, input).is_some()
    }

    fn sorts_by(&self, order: &[SortExpr], input: &LogicalPlan) -> Option<EventTime> {
        match order.first()? {
            SortExpr { expr: Expr::Column(column), asc: true, .. } => {
                self.event_time(column, input)
            }
            _ => None,
        }
    }

    /// Rows that happen at the time by which they are sorted.
    fn in_time(&mut self, flow: Flow, order: &[SortExpr], input: &LogicalPlan) -> Flow {
        let by_column = self.sorts_by(order, input) == Some(EventTime::OfColumn);
        let column = order.first().and_then(|first| first.expr.try_as_col());
        let column = column.and_then(|column| input.schema().maybe_index_of_column(column));
        match column.filter(|_| by_column) {
            Some(column) => self.built.push(flow, Step::HappensAt(column)),
            None => flow,
        }
    }

    /// What this column says of when rows come, as far as the watermark says that.
    pub(super) fn event_time(&self, column: &PlanColumn, plan: &LogicalPlan) -> Option<EventTime> {
        let index = plan.schema().maybe_index_of_column(column)?;
        let at = |input: &LogicalPlan, index: usize| {
            let column = input.schema().columns().into_iter().nth(index)?;
            self.event_time(&column, input)
        };
        let below = |input: &LogicalPlan| at(input, index);
        match plan {
            LogicalPlan::TableScan(scan) => {
                let name = scan.table_name.table();
                let source = self.sources.iter().find(|source| source.name == name);
                // Rows of a table are met whenever that may be.
                let source = source.filter(|source| source.kind == SourceKind::Stream)?;
                let event_time = &source.columns[source.event_time_column()?].name;
                (*event_time == column.name).then_some(EventTime::OfRows)
            }
            LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
            LogicalPlan::Filter(filter) => below(&filter.input),
            LogicalPlan::Projection(projection) => {
                let mut expr = &projection.expr[index];
                while let Expr::Alias(alias) = expr {
                    expr = &alias.expr;
                }
                let input = &projection.input;
                match end_of_time(expr).unwrap_or(expr) {
                    Expr::Column(column) => self.event_time(column, input),
                    bound => self.end_of_window(bound, input),
                }
            }
            LogicalPlan::Unnest(unnest) => {
                let from = *unnest.dependency_indices.get(index)?;
                let is_list = unnest.list_type_columns.iter().any(|(list, _)| *list == from);
                let is_made = is_list || unnest.struct_type_columns.contains(&from);
                if is_made { None } else { at(&unnest.input, from) }
            }
            LogicalPlan::Union(union) => of_all(union.inputs.iter().map(|input| below(input))),
            LogicalPlan::Aggregate(aggregate) => of_window(aggregate, index),
            LogicalPlan::Join(join) => {
                let (side, index) = passed_by_join(join, index)?;
                match at(side, index)? {
                    EventTime::WindowStart => None,
                    EventTime::OfRows | EventTime::OfColumn => Some(EventTime::OfColumn),
                }
            }
            LogicalPlan::Window(window) if index < window.input.schema().fields().len() => {
                let input = &window.input;
                let functions = || window.window_expr.iter().filter_map(window_function);
                let in_order = functions().all(|of| {
                    comes_promptly(of) && self.sorts_by_event_time(&of.params.order_by, input)
                });
                // Rows of a window come out at its end, whatever the time of each of them.
                let in_windows = partitioned_by(window, column)
                    && functions()
                        .all(|of| partition_window(input, &of.params.partition_by).is_some());
                if in_order || in_windows { below(input) } else { None }
            }
            _ => None,
        }
    }

    /// The end of the window that a row lies in, which is never before the row's own time.
    fn end_of_window(&self, expr: &Expr, input: &LogicalPlan) -> Option<EventTime> {
        let window = window_bound(&trace(expr, input))?;
        let goes_by = |time: &Traced<'_>| match &time.expr {
            Expr::Column(column) => self.event_time(column, time.input),
            _ => None,
        };
        let is_end = matches!(window.bound, Bound::End | Bound::Time);
        let by_rows = window
            .times
            .iter()
            .all(|time| matches!(goes_by(time), Some(EventTime::OfRows | EventTime::OfColumn)));
        (is_end && by_rows && !window.times.is_empty()).then_some(EventTime::OfColumn)
    }

    fn forgetting_over(&self, spec: OverSpec) -> Arc<dyn OperatorSpec> {
        match spec.is_everlasting() {
            true => self.forgetting(Arc::new(spec)),
            false => Arc::new(spec),
        }
    }

    /// The first rows by event time are known once the watermark has passed them.
    pub(super) fn first_by_time(
        &mut self,
        flow: Flow,
        ordering: Ordering,
        ranking: &Ranking<'_>,
    ) -> Flow {
        let Ranking { input, order, rank, limit, .. } = *ranking;
        let flow = self.in_time(flow, order, input);
        let columns = ordering.schema.fields().len();
        let name = rank.to_string();
        let ranked = Field::new(&name, DataType::UInt64, false);
        let fields = ordering.schema.fields().iter().cloned();
        let fields: Vec<_> = fields.chain([Arc::new(ranked)]).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let calls = vec![OverCall::Rank(rank)];
        let spec = OverSpec::new(ordering, calls, Some((rank, limit)), schema);
        let spec = self.forgetting_over(spec);
        let flow = self.built.node(vec![flow], spec, Changes::Final);
        let limit = Literal::new(ScalarValue::UInt64(Some(limit)));
        let rank = Arc::new(Column::new(&name, columns));
        let within = BinaryExpr::new(rank, Operator::LtEq, Arc::new(limit));
        self.built.push(flow, Step::Filter(Arc::new(within)))
    }

    fn over_call(
        &self,
        expr: &Expr,
        input: &LogicalPlan,
        order: &[SortExpr],
    ) -> Result<OverCall, TopologyError> {
        let Some(WindowFunction { fun, params }) = window_function(expr) else {
            return Err(self.wrong(format!("{expr} is no window function")));
        };
        if let Some(rank) = rank_of(expr) {
            return Ok(OverCall::Rank(rank));
        }
        if let Some(which) = Which::of(fun.name()) {
            return self.one_within(which, params, order);
        }
        match fun {
            WindowFunctionDefinition::AggregateUDF(function) => {
                self.over_aggregate(function.clone(), params, input)
            }
            WindowFunctionDefinition::WindowUDF(function) => match function.name() {
                "lag" => self.shift(params, input, -1),
                "lead" => self.shift(params, input, 1),
                "first_value" => self.over_aggregate(first_value_udaf(), params, input),
                "last_value" => self.over_aggregate(last_value_udaf(), params, input),
                "nth_value" => self.nth_value(params, input),
                "ntile" | "percent_rank" | "cume_dist" => Err(self.unsupported(
                    "NTILE, PERCENT_RANK or CUME_DIST",
                    "it needs to know how many rows the whole partition has",
                    "use ROW_NUMBER() or RANK()",
                )),
                _ => Err(self.unsupported(
                    "this window function",
                    "it is not there yet",
                    "use FIRST_VALUE, LAST_VALUE, NTH_VALUE, LAG, LEAD, ROW_NUMBER, RANK, DENSE_RANK \
                     or an aggregate",
                )),
            },
        }
    }

    fn shift(
        &self,
        params: &WindowFunctionParams,
        input: &LogicalPlan,
        direction: i64,
    ) -> Result<OverCall, TopologyError> {
        if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
            return Err(self.unsupported(
                "IGNORE NULLS of LAG and LEAD",
                "how many rows must be kept for it has no bound",
                "filter the rows that are NULL in a query before",
            ));
        }
        let by = match params.args.get(1).map(literal) {
            None => 1,
            Some(Some(by)) => by,
            Some(None) => {
                return Err(self.wrong("LAG and LEAD take a constant number of rows".to_owned()));
            }
        };
        let schema = input.schema();
        let default = match params.args.get(2) {
            Some(Expr::Literal(value, _)) if value.is_null() => None,
            Some(default) => Some(self.expr(default, schema)?),
            None => None,
        };
        let value = self.expr(&params.args[0], schema)?;
        let by = by.checked_mul(direction).unwrap_or(i64::MAX);
        Ok(OverCall::Shift { value, by, default })
    }

    fn nth_value(
        &self,
        params: &WindowFunctionParams,
        input: &LogicalPlan,
    ) -> Result<OverCall, TopologyError> {
        let nth = params.args.get(1).and_then(literal).filter(|nth| *nth != 0);
        if nth.is_none_or(|nth| nth.unsigned_abs() > NTH_MAX) {
            let message = format!("NTH_VALUE takes a constant number of rows, from 1 to {NTH_MAX}");
            return Err(self.wrong(message));
        }
        let mut params = params.clone();
        if params.null_treatment.take() == Some(NullTreatment::IgnoreNulls) {
            let is_there = Box::new(params.args[0].clone().is_not_null());
            params.filter = Some(match params.filter {
                Some(filter) => Box::new(filter.and(*is_there)),
                None => is_there,
            });
        }
        self.over_aggregate(nth_value_udaf(), &params, input)
    }

    fn over_aggregate(
        &self,
        function: Arc<AggregateUDF>,
        params: &WindowFunctionParams,
        input: &LogicalPlan,
    ) -> Result<OverCall, TopologyError> {
        let frame = self.frame(&params.window_frame)?;
        let call = AggregateFunction::new_udf(
            function,
            params.args.clone(),
            params.distinct,
            params.filter.clone(),
            Vec::new(),
            params.null_treatment,
        );
        let call = self.aggregate_call(&Expr::AggregateFunction(call), input.schema())?;
        let grows = |data_type: &DataType| data_type.is_nested();
        // It keeps no more rows than it counts.
        let is_bounded = call.function.fun().name() == "nth_value";
        let grows = !is_bounded && call.state_fields.iter().any(|field| grows(field.data_type()));
        if frame.start.is_none() && grows {
            return Err(self.unsupported(
                "this aggregate from the first row on",
                "what it remembers grows with every row",
                "bound its frame: ROWS BETWEEN 100 PRECEDING AND CURRENT ROW, or RANGE BETWEEN \
                 INTERVAL '1' HOUR PRECEDING AND CURRENT ROW",
            ));
        }
        Ok(OverCall::Aggregate { call, frame })
    }

    fn one_within(
        &self,
        which: Which,
        params: &WindowFunctionParams,
        order: &[SortExpr],
    ) -> Result<OverCall, TopologyError> {
        let by_time = order.first().map(|by| &by.expr) == params.args.first();
        match params.args.get(1) {
            Some(Expr::Literal(within, _)) if by_time => {
                let within_ns =
                    fixed_length_ns(within, "length").map_err(|reason| self.wrong(reason))?;
                Ok(OverCall::OneWithin { which, within_ns })
            }
            _ => Err(self.wrong(format!(
                "{} takes the time that rows are sorted by, and a constant interval",
                which.function(),
            ))),
        }
    }

    fn frame(&self, frame: &WindowFrame) -> Result<Frame, TopologyError> {
        let units = match frame.units {
            WindowFrameUnits::Rows => Units::Rows,
            WindowFrameUnits::Range => Units::Time,
            WindowFrameUnits::Groups => {
                return Err(self.unsupported(
                    "a frame of GROUPS",
                    "it is not there yet",
                    "use ROWS or RANGE",
                ));
            }
        };
        let start = self.frame_bound(&frame.start_bound, units)?;
        let Some(end) = self.frame_bound(&frame.end_bound, units)? else {
            return Err(self.unsupported(
                "a frame up to UNBOUNDED FOLLOWING",
                "it would wait for all rows that are still to come",
                "end it at CURRENT ROW, or at a time: RANGE … AND INTERVAL '1' HOUR FOLLOWING",
            ));
        };
        if start.is_none() && end != 0 {
            return Err(self.unsupported(
                "a frame from UNBOUNDED PRECEDING to elsewhere than CURRENT ROW",
                "it is not there yet",
                "end it at CURRENT ROW, or bound its start",
            ));
        }
        Ok(Frame { units, start, end })
    }

    /// So far after the row; `None` if there is no bound.
    fn frame_bound(
        &self,
        bound: &WindowFrameBound,
        units: Units,
    ) -> Result<Option<i64>, TopologyError> {
        let (value, sign) = match bound {
            WindowFrameBound::CurrentRow => return Ok(Some(0)),
            WindowFrameBound::Preceding(value) => (value, -1),
            WindowFrameBound::Following(value) => (value, 1),
        };
        if value.is_null() {
            return Ok(None);
        }
        let distance = match units {
            Units::Rows => literal_value(value)
                .ok_or_else(|| self.wrong(format!("a frame of {value} rows is none")))?,
            Units::Time => fixed_length_ns(value, "frame").map_err(|reason| self.wrong(reason))?,
        };
        Ok(Some(distance.saturating_mul(sign)))
    }
}

/// Rows of several inputs are in one order only if each of them is in it.
fn of_all(mut each: impl Iterator<Item = Option<EventTime>>) -> Option<EventTime> {
    let first = each.next()??;
    each.try_fold(first, |one, other| match (one, other?) {
        (one, other) if one == other => Some(one),
        (EventTime::WindowStart, _) | (_, EventTime::WindowStart) => None,
        _ => Some(EventTime::OfColumn),
    })
}

/// The bounds of a window are in the order in which windows close.
fn of_window(aggregate: &Aggregate, index: usize) -> Option<EventTime> {
    let window = group_window(aggregate).ok().flatten()?;
    let by_start = matches!(window.shape, Shape::Tumble { .. } | Shape::Hop { .. });
    match Some(index) {
        index if [window.end, window.time_of_rows].contains(&index) => Some(EventTime::OfRows),
        index if index == window.start && by_start => Some(EventTime::WindowStart),
        _ => None,
    }
}

/// The step right before, if rows wait in it for others.
fn looks_ahead_below(plan: &LogicalPlan) -> Option<&Window> {
    match plan {
        LogicalPlan::Projection(projection) => looks_ahead_below(&projection.input),
        LogicalPlan::Filter(filter) => looks_ahead_below(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => looks_ahead_below(&alias.input),
        LogicalPlan::Window(window) => {
            let mut functions = window.window_expr.iter().filter_map(window_function);
            match functions.all(comes_promptly) {
                true => looks_ahead_below(&window.input),
                false => Some(window),
            }
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => literal_value(value),
        _ => None,
    }
}

fn literal_value(value: &ScalarValue) -> Option<i64> {
    match value.cast_to(&DataType::Int64).ok()? {
        ScalarValue::Int64(value) => value,
        _ => None,
    }
}

/// Whether rows come out as soon as the watermark has passed them: none is waited for.
pub(crate) fn comes_promptly(function: &WindowFunction) -> bool {
    let is_ahead = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Following(_) => true,
        WindowFrameBound::Preceding(_) | WindowFrameBound::CurrentRow => false,
    };
    let WindowFunctionParams { args, window_frame, .. } = &function.params;
    let shifts_ahead = match function.fun.name() {
        "lead" => args.get(1).is_none_or(|by| literal(by).is_none_or(|by| by > 0)),
        "lag" => args.get(1).is_some_and(|by| literal(by).is_none_or(|by| by < 0)),
        name => Which::of(name) == Some(Which::Last),
    };
    let framed = matches!(function.fun, WindowFunctionDefinition::AggregateUDF(_))
        || matches!(function.fun.name(), "first_value" | "last_value" | "nth_value");
    !shifts_ahead && !(framed && is_ahead(&window_frame.end_bound))
}
