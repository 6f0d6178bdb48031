//! Quotas, by clients that do more than they may.

use std::time::{Duration, Instant};

use broker::protocol::ErrorCode;
use broker::protocol::messages::k03_metadata::MetadataRequest;
use broker::protocol::messages::k19_create_topics::*;
use broker::protocol::messages::k48_describe_client_quotas::*;
use broker::protocol::messages::k49_alter_client_quotas::*;
use broker::server::Windows;
use tokio::time::timeout;

use crate::harness::*;

/// Sets or takes away a quota: `("client-id", None)` is that of all other clients.
async fn alter(
    broker: &TestBroker,
    entity: &[(&str, Option<&str>)],
    quota: &str,
    value: Option<f64>,
) {
    let mut client = broker.connect().await;
    let parts = entity.iter().map(|(kind, name)| AlterClientQuotasEntity {
        entity_type: (*kind).to_owned(),
        entity_name: name.map(str::to_owned),
    });
    let op = AlterClientQuotasOp {
        key: quota.to_owned(),
        value: value.unwrap_or(0.0),
        remove: value.is_none(),
    };
    let entry = AlterClientQuotasEntry { entity: parts.collect(), ops: vec![op] };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    let response = ask!(client, AlterClientQuotas v 1, request);
    assert_eq!(response.entries[0].error_code, ErrorCode::NONE, "{response:?}");
}

async fn described(broker: &TestBroker) -> Vec<(String, Option<String>, String, f64)> {
    let mut client = broker.connect().await;
    let response = ask!(client, DescribeClientQuotas v 1, DescribeClientQuotasRequest::default());
    let each = response.entries.unwrap().into_iter().map(|entry| {
        let DescribeClientQuotasEntity { entity_type, entity_name } = entry.entity[0].clone();
        (entity_type, entity_name, entry.values[0].key.clone(), entry.values[0].value)
    });
    each.collect()
}

async fn metadata(client: &mut Connection) -> i32 {
    ask!(client, Metadata v 9, MetadataRequest::default()).throttle_time_ms
}

/// Windows of ten seconds take ten times the rate at once; what is beyond that has to wait, as long
/// as it would have taken at the rate.
#[tokio::test]
async fn writers_wait_as_long_as_they_are_told() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    let mut client = broker.connect().await;
    let text = "x".repeat(10_000);
    let write = async |client: &mut Connection| {
        let request = produce("t", 0, -1, batch(&[&text]));
        ask!(client, Produce v 9, request).throttle_time_ms
    };
    for _ in 0..20 {
        assert_eq!(write(&mut client).await, 0, "there is no quota");
    }
    alter(&broker, &[("client-id", Some("test"))], "producer_byte_rate", Some(10_000.0)).await;
    let large = "x".repeat(500_000);
    let request = produce("t", 0, -1, batch(&[&large]));
    let throttled = ask!(client, Produce v 9, request).throttle_time_ms;
    assert!((40_000..=41_000).contains(&throttled), "{throttled}");
    // Until then it is not listened to, whatever it asks for; others of the same name are.
    client.send(9, MetadataRequest::default().into()).await;
    assert_eq!(metadata(&mut broker.connect().await).await, 0);
    let answered = timeout(Duration::from_millis(300), client.receive_frame()).await;
    assert!(answered.is_err(), "{answered:?}");
    let text = broker.broker.metrics_text().await;
    assert!(!text.contains("millstream_throttled_total 0\n"), "{text}");

    alter(&broker, &[("client-id", Some("test"))], "producer_byte_rate", None).await;
    assert_eq!(write(&mut broker.connect().await).await, 0);
}

/// A client that does not wait for answers, nor asks for any, is not listened to either.
#[tokio::test]
async fn writers_that_want_no_answer_wait_too() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    // Of all clients of the user that everybody is here.
    alter(&broker, &[("user", Some("ANONYMOUS"))], "producer_byte_rate", Some(10_000.0)).await;
    let mut client = broker.connect().await;
    let begun = Instant::now();
    let text = "x".repeat(110_000);
    client.send(9, produce("t", 0, 0, batch(&[&text])).into()).await;
    metadata(&mut client).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn readers_are_sent_nothing_until_they_may_have_it() {
    let broker = TestBroker::with(|_, server| {
        server.quotas.windows = Windows { number: 3, size_ms: 300 };
    })
    .await;
    broker.topic("t", 1).await;
    let mut writer = broker.connect().await;
    let text = "x".repeat(50_000);
    for _ in 0..4 {
        put(&mut writer, "t", &[&text]).await;
    }
    alter(&broker, &[("client-id", None)], "consumer_byte_rate", Some(100_000.0)).await;
    let mut client = broker.connect().await;
    let begun = Instant::now();
    let (mut offset, mut throttled, mut empty) = (0, 0, 0);
    while offset < 4 {
        let response = ask!(client, Fetch v 12, fetch("t", 0, offset));
        throttled += response.throttle_time_ms;
        if response.responses.is_empty() {
            assert!(response.throttle_time_ms > 0, "{response:?}");
            empty += 1;
            continue;
        }
        // No more at a time than the windows have room for.
        let values = values(&fetched(response)).len();
        assert_eq!(values, 1);
        offset += 1;
    }
    assert!(empty > 0 && throttled >= 500, "{empty} {throttled}");
    // What it was told last it has not waited for yet; 200 KB take two seconds, less what has room
    // at once.
    assert!(begun.elapsed() >= Duration::from_millis(1_000), "{:?}", begun.elapsed());
}

/// A batch that is larger than all windows together arrives, and is paid for afterwards.
#[tokio::test]
async fn a_large_batch_gets_through() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    put(&mut broker.connect().await, "t", &[&"x".repeat(50_000)]).await;
    alter(&broker, &[("client-id", Some("test"))], "consumer_byte_rate", Some(1_000.0)).await;
    let response = ask!(broker.connect().await, Fetch v 12, fetch("t", 0, 0));
    assert!(response.throttle_time_ms > 30_000, "{response:?}");
    assert_eq!(values(&fetched(response)).len(), 1);
}

#[tokio::test]
async fn requests_that_keep_threads_busy_wait() {
    let broker = TestBroker::start().await;
    broker.topic("t", 1).await;
    // A hundred-thousandth of a thread.
    alter(&broker, &[("client-id", Some("test"))], "request_percentage", Some(0.001)).await;
    let mut client = broker.connect().await;
    let mut told = 0;
    while told == 0 {
        told = metadata(&mut client).await;
    }
    assert!(told <= 1_000, "no longer than a window, as at Kafka: {told}");
}

/// Newer clients are told that it is too much, older ones wait (KIP-599).
#[tokio::test]
async fn changes_of_topics_are_paid_from_a_bucket() {
    let broker = TestBroker::start().await;
    alter(&broker, &[("client-id", Some("test"))], "controller_mutation_rate", Some(1.0)).await;
    let mut client = broker.connect().await;
    let request = |topics: &[(&str, i32)]| {
        let topic = |(name, num_partitions): &(&str, i32)| CreatableTopic {
            name: (*name).to_owned(),
            num_partitions: *num_partitions,
            replication_factor: 1,
            ..Default::default()
        };
        CreateTopicsRequest { topics: topics.iter().map(topic).collect(), ..Default::default() }
    };
    // Eleven are in it. A topic may overdraw it once.
    let created = ask!(client, CreateTopics v 7, request(&[("a", 10), ("b", 50)]));
    assert!(created.topics.iter().all(|topic| !topic.error_code.is_error()), "{created:?}");
    let refused = ask!(client, CreateTopics v 7, request(&[("c", 1)]));
    assert_eq!(refused.topics[0].error_code, ErrorCode::THROTTLING_QUOTA_EXCEEDED);
    // What comes in while topics are made counts.
    assert!((20_000..=49_000).contains(&refused.throttle_time_ms), "{refused:?}");
    assert!(broker.broker.topic("c").is_none());
    let old = ask!(broker.connect().await, CreateTopics v 5, request(&[("c", 1)]));
    assert_eq!(old.topics[0].error_code, ErrorCode::NONE);
    assert!((20_000..=50_000).contains(&old.throttle_time_ms), "{old:?}");
}

/// A connection too many of an address is closed (KIP-612).
#[tokio::test]
async fn addresses_that_come_too_often_are_sent_away() {
    let broker = TestBroker::start().await;
    alter(&broker, &[("ip", Some("127.0.0.1"))], "connection_creation_rate", Some(1.0)).await;
    let mut served = Vec::new();
    for _ in 0..10 {
        let mut client = broker.connect().await;
        metadata(&mut client).await;
        served.push(client);
    }
    assert!(broker.connect().await.is_closed().await);
    for client in &mut served {
        metadata(client).await;
    }
}

#[tokio::test]
async fn quotas_outlive_a_restart() {
    let broker = TestBroker::start().await;
    alter(&broker, &[("user", Some("alice"))], "producer_byte_rate", Some(1024.0)).await;
    alter(&broker, &[("user", None)], "consumer_byte_rate", Some(2048.0)).await;
    alter(&broker, &[("user", Some("bob"))], "request_percentage", Some(0.5)).await;
    alter(&broker, &[("user", Some("bob"))], "request_percentage", None).await;
    let broker = broker.restarted().await;
    let mut quotas = described(&broker).await;
    quotas.sort_by(|one, other| one.3.total_cmp(&other.3));
    let user = |name: Option<&str>, quota: &str, value| {
        ("user".to_owned(), name.map(str::to_owned), quota.to_owned(), value)
    };
    let expected = [
        user(Some("alice"), "producer_byte_rate", 1024.0),
        user(None, "consumer_byte_rate", 2048.0),
    ];
    assert_eq!(quotas, expected);
}
