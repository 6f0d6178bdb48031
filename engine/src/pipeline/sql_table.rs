//! `CREATE TABLE`: columns, event time, key and options.
//!
//! The statement is Flink's: `METADATA FROM`, `WATERMARK FOR` and `WITH` are read here, names of
//! types and expressions by the SQL parser.

use std::time::Duration;

use arrow::datatypes::DataType;
use datafusion_common::DFSchema;
use datafusion_expr::Expr;
use datafusion_sql::planner::PlannerContext;
use datafusion_sql::sqlparser::ast::{self, BinaryOperator};
use datafusion_sql::sqlparser::tokenizer::Token;

use super::cursor::Cursor;
use super::diagnostic::{Diagnostic, Span};
use super::draft::{DraftColumn, DraftSink, DraftSource, METADATA_NAMES, Named, metadata_column};
use super::duration::{check_state_ttl, parse_duration};
use super::flink_options;
use super::format_options::{FORMATS, FormatOptions, family, format_named};
use super::model::{ColumnFrom, Format, LateRows, OnError, Source, Watermark};
use super::names::check_topic;
use super::start::read_start;
use super::toml_file::PARTITIONS_LIMIT;
use super::variables;
use crate::plan::context::Catalog;
use crate::plan::types::{sql_type, type_syntax};
use crate::plan::windows::fixed_length_ns;

mod like;

pub(crate) struct TableStatement {
    pub name: Named,
    columns: Vec<DraftColumn>,
    watermark: Option<(Named, Duration)>,
    key: Option<Vec<Named>>,
    options: Vec<(Named, Named)>,
    span: Span,
}

/// What a table is once it is known whether queries write it.
pub(crate) struct Finished {
    /// What reading it is, if that can be known.
    pub source: Option<Source>,
    /// What it is but for the columns, which are those of the query that writes it.
    pub derived: Option<DraftSource>,
    pub sink: Option<DraftSink>,
}

/// From after the table's name, up to what may follow its options.
pub(crate) fn read_table(
    cursor: &mut Cursor<'_>,
    name: Named,
    span: Span,
    mistakes: &mut Vec<Diagnostic>,
) -> Result<TableStatement, Diagnostic> {
    let mut table = TableStatement {
        name,
        columns: Vec::new(),
        watermark: None,
        key: None,
        options: Vec::new(),
        span,
    };
    const AFTER: [&str; 6] = ["WITH", "COMMENT", "AS", "LIKE", "PARTITIONED", "DISTRIBUTED"];
    let has_columns = !cursor.is_at_end() && !AFTER.iter().any(|word| cursor.is_at_word(word));
    if has_columns {
        let mut list = cursor.parenthesised("columns")?;
        while !list.is_at_end() {
            match table.read_element(&mut list, mistakes) {
                Ok(()) if list.is_at_end() || list.eat(&Token::Comma) => {}
                Ok(()) => {
                    mistakes.push(list.unexpected("a comma between columns"));
                    list.skip_past_comma();
                }
                Err(mistake) => {
                    mistakes.push(mistake);
                    list.skip_past_comma();
                }
            }
        }
    }
    eat_comment(cursor)?;
    if cursor.is_at_word("PARTITIONED") || cursor.is_at_word("DISTRIBUTED") {
        let message = "a topic is partitioned by the key of its records";
        let help = "leave this out; of a table that a query writes 'key' = 'a, b' in WITH, or its \
                    PRIMARY KEY, says what the key is, and 'partitions' = '6' how many there are";
        return Err(Diagnostic::error(message, cursor.span()).help(help));
    }
    if cursor.eat_words(&["WITH"]) {
        table.options = read_options(cursor, mistakes)?;
    }
    Ok(table)
}

/// `(key = 'value', …)`.
pub(crate) fn read_options(
    cursor: &mut Cursor<'_>,
    mistakes: &mut Vec<Diagnostic>,
) -> Result<Vec<(Named, Named)>, Diagnostic> {
    let mut list = cursor.parenthesised("options")?;
    let mut options: Vec<(Named, Named)> = Vec::new();
    while !list.is_at_end() {
        match read_option(&mut list) {
            Ok((key, value)) => {
                if options.iter().any(|(other, _)| other.text == key.text) {
                    let message = format!("'{}' is set twice", key.text);
                    mistakes.push(Diagnostic::error(message, key.span).label("the second time"));
                } else {
                    options.push((key, value));
                }
            }
            Err(mistake) => {
                mistakes.push(mistake);
                list.skip_past_comma();
                continue;
            }
        }
        if !list.is_at_end() && !list.eat(&Token::Comma) {
            mistakes.push(list.unexpected("a comma between options"));
            list.skip_past_comma();
        }
    }
    Ok(options)
}

fn read_option(list: &mut Cursor<'_>) -> Result<(Named, Named), Diagnostic> {
    let key = list.key()?;
    list.expect(&Token::Eq, "after the key")?;
    let Named { text, span } = list.value("a value")?;
    let text = variables::expand(&text, &variables::of_process, || span.clone())?.into_owned();
    Ok((key, Named { text, span }))
}

impl TableStatement {
    fn read_element(
        &mut self,
        list: &mut Cursor<'_>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Result<(), Diagnostic> {
        if list.eat_words(&["WATERMARK", "FOR"]) {
            let watermark = read_watermark(list)?;
            if self.watermark.is_some() {
                let message = "a table has one watermark";
                mistakes.push(Diagnostic::error(message, watermark.0.span.clone()));
            }
            self.watermark = Some(watermark);
            return Ok(());
        }
        if list.is_at_word("CONSTRAINT") && list.nth_is_word(2, "PRIMARY") {
            list.skip();
            list.skip();
        }
        if list.eat_words(&["PRIMARY", "KEY"]) {
            return self.read_key(list);
        }
        self.read_column(list, mistakes)
    }

    /// What follows PRIMARY KEY.
    fn read_key(&mut self, list: &mut Cursor<'_>) -> Result<(), Diagnostic> {
        let mut names = list.parenthesised("columns")?;
        let mut key = vec![names.name("a column")?];
        while names.eat(&Token::Comma) {
            key.push(names.name("a column")?);
        }
        names.expect_end()?;
        list.eat_words(&["NOT", "ENFORCED"]);
        self.key = Some(key);
        Ok(())
    }

    fn read_column(
        &mut self,
        list: &mut Cursor<'_>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Result<(), Diagnostic> {
        let name = list.name("a column's name")?;
        if list.eat_words(&["AS"]) {
            let by = list.parse_prefix(|parser| parser.parse_expr());
            self.columns.push(DraftColumn::computed(name, by.as_ref().ok().cloned()));
            return by.and_then(|_| eat_comment(list));
        }
        let type_span = list.span();
        let data_type = match list.parse_prefix(type_syntax) {
            Ok(data_type) => sql_type(data_type, type_span),
            Err(mistake) => Err(mistake),
        };
        let data_type = match data_type {
            Ok(data_type) => data_type,
            Err(mistake) => {
                mistakes.push(mistake);
                DataType::Null
            }
        };
        let from = ColumnFrom::Value;
        let (computed, is_virtual) = (None, false);
        let mut column =
            DraftColumn { name, data_type, nullable: true, from, computed, is_virtual };
        let read = self.read_column_rest(&mut column, list, mistakes);
        self.columns.push(column);
        read
    }

    fn read_column_rest(
        &mut self,
        column: &mut DraftColumn,
        list: &mut Cursor<'_>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Result<(), Diagnostic> {
        loop {
            if list.eat_words(&["METADATA"]) {
                let from = if list.eat_words(&["FROM"]) {
                    list.value("what the column holds")?
                } else {
                    column.name.clone()
                };
                column.from = match metadata_column(&from.text) {
                    Some(from) => from,
                    None => {
                        let message = format!("a record has no '{}'", from.text);
                        let diagnostic = Diagnostic::error(message, from.span);
                        mistakes.push(diagnostic.did_you_mean(&from.text, METADATA_NAMES));
                        ColumnFrom::Value
                    }
                };
                column.is_virtual = list.eat_words(&["VIRTUAL"]);
            } else if list.eat_words(&["NOT", "NULL"]) {
                column.nullable = false;
            } else if list.eat_words(&["PRIMARY", "KEY"]) {
                list.eat_words(&["NOT", "ENFORCED"]);
                self.key = Some(vec![column.name.clone()]);
            } else if list.is_at_word("KEY") || list.is_at_word("HEADERS") {
                let message = "this is how ksqlDB says where a column is";
                let help = "write METADATA FROM 'key', or METADATA FROM 'headers'";
                return Err(Diagnostic::error(message, list.span()).help(help));
            } else if !list.eat_words(&["NULL"]) {
                return eat_comment(list);
            }
        }
    }

    /// Whether nothing says which columns there are.
    pub fn lacks_columns(&self) -> bool {
        let mut formats = self
            .options
            .iter()
            .filter(|(key, _)| matches!(key.text.as_str(), "format" | "value.format"));
        let is_of_fields = |format: &str| matches!(format, "json" | "csv" | "debezium-json");
        self.columns.is_empty() && formats.all(|(_, format)| is_of_fields(&format.text))
    }

    /// Flink's `p AS PROCTIME()`, for `FOR SYSTEM_TIME AS OF t.p`: no column of records.
    pub fn take_processing_times(&mut self) -> Vec<String> {
        let is_time = |column: &mut DraftColumn| match column.computed.as_deref() {
            Some(ast::Expr::Function(call)) => {
                call.name.to_string().eq_ignore_ascii_case("proctime")
            }
            _ => false,
        };
        self.columns.extract_if(.., is_time).map(|column| column.name.text).collect()
    }

    /// Nothing of the value is declared: its columns are those of its query.
    fn is_of_its_query(&self) -> bool {
        self.columns.iter().all(|column| column.computed.is_some())
    }

    /// What reading and, if queries do so, writing it is.
    pub fn finish(mut self, is_sink: bool, mistakes: &mut Vec<Diagnostic>) -> Finished {
        let name = self.name.clone();
        let options = std::mem::take(&mut self.options);
        let given = flink_options::in_our_words(&name, self.key.is_some(), options, mistakes);
        let mut options = Options { table: &name, given: &given, asked: Vec::new() };
        let before = mistakes.len();
        let topic = options.get("topic").unwrap_or_else(|| self.name.clone());
        check_topic(&topic, mistakes);
        let format = options.format(&["format", "value.format"], Format::Json, mistakes);
        let key_format = options.format(&["key.format"], Format::Raw, mistakes);
        self.take_key_fields(&mut options, mistakes);
        if options.boolean("value.without_key", mistakes) == Some(true) {
            self.take_key_from_key(&mut options);
        }
        let mut sink = None;
        if is_sink {
            sink = Some(options.sink(&topic, &format, &key_format, mistakes));
        }
        let watermark = options.watermark(mistakes);
        let on_error = options.on_error(mistakes);
        let start = options.get("start");
        let is_table = self.key.is_some();
        let start = start.and_then(|start| read_start(&start, is_table, mistakes));
        options.finish(mistakes);
        if let Some(sink) = &mut sink {
            if sink.key.is_empty() {
                sink.key = self.key.clone().unwrap_or_default();
            }
            take_written_columns(sink, &self.columns);
        }
        if (format.is_none() || key_format.is_none()) && mistakes.len() > before {
            return Finished { source: None, derived: None, sink };
        }
        let is_derived = is_sink && self.is_of_its_query();
        let (event_time, delay) = match self.watermark {
            Some((column, delay)) => (Some(column), delay),
            None => (None, watermark.delay),
        };
        let source = DraftSource {
            name: self.name,
            topic: Some(topic.text),
            format: format.unwrap_or(Format::Json),
            key_format: key_format.unwrap_or(Format::Raw),
            columns: self.columns,
            event_time,
            watermark: Watermark { delay, ..watermark },
            start: start.unwrap_or_default(),
            on_error,
            key: self.key,
            span: self.span,
        };
        match is_derived {
            true => Finished { source: None, derived: Some(source), sink },
            false => Finished { source: source.finish(mistakes), derived: None, sink },
        }
    }

    /// Where the value is without the key, its columns are read from the key.
    fn take_key_from_key(&mut self, options: &mut Options<'_>) {
        let mut key = options.names("key");
        if key.is_empty() {
            key = self.key.clone().unwrap_or_default();
        }
        let is_key = |column: &DraftColumn| key.iter().any(|name| name.text == column.name.text);
        for column in self.columns.iter_mut().filter(|column| is_key(column)) {
            if column.computed.is_none() && column.from == ColumnFrom::Value {
                column.from = ColumnFrom::Key;
            }
        }
    }

    /// Flink's `key.fields`: these columns are read from the key.
    fn take_key_fields(&mut self, options: &mut Options<'_>, mistakes: &mut Vec<Diagnostic>) {
        let Some(fields) = options.get("key.fields") else { return };
        for name in fields.text.split([';', ',']).map(str::trim) {
            match self.columns.iter_mut().find(|column| column.name.text == name) {
                Some(column) if column.computed.is_some() => {
                    let message = format!("column '{name}' is computed: records have it nowhere");
                    mistakes.push(Diagnostic::error(message, fields.span.clone()));
                }
                Some(column) => column.from = ColumnFrom::Key,
                None => {
                    let message = format!("table '{}' has no column '{name}'", self.name.text);
                    let diagnostic = Diagnostic::error(message, fields.span.clone());
                    let names = self.columns.iter().map(|column| column.name.text.as_str());
                    mistakes.push(diagnostic.label("no such column").did_you_mean(name, names));
                }
            }
        }
    }
}

/// What is said to people.
pub(crate) fn eat_comment(cursor: &mut Cursor<'_>) -> Result<(), Diagnostic> {
    if cursor.eat_words(&["COMMENT"]) {
        cursor.value("a comment")?;
    }
    Ok(())
}

/// What a query gives to a table: fields of the value and the key, and metadata that can be
/// written, unless it is declared VIRTUAL.
fn take_written_columns(sink: &mut DraftSink, columns: &[DraftColumn]) {
    let key_given = !sink.key.is_empty();
    for column in columns.iter().filter(|column| !column.is_virtual) {
        match &column.from {
            ColumnFrom::Value => {}
            ColumnFrom::Key if !key_given => sink.key.push(column.name.clone()),
            ColumnFrom::Key => {}
            ColumnFrom::Timestamp if sink.timestamp.is_none() => {
                sink.timestamp = Some(column.name.clone());
                sink.value_without_timestamp = true;
            }
            ColumnFrom::Headers => {
                sink.headers.push((column.name.text.clone(), column.name.clone()));
            }
            ColumnFrom::Header(name) => sink.headers.push((name.to_string(), column.name.clone())),
            ColumnFrom::Timestamp | ColumnFrom::Topic => continue,
            ColumnFrom::Partition | ColumnFrom::Offset => continue,
            ColumnFrom::Change(_) | ColumnFrom::Computed(_) => continue,
        }
        sink.columns.push((column.name.clone(), column.data_type.clone()));
        if !column.nullable {
            sink.not_null.push(column.name.clone());
        }
    }
}

/// `ts AS ts - INTERVAL '1' DAY`, after `WATERMARK FOR`.
fn read_watermark(list: &mut Cursor<'_>) -> Result<(Named, Duration), Diagnostic> {
    let column = list.name("the event-time column")?;
    list.expect_words(&["AS"])?;
    let span = list.span();
    let expr = list.parse_prefix(|parser| parser.parse_expr())?;
    let refuse = || {
        let message = format!("a watermark is the column less a constant, not '{expr}'");
        let help = format!("such as WATERMARK FOR {0} AS {0} - INTERVAL '5' SECOND", column.text);
        Diagnostic::error(message, span.clone()).help(help)
    };
    let is_column = |expr: &ast::Expr| match expr {
        ast::Expr::Identifier(ident) => ident.value == column.text,
        _ => false,
    };
    let delay = match &expr {
        other if is_column(other) => Duration::ZERO,
        ast::Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => {
            constant_interval(right).ok_or_else(refuse)?
        }
        _ => return Err(refuse()),
    };
    Ok((column, delay))
}

fn constant_interval(interval: &ast::Expr) -> Option<Duration> {
    let catalog = Catalog::new();
    let context = &mut PlannerContext::new();
    let planned =
        catalog.planner().sql_to_expr(interval.clone(), &DFSchema::empty(), context).ok()?;
    let Expr::Literal(value, _) = planned else { return None };
    let length_ns = fixed_length_ns(&value, "delay").ok()?;
    u64::try_from(length_ns).ok().map(Duration::from_nanos)
}

/// What only a sink has.
const SINK_OPTIONS: [&str; 6] =
    ["key", "partitions", "timestamp", "print", "headers", "value.without_key"];

/// The options of WITH, asked for one by one.
struct Options<'a> {
    table: &'a Named,
    given: &'a [(Named, Named)],
    asked: Vec<String>,
}

impl Options<'_> {
    fn get(&mut self, key: &str) -> Option<Named> {
        self.asked.push(key.to_owned());
        let found = self.given.iter().find(|(given, _)| given.text == key);
        found.map(|(_, value)| value.clone())
    }

    fn boolean(&mut self, key: &str, mistakes: &mut Vec<Diagnostic>) -> Option<bool> {
        let value = self.get(key)?;
        match value.text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            other => {
                let message = format!("'{key}' must be 'true' or 'false', not '{other}'");
                mistakes.push(Diagnostic::error(message, value.span));
                None
            }
        }
    }

    fn duration(&mut self, key: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Duration> {
        let value = self.get(key)?;
        match parse_duration(&value.text) {
            Ok(duration) => Some(duration),
            Err(error) => {
                let message = format!("'{key}': {error}");
                mistakes.push(Diagnostic::error(message, value.span).label("not a duration"));
                None
            }
        }
    }

    /// The format under the first of `keys` that is given; `None` after a mistake. Its options
    /// stand beside it, after the same prefix: `key.csv.header` beside `key.format`.
    fn format(
        &mut self,
        keys: &[&'static str],
        default: Format,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<Format> {
        let given: Vec<Named> = keys.iter().filter_map(|key| self.get(key)).collect();
        if let [_, second, ..] = &given[..] {
            let message = format!("the format is given twice, by {}", keys.join(" and "));
            mistakes.push(Diagnostic::error(message, second.span.clone()));
        }
        let Some(name) = given.into_iter().next() else { return Some(default) };
        let family = family(&name.text).to_owned();
        let before = keys.iter().map(|key| key.strip_suffix("format").unwrap_or_default());
        let prefixes = before.map(|before| format!("{before}{family}.")).collect();
        format_named(&name, &mut SqlFormat { options: self, prefixes, mistakes })
    }

    fn sink(
        &mut self,
        topic: &Named,
        format: &Option<Format>,
        key_format: &Option<Format>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> DraftSink {
        let key = self.names("key");
        let headers = self.names("headers").into_iter();
        let headers = headers.map(|name| (name.text.clone(), name)).collect();
        let without_key = self.boolean("value.without_key", mistakes);
        let partitions = self.get("partitions").and_then(|value| {
            let number = value.text.parse::<i32>().ok();
            let number =
                number.filter(|number| (1..=PARTITIONS_LIMIT).contains(&i64::from(*number)));
            if number.is_none() {
                let message = format!("'partitions' must be from 1 to {PARTITIONS_LIMIT}");
                mistakes.push(Diagnostic::error(message, value.span));
            }
            number
        });
        DraftSink {
            topic: topic.clone(),
            partitions,
            format: format.clone().unwrap_or(Format::Json),
            key,
            key_format: key_format.clone().unwrap_or(Format::Raw),
            value_without_key: without_key.unwrap_or(false),
            headers,
            timestamp: self.get("timestamp"),
            value_without_timestamp: false,
            print: self.boolean("print", mistakes).unwrap_or(false),
            state_ttl: self.state_ttl(mistakes),
            columns: Vec::new(),
            not_null: Vec::new(),
        }
    }

    fn state_ttl(&mut self, mistakes: &mut Vec<Diagnostic>) -> Option<(Duration, Span)> {
        let span = self.given.iter().find(|(key, _)| key.text == "state.ttl")?.1.span.clone();
        let ttl = self.duration("state.ttl", mistakes)?;
        check_state_ttl(ttl, &span, mistakes);
        Some((ttl, span))
    }

    /// Names of columns with commas between.
    fn names(&mut self, key: &str) -> Vec<Named> {
        let Some(given) = self.get(key) else { return Vec::new() };
        let names = given.text.split(',').map(str::trim);
        names.map(|name| Named { text: name.to_owned(), span: given.span.clone() }).collect()
    }

    fn watermark(&mut self, mistakes: &mut Vec<Diagnostic>) -> Watermark {
        let mut watermark = Watermark::default();
        for (key, place) in [
            ("watermark.delay", &mut watermark.delay),
            ("watermark.idle_timeout", &mut watermark.idle_timeout),
            ("watermark.future_bound", &mut watermark.future_bound),
        ] {
            *place = self.duration(key, mistakes).unwrap_or(*place);
        }
        if watermark.idle_timeout.is_zero() {
            watermark.idle_timeout = Watermark::NEVER_IDLE;
        }
        watermark.late = self.late(mistakes);
        watermark
    }

    fn late(&mut self, mistakes: &mut Vec<Diagnostic>) -> LateRows {
        let topic = self.get("late.topic");
        if let Some(topic) = &topic {
            check_topic(topic, mistakes);
        }
        let lateness = self.duration("watermark.lateness", mistakes);
        let late = self.get("watermark.late");
        match (late.as_ref().map(|late| late.text.as_str()), topic, lateness) {
            (None | Some("drop"), None, None) => LateRows::Drop,
            (None | Some("topic"), Some(topic), None) => LateRows::Topic { topic: topic.text },
            (None | Some("update"), None, Some(lateness)) => LateRows::Update { lateness },
            (late_text, topic, _) => {
                let message = match late_text {
                    Some(text) => format!("late rows cannot be treated as '{text}' here"),
                    None => "late rows are either put aside or update their window".to_owned(),
                };
                let help = "'drop'; 'update' with 'watermark.lateness' = '1 hour'; or 'topic' with \
                            'late.topic' = 'name'";
                let place = late.or(topic).unwrap_or_else(|| self.table.clone());
                mistakes.push(Diagnostic::error(message, place.span).help(help));
                LateRows::Drop
            }
        }
    }

    fn on_error(&mut self, mistakes: &mut Vec<Diagnostic>) -> OnError {
        let topic = self.get("dead_letter.topic");
        let given = self.get("on_error");
        if let Some(topic) = &topic {
            check_topic(topic, mistakes);
        }
        match (given.as_ref().map(|given| given.text.as_str()), topic) {
            (None | Some("dead-letter" | "dead_letter"), Some(topic)) => {
                OnError::DeadLetter { topic: topic.text }
            }
            (None | Some("fail"), None) => OnError::Fail,
            (Some("skip"), None) => OnError::Skip,
            (_, _) => {
                if let Some(given) = given {
                    let message = format!("'on_error' cannot be '{}' here", given.text);
                    let help = "'fail', 'skip', or 'dead-letter' with 'dead_letter.topic'";
                    mistakes.push(Diagnostic::error(message, given.span).help(help));
                }
                OnError::Fail
            }
        }
    }

    fn finish(self, mistakes: &mut Vec<Diagnostic>) {
        for (key, _) in self.given {
            if self.asked.contains(&key.text) {
                continue;
            }
            if SINK_OPTIONS.contains(&key.text.as_str()) {
                let message = format!("no query writes table '{}'", self.table.text);
                let help = format!("'{}' is for tables that a query writes", key.text);
                mistakes.push(Diagnostic::error(message, key.span.clone()).help(help));
                continue;
            }
            let message = format!("unknown option '{}' of table '{}'", key.text, self.table.text);
            let diagnostic = Diagnostic::error(message, key.span.clone());
            let known = self.asked.iter().map(String::as_str);
            mistakes.push(diagnostic.label("not an option here").did_you_mean(&key.text, known));
        }
    }
}

/// Options of one format, whose keys begin with one of the prefixes.
struct SqlFormat<'o, 'a> {
    options: &'o mut Options<'a>,
    prefixes: Vec<String>,
    mistakes: &'o mut Vec<Diagnostic>,
}

impl SqlFormat<'_, '_> {
    fn key(&self, key: &str) -> String {
        let full = |prefix: &String| format!("{prefix}{key}");
        let given = |full: &String| self.options.given.iter().any(|(key, _)| key.text == *full);
        let found = self.prefixes.iter().map(full).find(given);
        found.unwrap_or_else(|| full(&self.prefixes[0]))
    }
}

impl FormatOptions for SqlFormat<'_, '_> {
    fn text(&mut self, key: &'static str) -> Option<Named> {
        self.options.get(&self.key(key))
    }

    fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let key = self.key(key);
        self.options.boolean(&key, self.mistakes)
    }

    fn schema_id(&mut self) -> Option<u32> {
        let value = self.text("schema_id")?;
        let id = value.text.parse::<u32>().ok().filter(|id| *id <= i32::MAX as u32);
        if id.is_none() {
            let message = format!("'{}' is no schema id", value.text);
            self.mistakes.push(Diagnostic::error(message, value.span).label("not a whole number"));
        }
        id
    }

    fn ignore_rest(&mut self) {
        let of_formats = FORMATS.map(|format| format!("{}.", family(format)));
        for (key, _) in self.options.given {
            let mut named = of_formats.iter().chain(&self.prefixes);
            if named.any(|prefix| key.text.starts_with(prefix.as_str())) {
                self.options.asked.push(key.text.clone());
            }
        }
    }

    fn mistakes(&mut self) -> &mut Vec<Diagnostic> {
        self.mistakes
    }
}
