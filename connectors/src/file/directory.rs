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
//!   Where the text is no longer to be had otherwise, reading goes on in the copy. A text is of
//!   the families of all names that its file was seen by, which are stored with it.
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
use super::share::{Part, Share};
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
/// Families of names that a file had before it was renamed.
const FORMER_MAX: usize = 8;
/// A file that was not written for so long is not being copied.
const COPYING: Duration = Duration::from_secs(2);

/// Files being followed.
pub struct Directory {
    pattern: Pattern,
    options: ReadOptions,
    /// There may be others that share the work.
    share: Share,
    /// How the files begin, as of that length and time.
    keys: HashMap<FileId, (Seen, u64)>,
    /// Files of which too little is there to say whose they are. They are kept open, since one
    /// that is deleted is somebody's to the end.
    short: HashMap<FileId, Short>,
    texts: Vec<Text>,
    /// The text that is being read.
    current: usize,
    reads: usize,
    /// Files that need no second look while they are as they were.
    settled: HashMap<FileId, Seen>,
    /// How long after its last write a file may still be a copy being made.
    copying: Duration,
    /// Whether there was a scan, in this process or before.
    begun: bool,
    just_begun: bool,
    scan_due: bool,
    waits: bool,
    counts: Counts,
    forgotten: Vec<SourcePartition>,
}

/// What is stored of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where it was last.
    pub path: PathBuf,
    /// The families of names that its file had before.
    pub former: Vec<PathBuf>,
    pub at: Position,
}

/// A file as it was at the last look.
struct Short {
    file: Found,
    opened: Open,
    /// All that was in it.
    content: Vec<u8>,
}

/// A file's length and time of its last change.
type Seen = (u64, Option<SystemTime>);

/// What a file holds, or held.
#[derive(Debug)]
struct Text {
    partition: SourcePartition,
    /// Whether this task has read of it; others' are known as they were at the start.
    own: bool,
    family: PathBuf,
    former: Vec<PathBuf>,
    path: PathBuf,
    /// As of when it was open last.
    at: Position,
    stored: Option<Known>,
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
    seen: Seen,
    aliases: Vec<FileId>,
}

impl Text {
    fn is_of(&self, family: &Path) -> bool {
        self.family == family || self.former.iter().any(|former| former == family)
    }

    /// Its file is called that now.
    fn is_called(&mut self, path: &Path) {
        let family = rotation::family(path);
        if family != self.family {
            let before = std::mem::replace(&mut self.family, family);
            self.was_of(before);
            self.former.retain(|former| *former != self.family);
        }
        path.clone_into(&mut self.path);
    }

    fn was_of(&mut self, family: PathBuf) {
        self.former.retain(|former| *former != family);
        self.former.push(family);
        if self.former.len() > FORMER_MAX {
            self.former.remove(0);
        }
    }

    /// A file of that number has that name: if it is its own, it was renamed.
    fn is_seen(&mut self, id: FileId, path: &Path) {
        if self.is_at(id) {
            if self.path != path {
                info!("{}: renamed to {}", self.path.display(), path.display());
                self.is_called(path);
            }
            return;
        }
        let inode = self.at.identity.map(|(id, _)| id.inode);
        if self.open.is_none() && !self.ended && inode == Some(id.inode) {
            let family = rotation::family(path);
            if !self.is_of(&family) {
                self.was_of(family);
            }
        }
    }

    fn known(&self) -> Known {
        Known { path: self.path.clone(), former: self.former.clone(), at: self.place() }
    }

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
        stored: BTreeMap<SourcePartition, Known>,
        begun: bool,
        share: Share,
    ) -> Directory {
        let texts = stored.into_iter().map(|(partition, known)| Text {
            partition,
            own: false,
            family: rotation::family(&known.path),
            former: known.former.clone(),
            path: known.path.clone(),
            at: known.at.clone(),
            stored: Some(known),
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
            keys: HashMap::new(),
            short: HashMap::new(),
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
                // It may be another task's now.
                self.keys.remove(&open.id);
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
        // All renames come before any file is compared with what is known by its names.
        for file in &found {
            let id = FileId::of(&file.metadata);
            self.texts.iter_mut().for_each(|text| text.is_seen(id, &file.path));
        }
        let mut waiting = HashSet::new();
        if !self.share.is_all() {
            found = self.leave_own(found, &ids, &with_content, &mut waiting)?;
        }
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

    /// Leaves those files that are this task's.
    fn leave_own(
        &mut self,
        found: Vec<Found>,
        ids: &HashSet<FileId>,
        with_content: &HashMap<PathBuf, FileId>,
        waiting: &mut HashSet<PathBuf>,
    ) -> Result<Vec<Found>, TailError> {
        self.keys.retain(|id, _| ids.contains(id));
        let begun = self.texts.iter().filter_map(|text| text.open.as_ref()).map(|open| open.id);
        let begun: HashSet<FileId> = begun.collect();
        let (mut own, mut files, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for file in found {
            let (id, family) = (FileId::of(&file.metadata), rotation::family(&file.path));
            let successor = with_content.get(&family).is_some_and(|one| *one != id);
            let over = rotation::is_rotated(&file.path) && successor;
            match self.key(&file, begun.contains(&id), over) {
                Some(key) => {
                    parts.push(Part { key, family, bytes: file.metadata.len() });
                    files.push(file);
                }
                // What was begun is gone on with until it is seen to be another.
                None if begun.contains(&id) => own.push(file),
                None => {}
            }
        }
        let deleted = self.short.extract_if(|id, _| !ids.contains(id)).map(|(_, one)| one);
        // What holds another text by now was emptied, perhaps after it was renamed: that text is
        // not known, and may have been copied.
        let same = |one: &Short| {
            opened_begins(&one.opened, &one.content).map_err(io_error(&one.file.path, "read it"))
        };
        let mut gone = Vec::new();
        for one in deleted.collect::<Vec<Short>>() {
            if same(&one)? {
                gone.push(one);
            }
        }
        for Short { file, opened, .. } in &gone {
            let beginning = opened.beginning(&self.options);
            let key = beginning.map_err(io_error(&file.path, "read it"))?.hash;
            let family = rotation::family(&file.path);
            parts.push(Part { key, family, bytes: file.metadata.len() });
        }
        let mut owned = self.share.owned(&parts).into_iter();
        for (file, owned) in files.into_iter().zip(&mut owned) {
            if owned || begun.contains(&FileId::of(&file.metadata)) {
                own.push(file);
            }
        }
        for (one, _) in gone.into_iter().zip(owned).filter(|(_, owned)| *owned) {
            self.look_at_deleted(one.file, one.opened, waiting)?;
        }
        Ok(own)
    }

    /// By what a file is shared out. `None`: that cannot be told yet, or there is nothing in it.
    fn key(&mut self, file: &Found, begun: bool, over: bool) -> Option<u64> {
        let id = FileId::of(&file.metadata);
        let seen = (file.metadata.len(), file.metadata.modified().ok());
        if let Some((at, key)) = self.keys.get(&id)
            && (*at == seen || begun)
        {
            return Some(*key);
        }
        self.keys.remove(&id);
        if seen.0 == 0 {
            return None;
        }
        let opened = match open(&file.path, &self.options) {
            Ok(Some(opened)) if opened.id == id => opened,
            // Another one by now, or gone: at the next look.
            Ok(_) => return None,
            // One task is to say so.
            Err(_) => return Some(0),
        };
        let Ok(beginning) = opened.beginning(&self.options) else { return Some(0) };
        if !beginning.is_complete && !over && !self.options.until_end {
            if self.short.contains_key(&id) || self.short.len() < IDLE_OPEN_MAX {
                let content = opened.first_bytes(HEAD_BYTES).unwrap_or_default();
                self.short.insert(id, Short { file: file.clone(), opened, content });
            }
            return None;
        }
        self.short.remove(&id);
        self.keys.insert(id, (seen, beginning.hash));
        Some(beginning.hash)
    }

    /// Reads what is gone before it was known whose it is.
    fn look_at_deleted(
        &mut self,
        file: Found,
        opened: Open,
        waiting: &mut HashSet<PathBuf>,
    ) -> Result<(), TailError> {
        let id = opened.id;
        if self.identify(&file, opened, waiting)? {
            for text in self.texts.iter_mut().filter(|text| text.is_at(id)) {
                (text.over, text.linked, text.present) = (true, false, false);
            }
        }
        Ok(())
    }

    fn look_at(&mut self, file: Found, waiting: &mut HashSet<PathBuf>) -> Result<(), TailError> {
        let id = FileId::of(&file.metadata);
        let (len, modified) = (file.metadata.len(), file.metadata.modified().ok());
        if let Some(text) = self.texts.iter_mut().find(|text| text.is_at(id)) {
            if text.seen != (len, modified) {
                (text.seen, text.drained) = ((len, modified), false);
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
            own: true,
            family,
            former: Vec::new(),
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
        text.is_called(&file.path);
        text.own = true;
        (text.open, text.linked, text.present) = (Some(opened), true, true);
        (text.drained, text.over) = (false, false);
        text.seen = (file.metadata.len(), file.metadata.modified().ok());
    }

    /// Which text of the family a file is a copy of.
    fn find_copied(&self, family: &Path, opened: &Open) -> std::io::Result<Copied> {
        let mut result = Copied::No;
        let of_family = |text: &Text| text.is_of(family) && text.place().bytes > 0;
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
            |text: &Text| text.is_of(family) && (!text.compared || text.over && !text.drained);
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

    /// What has changed since the last call; without anything, it is forgotten.
    pub fn take_changed(&mut self) -> Vec<(SourcePartition, Option<Known>)> {
        let mut changed: Vec<_> =
            std::mem::take(&mut self.forgotten).into_iter().map(|one| (one, None)).collect();
        for text in self.texts.iter_mut().filter(|text| text.own) {
            let known = text.known();
            if known.at.bytes > 0 && text.stored.as_ref() != Some(&known) {
                text.stored = Some(known.clone());
                changed.push((text.partition.clone(), Some(known)));
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

/// Whether a file that is open still begins so.
fn opened_begins(opened: &Open, content: &[u8]) -> std::io::Result<bool> {
    Ok(opened.first_bytes(content.len())? == content)
}

fn is_younger(file: &Found, limit: Duration) -> bool {
    let modified = file.metadata.modified().ok();
    let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    age.is_none_or(|age| age < limit)
}

#[cfg(test)]
mod tests;
