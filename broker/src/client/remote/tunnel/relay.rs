//! Bytes both ways between librdkafka and a broker, and the login renewed between requests
//! (KIP-368).
//!
//! ```text
//! librdkafka ─► requests ──┬─────────────► broker        a login is renewed after a whole request;
//!                     renewal ⇄ its answers              the next one waits until that is done
//! librdkafka ◄─ responses ─┴◄───────────── broker        what was asked before is still answered
//! ```

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::frames::{Malformed, Part, Requests, Responses};
use crate::client::admin::AdminError;
use crate::client::admin::connection::{
    self, Connection, HANDSHAKE_FROM, check_login, check_mechanism,
};
use crate::client::admin::question::Question;
use crate::client::secured::{Login, Stream};
use crate::protocol::messages::k17_sasl_handshake::SaslHandshakeRequest;
use crate::protocol::messages::k36_sasl_authenticate::SaslAuthenticateRequest;
use crate::security::scram::random_bytes;

/// Taken at a time, each way.
const CHUNK_BYTES: usize = 128 << 10;
/// How long the broker is given to hear that no more comes.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long an answer may take on the way to a new login: those to requests before it come first,
/// and the one that joins a group waits for others.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(360);

/// Why a connection has ended.
#[derive(Debug)]
pub enum End {
    /// One side is done with it.
    Closed,
    /// The broker does not let us in again.
    Refused(String),
    Broken(String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Broken(error.to_string())
    }
}

impl From<Malformed> for End {
    fn from(Malformed(length): Malformed) -> End {
        End::Broken(format!("a frame claims a length of {length} bytes"))
    }
}

type Far = Box<dyn Stream>;

/// Carries bytes until one side ends, and logs in again whenever it is time.
pub async fn relay(
    near: UnixStream,
    connection: Connection,
    login: Option<&Login>,
    client_id: &str,
) -> End {
    let (answered, answers) = mpsc::channel(1);
    let renewal = connection.session.zip(login).map(|(session, login)| {
        let versions = Versions {
            handshake: connection.version::<SaslHandshakeRequest>(HANDSHAKE_FROM),
            authenticate: connection.version::<SaslAuthenticateRequest>(1),
        };
        let client_id = client_id.to_owned();
        let (next_id, due) = (i32::MIN, due(session));
        Renewal { login, client_id, versions, next_id, due: Some(due), answers }
    });
    let (near_input, near_output) = near.into_split();
    let (far_input, far_output) = tokio::io::split(connection.into_stream());
    let ended = tokio::select! {
        ended = requests(near_input, far_output, renewal) => ended,
        ended = responses(far_input, near_output, answered) => ended,
    };
    ended.err().unwrap_or(End::Closed)
}

async fn requests(
    mut near: OwnedReadHalf,
    mut far: WriteHalf<Far>,
    mut renewal: Option<Renewal<'_>>,
) -> Result<(), End> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut frames = Requests::default();
    loop {
        let due = renewal.as_ref().and_then(|renewal| renewal.due);
        let read = tokio::select! {
            read = near.read(&mut chunk) => read?,
            () = until(due), if frames.is_between() => 0,
        };
        let mut bytes = &chunk[..read];
        let is_due = |due: Option<Instant>| due.is_some_and(|due| Instant::now() >= due);
        if read == 0 && !is_due(due) {
            let _ = timeout(FAREWELL, far.shutdown()).await;
            return Ok(());
        }
        if let Some(renewal) = renewal.as_mut().filter(|renewal| is_due(renewal.due)) {
            let first = if frames.is_between() { 0 } else { frames.pass_one(bytes)? };
            far.write_all(&bytes[..first]).await?;
            bytes = &bytes[first..];
            if frames.is_between() {
                renewal.renew(&mut far).await?;
            }
        }
        frames.pass(bytes)?;
        far.write_all(bytes).await?;
        far.flush().await?;
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn responses(
    mut far: ReadHalf<Far>,
    mut near: OwnedWriteHalf,
    answered: mpsc::Sender<Bytes>,
) -> Result<(), End> {
    let mut came = BytesMut::with_capacity(CHUNK_BYTES);
    let mut frames = Responses::default();
    loop {
        match frames.next(&mut came)? {
            Part::Theirs(count) => {
                near.write_all(&came[..count]).await?;
                came.advance(count);
            }
            Part::Ours(answer) => {
                // Nobody else has ids below zero.
                if answered.send(answer).await.is_err() {
                    return Err(End::Broken("an answer to what was not asked".to_owned()));
                }
            }
            Part::Nothing => {
                came.reserve(CHUNK_BYTES - came.len().min(CHUNK_BYTES / 2));
                if far.read_buf(&mut came).await? == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// A login that has to be made again and again.
struct Renewal<'l> {
    login: &'l Login,
    client_id: String,
    versions: Versions,
    /// Below zero, where librdkafka's never are.
    next_id: i32,
    /// `None` once the broker has said that it holds for ever.
    due: Option<Instant>,
    answers: mpsc::Receiver<Bytes>,
}

struct Versions {
    handshake: Result<i16, AdminError>,
    authenticate: Result<i16, AdminError>,
}

impl Renewal<'_> {
    async fn renew(&mut self, far: &mut WriteHalf<Far>) -> Result<(), End> {
        let unserved = |error: &AdminError| End::Broken(error.to_string());
        let handshake = *self.versions.handshake.as_ref().map_err(unserved)?;
        let authenticate = *self.versions.authenticate.as_ref().map_err(unserved)?;
        let mechanism = self.login.mechanism().to_owned();
        let answer = self.ask(far, handshake, SaslHandshakeRequest { mechanism }).await?;
        check_mechanism(&answer).map_err(End::Refused)?;
        let (mut exchange, first) = self.login.begin().map_err(End::Refused)?;
        let (mut next, mut session) = (Some(first), None);
        while let Some(auth_bytes) = next {
            let request = SaslAuthenticateRequest { auth_bytes };
            let answer = self.ask(far, authenticate, request).await?;
            let answer = check_login(answer, self.login).map_err(End::Refused)?;
            session = connection::session_of(&answer);
            next = exchange.next(&answer.auth_bytes).map_err(End::Refused)?;
        }
        self.due = session.map(due);
        Ok(())
    }

    async fn ask<Q: Question>(
        &mut self,
        far: &mut WriteHalf<Far>,
        version: i16,
        asked: Q,
    ) -> Result<Q::Answer, End> {
        let (id, broken) = (self.next_id, |reason: &str| End::Broken(reason.to_owned()));
        self.next_id = if id == -1 { i32::MIN } else { id + 1 };
        let frame = asked.encode(version, id, &self.client_id);
        let mut frame = frame.map_err(|error| End::Broken(error.to_string()))?;
        far.write_all_buf(&mut frame).await?;
        far.flush().await?;
        let answer = timeout(ANSWER_TIME_MAX, self.answers.recv()).await;
        let answer = answer.map_err(|_| broken("the login was not renewed in time"))?;
        let answer = answer.ok_or_else(|| broken("it closed while a login was renewed"))?;
        let (answered, answer) =
            Q::decode(version, answer).map_err(|error| End::Broken(error.to_string()))?;
        let answer = answer.filter(|_| answered == id);
        answer.ok_or_else(|| broken("an answer to another question"))
    }
}

/// When to log in again: as Kafka's own clients, at 85 to 95 % of the time, not all at once.
fn due(session: Duration) -> Instant {
    let [jitter] = random_bytes::<1>();
    Instant::now() + session.mul_f64(0.85 + 0.1 * f64::from(jitter) / 255.0)
}
