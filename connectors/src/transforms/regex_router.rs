//! Sends records to a topic whose name is made of their topic's by a pattern.

use regex::{Captures, Regex};

use super::{Mistake, Outcome, PACKAGE, Transform, TransformPlugin};
use crate::config::{ConfigKey, KeyType, Presence, Settings};
use crate::data::{ConnectRecord, DataError};

pub(super) const PLUGIN: TransformPlugin = TransformPlugin {
    package: PACKAGE,
    name: "RegexRouter",
    has_sides: false,
    doc: "Makes another topic name where a pattern matches the whole name",
    keys: &[
        ConfigKey {
            name: "regex",
            key_type: KeyType::Regex,
            presence: Presence::Required,
            doc: "The pattern that a topic's name has to match",
            example: "([^.]+)\\.public\\.(.*)",
        },
        ConfigKey {
            name: "replacement",
            key_type: KeyType::AnyText,
            presence: Presence::Required,
            doc: "The topic's new name; `$1` or `${name}` is what a group has matched",
            example: "$2",
        },
    ],
    make,
};

fn make(_: super::Side, settings: &Settings) -> Result<Box<dyn Transform>, Mistake> {
    let text = settings.text("regex");
    let compile = |text: &str| Regex::new(text).expect("patterns are checked with the settings");
    let regex = compile(text);
    let replacement = parse(settings.text("replacement"), &regex)
        .map_err(|message| Mistake::new("replacement", message))?;
    Ok(Box::new(RegexRouter { whole: whole(text), regex, replacement }))
}

/// The pattern for all of a text.
pub(super) fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?:{pattern})$")).expect("patterns are checked with the settings")
}

/// A part of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
    Name(String),
}

#[derive(Clone, Debug)]
struct RegexRouter {
    whole: Regex,
    regex: Regex,
    replacement: Vec<Piece>,
}

impl RegexRouter {
    fn expand(&self, groups: &Captures<'_>, out: &mut String) {
        for piece in &self.replacement {
            let group = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Group(number) => groups.get(*number),
                Piece::Name(name) => groups.name(name),
            };
            out.push_str(group.map_or("", |group| group.as_str()));
        }
    }
}

impl Transform for RegexRouter {
    fn apply(&mut self, record: &mut ConnectRecord) -> Result<Outcome, DataError> {
        let topic = record.topic.as_str();
        // As in Java: if all of it matches, the first match in it, which may be shorter, goes.
        if self.whole.is_match(topic)
            && let Some(groups) = self.regex.captures(topic)
        {
            let found = groups.get(0).expect("group 0 is the match");
            let mut renamed = topic[..found.start()].to_owned();
            self.expand(&groups, &mut renamed);
            renamed.push_str(&topic[found.end()..]);
            record.topic = renamed.into();
        }
        Ok(Outcome::Keep)
    }

    fn fresh(&self) -> Box<dyn Transform> {
        Box::new(self.clone())
    }
}

/// Java's replacements: `$` and a group's number, as many digits as make one, or its name in
/// braces; a backslash takes the next letter as it is.
fn parse(text: &str, regex: &Regex) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let group = match letter {
            '\\' => {
                plain.push(letters.next().ok_or("a backslash at the end escapes nothing")?);
                continue;
            }
            '$' if letters.next_if_eq(&'{').is_some() => {
                let name: String = letters.by_ref().take_while(|letter| *letter != '}').collect();
                if !regex.capture_names().flatten().any(|known| known == name) {
                    return Err(format!("`regex` has no group named '{name}'"));
                }
                Piece::Name(name)
            }
            '$' => {
                let digit = letters.next().and_then(|letter| letter.to_digit(10));
                let digit = digit.ok_or("behind a `$` stands a group; write `\\$` for the sign")?;
                let mut number = digit as usize;
                while let Some(digit) = letters.peek().and_then(|letter| letter.to_digit(10)) {
                    let longer = number * 10 + digit as usize;
                    if longer >= regex.captures_len() {
                        break;
                    }
                    number = longer;
                    letters.next();
                }
                if number >= regex.captures_len() {
                    return Err(format!("`regex` has no group {number}"));
                }
                Piece::Group(number)
            }
            letter => {
                plain.push(letter);
                continue;
            }
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(group);
    }
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}
