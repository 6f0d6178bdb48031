//! `GROUP BY tumble(ts, INTERVAL '1' HOUR)`, another way to write a window: to FROM TUMBLE(…).
//!
//! ```text
//! SELECT tumble_start(ts, i), count(*) FROM t GROUP BY tumble(ts, i)
//! SELECT window_start, count(*) FROM TUMBLE(t, ts, i) GROUP BY window_start, window_end
//! ```
//!
//! The time may be left out: `tumble(INTERVAL '1' HOUR)` goes by the event time of the source.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    ObjectName, Query, Select, Spanned, TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::context::Catalog;
use super::window_tables::{WINDOW_END, WINDOW_START, named_table};

pub(crate) fn rewrite(query: &Query, catalog: &Catalog) -> Query {
    let mut query = query.clone();
    let _ = query.visit(&mut Selects { catalog });
    query
}

struct Selects<'a> {
    catalog: &'a Catalog,
}

impl VisitorMut for Selects<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        // Where it does not fit, it stays, and the planner says that there is no such function.
        let _ = rewrite_select(select, self.catalog);
        ControlFlow::Continue(())
    }
}

fn rewrite_select(select: &mut Select, catalog: &Catalog) -> Option<()> {
    let GroupByExpr::Expressions(grouped, _) = &mut select.group_by else { return None };
    let [from] = select.from.as_mut_slice() else { return None };
    if !from.joins.is_empty() {
        return None;
    }
    let at = grouped.iter().position(|expr| called(expr, "tumble").is_some())?;
    let function = called(&grouped[at], "tumble")?;
    let mut arguments = plain_arguments(function)?;
    if !matches!(arguments.len(), 1..=3) {
        return None;
    }
    let span = function.span();
    if matches!(arguments[0], Expr::Interval(_)) {
        arguments.insert(0, event_time(&from.relation, catalog, span)?);
    }
    from.relation = windowed(&from.relation, arguments)?;
    let bounds = [WINDOW_START, WINDOW_END];
    grouped.splice(at..=at, bounds.map(|bound| Expr::Identifier(Ident::with_span(span, bound))));
    let mut bounds = Bounds;
    let _ = select.projection.visit(&mut bounds);
    let _ = select.having.visit(&mut bounds);
    Some(())
}

fn called<'a>(expr: &'a Expr, name: &str) -> Option<&'a Function> {
    match expr {
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case(name) => {
            Some(function)
        }
        _ => None,
    }
}

fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let arguments = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    arguments.collect()
}

/// The event-time column of a source that is read directly.
fn event_time(relation: &TableFactor, catalog: &Catalog, span: SqlSpan) -> Option<Expr> {
    let TableFactor::Table { name, args: None, .. } = relation else { return None };
    let source = catalog.source(&name.0.last()?.as_ident()?.value)?;
    let column = &source.columns[source.event_time_column()?];
    Some(Expr::Identifier(Ident::with_span(span, column.name.clone())))
}

fn windowed(relation: &TableFactor, arguments: Vec<Expr>) -> Option<TableFactor> {
    let (table, alias) = match relation {
        TableFactor::Table { name, alias, args: None, .. } => {
            let parts: Option<Vec<Ident>> =
                name.0.iter().map(|part| part.as_ident().cloned()).collect();
            (Expr::CompoundIdentifier(parts?), alias)
        }
        TableFactor::Derived { lateral: false, subquery, alias, .. } => {
            (Expr::Subquery(subquery.clone()), alias)
        }
        _ => return None,
    };
    let arguments = std::iter::once(table).chain(arguments);
    let args = arguments.map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect();
    let mut call = named_table(ObjectName::from(vec![Ident::new("TUMBLE")]));
    if let TableFactor::Table { args: of_call, alias: of_call_alias, .. } = &mut call {
        *of_call = Some(TableFunctionArgs { args, settings: None });
        of_call_alias.clone_from(alias);
    }
    Some(call)
}

/// `tumble_start(…)` to `window_start`, and the same for the end.
struct Bounds;

impl VisitorMut for Bounds {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        for (name, bound) in [("tumble_start", WINDOW_START), ("tumble_end", WINDOW_END)] {
            if let Some(function) = called(expr, name) {
                *expr = Expr::Identifier(Ident::with_span(function.span(), bound));
                break;
            }
        }
        ControlFlow::Continue(())
    }
}
