//! Calls of HTTP servers: connections that are used again, a bound on each call's time and on its
//! answer's size, redirects.

use std::error::Error;
use std::io;
use std::time::Duration;

use broker::security::trusted;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, LOCATION};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use thiserror::Error;
use tokio_rustls::rustls::{self, ClientConfig};
use url::Url;

/// How long a connection is kept that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How calls are made.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub connect_timeout: Duration,
    /// From the call to the last byte of its answer, redirects included.
    pub request_timeout: Duration,
    pub redirects_max: u32,
    /// The most of an answer that is read.
    pub reply_bytes_max: usize,
}

#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    options: ClientOptions,
}

/// What is asked of a server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// There was more than is read.
    pub is_cut: bool,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CallError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("its certificate is not trusted: {0}")]
    Untrusted(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("it redirects to {0}, which is not followed: {1}")]
    Redirect(String, &'static str),
    #[error("'{0}' is no address for HTTP: {1}")]
    Address(String, String),
}

impl CallError {
    /// Whether it may be gone at a later attempt.
    pub fn is_transient(&self) -> bool {
        matches!(self, CallError::Timeout(_) | CallError::Connect(_) | CallError::Broken(_))
    }
}

impl HttpClient {
    pub fn new(tls: ClientConfig, options: ClientOptions) -> HttpClient {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(options.connect_timeout));
        tcp.set_keepalive(Some(IDLE_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        HttpClient { client, options }
    }

    /// The answer, whatever its status.
    pub async fn call(&self, call: &Call) -> Result<Reply, CallError> {
        let timeout = self.options.request_timeout;
        let answer = tokio::time::timeout(timeout, self.follow(call.clone()));
        answer.await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    async fn follow(&self, mut call: Call) -> Result<Reply, CallError> {
        let mut redirects = 0;
        loop {
            let reply = self.once(&call).await?;
            let Some(to) = redirect(&call, &reply) else { return Ok(reply) };
            let shown = shown(&to);
            if redirects >= self.options.redirects_max {
                return Err(CallError::Redirect(shown, "that would be one redirect too many"));
            }
            redirects += 1;
            if call.url.scheme() == "https" && to.scheme() != "https" {
                return Err(CallError::Redirect(shown, "it has no TLS"));
            }
            if call.url.origin() != to.origin() {
                // Credentials are for whom they were given.
                call.headers.remove(AUTHORIZATION);
                call.headers.remove(COOKIE);
                call.headers.remove(HOST);
            }
            call.url = to;
        }
    }

    async fn once(&self, call: &Call) -> Result<Reply, CallError> {
        let wrong = |error: &dyn Error| CallError::Address(shown(&call.url), error.to_string());
        let mut url = call.url.clone();
        url.set_fragment(None);
        let uri: Uri = url.as_str().parse().map_err(|error| wrong(&error))?;
        let mut request = Request::builder().method(call.method.clone()).uri(uri);
        if let Some(headers) = request.headers_mut() {
            *headers = call.headers.clone();
        }
        let request = request.body(Full::new(call.body.clone())).map_err(|error| wrong(&error))?;
        let answer = self.client.request(request).await.map_err(|error| {
            let is_connect = error.is_connect();
            failed(&error, is_connect)
        })?;
        let (head, body) = answer.into_parts();
        let (body, is_cut) = read(body, self.options.reply_bytes_max).await?;
        Ok(Reply { status: head.status, headers: head.headers, body, is_cut })
    }
}

/// Where the answer sends this call, as it is.
fn redirect(call: &Call, reply: &Reply) -> Option<Url> {
    let is_plain = call.method == Method::GET || call.method == Method::HEAD;
    match reply.status.as_u16() {
        307 | 308 => {}
        // Others would lose their body.
        301..=303 if is_plain => {}
        _ => return None,
    }
    let location = reply.headers.get(LOCATION)?.to_str().ok()?;
    let to = call.url.join(location).ok()?;
    matches!(to.scheme(), "http" | "https").then_some(to)
}

async fn read(mut body: Incoming, bytes_max: usize) -> Result<(Bytes, bool), CallError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error, false))?;
        let Some(data) = frame.data_ref() else { continue };
        let room = bytes_max - all.len();
        all.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((all.freeze(), true));
        }
    }
    Ok((all.freeze(), false))
}

fn failed(error: &(dyn Error + 'static), is_connect: bool) -> CallError {
    let mut words = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = of_tls(error)
            && let Some(advice) = trusted::advice(error, "http.ssl.truststore.location")
        {
            return CallError::Untrusted(format!("{error}; {advice}"));
        }
        let text = error.to_string();
        // Outer ones only say that it happened, and some repeat what the inner ones say.
        if !text.starts_with("client error")
            && !words.iter().any(|known: &String| known.contains(&text))
        {
            words.push(text);
        }
        next = error.source();
    }
    let words = words.join(": ");
    if is_connect { CallError::Connect(words) } else { CallError::Broken(words) }
}

/// What TLS says, within however many errors of input and output.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(error);
    }
    of_tls(error.downcast_ref::<io::Error>()?.get_ref()?)
}

/// An address as it may be shown: without a password, and without a query, which may hold a key.
pub fn shown(url: &Url) -> String {
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_an_address_holds_no_secret() {
        let url = Url::parse("https://ann:secret@h.example:8443/a/b?key=secret#x").unwrap();
        assert_eq!(shown(&url), "https://h.example:8443/a/b");
    }

    #[test]
    fn only_redirects_that_keep_a_call_as_it_is_are_followed() {
        let call = |method| Call {
            method,
            url: Url::parse("http://h/a/b").unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let reply = |status, location: &str| {
            let headers = [(LOCATION, location.parse().unwrap())].into_iter().collect();
            let status = StatusCode::from_u16(status).unwrap();
            Reply { status, headers, body: Bytes::new(), is_cut: false }
        };
        let to = |method, status, location| {
            redirect(&call(method), &reply(status, location)).map(|url| url.to_string())
        };
        assert_eq!(to(Method::POST, 307, "c").as_deref(), Some("http://h/a/c"));
        assert_eq!(to(Method::POST, 308, "//g/x").as_deref(), Some("http://g/x"));
        assert_eq!(to(Method::POST, 302, "/c"), None);
        assert_eq!(to(Method::GET, 302, "/c").as_deref(), Some("http://h/c"));
        assert_eq!(to(Method::GET, 302, "ftp://h/c"), None);
        assert_eq!(to(Method::GET, 304, "/c"), None);
    }
}
