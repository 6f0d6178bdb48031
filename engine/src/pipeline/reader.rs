//! A TOML table read key by key, every mistake kept with its place.
//!
//! Whoever reads a table asks for the keys that it may have; [`Table::finish`] then knows which
//! others are there by mistake, and which of the asked ones they might have been meant as.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::draft::Named;
use super::duration::parse_duration;
use super::size::parse_state_memory;
use super::strings::value_offsets;
use super::tokens::{Offsets, Text};
use super::variables::NOT_SET;

/// The file, and what is wrong with it so far.
pub(crate) struct Mistakes {
    pub file: Arc<SourceFile>,
    pub list: Vec<Diagnostic>,
}

impl Mistakes {
    pub fn new(file: &Arc<SourceFile>) -> Mistakes {
        Mistakes { file: Arc::clone(file), list: Vec::new() }
    }

    pub fn span(&self, range: &Range<usize>) -> Span {
        let length = self.file.text.len();
        let start = range.start.min(length);
        let end = range.end.clamp(start, length);
        Span { file: Arc::clone(&self.file), start, end }
    }

    /// Of a value that a variable was not there for, nothing else is said.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let is_unset = |known: &Diagnostic| known.label.as_deref() == Some(NOT_SET);
        if !self.list.iter().any(|known| is_unset(known) && known.span == diagnostic.span) {
            self.list.push(diagnostic);
        }
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Value<'t> {
    pub value: &'t DeValue<'t>,
    pub range: Range<usize>,
    /// What messages call it.
    pub what: String,
}

/// A string's value and where each of its bytes stands.
pub(crate) struct StringValue<'t> {
    pub text: &'t str,
    pub span: Span,
    offsets: Vec<usize>,
}

impl<'t> StringValue<'t> {
    pub fn sql(&self) -> Text<'_> {
        Text { file: &self.span.file, sql: self.text, offsets: Offsets::Each(&self.offsets) }
    }

    pub fn named(&self) -> Named {
        Named { text: self.text.to_owned(), span: self.span.clone() }
    }
}

impl<'t> Value<'t> {
    fn expected(&self, expected: &str, mistakes: &mut Mistakes) {
        let found = match self.value {
            DeValue::String(_) if self.from_variable(mistakes).is_some() => {
                "what its variable holds"
            }
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{} must be {expected}, not {found}", self.what);
        let span = mistakes.span(&self.range);
        mistakes.push(Diagnostic::error(message, span).label(format!("not {expected}")));
    }

    pub fn string(&self, mistakes: &mut Mistakes) -> Option<StringValue<'t>> {
        let DeValue::String(text) = self.value else {
            self.expected("a string", mistakes);
            return None;
        };
        let span = mistakes.span(&self.range);
        let spelling = &span.file.text[span.start..span.end];
        // Where they do not fit, all of it stands at its beginning.
        let offsets = value_offsets(spelling, span.start, text).unwrap_or_else(|| vec![span.start]);
        Some(StringValue { text, span, offsets })
    }

    /// What the environment has put into a string: in a file only that can stand for a number or
    /// a truth value.
    fn from_variable(&self, mistakes: &Mistakes) -> Option<&'t str> {
        let DeValue::String(text) = self.value else { return None };
        let span = mistakes.span(&self.range);
        span.file.text[span.start..span.end].contains("${").then(|| text.trim())
    }

    pub fn boolean(&self, mistakes: &mut Mistakes) -> Option<bool> {
        let found = match (self.value, self.from_variable(mistakes)) {
            (DeValue::Boolean(value), _) => Some(*value),
            (_, Some(text)) => text.to_ascii_lowercase().parse().ok(),
            _ => None,
        };
        if found.is_none() {
            self.expected("true or false", mistakes);
        }
        found
    }

    /// A whole number from `least` to `most`.
    pub fn integer(&self, least: i64, most: i64, mistakes: &mut Mistakes) -> Option<i64> {
        let (number, found) = match (self.value, self.from_variable(mistakes)) {
            (DeValue::Integer(found), _) => {
                let number = i64::from_str_radix(found.as_str(), found.radix()).ok();
                (number, format!(", not {found}"))
            }
            // What a variable holds is not shown.
            (_, Some(text)) if text.parse::<i128>().is_ok() => (text.parse().ok(), String::new()),
            _ => {
                self.expected("a whole number", mistakes);
                return None;
            }
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            let message = format!("{} must be from {least} to {most}{found}", self.what);
            let span = mistakes.span(&self.range);
            mistakes.push(Diagnostic::error(message, span));
        }
        number
    }

    pub fn duration(&self, mistakes: &mut Mistakes) -> Option<Duration> {
        let DeValue::String(_) = self.value else {
            self.expected("a duration such as \"90s\" or \"1 hour\"", mistakes);
            return None;
        };
        let string = self.string(mistakes)?;
        match parse_duration(string.text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                let message = format!("{}: {error}", self.what);
                mistakes.push(Diagnostic::error(message, string.span).label("not a duration"));
                None
            }
        }
    }

    pub fn table(&self, mistakes: &mut Mistakes) -> Option<Table<'t>> {
        match self.value {
            DeValue::Table(table) => Some(Table::new(table, self.range.clone(), &self.what)),
            _ => {
                self.expected("a table", mistakes);
                None
            }
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self.value, DeValue::Array(_))
    }

    pub fn array(&self, mistakes: &mut Mistakes) -> Option<Vec<Value<'t>>> {
        let DeValue::Array(items) = self.value else {
            self.expected("a list", mistakes);
            return None;
        };
        let values = items.iter().map(|item| Value {
            value: item.get_ref(),
            range: item.span(),
            what: self.what.clone(),
        });
        Some(values.collect())
    }

    /// Bytes.
    pub fn size(&self, mistakes: &mut Mistakes) -> Option<usize> {
        let DeValue::String(_) = self.value else {
            self.expected("a size such as \"512MB\" or \"2GiB\"", mistakes);
            return None;
        };
        let string = self.string(mistakes)?;
        match parse_state_memory(string.text) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("{}: {error}", self.what);
                mistakes.push(Diagnostic::error(message, string.span).label("not a size"));
                None
            }
        }
    }

    /// One string or a list of them.
    pub fn strings(&self, mistakes: &mut Mistakes) -> Option<Vec<StringValue<'t>>> {
        match self.value {
            DeValue::String(_) => Some(vec![self.string(mistakes)?]),
            DeValue::Array(_) => {
                let items = self.array(mistakes)?;
                Some(items.iter().filter_map(|item| item.string(mistakes)).collect())
            }
            _ => {
                self.expected("a string or a list of strings", mistakes);
                None
            }
        }
    }
}

/// A table whose keys are asked for one by one.
pub(crate) struct Table<'t> {
    pub what: String,
    pub range: Range<usize>,
    entries: Vec<Entry<'t>>,
    asked: Vec<&'static str>,
}

struct Entry<'t> {
    key: &'t str,
    key_range: Range<usize>,
    value: &'t DeValue<'t>,
    range: Range<usize>,
}

impl<'t> Table<'t> {
    pub fn new(table: &'t DeTable<'t>, range: Range<usize>, what: &str) -> Table<'t> {
        let mut entries: Vec<Entry<'t>> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().as_ref(),
                key_range: key.span(),
                value: value.get_ref(),
                range: value.span(),
            })
            .collect();
        // The order of the file: columns and expressions have one.
        entries.sort_by_key(|entry| entry.key_range.start);
        Table { what: what.to_owned(), range, entries, asked: Vec::new() }
    }

    pub fn get(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let what = format!("'{key}' of {}", self.what);
        Some(Value { value: entry.value, range: entry.range.clone(), what })
    }

    pub fn has(&mut self, key: &'static str) -> bool {
        self.asked.push(key);
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Where the table's own name stands, or all of it.
    pub fn require(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<Value<'t>> {
        let found = self.get(key);
        if found.is_none() {
            let message = format!("{} needs '{key}'", self.what);
            let span = mistakes.span(&self.range);
            mistakes.push(Diagnostic::error(message, span).label(format!("no '{key}' in it")));
        }
        found
    }

    /// All entries, where the keys are names that a person chose. `what` says what they name.
    pub fn named(&self, what: &str, mistakes: &Mistakes) -> Vec<(Named, Value<'t>)> {
        let named = |entry: &Entry<'t>| {
            let name = Named { text: entry.key.to_owned(), span: mistakes.span(&entry.key_range) };
            let what = format!("{what} '{}'", entry.key);
            (name, Value { value: entry.value, range: entry.range.clone(), what })
        };
        self.entries.iter().map(named).collect()
    }

    /// Whether [`Table::finish`] will have something to report.
    pub fn has_unknown(&self) -> bool {
        self.entries.iter().any(|entry| !self.asked.contains(&entry.key))
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self, mistakes: &mut Mistakes) {
        for entry in &self.entries {
            if self.asked.contains(&entry.key) {
                continue;
            }
            let message = format!("unknown key '{}' in {}", entry.key, self.what);
            let diagnostic = Diagnostic::error(message, mistakes.span(&entry.key_range))
                .label("not a key here")
                .did_you_mean(entry.key, self.asked.iter().copied());
            mistakes.push(diagnostic);
        }
    }
}
