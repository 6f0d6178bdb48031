//! The tree of a plan, each node as the clause of SQL that it comes of.
//!
//! Projections that only leave columns out, and names for subqueries, are of no interest and left
//! out.

use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Distinct, Expr, Join, JoinType, LogicalPlan, TableScan};

use super::PlanNode;
use super::words::{Words, quoted};
use crate::pipeline::ColumnFrom;
use crate::plan::SourceTable;

pub(super) fn tree(plan: &LogicalPlan, words: &Words) -> PlanNode {
    tree_of(plan, words, false)
}

/// The clause that a node is, without those beneath it.
pub(super) fn line(plan: &LogicalPlan, words: &Words) -> String {
    let PlanNode { clause, items, .. } = tree_of(plan, words, true);
    format!("{clause} {}", items.join(", ")).trim_end().to_owned()
}

/// `selected`: what aggregates compute stands above.
fn tree_of(plan: &LogicalPlan, words: &Words, selected_above: bool) -> PlanNode {
    let inputs = || plan.inputs().into_iter().map(|input| tree(input, words)).collect();
    let node = |clause: &str, items: Vec<String>| PlanNode {
        clause: clause.to_owned(),
        items,
        inputs: inputs(),
    };
    match plan {
        LogicalPlan::TableScan(scan) => read(scan, words),
        LogicalPlan::Projection(projection) => {
            if projection.expr.iter().all(|of| matches!(of, Expr::Column(_)) || is_common(of)) {
                return tree_of(&projection.input, words, selected_above);
            }
            let exprs = projection.expr.iter().filter(|expr| !is_common(expr));
            PlanNode {
                clause: "SELECT".to_owned(),
                items: exprs.map(|expr| selected(expr, words)).collect(),
                inputs: vec![tree_of(&projection.input, words, true)],
            }
        }
        LogicalPlan::Filter(filter) => {
            let input = tree_of(&filter.input, words, selected_above);
            where_of(clause_of(&filter.input), &filter.predicate, input, words)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let calls = aggregate.aggr_expr.iter().map(|expr| words.expr(expr)).collect();
            let keys: Vec<String> =
                aggregate.group_expr.iter().map(|expr| words.expr(expr)).collect();
            let clause = if keys.is_empty() { "AGGREGATE ALL ROWS" } else { "GROUP BY" };
            let below = PlanNode { clause: clause.to_owned(), items: keys, inputs: inputs() };
            if selected_above || aggregate.aggr_expr.is_empty() {
                return below;
            }
            PlanNode { clause: "COMPUTE".to_owned(), items: calls, inputs: vec![below] }
        }
        LogicalPlan::Window(window) => {
            node("COMPUTE", window.window_expr.iter().map(|expr| words.expr(expr)).collect())
        }
        LogicalPlan::Join(join) => node(join_clause(join), conditions(join, words)),
        LogicalPlan::Union(_) => node("UNION ALL", Vec::new()),
        LogicalPlan::Distinct(Distinct::All(_)) => node("DISTINCT", Vec::new()),
        LogicalPlan::Distinct(Distinct::On(on)) => {
            let mut by: Vec<String> = on.on_expr.iter().map(|expr| words.expr(expr)).collect();
            let order = on.sort_expr.iter().flatten();
            let order: Vec<String> = order.map(|by| words.expr(&by.expr)).collect();
            by.push(format!("the first by {}", order.join(", ")));
            node("DISTINCT ON", by)
        }
        LogicalPlan::Unnest(unnest) => {
            let input = unnest.input.schema();
            let lists = unnest.list_type_columns.iter().map(|(column, _)| input.field(*column));
            node(
                "UNNEST",
                lists.map(|field| unnested(&words.name(field.name())).to_owned()).collect(),
            )
        }
        LogicalPlan::SubqueryAlias(alias) => tree(&alias.input, words),
        other => node(&other.display().to_string(), Vec::new()),
    }
}

fn read(scan: &TableScan, words: &Words) -> PlanNode {
    let source = scan.source.downcast_ref::<SourceTable>().map(|table| &table.0);
    let computed = |name: &str| {
        let column = source?.columns.iter().find(|column| column.name == name)?;
        match &column.from {
            ColumnFrom::Computed(expr) => Some(words.expr(expr)),
            _ => None,
        }
    };
    let columns = scan.projected_schema.fields().iter().map(|field| {
        let name = quoted(field.name());
        computed(field.name()).map_or_else(|| name.clone(), |sql| format!("{sql} AS {name}"))
    });
    let columns: Vec<String> = columns.collect();
    let columns = match columns.is_empty() {
        true => String::new(),
        false => format!(" ({})", columns.join(", ")),
    };
    let from = PlanNode {
        clause: format!("FROM {}{columns}", quoted(scan.table_name.table())),
        items: Vec::new(),
        inputs: Vec::new(),
    };
    scan.filters.iter().fold(from, |from, filter| where_of("WHERE", filter, from, words))
}

fn where_of(clause: &str, predicate: &Expr, input: PlanNode, words: &Words) -> PlanNode {
    let items = split_conjunction(predicate).into_iter().map(|part| words.expr(part));
    let items = vec![items.collect::<Vec<_>>().join(" AND ")];
    PlanNode { clause: clause.to_owned(), items, inputs: vec![input] }
}

/// What a condition is called after that.
fn clause_of(input: &LogicalPlan) -> &'static str {
    match input {
        LogicalPlan::Aggregate(_) => "HAVING",
        LogicalPlan::Window(_) => "QUALIFY",
        LogicalPlan::Projection(projection) => clause_of(&projection.input),
        _ => "WHERE",
    }
}

fn is_common(expr: &Expr) -> bool {
    matches!(expr, Expr::Alias(alias) if alias.name.starts_with("__"))
}

/// `sum(amount) AS total`.
fn selected(expr: &Expr, words: &Words) -> String {
    match expr {
        Expr::Alias(alias) => {
            let (sql, name) = (words.expr(&alias.expr), quoted(&alias.name));
            let is_itself = matches!(
                &*alias.expr, Expr::Column(column) if column.name == alias.name
            );
            if sql == name || is_itself { sql } else { format!("{sql} AS {name}") }
        }
        other => words.expr(other),
    }
}

/// The list of `unnest(list)`.
pub(super) fn unnested(sql: &str) -> &str {
    let list = sql.strip_prefix("unnest(").and_then(|sql| sql.strip_suffix(')'));
    list.unwrap_or(sql)
}

fn join_clause(join: &Join) -> &'static str {
    match join.join_type {
        JoinType::Inner if join.on.is_empty() && join.filter.is_none() => "CROSS JOIN",
        JoinType::Inner => "JOIN ON",
        JoinType::Left => "LEFT JOIN ON",
        JoinType::Right => "RIGHT JOIN ON",
        JoinType::Full => "FULL JOIN ON",
        JoinType::LeftSemi => "LEFT SEMI JOIN ON",
        JoinType::RightSemi => "RIGHT SEMI JOIN ON",
        JoinType::LeftAnti => "LEFT ANTI JOIN ON",
        JoinType::RightAnti => "RIGHT ANTI JOIN ON",
        JoinType::LeftMark | JoinType::RightMark => "MARK JOIN ON",
    }
}

fn conditions(join: &Join, words: &Words) -> Vec<String> {
    let on = join.on.iter();
    let on = on.map(|(left, right)| format!("{} = {}", words.expr(left), words.expr(right)));
    let rest = join.filter.iter().flat_map(|filter| split_conjunction(filter));
    let all: Vec<String> = on.chain(rest.map(|condition| words.expr(condition))).collect();
    if all.is_empty() { Vec::new() } else { vec![all.join(" AND ")] }
}
