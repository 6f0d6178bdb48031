//! TLS of a server as Kafka's `ssl.` settings say it, whichever server that is.

use std::path::PathBuf;

use thiserror::Error;

use super::tls::{ClientAuth, Pem, TlsConfig, TlsVersion};

/// The settings that are read.
pub const READ: &[&str] = &[
    "ssl.client.auth",
    "ssl.enabled.protocols",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.keystore.type",
    "ssl.principal.mapping.rules",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "ssl.truststore.password",
    "ssl.truststore.type",
];

/// A setting that cannot be followed. No secret is in it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{name} = {value}: {reason}")]
pub struct TlsSettingError {
    pub name: &'static str,
    pub value: String,
    pub reason: String,
}

fn wrong(name: &'static str, value: &str, reason: impl Into<String>) -> TlsSettingError {
    TlsSettingError { name, value: value.to_owned(), reason: reason.into() }
}

/// What `get` has; `whose` server it is, for messages.
pub fn tls<'a>(
    whose: &str,
    get: impl Fn(&'static str) -> Option<&'a str>,
) -> Result<TlsConfig, TlsSettingError> {
    for name in ["ssl.keystore.type", "ssl.truststore.type"] {
        let kind = get(name).unwrap_or("PEM");
        if !kind.eq_ignore_ascii_case("PEM") {
            let reason = "only PEM is read here; `keytool -importkeystore … -deststoretype PKCS12` \
                          and `openssl pkcs12 -nodes` make PEM of others";
            return Err(wrong(name, kind, reason));
        }
    }
    if get("ssl.key.password").is_some() {
        let reason = "keys that are encrypted are not read here; decrypt it by `openssl pkey`, and \
                      let nobody else read the file";
        return Err(wrong("ssl.key.password", "…", reason));
    }
    let store = get("ssl.keystore.location").map(|path| Pem::File(PathBuf::from(path)));
    let pem = |name| get(name).map(Pem::of).or_else(|| store.clone());
    let (chain, key) = (pem("ssl.keystore.certificate.chain"), pem("ssl.keystore.key"));
    let (Some(chain), Some(key)) = (chain, key) else {
        let reason = format!(
            "{whose} needs it: a file with a key and certificates as PEM; or ssl.keystore.key and \
             ssl.keystore.certificate.chain"
        );
        return Err(wrong("ssl.keystore.location", "", reason));
    };
    let authorities = get("ssl.truststore.certificates")
        .map(Pem::of)
        .or_else(|| get("ssl.truststore.location").map(|path| Pem::File(PathBuf::from(path))));
    let parsed = |name, default| {
        let value = get(name).unwrap_or(default);
        move |error: String| wrong(name, value, error)
    };
    let auth = get("ssl.client.auth").unwrap_or("none");
    let client_auth: ClientAuth = auth.parse().map_err(parsed("ssl.client.auth", "none"))?;
    let rules = get("ssl.principal.mapping.rules").unwrap_or("DEFAULT");
    let mapping = rules
        .parse()
        .map_err(|error| wrong("ssl.principal.mapping.rules", rules, format!("{error}")))?;
    let mut tls = TlsConfig { authorities, client_auth, mapping, ..TlsConfig::new(chain, key) };
    if let Some(versions) = get("ssl.enabled.protocols") {
        let parsed = versions.split(',').map(str::parse::<TlsVersion>);
        let parsed: Result<_, String> = parsed.collect();
        tls.versions = parsed.map_err(|error| wrong("ssl.enabled.protocols", versions, error))?;
    }
    Ok(tls)
}

impl Pem {
    /// PEM itself, in lines or all in one as it comes out of a file of properties; else its file.
    pub fn of(value: &str) -> Pem {
        const BEGIN: &str = "-----BEGIN ";
        const END: &str = "-----END ";
        const DASHES: &str = "-----";
        if !value.contains(BEGIN) {
            return Pem::File(PathBuf::from(value));
        }
        let mut text = String::new();
        for block in value.split(BEGIN).skip(1) {
            let Some((label, rest)) = block.split_once(DASHES) else { continue };
            let body = rest.split(END).next().unwrap_or(rest);
            let body: String = body.split_whitespace().collect();
            text += &format!("{BEGIN}{label}{DASHES}\n{body}\n{END}{label}{DASHES}\n");
        }
        Pem::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_may_stand_in_one_line() {
        let text = "-----BEGIN CERTIFICATE----- AA BB -----END CERTIFICATE----- \
                    -----BEGIN CERTIFICATE-----\nCC\n-----END CERTIFICATE-----";
        let expected = "-----BEGIN CERTIFICATE-----\nAABB\n-----END CERTIFICATE-----\n\
                        -----BEGIN CERTIFICATE-----\nCC\n-----END CERTIFICATE-----\n";
        assert_eq!(Pem::of(text), Pem::Text(expected.to_owned()));
        assert_eq!(Pem::of("a/b.pem"), Pem::File("a/b.pem".into()));
    }
}
