//! Which files a pattern names.
//!
//! ```text
//! logs/            all files in the directory      *       any part of a name
//! logs/*.log       by a pattern                    ?       any one character of it
//! logs/**/app.log  in all directories below too    [a-c]   one of these; [!a-c] none of them
//! ```
//!
//! Files whose name begins with a dot are taken only by a pattern that begins with one.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

/// Directories below each other that `**` goes into.
const DEPTH_MAX: usize = 32;

/// A set of paths.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: PathBuf,
    /// The directory that all of them are in.
    root: PathBuf,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    /// `**`
    Any,
    /// A name without anything special.
    Name(String),
    Matching {
        regex: Regex,
        hidden: bool,
    },
}

/// A file that a pattern names.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: PathBuf,
    pub metadata: Metadata,
}

impl Pattern {
    /// `None`: the path names one file. A directory stands for all files in it.
    pub fn new(path: &Path) -> Result<Option<Pattern>, String> {
        let text = path.to_string_lossy();
        let special = |part: &str| part.contains(['*', '?', '[']);
        // A file may well be called so.
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
            return Ok(None);
        }
        if text.ends_with('/') || path.is_dir() {
            let all = Part::Matching { regex: part_regex("*")?, hidden: false };
            let (text, root) = (path.to_owned(), path.to_owned());
            return Ok(Some(Pattern { text, root, parts: vec![all] }));
        }
        let (mut root, mut parts) = (PathBuf::new(), Vec::new());
        for component in path.components() {
            let name = component.as_os_str().to_string_lossy();
            match component {
                Component::Normal(_) if name == "**" => parts.push(Part::Any),
                Component::Normal(_) if special(&name) => {
                    let (regex, hidden) = (part_regex(&name)?, name.starts_with('.'));
                    parts.push(Part::Matching { regex, hidden });
                }
                Component::Normal(_) if !parts.is_empty() => parts.push(Part::Name(name.into())),
                _ => root.push(component),
            }
        }
        if matches!(parts.last(), Some(Part::Any)) {
            parts.push(Part::Matching { regex: part_regex("*")?, hidden: false });
        }
        if root.as_os_str().is_empty() {
            root.push(".");
        }
        Ok((!parts.is_empty()).then(|| Pattern { text: path.to_owned(), root, parts }))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether files may lie in directories below the root.
    pub fn is_deep(&self) -> bool {
        self.parts.len() > 1
    }

    /// As it was written.
    pub fn text(&self) -> std::path::Display<'_> {
        self.text.display()
    }

    /// All regular files that are there, by path.
    pub fn list(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        walk(&self.root, &self.parts, 0, &mut found)?;
        found.sort_by(|a: &Found, b: &Found| a.path.cmp(&b.path));
        found.dedup_by(|a, b| a.path == b.path);
        Ok(found)
    }
}

/// What comes and goes meanwhile is left out.
fn walk(dir: &Path, parts: &[Part], depth: usize, found: &mut Vec<Found>) -> io::Result<()> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if let Part::Name(name) = part {
        return visit(dir.join(name), rest, depth, found);
    }
    if let Part::Any = part {
        walk(dir, rest, depth, found)?;
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(within(dir, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| within(dir, error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match part {
            Part::Matching { regex, hidden } => {
                if regex.is_match(&name) && (*hidden || !name.starts_with('.')) {
                    visit(entry.path(), rest, depth, found)?;
                }
            }
            // Not through links, which may lead round in circles.
            _ => {
                let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_dir && !name.starts_with('.') && depth < DEPTH_MAX {
                    walk(&entry.path(), parts, depth + 1, found)?;
                }
            }
        }
    }
    Ok(())
}

fn visit(path: PathBuf, rest: &[Part], depth: usize, found: &mut Vec<Found>) -> io::Result<()> {
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if is_gone(&error) => return Ok(()),
        Err(error) => return Err(within(&path, error)),
    };
    if rest.is_empty() {
        if metadata.is_file() {
            found.push(Found { path, metadata });
        }
        return Ok(());
    }
    if metadata.is_dir() && depth < DEPTH_MAX {
        walk(&path, rest, depth + 1, found)?;
    }
    Ok(())
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn within(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// One part of a pattern between slashes, as a regular expression.
fn part_regex(part: &str) -> Result<Regex, String> {
    let mut regex = String::from("^(?s)");
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => {
                let (set, rest) = chars
                    .as_str()
                    .split_once(']')
                    .ok_or_else(|| format!("'{part}': a `[` without its `]`"))?;
                chars = rest.chars();
                let (not, set) = match set.strip_prefix(['!', '^']) {
                    Some(set) => ("^", set),
                    None => ("", set),
                };
                let set = set.replace('\\', r"\\").replace('[', r"\[").replace('&', r"\&");
                regex.push_str(&format!("[{not}{set}]"));
            }
            c => regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    Regex::new(&regex).map_err(|_| format!("'{part}' is no pattern for names"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pattern: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.log", "b.log", "b.log.1", ".hidden.log", "sub/a.log", "sub/deep/c.log"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        fs::create_dir(dir.path().join("dir.log")).unwrap();
        let path = PathBuf::from(format!("{}/{pattern}", dir.path().display()));
        let Some(pattern) = Pattern::new(&path).unwrap() else { return vec!["(one)".to_owned()] };
        let name = |found: &Found| found.path.strip_prefix(dir.path()).unwrap().to_owned();
        pattern.list().unwrap().iter().map(|one| name(one).display().to_string()).collect()
    }

    #[test]
    fn files_are_found_by_patterns() {
        assert_eq!(named(""), ["a.log", "b.log", "b.log.1"]);
        assert_eq!(named("sub"), ["sub/a.log"]);
        assert_eq!(named("*.log"), ["a.log", "b.log"]);
        assert_eq!(named("?.log*"), ["a.log", "b.log", "b.log.1"]);
        assert_eq!(named("[!a].log"), ["b.log"]);
        assert_eq!(named("*/a.log"), ["sub/a.log"]);
        assert_eq!(named("**/*.log"), ["a.log", "b.log", "sub/a.log", "sub/deep/c.log"]);
        assert_eq!(named("**"), ["a.log", "b.log", "b.log.1", "sub/a.log", "sub/deep/c.log"]);
        assert_eq!(named(".h*"), [".hidden.log"]);
        assert_eq!(named("none/*"), [] as [&str; 0]);
        assert_eq!(named("a.log"), ["(one)"]);
        assert_eq!(named("later.log"), ["(one)"]);
        assert!(Pattern::new(Path::new("x[a/*")).unwrap_err().contains("without its `]`"));
    }
}
