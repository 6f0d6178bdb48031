//! `millstream connect plugins`: what there is to be configured, out of the code that reads it.

use connectors::config::{ConfigKey, KeyType, Presence};
use connectors::convert::settings::converters;
use connectors::transforms::{predicates, transforms};
use connectors::{ConnectorKind, Plugin, plugins};

use crate::cli::Failure;
use crate::cli::stdout;

pub fn print(name: Option<&str>) -> Result<(), Failure> {
    let text = match name {
        None => overview(),
        Some(name) => {
            let unknown = || {
                let failure = Failure::usage(format!("there is no plugin '{name}'"));
                failure.with_help("`millstream connect plugins` shows all")
            };
            one(name).ok_or_else(unknown)?
        }
    };
    stdout::print(&text)
}

fn overview() -> String {
    let mut text = String::from("Connectors\n");
    for plugin in plugins() {
        let kind = match plugin.kind() {
            ConnectorKind::Source => "source",
            ConnectorKind::Sink => "sink",
        };
        text.push_str(&line(plugin.name, &format!("{} ({kind})", plugin.doc)));
    }
    text.push_str("\nConverters\n");
    for converter in converters() {
        text.push_str(&line(simple(converter.class), converter.doc));
    }
    text.push_str("\nTransforms\n");
    for transform in transforms() {
        let sides = if transform.has_sides { "$Key, $Value" } else { "" };
        text.push_str(&line(&format!("{}{sides}", transform.name), transform.doc));
    }
    text.push_str("\nPredicates\n");
    for predicate in predicates::predicates() {
        text.push_str(&line(predicate.name, predicate.doc));
    }
    text.push_str("\n`millstream connect plugins NAME` shows every key of one.\n");
    text
}

fn line(name: &str, doc: &str) -> String {
    format!("  {name:<32} {doc}\n")
}

fn simple(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

/// Everything about a plugin of whatever kind.
fn one(name: &str) -> Option<String> {
    let wanted = simple(name.split('$').next().unwrap_or(name));
    if let Some(plugin) = connectors::plugin::find(name) {
        return Some(of_connector(plugin));
    }
    let (title, doc, keys) =
        if let Some(one) = converters().iter().find(|one| simple(one.class) == wanted) {
            (one.class, one.doc, one.keys)
        } else if let Some(one) = transforms().iter().find(|one| one.name == wanted) {
            (one.name, one.doc, one.keys)
        } else {
            let one = predicates::predicates().iter().find(|one| one.name == wanted)?;
            (one.name, one.doc, one.keys)
        };
    Some(format!("{title}\n{doc}.\n{}", of_keys(keys.iter())))
}

fn of_connector(plugin: &Plugin) -> String {
    let mut text = format!("{}\n{}.\n", plugin.name, plugin.doc);
    if !plugin.classes.is_empty() {
        text.push_str(&format!("Also called {}.\n", plugin.classes.join(", ")));
    }
    let own = |key: &&ConfigKey| plugin.own_keys.iter().any(|own| own.name == key.name);
    text.push_str(&of_keys(plugin.own_keys.iter()));
    if let Some(family) = plugin.family {
        let prefix = family.prefix("NAME");
        text.push_str(&format!("\nFor each NAME in `{}`, also:\n\n", family.list));
        for key in family.keys {
            text.push_str(&format!("  {prefix}{}\n", key.name));
        }
    }
    text.push_str("\nAs of every connector of its kind:\n");
    text.push_str(&of_keys(plugin.keys().filter(|key| !own(key))));
    text
}

fn of_keys<'a>(keys: impl Iterator<Item = &'a ConfigKey>) -> String {
    let mut text = String::new();
    for key in keys {
        let presence = match key.presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional => "optional".to_owned(),
            Presence::Default("") => "by default none".to_owned(),
            Presence::Default(value) => format!("by default {value}"),
        };
        let (name, words) = (key.name, in_words(key.key_type));
        text.push_str(&format!("\n  {name}   {words}, {presence}\n      {}.\n", key.doc));
        text.push_str(&format!("      {name}={}\n", key.example));
    }
    text
}

fn in_words(key_type: KeyType) -> String {
    match key_type {
        KeyType::Text | KeyType::AnyText => "text".to_owned(),
        KeyType::Integer { min, max } if max < i64::from(i32::MAX) && min > i64::from(i32::MIN) => {
            format!("whole number from {min} to {max}")
        }
        KeyType::Integer { .. } => "whole number".to_owned(),
        KeyType::Boolean => "true or false".to_owned(),
        KeyType::List | KeyType::AnyList => "list".to_owned(),
        KeyType::Regex => "pattern".to_owned(),
        KeyType::OneOf(words) => words.join(" or "),
        KeyType::Topic => "topic".to_owned(),
        KeyType::Topics => "topics".to_owned(),
        KeyType::File => "path of a file".to_owned(),
        KeyType::Input => "path of a file that is there".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_can_be_looked_up_by_what_the_overview_calls_it() {
        for row in overview().lines().filter(|row| row.starts_with("  ")) {
            let name = row.split_whitespace().next().unwrap().trim_end_matches(',');
            assert!(one(name).is_some(), "{name}");
        }
        let text = one("org.apache.kafka.connect.transforms.HoistField$Value").unwrap();
        assert!(text.contains("field   text, required"), "{text}");
        assert_eq!(one("nothing"), None);
    }
}
