//! `FROM t CROSS JOIN UNNEST(t.list) AS u(element)`: each row beside the elements of its lists.
//!
//! ```text
//! FROM t CROSS JOIN UNNEST(t.list) AS u(e) JOIN x ON …     as it is written
//! FROM (t CROSS JOIN UNNEST(t.list) AS u(e)) JOIN x ON …   what the planner is given
//! Projection t.*, list element AS u.e                      what comes of it
//!   Unnest
//!     Projection t.*, t.list
//! ```
//!
//! It may be written with `LATERAL` or without, behind a comma or a join (`ON TRUE`, or a condition
//! of both), as `LATERAL TABLE(…)`, and with several lists, which are taken apart side by side.
//! `generate_series(…)` and `range(…)` stand there as lists of their own. A row whose list is NULL
//! or empty does not come out, except of LEFT JOIN.
//!
//! The fields of a struct in a list become columns, as in Flink and PostgreSQL, unless one name is
//! given for all of them; entries of a map become its `key` and `value`. Without names an element
//! is called as UNNEST itself is (`AS element`), and `unnest` without that. WITH ORDINALITY adds
//! the element's place in its list, from 1 on.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Fields};
use datafusion_common::{Column, RecursionUnnestOption, Result, TableReference, UnnestOptions};
use datafusion_common::{DFSchema, NullHandling};
use datafusion_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion_expr::{Expr as PlanExpr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, Spanned, TableAlias,
    TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span as SqlSpan;

use super::window_tables::error;

/// Functions that stand for lists of their own.
const SERIES: [&str; 2] = ["generate_series", "range"];

/// What an element is called that has no name, and UNNEST itself.
const UNNAMED: &str = "unnest";
const ORDINALITY: &str = "ordinality";

/// Puts parentheses around what each UNNEST takes apart and itself, in a query and those within it.
pub(crate) fn rewrite(query: &mut Query) {
    let _ = query.visit(&mut Selects);
}

/// Whether it is lists that stand in FROM beside their rows.
pub(crate) fn is_lists(relation: &TableFactor) -> bool {
    Lists::of(relation).is_some()
}

struct Selects;

impl VisitorMut for Selects {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        // `FROM t, UNNEST(…)` is a CROSS JOIN, too.
        let is_list = |from: &TableWithJoins| Lists::of(&from.relation).is_some();
        while let Some(at) = select.from.iter().skip(1).position(is_list) {
            let TableWithJoins { relation, joins } = select.from.remove(at + 1);
            let before = &mut select.from[at].joins;
            let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
            before.push(Join { relation, global: false, join_operator });
            before.extend(joins);
        }
        select.from.iter_mut().for_each(nest);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = relation
            && UnnestCall::of_joins(table_with_joins).is_none()
        {
            nest(table_with_joins);
        }
        ControlFlow::Continue(())
    }
}

fn nest(from: &mut TableWithJoins) {
    while let Some(at) = from.joins.iter().position(|join| Lists::of(&join.relation).is_some()) {
        let after = from.joins.split_off(at + 1);
        let inner = TableWithJoins {
            relation: from.relation.clone(),
            joins: std::mem::replace(&mut from.joins, after),
        };
        let table_with_joins = Box::new(inner);
        from.relation = TableFactor::NestedJoin { table_with_joins, alias: None };
    }
}

/// Lists that stand in FROM.
struct Lists<'a> {
    lists: Vec<Expr>,
    ordinality: bool,
    alias: Option<&'a TableAlias>,
    /// What it is called without an alias.
    name: &'static str,
    span: SqlSpan,
}

impl<'a> Lists<'a> {
    fn of(relation: &'a TableFactor) -> Option<Lists<'a>> {
        match relation {
            TableFactor::UNNEST {
                alias, array_exprs, with_offset: false, with_ordinality, ..
            } => {
                let span = array_exprs.first().map_or(SqlSpan::empty(), Spanned::span);
                let (lists, alias) = (array_exprs.clone(), alias.as_ref());
                Some(Lists { lists, ordinality: *with_ordinality, alias, name: UNNAMED, span })
            }
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                Lists::called(name, args, *with_ordinality, alias.as_ref())
            }
            TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
                let name = name.0.last()?.as_ident()?;
                let is_series = SERIES.iter().any(|known| name.value.eq_ignore_ascii_case(known));
                let name = ObjectName::from(vec![name.clone()]);
                let called = Lists::called(&name, &args.args, *with_ordinality, alias.as_ref());
                called.filter(|_| is_series)
            }
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
                let FunctionArguments::List(list) = &function.args else { return None };
                Lists::called(&function.name, &list.args, false, alias.as_ref())
            }
            _ => None,
        }
    }

    fn called(
        name: &ObjectName,
        args: &[FunctionArg],
        ordinality: bool,
        alias: Option<&'a TableAlias>,
    ) -> Option<Lists<'a>> {
        let ident = name.0.last()?.as_ident()?;
        let exprs = args.iter().map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        });
        let exprs: Vec<Expr> = exprs.collect::<Option<_>>()?;
        let span = ident.span;
        if ident.value.eq_ignore_ascii_case("table") {
            // Flink's `LATERAL TABLE(UNNEST(list))`.
            let [Expr::Function(function)] = exprs.as_slice() else { return None };
            let FunctionArguments::List(list) = &function.args else { return None };
            return Lists::called(&function.name, &list.args, ordinality, alias);
        }
        let series = SERIES.into_iter().find(|known| ident.value.eq_ignore_ascii_case(known));
        let (lists, name) = match series {
            Some(series) => (vec![call(series, exprs)], series),
            None if ident.value.eq_ignore_ascii_case(UNNAMED) => (exprs, UNNAMED),
            None => return None,
        };
        Some(Lists { lists, ordinality, alias, name, span })
    }
}

/// A relation with lists beside it, as it stands in FROM.
pub(crate) struct UnnestCall<'a> {
    joins: &'a TableWithJoins,
    lists: Lists<'a>,
    operator: &'a JoinOperator,
    /// Of all of it.
    pub alias: Option<&'a TableAlias>,
}

/// A column that UNNEST gives.
pub(crate) struct Output {
    pub name: String,
    pub data_type: DataType,
    /// Which list it is of, and the field of its elements if it is not all of them.
    list: usize,
    field: Option<String>,
}

impl<'a> UnnestCall<'a> {
    pub fn of(relation: &'a TableFactor) -> Option<UnnestCall<'a>> {
        let TableFactor::NestedJoin { table_with_joins, alias } = relation else { return None };
        let alias = alias.as_ref();
        UnnestCall::of_joins(table_with_joins).map(|call| UnnestCall { alias, ..call })
    }

    /// Where nothing stands behind the first UNNEST.
    fn of_joins(joins: &'a TableWithJoins) -> Option<UnnestCall<'a>> {
        let (last, before) = joins.joins.split_last()?;
        let lists = Lists::of(&last.relation)?;
        if before.iter().any(|join| Lists::of(&join.relation).is_some()) {
            return None;
        }
        Some(UnnestCall { joins, lists, operator: &last.join_operator, alias: None })
    }

    pub fn span(&self) -> SqlSpan {
        self.lists.span
    }

    /// What the lists are of.
    pub fn before(&self) -> TableFactor {
        let mut before = self.joins.clone();
        before.joins.pop();
        if before.joins.is_empty() {
            return before.relation;
        }
        TableFactor::NestedJoin { table_with_joins: Box::new(before), alias: None }
    }

    /// The lists, over the columns of that, the places of their elements behind them.
    pub fn lists(&self) -> Vec<Expr> {
        let mut lists = self.lists.lists.clone();
        if self.lists.ordinality {
            let lengths = lists.iter().map(|list| call("array_length", vec![list.clone()]));
            let length = match lists.as_slice() {
                [only] => call("array_length", vec![only.clone()]),
                _ => call("greatest", lengths.collect()),
            };
            let one = Expr::Value(Value::Number("1".to_owned(), false).with_empty_span());
            lists.push(call("generate_series", vec![one, length]));
        }
        lists
    }

    /// What the columns are qualified by.
    pub fn qualifier(&self) -> TableReference {
        let name = self.lists.alias.map_or(self.lists.name, |alias| &alias.name.value);
        TableReference::bare(name.to_owned())
    }

    /// Whether rows without elements come out, and a condition of those that do.
    pub fn kind(&self) -> Result<(bool, Option<&'a Expr>)> {
        let is_true =
            |on: &Expr| matches!(on, Expr::Value(value) if value.value == Value::Boolean(true));
        match self.operator {
            JoinOperator::CrossJoin(_)
            | JoinOperator::Join(JoinConstraint::None)
            | JoinOperator::Inner(JoinConstraint::None) => Ok((false, None)),
            JoinOperator::Join(JoinConstraint::On(on))
            | JoinOperator::Inner(JoinConstraint::On(on)) => {
                Ok((false, Some(on).filter(|on| !is_true(on))))
            }
            JoinOperator::Left(JoinConstraint::On(on))
            | JoinOperator::LeftOuter(JoinConstraint::On(on))
                if is_true(on) =>
            {
                Ok((true, None))
            }
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => {
                let message = "a LEFT JOIN with a row's own lists is ON TRUE";
                let help = "write ON TRUE; a condition in WHERE leaves rows without a match out";
                Err(error(message.to_owned(), self.span(), Some(help)))
            }
            _ => {
                let message = "a row's own lists stand behind CROSS JOIN, JOIN … ON or LEFT JOIN \
                               … ON TRUE";
                let help = "such as t CROSS JOIN UNNEST(t.list) AS u(element)";
                Err(error(message.to_owned(), self.span(), Some(help)))
            }
        }
    }

    /// The columns that lists of these types give. Types that are not known fit.
    pub fn outputs(&self, types: &[DataType]) -> Result<Vec<Output>> {
        let Lists { alias, name, ordinality, lists: given, .. } = &self.lists;
        let elements = types.iter().map(|of| self.element(of)).collect::<Result<Vec<_>>>()?;
        let names: Vec<&str> = alias.map_or_else(Vec::new, |alias| {
            alias.columns.iter().map(|column| column.name.value.as_str()).collect()
        });
        let fields = |at: usize| match &elements[at] {
            DataType::Struct(fields) if at < given.len() => Some(fields),
            _ => None,
        };
        let width = |at: usize| fields(at).map_or(1, |fields| fields.len());
        let spread: usize = (0..elements.len()).map(width).sum();
        let is_whole = names.len() != spread && names.len() == elements.len();
        let mut outputs = Vec::new();
        for (list, element) in elements.iter().enumerate() {
            match fields(list).filter(|_| !is_whole) {
                Some(fields) => outputs.extend(fields.iter().map(|field| Output {
                    name: field.name().clone(),
                    data_type: field.data_type().clone(),
                    list,
                    field: Some(field.name().clone()),
                })),
                None => {
                    let is_place = *ordinality && list == given.len();
                    let own = alias.map_or(*name, |alias| &alias.name.value);
                    let name = if is_place { ORDINALITY } else { own }.to_owned();
                    outputs.push(Output { name, data_type: element.clone(), list, field: None });
                }
            }
        }
        if !names.is_empty() && elements.contains(&DataType::Null) {
            // What is not known fits whatever is made of it.
            outputs.resize_with(names.len(), || Output {
                name: String::new(),
                data_type: DataType::Null,
                list: 0,
                field: None,
            });
        }
        if !names.is_empty() && names.len() != outputs.len() {
            let there: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
            let message = format!(
                "{} columns come of this ({}), and {} have names",
                outputs.len(),
                there.join(", "),
                names.len()
            );
            let help = "name all of them, or none";
            return Err(error(message, self.span(), Some(help)));
        }
        for (output, name) in outputs.iter_mut().zip(names) {
            output.name = name.to_owned();
        }
        Ok(outputs)
    }

    fn element(&self, of: &DataType) -> Result<DataType> {
        Ok(match of {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
            | DataType::ListView(item)
            | DataType::LargeListView(item) => item.data_type().clone(),
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Ok(DataType::Null);
                };
                let [key, value] = [0, 1].map(|at| fields[at].as_ref().clone());
                let fields = vec![key.with_name("key"), value.with_name("value")];
                DataType::Struct(Fields::from(fields))
            }
            DataType::Null => DataType::Null,
            other => {
                let message = format!("UNNEST takes a list or a map, and this is {other}");
                return Err(error(message, self.span(), None));
            }
        })
    }
}

fn call(name: &str, args: Vec<Expr>) -> Expr {
    let span = args.first().map_or(SqlSpan::empty(), Spanned::span);
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(function(Ident::with_span(span, name), args.collect()))
}

/// A plain call of a function.
pub(crate) fn function(name: Ident, args: Vec<FunctionArg>) -> Function {
    Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args,
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

/// Plans relations with lists beside them; a batch engine can register it too, for queries that
/// were rewritten.
#[derive(Debug)]
pub struct UnnestTables;

impl RelationPlanner for UnnestTables {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(call) = UnnestCall::of(&relation) else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let input = context.plan(call.before())?;
        let plan = taken_apart(&call, input, context)?;
        let planned = PlannedRelation::new(plan, call.alias.cloned());
        Ok(RelationPlanning::Planned(Box::new(planned)))
    }
}

fn taken_apart(
    call: &UnnestCall<'_>,
    input: LogicalPlan,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    let (keeps_all, condition) = call.kind()?;
    let schema: Arc<DFSchema> = Arc::clone(input.schema());
    let (mut lists, mut types) = (Vec::new(), Vec::new());
    for list in call.lists() {
        let list = context.sql_to_expr(list, &schema)?;
        let data_type = list.get_type(schema.as_ref())?;
        lists.push(match data_type {
            DataType::Map(..) => datafusion_functions_nested::expr_fn::map_entries(list),
            _ => list,
        });
        types.push(data_type);
    }
    let outputs = call.outputs(&types)?;
    let null_handling = match keeps_all {
        true => NullHandling::PreserveAndExpandEmpty,
        false => NullHandling::Drop,
    };
    let mut options = UnnestOptions::new().with_null_handling(null_handling);
    let columns: Vec<PlanExpr> = schema.columns().into_iter().map(PlanExpr::Column).collect();
    // Called as the planner calls those of SELECT.
    let (mut below, mut places, mut elements) = (columns.clone(), Vec::new(), Vec::new());
    for list in lists {
        let of = list.schema_name().to_string();
        let place = Column::new_unqualified(format!("__unnest_placeholder({of})"));
        let element = Column::new_unqualified(format!("__unnest_placeholder({of},depth=1)"));
        elements.push(PlanExpr::Column(element.clone()));
        if places.contains(&place) {
            continue;
        }
        below.push(list.alias(place.name.clone()));
        options = options.with_recursions(RecursionUnnestOption {
            input_column: place.clone(),
            output_column: element,
            depth: 1,
        });
        places.push(place);
    }
    let qualifier = call.qualifier();
    let mut above = columns;
    for Output { name, list, field, .. } in outputs {
        let element = elements[list].clone();
        let value = match field {
            Some(field) => datafusion_functions::core::get_field().call(vec![element, lit(field)]),
            None => element,
        };
        above.push(value.alias_qualified(Some(qualifier.clone()), name));
    }
    let plan = LogicalPlanBuilder::from(input)
        .project(below)?
        .unnest_columns_with_options(places, options)?
        .project(above)?;
    let Some(condition) = condition else { return plan.build() };
    let condition = context.sql_to_expr(condition.clone(), plan.schema())?;
    plan.filter(condition)?.build()
}
