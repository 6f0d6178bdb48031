//! `millstream check`: every mistake at once, nothing started, nothing created.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use super::run::load_each;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream check pipelines/flight-delays.toml
  millstream check pipelines/*.toml

Exit status: 0 no mistakes; 2 mistakes, each shown with file, line and help.")]
pub struct CheckArgs {
    /// Pipeline files, TOML or SQL
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub fn check(args: &CheckArgs) -> Result<(), Failure> {
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
    }
    Ok(())
}
