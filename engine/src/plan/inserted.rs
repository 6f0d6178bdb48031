//! `INSERT INTO t (b, a) SELECT …`: the query's columns under the names of the list, in the order
//! in which the table declares them. What the list does not name is NULL.

use datafusion_common::ScalarValue;
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion_sql::sqlparser::ast::{self, Ident, SelectItem, SetExpr};

use crate::pipeline::Diagnostic;
use crate::pipeline::draft::{DraftQuery, Named};

/// Names for columns of the query that could be called alike, where its table has names for them:
/// those of the query say nothing then. Flink's names: `EXPR$2`.
pub(crate) fn name_columns(body: &mut SetExpr) {
    match body {
        SetExpr::SetOperation { left, right, .. } => {
            name_columns(left);
            name_columns(right);
        }
        SetExpr::Query(query) => name_columns(&mut query.body),
        SetExpr::Select(select) => {
            let unnamed = |item: &SelectItem| match item {
                SelectItem::UnnamedExpr(expr) => Some(what_it_is(expr)),
                _ => None,
            };
            let all: Vec<Option<String>> = select.projection.iter().map(unnamed).collect();
            for (at, item) in select.projection.iter_mut().enumerate() {
                let is_alike = |of: &String| all[..at].iter().flatten().any(|other| other == of);
                if let (true, SelectItem::UnnamedExpr(expr)) =
                    (all[at].as_ref().is_some_and(is_alike), &*item)
                {
                    let alias = Ident::with_quote('"', format!("EXPR${at}"));
                    *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
                }
            }
        }
        _ => {}
    }
}

/// What is the same of expressions that the planner could call alike: it leaves out casts.
fn what_it_is(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Cast { expr, .. } | ast::Expr::Nested(expr) => what_it_is(expr),
        ast::Expr::Function(call) => call.name.to_string().to_lowercase(),
        ast::Expr::Identifier(name) => name.value.clone(),
        ast::Expr::CompoundIdentifier(names) => {
            names.last().map_or_else(String::new, |name| name.value.clone())
        }
        other => format!("{:?}", std::mem::discriminant(other)),
    }
}

/// `CREATE VIEW v (a, b) AS …`: the query's columns under these names, in order.
pub(crate) fn under_names(
    plan: LogicalPlan,
    names: &[Named],
    mistakes: &mut Vec<Diagnostic>,
) -> Option<LogicalPlan> {
    let given = plan.schema().columns();
    if given.len() != names.len() {
        let (gives, names_count) = (given.len(), names.len());
        let message = format!("the query gives {gives} columns, and the list names {names_count}");
        mistakes.push(Diagnostic::error(message, names.first()?.span.clone()));
        return None;
    }
    let exprs = given.into_iter().zip(names);
    let exprs = exprs.map(|(column, name)| Expr::Column(column).alias(name.text.clone()));
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).ok()
}

/// As it is, if there is no list; `None` after a mistake.
pub(crate) fn as_listed(
    plan: LogicalPlan,
    draft: &DraftQuery,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<LogicalPlan> {
    let Some(list) = &draft.columns else { return Some(plan) };
    let before = mistakes.len();
    check(list, draft, mistakes);
    let given = plan.schema().columns();
    if mistakes.len() == before && given.len() != list.len() {
        let (gives, names) = (given.len(), list.len());
        let message = format!("the query gives {gives} columns, and the list names {names}");
        let place = list.first().map_or(&draft.name.span, |first| &first.span);
        mistakes.push(Diagnostic::error(message, place.clone()));
    }
    if mistakes.len() > before {
        return None;
    }
    let column = |name: &str| {
        let given = list.iter().zip(&given).find(|(listed, _)| listed.text == name);
        given.map_or(Expr::Literal(ScalarValue::Null, None), |(_, given)| given.clone().into())
    };
    let declared = draft.sink.columns.iter().map(|(name, _)| name.text.as_str());
    let names: Vec<&str> = match draft.sink.columns.is_empty() {
        true => list.iter().map(|listed| listed.text.as_str()).collect(),
        false => declared.collect(),
    };
    let exprs: Vec<Expr> = names.into_iter().map(|name| column(name).alias(name)).collect();
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).ok()
}

fn check(list: &[Named], draft: &DraftQuery, mistakes: &mut Vec<Diagnostic>) {
    let declared = &draft.sink.columns;
    for (at, Named { text: name, span }) in list.iter().enumerate() {
        if list[..at].iter().any(|other| other.text == *name) {
            let message = format!("column '{name}' is listed twice");
            mistakes.push(Diagnostic::error(message, span.clone()).label("the second time"));
        } else if !declared.is_empty() && declared.iter().all(|(other, _)| other.text != *name) {
            let message = format!("'{}' has no column '{name}' to write", draft.name.text);
            let mistake = Diagnostic::error(message, span.clone()).label("no such column");
            let names = declared.iter().map(|(name, _)| name.text.as_str());
            mistakes.push(mistake.did_you_mean(name, names));
        }
    }
}
