//! HTTP for those who watch the broker: `/metrics` for Prometheus, `/health` for whoever keeps it
//! running; and for whoever else has something to serve, such as the REST API of connectors.
//!
//! A client that sends its request slowly, or none, is cut off; more clients than a few wait. None
//! of them touches what serves Kafka clients.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use broker::broker::Broker;
use broker::metrics;
use connectors::http::closing::linger;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::query_metrics;

/// Clients that are served at once.
const CONNECTIONS_MAX: usize = 32;
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
}

impl HttpServer {
    /// Fails with a message for people, which names the flag that chooses the address.
    pub async fn bind(listen: &str, flag: &str) -> Result<HttpServer, String> {
        let failed = |error: std::io::Error| {
            format!("cannot listen on {listen} for HTTP: {error}; choose another {flag}")
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(HttpServer { listener, address })
    }

    /// Serves until `stop`.
    pub async fn run(self, router: Router, stop: CancellationToken) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let accept = async {
                let slot = free.clone().acquire_owned().await;
                (slot.expect("never closed"), self.listener.accept().await)
            };
            let Some((slot, accepted)) = stop.run_until_cancelled(accept).await else { return };
            match accepted {
                Ok((stream, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    tokio::spawn(async move {
                        let served =
                            tokio::time::timeout(CONNECTION_TIMEOUT, serve(stream, router));
                        let _ = stop.run_until_cancelled(served).await;
                        drop(slot);
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

/// What those get who watch the broker.
pub fn watched(broker: Arc<Broker>, queries: QueryStatus) -> Router {
    Router::new()
        .route("/", get(|| async { "millstream: /metrics, /health\n" }))
        .route("/metrics", get(metrics_text))
        .route("/health", get(health))
        .with_state(Watched { broker, queries })
}

async fn serve(mut stream: TcpStream, router: Router) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    match http.serve_connection(TokioIo::new(&mut stream), service).await {
        Ok(()) => linger(&mut stream).await,
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
    use axum::http::StatusCode;
    match watched.broker.is_shutting_down() {
        false => (StatusCode::OK, "ok\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}
