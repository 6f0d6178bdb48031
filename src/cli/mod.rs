//! The command line: flags spelled the same everywhere, one file per command.

mod broker;
mod check;
mod connection;
mod consume;
mod failure;
mod produce;
mod run;
mod topics;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

pub use failure::Failure;

#[derive(Debug, Parser)]
#[command(
    name = "millstream",
    version,
    about = "Streams, connectors and a Kafka-compatible broker in one binary",
    after_help = "Examples:
  millstream run pipelines/flight-delays.toml   run a pipeline, with its broker
  millstream check my-pipeline.toml             find every mistake in a pipeline file
  millstream consume delays-by-hour --until-end read what a topic holds

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
    /// Run the broker alone, for any Kafka client
    Broker(broker::BrokerArgs),
    /// List, create, describe and delete topics
    Topics(topics::TopicsArgs),
    /// Write lines from stdin to a topic
    Produce(produce::ProduceArgs),
    /// Read a topic to stdout
    Consume(consume::ConsumeArgs),
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
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logs();
    let done = match cli.command {
        Command::Check(args) => check::check(&args),
        command => in_runtime(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_status())
        }
    }
}

fn in_runtime(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::running(format!("cannot start threads: {error}")))?;
    let done = runtime.block_on(async {
        let stop = stop_on_signal();
        match command {
            Command::Run(args) => run::run(args, stop).await,
            Command::Broker(args) => broker::broker(args, stop).await,
            Command::Topics(args) => topics::topics(args).await,
            Command::Produce(args) => produce::produce(args, stop).await,
            Command::Consume(args) => consume::consume(args, stop).await,
            Command::Check(args) => check::check(&args),
        }
    });
    // A thread may still wait in a blocking read of stdin: it must not hold the exit.
    runtime.shutdown_background();
    done
}

/// The first Ctrl-C or SIGTERM asks everything to stop in order; the second ends the process.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let on_signal = stop.clone();
    tokio::spawn(async move {
        next_signal().await;
        on_signal.cancel();
        next_signal().await;
        eprintln!("stopped at once; what was not committed will be done again");
        std::process::exit(130);
    });
    stop
}

#[cfg(unix)]
async fn next_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn next_signal() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

fn start_logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MILLSTREAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var_os("MILLSTREAM_LOG_FORMAT").is_some_and(|format| format == "json") {
        logs.json().flatten_event(true).init();
    } else {
        logs.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
