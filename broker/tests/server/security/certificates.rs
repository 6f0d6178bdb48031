//! Certificates by openssl, as people make them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion, crypto, version,
};

/// An authority, and what it has vouched for.
pub struct Certificates {
    dir: TempDir,
}

/// What a client shows, and which versions it speaks.
pub struct Showing<'a> {
    pub certificate: Option<&'a str>,
    pub versions: &'a [&'static SupportedProtocolVersion],
}

impl Showing<'_> {
    pub const NOTHING: Showing<'static> =
        Showing { certificate: None, versions: &[&version::TLS13, &version::TLS12] };

    pub fn certificate(name: &str) -> Showing<'_> {
        Showing { certificate: Some(name), ..Showing::NOTHING }
    }
}

impl Certificates {
    pub fn new() -> Certificates {
        let certificates = Certificates { dir: tempfile::tempdir().unwrap() };
        let authority = ["-x509", "-days", "2", "-subj", "/CN=authority"];
        let out = ["-keyout", "ca.key", "-out", "ca.crt"];
        certificates.openssl(&[&REQUEST[..], &authority, &out].concat());
        certificates
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes NAME.crt and NAME.key for a subject, valid for localhost.
    pub fn certify(&self, name: &str, subject: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
        let own = ["-subj", subject, "-addext", names, "-keyout", &key, "-out", &request];
        self.openssl(&[&REQUEST[..], &own].concat());
        let certificate = format!("{name}.crt");
        let made = ["x509", "-req", "-in", &request, "-out", &certificate, "-days", "2"];
        let by =
            ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy"];
        self.openssl(&[&made[..], &by].concat());
    }

    pub fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").args(arguments).current_dir(self.dir()).output();
        let done = done.expect("tests/all.sh installs openssl");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    pub async fn connect(
        &self,
        stream: TcpStream,
        showing: &Showing<'_>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_by(stream, &self.client(showing)).await
    }

    /// Resumes a session if the config has one.
    pub async fn connect_by(
        &self,
        stream: TcpStream,
        config: &Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(config.clone()).connect(name, stream).await
    }

    pub fn client(&self, showing: &Showing<'_>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(self.path("ca.crt")).unwrap();
        roots.add(authority).unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
                .with_protocol_versions(showing.versions)
                .unwrap()
                .with_root_certificates(roots);
        Arc::new(match showing.certificate {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let path = self.path(&format!("{name}.crt"));
                let chain = CertificateDer::pem_file_iter(path).unwrap();
                let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

const REQUEST: [&str; 6] =
    ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
