//! Rows between the tasks of one part of a query and those of the next.
//!
//! A record holds rows that belong to one task, with the watermark of the task that they come from:
//!
//! ```text
//! layout u8 = 1, flags u8, writer u32, watermark_ms i64, rows
//! layout u8 = 2, flags u8, writer u32, watermark_ms i64, of u64, combined rows
//! flags: 1: there are rows, 2: idle
//! rows: an Arrow IPC stream of one batch: the columns, then their event times (Int64, ms) and
//!       whether they take back (Boolean)
//! ```
//!
//! Layout 2 is of rows that were combined for an aggregate ([`partial`]), which `of` names. Both
//! may come in any order: rows that were written before there was layout 2, or are not worth to be
//! combined, are of layout 1.
//!
//! All numbers are big endian. Whenever the watermark of a task moves, it says so to every task of
//! the next part; what it says holds for all that it wrote before.
//!
//! [`partial`]: crate::operators::aggregate::partial

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_row::{RowConverter, Rows as KeyRows};
use broker::client::partition_for_key;
use datafusion_common::{Result as Evaluates, exec_err};

use crate::operators::Prepared;
use crate::operators::aggregate::AggregateSpec;
use crate::operators::aggregate::partial::{CombinedRows, Combiner, Partial, TakenOut};
use crate::operators::filter_project::{evaluate, mask};
use crate::operators::reason;
use crate::rows::Rows;
use crate::state::changelog::StateId;
use crate::time::{ExchangeClock, Progress, Watermark};
use crate::topology::{Exchange, Port, Writes};

const LAYOUT: u8 = 1;
const COMBINED: u8 = 2;
const HAS_ROWS: u8 = 1;
const IDLE: u8 = 2;
const HEADER_LEN: usize = 1 + 1 + 4 + 8;
const OF_LEN: usize = 8;
/// Rows that one record holds, about,
const ROWS_MAX: usize = 8192;
/// and bytes, but for a row that has more by itself.
const BYTES_MAX: usize = 512 << 10;

/// What a task has to say to each task of the next part.
pub struct ExchangeWriter {
    exchange: Arc<Exchange>,
    /// Which writer of the exchange this task is.
    writer: u32,
    keys: Option<RowConverter>,
    /// Of rows as they are.
    schema: SchemaRef,
    /// Rows of each partition that wait.
    waiting: Vec<Vec<Rows>>,
    combining: Option<Combining>,
    /// What the others were told last.
    told: Option<(Watermark, bool)>,
}

/// Rows are combined before they are written.
struct Combining {
    combiner: Combiner,
    of: StateId,
    schema: SchemaRef,
}

/// What is written: the partition, and the value of a record for it.
pub type Message = (usize, Vec<u8>);

impl ExchangeWriter {
    pub fn new(writes: &Writes, task: usize) -> Evaluates<ExchangeWriter> {
        let exchange = writes.exchange.clone();
        let types = exchange.keys.iter().map(|key| key.data_type(&exchange.schema));
        let types = types.collect::<Evaluates<Vec<DataType>>>()?;
        let combining = exchange.combines().map(|partial| -> Evaluates<Combining> {
            let (of, schema) = (partial.of, with_marks(&partial.schema));
            Ok(Combining { combiner: Combiner::new(partial.clone())?, of, schema })
        });
        Ok(ExchangeWriter {
            writer: (writes.writer * exchange.tasks + task) as u32,
            keys: AggregateSpec::codec(types.iter())?,
            schema: with_marks(&exchange.schema),
            waiting: vec![Vec::new(); exchange.tasks],
            combining: combining.transpose()?,
            told: None,
            exchange,
        })
    }

    pub fn combiner(&self) -> Option<&Combiner> {
        self.combining.as_ref().map(|combining| &combining.combiner)
    }

    pub fn topic(&self) -> &str {
        &self.exchange.topic
    }

    /// Takes rows; what they fill up goes out. How many bytes wait, roughly, beside that.
    pub fn write(&mut self, rows: &Rows, out: &mut Vec<Message>) -> Evaluates<usize> {
        let Some(codec) = &self.keys else { return self.wait(vec![(0, rows.clone())], out) };
        let keys = self.exchange.keys.iter().map(|key| evaluate(&rows.batch, key.as_ref()));
        let keys = codec.convert_columns(&keys.collect::<Evaluates<Vec<_>>>()?)?;
        self.wait(self.distribute(rows, &keys)?, out)
    }

    /// The same of rows that are to be combined, if that is of use.
    pub fn combine(&mut self, rows: Prepared, out: &mut Vec<Message>) -> Evaluates<usize> {
        let Some(Combining { combiner, .. }) = &mut self.combining else {
            return self.write(&rows.rows, out);
        };
        let before = combiner.bytes();
        let as_they_are = combiner.take(rows)?;
        let mut waiting = combiner.bytes().saturating_sub(before);
        let meet_by_key = combiner.meet_by_key();
        if combiner.is_full() {
            self.take_out(out)?;
        }
        if let Some(Prepared { rows, keys, .. }) = as_they_are {
            waiting += match keys.filter(|_| meet_by_key) {
                Some(keys) => self.wait(self.distribute(&rows, &keys)?, out)?,
                None => self.write(&rows, out)?,
            };
        }
        Ok(waiting)
    }

    /// Rows that were combined, behind those that were not and came before.
    fn take_out(&mut self, out: &mut Vec<Message>) -> Evaluates<()> {
        let tasks = self.exchange.tasks;
        let Some(Combining { combiner, .. }) = &mut self.combining else { return Ok(()) };
        let Some(TakenOut { rows, tasks: task_of }) = combiner.take_out(tasks)? else {
            return Ok(());
        };
        (0..tasks).try_for_each(|partition| self.messages(partition, out))?;
        for (partition, rows) in by_task(&rows, tasks, |row, add| add(task_of[row]))? {
            self.put_all(rows, self.combining.as_ref(), partition, out)?;
        }
        Ok(())
    }

    fn wait(&mut self, rows: Vec<(usize, Rows)>, out: &mut Vec<Message>) -> Evaluates<usize> {
        let mut waiting = 0;
        for (partition, rows) in rows {
            waiting += rows.batch.get_array_memory_size();
            let parts = &mut self.waiting[partition];
            parts.push(rows);
            if parts.iter().map(Rows::len).sum::<usize>() >= ROWS_MAX {
                self.messages(partition, out)?;
            }
        }
        Ok(waiting)
    }

    /// Rows by the task that they belong to.
    fn distribute(&self, rows: &Rows, keys: &KeyRows) -> Evaluates<Vec<(usize, Rows)>> {
        let tasks = self.exchange.tasks;
        let to_all = match &self.exchange.to_all {
            Some(to_all) => Some(mask(&rows.batch, to_all.as_ref())?),
            None => None,
        };
        by_task(rows, tasks, |row, add| {
            match to_all.as_ref().is_some_and(|to_all| to_all.value(row)) {
                true => (0..tasks).for_each(add),
                false => add(partition_for_key(keys.row(row).data(), tasks as i32) as usize),
            }
        })
    }

    /// All that waits, and the watermark to everyone if it has moved.
    pub fn flush(&mut self, watermark: Watermark, progress: Progress) -> Evaluates<Vec<Message>> {
        let now = (watermark, progress == Progress::AllIdle);
        let mut out = Vec::new();
        self.take_out(&mut out)?;
        if let Some(Combining { combiner, .. }) = &mut self.combining {
            combiner.begin();
        }
        for partition in 0..self.exchange.tasks {
            self.messages(partition, &mut out)?;
            if self.told != Some(now) {
                out.push((partition, self.header(0, watermark, now.1)));
            }
        }
        self.told = Some(now);
        Ok(out)
    }

    /// Whether others have yet to hear of the watermark.
    pub fn has_news(&self, watermark: Watermark, progress: Progress) -> bool {
        self.told != Some((watermark, progress == Progress::AllIdle))
    }

    /// The rows that wait for a partition.
    fn messages(&mut self, partition: usize, out: &mut Vec<Message>) -> Evaluates<()> {
        let waiting = std::mem::take(&mut self.waiting[partition]);
        if waiting.is_empty() {
            return Ok(());
        }
        let rows = Rows::concat(&self.exchange.schema, &waiting)?;
        self.put_all(rows, None, partition, out)
    }

    /// Rows as records, about as long as they may be.
    fn put_all(
        &self,
        rows: Rows,
        combining: Option<&Combining>,
        partition: usize,
        out: &mut Vec<Message>,
    ) -> Evaluates<()> {
        let records = rows.batch.get_array_memory_size().div_ceil(BYTES_MAX).clamp(1, rows.len());
        let each = rows.len().div_ceil(records);
        for start in (0..rows.len()).step_by(each) {
            let part = rows.slice(start, each.min(rows.len() - start));
            self.put(part, combining, partition, out)?;
        }
        Ok(())
    }

    /// Rows as a record, or as two where that would be too long.
    fn put(
        &self,
        rows: Rows,
        combining: Option<&Combining>,
        partition: usize,
        out: &mut Vec<Message>,
    ) -> Evaluates<()> {
        let value = self.record(&rows, combining)?;
        if value.len() > BYTES_MAX && rows.len() > 1 {
            let half = rows.len() / 2;
            self.put(rows.slice(0, half), combining, partition, out)?;
            return self.put(rows.slice(half, rows.len() - half), combining, partition, out);
        }
        out.push((partition, value));
        Ok(())
    }

    /// The watermark that rows go with is what was told before them: that of now holds only once
    /// all rows before it are written.
    fn record(&self, rows: &Rows, combining: Option<&Combining>) -> Evaluates<Vec<u8>> {
        let (watermark, idle) = self.told.unwrap_or((Watermark::MIN, false));
        let mut value = self.header(HAS_ROWS, watermark, idle);
        let mut schema = &self.schema;
        if let Some(combining) = combining {
            value[0] = COMBINED;
            value.extend_from_slice(&combining.of.to_be_bytes());
            schema = &combining.schema;
        }
        let mut columns: Vec<ArrayRef> = rows.batch.columns().to_vec();
        columns.push(Arc::new(rows.event_times_ms.clone()));
        let retracts = rows.retracts.clone();
        let retracts = retracts.unwrap_or_else(|| BooleanArray::from(vec![false; rows.len()]));
        columns.push(Arc::new(retracts));
        let batch = RecordBatch::try_new(schema.clone(), columns)?;
        let mut writer = StreamWriter::try_new(&mut value, schema)?;
        writer.write(&batch)?;
        writer.finish()?;
        drop(writer);
        Ok(value)
    }

    fn header(&self, flags: u8, watermark: Watermark, idle: bool) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEADER_LEN);
        value.extend_from_slice(&[LAYOUT, flags | if idle { IDLE } else { 0 }]);
        value.extend_from_slice(&self.writer.to_be_bytes());
        value.extend_from_slice(&watermark.0.to_be_bytes());
        value
    }
}

/// What a task reads of an exchange.
pub struct ExchangeReader {
    exchange: Arc<Exchange>,
    schema: SchemaRef,
    /// What rows are that were combined, and their columns.
    combined: Option<(Arc<Partial>, SchemaRef)>,
    pub to: Port,
}

/// Rows of a record.
pub enum Sent {
    Rows(Rows),
    Combined(CombinedRows),
}

impl ExchangeReader {
    pub fn new(exchange: Arc<Exchange>, to: Port) -> (ExchangeReader, ExchangeClock) {
        let writers = exchange.writers * exchange.tasks;
        let clock = ExchangeClock::new(writers, exchange.future_bound, exchange.patience);
        let combined = exchange.partial.clone().map(|of| (of.clone(), with_marks(&of.schema)));
        (ExchangeReader { schema: with_marks(&exchange.schema), combined, exchange, to }, clock)
    }

    pub fn topic(&self) -> &str {
        &self.exchange.topic
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.exchange.schema
    }

    /// The rows of a record, if it has any, and what it tells the clock afterwards.
    pub fn read(&self, value: &[u8]) -> Result<(Option<Sent>, usize, Option<Watermark>), String> {
        let short = || "a record of an exchange that is cut short".to_owned();
        let (header, rows) = value.split_at_checked(HEADER_LEN).ok_or_else(short)?;
        let [layout, flags, writer @ ..] = header else { return Err(short()) };
        if ![LAYOUT, COMBINED].contains(layout) {
            return Err(format!(
                "a record of an exchange in layout {layout}, and this version reads up to \
                 {COMBINED}: a newer version wrote it"
            ));
        }
        let number =
            |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let watermark = Watermark(number(&writer[4..]) as i64);
        let told = (flags & IDLE == 0).then_some(watermark);
        let sent = match (flags & HAS_ROWS, *layout) {
            (0, _) => None,
            (_, COMBINED) => Some(Sent::Combined(self.combined(rows)?)),
            _ => Some(Sent::Rows(self.rows(rows).map_err(reason)?)),
        };
        Ok((sent, number(&writer[..4]) as usize, told))
    }

    /// Rows that were written before the query was changed: columns that it reads by now and did
    /// not then are NULL, which is nothing to what begins with the change.
    fn rows(&self, bytes: &[u8]) -> Evaluates<Rows> {
        read_rows(bytes, (&self.exchange.schema, &self.schema), |column, rows| {
            Ok(new_null_array(self.schema.field(column).data_type(), rows))
        })
    }

    fn combined(&self, bytes: &[u8]) -> Result<CombinedRows, String> {
        let other =
            || "a record of an exchange with rows combined for another aggregate".to_owned();
        let (of, rows) = bytes.split_first_chunk::<OF_LEN>().ok_or_else(other)?;
        let combined =
            self.combined.as_ref().filter(|(partial, _)| partial.of.to_be_bytes() == *of);
        let (partial, schema) = combined.ok_or_else(other)?;
        let schemas = (&partial.schema, schema);
        let rows = read_rows(rows, schemas, |column, rows| partial.of_nothing(column, rows));
        rows.and_then(|rows| partial.combined(&rows)).map_err(reason)
    }
}

/// The rows of a record, with the columns of these schemas, of which the second one has marks too.
/// Those that the record does not have are made by `missing`.
fn read_rows(
    bytes: &[u8],
    (own, schema): (&SchemaRef, &SchemaRef),
    missing: impl Fn(usize, usize) -> Evaluates<ArrayRef>,
) -> Evaluates<Rows> {
    let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
    let batch = reader.next().unwrap_or_else(|| {
        Err(ArrowError::ParseError("a record of an exchange without rows".to_owned()))
    })?;
    let batch = match is_alike(&batch.schema(), schema) {
        true => batch,
        false => as_of_now(&batch, schema, missing)?,
    };
    let (columns, marks) = batch.columns().split_at(own.fields().len());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let rows = RecordBatch::try_new_with_options(own.clone(), columns.to_vec(), &options)?;
    let times = marks[0].as_primitive::<Int64Type>().clone();
    Ok(Rows::changes(rows, times, marks[1].as_boolean().clone()))
}

/// Rows that were written before the query was changed.
fn as_of_now(
    batch: &RecordBatch,
    schema: &SchemaRef,
    missing: impl Fn(usize, usize) -> Evaluates<ArrayRef>,
) -> Evaluates<RecordBatch> {
    let then = batch.schema();
    let column = |(number, field): (usize, &Arc<Field>)| {
        let mut same = then.fields().iter().enumerate().filter(|of| of.1.name() == field.name());
        match (same.next(), same.next()) {
            (Some((at, of)), None) if of.data_type() == field.data_type() => {
                Ok(batch.column(at).clone())
            }
            (None, _) if field.is_nullable() => missing(number, batch.num_rows()),
            _ => exec_err!(
                "a record of an exchange that was written before the query was changed, and says \
                 nothing of column '{}'",
                field.name()
            ),
        }
    };
    let columns = schema.fields().iter().enumerate().map(column);
    Ok(RecordBatch::try_new(schema.clone(), columns.collect::<Evaluates<Vec<_>>>()?)?)
}

fn is_alike(one: &Schema, other: &Schema) -> bool {
    let is_same = |(one, other): (&Arc<Field>, &Arc<Field>)| {
        one.name() == other.name() && one.data_type() == other.data_type()
    };
    one.fields().len() == other.fields().len()
        && one.fields().iter().zip(other.fields()).all(is_same)
}

/// Rows by the tasks that `task_of` adds for each.
fn by_task(
    rows: &Rows,
    tasks: usize,
    task_of: impl Fn(usize, &mut dyn FnMut(usize)),
) -> Evaluates<Vec<(usize, Rows)>> {
    let mut places: Vec<Vec<u64>> = vec![Vec::new(); tasks];
    for row in 0..rows.len() {
        task_of(row, &mut |task| places[task].push(row as u64));
    }
    let places = places.into_iter().enumerate().filter(|(_, places)| !places.is_empty());
    places.map(|(task, places)| Ok((task, rows.take(&UInt64Array::from(places))?))).collect()
}

/// Columns, then event times and which rows take back.
fn with_marks(schema: &SchemaRef) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new("event_time_ms", DataType::Int64, true)));
    fields.push(Arc::new(Field::new("retracts", DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}
