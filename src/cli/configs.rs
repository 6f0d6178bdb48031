//! `millstream configs`: describe and alter settings of topics, brokers and groups.

use broker::client::admin::Admin;
use broker::client::admin::configs::{ConfigChange, ConfigEntry, ConfigResource};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::stdout::{print, print_json};
use super::topics::shown;
use super::{BrokerChoice, Failure, connection, key_value};
use crate::render::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream configs describe --topic orders --all
  millstream configs alter --topic orders --set retention.ms=3600000
  millstream configs alter --topic orders --delete retention.ms")]
pub struct ConfigsArgs {
    #[command(subcommand)]
    command: ConfigsCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigsCommand {
    /// Show what has been set, or with --all everything
    #[command(after_help = "Example:\n  millstream configs describe --topic orders --json")]
    Describe {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        broker: BrokerChoice,
        /// Defaults as well
        #[arg(long)]
        all: bool,
        /// One JSON object per setting
        #[arg(long)]
        json: bool,
    },
    /// Set settings or take them back to their defaults, all at once
    #[command(after_help = "Example:
  millstream configs alter --topic orders --set retention.ms=3600000 --delete cleanup.policy")]
    Alter {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        broker: BrokerChoice,
        /// Set one; may be repeated
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        set: Vec<(String, String)>,
        /// Back to its default; may be repeated
        #[arg(long, value_name = "KEY")]
        delete: Vec<String>,
    },
}

/// What has the settings.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Of {
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// A broker by its id
    #[arg(long = "broker", value_name = "ID")]
    node: Option<i32>,
    /// A consumer group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

impl Of {
    fn resource(self) -> Result<ConfigResource, Failure> {
        let topic = self.topic.map(ConfigResource::Topic);
        let node = self.node.map(|id| ConfigResource::Broker(Some(id)));
        let group = self.group.map(ConfigResource::Group);
        topic.or(node).or(group).ok_or_else(|| {
            Failure::usage("nothing named").with_help("give --topic, --broker or --group")
        })
    }
}

pub async fn configs(args: ConfigsArgs) -> Result<(), Failure> {
    let (ConfigsCommand::Describe { broker, .. } | ConfigsCommand::Alter { broker, .. }) =
        &args.command;
    let connection = connection::open_admin(broker).await?;
    let done = act(&connection.admin, args.command).await;
    connection.close().await;
    done
}

async fn act(admin: &Admin, command: ConfigsCommand) -> Result<(), Failure> {
    match command {
        ConfigsCommand::Describe { of, all, json, .. } => {
            let entries = admin.configs(&of.resource()?).await?;
            let entries = entries.iter().filter(|entry| all || entry.source.is_dynamic());
            describe(&entries.collect::<Vec<_>>(), json)
        }
        ConfigsCommand::Alter { of, set, delete, .. } => {
            let set = set.into_iter().map(|(name, value)| (name, ConfigChange::Set(value)));
            let delete = delete.into_iter().map(|name| (name, ConfigChange::Delete));
            let changes: Vec<_> = set.chain(delete).collect();
            if changes.is_empty() {
                return Err(Failure::usage("nothing to change")
                    .with_help("give --set KEY=VALUE or --delete KEY"));
            }
            admin.alter_configs(&of.resource()?, &changes).await?;
            eprintln!("changed {}", crate::render::table::plural(changes.len() as i64, "setting"));
            Ok(())
        }
    }
}

fn describe(entries: &[&ConfigEntry], json: bool) -> Result<(), Failure> {
    if json {
        let value = |entry: &&ConfigEntry| {
            json!({ "name": entry.name, "value": entry.value, "source": entry.source.name(),
                    "read_only": entry.read_only, "sensitive": entry.sensitive })
        };
        let values: Vec<Value> = entries.iter().map(value).collect();
        return print_json(&values);
    }
    if entries.is_empty() {
        eprintln!("nothing has been set; --all shows the defaults");
        return Ok(());
    }
    let row = |entry: &&ConfigEntry| {
        let source = entry.source.name().trim_end_matches("_CONFIG").to_lowercase();
        vec![entry.name.clone(), shown(entry).to_owned(), source.replace('_', " ")]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let mut table = Table::new([("config", false), ("value", false), ("set_by", false)]);
    print(&table.lines(&rows))
}
