//! Which columns tell the rows of a plan's answer apart: what an answer that is updated is written
//! by, if the sink names no key.

use datafusion_common::JoinType;
use datafusion_expr::{Distinct, Expr, Filter, LogicalPlan};

use super::context::SourceTable;
use super::windows::{GroupWindow, Shape, group_window};
use crate::operators::top_n::ranked::Rank;
use crate::pipeline::SourceKind;
use crate::topology::ranking::RankFilter;

/// Columns, by index, whose values no two rows share; `None` if it is not known.
pub(crate) fn unique_key(plan: &LogicalPlan) -> Option<Vec<usize>> {
    unique_keys(plan).into_iter().next()
}

/// All that are known: what one projection leaves out, another key may do without.
pub(crate) fn unique_keys(plan: &LogicalPlan) -> Vec<Vec<usize>> {
    match plan {
        LogicalPlan::Filter(filter) => {
            let mut keys: Vec<_> = of_ranks(filter).into_iter().collect();
            keys.extend(unique_keys(&filter.input));
            keys
        }
        // Functions over windows of rows add columns, and neither rows nor names.
        LogicalPlan::Window(window) => unique_keys(&window.input),
        LogicalPlan::SubqueryAlias(alias) => unique_keys(&alias.input),
        LogicalPlan::Distinct(Distinct::On(distinct)) => {
            let selected = |key: &Expr| distinct.select_expr.iter().position(|expr| expr == key);
            distinct.on_expr.iter().map(selected).collect::<Option<_>>().into_iter().collect()
        }
        LogicalPlan::Projection(projection) => {
            let columns = projection.input.schema().columns();
            let place_of = |key: usize| {
                let is_key = |expr: &Expr| match without_alias(expr) {
                    Expr::Column(column) => *column == columns[key],
                    _ => false,
                };
                projection.expr.iter().position(is_key)
            };
            let keys = unique_keys(&projection.input).into_iter();
            keys.filter_map(|key| key.into_iter().map(place_of).collect()).collect()
        }
        // One bound of a window tells it apart as well as both, unless several start together.
        LogicalPlan::Aggregate(aggregate) => {
            let all: Vec<usize> = (0..aggregate.group_expr.len()).collect();
            let mut keys = vec![all.clone()];
            if let Ok(Some(GroupWindow { start: Some(start), end: Some(end), shape, .. })) =
                group_window(aggregate)
            {
                keys.push(all.iter().copied().filter(|at| *at != start).collect());
                if !matches!(shape, Shape::Cumulate { .. }) {
                    keys.push(all.into_iter().filter(|at| *at != end).collect());
                }
            }
            keys
        }
        other => only_key(other).into_iter().collect(),
    }
}

/// The partition and the number of a row, where rows are numbered within a limit.
fn of_ranks(filter: &Filter) -> Option<Vec<usize>> {
    let ranked = RankFilter::of(filter).filter(|ranked| ranked.rank == Rank::RowNumber)?;
    let partition = ranked.params()?.partition_by.iter();
    let mut key: Vec<usize> = partition.map(|key| ranked.place_of(key)).collect::<Option<_>>()?;
    if ranked.limit > 1 {
        key.push(ranked.rank_at);
    }
    Some(key)
}

fn only_key(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some((0..aggregate.group_expr.len()).collect()),
        LogicalPlan::Distinct(_) => Some((0..plan.schema().fields().len()).collect()),
        LogicalPlan::Join(join) => {
            let left = unique_key(&join.left)?;
            if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) {
                return Some(left);
            }
            let right = unique_key(&join.right)?;
            if matches!(join.join_type, JoinType::RightSemi | JoinType::RightAnti) {
                return Some(right);
            }
            let before = join.left.schema().fields().len();
            // Where each row meets one at most, its own key is enough.
            let finds = |key: &[usize], plan: &LogicalPlan, side: usize| {
                let columns = plan.schema().columns();
                key.iter().all(|&key| {
                    join.on.iter().any(|on| {
                        let of_side = if side == 0 { &on.0 } else { &on.1 };
                        matches!(of_side, Expr::Column(column) if *column == columns[key])
                    })
                })
            };
            if matches!(join.join_type, JoinType::Inner | JoinType::Left)
                && finds(&right, &join.right, 1)
            {
                return Some(left);
            }
            if matches!(join.join_type, JoinType::Inner | JoinType::Right)
                && finds(&left, &join.left, 0)
            {
                return Some(right.into_iter().map(|key| before + key).collect());
            }
            Some(left.into_iter().chain(right.into_iter().map(|key| before + key)).collect())
        }
        LogicalPlan::TableScan(scan) => {
            let SourceTable(source) = scan.source.downcast_ref::<SourceTable>()?;
            let SourceKind::Table { key } = &source.kind else { return None };
            let Some(projection) = &scan.projection else { return Some(key.clone()) };
            let place_of = |key: &usize| projection.iter().position(|column| column == key);
            key.iter().map(place_of).collect()
        }
        _ => None,
    }
}

pub(super) fn without_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_alias(&alias.expr),
        other => other,
    }
}
