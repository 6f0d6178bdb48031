//! Files of connectors and of the worker.
//!
//! ```text
//! *.properties   one connector, called `name`; without `connector.class`, the worker's own
//! *.json         {"name": …, "config": {…}}, or its properties with `name` among them
//! *.toml         [connectors.NAME] as in a pipeline file, or one connector's properties
//! ```
//!
//! All mistakes of all files are found at once, with the line that each is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::config::{validate_with, validate_worker};
use connectors::{ConfigProblem, ConnectorConfig};
use engine::pipeline::{Diagnostic, Diagnostics, Severity, SourceFile, Span};

use super::worker::{self, WorkerSettings};
use crate::cli::Failure;
use crate::cli::properties::{self, Properties};
use crate::render::diagnostics;

/// No file of connectors is larger.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One connector of a file.
#[derive(Debug)]
pub struct Declared {
    pub name: String,
    pub properties: Properties,
    file: Arc<SourceFile>,
}

/// All that the files say.
#[derive(Debug, Default)]
pub struct Files {
    pub worker: Properties,
    worker_file: Option<Arc<SourceFile>>,
    pub connectors: Vec<Declared>,
}

/// A connector that is found right.
#[derive(Debug)]
pub struct Checked {
    pub config: ConnectorConfig,
    pub properties: Properties,
    pub base_dir: PathBuf,
}

/// Reads files; whatever is wrong with their form is an error.
pub fn read(paths: &[PathBuf]) -> Result<Files, Failure> {
    let mut files = Files::default();
    for path in paths {
        let file = Arc::new(SourceFile { path: path.clone(), text: text(path)? });
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("json") => files.connectors.extend(json(&file)?),
            Some("toml") => files.connectors.extend(toml(&file)?),
            _ => of_properties(&file, &mut files)?,
        }
    }
    let mut names: BTreeMap<&str, &Declared> = BTreeMap::new();
    for connector in &files.connectors {
        if let Some(other) = names.insert(&connector.name, connector) {
            let (name, path) = (&connector.name, connector.file.path.display());
            let other = other.file.path.display();
            let message = format!("{path}: {other} has a connector called '{name}' too");
            return Err(Failure::usage(message).with_help("give each a name of its own"));
        }
    }
    Ok(files)
}

fn text(path: &Path) -> Result<String, Failure> {
    let failed = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("{size} bytes are too many for a file of connectors")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

fn of_properties(file: &Arc<SourceFile>, files: &mut Files) -> Result<(), Failure> {
    let properties = properties::parse(&file.text);
    if properties.contains_key("connector.class") || properties.contains_key("name") {
        files.connectors.push(declared(file, None, properties)?);
        return Ok(());
    }
    if !properties.keys().any(|key| worker::is_workers(key)) {
        let what = match properties.is_empty() {
            true => "there is nothing in it",
            false => {
                "no line of it sets a connector's `name` and `connector.class`, or a key of a \
                      worker such as `bootstrap.servers`"
            }
        };
        let message = format!("{}: {what}", file.path.display());
        return Err(Failure::usage(message).with_help(
            "files are properties (`key=value` by lines), or end with .json or .toml; a pipeline's \
             file is run by `millstream run`",
        ));
    }
    if let Some(other) = &files.worker_file {
        let (path, other) = (file.path.display(), other.path.display());
        let message = format!("{path}: {other} is the worker's own file already");
        return Err(Failure::usage(message)
            .with_help("a connector's file has `name` and `connector.class` in it"));
    }
    files.worker = properties;
    files.worker_file = Some(file.clone());
    Ok(())
}

fn declared(
    file: &Arc<SourceFile>,
    name: Option<String>,
    properties: Properties,
) -> Result<Declared, Failure> {
    let name = name.or_else(|| properties.get("name").map(|name| name.trim().to_owned()));
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let message = format!("{}: the connector has no name", file.path.display());
        return Err(Failure::usage(message).with_help("add `name`, such as `name=orders`"));
    };
    Ok(Declared { name, properties, file: file.clone() })
}

fn json(file: &Arc<SourceFile>) -> Result<Vec<Declared>, Failure> {
    let wrong = |reason: String| Failure::usage(format!("{}: {reason}", file.path.display()));
    let read: serde_json::Value =
        serde_json::from_str(&file.text).map_err(|error| wrong(format!("not JSON: {error}")))?;
    let serde_json::Value::Object(object) = read else {
        return Err(wrong("a JSON object is expected".to_owned()));
    };
    let name = object.get("name").and_then(|name| name.as_str()).map(str::to_owned);
    let config = match object.get("config") {
        Some(serde_json::Value::Object(config)) => config,
        _ => &object,
    };
    let mut properties = Properties::new();
    for (key, value) in config {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            serde_json::Value::Null => continue,
            _ => return Err(wrong(format!("`{key}` is neither text nor a number"))),
        };
        properties.insert(key.clone(), text);
    }
    Ok(vec![declared(file, name, properties)?])
}

fn toml(file: &Arc<SourceFile>) -> Result<Vec<Declared>, Failure> {
    let wrong = |reason: String| Failure::usage(format!("{}: {reason}", file.path.display()));
    let mut read: toml::Table = file.text.parse().map_err(|error: toml::de::Error| {
        let failure = wrong(error.to_string().trim_end().to_owned());
        match error.message().contains("dotted key") {
            // `transforms` is a text and `transforms.a.type` another, which TOML takes for one.
            true => failure.with_help("put keys with dots in them between quotes"),
            false => failure,
        }
    })?;
    let Some(toml::Value::Table(connectors)) = read.remove("connectors") else {
        let mut properties = Properties::new();
        flatten("", &read, &mut properties).map_err(wrong)?;
        return Ok(vec![declared(file, None, properties)?]);
    };
    if let Some(other) = read.keys().next() {
        let message = format!("`{other}` stands beside [connectors.*]");
        return Err(wrong(message).with_help("run a pipeline's file by `millstream run`"));
    }
    let mut all = Vec::new();
    for (name, table) in connectors {
        let toml::Value::Table(table) = table else {
            return Err(wrong(format!("[connectors.{name}] is not a table")));
        };
        let mut properties = Properties::new();
        flatten("", &table, &mut properties).map_err(wrong)?;
        all.push(declared(file, Some(name), properties)?);
    }
    Ok(all)
}

/// `connector.class = "x"` is a table within a table to TOML, and one key to us.
fn flatten(prefix: &str, table: &toml::Table, out: &mut Properties) -> Result<(), String> {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        let text = |value: &toml::Value| match value {
            toml::Value::String(text) => Some(text.clone()),
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                Some(value.to_string())
            }
            _ => None,
        };
        match value {
            toml::Value::Table(inner) => flatten(&format!("{key}."), inner, out)?,
            toml::Value::Array(items) => {
                let items: Option<Vec<String>> = items.iter().map(text).collect();
                let items = items.ok_or(format!("`{key}` is a list of more than texts"))?;
                out.insert(key, items.join(","));
            }
            value => {
                let text = text(value).ok_or(format!("`{key}` is neither text nor a number"))?;
                out.insert(key, text);
            }
        }
    }
    Ok(())
}

impl Files {
    /// Checks the worker and all connectors; every mistake of all files otherwise.
    pub fn check(self) -> Result<(WorkerSettings, Vec<Checked>), Failure> {
        let (mut checked, mut mistakes) = (Vec::new(), Vec::new());
        let (settings, of_worker) = self.check_worker();
        if let Some(file) = &self.worker_file {
            let told = of_worker.iter().cloned();
            mistakes.extend(told.map(|problem| mistake("worker", "worker", file, problem)));
        }
        for Declared { name, properties, file } in self.connectors {
            let base_dir = file.path.parent().unwrap_or(Path::new(".")).to_owned();
            match validate_with(&name, &properties, &base_dir, &self.worker) {
                Ok(config) => checked.push(Checked { config, properties, base_dir }),
                Err(problems) => {
                    // What the worker's file says is told there.
                    let own = problems
                        .into_iter()
                        .filter(|one| !of_worker.iter().any(|told| told.message == one.message));
                    let who = format!("connector '{name}'");
                    mistakes.extend(own.map(|problem| mistake(&who, &name, &file, problem)));
                }
            }
        }
        match settings {
            Some(settings) if mistakes.is_empty() => Ok((settings, checked)),
            _ => Err(Failure::Pipeline(Diagnostics(mistakes))),
        }
    }

    /// What the worker's file says, and all that is wrong with it.
    fn check_worker(&self) -> (Option<WorkerSettings>, Vec<ConfigProblem>) {
        let path = self.worker_file.as_ref().map(|file| file.path.clone());
        let base_dir = path.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
        let mut problems = validate_worker(&self.worker, base_dir);
        match WorkerSettings::new(&self.worker, base_dir) {
            Ok(settings) => (Some(WorkerSettings { path, ..settings }), problems),
            Err(wrong) => {
                // Where values stand that are elsewhere, both of them look.
                let more = wrong.into_iter().filter(|one| !problems.contains(one));
                let more: Vec<ConfigProblem> = more.collect();
                problems.extend(more);
                (None, problems)
            }
        }
    }
}

fn mistake(who: &str, name: &str, file: &Arc<SourceFile>, problem: ConfigProblem) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        span: Some(span(name, file, &problem.key)),
        message: format!("{who}: {}", problem.message),
        label: None,
        help: problem.help,
    }
}

/// Where a key stands, or the connector's name, or the file's beginning.
fn span(name: &str, file: &Arc<SourceFile>, key: &str) -> Span {
    let place = |word: &str| {
        let of_line = |line: &str| {
            let start = line.len() - line.trim_start_matches([' ', '\t', '"', '[']).len();
            let rest = line[start..].strip_prefix(word)?;
            let ends = rest.is_empty() || rest.starts_with([' ', '\t', '=', ':', '"', ']']);
            ends.then_some(start)
        };
        let mut at = 0;
        for line in file.text.split_inclusive('\n') {
            if let Some(start) = of_line(line) {
                return Some((at + start, at + start + word.len()));
            }
            at += line.len();
        }
        None
    };
    let found =
        place(key).or_else(|| place(&format!("connectors.{name}"))).or_else(|| place("name"));
    let (start, end) = found.unwrap_or((0, 0));
    Span { file: file.clone(), start, end }
}

/// Whether that is a file of connectors by its name; one that ends with .toml may be a pipeline's.
pub fn is_connectors(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "properties" || ending == "json")
}

/// The connectors of files in which there is nothing wrong; what has no meaning is told.
pub fn right(paths: &[PathBuf]) -> Result<Vec<ConnectorConfig>, Failure> {
    let (settings, checked) = read(paths)?.check()?;
    let all =
        settings.warning.into_iter().chain(checked.iter().filter_map(|one| one.config.warning()));
    for warning in all {
        let diagnostic =
            Diagnostic { severity: Severity::Warning, ..Diagnostic::error_without_place(warning) };
        diagnostics::print_warnings(vec![diagnostic]);
    }
    Ok(checked.into_iter().map(|one| one.config).collect())
}

/// `millstream connect lint`.
pub fn lint(paths: &[PathBuf]) -> Result<(), Failure> {
    let connectors = right(paths)?;
    let names: Vec<_> = connectors.iter().map(ConnectorConfig::name).collect();
    match &names[..] {
        [] => println!("no connector in these files; the worker's properties are right"),
        [one] => println!("connector '{one}' is right"),
        all => println!("{} connectors are right: {}", all.len(), all.join(", ")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn all_forms_of_files_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let worker = file(dir.path(), "w.properties", "bootstrap.servers=h:1\nplugin.path=/x\n");
        let one = file(dir.path(), "a.properties", "name=a\nconnector.class=C\ntopics=x,y\n");
        let two =
            file(dir.path(), "b.json", r#"{"name":"b","config":{"connector.class":"C","n":7}}"#);
        let text = "[connectors.c]\nconnector.class = \"C\"\ntopics = [\"x\", \"y\"]\nn = 7\n";
        let three = file(dir.path(), "c.toml", text);
        let files = read(&[one, worker, two, three]).unwrap();
        assert_eq!(files.worker["bootstrap.servers"], "h:1");
        let shown: Vec<String> = files
            .connectors
            .iter()
            .map(|one| format!("{} {:?}", one.name, one.properties))
            .collect();
        assert_eq!(
            shown,
            [
                r#"a {"connector.class": "C", "name": "a", "topics": "x,y"}"#,
                r#"b {"connector.class": "C", "n": "7"}"#,
                r#"c {"connector.class": "C", "n": "7", "topics": "x,y"}"#,
            ]
        );
    }

    fn refused(paths: &[PathBuf], dir: &Path) -> String {
        let Err(Failure::Usage { message, .. }) = read(paths) else { panic!("they were read") };
        message.replace(dir.to_str().unwrap(), "DIR")
    }

    /// Anything was taken for a worker's file, and an empty worker started.
    #[test]
    fn what_is_no_file_of_properties_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let yaml = "input:\n  generate:\n    mapping: root = {}\noutput:\n  stdout: {}\n";
        for (name, text) in [("rp.yaml", yaml), ("hello.txt", "hello\n")] {
            let told = refused(&[file(dir.path(), name, text)], dir.path());
            let expected = format!("DIR/{name}: no line of it sets a connector's `name` and");
            assert!(told.contains(&expected), "{told}");
        }
        let told = refused(&[file(dir.path(), "empty.properties", "# none\n")], dir.path());
        assert!(told.contains("DIR/empty.properties: there is nothing in it"), "{told}");
    }

    /// One that is none was told by who looks for converters, and by who looks for passwords.
    #[test]
    fn a_config_provider_that_is_none_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "bootstrap.servers=h:1\nconfig.providers=v\nconfig.providers.v.class=org.Vault\n";
        let worker = file(dir.path(), "w.properties", text);
        let Err(Failure::Pipeline(told)) = read(&[worker]).unwrap().check() else {
            panic!("it was taken")
        };
        assert_eq!(told.0.len(), 1, "{told:?}");
    }

    #[test]
    fn mistakes_of_the_workers_file_are_shown_there_with_all_others() {
        let dir = tempfile::tempdir().unwrap();
        let text = "bootstrap.servers=h:1\ngrup.id=g\nvalue.converter=org.x.JsonConvertr\n";
        let worker = file(dir.path(), "w.properties", text);
        let text = "name=a\nconnector.class=FileStreamSource\nfile=f\ntopc=t\n";
        let one = file(dir.path(), "a.properties", text);
        let Err(Failure::Pipeline(all)) = read(&[worker, one]).unwrap().check() else { panic!() };
        let shown: Vec<String> = all
            .0
            .iter()
            .map(|one| {
                let span = one.span.as_ref().unwrap();
                let name = span.file.path.file_name().unwrap().to_str().unwrap().to_owned();
                format!("{name}:{} {}", span.line_column().0, one.message)
            })
            .collect();
        expect_test::expect![[r#"
            w.properties:3 worker: there is no converter class 'org.x.JsonConvertr'
            w.properties:2 worker: a worker has no key `grup.id`
            a.properties:1 connector 'a': `topic` is missing: the topic to write to, created if it does not exist
            a.properties:4 connector 'a': `file-source` has no key `topc`"#]]
        .assert_eq(&shown.join("\n"));
    }

    #[test]
    fn mistakes_are_shown_where_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let text = "name=a\nconnector.class=FileStreamSource\nfile=f\n  topc=t\n";
        let path = file(dir.path(), "a.properties", text);
        let Err(Failure::Pipeline(all)) = read(&[path]).unwrap().check() else { panic!() };
        let shown: Vec<String> = all
            .0
            .iter()
            .map(|one| {
                let (line, column) = one.span.as_ref().unwrap().line_column();
                format!("{line}:{column} {}", one.message)
            })
            .collect();
        assert_eq!(
            shown,
            [
                "1:1 connector 'a': `topic` is missing: the topic to write to, created if it does \
                 not exist",
                "4:3 connector 'a': `file-source` has no key `topc`",
            ]
        );
    }
}
