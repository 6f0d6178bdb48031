//! Records as text, in the ways that Kafka's console consumer knows, and as JSON.
//!
//! ```text
//! CreateTime:17 <tab> Partition:0 <tab> Offset:3 <tab> h:v,… <tab> key <tab> value
//! ```
//!
//! each only if asked for, in this order.

use std::io::{self, Write};

use broker::ids::TopicPartition;
use broker::record::{Record, RecordBatch, TimestampType};
use serde_json::{Value, json};

/// How records are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Printer {
    Text(Format),
    /// One object a line: topic, partition, offset, timestamp, key, value, headers.
    Json,
    /// Read and counted alone.
    Nothing,
}

/// Which parts of a record are printed. The defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pub timestamp: bool,
    pub partition: bool,
    pub offset: bool,
    pub epoch: bool,
    pub headers: bool,
    pub key: bool,
    pub value: bool,
    pub key_separator: String,
    pub line_separator: String,
    pub headers_separator: String,
    pub null_literal: String,
    pub key_as: BytesAs,
    pub value_as: BytesAs,
}

/// What bytes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytesAs {
    /// Themselves.
    Text,
    Short,
    Integer,
    Long,
    Float,
    Double,
}

impl Default for Format {
    fn default() -> Format {
        Format {
            timestamp: false,
            partition: false,
            offset: false,
            epoch: false,
            headers: false,
            key: false,
            value: true,
            key_separator: "\t".to_owned(),
            line_separator: "\n".to_owned(),
            headers_separator: ",".to_owned(),
            null_literal: "null".to_owned(),
            key_as: BytesAs::Text,
            value_as: BytesAs::Text,
        }
    }
}

impl Printer {
    pub fn record(
        &self,
        out: &mut impl Write,
        from: &TopicPartition,
        batch: &RecordBatch,
        record: &Record<'_>,
    ) -> io::Result<()> {
        match self {
            Printer::Text(format) => format.record(out, from, batch, record),
            Printer::Json => writeln!(out, "{}", as_json(from, record)),
            Printer::Nothing => Ok(()),
        }
    }
}

impl Format {
    fn record(
        &self,
        out: &mut impl Write,
        from: &TopicPartition,
        batch: &RecordBatch,
        record: &Record<'_>,
    ) -> io::Result<()> {
        let mut left = self.parts();
        let mut end = |out: &mut dyn Write| {
            left -= 1;
            let separator = if left == 0 { &self.line_separator } else { &self.key_separator };
            out.write_all(separator.as_bytes())
        };
        if self.timestamp {
            let kind = match batch.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            };
            write!(out, "{kind}:{}", record.timestamp_ms)?;
            end(out)?;
        }
        if self.partition {
            write!(out, "Partition:{}", from.partition)?;
            end(out)?;
        }
        if self.offset {
            write!(out, "Offset:{}", record.offset)?;
            end(out)?;
        }
        if self.epoch {
            write!(out, "Epoch:{}", batch.leader_epoch().0)?;
            end(out)?;
        }
        if self.headers {
            self.write_headers(out, record)?;
            end(out)?;
        }
        if self.key {
            self.bytes(out, record.key, self.key_as)?;
            end(out)?;
        }
        if self.value {
            self.bytes(out, record.value, self.value_as)?;
            end(out)?;
        }
        Ok(())
    }

    fn parts(&self) -> usize {
        let asked = [
            self.timestamp,
            self.partition,
            self.offset,
            self.epoch,
            self.headers,
            self.key,
            self.value,
        ];
        asked.into_iter().filter(|asked| *asked).count()
    }

    fn write_headers(&self, out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
        let mut any = false;
        for header in record.headers() {
            if any {
                out.write_all(self.headers_separator.as_bytes())?;
            }
            any = true;
            write!(out, "{}:", header.key)?;
            self.bytes(out, header.value, BytesAs::Text)?;
        }
        if any { Ok(()) } else { out.write_all(b"NO_HEADERS") }
    }

    fn bytes(&self, out: &mut impl Write, bytes: Option<&[u8]>, kind: BytesAs) -> io::Result<()> {
        let Some(bytes) = bytes else { return out.write_all(self.null_literal.as_bytes()) };
        let number = match (kind, bytes.len()) {
            (BytesAs::Short, 2) => i16::from_be_bytes([bytes[0], bytes[1]]).to_string(),
            (BytesAs::Integer, 4) => i32::from_be_bytes(fixed(bytes)).to_string(),
            (BytesAs::Long, 8) => i64::from_be_bytes(fixed(bytes)).to_string(),
            (BytesAs::Float, 4) => format!("{:?}", f32::from_be_bytes(fixed(bytes))),
            (BytesAs::Double, 8) => format!("{:?}", f64::from_be_bytes(fixed(bytes))),
            (BytesAs::Text, _) => return out.write_all(bytes),
            (_, length) => format!("({length} bytes, which are none such)"),
        };
        out.write_all(number.as_bytes())
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// Values that are JSON stay what they are, digits and order included; text becomes a string, other
/// bytes are said to be such.
fn as_json(partition: &TopicPartition, record: &Record<'_>) -> String {
    let headers: Vec<_> = record
        .headers()
        .map(|header| json!({ "key": header.key, "value": bytes_as_json(header.value) }))
        .collect();
    let text = record.value.and_then(|value| std::str::from_utf8(value).ok());
    let value = match text.filter(|text| serde_json::from_str::<Value>(text).is_ok()) {
        Some(text) => on_one_line(text),
        None => bytes_as_json(record.value).to_string(),
    };
    let all_else = json!({
        "topic": partition.topic.as_ref(),
        "partition": partition.partition,
        "offset": record.offset.0,
        "timestamp_ms": record.timestamp_ms,
        "key": bytes_as_json(record.key),
        "headers": headers,
    });
    let all_else = all_else.to_string();
    format!("{},\"value\":{value}}}", all_else.strip_suffix('}').unwrap_or_default())
}

/// JSON without what stands between its words.
fn on_one_line(json: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let mut line = String::with_capacity(json.len());
    for sign in json.chars() {
        if is_text || !sign.is_ascii_whitespace() {
            line.push(sign);
        }
        is_text ^= sign == '"' && !is_escaped;
        is_escaped = is_text && sign == '\\' && !is_escaped;
    }
    line
}

fn bytes_as_json(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::String(text.to_owned()),
        Some((bytes, Err(_))) => json!({ "bytes": bytes }),
    }
}

#[cfg(test)]
mod tests {
    use broker::record::{BatchBuilder, ProducerStamp};

    use super::*;

    fn printed(printer: &Printer, key: Option<&[u8]>, value: Option<&[u8]>) -> String {
        let mut builder = BatchBuilder::default();
        builder.append_with_headers(17, key, value, &[("h", Some(b"v")), ("n", None)]);
        let batch = builder.build(ProducerStamp::NONE);
        let records = batch.records().unwrap();
        let record = records.iter().next().unwrap().unwrap();
        let mut out = Vec::new();
        printer.record(&mut out, &TopicPartition::new("t", 3), &batch, &record).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_that_are_json_keep_their_digits_and_their_order() {
        let value = "{\n  \"b\": 12345678901234567890123, \"a\": 1.10, \"t\": \"x \\\" } y\"\n}";
        let line = printed(&Printer::Json, None, Some(value.as_bytes()));
        let kept = r#""value":{"b":12345678901234567890123,"a":1.10,"t":"x \" } y"}}"#;
        assert!(line.trim_end().ends_with(kept), "{line}");
    }

    #[test]
    fn parts_come_in_kafkas_order() {
        let all = Format {
            timestamp: true,
            partition: true,
            offset: true,
            epoch: true,
            headers: true,
            key: true,
            ..Format::default()
        };
        assert_eq!(
            printed(&Printer::Text(all), Some(b"k"), None),
            "CreateTime:17\tPartition:3\tOffset:0\tEpoch:-1\th:v,n:null\tk\tnull\n"
        );
        assert_eq!(printed(&Printer::Text(Format::default()), None, Some(b"v")), "v\n");
        let key = Format { key: true, value: false, ..Format::default() };
        assert_eq!(printed(&Printer::Text(key), Some(b"k"), None), "k\n");
        let none = Format { value: false, ..Format::default() };
        assert_eq!(printed(&Printer::Text(none), Some(b"k"), None), "");
    }

    #[test]
    fn numbers_are_what_javas_serializers_write() {
        let long = Format { value_as: BytesAs::Long, ..Format::default() };
        let printer = Printer::Text(long);
        assert_eq!(printed(&printer, None, Some(&42i64.to_be_bytes())), "42\n");
        assert_eq!(printed(&printer, None, Some(b"abc")), "(3 bytes, which are none such)\n");
        assert_eq!(printed(&printer, None, None), "null\n");
    }
}
