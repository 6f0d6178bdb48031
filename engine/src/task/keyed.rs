//! Records of a table whose rows are read one after the other: with those that delete.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions,
    UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use broker::record::Record;
use datafusion_common::Result as Evaluates;

use crate::formats::DecodedRows;
use crate::rows::Rows;

/// Rows as [`normalize`](crate::operators::normalize) takes them, and which record each is of.
pub struct KeyedRows {
    pub rows: Rows,
    pub records: Vec<usize>,
}

/// What a record says of a row.
#[derive(Clone, Copy)]
enum Says {
    IsThere(usize),
    /// It is gone, and what it was.
    IsGone(usize),
    /// What has the record's key is gone.
    Deletes,
}

/// Puts records that only delete between the rows of the others.
pub fn keyed_rows(
    decoded: &DecodedRows,
    records: &[Record<'_>],
    schema: &SchemaRef,
) -> Evaluates<KeyedRows> {
    let mut said = said(decoded);
    // A record without key and value says nothing.
    said.retain(|(record, says)| !matches!(says, Says::Deletes) || records[*record].key.is_some());
    let rows: UInt64Array = said
        .iter()
        .map(|(_, says)| match says {
            Says::IsThere(row) | Says::IsGone(row) => Some(*row as u64),
            Says::Deletes => None,
        })
        .collect();
    let columns = decoded.rows.batch.columns().iter();
    let mut columns: Vec<ArrayRef> =
        columns.map(|column| take(column, &rows, None)).collect::<Result<_, _>>()?;
    let keys = said.iter().map(|(record, _)| records[*record].key);
    columns.push(Arc::new(keys.collect::<BinaryArray>()));
    let deletes = said.iter().map(|(_, says)| match says {
        Says::IsThere(_) => Some(false),
        Says::IsGone(_) => None,
        Says::Deletes => Some(true),
    });
    columns.push(Arc::new(deletes.collect::<BooleanArray>()));
    let times = said.iter().map(|(record, says)| match says {
        Says::IsThere(row) | Says::IsGone(row) => {
            let times = &decoded.rows.event_times_ms;
            times.is_valid(*row).then(|| times.value(*row))
        }
        Says::Deletes => Some(deleted_at_ms(decoded, *record, records)),
    });
    let times: Int64Array = times.collect();
    let options = RecordBatchOptions::new().with_row_count(Some(said.len()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    let records = said.into_iter().map(|(record, _)| record).collect();
    Ok(KeyedRows { rows: Rows::new(batch, times), records })
}

/// When a record that has no columns happened: at its own time, unless it says another.
fn deleted_at_ms(decoded: &DecodedRows, record: usize, records: &[Record<'_>]) -> i64 {
    let said = decoded.deleted_at_ms.binary_search_by_key(&record, |(record, _)| *record);
    said.map_or(records[record].timestamp_ms, |at| decoded.deleted_at_ms[at].1)
}

/// Which record says what, in their order.
fn said(decoded: &DecodedRows) -> Vec<(usize, Says)> {
    let mut said = Vec::with_capacity(decoded.rows.len() + decoded.tombstones.len());
    let mut tombstones = decoded.tombstones.iter().copied().peekable();
    for row in 0..decoded.rows.len() {
        let record = decoded.kept.as_ref().map_or(row, |kept| kept[row]);
        while let Some(tombstone) = tombstones.next_if(|tombstone| *tombstone < record) {
            said.push((tombstone, Says::Deletes));
        }
        if tombstones.peek() == Some(&record) {
            continue;
        }
        let retracts = decoded.rows.is_retraction(row);
        said.push((record, if retracts { Says::IsGone(row) } else { Says::IsThere(row) }));
    }
    said.extend(tombstones.map(|tombstone| (tombstone, Says::Deletes)));
    said
}
