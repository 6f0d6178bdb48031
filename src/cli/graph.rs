//! `millstream graph`: a pipeline as a picture.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use connectors::{ConnectorConfig, ConnectorKind};

use super::Failure;
use super::explain::{described, only};
use super::run::{connector_outside, load_each, source_topic};
use super::stdout::print;
use crate::render::graph::{ConnectorEnds, mermaid, picture, svg};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream graph pipelines/flight-delays.toml > flight-delays.svg
  millstream graph pipelines/carrier-delays.toml --out carrier-delays.svg
  millstream graph my-pipeline.sql --format mermaid   paste it into ```mermaid in Markdown

Topics are blue, connectors green, topics between tasks violet; a yellow strip says what a step
keeps. Several files are drawn as one: topics that they share connect them. Nothing is started.")]
pub struct GraphArgs {
    /// Pipeline files, TOML or SQL
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only this query
    #[arg(long, value_name = "NAME")]
    query: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Svg)]
    format: Format,
    /// Write there, not to stdout
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Svg,
    Mermaid,
}

pub fn graph(args: &GraphArgs) -> Result<(), Failure> {
    let (mut connectors, mut queries) = (Vec::new(), Vec::new());
    for (pipeline, configs) in load_each(&args.files)? {
        connectors.extend(configs.iter().map(ends));
        queries.extend(described(&pipeline)?);
    }
    if let Some(wanted) = &args.query {
        only(&mut queries, wanted)?;
        let is_near = |topic: &String| {
            queries.iter().any(|query| {
                query.output.topic == *topic
                    || query.sources.iter().any(|source| source.topic == *topic)
            })
        };
        connectors.iter_mut().for_each(|connector| connector.topics.retain(is_near));
        connectors.retain(|connector: &ConnectorEnds| !connector.topics.is_empty());
    }
    let picture = picture(&connectors, &queries);
    let drawn = match args.format {
        Format::Svg => svg(&picture),
        Format::Mermaid => mermaid(&picture),
    };
    let Some(out) = &args.out else { return print(&drawn) };
    fs::write(out, drawn)
        .map_err(|error| Failure::running(format!("cannot write {}: {error}", out.display())))
}

fn ends(connector: &ConnectorConfig) -> ConnectorEnds {
    let is_source = connector.plugin().kind() == ConnectorKind::Source;
    ConnectorEnds {
        name: connector.name().to_owned(),
        outside: connector_outside(connector),
        topics: match is_source {
            true => source_topic(connector).map(str::to_owned).into_iter().collect(),
            false => connector.topics().labels(),
        },
        is_source,
    }
}
