//! HTTP for those who watch the broker: `/metrics` for Prometheus, `/health` for whoever keeps it
//! running; and for whoever else has something to serve, such as the REST API of connectors.
//!
//! A client that sends its request slowly, or none, is cut off; where all [`Places`] are taken, the
//! one that has asked nothing for longest is. None of them touches what serves Kafka clients. Who
//! may ask, a [`Guard`] decides, before anything.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use broker::broker::Broker;
use broker::metrics;
use broker::security::tls::{Tls, TlsConfig};
use connectors::http::closing::linger;
use connectors::http::connection::Connection;
use connectors::http::guard::{Asked, Guard, Instead};
use hyper::body::{Body as _, Incoming};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::query_metrics;

/// Clients that are served at once.
const CONNECTIONS_MAX: usize = 128;
/// How long the head of a request may take, or a client say nothing.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a whole connection may last: a scraper comes back by a new one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// A pause after the system has run out of something, for which there is no event to wait.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How queries stand, once there are any: see [`crate::cli::snapshot`].
pub type QueryStatus = Arc<OnceLock<Box<dyn Fn() -> Value + Send + Sync>>>;

#[derive(Clone)]
struct Watched {
    broker: Arc<Broker>,
    queries: QueryStatus,
}

/// A listening socket that has not begun to accept.
pub struct HttpServer {
    listener: TcpListener,
    pub address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl HttpServer {
    /// Fails with a message for people, which names what chooses the address.
    pub async fn bind(
        listen: &str,
        flag: &str,
        tls: Option<&TlsConfig>,
    ) -> Result<HttpServer, String> {
        let failed = |error: std::io::Error| {
            format!("cannot listen on {listen} for HTTP: {error}; choose another {flag}")
        };
        let tls = tls.cloned().map(Tls::new).transpose()?.map(Arc::new);
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(HttpServer { listener, address, tls })
    }

    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The address as those give it who come.
    pub fn url(&self) -> String {
        let scheme = if self.has_tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves those whom the guard lets in, until `stop`.
    pub async fn run(self, router: Router, guard: Guard, stop: CancellationToken) {
        let guard = Arc::new(guard);
        let accepting = self.accept(router, guard.clone(), stop.clone());
        let both = async { tokio::join!(accepting, guard.tell_left_out()) };
        stop.run_until_cancelled(both).await;
    }

    async fn accept(&self, router: Router, guard: Arc<Guard>, stop: CancellationToken) {
        let places = Arc::new(Places::new());
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let place = places.clone().take(&stop).await;
                    let (router, guard) = (router.clone(), guard.clone());
                    let is_asking = place.is_asking.clone();
                    let (tls, routed) =
                        (self.tls.clone(), Routed { router, guard, peer, is_asking });
                    tokio::spawn(async move {
                        let served = serve(stream, tls, routed);
                        let served = tokio::time::timeout(CONNECTION_TIMEOUT, served);
                        let _ = place.until.run_until_cancelled(served).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// With each request: to be told once all of its body is there, that its client keeps its place.
#[derive(Clone)]
pub struct Asking(Arc<AtomicBool>);

impl Asking {
    pub fn has_asked(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Who is served: so many at once. Where there is no place left, whoever has kept one for longest
/// without asking for anything makes room, so that nobody who only connects keeps others out.
struct Places {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    count: u64,
    by_age: BTreeMap<u64, (Arc<AtomicBool>, CancellationToken)>,
}

struct Place {
    number: u64,
    /// Whether a request of somebody who may ask is being answered.
    is_asking: Arc<AtomicBool>,
    until: CancellationToken,
    of: Arc<Places>,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    fn new() -> Places {
        Places { free: Arc::new(Semaphore::new(CONNECTIONS_MAX)), taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(self: Arc<Places>, stop: &CancellationToken) -> Place {
        if self.free.available_permits() == 0 {
            let taken = self.taken();
            let idle = taken.by_age.values().find(|(is_asking, until)| {
                !is_asking.load(Ordering::Relaxed) && !until.is_cancelled()
            });
            if let Some((_, until)) = idle {
                until.cancel();
            }
        }
        let permit = self.free.clone().acquire_owned().await.expect("never closed");
        let (is_asking, until) = (Arc::<AtomicBool>::default(), stop.child_token());
        let number = {
            let mut taken = self.taken();
            taken.count += 1;
            let number = taken.count;
            taken.by_age.insert(number, (is_asking.clone(), until.clone()));
            number
        };
        Place { number, is_asking, until, of: self, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.taken().by_age.remove(&self.number);
    }
}

/// What those get who watch the broker.
pub fn watched(broker: Arc<Broker>, queries: QueryStatus) -> Router {
    Router::new()
        .route("/", get(|| async { "millstream: /metrics, /health\n" }))
        .route("/metrics", get(metrics_text))
        .route("/health", get(health))
        .with_state(Watched { broker, queries })
}

/// What answers the requests of one connection.
#[derive(Clone)]
struct Routed {
    router: Router,
    guard: Arc<Guard>,
    peer: SocketAddr,
    is_asking: Arc<AtomicBool>,
}

impl Routed {
    async fn answer(self, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let judged = self.guard.judge(Asked { method, uri, headers, peer: self.peer.ip() }).await;
        let mut response = match &judged.instead {
            None => {
                let asking = Asking(self.is_asking.clone());
                if request.is_end_stream() {
                    asking.has_asked();
                }
                request.extensions_mut().insert(asking);
                let response = TowerToHyperService::new(self.router).call(request).await;
                self.is_asking.store(false, Ordering::Relaxed);
                response?
            }
            Some(Instead { status, reason }) => refusal(*status, reason.as_deref()),
        };
        judged.finish(&self.guard, response.headers_mut());
        Ok(response)
    }
}

/// In the form of Kafka Connect's REST API, wherever it is said.
fn refusal(status: StatusCode, reason: Option<&str>) -> Response<Body> {
    let Some(reason) = reason else {
        return (status, Body::empty()).into_response();
    };
    let body = json!({ "error_code": status.as_u16(), "message": reason });
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn serve(stream: TcpStream, tls: Option<Arc<Tls>>, routed: Routed) {
    let opened = Connection::open(stream, tls.as_deref());
    let mut connection = match tokio::time::timeout(HEAD_TIMEOUT, opened).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%error, "no TLS"),
        Err(_) => return tracing::debug!("no TLS in time"),
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let service = service_fn(move |request| routed.clone().answer(request));
    match http.serve_connection(TokioIo::new(&mut connection), service).await {
        Ok(()) => linger(connection.tcp()).await,
        Err(error) => tracing::debug!(%error, "HTTP connection ended"),
    }
}

/// What ends a text of metrics.
const END: &str = "# EOF\n";

async fn metrics_text(State(watched): State<Watched>) -> impl IntoResponse {
    let mut text = watched.broker.metrics_text().await;
    if let Some(queries) = watched.queries.get() {
        text.truncate(text.trim_end_matches(END).len());
        text.push_str(&query_metrics::text(&queries()));
        text.push_str(END);
    }
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}

/// Ready, or about to stop.
async fn health(State(watched): State<Watched>) -> impl IntoResponse {
    match watched.broker.is_shutting_down() {
        false => (StatusCode::OK, "ok\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}
