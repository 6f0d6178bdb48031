//! The TOML form of a pipeline: tables and keys to a draft.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cases;
use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::draft::{Draft, DraftColumn, DraftSource, METADATA_NAMES, Named, metadata_column};
use super::duration::check_state_ttl;
use super::format_options::{FormatOptions, format_named};
use super::functions::{self, DraftFunction};
use super::load::read_text;
use super::model::{
    COMMIT_INTERVAL_MAX, ColumnFrom, Connector, Format, Guarantee, LateRows, OnError,
    STANDBY_REPLICAS_MAX, Settings, Source, TASKS_LIMIT, Watermark,
};
use super::names::{check_pipeline, check_topic, name_of_file};
use super::reader::{Mistakes, StringValue, Table, Value};
use super::start::read_start;
use super::tokens::parse_expr;
use super::toml_query::QueryReader;
use super::variables;
use crate::plan::types::parse_type;

pub(crate) fn read(file: &Arc<SourceFile>, diagnostics: &mut Vec<Diagnostic>) -> Draft {
    let mut mistakes = Mistakes::new(file);
    let document = parse(file, &mut mistakes);
    let table = Table::new(document.get_ref(), document.span(), "the file");
    let draft = read_document(table, &mut mistakes, diagnostics);
    diagnostics.append(&mut mistakes.list);
    draft
}

/// What `toml` says of a key that begins with another one, as Connect's do.
const EXTENDED: &str = "with a dotted key";

/// With the variables of the environment filled in.
fn parse<'t>(file: &'t SourceFile, mistakes: &mut Mistakes) -> Spanned<DeTable<'t>> {
    let (mut document, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let span = mistakes.span(&range);
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        let is_extended = message.contains(EXTENDED);
        let mut mistake = Diagnostic::error(message, span).label("not TOML from here");
        // Connect has keys that are one thing and begin others.
        let begin = file.text.get(..range.start).and_then(|before| before.rfind('\n'));
        let line = file.text.get(begin.map_or(0, |at| at + 1)..).unwrap_or_default();
        let key = line.split(['=', '\n']).next().unwrap_or_default().trim();
        if is_extended && !key.is_empty() {
            mistake = mistake.help(format!("write all of the key in quotes: \"{key}\" = …"));
        }
        mistakes.push(mistake);
    }
    variables::expand_table(document.get_mut(), &variables::of_process, mistakes);
    document
}

/// What a file declares for queries to use.
#[derive(Default)]
struct Declared {
    connectors: Vec<Connector>,
    sources: Vec<Arc<Source>>,
    functions: Vec<DraftFunction>,
    /// Sources and tables that cannot be used, their mistakes being reported.
    broken: Vec<String>,
}

fn read_document(
    mut table: Table<'_>,
    mistakes: &mut Mistakes,
    diagnostics: &mut Vec<Diagnostic>,
) -> Draft {
    let file = Arc::clone(&mistakes.file);
    let name = table.get("name").and_then(|name| name.string(mistakes)).map(|name| name.named());
    if let Some(name) = &name {
        check_pipeline(name, &mut mistakes.list);
    }
    let span = Span { file: Arc::clone(&file), start: 0, end: 0 };
    let name = name.unwrap_or_else(|| Named { text: name_of_file(&file.path), span });
    let settings = table.get("settings").and_then(|settings| read_settings(&settings, mistakes));
    let mut declared = Declared::default();
    let included = table.get("include").and_then(|include| include.strings(mistakes));
    for path in included.unwrap_or_default() {
        read_included(&path, &mut declared, mistakes, diagnostics);
    }
    declared.read(&mut table, mistakes);
    let Declared { connectors, sources, functions, broken } = declared;
    let (mut queries, mut steps) = (Vec::new(), Vec::new());
    if let Some(list) = table.get("queries").and_then(|queries| queries.array(mistakes)) {
        for query in list {
            let reader = QueryReader { pipeline: &name, sources: &sources, broken: &broken };
            queries.extend(reader.read(&query, &mut steps, mistakes));
        }
    }
    let cases = cases::read(table.get("tests"), mistakes);
    table.finish(mistakes);
    let (settings, views) = (settings.unwrap_or_default(), Vec::new());
    Draft {
        file,
        name,
        connectors,
        sources,
        derived: Vec::new(),
        processing_times: Vec::new(),
        functions,
        views,
        queries,
        steps,
        broken,
        settings,
        cases,
    }
}

/// A file that declares sources, tables and connectors, beside the one that includes it.
fn read_included(
    path: &StringValue<'_>,
    declared: &mut Declared,
    mistakes: &mut Mistakes,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let directory = mistakes.file.path.parent().unwrap_or(Path::new("."));
    let path_of_file = directory.join(path.text);
    let text = match read_text(&path_of_file) {
        Ok(text) => text,
        Err(mistake) => {
            mistakes.push(Diagnostic { span: Some(path.span.clone()), ..mistake });
            return;
        }
    };
    let file = Arc::new(SourceFile { path: path_of_file, text });
    let mut of_file = Mistakes::new(&file);
    let document = parse(&file, &mut of_file);
    let mut table = Table::new(document.get_ref(), document.span(), "an included file");
    declared.read(&mut table, &mut of_file);
    table.finish(&mut of_file);
    diagnostics.append(&mut of_file.list);
}

impl Declared {
    /// Leaves connectors out of which keys could not be read: what else is wrong with them, such
    /// as a key that is missing, follows from that.
    fn leave_out_half_read(&mut self, mistakes: &Mistakes) {
        let extended = mistakes.list.iter().filter(|mistake| mistake.message.contains(EXTENDED));
        let half_read: Vec<Span> = extended
            .filter_map(|mistake| {
                let span = mistake.span.as_ref()?;
                let of_file = self.connectors.iter().map(|connector| &connector.span);
                let begun = of_file
                    .filter(|of| Arc::ptr_eq(&of.file, &span.file) && of.start <= span.start);
                begun.max_by_key(|of| of.start).cloned()
            })
            .collect();
        self.connectors.retain(|connector| !half_read.contains(&connector.span));
    }

    fn read(&mut self, table: &mut Table<'_>, mistakes: &mut Mistakes) {
        for (name, table) in named_tables(table, "connectors", "connector", mistakes) {
            let first = self.connectors.iter().find(|connector| connector.name == name.text);
            if let Some(first) = first {
                mistakes.push(second("connector", &name, &first.span));
            }
            self.connectors.push(read_connector(name, table, mistakes));
        }
        self.leave_out_half_read(mistakes);
        for (name, table) in named_tables(table, "udfs", "function", mistakes) {
            let is_it = |of: &&DraftFunction| of.name.text.eq_ignore_ascii_case(&name.text);
            if let Some(first) = self.functions.iter().find(is_it) {
                mistakes.push(second("function", &name, &first.name.span));
            }
            let Connector { properties, property_spans, .. } =
                read_connector(name.clone(), table, mistakes);
            let properties = properties.into_iter().map(|(text, value)| {
                let span = property_spans[&text].clone();
                (Named { text, span: span.clone() }, Named { text: value, span })
            });
            let path = mistakes.file.path.clone();
            let read = functions::read(name, properties.collect(), &path, &mut mistakes.list);
            self.functions.push(read);
        }
        for (list, what) in [("sources", "source"), ("tables", "table")] {
            for (name, table) in named_tables(table, list, what, mistakes) {
                self.read_source(name, table, what == "table", mistakes);
            }
        }
    }

    fn read_source(
        &mut self,
        name: Named,
        table: Table<'_>,
        is_table: bool,
        mistakes: &mut Mistakes,
    ) {
        let first = self.sources.iter().find(|source| source.name == name.text);
        match first {
            Some(first) if first.span.file.path != name.span.file.path => {
                mistakes.push(second("source or table", &name, &first.span));
            }
            None if !self.broken.contains(&name.text) => {}
            _ => {
                let message = format!("'{}' is a source and a table", name.text);
                let help = "give one of them another name";
                mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
            }
        }
        match read_source(name.clone(), table, is_table, mistakes) {
            Some(source) => self.sources.push(Arc::new(source)),
            None => self.broken.push(name.text),
        }
    }
}

fn second(what: &str, name: &Named, first: &Span) -> Diagnostic {
    let message = format!("a second {what} '{}'", name.text);
    Diagnostic::error(message, name.span.clone()).help(format!("the first is at {first}"))
}

/// The tables under `[list.NAME]`.
fn named_tables<'t>(
    table: &mut Table<'t>,
    list: &'static str,
    what: &str,
    mistakes: &mut Mistakes,
) -> Vec<(Named, Table<'t>)> {
    let Some(list) = table.get(list).and_then(|value| value.table(mistakes)) else {
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (name, value) in list.named(what, mistakes) {
        if let Some(mut table) = value.table(mistakes) {
            table.range = name.span.start..name.span.end;
            tables.push((name, table));
        }
    }
    tables
}

fn read_settings(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Settings> {
    let mut table = value.table(mistakes)?;
    let mut settings = Settings::default();
    let interval = table.get("commit_interval").and_then(|value| {
        let interval = value.duration(mistakes)?;
        if interval > COMMIT_INTERVAL_MAX {
            let message = "'commit_interval' must be no more than 5 minutes";
            mistakes.push(Diagnostic::error(message, mistakes.span(&value.range)));
        }
        Some(interval)
    });
    settings.commit_interval = interval.unwrap_or(settings.commit_interval);
    let rows = table.get("batch_rows_max").and_then(|value| {
        value.integer(1, BATCH_ROWS_LIMIT as i64, mistakes).map(|rows| rows as usize)
    });
    settings.batch_rows_max = rows.unwrap_or(settings.batch_rows_max);
    let tasks = table.get("tasks").and_then(|value| {
        value.integer(1, TASKS_LIMIT as i64, mistakes).map(|tasks| tasks as usize)
    });
    settings.tasks = tasks.unwrap_or(settings.tasks);
    let copies = table.get("standby_replicas").and_then(|value| {
        value.integer(0, STANDBY_REPLICAS_MAX as i64, mistakes).map(|copies| copies as usize)
    });
    settings.standby_replicas = copies.unwrap_or(settings.standby_replicas);
    let guarantee = table.get("guarantee").and_then(|value| {
        let text = value.string(mistakes)?;
        let guarantee = Guarantee::parse(text.text);
        if guarantee.is_none() {
            let message = format!("there is no guarantee '{}'", text.text);
            let mistake = Diagnostic::error(message, text.span);
            mistakes.push(mistake.help("there is 'exactly-once' and 'at-least-once'"));
        }
        guarantee
    });
    settings.guarantee = guarantee.unwrap_or(settings.guarantee);
    let memory = table.get("state_memory").and_then(|value| value.size(mistakes));
    settings.state_memory = memory.unwrap_or(settings.state_memory);
    settings.state_ttl = table.get("state_ttl").and_then(|value| {
        let ttl = value.duration(mistakes)?;
        check_state_ttl(ttl, &mistakes.span(&value.range), &mut mistakes.list);
        Some(ttl)
    });
    table.finish(mistakes);
    Some(settings)
}

/// Beyond this, larger batches cost memory and gain nothing.
pub(crate) const BATCH_ROWS_LIMIT: usize = 1_000_000;

fn read_connector(name: Named, table: Table<'_>, mistakes: &mut Mistakes) -> Connector {
    let mut connector = Connector {
        name: name.text,
        properties: BTreeMap::new(),
        span: name.span,
        property_spans: BTreeMap::new(),
        functions: Arc::default(),
    };
    flatten(&table, "", &mut connector, mistakes);
    connector
}

/// `connector.class = …` arrives as a table in a table: back to one property with a dotted key.
fn flatten(table: &Table<'_>, prefix: &str, connector: &mut Connector, mistakes: &mut Mistakes) {
    for (name, value) in table.named("property", mistakes) {
        let key = format!("{prefix}{}", name.text);
        if let DeValue::Table(_) = value.value {
            if let Some(inner) = value.table(mistakes) {
                flatten(&inner, &format!("{key}."), connector, mistakes);
            }
            continue;
        }
        let Some(text) = property_text(value.value) else {
            let message = format!("property '{key}' is a list of more than plain values");
            let span = mistakes.span(&value.range);
            mistakes.push(Diagnostic::error(message, span));
            continue;
        };
        let span = mistakes.span(&value.range);
        connector.properties.insert(key.clone(), text);
        connector.property_spans.insert(key, span);
    }
}

/// As it would stand in a .properties file.
fn property_text(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let plain = |item: &DeValue<'_>| match item {
                DeValue::Array(_) | DeValue::Table(_) => None,
                other => property_text(other),
            };
            let items: Option<Vec<String>> =
                items.iter().map(|item| plain(item.get_ref())).collect();
            items?.join(",")
        }
        DeValue::Table(_) => return None,
    })
}

fn read_source(
    name: Named,
    mut table: Table<'_>,
    is_table: bool,
    mistakes: &mut Mistakes,
) -> Option<Source> {
    let topic = read_topic(&mut table, mistakes);
    if topic.is_none() && !table.has("topic") {
        check_topic(&name, &mut mistakes.list);
    }
    let format = read_format(table.get("format"), Format::Json, mistakes);
    let key_format = read_format(table.get("key_format"), Format::Raw, mistakes);
    let columns = read_columns(table.get("columns"), mistakes);
    let event_time = table.get("event_time").and_then(|value| value.string(mistakes));
    let watermark = read_watermark(table.get("watermark"), mistakes);
    let on_error = read_on_error(table.get("on_error"), mistakes);
    let start = table.get("start").and_then(|value| {
        let given = match value.value {
            DeValue::Datetime(time) => {
                Named { text: time.to_string(), span: mistakes.span(&value.range) }
            }
            _ => value.string(mistakes)?.named(),
        };
        read_start(&given, is_table, &mut mistakes.list)
    });
    let key = if is_table {
        let key = table.require("key", mistakes).and_then(|key| key.strings(mistakes));
        Some(key.unwrap_or_default().iter().map(|column| column.named()).collect())
    } else {
        None
    };
    let span = mistakes.span(&table.range);
    table.finish(mistakes);
    // A format or columns with mistakes are reported; the rest cannot be told from them.
    let source = DraftSource {
        name,
        topic: topic.map(|topic| topic.text),
        format: format?,
        key_format: key_format?,
        columns: columns?,
        event_time: event_time.map(|column| column.named()),
        watermark,
        start: start.unwrap_or_default(),
        on_error,
        key,
        span,
    };
    source.finish(&mut mistakes.list)
}

pub(crate) fn read_topic(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Option<Named> {
    let topic = table.get("topic")?.string(mistakes)?.named();
    check_topic(&topic, &mut mistakes.list);
    Some(topic)
}

/// `None` after a mistake; `default` where nothing is said.
pub(crate) fn read_format(
    value: Option<Value<'_>>,
    default: Format,
    mistakes: &mut Mistakes,
) -> Option<Format> {
    let Some(value) = value else { return Some(default) };
    if let DeValue::String(_) = value.value {
        let name = value.string(mistakes)?.named();
        return format_named(&name, &mut TomlFormat { table: None, mistakes });
    }
    let mut table = value.table(mistakes)?;
    let name = table.require("type", mistakes).and_then(|value| value.string(mistakes));
    let name = name?.named();
    let mut options = TomlFormat { table: Some(table), mistakes };
    let format = format_named(&name, &mut options);
    if let Some(mut table) = options.table {
        table.what = format!("format '{}'", name.text);
        table.finish(mistakes);
    }
    format
}

/// The keys beside `type`, if the format is a table.
struct TomlFormat<'m, 't> {
    table: Option<Table<'t>>,
    mistakes: &'m mut Mistakes,
}

impl FormatOptions for TomlFormat<'_, '_> {
    fn text(&mut self, key: &'static str) -> Option<Named> {
        let value = self.table.as_mut()?.get(key)?;
        value.string(self.mistakes).map(|text| text.named())
    }

    fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.table.as_mut()?.get(key)?.boolean(self.mistakes)
    }

    fn schema_id(&mut self) -> Option<u32> {
        let value = self.table.as_mut()?.get("schema_id")?;
        value.integer(0, i64::from(i32::MAX), self.mistakes).map(|id| id as u32)
    }

    fn ignore_rest(&mut self) {
        self.table = None;
    }

    fn mistakes(&mut self) -> &mut Vec<Diagnostic> {
        &mut self.mistakes.list
    }
}

fn read_columns(value: Option<Value<'_>>, mistakes: &mut Mistakes) -> Option<Vec<DraftColumn>> {
    let Some(value) = value else { return Some(Vec::new()) };
    let table = value.table(mistakes)?;
    let columns = table.named("column", mistakes).into_iter();
    Some(columns.map(|(name, value)| read_column(name, &value, mistakes)).collect())
}

fn read_column(name: Named, value: &Value<'_>, mistakes: &mut Mistakes) -> DraftColumn {
    let (data_type, from) = match value.value {
        DeValue::Table(_) => match value.table(mistakes) {
            Some(mut table) => {
                if table.has("as") {
                    return read_computed(name, table, mistakes);
                }
                let data_type = table.require("type", mistakes);
                let from = table.get("from").and_then(|from| read_from(&from, mistakes));
                table.finish(mistakes);
                (data_type, from)
            }
            None => (None, None),
        },
        _ => (Some(value.clone()), None),
    };
    let read = data_type.and_then(|value| {
        let text = value.string(mistakes)?;
        parse_type(text.sql()).map_err(|mistake| mistakes.push(mistake)).ok()
    });
    let (data_type, nullable) = read.unwrap_or((DataType::Null, true));
    let from = from.unwrap_or(ColumnFrom::Value);
    DraftColumn { name, data_type, nullable, from, computed: None, is_virtual: false }
}

/// `{ as = "price * quantity" }`.
fn read_computed(name: Named, mut table: Table<'_>, mistakes: &mut Mistakes) -> DraftColumn {
    let by = table.get("as").and_then(|value| value.string(mistakes));
    let by = by.and_then(|by| parse_expr(by.sql()).map_err(|mistake| mistakes.push(mistake)).ok());
    for key in ["type", "from"] {
        if let Some(given) = table.get(key) {
            let message = format!("column '{}' is computed: it has no '{key}'", name.text);
            let help = "its type is that of the expression: CAST(… AS type) gives it another";
            mistakes.push(Diagnostic::error(message, mistakes.span(&given.range)).help(help));
        }
    }
    table.finish(mistakes);
    DraftColumn::computed(name, by)
}

fn read_from(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<ColumnFrom> {
    let text = value.string(mistakes)?;
    let from = metadata_column(text.text);
    if from.is_none() {
        let message = format!("a record has no '{}'", text.text);
        let diagnostic = Diagnostic::error(message, text.span);
        mistakes.push(diagnostic.did_you_mean(text.text, METADATA_NAMES));
    }
    from
}

fn read_watermark(value: Option<Value<'_>>, mistakes: &mut Mistakes) -> Watermark {
    let mut watermark = Watermark::default();
    let Some(value) = value else { return watermark };
    if let DeValue::String(_) = value.value {
        watermark.delay = value.duration(mistakes).unwrap_or(watermark.delay);
        return watermark;
    }
    let Some(mut table) = value.table(mistakes) else { return watermark };
    for (key, place) in [
        ("delay", &mut watermark.delay),
        ("idle_timeout", &mut watermark.idle_timeout),
        ("future_bound", &mut watermark.future_bound),
    ] {
        if let Some(duration) = table.get(key).and_then(|value| value.duration(mistakes)) {
            *place = duration;
        }
    }
    if watermark.idle_timeout.is_zero() {
        watermark.idle_timeout = Watermark::NEVER_IDLE;
    }
    let lateness = table.get("lateness").map(|value| (value.duration(mistakes), value));
    if let Some(late) = table.get("late") {
        watermark.late = read_late(&late, lateness.as_ref().map(|(read, _)| *read), mistakes);
    }
    if let (Some((_, value)), LateRows::Drop | LateRows::Topic { .. }) = (lateness, &watermark.late)
    {
        let span = mistakes.span(&value.range);
        let message = "'lateness' is for late = \"update\", and rows are not updated here";
        let help = "'delay' says how long windows wait before they close";
        mistakes.push(Diagnostic::error(message, span).help(help));
    }
    table.finish(mistakes);
    watermark
}

/// `lateness` is `None` if there is no such key, and holds nothing if it is wrong.
fn read_late(
    value: &Value<'_>,
    lateness: Option<Option<Duration>>,
    mistakes: &mut Mistakes,
) -> LateRows {
    if let DeValue::Table(_) = value.value {
        let Some(mut table) = value.table(mistakes) else { return LateRows::Drop };
        let topic = table.require("topic", mistakes);
        let topic = topic.and_then(|topic| topic.string(mistakes)).map(|topic| topic.named());
        table.finish(mistakes);
        let Some(topic) = topic else { return LateRows::Drop };
        check_topic(&topic, &mut mistakes.list);
        return LateRows::Topic { topic: topic.text };
    }
    let Some(text) = value.string(mistakes) else { return LateRows::Drop };
    match text.text {
        "drop" => LateRows::Drop,
        "update" => {
            if lateness.is_none() {
                let message = "rows that are late by how much are still to update their window?";
                let help = "add lateness = \"1 hour\"";
                mistakes.push(Diagnostic::error(message, text.span).help(help));
            }
            LateRows::Update { lateness: lateness.flatten().unwrap_or_default() }
        }
        other => {
            let message = format!("late rows cannot be treated as '{other}'");
            let help = "\"drop\" leaves them out and counts them, \"update\" corrects their \
                        window, { topic = \"name\" } puts them aside";
            mistakes.push(Diagnostic::error(message, text.span).help(help));
            LateRows::Drop
        }
    }
}

fn read_on_error(value: Option<Value<'_>>, mistakes: &mut Mistakes) -> OnError {
    let Some(value) = value else { return OnError::default() };
    let read = match value.value {
        DeValue::Table(_) => value.table(mistakes).and_then(|mut table| {
            let topic = table.require("dead_letter", mistakes);
            let topic = topic.and_then(|topic| topic.string(mistakes)).map(|topic| topic.named());
            table.finish(mistakes);
            let topic = topic?;
            check_topic(&topic, &mut mistakes.list);
            Some(OnError::DeadLetter { topic: topic.text })
        }),
        _ => value.string(mistakes).and_then(|text| match text.text {
            "fail" => Some(OnError::Fail),
            "skip" => Some(OnError::Skip),
            other => {
                let message = format!("'on_error' cannot be '{other}'");
                let help = "\"fail\", \"skip\" or { dead_letter = \"topic\" }";
                mistakes.push(Diagnostic::error(message, text.span).help(help));
                None
            }
        }),
    };
    read.unwrap_or_default()
}

pub(crate) const PARTITIONS_LIMIT: i64 = 10_000;
