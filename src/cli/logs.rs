//! What the process says on stderr, and how much of it.

use std::io::IsTerminal;
use std::sync::OnceLock;

use connectors::rest::loggers::Loggers;
use tracing_subscriber::EnvFilter;

const VARIABLE: &str = "MILLSTREAM_LOG";
/// Modules of functions that take long to compile are told of: nothing else happens meanwhile. A
/// connector's notifications come where somebody has asked for them in the log.
const DEFAULT: &str = "warn,udfs::host=info,connectors::postgres::notifications=info";

/// Puts another filter in the place of the one that there is.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

/// What the variable says, if that can be understood.
fn directives() -> String {
    let said = std::env::var(VARIABLE).ok().filter(|said| EnvFilter::try_new(said).is_ok());
    said.unwrap_or_else(|| DEFAULT.to_owned())
}

pub fn start() {
    let filter = EnvFilter::new(directives());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let change: Change =
        if std::env::var_os("MILLSTREAM_LOG_FORMAT").is_some_and(|format| format == "json") {
            let logs = logs.json().flatten_event(true).with_filter_reloading();
            let handle = logs.reload_handle();
            logs.init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        } else {
            let logs = logs.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = logs.reload_handle();
            logs.init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        };
    let _ = CHANGE.set(change);
}

/// The levels of this process's logs.
pub fn loggers() -> Loggers {
    Loggers::new(&directives(), |directives| {
        let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string())?;
        match CHANGE.get() {
            Some(change) => change(filter),
            None => Err("this process has no logs".to_owned()),
        }
    })
}
