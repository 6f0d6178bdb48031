//! Transforms and predicates as properties declare them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::predicates::{self, Predicate, PredicatePlugin, predicates};
use super::{Outcome, Side, Transform, TransformPlugin, transforms};
use crate::config::{ConfigKey, ConfigProblem, KeyType, Presence, Settings, class_name, keys};
use crate::data::{ConnectRecord, DataError, Schema};

/// One transform of a connector, with what it is called and when it is used.
#[derive(Debug)]
pub struct Step {
    /// Its name among the properties.
    pub alias: String,
    /// Its class, for messages and for the headers of dead letters.
    pub class: String,
    transform: Box<dyn Transform>,
    condition: Option<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    predicate: Predicate,
    negate: bool,
}

impl Clone for Step {
    fn clone(&self) -> Step {
        Step {
            alias: self.alias.clone(),
            class: self.class.clone(),
            transform: self.transform.fresh(),
            condition: self.condition.clone(),
        }
    }
}

impl Step {
    /// Changes a record, if it is one that this is for.
    pub fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let applies =
            self.condition.as_ref().is_none_or(|one| one.predicate.holds(record) != one.negate);
        if !applies {
            return Ok(Outcome::Keep);
        }
        let named = |error: DataError| error.within(format_args!("transform '{}'", self.alias));
        self.transform.apply(record).map_err(named)
    }
}

/// `transforms` and `predicates`, which name what the other properties are about.
pub(crate) const LIST_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "transforms",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "The transforms that each record goes through, by names of choice, in this order",
        example: "unwrap,route",
    },
    ConfigKey {
        name: "predicates",
        key_type: KeyType::AnyList,
        presence: Presence::Default(""),
        doc: "The predicates that transforms may refer to, by names of choice",
        example: "is-tombstone",
    },
];

/// What every transform may be told beside its own settings.
const STEP_KEYS: &[ConfigKey] = &[
    ConfigKey {
        name: "predicate",
        key_type: KeyType::Text,
        presence: Presence::Optional,
        doc: "The predicate that says for which records this is",
        example: "is-tombstone",
    },
    ConfigKey {
        name: "negate",
        key_type: KeyType::Boolean,
        presence: Presence::Default("false"),
        doc: "Whether it is for the other records instead",
        example: "true",
    },
];

/// Reads all transforms of a connector, with `settings` of its [`LIST_KEYS`].
pub(crate) fn steps(
    settings: &Settings,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<Step> {
    let mut known = BTreeMap::new();
    for alias in unique("predicates", settings, problems) {
        if let Some(predicate) = predicate(alias, properties, problems) {
            known.insert(alias, predicate);
        }
    }
    let names: BTreeSet<&str> = settings.list("predicates").iter().map(String::as_str).collect();
    let aliases = unique("transforms", settings, problems);
    let steps: Vec<Step> = aliases
        .iter()
        .filter_map(|alias| {
            let base_dir = settings.base_dir();
            step(alias, base_dir, &names, &known, properties, problems)
        })
        .collect();
    for list in ["transforms", "predicates"] {
        strangers(list, settings.list(list), properties, problems);
    }
    steps
}

/// The aliases of a list; one that is there twice is a mistake.
fn unique<'a>(
    list: &str,
    settings: &'a Settings,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<&'a str> {
    let mut aliases: Vec<&str> = Vec::new();
    for alias in settings.list(list) {
        if aliases.contains(&alias.as_str()) {
            problems.push(ConfigProblem {
                key: list.to_owned(),
                value: Some(alias.clone()),
                message: format!("`{list}` names '{alias}' twice"),
                help: Some("give each use a name of its own".to_owned()),
            });
        } else {
            aliases.push(alias);
        }
    }
    aliases
}

/// Properties of an alias that the list does not have.
fn strangers(
    list: &str,
    aliases: &[String],
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) {
    let prefix = format!("{list}.");
    for (key, value) in properties.range(prefix.clone()..) {
        let Some(rest) = key.strip_prefix(&prefix) else { break };
        let of = |alias: &String| {
            rest.strip_prefix(alias.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        if aliases.iter().any(of) {
            continue;
        }
        let alias = rest.split('.').next().unwrap_or_default();
        let near = keys::nearest(alias, aliases.iter().map(String::as_str));
        let help = near.map_or_else(
            || format!("add '{alias}' to `{list}`, or take the key out"),
            |near| format!("did you mean `{prefix}{near}`?"),
        );
        problems.push(ConfigProblem {
            key: key.clone(),
            value: Some(value.clone()),
            message: format!("`{key}` is of '{alias}', which `{list}` does not name"),
            help: Some(help),
        });
    }
}

/// The class that `key` names, and what stands behind a `$` in it. `known` are packages and names.
fn class<'a>(
    key: &str,
    what: &str,
    known: &[(&str, &'static str)],
    properties: &'a BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<(&'static str, Option<&'a str>)> {
    let problem = |value: Option<&str>, message, help| ConfigProblem {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        message,
        help: Some(help),
    };
    let Some(text) = properties.get(key).map(|text| text.trim()) else {
        let message = format!("`{key}` is missing: it says what kind of {what} this is");
        let (package, name) = known[0];
        let help = format!("for example `{key} = {package}.{name}`");
        problems.push(problem(None, message, help));
        return None;
    };
    let (outer, side) = match text.split_once('$') {
        Some((outer, side)) => (outer, Some(side)),
        None => (text, None),
    };
    // One of that name in another package, Debezium's `Filter` say, is something else.
    let is = |package: &str, name: &str| {
        let own = outer.strip_prefix(package).and_then(|rest| rest.strip_prefix('.'));
        name == own.unwrap_or(outer)
    };
    if let Some((_, found)) = known.iter().find(|(package, name)| is(package, name)) {
        return Some((found, side));
    }
    if outer == "io.debezium.transforms.Filter" {
        let message =
            format!("`{key}`: Debezium's Filter, which runs scripts, is not part of this version");
        let help = "write its condition as SQL in the transform `Sql`".to_owned();
        problems.push(problem(Some(text), message, help));
        return None;
    }
    let names: Vec<&str> = known.iter().map(|(_, name)| *name).collect();
    let near = keys::nearest(class_name(outer), names.iter().copied());
    let help = near.map_or_else(
        || format!("there are `{}`", names.join("`, `")),
        |near| format!("did you mean `{near}`?"),
    );
    problems.push(problem(Some(text), format!("there is no {what} class '{text}'"), help));
    None
}

fn step(
    alias: &str,
    base_dir: &Path,
    predicate_names: &BTreeSet<&str>,
    known: &BTreeMap<&str, Predicate>,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Step> {
    let prefix = format!("transforms.{alias}.");
    let transforms = transforms();
    let classes: Vec<_> = transforms.iter().map(|one| (one.package, one.name)).collect();
    let type_key = format!("{prefix}type");
    let found = class(&type_key, "transform", &classes, properties, problems);
    let (name, side_text) = found?;
    let plugin = *transforms.iter().find(|plugin| plugin.name == name)?;
    let side = side(plugin, side_text, &type_key, properties, problems);
    let before = problems.len();
    let own = Settings::check(&prefix, plugin.keys, properties, problems).based_on(base_dir);
    let of_step = Settings::check(&prefix, STEP_KEYS, properties, problems);
    let all = || plugin.keys.iter().chain(STEP_KEYS);
    unknown_keys(&prefix, plugin.name, all, properties, problems);
    let condition = condition(&prefix, &of_step, predicate_names, known, problems);
    if problems.len() > before {
        return None;
    }
    match (plugin.make)(side?, &own) {
        Ok(transform) => {
            let side = side_text.map_or(String::new(), |side| format!("${side}"));
            let class = format!("{}{side}", plugin.class());
            Some(Step { alias: alias.to_owned(), class, transform, condition })
        }
        Err(mistake) => {
            let key = format!("{prefix}{}", mistake.key);
            problems.push(ConfigProblem {
                value: properties.get(&key).cloned(),
                message: format!("`{key}`: {}", mistake.message),
                key,
                help: None,
            });
            None
        }
    }
}

/// Which part of a record a transform is for.
fn side(
    plugin: &TransformPlugin,
    text: Option<&str>,
    key: &str,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Side> {
    let name = plugin.name;
    let (message, help) = match (plugin.has_sides, text) {
        (true, Some("Key")) => return Some(Side::Key),
        (true, Some("Value")) | (false, None) => return Some(Side::Value),
        (true, _) => (
            format!("`{key}` does not say of which part of the record {name} is"),
            format!("write `{name}$Key` or `{name}$Value`"),
        ),
        (false, _) => (format!("{name} is of the whole record"), format!("write `{name}` alone")),
    };
    let value = properties.get(key).cloned();
    problems.push(ConfigProblem { key: key.to_owned(), value, message, help: Some(help) });
    None
}

fn condition(
    prefix: &str,
    settings: &Settings,
    names: &BTreeSet<&str>,
    known: &BTreeMap<&str, Predicate>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Condition> {
    let name = settings.optional_text("predicate")?;
    if !names.contains(name) {
        let near = keys::nearest(name, names.iter().copied());
        problems.push(ConfigProblem {
            key: format!("{prefix}predicate"),
            value: Some(name.to_owned()),
            message: format!("`{prefix}predicate`: `predicates` does not name '{name}'"),
            help: near.map(|near| format!("did you mean `{near}`?")),
        });
    }
    // One that is named but has a mistake has been complained of.
    let predicate = known.get(name)?.clone();
    Some(Condition { predicate, negate: settings.flag("negate") })
}

fn predicate(
    alias: &str,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Predicate> {
    let prefix = format!("predicates.{alias}.");
    let classes: Vec<_> = predicates().iter().map(|one| (predicates::PACKAGE, one.name)).collect();
    let key = format!("{prefix}type");
    let found = class(&key, "predicate", &classes, properties, problems);
    let (name, _) = found?;
    let plugin: &PredicatePlugin = predicates().iter().find(|plugin| plugin.name == name)?;
    let before = problems.len();
    let settings = Settings::check(&prefix, plugin.keys, properties, problems);
    unknown_keys(&prefix, plugin.name, || plugin.keys.iter(), properties, problems);
    (problems.len() == before).then(|| (plugin.make)(&settings))
}

/// Names that Kafka's transforms had for settings before version 4.
const FORMER: [(&str, &str); 2] = [("blacklist", "exclude"), ("whitelist", "include")];

fn unknown_keys<I: Iterator<Item = &'static ConfigKey>>(
    prefix: &str,
    class: &str,
    known: impl Fn() -> I,
    properties: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) {
    for (key, value) in properties.range(prefix.to_owned()..) {
        let Some(own) = key.strip_prefix(prefix) else { break };
        let is_own = |known: &ConfigKey| known.name == own || known.part(own).is_some();
        if own == "type" || known().any(is_own) {
            continue;
        }
        let former = FORMER.iter().find(|(former, _)| *former == own).map(|(_, now)| *now);
        let former = former.filter(|now| known().any(|known| known.name == *now));
        let near = former.or_else(|| keys::nearest(own, known().map(|known| known.name)));
        let names = || known().map(|key| key.name).collect::<Vec<_>>().join("`, `");
        problems.push(ConfigProblem {
            key: key.clone(),
            value: Some(value.clone()),
            message: format!("{class} has no key `{own}`"),
            help: Some(near.map_or_else(
                || format!("it knows `{}`", names()),
                |near| format!("did you mean `{prefix}{near}`?"),
            )),
        });
    }
}

/// That a struct has no such field, and which it may have been.
pub(super) fn unknown_field(name: &str, schema: &Schema) -> DataError {
    let names = || schema.fields().iter().map(|field| field.name.as_str());
    let help = match keys::nearest(name, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None if schema.fields().is_empty() => format!("this is {schema:?}"),
        None => format!("there are '{}'", names().collect::<Vec<_>>().join("', '")),
    };
    DataError(format!("there is no field '{name}': {help}"))
}
