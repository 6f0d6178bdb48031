//! SQL over one row at a time: what a SELECT makes of each, whatever columns it comes with.
//!
//! ```text
//! [CREATE FUNCTION f LANGUAGE wasm AS 'file.wasm';]
//! SELECT …, expression AS name FROM record WHERE condition
//!      text ─ RowQuery ─ + columns ─► RowPlan ─ + rows ─► rows
//!             (read once)             (for each shape of rows)
//! ```
//!
//! For rows that nobody declares, such as records on their way through a connector. A row comes
//! out once or not at all, so all that looks at several rows is refused when the text is read:
//! aggregates, windows, joins, ORDER BY.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{Field, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column as ColumnExpr;
use datafusion_physical_expr::utils::collect_columns;
use datafusion_sql::sqlparser::ast::{self, SelectItem, SetExpr, TableFactor, Visit, Visitor};

use super::declared::Declared;
use super::script::{Script, Statement};
use crate::operators::filter_project::{Stage, Step};
use crate::pipeline::draft::DraftSelect;
use crate::pipeline::load::on_deep_stack;
use crate::pipeline::{
    Column, ColumnFrom, Diagnostic, Diagnostics, EventTime, Format, LateRows, OnError, Source,
    SourceKind, Span, Start, Watermark,
};
use crate::plan::context::{Catalog, is_scalar_function};
use crate::plan::lower::load_functions;
use crate::plan::user_functions::Loaded;
use crate::rows::Rows;
use crate::topology::Topology;

/// What FROM calls the rows.
pub const TABLE: &str = "record";

/// A SELECT of rows whose columns are not known yet.
pub struct RowQuery {
    select: DraftSelect,
    /// Functions of its own.
    declared: Declared,
    paths: BTreeSet<Vec<String>>,
}

impl fmt::Debug for RowQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowQuery").field("select", &self.select).finish_non_exhaustive()
    }
}

/// What one does with rows of certain columns.
#[derive(Clone, Debug)]
pub struct RowPlan {
    wanted: Vec<usize>,
    stage: Stage,
    passed: Vec<Option<usize>>,
    computed_with: BTreeSet<usize>,
}

impl RowQuery {
    /// Reads the text; what is wrong with it whatever the columns are, is said here. Files are
    /// relative to the working directory.
    pub fn read(text: &str) -> Result<RowQuery, Diagnostics> {
        RowQuery::read_in(Path::new(""), text)
    }

    /// The same, with files relative to `base`.
    pub fn read_in(base: &Path, text: &str) -> Result<RowQuery, Diagnostics> {
        let script = Script::read(base.join("sql"), text.to_owned())?;
        let (select, functions) = script.into_only_select()?;
        let mut declared = Declared::nothing();
        let read = on_deep_stack(|| {
            let mut mistakes = Vec::new();
            load_functions(&functions, &mut declared.catalog, &mut mistakes);
            let paths = paths(&select, &declared.catalog, &mut mistakes);
            (paths, mistakes)
        });
        let (paths, mistakes) = read?;
        if mistakes.is_empty() {
            Ok(RowQuery { select, declared, paths })
        } else {
            Err(Diagnostics(mistakes))
        }
    }

    /// The fields that it names, each with those it is within first. Where rows come without a
    /// declaration, a field that one of them does not have is NULL, so they are to be added.
    pub fn paths(&self) -> impl Iterator<Item = &[String]> {
        self.paths.iter().map(Vec::as_slice)
    }

    /// Whether it takes all columns that there are.
    pub fn takes_all(&self) -> bool {
        let SetExpr::Select(body) = self.select.query.body.as_ref() else { return false };
        body.projection
            .iter()
            .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)))
    }

    /// Plans it for rows of `schema`; `*` leaves out what is `hidden`.
    pub fn plan(&self, schema: &SchemaRef, hidden: &[&str]) -> Result<RowPlan, Diagnostics> {
        let mut query = self.select.query.clone();
        hide(&mut query, hidden);
        let source = Arc::new(source(schema, &self.select.span));
        let script = Script::of_select(DraftSelect { query, ..self.select.clone() });
        let (statements, _) = script.plan(&self.declared, &[source], Vec::new(), true)?;
        match statements.into_iter().next() {
            Some(Statement::Stream(stream)) => {
                let topology = Topology::new(&stream.query, &stream.sources);
                let topology = topology.map_err(|error| self.refused(error.to_string()))?;
                RowPlan::new(topology).ok_or_else(|| {
                    self.refused("this makes several records of one, or one of several".to_owned())
                })
            }
            _ => Err(self.refused("there is nothing to answer".to_owned())),
        }
    }

    fn refused(&self, message: String) -> Diagnostics {
        Diagnostics(vec![Diagnostic::error(message, self.select.span.clone())])
    }
}

impl RowPlan {
    /// `None` where more than filters and projections would be needed.
    fn new(topology: Topology) -> Option<RowPlan> {
        let [input] = <[_; 1]>::try_from(topology.inputs).ok()?;
        if !topology.nodes.is_empty() || !topology.tables.is_empty() {
            return None;
        }
        let (wanted, stage) = (input.projection, input.stage);
        let mut passed: Vec<Option<usize>> = wanted.iter().copied().map(Some).collect();
        let mut computed_with = BTreeSet::new();
        for step in stage.steps() {
            let mut reads = |expr: &Arc<dyn PhysicalExpr>| {
                let columns = collect_columns(expr);
                computed_with.extend(columns.iter().filter_map(|column| passed[column.index()]));
            };
            match step {
                Step::Filter(condition) => reads(condition),
                Step::Project { exprs, .. } => {
                    exprs.iter().filter(|expr| column(expr).is_none()).for_each(reads);
                    let origin = |expr| column(expr).and_then(|column| passed[column.index()]);
                    passed = exprs.iter().map(origin).collect();
                }
                Step::Join(_) | Step::Unnest(_) | Step::HappensAt(_) => return None,
            }
        }
        Some(RowPlan { wanted, stage, passed, computed_with })
    }

    /// The columns that [`RowPlan::apply`] is to be given, by index into those it was planned for.
    pub fn wanted(&self) -> &[usize] {
        &self.wanted
    }

    /// Of the rows that come out.
    pub fn schema(&self) -> &SchemaRef {
        self.stage.schema()
    }

    /// For each column that comes out: the one it was before, if nothing has been done to it.
    pub fn passed(&self) -> &[Option<usize>] {
        &self.passed
    }

    /// Whether anything is computed with that column; any values of its type do for one that only
    /// passes.
    pub fn computes_with(&self, column: usize) -> bool {
        self.computed_with.contains(&column)
    }

    /// Takes rows of the columns that are [`RowPlan::wanted`] through it.
    pub fn apply(&self, batch: RecordBatch) -> Result<RecordBatch, String> {
        let times = Int64Array::from(vec![0; batch.num_rows()]);
        let applied = self.stage.apply(Rows::new(batch, times), &[]);
        applied.map(|rows| rows.batch).map_err(|error| error.strip_backtrace())
    }
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<&ColumnExpr> {
    expr.downcast_ref()
}

/// What rows that come from nowhere are to the planner.
fn source(schema: &SchemaRef, span: &Span) -> Source {
    let column =
        |field: &Arc<Field>| Column { name: field.name().clone(), from: ColumnFrom::Value };
    Source {
        name: TABLE.to_owned(),
        topic: TABLE.to_owned(),
        kind: SourceKind::Stream,
        format: Format::Json,
        key_format: Format::Raw,
        columns: schema.fields().iter().map(column).collect(),
        schema: schema.clone(),
        event_time: EventTime::Record,
        watermark: Watermark {
            delay: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            future_bound: Duration::ZERO,
            late: LateRows::Drop,
        },
        start: Start::default(),
        on_error: OnError::Fail,
        span: span.clone(),
    }
}

/// Checks that a query is of one row at a time, and finds the fields that it names.
fn paths(
    select: &DraftSelect,
    catalog: &Catalog,
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeSet<Vec<String>> {
    let span = &select.span;
    let mut refuse = |message: &str, help: &str| {
        mistakes.push(Diagnostic::error(message, span.clone()).help(help));
    };
    let form = "write SELECT … FROM record WHERE …";
    let ast::Query { with, body, order_by, limit_clause, fetch, .. } = select.query.as_ref();
    let SetExpr::Select(body) = body.as_ref() else {
        refuse("this is not one SELECT", form);
        return BTreeSet::new();
    };
    let from = match body.from.as_slice() {
        [from] if from.joins.is_empty() => &from.relation,
        _ => {
            refuse("rows are not those of FROM record alone", form);
            return BTreeSet::new();
        }
    };
    let alias = match from {
        TableFactor::Table { name, alias, args: None, .. } if name.to_string() == TABLE => {
            alias.as_ref().map_or(TABLE, |alias| alias.name.value.as_str())
        }
        _ => {
            refuse("FROM names something else than record", form);
            return BTreeSet::new();
        }
    };
    let groups =
        !matches!(&body.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let of_several = with.is_some()
        || order_by.is_some()
        || limit_clause.is_some()
        || fetch.is_some()
        || groups
        || body.having.is_some()
        || body.distinct.is_some()
        || select.emit.is_some();
    if of_several {
        refuse("one record is looked at by itself", PIPELINE);
        return BTreeSet::new();
    }
    let mut named = Named { alias, catalog, paths: BTreeSet::new(), queries: 0, span, mistakes };
    let _ = select.query.visit(&mut named);
    body.projection.iter().for_each(|item| named.excluded(item));
    named.paths
}

const PIPELINE: &str = "what looks at several records is a query of a pipeline";

/// Fields and functions that a query names.
struct Named<'a> {
    /// What columns may be qualified by.
    alias: &'a str,
    catalog: &'a Catalog,
    paths: BTreeSet<Vec<String>>,
    queries: usize,
    span: &'a Span,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl Named<'_> {
    fn add(&mut self, mut path: Vec<String>) {
        if path.len() > 1 && path[0] == self.alias {
            path.remove(0);
        }
        self.paths.insert(path);
    }

    /// Columns that `*` leaves out.
    fn excluded(&mut self, item: &SelectItem) {
        let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
        else {
            return;
        };
        let names = excluded(options);
        self.paths.extend(names.into_iter().map(|name| vec![name]));
    }

    fn refuse(&mut self, message: String, help: &str) {
        self.mistakes.push(Diagnostic::error(message, self.span.clone()).help(help));
    }

    fn function(&mut self, function: &ast::Function) {
        let name = function.name.to_string();
        let lower = name.to_lowercase();
        let of_user = self.catalog.function(&lower);
        let is_of_one = is_scalar_function(&lower) || matches!(of_user, Some(Loaded::Scalar(_)));
        let is_known = self.catalog.function_names().any(|known| known == lower);
        if self.catalog.is_broken_function(&lower) {
            // That is told already.
        } else if matches!(of_user, Some(Loaded::Table(_))) {
            let help = "what makes several records of one is a query of a pipeline";
            self.refuse(format!("{name} makes several records of one"), help);
        } else if function.over.is_some() || !is_of_one && is_known {
            self.refuse(format!("{name} looks at several records"), PIPELINE);
        } else if !is_of_one {
            let message = format!("there is no function '{name}'");
            let mistake = Diagnostic::error(message, self.span.clone());
            self.mistakes.push(mistake.did_you_mean(&lower, self.catalog.function_names()));
        }
    }
}

impl Visitor for Named<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &ast::Query) -> ControlFlow<()> {
        self.queries += 1;
        if self.queries == 2 {
            self.refuse("there is a query within the query".to_owned(), PIPELINE);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        match expr {
            ast::Expr::Identifier(name) => self.add(vec![name.value.clone()]),
            ast::Expr::CompoundIdentifier(names) => {
                self.add(names.iter().map(|name| name.value.clone()).collect());
            }
            ast::Expr::CompoundFieldAccess { root, access_chain } => {
                if let Some(mut path) = names(root) {
                    path.extend(access_chain.iter().map_while(field));
                    self.add(path);
                }
            }
            ast::Expr::Function(function) => self.function(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn names(root: &ast::Expr) -> Option<Vec<String>> {
    match root {
        ast::Expr::Identifier(name) => Some(vec![name.value.clone()]),
        ast::Expr::CompoundIdentifier(names) => {
            Some(names.iter().map(|name| name.value.clone()).collect())
        }
        _ => None,
    }
}

/// The field that `.name` or `['name']` takes.
fn field(access: &ast::AccessExpr) -> Option<String> {
    match access {
        ast::AccessExpr::Dot(ast::Expr::Identifier(name)) => Some(name.value.clone()),
        ast::AccessExpr::Subscript(ast::Subscript::Index { index: ast::Expr::Value(value) }) => {
            value.value.clone().into_string()
        }
        _ => None,
    }
}

/// The columns that a `*` leaves out.
fn excluded(options: &ast::WildcardAdditionalOptions) -> Vec<String> {
    let excepted = options.opt_except.iter().flat_map(|except| {
        std::iter::once(&except.first_element).chain(&except.additional_elements)
    });
    let excluded = match &options.opt_exclude {
        None => &[][..],
        Some(ast::ExcludeSelectItem::Single(name)) => std::slice::from_ref(name),
        Some(ast::ExcludeSelectItem::Multiple(names)) => names,
    };
    let excluded = excluded.iter().flat_map(|name| &name.0).filter_map(|part| part.as_ident());
    excepted.chain(excluded).map(|name| name.value.clone()).collect()
}

/// Has every `*` leave these columns out too.
fn hide(query: &mut ast::Query, hidden: &[&str]) {
    let SetExpr::Select(body) = query.body.as_mut() else { return };
    for item in &mut body.projection {
        let (SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options)) = item
        else {
            continue;
        };
        let mut names = excluded(options);
        names.extend(hidden.iter().map(|name| (*name).to_owned()));
        names.sort();
        names.dedup();
        let names = names.into_iter().map(|name| ast::Ident::with_quote('"', name).into());
        let names: Vec<ast::ObjectName> = names.collect();
        options.opt_except = None;
        options.opt_exclude =
            (!names.is_empty()).then_some(ast::ExcludeSelectItem::Multiple(names));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::util::pretty::pretty_format_batches;
    use expect_test::{Expect, expect};

    use super::*;

    fn batch() -> RecordBatch {
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("name", Arc::new(StringArray::from(vec![Some("ann"), None, Some("bo")]))),
            ("n", Arc::new(Int64Array::from(vec![Some(5), Some(-5), None]))),
            ("_topic", Arc::new(StringArray::from(vec!["t"; 3]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn check(sql: &str, expected: Expect) {
        let text = RowQuery::read(sql).and_then(|query| {
            let batch = batch();
            let plan = query.plan(&batch.schema(), &["_topic"])?;
            let given = batch.project(plan.wanted()).unwrap();
            let rows = plan.apply(given).unwrap();
            let passed =
                plan.passed().iter().map(|from| from.map_or("-".to_owned(), |n| n.to_string()));
            let passed = passed.collect::<Vec<_>>().join(" ");
            Ok(format!("{}\npassed: {passed}\n", pretty_format_batches(&[rows]).unwrap()))
        });
        let text = text.unwrap_or_else(words);
        expected.assert_eq(&text);
    }

    fn words(Diagnostics(mistakes): Diagnostics) -> String {
        let line = |said: &Diagnostic| match &said.help {
            Some(help) => format!("{} ({help})\n", said.message),
            None => format!("{}\n", said.message),
        };
        mistakes.iter().map(line).collect()
    }

    #[test]
    fn rows_are_chosen_and_computed() {
        check(
            "SELECT *, n * 2 AS twice FROM record WHERE id <> 2",
            expect![[r#"
            +----+------+---+-------+
            | id | name | n | twice |
            +----+------+---+-------+
            | 1  | ann  | 5 | 10    |
            | 3  | bo   |   |       |
            +----+------+---+-------+
            passed: 0 1 2 -
        "#]],
        );
        check(
            "SELECT r.id, upper(r.name) AS name, _topic AS t FROM record AS r",
            expect![[r#"
            +----+------+---+
            | id | name | t |
            +----+------+---+
            | 1  | ANN  | t |
            | 2  |      | t |
            | 3  | BO   | t |
            +----+------+---+
            passed: 0 - 3
        "#]],
        );
        check(
            "SELECT * EXCLUDE (name), 1 AS one FROM record WHERE name IS NULL",
            expect![[r#"
            +----+----+-----+
            | id | n  | one |
            +----+----+-----+
            | 2  | -5 | 1   |
            +----+----+-----+
            passed: 0 2 -
        "#]],
        );
        check(
            "SELECT * REPLACE (coalesce(n, 0) AS n) FROM record",
            expect![[r#"
            +----+------+----+
            | id | name | n  |
            +----+------+----+
            | 1  | ann  | 5  |
            | 2  |      | -5 |
            | 3  | bo   | 0  |
            +----+------+----+
            passed: 0 1 -
        "#]],
        );
        check(
            "SELECT 1 AS one FROM record WHERE id = 1",
            expect![[r#"
            +-----+
            | one |
            +-----+
            | 1   |
            +-----+
            passed: -
        "#]],
        );
    }

    #[test]
    fn functions_of_modules_are_called() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../udfs/tests/modules");
        let of = |name: &str| {
            format!("CREATE FUNCTION {name} LANGUAGE wasm AS '{}/kinds.wasm'; ", path.display())
        };
        check(
            &(of("score") + "SELECT id, score(n => n) AS s FROM record WHERE score(id) > 4"),
            expect![[r#"
                +----+-----+
                | id | s   |
                +----+-----+
                | 2  | -14 |
                | 3  |     |
                +----+-----+
                passed: 0 -
            "#]],
        );
        let refused = [
            of("words") + "SELECT words(name) AS w FROM record",
            of("mode") + "SELECT mode(name) AS m FROM record",
            of("score") + "SELECT scor(id) AS s FROM record",
            "CREATE FUNCTION f LANGUAGE wasm AS 'f.wasm'; SELECT f(id) AS s FROM record".to_owned(),
        ];
        let said = refused.map(|sql| words(RowQuery::read(&sql).unwrap_err()));
        expect![[r#"
            words makes several records of one (what makes several records of one is a query of a pipeline)
            mode looks at several records (what looks at several records is a query of a pipeline)
            there is no function 'scor' (did you mean 'score'?)
            cannot read f.wasm: No such file or directory (os error 2) (`millstream udf inspect FILE` shows what a file has)
        "#]].assert_eq(&said.concat());
    }

    #[test]
    fn what_looks_at_several_rows_is_refused_at_once() {
        let refused = [
            "SELECT count(*) FROM record",
            "SELECT id FROM record GROUP BY id",
            "SELECT row_number() OVER () FROM record",
            "SELECT id FROM record ORDER BY id",
            "SELECT id FROM records",
            "SELECT id FROM record, other",
            "SELECT id FROM record WHERE id IN (SELECT 1)",
            "SELECT uper(name) FROM record",
            "SELECT unnest(make_array(1, 2)) FROM record",
            "SELECT id FROM record; SELECT id FROM record",
            "SELECT id FROM",
            "",
        ];
        let said = refused.map(|sql| match RowQuery::read(sql) {
            Ok(query) => panic!("{query:?}"),
            Err(mistakes) => words(mistakes),
        });
        expect![[r#"
            count looks at several records (what looks at several records is a query of a pipeline)
            one record is looked at by itself (what looks at several records is a query of a pipeline)
            row_number looks at several records (what looks at several records is a query of a pipeline)
            one record is looked at by itself (what looks at several records is a query of a pipeline)
            FROM names something else than record (write SELECT … FROM record WHERE …)
            rows are not those of FROM record alone (write SELECT … FROM record WHERE …)
            there is a query within the query (what looks at several records is a query of a pipeline)
            there is no function 'uper' (did you mean 'upper'?)
            there is no function 'unnest'
            this is more than one SELECT (write SELECT … FROM … WHERE … alone, CREATE FUNCTION … before it if need be)
            expected identifier, but the text ends here
            there is nothing to answer (such as SELECT * FROM flights LIMIT 10)
        "#]].assert_eq(&said.concat());
    }

    #[test]
    fn what_is_wrong_with_certain_columns_is_said_of_them() {
        check(
            "SELECT nme FROM record",
            expect![[r#"
            there is no column 'nme' here (did you mean 'name'?)
        "#]],
        );
    }

    #[test]
    fn fields_are_found_wherever_they_are_named() {
        let sql = "SELECT * EXCLUDE (gone), r.a, b.c.d, e['f'].g[1], upper(h) AS i FROM record r
                   WHERE CASE WHEN j IS NULL THEN true ELSE k END";
        let query = RowQuery::read(sql).unwrap();
        let paths: Vec<String> = query.paths().map(|path| path.join(".")).collect();
        expect!["a b.c.d e e.f.g g gone h j k"].assert_eq(&paths.join(" "));
    }
}
