//! Whether a window goes by the event time of the sources beneath it: by nothing else does the
//! watermark say when it is complete.

use std::ops::ControlFlow;

use datafusion_common::Column;
use datafusion_expr::{Aggregate, Expr, LogicalPlan};
use datafusion_sql::sqlparser::ast::{Query, Select, Spanned, TableFactor, Visit, Visitor};

use super::joins::SourceOf;
use super::streamable::Place;
use super::windows::{Bound, GroupWindow, trace, window_bound, window_times};
use crate::describe::Words;
use crate::pipeline::{Source, SourceKind, Span};

/// Message and help if a source's rows are put into windows by another time than their own.
pub(crate) fn check(
    aggregate: &Aggregate,
    window: &GroupWindow,
    source_of: SourceOf<'_>,
) -> Option<(String, String)> {
    let times = window_times(aggregate, window);
    if times.is_empty() {
        return Some(not_event_time(&window.time.name));
    }
    times.iter().find_map(|time| check_column(&time.expr, time.input, source_of))
}

fn check_column(
    time: &Expr,
    input: &LogicalPlan,
    source_of: SourceOf<'_>,
) -> Option<(String, String)> {
    let traced = trace(time, input);
    // What comes out of a window has its end as event time, less 1 ms.
    if let Some(window) = window_bound(&traced)
        && matches!(window.bound, Bound::End | Bound::Time)
    {
        let mut times = window.times.iter();
        return times.find_map(|time| check_column(&time.expr, time.input, source_of));
    }
    let Expr::Column(column) = &traced.expr else {
        return Some(not_event_time(&Words::new(input).expr(time)));
    };
    match traced.input {
        LogicalPlan::TableScan(scan) => {
            let Some(source) = source_of(scan) else {
                return Some(not_event_time(&column.name));
            };
            check_source(&source, column)
        }
        LogicalPlan::Union(union) => {
            let index = union.schema.maybe_index_of_column(column)?;
            union.inputs.iter().find_map(|input| {
                let column = input.schema().columns().into_iter().nth(index)?;
                check_column(&Expr::Column(column), input, source_of)
            })
        }
        _ => Some(not_event_time(&column.name)),
    }
}

fn check_source(source: &Source, column: &Column) -> Option<(String, String)> {
    if let SourceKind::Table { .. } = source.kind {
        return Some((
            format!(
                "the window goes by '{}', a time of the table '{}', whose rows stay and change",
                column.name, source.name
            ),
            format!(
                "window by the event time of a stream; GROUP BY date_bin(INTERVAL '1 minute', {}) \
                 counts rows of a table, as an answer that is updated",
                column.name
            ),
        ));
    }
    match source.event_time_column().map(|index| &source.columns[index].name) {
        Some(event_time) if *event_time == column.name => None,
        Some(event_time) => Some((
            format!(
                "the window goes by '{}', and the event time of '{}' is '{event_time}'",
                column.name, source.name
            ),
            format!("window by '{event_time}', or declare '{}' as event time", column.name),
        )),
        None => Some((
            format!(
                "the window goes by '{}', and the event time of '{}' is the record's timestamp",
                column.name, source.name
            ),
            format!("declare '{}' as the event time of '{}'", column.name, source.name),
        )),
    }
}

fn not_event_time(time: &str) -> (String, String) {
    (
        format!("the window goes by '{time}', which is not the event time of a source"),
        "window by the event-time column of the source as it is".to_owned(),
    )
}

/// Where the query's only window stands: in FROM, or in GROUP BY.
pub(crate) fn window_span(query: &Query, place: &Place<'_>) -> Option<Span> {
    struct Windows(Vec<datafusion_sql::sqlparser::tokenizer::Span>);
    impl Visitor for Windows {
        type Break = ();
        fn pre_visit_table_factor(&mut self, relation: &TableFactor) -> ControlFlow<()> {
            if super::window_tables::WindowCall::of(relation).is_some() {
                self.0.push(relation.span());
            }
            ControlFlow::Continue(())
        }
        fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
            self.0.extend(super::group_windows::call_span(select));
            ControlFlow::Continue(())
        }
    }
    let mut windows = Windows(Vec::new());
    let _ = query.visit(&mut windows);
    match windows.0.as_slice() {
        [only] => Some(place.at(*only)),
        _ => None,
    }
}
