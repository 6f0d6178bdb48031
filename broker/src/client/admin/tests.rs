//! A true broker, and brokers that are none or are old.

use std::time::Duration;

use bytes::Buf;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::configs::{ConfigChange, ConfigResource, ConfigSource};
use super::offsets::OffsetAt;
use super::topics::TopicToCreate;
use super::*;
use crate::broker::{Broker, BrokerConfig};
use crate::client::Isolation;
use crate::ids::{Offset, TopicPartition};
use crate::protocol::messages::k18_api_versions::{ApiVersion, ApiVersionsResponse};
use crate::protocol::{Response, encode_response};
use crate::server::{Server, ServerConfig};

#[tokio::test(flavor = "multi_thread")]
async fn topics_configs_offsets_and_groups_of_a_broker() {
    let dir = tempdir().unwrap();
    let broker = Broker::open(BrokerConfig::new(dir.path())).await.unwrap();
    let server = Server::bind(broker.clone(), ServerConfig::new("127.0.0.1:0")).await.unwrap();
    let (address, stop) = (server.local_addr().to_string(), CancellationToken::new());
    let serving = tokio::spawn(server.run(stop.clone()));
    let admin = Admin::connect(&address).await.unwrap();

    let topic = TopicToCreate { name: "t".into(), partitions: Some(2), ..Default::default() };
    admin.create_topic(&topic).await.unwrap();
    let again = admin.create_topic(&topic).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TOPIC_ALREADY_EXISTS));
    admin.create_partitions("t", 3, &[]).await.unwrap();
    let described = admin.describe_topic("t").await.unwrap();
    assert_eq!(described.partitions.len(), 3);
    assert_eq!(described.partitions[2].leader, Some(broker.node_id()));
    assert!(admin.describe_topic("nope").await.unwrap_err().is_unknown_topic());
    assert_eq!(admin.topic_names().await.unwrap(), [("t".to_owned(), false)]);

    let resource = ConfigResource::Topic("t".into());
    let set = ("retention.ms".to_owned(), ConfigChange::Set("1000".into()));
    admin.alter_configs(&resource, &[set]).await.unwrap();
    let configs = admin.configs(&resource).await.unwrap();
    let entry = configs.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((entry.value.as_deref(), entry.source), (Some("1000"), ConfigSource::TOPIC));

    let (there, missing) = (TopicPartition::new("t", 1), TopicPartition::new("t", 9));
    let wanted = [missing.clone(), there.clone()];
    let found = admin.list_offsets(&wanted, OffsetAt::Latest, Isolation::ReadCommitted).await;
    let found = found.unwrap();
    assert!(found[0].as_ref().unwrap_err().is_unknown_topic());
    assert_eq!(found[1], Ok(Some(Offset(0))));
    let deleted = admin.delete_records(&[(there.clone(), Offset(5))]).await.unwrap();
    assert_eq!(deleted[0].as_ref().unwrap_err().code(), Some(ErrorCode::OFFSET_OUT_OF_RANGE));

    admin.set_group_offsets("g", &[(there.clone(), Offset(0))]).await.unwrap();
    assert_eq!(admin.group("g").await.unwrap().state, "Empty");
    assert_eq!(admin.group_offsets("g").await.unwrap()[&there].offset, Offset(0));
    let forgotten = admin.delete_group_offsets("g", &[there]).await.unwrap();
    assert_eq!(forgotten, [Ok(())]);
    admin.set_group_offsets("h", &[(TopicPartition::new("t", 0), Offset(0))]).await.unwrap();
    admin.delete_group("h").await.unwrap();
    let gone = admin.delete_group("h").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::GROUP_ID_NOT_FOUND));

    let cluster = admin.cluster().await.unwrap();
    assert_eq!((cluster.id.as_str(), cluster.nodes.len()), (broker.cluster_id(), 1));
    let dirs = admin.log_dirs(broker.node_id(), None).await.unwrap();
    let stored = dirs[0].partitions.iter().filter(|stored| *stored.partition.topic == *"t");
    assert_eq!(stored.count(), 3);
    admin.delete_topic("t").await.unwrap();
    assert!(admin.delete_topic("t").await.unwrap_err().is_unknown_topic());
    stop.cancel();
    serving.await.unwrap();
    broker.shutdown().await.unwrap();
}

/// Something that listens, and answers each request with the next of these bytes; then it closes.
async fn listener(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let length = stream.read_u32().await.unwrap();
            let mut request = vec![0; length as usize];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    address
}

async fn refusal(answers: Vec<Vec<u8>>) -> AdminError {
    let address = listener(answers).await;
    Admin::connect_as(&address, "test", Duration::from_secs(5)).await.unwrap_err()
}

fn versions(correlation_id: i32, error_code: ErrorCode, apis: &[(i16, i16, i16)]) -> Vec<u8> {
    let api = |(api_key, min_version, max_version): &(i16, i16, i16)| ApiVersion {
        api_key: *api_key,
        min_version: *min_version,
        max_version: *max_version,
    };
    let api_keys = apis.iter().map(api).collect();
    let response = ApiVersionsResponse { error_code, api_keys, ..Default::default() };
    let version = if error_code.is_error() || correlation_id > 1 { 0 } else { 3 };
    let response = Response::ApiVersions(response);
    let mut frame = encode_response(correlation_id, version, &response).unwrap();
    frame.copy_to_bytes(frame.remaining()).to_vec()
}

#[tokio::test]
async fn what_is_no_broker_is_told_so() {
    let huge = i32::MAX.to_be_bytes().to_vec();
    assert!(matches!(refusal(vec![huge]).await, AdminError::Malformed { .. }));
    let negative = (-1i32).to_be_bytes().to_vec();
    assert!(matches!(refusal(vec![negative]).await, AdminError::Malformed { .. }));
    let short = [&3i32.to_be_bytes()[..], b"abc"].concat();
    assert!(matches!(refusal(vec![short]).await, AdminError::Malformed { .. }));
    assert!(matches!(refusal(Vec::new()).await, AdminError::Unreachable { .. }));
    let other = versions(77, ErrorCode::NONE, &[]);
    assert!(matches!(refusal(vec![other]).await, AdminError::Malformed { .. }));
    let nowhere = Admin::connect("nowhere").await.unwrap_err();
    assert_eq!(nowhere, AdminError::Address("nowhere".to_owned()));
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_its_own_version() {
    let apis = [(18, 0, 2), (3, 0, 1)];
    let answers =
        vec![versions(1, ErrorCode::UNSUPPORTED_VERSION, &[]), versions(2, ErrorCode::NONE, &apis)];
    let error = refusal(answers).await;
    let expected = "this broker does not serve Metadata v4; a newer one would";
    assert!(error.to_string().ends_with(expected), "{error}");
}
