//! Which columns tell the rows of a plan's answer apart: what an answer that is updated is written
//! by, if the sink names no key.

use datafusion_common::JoinType;
use datafusion_expr::{Expr, LogicalPlan};

use super::context::SourceTable;
use crate::pipeline::SourceKind;

/// Columns, by index, whose values no two rows share; `None` if it is not known.
pub(crate) fn unique_key(plan: &LogicalPlan) -> Option<Vec<usize>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some((0..aggregate.group_expr.len()).collect()),
        LogicalPlan::Distinct(_) => Some((0..plan.schema().fields().len()).collect()),
        LogicalPlan::Filter(filter) => unique_key(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => unique_key(&alias.input),
        LogicalPlan::Projection(projection) => {
            let columns = projection.input.schema().columns();
            let place_of = |key: usize| {
                let is_key = |expr: &Expr| match without_alias(expr) {
                    Expr::Column(column) => *column == columns[key],
                    _ => false,
                };
                projection.expr.iter().position(is_key)
            };
            unique_key(&projection.input)?.into_iter().map(place_of).collect()
        }
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

fn without_alias(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => without_alias(&alias.expr),
        other => other,
    }
}
