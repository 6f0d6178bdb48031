//! A line as a record: where its headers and key end, in the ways that Kafka's console producer
//! knows.
//!
//! ```text
//! h1:v1,h2:v2 <tab> key <tab> value       headers and key, each only if asked for
//! ```

use std::borrow::Cow;

use thiserror::Error;

/// What a line is made of. The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineForm {
    pub parse_key: bool,
    pub parse_headers: bool,
    pub key_separator: String,
    pub headers_delimiter: String,
    pub headers_separator: String,
    pub headers_key_separator: String,
    /// Stands for no key, no value, no headers or a header without a value.
    pub null_marker: Option<String>,
    /// A line without a separator is all value.
    pub ignore_error: bool,
}

impl Default for LineForm {
    fn default() -> LineForm {
        LineForm {
            parse_key: false,
            parse_headers: false,
            key_separator: "\t".to_owned(),
            headers_delimiter: "\t".to_owned(),
            headers_separator: ",".to_owned(),
            headers_key_separator: ":".to_owned(),
            null_marker: None,
            ignore_error: false,
        }
    }
}

/// A record's parts, borrowed from its line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineParts<'a> {
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<(Cow<'a, str>, Option<&'a [u8]>)>,
}

/// Why a line is no record.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LineError {
    #[error("line {number} has no '{separator}' in it")]
    Missing { what: &'static str, separator: String, number: u64, line: String },
    #[error("line {number}: the header '{pair}' has no '{separator}' in it")]
    Header { pair: String, separator: String, number: u64 },
    #[error("line {number}: a header has to have a name, which '{marker}' says there is none of")]
    NullHeader { marker: String, number: u64 },
}

impl LineForm {
    /// Two separators that cannot be told from each other, if there are such.
    pub fn conflict(&self) -> Option<String> {
        let mut named = vec![
            ("headers.delimiter", &self.headers_delimiter),
            ("headers.separator", &self.headers_separator),
            ("headers.key.separator", &self.headers_key_separator),
        ];
        let clash = |one: &(&str, &String), other: &(&str, &String)| {
            (one.1 == other.1).then(|| format!("{} and {} may not be equal", one.0, other.0))
        };
        for (index, one) in named.iter().enumerate() {
            if let Some(found) = named[index + 1..].iter().find_map(|other| clash(one, other)) {
                return Some(found);
            }
        }
        let marker = self.null_marker.as_ref()?;
        named.insert(0, ("key.separator", &self.key_separator));
        named.iter().find_map(|other| clash(&("null.marker", marker), other))
    }

    /// Takes a line apart; `number` counts from 1.
    pub fn parse<'a>(&self, number: u64, line: &'a [u8]) -> Result<LineParts<'a>, LineError> {
        let mut rest = line;
        let mut parts = LineParts::default();
        if self.parse_headers
            && let Some((headers, after)) =
                self.split(rest, line, &self.headers_delimiter, "headers delimiter", number)?
        {
            rest = after;
            if !self.is_null(headers) {
                parts.headers = self.headers(headers, number)?;
            }
        }
        if self.parse_key
            && let Some((key, after)) =
                self.split(rest, line, &self.key_separator, "key separator", number)?
        {
            rest = after;
            parts.key = Some(key).filter(|key| !self.is_null(key));
        }
        parts.value = Some(rest).filter(|value| !self.is_null(value));
        Ok(parts)
    }

    fn is_null(&self, part: &[u8]) -> bool {
        self.null_marker.as_ref().is_some_and(|marker| marker.as_bytes() == part)
    }

    /// What is before and after the first separator; `None` where that may be missing.
    fn split<'a>(
        &self,
        rest: &'a [u8],
        line: &[u8],
        separator: &str,
        what: &'static str,
        number: u64,
    ) -> Result<Option<(&'a [u8], &'a [u8])>, LineError> {
        match find(rest, separator.as_bytes()) {
            Some(at) => Ok(Some((&rest[..at], &rest[at + separator.len()..]))),
            None if self.ignore_error => Ok(None),
            None => Err(LineError::Missing {
                what,
                separator: separator.to_owned(),
                number,
                line: String::from_utf8_lossy(line).into_owned(),
            }),
        }
    }

    fn headers<'a>(
        &self,
        mut rest: &'a [u8],
        number: u64,
    ) -> Result<Vec<(Cow<'a, str>, Option<&'a [u8]>)>, LineError> {
        let mut headers = Vec::new();
        let separator = self.headers_separator.as_bytes();
        loop {
            let end = find(rest, separator).filter(|_| !separator.is_empty());
            headers.push(self.header(&rest[..end.unwrap_or(rest.len())], number)?);
            match end {
                Some(end) => rest = &rest[end + separator.len()..],
                None => return Ok(headers),
            }
        }
    }

    fn header<'a>(
        &self,
        pair: &'a [u8],
        number: u64,
    ) -> Result<(Cow<'a, str>, Option<&'a [u8]>), LineError> {
        let separator = &self.headers_key_separator;
        let Some(at) = find(pair, separator.as_bytes()) else {
            if self.ignore_error {
                return Ok((String::from_utf8_lossy(pair), None));
            }
            return Err(LineError::Header {
                pair: String::from_utf8_lossy(pair).into_owned(),
                separator: separator.clone(),
                number,
            });
        };
        let (key, value) = (&pair[..at], &pair[at + separator.len()..]);
        if self.is_null(key) {
            let marker = self.null_marker.clone().unwrap_or_default();
            return Err(LineError::NullHeader { marker, number });
        }
        Ok((String::from_utf8_lossy(key), Some(value).filter(|value| !self.is_null(value))))
    }
}

fn find(bytes: &[u8], separator: &[u8]) -> Option<usize> {
    bytes.windows(separator.len().max(1)).position(|window| window.starts_with(separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(part: &[u8]) -> Option<&[u8]> {
        Some(part)
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let form =
            LineForm { parse_key: true, key_separator: "::".to_owned(), ..LineForm::default() };
        let parts = form.parse(1, b"k::v::w").unwrap();
        assert_eq!((parts.key, parts.value), (text(b"k"), text(b"v::w")));
        assert_eq!(form.parse(7, b"no key").unwrap_err().to_string(), "line 7 has no '::' in it");
        assert!(form.parse(1, b"").is_err());
        let form = LineForm { ignore_error: true, ..form };
        assert_eq!(form.parse(1, b"no key").unwrap().value, text(b"no key"));
    }

    #[test]
    fn headers_come_first_and_nulls_are_marked() {
        let form = LineForm {
            parse_key: true,
            parse_headers: true,
            null_marker: Some("NULL".to_owned()),
            ..LineForm::default()
        };
        let parts = form.parse(1, b"h1:v1,h2:NULL\tkey\tNULL").unwrap();
        assert_eq!(parts.headers, [("h1".into(), text(b"v1")), ("h2".into(), None)]);
        assert_eq!((parts.key, parts.value), (text(b"key"), None));
        let parts = form.parse(1, b"NULL\tNULL\tvalue").unwrap();
        assert!(parts.headers.is_empty());
        assert_eq!((parts.key, parts.value), (None, text(b"value")));
        assert!(form.parse(1, b"h1\tkey\tvalue").is_err());
        assert!(form.parse(1, b"NULL:x\tkey\tvalue").is_err());
        assert!(form.parse(1, b"value").is_err());
    }

    #[test]
    fn separators_that_clash_are_named() {
        assert_eq!(LineForm::default().conflict(), None);
        let form = LineForm { headers_separator: ":".to_owned(), ..LineForm::default() };
        let clash = "headers.separator and headers.key.separator may not be equal";
        assert_eq!(form.conflict().unwrap(), clash);
        let form = LineForm { null_marker: Some("\t".to_owned()), ..LineForm::default() };
        assert_eq!(form.conflict().unwrap(), "null.marker and key.separator may not be equal");
    }
}
