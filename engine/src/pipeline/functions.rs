//! Functions of users: where their modules are, and what those may do.
//!
//! ```text
//! [udfs.email_domain]            CREATE FUNCTION email_domain LANGUAGE wasm AS 'email.wasm'
//! file = "email.wasm"              WITH ('memory' = '64MB', 'time' = '100ms')
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use udfs::http::SIDE_BY_SIDE_RANGE;
use udfs::{Directory, Grants, Limits, Options};

use super::diagnostic::{Diagnostic, Span};
use super::draft::Named;
use super::duration::parse_duration;
use super::size::{parse_size, parse_stack};

/// A function as it is declared.
#[derive(Clone, Debug)]
pub(crate) struct DraftFunction {
    pub name: Named,
    pub file: Named,
    /// Relative to the file that declares it.
    pub path: PathBuf,
    /// What the module calls it: the same name unless it is said.
    pub export: Named,
    /// The file with the types of a core module that does not carry them.
    pub wit: Option<(Named, PathBuf)>,
    /// The names of its arguments, perhaps with defaults, where the module's are to be others.
    pub arguments: Option<Named>,
    /// Overrides what the module says.
    pub deterministic: Option<bool>,
    pub options: Options,
    /// It has mistakes that are reported: calls of it are none of their own.
    pub is_broken: bool,
    /// The declaration as a statement that means the same anywhere.
    pub statement: String,
}

/// All that are right, by name, for SQL outside of queries.
pub(crate) fn statements(functions: &[DraftFunction]) -> Arc<BTreeMap<String, String>> {
    let right = functions.iter().filter(|function| !function.is_broken);
    Arc::new(right.map(|of| (of.name.text.clone(), of.statement.clone())).collect())
}

/// `CREATE FUNCTION "name" LANGUAGE wasm WITH ('file' = '/there/name.wasm')`
fn statement(name: &str, properties: &[(Named, Named)], base: &Path) -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let is_path =
        |key: &str| key == "file" || key == "wit" || key.starts_with("grants.directories.");
    let options = properties.iter().map(|(key, value)| {
        let value = match is_path(&key.text) {
            true => std::path::absolute(base.join(&value.text))
                .map_or_else(|_| value.text.clone(), |path| path.display().to_string()),
            false => value.text.clone(),
        };
        format!("{} = {}", text(&key.text), text(&value))
    });
    let options = options.collect::<Vec<_>>().join(", ");
    let name = name.replace('"', "\"\"");
    format!("CREATE FUNCTION \"{name}\" LANGUAGE wasm WITH ({options})")
}

const KEYS: [&str; 16] = [
    "file",
    "function",
    "arguments",
    "wit",
    "memory",
    "time",
    "search",
    "stack",
    "side_by_side",
    "deterministic",
    "config.NAME",
    "grants.clock",
    "grants.random",
    "grants.environment.NAME",
    "grants.directories.NAME",
    "grants.http",
];

/// The most memory that a module may be given, in bytes: what 32 bits can address.
const MEMORY_MAX: usize = 4 << 30;
/// The longest that a call may take.
const TIME_MAX: Duration = Duration::from_secs(600);

/// Reads a declaration of properties in the file at `path`.
pub(crate) fn read(
    name: Named,
    properties: Vec<(Named, Named)>,
    path: &Path,
    mistakes: &mut Vec<Diagnostic>,
) -> DraftFunction {
    let base = path.parent().unwrap_or(Path::new("."));
    let before = mistakes.len();
    let statement = statement(&name.text, &properties, base);
    let mut reader = Reader { base, mistakes, grants: Grants::default(), config: BTreeMap::new() };
    let (mut file, mut export, mut wit) = (None, None, None);
    let (mut arguments, mut deterministic) = (None, None);
    let mut limits = Limits::default();
    for (key, value) in properties {
        match key.text.as_str() {
            "file" => file = Some(value),
            "function" => export = Some(value),
            "arguments" => arguments = Some(value),
            "wit" => wit = Some((value.clone(), base.join(&value.text))),
            "memory" => limits.memory_bytes = reader.memory(&value).unwrap_or(limits.memory_bytes),
            "time" => limits.time = reader.time("time", &value).unwrap_or(limits.time),
            "search" => limits.search = reader.time("search", &value),
            "side_by_side" => {
                limits.side_by_side = reader.count(&value).unwrap_or(limits.side_by_side);
            }
            "stack" => limits.stack_bytes = reader.stack(&value).unwrap_or(limits.stack_bytes),
            "deterministic" => deterministic = reader.truth(&value),
            _ => reader.read_dotted(&key, &value),
        }
    }
    let Reader { grants, config, .. } = reader;
    let file = file.unwrap_or_else(|| {
        let message = format!("function '{}' has no file", name.text);
        let help = "say where its module is: file = \"NAME.wasm\"";
        mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
        name.clone()
    });
    let mut options = Options { limits, grants, config: Arc::new(config), ..Options::default() };
    options.name.clone_from(&name.text);
    let path = base.join(&file.text);
    let export = export.unwrap_or_else(|| name.clone());
    let is_broken = mistakes.len() > before;
    DraftFunction {
        name,
        file,
        path,
        export,
        wit,
        arguments,
        deterministic,
        options,
        is_broken,
        statement,
    }
}

struct Reader<'a> {
    base: &'a Path,
    mistakes: &'a mut Vec<Diagnostic>,
    grants: Grants,
    config: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn read_dotted(&mut self, key: &Named, value: &Named) {
        let name = key.text.as_str();
        if let Some(name) = name.strip_prefix("config.") {
            self.config.insert(name.to_owned(), value.text.clone());
        } else if name == "grants.clock" {
            self.grants.clock = self.truth(value).unwrap_or_default();
        } else if name == "grants.random" {
            self.grants.random = self.truth(value).unwrap_or_default();
        } else if name == "grants.http" {
            for text in value.text.split(',') {
                match text.parse() {
                    Ok(origin) => self.grants.http.push(origin),
                    Err(wrong) => {
                        self.mistakes.push(Diagnostic::error(wrong, value.span.clone()));
                    }
                }
            }
        } else if let Some(name) = name.strip_prefix("grants.environment.") {
            self.grants.environment.insert(name.to_owned(), value.text.clone());
        } else if let Some(name) = name.strip_prefix("grants.directories.") {
            // `path`, or `path:rw`.
            let (path, writable) = match value.text.strip_suffix(":rw") {
                Some(path) => (path, true),
                None => (value.text.as_str(), false),
            };
            let path = self.base.join(path);
            if !path.is_dir() {
                let message = format!("there is no directory {}", path.display());
                self.mistakes.push(Diagnostic::error(message, value.span.clone()));
            }
            self.grants.directories.insert(name.to_owned(), Directory { path, writable });
        } else {
            let message = format!("functions have no setting '{name}'");
            let help = format!("there is {}", KEYS.join(", "));
            let mistake = Diagnostic::error(message, key.span.clone()).help(help);
            self.mistakes.push(mistake.did_you_mean(name, KEYS));
        }
    }

    fn memory(&mut self, value: &Named) -> Option<usize> {
        match parse_size(&value.text) {
            Ok(bytes) if (64 << 10..=MEMORY_MAX).contains(&bytes) => Some(bytes),
            Ok(_) => self.wrong("'memory' must be from 64KB to 4GB".to_owned(), &value.span),
            Err(error) => self.wrong(format!("'memory': {error}"), &value.span),
        }
    }

    fn stack(&mut self, value: &Named) -> Option<usize> {
        match parse_stack(&value.text) {
            Ok(bytes) => Some(bytes),
            Err(error) => self.wrong(error, &value.span),
        }
    }

    fn time(&mut self, key: &str, value: &Named) -> Option<Duration> {
        match parse_duration(&value.text) {
            Ok(time) if (Duration::from_millis(10)..=TIME_MAX).contains(&time) => Some(time),
            Ok(_) => self.wrong(format!("'{key}' must be from 10ms to 10 minutes"), &value.span),
            Err(error) => self.wrong(format!("'{key}': {error}"), &value.span),
        }
    }

    fn count(&mut self, value: &Named) -> Option<usize> {
        let count = value.text.parse().ok().filter(|count| SIDE_BY_SIDE_RANGE.contains(count));
        let (least, most) = (SIDE_BY_SIDE_RANGE.start(), SIDE_BY_SIDE_RANGE.end());
        let wrong = || format!("'side_by_side' must be from {least} to {most}");
        count.or_else(|| self.wrong(wrong(), &value.span))
    }

    fn truth(&mut self, value: &Named) -> Option<bool> {
        match value.text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.wrong("this is 'true' or 'false'".to_owned(), &value.span),
        }
    }

    fn wrong<T>(&mut self, message: String, span: &Span) -> Option<T> {
        self.mistakes.push(Diagnostic::error(message, span.clone()));
        None
    }
}
