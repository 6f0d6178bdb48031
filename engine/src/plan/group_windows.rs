//! `GROUP BY tumble(ts, INTERVAL '1' HOUR)`, another way to write a window: to FROM TUMBLE(…).
//!
//! ```text
//! SELECT tumble_start(ts, i), count(*) FROM t GROUP BY tumble(ts, i)
//! SELECT window_start, count(*) FROM TUMBLE(t, ts, i) GROUP BY window_start, window_end
//! ```
//!
//! The time may be left out: `tumble(INTERVAL '1' HOUR)` goes by the event time of the source. The
//! same for `hop(ts, slide, size)`, `cumulate(ts, step, size)` and `session(ts, gap)`; sessions are
//! those of all else that is grouped by.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator, FunctionArguments,
    GroupByExpr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Spanned, TableAlias,
    TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::context::Catalog;
use super::window_tables::{PARTITION_BY, WINDOW_END, WINDOW_START, WINDOW_TIME, named_table};
use super::windows::Kind;
use crate::pipeline::tokens::DIALECT;

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

/// How a window is spelled in GROUP BY, and its bounds elsewhere.
struct Spelling {
    kind: Kind,
    window: &'static str,
    start: &'static str,
    end: &'static str,
    time: &'static str,
}

const SPELLINGS: [Spelling; 4] = [
    Spelling {
        kind: Kind::Tumble,
        window: "tumble",
        start: "tumble_start",
        end: "tumble_end",
        time: "tumble_rowtime",
    },
    Spelling {
        kind: Kind::Hop,
        window: "hop",
        start: "hop_start",
        end: "hop_end",
        time: "hop_rowtime",
    },
    Spelling {
        kind: Kind::Cumulate,
        window: "cumulate",
        start: "cumulate_start",
        end: "cumulate_end",
        time: "cumulate_rowtime",
    },
    Spelling {
        kind: Kind::Session,
        window: "session",
        start: "session_start",
        end: "session_end",
        time: "session_rowtime",
    },
];

fn rewrite_select(select: &mut Select, catalog: &Catalog) -> Option<()> {
    let GroupByExpr::Expressions(grouped, _) = &mut select.group_by else { return None };
    let [from] = select.from.as_mut_slice() else { return None };
    if !from.joins.is_empty() {
        return None;
    }
    let (at, spelling) = grouped.iter().enumerate().find_map(|(at, expr)| {
        let mut all = SPELLINGS.iter();
        Some((at, all.find(|spelling| called(expr, spelling.window).is_some())?))
    })?;
    let function = called(&grouped[at], spelling.window)?;
    let mut arguments = plain_arguments(function)?;
    let lengths = spelling.kind.lengths();
    let needed = lengths.iter().filter(|length| **length != "OFFSET").count();
    let span = function.span();
    if matches!(arguments.first()?, Expr::Interval(_)) {
        arguments.insert(0, event_time(&from.relation, catalog, span)?);
    }
    if !(1 + needed..=1 + lengths.len()).contains(&arguments.len()) {
        return None;
    }
    let mut keys = Vec::new();
    if spelling.kind == Kind::Session {
        let others = grouped.iter().enumerate().filter(|(other, _)| *other != at);
        keys.extend(others.map(|(_, expr)| selected(expr, &select.projection)));
    }
    // Within the window function the table has no other name.
    let mut unaliased = Unaliased(alias_of(&from.relation));
    let _ = arguments.visit(&mut unaliased);
    let _ = keys.visit(&mut unaliased);
    let named = Window { kind: spelling.kind, arguments, keys, span };
    from.relation = named.over(&from.relation)?;
    let bounds = [WINDOW_START, WINDOW_END];
    grouped.splice(at..=at, bounds.map(|bound| Expr::Identifier(Ident::with_span(span, bound))));
    let mut bounds = Bounds { spelling };
    let _ = select.projection.visit(&mut bounds);
    let _ = select.having.visit(&mut bounds);
    Some(())
}

/// Where a window stands in GROUP BY.
pub(crate) fn call_span(select: &Select) -> Option<SqlSpan> {
    let GroupByExpr::Expressions(grouped, _) = &select.group_by else { return None };
    let window = |expr: &Expr| {
        SPELLINGS.iter().find_map(|spelling| Some(called(expr, spelling.window)?.span()))
    };
    grouped.iter().find_map(window)
}

/// What a group expression stands for, if it is the number or the name of something selected.
fn selected(expr: &Expr, projection: &[SelectItem]) -> Expr {
    let of = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            Some(expr.clone())
        }
        _ => None,
    };
    let named = |name: &Ident| {
        projection.iter().find(|item| match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value == name.value,
            _ => false,
        })
    };
    let found = match expr {
        Expr::Value(value) => {
            let number = value.to_string().parse::<usize>().ok();
            number.and_then(|number| projection.get(number.checked_sub(1)?)).and_then(of)
        }
        Expr::Identifier(name) => named(name).and_then(of),
        _ => None,
    };
    found.unwrap_or_else(|| expr.clone())
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
    if let TableFactor::NestedJoin { table_with_joins, .. } = relation {
        return event_time(&table_with_joins.relation, catalog, span);
    }
    let TableFactor::Table { name, args: None, .. } = relation else { return None };
    let source = catalog.source(&name.0.last()?.as_ident()?.value)?;
    let column = &source.columns[source.event_time_column()?];
    Some(Expr::Identifier(Ident::with_span(span, column.name.clone())))
}

/// `SELECT * FROM relation`.
fn all_of(relation: &TableFactor) -> Option<Query> {
    let mut parser = Parser::new(&DIALECT).try_with_sql("SELECT * FROM t").ok()?;
    let mut query = *parser.parse_query().ok()?;
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let mut relation = relation.clone();
    if let TableFactor::NestedJoin { alias, .. } = &mut relation {
        *alias = None;
    }
    select.from.first_mut()?.relation = relation;
    Some(query)
}

/// A window as FROM has it.
pub(crate) struct Window {
    pub kind: Kind,
    /// The time, and what comes after it.
    pub arguments: Vec<Expr>,
    /// What sessions are partitioned by.
    pub keys: Vec<Expr>,
    pub span: SqlSpan,
}

impl Window {
    fn over(self, relation: &TableFactor) -> Option<TableFactor> {
        let (table, alias) = match relation {
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts: Option<Vec<Ident>> =
                    name.0.iter().map(|part| part.as_ident().cloned()).collect();
                (Expr::CompoundIdentifier(parts?), alias)
            }
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                (Expr::Subquery(subquery.clone()), alias)
            }
            TableFactor::NestedJoin { alias, .. } => {
                (Expr::Subquery(Box::new(all_of(relation)?)), alias)
            }
            _ => return None,
        };
        Some(self.of(table, alias.clone()))
    }

    /// The call of the window table function.
    pub fn of(self, table: Expr, alias: Option<TableAlias>) -> TableFactor {
        let Window { kind, arguments, keys, span } = self;
        let unnamed = |expr: Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr));
        let mut args = vec![unnamed(table)];
        if !keys.is_empty() {
            args.push(FunctionArg::Named {
                name: Ident::with_span(span, PARTITION_BY),
                arg: FunctionArgExpr::Expr(Expr::Tuple(keys)),
                operator: FunctionArgOperator::RightArrow,
            });
        }
        args.extend(arguments.into_iter().map(unnamed));
        let mut call = named_table(ObjectName::from(vec![Ident::with_span(span, kind.name())]));
        if let TableFactor::Table { args: of_call, alias: of_call_alias, .. } = &mut call {
            *of_call = Some(TableFunctionArgs { args, settings: None });
            *of_call_alias = alias;
        }
        call
    }
}

/// The name that a relation has been given.
fn alias_of(relation: &TableFactor) -> Option<String> {
    match relation {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => Some(alias.as_ref()?.name.value.clone()),
        _ => None,
    }
}

/// `b.x` to `x`, where b is that name.
struct Unaliased(Option<String>);

impl VisitorMut for Unaliased {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(names) = expr
            && names.len() > 1
            && Some(&names[0].value) == self.0.as_ref()
        {
            names.remove(0);
            if let [only] = &names[..] {
                *expr = Expr::Identifier(only.clone());
            }
        }
        ControlFlow::Continue(())
    }
}

/// `tumble_start(…)` to `window_start`, and the same for the end and Flink's `tumble_rowtime(…)`.
struct Bounds {
    spelling: &'static Spelling,
}

impl VisitorMut for Bounds {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Spelling { start, end, time, .. } = self.spelling;
        for (name, bound) in [(start, WINDOW_START), (end, WINDOW_END), (time, WINDOW_TIME)] {
            if let Some(function) = called(expr, name) {
                *expr = Expr::Identifier(Ident::with_span(function.span(), bound));
                break;
            }
        }
        ControlFlow::Continue(())
    }
}
