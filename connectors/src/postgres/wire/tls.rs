//! What each `sslmode` demands of the server's certificate, by rustls.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker::client::secured::verifier::{SYSTEM_ROOTS, ServerVerifier};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

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
    let roots = verified.then(|| roots(ssl.root_cert.as_deref())).transpose()?;
    let verifier = ServerVerifier::new(provider, roots, ssl.mode == SslMode::VerifyFull)?;
    let verifier = Arc::new(verifier);
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (&ssl.cert, &ssl.key) {
        (Some(cert), Some(key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .map_err(|error| format!("'{}' and its key: {error}", cert.display()))?,
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("a client certificate needs both `sslcert` and `sslkey`".to_owned()),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    let Some(file) = file.map(Path::to_owned).or_else(system) else {
        return Err("no authorities to trust: name their file by `database.sslrootcert`".into());
    };
    let mut roots = RootCertStore::empty();
    let (added, refused) = roots.add_parsable_certificates(certificates(&file)?);
    if added == 0 {
        return Err(format!("'{}': none of {refused} certificates is usable", file.display()));
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(format!("'{}' has no certificate", file.display())),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("cannot read certificates of '{}': {error}", file.display())),
    }
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
