//! Topics, their configs and records.

use broker::protocol::messages::*;
use broker::protocol::{Request, RequestHeader, Response, encode_request};

use crate::harness::{batch, describe_configs, produce};
use crate::script::Script;

pub async fn changing(script: &mut Script) {
    use k19_create_topics::*;
    let name = script.named("t");
    let topic = |name: &str, partitions, replicas| CreatableTopic {
        name: name.to_owned(),
        num_partitions: partitions,
        replication_factor: replicas,
        ..Default::default()
    };
    let config = |key: &str, value: Option<&str>| {
        let value = value.map(str::to_owned);
        let configs = vec![CreatableTopicConfig { name: key.to_owned(), value }];
        CreatableTopic { configs, ..topic("c", 1, 1) }
    };
    let assigned = |partitions, replicas, each: &[(i32, &[i32])]| {
        let assignments = each.iter().map(|(index, brokers)| CreatableReplicaAssignment {
            partition_index: *index,
            broker_ids: brokers.to_vec(),
        });
        CreatableTopic { assignments: assignments.collect(), ..topic("a", partitions, replicas) }
    };
    let long = "x".repeat(250);
    for topics in [
        vec![topic(&name, 2, 1)],
        vec![topic(&name, 2, 1)],
        vec![topic("d", 1, 1), topic("d", 2, 1)],
        vec![topic("", 1, 1)],
        vec![topic(".", 1, 1)],
        vec![topic("a b", 1, 1)],
        vec![topic(&long, 1, 1)],
        vec![topic("p", 0, 1)],
        vec![topic("p", -2, 1)],
        vec![topic("r", 1, 0)],
        vec![topic("r", 1, 2)],
        vec![topic("r", 1, -2)],
        vec![config("no.such", Some("1"))],
        vec![config("retention.ms", Some("soon"))],
        vec![config("retention.ms", None)],
        vec![config("cleanup.policy", Some("burn"))],
        vec![assigned(1, -1, &[(0, &[1])])],
        vec![assigned(-1, -1, &[(1, &[1])])],
        vec![assigned(-1, -1, &[(0, &[9])])],
        vec![assigned(-1, -1, &[(0, &[1, 1])])],
        vec![assigned(-1, -1, &[(0, &[])])],
    ] {
        for validate_only in [true, false] {
            // Only the one that is good in itself may be created.
            if !validate_only && topics[0].name != name {
                continue;
            }
            let request =
                CreateTopicsRequest { topics: topics.clone(), timeout_ms: 9_000, validate_only };
            let Response::CreateTopics(response) = script.ask_quietly(4, request).await else {
                panic!()
            };
            let said: Vec<_> =
                response.topics.iter().map(|one| (&one.name, one.error_code)).collect();
            script.note(format!("create {topics:?} {validate_only}"), format!("{said:?}"));
        }
    }
    script.ready(&name).await;
    partitions(script, &name).await;
    configs(script, &name).await;
    use k20_delete_topics::*;
    for version in [1, 6] {
        let names = vec!["none".to_owned(), name.clone(), name.clone()];
        let request = match version {
            6 => DeleteTopicsRequest {
                topics: vec![
                    DeleteTopicState { name: Some("none".into()), ..Default::default() },
                    DeleteTopicState { name: None, topic_id: uuid::Uuid::from_u128(7) },
                    DeleteTopicState { name: None, ..Default::default() },
                    DeleteTopicState {
                        name: Some(name.clone()),
                        topic_id: uuid::Uuid::from_u128(7),
                    },
                ],
                timeout_ms: 9_000,
                ..Default::default()
            },
            _ => {
                DeleteTopicsRequest { topic_names: names, timeout_ms: 9_000, ..Default::default() }
            }
        };
        let Response::DeleteTopics(response) = script.ask_quietly(version, request).await else {
            panic!()
        };
        let mut said: Vec<_> = response
            .responses
            .iter()
            .map(|one| format!("{:?} {} {}", one.name, one.topic_id, one.error_code))
            .collect();
        said.sort();
        script.note(format!("delete v{version}"), format!("{said:?}"));
    }
}

async fn partitions(script: &mut Script, name: &str) {
    use k37_create_partitions::*;
    let grow = |name: &str, count, assignments: Option<&[&[i32]]>| {
        let assignment = |ids: &&[i32]| CreatePartitionsAssignment { broker_ids: ids.to_vec() };
        let assignments = assignments.map(|each| each.iter().map(assignment).collect());
        CreatePartitionsTopic { name: name.to_owned(), count, assignments }
    };
    for topics in [
        vec![grow("none", 3, None)],
        vec![grow(name, 2, None)],
        vec![grow(name, 1, None)],
        vec![grow(name, 0, None)],
        vec![grow(name, -1, None)],
        vec![grow(name, 3, Some(&[]))],
        vec![grow(name, 3, Some(&[&[9]]))],
        vec![grow(name, 3, Some(&[&[1], &[1]]))],
        vec![grow(name, 3, Some(&[&[1, 1]]))],
        vec![grow(name, 3, Some(&[&[]]))],
        vec![grow(name, 3, None), grow(name, 4, None)],
        vec![grow(name, 3, None)],
    ] {
        let request = CreatePartitionsRequest { topics, timeout_ms: 9_000, validate_only: false };
        let what = format!("{request:?}");
        let Response::CreatePartitions(response) = script.ask_quietly(3, request).await else {
            panic!()
        };
        // Kafka does not always say what is wrong.
        let codes: Vec<_> =
            response.results.iter().map(|one| (&one.name, one.error_code)).collect();
        script.note(what, format!("{codes:?}"));
    }
}

/// Not asked for are operations that there are not, which make Kafka's controller resign, and
/// AlterConfigs of one topic twice, which it never answers.
async fn configs(script: &mut Script, name: &str) {
    use k44_incremental_alter_configs::*;
    let change = |resource_type, resource: &str, key: &str, operation, value: Option<&str>| {
        let config = AlterableConfig {
            name: key.to_owned(),
            config_operation: operation,
            value: value.map(str::to_owned),
        };
        AlterConfigsResource {
            resource_type,
            resource_name: resource.to_owned(),
            configs: vec![config],
        }
    };
    for resources in [
        vec![change(2, name, "retention.ms", 0, Some("1000"))],
        vec![change(2, name, "retention.ms", 0, Some("x"))],
        vec![change(2, name, "retention.ms", 0, None)],
        vec![change(2, name, "retention.ms", 1, None)],
        vec![change(2, name, "retention.ms", 2, Some("1"))],
        vec![change(2, name, "cleanup.policy", 2, Some("compact"))],
        vec![change(2, name, "cleanup.policy", 3, Some("delete"))],
        vec![change(2, name, "no.such", 0, Some("1"))],
        vec![change(2, "none", "retention.ms", 0, Some("1"))],
        vec![change(2, "", "retention.ms", 0, Some("1"))],
        vec![change(7, name, "retention.ms", 0, Some("1"))],
        vec![change(2, name, "retention.ms", 0, Some("1")); 2],
        vec![AlterConfigsResource {
            configs: [
                change(2, name, "retention.ms", 0, Some("1")).configs,
                change(2, name, "retention.ms", 0, Some("2")).configs,
            ]
            .concat(),
            ..change(2, name, "retention.ms", 0, None)
        }],
    ] {
        let request = IncrementalAlterConfigsRequest { resources, validate_only: false };
        script.ask(1, request).await;
    }
    let replace = |resource_type, resource: &str, key: &str, value: Option<&str>| {
        use k33_alter_configs::*;
        let value = value.map(str::to_owned);
        AlterConfigsResource {
            resource_type,
            resource_name: resource.to_owned(),
            configs: vec![AlterableConfig { name: key.to_owned(), value }],
        }
    };
    for resources in [
        vec![replace(2, name, "retention.ms", Some("5000"))],
        vec![replace(2, name, "retention.ms", Some("x"))],
        vec![replace(2, name, "retention.ms", None)],
        vec![replace(2, name, "no.such", Some("1"))],
        vec![replace(2, "none", "retention.ms", Some("1"))],
        vec![replace(7, name, "retention.ms", Some("1"))],
    ] {
        let request = k33_alter_configs::AlterConfigsRequest { resources, validate_only: false };
        script.ask(2, request).await;
    }
}

/// Settings of all brokers, which are back as they were when it ends: others use that Kafka, too.
pub async fn broker_configs(script: &mut Script) {
    use k44_incremental_alter_configs::*;
    let alter = |changes: &[(&str, i8, Option<&str>)]| {
        let config = |(name, config_operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
            name: (*name).to_owned(),
            config_operation: *config_operation,
            value: value.map(str::to_owned),
        };
        let configs = changes.iter().map(config).collect();
        let resource = AlterConfigsResource { resource_type: 4, configs, ..Default::default() };
        IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false }
    };
    let (rate, jitter) = ("log.cleaner.io.max.bytes.per.second", "log.roll.jitter.ms");
    for changes in [
        &[("node.id", 0, Some("7"))][..],
        &[("log.retention.hours", 0, Some("7"))],
        &[("log.retention.ms", 0, Some("soon"))],
        &[("log.retention.ms", 0, None)],
        &[("log.segment.bytes", 0, Some("1"))],
        &[(rate, 0, Some("fast"))],
        &[(rate, 0, Some("1e9")), (rate, 0, Some("1e9"))],
        &[(rate, 2, Some("1"))],
        &[(rate, 0, Some("1000000000")), (jitter, 0, Some("7"))],
    ] {
        let Response::IncrementalAlterConfigs(response) =
            script.ask_quietly(1, alter(changes)).await
        else {
            panic!()
        };
        let code = response.responses[0].error_code;
        script.note(format!("alter {changes:?}"), format!("{code:?}"));
    }
    described(script, rate, true).await;
    described(script, jitter, true).await;
    script.ask(1, alter(&[(rate, 1, None), (jitter, 1, None)])).await;
    described(script, rate, false).await;
}

/// What is said of a setting of all brokers, once it is set or no longer so: Kafka's broker hears
/// of it from its controller.
async fn described(script: &mut Script, name: &str, is_set: bool) {
    let request = describe_configs(4, "", Some(name));
    for _ in 0..200 {
        let Response::DescribeConfigs(found) = script.ask_quietly(4, request.clone()).await else {
            panic!()
        };
        if is_set != found.results[0].configs.is_empty() {
            let found = &found.results[0];
            script.note(
                format!("describe {name}"),
                format!("{:?}", (found.error_code, &found.configs)),
            );
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{name} set: {is_set}, and never described so");
}

pub async fn looking(script: &mut Script) {
    use k02_list_offsets::*;
    let name = script.topic("t", 2).await;
    for values in [&["a", "b"][..], &["c"]] {
        let request = produce(&name, 0, -1, batch(values));
        script.ask_quietly(9, request).await;
        // The next batch is later by its time, too.
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    for version in [1, 4, 6, 7, 8, 9, 10] {
        for timestamp in [-1, -2, -3, -4, -5, -6, -7, 0, i64::MAX] {
            let partition = ListOffsetsPartition { timestamp, ..Default::default() };
            let topics = vec![ListOffsetsTopic { name: name.clone(), partitions: vec![partition] }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            script.ask(version, request).await;
        }
    }
    for (topic, index, epoch, times) in [
        ("none", 0, -1, 1),
        (&*name, 7, -1, 1),
        (&*name, -1, -1, 1),
        (&*name, 0, 5, 1),
        (&*name, 0, 0, 1),
        (&*name, 1, -1, 1),
        (&*name, 1, -1, 2),
    ] {
        let partition = ListOffsetsPartition {
            partition_index: index,
            current_leader_epoch: epoch,
            timestamp: -1,
        };
        for timestamp in [-1, -2, -3, 0] {
            let partitions = vec![ListOffsetsPartition { timestamp, ..partition.clone() }; times];
            let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
            let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
            script.ask(7, request).await;
        }
    }
    epochs(script, &name).await;
    metadata(script, &name).await;
    pages(script, &name).await;
}

async fn pages(script: &mut Script, name: &str) {
    use k75_describe_topic_partitions::*;
    for (names, cursor) in [
        (&[name][..], None),
        (&["none", name], None),
        (&[name], Some((name, 1))),
        (&[name], Some((name, 9))),
        (&[name], Some((name, -1))),
        (&[name], Some(("zzz", 0))),
        (&["a b"], None),
    ] {
        for response_partition_limit in [2000, 1, 0, -1] {
            let topics = names.iter().map(|name| TopicRequest { name: (*name).to_owned() });
            let request = DescribeTopicPartitionsRequest {
                topics: topics.collect(),
                response_partition_limit,
                cursor: cursor.map(|(topic, partition_index)| Cursor {
                    topic_name: topic.to_owned(),
                    partition_index,
                }),
            };
            script.ask(0, request).await;
        }
    }
    use k60_describe_cluster::*;
    for (version, endpoint_type) in [(0, 1), (1, 1), (2, 1), (1, 2), (1, 9)] {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            endpoint_type,
            ..Default::default()
        };
        script.ask(version, request).await;
    }
    use k35_describe_log_dirs::*;
    for topics in [vec![], vec![(name, vec![0, 9])], vec![("none", vec![0])]] {
        let topics = topics.into_iter().map(|(topic, partitions)| DescribableLogDirTopic {
            topic: topic.to_owned(),
            partitions,
        });
        let request = DescribeLogDirsRequest { topics: Some(topics.collect()) };
        let Response::DescribeLogDirs(mut response) = script.ask_quietly(4, request.clone()).await
        else {
            panic!()
        };
        for result in &mut response.results {
            (result.total_bytes, result.usable_bytes) = (0, 0);
        }
        script.note(format!("{request:?}"), format!("{response:?}"));
    }
}

async fn epochs(script: &mut Script, name: &str) {
    use k23_offset_for_leader_epoch::*;
    for (topic, partition, current_leader_epoch, leader_epoch) in [
        (name, 0, -1, 0),
        (name, 0, 0, 0),
        (name, 0, 5, 0),
        (name, 0, -1, 5),
        (name, 0, -1, -1),
        (name, 1, -1, 0),
        (name, 9, -1, 0),
        ("none", 0, -1, 0),
    ] {
        let partition = OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch };
        let topics =
            vec![OffsetForLeaderTopic { topic: topic.to_owned(), partitions: vec![partition] }];
        let request = OffsetForLeaderEpochRequest { replica_id: -1, topics };
        script.ask(4, request).await;
    }
}

async fn metadata(script: &mut Script, name: &str) {
    use k03_metadata::*;
    let wanted = |name: Option<&str>, id: u128| MetadataRequestTopic {
        topic_id: uuid::Uuid::from_u128(id),
        name: name.map(str::to_owned),
    };
    for (version, topics) in [
        (0, vec![wanted(Some(name), 0)]),
        (5, vec![wanted(Some(name), 0)]),
        (13, vec![wanted(Some(name), 0)]),
        (13, vec![wanted(Some("none"), 0)]),
        (9, vec![wanted(Some("none"), 0)]),
        (13, vec![wanted(Some("a b"), 0)]),
        (13, vec![wanted(Some(""), 0)]),
        (13, vec![wanted(None, 7)]),
        (13, vec![wanted(Some(name), 7)]),
        (13, vec![]),
        (1, vec![]),
    ] {
        let request = MetadataRequest {
            topics: Some(topics),
            allow_auto_topic_creation: version < 4,
            include_topic_authorized_operations: version >= 8,
            include_cluster_authorized_operations: (8..=10).contains(&version),
        };
        let what = format!("v{version} {request:?}");
        let Response::Metadata(mut response) = script.ask_quietly(version, request).await else {
            panic!()
        };
        // Kafka's come in no order.
        for topic in &mut response.topics {
            topic.partitions.sort_by_key(|partition| partition.partition_index);
        }
        script.note(what, format!("{response:?}"));
    }
    let auto = script.named("auto");
    let request =
        MetadataRequest { topics: Some(vec![wanted(Some(&auto), 0)]), ..Default::default() };
    script.ask_quietly(13, request).await;
    let topic = script.ready(&auto).await;
    script.note("auto".to_owned(), format!("{topic:?}"));
}

pub async fn records(script: &mut Script) {
    use k21_delete_records::*;
    let name = script.topic("t", 1).await;
    let none = bytes::Bytes::new();
    let good = batch(&["a"]);
    let mut bent = good.to_vec();
    *bent.last_mut().unwrap() ^= 1;
    let cut = good.slice(..good.len() - 1);
    let twice = bytes::Bytes::from([good.to_vec(), good.to_vec()].concat());
    let mut old = good.to_vec();
    old[16] = 1;
    for version in [3, 7, 9, 12] {
        for (topic, index, acks, records) in [
            (&*name, 0, -1, good.clone()),
            (&*name, 0, 1, good.clone()),
            (&*name, 0, 2, good.clone()),
            (&*name, 5, -1, good.clone()),
            ("none", 0, -1, good.clone()),
            ("__consumer_offsets", 0, -1, good.clone()),
            (&*name, 0, -1, bent.clone().into()),
            (&*name, 0, -1, cut.clone()),
            (&*name, 0, -1, twice.clone()),
            (&*name, 0, -1, none.clone()),
            (&*name, 0, -1, old.clone().into()),
            (&*name, 0, -1, bytes::Bytes::from_static(b"short")),
        ] {
            let what = format!("produce v{version} {topic} {index} {acks} {records:?}");
            let request = produce(topic, index, acks, records);
            let Response::Produce(response) = script.ask_quietly(version, request).await else {
                panic!()
            };
            let said = &response.responses[0].partition_responses[0];
            let said = (said.error_code, said.base_offset, said.log_start_offset);
            script.note(what, format!("{said:?}"));
        }
    }
    for (topic, partition_index, offset) in [
        (&*name, 0, 3),
        (&*name, 0, 2),
        (&*name, 0, -2),
        (&*name, 0, 99),
        (&*name, 5, 1),
        ("none", 0, 1),
        ("__consumer_offsets", 0, 0),
        (&*name, 0, -1),
    ] {
        let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
        script.ask(2, DeleteRecordsRequest { topics, timeout_ms: 9_000 }).await;
    }
}

/// Names of clients, topics and groups that are not UTF-8.
pub async fn texts(script: &mut Script) {
    use bytes::Buf;
    let client = &mut script.another().await;
    let group = k15_describe_groups::DescribeGroupsRequest {
        groups: vec!["xxxx".to_owned()],
        ..Default::default()
    };
    let topic =
        k03_metadata::MetadataRequestTopic { name: Some("xxxx".to_owned()), ..Default::default() };
    let topic = k03_metadata::MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let of_group = |version| (version, Request::from(group.clone()));
    let of_topic = |version| (version, Request::from(topic.clone()));
    for (version, request) in [of_group(0), of_group(5), of_topic(4), of_topic(12)] {
        for (name, bytes) in [("tesu", b"\xfft\xc3("), ("xxxx", b"x\xe2\x82x"), ("", b"none")] {
            let header = RequestHeader {
                api: request.api(),
                version,
                correlation_id: 9,
                client_id: Some("tesu".to_owned()),
            };
            let mut frame = encode_request(&header, &request).unwrap();
            let mut frame = frame.copy_to_bytes(frame.remaining()).to_vec();
            if let Some(at) = frame.windows(4).position(|part| part == name.as_bytes()) {
                frame[at..at + 4].copy_from_slice(bytes);
            }
            client.send_bytes(&frame).await;
            let (_, answer) = client.receive(request.api(), version).await;
            script.note(format!("v{version} {name} {bytes:?} {request:?}"), format!("{answer:?}"));
        }
    }
}
