//! The tables that a task's joins look rows up in, kept up to date from their topics.
//!
//! A table's topic is its own changelog: it is read from the beginning whenever a task starts, and
//! nothing of it is committed.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use broker::ids::TopicPartition;
use broker::record::Record;
use datafusion_common::Result as Evaluated;

use super::TaskError;
use crate::formats::{DecodedRows, RowDecoder, Rows};
use crate::operators::filter_project::evaluate;
use crate::operators::lookup_join::{Change, Table};
use crate::operators::reason;
use crate::pipeline::OnError;
use crate::topology::TableInput;

/// All tables of a task, in the order of its topology.
pub struct Tables {
    tables: Vec<Table>,
    readers: Vec<TableReader>,
}

struct TableReader {
    input: TableInput,
    decoder: RowDecoder,
}

/// A record that is no row of its table, by index, and why.
type Failure = (usize, String);

impl Tables {
    pub fn new(inputs: &[TableInput]) -> Result<Tables, TaskError> {
        let (mut tables, mut readers) = (Vec::new(), Vec::new());
        for input in inputs {
            let source = &input.source;
            let decoder = RowDecoder::new(source, &input.projection)
                .map_err(|error| TaskError::Decoder { source_name: source.name.clone(), error })?;
            tables.push(empty(input).map_err(TaskError::evaluate("a table"))?);
            readers.push(TableReader { input: input.clone(), decoder });
        }
        Ok(Tables { tables, readers })
    }

    /// As joins want them.
    pub fn all(&self) -> &[Table] {
        &self.tables
    }

    /// The name of each table and how many rows it has.
    pub fn rows(&self) -> impl Iterator<Item = (&str, u64)> {
        let names = self.readers.iter().map(|reader| reader.input.source.name.as_str());
        names.zip(self.tables.iter().map(Table::rows))
    }

    /// Takes records of one partition of a table's topic, in order. How many of them were left out
    /// because they failed.
    pub fn take(
        &mut self,
        from: &TopicPartition,
        records: &[Record<'_>],
    ) -> Result<u64, TaskError> {
        let mut skipped = 0;
        for (table, reader) in self.tables.iter_mut().zip(&mut self.readers) {
            if reader.input.source.topic != *from.topic {
                continue;
            }
            let failed = reader.take(table, from.partition, records);
            let failed = failed.map_err(TaskError::evaluate("a table"))?;
            match (&reader.input.source.on_error, failed.first()) {
                (OnError::Fail, Some((index, reason))) => {
                    let (from, offset) = (from.clone(), records[*index].offset);
                    return Err(TaskError::Record { from, offset, reason: reason.clone() });
                }
                _ => skipped += failed.len() as u64,
            }
        }
        Ok(skipped)
    }
}

fn empty(input: &TableInput) -> Evaluated<Table> {
    let schema = &input.source.schema;
    let key = input.projection[input.columns_wanted..].iter();
    let key: Vec<_> = key.map(|&column| schema.field(column).data_type().clone()).collect();
    let rows = input.stage.schema();
    let join_key = input.join_keys.iter().map(|key| key.data_type(rows));
    Table::new(rows.clone(), &key, &join_key.collect::<Evaluated<Vec<_>>>()?, input.nulls_equal)
}

/// Rows as the table keeps them.
struct Kept {
    rows: RecordBatch,
    join_keys: Vec<ArrayRef>,
    /// For each row that was decoded its place among them; `None` if a filter keeps it out.
    places: Vec<Option<usize>>,
}

impl TableReader {
    fn take(
        &mut self,
        table: &mut Table,
        partition: i32,
        records: &[Record<'_>],
    ) -> Evaluated<Vec<Failure>> {
        let DecodedRows { rows, kept, failures, .. } = self.decoder.decode(partition, records);
        let record_of = |row: usize| kept.as_ref().map_or(row, |kept| kept[row]);
        let mut failed: Vec<Failure> = failures
            .into_iter()
            .map(|failure| (failure.index, failure.reason.to_string()))
            .collect();
        let (wanted, keys) = rows.batch.columns().split_at(self.input.columns_wanted);
        let keys = table.keys(keys, rows.len())?;
        let mut bad = Vec::new();
        let kept = self.keep(&rows.batch, wanted.len(), &mut bad)?;
        let changes = changes(records, &keys, record_of, &kept.places, &bad);
        table.apply(changes, &kept.rows, &kept.join_keys)?;
        failed.extend(bad.into_iter().map(|(row, reason)| (record_of(row), reason)));
        failed.sort_unstable_by_key(|(index, _)| *index);
        Ok(failed)
    }

    /// Takes decoded rows through the table's filters and projections.
    fn keep(
        &self,
        decoded: &RecordBatch,
        columns: usize,
        bad: &mut Vec<Failure>,
    ) -> Evaluated<Kept> {
        let wanted: Vec<usize> = (0..columns).collect();
        // The number of a row rides where its time would: it comes out with the row.
        let numbers: Int64Array = (0..decoded.num_rows() as i64).collect();
        let rows = Rows::new(decoded.project(&wanted)?, numbers);
        let mut parts = Vec::new();
        self.evaluate(rows, &mut parts, bad);
        let schema = self.input.stage.schema();
        let rows = concat_batches(schema, parts.iter().map(|part| &part.batch))?;
        let mut places = vec![None; decoded.num_rows()];
        let numbers = parts.iter().flat_map(|part| part.event_times_ms.values());
        for (place, number) in numbers.enumerate() {
            places[*number as usize] = Some(place);
        }
        let join_keys = self.input.join_keys.iter().map(|key| evaluate(&rows, key.as_ref()));
        let join_keys = join_keys.collect::<Evaluated<_>>()?;
        Ok(Kept { rows, join_keys, places })
    }

    /// Where it fails, rows are halved until those that fail stand alone.
    fn evaluate(&self, rows: Rows, parts: &mut Vec<Rows>, bad: &mut Vec<Failure>) {
        let (count, first) = (rows.batch.num_rows(), rows.event_times_ms.values().first().copied());
        let Some(first) = first else { return };
        match self.try_evaluate(rows.clone()) {
            Ok(rows) => parts.push(rows),
            Err(error) if count == 1 => bad.push((first as usize, reason(error))),
            Err(_) => {
                for (start, len) in [(0, count / 2), (count / 2, count - count / 2)] {
                    self.evaluate(rows.slice(start, len), parts, bad);
                }
            }
        }
    }

    fn try_evaluate(&self, rows: Rows) -> Evaluated<Rows> {
        let rows = self.input.stage.apply(rows, &[])?;
        // Whatever may fail for a row is to fail here.
        for key in &self.input.join_keys {
            evaluate(&rows.batch, key.as_ref())?;
        }
        Ok(rows)
    }
}

/// What records do to a table, in their order.
fn changes<'r>(
    records: &'r [Record<'_>],
    keys: &[Box<[u8]>],
    record_of: impl Fn(usize) -> usize,
    places: &[Option<usize>],
    bad: &[Failure],
) -> Vec<Change<'r>> {
    let mut changes = Vec::with_capacity(records.len());
    let mut row = 0;
    for (index, record) in records.iter().enumerate() {
        let decoded = row < keys.len() && record_of(row) == index;
        if record.value.is_none() {
            changes.extend(record.key.map(|record_key| Change::Delete { record_key }));
        } else if decoded && !bad.iter().any(|(bad, _)| *bad == row) {
            let (record_key, key) = (record.key, keys[row].clone());
            changes.push(Change::Upsert { record_key, key, row: places[row] });
        }
        row += usize::from(decoded);
    }
    changes
}
