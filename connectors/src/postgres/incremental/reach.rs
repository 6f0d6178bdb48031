//! How the stream comes to a chunk's place in the log.
//!
//! A stream on which nothing comes tells its position when it is asked. It may still stop short of
//! the place: the end of the log lies behind what is written out, and there is nothing of ours
//! there that would make the server write on. So a message is written into the log, whose end the
//! stream reaches for sure. Where nothing may be written, time tells: commits are written out
//! within thrice `wal_writer_delay`, so none that a chunk shows lies behind what is written out
//! then. However long the stream is silent, it has to come that far: the server may be at a large
//! transaction of tables that are not ours.

use std::time::Duration;

use tokio::time::Instant;

use crate::postgres::changes::WATERMARK_PREFIX;
use crate::postgres::lsn::Lsn;
use crate::postgres::wire::{PgError, Session};

/// How long a stream on which nothing comes may take to say where it is.
const SIGN_PATIENCE: Duration = Duration::from_millis(20);
/// At least this long after a chunk it is looked how far the log is written out.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// What the stream should do about a chunk that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    No,
    /// Ask for a sign of life: it says how far the stream is.
    Ask,
    /// Ask too, and [let the server write its log out](nudge).
    Nudge,
    /// Ask too, and [look how far it has](written_out).
    Look,
}

/// A chunk that waits for the stream.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    since: Instant,
    /// Nothing has come since it was asked for a sign.
    is_silent: bool,
    /// When to ask next.
    pub next: Instant,
    nudged: bool,
    /// When to look how far the log is written out.
    look_at: Instant,
    /// No commit that the chunk shows lies behind this.
    enough: Option<Lsn>,
}

impl Waiting {
    pub fn new(now: Instant) -> Waiting {
        Waiting {
            since: now,
            is_silent: false,
            next: now,
            nudged: false,
            look_at: now + FLUSH_PATIENCE,
            enough: None,
        }
    }

    /// Whether a stream that is done up to there is past all that a chunk shows which has `high`.
    pub fn is_over(&self, done: Lsn, high: Lsn) -> bool {
        done >= high || self.enough.is_some_and(|enough| done >= enough)
    }

    /// Something has come.
    pub fn stirred(&mut self) {
        self.is_silent = false;
    }

    pub fn hurry(&mut self, now: Instant, read_only: bool) -> Hurry {
        if self.next > now {
            return Hurry::No;
        }
        self.next = now + SIGN_PATIENCE;
        if read_only {
            let looks = self.enough.is_none() && self.look_at <= now;
            return if looks { Hurry::Look } else { Hurry::Ask };
        }
        if std::mem::replace(&mut self.is_silent, true) && !self.nudged {
            self.nudged = true;
            return Hurry::Nudge;
        }
        Hurry::Ask
    }

    /// It was looked at some time how far the log is written out.
    pub fn looked(&mut self, at: Instant, written: WrittenOut) {
        let due = self.since + written.commits_within.max(FLUSH_PATIENCE);
        match written.end {
            Some(end) if at >= due => self.enough = Some(end),
            // A standby has nothing but what is written out: the stream comes to its end.
            _ => self.look_at = due.max(at + FLUSH_PATIENCE),
        }
    }
}

/// What of the server's log is there for the stream to read.
#[derive(Clone, Copy, Debug)]
pub struct WrittenOut {
    /// `None`: the server is a standby.
    pub end: Option<Lsn>,
    /// How long a commit may take to be there.
    pub commits_within: Duration,
}

/// Writes a message into the log that tells nothing, and so lets the server write it out.
pub async fn nudge(session: &mut Session) -> Result<(), PgError> {
    let sql = format!(
        "select case when not pg_catalog.pg_is_in_recovery() then \
         pg_catalog.pg_logical_emit_message(true, '{WATERMARK_PREFIX}', '') end"
    );
    session.query(&sql).await.map(drop)
}

pub async fn written_out(session: &mut Session) -> Result<WrittenOut, PgError> {
    let answer = session
        .query(
            "select case when not pg_catalog.pg_is_in_recovery() then \
             pg_catalog.pg_current_wal_flush_lsn() end as end, \
             (select setting from pg_catalog.pg_settings where name = 'wal_writer_delay') \
             as delay_ms",
        )
        .await?;
    let delay_ms = answer.get(0, "delay_ms").and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(WrittenOut {
        end: answer.get(0, "end").and_then(|text| text.parse().ok()),
        commits_within: 3 * Duration::from_millis(delay_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_stream_is_nudged_once_and_waited_for() {
        let begin = Instant::now();
        let mut waiting = Waiting::new(begin);
        let asked: Vec<Hurry> =
            (0..5).map(|number| waiting.hurry(begin + SIGN_PATIENCE * number, false)).collect();
        assert_eq!(asked, [Hurry::Ask, Hurry::Nudge, Hurry::Ask, Hurry::Ask, Hurry::Ask]);
        assert_eq!(waiting.hurry(begin + SIGN_PATIENCE * 4, false), Hurry::No);
        assert!(!waiting.is_over(Lsn(9), Lsn(10)) && waiting.is_over(Lsn(10), Lsn(10)));
        // Where something comes, nothing needs to be written.
        let mut waiting = Waiting::new(begin);
        for number in 0..5 {
            assert_eq!(waiting.hurry(begin + SIGN_PATIENCE * number, false), Hurry::Ask);
            waiting.stirred();
        }
    }

    #[test]
    fn where_nothing_may_be_written_time_tells_how_far_commits_are() {
        let begin = Instant::now();
        let mut waiting = Waiting::new(begin);
        assert_eq!(waiting.hurry(begin, true), Hurry::Ask);
        let after = |ms| begin + Duration::from_millis(ms);
        assert_eq!(waiting.hurry(after(1_000), true), Hurry::Look);
        let delay = |ms| 3 * Duration::from_millis(ms);
        let written = WrittenOut { end: Some(Lsn(7)), commits_within: delay(500) };
        // A commit may take longer there.
        waiting.looked(after(1_000), written);
        assert!(!waiting.is_over(Lsn(8), Lsn(10)));
        assert_eq!(waiting.hurry(after(1_200), true), Hurry::Ask);
        assert_eq!(waiting.hurry(after(2_000), true), Hurry::Look);
        waiting.looked(after(2_000), WrittenOut { end: Some(Lsn(8)), ..written });
        assert!(!waiting.is_over(Lsn(7), Lsn(10)) && waiting.is_over(Lsn(8), Lsn(10)));
        assert_eq!(waiting.hurry(after(9_000), true), Hurry::Ask);
    }
}
