//! `${VAR}` and `${VAR:-default}` in values: what the environment says.
//!
//! A value keeps its place in the file, where only the variable's name stands, so that no message
//! shows what it holds. `$${` stands for `${` itself. A variable that is empty counts as not set
//! where there is a default, as in a shell.

use std::borrow::Cow;

use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Span};
use super::reader::Mistakes;

/// What is said at a value whose variable is missing.
pub(crate) const NOT_SET: &str = "not set";

/// What a variable of the environment holds.
pub(crate) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

pub(crate) fn of_process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The value with its variables filled in; a diagnostic at `span` if one is not set.
pub(crate) fn expand<'t>(
    text: &'t str,
    environment: Environment<'_>,
    span: impl Fn() -> Span,
) -> Result<Cow<'t, str>, Diagnostic> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            expanded.push_str(literal);
            expanded.push_str("${");
            rest = &from[2..];
            continue;
        }
        expanded.push_str(before);
        let Some((inside, after)) = from[2..].split_once('}') else {
            let diagnostic = Diagnostic::error("'${' has no '}' after it", span());
            return Err(diagnostic.help("write ${NAME}, or $${ for the characters themselves"));
        };
        expanded.push_str(&value_of(inside, environment, &span)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(Cow::Owned(expanded))
}

fn value_of(
    inside: &str,
    environment: Environment<'_>,
    span: impl Fn() -> Span,
) -> Result<String, Diagnostic> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = |name: &str| {
        let rest = name.strip_prefix(|first: char| first.is_ascii_alphabetic() || first == '_');
        rest.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    };
    if !is_name(name) {
        let message = format!("'{name}' is no name of an environment variable");
        let help = "letters, digits and underscores; write $${ for the characters themselves";
        return Err(Diagnostic::error(message, span()).help(help));
    }
    let value = environment(name);
    match (value, default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let message = format!("the environment variable '{name}' is not set");
            let help = format!("set it, or give a default: ${{{name}:-…}}");
            Err(Diagnostic::error(message, span()).label(NOT_SET).help(help))
        }
    }
}

/// Fills in the variables of all strings in a table, however deep.
pub(crate) fn expand_table(
    table: &mut DeTable<'_>,
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
) {
    for (_, value) in table.iter_mut() {
        let range = value.span();
        expand_value(value.get_mut(), range, environment, mistakes);
    }
}

fn expand_array(array: &mut DeArray<'_>, environment: Environment<'_>, mistakes: &mut Mistakes) {
    for value in array.iter_mut() {
        let range = value.span();
        expand_value(value.get_mut(), range, environment, mistakes);
    }
}

fn expand_value(
    value: &mut DeValue<'_>,
    range: std::ops::Range<usize>,
    environment: Environment<'_>,
    mistakes: &mut Mistakes,
) {
    match value {
        DeValue::Table(table) => expand_table(table, environment, mistakes),
        DeValue::Array(array) => expand_array(array, environment, mistakes),
        DeValue::String(text) => {
            let expanded = match expand(text, environment, || mistakes.span(&range)) {
                Ok(Cow::Owned(expanded)) => expanded,
                Ok(Cow::Borrowed(_)) => return,
                Err(mistake) => {
                    mistakes.push(mistake);
                    return;
                }
            };
            *text = expanded.into();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::span;

    fn environment(name: &str) -> Option<String> {
        match name {
            "USER_NAME" => Some("me".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(text: &str) -> String {
        match expand(text, &environment, span) {
            Ok(text) => text.into_owned(),
            Err(mistake) => format!("error: {}", mistake.message),
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (text, expected) in [
            ("plain $5", "plain $5"),
            ("${USER_NAME}", "me"),
            ("a${USER_NAME}b${USER_NAME}", "amebme"),
            ("${NONE:-other}", "other"),
            ("${EMPTY:-other}", "other"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("$${USER_NAME} ${USER_NAME}", "${USER_NAME} me"),
            ("${NONE}", "error: the environment variable 'NONE' is not set"),
            ("${NO NE}", "error: 'NO NE' is no name of an environment variable"),
            ("${}", "error: '' is no name of an environment variable"),
            ("${USER_NAME", "error: '${' has no '}' after it"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }
}
