//! Which rows around a row a function sees.

use std::fmt;
use std::ops::Range;

const NS_PER_MS: i64 = 1_000_000;

/// What the distance of two rows is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Units {
    Rows,
    /// Of their times, in ns.
    Time,
}

/// From so far before (or, if positive, after) a row to so far after it, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub units: Units,
    /// `None`: from the first row of the partition.
    pub start: Option<i64>,
    pub end: i64,
}

/// What an operator must know and keep for its frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub preceding_rows: usize,
    pub preceding_ms: i64,
    pub following_rows: usize,
    pub following_ms: i64,
}

impl Reach {
    pub fn extend(&mut self, frame: &Frame) {
        let start = frame.start.unwrap_or(0);
        let (back, ahead) = (start.saturating_neg().max(0), frame.end.max(0));
        match frame.units {
            Units::Rows => {
                self.preceding_rows = self.preceding_rows.max(rows(back));
                self.following_rows = self.following_rows.max(rows(ahead));
            }
            Units::Time => {
                self.preceding_ms = self.preceding_ms.max(ms_up(back));
                self.following_ms = self.following_ms.max(ms_up(ahead));
            }
        }
    }
}

fn rows(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

pub fn ms_up(ns: i64) -> i64 {
    ns / NS_PER_MS + i64::from(ns % NS_PER_MS > 0)
}

/// Rows of one partition in their order.
pub struct Sorted<'a> {
    /// The time of each, in ns.
    pub times_ns: &'a [i128],
    /// For each row, the first that is equal to it in the order.
    pub first_peers: &'a [usize],
}

impl Sorted<'_> {
    pub fn len(&self) -> usize {
        self.times_ns.len()
    }

    /// One past the last row that is equal to this one in the order.
    pub fn peers_end(&self, row: usize) -> usize {
        let first = self.first_peers[row];
        row + self.first_peers[row..].iter().take_while(|peer| **peer == first).count()
    }

    /// The rows that a frame has around `row`.
    pub fn frame(&self, frame: &Frame, row: usize) -> Range<usize> {
        let end = match (frame.units, frame.end) {
            (Units::Rows, end) => offset(row, end).map_or(0, |last| last.saturating_add(1)),
            (Units::Time, 0) => self.peers_end(row),
            (Units::Time, end) => {
                let last = self.times_ns[row] + i128::from(end);
                self.times_ns.partition_point(|time| *time <= last)
            }
        };
        let start = match (frame.units, frame.start) {
            (_, None) => 0,
            (Units::Rows, Some(start)) => offset(row, start).unwrap_or(0),
            (Units::Time, Some(0)) => self.first_peers[row],
            (Units::Time, Some(start)) => {
                let first = self.times_ns[row] + i128::from(start);
                self.times_ns.partition_point(|time| *time < first)
            }
        };
        let end = end.min(self.len());
        start.min(end)..end
    }
}

fn offset(row: usize, by: i64) -> Option<usize> {
    match usize::try_from(by.unsigned_abs()) {
        Ok(by_rows) if by < 0 => row.checked_sub(by_rows),
        Ok(by_rows) => Some(row.saturating_add(by_rows)),
        Err(_) => None,
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.units {
            Units::Rows => "rows",
            Units::Time => "ns",
        };
        match self.start {
            None => f.write_str("from the first")?,
            Some(start) => write!(f, "from {start}")?,
        }
        write!(f, " to {} {unit}", self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_rows_and_of_time() {
        let times_ns = [0, 10, 10, 30, 31];
        let first_peers = [0, 1, 1, 3, 4];
        let sorted = Sorted { times_ns: &times_ns, first_peers: &first_peers };
        let of = |units, start, end| {
            let frame = Frame { units, start, end };
            (0..5).map(|row| sorted.frame(&frame, row)).collect::<Vec<_>>()
        };
        assert_eq!(of(Units::Rows, Some(-1), 0), [0..1, 0..2, 1..3, 2..4, 3..5]);
        assert_eq!(of(Units::Rows, Some(-2), -1), [0..0, 0..1, 0..2, 1..3, 2..4]);
        assert_eq!(of(Units::Rows, Some(1), 2), [1..3, 2..4, 3..5, 4..5, 5..5]);
        assert_eq!(of(Units::Time, None, 0), [0..1, 0..3, 0..3, 0..4, 0..5]);
        assert_eq!(of(Units::Time, Some(-20), 0), [0..1, 0..3, 0..3, 1..4, 3..5]);
        assert_eq!(of(Units::Time, Some(0), 1), [0..1, 1..3, 1..3, 3..5, 4..5]);
    }

    #[test]
    fn what_frames_reach() {
        let mut reach = Reach::default();
        reach.extend(&Frame { units: Units::Rows, start: Some(-3), end: 2 });
        reach.extend(&Frame { units: Units::Time, start: Some(-1_500_000), end: 1 });
        reach.extend(&Frame { units: Units::Time, start: None, end: 0 });
        let expected =
            Reach { preceding_rows: 3, preceding_ms: 2, following_rows: 2, following_ms: 1 };
        assert_eq!(reach, expected);
    }
}
