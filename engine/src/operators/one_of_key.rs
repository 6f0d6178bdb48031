//! Changes of rows as changes of what stands under each key, where several tasks bring them.
//!
//! An answer is written by the key of its topic, but a task brings the rows of another one: those
//! that meet in a join by `k`, say. When a row moves from one `k` to another, one task takes it
//! back and another brings it anew, and nobody orders the two. Written as they come, the last of
//! them would decide, which may be the one that deletes. Here they meet by the key of the topic.
//!
//! The rule: what stands under a key is the last row that came for it and was not taken back. What
//! comes out takes back what stood there, and brings what stands there instead; nothing is told of
//! what stays as it is. A row that is taken back and is not known was there before this began: it
//! is passed on if nothing stands under its key.
//!
//! ```text
//! key    1 u8, key of the topic (arrow-row)
//! value  of each row: how often it is there u32, how long the rest is u32,
//!        has an event time u8, event_time_ms i64, row (arrow-row)
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::SchemaRef;
use datafusion_common::Result;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::latest::{Latest, Told};
use super::sides::RowCodec;
use super::tables::{Entries, KeptTable, RowsTable, damaged};
use super::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::describe::{Described, Keeps, Until, Words};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::map::StateMap;
use crate::time::Watermark;

const STANDING: u8 = 1;

/// By which columns of the rows they are written.
#[derive(Debug)]
pub struct OneOfKeySpec {
    pub schema: SchemaRef,
    pub key: Vec<usize>,
}

impl OneOfKeySpec {
    fn names(&self) -> Vec<String> {
        self.key.iter().map(|&at| self.schema.field(at).name().clone()).collect()
    }
}

impl fmt::Display for OneOfKeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.schema.fields().iter();
        let types: Vec<String> = fields.map(|field| field.data_type().to_string()).collect();
        write!(f, "one row of each {} of {}", self.names().join(", "), types.join(", "))
    }
}

impl OperatorSpec for OneOfKeySpec {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn distribution(&self, _side: usize) -> Distribution {
        let columns = self.key.iter().zip(self.names());
        Distribution::by(
            columns.map(|(&at, name)| Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>),
        )
    }

    fn settles(&self) -> bool {
        true
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        vec![self.key.clone()]
    }

    fn describe(&self, words: &Words) -> Described {
        let names: Vec<String> = self.names().iter().map(|name| words.name(name)).collect();
        Described {
            title: "bring rows of each key together".to_owned(),
            details: vec![format!("by {}, which several tasks bring", names.join(", "))],
            keeps: Keeps::new("the last row", names, Until::TakenBack),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let mut rows = Vec::new();
        for (key, value) in entries.iter() {
            let standing = Standing::decode(value).ok_or_else(|| damaged(key))?;
            rows.extend(standing.0.into_iter().map(|(_, row)| row));
        }
        let rows = rows.iter().map(|row| Some(row.row())).collect();
        Ok(vec![RowsTable::new(&self.schema, rows).build("rows", &self.names())?])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        let types = self.key.iter().map(|&at| self.schema.field(at).data_type());
        Ok(Box::new(OneOfKey {
            keys: RowCodec::new(types)?,
            rows: RowCodec::of_rows(&self.schema)?,
            standing: StateMap::new(id.key(&[&[STANDING]]), true),
            spec: self,
        }))
    }
}

/// The operator.
pub struct OneOfKey {
    spec: Arc<OneOfKeySpec>,
    keys: RowCodec,
    rows: RowCodec,
    standing: StateMap,
}

/// The rows of a key that are there, and how often, in the order in which they came.
#[derive(Default)]
struct Standing(Vec<(u32, Latest)>);

impl Standing {
    fn decode(mut value: &[u8]) -> Option<Standing> {
        let mut rows = Vec::new();
        while !value.is_empty() {
            let (count, rest) = value.split_first_chunk::<4>()?;
            let (len, rest) = rest.split_first_chunk::<4>()?;
            let (row, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            rows.push((u32::from_be_bytes(*count), Latest::decode(row)?));
            value = rest;
        }
        Some(Standing(rows))
    }

    fn encode(&self) -> Vec<u8> {
        let mut value = Vec::new();
        for (count, row) in &self.0 {
            value.extend_from_slice(&count.to_be_bytes());
            value.extend_from_slice(&(row.bytes().len() as u32).to_be_bytes());
            value.extend_from_slice(row.bytes());
        }
        value
    }

    fn last(&self) -> Option<&Latest> {
        self.0.last().map(|(_, row)| row)
    }

    fn add(&mut self, row: Latest) {
        let known = self.0.iter().position(|(_, known)| known.row() == row.row());
        let count = known.map_or(0, |at| self.0.remove(at).0);
        self.0.push((count.saturating_add(1), row));
    }

    /// Whether it was there.
    fn take_back(&mut self, row: &Latest) -> bool {
        let known = self.0.iter().position(|(_, known)| known.row() == row.row());
        let Some(at) = known else { return false };
        match self.0[at].0 {
            0 | 1 => {
                self.0.remove(at);
            }
            ref mut count => *count -= 1,
        }
        true
    }
}

impl OneOfKey {
    fn change(&mut self, key: &[u8], row: Latest, goes: bool, told: &mut Told) -> Result<()> {
        let mut standing = match self.standing.get(key)? {
            Some(value) => Standing::decode(&value).ok_or_else(|| damaged(key))?,
            None => Standing::default(),
        };
        let before = standing.last().cloned();
        if !goes {
            standing.add(row);
        } else if !standing.take_back(&row) {
            if before.is_none() {
                told.push(row, true);
            }
            return Ok(());
        }
        let after = standing.last();
        if before.as_ref().map(Latest::row) != after.map(Latest::row) {
            before.into_iter().for_each(|row| told.push(row, true));
            after.cloned().into_iter().for_each(|row| told.push(row, false));
        }
        match standing.0.is_empty() {
            true => self.standing.remove(key)?,
            false => self.standing.put(key, standing.encode().into())?,
        };
        Ok(())
    }
}

impl Operator for OneOfKey {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        Ok(Prepared { rows, columns: Vec::new(), keys: None, late: 0, untimed: 0 })
    }

    fn apply(&mut self, _side: usize, rows: Prepared, out: &mut Vec<Rows>) -> Result<()> {
        let rows = rows.rows;
        let columns = rows.batch.columns();
        let key: Vec<ArrayRef> = self.spec.key.iter().map(|&at| columns[at].clone()).collect();
        let (keys, encoded) = (self.keys.encode(&key)?, self.rows.encode(columns)?);
        let mut told = Told::default();
        for row in 0..rows.len() {
            let times = &rows.event_times_ms;
            let event_time_ms = times.is_valid(row).then(|| times.value(row));
            let latest = Latest::new(encoded.row(row), event_time_ms);
            self.change(keys.row(row), latest, rows.is_retraction(row), &mut told)?;
        }
        out.extend(told.rows(&self.rows, &self.spec.schema)?);
        Ok(())
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        vec![&mut self.standing]
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        match key.split_first() {
            Some((&STANDING, key)) => Ok(self.standing.restore(key, value)?),
            _ => Err(StateError::Damaged(format!("an entry of rows by key at {key:02x?}"))),
        }
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.standing.len() as usize }
    }
}
