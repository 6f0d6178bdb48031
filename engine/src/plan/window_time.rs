//! `window_time`, as Flink calls the latest time that a row of a window may have: its end less
//! 1 ms. It is the event time of what comes out of a window.
//!
//! ```text
//! SELECT window_time, count(*) FROM TUMBLE(…) GROUP BY window_start, window_end, window_time
//! SELECT window_time(window_end) AS window_time, … GROUP BY window_start, window_end
//! ```
//!
//! Where the table has a column of that name, it is that.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectItem, VisitMut, VisitorMut,
};

use super::context::Catalog;
use super::spellings::call;
use super::window_tables::{WINDOW_END, WINDOW_TIME, WindowCall};

pub(crate) fn rewrite(mut query: Query, catalog: &Catalog) -> Query {
    let _ = VisitMut::visit(&mut query, &mut Selects { catalog });
    query
}

struct Selects<'a> {
    catalog: &'a Catalog,
}

impl VisitorMut for Selects<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let relations = select.from.iter().flat_map(|from| {
            std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
        });
        let windows = relations.filter_map(WindowCall::of);
        let windows = windows.filter(|window| !has_own(window, self.catalog));
        let names = windows.map(|window| window.alias.map(|alias| alias.name.value.clone()));
        let mut times = Times { windows: names.collect(), depth: 0 };
        if !times.windows.is_empty() {
            times.rewrite(select);
        }
        ControlFlow::Continue(())
    }
}

fn has_own(window: &WindowCall<'_>, catalog: &Catalog) -> bool {
    let source = window.table_name().and_then(|name| catalog.source(name));
    source.is_some_and(|source| source.columns.iter().any(|column| column.name == WINDOW_TIME))
}

/// Within one SELECT.
struct Times {
    /// What its windows are called.
    windows: Vec<Option<String>>,
    depth: usize,
}

impl Times {
    fn rewrite(&mut self, select: &mut Select) {
        if let GroupByExpr::Expressions(grouped, _) = &mut select.group_by {
            let mut kept: Vec<Expr> = Vec::new();
            for expr in grouped.drain(..) {
                let expr = self.end_of(&expr).unwrap_or(expr);
                if !kept.contains(&expr) {
                    kept.push(expr);
                }
            }
            *grouped = kept;
        }
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && self.end_of(expr).is_some()
            {
                let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(WINDOW_TIME) };
            }
        }
        let _ = select.projection.visit(self);
        let _ = select.selection.visit(self);
        let _ = select.having.visit(self);
        let _ = select.qualify.visit(self);
        for join in select.from.iter_mut().flat_map(|from| &mut from.joins) {
            let _ = join.join_operator.visit(self);
        }
    }

    /// The end of the window whose time this is.
    fn end_of(&self, expr: &Expr) -> Option<Expr> {
        let end = |time: &Ident| {
            let is_time = time.value == WINDOW_TIME;
            is_time.then(|| Ident::with_span(time.span, WINDOW_END))
        };
        match expr {
            Expr::Identifier(time) => Some(Expr::Identifier(end(time)?)),
            Expr::CompoundIdentifier(names) => {
                let [window, time] = &names[..] else { return None };
                let end = end(time)?;
                let is_window = |of: &Option<String>| of.as_ref() == Some(&window.value);
                let found = self.windows.iter().any(is_window);
                found.then(|| Expr::CompoundIdentifier(vec![window.clone(), end]))
            }
            _ => None,
        }
    }
}

impl VisitorMut for Times {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0
            && let Some(end) = self.end_of(expr)
        {
            *expr = call(WINDOW_TIME, vec![end]);
        }
        ControlFlow::Continue(())
    }
}
