//! JSON that is made, as SQL spells it (ISO/IEC 9075-2, 6.33 and 6.34).
//!
//! `JSON_OBJECT('a' VALUE x)` is text put together of names and of values as `json_string` writes
//! them; an object or array that stands within another is not made text of again.

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    JsonNullClause,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::{call, taken, text, try_cast};

/// What a call of `json_object` or `json_array` is, before its arguments are looked at.
pub fn made(function: &Function) -> Option<Expr> {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else { return None };
    let is_sparse = |clause: &FunctionArgumentClause| {
        matches!(clause, FunctionArgumentClause::JsonNullClause(JsonNullClause::AbsentOnNull))
    };
    if list.clauses.iter().any(is_sparse) {
        return None;
    }
    let (open, close, entries) = match &*name {
        "json_object" => ("{", "}", fields(&list.args)?),
        "json_array" => ("[", "]", list.args.iter().map(item).collect::<Option<Vec<_>>>()?),
        _ => return None,
    };
    let constant = |of: &str| text(of, Span::empty());
    let mut parts = vec![constant(open)];
    for (at, mut entry) in entries.into_iter().enumerate() {
        if at > 0 {
            parts.push(constant(","));
        }
        parts.append(&mut entry);
    }
    parts.push(constant(close));
    Some(call("concat", parts))
}

/// `'a' VALUE x`, `'a': x`, or names and values in turn.
fn fields(args: &[FunctionArg]) -> Option<Vec<Vec<Expr>>> {
    let mut fields = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = match arg {
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (named(name), value)
            }
            FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(value), .. } => {
                (name.clone(), value)
            }
            FunctionArg::Unnamed(FunctionArgExpr::Expr(name)) => match args.next()? {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (name.clone(), value),
                _ => return None,
            },
            _ => return None,
        };
        let colon = text(":", Span::empty());
        fields.push(vec![call("json_string", vec![name]), colon, written(value)]);
    }
    Some(fields)
}

/// The parser takes a text before VALUE for a name in quotes.
fn named(name: &Ident) -> Expr {
    match name.quote_style {
        Some('\'') => text(&name.value, name.span),
        _ => Expr::Identifier(name.clone()),
    }
}

fn item(arg: &FunctionArg) -> Option<Vec<Expr>> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(vec![written(value)]),
        _ => None,
    }
}

/// A value as JSON text, NULL too.
fn written(value: &Expr) -> Expr {
    let is_json = matches!(value, Expr::Function(function) if made(function).is_some());
    match is_json {
        true => value.clone(),
        false => {
            let written = call("json_string", vec![value.clone()]);
            call("coalesce", vec![written, text("null", Span::empty())])
        }
    }
}

/// `JSON_VALUE(j, path RETURNING type)`: NULL where it is no such.
pub fn returning(function: &mut Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let at = list
        .clauses
        .iter()
        .position(|clause| matches!(clause, FunctionArgumentClause::JsonReturningClause(_)))?;
    let FunctionArgumentClause::JsonReturningClause(clause) = list.clauses.remove(at) else {
        return None;
    };
    let value = call("json_value", vec![taken(list, 0)?, taken(list, 1)?]);
    Some(try_cast(value, super::types::known(clause.data_type)))
}
