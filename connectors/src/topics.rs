//! Topics that connectors need: looked up, or created where they are missing.

use broker::client::{Client, ClientError, NewTopic, TopicInfo};

use crate::config::topics::TopicChoice;

/// The topics that a sink reads, by name. Those that are named are created if they are missing;
/// of those that match a pattern, it is those that are there. The broker's own are read by name
/// alone.
pub(crate) async fn chosen(
    client: &dyn Client,
    choice: &TopicChoice,
) -> Result<Vec<TopicInfo>, ClientError> {
    let mut found = Vec::new();
    match choice {
        TopicChoice::Named(names) => {
            for name in names {
                let wanted = NewTopic { partitions: None, ..NewTopic::new(name, 1) };
                found.push(ensure(client, &wanted).await?);
            }
        }
        TopicChoice::Matching(pattern) => {
            let all = client.topics().await?.into_iter();
            found.extend(all.filter(|topic| !topic.internal && pattern.has(&topic.name)));
            found.sort_by(|one, other| one.name.cmp(&other.name));
        }
    }
    Ok(found)
}

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
