//! Functions of texts, as Flink spells them.

use datafusion_sql::sqlparser::ast::{
    BinaryOperator, DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgumentList, Value,
    ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::{binary, call, cast, number, taken, text, try_cast};

pub fn of_texts(name: &str, list: &mut FunctionArgumentList, span: Span) -> Option<Expr> {
    match (name, list.args.len()) {
        // Flink counts from 0, and a place that is not there is NULL.
        ("split_index", 3) => {
            let at = binary(taken(list, 2)?, BinaryOperator::Plus, number(1));
            let at = call("greatest", vec![at, number(0)]);
            let parts = call("string_to_array", vec![taken(list, 0)?, taken(list, 1)?]);
            Some(call("array_element", vec![parts, at]))
        }
        ("locate", 2) => Some(call("strpos", vec![taken(list, 1)?, taken(list, 0)?])),
        ("to_base64", 1) => Some(call("encode", vec![taken(list, 0)?, text("base64pad", span)])),
        ("from_base64", 1) => {
            let bytes = call("decode", vec![taken(list, 0)?, text("base64", span)]);
            Some(cast(bytes, DataType::Text))
        }
        // Flink's second argument is a charset, and texts are in UTF-8 here.
        ("encode", 2) if is_utf8(&list.args[1]) => Some(cast(taken(list, 0)?, DataType::Bytea)),
        ("decode", 2) if is_utf8(&list.args[1]) => Some(cast(taken(list, 0)?, DataType::Text)),
        ("unhex", 1) => Some(call("decode", vec![taken(list, 0)?, text("hex", span)])),
        ("sha2", 2) => {
            let bits = list.args[1].to_string();
            let known = matches!(&*bits, "224" | "256" | "384" | "512");
            let digest = known.then(|| format!("sha{bits}"))?;
            Some(hex(call(&digest, vec![taken(list, 0)?]), span))
        }
        ("elt", 2..) => {
            let rest =
                (1..list.args.len()).map(|at| taken(list, at)).collect::<Option<Vec<_>>>()?;
            let rest = call("make_array", rest);
            Some(call("array_element", vec![rest, taken(list, 0)?]))
        }
        ("is_digit", 1) => Some(is_all_of("^\\p{Nd}+$", taken(list, 0)?, span)),
        ("is_alpha", 1) => Some(is_all_of("^\\p{L}+$", taken(list, 0)?, span)),
        ("is_decimal", 1) => {
            let number = try_cast(taken(list, 0)?, DataType::Double(ExactNumberInfo::None));
            Some(Expr::Nested(Box::new(Expr::IsNotNull(Box::new(number)))))
        }
        ("regexp_substr" | "regexp_extract", 2) => {
            let whole = binary(text("(", span), BinaryOperator::StringConcat, taken(list, 1)?);
            let whole = binary(whole, BinaryOperator::StringConcat, text(")", span));
            let groups = call("regexp_match", vec![taken(list, 0)?, whole]);
            Some(call("array_element", vec![groups, number(1)]))
        }
        ("regexp", 2) => Some(call("regexp_like", vec![taken(list, 0)?, taken(list, 1)?])),
        ("regexp_extract", 3) => {
            let group = list.args[2].to_string().parse().ok().filter(|group| *group > 0)?;
            let groups = call("regexp_match", vec![taken(list, 0)?, taken(list, 1)?]);
            Some(call("array_element", vec![groups, number(group)]))
        }
        _ => None,
    }
}

fn is_utf8(charset: &FunctionArg) -> bool {
    let named = charset.to_string().to_uppercase();
    matches!(named.trim_matches('\''), "UTF-8" | "UTF8" | "US-ASCII")
}

fn hex(of: Expr, span: Span) -> Expr {
    call("encode", vec![of, text("hex", span)])
}

/// Whether all letters of a text are such; not of NULL.
fn is_all_of(pattern: &str, of: Expr, span: Span) -> Expr {
    let matches = call("regexp_like", vec![of, text(pattern, span)]);
    Expr::Nested(Box::new(Expr::IsTrue(Box::new(matches))))
}

/// The regular expression that a pattern of SIMILAR TO (ISO/IEC 9075-2, 8.6) is.
pub fn similar_to(pattern: &str, escape: Option<char>) -> String {
    let escape = escape.unwrap_or('\\');
    let mut regex = "^(?s:".to_owned();
    let mut signs = pattern.chars();
    let mut within_brackets = false;
    while let Some(sign) = signs.next() {
        match sign {
            sign if sign == escape => {
                regex.extend(signs.next().map(|sign| regex::escape(&sign.to_string())));
            }
            '[' if !within_brackets => {
                within_brackets = true;
                regex.push('[');
            }
            ']' => {
                within_brackets = false;
                regex.push(']');
            }
            '^' | '-' if within_brackets => regex.push(sign),
            '%' if !within_brackets => regex.push_str(".*"),
            '_' if !within_brackets => regex.push('.'),
            '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' if !within_brackets => regex.push(sign),
            sign => regex.push_str(&regex::escape(&sign.to_string())),
        }
    }
    regex.push_str(")$");
    regex
}

/// The planner knows no other sign than the backslash.
pub fn escape_by_backslash(pattern: &mut Expr, escape_char: &mut Option<ValueWithSpan>) {
    let Expr::Value(pattern) = pattern else { return };
    let Value::SingleQuotedString(signs) = &mut pattern.value else { return };
    let Some(Value::SingleQuotedString(escape)) = escape_char.as_ref().map(|sign| &sign.value)
    else {
        return;
    };
    let mut chars = escape.chars();
    let (Some(escape), None) = (chars.next(), chars.next()) else { return };
    if escape != '\\' {
        let mut by_backslash = String::with_capacity(signs.len());
        let mut rest = signs.chars();
        while let Some(sign) = rest.next() {
            match sign {
                '\\' => by_backslash.push_str("\\\\"),
                sign if sign == escape => {
                    by_backslash.push('\\');
                    by_backslash.extend(rest.next());
                }
                sign => by_backslash.push(sign),
            }
        }
        *signs = by_backslash;
    }
    *escape_char = None;
}
