//! Where a broker listens: each listener with its name, its protocol, and what clients who come
//! by it are told.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::stream::{Input, Output, Socket};
use crate::security::sasl::Mechanism;
use crate::security::tls::{Tls, TlsConfig};
use crate::security::{Principal, SecurityProtocol};

/// Where clients reach a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

/// Why a text is no address.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no address; expected HOST:PORT, such as localhost:9092")]
pub struct HostPortError(String);

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<HostPort, HostPortError> {
        let wrong = || HostPortError(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        // An IPv6 address stands in brackets, without which its colons would be ambiguous.
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.is_empty() { Err(wrong()) } else { Ok(HostPort { host: host.to_owned(), port }) }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How one listener listens.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    pub name: String,
    /// HOST:PORT; port 0 takes any free one.
    pub listen: String,
    pub protocol: SecurityProtocol,
    /// What clients are told to connect to; `None`: the address by which each has come, which is
    /// one that it can reach.
    pub advertised: Option<HostPort>,
    /// For protocols with TLS.
    pub tls: Option<TlsConfig>,
    /// For those with SASL: `sasl.enabled.mechanisms`.
    pub mechanisms: Vec<Mechanism>,
    /// `connections.max.reauth.ms` of single mechanisms; `None`: for ever.
    pub session_max: Vec<(Mechanism, Option<Duration>)>,
    /// `max.connections` of this listener alone.
    pub connections_max: usize,
    /// `max.connection.creation.rate` of this listener alone, by the second.
    pub connection_rate_max: f64,
}

impl ListenerConfig {
    /// Without security.
    pub fn plaintext(listen: impl Into<String>) -> ListenerConfig {
        let protocol = SecurityProtocol::Plaintext;
        ListenerConfig {
            name: protocol.name().to_owned(),
            listen: listen.into(),
            protocol,
            advertised: None,
            tls: None,
            mechanisms: Vec::new(),
            session_max: Vec::new(),
            connections_max: usize::MAX,
            connection_rate_max: f64::INFINITY,
        }
    }

    /// How long a client stays whom it has said to be, where the listener has its own rule.
    pub(super) fn session_max(&self, mechanism: Mechanism) -> Option<Option<Duration>> {
        self.session_max.iter().find(|(of, _)| *of == mechanism).map(|(_, max)| *max)
    }
}

/// Why a server cannot listen.
#[derive(Debug, Error)]
pub enum BindError {
    #[error(
        "cannot listen on {address}: the address is in use, perhaps by another broker; choose \
         another by --listen HOST:PORT (port 0 takes any free one), or by listeners in a \
         server.properties"
    )]
    InUse { address: String },
    #[error(
        "cannot listen on {address}: {source}; choose another address by --listen HOST:PORT, or by \
         listeners in a server.properties"
    )]
    Other { address: String, source: io::Error },
    #[error("listener {listener}: {reason}")]
    Security { listener: String, reason: String },
    #[error("{0}")]
    Authentication(String),
    #[error("there is no listener; name one by listeners in a server.properties")]
    Nowhere,
}

/// A listener that listens.
#[derive(Debug)]
pub struct Listener {
    pub config: ListenerConfig,
    pub local_addr: SocketAddr,
    tls: Option<Tls>,
}

/// How long the end of a TLS session may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl Listener {
    pub async fn bind(config: ListenerConfig) -> Result<(TcpListener, Listener), BindError> {
        let failed = |source: io::Error| {
            let address = config.listen.clone();
            match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse { address },
                _ => BindError::Other { address, source },
            }
        };
        let refused =
            |reason: String| BindError::Security { listener: config.name.clone(), reason };
        let tls = match &config.tls {
            Some(tls) if config.protocol.has_tls() => Some(Tls::new(tls.clone()).map_err(refused)?),
            None if config.protocol.has_tls() => {
                let reason = "TLS needs a certificate and a key: ssl.keystore.type = PEM with \
                              ssl.keystore.location, or ssl.keystore.certificate.chain and \
                              ssl.keystore.key";
                return Err(refused(reason.to_owned()));
            }
            _ => None,
        };
        if config.protocol.has_sasl() && config.mechanisms.is_empty() {
            let reason = "SASL needs mechanisms: sasl.enabled.mechanisms";
            return Err(refused(reason.to_owned()));
        }
        let socket = TcpListener::bind(&config.listen).await.map_err(failed)?;
        let local_addr = socket.local_addr().map_err(failed)?;
        Ok((socket, Listener { config, local_addr, tls }))
    }

    /// For those who come by a door: it listens nowhere.
    pub fn inside() -> Listener {
        let local_addr = SocketAddr::from(([127, 0, 0, 1], 0));
        Listener {
            config: ListenerConfig::plaintext(local_addr.to_string()),
            local_addr,
            tls: None,
        }
    }

    /// What a client that has come by this stream is told.
    pub fn advertised(&self, stream: &Socket) -> io::Result<HostPort> {
        if let Some(advertised) = &self.config.advertised {
            return Ok(advertised.clone());
        }
        let local = match stream {
            Socket::Tcp(stream) => stream.local_addr()?,
            Socket::Inside(_) => self.local_addr,
        };
        Ok(HostPort { host: local.ip().to_canonical().to_string(), port: local.port() })
    }

    /// Shakes hands if that is to be done; who the client is by its certificate.
    pub async fn open(&self, stream: Socket) -> io::Result<(Input, Output, Principal)> {
        let stream = match stream {
            Socket::Tcp(stream) => stream,
            Socket::Inside(stream) => {
                let (input, output) = tokio::io::split(stream);
                return Ok((Input::Inside(input), Output::Inside(output), Principal::anonymous()));
            }
        };
        let Some(tls) = &self.tls else {
            let (input, output) = stream.into_split();
            return Ok((Input::Plain(input), Output::Plain(output), Principal::anonymous()));
        };
        let (stream, principal) = tls.accept(stream).await?;
        let (input, output) = tokio::io::split(stream);
        Ok((Input::Tls(input), Output::Tls(output), principal))
    }
}

/// Tells the other side of a TLS session that it ends here, and is not cut off.
pub async fn close(mut output: Output) {
    if let Output::Tls(output) = &mut output {
        // Whoever does not listen any more need not hear it.
        _ = timeout(CLOSE_TIMEOUT, output.shutdown()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports() {
        let parsed = |text: &str| text.parse::<HostPort>().map(|parsed| parsed.to_string());
        assert_eq!(parsed("localhost:9092").unwrap(), "localhost:9092");
        assert_eq!(parsed("[::1]:0").unwrap(), "[::1]:0");
        for wrong in ["localhost", ":1", "::1:9092", "[::1:9092", "a:70000", "a:"] {
            assert_eq!(parsed(wrong), Err(HostPortError(wrong.to_owned())), "{wrong}");
        }
    }
}
