//! Compressed files: gzip and zstd, known by how they begin.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

/// Compressed bytes asked for in one read.
const READ_BYTES: usize = 128 << 10;
/// The largest zstd window that is taken, as `zstd` itself has it: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a file's bytes are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

const MAGICS: [(&[u8], Compression); 2] =
    [(b"\x1f\x8b\x08", Compression::Gzip), (b"\x28\xb5\x2f\xfd", Compression::Zstd)];

impl Compression {
    /// By a file's first bytes. `None`: there are too few of them to tell.
    pub fn of(head: &[u8]) -> Option<Compression> {
        for (magic, compression) in MAGICS {
            if head.starts_with(magic) {
                return Some(compression);
            }
            if magic.starts_with(head) {
                return None;
            }
        }
        Some(Compression::None)
    }

    /// The same, of a file. One that is empty cannot be told yet.
    pub fn of_file(file: &File) -> io::Result<Option<Compression>> {
        let mut head = [0; 4];
        let mut filled = 0;
        while filled < head.len() {
            match file.read_at(&mut head[filled..], filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Compression::of(&head[..filled]))
    }
}

/// What a read of compressed bytes gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpacked {
    Some(usize),
    /// The last packed part is complete.
    End,
    /// The file ends within one: it is still being written, or was cut.
    Cut,
}

/// Reads a compressed file from its start.
pub struct Unpacker(Inner);

enum Inner {
    Gzip(Box<MultiGzDecoder<BufReader<FromStart>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<FromStart>>),
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Unpacker {
    /// `None`: the file is not compressed so.
    pub fn new(file: &Arc<File>, compression: Compression) -> io::Result<Option<Unpacker>> {
        let file = FromStart { file: file.clone(), position: 0 };
        let file = BufReader::with_capacity(READ_BYTES, file);
        Ok(Some(Unpacker(match compression {
            Compression::None => return Ok(None),
            Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(file))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Inner::Zstd(decoder)
            }
        })))
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<Unpacked> {
        loop {
            let read = match &mut self.0 {
                Inner::Gzip(decoder) => decoder.read(into),
                Inner::Zstd(decoder) => decoder.read(into),
            };
            return match read {
                Ok(0) => Ok(Unpacked::End),
                Ok(read) => Ok(Unpacked::Some(read)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Unpacked::Cut),
                Err(error) => Err(error),
            };
        }
    }

    /// Reads to the end, or until there are `limit` bytes.
    pub fn read_to_end(&mut self, into: &mut Vec<u8>, limit: usize) -> io::Result<()> {
        let mut chunk = vec![0; READ_BYTES];
        while into.len() < limit {
            let room = chunk.len().min(limit - into.len());
            match self.read(&mut chunk[..room])? {
                Unpacked::Some(read) => into.extend_from_slice(&chunk[..read]),
                Unpacked::End => break,
                Unpacked::Cut => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }

    /// Reads until `into` is full or there is no more.
    pub fn fill(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.read(&mut into[filled..])? {
                Unpacked::Some(read) => filled += read,
                Unpacked::End | Unpacked::Cut => break,
            }
        }
        Ok(filled)
    }
}

/// A file with a cursor of its own.
#[derive(Debug)]
struct FromStart {
    file: Arc<File>,
    position: u64,
}

impl Read for FromStart {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        assert_eq!(Compression::of(b"\x1f\x8b\x08\0"), Some(Compression::Gzip));
        assert_eq!(Compression::of(b"\x28\xb5\x2f\xfd"), Some(Compression::Zstd));
        assert_eq!(Compression::of(b"(text"), Some(Compression::None));
        for undecided in [&b""[..], b"\x1f", b"\x1f\x8b", b"\x28\xb5\x2f"] {
            assert_eq!(Compression::of(undecided), None, "{undecided:?}");
        }
    }
}
