//! What each `sslmode` demands of the server's certificate, by rustls.

use std::io;
use std::path::Path;
use std::sync::Arc;

use broker::security::tls::Pem;
use broker::security::trusted::{self, ServerVerifier, Trusted, system_authorities};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, crypto};

use super::target::{Ssl, SslMode};

/// Makes what does the handshake; the error is a reason to be read by people.
pub fn connector(ssl: &Ssl) -> Result<TlsConnector, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    // As libpq: authorities that are named are checked in the mode `require` too.
    let verified = match ssl.mode {
        SslMode::VerifyCa | SslMode::VerifyFull => true,
        SslMode::Require => ssl.root_cert.is_some(),
        SslMode::Disable | SslMode::Allow | SslMode::Prefer => false,
    };
    let trusted = verified.then(|| authorities(ssl.root_cert.as_deref())).transpose()?;
    let verifier = ServerVerifier::new(provider, trusted, ssl.mode == SslMode::VerifyFull)?;
    let verifier = Arc::new(verifier);
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (&ssl.cert, &ssl.key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(Pem::File(cert.clone()).certificates()?, private_key(key)?)
            .map_err(|error| format!("'{}' and its key: {error}", cert.display()))?,
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("a client certificate needs both `sslcert` and `sslkey`".to_owned()),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Why there is no TLS, and what to do.
pub fn refusal(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls.and_then(|tls| trusted::advice(tls, "database.sslrootcert")) {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

fn authorities(file: Option<&Path>) -> Result<Trusted, String> {
    let named = file.map(|file| Pem::File(file.to_owned()));
    let authorities = named.or_else(system_authorities).ok_or_else(|| {
        "no authorities to trust: name their file by `database.sslrootcert`".to_owned()
    })?;
    Trusted::read(&authorities)
}

/// A key as PEM, or as the bare DER that Java's driver takes.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let unreadable = |error: &dyn std::fmt::Display| {
        format!("cannot read the private key '{}': {error}", file.display())
    };
    let bytes = std::fs::read(file).map_err(|error| unreadable(&error))?;
    if bytes.starts_with(b"-----") || memchr::memmem::find(&bytes, b"-----BEGIN").is_some() {
        return PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| unreadable(&error));
    }
    PrivateKeyDer::try_from(bytes).map_err(|error| unreadable(&error))
}
