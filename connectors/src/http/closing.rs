//! How a server closes a connection whose client may still be sending (RFC 9112, section 9.6).

use std::time::Duration;

use tokio::io::{copy, sink};
use tokio::net::TcpStream;

/// How long a client may go on with a body that nobody reads.
const LINGER: Duration = Duration::from_secs(10);

/// Throws away what still comes after the last answer, until the client closes too, for at most
/// [`LINGER`].
///
/// An early answer, such as 413, is sent while the body is still coming. A connection that is
/// closed with bytes unread is reset, and a reset can destroy an answer that is not read yet: the
/// client would see a broken connection instead of the reason.
pub async fn linger(stream: &mut TcpStream) {
    let _ = tokio::time::timeout(LINGER, copy(stream, &mut sink())).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// A client that sends everything before it looks at the answer, more than sockets hold.
    #[tokio::test]
    async fn an_early_answer_arrives() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut served, _) = listener.accept().await.unwrap();
        let server = async {
            served.write_all(b"413").await.unwrap();
            served.shutdown().await.unwrap();
            linger(&mut served).await;
            drop(served);
        };
        let sent = async {
            client.write_all(&vec![b'x'; 64 << 20]).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            drop(client);
            answer
        };
        let ((), answer) = tokio::join!(server, sent);
        assert_eq!(answer, "413");
    }
}
