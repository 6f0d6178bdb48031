//! Where a column of a plan comes from.

use datafusion_common::Column;
use datafusion_expr::expr::Unnest;
use datafusion_expr::{Expr, Join, JoinType, LogicalPlan, SortExpr, Window};

use super::window_call;
use crate::topology::over::comes_promptly;
use crate::topology::ranking::window_function;

/// An expression and the plan that its columns belong to.
pub(crate) struct Traced<'a> {
    pub expr: Expr,
    pub input: &'a LogicalPlan,
    /// It is what an aggregate in between groups by.
    pub aggregated: bool,
}

/// Follows a column through renaming, filtering and joining to where it is made: an expression
/// that computes it, the element of a list ([`Expr::Unnest`]), or the column of a scan, an
/// aggregate or another plan that does more than pass it on.
pub(crate) fn trace<'a>(expr: &Expr, input: &'a LogicalPlan) -> Traced<'a> {
    let mut at = Traced { expr: expr.clone(), input, aggregated: false };
    loop {
        at = match at.expr {
            Expr::Alias(alias) => Traced { expr: *alias.expr, ..at },
            Expr::Column(ref column) => match definition(column, at.input) {
                Some((expr, input)) => {
                    let aggregates = matches!(at.input, LogicalPlan::Aggregate(_));
                    Traced { expr, input, aggregated: at.aggregated || aggregates }
                }
                None => return at,
            },
            _ => return at,
        };
    }
}

/// One step down; `None` where the plan makes the column itself.
fn definition<'a>(column: &Column, plan: &'a LogicalPlan) -> Option<(Expr, &'a LogicalPlan)> {
    let index = plan.schema().maybe_index_of_column(column)?;
    let passed_on = |input: &'a LogicalPlan, index: usize| {
        Some((Expr::Column(input.schema().columns().swap_remove(index)), input))
    };
    match plan {
        LogicalPlan::Projection(projection) => {
            Some((projection.expr[index].clone(), &*projection.input))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let expr = aggregate.group_expr.get(index)?.clone();
            Some((expr, &*aggregate.input))
        }
        LogicalPlan::Unnest(unnest) => {
            let from = *unnest.dependency_indices.get(index)?;
            let mut lists = unnest.list_type_columns.iter().filter(|(list, _)| *list == from);
            match (lists.next(), lists.next()) {
                (None, _) if unnest.struct_type_columns.contains(&from) => None,
                (None, _) => passed_on(&unnest.input, from),
                (Some((_, list)), None) if list.depth == 1 => {
                    let (list, input) = passed_on(&unnest.input, from)?;
                    Some((Expr::Unnest(Unnest::new(list)), input))
                }
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(alias) => passed_on(&alias.input, index),
        LogicalPlan::Filter(filter) => passed_on(&filter.input, index),
        // Rows that are partitioned by a window come out when it has closed; those beside which
        // others are looked at, when the watermark has passed them.
        LogicalPlan::Window(window)
            if partitioned_by(window, column) || sorted_by(window, column) =>
        {
            passed_on(&window.input, index)
        }
        LogicalPlan::Join(join) => {
            let (side, index) = passed_by_join(join, index)?;
            passed_on(side, index)
        }
        _ => None,
    }
}

/// Which side of a join the column comes from, and where it is there. The side that an outer join
/// may lack is not as it was.
pub(crate) fn passed_by_join(join: &Join, index: usize) -> Option<(&LogicalPlan, usize)> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    let left_columns = match join.join_type {
        RightSemi | RightAnti => 0,
        _ => join.left.schema().fields().len(),
    };
    match (index.checked_sub(left_columns), join.join_type) {
        (None, Inner | Left | LeftSemi | LeftAnti) => Some((&join.left, index)),
        (Some(index), Inner | Right | RightSemi | RightAnti) => Some((&join.right, index)),
        _ => None,
    }
}

fn sorted_by(window: &Window, column: &Column) -> bool {
    let mut functions = window.window_expr.iter().map(window_function);
    functions.all(|function| {
        let first =
            function.and_then(|function| Some((function, function.params.order_by.first()?)));
        first.is_some_and(|(function, SortExpr { expr, asc, .. })| {
            *asc && comes_promptly(function) && *expr == Expr::Column(column.clone())
        })
    })
}

/// By the column itself, or by the window that it is a bound of.
pub(crate) fn partitioned_by(window: &Window, column: &Column) -> bool {
    let column = Expr::Column(column.clone());
    let of_column = window_call(&trace(&column, &window.input)).ok().flatten();
    let is_of_window = |key: &Expr| {
        let Some(of_column) = &of_column else { return false };
        let of_key = window_call(&trace(key, &window.input)).ok().flatten();
        of_key.is_some_and(|of_key| of_key.same_window(of_column))
    };
    let mut functions = window.window_expr.iter().map(window_function);
    functions.all(|function| {
        let mut keys = function.iter().flat_map(|function| &function.params.partition_by);
        keys.any(|key| *key == column || is_of_window(key))
    })
}
