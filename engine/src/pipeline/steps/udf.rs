//! `{ udf = "words", args = ["text"], as = ["word"] }`: what a function makes of each row.
//!
//! One name takes the function's value as a column. A list of names takes its rows, if it gives
//! any number of them, or the fields of its value, as columns. `keep` says which of the other
//! columns stay, if not all do: with `keep = []` the function makes new rows of the old ones.

use datafusion_sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, Ident, Join, JoinConstraint,
    JoinOperator, ObjectName, Query, SelectItem, TableAlias, TableAliasColumnDef, TableFactor,
};

use super::{Input, expression, flatten, ident, select_from, select_mut, wildcard};
use crate::pipeline::Diagnostic;
use crate::pipeline::reader::{Mistakes, StringValue, Table, Value};
use crate::plan::unnest_tables::function;

/// What the rows of a function are called.
const ROWS: &str = "udf";

pub(super) struct Udf {
    name: Ident,
    args: Vec<FunctionArg>,
    gives: Gives,
    keep: Option<Vec<Ident>>,
}

enum Gives {
    Column(Ident),
    Columns(Vec<Ident>),
}

impl Udf {
    pub(super) fn read(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Option<Udf> {
        let name = table.get("udf").and_then(|name| name.string(mistakes));
        let args = match table.get("args") {
            Some(args) => arguments(&args, mistakes),
            None => Some(Vec::new()),
        };
        let keep = table.get("keep").map(|keep| {
            let names = keep.strings(mistakes)?;
            Some(names.iter().map(name_of).collect::<Vec<_>>())
        });
        let gives = match table.get("as") {
            None => name.as_ref().map(|name| Gives::Column(name_of(name))),
            Some(gives) if gives.is_list() => {
                let names = gives.strings(mistakes);
                names.and_then(|names| {
                    if names.is_empty() {
                        let message = "'as' names no column";
                        mistakes.push(Diagnostic::error(message, mistakes.span(&gives.range)));
                        return None;
                    }
                    Some(Gives::Columns(names.iter().map(name_of).collect()))
                })
            }
            Some(gives) => gives.string(mistakes).map(|name| Gives::Column(name_of(&name))),
        };
        Some(Udf { name: name_of(&name?), args: args?, gives: gives?, keep: flatten(keep)? })
    }

    pub(super) fn apply(self, input: Input) -> Box<Query> {
        let Udf { name, args, gives, keep } = self;
        let kept = keep.map(|keep| keep.into_iter().map(column).collect::<Vec<_>>());
        match gives {
            Gives::Column(alias) => {
                let expr = Expr::Function(function(name, args));
                let mut items = kept.unwrap_or_else(|| vec![wildcard()]);
                items.push(SelectItem::ExprWithAlias { expr, alias });
                select_from(input, items)
            }
            Gives::Columns(columns) => {
                let items = kept.map(|mut items| {
                    items.extend(columns.iter().cloned().map(column));
                    items
                });
                let mut query = select_from(input, items.unwrap_or_else(|| vec![wildcard()]));
                let relation = rows_of(name, args, columns);
                let join_operator = JoinOperator::CrossJoin(JoinConstraint::None);
                let join = Join { relation, global: false, join_operator };
                select_mut(&mut query).from[0].joins.push(join);
                query
            }
        }
    }
}

fn name_of(name: &StringValue<'_>) -> Ident {
    ident(name.text, &name.span)
}

fn column(name: Ident) -> SelectItem {
    SelectItem::UnnamedExpr(Expr::Identifier(name))
}

/// `["a", "b + 1"]` in their order, or `{ text = "a" }` by their names.
fn arguments(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Vec<FunctionArg>> {
    if value.is_list() {
        let args = value.array(mistakes)?;
        let args = args.iter().map(|arg| {
            let arg = FunctionArgExpr::Expr(expression(arg, mistakes)?);
            Some(FunctionArg::Unnamed(arg))
        });
        return args.collect::<Vec<_>>().into_iter().collect();
    }
    let table = value.table(mistakes)?;
    let args = table.named("argument", mistakes).into_iter().map(|(name, value)| {
        let arg = FunctionArgExpr::Expr(expression(&value, mistakes)?);
        let name = ident(&name.text, &name.span);
        Some(FunctionArg::Named { name, arg, operator: FunctionArgOperator::RightArrow })
    });
    args.collect::<Vec<_>>().into_iter().collect()
}

/// `LATERAL f(…) AS udf(a, b)`
fn rows_of(name: Ident, args: Vec<FunctionArg>, columns: Vec<Ident>) -> TableFactor {
    let alias = Ident::with_span(name.span, ROWS);
    let columns =
        columns.into_iter().map(|name| TableAliasColumnDef { name, data_type: None }).collect();
    TableFactor::Function {
        lateral: true,
        name: ObjectName::from(vec![name]),
        args,
        with_ordinality: false,
        alias: Some(TableAlias { explicit: true, name: alias, columns, at: None }),
    }
}
