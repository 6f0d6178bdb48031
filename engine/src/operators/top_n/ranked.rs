//! Rows with their ranks, up to a limit.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use crate::describe::Words;
use crate::operators::ordered_rows::{EncodedRow, OrderedRows, Ordering, Place, RowCodec};
use crate::rows::Rows;

/// How rows are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// One after the other: those that the order holds equal by their columns.
    RowNumber,
    /// Equal rows have one number, and the next is as if they had several.
    Rank,
    /// Equal rows have one number, and the next is one more.
    DenseRank,
}

impl Rank {
    pub fn named(name: &str) -> Option<Rank> {
        match name {
            "row_number" => Some(Rank::RowNumber),
            "rank" => Some(Rank::Rank),
            "dense_rank" => Some(Rank::DenseRank),
            _ => None,
        }
    }
}

/// The SQL name.
impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rank::RowNumber => "row_number",
            Rank::Rank => "rank",
            Rank::DenseRank => "dense_rank",
        })
    }
}

/// Which rows of a partition are meant.
#[derive(Clone, Debug)]
pub struct Top {
    pub ordering: Arc<Ordering>,
    pub rank: Rank,
    /// The greatest rank that comes out.
    pub limit: u64,
    /// The rank comes out as the last column.
    pub numbered: bool,
    /// Rows that come in may be taken back: then those beyond the limit may still move up.
    pub retracting: bool,
    /// Of the rows that come out.
    pub schema: SchemaRef,
}

impl Top {
    pub fn title(&self) -> String {
        format!("first {} by {}", self.limit, self.rank)
    }

    pub fn details(&self, words: &Words) -> Vec<String> {
        let mut details = Vec::new();
        let partition = self.partition(words);
        if !partition.is_empty() {
            details.push(format!("of each {}", partition.join(", ")));
        }
        let order = self.ordering.order.iter().map(|by| {
            let descending = if by.options.descending { " DESC" } else { "" };
            format!("{}{descending}", words.physical(&by.expr))
        });
        details.push(format!("ordered by {}", order.collect::<Vec<_>>().join(", ")));
        details
    }

    pub fn partition(&self, words: &Words) -> Vec<String> {
        words.physicals(&self.ordering.partition)
    }
}

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "top {} by {}", self.limit, self.rank)?;
        f.write_str(if self.retracting { " of all rows" } else { "" })?;
        f.write_str(if self.numbered { ", numbered" } else { "" })?;
        write!(f, "{}", self.ordering)
    }
}

/// A row that comes out.
#[derive(Clone, Debug)]
pub struct Ranked {
    pub at: Place,
    /// 0 where it does not come out.
    pub rank: u64,
    pub time_ms: Option<i64>,
}

impl Ranked {
    /// Equal for rows that are the same to everyone who reads them.
    pub fn place(&self) -> (&[u8], u64) {
        (self.at.bytes(), self.rank)
    }
}

impl Top {
    /// The rows of a partition up to the limit, in their order.
    pub fn of(&self, rows: &OrderedRows, partition: &[u8]) -> Result<Vec<Ranked>> {
        let mut ranked = Vec::new();
        self.visit(rows, partition, |at, rank, time_ms| {
            let rank = if self.numbered { rank } else { 0 };
            ranked.push(Ranked { at: at.clone(), rank, time_ms });
        })?;
        Ok(ranked)
    }

    /// The first row that is beyond the limit.
    fn visit(
        &self,
        rows: &OrderedRows,
        partition: &[u8],
        mut each: impl FnMut(&Place, u64, Option<i64>),
    ) -> Result<Option<Place>> {
        let (mut before, mut different, mut first_equal) = (0, 0, 0);
        let mut last: Option<Place> = None;
        for row in rows.of(partition) {
            let (at, entry) = row?;
            if last.is_none_or(|last| last.order() != at.order()) {
                (different, first_equal) = (different + 1, before + 1);
            }
            for copy in 1..=entry.count {
                let rank = match self.rank {
                    Rank::RowNumber => before + copy,
                    Rank::Rank => first_equal,
                    Rank::DenseRank => different,
                };
                if rank > self.limit {
                    // A row of which some copies are within is not beyond.
                    return Ok((copy == 1).then_some(at));
                }
                each(&at, rank, entry.time_ms);
            }
            before += entry.count;
            last = Some(at);
        }
        Ok(None)
    }

    /// Adds a row, unless it is beyond the limit and will be for ever.
    pub fn add(
        &self,
        rows: &mut OrderedRows,
        row: &EncodedRow<'_>,
        time_ms: Option<i64>,
    ) -> Result<bool> {
        let place = row.place();
        // Of dense ranks, many rows may share few.
        let may_be_beyond = !self.retracting && self.rank != Rank::DenseRank;
        if may_be_beyond && rows.total(row.partition)? >= self.limit {
            let beyond = rows.last(row.partition)?.is_some_and(|last| match self.rank {
                Rank::Rank => *row.order > *last.order(),
                _ => place.bytes() >= last.bytes(),
            });
            if beyond {
                return Ok(false);
            }
        }
        rows.add(&place, time_ms)?;
        Ok(true)
    }

    /// Forgets rows beyond the limit, if none can move up.
    pub fn prune(&self, rows: &mut OrderedRows, partition: &[u8]) -> Result<()> {
        if self.retracting {
            return Ok(());
        }
        let Some(first_beyond) = self.visit(rows, partition, |_, _, _| ())? else { return Ok(()) };
        while let Some(last) = rows.last(partition)? {
            if last.bytes() < first_beyond.bytes() {
                break;
            }
            rows.remove(&last)?;
        }
        Ok(())
    }

    /// Rows as they come out; `retracts` says which of them are taken back.
    pub fn rows(&self, codec: &RowCodec, ranked: &[Ranked], retracts: Vec<bool>) -> Result<Rows> {
        let mut columns = codec.decode(ranked.iter().map(|ranked| ranked.at.row()))?;
        if self.numbered {
            let ranks: UInt64Array = ranked.iter().map(|ranked| Some(ranked.rank)).collect();
            columns.push(Arc::new(ranks));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        let times: Int64Array = ranked.iter().map(|ranked| ranked.time_ms).collect();
        Ok(Rows::changes(batch, times, BooleanArray::from(retracts)))
    }
}
