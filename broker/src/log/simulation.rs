//! A disk in memory that forgets: at a power cut, what was not synced may be there, be gone, be
//! torn at any byte, or be zeros where sectors were not written. It also fails when told to.
//!
//! Contents are durable after `sync_data`, names after `sync_dir`; of names changed since, a
//! prefix survives, as with a journaling file system.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, Metadata};

const SECTOR_LEN: usize = 512;

/// Cheap to clone; all clones are one disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    dirs: std::collections::BTreeSet<PathBuf>,
    now_ms: i64,
    /// Operations that change something, so far.
    steps: u64,
    power_off_at: Option<u64>,
    room: Option<u64>,
    syncs_fail: bool,
    sync_fails_at: Option<u64>,
    writes_tear: bool,
    /// Files being written under another name, and by whom.
    replacements: BTreeMap<PathBuf, std::thread::ThreadId>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    created_ms: i64,
    modified_ms: i64,
}

#[derive(Clone, Debug)]
enum Change {
    Append(Vec<u8>),
    SetLen(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn is_in(&self, dir: &Path) -> bool {
        let (NameChange::Link(path, _) | NameChange::Unlink(path) | NameChange::Rename(_, path)) =
            self;
        path.parent() == Some(dir)
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, inode) => _ = names.insert(path.clone(), *inode),
            NameChange::Unlink(path) => _ = names.remove(path),
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Inode {
    fn apply(contents: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Append(bytes) => contents.extend_from_slice(bytes),
            Change::SetLen(len) => contents.resize(*len as usize, 0),
        }
    }

    fn change(&mut self, change: Change, now_ms: i64) {
        Inode::apply(&mut self.current, &change);
        self.pending.push(change);
        self.modified_ms = now_ms;
    }

    /// What a power cut leaves of it; `choose(n)` decides among 0..n.
    fn after_power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) -> Vec<u8> {
        let mut contents = self.durable.clone();
        match choose(4) {
            0 => {}
            1 => self.pending.iter().for_each(|change| Inode::apply(&mut contents, change)),
            2 => {
                let kept = choose(self.pending.len() + 1);
                self.pending[..kept].iter().for_each(|change| Inode::apply(&mut contents, change));
                if let Some(Change::Append(bytes)) = self.pending.get(kept) {
                    contents.extend_from_slice(&bytes[..choose(bytes.len() + 1)]);
                }
            }
            // The length is there, some of the sectors are not.
            _ => {
                self.pending.iter().for_each(|change| Inode::apply(&mut contents, change));
                let unsynced = self.durable.len().min(contents.len());
                for sector in contents[unsynced..].chunks_mut(SECTOR_LEN) {
                    if choose(2) == 0 {
                        sector.fill(0);
                    }
                }
            }
        }
        contents
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

impl SimulatedDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Operations that have changed something.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Lets every operation fail from the one with this number on.
    pub fn power_off_at(&self, step: u64) {
        self.state().power_off_at = Some(step);
    }

    /// Bytes that can still be written; a write that exceeds them is torn where they end.
    pub fn set_room(&self, room: Option<u64>) {
        self.state().room = room;
    }

    pub fn fail_syncs(&self, fail: bool) {
        self.state().syncs_fail = fail;
    }

    /// Lets the first sync from this step on fail, and no other.
    pub fn fail_sync_at(&self, step: u64) {
        self.state().sync_fails_at = Some(step);
    }

    /// Writes fail with an I/O error after half of their bytes.
    pub fn tear_writes(&self, tear: bool) {
        self.state().writes_tear = tear;
    }

    pub fn set_now_ms(&self, now_ms: i64) {
        self.state().now_ms = now_ms;
    }

    /// Bytes of a file as the running system sees it.
    pub fn contents(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].current.clone()
    }

    /// Replaces a file behind the log's back.
    pub fn damage(&self, path: &Path, contents: Vec<u8>) {
        let mut state = self.state();
        let inode = state.names[path];
        let inode = &mut state.inodes[inode];
        inode.pending.clear();
        inode.durable.clone_from(&contents);
        inode.current = contents;
    }

    /// A disk of its own, with what was not synced still in the page cache.
    pub fn copy(&self) -> SimulatedDisk {
        let copy = self.after_kill();
        let (from, mut to) = (self.state(), copy.state());
        to.inodes.clone_from(&from.inodes);
        to.names.clone_from(&from.names);
        to.durable_names.clone_from(&from.durable_names);
        to.name_changes.clone_from(&from.name_changes);
        drop(to);
        copy
    }

    /// The disk as the next process finds it when this one was killed: all is there.
    pub fn after_kill(&self) -> SimulatedDisk {
        self.rebooted(&mut |choices| usize::from(choices > 1), usize::MAX)
    }

    /// The disk after a power cut; `choose(n)` decides among 0..n what was lost.
    pub fn after_power_cut(&self, choose: &mut dyn FnMut(usize) -> usize) -> SimulatedDisk {
        let changes = self.state().name_changes.len();
        let kept = choose(changes + 1);
        self.rebooted(choose, kept)
    }

    fn rebooted(&self, choose: &mut dyn FnMut(usize) -> usize, names_kept: usize) -> SimulatedDisk {
        let state = self.state();
        let mut names = state.durable_names.clone();
        state.name_changes.iter().take(names_kept).for_each(|change| change.apply(&mut names));
        let inodes = state.inodes.iter().map(|inode| {
            let contents = inode.after_power_cut(choose);
            Inode {
                durable: contents.clone(),
                current: contents,
                pending: Vec::new(),
                ..inode.clone()
            }
        });
        let rebooted = State {
            inodes: inodes.collect(),
            durable_names: names.clone(),
            names,
            dirs: state.dirs.clone(),
            now_ms: state.now_ms,
            ..State::default()
        };
        SimulatedDisk(Arc::new(Mutex::new(rebooted)))
    }
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        self.steps += 1;
        if self.power_off_at.is_some_and(|at| self.steps >= at) { Err(off()) } else { Ok(()) }
    }

    fn fail_sync(&mut self) -> io::Result<()> {
        let once = self.sync_fails_at.take_if(|at| self.steps >= *at).is_some();
        if self.syncs_fail || once { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        self.step()?;
        change.apply(&mut self.names);
        self.name_changes.push(change);
        Ok(())
    }

    /// A file is written under another name before it takes its own: never by two at a time.
    fn begin_replacement(&mut self, path: &Path) {
        if path.extension().is_none_or(|extension| extension != "tmp") {
            return;
        }
        let this = std::thread::current().id();
        let other = self.replacements.insert(path.to_owned(), this).filter(|other| *other != this);
        // What failed before the file had its name is begun anew.
        let may_fail = self.power_off_at.is_some()
            || self.room.is_some()
            || self.syncs_fail
            || self.sync_fails_at.is_some()
            || self.writes_tear;
        assert!(other.is_none() || may_fail, "two replace {} at a time", path.display());
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.begin_replacement(path);
        let inode = match state.inode(path) {
            Ok(inode) => inode,
            Err(_) => {
                let parent = path.parent().expect("a file lies in a directory");
                if !state.dirs.contains(parent) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let (inode, now_ms) = (state.inodes.len(), state.now_ms);
                state.change_name(NameChange::Link(path.to_owned(), inode))?;
                let fresh = Inode { created_ms: now_ms, modified_ms: now_ms, ..Inode::default() };
                state.inodes.push(fresh);
                inode
            }
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn open_existing(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.state().inode(path)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state();
        let inode = &state.inodes[state.inode(path)?];
        let (created_ms, modified_ms) = (inode.created_ms, inode.modified_ms);
        Ok(Metadata { len: inode.current.len() as u64, created_ms, modified_ms })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<bool> {
        let mut state = self.state();
        let is_new = !state.dirs.contains(dir);
        state.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(is_new)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.replacements.remove(from);
        state.inode(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.inode(path)?;
        state.change_name(NameChange::Unlink(path.to_owned()))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let paths: Vec<PathBuf> = self.list(dir)?.iter().map(|name| dir.join(name)).collect();
        paths.iter().try_for_each(|path| self.remove_file(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.fail_sync()?;
        let changes = std::mem::take(&mut state.name_changes);
        let (synced, rest): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.is_in(dir));
        synced.iter().for_each(|change| change.apply(&mut state.durable_names));
        state.name_changes = rest;
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl DiskFile for SimulatedFile {
    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let state = self.disk.state();
        let current = &state.inodes[self.inode].current;
        let start = position as usize;
        let bytes = current.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn append(&self, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let whole = bytes.len();
        let mut result = Ok(());
        if state.writes_tear {
            bytes.truncate(whole / 2);
            result = Err(io::Error::other("input/output error"));
        }
        if let Some(room) = &mut state.room {
            if *room < bytes.len() as u64 {
                bytes.truncate(*room as usize);
                result = Err(io::ErrorKind::StorageFull.into());
            }
            *room -= bytes.len() as u64;
        }
        let now_ms = state.now_ms;
        state.inodes[self.inode].change(Change::Append(bytes), now_ms);
        result
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.inodes[self.inode].current.len() as u64 == len {
            return Ok(());
        }
        state.step()?;
        let now_ms = state.now_ms;
        state.inodes[self.inode].change(Change::SetLen(len), now_ms);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].current.len() as u64)
    }

    fn set_modified_ms(&self, modified_ms: i64) -> io::Result<()> {
        self.disk.state().inodes[self.inode].modified_ms = modified_ms;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        state.fail_sync()?;
        let inode = &mut state.inodes[self.inode];
        inode.durable.clone_from(&inode.current);
        inode.pending.clear();
        Ok(())
    }
}
