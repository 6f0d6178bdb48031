//! `millstream cluster`: its id, brokers, disks, features and what they serve.

use broker::client::admin::Admin;
use broker::client::admin::cluster::LogDir;
use broker::protocol::ApiKey;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, connection};
use crate::render::table::{Table, plural};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream cluster describe
  millstream cluster disks --json
  millstream cluster apis --bootstrap-server kafka:9092")]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Show the cluster's id, its brokers and its features
    #[command(after_help = "Example:\n  millstream cluster describe")]
    Describe(How),
    /// Show what each partition takes on each broker's disks
    #[command(after_help = "Example:\n  millstream cluster disks")]
    Disks(How),
    /// Show the APIs that the brokers serve, with their versions
    #[command(after_help = "Example:\n  millstream cluster apis")]
    Apis(How),
}

#[derive(Args, Debug)]
struct How {
    #[command(flatten)]
    broker: BrokerChoice,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub async fn cluster(args: ClusterArgs) -> Result<(), Failure> {
    let (ClusterCommand::Describe(how) | ClusterCommand::Disks(how) | ClusterCommand::Apis(how)) =
        &args.command;
    let connection = connection::open_admin(&how.broker).await?;
    let admin = &connection.admin;
    let done = match &args.command {
        ClusterCommand::Describe(how) => describe(admin, how.json).await,
        ClusterCommand::Disks(how) => disks(admin, how.json).await,
        ClusterCommand::Apis(how) => apis(admin, how.json).await,
    };
    connection.close().await;
    done
}

async fn describe(admin: &Admin, json: bool) -> Result<(), Failure> {
    let cluster = admin.cluster().await?;
    let features = admin.served(None).await?.features;
    if json {
        let nodes: Vec<Value> = cluster
            .nodes
            .iter()
            .map(|node| {
                json!({ "id": node.id, "host": node.host, "port": node.port, "rack": node.rack })
            })
            .collect();
        let level =
            |feature: &broker::protocol::messages::k18_api_versions::FinalizedFeatureKey| {
                (feature.name.clone(), json!(feature.max_version_level))
            };
        let features: serde_json::Map<String, Value> = features.iter().map(level).collect();
        return print_json([&json!({ "cluster_id": cluster.id, "controller": cluster.controller,
                                    "brokers": nodes, "features": features })]);
    }
    let brokers = plural(cluster.nodes.len() as i64, "broker");
    let mut text = format!("{}: {brokers}, controller {}\n", cluster.id, cluster.controller);
    for feature in &features {
        text.push_str(&format!("  {} = {}\n", feature.name, feature.max_version_level));
    }
    let rows: Vec<Vec<String>> = cluster
        .nodes
        .iter()
        .map(|node| {
            let rack = node.rack.clone().unwrap_or_else(|| "-".to_owned());
            vec![node.id.to_string(), node.to_string(), rack]
        })
        .collect();
    let mut table = Table::new([("broker", true), ("address", false), ("rack", false)]);
    text.push_str(&table.lines(&rows));
    print(&text)
}

async fn disks(admin: &Admin, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for node in admin.cluster().await?.nodes {
        for dir in admin.log_dirs(node.id, None).await? {
            broken(node.id, &dir);
            for stored in &dir.partitions {
                let of = &stored.partition;
                values.push(json!({ "broker": node.id, "dir": dir.path,
                                    "topic": of.topic.as_ref(), "partition": of.partition,
                                    "size_bytes": stored.size_bytes }));
                rows.push(vec![
                    node.id.to_string(),
                    dir.path.clone(),
                    of.topic.to_string(),
                    of.partition.to_string(),
                    stored.size_bytes.to_string(),
                ]);
            }
        }
    }
    if json {
        return print_json(&values);
    }
    let mut table = Table::new([
        ("broker", true),
        ("dir", false),
        ("topic", false),
        ("partition", true),
        ("size_bytes", true),
    ]);
    print(&table.lines(&rows))
}

fn broken(node: i32, dir: &LogDir) {
    if dir.error.is_error() {
        eprintln!("broker {node}: {}: {}", dir.path, dir.error.message());
    }
}

async fn apis(admin: &Admin, json: bool) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for node in admin.cluster().await?.nodes {
        for api in admin.served(Some(node.id)).await?.apis {
            let name = ApiKey::any_name(api.api_key);
            values.push(json!({ "broker": node.id, "api": name, "key": api.api_key,
                                "min_version": api.min_version,
                                "max_version": api.max_version }));
            rows.push(vec![
                node.id.to_string(),
                api.api_key.to_string(),
                name.to_owned(),
                format!("{}-{}", api.min_version, api.max_version),
            ]);
        }
    }
    if json {
        return print_json(&values);
    }
    let mut table =
        Table::new([("broker", true), ("key", true), ("api", false), ("versions", false)]);
    print(&table.lines(&rows))
}
