//! Rows as they stand under their key, in state and in the changelog.
//!
//! ```text
//! has an event time u8, event_time_ms i64, row (arrow-row)
//! ```

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use super::sides::{RowCodec, decode_time, encode_time};
use crate::rows::Rows;
use crate::state::map::Bytes;

/// An event time.
const HEADER_LEN: usize = 1 + 8;

/// A row with its event time.
#[derive(Clone, Debug)]
pub struct Latest(Bytes);

impl Latest {
    pub fn new(row: &[u8], event_time_ms: Option<i64>) -> Latest {
        let mut value = Vec::with_capacity(HEADER_LEN + row.len());
        encode_time(event_time_ms, &mut value);
        value.extend_from_slice(row);
        Latest(value.into())
    }

    /// Of what [`Latest::bytes`] gave.
    pub fn of_bytes(bytes: Bytes) -> Latest {
        Latest(bytes)
    }

    pub fn decode(bytes: &[u8]) -> Option<Latest> {
        decode_time(bytes).map(|_| Latest(bytes.into()))
    }

    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    pub fn row(&self) -> &[u8] {
        self.0.get(HEADER_LEN..).unwrap_or_default()
    }

    fn event_time_ms(&self) -> Option<i64> {
        decode_time(&self.0)?.0
    }
}

/// Rows that come out of an operator, and what they take back.
#[derive(Default)]
pub struct Told {
    rows: Vec<Latest>,
    retracts: Vec<bool>,
}

impl Told {
    pub fn push(&mut self, row: Latest, retracts: bool) {
        self.rows.push(row);
        self.retracts.push(retracts);
    }

    /// As columns of `schema`, if there are any.
    pub fn rows(self, codec: &RowCodec, schema: &SchemaRef) -> Result<Option<Rows>> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let bytes: Vec<Option<&[u8]>> = self.rows.iter().map(|row| Some(row.row())).collect();
        let columns = codec.decode(&bytes, schema)?;
        let options = RecordBatchOptions::new().with_row_count(Some(bytes.len()));
        let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        let times = self.rows.iter().map(Latest::event_time_ms).collect();
        Ok(Some(Rows::changes(batch, times, BooleanArray::from(self.retracts))))
    }
}
