//! Checked values by key, whoever declared the keys: a connector, a converter, a transform.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ConfigKey, ConfigProblem, Presence, Value};

/// Values of declared keys, and the directory that relative paths among them start at.
#[derive(Clone, Debug, Default)]
pub struct Settings(BTreeMap<&'static str, Value>, Vec<Starred>, PathBuf);

/// A value of a key with a star in its name: the key, what stands for the star, and the value.
type Starred = (&'static str, String, Value);

impl Settings {
    /// Checks what the properties say of `keys`, each with `prefix` before its name, and puts
    /// defaults where they say nothing.
    pub(crate) fn check(
        prefix: &str,
        keys: impl IntoIterator<Item = &'static ConfigKey>,
        properties: &BTreeMap<String, String>,
        problems: &mut Vec<ConfigProblem>,
    ) -> Settings {
        let (mut values, mut starred) = (BTreeMap::new(), Vec::new());
        for key in keys {
            for (full, text) in properties {
                let own = full.strip_prefix(prefix).unwrap_or_default();
                let Some(part) = key.part(own) else { continue };
                match key.parse_as(full, text) {
                    Ok(value) => starred.push((key.name, part.to_owned(), value)),
                    Err(problem) => problems.push(problem),
                }
            }
            let full = format!("{prefix}{}", key.name);
            match (properties.get(&full), key.presence) {
                (Some(text), _) => match key.parse_as(&full, text) {
                    Ok(value) => drop(values.insert(key.name, value)),
                    Err(problem) => problems.push(problem),
                },
                (None, Presence::Default(text)) => {
                    let value = key.parse(text).expect("defaults are checked by a test");
                    values.insert(key.name, value);
                }
                (None, Presence::Required) => problems.push(ConfigProblem {
                    message: format!("`{full}` is missing: {}", lower_first(key.doc)),
                    help: Some(format!("for example `{full} = {}`", key.example)),
                    key: full,
                    value: None,
                }),
                (None, Presence::Optional) => {}
            }
        }
        Settings(values, starred, PathBuf::new())
    }

    pub(crate) fn based_on(self, directory: &Path) -> Settings {
        Settings(self.0, self.1, directory.to_owned())
    }

    /// Where relative paths start: at the directory of the file that declares the connector.
    pub fn base_dir(&self) -> &Path {
        &self.2
    }

    /// What `properties` say of `keys` alone, with the prefix, and of all else what stands here.
    pub(crate) fn overlaid(
        &self,
        prefix: &str,
        keys: &'static [ConfigKey],
        properties: &BTreeMap<String, String>,
        problems: &mut Vec<ConfigProblem>,
    ) -> Settings {
        let mut all = self.clone();
        for key in keys {
            let full = format!("{prefix}{}", key.name);
            match properties.get(&full).map(|text| key.parse_as(&full, text)) {
                Some(Ok(value)) => drop(all.0.insert(key.name, value)),
                Some(Err(problem)) => problems.push(problem),
                None => {}
            }
        }
        all
    }

    /// The values of a key with a star in its name, each with what stands for the star.
    pub fn each(&self, key: &str) -> impl Iterator<Item = (&str, &Value)> {
        let of_it = self.1.iter().filter(move |(name, _, _)| *name == key);
        of_it.map(|(_, part, value)| (part.as_str(), value))
    }

    /// The value of `key`, or of its default.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The text of a key that is declared as text, with a default or as required.
    pub fn text(&self, key: &str) -> &str {
        self.optional_text(key).unwrap_or_else(|| panic!("key '{key}' is not always there"))
    }

    /// The text of a key that is declared as text.
    pub fn optional_text(&self, key: &str) -> Option<&str> {
        match self.get(key) {
            Some(Value::Text(text)) => Some(text),
            None => None,
            other => panic!("key '{key}' is not declared as a text: {other:?}"),
        }
    }

    /// The number of a key that is declared as a number, with a default or as required.
    pub fn integer(&self, key: &str) -> i64 {
        match self.get(key) {
            Some(Value::Integer(number)) => *number,
            other => panic!("key '{key}' is not declared as a number that is there: {other:?}"),
        }
    }

    /// The number of a key that is declared as an optional number.
    pub fn optional_integer(&self, key: &str) -> Option<i64> {
        match self.get(key) {
            Some(Value::Integer(number)) => Some(*number),
            None => None,
            other => panic!("key '{key}' is not declared as a number: {other:?}"),
        }
    }

    /// Of a key that is declared as a boolean, with a default or as required.
    pub fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            Some(Value::Boolean(flag)) => *flag,
            other => panic!("key '{key}' is not declared as a boolean that is there: {other:?}"),
        }
    }

    /// The items of a key that is declared as a list, with a default or as required.
    pub fn list(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(Value::List(items)) => items,
            other => {
                panic!("key '{key}' is not declared as a list that is always there: {other:?}")
            }
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect::<String>())
}
