//! Files to pipelines: read, checked by themselves, then with each other.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Diagnostics, Severity, SourceFile, Span};
use super::draft::DraftStep;
use super::model::{Connector, Pipeline};
use super::{cases, functions, sql_file, toml_file};
use crate::plan::context::Catalog;
use crate::plan::lower::lower;
use crate::topology::Topology;

/// A pipeline file is written by a person; what is larger is a mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Planning goes down the syntax of a query as deep as that is nested. The bounds on tokens and
/// nesting keep that well within this much stack, most of which is never touched.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Finds what is wrong with a connector that a file in this directory declares. Connectors are
/// none of the engine's business, but their mistakes are to come with the others.
pub type CheckConnector = fn(&Connector, &Path) -> Vec<Diagnostic>;

/// Reads and checks all files, connectors aside. Either all pipelines and what is worth a warning,
/// or every mistake in any of them.
pub fn load(paths: &[PathBuf]) -> Result<(Vec<Pipeline>, Vec<Diagnostic>), Diagnostics> {
    load_with(paths, |_, _| Vec::new())
}

/// As [`load`], with connectors checked by `check_connector`.
pub fn load_with(
    paths: &[PathBuf],
    check_connector: CheckConnector,
) -> Result<(Vec<Pipeline>, Vec<Diagnostic>), Diagnostics> {
    let (checked, warnings) = load_files(paths, check_connector, check_together)?;
    Ok((checked.into_iter().map(|(pipeline, ..)| pipeline).collect(), warnings))
}

/// As [`load_with`], for files that do not have to run together.
pub fn load_each(
    paths: &[PathBuf],
    check_connector: CheckConnector,
) -> Result<(Vec<Pipeline>, Vec<Diagnostic>), Diagnostics> {
    let (checked, warnings) = load_files(paths, check_connector, |_, _| {})?;
    Ok((checked.into_iter().map(|(pipeline, ..)| pipeline).collect(), warnings))
}

/// As [`load_with`], with what each file's names mean and what its steps are.
pub(crate) fn load_with_names(
    paths: &[PathBuf],
    check_connector: CheckConnector,
) -> Result<(Vec<Checked>, Vec<Diagnostic>), Diagnostics> {
    load_files(paths, check_connector, check_together)
}

/// Finds what is wrong with pipelines beside each other.
type CheckTogether = fn(&[Checked], &mut Vec<Diagnostic>);

fn load_files(
    paths: &[PathBuf],
    check_connector: CheckConnector,
    check_together: CheckTogether,
) -> Result<(Vec<Checked>, Vec<Diagnostic>), Diagnostics> {
    let mut files = Vec::new();
    let mut mistakes = Vec::new();
    let mut seen = BTreeSet::new();
    for path in paths {
        // The tests of a pipeline stand for it.
        let path = &cases::pipeline_of(path).unwrap_or_else(|| path.clone());
        if !seen.insert(path.clone()) && cases::beside(path).is_some() {
            continue;
        }
        match read_text(path) {
            Ok(text) => {
                files.push(Arc::new(SourceFile { path: path.clone(), text }));
            }
            Err(mistake) => mistakes.push(mistake),
        }
    }
    check_files(files, mistakes, check_connector, check_together)
}

/// A file without mistakes.
pub(crate) type Checked = (Pipeline, Catalog, Vec<DraftStep>);

/// As [`load`], for a file that is in memory already.
pub fn load_text(path: PathBuf, text: String) -> Result<(Pipeline, Vec<Diagnostic>), Diagnostics> {
    let file = Arc::new(SourceFile { path, text });
    let (mut checked, warnings) =
        check_files(vec![file], Vec::new(), |_, _| Vec::new(), |_, _| {})?;
    let (pipeline, ..) = checked.pop().expect("one file without mistakes is one pipeline");
    Ok((pipeline, warnings))
}

fn check_files(
    files: Vec<Arc<SourceFile>>,
    mut mistakes: Vec<Diagnostic>,
    check_connector: CheckConnector,
    check_together: CheckTogether,
) -> Result<(Vec<Checked>, Vec<Diagnostic>), Diagnostics> {
    let (checked, mistakes) = on_deep_stack(move || {
        let check = |file| check_file(file, check_connector, &mut mistakes);
        let checked: Vec<Checked> = files.iter().filter_map(check).collect();
        check_together(&checked, &mut mistakes);
        (checked, mistakes)
    })?;
    let diagnostics = Diagnostics(mistakes);
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok((checked, diagnostics.0)) }
}

/// Plans where there is room to go down whatever is nested.
pub(crate) fn on_deep_stack<T: Send>(plan: impl FnOnce() -> T + Send) -> Result<T, Diagnostics> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("plan".to_owned()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, plan).map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(planned)) => Ok(planned),
            // Ours and DataFusion's planner are not supposed to; whoever wrote the file is told.
            Ok(Err(_)) => {
                let message = "the planner failed on this pipeline, which is a bug";
                let help = "please report it with the file; what it says above helps";
                Err(Diagnostics(vec![Diagnostic::error_without_place(message).help(help)]))
            }
            Err(error) => {
                let message = format!("cannot start a thread to plan with: {error}");
                Err(Diagnostics(vec![Diagnostic::error_without_place(message)]))
            }
        }
    })
}

pub(super) fn read_text(path: &Path) -> Result<String, Diagnostic> {
    let cannot = |reason: String| {
        Diagnostic::error_without_place(format!("cannot read {}: {reason}", path.display()))
    };
    let of_system = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => cannot("there is no such file".to_owned()),
        std::io::ErrorKind::IsADirectory => cannot("it is a directory".to_owned()),
        _ => cannot(error.to_string()),
    };
    let file = File::open(path).map_err(of_system)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(of_system)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(cannot(format!("it is larger than {FILE_BYTES_MAX} bytes"))
            .help("a pipeline file holds sources, queries and connectors, not data"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        cannot(format!("line {line} is not UTF-8")).help("save it as UTF-8")
    })
}

fn check_file(
    file: &Arc<SourceFile>,
    check_connector: CheckConnector,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Checked> {
    let mut own = Vec::new();
    let mut draft = match file.path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml_file::read(file, &mut own),
        Some("sql") => sql_file::read(file, &mut own),
        _ => {
            let message = format!("{} is not a pipeline file", file.path.display());
            let help = "its name ends in .toml or .sql";
            mistakes.push(Diagnostic::error_without_place(message).help(help));
            return None;
        }
    };
    if let Some(path) = cases::beside(&file.path).filter(|path| path.exists()) {
        match read_text(&path) {
            Ok(text) => {
                let file = Arc::new(SourceFile { path, text });
                draft.cases = cases::read_file(&file, &mut own);
            }
            Err(mistake) => own.push(mistake),
        }
    }
    let base = file.path.parent().unwrap_or(Path::new("."));
    let functions = functions::statements(&draft.functions);
    for connector in &mut draft.connectors {
        connector.functions = functions.clone();
    }
    for connector in &draft.connectors {
        own.extend(check_connector(connector, base));
    }
    let steps = std::mem::take(&mut draft.steps);
    let lowered = lower(draft, &mut own);
    let pipeline = lowered.as_ref().map(|(pipeline, _)| pipeline);
    // What runs the queries has the last word: what it would refuse, it refuses now.
    for query in pipeline.iter().flat_map(|pipeline| &pipeline.queries) {
        let sources = pipeline.iter().flat_map(|pipeline| pipeline.sources.clone());
        if let Err(error) = Topology::new(query, &sources.collect::<Vec<_>>()) {
            own.push(Diagnostic::error(error.to_string(), query.span.clone()));
        }
    }
    if let Some(pipeline) = &pipeline {
        cases::check(pipeline, &mut own);
    }
    // In the order of the file; those at one place in the order in which they were found.
    own.sort_by_key(|mistake| {
        let span = mistake.span.as_ref();
        span.map(|span| (span.file.path != file.path, span.file.path.clone(), span.start))
    });
    own.dedup();
    let failed = own.iter().any(|mistake| mistake.severity == Severity::Error);
    mistakes.append(&mut own);
    lowered.filter(|_| !failed).map(|(pipeline, names)| (pipeline, names, steps))
}

/// What must differ between all the files that run in one process.
fn check_together(checked: &[Checked], mistakes: &mut Vec<Diagnostic>) {
    let pipelines = checked.iter().map(|(pipeline, ..)| pipeline);
    let mut names: HashMap<&str, &Path> = HashMap::new();
    for pipeline in pipelines.clone() {
        if let Some(first) = names.insert(&pipeline.name, &pipeline.path) {
            let message = format!(
                "{} and {} are both called '{}'",
                first.display(),
                pipeline.path.display(),
                pipeline.name
            );
            let help = "state is found by this name: set name = \"…\" in one of them";
            mistakes.push(Diagnostic::error_without_place(message).help(help));
        }
    }
    let connectors = pipelines.clone().flat_map(|pipeline| &pipeline.connectors);
    let connectors = connectors.map(|connector| (connector.name.as_str(), &connector.span));
    check_unique("connector", connectors, mistakes);
    let topics = pipelines.flat_map(|pipeline| &pipeline.queries);
    let topics = topics.map(|query| (query.sink.topic.as_str(), &query.span));
    check_unique("query that writes topic", topics, mistakes);
}

fn check_unique<'a>(
    what: &str,
    named: impl Iterator<Item = (&'a str, &'a Span)>,
    mistakes: &mut Vec<Diagnostic>,
) {
    let mut seen: HashMap<&str, &Span> = HashMap::new();
    for (name, span) in named {
        if let Some(first) = seen.insert(name, span)
            && first.file != span.file
        {
            let message = format!("a second {what} '{name}'");
            let help = format!("the first is at {first}");
            mistakes.push(Diagnostic::error(message, span.clone()).help(help));
        }
    }
}
