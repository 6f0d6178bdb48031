//! What is asked for while the connector runs, by Debezium's words.
//!
//! ```text
//!  table   insert into signals values ('1', 'execute-snapshot', '{"data-collections": [...]}')
//!  topic   "prefix" → {"id": "1", "type": "execute-snapshot", "data": {"data-collections": [...]}}
//! ```

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Read these tables again.
    Execute(Request),
    /// Leave off with these tables; with all where none is named.
    Stop(Vec<String>),
    /// Read no more until told to go on.
    Pause,
    Resume,
    /// Write this into the log.
    Log(String),
}

/// Tables to read, by patterns of `schema.table`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What whoever asks calls it.
    pub id: String,
    pub tables: Vec<String>,
    pub conditions: Vec<Condition>,
    /// A column to go by where a table has no primary key.
    pub surrogate_key: Option<String>,
    /// All in one go, while changes wait.
    pub blocking: bool,
}

/// Which rows of some tables are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// A pattern; nothing: all tables.
    pub table: Option<String>,
    /// As it stands behind WHERE; of a blocking snapshot, as Debezium has it, also the whole
    /// SELECT.
    pub filter: String,
}

/// Why a signal is none.
#[derive(Debug, Error)]
pub enum SignalError {
    #[error("signal '{id}': its data is not as it should be: {error}")]
    Data { id: String, error: serde_json::Error },
    #[error("signal '{id}': `data-collections` names no table")]
    NoTables { id: String },
    #[error("signal '{id}': a snapshot is `incremental` or `blocking`, not '{kind}'")]
    Kind { id: String, kind: String },
    #[error("signal '{id}': nothing is known of the type '{kind}'")]
    Type { id: String, kind: String },
    #[error("signal '{id}': a filter may hold no `;`")]
    Filter { id: String },
    #[error("a record that is no signal: {0}")]
    Record(serde_json::Error),
}

/// What Debezium itself writes into its table.
const MARKS: [&str; 2] = ["snapshot-window-open", "snapshot-window-close"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Data {
    r#type: Option<String>,
    data_collections: Vec<String>,
    additional_condition: Option<String>,
    additional_conditions: Vec<ConditionData>,
    surrogate_key: Option<String>,
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ConditionData {
    data_collection: String,
    filter: String,
}

/// Reads a signal; `None` where it is meant for nobody here.
pub fn parse(id: &str, kind: &str, data: &str) -> Result<Option<Signal>, SignalError> {
    if MARKS.contains(&kind) {
        return Ok(None);
    }
    let id = || id.to_owned();
    let data: Data = match data.trim() {
        "" => Data::default(),
        text => {
            serde_json::from_str(text).map_err(|error| SignalError::Data { id: id(), error })?
        }
    };
    let is = |name: &str| data.r#type.as_ref().is_some_and(|kind| kind.eq_ignore_ascii_case(name));
    let blocking = is("blocking");
    let known = data.r#type.is_none() || blocking || is("incremental");
    if let (false, "execute-snapshot" | "stop-snapshot") = (known, kind) {
        return Err(SignalError::Kind { id: id(), kind: data.r#type.unwrap_or_default() });
    }
    let blank = |text: &String| !text.trim().is_empty();
    let tables: Vec<String> = data.data_collections.into_iter().filter(blank).collect();
    Ok(Some(match kind {
        "execute-snapshot" if tables.is_empty() => {
            return Err(SignalError::NoTables { id: id() });
        }
        "execute-snapshot" => {
            let of_all = data.additional_condition.filter(blank);
            let of_all = of_all.map(|filter| Condition { table: None, filter });
            let of_some = data.additional_conditions.into_iter();
            let of_some = of_some
                .map(|one| Condition { table: Some(one.data_collection), filter: one.filter });
            let conditions: Vec<Condition> = of_all.into_iter().chain(of_some).collect();
            // It ends a statement, and another could follow.
            if conditions.iter().any(|one| one.filter.contains(';')) {
                return Err(SignalError::Filter { id: id() });
            }
            let surrogate_key = data.surrogate_key.filter(blank);
            Signal::Execute(Request { id: id(), tables, conditions, surrogate_key, blocking })
        }
        "stop-snapshot" => Signal::Stop(tables),
        "pause-snapshot" => Signal::Pause,
        "resume-snapshot" => Signal::Resume,
        "log" => Signal::Log(data.message),
        other => return Err(SignalError::Type { id: id(), kind: other.to_owned() }),
    }))
}

/// Reads a record of the topic; `None` where its key names another connector.
pub fn parse_record(
    prefix: &str,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) -> Result<Option<Signal>, SignalError> {
    let (Some(key), Some(value)) = (key, value) else { return Ok(None) };
    // A JSON converter writes it in quotes.
    let quoted = format!("\"{prefix}\"");
    if key != prefix.as_bytes() && key != quoted.as_bytes() {
        return Ok(None);
    }
    let record: Value = serde_json::from_slice(value).map_err(SignalError::Record)?;
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let data = match &record["data"] {
        Value::Null => String::new(),
        // As it stands in a table.
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    parse(text("id"), text("type"), &data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_debezium_writes_them() {
        let data = r#"{"type": "INCREMENTAL", "data-collections": ["public.a", "public.b.*"],
            "additional-conditions": [{"data-collection": "public.a", "filter": "id > 3"}],
            "surrogate-key": "number"}"#;
        let read = parse("1", "execute-snapshot", data).unwrap();
        let Some(Signal::Execute(request)) = &read else { panic!("{read:?}") };
        assert_eq!(request.tables, ["public.a", "public.b.*"]);
        assert_eq!(request.surrogate_key.as_deref(), Some("number"));
        assert_eq!(request.conditions[0].filter, "id > 3");
        let record = format!(r#"{{"id": "1", "type": "execute-snapshot", "data": {data}}}"#);
        let record = Some(record.as_bytes());
        assert_eq!(parse_record("pg", Some(b"pg"), record).unwrap(), read);
        assert_eq!(parse_record("pg", Some(b"\"pg\""), record).unwrap(), read);
        assert_eq!(parse_record("pg", Some(b"other"), record).unwrap(), None);
        let blocking = data.replace("INCREMENTAL", "blocking");
        let read = parse("1", "execute-snapshot", &blocking).unwrap();
        assert_eq!(read, Some(Signal::Execute(Request { blocking: true, ..request.clone() })));
        let stop = parse("2", "stop-snapshot", r#"{"data-collections": ["public.a"]}"#);
        assert_eq!(stop.unwrap(), Some(Signal::Stop(vec!["public.a".to_owned()])));
        assert_eq!(parse("3", "stop-snapshot", "").unwrap(), Some(Signal::Stop(Vec::new())));
        assert_eq!(parse("4", "pause-snapshot", "").unwrap(), Some(Signal::Pause));
        assert_eq!(parse("5", "snapshot-window-open", "").unwrap(), None);
    }

    #[test]
    fn what_is_no_signal_says_why() {
        let why = |kind, data| parse("x", kind, data).unwrap_err().to_string();
        let other = r#"{"type": "sideways", "data-collections": ["a.b"]}"#;
        assert!(why("execute-snapshot", other).contains("not 'sideways'"));
        assert!(why("execute-snapshot", "{}").contains("names no table"));
        assert!(why("execute-snapshot", "{").contains("not as it should be"));
        assert!(why("dance", "").contains("'dance'"));
        let two = r#"{"data-collections": ["a.b"], "additional-condition": "true); drop table b"}"#;
        assert!(why("execute-snapshot", two).contains("`;`"));
        assert!(parse_record("pg", Some(b"pg"), Some(b"?")).is_err());
    }
}
