//! HTTP requests of functions, for those to whom some are granted.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use connectors::http::client::{Call, CallError, ClientOptions, HttpClient, Reply};
use connectors::http::tls;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use udfs::http::{Fetch, Request, Response};
use url::Url;

/// The most of an answer that is read.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const OPTIONS: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(10),
    // The call of the function ends before.
    request_timeout: Duration::from_secs(600),
    redirects_max: 0,
    reply_bytes_max: ANSWER_BYTES_MAX,
};
/// What the client says itself: that of another host would go to a server that is not granted,
/// behind one that is.
const OUR_HEADERS: [HeaderName; 4] = [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION];

/// Sends them by a thread of its own, which is there from the first request on.
#[derive(Default)]
pub struct FunctionRequests(OnceLock<Result<Sender, String>>);

struct Sender {
    runtime: Runtime,
    client: HttpClient,
}

impl Sender {
    fn new() -> Result<Sender, String> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name("requests").enable_all().build();
        let runtime = runtime.map_err(|error| format!("there is no thread for it: {error}"))?;
        Ok(Sender { runtime, client: HttpClient::new(tls::client(None)?, OPTIONS) })
    }

    async fn all(&self, requests: Vec<Request>, time: Duration) -> Vec<Result<Response, String>> {
        let late = Err("no answer within the time that is left (the `time` limit)".to_owned());
        let mut answers = vec![late; requests.len()];
        let mut under_way = JoinSet::new();
        for (index, request) in requests.into_iter().enumerate() {
            match call(request) {
                Err(reason) => answers[index] = Err(reason),
                Ok(call) => {
                    let client = self.client.clone();
                    under_way.spawn(async move { (index, client.call(&call).await) });
                }
            }
        }
        let answered = async {
            while let Some(done) = under_way.join_next().await {
                if let Ok((index, answer)) = done {
                    answers[index] = answer.map_err(reason).and_then(response);
                }
            }
        };
        // Those that are not there by then are given up.
        let _ = tokio::time::timeout(time, answered).await;
        answers
    }
}

impl Fetch for FunctionRequests {
    fn fetch(&self, requests: Vec<Request>, time: Duration) -> Vec<Result<Response, String>> {
        match self.0.get_or_init(Sender::new) {
            Ok(sender) => sender.runtime.block_on(sender.all(requests, time)),
            Err(reason) => vec![Err(reason.clone()); requests.len()],
        }
    }
}

fn call(request: Request) -> Result<Call, String> {
    let Request { method, url, headers, body } = request;
    let url = Url::parse(&url).map_err(|error| format!("its address is wrong: {error}"))?;
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| format!("'{}' is no method of HTTP", method.escape_debug()))?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = || format!("header '{}' is wrong", name.escape_debug());
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        if OUR_HEADERS.contains(&name) {
            return Err(format!("header '{name}' is not the function's to say"));
        }
        map.append(name, HeaderValue::from_str(&value).map_err(|_| wrong())?);
    }
    Ok(Call { method, url, headers: map, body: Bytes::from(body) })
}

fn reason(error: CallError) -> String {
    match error {
        CallError::Redirect(to, _) => format!("it redirects to {to}, which is not followed"),
        error => error.to_string(),
    }
}

fn response(reply: Reply) -> Result<Response, String> {
    if reply.is_cut {
        return Err(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes"));
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = reply.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    Ok(Response {
        status: reply.status.as_u16(),
        headers: headers.collect(),
        body: reply.body.to_vec(),
    })
}
