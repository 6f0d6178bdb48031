//! What became of tests of pipelines: a line for each that passed, and for each that did not what
//! was expected beside what came.

use std::fmt::Write as _;

use engine::pipeline::Span;
use engine::rehearsal::{Difference, Mismatch, Outcome};
use serde_json::{Value, json};

/// Of more differences than these nobody reads on.
const DIFFERENCES_SHOWN_MAX: usize = 20;

struct Colors {
    green: &'static str,
    red: &'static str,
    dim: &'static str,
    reset: &'static str,
}

const PLAIN: Colors = Colors { green: "", red: "", dim: "", reset: "" };
const COLORED: Colors =
    Colors { green: "\x1b[32m", red: "\x1b[31m", dim: "\x1b[2m", reset: "\x1b[0m" };

/// For people.
pub fn text(outcome: &Outcome, took_ms: f64, color: bool) -> String {
    let colors = if color { COLORED } else { PLAIN };
    let Colors { green, red, dim, reset } = colors;
    if outcome.mismatches.is_empty() {
        return format!("  {green}✓{reset} {} {dim}({took_ms:.1} ms){reset}\n", outcome.name);
    }
    let mut out = format!("  {red}✗ {}{reset}  {dim}{}{reset}\n", outcome.name, outcome.span);
    for mismatch in &outcome.mismatches {
        mismatch_text(mismatch, &colors, &mut out);
    }
    out
}

fn mismatch_text(mismatch: &Mismatch, colors: &Colors, out: &mut String) {
    let Colors { green, red, dim, reset } = colors;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("    {}  {dim}{}{reset}", mismatch.message, at(&mismatch.span)));
    for difference in mismatch.differences.iter().take(DIFFERENCES_SHOWN_MAX) {
        match difference {
            Difference::Missing { expected, span } => {
                line(format!(
                    "      missing     {green}{expected}{reset}  {dim}{}{reset}",
                    at(span)
                ));
            }
            Difference::Unexpected { got } => {
                line(format!("      unexpected  {red}{got}{reset}"));
            }
            Difference::Changed { expected, got, span, columns } => {
                line(format!(
                    "      expected    {green}{expected}{reset}  {dim}{}{reset}",
                    at(span)
                ));
                line(format!("      got         {red}{got}{reset}"));
                for (name, expected, got) in columns {
                    line(format!(
                        "                  {name}: {green}{expected}{reset} expected, \
                         {red}{got}{reset} came"
                    ));
                }
            }
        }
    }
    let more = mismatch.differences.len().saturating_sub(DIFFERENCES_SHOWN_MAX);
    if more > 0 {
        // Writing to a string does not fail.
        let _ = writeln!(out, "      … and {more} more");
    }
    for note in &mismatch.notes {
        let _ = writeln!(out, "      note        {dim}{note}{reset}");
    }
}

fn at(span: &Span) -> String {
    format!("line {}", line(span))
}

fn line(span: &Span) -> usize {
    span.line_column().0
}

/// For programs.
pub fn json(outcome: &Outcome) -> Value {
    json!({
        "file": outcome.span.file.path.display().to_string(),
        "line": line(&outcome.span),
        "name": outcome.name,
        "passed": outcome.mismatches.is_empty(),
        "mismatches": outcome.mismatches.iter().map(mismatch_json).collect::<Vec<_>>(),
    })
}

fn mismatch_json(mismatch: &Mismatch) -> Value {
    let differences = mismatch.differences.iter().map(|difference| match difference {
        Difference::Missing { expected, span } => {
            json!({ "kind": "missing", "expected": expected, "line": line(span) })
        }
        Difference::Unexpected { got } => json!({ "kind": "unexpected", "got": got }),
        Difference::Changed { expected, got, span, columns } => json!({
            "kind": "changed",
            "expected": expected,
            "got": got,
            "line": line(span),
            "columns": columns.iter().map(|(name, _, _)| name).collect::<Vec<_>>(),
        }),
    });
    json!({
        "line": line(&mismatch.span),
        "message": mismatch.message,
        "differences": differences.collect::<Vec<_>>(),
        "notes": mismatch.notes,
    })
}
