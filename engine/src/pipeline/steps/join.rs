//! `{ join = "airlines", on = "carrier = airlines.carrier" }`: the rows so far, with those of a
//! table or another stream. `as_of = "time"`: with those that the table had at that time.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    self, ExceptSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query,
    SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, Visit, VisitMut,
    Visitor, VisitorMut, WildcardAdditionalOptions,
};

use super::{INPUT, Input, columns, expression, flatten, ident, input_alias, select, select_mut};
use crate::pipeline::Diagnostic;
use crate::pipeline::draft::Named;
use crate::pipeline::reader::{Mistakes, Table};
use crate::plan::window_tables::named_table;

const KINDS: [&str; 6] = ["inner", "left", "right", "full", "semi", "anti"];

pub(super) struct Join {
    table: Named,
    on: Expr,
    kind: &'static str,
    /// The time at which the table is looked at.
    as_of: Option<Expr>,
    /// Columns that the table adds; `None` for all of them.
    columns: Option<Vec<SelectItem>>,
}

impl Join {
    pub(super) fn read(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Option<Join> {
        let name = table.get("join").and_then(|name| name.string(mistakes));
        let on = table.require("on", mistakes).and_then(|on| expression(&on, mistakes));
        let added = table.get("columns").map(|added| columns(Some(added), mistakes));
        let as_of = table.get("as_of").map(|time| expression(&time, mistakes));
        let kind = match table.get("type") {
            None => Some("inner"),
            Some(kind) => kind.string(mistakes).and_then(|kind| {
                let known = KINDS.into_iter().find(|known| *known == kind.text);
                if known.is_none() {
                    let message = format!("'{}' is no type of join", kind.text);
                    let diagnostic = Diagnostic::error(message, kind.span.clone());
                    mistakes.push(diagnostic.did_you_mean(kind.text, KINDS.into_iter()));
                }
                known
            }),
        };
        let (as_of, columns) = (flatten(as_of)?, flatten(added)?);
        let mut join = Join { table: name?.named(), on: on?, kind: kind?, as_of, columns };
        let mut bare = BareNames;
        let _ = VisitMut::visit(&mut join.on, &mut bare);
        let _ = VisitMut::visit(&mut join.as_of, &mut bare);
        let _ = VisitMut::visit(&mut join.columns, &mut bare);
        Some(join)
    }

    pub(super) fn apply(self, input: Input) -> Box<Query> {
        let table = ident(&self.table.text, &self.table.span);
        let mut items = vec![all_of(Ident::new(INPUT), Vec::new())];
        match self.columns {
            _ if matches!(self.kind, "semi" | "anti") => {}
            Some(columns) => items.extend(columns),
            None => {
                // What is equal to a column that is there already says nothing new.
                let mut compared = Compared { table: &table.value, columns: Vec::new() };
                let _ = Visit::visit(&self.on, &mut compared);
                // Where the other side may be missing, it does.
                let both = !matches!(self.kind, "right" | "full");
                let columns = if both { compared.columns } else { Vec::new() };
                items.push(all_of(table.clone(), columns));
            }
        }
        let on = JoinConstraint::On(self.on);
        let join_operator = match self.kind {
            "left" => JoinOperator::LeftOuter(on),
            "right" => JoinOperator::RightOuter(on),
            "full" => JoinOperator::FullOuter(on),
            "semi" => JoinOperator::LeftSemi(on),
            "anti" => JoinOperator::LeftAnti(on),
            _ => JoinOperator::Inner(on),
        };
        let mut relation = named_table(ObjectName::from(vec![table]));
        if let TableFactor::Table { with_hints, .. } = &mut relation {
            with_hints.extend(self.as_of);
        }
        let join = ast::Join { relation, global: false, join_operator };
        let mut left = input.relation();
        if let TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } = &mut left {
            *alias = Some(input_alias());
        }
        let mut query = select(left, items);
        let from: &mut Vec<TableWithJoins> = &mut select_mut(&mut query).from;
        from[0].joins.push(join);
        query
    }
}

/// `relation.*`, without some columns.
fn all_of(relation: Ident, without: Vec<Ident>) -> SelectItem {
    let name = SelectItemQualifiedWildcardKind::ObjectName(ObjectName::from(vec![relation]));
    let mut without = without.into_iter();
    let except = without.next().map(|first_element| ExceptSelectItem {
        first_element,
        additional_elements: without.collect(),
    });
    let options = WildcardAdditionalOptions { opt_except: except, ..Default::default() };
    SelectItem::QualifiedWildcard(name, options)
}

/// A name without a table is one of the rows so far.
struct BareNames;

impl VisitorMut for BareNames {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr {
            let input = Ident::with_span(name.span, INPUT);
            *expr = Expr::CompoundIdentifier(vec![input, name.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Columns of the table that the condition names.
struct Compared<'a> {
    table: &'a str,
    columns: Vec<Ident>,
}

impl Visitor for Compared<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } = expr {
            for side in [&**left, &**right] {
                if let Expr::CompoundIdentifier(parts) = side
                    && let [relation, column] = parts.as_slice()
                    && relation.value == self.table
                    && !self.columns.iter().any(|other| other.value == column.value)
                {
                    self.columns.push(column.clone());
                }
            }
        }
        ControlFlow::Continue(())
    }
}
