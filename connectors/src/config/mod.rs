//! What a connector is declared by: properties, as Kafka Connect has them.
//!
//! Each plugin declares its keys once ([`ConfigKey`]: name, type, default, doc, example). That
//! table drives validation, "did you mean" and the documentation. [`validate`] reports every
//! mistake at once and starts nothing.
//!
//! - [`keys`]: the table's types and how one value is checked; [`settings`]: the checked values;
//!   [`topics`]: topics that are read; [`creation`]: those that are made; [`clients`]: how both
//!   are done;
//!   [`providers`]: values that stand elsewhere; [`elsewhere`]: keys of Connect that have no
//!   meaning here, or none yet.

pub mod clients;
pub mod creation;
pub mod elsewhere;
pub mod keys;
pub mod providers;
pub mod settings;
pub mod topics;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use keys::{ConfigKey, KeyFamily, KeyType, Presence, Value, key};
pub use settings::Settings;

use crate::convert::{self, ConverterSettings, Part};
use crate::plugin::{self, ConnectorKind, Plugin};
use crate::transforms::{self, Step};
use clients::{Reading, Writing};
use creation::TopicCreation;
use elsewhere::Elsewhere;
use providers::Providers;
pub(crate) use providers::parse_properties;
use topics::TopicChoice;

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
    members: Vec<(String, Settings)>,
    converters: ConverterSettings,
    steps: Vec<Step>,
    base_dir: PathBuf,
    ignored: Vec<String>,
    creation: TopicCreation,
    topics: TopicChoice,
    common: Common,
}

/// What the tasks of a connector share that run in one process.
#[derive(Clone, Default)]
struct Common(Arc<OnceLock<Arc<dyn Any + Send + Sync>>>);

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Common")
    }
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
    let given = clients::with_workers(with_worker_converters(properties, worker), worker);
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

/// What is wrong with a worker's properties as far as connectors use them: where values stand that
/// are elsewhere, what converters there are, and how records are read and written.
pub fn validate_worker(worker: &BTreeMap<String, String>, base_dir: &Path) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    let providers = Providers::new(worker).unwrap_or_else(|problem| {
        problems.push(problem);
        Providers::default()
    });
    let parts = Part::ALL.map(Part::key);
    let of_converters = worker.iter().filter(|(key, _)| {
        parts.iter().any(|part| key.strip_prefix(part).is_some_and(|rest| is_end(rest)))
    });
    let of_converters = of_converters.map(|(key, value)| (key.clone(), value.clone())).collect();
    let resolved = providers.resolve(&of_converters, base_dir, &mut problems);
    for part in Part::ALL.into_iter().filter(|part| resolved.properties.contains_key(part.key())) {
        let default = convert::settings::HEADER_DEFAULT;
        let mut ignored = Vec::new();
        convert::settings::choose(part, default, &resolved.properties, &mut ignored, &mut problems);
    }
    problems.iter_mut().for_each(|problem| resolved.hide(problem));
    clients::check_workers(worker, &mut problems);
    problems
}

/// Whether a key's name is over, or goes on after a dot.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('.')
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
    let settings = settings.based_on(base_dir);
    // Keys that are wrong by themselves have no value that could be looked at.
    let is_sound = problems.len() == before;
    if is_sound {
        (plugin.check)(&settings, problems);
        check_inputs(plugin, &settings, base_dir, problems);
    }
    let members = members(plugin, &settings, is_sound, properties, problems);
    let converters = check_converters(plugin, properties, &mut ignored, problems);
    let creation = match plugin.kind() {
        ConnectorKind::Source => TopicCreation::check(properties, problems),
        ConnectorKind::Sink => TopicCreation::default(),
    };
    let topics = match plugin.kind() {
        ConnectorKind::Source => Some(TopicChoice::Named(Vec::new())),
        ConnectorKind::Sink => TopicChoice::check(&settings, problems),
    };
    let steps = transforms::settings::steps(&settings, properties, problems);
    check_unknown(plugin, properties, &mut ignored, problems);
    Some(ConnectorConfig {
        name: name.to_owned(),
        plugin,
        settings,
        members,
        converters: converters?,
        steps,
        base_dir: base_dir.to_owned(),
        ignored,
        creation,
        topics: topics?,
        common: Common::default(),
    })
}

/// Files that have to be there are looked for now: the task would fail later.
fn check_inputs(
    plugin: &'static Plugin,
    settings: &Settings,
    base_dir: &Path,
    problems: &mut Vec<ConfigProblem>,
) {
    for key in plugin.keys().filter(|key| matches!(key.key_type, KeyType::Input)) {
        let Some(text) = settings.optional_text(key.name) else { continue };
        let path = base_dir.join(text);
        if let Err(error) = std::fs::File::open(&path) {
            problems.push(ConfigProblem {
                key: key.name.to_owned(),
                value: Some(text.to_owned()),
                message: format!("`{}`: {}: {error}", key.name, path.display()),
                help: Some("name a file that this worker can read".to_owned()),
            });
        }
    }
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

/// The settings of each thing that the plugin's family names, in the order of their names' list.
fn members(
    plugin: &'static Plugin,
    settings: &Settings,
    is_sound: bool,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<(String, Settings)> {
    let Some(family) = plugin.family else { return Vec::new() };
    let Some(Value::List(names)) = settings.get(family.list) else { return Vec::new() };
    let mut members: Vec<(String, Settings)> = Vec::new();
    for name in names {
        let said_twice = members.iter().any(|(known, _)| known == name);
        if said_twice || name.contains('.') {
            let what = if said_twice { "is named twice" } else { "has a dot in its name" };
            problems.push(ConfigProblem {
                key: family.list.to_owned(),
                value: Some(names.join(", ")),
                message: format!("`{}`: {} '{name}' {what}", family.list, family.noun),
                help: Some("give each a name of its own, of one word".to_owned()),
            });
            continue;
        }
        let (prefix, before) = (family.prefix(name), problems.len());
        let own = settings.overlaid(&prefix, family.keys, properties, problems);
        if is_sound && problems.len() == before {
            (family.check)(&own, &prefix, problems);
        }
        members.push((name.clone(), own));
    }
    members
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

    /// What all tasks of this connector in this process have in common: made for the first that
    /// asks, and the same for those that come later, also after a restart.
    pub(crate) fn common<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let common = self.common.0.get_or_init(|| Arc::new(make())).clone();
        common.downcast().expect("a plugin asks for one thing alone")
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

    /// How topics are made that a source needs.
    pub fn topic_creation(&self) -> &TopicCreation {
        &self.creation
    }

    /// Whether a topic is one that a source writes to, as far as its properties tell: it is named
    /// there, or begins as its topics do, or is one of those that it says how to make. Where
    /// transforms [lead records elsewhere](ConnectorConfig::reroutes), only the last can tell.
    pub fn fills(&self, topic: &str) -> bool {
        let begins =
            |prefix: &str| topic.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
        let setting = |key| self.settings.optional_text(key);
        setting("topic") == Some(topic)
            || setting("topic.prefix").is_some_and(begins)
            || self.creation.names(topic)
    }

    /// Whether its transforms may lead records to other topics.
    pub fn reroutes(&self) -> bool {
        self.steps.iter().any(|step| step.class.ends_with("Router"))
    }

    /// How a sink reads them.
    pub(crate) fn reading(&self) -> Reading {
        Reading::new(&self.name, &self.settings)
    }

    /// How a source writes.
    pub(crate) fn writing(&self) -> Writing {
        Writing::new(&self.settings)
    }

    /// Which topics a sink reads; a source reads none.
    pub fn topics(&self) -> &TopicChoice {
        &self.topics
    }

    /// The transforms of its records, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What the plugin's [family](KeyFamily) of keys says of each name: the connector's own
    /// settings, with what stands under that name in their place.
    pub fn members(&self) -> &[(String, Settings)] {
        &self.members
    }

    /// The directory of the file that declares it.
    pub fn base_dir(&self) -> &Path {
        &self.base_dir
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
    let known = "for example `file-source`; `millstream connect plugins` shows all".to_owned();
    let Some(class) = properties.get(key).map(|class| class.trim()) else {
        let short = properties.get("class");
        let help = short.map(|class| format!("`class` is there: call it `{key} = {class}`"));
        problems.push(ConfigProblem {
            key: key.to_owned(),
            value: None,
            message: format!("`{key}` is missing: it says what kind of connector this is"),
            help: help.or(Some(known)),
        });
        return None;
    };
    let found = plugin::find(class);
    if found.is_none() {
        let all = plugin::plugins();
        let near = keys::nearest(class, all.iter().flat_map(|plugin| plugin.spellings()));
        // One of that name from elsewhere is about the same thing, by other keys.
        let namesake = all.iter().find(|plugin| {
            plugin.spellings().any(|spelling| class_name(spelling) == class_name(class))
        });
        let namesake = namesake.map(|plugin| {
            let name = plugin.name;
            format!(
                "`{key} = {name}` may do what it does, by keys of its own: `millstream connect \
                 plugins {name}` shows them"
            )
        });
        let known = namesake.or_else(|| elsewhere::nearest_class(class)).unwrap_or(known);
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
    let is_of_family = |name: &str| {
        let Some(family) = plugin.family else { return false };
        let Some((of, own)) = name
            .strip_prefix(family.noun)
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.split_once('.'))
        else {
            return false;
        };
        let names = properties.get(family.list).map_or("", String::as_str);
        family.keys.iter().any(|key| key.name == own)
            && names.split(',').any(|named| named.trim() == of)
    };
    for (name, text) in properties {
        let parts = ["key.converter.", "value.converter.", "header.converter."];
        let elsewhere = ["transforms.", "predicates."];
        if plugin.keys().any(|key| key.name == name || key.part(name).is_some())
            || parts.iter().chain(&elsewhere).any(|prefix| name.starts_with(prefix))
            || is_of_family(name)
            || plugin.kind() == ConnectorKind::Source && creation::knows(name, properties)
        {
            if creation::has_no_meaning(name, properties) {
                ignored.push(name.clone());
            }
            continue;
        }
        let found = elsewhere::find(plugin.name, name, properties);
        match found.map(|found| (found, found.lacking(text))) {
            Some((Elsewhere::NoMeaning, _)) => ignored.push(name.clone()),
            Some((_, None)) => {}
            Some((found, Some(what))) => problems.push(ConfigProblem {
                key: name.clone(),
                value: (!name.contains("password")).then(|| text.clone()),
                message: format!("`{name}` asks for {what}, which this version does not have"),
                help: Some(match found {
                    Elsewhere::Only(values, _) => {
                        format!("take the key out, or write `{name} = {}`", values[0])
                    }
                    _ => "take the key out".to_owned(),
                }),
            }),
            None => problems.push(unknown_key(plugin, name, text)),
        }
    }
}

fn unknown_key(plugin: &'static Plugin, name: &str, text: &str) -> ConfigProblem {
    if let Some(family) = plugin.family
        && let Some(rest) = name.strip_prefix(family.noun).and_then(|rest| rest.strip_prefix('.'))
    {
        return unknown_member_key(family, name, rest, text);
    }
    let of_plugin = |wanted: &&str| plugin.keys().any(|key| key.name == *wanted);
    let since = elsewhere::name_since(name).filter(of_plugin);
    let near = keys::nearest(name, plugin.keys().map(|key| key.name));
    let alike = || keys::alike(name, plugin.own_keys.iter().map(|key| key.name)).join("`, `");
    let help = match (since, near) {
        (Some(since), _) => format!("since Debezium 2 it is called `{since}`"),
        (None, Some(near)) => format!("did you mean `{near}`?"),
        (None, None) => {
            let all = format!("`millstream connect plugins {}` tells all", plugin.name);
            match alike() {
                names if names.is_empty() => all,
                names => format!("there are `{names}`; {all}"),
            }
        }
    };
    ConfigProblem {
        key: name.to_owned(),
        value: Some(text.to_owned()),
        message: format!("`{}` has no key `{name}`", plugin.name),
        help: Some(help),
    }
}

/// `rest` is what follows `service.`.
fn unknown_member_key(family: &KeyFamily, name: &str, rest: &str, text: &str) -> ConfigProblem {
    let (of, own) = rest.split_once('.').unwrap_or((rest, ""));
    let known = family.keys.iter().any(|key| key.name == own);
    let near = keys::nearest(own, family.keys.iter().map(|key| key.name));
    let noun = family.noun;
    let (message, help) = match (known, near) {
        (true, _) => {
            (format!("`{name}`: there is no {noun} '{of}'"), format!("add it to `{}`", family.list))
        }
        (false, Some(near)) => (
            format!("`{name}`: a {noun} has no key `{own}`"),
            format!("did you mean `{}{near}`?", family.prefix(of)),
        ),
        (false, None) => {
            let all = family.keys.iter().map(|key| key.name).collect::<Vec<_>>().join("`, `");
            (format!("`{name}`: a {noun} has no key `{own}`"), format!("it may have `{all}`"))
        }
    };
    let value = Some(text.to_owned());
    ConfigProblem { key: name.to_owned(), value, message, help: Some(help) }
}

#[cfg(test)]
mod tests;
