//! Which relations meet: a stream may be joined with tables, by columns that are equal.

use std::ops::ControlFlow;

use datafusion_common::JoinType;
use datafusion_expr::{Join, LogicalPlan};
use datafusion_sql::sqlparser::ast::{Query, Select, Spanned, TableFactor, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::context::SourceTable;
use super::streamable::Place;
use crate::pipeline::{Diagnostic, SourceKind};

/// What a part of a plan gives.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gives {
    /// Rows that are added.
    Stream,
    /// Rows that are replaced and deleted; the name of the table.
    Table(String),
}

/// Says what cannot run as a stream: tables by themselves, and joins other than of a stream with a
/// table.
pub(crate) fn check(
    plan: &LogicalPlan,
    query: &Query,
    place: &Place<'_>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let mut check = Check { found: Vec::new() };
    if let Gives::Table(name) = check.plan(plan) {
        check.alone(&name);
    }
    let relations = Relations::of(query);
    for (message, help, at) in check.found {
        let span = match at {
            At::Join => only(&relations.joined),
            At::Table(name) => {
                let named = relations.named.iter().filter(|(other, _)| *other == name);
                only(&named.map(|(_, span)| *span).collect::<Vec<_>>())
            }
        };
        let span = span.map_or(place.query.clone(), |span| place.at(span));
        mistakes.push(Diagnostic::error(message, span).help(help));
    }
}

/// Where a mistake is, as far as the plan tells.
enum At {
    Join,
    Table(String),
}

struct Check {
    found: Vec<(String, &'static str, At)>,
}

impl Check {
    fn plan(&mut self, plan: &LogicalPlan) -> Gives {
        match plan {
            LogicalPlan::TableScan(scan) => match scan.source.downcast_ref::<SourceTable>() {
                Some(SourceTable(source)) if source.kind != SourceKind::Stream => {
                    Gives::Table(source.name.clone())
                }
                _ => Gives::Stream,
            },
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
                self.plan(plan.inputs()[0])
            }
            LogicalPlan::Join(join) => self.join(join),
            _ => {
                for input in plan.inputs() {
                    if let Gives::Table(name) = self.plan(input) {
                        self.alone(&name);
                    }
                }
                Gives::Stream
            }
        }
    }

    fn alone(&mut self, name: &str) {
        let message = format!(
            "'{name}' is a table: its rows are replaced and deleted, and cannot be read as a stream"
        );
        let help = "join a stream with it, or declare it without a key to read its records";
        self.found.push((message, help, At::Table(name.to_owned())));
    }

    fn join(&mut self, join: &Join) -> Gives {
        let sides = (self.plan(&join.left), self.plan(&join.right));
        let table_first = match sides {
            (Gives::Stream, Gives::Table(_)) => false,
            (Gives::Table(_), Gives::Stream) => true,
            (Gives::Stream, Gives::Stream) => {
                let message = "a join of two streams is not there yet";
                let help = "declare one of them as a table, with its key: the latest row of each \
                            key is then what the other meets";
                self.found.push((message.to_owned(), help, At::Join));
                return Gives::Stream;
            }
            (Gives::Table(_), Gives::Table(_)) => {
                let message = "a join of two tables is not there yet";
                let help = "join a stream with each of them";
                self.found.push((message.to_owned(), help, At::Join));
                return Gives::Stream;
            }
        };
        let keeps_stream = match join.join_type {
            JoinType::Inner => true,
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti => !table_first,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti => table_first,
            _ => false,
        };
        if !keeps_stream {
            let message = "rows of a table that nothing meets can never come out: there is no end \
                           at which that is known";
            let help = "keep the rows of the stream: stream LEFT JOIN table, or an inner join";
            self.found.push((message.to_owned(), help, At::Join));
        } else if join.on.is_empty() {
            let message = "a join needs columns that are equal: else every row meets every other";
            let help = "such as JOIN airports ON flights.dest = airports.faa";
            self.found.push((message.to_owned(), help, At::Join));
        }
        Gives::Stream
    }
}

/// Relations as they stand in the query.
#[derive(Default)]
struct Relations {
    /// What is joined to something before it.
    joined: Vec<SqlSpan>,
    named: Vec<(String, SqlSpan)>,
}

impl Relations {
    fn of(query: &Query) -> Relations {
        let mut relations = Relations::default();
        let _ = query.visit(&mut relations);
        relations
    }
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let joins = select.from.iter().flat_map(|from| &from.joins);
        self.joined.extend(joins.map(|join| join.relation.span()));
        let listed = select.from.iter().skip(1);
        self.joined.extend(listed.map(|from| from.relation.span()));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = relation
            && let Some(ident) = name.0.last().and_then(|part| part.as_ident())
        {
            self.named.push((ident.value.clone(), ident.span));
        }
        ControlFlow::Continue(())
    }
}

/// A place is named only where there is no doubt.
fn only(spans: &[SqlSpan]) -> Option<SqlSpan> {
    match spans {
        [only] => Some(*only),
        _ => None,
    }
}
