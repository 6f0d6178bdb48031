//! Expressions as a person would have written them.
//!
//! Columns between the steps of a plan are called by what they were computed from, at length; here
//! they get the SQL of it. What operators compute is known to them as physical expressions: these
//! are put back into SQL as far as they can be.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::IntervalMonthDayNano;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, ScalarValue};
use datafusion_expr::expr::{Alias, InList, ScalarFunction};
use datafusion_expr::{BinaryExpr, Case, Cast, Expr, Like, LogicalPlan, ScalarUDF, TryCast};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr, expressions};
use datafusion_sql::unparser::Unparser;
use datafusion_sql::unparser::dialect::{CustomDialect, CustomDialectBuilder};

/// What columns of a query's plan are called for people.
pub struct Words {
    /// SQL by the name of a column.
    sql: HashMap<String, String>,
    /// What the query calls it in the end, by the name of a column.
    aliases: HashMap<String, String>,
    /// Columns that several sources have: these are told apart by the names of the sources.
    ambiguous: HashSet<String>,
    dialect: CustomDialect,
}

/// What the optimizer calls expressions that it found twice.
const COMMON: &str = "__common_expr";
/// What is meant where nothing is written.
const DEFAULTS: [(&str, &str); 4] = [
    ("count(1)", "count(*)"),
    (" RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW", ""),
    (" ASC NULLS LAST", ""),
    (" DESC NULLS FIRST", " DESC"),
];
/// What the planner calls lists that are to become rows.
const UNNESTED: &str = "__unnest_placeholder(";

impl Words {
    pub fn new(plan: &LogicalPlan) -> Words {
        let mut nodes = vec![plan];
        let mut at = 0;
        while let Some(node) = nodes.get(at) {
            nodes.extend(node.inputs());
            at += 1;
        }
        let (mut read, mut ambiguous) = (HashSet::new(), HashSet::new());
        for node in &nodes {
            let LogicalPlan::TableScan(scan) = node else { continue };
            for field in scan.projected_schema.fields() {
                if !read.insert(field.name().clone()) {
                    ambiguous.insert(field.name().clone());
                }
            }
        }
        // Identifiers are quoted where columns become text.
        let dialect = CustomDialectBuilder::new().build();
        let mut words = Words { sql: HashMap::new(), aliases: HashMap::new(), ambiguous, dialect };
        for expr in nodes.iter().flat_map(|node| node.expressions()) {
            if let Expr::Alias(Alias { expr, name, .. }) = &expr
                && !name.starts_with("__")
            {
                let of = without_aliases(expr).schema_name().to_string();
                words.aliases.entry(of).or_insert_with(|| name.clone());
            }
        }
        // What a step computes may name what those before it do.
        for expr in nodes.iter().rev().flat_map(|node| node.expressions()) {
            words.learn(&expr);
        }
        words
    }

    fn learn(&mut self, expr: &Expr) {
        match expr {
            Expr::Column(_) => {}
            Expr::Alias(Alias { expr, name, .. }) => {
                // The optimizer keeps the names of what it has rewritten.
                if name.starts_with(COMMON) || name.contains('(') {
                    self.sql.insert(name.clone(), self.expr(expr));
                }
                self.learn(expr);
            }
            other => {
                self.sql.insert(other.schema_name().to_string(), self.expr(other));
            }
        }
    }

    /// `amount > 100`.
    pub fn expr(&self, expr: &Expr) -> String {
        let named = expr.clone().transform_up(|expr| {
            Ok(match expr {
                Expr::Column(column) => Transformed::yes(text(self.column(&column))),
                Expr::Literal(value, _) if interval(&value).is_some() => {
                    Transformed::yes(text(interval(&value).unwrap_or_default()))
                }
                other => Transformed::no(other),
            })
        });
        let named = named.map_or_else(|_| expr.clone(), |named| named.data);
        let unparser = Unparser::new(&self.dialect).with_pretty(true);
        match unparser.expr_to_sql(&named) {
            Ok(sql) => {
                DEFAULTS.iter().fold(sql.to_string(), |sql, (said, meant)| sql.replace(said, meant))
            }
            Err(_) => named.to_string(),
        }
    }

    fn column(&self, column: &Column) -> String {
        match (&column.relation, self.sql.contains_key(&column.name)) {
            (Some(relation), false) if self.ambiguous.contains(&column.name) => {
                format!("{}.{}", quoted(relation.table()), quoted(&column.name))
            }
            _ => self.name(&column.name),
        }
    }

    /// A column, by its name in a plan.
    pub fn name(&self, name: &str) -> String {
        if let Some(sql) = self.sql.get(name) {
            return sql.clone();
        }
        match name.strip_prefix(UNNESTED) {
            Some(of) => {
                let of = of.split(",depth=").next().unwrap_or(of).trim_end_matches(')');
                let known = self.sql.get(of).or_else(|| self.sql.get(&format!("{of})")));
                // A column comes with the name of its source.
                let column = of.rsplit('.').next().unwrap_or(of);
                format!("unnest({})", known.cloned().unwrap_or_else(|| quoted(column)))
            }
            None => quoted(name),
        }
    }

    /// What is computed under that name, and what the query calls it: `total = sum(amount)`.
    pub fn computed(&self, name: &str) -> String {
        match self.aliases.get(name) {
            Some(alias) => format!("{} = {}", quoted(alias), self.name(name)),
            None => self.name(name),
        }
    }

    /// What operators evaluate.
    pub fn physical(&self, expr: &Arc<dyn PhysicalExpr>) -> String {
        self.expr(&logical(expr, None))
    }

    /// What holds of the columns of two sides, of which the left one has so many.
    pub fn physical_of_sides(&self, expr: &Arc<dyn PhysicalExpr>, left_columns: usize) -> String {
        self.expr(&logical(expr, Some(left_columns)))
    }

    pub fn physicals(&self, exprs: &[Arc<dyn PhysicalExpr>]) -> Vec<String> {
        exprs.iter().map(|expr| self.physical(expr)).collect()
    }
}

fn without_aliases(mut expr: &Expr) -> &Expr {
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    expr
}

/// Stands in an expression as it is.
fn text(text: String) -> Expr {
    Expr::Column(Column::new_unqualified(text))
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    let plain = !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit());
    if plain && !name.is_empty() { name.to_owned() } else { format!("\"{name}\"") }
}

fn interval(value: &ScalarValue) -> Option<String> {
    let (months, days, ns) = match value {
        ScalarValue::IntervalMonthDayNano(Some(of)) => {
            (i64::from(of.months), i64::from(of.days), of.nanoseconds)
        }
        ScalarValue::IntervalDayTime(Some(of)) => {
            (0, i64::from(of.days), i64::from(of.milliseconds) * 1_000_000)
        }
        ScalarValue::IntervalYearMonth(Some(months)) => (i64::from(*months), 0, 0),
        _ => return None,
    };
    let mut parts = Vec::new();
    let mut part = |count: i64, unit: &str| {
        if count != 0 {
            parts.push(format!("{count} {unit}{}", if count.abs() == 1 { "" } else { "s" }));
        }
    };
    part(months / 12, "year");
    part(months % 12, "month");
    part(days, "day");
    let mut left = ns;
    for (unit, size) in [("hour", 3_600_000_000_000), ("minute", 60_000_000_000)] {
        part(left / size, unit);
        left %= size;
    }
    part(left / 1_000_000_000, "second");
    part(left % 1_000_000_000 / 1_000_000, "millisecond");
    part(left % 1_000_000, "nanosecond");
    if parts.is_empty() {
        parts.push("0 seconds".to_owned());
    }
    Some(format!("INTERVAL '{}'", parts.join(" ")))
}

/// How a library shows an interval where it shows its parts.
const RAW_INTERVAL: &str = "IntervalMonthDayNano { ";

/// A text with its intervals as SQL has them.
pub fn with_intervals(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(RAW_INTERVAL) {
        out.push_str(before);
        let read = after.split_once(" }").and_then(|(parts, after)| {
            let mut numbers = parts.split(", ").map(|part| part.split_once(": ").map(|(_, of)| of));
            let mut next = || numbers.next().flatten();
            let (months, days) = (next()?.parse().ok()?, next()?.parse().ok()?);
            let of = IntervalMonthDayNano::new(months, days, next()?.parse().ok()?);
            Some((interval(&ScalarValue::IntervalMonthDayNano(Some(of)))?, after))
        });
        match read {
            Some((sql, after)) => {
                out.push_str(&sql);
                rest = after;
            }
            None => {
                out.push_str(RAW_INTERVAL);
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// A time in its largest whole unit: `90 minutes`, `1 hour`.
pub fn duration_text(ms: i64) -> String {
    let units = [
        ("day", 86_400_000),
        ("hour", 3_600_000),
        ("minute", 60_000),
        ("second", 1_000),
        ("ms", 1),
    ];
    let found = units.into_iter().find(|(_, size)| ms != 0 && ms % size == 0);
    let (unit, size) = found.unwrap_or(("second", 1_000));
    let count = ms / size;
    format!("{count} {unit}{}", if count == 1 || unit == "ms" { "" } else { "s" })
}

/// A physical expression as SQL knows it; what has no such form stands as its own text.
/// With `left_columns`, columns say which side they are of.
fn logical(expr: &Arc<dyn PhysicalExpr>, left_columns: Option<usize>) -> Expr {
    let of = |expr: &Arc<dyn PhysicalExpr>| logical(expr, left_columns);
    let boxed = |expr: &Arc<dyn PhysicalExpr>| Box::new(of(expr));
    if let Some(column) = expr.downcast_ref::<expressions::Column>() {
        let side = left_columns.map(|left| if column.index() < left { "left" } else { "right" });
        return Expr::Column(Column::new(side, column.name()));
    }
    if let Some(literal) = expr.downcast_ref::<expressions::Literal>() {
        return Expr::Literal(literal.value().clone(), None);
    }
    if let Some(binary) = expr.downcast_ref::<expressions::BinaryExpr>() {
        let (left, right) = (boxed(binary.left()), boxed(binary.right()));
        return Expr::BinaryExpr(BinaryExpr::new(left, *binary.op(), right));
    }
    if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
        let args = function.args().iter().map(of).collect();
        let udf: ScalarUDF = function.fun().clone();
        return Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(udf), args));
    }
    if let Some(cast) = expr.downcast_ref::<expressions::CastExpr>() {
        return Expr::Cast(Cast::new(boxed(cast.expr()), cast.cast_type().clone()));
    }
    if let Some(cast) = expr.downcast_ref::<expressions::TryCastExpr>() {
        return Expr::TryCast(TryCast::new(boxed(cast.expr()), cast.cast_type().clone()));
    }
    if let Some(not) = expr.downcast_ref::<expressions::NotExpr>() {
        return Expr::Not(boxed(not.arg()));
    }
    if let Some(is) = expr.downcast_ref::<expressions::IsNullExpr>() {
        return Expr::IsNull(boxed(is.arg()));
    }
    if let Some(is) = expr.downcast_ref::<expressions::IsNotNullExpr>() {
        return Expr::IsNotNull(boxed(is.arg()));
    }
    if let Some(negative) = expr.downcast_ref::<expressions::NegativeExpr>() {
        return Expr::Negative(boxed(negative.arg()));
    }
    if let Some(list) = expr.downcast_ref::<expressions::InListExpr>() {
        let listed = list.list().iter().map(of).collect();
        return Expr::InList(InList::new(boxed(list.expr()), listed, list.negated()));
    }
    if let Some(like) = expr.downcast_ref::<expressions::LikeExpr>() {
        let (value, pattern) = (boxed(like.expr()), boxed(like.pattern()));
        return Expr::Like(Like::new(
            like.negated(),
            value,
            pattern,
            None,
            like.case_insensitive(),
        ));
    }
    if let Some(case) = expr.downcast_ref::<expressions::CaseExpr>() {
        let pairs = case.when_then_expr().iter();
        let pairs = pairs.map(|(when, then)| (boxed(when), boxed(then))).collect();
        return Expr::Case(Case::new(case.expr().map(boxed), pairs, case.else_expr().map(boxed)));
    }
    text(AsSql(expr.as_ref()).to_string())
}

struct AsSql<'a>(&'a dyn PhysicalExpr);

impl fmt::Display for AsSql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_sql(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_in_texts_are_sql() {
        let raw = |months: i32, days: i32, ns: i64| {
            format!("{:?}", IntervalMonthDayNano::new(months, days, ns))
        };
        let text = format!("hop(ts, {}, {})", raw(0, 1, 0), raw(14, 0, 90_000_000_000));
        assert_eq!(
            with_intervals(&text),
            "hop(ts, INTERVAL '1 day', INTERVAL '1 year 2 months 1 minute 30 seconds')"
        );
        for same in ["nothing", "IntervalMonthDayNano { months: x }", "IntervalMonthDayNano { "] {
            assert_eq!(with_intervals(same), same);
        }
    }
}
