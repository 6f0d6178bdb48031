//! A stream of changes: what comes is read ahead of who takes it.
//!
//! The server sends a row at a time and stops once the socket is full, which is some hundred rows.
//! So a task of its own reads on while those before are being written, up to a bound.

use bytes::{BufMut as _, Bytes};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::PgError;
use super::frame::{self, Body, Frame, Malformed, put};
use super::halves::{Incoming, Outgoing};
use super::session::EPOCH_2000_US;
use crate::postgres::lsn::Lsn;

/// Messages that are handed over at once, and how many such batches may wait: with the buffers
/// that they are slices of, about 4 MB.
const BATCH_MESSAGES: usize = 1_000;
const BATCH_BYTES: usize = 128 << 10;
const BATCHES_WAITING: usize = 24;

/// What comes over a stream of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message of the output plugin.
    Data { start: Lsn, bytes: Bytes },
    /// All that was committed before `end` has been sent.
    Keepalive { end: Lsn, reply_wanted: bool },
}

/// A connection over which changes come in and positions go out.
pub struct ChangeStream {
    outgoing: Outgoing,
    batches: mpsc::Receiver<Result<Vec<Received>, PgError>>,
    ready: std::vec::IntoIter<Received>,
    failed: Option<PgError>,
    /// Ends with the stream.
    _reader: JoinSet<()>,
}

impl ChangeStream {
    pub(super) fn new(incoming: Incoming, outgoing: Outgoing) -> ChangeStream {
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        let mut reader = JoinSet::new();
        reader.spawn(read(incoming, sender));
        ChangeStream {
            outgoing,
            batches,
            ready: Vec::new().into_iter(),
            failed: None,
            _reader: reader,
        }
    }

    /// What has come, without waiting.
    pub fn received_now(&mut self) -> Result<Option<Received>, PgError> {
        loop {
            if let Some(received) = self.ready.next() {
                return Ok(Some(received));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            match self.batches.try_recv() {
                Ok(batch) => self.take(batch),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.closed()),
            }
        }
    }

    /// Waits until there is something for [`received_now`](ChangeStream::received_now), be it an
    /// error. Dropped and called again at any time.
    pub async fn readable(&mut self) {
        if self.ready.as_slice().is_empty() && self.failed.is_none() {
            match self.batches.recv().await {
                Some(batch) => self.take(batch),
                None => self.failed = Some(self.closed()),
            }
        }
    }

    fn take(&mut self, batch: Result<Vec<Received>, PgError>) {
        match batch {
            Ok(batch) => self.ready = batch.into_iter(),
            Err(error) => self.failed = Some(error),
        }
    }

    fn closed(&self) -> PgError {
        PgError::Closed { at: self.outgoing.at.clone() }
    }

    /// Tells how far we are: what is before `durable` will never be asked for again.
    pub async fn send_status(
        &mut self,
        received: Lsn,
        durable: Lsn,
        now_us: i64,
        reply_wanted: bool,
    ) -> Result<(), PgError> {
        put(&mut self.outgoing.output, b'd', |out| {
            out.put_u8(b'r');
            out.put_u64(received.0.max(durable.0));
            out.put_u64(durable.0);
            out.put_u64(durable.0);
            out.put_i64(now_us - EPOCH_2000_US);
            out.put_u8(u8::from(reply_wanted));
        });
        self.outgoing.flush().await
    }
}

/// Reads until the connection or whoever takes the changes ends.
async fn read(mut incoming: Incoming, sender: mpsc::Sender<Result<Vec<Received>, PgError>>) {
    loop {
        let mut batch = Vec::new();
        let outcome = gather(&mut incoming, &mut batch);
        let empty = batch.is_empty();
        if !empty && sender.send(Ok(batch)).await.is_err() {
            return;
        }
        let outcome = match outcome {
            Ok(()) if empty => incoming.read_more().await,
            other => other,
        };
        if let Err(error) = outcome {
            // Where nobody listens any more it does not matter.
            let _ = sender.send(Err(error)).await;
            return;
        }
    }
}

/// Takes what was read, up to what makes a batch.
fn gather(incoming: &mut Incoming, batch: &mut Vec<Received>) -> Result<(), PgError> {
    let mut bytes = 0;
    while batch.len() < BATCH_MESSAGES && bytes < BATCH_BYTES {
        let Some(frame) = incoming.buffered(frame::MESSAGE_BYTES_MAX)? else { break };
        bytes += frame.body.len();
        batch.extend(message(incoming, frame)?);
    }
    Ok(())
}

fn message(incoming: &Incoming, frame: Frame) -> Result<Option<Received>, PgError> {
    match frame.kind {
        b'd' => stream_message(frame.body).map(Some).map_err(|bad| incoming.malformed(bad)),
        b'E' => Err(incoming.failed("streaming changes", &frame.body)),
        b'S' | b'N' | b'A' => Ok(None),
        // The server has ended the stream: it is shutting down.
        b'c' | b'C' | b'Z' => Err(PgError::Closed { at: incoming.at.clone() }),
        _ => Err(incoming.unexpected(&frame, "streaming changes")),
    }
}

fn stream_message(body: Bytes) -> Result<Received, Malformed> {
    let mut body = Body(body);
    match body.u8("kind")? {
        b'w' => {
            let start = Lsn(body.u64("start")?);
            body.u64("end of the log")?;
            body.i64("time")?;
            Ok(Received::Data { start, bytes: body.0 })
        }
        b'k' => {
            let end = Lsn(body.u64("end of the log")?);
            body.i64("time")?;
            Ok(Received::Keepalive { end, reply_wanted: body.u8("reply wanted")? != 0 })
        }
        _ => Err(Malformed("kind in the stream")),
    }
}
