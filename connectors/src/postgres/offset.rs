//! What is stored of how far the connector is.
//!
//! ```text
//!  partition  {"server": "prefix"}
//!  offset     {"lsn": 29347280, "lsn_commit": …, "txId": …, "ts_usec": …,       as Debezium's
//!              "system": "7…", "timeline": 1, "slot": "inventory",              whose log that is
//!              "transaction": {"commit": …, "messages": 7},                     done in part
//!              "snapshot": "initial", "tables": {"16386": [[0, 4711]]},         while it lasts
//!              "rows": {"16386": 52},
//!              "incremental": {…}, "signals": 7}     asked for, and how far the topic of that is
//! ```
//!
//! Of a table under way in a snapshot, spans of rows by their place in the table's file (`ctid`)
//! are stored as done.

use std::collections::BTreeMap;

use broker::ids::Offset;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::changes::Position;
use super::incremental::progress::Progress;
use super::incremental::signal::{Request, Signal};
use super::lsn::Lsn;
use super::notifications::{About, Notifier};
use crate::config::ConnectorConfig;
use crate::offsets::{SourceOffset, SourcePartition};

/// Which log positions belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub system: String,
    pub timeline: u32,
    pub slot: String,
}

/// How far a snapshot is; nothing once it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// By a table's number: spans of rows that are done, and `None` where all are.
    pub tables: BTreeMap<u32, Option<Spans>>,
    /// How many rows of them were told.
    pub rows: BTreeMap<u32, u64>,
}

impl SnapshotProgress {
    pub fn to_json(&self) -> Map<String, Value> {
        let of_table = |(id, spans): (&u32, &Option<Spans>)| {
            let spans = spans.as_ref().map(|spans| {
                let pairs = spans.0.iter().map(|(from, to)| json!([from.0, to.0]));
                pairs.collect::<Vec<_>>()
            });
            (id.to_string(), json!(spans))
        };
        let tables: Map<String, Value> = self.tables.iter().map(of_table).collect();
        let rows = self.rows.iter().map(|(id, rows)| (id.to_string(), json!(rows)));
        let rows: Map<String, Value> = rows.collect();
        Map::from_iter([("tables".into(), tables.into()), ("rows".into(), rows.into())])
    }

    pub fn from_json(object: &Value) -> SnapshotProgress {
        let mut progress = SnapshotProgress::default();
        let by_id = |name: &str| {
            let of_tables = object.get(name).and_then(Value::as_object).into_iter().flatten();
            of_tables.filter_map(|(id, value)| Some((id.parse::<u32>().ok()?, value)))
        };
        progress.rows = by_id("rows").filter_map(|(id, rows)| Some((id, rows.as_u64()?))).collect();
        for (id, spans) in by_id("tables") {
            let Some(pairs) = spans.as_array() else {
                progress.tables.insert(id, None);
                continue;
            };
            let mut read = Spans::default();
            for pair in pairs {
                let place = |index: usize| pair.get(index).and_then(Value::as_u64).map(RowPlace);
                if let (Some(from), Some(to)) = (place(0), place(1)) {
                    read.add(from, to);
                }
            }
            progress.tables.insert(id, Some(read));
        }
        progress
    }
}

/// A row's place: block and number within.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowPlace(pub u64);

impl RowPlace {
    pub const fn new(block: u32, number: u16) -> RowPlace {
        RowPlace((block as u64) << 16 | number as u64)
    }

    /// Reads `(block,number)`.
    pub fn parse(text: &[u8]) -> Option<RowPlace> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix('(')?.strip_suffix(')')?;
        let (block, number) = text.split_once(',')?;
        Some(RowPlace::new(block.parse().ok()?, number.parse().ok()?))
    }

    /// As SQL has it.
    pub fn literal(self) -> String {
        format!("'({},{})'::tid", self.0 >> 16, self.0 & 0xffff)
    }
}

/// Spans of places, from the first to behind the last, apart from one another and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(RowPlace, RowPlace)>);

impl Spans {
    pub fn add(&mut self, from: RowPlace, to: RowPlace) {
        if from >= to {
            return;
        }
        let mut joined = (from, to);
        self.0.retain(|(start, end)| {
            let apart = *end < joined.0 || joined.1 < *start;
            if !apart {
                joined = (joined.0.min(*start), joined.1.max(*end));
            }
            apart
        });
        let at = self.0.partition_point(|span| *span < joined);
        self.0.insert(at, joined);
    }

    /// What of a span is not in any of these.
    pub fn missing(&self, from: RowPlace, to: RowPlace) -> Vec<(RowPlace, RowPlace)> {
        let mut missing = Vec::new();
        let mut at = from;
        for (start, end) in &self.0 {
            if *start > at && at < to {
                missing.push((at, (*start).min(to)));
            }
            at = at.max(*end);
        }
        if at < to {
            missing.push((at, to));
        }
        missing
    }
}

/// What was stored, understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredPosition {
    pub identity: Identity,
    pub position: Position,
    pub snapshot: Option<SnapshotProgress>,
    /// Tables that are to be read again.
    pub incremental: Option<Progress>,
    /// Where to go on in the topic of signals.
    pub signals: Option<Offset>,
}

fn kind_of(blocking: bool) -> &'static str {
    if blocking { "blocking" } else { "incremental" }
}

pub fn partition(prefix: &str) -> SourcePartition {
    SourcePartition::new(&[("server", prefix)])
}

/// Whether the source can go on from that.
pub fn check(config: &ConnectorConfig, at: &Value, offset: &Value) -> Result<(), String> {
    let own = partition(config.text("topic.prefix")).to_json();
    if *at != own {
        return Err(format!("partition {at} is none of this connector's, which is {own}"));
    }
    let keys = ["lsn", "lsn_proc", "lsn_commit"];
    let said: Vec<&str> = keys.into_iter().filter(|key| offset.get(key).is_some()).collect();
    // Before the server was reached, it has what was asked for alone.
    let asks = offset.get("signals").is_some();
    if said.is_empty() && snapshot(offset).is_none() && !asks {
        return Err(format!(
            "offset {offset} says neither by `lsn_commit`, `lsn_proc` or `lsn` where in the log to \
             go on, nor by `snapshot` that tables are still to be read"
        ));
    }
    match said.into_iter().find(|key| offset[*key].as_u64().is_none()) {
        Some(key) => Err(format!("`{key}` is {}: it is a whole number, at least 0", offset[key])),
        None => Ok(()),
    }
}

impl StoredPosition {
    /// Takes in what is asked for.
    pub fn take_signal(&mut self, signal: Signal, connector: &str, notes: &mut Notifier) {
        match &signal {
            Signal::Log(message) => info!("connector '{connector}': {message} (asked for)"),
            Signal::Execute(Request { id, tables, blocking, .. }) => {
                let (tables, kind) = (tables.join(", "), kind_of(*blocking));
                info!("connector '{connector}': signal '{id}': {kind} snapshot of {tables}");
            }
            Signal::Stop(tables) if tables.is_empty() => {
                info!("connector '{connector}': incremental snapshots are stopped");
            }
            Signal::Stop(tables) => {
                let tables = tables.join(", ");
                info!("connector '{connector}': incremental snapshot of {tables} is stopped");
            }
            Signal::Pause => info!("connector '{connector}': incremental snapshots are paused"),
            Signal::Resume => info!("connector '{connector}': incremental snapshots go on"),
        }
        let full = matches!(signal, Signal::Execute(_));
        let kind = match &signal {
            Signal::Pause => Some("PAUSED"),
            Signal::Resume => Some("RESUMED"),
            Signal::Stop(_) => Some("ABORTED"),
            _ => None,
        };
        let mut progress = self.incremental.take().unwrap_or_default();
        let before = progress.incremental();
        let applied = progress.apply(signal);
        if !applied && full {
            warn!("connector '{connector}': too much is asked for already; this is left out");
        }
        if let (Some(kind), true) = (kind, applied) {
            let after = progress.incremental();
            let first = before.iter().take(if kind == "ABORTED" { usize::MAX } else { 1 });
            for (id, tables) in first {
                let left = after.iter().find(|(of, _)| of == id).map(|(_, tables)| tables);
                let mut tables = tables.clone();
                if kind == "ABORTED" {
                    tables.retain(|table| left.is_none_or(|left| !left.contains(table)));
                }
                if !tables.is_empty() {
                    let data = [("data_collections", tables.join(","))];
                    notes.tell(About::Incremental(id), kind, &data);
                }
            }
        }
        self.incremental = Some(progress).filter(|progress| !progress.is_empty());
    }

    pub fn to_offset(&self) -> SourceOffset {
        let mut object = Map::new();
        // Before the server was reached, there is no place in its log to be told of.
        let is_unplaced = self.identity.system.is_empty() && self.position == Position::default();
        if is_unplaced && self.snapshot.is_none() {
            object.extend(self.requests());
            return SourceOffset(Value::Object(object));
        }
        object.insert("lsn".into(), json!(self.position.done.0));
        object.insert("lsn_proc".into(), json!(self.position.done.0));
        if let Some(end) = self.position.last_commit_end {
            object.insert("lsn_commit".into(), json!(end.0));
        }
        if let Some((commit, messages)) = self.position.partly {
            let done = json!({ "commit": commit.0, "messages": messages });
            object.insert("transaction".into(), done);
        }
        if self.position.last_message != Lsn::NONE {
            object.insert("lsn_message".into(), json!(self.position.last_message.0));
        }
        object.insert("system".into(), json!(self.identity.system));
        object.insert("timeline".into(), json!(self.identity.timeline));
        object.insert("slot".into(), json!(self.identity.slot));
        if let Some(progress) = &self.snapshot {
            object.insert("snapshot".into(), json!("initial"));
            object.extend(progress.to_json());
        }
        object.extend(self.requests());
        SourceOffset(Value::Object(object))
    }

    /// What was asked for, and how far that was read.
    fn requests(&self) -> Map<String, Value> {
        let incremental = self.incremental.as_ref().map(|one| ("incremental", one.to_json()));
        let signals = self.signals.map(|next| ("signals", json!(next.0)));
        let requests = incremental.into_iter().chain(signals);
        requests.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads what [`to_offset`](StoredPosition::to_offset) wrote; of an offset of Debezium's, what
    /// it has.
    pub fn from_offset(offset: &SourceOffset) -> StoredPosition {
        let object = &offset.0;
        let lsn = |key: &str| object.get(key).and_then(Value::as_u64).map(Lsn);
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let partly = object.get("transaction").and_then(|done| {
            Some((Lsn(done.get("commit")?.as_u64()?), done.get("messages")?.as_u64()?))
        });
        let timeline = object.get("timeline").and_then(Value::as_u64);
        StoredPosition {
            identity: Identity {
                system: text("system").to_owned(),
                timeline: timeline.and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
                slot: text("slot").to_owned(),
            },
            position: Position {
                done: lsn("lsn_commit").max(lsn("lsn_proc")).or(lsn("lsn")).unwrap_or_default(),
                last_commit_end: lsn("lsn_commit"),
                partly,
                last_message: lsn("lsn_message").unwrap_or_default(),
            },
            snapshot: snapshot(object),
            incremental: object.get("incremental").and_then(Progress::from_json),
            signals: object.get("signals").and_then(Value::as_i64).map(Offset),
        }
    }
}

fn snapshot(object: &Value) -> Option<SnapshotProgress> {
    // Debezium says the same by other words while its snapshot lasts.
    object.get("snapshot").filter(|value| !value.is_null() && *value != &json!(false))?;
    Some(SnapshotProgress::from_json(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_stored_is_read_back() {
        let mut spans = Spans::default();
        spans.add(RowPlace::new(3, 1), RowPlace::new(4, 0));
        let tables = BTreeMap::from([(1, None), (2, Some(spans)), (3, Some(Spans::default()))]);
        let stored = StoredPosition {
            identity: Identity { system: "7".into(), timeline: 2, slot: "s".into() },
            position: Position {
                done: Lsn(9),
                last_commit_end: Some(Lsn(8)),
                partly: Some((Lsn(10), 3)),
                last_message: Lsn(4),
            },
            snapshot: Some(SnapshotProgress { tables, rows: BTreeMap::from([(2, 40)]) }),
            incremental: Some(Progress { paused: true, ..Progress::default() }),
            signals: Some(Offset(3)),
        };
        assert_eq!(StoredPosition::from_offset(&stored.to_offset()), stored);
        let plain = StoredPosition { snapshot: None, incremental: None, signals: None, ..stored };
        assert_eq!(StoredPosition::from_offset(&plain.to_offset()), plain);
        let debeziums = json!({
            "lsn": 29_411_064, "lsn_proc": 29_411_064, "lsn_commit": 29_404_360, "txId": 773,
            "ts_usec": 1_795_286_584_475_895_u64, "messageType": "UPDATE"
        });
        let read = StoredPosition::from_offset(&SourceOffset(debeziums));
        assert_eq!(read.position.done, Lsn(29_411_064));
        assert_eq!((read.identity, read.snapshot), (Identity::default(), None));
        assert_eq!(
            StoredPosition::from_offset(&SourceOffset(json!([1]))),
            StoredPosition::default()
        );
    }

    /// Of a source that had not reached its server, a position was told that there was none of.
    #[test]
    fn what_has_not_begun_has_no_place_in_the_log() {
        let stored = StoredPosition { signals: Some(Offset(3)), ..StoredPosition::default() };
        assert_eq!(stored.to_offset().0, json!({ "signals": 3 }));
        assert_eq!(StoredPosition::from_offset(&stored.to_offset()), stored);
    }

    #[test]
    fn places_are_read() {
        assert_eq!(RowPlace::parse(b"(7,9)"), Some(RowPlace::new(7, 9)));
        assert_eq!(RowPlace::new(4_294_967_294, 9).literal(), "'(4294967294,9)'::tid");
        assert_eq!(RowPlace::parse(b"(7,99999)"), None);
    }

    proptest! {
        #[test]
        fn spans_are_a_set_of_places(pairs: Vec<(u8, u8)>, ask: (u8, u8)) {
            let mut spans = Spans::default();
            let mut model = std::collections::BTreeSet::new();
            for (from, to) in pairs {
                spans.add(RowPlace(u64::from(from)), RowPlace(u64::from(to)));
                model.extend(from..to);
            }
            let missing = spans.missing(RowPlace(u64::from(ask.0)), RowPlace(u64::from(ask.1)));
            let missing: Vec<u64> =
                missing.into_iter().flat_map(|(from, to)| from.0..to.0).collect();
            let expected: Vec<u64> =
                (ask.0..ask.1).filter(|place| !model.contains(place)).map(u64::from).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
