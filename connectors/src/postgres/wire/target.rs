//! Where to connect, and as whom.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// All that a connection is made by.
#[derive(Clone)]
pub struct Target {
    /// A name, an address, or the directory of a Unix socket (where it starts with `/`).
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<String>,
    pub ssl: Ssl,
    pub connect_timeout: Duration,
    /// Shows in `pg_stat_activity`.
    pub application_name: String,
}

/// How TLS is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssl {
    pub mode: SslMode,
    /// PEM: authorities to trust, instead of the system's.
    pub root_cert: Option<PathBuf>,
    /// PEM: our own certificate, and its key.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    /// Without, and with TLS only if the server wants it.
    Allow,
    /// With TLS if the server has it.
    #[default]
    Prefer,
    /// With TLS or not at all; whoever answers is trusted.
    Require,
    /// The certificate must come from a trusted authority.
    VerifyCa,
    /// And it must be for the host that was asked for.
    VerifyFull,
}

impl SslMode {
    pub const WORDS: &[&str] =
        &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

    pub fn parse(word: &str) -> Option<SslMode> {
        Some(match word {
            "disable" => SslMode::Disable,
            "allow" => SslMode::Allow,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => return None,
        })
    }
}

impl Target {
    /// `host:port/database`, for messages.
    pub fn at(&self) -> String {
        format!("{}:{}/{}", self.host, self.port, self.database)
    }

    /// The file of the Unix socket, if it is one.
    pub fn socket(&self) -> Option<PathBuf> {
        let directory = self.host.starts_with('/').then_some(&self.host)?;
        Some(PathBuf::from(directory).join(format!(".s.PGSQL.{}", self.port)))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("at", &self.at())
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("ssl", &self.ssl)
            .finish_non_exhaustive()
    }
}
