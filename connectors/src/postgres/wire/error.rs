//! What went wrong between us and a server.

use std::fmt;
use std::io;

use thiserror::Error;

/// An error that the server reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`; never translated.
    pub severity: String,
    /// Five letters and digits: appendix A of PostgreSQL's manual.
    pub code: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "; hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl ServerError {
    /// Reads the fields of an ErrorResponse or a NoticeResponse: a letter and a text each, up to a
    /// zero byte.
    pub fn parse(mut fields: &[u8]) -> ServerError {
        let mut error = ServerError::default();
        let mut severity_translated = String::new();
        while let Some((&kind, rest)) = fields.split_first() {
            let Some(end) = memchr::memchr(0, rest) else { break };
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            fields = &rest[end + 1..];
            match kind {
                b'V' => error.severity = text,
                b'S' => severity_translated = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                _ => {}
            }
        }
        if error.severity.is_empty() {
            error.severity = severity_translated;
        }
        error
    }

    /// Whether the same request may well succeed some time later, with nobody doing anything.
    pub fn is_transient(&self) -> bool {
        // 08 connection, 53 resources, 57P admin shutdown, crash and starting up; 55006 is a slot
        // (or database) in use, 40001 and 40P01 are serialisation and deadlock, 55P03 a lock.
        matches!(self.code.get(..2), Some("08" | "53"))
            || matches!(
                self.code.as_str(),
                "57P01" | "57P02" | "57P03" | "57P05" | "55006" | "40001" | "40P01" | "55P03"
            )
            || self.is_terminated_stream()
    }

    /// A stream that the server ended as it was shutting down or promoted carries a code of its
    /// own making.
    fn is_terminated_stream(&self) -> bool {
        self.code == "XX000" && self.message.contains("terminating")
    }
}

/// Why a connection could not be had, or used.
#[derive(Debug, Error)]
pub enum PgError {
    #[error("cannot connect to PostgreSQL at {at}: {error}")]
    Connect { at: String, error: io::Error },
    #[error("connection to PostgreSQL at {at} failed: {error}")]
    Io { at: String, error: io::Error },
    #[error("PostgreSQL at {at} closed the connection")]
    Closed { at: String },
    #[error("PostgreSQL at {at} did not answer within {seconds} s: {what}")]
    Timeout { at: String, what: &'static str, seconds: u64 },
    #[error("TLS with PostgreSQL at {at}: {reason}")]
    Tls { at: String, reason: String },
    #[error("PostgreSQL at {at} refuses user '{user}': {reason}")]
    Auth { at: String, user: String, reason: String },
    /// The server says no.
    #[error("PostgreSQL at {at}: {error}, in: {doing}")]
    Server { at: String, doing: String, error: Box<ServerError> },
    /// What came is not the protocol: another kind of server, or a fault of ours.
    #[error("PostgreSQL at {at} sent what its protocol does not have: {reason}")]
    Protocol { at: String, reason: String },
}

impl PgError {
    /// The server's own error, if it is one.
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            PgError::Server { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The server's code for the error, or nothing.
    pub fn code(&self) -> &str {
        self.server().map_or("", |error| &error.code)
    }

    /// Whether to try again: the way to the server or the server itself is down, not what we
    /// asked for.
    pub fn is_transient(&self) -> bool {
        match self {
            PgError::Connect { .. } | PgError::Io { .. } => true,
            PgError::Closed { .. } | PgError::Timeout { .. } => true,
            PgError::Server { error, .. } => error.is_transient(),
            PgError::Tls { .. } | PgError::Auth { .. } | PgError::Protocol { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_server_reads_well() {
        let fields = b"SFEHLER\0VERROR\0C55006\0Mreplication slot \"a\" is active for PID 7\0\
            Da detail\0Ha hint\0Fslot.c\0\0";
        let error = ServerError::parse(fields);
        assert_eq!(
            error.to_string(),
            "replication slot \"a\" is active for PID 7 (SQLSTATE 55006); a detail; hint: a hint"
        );
        assert_eq!(error.severity, "ERROR");
        assert!(error.is_transient());
        assert!(!ServerError { code: "42501".into(), ..error }.is_transient());
        // Cut off, or rubbish: what is there is taken.
        assert_eq!(ServerError::parse(b"Mno end").message, "");
        assert_eq!(ServerError::parse(b"").code, "");
    }
}
