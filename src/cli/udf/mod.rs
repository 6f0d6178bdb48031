//! `millstream udf`: begin functions in WebAssembly, look at them, and try them.

mod bench;
mod call;
mod inspect;
mod new;
#[cfg(unix)]
mod reload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use engine::pipeline::duration::parse_duration;
use engine::pipeline::size::{parse_size, parse_stack};
use engine::plan::user_functions;
use udfs::http::{Origin, SIDE_BY_SIDE_RANGE};
use udfs::{Directory, Limits, LoadError, Module, Options, Signature};

use super::query::query;
use super::{Failure, in_runtime};

#[derive(Debug, Args)]
pub struct UdfArgs {
    #[command(subcommand)]
    command: UdfCommand,
}

#[derive(Debug, Subcommand)]
enum UdfCommand {
    /// Begin a function: a folder with its source, build, tests and README
    New(new::NewArgs),
    /// Show what a file has: its functions, their types, what it imports
    Inspect(inspect::InspectArgs),
    /// Call a function on values
    Call(call::CallArgs),
    /// Measure how long a function takes
    Bench(bench::BenchArgs),
    /// Let pipelines that run take up functions whose modules have changed
    #[cfg(unix)]
    Reload(reload::ReloadArgs),
}

/// A module, and what it may use.
#[derive(Args, Debug)]
pub struct ModuleArgs {
    /// The module or component: .wasm, or its text, .wat
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The WIT of a core module whose functions take more than numbers, and that does not carry it
    #[arg(long, value_name = "FILE")]
    wit: Option<PathBuf>,
    /// Memory that it may use
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = memory)]
    memory: usize,
    /// Time that a call may take
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = time)]
    time: Duration,
    /// Stack that its nested calls may take
    #[arg(long, value_name = "SIZE", default_value = "512KiB", value_parser = parse_stack)]
    stack: usize,
    /// Servers that it may ask, such as api.example.com
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    grant_http: Vec<Origin>,
    /// A setting as a pipeline file has it: config.NAME=VALUE, grants.clock=true,
    /// grants.random=true, grants.environment.NAME=VALUE, grants.directories.NAME=PATH[:rw],
    /// side_by_side=COUNT, search=DURATION
    #[arg(long = "with", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

fn memory(text: &str) -> Result<usize, String> {
    parse_size(text).map_err(|error| error.to_string())
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

impl ModuleArgs {
    fn load(&self) -> Result<Arc<Module>, Failure> {
        let wit = match &self.wit {
            Some(path) => {
                let wit = udfs::read_wit(path);
                Some(wit.map_err(|error| Failure::usage(error.to_string()))?)
            }
            None => None,
        };
        super::run::keep_compiled_functions();
        let limits = Limits {
            memory_bytes: self.memory,
            time: self.time,
            stack_bytes: self.stack,
            ..Limits::default()
        };
        let name = self.file.display().to_string();
        let mut options = Options { name, limits, wit, ..Options::default() };
        options.grants.http.clone_from(&self.grant_http);
        for (key, value) in &self.settings {
            set(&mut options, key, value)?;
        }
        let loaded =
            user_functions::host().and_then(|host| Module::load(&host, &self.file, options));
        let failed = |error: LoadError| error.of_file(&self.file.display().to_string());
        loaded.map(Arc::new).map_err(|error| Failure::usage(failed(error)))
    }
}

/// One of `--with`.
fn set(options: &mut Options, key: &str, value: &str) -> Result<(), Failure> {
    let grants = &mut options.grants;
    let flag = || match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Failure::usage(format!("--with {key}={value}: expected true or false"))),
    };
    if let Some(name) = key.strip_prefix("config.") {
        Arc::make_mut(&mut options.config).insert(name.to_owned(), value.to_owned());
    } else if let Some(name) = key.strip_prefix("grants.environment.") {
        grants.environment.insert(name.to_owned(), value.to_owned());
    } else if let Some(name) = key.strip_prefix("grants.directories.") {
        let (path, writable) = match value.strip_suffix(":rw") {
            Some(path) => (path, true),
            None => (value, false),
        };
        grants.directories.insert(name.to_owned(), Directory { path: path.into(), writable });
    } else if key == "grants.clock" {
        grants.clock = flag()?;
    } else if key == "grants.random" {
        grants.random = flag()?;
    } else if key == "side_by_side" {
        let count = value.parse().ok().filter(|count| SIDE_BY_SIDE_RANGE.contains(count));
        let (least, most) = (SIDE_BY_SIDE_RANGE.start(), SIDE_BY_SIDE_RANGE.end());
        options.limits.side_by_side = count.ok_or_else(|| {
            Failure::usage(format!("--with {key}={value}: expected {least} to {most}"))
        })?;
    } else if key == "search" {
        let search = time(value);
        let wrong = |error| Failure::usage(format!("--with {key}={value}: {error}"));
        options.limits.search = Some(search.map_err(wrong)?);
    } else {
        let message = format!("--with {key}: functions have no such setting here");
        return Err(Failure::usage(message).with_help(
            "there is config.NAME, grants.clock, grants.random, grants.environment.NAME, \
             grants.directories.NAME, side_by_side and search",
        ));
    }
    Ok(())
}

/// The functions of a name; there is at least one.
fn functions<'m>(module: &'m Module, name: &str) -> Result<Vec<(usize, &'m Signature)>, Failure> {
    let wanted = name.to_ascii_lowercase().replace('-', "_");
    let all = module.functions().iter().enumerate();
    let found: Vec<_> = all.filter(|(_, function)| function.name == wanted).collect();
    match found.is_empty() {
        false => Ok(found),
        true => {
            let names: Vec<&str> =
                module.functions().iter().map(|function| function.name.as_str()).collect();
            let message = match module.why_left_out(&wanted) {
                Some(reason) => format!("{}: {reason}", module.name()),
                None => format!("{} has no function '{name}'", module.name()),
            };
            Err(Failure::usage(message).with_help(format!("it has {}", names.join(", "))))
        }
    }
}

pub fn udf(args: UdfArgs) -> Result<(), Failure> {
    match args.command {
        UdfCommand::New(args) => new::new(&args),
        UdfCommand::Inspect(args) => inspect::inspect(&args),
        UdfCommand::Call(args) => match call::call(args)? {
            call::Called::Values => Ok(()),
            call::Called::Topic(args) => in_runtime(async |stop| query(*args, stop).await),
        },
        UdfCommand::Bench(args) => bench::bench(&args),
        #[cfg(unix)]
        UdfCommand::Reload(args) => reload::reload(&args),
    }
}
