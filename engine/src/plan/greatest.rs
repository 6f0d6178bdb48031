//! Rows that have the most of their group, where a source is joined with its own maxima.
//!
//! ```text
//! t JOIN (SELECT k, max(x) AS m FROM t GROUP BY k) AS g ON t.k = g.k AND t.x = g.m
//! t, of which rank() OVER (PARTITION BY k ORDER BY x DESC) = 1
//! ```
//!
//! Both answer alike (Zuzarte et al., "WinMagic: Subquery Elimination Using Window Aggregation",
//! SIGMOD 2003). The second reads the source once, and of each group keeps its first rows alone,
//! not all that ever came. The same goes for `min`.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, DFSchemaRef, JoinType, NullEquality, Result};
use datafusion_expr::utils::{conjunction, split_conjunction};
use datafusion_expr::{
    Aggregate, Expr, ExprFunctionExt, ExprSchemable, Filter, Join, LogicalPlan, Projection,
    TableScan, Window, WindowFunctionDefinition, expr::WindowFunction, lit,
};
use datafusion_functions_window::rank::rank_udwf;

use super::unique_key::without_alias;

/// Puts ranks in the place of such joins.
pub(crate) fn by_rank(plan: LogicalPlan) -> Result<LogicalPlan> {
    let ranked = plan.transform_up(|plan| {
        let LogicalPlan::Join(join) = &plan else { return Ok(Transformed::no(plan)) };
        Ok(match Greatest::of(join).map(Greatest::ranked).transpose()? {
            Some(ranked) => Transformed::yes(ranked),
            None => Transformed::no(plan),
        })
    });
    Ok(ranked?.data)
}

/// Such a join.
struct Greatest<'p> {
    rows: &'p LogicalPlan,
    /// What makes a group, and what the most of is joined with, over `rows`.
    keys: Vec<Expr>,
    value: Expr,
    is_max: bool,
    /// What each column of the answer is, over `rows`.
    columns: Vec<Expr>,
    schema: &'p DFSchemaRef,
}

impl<'p> Greatest<'p> {
    fn of(join: &'p Join) -> Option<Greatest<'p>> {
        let is_plain = join.filter.is_none()
            && !join.null_aware
            && join.null_equality == NullEquality::NullEqualsNothing;
        let sides: &[bool] = match join.join_type {
            JoinType::Inner => &[false, true],
            JoinType::LeftSemi => &[false],
            _ => return None,
        };
        sides.iter().filter(|_| is_plain).find_map(|&swapped| Greatest::of_sides(join, swapped))
    }

    fn of_sides(join: &'p Join, swapped: bool) -> Option<Greatest<'p>> {
        let (rows, maxima) = match swapped {
            false => (&*join.left, &*join.right),
            true => (&*join.right, &*join.left),
        };
        let aggregate = aggregate_of(maxima)?;
        let (value, is_max) = most_of(aggregate)?;
        if Scanned::of(rows)? != Scanned::of(&aggregate.input)? {
            return None;
        }
        // What the rows have in the place of each column of the aggregate.
        let mut met: Vec<Option<&Expr>> = vec![None; aggregate.group_expr.len() + 1];
        for (left, right) in &join.on {
            let (of_rows, of_maxima) = if swapped { (right, left) } else { (left, right) };
            let place = place_in(aggregate, maxima, of_maxima)?;
            let is = aggregate.group_expr.get(place).unwrap_or(value);
            if resolved(of_rows, rows)? != resolved(is, &aggregate.input)? {
                return None;
            }
            met[place] = Some(of_rows);
        }
        let met: Vec<&Expr> = met.into_iter().collect::<Option<_>>()?;
        let own = || rows.schema().columns().into_iter().map(Expr::Column);
        let of_maxima = maxima.schema().columns().into_iter();
        let of_maxima = of_maxima.map(|column| {
            let place = place_in(aggregate, maxima, &Expr::Column(column.clone()))?;
            Some(met[place].clone().alias_qualified(column.relation, column.name))
        });
        let columns = match (join.join_type, swapped) {
            (JoinType::LeftSemi, _) => own().collect(),
            (_, false) => own().map(Some).chain(of_maxima).collect::<Option<_>>()?,
            (_, true) => of_maxima.chain(own().map(Some)).collect::<Option<_>>()?,
        };
        let (value, keys) = met.split_last()?;
        let keys = keys.iter().map(|&key| key.clone()).collect();
        let value = (*value).clone();
        Some(Greatest { rows, keys, value, is_max, columns, schema: &join.schema })
    }

    fn ranked(self) -> Result<LogicalPlan> {
        let mut rows = self.rows.clone();
        // What is NULL is equal to nothing.
        let may_be_null = |of: &&Expr| of.nullable(self.rows.schema()).unwrap_or(true);
        let equal = self.keys.iter().chain([&self.value]).filter(may_be_null);
        let holds: Vec<Expr> = equal.map(|of| of.clone().is_not_null()).collect();
        if let Some(holds) = conjunction(holds) {
            rows = LogicalPlan::Filter(Filter::try_new(holds, Arc::new(rows))?);
        }
        let rank = WindowFunction::new(WindowFunctionDefinition::WindowUDF(rank_udwf()), vec![]);
        let rank = Expr::WindowFunction(Box::new(rank))
            .partition_by(self.keys)
            .order_by(vec![self.value.sort(!self.is_max, false)])
            .build()?;
        let window = Window::try_new(vec![rank], Arc::new(rows))?;
        let place = window.schema.columns().pop().map_or_else(|| lit(0u64), Expr::Column);
        let window = Arc::new(LogicalPlan::Window(window));
        let first = Filter::try_new(place.eq(lit(1u64)), window)?;
        let first = Arc::new(LogicalPlan::Filter(first));
        let named = Projection::try_new_with_schema(self.columns, first, self.schema.clone())?;
        Ok(LogicalPlan::Projection(named))
    }
}

/// What rows of one source are, whatever they are called: the source, and what they must be.
#[derive(PartialEq)]
struct Scanned {
    table: String,
    conditions: Vec<Expr>,
}

impl Scanned {
    fn of(plan: &LogicalPlan) -> Option<Scanned> {
        let mut conditions = Vec::new();
        let scan = scan_of(plan, &mut conditions)?;
        for filter in &scan.filters {
            conditions.push(named(filter)?);
        }
        conditions.sort_by_cached_key(Expr::to_string);
        conditions.dedup();
        Some(Scanned { table: scan.table_name.to_string(), conditions })
    }
}

fn scan_of<'p>(plan: &'p LogicalPlan, conditions: &mut Vec<Expr>) -> Option<&'p TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none().then_some(scan),
        LogicalPlan::SubqueryAlias(alias) => scan_of(&alias.input, conditions),
        LogicalPlan::Projection(projection) => scan_of(&projection.input, conditions),
        LogicalPlan::Filter(filter) => {
            for condition in split_conjunction(&filter.predicate) {
                conditions.push(resolved(condition, &filter.input)?);
            }
            scan_of(&filter.input, conditions)
        }
        _ => None,
    }
}

/// The aggregate that a plan names the columns of, and does nothing else.
fn aggregate_of(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        LogicalPlan::SubqueryAlias(alias) => aggregate_of(&alias.input),
        LogicalPlan::Projection(projection) => aggregate_of(&projection.input),
        _ => None,
    }
}

/// What an aggregate gives the most of (or the least), if it does nothing else.
fn most_of(aggregate: &Aggregate) -> Option<(&Expr, bool)> {
    let [Expr::AggregateFunction(function)] = aggregate.aggr_expr.as_slice() else { return None };
    let is_max = match function.func.name() {
        "max" => true,
        "min" => false,
        _ => return None,
    };
    let params = &function.params;
    let is_plain = params.filter.is_none() && params.order_by.is_empty();
    let is_sets = aggregate.group_expr.iter().any(|key| matches!(key, Expr::GroupingSet(_)));
    match params.args.as_slice() {
        [value] if is_plain && !is_sets => Some((value, is_max)),
        _ => None,
    }
}

/// Which column of the aggregate beneath `plan` this is.
fn place_in(aggregate: &Aggregate, plan: &LogicalPlan, expr: &Expr) -> Option<usize> {
    let expr = without_alias(expr);
    let Expr::Column(column) = expr else { return None };
    let index = plan.schema().maybe_index_of_column(column)?;
    match plan {
        LogicalPlan::Aggregate(_) => Some(index),
        LogicalPlan::SubqueryAlias(alias) => {
            let below = alias.input.schema().columns().swap_remove(index);
            place_in(aggregate, &alias.input, &Expr::Column(below))
        }
        LogicalPlan::Projection(projection) => {
            place_in(aggregate, &projection.input, &projection.expr[index])
        }
        _ => None,
    }
}

/// An expression as one over the columns of the source beneath.
fn resolved(expr: &Expr, plan: &LogicalPlan) -> Option<Expr> {
    let below = |column: &Column| -> Option<Expr> {
        let index = plan.schema().maybe_index_of_column(column)?;
        match plan {
            LogicalPlan::Projection(projection) => projection.expr.get(index).cloned(),
            LogicalPlan::SubqueryAlias(alias) => {
                Some(Expr::Column(alias.input.schema().columns().swap_remove(index)))
            }
            _ => None,
        }
    };
    let through = || {
        let mut is_known = true;
        let replaced = without_alias(expr).clone().transform_up(|part| {
            let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
            Ok(match below(column) {
                Some(below) => Transformed::yes(without_alias(&below).clone()),
                None => {
                    is_known = false;
                    Transformed::no(part)
                }
            })
        });
        replaced.ok().map(|replaced| replaced.data).filter(|_| is_known)
    };
    match plan {
        LogicalPlan::TableScan(_) => named(expr),
        LogicalPlan::Filter(filter) => resolved(expr, &filter.input),
        LogicalPlan::Projection(projection) => resolved(&through()?, &projection.input),
        LogicalPlan::SubqueryAlias(alias) => resolved(&through()?, &alias.input),
        _ => None,
    }
}

/// An expression over a scan, whatever the scan is called; none that differs from call to call.
fn named(expr: &Expr) -> Option<Expr> {
    let named = without_alias(expr).clone().transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
            }
            other => Transformed::no(other),
        })
    });
    named.ok().map(|named| named.data).filter(|expr| !expr.is_volatile())
}
