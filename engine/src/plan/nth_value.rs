//! `nth_value(x, n ORDER BY o)` to `array_element(array_agg(x ORDER BY o), n)`: the same in SQL.
//! Which row is the nth is known when all are there, and `array_agg` sorts those of which that is
//! asked, where `nth_value` takes it that they come sorted.

use std::mem;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList,
    FunctionArguments, Ident, ObjectName, Query, VisitMut, VisitorMut,
};

/// Rewrites a query and those within it.
pub(crate) fn rewrite(query: &mut Query) {
    let _ = query.visit(&mut NthValue);
}

struct NthValue;

impl VisitorMut for NthValue {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Some(place) = take_place(function)
        {
            function.name = ObjectName::from(vec![Ident::new("array_agg")]);
            let mut element = Function {
                name: ObjectName::from(vec![Ident::new("array_element")]),
                filter: None,
                ..function.clone()
            };
            let list = FunctionArg::Unnamed(FunctionArgExpr::Expr(mem::replace(
                expr,
                Expr::Identifier(Ident::new("")),
            )));
            element.args = FunctionArguments::List(FunctionArgumentList {
                duplicate_treatment: None,
                args: vec![list, place],
                clauses: Vec::new(),
            });
            *expr = Expr::Function(element);
        }
        ControlFlow::Continue(())
    }
}

/// Takes its second argument from an `nth_value` that sorts, and is no window function.
fn take_place(function: &mut Function) -> Option<FunctionArg> {
    let is_nth = function.name.to_string().eq_ignore_ascii_case("nth_value");
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let sorts =
        list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
    let is_plain = function.over.is_none() && function.null_treatment.is_none();
    (is_nth && sorts && is_plain && list.args.len() == 2).then(|| list.args.pop()).flatten()
}

#[cfg(test)]
mod tests {
    use datafusion_sql::sqlparser::ast::Statement;
    use datafusion_sql::sqlparser::dialect::GenericDialect;
    use datafusion_sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn what_sorts_is_an_element_of_all_and_the_rest_stays() {
        let rewritten = |sql: &str| {
            let mut parsed = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
            let Some(Statement::Query(query)) = parsed.pop() else { panic!("{sql}") };
            let mut query = *query;
            rewrite(&mut query);
            query.to_string()
        };
        assert_eq!(
            rewritten("SELECT NTH_VALUE(n, 2 ORDER BY m DESC) FILTER (WHERE n > 0) AS x FROM a"),
            "SELECT array_element(array_agg(n ORDER BY m DESC) FILTER (WHERE n > 0), 2) AS x FROM a"
        );
        for same in [
            "SELECT nth_value(n, 2) FROM a",
            "SELECT nth_value(n, 2) OVER (ORDER BY m) FROM a",
            "SELECT first_value(n ORDER BY m) FROM a",
        ] {
            assert_eq!(rewritten(same), same);
        }
    }
}
