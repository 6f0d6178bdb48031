//! An HTTP server that does what a test wants, faults included, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// With its query.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    pub at: Instant,
    /// What it was answered; 0: nothing.
    pub status: u16,
}

pub enum Answer {
    Status(u16),
    With(u16, Vec<(&'static str, String)>, String),
    After(Duration, u16),
    /// The connection ends without an answer.
    Break,
}

pub struct TestServer {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    accepting: JoinHandle<()>,
}

type Handler = Arc<dyn Fn(&Received, usize) -> Answer + Send + Sync>;

impl TestServer {
    /// `answer` gets what is asked, and how much was asked before it.
    pub async fn start(
        answer: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> TestServer {
        TestServer::start_with(None, answer).await
    }

    pub async fn start_with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Received, usize) -> Answer + Send + Sync + 'static,
    ) -> TestServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (shared, handler): (_, Handler) = (received.clone(), Arc::new(answer));
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                stream.set_nodelay(true).unwrap();
                let (received, handler, tls) = (shared.clone(), handler.clone(), tls.clone());
                let service =
                    service_fn(move |request| handle(request, received.clone(), handler.clone()));
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // Clients come and go as they like.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            http.serve_connection(TokioIo::new(stream), service).await
                        }
                    };
                });
            }
        });
        TestServer { address, received, accepting }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Bodies of requests that were taken, in the order in which they came.
    pub fn accepted(&self) -> Vec<String> {
        let all = self.received().into_iter();
        all.filter(|one| (200..300).contains(&one.status)).map(|one| one.body).collect()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn handle(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Received>>>,
    handler: Handler,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap().to_owned();
    let mut one = Received {
        method: head.method.to_string(),
        path: head.uri.path_and_query().unwrap().to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8(body.to_vec()).unwrap(),
        at: Instant::now(),
        status: 0,
    };
    let (answer, at) = {
        let mut all = received.lock().unwrap();
        let answer = handler(&one, all.len());
        one.status = match &answer {
            Answer::Status(status) | Answer::With(status, ..) | Answer::After(_, status) => *status,
            Answer::Break => 0,
        };
        all.push(one);
        (answer, all.len())
    };
    let _ = at;
    let (status, headers, body) = match answer {
        Answer::Status(status) => (status, Vec::new(), String::new()),
        Answer::With(status, headers, body) => (status, headers, body),
        Answer::After(pause, status) => {
            tokio::time::sleep(pause).await;
            (status, Vec::new(), String::new())
        }
        Answer::Break => return Err("broken on purpose".into()),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let full: Result<_, Infallible> = Ok(Full::new(Bytes::from(body)));
    Ok(response.body(full?).unwrap())
}
