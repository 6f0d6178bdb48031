//! What is demanded of the other side's certificate: whom it comes from, and whom it is for.
//!
//! A certificate comes from an authority that is trusted, or is itself one of those that are: what
//! `openssl req -x509` makes signs itself as an authority, and a file that names it means it. Java
//! and libpq take it too; webpki takes authorities for nothing but signing.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{
    VerifierBuilderError, WebPkiServerVerifier, verify_server_name,
};
use tokio_rustls::rustls::crypto::{self, CryptoProvider};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use super::tls::Pem;

/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The authorities of the system, where it has any.
pub fn system_authorities() -> Option<Pem> {
    SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists()).map(Pem::File)
}

/// Whether it was refused for being an authority's, with its time and all before that right.
pub fn is_authority(error: &Error) -> bool {
    let Error::InvalidCertificate(CertificateError::Other(why)) = error else { return false };
    // webpki's own error, for which rustls has no name.
    why.to_string() == "CaUsedAsEndEntity"
}

/// What to do about a server's certificate that is refused, if that is what it is; `setting` names
/// the file of those that are trusted.
pub fn advice(error: &Error, setting: &str) -> Option<String> {
    let Error::InvalidCertificate(why) = error else { return None };
    Some(match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            format!("name the file of whoever vouches for it by {setting}")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "come by a name that the certificate has, or give the server one with this name as \
             subjectAltName"
                .to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "the server needs another one, unless the clock of this machine is wrong".to_owned()
        }
        // One that signs itself, as `openssl req -x509` makes it unless told otherwise.
        _ if is_authority(error) => format!(
            "the certificate is an authority's own: name the file that it is in itself by \
             {setting}, or give the server one that is signed by somebody trusted"
        ),
        _ => "the server needs another one".to_owned(),
    })
}

/// Certificates that are trusted.
#[derive(Clone, Debug)]
pub struct Trusted {
    roots: Arc<RootCertStore>,
    named: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Those of a file; the error is a reason to be read by people.
    pub fn read(authorities: &Pem) -> Result<Trusted, String> {
        let named = authorities.certificates()?;
        let mut roots = RootCertStore::empty();
        let (added, refused) = roots.add_parsable_certificates(named.iter().cloned());
        match added {
            0 => Err(format!("{authorities:?}: none of {refused} certificates is usable")),
            _ => Ok(Trusted { roots: Arc::new(roots), named }),
        }
    }

    /// What webpki says of one that was shown; `None` of an authority's that is named itself.
    fn judge<T>(
        &self,
        shown: &CertificateDer<'_>,
        verdict: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match verdict {
            Err(error) if is_authority(&error) && self.named.contains(shown) => Ok(None),
            other => other.map(Some),
        }
    }
}

/// Checks the chain of a server, and the name where that is asked for.
#[derive(Debug)]
pub struct ServerVerifier {
    provider: Arc<CryptoProvider>,
    chain: Option<(Trusted, Arc<WebPkiServerVerifier>)>,
    check_name: bool,
}

impl ServerVerifier {
    /// Without anybody to trust whoever vouches is believed. The error is a reason to be read by
    /// people.
    pub fn new(
        provider: Arc<CryptoProvider>,
        trusted: Option<Trusted>,
        check_name: bool,
    ) -> Result<ServerVerifier, String> {
        let chain = trusted.map(|trusted| {
            let roots = trusted.roots.clone();
            let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
            Ok((trusted, chain.build()?))
        });
        let chain = chain.transpose().map_err(|error: VerifierBuilderError| error.to_string())?;
        Ok(ServerVerifier { provider, chain, check_name })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some((trusted, chain)) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verdict = chain.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match trusted.judge(end_entity, verdict) {
            // The chain is checked first: all that is wrong is the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => {}
            other => {
                other?;
            }
        }
        if self.check_name {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the chain of a client.
#[derive(Debug)]
pub struct ClientVerifier {
    trusted: Trusted,
    chain: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    /// Clients without a certificate may come too if it is `optional`. The error is a reason to be
    /// read by people.
    pub fn new(
        provider: Arc<CryptoProvider>,
        trusted: Trusted,
        optional: bool,
    ) -> Result<ClientVerifier, String> {
        let chain = WebPkiClientVerifier::builder_with_provider(trusted.roots.clone(), provider);
        let chain = if optional { chain.allow_unauthenticated() } else { chain };
        let chain = chain.build().map_err(|error| error.to_string())?;
        Ok(ClientVerifier { trusted, chain })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.chain.verify_client_cert(end_entity, intermediates, now);
        let verdict = self.trusted.judge(end_entity, verdict)?;
        Ok(verdict.unwrap_or_else(ClientCertVerified::assertion))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
