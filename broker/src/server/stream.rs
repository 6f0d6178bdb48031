//! The two directions of a connection, with TLS or without. Plain ones stay what they are, so
//! that reading and writing of a socket need no lock and large frames go out by one system call.
//! Who asks from within the process comes by a [`Door`]: there is no port by which others could.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, ReadHalf, WriteHalf, duplex};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

/// What may be under way in each direction within the process.
const INSIDE_BYTES: usize = 64 << 10;
/// Callers whom the server has not yet let in.
const CALLERS_MAX: usize = 16;

/// The way to a server for its own process alone.
#[derive(Clone, Debug)]
pub struct Door(mpsc::Sender<DuplexStream>);

/// Where the server finds who has come by the door.
pub type Callers = mpsc::Receiver<DuplexStream>;

impl Door {
    pub fn new() -> (Door, Callers) {
        let (sender, callers) = mpsc::channel(CALLERS_MAX);
        (Door(sender), callers)
    }

    /// A connection; an error once the server has ended.
    pub async fn enter(&self) -> io::Result<DuplexStream> {
        let (ours, theirs) = duplex(INSIDE_BYTES);
        match self.0.send(theirs).await {
            Ok(()) => Ok(ours),
            Err(_) => Err(io::Error::other("the broker in this process has stopped")),
        }
    }
}

/// What a client has come by.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Inside(DuplexStream),
}

#[derive(Debug)]
pub enum Input {
    Plain(OwnedReadHalf),
    Inside(ReadHalf<DuplexStream>),
    Tls(ReadHalf<TlsStream<TcpStream>>),
}

#[derive(Debug)]
pub enum Output {
    Plain(OwnedWriteHalf),
    Inside(WriteHalf<DuplexStream>),
    Tls(WriteHalf<TlsStream<TcpStream>>),
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Input::Plain(input) => Pin::new(input).poll_read(cx, buffer),
            Input::Inside(input) => Pin::new(input).poll_read(cx, buffer),
            Input::Tls(input) => Pin::new(input).poll_read(cx, buffer),
        }
    }
}

macro_rules! either {
    ($self:ident, $output:ident => $then:expr) => {
        match $self.get_mut() {
            Output::Plain(output) => {
                let $output = Pin::new(output);
                $then
            }
            Output::Inside(output) => {
                let $output = Pin::new(output);
                $then
            }
            Output::Tls(output) => {
                let $output = Pin::new(output);
                $then
            }
        }
    };
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, output => output.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, output => output.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Output::Plain(output) => output.is_write_vectored(),
            Output::Inside(output) => output.is_write_vectored(),
            Output::Tls(output) => output.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, output => output.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, output => output.poll_shutdown(cx))
    }
}
