//! The same requests to our server and to Apache Kafka 4.1, above all those that make no sense:
//! the answers must be the same. Needs Java and Maven, as tests/kafka/start-kafka.sh says; without
//! them it says so and passes.

#[path = "../server/harness.rs"]
#[allow(dead_code, unused_macros, unused_imports)]
mod harness;
#[path = "../../../tests/kafka/fixture.rs"]
mod kafka;

mod configs;
mod consumer_groups;
mod fetching;
mod groups;
mod producing;
mod script;
mod share_groups;
mod single_node;
mod topics;
mod transactions;
mod walks;

use std::net::ToSocketAddrs;

use broker::protocol::Response;
use broker::protocol::compatibility::KAFKA_4_1;
use broker::protocol::messages::k18_api_versions::ApiVersionsRequest;
use harness::TestBroker;
use script::{Script, settle};

/// Runs a script at both brokers and compares what they answer.
macro_rules! parity {
    ($($name:ident = $script:path;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let Some((ours, mut theirs)) = both().await else { return };
                let mut script = Script::at(ours.address).await;
                $script(&mut script).await;
                $script(&mut theirs).await;
                script::compare(&script, &theirs);
            }
        )+
    };
}

parity! {
    topics_are_created_and_changed_alike = topics::changing;
    topics_are_looked_at_alike = topics::looking;
    records_are_written_and_deleted_alike = topics::records;
    records_are_refused_alike = producing::refusals;
    settings_are_told_alike = configs::told;
    texts_that_are_none_are_answered_alike = topics::texts;
    brokers_are_configured_alike = topics::broker_configs;
    fetches_are_answered_alike = fetching::fetches;
    transactions_of_version_1_go_alike = transactions::version_1;
    transactions_of_version_2_go_alike = transactions::version_2;
    transactional_ids_live_alike = transactions::lives;
    transactions_are_refused_alike = transactions::refusals;
    members_live_alike = groups::membership;
    static_members_live_alike = groups::static_membership;
    offsets_are_kept_alike = groups::offsets;
    groups_are_looked_at_alike = groups::looking;
    quotas_are_set_and_described_alike = single_node::quotas;
    replicas_of_one_node_are_where_they_are = single_node::replicas;
    subscriptions_to_client_metrics_are_kept_alike = single_node::client_metrics;
    consumer_groups_are_refused_alike = consumer_groups::refusals;
    consumer_members_live_alike = consumer_groups::members;
    static_consumer_members_live_alike = consumer_groups::static_members;
    groups_go_over_alike = consumer_groups::migration;
    share_groups_are_refused_alike = share_groups::refusals;
    members_of_share_groups_live_alike = share_groups::members;
    partitions_of_share_groups_are_given_out_alike = share_groups::partitions;
    records_are_shared_alike = share_groups::records;
    share_sessions_go_alike = share_groups::sessions;
    offsets_of_share_groups_are_kept_alike = share_groups::offsets;
}

#[tokio::test(flavor = "multi_thread")]
async fn classic_groups_walk_alike() {
    for seed in 0..walks::seeds() {
        for (at, patience) in walks::PATIENCE.into_iter().enumerate() {
            let Some((ours, mut theirs)) = both().await else { return };
            let mut script = Script::at(ours.address).await;
            walks::classic(&mut script, seed, patience).await;
            walks::classic(&mut theirs, seed, patience).await;
            if script::differences(&script, &theirs).is_empty() || at + 1 == walks::PATIENCE.len() {
                script::compare(&script, &theirs);
                break;
            }
        }
    }
}

/// The constant that the README's table is made of.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_has_the_versions_that_we_say() {
    let Some((_, mut theirs)) = both().await else { return };
    let request = ApiVersionsRequest {
        client_software_name: "test".to_owned(),
        client_software_version: "1".to_owned(),
    };
    let Response::ApiVersions(told) = theirs.ask_quietly(4, request).await else { panic!() };
    let mut told: Vec<(i16, i16, i16)> =
        told.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    told.sort_unstable();
    assert_eq!(told, KAFKA_4_1);
}

async fn both() -> Option<(TestBroker, Script)> {
    let kafka = tokio::task::spawn_blocking(kafka::kafka).await.unwrap()?;
    let address = kafka.address.to_socket_addrs().unwrap().next().unwrap();
    settle(address).await;
    // As tests/kafka/start-kafka.sh has it.
    let ours = TestBroker::with(|broker, _| {
        for config in [&mut broker.groups.consumer, &mut broker.groups.share] {
            (config.session_timeout_ms, config.session_timeout_ms_min) = (6_000, 6_000);
            (config.heartbeat_interval_ms, config.heartbeat_interval_ms_min) = (1_000, 1_000);
        }
    });
    Some((ours.await, Script::at(address).await))
}
