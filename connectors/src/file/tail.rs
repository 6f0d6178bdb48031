//! Following one file, line by line, through whatever happens to it.
//!
//! ```text
//! open ──► read ──► lines ──► (end of file) ──► emptied?   start again at 0
//!   ▲        ▲                      │
//!   │        └── more was appended ─┤
//!   └── another file at the path ───┘  once the old one is read to its end
//! ```
//!
//! Rules:
//! - A line is delivered when its newline is there. Without one, it is held back, save where
//!   none will come: the file was rotated away and its successor is being written, or the input
//!   is only read up to its end.
//! - A file that was renamed or replaced is read to its end before its successor is begun, which
//!   is when the successor has its first byte: until then the writer may still hold the old one.
//! - A file that is shorter than what was read of it, or begins differently, was emptied: it is
//!   read from its start. What was written to it since the last look and before that is lost; so
//!   is a line that had no newline yet. Nobody could have read them.
//! - After a restart, the file is found again under a new name in the same directory. Of files
//!   that came and went in between nothing is known.
//!
//! Memory is bounded by the longest line allowed and one read.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::{info, warn};

use super::identity::{FileId, HEAD_BYTES, Head};
use super::position::Position;

/// Bytes asked for in one read.
const READ_BYTES: usize = 256 << 10;
/// Reads after which [`Tail::fill`] returns even if it found no line.
const READS_PER_FILL: usize = 16;

/// Why a file cannot be followed.
#[derive(Debug, Error)]
pub enum TailError {
    #[error("{path}: cannot {doing}: {error}", path = .path.display())]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{path}: not a file that can be followed; name a regular file", path = .path.display())]
    NotAFile { path: PathBuf },
    #[error(
        "{path}: there is no such file; without reading up to the end only, it would be waited for",
        path = .path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "{path}: the line that begins at byte {position} is {at_least}{length} bytes long, more \
         than line.bytes.max = {length_max}; raise it (and the topic's max.message.bytes), or \
         skip such lines with errors.tolerance = all",
        path = .path.display(),
        at_least = if *.ended { "" } else { "at least " }
    )]
    LineTooLong { path: PathBuf, position: u64, length: u64, ended: bool, length_max: usize },
}

/// How to follow.
#[derive(Clone, Copy, Debug)]
pub struct TailOptions {
    /// The longest line, its newline not counted.
    pub line_bytes_max: usize,
    /// Whether longer ones are skipped and counted instead of failing.
    pub skip_long_lines: bool,
    /// Whether to end where the file ends.
    pub until_end: bool,
}

/// What [`Tail::fill`] left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There is more at hand.
    More,
    /// All that is there was read.
    Drained,
    /// The end was reached, and it is not to be waited for more.
    End,
}

/// A file being followed.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    options: TailOptions,
    current: Option<Open>,
    /// The file that has taken the path; begun when the current one is at its end.
    next: Option<Open>,
    /// Where to go on, until the file is found.
    resume: Option<Position>,
    counts: TailCounts,
}

/// What was done since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailCounts {
    pub bytes: u64,
    pub skipped_lines: u64,
}

impl Tail {
    pub fn new(path: PathBuf, options: TailOptions, resume: Option<Position>) -> Tail {
        Tail { path, options, current: None, next: None, resume, counts: TailCounts::default() }
    }

    /// Hands over lines, without their ends, until `take` says that it is enough for now
    /// (`false`) or there are no more. An error leaves the position at the line it is about.
    pub fn fill(&mut self, mut take: impl FnMut(&[u8]) -> bool) -> Result<Filled, TailError> {
        for _ in 0..READS_PER_FILL {
            if self.current.is_none() && !self.find()? {
                if self.options.until_end {
                    return Err(TailError::Missing { path: self.path.clone() });
                }
                return Ok(Filled::Drained);
            }
            let current = self.current.as_mut().expect("it was found");
            match current.take_lines(&self.options, &mut self.counts, &mut take) {
                Lines::Enough => return Ok(Filled::More),
                Lines::All => {}
                Lines::TooLong => return Err(self.too_long()),
            }
            match current.read().map_err(io_error(&self.path, "read it"))? {
                Read::Some => continue,
                Read::Emptied => {
                    let path = self.path.display();
                    warn!("{path}: emptied or rewritten; reading it from its start");
                    current.restart();
                    continue;
                }
                Read::Nothing => {}
            }
            if let Some(next) = self.next.take() {
                let go_on = current.finish(&mut self.counts, &mut take);
                info!("{}: rotated; going on with the new file", self.path.display());
                self.current = Some(next);
                if !go_on {
                    return Ok(Filled::More);
                }
            } else if let Some(next) = self.successor()? {
                // The writer has moved on, but may have written to the old file before that and
                // after our read: look once more.
                self.next = Some(next);
            } else if self.options.until_end {
                self.current.as_mut().expect("it was found").finish(&mut self.counts, &mut take);
                return Ok(Filled::End);
            } else {
                return Ok(Filled::Drained);
            }
        }
        Ok(Filled::More)
    }

    /// Where to go on after the lines that were handed over. `None` before the file was found.
    pub fn position(&self) -> Option<Position> {
        let current = self.current.as_ref()?;
        Some(Position {
            bytes: current.position,
            identity: Some((current.id, current.head.fingerprint())),
            unterminated: current.unterminated,
        })
    }

    /// Bytes that were there at the last look and are not handed over yet.
    pub fn remaining_bytes(&self) -> u64 {
        let left = |open: &Open| open.len.saturating_sub(open.position);
        self.current.as_ref().map_or(0, left) + self.next.as_ref().map_or(0, left)
    }

    pub fn take_counts(&mut self) -> TailCounts {
        std::mem::take(&mut self.counts)
    }

    /// Opens the file to begin with: the one that was being read, or the one at the path.
    fn find(&mut self) -> Result<bool, TailError> {
        let mut at_path = open(&self.path)?;
        let Some(resume) = self.resume.take() else {
            self.current = at_path;
            return Ok(self.current.is_some());
        };
        let is_same = match &mut at_path {
            Some(open) => open.resume(&resume).map_err(io_error(&self.path, "read it"))?,
            None => false,
        };
        if is_same {
            self.current = at_path;
        } else if let Some((name, open)) = self.find_rotated(&resume)? {
            info!("{}: rotated to {} meanwhile", self.path.display(), name.display());
            self.current = Some(open);
        } else if let Some(open) = at_path {
            let path = self.path.display();
            warn!(
                "{path}: not the file that was read up to byte {} before (it was replaced, \
                 emptied or rewritten meanwhile); reading it from its start",
                resume.bytes
            );
            self.current = Some(open);
        } else {
            self.resume = Some(resume);
        }
        Ok(self.current.is_some())
    }

    /// The file to resume, under another name in the same directory.
    fn find_rotated(&self, resume: &Position) -> Result<Option<(PathBuf, Open)>, TailError> {
        let Some((id, fingerprint)) = resume.identity else { return Ok(None) };
        if fingerprint.bytes == 0 {
            return Ok(None);
        }
        let dir = directory(&self.path);
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(dir, "list it")(error)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error(dir, "list it"))?;
            if entry.ino() != id.inode {
                continue;
            }
            let path = entry.path();
            // It may be gone again, or be something else by now: then it is not the one.
            if let Ok(Some(mut open)) = open(&path)
                && open.resume(resume).map_err(io_error(&path, "read it"))?
            {
                return Ok(Some((path, open)));
            }
        }
        Ok(None)
    }

    /// The file at the path, if it is another one and has content.
    fn successor(&self) -> Result<Option<Open>, TailError> {
        let current = self.current.as_ref().map(|open| open.id);
        match fs::metadata(&self.path) {
            Ok(metadata) if Some(FileId::of(&metadata)) == current => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&self.path, "look at it")(error)),
        }
        let next = open(&self.path)?;
        Ok(next.filter(|next| next.len > 0 && Some(next.id) != current))
    }

    fn too_long(&self) -> TailError {
        let current = self.current.as_ref().expect("a line of it was read");
        let length_max = self.options.line_bytes_max;
        match current.line_length() {
            Ok((length, ended)) => TailError::LineTooLong {
                path: self.path.clone(),
                position: current.position,
                length,
                ended,
                length_max,
            },
            Err(error) => io_error(&self.path, "read it")(error),
        }
    }
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> TailError {
    move |error| TailError::Io { path: path.to_owned(), doing, error }
}

/// The directory that a path names a file in.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The regular file at a path, or `None` if nothing is there.
fn open(path: &Path) -> Result<Option<Open>, TailError> {
    // Looked at first, since opening a pipe would wait for its writer.
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(TailError::NotAFile { path: path.to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, "look at it")(error)),
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, "open it")(error)),
    };
    Open::new(file).map(Some).map_err(io_error(path, "look at it"))
}

/// An open file and how far it was read.
#[derive(Debug)]
struct Open {
    file: File,
    id: FileId,
    head: Head,
    /// Its length at the last look.
    len: u64,
    /// Where the next line begins: all before it was handed over.
    position: u64,
    /// Where the next read begins.
    read_position: u64,
    /// Bytes read; `buffer[start..filled]` begins at `position`, unless `skipping`.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// No newline lies between `start` and here.
    scanned: usize,
    /// Within a line that is too long; what was read of it is thrown away.
    skipping: bool,
    /// See [`Position::unterminated`].
    unterminated: bool,
}

enum Lines {
    All,
    Enough,
    TooLong,
}

enum Read {
    Some,
    Nothing,
    Emptied,
}

impl Open {
    fn new(file: File) -> io::Result<Open> {
        let metadata = file.metadata()?;
        Ok(Open {
            id: FileId::of(&metadata),
            len: metadata.len(),
            file,
            head: Head::default(),
            position: 0,
            read_position: 0,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            scanned: 0,
            skipping: false,
            unterminated: false,
        })
    }

    /// Goes to the stored position, if this is the file that it was stored for. Devices are not
    /// compared: their numbers change from boot to boot.
    fn resume(&mut self, at: &Position) -> io::Result<bool> {
        if self.len < at.bytes {
            return Ok(false);
        }
        let head = match at.identity {
            Some((id, _)) if id.inode != self.id.inode => None,
            Some((_, fingerprint)) => Head::matching(&self.file, fingerprint)?,
            None => Some(Head::read(&self.file, at.bytes.min(HEAD_BYTES as u64) as usize)?),
        };
        let Some(head) = head else { return Ok(false) };
        self.head = head;
        (self.position, self.read_position) = (at.bytes, at.bytes);
        self.unterminated = at.unterminated;
        Ok(true)
    }

    /// Begins at 0 again.
    fn restart(&mut self) {
        self.head = Head::default();
        (self.position, self.read_position) = (0, 0);
        (self.start, self.filled, self.scanned) = (0, 0, 0);
        (self.skipping, self.unterminated) = (false, false);
    }

    /// Hands over the whole lines in the buffer.
    fn take_lines(
        &mut self,
        options: &TailOptions,
        counts: &mut TailCounts,
        take: &mut impl FnMut(&[u8]) -> bool,
    ) -> Lines {
        while let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..self.filled]) {
            let end = self.scanned + at;
            let line = &self.buffer[self.start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.skipping || line.len() > options.line_bytes_max {
                if !options.skip_long_lines {
                    return Lines::TooLong;
                }
                self.end_skipped(end + 1, counts);
                continue;
            }
            let ends_what_was_delivered = self.unterminated && line.is_empty();
            let enough = !ends_what_was_delivered && !take(line);
            self.advance(end + 1, counts);
            if enough {
                return Lines::Enough;
            }
        }
        self.scanned = self.filled;
        // One byte more may be the `\r` of a line end.
        if !self.skipping && self.filled - self.start > options.line_bytes_max + 1 {
            if !options.skip_long_lines {
                return Lines::TooLong;
            }
            self.skipping = true;
        }
        if self.skipping {
            (self.start, self.filled, self.scanned) = (0, 0, 0);
        }
        Lines::All
    }

    /// The line up to `end` in the buffer is done with.
    fn advance(&mut self, end: usize, counts: &mut TailCounts) {
        let bytes = (end - self.start) as u64;
        self.position += bytes;
        counts.bytes += bytes;
        self.unterminated = false;
        (self.start, self.scanned) = (end, end);
    }

    fn end_skipped(&mut self, end: usize, counts: &mut TailCounts) {
        let next = self.read_position - (self.filled - end) as u64;
        let length = next - self.position;
        warn!(position = self.position, length, "a line longer than line.bytes.max is skipped");
        counts.bytes += length;
        counts.skipped_lines += 1;
        self.position = next;
        (self.skipping, self.unterminated) = (false, false);
        (self.start, self.scanned) = (end, end);
    }

    /// Hands over a last line that has no newline. Returns whether `take` wants more.
    fn finish(&mut self, counts: &mut TailCounts, take: &mut impl FnMut(&[u8]) -> bool) -> bool {
        if self.skipping || self.start == self.filled {
            return true;
        }
        let go_on = take(&self.buffer[self.start..self.filled]);
        self.advance(self.filled, counts);
        self.unterminated = true;
        go_on
    }

    /// Reads on behind what is in the buffer.
    fn read(&mut self) -> io::Result<Read> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.scanned -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.filled + READ_BYTES {
            self.buffer.resize(self.filled + READ_BYTES, 0);
        }
        let room = &mut self.buffer[self.filled..self.filled + READ_BYTES];
        let read = read_at(&self.file, room, self.read_position)?;
        // Looked at after the read: had the file been emptied before, what was read would be
        // from its second life.
        self.len = self.file.metadata()?.len();
        if self.len < self.read_position || !self.head.is_still_in(&self.file)? {
            return Ok(Read::Emptied);
        }
        self.head.extend(self.read_position, &self.buffer[self.filled..self.filled + read]);
        self.filled += read;
        self.read_position += read as u64;
        Ok(if read == 0 { Read::Nothing } else { Read::Some })
    }

    /// Length of the line that begins at the position, and whether it has ended by now.
    fn line_length(&self) -> io::Result<(u64, bool)> {
        let mut chunk = vec![0; READ_BYTES];
        let mut length = 0;
        loop {
            let read = read_at(&self.file, &mut chunk, self.position + length)?;
            match memchr::memchr(b'\n', &chunk[..read]) {
                Some(at) => return Ok((length + at as u64, true)),
                None if read == 0 => return Ok((length, false)),
                None => length += read as u64,
            }
        }
    }
}

fn read_at(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    loop {
        match file.read_at(into, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
