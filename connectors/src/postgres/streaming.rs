//! The stream, and what there is beside it as long as the connection lasts.

use std::time::Duration;

use tokio::time::Instant;

use super::changes::Changes;
use super::config::PostgresConfig;
use super::incremental::blocking::Blocking;
use super::incremental::reach::{Hurry, WrittenOut};
use super::incremental::run::Incremental;
use super::lsn::Lsn;
use super::source::now_us;
use super::wire::{ChangeStream, PgError, Received};

/// A stream on which nothing comes for this long is asked for a sign of life,
pub const SILENCE_ASK: Duration = Duration::from_secs(30);
/// and given up after this long.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How often at most the server is told how far we are while there is much to do.
pub const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(250);

/// What there is while changes stream.
pub struct Streaming {
    pub stream: ChangeStream,
    pub changes: Changes,
    /// The end of what was received.
    pub received: Lsn,
    /// What the server was told to be durable.
    pub confirmed: Lsn,
    pub last_received: Instant,
    pub last_status: Instant,
    pub sign_asked: bool,
    pub reply_wanted: bool,
    /// An error that came while telling the server.
    pub failed: Option<PgError>,
    pub incremental: Incremental,
    pub blocking: Option<Blocking>,
    /// What waits for that.
    held: Option<Received>,
}

impl Streaming {
    pub fn new(stream: ChangeStream, changes: Changes) -> Streaming {
        let now = Instant::now();
        Streaming {
            stream,
            changes,
            received: Lsn::NONE,
            confirmed: Lsn::NONE,
            last_received: now,
            last_status: now,
            sign_asked: false,
            reply_wanted: false,
            failed: None,
            incremental: Incremental::default(),
            blocking: None,
            held: None,
        }
    }

    /// What has come, without waiting.
    pub fn received_now(&mut self) -> Result<Option<Received>, PgError> {
        match self.held.take() {
            Some(held) => Ok(Some(held)),
            None => self.stream.received_now(),
        }
    }

    /// Keeps for later what comes behind a snapshot that is to be read first.
    pub fn keeps(&mut self, received: &Received) -> bool {
        let (Some(blocking), Received::Data { bytes, .. }) = (&mut self.blocking, received) else {
            return false;
        };
        let stops = blocking.stops(bytes);
        if stops {
            self.held = Some(received.clone());
        }
        stops
    }

    /// Something has come.
    pub fn stirred(&mut self) {
        self.last_received = Instant::now();
        self.sign_asked = false;
    }

    /// The same, and it was no answer to our asking.
    pub fn changed(&mut self) {
        self.incremental.stirred();
        if let Some(blocking) = &mut self.blocking {
            blocking.stirred();
        }
    }

    /// It was looked at some time how far the log is written out.
    pub fn looked_out(&mut self, at: Instant, written: WrittenOut) {
        match &mut self.blocking {
            Some(blocking) => blocking.looked_out(at, written),
            None => self.incremental.looked_out(at, written),
        }
    }

    fn hurry(&mut self, read_only: bool) -> Hurry {
        match &mut self.blocking {
            Some(blocking) => blocking.hurry(read_only || self.incremental.is_read_only()),
            None => self.incremental.hurry(read_only),
        }
    }

    /// Whether no more changes are to be taken for now.
    pub fn holds(&mut self) -> bool {
        let holds = self.incremental.holds(&self.changes)
            || self.blocking.as_ref().is_some_and(Blocking::holds);
        if holds {
            // It is we who are silent.
            self.last_received = Instant::now();
        }
        holds
    }

    /// Tells the server how far we are when it is time, and notices when it has gone silent.
    pub async fn keep_alive(
        &mut self,
        config: &PostgresConfig,
        durable: Lsn,
    ) -> Result<Hurry, PgError> {
        let silent = self.last_received.elapsed();
        if silent >= SILENCE_MAX {
            let (at, seconds) = (config.target.at(), silent.as_secs());
            return Err(PgError::Timeout { at, what: "the stream of changes", seconds });
        }
        let hurry = self.hurry(config.signals.read_only);
        let ask = (silent >= SILENCE_ASK && !self.sign_asked) || hurry != Hurry::No;
        let since = self.last_status.elapsed();
        let due = since >= config.status_interval
            || (durable > self.confirmed && since >= STATUS_INTERVAL_MIN);
        let wanted = std::mem::take(&mut self.reply_wanted);
        if ask || due || wanted {
            self.sign_asked |= ask;
            self.send_status(durable, ask).await?;
        }
        Ok(hurry)
    }

    /// Waits until there is something to do. Dropped and called again at any time.
    pub async fn wait(&mut self, config: &PostgresConfig, durable: Lsn) {
        let status = self.last_status + config.status_interval;
        let confirm = match durable > self.confirmed {
            true => self.last_status + STATUS_INTERVAL_MIN,
            false => status,
        };
        let holds = self.holds();
        let blocking = async {
            match &mut self.blocking {
                Some(blocking) => blocking.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.stream.readable(), if !holds => {}
            () = self.incremental.wait() => {}
            () = blocking => {}
            () = tokio::time::sleep_until(confirm.min(status)) => {}
        }
    }

    /// Waits for more of a transaction; `false` where the patience for it is over.
    pub async fn more_soon(&mut self, patience: &mut Duration) -> bool {
        let begin = Instant::now();
        let more = tokio::time::timeout(*patience, self.stream.readable()).await;
        *patience = patience.saturating_sub(begin.elapsed());
        more.is_ok()
    }

    pub async fn send_status(&mut self, durable: Lsn, ask: bool) -> Result<(), PgError> {
        self.last_status = Instant::now();
        self.confirmed = durable;
        self.stream.send_status(self.received, durable, now_us(), ask).await
    }
}
