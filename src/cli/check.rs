//! `millstream check`: every mistake at once, nothing started, nothing created.

use std::path::PathBuf;

use clap::Args;
use connectors::ConnectorConfig;
use connectors::postgres::preflight::{self, Finding, Level};

use super::Failure;
use super::run::load_each;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream check pipelines/flight-delays.toml
  millstream check pipelines/*.toml
  millstream check --offline pipelines/inventory.toml

Databases that connectors read are asked whether they can be: settings, privileges, keys of tables.

Exit status: 0 no mistakes; 1 a database that cannot be read as it is; 2 mistakes in the files, each
shown with file, line and help.")]
pub struct CheckArgs {
    /// Pipeline files, TOML or SQL
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Ask no database
    #[arg(long)]
    offline: bool,
}

pub async fn check(args: &CheckArgs) -> Result<(), Failure> {
    let mut failed = 0;
    for (pipeline, connectors) in load_each(&args.files)? {
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
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::running("1 thing has to be changed before that can run")),
        _ => {
            Err(Failure::running(format!("{failed} things have to be changed before that can run")))
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
