//! Rows that came and were not taken back.

use std::collections::HashMap;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use arrow_row::{OwnedRow, RowConverter, SortField};
use datafusion_common::Result;

use crate::rows::Rows;

/// The multiset of rows that changes come to, in the order in which they came.
pub struct Standing {
    schema: SchemaRef,
    converter: RowConverter,
    /// How often each row is there, and when it came first.
    rows: HashMap<OwnedRow, Count>,
    came: u64,
}

struct Count {
    count: i64,
    came: u64,
}

impl Standing {
    pub fn new(schema: SchemaRef) -> Result<Standing> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Standing { schema, converter, rows: HashMap::new(), came: 0 })
    }

    pub fn apply(&mut self, rows: &Rows) -> Result<()> {
        if self.schema.fields().is_empty() {
            // Rows without columns are only counted.
            for row in 0..rows.len() {
                self.came = match rows.is_retraction(row) {
                    true => self.came.saturating_sub(1),
                    false => self.came + 1,
                };
            }
            return Ok(());
        }
        let encoded = self.converter.convert_columns(rows.batch.columns())?;
        for (row, encoded) in encoded.iter().enumerate() {
            let change = if rows.is_retraction(row) { -1 } else { 1 };
            self.came += 1;
            let came = self.came;
            let known = self.rows.entry(encoded.owned()).or_insert(Count { count: 0, came });
            known.count += change;
            if known.count == 0 {
                self.rows.remove(&encoded.owned());
            }
        }
        Ok(())
    }

    /// What is there, in batches of at most so many rows.
    pub fn into_batches(self, rows_max: usize) -> Result<Vec<RecordBatch>> {
        if self.schema.fields().is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(self.came as usize));
            return Ok(vec![RecordBatch::try_new_with_options(self.schema, vec![], &options)?]);
        }
        let mut rows: Vec<(OwnedRow, Count)> = self.rows.into_iter().collect();
        rows.sort_unstable_by_key(|(_, count)| count.came);
        let all: Vec<&OwnedRow> = rows
            .iter()
            .flat_map(|(row, count)| std::iter::repeat_n(row, count.count.max(0) as usize))
            .collect();
        let batches = all.chunks(rows_max.max(1)).map(|rows| {
            let columns: Vec<ArrayRef> =
                self.converter.convert_rows(rows.iter().map(|row| row.row()))?;
            Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
        });
        batches.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, BooleanArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn standing(changes: &[(i64, bool)]) -> Vec<i64> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let mut standing = Standing::new(schema.clone()).unwrap();
        for (value, retracts) in changes {
            let column: ArrayRef = Arc::new(Int64Array::from(vec![*value]));
            let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
            let times = Int64Array::from(vec![0]);
            let rows = Rows::changes(batch, times, BooleanArray::from(vec![*retracts]));
            standing.apply(&rows).unwrap();
        }
        let batches = standing.into_batches(2).unwrap();
        let column = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().clone();
        batches.iter().flat_map(|batch| column(batch).values().to_vec()).collect()
    }

    #[test]
    fn what_was_taken_back_is_gone_and_doubles_are_kept() {
        let changes =
            [(3, false), (1, false), (1, false), (3, true), (2, false), (1, true), (3, false)];
        assert_eq!(standing(&changes), [1, 2, 3]);
        assert_eq!(standing(&[(7, false), (7, false), (7, false)]), [7, 7, 7]);
        assert_eq!(standing(&[(7, false), (7, true)]), [0i64; 0]);
    }
}
