//! Where conditions stand in the file: rows that they have dropped are told by it.
//!
//! A plan has no places, and the optimizer moves and rewrites its conditions. So conditions of the
//! syntax are listed here, and those of a plan are found among them by the names and values that
//! they have in common.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, Expr, JoinConstraint, JoinOperator, Query, Select, Spanned, Visit, Visitor,
};

use super::streamable::Place;
use crate::pipeline::{Predicate, Span};

/// All conditions of a query and those within it.
pub(crate) fn predicates(query: &Query, place: &Place<'_>) -> Vec<Predicate> {
    let mut found = Found { place, predicates: Vec::new() };
    let _ = query.visit(&mut found);
    found.predicates
}

struct Found<'a> {
    place: &'a Place<'a>,
    predicates: Vec<Predicate>,
}

impl Visitor for Found<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let joins = select.from.iter().flat_map(|from| &from.joins);
        let on = joins.filter_map(|join| constraint(&join.join_operator));
        let rest = [&select.selection, &select.having, &select.qualify];
        for condition in on.chain(rest.into_iter().flatten()) {
            self.split(condition);
        }
        ControlFlow::Continue(())
    }
}

impl Found<'_> {
    fn split(&mut self, condition: &Expr) {
        match condition {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                self.split(left);
                self.split(right);
            }
            Expr::Nested(within) => self.split(within),
            other => {
                let (sql, span) = (other.to_string(), self.place.at(other.span()));
                self.predicates.push(Predicate { sql, span });
            }
        }
    }
}

fn constraint(operator: &JoinOperator) -> Option<&Expr> {
    match operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::Semi(on)
        | JoinOperator::LeftSemi(on)
        | JoinOperator::RightSemi(on)
        | JoinOperator::Anti(on)
        | JoinOperator::LeftAnti(on)
        | JoinOperator::RightAnti(on) => match on {
            JoinConstraint::On(on) => Some(on),
            _ => None,
        },
        _ => None,
    }
}

/// Where a condition of a plan comes from: the condition of the file that is most like it, if it
/// has all that it names.
pub fn place_of<'p>(predicates: &'p [Predicate], sql: &str) -> Option<&'p Span> {
    let wanted = names(sql);
    let alike = |predicate: &'p Predicate| {
        let found = names(&predicate.sql);
        let common = wanted.intersection(&found).count();
        let all = wanted.union(&found).count();
        (common == wanted.len() && common > 0).then_some((common * 100 / all, &predicate.span))
    };
    // The first of those that are equally alike.
    let found = predicates
        .iter()
        .filter_map(alike)
        .reduce(|best, other| if other.0 > best.0 { other } else { best });
    found.map(|(_, span)| span)
}

/// Words that any condition may have.
const EVERYWHERE: [&str; 9] =
    ["and", "or", "not", "is", "cast", "as", "between", "interval", "timestamp"];

/// Columns, without what they are columns of, functions and values.
fn names(sql: &str) -> BTreeSet<String> {
    let of_word = |character: char| character.is_alphanumeric() || "_.".contains(character);
    let words = sql.split(|character| !of_word(character)).filter(|word| !word.is_empty());
    let words = words.map(|word| match word.parse::<f64>() {
        Ok(number) => number.to_string(),
        Err(_) => word.rsplit('.').next().unwrap_or(word).to_lowercase(),
    });
    words.filter(|word| !EVERYWHERE.contains(&word.as_str()) && !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::span;

    #[test]
    fn a_rewritten_condition_is_found() {
        let predicates = [
            "amount > 100",
            "o.customer IS NOT NULL",
            "o.amount BETWEEN 5 AND 7",
            "lower(customer) = 'x'",
            "o.id = c.id",
        ]
        .map(|sql| Predicate { sql: sql.to_owned(), span: span() })
        .into_iter()
        .enumerate()
        .map(|(start, predicate)| Predicate { span: Span { start, ..span() }, ..predicate })
        .collect::<Vec<_>>();
        let place = |sql| place_of(&predicates, sql).map(|span| span.start);
        assert_eq!(place("amount > 100.0"), Some(0));
        assert_eq!(place("customer IS NOT NULL"), Some(1));
        assert_eq!(place("amount >= 5.0"), Some(2));
        assert_eq!(place("orders.amount <= CAST(7 AS DOUBLE)"), None);
        assert_eq!(place("lower(orders.customer) = 'x'"), Some(3));
        assert_eq!(place("id IS NOT NULL"), None);
        assert_eq!(place("city = 'here'"), None);
    }
}
