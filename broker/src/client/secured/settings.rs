//! Properties as Kafka's own clients have them, and as librdkafka's.
//!
//! ```text
//! security.protocol = SASL_SSL                 sasl.mechanism = SCRAM-SHA-512
//! ssl.truststore.type = PEM                    sasl.jaas.config = … username="admin" password="…";
//! ssl.truststore.location = ca.pem
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Login, Secured, TlsTrust, Token};
use crate::security::SecurityProtocol;
use crate::security::scram::ScramMechanism;
use crate::security::tls::Pem;

type Properties = BTreeMap<String, String>;

impl Secured {
    /// What properties say of coming to a broker; others are passed over. The error is a reason to
    /// be read by people.
    pub fn of_properties(properties: &Properties) -> Result<Secured, String> {
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
            secured = secured.with_tls(trust(properties)?)?;
        }
        if protocol.has_sasl() {
            secured.login = Some(login(properties)?);
        }
        Ok(secured)
    }

    /// Whether a property is one of those.
    pub fn is_property(name: &str) -> bool {
        name == "security.protocol"
            || ["sasl.", "ssl.", "enable.ssl."].iter().any(|start| name.starts_with(start))
    }
}

/// The first of these that says anything.
fn first<'p>(properties: &'p Properties, names: &[&str]) -> Option<&'p str> {
    let mut values = names.iter().filter_map(|name| properties.get(*name));
    values.find_map(|value| Some(value.trim()).filter(|value| !value.is_empty()))
}

fn trust(properties: &Properties) -> Result<TlsTrust, String> {
    for name in ["ssl.truststore", "ssl.keystore"] {
        let kind = format!("{name}.type");
        let kind = first(properties, &[&kind]).unwrap_or("PEM");
        if !kind.eq_ignore_ascii_case("PEM") {
            let turn = match kind.to_ascii_uppercase().as_str() {
                "JKS" => {
                    "`keytool -importkeystore -srckeystore IN -destkeystore OUT.p12 \
                     -deststoretype PKCS12`, then `openssl pkcs12 -in OUT.p12 -out OUT.pem -nodes`"
                }
                _ => "`openssl pkcs12 -in IN -out OUT.pem -nodes`",
            };
            return Err(format!(
                "{name}.type={kind}: only PEM is read here; turn it into that by {turn}"
            ));
        }
    }
    let is_off = |name: &str| first(properties, &[name]).is_some_and(|value| value == "false");
    if is_off("enable.ssl.certificate.verification") {
        let why = "enable.ssl.certificate.verification: certificates are always checked here; name \
                   the authority's file by ssl.ca.location";
        return Err(why.to_owned());
    }
    let algorithm = properties.get("ssl.endpoint.identification.algorithm").map(|it| it.trim());
    let check_name = match algorithm.map(str::to_ascii_lowercase).as_deref() {
        None | Some("https") => true,
        // Empty as Kafka has it, "none" as librdkafka.
        Some("" | "none") => false,
        Some(other) => {
            return Err(format!(
                "ssl.endpoint.identification.algorithm={other}: expected https, or nothing if the \
                 names of brokers are not to be checked"
            ));
        }
    };
    let authorities =
        ["ssl.truststore.certificates", "ssl.truststore.location", "ssl.ca.pem", "ssl.ca.location"];
    let store = "ssl.keystore.location";
    let chain = [
        "ssl.keystore.certificate.chain",
        "ssl.certificate.pem",
        "ssl.certificate.location",
        store,
    ];
    let key = ["ssl.keystore.key", "ssl.key.pem", "ssl.key.location", store];
    let own = match (first(properties, &chain), first(properties, &key)) {
        (Some(chain), Some(key)) => Some((Pem::of(chain), Pem::of(key))),
        (None, None) => None,
        (found, _) => {
            let missing = if found.is_some() { "ssl.keystore.key" } else { chain[0] };
            return Err(format!(
                "a certificate needs its key, and a key its certificate: {missing}"
            ));
        }
    };
    Ok(TlsTrust { authorities: first(properties, &authorities).map(Pem::of), own, check_name })
}

fn login(properties: &Properties) -> Result<Login, String> {
    let jaas = properties.get("sasl.jaas.config").map_or("", String::as_str);
    let mechanism = first(properties, &["sasl.mechanism", "sasl.mechanisms"]).unwrap_or("");
    if mechanism == "OAUTHBEARER" {
        return Ok(Login::OAuth { token: token(properties)?, extensions: extensions(properties)? });
    }
    let scram = mechanism.parse::<ScramMechanism>().ok();
    if mechanism != "PLAIN" && scram.is_none() {
        return Err(format!(
            "sasl.mechanism={mechanism}: expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or \
             OAUTHBEARER"
        ));
    }
    let one = |name: &str| {
        let own = properties.get(&format!("sasl.{name}")).cloned();
        own.or_else(|| quoted(jaas, name)).ok_or_else(|| {
            format!("there is no {name}: give sasl.jaas.config with it, or sasl.{name}")
        })
    };
    let (user, password) = (one("username")?, one("password")?);
    Ok(match scram {
        Some(mechanism) => Login::Scram { mechanism, user, password },
        None => Login::Plain { user, password },
    })
}

fn token(properties: &Properties) -> Result<Token, String> {
    const URL: &str = "sasl.oauthbearer.token.endpoint.url";
    if let Some(token) = first(properties, &["sasl.oauthbearer.token"]) {
        return Ok(Token::Text(token.to_owned()));
    }
    let url = first(properties, &[URL]).ok_or_else(|| {
        format!("there is no token: give {URL}=file:///PATH, or sasl.oauthbearer.token")
    })?;
    let path = url.strip_prefix("file:").map(|path| match path.strip_prefix("//") {
        Some(path) => path.strip_prefix("localhost").unwrap_or(path),
        None => path,
    });
    match path.filter(|path| !path.is_empty()) {
        Some(path) => Ok(Token::File(PathBuf::from(path))),
        None => Err(format!(
            "{URL}={url}: tokens are only read from files here (file:///PATH), which are read \
             again for each login; let something else renew it"
        )),
    }
}

/// What is said beside a token, in JAAS as `extension_NAME="VALUE"`.
fn extensions(properties: &Properties) -> Result<Vec<(String, String)>, String> {
    const START: &str = "extension_";
    let jaas = properties.get("sasl.jaas.config").map_or("", String::as_str);
    let mut found = Vec::new();
    for word in jaas.split_whitespace().filter_map(|word| word.strip_prefix(START)) {
        let name = word.split_once('=').map_or(word, |(name, _)| name);
        let value = quoted(jaas, &format!("{START}{name}")).unwrap_or_default();
        found.push((name.to_owned(), value));
    }
    let listed = first(properties, &["sasl.oauthbearer.extensions"]).unwrap_or("");
    for pair in listed.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.push((name.to_owned(), value.to_owned()));
    }
    let is_name = |name: &str| {
        !name.is_empty() && name != "auth" && name.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    match found.iter().find(|(name, value)| !is_name(name) || value.contains('\u{1}')) {
        Some((name, _)) => Err(format!(
            "'{}' cannot be said beside a token: names have letters alone, values no byte 1",
            name.escape_debug()
        )),
        None => Ok(found),
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

    fn read(text: &str) -> Result<Secured, String> {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Secured::of_properties(&pairs.collect())
    }

    #[test]
    fn kafkas_own_properties_are_understood() {
        let scram = read(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\n\
             sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
             username=\"alice\"  password=\"al\\\"1ce\";\n",
        )
        .unwrap();
        let expected = Login::Scram {
            mechanism: ScramMechanism::Sha256,
            user: "alice".to_owned(),
            password: "al\"1ce".to_owned(),
        };
        assert_eq!(scram.login, Some(expected));
        assert!(!format!("{scram:?}").contains("1ce"));
        assert!(!scram.is_plain() && !scram.has_tls());
        assert!(read("").unwrap().is_plain());
    }

    #[test]
    fn librdkafkas_names_are_understood() {
        let plain = "security.protocol=sasl_plaintext\nsasl.mechanisms=PLAIN\nsasl.username=a\n\
                     sasl.password=b";
        let expected = Login::Plain { user: "a".into(), password: "b".into() };
        assert_eq!(read(plain).unwrap().login, Some(expected));
        let ssl = "security.protocol=ssl\n";
        for name in ["ssl.ca.location", "ssl.ca.pem"] {
            assert!(read(&format!("{ssl}{name}=/none")).unwrap_err().contains("/none"), "{name}");
        }
        let half = read(&format!("{ssl}ssl.certificate.location=/none")).unwrap_err();
        assert!(half.contains("needs its key"), "{half}");
        let unchecked = read(&format!("{ssl}enable.ssl.certificate.verification=false"));
        assert!(unchecked.unwrap_err().contains("always checked"));
    }

    #[test]
    fn tokens_are_in_files_or_given() {
        let oauth = "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\n";
        let url = "sasl.oauthbearer.token.endpoint.url=";
        for given in ["file:///run/token", "file:/run/token", "file://localhost/run/token"] {
            let login = read(&format!("{oauth}{url}{given}")).unwrap().login;
            let token = Token::File("/run/token".into());
            assert_eq!(login, Some(Login::OAuth { token, extensions: Vec::new() }), "{given}");
        }
        let jaas = "sasl.jaas.config=a.b.OAuthBearerLoginModule required \
                    extension_logicalCluster=\"lkc-1\" extension_identityPoolId='p';";
        let given = format!("{oauth}sasl.oauthbearer.token=a.b.c\n{jaas}");
        let Some(Login::OAuth { token, extensions }) = read(&given).unwrap().login else {
            panic!("another mechanism")
        };
        assert!(token == Token::Text("a.b.c".into()));
        let expected = [("logicalCluster", "lkc-1"), ("identityPoolId", "p")];
        assert_eq!(extensions, expected.map(|(name, value)| (name.into(), value.into())));
        assert!(read(oauth).unwrap_err().contains("there is no token"));
        let remote = read(&format!("{oauth}{url}https://idp.example/token")).unwrap_err();
        assert!(remote.contains("only read from files"), "{remote}");
        let wrong = format!("{oauth}sasl.oauthbearer.token=a\nsasl.oauthbearer.extensions=auth=b");
        assert!(read(&wrong).unwrap_err().contains("cannot be said"));
    }

    #[test]
    fn what_would_only_seem_secure_is_refused() {
        let error = |text: &str| read(text).unwrap_err();
        assert!(error("ssl.truststore.location=ca.pem").contains("means nothing with"));
        assert!(error("sasl.mechanism=PLAIN").contains("means nothing with"));
        assert!(error("security.protocol=TLS").contains("no security protocol"));
        let sasl = "security.protocol=SASL_PLAINTEXT\n";
        assert!(error(&format!("{sasl}sasl.mechanism=PLAIN")).contains("there is no username"));
        let named = format!("{sasl}sasl.username=a\nsasl.password=b\n");
        assert!(error(&named).contains("expected PLAIN"));
        let ssl = "security.protocol=SSL\n";
        assert!(error(&format!("{ssl}ssl.truststore.type=JKS")).contains("only PEM"));
        assert!(error(&format!("{ssl}ssl.truststore.location=/none")).contains("cannot read"));
        let algorithm = format!("{ssl}ssl.endpoint.identification.algorithm=");
        assert!(error(&format!("{algorithm}ldaps")).contains("expected https"));
        assert!(
            !trust(&[("ssl.endpoint.identification.algorithm", "")].map(owned).into())
                .unwrap()
                .check_name
        );
        assert!(trust(&Properties::new()).unwrap().check_name);
    }

    fn owned((name, value): (&str, &str)) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }
}
