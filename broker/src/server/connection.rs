//! One client's connection.
//!
//! ```text
//! frame ─► decode ─► begin ─────────────► in flight (in order) ─► encode ─► one vectored write
//!                      │                      ▲
//!                      └ Produce: append at once, wait for the disk in flight
//!                        any other: alone; whatever comes next waits until it is answered
//! ```
//!
//! While a request is under way the next frame is read, which also tells when the client is gone;
//! then all that it waited for is dropped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Buf;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use futures::stream::{FuturesOrdered, StreamExt};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::authentication::{Authentication, NotAuthenticated};
use super::authorization::Identity;
use super::frames::{FrameError, FrameReader, Limits, RawFrame};
use super::handlers::{self, Call, k00_produce, k18_api_versions};
use super::listener::{self, Listener};
use super::memory::Lease;
use super::stream::{Input, Output, Socket};
use super::{HostPort, Shared};
use crate::broker::Broker;
use crate::protocol::{
    ApiKey, EncodeError, Frame, Request, RequestError, RequestHeader, Response, decode_request,
    encode_response,
};
use crate::security::Principal;

/// Requests of one connection that may wait for the disk at once.
const PIPELINE_MAX: usize = 64;
/// Responses are gathered up to this size before they are written.
const WRITE_BYTES: usize = 64 * 1024;
/// Longer than any connection lasts.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// A frame from this size on is decoded off the async threads.
const HEAVY_FRAME_BYTES: usize = 1 << 20;

/// Why a connection was closed by the server.
#[derive(Debug, Error)]
enum CloseReason {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing was asked for in {0:?}")]
    Idle(Duration),
    #[error("the client stopped in the middle of a request")]
    Stalled,
    #[error("the client does not read its responses")]
    Unread,
    #[error("produce request {0} with acks=0 failed, and closing is the one way to say so")]
    Unacknowledged(i32),
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the client did not say who it is in {0:?}")]
    Unknown(Duration),
    #[error(transparent)]
    NotAuthenticated(#[from] NotAuthenticated),
    #[error("the client's session has ended, and it did not say again who it is")]
    SessionEnded,
}

impl CloseReason {
    /// Whether this is how connections end every day.
    fn is_ordinary(&self) -> bool {
        match self {
            CloseReason::Io(_) | CloseReason::Idle(_) => true,
            // Somebody who looks whether anybody is there.
            CloseReason::Handshake(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            CloseReason::Frame(error) => {
                matches!(error, FrameError::Io(_) | FrameError::CutOff { .. })
            }
            _ => false,
        }
    }
}

/// Serves one client until it leaves or the server shuts down.
pub(super) async fn serve(
    stream: Socket,
    peer: SocketAddr,
    listener: Arc<Listener>,
    shared: Arc<Shared>,
) {
    let broker = shared.broker.clone();
    let counted = Counted::new(&broker);
    let shutdown = shared.shutdown.clone();
    let opened = shutdown.run_until_cancelled(Connection::open(stream, peer, &listener, &shared));
    let ended = match opened.await {
        Some(Ok(mut connection)) => {
            connection.number = counted.number;
            let ended = connection.run().await;
            listener::close(connection.output).await;
            ended
        }
        Some(Err(error)) => Err(error),
        None => Ok(()),
    };
    drop(counted);
    match ended {
        Ok(()) => tracing::debug!(%peer, "connection ended"),
        Err(reason) if reason.is_ordinary() => tracing::debug!(%peer, %reason, "connection ended"),
        Err(CloseReason::NotAuthenticated(reason)) => {
            broker.metrics().authentications_failed.inc();
            let host = peer.ip().to_canonical().to_string();
            shared.audit.not_authenticated(&host, &listener.config.name, &reason.to_string());
        }
        Err(reason) => {
            broker.metrics().connections_cut_off.inc();
            tracing::warn!(%peer, %reason, "closed a connection");
        }
    }
}

/// A connection among those that are open, however it ends.
struct Counted<'a> {
    broker: &'a Broker,
    /// No other connection of this process has the same.
    number: u64,
}

impl Counted<'_> {
    fn new(broker: &Broker) -> Counted<'_> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        broker.metrics().connections.inc();
        Counted { broker, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.broker.metrics().connections.dec();
        self.broker.shares().disconnected(self.number);
    }
}

/// A request that has been decoded, with the memory that it may hold.
#[derive(Debug)]
struct Decoded {
    header: RequestHeader,
    request: Request,
    /// Of its frame.
    bytes: usize,
    lease: Lease,
}

/// What comes of a request.
struct Reply {
    frame: Option<Frame>,
    _held: Vec<Lease>,
    /// For how long the client is not listened to afterwards.
    throttled: Duration,
}

impl Reply {
    const NOTHING: Reply = Reply { frame: None, _held: Vec::new(), throttled: Duration::ZERO };
}

struct Connection {
    number: u64,
    shared: Arc<Shared>,
    advertised: Arc<HostPort>,
    identity: Arc<Identity>,
    /// On listeners with SASL.
    authentication: Option<Authentication>,
    /// By when an unknown client must have become known.
    known_by: Instant,
    frames: FrameReader<Input>,
    output: Output,
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Reply, CloseReason>>>,
    /// All that is in flight are produce requests, already appended.
    only_produces: bool,
    /// Begins once nothing is in flight.
    waiting: Option<Decoded>,
    last_activity: Instant,
    /// While a client has to be quiet because of a quota.
    muted_until: Option<Instant>,
    draining: bool,
    /// Why it ends once what is in flight has been sent.
    ending: Option<CloseReason>,
}

impl Connection {
    /// Shakes hands if the listener speaks TLS.
    async fn open(
        stream: Socket,
        peer: SocketAddr,
        listener: &Arc<Listener>,
        shared: &Arc<Shared>,
    ) -> Result<Connection, CloseReason> {
        if let Socket::Tcp(stream) = &stream {
            stream.set_nodelay(true)?;
        }
        let advertised = listener.advertised(&stream)?;
        let stall_timeout = shared.config.stall_timeout;
        let opened = timeout(stall_timeout, listener.open(stream)).await;
        let opened = opened.map_err(|_| CloseReason::Stalled)?;
        let (input, output, principal) = opened.map_err(CloseReason::Handshake)?;
        let mut frames = FrameReader::new(input, &shared.config);
        let authentication =
            listener.config.protocol.has_sasl().then(|| Authentication::new(listener.clone()));
        if authentication.is_some() {
            let bytes_max = shared.config.sasl.receive_bytes_max;
            frames.limit(Limits::Unknown { bytes_max });
        }
        let host = peer.ip().to_canonical().to_string();
        Ok(Connection {
            number: 0,
            frames,
            shared: shared.clone(),
            advertised: Arc::new(advertised),
            identity: Arc::new(Identity { principal, host }),
            authentication,
            known_by: Instant::now() + stall_timeout,
            output,
            in_flight: FuturesOrdered::new(),
            only_produces: true,
            waiting: None,
            last_activity: Instant::now(),
            muted_until: None,
            draining: false,
            ending: None,
        })
    }

    fn is_unknown(&self) -> bool {
        self.authentication.as_ref().is_some_and(Authentication::is_unknown)
    }

    /// By when a message that leads to authentication must be answered.
    fn known_until(&self) -> Instant {
        match self.is_unknown() {
            true => self.known_by,
            false => Instant::now() + self.shared.config.stall_timeout,
        }
    }

    async fn run(&mut self) -> Result<(), CloseReason> {
        let shared = self.shared.clone();
        loop {
            if self.in_flight.is_empty() {
                self.only_produces = true;
                match self.waiting.take() {
                    Some(waiting) => self.begin(waiting).await,
                    None if self.draining => return Ok(()),
                    None => {}
                }
            }
            if self.in_flight.is_empty()
                && let Some(reason) = self.ending.take()
            {
                return Err(reason);
            }
            // Whoever is not known is answered before anything more is read.
            let in_flight_max = if self.is_unknown() { 1 } else { PIPELINE_MAX };
            let may_read = !self.draining
                && self.ending.is_none()
                && self.waiting.is_none()
                && self.muted_until.is_none()
                && self.in_flight.len() < in_flight_max;
            // A frame that begins while this waits has another deadline, so it looks again.
            let look_at = self.deadline().min(Instant::now() + shared.config.stall_timeout);
            let idle_at = self.last_activity + shared.config.idle_timeout;
            let muted_until = self.muted_until.map(|until| until.min(idle_at));
            tokio::select! {
                biased;
                () = shared.shutdown.cancelled(), if !self.draining => self.draining = true,
                Some(reply) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.send(reply?).await?;
                }
                frame = self.frames.next(&shared.request_memory), if may_read => match frame? {
                    Some(frame) => self.accept(frame).await?,
                    None => return Ok(()),
                },
                () = sleep_until(muted_until.unwrap_or(look_at)), if muted_until.is_some() => {
                    self.unmute()?;
                }
                () = sleep_until(look_at), if may_read => {
                    if self.deadline() > Instant::now() {
                        continue;
                    }
                    if self.is_unknown() && self.known_by <= Instant::now() {
                        return Err(CloseReason::Unknown(shared.config.stall_timeout));
                    }
                    if self.frames.deadline().is_some() {
                        return Err(CloseReason::Stalled);
                    }
                    // A long request is no idleness.
                    if self.in_flight.is_empty() {
                        return Err(CloseReason::Idle(shared.config.idle_timeout));
                    }
                    self.last_activity = Instant::now();
                }
            }
        }
    }

    /// Does not listen to the client for a while, beginning now.
    fn mute(&mut self, throttled: Duration) {
        if !throttled.is_zero() {
            // A number of ms that no clock can show is as good as for ever.
            let until = Instant::now().checked_add(throttled);
            let until = until.unwrap_or_else(|| Instant::now() + FOREVER);
            self.muted_until = Some(self.muted_until.map_or(until, |before| before.max(until)));
        }
    }

    /// Listens again once the time is over; a connection that is idle before then ends.
    fn unmute(&mut self) -> Result<(), CloseReason> {
        if self.muted_until.is_none_or(|until| until <= Instant::now()) {
            (self.muted_until, self.last_activity) = (None, Instant::now());
        } else if self.in_flight.is_empty() {
            return Err(CloseReason::Idle(self.shared.config.idle_timeout));
        } else {
            self.last_activity = Instant::now();
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        let idle = self.last_activity + self.shared.config.idle_timeout;
        let deadline = self.frames.deadline().unwrap_or(idle);
        if self.is_unknown() { deadline.min(self.known_by) } else { deadline }
    }

    async fn accept(&mut self, frame: RawFrame) -> Result<(), CloseReason> {
        self.last_activity = Instant::now();
        let RawFrame { bytes, lease } = frame;
        let len = bytes.len();
        if self.authentication.as_ref().is_some_and(Authentication::expects_bare) {
            self.step_bare(&bytes).await;
            return Ok(());
        }
        let decoded = if bytes.len() < HEAVY_FRAME_BYTES || is_produce(&bytes) {
            decode_request(bytes)
        } else {
            let decode = move || decode_request(bytes);
            tokio::task::spawn_blocking(decode).await.expect("decoding does not panic")
        };
        match decoded {
            Ok((header, request)) => {
                let decoded = Decoded { header, request, bytes: len, lease };
                if self.may_begin(&decoded.request) {
                    self.begin(decoded).await;
                } else {
                    self.waiting = Some(decoded);
                }
                Ok(())
            }
            Err(RequestError::UnsupportedVersion {
                api: ApiKey::ApiVersions,
                correlation_id,
                ..
            }) => {
                let response = k18_api_versions::unsupported();
                let reply = encoded(correlation_id, 0, &response.into(), vec![lease]);
                self.in_flight.push_back(ready(reply).boxed());
                // It touches nothing, so nothing need wait for it, yet its place in the order of
                // responses is kept.
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn may_begin(&self, request: &Request) -> bool {
        self.in_flight.is_empty() || (self.only_produces && matches!(request, Request::Produce(_)))
    }

    async fn begin(&mut self, decoded: Decoded) {
        let Decoded { header, request, bytes, lease } = decoded;
        let Some(request) = self.authenticate(&header, request).await else { return };
        let (api, began) = (request.api(), Instant::now());
        let call = Call {
            shared: self.shared.clone(),
            connection: self.number,
            advertised: self.advertised.clone(),
            identity: self.identity.clone(),
            api,
            version: header.version,
            client_id: header.client_id,
            throttle_ms: AtomicU64::new(0),
            held: Default::default(),
        };
        call.hold(lease);
        let correlation_id = header.correlation_id;
        match request {
            Request::Produce(request) => {
                let acknowledged = request.acks != 0;
                call.count_written(bytes);
                let appended = call.count_time(k00_produce::append(&call, request)).await;
                // Those that are in flight already are all that comes meanwhile.
                self.mute(call.throttled());
                let reply = async move {
                    let response = appended.acknowledged().await;
                    call.broker().metrics().answered(api, began.elapsed());
                    match acknowledged {
                        true => call.reply(correlation_id, response.into()),
                        false if k00_produce::is_refused(&response) => {
                            Err(CloseReason::Unacknowledged(correlation_id))
                        }
                        false => Ok(Reply::NOTHING),
                    }
                };
                self.in_flight.push_back(reply.boxed());
            }
            request => {
                self.only_produces = false;
                let reply = async move {
                    let response = call.count_time(handlers::answer(&call, request)).await;
                    call.broker().metrics().answered(api, began.elapsed());
                    call.reply(correlation_id, response)
                };
                self.in_flight.push_back(reply.boxed());
            }
        }
    }

    /// Takes what is about who the client is, on listeners where it has to say so; gives back all
    /// else. Nothing is in flight when such a request begins.
    async fn authenticate(&mut self, header: &RequestHeader, request: Request) -> Option<Request> {
        let (shared, arrived, until) = (self.shared.clone(), Instant::now(), self.known_until());
        let Some(authentication) = &mut self.authentication else { return Some(request) };
        if authentication.is_settled() {
            return Some(request);
        }
        let host = &self.identity.host;
        let (response, known): (Response, _) = match request {
            Request::SaslHandshake(request) => {
                let (response, begun) = authentication.handshake(header.version, request);
                (response.into(), begun.map(|()| None))
            }
            Request::SaslAuthenticate(request) => {
                match authentication.step(&shared, &request.auth_bytes, host, until).await {
                    Ok(answer) => (answer.response().into(), Ok(answer.known)),
                    Err(reason) => (reason.response().into(), Err(reason)),
                }
            }
            other if authentication.has_ended() => {
                tracing::debug!(api = %other.api(), "a request after the end of its session");
                self.ending = Some(CloseReason::SessionEnded);
                return None;
            }
            other => return Some(other),
        };
        let reply = encoded(header.correlation_id, header.version, &response, Vec::new());
        let known = known.map(|known| known.map(|(principal, _)| principal));
        self.answer_authentication(arrived, reply, known);
        None
    }

    /// A message of the mechanism without a request around it.
    async fn step_bare(&mut self, message: &[u8]) {
        let (arrived, until) = (Instant::now(), self.known_until());
        let Some(authentication) = &mut self.authentication else { return };
        let host = &self.identity.host;
        match authentication.step(&self.shared, message, host, until).await {
            Ok(answer) => {
                let frame = Some(Frame::bare(answer.bytes));
                let reply = Reply { frame, ..Reply::NOTHING };
                self.answer_authentication(
                    arrived,
                    Ok(reply),
                    Ok(answer.known.map(|known| known.0)),
                );
            }
            // There is no form in which to say so.
            Err(reason) => self.answer_authentication(arrived, Ok(Reply::NOTHING), Err(reason)),
        }
    }

    fn answer_authentication(
        &mut self,
        arrived: Instant,
        reply: Result<Reply, CloseReason>,
        known: Result<Option<Principal>, NotAuthenticated>,
    ) {
        self.only_produces = false;
        let bytes_max = self.shared.config.sasl.receive_bytes_max;
        match known {
            Ok(known) => {
                if let Some(principal) = known {
                    let host = self.identity.host.clone();
                    self.identity = Arc::new(Identity { principal, host });
                }
                self.in_flight.push_back(ready(reply).boxed());
            }
            Err(reason) => {
                // Whoever tries passwords has to wait for each answer. It is counted from when the
                // attempt came: how long hashing took would tell which users there are.
                let due = arrived + self.shared.config.sasl.failure_delay;
                let late = async move {
                    sleep_until(due).await;
                    reply
                };
                self.in_flight.push_back(late.boxed());
                self.ending = Some(reason.into());
            }
        }
        let bare = self.authentication.as_ref().is_some_and(Authentication::expects_bare);
        self.frames.limit(match (bare, self.is_unknown()) {
            (true, _) => Limits::Bare { bytes_max },
            (false, true) => Limits::Unknown { bytes_max },
            (false, false) => Limits::Known,
        });
    }

    /// Writes a response, and with it those that are ready too.
    async fn send(&mut self, reply: Reply) -> Result<(), CloseReason> {
        let (mut frame, mut leases) = (Frame::default(), Vec::new());
        let mut next = Some(Ok(reply));
        while let Some(reply) = next {
            let Reply { frame: another, _held, throttled } = reply?;
            if let Some(another) = another {
                frame.append(another);
                leases.push(_held);
            }
            // KIP-219: from when it is told, and it is told at once.
            self.mute(throttled);
            let room = frame.remaining() < WRITE_BYTES && !self.in_flight.is_empty();
            next = if room { self.in_flight.next().now_or_never().flatten() } else { None };
        }
        let stall_timeout = self.shared.config.stall_timeout;
        while frame.has_remaining() {
            let written = timeout(stall_timeout, self.output.write_buf(&mut frame)).await;
            written.map_err(|_| CloseReason::Unread)??;
        }
        // TLS keeps the end of what was written; a socket keeps nothing.
        let flushed = timeout(stall_timeout, self.output.flush()).await;
        flushed.map_err(|_| CloseReason::Unread)??;
        self.last_activity = Instant::now();
        Ok(())
    }
}

fn is_produce(frame: &[u8]) -> bool {
    frame.starts_with(&(ApiKey::Produce as i16).to_be_bytes())
}

fn encoded(
    correlation_id: i32,
    version: i16,
    response: &Response,
    held: Vec<Lease>,
) -> Result<Reply, CloseReason> {
    let frame = encode_response(correlation_id, version, response)?;
    Ok(Reply { frame: Some(frame), _held: held, throttled: Duration::ZERO })
}

impl Call {
    fn reply(self, correlation_id: i32, mut response: Response) -> Result<Reply, CloseReason> {
        let throttled = self.throttled();
        if !throttled.is_zero() {
            let ms = i32::try_from(throttled.as_millis()).unwrap_or(i32::MAX);
            response.set_throttle_time_ms(ms);
        }
        let held = self.held.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        let reply = encoded(correlation_id, self.version, &response, held)?;
        Ok(Reply { throttled, ..reply })
    }
}
