//! What a running connector is asked for, by the topic that it takes signals from.

use broker::client::{NewTopic, ProducerOptions};
use broker::ids::TopicPartition;
use broker::record::BatchBuilder;
use serde_json::{Value, json};

use super::{Herder, HerderError, offsets};
use crate::clock;
use crate::postgres::config::signal_topic;
use crate::postgres::incremental::channel::PROMISED_HEADER;
use crate::postgres::incremental::signal;
use crate::postgres::offset::{StoredPosition, partition};
use crate::topics;

/// The key by which a connector says where it takes signals from.
const CHANNELS_KEY: &str = "signal.enabled.channels";

/// Asks a connector for something. It is durable when this returns; the connector comes to it
/// when it runs, be it for the first time.
pub(crate) async fn signal(
    herder: &dyn Herder,
    name: &str,
    id: &str,
    kind: &str,
    data: &Value,
) -> Result<(), HerderError> {
    let refused = |reason: String| HerderError::Refused(format!("connector '{name}': {reason}"));
    let config = herder.view(name)?.config;
    let config = config.ok_or_else(|| refused("its properties are not right here".to_owned()))?;
    if !config.plugin().keys().any(|key| key.name == CHANNELS_KEY) {
        return Err(refused("a connector of its kind takes no signals".to_owned()));
    }
    let channels = config.text(CHANNELS_KEY);
    if !channels.split(',').any(|channel| channel.trim() == "kafka") {
        return Err(refused(format!("add `kafka` to `{CHANNELS_KEY}` first")));
    }
    let text = if data.is_null() { String::new() } else { data.to_string() };
    signal::parse(id, kind, &text).map_err(|error| refused(error.to_string()))?;
    let record = json!({ "id": id, "type": kind, "data": data }).to_string();
    let topic = signal_topic(&config);
    let failed = |error: broker::client::ClientError| {
        HerderError::Failed(format!("topic '{topic}': {error}"))
    };
    let client = &**herder.client();
    // The connector may be stopped for as long as it pleases.
    let wanted = NewTopic::new(topic.as_str(), 1).with_config("retention.ms", -1);
    topics::ensure(client, &wanted).await.map_err(failed)?;
    let prefix = config.text("topic.prefix");
    let (_, stored) = offsets::stored(herder, name).await?;
    let stored = stored.get(&partition(prefix)).map(StoredPosition::from_offset);
    let has_place = stored.is_some_and(|stored| stored.signals.is_some());
    // Otherwise it would begin behind this, and what is before it may be meant for others.
    let promised = (PROMISED_HEADER, Some(name.as_bytes()));
    let headers = if has_place { Vec::new() } else { vec![promised] };
    let mut producer = client.producer(ProducerOptions::default()).await.map_err(failed)?;
    let mut batch = BatchBuilder::default();
    let (key, value) = (Some(prefix.as_bytes()), Some(record.as_bytes()));
    batch.append_with_headers(clock::now_ms(), key, value, &headers);
    let to = TopicPartition::new(topic.as_str(), 0);
    producer.send(&to, batch).await.map_err(failed)?;
    producer.flush().await.map_err(failed)
}
