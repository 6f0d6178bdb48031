//! Rows of batch statements, printed as they come.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use broker::client::Client;
use engine::query::{Answer, Batch, BatchOptions, QueryError, ReadCounts, Snapshot, Statement};
use engine::runtime::RunError;

use super::Shape;
use crate::cli::Failure;
use crate::cli::stdout::print;
use crate::render::rows::{RowStyle, RowWriter};
use crate::render::status::grouped;
use crate::render::table::plural;

/// A table's columns are as wide as these rows need, so that most tables have one header.
const ROWS_AHEAD: usize = 1000;

/// Answers one statement after the other.
pub async fn answer_all(
    client: Arc<dyn Client>,
    snapshot: Snapshot,
    options: BatchOptions,
    statements: Vec<Statement>,
    shape: Shape,
) -> Result<(), Failure> {
    let batch = Batch::new(client, snapshot, options).map_err(failure)?;
    let several = statements.len() > 1;
    for (index, statement) in statements.into_iter().enumerate() {
        let style = shape.style();
        if index > 0 && style != RowStyle::JsonLines {
            print("\n")?;
        }
        let began = Instant::now();
        let mut printer = Printer::new(style, shape.limit);
        // Only --follow plans streams.
        let Statement::Batch(statement) = statement else { continue };
        let is_plan = statement.is_explain && style == RowStyle::Table;
        let mut answer = batch.answer(statement).await.map_err(failure)?;
        match is_plan {
            true => print_plan(&mut answer).await?,
            false => print_answer(&mut answer, &mut printer).await?,
        }
        if printer.reader_gone {
            return Ok(());
        }
        tell(&printer, answer.counts(), began, several.then_some(index + 1));
    }
    Ok(())
}

async fn print_answer(answer: &mut Answer, printer: &mut Printer) -> Result<(), Failure> {
    let schema = answer.schema.clone();
    let mut ahead = Vec::new();
    let mut is_ahead = printer.style == RowStyle::Table;
    while let Some(rows) = answer.next().await {
        let rows = rows.map_err(failure)?;
        match is_ahead {
            true => ahead.push(rows),
            false => printer.print(&rows)?,
        }
        if ahead.iter().map(RecordBatch::num_rows).sum::<usize>() >= ROWS_AHEAD {
            is_ahead = false;
            printer.print(&together(&schema, &std::mem::take(&mut ahead))?)?;
        }
        if printer.is_done() {
            return Ok(());
        }
    }
    if !ahead.is_empty() || !printer.any {
        printer.print(&together(&schema, &ahead)?)?;
    }
    Ok(())
}

fn together(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<RecordBatch, Failure> {
    concat_batches(schema, rows).map_err(Failure::running)
}

/// The lines of a plan, as they are.
async fn print_plan(answer: &mut Answer) -> Result<(), Failure> {
    let mut text = String::new();
    while let Some(rows) = answer.next().await {
        let rows = rows.map_err(failure)?;
        let (kinds, plans) = (rows.column(0).as_string::<i32>(), rows.column(1).as_string::<i32>());
        for row in 0..rows.num_rows() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}\n{}", kinds.value(row), plans.value(row));
        }
    }
    print(&text)
}

/// Writes rows up to a limit.
pub struct Printer {
    style: RowStyle,
    writer: RowWriter,
    left: Option<u64>,
    rows: u64,
    any: bool,
    pub reader_gone: bool,
}

impl Printer {
    pub fn new(style: RowStyle, limit: Option<u64>) -> Printer {
        let writer = RowWriter::new(style);
        Printer { style, writer, left: limit, rows: 0, any: false, reader_gone: false }
    }

    /// Nothing more is wanted.
    pub fn is_done(&self) -> bool {
        self.reader_gone || self.left == Some(0)
    }

    pub fn print(&mut self, rows: &RecordBatch) -> Result<(), Failure> {
        self.print_changes(rows, None)
    }

    /// `retracts`: which rows are taken back, if the answer changes.
    pub fn print_changes(
        &mut self,
        rows: &RecordBatch,
        retracts: Option<&[bool]>,
    ) -> Result<(), Failure> {
        let wanted = self.left.map_or(rows.num_rows() as u64, |left| left);
        let count = rows.num_rows().min(usize::try_from(wanted).unwrap_or(usize::MAX));
        let rows = rows.slice(0, count);
        let retracts = retracts.map(|retracts| &retracts[..count]);
        self.left = self.left.map(|left| left - count as u64);
        self.rows += count as u64;
        self.any = true;
        let mut out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
        let written = self.writer.write("", &rows, retracts, &mut out);
        let written = written.and_then(|()| Ok(out.flush()?));
        match written {
            Ok(()) => Ok(()),
            Err(ArrowError::IoError(_, error)) if is_gone(&error) => {
                // What is left in the buffer has nowhere to go.
                let _ = out.into_parts();
                self.reader_gone = true;
                Ok(())
            }
            Err(error) => Err(Failure::running(format!("stdout: {error}"))),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// What was done, for a person; what is missing, for everybody.
fn tell(printer: &Printer, counts: ReadCounts, began: Instant, number: Option<usize>) {
    if io::stdout().is_terminal() {
        let rows = plural_grouped(printer.rows, "row");
        let read = plural_grouped(counts.records, "record");
        let of = number.map(|number| format!("statement {number}: ")).unwrap_or_default();
        let took = began.elapsed().as_secs_f64();
        let (dim, reset) =
            if io::stderr().is_terminal() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        eprintln!("{dim}{of}{rows}; read {read} in {took:.2} s{reset}");
    }
    tell_skipped(counts.skipped);
}

pub fn tell_skipped(skipped: u64) {
    if skipped > 0 {
        let what = plural_grouped(skipped, "record");
        eprintln!("note: {what} left out that could not be decoded");
    }
}

fn plural_grouped(count: u64, what: &str) -> String {
    let words = plural(i64::try_from(count).unwrap_or(i64::MAX), what);
    words.replacen(&count.to_string(), &grouped(count), 1)
}

/// Without the names that queries of pipelines have.
pub fn run_failure(error: RunError) -> Failure {
    match error {
        RunError::Task { error, .. } => Failure::running(error),
        RunError::Topology { error, .. } => Failure::running(error),
        RunError::Topic { topic, error, .. } => {
            Failure::running(format!("topic '{topic}': {error}"))
        }
        RunError::Client { doing, error, .. } => Failure::running(format!("{doing}: {error}")),
        error => Failure::running(error),
    }
}

fn failure(error: QueryError) -> Failure {
    match error {
        QueryError::Run(error) => run_failure(error),
        error @ QueryError::Memory(_) => {
            Failure::running(error).with_help("allow more by --memory-mb, or ask for less at once")
        }
        QueryError::Panicked(mistakes) => Failure::Pipeline(mistakes),
        error => Failure::running(error),
    }
}
