//! `kafka-cluster`.

use broker::client::admin::Admin;

use super::options::{Given, Tool, value};
use super::{Error, java};
use crate::cli::stdout::print;

pub const TOOL: Tool = Tool {
    name: "kafka-cluster",
    about: "The Kafka cluster tool: cluster-id or list-endpoints.",
    example: "kafka-cluster cluster-id --bootstrap-server kafka:9092",
    options: &[value("config", "FILE", "As --command-config")],
};

pub async fn run(given: &Given) -> Result<(), Error> {
    let command = given.rest.first().map(String::as_str);
    match command {
        Some("cluster-id" | "list-endpoints") => {}
        Some("unregister") => {
            return Err(Error::usage(
                "unregister: brokers are not registered and unregistered here",
            ));
        }
        Some(other) => {
            return Err(Error::usage(format!(
                "kafka-cluster: error: invalid choice: '{other}' (choose from 'cluster-id', \
                 'list-endpoints')"
            )));
        }
        None => return Err(Error::usage("kafka-cluster: error: too few arguments")),
    }
    let connection = super::connect(given).await?;
    let done = match command {
        Some("cluster-id") => cluster_id(&connection.admin).await,
        _ => endpoints(&connection.admin).await,
    };
    connection.close().await;
    done
}

async fn cluster_id(admin: &Admin) -> Result<(), Error> {
    Ok(print(&format!("Cluster ID: {}\n", admin.cluster().await?.id))?)
}

async fn endpoints(admin: &Admin) -> Result<(), Error> {
    let nodes = admin.cluster().await?.nodes;
    let rack = |rack: &Option<String>| rack.clone().unwrap_or_else(|| "null".to_owned());
    let host_width = nodes.iter().map(|node| node.host.len()).max().unwrap_or(0).max(4);
    let rack_width = nodes.iter().map(|node| rack(&node.rack).len()).max().unwrap_or(0).max(10);
    let line = |cells: [&str; 6]| {
        let widths = [10, host_width, 10, rack_width, 10, 15];
        let cells: Vec<(&str, usize)> = cells.into_iter().zip(widths).collect();
        java::padded(&cells) + "\n"
    };
    let mut text = line(["ID", "HOST", "PORT", "RACK", "STATE", "ENDPOINT_TYPE"]);
    for node in &nodes {
        let (id, port) = (node.id.to_string(), node.port.to_string());
        text.push_str(&line([&id, &node.host, &port, &rack(&node.rack), "unfenced", "broker"]));
    }
    Ok(print(&text)?)
}
