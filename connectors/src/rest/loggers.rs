//! How much is logged, and of what: `/admin/loggers`.
//!
//! A logger is what says something: a module of this program such as `connectors::postgres`, with
//! all that is in it, or `root` for all others. Kafka Connect's names of its own are taken for the
//! modules that do the same here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Answered, RequestTarget, body};
use crate::clock;
use crate::herder::Herder;

const ROOT: &str = "root";
/// What has a level of its own always.
const PARTS: [&str; 5] = ["broker", "connectors", "engine", "millstream", "udfs"];
/// Levels that somebody has set are kept for so many.
const LOGGERS_MAX: usize = 1_000;
const LEVELS: [&str; 6] = ["OFF", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"];
/// What Kafka Connect, and Debezium, call what does this here; longer ones first.
const ELSEWHERE: [(&str, &str); 5] = [
    ("io.debezium.connector.postgresql", "connectors::postgres"),
    ("io.debezium", "connectors::postgres"),
    ("org.apache.kafka.connect.file", "connectors::file"),
    ("org.apache.kafka.connect", "connectors"),
    ("org.apache.kafka", "broker"),
];

/// Makes the logs follow directives such as `warn,connectors=debug`; else says why not.
type Follow = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The levels of a process, and how to change them.
pub struct Loggers {
    levels: Mutex<Levels>,
    follow: Follow,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Levels {
    root: Level,
    of: BTreeMap<String, Level>,
    /// Directives about more than a module's level.
    others: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    word: &'static str,
    modified_ms: Option<i64>,
}

impl Default for Level {
    fn default() -> Level {
        Level { word: "OFF", modified_ms: None }
    }
}

impl std::fmt::Debug for Loggers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loggers").field("levels", &self.levels).finish_non_exhaustive()
    }
}

impl Loggers {
    /// Of logs that follow these directives so far.
    pub fn new(
        directives: &str,
        follow: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
    ) -> Loggers {
        Loggers { levels: Mutex::new(Levels::of(directives)), follow: Box::new(follow) }
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, word: &'static str) -> Result<(), Answer> {
        let mut levels = self.levels();
        let mut changed = levels.clone();
        let level = Level { word, modified_ms: Some(clock::now_ms()) };
        if name == ROOT {
            changed.root = level;
        } else {
            if changed.of.len() >= LOGGERS_MAX && !changed.of.contains_key(name) {
                let message = format!("there are {LOGGERS_MAX} loggers with a level of their own");
                return Err(Answer::error(400, message));
            }
            changed.of.insert(name.to_owned(), level);
        }
        (self.follow)(&changed.directives()).map_err(|reason| Answer::error(400, reason))?;
        *levels = changed;
        Ok(())
    }
}

impl Levels {
    fn of(directives: &str) -> Levels {
        let mut levels = Levels::default();
        for directive in directives.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (target, word(level)),
                None if word(directive).is_some() => (ROOT, word(directive)),
                None => (directive, Some("TRACE")),
            };
            match level.filter(|_| is_module(target)) {
                Some(word) if target == ROOT => levels.root.word = word,
                Some(word) => {
                    levels.of.insert(target.to_owned(), Level { word, modified_ms: None });
                }
                None => levels.others.push(directive.to_owned()),
            }
        }
        levels
    }

    fn directives(&self) -> String {
        let root = self.root.word.to_lowercase();
        let of = self.of.iter().map(|(name, level)| format!("{name}={}", level.word));
        let all: Vec<String> = self
            .others
            .iter()
            .cloned()
            .chain([root])
            .chain(of.map(|it| it.to_lowercase()))
            .collect();
        all.join(",")
    }

    /// The level that counts: its own, or of what it is in.
    fn level(&self, name: &str) -> Level {
        let mut within = Some(name);
        while let Some(one) = within {
            if let Some(level) = self.of.get(one) {
                return *level;
            }
            within = one.rsplit_once("::").map(|(outer, _)| outer);
        }
        self.root
    }
}

/// A level by its name, also by those that are Log4j's alone.
fn word(text: &str) -> Option<&'static str> {
    match text.trim().to_uppercase().as_str() {
        "FATAL" => Some("ERROR"),
        "ALL" => Some("TRACE"),
        text => LEVELS.into_iter().find(|level| *level == text),
    }
}

fn is_module(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.split("::").all(is_part)
}

/// The module that a name means. `None`: there is none of that name.
fn module(name: &str) -> Option<String> {
    let known = |(theirs, _): &&(&str, &str)| {
        name.strip_prefix(theirs).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some((_, ours)) = ELSEWHERE.iter().find(known) {
        return Some((*ours).to_owned());
    }
    let module = name.replace('.', "::");
    let first = module.split("::").next().unwrap_or_default();
    (module == ROOT || PARTS.contains(&first) && is_module(&module)).then_some(module)
}

fn shown(level: Level) -> Value {
    json!({ "level": level.word, "last_modified": level.modified_ms })
}

pub fn list(loggers: &Loggers) -> Answered {
    let levels = loggers.levels();
    let names = PARTS.into_iter().chain(levels.of.keys().map(String::as_str));
    let all = names.map(|name| (name.to_owned(), shown(levels.level(name))));
    let root = (ROOT.to_owned(), shown(levels.root));
    Ok(Answer::ok(Value::Object(all.chain([root]).collect())))
}

fn named(name: &str) -> Result<String, Answer> {
    module(name).ok_or_else(|| Answer::error(404, format!("Logger {name} not found.")))
}

pub fn get(loggers: &Loggers, name: &str) -> Answered {
    let name = named(name)?;
    let levels = loggers.levels();
    Ok(Answer::ok(shown(if name == ROOT { levels.root } else { levels.level(&name) })))
}

#[derive(Deserialize)]
struct LevelBody {
    level: Option<String>,
}

/// Follows what is ordered for all workers, by whichever of them was asked.
pub async fn follow(herder: &dyn Herder, loggers: &Loggers) -> Infallible {
    let mut from = None;
    loop {
        let (next, levels) = herder.next_levels(from).await;
        from = Some(next);
        for (name, level) in levels {
            // Another worker's version may know others.
            let known = module(&name).zip(word(&level));
            if let Some((name, word)) = known
                && let Err(refused) = loggers.set(&name, word)
            {
                let why = refused.body.unwrap_or_default();
                tracing::warn!("logger {name} stays as it is: {}", why["message"]);
            }
        }
    }
}

/// Sets a level, in this worker or, with `scope=cluster` (KIP-976), in all of them.
pub async fn put(
    herder: &dyn Herder,
    loggers: &Loggers,
    name: &str,
    target: &RequestTarget,
    bytes: &[u8],
) -> Answered {
    let of_cluster = target.all("scope").any(|scope| scope.eq_ignore_ascii_case("cluster"));
    let LevelBody { level } = body(bytes)?;
    let Some(level) = level else {
        let message = "Desired 'level' parameter was not specified in request.";
        return Err(Answer::error(400, message));
    };
    let Some(word) = word(&level) else {
        let message = format!("invalid log level '{level}'; it is one of {}", LEVELS.join(", "));
        return Err(Answer::error(404, message));
    };
    let name = named(name)?;
    if of_cluster && herder.order_level(&name, word).await? {
        return Ok(Answer::empty(204));
    }
    loggers.set(&name, word)?;
    match of_cluster {
        true => Ok(Answer::empty(204)),
        false => Ok(Answer::ok(json!([name]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_are_kept_whatever_is_set() {
        for (text, expected) in [
            ("warn", "warn"),
            ("", "off"),
            ("connectors=debug", "off,connectors=debug"),
            ("info,broker::server=trace,udfs", "info,broker::server=trace,udfs=trace"),
            ("[connector{name=a}]=debug,warn", "[connector{name=a}]=debug,warn"),
            ("WARN,connectors=nonsense", "connectors=nonsense,warn"),
        ] {
            assert_eq!(Levels::of(text).directives(), expected, "{text}");
        }
    }

    #[test]
    fn the_innermost_level_counts() {
        let levels = Levels::of("warn,connectors=info,connectors::file=debug");
        for (name, expected) in [
            ("connectors::file::tail", "DEBUG"),
            ("connectors::filed", "INFO"),
            ("connectors", "INFO"),
            ("broker", "WARN"),
        ] {
            assert_eq!(levels.level(name).word, expected, "{name}");
        }
    }

    #[test]
    fn names_from_elsewhere_are_modules_here() {
        for (name, expected) in [
            ("root", Some("root")),
            ("connectors.file.tail", Some("connectors::file::tail")),
            ("org.apache.kafka.connect.runtime.WorkerSourceTask", Some("connectors")),
            ("org.apache.kafka.connect.file.FileStreamSourceTask", Some("connectors::file")),
            ("org.apache.kafka.clients", Some("broker")),
            ("io.debezium", Some("connectors::postgres")),
            ("io.debeziumx", None),
            ("org.eclipse.jetty", None),
            ("connectors::", None),
            ("connectors=trace,broker", None),
            ("", None),
        ] {
            assert_eq!(module(name).as_deref(), expected, "{name}");
        }
    }
}
