//! Who calls, by a token that another service gives for a name and a secret: OAuth 2's client
//! credentials (RFC 6749, 4.4).
//!
//! ```text
//!  first call, or the token ends soon, or 401 ─► POST oauth2.access.token.url ─► access_token
//!                                                                                   │ kept for
//!  calls ◄── Authorization: Bearer … ◄──────────────────────────────────────────────┘ expires_in
//! ```
//!
//! Invariants:
//! - Calls that need a token at the same time ask for one together.
//! - Neither the secret nor a token is in a message.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::form_urlencoded;

use super::client::{Call, HttpClient, Reply, shown};
use super::delivery::in_words;
use super::{auth, service};
use crate::config::{ConfigProblem, Settings};

/// Before its end a token is renewed by a tenth of its life, and by this at most: it may take a
/// call a while to arrive, and clocks differ.
const EARLY_MAX: Duration = Duration::from_secs(60);
/// What has failed is not asked again for so long, whoever needs it.
const FAILURE_LASTS: Duration = Duration::from_secs(1);
/// A token that lives longer is asked for anew some time.
const LIFE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// Tokens for one service; cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Shared>);

struct Shared {
    client: HttpClient,
    request: Call,
    secret: String,
    /// Where the token stands in the answer.
    property: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Instant, NoReply)>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

/// Why there is no answer, or no token.
#[derive(Clone, Debug)]
pub struct NoReply {
    pub reason: String,
    pub is_transient: bool,
}

/// The answer to a call, which is made with a token where there are any; once again with another
/// where it is refused.
pub async fn call(
    client: &HttpClient,
    call: &mut Call,
    tokens: Option<&Tokens>,
) -> Result<Reply, NoReply> {
    let mut may_renew = true;
    loop {
        if let Some(tokens) = tokens {
            call.headers.insert(AUTHORIZATION, tokens.header().await?);
        }
        let reply = client.call(call).await.map_err(|error| NoReply {
            reason: error.to_string(),
            is_transient: error.is_transient(),
        })?;
        let (Some(tokens), StatusCode::UNAUTHORIZED) = (tokens, reply.status) else {
            return Ok(reply);
        };
        if let Some(refused) = call.headers.get(AUTHORIZATION) {
            tokens.refused(refused).await;
        }
        if !std::mem::take(&mut may_renew) {
            return Ok(reply);
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", shown(&self.0.request.url))
    }
}

impl Tokens {
    /// As checked settings say; `None`: they ask for none.
    pub fn new(settings: &Settings, client: &HttpClient) -> Option<Tokens> {
        if settings.text("http.authorization.type") != "oauth2" {
            return None;
        }
        let request = request(settings).ok()?;
        Some(Tokens(Arc::new(Shared {
            client: client.clone(),
            request,
            secret: settings.optional_text("oauth2.client.secret").unwrap_or_default().to_owned(),
            property: settings.text("oauth2.response.token.property").to_owned(),
            state: Mutex::default(),
        })))
    }

    /// What a call has as its Authorization header.
    pub async fn header(&self) -> Result<HeaderValue, NoReply> {
        let mut state = self.0.state.lock().await;
        let now = Instant::now();
        if let Some(token) = state.token.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.header.clone());
        }
        if let Some((at, error)) = &state.failed
            && now - *at < FAILURE_LASTS
        {
            return Err(error.clone());
        }
        match self.0.fetch().await {
            Ok(token) => {
                let header = token.header.clone();
                *state = State { token: Some(token), failed: None };
                Ok(header)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// A service has refused a call with that header: the next one gets another.
    pub async fn refused(&self, header: &HeaderValue) {
        let mut state = self.0.state.lock().await;
        // Another call may have a new one already.
        if state.token.as_ref().is_some_and(|token| token.header == *header) {
            state.token = None;
        }
    }
}

impl Shared {
    async fn fetch(&self) -> Result<Token, NoReply> {
        let from = format!("a token from {}", shown(&self.request.url));
        let reply = self.client.call(&self.request).await.map_err(|error| NoReply {
            reason: format!("{from}: {error}"),
            is_transient: error.is_transient(),
        })?;
        let status = reply.status;
        if !status.is_success() {
            let is_transient =
                status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
            let look = if is_transient { "" } else { "; look at oauth2.*" };
            let words = in_words(&reply).replace(&self.secret, "***");
            return Err(NoReply { reason: format!("{from}: {words}{look}"), is_transient });
        }
        read(&reply, &self.property).map_err(|mistake| NoReply {
            reason: format!("{from}: {mistake}"),
            is_transient: false,
        })
    }
}

/// The token in an answer. Nothing of the answer is told: it may hold one.
fn read(reply: &Reply, property: &str) -> Result<Token, String> {
    let answer: Value = serde_json::from_slice(&reply.body)
        .map_err(|_| "the answer is no JSON that can be read".to_owned())?;
    let text = answer.get(property).and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| {
        format!("the answer has no text `{property}`; look at oauth2.response.token.property")
    })?;
    let header = HeaderValue::from_str(&format!("Bearer {text}"));
    let mut header = header.map_err(|_| format!("its `{property}` has control characters"))?;
    header.set_sensitive(true);
    let seconds = match &answer["expires_in"] {
        Value::Number(number) => number.as_f64(),
        // Some say it as text.
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let life = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let life = life.unwrap_or(LIFE_MAX).min(LIFE_MAX);
    let renew_at = Instant::now() + life.saturating_sub(EARLY_MAX.min(life / 10));
    Ok(Token { header, renew_at })
}

/// How a token is asked for.
fn request(settings: &Settings) -> Result<Call, (&'static str, String)> {
    let text = |key| settings.optional_text(key).unwrap_or_default();
    let url = service::parse_url(text(URL)).map_err(|mistake| (URL, mistake))?;
    let (id, secret) = (text(ID), text("oauth2.client.secret"));
    let mut form = form_urlencoded::Serializer::new(String::new());
    let grant = (text("oauth2.request.grant.type.property"), text("oauth2.grant.type"));
    form.append_pair(grant.0, grant.1);
    let mut headers = HeaderMap::new();
    match text("oauth2.client.authorization.mode") {
        "url" => {
            form.append_pair(text("oauth2.request.client.id.property"), id);
            form.append_pair(text("oauth2.request.client.secret.property"), secret);
        }
        _ => {
            // Both are encoded as in a form first (RFC 6749, 2.3.1).
            let encoded =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let value = HeaderValue::from_str(&auth::basic(&encoded(id), &encoded(secret)));
            let mut value = value.map_err(|error| (ID, error.to_string()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    if let Some(scope) = settings.optional_text("oauth2.client.scope") {
        form.append_pair("scope", scope);
    }
    for item in settings.list(MORE) {
        let Some((name, value)) = item.split_once(':') else {
            let mistake = format!("'{item}' has no colon between a name and a value");
            return Err((MORE, mistake));
        };
        form.append_pair(name.trim(), value.trim());
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(Call { method: Method::POST, url, headers, body: Bytes::from(form.finish()) })
}

const URL: &str = "oauth2.access.token.url";
const ID: &str = "oauth2.client.id";
const MORE: &str = "oauth2.request.additional";

/// What is wrong with the properties of that type; `prefix` is what the keys have before their
/// names.
pub fn check(settings: &Settings, prefix: &str) -> Option<ConfigProblem> {
    let (key, mistake) = request(settings).err()?;
    Some(ConfigProblem {
        key: format!("{prefix}{key}"),
        value: None,
        message: format!("`{prefix}{key}`: {mistake}"),
        help: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(body: &str) -> Result<(String, u64), String> {
        let body = Bytes::from(body.to_owned());
        let reply =
            Reply { status: StatusCode::OK, headers: HeaderMap::new(), body, is_cut: false };
        let token = read(&reply, "access_token")?;
        let life = token.renew_at.saturating_duration_since(Instant::now());
        Ok((token.header.to_str().unwrap().to_owned(), life.as_secs_f64().round() as u64))
    }

    #[test]
    fn a_token_is_renewed_before_its_end() {
        let of = |header: &str, life| Ok((header.to_owned(), life));
        assert_eq!(token(r#"{"access_token": "a.b", "expires_in": 3600}"#), of("Bearer a.b", 3540));
        assert_eq!(token(r#"{"access_token": "t", "expires_in": "100"}"#), of("Bearer t", 90));
        assert_eq!(token(r#"{"access_token": "t", "expires_in": -1}"#), of("Bearer t", 2_591_940));
        assert_eq!(token(r#"{"access_token": "t"}"#), of("Bearer t", 2_591_940));
        assert_eq!(
            token(r#"{"access_token": "t", "expires_in": 1e300}"#),
            of("Bearer t", 2_591_940)
        );
    }

    #[test]
    fn what_an_answer_holds_is_not_told() {
        for body in [r#"{"token": "s3cret"}"#, "s3cret", r#"{"access_token": "s3cret\n"}"#] {
            let said = token(body).unwrap_err();
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
