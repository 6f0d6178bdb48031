//! What log rotation makes of file names.
//!
//! ```text
//! app.log   app.log.1   app.log.2.gz   app.log-20260102.zst        all of the family app.log
//! app.log.3.gz.tmp   app.log.3.zst.part                            of it too, being compressed
//! └─ where it is written; the others were rotated away
//! ```

use std::path::{Path, PathBuf};

/// Endings of compressed files.
const PACKED: [&str; 3] = [".gz", ".zst", ".zstd"];

/// What tools put behind that until the file is whole.
const UNFINISHED: [&str; 4] = [".tmp", ".part", ".partial", "~"];

/// The name that a file had before it was rotated and compressed.
pub fn family(path: &Path) -> PathBuf {
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) => path.with_file_name(base(name)),
        None => path.to_owned(),
    }
}

/// Whether the name says that the file was rotated away or compressed.
pub fn is_rotated(path: &Path) -> bool {
    family(path) != path
}

fn base(name: &str) -> &str {
    let unpacked = |name: &'_ str| PACKED.iter().find(|ending| name.ends_with(**ending)).copied();
    let whole = UNFINISHED.iter().find_map(|ending| name.strip_suffix(ending));
    let name = whole.filter(|whole| unpacked(whole).is_some()).unwrap_or(name);
    let name = unpacked(name).and_then(|ending| name.strip_suffix(ending)).unwrap_or(name);
    // A number or a date after the name: `.1`, `-20260102`, `.2026-01-02_03`.
    let tail = name.trim_end_matches(|c: char| c.is_ascii_digit() || "-_.:T".contains(c));
    let rotated = &name[tail.len()..];
    let digits = rotated.bytes().any(|byte| byte.is_ascii_digit());
    // What has no ending before it is a name with a number in it, such as `part-1`.
    if digits && tail.contains('.') && rotated.starts_with(['.', '-', '_']) { tail } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_dates_and_packing_behind_a_name_are_rotation() {
        for name in [
            "app.log",
            "app.log.1",
            "app.log.12.gz",
            "app.log-20260102",
            "app.log.2026-01-02_03.zst",
            "app.log.gz",
            "app.log.4.gz.tmp",
            "app.log.zst~",
        ] {
            assert_eq!(family(&Path::new("/d").join(name)), Path::new("/d/app.log"), "{name}");
            assert_eq!(is_rotated(Path::new(name)), name != "app.log");
        }
        for own in ["part-0001.csv", "part-1", "a.b", "2026-01-02.log", "1", ".1", "x.mp3", "x.tmp"]
        {
            assert_eq!(family(Path::new(own)), Path::new(own));
        }
        assert_eq!(family(Path::new("part-1.csv.gz")), Path::new("part-1.csv"));
    }
}
