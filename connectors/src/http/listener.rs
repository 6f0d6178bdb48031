//! The server that takes records by POST.
//!
//! ```text
//! request ─► guard ─► path, method ─► room ─► body ─► records ─► queue ─► durable ─► 200
//!         401, 403, 421  404, 405      503   408, 413    400        └─ not durable: 503
//! ```
//!
//! Room is taken for a body before it is read, and given back when its request is answered. A
//! sender that is slow is cut off; more senders than may be connected wait.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use broker::security::tls::Tls;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::closing::linger;
use super::connection::Connection;
use super::guard::{Asked, Guard, Instead};
use super::intake::{Intake, Mistake, Received};

/// How long the head of a request may take, or a connection do nothing,
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// and how long its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests under way may take to be answered once it is over.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// A pause after the system has run out of something, for which there is no event to wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is served.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    pub path: String,
    pub intake: Intake,
    pub guard: Arc<Guard>,
    pub tls: Option<Arc<Tls>>,
    pub body_bytes_max: usize,
    pub requests_max: usize,
    pub bytes_max: usize,
    pub connections_max: usize,
    pub ack_timeout: Duration,
}

/// A request whose records are to be written.
#[derive(Debug)]
pub struct Accepted {
    pub records: Vec<Received>,
    /// To be told when they are durable, and how many of them were skipped as the connector's
    /// `errors.tolerance` has it; dropped if they are not.
    pub durable: oneshot::Sender<Skipped>,
}

/// How many records were not written, since transforms or converters refused them.
pub type Skipped = usize;

/// A listening socket that has not begun to accept.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    pub address: SocketAddr,
}

struct Server {
    options: ListenerOptions,
    queue: mpsc::Sender<Accepted>,
    requests: Semaphore,
    bytes: Semaphore,
    stop: CancellationToken,
}

impl Listener {
    pub async fn bind(listen: &str) -> Result<Listener, String> {
        let failed = |error: std::io::Error| {
            format!("cannot listen on {listen} for HTTP: {error}; choose another http.listen")
        };
        let socket = TcpListener::bind(listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Listener { socket, address })
    }

    /// Serves until `stop`, in tasks of its own. Gives the requests to be written.
    pub fn serve(
        self,
        options: ListenerOptions,
        stop: CancellationToken,
    ) -> mpsc::Receiver<Accepted> {
        let (queue, accepted) = mpsc::channel(options.requests_max);
        let connections = Arc::new(Semaphore::new(options.connections_max));
        let server = Arc::new(Server {
            requests: Semaphore::new(options.requests_max),
            bytes: Semaphore::new(options.bytes_max.max(options.body_bytes_max)),
            queue,
            options,
            stop: stop.clone(),
        });
        tokio::spawn(async move {
            let guard = server.options.guard.clone();
            let accepting = accept(self.socket, connections, server);
            let both = async { tokio::join!(accepting, guard.tell_left_out()) };
            stop.run_until_cancelled(both).await;
        });
        accepted
    }
}

async fn accept(socket: TcpListener, connections: Arc<Semaphore>, server: Arc<Server>) {
    loop {
        let slot = connections.clone().acquire_owned().await.expect("it is never closed");
        match socket.accept().await {
            Ok((stream, peer)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    serve(stream, peer.ip(), server).await;
                    drop(slot);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, server: Arc<Server>) {
    let opened = Connection::open(stream, server.options.tls.as_deref());
    let mut connection = match tokio::time::timeout(HEAD_TIMEOUT, opened).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!(%error, "no TLS"),
        Err(_) => return debug!("no TLS in time"),
    };
    let stop = server.stop.clone();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, std::convert::Infallible>(server.handle(request, peer).await) }
    });
    let ended = {
        let served = http.serve_connection(TokioIo::new(&mut connection), service);
        let mut served = std::pin::pin!(served);
        tokio::select! {
            ended = served.as_mut() => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                tokio::time::timeout(END_TIMEOUT, served).await.unwrap_or(Ok(()))
            }
        }
    };
    match ended {
        Ok(()) => drop(stop.run_until_cancelled(linger(connection.tcp())).await),
        Err(error) => debug!(%error, "HTTP connection ended"),
    }
}

impl Server {
    async fn handle(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        let guard = &self.options.guard;
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let judged = guard.judge(Asked { method, uri, headers, peer }).await;
        let mut response = match &judged.instead {
            None => self.answer(request).await,
            Some(Instead { status, reason: None }) => answer(*status, &json!({})),
            Some(Instead { status, reason: Some(reason) }) => {
                let reason = match *status {
                    StatusCode::UNAUTHORIZED => "who sends this is not known: see Authorization",
                    _ => reason.as_str(),
                };
                answer(*status, &json!({ "status": status.as_u16(), "error": reason }))
            }
        };
        judged.finish(guard, response.headers_mut());
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.take(request).await {
            Ok((records, 0)) => answer(StatusCode::OK, &json!({ "records": records })),
            Ok((records, skipped)) => {
                answer(StatusCode::OK, &json!({ "records": records, "skipped": skipped }))
            }
            Err(Mistake { status, reason }) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                let body = json!({ "status": status.as_u16(), "error": reason });
                let mut response = answer(status, &body);
                let said = match status {
                    StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, "1")),
                    StatusCode::METHOD_NOT_ALLOWED => Some((ALLOW, "POST")),
                    _ => None,
                };
                if let Some((name, value)) = said {
                    response
                        .headers_mut()
                        .insert(name, hyper::header::HeaderValue::from_static(value));
                }
                response
            }
        }
    }

    /// How many records were written, durably, and how many were not.
    async fn take(&self, request: Request<Incoming>) -> Result<(usize, Skipped), Mistake> {
        let options = &self.options;
        if request.uri().path() != options.path {
            return Err(Mistake::new(404, format!("records are taken at {}", options.path)));
        }
        if request.method() != Method::POST {
            return Err(Mistake::new(405, "records are taken by POST"));
        }
        let too_long = || {
            let max = options.body_bytes_max;
            Mistake::new(413, format!("a body has at most {max} bytes (body.bytes.max)"))
        };
        let known = request.body().size_hint().exact();
        let size =
            known.map_or(options.body_bytes_max, |size| size.try_into().unwrap_or(usize::MAX));
        if size > options.body_bytes_max {
            return Err(too_long());
        }
        let busy = |_| Mistake::new(503, "too many requests wait to be durable: come again later");
        let _request = self.requests.try_acquire().map_err(busy)?;
        let _bytes = self.bytes.try_acquire_many(size as u32).map_err(busy)?;
        let (head, body) = request.into_parts();
        let read = Limited::new(body, options.body_bytes_max).collect();
        let body = match tokio::time::timeout(BODY_TIMEOUT, read).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_long()),
            Ok(Err(error)) => {
                return Err(Mistake::new(400, format!("the body broke off: {error}")));
            }
            Err(_) => return Err(Mistake::new(408, "the body took too long")),
        };
        let records = options.intake.read(&head.headers, &body)?;
        let count = records.len();
        let skipped = match count {
            0 => 0,
            _ => self.wait_until_durable(records).await?,
        };
        Ok((count - skipped, skipped))
    }

    async fn wait_until_durable(&self, records: Vec<Received>) -> Result<Skipped, Mistake> {
        let (durable, told) = oneshot::channel();
        let over = || Mistake::new(503, "the records were not written: send them again");
        let accepted = Accepted { records, durable };
        self.queue.try_send(accepted).map_err(|_| over())?;
        match tokio::time::timeout(self.options.ack_timeout, told).await {
            Ok(Ok(skipped)) => Ok(skipped),
            Ok(Err(_)) => Err(over()),
            Err(_) => {
                let reason = "the records are not durable yet and may still be written; send them \
                              again if they must not be missing";
                Err(Mistake::new(503, reason))
            }
        }
    }
}

fn answer(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
