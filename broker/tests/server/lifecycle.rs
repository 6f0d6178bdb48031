//! Beginning and ending, and what many clients cost.

use std::time::{Duration, Instant};

use broker::protocol::ErrorCode;
use broker::protocol::messages::k03_metadata::MetadataRequest;
use broker::server::{BindError, ListenerConfig, Server, ServerConfig};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::*;

#[tokio::test]
async fn a_port_in_use_says_what_to_do() {
    let broker = TestBroker::start().await;
    let config = ServerConfig::new(broker.address.to_string());
    let error = Server::bind(broker.broker.clone(), config).await.unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(&broker.address.to_string()), "{message}");
    assert!(message.contains("--listen") && message.contains("port 0"), "{message}");
    let config = ServerConfig::new("no.such.host.invalid:9092");
    let error = Server::bind(broker.broker.clone(), config).await.unwrap_err();
    assert!(error.to_string().contains("no.such.host.invalid:9092"), "{error}");
}

#[tokio::test]
async fn a_shutdown_answers_what_was_begun() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut idle = broker.connect().await;
    put(&mut idle, "t", &["a"]).await;
    let mut polling = broker.connect().await;
    let mut poll = fetch("t", 0, 1);
    poll.max_wait_ms = 60_000;
    polling.send(12, poll.into()).await;
    // Once its second request is answered the server has begun the poll of the other client or
    // has it still to begin; both may happen, and both end.
    put(&mut idle, "t", &["b"]).await;
    broker.shutdown.cancel();
    assert!(idle.is_closed().await);
    let answer = polling.receive_frame().await;
    assert!(answer.is_none() || polling.is_closed().await);
    timeout(PATIENCE, broker.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(broker.address).await.is_err(), "nothing listens any more");
    broker.broker.shutdown().await.unwrap();
}

/// A produce request that the server has read is answered though it shuts down.
#[tokio::test]
async fn a_long_poll_under_way_is_answered_at_shutdown() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    put(&mut client, "t", &["a"]).await;
    // The answer to the first proves that the second, in the same segment, has been read too.
    let mut poll = fetch("t", 0, 1);
    poll.max_wait_ms = 60_000;
    let mut bytes = encoded(9, 1, produce("t", 0, 1, batch(&["b"])).into());
    poll.topics[0].partitions[0].fetch_offset = 2;
    bytes.extend_from_slice(&encoded(12, 2, poll.into()));
    client.send_bytes(&bytes).await;
    client.receive_frame().await.unwrap();
    let begun = Instant::now();
    broker.shutdown.cancel();
    // Read into the server's buffer, it may not have been begun, and then it never is.
    _ = client.receive_frame().await;
    timeout(PATIENCE, broker.server).await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn idle_and_stalled_clients_are_cut_off_and_others_are_not() {
    let broker = TestBroker::with(|_, server| {
        server.idle_timeout = Duration::from_millis(200);
        server.stall_timeout = Duration::from_millis(100);
    })
    .await;
    broker.topic("t", 1).await;
    let mut polling = broker.connect().await;
    let mut poll = fetch("t", 0, 0);
    poll.max_wait_ms = 1000;
    polling.send(12, poll.into()).await;
    let mut idle = broker.connect().await;
    let mut stalled = broker.connect().await;
    stalled.send_bytes(&[0, 0, 0]).await;
    let mut half = broker.connect().await;
    let request = encoded(9, 1, produce("t", 0, 1, batch(&["a"])).into());
    half.send_bytes(&request[..request.len() - 1]).await;
    assert!(idle.is_closed().await);
    assert!(stalled.is_closed().await);
    assert!(half.is_closed().await);
    // A long poll is not idle.
    assert!(polling.receive_frame().await.is_some());
}

#[tokio::test]
async fn connections_are_counted() {
    let broker = TestBroker::with(|_, server| server.connections.connections_max = 2).await;
    broker.topic("t", 1).await;
    let mut first = broker.connect().await;
    let mut second = broker.connect().await;
    put(&mut first, "t", &["a"]).await;
    put(&mut second, "t", &["b"]).await;
    let mut third = broker.connect().await;
    assert!(third.is_closed().await);
    drop(first);
    // The place is free once the server has seen the end.
    let begun = Instant::now();
    loop {
        let mut again = broker.connect().await;
        again.stream.set_nodelay(true).unwrap();
        let probe = timeout(Duration::from_millis(50), again.stream.read_u8()).await;
        if probe.is_err() {
            put(&mut again, "t", &["c"]).await;
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
    }
}

/// Of one address there are so many, of one listener too; what comes too fast waits its turn.
#[tokio::test]
async fn connections_are_counted_by_address_and_listener() {
    let broker = TestBroker::with(|_, server| {
        server.connections.per_address_max = 3;
        server.listeners.push(ListenerConfig {
            connections_max: 1,
            ..ListenerConfig::plaintext("127.0.0.1:0")
        });
    })
    .await;
    broker.topic("t", 1).await;
    let mut first = broker.connect_at(1).await;
    put(&mut first, "t", &["a"]).await;
    assert!(broker.connect_at(1).await.is_closed().await, "the listener is full");
    let mut others = [broker.connect().await, broker.connect().await];
    for other in &mut others {
        put(other, "t", &["b"]).await;
    }
    assert!(broker.connect().await.is_closed().await, "the address has three");
    put(&mut first, "t", &["c"]).await;
    let refused = broker.broker.metrics_text().await;
    assert!(refused.contains("millstream_connections_refused_total 2\n"), "{refused}");
}

#[tokio::test]
async fn connections_that_come_too_fast_wait() {
    // Ten at once, as windows of ten seconds have room for, and then one by the second.
    let broker = TestBroker::with(|_, server| server.connections.rate_max = 1.0).await;
    let begun = Instant::now();
    for _ in 0..10 {
        let mut client = broker.connect().await;
        ask!(client, Metadata v 9, MetadataRequest::default());
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(broker.connect().await);
    }
    for client in &mut clients {
        ask!(client, Metadata v 9, MetadataRequest::default());
    }
    // The eleventh is served, and makes those behind it wait.
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// A client that asks for much and reads nothing costs its own connection.
#[tokio::test]
async fn unread_responses_cost_nobody_else() {
    let broker = TestBroker::with(|_, server| {
        server.stall_timeout = Duration::from_millis(300);
        server.response_memory_bytes = 4 << 20;
    })
    .await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let value = "x".repeat(900_000);
    for _ in 0..4 {
        put(&mut client, "t", &[&value]).await;
    }
    let mut greedy = Vec::new();
    for _ in 0..8 {
        let mut reader = broker.connect().await;
        for _ in 0..20 {
            let mut request = fetch("t", 0, 0);
            request.topics[0].partitions[0].partition_max_bytes = 4 << 20;
            reader.send(12, request.into()).await;
        }
        greedy.push(reader);
    }
    let begun = Instant::now();
    for _ in 0..3 {
        let data = fetched(ask!(client, Fetch v 12, fetch("t", 0, 0)));
        assert_eq!(values(&data), std::slice::from_ref(&value));
    }
    assert!(begun.elapsed() < PATIENCE);
}

/// A member waits for its group for minutes; a shutdown must not wait with it.
#[tokio::test]
async fn a_member_that_waits_for_its_group_is_let_go_at_shutdown() {
    use broker::protocol::messages::{k11_join_group::*, k14_sync_group::*};
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let join = JoinGroupRequest {
        group_id: "g".to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: vec![JoinGroupRequestProtocol {
            name: "range".to_owned(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let leader = ask!(client, JoinGroup v 3, join.clone());
    let mut waiting = broker.connect().await;
    waiting.send(3, join.into()).await;
    let sync = SyncGroupRequest {
        group_id: "g".to_owned(),
        generation_id: leader.generation_id,
        member_id: leader.member_id.clone(),
        ..Default::default()
    };
    // Refused once the other's join has arrived and begun a rebalance.
    loop {
        let synced = ask!(client, SyncGroup v 2, sync.clone());
        if synced.error_code == ErrorCode::REBALANCE_IN_PROGRESS {
            break;
        }
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    broker.shutdown.cancel();
    assert!(waiting.receive_frame().await.is_some());
    assert!(waiting.is_closed().await);
    timeout(PATIENCE, broker.server).await.unwrap().unwrap();
    assert!(begun.elapsed() < ServerConfig::new("").shutdown_grace, "it was cut off");
}
