//! What a connector is declared by: properties, as Kafka Connect has them.
//!
//! Each plugin declares its keys once ([`ConfigKey`]: name, type, default, doc, example). That
//! table drives validation, "did you mean" and the documentation. [`validate`] reports every
//! mistake at once and starts nothing.
//!
//! - [`keys`]: the table's types and how one value is checked; [`settings`]: the checked values;
//!   [`providers`]: values that stand elsewhere; [`elsewhere`]: keys of Connect that have no
//!   meaning here, or none yet.

pub mod elsewhere;
pub mod keys;
pub mod providers;
pub mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use keys::{ConfigKey, KeyType, Presence, Value};
pub use settings::Settings;

use crate::convert::{self, ConverterSettings, Part};
use crate::plugin::{self, Plugin};
use crate::transforms::{self, Step};
use elsewhere::Elsewhere;
use providers::Providers;

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

impl ConfigProblem {
    /// All of it in one line.
    pub fn in_words(&self) -> String {
        match &self.help {
            Some(help) => format!("{}; {help}", self.message),
            None => self.message.clone(),
        }
    }
}

/// A connector's properties, checked and typed.
#[derive(Clone, Debug)]
pub struct ConnectorConfig {
    name: String,
    plugin: &'static Plugin,
    settings: Settings,
    converters: ConverterSettings,
    steps: Vec<Step>,
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
    validate_with(name, properties, base_dir, &BTreeMap::new())
}

/// The same, for a connector of a worker whose properties say what converters are used where a
/// connector names none.
pub fn validate_with(
    name: &str,
    properties: &BTreeMap<String, String>,
    base_dir: &Path,
    worker: &BTreeMap<String, String>,
) -> Result<ConnectorConfig, Vec<ConfigProblem>> {
    let mut problems = Vec::new();
    let providers = Providers::new(worker).unwrap_or_else(|problem| {
        problems.push(problem);
        Providers::default()
    });
    let given = with_worker_converters(properties, worker);
    let resolved = providers.resolve(&given, base_dir, &mut problems);
    let checked = check_all(name, &resolved.properties, base_dir, &mut problems);
    problems.iter_mut().for_each(|problem| resolved.hide(problem));
    // A value that could not be put in place is missing; that it is need not be said too.
    let unresolved: Vec<String> = problems
        .iter()
        .map(|problem| problem.key.clone())
        .filter(|key| given.contains_key(key) && !resolved.properties.contains_key(key))
        .collect();
    problems.retain(|one| one.value.is_some() || !unresolved.contains(&one.key));
    match checked {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn check_all(
    name: &str,
    properties: &BTreeMap<String, String>,
    base_dir: &Path,
    problems: &mut Vec<ConfigProblem>,
) -> Option<ConnectorConfig> {
    check_name(name, properties, problems);
    let plugin = find_plugin(properties, problems)?;
    let properties = &with_defaults(plugin, properties);
    let mut ignored = Vec::new();
    let before = problems.len();
    let settings = Settings::check("", plugin.keys(), properties, problems);
    // Keys that are wrong by themselves have no value that could be looked at.
    if problems.len() == before {
        (plugin.check)(&settings, problems);
    }
    let converters = check_converters(plugin, properties, &mut ignored, problems);
    let steps = transforms::settings::steps(&settings, properties, problems);
    check_unknown(plugin, properties, &mut ignored, problems);
    Some(ConnectorConfig {
        name: name.to_owned(),
        plugin,
        settings,
        converters: converters?,
        steps,
        base_dir: base_dir.to_owned(),
        ignored,
    })
}

/// See [`Plugin::defaults`].
fn with_defaults(
    plugin: &'static Plugin,
    properties: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = properties.clone();
    for (key, value) in (plugin.defaults)(properties) {
        all.entry((*key).to_owned()).or_insert_with(|| (*value).to_owned());
    }
    all
}

/// A converter that the worker names counts with all that the worker says of it, or not at all.
fn with_worker_converters(
    properties: &BTreeMap<String, String>,
    worker: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = properties.clone();
    for part in Part::ALL.map(Part::key).into_iter().filter(|key| !properties.contains_key(*key)) {
        let prefix = format!("{part}.");
        let of_part = worker.iter().filter(|(key, _)| *key == part || key.starts_with(&prefix));
        for (key, value) in of_part {
            all.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    all
}

fn check_converters(
    plugin: &'static Plugin,
    properties: &BTreeMap<String, String>,
    ignored: &mut Vec<String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<ConverterSettings> {
    let mut choose =
        |part, default| convert::settings::choose(part, default, properties, ignored, problems);
    let (key, value) = (choose(Part::Key, plugin.converter), choose(Part::Value, plugin.converter));
    let header = choose(Part::Header, convert::settings::HEADER_DEFAULT);
    Some(ConverterSettings { key: key?, value: value?, header: header? })
}

/// The class without its package.
pub(crate) fn class_name(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
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

    /// The values of the plugin's keys.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How its records become bytes and back.
    pub fn converters(&self) -> &ConverterSettings {
        &self.converters
    }

    /// The transforms of its records, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// See [`Settings::get`].
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.settings.get(key)
    }

    /// See [`Settings::text`].
    pub fn text(&self, key: &str) -> &str {
        self.settings.text(key)
    }

    /// See [`Settings::integer`].
    pub fn integer(&self, key: &str) -> i64 {
        self.settings.integer(key)
    }

    /// See [`Settings::list`].
    pub fn list(&self, key: &str) -> &[String] {
        self.settings.list(key)
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

/// Whether there is a key that nobody declares.
fn check_unknown(
    plugin: &'static Plugin,
    properties: &BTreeMap<String, String>,
    ignored: &mut Vec<String>,
    problems: &mut Vec<ConfigProblem>,
) {
    for (name, text) in properties {
        let parts = ["key.converter.", "value.converter.", "header.converter."];
        let elsewhere = ["transforms.", "predicates."];
        if plugin.keys().any(|key| key.name == name)
            || parts.iter().chain(&elsewhere).any(|prefix| name.starts_with(prefix))
        {
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
}

fn unknown_key(plugin: &'static Plugin, name: &str, text: &str) -> ConfigProblem {
    let near = keys::nearest(name, plugin.keys().map(|key| key.name));
    let help = near.map_or_else(
        || {
            let keys = plugin.own_keys.iter().map(|key| key.name).collect::<Vec<_>>();
            format!("beside what all connectors know, it knows `{}`", keys.join("`, `"))
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

#[cfg(test)]
mod tests;
