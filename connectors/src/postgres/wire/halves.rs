//! The two directions of a connection: messages in, bytes out.

use std::io;

use bytes::BytesMut;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};

use super::error::{PgError, ServerError};
use super::frame::{self, BadLength, Frame, Malformed};

/// What is read from the socket at once.
const READ_BYTES: usize = 128 << 10;
/// Spare room below which the buffer grows before the next read.
const READ_BYTES_MIN: usize = 16 << 10;

/// TCP, TLS over it, or a Unix socket.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Socket for S {}

/// What the server says.
pub(super) struct Incoming {
    pub at: String,
    source: ReadHalf<Box<dyn Socket>>,
    input: BytesMut,
}

/// What it is told.
pub(super) struct Outgoing {
    pub at: String,
    pub sink: WriteHalf<Box<dyn Socket>>,
    pub output: BytesMut,
}

pub(super) fn split(at: String, socket: Box<dyn Socket>) -> (Incoming, Outgoing) {
    let (source, sink) = tokio::io::split(socket);
    let incoming = Incoming { at: at.clone(), source, input: BytesMut::new() };
    (incoming, Outgoing { at, sink, output: BytesMut::new() })
}

impl Outgoing {
    /// Sends what was put into `output`.
    pub async fn flush(&mut self) -> Result<(), PgError> {
        let failed = |error| PgError::Io { at: self.at.clone(), error };
        while !self.output.is_empty() {
            self.sink.write_buf(&mut self.output).await.map_err(failed)?;
        }
        self.sink.flush().await.map_err(failed)
    }
}

impl Incoming {
    /// The next message, waited for.
    pub async fn frame(&mut self, bytes_max: usize) -> Result<Frame, PgError> {
        loop {
            if let Some(frame) = self.buffered(bytes_max)? {
                return Ok(frame);
            }
            self.read_more().await?;
        }
    }

    /// The next message, if all of it has been read.
    pub fn buffered(&mut self, bytes_max: usize) -> Result<Option<Frame>, PgError> {
        let taken = frame::take(&mut self.input, bytes_max);
        taken.map_err(|bad| self.bad_length(bad, bytes_max))
    }

    /// Messages of which all has been read, up to so many bytes; none where there is none.
    pub fn whole_messages(&mut self, bytes_max: usize, wanted: usize) -> Result<BytesMut, PgError> {
        let taken = frame::take_many(&mut self.input, bytes_max, wanted);
        taken.map_err(|bad| self.bad_length(bad, bytes_max))
    }

    fn bad_length(&self, BadLength { kind, length }: BadLength, bytes_max: usize) -> PgError {
        let kind = char::from(kind);
        let reason = format!("a message {kind:?} of {length} bytes, and {bytes_max} are taken");
        PgError::Protocol { at: self.at.clone(), reason }
    }

    /// Reads once. What was read is in the buffer even if the caller is dropped.
    pub async fn read_more(&mut self) -> Result<(), PgError> {
        if self.input.capacity() - self.input.len() < READ_BYTES_MIN {
            self.input.reserve(READ_BYTES);
        }
        match self.source.read_buf(&mut self.input).await {
            Ok(0) => Err(PgError::Closed { at: self.at.clone() }),
            Ok(_) => Ok(()),
            Err(error) => Err(self.io(error)),
        }
    }

    fn io(&self, error: io::Error) -> PgError {
        PgError::Io { at: self.at.clone(), error }
    }
}

pub(super) fn failed(at: &str, doing: &str, fields: &[u8]) -> PgError {
    let error = Box::new(ServerError::parse(fields));
    PgError::Server { at: at.to_owned(), doing: shortened(doing), error }
}

pub(super) fn malformed(at: &str, bad: Malformed) -> PgError {
    PgError::Protocol { at: at.to_owned(), reason: bad.to_string() }
}

pub(super) fn unexpected(at: &str, frame: &Frame, doing: &str) -> PgError {
    let kind = char::from(frame.kind);
    let reason = format!("a message {kind:?} while {}", shortened(doing));
    PgError::Protocol { at: at.to_owned(), reason }
}

/// A statement as far as it helps to know which one it was.
fn shortened(sql: &str) -> String {
    const CHARS: usize = 160;
    let mut text = String::new();
    for word in sql.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        if text.len() > CHARS {
            let end = text.char_indices().map(|(at, _)| at).take_while(|at| *at <= CHARS).last();
            text.truncate(end.unwrap_or(0));
            text.push('…');
            return text;
        }
    }
    text
}
