//! What is told of the kinds of connectors, converters, transforms and predicates, and whether a
//! connector's properties are right.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::shapes::kind;
use super::{Answer, Answered, RequestTarget};
use crate::config::{ConfigKey, ConfigProblem, KeyType, Presence, class_name};
use crate::convert::settings::converters;
use crate::herder::Herder;
use crate::plugin::{self, CLASS_KEY};
use crate::transforms::{self, predicates};

pub(super) fn list(target: &RequestTarget) -> Answer {
    let version = env!("CARGO_PKG_VERSION");
    let one = |class: &str, kind: &str| json!({ "class": class, "type": kind, "version": version });
    let connectors = plugin::plugins().into_iter();
    let mut all: Vec<Value> =
        connectors.map(|plugin| one(plugin.class(), kind(plugin.kind()))).collect();
    let connectors_only = target.all("connectorsOnly").last();
    if connectors_only.is_some_and(|only| only.eq_ignore_ascii_case("false")) {
        for converter in converters() {
            let kind = if converter.class.ends_with("HeaderConverter") {
                "header_converter"
            } else {
                "converter"
            };
            all.push(one(converter.class, kind));
        }
        for transform in transforms::transforms() {
            all.push(one(&transform.class(), "transformation"));
        }
        for predicate in predicates::predicates() {
            all.push(one(&format!("{}.{}", predicates::PACKAGE, predicate.name), "predicate"));
        }
    }
    Answer::ok(Value::Array(all))
}

/// The keys of a plugin of whatever kind.
pub(super) fn config(class: &str) -> Answered {
    let outer = class.split('$').next().unwrap_or(class);
    let simple = class_name(outer);
    let keys: Vec<&ConfigKey> = if let Some(plugin) = plugin::find(class) {
        plugin.keys().collect()
    } else if let Some(one) = converters().iter().find(|one| class_name(one.class) == simple) {
        one.keys.iter().collect()
    } else if let Some(one) = transforms::transforms().iter().find(|one| one.name == simple) {
        one.keys.iter().collect()
    } else if let Some(one) = predicates::predicates().iter().find(|one| one.name == simple) {
        one.keys.iter().collect()
    } else {
        return Err(Answer::error(404, format!("there is no plugin '{class}'")));
    };
    let definitions = keys.iter().enumerate().map(|(order, key)| definition(key.name, key, order));
    Ok(Answer::ok(definitions.collect()))
}

fn type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Integer { .. } => "LONG",
        KeyType::Boolean => "BOOLEAN",
        KeyType::List | KeyType::AnyList | KeyType::Topics => "LIST",
        _ => "STRING",
    }
}

fn definition(name: &str, key: &ConfigKey, order: usize) -> Value {
    let default = match key.presence {
        Presence::Default(text) => Some(text),
        _ => None,
    };
    let required = key.presence == Presence::Required;
    json!({
        "name": name,
        "type": type_name(key.key_type),
        "required": required,
        "default_value": default,
        "importance": if required { "HIGH" } else { "MEDIUM" },
        "documentation": key.doc,
        "group": "Connector",
        "width": "NONE",
        "display_name": name,
        "dependents": [],
        "order": order + 1,
    })
}

/// Each key with its value and what is wrong with it, as user interfaces show it.
pub(super) fn validate(
    herder: &dyn Herder,
    class: &str,
    mut properties: BTreeMap<String, String>,
) -> Answered {
    let given = properties.entry(CLASS_KEY.to_owned()).or_insert_with(|| class.to_owned()).clone();
    let (plugin, of_path) = (plugin::find(given.trim()), plugin::find(class));
    if let (Some(plugin), Some(of_path)) = (plugin, of_path)
        && plugin.name != of_path.name
    {
        let message = format!("`{CLASS_KEY}` names {given}, but the path {class}");
        return Err(Answer::error(400, message));
    }
    let name = properties.get("name").cloned().unwrap_or_default();
    let problems = herder.check(&name, &properties).err().unwrap_or_default();
    let keys: Vec<&ConfigKey> = plugin.map_or_else(Vec::new, |plugin| plugin.keys().collect());
    let mut configs: Vec<Value> = keys
        .iter()
        .enumerate()
        .map(|(order, key)| {
            let errors = errors_of(key.name, &problems);
            let given = properties.get(key.name).map(String::as_str);
            let value = given.or(match key.presence {
                Presence::Default(text) => Some(text),
                _ => None,
            });
            let recommended = match key.key_type {
                KeyType::OneOf(words) => words.to_vec(),
                KeyType::Boolean => vec!["true", "false"],
                _ => Vec::new(),
            };
            let value = config_value(key.name, value, &recommended, &errors);
            json!({ "definition": definition(key.name, key, order), "value": value })
        })
        .collect();
    // Mistakes in keys that no table has, such as those of transforms.
    let known = |name: &str| keys.iter().any(|key| key.name == name);
    let mut others: Vec<&str> =
        problems.iter().map(|problem| problem.key.as_str()).filter(|key| !known(key)).collect();
    others.dedup();
    for key in others {
        let value = properties.get(key).map(String::as_str);
        let value = config_value(key, value, &[], &errors_of(key, &problems));
        configs.push(json!({ "definition": Value::Null, "value": value }));
    }
    Ok(Answer::ok(json!({
        "name": given,
        "error_count": problems.len(),
        "groups": ["Connector"],
        "configs": configs,
    })))
}

fn errors_of(key: &str, problems: &[ConfigProblem]) -> Vec<String> {
    let of_key = problems.iter().filter(|problem| problem.key == key);
    of_key.map(ConfigProblem::in_words).collect()
}

fn config_value(key: &str, value: Option<&str>, recommended: &[&str], errors: &[String]) -> Value {
    json!({
        "name": key,
        "value": value,
        "recommended_values": recommended,
        "errors": errors,
        "visible": true,
    })
}
