//! `kafka-server-start`, `kafka-server-stop`, and what became of ZooKeeper's.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use broker::data_dir::{DataDirError, DataDirLock};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::options::{Given, Tool, flag, value};
use super::server_properties::ServerProperties;
use crate::cli::broker::{Setup, serve};
use crate::cli::properties::{self, Properties};
use crate::cli::{Failure, connection};

pub const START: Tool = Tool {
    name: "kafka-server-start",
    about: "Runs a broker as a file of Kafka's server.properties says, until Ctrl-C.",
    example: "kafka-server-start -daemon config/server.properties --override log.dirs=/var/lib/m",
    options: &[
        flag("daemon", "Run in the background, with a log in $LOG_DIR or beside the data"),
        value("override", "KEY=VALUE", "A property that wins over the file's; may be repeated"),
    ],
};

pub const STOP: Tool = Tool {
    name: "kafka-server-stop",
    about: "Stops the broker of --data-dir, or of the log.dirs in a server.properties, in order.\n\
            Without either: the one that kafka-server-start runs, if there is one alone.",
    example: "kafka-server-stop config/server.properties",
    options: &[],
};

const NEEDLESS: &[super::options::Opt] = &[
    flag("daemon", "Taken, without effect"),
    value("override", "KEY=VALUE", "Taken, without effect"),
];

pub const ZOOKEEPER_START: Tool = Tool {
    name: "zookeeper-server-start",
    about: "Says that no ZooKeeper is needed.",
    example: "kafka-server-start config/server.properties",
    options: NEEDLESS,
};

pub const ZOOKEEPER_STOP: Tool = Tool { name: "zookeeper-server-stop", ..ZOOKEEPER_START };

pub fn no_zookeeper(name: &str) {
    match name {
        "zookeeper-server-start" => {
            println!("No ZooKeeper is needed: kafka-server-start alone starts a broker.");
        }
        _ => println!("No ZooKeeper is running, and none is needed."),
    }
}

pub async fn start(given: &Given, stop: CancellationToken) -> Result<(), Error> {
    let (file, given_properties) = server_properties(given)?;
    let data_dir = given.value("data-dir").map(PathBuf::from);
    let server = ServerProperties::new(&given_properties, data_dir)
        .map_err(|error| error.in_file(file.as_deref()))?;
    server.tell(file.as_deref());
    let data_dir = server.broker.data_dir.clone();
    if belongs_to_kafka(&data_dir) {
        let failure = Failure::usage(format!("{} is Apache Kafka's own", data_dir.display()));
        return Err(failure.with_help("choose another directory by log.dirs").into());
    }
    if given.has("daemon") {
        return Ok(in_background(given, &data_dir)?);
    }
    // Those who wait for a broker of Kafka's look for these words.
    let started = || println!("Kafka Server started (Millstream {})", env!("CARGO_PKG_VERSION"));
    let ServerProperties { broker, server, metrics, .. } = server;
    Ok(serve(Setup { broker, server, metrics }, started, stop).await?)
}

/// The file that was named, if one was, and its properties with those that override them.
fn server_properties(given: &Given) -> Result<(Option<PathBuf>, Properties), Error> {
    let file = given.rest.first().map(PathBuf::from);
    let mut all = match &file {
        Some(file) => properties::read(file)?,
        None if given.has("data-dir") => Properties::new(),
        None => {
            return Err(Error::usage(
                "USAGE: kafka-server-start [-daemon] server.properties [--override \
                 property=value]*",
            ));
        }
    };
    all.extend(given.values("override").map(properties::pair));
    Ok((file, all))
}

/// Its topics would not be found, and ours would be put between its own.
fn belongs_to_kafka(data_dir: &Path) -> bool {
    let ours = data_dir.join("topics.json").exists();
    let meta = std::fs::read_to_string(data_dir.join("meta.properties")).unwrap_or_default();
    !ours && (data_dir.join("__cluster_metadata-0").exists() || meta.contains("directory.id"))
}

/// The same command once more, in a process of its own that outlives this one.
fn in_background(given: &Given, data_dir: &Path) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| Failure::running(format!("{what}: {error}"));
    let log_dir = std::env::var_os("LOG_DIR").map_or_else(|| data_dir.to_owned(), PathBuf::from);
    let log = log_dir.join("server.out");
    let name = log.display().to_string();
    std::fs::create_dir_all(&log_dir).map_err(|error| failed(&name, error))?;
    let out = OpenOptions::new().create(true).append(true).open(&log);
    let out = out.map_err(|error| failed(&name, error))?;
    let err = out.try_clone().map_err(|error| failed(&name, error))?;
    let program = std::env::current_exe().map_err(|error| failed("this program", error))?;
    let words = given.words.iter().filter(|word| word.trim_start_matches('-') != "daemon");
    let mut command = Command::new(program);
    command.arg(START.name).args(words).stdin(Stdio::null()).stdout(out).stderr(err);
    // A group of its own: Ctrl-C in this terminal is not meant for it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let child = command.spawn().map_err(|error| failed("this program", error))?;
    eprintln!("started process {}; its log is {name}", child.id());
    Ok(())
}

pub fn stop(given: &Given) -> Result<(), Error> {
    let data_dir = match (given.value("data-dir"), given.rest.first()) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(file)) => {
            let all = properties::read(Path::new(file))?;
            let server = ServerProperties::new(&all, None);
            server.map_err(|error| error.in_file(Some(Path::new(file))))?.broker.data_dir
        }
        (None, None) => PathBuf::from(
            std::env::var("MILLSTREAM_DATA_DIR").unwrap_or_else(|_| ".millstream".to_owned()),
        ),
    };
    let named = given.has("data-dir") || !given.rest.is_empty();
    if !named && !connection::has_data(&data_dir) {
        match started().as_slice() {
            [] => {}
            [(id, _)] => return terminate(*id),
            many => {
                let list = many.iter().map(|(id, what)| format!("\n  {id}  {what}"));
                return Err(Error::Told(format!(
                    "There are several kafka servers; name the one to stop by --data-dir DIR or by \
                     its server.properties:{}",
                    list.collect::<String>()
                )));
            }
        }
    }
    let nobody = || {
        let dir = data_dir.display();
        Error::Told(format!(
            "No kafka server to stop: none serves {dir}; name another by --data-dir DIR or by its \
             server.properties"
        ))
    };
    if !connection::has_data(&data_dir) {
        return Err(nobody());
    }
    let id = match DataDirLock::acquire(&data_dir) {
        Err(DataDirError::Locked { pid: Some(id), .. }) => id,
        Ok(_) | Err(DataDirError::Locked { pid: None, .. }) => return Err(nobody()),
        Err(error) => return Err(Failure::running(error).into()),
    };
    // The lock is held by a process that lives, so the number is still its own.
    terminate(id)
}

/// What `kafka-server-start` has started of this program and this user: numbers of processes, and
/// how each was started. Known only where there is `/proc`.
fn started() -> Vec<(u32, String)> {
    let program = std::env::current_exe().ok().and_then(|path| Some(path.file_name()?.to_owned()));
    let (Some(program), Ok(own)): (Option<OsString>, _) =
        (program, std::fs::metadata("/proc/self"))
    else {
        return Vec::new();
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let looked_at = processes.filter_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let dir = process.path();
        let is_own = std::fs::metadata(&dir).ok()?.uid() == own.uid();
        let runs = std::fs::read_link(dir.join("exe")).ok()?;
        // A program that was replaced since has a word behind its name.
        let same = runs.file_name()?.as_bytes().starts_with(program.as_bytes());
        let words = std::fs::read(dir.join("cmdline")).ok()?;
        let words: Vec<String> = words
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let is_start = |word: &String| {
            let command = super::command(word);
            matches!(command, Some(super::Command::Here(tool)) if tool.name == START.name)
        };
        let starts = words.iter().take(2).any(is_start);
        (is_own && same && starts).then(|| (id, words.join(" ").trim_end().to_owned()))
    });
    looked_at.collect()
}

fn terminate(id: u32) -> Result<(), Error> {
    let sent = Command::new("kill").arg("-TERM").arg(id.to_string()).status();
    match sent {
        Ok(status) if status.success() => {
            eprintln!("asked process {id} to stop");
            Ok(())
        }
        Ok(status) => Err(Failure::running(format!("cannot stop process {id}: {status}")).into()),
        Err(error) => Err(Failure::running(format!("cannot stop process {id}: {error}")).into()),
    }
}
