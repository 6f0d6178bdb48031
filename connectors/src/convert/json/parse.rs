//! JSON text into a tree that keeps what Connect needs: numbers as written, fields in order.
//!
//! Strings without escapes share the bytes that they were read from. Nesting is bounded, so no
//! input can exhaust the stack; the tree is bounded by the input.

use bytes::Bytes;
use indexmap::IndexMap;

use crate::data::{DataError, Text};

/// Deeper nesting is refused, as Jackson does at 1,000.
const DEPTH_MAX: usize = 500;

/// One JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    Boolean(bool),
    /// As written.
    Number(Text),
    String(Text),
    Array(Vec<Json>),
    /// Of fields with the same name, the last counts.
    Object(IndexMap<Text, Json>),
}

impl Json {
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(fields) => fields.get(name.as_bytes()),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&Text> {
        match self {
            Json::String(text) => Some(text),
            _ => None,
        }
    }

    /// What this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Boolean(_) => "a boolean",
            Json::Number(_) => "a number",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }
}

/// The value that all of the text is; `None` if it is blank.
pub(super) fn parse(bytes: &Bytes) -> Result<Option<Json>, DataError> {
    let mut parser = Parser::new(bytes)?;
    if parser.peek().is_none() {
        return Ok(None);
    }
    let value = parser.value(0)?;
    parser.end()?;
    Ok(Some(value))
}

/// The two fields of `{"schema": …, "payload": …}`: the first as text, to be looked up, the
/// second as a tree. `None` if that is not what the text is. `expected` is an object that the
/// first most likely is: then it need not be looked through.
pub(super) fn parse_envelope(
    bytes: &Bytes,
    expected: &[u8],
) -> Result<Option<(Bytes, Json)>, DataError> {
    let mut parser = Parser::new(bytes)?;
    let (mut schema, mut payload) = (None, None);
    if parser.peek() != Some(b'{') {
        return Ok(None);
    }
    parser.fields(|parser, name| {
        match name.as_str() {
            "schema" => schema = Some(parser.skipped_if(expected)?),
            "payload" => payload = Some(parser.value(1)?),
            _ => {
                schema = None;
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    parser.end()?;
    Ok(schema.zip(payload))
}

struct Parser<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a Bytes) -> Result<Parser<'a>, DataError> {
        let wrong = |error| DataError(format!("not JSON: it is no UTF-8 text: {error}"));
        std::str::from_utf8(bytes).map_err(wrong)?;
        Ok(Parser { bytes, at: 0 })
    }

    fn error(&self, expected: &str) -> DataError {
        let found = match self.bytes.get(self.at) {
            None => "the text ends".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("there is '{}'", *byte as char),
            Some(byte) => format!("there is byte 0x{byte:02x}"),
        };
        DataError(format!("not JSON: at byte {} {expected} is expected but {found}", self.at))
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, expected: &str) -> Result<(), DataError> {
        if self.peek() != Some(byte) {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<(), DataError> {
        if self.peek().is_some() { Err(self.error("the end of the text")) } else { Ok(()) }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, DataError> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error("a JSON value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn value(&mut self, depth: usize) -> Result<Json, DataError> {
        if depth > DEPTH_MAX {
            return Err(DataError(format!("JSON is nested more than {DEPTH_MAX} levels deep")));
        }
        match self.peek() {
            Some(b'{') => {
                let mut object = IndexMap::new();
                self.fields(|parser, name| {
                    object.insert(name, parser.value(depth + 1)?);
                    Ok(true)
                })?;
                Ok(Json::Object(object))
            }
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b't') => self.word("true", Json::Boolean(true)),
            Some(b'f') => self.word("false", Json::Boolean(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.error("a JSON value")),
        }
    }

    /// Passes over a value, quickly if it is the object `expected`: that ends with its own brace.
    fn skipped_if(&mut self, expected: &[u8]) -> Result<Bytes, DataError> {
        self.peek();
        if expected.ends_with(b"}") && self.bytes[self.at..].starts_with(expected) {
            let from = self.at;
            self.at += expected.len();
            return Ok(self.bytes.slice(from..self.at));
        }
        self.skipped()
    }

    /// Passes over a value and gives its text.
    fn skipped(&mut self) -> Result<Bytes, DataError> {
        self.peek();
        let from = self.at;
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(b'"') => self.skip_string()?,
                Some(byte) if byte.is_ascii_alphanumeric() || byte == b'-' => {
                    let rest = &self.bytes[self.at..];
                    let ends = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
                _ => return Err(self.error("a JSON value")),
            }
            if depth == 0 {
                return Ok(self.bytes.slice(from..self.at));
            }
        }
    }

    fn skip_string(&mut self) -> Result<(), DataError> {
        loop {
            self.at += 1;
            let rest = &self.bytes[self.at.min(self.bytes.len())..];
            let next = memchr::memchr2(b'"', b'\\', rest);
            self.at += next.unwrap_or(rest.len());
            match self.bytes.get(self.at) {
                Some(b'\\') => self.at += 1,
                Some(_) => {
                    self.at += 1;
                    return Ok(());
                }
                None => return Err(self.error("the end of a string")),
            }
        }
    }

    /// Hands the name of each field to `take`, which reads its value, or says that it will not.
    fn fields(
        &mut self,
        mut take: impl FnMut(&mut Self, Text) -> Result<bool, DataError>,
    ) -> Result<(), DataError> {
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.error("a field's name"));
            }
            let name = self.string()?;
            self.expect(b':', "':'")?;
            if !take(self, name)? {
                // Whoever refuses a field wants nothing of the rest.
                self.at = self.bytes.len();
                return Ok(());
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.error("',' or '}'")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, DataError> {
        let mut items = Vec::new();
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                _ => return Err(self.error("',' or ']'")),
            }
        }
    }

    fn digits(&mut self) -> Result<(), DataError> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.error("a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn number(&mut self) -> Result<Json, DataError> {
        let from = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = self.bytes.get(self.at) == Some(&b'0');
        let whole = self.at;
        self.digits()?;
        if leading_zero && self.at > whole + 1 {
            self.at = whole + 1;
            return Err(self.error("a number without leading zeros"));
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(self.shared(from, self.at)))
    }

    /// A part of the text, without a copy.
    fn shared(&self, from: usize, to: usize) -> Text {
        Text::from_utf8(self.bytes.slice(from..to)).expect("cut between characters of UTF-8 text")
    }

    fn string(&mut self) -> Result<Text, DataError> {
        self.at += 1;
        let from = self.at;
        let mut unescaped = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
            let plain = rest.iter().position(special).unwrap_or(rest.len());
            let chunk = (self.at, self.at + plain);
            self.at += plain;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    if chunk.0 == from {
                        return Ok(self.shared(chunk.0, chunk.1));
                    }
                    unescaped.push_str(&self.shared(chunk.0, chunk.1));
                    return Ok(unescaped.into());
                }
                Some(b'\\') => {
                    unescaped.push_str(&self.shared(chunk.0, chunk.1));
                    self.at += 1;
                    unescaped.push(self.escape()?);
                }
                _ => return Err(self.error("the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DataError> {
        let escaped = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.error("an escape")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn unicode(&mut self) -> Result<char, DataError> {
        let first = self.hex4()?;
        let high = (0xd800..0xdc00).contains(&first);
        if high && self.bytes[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).expect("a surrogate pair is a character"));
            }
            self.at = before;
        }
        // Half a pair is no character: Java would write it as '?'.
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, DataError> {
        let digits = self.bytes.get(self.at..self.at + 4).and_then(|hex| {
            let all = hex.iter().all(u8::is_ascii_hexdigit);
            std::str::from_utf8(hex).ok().filter(|_| all)
        });
        let digits = digits.ok_or_else(|| self.error("four hexadecimal digits"))?;
        self.at += 4;
        Ok(u32::from_str_radix(digits, 16).expect("all are hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Json {
        parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap().unwrap()
    }

    /// As serde_json sees it.
    fn plain(json: &Json) -> serde_json::Value {
        match json {
            Json::Null => serde_json::Value::Null,
            Json::Boolean(value) => (*value).into(),
            Json::Number(text) => serde_json::from_str(text).unwrap(),
            Json::String(text) => text.as_str().into(),
            Json::Array(items) => items.iter().map(plain).collect(),
            Json::Object(fields) => {
                fields.iter().map(|(name, value)| (name.to_string(), plain(value))).collect()
            }
        }
    }

    #[test]
    fn numbers_stay_as_written_and_the_last_of_two_fields_counts() {
        assert_eq!(parsed("1.50e+3"), Json::Number("1.50e+3".into()));
        let object = parsed(r#" {"b":1,"a":[true,null],"b":"\u00e9\ud83d\ude00\n"} "#);
        assert_eq!(object.get("b"), Some(&Json::String("é😀\n".into())));
        let Json::Object(fields) = object else { panic!() };
        assert_eq!(fields.keys().map(Text::as_str).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        for text in [
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            "-",
            "\"",
            "\"\\x\"",
            "tru",
            "1 2",
            "\"\\u12\"",
            "nul",
            "[1",
            "{a:1}",
            "\"a\nb\"",
            "+1",
            ".5",
        ] {
            let error = parse(&Bytes::copy_from_slice(text.as_bytes())).unwrap_err();
            assert!(error.0.starts_with("not JSON: at byte "), "{text}: {error}");
        }
        let deep = "[".repeat(100_000);
        let error = parse(&Bytes::from(deep)).unwrap_err();
        assert!(error.0.contains("levels deep"), "{error}");
        assert!(parse(&Bytes::from_static(b"\"\xff\"")).unwrap_err().0.contains("UTF-8"));
        assert_eq!(parse(&Bytes::from_static(b" \n")), Ok(None));
    }

    #[test]
    fn an_envelope_has_both_fields_and_no_other() {
        let envelope =
            |text: &'static str| parse_envelope(&Bytes::from_static(text.as_bytes()), b"{}");
        let (schema, payload) =
            envelope(r#"{"payload": 1, "schema": {"a": ["}\"", 1.5]} }"#).unwrap().unwrap();
        assert_eq!(&schema[..], br#"{"a": ["}\"", 1.5]}"#);
        assert_eq!(payload, Json::Number("1".into()));
        let quick = envelope(r#"{"schema": {},"payload":1}"#).unwrap().unwrap();
        assert_eq!(quick, (Bytes::from_static(b"{}"), Json::Number("1".into())));
        assert!(envelope(r#"{"schema": {}x,"payload":1}"#).is_err());
        for text in [r#"{"payload":1}"#, r#"{"schema":null,"payload":1,"x":2}"#, "1", "{}"] {
            assert_eq!(envelope(text), Ok(None), "{text}");
        }
        assert!(envelope(r#"{"schema":{"a":1"#).is_err());
        assert!(envelope(r#"{"schema":"a\"#).is_err());
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_is_read_alike(text in r#"[\[\]{}",:0-9eE.+\-a-f\\nrtul ]{0,24}"#) {
            let ours = parse(&Bytes::copy_from_slice(text.as_bytes()));
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) => prop_assert_eq!(plain(&ours.unwrap().unwrap()), value),
                // Numbers too large for a double, and halves of pairs, are all it refuses alone.
                Err(error) => if !matches!(ours, Ok(None)) && ours.is_ok() {
                    let why = error.to_string();
                    prop_assert!(why.contains("out of range") || why.contains("surrogate")
                        || why.contains("unexpected end of hex escape"), "{}", why);
                }
            }
            let _ = parse_envelope(&Bytes::from(text), b"{}");
        }

        #[test]
        fn any_text_goes_through(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(parsed(&json), Json::String(text.as_str().into()));
        }
    }
}
