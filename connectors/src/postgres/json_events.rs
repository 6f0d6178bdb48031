//! Events written as JSON straight from the rows: most connectors have JSON converters and no
//! transforms, and need no tree of values for that.
//!
//! ```text
//!  { "before":…, "after":…, "source":{ … "sequence":"[\"41\",\" 42 \"]" … "lsn": 42 … },
//!                           └──── as before ─────────────┘    └─ as before ──┘    └── as before
//!    "transaction":…, "op":"u", "ts_ms":…, "ts_us":…, "ts_ns":… }
//! ```
//!
//! Invariant: it is byte for byte what converters make of the same [`EventSchemas::change`]; what
//! cannot be written so is left to them.

use super::events::{EventSchemas, InTransaction, LSN, Operation, Origin, SEQUENCE};
use super::pgoutput::Row;
use super::table::{Image, Table, WriteError};
use crate::chain::{JsonConverters, WrittenRecord};
use crate::convert::json::JsonConverter;
use crate::convert::json::write::{Writer, integer, write_string};
use crate::data::{ConnectRecord, DataError, Text};
use crate::records::SourceRecords;

/// Where events go.
pub struct Events<'a> {
    pub records: &'a mut Vec<ConnectRecord>,
    /// The short way, for those that need no values.
    pub json: Option<Json<'a>>,
}

pub struct Json<'a> {
    pub events: &'a mut JsonEvents,
    pub out: &'a mut SourceRecords,
}

impl Events<'_> {
    /// Writes an event as JSON, where that may be. `false`: nothing was written. What is wrong
    /// with a row, the long way tells.
    pub(crate) fn write(
        &mut self,
        around: &Around<'_>,
        rows: Rows<'_>,
        place: impl FnOnce() -> Option<InTransaction>,
    ) -> bool {
        // None may overtake those that go the long way.
        let Some(Json { events, out }) = self.json.as_mut().filter(|_| self.records.is_empty())
        else {
            return false;
        };
        let written = out.append_json(&around.table.topic, |converters, out| {
            events.change(around, rows, place, converters, out)
        });
        matches!(written, Some(Ok(())))
    }

    /// Writes what follows a deletion that was just written, if the table has keys.
    pub(crate) fn write_tombstone(&mut self, table: &Table, rows: Rows<'_>) {
        let Some(Json { events, out }) = &mut self.json else { return };
        if table.key_schema().is_some() {
            // The same key was written before.
            let _ = out
                .append_json(&table.topic, |(key, _), out| events.tombstone(table, rows, key, out));
        }
    }
}

/// The rows of a change, as they came.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    pub before: Option<(&'a Row, Image)>,
    /// With the old row that large values are taken from.
    pub after: Option<(&'a Row, Option<&'a Row>)>,
}

/// All of an event but its rows.
pub struct Around<'a> {
    pub table: &'a Table,
    pub operation: Operation,
    pub origin: &'a Origin,
    pub now_us: i64,
}

/// Writes events; keeps what most of them share with the one before.
#[derive(Debug)]
pub struct JsonEvents {
    schemas: EventSchemas,
    source: Option<Source>,
    times: (i64, Vec<u8>),
}

/// `source`, save for the place in the log.
#[derive(Debug)]
struct Source {
    origin: Origin,
    schema: Text,
    table: Text,
    /// Up to the place within `sequence`, from there to `lsn`, and the rest.
    pieces: [Vec<u8>; 3],
}

impl JsonEvents {
    pub fn new(schemas: EventSchemas) -> JsonEvents {
        JsonEvents { schemas, source: None, times: (i64::MIN, Vec::new()) }
    }

    /// Writes key and value of a change. `place` is asked once nothing can fail any more.
    pub(crate) fn change(
        &mut self,
        around: &Around<'_>,
        rows: Rows<'_>,
        place: impl FnOnce() -> Option<InTransaction>,
        converters: JsonConverters<'_>,
        out: &mut WrittenRecord,
    ) -> Result<(), WriteError> {
        let (key, value) = out.begin();
        let has_key = self.key(around.table, rows, converters.0, key)?;
        let envelope = Some(&around.table.envelope_schema);
        converters.1.write_parts(envelope, value, |writer, out| {
            out.extend_from_slice(b"{\"before\":");
            match rows.before {
                Some((row, image)) => around.table.write_row(row, None, image, writer, out)?,
                None => out.extend_from_slice(b"null"),
            }
            out.extend_from_slice(b",\"after\":");
            match rows.after {
                Some((row, old)) => around.table.write_row(row, old, Image::Whole, writer, out)?,
                None => out.extend_from_slice(b"null"),
            }
            Ok::<(), WriteError>(self.rest(around, place, writer, out)?)
        })?;
        out.end(has_key, true);
        Ok(())
    }

    /// Writes the record that follows a deletion: its key, and no value.
    pub(crate) fn tombstone(
        &self,
        table: &Table,
        rows: Rows<'_>,
        converter: &mut JsonConverter,
        out: &mut WrittenRecord,
    ) -> Result<(), WriteError> {
        let has_key = self.key(table, rows, converter, out.begin().0)?;
        out.end(has_key, false);
        Ok(())
    }

    fn key(
        &self,
        table: &Table,
        rows: Rows<'_>,
        converter: &mut JsonConverter,
        out: &mut Vec<u8>,
    ) -> Result<bool, WriteError> {
        let row = rows.after.map(|(row, old)| (row, old, Image::Whole));
        let row = row.or(rows.before.map(|(row, image)| (row, None, image)));
        let (Some(schema), Some((row, old, image))) = (table.key_schema(), row) else {
            return Ok(false);
        };
        converter.write_parts(Some(schema), out, |writer, out| {
            table.write_key(row, old, image, writer, out)
        })?;
        Ok(true)
    }

    /// What follows the rows.
    fn rest(
        &mut self,
        around: &Around<'_>,
        place: impl FnOnce() -> Option<InTransaction>,
        writer: &Writer,
        out: &mut Vec<u8>,
    ) -> Result<(), DataError> {
        let Around { table, operation, origin, now_us } = around;
        let kept = self.source.take().filter(|source| source.is_of(origin, table));
        let source = match kept {
            Some(source) => source,
            None => Source::new(&self.schemas, origin, table, writer)?,
        };
        out.extend_from_slice(b",\"source\":{");
        for (nth, piece) in source.pieces.iter().enumerate() {
            match nth {
                0 => {}
                1 => integer(origin.lsn.0, out),
                _ => integer(origin.lsn.as_i64(), out),
            }
            out.extend_from_slice(piece);
        }
        self.source = Some(source);
        out.extend_from_slice(b",\"transaction\":");
        match place() {
            Some(InTransaction { id, total_order, table_order }) => {
                out.extend_from_slice(b"{\"id\":");
                write_string(&id, out);
                out.extend_from_slice(b",\"total_order\":");
                integer(total_order, out);
                out.extend_from_slice(b",\"data_collection_order\":");
                integer(table_order, out);
                out.push(b'}');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"op\":\"");
        out.push(operation.code() as u8);
        if self.times.0 != *now_us {
            self.times = (*now_us, times(*now_us));
        }
        out.extend_from_slice(&self.times.1);
        Ok(())
    }
}

impl Source {
    /// Writes it as converters do, and cuts it where the place in the log stands.
    fn new(
        schemas: &EventSchemas,
        origin: &Origin,
        table: &Table,
        writer: &Writer,
    ) -> Result<Source, DataError> {
        let value = schemas.source_struct(origin, &table.schema_name, &table.table_name);
        let mut pieces = [Vec::new(), Vec::new(), Vec::new()];
        let mut piece = 0;
        for (nth, (field, value)) in value.schema().fields().iter().zip(value.values()).enumerate()
        {
            if nth > 0 {
                pieces[piece].push(b',');
            }
            write_string(&field.name, &mut pieces[piece]);
            pieces[piece].push(b':');
            match &*field.name {
                LSN => piece += 1,
                SEQUENCE => {
                    const END: &[u8] = b"\\\"]\"";
                    writer.value(Some(&field.schema), value, &mut pieces[piece])?;
                    let digits = itoa::Buffer::new().format(origin.lsn.0).len();
                    let kept = pieces[piece].len() - END.len() - digits;
                    pieces[piece].truncate(kept);
                    piece += 1;
                    pieces[piece].extend_from_slice(END);
                }
                _ => writer.value(Some(&field.schema), value, &mut pieces[piece])?,
            }
        }
        pieces[piece].push(b'}');
        let (schema, name) = (table.schema_name.clone(), table.table_name.clone());
        Ok(Source { origin: origin.clone(), schema, table: name, pieces })
    }

    /// Whether the place in the log is all that differs.
    fn is_of(&self, origin: &Origin, table: &Table) -> bool {
        let known = &self.origin;
        known.time_us == origin.time_us
            && known.xid == origin.xid
            && known.previous_end == origin.previous_end
            && known.marker == origin.marker
            && known.replicated_from == origin.replicated_from
            && self.table == table.table_name
            && self.schema == table.schema_name
    }
}

/// What follows the operation.
fn times(now_us: i64) -> Vec<u8> {
    let mut out = b"\"".to_vec();
    let (ms, ns) = (now_us.div_euclid(1_000), now_us.saturating_mul(1_000));
    for (name, time) in [("ts_ms", ms), ("ts_us", now_us), ("ts_ns", ns)] {
        out.push(b',');
        write_string(name, &mut out);
        out.push(b':');
        integer(time, &mut out);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests;
