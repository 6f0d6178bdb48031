//! The steps of a TOML query to the syntax that SQL gives: each step selects from the one before.
//!
//! ```text
//! { filter = "a > 0" }                  SELECT * FROM (…) WHERE a > 0
//! { map = { b = "a + 1" } }             SELECT a + 1 AS b FROM (…)
//! { add = { b = "a + 1" } }             SELECT *, a + 1 AS b FROM (…)
//! { window = { tumble = "1 hour" },     SELECT window_start, window_end, k, count(*) AS n
//!   group_by = ["k"],                     FROM TUMBLE((…), time, INTERVAL '1 hour')
//!   aggregate = { n = "count(*)" } }      GROUP BY window_start, window_end, k
//! { window = { hop = "1 hour",            … FROM HOP((…), time, INTERVAL '10 minutes',
//!     slide = "10 minutes" }, … }             INTERVAL '1 hour')
//! { window = { cumulate = "1 day",        … FROM CUMULATE((…), time, INTERVAL '1 hour',
//!     step = "1 hour" }, … }                  INTERVAL '1 day')
//! { window = { session = "5 minutes" },   … FROM SESSION((…) PARTITION BY (k), time,
//!   group_by = ["k"], … }                     INTERVAL '5 minutes')
//! { flat_map = { b = "bs" } }           SELECT *, unnest(bs) AS b FROM (…)
//! { dedup = ["k"], keep = "first" }     SELECT * FROM (…) QUALIFY row_number() OVER (
//!                                         PARTITION BY k ORDER BY time) = 1
//! { dedup = ["k"], keep = "last",       SELECT * FROM (…) QUALIFY last_within(
//!   within = "1 hour" }                   time, INTERVAL '1 hour') OVER (PARTITION BY k …)
//! { join = "t", on = "k = t.k" }        SELECT input.*, t.* EXCEPT (k) FROM (…) AS input
//!                                         JOIN t ON input.k = t.k
//! { udf = "f", args = ["a"], as = "b" } SELECT *, f(a) AS b FROM (…)
//! { udf = "f", as = ["b", "c"], … }     SELECT * FROM (…) CROSS JOIN LATERAL f(a) AS udf(b, c)
//! { key_by = ["k"] }                    (the sink's key; the last step)
//! { sql = "SELECT … FROM input" }       WITH input AS (…) SELECT … FROM input
//! ```
//!
//! The subqueries have no alias, so their columns keep their names, and a single step reads its
//! source directly: such a query is to the planner what a person would have written as SQL.

mod join;
mod rows;
mod udf;

use std::time::Duration;

use datafusion_sql::sqlparser::ast::{
    self, Expr, GroupByExpr, Ident, Interval, ObjectName, Query, SelectItem, SetExpr, TableFactor,
    TableWithJoins,
};
use datafusion_sql::sqlparser::parser::Parser;
use datafusion_sql::sqlparser::tokenizer::Token;

use super::diagnostic::{Diagnostic, Span, quoted_list};
use super::draft::{DraftStep, Named};
use super::reader::{Mistakes, StringValue, Table, Value};
use super::tokens::{DIALECT, parse_expr, parse_text, sql_span};
use crate::plan::group_windows::Window;
use crate::plan::window_tables::{WINDOW_END, WINDOW_START, named_table};
use crate::plan::windows::Kind;
use join::Join;
use rows::Dedup;
use udf::Udf;

/// Each step nests the query once more, and what plans it goes down all of them.
const STEPS_MAX: usize = 50;

const KINDS: [&str; 11] = [
    "filter",
    "map",
    "add",
    "flat_map",
    "window",
    "aggregate",
    "join",
    "dedup",
    "udf",
    "key_by",
    "sql",
];

/// What a step calls the rows so far, where it has to name them.
const INPUT: &str = "input";

/// What a step reads.
enum Input {
    Source(Ident),
    Steps(Box<Query>),
}

impl Input {
    fn relation(self) -> TableFactor {
        match self {
            Input::Source(name) => named_table(ObjectName::from(vec![name])),
            Input::Steps(subquery) => {
                TableFactor::Derived { lateral: false, subquery, alias: None, sample: None }
            }
        }
    }

    /// As the first argument of a window table function.
    fn argument(self) -> Expr {
        match self {
            Input::Source(name) => Expr::Identifier(name),
            Input::Steps(subquery) => Expr::Subquery(subquery),
        }
    }
}

/// What the steps make.
pub(crate) struct StepsQuery {
    pub query: Box<Query>,
    /// The same up to each of its steps, in their order.
    pub upto: Vec<DraftStep>,
    /// What the rows are keyed by, if the last step says so.
    pub key: Vec<Named>,
    /// A step, or a part of one, has mistakes and was left out.
    pub incomplete: bool,
}

/// The query that the steps make of the source. `event_time` is that source's, if it has one.
pub(crate) fn query_of_steps(
    from: &Named,
    steps: &[Value<'_>],
    event_time: Option<&str>,
    mistakes: &mut Mistakes,
) -> Option<StepsQuery> {
    let before = mistakes.list.len();
    if let Some(beyond) = steps.get(STEPS_MAX) {
        let message = format!("a query has at most {STEPS_MAX} steps");
        let span = mistakes.span(&beyond.range);
        mistakes.push(Diagnostic::error(message, span));
        return None;
    }
    let mut input = Input::Source(ident(&from.text, &from.span));
    // After a step whose columns cannot be known, the others are read but not put together.
    let mut known = true;
    let (mut key, mut upto) = (Vec::new(), Vec::new());
    for (at, at_step) in steps.iter().enumerate() {
        let read = at_step.table(mistakes).map(|table| read_step(table, event_time, mistakes));
        match read.unwrap_or(Read::Unknown) {
            Read::Key(names) if at + 1 == steps.len() => key = names,
            Read::Key(_) => {
                let message = "'key_by' is the last step: it says what the rows are written by";
                let span = mistakes.span(&at_step.range);
                let help = "leave it out: rows find each other by what later steps group by";
                mistakes.push(Diagnostic::error(message, span).help(help));
            }
            Read::Step(step) if known => {
                let kind = step.kind();
                let query = step.apply(input);
                let span = mistakes.span(&at_step.range);
                upto.push(DraftStep { query: String::new(), kind, upto: query.clone(), span });
                input = Input::Steps(query);
            }
            Read::Step(_) | Read::LeftOut => {}
            Read::Unknown => known = false,
        }
    }
    let query = match input {
        Input::Source(_) => select_from(input, vec![wildcard()]),
        Input::Steps(query) => query,
    };
    Some(StepsQuery { query, upto, key, incomplete: mistakes.list.len() > before })
}

enum Read {
    Step(Box<Step>),
    /// It has mistakes; without it the columns are the same.
    LeftOut,
    /// It has mistakes that leave its columns unknown.
    Unknown,
    /// It changes nothing but what the rows are keyed by.
    Key(Vec<Named>),
}

impl From<Option<Step>> for Read {
    fn from(step: Option<Step>) -> Read {
        step.map_or(Read::Unknown, |step| Read::Step(Box::new(step)))
    }
}

enum Step {
    Filter(Box<Expr>),
    Map(Vec<SelectItem>),
    Add(Vec<SelectItem>),
    Aggregate(Box<Aggregate>),
    Join(Box<Join>),
    Dedup(Box<Dedup>),
    Udf(Box<Udf>),
    Sql(Box<Query>),
}

fn read_step(mut table: Table<'_>, event_time: Option<&str>, mistakes: &mut Mistakes) -> Read {
    let kind = KINDS.into_iter().find(|kind| table.has(kind));
    let step = match kind {
        Some("filter") => {
            let condition = table.get("filter").and_then(|value| expression(&value, mistakes));
            condition.map_or(Read::LeftOut, |condition| {
                Read::Step(Box::new(Step::Filter(Box::new(condition))))
            })
        }
        Some("map") => columns(table.get("map"), mistakes).map(Step::Map).into(),
        Some("add") => columns(table.get("add"), mistakes).map(Step::Add).into(),
        Some("flat_map") => rows::flat_map(table.get("flat_map"), mistakes).map(Step::Add).into(),
        Some("window" | "aggregate") => {
            let read = Aggregate::read(&mut table, event_time, mistakes);
            read.map(|read| Step::Aggregate(Box::new(read))).into()
        }
        Some("join") => {
            Join::read(&mut table, mistakes).map(|read| Step::Join(Box::new(read))).into()
        }
        Some("dedup") => match Dedup::read(&mut table, event_time, mistakes) {
            Some(read) => Read::Step(Box::new(Step::Dedup(Box::new(read)))),
            None => Read::LeftOut,
        },
        Some("udf") => Udf::read(&mut table, mistakes).map(|read| Step::Udf(Box::new(read))).into(),
        Some("key_by") => {
            let names = table.get("key_by").and_then(|names| names.strings(mistakes));
            let names = names.unwrap_or_default();
            Read::Key(names.iter().map(StringValue::named).collect())
        }
        Some("sql") => table
            .get("sql")
            .and_then(|value| {
                let text = value.string(mistakes)?;
                report(parse_text(text.sql(), |parser| parser.parse_query()), mistakes)
                    .map(Step::Sql)
            })
            .into(),
        _ => {
            for key in ["group_by", "having", "on", "args", "as", "keep"] {
                table.has(key);
            }
            if !table.has_unknown() {
                let span = mistakes.span(&table.range);
                let help = format!("a step has one of {}", quoted_list(&KINDS, "and"));
                let message = "a step without anything to do";
                mistakes.push(Diagnostic::error(message, span).help(help));
            }
            Read::Unknown
        }
    };
    table.finish(mistakes);
    step
}

impl Step {
    /// The key of the file that says what it does.
    fn kind(&self) -> &'static str {
        match self {
            Step::Filter(_) => "filter",
            Step::Map(_) => "map",
            Step::Add(_) => "add",
            Step::Aggregate(aggregate) if aggregate.window.is_some() => "window",
            Step::Aggregate(_) => "aggregate",
            Step::Join(_) => "join",
            Step::Dedup(_) => "dedup",
            Step::Udf(_) => "udf",
            Step::Sql(_) => "sql",
        }
    }

    fn apply(self, input: Input) -> Box<Query> {
        match self {
            Step::Filter(condition) => {
                let mut query = select_from(input, vec![wildcard()]);
                select_mut(&mut query).selection = Some(*condition);
                query
            }
            Step::Map(items) => select_from(input, items),
            Step::Add(items) => {
                select_from(input, std::iter::once(wildcard()).chain(items).collect())
            }
            Step::Aggregate(aggregate) => aggregate.apply(input),
            Step::Join(join) => join.apply(input),
            Step::Dedup(dedup) => dedup.apply(input),
            Step::Udf(udf) => udf.apply(input),
            Step::Sql(query) => with_input(query, input),
        }
    }
}

/// `{ name = "expression", … }` to `expression AS name, …`.
fn columns(value: Option<Value<'_>>, mistakes: &mut Mistakes) -> Option<Vec<SelectItem>> {
    let table = value?.table(mistakes)?;
    let entries = table.named("column", mistakes);
    if entries.is_empty() {
        let span = mistakes.span(&table.range);
        mistakes.push(Diagnostic::error(format!("{} names no column", table.what), span));
    }
    let items = entries.into_iter().map(|(name, value)| {
        // In place of a mistake NULL, which fits everywhere.
        let null = || Expr::Value(ast::Value::Null.with_empty_span());
        let expr = expression(&value, mistakes).unwrap_or_else(null);
        SelectItem::ExprWithAlias { expr, alias: ident(&name.text, &name.span) }
    });
    Some(items.collect())
}

fn expression(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Expr> {
    let text = value.string(mistakes)?;
    report(parse_expr(text.sql()), mistakes)
}

fn report<T>(parsed: Result<T, Diagnostic>, mistakes: &mut Mistakes) -> Option<T> {
    parsed.map_err(|mistake| mistakes.push(mistake)).ok()
}

struct Aggregate {
    window: Option<Window>,
    group_by: Vec<SelectItem>,
    aggregates: Vec<SelectItem>,
    having: Option<Expr>,
}

impl Aggregate {
    fn read(
        table: &mut Table<'_>,
        event_time: Option<&str>,
        mistakes: &mut Mistakes,
    ) -> Option<Aggregate> {
        let window = table.get("window").map(|value| read_window(&value, event_time, mistakes));
        let group_by = table.get("group_by").map(|value| {
            let texts = value.strings(mistakes)?;
            let items: Vec<_> = texts.iter().map(|text| group_item(text, mistakes)).collect();
            items.into_iter().collect::<Option<Vec<_>>>()
        });
        let aggregates = table.get("aggregate").map(|value| columns(Some(value), mistakes));
        let having = table.get("having").and_then(|value| expression(&value, mistakes));
        Some(Aggregate {
            window: flatten(window)?,
            group_by: flatten(group_by)?.unwrap_or_default(),
            aggregates: flatten(aggregates)?.unwrap_or_default(),
            having,
        })
    }

    fn apply(self, input: Input) -> Box<Query> {
        let mut items = Vec::new();
        let relation = match self.window {
            None => input.relation(),
            Some(mut window) => {
                let bounds = [WINDOW_START, WINDOW_END];
                items.extend(bounds.map(|bound| {
                    let bound = Ident::with_span(window.span, bound);
                    SelectItem::UnnamedExpr(Expr::Identifier(bound))
                }));
                if window.kind == Kind::Session {
                    window.keys = self.group_by.iter().filter_map(expr_of).cloned().collect();
                }
                window.of(input.argument(), None)
            }
        };
        items.extend(self.group_by);
        let keys = items.iter().filter_map(expr_of).cloned();
        let group_by = GroupByExpr::Expressions(keys.collect(), Vec::new());
        items.extend(self.aggregates);
        let mut query = select(relation, items);
        let select = select_mut(&mut query);
        select.group_by = group_by;
        select.having = self.having;
        query
    }
}

/// Nothing where nothing was said, and `None` where what was said has mistakes.
fn flatten<T>(said: Option<Option<T>>) -> Option<Option<T>> {
    match said {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// `"origin"` or `"lower(origin) AS o"`.
fn group_item(text: &StringValue<'_>, mistakes: &mut Mistakes) -> Option<SelectItem> {
    let item = report(parse_text(text.sql(), |parser| parser.parse_select_item()), mistakes)?;
    match item {
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. } => Some(item),
        _ => {
            let message = format!("'{}' is nothing to group by", text.text);
            mistakes.push(Diagnostic::error(message, text.span.clone()).help("name a column"));
            None
        }
    }
}

fn expr_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// The column that a step goes by in time.
fn time_of_step(
    named: Option<Value<'_>>,
    event_time: Option<&str>,
    what: &str,
    span: &Span,
    mistakes: &mut Mistakes,
) -> Option<Ident> {
    match (named, event_time) {
        (Some(named), _) => named.string(mistakes).map(|time| ident(time.text, &time.span)),
        (None, Some(event_time)) => Some(ident(event_time, span)),
        (None, None) => {
            let message = format!("{what} has no time to go by: its source has no event time");
            mistakes.push(Diagnostic::error(message, span.clone()).help(
                "give the source event_time = \"column\", or a column such as \
                 ts = { type = \"timestamptz\", from = \"timestamp\" }",
            ));
            None
        }
    }
}

/// The keys that say a window's lengths, in the order of the function's arguments: `hop` and
/// `cumulate` are the size, as `tumble` is.
const WINDOWS: [(Kind, &[&str]); 4] = [
    (Kind::Tumble, &["tumble"]),
    (Kind::Hop, &["slide", "hop"]),
    (Kind::Cumulate, &["step", "cumulate"]),
    (Kind::Session, &["session"]),
];

/// `{ tumble = "1 hour" }`, `{ hop = "1 hour", slide = "10 minutes" }`,
/// `{ cumulate = "1 day", step = "1 hour" }` or `{ session = "30 minutes" }`.
fn read_window(
    value: &Value<'_>,
    event_time: Option<&str>,
    mistakes: &mut Mistakes,
) -> Option<Window> {
    let mut table = value.table(mistakes)?;
    let span = mistakes.span(&value.range);
    let named =
        |(_, keys): &&(Kind, &[&'static str])| keys.last().is_some_and(|key| table.has(key));
    let lengths = match WINDOWS.iter().find(named) {
        Some((kind, keys)) => Some((*kind, read_lengths(&mut table, keys, &span, mistakes))),
        None => {
            let message = "a window needs 'tumble', 'hop', 'cumulate' or 'session'";
            let help = "such as window = { tumble = \"1 hour\" }";
            mistakes.push(Diagnostic::error(message, span.clone()).help(help));
            for key in ["slide", "step"] {
                table.has(key);
            }
            None
        }
    };
    let offset = table.get("offset").map(|offset| (interval(&offset, mistakes), offset.range));
    let time = time_of_step(table.get("time"), event_time, "the window", &span, mistakes);
    table.finish(mistakes);
    let time = time?;
    let (kind, lengths) = lengths?;
    let mut arguments = vec![Expr::Identifier(time)];
    arguments.extend(lengths?);
    if let Some((offset, range)) = offset {
        if kind == Kind::Session {
            let span = mistakes.span(&range);
            mistakes.push(Diagnostic::error("a session has no offset", span));
        }
        arguments.push(offset?);
    }
    let span = sql_span(span.start, span.end);
    Some(Window { kind, arguments, keys: Vec::new(), span })
}

fn read_lengths(
    table: &mut Table<'_>,
    keys: &[&'static str],
    span: &Span,
    mistakes: &mut Mistakes,
) -> Option<Vec<Expr>> {
    let lengths: Vec<Option<Expr>> = keys
        .iter()
        .map(|key| match table.get(key) {
            Some(length) => interval(&length, mistakes),
            None => {
                let message = format!("the window needs '{key}'");
                let help = "hop = \"1 hour\", slide = \"10 minutes\" are windows of an hour, one \
                            each 10 minutes; cumulate = \"1 day\", step = \"1 hour\" a day's, \
                            told each hour";
                mistakes.push(Diagnostic::error(message, span.clone()).help(help));
                None
            }
        })
        .collect();
    lengths.into_iter().collect()
}

/// A duration as the literal that SQL has for it; whole days as days.
fn interval(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Expr> {
    const DAY: Duration = Duration::from_secs(86_400);
    let duration = value.duration(mistakes)?;
    let text = if duration.as_nanos().is_multiple_of(DAY.as_nanos()) {
        format!("{} days", duration.as_secs() / DAY.as_secs())
    } else {
        format!("{} nanoseconds", duration.as_nanos())
    };
    let span = sql_span(value.range.start, value.range.end);
    let text = ast::Value::SingleQuotedString(text).with_span(span);
    Some(Expr::Interval(Interval {
        value: Box::new(Expr::Value(text)),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    }))
}

fn ident(name: &str, span: &Span) -> Ident {
    Ident::with_span(sql_span(span.start, span.end), name)
}

fn wildcard() -> SelectItem {
    SelectItem::Wildcard(ast::WildcardAdditionalOptions::default())
}

fn select_from(input: Input, items: Vec<SelectItem>) -> Box<Query> {
    select(input.relation(), items)
}

fn select(relation: TableFactor, items: Vec<SelectItem>) -> Box<Query> {
    let mut query = bare_query();
    let select = select_mut(&mut query);
    select.projection = items;
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    query
}

/// `SELECT` and nothing else, placed nowhere.
fn bare_query() -> Box<Query> {
    let tokens = vec![Token::make_keyword("SELECT"), Token::Number("1".to_owned(), false)];
    Parser::new(&DIALECT).with_tokens(tokens).parse_query().expect("SELECT 1 is a query")
}

fn select_mut(query: &mut Query) -> &mut ast::Select {
    match query.body.as_mut() {
        SetExpr::Select(select) => select,
        _ => unreachable!("made by bare_query"),
    }
}

/// The query with what it calls `input` put before it.
fn with_input(mut query: Box<Query>, input: Input) -> Box<Query> {
    let defined = match input {
        Input::Source(_) => select_from(input, vec![wildcard()]),
        Input::Steps(steps) => steps,
    };
    let table = ast::Cte {
        alias: input_alias(),
        query: defined,
        from: None,
        materialized: None,
        closing_paren_token: ast::helpers::attached_token::AttachedToken::empty(),
    };
    match &mut query.with {
        Some(with) => with.cte_tables.insert(0, table),
        None => {
            query.with = Some(ast::With {
                with_token: ast::helpers::attached_token::AttachedToken::empty(),
                recursive: false,
                cte_tables: vec![table],
            });
        }
    }
    query
}

fn input_alias() -> ast::TableAlias {
    ast::TableAlias { explicit: true, name: Ident::new(INPUT), columns: Vec::new(), at: None }
}
