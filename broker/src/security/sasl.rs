//! One exchange by which a client says who it is, whatever the mechanism.
//!
//! ```text
//! message ─► PLAIN: name and password ───────────────────► authenticated
//!         ─► SCRAM: name ─► challenge ─ proof ───────────► authenticated, with our own proof
//!         ─► OAUTHBEARER: token ─────────────────────────► authenticated
//!                           └► why not ─ given up ───────► refused
//! ```

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::gate::Gate;
use super::jwt::{JwtConfig, JwtVerifier};
use super::scram::{ClientFirst, ScramExchange, ScramMechanism, Verifier};
use super::store::SecurityStore;
use super::{Principal, oauth, plain};

/// A way to say who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Scram(ScramMechanism),
    OAuthBearer,
}

impl Mechanism {
    const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::Scram(ScramMechanism::Sha256),
        Mechanism::Scram(ScramMechanism::Sha512),
        Mechanism::OAuthBearer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(mechanism) => mechanism.name(),
            Mechanism::OAuthBearer => "OAUTHBEARER",
        }
    }
}

impl FromStr for Mechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<Mechanism, String> {
        let found = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == text.trim());
        found.ok_or_else(|| {
            let names = Mechanism::ALL.map(Mechanism::name).join(", ");
            format!("the mechanism '{text}' is not there; there are {names}")
        })
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How clients authenticate, by whatever listener and mechanism.
#[derive(Clone, Debug)]
pub struct SaslConfig {
    /// `connections.max.reauth.ms`: how long a client stays whom it has said to be (KIP-368).
    pub session_max: Option<Duration>,
    /// `sasl.server.max.receive.size`: of a message before a client is known.
    pub receive_bytes_max: usize,
    /// `connection.failed.authentication.delay.ms`
    pub failure_delay: Duration,
    /// `sasl.oauthbearer.…`
    pub tokens: Option<JwtConfig>,
}

impl Default for SaslConfig {
    fn default() -> SaslConfig {
        SaslConfig {
            session_max: None,
            // Kafka's half a megabyte is more than any token needs.
            receive_bytes_max: 64 * 1024,
            failure_delay: Duration::from_millis(100),
            tokens: None,
        }
    }
}

/// What decides who is who.
#[derive(Debug)]
pub struct Authority {
    store: Arc<SecurityStore>,
    tokens: Option<Arc<JwtVerifier>>,
    /// Hashing passwords takes milliseconds of a core each, and signatures of tokens a part of one.
    hashing: Gate,
}

impl Authority {
    /// The error is a reason to be read by people.
    pub fn new(
        store: Arc<SecurityStore>,
        config: &SaslConfig,
        takes_tokens: bool,
    ) -> Result<Authority, String> {
        if takes_tokens && config.tokens.is_none() {
            let reason = "OAUTHBEARER needs keys: sasl.oauthbearer.jwks.endpoint.url = file:…";
            return Err(reason.to_owned());
        }
        let tokens =
            config.tokens.clone().filter(|_| takes_tokens).map(JwtVerifier::new).transpose()?;
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        Ok(Authority { store, tokens: tokens.map(Arc::new), hashing: Gate::new(cores) })
    }

    /// What is kept of a user's password, or a decoy.
    fn verifier(&self, mechanism: ScramMechanism, user: &str) -> Verifier {
        let contents = self.store.contents();
        let known = contents.verifier(user, mechanism).cloned();
        known.unwrap_or_else(|| contents.decoy(mechanism, user))
    }

    /// Does what takes a core for a while, off the async threads, when it is the host's turn.
    async fn work<T: Send + 'static>(
        &self,
        host: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let _turn = self.hashing.enter(host).await;
        tokio::task::spawn_blocking(work).await.expect("hashing does not panic")
    }

    async fn has_password(&self, host: &str, user: &str, password: &[u8]) -> bool {
        let contents = self.store.contents();
        let known = contents.last_verifier(user).map(|(mechanism, one)| (mechanism, one.clone()));
        let (mechanism, verifier) = known.unwrap_or_else(|| {
            let mechanism = ScramMechanism::Sha256;
            (mechanism, self.verifier(mechanism, user))
        });
        let password = password.to_vec();
        self.work(host, move || verifier.verify(mechanism, &password)).await
    }
}

/// An exchange under way.
#[derive(Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    state: State,
}

#[derive(Debug)]
enum State {
    Begun,
    Challenged(Box<ScramExchange>, String),
    /// The client was told why.
    TokenRefused(String),
    Over,
}

/// What comes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Challenge(Vec<u8>),
    Authenticated { principal: Principal, expires_ms: Option<i64>, answer: Vec<u8> },
}

/// Why nobody was authenticated.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who it was said to be, if it was.
    pub user: Option<String>,
    /// For the log.
    pub reason: String,
}

impl Refused {
    fn because(reason: impl ToString) -> Refused {
        Refused { user: None, reason: reason.to_string() }
    }

    fn of(user: &str, reason: impl ToString) -> Refused {
        Refused { user: Some(user.to_owned()), reason: reason.to_string() }
    }
}

impl Exchange {
    pub fn new(mechanism: Mechanism) -> Exchange {
        Exchange { mechanism, state: State::Begun }
    }

    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Takes the next message, which comes from a host. After a refusal, or once authenticated,
    /// there is none.
    pub async fn step(
        &mut self,
        message: &[u8],
        authority: &Authority,
        host: &str,
        now_ms: i64,
    ) -> Result<Step, Refused> {
        match (std::mem::replace(&mut self.state, State::Over), self.mechanism) {
            (State::Begun, Mechanism::Plain) => authenticate_plain(message, authority, host).await,
            (State::Begun, Mechanism::Scram(mechanism)) => {
                let first = ClientFirst::parse(message);
                let first = first.map_err(|error| Refused::because(error.reason()))?;
                let user = first.user.clone();
                let verifier = authority.verifier(mechanism, &user);
                let (exchange, challenge) = ScramExchange::begin(mechanism, first, verifier);
                self.state = State::Challenged(Box::new(exchange), user);
                Ok(Step::Challenge(challenge))
            }
            (State::Challenged(exchange, user), _) => match exchange.finish(message) {
                Ok(answer) => {
                    let principal = Principal::user(&user);
                    Ok(Step::Authenticated { principal, expires_ms: None, answer })
                }
                Err(error) => Err(Refused::of(&user, error.reason())),
            },
            (State::Begun, Mechanism::OAuthBearer) => {
                let checked = check_token(message, authority, host, now_ms).await?;
                checked.or_else(|reason| {
                    self.state = State::TokenRefused(reason);
                    Ok(Step::Challenge(br#"{"status":"invalid_token"}"#.to_vec()))
                })
            }
            (State::TokenRefused(reason), _) => Err(Refused::because(match message {
                oauth::GIVEN_UP => reason,
                _ => "a message after the token was refused".to_owned(),
            })),
            (State::Over, _) => Err(Refused::because("the exchange is over")),
        }
    }
}

async fn authenticate_plain(
    message: &[u8],
    authority: &Authority,
    host: &str,
) -> Result<Step, Refused> {
    let message = plain::parse(message).map_err(Refused::because)?;
    if !message.identity.is_empty() && message.identity != message.user {
        return Err(Refused::of(message.user, "the client asks to be somebody else"));
    }
    if !authority.has_password(host, message.user, message.password).await {
        let reason = "there is no such user, or the password is wrong";
        return Err(Refused::of(message.user, reason));
    }
    let principal = Principal::user(message.user);
    Ok(Step::Authenticated { principal, expires_ms: None, answer: Vec::new() })
}

/// A token that is refused is answered, with a reason for the log.
async fn check_token(
    message: &[u8],
    authority: &Authority,
    host: &str,
    now_ms: i64,
) -> Result<Result<Step, String>, Refused> {
    let message = oauth::parse(message).map_err(Refused::because)?;
    let tokens = authority.tokens.clone();
    let tokens = tokens.ok_or_else(|| Refused::because("there are no keys for tokens"))?;
    let token = message.token.to_owned();
    let token = match authority.work(host, move || tokens.verify(&token, now_ms)).await {
        Ok(token) => token,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if message.identity.is_some_and(|identity| identity != token.subject) {
        return Err(Refused::of(&token.subject, "the client asks to be somebody else"));
    }
    let (principal, expires_ms) = (Principal::user(&token.subject), Some(token.expires_ms));
    Ok(Ok(Step::Authenticated { principal, expires_ms, answer: Vec::new() }))
}
