//! What the records that are measured hold.

use std::path::Path;

use super::Error;
use crate::cli::Failure;

/// No file of payloads is larger.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Values of records, one after the other.
#[derive(Debug)]
pub struct Payloads {
    kind: Kind,
    random: Random,
}

#[derive(Debug)]
enum Kind {
    /// Capital letters at random.
    Letters(Vec<u8>),
    /// Any of these at random.
    OneOf(Vec<Vec<u8>>),
    /// 0, 1, 2 and so on, as text.
    Numbers { next: u64, text: String },
}

/// splitmix64: quick, and the same in every run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Payloads {
    pub fn of_size(size: usize) -> Payloads {
        Payloads::new(Kind::Letters(vec![b'A'; size]))
    }

    pub fn numbers() -> Payloads {
        Payloads::new(Kind::Numbers { next: 0, text: String::new() })
    }

    fn new(kind: Kind) -> Payloads {
        Payloads { kind, random: Random(0) }
    }

    /// Those of a file, with a delimiter between.
    pub fn read(path: &Path, delimiter: &str) -> Result<Payloads, Error> {
        let failed = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        println!("Reading payloads from: {}", full.display());
        let size = std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or(0);
        if size == 0 {
            return Err(Error::usage("File does not exist or empty file provided."));
        }
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("{size} bytes are more than are held in memory")).into());
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let payloads = split(&text, delimiter);
        println!("Number of messages read: {}", payloads.len());
        if payloads.is_empty() {
            return Err(failed("there is nothing but delimiters".to_owned()).into());
        }
        Ok(Payloads::new(Kind::OneOf(payloads)))
    }

    pub fn next(&mut self) -> &[u8] {
        match &mut self.kind {
            Kind::Letters(bytes) => {
                for part in bytes.chunks_mut(8) {
                    let random = self.random.next().to_le_bytes();
                    for (byte, random) in part.iter_mut().zip(random) {
                        *byte = b'A' + (u16::from(random) * 26 >> 8) as u8;
                    }
                }
                bytes
            }
            Kind::OneOf(payloads) => {
                let chosen = self.random.next() % payloads.len() as u64;
                &payloads[chosen as usize]
            }
            Kind::Numbers { next, text } => {
                *text = next.to_string();
                *next += 1;
                text.as_bytes()
            }
        }
    }
}

/// A delimiter may be written with a backslash, as `\n`.
fn split(text: &str, delimiter: &str) -> Vec<Vec<u8>> {
    let delimiter = delimiter.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
    let text = text.strip_suffix(&delimiter).unwrap_or(text);
    text.split(&delimiter).map(|payload| payload.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_letters_numbers_or_those_of_a_file() {
        let mut letters = Payloads::of_size(1_003);
        let first = letters.next().to_vec();
        assert!(first.len() == 1_003 && first.iter().all(u8::is_ascii_uppercase));
        assert!((b'A'..=b'Z').all(|letter| first.contains(&letter)));
        assert_ne!(letters.next(), first);
        let mut numbers = Payloads::numbers();
        assert_eq!((numbers.next().to_vec(), numbers.next()), (b"0".to_vec(), &b"1"[..]));
        assert_eq!(split("a\nb c\n", "\\n"), [b"a".to_vec(), b"b c".to_vec()]);
        assert_eq!(split("a||b", "||"), [b"a".to_vec(), b"b".to_vec()]);
    }

    #[test]
    fn a_file_that_is_missing_or_empty_is_refused() {
        let dir = std::env::temp_dir();
        assert!(Payloads::read(&dir.join("no such file of payloads"), "\\n").is_err());
    }
}
