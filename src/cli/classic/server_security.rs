//! What Kafka's `server.properties` says of listeners, and of who may come by them and do what.
//!
//! ```text
//! listeners = PLAINTEXT://:9092,OUT://:9093         listener.security.protocol.map = OUT:SASL_SSL
//! ssl.keystore.location = server.pem                listener.name.out.ssl.… for that one alone
//! sasl.enabled.mechanisms = SCRAM-SHA-512           authorizer.class.name, super.users
//! ```

use std::collections::HashMap;
use std::net::ToSocketAddrs;
use std::str::FromStr;
use std::time::Duration;

use broker::security::jwt::JwtConfig;
use broker::security::sasl::{Mechanism, SaslConfig};
use broker::security::tls::TlsConfig;
use broker::security::{Principal, SecurityProtocol, tls_settings};
use broker::server::{AuthorizerConfig, ConnectionLimits, HostPort, ListenerConfig, ServerConfig};

use super::server_properties::{PropertyError, number, wrong};
use crate::cli::properties::Properties;

/// Read here, each where it is needed, beside those of TLS, before which names of listeners may
/// stand.
const READ: &[&str] = &[
    "advertised.listeners",
    "allow.everyone.if.no.acl.found",
    "authorizer.class.name",
    "connection.failed.authentication.delay.ms",
    "connections.max.reauth.ms",
    "controller.listener.names",
    "listener.security.protocol.map",
    "listeners",
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "sasl.enabled.mechanisms",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.jwks.endpoint.url",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.server.max.receive.size",
    "super.users",
];

/// Whether a setting is read here.
pub fn is_read(name: &str) -> bool {
    READ.contains(&name) || tls_settings::READ.contains(&name)
}

/// The authorizers of Kafka's own, which decide as ours does.
const AUTHORIZERS: [&str; 2] = [
    "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "kafka.security.authorizer.AclAuthorizer",
];

/// Puts all of it into how a server listens.
pub fn apply(
    properties: &Properties,
    server: &mut ServerConfig,
    notes: &mut Vec<String>,
) -> Result<(), PropertyError> {
    server.listeners = listeners(properties, notes)?;
    check_prefixed(properties, &server.listeners)?;
    server.connections = connection_limits(properties)?;
    server.authorizer = authorizer(properties, notes)?;
    server.sasl = sasl(properties, notes)?;
    notes.extend(unfollowed(properties));
    Ok(())
}

/// What clients check, what brokers do among themselves, and how Java does what it does; passwords
/// of files without any.
const NEEDLESS: &[&str] = &[
    "sasl.jaas.config",
    "sasl.mechanism.controller.protocol",
    "sasl.mechanism.inter.broker.protocol",
];

/// The same of TLS, wherever it is served.
pub const NEEDLESS_OF_TLS: &[&str] = &[
    "ssl.endpoint.identification.algorithm",
    "ssl.engine.factory.class",
    "ssl.keymanager.algorithm",
    "ssl.protocol",
    "ssl.provider",
    "ssl.secure.random.implementation",
    "ssl.trustmanager.algorithm",
];

/// Settings of TLS and SASL that mean nothing here, although they might be meant to keep something
/// out.
fn unfollowed(properties: &Properties) -> Option<String> {
    let names = properties.keys().map(String::as_str).filter(|name| {
        (name.starts_with("ssl.") || name.starts_with("sasl."))
            && !is_read(name)
            && !NEEDLESS.contains(name)
            && !NEEDLESS_OF_TLS.contains(name)
    });
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then(|| format!("not followed: {}", names.join(", ")))
}

/// Settings that a listener may have of its own; all of `ssl.` among them that are read.
const OF_LISTENERS: &[&str] =
    &["sasl.enabled.mechanisms", "max.connections", "max.connection.creation.rate", REAUTH];
const REAUTH: &str = "connections.max.reauth.ms";

/// Refuses settings of single listeners that would not be followed: who writes one means that
/// listener to be other than the rest.
fn check_prefixed(
    properties: &Properties,
    listeners: &[ListenerConfig],
) -> Result<(), PropertyError> {
    let controllers = properties.get("controller.listener.names").map_or("", String::as_str);
    for (key, value) in properties {
        let Some(prefixed) = key.strip_prefix("listener.name.") else { continue };
        // Values may be secrets.
        let refused = |reason: String| Err(wrong(key, "…", reason));
        let Some((listener, name)) = prefixed.split_once('.') else {
            return refused("expected listener.name.NAME.SETTING".to_owned());
        };
        let is_named = |name: &str| name.trim().to_ascii_lowercase() == listener;
        if controllers.split(',').any(is_named) {
            continue;
        }
        let Some(listener) = listeners.iter().find(|one| is_named(&one.name)) else {
            let names = listeners.iter().map(|one| one.name.to_ascii_lowercase());
            let names = names.collect::<Vec<_>>().join(", ");
            return refused(format!(
                "there is no such listener; in small letters, there are {names}"
            ));
        };
        let own = OF_LISTENERS.contains(&name) || tls_settings::READ.contains(&name);
        let mut needless = NEEDLESS.iter().chain(NEEDLESS_OF_TLS);
        if own || needless.any(|needless| name.ends_with(needless)) {
            continue;
        }
        // The mechanism stands before some.
        let of_mechanism = name.split_once('.').filter(|(_, name)| *name == REAUTH);
        if let Some((mechanism, _)) = of_mechanism {
            let enabled = |one: &Mechanism| one.name().eq_ignore_ascii_case(mechanism);
            match listener.mechanisms.iter().any(enabled) {
                true => continue,
                false => return refused(format!("{mechanism} is not enabled there")),
            }
        }
        // The same as for all is what it has in any case.
        let of_all = [name, name.split_once('.').map_or(name, |(_, name)| name)];
        if of_all.iter().any(|name| is_read(name) && properties.get(*name) == Some(value)) {
            continue;
        }
        return refused(match of_all.iter().find(|name| is_read(name)) {
            Some(name) => format!("it cannot be set for one listener; set {name} for all"),
            None => "it is not followed here; without it, the listener is as all others".to_owned(),
        });
    }
    Ok(())
}

/// A setting of one listener, or of all.
fn of_listener<'a>(
    properties: &'a Properties,
    listener: &str,
    name: &'static str,
) -> Option<&'a str> {
    let own = format!("listener.name.{}.{name}", listener.to_ascii_lowercase());
    let value = properties.get(&own).or_else(|| properties.get(name))?;
    Some(value.trim()).filter(|value| !value.is_empty())
}

/// A number of one listener alone.
fn own_number<T: FromStr>(
    properties: &Properties,
    listener: &str,
    name: &str,
) -> Result<Option<T>, PropertyError> {
    number(properties, &format!("listener.name.{}.{name}", listener.to_ascii_lowercase()))
}

/// `listener.name.NAME.MECHANISM.connections.max.reauth.ms`, or else without the mechanism.
fn session_max(
    properties: &Properties,
    listener: &ListenerConfig,
) -> Result<Vec<(Mechanism, Option<Duration>)>, PropertyError> {
    let mut all = Vec::new();
    let of_all = own_number::<u64>(properties, &listener.name, REAUTH)?;
    for mechanism in &listener.mechanisms {
        let name = format!("{}.{REAUTH}", mechanism.name().to_ascii_lowercase());
        if let Some(ms) = own_number::<u64>(properties, &listener.name, &name)?.or(of_all) {
            let max = Some(Duration::from_millis(ms)).filter(|max| !max.is_zero());
            all.push((*mechanism, max));
        }
    }
    Ok(all)
}

fn connection_limits(properties: &Properties) -> Result<ConnectionLimits, PropertyError> {
    const OVERRIDES: &str = "max.connections.per.ip.overrides";
    let default = ConnectionLimits::default();
    let overrides = properties.get(OVERRIDES).map_or("", |value| value.trim());
    let mut of_addresses = HashMap::new();
    for text in overrides.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let refused = |reason: &str| wrong(OVERRIDES, overrides, format!("'{text}': {reason}"));
        let (host, max) = text.rsplit_once(':').ok_or_else(|| refused("expected HOST:NUMBER"))?;
        let max = max.trim().parse().map_err(|_| refused("expected HOST:NUMBER"))?;
        let host = host.trim_matches(['[', ']']);
        let addresses = (host, 0).to_socket_addrs();
        let addresses = addresses.map_err(|error| refused(&error.to_string()))?;
        of_addresses.extend(addresses.map(|address| (address.ip().to_canonical(), max)));
    }
    let max = |name| number::<usize>(properties, name);
    Ok(ConnectionLimits {
        connections_max: max("max.connections")?.unwrap_or(default.connections_max),
        per_address_max: max("max.connections.per.ip")?.unwrap_or(default.per_address_max),
        of_addresses,
        rate_max: number(properties, "max.connection.creation.rate")?.unwrap_or(default.rate_max),
    })
}

fn listeners(
    properties: &Properties,
    notes: &mut Vec<String>,
) -> Result<Vec<ListenerConfig>, PropertyError> {
    let all = properties.get("listeners").map_or("PLAINTEXT://:9092", String::as_str);
    let controllers = properties.get("controller.listener.names").map_or("", String::as_str);
    let is_controllers = |name: &str| controllers.split(',').any(|other| other.trim() == name);
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    for listener in all.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let parts = listener.split_once("://");
        let (name, address) =
            parts.ok_or_else(|| wrong("listeners", all, "expected NAME://HOST:PORT"))?;
        if is_controllers(name) {
            continue;
        }
        if listeners.iter().any(|other| other.name == name) {
            return Err(wrong("listeners", all, format!("{name} is named twice")));
        }
        let address = match address.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}"),
            None => address.to_owned(),
        };
        let listen: HostPort = address.parse().map_err(|error| wrong("listeners", all, error))?;
        let protocol = protocol(properties, name)?;
        listeners.push(ListenerConfig {
            name: name.to_owned(),
            listen: listen.to_string(),
            protocol,
            advertised: advertised(properties, name)?,
            tls: match protocol.has_tls() {
                true => Some(tls(properties, name)?),
                false => None,
            },
            session_max: Vec::new(),
            connections_max: own_number(properties, name, "max.connections")?.unwrap_or(usize::MAX),
            connection_rate_max: own_number(properties, name, "max.connection.creation.rate")?
                .unwrap_or(f64::INFINITY),
            mechanisms: match protocol.has_sasl() {
                true => mechanisms(properties, name)?,
                false => Vec::new(),
            },
        });
        let last = listeners.len() - 1;
        listeners[last].session_max = session_max(properties, &listeners[last])?;
    }
    if listeners.is_empty() {
        return Err(wrong("listeners", all, "expected one that is not a controller's"));
    }
    let open = |one: &&ListenerConfig| one.protocol == SecurityProtocol::SaslPlaintext;
    if let Some(open) = listeners.iter().find(open) {
        notes.push(format!(
            "{}: what goes over it can be read on its way, passwords by PLAIN among it; SASL_SSL \
             hides them",
            open.name
        ));
    }
    Ok(listeners)
}

fn protocol(properties: &Properties, name: &str) -> Result<SecurityProtocol, PropertyError> {
    const MAP: &str = "listener.security.protocol.map";
    let map = properties.get(MAP).map_or("", String::as_str);
    let mut pairs = map.split(',').filter_map(|pair| pair.trim().split_once(':'));
    match pairs.find(|(other, _)| *other == name) {
        Some((_, protocol)) => protocol.parse().map_err(|error| wrong(MAP, map, error)),
        None => name.parse().map_err(|error| wrong("listeners", name, error)),
    }
}

fn advertised(properties: &Properties, name: &str) -> Result<Option<HostPort>, PropertyError> {
    let advertised = properties.get("advertised.listeners").map_or("", String::as_str);
    let own = advertised.split(',').filter_map(|text| text.trim().split_once("://"));
    let own = own.filter(|(other, _)| *other == name).map(|(_, address)| address).next();
    let wrong = |error| wrong("advertised.listeners", advertised, error);
    own.map(|address| address.parse().map_err(wrong)).transpose()
}

fn tls(properties: &Properties, listener: &str) -> Result<TlsConfig, PropertyError> {
    let get = |name| of_listener(properties, listener, name);
    let whose = format!("listener {listener}");
    let in_a_file = |name| match name {
        // What Kafka takes a file for whose type nobody says.
        "ssl.keystore.type" => get("ssl.keystore.location").map(|_| "JKS"),
        "ssl.truststore.type" => get("ssl.truststore.location").map(|_| "JKS"),
        _ => None,
    };
    tls_settings::tls(&whose, |name| get(name).or_else(|| in_a_file(name)))
        .map_err(|error| wrong(error.name, &error.value, error.reason))
}

fn authorizer(
    properties: &Properties,
    notes: &mut Vec<String>,
) -> Result<Option<AuthorizerConfig>, PropertyError> {
    let text = |name: &str| properties.get(name).map_or("", |value| value.trim());
    let class = text("authorizer.class.name");
    let names = text("super.users");
    if class.is_empty() {
        if !names.is_empty() {
            let class = AUTHORIZERS[0];
            notes
                .push(format!("everybody may do everything without authorizer.class.name={class}"));
        }
        return Ok(None);
    }
    if !AUTHORIZERS.contains(&class) {
        let reason = format!("there are no Java classes here; expected {}", AUTHORIZERS[0]);
        return Err(wrong("authorizer.class.name", class, reason));
    }
    let users = names.split(';').map(str::trim).filter(|name| !name.is_empty());
    let users = users
        .map(|name| name.parse::<Principal>().map_err(|error| wrong("super.users", names, error)));
    Ok(Some(AuthorizerConfig {
        super_users: users.collect::<Result<_, _>>()?,
        unruled_is_allowed: text("allow.everyone.if.no.acl.found").eq_ignore_ascii_case("true"),
    }))
}

fn mechanisms(properties: &Properties, listener: &str) -> Result<Vec<Mechanism>, PropertyError> {
    const MECHANISMS: &str = "sasl.enabled.mechanisms";
    let names = of_listener(properties, listener, MECHANISMS).unwrap_or("");
    let each = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    let each =
        each.map(|name| name.parse::<Mechanism>().map_err(|error| wrong(MECHANISMS, names, error)));
    each.collect()
}

fn sasl(properties: &Properties, notes: &mut Vec<String>) -> Result<SaslConfig, PropertyError> {
    let mut sasl = SaslConfig::default();
    if properties.keys().any(|name| name.ends_with("sasl.jaas.config")) {
        notes.push(
            "sasl.jaas.config is not followed: no passwords stand in files here; set them by \
             `millstream users create NAME`, for PLAIN and SCRAM alike"
                .to_owned(),
        );
    }
    let ms = |name| Ok(number::<u64>(properties, name)?.map(Duration::from_millis));
    sasl.session_max = ms("connections.max.reauth.ms")?.filter(|max| !max.is_zero());
    let delay = ms("connection.failed.authentication.delay.ms")?;
    sasl.failure_delay = delay.unwrap_or(sasl.failure_delay);
    let size = number(properties, "sasl.server.max.receive.size")?;
    sasl.receive_bytes_max = size.unwrap_or(sasl.receive_bytes_max);
    sasl.tokens = tokens(properties)?;
    Ok(sasl)
}

fn tokens(properties: &Properties) -> Result<Option<JwtConfig>, PropertyError> {
    const URL: &str = "sasl.oauthbearer.jwks.endpoint.url";
    let text = |name: &str| {
        let value = properties.get(&format!("sasl.oauthbearer.{name}"));
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let Some(url) = text("jwks.endpoint.url") else { return Ok(None) };
    let path = match url.strip_prefix("file:") {
        Some(path) => path.strip_prefix("//").unwrap_or(path),
        None if url.contains("://") => {
            let reason = "keys are read from a file here: file:/path/to/jwks.json";
            return Err(wrong(URL, &url, reason));
        }
        None => &url,
    };
    let mut config = JwtConfig::new(path);
    config.issuer = text("expected.issuer");
    let audiences = text("expected.audience").unwrap_or_default();
    let audiences = audiences.split(',').map(str::trim).filter(|name| !name.is_empty());
    config.audiences = audiences.map(str::to_owned).collect();
    if let Some(seconds) = number(properties, "sasl.oauthbearer.clock.skew.seconds")? {
        config.clock_skew = Duration::from_secs(seconds);
    }
    config.scope_claim = text("scope.claim.name").unwrap_or(config.scope_claim);
    config.subject_claim = text("sub.claim.name").unwrap_or(config.subject_claim);
    Ok(Some(config))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use broker::security::tls::{ClientAuth, Pem, TlsVersion};

    use super::*;
    use crate::cli::properties::parse;

    fn read(text: &str) -> Result<(ServerConfig, Vec<String>), String> {
        let (mut server, mut notes) = (ServerConfig::new(""), Vec::new());
        let applied = apply(&parse(text), &mut server, &mut notes);
        applied.map(|()| (server, notes)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_listener_has_its_own_protocol_and_certificate() {
        let (server, notes) = read(
            "listeners=PLAINTEXT://127.0.0.1:9092,CLIENTS://:9093,CONTROLLER://:9094\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CLIENTS:SASL_SSL,CONTROLLER:PLAINTEXT\n\
             advertised.listeners=CLIENTS://kafka.example:9093\n\
             ssl.keystore.type=PEM\nssl.keystore.location=all.pem\n\
             listener.name.clients.ssl.keystore.location=clients.pem\n\
             ssl.truststore.type=PEM\nssl.truststore.location=ca.pem\nssl.client.auth=required\n\
             sasl.enabled.mechanisms=PLAIN\n\
             listener.name.clients.sasl.enabled.mechanisms=SCRAM-SHA-256, SCRAM-SHA-512\n\
             connections.max.reauth.ms=3600000\nssl.enabled.protocols=TLSv1.3\n",
        )
        .unwrap();
        let [plain, clients] = &server.listeners[..] else { panic!("{:?}", server.listeners) };
        assert_eq!(
            (plain.protocol, plain.listen.as_str()),
            (SecurityProtocol::Plaintext, "127.0.0.1:9092")
        );
        assert!(plain.tls.is_none() && plain.advertised.is_none());
        assert_eq!(clients.protocol, SecurityProtocol::SaslSsl);
        assert_eq!(clients.advertised.as_ref().unwrap().to_string(), "kafka.example:9093");
        let tls = clients.tls.as_ref().unwrap();
        assert_eq!(tls.chain, Pem::File("clients.pem".into()));
        assert_eq!((&tls.key, tls.client_auth), (&tls.chain, ClientAuth::Required));
        assert_eq!(tls.versions, [TlsVersion::Tls13]);
        assert_eq!(tls.authorities, Some(Pem::File("ca.pem".into())));
        let names: Vec<&str> = clients.mechanisms.iter().map(|one| one.name()).collect();
        assert_eq!(names, ["SCRAM-SHA-256", "SCRAM-SHA-512"]);
        assert_eq!(server.sasl.session_max, Some(Duration::from_secs(3600)));
        assert!(server.authorizer.is_none() && notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn who_may_do_what_is_read() {
        let class = AUTHORIZERS[0];
        let (server, _) = read(&format!(
            "authorizer.class.name={class}\nsuper.users=User:admin;User:CN=a,O=b\n\
             allow.everyone.if.no.acl.found=true\n"
        ))
        .unwrap();
        let authorizer = server.authorizer.unwrap();
        let names: Vec<&str> = authorizer.super_users.iter().map(Principal::as_str).collect();
        assert_eq!(names, ["User:admin", "User:CN=a,O=b"]);
        assert!(authorizer.unruled_is_allowed);
        let (server, notes) = read("super.users=User:admin").unwrap();
        assert!(server.authorizer.is_none() && notes[0].contains("everybody may do everything"));
    }

    #[test]
    fn keys_of_tokens_are_in_a_file() {
        let (server, _) = read(
            "sasl.oauthbearer.jwks.endpoint.url=file:///etc/jwks.json\n\
             sasl.oauthbearer.expected.audience=a, b\nsasl.oauthbearer.expected.issuer=i\n\
             sasl.oauthbearer.clock.skew.seconds=5\nsasl.oauthbearer.sub.claim.name=email\n",
        )
        .unwrap();
        let tokens = server.sasl.tokens.unwrap();
        assert_eq!(tokens.jwks, PathBuf::from("/etc/jwks.json"));
        assert_eq!((tokens.issuer.as_deref(), tokens.audiences.len()), (Some("i"), 2));
        assert_eq!(
            (tokens.clock_skew, tokens.subject_claim.as_str()),
            (Duration::from_secs(5), "email")
        );
    }

    #[test]
    fn what_cannot_be_followed_is_told() {
        let error = |text: &str| read(text).unwrap_err();
        let ssl = "listeners=SSL://:1\n";
        assert!(error(ssl).contains("listener SSL needs it"));
        assert!(error(&format!("{ssl}ssl.keystore.location=a.jks")).contains("only PEM"));
        let encrypted = "ssl.keystore.type=PEM\nssl.keystore.location=a\nssl.key.password=secret";
        let told = error(&format!("{ssl}{encrypted}"));
        assert!(told.contains("decrypt it") && !told.contains("secret"), "{told}");
        assert!(error("listeners=A://:1").contains("no security protocol"));
        assert!(error("listeners=PLAINTEXT://:1,PLAINTEXT://:2").contains("twice"));
        let sasl = "listeners=SASL_PLAINTEXT://:1\nsasl.enabled.mechanisms=GSSAPI";
        assert!(error(sasl).contains("the mechanism 'GSSAPI' is not there"));
        assert!(error("authorizer.class.name=a.B").contains("no Java classes"));
        let old = "ssl.keystore.type=PEM\nssl.keystore.location=a\nssl.enabled.protocols=TLSv1.1";
        assert!(error(&format!("{ssl}{old}")).contains("'TLSv1.1' is not spoken here"));
        let (_, notes) = read("ssl.cipher.suites=X\nsasl.x=1").unwrap();
        assert_eq!(notes, ["not followed: sasl.x, ssl.cipher.suites"]);
        let url = "sasl.oauthbearer.jwks.endpoint.url=https://issuer/jwks";
        assert!(error(url).contains("from a file"));
        let jaas = "listeners=SASL_PLAINTEXT://:1\nsasl.enabled.mechanisms=PLAIN\n\
                    listener.name.sasl_plaintext.plain.sasl.jaas.config=x password=\"y\"";
        let (_, notes) = read(jaas).unwrap();
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().all(|note| !note.contains("\"y\"")));
    }
    /// What is written for one listener means it to be other than the rest.
    #[test]
    fn settings_of_one_listener_are_followed_or_refused() {
        const FILE: &str = "listeners=SASL_PLAINTEXT://:1,CONTROLLER://:2\n\
                            controller.listener.names=CONTROLLER\n\
                            sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n";
        let with = |line: &str| read(&format!("{FILE}listener.name.{line}"));
        let listener = |line: &str| with(line).unwrap().0.listeners.remove(0);
        let own = listener("sasl_plaintext.sasl.enabled.mechanisms=PLAIN");
        assert_eq!(own.mechanisms, [Mechanism::Plain]);
        assert_eq!(listener("sasl_plaintext.max.connections=7").connections_max, 7);
        let own = listener("sasl_plaintext.max.connection.creation.rate=1.5");
        assert_eq!(own.connection_rate_max, 1.5);
        let own = listener("sasl_plaintext.plain.connections.max.reauth.ms=5000");
        assert_eq!(own.session_max, [(Mechanism::Plain, Some(Duration::from_secs(5)))]);
        let own = listener("sasl_plaintext.plain.connections.max.reauth.ms=0");
        assert_eq!(own.session_max, [(Mechanism::Plain, None)]);
        // Needless, or the same as for all.
        for line in [
            "controller.ssl.cipher.suites=X",
            "sasl_plaintext.ssl.protocol=TLS",
            "sasl_plaintext.scram-sha-256.sasl.jaas.config=x",
        ] {
            with(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        const DELAY: &str = "connection.failed.authentication.delay.ms=5";
        with(&format!("sasl_plaintext.{DELAY}\n{DELAY}")).unwrap();
        let own = listener("sasl_plaintext.connections.max.reauth.ms=5");
        assert_eq!(own.session_max.len(), 2, "of both mechanisms");
        for (line, told) in [
            ("sasl_plaintext.ssl.cipher.suites=secret", "not followed here"),
            ("sasl_plaintext.plain.sasl.server.callback.handler.class=secret", "not followed here"),
            ("sasl_plaintext.principal.builder.class=secret", "not followed here"),
            ("sasl_plaintext.super.users=User:a", "set super.users for all"),
            ("sasl_plaintext.oauthbearer.connections.max.reauth.ms=5", "not enabled there"),
            ("SASL_PLAINTEXT.sasl.enabled.mechanisms=PLAIN", "in small letters"),
            ("clients.ssl.client.auth=required", "there are sasl_plaintext"),
            ("x=1", "expected listener.name.NAME.SETTING"),
        ] {
            let error = with(line).unwrap_err();
            let name = line.split('=').next().unwrap();
            assert!(error.starts_with(&format!("listener.name.{name} = …")), "{error}");
            assert!(error.contains(told) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn connections_are_limited_as_kafka_limits_them() {
        let limits = |text: &str| read(text).map(|(server, _)| server.connections);
        let read = limits(
            "max.connections=10\nmax.connections.per.ip=3\nmax.connection.creation.rate=2.5\n\
             max.connections.per.ip.overrides=127.0.0.1:100, [::1]:7,10.0.0.1:0\n",
        )
        .unwrap();
        assert_eq!((read.connections_max, read.per_address_max), (10, 3));
        assert_eq!(read.rate_max, 2.5);
        let of = |address: &str| read.of_addresses[&address.parse().unwrap()];
        assert_eq!([of("127.0.0.1"), of("::1"), of("10.0.0.1")], [100, 7, 0]);
        for bad in ["127.0.0.1", "127.0.0.1:x", "no.such.host.invalid:1"] {
            let error = limits(&format!("max.connections.per.ip.overrides={bad}")).unwrap_err();
            assert!(error.contains(bad), "{error}");
        }
    }
}
