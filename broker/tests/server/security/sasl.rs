//! A client that says exactly what a test wants it to, by each mechanism.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64_URL};
use broker::protocol::messages::k03_metadata::MetadataRequest;
use broker::protocol::messages::k17_sasl_handshake::SaslHandshakeRequest;
use broker::protocol::{ApiKey, ErrorCode};
use broker::security::SecurityProtocol;
use broker::security::jwt::JwtConfig;
use broker::security::sasl::{Mechanism, SaslConfig};
use broker::security::scram::{ITERATIONS_MAX, ScramMechanism};
use broker::security::tls::{Pem, TlsConfig};
use broker::server::ListenerConfig;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use ring::{digest, hmac};
use serde_json::{Value, json};

use super::certificates::{Certificates, Showing};
use super::*;

async fn start(sasl: SaslConfig) -> (TestBroker, Office) {
    let sasl = SaslConfig { failure_delay: Duration::from_millis(10), ..sasl };
    start_with(sasl, listener(SecurityProtocol::SaslPlaintext).mechanisms).await
}

async fn start_with(sasl: SaslConfig, mechanisms: Vec<Mechanism>) -> (TestBroker, Office) {
    let broker = TestBroker::with(|_, server| {
        let plain = listener(SecurityProtocol::SaslPlaintext);
        server.listeners = vec![ListenerConfig { mechanisms, ..plain }];
        server.sasl = sasl;
    })
    .await;
    let office = Office::of(&broker.broker).await;
    (broker, office)
}

async fn asks(client: &mut Connection) {
    ask!(client, Metadata v 9, MetadataRequest::default());
}

#[tokio::test]
async fn passwords_are_checked_against_what_is_kept_for_scram() {
    let (broker, office) = start(SaslConfig::default()).await;
    office.set_password("alice", ScramMechanism::Sha256, "al1ce").await;
    office.set_password("bob", ScramMechanism::Sha512, "b0b").await;
    for (user, password) in [("alice", "al1ce"), ("bob", "b0b")] {
        let mut client = broker.connect().await;
        let response = log_in(&mut client, user, password).await;
        assert_eq!(response.error_code, ErrorCode::NONE, "{response:?}");
        assert_eq!((response.session_lifetime_ms, response.auth_bytes.len()), (0, 0));
        asks(&mut client).await;
    }
    let wrong =
        [("alice", "b0b"), ("nobody", "al1ce"), ("alice", ""), ("", "al1ce"), ("bob", "B0B")];
    for (user, password) in wrong {
        let mut client = broker.connect().await;
        let response = log_in(&mut client, user, password).await;
        assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
        let message = "Authentication failed: Invalid username or password";
        assert_eq!(response.error_message.as_deref(), Some(message), "the same whatever is wrong");
        assert!(client.is_closed().await);
    }
    let text = broker.broker.metrics_text().await;
    assert!(text.contains("millstream_authentications_failed_total 5"), "{text}");
    // What is kept is no password.
    let kept = std::fs::read_to_string(broker.dir().join("security.json")).unwrap();
    assert!(kept.contains("alice") && !kept.contains("al1ce") && !kept.contains("b0b"));
    office.close().await;
}

/// The client's side of SCRAM.
async fn scram(
    client: &mut Connection,
    mechanism: ScramMechanism,
    user: &str,
    password: &str,
) -> (String, SaslAuthenticateResponse) {
    assert_eq!(handshake(client, mechanism.name()).await.error_code, ErrorCode::NONE);
    let bare = format!("n={user},r=fyko+d2lbbFgONRv9qkxdawL");
    let first = authenticate(client, format!("n,,{bare}")).await;
    assert_eq!(first.error_code, ErrorCode::NONE, "{first:?}");
    let server_first = String::from_utf8(first.auth_bytes.to_vec()).unwrap();
    let part = |name: &str| {
        server_first.split(',').find_map(|part| part.strip_prefix(name)).unwrap().to_owned()
    };
    let salt = BASE64.decode(part("s=")).unwrap();
    let iterations = part("i=").parse().unwrap();
    let salted = mechanism.salted_password(password.as_bytes(), &salt, iterations);
    let (mac, hash) = match mechanism {
        ScramMechanism::Sha256 => (hmac::HMAC_SHA256, &digest::SHA256),
        ScramMechanism::Sha512 => (hmac::HMAC_SHA512, &digest::SHA512),
    };
    let sign =
        |key: &[u8], data: &[u8]| hmac::sign(&hmac::Key::new(mac, key), data).as_ref().to_vec();
    let client_key = sign(&salted, b"Client Key");
    let stored_key = digest::digest(hash, &client_key);
    let without_proof = format!("c=biws,r={}", part("r="));
    let signed = format!("{bare},{server_first},{without_proof}");
    let signature = sign(stored_key.as_ref(), signed.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    let last = authenticate(client, format!("{without_proof},p={}", BASE64.encode(&proof))).await;
    if last.error_code == ErrorCode::NONE {
        let own = sign(&sign(&salted, b"Server Key"), signed.as_bytes());
        let expected = format!("v={}", BASE64.encode(own));
        assert_eq!(last.auth_bytes, expected.as_bytes(), "the server knows the password too");
    }
    (part("s="), last)
}

#[tokio::test]
async fn scram_proves_both_sides() {
    let (broker, office) = start(SaslConfig::default()).await;
    for mechanism in ScramMechanism::ALL {
        office.set_password("alice", mechanism, "al1ce").await;
        let mut client = broker.connect().await;
        let (_, response) = scram(&mut client, mechanism, "alice", "al1ce").await;
        assert_eq!(response.error_code, ErrorCode::NONE, "{response:?}");
        asks(&mut client).await;
        let mut told = Vec::new();
        for (user, password) in [("alice", "wrong"), ("nobody", "al1ce")] {
            let mut client = broker.connect().await;
            let (_, response) = scram(&mut client, mechanism, user, password).await;
            assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
            assert!(client.is_closed().await);
            told.push(response);
        }
        assert_eq!(told[0], told[1], "nobody learns which users there are");
    }
    // Nor by asking twice: who is not there has a salt that stays.
    let mut salts = Vec::new();
    for _ in 0..2 {
        let mut client = broker.connect().await;
        salts.push(scram(&mut client, ScramMechanism::Sha256, "nobody", "x").await.0);
    }
    assert_eq!(salts[0], salts[1]);
    office.close().await;
}

/// Whoever knows a password of a user that there is waits as long as whoever guesses at others.
#[tokio::test]
async fn unknown_users_take_the_same_time() {
    let sasl = SaslConfig { failure_delay: Duration::ZERO, ..SaslConfig::default() };
    let mechanisms = listener(SecurityProtocol::SaslPlaintext).mechanisms;
    let (broker, office) = start_with(sasl, mechanisms).await;
    office.set_password("alice", ScramMechanism::Sha256, "al1ce").await;
    let time = async |user: &str| {
        let mut times = Vec::new();
        for _ in 0..5 {
            let mut client = broker.connect().await;
            let begun = Instant::now();
            log_in(&mut client, user, "wrong").await;
            times.push(begun.elapsed());
        }
        times.into_iter().min().unwrap()
    };
    let (known, unknown) = (time("alice").await, time("nobody").await);
    // Both hash: without it, an unknown one would be answered at once.
    assert!(unknown * 3 > known, "{known:?} {unknown:?}");
    office.close().await;
}

/// Hashing is done within the time that a failure takes, not before it: some take longer.
#[tokio::test]
async fn failures_are_answered_when_they_are_due() {
    let failure_delay = Duration::from_millis(200);
    let sasl = SaslConfig { failure_delay, ..SaslConfig::default() };
    let mechanisms = listener(SecurityProtocol::SaslPlaintext).mechanisms;
    let (broker, office) = start_with(sasl, mechanisms).await;
    let mechanism = ScramMechanism::Sha512;
    office.set_password_hashed("alice", mechanism, "al1ce", ITERATIONS_MAX).await;
    let hashing = (0..5).map(|_| {
        let begun = Instant::now();
        mechanism.salted_password(b"wrong", b"salt", ITERATIONS_MAX);
        begun.elapsed()
    });
    let hashing = hashing.min().unwrap();
    for attempt in 0.. {
        let mut client = broker.connect().await;
        assert_eq!(handshake(&mut client, "PLAIN").await.error_code, ErrorCode::NONE);
        let begun = Instant::now();
        let response = authenticate(&mut client, "\0alice\0wrong").await;
        let took = begun.elapsed();
        assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
        assert!(took >= failure_delay, "{took:?}");
        // Never so if it waited after hashing, and now and then even where others take the cores.
        if took < failure_delay + hashing / 2 {
            break;
        }
        assert!(attempt < 50, "{took:?}, hashing {hashing:?}");
    }
    office.close().await;
}

/// An older password for another mechanism does not outlive a newer one.
#[tokio::test]
async fn the_password_that_was_set_last_is_the_one_for_plain() {
    let (broker, office) = start(SaslConfig::default()).await;
    let [sha256, sha512] = ScramMechanism::ALL;
    let passwords = [(sha512, "one"), (sha256, "two"), (sha512, "three"), (sha256, "four")];
    let mut before = "none";
    for (mechanism, password) in passwords {
        office.set_password("alice", mechanism, password).await;
        let response = log_in(&mut broker.connect().await, "alice", before).await;
        assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED, "{before}");
        let response = log_in(&mut broker.connect().await, "alice", password).await;
        assert_eq!(response.error_code, ErrorCode::NONE, "{password}");
        before = password;
    }
    office.close().await;
}

#[tokio::test]
async fn old_clients_send_bare_messages() {
    let (broker, office) = start(SaslConfig::default()).await;
    office.set_password("alice", ScramMechanism::Sha256, "al1ce").await;
    for (password, good) in [("al1ce", true), ("wrong", false)] {
        let mut client = broker.connect().await;
        let request = SaslHandshakeRequest { mechanism: "PLAIN".to_owned() };
        let response = ask!(client, SaslHandshake v 0, request);
        assert_eq!(response.mechanisms, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);
        client.send_bytes(&framed(format!("\0alice\0{password}").as_bytes())).await;
        if good {
            assert_eq!(client.receive_frame().await.as_deref(), Some(&b""[..]));
            asks(&mut client).await;
        } else {
            assert!(client.is_closed().await);
        }
    }
    office.close().await;
}

#[tokio::test]
async fn a_mechanism_that_is_not_enabled_is_refused_with_those_that_are() {
    let plain = vec![Mechanism::Plain];
    let (broker, office) = start_with(SaslConfig::default(), plain).await;
    for asked in ["SCRAM-SHA-256", "plain", "GSSAPI", ""] {
        let mut client = broker.connect().await;
        let response = handshake(&mut client, asked).await;
        assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
        assert_eq!(response.mechanisms, ["PLAIN"]);
        assert!(client.is_closed().await, "{asked}");
    }
    // Where nobody has to say who it is, it is not asked.
    let mut client = office.connect().await;
    assert_eq!(handshake(&mut client, "PLAIN").await.error_code, ErrorCode::ILLEGAL_SASL_STATE);
    let response = authenticate(&mut client, "\0a\0b").await;
    assert_eq!(response.error_code, ErrorCode::ILLEGAL_SASL_STATE);
    asks(&mut client).await;
    office.close().await;
}

/// What one listener takes is not let in by another: passwords, say, that could be read on the way.
#[tokio::test]
async fn each_listener_has_mechanisms_of_its_own() {
    let broker = TestBroker::with(|_, server| {
        let of = |mechanism| ListenerConfig {
            mechanisms: vec![mechanism],
            ..listener(SecurityProtocol::SaslPlaintext)
        };
        let scram = Mechanism::Scram(ScramMechanism::Sha256);
        server.listeners = vec![of(Mechanism::Plain), of(scram)];
    })
    .await;
    for (at, takes, refuses) in [(0, "PLAIN", "SCRAM-SHA-256"), (1, "SCRAM-SHA-256", "PLAIN")] {
        let mut client = broker.connect_at(at).await;
        assert_eq!(handshake(&mut client, takes).await.error_code, ErrorCode::NONE);
        let mut client = broker.connect_at(at).await;
        let response = handshake(&mut client, refuses).await;
        assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
        assert_eq!(response.mechanisms, [takes]);
    }
}

/// Where no session ends, nobody is asked again: passwords could be tried there for as long as a
/// connection is open, each beside the one that was right.
#[tokio::test]
async fn who_is_known_for_good_says_nothing_again() {
    let (broker, office) = start(SaslConfig::default()).await;
    office.set_password("alice", ScramMechanism::Sha256, "secret").await;
    let mut client = broker.connect().await;
    assert_eq!(log_in(&mut client, "alice", "secret").await.error_code, ErrorCode::NONE);
    for _ in 0..2 {
        let refused = handshake(&mut client, "PLAIN").await.error_code;
        assert_eq!(refused, ErrorCode::ILLEGAL_SASL_STATE);
        let refused = authenticate(&mut client, "\0alice\0secret").await.error_code;
        assert_eq!(refused, ErrorCode::ILLEGAL_SASL_STATE);
        asks(&mut client).await;
    }
    office.close().await;
}

/// A session ends, unless the client says in time again who it is: the same (KIP-368).
#[tokio::test]
async fn sessions_end_and_are_renewed() {
    let session_max = Some(Duration::from_millis(1500));
    let (broker, office) = start(SaslConfig { session_max, ..SaslConfig::default() }).await;
    for user in ["alice", "bob"] {
        office.set_password(user, ScramMechanism::Sha256, "secret").await;
    }
    let mut client = broker.connect().await;
    let begun = Instant::now();
    let response = log_in(&mut client, "alice", "secret").await;
    assert_eq!(response.session_lifetime_ms, 1500);
    while begun.elapsed() < Duration::from_millis(1700) {
        let response = log_in(&mut client, "alice", "secret").await;
        assert_eq!(response.error_code, ErrorCode::NONE);
        asks(&mut client).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_millis(1600)).await;
    // Even then it may be renewed, but nothing else is answered.
    assert_eq!(log_in(&mut client, "alice", "secret").await.error_code, ErrorCode::NONE);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    client.send(9, MetadataRequest::default().into()).await;
    assert!(client.is_closed().await, "its session has ended");

    let mut client = broker.connect().await;
    log_in(&mut client, "alice", "secret").await;
    let response = log_in(&mut client, "bob", "secret").await;
    assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
    let message = response.error_message.unwrap();
    assert_eq!(message, "Cannot change principals during re-authentication");
    assert!(client.is_closed().await);

    let mut client = broker.connect().await;
    log_in(&mut client, "alice", "secret").await;
    let response = handshake(&mut client, "SCRAM-SHA-256").await;
    assert_eq!(response.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    assert!(client.is_closed().await);
    office.close().await;
}

struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new(jwks: &Path) -> Issuer {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        let point = key.public_key().as_ref();
        let (x, y) = (BASE64_URL.encode(&point[1..33]), BASE64_URL.encode(&point[33..]));
        let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y}]});
        std::fs::write(jwks, keys.to_string()).unwrap();
        Issuer(key)
    }

    fn token(&self, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "k"})), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64_URL.encode(signature.as_ref()))
    }
}

#[tokio::test]
async fn tokens_say_who_a_client_is_and_for_how_long() {
    let dir = tempfile::tempdir().unwrap();
    let jwks = dir.path().join("jwks.json");
    let issuer = Issuer::new(&jwks);
    let sasl = SaslConfig { tokens: Some(JwtConfig::new(&jwks)), ..SaslConfig::default() };
    let (broker, office) = start_with(sasl, vec![Mechanism::OAuthBearer]).await;
    let now = now_ms() / 1000;
    let message =
        |claims: &Value| format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", issuer.token(claims));
    let good = message(&json!({"sub": "alice", "iat": now, "exp": now + 60}));
    let mut client = broker.connect().await;
    assert_eq!(handshake(&mut client, "OAUTHBEARER").await.error_code, ErrorCode::NONE);
    let response = authenticate(&mut client, &good).await;
    assert_eq!(response.error_code, ErrorCode::NONE, "{response:?}");
    assert!((50_000..=60_000).contains(&response.session_lifetime_ms), "{response:?}");
    asks(&mut client).await;
    // Told that its token is none, a client gives up, and is refused.
    for bad in [
        message(&json!({"sub": "alice", "iat": now, "exp": now - 60})),
        good.replace("Bearer e", "Bearer f"),
    ] {
        let mut client = broker.connect().await;
        handshake(&mut client, "OAUTHBEARER").await;
        let response = authenticate(&mut client, bad).await;
        assert_eq!(response.error_code, ErrorCode::NONE);
        assert_eq!(&*response.auth_bytes, br#"{"status":"invalid_token"}"#);
        client.send(9, MetadataRequest::default().into()).await;
        assert!(client.is_closed().await, "it is still nobody");
        let mut client = broker.connect().await;
        handshake(&mut client, "OAUTHBEARER").await;
        authenticate(&mut client, "n,,\u{1}auth=Bearer x\u{1}\u{1}").await;
        let response = authenticate(&mut client, "\u{1}").await;
        assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
        assert!(client.is_closed().await);
    }
    let mut client = broker.connect().await;
    handshake(&mut client, "OAUTHBEARER").await;
    let other = good.replace("n,,", "n,a=bob,");
    let response = authenticate(&mut client, other).await;
    assert_eq!(response.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
    office.close().await;
}

/// By a password within TLS one is whom the password says, whatever certificate was shown.
#[tokio::test]
async fn passwords_go_through_tls() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    let file = |name: &str| Pem::File(certificates.path(name));
    let tls = TlsConfig::new(file("server.crt"), file("server.key"));
    let broker = TestBroker::with(|_, server| {
        let tls = Some(tls);
        server.listeners = vec![ListenerConfig { tls, ..listener(SecurityProtocol::SaslSsl) }];
    })
    .await;
    let office = Office::of(&broker.broker).await;
    office.set_password("alice", ScramMechanism::Sha512, "al1ce").await;
    broker.topic("t", 1).await;
    let stream = TcpStream::connect(broker.address).await.unwrap();
    let stream = certificates.connect(stream, &Showing::NOTHING).await.unwrap();
    let mut client = Connection::over(stream);
    let response = log_in(&mut client, "alice", "al1ce").await;
    assert_eq!(response.error_code, ErrorCode::NONE);
    assert_eq!(put(&mut client, "t", &["a"]).await, 0);
    // Plain text, and plain text with a password, are no TLS.
    let mut client = broker.connect().await;
    client.send(1, SaslHandshakeRequest { mechanism: "PLAIN".to_owned() }.into()).await;
    // An alert of TLS, or nothing, but no answer.
    if let Some(frame) = client.receive_frame().await {
        panic!("{:?}", broker::protocol::decode_response(ApiKey::SaslHandshake, 1, frame));
    }
    office.close().await;
}
