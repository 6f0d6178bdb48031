//! `millstream explain`: what the queries of a pipeline do, keep and write.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use engine::describe::{QueryDescription, describe};
use engine::pipeline::Pipeline;

use super::Failure;
use super::run::load_each;
use super::stdout::{print, print_json};
use crate::render::explain;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream explain pipelines/flight-delays.toml
  millstream explain pipelines/aircraft-days.sql --query six-hours
  millstream explain my-pipeline.toml --json | jq '.warnings'

For each query: its plan, what it reads and how far its watermark is behind, the steps that its
tasks take, what each of them keeps until when and in which changelog topic, and how its answer is
written. State that only grows and work that cannot be shared are warned of. Nothing is started.
`millstream graph` draws the same.")]
pub struct ExplainArgs {
    /// Pipeline files, TOML or SQL
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this query
    #[arg(long, value_name = "NAME")]
    query: Option<String>,
    /// Print a JSON object per query
    #[arg(long)]
    json: bool,
}

pub fn explain(args: &ExplainArgs) -> Result<(), Failure> {
    let color = std::io::stdout().is_terminal();
    let mut queries: Vec<QueryDescription> = Vec::new();
    for (pipeline, _) in load_each(&args.files)? {
        queries.extend(described(&pipeline)?);
    }
    if let Some(wanted) = &args.query {
        only(&mut queries, wanted)?;
    }
    if args.json {
        return print_json(&queries.iter().map(explain::json).collect::<Vec<_>>());
    }
    for (index, query) in queries.iter().enumerate() {
        if index > 0 {
            print("\n")?;
        }
        print(&explain::text(query, color))?;
    }
    Ok(())
}

/// Leaves the query of that name.
pub fn only(queries: &mut Vec<QueryDescription>, wanted: &str) -> Result<(), Failure> {
    let names: Vec<String> = queries.iter().map(|query| format!("'{}'", query.name)).collect();
    queries.retain(|query| query.name == wanted);
    match queries.is_empty() {
        false => Ok(()),
        true => Err(Failure::usage(format!("there is no query '{wanted}'"))
            .with_help(format!("there is {}", names.join(", ")))),
    }
}

/// The queries of a pipeline that was found right.
pub fn described(pipeline: &Pipeline) -> Result<Vec<QueryDescription>, Failure> {
    describe(pipeline).map_err(Failure::running)
}
