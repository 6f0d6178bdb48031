//! `TUMBLE(…)` in FROM to a projection that adds `window_start` and `window_end`.
//!
//! Both spellings come here: `TUMBLE(t, ts, INTERVAL '1' HOUR [, offset])`, and Flink's
//! `TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), …))`, from which the tokens that the parser does not
//! know are already gone. Arguments may be named as in Flink: DATA, TIMECOL, SIZE, OFFSET.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{DFSchema, DataFusionError, Result, ScalarValue, plan_datafusion_err};
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion_sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, Spanned, TableFactor,
};

use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::windows;
use crate::pipeline::tokens::WINDOW_TABLES;

pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";

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
    name: &'a ObjectName,
    args: &'a [FunctionArg],
    pub alias: Option<&'a ast::TableAlias>,
}

impl<'a> WindowCall<'a> {
    pub fn of(relation: &'a TableFactor) -> Option<WindowCall<'a>> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = relation else {
            return None;
        };
        let called = name.0.last()?.as_ident()?;
        WINDOW_TABLES
            .iter()
            .any(|window| called.value.eq_ignore_ascii_case(window))
            .then_some(WindowCall { name, args: &args.args, alias: alias.as_ref() })
    }

    pub fn span(&self) -> SqlSpan {
        self.name.span()
    }

    /// The query that is windowed, if it is one and no table.
    pub fn query(&self) -> Option<&'a ast::Query> {
        self.args.iter().find_map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(ast::Expr::Subquery(query)))
            | FunctionArg::Named {
                arg: FunctionArgExpr::Expr(ast::Expr::Subquery(query)), ..
            } => Some(query.as_ref()),
            _ => None,
        })
    }

    pub fn arguments(&self) -> Result<Arguments> {
        let called = self.name.to_string().to_ascii_uppercase();
        if called != "TUMBLE" {
            return Err(error(
                format!("{called} windows are not there yet"),
                self.name.span(),
                Some("TUMBLE(table, time, INTERVAL '1' HOUR) works"),
            ));
        }
        let mut places: [Option<ast::Expr>; 4] = [const { None }; 4];
        for (position, arg) in self.args.iter().enumerate() {
            let (place, expr) = self.place(position, arg)?;
            places[place] = Some(expr);
        }
        let [Some(data), Some(time), Some(size), offset] = places else {
            return Err(error(
                "TUMBLE takes a table, its time and a size".to_owned(),
                self.name.span(),
                Some("such as TUMBLE(flights, time_hour, INTERVAL '1' HOUR)"),
            ));
        };
        Ok(Arguments { data, time: without_descriptor(time), size, offset })
    }

    fn place(&self, position: usize, arg: &FunctionArg) -> Result<(usize, ast::Expr)> {
        let (place, expr) = match arg {
            FunctionArg::Unnamed(expr) => (Some(position), expr),
            FunctionArg::Named { name, arg, .. } => (place_named(&name.value), arg),
            FunctionArg::ExprNamed { name, arg, .. } => (place_named(&name.to_string()), arg),
        };
        match (place, expr) {
            (Some(place @ 0..=3), FunctionArgExpr::Expr(expr)) => Ok((place, expr.clone())),
            _ => Err(error(
                format!("TUMBLE does not take '{arg}' here"),
                arg.span(),
                Some("it takes a table, its time, a size and perhaps an offset"),
            )),
        }
    }
}

fn place_named(name: &str) -> Option<usize> {
    ["DATA", "TIMECOL", "SIZE", "OFFSET"].iter().position(|known| name.eq_ignore_ascii_case(known))
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

/// What TUMBLE was given.
pub(crate) struct Arguments {
    data: ast::Expr,
    pub time: ast::Expr,
    pub size: ast::Expr,
    pub offset: Option<ast::Expr>,
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
                let message = format!("the first argument of TUMBLE is a table, not '{other}'");
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
                    format!("the table given to TUMBLE has a column {name} already"),
                    self.data.span(),
                    Some("rename it in a query between"),
                ));
            }
        }
        let time = context.sql_to_expr(self.time.clone(), &schema)?;
        self.check_time(&time.get_type(schema.as_ref())?)?;
        let args = self.constants(time, context)?;
        let [start, end] = windows::functions();
        let mut columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
        columns.push(start.call(args.clone()).alias(WINDOW_START));
        columns.push(end.call(args).alias(WINDOW_END));
        LogicalPlanBuilder::from(input).project(columns)?.build()
    }

    pub fn check_time(&self, time_type: &DataType) -> Result<()> {
        if matches!(time_type, DataType::Timestamp(..) | DataType::Null) {
            return Ok(());
        }
        let message = format!("the time of a window must be a timestamp, and this is {time_type}");
        Err(error(message, self.time.span(), None))
    }

    /// The arguments of the scalar functions.
    fn constants(&self, time: Expr, context: &mut dyn RelationPlannerContext) -> Result<Vec<Expr>> {
        let empty = DFSchema::empty();
        let mut args = vec![time];
        args.extend(self.checked_constants(|given| context.sql_to_expr(given, &empty))?);
        Ok(args)
    }

    /// Size and offset, planned by `plan` and found to be constants that make a window.
    pub fn checked_constants(
        &self,
        mut plan: impl FnMut(ast::Expr) -> Result<Expr>,
    ) -> Result<Vec<Expr>> {
        let mut args = Vec::new();
        let mut values = Vec::new();
        for given in std::iter::once(&self.size).chain(&self.offset) {
            let constant = plan(given.clone())?;
            let Expr::Literal(value, _) = &constant else {
                let message = format!("a window's size must be a constant, not '{given}'");
                return Err(error(message, given.span(), Some(SIZE_HELP)));
            };
            values.push(value.clone());
            args.push(constant);
        }
        let values: Vec<&ScalarValue> = values.iter().collect();
        match windows::size_and_offset(&values) {
            Ok(_) => Ok(args),
            Err(message) => Err(error(message, self.size.span(), Some(SIZE_HELP))),
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

fn error(message: String, span: SqlSpan, help: Option<&str>) -> DataFusionError {
    let span = datafusion_common::Span::try_from_sqlparser_span(span);
    let mut diagnostic = datafusion_common::Diagnostic::new_error(message.clone(), span);
    if let Some(help) = help {
        diagnostic.add_help(help, None);
    }
    plan_datafusion_err!("{message}").with_diagnostic(diagnostic)
}
