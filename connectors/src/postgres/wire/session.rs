//! A connection: how it is made, and what is asked over it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, ChannelBinding, ScramSha256};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::rustls::pki_types::ServerName;

use super::error::PgError;
use super::frame::{self, Body, Frame, Malformed, put, put_sized, put_text};
use super::halves::{self, Incoming, Outgoing, Socket};
use super::stream::ChangeStream;
use super::target::{SslMode, Target};
use super::tls;

const PROTOCOL_VERSION: u32 = 3 << 16;
const SSL_REQUEST: u32 = 80_877_103;
/// A silent connection is probed after this long.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Settings under which a value is written one way only, whatever the database, the role or the
/// server's locale have set: text that comes from a snapshot equals text that comes from the
/// stream.
const PINNED: [(&str, &str); 14] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("xmlbinary", "base64"),
    ("search_path", ""),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_read_only", "off"),
];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SQL.
    Queries,
    /// SQL that the user has written: the database's own settings count, such as `search_path`.
    Statements,
    /// Slots and streams, and SQL between them.
    Replication,
}

/// An open connection.
pub struct Session {
    incoming: Incoming,
    outgoing: Outgoing,
    /// What the server said about itself, such as `server_version`.
    parameters: BTreeMap<String, String>,
}

/// The answer to a query: text or null, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// A value by row and column; nothing where it is null or not there.
    pub fn get(&self, row: usize, column: &str) -> Option<&str> {
        let column = self.columns.iter().position(|name| name == column)?;
        self.rows.get(row)?.get(column)?.as_deref()
    }

    /// The only value of an answer.
    pub fn single(&self) -> Option<&str> {
        self.rows.first()?.first()?.as_deref()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("at", &self.incoming.at).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects, with TLS as asked for, and authenticates.
    pub async fn connect(target: &Target, purpose: Purpose) -> Result<Session, PgError> {
        let connecting = async {
            let plain_first = matches!(target.ssl.mode, SslMode::Disable | SslMode::Allow);
            let first = Session::attempt(target, purpose, !plain_first).await;
            let other_way = match (&first, target.ssl.mode) {
                (Err(error), SslMode::Allow) => error.code() == "28000",
                (Err(error), SslMode::Prefer) => {
                    error.code() == "28000" || matches!(error, PgError::Tls { .. })
                }
                _ => false,
            };
            match other_way && target.socket().is_none() {
                true => Session::attempt(target, purpose, plain_first).await.or(first),
                false => first,
            }
        };
        let seconds = target.connect_timeout.as_secs();
        match tokio::time::timeout(target.connect_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(PgError::Timeout { at: target.at(), what: "connecting", seconds }),
        }
    }

    async fn attempt(target: &Target, purpose: Purpose, tls: bool) -> Result<Session, PgError> {
        let failed = |error| PgError::Connect { at: target.at(), error };
        let socket: Box<dyn Socket> = match target.socket() {
            Some(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
            None => {
                let address = (target.host.as_str(), target.port);
                let tcp = TcpStream::connect(address).await.map_err(failed)?;
                tcp.set_nodelay(true).map_err(failed)?;
                let probing = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
                SockRef::from(&tcp).set_tcp_keepalive(&probing).map_err(failed)?;
                match tls {
                    true => secured(target, tcp).await?,
                    false => Box::new(tcp),
                }
            }
        };
        let (incoming, outgoing) = halves::split(target.at(), socket);
        let mut session = Session { incoming, outgoing, parameters: BTreeMap::new() };
        session.start(target, purpose).await?;
        Ok(session)
    }

    async fn start(&mut self, target: &Target, purpose: Purpose) -> Result<(), PgError> {
        put_sized(&mut self.outgoing.output, |out| {
            out.put_u32(PROTOCOL_VERSION);
            let named = [
                ("user", target.user.as_str()),
                ("database", target.database.as_str()),
                ("application_name", target.application_name.as_str()),
            ];
            let replication = [("replication", "database")];
            let replication = replication.iter().filter(|_| purpose == Purpose::Replication);
            let own = purpose == Purpose::Statements;
            let pinned = PINNED.iter().filter(|(name, _)| !own || *name == "client_encoding");
            for (name, value) in named.iter().chain(pinned).chain(replication) {
                put_text(out, name);
                put_text(out, value);
            }
            out.put_u8(0);
        });
        self.flush().await?;
        let mut scram = None;
        loop {
            let frame = self.frame(frame::MESSAGE_BYTES_MAX_AT_START).await?;
            match frame.kind {
                b'R' => self.authenticate(target, frame.body, &mut scram).await?,
                b'S' => self.take_parameter(frame.body)?,
                b'K' | b'N' => {}
                b'E' => return Err(self.failed("connecting", &frame.body)),
                b'Z' => return Ok(()),
                _ => return Err(self.unexpected(&frame, "connecting")),
            }
        }
    }

    async fn authenticate(
        &mut self,
        target: &Target,
        body: Bytes,
        scram: &mut Option<ScramSha256>,
    ) -> Result<(), PgError> {
        let refused =
            |reason: String| PgError::Auth { at: target.at(), user: target.user.clone(), reason };
        let password = || {
            target.password.as_deref().ok_or_else(|| {
                refused("it asks for a password: set `database.password`".to_owned())
            })
        };
        let mut body = Body(body);
        let kind = body.u32("authentication").map_err(|bad| self.malformed(bad))?;
        match kind {
            0 => return Ok(()),
            3 => {
                let password = password()?;
                put(&mut self.outgoing.output, b'p', |out| put_text(out, password));
            }
            5 => {
                let salt = body.u32("salt").map_err(|bad| self.malformed(bad))?;
                let user = target.user.as_bytes();
                let hash = md5_hash(user, password()?.as_bytes(), salt.to_be_bytes());
                put(&mut self.outgoing.output, b'p', |out| put_text(out, &hash));
            }
            10 => {
                let mut offered = Vec::new();
                while let Ok(name) = body.text("mechanism") {
                    offered.push(name);
                }
                if !offered.iter().any(|name| name == sasl::SCRAM_SHA_256) {
                    let offered = offered.join(", ");
                    return Err(refused(format!("it offers {offered}, not SCRAM-SHA-256")));
                }
                let binding = ChannelBinding::unsupported();
                let state = scram.insert(ScramSha256::new(password()?.as_bytes(), binding));
                put(&mut self.outgoing.output, b'p', |out| {
                    put_text(out, sasl::SCRAM_SHA_256);
                    put_sized_exclusive(out, state.message());
                });
            }
            11 | 12 => {
                let Some(state) = scram else {
                    return Err(self.malformed(Malformed("order of authentication")));
                };
                let wrong = |error: io::Error| refused(error.to_string());
                if kind == 12 {
                    return state.finish(&body.0).map_err(wrong);
                }
                state.update(&body.0).map_err(wrong)?;
                put(&mut self.outgoing.output, b'p', |out| out.put_slice(state.message()));
            }
            other => {
                let reason = format!("it asks for authentication method {other}, not SCRAM");
                return Err(refused(reason));
            }
        }
        self.flush().await
    }

    /// What the server said about itself, such as `server_version`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    fn take_parameter(&mut self, body: Bytes) -> Result<(), PgError> {
        let mut body = Body(body);
        let pair = body.text("parameter").and_then(|name| Ok((name, body.text("parameter")?)));
        let (name, value) = pair.map_err(|bad| self.malformed(bad))?;
        self.parameters.insert(name, value);
        Ok(())
    }

    /// Runs statements; the answer is the last one's that has rows.
    pub async fn query(&mut self, sql: &str) -> Result<Rows, PgError> {
        self.send_query(sql).await?;
        let mut answer = Rows::default();
        let mut error = None;
        loop {
            let frame = self.frame(frame::MESSAGE_BYTES_MAX).await?;
            match frame.kind {
                b'T' => {
                    let columns = column_names(frame.body).map_err(|bad| self.malformed(bad))?;
                    answer = Rows { columns, rows: Vec::new() };
                }
                b'D' => {
                    answer.rows.push(row(frame.body).map_err(|bad| self.malformed(bad))?);
                }
                b'E' => error = Some(self.failed(sql, &frame.body)),
                b'Z' => return error.map_or(Ok(answer), Err),
                b'S' => self.take_parameter(frame.body)?,
                b'C' | b'I' | b'N' | b'A' => {}
                _ => return Err(self.unexpected(&frame, sql)),
            }
        }
    }

    /// Starts a `COPY … TO STDOUT`: rows follow by [`copied`](Session::copied).
    pub async fn copy_out(&mut self, sql: &str) -> Result<(), PgError> {
        self.start_copy(sql, b'H').await
    }

    /// The next row of the copy; nothing at its end, when queries may follow.
    pub async fn copied(&mut self) -> Result<Option<Bytes>, PgError> {
        let mut error = None;
        loop {
            let frame = self.frame(frame::MESSAGE_BYTES_MAX).await?;
            match frame.kind {
                b'd' => return Ok(Some(frame.body)),
                b'E' => error = Some(self.failed("copying a table", &frame.body)),
                b'Z' => return error.map_or(Ok(None), Err),
                b'S' => self.take_parameter(frame.body)?,
                b'c' | b'C' | b'N' | b'A' => {}
                _ => return Err(self.unexpected(&frame, "copying a table")),
            }
        }
    }

    /// Starts a stream of changes; the connection is one from then on.
    pub async fn replicate(mut self, command: &str) -> Result<ChangeStream, PgError> {
        self.start_copy(command, b'W').await?;
        Ok(ChangeStream::new(self.incoming, self.outgoing))
    }

    async fn start_copy(&mut self, sql: &str, answer: u8) -> Result<(), PgError> {
        self.send_query(sql).await?;
        let mut error = None;
        loop {
            let frame = self.frame(frame::MESSAGE_BYTES_MAX).await?;
            match frame.kind {
                kind if kind == answer => return Ok(()),
                b'E' => error = Some(self.failed(sql, &frame.body)),
                b'S' => self.take_parameter(frame.body)?,
                b'N' | b'A' => {}
                b'Z' if error.is_some() => {}
                _ => return Err(self.unexpected(&frame, sql)),
            }
            if frame.kind == b'Z'
                && let Some(error) = error
            {
                return Err(error);
            }
        }
    }

    /// Says goodbye, so that the server frees what the connection holds at once.
    pub async fn close(mut self) {
        put(&mut self.outgoing.output, b'X', |_| {});
        // The server notices either way.
        let _ = self.flush().await;
        let _ = self.outgoing.sink.shutdown().await;
    }

    async fn send_query(&mut self, sql: &str) -> Result<(), PgError> {
        put(&mut self.outgoing.output, b'Q', |out| put_text(out, sql));
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), PgError> {
        self.outgoing.flush().await
    }

    /// The next message, waited for.
    async fn frame(&mut self, bytes_max: usize) -> Result<Frame, PgError> {
        self.incoming.frame(bytes_max).await
    }

    fn failed(&self, doing: &str, fields: &[u8]) -> PgError {
        halves::failed(&self.incoming.at, doing, fields)
    }

    fn malformed(&self, bad: Malformed) -> PgError {
        halves::malformed(&self.incoming.at, bad)
    }

    fn unexpected(&self, frame: &Frame, doing: &str) -> PgError {
        halves::unexpected(&self.incoming.at, frame, doing)
    }
}

/// PostgreSQL counts time from 2000 on.
pub const EPOCH_2000_US: i64 = 946_684_800_000_000;

async fn secured(target: &Target, mut tcp: TcpStream) -> Result<Box<dyn Socket>, PgError> {
    let failed = |error| PgError::Connect { at: target.at(), error };
    let refused = |reason| PgError::Tls { at: target.at(), reason };
    let connector = tls::connector(&target.ssl).map_err(refused)?;
    let mut request = BytesMut::new();
    put_sized(&mut request, |out| out.put_u32(SSL_REQUEST));
    tcp.write_all(&request).await.map_err(failed)?;
    // One byte and no more: what follows it must come through TLS (CVE-2021-23222).
    match tcp.read_u8().await.map_err(failed)? {
        b'S' => {}
        _ if target.ssl.mode == SslMode::Prefer => return Ok(Box::new(tcp)),
        _ => return Err(refused("the server does not offer it".to_owned())),
    }
    let name = ServerName::try_from(target.host.clone());
    let name = name.map_err(|_| refused(format!("'{}' is no name of a host", target.host)))?;
    let secured = connector.connect(name, tcp).await;
    Ok(Box::new(secured.map_err(|error| refused(tls::refusal(&error)))?))
}

fn column_names(body: Bytes) -> Result<Vec<String>, Malformed> {
    let mut body = Body(body);
    let count = body.u16("number of columns")?;
    let mut names = Vec::new();
    for _ in 0..count {
        names.push(body.text("name of a column")?);
        // Table, number, type, size, modifier, format.
        body.bytes(18, "column")?;
    }
    Ok(names)
}

fn row(body: Bytes) -> Result<Vec<Option<String>>, Malformed> {
    let mut body = Body(body);
    let count = body.u16("number of values")?;
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(match body.i32("length of a value")? {
            -1 => None,
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("length"))?;
                let text = body.bytes(length, "value")?;
                Some(String::from_utf8_lossy(&text).into_owned())
            }
        });
    }
    Ok(values)
}

/// Appends a length that does not count itself, and the bytes.
fn put_sized_exclusive(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).expect("what we send is short"));
    out.put_slice(bytes);
}
