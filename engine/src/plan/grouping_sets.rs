//! GROUPING SETS, ROLLUP and CUBE to an aggregate over rows that are copied for each set.
//!
//! ```text
//! GROUP BY w, ROLLUP(a)                 sets (w, a) and (w)
//!
//! aggregate by w, a, __grouping_id
//!   w, CASE WHEN __grouping_id IN (0) THEN a END AS a, …     what a set leaves out is NULL
//!     unnest __grouping_id
//!       w, a, …, [0, 1] AS __grouping_id                     a number for each set
//! ```
//!
//! The numbers are DataFusion's, which `grouping(a)` is computed from: a bit for each expression
//! that the set leaves out, the last expression's being the lowest; above these, how often the same
//! set came before.

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, Result, ScalarValue, UnnestOptions, plan_err};
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_expr::{Aggregate, Case, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion_optimizer::AnalyzerRule;

/// Each row is copied for each set.
const SETS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct ExpandGroupingSets;

impl AnalyzerRule for ExpandGroupingSets {
    fn name(&self) -> &str {
        "expand_grouping_sets"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let expanded = plan.transform_up(|plan| match plan {
            LogicalPlan::Aggregate(aggregate) => match aggregate.group_expr.as_slice() {
                [Expr::GroupingSet(sets)] => {
                    let sets = sets_of(sets)?;
                    Ok(Transformed::yes(expand(&aggregate, &sets)?))
                }
                _ => Ok(Transformed::no(LogicalPlan::Aggregate(aggregate))),
            },
            other => Ok(Transformed::no(other)),
        });
        Ok(expanded?.data)
    }
}

fn sets_of(sets: &GroupingSet) -> Result<Vec<Vec<Expr>>> {
    let count = match sets {
        GroupingSet::Rollup(exprs) => exprs.len() + 1,
        GroupingSet::Cube(exprs) => 1usize.checked_shl(exprs.len() as u32).unwrap_or(usize::MAX),
        GroupingSet::GroupingSets(sets) => sets.len(),
    };
    if count > SETS_MAX {
        return plan_err!("{count} grouping sets, and {SETS_MAX} is the most");
    }
    Ok(match sets {
        GroupingSet::Rollup(exprs) => {
            (0..=exprs.len()).rev().map(|taken| exprs[..taken].to_vec()).collect()
        }
        GroupingSet::Cube(exprs) => {
            let of = |chosen: usize| {
                let exprs = exprs.iter().enumerate();
                exprs.filter(|(at, _)| chosen >> at & 1 == 1).map(|(_, of)| of.clone()).collect()
            };
            (0..count).rev().map(of).collect()
        }
        GroupingSet::GroupingSets(sets) => sets.clone(),
    })
}

/// The number of each set.
fn ids_of(sets: &[Vec<Expr>], exprs: &[Expr]) -> Vec<u64> {
    let mut ids: Vec<u64> = Vec::with_capacity(sets.len());
    let all = 1u64 << exprs.len();
    for set in sets {
        let missing = exprs.iter().map(|expr| u64::from(!set.contains(expr)));
        let missing = missing.fold(0, |id, bit| id << 1 | bit);
        let before = ids.iter().filter(|id| **id % all == missing).count() as u64;
        ids.push(before * all + missing);
    }
    ids
}

fn expand(aggregate: &Aggregate, sets: &[Vec<Expr>]) -> Result<LogicalPlan> {
    const ID: &str = Aggregate::INTERNAL_GROUPING_ID;
    let exprs: Vec<Expr> =
        grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    if exprs.len() > 32 {
        return plan_err!("grouping sets of more than 32 expressions");
    }
    let ids = ids_of(sets, &exprs);
    let id_type = aggregate.schema.field(exprs.len()).data_type().clone();
    let number = |id: u64| ScalarValue::UInt64(Some(id)).cast_to(&id_type);
    let numbers = ids.iter().map(|id| number(*id)).collect::<Result<Vec<_>>>()?;
    let list = ScalarValue::List(ScalarValue::new_list_nullable(&numbers, &id_type));
    let input: Vec<Expr> =
        aggregate.input.schema().columns().into_iter().map(Expr::Column).collect();
    let id = Expr::Column(Column::new_unqualified(ID));
    let listed = input.iter().cloned().chain([lit(list).alias(ID)]);
    let options = UnnestOptions::new().with_preserve_nulls(false);
    let copied = LogicalPlanBuilder::from(aggregate.input.clone())
        .project(listed.collect::<Vec<_>>())?
        .unnest_column_with_options(Column::new_unqualified(ID), options)?;

    let part = |at: usize| format!("__grouped_{at}");
    let mut columns = input;
    columns.push(id.clone());
    for (at, expr) in exprs.iter().enumerate() {
        let within: Vec<Expr> = sets
            .iter()
            .zip(&numbers)
            .filter(|(set, _)| set.contains(expr))
            .map(|(_, number)| lit(number.clone()))
            .collect();
        let value = match within.len() == sets.len() {
            true => expr.clone(),
            false => where_true(id.clone().in_list(within, false), expr.clone()),
        };
        columns.push(value.alias(part(at)));
    }
    let mut group: Vec<Expr> =
        (0..exprs.len()).map(|at| Expr::Column(Column::new_unqualified(part(at)))).collect();
    group.push(id);
    let grouped = copied.project(columns)?.aggregate(group, aggregate.aggr_expr.clone())?;

    let names = aggregate.schema.iter().zip(grouped.schema().columns());
    let renamed = names.map(|((relation, field), column)| {
        Expr::Column(column).alias_qualified(relation.cloned(), field.name())
    });
    let renamed: Vec<Expr> = renamed.collect();
    grouped.project(renamed)?.build()
}

/// `CASE WHEN condition THEN value END`
fn where_true(condition: Expr, value: Expr) -> Expr {
    let arms = vec![(Box::new(condition), Box::new(value))];
    Expr::Case(Case::new(None, arms, None))
}

#[cfg(test)]
mod tests {
    use datafusion_expr::col;

    use super::*;

    #[test]
    fn sets_are_told_apart_by_what_they_leave_out() {
        let exprs = vec![col("a"), col("b")];
        let of = |sets: GroupingSet| ids_of(&sets_of(&sets).unwrap(), &exprs);
        assert_eq!(of(GroupingSet::Rollup(exprs.clone())), [0b00, 0b01, 0b11]);
        assert_eq!(of(GroupingSet::Cube(exprs.clone())), [0b00, 0b10, 0b01, 0b11]);
        let twice = vec![vec![col("a")], vec![col("a")], vec![col("b")]];
        assert_eq!(of(GroupingSet::GroupingSets(twice)), [0b001, 0b101, 0b010]);
        let many = (0..7).map(|at| col(format!("c{at}"))).collect();
        assert!(sets_of(&GroupingSet::Cube(many)).is_err());
    }
}
