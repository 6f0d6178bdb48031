//! The broker over TCP: Kafka's protocol on a socket.
//!
//! ```text
//! accept ─► connection ─► frames (bounded, as bytes arrive) ─► decode ─► handler ─► one write
//!              │              └ memory: what all requests may hold together
//!              └ one task; requests begin and are answered in the order in which they came
//! ```
//!
//! - [`connection`]: one client: its order of requests, its timeouts, its end;
//! - [`frames`]: bytes to frames within bounds; [`memory`]: the budgets;
//! - [`fetch_sessions`]: what readers of many partitions have been told;
//! - [`handlers`]: what each API does, one file for each, and the table of them.
//!
//! Invariants:
//! - What one client sends or leaves unread costs the others nothing: memory is taken as bytes
//!   arrive and from a bounded budget, and a client that stalls in a frame or does not read is cut
//!   off. A frame that is no request closes its own connection, with one line in the log.
//! - Requests of a connection take effect in the order in which they were sent, and responses go
//!   out in that order. Only waiting for the disk overlaps: a produce request is appended while
//!   those before it are still being synced.
//! - Shutting down begins nothing new; what has been begun is answered, within a bound.
//! - Only what has a handler is advertised.

mod connection;
mod fetch_sessions;
mod frames;
mod handlers;
mod memory;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use fetch_sessions::FetchSessions;
use memory::Budget;

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

/// How a server listens, and its bounds.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// HOST:PORT; port 0 takes any free one.
    pub listen: String,
    /// What clients are told to connect to; `None`: the address by which each has come, which is
    /// one that it can reach.
    pub advertised: Option<HostPort>,
    /// `max.connections`; more are closed at once.
    pub connections_max: usize,
    /// `connections.max.idle.ms`: a connection on which nothing happens is closed.
    pub idle_timeout: Duration,
    /// A client that stops, or all but stops, in the middle of a request, or does not read its
    /// responses, for this long is cut off.
    pub stall_timeout: Duration,
    /// `socket.request.max.bytes`, for Produce.
    pub produce_bytes_max: usize,
    /// The same for all others, which can take far more memory decoded than encoded.
    pub request_bytes_max: usize,
    /// What the requests of all connections may hold together.
    pub request_memory_bytes: usize,
    /// What the records in all responses may hold together until they are sent.
    pub response_memory_bytes: usize,
    /// `fetch.max.bytes`: the most that one response brings, save for a larger single batch.
    pub fetch_bytes_max: usize,
    /// How long a shutdown waits for what has been begun.
    pub shutdown_grace: Duration,
}

impl ServerConfig {
    pub fn new(listen: impl Into<String>) -> ServerConfig {
        ServerConfig {
            listen: listen.into(),
            advertised: None,
            connections_max: 4096,
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(60),
            produce_bytes_max: 100 << 20,
            request_bytes_max: 16 << 20,
            request_memory_bytes: 512 << 20,
            response_memory_bytes: 512 << 20,
            fetch_bytes_max: 55 << 20,
            shutdown_grace: Duration::from_secs(5),
        }
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
}

/// A listening socket that has not begun to accept.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    broker: Arc<Broker>,
    config: ServerConfig,
    request_memory: Budget,
    response_memory: Budget,
    /// How many appends may decompress at once.
    heavy_appends: Semaphore,
    /// Held from reading a topic's configs to writing them.
    config_changes: AsyncMutex<()>,
    fetch_sessions: Mutex<FetchSessions>,
    started: Instant,
    shutdown: CancellationToken,
}

impl Shared {
    /// Does something to the fetch sessions; also says how many ms this server has run.
    fn with_fetch_sessions<T>(&self, work: impl FnOnce(&mut FetchSessions, u64) -> T) -> T {
        let now_ms = self.started.elapsed().as_millis() as u64;
        // No code panics with the sessions half changed.
        let mut sessions = self.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut sessions, now_ms)
    }
}

/// A pause after the system has run out of something, for which there is no event to wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the log is told of connections that were refused.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

impl Server {
    pub async fn bind(broker: Arc<Broker>, config: ServerConfig) -> Result<Server, BindError> {
        let failed = |source: io::Error| {
            let address = config.listen.clone();
            match source.kind() {
                io::ErrorKind::AddrInUse => BindError::InUse { address },
                _ => BindError::Other { address, source },
            }
        };
        let listener = TcpListener::bind(&config.listen).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        let shared = Arc::new(Shared {
            broker,
            request_memory: Budget::new(config.request_memory_bytes),
            response_memory: Budget::new(config.response_memory_bytes),
            heavy_appends: Semaphore::new(2 * cores),
            config_changes: AsyncMutex::new(()),
            fetch_sessions: Mutex::default(),
            started: Instant::now(),
            shutdown: CancellationToken::new(),
            config,
        });
        Ok(Server { listener, local_addr, shared })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown`, then lets what has been begun end, within
    /// [`ServerConfig::shutdown_grace`].
    pub async fn run(self, shutdown: CancellationToken) {
        let Server { listener, shared, .. } = self;
        let connections = TaskTracker::new();
        let abort = CancellationToken::new();
        let free = Arc::new(Semaphore::new(shared.config.connections_max));
        let (mut refused, mut told) = (0, None::<Instant>);
        while let Some(accepted) = shutdown.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = free.clone().try_acquire_owned() else {
                shared.broker.metrics().connections_refused.inc();
                refused += 1;
                // A flood of connections must not become one of log lines.
                if told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
                    let max = shared.config.connections_max;
                    tracing::warn!(%peer, max, refused,
                        "closed connections: as many as may be are open");
                    (told, refused) = (Some(Instant::now()), 0);
                }
                continue;
            };
            let (shared, abort) = (shared.clone(), abort.clone());
            connections.spawn(async move {
                _ = abort.run_until_cancelled(connection::serve(stream, peer, shared)).await;
                drop(slot);
            });
        }
        drop(listener);
        shared.shutdown.cancel();
        connections.close();
        if timeout(shared.config.shutdown_grace, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut off what did not end in time");
            abort.cancel();
            connections.wait().await;
        }
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
