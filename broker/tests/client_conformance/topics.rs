//! Topics: created, listed, found, deleted.

use broker::client::{ClientError, NewTopic, OffsetSpec, ReaderOptions};
use broker::ids::Offset;

use crate::harness::{Subject, at, plain_producer, topic, unique, values};

pub async fn a_topic_is_created_found_and_deleted(client: Subject) {
    let name = unique("life");
    let new = NewTopic::new(&name, 3).with_config("cleanup.policy", "compact");
    client.create_topic(&new).await.unwrap();
    assert_eq!(client.create_topic(&new).await, Err(ClientError::TopicExists(name.clone())));

    let found = client.topic(&name).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.partitions, found.internal), (name.as_str(), 3, false));
    assert!(found.id.is_some());
    let listed = client.topics().await.unwrap();
    assert_eq!(listed.iter().find(|topic| topic.name == name), Some(&found));
    assert!(listed.is_sorted_by(|a, b| a.name < b.name), "by name, each once");

    client.delete_topic(&name).await.unwrap();
    assert_eq!(client.delete_topic(&name).await, Err(ClientError::UnknownTopic(name.clone())));
    assert_eq!(client.topic(&name).await, Ok(None));
    assert!(client.topics().await.unwrap().iter().all(|topic| topic.name != name));

    // A new one of the same name is another, and empty.
    client.create_topic(&NewTopic::new(&name, 1)).await.unwrap();
    let again = client.topic(&name).await.unwrap().unwrap();
    assert_ne!((again.id, again.partitions), (found.id, found.partitions));
}

pub async fn a_topic_without_a_number_of_partitions_gets_the_brokers(client: Subject) {
    let name = unique("default");
    let new = NewTopic { name: name.clone(), partitions: None, configs: Default::default() };
    client.create_topic(&new).await.unwrap();
    assert!(client.topic(&name).await.unwrap().unwrap().partitions >= 1);
}

/// Several parts of a pipeline make sure of the same topic: once it exists, each can use it.
pub async fn whoever_comes_second_finds_the_topic(client: Subject) {
    for _ in 0..5 {
        let new = NewTopic::new(unique("race"), 2);
        let make_sure = async || {
            let outcome = client.create_topic(&new).await;
            (outcome, client.topic(&new.name).await.unwrap().map(|found| found.partitions))
        };
        let outcomes = tokio::join!(make_sure(), make_sure(), make_sure());
        let outcomes = [outcomes.0, outcomes.1, outcomes.2];
        assert!(outcomes.iter().all(|(_, found)| *found == Some(2)), "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|(made, _)| made.is_ok()).count(), 1, "{outcomes:?}");
    }
}

pub async fn what_cannot_be_created_is_refused(client: Subject) {
    let name = unique("refused");
    let impossible = [
        NewTopic::new("no spaces, please", 1),
        NewTopic::new("", 1),
        NewTopic::new("..", 1),
        NewTopic::new("x".repeat(250), 1),
        NewTopic::new(&name, 0),
        NewTopic::new(&name, -7),
        NewTopic::new(&name, 1).with_config("no.such.config", 1),
        NewTopic::new(&name, 1).with_config("retention.ms", "soon"),
    ];
    for new in impossible {
        let outcome = client.create_topic(&new).await;
        assert!(matches!(outcome, Err(ClientError::Refused { .. })), "{new:?}: {outcome:?}");
        assert_eq!(client.topic(&new.name).await, Ok(None), "{new:?}");
    }
}

pub async fn looking_never_creates(client: Subject) {
    let (known, unknown) = (topic(&client, "known", 1).await, unique("unknown"));
    let (nowhere, beyond) = (at(&unknown, 0), at(&known, 1));
    let is_unknown_topic = Err(ClientError::UnknownTopic(unknown.clone()));
    let is_unknown_partition = Err(ClientError::UnknownPartition(beyond.clone()));

    let ask = async |partition| client.list_offsets(&[partition], OffsetSpec::Earliest).await;
    assert_eq!(ask(nowhere.clone()).await.map(drop), is_unknown_topic);
    assert_eq!(ask(beyond.clone()).await.map(drop), is_unknown_partition);

    let read = async |partition| {
        let options = ReaderOptions::partitions(vec![(partition, Offset::ZERO)]);
        client.reader(options).await.map(drop)
    };
    assert_eq!(read(nowhere.clone()).await, is_unknown_topic);
    assert_eq!(read(beyond.clone()).await, is_unknown_partition);

    let mut producer = plain_producer(&client).await;
    assert_eq!(producer.send(&nowhere, values(["lost"])).await, is_unknown_topic);
    assert_eq!(producer.send(&beyond, values(["lost"])).await, is_unknown_partition);

    let group = unique("group");
    let outcome = client.reader(ReaderOptions::group(group, vec![unknown.clone()])).await;
    assert_eq!(outcome.map(drop), is_unknown_topic);
    assert_eq!(client.topic(&unknown).await, Ok(None));
}
