//! What is wrong with a pipeline file, and where. The binary renders it; nothing is printed here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A file that was read, kept so that messages can show its lines.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    pub path: PathBuf,
    pub text: String,
}

/// Bytes `start..end` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub file: Arc<SourceFile>,
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// Line and column of the start, both counted from 1, columns in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let before = &self.file.text[..self.file.text.floor_char_boundary(self.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// `file:line:column`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.file.path.display())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What happened, lower case, naming the object.
    pub message: String,
    /// `None` only where there is no text to point at, such as a file that cannot be read.
    pub span: Option<Span>,
    /// What stands beside the caret.
    pub label: Option<String>,
    /// What to do, with "did you mean" where something is near.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place of the file.
    pub fn error(message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic { span: Some(span), ..Diagnostic::error_without_place(message) }
    }

    pub fn warning(message: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(message, span) }
    }

    pub fn error_without_place(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: None,
            help: None,
        }
    }

    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = Some(label.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(help.into());
        self
    }

    /// Help that names the candidate nearest to `given`, if one is near enough to be meant, else
    /// all of them, if they are few.
    pub fn did_you_mean<'a>(
        mut self,
        given: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Diagnostic {
        let mut candidates: Vec<&str> = candidates.into_iter().collect();
        candidates.sort_unstable();
        candidates.dedup();
        self.help = match nearest(given, &candidates) {
            Some(near) => Some(format!("did you mean '{near}'?")),
            None if candidates.is_empty() || candidates.len() > LISTED_MAX => self.help,
            None => Some(format!("there is {}", quoted_list(&candidates, "and"))),
        };
        self
    }
}

/// Candidates that a message lists at most.
const LISTED_MAX: usize = 20;

/// The candidate that `given` is probably a misspelling of.
fn nearest<'a>(given: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let given = given.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&given, &candidate.to_lowercase());
    // Of those equally far, the one that begins the same.
    let likeness = |candidate: &str| strsim::jaro_winkler(&given, &candidate.to_lowercase());
    candidates
        .iter()
        .map(|candidate| (distance(candidate), *candidate))
        .filter(|(distance, candidate)| {
            *distance <= given.chars().count().max(candidate.chars().count()) / 3
        })
        .min_by(|(left, left_name), (right, right_name)| {
            left.cmp(right).then(likeness(right_name).total_cmp(&likeness(left_name)))
        })
        .map(|(_, candidate)| candidate)
}

/// `'a', 'b' or 'c'`.
pub(crate) fn quoted_list(items: &[&str], conjunction: &str) -> String {
    match items {
        [] => String::new(),
        [one] => format!("'{one}'"),
        [init @ .., last] => {
            let init: Vec<String> = init.iter().map(|item| format!("'{item}'")).collect();
            format!("{} {conjunction} '{last}'", init.join(", "))
        }
    }
}

/// All mistakes of a pipeline, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}
