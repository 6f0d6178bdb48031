//! How our own commands reach brokers that want TLS, or to know who asks.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::security::scram::ScramMechanism;
use crate::security::tls::Pem;

/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How to come to a broker; plain, by default, and as nobody.
#[derive(Clone, Default)]
pub struct Secured {
    tls: Option<Arc<ClientConfig>>,
    pub login: Option<Login>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Secured");
        out.field("tls", &self.tls.is_some()).field("login", &self.login).finish()
    }
}

/// Who one is, and by what that is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Plain { user: String, password: String },
    Scram { mechanism: ScramMechanism, user: String, password: String },
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Login::Plain { user, .. } | Login::Scram { user, .. }) = self;
        write!(f, "{} as {user:?}", self.mechanism())
    }
}

impl Login {
    pub fn mechanism(&self) -> &'static str {
        match self {
            Login::Plain { .. } => "PLAIN",
            Login::Scram { mechanism, .. } => mechanism.name(),
        }
    }
}

/// Whom to trust, and what to show.
#[derive(Clone, Debug, Default)]
pub struct TlsTrust {
    /// Those of the system if there is none.
    pub authorities: Option<Pem>,
    /// A certificate with its chain, and its key.
    pub own: Option<(Pem, Pem)>,
}

impl Secured {
    /// With TLS; the error is a reason to be read by people.
    pub fn with_tls(mut self, trust: &TlsTrust) -> Result<Secured, String> {
        let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
        let authorities = trust.authorities.clone().or_else(|| system().map(Pem::File));
        let Some(authorities) = authorities else {
            return Err(
                "no authorities to trust: name their file by ssl.truststore.location".into()
            );
        };
        let mut roots = RootCertStore::empty();
        let (added, refused) = roots.add_parsable_certificates(authorities.certificates()?);
        if added == 0 {
            return Err(format!("{authorities:?}: none of {refused} certificates is usable"));
        }
        let builder =
            ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .with_root_certificates(roots);
        let config = match &trust.own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.certificates()?, key.private_key()?)
                .map_err(|error| format!("certificate {chain:?}, key {key:?}: {error}"))?,
        };
        self.tls = Some(Arc::new(config));
        Ok(self)
    }

    /// Shakes hands, if that is to be done.
    pub(super) async fn wrap(&self, stream: TcpStream, host: &str) -> io::Result<Box<dyn Stream>> {
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(config.clone());
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

/// A connection, whatever is below it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Stream for T {}
