//! One socket to one broker: requests and responses in turn, in versions that both sides speak.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::AdminError;
use super::question::Question;
use crate::client::secured::{Login, Secured, Stream, tls_refusal};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k17_sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::protocol::messages::k18_api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::protocol::messages::k36_sasl_authenticate::{
    SaslAuthenticateRequest, SaslAuthenticateResponse,
};
use crate::server::HostPort;

/// The first version of it whose exchange is one of requests (KIP-152).
pub const HANDSHAKE_FROM: i16 = 1;

/// How long a broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest response that is taken.
const RESPONSE_BYTES_MAX: usize = 100 << 20;
/// Room made at once for a response; more comes as its bytes do.
const READ_BYTES: usize = 64 << 10;
/// The first version in which the client names itself. Older brokers answer error 35 in version 0
/// (KIP-511).
const API_VERSIONS: i16 = 3;

/// See the module.
#[derive(Debug)]
pub struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    client_id: String,
    correlation_id: i32,
    /// By key; what the broker has said.
    pub versions: ApiVersionsResponse,
    spans: HashMap<i16, (i16, i16)>,
    has_tls: bool,
    /// How long the login holds, if not for ever (KIP-368).
    pub session: Option<Duration>,
}

/// Whether a broker takes the mechanism.
pub fn check_mechanism(answer: &SaslHandshakeResponse) -> Result<(), String> {
    if !answer.error_code.is_error() {
        return Ok(());
    }
    let offered = answer.mechanisms.join(", ");
    Err(format!("{}; it takes {offered}: see sasl.mechanism", answer.error_code.message()))
}

/// Whether a broker goes on with a login.
pub fn check_login(
    answer: SaslAuthenticateResponse,
    login: &Login,
) -> Result<SaslAuthenticateResponse, String> {
    if !answer.error_code.is_error() {
        return Ok(answer);
    }
    let told = answer.error_message.filter(|told| !told.is_empty());
    let reason = told.unwrap_or_else(|| answer.error_code.message().to_owned());
    Err(format!("{}; {}", reason.trim_end_matches('.'), login.advice()))
}

/// How long a login holds, by the answer that ends it.
pub fn session_of(answer: &SaslAuthenticateResponse) -> Option<Duration> {
    let lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|ms| *ms > 0)?;
    Some(Duration::from_millis(lifetime))
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker closed it".to_owned(),
        _ => error.to_string(),
    }
}

fn unreachable(address: &str, reason: String) -> AdminError {
    AdminError::Unreachable { address: address.to_owned(), reason }
}

impl Connection {
    pub async fn open(
        address: &HostPort,
        client_id: &str,
        secured: &Secured,
    ) -> Result<Connection, AdminError> {
        if let Some(door) = secured.door() {
            let name = address.to_string();
            return match door.enter().await {
                Ok(stream) => Connection::begin(Box::new(stream), name, client_id, secured).await,
                Err(error) => Err(unreachable(&name, error.to_string())),
            };
        }
        let connect = TcpStream::connect((address.host.as_str(), address.port));
        Connection::over(connect, address, client_id, secured).await
    }

    /// The same, where `address` has been looked up before.
    pub async fn open_at(
        at: SocketAddr,
        address: &HostPort,
        client_id: &str,
        secured: &Secured,
    ) -> Result<Connection, AdminError> {
        Connection::over(TcpStream::connect(at), address, client_id, secured).await
    }

    async fn over(
        connect: impl Future<Output = io::Result<TcpStream>>,
        address: &HostPort,
        client_id: &str,
        secured: &Secured,
    ) -> Result<Connection, AdminError> {
        let name = address.to_string();
        let unreachable = |reason| unreachable(&name, reason);
        let stream = match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(error.to_string())),
            Err(_) => return Err(unreachable(format!("not within {CONNECT_TIMEOUT:?}"))),
        };
        // Small requests go out at once; where that cannot be set they go out a little later.
        let _ = stream.set_nodelay(true);
        let stream = match timeout(CONNECT_TIMEOUT, secured.wrap(stream, &address.host)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                let Some(reason) = tls_refusal(&error) else {
                    return Err(unreachable(format!(
                        "the TLS handshake broke off: {}; perhaps this port does not speak TLS: \
                         see security.protocol",
                        told(&error)
                    )));
                };
                let reason = format!("the TLS handshake failed: {reason}");
                return Err(AdminError::NotLetIn { address: name, reason });
            }
            Err(_) => return Err(unreachable("the TLS handshake came to no end".to_owned())),
        };
        Connection::begin(stream, name, client_id, secured).await
    }

    /// Finds out what the broker speaks, and logs in.
    async fn begin(
        stream: Box<dyn Stream>,
        name: String,
        client_id: &str,
        secured: &Secured,
    ) -> Result<Connection, AdminError> {
        let mut connection = Connection {
            address: name.clone(),
            stream,
            client_id: client_id.to_owned(),
            correlation_id: 0,
            versions: ApiVersionsResponse::default(),
            spans: HashMap::new(),
            has_tls: secured.has_tls(),
            session: None,
        };
        let prepared = async {
            connection.negotiate().await?;
            match &secured.login {
                Some(login) => connection.log_in(login).await,
                None => Ok(()),
            }
        };
        match timeout(CONNECT_TIMEOUT, prepared).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(AdminError::Broken { reason, .. })) => Err(unreachable(&name, reason)),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let reason = "it accepts connections but does not answer".to_owned();
                Err(unreachable(&name, reason))
            }
        }
    }

    async fn negotiate(&mut self) -> Result<(), AdminError> {
        let request = ApiVersionsRequest {
            client_software_name: "millstream".to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.send(API_VERSIONS, request).await?;
        let frame = self.receive::<ApiVersionsRequest>().await?;
        // Correlation id, then the code: in version 0 if the version asked for is not known.
        let code = frame.get(4..6).map(|code| i16::from_be_bytes([code[0], code[1]]));
        let too_new = code == Some(ErrorCode::UNSUPPORTED_VERSION.0);
        let version = if too_new { 0 } else { API_VERSIONS };
        let mut response: ApiVersionsResponse =
            self.decode::<ApiVersionsRequest>(version, frame)?;
        if too_new {
            // The list is there as well, from 2.4 on; older ones have to be asked again.
            self.send(0, ApiVersionsRequest::default()).await?;
            let frame = self.receive::<ApiVersionsRequest>().await?;
            response = self.decode::<ApiVersionsRequest>(0, frame)?;
        }
        super::check(response.error_code, None, &self.address)?;
        let span = |api: &crate::protocol::messages::k18_api_versions::ApiVersion| {
            (api.api_key, (api.min_version, api.max_version))
        };
        self.spans = response.api_keys.iter().map(span).collect();
        self.versions = response;
        Ok(())
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), AdminError> {
        let mechanism = login.mechanism().to_owned();
        let answer = self.ask(HANDSHAKE_FROM, SaslHandshakeRequest { mechanism }).await?;
        check_mechanism(&answer).map_err(|reason| self.not_let_in(reason))?;
        let (mut exchange, first) = login.begin().map_err(|reason| self.not_let_in(reason))?;
        let mut next = Some(first);
        while let Some(auth_bytes) = next {
            let answer = self.ask(0, SaslAuthenticateRequest { auth_bytes }).await?;
            let answer = check_login(answer, login).map_err(|reason| self.not_let_in(reason))?;
            self.session = session_of(&answer);
            next = exchange.next(&answer.auth_bytes).map_err(|reason| self.not_let_in(reason))?;
        }
        Ok(())
    }

    fn not_let_in(&self, reason: String) -> AdminError {
        AdminError::NotLetIn { address: self.address.clone(), reason }
    }

    /// Asks in the newest version that both sides have, which is `from` or later.
    pub async fn ask<Q: Question>(&mut self, from: i16, asked: Q) -> Result<Q::Answer, AdminError> {
        let version = self.version::<Q>(from)?;
        self.send(version, asked).await?;
        let frame = self.receive::<Q>().await?;
        self.decode::<Q>(version, frame)
    }

    /// The newest version that both sides have, which is `from` or later.
    pub fn version<Q: Question>(&self, from: i16) -> Result<i16, AdminError> {
        let (ours_min, ours_max) = Q::versions().into_inner();
        let newest = self.spans.get(&Q::KEY).and_then(|(min, max)| {
            let newest = ours_max.min(*max);
            (newest >= ours_min.max(*min).max(from)).then_some(newest)
        });
        newest.ok_or_else(|| {
            let version = if self.serves(Q::KEY) { from.max(ours_min) } else { 0 };
            AdminError::NotServed { address: self.address.clone(), api: Q::NAME, version }
        })
    }

    pub fn serves(&self, api_key: i16) -> bool {
        self.spans.contains_key(&api_key)
    }

    async fn send<Q: Question>(&mut self, version: i16, asked: Q) -> Result<(), AdminError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        // Only a field that an old version lacks: what was asked for cannot be had there.
        let encoded = asked.encode(version, self.correlation_id, &self.client_id);
        let mut frame = encoded.map_err(|error| AdminError::Malformed {
            address: self.address.clone(),
            reason: error.to_string(),
        })?;
        let sent = async {
            self.stream.write_all_buf(&mut frame).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| self.broken::<Q>(error))
    }

    async fn receive<Q: Question>(&mut self) -> Result<Bytes, AdminError> {
        let mut length = [0; 4];
        let read = self.stream.read_exact(&mut length).await;
        read.map_err(|error| self.broken::<Q>(error))?;
        let claimed = i32::from_be_bytes(length);
        let length = usize::try_from(claimed).ok().filter(|length| *length <= RESPONSE_BYTES_MAX);
        let Some(length) = length else {
            // A record of TLS that begins so says that ours was none.
            let reason = match claimed.to_be_bytes() {
                [0x15, 3, ..] if !self.has_tls => {
                    "this port speaks TLS: say so by security.protocol=SSL or SASL_SSL".to_owned()
                }
                _ => format!("it claims a length of {claimed} bytes"),
            };
            return Err(AdminError::Malformed { address: self.address.clone(), reason });
        };
        let mut frame = BytesMut::with_capacity(length.min(READ_BYTES));
        while frame.len() < length {
            let missing = (length - frame.len()) as u64;
            let read = (&mut self.stream).take(missing).read_buf(&mut frame).await;
            if read.map_err(|error| self.broken::<Q>(error))? == 0 {
                let error = io::ErrorKind::UnexpectedEof;
                return Err(self.broken::<Q>(error.into()));
            }
        }
        Ok(frame.freeze())
    }

    fn decode<Q: Question>(&self, version: i16, frame: Bytes) -> Result<Q::Answer, AdminError> {
        let malformed = |reason: String| {
            let address = self.address.clone();
            AdminError::Malformed { address, reason }
        };
        let (correlation_id, answer) =
            Q::decode(version, frame).map_err(|error| malformed(error.to_string()))?;
        if correlation_id != self.correlation_id {
            let expected = self.correlation_id;
            return Err(malformed(format!("it answers request {correlation_id}, not {expected}")));
        }
        answer.ok_or_else(|| malformed(format!("it does not answer {}", Q::NAME)))
    }

    fn broken<Q: Question>(&self, error: io::Error) -> AdminError {
        let address = self.address.clone();
        match tls_refusal(&error) {
            // By TLS 1.3 a client hears only here what the server thinks of its certificate.
            Some(reason) => AdminError::NotLetIn { address, reason },
            None => AdminError::Broken { address, api: Q::NAME, reason: told(&error) },
        }
    }

    /// What is below, for whoever goes on by it.
    pub fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }
}
