//! Bytes that are no requests: they close their own connection and nothing else.

use broker::protocol::ApiKey;
use broker::protocol::messages::k01_fetch::FetchRequest;
use broker::protocol::messages::k03_metadata::MetadataRequest;

use crate::harness::*;

fn head(length: i32, api: i16, version: i16) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(&api.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes
}

/// Decided by the first eight bytes: the server does not wait for the rest.
#[tokio::test]
async fn a_wrong_head_closes_at_once() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut other = broker.connect().await;
    put(&mut other, "t", &["a"]).await;
    let cases = [
        ("negative length", head(-1, 3, 9)),
        ("no room for a header", head(7, 3, 9)),
        ("zero", head(0, 3, 9)),
        ("2 GB", head(i32::MAX, 0, 9)),
        ("more than Produce may have", head((100 << 20) + 1, 0, 9)),
        ("more than others may have", head((16 << 20) + 1, 3, 9)),
        ("no such api", head(100, 999, 0)),
        ("negative api", head(100, -1, 0)),
        ("an api that is not served", head(100, ApiKey::ALL.len() as i16 + 100, 0)),
        ("a version that is not served", head(100, 1, 99)),
        ("a version that was", head(100, 0, 2)),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("tls", vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01]),
    ];
    for (name, bytes) in cases {
        let mut client = broker.connect().await;
        client.send_bytes(&bytes).await;
        assert!(client.is_closed().await, "{name}");
        put(&mut other, "t", &[name]).await;
    }
}

#[tokio::test]
async fn garbage_in_a_good_frame_closes() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut other = broker.connect().await;
    // A fetch of v12 whose topics are said to be 2^31.
    let request = encoded(11, 1, FetchRequest::default().into());
    let mut huge = request.clone();
    let topics = request.len() - 4 - 2 - 4;
    huge[topics..topics + 4].copy_from_slice(&i32::MAX.to_be_bytes());
    let mut short = encoded(9, 1, produce("t", 0, 1, batch(&["a"])).into());
    short.truncate(short.len() - 5);
    let length = (short.len() as u32 - 4).to_be_bytes();
    short[..4].copy_from_slice(&length);
    let noise = |seed: u32| {
        let mut state = seed;
        let mut body = head(0, 3, 9)[4..].to_vec();
        body.extend((0..500).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            0x80 | (state >> 24) as u8
        }));
        framed(&body)
    };
    for (name, bytes) in
        [("huge count", huge), ("cut short", short), ("noise", noise(1)), ("other noise", noise(2))]
    {
        let mut client = broker.connect().await;
        // What was sent before it is still answered in order, or lost with the connection.
        client.send_bytes(&bytes).await;
        assert!(client.is_closed().await, "{name}");
        put(&mut other, "t", &[name]).await;
    }
}

/// Every prefix of a request, then the end of the connection.
#[tokio::test]
async fn half_frames_leave_nothing_behind() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let request = encoded(9, 1, produce("t", 0, 1, batch(&["a"])).into());
    for len in 0..request.len() {
        let mut client = broker.connect().await;
        client.send_bytes(&request[..len]).await;
    }
    let mut client = broker.connect().await;
    // The same byte by byte, which is slow but a request.
    for byte in &request {
        client.send_bytes(&[*byte]).await;
    }
    assert!(client.receive_frame().await.is_some());
    assert_eq!(put(&mut client, "t", &["b"]).await, 1);
}

/// Requests with some bytes changed, as a fuzzer would: whatever comes of them, others are served.
#[tokio::test]
async fn changed_requests_harm_nobody() {
    use broker::protocol::messages::{
        k02_list_offsets::ListOffsetsRequest, k08_offset_commit::OffsetCommitRequest,
        k09_offset_fetch::OffsetFetchRequest, k11_join_group::JoinGroupRequest,
        k22_init_producer_id::InitProducerIdRequest,
    };
    let broker = TestBroker::with(|broker, _| broker.auto_create_topics = false).await;
    broker.topic("t", 1).await;
    let requests = [
        encoded(9, 1, produce("t", 0, -1, batch(&["a", "b"])).into()),
        encoded(12, 1, fetch("t", 0, 0).into()),
        encoded(9, 1, MetadataRequest::default().into()),
        encoded(7, 1, ListOffsetsRequest::default().into()),
        encoded(8, 1, OffsetCommitRequest::default().into()),
        encoded(9, 1, OffsetFetchRequest::default().into()),
        encoded(9, 1, JoinGroupRequest::default().into()),
        encoded(4, 1, InitProducerIdRequest::default().into()),
    ];
    let mut other = broker.connect().await;
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for round in 0..400 {
        let mut bytes = requests[round % requests.len()].clone();
        for _ in 0..=random(3) {
            // Behind the length, or else it would mostly be a wait for more.
            let at = 4 + random(bytes.len() - 4);
            bytes[at] = random(256) as u8;
        }
        let mut client = broker.connect().await;
        client.send_bytes(&bytes).await;
        if round % 50 == 0 {
            put(&mut other, "t", &["still here"]).await;
        }
    }
    put(&mut other, "t", &["at the end"]).await;
}
