//! What joins that keep rows of both sides have in common: which rows may meet, which pairs pass,
//! and the rows that come of them.
//!
//! Kept rows are bytes (arrow-row), found by their join key: a state store may lie beneath. Rows
//! that arrive are columns, and so is what comes out: pairs are put together, and what else must
//! hold of them is evaluated, many at a time but never more than [`PAIRS_MAX`].

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array,
    new_null_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use arrow_row::{RowConverter, Rows as RowBytes, SortField};
use datafusion_common::{JoinType, Result};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::filter_project::{evaluate, mask};
use super::lookup_join::PairFilter;
use crate::describe::Words;
use crate::rows::Rows;

/// Pairs that are looked at together, and rows that come out together.
pub const PAIRS_MAX: usize = 8192;

/// Two inputs, and which rows of them meet.
#[derive(Debug)]
pub struct Sides {
    pub of: [Side; 2],
    pub roles: [Role; 2],
    /// `IS NOT DISTINCT FROM` rather than `=`.
    pub nulls_equal: bool,
    /// What else must hold of a pair.
    pub filter: Option<PairFilter>,
    /// Of the rows that come out.
    pub schema: SchemaRef,
}

/// One of the inputs.
#[derive(Debug)]
pub struct Side {
    pub schema: SchemaRef,
    /// Its part of each equality.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
}

impl Side {
    /// The columns that its keys are, those of them that are columns.
    pub fn key_names(&self) -> Vec<String> {
        let columns = self.keys.iter().filter_map(|key| key.downcast_ref::<Column>());
        columns.map(|column| column.name().to_owned()).collect()
    }
}

/// What becomes of a side's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They come out with each row that they meet.
    Paired,
    /// The same, and those that meet none come out with NULLs.
    Outer,
    /// They come out once, as they are, if they meet any.
    Semi,
    /// They come out as they are if they meet none.
    Anti,
    /// They decide about rows of the other side.
    Witness,
}

impl Role {
    /// Of both sides; `None` for joins that only a plan can mean.
    pub fn of(join: JoinType) -> Option<[Role; 2]> {
        Some(match join {
            JoinType::Inner => [Role::Paired, Role::Paired],
            JoinType::Left => [Role::Outer, Role::Paired],
            JoinType::Right => [Role::Paired, Role::Outer],
            JoinType::Full => [Role::Outer, Role::Outer],
            JoinType::LeftSemi => [Role::Semi, Role::Witness],
            JoinType::RightSemi => [Role::Witness, Role::Semi],
            JoinType::LeftAnti => [Role::Anti, Role::Witness],
            JoinType::RightAnti => [Role::Witness, Role::Anti],
            JoinType::LeftMark | JoinType::RightMark => return None,
        })
    }

    /// Whether its rows come out with those that they meet.
    pub fn pairs(self) -> bool {
        matches!(self, Role::Paired | Role::Outer)
    }

    /// Whether it matters which of its rows have met any.
    pub fn counts_matches(self) -> bool {
        !matches!(self, Role::Paired | Role::Witness)
    }

    /// Whether rows that meet none come out.
    pub fn keeps_unmatched(self) -> bool {
        matches!(self, Role::Outer | Role::Anti)
    }
}

impl Sides {
    /// `left interval join`.
    pub fn title(&self, kind: &str) -> String {
        let name = self.join_name();
        match name.strip_suffix("join") {
            Some(role) => format!("{role}{kind} join"),
            None => format!("{kind} {name}"),
        }
    }

    fn join_name(&self) -> &'static str {
        match self.roles {
            [Role::Outer, Role::Outer] => "full join",
            [Role::Outer, _] => "left join",
            [_, Role::Outer] => "right join",
            [Role::Semi, _] => "semi join",
            [_, Role::Semi] => "right semi join",
            [Role::Anti, _] => "anti join",
            [_, Role::Anti] => "right anti join",
            _ => "join",
        }
    }

    /// The columns of rows that come out which hold the values by which they have met: those of a
    /// side that is never left out.
    pub fn comes_by(&self) -> Vec<Vec<usize>> {
        let columns = |side: usize, before: usize| -> Option<Vec<usize>> {
            let keys = self.of[side].keys.iter();
            keys.map(|key| Some(before + key.downcast_ref::<Column>()?.index())).collect()
        };
        let (left, right) = (columns(0, 0), columns(1, self.of[0].schema.fields().len()));
        let found = match self.roles {
            [Role::Paired, Role::Paired] => vec![left, right],
            [Role::Outer, Role::Outer] => {
                vec![left.zip(right).map(|(left, right)| [left, right].concat())]
            }
            [Role::Outer | Role::Semi | Role::Anti, _] => vec![left],
            [Role::Paired, Role::Outer] => vec![right],
            [_, Role::Semi | Role::Anti] => vec![columns(1, 0)],
            _ => Vec::new(),
        };
        found.into_iter().flatten().collect()
    }

    /// What must be equal, and what else must hold.
    pub fn details(&self, words: &Words) -> Vec<String> {
        let [left, right] = &self.of;
        let equal = if self.nulls_equal { "IS NOT DISTINCT FROM" } else { "=" };
        let pairs = left.keys.iter().zip(&right.keys);
        let on: Vec<String> = pairs
            .map(|(left, right)| (words.physical(left), words.physical(right)))
            .map(|(left, right)| match left == right {
                true => left,
                false => format!("{left} {equal} {right}"),
            })
            .collect();
        let mut details = Vec::new();
        if !on.is_empty() {
            details.push(format!("by {}", on.join(", ")));
        }
        if let Some(filter) = &self.filter {
            let left_columns = left.schema.fields().len();
            let predicate = words.physical_of_sides(&filter.predicate, left_columns);
            details.push(format!("where {predicate}"));
        }
        details
    }

    /// What rows of the left are found by.
    pub fn keys(&self, words: &Words) -> Vec<String> {
        words.physicals(&self.of[0].keys)
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.join_name())?;
        let equal = if self.nulls_equal { "is not distinct from" } else { "=" };
        let [left, right] = &self.of;
        for (index, (left, right)) in left.keys.iter().zip(&right.keys).enumerate() {
            let word = if index == 0 { "by" } else { "and" };
            write!(f, " {word} {left} {equal} {right}")?;
        }
        match &self.filter {
            Some(filter) => write!(f, " where {}", filter.predicate),
            None => Ok(()),
        }
    }
}

/// Columns as one string of bytes per row, and back.
#[derive(Debug)]
pub struct RowCodec {
    /// `None` if there are no columns.
    converter: Option<RowConverter>,
}

impl RowCodec {
    pub fn new<'t>(types: impl Iterator<Item = &'t DataType>) -> Result<RowCodec> {
        let fields: Vec<SortField> = types.cloned().map(SortField::new).collect();
        let converter = match fields.is_empty() {
            true => None,
            false => Some(RowConverter::new(fields)?),
        };
        Ok(RowCodec { converter })
    }

    pub fn of_rows(schema: &SchemaRef) -> Result<RowCodec> {
        RowCodec::new(schema.fields().iter().map(|field| field.data_type()))
    }

    pub fn encode(&self, columns: &[ArrayRef]) -> Result<Encoded> {
        let rows = self.converter.as_ref().map(|converter| converter.convert_columns(columns));
        Ok(Encoded { rows: rows.transpose()? })
    }

    /// One row per string, NULLs where there is none.
    pub fn decode(&self, rows: &[Option<&[u8]>], schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
        let Some(converter) = &self.converter else { return Ok(Vec::new()) };
        let parser = converter.parser();
        let present = rows.iter().flatten().map(|row| parser.parse(row));
        if rows.iter().all(Option::is_some) {
            return Ok(converter.convert_rows(present)?);
        }
        if rows.iter().all(Option::is_none) {
            return Ok(nulls(schema, rows.len()));
        }
        let mut next = 0..;
        let places: UInt64Array = rows.iter().map(|row| row.and_then(|_| next.next())).collect();
        let columns = converter.convert_rows(present)?;
        let taken = columns.iter().map(|column| take(column, &places, None));
        Ok(taken.collect::<Result<_, _>>()?)
    }
}

/// The bytes of some rows.
pub struct Encoded {
    rows: Option<RowBytes>,
}

impl Encoded {
    pub fn row(&self, row: usize) -> &[u8] {
        self.rows.as_ref().map_or(&[], |rows| rows.row(row).data())
    }
}

pub fn nulls(schema: &SchemaRef, count: usize) -> Vec<ArrayRef> {
    schema.fields().iter().map(|field| new_null_array(field.data_type(), count)).collect()
}

/// Turns rows of both sides into bytes and back.
pub struct Codecs {
    pub sides: Arc<Sides>,
    keys: RowCodec,
    rows: [RowCodec; 2],
}

/// One half of rows to come.
#[derive(Clone, Copy)]
pub enum Half<'a> {
    /// Rows of a batch, by index; NULLs where there is none.
    Arrived(&'a RecordBatch, &'a [Option<u64>]),
    Kept(&'a [Option<&'a [u8]>]),
}

impl Codecs {
    pub fn new(sides: Arc<Sides>) -> Result<Codecs> {
        let [left, right] = &sides.of;
        let types = left.keys.iter().map(|key| key.data_type(&left.schema));
        let types = types.collect::<Result<Vec<_>>>()?;
        Ok(Codecs {
            keys: RowCodec::new(types.iter())?,
            rows: [RowCodec::of_rows(&left.schema)?, RowCodec::of_rows(&right.schema)?],
            sides,
        })
    }

    /// The join keys of rows, as columns.
    pub fn key_columns(&self, side: usize, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.sides.of[side].keys.iter().map(|key| evaluate(batch, key.as_ref())).collect()
    }

    /// Which rows may meet any at all: a key with a NULL in it is equal to none.
    pub fn may_meet(&self, keys: &[ArrayRef]) -> Option<NullBuffer> {
        if self.sides.nulls_equal {
            return None;
        }
        let nulls = keys.iter().map(|key| key.logical_nulls());
        nulls.fold(None, |all, nulls| NullBuffer::union(all.as_ref(), nulls.as_ref()))
    }

    pub fn encode_keys(&self, keys: &[ArrayRef]) -> Result<Encoded> {
        self.keys.encode(keys)
    }

    pub fn encode_rows(&self, side: usize, batch: &RecordBatch) -> Result<Encoded> {
        self.rows[side].encode(batch.columns())
    }

    fn half(&self, side: usize, half: Half<'_>) -> Result<Vec<ArrayRef>> {
        match half {
            Half::Arrived(batch, places) => {
                let places: UInt64Array = places.iter().copied().collect();
                let columns = batch.columns().iter();
                let taken = columns.map(|column| take(column, &places, None));
                Ok(taken.collect::<Result<_, _>>()?)
            }
            Half::Kept(rows) => self.rows[side].decode(rows, &self.sides.of[side].schema),
        }
    }

    /// Which of these pairs pass the filter; `None` if there is none to pass.
    pub fn passing(&self, count: usize, halves: [Half<'_>; 2]) -> Result<Option<BooleanArray>> {
        let Some(filter) = &self.sides.filter else { return Ok(None) };
        let mut columns = self.half(0, halves[0])?;
        columns.extend(self.half(1, halves[1])?);
        let batch = batch(&filter.schema, columns, count)?;
        Ok(Some(mask(&batch, filter.predicate.as_ref())?))
    }

    /// Rows that come out, of halves that belong together. Where rows come out as they are, only
    /// the half of their side is looked at.
    pub fn rows(
        &self,
        halves: [Half<'_>; 2],
        event_times_ms: Int64Array,
        retracts: Option<Vec<bool>>,
    ) -> Result<Rows> {
        let mut columns = Vec::new();
        for (side, half) in halves.into_iter().enumerate() {
            let comes_out = match self.sides.roles[side] {
                Role::Witness => false,
                Role::Paired | Role::Outer | Role::Semi | Role::Anti => true,
            };
            if comes_out {
                columns.extend(self.half(side, half)?);
            }
        }
        let batch = batch(&self.sides.schema, columns, event_times_ms.len())?;
        Ok(match retracts {
            Some(retracts) => Rows::changes(batch, event_times_ms, retracts.into()),
            None => Rows::new(batch, event_times_ms),
        })
    }
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, count: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The later of two times, if there are both.
pub fn later(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    one.max(other)
}

/// The event time of a row as entries keep it: a byte that says whether there is one, then it.
pub fn encode_time(time_ms: Option<i64>, into: &mut Vec<u8>) {
    into.push(u8::from(time_ms.is_some()));
    into.extend_from_slice(&time_ms.unwrap_or_default().to_be_bytes());
}

/// An event time at the head of an entry, and what follows it.
pub fn decode_time(bytes: &[u8]) -> Option<(Option<i64>, &[u8])> {
    let (&is_there, rest) = bytes.split_first()?;
    let (time_ms, rest) = rest.split_first_chunk::<8>()?;
    Some(((is_there != 0).then(|| i64::from_be_bytes(*time_ms)), rest))
}
