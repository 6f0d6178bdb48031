//! The rows that are there, read before the changes.
//!
//! ```text
//!  tables ─► chunks ─► readers, each with a connection in the same snapshot ─► rows ─► records
//! ```
//!
//! A chunk is a range of places in a table's file, so that it is read without a sort and without
//! reading the rest. How far each is becomes part of the stored offset, row by row: after a crash
//! what is missing is read in a new snapshot. Changes since the first are streamed either way, so
//! a row that was read late is followed by the changes that it already shows: whoever reads by
//! key ends at the same state.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::catalog::quote_identifier;
use super::error::SourceError;
use super::events::{EventSchemas, Operation, Origin, SnapshotMarker};
use super::json_events::{Around, Events, Rows};
use super::lsn::Lsn;
use super::offset::{RowPlace, SnapshotProgress, Spans};
use super::pgoutput::{Field, Row};
use super::table::{Image, Table};
use super::wire::session::Purpose;
use super::wire::{PgError, Session, Target};
use crate::data::Value;

/// Blocks of a table that are read as one chunk: 4 MB.
const CHUNK_BLOCKS: u32 = 512;
const BLOCK_BYTES: u64 = 8_192;
/// What a reader hands over at once.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_ROWS: usize = 2_000;
/// What may wait to become records, for each reader.
const BATCHES_WAITING: usize = 2;
const END: RowPlace = RowPlace(u64::MAX);

/// A table to be read.
#[derive(Clone, Debug)]
pub struct SnapshotTable {
    pub table: Arc<Table>,
    pub blocks: u32,
    /// Whether its rows are found by their places.
    pub by_place: bool,
    /// Which rows are wanted: a condition, or a whole SELECT.
    pub filter: Option<String>,
}

/// What a snapshot has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableStep {
    Begun(usize),
    /// With so many rows.
    Done(usize, u64),
}

/// When and where in the log the snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPoint {
    /// The name under which other connections share it.
    pub name: String,
    pub lsn: Lsn,
    /// Where the transaction before it ended, if that was told.
    pub previous_end: Option<Lsn>,
    pub xid: Option<u32>,
    pub time_us: i64,
}

#[derive(Clone, Debug)]
struct Chunk {
    table: usize,
    from: RowPlace,
    to: RowPlace,
    sql: String,
    by_place: bool,
}

/// Rows of a chunk, in the order of their places.
#[derive(Debug)]
struct Batch {
    table: usize,
    rows: Vec<Vec<Field>>,
    /// From where to where it is, and where its last row is.
    span: Option<Span>,
    end_of_chunk: bool,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    from: RowPlace,
    last_row: RowPlace,
    to: RowPlace,
}

/// What may be stored as done once the row that is held back is out.
#[derive(Clone, Copy, Debug)]
enum Done {
    Span(usize, RowPlace, RowPlace),
    Chunk(usize),
}

/// A snapshot under way.
#[derive(Debug)]
pub struct Snapshot {
    tables: Vec<SnapshotTable>,
    chunks_left: Vec<usize>,
    point: SnapshotPoint,
    batches: mpsc::Receiver<Result<Batch, SourceError>>,
    _readers: JoinSet<()>,
    /// What came while waiting.
    next: Option<Result<Batch, SourceError>>,
    /// The last row, held back until it is known whether another one follows.
    held: Option<(usize, Row)>,
    done_after_held: Vec<Done>,
    any_row: bool,
    table_begun: Vec<bool>,
    rows: Vec<u64>,
    /// What nobody has taken yet: two for each table at most.
    steps: Vec<TableStep>,
    /// Whether tables come one after the other.
    in_order: bool,
    blocks_left: u64,
    /// Keeps the snapshot: the connection that it was taken on.
    _holder: Session,
}

impl Snapshot {
    /// Starts the readers.
    pub fn start(
        target: &Target,
        threads: usize,
        tables: Vec<SnapshotTable>,
        progress: &mut SnapshotProgress,
        point: SnapshotPoint,
        holder: Session,
    ) -> Snapshot {
        let (queue, chunks_left) = chunks(&tables, progress);
        let blocks_left =
            queue.iter().map(|chunk| tables[chunk.table].blocks_of(chunk.from, chunk.to)).sum();
        let queue = Arc::new(Mutex::new(queue));
        let (sender, batches) = mpsc::channel(threads * BATCHES_WAITING);
        let mut readers = JoinSet::new();
        for _ in 0..threads {
            let (target, queue, sender) = (target.clone(), queue.clone(), sender.clone());
            let snapshot = point.name.clone();
            readers.spawn(async move {
                if let Err(error) = read_chunks(&target, &snapshot, &queue, &sender).await {
                    // Nobody listens any more: the snapshot was given up.
                    let _ = sender.send(Err(error)).await;
                }
            });
        }
        let told = |table: &SnapshotTable| progress.rows.get(&table.table.info.id).copied();
        Snapshot {
            rows: tables.iter().map(|table| told(table).unwrap_or(0)).collect(),
            steps: Vec::new(),
            chunks_left,
            table_begun: vec![false; tables.len()],
            tables,
            point,
            batches,
            _readers: readers,
            next: None,
            held: None,
            done_after_held: Vec::new(),
            any_row: false,
            in_order: threads == 1,
            blocks_left,
            _holder: holder,
        }
    }

    /// Takes what the readers have, if anything, as records. `None`: there is nothing at hand.
    /// `false`: that was all.
    pub fn take(
        &mut self,
        schemas: &EventSchemas,
        progress: &mut SnapshotProgress,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<Option<bool>, SourceError> {
        let batch = match self.next.take() {
            Some(batch) => batch?,
            None => match self.batches.try_recv() {
                Ok(batch) => batch?,
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.release(None, schemas, progress, now_us, events)?;
                    return match self.chunks_left.iter().all(|left| *left == 0) {
                        true => Ok(Some(false)),
                        false => Err(SourceError::ReaderEnded),
                    };
                }
            },
        };
        let table = batch.table;
        for row in batch.rows {
            self.release(Some(table), schemas, progress, now_us, events)?;
            self.held = Some((table, Row(row)));
        }
        if let Some(Span { from, last_row, to }) = batch.span {
            self.blocks_left =
                self.blocks_left.saturating_sub(self.tables[table].blocks_of(from, to));
            // All but the row that is held back is out.
            self.note(Done::Span(table, from, last_row), progress);
            self.done_after_held.push(Done::Span(table, last_row, to));
        }
        if batch.end_of_chunk {
            if !self.tables[table].by_place {
                let blocks = u64::from(self.tables[table].blocks);
                self.blocks_left = self.blocks_left.saturating_sub(blocks);
            }
            self.done_after_held.push(Done::Chunk(table));
        }
        if self.held.is_none() {
            self.note_done(progress);
        }
        Ok(Some(true))
    }

    /// Waits until there is more to take. Dropped and called again at any time.
    pub async fn wait(&mut self) {
        if self.next.is_none() {
            self.next = self.batches.recv().await;
        }
    }

    /// What it has come to since this was asked last.
    pub fn steps(&mut self) -> impl Iterator<Item = TableStep> {
        std::mem::take(&mut self.steps).into_iter()
    }

    /// Its tables, as `schema.table`.
    pub fn table_names(&self) -> Vec<String> {
        self.tables.iter().map(|table| table.table.info.full_name()).collect()
    }

    /// Bytes of tables not read yet, roughly.
    pub fn remaining_bytes(&self) -> u64 {
        self.blocks_left * BLOCK_BYTES
    }

    /// Lets go of the row that is held back, now that it is known what follows.
    fn release(
        &mut self,
        next_table: Option<usize>,
        schemas: &EventSchemas,
        progress: &mut SnapshotProgress,
        now_us: i64,
        events: &mut Events<'_>,
    ) -> Result<(), SourceError> {
        if let Some((index, row)) = self.held.take() {
            let first_of_table = !std::mem::replace(&mut self.table_begun[index], true);
            if first_of_table {
                self.steps.push(TableStep::Begun(index));
            }
            self.rows[index] += 1;
            let marker = match next_table {
                None => SnapshotMarker::Last,
                _ if !self.any_row => SnapshotMarker::First,
                Some(next) if self.in_order && next != index => SnapshotMarker::LastInTable,
                _ if first_of_table => SnapshotMarker::FirstInTable,
                _ => SnapshotMarker::Within,
            };
            self.any_row = true;
            let table = &self.tables[index].table;
            let origin = Origin {
                time_us: self.point.time_us,
                marker,
                lsn: self.point.lsn,
                previous_end: self.point.previous_end,
                xid: self.point.xid,
                replicated_from: None,
            };
            let (operation, origin) = (Operation::Read, &origin);
            let rows = Rows { before: None, after: Some((&row, None)) };
            if !events.write(&Around { table, operation, origin, now_us }, rows, || None) {
                let (before, after) = (Value::Null, table.row(&row, None, Image::Whole)?);
                let key = table.key(&after);
                let record =
                    schemas.change(table, operation, key, before, after, origin, None, now_us);
                events.records.push(record);
            }
        }
        self.note_done(progress);
        Ok(())
    }

    fn note_done(&mut self, progress: &mut SnapshotProgress) {
        for done in std::mem::take(&mut self.done_after_held) {
            self.note(done, progress);
        }
    }

    fn note(&mut self, done: Done, progress: &mut SnapshotProgress) {
        match done {
            Done::Span(table, from, to) => {
                let id = self.tables[table].table.info.id;
                let spans = progress.tables.entry(id).or_insert(Some(Spans::default()));
                if let Some(spans) = spans {
                    spans.add(from, to);
                }
                progress.rows.insert(id, self.rows[table]);
            }
            Done::Chunk(table) => {
                self.chunks_left[table] -= 1;
                if self.chunks_left[table] == 0 {
                    progress.tables.insert(self.tables[table].table.info.id, None);
                    // A table without rows begins where it ends.
                    if !std::mem::replace(&mut self.table_begun[table], true) {
                        self.steps.push(TableStep::Begun(table));
                    }
                    self.steps.push(TableStep::Done(table, self.rows[table]));
                }
            }
        }
    }
}

/// What is left to read, and how many chunks that is for each table.
fn chunks(
    tables: &[SnapshotTable],
    progress: &mut SnapshotProgress,
) -> (VecDeque<Chunk>, Vec<usize>) {
    let mut queue = VecDeque::new();
    let mut counts = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let before = queue.len();
        let id = table.table.info.id;
        match progress.tables.get(&id) {
            Some(None) => {}
            Some(Some(spans)) if table.by_place => {
                table.add_chunks(index, spans, &mut queue);
            }
            _ if table.by_place => table.add_chunks(index, &Spans::default(), &mut queue),
            _ => queue.push_back(table.chunk(index, RowPlace::default(), END)),
        }
        counts.push(queue.len() - before);
        if queue.len() == before {
            progress.tables.insert(id, None);
        }
    }
    (queue, counts)
}

impl SnapshotTable {
    /// Blocks from one place to another, of those that it had when it was looked at.
    fn blocks_of(&self, from: RowPlace, to: RowPlace) -> u64 {
        let end = if to == END { u64::from(self.blocks) } else { to.0 >> 16 };
        end.saturating_sub(from.0 >> 16)
    }

    fn add_chunks(&self, index: usize, done: &Spans, queue: &mut VecDeque<Chunk>) {
        let mut block = 0;
        loop {
            let next = block + CHUNK_BLOCKS;
            let last = next >= self.blocks;
            let to = if last { END } else { RowPlace::new(next, 0) };
            for (from, to) in done.missing(RowPlace::new(block, 0), to) {
                queue.push_back(self.chunk(index, from, to));
            }
            if last {
                return;
            }
            block = next;
        }
    }

    /// Where a row is, and its columns.
    pub fn columns_sql(&self) -> String {
        let place = if self.by_place { "ctid" } else { "null" };
        let columns = self.table.column_names().map(quote_identifier);
        std::iter::once(place.to_owned()).chain(columns).collect::<Vec<_>>().join(", ")
    }

    fn chunk(&self, table: usize, from: RowPlace, to: RowPlace) -> Chunk {
        let columns_sql = self.columns_sql();
        let only = if self.table.info.partitioned { "" } else { "only " };
        let mut conditions = Vec::new();
        let name = match self.filter.as_deref().map(str::trim) {
            Some(select) if is_select(select) => format!("({select}\n) as selected"),
            Some(condition) => {
                // What stands behind it must not be lost to a comment at its end.
                conditions.push(format!("({condition}\n)"));
                format!("{only}{}", self.table.info.quoted())
            }
            None => format!("{only}{}", self.table.info.quoted()),
        };
        if self.by_place && from > RowPlace::default() {
            conditions.push(format!("ctid >= {}", from.literal()));
        }
        if self.by_place && to < END {
            conditions.push(format!("ctid < {}", to.literal()));
        }
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" where {}", conditions.join(" and ")),
        };
        let sql = format!("copy (select {columns_sql} from {name}{filter}) to stdout");
        Chunk { table, from, to, sql, by_place: self.by_place }
    }
}

/// Whether a filter says the whole of what is wanted, and not only which rows.
pub fn is_select(filter: &str) -> bool {
    let word = filter.split_whitespace().next().unwrap_or_default();
    word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with")
}

/// A reader: takes chunk after chunk until there are none.
async fn read_chunks(
    target: &Target,
    snapshot: &str,
    queue: &Mutex<VecDeque<Chunk>>,
    sender: &mpsc::Sender<Result<Batch, SourceError>>,
) -> Result<(), SourceError> {
    let mut session: Option<Session> = None;
    loop {
        let chunk = queue.lock().expect("no reader panics while it holds it").pop_front();
        let Some(chunk) = chunk else { break };
        let session = match &mut session {
            Some(session) => session,
            none => none.insert(connect(target, snapshot).await?),
        };
        if !read_chunk(session, &chunk, sender).await? {
            return Ok(());
        }
    }
    if let Some(session) = session {
        session.close().await;
    }
    Ok(())
}

async fn connect(target: &Target, snapshot: &str) -> Result<Session, PgError> {
    let mut session = Session::connect(target, Purpose::Queries).await?;
    let literal = super::catalog::quote_literal(snapshot);
    let sql = format!(
        "begin isolation level repeatable read read only; set transaction snapshot {literal}"
    );
    session.query(&sql).await?;
    Ok(session)
}

/// `false`: nobody wants more.
async fn read_chunk(
    session: &mut Session,
    chunk: &Chunk,
    sender: &mpsc::Sender<Result<Batch, SourceError>>,
) -> Result<bool, SourceError> {
    session.copy_out(&chunk.sql).await?;
    let mut from = chunk.from;
    let mut last = chunk.from;
    let mut rows = Vec::new();
    let mut bytes = 0;
    while let Some(line) = session.copied().await? {
        bytes += line.len();
        let mut fields = fields(&line);
        let bad = || SourceError::Copy { table: chunk.sql.clone() };
        let place = (!fields.is_empty()).then(|| fields.remove(0)).ok_or_else(bad)?;
        if let (true, Field::Text(place)) = (chunk.by_place, place) {
            last = RowPlace::parse(&place).ok_or_else(bad)?;
        }
        rows.push(fields);
        if bytes >= BATCH_BYTES || rows.len() >= BATCH_ROWS {
            let behind = RowPlace(last.0 + 1);
            let span = Span { from, last_row: last, to: behind };
            let span = chunk.by_place.then_some(span);
            let rows = std::mem::take(&mut rows);
            let batch = Batch { table: chunk.table, rows, span, end_of_chunk: false };
            if sender.send(Ok(batch)).await.is_err() {
                return Ok(false);
            }
            from = behind;
            bytes = 0;
        }
    }
    let last_row = if rows.is_empty() { from } else { last };
    let span = chunk.by_place.then_some(Span { from, last_row, to: chunk.to });
    let batch = Batch { table: chunk.table, rows, span, end_of_chunk: true };
    Ok(sender.send(Ok(batch)).await.is_ok())
}

/// The fields of a line of COPY's text form: tabs between them, `\N` for null, and backslashes
/// before what would be mistaken.
pub fn fields(line: &Bytes) -> Vec<Field> {
    let end = line.len() - usize::from(line.last() == Some(&b'\n'));
    let line = line.slice(..end);
    let mut fields = Vec::new();
    let mut start = 0;
    for at in memchr::memchr_iter(b'\t', &line).chain(std::iter::once(line.len())) {
        let field = line.slice(start..at);
        fields.push(match &field[..] {
            b"\\N" => Field::Null,
            bytes if memchr::memchr(b'\\', bytes).is_none() => Field::Text(field),
            bytes => Field::Text(unescaped(bytes)),
        });
        start = at + 1;
    }
    fields
}

fn unescaped(text: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let byte = match (byte, byte == &b'\\') {
            (_, true) => match bytes.next() {
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'v') => 11,
                Some(b'f') => 12,
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => b'\\',
            },
            (byte, false) => *byte,
        };
        out.extend_from_slice(&[byte]);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_a_copy_are_taken_apart() {
        let text = |text: &'static str| Field::Text(Bytes::from_static(text.as_bytes()));
        let read = |line: &'static str| fields(&Bytes::from_static(line.as_bytes()));
        assert_eq!(read("(0,1)\t1\t\\N\t\n"), [text("(0,1)"), text("1"), Field::Null, text("")]);
        assert_eq!(read("a\\tb\\\\N\\nc\\r\t\\\\x00\n"), [text("a\tb\\N\nc\r"), text("\\x00")]);
        assert_eq!(read("\\\\N"), [text("\\N")]);
    }

    #[test]
    fn a_filter_is_a_condition_or_a_select() {
        assert!(is_select("SELECT * FROM public.t WHERE a = 0 ORDER BY b"));
        assert!(is_select("with x as (select 1) select * from x"));
        assert!(!is_select("id > 3") && !is_select("selected = true") && !is_select("é"));
        assert!(!is_select("(select count(*) from u) > 3"));
    }

    proptest! {
        #[test]
        fn no_line_does_harm(line: Vec<u8>) {
            let _ = fields(&line.into());
        }
    }
}
