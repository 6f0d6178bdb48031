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
use std::time::Duration;

use bytes::Buf;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use futures::stream::{FuturesOrdered, StreamExt};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::frames::{FrameError, FrameReader, RawFrame};
use super::handlers::{self, Call, k00_produce, k18_api_versions};
use super::memory::Lease;
use super::{HostPort, Shared};
use crate::broker::Broker;
use crate::protocol::{
    ApiKey, EncodeError, Frame, Request, RequestError, RequestHeader, Response, decode_request,
    encode_response,
};

/// Requests of one connection that may wait for the disk at once.
const PIPELINE_MAX: usize = 64;
/// Responses are gathered up to this size before they are written.
const WRITE_BYTES: usize = 64 * 1024;
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
}

impl CloseReason {
    /// Whether this is how connections end every day.
    fn is_ordinary(&self) -> bool {
        match self {
            CloseReason::Io(_) | CloseReason::Idle(_) => true,
            CloseReason::Frame(error) => {
                matches!(error, FrameError::Io(_) | FrameError::CutOff { .. })
            }
            _ => false,
        }
    }
}

/// Serves one client until it leaves or the server shuts down.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let broker = shared.broker.clone();
    let counted = Counted::new(&broker);
    let ended = match Connection::new(stream, peer, shared) {
        Ok(connection) => connection.run().await,
        Err(error) => Err(error.into()),
    };
    drop(counted);
    match ended {
        Ok(()) => tracing::debug!(%peer, "connection ended"),
        Err(reason) if reason.is_ordinary() => tracing::debug!(%peer, %reason, "connection ended"),
        Err(reason) => {
            broker.metrics().connections_cut_off.inc();
            tracing::warn!(%peer, %reason, "closed a connection");
        }
    }
}

/// A connection among those that are open, however it ends.
struct Counted<'a>(&'a Broker);

impl Counted<'_> {
    fn new(broker: &Broker) -> Counted<'_> {
        broker.metrics().connections.inc();
        Counted(broker)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.metrics().connections.dec();
    }
}

/// A request that has been decoded, with the memory that it may hold.
#[derive(Debug)]
struct Decoded {
    header: RequestHeader,
    request: Request,
    lease: Lease,
}

/// What comes of a request.
enum Reply {
    Send { frame: Frame, _held: Vec<Lease> },
    Nothing,
}

struct Connection {
    shared: Arc<Shared>,
    peer: SocketAddr,
    advertised: Arc<HostPort>,
    frames: FrameReader<OwnedReadHalf>,
    output: OwnedWriteHalf,
    in_flight: FuturesOrdered<BoxFuture<'static, Result<Reply, CloseReason>>>,
    /// All that is in flight are produce requests, already appended.
    only_produces: bool,
    /// Begins once nothing is in flight.
    waiting: Option<Decoded>,
    last_activity: Instant,
    draining: bool,
}

impl Connection {
    fn new(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) -> io::Result<Connection> {
        stream.set_nodelay(true)?;
        let advertised = match &shared.config.advertised {
            Some(advertised) => advertised.clone(),
            None => {
                let local = stream.local_addr()?;
                HostPort { host: local.ip().to_canonical().to_string(), port: local.port() }
            }
        };
        let (input, output) = stream.into_split();
        Ok(Connection {
            frames: FrameReader::new(input, &shared.config),
            shared,
            peer,
            advertised: Arc::new(advertised),
            output,
            in_flight: FuturesOrdered::new(),
            only_produces: true,
            waiting: None,
            last_activity: Instant::now(),
            draining: false,
        })
    }

    async fn run(mut self) -> Result<(), CloseReason> {
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
            let may_read =
                !self.draining && self.waiting.is_none() && self.in_flight.len() < PIPELINE_MAX;
            // A frame that begins while this waits has another deadline, so it looks again.
            let look_at = self.deadline().min(Instant::now() + shared.config.stall_timeout);
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
                () = sleep_until(look_at), if may_read => {
                    if self.deadline() > Instant::now() {
                        continue;
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

    fn deadline(&self) -> Instant {
        let idle = self.last_activity + self.shared.config.idle_timeout;
        self.frames.deadline().unwrap_or(idle)
    }

    async fn accept(&mut self, frame: RawFrame) -> Result<(), CloseReason> {
        self.last_activity = Instant::now();
        let RawFrame { bytes, lease } = frame;
        let decoded = if bytes.len() < HEAVY_FRAME_BYTES || is_produce(&bytes) {
            decode_request(bytes)
        } else {
            let decode = move || decode_request(bytes);
            tokio::task::spawn_blocking(decode).await.expect("decoding does not panic")
        };
        match decoded {
            Ok((header, request)) => {
                let decoded = Decoded { header, request, lease };
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
        let Decoded { header, request, lease } = decoded;
        let call = Call {
            shared: self.shared.clone(),
            advertised: self.advertised.clone(),
            version: header.version,
            client_id: header.client_id,
            peer: self.peer,
            held: Default::default(),
        };
        call.hold(lease);
        let correlation_id = header.correlation_id;
        let (api, began) = (request.api(), Instant::now());
        match request {
            Request::Produce(request) => {
                let acknowledged = request.acks != 0;
                let appended = k00_produce::append(&call, request).await;
                let reply = async move {
                    let response = appended.acknowledged().await;
                    call.broker().metrics().answered(api, began.elapsed());
                    match acknowledged {
                        true => call.reply(correlation_id, response.into()),
                        false if k00_produce::is_refused(&response) => {
                            Err(CloseReason::Unacknowledged(correlation_id))
                        }
                        false => Ok(Reply::Nothing),
                    }
                };
                self.in_flight.push_back(reply.boxed());
            }
            request => {
                self.only_produces = false;
                let reply = async move {
                    let response = handlers::answer(&call, request).await;
                    call.broker().metrics().answered(api, began.elapsed());
                    call.reply(correlation_id, response)
                };
                self.in_flight.push_back(reply.boxed());
            }
        }
    }

    /// Writes a response, and with it those that are ready too.
    async fn send(&mut self, reply: Reply) -> Result<(), CloseReason> {
        let (mut frame, mut leases) = (Frame::default(), Vec::new());
        let mut next = Some(Ok(reply));
        while let Some(reply) = next {
            if let Reply::Send { frame: another, _held } = reply? {
                frame.append(another);
                leases.push(_held);
            }
            let room = frame.remaining() < WRITE_BYTES && !self.in_flight.is_empty();
            next = if room { self.in_flight.next().now_or_never().flatten() } else { None };
        }
        let stall_timeout = self.shared.config.stall_timeout;
        while frame.has_remaining() {
            let written = timeout(stall_timeout, self.output.write_buf(&mut frame)).await;
            written.map_err(|_| CloseReason::Unread)??;
        }
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
    Ok(Reply::Send { frame, _held: held })
}

impl Call {
    fn reply(self, correlation_id: i32, response: Response) -> Result<Reply, CloseReason> {
        let held = self.held.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        encoded(correlation_id, self.version, &response, held)
    }
}
