//! A chunk among the changes.
//!
//! ```text
//!  asked for         chunk is there          stream has reached `high`
//!      │ keys that change are kept │ rows that change go │
//!      └───────────────────────────┴─────────────────────┴─► the rows that are left
//! ```
//!
//! A row goes if a transaction that the chunk does not show has changed it: that change was told
//! before, and the row would take it back. A change that the chunk does show does no harm.

use std::collections::HashMap;

use bytes::Bytes;

use super::chunk::Chunk;
use crate::postgres::lsn::Lsn;

/// How many keys are kept at most while a chunk is read; the stream waits then.
const TOUCHED_MAX: usize = 100_000;

/// What tells a row from others: the values of its identity, as text.
pub type RowKey = Bytes;

/// Which transactions are to be seen: PostgreSQL's snapshot, `xmin:xmax:xip,xip`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visibility {
    /// All before it are over.
    first_running: u32,
    /// It and all after it had not begun.
    next: u32,
    running: Vec<u32>,
}

impl Visibility {
    pub fn parse(text: &str) -> Option<Visibility> {
        // Numbers count on beyond 32 bits; the stream has the lower ones.
        let number = |text: &str| text.parse::<u64>().ok().map(|number| number as u32);
        let mut parts = text.split(':');
        let (first_running, next) = (number(parts.next()?)?, number(parts.next()?)?);
        let running = parts.next()?.split(',').filter(|text| !text.is_empty());
        let running = running.map(number).collect::<Option<Vec<u32>>>()?;
        Some(Visibility { first_running, next, running })
    }

    /// Whether the transaction's changes show.
    pub fn sees(&self, xid: u32) -> bool {
        let before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
        before(xid, self.first_running) || (before(xid, self.next) && !self.running.contains(&xid))
    }
}

/// A chunk that was asked for.
#[derive(Debug)]
pub struct Window {
    /// The table that it is of.
    pub relation: u32,
    /// The columns that tell its rows apart.
    pub identity: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is known of it yet: who has changed what since it was asked for. Without a key:
    /// all rows.
    Asked(HashMap<Option<RowKey>, Vec<u32>>, usize),
    Read {
        chunk: Box<Chunk>,
        by_key: HashMap<RowKey, usize>,
    },
}

impl Window {
    pub fn new(relation: u32, identity: Vec<String>) -> Window {
        Window { relation, identity, state: State::Asked(HashMap::new(), 0) }
    }

    /// A transaction has changed a row, or all rows.
    pub fn touch(&mut self, xid: u32, key: Option<RowKey>) {
        match &mut self.state {
            State::Asked(touched, count) => {
                let by = touched.entry(key).or_default();
                if by.last() != Some(&xid) {
                    by.push(xid);
                    *count += 1;
                }
            }
            State::Read { chunk, by_key } => drop_touched(chunk, by_key, xid, key.as_ref()),
        }
    }

    /// Whether the stream has to wait for the chunk.
    pub fn is_crowded(&self) -> bool {
        matches!(self.state, State::Asked(_, count) if count >= TOUCHED_MAX)
    }

    /// The chunk is there.
    pub fn arrived(&mut self, mut chunk: Box<Chunk>) {
        let rows = chunk.rows.iter().enumerate();
        let by_key = rows.filter_map(|(at, row)| Some((row.as_ref()?.0.clone(), at))).collect();
        if let State::Asked(touched, _) = &self.state {
            for (key, xids) in touched {
                for xid in xids {
                    drop_touched(&mut chunk, &by_key, *xid, key.as_ref());
                }
            }
        }
        self.state = State::Read { chunk, by_key };
    }

    /// Where the stream has to be before the chunk's rows may be told; `None`: it is not there.
    pub fn high(&self) -> Option<Lsn> {
        match &self.state {
            State::Asked(..) => None,
            State::Read { chunk, .. } => Some(chunk.high),
        }
    }

    /// The chunk, without what was dropped.
    pub fn into_chunk(self) -> Option<Box<Chunk>> {
        match self.state {
            State::Asked(..) => None,
            State::Read { chunk, .. } => Some(chunk),
        }
    }
}

fn drop_touched(
    chunk: &mut Chunk,
    by_key: &HashMap<RowKey, usize>,
    xid: u32,
    key: Option<&RowKey>,
) {
    if chunk.seen.sees(xid) {
        return;
    }
    match key {
        Some(key) => {
            if let Some(at) = by_key.get(key) {
                chunk.rows[*at] = None;
            }
        }
        None => chunk.rows.iter_mut().for_each(|row| *row = None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::pgoutput::Row;

    fn key(number: u32) -> RowKey {
        Bytes::from(number.to_string())
    }

    fn chunk(seen: &str, keys: std::ops::Range<u32>) -> Box<Chunk> {
        let rows = keys.map(|number| Some((key(number), Row::default()))).collect();
        Box::new(Chunk { seen: Visibility::parse(seen).unwrap(), rows, ..Chunk::default() })
    }

    fn left(window: Window) -> Vec<RowKey> {
        let chunk = window.into_chunk().unwrap();
        chunk.rows.into_iter().flatten().map(|(key, _)| key).collect()
    }

    #[test]
    fn a_snapshot_shows_what_was_over_when_it_was_taken() {
        let seen = Visibility::parse("100:105:100,103").unwrap();
        let shown: Vec<u32> = (98..107).filter(|xid| seen.sees(*xid)).collect();
        assert_eq!(shown, [98, 99, 101, 102, 104]);
        assert_eq!(
            Visibility::parse("7:7:"),
            Some(Visibility { first_running: 7, next: 7, running: Vec::new() })
        );
        // Numbers begin again after 2³².
        let around = Visibility::parse("4294967295:4294967298:4294967297").unwrap();
        assert!(around.sees(u32::MAX - 1) && around.sees(u32::MAX) && around.sees(0));
        assert!(!around.sees(1) && !around.sees(2));
        assert_eq!(Visibility::parse("7"), None);
        assert_eq!(Visibility::parse("a:b:"), None);
    }

    #[test]
    fn rows_go_that_somebody_else_has_changed_since() {
        let mut window = Window::new(1, Vec::new());
        // 10 is shown by the chunk, 11 and 12 are not.
        for (xid, number) in [(10, 1), (11, 2), (10, 2), (12, 9)] {
            window.touch(xid, Some(key(number)));
        }
        assert_eq!(window.high(), None);
        window.arrived(chunk("11:13:11,12", 0..6));
        window.touch(10, Some(key(3)));
        window.touch(12, Some(key(4)));
        assert_eq!(left(window), [0, 1, 3, 5].map(key));
    }

    #[test]
    fn a_truncation_takes_all_rows() {
        for late in [false, true] {
            let mut window = Window::new(1, Vec::new());
            if !late {
                window.touch(11, None);
            }
            window.arrived(chunk("11:12:11", 0..3));
            if late {
                window.touch(11, None);
            }
            assert!(left(window).is_empty());
        }
    }

    #[test]
    fn the_stream_waits_when_too_much_changes() {
        let mut window = Window::new(1, Vec::new());
        for number in 0..TOUCHED_MAX as u32 {
            assert!(!window.is_crowded());
            window.touch(5, Some(key(number)));
        }
        assert!(window.is_crowded());
        window.arrived(chunk("5:5:", 0..10));
        assert!(!window.is_crowded() && left(window).is_empty());
    }
}
