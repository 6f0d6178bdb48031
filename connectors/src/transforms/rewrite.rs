//! Other names by a pattern, as Java makes them.

use regex::{Captures, Regex};

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

/// A pattern with what takes the place of what it matches.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    whole: Regex,
    regex: Regex,
    replacement: Vec<Piece>,
}

impl Rewrite {
    /// Of a pattern that was checked with the settings.
    pub(super) fn new(pattern: &str, replacement: &str) -> Result<Rewrite, String> {
        let regex = Regex::new(pattern).expect("patterns are checked with the settings");
        let replacement = parse(replacement, &regex)?;
        Ok(Rewrite { whole: whole(pattern), regex, replacement })
    }

    /// The other name, where the pattern matches all of this one.
    pub(super) fn apply(&self, text: &str) -> Option<String> {
        // As in Java: if all of it matches, the first match in it, which may be shorter, goes.
        let groups = self.regex.captures(text).filter(|_| self.whole.is_match(text))?;
        let found = groups.get(0).expect("group 0 is the match");
        let mut renamed = text[..found.start()].to_owned();
        self.expand(&groups, &mut renamed);
        renamed.push_str(&text[found.end()..]);
        Some(renamed)
    }

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
                    return Err(format!("the pattern has no group named '{name}'"));
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
                    return Err(format!("the pattern has no group {number}"));
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
