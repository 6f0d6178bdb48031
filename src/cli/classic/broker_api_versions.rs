//! `kafka-broker-api-versions`.

use std::collections::BTreeMap;

use broker::client::admin::Admin;
use broker::protocol::messages::k18_api_versions::ApiVersion;
use broker::protocol::{ApiKey, absent_for_clients};

use super::Error;
use super::options::{Given, Tool};
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-broker-api-versions",
    about: "This tool helps to retrieve broker version information.",
    example: "kafka-broker-api-versions --bootstrap-server kafka:9092",
    options: &[],
};

pub async fn run(given: &Given) -> Result<(), Error> {
    let connection = super::connect(given).await?;
    let done = show(&connection.admin).await;
    connection.close().await;
    done
}

async fn show(admin: &Admin) -> Result<(), Error> {
    let mut text = String::new();
    for node in admin.cluster().await?.nodes {
        let served = admin.served(Some(node.id)).await?.apis;
        let rack = node.rack.as_deref().unwrap_or("null");
        let lines = lines(&served);
        text.push_str(&format!(
            "{node} (id: {} rack: {rack} isFenced: false) -> (\n\t{}\n)\n",
            node.id,
            lines.join(",\n\t")
        ));
    }
    Ok(print(&text)?)
}

/// Every API that a client may call, by key, whether the broker has it or not.
fn lines(served: &[ApiVersion]) -> Vec<String> {
    let known = ApiKey::ALL.iter().map(|api| *api as i16);
    let absent = absent_for_clients().map(|(key, _)| key);
    let mut all: BTreeMap<i16, Option<&ApiVersion>> =
        known.chain(absent).map(|key| (key, None)).collect();
    all.extend(served.iter().map(|api| (api.api_key, Some(api))));
    all.into_iter().map(|(key, api)| line(key, api)).collect()
}

fn line(key: i16, api: Option<&ApiVersion>) -> String {
    let name = ApiKey::any_name(key);
    let Some(api) = api else { return format!("{name}({key}): UNSUPPORTED") };
    let (min, max) = (api.min_version, api.max_version);
    let span = if min == max { min.to_string() } else { format!("{min} to {max}") };
    // What this program does not speak itself it cannot use at all.
    let ours = ApiKey::from_i16(key).map(ApiKey::versions);
    let usable = match ours {
        Some(ours) if *ours.start() <= max && *ours.end() >= min => {
            format!("usable: {}", max.min(*ours.end()))
        }
        _ => "unusable: not spoken here".to_owned(),
    };
    format!("{name}({key}): {span} [{usable}]")
}
