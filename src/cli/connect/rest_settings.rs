//! Where a worker's REST API is served and to whom, in Kafka Connect's words.
//!
//! ```text
//! listeners = http://127.0.0.1:8083,https://:8443      listeners.https.ssl.…, or else ssl.…
//! admin.listeners = https://127.0.0.1:9443             admin.listeners.https.ssl.…
//! rest.extension.classes = …BasicAuthSecurityRestExtension    rest.basic.auth.file = passwords
//! ```

use std::path::PathBuf;

use broker::security::tls::{ClientAuth, Tls, TlsConfig};
use broker::security::tls_settings;
use connectors::ConfigProblem;
use connectors::http::guard::settings::{GuardSettings, PASSWORD_FILE};

use super::jaas;
use crate::cli::classic::server_security::NEEDLESS_OF_TLS;
use crate::cli::properties::Properties;

/// What stands before the keys of the two files of credentials.
const PREFIX: &str = "rest.";
/// Keys of TLS for one kind of listeners. If there are any, those without this count for nothing,
/// as in Kafka Connect.
const HTTPS: &str = "listeners.https.";
const ADMIN_HTTPS: &str = "admin.listeners.https.";
/// The only class that is known here: it asks for names and passwords.
const BASIC_AUTH: &str = "BasicAuthSecurityRestExtension";

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestListener {
    pub address: String,
    pub has_tls: bool,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct RestSettings {
    /// None if nobody says.
    pub listeners: Vec<RestListener>,
    /// Where `/admin` is served: with the rest if nobody says.
    pub admin: Option<Vec<RestListener>>,
    pub tls: Option<TlsConfig>,
    pub admin_tls: Option<TlsConfig>,
    pub guard: GuardSettings,
    /// Whether `rest.advertised.listener` is https, if it says.
    pub advertises_tls: Option<bool>,
}

impl RestSettings {
    /// `java_options` is where Kafka's scripts have options of the JVM: `KAFKA_OPTS`.
    pub fn new(
        properties: &Properties,
        java_options: Option<&str>,
    ) -> Result<RestSettings, Vec<ConfigProblem>> {
        let mut reader = Reader { properties, problems: Vec::new() };
        let listeners = reader.listeners("listeners").unwrap_or_default();
        let admin = reader.listeners("admin.listeners");
        let has_tls = |all: &[RestListener]| all.iter().any(|one| one.has_tls);
        let tls = has_tls(&listeners).then(|| reader.tls(HTTPS)).flatten();
        let of_admin = admin.as_deref().is_some_and(has_tls);
        let admin_tls = of_admin.then(|| reader.tls(ADMIN_HTTPS)).flatten();
        let password_file = reader.password_file(java_options);
        let guard = GuardSettings::new(properties, PREFIX, password_file);
        let guard = guard.unwrap_or_else(|wrong| {
            reader.problems.extend(wrong);
            GuardSettings::default()
        });
        let advertises_tls = reader.advertises_tls();
        match reader.problems.is_empty() {
            true => Ok(RestSettings { listeners, admin, tls, admin_tls, guard, advertises_tls }),
            false => Err(reader.problems),
        }
    }

    /// Whether nobody comes whose certificate is not known.
    pub fn asks_for_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required)
    }

    /// Puts what the command line says in the place of the file's listeners: HOST:PORT, by TLS
    /// if they have it, or with `http://` or `https://` before it. The error is a reason.
    pub fn listen_at(&mut self, text: &str) -> Result<(), String> {
        let (has_tls, address) = match text.split_once("://") {
            None => (self.listeners.first().is_some_and(|one| one.has_tls), text),
            Some((scheme, address)) => (is_https(scheme)?, address),
        };
        if has_tls && self.tls.is_none() {
            return Err(format!(
                "{text} needs a certificate: `listeners=https://…` and `ssl.keystore.location` in \
                 the worker's file"
            ));
        }
        self.listeners = vec![RestListener { address: address.to_owned(), has_tls }];
        Ok(())
    }
}

/// Reads keys, and keeps what is wrong.
struct Reader<'a> {
    properties: &'a Properties,
    problems: Vec<ConfigProblem>,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let value = self.properties.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    fn wrong(&mut self, key: &str, message: String, help: &str) {
        let (key, help) = (key.to_owned(), Some(help.to_owned()));
        self.problems.push(ConfigProblem { key, value: None, message, help });
    }

    fn listeners(&mut self, key: &str) -> Option<Vec<RestListener>> {
        let text = self.properties.get(key)?;
        let each = text.split(',').map(str::trim).filter(|one| !one.is_empty());
        let mut all = Vec::new();
        for one in each {
            match listener(one) {
                Ok(listener) => all.push(listener),
                Err(help) => self.wrong(key, format!("{key}: '{one}' cannot be served"), &help),
            }
        }
        Some(all)
    }

    fn tls(&mut self, prefix: &str) -> Option<TlsConfig> {
        let own = self.properties.keys().filter_map(|key| key.strip_prefix(prefix));
        let own: Vec<&str> = own.collect();
        for name in &own {
            if !tls_settings::READ.contains(name) && !NEEDLESS_OF_TLS.contains(name) {
                let key = format!("{prefix}{name}");
                let message = format!("`{key}` is not followed here");
                self.wrong(&key, message, "without it, TLS is 1.2 and 1.3 with the usual ciphers");
            }
        }
        let prefix = if own.is_empty() { "" } else { prefix };
        let read = {
            let get = |name: &'static str| self.get(&format!("{prefix}{name}"));
            tls_settings::tls("https of the REST API", get)
        };
        let help = "a file of PEM has the private key and behind it the certificates";
        match read {
            Err(error) => {
                let key = format!("{prefix}{}", error.name);
                self.wrong(&key, format!("`{key}`: {}", error.reason), help);
                None
            }
            Ok(config) => match Tls::new(config.clone()) {
                Ok(_) => Some(config),
                Err(reason) => {
                    let key = format!("{prefix}ssl.keystore.location");
                    self.wrong(&key, format!("`{key}`: {reason}"), help);
                    None
                }
            },
        }
    }

    /// Where Kafka Connect's own class has its passwords, which nothing in the file says.
    fn password_file(&mut self, java_options: Option<&str>) -> Option<PathBuf> {
        const KEY: &str = "rest.extension.classes";
        let classes = self.get(KEY)?;
        let classes = classes.split(',').map(str::trim).filter(|class| !class.is_empty());
        let (known, others): (Vec<&str>, Vec<&str>) =
            classes.partition(|class| class.rsplit('.').next() == Some(BASIC_AUTH));
        if !others.is_empty() {
            let help = "classes of Java cannot be loaded here; put a proxy before the REST API \
                        that does what they do, and take the key out";
            self.wrong(KEY, format!("`{KEY}` would do nothing here"), help);
        }
        if known.is_empty() || self.get(&format!("{PREFIX}{PASSWORD_FILE}")).is_some() {
            return None;
        }
        match jaas::password_file(java_options) {
            Ok(path) => Some(path),
            Err(reason) => {
                let help = "name the file of NAME=PASSWORD lines by `rest.basic.auth.file`";
                self.wrong(KEY, format!("`{KEY}`: {reason}"), help);
                None
            }
        }
    }

    fn advertises_tls(&mut self) -> Option<bool> {
        const KEY: &str = "rest.advertised.listener";
        match is_https(self.get(KEY)?) {
            Ok(https) => Some(https),
            Err(reason) => {
                self.wrong(KEY, format!("`{KEY}`: {reason}"), "for example https");
                None
            }
        }
    }
}

fn is_https(scheme: &str) -> Result<bool, String> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok(false),
        "https" => Ok(true),
        _ => Err(format!("'{scheme}' is neither http nor https")),
    }
}

/// `https://host:port`; without a host, all addresses. The error is what to do.
fn listener(text: &str) -> Result<RestListener, String> {
    let (scheme, address) = text.split_once("://").unwrap_or(("http", text));
    let has_tls = is_https(scheme).map_err(|_| "the REST API speaks http and https".to_owned())?;
    let address = match address.trim_end_matches('/').rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((host, port)) => format!("{host}:{port}"),
        None => return Err("write it as http://127.0.0.1:8083".to_owned()),
    };
    Ok(RestListener { address, has_tls })
}

/// Keys that are read here; what goes on after a dot is too.
pub const KEYS: &[&str] = &[
    "listeners",
    "admin.listeners",
    "rest.advertised.listener",
    "rest.extension.classes",
    "rest.basic.auth.file",
    "rest.bearer.auth.file",
    "access.control.allow.origin",
    "access.control.allow.methods",
    "response.http.headers.config",
];

/// Whether plain `ssl.` keys are the REST API's, beside being those by which the broker is reached.
pub fn serves_tls(properties: &Properties) -> bool {
    [("listeners", HTTPS), ("admin.listeners", ADMIN_HTTPS)].iter().any(|(key, prefix)| {
        let has_https =
            properties.get(*key).is_some_and(|all| all.to_ascii_lowercase().contains("https://"));
        has_https && !properties.keys().any(|key| key.starts_with(prefix))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::properties;

    fn read(text: &str) -> Result<RestSettings, String> {
        RestSettings::new(&properties::parse(text), None).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ConfigProblem::in_words).collect();
            told.join("\n")
        })
    }

    #[test]
    fn there_may_be_several_listeners() {
        let rest =
            read("listeners=http://127.0.0.1:8083, HTTP://:8084/\nadmin.listeners=").unwrap();
        let addresses: Vec<&str> = rest.listeners.iter().map(|one| one.address.as_str()).collect();
        assert_eq!(addresses, ["127.0.0.1:8083", "0.0.0.0:8084"]);
        assert_eq!(rest.admin, Some(Vec::new()), "nowhere");
        assert_eq!(read("").unwrap().admin, None, "with the others");
    }

    #[test]
    fn the_command_line_may_move_it_and_not_take_tls_away() {
        let mut rest = read("").unwrap();
        rest.listen_at("127.0.0.1:0").unwrap();
        let plain = RestListener { address: "127.0.0.1:0".to_owned(), has_tls: false };
        assert_eq!(rest.listeners, [plain]);
        assert!(rest.listen_at("https://127.0.0.1:0").unwrap_err().contains("needs a certificate"));
        assert!(rest.listen_at("ftp://127.0.0.1:0").unwrap_err().contains("neither http"));
        let tls = RestListener { address: "a:1".to_owned(), has_tls: true };
        let mut rest = RestSettings { listeners: vec![tls], ..RestSettings::default() };
        assert!(rest.listen_at("127.0.0.1:0").unwrap_err().contains("needs a certificate"));
    }

    #[test]
    fn what_cannot_be_served_is_told() {
        let https = "listeners=https://:8443\n";
        let keystore = "ssl.keystore.location=/none.pem\n";
        let told = [
            read(https),
            read(&format!("{https}{keystore}")),
            // Own keys count alone.
            read(&format!("{https}{keystore}listeners.https.ssl.client.auth=required")),
            read(&format!(
                "{https}listeners.https.ssl.keystore.location=/none.pem\nlisteners.https.ssl.cipher.suites=X"
            )),
            read("listeners=8083,ftp://:1"),
            read("rest.advertised.listener=ssl"),
            read("rest.extension.classes=org.Guard"),
            read(
                "rest.extension.classes=org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension",
            ),
        ];
        let told: Vec<String> = told.into_iter().map(Result::unwrap_err).collect();
        expect_test::expect![[r#"
            `ssl.keystore.location`: https of the REST API needs it: a file with a key and certificates as PEM; or ssl.keystore.key and ssl.keystore.certificate.chain; a file of PEM has the private key and behind it the certificates
            `ssl.keystore.location`: cannot read '/none.pem': No such file or directory (os error 2); a file of PEM has the private key and behind it the certificates
            `listeners.https.ssl.keystore.location`: https of the REST API needs it: a file with a key and certificates as PEM; or ssl.keystore.key and ssl.keystore.certificate.chain; a file of PEM has the private key and behind it the certificates
            `listeners.https.ssl.cipher.suites` is not followed here; without it, TLS is 1.2 and 1.3 with the usual ciphers
            `listeners.https.ssl.keystore.location`: cannot read '/none.pem': No such file or directory (os error 2); a file of PEM has the private key and behind it the certificates
            listeners: '8083' cannot be served; write it as http://127.0.0.1:8083
            listeners: 'ftp://:1' cannot be served; the REST API speaks http and https
            `rest.advertised.listener`: 'ssl' is neither http nor https; for example https
            `rest.extension.classes` would do nothing here; classes of Java cannot be loaded here; put a proxy before the REST API that does what they do, and take the key out
            `rest.extension.classes`: nothing says where the passwords are; name the file of NAME=PASSWORD lines by `rest.basic.auth.file`"#]]
        .assert_eq(&told.join("\n"));
    }
}
