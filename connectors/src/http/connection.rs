//! A connection that a server has accepted, with TLS or without.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use broker::security::tls::Tls;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Bytes in and out, whatever is below them.
#[derive(Debug)]
pub enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Shakes hands, if that is to be done.
    pub async fn open(stream: TcpStream, tls: Option<&Tls>) -> io::Result<Connection> {
        // An answer is one small segment: waiting to fill it would only delay it.
        let _ = stream.set_nodelay(true);
        match tls {
            None => Ok(Connection::Plain(stream)),
            Some(tls) => Ok(Connection::Tls(Box::new(tls.accept(stream).await?.0))),
        }
    }

    /// What is below.
    pub fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Connection::Plain(stream) => stream,
            Connection::Tls(stream) => stream.get_mut().0,
        }
    }

    fn below(self: Pin<&mut Self>) -> Pin<&mut dyn Both> {
        match self.get_mut() {
            Connection::Plain(stream) => Pin::new(stream),
            Connection::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.below().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.below().poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.below().poll_shutdown(context)
    }
}
