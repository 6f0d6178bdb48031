//! Formats with their options, as both forms of the file declare them.
//!
//! TOML has them in a table, `{ type = "csv", header = true }`; SQL under the format's name,
//! `csv.header = true`. Schemas are read here, once: paths are relative to the pipeline file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Span};
use super::draft::Named;
use super::model::{CsvOptions, Format};
use crate::formats::avro::{AvroDeclaration, AvroFormat};
use crate::formats::framing::Framing;
use crate::formats::protobuf::ProtobufFormat;

pub(crate) const FORMATS: [&str; 8] = [
    "json",
    "csv",
    "raw",
    "avro",
    "avro-confluent",
    "protobuf",
    "protobuf-confluent",
    "debezium-json",
];

/// A schema is written or made from what is written by people; what is larger is a mistake.
const SCHEMA_BYTES_MAX: u64 = 16 << 20;
/// Files of a registry that are read.
const REGISTRY_SCHEMAS_MAX: usize = 100_000;

/// Options of one format, asked for one by one; whoever implements it reports those that nobody
/// asked for.
pub(crate) trait FormatOptions {
    fn text(&mut self, key: &'static str) -> Option<Named>;
    fn boolean(&mut self, key: &'static str) -> Option<bool>;
    fn schema_id(&mut self) -> Option<u32>;
    /// Says nothing of the options that are left.
    fn ignore_rest(&mut self);
    fn mistakes(&mut self) -> &mut Vec<Diagnostic>;
}

/// What an option is named after in SQL: `csv` of `csv.header`.
pub(crate) fn family(format: &str) -> &str {
    format.strip_suffix("-confluent").unwrap_or(format)
}

/// `None` after a mistake.
pub(crate) fn format_named(name: &Named, options: &mut dyn FormatOptions) -> Option<Format> {
    let confluent = name.text.ends_with("-confluent");
    match name.text.as_str() {
        "json" => Some(Format::Json),
        "csv" => Some(Format::Csv(read_csv(options))),
        "raw" => Some(Format::Raw),
        "avro" | "avro-confluent" => read_avro(name, confluent, options).map(Format::Avro),
        "protobuf" | "protobuf-confluent" => {
            read_protobuf(name, confluent, options).map(Format::Protobuf)
        }
        "debezium-json" => Some(Format::DebeziumJson),
        other => {
            options.ignore_rest();
            let message = format!("unknown format '{other}'");
            let diagnostic = Diagnostic::error(message, name.span.clone());
            options.mistakes().push(match elsewhere(other) {
                Some(ours) => diagnostic.help(format!("it is called '{ours}' here")),
                None => diagnostic.did_you_mean(other, FORMATS),
            });
            None
        }
    }
}

/// Our name for what Flink and ksqlDB call otherwise.
fn elsewhere(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "delimited" => "csv",
        "kafka" | "none" | "text" | "string" | "bytes" => "raw",
        "json_sr" | "json-registry" => "json",
        "debezium" | "debezium_json" | "json_debezium" => "debezium-json",
        "proto" | "protobuf_nosr" => "protobuf",
        _ => return None,
    })
}

fn read_csv(options: &mut dyn FormatOptions) -> CsvOptions {
    let mut csv = CsvOptions::default();
    csv.header = options.boolean("header").unwrap_or(csv.header);
    csv.null = options.text("null").map(|null| null.text);
    if let Some(byte) = options.text("delimiter").and_then(|text| delimiter(&text, options)) {
        csv.delimiter = byte;
    }
    if let Some(byte) =
        options.text("quote").and_then(|text| one_byte(&text, "quote", options.mistakes()))
    {
        csv.quote = byte;
    }
    let escape = options.text("escape");
    csv.escape = escape.and_then(|text| one_byte(&text, "escape", options.mistakes()));
    csv
}

/// A tab may also be written as `\\t`, as SQL's strings have no escapes.
fn delimiter(text: &Named, options: &mut dyn FormatOptions) -> Option<u8> {
    if text.text == "\\t" {
        return Some(b'\t');
    }
    one_byte(text, "delimiter", options.mistakes())
}

fn one_byte(text: &Named, key: &str, mistakes: &mut Vec<Diagnostic>) -> Option<u8> {
    match text.text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\r' | b'\n') => Some(*byte),
        _ => {
            let message = format!("the {key} must be one ASCII character");
            mistakes.push(Diagnostic::error(message, text.span.clone()));
            None
        }
    }
}

fn read_framing(default: Framing, options: &mut dyn FormatOptions) -> Option<Framing> {
    let Some(given) = options.text("framing") else { return Some(default) };
    match given.text.as_str() {
        "none" => Some(Framing::None),
        "confluent" => Some(Framing::Confluent),
        other => {
            let message = format!("unknown framing '{other}'");
            let diagnostic = Diagnostic::error(message, given.span);
            options.mistakes().push(diagnostic.did_you_mean(other, ["none", "confluent"]));
            None
        }
    }
}

fn read_avro(
    name: &Named,
    confluent: bool,
    options: &mut dyn FormatOptions,
) -> Option<Arc<AvroFormat>> {
    let before = options.mistakes().len();
    let inline = options.text("schema");
    let file = options.text("schema_file");
    let registry = options.text("registry");
    let schema_id = options.schema_id();
    let framed = confluent || registry.is_some() || schema_id.is_some();
    let framing = if framed { Framing::Confluent } else { Framing::None };
    let framing = read_framing(framing, options)?;
    if let (Some(_), Some(file)) = (&inline, &file) {
        let message = "the schema is given twice";
        let help = "keep 'schema' or 'schema_file'";
        options.mistakes().push(Diagnostic::error(message, file.span.clone()).help(help));
    }
    let place = inline.as_ref().or(file.as_ref()).or(registry.as_ref()).unwrap_or(name);
    let place = place.span.clone();
    let schema = match (inline, file) {
        (Some(inline), _) => Some(inline.text),
        (None, Some(file)) => read_text(&file, "Avro schema", options.mistakes()),
        (None, None) => None,
    };
    let registered =
        registry.map(|registry| read_registry(&registry, options.mistakes())).unwrap_or_default();
    if options.mistakes().len() > before {
        return None;
    }
    if schema.is_none() && registered.is_empty() {
        let message = "format 'avro' needs a schema";
        let help = "'schema' is the schema itself, 'schema_file' a file with it, 'registry' a \
                    directory of schemas by their ids, such as 7.avsc";
        options.mistakes().push(Diagnostic::error(message, place).help(help));
        return None;
    }
    let declaration = AvroDeclaration { schema, registered, framing, schema_id };
    match AvroFormat::new(&declaration) {
        Ok(format) => Some(Arc::new(format)),
        Err(error) => {
            options.mistakes().push(Diagnostic::error(error.to_string(), place));
            None
        }
    }
}

fn read_protobuf(
    name: &Named,
    confluent: bool,
    options: &mut dyn FormatOptions,
) -> Option<Arc<ProtobufFormat>> {
    let file = options.text("descriptor_file");
    let message = options.text("message");
    let schema_id = options.schema_id();
    let framed = confluent || schema_id.is_some();
    let framing = if framed { Framing::Confluent } else { Framing::None };
    let framing = read_framing(framing, options)?;
    let Some(file) = file else {
        let missing = "format 'protobuf' needs 'descriptor_file'";
        let help = "protoc --include_imports --descriptor_set_out=FILE makes one from .proto files";
        options.mistakes().push(Diagnostic::error(missing, name.span.clone()).help(help));
        return None;
    };
    let bytes = read_bytes(&file, "descriptor set", options.mistakes())?;
    let wanted = message.as_ref().map(|message| message.text.as_str());
    match ProtobufFormat::new(&bytes, wanted, framing, schema_id) {
        Ok(format) => Some(Arc::new(format)),
        Err(error) => {
            let span = if error.is_about_message() { message.as_ref() } else { Some(&file) };
            let span = span.map_or(name.span.clone(), |named| named.span.clone());
            let mut diagnostic = Diagnostic::error(error.to_string(), span);
            if let Some((given, there)) = error.candidates() {
                let there = there.iter().map(String::as_str);
                diagnostic = diagnostic.did_you_mean(given, there);
            }
            options.mistakes().push(diagnostic);
            None
        }
    }
}

/// Where a path in a pipeline file leads.
fn resolve(path: &str, span: &Span) -> PathBuf {
    span.file.path.parent().unwrap_or(Path::new("")).join(path)
}

fn read_text(file: &Named, what: &str, mistakes: &mut Vec<Diagnostic>) -> Option<String> {
    let bytes = read_bytes(file, what, mistakes)?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| {
        let message = format!("the {what} {} is not UTF-8", file.text);
        mistakes.push(Diagnostic::error(message, file.span.clone()));
    })
    .ok()
}

fn read_bytes(file: &Named, what: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Vec<u8>> {
    let path = resolve(&file.text, &file.span);
    match bounded(&path) {
        Ok(bytes) => Some(bytes),
        Err(reason) => {
            let message = format!("cannot read the {what} {}: {reason}", path.display());
            let help = "paths are relative to the pipeline file";
            mistakes.push(Diagnostic::error(message, file.span.clone()).help(help));
            None
        }
    }
}

/// A whole file, if it is not too large to be meant.
pub(crate) fn bounded(path: &Path) -> Result<Vec<u8>, String> {
    let of_system = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(of_system)?;
    file.take(SCHEMA_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(of_system)?;
    if bytes.len() as u64 > SCHEMA_BYTES_MAX {
        return Err(format!("it is larger than {SCHEMA_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

fn read_registry(registry: &Named, mistakes: &mut Vec<Diagnostic>) -> BTreeMap<u32, String> {
    let path = resolve(&registry.text, &registry.span);
    registered(&path).unwrap_or_else(|reason| {
        let message = format!("cannot read the registry {}: {reason}", path.display());
        let help = "a directory with a file for each id, such as 7.avsc, or a JSON file such as \
                    {\"7\": \"orders.avsc\"}";
        mistakes.push(Diagnostic::error(message, registry.span.clone()).help(help));
        BTreeMap::new()
    })
}

/// Schemas by their ids: the files `<id>.avsc` and `<id>.json` of a directory, or what a JSON file
/// maps ids to, paths of schemas or schemas.
pub fn registered(path: &Path) -> Result<BTreeMap<u32, String>, String> {
    let text = |path: &Path| {
        let bytes = bounded(path).map_err(|reason| format!("{}: {reason}", path.display()))?;
        String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8", path.display()))
    };
    let mut schemas = BTreeMap::new();
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| error.to_string())?;
        for entry in entries.take(REGISTRY_SCHEMAS_MAX) {
            let file = entry.map_err(|error| error.to_string())?.path();
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            let extension = file.extension().and_then(|extension| extension.to_str());
            let id = stem.and_then(|stem| stem.parse().ok());
            if let (Some(id), Some("avsc" | "json")) = (id, extension) {
                schemas.insert(id, text(&file)?);
            }
        }
        if schemas.is_empty() {
            return Err("there is no file in it that is named by an id".to_owned());
        }
        return Ok(schemas);
    }
    let map: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&text(path)?).map_err(|error| error.to_string())?;
    let beside = path.parent().unwrap_or(Path::new(""));
    for (id, schema) in map {
        let id: u32 = id.parse().map_err(|_| format!("'{id}' is no schema id"))?;
        // Names of primitive types are schemas, too, but none that an id stands for.
        let schema = match schema {
            serde_json::Value::String(file) => text(&beside.join(file))?,
            schema => schema.to_string(),
        };
        schemas.insert(id, schema);
    }
    Ok(schemas)
}

#[cfg(test)]
mod tests;
