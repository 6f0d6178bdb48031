//! What a request's body is: records, or a mistake that its sender is told.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::record::RecordView;
use super::template::{Place, Template};
use crate::config::{ConfigProblem, ConnectorConfig, Settings};
use crate::data::{ConnectRecord, SchemaAndValue, Text};
use crate::json_text;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Array,
    Lines,
    Raw,
}

/// How bodies are read.
#[derive(Clone, Debug)]
pub struct Intake {
    format: Format,
    key: Option<Template>,
    /// Headers of the request that records get.
    headers: Vec<String>,
}

/// A record that is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub key: Option<String>,
    pub value: Bytes,
    pub headers: Vec<(String, Bytes)>,
}

/// What is wrong with a request: a status and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub status: u16,
    pub reason: String,
}

impl Mistake {
    pub fn new(status: u16, reason: impl Into<String>) -> Mistake {
        Mistake { status, reason: reason.into() }
    }
}

impl Intake {
    pub fn new(config: &ConnectorConfig) -> Result<Intake, String> {
        let settings = config.settings();
        Ok(Intake {
            format: match settings.text("body.format") {
                "array" => Format::Array,
                "lines" => Format::Lines,
                "raw" => Format::Raw,
                _ => Format::Json,
            },
            key: key(settings)?,
            headers: settings.list("record.headers").to_vec(),
        })
    }

    /// The records of a body.
    pub fn read(&self, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Received>, Mistake> {
        if let Some(encoding) = headers.get(CONTENT_ENCODING)
            && encoding != "identity"
        {
            return Err(Mistake::new(415, "a body may not be compressed: send it as it is"));
        }
        let is_lines = headers.get(CONTENT_TYPE).is_some_and(|of| {
            let of = of.to_str().unwrap_or_default();
            of.starts_with("application/x-ndjson") || of.starts_with("application/jsonl")
        });
        let format = if is_lines { Format::Lines } else { self.format };
        let values = values(format, body)?;
        let known = |name: &String| {
            let value = headers.get(name)?;
            Some((name.clone(), Bytes::copy_from_slice(value.as_bytes())))
        };
        let copied: Vec<(String, Bytes)> = self.headers.iter().filter_map(known).collect();
        let several = values.len() > 1;
        let records = values.into_iter().enumerate().map(|(index, value)| {
            let key = self.key(headers, &value).map_err(|reason| {
                let which = if several { format!("record {}: ", index + 1) } else { String::new() };
                Mistake::new(400, format!("{which}its key: {reason}"))
            })?;
            Ok(Received { key, value, headers: copied.clone() })
        });
        records.collect()
    }

    fn key(&self, headers: &HeaderMap, value: &Bytes) -> Result<Option<String>, String> {
        let Some(template) = &self.key else { return Ok(None) };
        let text = Text::from_utf8(value.clone()).map_err(|error| error.to_string())?;
        let mut record = ConnectRecord::new(
            &Text::from_static(""),
            SchemaAndValue::NULL,
            SchemaAndValue::text(text),
        );
        // Names of a request's headers have no case.
        for name in template.headers() {
            if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
                record.add_header(name, SchemaAndValue::text(value));
            }
        }
        template.fill(&RecordView::new(&record)).map(Some)
    }
}

fn key(settings: &Settings) -> Result<Option<Template>, String> {
    let text = settings.optional_text("record.key");
    let template = text.map(|text| Template::parse(text, Place::Header)).transpose()?;
    let Some(template) = template else { return Ok(None) };
    match template.other_than_value_and_headers() {
        None => Ok(Some(template)),
        Some(path) => Err(format!("a request has no '{path}'; there are value and header.NAME")),
    }
}

pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    if let Err(mistake) = key(settings) {
        problems.push(ConfigProblem {
            key: "record.key".to_owned(),
            value: settings.optional_text("record.key").map(str::to_owned),
            message: format!("`record.key`: {mistake}"),
            help: None,
        });
    }
}

fn values(format: Format, body: &Bytes) -> Result<Vec<Bytes>, Mistake> {
    let wrong =
        |what: &str, reason: String| Mistake::new(400, format!("{what} is no JSON: {reason}"));
    let whole = |what: &str| json_text::check(body).map_err(|reason| wrong(what, reason));
    let part = |text: &str| body.slice_ref(text.as_bytes());
    match format {
        Format::Raw => Ok(vec![body.clone()]),
        Format::Json => Ok(vec![part(whole("the body")?)]),
        Format::Array => {
            let text = whole("the body")?;
            match text.starts_with('[') {
                true => Ok(json_text::items(text).map(part).collect()),
                false => Err(Mistake::new(400, "the body is to be a JSON array of records")),
            }
        }
        Format::Lines => {
            let lines = body.split(|byte| *byte == b'\n').enumerate();
            let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
            let checked = lines.map(|(index, line)| {
                let text = json_text::check(line)
                    .map_err(|reason| wrong(&format!("line {}", index + 1), reason))?;
                Ok(part(text))
            });
            checked.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, key: Option<&str>, body: &str) -> Result<Vec<String>, Mistake> {
        let key = key.map(|text| Template::parse(text, Place::Header).unwrap());
        let intake = Intake { format, key, headers: Vec::new() };
        let mut headers = HeaderMap::new();
        headers.insert("x-who", "Ann".parse().unwrap());
        let records = intake.read(&headers, &Bytes::copy_from_slice(body.as_bytes()))?;
        let shown = records.into_iter().map(|one| {
            let value = String::from_utf8(one.value.to_vec()).unwrap();
            one.key.map_or_else(|| value.clone(), |key| format!("{key}={value}"))
        });
        Ok(shown.collect())
    }

    #[test]
    fn bodies_are_records_by_their_format() {
        assert_eq!(read(Format::Json, None, " {\"a\": 1.0}\n").unwrap(), ["{\"a\": 1.0}"]);
        assert_eq!(read(Format::Array, None, "[1, {\"b\": [2]}]").unwrap(), ["1", "{\"b\": [2]}"]);
        assert_eq!(read(Format::Lines, None, "1\r\n\n {} \n").unwrap(), ["1", "{}"]);
        assert_eq!(read(Format::Raw, None, "a b\n").unwrap(), ["a b\n"]);
        let key = Some("{{header.X-Who}}-{{value.id}}");
        assert_eq!(read(Format::Json, key, "{\"id\": 7}").unwrap(), ["Ann-7={\"id\": 7}"]);
    }

    #[test]
    fn a_sender_is_told_what_is_wrong_and_where() {
        let reason = |format, body| read(format, Some("{{value.id}}"), body).unwrap_err().reason;
        assert!(reason(Format::Json, "{\"a\":").starts_with("the body is no JSON: EOF"));
        assert_eq!(reason(Format::Json, ""), "the body is no JSON: empty");
        assert_eq!(reason(Format::Array, "{}"), "the body is to be a JSON array of records");
        assert!(reason(Format::Lines, "{\"id\":1}\n\nx").starts_with("line 3 is no JSON: "));
        let missing = "record 2: its key: 'value.id' is not there or null";
        assert_eq!(reason(Format::Array, "[{\"id\":1},{}]"), missing);
    }
}
