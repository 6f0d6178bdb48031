//! When rows of two streams may meet: what a join's condition says of their times. And where a
//! join stands in the text.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion_common::ScalarValue;
use datafusion_common::tree_node::TreeNode;
use datafusion_expr::expr::{Between, BinaryExpr, Cast};
use datafusion_expr::utils::split_conjunction;
use datafusion_expr::{Expr, ExprSchemable, Join, LogicalPlan, Operator, TableScan};
use datafusion_sql::sqlparser::ast::{self, Query, Select, Spanned, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::streamable::Place;
use super::unnest_tables::is_lists;
use super::windows::{Bound, Shape, Traced, fixed_length_ns, trace, window_bound};
use crate::pipeline::{Diagnostic, Severity, Source, Span};

const NS_PER_MS: i128 = 1_000_000;

/// How near in time rows of both sides must be to meet.
#[derive(Debug)]
pub(crate) struct TimeBounds {
    /// What is compared, over the columns of each side.
    pub times: [Expr; 2],
    /// For each side the least and the most that the event time of a row is after that.
    pub event_after_ms: [(i64, i64); 2],
    /// The least and the most that the right time is after the left one.
    pub within_ms: (i64, i64),
}

/// The source that a scan reads.
pub(crate) type SourceOf<'a> = &'a dyn Fn(&TableScan) -> Option<Arc<Source>>;

/// The bounds that a join's condition sets, if it sets them on both ends and by event time.
pub(crate) fn time_bounds(join: &Join, source_of: SourceOf<'_>) -> Option<TimeBounds> {
    let mut bounds = Bounds { join, found: Vec::new() };
    for (left, right) in &join.on {
        bounds.compare(left, Operator::Eq, right);
    }
    for condition in join.filter.iter().flat_map(|filter| split_conjunction(filter)) {
        match condition {
            Expr::Between(Between { expr, negated: false, low, high }) => {
                bounds.compare(expr, Operator::GtEq, low);
                bounds.compare(expr, Operator::LtEq, high);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => bounds.compare(left, *op, right),
            _ => {}
        }
    }
    bounds.found.into_iter().find_map(|found| found.complete(join, source_of))
}

struct Bounds<'a> {
    join: &'a Join,
    found: Vec<Found>,
}

/// What is said of a time on the left and one on the right.
struct Found {
    times: [Expr; 2],
    /// How much later the right one is.
    least_ns: Option<i128>,
    most_ns: Option<i128>,
}

impl Found {
    fn complete(self, join: &Join, source_of: SourceOf<'_>) -> Option<TimeBounds> {
        let [left, right] = &self.times;
        let event_after_ms = [
            event_after_ms(left, &join.left, source_of)?,
            event_after_ms(right, &join.right, source_of)?,
        ];
        // What is rounded down to ms may differ by one more.
        let rounded = !is_ms(left, &join.left) || !is_ms(right, &join.right);
        let (least, most) = (self.least_ns?, self.most_ns?);
        let least_ms = least.div_euclid(NS_PER_MS) - i128::from(rounded);
        let most_ms = -(-most).div_euclid(NS_PER_MS) + i128::from(rounded);
        let within_ms = (i64::try_from(least_ms).ok()?, i64::try_from(most_ms).ok()?);
        Some(TimeBounds { times: self.times, event_after_ms, within_ms })
    }
}

fn is_ms(time: &Expr, plan: &LogicalPlan) -> bool {
    use TimeUnit::{Millisecond, Second};
    let time = time.get_type(plan.schema());
    matches!(time, Ok(DataType::Timestamp(Second | Millisecond, _)))
}

impl Bounds<'_> {
    /// Takes note of a comparison, if it is one of times on both sides and constants.
    fn compare(&mut self, left: &Expr, op: Operator, right: &Expr) {
        let mut sum = Sum::default();
        if sum.add(left, 1).and_then(|()| sum.add(right, -1)).is_none() {
            return;
        }
        let [(first, first_sign), (second, _)] = &sum.times[..] else { return };
        if sum.times[0].1 == sum.times[1].1 {
            return;
        }
        let of = |expr: &Expr, side: &LogicalPlan| {
            let columns = expr.column_refs();
            !columns.is_empty() && columns.iter().all(|column| side.schema().has_column(column))
        };
        let (join, offset) = (self.join, sum.offset_ns);
        // `times + offset op 0`, as a statement of right - left.
        let (times, right_sign) = if of(first, &join.left) && of(second, &join.right) {
            ([first.clone(), second.clone()], -first_sign)
        } else if of(first, &join.right) && of(second, &join.left) {
            ([second.clone(), first.clone()], *first_sign)
        } else {
            return;
        };
        let (op, bound) = if right_sign > 0 { (Some(op), -offset) } else { (op.swap(), offset) };
        let at = match self.found.iter().position(|found| found.times == times) {
            Some(at) => at,
            None => {
                self.found.push(Found { times, least_ns: None, most_ns: None });
                self.found.len() - 1
            }
        };
        let Found { least_ns, most_ns, .. } = &mut self.found[at];
        if matches!(op, Some(Operator::Gt | Operator::GtEq | Operator::Eq)) {
            *least_ns = Some(least_ns.map_or(bound, |least| least.max(bound)));
        }
        if matches!(op, Some(Operator::Lt | Operator::LtEq | Operator::Eq)) {
            *most_ns = Some(most_ns.map_or(bound, |most| most.min(bound)));
        }
    }
}

/// Times that are added or taken away, and constants.
#[derive(Default)]
struct Sum {
    times: Vec<(Expr, i128)>,
    offset_ns: i128,
}

impl Sum {
    fn add(&mut self, expr: &Expr, sign: i128) -> Option<()> {
        match expr {
            Expr::Alias(alias) => self.add(&alias.expr, sign),
            // Between types of time a cast changes nothing but the unit; zones are UTC.
            Expr::Cast(Cast { expr, field }) => match field.data_type() {
                DataType::Timestamp(..) | DataType::Duration(_) | DataType::Interval(_) => {
                    self.add(expr, sign)
                }
                _ => None,
            },
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => {
                self.add(left, sign)?;
                self.add(right, sign)
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
                self.add(left, sign)?;
                self.add(right, -sign)
            }
            Expr::Literal(constant, _) => {
                self.offset_ns += sign * length_ns(constant)?;
                Some(())
            }
            time => {
                self.times.push((time.clone(), sign));
                (self.times.len() <= 2).then_some(())
            }
        }
    }
}

fn length_ns(constant: &ScalarValue) -> Option<i128> {
    const NS_PER_S: i128 = 1000 * NS_PER_MS;
    Some(match constant {
        ScalarValue::DurationSecond(Some(length)) => i128::from(*length) * NS_PER_S,
        ScalarValue::DurationMillisecond(Some(length)) => i128::from(*length) * NS_PER_MS,
        ScalarValue::DurationMicrosecond(Some(length)) => i128::from(*length) * 1000,
        ScalarValue::DurationNanosecond(Some(length)) => i128::from(*length),
        ScalarValue::IntervalDayTime(Some(interval)) => {
            let of_days = i128::from(interval.days) * 86_400 * NS_PER_S;
            of_days + i128::from(interval.milliseconds) * NS_PER_MS
        }
        other => fixed_length_ns(other, "distance").ok()?.into(),
    })
}

/// The least and the most that the event time of a row is after `time`, if that is the event time
/// of a source, or the bound of a window over one.
pub(crate) fn event_after_ms(
    time: &Expr,
    plan: &LogicalPlan,
    source_of: SourceOf<'_>,
) -> Option<(i64, i64)> {
    let traced = trace(time, plan);
    if let Some(window) = window_bound(&traced) {
        let by_event_time =
            |time: &Traced<'_>| event_after_ms(&time.expr, time.input, source_of) == Some((0, 0));
        let after_ms = event_after_bound_ms(window.bound, window.shape, window.aggregated);
        return after_ms.filter(|_| window.times.iter().all(by_event_time));
    }
    match (&traced.expr, traced.input) {
        (Expr::Column(_), _) if traced.aggregated => None,
        (Expr::Column(column), LogicalPlan::TableScan(scan)) => {
            let source = source_of(scan)?;
            let event_time = source.event_time_column()?;
            (source.columns[event_time].name == column.name).then_some((0, 0))
        }
        (Expr::Column(column), LogicalPlan::Union(union)) => {
            let index = union.schema.maybe_index_of_column(column)?;
            let mut all: Option<(i64, i64)> = None;
            for input in &union.inputs {
                let column = input.schema().columns().into_iter().nth(index)?;
                let (least, most) = event_after_ms(&Expr::Column(column), input, source_of)?;
                let before = all.unwrap_or((least, most));
                all = Some((before.0.min(least), before.1.max(most)));
            }
            all
        }
        _ => None,
    }
}

/// The least and the most that an event time is after the bound of its window: that of a group,
/// which comes out at the end of it, or of any row in it.
fn event_after_bound_ms(bound: Bound, shape: Shape, aggregated: bool) -> Option<(i64, i64)> {
    let ms = |length_ns: i64| length_ns / NS_PER_MS as i64;
    let (shortest_ms, size_ms) = match shape {
        Shape::Tumble { size_ns, .. } | Shape::Hop { size_ns, .. } => (ms(size_ns), ms(size_ns)),
        Shape::Cumulate { step_ns, size_ns, .. } => (ms(step_ns), ms(size_ns)),
        // How long a session lasts is not known.
        Shape::Session { .. } => {
            return match (bound, aggregated) {
                (Bound::End, true) => Some((-1, -1)),
                (Bound::Time, true) => Some((0, 0)),
                _ => None,
            };
        }
    };
    Some(match (bound, aggregated) {
        (Bound::Start, true) => (shortest_ms - 1, size_ms - 1),
        (Bound::Start, false) => (0, size_ms - 1),
        (Bound::End, true) => (-1, -1),
        (Bound::End, false) => (-size_ms, -1),
        (Bound::Time, true) => (0, 0),
        (Bound::Time, false) => (1 - size_ms, 0),
    })
}

/// Where the query's only join stands, or else the query.
pub(crate) fn join_span(query: &Query, place: &Place<'_>) -> Span {
    let mut relations = Relations::default();
    let _ = query.visit(&mut relations);
    match (relations.joined.as_slice(), relations.subqueries.as_slice()) {
        // A place is named only where there is no doubt.
        ([only], _) | ([], [only]) => place.at(*only),
        _ => place.query.clone(),
    }
}

/// What is to be said of a query that lists what it reads and compares nothing of it: few mean
/// every row with every other who do not write `CROSS JOIN`.
pub(crate) fn forgotten_condition(
    plan: &LogicalPlan,
    query: &Query,
    place: &Place<'_>,
) -> Option<Diagnostic> {
    let meets_all = |plan: &LogicalPlan| match plan {
        LogicalPlan::Join(join) => {
            let of_one_row = |side: &LogicalPlan| side.max_rows() == Some(1);
            let is_bare = join.on.is_empty() && join.filter.is_none();
            is_bare && !of_one_row(&join.left) && !of_one_row(&join.right)
        }
        _ => false,
    };
    let mut relations = Relations::default();
    let _ = query.visit(&mut relations);
    let listed = relations.listed.first()?;
    if !plan.exists(|plan| Ok(meets_all(plan))).unwrap_or(false) {
        return None;
    }
    Some(Diagnostic {
        severity: Severity::Warning,
        message: "every row meets every row of this: nothing is compared".to_owned(),
        span: Some(place.at(*listed)),
        label: None,
        help: Some("say in WHERE what must be equal; or write CROSS JOIN if it is meant".into()),
    })
}

/// What is joined to something before it.
#[derive(Default)]
struct Relations {
    joined: Vec<SqlSpan>,
    /// Those of them that stand behind a comma.
    listed: Vec<SqlSpan>,
    /// Within expressions: these are joins, too.
    subqueries: Vec<SqlSpan>,
}

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let joins = select.from.iter().flat_map(|from| &from.joins).map(|join| &join.relation);
        let listed = select.from.iter().skip(1).map(|from| &from.relation);
        // Lists are of the row beside them.
        let listed: Vec<_> = listed.filter(|relation| !is_lists(relation)).collect();
        self.listed.extend(listed.iter().map(|relation| relation.span()));
        let joined = joins.filter(|relation| !is_lists(relation)).chain(listed);
        self.joined.extend(joined.map(Spanned::span));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        if let ast::Expr::Subquery(subquery)
        | ast::Expr::InSubquery { subquery, .. }
        | ast::Expr::Exists { subquery, .. } = expr
        {
            self.subqueries.push(subquery.span());
        }
        ControlFlow::Continue(())
    }
}
