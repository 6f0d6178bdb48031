//! The keys that a plugin declares, and how one value is checked.

use super::{ConfigProblem, Settings};

/// One key of a plugin, declared once: validation and documentation both read this.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// A star in it stands for any text: `column.truncate.to.*.chars`.
    pub name: &'static str,
    pub key_type: KeyType,
    pub presence: Presence,
    /// One sentence, without a full stop.
    pub doc: &'static str,
    pub example: &'static str,
}

/// A key, as a line of a table.
pub const fn key(
    name: &'static str,
    key_type: KeyType,
    presence: Presence,
    doc: &'static str,
    example: &'static str,
) -> ConfigKey {
    ConfigKey { name, key_type, presence, doc, example }
}

/// Keys that stand once for each name that a list holds, and otherwise mean what they mean
/// without a name: `services = a, b`, `service.a.http.url`. The two begin differently, since in
/// TOML one key cannot be a list and have keys of its own.
#[derive(Clone, Copy, Debug)]
pub struct KeyFamily {
    /// The key of the list; it is one of the plugin's own keys.
    pub list: &'static str,
    /// One word for what is named, such as `service`: its keys begin with it.
    pub noun: &'static str,
    /// Where a name says nothing, the connector's key of the same name counts.
    pub keys: &'static [ConfigKey],
    /// Finds mistakes that no key of one name has by itself; it gets the prefix of that name.
    pub check: fn(&Settings, &str, &mut Vec<ConfigProblem>),
}

impl KeyFamily {
    /// `service.a.`
    pub fn prefix(&self, name: &str) -> String {
        format!("{}.{name}.", self.noun)
    }
}

/// What may stand for a key.
#[derive(Clone, Copy, Debug)]
pub enum KeyType {
    /// Any text that is not blank.
    Text,
    Integer {
        min: i64,
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// Any text, even none.
    AnyText,
    /// Texts, separated by commas; at least one.
    List,
    /// Texts, separated by commas, or none.
    AnyList,
    /// A regular expression.
    Regex,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
    /// The name of one topic.
    Topic,
    /// Names of topics, separated by commas.
    Topics,
    /// A path; a relative one starts at the directory of the file that declares the connector.
    File,
    /// The same, of a file that has to be there.
    Input,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Required,
    Optional,
    Default(&'static str),
}

/// A checked value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<String>),
}

/// Longest topic name, as in Kafka: it must fit a file name with `-<partition>` after it.
const TOPIC_LEN_MAX: usize = 249;

impl ConfigKey {
    /// What the star of a key's name stands for in `full`: there may be several of that key.
    pub(crate) fn part<'a>(&self, full: &'a str) -> Option<&'a str> {
        let (before, after) = self.name.split_once('*')?;
        let part = full.strip_prefix(before)?.strip_suffix(after)?;
        (!part.is_empty()).then_some(part)
    }

    /// Reads `text` as a value of this key.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigProblem> {
        self.parse_as(self.name, text)
    }

    /// The same, of a key that stands as `full` among the properties.
    pub(crate) fn parse_as(&self, full: &str, text: &str) -> Result<Value, ConfigProblem> {
        let text = text.trim();
        let full = Full(full);
        let checked = match self.key_type {
            KeyType::AnyText => Ok(Value::Text(text.to_owned())),
            KeyType::AnyList => Ok(Value::List(items(text))),
            _ if text.is_empty() => Err((format!("`{full}` is empty"), None)),
            KeyType::Text => Ok(Value::Text(text.to_owned())),
            KeyType::Integer { min, max } => full.integer(text, min, max),
            KeyType::Boolean => full.one_of(text, &["true", "false"]).map(|word| match word {
                Value::Text(word) => Value::Boolean(word == "true"),
                other => other,
            }),
            KeyType::List => match items(text) {
                items if items.is_empty() => Err((format!("`{full}` names nothing"), None)),
                items => Ok(Value::List(items)),
            },
            KeyType::Regex => full.regex(text),
            KeyType::OneOf(words) => full.one_of(text, words),
            KeyType::Topic => full.topic(text).map(Value::Text),
            KeyType::Topics => full.topics(text),
            KeyType::File | KeyType::Input => full.file(text),
        };
        checked.map_err(|(message, help)| ConfigProblem {
            key: full.0.to_owned(),
            value: Some(text.to_owned()),
            message,
            help: help.or_else(|| Some(format!("for example `{full} = {}`", self.example))),
        })
    }
}

/// Items between commas.
fn items(text: &str) -> Vec<String> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

/// A key's name as it stands among the properties.
struct Full<'a>(&'a str);

impl std::fmt::Display for Full<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl Full<'_> {
    fn regex(&self, text: &str) -> Checked {
        if let Err(error) = regex::Regex::new(text) {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let help = "patterns are those of Java without look-around and back-references; \
                        a transform's `negate` says when something does not match";
            return Err((format!("`{self}` is no pattern: {reason}"), Some(help.to_owned())));
        }
        Ok(Value::Text(text.to_owned()))
    }

    fn integer(&self, text: &str, min: i64, max: i64) -> Checked {
        let plain = text.replace('_', "");
        match plain.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
            Ok(number) if number < min => {
                Err((format!("`{}` must be at least {min}, not {number}", self), None))
            }
            Ok(number) => Err((format!("`{}` must be at most {max}, not {number}", self), None)),
            Err(_) => Err((format!("`{}` must be a whole number, not '{text}'", self), None)),
        }
    }

    fn one_of(&self, text: &str, words: &'static [&'static str]) -> Checked {
        if let Some(word) = words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(Value::Text((*word).to_owned()));
        }
        let list = words.join("` or `");
        let help =
            nearest(text, words.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        Err((format!("`{}` must be `{list}`, not '{text}'", self), help))
    }

    fn topic(&self, text: &str) -> Result<String, (String, Option<String>)> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let reason = if text.len() > TOPIC_LEN_MAX {
            format!("is longer than {TOPIC_LEN_MAX} characters")
        } else if text == "." || text == ".." {
            "is no topic name".to_owned()
        } else if let Some(bad) = text.chars().find(|c| !c.is_ascii() || !letters(*c as u8)) {
            format!("contains {bad:?}")
        } else {
            return Ok(text.to_owned());
        };
        let help = "topic names consist of letters, digits, `.`, `_` and `-`";
        Err((format!("`{}`: topic name '{text}' {reason}", self), Some(help.to_owned())))
    }

    fn topics(&self, text: &str) -> Checked {
        let mut names = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = self.topic(name)?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Err((format!("`{}` names no topic", self), None));
        }
        Ok(Value::List(names))
    }

    fn file(&self, text: &str) -> Checked {
        if text.contains('\0') {
            return Err((format!("`{}` contains a zero byte", self), None));
        }
        if text.ends_with('/') {
            let help = "name one file in it";
            return Err((format!("`{}` is a directory: '{text}'", self), Some(help.into())));
        }
        Ok(Value::Text(text.to_owned()))
    }
}

type Checked = Result<Value, (String, Option<String>)>;

/// The candidate that `text` was most likely meant to be, if one is near enough.
pub fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let near_enough = text.chars().count().div_ceil(3).min(4);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&text, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= near_enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many keys are named that are like another.
const ALIKE_MAX: usize = 5;

/// The candidates that have most words in common with `name`, best first.
pub(crate) fn alike<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let words = |name: &'a str| name.split('.').filter(|word| *word != "*");
    let in_common =
        |candidate| words(candidate).filter(|word| name.split('.').any(|one| one == *word));
    let mut found: Vec<(usize, &str)> =
        candidates.map(|candidate| (in_common(candidate).count(), candidate)).collect();
    found.retain(|(count, _)| *count > 0);
    found.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    found.into_iter().take(ALIKE_MAX).map(|(_, candidate)| candidate).collect()
}
