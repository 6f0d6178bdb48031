//! Topics by a pattern, as Kafka's commands take them.

use std::fmt;

use regex::Regex;

use super::Failure;

/// Java's full match of a regular expression; commas stand for "or".
#[derive(Clone, Debug)]
pub struct Pattern {
    given: String,
    regex: Regex,
}

impl Pattern {
    pub fn new(text: &str) -> Result<Pattern, Failure> {
        let plain = text.trim().replace(',', "|").replace(' ', "");
        let plain = plain.trim_matches(['"', '\'']);
        let regex = Regex::new(&format!("^(?:{plain})$")).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim().to_owned();
            Failure::usage(format!("'{text}' is no regular expression: {reason}"))
        })?;
        Ok(Pattern { given: text.to_owned(), regex })
    }

    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}

/// As it was given.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        let pattern = Pattern::new("orders,pay.*").unwrap();
        assert!(pattern.matches("orders") && pattern.matches("payments"));
        assert!(!pattern.matches("orders2") && !pattern.matches("repay"));
        assert!(Pattern::new("(").is_err());
    }
}
