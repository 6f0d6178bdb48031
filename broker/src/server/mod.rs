//! The broker over TCP: Kafka's protocol on a socket.
//!
//! ```text
//! accept ─► connection ─► frames (bounded, as bytes arrive) ─► decode ─► handler ─► one write
//!              │              └ memory: what all requests may hold together
//!              └ one task; requests begin and are answered in the order in which they came
//! ```
//!
//! - [`listener`]: where clients come, and by which protocol; [`stream`]: with TLS or without;
//!   [`connection_limits`]: how many of them, and how often ([`rate`]);
//! - [`connection`]: one client: its order of requests, its timeouts, its end;
//! - [`authentication`]: who it is; [`authorization`]: what it may do, and who is told otherwise;
//! - [`frames`]: bytes to frames within bounds; [`memory`]: the budgets;
//! - [`fetch_sessions`]: what readers of many partitions have been told;
//! - [`throttle`]: keeping clients to their quotas;
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
//! - Before a client of a listener with SASL is known it is answered nothing but how to become
//!   known, and can take no more memory than one small frame. Whatever a request is about, its
//!   handler asks first whether the client may; clients in this process are not asked.

mod authentication;
mod authorization;
mod connection;
mod connection_limits;
mod fetch_sessions;
mod frames;
mod handlers;
mod listener;
mod memory;
mod rate;
mod stream;
mod throttle;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::authorization::AuthorizerConfig;
use self::authorization::{Audit, Authorizer};
use self::connection_limits::{ConnectionCounts, Place};
pub use self::connection_limits::{ConnectionLimits, Full};
use self::listener::Listener;
pub use self::listener::{BindError, HostPort, HostPortError, ListenerConfig};
pub use self::rate::Windows;
pub use self::stream::Door;
use self::stream::{Callers, Socket};
pub use self::throttle::QuotaConfig;
use self::throttle::Throttle;
use crate::broker::Broker;
use crate::security::sasl::{Authority, Mechanism, SaslConfig};
use crate::security::store::SecurityStore;
use fetch_sessions::FetchSessions;
use memory::Budget;

/// How a server listens, and its bounds.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// One at least.
    pub listeners: Vec<ListenerConfig>,
    /// For listeners with SASL.
    pub sasl: SaslConfig,
    /// Without one, every client may do everything.
    pub authorizer: Option<AuthorizerConfig>,
    pub connections: ConnectionLimits,
    /// `connections.max.idle.ms`: a connection on which nothing happens is closed.
    pub idle_timeout: Duration,
    /// A client that stops, or all but stops, in the middle of a request, or does not read its
    /// responses, for this long is cut off; so is one that is not known by then.
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
    /// Over what quotas are measured.
    pub quotas: QuotaConfig,
    /// How long a shutdown waits for what has been begun.
    pub shutdown_grace: Duration,
}

impl ServerConfig {
    /// One listener without security.
    pub fn new(listen: impl Into<String>) -> ServerConfig {
        let listeners = vec![ListenerConfig::plaintext(listen)];
        ServerConfig { listeners, ..ServerConfig::nowhere() }
    }

    /// Without any listener.
    pub fn nowhere() -> ServerConfig {
        ServerConfig {
            listeners: Vec::new(),
            sasl: SaslConfig::default(),
            authorizer: None,
            connections: ConnectionLimits::default(),
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(60),
            produce_bytes_max: 100 << 20,
            request_bytes_max: 16 << 20,
            request_memory_bytes: 512 << 20,
            response_memory_bytes: 512 << 20,
            fetch_bytes_max: 55 << 20,
            quotas: QuotaConfig::default(),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Listening sockets that have not begun to accept.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(TcpListener, Arc<Listener>)>,
    callers: Option<Callers>,
    shared: Arc<Shared>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    broker: Arc<Broker>,
    config: ServerConfig,
    authority: Authority,
    authorizer: Option<Authorizer>,
    audit: Audit,
    throttle: Throttle,
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
    fn new(broker: Arc<Broker>, config: ServerConfig) -> Result<Arc<Shared>, BindError> {
        let store = broker.security().clone();
        tell_of_idle_rules(&config, &store);
        let takes = |one: &ListenerConfig| one.mechanisms.contains(&Mechanism::OAuthBearer);
        let takes_tokens = config.listeners.iter().any(takes);
        let authority = Authority::new(store.clone(), &config.sasl, takes_tokens)
            .map_err(BindError::Authentication)?;
        let authorizer = config.authorizer.clone().map(|config| Authorizer::new(config, store));
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        Ok(Arc::new(Shared {
            broker,
            authority,
            authorizer,
            audit: Audit::default(),
            throttle: Throttle::new(config.quotas),
            request_memory: Budget::new(config.request_memory_bytes),
            response_memory: Budget::new(config.response_memory_bytes),
            heavy_appends: Semaphore::new(2 * cores),
            config_changes: AsyncMutex::new(()),
            fetch_sessions: Mutex::default(),
            started: Instant::now(),
            shutdown: CancellationToken::new(),
            config,
        }))
    }

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
        let shared = Shared::new(broker, config)?;
        let mut listeners = Vec::with_capacity(shared.config.listeners.len());
        for listener in &shared.config.listeners {
            let (socket, listener) = Listener::bind(listener.clone()).await?;
            listeners.push((socket, Arc::new(listener)));
        }
        if listeners.is_empty() {
            return Err(BindError::Nowhere);
        }
        Ok(Server { listeners, callers: None, shared })
    }

    /// A server of [`ServerConfig::nowhere`], and the one way to it: for this process alone.
    pub fn inside(broker: Arc<Broker>, config: ServerConfig) -> Result<(Server, Door), BindError> {
        let shared = Shared::new(broker, config)?;
        let (door, callers) = Door::new();
        Ok((Server { listeners: Vec::new(), callers: Some(callers), shared }, door))
    }

    /// Where the first listener listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.listeners[0].1.local_addr
    }

    /// Where each listens, in the order in which they were given.
    pub fn local_addrs(&self) -> Vec<(ListenerConfig, SocketAddr)> {
        let each = self.listeners.iter();
        each.map(|(_, listener)| (listener.config.clone(), listener.local_addr)).collect()
    }

    /// Serves until `shutdown`, then lets what has been begun end, within
    /// [`ServerConfig::shutdown_grace`].
    pub async fn run(self, shutdown: CancellationToken) {
        let Server { listeners, callers, shared } = self;
        let accepting = Accepting {
            connections: TaskTracker::new(),
            abort: CancellationToken::new(),
            counts: Arc::new(ConnectionCounts::new(shared.config.connections.clone())),
            refused: Mutex::default(),
            shared: shared.clone(),
        };
        let each = listeners.into_iter().map(|(socket, listener)| {
            shutdown.run_until_cancelled(accepting.accept(socket, listener))
        });
        let inside = shutdown.run_until_cancelled(accepting.let_in(callers));
        tokio::select! {
            _ = futures::future::join(join_all(each), inside) => {}
            () = shared.audit.tell_left_out() => {}
        }
        shared.shutdown.cancel();
        let Accepting { connections, abort, .. } = accepting;
        connections.close();
        if timeout(shared.config.shutdown_grace, connections.wait()).await.is_err() {
            tracing::warn!(connections = connections.len(), "cut off what did not end in time");
            abort.cancel();
            connections.wait().await;
        }
    }
}

/// Closes a connection that is one too many of its address, but not at once.
async fn send_away(
    stream: TcpStream,
    peer: SocketAddr,
    delay: Duration,
    place: Place,
    shared: &Shared,
) {
    shared.broker.metrics().throttled.inc();
    tracing::debug!(%peer, ?delay, "a connection too many by connection_creation_rate");
    _ = timeout(delay, shared.shutdown.cancelled()).await;
    drop((stream, place));
}

/// Whoever has made rules counts on them.
fn tell_of_idle_rules(config: &ServerConfig, store: &SecurityStore) {
    let rules = store.contents().acls.len();
    if config.authorizer.is_none() && rules > 0 {
        tracing::warn!(
            rules,
            "rules are kept but not enforced: every client may do everything; enforce them by \
             authorizer.class.name = org.apache.kafka.metadata.authorizer.StandardAuthorizer in a \
             server.properties"
        );
    }
}

/// What all listeners share: there are so many connections, however they come.
struct Accepting {
    connections: TaskTracker,
    abort: CancellationToken,
    counts: Arc<ConnectionCounts>,
    refused: Mutex<Refusals>,
    shared: Arc<Shared>,
}

/// Connections that were closed at once, and when that was last told.
#[derive(Default)]
struct Refusals {
    count: u64,
    told: Option<Instant>,
}

impl Accepting {
    async fn accept(&self, socket: TcpListener, listener: Arc<Listener>) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => {
                    self.take(stream, peer, &listener);
                    let pause = self.counts.pause(&listener.config);
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Those who come by the door are ourselves: they count for no limit.
    async fn let_in(&self, callers: Option<Callers>) {
        let Some(mut callers) = callers else { return };
        let listener = Arc::new(Listener::inside());
        while let Some(stream) = callers.recv().await {
            let (listener, shared, abort) =
                (listener.clone(), self.shared.clone(), self.abort.clone());
            let peer = listener.local_addr;
            let served = connection::serve(Socket::Inside(stream), peer, listener, shared);
            self.connections.spawn(async move { _ = abort.run_until_cancelled(served).await });
        }
    }

    fn take(&self, stream: TcpStream, peer: SocketAddr, listener: &Arc<Listener>) {
        let place = match self.counts.take(&listener.config, peer.ip()) {
            Ok(place) => place,
            Err(full) => return self.refuse(peer, full),
        };
        let (listener, shared) = (listener.clone(), self.shared.clone());
        let abort = self.abort.clone();
        let broker = &shared.broker;
        let delay = match broker.has_quotas() {
            true => shared.throttle.connect(&broker.quotas(), peer.ip()),
            false => None,
        };
        self.connections.spawn(async move {
            if let Some(delay) = delay {
                // Whoever comes too often has to wait to be sent away, and keeps its place.
                return send_away(stream, peer, delay, place, &shared).await;
            }
            let served = connection::serve(Socket::Tcp(stream), peer, listener, shared);
            _ = abort.run_until_cancelled(served).await;
            drop(place);
        });
    }

    fn refuse(&self, peer: SocketAddr, full: Full) {
        self.shared.broker.metrics().connections_refused.inc();
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.count += 1;
        // A flood of connections must not become one of log lines.
        if refused.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL) {
            tracing::warn!(%peer, refused = refused.count, "closed connections: {full}");
            *refused = Refusals { count: 0, told: Some(Instant::now()) };
        }
    }
}
