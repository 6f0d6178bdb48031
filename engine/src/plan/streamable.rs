//! What SQL can say and a stream cannot do, or cannot do yet: refused at its place, with what to
//! do instead.
//!
//! This looks at the syntax, where places are known. What only the plan can tell, such as which
//! time a window is made from, is checked after planning (see [`super::lower`]).

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion_functions_aggregate::all_default_aggregate_functions;
use datafusion_sql::sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, LimitClause, Query, Select, SelectItem, SetExpr,
    SetOperator, Spanned, TableFactor, Visit, Visitor, visit_expressions,
};
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::window_tables::{WINDOW_END, WINDOW_START};
use crate::pipeline::tokens::file_span;
use crate::pipeline::{Diagnostic, SourceFile, Span};

/// Beyond this an expression is not written by a person, and what walks it might run out of stack.
const EXPRESSION_DEPTH_MAX: usize = 100;
/// UNION ALL of more queries than this, the same.
const UNION_MAX: usize = 100;

/// Functions whose value is the moment at which they are called.
const CLOCKS: [&str; 9] = [
    "now",
    "proctime",
    "current_timestamp",
    "current_date",
    "current_time",
    "today",
    "localtimestamp",
    "localtime",
    "clock_timestamp",
];

/// Refuses what is nested so deeply that nothing else may look at it. First of all checks.
pub(crate) fn check_depth(query: &Query, place: &Place<'_>) -> Result<(), Diagnostic> {
    let mut unions = 0;
    let mut body = query.body.as_ref();
    while let SetExpr::SetOperation { left, .. } = body {
        unions += 1;
        body = left;
    }
    if unions > UNION_MAX {
        let message = format!("more than {UNION_MAX} queries in one UNION ALL");
        return Err(Diagnostic::error(message, place.query.clone()));
    }
    let mut depth = Depth { depth: 0, too_deep: None };
    let _ = query.visit(&mut depth);
    match depth.too_deep {
        None => Ok(()),
        Some(span) => {
            let message = format!("an expression is nested more than {EXPRESSION_DEPTH_MAX} deep");
            let help = "compute parts of it in a query or step before";
            Err(Diagnostic::error(message, place.at(span)).help(help))
        }
    }
}

/// Refuses what cannot be computed of a row for a column of it.
pub(crate) fn check_expr(expr: &Expr, place: &Place<'_>, mistakes: &mut Vec<Diagnostic>) {
    let mut depth = Depth { depth: 0, too_deep: None };
    let _ = expr.visit(&mut depth);
    if let Some(span) = depth.too_deep {
        let message = format!("an expression is nested more than {EXPRESSION_DEPTH_MAX} deep");
        let help = "compute parts of it in columns before";
        mistakes.push(Diagnostic::error(message, place.at(span)).help(help));
        return;
    }
    let mut subquery = Subquery(None);
    let _ = expr.visit(&mut subquery);
    if let Some(span) = subquery.0 {
        let message = "a column is computed of its row, not by a query";
        let help = "join what it needs in a query over this table";
        mistakes.push(Diagnostic::error(message, place.at(span)).help(help));
        return;
    }
    let mut check = Check { place, mistakes, is_recursive: false };
    let _ = expr.visit(&mut check);
}

struct Subquery(Option<SqlSpan>);

impl Visitor for Subquery {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.0 = Some(query.span());
        ControlFlow::Break(())
    }
}

struct Depth {
    depth: usize,
    too_deep: Option<SqlSpan>,
}

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            self.too_deep = Some(expr.span());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

/// The file, and where a query without a better place stands.
pub(crate) struct Place<'a> {
    pub file: &'a Arc<SourceFile>,
    pub query: Span,
}

impl Place<'_> {
    pub fn at(&self, span: SqlSpan) -> Span {
        match file_span(self.file, span) {
            Some(span) => with_closing(span),
            None => self.query.clone(),
        }
    }
}

/// The parser's span of a call ends before its closing parenthesis.
fn with_closing(mut span: Span) -> Span {
    let Some((text, after)) = span.file.text[span.start..].split_at_checked(span.end - span.start)
    else {
        return span;
    };
    let mut open = text.matches('(').count().saturating_sub(text.matches(')').count());
    for (at, character) in after.char_indices() {
        match character {
            ')' if open > 0 => {
                open -= 1;
                if open == 0 {
                    span.end += at + 1;
                    break;
                }
            }
            _ if open > 0 && character.is_whitespace() => {}
            _ => break,
        }
    }
    span
}

/// All that cannot run as a stream in a query and those within it.
pub(crate) fn check(query: &Query, place: &Place<'_>, mistakes: &mut Vec<Diagnostic>) {
    let mut check = Check { place, mistakes, is_recursive: false };
    let _ = query.visit(&mut check);
}

struct Check<'a> {
    place: &'a Place<'a>,
    mistakes: &'a mut Vec<Diagnostic>,
    /// Its rows feed on themselves: what else its parts cannot do is of no interest.
    is_recursive: bool,
}

impl Check<'_> {
    fn refuse(&mut self, span: SqlSpan, message: &str, help: &str) {
        let span = self.place.at(span);
        self.mistakes.push(Diagnostic::error(message, span).help(help));
    }

    fn query(&mut self, query: &Query) {
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            let message = "WITH RECURSIVE cannot run as a stream: its rows feed on themselves";
            self.refuse(with.span(), message, "write the steps one by one");
            self.is_recursive = true;
        }
        if self.is_recursive {
            return;
        }
        let order_by = query.order_by.as_ref().filter(|_| !is_distinct_on(query));
        if let Some(order_by) = order_by {
            let message =
                "ORDER BY cannot run as a stream: there is no end at which rows could be sorted";
            let help = ranked_instead(query)
                .unwrap_or("leave it out, and sort where the results are read".to_owned());
            self.refuse(order_by.span(), message, &help);
        }
        let limit = query.limit_clause.as_ref().map(|limit| match limit {
            LimitClause::LimitOffset { limit: Some(limit), .. } => limit.span(),
            LimitClause::LimitOffset { .. } => SqlSpan::empty(),
            LimitClause::OffsetCommaLimit { limit, .. } => limit.span(),
        });
        let limit = limit.filter(|_| order_by.is_none());
        if let Some(limit) = limit.or(query.fetch.as_ref().map(|fetch| fetch.span())) {
            let message = "LIMIT cannot run as a stream: a stream has no end, and no first rows";
            self.refuse(limit, message, "leave it out, and limit where the results are read");
        }
        let foreign = !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty();
        if foreign {
            let message = "a query ends after HAVING; what follows here means nothing to a stream";
            self.refuse(query.span(), message, "leave it out");
        }
        self.body(&query.body);
    }

    fn body(&mut self, body: &SetExpr) {
        let mut body = body;
        while let SetExpr::SetOperation { left, right, op, .. } = body {
            if *op == SetOperator::Minus {
                self.refuse(right.span(), "MINUS is called EXCEPT here", "write EXCEPT");
            }
            self.part(right);
            body = left;
        }
        self.part(body);
    }

    fn part(&mut self, part: &SetExpr) {
        match part {
            // Selects and queries are visited by themselves.
            SetExpr::Select(_) | SetExpr::Query(_) => {}
            SetExpr::SetOperation { .. } => self.body(part),
            SetExpr::Values(values) => {
                let message = "VALUES is no stream: nothing ever comes";
                self.refuse(values.span(), message, "select from a source");
            }
            other => {
                self.refuse(other.span(), "this is no query over sources", "write SELECT …");
            }
        }
    }

    fn select(&mut self, select: &Select) {
        if select.from.is_empty() {
            let message = "a query without FROM is no stream: nothing ever comes";
            self.refuse(select.span(), message, "select from a source");
        }
        self.group_by(select);
        self.conditions(select);
        let foreign = select.top.is_some()
            || select.into.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.exclude.is_some();
        if foreign {
            let message = "a SELECT has FROM, WHERE, GROUP BY and HAVING, and no other clause";
            let sorted = select.sort_by.iter().map(Spanned::span);
            let clauses = select.lateral_views.iter().map(|view| view.lateral_view.span());
            let exprs = select.prewhere.iter().chain(&select.cluster_by);
            let exprs = exprs.chain(&select.distribute_by).map(Spanned::span);
            let into = select.into.iter().map(|into| into.name.span());
            let mut spans = into.chain(clauses).chain(exprs).chain(sorted);
            let span = spans.find(|span| *span != SqlSpan::empty());
            self.refuse(span.unwrap_or(select.span()), message, "leave the others out");
        }
    }

    fn group_by(&mut self, select: &Select) {
        match &select.group_by {
            GroupByExpr::Expressions(_, modifiers) | GroupByExpr::All(modifiers)
                if modifiers.is_empty() => {}
            GroupByExpr::Expressions(..) | GroupByExpr::All(_) => {
                let message = "GROUP BY takes a list of expressions here";
                self.refuse(select.group_by.span(), message, "list them");
            }
        }
    }

    /// What is computed beside other rows is known when rows have been filtered and grouped.
    fn conditions(&mut self, select: &Select) {
        let filters = [("WHERE", &select.selection), ("HAVING", &select.having)];
        for (clause, filter) in filters {
            let Some(span) = filter.as_ref().and_then(over_in) else { continue };
            let message = format!(
                "OVER (…) cannot stand in {clause}: it is computed of rows that \
                                   have passed it"
            );
            let help = "write the condition after QUALIFY, or filter in a query around this one";
            self.refuse(span, &message, help);
        }
        let GroupByExpr::Expressions(grouped, _) = &select.group_by else { return };
        if let Some(span) = grouped.iter().find_map(over_in) {
            let message = "OVER (…) cannot stand in GROUP BY: it is computed of rows as they are";
            let help = "compute it in a query, and group in one around that";
            self.refuse(span, message, help);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        if let Expr::Function(function) = expr {
            self.function(function);
        }
    }

    fn function(&mut self, function: &Function) {
        let name = function.name.to_string().to_ascii_lowercase();
        if CLOCKS.contains(&name.as_str()) {
            let message = format!(
                "{name} cannot be used in a stream: an answer must not depend on when it is \
                 computed"
            );
            self.refuse(function.span(), &message, "use the event time of the rows");
        }
        let of_aggregate = match is_aggregate(&name) {
            true => subquery_in(&function.args),
            false => None,
        };
        if let Some(span) = of_aggregate.or_else(|| subquery_in(&function.filter)) {
            let message = "a subquery cannot stand within an aggregate yet";
            let help = "name its answer in a query between: SELECT sum(x) FROM (SELECT …, price > \
                        (SELECT …) AS x FROM …)";
            self.refuse(span, message, help);
        }
    }
}

impl Visitor for Check<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { with_hints, .. } = relation
            && let Some(hint) = with_hints.first()
        {
            let message = "FOR SYSTEM_TIME AS OF goes with the join of a stream with a table";
            let help = "such as trips JOIN rates FOR SYSTEM_TIME AS OF trips.at ON …";
            self.refuse(hint.span(), message, help);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.expr(expr);
        ControlFlow::Continue(())
    }
}

fn is_aggregate(name: &str) -> bool {
    let mut all = all_default_aggregate_functions().into_iter();
    all.any(|known| known.name() == name || known.aliases().iter().any(|alias| alias == name))
}

/// Where the first subquery stands.
fn subquery_in(syntax: &impl Visit) -> Option<SqlSpan> {
    let found = visit_expressions(syntax, |expr| match expr {
        Expr::Subquery(query)
        | Expr::InSubquery { subquery: query, .. }
        | Expr::Exists { subquery: query, .. } => ControlFlow::Break(query.span()),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(span) => Some(span),
        ControlFlow::Continue(()) => None,
    }
}

/// Where the first function over a window of rows stands, queries within the expression aside.
fn over_in(expr: &Expr) -> Option<SqlSpan> {
    struct Over(usize);
    impl Visitor for Over {
        type Break = SqlSpan;
        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<SqlSpan> {
            self.0 += 1;
            ControlFlow::Continue(())
        }
        fn post_visit_query(&mut self, _: &Query) -> ControlFlow<SqlSpan> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlSpan> {
            match expr {
                Expr::Function(function) if self.0 == 0 && function.over.is_some() => {
                    ControlFlow::Break(function.span())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match expr.visit(&mut Over(0)) {
        ControlFlow::Break(span) => Some(span),
        ControlFlow::Continue(()) => None,
    }
}

/// Whether ORDER BY says which row of each key comes out.
fn is_distinct_on(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    matches!(select.distinct, Some(Distinct::On(_)))
}

/// `ORDER BY x LIMIT 3` as the query that a stream can answer.
fn ranked_instead(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let LimitClause::LimitOffset { limit: Some(limit), offset: None, .. } =
        query.limit_clause.as_ref()?
    else {
        return None;
    };
    let order = query.order_by.as_ref()?.to_string();
    let GroupByExpr::Expressions(grouped, _) = &select.group_by else { return None };
    let bounds = [WINDOW_START, WINDOW_END];
    let is_bound = |expr: &&Expr| match expr {
        Expr::Identifier(name) => bounds.contains(&name.value.as_str()),
        _ => false,
    };
    let windows: Vec<String> = grouped.iter().filter(is_bound).map(ToString::to_string).collect();
    let (what, partition) = match windows.is_empty() {
        true => ("the first rows so far, replaced whenever they change", String::new()),
        false => ("the first rows of each window", format!("PARTITION BY {} ", windows.join(", "))),
    };
    Some(format!("{what}: {select} QUALIFY ROW_NUMBER() OVER ({partition}{order}) <= {limit}"))
}

/// Where that stands which cannot run, if the query has one thing that it can be: DISTINCT ON, or a
/// function over a window of rows, called so or the only one.
pub(crate) fn span_of(what: &str, query: &Query, place: &Place<'_>) -> Option<Span> {
    let mut found = Found::default();
    let _ = query.visit(&mut found);
    if what.starts_with("DISTINCT ON") {
        return found.distinct.map(|span| place.at(span));
    }
    let what = what.to_ascii_lowercase();
    let named = found.calls.iter().filter(|(name, _)| what.contains(name.as_str()));
    match (named.collect::<Vec<_>>().as_slice(), found.calls.as_slice()) {
        ([(_, only)], _) | (_, [(_, only)]) => Some(place.at(*only)),
        _ => None,
    }
}

#[derive(Default)]
struct Found {
    /// Functions over windows of rows, by their names.
    calls: Vec<(String, SqlSpan)>,
    /// The first key of DISTINCT ON.
    distinct: Option<SqlSpan>,
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if let Some(Distinct::On(keys)) = &select.distinct {
            self.distinct = self.distinct.or(keys.first().map(Spanned::span));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && function.over.is_some()
        {
            let name = function.name.to_string().to_ascii_lowercase();
            self.calls.push((name, function.span()));
        }
        ControlFlow::Continue(())
    }
}

/// The second of two columns of one SELECT that have the same name, and that.
pub(crate) fn selected_twice(query: &Query) -> Option<(String, SqlSpan)> {
    struct Names(Option<(String, SqlSpan)>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            let mut names: Vec<&str> = Vec::new();
            for item in &select.projection {
                let (name, span) = match item {
                    SelectItem::ExprWithAlias { alias, .. } => (alias.value.as_str(), alias.span),
                    SelectItem::UnnamedExpr(Expr::Identifier(ident)) => (&*ident.value, ident.span),
                    _ => continue,
                };
                if names.contains(&name) {
                    self.0 = Some((name.to_owned(), span));
                    return ControlFlow::Break(());
                }
                names.push(name);
            }
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(None);
    let _ = query.visit(&mut names);
    names.0
}
