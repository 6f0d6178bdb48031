//! Checksums of index files, which in Kafka's form have none.
//!
//! ```text
//! index-checksums   0                                            version
//!                   <base> <index> <timeindex> <txnindex>        one line per segment
//!                   <crc>                                        of all lines before
//! ```
//!
//! A damaged index would lead readers past records, or show them aborted ones. So before the first
//! entry of a segment's indexes is believed, the files are compared with what was written; those
//! that differ, or of which nothing is known, are made anew from the records.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::disk::Disk;
use super::error::StorageError;
use super::index;
use crate::ids::Offset;

const FILE: &str = "index-checksums";
/// Of a million segments.
const FILE_BYTES_MAX: u64 = 64 << 20;
const VERSION: &str = "0";

/// CRC-32C of a segment's index files; one that is not there is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexChecksums {
    pub offsets: u32,
    pub times: u32,
    pub aborted: u32,
}

impl IndexChecksums {
    pub fn of(offsets: &[u8], times: &[u8], aborted: &[u8]) -> IndexChecksums {
        IndexChecksums {
            offsets: crc32c::crc32c(offsets),
            times: crc32c::crc32c(times),
            aborted: crc32c::crc32c(aborted),
        }
    }
}

/// By the segments' base offsets. Nothing is known if the file is missing or damaged itself.
pub(super) fn load(disk: &dyn Disk, dir: &Path) -> BTreeMap<Offset, IndexChecksums> {
    let bytes = disk.read(&dir.join(FILE), FILE_BYTES_MAX).unwrap_or_default();
    std::str::from_utf8(&bytes).ok().and_then(parse).unwrap_or_default()
}

fn parse(text: &str) -> Option<BTreeMap<Offset, IndexChecksums>> {
    let (lines, crc) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    if crc != format!("{:08x}", crc32c::crc32c(lines.as_bytes())) {
        return None;
    }
    let mut lines = lines.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let entry = |line: &str| {
        let (base, sums) = line.split_once(' ')?;
        let sums = sums.split(' ').map(|crc| u32::from_str_radix(crc, 16).ok());
        let [offsets, times, aborted] = sums.collect::<Option<Vec<u32>>>()?.try_into().ok()?;
        Some((Offset(base.parse().ok()?), IndexChecksums { offsets, times, aborted }))
    };
    lines.map(entry).collect()
}

/// Replaces the file; its name is durable once the directory is synced.
pub(super) fn store(
    disk: &dyn Disk,
    dir: &Path,
    known: impl Iterator<Item = (Offset, IndexChecksums)>,
) -> Result<(), StorageError> {
    let mut text = VERSION.to_owned();
    for (base, IndexChecksums { offsets, times, aborted }) in known {
        write!(text, "\n{base} {offsets:08x} {times:08x} {aborted:08x}")
            .expect("a string takes everything");
    }
    let crc = crc32c::crc32c(text.as_bytes());
    write!(text, "\n{crc:08x}\n").expect("a string takes everything");
    index::write(disk, &dir.join(FILE), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::simulation::SimulatedDisk;

    #[test]
    fn what_was_stored_is_loaded_and_what_is_damaged_is_not() {
        let (disk, dir) = (SimulatedDisk::default(), Path::new("/data"));
        disk.create_dir_all(dir).unwrap();
        assert!(load(&disk, dir).is_empty());
        store(&disk, dir, std::iter::empty()).unwrap();
        assert!(load(&disk, dir).is_empty());
        let known = BTreeMap::from([
            (Offset(0), IndexChecksums { offsets: 1, times: u32::MAX, aborted: 0 }),
            (Offset(4711), IndexChecksums::of(b"a", b"b", b"")),
        ]);
        store(&disk, dir, known.clone().into_iter()).unwrap();
        assert_eq!(load(&disk, dir), known);
        let whole = disk.contents(&dir.join(FILE));
        for at in 0..whole.len() {
            disk.damage(&dir.join(FILE), whole[..at].to_vec());
            assert!(load(&disk, dir).is_empty(), "cut at {at}");
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            disk.damage(&dir.join(FILE), flipped);
            assert!(load(&disk, dir).is_empty(), "flipped at {at}");
        }
    }
}
