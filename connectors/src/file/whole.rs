//! Whole files: each is one record, whose key is its name.
//!
//! A file is taken when it was not written for a while, and again when its content changes. Which
//! content was taken is known by length, time and checksum.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracing::warn;

use super::compression::{Compression, Unpacker};
use super::identity::fnv1a;
use super::open::Counts;
use super::pattern::{Found, Pattern};
use super::share::{Part, Share};
use super::tail::{Filled, TailError, io_error};

/// A file that was not written for so long is complete.
const COMPLETE: Duration = Duration::from_secs(1);
/// Files that are remembered although they are gone.
const GONE_MAX: usize = 10_000;

/// Which content of a file was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// On disk.
    pub bytes: u64,
    pub modified_ns: u64,
    pub crc: u32,
}

impl Content {
    pub fn to_json(self) -> Value {
        json!({ "bytes": self.bytes, "modified_ns": self.modified_ns, "crc32c": self.crc })
    }

    /// `None` if that is none.
    pub fn from_json(json: &Value) -> Option<Content> {
        let number = |field: &str| json.get(field).and_then(Value::as_u64);
        Some(Content {
            bytes: number("bytes")?,
            modified_ns: number("modified_ns")?,
            crc: u32::try_from(number("crc32c")?).ok()?,
        })
    }
}

/// How whole files are read.
#[derive(Clone, Copy, Debug)]
pub struct WholeOptions {
    /// The longest content.
    pub bytes_max: usize,
    pub skip_bad: bool,
    pub until_end: bool,
    pub start_at_end: bool,
    pub unpack: bool,
}

/// Files, each taken as a whole.
pub struct Whole {
    which: Which,
    options: WholeOptions,
    share: Share,
    taken: BTreeMap<String, Content>,
    changed: Vec<(String, Option<Content>)>,
    begun: bool,
    just_begun: bool,
    counts: Counts,
}

/// Which files.
#[derive(Debug)]
pub enum Which {
    One(PathBuf),
    Many(Pattern),
}

impl Whole {
    pub fn new(
        which: Which,
        options: WholeOptions,
        taken: BTreeMap<String, Content>,
        begun: bool,
        share: Share,
    ) -> Whole {
        let (changed, counts) = (Vec::new(), Counts::default());
        Whole { which, options, share, taken, changed, begun, just_begun: false, counts }
    }

    /// Hands over files by name and content until `take` says that it is enough (`false`) or there
    /// are no more.
    pub fn fill(&mut self, mut take: impl FnMut(&str, &[u8]) -> bool) -> Result<Filled, TailError> {
        let (mut found, root) = self.list()?;
        self.leave_own(&mut found, &root);
        if found.is_empty() && self.options.until_end && self.taken.is_empty() {
            let path = match &self.which {
                Which::One(path) => path.clone(),
                Which::Many(pattern) => pattern.text().to_string().into(),
            };
            return Err(TailError::Missing { path });
        }
        self.forget(&found, &root);
        found.sort_by_key(|file| file.metadata.modified().ok());
        let passed_over = !self.begun && self.options.start_at_end;
        self.just_begun |= passed_over;
        self.begun = true;
        for file in &found {
            let name = name(file, &root);
            let (bytes, modified_ns) = (file.metadata.len(), modified_ns(file));
            let before = self.taken.get(&name).copied();
            if before.is_some_and(|one| (one.bytes, one.modified_ns) == (bytes, modified_ns))
                || !self.options.until_end && !is_complete(file)
            {
                continue;
            }
            let content = match self.read(file) {
                Ok(Some(content)) => content,
                Ok(None) => continue,
                Err(error) if self.options.skip_bad => {
                    warn!("left out: {error}");
                    self.counts.skipped += 1;
                    self.note(name, Content { bytes, modified_ns, crc: 0 });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let crc = crc32c::crc32c(&content);
            self.note(name.clone(), Content { bytes, modified_ns, crc });
            if passed_over || before.is_some_and(|one| one.crc == crc) {
                continue;
            }
            self.counts.bytes += content.len() as u64;
            if !take(&name, &content) {
                return Ok(Filled::More);
            }
        }
        Ok(if self.options.until_end { Filled::End } else { Filled::Drained })
    }

    /// Leaves those files that are this task's.
    fn leave_own(&self, found: &mut Vec<Found>, root: &Path) {
        let part = |file: &Found| Part {
            key: fnv1a(name(file, root).as_bytes()),
            family: file.path.clone(),
            bytes: file.metadata.len(),
        };
        let mut owned = self.share.owned(&found.iter().map(part).collect::<Vec<_>>()).into_iter();
        found.retain(|_| owned.next().unwrap_or(false));
    }

    fn list(&self) -> Result<(Vec<Found>, PathBuf), TailError> {
        match &self.which {
            Which::Many(pattern) => {
                let root = pattern.root().to_owned();
                Ok((pattern.list().map_err(io_error(&root, "list its files"))?, root))
            }
            Which::One(path) => {
                let root = super::tail::directory(path).to_owned();
                match std::fs::metadata(path) {
                    Ok(metadata) if metadata.is_file() => {
                        Ok((vec![Found { path: path.clone(), metadata }], root))
                    }
                    Ok(_) => Err(TailError::NotAFile { path: path.clone() }),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok((Vec::new(), root)),
                    Err(error) => Err(io_error(path, "look at it")(error)),
                }
            }
        }
    }

    fn note(&mut self, name: String, content: Content) {
        self.changed.push((name.clone(), Some(content)));
        self.taken.insert(name, content);
    }

    fn forget(&mut self, found: &[Found], root: &Path) {
        let excess = self.taken.len().saturating_sub(found.len());
        if excess <= GONE_MAX {
            return;
        }
        let there: std::collections::HashSet<String> =
            found.iter().map(|file| name(file, root)).collect();
        let gone = self.taken.keys().filter(|name| !there.contains(*name));
        for name in gone.take(excess - GONE_MAX).cloned().collect::<Vec<_>>() {
            self.taken.remove(&name);
            self.changed.push((name, None));
        }
    }

    /// A file's content. `None`: it is gone, or is written meanwhile.
    fn read(&self, file: &Found) -> Result<Option<Vec<u8>>, TailError> {
        let failed = |error| io_error(&file.path, "read it")(error);
        let opened = match File::open(&file.path) {
            Ok(opened) => Arc::new(opened),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&file.path, "open it")(error)),
        };
        let compression = match self.options.unpack {
            true => Compression::of_file(&opened).map_err(failed)?,
            false => None,
        };
        let compression = compression.unwrap_or(Compression::None);
        let limit = self.options.bytes_max;
        let mut content = Vec::new();
        if let Some(mut unpacker) = Unpacker::new(&opened, compression).map_err(failed)? {
            unpacker.read_to_end(&mut content, limit + 1).map_err(failed)?;
        } else {
            let mut bounded = io::Read::take(&*opened, limit as u64 + 1);
            io::Read::read_to_end(&mut bounded, &mut content).map_err(failed)?;
        }
        if content.len() > limit {
            let what = format!(
                "it is longer than file.bytes.max = {limit}; raise it (and the topic's \
                 max.message.bytes), or leave such files out with errors.tolerance = all"
            );
            return Err(failed(io::Error::other(what)));
        }
        let now = opened.metadata().map_err(failed)?;
        let unchanged = now.len() == file.metadata.len()
            && now.modified().ok() == file.metadata.modified().ok();
        Ok(unchanged.then_some(content))
    }

    /// Why nothing can be taken. One file that is gone after it was taken is nothing unusual.
    pub fn missing(&self) -> Option<String> {
        match &self.which {
            Which::One(path) if self.taken.is_empty() && !path.exists() => {
                Some(format!("{}: there is no such file; it is waited for", path.display()))
            }
            Which::Many(pattern) if !pattern.root().is_dir() => {
                let (pattern, root) = (pattern.text(), pattern.root().display());
                Some(format!("{pattern}: there is no directory {root}; it is waited for"))
            }
            _ => None,
        }
    }

    /// Whether files were looked for the first time since the last call.
    pub fn take_begun(&mut self) -> bool {
        std::mem::take(&mut self.just_begun)
    }

    /// Files whose content was taken since the last call; without it, one is forgotten.
    pub fn take_changed(&mut self) -> Vec<(String, Option<Content>)> {
        std::mem::take(&mut self.changed)
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

fn name(file: &Found, root: &Path) -> String {
    file.path.strip_prefix(root).unwrap_or(&file.path).to_string_lossy().into_owned()
}

fn modified_ns(file: &Found) -> u64 {
    let modified = file.metadata.modified().ok();
    let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}

fn is_complete(file: &Found) -> bool {
    let modified = file.metadata.modified().ok();
    modified.is_none_or(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age >= COMPLETE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(dir: &Path, options: WholeOptions, taken: BTreeMap<String, Content>) -> Whole {
        let pattern = Pattern::new(dir).unwrap().unwrap();
        Whole::new(Which::Many(pattern), options, taken, false, Share::All)
    }

    fn drain(whole: &mut Whole) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut take = |name: &str, content: &[u8]| {
            files.push((name.to_owned(), String::from_utf8(content.to_vec()).unwrap()));
            files.len() < 2
        };
        while whole.fill(&mut take).unwrap() == Filled::More {}
        files
    }

    const OPTIONS: WholeOptions = WholeOptions {
        bytes_max: 10,
        skip_bad: false,
        until_end: true,
        start_at_end: false,
        unpack: true,
    };

    #[test]
    fn each_content_is_taken_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), format!("in {name}\n")).unwrap();
        }
        let mut files = whole(dir.path(), OPTIONS, BTreeMap::new());
        assert_eq!(drain(&mut files).len(), 3);
        assert_eq!(drain(&mut files), []);
        let stored: BTreeMap<_, _> = files
            .take_changed()
            .into_iter()
            .map(|(name, content)| {
                let json = content.unwrap().to_json();
                (name, Content::from_json(&json).unwrap())
            })
            .collect();
        std::fs::write(dir.path().join("a"), "other\n").unwrap();
        // Written again, with nothing new.
        std::fs::write(dir.path().join("b"), "in b\n").unwrap();
        let mut files = whole(dir.path(), OPTIONS, stored);
        assert_eq!(drain(&mut files), [("a".to_owned(), "other\n".to_owned())]);
    }

    #[test]
    fn one_that_is_written_right_now_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        let follow = WholeOptions { until_end: false, ..OPTIONS };
        let mut files = whole(dir.path(), follow, BTreeMap::new());
        assert_eq!(drain(&mut files), []);
        let file = File::options().write(true).open(dir.path().join("a")).unwrap();
        file.set_modified(SystemTime::now() - 2 * COMPLETE).unwrap();
        assert_eq!(drain(&mut files), [("a".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn one_that_is_too_long_is_an_error_or_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "12345678901").unwrap();
        std::fs::write(dir.path().join("b"), "1234567890").unwrap();
        let mut files = whole(dir.path(), OPTIONS, BTreeMap::new());
        let error = files.fill(|_, _| true).unwrap_err().to_string();
        assert!(error.contains("longer than file.bytes.max = 10; raise it"), "{error}");
        let tolerant = WholeOptions { skip_bad: true, ..OPTIONS };
        let mut files = whole(dir.path(), tolerant, BTreeMap::new());
        assert_eq!(drain(&mut files).len(), 1);
        assert_eq!(files.take_counts().skipped, 1);
    }
}
