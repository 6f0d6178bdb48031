//! `TUMBLE(…)`, `HOP(…)`, `CUMULATE(…)` and `SESSION(…)` in FROM to projections that add
//! `window_start`, `window_end` and, unless the table has a column of that name, `window_time`.
//!
//! ```text
//! TUMBLE(t, ts, size [, offset])
//! HOP(t, ts, slide, size [, offset])
//! CUMULATE(t, ts, step, size [, offset])
//! SESSION(t [PARTITION BY k, …], ts, gap)
//! ```
//!
//! Both spellings come here, this one and Flink's `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))`, from
//! which the tokens that the parser does not know are already gone. Arguments may be named as in
//! Flink: DATA, TIMECOL, SIZE, SLIDE, STEP, GAP, OFFSET; PARTITION BY comes as an argument, too.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{
    Column, DFSchema, DataFusionError, Result, ScalarValue, UnnestOptions, plan_datafusion_err,
};
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableFactor,
};

use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::windows::{Bound, Kind, WindowColumns, window_time};

pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";
/// Its end less 1 ms (see [`super::window_time`]).
pub const WINDOW_TIME: &str = "window_time";

/// Plans window table functions; a batch engine can register it too.
#[derive(Debug)]
pub struct WindowTables;

impl RelationPlanner for WindowTables {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = WindowCall::of(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let arguments = call.arguments()?;
        let input = context.plan(arguments.table()?)?;
        let plan = arguments.plan(input, context)?;
        let planned = PlannedRelation::new(plan, call.alias.cloned());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

/// A call of a window table function, as it stands in FROM.
pub(crate) struct WindowCall<'a> {
    pub kind: Kind,
    name: &'a ObjectName,
    args: &'a [FunctionArg],
    pub alias: Option<&'a ast::TableAlias>,
}

/// The name that PARTITION BY has as an argument.
pub const PARTITION_BY: &str = "PARTITION_BY";

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        [Kind::Tumble, Kind::Hop, Kind::Cumulate, Kind::Session]
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Tumble => "TUMBLE",
            Kind::Hop => "HOP",
            Kind::Cumulate => "CUMULATE",
            Kind::Session => "SESSION",
        }
    }

    /// What comes after the table and its time.
    pub fn lengths(self) -> &'static [&'static str] {
        match self {
            Kind::Tumble => &["SIZE", "OFFSET"],
            Kind::Hop => &["SLIDE", "SIZE", "OFFSET"],
            Kind::Cumulate => &["STEP", "SIZE", "OFFSET"],
            Kind::Session => &["GAP"],
        }
    }

    fn help(self) -> &'static str {
        match self {
            Kind::Tumble => "such as TUMBLE(flights, time_hour, INTERVAL '1' HOUR)",
            Kind::Hop => {
                "such as HOP(flights, time_hour, INTERVAL '1' HOUR, INTERVAL '1' DAY): the slide, \
                 then the size"
            }
            Kind::Cumulate => {
                "such as CUMULATE(flights, time_hour, INTERVAL '1' HOUR, INTERVAL '1' DAY): the \
                 step, then the size"
            }
            Kind::Session => {
                "such as SESSION(flights PARTITION BY carrier, time_hour, INTERVAL '1' HOUR): the \
                 gap"
            }
        }
    }
}

impl<'a> WindowCall<'a> {
    pub fn of(relation: &'a TableFactor) -> Option<WindowCall<'a>> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = relation else {
            return None;
        };
        let kind = Kind::named(&name.0.last()?.as_ident()?.value)?;
        Some(WindowCall { kind, name, args: &args.args, alias: alias.as_ref() })
    }

    pub fn span(&self) -> SqlSpan {
        self.name.span()
    }

    /// The name of the table, if it has one.
    pub fn table_name(&self) -> Option<&'a str> {
        self.args.iter().find_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
            | FunctionArg::Named { arg: FunctionArgExpr::Expr(expr), .. } => match expr {
                ast::Expr::Identifier(name) => Some(name.value.as_str()),
                ast::Expr::CompoundIdentifier(names) => Some(names.last()?.value.as_str()),
                _ => None,
            },
            _ => None,
        })
    }

    pub fn arguments(&self) -> Result<Arguments> {
        let kind = self.kind;
        let lengths = kind.lengths();
        let mut keys = Vec::new();
        let mut places: Vec<Option<ast::Expr>> = vec![None; 2 + lengths.len()];
        let mut unnamed = 0;
        for arg in self.args {
            if let Some(by) = partition_by(arg) {
                keys = by;
                continue;
            }
            let (place, expr) = self.place(&mut unnamed, arg)?;
            places[place] = Some(expr);
        }
        let mut places = places.into_iter();
        let (data, time) = (places.next().flatten(), places.next().flatten());
        // An offset may be left out.
        let given: Vec<ast::Expr> = places.by_ref().map_while(|given| given).collect();
        let needed = lengths.iter().filter(|length| **length != "OFFSET").count();
        let (Some(data), Some(time)) = (data, time) else { return Err(self.incomplete()) };
        if given.len() < needed || places.any(|given| given.is_some()) {
            return Err(self.incomplete());
        }
        if !keys.is_empty() && kind != Kind::Session {
            let message = format!("PARTITION BY means nothing to {}", kind.name());
            return Err(error(message, keys[0].span(), Some("leave it out, and group by it")));
        }
        Ok(Arguments { kind, data, time: without_descriptor(time), lengths: given, keys })
    }

    fn incomplete(&self) -> DataFusionError {
        let lengths = self.kind.lengths();
        let needed = lengths.iter().filter(|length| **length != "OFFSET");
        let needed: Vec<String> =
            needed.map(|length| format!("a {}", length.to_ascii_lowercase())).collect();
        let message =
            format!("{} takes a table, its time and {}", self.kind.name(), needed.join(" and "));
        error(message, self.name.span(), Some(self.kind.help()))
    }

    fn place(&self, unnamed: &mut usize, arg: &FunctionArg) -> Result<(usize, ast::Expr)> {
        let (place, expr) = match arg {
            FunctionArg::Unnamed(expr) => {
                *unnamed += 1;
                (Some(*unnamed - 1), expr)
            }
            FunctionArg::Named { name, arg, .. } => (self.place_named(&name.value), arg),
            FunctionArg::ExprNamed { name, arg, .. } => (self.place_named(&name.to_string()), arg),
        };
        match (place, expr) {
            (Some(place), FunctionArgExpr::Expr(expr)) if place < 2 + self.kind.lengths().len() => {
                Ok((place, expr.clone()))
            }
            _ => Err(error(
                format!("{} does not take '{arg}' here", self.kind.name()),
                arg.span(),
                Some(self.kind.help()),
            )),
        }
    }

    fn place_named(&self, name: &str) -> Option<usize> {
        let mut names = ["DATA", "TIMECOL"].iter().chain(self.kind.lengths());
        names.position(|known| name.eq_ignore_ascii_case(known))
    }
}

/// The columns of PARTITION BY, if the argument is that.
fn partition_by(arg: &FunctionArg) -> Option<Vec<ast::Expr>> {
    let (name, FunctionArgExpr::Expr(by)) = (match arg {
        FunctionArg::Named { name, arg, .. } => (name.value.clone(), arg),
        FunctionArg::ExprNamed { name, arg, .. } => (name.to_string(), arg),
        FunctionArg::Unnamed(_) => return None,
    }) else {
        return None;
    };
    if !name.eq_ignore_ascii_case(PARTITION_BY) {
        return None;
    }
    Some(match by {
        ast::Expr::Tuple(all) => all.clone(),
        ast::Expr::Nested(only) => vec![(**only).clone()],
        only => vec![only.clone()],
    })
}

fn without_descriptor(time: ast::Expr) -> ast::Expr {
    let ast::Expr::Function(function) = &time else { return time };
    let FunctionArguments::List(list) = &function.args else { return time };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))]
            if function.name.to_string().eq_ignore_ascii_case("DESCRIPTOR") =>
        {
            inner.clone()
        }
        _ => time,
    }
}

/// What a window table function was given.
pub(crate) struct Arguments {
    kind: Kind,
    data: ast::Expr,
    pub time: ast::Expr,
    /// Its size and whatever else there is of it.
    lengths: Vec<ast::Expr>,
    /// What sessions are told apart by, beside their times.
    pub keys: Vec<ast::Expr>,
}

impl Arguments {
    /// The table as it would stand in FROM by itself.
    pub fn table(&self) -> Result<TableFactor> {
        let name = match &self.data {
            ast::Expr::Identifier(ident) => ObjectName::from(vec![ident.clone()]),
            ast::Expr::CompoundIdentifier(idents) => ObjectName::from(idents.clone()),
            ast::Expr::Subquery(query) => {
                return Ok(TableFactor::Derived {
                    lateral: false,
                    subquery: query.clone(),
                    alias: None,
                    sample: None,
                });
            }
            other => {
                let message =
                    format!("the first argument of {} is a table, not '{other}'", self.kind.name());
                return Err(error(message, other.span(), None));
            }
        };
        Ok(named_table(name))
    }

    fn plan(
        &self,
        input: LogicalPlan,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<LogicalPlan> {
        let schema = Arc::clone(input.schema());
        for name in [WINDOW_START, WINDOW_END] {
            if schema.has_column_with_unqualified_name(name) {
                return Err(error(
                    format!("the table given to {} has a column {name} already", self.kind.name()),
                    self.data.span(),
                    Some("rename it in a query between"),
                ));
            }
        }
        let time = context.sql_to_expr(self.time.clone(), &schema)?;
        self.check_time(&time.get_type(schema.as_ref())?)?;
        let keys = self.keys.iter().map(|key| context.sql_to_expr(key.clone(), &schema));
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let empty = DFSchema::empty();
        let constants = self.checked_constants(|given| context.sql_to_expr(given, &empty))?;
        let window = WindowColumns::new(self.kind, time, constants, keys);
        let mut columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        let mut plan = LogicalPlanBuilder::from(input);
        let mut element = None;
        if let Some((list, bound)) = window.list.clone() {
            let name = match bound {
                Bound::Start => WINDOW_START,
                Bound::End | Bound::Time => WINDOW_END,
            };
            let listed = columns.iter().cloned().chain([list.alias(name)]);
            let column = Column::new_unqualified(name);
            // A row that lies in no window does not come out.
            let options = UnnestOptions::new().with_preserve_nulls(false);
            plan = plan
                .project(listed.collect::<Vec<_>>())?
                .unnest_column_with_options(column.clone(), options)?;
            element = Some(Expr::Column(column));
        }
        let [start, end] = window.bounds(element);
        columns.push(start.alias(WINDOW_START));
        columns.push(end.clone().alias(WINDOW_END));
        if !schema.has_column_with_unqualified_name(WINDOW_TIME) {
            columns.push(window_time(end).alias(WINDOW_TIME));
        }
        plan.project(columns)?.build()
    }

    pub fn check_time(&self, time_type: &DataType) -> Result<()> {
        if matches!(time_type, DataType::Timestamp(..) | DataType::Null) {
            return Ok(());
        }
        let message = format!("the time of a window must be a timestamp, and this is {time_type}");
        Err(error(message, self.time.span(), None))
    }

    /// Size and offset, planned by `plan` and found to be constants that make a window.
    pub fn checked_constants(
        &self,
        mut plan: impl FnMut(ast::Expr) -> Result<Expr>,
    ) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        let mut values = Vec::new();
        for given in &self.lengths {
            let constant = plan(given.clone())?;
            let Expr::Literal(value, _) = &constant else {
                let message = format!("a window's size must be a constant, not '{given}'");
                return Err(error(message, given.span(), Some(SIZE_HELP)));
            };
            values.push(value.clone());
            args.push(constant);
        }
        let values: Vec<&ScalarValue> = values.iter().collect();
        let span = || self.lengths.first().map_or(self.time.span(), Spanned::span);
        match self.kind.shape(&values) {
            Ok(_) => Ok(args),
            Err(message) => Err(error(message, span(), Some(SIZE_HELP))),
        }
    }
}

const SIZE_HELP: &str = "such as INTERVAL '1' HOUR";

pub(crate) fn named_table(name: ObjectName) -> TableFactor {
    TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    }
}

pub(crate) fn error(message: String, span: SqlSpan, help: Option<&str>) -> DataFusionError {
    let span = datafusion_common::Span::try_from_sqlparser_span(span);
    let mut diagnostic = datafusion_common::Diagnostic::new_error(message.clone(), span);
    if let Some(help) = help {
        diagnostic.add_help(help, None);
    }
    plan_datafusion_err!("{message}").with_diagnostic(diagnostic)
}
