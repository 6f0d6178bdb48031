//! `kafka-log-dirs`.

use broker::client::admin::Admin;
use broker::client::admin::cluster::LogDir;

use super::options::{Given, Tool, flag, value};
use super::{Error, java};
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-log-dirs",
    about: "This tool helps to query log directory usage on the specified brokers.",
    example: "kafka-log-dirs --describe --topic-list orders,payments",
    options: &[
        value("broker-list", "IDS", "Only these brokers, with commas between"),
        flag("describe", "Show the log directories"),
        value("topic-list", "TOPICS", "Only these topics, with commas between"),
    ],
};

pub async fn run(given: &Given) -> Result<(), Error> {
    if !given.has("describe") {
        return Err(Error::usage("Missing required argument \"[describe]\""));
    }
    let connection = super::connect(given).await?;
    let done = describe(&connection.admin, given).await;
    connection.close().await;
    done
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Error> {
    let there: Vec<i32> = admin.cluster().await?.nodes.iter().map(|node| node.id).collect();
    let named = |name| given.value(name).unwrap_or_default().split(',').filter(|id| !id.is_empty());
    let mut wanted = Vec::new();
    for id in named("broker-list") {
        let id: i32 = id.trim().parse().map_err(|_| {
            Error::usage(format!("Cannot parse argument '{id}' of option broker-list"))
        })?;
        wanted.push(id);
    }
    let missing: Vec<i32> = wanted.iter().copied().filter(|id| !there.contains(id)).collect();
    if !missing.is_empty() {
        return Err(Error::Told(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent \
             brokers: {}",
            crate::cli::topics::joined(&missing),
            crate::cli::topics::joined(&there)
        )));
    }
    let nodes = if wanted.is_empty() { there } else { wanted };
    let topics: Vec<&str> = named("topic-list").collect();
    print("Querying brokers for log directories information\n")?;
    let mut brokers = Vec::new();
    for node in &nodes {
        let dirs = admin.log_dirs(*node, None).await?;
        let dirs: Vec<String> = dirs.iter().map(|dir| log_dir(dir, &topics)).collect();
        brokers.push(format!(r#"{{"broker":{node},"logDirs":[{}]}}"#, dirs.join(",")));
    }
    let ids = crate::cli::topics::joined(&nodes);
    Ok(print(&format!(
        "Received log directory information from brokers {ids}\n{{\"brokers\":[{}],\"version\":1}}\n",
        brokers.join(",")
    ))?)
}

/// By hand: scripts that look for a part of this text rely on the order of its fields.
fn log_dir(dir: &LogDir, topics: &[&str]) -> String {
    let partitions: Vec<String> = dir
        .partitions
        .iter()
        .filter(|stored| topics.is_empty() || topics.contains(&&*stored.partition.topic))
        .map(|stored| {
            format!(
                r#"{{"partition":{},"size":{},"offsetLag":{},"isFuture":{}}}"#,
                quoted(&stored.partition.to_string()),
                stored.size_bytes,
                stored.offset_lag,
                stored.is_future
            )
        })
        .collect();
    let error = match dir.error.is_error() {
        true => quoted(&java::exception(dir.error)),
        false => "null".to_owned(),
    };
    let partitions = partitions.join(",");
    let path = quoted(&dir.path);
    format!(r#"{{"partitions":[{partitions}],"error":{error},"logDir":{path}}}"#)
}

fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
