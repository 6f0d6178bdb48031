//! Texts that are not to be seen as they are: `column.mask.*` and `column.truncate.*`, with
//! Debezium's names and results.

use std::fmt;

use ring::digest::{self, Algorithm};

use crate::data::{SchemaBuilder, Text, Value};

/// What becomes of a column's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// So many stars, whatever was there, null included.
    Stars(usize),
    Hash(Hash),
    /// At most so many characters, as UTF-16 counts them.
    Truncate(usize),
}

/// A salted hash in hexadecimal digits, no longer than the column is wide.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    algorithm: &'static Algorithm,
    salt: String,
    /// The first form: of the text as Java serializes it.
    java: bool,
    width: Option<usize>,
}

/// The salt is a secret.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({:?}, java: {}, width: {:?})", self.algorithm, self.java, self.width)
    }
}

/// Hashes by Java's names.
pub const ALGORITHMS: [(&str, &Algorithm); 4] = [
    ("SHA-1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
    ("SHA-256", &digest::SHA256),
    ("SHA-384", &digest::SHA384),
    ("SHA-512", &digest::SHA512),
];

impl Hash {
    /// `SHA-256.with.salt.abc`, or the same after `v2.`; `None`: it is neither.
    pub fn parse(text: &str) -> Option<Hash> {
        let (java, text) = match text.strip_prefix("v2.") {
            Some(rest) => (false, rest),
            None => (true, text),
        };
        let (name, salt) = text.split_once(".with.salt.").filter(|(_, salt)| !salt.is_empty())?;
        let known = ALGORITHMS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, algorithm) = known?;
        Some(Hash { algorithm, salt: salt.to_owned(), java, width: None })
    }

    fn of(&self, text: &str) -> String {
        let mut context = digest::Context::new(self.algorithm);
        context.update(self.salt.as_bytes());
        match self.java {
            true => context.update(&java_serialized(text)),
            false => context.update(text.as_bytes()),
        }
        let digest = context.finish();
        let mut hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(self.width.unwrap_or(usize::MAX));
        hex
    }
}

/// What `ObjectOutputStream` writes of a string.
fn java_serialized(text: &str) -> Vec<u8> {
    const MAGIC_AND_VERSION: [u8; 4] = [0xac, 0xed, 0, 5];
    const STRING: u8 = 0x74;
    const LONG_STRING: u8 = 0x7c;
    // Each half of a letter beyond the first 65,536 has three bytes of its own, and zero has two.
    let mut letters = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let low = |bits: u16| 0x80 | (bits & 0x3f) as u8;
        match unit {
            1..0x80 => letters.push(unit as u8),
            0 | 0x80..0x800 => letters.extend([0xc0 | (unit >> 6) as u8, low(unit)]),
            _ => letters.extend([0xe0 | (unit >> 12) as u8, low(unit >> 6), low(unit)]),
        }
    }
    let mut out = MAGIC_AND_VERSION.to_vec();
    match u16::try_from(letters.len()) {
        Ok(length) => {
            out.push(STRING);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(LONG_STRING);
            out.extend((letters.len() as u64).to_be_bytes());
        }
    }
    out.extend(letters);
    out
}

impl Mask {
    /// The mask of a column that is so many characters wide, if it has a width. `None`: it cuts
    /// nothing off such a column.
    pub fn fitted(mut self, width: Option<usize>) -> Option<Mask> {
        match &mut self {
            Mask::Hash(hash) => hash.width = width,
            Mask::Truncate(to) if width.is_some_and(|width| width <= *to) => return None,
            _ => {}
        }
        Some(self)
    }

    pub fn of_text(&self, text: Text) -> Value {
        match self {
            Mask::Stars(count) => Value::string("*".repeat(*count)),
            Mask::Hash(hash) => Value::string(hash.of(&text)),
            Mask::Truncate(to) => {
                let mut left = *to;
                let end = text.char_indices().find(|(_, letter)| {
                    let fits = letter.len_utf16() <= left;
                    left = left.saturating_sub(letter.len_utf16());
                    !fits
                });
                match end {
                    Some((end, _)) => Value::string(&text[..end]),
                    None => Value::String(text),
                }
            }
        }
    }

    /// What stands where there is no text, if anything does.
    pub fn of_nothing(&self) -> Option<Value> {
        matches!(self, Mask::Stars(_)).then(|| self.of_text(Text::from_static("")))
    }

    /// Says so in the field's schema.
    pub fn noted(&self, builder: SchemaBuilder) -> SchemaBuilder {
        match self {
            Mask::Truncate(to) => builder.parameter("truncateLength", to.to_string()),
            _ => builder.parameter("masked", "true"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, text: &str) -> String {
        mask.of_text(Text::from(text)).as_str().unwrap().to_owned()
    }

    /// What Java's and Debezium's own classes make of the same.
    #[test]
    fn hashes_are_those_of_debezium() {
        let first = Mask::Hash(Hash::parse("SHA-256.with.salt.salt").unwrap());
        let hello = "af5843a0f0e728ab0332c8888b6e1190bfb79e584f0d40538de8f10df6ef29c6";
        assert_eq!(masked(&first, "hello"), hello);
        let world = "4588e1f2dcdc7fefc1515d3acd5acb9033478eace68286f383c337b9ff4464a3";
        assert_eq!(masked(&first, "world"), world);
        let second = Mask::Hash(Hash::parse("v2.sha-256.with.salt.salt").unwrap());
        let hello = "cd31b3b98ece60cb739c0bf770b2de892ae0ad133f645513c3d83f08757a843a";
        assert_eq!(masked(&second, "hello"), hello);
        assert_eq!(masked(&second.clone().fitted(Some(7)).unwrap(), "hello"), "cd31b3b");
        assert!(!format!("{second:?}").contains("salt.salt"));
        for wrong in ["SHA-256", "SHA-256.with.salt.", "ROT-13.with.salt.x", "v3.SHA-1.with.salt.x"]
        {
            assert_eq!(Hash::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn javas_form_of_a_string_has_its_own_letters_and_lengths() {
        assert_eq!(&java_serialized("a\0é€")[5..], b"\0\x08a\xc0\x80\xc3\xa9\xe2\x82\xac");
        assert_eq!(&java_serialized("😀")[5..], b"\0\x06\xed\xa0\xbd\xed\xb8\x80");
        let long = java_serialized(&"x".repeat(70_000));
        assert_eq!((long[4], &long[5..13]), (0x7c, &70_000_u64.to_be_bytes()[..]));
    }

    #[test]
    fn letters_are_cut_off_whole_and_stars_hide_what_is_missing() {
        let three = Mask::Truncate(3);
        assert_eq!(masked(&three, "ab"), "ab");
        assert_eq!(masked(&three, "äbcd"), "äbc");
        assert_eq!(masked(&three, "ab😀"), "ab");
        assert_eq!(three.clone().fitted(Some(3)), None);
        assert_eq!(
            (three.fitted(None), Mask::Stars(2).of_nothing().is_some()),
            (Some(Mask::Truncate(3)), true)
        );
        assert_eq!(masked(&Mask::Stars(4), "a long secret"), "****");
    }
}
