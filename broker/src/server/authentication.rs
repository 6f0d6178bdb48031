//! How a client of a listener with SASL becomes known, and stays so.
//!
//! ```text
//! unknown ─ SaslHandshake ─► exchange ─ SaslAuthenticate … ─► known until its session ends
//!    ▲                          │                                │
//!    └── else ApiVersions alone └─► refused: after a while,      └─ SaslHandshake again (KIP-368):
//!                                   without a reason, and closed    the same user, or closed
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::listener::Listener;
use crate::broker::now_ms;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k17_sasl_handshake::*;
use crate::protocol::messages::k36_sasl_authenticate::*;
use crate::security::Principal;
use crate::security::sasl::{Exchange, Mechanism, Refused, Step};

/// Why a client did not become known. Words for the log: the client hears other ones.
#[derive(Debug, Error)]
pub enum NotAuthenticated {
    #[error("authentication by {mechanism} of {user} failed: {reason}")]
    Refused { mechanism: Mechanism, user: String, reason: String },
    #[error("the mechanism {0:?} is not enabled")]
    Mechanism(String),
    #[error("{0} came before the client was known")]
    OutOfOrder(&'static str),
    #[error("it was {before}, and cannot become {after}")]
    OtherPrincipal { before: Principal, after: Principal },
    #[error("it was known by {before}, and cannot be by {after:?}")]
    OtherMechanism { before: Mechanism, after: String },
}

/// Where a connection stands.
#[derive(Debug)]
pub struct Authentication {
    listener: Arc<Listener>,
    exchange: Option<Exchange>,
    /// Messages come as bare frames (SaslHandshake v0).
    is_bare: bool,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    principal: Principal,
    mechanism: Mechanism,
    ends: Option<Instant>,
}

/// A message of the server, or the end of the exchange.
pub struct Answer {
    pub bytes: Vec<u8>,
    /// Who the client now is, and for how long, in ms.
    pub known: Option<(Principal, i64)>,
}

impl Authentication {
    pub fn new(listener: Arc<Listener>) -> Authentication {
        Authentication { listener, exchange: None, is_bare: false, session: None }
    }

    /// Whether only what leads to authentication may be asked for.
    pub fn is_unknown(&self) -> bool {
        self.session.is_none()
    }

    /// Whether who the client is was said for good: nothing ends that (KIP-368).
    pub fn is_settled(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.ends.is_none())
    }

    /// Whether the next frame is a message of the mechanism and nothing else.
    pub fn expects_bare(&self) -> bool {
        self.is_bare && self.exchange.is_some()
    }

    /// Whether a client that was known has to say again who it is.
    pub fn has_ended(&self) -> bool {
        let ends = self.session.as_ref().and_then(|session| session.ends);
        ends.is_some_and(|ends| ends <= Instant::now())
    }

    pub fn handshake(
        &mut self,
        version: i16,
        request: SaslHandshakeRequest,
    ) -> (SaslHandshakeResponse, Result<(), NotAuthenticated>) {
        let enabled = &self.listener.config.mechanisms;
        let mut response = SaslHandshakeResponse {
            mechanisms: enabled.iter().map(|mechanism| mechanism.name().to_owned()).collect(),
            ..SaslHandshakeResponse::default()
        };
        let asked = enabled.iter().find(|mechanism| mechanism.name() == request.mechanism);
        let Some(&mechanism) = asked else {
            response.error_code = ErrorCode::UNSUPPORTED_SASL_MECHANISM;
            return (response, Err(NotAuthenticated::Mechanism(request.mechanism)));
        };
        if self.exchange.is_some() {
            response.error_code = ErrorCode::ILLEGAL_SASL_STATE;
            return (response, Err(NotAuthenticated::OutOfOrder("a second handshake")));
        }
        if let Some(session) = &self.session
            && session.mechanism != mechanism
        {
            let (before, after) = (session.mechanism, request.mechanism);
            response.error_code = ErrorCode::UNSUPPORTED_SASL_MECHANISM;
            return (response, Err(NotAuthenticated::OtherMechanism { before, after }));
        }
        self.exchange = Some(Exchange::new(mechanism));
        self.is_bare = version == 0;
        (response, Ok(()))
    }

    /// Takes a message of the mechanism from a host; an answer that is not there by `until` is
    /// none.
    pub async fn step(
        &mut self,
        shared: &Shared,
        message: &[u8],
        host: &str,
        until: Instant,
    ) -> Result<Answer, NotAuthenticated> {
        let Some(exchange) = &mut self.exchange else {
            return Err(NotAuthenticated::OutOfOrder("a message without a handshake"));
        };
        let mechanism = exchange.mechanism();
        let now_ms = now_ms();
        let step = exchange.step(message, &shared.authority, host, now_ms);
        let step = timeout_at(until, step).await.unwrap_or_else(|_| {
            let reason = "too many others are logging in: there was no turn in time".to_owned();
            Err(Refused { user: None, reason })
        });
        match step.map_err(|Refused { user, reason }| {
            let user = user.map_or("nobody that is named".to_owned(), |user| format!("{user:?}"));
            NotAuthenticated::Refused { mechanism, user, reason }
        })? {
            Step::Challenge(bytes) => Ok(Answer { bytes, known: None }),
            Step::Authenticated { principal, expires_ms, answer } => {
                self.exchange = None;
                if let Some(Session { principal: before, .. }) = &self.session
                    && *before != principal
                {
                    let (before, after) = (before.clone(), principal);
                    return Err(NotAuthenticated::OtherPrincipal { before, after });
                }
                let until_expiry_ms = expires_ms.map(|expires_ms| (expires_ms - now_ms).max(0));
                let max = self.listener.config.session_max(mechanism);
                let max = max.unwrap_or(shared.config.sasl.session_max);
                let max_ms = max.map(|max| max.as_millis() as i64);
                let lifetime_ms = until_expiry_ms.into_iter().chain(max_ms).min();
                let ends =
                    lifetime_ms.map(|ms| Instant::now() + Duration::from_millis(ms.unsigned_abs()));
                self.session = Some(Session { principal: principal.clone(), mechanism, ends });
                Ok(Answer { bytes: answer, known: Some((principal, lifetime_ms.unwrap_or(0))) })
            }
        }
    }
}

impl Answer {
    pub fn response(&self) -> SaslAuthenticateResponse {
        SaslAuthenticateResponse {
            error_message: None,
            auth_bytes: Bytes::copy_from_slice(&self.bytes),
            session_lifetime_ms: self.known.as_ref().map_or(0, |known| known.1),
            ..SaslAuthenticateResponse::default()
        }
    }
}

impl NotAuthenticated {
    /// What the client is told, which is the same whatever was wrong.
    pub fn response(&self) -> SaslAuthenticateResponse {
        let (error_code, message) = match self {
            NotAuthenticated::Refused { mechanism: Mechanism::Plain, .. } => {
                let message = "Authentication failed: Invalid username or password";
                (ErrorCode::SASL_AUTHENTICATION_FAILED, message.to_owned())
            }
            NotAuthenticated::Refused { mechanism, .. } => {
                let message = format!(
                    "Authentication failed during authentication due to invalid credentials with \
                     SASL mechanism {mechanism}"
                );
                (ErrorCode::SASL_AUTHENTICATION_FAILED, message)
            }
            NotAuthenticated::OtherPrincipal { .. } => {
                let message = "Cannot change principals during re-authentication".to_owned();
                (ErrorCode::SASL_AUTHENTICATION_FAILED, message)
            }
            _ => (ErrorCode::ILLEGAL_SASL_STATE, "There was no handshake before it".to_owned()),
        };
        SaslAuthenticateResponse {
            error_code,
            error_message: Some(message),
            ..SaslAuthenticateResponse::default()
        }
    }
}
