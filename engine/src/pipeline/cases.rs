//! `[[tests]]`: what comes in, and what is to come out of it.
//!
//! ```toml
//! [[tests]]
//! name = "a flight counts in its scheduled hour"
//! input.flights = [{ origin = "EWR", time_hour = 2013-01-01T10:00:00Z }]
//! expect.delays-by-hour = [{ origin = "EWR", flights = 1 }]
//! ```
//!
//! They stand in the pipeline's TOML file, or beside `NAME.sql` in `NAME.test.toml`. With
//! `[[tests.steps]]` things come one after the other; what the test itself expects is all that has
//! come at its end.
//!
//! A record or a row is its value alone, or a table with `value` (or `tombstone = true`) and, if
//! wanted, `key`, `timestamp`, `partition`, `headers`, and no other key. A value is text, taken as
//! it is, or a table, which stands for the columns of a row: in what comes in, written in the
//! format of its source; in what is expected, compared column by column with the query's rows, of
//! which those that it does not name do not matter.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use serde_json::{Map, Number, Value as Json};
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::model::{ColumnFrom, Format, LateRows, OnError, Pipeline, Query, Source};
use super::reader::{Mistakes, Table, Value};
use super::toml_file::PARTITIONS_LIMIT;
use crate::topology::Topology;

/// A test of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    pub span: Span,
    /// The wall clock at its beginning, in ms since 1970.
    pub now_ms: i64,
    pub steps: Vec<CaseStep>,
    /// All windows are closed at the end, as by `--until-end`.
    pub until_end: bool,
    /// What has come at the end.
    pub expected: Vec<Expected>,
    pub counts: Vec<ExpectedCount>,
}

/// Records that come, and what is there after them.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseStep {
    /// Time that passes before.
    pub wait: Duration,
    pub inputs: Vec<CaseInput>,
    /// What has come since the step before; of an answer that is updated, all of it.
    pub expected: Vec<Expected>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CaseInput {
    pub topic: String,
    pub span: Span,
    pub records: Vec<CaseRecord>,
}

/// A record, coming or expected.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRecord {
    pub span: Span,
    pub value: CaseValue,
    /// More than the value is said of it.
    pub is_record: bool,
    pub key: Option<String>,
    pub timestamp_ms: Option<i64>,
    pub partition: Option<i32>,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CaseValue {
    Tombstone,
    /// As it is.
    Text(String),
    /// Columns in the order of the file.
    Columns(Vec<(String, Json)>),
}

/// What a topic or query is to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// As written: a topic, or a query.
    pub of: String,
    pub span: Span,
    pub matching: Matching,
    pub rows: Vec<CaseRecord>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// Each as often as it is expected.
    #[default]
    AnyOrder,
    InOrder,
    /// Only the last record of each key counts, and none that was deleted.
    ByKey,
}

/// How many rows something is to have happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedCount {
    pub what: &'static str,
    pub count: u64,
    pub span: Span,
}

/// What can be counted.
const COUNTS: [&str; 6] = ["late", "untimed", "future", "skipped", "dead_lettered", "tombstones"];

/// Unless it says otherwise, no time that a test is likely to name lies in the future:
/// 2100-01-01.
const NOW_MS: i64 = 4_102_444_800_000;

const ROWS_MAX: i64 = 1_000_000_000;

/// The file beside `NAME.sql` that holds its tests.
pub fn beside(path: &Path) -> Option<PathBuf> {
    (path.extension()? == "sql").then(|| path.with_extension("test.toml"))
}

/// The pipeline whose tests a file holds, if it holds nothing else.
pub fn pipeline_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix(".test.toml")?;
    Some(path.with_file_name(format!("{name}.sql")))
}

/// Tests in a file of their own.
pub(crate) fn read_file(file: &Arc<SourceFile>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Case> {
    let mut mistakes = Mistakes::new(file);
    let (document, errors) = DeTable::parse_recoverable(&file.text);
    for error in errors {
        let span = mistakes.span(&error.span().unwrap_or(0..0));
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        mistakes.push(Diagnostic::error(message, span).label("not TOML from here"));
    }
    let mut table = Table::new(document.get_ref(), document.span(), "the file");
    let cases = read(table.get("tests"), &mut mistakes);
    table.finish(&mut mistakes);
    diagnostics.append(&mut mistakes.list);
    cases
}

/// The value of `tests`.
pub(crate) fn read(value: Option<Value<'_>>, mistakes: &mut Mistakes) -> Vec<Case> {
    let Some(list) = value.and_then(|value| value.array(mistakes)) else { return Vec::new() };
    let mut cases: Vec<Case> = Vec::new();
    for value in list {
        let Some(case) = read_case(&value, mistakes) else { continue };
        if cases.iter().any(|other| other.name == case.name) {
            let message = format!("a second test is called '{}'", case.name);
            let help = "it is told from others by its name: give it another";
            mistakes.push(Diagnostic::error(message, case.span.clone()).help(help));
        }
        cases.push(case);
    }
    cases
}

fn read_case(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Case> {
    let mut table = Value { what: "the test".to_owned(), ..value.clone() }.table(mistakes)?;
    let name = table.require("name", mistakes).and_then(|name| name.string(mistakes));
    let named = name.map(|name| name.named());
    if let Some(name) = &named {
        table.what = format!("test '{}'", name.text);
        table.range = name.span.start..name.span.end;
    }
    let now = table.get("now").and_then(|now| read_time(&now, mistakes));
    let until_end = table.get("until_end").and_then(|end| end.boolean(mistakes));
    let mut steps = vec![CaseStep {
        wait: Duration::ZERO,
        inputs: read_inputs(&mut table, mistakes),
        expected: Vec::new(),
    }];
    let expected = read_expected(&mut table, mistakes);
    for step in table.get("steps").and_then(|steps| steps.array(mistakes)).unwrap_or_default() {
        steps.extend(read_step(&step, mistakes));
    }
    let mut counts = Vec::new();
    for what in COUNTS {
        let Some(value) = table.get(what) else { continue };
        if let Some(count) = value.integer(0, ROWS_MAX, mistakes) {
            let (count, span) = (count.unsigned_abs(), mistakes.span(&value.range));
            counts.push(ExpectedCount { what, count, span });
        }
    }
    let expects =
        !expected.is_empty() || !counts.is_empty() || table.has("expect") || expects_in(&steps);
    if !expects && named.is_some() {
        let span = mistakes.span(&table.range);
        let message = format!("{} expects nothing", table.what);
        let help = "expect.TOPIC = [ rows ]; an empty list if nothing is to come";
        mistakes.push(Diagnostic::error(message, span).help(help));
    }
    table.finish(mistakes);
    let named = named?;
    let (now_ms, until_end) = (now.unwrap_or(NOW_MS), until_end.unwrap_or(true));
    Some(Case { name: named.text, span: named.span, now_ms, steps, until_end, expected, counts })
}

fn expects_in(steps: &[CaseStep]) -> bool {
    steps.iter().any(|step| !step.expected.is_empty())
}

fn read_step(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<CaseStep> {
    let mut table = Value { what: "the step".to_owned(), ..value.clone() }.table(mistakes)?;
    let wait = table.get("wait").and_then(|wait| wait.duration(mistakes));
    let step = CaseStep {
        wait: wait.unwrap_or_default(),
        inputs: read_inputs(&mut table, mistakes),
        expected: read_expected(&mut table, mistakes),
    };
    table.finish(mistakes);
    Some(step)
}

fn read_inputs(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<CaseInput> {
    let Some(of_topics) = table.get("input").and_then(|value| value.table(mistakes)) else {
        return Vec::new();
    };
    let mut inputs = Vec::new();
    for (topic, value) in of_topics.named("the input of", mistakes) {
        let Some(list) = value.array(mistakes) else { continue };
        let records = list.iter().filter_map(|record| read_record(record, mistakes)).collect();
        inputs.push(CaseInput { topic: topic.text, span: topic.span, records });
    }
    inputs
}

fn read_expected(table: &mut Table<'_>, mistakes: &mut Mistakes) -> Vec<Expected> {
    let Some(of_topics) = table.get("expect").and_then(|value| value.table(mistakes)) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (of, value) in of_topics.named("what is expected of", mistakes) {
        let (rows, matching) = match value.value {
            DeValue::Table(_) => {
                let Some(mut table) = value.table(mistakes) else { continue };
                let matching = table.get("match").and_then(|text| read_match(&text, mistakes));
                let rows = table.require("rows", mistakes).and_then(|rows| rows.array(mistakes));
                table.finish(mistakes);
                (rows, matching)
            }
            _ => (value.array(mistakes), None),
        };
        let Some(rows) = rows else { continue };
        let rows = rows.iter().filter_map(|row| read_record(row, mistakes)).collect();
        let matching = matching.unwrap_or_default();
        all.push(Expected { of: of.text, span: of.span, matching, rows });
    }
    all
}

fn read_match(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Matching> {
    let text = value.string(mistakes)?;
    match text.text {
        "any order" => Some(Matching::AnyOrder),
        "in order" => Some(Matching::InOrder),
        "by key" => Some(Matching::ByKey),
        other => {
            let message = format!("rows cannot be matched '{other}'");
            let known = ["any order", "in order", "by key"];
            mistakes.push(Diagnostic::error(message, text.span).did_you_mean(other, known));
            None
        }
    }
}

const RECORD_KEYS: [&str; 6] = ["value", "tombstone", "key", "timestamp", "partition", "headers"];

fn read_record(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<CaseRecord> {
    let mut record = CaseRecord {
        span: mistakes.span(&value.range),
        value: CaseValue::Tombstone,
        is_record: false,
        key: None,
        timestamp_ms: None,
        partition: None,
        headers: Vec::new(),
    };
    let DeValue::Table(entries) = value.value else {
        record.value = CaseValue::Text(value.string(mistakes)?.text.to_owned());
        return Some(record);
    };
    let has = |wanted: &str| entries.keys().any(|key| key.get_ref() == wanted);
    let only_known = entries.keys().all(|key| RECORD_KEYS.contains(&key.get_ref().as_ref()));
    if !only_known || !(has("value") || has("tombstone")) {
        record.value = CaseValue::Columns(columns(value, mistakes)?);
        return Some(record);
    }
    let mut table = Value { what: "the record".to_owned(), ..value.clone() }.table(mistakes)?;
    record.is_record = true;
    let tombstone = table.get("tombstone").and_then(|is| is.boolean(mistakes)).unwrap_or(false);
    match table.get("value") {
        Some(given) if tombstone => {
            let message = "a tombstone is a record without a value";
            mistakes.push(Diagnostic::error(message, mistakes.span(&given.range)));
        }
        Some(given) => {
            record.value = match given.value {
                DeValue::Table(_) => CaseValue::Columns(columns(&given, mistakes)?),
                _ => CaseValue::Text(text(&given, mistakes)),
            }
        }
        None => {}
    }
    record.key = table.get("key").map(|key| text(&key, mistakes));
    record.timestamp_ms = table.get("timestamp").and_then(|time| read_time(&time, mistakes));
    let partition = table.get("partition");
    let partition = partition.and_then(|at| at.integer(0, PARTITIONS_LIMIT - 1, mistakes));
    record.partition = partition.and_then(|at| i32::try_from(at).ok());
    if let Some(headers) = table.get("headers").and_then(|headers| headers.table(mistakes)) {
        let headers = headers.named("header", mistakes).into_iter();
        record.headers = headers.map(|(name, value)| (name.text, text(&value, mistakes))).collect();
    }
    Some(record)
}

fn columns(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<Vec<(String, Json)>> {
    let table = value.table(mistakes)?;
    let named = table.named("column", mistakes).into_iter();
    Some(named.map(|(name, value)| (name.text, json(value.value))).collect())
}

/// Text as it is, all else as JSON.
fn text(value: &Value<'_>, _: &mut Mistakes) -> String {
    match json(value.value) {
        Json::String(text) => text,
        other => other.to_string(),
    }
}

/// `{}` stands for NULL, which TOML does not have.
fn json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            parsed.map_or(Json::Null, Json::from)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse().ok().and_then(Number::from_f64);
            parsed.map_or_else(|| Json::from(number.as_str()), Json::Number)
        }
        DeValue::Boolean(value) => Json::Bool(*value),
        DeValue::Datetime(time) => Json::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(entries) if entries.is_empty() => Json::Null,
        DeValue::Table(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
            Json::Object(entries.collect::<Map<_, _>>())
        }
    }
}

fn read_time(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<i64> {
    let text = match value.value {
        DeValue::Integer(_) => return value.integer(0, i64::MAX, mistakes),
        DeValue::Datetime(time) => time.to_string(),
        _ => value.string(mistakes)?.text.to_owned(),
    };
    let time = parse_time_ms(&text);
    if time.is_none() {
        let message = format!("{} is no time", value.what);
        let help = "such as 2013-01-01T10:00:00Z, or milliseconds since 1970";
        let span = mistakes.span(&value.range);
        mistakes.push(Diagnostic::error(message, span).label("not a time").help(help));
    }
    time
}

/// An ISO time, in UTC unless it says otherwise, in ms since 1970.
pub(crate) fn parse_time_ms(text: &str) -> Option<i64> {
    let utc: Tz = "+00:00".parse().ok()?;
    Some(string_to_datetime(&utc, text).ok()?.timestamp_millis())
}

/// Whether rows that come in as columns are written as records of their source's format; else
/// they are JSON.
pub(crate) fn rows_are_encoded(format: &Format) -> bool {
    matches!(format, Format::Csv(_) | Format::Avro(_) | Format::Protobuf(_))
}

/// Columns that are fields of the value.
pub(crate) fn value_columns(source: &Source) -> Vec<usize> {
    let columns = source.columns.iter().enumerate();
    columns.filter(|(_, column)| column.from == ColumnFrom::Value).map(|(at, _)| at).collect()
}

/// Inputs that are given for sources, for their topics.
pub(crate) fn by_topics(mut cases: Vec<Case>, sources: &[Arc<Source>]) -> Vec<Case> {
    let steps = cases.iter_mut().flat_map(|case| &mut case.steps);
    for input in steps.flat_map(|step| &mut step.inputs) {
        let is_topic = sources.iter().any(|source| source.topic == input.topic);
        let named = sources.iter().find(|source| source.name == input.topic);
        if let Some(source) = named.filter(|_| !is_topic) {
            input.topic.clone_from(&source.topic);
        }
    }
    cases
}

/// By the topic that it writes, or by its name.
pub(crate) fn query_named<'a>(pipeline: &'a Pipeline, name: &str) -> Option<&'a Query> {
    let queries = pipeline.queries.iter();
    let by_topic = queries.clone().find(|query| query.sink.topic == name);
    by_topic.or_else(|| queries.clone().find(|query| query.name == name))
}

/// Whether records that failed, or rows that came too late, are written there.
fn is_side_topic(pipeline: &Pipeline, topic: &str) -> bool {
    pipeline.sources.iter().any(|source| {
        matches!(&source.on_error, OnError::DeadLetter { topic: to } if to == topic)
            || matches!(&source.watermark.late, LateRows::Topic { topic: to } if to == topic)
    })
}

/// Names that a case uses and the pipeline does not have.
pub(crate) fn check(pipeline: &Pipeline, mistakes: &mut Vec<Diagnostic>) {
    for case in &pipeline.cases {
        let steps = case.steps.iter();
        for input in steps.clone().flat_map(|step| &step.inputs) {
            check_input(pipeline, input, mistakes);
        }
        let of_steps = steps.flat_map(|step| &step.expected);
        for expected in case.expected.iter().chain(of_steps) {
            check_expected(pipeline, expected, mistakes);
        }
    }
}

fn check_input(pipeline: &Pipeline, input: &CaseInput, mistakes: &mut Vec<Diagnostic>) {
    let source = pipeline.sources.iter().find(|source| source.topic == input.topic);
    let Some(source) = source else {
        let message = format!("no source reads topic '{}', or is called so", input.topic);
        let names = |source: &'_ Arc<Source>| [source.topic.clone(), source.name.clone()];
        let topics: BTreeSet<String> = pipeline.sources.iter().flat_map(names).collect();
        let topics = topics.iter().map(String::as_str);
        let diagnostic = Diagnostic::error(message, input.span.clone()).label("not read");
        mistakes.push(diagnostic.did_you_mean(&input.topic, topics));
        return;
    };
    if rows_are_encoded(&source.format) {
        let columns = value_columns(source);
        let columns: Vec<&str> = columns.iter().map(|at| &*source.columns[*at].name).collect();
        check_columns(&input.records, &columns, &format!("source '{}'", source.name), mistakes);
    }
}

fn check_expected(pipeline: &Pipeline, expected: &Expected, mistakes: &mut Vec<Diagnostic>) {
    let Some(query) = query_named(pipeline, &expected.of) else {
        if is_side_topic(pipeline, &expected.of) {
            return;
        }
        let message = format!("no query writes '{}'", expected.of);
        let topics = pipeline.queries.iter().map(|query| query.sink.topic.as_str());
        let diagnostic = Diagnostic::error(message, expected.span.clone()).label("not written");
        mistakes.push(diagnostic.did_you_mean(&expected.of, topics));
        return;
    };
    if let Ok(topology) = Topology::new(query, &pipeline.sources) {
        let fields = topology.schema().fields();
        let columns: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let rows: Vec<CaseRecord> =
            expected.rows.iter().filter(|row| !row.is_record).cloned().collect();
        check_columns(&rows, &columns, &format!("query '{}'", query.name), mistakes);
    }
}

fn check_columns(
    rows: &[CaseRecord],
    columns: &[&str],
    what: &str,
    mistakes: &mut Vec<Diagnostic>,
) {
    for row in rows {
        let CaseValue::Columns(named) = &row.value else { continue };
        for (name, _) in named.iter().filter(|(name, _)| !columns.contains(&name.as_str())) {
            let message = format!("{what} has no column '{name}'");
            let diagnostic = Diagnostic::error(message, row.span.clone());
            mistakes.push(diagnostic.did_you_mean(name, columns.iter().copied()));
        }
    }
}
