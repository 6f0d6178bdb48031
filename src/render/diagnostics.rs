//! Mistakes, with the line that they are in.

use std::fmt::Write as _;
use std::io::IsTerminal;

use engine::pipeline::{Diagnostic, Diagnostics, Severity};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource};

/// Prints all of them to stderr, and how many there are if more than one.
pub fn print(diagnostics: &Diagnostics) {
    eprint!("{}", render(diagnostics, handler()));
}

/// Prints what is only worth a word, if there is any.
pub fn print_warnings(warnings: Vec<Diagnostic>) {
    if !warnings.is_empty() {
        print(&Diagnostics(warnings));
    }
}

/// Prints an error that has no place in a file.
pub fn print_error(message: &str, help: Option<&str>) {
    let (red, reset) =
        if std::io::stderr().is_terminal() { ("\x1b[31;1m", "\x1b[0m") } else { ("", "") };
    eprintln!("{red}error{reset}: {message}");
    if let Some(help) = help {
        eprintln!("  help: {help}");
    }
}

fn handler() -> GraphicalReportHandler {
    let theme = if std::io::stderr().is_terminal() {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    GraphicalReportHandler::new_themed(theme).with_links(false).with_context_lines(1)
}

fn render(diagnostics: &Diagnostics, handler: GraphicalReportHandler) -> String {
    let mut out = String::new();
    for diagnostic in &diagnostics.0 {
        render_one(diagnostic, &handler, &mut out);
    }
    let errors = count(diagnostics, Severity::Error);
    if errors > 1 {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{errors} errors; nothing was started");
    }
    out
}

fn count(diagnostics: &Diagnostics, severity: Severity) -> usize {
    diagnostics.0.iter().filter(|diagnostic| diagnostic.severity == severity).count()
}

fn render_one(diagnostic: &Diagnostic, handler: &GraphicalReportHandler, out: &mut String) {
    let severity = match diagnostic.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
    };
    let mut report = MietteDiagnostic::new(diagnostic.message.clone()).with_severity(severity);
    if let Some(help) = &diagnostic.help {
        report = report.with_help(help.clone());
    }
    let rendered = match &diagnostic.span {
        None => handler.render_report(out, &report),
        Some(span) => {
            let text = LabeledSpan::new(
                Some(diagnostic.label.clone().unwrap_or_else(|| "here".to_owned())),
                span.start,
                span.end.saturating_sub(span.start).max(1),
            );
            let source =
                NamedSource::new(span.file.path.display().to_string(), span.file.text.clone());
            let report = miette::Report::new(report.with_label(text)).with_source_code(source);
            handler.render_report(out, report.as_ref())
        }
    };
    if rendered.is_err() {
        // A span outside its file, which the renderer refuses: the words still count.
        out.push_str(&diagnostic.message);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use engine::pipeline::{SourceFile, Span};
    use expect_test::expect;

    use super::*;

    #[test]
    fn each_mistake_shows_its_line_and_what_to_do() {
        let file = Arc::new(SourceFile {
            path: PathBuf::from("pipelines/bad.toml"),
            text: "name = \"bad\"\n[sources.flights]\nformta = \"csv\"\n".to_owned(),
        });
        let diagnostics = Diagnostics(vec![
            Diagnostic {
                severity: Severity::Error,
                message: "unknown key 'formta' in source 'flights'".to_owned(),
                span: Some(Span { file, start: 31, end: 37 }),
                label: Some("not a key of a source".to_owned()),
                help: Some("did you mean 'format'?".to_owned()),
            },
            Diagnostic {
                severity: Severity::Error,
                message: "cannot read pipelines/none.toml: no such file".to_owned(),
                span: None,
                label: None,
                help: None,
            },
        ]);
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_links(false)
            .with_context_lines(1);
        expect![[r#"
              × unknown key 'formta' in source 'flights'
               ╭─[pipelines/bad.toml:3:1]
             2 │ [sources.flights]
             3 │ formta = "csv"
               · ───┬──
               ·    ╰── not a key of a source
               ╰────
              help: did you mean 'format'?

              × cannot read pipelines/none.toml: no such file

            2 errors; nothing was started
        "#]]
        .assert_eq(&render(&diagnostics, handler));
    }
}
