//! What the output plugin `pgoutput` sends, protocol version 1.
//!
//! ```text
//!  ┌──────┬──────────────────────────────────────────────────────────────────────┐
//!  │ 'B'  │ LSN of the commit (u64), its time (i64 µs since 2000), xid (u32)      │
//!  │ 'C'  │ flags (u8), LSN of the commit (u64), end of it (u64), time (i64)     │
//!  │ 'O'  │ LSN at the origin (u64), its name (text)                             │
//!  │ 'R'  │ relation (u32), namespace (text), name (text), identity (u8), columns│
//!  │ 'Y'  │ type (u32), namespace (text), name (text)                            │
//!  │ 'I'  │ relation (u32), 'N' row                                              │
//!  │ 'U'  │ relation (u32), ['K' or 'O' old row,] 'N' row                        │
//!  │ 'D'  │ relation (u32), 'K' or 'O' old row                                   │
//!  │ 'T'  │ number (u32), options (u8), relations (u32 each)                     │
//!  │ 'M'  │ flags (u8), LSN (u64), prefix (text), length (u32), content          │
//!  └──────┴──────────────────────────────────────────────────────────────────────┘
//!  row:    number (u16), then each column: 'n' null, 'u' unchanged TOAST,
//!          't' text or 'b' binary with length (u32) and bytes
//!  column: flags (u8, 1: part of the identity), name (text), type (u32), modifier (i32)
//! ```
//!
//! Decoding is pure and copies no value: a row's fields are slices of the message.

use bytes::Bytes;
use thiserror::Error;

use super::lsn::Lsn;
use super::wire::frame::{Body, Malformed};
use super::wire::session::EPOCH_2000_US;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Begin(Begin),
    Commit(Commit),
    Origin { lsn: Lsn, name: String },
    Relation(Relation),
    Type { id: u32, namespace: String, name: String },
    Insert { relation: u32, new: Row },
    Update { relation: u32, old: Option<OldRow>, new: Row },
    Delete { relation: u32, old: OldRow },
    Truncate { relations: Vec<u32>, cascade: bool, restart_identity: bool },
    Logical(LogicalMessage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Where the transaction's commit is in the log.
    pub commit_lsn: Lsn,
    /// Since 1970.
    pub commit_time_us: i64,
    pub xid: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    pub commit_lsn: Lsn,
    /// Behind the commit: where to go on from.
    pub end_lsn: Lsn,
    /// Since 1970.
    pub commit_time_us: i64,
}

/// A table as it is from here on in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub id: u32,
    pub namespace: String,
    pub name: String,
    pub identity: ReplicaIdentity,
    pub columns: Vec<RelationColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    pub type_id: u32,
    pub type_modifier: i32,
    /// Whether an old row has it.
    pub identity: bool,
}

/// What of an old row is in the log (`ALTER TABLE … REPLICA IDENTITY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    Nothing,
    Full,
    /// The columns of an index.
    Index,
}

/// The columns of a row, in the relation's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(pub Vec<Field>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Null,
    /// A large value that is stored aside and was not changed: it is not in the log.
    Unchanged,
    Text(Bytes),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldRow {
    pub row: Row,
    /// Only the columns of the identity are there, the others are null.
    pub key_only: bool,
}

/// What `pg_logical_emit_message` wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalMessage {
    pub transactional: bool,
    pub lsn: Lsn,
    pub prefix: String,
    pub content: Bytes,
}

/// A message that cannot be read: another version, or a fault of ours.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("a message of kind {0:?}, which version 1 of pgoutput does not have")]
    UnknownKind(char),
    #[error("{0}")]
    Malformed(#[from] Malformed),
}

/// Reads one message.
pub fn decode(message: Bytes) -> Result<Message, DecodeError> {
    let mut body = Body(message);
    let kind = body.u8("kind")?;
    Ok(match kind {
        b'B' => Message::Begin(Begin {
            commit_lsn: Lsn(body.u64("commit")?),
            commit_time_us: time(&mut body)?,
            xid: body.u32("transaction id")?,
        }),
        b'C' => {
            body.u8("flags")?;
            Message::Commit(Commit {
                commit_lsn: Lsn(body.u64("commit")?),
                end_lsn: Lsn(body.u64("end of commit")?),
                commit_time_us: time(&mut body)?,
            })
        }
        b'O' => {
            let lsn = Lsn(body.u64("origin")?);
            Message::Origin { lsn, name: body.text("origin's name")? }
        }
        b'R' => Message::Relation(relation(&mut body)?),
        b'Y' => Message::Type {
            id: body.u32("type")?,
            namespace: body.text("type's namespace")?,
            name: body.text("type's name")?,
        },
        b'I' => {
            let relation = body.u32("relation")?;
            expect(&mut body, b'N')?;
            Message::Insert { relation, new: row(&mut body)? }
        }
        b'U' => update(&mut body)?,
        b'D' => {
            let relation = body.u32("relation")?;
            let kind = body.u8("old row")?;
            Message::Delete { relation, old: old_row(&mut body, kind)? }
        }
        b'T' => truncate(&mut body)?,
        b'M' => Message::Logical(logical(&mut body)?),
        other => return Err(DecodeError::UnknownKind(char::from(other))),
    })
}

/// Since 1970, in µs.
fn time(body: &mut Body) -> Result<i64, Malformed> {
    Ok(body.i64("time")?.saturating_add(EPOCH_2000_US))
}

fn expect(body: &mut Body, kind: u8) -> Result<(), Malformed> {
    if body.u8("row")? == kind { Ok(()) } else { Err(Malformed("kind of row")) }
}

fn relation(body: &mut Body) -> Result<Relation, Malformed> {
    let id = body.u32("relation")?;
    let namespace = body.text("relation's namespace")?;
    let name = body.text("relation's name")?;
    let identity = match body.u8("replica identity")? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        _ => return Err(Malformed("replica identity")),
    };
    let count = body.u16("number of columns")?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let identity = body.u8("column")? & 1 == 1;
        let name = body.text("column's name")?;
        let type_id = body.u32("column's type")?;
        let type_modifier = body.i32("column's type")?;
        columns.push(RelationColumn { name, type_id, type_modifier, identity });
    }
    // The server leaves the namespace empty for its own catalog.
    let namespace = if namespace.is_empty() { "pg_catalog".to_owned() } else { namespace };
    Ok(Relation { id, namespace, name, identity, columns })
}

fn update(body: &mut Body) -> Result<Message, Malformed> {
    let relation = body.u32("relation")?;
    let old = match body.u8("row")? {
        b'N' => None,
        kind => {
            let old = old_row(body, kind)?;
            expect(body, b'N')?;
            Some(old)
        }
    };
    Ok(Message::Update { relation, old, new: row(body)? })
}

fn old_row(body: &mut Body, kind: u8) -> Result<OldRow, Malformed> {
    let key_only = match kind {
        b'K' => true,
        b'O' => false,
        _ => return Err(Malformed("kind of old row")),
    };
    Ok(OldRow { row: row(body)?, key_only })
}

fn row(body: &mut Body) -> Result<Row, Malformed> {
    let count = body.u16("number of fields")?;
    // Each takes at least a byte: what is reserved was sent.
    let mut fields = Vec::with_capacity(usize::from(count).min(body.0.len()));
    for _ in 0..count {
        fields.push(match body.u8("field")? {
            b'n' => Field::Null,
            b'u' => Field::Unchanged,
            b't' => {
                let length = body.u32("length of a field")? as usize;
                Field::Text(body.bytes(length, "field")?)
            }
            _ => return Err(Malformed("kind of field")),
        });
    }
    Ok(Row(fields))
}

fn truncate(body: &mut Body) -> Result<Message, Malformed> {
    let count = body.u32("number of relations")?;
    let options = body.u8("options")?;
    let mut relations = Vec::new();
    for _ in 0..count {
        relations.push(body.u32("relation")?);
    }
    let (cascade, restart_identity) = (options & 1 != 0, options & 2 != 0);
    Ok(Message::Truncate { relations, cascade, restart_identity })
}

fn logical(body: &mut Body) -> Result<LogicalMessage, Malformed> {
    let transactional = body.u8("flags")? & 1 != 0;
    let lsn = Lsn(body.u64("position")?);
    let prefix = body.text("prefix")?;
    let length = body.u32("length of content")? as usize;
    Ok(LogicalMessage { transactional, lsn, prefix, content: body.bytes(length, "content")? })
}

#[cfg(test)]
pub mod tests;
