//! A partition whose log cannot be opened, among others that can.

use broker::protocol::ErrorCode;
use broker::protocol::messages::k02_list_offsets::*;
use broker::protocol::messages::k03_metadata::*;
use broker::protocol::messages::k21_delete_records::*;

use crate::harness::*;

fn offsets_of(topic: &str, timestamp: i64) -> ListOffsetsRequest {
    let partition =
        ListOffsetsPartition { current_leader_epoch: -1, timestamp, ..Default::default() };
    ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.to_owned(), partitions: vec![partition] }],
        ..Default::default()
    }
}

/// One damaged partition kept the whole broker from starting, with all that was well in it.
#[tokio::test]
async fn a_partition_that_cannot_be_opened_is_offline_and_the_others_serve() {
    let broker = TestBroker::start().await;
    for topic in ["ill", "well"] {
        broker.topic(topic, 1).await;
        put(&mut broker.connect().await, topic, &["a", "b"]).await;
    }
    let file = broker.dir().join("ill-0/log-checkpoint");
    let broker = broker.restarted_after(|| {
        // No more can be read of it than of a sector that has gone bad.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
    });
    let broker = broker.await;
    let mut client = broker.connect().await;
    assert_eq!(put(&mut client, "well", &["c"]).await, 2);

    let refused = produced(ask!(client, Produce v 9, produce("ill", 0, -1, batch(&["c"]))));
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    // Out of range would make consumers begin elsewhere.
    for offset in [0, 2, 100] {
        let data = fetched(ask!(client, Fetch v 11, fetch("ill", 0, offset)));
        assert_eq!(data.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "from {offset}");
    }
    for time in [-1, -2, 0] {
        let listed = ask!(client, ListOffsets v 6, offsets_of("ill", time));
        let code = listed.topics[0].partitions[0].error_code;
        assert_eq!(code, ErrorCode::KAFKA_STORAGE_ERROR, "at {time}");
    }
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: -1 }];
    let delete = DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic { name: "ill".to_owned(), partitions }],
        ..Default::default()
    };
    let deleted = ask!(client, DeleteRecords v 2, delete);
    let code = deleted.topics[0].partitions[0].error_code;
    assert_eq!(code, ErrorCode::KAFKA_STORAGE_ERROR);
    let asked = MetadataRequest { topics: None, ..Default::default() };
    let metadata = ask!(client, Metadata v 9, asked);
    let leaders = metadata.topics.iter().map(|topic| topic.partitions[0].leader_id);
    assert_eq!(leaders.collect::<Vec<_>>(), [-1, 1]);

    let broker = broker.restarted_after(|| std::fs::remove_dir(&file).unwrap()).await;
    let mut client = broker.connect().await;
    let data = fetched(ask!(client, Fetch v 11, fetch("ill", 0, 0)));
    assert_eq!(values(&data), ["a", "b"], "once it is mended all is there");
    assert_eq!(put(&mut client, "ill", &["c"]).await, 2);
}
