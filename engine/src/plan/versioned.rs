//! Views that are tables with versions, as Flink has them: of each key the latest row of a stream.
//!
//! ```text
//! CREATE VIEW rates AS SELECT currency, rate, ts FROM (
//!   SELECT *, ROW_NUMBER() OVER (PARTITION BY currency ORDER BY ts DESC) AS n FROM history)
//! WHERE n = 1
//! ```
//!
//! Where a stream is joined with one `FOR SYSTEM_TIME AS OF`, its topic is read as a table of that
//! key is: each row is what the key was from its event time on. Elsewhere the view is what it says.

use std::sync::Arc;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArguments, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, WindowType,
};

use super::context::Catalog;
use crate::pipeline::{Column, ColumnFrom, EventTime, Format, OnError, Source, SourceKind};

/// What a table of the view's rows reads, if it is such a view.
pub(crate) fn source_of(name: &str, view: &Query, catalog: &Catalog) -> Option<Source> {
    let outer = select_of(view)?;
    let Some(TableFactor::Derived { subquery, .. }) = only_relation(outer) else { return None };
    let inner = select_of(subquery)?;
    let Some(TableFactor::Table { name: of, .. }) = only_relation(inner) else { return None };
    let stream = catalog.source(&of.0.last()?.as_ident()?.value)?;
    let (number, ranked) = inner.projection.iter().find_map(ranking)?;
    let (key, time) = latest_by(ranked)?;
    let is_whole = inner.selection.is_none() && selects_columns(&inner.projection, ranked);
    let is_of_events = matches!(stream.kind, SourceKind::Stream)
        && event_time_name(stream) == Some(time)
        && !matches!(stream.on_error, OnError::DeadLetter { .. });
    let is_first = outer.selection.as_ref().is_some_and(|of| is_first(of, number));
    if !(is_whole && is_of_events && is_first) {
        return None;
    }
    let named = outer.projection.iter().map(|item| match item {
        SelectItem::UnnamedExpr(expr) => column_name(expr),
        _ => None,
    });
    let names: Vec<&str> = named.collect::<Option<_>>()?;
    table(name, stream, &names, &key)
}

fn select_of(query: &Query) -> Option<&Select> {
    let is_plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    match query.body.as_ref() {
        SetExpr::Select(select) if is_plain && select.having.is_none() => Some(select),
        _ => None,
    }
}

fn only_relation(select: &Select) -> Option<&TableFactor> {
    match select.from.as_slice() {
        [only] if only.joins.is_empty() => Some(&only.relation),
        _ => None,
    }
}

/// `ROW_NUMBER() OVER (…) AS n`.
fn ranking(item: &SelectItem) -> Option<(&str, &Function)> {
    match item {
        SelectItem::ExprWithAlias { expr: Expr::Function(function), alias }
            if function.name.to_string().eq_ignore_ascii_case("row_number") =>
        {
            Some((&alias.value, function))
        }
        _ => None,
    }
}

/// The columns that it partitions by, and the one whose latest comes first.
fn latest_by(ranked: &Function) -> Option<(Vec<&str>, &str)> {
    let Some(WindowType::WindowSpec(over)) = &ranked.over else { return None };
    let FunctionArguments::List(arguments) = &ranked.args else { return None };
    let key: Vec<&str> = over.partition_by.iter().map(column_name).collect::<Option<_>>()?;
    let [latest] = over.order_by.as_slice() else { return None };
    let is_fine = arguments.args.is_empty() && !key.is_empty() && over.window_frame.is_none();
    let descends = latest.options.asc == Some(false) && latest.with_fill.is_none();
    Some((key, column_name(&latest.expr).filter(|_| is_fine && descends)?))
}

/// Whether all else that is selected are columns as they are.
fn selects_columns(items: &[SelectItem], ranked: &Function) -> bool {
    items.iter().all(|item| match item {
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => true,
        SelectItem::UnnamedExpr(expr) => column_name(expr).is_some(),
        other => ranking(other).is_some_and(|(_, function)| std::ptr::eq(function, ranked)),
    })
}

fn is_first(condition: &Expr, number: &str) -> bool {
    let is_one = |expr: &Expr| {
        matches!(expr, Expr::Value(value)
        if matches!(&value.value, Value::Number(one, _) if one == "1"))
    };
    match condition {
        Expr::Nested(of) => is_first(of, number),
        Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::LtEq, right } => {
            column_name(left) == Some(number) && is_one(right)
        }
        _ => false,
    }
}

fn column_name(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Identifier(name) => Some(&name.value),
        Expr::CompoundIdentifier(names) if names.len() == 2 => Some(&names[1].value),
        _ => None,
    }
}

fn event_time_name(stream: &Source) -> Option<&str> {
    let index = match stream.event_time {
        EventTime::Column(index) => Some(index),
        EventTime::Record => {
            stream.columns.iter().position(|column| column.from == ColumnFrom::Timestamp)
        }
    };
    index.map(|index| stream.columns[index].name.as_str())
}

/// The stream as a table of these columns. What others are computed of is behind them.
fn table(view: &str, stream: &Source, names: &[&str], key: &[&str]) -> Option<Source> {
    let place = |name: &str| stream.columns.iter().position(|column| column.name == name);
    let mut columns: Vec<usize> = names.iter().map(|name| place(name)).collect::<Option<_>>()?;
    // Fields of CSV go by their place among all columns.
    let is_csv = |format: &Format| matches!(format, Format::Csv(_));
    if is_csv(&stream.format) || is_csv(&stream.key_format) {
        columns = (0..stream.columns.len()).collect();
    }
    let is_computed = |&at: &usize| matches!(stream.columns[at].from, ColumnFrom::Computed(_));
    if columns.iter().any(is_computed) {
        let rest = (0..stream.columns.len()).filter(|at| !columns.contains(at));
        columns.extend(rest.collect::<Vec<_>>());
    }
    let is_held = |at: &usize| !is_computed(at);
    let new = |old: usize| columns.iter().position(|at| *at == old);
    let key = key.iter().map(|name| new(place(name).filter(is_held)?)).collect::<Option<Vec<_>>>();
    let event_time = match stream.event_time {
        EventTime::Record => EventTime::Record,
        EventTime::Column(index) => EventTime::Column(new(index)?),
    };
    let column = |&at: &usize| {
        let Column { name, from } = &stream.columns[at];
        Column { name: name.clone(), from: from.clone() }
    };
    Some(Source {
        name: format!("{view} AS OF"),
        kind: SourceKind::Table { key: key? },
        columns: columns.iter().map(column).collect(),
        schema: Arc::new(stream.schema.project(&columns).ok()?),
        event_time,
        ..stream.clone()
    })
}
