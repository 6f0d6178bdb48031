//! The records of a table as changes of its rows.
//!
//! The rule: what has come out, less what was taken back, is the last row of each key. A record
//! with a new row takes the old one of its key back, if that differs; a record without a value
//! takes back the row that a record of the same key has brought. Nothing is told of what stays as
//! it is. A change event that says which row is gone takes back the one of that key.
//!
//! Rows come in with their table's key, the key of their record, and whether that had no value (see
//! [`schema_of_records`]).
//!
//! ```text
//! key    row         1 u8, table's key (arrow-row)
//!        record key  2 u8, the record's key
//! value  row         has an event time u8, event_time_ms i64, row (arrow-row)
//!        record key  table's key (arrow-row)
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{Result, exec_datafusion_err};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::latest::{Latest, Told};
use super::sides::{RowCodec, decode_time};
use super::tables::{Entries, KeptTable, RowsTable};
use super::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::describe::{Described, Keeps, Until, Words};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};
use crate::time::Watermark;

const ROW: u8 = 1;
const RECORD_KEY: u8 = 2;
/// The same for what the changelog does not have.
const RECORD_KEYS: u8 = 0x82;

/// Which rows replace each other.
#[derive(Debug)]
pub struct NormalizeSpec {
    /// The columns that are wanted: the first ones of those that come in.
    pub schema: SchemaRef,
    /// What the columns of the key are called: they follow.
    pub key: Vec<String>,
    /// Records of one key are rows of one key.
    pub is_by_record_key: bool,
}

/// Of rows that come in: those that say by nothing but the record's key which row is gone. `at`:
/// where that key stands.
pub fn deletes_by_record_key(at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new("is_deletion", at + 1))
}

/// Columns that stand side by side.
pub fn columns_from(at: usize, names: &[String]) -> Vec<Arc<dyn PhysicalExpr>> {
    let columns = names.iter().enumerate();
    columns.map(|(place, name)| Arc::new(Column::new(name, at + place)) as _).collect()
}

/// Of rows that come in: wanted columns and key as they were decoded, the key of the record, and
/// whether that alone says what is gone, and nothing else is known (true); or the row itself is
/// gone (NULL).
pub fn schema_of_records(decoded: &Schema) -> SchemaRef {
    let fields = decoded.fields().iter();
    let mut fields: Vec<Field> =
        fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    fields.push(Field::new("record_key", DataType::Binary, true));
    fields.push(Field::new("is_deletion", DataType::Boolean, true));
    Arc::new(Schema::new(fields))
}

impl fmt::Display for NormalizeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "latest row by {}", self.key.join(", "))
    }
}

impl OperatorSpec for NormalizeSpec {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// By the table's key. A record without a value does not say it: its row is in one of the
    /// tasks, and all the others know nothing of it.
    fn distribution(&self, _side: usize) -> Distribution {
        match self.is_by_record_key {
            true => Distribution::by(columns_from(self.schema.fields().len(), &self.key)),
            false => Distribution::Together,
        }
    }

    fn settles(&self) -> bool {
        true
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        let place = |name: &String| self.schema.index_of(name).ok();
        self.key.iter().map(place).collect::<Option<_>>().into_iter().collect()
    }

    fn to_all(&self, _side: usize) -> Option<Arc<dyn PhysicalExpr>> {
        let at = self.schema.fields().len() + self.key.len();
        self.is_by_record_key.then(|| deletes_by_record_key(at))
    }

    fn describe(&self, _words: &Words) -> Described {
        Described {
            title: "take records as changes".to_owned(),
            details: vec![
                "a record replaces the one of its key, one without a value deletes it".to_owned(),
            ],
            keeps: Keeps::new("the last row", self.key.clone(), Until::TakenBack),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let rows = entries.iter().filter(|(key, _)| key.first() == Some(&ROW));
        let rows: Option<Vec<_>> = rows.map(|(_, value)| Some(decode_time(value)?.1)).collect();
        let rows = rows.ok_or_else(|| exec_datafusion_err!("a row without its time"))?;
        let rows = rows.into_iter().map(Some).collect();
        Ok(vec![RowsTable::new(&self.schema, rows).build("rows", &self.key)?])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(Normalize {
            rows: RowCodec::of_rows(&self.schema)?,
            latest: StateMap::new(id.key(&[&[ROW]]), true),
            by_record_key: StateMap::new(id.key(&[&[RECORD_KEY]]), true),
            record_keys: StateMap::new(id.key(&[&[RECORD_KEYS]]), false),
            may_forget: false,
            spec: self,
        }))
    }
}

/// The operator.
pub struct Normalize {
    spec: Arc<NormalizeSpec>,
    rows: RowCodec,
    latest: StateMap,
    /// The table's key of what a record's key has brought.
    by_record_key: StateMap,
    /// The same the other way round, if keys may be forgotten: table's key, record's key → nothing.
    record_keys: StateMap,
    may_forget: bool,
}

impl Normalize {
    fn columns<'r>(&self, rows: &'r Rows) -> (&'r [ArrayRef], &'r [ArrayRef]) {
        let columns = rows.batch.columns();
        let (wanted, rest) = columns.split_at(self.spec.schema.fields().len());
        (wanted, &rest[..self.spec.key.len()])
    }

    fn upsert(
        &mut self,
        key: &[u8],
        record_key: Option<&[u8]>,
        row: Latest,
        told: &mut Told,
    ) -> Result<()> {
        if let Some(record_key) = record_key
            && self.by_record_key.get(record_key)?.is_none_or(|known| *known != *key)
        {
            self.set_record_key(record_key, Some(key))?;
        }
        match self.latest.get(key)?.map(Latest::of_bytes) {
            Some(latest) if latest.row() == row.row() => return Ok(()),
            Some(latest) => told.push(latest, true),
            None => {}
        }
        self.latest.put(key, row.bytes().clone())?;
        told.push(row, false);
        Ok(())
    }

    fn delete_by_record_key(&mut self, record_key: &[u8], told: &mut Told) -> Result<()> {
        let Some(key) = self.by_record_key.get(record_key)? else { return Ok(()) };
        self.set_record_key(record_key, None)?;
        self.delete(&key, told)
    }

    /// Notes which row a record's key has brought.
    fn set_record_key(&mut self, record_key: &[u8], key: Option<&[u8]>) -> Result<(), DiskError> {
        if self.may_forget {
            if let Some(before) = self.by_record_key.get(record_key)? {
                self.record_keys.remove(&[&before, record_key].concat())?;
            }
            if let Some(key) = key {
                let place = [key, record_key].concat();
                self.record_keys.put(&place, Arc::from(&[][..]))?;
            }
        }
        self.by_record_key.restore(record_key, key)
    }

    fn delete(&mut self, key: &[u8], told: &mut Told) -> Result<()> {
        if let Some(gone) = self.latest.get(key)? {
            self.latest.remove(key)?;
            told.push(Latest::of_bytes(gone), true);
        }
        Ok(())
    }
}

impl Operator for Normalize {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        Ok(Prepared { rows, columns: Vec::new(), keys: None, late: 0, untimed: 0 })
    }

    fn apply(&mut self, _side: usize, rows: Prepared, out: &mut Vec<Rows>) -> Result<()> {
        let rows = rows.rows;
        let (wanted, key) = self.columns(&rows);
        let types = key.iter().map(|column| column.data_type());
        let keys = RowCodec::new(types)?.encode(key)?;
        let wanted = self.rows.encode(wanted)?;
        let at = rows.batch.num_columns() - 2;
        let record_keys = rows.batch.column(at).as_binary::<i32>();
        let deletes = rows.batch.column(at + 1).as_boolean();
        let mut told = Told::default();
        for row in 0..rows.len() {
            let record_key = record_keys.is_valid(row).then(|| record_keys.value(row));
            if deletes.is_null(row) {
                // What the record's key brings next may be a row of another task.
                if let Some(record_key) = record_key
                    && self.by_record_key.get(record_key)?.is_some_and(|of| *of == *keys.row(row))
                {
                    self.set_record_key(record_key, None)?;
                }
                self.delete(keys.row(row), &mut told)?;
                continue;
            }
            if deletes.value(row) {
                if let Some(record_key) = record_key {
                    self.delete_by_record_key(record_key, &mut told)?;
                }
                continue;
            }
            let times = &rows.event_times_ms;
            let event_time_ms = times.is_valid(row).then(|| times.value(row));
            let latest = Latest::new(wanted.row(row), event_time_ms);
            self.upsert(keys.row(row), record_key, latest, &mut told)?;
        }
        out.extend(told.rows(&self.rows, &self.spec.schema)?);
        Ok(())
    }

    fn may_forget(&mut self) {
        self.may_forget = true;
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        self.latest.remove(key)?;
        let record_keys = self.record_keys.with_prefix(key, None);
        let record_keys: Vec<Bytes> =
            record_keys.map(|entry| Ok(entry?.0)).collect::<Result<_, DiskError>>()?;
        for place in record_keys {
            self.set_record_key(&place[key.len()..], None)?;
        }
        Ok(())
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        vec![&mut self.latest, &mut self.by_record_key, &mut self.record_keys]
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        Ok(match key.split_first() {
            Some((&ROW, key)) => self.latest.restore(key, value)?,
            Some((&RECORD_KEY, key)) => self.set_record_key(key, value)?,
            _ => return Err(StateError::Damaged(format!("a table's entry at key {key:02x?}"))),
        })
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.latest.len() as usize }
    }
}
