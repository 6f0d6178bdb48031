//! Calls of users' functions as they are written, to what the planner knows.
//!
//! ```text
//! FROM t, LATERAL TABLE(words(t.x)) AS w(word)  FROM t, UNNEST(words(t.x)) AS w(word)
//! FROM t LEFT JOIN words(t.x) ON TRUE           FROM t LEFT JOIN UNNEST(words(t.x)) AS words …
//! FROM t, parsed(t.x) AS p(a, b)                FROM t, UNNEST(make_array(parsed(t.x))) AS p(a, b)
//! f(limit => 5, of => x)                        f(x, 5)
//! ```
//!
//! A table function is to the planner one whose value is the list of its rows; so that is what it
//! gives where a value stands, too. A scalar function gives one row in FROM. Arguments that are
//! left out between named ones have their defaults.

use std::mem;
use std::ops::ControlFlow;

use datafusion_common::Result;
use datafusion_sql::sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgOperator,
    FunctionArguments, Ident, ObjectName, Query, TableAlias, TableFactor, VisitMut, VisitorMut,
};
use datafusion_sql::unparser::expr_to_sql;

use super::{Loaded, Overloads, default_value};
use crate::pipeline::Diagnostic;
use crate::plan::context::Catalog;
use crate::plan::streamable::Place;
use crate::plan::unnest_tables::function;

/// Rewrites a query and those within it.
pub(crate) fn rewrite(
    query: &mut Query,
    catalog: &Catalog,
    place: &Place<'_>,
    mistakes: &mut Vec<Diagnostic>,
) {
    if catalog.has_functions() {
        let _ = query.visit(&mut Calls { catalog, place, mistakes });
    }
}

struct Calls<'a> {
    catalog: &'a Catalog,
    place: &'a Place<'a>,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl VisitorMut for Calls<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        let found = match relation {
            TableFactor::Function { name, args, with_ordinality, alias, .. } => {
                self.rows_of(name, args).map(|rows| (rows, *with_ordinality, alias.take()))
            }
            TableFactor::Table { name, args: Some(args), with_ordinality, alias, .. } => {
                self.rows_of(name, &args.args).map(|rows| (rows, *with_ordinality, alias.take()))
            }
            TableFactor::TableFunction { expr: Expr::Function(call), alias } => {
                let FunctionArguments::List(list) = &call.args else {
                    return ControlFlow::Continue(());
                };
                self.rows_of(&call.name, &list.args).map(|rows| (rows, false, alias.take()))
            }
            _ => None,
        };
        if let Some((Rows { name, list }, with_ordinality, alias)) = found {
            let own = TableAlias { explicit: true, name, columns: Vec::new(), at: None };
            *relation = TableFactor::UNNEST {
                alias: Some(alias.unwrap_or(own)),
                array_exprs: vec![list],
                with_offset: false,
                with_offset_alias: None,
                with_ordinality,
            };
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && let Err(mistake) = self.in_order(function)
        {
            self.mistakes.push(mistake);
        }
        ControlFlow::Continue(())
    }
}

/// A function in FROM.
struct Rows {
    name: Ident,
    list: Expr,
}

impl Calls<'_> {
    /// The call that stands in FROM, perhaps as `TABLE(f(…))`, and the list of its rows. A scalar
    /// function gives one.
    fn rows_of(&self, name: &ObjectName, args: &[FunctionArg]) -> Option<Rows> {
        let name = name.0.last()?.as_ident()?.clone();
        if name.value.eq_ignore_ascii_case("table") {
            let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(called)))] = args else {
                return None;
            };
            let FunctionArguments::List(list) = &called.args else { return None };
            return self.rows_of(&called.name, &list.args);
        }
        let loaded = self.catalog.function(&name.value)?;
        let call = Expr::Function(function(name.clone(), args.to_vec()));
        let list = match loaded {
            Loaded::Table(_) => call,
            Loaded::Scalar(_) => {
                let list = Ident::with_span(name.span, "make_array");
                let only = FunctionArg::Unnamed(FunctionArgExpr::Expr(call));
                Expr::Function(function(list, vec![only]))
            }
            Loaded::Aggregate(_) => return None,
        };
        Some(Rows { name, list })
    }

    /// Puts arguments that are given by name where they belong.
    fn in_order(&self, function: &mut Function) -> Result<(), Diagnostic> {
        let Some(name) = function.name.0.last().and_then(|part| part.as_ident()) else {
            return Ok(());
        };
        let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
        let Some(overloads) = self.catalog.overloads(&name.value) else { return Ok(()) };
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
            let message = format!("{}(DISTINCT …) is not there for functions of modules", name);
            let mistake = Diagnostic::error(message, self.place.at(name.span));
            return Err(mistake.help("take a SELECT DISTINCT before it"));
        }
        let Some(first) = list.args.iter().position(|arg| named(arg).is_some()) else {
            return Ok(());
        };
        let at = self.place.at(name.span);
        let mut by_name = Vec::new();
        for arg in list.args.split_off(first) {
            let (name, value) = match named(&arg) {
                Some((name, FunctionArgExpr::Expr(value))) => (name.clone(), value.clone()),
                _ => {
                    let message = "an argument without a name stands behind one with a name";
                    return Err(Diagnostic::error(message, at));
                }
            };
            by_name.push((name, value));
        }
        let positional = mem::take(&mut list.args);
        let before = positional.len();
        list.args = positional;
        let mut reasons = Vec::new();
        for (_, signature) in overloads.signatures() {
            match placed(signature, before, &by_name) {
                Ok(values) => {
                    let values = values.into_iter();
                    list.args.extend(
                        values.map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value))),
                    );
                    return Ok(());
                }
                Err(reason) => reasons.push(reason),
            }
        }
        let (reason, ident) = reasons.swap_remove(0);
        let at = ident.map_or(at, |ident| self.place.at(ident.span));
        let known: Vec<String> = overloads.signatures().map(|(_, of)| of.to_string()).collect();
        Err(Diagnostic::error(format!("{}: {reason}", overloads.name()), at)
            .help(format!("it is {}", known.join(", or "))))
    }
}

/// The name and the value of an argument that is given by name.
fn named(arg: &FunctionArg) -> Option<(&Ident, &FunctionArgExpr)> {
    use FunctionArgOperator::{Assignment, RightArrow};
    match arg {
        FunctionArg::Named { name, arg, operator: Assignment | RightArrow } => Some((name, arg)),
        FunctionArg::ExprNamed {
            name: Expr::Identifier(name),
            arg,
            operator: Assignment | RightArrow,
        } => Some((name, arg)),
        _ => None,
    }
}

/// The values behind the first `before`, or why they do not fit.
fn placed(
    signature: &udfs::Signature,
    before: usize,
    by_name: &[(Ident, Expr)],
) -> Result<Vec<Expr>, (String, Option<Ident>)> {
    let mut values: Vec<Option<Expr>> = vec![None; signature.arguments.len()];
    for (ident, value) in by_name {
        let known = |of: &udfs::Argument| of.name.eq_ignore_ascii_case(&ident.value);
        let Some(at) = signature.arguments.iter().position(known) else {
            return Err((format!("it has no argument '{}'", ident.value), Some(ident.clone())));
        };
        if at < before || values[at].is_some() {
            return Err((
                format!("argument '{}' is given twice", ident.value),
                Some(ident.clone()),
            ));
        }
        values[at] = Some(value.clone());
    }
    let last = values.iter().rposition(Option::is_some).map_or(0, |at| at + 1);
    let all = values.into_iter().zip(&signature.arguments).take(last).skip(before);
    all.map(|(value, of)| match (value, &of.default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => {
            let literal = default_value(default, &of.data_type)
                .and_then(|value| expr_to_sql(&datafusion_expr::Expr::Literal(value, None)));
            literal.map_err(|error| (error.strip_backtrace(), None))
        }
        (None, None) => Err((format!("argument '{}' is not given", of.name), None)),
    })
    .collect()
}

impl Catalog {
    fn overloads(&self, name: &str) -> Option<&Overloads> {
        self.function(name).map(Loaded::overloads)
    }
}
