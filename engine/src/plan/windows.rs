//! Windows as plain scalar functions, and finding them again in an optimised plan.
//!
//! `TUMBLE(t, ts, INTERVAL '1' HOUR)` lowers to a projection that adds
//! `tumble_start(ts, size, offset) AS window_start` and `tumble_end(…) AS window_end`; HOP and
//! CUMULATE, where a row lies in several windows, to a list of them that is unnested. Such a plan
//! means the same to a batch engine, which is what streaming answers are compared with. A session
//! is the exception: no function of one row says where it ends, so there `session_start(ts, gap)`
//! is only what an aggregate makes sessions of.
//!
//! The topology asks [`group_window`] which group expression is a window, and when it closes.

use arrow::datatypes::TimeUnit;
use datafusion_common::{Column, Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::registry::FunctionRegistry;
use datafusion_expr::{Aggregate, Expr, LogicalPlan};

mod functions;
mod trace;

use crate::describe::Words;
pub use functions::functions;
use functions::{Role, WindowFunction, function};
pub(crate) use functions::{fixed_length_ns, is_list_of_windows, is_window_function, unit_ns};
pub(crate) use trace::{Traced, partitioned_by, passed_by_join, trace};

#[cfg(test)]
mod tests;

/// The window that an aggregate groups by: by its start, its end or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWindow {
    /// Which of the group expressions is the window's start.
    pub start: Option<usize>,
    /// Which is its end.
    pub end: Option<usize>,
    /// Which is the event time of what comes out of it.
    pub time_of_rows: Option<usize>,
    pub shape: Shape,
    /// The event-time column that the window is made from, as its scan names it.
    pub time: Column,
}

/// Which windows a time lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Tumble {
        size_ns: i64,
        offset_ns: i64,
    },
    /// A window of that size starts at each slide.
    Hop {
        slide_ns: i64,
        size_ns: i64,
        offset_ns: i64,
    },
    /// Windows that start together, every `size_ns`, and end one after the other.
    Cumulate {
        step_ns: i64,
        size_ns: i64,
        offset_ns: i64,
    },
    /// Rows of one key, none of them further than the gap from the next.
    Session {
        gap_ns: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    Start,
    End,
    /// 1 ms before the end: the event time of what comes out of the window.
    Time,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WindowError {
    #[error("a query groups by one window at a time")]
    Several,
    #[error("the window's time '{0}' is computed; a window takes the event-time column as it is")]
    TimeComputed(String),
    #[error(
        "a window of windows must hold whole ones: its size and offset are no multiples of theirs"
    )]
    Across,
    #[error("sessions are made for one set of keys, and these are grouped by others")]
    SessionKeys,
    #[error("where a session begins and ends is known only to the aggregate that makes it")]
    SessionBound,
    #[error("{0}")]
    Size(String),
}

/// Registers [`functions`], so that a batch engine can run our plans.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in functions() {
        registry.register_udf(function)?;
    }
    Ok(())
}

/// The columns of a window, as expressions over a table. Where a row lies in several windows,
/// `list` is to be unnested first, and the bounds are expressions of its element.
pub(crate) struct WindowColumns {
    pub list: Option<(Expr, Bound)>,
    pub time: Expr,
    pub constants: Vec<Expr>,
    kind: Kind,
}

/// The event time of what comes out of a window that ends then.
pub(crate) fn window_time(end: Expr) -> Expr {
    function(Role::Time).call(vec![end])
}

/// The end of the window whose time this is.
pub(crate) fn end_of_time(time: &Expr) -> Option<&Expr> {
    let Expr::ScalarFunction(call) = time else { return None };
    call.args.first().filter(|_| role(call) == Some(Role::Time))
}

/// What windows are called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl Kind {
    fn role(self) -> Role {
        match self {
            Kind::Tumble => Role::Tumble(Bound::Start),
            Kind::Hop => Role::HopStarts,
            Kind::Cumulate => Role::CumulateEnds,
            Kind::Session => Role::Session(Bound::Start),
        }
    }

    /// Checks what SQL cannot: that constants are lengths that make windows.
    pub fn shape(self, constants: &[&ScalarValue]) -> Result<Shape, String> {
        self.role().shape(constants)
    }
}

impl WindowColumns {
    /// `keys` are those of sessions.
    pub fn new(kind: Kind, time: Expr, constants: Vec<Expr>, keys: Vec<Expr>) -> WindowColumns {
        let mut args = vec![time.clone()];
        args.extend(constants.iter().cloned());
        args.extend(keys.iter().cloned());
        let list = match kind {
            Kind::Hop => Some((function(Role::HopStarts).call(args), Bound::Start)),
            Kind::Cumulate => Some((function(Role::CumulateEnds).call(args), Bound::End)),
            Kind::Tumble | Kind::Session => None,
        };
        let constants = constants.into_iter().chain(keys).collect();
        WindowColumns { list, time, constants, kind }
    }

    /// Start and end of a window; `element` is the element of the list, where there is one.
    pub fn bounds(self, element: Option<Expr>) -> [Expr; 2] {
        let WindowColumns { time, constants, kind, .. } = self;
        let of = element.unwrap_or(time);
        // Of a list, the bound that was unnested; the other is found from it and the size on.
        let rest = || std::iter::once(of.clone()).chain(constants.iter().skip(1).cloned());
        let all = || std::iter::once(of.clone()).chain(constants.iter().cloned()).collect();
        match kind {
            Kind::Tumble => {
                [Bound::Start, Bound::End].map(|at| function(Role::Tumble(at)).call(all()))
            }
            Kind::Session => {
                [Bound::Start, Bound::End].map(|at| function(Role::Session(at)).call(all()))
            }
            Kind::Hop => [of.clone(), function(Role::HopEnd).call(rest().take(2).collect())],
            Kind::Cumulate => [function(Role::CumulateStart).call(rest().collect()), of.clone()],
        }
    }
}

/// The window among an aggregate's group expressions, followed through the projections and
/// aliases beneath to the event time that it is made from.
pub fn group_window(aggregate: &Aggregate) -> Result<Option<GroupWindow>, WindowError> {
    let mut found: Option<WindowCall<'_>> = None;
    let (mut start, mut end, mut time_of_rows) = (None, None, None);
    let mut others = Vec::new();
    for (index, expr) in aggregate.group_expr.iter().enumerate() {
        let traced = trace(expr, &aggregate.input);
        let Some(call) = window_call(&traced)? else {
            others.push(traced.expr);
            continue;
        };
        if matches!(call.shape, Shape::Session { .. }) && traced.aggregated {
            return Err(WindowError::SessionBound);
        }
        match call.bound {
            Bound::Start => _ = start.get_or_insert(index),
            Bound::End => _ = end.get_or_insert(index),
            // Alone it does not say when windows close.
            Bound::Time => _ = time_of_rows.get_or_insert(index),
        }
        match &found {
            Some(first) if !first.same_window(&call) => return Err(WindowError::Several),
            Some(_) => {}
            None => found = Some(call),
        }
    }
    let Some(call) = found.filter(|_| start.or(end).is_some()) else { return Ok(None) };
    if let Shape::Session { .. } = call.shape {
        let same = call.keys.iter().all(|key| others.contains(key))
            && others.iter().all(|other| call.keys.contains(other));
        if !same {
            return Err(WindowError::SessionKeys);
        }
    }
    let Some(Traced { expr: Expr::Column(time), .. }) = call.times.first() else {
        let time = call.times.first().map(|time| Words::new(time.input).expr(&time.expr));
        return Err(WindowError::TimeComputed(time.unwrap_or_default()));
    };
    let (shape, time) = (call.shape, time.clone());
    Ok(Some(GroupWindow { start, end, time_of_rows, shape, time }))
}

/// The times that the window is made from, and the plans that their columns belong to.
pub(crate) fn window_times<'a>(aggregate: &'a Aggregate, window: &GroupWindow) -> Vec<Traced<'a>> {
    let bound = window.start.or(window.end);
    let expr = bound.and_then(|bound| aggregate.group_expr.get(bound));
    let call = expr.and_then(|expr| window_call(&trace(expr, &aggregate.input)).ok()?);
    call.map_or_else(Vec::new, |call| call.times)
}

struct WindowCall<'a> {
    bound: Bound,
    shape: Shape,
    /// One for each branch of a union.
    times: Vec<Traced<'a>>,
    /// Of sessions.
    keys: Vec<Expr>,
    /// It is computed of what an aggregate groups by.
    aggregated: bool,
}

impl WindowCall<'_> {
    /// Whether the whole of this window lies in the one that its bound lies in. By its end it
    /// always counts as on time: nothing later than that end is waited for when it closes.
    fn lies_within(&self, outer: Shape) -> bool {
        if matches!(self.bound, Bound::End | Bound::Time) {
            return true;
        }
        let Shape::Tumble { size_ns: size, offset_ns: offset } = self.shape else { return false };
        let (step_ns, size_ns, offset_ns) = match outer {
            Shape::Tumble { size_ns, offset_ns } => (size_ns, size_ns, offset_ns),
            Shape::Hop { slide_ns, size_ns, offset_ns } => (slide_ns, size_ns, offset_ns),
            Shape::Cumulate { step_ns, size_ns, offset_ns } => (step_ns, size_ns, offset_ns),
            Shape::Session { .. } => return false,
        };
        let aligned = offset_ns.wrapping_sub(offset) % size == 0;
        step_ns % size == 0 && size_ns % size == 0 && aligned
    }

    fn same_window(&self, other: &WindowCall<'_>) -> bool {
        let times = |of: &WindowCall<'_>| -> Vec<Expr> {
            of.times.iter().map(|time| time.expr.clone()).collect()
        };
        self.shape == other.shape && self.keys == other.keys && times(self) == times(other)
    }
}

/// The window that an expression is a bound of.
fn window_call<'a>(traced: &Traced<'a>) -> Result<Option<WindowCall<'a>>, WindowError> {
    match &traced.expr {
        Expr::Unnest(list) => match trace(&list.expr, traced.input) {
            Traced { expr: Expr::ScalarFunction(call), input, .. } => match role(&call) {
                Some(Role::HopStarts) => made(&call, input, Role::HopStarts, Bound::Start),
                Some(Role::CumulateEnds) => made(&call, input, Role::CumulateEnds, Bound::End),
                _ => Ok(None),
            },
            _ => Ok(None),
        },
        Expr::ScalarFunction(call) => match role(call) {
            Some(role @ (Role::Tumble(bound) | Role::Session(bound))) => {
                made(call, traced.input, role, bound)
            }
            Some(Role::Time) => {
                let of = trace(&call.args[0], traced.input);
                let end = window_call(&of)?.filter(|end| end.bound == Bound::End);
                let aggregated = of.aggregated;
                Ok(end.map(|end| WindowCall { bound: Bound::Time, aggregated, ..end }))
            }
            Some(Role::HopEnd) => other_bound(call, traced.input, Bound::End),
            Some(Role::CumulateStart) => other_bound(call, traced.input, Bound::Start),
            _ => Ok(None),
        },
        Expr::Column(column) => match traced.input {
            LogicalPlan::Union(union) => of_union(union, column),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// A bound of a window, and what the window is made from.
pub(crate) struct WindowBound<'a> {
    pub bound: Bound,
    pub shape: Shape,
    /// One for each branch of a union.
    pub times: Vec<Traced<'a>>,
    /// An aggregate groups by it.
    pub aggregated: bool,
}

/// Whether an expression is the bound of a window.
pub(crate) fn window_bound<'a>(traced: &Traced<'a>) -> Option<WindowBound<'a>> {
    let WindowCall { bound, shape, times, aggregated, .. } = window_call(traced).ok()??;
    Some(WindowBound { bound, shape, times, aggregated: aggregated || traced.aggregated })
}

fn role(call: &ScalarFunction) -> Option<Role> {
    Some(call.func.inner().downcast_ref::<WindowFunction>()?.role)
}

fn made<'a>(
    call: &ScalarFunction,
    input: &'a LogicalPlan,
    role: Role,
    bound: Bound,
) -> Result<Option<WindowCall<'a>>, WindowError> {
    let constants: Vec<&ScalarValue> = call.args[1..]
        .iter()
        .map_while(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        })
        .collect();
    let shape = role.shape(&constants).map_err(WindowError::Size)?;
    let keys = match shape {
        Shape::Session { .. } => call.args[2..].iter().map(|key| trace(key, input).expr).collect(),
        _ => Vec::new(),
    };
    let time = trace(&call.args[0], input);
    let times = match window_call(&time)? {
        Some(inner) if !inner.lies_within(shape) => return Err(WindowError::Across),
        // A window of a window goes by the time of the inner one.
        Some(inner) => inner.times,
        None => vec![time],
    };
    Ok(Some(WindowCall { bound, shape, times, keys, aggregated: false }))
}

/// The bound of a window that is computed from the one that was unnested.
fn other_bound<'a>(
    call: &ScalarFunction,
    input: &'a LogicalPlan,
    bound: Bound,
) -> Result<Option<WindowCall<'a>>, WindowError> {
    let found = window_call(&trace(&call.args[0], input))?;
    Ok(found.filter(|found| found.bound != bound).map(|found| WindowCall { bound, ..found }))
}

/// The same window in all branches.
fn of_union<'a>(
    union: &'a datafusion_expr::Union,
    column: &Column,
) -> Result<Option<WindowCall<'a>>, WindowError> {
    let Some(index) = union.schema.maybe_index_of_column(column) else { return Ok(None) };
    let mut found: Option<WindowCall<'a>> = None;
    for input in &union.inputs {
        let column = Expr::Column(input.schema().columns().swap_remove(index));
        let Some(mut call) = window_call(&trace(&column, input))? else { return Ok(None) };
        if let Shape::Session { .. } = call.shape {
            return Err(WindowError::SessionBound);
        }
        match &mut found {
            None => found = Some(call),
            Some(first) if first.shape == call.shape && first.bound == call.bound => {
                first.times.append(&mut call.times);
            }
            Some(_) => return Ok(None),
        }
    }
    Ok(found)
}

/// Refuses sessions in a plan anywhere but right beneath the aggregate that makes them: nothing
/// before it knows where they begin and end.
pub(crate) fn check_sessions(plan: &LogicalPlan) -> Result<(), WindowError> {
    check_sessions_in(plan, false)
}

fn check_sessions_in(plan: &LogicalPlan, made: bool) -> Result<(), WindowError> {
    let below = match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let window = group_window(aggregate)?;
            for call in &aggregate.aggr_expr {
                refuse_session_in(call, &aggregate.input)?;
            }
            window.is_some_and(|window| matches!(window.shape, Shape::Session { .. }))
        }
        LogicalPlan::Projection(projection) => {
            for expr in &projection.expr {
                let bare = expr.clone().unalias();
                let passes = matches!(bare, Expr::Column(_)) || is_session(&bare);
                if !(made && passes) {
                    refuse_session_in(expr, &projection.input)?;
                }
            }
            made
        }
        LogicalPlan::Filter(filter) => {
            refuse_session_in(&filter.predicate, &filter.input)?;
            made
        }
        LogicalPlan::SubqueryAlias(_) => made,
        other => {
            for expr in other.expressions() {
                refuse_session_in(&expr, other.inputs().first().copied().unwrap_or(other))?;
            }
            false
        }
    };
    plan.inputs().into_iter().try_for_each(|input| check_sessions_in(input, below))
}

pub(crate) fn is_session(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if matches!(role(call), Some(Role::Session(_))))
}

fn refuse_session_in(expr: &Expr, input: &LogicalPlan) -> Result<(), WindowError> {
    use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut found = false;
    let _ = expr.apply(|part| {
        let traced = trace(part, input);
        found |= is_session(&traced.expr) && !traced.aggregated;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if found { Err(WindowError::SessionBound) } else { Ok(()) }
}

impl Shape {
    /// How long after a window's start it ends, at most.
    pub fn size_ns(self) -> i64 {
        match self {
            Shape::Tumble { size_ns, .. }
            | Shape::Hop { size_ns, .. }
            | Shape::Cumulate { size_ns, .. } => size_ns,
            Shape::Session { gap_ns } => gap_ns,
        }
    }

    /// Whether all of it is whole steps of `unit`.
    pub fn fits(self, unit: TimeUnit) -> bool {
        self.in_units_of(unit_ns(unit)).is_some()
    }
}
