//! TLS of a listener, by rustls: 1.2 and 1.3, certificates and keys as PEM.
//!
//! Files are read again when they change; connections that are open keep what they have. A pair
//! that does not fit together leaves the one before.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{
    NoClientAuth, NoServerSessionStorage, danger::ClientCertVerifier,
};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion, crypto, version};
use tokio_rustls::server::TlsStream;

use super::name;
use super::principal::{Principal, PrincipalMapping};
use super::reloaded::{self, LOOK_INTERVAL, Reloaded};
use super::trusted::{ClientVerifier, Trusted};

/// No file of certificates is larger.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// PEM: where it is, or itself.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    File(PathBuf),
    Text(String),
}

impl fmt::Debug for Pem {
    /// A text can be a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => write!(f, "'{}'", path.display()),
            Pem::Text(_) => f.write_str("what was given"),
        }
    }
}

impl Pem {
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Pem::File(path) => Some(path.clone()),
            Pem::Text(_) => None,
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Pem::File(path) => reloaded::read(path, FILE_BYTES_MAX),
            Pem::Text(text) => Ok(text.clone().into_bytes()),
        }
    }

    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let bytes = self.bytes()?;
        let read = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
        match read {
            Ok(found) if found.is_empty() => Err(format!("{self:?} has no certificate as PEM")),
            Ok(found) => Ok(found),
            Err(error) => Err(format!("cannot read certificates of {self:?} as PEM: {error}")),
        }
    }

    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let bytes = self.bytes()?;
        if String::from_utf8_lossy(&bytes).contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(format!(
                "the private key of {self:?} is encrypted; decrypt it by `openssl pkey`, and let \
                 nobody else read the file"
            ));
        }
        PrivateKeyDer::from_pem_slice(&bytes)
            .map_err(|error| format!("cannot read the private key of {self:?} as PEM: {error}"))
    }
}

/// `ssl.client.auth`: whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Requested,
    Required,
}

impl FromStr for ClientAuth {
    type Err = String;

    fn from_str(text: &str) -> Result<ClientAuth, String> {
        match text.trim().to_ascii_lowercase().as_str() {
            "none" => Ok(ClientAuth::None),
            "requested" => Ok(ClientAuth::Requested),
            "required" => Ok(ClientAuth::Required),
            _ => Err("expected none, requested or required".to_owned()),
        }
    }
}

/// How a listener speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The certificate, and those between it and an authority.
    pub chain: Pem,
    pub key: Pem,
    /// Who vouches for clients.
    pub authorities: Option<Pem>,
    pub client_auth: ClientAuth,
    /// `ssl.principal.mapping.rules`
    pub mapping: PrincipalMapping,
    /// `ssl.enabled.protocols`
    pub versions: Vec<TlsVersion>,
    /// How often files are looked at.
    pub look_interval: Duration,
}

/// What is spoken; older ones are not safe any more, and not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl TlsVersion {
    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            TlsVersion::Tls12 => &version::TLS12,
            TlsVersion::Tls13 => &version::TLS13,
        }
    }
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<TlsVersion, String> {
        match text.trim() {
            "TLSv1.2" => Ok(TlsVersion::Tls12),
            "TLSv1.3" => Ok(TlsVersion::Tls13),
            other => Err(format!("'{other}' is not spoken here; TLSv1.2 and TLSv1.3 are")),
        }
    }
}

impl TlsConfig {
    pub fn new(chain: Pem, key: Pem) -> TlsConfig {
        TlsConfig {
            chain,
            key,
            authorities: None,
            client_auth: ClientAuth::None,
            mapping: PrincipalMapping::default(),
            versions: vec![TlsVersion::Tls12, TlsVersion::Tls13],
            look_interval: LOOK_INTERVAL,
        }
    }

    fn load(&self) -> Result<ServerConfig, String> {
        let provider = Arc::new(crypto::ring::default_provider());
        let verifier = self.verifier(&provider)?;
        let versions: Vec<_> = self.versions.iter().map(|version| version.supported()).collect();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.certificates()?, self.key.private_key()?)
            .map_err(|error| {
                format!("certificate {:?}, key {:?}: {error}", self.chain, self.key)
            })?;
        if self.client_auth != ClientAuth::None {
            // A session that is resumed shows no certificate again, and so would outlive one that
            // has expired since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<crypto::CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let optional = match self.client_auth {
            ClientAuth::None => return Ok(Arc::new(NoClientAuth)),
            ClientAuth::Requested => true,
            ClientAuth::Required => false,
        };
        let Some(authorities) = &self.authorities else {
            return Err("certificates of clients need authorities: ssl.truststore.location, or \
                        ssl.truststore.certificates"
                .to_owned());
        };
        let trusted = Trusted::read(authorities)?;
        Ok(Arc::new(ClientVerifier::new(provider.clone(), trusted, optional)?))
    }
}

/// What does the handshakes of a listener.
#[derive(Debug)]
pub struct Tls {
    configs: Arc<Reloaded<ServerConfig>>,
    mapping: PrincipalMapping,
}

impl Tls {
    /// The error is a reason to be read by people.
    pub fn new(config: TlsConfig) -> Result<Tls, String> {
        let sources = [Some(&config.chain), Some(&config.key), config.authorities.as_ref()];
        let files = sources.into_iter().flatten().filter_map(Pem::file).collect();
        let (interval, mapping) = (config.look_interval, config.mapping.clone());
        let configs = Reloaded::new("certificate", files, interval, move || config.load())?;
        Ok(Tls { configs: Arc::new(configs), mapping })
    }

    /// Shakes hands, and says whose certificate the client has shown.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Principal)> {
        let stream = TlsAcceptor::from(self.configs.get_async().await).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let principal = match shown {
            None => Principal::anonymous(),
            Some(certificate) => self.principal(certificate)?,
        };
        Ok((stream, principal))
    }

    fn principal(&self, certificate: &CertificateDer<'_>) -> io::Result<Principal> {
        let nobody = |reason: String| io::Error::new(io::ErrorKind::PermissionDenied, reason);
        let subject = name::subject(certificate)
            .ok_or_else(|| nobody("the client's certificate has no subject".to_owned()))?;
        self.mapping.principal(&subject).ok_or_else(|| {
            nobody(format!(
                "no rule of ssl.principal.mapping.rules fits the certificate of {subject:?}"
            ))
        })
    }
}
