//! Whom HTTPS trusts: the authorities of the system, or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use broker::security::tls::Pem;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(authorities)?);
    match own {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.certificates()?, key.private_key()?)
            .map_err(|error| format!("certificate {chain:?}, key {key:?}: {error}")),
    }
}

fn roots(authorities: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let system = || SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists());
    let Some(file) = authorities.map(Path::to_owned).or_else(system) else { return Ok(roots) };
    let read =
        CertificateDer::pem_file_iter(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| {
        format!("cannot read certificates of '{}' as PEM: {error}", file.display())
    })?;
    let (added, refused) = roots.add_parsable_certificates(found);
    match added {
        0 => Err(format!(
            "'{}' has no certificate that can be used ({refused} cannot)",
            file.display()
        )),
        _ => Ok(roots),
    }
}
