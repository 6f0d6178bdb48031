//! Which records a service is called for.
//!
//! ```text
//! value.status = 'paid' and (value.amount >= 100 or header.vip) and not topic =~ 'test-.*'
//! value.region in ('north', 'south')
//! ```
//!
//! A path alone asks whether something other than null and false stands there. What is not there
//! equals nothing, not even what it is said to differ from, as in SQL.

use regex::Regex;

use super::record::{Path, RecordView};
use crate::json_text;

#[derive(Clone, Debug)]
pub enum Condition {
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    There(Path),
    Compare(Path, Comparison, Literal),
    In(Path, Vec<Literal>),
    Matches(Path, Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Differs,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Text(String),
    Number(f64),
    Boolean(bool),
}

/// How deep parentheses may go.
const DEPTH_MAX: usize = 50;

impl Condition {
    pub fn parse(text: &str) -> Result<Condition, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
        let condition = parser.any_of()?;
        match parser.next() {
            None => Ok(condition),
            Some(token) => Err(format!("{} is more than a condition", token.in_words())),
        }
    }

    pub fn holds(&self, record: &RecordView<'_>) -> Result<bool, String> {
        Ok(match self {
            Condition::And(one, other) => one.holds(record)? && other.holds(record)?,
            Condition::Or(one, other) => one.holds(record)? || other.holds(record)?,
            Condition::Not(inner) => !inner.holds(record)?,
            Condition::There(path) => record.find(path)?.is_some_and(|found| found != "false"),
            Condition::Compare(path, comparison, literal) => {
                record.find(path)?.is_some_and(|found| compare(&found, *comparison, literal))
            }
            Condition::In(path, literals) => record.find(path)?.is_some_and(|found| {
                literals.iter().any(|literal| compare(&found, Comparison::Equal, literal))
            }),
            Condition::Matches(path, pattern) => {
                record.find(path)?.is_some_and(|found| pattern.is_match(&json_text::string(&found)))
            }
        })
    }
}

/// `found` is JSON. A text and a number are compared as numbers where the text is one: keys and
/// headers are texts.
fn compare(found: &str, comparison: Comparison, literal: &Literal) -> bool {
    use std::cmp::Ordering;
    let text = json_text::string(found);
    let ordering = match literal {
        Literal::Number(number) => text.parse::<f64>().ok().and_then(|it| it.partial_cmp(number)),
        Literal::Text(wanted) => Some(text.as_ref().cmp(wanted.as_str())),
        Literal::Boolean(wanted) => Some(text.as_ref().cmp(if *wanted { "true" } else { "false" })),
    };
    match comparison {
        Comparison::Equal => ordering == Some(Ordering::Equal),
        Comparison::Differs => ordering != Some(Ordering::Equal),
        Comparison::Less => ordering == Some(Ordering::Less),
        Comparison::LessOrEqual => ordering.is_some_and(Ordering::is_le),
        Comparison::More => ordering == Some(Ordering::Greater),
        Comparison::MoreOrEqual => ordering.is_some_and(Ordering::is_ge),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Literal(Literal),
    Sign(&'static str),
}

impl Token {
    fn in_words(&self) -> String {
        match self {
            Token::Word(word) => format!("'{word}'"),
            Token::Sign(sign) => format!("'{sign}'"),
            Token::Literal(Literal::Text(text)) => format!("'{text}'"),
            Token::Literal(Literal::Number(number)) => format!("'{number}'"),
            Token::Literal(Literal::Boolean(flag)) => format!("'{flag}'"),
        }
    }
}

/// The longer ones first.
const SIGNS: [&str; 13] = ["==", "!=", "<>", "<=", ">=", "=~", "!~", "=", "<", ">", "(", ")", ","];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            tokens.push(Token::Sign(sign));
            rest = rest[sign.len()..].trim_start();
            continue;
        }
        if first == '\'' || first == '"' {
            let (said, after) = quoted(rest, first)?;
            tokens.push(Token::Literal(Literal::Text(said)));
            rest = after.trim_start();
            continue;
        }
        let is_end = |c: char| c.is_whitespace() || "=!<>(),'\"".contains(c);
        let end = rest.find(is_end).unwrap_or(rest.len());
        if end == 0 {
            return Err(format!("'{first}' has no meaning there"));
        }
        let word = &rest[..end];
        tokens.push(match (word, word.parse::<f64>()) {
            ("true", _) => Token::Literal(Literal::Boolean(true)),
            ("false", _) => Token::Literal(Literal::Boolean(false)),
            (_, Ok(number)) if number.is_finite() => Token::Literal(Literal::Number(number)),
            _ => Token::Word(word.to_owned()),
        });
        rest = rest[end..].trim_start();
    }
    Ok(tokens)
}

/// A text in quotes, of which two stand for one, and what follows.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut said = String::new();
    let mut rest = &text[1..];
    loop {
        let Some((before, after)) = rest.split_once(quote) else {
            return Err(format!("{text} has no {quote} at its end"));
        };
        said.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                said.push(quote);
                rest = more;
            }
            None => return Ok((said, after)),
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    fn takes(&mut self, wanted: &Token) -> bool {
        let is = match (self.tokens.get(self.at), wanted) {
            (Some(Token::Word(word)), Token::Word(wanted)) => word.eq_ignore_ascii_case(wanted),
            (token, wanted) => token == Some(wanted),
        };
        self.at += usize::from(is);
        is
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.takes(&Token::Word(word.to_owned()))
    }

    fn any_of(&mut self) -> Result<Condition, String> {
        let mut condition = self.all_of()?;
        while self.takes_word("or") {
            condition = Condition::Or(condition.into(), self.all_of()?.into());
        }
        Ok(condition)
    }

    fn all_of(&mut self) -> Result<Condition, String> {
        let mut condition = self.one()?;
        while self.takes_word("and") {
            condition = Condition::And(condition.into(), self.one()?.into());
        }
        Ok(condition)
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it goes deeper than {DEPTH_MAX} parentheses"));
        }
        let condition = if self.takes_word("not") {
            Condition::Not(self.one()?.into())
        } else if self.takes(&Token::Sign("(")) {
            let inner = self.any_of()?;
            if !self.takes(&Token::Sign(")")) {
                return Err("a ')' is missing".to_owned());
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        let path = match self.next() {
            Some(Token::Word(word)) => Path::parse(&word)?,
            Some(other) => {
                let what = other.in_words();
                return Err(format!(
                    "a condition begins with a field, such as value.id, not {what}"
                ));
            }
            None => return Err("a condition is missing, such as value.id = 1".to_owned()),
        };
        if self.takes_word("in") {
            return Ok(Condition::In(path, self.list()?));
        }
        for (sign, is) in [("=~", true), ("!~", false)] {
            if self.takes(&Token::Sign(sign)) {
                let Literal::Text(pattern) = self.literal()? else {
                    return Err(format!("after {sign} comes a pattern in quotes"));
                };
                let pattern = Regex::new(&format!("^(?:{pattern})$"))
                    .map_err(|error| format!("'{pattern}' is no pattern: {error}"))?;
                let matches = Condition::Matches(path, pattern);
                return Ok(if is { matches } else { Condition::Not(matches.into()) });
            }
        }
        let comparisons = [
            ("=", Comparison::Equal),
            ("==", Comparison::Equal),
            ("!=", Comparison::Differs),
            ("<>", Comparison::Differs),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::More),
            (">=", Comparison::MoreOrEqual),
        ];
        for (sign, comparison) in comparisons {
            if self.takes(&Token::Sign(sign)) {
                return Ok(Condition::Compare(path, comparison, self.literal()?));
            }
        }
        Ok(Condition::There(path))
    }

    fn list(&mut self) -> Result<Vec<Literal>, String> {
        if !self.takes(&Token::Sign("(")) {
            return Err("after `in` comes a list, such as ('a', 'b')".to_owned());
        }
        let mut list = vec![self.literal()?];
        while self.takes(&Token::Sign(",")) {
            list.push(self.literal()?);
        }
        match self.takes(&Token::Sign(")")) {
            true => Ok(list),
            false => Err("a ')' is missing".to_owned()),
        }
    }

    fn literal(&mut self) -> Result<Literal, String> {
        match self.next() {
            Some(Token::Literal(literal)) => Ok(literal),
            Some(Token::Word(word)) => {
                Err(format!("'{word}' is no value: a text stands in quotes, as '{word}'"))
            }
            Some(other) => Err(format!("a value is missing before {}", other.in_words())),
            None => Err("a value is missing at the end".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::example;
    use super::*;

    fn holds(text: &str) -> Result<bool, String> {
        let value = r#"{"status": "paid", "amount": 99.5, "vip": false, "note": null, "it's": 1}"#;
        let record = example(Some("42"), value);
        Condition::parse(text)?.holds(&RecordView::new(&record))
    }

    #[test]
    fn conditions_hold_or_do_not() {
        for (text, expected) in [
            ("value.status = 'paid'", true),
            ("value.status == \"paid\" and value.amount<100", true),
            ("value.status != 'paid' or value.amount >= 99.5", true),
            ("not value.status = 'paid'", false),
            ("value.status = 'paid' and not (value.amount > 10 and value.amount < 100)", false),
            ("value.vip", false),
            ("value.note", false),
            ("value.status", true),
            ("value.vip = false", true),
            ("value.missing != 1", false),
            ("value.status in ('new', 'paid')", true),
            ("value.amount in (1, 2)", false),
            ("key = 42 and key = '42' and key < 43", true),
            ("topic =~ 'ord.*' AND topic !~ 'ord'", true),
            ("topic =~ 'ord'", false),
            ("header.trace-id.x = 'a\"b'", true),
            ("value.status = 'it''s'", false),
            ("value.status > 1", false),
        ] {
            assert_eq!(holds(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("", "a condition is missing"),
            ("value.status = paid", "a text stands in quotes, as 'paid'"),
            ("value.status = 'paid", "no ' at its end"),
            ("status = 1", "a record has no 'status'"),
            ("(value.a = 1", "a ')' is missing"),
            ("value.a = 1 value.b", "'value.b' is more than a condition"),
            ("value.a in 1", "after `in` comes a list"),
            ("value.a =~ '('", "no pattern"),
            ("1 = value.a", "begins with a field"),
            ("value.a = ", "a value is missing"),
            ("value.a ! 1", "'!' has no meaning"),
        ] {
            let error = holds(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(holds(&format!("{}value.a", "(".repeat(10_000))).unwrap_err().contains("deeper"));
    }
}
