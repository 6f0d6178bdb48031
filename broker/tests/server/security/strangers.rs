//! Clients that are not known, and mean no good: what they are answered, and what they cost.

use std::time::Duration;

use broker::protocol::messages::k01_fetch::FetchRequest;
use broker::protocol::messages::k03_metadata::MetadataRequest;
use broker::protocol::messages::k17_sasl_handshake::SaslHandshakeRequest;
use broker::protocol::messages::k18_api_versions::ApiVersionsRequest;
use broker::protocol::messages::k36_sasl_authenticate::SaslAuthenticateRequest;
use broker::protocol::{ApiKey, ErrorCode, Request};
use broker::security::SecurityProtocol;
use broker::security::sasl::SaslConfig;
use broker::security::tls::{Pem, TlsConfig};
use broker::server::ListenerConfig;
use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::certificates::Certificates;
use super::{listener, log_in};
use crate::harness::*;

const MESSAGE_MAX: usize = 4096;

async fn start() -> TestBroker {
    let broker = TestBroker::with(|_, server| {
        server.listeners = vec![listener(SecurityProtocol::SaslPlaintext)];
        server.listeners.push(ListenerConfig::plaintext("127.0.0.1:0"));
        server.stall_timeout = Duration::from_millis(500);
        server.sasl = SaslConfig {
            receive_bytes_max: MESSAGE_MAX,
            failure_delay: Duration::ZERO,
            ..SaslConfig::default()
        };
    })
    .await;
    broker.topic("t", 1).await;
    broker
}

fn head(length: i32, api: i16, version: i16) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&api.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes
}

fn message(bytes: usize) -> Request {
    SaslAuthenticateRequest { auth_bytes: Bytes::from(vec![b'x'; bytes]) }.into()
}

fn ask_for(mechanism: &str) -> Request {
    SaslHandshakeRequest { mechanism: mechanism.to_owned() }.into()
}

/// Every API but those by which a client becomes known; decided by the first eight bytes.
#[tokio::test]
async fn nothing_is_answered_before_a_client_is_known() {
    let broker = start().await;
    for api in ApiKey::ALL {
        let answered =
            [ApiKey::ApiVersions, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate].contains(api);
        let mut client = broker.connect().await;
        if answered {
            continue;
        }
        client.send_bytes(&head(100, *api as i16, *api.versions().end())).await;
        assert!(client.is_closed().await, "{api}");
    }
    let mut client = broker.connect().await;
    let versions = ask!(client, ApiVersions v 2, ApiVersionsRequest::default());
    assert_eq!(versions.error_code, ErrorCode::NONE);
    assert_eq!(versions.api_keys.len(), ApiKey::ALL.len());
    // A version that is not there yet, in the form of the first.
    client.send_bytes(&framed(&[0, 18, 0, 99, 0, 0, 0, 7, 0xff, 0xff])).await;
    let frame = client.receive_frame().await.unwrap();
    assert_eq!(frame[..6], [0, 0, 0, 7, 0, 35]);
    // A request sent together with the handshake is not let in behind it.
    let mut both = encoded(1, 1, ask_for("PLAIN"));
    both.extend(encoded(9, 2, MetadataRequest::default().into()));
    client.send_bytes(&both).await;
    assert!(client.receive_frame().await.is_some());
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn frames_are_small_and_garbage_ends_them() {
    let broker = start().await;
    let large = encoded(2, 1, message(MESSAGE_MAX));
    let handshakes = [encoded(1, 1, ask_for("PLAIN")), encoded(1, 2, ask_for("PLAIN"))].concat();
    let cases: Vec<(&str, Vec<u8>, usize)> = vec![
        ("negative length", head(-1, 17, 1), 0),
        ("2 GB", head(i32::MAX, 36, 2), 0),
        ("one byte too many", head(MESSAGE_MAX as i32 + 1, 17, 1), 0),
        ("too large a message", large, 0),
        ("no such api", head(100, 999, 0), 0),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec(), 0),
        ("tls", vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01], 0),
        ("an old version", head(100, 17, 2), 0),
        ("a message before the handshake", encoded(2, 1, message(10)), 1),
        ("two handshakes", handshakes, 2),
        ("garbage", framed(&[0, 17, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff]), 0),
        ("another fetch", encoded(11, 1, FetchRequest::default().into()), 0),
    ];
    for (name, bytes, answers) in cases {
        let mut client = broker.connect().await;
        client.send_bytes(&bytes).await;
        for _ in 0..answers {
            assert!(client.receive_frame().await.is_some(), "{name}");
        }
        assert!(client.is_closed().await, "{name}");
    }
    // Bare messages are bounded as well, and read by their length alone.
    for length in [MESSAGE_MAX as i32 + 1, -1, 0] {
        let mut client = broker.connect().await;
        ask!(client, SaslHandshake v 0, SaslHandshakeRequest { mechanism: "PLAIN".to_owned() });
        client.send_bytes(&length.to_be_bytes()).await;
        assert!(client.is_closed().await, "{length}");
    }
    put(&mut broker.connect_at(1).await, "t", &["others are served"]).await;
}

/// Whoever says nothing, or half of it, or goes round and round, is cut off in the time of a stall.
#[tokio::test]
async fn nobody_stays_unknown() {
    let broker = start().await;
    let half = encoded(1, 1, ask_for("PLAIN"));
    for (name, bytes) in
        [("silence", vec![]), ("half a frame", half[..9].to_vec()), ("a handshake", half.clone())]
    {
        let mut client = broker.connect().await;
        client.send_bytes(&bytes).await;
        let closed = async { while client.receive_frame().await.is_some() {} };
        timeout(PATIENCE, closed).await.unwrap_or_else(|_| panic!("{name}"));
    }
    let mut client = broker.connect().await;
    let rounds = async {
        loop {
            let sent = client.send_or_fail(2, ApiVersionsRequest::default().into()).await;
            if sent.is_err() || client.receive_frame().await.is_none() {
                return;
            }
        }
    };
    timeout(PATIENCE, rounds).await.expect("asking for versions for ever is no way to stay");
}

/// A thousand strangers that have sent nearly a whole message each leave others unharmed.
#[tokio::test(flavor = "multi_thread")]
async fn many_strangers_cost_little() {
    let broker = start().await;
    let most = {
        let mut bytes = encoded(2, 1, message(MESSAGE_MAX - 100));
        bytes.truncate(bytes.len() - 1);
        bytes
    };
    let mut strangers = Vec::new();
    for _ in 0..1000 {
        let mut client = broker.connect().await;
        client.send_bytes(&most).await;
        strangers.push(client);
    }
    let mut known = broker.connect_at(1).await;
    for _ in 0..10 {
        let served = timeout(PATIENCE, put(&mut known, "t", &["still here"])).await;
        served.expect("others are served");
    }
    for mut stranger in strangers {
        assert!(stranger.is_closed().await);
    }
}

/// Messages of each mechanism, with some bytes changed, as a fuzzer would: none makes anybody
/// known, and others are served.
#[tokio::test]
async fn changed_messages_make_nobody_known() {
    let broker = start().await;
    let messages: [(&str, &[u8]); 4] = [
        ("PLAIN", b"\0alice\0secret"),
        ("SCRAM-SHA-256", b"n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL"),
        ("SCRAM-SHA-512", b"n,a=alice,n=alice,r=fyko"),
        ("SCRAM-SHA-256", b"c=biws,r=x,p=eA=="),
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..200 {
        let (mechanism, bytes) = messages[round % messages.len()];
        let mut bytes = bytes.to_vec();
        for _ in 0..random(3) {
            let at = random(bytes.len());
            bytes[at] = random(256) as u8;
        }
        let mut client = broker.connect().await;
        super::handshake(&mut client, mechanism).await;
        let response = super::authenticate(&mut client, bytes).await;
        let challenged = !response.auth_bytes.is_empty();
        assert!(challenged || response.error_code.is_error(), "{response:?}");
        client.send(9, MetadataRequest::default().into()).await;
        assert!(client.is_closed().await);
    }
    let mut client = broker.connect().await;
    assert!(log_in(&mut client, "alice", "secret").await.error_code.is_error());
    put(&mut broker.connect_at(1).await, "t", &["others are served"]).await;
}

/// Who stops within the handshake of TLS, or says something else, is cut off too.
#[tokio::test]
async fn half_a_handshake_of_tls_ends() {
    let certificates = Certificates::new();
    certificates.certify("server", "/CN=localhost");
    let file = |name: &str| Pem::File(certificates.path(name));
    let tls = TlsConfig::new(file("server.crt"), file("server.key"));
    let broker = TestBroker::with(|_, server| {
        let encrypted = ListenerConfig { tls: Some(tls), ..listener(SecurityProtocol::Ssl) };
        server.listeners = vec![encrypted, ListenerConfig::plaintext("127.0.0.1:0")];
        server.stall_timeout = Duration::from_secs(5);
        server.connections.connections_max = 8;
    })
    .await;
    let beginnings: [&[u8]; 6] = [
        b"",
        &[0x16],
        &[0x16, 0x03, 0x01, 0x00, 0xff, 0x01],
        b"GET / HTTP/1.1\r\n\r\n",
        // SSL 3, and a hello of 16 KB that does not come.
        &[0x16, 0x03, 0x00, 0x00, 0x01, 0x00],
        &[0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x3f, 0xfc],
    ];
    let ends = async |bytes: &[u8]| {
        let mut client = broker.connect().await;
        client.send_bytes(bytes).await;
        let mut rest = Vec::new();
        // An alert perhaps, and the end.
        let closed = timeout(PATIENCE, client.stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{bytes:?}");
    };
    futures::future::join_all(beginnings.map(ends)).await;
    // They count among all connections while they last.
    let strangers = futures::future::join_all((0..8).map(|_| broker.connect())).await;
    let metrics = async || broker.broker.metrics_text().await;
    while !metrics().await.contains("millstream_connections 8\n") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(broker.connect_at(1).await.is_closed().await);
    assert!(metrics().await.contains("millstream_connections_refused_total 1\n"));
    drop(strangers);
}
