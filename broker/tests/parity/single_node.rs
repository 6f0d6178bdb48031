//! What is asked of clusters: quotas, elections, reassignments, what there is that has configs. Of
//! one node the answers are plain, and those to requests that make no sense are the same.

use std::time::Duration;

use broker::protocol::Response;
use broker::protocol::messages::k34_alter_replica_log_dirs::*;
use broker::protocol::messages::k35_describe_log_dirs;
use broker::protocol::messages::k43_elect_leaders::*;
use broker::protocol::messages::k44_incremental_alter_configs as altering;
use broker::protocol::messages::k45_alter_partition_reassignments::*;
use broker::protocol::messages::k46_list_partition_reassignments::*;
use broker::protocol::messages::k48_describe_client_quotas::*;
use broker::protocol::messages::k49_alter_client_quotas::*;
use broker::protocol::messages::k57_update_features::*;
use broker::protocol::messages::k64_unregister_broker::*;
use broker::protocol::messages::k74_list_config_resources::*;

use crate::harness::describe_configs;
use crate::script::Script;

type Part<'a> = (&'a str, Option<&'a str>);

fn entry(parts: &[Part], ops: &[(&str, Option<f64>)]) -> AlterClientQuotasEntry {
    let part = |(kind, name): &Part| AlterClientQuotasEntity {
        entity_type: (*kind).to_owned(),
        entity_name: name.map(str::to_owned),
    };
    let op = |(key, value): &(&str, Option<f64>)| AlterClientQuotasOp {
        key: (*key).to_owned(),
        value: value.unwrap_or(0.0),
        remove: value.is_none(),
    };
    AlterClientQuotasEntry {
        entity: parts.iter().map(part).collect(),
        ops: ops.iter().map(op).collect(),
    }
}

/// Waits until so many rules are about a user; Kafka has no event for that.
async fn settled(script: &mut Script, user: Option<&str>, rules: usize) {
    let component = DescribeClientQuotasComponent {
        entity_type: "user".to_owned(),
        match_type: 0,
        matched: user.map(str::to_owned),
    };
    let request = DescribeClientQuotasRequest { components: vec![component], strict: false };
    loop {
        let response = script.ask_quietly(1, request.clone()).await;
        let Response::DescribeClientQuotas(response) = response else { panic!("{response:?}") };
        if response.entries.is_some_and(|entries| entries.len() == rules) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn describe(script: &mut Script, components: &[(&str, i8, Option<&str>)], strict: bool) {
    let component =
        |(kind, match_type, name): &(&str, i8, Option<&str>)| DescribeClientQuotasComponent {
            entity_type: (*kind).to_owned(),
            match_type: *match_type,
            matched: name.map(str::to_owned),
        };
    let components = components.iter().map(component).collect();
    let request = DescribeClientQuotasRequest { components, strict };
    let asked = format!("{request:?}");
    let Response::DescribeClientQuotas(mut response) = script.ask_quietly(1, request).await else {
        panic!("another response")
    };
    // In an order of their own.
    for entry in response.entries.iter_mut().flatten() {
        entry.entity.sort_by(|one, other| one.entity_type.cmp(&other.entity_type));
        entry.values.sort_by(|one, other| one.key.cmp(&other.key));
    }
    if let Some(entries) = &mut response.entries {
        entries.sort_by_key(|entry| format!("{entry:?}"));
    }
    script.note(asked, format!("{response:?}"));
}

pub async fn quotas(script: &mut Script) {
    let (user, client) = (script.named("u"), script.named("c"));
    let (user, client) = (Some(user.as_str()), Some(client.as_str()));
    let (bytes, percent) = ("producer_byte_rate", "request_percentage");
    let one: &[(&str, Option<f64>)] = &[(bytes, Some(1e12))];
    let alone = |parts: &[Part], ops: &[(&str, Option<f64>)]| vec![entry(parts, ops)];
    let requests = [
        alone(&[("user", user)], one),
        alone(
            &[("client-id", client), ("user", user)],
            &[(percent, Some(1e6)), (bytes, Some(1e12))],
        ),
        alone(&[("client-id", client)], &[("controller_mutation_rate", Some(1e6))]),
        // What makes no sense.
        alone(&[], one),
        alone(&[("user", Some(""))], one),
        alone(&[("nobody", user)], one),
        alone(&[("", user)], one),
        alone(&[("user", user), ("user", user)], one),
        alone(&[("user", user), ("ip", Some("127.0.0.1"))], one),
        alone(&[("ip", Some("127.0.0.1"))], one),
        alone(&[("ip", Some("no.such.host.invalid"))], &[("connection_creation_rate", Some(1e6))]),
        alone(&[("ip", Some("10.99.0.1"))], &[("connection_creation_rate", Some(1.5))]),
        alone(&[("user", user)], &[("connection_creation_rate", Some(1.0))]),
        alone(&[("user", user)], &[("no_such", Some(1.0))]),
        alone(&[("user", user)], &[("no_such", None)]),
        alone(&[("user", user)], &[(bytes, Some(0.0))]),
        alone(&[("user", user)], &[(bytes, Some(-1.0))]),
        alone(&[("user", user)], &[(bytes, Some(1.5))]),
        alone(&[("user", user)], &[(bytes, Some(1e19))]),
        // Not NaN, which Kafka takes and nothing can be held to.
        alone(&[("user", user)], &[(bytes, Some(f64::INFINITY))]),
        alone(&[("user", user)], &[(bytes, Some(2e12)), (bytes, Some(1e12))]),
        alone(&[("user", user)], &[]),
        vec![entry(&[("user", user)], one), entry(&[("user", Some(""))], one)],
        // Taken away, and what is not there.
        alone(&[("user", user)], &[(percent, None)]),
    ];
    for entries in requests {
        for validate_only in [true, false] {
            let entries = entries.clone();
            let request = AlterClientQuotasRequest { entries, validate_only };
            let asked = format!("{request:?}");
            let response = script.ask_quietly(1, request).await;
            let Response::AlterClientQuotas(mut response) = response else {
                panic!("{response:?}")
            };
            // In an order of their own.
            response.entries.sort_by_key(|entry| format!("{:?}", entry.entity));
            script.note(asked, format!("{response:?}"));
        }
    }
    settled(script, user, 2).await;
    for strict in [false, true] {
        describe(script, &[("user", 0, user)], strict).await;
        describe(script, &[("client-id", 0, client)], strict).await;
        describe(script, &[("client-id", 0, client), ("user", 2, None)], strict).await;
        describe(script, &[("client-id", 0, client), ("user", 1, None)], strict).await;
    }
    for wrong in [
        &[("", 0, user)][..],
        &[("nobody", 0, user)],
        &[("user", 0, user), ("user", 0, user)],
        &[("user", 0, None)],
        &[("user", 1, user)],
        &[("user", 2, user)],
        &[("user", 3, None)],
        &[("user", 2, None), ("ip", 2, None)],
    ] {
        describe(script, wrong, false).await;
    }
    let gone = [
        entry(&[("user", user)], &[(bytes, None)]),
        entry(&[("client-id", client), ("user", user)], &[(percent, None), (bytes, None)]),
        entry(&[("client-id", client)], &[("controller_mutation_rate", None)]),
    ];
    for entry in gone {
        let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
        script.ask(0, request).await;
    }
    settled(script, user, 0).await;
    describe(script, &[("user", 0, user)], false).await;
}

pub async fn replicas(script: &mut Script) {
    let topic = script.topic("t", 2).await;
    let nobody = script.named("nobody");
    for (version, election_type) in [(0, 0), (1, 1), (2, 0), (2, 1), (2, 7)] {
        let partitions = |topic: &String, partitions: &[i32]| TopicPartitions {
            topic: topic.clone(),
            partitions: partitions.to_vec(),
        };
        let wanted = vec![partitions(&topic, &[0, 1, 2, -1]), partitions(&nobody, &[0])];
        let request = ElectLeadersRequest {
            election_type,
            topic_partitions: Some(wanted),
            timeout_ms: 10_000,
        };
        script.ask(version, request).await;
    }
    let replicas: [Option<&[i32]>; 7] =
        [Some(&[1]), Some(&[]), Some(&[1, 1]), Some(&[2]), Some(&[1, 2]), Some(&[-1]), None];
    for replicas in replicas {
        for (name, version) in [(&topic, 0), (&topic, 1), (&nobody, 1)] {
            let partition = |partition_index| ReassignablePartition {
                partition_index,
                replicas: replicas.map(<[i32]>::to_vec),
            };
            let partitions = [0, 9].map(partition).to_vec();
            let topics = vec![ReassignableTopic { name: name.clone(), partitions }];
            let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
            script.ask(version, request).await;
        }
    }
    let named = |name: &String| ListPartitionReassignmentsTopics {
        name: name.clone(),
        partition_indexes: vec![0, 9],
    };
    for topics in [None, Some(Vec::new()), Some(vec![named(&topic), named(&nobody)])] {
        script.ask(0, ListPartitionReassignmentsRequest { topics, ..Default::default() }).await;
    }
    for (feature, level, upgrade_type) in [
        ("group.version", 1, 1),
        ("transaction.version", 2, 1),
        ("group.version", 1, 2),
        ("group.version", 9, 1),
        ("group.version", 0, 1),
        ("group.version", -1, 1),
        ("group.version", 1, 0),
        ("group.version", 1, 9),
        ("no.such", 1, 1),
        ("", 1, 1),
    ] {
        for version in 0..=2 {
            let update = FeatureUpdateKey {
                feature: feature.to_owned(),
                max_version_level: level,
                allow_downgrade: version == 0 && upgrade_type > 1,
                upgrade_type: if version == 0 { 1 } else { upgrade_type },
            };
            let request = UpdateFeaturesRequest {
                feature_updates: vec![update],
                // Nothing changes at a Kafka that others use.
                validate_only: version > 0,
                ..Default::default()
            };
            script.ask(version, request).await;
        }
    }
    for broker_id in [2, -1] {
        script.ask(0, UnregisterBrokerRequest { broker_id }).await;
    }
    let described = k35_describe_log_dirs::DescribeLogDirsRequest::default();
    let Response::DescribeLogDirs(described) = script.ask_quietly(4, described).await else {
        panic!("another response")
    };
    let own = described.results[0].log_dir.clone();
    for (path, version) in [(own.as_str(), 2), ("/no/such", 1), ("relative", 2), (&own, 1)] {
        for (name, partitions) in [(&topic, vec![0]), (&topic, vec![9]), (&nobody, vec![0])] {
            let name = name.clone();
            let topics = vec![AlterReplicaLogDirTopic { name, partitions }];
            let dirs = vec![AlterReplicaLogDir { path: path.to_owned(), topics }];
            let request = AlterReplicaLogDirsRequest { dirs };
            let Response::AlterReplicaLogDirs(response) =
                script.ask_quietly(version, request).await
            else {
                panic!("another response")
            };
            script.note(
                format!("AlterReplicaLogDirs {path} {name:?}", name = topic),
                format!("{response:?}"),
            );
        }
    }
}

pub async fn client_metrics(script: &mut Script) {
    const CLIENT_METRICS: i8 = 16;
    let name = script.named("m");
    let alter = |name: &str, configs: &[(&str, i8, Option<&str>)]| {
        let config = |(name, config_operation, value): &(&str, i8, Option<&str>)| {
            altering::AlterableConfig {
                name: (*name).to_owned(),
                config_operation: *config_operation,
                value: value.map(str::to_owned),
            }
        };
        let resource = altering::AlterConfigsResource {
            resource_type: CLIENT_METRICS,
            resource_name: name.to_owned(),
            configs: configs.iter().map(config).collect(),
        };
        altering::IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
    };
    let described = async |script: &mut Script, name: &str| {
        let request = describe_configs(CLIENT_METRICS, name, None);
        let asked = format!("{request:?}");
        let response = script.ask_quietly(4, request).await;
        let Response::DescribeConfigs(mut response) = response else { panic!("{response:?}") };
        response.results[0].configs.sort_by(|one, other| one.name.cmp(&other.name));
        let set = response.results[0].configs.clone();
        (asked, format!("{response:?}"), set)
    };
    // Waits until one of the settings has a value; Kafka has no event for that.
    let settled = async |script: &mut Script, value: Option<&str>| loop {
        let (asked, response, set) = described(script, &name).await;
        let found = set.iter().find(|one| one.name == "match");
        let found = found.and_then(|one| one.value.as_deref());
        if found.filter(|value| !value.is_empty()) == value {
            return script.note(asked, response);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for name in [&name, ""] {
        let (asked, response, _) = described(script, name).await;
        script.note(asked, response);
    }
    for (name, configs) in [
        ("", &[("interval.ms", 0, Some("1000"))][..]),
        (&name, &[("no.such", 0, Some("1"))]),
        (&name, &[("interval.ms", 0, Some("99"))]),
        (&name, &[("interval.ms", 0, Some("soon"))]),
        (&name, &[("match", 0, Some("client_id"))]),
        (&name, &[("match", 0, Some("client_id=("))]),
        (&name, &[("match", 0, Some("who=a"))]),
        (&name, &[("interval.ms", 0, Some("1000")), ("metrics", 0, Some("org.apache.,*"))]),
        (&name, &[("match", 0, Some("client_id=a.*,client_software_name=b"))]),
    ] {
        script.ask(1, alter(name, configs)).await;
    }
    settled(script, Some("client_id=a.*,client_software_name=b")).await;
    // Of all, what only this script has made.
    for (version, resource_types) in [
        (0, vec![]),
        (1, vec![CLIENT_METRICS]),
        (1, vec![4]),
        (1, vec![8]),
        (1, vec![4, 8]),
        (1, vec![7]),
    ] {
        let request = ListConfigResourcesRequest { resource_types };
        let asked = format!("v{version} {request:?}");
        let response = script.ask_quietly(version, request).await;
        let Response::ListConfigResources(mut response) = response else { panic!("{response:?}") };
        response
            .config_resources
            .retain(|one| one.resource_type != CLIENT_METRICS || one.resource_name == name);
        script.note(asked, format!("{response:?}"));
    }
    let all = ["interval.ms", "match", "metrics"].map(|name| (name, 1, None));
    script.ask(1, alter(&name, &all)).await;
    settled(script, None).await;
}
