//! Who may send records by POST, and by TLS: what the properties of the HTTP source say of it.

use std::net::SocketAddr;
use std::sync::Arc;

use broker::security::tls::Tls;
use broker::security::tls_settings;

use super::auth;
use super::guard::Guard;
use super::guard::credentials::Credentials;
use super::guard::sites::Sites;
use crate::config::{ConfigProblem, ConnectorConfig, Settings};

/// What stands before the names that TLS has with Kafka.
const PREFIX: &str = "http.";

pub fn check(settings: &Settings, problems: &mut Vec<ConfigProblem>) {
    let has_file = settings.optional_text("http.authorization.file").is_some();
    let kind = settings.text("http.authorization.type");
    if has_file && kind == "none" {
        problems.push(problem(
            "http.authorization.file",
            "`http.authorization.file` is there, but `http.authorization.type` is none",
            "set `http.authorization.type` to basic or bearer",
        ));
    }
    if !has_file {
        problems.extend(auth::check(settings, ""));
    }
    let twice = CREDENTIALS.iter().find(|key| has_file && settings.optional_text(key).is_some());
    if let Some(key) = twice {
        let message = format!("`{key}` is in `http.authorization.file` already");
        problems.push(problem(key, &message, "take one of them out"));
    }
    if let Err(reason) = sites(settings) {
        let key = "access.control.allow.origin";
        problems.push(problem(key, &format!("`{key}`: {reason}"), "for example http://ui.example"));
    }
    let is_tls = |key: &&str| settings.optional_text(key).is_some();
    let needless = TLS_KEYS.iter().find(|key| is_tls(key));
    if let Some(key) = needless
        && !["http.ssl.keystore.location", "http.ssl.keystore.key"].iter().any(|key| is_tls(key))
    {
        problems.push(problem(
            key,
            &format!("`{key}` means nothing without a certificate"),
            "name a file with a key and certificates as PEM by `http.ssl.keystore.location`",
        ));
    }
}

/// What a file has instead.
const CREDENTIALS: [&str; 3] =
    ["http.authorization.user", "http.authorization.password", "http.authorization.token"];

/// Those of TLS that need a certificate beside them.
const TLS_KEYS: [&str; 3] =
    ["http.ssl.keystore.certificate.chain", "http.ssl.truststore.location", "http.ssl.client.auth"];

fn problem(key: &str, message: &str, help: &str) -> ConfigProblem {
    ConfigProblem {
        key: key.to_owned(),
        value: None,
        message: message.to_owned(),
        help: Some(help.to_owned()),
    }
}

fn sites(settings: &Settings) -> Result<Sites, String> {
    let text = |key| settings.optional_text(key).unwrap_or_default();
    Sites::new(text("access.control.allow.origin"), "")
}

/// Who may send; the error is a reason to be read by people.
pub fn guard(
    config: &ConnectorConfig,
    address: SocketAddr,
    has_tls: bool,
) -> Result<Guard, String> {
    let settings = config.settings();
    let text = |key| settings.optional_text(key).unwrap_or_default();
    let file = settings.optional_text("http.authorization.file");
    let file = file.map(|_| config.path("http.authorization.file"));
    let none = Credentials::default();
    let credentials = match (settings.text("http.authorization.type"), file.as_deref()) {
        ("basic", Some(file)) => none.with_password_file(file)?,
        ("bearer", Some(file)) => none.with_token_file(file)?,
        ("basic", None) => none
            .with_password(text("http.authorization.user"), text("http.authorization.password"))?,
        ("bearer", None) => none.with_token(text("http.authorization.token"))?,
        _ => none,
    };
    let sites = sites(settings)?;
    let sites = match credentials.is_empty() && !has_tls {
        true => sites.only_here(address, settings.list("http.hosts")),
        false => sites,
    };
    let guard = Guard::new(format!("connector '{}'", config.name()), Arc::new(credentials), sites);
    Ok(guard.with_host_help("http.hosts says which names are, or http.authorization.type asks who"))
}

/// What does the handshakes, if there is a certificate; the error is a reason to be read by people.
pub fn tls(config: &ConnectorConfig) -> Result<Option<Tls>, String> {
    let settings = config.settings();
    let path = |key: &str| settings.optional_text(key).map(|_| config.path(key));
    let files = ["http.ssl.keystore.location", "http.ssl.truststore.location"]
        .map(|key| path(key).map(|path| path.to_string_lossy().into_owned()));
    let get = |name: &str| match name {
        "ssl.keystore.location" => files[0].as_deref(),
        "ssl.truststore.location" => files[1].as_deref(),
        "ssl.keystore.key" | "ssl.keystore.certificate.chain" | "ssl.client.auth" => {
            settings.optional_text(&format!("{PREFIX}{name}"))
        }
        _ => None,
    };
    if get("ssl.keystore.location").or(get("ssl.keystore.key")).is_none() {
        return Ok(None);
    }
    let read = tls_settings::tls("the listener", get);
    let config = read.map_err(|error| format!("{PREFIX}{error}"))?;
    Tls::new(config).map(Some)
}
