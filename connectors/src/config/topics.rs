//! Which topics a sink reads: some by their names, or all whose names match a pattern.

use regex::Regex;

use super::{ConfigProblem, Settings, Value};
use crate::errors::DEAD_LETTER_TOPIC;
use crate::plugin::{TOPICS, TOPICS_REGEX};

/// What a sink reads.
#[derive(Clone, Debug)]
pub enum TopicChoice {
    /// These, made if they are missing.
    Named(Vec<String>),
    /// All that there are, and will be.
    Matching(TopicPattern),
}

/// A pattern of whole names, as it was given and as it is matched.
#[derive(Clone, Debug)]
pub struct TopicPattern {
    text: String,
    regex: Regex,
}

impl TopicPattern {
    pub fn has(&self, topic: &str) -> bool {
        self.regex.is_match(topic)
    }
}

impl std::fmt::Display for TopicChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TopicChoice::Named(names) => f.write_str(&names.join(", ")),
            TopicChoice::Matching(pattern) => write!(f, "/{}/", pattern.text),
        }
    }
}

impl TopicChoice {
    /// The names, or the pattern, as people are shown them.
    pub fn labels(&self) -> Vec<String> {
        match self {
            TopicChoice::Named(names) => names.clone(),
            TopicChoice::Matching(_) => vec![self.to_string()],
        }
    }

    /// As Kafka Connect has it: either of the two, and not the topic of dead letters.
    pub(super) fn check(
        settings: &Settings,
        problems: &mut Vec<ConfigProblem>,
    ) -> Option<TopicChoice> {
        let problem = |key: &str, message: &str, help: &str| ConfigProblem {
            key: key.to_owned(),
            value: settings.optional_text(TOPICS_REGEX).map(str::to_owned),
            message: message.to_owned(),
            help: Some(help.to_owned()),
        };
        let wrong = |key| problems.iter().any(|known: &ConfigProblem| known.key == key);
        let known_wrong = wrong(TOPICS) || wrong(TOPICS_REGEX);
        let named = match settings.get(TOPICS) {
            Some(Value::List(names)) => Some(names.clone()),
            _ => None,
        };
        let letters = settings.optional_text(DEAD_LETTER_TOPIC.name).unwrap_or_default();
        let choice = match (named, settings.optional_text(TOPICS_REGEX)) {
            (Some(names), None) => TopicChoice::Named(names),
            (None, Some(text)) => {
                let text = text.to_owned();
                let regex = Regex::new(&format!("^(?:{text})$")).ok()?;
                TopicChoice::Matching(TopicPattern { text, regex })
            }
            (Some(_), Some(_)) => {
                let message = "`topics` and `topics.regex` are both there";
                problems.push(problem(TOPICS_REGEX, message, "leave one of them out"));
                return None;
            }
            (None, None) if known_wrong => return None,
            (None, None) => {
                let message = "`topics` is missing: the topics to read";
                let help = "for example `topics = orders, users`, or `topics.regex = orders-.*`";
                problems.push(ConfigProblem { value: None, ..problem(TOPICS, message, help) });
                return None;
            }
        };
        let reads_letters = match &choice {
            TopicChoice::Named(names) => names.iter().any(|name| name == letters),
            TopicChoice::Matching(pattern) => !letters.is_empty() && pattern.has(letters),
        };
        if reads_letters {
            problems.push(ConfigProblem {
                key: DEAD_LETTER_TOPIC.name.to_owned(),
                value: Some(letters.to_owned()),
                message: format!("the topic of dead letters, '{letters}', is one that is read"),
                help: Some("give it a name that is not among them".to_owned()),
            });
        }
        Some(choice)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn problems(lines: &[(&str, &str)]) -> Vec<String> {
        let common = [("connector.class", "file-sink"), ("file", "f")];
        let properties = common.iter().chain(lines);
        let properties: BTreeMap<String, String> =
            properties.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        match crate::validate("s", &properties, Path::new("/")) {
            Ok(config) => vec![config.topics().to_string()],
            Err(problems) => problems.iter().map(ConfigProblem::in_words).collect(),
        }
    }

    #[test]
    fn either_names_or_a_pattern() {
        let letters = DEAD_LETTER_TOPIC.name;
        assert_eq!(problems(&[("topics", "a, b")]), ["a, b"]);
        assert_eq!(problems(&[("topics.regex", "a-.*"), (letters, "b-a-c")]), ["/a-.*/"]);
        assert_eq!(
            problems(&[("topics.regex", "a"), ("topics", "a")]),
            ["`topics` and `topics.regex` are both there; leave one of them out"]
        );
        assert_eq!(
            problems(&[]),
            ["`topics` is missing: the topics to read; for example `topics = orders, users`, or \
              `topics.regex = orders-.*`"]
        );
        assert_eq!(
            problems(&[("topics.regex", "a|b"), (letters, "b")]),
            ["the topic of dead letters, 'b', is one that is read; give it a name that is not \
              among them"]
        );
        assert!(problems(&[("topics.regex", "(")])[0].starts_with("`topics.regex` is no pattern"));
    }
}
