//! The house rules that a machine can check: sizes, names, and who may know whom.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const FILE_LINES_MAX: usize = 1_000;
const LINE_COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
/// Names that tell nothing of what is inside.
const BANNED_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "manager", "misc"];

struct RustFile {
    path: PathBuf,
    text: String,
}

fn rust_files() -> Vec<RustFile> {
    let mut found = Vec::new();
    for folder in ["src", "broker", "engine", "connectors", "udfs", "tests", "benches", "examples"]
    {
        collect(&Path::new(ROOT).join(folder), &mut found);
    }
    assert!(found.len() > 50, "the walk has lost the sources: {} files", found.len());
    found
}

fn collect(folder: &Path, found: &mut Vec<RustFile>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                collect(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(ROOT).unwrap().to_owned();
            found.push(RustFile { path, text });
        }
    }
}

/// All findings at once: a rule that stops at the first is mended one run at a time.
fn none(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

#[test]
fn files_and_lines_stay_short() {
    let mut findings = Vec::new();
    for file in rust_files() {
        let lines = file.text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{}: {lines} lines", file.path.display()));
        }
        let mut in_text = false;
        for (index, line) in file.text.lines().enumerate() {
            // Text is what it is: rustfmt does not break it either.
            let text = in_text || line.contains('"') || is_test_code(&file.path);
            in_text = if in_text { !line.contains("\"#") } else { opens_text(line) };
            if line.chars().count() > LINE_COLUMNS_MAX && !text {
                findings.push(format!("{}:{}: too wide", file.path.display(), index + 1));
            }
        }
    }
    none(findings);
}

/// Whether a raw string begins here and does not end here.
fn opens_text(line: &str) -> bool {
    line.rsplit_once("r#\"").is_some_and(|(_, rest)| !rest.contains("\"#"))
}

#[test]
fn functions_fit_on_a_screen() {
    let mut findings = Vec::new();
    for file in rust_files().iter().filter(|file| !is_test_code(&file.path)) {
        let mut open: Option<(usize, usize, String)> = None;
        let mut in_body = false;
        for (index, line) in file.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            match &open {
                None if is_function(line) && !line.trim_end().ends_with([';', '}']) => {
                    open = Some((index, indent, line.trim().to_owned()));
                    in_body = line.ends_with('{');
                }
                // A signature over several lines that has no body.
                Some(_) if !in_body && line.ends_with(';') => open = None,
                Some(_) if !in_body => in_body = line.ends_with('{'),
                Some((from, depth, name))
                    if indent == *depth
                        && line.trim_end() == format!("{}}}", " ".repeat(*depth)) =>
                {
                    let lines = index - from + 1;
                    if lines > FUNCTION_LINES_MAX {
                        let at = format!("{}:{}", file.path.display(), from + 1);
                        findings.push(format!("{at}: {lines} lines: {name}"));
                    }
                    open = None;
                }
                _ => {}
            }
        }
    }
    none(findings);
}

fn is_function(line: &str) -> bool {
    let words = line.trim_start();
    [
        "fn ",
        "pub fn ",
        "async fn ",
        "pub async fn ",
        "pub(crate) fn ",
        "pub(super) fn ",
        "pub(crate) async fn ",
        "pub(super) async fn ",
        "const fn ",
        "pub const fn ",
    ]
    .iter()
    .any(|start| words.starts_with(start))
}

#[test]
fn names_tell_what_is_inside() {
    let mut findings = Vec::new();
    for file in rust_files() {
        for part in file.path.components() {
            let name = part.as_os_str().to_string_lossy();
            let stem = name.strip_suffix(".rs").unwrap_or(&name);
            if stem.split(['_', '-']).any(|word| BANNED_NAMES.contains(&word)) {
                findings.push(format!("{}: '{stem}' tells nothing", file.path.display()));
            }
        }
    }
    none(findings);
}

/// `broker` and `udfs` know nobody, `connectors` knows `broker`, `engine` knows both.
#[test]
fn nobody_knows_whom_they_should_not() {
    let may_know: [(&str, &[&str]); 4] = [
        ("broker", &[]),
        ("udfs", &[]),
        ("connectors", &["broker"]),
        ("engine", &["broker", "udfs"]),
    ];
    let mut findings = Vec::new();
    for (krate, allowed) in may_know {
        let manifest = fs::read_to_string(Path::new(ROOT).join(krate).join("Cargo.toml")).unwrap();
        for (other, _) in may_know {
            let named = manifest.lines().any(|line| {
                line.starts_with(&format!("{other}.")) || line.starts_with(&format!("{other} "))
            });
            if named && !allowed.contains(&other) {
                findings.push(format!("{krate} must not know {other}"));
            }
        }
    }
    // The log is the broker's own: all others go through `broker::client`.
    for file in rust_files() {
        let inside = file.path.starts_with("broker");
        if !inside && file.text.contains("broker::log") && !file.path.ends_with("tidy.rs") {
            findings.push(format!("{}: reaches into broker::log", file.path.display()));
        }
    }
    none(findings);
}

/// librdkafka says that a call may be made again, and nothing says when: the one place that waits
/// by the clock.
const SLEEPS: &str = "broker/src/client/remote/producer.rs";

#[test]
fn errors_are_handled_outside_tests() {
    let mut findings = Vec::new();
    for file in rust_files() {
        if is_test_code(&file.path) {
            continue;
        }
        let code = file.text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        for (index, line) in code.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let at = || format!("{}:{}", file.path.display(), index + 1);
            for banned in [".unwrap()", "todo!(", "unimplemented!(", "thread::sleep"] {
                let waits = banned == "thread::sleep" && file.path.ends_with(SLEEPS);
                if code.contains(banned) && !waits {
                    findings.push(format!("{}: {banned}", at()));
                }
            }
        }
    }
    none(findings);
}

fn is_test_code(path: &Path) -> bool {
    path.components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        let stem = name.strip_suffix(".rs").unwrap_or(&name);
        ["tests", "benches", "examples", "simulation", "fuzz", "fuzz_targets", "testing"]
            .contains(&stem)
            || stem.ends_with("_tests")
    })
}

/// Every dependency says in the root manifest what it is for.
#[test]
fn each_dependency_has_its_reason() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let from = manifest.find("[workspace.dependencies]").unwrap();
    let section = manifest[from..].split("\n[package]").next().unwrap();
    let findings = section
        .lines()
        .filter(|line| line.contains(" = ") && !line.contains("path = ") && !line.contains(" # "))
        .map(|line| format!("no reason given: {line}"))
        .collect();
    none(findings);
}
