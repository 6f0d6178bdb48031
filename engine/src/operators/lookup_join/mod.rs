//! A stream joined with a table that every task holds whole.
//!
//! The rule: a row of the stream meets the rows that the table has at that moment, oldest first,
//! and comes out once for each that it meets (an inner or outer join), or once if it meets any
//! (semi) or none (anti); an outer join gives a row that meets none with NULLs. Rows of the stream
//! keep their order and their event time. A change of the table changes nothing that came out
//! before: Kafka Streams' KStream–GlobalKTable join, on any columns.
//!
//! [`table`]: the rows, and how they are found.

mod table;

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion_common::{Result, exec_err};
use datafusion_physical_expr::PhysicalExpr;

use super::filter_project::{evaluate, mask};
use super::sides::PAIRS_MAX;
use crate::rows::{Rows, take_rows};

pub use table::{Change, RowId, Table};

#[cfg(test)]
mod tests;

/// What one batch may become; beyond it its rows are taken one by one, to find the one that meets
/// so many.
const JOINED_ROWS_MAX: usize = 1 << 20;

/// Which rows of the stream come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupKind {
    /// With each row that they meet.
    Inner,
    /// The same, and those that meet none.
    Outer,
    /// Those that meet any, as they are.
    Semi,
    /// Those that meet none, as they are.
    Anti,
    /// Those that are certain to meet none, whatever NULL is: `NOT IN`.
    NotIn,
}

/// How a stream is joined with a table.
#[derive(Clone, Debug)]
pub struct LookupJoin {
    pub kind: LookupKind,
    /// Which of the topology's tables.
    pub table: usize,
    /// What that is called, for messages.
    pub table_name: String,
    /// The stream's side of each equality; the other side is the table's join key.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What else must hold of a pair, over the columns of both.
    pub filter: Option<PairFilter>,
    /// Columns of the table stand before those of the stream.
    pub table_first: bool,
    /// Of the rows that come out.
    pub schema: SchemaRef,
}

/// A condition over the columns of both sides.
#[derive(Clone, Debug)]
pub struct PairFilter {
    pub predicate: Arc<dyn PhysicalExpr>,
    pub schema: SchemaRef,
}

/// Which rows meet: one of the stream, by index, and one of the table.
#[derive(Default)]
struct Pairs {
    stream: Vec<u64>,
    table: Vec<Option<RowId>>,
}

impl Pairs {
    fn push(&mut self, stream: usize, table: Option<RowId>) {
        self.stream.push(stream as u64);
        self.table.push(table);
    }
}

impl LookupJoin {
    pub fn apply(&self, rows: Rows, table: &Table) -> Result<Rows> {
        let count = rows.batch.num_rows();
        let met = self.met(&rows.batch, table)?;
        let uncertain = self.uncertain(&rows.batch, table)?;
        let mut pairs = Pairs::default();
        let mut of_row = met.stream.iter().zip(&met.table).peekable();
        for row in 0..count {
            let mut any = false;
            while let Some((_, found)) = of_row.next_if(|(of, _)| **of == row as u64) {
                if matches!(self.kind, LookupKind::Inner | LookupKind::Outer) {
                    pairs.push(row, *found);
                }
                any = true;
            }
            let alone = match self.kind {
                LookupKind::Inner => false,
                LookupKind::Semi => any,
                LookupKind::Outer | LookupKind::Anti => !any,
                LookupKind::NotIn => !any && !uncertain[row],
            };
            if alone {
                pairs.push(row, None);
            }
        }
        let places = UInt64Array::from(pairs.stream);
        let stream = take_rows(&rows.batch, &places)?;
        let found = match self.kind {
            LookupKind::Inner | LookupKind::Outer => table.gather(&pairs.table)?,
            LookupKind::Semi | LookupKind::Anti | LookupKind::NotIn => Vec::new(),
        };
        let batch = self.together(&stream, found, &self.schema)?;
        rows.with_batch_of(batch, &places)
    }

    /// Of `NOT IN`, for which rows of the stream nobody knows: where one side is NULL, and there
    /// is another.
    fn uncertain(&self, stream: &RecordBatch, table: &Table) -> Result<Vec<bool>> {
        if self.kind != LookupKind::NotIn || table.rows() == 0 {
            return Ok(vec![false; stream.num_rows()]);
        }
        let mut uncertain = vec![table.has_null(); stream.num_rows()];
        for key in &self.keys {
            let nulls = evaluate(stream, key.as_ref())?.logical_nulls();
            let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            uncertain
                .iter_mut()
                .enumerate()
                .for_each(|(row, uncertain)| *uncertain |= is_null(row));
        }
        Ok(uncertain)
    }

    /// All pairs that meet, in the order of the stream.
    fn met(&self, stream: &RecordBatch, table: &Table) -> Result<Pairs> {
        let keys = self.keys.iter().map(|key| evaluate(stream, key.as_ref()));
        let found = table.find(&keys.collect::<Result<Vec<_>>>()?, stream.num_rows())?;
        let (mut met, mut candidates) = (Pairs::default(), Pairs::default());
        for (row, rows) in found.into_iter().enumerate() {
            // Without an equality a row has the whole table for candidates.
            for some in rows.chunks(PAIRS_MAX) {
                if candidates.stream.len() + some.len() > PAIRS_MAX {
                    self.sift(std::mem::take(&mut candidates), stream, table, &mut met)?;
                }
                some.iter().for_each(|id| candidates.push(row, Some(*id)));
            }
        }
        self.sift(candidates, stream, table, &mut met)?;
        Ok(met)
    }

    /// Adds those of the candidates to `met` that pass the filter.
    fn sift(
        &self,
        mut candidates: Pairs,
        stream: &RecordBatch,
        table: &Table,
        met: &mut Pairs,
    ) -> Result<()> {
        match &self.filter {
            None => {
                met.stream.append(&mut candidates.stream);
                met.table.append(&mut candidates.table);
            }
            Some(filter) => {
                let places = UInt64Array::from(candidates.stream.clone());
                let stream = take_rows(stream, &places)?;
                let found = table.gather(&candidates.table)?;
                let both = self.together(&stream, found, &filter.schema)?;
                for at in mask(&both, filter.predicate.as_ref())?.values().set_indices() {
                    met.stream.push(candidates.stream[at]);
                    met.table.push(candidates.table[at]);
                }
            }
        }
        if met.stream.len() > JOINED_ROWS_MAX {
            return exec_err!(
                "it meets more than {JOINED_ROWS_MAX} rows of table '{}'",
                self.table_name
            );
        }
        Ok(())
    }

    fn together(
        &self,
        stream: &RecordBatch,
        mut table: Vec<ArrayRef>,
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let mut columns = stream.columns().to_vec();
        if self.table_first {
            std::mem::swap(&mut columns, &mut table);
        }
        columns.append(&mut table);
        let options = RecordBatchOptions::new().with_row_count(Some(stream.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }
}

impl fmt::Display for LookupJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            LookupKind::Inner => "join",
            LookupKind::Outer => "outer join",
            LookupKind::Semi => "semi join",
            LookupKind::Anti => "anti join",
            LookupKind::NotIn => "null-aware anti join",
        };
        let keys: Vec<String> = self.keys.iter().map(|key| key.to_string()).collect();
        write!(f, "{kind} table {}", self.table_name)?;
        if !keys.is_empty() {
            write!(f, " by {}", keys.join(", "))?;
        }
        match &self.filter {
            Some(filter) => write!(f, " where {}", filter.predicate),
            None => Ok(()),
        }
    }
}
