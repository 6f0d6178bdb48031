//! A pipeline file as both front ends leave it: declarations checked one by one, queries parsed
//! but not yet planned.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion_sql::sqlparser::ast;

use super::cases::Case;
use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::functions::DraftFunction;
use super::model::{
    ChangeField, Column, ColumnFrom, Connector, EventTime, Format, OnError, Query, Settings,
    Source, SourceKind, Start, Watermark,
};
use crate::formats::{FormatError, RowDecoder};
use crate::plan::computed::{self, Is, Known};
use crate::plan::streamable::Place;
use crate::type_names::type_text;

/// Something named in the file.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub text: String,
    pub span: Span,
}

pub(crate) struct Draft {
    pub file: Arc<SourceFile>,
    pub name: Named,
    pub connectors: Vec<Connector>,
    pub sources: Vec<Arc<Source>>,
    /// Tables that are written and read, whose columns are those of the queries that write them.
    pub derived: Vec<DraftSource>,
    /// Columns that are the time of processing: the table, and the column.
    pub processing_times: Vec<(String, String)>,
    pub functions: Vec<DraftFunction>,
    pub views: Vec<DraftView>,
    pub queries: Vec<DraftQuery>,
    /// What the queries are at each of their steps, if they are made of steps.
    pub steps: Vec<DraftStep>,
    /// Sources and views declared with mistakes that leave their columns unknown: queries that
    /// read them cannot be judged.
    pub broken: Vec<String>,
    pub settings: Settings,
    pub cases: Vec<Case>,
}

pub(crate) struct DraftView {
    pub name: Named,
    /// What its columns are called, instead of as in the query.
    pub columns: Option<Vec<Named>>,
    pub query: Box<ast::Query>,
}

/// A query up to one of its steps.
pub(crate) struct DraftStep {
    /// The name of the whole query.
    pub query: String,
    /// What the step does: `filter`, `window`.
    pub kind: &'static str,
    pub upto: Box<ast::Query>,
    pub span: Span,
}

/// A query to be answered at once.
#[derive(Clone, Debug)]
pub(crate) struct DraftSelect {
    pub query: Box<ast::Query>,
    /// Its plan is wanted: EXPLAIN, perhaps ANALYZE and VERBOSE.
    pub explain: Option<Explain>,
    pub emit: Option<DraftEmit>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Explain {
    pub analyze: bool,
    pub verbose: bool,
}

pub(crate) struct DraftQuery {
    pub name: Named,
    pub query: Box<ast::Query>,
    /// What its columns become, if INSERT INTO lists them.
    pub columns: Option<Vec<Named>>,
    /// Parts that could not be read are left out of it, or NULL: their mistakes are reported, and
    /// it is looked at only for others.
    pub incomplete: bool,
    pub sink: DraftSink,
    /// When results are told, if it says so.
    pub emit: Option<DraftEmit>,
    /// The whole declaration.
    pub span: Span,
}

/// `EMIT CHANGES` or `EMIT ON WINDOW CLOSE`.
#[derive(Clone, Debug)]
pub(crate) struct DraftEmit {
    pub changes: bool,
    pub span: Span,
}

#[derive(Clone)]
pub(crate) struct DraftSink {
    pub topic: Named,
    pub partitions: Option<i32>,
    pub format: Format,
    pub key: Vec<Named>,
    pub key_format: Format,
    pub value_without_key: bool,
    /// The name of each header and the column that becomes it.
    pub headers: Vec<(String, Named)>,
    pub timestamp: Option<Named>,
    pub value_without_timestamp: bool,
    pub print: bool,
    /// How long keys are kept that are left alone, of the query that writes here.
    pub state_ttl: Option<(Duration, Span)>,
    /// If declared, what the query's columns must be, in order.
    pub columns: Vec<(Named, DataType)>,
    /// Those of them that a row must have.
    pub not_null: Vec<Named>,
}

/// A source or table before its parts are checked against each other.
pub(crate) struct DraftSource {
    pub name: Named,
    pub topic: Option<String>,
    pub format: Format,
    pub key_format: Format,
    pub columns: Vec<DraftColumn>,
    pub event_time: Option<Named>,
    pub watermark: Watermark,
    pub start: Start,
    pub on_error: OnError,
    /// For a table.
    pub key: Option<Vec<Named>>,
    pub span: Span,
}

#[derive(Clone)]
pub(crate) struct DraftColumn {
    pub name: Named,
    /// `Null` if its type has a mistake, which is reported already and fits everywhere.
    pub data_type: DataType,
    pub nullable: bool,
    pub from: ColumnFrom,
    /// Computed by this, which says its type and where it comes from once all columns are known.
    pub computed: Option<Box<ast::Expr>>,
    /// Only read, also where queries write the table.
    pub is_virtual: bool,
}

impl DraftColumn {
    /// `by`: `None` if it has a mistake, which is reported already.
    pub fn computed(name: Named, by: Option<ast::Expr>) -> DraftColumn {
        let (data_type, from) = (DataType::Null, ColumnFrom::Value);
        let computed = by.map(Box::new);
        DraftColumn { name, data_type, nullable: true, from, computed, is_virtual: true }
    }

    fn is_of_value(&self) -> bool {
        self.from == ColumnFrom::Value && self.computed.is_none()
    }
}

impl DraftSource {
    /// With the columns that a query writes before its own, and a key if rows are replaced.
    pub fn of_query(mut self, query: &Query, is_updating: bool) -> DraftSource {
        let (sink, span) = (&query.sink, self.name.span.clone());
        let fields = query.plan.schema().fields();
        let name = |at: usize| Named { text: fields[at].name().clone(), span: span.clone() };
        if is_updating && self.key.is_none() {
            self.key = Some(sink.key.iter().map(|&at| name(at)).collect());
        }
        let left_out = sink.left_out();
        let written = fields.iter().enumerate().map(|(at, field)| DraftColumn {
            name: name(at),
            data_type: field.data_type().clone(),
            nullable: true,
            from: match left_out.contains(&at) {
                false => ColumnFrom::Value,
                true => sink.holds_elsewhere(at),
            },
            computed: None,
            is_virtual: false,
        });
        self.columns = written.chain(self.columns).collect();
        self
    }

    /// `None` where its columns cannot be known.
    pub fn finish(mut self, mistakes: &mut Vec<Diagnostic>) -> Option<Source> {
        self.add_undeclared_columns(mistakes)?;
        let before = mistakes.len();
        self.check_names(mistakes);
        self.plan_computed(mistakes);
        let unknown_types = self.columns.iter().any(|column| column.data_type.is_null());
        self.expect_event_time();
        for column in &self.columns {
            check_metadata_type(column, mistakes);
            if matches!(column.from, ColumnFrom::Change(_)) && self.format != Format::DebeziumJson {
                let message = format!(
                    "column '{}' holds the {} of a change event, and the source has none",
                    column.name.text,
                    metadata_name(&column.from)
                );
                let mistake = Diagnostic::error(message, column.name.span.clone());
                mistakes.push(mistake.help("change events are of format 'debezium-json'"));
            }
        }
        let event_time = self.event_time(mistakes);
        let kind = self.kind(mistakes);
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| Field::new(&column.name.text, column.data_type.clone(), column.nullable))
            .collect();
        let columns: Vec<Named> = self.columns.iter().map(|column| column.name.clone()).collect();
        let source = Source {
            topic: self.topic.unwrap_or_else(|| self.name.text.clone()),
            name: self.name.text,
            kind,
            format: self.format,
            key_format: self.key_format,
            columns: self
                .columns
                .into_iter()
                .map(|column| Column { name: column.name.text, from: column.from })
                .collect(),
            schema: Arc::new(Schema::new(fields)),
            event_time,
            watermark: self.watermark,
            start: self.start,
            on_error: self.on_error,
            span: self.span,
        };
        if mistakes.len() == before && !unknown_types {
            let all: Vec<usize> = (0..source.columns.len()).collect();
            if let Err(error) = RowDecoder::new(&source, &all) {
                mistakes.push(format_mistake(&source.name, &error, &columns, self.name.span));
            }
        }
        Some(source)
    }

    /// Where no column of the value is declared, its format may know which there are.
    fn add_undeclared_columns(&mut self, mistakes: &mut Vec<Diagnostic>) -> Option<()> {
        let name = &self.name;
        if self.columns.iter().any(DraftColumn::is_of_value) {
            return Some(());
        }
        let own = match &self.format {
            Format::Avro(avro) => Some(avro.columns()),
            Format::Protobuf(protobuf) => Some(protobuf.columns()),
            _ => None,
        };
        if let Some(own) = own {
            return self.add_own_columns(own, mistakes);
        }
        if !self.columns.is_empty() {
            return Some(());
        }
        if self.format != Format::Raw {
            let message = format!("source '{}' has no columns", name.text);
            let help = "name the columns and their types, such as origin = \"text\"";
            mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
            return None;
        }
        let value = Named { text: "value".to_owned(), span: name.span.clone() };
        self.columns.push(DraftColumn {
            name: value,
            data_type: DataType::Utf8,
            nullable: true,
            from: ColumnFrom::Value,
            computed: None,
            is_virtual: false,
        });
        Some(())
    }

    /// The columns that the format's schema says there are.
    fn add_own_columns(
        &mut self,
        own: Result<Vec<Field>, FormatError>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<()> {
        let span = self.name.span.clone();
        let fields = own.map_err(|error| {
            let message = format!("source '{}': {error}", self.name.text);
            let help = "or name the columns that you want, and their types";
            mistakes.push(Diagnostic::error(message, span.clone()).help(help));
        });
        self.columns.extend(fields.ok()?.into_iter().map(|field| DraftColumn {
            name: Named { text: field.name().clone(), span: span.clone() },
            data_type: field.data_type().clone(),
            nullable: field.is_nullable(),
            from: ColumnFrom::Value,
            computed: None,
            is_virtual: false,
        }));
        Some(())
    }

    /// What computed columns come from, and their types.
    fn plan_computed(&mut self, mistakes: &mut Vec<Diagnostic>) {
        let known = |column: &DraftColumn| Known {
            name: column.name.text.clone(),
            data_type: column.data_type.clone(),
            is: if column.computed.is_some() { Is::NotYet } else { Is::Held },
        };
        let mut all: Vec<Known> = self.columns.iter().map(known).collect();
        // The types of those to come are not known, and that is no mistake of theirs.
        for to_come in all.iter_mut().filter(|of| matches!(of.is, Is::NotYet)) {
            to_come.data_type = DataType::Boolean;
        }
        for (at, column) in self.columns.iter_mut().enumerate() {
            let Some(by) = &column.computed else { continue };
            let Named { text: name, span } = &column.name;
            let place = Place { file: &span.file, query: span.clone() };
            let planned = computed::plan(name, by, &all, &place, mistakes);
            all[at].data_type = DataType::Null;
            all[at].is = Is::Held;
            if let Some((expr, data_type)) = planned {
                column.data_type = data_type.clone();
                column.from = ColumnFrom::Computed(Arc::new(expr.clone()));
                (all[at].data_type, all[at].is) = (data_type, Is::Computed(expr));
            }
        }
    }

    /// Where the type of the event time has a mistake, no others follow from that.
    fn expect_event_time(&mut self) {
        let Some(name) = &self.event_time else { return };
        let named = self.columns.iter_mut().filter(|column| column.name.text == name.text);
        for column in named.filter(|column| column.data_type.is_null()) {
            column.data_type = DataType::Timestamp(TimeUnit::Millisecond, None);
        }
    }

    fn check_names(&self, mistakes: &mut Vec<Diagnostic>) {
        for (index, column) in self.columns.iter().enumerate() {
            if self.columns[..index].iter().any(|other| other.name.text == column.name.text) {
                let Named { text, span } = column.name.clone();
                let message = format!("column '{text}' is declared twice");
                mistakes.push(Diagnostic::error(message, span).label("the second time"));
            }
        }
    }

    fn column(&self, name: &Named, mistakes: &mut Vec<Diagnostic>) -> Option<usize> {
        let found = self.columns.iter().position(|column| column.name.text == name.text);
        if found.is_none() {
            let message = format!("source '{}' has no column '{}'", self.name.text, name.text);
            let names = self.columns.iter().map(|column| column.name.text.as_str());
            let diagnostic = Diagnostic::error(message, name.span.clone());
            mistakes.push(diagnostic.label("no such column").did_you_mean(&name.text, names));
        }
        found
    }

    fn event_time(&self, mistakes: &mut Vec<Diagnostic>) -> EventTime {
        let Some(name) = &self.event_time else { return EventTime::Record };
        let Some(index) = self.column(name, mistakes) else { return EventTime::Record };
        let column = &self.columns[index];
        match &column.data_type {
            DataType::Timestamp(..) | DataType::Null => {}
            other => {
                let message =
                    format!("the event time must be a timestamp, and '{}' is {other}", name.text);
                let help = "give the column the type timestamp or timestamptz";
                mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
            }
        }
        match column.from {
            ColumnFrom::Timestamp => EventTime::Record,
            _ => EventTime::Column(index),
        }
    }

    fn kind(&self, mistakes: &mut Vec<Diagnostic>) -> SourceKind {
        match &self.key {
            None => SourceKind::Stream,
            Some(names) => {
                if let OnError::DeadLetter { .. } = self.on_error {
                    let message = format!(
                        "table '{}' cannot have a dead-letter topic: it is read anew at each \
                         start, and would write its letters again",
                        self.name.text
                    );
                    let diagnostic = Diagnostic::error(message, self.name.span.clone());
                    mistakes.push(diagnostic.help("on_error = \"skip\" leaves such records out"));
                }
                let key: Vec<usize> =
                    names.iter().filter_map(|name| self.column(name, mistakes)).collect();
                for (name, &at) in names.iter().zip(&key) {
                    if self.columns[at].computed.is_some() {
                        let message =
                            format!("the key '{}' is computed, and records have none", name.text);
                        let help = "name columns that records hold as the key";
                        mistakes.push(Diagnostic::error(message, name.span.clone()).help(help));
                    }
                }
                SourceKind::Table { key }
            }
        }
    }
}

/// A mistake in how the source's format and its columns fit, at the column if it is about one.
fn format_mistake(
    source: &str,
    error: &FormatError,
    columns: &[Named],
    source_span: Span,
) -> Diagnostic {
    let column = match error {
        FormatError::NoField { column, .. } | FormatError::Type { column, .. } => Some(column),
        FormatError::Shape(_) => None,
    };
    let column = column.and_then(|name| columns.iter().find(|column| column.text == *name));
    let span = column.map_or(source_span, |column| column.span.clone());
    let diagnostic = Diagnostic::error(format!("source '{source}': {error}"), span);
    match error {
        FormatError::NoField { column, there, .. } => {
            diagnostic.did_you_mean(column, there.iter().map(String::as_str))
        }
        _ => diagnostic,
    }
}

fn check_metadata_type(column: &DraftColumn, mistakes: &mut Vec<Diagnostic>) {
    let (fits, expected) = match (&column.from, &column.data_type) {
        (_, DataType::Null)
        | (ColumnFrom::Value | ColumnFrom::Key | ColumnFrom::Computed(_), _) => return,
        (ColumnFrom::Timestamp, found) => {
            (matches!(found, DataType::Timestamp(..)), "timestamp or timestamptz")
        }
        (ColumnFrom::Topic, found) => (matches!(found, DataType::Utf8), "text"),
        (ColumnFrom::Partition, found) => {
            (matches!(found, DataType::Int32 | DataType::Int64), "int or bigint")
        }
        (ColumnFrom::Offset, found) => (matches!(found, DataType::Int64), "bigint"),
        (ColumnFrom::Headers, found) => (is_headers_map(found), "map<text, bytea>"),
        (ColumnFrom::Header(_), found) => {
            (matches!(found, DataType::Utf8 | DataType::Binary), "text or bytea")
        }
        (ColumnFrom::Change(field), found) if field.is_time() => {
            (matches!(found, DataType::Timestamp(..)), "timestamp or timestamptz")
        }
        (ColumnFrom::Change(ChangeField::SourceProperties), found) => {
            (map_of(found) == Some([DataType::Utf8, DataType::Utf8]), "map<text, text>")
        }
        (ColumnFrom::Change(_), found) => (matches!(found, DataType::Utf8), "text"),
    };
    if !fits {
        let message = format!(
            "column '{}' holds the record's {}, whose type is {expected}, not {}",
            column.name.text,
            metadata_name(&column.from),
            type_text(&column.data_type)
        );
        mistakes.push(Diagnostic::error(message, column.name.span.clone()));
    }
}

fn is_headers_map(data_type: &DataType) -> bool {
    matches!(map_of(data_type), Some([DataType::Utf8, DataType::Utf8 | DataType::Binary]))
}

/// The types of a map's keys and values.
fn map_of(data_type: &DataType) -> Option<[DataType; 2]> {
    let DataType::Map(entries, _) = data_type else { return None };
    let DataType::Struct(fields) = entries.data_type() else { return None };
    let types: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
    types.try_into().ok()
}

/// What a column can hold beside fields of the value.
pub(crate) const METADATA_NAMES: [&str; 13] = [
    "key",
    "timestamp",
    "topic",
    "partition",
    "offset",
    "headers",
    "header:NAME",
    "source.timestamp",
    "ingestion-timestamp",
    "source.database",
    "source.schema",
    "source.table",
    "source.properties",
];

pub(crate) fn metadata_column(name: &str) -> Option<ColumnFrom> {
    Some(match name {
        "key" => ColumnFrom::Key,
        "timestamp" => ColumnFrom::Timestamp,
        "topic" => ColumnFrom::Topic,
        "partition" => ColumnFrom::Partition,
        "offset" => ColumnFrom::Offset,
        "headers" => ColumnFrom::Headers,
        other => match other.strip_prefix("header:") {
            Some(header) if !header.is_empty() => ColumnFrom::Header(header.into()),
            Some(_) => return None,
            // Flink says which part of the record it is of.
            None => {
                let other = other.strip_prefix("value.").unwrap_or(other);
                let mut all = ChangeField::ALL.into_iter();
                ColumnFrom::Change(all.find(|(name, _)| *name == other)?.1)
            }
        },
    })
}

fn metadata_name(from: &ColumnFrom) -> String {
    let name = match from {
        ColumnFrom::Value => "value",
        ColumnFrom::Key => "key",
        ColumnFrom::Timestamp => "timestamp",
        ColumnFrom::Topic => "topic",
        ColumnFrom::Partition => "partition",
        ColumnFrom::Offset => "offset",
        ColumnFrom::Headers => "headers",
        ColumnFrom::Header(name) => return format!("header '{name}'"),
        ColumnFrom::Change(field) => return field.to_string(),
        ColumnFrom::Computed(_) => "columns",
    };
    name.to_owned()
}
