//! `millstream test`: the tests that pipeline files carry, in memory.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use engine::rehearsal::{Outcome, rehearse};
use serde_json::json;

use super::Failure;
use super::run::load_each;
use super::stdout::{print, print_json};
use crate::render::cases;
use crate::render::table::plural;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream test pipelines/*.toml
  millstream test flight-delays.sql --only 'a flight counts in its hour'

Tests stand in the TOML file, as [[tests]], or beside NAME.sql in NAME.test.toml:

  [[tests]]
  name = \"large orders pass\"
  input.orders = [{ id = 1, amount = 150.0 }, { id = 2, amount = 50.0 }]
  expect.large-orders = [{ id = 1 }]

Nothing is started or written. Exit status: 0 all passed; 1 some failed; 2 mistakes in a file.")]
pub struct TestArgs {
    /// Pipeline files, TOML or SQL
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Run only tests with this in their name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Print a JSON object per test
    #[arg(long)]
    json: bool,
}

pub fn test(args: &TestArgs) -> Result<(), Failure> {
    let (mut passed, mut failed, mut left_out) = (0, 0, 0);
    let color = std::io::stdout().is_terminal();
    for (pipeline, _) in load_each(&args.files)? {
        let wanted = |name: &str| args.only.as_ref().is_none_or(|only| name.contains(only));
        let cases: Vec<_> = pipeline.cases.iter().filter(|case| wanted(&case.name)).collect();
        left_out += pipeline.cases.len() - cases.len();
        if !args.json && (args.only.is_none() || !cases.is_empty()) {
            let none = if pipeline.cases.is_empty() { ": no tests" } else { "" };
            print(&format!("{}{none}\n", pipeline.path.display()))?;
        }
        for case in cases {
            let began = Instant::now();
            let outcome = rehearse(&pipeline, case);
            let took_ms = began.elapsed().as_secs_f64() * 1000.0;
            let is_right = outcome.mismatches.is_empty();
            *(if is_right { &mut passed } else { &mut failed }) += 1;
            match args.json {
                true => print_json([&with_time(&outcome, took_ms)])?,
                false => print(&cases::text(&outcome, took_ms, color))?,
            }
        }
    }
    if let (0, Some(only)) = (passed + failed, &args.only) {
        return Err(Failure::usage(format!("no test has '{only}' in its name")).with_help(
            format!("there are {}; leave --only out", plural(left_out as i64, "test")),
        ));
    }
    if failed > 0 {
        return Err(Failure::running(format!("{failed} of {} failed", tests(passed + failed))));
    }
    eprintln!("{} passed", tests(passed));
    Ok(())
}

fn tests(count: usize) -> String {
    plural(count as i64, "test")
}

fn with_time(outcome: &Outcome, took_ms: f64) -> serde_json::Value {
    let mut value = cases::json(outcome);
    value["took_ms"] = json!((took_ms * 1000.0).round() / 1000.0);
    value
}
