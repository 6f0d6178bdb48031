//! What templates and conditions may ask of a record.
//!
//! ```text
//! key          key.id          value        value.customer.name     value.items.0
//! topic        partition       offset       timestamp               header.NAME
//! ```

use std::cell::OnceCell;
use std::fmt;

use bytes::Bytes;

use crate::convert::json::{JsonConverter, JsonOptions};
use crate::convert::value_to_string;
use crate::data::{ConnectRecord, SchemaAndValue, Value};
use crate::json_text::{self, Pointer};

/// Where something stands in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    root: Root,
    within: Pointer,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    Key,
    Value,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Header(String),
}

impl Path {
    pub fn parse(text: &str) -> Result<Path, String> {
        let (first, rest) = text.split_once('.').unwrap_or((text, ""));
        let steps = rest.split('.').map(str::to_owned);
        let within = match rest.is_empty() {
            true => Pointer::default(),
            false => Pointer::of_steps(steps),
        };
        let (root, within) = match first {
            "key" => (Root::Key, within),
            "value" => (Root::Value, within),
            "header" if !rest.is_empty() => (Root::Header(rest.to_owned()), Pointer::default()),
            "topic" => (Root::Topic, within),
            "partition" => (Root::Partition, within),
            "offset" => (Root::Offset, within),
            "timestamp" => (Root::Timestamp, within),
            _ => return Err(unknown(text)),
        };
        let has_parts = matches!(root, Root::Key | Root::Value);
        if text.ends_with('.') || text.contains("..") || !(has_parts || within.is_empty()) {
            return Err(unknown(text));
        }
        Ok(Path { root, within, text: text.to_owned() })
    }
}

impl Path {
    /// The header that it asks for.
    pub fn header(&self) -> Option<&str> {
        match &self.root {
            Root::Header(name) => Some(name),
            _ => None,
        }
    }

    pub fn is_of_value(&self) -> bool {
        self.root == Root::Value
    }
}

fn unknown(text: &str) -> String {
    format!(
        "a record has no '{text}'; there are key, value, topic, partition, offset, timestamp, \
         header.NAME, and fields such as value.customer.name"
    )
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A record, looked at from outside.
pub struct RecordView<'a> {
    record: &'a ConnectRecord,
    key: OnceCell<Option<Bytes>>,
    value: OnceCell<Option<Bytes>>,
}

impl<'a> RecordView<'a> {
    pub fn new(record: &'a ConnectRecord) -> RecordView<'a> {
        RecordView { record, key: OnceCell::new(), value: OnceCell::new() }
    }

    pub fn record(&self) -> &'a ConnectRecord {
        self.record
    }

    /// The key's text; `None`: there is no key.
    pub fn key(&self) -> Option<Bytes> {
        self.key.get_or_init(|| text_of(&self.record.key)).clone()
    }

    /// The value's text: what stands in the topic where that is text, else JSON.
    pub fn value(&self) -> Option<Bytes> {
        self.value.get_or_init(|| text_of(&self.record.value)).clone()
    }

    /// What stands there, as JSON. `None`: nothing, or null. What is asked of a text that is no
    /// JSON is an error.
    pub fn find(&self, path: &Path) -> Result<Option<String>, String> {
        let number = |number: Option<i64>| Ok(number.map(|number| number.to_string()));
        match &path.root {
            Root::Topic => Ok(Some(quoted(&self.record.topic))),
            Root::Partition => number(self.record.partition.map(i64::from)),
            Root::Offset => number(self.record.kafka_offset.map(|offset| offset.0)),
            Root::Timestamp => number(self.record.timestamp_ms),
            Root::Header(name) => {
                let header = self.record.header(name);
                Ok(header.and_then(text_of).map(|text| quoted(&String::from_utf8_lossy(&text))))
            }
            Root::Key => within(&path.within, self.key(), &self.record.key, path),
            Root::Value => within(&path.within, self.value(), &self.record.value, path),
        }
    }
}

fn within(
    pointer: &Pointer,
    text: Option<Bytes>,
    data: &SchemaAndValue,
    path: &Path,
) -> Result<Option<String>, String> {
    let Some(text) = text else { return Ok(None) };
    let is_text = matches!(data.value, Value::String(_) | Value::Bytes(_));
    match json_text::check(&text) {
        Ok(json) => {
            let found = pointer.find(json).filter(|found| *found != "null");
            Ok(found.map(str::to_owned))
        }
        // As a whole, text need not be JSON.
        Err(_) if is_text && pointer.is_empty() => {
            Ok(Some(quoted(&String::from_utf8_lossy(&text))))
        }
        Err(error) => {
            let whole = path.text.split('.').next().unwrap_or_default();
            Err(format!("'{path}': the {whole} is no JSON: {error}"))
        }
    }
}

/// Text as it is, all else as JSON without a schema.
fn text_of(data: &SchemaAndValue) -> Option<Bytes> {
    match &data.value {
        Value::Null => None,
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Bytes(bytes) => Some(bytes.clone()),
        value => {
            let options = JsonOptions { schemas: false, ..JsonOptions::default() };
            let mut text = Vec::new();
            match JsonConverter::new(options).write(data, &mut text) {
                Ok(_) => Some(text.into()),
                // What has no form in JSON has one as text.
                Err(_) => Some(quoted(&value_to_string(value)).into()),
            }
        }
    }
}

/// A JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// One for tests.
#[cfg(test)]
pub(super) fn example(key: Option<&str>, value: &str) -> ConnectRecord {
    let key = key.map_or(SchemaAndValue::NULL, SchemaAndValue::text);
    let mut record =
        ConnectRecord::new(&crate::data::Text::from("orders"), key, SchemaAndValue::text(value));
    record.partition = Some(3);
    record.kafka_offset = Some(broker::ids::Offset(17));
    record.timestamp_ms = Some(1_700_000_000_000);
    record.add_header("trace-id.x", SchemaAndValue::text("a\"b"));
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(record: &ConnectRecord, path: &str) -> Result<Option<String>, String> {
        RecordView::new(record).find(&Path::parse(path).unwrap())
    }

    #[test]
    fn everything_of_a_record_can_be_asked_for() {
        let record = example(Some("k1"), r#"{"id": 1.10, "who": {"name": "Ann"}, "n": null}"#);
        let found = |path| find(&record, path).unwrap().unwrap_or_else(|| "nothing".to_owned());
        let paths = ["key", "value.id", "value.who", "value.who.name", "value.n", "value.x.y"];
        let all = paths.map(found);
        assert_eq!(all, ["\"k1\"", "1.10", "{\"name\": \"Ann\"}", "\"Ann\"", "nothing", "nothing"]);
        let paths = ["topic", "partition", "offset", "timestamp", "header.trace-id.x", "header.y"];
        let all = paths.map(found);
        assert_eq!(all, ["\"orders\"", "3", "17", "1700000000000", "\"a\\\"b\"", "nothing"]);
        assert!(find(&record, "key.id").unwrap_err().starts_with("'key.id': the key is no JSON"));
    }

    #[test]
    fn what_a_record_does_not_have_is_refused() {
        for path in ["", "vaule.id", "topic.x", "value.", "value..x", "header"] {
            assert!(Path::parse(path).unwrap_err().contains("there are key, value"), "{path}");
        }
    }
}
