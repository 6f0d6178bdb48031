//! The broker's own settings, changed while it runs.

use std::path::Path;

use broker::client::NewTopic;
use broker::protocol::ErrorCode;
use broker::protocol::messages::{k33_alter_configs as k33, k44_incremental_alter_configs as k44};

use crate::harness::{Connection, TestBroker, ask, batch, describe_configs, produce, produced};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

async fn start(dir: &Path) -> TestBroker {
    TestBroker::with(|broker, _| {
        broker.data_dir = dir.to_owned();
        broker.topic_defaults.insert("retention.ms".to_owned(), "4000".to_owned());
    })
    .await
}

async fn stop(broker: TestBroker) {
    broker.shutdown.cancel();
    broker.server.await.unwrap();
    broker.broker.shutdown().await.unwrap();
}

/// Changes settings of `node`, or without a name of all; gives the code and what was said.
async fn alter(
    client: &mut Connection,
    node: &str,
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> (ErrorCode, String) {
    let config = |(name, config_operation, value): &(&str, i8, Option<&str>)| {
        let (name, value) = ((*name).to_owned(), value.map(str::to_owned));
        k44::AlterableConfig { name, config_operation: *config_operation, value }
    };
    let resource = k44::AlterConfigsResource {
        resource_type: BROKER,
        resource_name: node.to_owned(),
        configs: changes.iter().map(config).collect(),
    };
    let request = k44::IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let mut response = ask!(client, IncrementalAlterConfigs v 1, request);
    let one = response.responses.remove(0);
    (one.error_code, one.error_message.unwrap_or_default())
}

async fn set(client: &mut Connection, node: &str, name: &str, value: &str) {
    let (code, said) = alter(client, node, &[(name, SET, Some(value))], false).await;
    assert_eq!((code, said.as_str()), (ErrorCode::NONE, ""));
}

/// A setting as it is described: value, source, whether it is fixed, and synonyms.
async fn describe(
    client: &mut Connection,
    resource_type: i8,
    resource: &str,
    name: &str,
) -> Option<(String, i8, bool, Vec<(String, String, i8)>)> {
    let request = describe_configs(resource_type, resource, Some(name));
    let mut response = ask!(client, DescribeConfigs v 4, request);
    let one = response.results.remove(0).configs.pop()?;
    let synonyms = one.synonyms.into_iter().map(|one| (one.name, one.value.unwrap(), one.source));
    Some((one.value.unwrap(), one.config_source, one.read_only, synonyms.collect()))
}

fn synonyms(of: &[(&str, &str, i8)]) -> Vec<(String, String, i8)> {
    of.iter().map(|(name, value, source)| ((*name).into(), (*value).into(), *source)).collect()
}

#[tokio::test]
async fn settings_of_all_brokers_and_of_one_hold_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.topic("t", 1).await;
    let own = NewTopic::new("own", 1).with_config("retention.ms", 5);
    broker.broker.create_topic(own).await.unwrap();
    let node = broker.broker.node_id().to_string();
    let mut client = broker.connect().await;
    let name = "log.retention.ms";
    assert_eq!(describe(&mut client, BROKER, "", name).await, None);
    set(&mut client, "", name, "3000").await;
    let given = ("log.retention.ms", "4000", 4);
    let of_cluster = ("log.retention.ms", "3000", 3);
    let found = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
    assert_eq!((found.0.as_str(), found.1), ("3000", 3));
    assert_eq!(found.3[..2], synonyms(&[of_cluster, given]));
    set(&mut client, &node, name, "2000").await;
    set(&mut client, "", "message.max.bytes", "100").await;
    set(&mut client, "", "min.insync.replicas", "2").await;
    set(&mut client, "", "log.segment.bytes", "2097152").await;
    set(&mut client, "", "log.cleaner.io.max.bytes.per.second", "1e6").await;
    set(&mut client, &node, "producer.id.expiration.ms", "5000").await;
    stop_and_check(client, broker, dir.path(), &node).await;
}

/// Checks what the test above has set, before and after a restart, then takes some of it back.
async fn stop_and_check(mut client: Connection, broker: TestBroker, dir: &Path, node: &str) {
    let all = [
        ("log.retention.ms", "2000", 2),
        ("log.retention.ms", "3000", 3),
        ("log.retention.ms", "4000", 4),
    ];
    let mut broker = Some(broker);
    for restarted in [false, true] {
        if restarted {
            stop(broker.take().unwrap()).await;
            broker = Some(start(dir).await);
            client = broker.as_ref().unwrap().connect().await;
        }
        let found = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
        assert_eq!((found.0.as_str(), found.1, found.2), ("2000", 2, false));
        assert_eq!(found.3[..3], synonyms(&all));
        let found = describe(&mut client, TOPIC, "own", "retention.ms").await.unwrap();
        assert_eq!((found.0.as_str(), found.1), ("5", 1));
        assert_eq!(found.3[..2], synonyms(&[("retention.ms", "5", 1), all[0]]));
        let found = describe(&mut client, BROKER, node, "log.retention.ms").await.unwrap();
        assert_eq!((found.0.as_str(), found.1, found.2), ("2000", 2, false));
        assert_eq!(found.3[..3], synonyms(&all));
        let found = describe(&mut client, BROKER, "", "log.retention.ms").await.unwrap();
        assert_eq!(found, ("3000".into(), 3, false, synonyms(&all[1..2])));
        let name = "log.cleaner.io.max.bytes.per.second";
        let found = describe(&mut client, BROKER, node, name).await.unwrap();
        let default = (name, "1.7976931348623157E308", 5);
        assert_eq!(found, ("1e6".into(), 3, false, synonyms(&[(name, "1e6", 3), default])));
        let found = describe(&mut client, BROKER, node, "producer.id.expiration.ms").await;
        assert_eq!(found.unwrap().1, 2);
        let found = describe(&mut client, BROKER, node, "num.partitions").await.unwrap();
        assert!(found.2, "fixed");
        // Not only described, but so.
        let large = produce("t", 0, -1, batch(&[&"x".repeat(100)]));
        let refused = produced(ask!(client, Produce v 9, large));
        assert_eq!(refused.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    }
    let back = [("message.max.bytes", DELETE, None), ("log.retention.ms", DELETE, None)];
    assert_eq!(alter(&mut client, "", &back, false).await.0, ErrorCode::NONE);
    let large = produce("t", 0, -1, batch(&[&"x".repeat(100)]));
    assert_eq!(produced(ask!(client, Produce v 9, large)).error_code, ErrorCode::NONE);
    // The older request replaces all that is not named.
    let resource = k33::AlterConfigsResource {
        resource_type: BROKER,
        resource_name: node.to_owned(),
        configs: Vec::new(),
    };
    let request = k33::AlterConfigsRequest { resources: vec![resource], validate_only: false };
    let response = ask!(client, AlterConfigs v 2, request);
    assert_eq!(response.responses[0].error_code, ErrorCode::NONE);
    let found = describe(&mut client, TOPIC, "t", "retention.ms").await.unwrap();
    assert_eq!((found.0.as_str(), found.1), ("4000", 4));
}

#[tokio::test]
async fn what_is_fixed_or_wrong_is_refused_in_kafkas_words() {
    let broker = TestBroker::start().await;
    let node = broker.broker.node_id().to_string();
    let mut client = broker.connect().await;
    let fixed = "Cannot update these configs dynamically: Set(";
    for (name, value, said) in [
        ("node.id", "7", format!("{fixed}node.id)")),
        ("log.retention.hours", "7", format!("{fixed}log.retention.hours)")),
        ("no.such", "7", format!("{fixed}no.such)")),
        ("log.retention.ms", "soon", "Invalid value soon for configuration".to_owned()),
        ("log.cleaner.io.max.bytes.per.second", "0", "Invalid value 0 for".to_owned()),
        ("log.cleaner.dedupe.buffer.size", "1", "Invalid value 1 for".to_owned()),
        ("producer.id.expiration.ms", "0", "Invalid value 0 for".to_owned()),
        ("log.cleaner.min.compaction.lag.ms", "9223372036854775807", String::new()),
    ] {
        for validate_only in [true, false] {
            for node in ["", &node] {
                let change = [("log.cleaner.max.compaction.lag.ms", SET, Some("1")); 1];
                let fits = [(name, SET, Some(value))];
                let both = [fits[0], change[0]];
                // Of the last one, only the two together are wrong, and only for a topic.
                let changes = if said.is_empty() { &both[..] } else { &fits };
                if said.is_empty() && broker.broker.topic("t").is_none() {
                    broker.topic("t", 1).await;
                }
                let (code, told) = alter(&mut client, node, changes, validate_only).await;
                assert_eq!(code, ErrorCode::INVALID_REQUEST, "{name}: {told}");
                assert!(told.starts_with(&said), "{name}: {told}");
            }
        }
    }
    let change = [("log.retention.ms", SET, Some("7"))];
    let (code, _) = alter(&mut client, "99", &change, false).await;
    assert_eq!(code, ErrorCode::INVALID_REQUEST);
    let (code, _) = alter(&mut client, "", &change, true).await;
    assert_eq!(code, ErrorCode::NONE);
    assert_eq!(describe(&mut client, BROKER, "", "log.retention.ms").await, None, "only checked");
    assert_eq!(broker.broker.dynamic_configs(), Default::default());
}
