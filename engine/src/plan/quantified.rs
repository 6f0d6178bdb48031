//! `x = ANY (SELECT …)` to `x IN (SELECT …)`, and `x <> ALL (SELECT …)` to `x NOT IN (SELECT …)`:
//! the same in SQL, NULLs included, and a join on what is equal. Other comparisons stay as they
//! are. `(x, y) IN (SELECT …)` becomes `EXISTS`, which keeps the same rows: the planner knows `IN`
//! of one column alone.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Query, SetExpr, Statement, TableAliasColumnDef, TableFactor,
    VisitMut, VisitorMut,
};
use datafusion_sql::sqlparser::parser::Parser;

use crate::pipeline::tokens::DIALECT;

/// Rewrites a query and those within it.
pub(crate) fn rewrite(query: &mut Query) {
    let _ = query.visit(&mut Quantified);
}

struct Quantified;

impl VisitorMut for Quantified {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::InSubquery { expr: of, subquery, negated: false } = expr
            && let Expr::Tuple(of) = of.as_ref()
            && let Some(exists) = exists(of, subquery)
        {
            *expr = exists;
        }
        let (left, right, negated) = match expr {
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => (left, right, false),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => (left, right, true),
            _ => return ControlFlow::Continue(()),
        };
        if let Expr::Subquery(subquery) = right.as_ref() {
            let (expr_of, subquery) = (left.clone(), subquery.clone());
            *expr = Expr::InSubquery { expr: expr_of, subquery, negated };
        }
        ControlFlow::Continue(())
    }
}

/// Whether the query has a row whose columns are these, each by each.
fn exists(of: &[Expr], among: &Query) -> Option<Expr> {
    const TEMPLATE: &str = "SELECT 1 FROM (SELECT 1) AS __among(__column0) WHERE true";
    let mut parsed = Parser::parse_sql(&DIALECT, TEMPLATE).ok()?;
    let Some(Statement::Query(mut query)) = parsed.pop() else { return None };
    let SetExpr::Select(select) = query.body.as_mut() else { return None };
    let TableFactor::Derived { subquery, alias: Some(alias), .. } =
        &mut select.from.first_mut()?.relation
    else {
        return None;
    };
    **subquery = among.clone();
    let names: Vec<String> = (0..of.len()).map(|at| format!("__column{at}")).collect();
    alias.columns = names.iter().map(TableAliasColumnDef::from_name).collect();
    let equal = names.iter().zip(of).map(|(name, of)| Expr::BinaryOp {
        left: Box::new(Expr::CompoundIdentifier(vec![alias.name.clone(), Ident::new(name)])),
        op: BinaryOperator::Eq,
        right: Box::new(of.clone()),
    });
    let both = |left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    };
    select.selection = equal.reduce(both);
    Some(Expr::Exists { subquery: query, negated: false })
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::ast::Statement;
    use datafusion_sql::sqlparser::dialect::GenericDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    fn rewritten(sql: &str) -> String {
        let mut parsed = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        let Some(Statement::Query(query)) = parsed.pop() else { panic!("{sql}") };
        let mut query = *query;
        rewrite(&mut query);
        query.to_string()
    }

    #[test]
    fn equal_to_any_is_in_and_unequal_to_all_is_not_in() {
        assert_eq!(
            rewritten(
                "SELECT a FROM t WHERE a = ANY (SELECT b FROM u WHERE b <> ALL (SELECT c FROM v))"
            ),
            "SELECT a FROM t WHERE a IN (SELECT b FROM u WHERE b NOT IN (SELECT c FROM v))"
        );
        assert_eq!(
            rewritten("SELECT a FROM t WHERE (a, t.b + 1) IN (SELECT c, d FROM u)"),
            "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM (SELECT c, d FROM u) \
             AS __among (__column0, __column1) \
             WHERE __among.__column0 = a AND __among.__column1 = t.b + 1)"
        );
        for same in ["SELECT a FROM t WHERE a > ANY(SELECT b FROM u)", "SELECT a = ANY(b) FROM t"] {
            assert_eq!(rewritten(same), same);
        }
    }
}
