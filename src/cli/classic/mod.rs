//! Kafka's own commands under their own names: `millstream kafka-topics …`, or a link to this
//! binary that is named `kafka-topics` or `kafka-topics.sh`.
//!
//! ```text
//! name ─► its flags ([`options`]) ─► the same functions as our own commands ─► Kafka's texts
//! ```
//!
//! What a script reads is as Apache Kafka 4.1 prints it: the same lines on the same streams, and
//! the same exit status. Differences, all on purpose: `--bootstrap-server` may be left out, the old
//! `--zookeeper` and `--broker-list` are taken with a note, a mistake is followed by one line of
//! advice instead of all options, and rows that Kafka leaves in the order of a hash table are
//! sorted.
//!
//! - one file per command; `performance`: those that measure; [`absent`]: those that are not here,
//!   and why; [`java`]: names and tables as Java prints them.

mod absent;
mod acls;
mod broker_api_versions;
mod cluster;
mod configs;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod delete_records;
mod dump_log;
mod get_offsets;
mod groups;
mod java;
mod log_dirs;
pub mod options;
#[cfg(feature = "kafka")]
mod performance;
mod scram;
mod server;
mod server_properties;
pub mod server_security;
mod share_groups;
mod storage;
mod topics;
mod transactions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use broker::client::ClientError;
use broker::client::admin::AdminError;
use broker::client::secured::Secured;
use tokio_util::sync::CancellationToken;

use self::options::{Given, Tool};
use super::connection::{self, AdminConnection};
use super::properties::{self, Properties};
use super::{BrokerChoice, Failure};
pub use server_properties::ServerProperties;

/// Every command that there is.
const TOOLS: &[&Tool] = &[
    &topics::TOOL,
    &console_producer::TOOL,
    &console_consumer::TOOL,
    &consumer_groups::TOOL,
    &share_groups::TOOL,
    &groups::TOOL,
    &configs::TOOL,
    &acls::TOOL,
    &get_offsets::TOOL,
    &delete_records::TOOL,
    &transactions::TOOL,
    &log_dirs::TOOL,
    &dump_log::TOOL,
    &broker_api_versions::TOOL,
    &cluster::TOOL,
    &storage::TOOL,
    #[cfg(feature = "kafka")]
    &performance::PRODUCER,
    #[cfg(feature = "kafka")]
    &performance::CONSUMER,
    #[cfg(feature = "kafka")]
    &performance::END_TO_END,
    &server::START,
    &server::STOP,
    &server::ZOOKEEPER_START,
    &server::ZOOKEEPER_STOP,
];

/// Where a broker is if nobody says anything and there is no data directory.
const LOCALHOST: &str = "localhost:9092";

/// How a command ends when it does not succeed: status 1, but for our own failures.
#[derive(Debug)]
pub enum Error {
    /// Wrong flags; told on stderr with advice.
    Usage(String),
    /// Told on stdout, as many of Kafka's commands do.
    Told(String),
    Failure(Failure),
}

impl Error {
    fn usage(message: impl Into<String>) -> Error {
        Error::Usage(message.into())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Failure(failure)
    }
}

impl From<AdminError> for Error {
    fn from(error: AdminError) -> Error {
        Error::Failure(error.into())
    }
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Error {
        Error::Failure(error.into())
    }
}

/// Names of all commands, for links and advice; those that are not here say why.
pub fn names() -> impl Iterator<Item = &'static str> {
    let here = TOOLS.iter().map(|tool| tool.name).chain(super::connect::KAFKAS_NAMES);
    here.chain(absent::names())
}

/// What to say to a word that looks like the name of one of Kafka's commands and is none.
pub fn misspelled(word: &str) -> Option<Failure> {
    let name = word.strip_suffix(".sh").unwrap_or(word);
    if !["kafka-", "zookeeper-"].iter().any(|start| name.starts_with(start)) {
        return None;
    }
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    let near = names().map(|known| (distance(known), known)).min();
    let wrong = Failure::usage(format!("there is no command '{word}'"));
    Some(match near.filter(|(distance, known)| *distance <= known.len() / 4) {
        Some((_, known)) => wrong.with_help(format!("did you mean `{known}`?")),
        None => wrong.with_help("`millstream links DIR` links all that there are into a directory"),
    })
}

/// A command of Kafka's.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    Here(&'static Tool),
    Absent(&'static str),
}

/// The command that a word or the name of a program means.
pub fn command(name: &str) -> Option<Command> {
    let name = Path::new(name).file_name()?.to_str()?;
    let name = name.strip_suffix(".sh").unwrap_or(name);
    find(name).map(Command::Here).or_else(|| absent::find(name).map(Command::Absent))
}

fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name).copied()
}

/// Runs a command with what was given behind its name.
pub fn main(command: Command, words: &[String]) -> ExitCode {
    match command {
        Command::Here(tool) => run_tool(tool, words),
        Command::Absent(name) => absent::main(name),
    }
}

fn run_tool(tool: &'static Tool, words: &[String]) -> ExitCode {
    let done = match parse(tool, words) {
        Ok(Some(given)) => super::in_runtime(async |stop| run(tool, &given, stop).await),
        done => done.map(drop),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Failure(failure @ Failure::Stopped { .. })) => {
            ExitCode::from(failure.exit_status())
        }
        Err(Error::Failure(failure)) => {
            failure.print();
            ExitCode::from(1)
        }
        Err(Error::Told(message)) => {
            println!("{message}");
            ExitCode::from(1)
        }
        Err(Error::Usage(message)) => {
            eprintln!("{message}");
            eprintln!("  help: `{} --help` shows all options", tool.name);
            ExitCode::from(1)
        }
    }
}

/// What was given; `None` if it is done by having printed something.
fn parse(tool: &Tool, words: &[String]) -> Result<Option<Given>, Error> {
    let given = tool.parse(words)?;
    if given.has("help") {
        print!("{}", tool.help());
        return Ok(None);
    }
    if given.has("version") {
        println!("{} (Millstream {})", java::KAFKA_VERSION, env!("CARGO_PKG_VERSION"));
        return Ok(None);
    }
    Ok(Some(given))
}

async fn run(tool: &'static Tool, given: &Given, stop: CancellationToken) -> Result<(), Error> {
    match tool.name {
        "kafka-console-producer" => console_producer::run(given, stop).await,
        "kafka-console-consumer" => console_consumer::run(given, stop).await,
        "kafka-server-start" => server::start(given, stop).await,
        #[cfg(feature = "kafka")]
        "kafka-producer-perf-test" | "kafka-consumer-perf-test" | "kafka-e2e-latency" => {
            performance::run(tool.name, given, stop).await
        }
        _ => super::unless_stopped(&stop, look_after(tool, given)).await,
    }
}

/// Commands that ask or order something and end.
async fn look_after(tool: &'static Tool, given: &Given) -> Result<(), Error> {
    match tool.name {
        "kafka-topics" => topics::run(given).await?,
        "kafka-consumer-groups" => consumer_groups::run(given).await?,
        "kafka-share-groups" => share_groups::run(given).await?,
        "kafka-groups" => groups::run(given).await?,
        "kafka-configs" => configs::run(given).await?,
        "kafka-acls" => acls::run(given).await?,
        "kafka-get-offsets" => get_offsets::run(given).await?,
        "kafka-delete-records" => delete_records::run(given).await?,
        "kafka-transactions" => transactions::run(given).await?,
        "kafka-log-dirs" => log_dirs::run(given).await?,
        "kafka-dump-log" => dump_log::run(given)?,
        "kafka-broker-api-versions" => broker_api_versions::run(given).await?,
        "kafka-cluster" => cluster::run(given).await?,
        "kafka-storage" => storage::run(given)?,
        "kafka-server-stop" => server::stop(given)?,
        "zookeeper-server-start" | "zookeeper-server-stop" => server::no_zookeeper(tool.name),
        name => unreachable!("{name} is in the table of commands but not here"),
    }
    Ok(())
}

/// The broker that a command means. Says so where it is not the one that was named.
fn broker(given: &Given) -> Result<BrokerChoice, Error> {
    let env = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    // Of kafka-log-dirs it is a list of ids.
    let is_address = |list: &&str| list.split(',').any(|part| part.trim().parse::<i32>().is_err());
    let brokers = given.value("broker-list").filter(is_address);
    let named = given.value("bootstrap-server").or(brokers);
    let named = named.map(str::to_owned);
    let data_dir = given.value("data-dir").map(str::to_owned);
    let local = data_dir.is_some() && named.is_none();
    let mut bootstrap_server =
        named.or_else(|| env("MILLSTREAM_BOOTSTRAP_SERVER").filter(|_| !local));
    let data_dir = data_dir.or_else(|| env("MILLSTREAM_DATA_DIR"));
    let chosen = data_dir.is_some() || bootstrap_server.is_some();
    let data_dir = PathBuf::from(data_dir.unwrap_or_else(|| ".millstream".to_owned()));
    if !chosen && !connection::has_data(&data_dir) {
        bootstrap_server = Some(LOCALHOST.to_owned());
    }
    let place = match &bootstrap_server {
        Some(address) => format!("the broker at {address}"),
        None => format!("the broker of {}", data_dir.display()),
    };
    if let Some(zookeeper) = given.value("zookeeper") {
        eprintln!("note: there is no ZooKeeper, --zookeeper {zookeeper} is ignored; using {place}");
    } else if brokers.is_some() {
        eprintln!("note: --broker-list is --bootstrap-server now; using {place}");
    } else if !chosen && bootstrap_server.is_some() {
        eprintln!("note: using {place}; --bootstrap-server names another");
    }
    let command_config = given.value("command-config").map(PathBuf::from);
    Ok(BrokerChoice {
        data_dir,
        bootstrap_server,
        command_config,
        client_config: Properties::new(),
    })
}

/// The same, by what a client's properties say of reaching it.
fn broker_of_client(given: &Given, client: &Properties) -> Result<BrokerChoice, Error> {
    let own = client.iter().filter(|(key, _)| Secured::is_property(key));
    let client_config = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    Ok(BrokerChoice { client_config, ..broker(given)? })
}

/// A cluster to look after, as `--command-config` asks.
async fn connect(given: &Given) -> Result<AdminConnection, Error> {
    Ok(connection::open_admin(&broker(given)?).await?)
}

/// Properties from files and from the command line, what comes later in the list winning.
fn properties(given: &Given, file: &str, pairs: &[&str]) -> Result<Properties, Error> {
    let mut all = match given.value(file) {
        Some(path) => properties::read(Path::new(path))?,
        None => Properties::new(),
    };
    for name in pairs {
        all.extend(given.values(name).map(properties::pair));
    }
    Ok(all)
}
