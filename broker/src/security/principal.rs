//! Who a client is: `User:alice`. Names of certificates are mapped as Kafka's
//! `ssl.principal.mapping.rules` say.
//!
//! ```text
//! RULE:^CN=([^,]+),OU=ops.*$/$1/L, RULE:^CN=(.*)$/$1/, DEFAULT
//!      pattern               replacement, L or U for letters
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use regex::{Captures, Regex, RegexBuilder};
use thiserror::Error;

/// Type and name, such as `User:alice`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

const USER: &str = "User:";
/// What a pattern may take when it is compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Principal {
    /// Of whoever comes without a name.
    pub fn anonymous() -> Principal {
        Principal::user("ANONYMOUS")
    }

    pub fn user(name: &str) -> Principal {
        Principal(format!("{USER}{name}").into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no principal.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no principal; expected a type and a name, such as User:alice")]
pub struct PrincipalError(String);

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Principal, PrincipalError> {
        match text.split_once(':') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                Ok(Principal(text.into()))
            }
            _ => Err(PrincipalError(text.to_owned())),
        }
    }
}

/// Why rules cannot be followed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MappingError {
    #[error(
        "'{0}' is no rule; expected DEFAULT or RULE:pattern/replacement/, with L or U behind it if \
         letters are to be lower or upper case"
    )]
    NoRule(String),
    #[error("rule '{rule}': {reason}")]
    Pattern { rule: String, reason: String },
}

/// Rules by which names of certificates become principals; the first that fits holds.
#[derive(Clone, Debug)]
pub struct PrincipalMapping {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    AsItIs,
    Replace { pattern: Regex, replacement: String, letters: Letters },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    AsTheyAre,
    Lower,
    Upper,
}

impl Default for PrincipalMapping {
    /// The whole name.
    fn default() -> PrincipalMapping {
        PrincipalMapping { rules: vec![Rule::AsItIs] }
    }
}

impl FromStr for PrincipalMapping {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<PrincipalMapping, MappingError> {
        let mut rules = Vec::new();
        let mut rest = text.trim_start_matches([',', ' ', '\t']);
        while !rest.is_empty() {
            let (rule, behind) = Rule::parse(rest)?;
            rules.push(rule);
            let behind = behind.trim_start();
            if !behind.is_empty() && !behind.starts_with(',') {
                return Err(MappingError::NoRule(rest.to_owned()));
            }
            rest = behind.trim_start_matches([',', ' ', '\t']);
        }
        Ok(if rules.is_empty() { PrincipalMapping::default() } else { PrincipalMapping { rules } })
    }
}

impl Rule {
    /// The rule at the beginning of a text, and what is behind it.
    fn parse(text: &str) -> Result<(Rule, &str), MappingError> {
        if let Some(behind) = text.strip_prefix("DEFAULT") {
            return Ok((Rule::AsItIs, behind));
        }
        let no_rule = || MappingError::NoRule(text.to_owned());
        let rest = text.strip_prefix("RULE:").ok_or_else(no_rule)?;
        let (pattern, rest) = up_to_slash(rest).ok_or_else(no_rule)?;
        let (replacement, rest) = up_to_slash(rest).ok_or_else(no_rule)?;
        let (letters, rest) = match rest.chars().next() {
            Some('L') => (Letters::Lower, &rest[1..]),
            Some('U') => (Letters::Upper, &rest[1..]),
            _ => (Letters::AsTheyAre, rest),
        };
        // Both must fit the whole name, as in Java's Matcher.matches.
        let whole =
            RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
        let pattern = Regex::new(pattern).and(whole).map_err(|error| MappingError::Pattern {
            rule: text[..text.len() - rest.len()].to_owned(),
            reason: error.to_string(),
        })?;
        let replacement = replacement.to_owned();
        Ok((Rule::Replace { pattern, replacement, letters }, rest))
    }

    fn apply(&self, name: &str) -> Option<String> {
        let Rule::Replace { pattern, replacement, letters } = self else {
            return Some(name.to_owned());
        };
        let name = replaced(&pattern.captures(name)?, replacement);
        Some(match letters {
            Letters::AsTheyAre => name,
            Letters::Lower => name.to_lowercase(),
            Letters::Upper => name.to_uppercase(),
        })
    }
}

/// A text up to the next `/` that no backslash stands before.
fn up_to_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.find(|character: char| {
        let ends = character == '/' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// `$1` stands for a group, where there is one; a backslash makes the next character plain.
fn replaced(groups: &Captures<'_>, replacement: &str) -> String {
    let mut out = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => out.extend(rest.next()),
            '$' if rest.peek().is_some_and(char::is_ascii_digit) => {
                let mut number = 0;
                // As many digits as still name a group.
                while let Some(digit) = rest.peek().and_then(|digit| digit.to_digit(10)) {
                    let longer = number * 10 + digit as usize;
                    if number > 0 && longer >= groups.len() {
                        break;
                    }
                    number = longer;
                    rest.next();
                }
                match groups.len() > number {
                    true => out += groups.get(number).map_or("", |group| group.as_str()),
                    false => out += &format!("${number}"),
                }
            }
            other => out.push(other),
        }
    }
    out
}

impl PrincipalMapping {
    /// Whose certificate has that name; `None`: no rule fits.
    pub fn principal(&self, name: &str) -> Option<Principal> {
        let name = self.rules.iter().find_map(|rule| rule.apply(name))?;
        Some(Principal::user(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(rules: &str, name: &str) -> Option<String> {
        let mapping: PrincipalMapping = rules.parse().unwrap();
        mapping.principal(name).map(|principal| principal.to_string())
    }

    #[test]
    fn the_whole_name_is_the_default() {
        let name = "CN=duke,OU=ops,O=acme";
        for rules in ["", " ", "DEFAULT", "RULE:^CN=none$/x/,DEFAULT"] {
            assert_eq!(mapped(rules, name).unwrap(), format!("User:{name}"), "{rules}");
        }
    }

    /// The examples of Kafka's documentation.
    #[test]
    fn rules_are_kafkas() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, \
                     RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L, DEFAULT";
        let service = "CN=kafka-server1,OU=ServiceUsers,O=Unknown,L=Unknown,ST=Unknown,C=Unknown";
        assert_eq!(mapped(rules, service).unwrap(), "User:kafka-server1");
        let admin = "CN=AdminUser,OU=Admin,O=Unknown,L=Unknown,ST=Unknown,C=Unknown";
        assert_eq!(mapped(rules, admin).unwrap(), "User:adminuser@admin");
        assert_eq!(mapped(rules, "cn=WebUser,OU=W").unwrap(), "User:webuser");
        assert_eq!(mapped(rules, "OU=nobody").unwrap(), "User:OU=nobody");
    }

    #[test]
    fn groups_are_named_by_number() {
        assert_eq!(mapped("RULE:(a)(b)/$2$1$3-$0/", "ab").unwrap(), "User:ba$3-ab");
        assert_eq!(mapped("RULE:(a)/$12/", "a").unwrap(), "User:a2");
        assert_eq!(mapped(r"RULE:(a)/x\$1\/y/U", "a").unwrap(), "User:X$1/Y");
        assert_eq!(mapped(r"RULE:a\/(b)/$1/", "a/b").unwrap(), "User:b");
        assert_eq!(mapped("RULE:a/b/", "ab"), None, "a part is not the whole");
    }

    #[test]
    fn what_is_no_rule_is_told() {
        let error = |rules: &str| rules.parse::<PrincipalMapping>().unwrap_err().to_string();
        assert!(error("RULE:^CN=(.*)$").contains("is no rule"));
        assert!(error("DEFAULT x").contains("is no rule"));
        assert!(error("CN=.*/x/").contains("is no rule"));
        assert!(error("RULE:(/x/").contains("rule 'RULE:(/x/'"), "{}", error("RULE:(/x/"));
        assert!(error("RULE:a)(b/x/").contains("rule 'RULE:a)(b/x/'"));
        assert!("alice".parse::<Principal>().is_err());
        assert_eq!("User:a:b".parse::<Principal>().unwrap().as_str(), "User:a:b");
    }
}
