//! `millstream udf reload`: pipelines that run take up functions whose modules have changed.

use clap::Args;
use serde_json::Value;

use crate::cli::Failure;
use crate::status_socket::{Request, ask_all};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  millstream udf reload                     beside `millstream run …` in the same directory
  millstream udf reload --data-dir /var/lib/millstream

All tasks of a process change over together, between two commits. A module that does not have the
same functions, or is none, is refused, and the one before goes on.")]
pub struct ReloadArgs {
    /// Where the pipelines that run keep their data
    #[arg(long, value_name = "DIR", default_value = ".millstream", env = "MILLSTREAM_DATA_DIR")]
    data_dir: std::path::PathBuf,
    /// Print a JSON object per process
    #[arg(long)]
    json: bool,
}

pub fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    let answers = ask_all(&args.data_dir, Request::ReloadFunctions);
    if answers.is_empty() {
        let message = format!("no pipelines run with their data in {}", args.data_dir.display());
        let help = "start some with `millstream run FILE`, or name their --data-dir";
        return Err(Failure::running(message).with_help(help));
    }
    let mut kept = 0;
    for answer in &answers {
        let functions = answer["functions"].as_array().map(Vec::as_slice).unwrap_or_default();
        kept += functions.iter().filter(|function| function["outcome"] == "kept").count();
        if args.json {
            println!("{answer}");
            continue;
        }
        if functions.is_empty() {
            println!("process {}: no query calls a function of a module", answer["pid"]);
        }
        for function in functions {
            println!("{}", in_words(function));
        }
    }
    match kept {
        0 => Ok(()),
        1 => Err(Failure::running("a function keeps the module that it had")),
        _ => Err(Failure::running(format!("{kept} functions keep the modules that they had"))),
    }
}

fn in_words(function: &Value) -> String {
    let text = |key: &str| function[key].as_str().unwrap_or_default();
    let (name, file) = (text("function"), text("file"));
    match text("outcome") {
        "same" => format!("  = {name}: {file} has not changed"),
        "replaced" => format!("  ✓ {name}: {file} is called from now on"),
        _ => format!("  ✗ {name}: {}", text("reason")),
    }
}
