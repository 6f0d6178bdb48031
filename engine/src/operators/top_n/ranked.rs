//! Rows with their ranks, up to a limit.

use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;

use crate::describe::Words;
use crate::operators::ordered_rows::{EncodedRow, Entry, OrderedRows, Ordering, Place, RowCodec};
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
    /// There is one row of each partition, the last one by event time: of several with that time
    /// the one that came last, as in Flink's deduplication.
    pub keeps_latest: bool,
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

/// Numbers rows that come in their order.
pub struct Ranks<'t> {
    top: &'t Top,
    /// Rows that came before, and different orders among them.
    before: u64,
    different: u64,
    /// How many rows came before the first one of the last order.
    first_equal: u64,
    last: Option<Place>,
}

impl<'t> Ranks<'t> {
    pub fn new(top: &'t Top) -> Ranks<'t> {
        Ranks { top, before: 0, different: 0, first_equal: 0, last: None }
    }

    /// The ranks of the next row, one for each time that it is there; those beyond the limit are
    /// left out, and once there are none, there are none for any that follows.
    pub fn next(&mut self, at: &Place, entry: Entry) -> impl ExactSizeIterator<Item = u64> + use<> {
        if self.last.as_ref().is_none_or(|last| last.order() != at.order()) {
            (self.different, self.first_equal) = (self.different + 1, self.before);
            self.last = Some(at.clone());
        }
        let (first, step) = match self.top.rank {
            Rank::RowNumber => (self.before + 1, 1),
            Rank::Rank => (self.first_equal + 1, 0),
            Rank::DenseRank => (self.different, 0),
        };
        self.before += entry.count;
        let within = match step {
            1 => (self.top.limit + 1).saturating_sub(first).min(entry.count),
            _ if first <= self.top.limit => entry.count,
            _ => 0,
        };
        // A row is not there as often as that.
        let within = usize::try_from(within).unwrap_or(usize::MAX);
        (0..within).map(move |copy| first + copy as u64 * step)
    }
}

impl Top {
    /// The rows of a partition up to the limit, in their order.
    pub fn of(&self, rows: &OrderedRows, partition: &[u8]) -> Result<Vec<Ranked>> {
        let mut ranks = Ranks::new(self);
        let mut ranked = Vec::new();
        for row in rows.of(partition) {
            let (at, entry) = row?;
            let within = ranks.next(&at, entry);
            if within.len() == 0 {
                break;
            }
            ranked.extend(within.map(|rank| self.numbered(&at, rank, entry)));
        }
        Ok(ranked)
    }

    /// The same, of rows in their order.
    pub fn ranked(&self, rows: &[(Place, Entry)]) -> Vec<Ranked> {
        let mut ranks = Ranks::new(self);
        let of = |(at, entry): &(Place, Entry)| {
            let (at, entry) = (at.clone(), *entry);
            ranks.next(&at, entry).map(move |rank| self.numbered(&at, rank, entry))
        };
        rows.iter().flat_map(of).collect()
    }

    fn numbered(&self, at: &Place, rank: u64, entry: Entry) -> Ranked {
        let rank = if self.numbered { rank } else { 0 };
        Ranked { at: at.clone(), rank, time_ms: entry.time_ms }
    }

    /// Whether a row is beyond the limit and will be for ever, where no row that came in is taken
    /// back. There are as many as the limit says, and `last` is the last of them.
    pub fn is_beyond(&self, row: &EncodedRow<'_>, last: &Place) -> bool {
        match self.rank {
            Rank::RowNumber => (row.order, row.row) >= (last.order(), last.row()),
            Rank::Rank => row.order > last.order(),
            // Many rows may share few ranks.
            Rank::DenseRank => false,
        }
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
