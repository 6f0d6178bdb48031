//! What a directory of rolled files holds of one topic partition.
//!
//! ```json
//! {"version": 1, "topic": "t", "partition": 0, "id": "…", "offset": 42, "generation": 7,
//!  "files": [{"from": "7-0", "to": "day=02/t+0+0000000017.jsonl"}]}
//! ```
//!
//! All records before `offset` are in files that are complete. `files` are those that became so
//! together: where one still has its temporary name, it is given the other, which may be done any
//! number of times.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tail::directory;

/// The form's version; a later one is refused.
const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    version: u32,
    pub topic: String,
    pub partition: i32,
    pub id: Option<String>,
    pub offset: i64,
    pub generation: u64,
    pub files: Vec<Rename>,
}

/// A file that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Its name among the temporary ones.
    pub from: String,
    /// Its path in the directory.
    pub to: String,
}

impl Journal {
    pub fn new(topic: &str, partition: i32) -> Journal {
        let (topic, files) = (topic.to_owned(), Vec::new());
        Journal { version: VERSION, topic, partition, id: None, offset: 0, generation: 0, files }
    }

    /// `None` if there is none; an error of kind `InvalidData` if it is not one.
    pub fn read(path: &Path) -> io::Result<Option<Journal>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let journal: Journal = serde_json::from_slice(&bytes)?;
        if journal.version != VERSION {
            let version = journal.version;
            let reason = format!("it is of version {version}; this one knows {VERSION}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Some(journal))
    }

    /// Replaces it, atomically and durably. What it speaks of must be durable already.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let aside = PathBuf::from(format!("{}.new", path.display()));
        let mut file = File::create(&aside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        File::open(directory(path))?.sync_all()
    }

    /// Gives the files their names, those that have them not yet.
    pub fn rename_files(&self, temporary: &Path, root: &Path) -> io::Result<()> {
        let mut directories = Vec::new();
        for Rename { from, to } in &self.files {
            let (from, to) = (temporary.join(from), root.join(to));
            let into = directory(&to).to_owned();
            if !from.exists() {
                continue;
            }
            create_dirs(&into, root)?;
            fs::rename(&from, &to)?;
            if !directories.contains(&into) {
                directories.push(into);
            }
        }
        directories.iter().try_for_each(|dir| File::open(dir)?.sync_all())
    }
}

/// Creates a directory below `root`, and makes that durable all the way.
fn create_dirs(dir: &Path, root: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|_| dir != root) {
        create_dirs(parent, root)?;
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        return File::open(parent)?.sync_all();
    }
    fs::create_dir_all(dir)
}
