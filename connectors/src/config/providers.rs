//! Values that stand elsewhere, so that no secret has to stand among the properties.
//!
//! ```text
//! ${env:NAME}          an environment variable
//! ${file:PATH:KEY}     a key of a file of properties
//! ${dir:PATH:NAME}     what is in a file of that name in a directory
//! ```
//!
//! They are those of Kafka Connect, which has to be told of them by `config.providers`; here they
//! are always there, and a worker's `config.providers` may give them other names. What a value is
//! made into is for the connector alone: logs, the REST API and messages about mistakes show the
//! properties as they were given.

use std::collections::BTreeMap;
use std::path::Path;

use super::ConfigProblem;

/// No file with a secret in it is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where values may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    Environment,
    File,
    Directory,
}

/// The providers by the names that values refer to them by.
#[derive(Clone, Debug)]
pub struct Providers(BTreeMap<String, Provider>);

impl Default for Providers {
    fn default() -> Providers {
        let named = [
            ("env", Provider::Environment),
            ("file", Provider::File),
            ("dir", Provider::Directory),
            ("directory", Provider::Directory),
        ];
        Providers(named.into_iter().map(|(name, one)| (name.to_owned(), one)).collect())
    }
}

/// Properties with all values in place, by the providers that are always there and those that they
/// name. The first mistake is the error; it shows no value.
pub fn in_place(
    properties: &BTreeMap<String, String>,
    base_dir: &Path,
) -> Result<BTreeMap<String, String>, ConfigProblem> {
    let mut problems = Vec::new();
    let resolved = Providers::new(properties)?.resolve(properties, base_dir, &mut problems);
    match problems.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(resolved.properties),
    }
}

/// Properties with all values in place.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub properties: BTreeMap<String, String>,
    /// What was put in place, and what stands for it: not to be shown.
    secrets: Vec<(String, String)>,
}

impl Providers {
    /// Those that are always there, and those that the worker's properties name.
    pub fn new(worker: &BTreeMap<String, String>) -> Result<Providers, ConfigProblem> {
        let mut providers = Providers::default();
        let names = worker.get("config.providers").map_or("", String::as_str);
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let key = format!("config.providers.{name}.class");
            let class = worker.get(&key).map_or("", |class| class.trim());
            let provider = match super::class_name(class) {
                "EnvVarConfigProvider" => Provider::Environment,
                "FileConfigProvider" => Provider::File,
                "DirectoryConfigProvider" => Provider::Directory,
                _ => {
                    return Err(ConfigProblem {
                        message: format!("`{key}` names no config provider that there is"),
                        key,
                        value: Some(class.to_owned()),
                        help: Some(
                            "there are EnvVarConfigProvider, FileConfigProvider and \
                             DirectoryConfigProvider"
                                .to_owned(),
                        ),
                    });
                }
            };
            providers.0.insert(name.to_owned(), provider);
        }
        Ok(providers)
    }

    /// Puts values in their place; relative paths start at `base_dir`.
    pub(crate) fn resolve(
        &self,
        properties: &BTreeMap<String, String>,
        base_dir: &Path,
        problems: &mut Vec<ConfigProblem>,
    ) -> Resolved {
        let mut resolved = Resolved { properties: BTreeMap::new(), secrets: Vec::new() };
        for (key, text) in properties {
            let value = match self.value(text, base_dir) {
                Ok(value) => value,
                Err((message, help)) => {
                    let (key, value) = (key.clone(), Some(text.clone()));
                    let message = format!("`{key}`: {message}");
                    problems.push(ConfigProblem { key, value, message, help: Some(help) });
                    continue;
                }
            };
            if value != *text {
                resolved.secrets.push((value.trim().to_owned(), text.clone()));
            }
            resolved.properties.insert(key.clone(), value);
        }
        resolved
    }

    /// A value with all references in it replaced. What refers to no provider stays as it is:
    /// `${topic}` is for others to understand.
    fn value(&self, text: &str, base_dir: &Path) -> Result<String, (String, String)> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, reference) = rest.split_at(start);
            out.push_str(before);
            let inner = reference[2..].split_once('}');
            let found = inner.and_then(|(inner, after)| {
                let (name, what) = inner.split_once(':')?;
                Some((*self.0.get(name)?, what, after))
            });
            match found {
                Some((provider, what, after)) => {
                    out.push_str(&look_up(provider, what, base_dir)?);
                    rest = after;
                }
                None => {
                    out.push_str("${");
                    rest = &reference[2..];
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

impl Resolved {
    /// Takes values that were put in place out of what people get to read.
    pub(crate) fn hide(&self, problem: &mut ConfigProblem) {
        for (secret, reference) in self.secrets.iter().filter(|(secret, _)| !secret.is_empty()) {
            let hide = |text: &mut String| *text = text.replace(secret.as_str(), reference);
            hide(&mut problem.message);
            problem.value.iter_mut().for_each(hide);
            problem.help.iter_mut().for_each(hide);
        }
    }
}

fn look_up(provider: Provider, what: &str, base_dir: &Path) -> Result<String, (String, String)> {
    let split = |form: &str| {
        let wrong = || (format!("'{what}' has no key behind a path"), format!("write `{form}`"));
        what.rsplit_once(':').ok_or_else(wrong)
    };
    match provider {
        Provider::Environment => {
            let missing = |_| {
                let help = format!("set it where the worker is started: {what}=… millstream …");
                (format!("the environment variable '{what}' is not set"), help)
            };
            std::env::var(what).map_err(missing)
        }
        Provider::File => {
            let (path, key) = split("${file:PATH:KEY}")?;
            let properties = parse_properties(&read(&base_dir.join(path))?);
            properties.get(key).cloned().ok_or_else(|| {
                let path = base_dir.join(path).display().to_string();
                (format!("{path} has no key '{key}'"), format!("add a line `{key} = …` to it"))
            })
        }
        Provider::Directory => {
            let (path, name) = split("${dir:PATH:NAME}")?;
            if name.contains('/') || name == ".." {
                let help = "name a file in the directory".to_owned();
                return Err((format!("'{name}' is no file's name"), help));
            }
            read(&base_dir.join(path).join(name))
        }
    }
}

fn read(path: &Path) -> Result<String, (String, String)> {
    let failed = |reason: String| {
        let help = "see that it is there and that this process may read it".to_owned();
        (format!("{}: {reason}", path.display()), help)
    };
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("{size} bytes are too many for a secret")));
    }
    std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))
}

/// A Java `.properties` file as far as secrets need it: `key=value` or `key: value`, a backslash
/// before what is to be taken as it is.
pub(crate) fn parse_properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .filter_map(|line| {
            let end = line.find(['=', ':', ' ', '\t'])?;
            let value = line[end..].trim_start();
            let value = value.strip_prefix(['=', ':']).unwrap_or(value).trim_start();
            let mut letters = value.chars();
            let mut plain = String::new();
            while let Some(letter) = letters.next() {
                plain.extend(if letter == '\\' { letters.next() } else { Some(letter) });
            }
            Some((line[..end].to_owned(), plain))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, dir: &Path) -> Result<String, String> {
        let properties = BTreeMap::from([("key".to_owned(), text.to_owned())]);
        let mut problems = Vec::new();
        let resolved = Providers::default().resolve(&properties, dir, &mut problems);
        match problems.pop() {
            Some(problem) => Err(problem.message),
            None => Ok(resolved.properties["key"].clone()),
        }
    }

    #[test]
    fn values_come_from_the_environment_and_from_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("s.properties"), "# x\nuser=me\npass: a\\=b c\n").unwrap();
        std::fs::write(dir.path().join("token"), "t0k3n").unwrap();
        let value = |text| resolve(text, dir.path());
        assert_eq!(value("${file:s.properties:pass}"), Ok("a=b c".into()));
        assert_eq!(value("x-${file:s.properties:user}-${dir:.:token}"), Ok("x-me-t0k3n".into()));
        assert_eq!(
            value("${topic}-${timestamp}$1${a:b}"),
            Ok("${topic}-${timestamp}$1${a:b}".into())
        );
        assert_eq!(value("${env:PATH}"), Ok(std::env::var("PATH").unwrap()));
        assert!(value("${env:NO_SUCH_VARIABLE}").unwrap_err().contains("is not set"));
        assert!(value("${file:s.properties:nobody}").unwrap_err().contains("no key 'nobody'"));
        assert!(value("${file:none.properties:a}").unwrap_err().contains("none.properties"));
        assert!(value("${dir:.:../token}").unwrap_err().contains("no file's name"));
    }

    #[test]
    fn secrets_do_not_show_in_messages() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("size"), "hunter2").unwrap();
        let properties = [
            ("connector.class", "file-source"),
            ("file", "f"),
            ("topic", "t"),
            ("batch.size", "${dir:.:size}"),
        ];
        let properties = properties.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let problems = super::super::validate("c", &properties.into(), dir.path()).unwrap_err();
        assert_eq!(problems[0].message, "`batch.size` must be a whole number, not '${dir:.:size}'");
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}
