//! How clients reach brokers that want TLS, or to know who asks.
//!
//! - [`settings`]: what properties say of it, by Kafka's names and by librdkafka's;
//! - [`login`]: the client's side of each mechanism of SASL.
//!
//! Invariants: no password, token or key is logged, or shown by an error or by `Debug`. Files of
//! certificates are read again when they change, for the next connection.

pub mod login;
mod settings;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, ClientConfig, Error as TlsError, crypto};

use crate::security::reloaded::{LOOK_INTERVAL, Reloaded};
use crate::security::tls::Pem;
use crate::security::trusted::{self, ServerVerifier, Trusted, system_authorities};
use crate::server::Door;
pub use login::{Login, Token};

/// Room for what comes encrypted: rustls itself asks the system for 4 KiB at a time.
const ENCRYPTED_BYTES: usize = 64 << 10;

/// How to come to a broker; plain, by default, and as nobody.
#[derive(Clone, Default)]
pub struct Secured {
    tls: Option<Arc<Reloaded<ClientConfig>>>,
    pub login: Option<Login>,
    /// To the broker in this process, in place of any address.
    door: Option<Door>,
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Secured");
        out.field("tls", &self.tls.is_some()).field("login", &self.login).finish()
    }
}

/// Whom to trust, and what to show.
#[derive(Clone, Debug)]
pub struct TlsTrust {
    /// Those of the system if there is none.
    pub authorities: Option<Pem>,
    /// A certificate with its chain, and its key.
    pub own: Option<(Pem, Pem)>,
    /// Whether the certificate has to be for the name that the broker is known by.
    pub check_name: bool,
}

impl Default for TlsTrust {
    fn default() -> TlsTrust {
        TlsTrust { authorities: None, own: None, check_name: true }
    }
}

impl TlsTrust {
    fn load(&self) -> Result<ClientConfig, String> {
        let Some(authorities) = self.authorities.clone().or_else(system_authorities) else {
            return Err(
                "no authorities to trust: name their file by ssl.truststore.location".into()
            );
        };
        let trusted = Trusted::read(&authorities)?;
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = ServerVerifier::new(provider.clone(), Some(trusted), self.check_name)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain.certificates()?, key.private_key()?)
                .map_err(|error| format!("certificate {chain:?}, key {key:?}: {error}")),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let own = self.own.iter().flat_map(|(chain, key)| [chain, key]);
        self.authorities.iter().chain(own).filter_map(Pem::file).collect()
    }
}

impl Secured {
    /// To the broker in this process.
    pub fn inside(door: Door) -> Secured {
        Secured { door: Some(door), ..Secured::default() }
    }

    pub(super) fn door(&self) -> Option<&Door> {
        self.door.as_ref()
    }

    /// With TLS; the error is a reason to be read by people.
    pub fn with_tls(mut self, trust: TlsTrust) -> Result<Secured, String> {
        let files = trust.files();
        let load = move || trust.load();
        self.tls = Some(Arc::new(Reloaded::new("certificate", files, LOOK_INTERVAL, load)?));
        Ok(self)
    }

    /// Whether there is neither TLS nor anybody to be.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none() && self.login.is_none()
    }

    pub fn has_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Shakes hands, if that is to be done.
    pub(super) async fn wrap(&self, stream: TcpStream, host: &str) -> io::Result<Box<dyn Stream>> {
        let Some(configs) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let connector = TlsConnector::from(configs.get_async().await);
        let stream = BufReader::with_capacity(ENCRYPTED_BYTES, stream);
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

/// Why one side of TLS does not want the other, and what to do; `None` if it was only the
/// connection that broke.
pub(super) fn tls_refusal(error: &io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<TlsError>()?;
    if let Some(advice) = trusted::advice(tls, "ssl.truststore.location") {
        return Some(format!("{tls}; {advice}"));
    }
    let advice = match tls {
        TlsError::InvalidMessage(_) => {
            "perhaps this port does not speak TLS: see security.protocol and the port"
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied,
        ) => {
            "it wants a certificate of ours from an authority that it trusts: see \
             ssl.keystore.location"
        }
        _ => "see what the broker says of it in its log",
    };
    Some(format!("{tls}; {advice}"))
}

/// A connection, whatever is below it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + fmt::Debug> Stream for T {}
