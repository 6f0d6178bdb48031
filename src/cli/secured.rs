//! How commands reach a broker that wants TLS or to know who asks: by a file of properties as
//! Kafka's own clients have it (`--command-config`), whose values may stand elsewhere.
//!
//! ```text
//! security.protocol = SASL_SSL                 sasl.mechanism = SCRAM-SHA-512
//! ssl.truststore.type = PEM                    sasl.username = admin
//! ssl.truststore.location = ca.pem             sasl.password = ${env:KAFKA_PASSWORD}
//! ```

use std::path::Path;

use broker::client::secured::Secured;
use broker::security::SecurityProtocol;
use connectors::ConfigProblem;
use connectors::config::providers::in_place;

use super::Failure;
use super::connect::rest_settings;
use super::properties::{self, Properties};

/// What a file says of coming to a broker.
pub fn read(path: &Path) -> Result<Secured, Failure> {
    let failed = |problem: ConfigProblem| {
        Failure::usage(format!("{}: {}", path.display(), problem.in_words()))
    };
    let properties = properties::read(path)?;
    of(&properties, path.parent().unwrap_or(Path::new("."))).map_err(failed)
}

/// Whether a key is one of those that say how a broker is reached.
pub fn is_security(key: &str) -> bool {
    Secured::is_property(key)
}

/// Whether properties say how a broker is reached.
pub fn is_said(properties: &Properties) -> bool {
    let is_rests = is_rests(properties);
    properties.keys().any(|key| is_security(key) && !(is_rests && key.starts_with("ssl.")))
}

/// Whether plain `ssl.` keys are about a worker's REST API alone.
fn is_rests(properties: &Properties) -> bool {
    let protocol = properties.get("security.protocol").map_or("", |protocol| protocol.trim());
    let uses_tls = protocol.parse().is_ok_and(SecurityProtocol::has_tls);
    !uses_tls && rest_settings::serves_tls(properties)
}

/// What properties say of it.
pub fn of(properties: &Properties, base_dir: &Path) -> Result<Secured, ConfigProblem> {
    let is_rests = is_rests(properties);
    let is_needed = |key: &str| {
        let is_about_rest = is_rests && key.starts_with("ssl.");
        is_security(key) && !is_about_rest || key.starts_with("config.providers")
    };
    let needed = properties.iter().filter(|(key, _)| is_needed(key));
    let needed = needed.map(|(key, value)| (key.clone(), value.clone())).collect();
    Secured::of_properties(&in_place(&needed, base_dir)?).map_err(|message| {
        let key = properties.keys().find(|key| is_security(key));
        let key = key.map_or("security.protocol", String::as_str).to_owned();
        ConfigProblem { key, value: None, message, help: None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::properties::parse;

    #[test]
    fn passwords_may_stand_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secrets"), "al = al1ce\n").unwrap();
        let text = |reference: &str| {
            format!(
                "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\n\
                 sasl.jaas.config=a.b.ScramLoginModule required username=\"alice\" \\\n \
                 password=\"{reference}\";\nother=${{env:NOT_SET}}\n"
            )
        };
        let secured = of(&parse(&text("${file:secrets:al}")), dir.path()).unwrap();
        let shown = format!("{secured:?}");
        assert!(shown.contains("SCRAM-SHA-512 as \"alice\"") && !shown.contains("al1ce"));
        let missing = of(&parse(&text("${env:NO_SUCH_PASSWORD}")), dir.path()).unwrap_err();
        assert!(missing.message.contains("'NO_SUCH_PASSWORD' is not set"), "{missing:?}");
        let path = dir.path().join("client.properties");
        std::fs::write(&path, "sasl.mechanism=PLAIN").unwrap();
        let told = read(&path).err().map(|failure| format!("{failure:?}")).unwrap();
        assert!(told.contains("client.properties: sasl.mechanism means nothing"), "{told}");
    }
}
