//! One open file: read piece by piece, plain or compressed, from where it was left.
//!
//! A *piece* is a line, or a row of CSV with all the lines that it spans. All positions are in
//! the file's text: of a compressed file, in what it unpacks to.
//!
//! Memory is bounded by the longest piece allowed and one read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::mpsc::Receiver;
use tracing::warn;

use super::compression::{Compression, Unpacked, Unpacker};
use super::csv::{Columns, Dialect, Scanner};
use super::identity::{FileId, Fingerprint, HEAD_BYTES, Head, fnv1a};
use super::position::Position;

/// Bytes asked for in one read.
pub const READ_BYTES: usize = 256 << 10;

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The longest piece, its newline not counted.
    pub line_bytes_max: usize,
    /// Whether longer ones, and those that are refused, are skipped and counted.
    pub skip_bad: bool,
    /// Whether to end where files end.
    pub until_end: bool,
    /// Whether files that were not read before are begun at their end.
    pub start_at_end: bool,
    /// Whether compressed files are unpacked.
    pub unpack: bool,
    pub framing: Framing,
}

/// What is one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Lines,
    /// Rows; the first may name the columns.
    Csv(Dialect),
}

/// A line without its end, or a row.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    pub bytes: &'a [u8],
    /// Of a row.
    pub columns: Option<&'a Columns>,
}

/// What whoever takes pieces says of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Go on.
    More,
    /// That is enough for now.
    Enough,
    /// It is malformed, and how.
    Refused(String),
}

/// What was done since it was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub bytes: u64,
    pub skipped: u64,
}

/// How far pieces were handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pieces {
    All,
    Enough,
    TooLong,
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Some,
    Nothing,
    Emptied,
}

/// Whether a file begins with all that was read of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Yes,
    No,
    /// It is too short to tell.
    NotYet,
}

/// How a text begins: its first record, or as much of it as counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub hash: u64,
    /// Whether nothing that comes later changes it.
    pub is_complete: bool,
}

/// An open file and how far it was read.
#[derive(Debug)]
pub struct Open {
    /// For messages: its path.
    pub name: String,
    pub id: FileId,
    pub head: Head,
    /// Its length on disk at the last look.
    pub len: u64,
    /// Where the next piece begins: all before it was handed over.
    pub position: u64,
    /// The last piece was handed over without its newline; see [`Position::unterminated`].
    pub unterminated: bool,
    file: Arc<File>,
    /// `None`: it is too short to tell.
    compression: Option<Compression>,
    unpacking: Option<Unpacker>,
    /// What comes through a pipe instead.
    stream: Option<Receiver<Vec<u8>>>,
    /// How long a compressed file was when all of it had been unpacked, and whether its last part
    /// was complete.
    unpacked: Option<(u64, Unpacked)>,
    /// Where the next read begins.
    read_position: u64,
    /// Bytes read; `buffer[start..filled]` begins at `position`, unless `skipping`.
    pub(super) buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// No piece ends between `start` and here.
    scanned: usize,
    scanner: Option<Scanner>,
    columns: Option<Columns>,
    /// Within a line that is too long; what was read of it is thrown away.
    skipping: bool,
    sum: Sum,
}

/// The checksum of a file's text up to where it was read.
#[derive(Clone, Copy, Debug)]
struct Sum {
    /// Whether all from the start is in it.
    known: bool,
    crc: u32,
    /// Bytes of the buffer that are in it.
    summed: usize,
    /// While skipping: with what was thrown away.
    thrown: u32,
}

impl Sum {
    const START: Sum = Sum { known: true, crc: 0, summed: 0, thrown: 0 };
}

impl Open {
    pub fn new(file: File, options: &ReadOptions) -> io::Result<Open> {
        let metadata = file.metadata()?;
        let compression = match options.unpack {
            true => Compression::of_file(&file)?,
            false => Some(Compression::None),
        };
        Ok(Open {
            name: String::new(),
            id: FileId::of(&metadata),
            head: Head::default(),
            len: metadata.len(),
            position: 0,
            unterminated: false,
            file: Arc::new(file),
            compression,
            unpacking: None,
            stream: None,
            unpacked: None,
            read_position: 0,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            scanned: 0,
            scanner: match options.framing {
                Framing::Lines => None,
                Framing::Csv(dialect) => Some(Scanner::new(dialect.delimiter)),
            },
            columns: None,
            skipping: false,
            sum: Sum::START,
        })
    }

    /// What comes through a pipe: read as it comes, and never again.
    pub fn stream(chunks: Receiver<Vec<u8>>, options: &ReadOptions) -> io::Result<Open> {
        // What asks for bytes by their place finds none.
        let nothing = File::open("/dev/null")?;
        let options = ReadOptions { unpack: false, ..*options };
        let name = "standard input".to_owned();
        Ok(Open { name, stream: Some(chunks), ..Open::new(nothing, &options)? })
    }

    /// Whether it is compressed; a file that is too short to tell is not.
    pub fn is_packed(&self) -> bool {
        !matches!(self.compression, None | Some(Compression::None))
    }

    /// For whoever goes on with what comes through the pipe.
    pub fn take_stream(&mut self) -> Option<Receiver<Vec<u8>>> {
        self.stream.take()
    }

    /// Whether nothing more will come through the pipe.
    pub fn is_at_end_of_stream(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_closed() && stream.is_empty())
    }

    /// Whether all of a compressed file was unpacked, and nothing was missing.
    pub fn is_unpacked(&self) -> bool {
        self.unpacked.is_some_and(|(len, end)| len == self.len && end == Unpacked::End)
    }

    /// Whether a compressed file ends before its end.
    pub fn is_cut(&self) -> bool {
        self.unpacked.is_some_and(|(_, end)| end == Unpacked::Cut)
    }

    /// Where to go on after the pieces that were handed over.
    pub fn place(&self) -> Position {
        let crc = match self.skipping {
            true => self.sum.crc,
            false => crc32c::crc32c_append(
                self.sum.crc,
                &self.buffer[self.sum.summed.min(self.start)..self.start],
            ),
        };
        Position {
            bytes: self.position,
            identity: Some((self.id, self.head.fingerprint())),
            crc: self.sum.known.then_some(crc),
            unterminated: self.unterminated,
        }
    }

    /// Bytes on disk that are not handed over; of a compressed file, all until all are.
    pub fn remaining_bytes(&self) -> u64 {
        match self.is_packed() {
            true if self.unpacked.is_some() => 0,
            true => self.len,
            false => self.len.saturating_sub(self.position),
        }
    }

    /// Gives back the memory for reading, if nothing is in it.
    pub fn shrink(&mut self) {
        if self.start == self.filled {
            self.settle_sum();
            self.buffer = Vec::new();
            (self.start, self.filled, self.scanned, self.sum.summed) = (0, 0, 0, 0);
        }
    }

    /// Goes to the stored position, if this is the file that it was stored for. Devices are not
    /// compared: their numbers change from boot to boot.
    pub fn resume(&mut self, at: &Position, options: &ReadOptions) -> io::Result<bool> {
        let fingerprint = match at.identity {
            Some((id, _)) if id.inode != self.id.inode => return Ok(false),
            Some((_, fingerprint)) => Some(fingerprint),
            None => None,
        };
        let plain = !self.is_packed();
        if plain && self.len < at.bytes {
            return Ok(false);
        }
        let bytes = fingerprint.map_or(at.bytes.min(HEAD_BYTES as u64) as usize, |one| one.bytes);
        let head = Head::new(self.first_bytes(bytes)?);
        if fingerprint.is_some_and(|fingerprint| head.fingerprint() != fingerprint) {
            return Ok(false);
        }
        self.go_to(at, head, options)?;
        Ok(true)
    }

    /// Whether the file begins with all that was read up to `at`, wherever that was.
    pub fn holds(&self, at: &Position) -> io::Result<Holds> {
        let (Some((_, fingerprint)), Some(crc)) = (at.identity, at.crc) else {
            return Ok(Holds::No);
        };
        let head = Head::new(self.first_bytes(fingerprint.bytes)?);
        let Fingerprint { bytes, .. } = head.fingerprint();
        if bytes < fingerprint.bytes {
            return Ok(Holds::NotYet);
        }
        if head.fingerprint() != fingerprint {
            return Ok(Holds::No);
        }
        let (bytes, sum) = self.sum_up_to(at.bytes)?;
        Ok(match bytes == at.bytes {
            false => Holds::NotYet,
            true if sum == Some(crc) => Holds::Yes,
            true => Holds::No,
        })
    }

    /// Goes on where another file was left that this one [holds](Open::holds).
    pub fn adopt(&mut self, at: &Position, options: &ReadOptions) -> io::Result<()> {
        let bytes = at.identity.map_or(0, |(_, fingerprint)| fingerprint.bytes);
        let head = Head::new(self.first_bytes(bytes)?);
        self.go_to(at, head, options)
    }

    /// Goes behind the last whole line that is there. `with_sum`: what is before is read once, so
    /// that a copy of it will be known.
    pub fn go_to_end(&mut self, options: &ReadOptions, with_sum: bool) -> io::Result<()> {
        let end = match self.is_packed() {
            true => u64::MAX,
            false => self.last_line_end(options)?,
        };
        let (bytes, crc) = match with_sum || self.is_packed() {
            true => self.sum_up_to(end)?,
            false => (end, None),
        };
        let head = Head::new(self.first_bytes(bytes.min(HEAD_BYTES as u64) as usize)?);
        let at = Position { bytes, crc, ..Position::default() };
        self.go_to(&at, head, options)
    }

    /// The checksum of the text before `end`, or of all there is, and how long that is.
    fn sum_up_to(&self, end: u64) -> io::Result<(u64, Option<u32>)> {
        let (mut sum, mut position) = (0, 0);
        let mut unpacker = self.unpacker()?;
        let mut chunk = vec![0; READ_BYTES];
        while position < end {
            let wanted = (end - position).min(READ_BYTES as u64) as usize;
            let read = match &mut unpacker {
                Some(unpacker) => unpacker.fill(&mut chunk[..wanted])?,
                None => read_at(&self.file, &mut chunk[..wanted], position)?,
            };
            if read == 0 {
                break;
            }
            sum = crc32c::crc32c_append(sum, &chunk[..read]);
            position += read as u64;
        }
        Ok((position, Some(sum)))
    }

    fn last_line_end(&self, options: &ReadOptions) -> io::Result<u64> {
        let back = self.len.min(options.line_bytes_max as u64 + 2);
        let mut tail = vec![0; back as usize];
        let mut filled = 0;
        while filled < tail.len() {
            let position = self.len - back + filled as u64;
            match read_at(&self.file, &mut tail[filled..], position)? {
                0 => break,
                read => filled += read,
            }
        }
        let newline = memchr::memrchr(b'\n', &tail[..filled]);
        Ok(newline.map_or(self.len - back, |at| self.len - back + at as u64 + 1))
    }

    fn go_to(&mut self, at: &Position, head: Head, options: &ReadOptions) -> io::Result<()> {
        self.head = head;
        (self.position, self.read_position) = (at.bytes, at.bytes);
        self.unterminated = at.unterminated;
        self.sum = Sum { known: at.crc.is_some(), crc: at.crc.unwrap_or_default(), ..Sum::START };
        if at.bytes == 0 {
            self.sum = Sum::START;
        } else if let Framing::Csv(dialect) = options.framing {
            let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
            let first = self.first_row(dialect.delimiter, options)?;
            let first = first.ok_or_else(|| invalid("its first row is gone".to_owned()))?;
            self.columns = Some(Columns::new(&first, dialect).map_err(invalid)?);
        }
        Ok(())
    }

    /// The first row, if it is there.
    fn first_row(&self, delimiter: u8, options: &ReadOptions) -> io::Result<Option<Vec<u8>>> {
        let mut unpacker = self.unpacker()?;
        let (mut row, mut scanner) = (Vec::new(), Scanner::new(delimiter));
        while row.len() <= options.line_bytes_max + 1 {
            let from = row.len();
            row.resize(from + READ_BYTES, 0);
            let read = match &mut unpacker {
                Some(unpacker) => unpacker.fill(&mut row[from..])?,
                None => read_at(&self.file, &mut row[from..], from as u64)?,
            };
            row.truncate(from + read);
            if read == 0 {
                return Ok(Some(row).filter(|row| !row.is_empty()));
            }
            if let Some(end) = scanner.row_end(&row[from..]) {
                row.truncate(from + end);
                if row.last() == Some(&b'\r') {
                    row.pop();
                }
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The first bytes of the text, or what there is.
    pub fn first_bytes(&self, bytes: usize) -> io::Result<Vec<u8>> {
        match self.unpacker()? {
            None => Ok(Head::read(&self.file, bytes)?.into_bytes()),
            Some(mut unpacker) => {
                let mut head = vec![0; bytes.min(HEAD_BYTES)];
                let filled = unpacker.fill(&mut head)?;
                head.truncate(filled);
                Ok(head)
            }
        }
    }

    /// How the text begins: what stays as it is, whatever is added to it.
    pub fn beginning(&self, options: &ReadOptions) -> io::Result<Beginning> {
        let (bytes, ended) = match self.unpacker()? {
            None => (self.first_bytes(HEAD_BYTES)?, false),
            Some(mut unpacker) => {
                let mut bytes = vec![0; HEAD_BYTES];
                let filled = unpacker.fill(&mut bytes)?;
                bytes.truncate(filled);
                let ended = filled < HEAD_BYTES && unpacker.read(&mut [0])? == Unpacked::End;
                (bytes, ended)
            }
        };
        // Many files have the same header.
        let lines = if matches!(options.framing, Framing::Csv(Dialect { header: true, .. })) {
            2
        } else {
            1
        };
        let end = memchr::memchr_iter(b'\n', &bytes).nth(lines - 1);
        Ok(Beginning {
            hash: fnv1a(&bytes[..end.unwrap_or(bytes.len())]),
            is_complete: end.is_some() || bytes.len() == HEAD_BYTES || ended,
        })
    }

    fn unpacker(&self) -> io::Result<Option<Unpacker>> {
        Unpacker::new(&self.file, self.compression.unwrap_or(Compression::None))
    }

    /// Begins at 0 again.
    pub fn restart(&mut self, options: &ReadOptions) -> io::Result<()> {
        if options.unpack {
            self.compression = Compression::of_file(&self.file)?;
        }
        self.head = Head::default();
        (self.position, self.read_position) = (0, 0);
        (self.start, self.filled, self.scanned) = (0, 0, 0);
        (self.skipping, self.unterminated) = (false, false);
        (self.unpacking, self.unpacked, self.columns) = (None, None, None);
        self.sum = Sum::START;
        if let Some(scanner) = &mut self.scanner {
            scanner.reset();
        }
        Ok(())
    }

    /// Hands over the whole pieces in the buffer.
    pub fn take(
        &mut self,
        options: &ReadOptions,
        counts: &mut Counts,
        take: &mut impl FnMut(Piece<'_>) -> Taken,
    ) -> Pieces {
        loop {
            while let Some(end) = self.next_end() {
                match self.take_piece(end, options, counts, take) {
                    Pieces::All => {}
                    other => return other,
                }
            }
            self.scanned = self.filled;
            // One byte more may be the `\r` of a line end.
            if !self.skipping && self.filled - self.start > options.line_bytes_max + 1 {
                if !options.skip_bad {
                    return Pieces::TooLong;
                }
                let rest = &self.buffer[self.start..self.filled];
                if self.scanner.is_some()
                    && let Some(end) = memchr::memchr(b'\n', rest)
                {
                    // Most likely a quote that is never closed: the next line may be a row again.
                    self.skip_line(self.start + end, counts);
                    continue;
                }
                self.settle_sum();
                self.sum.thrown = self.sum.crc;
                self.skipping = true;
            }
            if self.skipping {
                let thrown = &self.buffer[self.start..self.filled];
                self.sum.thrown = crc32c::crc32c_append(self.sum.thrown, thrown);
                (self.start, self.filled, self.scanned, self.sum.summed) = (0, 0, 0, 0);
            }
            return Pieces::All;
        }
    }

    /// Hands over the piece whose newline is at `end` in the buffer.
    #[inline]
    fn take_piece(
        &mut self,
        end: usize,
        options: &ReadOptions,
        counts: &mut Counts,
        take: &mut impl FnMut(Piece<'_>) -> Taken,
    ) -> Pieces {
        let line = &self.buffer[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if self.skipping || line.len() > options.line_bytes_max {
            if !options.skip_bad {
                return Pieces::TooLong;
            }
            self.skip_line(end, counts);
            return Pieces::All;
        }
        let length = line.len();
        // An empty one may but end what was handed over.
        let taken = match self.unterminated && length == 0 {
            true => Ok(Taken::More),
            false => self.hand_over(length, options, take),
        };
        let pieces = match taken {
            Ok(Taken::More) => Pieces::All,
            Ok(Taken::Enough) => Pieces::Enough,
            Ok(Taken::Refused(reason)) if options.skip_bad => {
                let (name, position) = (&self.name, self.position);
                warn!("{name}: a malformed record at byte {position} is skipped: {reason}");
                counts.skipped += 1;
                Pieces::All
            }
            Ok(Taken::Refused(reason)) | Err(reason) => return Pieces::Refused(reason),
        };
        self.advance(end + 1, counts);
        pieces
    }

    /// Where the piece that begins at `start` ends.
    #[inline]
    fn next_end(&mut self) -> Option<usize> {
        let rest = &self.buffer[self.scanned..self.filled];
        let end = match &mut self.scanner {
            Some(scanner) if !self.skipping => scanner.row_end(rest),
            _ => memchr::memchr(b'\n', rest),
        };
        end.map(|end| self.scanned + end)
    }

    /// Hands over the piece of that length. An error is one that cannot be skipped.
    #[inline]
    fn hand_over(
        &mut self,
        length: usize,
        options: &ReadOptions,
        take: &mut impl FnMut(Piece<'_>) -> Taken,
    ) -> Result<Taken, String> {
        let bytes = &self.buffer[self.start..self.start + length];
        let Framing::Csv(dialect) = options.framing else {
            return Ok(take(Piece { bytes, columns: None }));
        };
        if self.columns.is_none() {
            self.columns = Some(Columns::new(bytes, dialect)?);
            if dialect.header {
                return Ok(Taken::More);
            }
        }
        Ok(take(Piece { bytes, columns: self.columns.as_ref() }))
    }

    /// The piece up to `end` in the buffer is done with.
    #[inline]
    fn advance(&mut self, end: usize, counts: &mut Counts) {
        let bytes = (end - self.start) as u64;
        self.position += bytes;
        counts.bytes += bytes;
        self.unterminated = false;
        (self.start, self.scanned) = (end, end);
    }

    /// Skips the line whose newline is at `end` in the buffer, with what was thrown away of it.
    fn skip_line(&mut self, end: usize, counts: &mut Counts) {
        let end = end + 1;
        let next = self.read_position - (self.filled - end) as u64;
        let length = next - self.position;
        let (name, position) = (&self.name, self.position);
        warn!(
            "{name}: a line of {length} bytes at byte {position} is skipped, since it is longer \
             than line.bytes.max"
        );
        if self.skipping {
            let rest = &self.buffer[self.start..end];
            self.sum.crc = crc32c::crc32c_append(self.sum.thrown, rest);
            self.sum.summed = end;
        }
        counts.bytes += length;
        counts.skipped += 1;
        self.position = next;
        (self.skipping, self.unterminated) = (false, false);
        (self.start, self.scanned) = (end, end);
        if let Some(scanner) = &mut self.scanner {
            scanner.reset();
        }
    }

    /// Hands over a last piece that has no newline.
    pub fn finish(
        &mut self,
        options: &ReadOptions,
        counts: &mut Counts,
        take: &mut impl FnMut(Piece<'_>) -> Taken,
    ) -> io::Result<Pieces> {
        if self.compression.is_none() {
            self.compression = Some(Compression::None);
            self.read()?;
        }
        if self.skipping || self.start == self.filled {
            return Ok(Pieces::All);
        }
        let length = self.filled - self.start;
        let taken = self.hand_over(length, options, take);
        let pieces = match taken {
            Ok(Taken::More) => Pieces::All,
            Ok(Taken::Enough) => Pieces::Enough,
            Ok(Taken::Refused(_)) if options.skip_bad => {
                counts.skipped += 1;
                Pieces::All
            }
            Ok(Taken::Refused(reason)) | Err(reason) => return Ok(Pieces::Refused(reason)),
        };
        self.advance(self.filled, counts);
        if let Some(scanner) = &mut self.scanner {
            scanner.reset();
        }
        self.unterminated = true;
        Ok(pieces)
    }

    /// Reads on behind what is in the buffer.
    pub fn read(&mut self) -> io::Result<Read> {
        if self.start > 0 {
            self.settle_sum();
            self.buffer.copy_within(self.start..self.filled, 0);
            self.filled -= self.start;
            self.scanned -= self.start;
            self.start = 0;
            self.sum.summed = 0;
        }
        if self.compression.is_none() {
            self.len = self.file.metadata()?.len();
            self.compression = Compression::of_file(&self.file)?;
            if self.compression.is_none() {
                return Ok(Read::Nothing);
            }
        }
        if self.buffer.len() < self.filled + READ_BYTES {
            self.buffer.resize(self.filled + READ_BYTES, 0);
        }
        if self.is_packed() {
            return self.read_packed();
        }
        if let Some(stream) = &mut self.stream {
            let Ok(chunk) = stream.try_recv() else { return Ok(Read::Nothing) };
            let room = self.filled..self.filled + chunk.len();
            if self.buffer.len() < room.end {
                self.buffer.resize(room.end, 0);
            }
            self.buffer[room].copy_from_slice(&chunk);
            return Ok(self.was_read(chunk.len()));
        }
        let room = &mut self.buffer[self.filled..self.filled + READ_BYTES];
        let read = read_at(&self.file, room, self.read_position)?;
        // Looked at after the read: had the file been emptied before, what was read would be
        // from its second life.
        self.len = self.file.metadata()?.len();
        if self.len < self.read_position || !self.head.is_still_in(&self.file)? {
            return Ok(Read::Emptied);
        }
        Ok(self.was_read(read))
    }

    fn was_read(&mut self, read: usize) -> Read {
        self.head.extend(self.read_position, &self.buffer[self.filled..self.filled + read]);
        self.filled += read;
        self.read_position += read as u64;
        if read == 0 { Read::Nothing } else { Read::Some }
    }

    fn read_packed(&mut self) -> io::Result<Read> {
        let len = self.file.metadata()?.len();
        match self.unpacked {
            Some((before, _)) if len < before => return Ok(Read::Emptied),
            Some((before, _)) if len == before => return Ok(Read::Nothing),
            _ => {}
        }
        self.len = len;
        let room = self.filled..self.filled + READ_BYTES;
        if self.unpacking.is_none() {
            // What was unpacked before is unpacked again and passed over.
            let mut unpacker = self.unpacker()?.expect("it is compressed");
            let mut left = self.read_position;
            while left > 0 {
                let wanted = left.min(READ_BYTES as u64) as usize;
                match unpacker.fill(&mut self.buffer[room.clone()][..wanted])? {
                    0 if self.unpacked.is_none() => return Ok(Read::Emptied),
                    0 => return Ok(Read::Nothing),
                    read => left -= read as u64,
                }
            }
            self.unpacking = Some(unpacker);
        }
        let unpacker = self.unpacking.as_mut().expect("it was just put there");
        match unpacker.read(&mut self.buffer[room])? {
            Unpacked::Some(read) => Ok(self.was_read(read)),
            end => {
                self.unpacking = None;
                self.unpacked = Some((len, end));
                Ok(Read::Nothing)
            }
        }
    }

    /// Takes into the checksum what was handed over.
    fn settle_sum(&mut self) {
        if self.sum.summed < self.start && !self.skipping {
            let done = &self.buffer[self.sum.summed..self.start];
            self.sum.crc = crc32c::crc32c_append(self.sum.crc, done);
            self.sum.summed = self.start;
        }
    }

    /// Whether the file still begins as it did.
    #[cfg(test)]
    pub fn is_unchanged(&self) -> io::Result<bool> {
        self.head.is_still_in(&self.file)
    }

    /// Length of the line that begins at the position, and whether it has ended by now.
    pub fn line_length(&self) -> io::Result<(u64, bool)> {
        let mut chunk = vec![0; READ_BYTES];
        let mut length = 0;
        if self.is_packed() {
            return Ok(((self.filled - self.start) as u64, false));
        }
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
