//! Many hostile clients at once: what they cost is bounded, and others are served meanwhile.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::*;

/// A served client's request takes no longer than this, whatever the others do.
const SERVED_WITHIN: Duration = Duration::from_secs(5);

async fn is_served(client: &mut Connection) {
    let served = timeout(SERVED_WITHIN, put(client, "t", &["still here"])).await;
    served.expect("a client is served, whatever the others do");
}

/// The value of a counter or gauge.
async fn metric(broker: &TestBroker, name: &str) -> u64 {
    let text = broker.broker.metrics_text().await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

/// Waits until only `left` connections are open.
async fn until_left(broker: &TestBroker, left: u64) {
    let begun = Instant::now();
    while metric(broker, "millstream_connections").await > left {
        assert!(begun.elapsed() < PATIENCE, "they are not cut off");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether the other side closes, whatever it has still to say.
async fn ends(mut stream: TcpStream) {
    let mut bytes = vec![0; 64 * 1024];
    let read = async { while matches!(stream.read(&mut bytes).await, Ok(1..)) {} };
    timeout(PATIENCE, read).await.expect("the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_is_refused_and_those_within_are_served() {
    const FLOOD: usize = 3_000;
    let broker = TestBroker::with(|_, server| server.connections.connections_max = 20).await;
    broker.topic("t", 1).await;
    let mut served = broker.connect().await;
    is_served(&mut served).await;
    // Those that have a place keep it; all beyond them are closed.
    let mut holders = Vec::new();
    for _ in 0..19 {
        let mut holder = broker.connect().await;
        is_served(&mut holder).await;
        holders.push(holder);
    }
    for round in 0..FLOOD / 100 {
        let connect = |_| TcpStream::connect(broker.address);
        let flood = futures::future::join_all((0..100).map(connect)).await;
        if round % 5 == 0 {
            is_served(&mut served).await;
        }
        for stream in flood {
            ends(stream.expect("the system accepts it")).await;
        }
    }
    assert_eq!(metric(&broker, "millstream_connections_refused_total").await, FLOOD as u64);
    assert_eq!(metric(&broker, "millstream_connections").await, 20);
    for holder in &mut holders {
        is_served(holder).await;
    }
    // There is room again once they have gone.
    drop(holders);
    until_left(&broker, 1).await;
    is_served(&mut broker.connect().await).await;
}

/// Slow lorises: a byte now and then, each within another part of a request.
#[tokio::test(flavor = "multi_thread")]
async fn many_that_send_a_byte_now_and_then_are_cut_off() {
    const LORISES: usize = 300;
    let stall_timeout = Duration::from_millis(1_500);
    let broker = TestBroker::with(|_, server| server.stall_timeout = stall_timeout).await;
    broker.topic("t", 1).await;
    let mut served = broker.connect().await;
    is_served(&mut served).await;
    let large = "x".repeat(200_000);
    let request = encoded(9, 1, produce("t", 0, 1, batch(&[&large])).into());
    let begun = Instant::now();
    let lorises: Vec<_> = (0..LORISES)
        .map(|number| {
            let (request, address) = (request.clone(), broker.address);
            // In the size, the header, the body's beginning, far into the body.
            let sent = [1, 6, 60, 150_000][number % 4];
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(&request[..sent]).await.unwrap();
                for byte in &request[sent..] {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    if stream.write_all(&[*byte]).await.is_err() {
                        return begun.elapsed();
                    }
                }
                panic!("it was never cut off");
            })
        })
        .collect();
    while begun.elapsed() < stall_timeout / 2 {
        is_served(&mut served).await;
    }
    assert!(metric(&broker, "millstream_connections").await > 1, "they are at it");
    until_left(&broker, 1).await;
    assert!(begun.elapsed() < 4 * stall_timeout, "{:?}", begun.elapsed());
    for loris in lorises {
        let lasted = timeout(PATIENCE, loris).await.unwrap().unwrap();
        assert!(lasted >= stall_timeout / 2, "{lasted:?}");
    }
    assert_eq!(metric(&broker, "millstream_connections_cut_off_total").await, LORISES as u64);
    is_served(&mut served).await;
}

/// The opposite of a loris: it takes long, yet always goes on.
#[tokio::test]
async fn a_client_that_goes_on_may_take_its_time() {
    let stall_timeout = Duration::from_millis(300);
    let broker = TestBroker::with(|_, server| server.stall_timeout = stall_timeout).await;
    broker.broker.create_topic(large_batches("t")).await.unwrap();
    let value = "x".repeat(900_000);
    let request = encoded(9, 1, produce("t", 0, 1, batch(&[&*value; 4])).into());
    let mut client = broker.connect().await;
    let begun = Instant::now();
    for part in request.chunks(200_000) {
        client.send_bytes(part).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert!(begun.elapsed() > 3 * stall_timeout, "it takes longer than a stall");
    assert!(client.receive_frame().await.is_some());
}

fn large_batches(name: &str) -> broker::client::NewTopic {
    let mut topic = broker::client::NewTopic::new(name, 1);
    topic.configs.insert("max.message.bytes".to_owned(), (100 << 20).to_string());
    topic
}

/// Whoever has sent most of a large frame, and then stops, holds much memory, but not for long.
#[tokio::test(flavor = "multi_thread")]
async fn large_frames_that_stop_in_the_middle_give_their_memory_back() {
    let broker = TestBroker::with(|_, server| {
        server.stall_timeout = Duration::from_millis(500);
        server.request_memory_bytes = 8 << 20;
    })
    .await;
    broker.topic("t", 1).await;
    let large = vec![b'x'; 3 << 20];
    let mut claim = (100i32 << 20).to_be_bytes().to_vec();
    claim.extend_from_slice(&[0, 0, 0, 9]);
    let mut stopped = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(broker.address).await.unwrap();
        let claim = claim.clone();
        let large = large.clone();
        stopped.push(tokio::spawn(async move {
            stream.write_all(&claim).await.unwrap();
            // Not all of it is taken: there is not so much memory.
            _ = stream.write_all(&large).await;
            ends(stream).await;
        }));
    }
    // One that needs memory itself gets it in the end, in spite of them.
    let value = "x".repeat(900_000);
    let mut client = broker.connect().await;
    for _ in 0..3 {
        let sent = timeout(PATIENCE, put(&mut client, "t", &[&value])).await;
        sent.expect("there is memory for it");
    }
    for stopped in stopped {
        timeout(PATIENCE, stopped).await.unwrap().unwrap();
    }
}

/// Many clients ask for much and read nothing; they are cut off, and others fetch meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn many_that_never_read_are_cut_off_while_others_fetch() {
    const DEAF: usize = 100;
    let broker = TestBroker::with(|_, server| {
        server.stall_timeout = Duration::from_millis(500);
        server.response_memory_bytes = 8 << 20;
    })
    .await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let value = "x".repeat(900_000);
    for _ in 0..4 {
        put(&mut client, "t", &[&value]).await;
    }
    let mut request = fetch("t", 0, 0);
    request.topics[0].partitions[0].partition_max_bytes = 4 << 20;
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        let mut reader = broker.connect().await;
        // More than the buffers of both systems take.
        for _ in 0..20 {
            reader.send(12, request.clone().into()).await;
        }
        deaf.push(reader);
    }
    for _ in 0..5 {
        let fetching = async { fetched(ask!(client, Fetch v 12, fetch("t", 0, 0))) };
        let data = timeout(PATIENCE, fetching).await.expect("others fetch");
        assert_eq!(values(&data), std::slice::from_ref(&value));
    }
    until_left(&broker, 1).await;
    assert_eq!(metric(&broker, "millstream_connections_cut_off_total").await, DEAF as u64);
    drop(deaf);
}
