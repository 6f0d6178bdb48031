//! Rows as they go through a topology.
//!
//! The rule of changes: rows whose `retracts` is set take back an equal row that came before. What
//! a query answers is the multiset of rows that came and were not taken back. An update is the old
//! row taken back, then the new row.

use arrow::array::{
    Array, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array,
};
use arrow::compute::{
    concat, concat_batches, filter, filter_record_batch, take, take_record_batch,
};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

/// Rows of one schema, each with the time it happened at.
#[derive(Clone, Debug)]
pub struct Rows {
    pub batch: RecordBatch,
    /// Event time of each row in ms since 1970, rounded down; null where the row has none.
    pub event_times_ms: Int64Array,
    /// Which rows take back one that came before; `None` if all of them are new. Never null.
    pub retracts: Option<BooleanArray>,
}

impl Rows {
    /// Rows that are new.
    pub fn new(batch: RecordBatch, event_times_ms: Int64Array) -> Rows {
        debug_assert_eq!(batch.num_rows(), event_times_ms.len());
        Rows { batch, event_times_ms, retracts: None }
    }

    /// Rows of which those marked take back an earlier one.
    pub fn changes(batch: RecordBatch, event_times_ms: Int64Array, retracts: BooleanArray) -> Rows {
        debug_assert_eq!(batch.num_rows(), event_times_ms.len());
        debug_assert_eq!(batch.num_rows(), retracts.len());
        debug_assert_eq!(retracts.null_count(), 0);
        let retracts = (retracts.true_count() > 0).then_some(retracts);
        Rows { batch, event_times_ms, retracts }
    }

    pub fn empty(schema: &SchemaRef) -> Rows {
        let none: Int64Array = Vec::<i64>::new().into();
        Rows::new(RecordBatch::new_empty(schema.clone()), none)
    }

    pub fn len(&self) -> usize {
        self.batch.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the row takes back one that came before.
    pub fn is_retraction(&self, row: usize) -> bool {
        self.retracts.as_ref().is_some_and(|retracts| retracts.value(row))
    }

    pub fn slice(&self, start: usize, len: usize) -> Rows {
        Rows {
            batch: self.batch.slice(start, len),
            event_times_ms: self.event_times_ms.slice(start, len),
            retracts: self.retracts.as_ref().map(|retracts| retracts.slice(start, len)),
        }
    }

    /// The rows where `mask` is true.
    pub fn filter(&self, mask: &BooleanArray) -> Result<Rows> {
        let retracts = match &self.retracts {
            Some(retracts) => Some(filter(retracts, mask)?.as_boolean().clone()),
            None => None,
        };
        Ok(Rows {
            batch: filter_record_batch(&self.batch, mask)?,
            event_times_ms: filter(&self.event_times_ms, mask)?.as_primitive().clone(),
            retracts,
        })
    }

    /// The rows at these places, in this order, perhaps several times.
    pub fn take(&self, places: &UInt64Array) -> Result<Rows> {
        self.with_batch_of(take_rows(&self.batch, places)?, places)
    }

    /// Other columns for the rows at these places.
    pub fn with_batch_of(&self, batch: RecordBatch, places: &UInt64Array) -> Result<Rows> {
        let retracts = match &self.retracts {
            Some(retracts) => Some(take(retracts, places, None)?.as_boolean().clone()),
            None => None,
        };
        let event_times_ms = take(&self.event_times_ms, places, None)?.as_primitive().clone();
        Ok(Rows { batch, event_times_ms, retracts })
    }

    /// Other columns for the same rows.
    pub fn with_batch(self, batch: RecordBatch) -> Rows {
        debug_assert_eq!(batch.num_rows(), self.len());
        Rows { batch, ..self }
    }

    /// These columns of the rows.
    pub fn project(&self, columns: &[usize], schema: &SchemaRef) -> Result<Rows> {
        let columns = columns.iter().map(|&column| self.batch.column(column).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        Ok(self.clone().with_batch(batch))
    }

    /// All of these together, in their order.
    pub fn concat(schema: &SchemaRef, parts: &[Rows]) -> Result<Rows> {
        if let [only] = parts {
            return Ok(only.clone());
        }
        let batch = concat_batches(schema, parts.iter().map(|part| &part.batch))?;
        let times: Vec<&dyn Array> =
            parts.iter().map(|part| &part.event_times_ms as &dyn Array).collect();
        let event_times_ms = match times.is_empty() {
            true => Vec::<i64>::new().into(),
            false => concat(&times)?.as_primitive().clone(),
        };
        let any = parts.iter().any(|part| part.retracts.is_some());
        let retracts = any.then(|| {
            let all = parts
                .iter()
                .flat_map(|part| (0..part.len()).map(|row| Some(part.is_retraction(row))));
            all.collect::<BooleanArray>()
        });
        Ok(Rows { batch, event_times_ms, retracts })
    }
}

/// The rows at these places, those without columns too, which Arrow does not take.
pub fn take_rows(batch: &RecordBatch, places: &UInt64Array) -> Result<RecordBatch> {
    match batch.num_columns() {
        0 => {
            let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
            Ok(RecordBatch::try_new_with_options(batch.schema(), Vec::new(), &options)?)
        }
        _ => Ok(take_record_batch(batch, places)?),
    }
}
