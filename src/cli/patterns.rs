//! Topics by a pattern, as Kafka's commands take them.

use regex::Regex;

use super::Failure;

/// Java's full match of a regular expression; commas stand for "or".
#[derive(Debug)]
pub struct Pattern(Regex);

impl Pattern {
    pub fn new(text: &str) -> Result<Pattern, Failure> {
        let plain = text.trim().replace(',', "|").replace(' ', "");
        let plain = plain.trim_matches(['"', '\'']);
        let regex = Regex::new(&format!("^(?:{plain})$")).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim().to_owned();
            Failure::usage(format!("'{text}' is no regular expression: {reason}"))
        })?;
        Ok(Pattern(regex))
    }

    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
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
