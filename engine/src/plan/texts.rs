//! Functions of texts that DataFusion does not have, by the names that Flink and Hive have for
//! them.
//!
//! | call | gives |
//! |---|---|
//! | `url_encode(s)`, `url_decode(s)` | as forms are sent: a space is `+` |
//! | `parse_url(u, 'HOST')` | a part of a URL (RFC 3986) as it is written |
//! | `parse_url(u, 'QUERY', 'k')` | a value in its query |
//! | `str_to_map(s)`, `str_to_map(s, ';', ':')` | a map of `a=1,b=2`; of a name's values the last |
//! | `regexp_extract_all(s, p)` | group 1 of each match |
//! | `regexp_extract_all(s, p, 2)` | group 2; 0 is all of it |
//! | `hex(n)`, `hex(s)` | a whole number or bytes in base 16, upper case |
//! | `bin(n)` | a whole number in base 2: below zero the two's complement of 64 bits |
//!
//! Parts of a URL are PROTOCOL, AUTHORITY, USERINFO, HOST, PATH, FILE (path and query), QUERY and
//! REF. What is not there, and text that is no URL or not encoded, give NULL.

use std::sync::Arc;

use arrow::array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use datafusion_common::{Result, exec_datafusion_err, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;

/// For any registry that plans or runs our queries.
pub fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    KINDS.into_iter().map(|kind| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(TextFunction { kind, signature }))
    })
}

const KINDS: [Kind; 7] = [
    Kind::UrlEncode,
    Kind::UrlDecode,
    Kind::ParseUrl,
    Kind::StrToMap,
    Kind::RegexpExtractAll,
    Kind::Hex,
    Kind::Bin,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    UrlEncode,
    UrlDecode,
    ParseUrl,
    StrToMap,
    RegexpExtractAll,
    Hex,
    Bin,
}

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Text,
    Whole,
    /// A whole number, or text or bytes.
    Any,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::UrlEncode => "url_encode",
            Kind::UrlDecode => "url_decode",
            Kind::ParseUrl => "parse_url",
            Kind::StrToMap => "str_to_map",
            Kind::RegexpExtractAll => "regexp_extract_all",
            Kind::Hex => "hex",
            Kind::Bin => "bin",
        }
    }

    /// Its arguments, how many of them there must be, and how it is called.
    fn form(self) -> (&'static [Takes], usize, &'static str) {
        use Takes::{Any, Text, Whole};
        match self {
            Kind::UrlEncode => (&[Text], 1, "URL_ENCODE(text)"),
            Kind::UrlDecode => (&[Text], 1, "URL_DECODE(text)"),
            Kind::ParseUrl => (&[Text, Text, Text], 2, "PARSE_URL(url, 'HOST' [, key])"),
            Kind::StrToMap => (&[Text, Text, Text], 1, "STR_TO_MAP(text [, ',' [, '=']])"),
            Kind::RegexpExtractAll => {
                (&[Text, Text, Whole], 2, "REGEXP_EXTRACT_ALL(text, 'pattern' [, group])")
            }
            Kind::Hex => (&[Any], 1, "HEX(whole number, text or bytes)"),
            Kind::Bin => (&[Whole], 1, "BIN(whole number)"),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextFunction {
    kind: Kind,
    signature: Signature,
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (takes, least, form) = self.kind.form();
        let fits = (least..=takes.len()).contains(&types.len());
        let coerced = takes.iter().zip(types).map(|(takes, of)| coerced(*takes, of));
        match coerced.collect::<Option<Vec<_>>>().filter(|_| fits) {
            Some(coerced) => Ok(coerced),
            None => plan_err!("{} does not take these arguments: it is {form}", self.name()),
        }
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.kind {
            Kind::RegexpExtractAll => {
                DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
            }
            Kind::StrToMap => map_builder().finish().data_type().clone(),
            _ => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let columns = args.args.iter().map(|arg| arg.to_array(rows));
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let row_texts = |row: usize| columns.iter().map(move |column| text_at(column, row));
        let column: ArrayRef = match self.kind {
            Kind::StrToMap => {
                let texts = (0..rows).map(|row| row_texts(row).collect());
                Arc::new(maps(texts)?)
            }
            Kind::RegexpExtractAll => {
                let group = columns.get(2).map(|groups| groups.as_primitive::<Int64Type>());
                let group = |row: usize| match group {
                    None => Some(1),
                    Some(groups) => groups.is_valid(row).then(|| groups.value(row)),
                };
                let parts = (0..rows).map(|row| {
                    Some((text_at(&columns[0], row)?, text_at(&columns[1], row)?, group(row)?))
                });
                Arc::new(all_matches(parts)?)
            }
            Kind::Hex => {
                Arc::new((0..rows).map(|row| hex(&columns[0], row)).collect::<StringArray>())
            }
            Kind::Bin => {
                let numbers = columns[0].as_primitive::<Int64Type>();
                let texts = numbers.iter().map(|number| number.map(|of| format!("{of:b}")));
                Arc::new(texts.collect::<StringArray>())
            }
            Kind::UrlEncode => {
                let texts = (0..rows).map(|row| text_at(&columns[0], row).map(url_encoded));
                Arc::new(texts.collect::<StringArray>())
            }
            Kind::UrlDecode => {
                let texts = (0..rows).map(|row| text_at(&columns[0], row).and_then(url_decoded));
                Arc::new(texts.collect::<StringArray>())
            }
            Kind::ParseUrl => {
                let texts = (0..rows).map(|row| part_of_url(row_texts(row)));
                Arc::new(texts.collect::<Result<StringArray>>()?)
            }
        };
        Ok(ColumnarValue::Array(column))
    }
}

fn coerced(takes: Takes, of: &DataType) -> Option<DataType> {
    use DataType::{Binary, BinaryView, Int64, LargeBinary, LargeUtf8, Null, Utf8, Utf8View};
    match (takes, of) {
        (Takes::Text | Takes::Any, Utf8 | LargeUtf8 | Utf8View | Null) => Some(Utf8),
        (Takes::Whole | Takes::Any, of) if of.is_integer() => Some(Int64),
        (Takes::Whole, Null) => Some(Int64),
        (Takes::Any, Binary | LargeBinary | BinaryView) => Some(Binary),
        _ => None,
    }
}

fn text_at(column: &ArrayRef, row: usize) -> Option<&str> {
    let texts = column.as_string_opt::<i32>()?;
    texts.is_valid(row).then(|| texts.value(row))
}

fn hex(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    let bytes = match column.data_type() {
        DataType::Int64 => {
            return Some(format!("{:X}", column.as_primitive::<Int64Type>().value(row)));
        }
        DataType::Binary => column.as_binary::<i32>().value(row),
        _ => text_at(column, row)?.as_bytes(),
    };
    Some(bytes.iter().map(|byte| format!("{byte:02X}")).collect())
}

fn url_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'-' | b'_' | b'.' | b'*' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn url_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Of a URL, the name of a part, and perhaps a key of its query.
fn part_of_url<'t>(mut texts: impl Iterator<Item = Option<&'t str>>) -> Result<Option<String>> {
    let (Some(Some(url)), Some(Some(part))) = (texts.next(), texts.next()) else { return Ok(None) };
    let key = texts.next();
    let Some((protocol, rest)) = url.split_once(':').filter(|(protocol, _)| {
        let is_of_scheme = |sign: char| sign.is_ascii_alphanumeric() || "+-.".contains(sign);
        protocol.starts_with(|sign: char| sign.is_ascii_alphabetic())
            && protocol.chars().all(is_of_scheme)
    }) else {
        return Ok(None);
    };
    let (rest, reference) = before(rest, '#');
    let (rest, query) = before(rest, '?');
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(authority), path)
        }
        None => (None, rest),
    };
    let user = authority.and_then(|authority| authority.rsplit_once('@'));
    let found = match (part, key) {
        ("QUERY", Some(key)) => key.zip(query).and_then(|(key, query)| value_of(query, key)),
        (_, Some(_)) => None,
        ("PROTOCOL", _) => Some(protocol),
        ("AUTHORITY", _) => authority,
        ("USERINFO", _) => user.map(|(user, _)| user),
        ("HOST", _) => authority.map(|authority| {
            let host = user.map_or(authority, |(_, host)| host);
            // An address of IPv6 stands in brackets, and has colons of its own.
            let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
            &host[..port.unwrap_or(host.len())]
        }),
        ("PATH", _) => Some(path),
        ("FILE", _) => {
            return Ok(Some(query.map_or(path.to_owned(), |query| format!("{path}?{query}"))));
        }
        ("QUERY", _) => query,
        ("REF", _) => reference,
        (other, _) => {
            return exec_err!(
                "a URL has no '{other}': its parts are PROTOCOL, AUTHORITY, USERINFO, HOST, PATH, \
                 FILE, QUERY and REF"
            );
        }
    };
    Ok(found.map(str::to_owned))
}

/// A text up to a sign, and what follows it, if it is there.
fn before(text: &str, sign: char) -> (&str, Option<&str>) {
    text.split_once(sign).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn value_of<'q>(query: &'q str, key: &str) -> Option<&'q str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key)?.1.into())
}

fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

/// A map of each text; what parts pairs, and what parts their names and values, are patterns.
fn maps<'t>(rows: impl Iterator<Item = Vec<Option<&'t str>>>) -> Result<arrow::array::MapArray> {
    let (mut maps, mut pairs, mut sides) = (map_builder(), Pattern::default(), Pattern::default());
    for texts in rows {
        let mut texts = texts.into_iter();
        let text = texts.next().flatten();
        let (between, within) =
            (texts.next().unwrap_or(Some(",")), texts.next().unwrap_or(Some("=")));
        let (Some(text), Some(between), Some(within)) = (text, between, within) else {
            maps.append(false)?;
            continue;
        };
        let mut entries: Vec<(&str, Option<&str>)> = Vec::new();
        for pair in pairs.of(between)?.split(text).filter(|_| !text.is_empty()) {
            let mut sides = sides.of(within)?.splitn(pair, 2);
            let (Some(name), value) = (sides.next(), sides.next()) else { continue };
            match entries.iter_mut().find(|(known, _)| *known == name) {
                Some(entry) => entry.1 = value,
                None => entries.push((name, value)),
            }
        }
        for (name, value) in entries {
            maps.keys().append_value(name);
            maps.values().append_option(value);
        }
        maps.append(true)?;
    }
    Ok(maps.finish())
}

/// A group of each match of a pattern in a text.
fn all_matches<'t>(
    rows: impl Iterator<Item = Option<(&'t str, &'t str, i64)>>,
) -> Result<arrow::array::ListArray> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut known = Pattern::default();
    for row in rows {
        let Some((text, pattern, group)) = row else {
            lists.append_null();
            continue;
        };
        let pattern = known.of(pattern)?;
        let group = usize::try_from(group).ok().filter(|group| *group < pattern.captures_len());
        let Some(group) = group else {
            return exec_err!("'{pattern}' has no such group: they are counted from 1, 0 is all");
        };
        for found in pattern.captures_iter(text) {
            lists.values().append_option(found.get(group).map(|part| part.as_str()));
        }
        lists.append(true);
    }
    Ok(lists.finish())
}

/// A pattern, compiled once while it stays the same.
#[derive(Default)]
struct Pattern(Option<(String, Regex)>);

impl Pattern {
    fn of(&mut self, pattern: &str) -> Result<&Regex> {
        if self.0.as_ref().is_none_or(|(known, _)| known != pattern) {
            let compiled = Regex::new(pattern);
            let compiled = compiled.map_err(|error| {
                exec_datafusion_err!("'{pattern}' is no regular expression: {error}")
            })?;
            self.0 = Some((pattern.to_owned(), compiled));
        }
        Ok(&self.0.as_ref().expect("it was compiled just now").1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "a b+c", "ü/€?&=*-_.~", "100 %"] {
            assert_eq!(url_decoded(&url_encoded(text)).as_deref(), Some(text));
        }
        assert_eq!(url_encoded("a b+ü*"), "a+b%2B%C3%BC*");
        for wrong in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(url_decoded(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn urls_have_parts() {
        let of = |url: &'static str, part: &'static str| {
            part_of_url([Some(url), Some(part)].into_iter()).unwrap()
        };
        let url = "https://me:pw@[::1]:8080/a/b;c?x=1&y=a=b&x=2#top";
        for (part, expected) in [
            ("PROTOCOL", "https"),
            ("AUTHORITY", "me:pw@[::1]:8080"),
            ("USERINFO", "me:pw"),
            ("HOST", "[::1]"),
            ("PATH", "/a/b;c"),
            ("FILE", "/a/b;c?x=1&y=a=b&x=2"),
            ("QUERY", "x=1&y=a=b&x=2"),
            ("REF", "top"),
        ] {
            assert_eq!(of(url, part).as_deref(), Some(expected), "{part}");
        }
        assert_eq!(of("http://example.org", "HOST").as_deref(), Some("example.org"));
        assert_eq!(of("http://example.org:80", "HOST").as_deref(), Some("example.org"));
        assert_eq!(of("http://example.org", "PATH").as_deref(), Some(""));
        assert_eq!(of("http://example.org", "QUERY"), None);
        assert_eq!(of("mailto:me@example.org", "HOST"), None);
        assert_eq!(of("no url", "HOST"), None);
        let value = |key| part_of_url([Some(url), Some("QUERY"), Some(key)].into_iter()).unwrap();
        assert_eq!(value("x").as_deref(), Some("1"));
        assert_eq!(value("y").as_deref(), Some("a=b"));
        assert_eq!(value("z"), None);
        assert!(part_of_url([Some(url), Some("host")].into_iter()).is_err());
    }
}
