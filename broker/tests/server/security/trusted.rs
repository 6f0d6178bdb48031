//! Certificates that sign themselves, named by those who trust them.

use std::sync::Arc;
use std::time::Duration;

use broker::security::tls::Pem;
use broker::security::trusted::{ClientVerifier, ServerVerifier, Trusted, is_authority};
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

use super::certificates::Certificates;

const DAY: u64 = 24 * 60 * 60;

fn days_from_now(days: i64) -> UnixTime {
    let now = UnixTime::now().as_secs();
    UnixTime::since_unix_epoch(Duration::from_secs(now.saturating_add_signed(days * DAY as i64)))
}

/// Both sides that trust what is in the file, and what they say of a certificate: `Ok`, or why not.
struct Judges {
    server: ServerVerifier,
    client: ClientVerifier,
}

impl Judges {
    fn trusting(certificates: &Certificates, file: &str) -> Judges {
        let provider = Arc::new(crypto::ring::default_provider());
        let trusted = Trusted::read(&Pem::File(certificates.path(file))).unwrap();
        let server = ServerVerifier::new(provider.clone(), Some(trusted.clone()), true).unwrap();
        Judges { server, client: ClientVerifier::new(provider, trusted, false).unwrap() }
    }

    fn say(&self, shown: &CertificateDer<'_>, host: &'static str, days: i64) -> [String; 2] {
        let (host, now) = (ServerName::try_from(host).unwrap(), days_from_now(days));
        let server = self.server.verify_server_cert(shown, &[], &host, &[], now).map(|_| ());
        let client = self.client.verify_client_cert(shown, &[], now).map(|_| ());
        [server, client].map(|verdict| match verdict {
            Ok(()) => "ok".to_owned(),
            Err(error) if is_authority(&error) => "an authority".to_owned(),
            Err(error) => error.to_string(),
        })
    }
}

#[test]
fn what_signs_itself_is_trusted_where_it_is_named_in_its_time_and_by_its_name() {
    let certificates = Certificates::new();
    // As people do it, which makes them authorities.
    let sign_itself = |name: &str| {
        let [key, crt] = ["key", "crt"].map(|end| format!("{name}.{end}"));
        certificates.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=own",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            &key,
            "-out",
            &crt,
        ]);
        CertificateDer::from_pem_file(certificates.path(&crt)).unwrap()
    };
    let (own, other) = (sign_itself("own"), sign_itself("other"));
    let judges = Judges::trusting(&certificates, "own.crt");
    assert_eq!(judges.say(&own, "localhost", 0), ["ok", "ok"]);
    let [server, client] = judges.say(&own, "elsewhere", 0);
    assert!(server.contains("not valid for name"), "{server}");
    assert_eq!(client, "ok");
    for (days, why) in [(3, "expired"), (-3, "not valid yet")] {
        for said in judges.say(&own, "localhost", days) {
            assert!(said.contains(why), "{days}: {said}");
        }
    }
    // Of the same name, with another key; and one that nobody has named.
    assert_eq!(judges.say(&other, "localhost", 0), ["an authority", "an authority"]);
    let judges = Judges::trusting(&certificates, "ca.crt");
    assert_eq!(judges.say(&own, "localhost", 0), ["an authority", "an authority"]);
}
