//! The PostgreSQL source and sink against a real server.

mod backlog;
mod blocking;
mod crashes;
mod debezium;
mod failover;
mod incremental;
mod operations;
mod requests;
mod server;
mod settings;
mod sink;
#[path = "../support/mod.rs"]
mod support;
mod types;
mod warnings;

use broker::client::Client;
use connectors::{ConnectorState, Worker};

/// JSON without schemas, and null where null is.
const PLAIN: &str = "key.converter=org.apache.kafka.connect.json.JsonConverter
    key.converter.schemas.enable=false
    value.converter=org.apache.kafka.connect.json.JsonConverter
    value.converter.schemas.enable=false
    value.converter.replace.null.with.default=false";

/// Keys and values of a record.
type Record = (Option<String>, Option<String>);

/// The records of a topic's first partition, once there are so many.
async fn at_least(client: &dyn Client, worker: &Worker, topic: &str, count: usize) -> Vec<Record> {
    loop {
        if client.topic(topic).await.unwrap().is_some() {
            let records = support::read(client, topic, 0).await;
            if records.len() >= count {
                return records;
            }
        }
        assert_eq!(failure(worker), None);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Why a connector has failed, if one has.
fn failure(worker: &Worker) -> Option<String> {
    let statuses = worker.statuses();
    let statuses = statuses.borrow();
    statuses.iter().find_map(|status| match &status.state {
        ConnectorState::Failed(reason) => Some(reason.clone()),
        _ => None,
    })
}
