//! JSON as SQL spells it (ISO/IEC 9075-2:2016, 6.27 to 6.34 and 10.11).
//!
//! `JSON_OBJECT('a' VALUE x)` is text put together of names and of values as `json_string` writes
//! them; an object or array that stands within another is not made text of again.

use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, JsonNullClause,
    NormalizationForm, UnaryOperator, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::{binary, call, cast, taken, text, try_cast};
use crate::pipeline::json_words::ERROR;

/// What a call of `json_object` or `json_array` is, before its arguments are looked at.
pub fn made(function: &Function) -> Option<Expr> {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else { return None };
    let said = list.clauses.iter().find_map(|clause| match clause {
        FunctionArgumentClause::JsonNullClause(said) => Some(*said == JsonNullClause::AbsentOnNull),
        _ => None,
    });
    // What is NULL is left out of lists unless it is asked for, and in objects unless it is not.
    if said.unwrap_or(name == "json_array") {
        return sparse(&name, list);
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

/// The same without what is NULL.
fn sparse(name: &str, list: &FunctionArgumentList) -> Option<Expr> {
    let constant = |of: &str| text(of, Span::empty());
    let (open, close, entries) = match name {
        "json_object" => {
            let fields = named_values(&list.args)?.into_iter().map(|(name, of)| {
                let begin = binary(named_by(name), BinaryOperator::StringConcat, constant(":"));
                binary(begin, BinaryOperator::StringConcat, unless_null(&of))
            });
            ("{", "}", fields.collect::<Vec<_>>())
        }
        "json_array" => {
            let items = list.args.iter().map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(of)) => Some(unless_null(of)),
                _ => None,
            });
            ("[", "]", items.collect::<Option<Vec<_>>>()?)
        }
        _ => return None,
    };
    if entries.is_empty() {
        return Some(constant(&format!("{open}{close}")));
    }
    let joined = call("array_to_string", vec![call("make_array", entries), constant(",")]);
    Some(call("concat", vec![constant(open), joined, constant(close)]))
}

/// `'a' VALUE x`, `'a': x`, or names and values in turn.
fn named_values(args: &[FunctionArg]) -> Option<Vec<(Expr, Expr)>> {
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
        fields.push((name, value.clone()));
    }
    Some(fields)
}

/// What each field is put together of.
fn fields(args: &[FunctionArg]) -> Option<Vec<Vec<Expr>>> {
    let field = |(name, value): (Expr, Expr)| {
        vec![named_by(name), text(":", Span::empty()), written(&value)]
    };
    Some(named_values(args)?.into_iter().map(field).collect())
}

/// The name of a field as JSON text: one that is NULL is an error.
fn named_by(name: Expr) -> Expr {
    let written = call("json_string", vec![name.clone()]);
    if matches!(name, Expr::Value(_)) {
        return written;
    }
    let said = text("the name of a field of a JSON object is NULL", Span::empty());
    let refused = call("json_refused", vec![said.clone(), said]);
    case(vec![(Expr::IsNull(Box::new(name)), refused)], written)
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

/// Whether it is put together here: it is JSON then, and not made text of again.
fn is_json_made(value: &Expr) -> bool {
    match value {
        Expr::Function(function) => made(function).or_else(|| gathered(function)).is_some(),
        Expr::Nested(inner) => is_json_made(inner),
        _ => false,
    }
}

/// A value as JSON text; NULL is none.
fn unless_null(value: &Expr) -> Expr {
    match is_json_made(value) {
        true => value.clone(),
        false => call("json_string", vec![value.clone()]),
    }
}

/// A value as JSON text, NULL too.
fn written(value: &Expr) -> Expr {
    match is_json_made(value) {
        true => value.clone(),
        false => call("coalesce", vec![unless_null(value), text("null", Span::empty())]),
    }
}

/// What a call of `json_arrayagg` or `json_objectagg` is, before its arguments are looked at: text
/// put together by `string_agg`.
pub fn gathered(function: &Function) -> Option<Expr> {
    let name = function.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &function.args else { return None };
    let says = |of: JsonNullClause| {
        list.clauses.iter().any(
            |clause| matches!(clause, FunctionArgumentClause::JsonNullClause(said) if *said == of),
        )
    };
    let (open, close, entry, left_out) = match &*name {
        "json_arrayagg" => {
            let [FunctionArg::Unnamed(FunctionArgExpr::Expr(value))] = list.args.as_slice() else {
                return None;
            };
            // What is NULL is no text, and left out of it.
            let entry = match says(JsonNullClause::NullOnNull) {
                true => written(value),
                false => unless_null(value),
            };
            ("[", "]", entry, None)
        }
        "json_objectagg" => {
            let mut fields = fields(&list.args)?;
            let entry = fields.pop().filter(|_| fields.is_empty())?;
            let value = match list.args.last()? {
                FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
                | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(value), .. }
                | FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => value.clone(),
                _ => return None,
            };
            let left_out = says(JsonNullClause::AbsentOnNull).then_some(value);
            ("{", "}", call("concat", entry), left_out)
        }
        _ => return None,
    };
    let constant = |of: &str| text(of, Span::empty());
    let is_there = left_out.map(|value| Expr::IsNotNull(Box::new(value)));
    let filter = match (function.filter.as_deref().cloned(), is_there) {
        (Some(filter), Some(is_there)) => {
            let filter = Expr::Nested(Box::new(filter));
            Some(binary(filter, BinaryOperator::And, is_there))
        }
        (filter, is_there) => filter.or(is_there),
    };
    // Names of fields that are left out may be NULL.
    let entry = match (&filter, open) {
        (Some(filter), "{") => case(vec![(filter.clone(), entry)], null()),
        _ => entry,
    };
    let Expr::Function(mut gathers) = call("string_agg", vec![entry, constant(",")]) else {
        return None;
    };
    gathers.filter = filter.map(Box::new);
    gathers.over.clone_from(&function.over);
    if let FunctionArguments::List(arguments) = &mut gathers.args {
        arguments.duplicate_treatment = list.duplicate_treatment;
        let order = list.clauses.iter();
        let order = order.filter(|of| matches!(of, FunctionArgumentClause::OrderBy(_)));
        arguments.clauses = order.cloned().collect();
    }
    let inside = call("coalesce", vec![Expr::Function(gathers), constant("")]);
    let all = call("concat", vec![constant(open), inside, constant(close)]);
    Some(match open {
        // Of fields with one name the last one is left.
        "{" => call("json_query", vec![all, constant("$")]),
        _ => all,
    })
}

/// `j IS JSON`, which comes as a form of being normalised; NULL is none.
pub fn is_json(of: Expr, form: Option<NormalizationForm>, negated: bool) -> Expr {
    let kind = call("json_type", vec![of]);
    let wanted = match form {
        None => None,
        Some(NormalizationForm::NFC) => Some("scalar"),
        Some(NormalizationForm::NFD) => Some("object"),
        Some(_) => Some("array"),
    };
    let is = match wanted {
        None => Expr::IsNotNull(Box::new(kind)),
        Some(wanted) => {
            let wanted = text(wanted, Span::empty());
            Expr::IsNotDistinctFrom(Box::new(kind), Box::new(wanted))
        }
    };
    match negated {
        true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(is)) },
        false => nested(is),
    }
}

/// What follows the path in a call: `RETURNING type`, and what [`crate::pipeline::json_words`] has
/// made arguments of.
struct Clauses {
    returning: Option<DataType>,
    wrapper: Option<String>,
    on_empty: Option<Expr>,
    on_error: Option<Expr>,
}

impl Clauses {
    fn taken_from(list: &mut FunctionArgumentList) -> Clauses {
        let mut clauses =
            Clauses { returning: None, wrapper: None, on_empty: None, on_error: None };
        list.clauses.retain(|clause| match clause {
            FunctionArgumentClause::JsonReturningClause(of) => {
                clauses.returning = Some(super::types::known(of.data_type.clone()));
                false
            }
            _ => true,
        });
        list.args.retain(|arg| {
            let FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } = arg else {
                return true;
            };
            match (&*name.value, value) {
                ("on_empty", value) => clauses.on_empty = Some(value.clone()),
                ("on_error", value) => clauses.on_error = Some(value.clone()),
                ("wrapper", Expr::Value(how)) => {
                    clauses.wrapper = how.value.clone().into_string();
                }
                _ => return true,
            }
            false
        });
        clauses
    }
}

/// `JSON_VALUE`, `JSON_QUERY` and `JSON_EXISTS` with what SQL lets follow their paths. As in Flink
/// a path is strict unless it says `lax`: then whatever is not there, or no such value, is empty;
/// else that is an error, and only a null empty.
pub fn with_clauses(name: &str, function: &mut Function) -> Option<Expr> {
    let FunctionArguments::List(list) = &mut function.args else { return None };
    let Clauses { returning, wrapper, on_empty, on_error } = Clauses::taken_from(list);
    let says_when = on_empty.is_some() || on_error.is_some();
    if !says_when && returning.is_none() && wrapper.is_none() {
        return None;
    }
    let (json, path) = (taken(list, 0)?, taken(list, 1)?);
    let found = call(name, vec![json.clone(), path.clone()]);
    let is_lax = matches!(&path, Expr::Value(path) if matches!(&path.value,
        Value::SingleQuotedString(path) if path.trim().to_lowercase().starts_with("lax")));
    let instead = |said: Option<Expr>, what: &str| match said {
        Some(Expr::Identifier(word)) if word.value == ERROR => {
            let path = path.to_string();
            let said = format!("{} at {}: {what}", name.to_uppercase(), path.trim_matches('\''));
            call("json_refused", vec![json.clone(), text(&said, Span::empty())])
        }
        Some(said) => said,
        None => null(),
    };
    let on_empty = instead(on_empty, "there is nothing");
    let on_error = instead(on_error, "the text is no JSON, or what is there is no such value");
    let is_null = (Expr::IsNull(Box::new(json.clone())), null());
    if name == "json_exists" {
        let otherwise = if is_lax { found.clone() } else { on_error };
        return Some(case(vec![is_null, (found.clone(), found)], otherwise));
    }
    let there = call("json_at", vec![json, path]);
    let value = match (&*wrapper.unwrap_or_default(), &returning) {
        ("always", _) => wrapped(there.clone()),
        ("unless an array", _) => {
            let is_array = call("starts_with", vec![there.clone(), text("[", Span::empty())]);
            case(vec![(is_array, there.clone())], wrapped(there.clone()))
        }
        (_, Some(data_type)) => try_cast(found.clone(), data_type.clone()),
        _ => found.clone(),
    };
    if !says_when {
        return Some(value);
    }
    let of_type = |expr: Expr| cast(expr, returning.clone().unwrap_or(DataType::Text));
    let is_empty = match is_lax {
        true => Expr::IsNull(Box::new(found)),
        false => binary(there, BinaryOperator::Eq, text("null", Span::empty())),
    };
    let is_there = Expr::IsNotNull(Box::new(value.clone()));
    let ways = vec![(is_there, value), is_null, (is_empty, of_type(on_empty))];
    Some(case(ways, of_type(on_error)))
}

fn wrapped(json: Expr) -> Expr {
    let sign = |sign: &str| text(sign, Span::empty());
    let opened = binary(sign("["), BinaryOperator::StringConcat, json);
    nested(binary(opened, BinaryOperator::StringConcat, sign("]")))
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn null() -> Expr {
    Expr::Value(Value::Null.with_empty_span())
}

fn case(ways: Vec<(Expr, Expr)>, otherwise: Expr) -> Expr {
    let ways = ways.into_iter().map(|(condition, result)| CaseWhen { condition, result });
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: ways.collect(),
        else_result: Some(Box::new(otherwise)),
    }
}
