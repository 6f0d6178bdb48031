//! The clauses of a SQL query, each as a place where rows pass.
//!
//! ```text
//! totals.join      FROM orders JOIN customers ON …
//! totals.where     WHERE amount > 100
//! totals.group     GROUP BY customer: all columns that the query needs of it
//! totals           SELECT …
//! ```
//!
//! They are those of the plan that runs, in the order in which rows pass: of a condition that the
//! optimizer splits or moves there is more than one, or an earlier one. Those of views are among
//! them, since a view is part of each query that reads it.

use std::collections::BTreeMap;

use datafusion_common::tree_node::TreeNode;
use datafusion_expr::{Expr, LogicalPlan, Projection};

use crate::describe::clause_text;
use crate::describe::words::Words;
use crate::plan::windows::is_list_of_windows;

/// One of them.
pub(super) struct Clause {
    /// `where`, or `where-2` if there are several.
    pub name: String,
    /// As SQL.
    pub text: String,
    /// What passes, as a query of its own.
    pub plan: LogicalPlan,
}

/// All clauses of a planned query.
pub(super) fn clauses(plan: &LogicalPlan) -> Vec<Clause> {
    let words = Words::new(plan);
    let mut nodes = Vec::new();
    collect(plan, false, &mut nodes);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut clauses = Vec::new();
    for node in nodes {
        let Some(kind) = kind_of(node) else { continue };
        let Some(plan) = selected(node, &words) else { continue };
        let number = seen.entry(kind).or_default();
        *number += 1;
        let name = match *number {
            1 => kind.to_owned(),
            number => format!("{kind}-{number}"),
        };
        clauses.push(Clause { name, text: clause_text(node, &words), plan });
    }
    clauses
}

/// All nodes, inputs first. What is computed over rows and then filtered is one with the filter:
/// of a ranking without its limit nothing could be told.
fn collect<'p>(plan: &'p LogicalPlan, filtered: bool, into: &mut Vec<&'p LogicalPlan>) {
    let filtered_below = match plan {
        LogicalPlan::Filter(_) => true,
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => filtered,
        _ => false,
    };
    for input in plan.inputs() {
        collect(input, filtered_below, into);
    }
    if !(filtered && matches!(plan, LogicalPlan::Window(_))) {
        into.push(plan);
    }
}

fn kind_of(node: &LogicalPlan) -> Option<&'static str> {
    Some(match node {
        LogicalPlan::TableScan(scan) if !scan.filters.is_empty() => "where",
        LogicalPlan::Filter(filter) => match below(&filter.input) {
            LogicalPlan::Aggregate(_) => "having",
            LogicalPlan::Window(_) => "qualify",
            _ => "where",
        },
        LogicalPlan::Join(_) => "join",
        LogicalPlan::Aggregate(_) => "group",
        LogicalPlan::Window(_) => "over",
        LogicalPlan::Unnest(unnest) if !gives_windows(&unnest.input) => "unnest",
        LogicalPlan::Union(_) => "union",
        LogicalPlan::Distinct(_) => "distinct",
        _ => return None,
    })
}

/// Whether the lists are of the windows that rows lie in.
fn gives_windows(plan: &LogicalPlan) -> bool {
    let is_list = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => is_list_of_windows(&call.func),
        _ => false,
    };
    plan.expressions().iter().any(|expr| expr.exists(|part| Ok(is_list(part))).unwrap_or(false))
}

fn below(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Projection(projection) => below(&projection.input),
        other => other,
    }
}

/// A node's columns with names that tell them apart.
fn selected(node: &LogicalPlan, words: &Words) -> Option<LogicalPlan> {
    let columns = node.schema().columns();
    let mut taken: Vec<String> = Vec::new();
    let mut exprs = Vec::new();
    for column in columns {
        let plain = match column.name.contains('(') {
            true => words.name(&column.name),
            false => column.name.clone(),
        };
        let relation = column.relation.as_ref().map(|relation| relation.table().to_owned());
        let qualified = relation.map(|relation| format!("{relation}.{plain}"));
        let numbered = (2..).map(|number| format!("{plain}_{number}"));
        let mut names = std::iter::once(plain.clone()).chain(qualified).chain(numbered);
        let name = names.find(|name| !taken.contains(name))?;
        taken.push(name.clone());
        exprs.push(Expr::Column(column).alias(name));
    }
    let projection = Projection::try_new(exprs, node.clone().into()).ok()?;
    Some(LogicalPlan::Projection(projection))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use expect_test::expect;

    use crate::query::{Declared, PointKind};

    fn files(dir: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let is_sql = |path: &PathBuf| path.extension().is_some_and(|of| of == "sql");
        let mut files: Vec<PathBuf> = entries.filter(is_sql).collect();
        files.sort();
        files
    }

    /// The clauses of these queries, as they are listed.
    fn listed(declared: &Declared) -> String {
        let points = declared.points().into_iter();
        let clauses = points.filter(|point| point.kind == PointKind::Clause);
        let lines = clauses.map(|of| format!("{}: {}", of.name, of.text.unwrap_or_default()));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_clause_of_our_pipelines_can_be_tapped() {
        let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines");
        let mut tapped = 0;
        for file in [files(&pipelines), files(&pipelines.join("nexmark"))].concat() {
            let (declared, _) =
                Declared::load(std::slice::from_ref(&file), |_, _| Vec::new()).unwrap();
            for point in declared.points() {
                if let Err(mistakes) = declared.tap(&point.name, None) {
                    panic!("{} of {}: {mistakes:?}", point.name, file.display());
                }
                tapped += usize::from(point.kind == PointKind::Clause);
            }
        }
        assert!(tapped > 30, "{tapped}");
    }

    #[test]
    fn clauses_have_the_names_of_sql() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.sql");
        let sql = "
            CREATE TABLE orders (id BIGINT, customer TEXT, amount DOUBLE, tags ARRAY<TEXT>,
              ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
              WITH (format = 'json');
            CREATE TABLE customers (id TEXT PRIMARY KEY NOT ENFORCED, city TEXT)
              WITH (format = 'json');
            CREATE TABLE totals WITH (format = 'json');
            CREATE TABLE tags WITH (format = 'json');
            INSERT INTO totals SELECT city, sum(amount) AS total FROM orders
              JOIN customers ON orders.customer = customers.id
              WHERE amount > 10 GROUP BY city HAVING sum(amount) > 100;
            INSERT INTO tags SELECT DISTINCT tag FROM orders CROSS JOIN UNNEST(tags) AS t(tag);";
        std::fs::write(&file, sql).unwrap();
        let loaded = Declared::load(&[file], |_, _| Vec::new());
        let (declared, _) = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        expect![[r#"
            totals.where: WHERE amount > 10.0
            totals.join: JOIN ON customer = id
            totals.group: GROUP BY city
            totals.having: HAVING sum(amount) > 100.0
            tags.unnest: UNNEST tags
            tags.distinct: DISTINCT"#]]
        .assert_eq(&listed(&declared));
        let tapped = declared.tap("totals.join", Some("city = 'Oslo'")).unwrap();
        let columns: Vec<&str> =
            tapped.query.plan.schema().fields().iter().map(|of| of.name().as_str()).collect();
        expect![[r#"["customer", "amount", "id", "city"]"#]].assert_eq(&format!("{columns:?}"));
    }
}
