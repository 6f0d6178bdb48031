//! `CREATE TABLE t (…) WITH (…) LIKE u (…)`: a table that has what another one declares.
//!
//! As in Flink: its columns come first, and of the rest each feature is taken over by a rule.
//!
//! | feature | by default |
//! |---|---|
//! | `OPTIONS` | `OVERWRITING`: those that the new table gives itself are its own |
//! | `CONSTRAINTS`, `GENERATED`, `METADATA`, `WATERMARKS` | `INCLUDING`: both is a mistake |
//!
//! `EXCLUDING` leaves one out, `ALL` is every one that nothing is said of.

use super::super::cursor::Cursor;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::draft::DraftColumn;
use super::super::model::ColumnFrom;
use super::TableStatement;

const FEATURES: [&str; 5] = ["CONSTRAINTS", "GENERATED", "METADATA", "OPTIONS", "WATERMARKS"];
/// Of no meaning here, as no table has them.
const PHYSICAL: [&str; 2] = ["PARTITIONS", "DISTRIBUTION"];

#[derive(Clone, Copy, PartialEq)]
enum Rule {
    Including,
    Excluding,
    Overwriting,
}

/// What is said of each feature, in their order.
struct Rules([Rule; FEATURES.len()]);

impl Rules {
    fn of(&self, feature: &str) -> Rule {
        let at = FEATURES.iter().position(|name| *name == feature);
        at.map_or(Rule::Including, |at| self.0[at])
    }

    fn takes(&self, feature: &str) -> bool {
        self.of(feature) != Rule::Excluding
    }
}

impl TableStatement {
    /// From LIKE on.
    pub fn read_like(
        &mut self,
        cursor: &mut Cursor<'_>,
        tables: &[TableStatement],
        mistakes: &mut Vec<Diagnostic>,
    ) -> Result<(), Diagnostic> {
        cursor.skip();
        let name = cursor.name("the name of the table that it is like")?;
        let rules = match cursor.is_at_end() || cursor.is_at_word("AS") {
            true => read_rules(None)?,
            false => read_rules(Some(&mut cursor.parenthesised("features")?))?,
        };
        let Some(base) = tables.iter().find(|table| table.name.text == name.text) else {
            let message = format!("no table '{}' is declared before this one", name.text);
            let names = tables.iter().map(|table| table.name.text.as_str());
            let mistake = Diagnostic::error(message, name.span).label("no such table");
            return Err(mistake.did_you_mean(&name.text, names));
        };
        if base.lacks_columns() {
            let message = format!("the columns of '{}' are those of its query", name.text);
            let help = "declare the columns here; or make this one by a query as well: AS SELECT …";
            return Err(Diagnostic::error(message, name.span).help(help));
        }
        self.take_from(base, &rules, &name.span, mistakes);
        Ok(())
    }

    fn take_from(
        &mut self,
        base: &TableStatement,
        rules: &Rules,
        span: &Span,
        mistakes: &mut Vec<Diagnostic>,
    ) {
        let mut both = |what: &str, feature: &str| {
            let message = format!("both tables have {what}");
            let help = format!("LIKE {} (EXCLUDING {feature}) leaves that out", base.name.text);
            mistakes.push(Diagnostic::error(message, span.clone()).help(help));
        };
        let feature_of = |column: &DraftColumn| match (&column.computed, &column.from) {
            (Some(_), _) => Some("GENERATED"),
            (None, ColumnFrom::Value) => None,
            (None, _) => Some("METADATA"),
        };
        let own = std::mem::take(&mut self.columns);
        let is_own = |column: &DraftColumn| own.iter().any(|own| own.name.text == column.name.text);
        for column in &base.columns {
            let rule = feature_of(column).map(|feature| rules.of(feature));
            let replaced = rule == Some(Rule::Overwriting) && is_own(column);
            if rule != Some(Rule::Excluding) && !replaced {
                self.columns.push(column.clone());
            }
        }
        self.columns.extend(own);
        if rules.takes("CONSTRAINTS") {
            match (&self.key, &base.key) {
                (Some(_), Some(_)) => both("a primary key", "CONSTRAINTS"),
                (None, of_base) => self.key.clone_from(of_base),
                (Some(_), None) => {}
            }
        }
        if rules.takes("WATERMARKS") {
            match (&self.watermark, &base.watermark) {
                (Some(_), Some(_)) if rules.of("WATERMARKS") == Rule::Including => {
                    both("a watermark", "WATERMARKS");
                }
                (None, of_base) => self.watermark.clone_from(of_base),
                (Some(_), _) => {}
            }
        }
        if rules.takes("OPTIONS") {
            for (key, value) in &base.options {
                if self.options.iter().all(|(own, _)| own.text != key.text) {
                    self.options.push((key.clone(), value.clone()));
                } else if rules.of("OPTIONS") == Rule::Including {
                    both(&format!("the option '{}'", key.text), "OPTIONS");
                }
            }
        }
    }
}

fn read_rules(given: Option<&mut Cursor<'_>>) -> Result<Rules, Diagnostic> {
    let mut said: [Option<Rule>; FEATURES.len()] = [None; FEATURES.len()];
    let mut all = None;
    if let Some(list) = given {
        while !list.is_at_end() {
            let rule = if list.eat_words(&["INCLUDING"]) {
                Rule::Including
            } else if list.eat_words(&["EXCLUDING"]) {
                Rule::Excluding
            } else if list.eat_words(&["OVERWRITING"]) {
                Rule::Overwriting
            } else {
                return Err(list.unexpected("INCLUDING, EXCLUDING or OVERWRITING"));
            };
            let feature = FEATURES.iter().position(|name| list.is_at_word(name));
            match feature {
                Some(at) => said[at] = Some(rule),
                None if list.is_at_word("ALL") => all = Some(rule),
                None if PHYSICAL.iter().any(|name| list.is_at_word(name)) => {}
                None => {
                    return Err(list.unexpected(&format!("ALL, {}", FEATURES.join(", "))));
                }
            }
            list.skip();
        }
    }
    Ok(Rules(std::array::from_fn(|at| {
        let default = match FEATURES[at] {
            "OPTIONS" => Rule::Overwriting,
            _ => Rule::Including,
        };
        said[at].or(all).unwrap_or(default)
    })))
}
