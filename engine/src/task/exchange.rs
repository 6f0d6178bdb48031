//! Rows between the tasks of one part of a query and those of the next.
//!
//! A record holds rows that belong to one task, with the watermark of the task that they come from:
//!
//! ```text
//! layout u8 = 1, flags u8 (1: there are rows, 2: idle), writer u32, watermark_ms i64, rows
//! rows: an Arrow IPC stream of one batch: the columns, then their event times (Int64, ms) and
//!       whether they take back (Boolean)
//! ```
//!
//! All numbers are big endian. Whenever the watermark of a task moves, it says so to every task of
//! the next part; what it says holds for all that it wrote before.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_row::RowConverter;
use broker::client::partition_for_key;
use datafusion_common::Result as Evaluates;

use crate::operators::aggregate::AggregateSpec;
use crate::operators::filter_project::{evaluate, mask};
use crate::rows::Rows;
use crate::time::{ExchangeClock, Progress, Watermark};
use crate::topology::{Exchange, Port, Writes};

const LAYOUT: u8 = 1;
const HAS_ROWS: u8 = 1;
const IDLE: u8 = 2;
const HEADER_LEN: usize = 1 + 1 + 4 + 8;
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
    schema: SchemaRef,
    /// Rows of each partition that wait.
    waiting: Vec<Vec<Rows>>,
    /// What the others were told last.
    told: Option<(Watermark, bool)>,
}

/// What is written: the partition, and the value of a record for it.
pub type Message = (usize, Vec<u8>);

impl ExchangeWriter {
    pub fn new(writes: &Writes, task: usize) -> Evaluates<ExchangeWriter> {
        let exchange = writes.exchange.clone();
        let types = exchange.keys.iter().map(|key| key.data_type(&exchange.schema));
        let types = types.collect::<Evaluates<Vec<DataType>>>()?;
        Ok(ExchangeWriter {
            writer: (writes.writer * exchange.tasks + task) as u32,
            keys: AggregateSpec::codec(types.iter())?,
            schema: with_marks(&exchange.schema),
            waiting: vec![Vec::new(); exchange.tasks],
            told: None,
            exchange,
        })
    }

    pub fn topic(&self) -> &str {
        &self.exchange.topic
    }

    /// Takes rows; what they fill up goes out. How many bytes wait, roughly, beside that.
    pub fn write(&mut self, rows: &Rows, out: &mut Vec<Message>) -> Evaluates<usize> {
        let mut waiting = 0;
        for (partition, rows) in self.distribute(rows)? {
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
    fn distribute(&self, rows: &Rows) -> Evaluates<Vec<(usize, Rows)>> {
        let Some(codec) = &self.keys else { return Ok(vec![(0, rows.clone())]) };
        let keys = self.exchange.keys.iter().map(|key| evaluate(&rows.batch, key.as_ref()));
        let keys = codec.convert_columns(&keys.collect::<Evaluates<Vec<_>>>()?)?;
        let mut places: Vec<Vec<u64>> = vec![Vec::new(); self.exchange.tasks];
        let to_all = match &self.exchange.to_all {
            Some(to_all) => Some(mask(&rows.batch, to_all.as_ref())?),
            None => None,
        };
        for (row, key) in keys.iter().enumerate() {
            if to_all.as_ref().is_some_and(|to_all| to_all.value(row)) {
                places.iter_mut().for_each(|places| places.push(row as u64));
                continue;
            }
            let partition = partition_for_key(key.data(), self.exchange.tasks as i32);
            places[partition as usize].push(row as u64);
        }
        let places = places.into_iter().enumerate().filter(|(_, places)| !places.is_empty());
        places
            .map(|(partition, places)| Ok((partition, rows.take(&UInt64Array::from(places))?)))
            .collect()
    }

    /// All that waits, and the watermark to everyone if it has moved.
    pub fn flush(&mut self, watermark: Watermark, progress: Progress) -> Evaluates<Vec<Message>> {
        let now = (watermark, progress == Progress::AllIdle);
        let mut out = Vec::new();
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
        let records = rows.batch.get_array_memory_size().div_ceil(BYTES_MAX).clamp(1, rows.len());
        let each = rows.len().div_ceil(records);
        for start in (0..rows.len()).step_by(each) {
            let part = rows.slice(start, each.min(rows.len() - start));
            self.put(part, partition, out)?;
        }
        Ok(())
    }

    /// Rows as a record, or as two where that would be too long.
    fn put(&self, rows: Rows, partition: usize, out: &mut Vec<Message>) -> Evaluates<()> {
        let value = self.record(&rows)?;
        if value.len() > BYTES_MAX && rows.len() > 1 {
            let half = rows.len() / 2;
            self.put(rows.slice(0, half), partition, out)?;
            return self.put(rows.slice(half, rows.len() - half), partition, out);
        }
        out.push((partition, value));
        Ok(())
    }

    /// The watermark that rows go with is what was told before them: that of now holds only once
    /// all rows before it are written.
    fn record(&self, rows: &Rows) -> Evaluates<Vec<u8>> {
        let (watermark, idle) = self.told.unwrap_or((Watermark::MIN, false));
        let mut value = self.header(HAS_ROWS, watermark, idle);
        let mut columns: Vec<ArrayRef> = rows.batch.columns().to_vec();
        columns.push(Arc::new(rows.event_times_ms.clone()));
        let retracts = rows.retracts.clone();
        let retracts = retracts.unwrap_or_else(|| BooleanArray::from(vec![false; rows.len()]));
        columns.push(Arc::new(retracts));
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        let mut writer = StreamWriter::try_new(&mut value, &self.schema)?;
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
    pub to: Port,
}

impl ExchangeReader {
    pub fn new(exchange: Arc<Exchange>, to: Port) -> (ExchangeReader, ExchangeClock) {
        let clock = ExchangeClock::new(exchange.writers * exchange.tasks, exchange.future_bound);
        (ExchangeReader { schema: with_marks(&exchange.schema), exchange, to }, clock)
    }

    pub fn topic(&self) -> &str {
        &self.exchange.topic
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.exchange.schema
    }

    /// The rows of a record, if it has any, and what it tells the clock afterwards.
    pub fn read(&self, value: &[u8]) -> Result<(Option<Rows>, usize, Option<Watermark>), String> {
        let short = || "a record of an exchange that is cut short".to_owned();
        let (header, rows) = value.split_at_checked(HEADER_LEN).ok_or_else(short)?;
        let [layout, flags, writer @ ..] = header else { return Err(short()) };
        if *layout != LAYOUT {
            return Err(format!("a record of an exchange in layout {layout}, not {LAYOUT}"));
        }
        let number =
            |bytes: &[u8]| bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let watermark = Watermark(number(&writer[4..]) as i64);
        let told = (flags & IDLE == 0).then_some(watermark);
        let rows = match flags & HAS_ROWS {
            0 => None,
            _ => Some(self.rows(rows).map_err(|error| error.to_string())?),
        };
        Ok((rows, number(&writer[..4]) as usize, told))
    }

    fn rows(&self, bytes: &[u8]) -> Result<Rows, ArrowError> {
        let mut reader = StreamReader::try_new(Cursor::new(bytes), None)?;
        let batch = reader.next().unwrap_or_else(|| {
            Err(ArrowError::ParseError("a record of an exchange without rows".to_owned()))
        })?;
        let batch = match is_alike(&batch.schema(), &self.schema) {
            true => batch,
            false => self.as_of_now(&batch)?,
        };
        let count = self.exchange.schema.fields().len();
        let (columns, marks) = batch.columns().split_at(count);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = self.exchange.schema.clone();
        let rows = RecordBatch::try_new_with_options(schema, columns.to_vec(), &options)?;
        let times = marks[0].as_primitive::<Int64Type>().clone();
        Ok(Rows::changes(rows, times, marks[1].as_boolean().clone()))
    }
}

impl ExchangeReader {
    /// Rows that were written before the query was changed: columns that it reads by now and did
    /// not then are NULL, which is nothing to what begins with the change.
    fn as_of_now(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let then = batch.schema();
        let column = |field: &Arc<Field>| {
            let mut same =
                then.fields().iter().enumerate().filter(|of| of.1.name() == field.name());
            match (same.next(), same.next()) {
                (Some((at, of)), None) if of.data_type() == field.data_type() => {
                    Ok(batch.column(at).clone())
                }
                (None, _) if field.is_nullable() => {
                    Ok(new_null_array(field.data_type(), batch.num_rows()))
                }
                _ => Err(ArrowError::SchemaError(format!(
                    "a record of an exchange that was written before the query was changed, and \
                     says nothing of column '{}'",
                    field.name()
                ))),
            }
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

fn is_alike(one: &Schema, other: &Schema) -> bool {
    let is_same = |(one, other): (&Arc<Field>, &Arc<Field>)| {
        one.name() == other.name() && one.data_type() == other.data_type()
    };
    one.fields().len() == other.fields().len()
        && one.fields().iter().zip(other.fields()).all(is_same)
}

/// Columns, then event times and which rows take back.
fn with_marks(schema: &SchemaRef) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new("event_time_ms", DataType::Int64, true)));
    fields.push(Arc::new(Field::new("retracts", DataType::Boolean, false)));
    Arc::new(Schema::new(fields))
}
