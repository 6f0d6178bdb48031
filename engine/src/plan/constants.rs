//! Mistakes in constants that only computing finds: a unit of time that is none, an unknown zone,
//! a pattern that does not end.
//!
//! Each call that has constants is computed for a row of NULLs and for one of ordinary values,
//! such as 0 and the empty text, its constants as they are. Where both fail, every row would.
//! Functions in WebAssembly, and those that give another value each time, are not called.

use std::sync::{Arc, LazyLock};

use arrow::array::timezone::Tz;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::execution_props::ExecutionProps;
use datafusion_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{Cast, Expr, ExprSchemable, LogicalPlan, Operator, Volatility};
use datafusion_physical_expr::create_physical_expr;

use super::context::computes;
use crate::operators::guarded::guarded;

/// Fails as the first part of a plan does that no row can pass.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        let inputs = node.inputs();
        let schema = match inputs.as_slice() {
            [] => node.schema().as_ref().clone(),
            inputs => merge_schema(inputs),
        };
        node.expressions().iter().try_for_each(|expr| check(expr, &schema))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Fails as the first part of an expression does that no row can pass. Types agree already.
pub(crate) fn check(expr: &Expr, schema: &DFSchema) -> Result<()> {
    check_part(expr, schema, false)
}

/// `guarded`: it is computed only of rows for which something holds. What is constant all through
/// may stand there because no row comes to it.
fn check_part(part: &Expr, schema: &DFSchema, guarded: bool) -> Result<()> {
    if let Ok(DataType::Timestamp(_, Some(zone))) = part.get_type(schema)
        && zone.parse::<Tz>().is_err()
    {
        return plan_err!("'{zone}' is no time zone: write Europe/Berlin, UTC or +02:00");
    }
    if may_fail(part)
        && let Some(alone) = Alone::of(part, schema)
        && !(guarded && alone.types.is_empty())
        && alone.compute(|of| ScalarValue::try_new_null(of)).is_err()
    {
        alone.compute(ScalarValue::new_default)?;
    }
    let guards = match part {
        Expr::Case(_) => true,
        Expr::BinaryExpr(of) => matches!(of.op, Operator::And | Operator::Or),
        Expr::ScalarFunction(call) => call.func.short_circuits(),
        _ => false,
    };
    part.apply_children(|child| {
        check_part(child, schema, guarded || guards)?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn may_fail(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => {
            // Those that choose among their arguments, such as COALESCE, do not fail themselves,
            // and are CASE by the time that they are computed.
            call.func.signature().volatility == Volatility::Immutable
                && computes(&call.func)
                && !call.func.short_circuits()
        }
        Expr::Cast(Cast { expr, field }) => {
            let has_zone = matches!(field.data_type(), DataType::Timestamp(_, Some(_)));
            has_zone || is_constant(expr)
        }
        Expr::BinaryExpr(of) => {
            let matches = [
                Operator::RegexMatch,
                Operator::RegexIMatch,
                Operator::RegexNotMatch,
                Operator::RegexNotIMatch,
            ];
            matches.contains(&of.op) || (is_constant(&of.left) && is_constant(&of.right))
        }
        Expr::SimilarTo(_) => true,
        _ => false,
    }
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Cast(cast) => is_constant(&cast.expr),
        Expr::Alias(alias) => is_constant(&alias.expr),
        _ => false,
    }
}

/// An expression with columns in place of all its parts that are not constant.
struct Alone {
    expr: Expr,
    types: Vec<DataType>,
}

impl Alone {
    /// `None` if it has no constants, or parts that have no type by themselves.
    fn of(expr: &Expr, schema: &DFSchema) -> Option<Alone> {
        let (mut types, mut constants) = (Vec::new(), 0);
        let alone = expr.clone().map_children(|part| {
            if is_constant(&part) {
                constants += 1;
                return Ok(Transformed::no(part));
            }
            types.push(part.get_type(schema)?);
            let column = Column::new_unqualified(name(types.len() - 1));
            Ok(Transformed::yes(Expr::Column(column)))
        });
        let has_zone = matches!(expr, Expr::Cast(_));
        let expr = alone.ok()?.data;
        (constants > 0 || has_zone).then_some(Alone { expr, types })
    }

    /// For one row of these values.
    fn compute(&self, value: impl Fn(&DataType) -> Result<ScalarValue>) -> Result<()> {
        static PROPS: LazyLock<ExecutionProps> = LazyLock::new(ExecutionProps::new);
        let fields = self.types.iter().enumerate();
        let fields = fields.map(|(at, of)| Field::new(name(at), of.clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let values = self.types.iter().map(|of| value(of)?.to_array());
        let values: Vec<ArrayRef> = values.collect::<Result<_>>()?;
        let named = DFSchema::try_from(Arc::clone(&schema))?;
        let context = PhysicalPlanningContext::default();
        let physical = create_physical_expr(&self.expr, &named, &PROPS, &context)?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(schema, values, &options)?;
        guarded(|| physical.evaluate(&row).map(drop))
    }
}

fn name(at: usize) -> String {
    format!("value_{at}")
}
