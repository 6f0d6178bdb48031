//! A stream of changes: what comes is read ahead of who takes it.
//!
//! The server sends a row at a time and stops once the socket is full, which is some hundred rows.
//! So a task of its own reads on while those before are being written, up to a bound. It looks for
//! no more than where messages end: they are taken apart by who takes them, out of one buffer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::error::PgError;
use super::frame::{self, Body, Frame, Malformed, put};
use super::halves::{self, Incoming, Outgoing};
use super::session::EPOCH_2000_US;
use crate::postgres::lsn::Lsn;

/// What is handed over at once, save a single larger message,
const CHUNK_BYTES: usize = 128 << 10;
/// and what may wait for that.
const WAITING_BYTES_MAX: usize = 3 << 20;

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
    waiting: Arc<Waiting>,
    /// Whole messages.
    ready: Bytes,
    /// Ends with the stream.
    _reader: JoinSet<()>,
}

/// What was read and not yet taken.
#[derive(Debug, Default)]
struct Waiting {
    read: Mutex<Read>,
    came: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Read {
    /// Whole messages each.
    chunks: VecDeque<BytesMut>,
    bytes: usize,
    /// Why nothing follows them.
    end: Option<PgError>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChangeStream {
    pub(super) fn new(incoming: Incoming, outgoing: Outgoing) -> ChangeStream {
        let waiting = Arc::new(Waiting::default());
        let mut reader = JoinSet::new();
        reader.spawn(read(incoming, waiting.clone()));
        ChangeStream { outgoing, waiting, ready: Bytes::new(), _reader: reader }
    }

    /// What has come, without waiting.
    pub fn received_now(&mut self) -> Result<Option<Received>, PgError> {
        loop {
            while let Some(frame) = frame::next(&mut self.ready) {
                if let Some(received) = message(&self.outgoing.at, frame)? {
                    return Ok(Some(received));
                }
            }
            let mut read = self.waiting.lock();
            match read.chunks.pop_front() {
                Some(chunk) => {
                    read.bytes -= chunk.len();
                    self.ready = chunk.freeze();
                    drop(read);
                    self.waiting.room.notify_one();
                }
                None => return read.end.take().map_or(Ok(None), Err),
            }
        }
    }

    /// Waits until there is something for [`received_now`](ChangeStream::received_now), be it an
    /// error. Dropped and called again at any time.
    pub async fn readable(&mut self) {
        while self.ready.is_empty() {
            {
                let read = self.waiting.lock();
                if !read.chunks.is_empty() || read.end.is_some() {
                    return;
                }
            }
            // A permit is kept where something comes in between.
            self.waiting.came.notified().await;
        }
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
async fn read(mut incoming: Incoming, waiting: Arc<Waiting>) {
    loop {
        let chunk = incoming.whole_messages(frame::MESSAGE_BYTES_MAX, CHUNK_BYTES);
        let outcome = match chunk {
            Ok(chunk) if chunk.is_empty() => incoming.read_more().await,
            Ok(chunk) => {
                hand_over(&waiting, chunk).await;
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            waiting.lock().end = Some(error);
            waiting.came.notify_one();
            return;
        }
    }
}

/// Puts a chunk behind those that wait, or to the last of them; then waits for room for another.
async fn hand_over(waiting: &Waiting, chunk: BytesMut) {
    {
        let mut read = waiting.lock();
        read.bytes += chunk.len();
        match read.chunks.back_mut() {
            // They lie side by side in memory, most often.
            Some(last) if last.len() + chunk.len() <= CHUNK_BYTES => last.unsplit(chunk),
            _ => read.chunks.push_back(chunk),
        }
    }
    waiting.came.notify_one();
    while waiting.lock().bytes >= WAITING_BYTES_MAX {
        waiting.room.notified().await;
    }
}

fn message(at: &str, frame: Frame) -> Result<Option<Received>, PgError> {
    const DOING: &str = "streaming changes";
    match frame.kind {
        b'd' => stream_message(frame.body).map(Some).map_err(|bad| halves::malformed(at, bad)),
        b'E' => Err(halves::failed(at, DOING, &frame.body)),
        b'S' | b'N' | b'A' => Ok(None),
        // The server has ended the stream: it is shutting down.
        b'c' | b'C' | b'Z' => Err(PgError::Closed { at: at.to_owned() }),
        _ => Err(halves::unexpected(at, &frame, DOING)),
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
