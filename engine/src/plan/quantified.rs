//! `x = ANY (SELECT …)` to `x IN (SELECT …)`, and `x <> ALL (SELECT …)` to `x NOT IN (SELECT …)`:
//! the same in SQL, NULLs included, and a join on what is equal. Other comparisons stay as they
//! are.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{BinaryOperator, Expr, Query, VisitMut, VisitorMut};

/// Rewrites a query and those within it.
pub(crate) fn rewrite(query: &mut Query) {
    let _ = query.visit(&mut Quantified);
}

struct Quantified;

impl VisitorMut for Quantified {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
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
        for same in ["SELECT a FROM t WHERE a > ANY(SELECT b FROM u)", "SELECT a = ANY(b) FROM t"] {
            assert_eq!(rewritten(same), same);
        }
    }
}
