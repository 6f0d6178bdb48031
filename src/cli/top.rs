//! `millstream top`: how the pipelines that run on this machine stand.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{BrokerChoice, Failure, snapshot};
use crate::render::top;
use crate::status_socket::{Request, ask_all};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream top                       beside `millstream run …` in the same directory
  millstream top --once --json | jq '.queries[] | {query, lag, rows_in_per_s}'

For each query: rows read and written per second, records that wait to be read (lag), the watermark
and how far it is behind the clock, open windows, entries kept, rows that came too late, and what
dropped how many rows. Ctrl-C ends it; the pipelines go on.")]
pub struct TopArgs {
    #[command(flatten)]
    broker: BrokerChoice,
    /// Show it once and end
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Print a JSON object per process and look
    #[arg(long)]
    json: bool,
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, such as 0.5".to_owned())?;
    match seconds {
        0.1..=3600.0 => Ok(seconds),
        _ => Err("expected 0.1 to 3600 seconds".to_owned()),
    }
}

pub async fn top(args: TopArgs, stop: CancellationToken) -> Result<(), Failure> {
    if args.broker.bootstrap_server.is_some() {
        let message = "it looks at processes on this machine";
        let help = "name the data directory of `millstream run` by --data-dir";
        return Err(Failure::usage(message).with_help(help));
    }
    let dir = &args.broker.data_dir;
    let mut before = looks(dir);
    if before.is_empty() {
        let message = format!("no pipelines run with their data in {}", dir.display());
        let help = "start some with `millstream run FILE`, or name their --data-dir";
        return Err(Failure::running(message).with_help(help));
    }
    let is_live = io::stdout().is_terminal() && !args.once && !args.json;
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(args.interval));
    ticks.tick().await;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let mut now = looks(dir);
        if now.is_empty() {
            eprintln!("no pipelines run any more");
            return Ok(());
        }
        now.iter_mut().for_each(|look| with_rates(look, &before));
        let text = match args.json {
            true => now.iter().map(|look| format!("{look}\n")).collect(),
            false => now.iter().map(top::text).collect::<Vec<_>>().join("\n"),
        };
        let text = if is_live { format!("\x1b[H\x1b[J{text}") } else { text };
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Failure::running(format!("stdout: {error}"))),
            Ok(()) if args.once => return Ok(()),
            Ok(()) => before = now,
        }
    }
    Ok(())
}

/// What each process has to tell, in the order of their numbers.
fn looks(data_dir: &Path) -> Vec<Value> {
    let mut looks = ask_all(data_dir, Request::Status);
    looks.retain(|look| look["version"] == snapshot::VERSION);
    looks
}

/// Adds what has happened per second since the look before.
fn with_rates(look: &mut Value, before: &[Value]) {
    let Some(before) = before.iter().find(|before| before["pid"] == look["pid"]) else { return };
    let at = |look: &Value| look["at_ms"].as_u64().unwrap_or_default();
    let seconds = at(look).saturating_sub(at(before)) as f64 / 1000.0;
    let Some(queries) = look["queries"].as_array_mut() else { return };
    for (index, query) in queries.iter_mut().enumerate() {
        let before = &before["queries"][index];
        for count in ["rows_in", "rows_out"] {
            let of = |query: &Value| query[count].as_u64().unwrap_or_default();
            let per_second = of(query).saturating_sub(of(before)) as f64 / seconds.max(0.001);
            query[format!("{count}_per_s")] = Value::from((per_second * 10.0).round() / 10.0);
        }
    }
}
