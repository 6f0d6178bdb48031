//! `millstream connect`: connectors by Kafka Connect's own files and REST API.
//!
//! ```text
//! worker.properties, a.properties, b.json, c.toml ─► files ─► Herder ◄─ rest ◄─ HTTP
//!                                                                          ▲
//! millstream connect list | status | pause | … ─► client ──────────────────┘
//! ```
//!
//! - [`files`]: reading them, every mistake at once; [`worker`]: what the worker's own say;
//!   [`rest_settings`]: of its REST API, [`jaas`]: as Java has it; [`serve`]: running it;
//!   [`rest_servers`], [`rest`]: its HTTP.
//! - [`client`]: orders to a worker that runs, [`rest_client`]: how they reach it; [`kinds`]: the
//!   keys of each kind of connector.

mod client;
pub mod files;
mod jaas;
mod kinds;
mod rest;
mod rest_client;
mod rest_servers;
pub mod rest_settings;
mod serve;
mod worker;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::rest_client::At;
use super::broker::Listen;
use super::{BrokerChoice, Failure};

/// The names of Kafka's commands that this is. Which of them it is, the worker's file says: by
/// `group.id` it is one of several.
pub const KAFKAS_NAMES: [&str; 2] = ["connect-standalone", "connect-distributed"];

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  millstream connect worker.properties file-source.properties   as Kafka's connect-standalone
  millstream connect orders.json files.toml                     no worker.properties is needed
  millstream connect distributed.properties                     one of several, by its group.id
  millstream connect lint orders.json                           find every mistake, start nothing
  millstream connect status                                     of the worker at --url
  millstream connect snapshot inventory public.orders           read a table of PostgreSQL again
  millstream connect plugins file-source                        every key of a kind of connector

A file of properties without `connector.class` is the worker's own. Without `bootstrap.servers` or
--bootstrap-server, and where nobody serves that address of this machine, a broker is started here.
With `group.id` in it, workers share connectors: their tasks move when one comes, goes or dies, and
any of them takes orders. Connectors of files are created, or changed, for all of them then.
Values may be ${env:NAME}, ${file:PATH:KEY} and ${dir:PATH:NAME}, so that no secret stands in a file."
)]
pub struct ConnectArgs {
    #[command(subcommand)]
    command: Option<ConnectCommand>,
    /// Connectors (.properties, .json, .toml) and the worker's own .properties
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    broker: BrokerChoice,
    #[command(flatten)]
    listen: Listen,
    /// Where the REST API is served, after https:// by TLS; the worker's `listeners` otherwise
    #[arg(long, value_name = "HOST:PORT")]
    rest_listen: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ConnectCommand {
    /// List the connectors of a running worker, with how they stand
    List(ListArgs),
    /// Show how connectors and their tasks stand, and why they failed
    Status(NamesArgs),
    /// Create the connectors of files, or change those of the same name
    Create(FilesArgs),
    /// Let connectors do nothing for a while
    Pause(NamesArgs),
    /// Let connectors go on
    Resume(NamesArgs),
    /// Stop connectors, keeping what they are and how far they have come
    Stop(NamesArgs),
    /// Start the tasks of connectors anew
    Restart(RestartArgs),
    /// Delete connectors; their offsets stay
    Delete(NamesArgs),
    /// Show a connector's properties, or change some
    Config(ConfigArgs),
    /// Show how far a connector has come, or let a stopped one begin anew
    Offsets(OffsetsArgs),
    /// Let a running PostgreSQL source read tables again, beside the changes or before they go on
    Snapshot(SnapshotArgs),
    /// Find every mistake in files of connectors, starting nothing
    Lint(LintArgs),
    /// Show the kinds of connectors with every key: type, default, example
    Plugins(PluginsArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    at: At,
    /// Print what the REST API says
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct NamesArgs {
    /// Connectors; without any, all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    at: At,
    /// Print what the REST API says
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RestartArgs {
    #[command(flatten)]
    of: NamesArgs,
    /// Only tasks that have failed
    #[arg(long)]
    only_failed: bool,
}

#[derive(Debug, Args)]
struct FilesArgs {
    /// Connectors (.properties, .json, .toml)
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The connector
    name: String,
    /// Set a property; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::key_value)]
    set: Vec<(String, String)>,
    /// Take a property out; may be repeated
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct OffsetsArgs {
    /// The connector
    name: String,
    /// Forget them all; the connector has to be stopped
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct SnapshotArgs {
    /// The connector
    name: String,
    /// Tables as schema.table, or patterns of them
    #[arg(value_name = "TABLE", required_unless_present_any = ["pause", "resume", "stop"])]
    tables: Vec<String>,
    /// Only rows for which this SQL condition holds
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// The unique column to go by, where a table has no primary key
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// In one go while changes wait, which is faster and needs no key
    #[arg(long, conflicts_with = "key")]
    blocking: bool,
    /// Read no more for now
    #[arg(long, conflicts_with_all = ["tables", "filter", "key", "blocking", "resume", "stop"])]
    pause: bool,
    /// Go on after a pause
    #[arg(long, conflicts_with_all = ["tables", "filter", "key", "blocking", "stop"])]
    resume: bool,
    /// Leave off, with these tables or with all
    #[arg(long, conflicts_with_all = ["filter", "key", "blocking"])]
    stop: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
struct LintArgs {
    /// Connectors (.properties, .json, .toml) and the worker's own .properties
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct PluginsArgs {
    /// A connector, converter, transform or predicate by its name or class
    name: Option<String>,
}

impl SnapshotArgs {
    /// The signal that says so, in Debezium's words.
    fn signal(&self) -> (&'static str, Value) {
        let tables = &self.tables;
        match self {
            SnapshotArgs { pause: true, .. } => ("pause-snapshot", Value::Null),
            SnapshotArgs { resume: true, .. } => ("resume-snapshot", Value::Null),
            SnapshotArgs { stop: true, .. } => {
                ("stop-snapshot", json!({ "data-collections": tables }))
            }
            SnapshotArgs { filter, key, blocking, .. } => {
                let data = json!({
                    "type": if *blocking { "BLOCKING" } else { "INCREMENTAL" },
                    "data-collections": tables,
                    "additional-condition": filter,
                    "surrogate-key": key,
                });
                ("execute-snapshot", data)
            }
        }
    }
}

/// `connect-standalone a b` and `connect-distributed a` are `millstream connect a b`, by the
/// program's name or as its first word; everything else stays as it is.
pub fn words(words: Vec<String>) -> Vec<String> {
    let is_kafkas = |word: &String| {
        let name = std::path::Path::new(word).file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| KAFKAS_NAMES.contains(&name.strip_suffix(".sh").unwrap_or(name)))
    };
    let behind = match words.iter().take(2).position(is_kafkas) {
        Some(at) => &words[at + 1..],
        None => return words,
    };
    let here = ["millstream", "connect"].map(str::to_owned).into_iter();
    here.chain(behind.iter().filter(|word| *word != "-daemon").cloned()).collect()
}

/// What Kafka's own scripts say where no file is named.
pub fn usage(words: &[String]) -> Option<&'static str> {
    let [word] = &words[words.len().min(2).saturating_sub(1)..] else { return None };
    let name = std::path::Path::new(word).file_name().and_then(|name| name.to_str())?;
    match name.strip_suffix(".sh").unwrap_or(name) {
        "connect-standalone" => Some(
            "USAGE: connect-standalone [-daemon] connect-standalone.properties \
             [connector1.properties connector2.json ...]",
        ),
        "connect-distributed" => {
            Some("USAGE: connect-distributed [-daemon] connect-distributed.properties")
        }
        _ => None,
    }
}

pub async fn connect(args: ConnectArgs, stop: CancellationToken) -> Result<(), Failure> {
    let Some(command) = args.command else {
        let asked = serve::Asked {
            broker: args.broker,
            listen: args.listen,
            rest_listen: args.rest_listen,
        };
        return serve::serve(&args.files, asked, stop).await;
    };
    let ordered = tokio::task::spawn_blocking(move || order(command));
    match stop.run_until_cancelled(ordered).await {
        Some(done) => done.map_err(Failure::running)?,
        None => Err(super::stopped()),
    }
}

fn order(command: ConnectCommand) -> Result<(), Failure> {
    match command {
        ConnectCommand::List(args) => client::list(&args.at.rest()?, args.json),
        ConnectCommand::Status(args) => client::status(&args.at.rest()?, &args.names, args.json),
        ConnectCommand::Create(args) => client::create(&args.at.rest()?, &args.files),
        ConnectCommand::Pause(args) => {
            client::each(&args.at.rest()?, &args.names, "pause", "paused")
        }
        ConnectCommand::Resume(args) => {
            client::each(&args.at.rest()?, &args.names, "resume", "resumed")
        }
        ConnectCommand::Stop(args) => {
            client::each(&args.at.rest()?, &args.names, "stop", "stopped")
        }
        ConnectCommand::Restart(args) => {
            client::restart(&args.of.at.rest()?, &args.of.names, args.only_failed)
        }
        ConnectCommand::Delete(args) => client::delete(&args.at.rest()?, &args.names),
        ConnectCommand::Config(args) => {
            client::config(&args.at.rest()?, &args.name, &args.set, &args.unset)
        }
        ConnectCommand::Offsets(args) => client::offsets(&args.at.rest()?, &args.name, args.reset),
        ConnectCommand::Snapshot(args) => {
            let (kind, data) = args.signal();
            client::signal(&args.at.rest()?, &args.name, kind, &data)
        }
        ConnectCommand::Lint(args) => files::lint(&args.files),
        ConnectCommand::Plugins(args) => kinds::print(args.name.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn kafkas_name_means_this_command() {
        let words = |text: &str| super::words(text.split(' ').map(str::to_owned).collect());
        assert_eq!(words("/bin/connect-standalone.sh a b").join(" "), "millstream connect a b");
        assert_eq!(
            words("millstream connect-standalone -daemon a").join(" "),
            "millstream connect a"
        );
        assert_eq!(words("connect-distributed w").join(" "), "millstream connect w");
        let usage = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            super::usage(&words).map(|usage| usage.split(' ').nth(1).unwrap())
        };
        assert_eq!(usage("/bin/connect-standalone.sh"), Some("connect-standalone"));
        assert_eq!(usage("millstream connect-distributed"), Some("connect-distributed"));
        assert_eq!(usage("millstream connect-standalone a"), None);
        assert_eq!(usage("millstream connect"), None);
        assert_eq!(words("millstream run connect-standalone").len(), 3);
    }
}
