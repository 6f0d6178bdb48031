//! librdkafka's connections to brokers that want TLS or SASL, which it is built without.
//!
//! ```text
//! librdkafka ─ one end │ the other ─► TCP, TLS, login by [`Connection`] ─► [`relay`] ⇄ broker
//!              of a pair of sockets   of the commands that look after clusters
//! ```
//!
//! librdkafka speaks its plain protocol into one end of a pair of Unix sockets, of which nobody
//! else knows; a task of ours has the other, and does for it whatever the broker asks for. It
//! hears of no password.
//!
//! The end that it gets is filled to the brim, so that it cannot be written to: librdkafka takes
//! that for a connection that is still being made. Once we are let in the filling is taken out, and
//! it takes the connection for made; if we are not, then for refused. Were it to see a connection
//! that breaks before the first answer, it would take the broker for one from before 2016.
//!
//! - [`frames`]: requests and responses in bytes; [`relay`]: from one side to the other.
//!
//! Invariants: a refusal (of a password, of a certificate) reaches whoever waits for librdkafka at
//! once, in its own words; what may pass (nobody there) is left to librdkafka to try again.

mod frames;
mod relay;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::client::admin::AdminError;
use crate::client::admin::connection::Connection;
use crate::client::secured::Secured;
use crate::server::HostPort;
use relay::{End, relay};

/// How often the same trouble with a broker is told again.
const TOLD_AGAIN: Duration = Duration::from_secs(30);
/// What the pair of sockets is filled with, at a time.
const FILLING: [u8; 16 << 10] = [0; 16 << 10];

/// The connections of one instance of librdkafka.
pub struct Tunnels {
    client_id: String,
    secured: Secured,
    runtime: Handle,
    /// Our ends, by librdkafka's, until it says where they are to lead.
    waiting: Mutex<HashMap<RawFd, Waiting>>,
    troubles: Mutex<Troubles>,
    refusal: watch::Sender<Option<Refusal>>,
    /// Set while connecting fails quietly, because the caller will say so.
    quiet: AtomicBool,
}

/// That a broker does not let us in, which trying again does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub address: String,
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Our end of a pair.
struct Waiting {
    ours: UnixStream,
    filled: usize,
}

#[derive(Default)]
struct Troubles {
    last: Option<String>,
    /// By address, what was told last and when. There are no more than brokers.
    told: HashMap<String, (String, Instant)>,
}

impl Tunnels {
    /// Connections are carried by the runtime that this is called in.
    pub fn new(client_id: &str, secured: Secured) -> Tunnels {
        Tunnels {
            client_id: client_id.to_owned(),
            secured,
            runtime: Handle::current(),
            waiting: Mutex::default(),
            troubles: Mutex::default(),
            refusal: watch::Sender::new(None),
            quiet: AtomicBool::new(false),
        }
    }

    pub fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    /// Makes a pair, and hands out the end that is librdkafka's.
    pub fn open(&self) -> io::Result<RawFd> {
        let (theirs, ours) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        ours.set_nonblocking(true)?;
        let filled = fill(&theirs)?;
        lock(&self.waiting).insert(theirs.as_raw_fd(), Waiting { ours, filled });
        Ok(theirs.into_raw_fd())
    }

    /// Leads one end to a broker: `at` is where `name` was found to be. `false` if there is no
    /// such end.
    pub fn connect(self: &Arc<Self>, theirs: RawFd, at: SocketAddr, name: &str) -> bool {
        let Some(waiting) = lock(&self.waiting).remove(&theirs) else { return false };
        let address = host_port(name, at);
        self.runtime.spawn(self.clone().carry(waiting, at, address));
        true
    }

    /// librdkafka is about to close its end.
    pub fn forget(&self, theirs: RawFd) {
        lock(&self.waiting).remove(&theirs);
    }

    /// The last trouble with a connection.
    pub fn last_trouble(&self) -> Option<String> {
        lock(&self.troubles).last.clone()
    }

    /// Tells of refusals from now on.
    pub fn refusals(&self) -> watch::Receiver<Option<Refusal>> {
        self.refusal.subscribe()
    }

    async fn carry(self: Arc<Self>, waiting: Waiting, at: SocketAddr, address: HostPort) {
        let opened = Connection::open_at(at, &address, &self.client_id, &self.secured).await;
        let connection = match opened {
            Ok(connection) => connection,
            Err(error) => return self.failed(&address, error),
        };
        self.succeeded(&address);
        let near = match taken_out(waiting).await {
            Ok(near) => near,
            Err(error) => return tracing::debug!(%address, %error, "given up meanwhile"),
        };
        let login = self.secured.login.as_ref();
        match relay(near, connection, login, &self.client_id).await {
            End::Closed => {}
            End::Broken(reason) => tracing::debug!(%address, reason, "a connection broke"),
            End::Refused(reason) => {
                let address = address.to_string();
                self.refused(Refusal { address, reason });
            }
        }
    }

    fn succeeded(&self, address: &HostPort) {
        let address = address.to_string();
        let mut troubles = lock(&self.troubles);
        troubles.told.remove(&address);
        troubles.last = None;
        self.refusal.send_if_modified(|refusal| {
            let gone = refusal.take_if(|refusal| refusal.address == address);
            gone.is_some()
        });
    }

    fn failed(&self, address: &HostPort, error: AdminError) {
        match error {
            AdminError::NotLetIn { address, reason } => self.refused(Refusal { address, reason }),
            error => self.tell(address.to_string(), error.to_string()),
        }
    }

    fn refused(&self, refusal: Refusal) {
        let Refusal { address, reason } = &refusal;
        self.tell(address.clone(), format!("{address}: the broker does not let us in: {reason}"));
        self.refusal.send_replace(Some(refusal));
    }

    /// In the log, the same not too often.
    fn tell(&self, address: String, trouble: String) {
        let mut troubles = lock(&self.troubles);
        troubles.last = Some(trouble.clone());
        let told = troubles.told.get(&address);
        let again = told.is_some_and(|(told, at)| *told == trouble && at.elapsed() < TOLD_AGAIN);
        if again || self.quiet.load(Ordering::Relaxed) {
            return tracing::debug!("{trouble}");
        }
        tracing::warn!("{trouble}");
        troubles.told.insert(address, (trouble, Instant::now()));
    }
}

/// Writes until there is no more room; how many bytes that took.
fn fill(mut end: &UnixStream) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match end.write(&FILLING) {
            Ok(written) => filled += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(filled),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes the filling out, which lets librdkafka write.
async fn taken_out(waiting: Waiting) -> io::Result<tokio::net::UnixStream> {
    let Waiting { ours, filled } = waiting;
    let mut near = tokio::net::UnixStream::from_std(ours)?;
    let mut filling = (&mut near).take(filled as u64);
    let taken = tokio::io::copy(&mut filling, &mut tokio::io::sink()).await?;
    match taken == filled as u64 {
        true => Ok(near),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The name that librdkafka has for a broker, `HOST:PORT`, without brackets around IPv6.
fn host_port(name: &str, at: SocketAddr) -> HostPort {
    let host = name.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { at.ip().to_string() } else { host.to_owned() };
    HostPort { host, port: at.port() }
}

/// Nothing here panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd, OwnedFd};

    use tokio::io::{AsyncWriteExt, Interest};

    use super::*;

    fn tunnels() -> Arc<Tunnels> {
        Arc::new(Tunnels::new("test", Secured::default()))
    }

    #[test]
    fn brokers_have_names_with_ports() {
        let at: SocketAddr = "127.0.0.1:9093".parse().unwrap();
        let of = |name: &str| host_port(name, at).to_string();
        assert_eq!(of("kafka.example:9093"), "kafka.example:9093");
        assert_eq!((of("::1:9093"), of("[::1]:9093")), ("[::1]:9093".into(), "[::1]:9093".into()));
        assert_eq!(of(""), "127.0.0.1:9093");
    }

    /// What librdkafka goes by: writable is connected, and an error is refused.
    #[tokio::test]
    async fn an_end_is_writable_once_the_filling_is_out() {
        let tunnels = tunnels();
        let descriptor = tunnels.open().unwrap();
        // SAFETY: just made, and ours alone.
        let theirs = UnixStream::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        let no_room = theirs.try_write(b"x").unwrap_err();
        assert_eq!(no_room.kind(), io::ErrorKind::WouldBlock);
        let waiting = lock(&tunnels.waiting).remove(&descriptor).unwrap();
        let mut near = taken_out(waiting).await.unwrap();
        theirs.ready(Interest::WRITABLE).await.unwrap();
        theirs.write_all(b"first").await.unwrap();
        let mut first = [0; 5];
        near.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"first");
    }

    #[tokio::test]
    async fn nobody_there_is_told_and_tried_again() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let tunnels = tunnels();
        let descriptor = tunnels.open().unwrap();
        assert!(tunnels.connect(descriptor, at, &at.to_string()));
        assert!(!tunnels.connect(descriptor, at, &at.to_string()));
        // SAFETY: just made, and ours alone.
        let theirs = UnixStream::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        let mut theirs = tokio::net::UnixStream::from_std(theirs).unwrap();
        // Closed with the filling in it.
        let closed = theirs.read(&mut [0]).await.unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::ConnectionReset);
        assert!(tunnels.last_trouble().unwrap().contains("refused"));
        assert_eq!(*tunnels.refusals().borrow(), None);
    }
}
