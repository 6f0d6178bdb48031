//! TLS with certificates of openssl's making.

use std::time::Duration;

use broker::protocol::ErrorCode;
use broker::protocol::messages::k03_metadata::MetadataRequest;
use broker::protocol::messages::k10_find_coordinator::FindCoordinatorRequest;
use broker::protocol::messages::k60_describe_cluster::DescribeClusterRequest;
use broker::security::principal::PrincipalMapping;
use broker::security::tls::{ClientAuth, Pem, TlsConfig, TlsVersion};
use broker::security::{Principal, SecurityProtocol};
use broker::server::{AuthorizerConfig, BindError, ListenerConfig, Server, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{HandshakeKind, version};

use super::certificates::{Certificates, Showing};
use super::listener;
use crate::harness::*;

fn tls(certificates: &Certificates, name: &str) -> TlsConfig {
    let file = |end: &str| Pem::File(certificates.path(&format!("{name}.{end}")));
    TlsConfig { look_interval: Duration::ZERO, ..TlsConfig::new(file("crt"), file("key")) }
}

/// A broker with one listener for TLS and a plain one beside it.
async fn start(tls: TlsConfig, change: impl FnOnce(&mut ServerConfig)) -> TestBroker {
    TestBroker::with(|_, server| {
        let encrypted = ListenerConfig { tls: Some(tls), ..listener(SecurityProtocol::Ssl) };
        server.listeners.insert(0, encrypted);
        change(server);
    })
    .await
}

async fn connect(
    broker: &TestBroker,
    certificates: &Certificates,
    showing: &Showing<'_>,
) -> std::io::Result<Connection<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(broker.address).await.unwrap();
    Ok(Connection::over(certificates.connect(stream, showing).await?))
}

/// Large frames both ways, small ones, and both versions of TLS.
#[tokio::test]
async fn records_go_through_tls() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    let broker = start(tls(&certificates, "server"), |_| {}).await;
    for topic in ["t", "other"] {
        broker.topic(topic, 1).await;
    }
    for (at, version) in [&version::TLS12, &version::TLS13].into_iter().enumerate() {
        let showing = Showing { versions: &[version], ..Showing::NOTHING };
        let mut client = connect(&broker, &certificates, &showing).await.unwrap();
        let large = "x".repeat(900_000);
        assert_eq!(put(&mut client, "t", &["small", &large]).await, 2 * at as i64);
        let fetched = fetched(ask!(client, Fetch v 12, fetch("t", 0, 2 * at as i64)));
        assert_eq!(values(&fetched), ["small", &large]);
        assert_eq!(put(&mut broker.connect_at(1).await, "other", &["plain"]).await, at as i64);
    }
}

/// An old version is not spoken because a client asks for it.
#[tokio::test]
async fn versions_are_spoken_as_they_are_set() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    let tls = TlsConfig { versions: vec![TlsVersion::Tls13], ..tls(&certificates, "server") };
    let broker = start(tls, |_| {}).await;
    let new = Showing { versions: &[&version::TLS13], ..Showing::NOTHING };
    connect(&broker, &certificates, &new).await.unwrap();
    let old = Showing { versions: &[&version::TLS12], ..Showing::NOTHING };
    let refused = connect(&broker, &certificates, &old).await;
    assert!(refused.err().unwrap().to_string().contains("ProtocolVersion"));
}

/// Everybody is told the address by which they have come, or the one that is set for it.
#[tokio::test]
async fn each_listener_tells_its_own_address() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    let broker = start(tls(&certificates, "server"), |server| {
        server.listeners[0].advertised = Some("secret.example:9093".parse().unwrap());
    })
    .await;
    let mut client = connect(&broker, &certificates, &Showing::NOTHING).await.unwrap();
    let metadata = ask!(client, Metadata v 9, MetadataRequest::default());
    let told = |host: &str, port: i32| format!("{host}:{port}");
    let brokers = &metadata.brokers[0];
    assert_eq!(told(&brokers.host, brokers.port), "secret.example:9093");
    let cluster = ask!(client, DescribeCluster v 1, DescribeClusterRequest::default());
    assert_eq!(told(&cluster.brokers[0].host, cluster.brokers[0].port), "secret.example:9093");
    let find =
        FindCoordinatorRequest { coordinator_keys: vec!["g".to_owned()], ..Default::default() };
    let found = ask!(client, FindCoordinator v 4, find);
    let coordinator = &found.coordinators[0];
    assert_eq!(told(&coordinator.host, coordinator.port), "secret.example:9093");
    let mut plain = broker.connect_at(1).await;
    let metadata = ask!(plain, Metadata v 9, MetadataRequest::default());
    let brokers = &metadata.brokers[0];
    assert_eq!(told(&brokers.host, brokers.port), broker.addresses[1].to_string());
}

/// New connections have the new certificate; those that are open stay; a pair that does not fit
/// changes nothing.
#[tokio::test]
async fn certificates_are_changed_without_a_restart() {
    let certificates = Certificates::new();
    for name in ["server", "next"] {
        certificates.certify(name, &format!("/CN={name}"));
    }
    let broker = start(tls(&certificates, "server"), |_| {}).await;
    let shown = |client: &Connection<TlsStream<TcpStream>>| {
        client.stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let mut first = connect(&broker, &certificates, &Showing::NOTHING).await.unwrap();
    let before = shown(&first);
    let replace = |end: &str| {
        let from = certificates.path(&format!("next.{end}"));
        std::fs::rename(from, certificates.path(&format!("server.{end}"))).unwrap();
    };
    replace("crt");
    let second = connect(&broker, &certificates, &Showing::NOTHING).await.unwrap();
    assert_eq!(shown(&second), before, "the key is still the old one's");
    replace("key");
    let third = connect(&broker, &certificates, &Showing::NOTHING).await.unwrap();
    assert_ne!(shown(&third), before);
    std::fs::write(certificates.path("server.key"), "nonsense").unwrap();
    let fourth = connect(&broker, &certificates, &Showing::NOTHING).await.unwrap();
    assert_eq!(shown(&fourth), shown(&third));
    ask!(first, Metadata v 9, MetadataRequest::default());
}

/// A session that is resumed shows no certificate: one that has expired since, or whose authority
/// is trusted no longer, would let its owner in for as long as sessions are kept.
#[tokio::test]
async fn sessions_with_certificates_of_clients_are_not_resumed() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    certificates.certify("alice", "/CN=alice");
    for client_auth in [ClientAuth::None, ClientAuth::Requested, ClientAuth::Required] {
        let authorities = Some(Pem::File(certificates.path("ca.crt")));
        // Looked at once: a new config has no sessions in any case.
        let look_interval = Duration::from_secs(3600);
        let tls = tls(&certificates, "server");
        let broker =
            start(TlsConfig { authorities, client_auth, look_interval, ..tls }, |_| {}).await;
        for version in [&version::TLS12, &version::TLS13] {
            let showing = Showing { versions: &[version], ..Showing::certificate("alice") };
            let config = certificates.client(&showing);
            let mut kinds = Vec::new();
            for _ in 0..3 {
                let stream = TcpStream::connect(broker.address).await.unwrap();
                let stream = certificates.connect_by(stream, &config).await.unwrap();
                let mut client = Connection::over(stream);
                // Tickets come behind the handshake.
                ask!(client, Metadata v 9, MetadataRequest::default());
                kinds.push(client.stream.get_ref().1.handshake_kind().unwrap());
            }
            let resumed = kinds.contains(&HandshakeKind::Resumed);
            assert_eq!(resumed, client_auth == ClientAuth::None, "{version:?} {kinds:?}");
        }
    }
}

/// Who a client is by its certificate decides what it may do.
#[tokio::test]
async fn clients_are_known_by_their_certificates() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    certificates.certify("alice", "/C=DE/O=acme/OU=ops/CN=alice");
    certificates.certify("mallory", "/CN=mallory");
    let stranger = Certificates::new();
    stranger.certify("alice", "/C=DE/O=acme/OU=ops/CN=alice");
    for file in ["alice.crt", "alice.key"] {
        let name = format!("forged.{}", &file[6..]);
        std::fs::copy(stranger.path(file), certificates.path(&name)).unwrap();
    }
    let may = async |auth: ClientAuth, rules: &str, user: &str, showing: Showing<'_>| {
        let tls = TlsConfig {
            authorities: Some(Pem::File(certificates.path("ca.crt"))),
            client_auth: auth,
            mapping: rules.parse::<PrincipalMapping>().unwrap(),
            ..tls(&certificates, "server")
        };
        let broker = start(tls, |server| {
            let super_users = vec![user.parse::<Principal>().unwrap()];
            server.authorizer = Some(AuthorizerConfig { super_users, unruled_is_allowed: false });
        })
        .await;
        broker.topic("t", 1).await;
        let mut client = connect(&broker, &certificates, &showing).await.ok()?;
        let request = produce("t", 0, -1, batch(&["a"]));
        let sent = client.send_or_fail(9, request.into()).await.is_ok();
        let frame = if sent { client.receive_frame().await } else { None };
        let response =
            broker::protocol::decode_response(broker::protocol::ApiKey::Produce, 9, frame?);
        let broker::protocol::Response::Produce(response) = response.unwrap().1 else {
            panic!("another response")
        };
        Some(produced(response).error_code)
    };
    let (none, denied) = (Some(ErrorCode::NONE), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    let (requested, required) = (ClientAuth::Requested, ClientAuth::Required);
    let whole = "User:CN=alice,OU=ops,O=acme,C=DE";
    let mapped = "RULE:^CN=([^,]+),OU=ops,.*$/$1/U";
    let alice = || Showing::certificate("alice");
    assert_eq!(may(required, "", whole, alice()).await, none);
    assert_eq!(may(requested, "", whole, alice()).await, none);
    assert_eq!(may(required, mapped, "User:ALICE", alice()).await, none);
    assert_eq!(may(required, "", whole, Showing::certificate("mallory")).await, denied);
    assert_eq!(may(requested, "", "User:ANONYMOUS", Showing::NOTHING).await, none);
    assert_eq!(may(requested, "", whole, Showing::NOTHING).await, denied);
    // Certificates that are none, or that are missing, end the connection.
    assert_eq!(may(required, "", whole, Showing::NOTHING).await, None);
    assert_eq!(may(required, "", whole, Showing::certificate("forged")).await, None);
    assert_eq!(may(requested, "", whole, Showing::certificate("forged")).await, None);
    assert_eq!(may(required, mapped, whole, Showing::certificate("mallory")).await, None);
    // Nobody is asked, so nobody is known.
    assert_eq!(may(ClientAuth::None, "", whole, alice()).await, denied);
}

#[tokio::test]
async fn what_cannot_be_listened_with_is_told() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    certificates.certify("other", "/CN=localhost");
    let encrypt = ["pkcs8", "-topk8", "-in", "other.key", "-out", "encrypted.key"];
    certificates.openssl(&[&encrypt[..], &["-passout", "pass:secret"]].concat());
    let dir = tempfile::tempdir().unwrap();
    let broker = broker::broker::Broker::open(broker::broker::BrokerConfig::new(dir.path()));
    let broker = broker.await.unwrap();
    let error = async |tls: Option<TlsConfig>| {
        let mut config = ServerConfig::new("127.0.0.1:0");
        config.listeners = vec![ListenerConfig { tls, ..listener(SecurityProtocol::Ssl) }];
        let error = Server::bind(broker.clone(), config).await.unwrap_err();
        assert!(matches!(error, BindError::Security { .. }), "{error}");
        error.to_string()
    };
    let key = |name: &str| TlsConfig {
        key: Pem::File(certificates.path(name)),
        ..tls(&certificates, "server")
    };
    assert!(error(None).await.contains("TLS needs a certificate and a key"));
    assert!(error(Some(key("missing"))).await.contains("cannot read"));
    assert!(error(Some(key("server.crt"))).await.contains("cannot read the private key"));
    assert!(error(Some(key("encrypted.key"))).await.contains("is encrypted"));
    let mixed = error(Some(key("other.key"))).await;
    assert!(mixed.starts_with("listener SSL: certificate") && mixed.contains("other.key"));
    let required = TlsConfig { client_auth: ClientAuth::Required, ..tls(&certificates, "server") };
    assert!(error(Some(required)).await.contains("ssl.truststore.location"));
    let text = std::fs::read_to_string(certificates.path("server.key")).unwrap();
    let secret = TlsConfig::new(Pem::Text("no certificate".to_owned()), Pem::Text(text.clone()));
    assert!(!format!("{secret:?}").contains("PRIVATE") && text.contains("PRIVATE"));
    assert!(error(Some(secret)).await.contains("what was given has no certificate"));
    broker.shutdown().await.unwrap();
}
