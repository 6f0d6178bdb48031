//! `millstream tap`: what passes a step of a pipeline, without touching it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;
use engine::query::{Declared, PointKind, Snapshot, StreamStatement, TimeBounds};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection};
use super::query::Shape;
use super::query::follow::{Following, tell_if_alone};
use super::stdout::{print, print_json};
use super::{BrokerChoice, Failure, unless_stopped};
use crate::render::diagnostics;
use crate::render::status;
use crate::render::table::Table;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream tap pipelines/flight-delays.toml                   what can be tapped
  millstream tap pipelines/flight-delays.toml flights --limit 5
  millstream tap pipelines/carrier-delays.toml carrier-delays.filter --where \"origin = 'JFK'\"
  millstream tap pipelines/flight-delays.toml delays-by-hour.window --from-beginning
  millstream tap pipelines/flight-delays.sql delays-by-hour.group --until-end
  millstream tap pipelines/flight-delays.toml flights --until-end --json > flights.jsonl

It reads the same topics beside the pipeline, whether that runs or not, and computes what the step
would: nothing is written, no group is joined. A step is named QUERY.KIND or QUERY.NUMBER, a clause
of a SQL query QUERY.where, QUERY.group and the like. From now on, the first windows hold only what
comes from now on.")]
pub struct TapArgs {
    /// The pipeline file, TOML or SQL
    file: PathBuf,
    /// The source, view, query, step or clause; without it, all there are
    step: Option<String>,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Start with the oldest records, not with those that come from now on
    #[arg(long)]
    from_beginning: bool,
    /// Show what is there already, from the oldest records on, and end, closing all windows
    #[arg(long)]
    until_end: bool,
    /// Only rows for which this holds: an SQL condition over the columns that pass
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    #[command(flatten)]
    shape: Shape,
    /// Leave out records that cannot be decoded, and say how many they are
    #[arg(long)]
    skip_bad_records: bool,
}

pub async fn tap(args: TapArgs, stop: CancellationToken) -> Result<(), Failure> {
    // Connectors are not used, so nothing is said of them.
    let loaded = Declared::load(std::slice::from_ref(&args.file), |_, _| Vec::new());
    let (declared, warnings) = loaded.map_err(Failure::Pipeline)?;
    diagnostics::print_warnings(warnings);
    let Some(step) = &args.step else { return list(&declared, args.shape.json) };
    let statement = declared.tap(step, args.condition.as_deref()).map_err(Failure::Pipeline)?;
    let connection = connection::open(&args.broker).await?;
    let shown = show(&args, step, statement, &connection, &stop).await;
    connection.close().await;
    shown
}

async fn show(
    args: &TapArgs,
    step: &str,
    statement: StreamStatement,
    connection: &Connection,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let topics: BTreeSet<String> =
        statement.sources.iter().map(|source| source.topic.clone()).collect();
    let from_what = topics.iter().cloned().collect::<Vec<_>>().join(", ");
    let snapshot = Snapshot::take(connection.client.as_ref(), topics, TimeBounds::default());
    let snapshot = unless_stopped(stop, async { Ok::<_, Failure>(snapshot.await?) }).await?;
    let from_beginning = args.from_beginning || args.until_end;
    let from = snapshot.shown_from(&statement.sources, !from_beginning, args.until_end);
    let when = match (args.until_end, args.from_beginning) {
        (true, _) => "from the beginning until now",
        (false, true) => "from the beginning",
        (false, false) => "from now on",
    };
    let how = format!("{step}, from {from_what}, {when}   (Ctrl-C stops)");
    status::pointer("tap", &how);
    if !args.until_end {
        tell_if_alone(connection);
    }
    let following = Following { statement, from, skip_failed: args.skip_bad_records };
    following.show(connection.client.clone(), args.shape, stop).await
}

/// What can be tapped.
fn list(declared: &Declared, json: bool) -> Result<(), Failure> {
    let kind = |kind| match kind {
        PointKind::Source => "source",
        PointKind::View => "view",
        PointKind::Step => "step",
        PointKind::Clause => "clause",
        PointKind::Query => "query",
    };
    let points = declared.points().into_iter();
    if json {
        let points: Vec<_> = points
            .map(|of| {
                let (name, also, text) = (of.name, of.also, of.text);
                json!({ "step": name, "kind": kind(of.kind), "or": also, "clause": text })
            })
            .collect();
        return print_json(&points);
    }
    let mut table = Table::new([("step", false), ("kind", false), ("or, or what", false)]);
    let rows: Vec<Vec<String>> = points
        .map(|of| {
            let more = of.also.or(of.text).unwrap_or_default();
            vec![of.name, kind(of.kind).to_owned(), more]
        })
        .collect();
    print(&table.lines(&rows))
}
