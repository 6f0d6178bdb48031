//! The subject of a certificate as text: `CN=duke,OU=ops,O=acme` (RFC 2253, as Java writes it).
//!
//! ```text
//! Certificate  ::= SEQUENCE { tbs, algorithm, signature }
//! tbs          ::= SEQUENCE { [0] version, serial, algorithm, issuer, validity, subject, … }
//! Name         ::= SEQUENCE OF SET OF SEQUENCE { type OID, value ANY }
//! ```
//!
//! Only certificates that TLS has verified come here; still, no bytes panic.

use std::fmt::Write as _;

/// DER's tags.
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// Attributes that RFC 2253 has names for, by the bytes of their OIDs.
const NAMES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1], "UID"),
];

/// A cursor over DER.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next element: its tag, its contents, and all of it.
    fn next(&mut self) -> Option<(u8, Der<'a>, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // 0x80 is a length that is not told, and none needs five bytes.
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (contents, behind) = rest.split_at_checked(len)?;
        let whole = &self.0[..self.0.len() - behind.len()];
        self.0 = behind;
        Some((tag, Der(contents), whole))
    }

    fn expect(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next().filter(|next| next.0 == tag).map(|next| next.1)
    }
}

/// The subject of a certificate in DER; `None` if it has none that can be read.
pub fn subject(certificate: &[u8]) -> Option<String> {
    let mut tbs = Der(certificate).expect(SEQUENCE)?.expect(SEQUENCE)?;
    if tbs.0.first() == Some(&VERSION) {
        tbs.next()?;
    }
    // Serial number, algorithm, issuer and validity stand before it.
    for _ in 0..4 {
        tbs.next()?;
    }
    let mut subject = tbs.expect(SEQUENCE)?;
    let mut parts = Vec::new();
    while !subject.0.is_empty() {
        parts.push(relative_name(subject.expect(SET)?)?);
    }
    // The most particular first.
    parts.reverse();
    Some(parts.join(","))
}

fn relative_name(mut set: Der<'_>) -> Option<String> {
    let mut attributes = Vec::new();
    while !set.0.is_empty() {
        let mut attribute = set.expect(SEQUENCE)?;
        let id = attribute.expect(OBJECT_ID)?.0;
        let (tag, value, whole) = attribute.next()?;
        let name = NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
        attributes.push(match (name, text(tag, value.0)) {
            (Some(name), Some(text)) => format!("{name}={}", escaped(&text)),
            (name, _) => {
                let name = name.map_or_else(|| dotted(id), str::to_owned);
                let hex = whole.iter().fold(String::new(), |mut hex, byte| {
                    _ = write!(hex, "{byte:02x}");
                    hex
                });
                format!("{name}=#{hex}")
            }
        });
    }
    Some(attributes.join("+"))
}

/// A string of one of the types that names have.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    const TELETEX: u8 = 0x14;
    const IA5: u8 = 0x16;
    const UNIVERSAL: u8 = 0x1c;
    const BMP: u8 = 0x1e;
    match tag {
        UTF8 | PRINTABLE | IA5 => String::from_utf8(value.to_vec()).ok(),
        TELETEX => Some(value.iter().map(|byte| char::from(*byte)).collect()),
        BMP => {
            let (units, []) = value.as_chunks::<2>() else { return None };
            String::from_utf16(
                &units.iter().map(|unit| u16::from_be_bytes(*unit)).collect::<Vec<_>>(),
            )
            .ok()
        }
        UNIVERSAL => {
            let (units, []) = value.as_chunks::<4>() else { return None };
            units.iter().map(|unit| char::from_u32(u32::from_be_bytes(*unit))).collect()
        }
        _ => None,
    }
}

/// As Java's `AVA.toRFC2253String` does: more than the RFC asks for, so that what looks like
/// another attribute within a value is none to rules that are made for such texts.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let is_blank = |character: char| matches!(character, ' ' | '\r');
    let inner = text.trim_matches(is_blank);
    let begin = text.len() - text.trim_start_matches(is_blank).len();
    for (at, character) in text.char_indices() {
        let is_edge = at < begin || at >= begin + inner.len();
        match character {
            '\0' => {
                out += "\\00";
                continue;
            }
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => out.push('\\'),
            _ if is_edge => out.push('\\'),
            _ => {}
        }
        out.push(character);
    }
    out
}

fn dotted(id: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for byte in id {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let first = numbers.first().copied().unwrap_or(0);
    let top = (first / 40).min(2);
    let rest = numbers.iter().skip(1).map(u64::to_string);
    let all = [top.to_string(), (first - top * 40).to_string()].into_iter().chain(rest);
    all.collect::<Vec<String>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::principal::PrincipalMapping;

    fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
        let len = u16::try_from(contents.len()).unwrap();
        let mut out = vec![tag, 0x82];
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(contents);
        out
    }

    fn certificate(names: &[Vec<u8>]) -> Vec<u8> {
        let name = element(SEQUENCE, &names.concat());
        let empty = element(SEQUENCE, &[]);
        let tbs = [
            element(VERSION, &element(2, &[2])),
            element(2, &[1]),
            empty.clone(),
            empty.clone(),
            empty,
            name,
        ];
        element(SEQUENCE, &element(SEQUENCE, &tbs.concat()))
    }

    fn attribute(id: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[element(OBJECT_ID, id), element(tag, value)].concat())
    }

    #[test]
    fn a_subject_is_written_as_java_does() {
        let cn = &[0x55, 4, 3];
        let email = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
        let names = [
            element(SET, &attribute(&[0x55, 4, 6], 0x13, b"DE")),
            element(SET, &attribute(&[0x55, 4, 10], 0x0c, "Ä, Söhne".as_bytes())),
            element(SET, &attribute(&email, 0x16, b"a")),
            element(
                SET,
                &[attribute(cn, 0x0c, b" du+ke "), attribute(&[0x55, 4, 11], 0x0c, b"#1")].concat(),
            ),
        ];
        let text = subject(&certificate(&names)).unwrap();
        let expected =
            "CN=\\ du\\+ke\\ +OU=\\#1,1.2.840.113549.1.9.1=#1682000161,O=Ä\\, Söhne,C=DE";
        assert_eq!(text, expected);
        assert_eq!(subject(&certificate(&[])).unwrap(), "");
    }

    #[test]
    fn values_are_escaped_as_java_does() {
        for (value, expected) in [
            ("a,b=c+d<e>f#g;h\"i\\j", r#"a\,b\=c\+d\<e\>f\#g\;h\"i\\j"#),
            ("#a", r"\#a"),
            ("a\0b", r"a\00b"),
            ("  a  b  ", r"\ \ a  b\ \ "),
            ("   ", r"\ \ \ "),
            ("", ""),
            ("Ä ö", "Ä ö"),
        ] {
            assert_eq!(escaped(value), expected, "{value:?}");
        }
    }

    /// A value that has another attribute's name in it is not taken for that.
    #[test]
    fn rules_are_not_misled_by_values() {
        let names = [
            element(SET, &attribute(&[0x55, 4, 10], 0x0c, b"x CN=admin")),
            element(SET, &attribute(&[0x55, 4, 3], 0x0c, b"mallory")),
        ];
        let text = subject(&certificate(&names)).unwrap();
        assert_eq!(text, r"CN=mallory,O=x CN\=admin");
        let rules: PrincipalMapping = r"RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L".parse().unwrap();
        assert_eq!(rules.principal(&text).unwrap().as_str(), "User:mallory");
    }

    #[test]
    fn no_bytes_panic() {
        let good = certificate(&[element(SET, &attribute(&[0x55, 4, 3], 0x1e, &[0, 65]))]);
        assert_eq!(subject(&good).unwrap(), "CN=A");
        for at in 0..good.len() {
            _ = subject(&good[..at]);
            for change in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut bad = good.clone();
                bad[at] = change;
                _ = subject(&bad);
            }
        }
        assert_eq!(subject(&[]), None);
    }
}
