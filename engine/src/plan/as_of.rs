//! `JOIN t FOR SYSTEM_TIME AS OF s.ts`: the rows of a table as they were at a time.
//!
//! ```text
//! s JOIN t FOR SYSTEM_TIME AS OF s.ts AS x ON s.id = x.id       as it is written
//! s JOIN t AS x WITH (s.ts) ON s.id = x.id                      what the parser knows
//! s JOIN t AS x ON s.id = x.id AND system_time_as_of(s.ts, x.…) what the planner knows
//! ```
//!
//! Where the time is that of processing (Flink's `PROCTIME()`), the table is joined as it stands,
//! which a join without a time means.
//!
//! The function stands in a plan for what the topology makes of it. It has no value: this is the
//! one join that means nothing to a batch engine, which has no times at which a table changed.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};
use datafusion_expr::{
    ColumnarValue, Expr as PlanExpr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut,
};

use super::context::Catalog;

pub(super) const NAME: &str = "system_time_as_of";

#[derive(Debug, PartialEq, Eq, Hash)]
struct SystemTimeAsOf {
    signature: Signature,
}

/// `system_time_as_of(time, any column of the table)`.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(2, Volatility::Immutable);
    Arc::new(ScalarUDF::from(SystemTimeAsOf { signature }))
}

impl ScalarUDFImpl for SystemTimeAsOf {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("FOR SYSTEM_TIME AS OF goes with the join of a stream with a table")
    }
}

/// The time that a condition says the table is to be seen at, if that is what it says.
pub(crate) fn time_of(condition: &PlanExpr) -> Option<&PlanExpr> {
    match condition {
        PlanExpr::ScalarFunction(call) if call.func.inner().is::<SystemTimeAsOf>() => {
            call.args.first()
        }
        _ => None,
    }
}

/// Puts the time of each table that has one into the condition of its join. Where it does not fit,
/// it stays, and is refused (see [`super::streamable`]).
pub(crate) fn rewrite(mut query: Query, catalog: &Catalog) -> Query {
    let _ = VisitMut::visit(&mut query, &mut Joins { catalog });
    query
}

struct Joins<'a> {
    catalog: &'a Catalog,
}

impl VisitorMut for Joins<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for from in &mut select.from {
            rewrite_joins(from, self.catalog);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::NestedJoin { table_with_joins, .. } = relation {
            rewrite_joins(table_with_joins, self.catalog);
        }
        ControlFlow::Continue(())
    }
}

fn rewrite_joins(from: &mut TableWithJoins, catalog: &Catalog) {
    let called: Vec<(String, String)> = std::iter::once(&from.relation)
        .chain(from.joins.iter().map(|join| &join.relation))
        .filter_map(called)
        .collect();
    for join in &mut from.joins {
        let _ = rewrite_join(join, &called, catalog);
    }
}

/// What a table is called in a query, and its own name.
fn called(relation: &TableFactor) -> Option<(String, String)> {
    let TableFactor::Table { name, alias, .. } = relation else { return None };
    let own = name.0.last()?.as_ident()?;
    let called = alias.as_ref().map_or(own, |alias| &alias.name);
    Some((called.value.clone(), own.value.clone()))
}

fn is_processing_time(time: &Expr, called: &[(String, String)], catalog: &Catalog) -> bool {
    match time {
        Expr::Identifier(column) => {
            called.iter().any(|(_, table)| catalog.is_processing_time(Some(table), &column.value))
        }
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [of, column] => called.iter().any(|(name, table)| {
                *name == of.value && catalog.is_processing_time(Some(table), &column.value)
            }),
            _ => false,
        },
        _ => false,
    }
}

fn rewrite_join(join: &mut Join, called: &[(String, String)], catalog: &Catalog) -> Option<()> {
    let TableFactor::Table { name, alias, with_hints, .. } = &mut join.relation else {
        return None;
    };
    let [time] = with_hints.as_slice() else { return None };
    if is_processing_time(time, called, catalog) {
        with_hints.clear();
        return Some(());
    }
    let table = name.0.last()?.as_ident()?;
    let (source, is_view) = match catalog.source(&table.value) {
        Some(source) => (source, false),
        None => (catalog.versioned(&table.value)?, true),
    };
    let own_name = alias.as_ref().map_or(table, |alias| &alias.name).clone();
    let column = Ident::new(source.columns.first()?.name.clone());
    let column = Expr::CompoundIdentifier(vec![own_name.clone(), column]);
    let as_of = call(vec![time.clone(), column]);
    let constraint = match &mut join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => constraint,
        _ => return None,
    };
    let JoinConstraint::On(on) = constraint else { return None };
    let left = Box::new(Expr::Nested(Box::new(on.clone())));
    *on = Expr::BinaryOp { left, op: BinaryOperator::And, right: Box::new(as_of) };
    with_hints.clear();
    if is_view {
        let versioned = Ident::new(source.name.clone());
        let explicit = TableAlias { explicit: true, name: own_name, columns: Vec::new(), at: None };
        alias.get_or_insert(explicit);
        *name = ObjectName::from(vec![versioned]);
    }
    Some(())
}

fn call(args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    let args = FunctionArgumentList {
        duplicate_treatment: None,
        args: args.collect(),
        clauses: Vec::new(),
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(NAME)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(args),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
