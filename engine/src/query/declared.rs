//! What pipeline files declare, by name, for questions to use.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use datafusion::datasource::{MemTable, provider_as_source};

use super::batch::{QueryError, query_error};
use crate::formats::RowDecoder;
use crate::pipeline::draft::DraftStep;
use crate::pipeline::load::{CheckConnector, load_with_names};
use crate::pipeline::{
    Column, ColumnFrom, Diagnostic, Diagnostics, EventTime, OnError, Pipeline, Query, Source,
    SourceKind, Start, Watermark,
};
use crate::plan::context::Catalog;
use crate::topology::Topology;

/// Checked files.
pub struct Declared {
    pub(super) pipelines: Vec<Pipeline>,
    pub(crate) catalog: Catalog,
    pub(super) steps: Vec<DraftStep>,
    /// Names of views.
    pub(super) views: Vec<String>,
}

impl Declared {
    /// Nothing is declared.
    pub fn nothing() -> Declared {
        let (pipelines, steps, views) = (Vec::new(), Vec::new(), Vec::new());
        Declared { pipelines, catalog: Catalog::new(), steps, views }
    }

    /// Reads and checks files as [`load_with`](crate::pipeline::load_with) does.
    pub fn load(
        paths: &[PathBuf],
        check_connector: CheckConnector,
    ) -> Result<(Declared, Vec<Diagnostic>), Diagnostics> {
        let (checked, warnings) = load_with_names(paths, check_connector)?;
        let mut declared = Declared::nothing();
        let mut mistakes = Vec::new();
        for (pipeline, names, steps) in checked {
            for name in declared.catalog.add_all(&names) {
                let message = format!(
                    "'{name}' is declared in {} and in a file before it",
                    pipeline.path.display()
                );
                let help = "ask of one of the files at a time";
                mistakes.push(Diagnostic::error_without_place(message).help(help));
            }
            declared.views.extend(names.view_names().map(str::to_owned));
            declared.pipelines.push(pipeline);
            declared.steps.extend(steps);
        }
        declared.add_outputs();
        if mistakes.is_empty() { Ok((declared, warnings)) } else { Err(Diagnostics(mistakes)) }
    }

    /// Rows that are asked like a topic.
    pub fn add_rows(&mut self, name: &str, rows: RecordBatch) -> Result<(), QueryError> {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(query_error)?;
        self.catalog.add_table(name, provider_as_source(Arc::new(table)));
        Ok(())
    }

    pub fn pipelines(&self) -> &[Pipeline] {
        &self.pipelines
    }

    /// What queries write can be read by the name of the query or of its topic.
    fn add_outputs(&mut self) {
        for pipeline in &self.pipelines {
            for query in &pipeline.queries {
                let Some(output) = output(query, &pipeline.sources) else { continue };
                for name in [&query.name, &query.sink.topic] {
                    if self.catalog.table(name).is_none() {
                        let source = Source { name: name.clone(), ..output.clone() };
                        self.catalog.add_source(&Arc::new(source));
                    }
                }
            }
        }
    }
}

/// The topic that a query writes, as a source; `None` if its records cannot be read back by the
/// query's own types.
fn output(query: &Query, sources: &[Arc<Source>]) -> Option<Source> {
    let sink = &query.sink;
    let topology = Topology::new(query, sources).ok()?;
    let (mut columns, mut fields) = (Vec::new(), Vec::new());
    for (index, field) in topology.schema().fields().iter().enumerate() {
        let header = sink.headers.iter().find(|(_, column)| *column == index);
        let from = match header {
            Some((name, _)) => ColumnFrom::Header(name.as_str().into()),
            None if !sink.left_out().contains(&index) => ColumnFrom::Value,
            None if sink.key.contains(&index) => ColumnFrom::Key,
            None => ColumnFrom::Timestamp,
        };
        columns.push(Column { name: field.name().clone(), from });
        fields.push(Field::new(field.name(), field.data_type().clone(), true));
    }
    let kind = match topology.updating {
        true => SourceKind::Table { key: sink.key.clone() },
        false => SourceKind::Stream,
    };
    let all: Vec<usize> = (0..columns.len()).collect();
    let source = Source {
        name: query.name.clone(),
        topic: sink.topic.clone(),
        kind,
        format: sink.format.clone(),
        key_format: sink.key_format.clone(),
        columns,
        schema: Arc::new(Schema::new(fields)),
        event_time: EventTime::Record,
        watermark: Watermark::default(),
        start: Start::default(),
        on_error: OnError::Fail,
        span: query.span.clone(),
    };
    RowDecoder::new(&source, &all).is_ok().then_some(source)
}
