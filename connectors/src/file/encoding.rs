//! How the texts of files are encoded: UTF-8, or as older programs write them, in one byte per
//! character, by the names that the Encoding Standard (WHATWG) has for them: ISO-8859-1 is read as
//! its superset windows-1252.
//!
//! Encodings whose characters have several bytes are left out: in them a byte that looks like a
//! delimiter or the end of a line may be none.

use std::borrow::Cow;

use encoding_rs::UTF_8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

impl Encoding {
    pub const UTF_8: Encoding = Encoding(UTF_8);

    /// The error is a reason to be read by people.
    pub fn named(name: &str) -> Result<Encoding, String> {
        match encoding_rs::Encoding::for_label(name.as_bytes()) {
            Some(found) if found == UTF_8 || found.is_single_byte() => Ok(Encoding(found)),
            Some(found) => Err(format!(
                "files in {} cannot be read: its characters differ in length",
                found.name()
            )),
            None => Err(format!("there is no encoding '{name}'")),
        }
    }

    /// A line in UTF-8, which one that is said to be passes as it is.
    pub fn to_utf8(self, line: &[u8]) -> Result<Cow<'_, [u8]>, String> {
        if self.0 == UTF_8 {
            return Ok(Cow::Borrowed(line));
        }
        let text = self.decode(line).map_err(|what| format!("it {what}"))?;
        Ok(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// The text of bytes; an error says what is wrong with them.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, String> {
        self.0
            .decode_without_bom_handling_and_without_replacement(bytes)
            .ok_or_else(|| format!("is not {}", self.0.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_standard() {
        for (name, expected) in [
            ("UTF-8", "UTF-8"),
            ("utf8", "UTF-8"),
            ("ISO-8859-1", "windows-1252"),
            ("latin1", "windows-1252"),
            ("windows-1250", "windows-1250"),
            ("KOI8-R", "KOI8-R"),
        ] {
            assert_eq!(Encoding::named(name).unwrap().0.name(), expected);
        }
        for (name, why) in [
            ("UTF-16", "UTF-16LE cannot be read"),
            ("Shift_JIS", "Shift_JIS cannot be read"),
            ("replacement", "cannot be read"),
            ("utf-9", "no encoding 'utf-9'"),
        ] {
            let refused = Encoding::named(name).unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
    }

    #[test]
    fn bytes_are_decoded_or_refused() {
        let decode =
            |name, bytes| Encoding::named(name).unwrap().decode(bytes).map(Cow::into_owned);
        assert_eq!(decode("latin1", b"caf\xe9 \x80").unwrap(), "café €");
        assert_eq!(decode("windows-1251", b"\xcf\xf0\xe8").unwrap(), "При");
        assert_eq!(decode("utf-8", b"caf\xe9").unwrap_err(), "is not UTF-8");
        assert_eq!(decode("windows-1253", b"\xd2").unwrap_err(), "is not windows-1253");
    }
}
