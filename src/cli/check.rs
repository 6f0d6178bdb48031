//! `millstream check`: every mistake at once, nothing started, nothing created.

use std::path::PathBuf;

use clap::Args;
use connectors::ConnectorConfig;
use connectors::postgres::preflight::{self, Finding, Level};
use engine::pipeline::Pipeline;
use engine::runtime::state_changes;

use super::connect::files;
use super::connection::{self, Connection};
use super::run::load_each;
use super::{BrokerChoice, Failure};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream check pipelines/flight-delays.toml
  millstream check pipelines/*.toml
  millstream check --offline pipelines/inventory.toml
  millstream check --state orders.sql
  millstream check worker.properties inventory.properties

Databases that connectors read are asked whether they can be: settings, privileges, keys of tables.
With --state, what an earlier run has kept is looked at: what of it would go on, begin anew or be
lost if the file ran as it is now.

Exit status: 0 no mistakes; 1 a database that cannot be read as it is, or state that would be lost;
2 mistakes in the files, each shown with file, line and help.")]
pub struct CheckArgs {
    /// Pipeline files, TOML or SQL; and those of connectors that end with .properties or .json
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Ask no database
    #[arg(long)]
    offline: bool,
    /// Say what becomes of state that is kept
    #[arg(long)]
    state: bool,
    #[command(flatten)]
    broker: BrokerChoice,
}

pub async fn check(args: &CheckArgs) -> Result<(), Failure> {
    let mut failed = 0;
    let all = args.files.iter().cloned();
    let (of_connectors, pipelines): (Vec<_>, Vec<_>) =
        all.partition(|path| files::is_connectors(path));
    let pipelines = match pipelines.is_empty() {
        true => Vec::new(),
        false => load_each(&pipelines)?,
    };
    let connectors = match of_connectors.is_empty() {
        true => Vec::new(),
        false => files::right(&of_connectors)?,
    };
    let kept = match args.state {
        true => Some(connection::open(&args.broker).await?),
        false => None,
    };
    for connector in &connectors {
        eprintln!("connector '{}': no mistakes", connector.name());
        if !args.offline {
            failed += ask(connector).await;
        }
    }
    for (pipeline, connectors) in pipelines {
        let queries = pipeline.queries.len();
        eprintln!(
            "{}: no mistakes; {} connector{}, {} quer{}",
            pipeline.path.display(),
            connectors.len(),
            if connectors.len() == 1 { "" } else { "s" },
            queries,
            if queries == 1 { "y" } else { "ies" },
        );
        for connector in connectors.iter().filter(|_| !args.offline) {
            failed += ask(connector).await;
        }
        if let Some(connection) = &kept {
            failed += lost(connection, &pipeline).await;
        }
    }
    if let Some(connection) = kept {
        connection.close().await;
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::running("1 thing has to be changed before that can run")),
        _ => {
            Err(Failure::running(format!("{failed} things have to be changed before that can run")))
        }
    }
}

/// Says what becomes of a pipeline's state. Of how many queries some would be lost.
async fn lost(connection: &Connection, pipeline: &Pipeline) -> usize {
    match state_changes(connection.client.as_ref(), pipeline).await {
        Ok((changes, lost)) => {
            if changes.is_empty() && lost.is_empty() {
                eprintln!("    ✓ all state that is kept goes on");
            }
            changes.iter().for_each(|change| eprintln!("    ! {change}"));
            lost.iter().for_each(|error| eprintln!("    ✗ {error}"));
            lost.len()
        }
        Err(error) => {
            eprintln!("    ✗ {error}");
            1
        }
    }
}

/// Asks what a connector reads, if that is a database. How many things stand in its way.
async fn ask(connector: &ConnectorConfig) -> usize {
    if connector.plugin().name != connectors::postgres::SOURCE_PLUGIN.name {
        return 0;
    }
    eprintln!("  connector '{}'", connector.name());
    let findings = preflight::check(connector).await;
    for Finding { level, message, help } in &findings {
        let mark = match level {
            Level::Fine => "✓",
            Level::Warning => "!",
            Level::Error => "✗",
        };
        eprintln!("    {mark} {message}");
        if let Some(help) = help {
            eprintln!("      help: {help}");
        }
    }
    findings.iter().filter(|finding| finding.level == Level::Error).count()
}
