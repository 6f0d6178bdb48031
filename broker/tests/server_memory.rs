//! What claims and half frames cost in memory. Alone in its binary, since it counts what the
//! whole process allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use broker::broker::{Broker, BrokerConfig};
use broker::protocol::messages::k18_api_versions::ApiVersionsRequest;
use broker::protocol::{ApiKey, RequestHeader, encode_request};
use broker::security::SecurityProtocol;
use broker::security::sasl::Mechanism;
use broker::server::{ListenerConfig, Server, ServerConfig};
use bytes::Buf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CLIENTS: usize = 200;

/// The tests here look at what the whole process holds, so one runs after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

async fn is_served(address: std::net::SocketAddr) {
    let request = ApiVersionsRequest::default().into();
    let api = ApiKey::ApiVersions;
    let header = RequestHeader { api, version: 0, correlation_id: 7, client_id: None };
    let mut frame = encode_request(&header, &request).unwrap();
    let bytes = frame.copy_to_bytes(frame.remaining());
    let ask = async {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&bytes).await.unwrap();
        let length = client.read_u32().await.unwrap();
        assert_eq!(client.read_i32().await.unwrap(), 7);
        assert!(length > 8);
    };
    timeout(Duration::from_secs(20), ask).await.expect("others are served");
}

/// Clients that claim a request of 100 MB and send next to nothing of it.
#[tokio::test]
async fn claims_cost_what_was_sent_and_not_what_was_claimed() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    let server = Server::bind(broker, ServerConfig::new("127.0.0.1:0")).await.unwrap();
    let address = server.local_addr();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    is_served(address).await;

    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut claim = (100i32 << 20).to_be_bytes().to_vec();
    claim.extend_from_slice(&[0, 0, 0, 9]);
    claim.resize(1000, 0);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(&claim).await.unwrap();
        clients.push(client);
    }
    is_served(address).await;
    let each = (PEAK.load(Relaxed) - before) / CLIENTS;
    assert!(each < 64 * 1024, "{each} bytes for each claim of 100 MB");

    // One that does send, for as long as it may: no more than twice what has arrived.
    let chunk = vec![0; 1 << 20];
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    let before = LIVE.load(Relaxed);
    for _ in 0..20 {
        clients[0].write_all(&chunk).await.unwrap();
    }
    is_served(address).await;
    let grown = PEAK.load(Relaxed) - before;
    assert!(grown < 64 << 20, "{grown} bytes for 20 MB");

    // All is given back when they are gone.
    drop(clients);
    shutdown.cancel();
    serving.await.unwrap();
    let after = LIVE.load(Relaxed);
    assert!(after < before + (2 << 20), "{after} bytes are left of {before}");
}

/// Clients of a listener with SASL that have not said who they are: whatever they send, and
/// however much they claim, each costs a connection and one small frame.
#[tokio::test]
async fn strangers_cost_one_small_frame_each() {
    const FRAME_MAX: usize = 16 * 1024;
    /// Tasks and buffers of a connection.
    const CONNECTION: usize = 24 * 1024;
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    let mut config = ServerConfig::new("127.0.0.1:0");
    config.listeners.push(ListenerConfig {
        protocol: SecurityProtocol::SaslPlaintext,
        mechanisms: vec![Mechanism::Plain],
        ..ListenerConfig::plaintext("127.0.0.1:0")
    });
    config.sasl.receive_bytes_max = FRAME_MAX;
    let server = Server::bind(broker, config).await.unwrap();
    let addresses: Vec<_> = server.local_addrs().into_iter().map(|(_, address)| address).collect();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    is_served(addresses[1]).await;

    let head = |length: usize, api: u8| {
        let mut bytes = (length as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, api, 0, 1, 0, 0, 0, 0, 0xff, 0xff]);
        bytes
    };
    // All but the last byte of the largest message; a message that claims 2 GB within such a
    // frame; a Produce, a Fetch and CreateTopics of 100 MB.
    let mut whole = head(FRAME_MAX, 36);
    whole.extend_from_slice(&(FRAME_MAX as u32 - 14).to_be_bytes());
    whole.resize(4 + FRAME_MAX - 1, b'x');
    let mut lying = head(FRAME_MAX, 36);
    lying.extend_from_slice(&i32::MAX.to_be_bytes());
    lying.resize(4 + FRAME_MAX, b'x');
    let mut claims = vec![whole, lying];
    for api in [0, 1, 19] {
        let mut claim = head(100 << 20, api);
        claim.resize(64 * 1024, 0);
        claims.push(claim);
    }
    for claim in claims {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(addresses[1]).await.unwrap();
            // It may be closed in the middle of it.
            _ = client.write_all(&claim).await;
            clients.push(client);
        }
        is_served(addresses[0]).await;
        let each = (PEAK.load(Relaxed) - before) / CLIENTS;
        assert!(each < FRAME_MAX + CONNECTION, "{each} bytes for each stranger");
        drop(clients);
    }
    shutdown.cancel();
    serving.await.unwrap();
}

/// Clients that claim 100 MB each and send as fast as they can: 3 GB together.
#[tokio::test(flavor = "multi_thread")]
async fn large_frames_together_take_no_more_than_their_budget() {
    const BUDGET: usize = 32 << 20;
    // One at a time may go beyond the budget, and while its buffer grows it is there twice.
    const BEYOND: usize = 2 * (100 << 20);
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    let mut config = ServerConfig::new("127.0.0.1:0");
    config.request_memory_bytes = BUDGET;
    let server = Server::bind(broker, config).await.unwrap();
    let address = server.local_addr();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(server.run(shutdown.clone()));
    is_served(address).await;

    let chunk: &'static [u8] = vec![0; 1 << 20].leak();
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let (frames, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..30)
        .map(|_| {
            let (frames, sent) = (frames.clone(), sent.clone());
            tokio::spawn(async move {
                let mut client = TcpStream::connect(address).await.unwrap();
                let mut head = (100i32 << 20).to_be_bytes().to_vec();
                head.extend_from_slice(&[0, 0, 0, 9]);
                client.write_all(&head).await.unwrap();
                for _ in 0..100 {
                    // The last of it makes a request that is none, and ends the connection.
                    if client.write_all(chunk).await.is_err() {
                        break;
                    }
                    sent.fetch_add(chunk.len(), Relaxed);
                }
                frames.fetch_add(1, Relaxed);
            })
        })
        .collect();
    // Served all along, until much more was sent than may be held.
    let enough = async {
        while frames.load(Relaxed) < 3 || sent.load(Relaxed) < 4 * BUDGET {
            is_served(address).await;
        }
    };
    timeout(Duration::from_secs(60), enough).await.expect("large frames come to their ends");
    let grown = PEAK.load(Relaxed) - before;
    assert!(grown < BUDGET + BEYOND + (16 << 20), "{grown} bytes");
    senders.iter().for_each(|sender| sender.abort());
    shutdown.cancel();
    serving.await.unwrap();
}
