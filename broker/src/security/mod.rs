//! Who a client is, and what it may do: pure machines, and the file that they are kept in.
//!
//! ```text
//! certificate ─ tls ─ name, principal ─┐
//! password ──── plain, scram ──────────┼─► Principal ─ acl ─► may it do this to that?
//! token ─────── jwt, oauth ────────────┘
//!                    store: ACLs and verifiers of passwords, durable
//! ```
//!
//! - [`tls`]: certificates and keys of a listener, read again when their files change;
//!   [`tls_settings`]: the same in Kafka's words;
//!   [`name`]: the subject of a certificate as text; [`principal`]: who that is;
//!   [`reloaded`]: what is made of files, and made anew;
//!   [`trusted`]: what is demanded of the other side's certificate, on both sides;
//! - [`sasl`]: one exchange of any mechanism; [`scram`]: RFC 5802, and what is kept of a password;
//!   [`scram_client`]: its other side; `plain` checks against the same;
//!   [`oauth`]: OAUTHBEARER, by [`jwt`]; [`gate`]: how much of it at a time;
//! - [`acl`]: rules, filters, and the decision; [`store`]: where both rules and verifiers are kept;
//!   [`audit`]: how much is told of what was denied.
//!
//! Invariants: no password is kept, logged or told of. Whoever fails to authenticate is not told
//! which part was wrong, and learns nothing from the time that it takes. What no rule permits is
//! denied, and a rule that denies wins.

pub mod acl;
pub mod audit;
pub mod gate;
pub mod jwt;
pub mod name;
pub mod oauth;
mod plain;
pub mod principal;
pub mod reloaded;
pub mod sasl;
pub mod scram;
pub mod scram_client;
pub mod store;
pub mod tls;
pub mod tls_settings;
pub mod trusted;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

pub use principal::Principal;

/// How clients of a listener are told apart, and whether others can read what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

/// Why a text is no security protocol.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("'{0}' is no security protocol; expected PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")]
pub struct SecurityProtocolError(String);

impl SecurityProtocol {
    const ALL: [SecurityProtocol; 4] = [
        SecurityProtocol::Plaintext,
        SecurityProtocol::Ssl,
        SecurityProtocol::SaslPlaintext,
        SecurityProtocol::SaslSsl,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    pub fn has_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    pub fn has_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

impl FromStr for SecurityProtocol {
    type Err = SecurityProtocolError;

    fn from_str(text: &str) -> Result<SecurityProtocol, SecurityProtocolError> {
        let found = SecurityProtocol::ALL
            .into_iter()
            .find(|protocol| protocol.name().eq_ignore_ascii_case(text.trim()));
        found.ok_or_else(|| SecurityProtocolError(text.to_owned()))
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
