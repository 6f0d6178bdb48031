//! What programs say, a message a line.

use serde::Deserialize;
use serde_json::Value;

use crate::json_text;

/// What a source's program says.
#[derive(Debug, PartialEq)]
pub enum FromSource<'a> {
    Record(Record<'a>),
    /// What came before may be written, and this is where to go on.
    Commit(Option<Value>),
    Error {
        message: String,
        fatal: bool,
    },
}

/// A record, in pieces of JSON as they stand.
#[derive(Debug, Default, PartialEq)]
pub struct Record<'a> {
    pub topic: Option<String>,
    pub partition: Option<i32>,
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a str>,
    pub value: Option<&'a str>,
    pub headers: Vec<(String, Option<&'a str>)>,
    pub offset: Option<Value>,
}

/// What a sink's program says.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FromSink {
    Flushed {
        id: u64,
        #[serde(default)]
        refused: Vec<RefusedRecord>,
    },
    Error {
        message: String,
        #[serde(default)]
        fatal: bool,
    },
}

#[derive(Debug, PartialEq, Deserialize)]
pub struct RefusedRecord {
    pub offset: i64,
    pub reason: String,
}

/// The longest part of a line that a message shows.
const SHOWN_CHARS: usize = 120;

/// A line, cut where it is long.
pub fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}

pub fn from_sink(line: &[u8]) -> Result<FromSink, String> {
    serde_json::from_slice(line).map_err(|error| format!("{error}: {}", shown(line)))
}

pub fn from_source(line: &[u8]) -> Result<FromSource<'_>, String> {
    let wrong = |reason: String| format!("{reason}: {}", shown(line));
    let json = json_text::check(line).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    let mut type_of = None;
    let mut record = Record::default();
    let (mut message, mut fatal) = (None, false);
    for (name, piece) in json_text::members(json) {
        let is_null = piece == "null";
        let text = || json_text::string(piece).into_owned();
        let not = |what: &str| wrong(format!("its {} is {what}", json_text::string(name)));
        match json_text::string(name).as_ref() {
            "type" => type_of = Some(text()),
            "message" => message = Some(text()),
            "fatal" => fatal = piece == "true",
            _ if is_null => {}
            "topic" => record.topic = Some(text()),
            "partition" => {
                record.partition = Some(piece.parse().map_err(|_| not("no number"))?);
            }
            "timestamp" => {
                record.timestamp_ms = Some(piece.parse().map_err(|_| not("no number of ms"))?);
            }
            "key" => record.key = Some(piece),
            "value" => record.value = Some(piece),
            "headers" if piece.starts_with('{') => {
                let all = json_text::members(piece);
                let all = all.map(|(name, piece)| {
                    (json_text::string(name).into_owned(), Some(piece).filter(|it| *it != "null"))
                });
                record.headers = all.collect();
            }
            "headers" => return Err(not("no object")),
            "offset" => {
                let offset: Value = serde_json::from_str(piece).map_err(|_| not("no object"))?;
                if !offset.is_object() {
                    return Err(not("no object, such as {\"page\": 3}"));
                }
                record.offset = Some(offset);
            }
            other => return Err(wrong(format!("a message has no '{other}'"))),
        }
    }
    match type_of.as_deref() {
        Some("record") => Ok(FromSource::Record(record)),
        Some("commit") => Ok(FromSource::Commit(record.offset)),
        Some("error") => {
            let message = message.unwrap_or_else(|| "it does not say why".to_owned());
            Ok(FromSource::Error { message, fatal })
        }
        Some(other) => {
            Err(wrong(format!("there is no type '{other}'; there are record, commit, error")))
        }
        None => Err(wrong("it has no type, such as {\"type\":\"record\"}".to_owned())),
    }
}

/// The bytes of a key, a value or a header: text as it is, all else as JSON.
pub fn bytes_of(piece: &str) -> Vec<u8> {
    json_text::string(piece).into_owned().into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_keep_their_pieces() {
        let line = br#"{"type":"record","value":{"a": 1.50},"key":"k","headers":{"h":"x","n":null},"timestamp":5,"offset":{"page":3},"topic":null}"#;
        let expected = Record {
            timestamp_ms: Some(5),
            key: Some("\"k\""),
            value: Some("{\"a\": 1.50}"),
            headers: vec![("h".to_owned(), Some("\"x\"")), ("n".to_owned(), None)],
            offset: Some(json!({ "page": 3 })),
            ..Record::default()
        };
        assert_eq!(from_source(line), Ok(FromSource::Record(expected)));
        assert_eq!(bytes_of("\"k\""), b"k");
        assert_eq!(from_source(b"{\"type\":\"commit\"}"), Ok(FromSource::Commit(None)));
        let flushed = from_sink(b"{\"type\":\"flushed\",\"id\":3}");
        assert_eq!(flushed, Ok(FromSink::Flushed { id: 3, refused: vec![] }));
    }

    #[test]
    fn what_is_no_message_is_shown() {
        let reason = |line: &str| from_source(line.as_bytes()).unwrap_err();
        assert!(reason("hello").starts_with("it is no JSON: expected value"));
        assert_eq!(reason("{}"), "it has no type, such as {\"type\":\"record\"}: {}");
        assert!(reason("{\"type\":\"rec\"}").starts_with("there is no type 'rec'"));
        assert!(
            reason("{\"type\":\"record\",\"vlaue\":1}").starts_with("a message has no 'vlaue'")
        );
        assert!(reason("{\"type\":\"commit\",\"offset\":3}").contains("no object, such as"));
        assert!(
            reason("{\"type\":\"record\",\"timestamp\":\"x\"}")
                .contains("its timestamp is no number")
        );
        let long = format!("\"{}\"", "é".repeat(500));
        assert!(shown(long.as_bytes()).ends_with("é…"));
    }
}
