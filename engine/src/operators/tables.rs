//! What operators keep, as tables for people to look at: read from the entries of the changelog,
//! whatever lies in memory.

use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion_common::{DataFusionError, Result, exec_datafusion_err};

use super::sides::RowCodec;
use crate::state::layouts::Layouts;

/// Entries of one operator: keys as it calls them, ascending, and values.
#[derive(Clone, Debug, Default)]
pub struct Entries<'a> {
    pub of: Vec<(&'a [u8], &'a [u8])>,
    /// What the values are made of, if that may change.
    pub layouts: Layouts,
}

impl<'a> Deref for Entries<'a> {
    type Target = [(&'a [u8], &'a [u8])];

    fn deref(&self) -> &Self::Target {
        &self.of
    }
}

/// Rows that an operator keeps.
#[derive(Clone, Debug)]
pub struct KeptTable {
    /// What they are to the operator: `groups`, `left`.
    pub name: &'static str,
    pub rows: RecordBatch,
    /// The columns by which a row is found.
    pub keys: Vec<usize>,
}

/// An entry that is not what the operator writes.
pub fn damaged(key: &[u8]) -> DataFusionError {
    exec_datafusion_err!("an entry at key {key:02x?} is damaged")
}

/// A batch of these columns, all of them nullable.
pub fn batch(columns: Vec<(String, ArrayRef)>, rows: usize) -> Result<RecordBatch> {
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, column)| (Field::new(name, column.data_type().clone(), true), column))
        .unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// Rows in bytes, with what is known of each beside its columns.
pub struct RowsTable<'a> {
    schema: SchemaRef,
    rows: Vec<Option<&'a [u8]>>,
    beside: Vec<(String, ArrayRef)>,
}

impl<'a> RowsTable<'a> {
    pub fn new(schema: &SchemaRef, rows: Vec<Option<&'a [u8]>>) -> RowsTable<'a> {
        RowsTable { schema: schema.clone(), rows, beside: Vec::new() }
    }

    /// One more column, unless the rows have one of that name.
    pub fn with(mut self, name: &str, column: ArrayRef) -> RowsTable<'a> {
        if self.schema.column_with_name(name).is_none() {
            self.beside.push((name.to_owned(), column));
        }
        self
    }

    pub fn with_times(self, name: &str, times_ms: Vec<Option<i64>>) -> RowsTable<'a> {
        self.with(name, times(times_ms))
    }

    pub fn with_counts(self, name: &str, counts: Vec<u64>) -> RowsTable<'a> {
        self.with(name, Arc::new(UInt64Array::from(counts)))
    }

    pub fn with_flags(self, name: &str, flags: Vec<bool>) -> RowsTable<'a> {
        self.with(name, Arc::new(BooleanArray::from(flags)))
    }

    /// `keys`: the names of the columns by which a row is found.
    pub fn build(self, name: &'static str, keys: &[String]) -> Result<KeptTable> {
        let decoded = RowCodec::of_rows(&self.schema)?.decode(&self.rows, &self.schema)?;
        let names = self.schema.fields().iter().map(|field| field.name().clone());
        let mut columns: Vec<(String, ArrayRef)> = names.zip(decoded).collect();
        columns.extend(self.beside);
        let rows = batch(columns, self.rows.len())?;
        let schema = rows.schema();
        let keys = keys.iter().filter_map(|key| schema.index_of(key).ok()).collect();
        Ok(KeptTable { name, rows, keys })
    }
}

/// Times in UTC.
pub fn times(times_ms: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from(times_ms).with_timezone("+00:00"))
}
