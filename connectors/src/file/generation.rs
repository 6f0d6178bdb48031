//! What is being written of one topic partition: files that will be complete together.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker::ids::{Offset, TopicPartition};
use tokio::time::Instant;
use tracing::info;

use super::journal::{Journal, Rename};
use super::output::{OutputError, io_error};
use super::part::{Ended, Part, PartKey};
use super::parts::PartOptions;
use crate::columns::Columns;

/// What is ours in the directory. Hidden, so that nobody takes it for data.
pub const OWN: &str = ".millstream";

/// Files of one topic partition.
pub struct Generation {
    pub journal: Journal,
    journal_path: PathBuf,
    pub temporary: PathBuf,
    /// Held as long as it is ours.
    _lock: File,
    pub files: HashMap<PartKey, Part>,
    /// Files that get no more records, as there are others with more columns.
    ended: Vec<Ended>,
    pub bytes: u64,
    pub records: u64,
    pub since: Option<Instant>,
    /// The offset behind what was put.
    pub next: Offset,
}

impl Generation {
    /// Brings to its end what the journal says, and throws away what it does not know.
    pub fn open(
        root: &Path,
        partition: &TopicPartition,
        id: Option<String>,
    ) -> Result<Generation, OutputError> {
        let own = root.join(OWN);
        let name = format!("{}-{}", partition.topic, partition.partition);
        let lock = locked(&own.join(format!("{name}.lock")))?;
        let journal_path = own.join(format!("{name}.json"));
        let temporary = own.join(&name);
        let journal = Journal::read(&journal_path)
            .map_err(|error| OutputError::Sidecar { path: journal_path.clone(), error })?;
        let new = Journal::new(&partition.topic, partition.partition);
        let mut journal = journal.unwrap_or(new);
        fs::create_dir_all(&temporary).map_err(io_error(&temporary, "create this directory"))?;
        let renamed = journal.rename_files(&temporary, root);
        renamed.map_err(io_error(root, "give its files their names"))?;
        let emptied = fs::remove_dir_all(&temporary).and_then(|()| fs::create_dir(&temporary));
        emptied.map_err(io_error(&temporary, "empty this directory"))?;
        if journal.id.is_some() && id.is_some() && journal.id != id {
            info!("{}: topic '{}' was created anew", root.display(), partition.topic);
            journal.offset = 0;
        }
        journal.id = id.or(journal.id);
        journal.files.clear();
        let next = Offset(journal.offset);
        Ok(Generation {
            journal,
            journal_path,
            temporary,
            _lock: lock,
            files: HashMap::new(),
            ended: Vec::new(),
            bytes: 0,
            records: 0,
            since: None,
            next,
        })
    }

    /// Whether no record is in it.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.ended.is_empty()
    }

    /// The file for such records, begun if there is none.
    pub fn part(
        &mut self,
        key: PartKey,
        first: Offset,
        options: &PartOptions,
        columns: Option<&Arc<Columns>>,
    ) -> Result<&mut Part, OutputError> {
        let number = self.files.len() + self.ended.len();
        Ok(match self.files.entry(key) {
            Entry::Occupied(part) => part.into_mut(),
            Entry::Vacant(vacant) => {
                let from = format!("{}-{number}", self.journal.generation + 1);
                let path = self.temporary.join(&from);
                let part = File::create_new(&path)
                    .and_then(|file| Part::new(file, options, from, first, columns.cloned()));
                self.since.get_or_insert_with(Instant::now);
                vacant.insert(part.map_err(io_error(&path, "create it"))?)
            }
        })
    }

    /// Ends files of records without a schema whose columns can change no more.
    pub fn end_settled(&mut self, inferred: &Columns) -> Result<(), OutputError> {
        let is_settled = |key: &PartKey, part: &mut Part| {
            key.schema.is_none() && part.columns().is_some_and(|file| file.is_settled())
        };
        let settled: Vec<_> = self.files.extract_if(is_settled).collect();
        settled.into_iter().try_for_each(|(key, part)| self.end(key, part, inferred))
    }

    fn end(&mut self, key: PartKey, part: Part, inferred: &Columns) -> Result<(), OutputError> {
        let path = self.temporary.join(&part.from);
        let ended = part.end(key.dir, inferred).map_err(io_error(&path, "make it durable"))?;
        self.ended.push(ended);
        Ok(())
    }

    /// Ends all files, durably, and says what they are to be called.
    pub fn end_all(
        &mut self,
        root: &Path,
        ending: &str,
        inferred: &Columns,
    ) -> Result<(), OutputError> {
        for (key, part) in std::mem::take(&mut self.files) {
            self.end(key, part, inferred)?;
        }
        let (topic, partition) = (&self.journal.topic, self.journal.partition);
        let renames = self.ended.drain(..).map(|Ended { dir, from, first }| {
            let base = format!("{dir}{topic}+{partition}+{:010}", first.0);
            Rename { from, to: free_name(root, &base, ending) }
        });
        let mut renames: Vec<Rename> = renames.collect();
        renames.sort_by(|a, b| a.to.cmp(&b.to));
        self.journal.files = renames;
        self.journal.offset = self.next.0;
        self.journal.generation += 1;
        (self.bytes, self.records, self.since) = (0, 0, None);
        Ok(())
    }

    /// The moment that counts: from here on the files that are ended will be complete.
    pub fn write_journal(&self) -> Result<(), OutputError> {
        File::open(&self.temporary)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error(&self.temporary, "make it durable"))?;
        let written = self.journal.write(&self.journal_path);
        written.map_err(io_error(&self.journal_path, "write it"))
    }
}

/// A name that no file has: offsets may count anew.
fn free_name(root: &Path, base: &str, ending: &str) -> String {
    let first = format!("{base}{ending}");
    if !root.join(&first).exists() {
        return first;
    }
    let numbered = (2u64..).map(|number| format!("{base}-{number}{ending}"));
    numbered.into_iter().find(|name| !root.join(name).exists()).expect("numbers do not end")
}

fn locked(path: &Path) -> Result<File, OutputError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(io_error(path, "open it"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OutputError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error(path, "lock it")(error)),
    }
}
