//! Looking after a cluster: any Kafka broker or this one, over TCP by our own codec.
//!
//! ```text
//! Admin ─► routing: which node ─► connection: one request at a time ─► broker
//!   ▲         any, controller, partition leader, coordinator of a group or transactional id
//!   └── again after a pause while the broker says that this can help, up to a deadline
//! ```
//!
//! - [`connection`]: a socket, the versions that both sides speak; [`question`]: what can be asked,
//!   of this broker and of others alone; [`routing`]: nodes, retries;
//! - [`members`]: being in a group;
//! - [`acls`], [`topics`], [`configs`], [`groups`], [`offsets`], [`transactions`], [`cluster`]:
//!   what can be asked and ordered.
//!
//! Invariants: nothing is created that was not asked for: topics are looked up without being
//! created. A response is bounded before it is read, and memory is taken as its bytes arrive.
//! What was asked of several partitions or groups is answered for each, so that one that fails
//! does not hide the others. A request is sent again if the broker refused it for the moment, or
//! if a connection that had been idle broke: at worst an order is told that it was followed before.

pub mod acls;
pub mod cluster;
pub mod configs;
pub(super) mod connection;
pub mod groups;
pub mod members;
pub mod offsets;
pub(super) mod question;
mod routing;
pub mod shares;
pub mod topics;
pub mod transactions;

use std::time::Duration;

use thiserror::Error;

use crate::protocol::ErrorCode;

pub use routing::Admin;

/// Why a question was not answered or an order not followed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdminError {
    #[error("'{0}' is no address; expected HOST:PORT, such as localhost:9092")]
    Address(String),
    #[error(
        "{address}: no answer from the broker: {reason}; start one with `millstream broker`, or \
         check the address"
    )]
    Unreachable { address: String, reason: String },
    #[error("{address}: the connection broke during {api}: {reason}")]
    Broken { address: String, api: &'static str, reason: String },
    #[error("{address}: this broker does not serve {api}{}", from_version(*version))]
    NotServed { address: String, api: &'static str, version: i16 },
    #[error("{address}: the broker does not let us in: {reason}")]
    NotLetIn { address: String, reason: String },
    #[error("{address}: malformed response: {reason}")]
    Malformed { address: String, reason: String },
    #[error("{}", told(what, *code, reason.as_deref()))]
    Refused {
        /// Such as `topic 'orders'`.
        what: String,
        code: ErrorCode,
        /// What the broker says beside the code.
        reason: Option<String>,
    },
    #[error("{what}: not within {} s: {last}", after.as_secs())]
    TimedOut { what: String, after: Duration, last: Box<AdminError> },
}

fn from_version(version: i16) -> String {
    if version == 0 { String::new() } else { format!(" v{version}; a newer one would") }
}

/// The broker's own words name what they are about, as a rule.
fn told(what: &str, code: ErrorCode, reason: Option<&str>) -> String {
    let name = what.split('\'').nth(1).unwrap_or(what);
    match reason {
        Some(reason) if reason.contains(name) => reason.to_owned(),
        Some(reason) => format!("{what}: {reason}"),
        None => format!("{what}: {}", code.message()),
    }
}

impl AdminError {
    fn refused(what: impl Into<String>, code: ErrorCode, reason: Option<String>) -> AdminError {
        let reason = reason.filter(|reason| !reason.is_empty());
        AdminError::Refused { what: what.into(), code, reason }
    }

    /// The broker's code, if it was a broker that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            AdminError::Refused { code, .. } => Some(*code),
            AdminError::TimedOut { last, .. } => last.code(),
            _ => None,
        }
    }

    /// Whether this is about a topic or partition that is not there.
    pub fn is_unknown_topic(&self) -> bool {
        self.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            || self.code() == Some(ErrorCode::UNKNOWN_TOPIC_ID)
    }

    /// Whether asking again can help. What is not there is not waited for: it may never come.
    fn is_retriable(&self) -> bool {
        match self {
            AdminError::Refused { code, .. } => code.is_retriable() && !self.is_unknown_topic(),
            _ => false,
        }
    }
}

/// `Ok` for success, else the error about `what`.
fn check(code: ErrorCode, reason: Option<String>, what: &str) -> Result<(), AdminError> {
    if code.is_error() { Err(AdminError::refused(what, code, reason)) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
