//! A guess as a source of a TOML file and as a table of a SQL file.

use std::fmt::Write;

use super::shapes::{Shape, identifier};
use super::{Guess, Inferred, KeyGuess};

/// What names Avro's schemas, as it was given: `schema_file` or `registry`, and the path.
pub type AvroOption = (String, String);

/// The part of a TOML file that declares the topic.
pub fn toml(topic: &str, inferred: &Inferred, avro: &[AvroOption]) -> String {
    let name = key(topic);
    let list = if inferred.row_key.is_empty() { "sources" } else { "tables" };
    let mut text = format!("[{list}.{name}]\n");
    let format = match &inferred.format {
        Guess::Json => "\"json\"".to_owned(),
        Guess::DebeziumJson => "\"debezium-json\"".to_owned(),
        Guess::Text | Guess::Bytes => "\"raw\"".to_owned(),
        Guess::Csv { delimiter, header, null } => {
            let mut options = "type = \"csv\"".to_owned();
            if *delimiter != ',' {
                let _ = write!(options, ", delimiter = {}", string(&delimiter.to_string()));
            }
            if *header {
                options.push_str(", header = true");
            }
            if let Some(null) = null {
                let _ = write!(options, ", null = {}", string(null));
            }
            format!("{{ {options} }}")
        }
        Guess::Avro => {
            let options = avro.iter().map(|(key, value)| format!(", {key} = {}", string(value)));
            format!("{{ type = \"avro\"{} }}", options.collect::<String>())
        }
    };
    let _ = writeln!(text, "format = {format}");
    if inferred.key_format == KeyGuess::Json {
        text.push_str("key_format = \"json\"\n");
    }
    if !inferred.row_key.is_empty() {
        let columns: Vec<String> = inferred.row_key.iter().map(|column| string(column)).collect();
        let _ = writeln!(text, "key = [{}]", columns.join(", "));
    }
    if let Some(time) = event_time(inferred) {
        let _ = writeln!(text, "event_time = {}", string(time));
        text.push_str("watermark = \"5 seconds\" # how far rows may be out of order\n");
    }
    let _ = writeln!(text, "\n[{list}.{name}.columns]");
    for (column, shape) in &inferred.columns {
        let _ = writeln!(text, "{} = {}", key(column), string(&shape.type_name()));
    }
    for (column, shape) in &inferred.key_columns {
        let of = string(&shape.type_name());
        let _ = writeln!(text, "{} = {{ type = {of}, from = \"key\" }}", key(column));
    }
    text
}

/// The statement of a SQL file that declares the topic.
pub fn sql(topic: &str, inferred: &Inferred, avro: &[AvroOption]) -> String {
    let mut lines = Vec::new();
    for (column, shape) in &inferred.columns {
        lines.push(format!("  {} {}", identifier(column), shape.type_name()));
    }
    for (column, shape) in &inferred.key_columns {
        let of = shape.type_name();
        lines.push(format!("  {} {of} METADATA FROM 'key'", identifier(column)));
    }
    if !inferred.row_key.is_empty() {
        let columns: Vec<String> =
            inferred.row_key.iter().map(|column| identifier(column).to_string()).collect();
        lines.push(format!("  PRIMARY KEY ({}) NOT ENFORCED", columns.join(", ")));
    }
    if let Some(time) = event_time(inferred) {
        let time = identifier(time);
        lines.push(format!("  WATERMARK FOR {time} AS {time} - INTERVAL '5' SECOND"));
    }
    let mut options: Vec<(String, String)> = Vec::new();
    let mut option = |key: &str, value: &str| options.push((key.to_owned(), value.to_owned()));
    match &inferred.format {
        Guess::Json => option("format", "json"),
        Guess::DebeziumJson => option("format", "debezium-json"),
        Guess::Text | Guess::Bytes => option("format", "raw"),
        Guess::Csv { delimiter, header, null } => {
            option("format", "csv");
            match delimiter {
                ',' => {}
                '\t' => option("csv.delimiter", "\\t"),
                other => option("csv.delimiter", &other.to_string()),
            }
            if *header {
                option("csv.header", "true");
            }
            if let Some(null) = null {
                option("csv.null", null);
            }
        }
        Guess::Avro => {
            option("format", "avro");
            avro.iter().for_each(|(key, value)| option(&format!("avro.{key}"), value));
        }
    }
    if inferred.key_format == KeyGuess::Json {
        option("key.format", "json");
    }
    let options: Vec<String> = options
        .iter()
        .map(|(key, value)| format!("'{key}' = '{}'", value.replace('\'', "''")))
        .collect();
    let (name, columns) = (identifier(topic), lines.join(",\n"));
    format!("CREATE TABLE {name} (\n{columns}\n) WITH ({});\n", options.join(", "))
}

/// The first time among the value's columns.
fn event_time(inferred: &Inferred) -> Option<&str> {
    let mut columns = inferred.columns.iter();
    columns.find(|(_, shape): &&(String, Shape)| shape.is_time()).map(|(name, _)| name.as_str())
}

/// A key of TOML, quoted where it must be.
fn key(name: &str) -> String {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(word) { name.to_owned() } else { string(name) }
}

/// A basic string of TOML.
fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", control as u32);
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
