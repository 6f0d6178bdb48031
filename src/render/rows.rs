//! Rows of a query on stdout: a table for a person, JSON lines for a program.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::table::Table;

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowStyle {
    Table,
    JsonLines,
    /// With the columns' names first, and again where another query's rows follow.
    Csv,
}

impl RowStyle {
    /// A table on a terminal unless JSON was asked for, JSON lines in a pipe.
    pub fn for_stdout(json: bool) -> RowStyle {
        if !json && io::stdout().is_terminal() { RowStyle::Table } else { RowStyle::JsonLines }
    }
}

/// Writes the rows of one or several queries as they come.
#[derive(Debug)]
pub struct RowWriter {
    style: RowStyle,
    /// The query whose rows came last, and its table.
    current: Option<(String, Table)>,
}

impl RowWriter {
    pub fn new(style: RowStyle) -> RowWriter {
        RowWriter { style, current: None }
    }

    /// Writes `rows` of `query` to `out`. Of an answer that is updated, each row begins with `op`:
    /// `+` for one that is new, `-` for one that is taken back.
    pub fn write(
        &mut self,
        query: &str,
        rows: &RecordBatch,
        changes: Option<&[bool]>,
        out: &mut impl Write,
    ) -> Result<(), ArrowError> {
        let with_changes;
        let rows = match changes {
            Some(retracts) => {
                with_changes = with_op(rows, retracts)?;
                &with_changes
            }
            None => rows,
        };
        match self.style {
            RowStyle::JsonLines => {
                let mut writer = WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build::<_, LineDelimited>(&mut *out);
                writer.write(rows)?;
                writer.finish()?;
            }
            RowStyle::Csv => {
                let with_header = self.current.as_ref().is_none_or(|(current, _)| current != query);
                if with_header {
                    self.current = Some((query.to_owned(), table_of(&rows.schema())));
                }
                let mut writer =
                    arrow::csv::WriterBuilder::new().with_header(with_header).build(&mut *out);
                writer.write(rows)?;
            }
            RowStyle::Table => self.write_table(query, rows, out)?,
        }
        Ok(out.flush()?)
    }

    fn write_table(
        &mut self,
        query: &str,
        rows: &RecordBatch,
        out: &mut impl Write,
    ) -> Result<(), ArrowError> {
        if self.current.as_ref().is_none_or(|(current, _)| current != query) {
            if self.current.is_some() {
                writeln!(out, "\n{query}")?;
            }
            self.current = Some((query.to_owned(), table_of(&rows.schema())));
        }
        let options = FormatOptions::new().with_display_error(true).with_null("–");
        let formatters = rows
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        let cells: Vec<Vec<String>> = (0..rows.num_rows())
            .map(|row| formatters.iter().map(|column| column.value(row).to_string()).collect())
            .collect();
        if let Some((_, table)) = &mut self.current {
            out.write_all(table.lines(&cells).as_bytes())?;
        }
        Ok(())
    }
}

/// With a column before the others that says what became of each row.
fn with_op(rows: &RecordBatch, retracts: &[bool]) -> Result<RecordBatch, ArrowError> {
    let op = retracts.iter().map(|&retracted| Some(if retracted { "-" } else { "+" }));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(op.collect::<StringArray>())];
    columns.extend(rows.columns().iter().cloned());
    let mut fields = vec![Arc::new(Field::new("op", DataType::Utf8, false))];
    fields.extend(rows.schema().fields().iter().cloned());
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn table_of(schema: &Schema) -> Table {
    let is_number = |kind: &DataType| kind.is_numeric();
    Table::new(
        schema.fields().iter().map(|field| (field.name().as_str(), is_number(field.data_type()))),
    )
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, TimestampSecondArray};
    use expect_test::expect;

    use super::*;

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter([
            (
                "window_start",
                Arc::new(
                    TimestampSecondArray::from(vec![1_357_034_400, 1_357_038_000])
                        .with_timezone("+00:00"),
                ) as _,
            ),
            ("origin", Arc::new(StringArray::from(vec!["EWR", "JFK"])) as _),
            ("mean_delay", Arc::new(Float64Array::from(vec![Some(2.5), None])) as _),
        ])
        .unwrap()
    }

    fn written(style: RowStyle, changes: Option<&[bool]>) -> String {
        let mut out = Vec::new();
        RowWriter::new(style).write("delays", &rows(), changes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_gets_a_table() {
        expect![[r#"
            window_start          origin  mean_delay
            2013-01-01T10:00:00Z  EWR            2.5
            2013-01-01T11:00:00Z  JFK              –
        "#]]
        .assert_eq(&written(RowStyle::Table, None));
    }

    #[test]
    fn a_pipe_gets_json_lines() {
        expect![[r#"
            {"window_start":"2013-01-01T10:00:00Z","origin":"EWR","mean_delay":2.5}
            {"window_start":"2013-01-01T11:00:00Z","origin":"JFK","mean_delay":null}
        "#]]
        .assert_eq(&written(RowStyle::JsonLines, None));
    }

    #[test]
    fn what_is_taken_back_is_marked() {
        expect![[r#"
            op  window_start          origin  mean_delay
            -   2013-01-01T10:00:00Z  EWR            2.5
            +   2013-01-01T11:00:00Z  JFK              –
        "#]]
        .assert_eq(&written(RowStyle::Table, Some(&[true, false])));
    }
}
