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

/// All mistakes of a pipeline, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}
