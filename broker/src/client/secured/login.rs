//! The client's side of SASL: what to say, and what to make of the answers. No socket here.
//!
//! ```text
//! PLAIN        \0user\0password                           ─► done
//! SCRAM        n,,n=user,r=… ─► r=…,s=…,i=… ─► c=…,r=…,p=… ─► v=…, checked ─► done
//! OAUTHBEARER  n,,^Aauth=Bearer TOKEN^A… ─► done, or why not ─► ^A ─► refused
//! ```

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::security::oauth::GIVEN_UP;
use crate::security::reloaded;
use crate::security::scram::ScramMechanism;
use crate::security::scram_client::ScramClient;

/// No token is longer.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// Who one is, and by what that is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Plain {
        user: String,
        password: String,
    },
    Scram {
        mechanism: ScramMechanism,
        user: String,
        password: String,
    },
    OAuth {
        token: Token,
        /// Names and values beside the token (KIP-342).
        extensions: Vec<(String, String)>,
    },
}

/// Where a token is.
#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    /// Here.
    Text(String),
    /// In a file, which is read for each login: whoever keeps it renews it.
    File(PathBuf),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::Plain { user, .. } | Login::Scram { user, .. } => {
                write!(f, "{} as {user:?}", self.mechanism())
            }
            Login::OAuth { token, .. } => write!(f, "{} by {token:?}", self.mechanism()),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Text(_) => f.write_str("what was given"),
            Token::File(path) => write!(f, "'{}'", path.display()),
        }
    }
}

impl Token {
    fn read(&self) -> Result<String, String> {
        let text = match self {
            Token::Text(text) => text.clone(),
            Token::File(path) => {
                let bytes = reloaded::read(path, TOKEN_BYTES_MAX)?;
                String::from_utf8(bytes).map_err(|_| format!("{self:?} holds no token: no text"))?
            }
        };
        let text = text.trim();
        // A byte 1 would end the token, and begin something else.
        match text.is_empty() || text.chars().any(|letter| letter.is_control() || letter == ' ') {
            true => Err(format!("{self:?} holds no token: it is empty, or has blanks within")),
            false => Ok(text.to_owned()),
        }
    }
}

impl Login {
    pub fn mechanism(&self) -> &'static str {
        match self {
            Login::Plain { .. } => "PLAIN",
            Login::Scram { mechanism, .. } => mechanism.name(),
            Login::OAuth { .. } => "OAUTHBEARER",
        }
    }

    /// What to look at when a broker refuses it.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Login::Plain { .. } | Login::Scram { .. } => {
                "check the user and the password in sasl.jaas.config, and sasl.mechanism"
            }
            Login::OAuth { .. } => "check the token: whether it has expired, and whom it is for",
        }
    }

    /// Begins a login, with what is to be said first.
    pub(crate) fn begin(&self) -> Result<(Exchange<'_>, Bytes), String> {
        match self {
            Login::Plain { user, password } => {
                Ok((Exchange::Plain, format!("\0{user}\0{password}").into()))
            }
            Login::Scram { mechanism, user, password } => {
                let (client, first) = ScramClient::begin(*mechanism, user, password);
                Ok((Exchange::ToProve(client), first.into()))
            }
            Login::OAuth { token, extensions } => {
                let mut message = format!("n,,\u{1}auth=Bearer {}\u{1}", token.read()?);
                for (name, value) in extensions {
                    message.push_str(&format!("{name}={value}\u{1}"));
                }
                message.push('\u{1}');
                Ok((Exchange::Token { refused: None }, message.into()))
            }
        }
    }
}

/// A login under way.
pub(crate) enum Exchange<'a> {
    Plain,
    ToProve(ScramClient<'a>),
    Proved(ScramClient<'a>),
    Token { refused: Option<String> },
}

impl Exchange<'_> {
    /// Takes an answer; what to say next, or `None` when all is done. The error says why the
    /// broker is not trusted, or why it does not trust us.
    pub(crate) fn next(&mut self, answer: &[u8]) -> Result<Option<Bytes>, String> {
        match std::mem::replace(self, Exchange::Plain) {
            Exchange::Plain => Ok(None),
            Exchange::ToProve(mut client) => {
                let proof = client.prove(answer)?;
                *self = Exchange::Proved(client);
                Ok(Some(proof.into()))
            }
            Exchange::Proved(client) if client.is_proof(answer) => Ok(None),
            Exchange::Proved(_) => {
                Err("it does not know the password itself, and may be another".to_owned())
            }
            Exchange::Token { refused: None } if answer.is_empty() => Ok(None),
            Exchange::Token { refused: None } => {
                let why = String::from_utf8_lossy(answer).escape_debug().to_string();
                *self = Exchange::Token { refused: Some(why) };
                Ok(Some(Bytes::from_static(GIVEN_UP)))
            }
            Exchange::Token { refused: Some(why) } => Err(format!("it refuses the token: {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::oauth;
    use crate::security::scram::{ClientFirst, ScramExchange, Verifier};

    fn scram() -> Login {
        Login::Scram {
            mechanism: ScramMechanism::Sha512,
            user: "alice".into(),
            password: "al1ce".into(),
        }
    }

    #[test]
    fn a_password_is_said_or_proved() {
        let plain = Login::Plain { user: "a".into(), password: "b".into() };
        let (mut exchange, first) = plain.begin().unwrap();
        assert_eq!(&first[..], b"\0a\0b");
        assert_eq!(exchange.next(b""), Ok(None));

        for true_server in [true, false] {
            let login = scram();
            let (mut exchange, first) = login.begin().unwrap();
            let verifier = Verifier::of_password(ScramMechanism::Sha512, b"al1ce", 4096);
            let first = ClientFirst::parse(&first).unwrap();
            let (server, challenge) = ScramExchange::begin(ScramMechanism::Sha512, first, verifier);
            let proof = exchange.next(&challenge).unwrap().unwrap();
            let last = server.finish(&proof).unwrap();
            match true_server {
                true => assert_eq!(exchange.next(&last), Ok(None)),
                false => assert!(exchange.next(b"v=AAAA").unwrap_err().contains("may be another")),
            }
        }
        let login = scram();
        let (mut exchange, _) = login.begin().unwrap();
        assert!(exchange.next(b"nonsense").is_err());
    }

    #[test]
    fn a_token_is_read_anew_for_each_login() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let extensions = vec![("logicalCluster".to_owned(), "lkc-1".to_owned())];
        let login = Login::OAuth { token: Token::File(path.clone()), extensions };
        assert!(login.begin().err().unwrap().contains("cannot read"));
        for token in ["a.b.c", "d.e.f"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            let (mut exchange, first) = login.begin().unwrap();
            assert_eq!(oauth::parse(&first).unwrap().token, token);
            assert!(first.ends_with(b"\x01logicalCluster=lkc-1\x01\x01"));
            assert_eq!(exchange.next(b""), Ok(None));
        }
        let (mut exchange, _) = login.begin().unwrap();
        assert_eq!(exchange.next(b"{\"status\":\"x\"}").unwrap().unwrap(), GIVEN_UP);
        assert!(exchange.next(b"").unwrap_err().contains("status"));
        for bad in ["", " \n", "a\u{1}b", "a b"] {
            std::fs::write(&path, bad).unwrap();
            assert!(login.begin().err().unwrap().contains("holds no token"), "{bad:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let token = Login::OAuth { token: Token::Text("s3cret".into()), extensions: Vec::new() };
        let plain = Login::Plain { user: "u".into(), password: "s3cret".into() };
        for login in [token, plain] {
            assert!(!format!("{login:?}").contains("s3cret"));
        }
        assert!(!format!("{:?}", scram()).contains("al1ce"));
    }
}
