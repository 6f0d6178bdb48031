//! Rows that are numbered among others, of which the first ones come out.
//!
//! `ROW_NUMBER() OVER (PARTITION BY k ORDER BY x) … WHERE rn <= 3`, in the optimised plan a filter
//! right above a window function, however it was written. What it becomes:
//!
//! - partitioned by a window: final, once that has closed;
//! - ordered by event time, earliest first: final, once the watermark has passed a row (see
//!   [`super::over`]);
//! - else, or if the rows that come in may be taken back: told whenever it changes.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, ScalarValue};
use datafusion_expr::expr::{BinaryExpr, Cast, WindowFunction, WindowFunctionParams};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{
    Aggregate, DistinctOn, Expr, Filter, LogicalPlan, Operator, Projection, SortExpr, TableScan,
    Window, WindowFunctionDefinition,
};
use datafusion_physical_expr::{PhysicalSortExpr, create_physical_sort_expr};

use super::join::source_of;
use super::over::EventTime;
use super::{Changes, Flow, Lowering, TopologyError};
use crate::operators::filter_project::Step;
use crate::operators::ordered_rows::Ordering;
use crate::operators::top_n::ranked::{Rank, Top};
use crate::operators::top_n::updating::TopNSpec;
use crate::operators::top_n::windowed::{PartitionWindow, WindowTopNSpec};
use crate::plan::event_time;
use crate::plan::windows::{GroupWindow, Shape, group_window};

/// A filter by rank, right above the ranks.
pub(crate) struct RankFilter<'p> {
    pub window: &'p Window,
    /// Leaves out columns that are only ranked by.
    narrowed: Option<&'p Projection>,
    /// Which column of the rows that are filtered is the rank.
    pub rank_at: usize,
    pub rank: Rank,
    /// The greatest rank that passes.
    pub limit: u64,
    /// What the filter says beside that.
    rest: Vec<&'p Expr>,
}

impl<'p> RankFilter<'p> {
    pub fn of(filter: &'p Filter) -> Option<RankFilter<'p>> {
        let (window, narrowed) = match filter.input.as_ref() {
            LogicalPlan::Window(window) => (window, None),
            LogicalPlan::Projection(narrowed) => match narrowed.input.as_ref() {
                LogicalPlan::Window(window) => (window, Some(narrowed)),
                _ => return None,
            },
            _ => return None,
        };
        let [only] = window.window_expr.as_slice() else { return None };
        let rank = rank_of(only)?;
        let rank_at = place_in(narrowed, window, window.schema.fields().len() - 1)?;
        let column = filter.input.schema().columns().swap_remove(rank_at);
        let (mut limit, mut rest) = (None, Vec::new());
        let conditions = split_conjunction(&filter.predicate);
        let bounds = conditions.into_iter().map(|condition| {
            let bound = rank_bound(condition, |expr| *expr == Expr::Column(column.clone()));
            (condition, bound)
        });
        let bounds: Vec<_> = bounds.collect();
        for (_, bound) in &bounds {
            let Some(bound) = bound else { continue };
            limit = Some(limit.map_or(bound.greatest, |limit: u64| limit.min(bound.greatest)));
        }
        let limit = limit?;
        for (condition, bound) in bounds {
            // No rank is less than 1, so that being 1 says no more than being at most 1.
            if bound.is_none_or(|bound| bound.exact && limit > 1) {
                rest.push(condition);
            }
        }
        Some(RankFilter { window, narrowed, rank_at, rank, limit, rest })
    }

    /// Whether the filter asks for no more than that the rank is within the limit.
    fn is_plain(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn params(&self) -> Option<&'p WindowFunctionParams> {
        window_function(&self.window.window_expr[0]).map(|function| &function.params)
    }

    /// Which column of the rows that are filtered is that of the rows that are ranked.
    pub fn place_of(&self, key: &Expr) -> Option<usize> {
        let Expr::Column(column) = key else { return None };
        place_in(self.narrowed, self.window, self.window.schema.maybe_index_of_column(column)?)
    }
}

fn place_in(narrowed: Option<&Projection>, window: &Window, index: usize) -> Option<usize> {
    let Some(narrowed) = narrowed else { return Some(index) };
    let wanted = window.schema.columns().swap_remove(index);
    let is_wanted = |expr: &Expr| match expr {
        Expr::Column(column) => *column == wanted,
        Expr::Alias(alias) => *alias.expr == Expr::Column(wanted.clone()),
        _ => false,
    };
    narrowed.expr.iter().position(is_wanted)
}

/// What a condition says of a rank.
#[derive(Clone, Copy)]
struct RankBound {
    greatest: u64,
    /// Only the greatest passes.
    exact: bool,
}

fn rank_bound(condition: &Expr, is_rank: impl Fn(&Expr) -> bool) -> Option<RankBound> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (rank, op, value) = match (left.as_ref(), right.as_ref()) {
        (rank, Expr::Literal(value, _)) => (rank, *op, value),
        (Expr::Literal(value, _), rank) => (rank, op.swap()?, value),
        _ => return None,
    };
    let rank = match rank {
        Expr::Cast(Cast { expr, .. }) => expr,
        other => other,
    };
    if !is_rank(rank) {
        return None;
    }
    let value = match value.cast_to(&arrow::datatypes::DataType::Int64).ok()? {
        ScalarValue::Int64(Some(value)) => value,
        _ => return None,
    };
    let (greatest, exact) = match op {
        Operator::LtEq => (value, false),
        Operator::Lt => (value.checked_sub(1)?, false),
        Operator::Eq => (value, true),
        _ => return None,
    };
    Some(RankBound { greatest: u64::try_from(greatest.max(0)).ok()?, exact })
}

pub(crate) fn window_function(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => window_function(&alias.expr),
        Expr::WindowFunction(function) => Some(function),
        _ => None,
    }
}

/// The kind of rank that a window function gives, if it is one.
pub(crate) fn rank_of(expr: &Expr) -> Option<Rank> {
    match &window_function(expr)?.fun {
        WindowFunctionDefinition::WindowUDF(function) => Rank::named(function.name()),
        WindowFunctionDefinition::AggregateUDF(_) => None,
    }
}

/// What is ranked, and how.
pub(super) struct Ranking<'p> {
    pub input: &'p LogicalPlan,
    pub partition: &'p [Expr],
    pub order: &'p [SortExpr],
    pub rank: Rank,
    pub limit: u64,
    pub numbered: bool,
    pub schema: SchemaRef,
}

impl Lowering<'_> {
    /// What a projection reads: ranks that it leaves out need not be told when they change.
    pub(super) fn projected(&mut self, projection: &Projection) -> Result<Flow, TopologyError> {
        if let LogicalPlan::Filter(filter) = projection.input.as_ref()
            && let Some(ranked) = RankFilter::of(filter)
            && ranked.is_plain()
            && !names(&projection.expr, &filter.input.schema().columns()[ranked.rank_at])
        {
            return self.ranked(&ranked, false);
        }
        self.lower(&projection.input)
    }

    pub(super) fn filter(&mut self, filter: &Filter) -> Result<Flow, TopologyError> {
        if let Some(ranked) = RankFilter::of(filter) {
            return self.ranked(&ranked, true);
        }
        let flow = self.lower(&filter.input)?;
        Ok(match self.kept_by(filter)? {
            Some(step) => self.built.push(flow, step),
            None => flow,
        })
    }

    fn ranked(&mut self, filter: &RankFilter<'_>, numbered: bool) -> Result<Flow, TopologyError> {
        let Some(params) = filter.params() else { return Err(self.wrong("no rank".to_owned())) };
        let window = filter.window;
        let schema = window.schema.inner().clone();
        let schema = if numbered { schema } else { without_last(&schema) };
        let ranking = Ranking {
            input: &window.input,
            partition: &params.partition_by,
            order: &params.order_by,
            rank: filter.rank,
            limit: filter.limit,
            numbered,
            schema,
        };
        let mut flow = self.ranking(&ranking)?;
        let mut of_filter = window.schema.as_ref();
        if let Some(narrowed) = filter.narrowed {
            let mut exprs = narrowed.expr.clone();
            if !numbered {
                // Nobody reads it.
                exprs[filter.rank_at] = Expr::Literal(ScalarValue::UInt64(None), None);
            }
            let exprs = self.exprs(&exprs, &window.schema)?;
            let schema = narrowed.schema.inner().clone();
            let schema = if numbered { schema } else { all_nullable(&schema) };
            flow = self.built.push(flow, Step::Project { exprs, schema });
            of_filter = narrowed.schema.as_ref();
        }
        let Some(rest) = conjunction(filter.rest.iter().map(|rest| (*rest).clone())) else {
            return Ok(flow);
        };
        let predicate = self.expr(&rest, of_filter)?;
        Ok(self.built.push(flow, Step::Filter(predicate)))
    }

    /// `SELECT DISTINCT ON (k) … ORDER BY k, x`: the first row of each.
    pub(super) fn distinct_on(&mut self, distinct: &DistinctOn) -> Result<Flow, TopologyError> {
        let order = distinct.sort_expr.as_deref().unwrap_or_default();
        let of_keys = distinct.on_expr.len().min(order.len());
        if order.len() == of_keys {
            return Err(self.unsupported(
                "DISTINCT ON without an order",
                "which row of each key is the first is not said",
                "add ORDER BY with the key, and then what decides, such as the event time",
            ));
        }
        let schema = distinct.input.schema().inner().clone();
        let flow = self.ranking(&Ranking {
            input: &distinct.input,
            partition: &distinct.on_expr,
            order: &order[of_keys..],
            rank: Rank::RowNumber,
            limit: 1,
            numbered: false,
            schema,
        })?;
        let exprs = self.exprs(&distinct.select_expr, distinct.input.schema())?;
        let schema = distinct.schema.inner().clone();
        Ok(self.built.push(flow, Step::Project { exprs, schema }))
    }

    fn ranking(&mut self, ranking: &Ranking<'_>) -> Result<Flow, TopologyError> {
        if ranking.order.is_empty() {
            return Err(self.unsupported(
                "a rank without an order",
                "which rows are the first is not said",
                "add ORDER BY to OVER (…)",
            ));
        }
        let flow = self.lower(ranking.input)?;
        let ordering = self.ordering(ranking.input, ranking.partition, ranking.order)?;
        if !flow.updating && self.sorts_by_event_time(ranking.order, ranking.input) {
            return Ok(self.first_by_time(flow, ordering, ranking));
        }
        let top = Top {
            ordering: Arc::new(ordering),
            rank: ranking.rank,
            limit: ranking.limit,
            numbered: ranking.numbered,
            retracting: flow.updating,
            keeps_latest: self.keeps_latest(ranking),
            schema: ranking.schema.clone(),
        };
        let window = partition_window(ranking.input, ranking.partition);
        if !flow.updating
            && let Some(window) = window
        {
            self.check_window(ranking)?;
            let spec = WindowTopNSpec { top, window };
            return Ok(self.built.node(vec![flow], Arc::new(spec), Changes::Final));
        }
        let of_windows = flow.of_windows && window.is_some();
        let spec = Arc::new(TopNSpec(top));
        let spec = match of_windows {
            true => self.forgetting_windows(spec, flow.lag_ms, &[ranking.input]),
            false => self.forgetting(spec),
        };
        let flow = self.built.node(vec![flow], spec, Changes::Updating);
        Ok(Flow { of_windows, ..flow })
    }

    /// By nothing but the event time does the watermark say when a window is complete.
    fn check_window(&self, ranking: &Ranking<'_>) -> Result<(), TopologyError> {
        let Some((by_window, window)) = grouped(ranking.input, ranking.partition) else {
            return Ok(());
        };
        let source_of = |scan: &TableScan| source_of(self.sources, scan);
        match event_time::check(&by_window, &window, &source_of) {
            Some((reason, help)) => {
                let what = format!("{} OVER (PARTITION BY a window)", ranking.rank);
                Err(self.unsupported(&what, reason, help))
            }
            None => Ok(()),
        }
    }

    fn keeps_latest(&self, ranking: &Ranking<'_>) -> bool {
        match ranking.order {
            [SortExpr { expr: Expr::Column(column), asc: false, .. }] => {
                let one = ranking.rank == Rank::RowNumber && ranking.limit == 1;
                let time = self.event_time(column, ranking.input);
                one && matches!(time, Some(EventTime::OfRows | EventTime::WindowStart))
            }
            _ => false,
        }
    }

    pub(super) fn ordering(
        &self,
        input: &LogicalPlan,
        partition: &[Expr],
        order: &[SortExpr],
    ) -> Result<Ordering, TopologyError> {
        let sorted = |by: &SortExpr| -> Result<PhysicalSortExpr, TopologyError> {
            create_physical_sort_expr(by, input.schema(), &self.props, &self.context)
                .map_err(|error| self.expression_error(error))
        };
        Ok(Ordering {
            partition: self.exprs(partition, input.schema())?,
            order: order.iter().map(sorted).collect::<Result<_, _>>()?,
            schema: input.schema().inner().clone(),
        })
    }
}

fn names(exprs: &[Expr], column: &Column) -> bool {
    exprs.iter().any(|expr| {
        let mut named = false;
        let _ = expr.apply(|part| {
            named |= matches!(part, Expr::Column(other) if other == column);
            Ok(TreeNodeRecursion::Continue)
        });
        named
    })
}

fn all_nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn without_last(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields();
    Arc::new(Schema::new(fields[..fields.len() - 1].to_vec()))
}

/// The rows of each partition as a group, and the window among what it is by.
fn grouped(input: &LogicalPlan, partition: &[Expr]) -> Option<(Aggregate, GroupWindow)> {
    let input = Arc::new(input.clone());
    let grouped = Aggregate::try_new(input, partition.to_vec(), Vec::new()).ok()?;
    let window = group_window(&grouped).ok()??;
    Some((grouped, window))
}

/// The window among a partition's expressions.
pub(crate) fn partition_window(input: &LogicalPlan, partition: &[Expr]) -> Option<PartitionWindow> {
    const NS_PER_MS: i64 = 1_000_000;
    let (_, window) = grouped(input, partition)?;
    let (place, is_start) = match (window.start, window.end) {
        (_, Some(end)) => (end, false),
        // Where a session ends is not told by where it begins.
        (Some(start), None) if !matches!(window.shape, Shape::Session { .. }) => (start, true),
        _ => return None,
    };
    let size_ns = window.shape.size_ns();
    (size_ns % NS_PER_MS == 0).then_some(PartitionWindow {
        place,
        is_start,
        size_ms: size_ns / NS_PER_MS,
    })
}
