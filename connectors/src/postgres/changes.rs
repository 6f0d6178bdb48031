//! The stream of changes, turned into events: a pure state machine.
//!
//! ```text
//!   pgoutput message ─► Changes ─┬─► records
//!                                ├─► position: where to go on from
//!                                └─► "which table is that?"   answered from the catalog
//! ```
//!
//! The position is the end of the last transaction that is done, and, of one that is not, how many
//! of its messages are. The server sends a transaction that it was not told to be done again from
//! its beginning, in the same order: counting them off is exact.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::config::EventConfig;
use super::events::{
    EventSchemas, InTransaction, Operation, Origin, SnapshotMarker, link_keys, tombstone,
};
use super::incremental::watch::Watch;
use super::json_events::{Around, Events, Json, Rows};
use super::lsn::Lsn;
use super::pgoutput::{self, Begin, DecodeError, LogicalMessage, Message, OldRow, Relation, Row};
use super::table::{Image, RowError, Table};
use crate::data::{ConnectRecord, Text, Value};

/// What a message is named that tells nothing, and is written so that the log moves.
pub const WATERMARK_PREFIX: &str = "millstream.watermark";

/// Where to go on in the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// All before this was done.
    pub done: Lsn,
    /// The end of the last transaction with changes, for `source.sequence`.
    pub last_commit_end: Option<Lsn>,
    /// The transaction after it of which a part was done, by its commit's place, and how many of
    /// its messages.
    pub partly: Option<(Lsn, u64)>,
    /// The last message outside of transactions.
    pub last_message: Lsn,
}

/// Why the stream cannot become events.
#[derive(Debug, Error)]
pub enum ChangesError {
    #[error("at {lsn} in the stream: {error}")]
    Decode { lsn: Lsn, error: DecodeError },
    #[error("at {lsn} in the stream: {error}")]
    Row { lsn: Lsn, error: RowError },
    #[error("at {lsn} in the stream: a change of relation {relation}, of which nothing was said")]
    UnknownRelation { lsn: Lsn, relation: u32 },
    #[error("at {lsn} in the stream: a {message} outside of a transaction")]
    OutsideTransaction { lsn: Lsn, message: &'static str },
}

/// What a message asks for in turn.
#[derive(Debug)]
pub enum Step {
    Done,
    /// The table has to be made known before the stream goes on.
    Define(Relation),
    /// A column holds a null that the catalog excludes: the table has to be made known anew.
    Loosen {
        relation: u32,
        error: RowError,
    },
}

/// The state between two messages.
#[derive(Debug)]
pub struct Changes {
    schemas: EventSchemas,
    config: EventConfig,
    tables: HashMap<u32, Arc<Table>>,
    position: Position,
    transaction: Option<Transaction>,
    /// What else the stream is looked through for.
    pub watch: Watch,
}

#[derive(Debug)]
struct Transaction {
    begin: Begin,
    /// It was done before, as a whole.
    old: bool,
    /// So many of its messages were done before.
    skip: u64,
    messages: u64,
    id: Text,
    events: i64,
    events_by_table: Vec<(Text, i64)>,
    origin: Option<(Text, Lsn)>,
}

impl Changes {
    pub fn new(
        schemas: EventSchemas,
        config: EventConfig,
        position: Position,
        watch: Watch,
    ) -> Changes {
        Changes { schemas, config, tables: HashMap::new(), position, transaction: None, watch }
    }

    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether a transaction is under way: the position moves on in it, but not its LSN.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    pub fn define(&mut self, relation: u32, table: Table) {
        self.tables.insert(relation, Arc::new(table));
    }

    pub fn table(&self, relation: u32) -> Option<&Arc<Table>> {
        self.tables.get(&relation)
    }

    /// Everything before `end` was sent, and was done outside of a transaction.
    pub fn advance(&mut self, end: Lsn) {
        if self.transaction.is_none() && end > self.position.done {
            self.position.done = end;
            // A transaction that is done in part may be still to come: the server says how far it
            // is while it reads on to that commit.
            self.position.partly = self.position.partly.filter(|(commit, _)| *commit >= end);
        }
    }

    /// Takes one message. A message that asks for something is taken again after that was done.
    pub fn take(
        &mut self,
        lsn: Lsn,
        bytes: &Bytes,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<Step, ChangesError> {
        let out = &mut *events.records;
        let message = pgoutput::decode(bytes.clone());
        let message = message.map_err(|error| ChangesError::Decode { lsn, error })?;
        match message {
            Message::Begin(begin) => self.begin(begin, out),
            Message::Commit(commit) => self.commit(lsn, commit.end_lsn, out)?,
            Message::Origin { lsn: there, name } => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.origin = Some((Text::from(name), there));
                }
            }
            Message::Relation(relation) => return Ok(Step::Define(relation)),
            Message::Type { .. } => {}
            Message::Logical(message) if !message.transactional => {
                self.lone_message(message, now_us, out);
            }
            change => return self.change(lsn, change, now_us, events),
        }
        Ok(Step::Done)
    }

    fn begin(&mut self, begin: Begin, out: &mut Vec<ConnectRecord>) {
        let old = begin.commit_lsn < self.position.done;
        let skip = match self.position.partly {
            Some((commit_lsn, messages)) if commit_lsn == begin.commit_lsn => messages,
            _ => 0,
        };
        let id = Text::from(format!("{}:{}", begin.xid, begin.commit_lsn.0));
        if self.config.transactions && !old && skip == 0 {
            out.push(self.schemas.transaction(&id, begin.commit_time_us, None));
        }
        self.transaction = Some(Transaction {
            begin,
            old,
            skip,
            messages: 0,
            id,
            events: 0,
            events_by_table: Vec::new(),
            origin: None,
        });
    }

    fn commit(
        &mut self,
        lsn: Lsn,
        end: Lsn,
        out: &mut Vec<ConnectRecord>,
    ) -> Result<(), ChangesError> {
        let transaction = self.transaction.take();
        let outside = || ChangesError::OutsideTransaction { lsn, message: "commit" };
        let transaction = transaction.ok_or_else(outside)?;
        self.watch.committed(transaction.begin.xid);
        if transaction.old {
            return Ok(());
        }
        if self.config.transactions {
            let ended = Some((transaction.events, &transaction.events_by_table[..]));
            let time = transaction.begin.commit_time_us;
            out.push(self.schemas.transaction(&transaction.id, time, ended));
        }
        self.position.done = end;
        self.position.last_commit_end = Some(end);
        self.position.partly = None;
        Ok(())
    }

    /// A message that belongs to a transaction.
    fn change(
        &mut self,
        lsn: Lsn,
        message: Message,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<Step, ChangesError> {
        let Some(mut transaction) = self.transaction.take() else {
            return Err(ChangesError::OutsideTransaction { lsn, message: "change" });
        };
        let again = transaction.old || transaction.messages < transaction.skip;
        let before = events.records.len();
        let signal = self.watch.see(&message, &self.tables, transaction.begin.xid);
        // What is only counted must not be written.
        let json = events.json.as_mut().filter(|_| !again);
        let json = json.map(|json| Json { events: &mut *json.events, out: &mut *json.out });
        let mut now = Events { records: &mut *events.records, json };
        let step = self.events_of(lsn, message, &mut transaction, now_us, &mut now);
        if matches!(step, Ok(Step::Done)) {
            transaction.messages += 1;
            if again {
                // Counted for the transaction's end, and written before.
                events.records.truncate(before);
            } else {
                self.watch.signals.extend(signal);
                self.position.partly = Some((transaction.begin.commit_lsn, transaction.messages));
            }
        }
        self.transaction = Some(transaction);
        step
    }

    /// Appends the events of a change. Nothing is appended or counted unless all of it succeeds.
    fn events_of(
        &self,
        lsn: Lsn,
        message: Message,
        transaction: &mut Transaction,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<Step, ChangesError> {
        let (relation, done) = match message {
            Message::Insert { relation, new } => {
                let table = self.known(lsn, relation)?;
                (relation, self.insert(lsn, table, &new, transaction, now_us, events))
            }
            Message::Update { relation, old, new } => {
                let table = self.known(lsn, relation)?;
                (relation, self.update(lsn, table, old, &new, transaction, now_us, events))
            }
            Message::Delete { relation, old } => {
                let table = self.known(lsn, relation)?;
                (relation, self.delete(lsn, table, &old, transaction, now_us, events))
            }
            Message::Truncate { relations, .. } => {
                let tables = relations.into_iter().map(|relation| self.known(lsn, relation));
                for table in tables.collect::<Result<Vec<_>, _>>()? {
                    self.truncate(lsn, table, transaction, now_us, events.records);
                }
                return Ok(Step::Done);
            }
            // Our own, by which the log was made to move.
            Message::Logical(message) if message.prefix == WATERMARK_PREFIX => {
                return Ok(Step::Done);
            }
            Message::Logical(message) => {
                let origin = self.origin(lsn, Some(transaction));
                let place = self.place(transaction, &Text::from_static("message"));
                let LogicalMessage { prefix, content, .. } = message;
                let place = place.as_ref();
                let record = self.schemas.message(&prefix, content, &origin, place, now_us);
                events.records.push(record);
                return Ok(Step::Done);
            }
            _ => return Ok(Step::Done),
        };
        match done {
            Ok(()) => Ok(Step::Done),
            Err(error) if matches!(error.problem, super::table::RowProblem::Null) => {
                Ok(Step::Loosen { relation, error })
            }
            Err(error) => Err(ChangesError::Row { lsn, error }),
        }
    }

    fn insert(
        &self,
        lsn: Lsn,
        table: &Arc<Table>,
        new: &Row,
        transaction: &mut Transaction,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<(), RowError> {
        let operation = Operation::Create;
        let rows = Rows { before: None, after: Some((new, None)) };
        if !table.chosen || self.write(lsn, table, operation, rows, transaction, now_us, events) {
            return Ok(());
        }
        let after = table.row(new, None, Image::Whole)?;
        let values = (Value::Null, after);
        self.push(lsn, table, operation, values, transaction, now_us, events.records);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the message's parts, and what it is put into")]
    fn update(
        &self,
        lsn: Lsn,
        table: &Arc<Table>,
        old: Option<OldRow>,
        new: &Row,
        transaction: &mut Transaction,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<(), RowError> {
        let full = old.as_ref().filter(|old| !old.key_only).map(|old| &old.row);
        let before = full.map(|row| (row, Image::Whole));
        let rows = Rows { before, after: Some((new, full)) };
        let same_key = old.as_ref().is_none_or(|old| table.same_key(&old.row, new));
        if !table.chosen
            || (same_key
                && self.write(lsn, table, Operation::Update, rows, transaction, now_us, events))
        {
            return Ok(());
        }
        let out = &mut *events.records;
        let after = table.row(new, full, Image::Whole)?;
        let before = match &old {
            // Of a key alone that is the same nothing is told, whatever stands there.
            Some(old) if full.is_some() || !same_key => {
                Some(table.row(&old.row, None, image(old))?)
            }
            _ => None,
        };
        let changed_key = before.as_ref().is_some_and(|before| {
            table.key(before).schema.is_some() && table.key(before) != table.key(&after)
        });
        if let (true, Some(before)) = (changed_key, before.clone()) {
            // Another key is another row to whoever reads by key: this one goes, that one comes.
            let from = out.len();
            let values = (before, Value::Null);
            self.push(lsn, table, Operation::Delete, values, transaction, now_us, out);
            let created = out.len();
            let values = (Value::Null, after);
            self.push(lsn, table, Operation::Create, values, transaction, now_us, out);
            if from < created && created < out.len() {
                let (deleted, created) = out.split_at_mut(created);
                link_keys(&mut deleted[from], &mut created[0]);
            }
            return Ok(());
        }
        // A key alone, which has not changed in any way that shows, tells nothing.
        let before = before.filter(|_| full.is_some()).unwrap_or(Value::Null);
        self.push(lsn, table, Operation::Update, (before, after), transaction, now_us, out);
        Ok(())
    }

    fn delete(
        &self,
        lsn: Lsn,
        table: &Arc<Table>,
        old: &OldRow,
        transaction: &mut Transaction,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<(), RowError> {
        let operation = Operation::Delete;
        let rows = Rows { before: Some((&old.row, image(old))), after: None };
        if !table.chosen || self.write(lsn, table, operation, rows, transaction, now_us, events) {
            return Ok(());
        }
        let before = table.row(&old.row, None, image(old))?;
        let values = (before, Value::Null);
        self.push(lsn, table, operation, values, transaction, now_us, events.records);
        Ok(())
    }

    fn truncate(
        &self,
        lsn: Lsn,
        table: &Arc<Table>,
        transaction: &mut Transaction,
        now_us: i64,
        out: &mut Vec<ConnectRecord>,
    ) {
        if !table.chosen {
            return;
        }
        let values = (Value::Null, Value::Null);
        self.push(lsn, table, Operation::Truncate, values, transaction, now_us, out);
    }

    /// Writes the event of a change as JSON, with what belongs behind it, where that may be.
    /// `false`: nothing was written.
    #[expect(clippy::too_many_arguments, reason = "the event's parts, and what it is put into")]
    fn write(
        &self,
        lsn: Lsn,
        table: &Arc<Table>,
        operation: Operation,
        rows: Rows<'_>,
        transaction: &mut Transaction,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> bool {
        if self.config.skipped.contains(operation.code()) {
            return false;
        }
        let origin = self.origin(lsn, Some(transaction));
        let around = Around { table, operation, origin: &origin, now_us };
        if !events.write(&around, rows, || self.place(transaction, &table.collection_name)) {
            return false;
        }
        if operation == Operation::Delete && self.config.tombstones {
            events.write_tombstone(table, rows);
        }
        true
    }

    /// Adds the event of a change, with what belongs behind it.
    #[expect(clippy::too_many_arguments, reason = "the event's parts, and what it is put into")]
    fn push(
        &self,
        lsn: Lsn,
        table: &Arc<Table>,
        operation: Operation,
        (before, after): (Value, Value),
        transaction: &mut Transaction,
        now_us: i64,
        out: &mut Vec<ConnectRecord>,
    ) {
        if self.config.skipped.contains(operation.code()) {
            return;
        }
        let origin = self.origin(lsn, Some(transaction));
        let place = self.place(transaction, &table.collection_name);
        let key = table.key(if after.is_null() { &before } else { &after });
        out.push(self.schemas.change(
            table,
            operation,
            key.clone(),
            before,
            after,
            &origin,
            place.as_ref(),
            now_us,
        ));
        if operation == Operation::Delete && self.config.tombstones && key.schema.is_some() {
            out.push(tombstone(&table.topic, key));
        }
    }

    /// A message that stands outside of transactions: it comes as soon as it is in the log.
    fn lone_message(&mut self, message: LogicalMessage, now_us: i64, out: &mut Vec<ConnectRecord>) {
        let seen = self.position.last_message.max(Lsn(self.position.done.0.saturating_sub(1)));
        if message.lsn <= seen {
            return;
        }
        self.position.last_message = message.lsn;
        let origin = Origin { time_us: now_us, ..self.origin(message.lsn, None) };
        let LogicalMessage { prefix, content, .. } = message;
        out.push(self.schemas.message(&prefix, content, &origin, None, now_us));
    }

    fn origin(&self, lsn: Lsn, transaction: Option<&Transaction>) -> Origin {
        Origin {
            time_us: transaction.map_or(0, |transaction| transaction.begin.commit_time_us),
            marker: SnapshotMarker::No,
            lsn,
            previous_end: self.position.last_commit_end,
            xid: transaction.map(|transaction| transaction.begin.xid),
            replicated_from: transaction.and_then(|transaction| transaction.origin.clone()),
        }
    }

    /// Counts an event of the transaction, where that is asked for.
    fn place(&self, transaction: &mut Transaction, table: &Text) -> Option<InTransaction> {
        if !self.config.transactions {
            return None;
        }
        transaction.events += 1;
        let counts = &mut transaction.events_by_table;
        let at = counts.iter().position(|(name, _)| name == table).unwrap_or_else(|| {
            counts.push((table.clone(), 0));
            counts.len() - 1
        });
        counts[at].1 += 1;
        let (total_order, table_order) = (transaction.events, counts[at].1);
        Some(InTransaction { id: transaction.id.clone(), total_order, table_order })
    }

    fn known(&self, lsn: Lsn, relation: u32) -> Result<&Arc<Table>, ChangesError> {
        self.tables.get(&relation).ok_or(ChangesError::UnknownRelation { lsn, relation })
    }
}

fn image(old: &OldRow) -> Image {
    if old.key_only { Image::KeyOnly } else { Image::Whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server was asked how far it is before it had come to the transaction again, and all of
    /// it was told anew.
    #[test]
    fn a_transaction_done_in_part_stays_so_until_it_is_passed() {
        let schemas = EventSchemas::new(&Text::from_static("pg"), "postgres");
        let config = EventConfig {
            tombstones: true,
            skipped: String::new(),
            placeholder: Text::from_static(""),
            transactions: false,
            schema_changes: false,
        };
        let partly = Some((Lsn(50), 7));
        let position = Position { done: Lsn(10), partly, ..Position::default() };
        let mut changes = Changes::new(schemas, config, position, Watch::default());
        changes.advance(Lsn(50));
        assert_eq!((changes.position().done, changes.position().partly), (Lsn(50), partly));
        changes.advance(Lsn(60));
        assert_eq!((changes.position().done, changes.position().partly), (Lsn(60), None));
    }
}
