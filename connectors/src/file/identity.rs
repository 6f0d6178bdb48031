//! Which file this is, whatever it is called by now.
//!
//! A file is known by device and inode, and by a fingerprint of its first bytes: inodes are used
//! again, and a file can be emptied and written anew under the same one.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

/// How many of a file's first bytes count.
pub const HEAD_BYTES: usize = 1024;

/// A place on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
}

impl FileId {
    pub fn of(metadata: &Metadata) -> FileId {
        FileId { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// A hash of a file's first bytes, and how many these are: fewer than [`HEAD_BYTES`] if the file
/// was shorter when they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub hash: u64,
    pub bytes: usize,
}

/// The first bytes of a file as far as they were seen, at most [`HEAD_BYTES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head(Vec<u8>);

impl Head {
    /// Reads the first `bytes` of a file, or what there is.
    pub fn read(file: &File, bytes: usize) -> io::Result<Head> {
        let mut head = vec![0; bytes.min(HEAD_BYTES)];
        let read = read_at_most(file, &mut head)?;
        head.truncate(read);
        Ok(Head(head))
    }

    /// Of bytes that a file begins with.
    pub fn new(mut bytes: Vec<u8>) -> Head {
        bytes.truncate(HEAD_BYTES);
        Head(bytes)
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The head that gave `fingerprint`, if the file still begins with it.
    pub fn matching(file: &File, fingerprint: Fingerprint) -> io::Result<Option<Head>> {
        let head = Head::read(file, fingerprint.bytes)?;
        Ok((head.fingerprint() == fingerprint).then_some(head))
    }

    /// Takes in bytes seen at `position`, at or before the end of what was seen already.
    pub fn extend(&mut self, position: u64, bytes: &[u8]) {
        let seen = self.0.len();
        let new = usize::try_from(position).ok().and_then(|at| bytes.get(seen.checked_sub(at)?..));
        if let Some(new) = new {
            self.0.extend_from_slice(&new[..new.len().min(HEAD_BYTES - seen)]);
        }
    }

    /// Whether the file still begins so.
    pub fn is_still_in(&self, file: &File) -> io::Result<bool> {
        let mut now = [0; HEAD_BYTES];
        let read = read_at_most(file, &mut now[..self.0.len()])?;
        Ok(now[..read] == self.0[..])
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint { hash: fnv1a(&self.0), bytes: self.0.len() }
    }
}

/// Fills `into` from the file's start; less only where the file ends.
fn read_at_most(file: &File, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match file.read_at(&mut into[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// FNV-1a, 64 bits: its values are stored, so it must never change.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf29ce484222325);
        assert_eq!(fnv1a(b"a"), 0xaf63dc4c8601ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x85944171f73967e8);
    }

    #[test]
    fn a_head_grows_up_to_its_limit_and_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let bytes: Vec<u8> = (0..2000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let mut head = Head::default();
        head.extend(0, &bytes[..1000]);
        assert!(head.is_still_in(&file).unwrap());
        head.extend(1001, &bytes[1001..]);
        assert_eq!(head.fingerprint().bytes, 1000, "no gap");
        head.extend(900, &bytes[900..]);
        assert_eq!(head.fingerprint().bytes, HEAD_BYTES);
        assert_eq!(Head::matching(&file, head.fingerprint()).unwrap(), Some(head.clone()));
        std::fs::write(&path, &bytes[..1023]).unwrap();
        assert!(!head.is_still_in(&file).unwrap());
        assert_eq!(Head::matching(&file, head.fingerprint()).unwrap(), None);
    }
}
