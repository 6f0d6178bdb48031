//! The same server, spoken to by an independent implementation of the protocol.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records as theirs;

use crate::harness::*;

async fn exchange<Request, Response>(
    client: &mut Connection,
    key: ApiKey,
    version: i16,
    request: &Request,
) -> Response
where
    Request: Encodable + HeaderVersion,
    Response: Decodable + HeaderVersion,
{
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(i32::from(version))
        .with_client_id(Some(StrBytes::from_static_str("oracle")));
    let mut body = BytesMut::new();
    header.encode(&mut body, Request::header_version(version)).unwrap();
    request.encode(&mut body, version).unwrap();
    client.send_bytes(&framed(&body)).await;
    let mut frame = client.receive_frame().await.expect("a response");
    let header = ResponseHeader::decode(&mut frame, Response::header_version(version)).unwrap();
    assert_eq!(header.correlation_id, i32::from(version));
    let response = Response::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty(), "{key:?} v{version} leaves {} bytes", frame.len());
    response
}

fn their_batch(text: &'static str) -> Bytes {
    let record = theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: theirs::TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: now_ms(),
        key: None,
        value: Some(Bytes::from_static(text.as_bytes())),
        headers: Default::default(),
    };
    let options =
        theirs::RecordEncodeOptions { version: 2, compression: theirs::Compression::None };
    let mut bytes = BytesMut::new();
    theirs::RecordBatchEncoder::encode(&mut bytes, [&record], &options).unwrap();
    bytes.freeze()
}

#[tokio::test]
async fn another_implementation_produces_and_fetches() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let name = TopicName(StrBytes::from_static_str("t"));

    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("oracle"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let versions: ApiVersionsResponse =
        exchange(&mut client, ApiKey::ApiVersions, 3, &request).await;
    assert!(versions.api_keys.iter().any(|api| api.api_key == ApiKey::Fetch as i16));

    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(name.clone()));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![wanted]))
        .with_allow_auto_topic_creation(true);
    let metadata: MetadataResponse = exchange(&mut client, ApiKey::Metadata, 12, &request).await;
    let topic_id = metadata.topics[0].topic_id;
    assert_eq!(metadata.topics[0].error_code, 0);

    for version in 3..=12 {
        let data = produce_request::PartitionProduceData::default()
            .with_index(0)
            .with_records(Some(their_batch("from elsewhere")));
        let topic = produce_request::TopicProduceData::default()
            .with_name(name.clone())
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        let response: ProduceResponse =
            exchange(&mut client, ApiKey::Produce, version, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, i64::from(version - 3)));
    }
    for version in 4..=17 {
        let partition = fetch_request::FetchPartition::default()
            .with_partition(0)
            .with_partition_max_bytes(1 << 20);
        let topic = fetch_request::FetchTopic::default();
        let topic = if version >= 13 {
            topic.with_topic_id(topic_id)
        } else {
            topic.with_topic(name.clone())
        };
        let request = FetchRequest::default()
            .with_max_wait_ms(0)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_topics(vec![topic.with_partitions(vec![partition])]);
        let response: FetchResponse = exchange(&mut client, ApiKey::Fetch, version, &request).await;
        let mut records = response.responses[0].partitions[0].records.clone().unwrap();
        let mut read = 0;
        while !records.is_empty() {
            let set = theirs::RecordBatchDecoder::decode(&mut records).unwrap();
            for record in set.records {
                assert_eq!((record.offset, record.partition_leader_epoch), (read, 0));
                assert_eq!(record.value.as_deref(), Some(&b"from elsewhere"[..]));
                read += 1;
            }
        }
        assert_eq!(read, 10);
    }
}
