//! A client that writes down what it is answered, in a form that two brokers can share.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use broker::protocol::messages::{k03_metadata::*, k09_offset_fetch::*, k22_init_producer_id::*};
use broker::protocol::{ErrorCode, Request, Response};
use regex::Regex;
use tokio::net::TcpStream;

use crate::harness::Connection;

/// One exchange.
struct Entry {
    request: String,
    answer: String,
}

pub struct Script {
    client: Connection,
    address: SocketAddr,
    entries: Vec<Entry>,
    /// Makes names of topics, groups and ids differ from those of other scripts.
    mark: String,
}

impl Script {
    pub async fn at(address: SocketAddr) -> Script {
        static SCRIPTS: AtomicU32 = AtomicU32::new(0);
        let number = SCRIPTS.fetch_add(1, Ordering::Relaxed);
        let mark = format!("-p{}x{number}", std::process::id());
        let client = connect(address).await;
        Script { client, address, entries: Vec::new(), mark }
    }

    /// A name that only this script uses.
    pub fn named(&self, name: &str) -> String {
        format!("{name}{}", self.mark)
    }

    pub async fn ask(&mut self, version: i16, request: impl Into<Request>) -> Response {
        let request = request.into();
        let asked = format!("v{version} {request:?}");
        let response = self.client.ask(version, request).await;
        self.note(asked, format!("{response:?}"));
        response
    }

    /// The same, with nothing written down.
    pub async fn ask_quietly(&mut self, version: i16, request: impl Into<Request>) -> Response {
        self.client.ask(version, request.into()).await
    }

    /// Another client of the same broker.
    pub async fn another(&self) -> Connection {
        connect(self.address).await
    }

    pub fn note(&mut self, request: String, answer: String) {
        let (request, answer) = (self.masked(&request), self.masked(&answer));
        self.entries.push(Entry { request, answer });
    }

    /// A topic, ready to be used.
    pub async fn topic(&mut self, name: &str, partitions: i32) -> String {
        use broker::protocol::messages::k19_create_topics::*;
        let name = self.named(name);
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: partitions,
            replication_factor: -1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        let response = self.client.ask(5, request.into()).await;
        let Response::CreateTopics(response) = response else { panic!("{response:?}") };
        assert_eq!(response.topics[0].error_code, ErrorCode::NONE, "{response:?}");
        self.ready(&name).await;
        name
    }

    /// Waits until a topic has a leader.
    pub async fn ready(&mut self, name: &str) -> MetadataResponseTopic {
        let wanted = MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![wanted]), ..Default::default() };
        loop {
            let response = self.client.ask(12, request.clone().into()).await;
            let Response::Metadata(mut response) = response else { panic!("{response:?}") };
            let mut topic = response.topics.remove(0);
            let has_leader = |one: &MetadataResponsePartition| one.error_code == ErrorCode::NONE;
            let has_leaders =
                topic.error_code == ErrorCode::NONE && topic.partitions.iter().all(has_leader);
            topic.partitions.sort_by_key(|partition| partition.partition_index);
            if has_leaders && self.leads(&topic).await {
                return topic;
            }
            // Kafka has no event for that.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the broker that is said to lead a topic knows that itself.
    async fn leads(&mut self, topic: &MetadataResponseTopic) -> bool {
        use broker::protocol::messages::k02_list_offsets::*;
        let partitions = topic.partitions.iter().map(|partition| ListOffsetsPartition {
            partition_index: partition.partition_index,
            timestamp: -1,
            ..Default::default()
        });
        let name = topic.name.clone().unwrap_or_default();
        let topics = vec![ListOffsetsTopic { name, partitions: partitions.collect() }];
        let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
        let Response::ListOffsets(response) = self.client.ask(5, request.into()).await else {
            return false;
        };
        let mut partitions = response.topics[0].partitions.iter();
        partitions.all(|partition| partition.error_code == ErrorCode::NONE)
    }

    /// Without what differs between two brokers, or two runs, by nature.
    fn masked(&self, text: &str) -> String {
        static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
            let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
            let masks = [
                ("00000000-0000-0000-0000-000000000000".to_owned(), "NIL"),
                (uuid.to_owned(), "UUID"),
                // Java's ids in base 64, within member ids.
                (r"test-[A-Za-z0-9_-]{22}\b".to_owned(), "test-UUID"),
                (
                    r#"error_message: Some\("(?:[^"\\]|\\.)*"\)"#.to_owned(),
                    "error_message: Some(_)",
                ),
                (r"producer_id: \d+".to_owned(), "producer_id: ID"),
                (r"session_id: [1-9]\d*".to_owned(), "session_id: ID"),
                (r#"host: "(?:127.0.0.1|localhost)""#.to_owned(), "host: HOST"),
                (r"port: \d{2,}".to_owned(), "port: PORT"),
                (r#"cluster_id: (?:Some\()?"[^"]*"\)?"#.to_owned(), "cluster_id: SOME"),
                (r#"log_dir: "[^"]*""#.to_owned(), "log_dir: DIR"),
                (r#"records: Some\(b"(?:[^"\\]|\\.)+"\)"#.to_owned(), "records: SOME"),
                (r"(timestamp|_time_ms|_timestamp): \d{13}".to_owned(), "$1: TIME"),
            ];
            let compiled = masks.into_iter().map(|(mask, by)| (Regex::new(&mask).unwrap(), by));
            compiled.collect()
        });
        let mut text = text.replace(&self.mark, "");
        for (mask, by) in MASKS.iter() {
            text = mask.replace_all(&text, *by).into_owned();
        }
        text
    }
}

async fn connect(address: SocketAddr) -> Connection {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Connection::over(stream)
}

/// Two texts from a little before they differ to a little behind.
fn differing<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str) {
    const AROUND: usize = 80;
    let same = |one: &mut dyn Iterator<Item = char>, other: &mut dyn Iterator<Item = char>| {
        one.zip(other).take_while(|(one, other)| one == other).count()
    };
    let begin = same(&mut one.chars(), &mut other.chars()).saturating_sub(AROUND);
    let end = same(&mut one.chars().rev(), &mut other.chars().rev()).saturating_sub(AROUND / 2);
    let cut = |text: &'a str| text.get(begin..text.len().saturating_sub(end)).unwrap_or(text);
    (cut(one), cut(other))
}

/// Where both answer, they must answer the same.
pub fn compare(ours: &Script, theirs: &Script) {
    let differences = differences(ours, theirs);
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    assert_eq!(ours.entries.len(), theirs.entries.len());
}

/// What was answered otherwise, and to what.
pub fn differences(ours: &Script, theirs: &Script) -> Vec<String> {
    let mut differences = Vec::new();
    for (at, (our, their)) in ours.entries.iter().zip(&theirs.entries).enumerate() {
        if our.answer != their.answer {
            let Entry { request, answer } = our;
            let (our, their) = differing(answer, &their.answer);
            differences.push(format!("{at}: asked {request}\n ours  {our}\n Kafka {their}\n"));
        }
    }
    differences
}

/// Waits until Kafka's coordinators have loaded.
pub async fn settle(address: SocketAddr) {
    use broker::protocol::messages::k10_find_coordinator::*;
    let mut client = connect(address).await;
    for key_type in [0, 1] {
        let keys = FindCoordinatorRequest {
            key_type,
            coordinator_keys: (0..20).map(|number| format!("k{number}")).collect(),
            ..Default::default()
        };
        loop {
            let response = client.ask(4, keys.clone().into()).await;
            let Response::FindCoordinator(response) = response else { panic!("{response:?}") };
            if response.coordinators.iter().all(|one| one.error_code == ErrorCode::NONE) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for number in 0..20 {
        let id = format!("k{number}");
        loop {
            let init = InitProducerIdRequest {
                transactional_id: Some(id.clone()),
                transaction_timeout_ms: 60_000,
                ..Default::default()
            };
            let init = client.ask(4, init.into()).await;
            let group = OffsetFetchRequestGroup { group_id: id.clone(), ..Default::default() };
            let fetch = OffsetFetchRequest { groups: vec![group], ..Default::default() };
            let fetched = client.ask(8, fetch.into()).await;
            let (Response::InitProducerId(init), Response::OffsetFetch(fetched)) = (init, fetched)
            else {
                panic!("other answers")
            };
            let codes = [init.error_code, fetched.groups[0].error_code];
            if codes == [ErrorCode::NONE; 2] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
