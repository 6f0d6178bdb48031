//! The name of a field, or of a field within fields (KIP-821).
//!
//! ```text
//! V1   a.b          the field called "a.b"
//! V2   a.b          the field "b" of the field "a"
//!      `a.b`.c      the field "c" of the field "a.b"; \` is a backtick within
//! ```

use super::Mistake;
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{DataError, Field, Map, Schema, Struct, Value};

pub(super) const SYNTAX_VERSION: ConfigKey = ConfigKey {
    name: "field.syntax.version",
    key_type: KeyType::OneOf(&["V1", "V2"]),
    presence: Presence::Default("V1"),
    doc: "Whether a dot in a field's name is part of it (V1) or leads to a field within it (V2)",
    example: "V2",
};

#[derive(Clone, Debug)]
pub(super) struct FieldPath {
    steps: Vec<Value>,
}

impl FieldPath {
    /// The path that `key` names, in the syntax that is asked for.
    pub(super) fn new(key: &'static str, settings: &Settings) -> Result<FieldPath, Mistake> {
        let text = settings.text(key);
        let steps = match settings.text(SYNTAX_VERSION.name) {
            "V2" => steps(text).map_err(|at| {
                let message = format!("in '{text}' the backtick at {at} has no partner");
                Mistake::new(key, format!("{message}; write \\` for one that is part of a name"))
            })?,
            _ => vec![text.to_owned()],
        };
        Ok(FieldPath { steps: steps.into_iter().map(Value::string).collect() })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.as_str().expect("steps are strings"))
    }

    /// The field that it leads to.
    pub(super) fn field<'a>(&self, schema: &'a Schema) -> Option<&'a Field> {
        let mut names = self.names();
        let mut field = schema.field(names.next()?)?;
        for name in names {
            field = field.schema.field(name)?;
        }
        Some(field)
    }

    /// The value that it leads to; null where there is nothing.
    pub(super) fn in_struct(&self, value: &Struct, replace_null: bool) -> Result<Value, DataError> {
        let (mut current, last) = (value, self.steps.len() - 1);
        for (depth, name) in self.names().enumerate() {
            let Some(index) = current.schema().field_index(name) else { return Ok(Value::Null) };
            if depth == last {
                return Ok(super::side::value_at(current, index, replace_null));
            }
            match current.at(index) {
                Value::Struct(inner) => current = inner,
                Value::Null => return Ok(Value::Null),
                other => return Err(no_fields(name, other)),
            }
        }
        Ok(Value::Null)
    }

    /// The same, in a value without a schema.
    pub(super) fn in_map(&self, map: &Map) -> Result<Value, DataError> {
        let (mut current, last) = (map, self.steps.len() - 1);
        for (depth, (step, name)) in self.steps.iter().zip(self.names()).enumerate() {
            match current.get(step) {
                found if depth == last => return Ok(found.cloned().unwrap_or_default()),
                Some(Value::Map(inner)) => current = inner,
                None | Some(Value::Null) => return Ok(Value::Null),
                Some(other) => return Err(no_fields(name, other)),
            }
        }
        Ok(Value::Null)
    }
}

fn no_fields(name: &str, value: &Value) -> DataError {
    DataError(format!("field '{name}' has no fields in it: it is {}", value.kind()))
}

/// The steps of a path; where a backtick stands alone, its place.
fn steps(path: &str) -> Result<Vec<String>, usize> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        let at = path.len() - rest.len();
        let Some(quoted) = rest.strip_prefix('`') else {
            match rest.split_once('.') {
                Some((step, after)) => {
                    steps.push(step.to_owned());
                    rest = after;
                    continue;
                }
                None => {
                    steps.push(rest.to_owned());
                    return Ok(steps);
                }
            }
        };
        let mut step = String::new();
        let mut letters = quoted.char_indices().peekable();
        let end = loop {
            let Some((index, letter)) = letters.next() else { return Err(at) };
            let after = quoted.get(index + 1..).unwrap_or_default();
            match letter {
                // As Kafka has it, only a backtick that could end the name needs its backslash.
                '\\' if after.starts_with("`.") => {
                    step.push('`');
                    letters.next();
                }
                '\\' if after == "`" => return Err(at),
                '`' if after.is_empty() || after.starts_with('.') => break index + 1,
                letter => step.push(letter),
            }
        };
        steps.push(step);
        match quoted[end..].strip_prefix('.') {
            Some(after) => rest = after,
            None => return Ok(steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_at_dots_outside_of_backticks() {
        let split = |path: &str| steps(path).map(|steps| steps.join("|"));
        assert_eq!(split("a"), Ok("a".into()));
        assert_eq!(split("a.b.c"), Ok("a|b|c".into()));
        assert_eq!(split("`a.b`.c"), Ok("a.b|c".into()));
        assert_eq!(split("a.`b.c`"), Ok("a|b.c".into()));
        assert_eq!(split("a`b.c"), Ok("a`b|c".into()));
        assert_eq!(split("`a`b`.c"), Ok("a`b|c".into()));
        assert_eq!(split("`a\\`.b`.c"), Ok("a`.b|c".into()));
        assert_eq!(split("a."), Ok("a|".into()));
        assert_eq!(split("a.`b"), Err(2));
        assert_eq!(split("`a.b"), Err(0));
    }
}
