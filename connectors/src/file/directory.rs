//! Following all files that a pattern names.
//!
//! ```text
//! scan ─► files ─► which of the texts that are known is it? ─┬─ one: go on in it
//!   ▲                                                        ├─ a copy: not read twice
//!   │                                                        └─ none: a new one
//!   └────────────── read them one after the other, oldest first ◄─┘
//! ```
//!
//! A *text* is what a file holds between being created or emptied and being emptied or deleted.
//! Each has a partition of its own in the stored offsets, and is known by where it is on disk and
//! how it begins; after that by its checksum as far as it was read, so that it is known under
//! another name, as a copy and compressed too.
//!
//! Rules, beside those of [`tail`](super::tail):
//! - A file that is renamed stays the text that it is. It is read to its end, also if it has left
//!   the pattern or was deleted, as long as this process runs.
//! - A new file whose name says that it was rotated (see [`rotation`]) and that holds all that was
//!   read of a text of its family is a copy of it: copied before it was emptied, or compressed.
//!   Where the text is no longer to be had otherwise, reading goes on in the copy.
//! - A copy that is still being written is waited for.
//! - A last line without a newline is held back until the file is over: rotated away, with
//!   content at the place where it was; or deleted; or compressed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::identity::{FileId, HEAD_BYTES, Head};
use super::open::{Counts, Holds, Open, Piece, Read, ReadOptions, Taken};
use super::pattern::{Found, Pattern};
use super::position::Position;
use super::rotation;
use super::share::Share;
use super::tail::{Filled, TailError, Went, io_error, open, went};
use crate::offsets::SourcePartition;

/// Files that are kept open although all of them was read.
const IDLE_OPEN_MAX: usize = 128;
/// Texts without a file that are remembered, so that a copy of one is known.
const GONE_MAX: usize = 1_000;
/// Reads of one file before it is another's turn.
const READS_IN_A_ROW: usize = 512;
/// Reads after which [`Directory::fill`] returns even if there was nothing to hand over.
const READS_PER_FILL: usize = 16;
/// A file that was not written for so long is not being copied.
const COPYING: Duration = Duration::from_secs(2);

/// Files being followed.
pub struct Directory {
    pattern: Pattern,
    options: ReadOptions,
    /// There may be others that share the work.
    share: Share,
    texts: Vec<Text>,
    /// The text that is being read.
    current: usize,
    reads: usize,
    /// Files that need no second look while they are as they were.
    settled: HashMap<FileId, (u64, Option<SystemTime>)>,
    /// Whether there was a scan, in this process or before.
    /// How long after its last write a file may still be a copy being made.
    copying: Duration,
    begun: bool,
    just_begun: bool,
    scan_due: bool,
    waits: bool,
    counts: Counts,
    forgotten: Vec<SourcePartition>,
}

/// What a file holds, or held.
#[derive(Debug)]
struct Text {
    partition: SourcePartition,
    family: PathBuf,
    path: PathBuf,
    /// As of when it was open last.
    at: Position,
    stored: Option<Position>,
    open: Option<Open>,
    /// All that is there was read.
    drained: bool,
    /// All that was there was read at least once: its position is far enough to compare copies.
    compared: bool,
    /// No more will be written to the file.
    over: bool,
    /// The file holds another text now.
    ended: bool,
    /// The file that is open is still there under some name.
    linked: bool,
    /// There is a file of it, or a copy.
    present: bool,
    /// The file's length and time at the last look.
    seen: (u64, Option<SystemTime>),
    aliases: Vec<FileId>,
}

impl Text {
    fn place(&self) -> Position {
        self.open.as_ref().map_or_else(|| self.at.clone(), Open::place)
    }

    fn close(&mut self) {
        self.at = self.place();
        self.open = None;
    }

    /// Whether the file that is open holds all of it.
    fn is_to_be_had(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.is_cut())
    }

    fn is_at(&self, id: FileId) -> bool {
        self.open.as_ref().is_some_and(|open| open.id == id)
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("texts", &self.texts).finish_non_exhaustive()
    }
}

impl Directory {
    /// Goes on from what is stored. `begun` says that there was a scan before.
    pub fn new(
        pattern: Pattern,
        options: ReadOptions,
        stored: BTreeMap<SourcePartition, (PathBuf, Position)>,
        begun: bool,
        share: Share,
    ) -> Directory {
        let texts = stored.into_iter().map(|(partition, (path, at))| Text {
            partition,
            family: rotation::family(&path),
            path,
            stored: Some(at.clone()),
            at,
            open: None,
            drained: true,
            compared: true,
            over: false,
            ended: false,
            linked: false,
            present: false,
            seen: (0, None),
            aliases: Vec::new(),
        });
        Directory {
            pattern,
            options,
            share,
            texts: texts.collect(),
            current: 0,
            reads: 0,
            settled: HashMap::new(),
            copying: COPYING,
            begun,
            just_begun: false,
            scan_due: true,
            waits: false,
            counts: Counts::default(),
            forgotten: Vec::new(),
        }
    }

    /// Something may have happened to the files.
    pub fn look_again(&mut self) {
        self.scan_due = true;
    }

    /// Hands over pieces until `take` says that it is enough for now or there are no more.
    pub fn fill(&mut self, mut take: impl FnMut(Piece<'_>) -> Taken) -> Result<Filled, TailError> {
        for _ in 0..READS_PER_FILL {
            if self.scan_due {
                self.scan()?;
            }
            let Some(index) = self.next() else {
                self.tidy();
                return self.drained();
            };
            match self.read(index, &mut take) {
                Ok(Went::On) => {}
                Ok(Went::Enough) => return Ok(Filled::More),
                Err(error @ TailError::Io { .. }) if self.options.skip_bad => {
                    warn!("left out until it changes: {error}");
                    self.counts.skipped += 1;
                    let text = &mut self.texts[index];
                    let id = text.open.as_ref().map(|open| open.id);
                    self.settled.extend(id.map(|id| (id, text.seen)));
                    text.drained = true;
                    text.close();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Filled::More)
    }

    fn drained(&mut self) -> Result<Filled, TailError> {
        if self.waits {
            // What waited to be compared can be now.
            self.waits = false;
            self.scan_due = true;
            return Ok(Filled::More);
        }
        if !self.options.until_end {
            return Ok(Filled::Drained);
        }
        if self.texts.is_empty() && self.settled.is_empty() {
            return Err(TailError::Missing { path: self.pattern.text().to_string().into() });
        }
        let cut = self.texts.iter().find(|text| text.open.as_ref().is_some_and(Open::is_cut));
        match cut {
            Some(text) => Err(TailError::Cut { path: text.path.clone() }),
            None => Ok(Filled::End),
        }
    }

    /// The text to read from now.
    fn next(&mut self) -> Option<usize> {
        let has_more = |text: &Text| !text.drained && text.open.is_some();
        if self.reads >= READS_IN_A_ROW {
            self.reads = 0;
            self.current += 1;
        }
        let found = (self.current..self.texts.len())
            .chain(0..self.current.min(self.texts.len()))
            .find(|index| has_more(&self.texts[*index]))?;
        if found != self.current {
            (self.current, self.reads) = (found, 0);
        }
        self.reads += 1;
        Some(found)
    }

    fn read(
        &mut self,
        index: usize,
        take: &mut impl FnMut(Piece<'_>) -> Taken,
    ) -> Result<Went, TailError> {
        let (options, counts) = (&self.options, &mut self.counts);
        let text = &mut self.texts[index];
        let open = text.open.as_mut().expect("only open ones are read");
        let pieces = open.take(options, counts, take);
        if went(&text.path, options, open, pieces)? == Went::Enough {
            return Ok(Went::Enough);
        }
        match open.read().map_err(io_error(&text.path, "read it"))? {
            Read::Some => Ok(Went::On),
            Read::Emptied => {
                info!("{}: emptied or rewritten", text.path.display());
                text.close();
                (text.ended, text.drained, text.compared) = (true, true, true);
                self.settled.retain(|id, _| !text.aliases.contains(id));
                text.aliases.clear();
                self.scan_due = true;
                Ok(Went::On)
            }
            Read::Nothing => {
                (text.drained, text.compared) = (true, true);
                let mut went_on = Went::On;
                if options.until_end || text.over || open.is_unpacked() {
                    let pieces = open.finish(options, counts, take);
                    let pieces = pieces.map_err(io_error(&text.path, "read it"))?;
                    went_on = went(&text.path, options, open, pieces)?;
                }
                open.shrink();
                if !text.linked {
                    text.close();
                }
                Ok(went_on)
            }
        }
    }

    /// Looks at which files there are, and what has become of those that are known.
    fn scan(&mut self) -> Result<(), TailError> {
        self.scan_due = false;
        let root = self.pattern.root();
        let mut found = self.pattern.list().map_err(io_error(root, "list its files"))?;
        self.share.retain(&mut found);
        found.sort_by_key(|file| file.metadata.modified().ok());
        let ids: HashSet<FileId> = found.iter().map(|file| FileId::of(&file.metadata)).collect();
        let inodes: HashSet<u64> = ids.iter().map(|id| id.inode).collect();
        self.settled.retain(|id, _| ids.contains(id));
        for text in &mut self.texts {
            text.linked = text.open.as_ref().is_some_and(|open| ids.contains(&open.id));
            let inode = text.at.identity.map(|(id, _)| id.inode);
            let closed = text.open.is_none() && !text.ended;
            text.present = text.linked
                || text.aliases.iter().any(|id| ids.contains(id))
                || closed && inode.is_some_and(|inode| inodes.contains(&inode));
            if text.open.is_some() && !text.linked {
                // Renamed out of sight or deleted: read to its end, then closed.
                (text.over, text.drained) = (true, false);
            }
        }
        let with_content: HashMap<PathBuf, FileId> = found
            .iter()
            .filter(|file| file.metadata.len() > 0)
            .map(|file| (file.path.clone(), FileId::of(&file.metadata)))
            .collect();
        let mut waiting = HashSet::new();
        for file in found {
            self.look_at(file, &mut waiting)?;
        }
        for text in self.texts.iter_mut().filter(|text| !text.over) {
            let Some(open) = &text.open else { continue };
            // The writer has moved on: what it wrote until then is there.
            let successor = with_content.get(&text.family).is_some_and(|id| *id != open.id);
            if successor && rotation::is_rotated(&text.path) {
                (text.over, text.drained) = (true, false);
            }
        }
        self.waits = !waiting.is_empty();
        self.just_begun |= !self.begun && self.options.start_at_end;
        self.begun = true;
        Ok(())
    }

    fn look_at(&mut self, file: Found, waiting: &mut HashSet<PathBuf>) -> Result<(), TailError> {
        let id = FileId::of(&file.metadata);
        let (len, modified) = (file.metadata.len(), file.metadata.modified().ok());
        if let Some(text) = self.texts.iter_mut().find(|text| text.is_at(id)) {
            if text.seen != (len, modified) {
                (text.seen, text.drained) = ((len, modified), false);
            }
            if text.path != file.path {
                info!("{}: renamed to {}", text.path.display(), file.path.display());
                text.path = file.path;
                text.family = rotation::family(&text.path);
            }
            return Ok(());
        }
        if len == 0 || self.settled.get(&id) == Some(&(len, modified)) {
            return Ok(());
        }
        let identified = match open(&file.path, &self.options) {
            Ok(Some(opened)) if opened.id == id => self.identify(&file, opened, waiting),
            // Another one by now, or gone: at the next look.
            Ok(_) => return Ok(()),
            Err(error) => Err(error),
        };
        match identified {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) if self.options.skip_bad => {
                warn!("left out until it changes: {error}");
                self.counts.skipped += 1;
            }
            Err(error) => return Err(error),
        }
        self.settled.insert(id, (len, modified));
        Ok(())
    }

    /// Finds out which text it is. `false`: that cannot be told yet.
    fn identify(
        &mut self,
        file: &Found,
        mut opened: Open,
        waiting: &mut HashSet<PathBuf>,
    ) -> Result<bool, TailError> {
        let options = self.options;
        let failed = |error| io_error(&file.path, "read it")(error);
        let same_inode = |text: &Text| {
            let known = text
                .at
                .identity
                .is_some_and(|(id, head)| id.inode == opened.id.inode && head.bytes > 0);
            // Of what nothing was read, nothing is known.
            known && text.at.bytes > 0 && text.open.is_none() && !text.ended
        };
        let candidates: Vec<usize> =
            (0..self.texts.len()).filter(|at| same_inode(&self.texts[*at])).collect();
        for index in candidates {
            let at = self.texts[index].at.clone();
            if opened.resume(&at, &options).map_err(failed)? {
                self.attach(index, opened, file);
                return Ok(true);
            }
            // What it held is over: emptied, or the number given to another file.
            self.texts[index].ended = true;
        }
        let family = rotation::family(&file.path);
        if waiting.contains(&family) {
            // Not before one that is older.
            return Ok(false);
        }
        if opened.is_packed() || rotation::is_rotated(&file.path) {
            match self.find_copied(&family, &opened).map_err(failed)? {
                Copied::Of(index) if self.texts[index].is_to_be_had() => {
                    self.texts[index].aliases.push(opened.id);
                    return Ok(true);
                }
                Copied::Of(index) => {
                    let at = self.texts[index].at.clone();
                    opened.adopt(&at, &options).map_err(failed)?;
                    info!(
                        "{}: holds what was read of {}",
                        file.path.display(),
                        self.texts[index].path.display()
                    );
                    self.attach(index, opened, file);
                    return Ok(true);
                }
                Copied::LookAgain => {
                    waiting.insert(family);
                    return Ok(false);
                }
                Copied::NotYet if !options.until_end && is_younger(file, self.copying) => {
                    return Ok(false);
                }
                Copied::NotYet | Copied::No => {}
            }
        }
        self.begin(file, family, opened)
    }

    /// Begins a text that is new.
    fn begin(
        &mut self,
        file: &Found,
        family: PathBuf,
        mut opened: Open,
    ) -> Result<bool, TailError> {
        let failed = |error| io_error(&file.path, "read it")(error);
        let head = Head::new(opened.first_bytes(HEAD_BYTES).map_err(failed)?);
        if head.fingerprint().bytes == 0 && !self.options.until_end {
            // Compressed, and too little of it there.
            return Ok(false);
        }
        if !self.begun && self.options.start_at_end {
            opened.go_to_end(&self.options, true).map_err(failed)?;
        } else {
            // Known from now on, also if nothing of it is read before it is seen again.
            opened.head = head.clone();
        }
        let name = file.path.strip_prefix(self.pattern.root()).unwrap_or(&file.path);
        let partition = self.partition(name, opened.id, &head);
        self.texts.push(Text {
            partition,
            family,
            path: file.path.clone(),
            at: opened.place(),
            stored: None,
            open: Some(opened),
            drained: false,
            compared: false,
            over: false,
            ended: false,
            linked: true,
            present: true,
            seen: (file.metadata.len(), file.metadata.modified().ok()),
            aliases: Vec::new(),
        });
        Ok(true)
    }

    /// A name for a new text that no other has.
    fn partition(&self, name: &Path, id: FileId, head: &Head) -> SourcePartition {
        let (name, inode) = (name.to_string_lossy(), id.inode.to_string());
        let fingerprint = format!("{:016x}", head.fingerprint().hash);
        let mut fields =
            vec![("filename", &*name), ("inode", &*inode), ("fingerprint", &*fingerprint)];
        let partition = SourcePartition::new(&fields);
        let is_taken = |one: &SourcePartition| self.texts.iter().any(|text| text.partition == *one);
        if !is_taken(&partition) {
            return partition;
        }
        // An earlier one in the same file began alike.
        let numbers = (2u64..).map(|number| number.to_string());
        for number in numbers {
            fields.truncate(3);
            let mut numbered = fields.clone();
            numbered.push(("life", &number));
            let partition = SourcePartition::new(&numbered);
            if !is_taken(&partition) {
                return partition;
            }
        }
        unreachable!("there are fewer texts than numbers")
    }

    fn attach(&mut self, index: usize, opened: Open, file: &Found) {
        let text = &mut self.texts[index];
        text.path = file.path.clone();
        text.family = rotation::family(&text.path);
        (text.open, text.linked, text.present) = (Some(opened), true, true);
        (text.drained, text.over) = (false, false);
        text.seen = (file.metadata.len(), file.metadata.modified().ok());
    }

    /// Which text of the family a file is a copy of.
    fn find_copied(&self, family: &Path, opened: &Open) -> std::io::Result<Copied> {
        let mut result = Copied::No;
        let of_family = |text: &Text| text.family == family && text.place().bytes > 0;
        // What is no longer to be had in a file of its own comes first.
        let mut indexes: Vec<usize> =
            (0..self.texts.len()).filter(|at| of_family(&self.texts[*at])).collect();
        indexes.sort_by_key(|at| self.texts[*at].open.is_some());
        for index in indexes {
            let text = &self.texts[index];
            match opened.holds(&text.place())? {
                Holds::Yes if text.compared => return Ok(Copied::Of(index)),
                Holds::Yes => result = Copied::LookAgain,
                Holds::NotYet if result == Copied::No => result = Copied::NotYet,
                _ => {}
            }
        }
        // A text of which more is about to be read may be the one as well.
        let unread =
            |text: &Text| text.family == family && (!text.compared || text.over && !text.drained);
        if self.texts.iter().any(unread) {
            result = Copied::LookAgain;
        }
        Ok(result)
    }

    /// Closes what is idle and forgets what is long gone.
    fn tidy(&mut self) {
        let idle = |text: &Text| text.open.is_some() && text.drained && text.linked;
        let mut excess =
            self.texts.iter().filter(|text| idle(text)).count().saturating_sub(IDLE_OPEN_MAX);
        let settled = &mut self.settled;
        for text in self.texts.iter_mut().filter(|text| idle(text)) {
            let open = text.open.as_ref().expect("idle ones are open");
            // What is compressed does not grow.
            if excess > 0 || open.is_unpacked() {
                excess = excess.saturating_sub(1);
                settled.insert(open.id, text.seen);
                text.close();
            }
        }
        let gone = |text: &Text| text.open.is_none() && !text.present;
        let mut excess =
            self.texts.iter().filter(|text| gone(text)).count().saturating_sub(GONE_MAX);
        let forgotten = &mut self.forgotten;
        self.texts.retain(|text| {
            let forget = excess > 0 && gone(text);
            if forget {
                excess -= 1;
                forgotten.push(text.partition.clone());
            }
            !forget
        });
        self.current = self.current.min(self.texts.len());
    }

    /// Why there are no files: the directory that they are looked for in is not there.
    pub fn missing(&self) -> Option<String> {
        let root = self.pattern.root();
        (!root.is_dir()).then(|| {
            let (pattern, root) = (self.pattern.text(), root.display());
            format!("{pattern}: there is no directory {root}; it is waited for")
        })
    }

    /// Whether files were looked for the first time since the last call, where that matters.
    pub fn take_begun(&mut self) -> bool {
        std::mem::take(&mut self.just_begun)
    }

    /// The positions that have changed since the last call; without one, it is forgotten.
    pub fn take_positions(&mut self) -> Vec<(SourcePartition, Option<(PathBuf, Position)>)> {
        let mut changed: Vec<_> =
            std::mem::take(&mut self.forgotten).into_iter().map(|one| (one, None)).collect();
        for text in &mut self.texts {
            let place = text.place();
            if place.bytes > 0 && text.stored.as_ref() != Some(&place) {
                text.stored = Some(place.clone());
                changed.push((text.partition.clone(), Some((text.path.clone(), place))));
            }
        }
        changed
    }

    /// Bytes that were there at the last look and are not handed over yet.
    pub fn remaining_bytes(&self) -> u64 {
        let open = self.texts.iter().filter_map(|text| text.open.as_ref());
        open.map(Open::remaining_bytes).sum()
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Of(usize),
    /// It is, as far as that was read; or may be of one that was not.
    LookAgain,
    /// It may be, once more of it is there.
    NotYet,
    No,
}

fn is_younger(file: &Found, limit: Duration) -> bool {
    let modified = file.metadata.modified().ok();
    let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_none_or(|age| age < limit)
}

#[cfg(test)]
mod tests;
