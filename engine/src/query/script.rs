//! SQL that somebody asks, to planned statements.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::Result;
use datafusion_common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource};
use datafusion_sql::sqlparser::ast::{self, Visit, Visitor};

use super::declared::Declared;
use crate::pipeline::draft::{Draft, DraftSelect, Explain, Named};
use crate::pipeline::functions::DraftFunction;
use crate::pipeline::load::on_deep_stack;
use crate::pipeline::{Diagnostic, Diagnostics, Query, Source, SourceFile, Span, sql_file};
use crate::plan::context::Catalog;
use crate::plan::lower::{Meaning, Planning, load_functions, sources_of, to_be_shown};
use crate::plan::streamable::Place;
use crate::plan::window_tables::WindowCall;
use crate::plan::windows::Shape;
use crate::plan::{as_of, group_window};

/// Statements as they were read.
pub struct Script {
    file: Arc<SourceFile>,
    draft: Draft,
    selects: Vec<DraftSelect>,
}

/// A statement, ready to be answered.
pub enum Statement {
    Batch(BatchStatement),
    Stream(StreamStatement),
}

/// What [`Batch::answer`](super::Batch::answer) answers.
pub struct BatchStatement {
    pub plan: LogicalPlan,
    /// Parts of it that only a stream can answer; the plan scans them as [`Streamed`].
    pub parts: Vec<StreamStatement>,
    /// Its rows are lines of a plan.
    pub is_explain: bool,
}

/// The leaf of a plan that stands for a part of it.
pub(super) struct Streamed {
    pub part: usize,
    schema: SchemaRef,
}

impl TableSource for Streamed {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// What [`Runtime::show`](crate::runtime::Runtime::show) runs.
pub struct StreamStatement {
    pub query: Query,
    pub sources: Vec<Arc<Source>>,
}

impl Statement {
    /// The sources that it reads.
    pub fn sources(&self) -> Vec<Arc<Source>> {
        match self {
            Statement::Batch(BatchStatement { plan, parts, .. }) => {
                let mut sources = sources_of(plan);
                sources.extend(parts.iter().flat_map(|part| part.sources.iter().cloned()));
                sources
            }
            Statement::Stream(stream) => stream.sources.clone(),
        }
    }
}

impl Script {
    /// Reads SQL; `path` names it in mistakes.
    pub fn read(path: PathBuf, text: String) -> Result<Script, Diagnostics> {
        let file = Arc::new(SourceFile { path, text });
        let (script, mistakes) = on_deep_stack(|| {
            let mut mistakes = Vec::new();
            let (draft, selects) = sql_file::read_script(&file, &mut mistakes);
            (Script { file: file.clone(), draft, selects }, mistakes)
        })?;
        let mut mistakes = Diagnostics(mistakes);
        mistakes.0.iter_mut().for_each(explain_dash);
        if script.selects.is_empty() && !mistakes.has_errors() {
            let message = "there is nothing to answer";
            let help = "such as SELECT * FROM flights LIMIT 10";
            mistakes.0.push(Diagnostic::error_without_place(message).help(help));
        }
        if mistakes.has_errors() { Err(mistakes) } else { Ok(script) }
    }

    /// Its SELECT, if that and functions for it are all there is.
    pub(super) fn into_only_select(self) -> Result<(DraftSelect, Vec<DraftFunction>), Diagnostics> {
        let Script { draft, mut selects, .. } = self;
        let is_alone = draft.sources.is_empty() && draft.views.is_empty();
        match selects.pop() {
            Some(select) if is_alone && selects.is_empty() && select.explain.is_none() => {
                Ok((select, draft.functions))
            }
            select => {
                let mistake = "this is more than one SELECT".to_owned();
                let mistake = match select {
                    Some(select) => Diagnostic::error(mistake, select.span),
                    None => Diagnostic::error_without_place(mistake),
                };
                let help =
                    "write SELECT … FROM … WHERE … alone, CREATE FUNCTION … before it if need be";
                Err(Diagnostics(vec![mistake.help(help)]))
            }
        }
    }

    /// One that was read before.
    pub(super) fn of_select(select: DraftSelect) -> Script {
        let file = select.span.file.clone();
        let nothing = SourceFile { path: file.path.clone(), text: String::new() };
        let (draft, _) = sql_file::read_script(&Arc::new(nothing), &mut Vec::new());
        Script { file, draft, selects: vec![select] }
    }

    /// Names that it reads and nothing declares: topics, perhaps.
    pub fn undeclared(&self, declared: &Declared) -> Result<BTreeSet<String>, Diagnostics> {
        on_deep_stack(|| {
            let mut names = Names::default();
            let views = self.draft.views.iter().map(|view| &view.query);
            for query in views.chain(self.selects.iter().map(|select| &select.query)) {
                let _ = query.visit(&mut names);
            }
            let own = self.draft.sources.iter().map(|source| &source.name);
            let own = own.chain(self.draft.views.iter().map(|view| &view.name.text));
            let own: BTreeSet<&String> = own.chain(&self.draft.broken).collect();
            let is_free = |name: &String| {
                !own.contains(name)
                    && !names.with.contains(name)
                    && declared.catalog.table(name).is_none()
            };
            names.read.iter().filter(|name| is_free(name)).cloned().collect()
        })
    }

    /// Plans all statements, or says all that is wrong with them. `inferred` are topics that
    /// nothing declares; `topics` are names to suggest. `follow`: as streams.
    pub fn plan(
        self,
        declared: &Declared,
        inferred: &[Arc<Source>],
        topics: Vec<String>,
        follow: bool,
    ) -> Result<(Vec<Statement>, Vec<Diagnostic>), Diagnostics> {
        let (statements, mistakes) = on_deep_stack(|| {
            let mut mistakes = Vec::new();
            let statements = self.planned(declared, inferred, topics, follow, &mut mistakes);
            (statements, mistakes)
        })?;
        let mut mistakes = Diagnostics(mistakes);
        mistakes.0.sort_by_key(|mistake| mistake.span.as_ref().map(|span| span.start));
        mistakes.0.dedup();
        if mistakes.has_errors() { Err(mistakes) } else { Ok((statements, mistakes.0)) }
    }

    fn planned(
        self,
        declared: &Declared,
        inferred: &[Arc<Source>],
        topics: Vec<String>,
        follow: bool,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Vec<Statement> {
        let mut catalog = Catalog::new();
        catalog.add_all(&declared.catalog);
        catalog.suggest(topics);
        let Draft { sources, processing_times, functions, views, mut broken, .. } = self.draft;
        catalog.add_processing_times(processing_times);
        load_functions(&functions, &mut catalog, mistakes);
        inferred.iter().chain(&sources).for_each(|source| catalog.add_source(source));
        let of = if follow { Meaning::Stream } else { Meaning::Batch };
        let mut warnings = Vec::new();
        for view in &views {
            let place = Place { file: &self.file, query: view.name.span.clone() };
            let planning = Planning { place: &place, catalog: &catalog, broken: &broken, of };
            match planning.plan(&view.query, mistakes, &mut warnings) {
                Some(plan) => catalog.add_view(&view.name.text, plan),
                None => broken.push(view.name.text.clone()),
            }
        }
        let mut statements = Vec::new();
        for select in self.selects {
            let place = Place { file: &self.file, query: select.span.clone() };
            let mut asking = Asking { place, catalog: &catalog, broken: &broken, mistakes };
            let statement = match follow {
                true => asking.stream(select, &mut warnings).map(Statement::Stream),
                false => asking.batch(select, &mut warnings),
            };
            statements.extend(statement);
        }
        mistakes.append(&mut warnings);
        statements
    }
}

struct Asking<'a> {
    place: Place<'a>,
    catalog: &'a Catalog,
    broken: &'a [String],
    mistakes: &'a mut Vec<Diagnostic>,
}

impl Asking<'_> {
    fn plan(
        &mut self,
        query: &ast::Query,
        of: Meaning,
        warnings: &mut Vec<Diagnostic>,
    ) -> Option<LogicalPlan> {
        let Asking { place, catalog, broken, .. } = self;
        let planning = Planning { place, catalog, broken, of };
        planning.plan(query, self.mistakes, warnings)
    }

    fn batch(&mut self, select: DraftSelect, warnings: &mut Vec<Diagnostic>) -> Option<Statement> {
        if let Some(emit) = &select.emit {
            let message = "EMIT says when a stream tells its answer, and this is answered once";
            let help = "leave it out, or follow the stream with --follow";
            self.mistakes.push(Diagnostic::error(message, emit.span.clone()).help(help));
            return None;
        }
        let plan = self.plan(&select.query, Meaning::Batch, warnings)?;
        let (plan, parts) = self.apart(plan, &select)?;
        let Some(Explain { analyze, verbose }) = select.explain else {
            return Some(Statement::Batch(BatchStatement { plan, parts, is_explain: false }));
        };
        let explain = LogicalPlanBuilder::from(plan).explain(verbose, analyze);
        match explain.and_then(LogicalPlanBuilder::build) {
            Ok(plan) => Some(Statement::Batch(BatchStatement { plan, parts, is_explain: true })),
            Err(error) => {
                let message = error.strip_backtrace();
                self.mistakes.push(Diagnostic::error(message, select.span));
                None
            }
        }
    }

    /// Takes out of a plan what means nothing to a batch engine: sessions, and joins with tables
    /// as they were. A stream answers it, from the same records.
    fn apart(
        &mut self,
        plan: LogicalPlan,
        select: &DraftSelect,
    ) -> Option<(LogicalPlan, Vec<StreamStatement>)> {
        let before = self.mistakes.len();
        let name = Named { text: "query".to_owned(), span: select.span.clone() };
        let mut parts: Vec<StreamStatement> = Vec::new();
        let parted = plan.transform_down_with_subqueries(|node| {
            if !is_only_a_stream(&node) {
                return Ok(Transformed::no(node));
            }
            let (place, syntax) = (&self.place, &select.query);
            let sources = sources_of(&node);
            let shown = to_be_shown(&name, node.clone(), syntax, None, place, self.mistakes);
            let Some(query) = shown else {
                return Ok(Transformed::new(node, false, TreeNodeRecursion::Stop));
            };
            let scan = streamed(&node, parts.len())?;
            parts.push(StreamStatement { query, sources });
            Ok(Transformed::new(scan, true, TreeNodeRecursion::Jump))
        });
        match parted {
            Ok(parted) if self.mistakes.len() == before => Some((parted.data, parts)),
            Ok(_) => None,
            Err(error) => {
                let message = error.strip_backtrace();
                self.mistakes.push(Diagnostic::error(message, select.span.clone()));
                None
            }
        }
    }

    fn stream(
        &mut self,
        select: DraftSelect,
        warnings: &mut Vec<Diagnostic>,
    ) -> Option<StreamStatement> {
        if select.explain.is_some() {
            let message = "a stream is not explained here";
            let help = "leave out --follow for the plan of a batch query";
            self.mistakes.push(Diagnostic::error(message, select.span).help(help));
            return None;
        }
        let plan = self.plan(&select.query, Meaning::Stream, warnings)?;
        let sources = sources_of(&plan);
        let name = Named { text: "query".to_owned(), span: select.span };
        let emit = select.emit;
        let query = to_be_shown(&name, plan, &select.query, emit, &self.place, self.mistakes)?;
        Some(StreamStatement { query, sources })
    }
}

/// Says of a text that ends at a dash how names with a dash are written: most topics have one.
fn explain_dash(mistake: &mut Diagnostic) {
    let Some(Span { file, start, end }) = &mistake.span else { return };
    let of_name = |character: char| character.is_alphanumeric() || "_-.".contains(character);
    let (before, after) = (&file.text[..*start], &file.text[*start..]);
    if file.text.get(*start..*end) != Some("-") || mistake.help.is_some() {
        return;
    }
    let begin = before.trim_end_matches(of_name).len();
    let rest = after.find(|character| !of_name(character)).unwrap_or(after.len());
    let name = &file.text[begin..start + rest];
    mistake.help = Some(format!("a name with a dash stands in double quotes: \"{name}\""));
}

/// Whether a node of a plan means nothing to a batch engine.
fn is_only_a_stream(node: &LogicalPlan) -> bool {
    match node {
        LogicalPlan::Aggregate(aggregate) => {
            let window = group_window(aggregate);
            matches!(window, Ok(Some(window)) if matches!(window.shape, Shape::Session { .. }))
        }
        LogicalPlan::Join(join) => {
            let conditions = join.filter.iter().flat_map(|filter| split_conjunction(filter));
            conditions.into_iter().any(|condition| as_of::time_of(condition).is_some())
        }
        _ => false,
    }
}

/// A scan that gives the columns of `node`.
fn streamed(node: &LogicalPlan, part: usize) -> Result<LogicalPlan> {
    let schema = node.schema();
    let fields = schema.fields().iter().enumerate();
    let fields = fields
        .map(|(index, field)| Field::new(format!("c{index}"), field.data_type().clone(), true));
    let source = Streamed { part, schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) };
    let scan = LogicalPlanBuilder::scan(format!("part{part}"), Arc::new(source), None)?.build()?;
    let columns = scan.schema().columns().into_iter().zip(schema.iter());
    let columns = columns.map(|(column, (qualifier, field))| {
        Expr::Column(column).alias_qualified(qualifier.cloned(), field.name())
    });
    LogicalPlanBuilder::from(scan).project(columns.collect::<Vec<_>>())?.build()
}

/// Names in FROM.
#[derive(Default)]
struct Names {
    read: BTreeSet<String>,
    /// Those of WITH.
    with: BTreeSet<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with.extend(tables.map(|table| table.alias.name.value.clone()));
        if let ast::SetExpr::Table(table) = query.body.as_ref() {
            self.read.extend(table.table_name.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &ast::TableFactor) -> ControlFlow<()> {
        let windowed =
            WindowCall::of(relation).and_then(|call| call.arguments().ok()?.table().ok());
        if let ast::TableFactor::Table { name, args: None, .. } =
            windowed.as_ref().unwrap_or(relation)
        {
            let parts = name.0.iter().filter_map(|part| part.as_ident());
            let parts: Vec<&str> = parts.map(|part| part.value.as_str()).collect();
            self.read.insert(parts.join("."));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::testing::events;

    fn script(sql: &str) -> Script {
        Script::read("query".into(), sql.to_owned()).unwrap_or_else(|said| panic!("{said:?}"))
    }

    #[test]
    fn names_that_nothing_declares_are_topics_perhaps() {
        let sql = "CREATE VIEW v AS SELECT * FROM of_view;
                   WITH c AS (SELECT * FROM of_with)
                   SELECT (SELECT max(x) FROM of_value) FROM a.b JOIN v ON true JOIN c ON true
                   WHERE x IN (SELECT y FROM of_set);
                   SELECT * FROM TUMBLE(of_window, ts, INTERVAL '1' HOUR), generate_series(1, 2)";
        let names = script(sql).undeclared(&Declared::nothing()).unwrap();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let expected = ["a.b", "of_set", "of_value", "of_view", "of_window", "of_with"];
        assert_eq!(names, expected);
    }

    fn check(sql: &str, follow: bool, expected: Expect) {
        let source = Arc::new(events("a"));
        let planned = script(sql).plan(&Declared::nothing(), &[source], Vec::new(), follow);
        let text = match planned {
            Ok((statements, _)) => statements.iter().map(shown).collect::<String>(),
            Err(mistakes) => mistakes.0.iter().map(|said| format!("{}\n", said.message)).collect(),
        };
        expected.assert_eq(&text);
    }

    fn shown(statement: &Statement) -> String {
        match statement {
            Statement::Batch(BatchStatement { plan, parts, .. }) => {
                let parts = parts.iter().map(|part| part.query.plan.display_indent().to_string());
                let parts = parts.map(|part| format!("streamed:\n{part}\n")).collect::<String>();
                format!("{}\n{parts}", plan.display_indent())
            }
            Statement::Stream(stream) => format!("{}\n", stream.query.plan.display_indent()),
        }
    }

    #[test]
    fn only_what_batch_cannot_say_is_streamed() {
        check(
            "SELECT count(*) AS n FROM a ORDER BY n LIMIT 1",
            false,
            expect![[r#"
            Limit: skip=0, fetch=1
              Sort: n ASC NULLS LAST
                Projection: count(Int64(1)) AS count(*) AS n
                  Aggregate: groupBy=[[]], aggr=[[count(Int64(1))]]
                    TableScan: a
        "#]],
        );
        check(
            "SELECT key, max(n) AS most FROM (
               SELECT key, window_start, count(*) AS n
               FROM SESSION(a PARTITION BY key, ts, INTERVAL '1' HOUR)
               GROUP BY key, window_start, window_end)
             GROUP BY key ORDER BY most",
            false,
            expect![[r#"
                Sort: most ASC NULLS LAST
                  Projection: a.key, max(n) AS most
                    Aggregate: groupBy=[[a.key]], aggr=[[max(n)]]
                      Projection: a.key, window_start, count(Int64(1)) AS count(*) AS n
                        Projection: part0.c0 AS key, part0.c1 AS window_start, part0.c2 AS window_end, part0.c3 AS count(Int64(1))
                          TableScan: part0
                streamed:
                Aggregate: groupBy=[[a.key, window_start, window_end]], aggr=[[count(Int64(1))]]
                  Projection: a.key, session_start(a.ts, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"), a.key) AS window_start, session_end(a.ts, IntervalMonthDayNano("IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 3600000000000 }"), a.key) AS window_end
                    TableScan: a projection=[ts, key]
            "#]],
        );
    }

    #[test]
    fn mistakes_are_those_of_what_was_asked() {
        check(
            "SELECT key FROM a ORDER BY key",
            true,
            expect![[r#"
            ORDER BY cannot run as a stream: there is no end at which rows could be sorted
        "#]],
        );
        check(
            "SELECT key FROM a EMIT CHANGES",
            false,
            expect![[r#"
            EMIT says when a stream tells its answer, and this is answered once
        "#]],
        );
        check(
            "SELECT kye FROM a; SELECT nope(n) FROM a",
            false,
            expect![[r#"
            there is no column 'kye' here
            there is no function 'nope'
        "#]],
        );
    }
}
