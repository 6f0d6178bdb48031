//! Java's clients, which do transactions of version 2, against our own server. What they print is
//! what they print against Apache Kafka 4.1.

#[path = "server/harness.rs"]
#[allow(dead_code, unused_macros, unused_imports)]
mod harness;
#[path = "../../tests/kafka/fixture.rs"]
#[allow(dead_code)]
mod kafka;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use harness::TestBroker;
use tokio::task::spawn_blocking;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kafka")
}

/// What a program of tests/kafka prints; `None`, with a notice, where Java is missing.
fn java(program: &str, address: &str, options: &str) -> Option<String> {
    for tool in ["java", "mvn"] {
        if Command::new(tool).arg("-version").output().is_err() {
            eprintln!("skipped: Java's clients need '{tool}', which is not installed");
            return None;
        }
    }
    let quiet =
        format!("-Dlog4j2.configurationFile={}", folder().join("quiet.properties").display());
    let output = Command::new(folder().join("start-kafka.sh"))
        .arg("class")
        .arg(folder().join(program))
        .arg(address)
        .env("KAFKA_JVM_OPTIONS", format!("{quiet} {options}"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn transactions() -> Expect {
    expect![[r#"
        transaction.version FinalizedVersionRange[min_version_level:2, max_version_level:2]
        committed [0:r0, 0:r2, 0:r3, 0:r5, 1:r0, 1:r2, 1:r3, 1:r5, 2:r0, 2:r2, 2:r3, 2:r5]
        copied [0:cr0, 0:cr2, 0:cr3, 0:cr5, 1:cr0, 1:cr2, 1:cr3, 1:cr5, 2:cr0, 2:cr2, 2:cr3, 2:cr5]
        offsets {in-0=11, in-1=11, in-2=11}
        zombie write: InvalidProducerEpochException
        zombie commit: InvalidProducerEpochException
        after fencing [0:cr0, 0:cr2, 0:cr3, 0:cr5, 0:heir, 1:cr0, 1:cr2, 1:cr3, 1:cr5, 1:heir, 2:cr0, 2:cr2, 2:cr3, 2:cr5, 2:heir]
        slow commit: InvalidTxnStateException
        slow abort: KafkaException
        after timeout 15
        open Ongoing [out-0, out-1, out-2]
        listed [copy=CompleteCommit, fenced=CompleteCommit, open=Ongoing, slow=CompleteAbort, t1=CompleteCommit]
        pattern [open]
        open in partition 1 sequence 0
        left open in partition 0
        fenced by admin: ProducerFencedException
    "#]]
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_go_as_at_kafka() {
    let broker = TestBroker::start().await;
    let address = broker.address.to_string();
    let printed = spawn_blocking(move || java("Transactions.java", &address, ""));
    if let Some(printed) = printed.await.unwrap() {
        transactions().assert_eq(&printed);
    }
}

fn groups() -> Expect {
    expect![[r#"
        RangeAssignor: all read true, shared true, overlaps 0
        CooperativeStickyAssignor: all read true, shared true, overlaps 0
        8 groups at once: all read true, overlaps 0
        restarted static member has the same true, others rebalanced 0
    "#]]
}

/// A static member that restarted made all others rebalance, since consumers say what they own,
/// and after a restart that is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn groups_go_as_at_kafka() {
    let broker = TestBroker::start().await;
    let address = broker.address.to_string();
    let printed = spawn_blocking(move || java("Groups.java", &address, ""));
    if let Some(printed) = printed.await.unwrap() {
        groups().assert_eq(&printed);
    }
}

fn consumer_groups() -> Expect {
    expect![[r#"
        three share: true
        lives: Consumer Stable, members 3, assignor uniform
        one left, two share: true
        one died, the last has all: true
        the topic grew: true
        all read: true, overlaps 0
        lives: Consumer Empty, members 0
        committed 3000
        range: shared true, neighbours true
        by expression: true, a new topic: true
        a bad expression: InvalidRegularExpression
        static members shared true, restarted one has the same true, others rebalanced 0
        the same name twice: UnreleasedInstanceIdException
        classic: true, Classic Stable, members 2
        both: true, Consumer
        new: true, Consumer
        both again: true
        classic again: true, Classic
        all read: true, overlaps 0
        set 7000 DYNAMIC_GROUP_CONFIG
        refused: InvalidConfigurationException
        refused: InvalidConfigurationException
        group.version 1
    "#]]
}

/// Of the new protocol, with the times that tests/kafka/start-kafka.sh gives Kafka.
#[tokio::test(flavor = "multi_thread")]
async fn consumer_groups_go_as_at_kafka() {
    let broker = TestBroker::with(|broker, _| {
        let config = &mut broker.groups.consumer;
        (config.session_timeout_ms, config.session_timeout_ms_min) = (6_000, 6_000);
        (config.heartbeat_interval_ms, config.heartbeat_interval_ms_min) = (1_000, 1_000);
    });
    let broker = broker.await;
    let address = broker.address.to_string();
    let printed = spawn_blocking(move || java("ConsumerGroups.java", &address, ""));
    if let Some(printed) = printed.await.unwrap() {
        consumer_groups().assert_eq(&printed);
    }
}

fn share_consumers() -> Expect {
    expect![[r#"
        all read: true, twice: 0, more than one member read: true
        partitions 3
        group Empty, members 0
        deliveries {v0=[1], v1=[1], v2=[1, 2, 3], v3=[1], v4=[1, 2, 3, 4, 5], v5=[1]} [[ok]]
        then nothing: true
        one has [l0x1, l1x1, l2x1, l3x1]
        two has none: true
        two has [l0x2, l1x2, l2x2, l3x2]
          [ok]
        two has [l0x3, l1x3, l2x3, l3x3]
        three has 4
        committed [t0, t1, t2, t6, t7, t8, t12, t13, t14]
        then nothing: true
        uncommitted [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15, t16, t17]
        then nothing: true
        with members: done GroupNotEmptyException GroupNotEmptyException
        altered: done
        no such topic: UnknownTopicOrPartitionException UnknownTopicOrPartitionException
        deleted: done {}
        together deleted: done
        none deleted: GroupIdNotFoundException
        listed [committed, leaving, uncommitted, verdicts]
        share.version FinalizedVersionRange[min_version_level:1, max_version_level:1]
    "#]]
}

/// With the times that tests/kafka/start-kafka.sh gives Kafka.
#[tokio::test(flavor = "multi_thread")]
async fn share_groups_go_as_at_kafka() {
    let broker = TestBroker::with(|broker, _| {
        let config = &mut broker.groups.share;
        (config.session_timeout_ms, config.session_timeout_ms_min) = (6_000, 6_000);
        (config.heartbeat_interval_ms, config.heartbeat_interval_ms_min) = (1_000, 1_000);
        broker.shares.lock_ms_min = 1_000;
    });
    let broker = broker.await;
    let address = broker.address.to_string();
    let printed = spawn_blocking(move || java("ShareConsumers.java", &address, ""));
    if let Some(printed) = printed.await.unwrap() {
        share_consumers().assert_eq(&printed);
    }
}

#[test]
#[ignore = "asks Apache Kafka whether what we expect is right"]
fn share_groups_at_kafka_itself() {
    let Some(kafka) = kafka::kafka() else { return };
    if let Some(printed) = java("ShareConsumers.java", &kafka.address, "") {
        share_consumers().assert_eq(&printed);
    }
}

fn quotas() -> Expect {
    expect![[r#"
        free: writes false, reads false
        limited: writes true, reads true
        another: writes false, reads false
          {client-id=limited} {consumer_byte_rate=100000.0, producer_byte_rate=100000.0}
          {user=ANONYMOUS} {controller_mutation_rate=1.0}
        refused: ThrottlingQuotaExceededException
        ConfigCommand --alter --add-config producer_byte_rate=1024 --entity-type users --entity-name alice
          Completed updating config for user alice.
        ConfigCommand --alter --add-config request_percentage=200 --entity-type clients --entity-name app
          Completed updating config for client app.
        ConfigCommand --alter --add-config connection_creation_rate=20 --entity-type ips --entity-name 10.1.2.3
          Completed updating config for ip 10.1.2.3.
        ConfigCommand --describe --entity-type users --entity-name alice
          Quota configs for user-principal 'alice' are producer_byte_rate=1024.0
        ConfigCommand --describe --entity-type users --entity-default
          Quota configs for the default user-principal are consumer_byte_rate=2048.0
        ConfigCommand --describe --entity-type clients
          Quota configs for client-id 'app' are request_percentage=200.0
          Quota configs for client-id 'limited' are consumer_byte_rate=100000.0, producer_byte_rate=100000.0
        ConfigCommand --describe --entity-type ips
          Quota configs for ip '10.1.2.3' are connection_creation_rate=20.0
        ConfigCommand --alter --delete-config request_percentage --entity-type clients --entity-name app
          Completed updating config for client app.
        LeaderElectionCommand --election-type preferred --topic quotas --partition 0
          Valid replica already elected for partitions quotas-0
        ReassignPartitionsCommand --list
          No partition reassignments found.
        ClientMetricsCommand --alter --name ours --interval 1000 --metrics org.apache.
          Altered client metrics config for ours.
        ClientMetricsCommand --describe --name ours
            interval.ms=1000
            match=
            metrics=org.apache.
          Client metrics configs for ours are:
        ClientMetricsCommand --list
          ours
        ClientMetricsCommand --delete --name ours
          Deleted client metrics config for ours.
    "#]]
}

/// Clients are slowed down, and Kafka's own commands set quotas and show them.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_as_at_kafka() {
    let broker = TestBroker::start().await;
    let address = broker.address.to_string();
    let printed = spawn_blocking(move || java("Quotas.java", &address, ""));
    if let Some(printed) = printed.await.unwrap() {
        quotas().assert_eq(&printed);
    }
}

#[test]
#[ignore = "asks Apache Kafka whether what we expect is right"]
fn quotas_at_kafka_itself() {
    let Some(kafka) = kafka::kafka() else { return };
    if let Some(printed) = java("Quotas.java", &kafka.address, "") {
        quotas().assert_eq(&printed);
    }
}

#[test]
#[ignore = "asks Apache Kafka whether what we expect is right"]
fn consumer_groups_at_kafka_itself() {
    let Some(kafka) = kafka::kafka() else { return };
    if let Some(printed) = java("ConsumerGroups.java", &kafka.address, "") {
        consumer_groups().assert_eq(&printed);
    }
}

#[test]
#[ignore = "asks Apache Kafka whether what we expect is right"]
fn groups_at_kafka_itself() {
    let Some(kafka) = kafka::kafka() else { return };
    if let Some(printed) = java("Groups.java", &kafka.address, "") {
        groups().assert_eq(&printed);
    }
}

/// Takes half a minute, most of it in waiting for Kafka to notice a timeout.
#[test]
#[ignore = "asks Apache Kafka whether what we expect is right"]
fn transactions_at_kafka_itself() {
    let Some(kafka) = kafka::kafka() else { return };
    let options = "-Dtimeout.wait.ms=13000";
    if let Some(printed) = java("Transactions.java", &kafka.address, options) {
        transactions().assert_eq(&printed);
    }
}
