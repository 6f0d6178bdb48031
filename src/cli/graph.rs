//! `millstream graph`: a pipeline as a picture.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use connectors::{ConnectorConfig, ConnectorKind};

use super::Failure;
use super::explain::{described, only};
use super::run::{connector_outside, filled_topics, load_each, source_topic};
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
    let (pipelines, configs): (Vec<_>, Vec<_>) = load_each(&args.files)?.into_iter().unzip();
    let filled = filled_topics(&pipelines, configs.iter().flatten());
    let mut connectors: Vec<_> =
        configs.iter().flatten().map(|one| ends(one, filled.get(one.name()))).collect();
    let mut queries = Vec::new();
    for pipeline in &pipelines {
        queries.extend(described(pipeline)?);
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

/// With what a source fills of the topics that are read.
fn ends(connector: &ConnectorConfig, filled: Option<&BTreeSet<String>>) -> ConnectorEnds {
    let is_source = connector.plugin().kind() == ConnectorKind::Source;
    let topic = source_topic(connector).map(str::to_owned);
    ConnectorEnds {
        name: connector.name().to_owned(),
        outside: connector_outside(connector),
        topics: match is_source {
            true => {
                let topics: BTreeSet<String> =
                    filled.into_iter().flatten().cloned().chain(topic).collect();
                topics.into_iter().collect()
            }
            false => connector.topics().labels(),
        },
        is_source,
    }
}
