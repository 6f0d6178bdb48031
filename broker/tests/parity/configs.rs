//! What is told of settings: values as they are understood, where they come from, and what would
//! hold in their place.

use broker::protocol::Response;
use broker::protocol::messages::k44_incremental_alter_configs as altering;

use crate::harness::describe_configs;
use crate::script::Script;

const TOPIC: i8 = 2;
const GROUP: i8 = 32;

/// Sets one and gives the code.
async fn set(script: &mut Script, kind: i8, name: &str, key: &str, value: &str) {
    let config = altering::AlterableConfig {
        name: key.to_owned(),
        config_operation: 0,
        value: Some(value.to_owned()),
    };
    let resource = altering::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: vec![config],
    };
    let request = altering::IncrementalAlterConfigsRequest {
        resources: vec![resource],
        validate_only: false,
    };
    let Response::IncrementalAlterConfigs(done) = script.ask_quietly(1, request).await else {
        panic!()
    };
    let code = done.responses[0].error_code;
    script.note(format!("set {key} of {name} to {value:?}"), format!("{code:?}"));
}

async fn describe(script: &mut Script, kind: i8, name: &str, keys: &[&str]) {
    for key in keys {
        let request = describe_configs(kind, name, Some(key));
        let Response::DescribeConfigs(found) = script.ask_quietly(4, request).await else {
            panic!()
        };
        script.note(format!("describe {key} of {name}"), format!("{:?}", found.results));
    }
}

pub async fn told(script: &mut Script) {
    let topic = script.topic("t", 1).await;
    let of_time = ["retention.ms", "segment.ms", "segment.jitter.ms", "flush.ms", "flush.messages"];
    describe(script, TOPIC, &topic, &of_time).await;
    let others = [
        "cleanup.policy",
        "compression.type",
        "min.cleanable.dirty.ratio",
        "message.timestamp.type",
        "max.message.bytes",
        "segment.bytes",
        "retention.bytes",
        "preallocate",
    ];
    describe(script, TOPIC, &topic, &others).await;
    for (key, value) in [
        ("retention.ms", " 1000 "),
        ("retention.ms", "+1000"),
        ("retention.ms", "007"),
        ("retention.ms", "0x10"),
        ("retention.ms", "1e3"),
        ("retention.ms", "-0"),
        ("retention.ms", "1000.0"),
        ("retention.ms", ""),
        ("retention.ms", " "),
        ("retention.ms", "-2"),
        ("max.message.bytes", "4294967296"),
        ("cleanup.policy", " delete , compact "),
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", "delete,"),
        ("cleanup.policy", ""),
        ("cleanup.policy", "DELETE"),
        ("preallocate", "TRUE"),
        ("preallocate", " false "),
        ("preallocate", "yes"),
        ("min.cleanable.dirty.ratio", "5e-1"),
        ("min.cleanable.dirty.ratio", ".50"),
        ("min.cleanable.dirty.ratio", "1"),
        ("compression.type", " gzip "),
        ("compression.type", "GZIP"),
        ("message.timestamp.type", "logappendtime"),
        ("message.timestamp.type", " LogAppendTime"),
    ] {
        set(script, TOPIC, &topic, key, value).await;
        describe_soon(script, TOPIC, &topic, key).await;
    }
    let group = script.named("g");
    for of_group in [
        ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"],
        ["share.session.timeout.ms", "share.heartbeat.interval.ms"],
    ] {
        describe(script, GROUP, &group, &of_group).await;
        describe(script, GROUP, "", &of_group).await;
        for value in [" 7000 ", "+8000", "1", "100000", "x"] {
            set(script, GROUP, &group, of_group[0], value).await;
            describe_soon(script, GROUP, &group, of_group[0]).await;
        }
        describe(script, GROUP, &group, &of_group).await;
    }
}

/// Kafka's broker hears of a change from its controller, and there is no event for that.
async fn describe_soon(script: &mut Script, kind: i8, name: &str, key: &str) {
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    describe(script, kind, name, &[key]).await;
}
