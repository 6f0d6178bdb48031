//! A pipeline file as both front ends leave it: declarations checked one by one, queries parsed
//! but not yet planned.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion_sql::sqlparser::ast;

use super::diagnostic::{Diagnostic, SourceFile, Span};
use super::model::{
    Column, ColumnFrom, Connector, EventTime, Format, OnError, Settings, Source, SourceKind,
    Watermark,
};
use crate::formats::RowDecoder;

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
    pub views: Vec<DraftView>,
    pub queries: Vec<DraftQuery>,
    /// Sources and views declared with mistakes that leave their columns unknown: queries that
    /// read them cannot be judged.
    pub broken: Vec<String>,
    pub settings: Settings,
}

pub(crate) struct DraftView {
    pub name: Named,
    pub query: Box<ast::Query>,
}

pub(crate) struct DraftQuery {
    pub name: Named,
    pub query: Box<ast::Query>,
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
#[derive(Clone)]
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
    pub timestamp: Option<Named>,
    pub print: bool,
    /// If declared, what the query's columns must be, in order.
    pub columns: Vec<(Named, DataType)>,
}

/// A source or table before its parts are checked against each other.
pub(crate) struct DraftSource {
    pub name: Named,
    pub topic: Option<String>,
    pub format: Format,
    pub columns: Vec<DraftColumn>,
    pub event_time: Option<Named>,
    pub watermark: Watermark,
    pub on_error: OnError,
    /// For a table.
    pub key: Option<Vec<Named>>,
    pub span: Span,
}

pub(crate) struct DraftColumn {
    pub name: Named,
    /// `Null` if its type has a mistake, which is reported already and fits everywhere.
    pub data_type: DataType,
    pub nullable: bool,
    pub from: ColumnFrom,
}

impl DraftSource {
    /// `None` where its columns cannot be known.
    pub fn finish(mut self, mistakes: &mut Vec<Diagnostic>) -> Option<Source> {
        if self.columns.is_empty() {
            self.add_raw_column(mistakes)?;
        }
        let before = mistakes.len();
        self.check_names(mistakes);
        for column in &self.columns {
            check_metadata_type(column, mistakes);
        }
        let event_time = self.event_time(mistakes);
        let kind = self.kind(mistakes);
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| Field::new(&column.name.text, column.data_type.clone(), column.nullable))
            .collect();
        let unknown_types = fields.iter().any(|field| field.data_type().is_null());
        let source = Source {
            topic: self.topic.unwrap_or_else(|| self.name.text.clone()),
            name: self.name.text,
            kind,
            format: self.format,
            columns: self
                .columns
                .into_iter()
                .map(|column| Column { name: column.name.text, from: column.from })
                .collect(),
            schema: Arc::new(Schema::new(fields)),
            event_time,
            watermark: self.watermark,
            on_error: self.on_error,
            span: self.span,
        };
        if mistakes.len() == before && !unknown_types {
            let all: Vec<usize> = (0..source.columns.len()).collect();
            if let Err(error) = RowDecoder::new(&source, &all) {
                let message = format!("source '{}': {error}", source.name);
                mistakes.push(Diagnostic::error(message, self.name.span));
            }
        }
        Some(source)
    }

    fn add_raw_column(&mut self, mistakes: &mut Vec<Diagnostic>) -> Option<()> {
        let name = &self.name;
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
        });
        Some(())
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
                let key = names.iter().filter_map(|name| self.column(name, mistakes)).collect();
                SourceKind::Table { key }
            }
        }
    }
}

fn check_metadata_type(column: &DraftColumn, mistakes: &mut Vec<Diagnostic>) {
    let (fits, expected) = match (column.from, &column.data_type) {
        (_, DataType::Null) | (ColumnFrom::Value, _) => return,
        (ColumnFrom::Key, found) => {
            (matches!(found, DataType::Utf8 | DataType::Binary), "text or bytea")
        }
        (ColumnFrom::Timestamp, found) => {
            (matches!(found, DataType::Timestamp(..)), "timestamp or timestamptz")
        }
        (ColumnFrom::Partition, found) => (matches!(found, DataType::Int32), "int"),
        (ColumnFrom::Offset, found) => (matches!(found, DataType::Int64), "bigint"),
    };
    if !fits {
        let message = format!(
            "column '{}' holds the record's {}, whose type is {expected}, not {}",
            column.name.text,
            metadata_name(column.from),
            column.data_type
        );
        mistakes.push(Diagnostic::error(message, column.name.span.clone()));
    }
}

/// What a column can hold beside fields of the value.
pub(crate) const METADATA_NAMES: [&str; 4] = ["key", "timestamp", "partition", "offset"];

pub(crate) fn metadata_column(name: &str) -> Option<ColumnFrom> {
    Some(match name {
        "key" => ColumnFrom::Key,
        "timestamp" => ColumnFrom::Timestamp,
        "partition" => ColumnFrom::Partition,
        "offset" => ColumnFrom::Offset,
        _ => return None,
    })
}

fn metadata_name(from: ColumnFrom) -> &'static str {
    match from {
        ColumnFrom::Value => "value",
        ColumnFrom::Key => "key",
        ColumnFrom::Timestamp => "timestamp",
        ColumnFrom::Partition => "partition",
        ColumnFrom::Offset => "offset",
    }
}
