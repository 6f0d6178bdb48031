//! The flags of Kafka's own commands, read as Kafka reads them.
//!
//! ```text
//! --topic t   --topic=t   -topic t       an option that takes a value
//! --list                                 one that takes none
//! --state, --state Stable                one that may
//! ```
//!
//! Options may come in any order and repeatedly; what is neither an option nor its value is left
//! over, and ignored as Kafka ignores it.

use std::fmt::Write as _;
use std::str::FromStr;

use super::Error;

/// A command of Kafka's.
#[derive(Debug)]
pub struct Tool {
    /// Without `.sh`.
    pub name: &'static str,
    pub about: &'static str,
    pub example: &'static str,
    pub options: &'static [Opt],
}

/// One option.
#[derive(Debug)]
pub struct Opt {
    pub name: &'static str,
    pub takes: Takes,
    pub about: &'static str,
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Value(&'static str),
    MaybeValue(&'static str),
}

/// A flag.
pub const fn flag(name: &'static str, about: &'static str) -> Opt {
    Opt { name, takes: Takes::Nothing, about }
}

/// An option with a value.
pub const fn value(name: &'static str, what: &'static str, about: &'static str) -> Opt {
    Opt { name, takes: Takes::Value(what), about }
}

/// An option that may have a value.
pub const fn maybe(name: &'static str, what: &'static str, about: &'static str) -> Opt {
    Opt { name, takes: Takes::MaybeValue(what), about }
}

/// What every command takes.
const ALL: &[Opt] = &[
    value("bootstrap-server", "HOST:PORT", "The broker to use; else what --data-dir gives"),
    value("data-dir", "DIR", "Where a local broker keeps its data (default: .millstream)"),
    value("command-config", "FILE", "A file of properties for the connection"),
    value("zookeeper", "HOST:PORT", "Ignored: there is no ZooKeeper"),
    flag("help", "Print this"),
    flag("version", "Print the version"),
];

/// What was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Given {
    options: Vec<(&'static str, Option<String>)>,
    /// What is no option.
    pub rest: Vec<String>,
    /// All of it as it was given.
    pub words: Vec<String>,
}

impl Tool {
    fn find(&self, name: &str) -> Option<&'static Opt> {
        self.options.iter().chain(ALL).find(|option| option.name == name)
    }

    /// The option that a word names, with the value behind `=`.
    fn option<'a>(&self, word: &'a str) -> Option<(&'static Opt, Option<&'a str>)> {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        self.find(name).map(|option| (option, value))
    }

    pub fn parse(&self, words: &[String]) -> Result<Given, Error> {
        let mut given = Given { words: words.to_vec(), ..Given::default() };
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            let Some((option, inline)) = self.option(word) else {
                if word.len() > 1 && word.starts_with('-') {
                    let name = word.trim_start_matches('-');
                    return Err(Error::usage(format!("{name} is not a recognized option")));
                }
                given.rest.push(word.clone());
                continue;
            };
            let value = match (option.takes, inline) {
                (Takes::Nothing, _) => None,
                (_, Some(inline)) => Some(inline.to_owned()),
                // Another option is no value, though a negative number is one.
                (Takes::Value(_), None) => {
                    let next = words.next_if(|next| self.option(next).is_none());
                    let missing =
                        || Error::usage(format!("Option {} requires an argument", option.name));
                    Some(next.ok_or_else(missing)?.clone())
                }
                (Takes::MaybeValue(_), None) => {
                    words.next_if(|next| !next.starts_with('-')).cloned()
                }
            };
            given.options.push((option.name, value));
        }
        Ok(given)
    }

    /// How it is used.
    pub fn help(&self) -> String {
        let mut options: Vec<&Opt> = self.options.iter().chain(ALL).collect();
        options.sort_by_key(|option| option.name);
        let form = |option: &Opt| match option.takes {
            Takes::Nothing => format!("--{}", option.name),
            Takes::Value(what) => format!("--{} <{what}>", option.name),
            Takes::MaybeValue(what) => format!("--{} [{what}]", option.name),
        };
        let width = options.iter().map(|option| form(option).len()).max().unwrap_or(0);
        let mut text = format!("{}\n\n", self.about);
        for option in options {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {:<width$}  {}", form(option), option.about);
        }
        let _ = writeln!(text, "\nExample:\n  {}", self.example);
        text
    }
}

impl Given {
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The option's value; the first of several.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of an option that may be repeated.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.options.iter().filter(move |(given, _)| *given == name);
        named.filter_map(|(_, value)| value.as_deref())
    }

    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let wrong = |_| Error::usage(format!("Cannot parse argument '{text}' of option {name}"));
        text.trim().parse().map(Some).map_err(wrong)
    }

    pub fn required(&self, name: &str) -> Result<&str, Error> {
        self.value(name)
            .ok_or_else(|| Error::usage(format!("Missing required argument \"[{name}]\"")))
    }

    /// Refuses the others beside `name`.
    pub fn forbid(&self, name: &str, others: &[&str]) -> Result<(), Error> {
        match others.iter().find(|other| self.has(name) && self.has(other)) {
            Some(other) => Err(Error::usage(format!(
                "Option \"[{other}]\" can't be used with option \"[{name}]\""
            ))),
            None => Ok(()),
        }
    }

    /// The one of these that was given; an error unless it is exactly one.
    pub fn one_of<'a>(&self, names: &[&'a str], message: &str) -> Result<&'a str, Error> {
        let given: Vec<&&str> = names.iter().filter(|name| self.has(name)).collect();
        match given.as_slice() {
            [one] => Ok(one),
            _ => Err(Error::usage(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: Tool = Tool {
        name: "kafka-test",
        about: "A command for tests.",
        example: "kafka-test --list",
        options: &[
            flag("list", "List"),
            value("topic", "NAME", "A topic"),
            value("shift-by", "N", "So many"),
            maybe("state", "STATE", "A state"),
        ],
    };

    fn parse(line: &str) -> Result<Given, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        TOOL.parse(&words).map_err(|error| match error {
            Error::Usage(message) => message,
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn values_follow_or_are_inline() {
        let given = parse("--topic a -topic b --topic=c left --list --shift-by -3").unwrap();
        assert_eq!(given.values("topic").collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(given.has("list") && !given.has("state"));
        assert_eq!(given.parsed::<i64>("shift-by").unwrap(), Some(-3));
        assert_eq!(given.rest, ["left"]);
    }

    #[test]
    fn a_value_may_be_optional() {
        let given = parse("--state --list").unwrap();
        assert!(given.has("state") && given.value("state").is_none());
        assert_eq!(parse("--state Stable").unwrap().value("state"), Some("Stable"));
    }

    #[test]
    fn mistakes_are_told_in_kafkas_words() {
        assert_eq!(parse("--nope").unwrap_err(), "nope is not a recognized option");
        assert_eq!(parse("--topic --list").unwrap_err(), "Option topic requires an argument");
        assert_eq!(parse("--topic").unwrap_err(), "Option topic requires an argument");
        let given = parse("--shift-by x --list --topic t").unwrap();
        assert!(given.parsed::<i64>("shift-by").is_err());
        assert!(given.forbid("list", &["topic"]).is_err());
        assert!(given.forbid("state", &["topic"]).is_ok());
        assert!(given.one_of(&["list", "topic"], "one").is_err());
        assert_eq!(given.one_of(&["list", "state"], "one").unwrap(), "list");
    }
}
