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
//! - After a restart, the file is found again under a new name in the same directory: the file
//!   itself if it was renamed, else a copy of it, compressed or not, under the name of a rotated
//!   file. Of files that came and went in between nothing is known.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::{info, warn};

use super::identity::FileId;
use super::open::{Counts, Holds, Open, Piece, Pieces, Read, ReadOptions, Taken};
use super::position::Position;
use super::rotation;

/// Reads after which [`Tail::fill`] returns even if it found no line.
const READS_PER_FILL: usize = 16;

/// Why a file cannot be followed.
#[derive(Debug, Error)]
pub enum TailError {
    #[error("{path}: cannot {doing}: {error}", path = .path.display())]
    Io { path: PathBuf, doing: &'static str, error: io::Error },
    #[error("{path}: not a file that can be followed; name a regular file, `DIRECTORY/` or a pattern", path = .path.display())]
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
    #[error(
        "{path}: the record that begins at byte {position} is malformed: {reason}; mend it, or \
         skip such records with errors.tolerance = all",
        path = .path.display()
    )]
    Malformed { path: PathBuf, position: u64, reason: String },
    #[error(
        "{path}: ends in the middle of its compressed data: it is still being written, or was \
         cut; what it holds up to there was read",
        path = .path.display()
    )]
    Cut { path: PathBuf },
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
    options: ReadOptions,
    current: Option<Open>,
    /// The file that has taken the path; begun when the current one is at its end.
    next: Option<Open>,
    /// Where to go on, until the file is found.
    resume: Option<Position>,
    counts: Counts,
}

impl Tail {
    pub fn new(path: PathBuf, options: ReadOptions, resume: Option<Position>) -> Tail {
        Tail { path, options, current: None, next: None, resume, counts: Counts::default() }
    }

    /// Hands over pieces until `take` says that it is enough for now or there are no more. An
    /// error leaves the position at the piece it is about.
    pub fn fill(&mut self, mut take: impl FnMut(Piece<'_>) -> Taken) -> Result<Filled, TailError> {
        for _ in 0..READS_PER_FILL {
            if self.current.is_none() && !self.find()? {
                if self.options.until_end {
                    return Err(TailError::Missing { path: self.path.clone() });
                }
                return Ok(Filled::Drained);
            }
            let current = self.current.as_mut().expect("it was found");
            let pieces = current.take(&self.options, &mut self.counts, &mut take);
            if went(&self.path, &self.options, current, pieces)? == Went::Enough {
                return Ok(Filled::More);
            }
            match current.read().map_err(io_error(&self.path, "read it"))? {
                Read::Some => continue,
                Read::Emptied => {
                    let path = self.path.display();
                    warn!("{path}: emptied or rewritten; reading it from its start");
                    let restarted = current.restart(&self.options);
                    restarted.map_err(io_error(&self.path, "read it"))?;
                    continue;
                }
                Read::Nothing => {}
            }
            if let Some(next) = self.next.take() {
                let went = self.finish(&mut take)?;
                info!("{}: rotated; going on with the new file", self.path.display());
                self.current = Some(next);
                if went == Went::Enough {
                    return Ok(Filled::More);
                }
            } else if let Some(next) = self.successor()? {
                // The writer has moved on, but may have written to the old file before that and
                // after our read: look once more.
                self.next = Some(next);
            } else if self.options.until_end {
                self.finish(&mut take)?;
                return match self.current.as_ref().is_some_and(Open::is_cut) {
                    true => Err(TailError::Cut { path: self.path.clone() }),
                    false => Ok(Filled::End),
                };
            } else {
                if self.current.as_ref().is_some_and(Open::is_unpacked) {
                    self.finish(&mut take)?;
                }
                return Ok(Filled::Drained);
            }
        }
        Ok(Filled::More)
    }

    fn finish(&mut self, take: &mut impl FnMut(Piece<'_>) -> Taken) -> Result<Went, TailError> {
        let current = self.current.as_mut().expect("it was read");
        let pieces = current.finish(&self.options, &mut self.counts, take);
        let pieces = pieces.map_err(io_error(&self.path, "read it"))?;
        went(&self.path, &self.options, current, pieces)
    }

    /// Why nothing can be read: the file is not there yet.
    pub fn missing(&self) -> Option<String> {
        let dir = directory(&self.path);
        let path = self.path.display();
        (self.current.is_none()).then(|| match dir.is_dir() {
            true => format!("{path}: there is no such file; it is waited for"),
            false => format!(
                "{path}: there is no directory {}; it is waited for, with that file",
                dir.display()
            ),
        })
    }

    /// Where to go on after the pieces that were handed over. `None` before the file was found.
    pub fn position(&self) -> Option<Position> {
        match &self.current {
            Some(current) => Some(current.place()),
            None => self.resume.clone(),
        }
    }

    /// Bytes that were there at the last look and are not handed over yet.
    pub fn remaining_bytes(&self) -> u64 {
        let left = |open: &Option<Open>| open.as_ref().map_or(0, Open::remaining_bytes);
        left(&self.current) + left(&self.next)
    }

    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Opens the file to begin with: the one that was being read, or the one at the path.
    fn find(&mut self) -> Result<bool, TailError> {
        let mut at_path = open(&self.path, &self.options)?;
        let Some(resume) = self.resume.take() else {
            if self.options.start_at_end {
                match &mut at_path {
                    Some(open) => open
                        .go_to_end(&self.options, false)
                        .map_err(io_error(&self.path, "read its end"))?,
                    // All that comes is new.
                    None => self.resume = Some(Position::default()),
                }
            }
            self.current = at_path;
            return Ok(self.current.is_some());
        };
        let is_same = match &mut at_path {
            Some(open) => {
                let resumed = open.resume(&resume, &self.options);
                resumed.map_err(io_error(&self.path, "read it"))?
            }
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

    /// The file to resume, or a copy of it, under another name in the same directory.
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
        let family = rotation::family(&self.path);
        let mut copies = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error(dir, "list it"))?;
            let path = dir.join(entry.file_name());
            if entry.ino() == id.inode {
                // It may be gone again, or be something else by now: then it is not the one.
                if let Ok(Some(mut open)) = open(&path, &self.options)
                    && open.resume(resume, &self.options).map_err(io_error(&path, "read it"))?
                {
                    return Ok(Some((path, open)));
                }
            } else if path != self.path && rotation::family(&path) == family {
                copies.push(path);
            }
        }
        for path in copies {
            if let Ok(Some(mut open)) = open(&path, &self.options)
                && matches!(open.holds(resume), Ok(Holds::Yes))
            {
                let adopted = open.adopt(resume, &self.options);
                adopted.map_err(io_error(&path, "read it"))?;
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
        let next = open(&self.path, &self.options)?;
        Ok(next.filter(|next| next.len > 0 && Some(next.id) != current))
    }
}

/// How handing over went, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    On,
    Enough,
}

/// What came of handing over pieces of the file at `path`.
pub fn went(
    path: &Path,
    options: &ReadOptions,
    open: &Open,
    pieces: Pieces,
) -> Result<Went, TailError> {
    let (path, position) = (path.to_owned(), open.position);
    match pieces {
        Pieces::All => Ok(Went::On),
        Pieces::Enough => Ok(Went::Enough),
        Pieces::Refused(reason) => Err(TailError::Malformed { path, position, reason }),
        Pieces::TooLong => {
            let (length, ended) = open.line_length().map_err(io_error(&path, "read it"))?;
            let length_max = options.line_bytes_max;
            Err(TailError::LineTooLong { path, position, length, ended, length_max })
        }
    }
}

pub fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> TailError {
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
pub fn open(path: &Path, options: &ReadOptions) -> Result<Option<Open>, TailError> {
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
    let mut opened = Open::new(file, options).map_err(io_error(path, "look at it"))?;
    opened.name = path.display().to_string();
    Ok(Some(opened))
}

#[cfg(test)]
mod tests;
