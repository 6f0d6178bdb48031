//! Rows with their ranks, up to a limit.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use crate::describe::Words;
use crate::operators::ordered_rows::{
    EncodedRow, OrderedRows, Ordering, Partition, RowCodec, SortedRow,
};
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
    pub row: SortedRow,
    /// 0 where it does not come out.
    pub rank: u64,
    pub time_ms: Option<i64>,
}

impl Ranked {
    /// Equal for rows that are the same to everyone who reads them.
    pub fn place(&self) -> (&SortedRow, u64) {
        (&self.row, self.rank)
    }
}

impl Top {
    /// The rows of a partition up to the limit, in their order.
    pub fn of(&self, partition: Option<&Partition>) -> Vec<Ranked> {
        let mut ranked = Vec::new();
        self.visit(partition, |row, rank, time_ms| {
            let rank = if self.numbered { rank } else { 0 };
            ranked.push(Ranked { row: row.clone(), rank, time_ms });
        });
        ranked
    }

    /// Where the rows begin that are beyond the limit.
    fn visit<'p>(
        &self,
        partition: Option<&'p Partition>,
        mut each: impl FnMut(&'p SortedRow, u64, Option<i64>),
    ) -> Option<&'p SortedRow> {
        let (mut before, mut different, mut first_equal) = (0, 0, 0);
        let mut order: Option<&[u8]> = None;
        for (row, entry) in partition.iter().flat_map(|partition| &partition.rows) {
            if order != Some(row.order.as_ref()) {
                order = Some(&row.order);
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
                    return (copy == 1).then_some(row);
                }
                each(row, rank, entry.time_ms);
            }
            before += entry.count;
        }
        None
    }

    /// Adds a row, unless it is beyond the limit and will be for ever.
    pub fn add(&self, rows: &mut OrderedRows, row: &EncodedRow<'_>, time_ms: Option<i64>) -> bool {
        let partition = rows.get(row.partition);
        let full = partition.filter(|partition| partition.total >= self.limit);
        let last = full.and_then(|partition| partition.rows.last_key_value());
        let beyond = last.is_some_and(|(last, _)| match self.rank {
            Rank::RowNumber => (row.order, row.row) >= (&last.order, &last.row),
            Rank::Rank => *row.order > *last.order,
            // Many rows may share few ranks.
            Rank::DenseRank => false,
        });
        if beyond && !self.retracting {
            return false;
        }
        rows.add(row.partition, row.sorted(), time_ms);
        true
    }

    /// Forgets rows beyond the limit, if none can move up.
    pub fn prune(&self, rows: &mut OrderedRows, partition: &[u8]) {
        if self.retracting {
            return;
        }
        let of = rows.get(partition);
        let Some(first_beyond) = self.visit(of, |_, _, _| ()).cloned() else { return };
        let beyond = of.into_iter().flat_map(|of| of.rows.range(first_beyond.clone()..));
        let beyond: Vec<SortedRow> = beyond.map(|(row, _)| row.clone()).collect();
        beyond.iter().for_each(|row| rows.remove(partition, row));
    }

    /// Rows as they come out; `retracts` says which of them are taken back.
    pub fn rows(&self, codec: &RowCodec, ranked: &[Ranked], retracts: Vec<bool>) -> Result<Rows> {
        let mut columns = codec.decode(ranked.iter().map(|ranked| ranked.row.row.as_ref()))?;
        if self.numbered {
            let ranks: UInt64Array = ranked.iter().map(|ranked| Some(ranked.rank)).collect();
            columns.push(Arc::new(ranks));
        }
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        let times: Int64Array = ranked.iter().map(|ranked| ranked.time_ms).collect();
        Ok(Rows::changes(batch, times, BooleanArray::from(retracts)))
    }
}
