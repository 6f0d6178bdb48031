//! Comparisons of text with something else: the text is read as the other type, and where it cannot
//! be, the row fails.
//!
//! Batch SQL takes that for granted; in a pipeline the row that is no number may come after months,
//! so it is told when the file is checked. A literal is judged by itself, by the planner.

use arrow::datatypes::DataType;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_expr::expr::BinaryExpr;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan};

use super::streamable::Place;
use crate::pipeline::{Diagnostic, Severity};

/// What is to be said of a plan before types are made to agree.
pub(crate) fn warnings(plan: &LogicalPlan, place: &Place<'_>) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        let mut add = |left: &Expr, right: &Expr| {
            if let Some(warning) = warning(left, right, &schema, place)
                && !found.contains(&warning)
            {
                found.push(warning);
            }
        };
        if let LogicalPlan::Join(join) = node {
            join.on.iter().for_each(|(left, right)| add(left, right));
        }
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part
                    && op.supports_propagation()
                {
                    add(left, right);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    });
    found
}

fn warning(left: &Expr, right: &Expr, schema: &DFSchema, place: &Place<'_>) -> Option<Diagnostic> {
    let (text, other, of_other) = match (kind(left, schema)?, kind(right, schema)?) {
        (DataType::Utf8, of_other) => (left, right, of_other),
        (of_other, DataType::Utf8) => (right, left, of_other),
        _ => return None,
    };
    if matches!(text, Expr::Literal(..)) || !(of_other.is_numeric() || of_other.is_temporal()) {
        return None;
    }
    let message = format!(
        "'{text}' is text and '{other}' is not: the text is read as one, and a row where it is \
         none fails"
    );
    Some(Diagnostic {
        severity: Severity::Warning,
        message,
        span: Some(place.query.clone()),
        label: None,
        help: Some(
            "CAST one of them, or TRY_CAST the text, which makes NULL of what is none".into(),
        ),
    })
}

/// The type of an expression, all kinds of text being one.
fn kind(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    Some(match expr.get_type(schema).ok()? {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        other => other,
    })
}
