//! What the stream is looked through for, beside events: signals, and keys that change while a
//! chunk is read.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};

use super::window::{RowKey, Window};
use crate::postgres::catalog::TableInfo;
use crate::postgres::pgoutput::{Field, Message, OldRow, Row};
use crate::postgres::table::Table;

/// Transactions that are remembered: one may be in the stream a moment before others see it.
const RECENT_MAX: usize = 1_024;

/// A row of the signals' table: id, type, data.
pub type SignalRow = [String; 3];

/// Looks on.
#[derive(Debug, Default)]
pub struct Watch {
    /// The table that signals are inserted into, by schema and name.
    signal_table: Option<(String, String)>,
    pub signals: Vec<SignalRow>,
    pub window: Option<Window>,
    recent: VecDeque<u32>,
}

impl Watch {
    pub fn new(signal_table: Option<(String, String)>) -> Watch {
        Watch { signal_table, ..Watch::default() }
    }

    /// A transaction has ended in the stream.
    pub fn committed(&mut self, xid: u32) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(xid);
    }

    /// Those that ended last.
    pub fn recent(&self) -> Vec<u32> {
        self.recent.iter().copied().collect()
    }

    /// Looks at a change; a signal that it is comes back.
    pub fn see(
        &mut self,
        message: &Message,
        tables: &HashMap<u32, Arc<Table>>,
        xid: u32,
    ) -> Option<SignalRow> {
        if let (Some((schema, name)), Message::Insert { relation, new }) =
            (&self.signal_table, message)
            && let Some(table) = tables.get(relation)
            && (&table.info.schema, &table.info.name) == (schema, name)
        {
            return Some([0, 1, 2].map(|at| text(new, at)));
        }
        let window = self.window.as_mut()?;
        let relation = window.relation;
        let table = |id: &u32| tables.get(id).filter(|_| *id == relation);
        match message {
            Message::Insert { relation, new } => {
                let key = row_key(&table(relation)?.info, &window.identity, new, None);
                window.touch(xid, Some(key));
            }
            Message::Update { relation, old, new } => {
                let table = table(relation)?;
                let old = old.as_ref().map(|OldRow { row, .. }| row);
                let keys = [Some(new), old].into_iter().flatten();
                let keys: Vec<RowKey> =
                    keys.map(|row| row_key(&table.info, &window.identity, row, old)).collect();
                keys.into_iter().for_each(|key| window.touch(xid, Some(key)));
            }
            Message::Delete { relation, old } => {
                let key = row_key(&table(relation)?.info, &window.identity, &old.row, None);
                window.touch(xid, Some(key));
            }
            Message::Truncate { relations, .. } if relations.contains(&window.relation) => {
                window.touch(xid, None);
            }
            _ => {}
        }
        None
    }
}

fn text(row: &Row, at: usize) -> String {
    match row.0.get(at) {
        Some(Field::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

/// What tells a row from others. Large values that were not changed are those of the old row.
pub fn row_key(info: &TableInfo, identity: &[String], row: &Row, old: Option<&Row>) -> RowKey {
    let mut key = BytesMut::new();
    for name in identity {
        let at = info.columns.iter().position(|column| column.name == *name);
        let field = |row: &'_ Row| at.and_then(|at| row.0.get(at).cloned());
        let field = match field(row) {
            Some(Field::Unchanged) => old.and_then(field),
            own => own,
        };
        match field {
            Some(Field::Text(text)) => {
                key.put_u64(text.len() as u64);
                key.put_slice(&text);
            }
            _ => key.put_u64(u64::MAX),
        }
    }
    key.freeze()
}
