//! What a connector is declared by: properties, as Kafka Connect has them.
//!
//! Each plugin declares its keys once ([`ConfigKey`]: name, type, default, doc, example). That
//! table drives validation, "did you mean" and the documentation. [`validate`] reports every
//! mistake at once and starts nothing.
//!
//! - [`keys`]: the table's types and how one value is checked; [`elsewhere`]: keys of Connect
//!   that have no meaning here, or none yet.

pub mod elsewhere;
pub mod keys;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use keys::{ConfigKey, KeyType, Presence, Value};

use crate::plugin::{self, Plugin};
use elsewhere::Elsewhere;

/// One mistake in a connector's properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key it is about; also set where the key is missing.
    pub key: String,
    /// The value that stands there, if any.
    pub value: Option<String>,
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// A connector's properties, checked and typed.
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    name: String,
    plugin: &'static Plugin,
    values: BTreeMap<&'static str, Value>,
    base_dir: PathBuf,
    ignored: Vec<String>,
}

/// Checks the properties of the connector `name`, all of them, and tells every problem at once.
/// Relative paths are taken from `base_dir`, the directory of the file that declares it.
pub fn validate(
    name: &str,
    properties: &BTreeMap<String, String>,
    base_dir: &Path,
) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    check_name(name, properties, &mut problems);
    let plugin = find_plugin(properties, &mut problems);
    let (values, ignored) = match plugin {
        Some(plugin) => check_keys(plugin, properties, &mut problems),
        None => Default::default(),
    };
    match plugin {
        Some(plugin) if problems.is_empty() => Ok(ConnectorConfig {
            name: name.to_owned(),
            plugin,
            values,
            base_dir: base_dir.to_owned(),
            ignored,
        }),
        _ => Err(problems),
    }
}

impl ConnectorConfig {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn plugin(&self) -> &'static Plugin {
        self.plugin
    }

    /// One warning that names the keys that were accepted and do nothing here.
    pub fn warning(&self) -> Option<String> {
        let list = self.ignored.join("', '");
        match self.ignored.len() {
            0 => None,
            1 => Some(format!("connector '{}': key '{list}' has no meaning here", self.name)),
            _ => Some(format!("connector '{}': keys '{list}' have no meaning here", self.name)),
        }
    }

    /// The value of `key`, or of its default.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The text of a key that the plugin declares as text, with a default or as required.
    pub fn text(&self, key: &str) -> &str {
        match self.get(key) {
            Some(Value::Text(text)) => text,
            other => {
                panic!("key '{key}' is not declared as a text that is always there: {other:?}")
            }
        }
    }

    /// The number of a key that the plugin declares as a number, with a default or as required.
    pub fn integer(&self, key: &str) -> i64 {
        match self.get(key) {
            Some(Value::Integer(number)) => *number,
            other => panic!("key '{key}' is not declared as a number that is there: {other:?}"),
        }
    }

    /// The items of a key that the plugin declares as a list, with a default or as required.
    pub fn list(&self, key: &str) -> &[String] {
        match self.get(key) {
            Some(Value::List(items)) => items,
            other => {
                panic!("key '{key}' is not declared as a list that is always there: {other:?}")
            }
        }
    }

    /// The path of a key that the plugin declares as a file, from the base directory.
    pub fn path(&self, key: &str) -> PathBuf {
        self.base_dir.join(self.text(key))
    }
}

fn check_name(
    name: &str,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) {
    let problem = |message: String, help: &str| ConfigProblem {
        key: "name".to_owned(),
        value: Some(name.to_owned()),
        message,
        help: Some(help.to_owned()),
    };
    if name.trim().is_empty() {
        let help = "name the connector: its stored offsets and its group are kept under that name";
        problems.push(ConfigProblem { value: None, ..problem("a name is missing".into(), help) });
    } else if name.trim() != name || name.chars().any(char::is_control) {
        problems.push(problem(
            format!("{name:?} is not a name"),
            "leave out blanks at its ends and control characters",
        ));
    }
    if let Some(stated) = properties.get("name").filter(|stated| *stated != name) {
        let message = format!("the connector is called '{name}' but `name` says '{stated}'");
        let value = Some(stated.clone());
        let help = "leave `name` out, or make both the same";
        problems.push(ConfigProblem { value, ..problem(message, help) });
    }
}

fn find_plugin(
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<&'static Plugin> {
    let key = plugin::CLASS_KEY;
    let names = plugin::plugins().iter().map(|plugin| format!("`{}`", plugin.name));
    let known = format!("there are {}", names.collect::<Vec<_>>().join(" and "));
    let Some(class) = properties.get(key).map(|class| class.trim()) else {
        problems.push(ConfigProblem {
            key: key.to_owned(),
            value: None,
            message: format!("`{key}` is missing: it says what kind of connector this is"),
            help: Some(known),
        });
        return None;
    };
    let found = plugin::find(class);
    if found.is_none() {
        let near = keys::nearest(class, plugin::plugins().iter().flat_map(Plugin::spellings));
        problems.push(ConfigProblem {
            key: key.to_owned(),
            value: Some(class.to_owned()),
            message: format!("there is no connector class '{class}'"),
            help: Some(near.map_or(known, |near| format!("did you mean `{near}`?"))),
        });
    }
    found
}

type CheckedValues = (BTreeMap<&'static str, Value>, Vec<String>);

fn check_keys(
    plugin: &'static Plugin,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> CheckedValues {
    let mut values = BTreeMap::new();
    let mut ignored = Vec::new();
    for key in plugin.keys() {
        match (properties.get(key.name).map(|text| text.trim()), key.presence) {
            (Some(text), _) => match key.parse(text) {
                Ok(value) => drop(values.insert(key.name, value)),
                Err(problem) => problems.push(problem),
            },
            (None, Presence::Default(text)) => {
                let value = key.parse(text).expect("defaults are checked by a test");
                values.insert(key.name, value);
            }
            (None, Presence::Required) => problems.push(ConfigProblem {
                key: key.name.to_owned(),
                value: None,
                message: format!("`{}` is missing: {}", key.name, lower_first(key.doc)),
                help: Some(format!("for example `{} = {}`", key.name, key.example)),
            }),
            (None, Presence::Optional) => {}
        }
    }
    for (name, text) in properties {
        if plugin.keys().any(|key| key.name == name) {
            continue;
        }
        match elsewhere::find(name) {
            Some(Elsewhere::NoMeaning) => ignored.push(name.clone()),
            Some(Elsewhere::NotYet(what)) => problems.push(ConfigProblem {
                key: name.clone(),
                value: Some(text.clone()),
                message: format!("`{name}`: {what} are not part of this version"),
                help: Some("take the key out".to_owned()),
            }),
            None => problems.push(unknown_key(plugin, name, text)),
        }
    }
    (values, ignored)
}

fn unknown_key(plugin: &'static Plugin, name: &str, text: &str) -> ConfigProblem {
    let near = keys::nearest(name, plugin.keys().map(|key| key.name));
    let help = near.map_or_else(
        || {
            let keys = plugin.keys().map(|key| key.name).collect::<Vec<_>>().join("`, `");
            format!("it knows `{keys}`")
        },
        |near| format!("did you mean `{near}`?"),
    );
    ConfigProblem {
        key: name.to_owned(),
        value: Some(text.to_owned()),
        message: format!("`{}` has no key `{name}`", plugin.name),
        help: Some(help),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect::<String>())
}

#[cfg(test)]
mod tests;
