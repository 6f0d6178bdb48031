//! The REST API over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::Response;
use connectors::Herder;
use connectors::rest::{self, About, Answer, BODY_BYTES_MAX, RequestTarget, Served};

use crate::http::Asking;

/// How long the body of a request may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Api {
    herder: Arc<dyn Herder>,
    about: Arc<About>,
    served: Served,
}

/// Hands every request over.
pub fn router(herder: Arc<dyn Herder>, about: Arc<About>, served: Served) -> Router {
    Router::new().fallback(handle).with_state(Api { herder, about, served })
}

async fn handle(State(api): State<Api>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let target = RequestTarget::new(head.uri.path(), head.uri.query().unwrap_or_default());
    let answer = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => {
            if let Some(asking) = head.extensions.get::<Asking>() {
                asking.has_asked();
            }
            let content_type = head.headers.get(CONTENT_TYPE);
            let content_type = content_type.map(|kind| kind.to_str().unwrap_or_default());
            let (method, served) = (head.method.as_str(), api.served);
            let request = rest::Request { method, target, content_type, body: &body, served };
            rest::answer(&*api.herder, &api.about, request).await
        }
        Err(_) => {
            let seconds = BODY_TIMEOUT.as_secs();
            Answer::error(408, format!("a request's body comes within {seconds} s"))
        }
        Ok(Err(_)) => {
            Answer::error(413, format!("a request's body has at most {BODY_BYTES_MAX} bytes"))
        }
    };
    response(answer)
}

fn response(answer: Answer) -> Response {
    let mut response = Response::builder().status(answer.status);
    if let Some(location) = answer.location {
        response = response.header(LOCATION, location);
    }
    let built = match answer.body {
        Some(body) => {
            response.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))
        }
        None => response.body(Body::empty()),
    };
    built.expect("the status and the headers are of our own making")
}
