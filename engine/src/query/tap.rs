//! A pipeline cut at one of its steps: what passes there, asked as a stream of its own.
//!
//! ```text
//! source                      its records, decoded
//! view                        of a SQL file
//! query                       its whole answer
//! query.2, query.window       a query of steps, up to that one
//! query.where, query.group    a query of SQL, up to that clause
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use datafusion_expr::LogicalPlan;
use datafusion_sql::sqlparser::ast::{self, SetExpr};

use super::clauses::{Clause, clauses};
use super::declared::Declared;
use super::script::StreamStatement;
use crate::pipeline::draft::Named;
use crate::pipeline::load::on_deep_stack;
use crate::pipeline::tokens::{Offsets, Text, parse_expr, parse_text};
use crate::pipeline::{Diagnostic, Diagnostics, Query, SourceFile, Span};
use crate::plan::SourceTable;
use crate::plan::context::Catalog;
use crate::plan::lower::{Meaning, Planning, sources_of, to_be_shown};
use crate::plan::streamable::Place;

/// What a condition calls the rows that pass.
const STEP: &str = "step";

/// A place where rows pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// What it is found by.
    pub name: String,
    pub kind: PointKind,
    /// Another name of it.
    pub also: Option<String>,
    /// The clause, as SQL.
    pub text: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointKind {
    Source,
    View,
    Step,
    Clause,
    Query,
}

impl Declared {
    /// All places where rows pass, in the order of the files.
    pub fn points(&self) -> Vec<Point> {
        let mut points = Vec::new();
        let mut push =
            |name: String, kind, also| points.push(Point { name, kind, also, text: None });
        for pipeline in &self.pipelines {
            for source in &pipeline.sources {
                push(source.name.clone(), PointKind::Source, None);
            }
        }
        for name in &self.views {
            push(name.clone(), PointKind::View, None);
        }
        for query in self.pipelines.iter().flat_map(|pipeline| &pipeline.queries) {
            let mut push =
                |name: String, kind, also| points.push(Point { name, kind, also, text: None });
            let steps = || self.steps.iter().filter(|step| step.query == query.name);
            for (index, step) in steps().enumerate() {
                let by_kind = format!("{}.{}", query.name, step.kind);
                let alone = steps().filter(|other| other.kind == step.kind).count() == 1;
                let by_number = format!("{}.{}", query.name, index + 1);
                match alone {
                    true => push(by_kind, PointKind::Step, Some(by_number)),
                    false => push(by_number, PointKind::Step, None),
                }
            }
            if steps().next().is_none() {
                points.extend(clauses(&query.plan).into_iter().map(|clause| Point {
                    name: format!("{}.{}", query.name, clause.name),
                    kind: PointKind::Clause,
                    also: None,
                    text: Some(clause.text),
                }));
            }
            let (name, kind) = (query.name.clone(), PointKind::Query);
            points.push(Point { name, kind, also: None, text: None });
        }
        points
    }

    /// What passes at `name`, of that only what `condition` holds for.
    pub fn tap(&self, name: &str, condition: Option<&str>) -> Result<StreamStatement, Diagnostics> {
        let (tapped, mistakes) = on_deep_stack(|| {
            let mut mistakes = Vec::new();
            let tapped = self.tapped(name, &mut mistakes).and_then(|query| match condition {
                None => Some(query),
                Some(condition) => self.filtered(query, condition, &mut mistakes),
            });
            (tapped, mistakes)
        })?;
        let query = tapped.ok_or(Diagnostics(mistakes))?;
        let sources = sources_of(&query.plan);
        Ok(StreamStatement { query, sources })
    }

    fn tapped(&self, name: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Query> {
        if let Some(query) = self.query_named(name) {
            let sink = crate::plan::lower::shown_sink();
            return Some(Query { sink, ..query.clone() });
        }
        let points = self.points();
        let is_meant = |point: &&Point| point.name == name || point.also.as_deref() == Some(name);
        let Some(point) = points.iter().find(is_meant) else {
            let message = format!("there is no source, view, query or step '{name}'");
            let names = points.iter().map(|point| point.name.as_str());
            let mistake = Diagnostic::error_without_place(message);
            mistakes.push(mistake.did_you_mean(name, names));
            return None;
        };
        match point.kind {
            PointKind::Source => {
                let source = self.catalog.source(&point.name)?;
                let plan = SourceTable::scan(source).ok()?;
                let syntax = wildcard_of(&point.name)?;
                self.shown(plan, &source.span, &syntax, mistakes)
            }
            PointKind::View | PointKind::Query => {
                let (file, syntax) = (self.own_file(), wildcard_of(&point.name)?);
                let place =
                    Place { query: Span { file: file.clone(), start: 0, end: 0 }, file: &file };
                let plan = self.planned(&syntax, &place, &self.catalog, mistakes)?;
                self.shown(plan, &place.query, &syntax, mistakes)
            }
            PointKind::Clause => {
                let (query, clause) = self.clause(&point.name)?;
                let syntax = wildcard_of(STEP)?;
                let shown = self.shown(clause.plan, &query.span, &syntax, mistakes)?;
                Some(Query { emit: query.emit, state_ttl: query.state_ttl, ..shown })
            }
            PointKind::Step => {
                let step = self.steps.iter().enumerate().find(|(at, _)| {
                    let (by_number, by_kind) = self.step_names(*at);
                    [by_number, by_kind].contains(&point.name)
                });
                let (_, step) = step?;
                let place = Place { file: &step.span.file, query: step.span.clone() };
                let plan = self.planned(&step.upto, &place, &self.catalog, mistakes)?;
                self.shown(plan, &step.span, &step.upto, mistakes)
            }
        }
    }

    fn query_named(&self, name: &str) -> Option<&Query> {
        let mut queries = self.pipelines.iter().flat_map(|pipeline| &pipeline.queries);
        queries.find(|query| query.name == name)
    }

    /// A clause by `query.name`: the name of a query may have dots.
    fn clause(&self, name: &str) -> Option<(&Query, Clause)> {
        let (query, clause) = name.rsplit_once('.')?;
        let query = self.query_named(query)?;
        let found = clauses(&query.plan).into_iter().find(|of| of.name == clause)?;
        Some((query, found))
    }

    /// A step by its number in the query, and by what it does.
    fn step_names(&self, at: usize) -> (String, String) {
        let step = &self.steps[at];
        let before = self.steps[..at].iter().filter(|other| other.query == step.query).count();
        (format!("{}.{}", step.query, before + 1), format!("{}.{}", step.query, step.kind))
    }

    fn own_file(&self) -> Arc<SourceFile> {
        let path = self.pipelines.first().map_or_else(PathBuf::new, |first| first.path.clone());
        Arc::new(SourceFile { path, text: String::new() })
    }

    fn planned(
        &self,
        syntax: &ast::Query,
        place: &Place<'_>,
        catalog: &Catalog,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<LogicalPlan> {
        let planning = Planning { place, catalog, broken: &[], of: Meaning::Stream };
        planning.plan(syntax, mistakes, &mut Vec::new())
    }

    fn shown(
        &self,
        plan: LogicalPlan,
        span: &Span,
        syntax: &ast::Query,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Query> {
        let place = Place { file: &span.file, query: span.clone() };
        let name = Named { text: STEP.to_owned(), span: span.clone() };
        to_be_shown(&name, plan, syntax, None, &place, mistakes)
    }

    /// The rows of a query that a condition holds for.
    fn filtered(
        &self,
        query: Query,
        condition: &str,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Query> {
        let file = SourceFile { path: "--where".into(), text: condition.to_owned() };
        let file = Arc::new(file);
        let text = Text { file: &file, sql: condition, offsets: Offsets::From(0) };
        let parsed = parse_expr(text).map_err(|mistake| mistakes.push(mistake)).ok()?;
        let mut syntax = wildcard_of(STEP)?;
        if let SetExpr::Select(select) = syntax.body.as_mut() {
            select.selection = Some(parsed);
        }
        let mut catalog = Catalog::new();
        let emit = query.emit;
        catalog.add_view(STEP, query.plan);
        let place = Place { file: &file, query: text.span() };
        let plan = self.planned(&syntax, &place, &catalog, mistakes)?;
        let shown = self.shown(plan, &text.span(), &syntax, mistakes)?;
        Some(Query { emit, ..shown })
    }
}

/// `SELECT * FROM name`.
fn wildcard_of(name: &str) -> Option<Box<ast::Query>> {
    let sql = format!("SELECT * FROM \"{}\"", name.replace('"', "\"\""));
    let file = Arc::new(SourceFile { path: PathBuf::new(), text: String::new() });
    let text = Text { file: &file, sql: &sql, offsets: Offsets::From(0) };
    parse_text(text, |parser| parser.parse_query()).ok()
}
