//! How commands reach a broker that wants TLS or to know who asks: by a file of properties as
//! Kafka's own clients have it (`--command-config`).
//!
//! ```text
//! security.protocol = SASL_SSL                 sasl.mechanism = SCRAM-SHA-512
//! ssl.truststore.type = PEM                    sasl.jaas.config = … username="admin" password="…";
//! ssl.truststore.location = ca.pem
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use broker::client::admin::secured::{Login, Secured, TlsTrust};
use broker::security::SecurityProtocol;
use broker::security::scram::ScramMechanism;
use broker::security::tls::Pem;

use super::Failure;
use super::properties::{self, Properties};

/// What a file says of coming to a broker.
#[derive(Clone, Debug)]
pub struct Security {
    pub protocol: SecurityProtocol,
    secured: Secured,
}

impl Default for Security {
    fn default() -> Security {
        Security { protocol: SecurityProtocol::Plaintext, secured: Secured::default() }
    }
}

impl Security {
    pub fn read(path: &Path) -> Result<Security, Failure> {
        let failed = |reason| Failure::usage(format!("{}: {reason}", path.display()));
        Security::new(&properties::read(path)?).map_err(failed)
    }

    /// The error is a reason to be read by people.
    pub fn new(properties: &Properties) -> Result<Security, String> {
        let protocol = properties.get("security.protocol").map_or("PLAINTEXT", String::as_str);
        let protocol: SecurityProtocol =
            protocol.parse().map_err(|error| format!("security.protocol: {error}"))?;
        let unused = |start: &str| properties.keys().find(|key| key.starts_with(start));
        let needless = (!protocol.has_tls()).then(|| unused("ssl.")).flatten();
        let needless = needless.or_else(|| unused("sasl.").filter(|_| !protocol.has_sasl()));
        if let Some(key) = needless {
            return Err(format!(
                "{key} means nothing with security.protocol={protocol}; give the protocol, such as \
                 SASL_SSL, or leave it out"
            ));
        }
        let mut secured = Secured::default();
        if protocol.has_tls() {
            secured = secured.with_tls(&trust(properties)?)?;
        }
        if protocol.has_sasl() {
            secured.login = Some(login(properties)?);
        }
        Ok(Security { protocol, secured })
    }

    pub fn secured(&self) -> Secured {
        self.secured.clone()
    }

    /// The same as librdkafka's settings, which here has neither TLS nor, therefore, SCRAM.
    pub fn for_records(&self) -> Result<BTreeMap<String, String>, Failure> {
        match (self.protocol, &self.secured.login) {
            (SecurityProtocol::Plaintext, _) => Ok(BTreeMap::new()),
            (SecurityProtocol::SaslPlaintext, Some(Login::Plain { user, password })) => {
                let settings = [
                    ("security.protocol", "sasl_plaintext"),
                    ("sasl.mechanism", "PLAIN"),
                    ("sasl.username", user),
                    ("sasl.password", password),
                ];
                Ok(settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
            }
            (protocol, _) => Err(Failure::usage(format!(
                "records cannot be read or written over {protocol} by this command yet"
            ))
            .with_help(
                "use kcat or any other client for records, or a listener with SASL_PLAINTEXT and \
                 PLAIN on this machine; topics, groups, configs, users and acls go over every \
                 listener",
            )),
        }
    }
}

fn pem(value: &str) -> Pem {
    match value.contains("-----BEGIN") {
        true => Pem::Text(value.to_owned()),
        false => Pem::File(PathBuf::from(value)),
    }
}

fn trust(properties: &Properties) -> Result<TlsTrust, String> {
    let get = |name: &str| properties.get(name).map(|value| value.trim()).filter(|v| !v.is_empty());
    for name in ["ssl.truststore", "ssl.keystore"] {
        let kind = get(&format!("{name}.type")).unwrap_or("PEM");
        if !kind.eq_ignore_ascii_case("PEM") {
            return Err(format!("{name}.type={kind}: only PEM is read here"));
        }
    }
    if properties.get("ssl.endpoint.identification.algorithm").is_some_and(String::is_empty) {
        let why = "ssl.endpoint.identification.algorithm: names of brokers are always checked here";
        return Err(why.to_owned());
    }
    let authorities = get("ssl.truststore.certificates").or_else(|| get("ssl.truststore.location"));
    let store = get("ssl.keystore.location");
    let chain = get("ssl.keystore.certificate.chain").or(store);
    let key = get("ssl.keystore.key").or(store);
    let own = chain.zip(key).map(|(chain, key)| (pem(chain), pem(key)));
    Ok(TlsTrust { authorities: authorities.map(pem), own })
}

fn login(properties: &Properties) -> Result<Login, String> {
    let jaas = properties.get("sasl.jaas.config").map_or("", String::as_str);
    let one = |name: &str| {
        let own = properties.get(&format!("sasl.{name}")).cloned();
        own.or_else(|| quoted(jaas, name)).ok_or_else(|| {
            format!("there is no {name}: give sasl.jaas.config with it, or sasl.{name}")
        })
    };
    let (user, password) = (one("username")?, one("password")?);
    match properties.get("sasl.mechanism").map_or("", |mechanism| mechanism.trim()) {
        "PLAIN" => Ok(Login::Plain { user, password }),
        other => match other.parse::<ScramMechanism>() {
            Ok(mechanism) => Ok(Login::Scram { mechanism, user, password }),
            Err(_) => Err(format!(
                "sasl.mechanism={other}: expected PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
            )),
        },
    }
}

/// The value of `name="value"` in a line of JAAS.
fn quoted(jaas: &str, name: &str) -> Option<String> {
    let start = jaas.find(&format!("{name}="))? + name.len() + 1;
    let rest = jaas[start..].trim_start();
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''));
    let Some(quote) = quote else {
        let end = rest.find(|end: char| end.is_whitespace() || end == ';').unwrap_or(rest.len());
        return Some(rest[..end].to_owned());
    };
    let mut value = String::new();
    let mut characters = rest.chars().skip(1);
    loop {
        match characters.next()? {
            '\\' => value.push(characters.next()?),
            end if end == quote => return Some(value),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::properties::parse;

    fn read(text: &str) -> Result<Security, String> {
        Security::new(&parse(text))
    }

    #[test]
    fn kafkas_own_files_are_understood() {
        let scram = read(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n\
             username=\"alice\" \\\n password=\"al\\\\\"1ce\";\n",
        )
        .unwrap();
        let expected = Login::Scram {
            mechanism: ScramMechanism::Sha256,
            user: "alice".to_owned(),
            password: "al\"1ce".to_owned(),
        };
        assert_eq!(scram.secured().login, Some(expected));
        assert!(!format!("{scram:?}").contains("1ce"));
        assert!(scram.for_records().is_err());
        let plain = read(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=a\n\
             sasl.password=b",
        )
        .unwrap();
        assert_eq!(plain.for_records().unwrap()["sasl.password"], "b");
        assert_eq!(read("").unwrap().protocol, SecurityProtocol::Plaintext);
    }

    #[test]
    fn what_would_only_seem_secure_is_refused() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(error("ssl.truststore.location=ca.pem").contains("means nothing with"));
        assert!(error("sasl.mechanism=PLAIN").contains("means nothing with"));
        assert!(error("security.protocol=TLS").contains("no security protocol"));
        let sasl = "security.protocol=SASL_PLAINTEXT\n";
        assert!(error(sasl).contains("there is no username"));
        let named = format!("{sasl}sasl.username=a\nsasl.password=b\n");
        assert!(error(&named).contains("expected PLAIN"));
        let ssl = "security.protocol=SSL\n";
        assert!(error(&format!("{ssl}ssl.truststore.type=JKS")).contains("only PEM"));
        assert!(error(&format!("{ssl}ssl.truststore.location=/none")).contains("cannot read"));
        let unchecked = format!("{ssl}ssl.endpoint.identification.algorithm=");
        assert!(error(&unchecked).contains("always checked"));
    }
}
