//! Columns of sources that are computed of those beside them: `cost AS price * quantity`.
//!
//! An expression takes columns of the record, wherever they stand in the declaration, and those
//! computed before it, in whose place their own expressions are put: so what remains is over what
//! records hold. What gives another value each time it is asked is refused: rows that are read
//! again, or taken back, must be what they were.

use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::Expr;
use datafusion_sql::sqlparser::ast::{self, Spanned, Visit, Visitor};

use super::context::Catalog;
use super::errors;
use super::probe::Probe;
use super::spellings;
use super::streamable::{self, Place};
use crate::pipeline::Diagnostic;

/// A column as far as it is known.
pub(crate) struct Known {
    pub name: String,
    /// NULL's where its declaration has a mistake.
    pub data_type: DataType,
    pub is: Is,
}

pub(crate) enum Is {
    Held,
    /// By this, over columns that records hold.
    Computed(Expr),
    /// Further down.
    NotYet,
}

/// The expression over what records hold, and its type; `None` after a mistake.
pub(crate) fn plan(
    name: &str,
    expr: &ast::Expr,
    columns: &[Known],
    place: &Place<'_>,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<(Expr, DataType)> {
    let before = mistakes.len();
    let expr = &spellings::rewritten(expr, place, mistakes);
    streamable::check_expr(expr, place, mistakes);
    if mistakes.len() > before {
        return None;
    }
    let named = names(expr);
    let find = |named: &str| columns.iter().find(|column| column.name == named);
    if named.iter().any(|(named, _)| find(named).is_some_and(|of| of.data_type.is_null())) {
        // What is wrong with that column is reported already.
        return None;
    }
    for (named, span) in &named {
        if find(named).is_some_and(|column| matches!(column.is, Is::NotYet)) {
            let message = match named == name {
                true => format!("column '{named}' cannot be computed of itself"),
                false => format!("column '{named}' is computed itself, further down"),
            };
            let help = "take columns of the record, or columns computed before";
            mistakes.push(Diagnostic::error(message, place.at(*span)).help(help));
        }
    }
    if mistakes.len() > before {
        return None;
    }
    let known = columns.iter().filter(|column| !matches!(column.is, Is::NotYet));
    let fields = known.map(|of| Field::new(&of.name, of.data_type.clone(), true));
    let schema = DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>())).ok()?;
    let catalog = Catalog::new();
    let mut probe = Probe::new(&catalog, place, &[]);
    let data_type = probe.expr(expr, &schema);
    mistakes.append(&mut probe.mistakes);
    if mistakes.len() > before {
        return None;
    }
    if data_type.is_null() {
        let message = format!("nothing says the type of column '{name}': it is always NULL");
        let help = "such as CAST(NULL AS TEXT)";
        mistakes.push(Diagnostic::error(message, place.at(expr.span())).help(help));
        return None;
    }
    let planned = match probe.plan(expr, &schema) {
        Ok(planned) => planned,
        Err(error) => {
            let around = Some(place.at(expr.span()));
            mistakes.push(errors::diagnostic(&error, place.file, around, &catalog));
            return None;
        }
    };
    if let Some(what) = of_more_than_a_row(&planned) {
        let message = format!("{what} is not computed of one row, as a column must be");
        let help = "compute it in a query over this table";
        mistakes.push(Diagnostic::error(message, place.at(expr.span())).help(help));
        return None;
    }
    if planned.is_volatile() {
        let message = "this gives another value each time, and a column must stay what it was";
        let help = "compute it in a query over this table";
        mistakes.push(Diagnostic::error(message, place.at(expr.span())).help(help));
        return None;
    }
    Some((inlined(planned, columns).ok()?, data_type))
}

/// What the expression may name a column by, and where.
fn names(expr: &ast::Expr) -> Vec<(String, datafusion_sql::sqlparser::tokenizer::Span)> {
    struct Names(Vec<(String, datafusion_sql::sqlparser::tokenizer::Span)>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
            let ident = match expr {
                ast::Expr::Identifier(ident) => Some(ident),
                ast::Expr::CompoundIdentifier(parts) => parts.first(),
                _ => None,
            };
            self.0.extend(ident.map(|ident| (ident.value.clone(), ident.span)));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    let _ = expr.visit(&mut names);
    names.0
}

fn of_more_than_a_row(expr: &Expr) -> Option<&'static str> {
    let mut found = None;
    let _ = expr.apply(|part| {
        found = match part {
            Expr::AggregateFunction(_) => Some("an aggregate"),
            Expr::WindowFunction(_) => Some("what stands beside other rows"),
            Expr::Unnest(_) => Some("UNNEST"),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(TreeNodeRecursion::Stop)
    });
    found
}

fn inlined(expr: Expr, columns: &[Known]) -> Result<Expr> {
    let inlined = expr.transform_up(|part| {
        let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        match columns.iter().find(|known| known.name == column.name).map(|known| &known.is) {
            Some(Is::Computed(expr)) => Ok(Transformed::yes(expr.clone())),
            _ => Ok(Transformed::no(part)),
        }
    });
    inlined.map(|inlined| inlined.data)
}
