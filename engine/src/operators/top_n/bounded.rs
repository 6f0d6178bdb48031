//! The first rows of each partition, where none that came in is ever taken back.
//!
//! The rule is that of [`super::updating`]. Rows beyond the limit stay there for ever, so what is
//! kept of a partition is little: it is taken into memory when its first row comes, changed there,
//! and compared with what it was when it is told. Only what differs then goes into the maps.
//!
//! Invariant: between two flushes the maps are as the last one left them.

use datafusion_common::{Result, exec_err};

use super::changing::ChangingPartitions;
use super::ranked::Top;
use super::updating::{Told, restore_row};
use crate::operators::ordered_rows::{EncodedRows, OrderedRows, RowCodec};
use crate::operators::{Kept, Operator, Prepared};
use crate::rows::Rows;
use crate::state::changelog::StateError;
use crate::state::map::StateMap;
use crate::time::Watermark;

/// The operator.
pub struct BoundedTopN {
    top: Top,
    codec: RowCodec,
    rows: OrderedRows,
    /// Those that rows have come to since the last flush.
    changing: ChangingPartitions,
}

impl BoundedTopN {
    pub fn new(top: Top, rows: OrderedRows) -> Result<BoundedTopN> {
        let codec = RowCodec::new(&top.ordering)?;
        Ok(BoundedTopN { top, codec, rows, changing: ChangingPartitions::default() })
    }
}

impl Operator for BoundedTopN {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let columns = self.codec.encode(&self.top.ordering, &rows.batch)?;
        Ok(Prepared { rows, columns, keys: None, late: 0, untimed: 0 })
    }

    fn apply(&mut self, _side: usize, prepared: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, .. } = prepared;
        if (0..rows.len()).any(|at| rows.is_retraction(at)) {
            return exec_err!("a row is taken back where none was expected to be");
        }
        self.changing.add(&self.top, &self.rows, &EncodedRows::of(&columns), &rows.event_times_ms)
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let mut told = Told::default();
        for partition in self.changing.take(&self.top) {
            let (before, after) =
                (self.top.ranked(&partition.was), self.top.ranked(&partition.now));
            told.tell(&before, &after);
            partition.keep(&mut self.rows)?;
            if told.is_much() {
                told.take(&self.top, &self.codec, out)?;
            }
        }
        told.take(&self.top, &self.codec, out)
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.rows.remove_all(key)?)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.rows.maps().into()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        restore_row(&mut self.rows, key, value)
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.rows.len() }
    }
}
