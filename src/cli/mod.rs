//! The command line: flags spelled the same everywhere, one file per command.

mod acls;
mod broker;
mod check;
mod classic;
mod cluster;
mod configs;
mod connect;
mod connection;
mod consume;
mod empty;
mod explain;
mod failure;
mod graph;
mod groups;
mod infer;
mod links;
mod logs;
mod metrics;
mod password;
mod patterns;
mod produce;
mod properties;
mod query;
mod records;
mod run;
mod secured;
pub mod snapshot;
mod state;
mod stdout;
mod stored;
mod tap;
mod test;
#[cfg(unix)]
mod top;
mod topics;
mod transactions;
mod udf;
mod users;
mod watched_functions;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ::broker::client::secured::Secured;
use clap::{Args, Parser, Subcommand};
use engine::plan::user_functions;
use tokio_util::sync::CancellationToken;

use self::properties::Properties;
use crate::function_requests::FunctionRequests;

pub use failure::Failure;

#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    about = "Streams, connectors and a Kafka-compatible broker in one binary",
    after_help = "Examples:
  millstream run pipelines/flight-delays.toml   run a pipeline, with its broker
  millstream check my-pipeline.toml             find every mistake in a pipeline file
  millstream query 'SELECT * FROM flights LIMIT 5' ask SQL of a topic
  millstream consume delays-by-hour --until-end read what a topic holds
  millstream connect a.properties               Kafka Connect's files, with its REST API
  millstream kafka-topics --list                Kafka's own commands, by their own names

Exit status: 0 done; 1 failed while running; 2 wrong usage or a wrong pipeline file.
Logs go to stderr; MILLSTREAM_LOG=debug shows more (also info, warn, error, or target=level), and
MILLSTREAM_LOG_FORMAT=json writes one JSON object per line.",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run pipeline files until Ctrl-C, with an embedded broker unless one is named
    Run(run::RunArgs),
    /// Find every mistake in pipeline files, starting nothing
    Check(check::CheckArgs),
    /// Run the tests of pipeline files, in memory
    Test(test::TestArgs),
    /// Ask SQL of topics, as they stand or as they grow
    Query(query::QueryArgs),
    /// Show what passes a step of a pipeline, without touching it
    Tap(tap::TapArgs),
    /// Say what queries do: plan, steps, state, watermarks, output
    Explain(explain::ExplainArgs),
    /// Draw topics, connectors and what queries do, as SVG or Mermaid
    Graph(graph::GraphArgs),
    /// Show how running pipelines stand: rates, lag, watermarks, state, what was dropped
    #[cfg(unix)]
    Top(top::TopArgs),
    /// Show what a query keeps: groups, open windows, sides of joins
    State(state::StateArgs),
    /// Begin functions in WebAssembly, look at them, and try them
    Udf(udf::UdfArgs),
    /// Run the broker alone, for any Kafka client
    Broker(broker::BrokerArgs),
    /// Run connectors by Kafka Connect's own files and REST API, and look after them
    Connect(connect::ConnectArgs),
    /// List, create, describe, alter and delete topics, and infer what they hold
    Topics(topics::TopicsArgs),
    /// Write lines from stdin to a topic
    Produce(produce::ProduceArgs),
    /// Read a topic to stdout
    Consume(consume::ConsumeArgs),
    /// List, describe, reset and delete consumer groups
    Groups(groups::GroupsArgs),
    /// Show and change settings of topics, brokers and groups
    Configs(configs::ConfigsArgs),
    /// Show offsets of partitions, delete their oldest records, look into log files
    Records(records::RecordsArgs),
    /// Show transactions, and abort one that hangs
    Transactions(transactions::TransactionsArgs),
    /// Say who may do what: list, add and remove ACLs
    Acls(acls::AclsArgs),
    /// Say who may log in: list, create and delete users
    Users(users::UsersArgs),
    /// Show brokers, their disks and what they serve
    Cluster(cluster::ClusterArgs),
    /// Link Kafka's own commands, kafka-topics and its kin, to this program
    Links(links::LinksArgs),
}

/// Which broker a command talks to.
#[derive(Args, Clone, Debug)]
pub struct BrokerChoice {
    /// Where the embedded broker keeps topics and state
    #[arg(long, value_name = "DIR", default_value = ".millstream", env = "MILLSTREAM_DATA_DIR")]
    data_dir: PathBuf,
    /// Use the Kafka cluster or running Millstream at this address instead
    #[arg(long, value_name = "HOST:PORT", env = "MILLSTREAM_BOOTSTRAP_SERVER")]
    bootstrap_server: Option<String>,
    /// A file of properties for the connection: security.protocol and what goes with it
    #[arg(long, value_name = "FILE", env = "MILLSTREAM_COMMAND_CONFIG")]
    command_config: Option<PathBuf>,
    /// The same, where a command has it from elsewhere
    #[arg(skip)]
    client_config: Properties,
}

impl BrokerChoice {
    /// How the broker is reached.
    fn secured(&self) -> Result<Secured, Failure> {
        match &self.command_config {
            Some(path) if self.client_config.is_empty() => secured::read(path),
            _ => secured::of(&self.client_config, Path::new("."))
                .map_err(|problem| Failure::usage(problem.in_words())),
        }
    }
}

/// `KEY=VALUE`, for settings.
fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| "expected KEY=VALUE, such as retention.ms=86400000".to_owned())
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    connectors::transforms::register(&crate::sql_transform::PLUGIN);
    connectors::transforms::register(&crate::wasm_transform::PLUGIN);
    user_functions::fetch_by(Arc::new(FunctionRequests::default()));
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(usage) = connect::usage(&words) {
        eprintln!("{usage}");
        return ExitCode::from(1);
    }
    let words = connect::words(words);
    if let Some((command, given)) = classic_command(&words) {
        logs::start();
        return classic::main(command, given);
    }
    if let Some(failure) = words.get(1).and_then(|word| classic::misspelled(word)) {
        failure.print();
        return ExitCode::from(failure.exit_status());
    }
    let cli = Cli::parse_from(&words);
    logs::start();
    let done = match cli.command {
        Command::Explain(args) => explain::explain(&args),
        Command::Graph(args) => graph::graph(&args),
        Command::Links(args) => links::links(&args),
        Command::Test(args) => test::test(&args),
        Command::Udf(args) => udf::udf(args),
        command => in_runtime(async |stop| run(command, stop).await),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_status())
        }
    }
}

/// One of Kafka's commands, by the name of this program or by its first argument, and what was
/// given behind that.
fn classic_command(words: &[String]) -> Option<(classic::Command, &[String])> {
    let by_name = |index: usize| {
        let command = classic::command(words.get(index)?)?;
        Some((command, &words[index + 1..]))
    };
    by_name(0).or_else(|| by_name(1))
}

async fn run(command: Command, stop: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::Run(args) => run::run(args, stop).await,
        Command::Broker(args) => broker::broker(args, stop).await,
        Command::Connect(args) => connect::connect(args, stop).await,
        Command::Query(args) => query::query(args, stop).await,
        Command::Tap(args) => tap::tap(args, stop).await,
        Command::State(args) => state::state(args, stop).await,
        Command::Produce(args) => produce::produce(args, stop).await,
        Command::Consume(args) => consume::consume(args, stop).await,
        #[cfg(unix)]
        Command::Top(args) => top::top(args, stop).await,
        command => unless_stopped(&stop, look_after(command)).await,
    }
}

/// Commands that ask or order something and end.
async fn look_after(command: Command) -> Result<(), Failure> {
    match command {
        Command::Check(args) => check::check(&args).await,
        Command::Topics(args) => topics::topics(args).await,
        Command::Groups(args) => groups::groups(args).await,
        Command::Configs(args) => configs::configs(args).await,
        Command::Records(args) => records::records(args).await,
        Command::Transactions(args) => transactions::transactions(args).await,
        Command::Cluster(args) => cluster::cluster(args).await,
        Command::Acls(args) => acls::acls(args).await,
        Command::Users(args) => users::users(args).await,
        command => unreachable!("{command:?} is run elsewhere"),
    }
}

/// Done, or stopped by a signal where that may be done anywhere.
async fn unless_stopped<T, E: From<Failure>>(
    stop: &CancellationToken,
    act: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match stop.run_until_cancelled(act).await {
        Some(done) => done,
        None => Err(stopped().into()),
    }
}

/// What a command fails with that a signal has ended.
fn stopped() -> Failure {
    Failure::Stopped { status: STOPPED_STATUS.load(Ordering::Relaxed) }
}

/// 128 and the number of the signal that came; Ctrl-C unless it was another.
static STOPPED_STATUS: AtomicU8 = AtomicU8::new(130);

/// Each task of a pipeline has one of them for as long as it runs, and writes to disk need some
/// beside those. They are started when they are needed.
const BLOCKING_THREADS_MAX: usize = 1 << 15;

fn in_runtime<T, E: From<Failure>>(
    act: impl AsyncFnOnce(CancellationToken) -> Result<T, E>,
) -> Result<T, E> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|error| Failure::running(format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(async { act(stop_on_signal()).await });
    // A thread may still wait in a blocking read of stdin: it must not hold the exit.
    runtime.shutdown_background();
    done
}

/// The first Ctrl-C or SIGTERM asks everything to stop in order; the second ends the process.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    // From here on, not from whenever the task first runs.
    let mut signals = Signals::listen();
    tokio::spawn(async move {
        signals.next().await;
        on_signal.cancel();
        signals.next().await;
        eprintln!("stopped at once; what was not committed will be done again");
        std::process::exit(130);
    });
    stop
}

/// Ctrl-C and SIGTERM. Where the system lets nobody listen to them they end the process.
#[cfg(unix)]
struct Signals(Option<[tokio::signal::unix::Signal; 2]>);

#[cfg(unix)]
impl Signals {
    fn listen() -> Signals {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt());
        let terminate = signal(SignalKind::terminate());
        Signals(interrupt.ok().zip(terminate.ok()).map(|(one, other)| [one, other]))
    }

    async fn next(&mut self) {
        let Some([interrupt, terminate]) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => STOPPED_STATUS.store(143, Ordering::Relaxed),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Signals {
        Signals
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
