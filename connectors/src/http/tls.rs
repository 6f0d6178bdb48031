//! Whom HTTPS trusts: the authorities of the system, or those of a file.

use std::path::Path;
use std::sync::Arc;

use broker::security::tls::Pem;
use broker::security::trusted::{ServerVerifier, Trusted, system_authorities};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// How a client speaks TLS.
pub type TlsClient = ClientConfig;

/// The error is a reason to be read by people. A system without authorities is no error: there
/// is HTTP without TLS.
pub fn client(authorities: Option<&Path>) -> Result<TlsClient, String> {
    client_as(authorities, None)
}

/// The same with a certificate of one's own, its chain and its key.
pub fn client_as(
    authorities: Option<&Path>,
    own: Option<&(Pem, Pem)>,
) -> Result<TlsClient, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let named = authorities.map(|file| Pem::File(file.to_owned()));
    let builder = match named.or_else(system_authorities) {
        None => builder.with_root_certificates(RootCertStore::empty()),
        Some(authorities) => {
            let trusted = Trusted::read(&authorities)?;
            let verifier = Arc::new(ServerVerifier::new(provider, Some(trusted), true)?);
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.certificates()?, key.private_key()?)
            .map_err(|error| format!("certificate {chain:?}, key {key:?}: {error}")),
    }
}
