//! Topics that connectors need: looked up, or created where they are missing.

use broker::client::{Client, ClientError, NewTopic, TopicInfo};

/// The topic as it is; created as `wanted` if there is none of its name.
pub(crate) async fn ensure(
    client: &dyn Client,
    wanted: &NewTopic,
) -> Result<TopicInfo, ClientError> {
    if let Some(info) = client.topic(&wanted.name).await? {
        return Ok(info);
    }
    match client.create_topic(wanted).await {
        // Another task may have been quicker.
        Ok(()) | Err(ClientError::TopicExists(_)) => {}
        Err(error) => return Err(error),
    }
    let info = client.topic(&wanted.name).await?;
    info.ok_or_else(|| ClientError::UnknownTopic(wanted.name.clone()))
}
