//! Fetch, in sessions and out of them.

use broker::protocol::Response;
use broker::protocol::messages::k01_fetch::*;
use uuid::Uuid;

use crate::harness::{batch, fetch, produce};
use crate::script::Script;

pub async fn fetches(script: &mut Script) {
    let name = script.topic("t", 2).await;
    let topic_id = script.ready(&name).await.topic_id;
    script.ask_quietly(9, produce(&name, 0, -1, batch(&["a", "b"]))).await;
    for (topic, partition, offset, epoch) in [
        (&*name, 0, 0, -1),
        (&*name, 0, 2, -1),
        (&*name, 0, 3, -1),
        (&*name, 0, -1, -1),
        (&*name, 1, 0, -1),
        (&*name, 9, 0, -1),
        ("none", 0, 0, -1),
        (&*name, 0, 0, 0),
        (&*name, 0, 0, 9),
    ] {
        for version in [4, 9, 12, 16] {
            let mut request = fetch(topic, partition, offset);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            if version >= 13 {
                let known = topic != "none";
                request.topics[0].topic_id = if known { topic_id } else { Uuid::from_u128(7) };
                request.topics[0].topic = String::new();
            }
            script.ask(version, request).await;
        }
    }
    sessions(script, &name, topic_id).await;
}

async fn sessions(script: &mut Script, name: &str, topic_id: Uuid) {
    let partition = |index, offset| FetchPartition {
        partition: index,
        fetch_offset: offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    let topic = |partitions: &[(i32, i64)]| FetchTopic {
        topic: name.to_owned(),
        partitions: partitions.iter().map(|(index, at)| partition(*index, *at)).collect(),
        ..Default::default()
    };
    let mut request = fetch(name, 0, 0);
    request.topics = vec![topic(&[(0, 0), (1, 0)])];
    request.session_epoch = 0;
    let Response::Fetch(begun) = script.ask(12, request.clone()).await else { panic!() };
    let in_session = |epoch, topics: Vec<FetchTopic>| FetchRequest {
        session_id: begun.session_id,
        session_epoch: epoch,
        min_bytes: 1,
        topics,
        ..Default::default()
    };
    script.ask(12, in_session(1, vec![topic(&[(0, 2)])])).await;
    script.ask(12, in_session(2, vec![])).await;
    script.ask(12, in_session(2, vec![])).await;
    script.ask(12, in_session(9, vec![])).await;
    script.ask(13, in_session(3, vec![])).await;
    script.ask_quietly(9, produce(name, 1, -1, batch(&["c"]))).await;
    script.ask(12, in_session(3, vec![])).await;
    let none = FetchTopic { topic: "none".to_owned(), ..topic(&[(0, 0)]) };
    script.ask(12, in_session(4, vec![none, topic(&[(1, 1), (7, 0)])])).await;
    let mut forgetting = in_session(5, vec![topic(&[(0, 9)])]);
    forgetting.forgotten_topics_data = vec![
        ForgottenTopic { topic: "none".to_owned(), partitions: vec![0], ..Default::default() },
        ForgottenTopic { topic: name.to_owned(), partitions: vec![1, 7], ..Default::default() },
    ];
    script.ask(12, forgetting).await;
    script.ask(12, in_session(6, vec![topic(&[(0, 2)])])).await;
    script.ask(12, in_session(7, vec![])).await;
    let mut all = in_session(8, vec![]);
    all.forgotten_topics_data =
        vec![ForgottenTopic { topic: name.to_owned(), partitions: vec![0], ..Default::default() }];
    script.ask(12, all).await;
    script.ask(12, in_session(9, vec![])).await;
    script.ask(12, FetchRequest { session_epoch: 1, ..Default::default() }).await;
    script.ask(12, FetchRequest { session_epoch: 0, ..Default::default() }).await;
    script.ask(12, FetchRequest { session_epoch: -1, ..Default::default() }).await;
    let mut by_id = request;
    by_id.topics[0].topic.clear();
    by_id.topics[0].topic_id = topic_id;
    by_id.topics.push(FetchTopic { topic_id: Uuid::from_u128(7), ..topic(&[(0, 0)]) });
    by_id.topics[1].topic.clear();
    let Response::Fetch(begun) = script.ask(13, by_id).await else { panic!() };
    let in_session = |epoch| FetchRequest {
        session_id: begun.session_id,
        session_epoch: epoch,
        min_bytes: 1,
        ..Default::default()
    };
    script.ask(13, in_session(1)).await;
    script.ask(12, in_session(2)).await;
    script.ask(13, FetchRequest { session_epoch: -1, ..in_session(2) }).await;
    script.ask(13, in_session(2)).await;
}
