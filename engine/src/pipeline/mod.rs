//! The pipeline file: what a person wrote, checked and lowered.

pub mod diagnostic;
pub mod model;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, SourceFile, Span};
pub use model::{
    Column, ColumnFrom, Connector, CsvOptions, Emit, EventTime, Format, LateRows, OnError,
    Pipeline, Query, Settings, Sink, Source, SourceKind, Watermark,
};
