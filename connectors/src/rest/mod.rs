//! The REST API of Kafka Connect: its paths, JSON shapes and status codes.
//!
//! ```text
//! method, path, query, body ─► answer ─► Herder ─► status, JSON
//! ```
//!
//! Nothing here knows of sockets: whoever listens hands requests over and sends the answers.
//! - [`shapes`]: what is told of connectors; [`plugins`]: of kinds of connectors, and validation;
//!   [`loggers`]: levels of logs; [`target`]: a request's path and query.
//!
//! What differs from Kafka Connect: tasks may also be DEGRADED, `/health` is always there, a
//! signal may be sent to `/connectors/NAME/signals`, and messages about mistakes say what to do.

pub mod loggers;
mod plugins;
mod shapes;
mod target;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::herder::offsets::{self, PartOffset};
use crate::herder::{Herder, HerderError, Put, Target, signals};
use crate::json_text;
use loggers::Loggers;
pub use target::{RequestTarget, encoded};

/// The version of Kafka Connect whose API this is.
pub const CONNECT_VERSION: &str = "4.1.0";

/// The longest body that is read.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    pub target: RequestTarget,
    /// What the body is said to be.
    pub content_type: Option<&'a str>,
    pub body: &'a [u8],
    /// Where it came in.
    pub served: Served,
}

impl Request<'_> {
    /// Whether the body is JSON, or there is none: forms of web pages, which may be sent to any
    /// server, cannot be that.
    fn is_json(&self) -> bool {
        match self.content_type {
            None => self.body.is_empty(),
            Some(kind) => {
                let kind = kind.split(';').next().unwrap_or_default().trim();
                kind.eq_ignore_ascii_case("application/json")
            }
        }
    }
}

/// What is served where: as Kafka Connect has it, `admin.listeners` may take a part away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// All but the next.
    pub connectors: bool,
    /// `/admin`
    pub admin: bool,
}

impl Served {
    pub const ALL: Served = Served { connectors: true, admin: true };

    fn has(self, segments: &[&str]) -> bool {
        match segments.first() {
            Some(&"admin") => self.admin,
            _ => self.connectors,
        }
    }
}

/// What comes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Option<Value>,
    /// Where what was created is to be found.
    pub location: Option<String>,
}

impl Answer {
    fn ok(body: Value) -> Answer {
        Answer { status: 200, body: Some(body), location: None }
    }

    fn empty(status: u16) -> Answer {
        Answer { status, body: None, location: None }
    }

    pub fn error(status: u16, message: impl Into<String>) -> Answer {
        let body = json!({ "error_code": status, "message": message.into() });
        Answer { status, body: Some(body), location: None }
    }

    fn no_such_path() -> Answer {
        Answer::error(404, "HTTP 404 Not Found")
    }

    fn not_json(content_type: Option<&str>) -> Answer {
        let given = content_type.map_or("no Content-Type".to_owned(), |kind| {
            let shown: String = kind.chars().take(100).collect();
            format!("Content-Type: {shown}")
        });
        let message = "HTTP 415 Unsupported Media Type";
        Answer::error(415, format!("{message}: {given}; send Content-Type: application/json"))
    }

    fn no_such_method() -> Answer {
        Answer::error(405, "HTTP 405 Method Not Allowed")
    }
}

impl From<HerderError> for Answer {
    fn from(error: HerderError) -> Answer {
        let status = match &error {
            HerderError::NotFound(_) | HerderError::NoTask(..) => 404,
            HerderError::Exists(_) => 409,
            HerderError::Invalid(_) | HerderError::Refused(_) => 400,
            HerderError::Failed(_) => 500,
        };
        let mut message = error.to_string();
        if let HerderError::Invalid(_) = error {
            message.push_str(
                "\nYou can also find the above list of errors at the endpoint \
                 `/connector-plugins/{connectorType}/config/validate`",
            );
        }
        Answer::error(status, message)
    }
}

type Answered = Result<Answer, Answer>;

/// What is to be told of the process that the herder is in.
#[derive(Debug)]
pub struct About {
    /// Of the broker.
    pub cluster_id: String,
    pub loggers: Loggers,
}

/// Does what is asked.
pub async fn answer(herder: &dyn Herder, about: &About, request: Request<'_>) -> Answer {
    let segments: Vec<&str> = request.target.segments.iter().map(String::as_str).collect();
    let method = request.method;
    if !request.served.has(&segments) {
        return Answer::no_such_path();
    }
    if !request.is_json() {
        return Answer::not_json(request.content_type);
    }
    let answered = match (&segments[..], method) {
        ([], "GET") => Ok(Answer::ok(json!({
            "version": format!("{CONNECT_VERSION}-millstream-{}", env!("CARGO_PKG_VERSION")),
            "commit": "unknown",
            "kafka_cluster_id": about.cluster_id,
        }))),
        (["health"], "GET") => Ok(Answer::ok(json!({
            "status": "healthy",
            "message": "Worker has completed startup and is ready to handle requests.",
        }))),
        (["connectors"], "GET") => list(herder, &request.target),
        (["connectors"], "POST") => create(herder, request.body).await,
        (["connectors", name, rest @ ..], _) => connector(herder, name, rest, &request).await,
        (["connector-plugins"], "GET") => Ok(plugins::list(&request.target)),
        (["connector-plugins", class, "config"], "GET") => plugins::config(class),
        (["connector-plugins", class, "config", "validate"], "PUT") => {
            match properties(request.body) {
                Ok(given) => plugins::validate(herder, class, present(given)),
                Err(answer) => Err(answer),
            }
        }
        (["admin", "loggers"], "GET") => loggers::list(&about.loggers),
        (["admin", "loggers", name], "GET") => loggers::get(&about.loggers, name),
        (["admin", "loggers", name], "PUT") => {
            loggers::put(herder, &about.loggers, name, &request.target, request.body).await
        }
        (
            []
            | ["health"]
            | ["connectors"]
            | ["connector-plugins", ..]
            | ["admin", "loggers"]
            | ["admin", "loggers", _],
            _,
        ) => Err(Answer::no_such_method()),
        _ => Err(Answer::no_such_path()),
    };
    answered.unwrap_or_else(|answer| answer)
}

async fn connector(
    herder: &dyn Herder,
    name: &str,
    rest: &[&str],
    request: &Request<'_>,
) -> Answered {
    let done = |status: u16| move |()| Answer::empty(status);
    let view = || herder.view(name).map_err(Answer::from);
    let worker_id = &herder.options().worker_id;
    match (rest, request.method) {
        ([], "GET") => Ok(Answer::ok(shapes::info(name, &view()?))),
        ([], "DELETE") => Ok(herder.delete(name).await.map(done(204))?),
        (["config"], "GET") => Ok(Answer::ok(json!(view()?.properties))),
        (["config"], "PUT") => put(herder, name, present(properties(request.body)?)).await,
        (["config"], "PATCH") => {
            let changes = properties(request.body)?;
            let mut properties = view()?.properties;
            for (key, value) in changes {
                match value {
                    Some(value) => drop(properties.insert(key, value)),
                    None => drop(properties.remove(&key)),
                }
            }
            put(herder, name, properties).await
        }
        (["status"], "GET") => Ok(Answer::ok(shapes::status(name, &view()?, worker_id))),
        (["tasks"], "GET") => Ok(Answer::ok(shapes::tasks(name, &view()?))),
        (["tasks-config"], "GET") => Ok(Answer::ok(shapes::tasks_config(name, &view()?))),
        (["tasks", number, "status"], "GET") => {
            let status = shapes::task(task_number(name, number)?, &view()?);
            status.map(Answer::ok).ok_or_else(|| no_task(name, number))
        }
        (["tasks", number, "restart"], "POST") => {
            Ok(herder.restart_task(name, task_number(name, number)?).await.map(done(204))?)
        }
        (["restart"], "POST") => restart(herder, name, &request.target).await,
        (["pause"], "PUT") => Ok(herder.set_target(name, Target::Paused).await.map(done(202))?),
        (["resume"], "PUT") => Ok(herder.set_target(name, Target::Running).await.map(done(202))?),
        (["stop"], "PUT") => Ok(herder.set_target(name, Target::Stopped).await.map(done(204))?),
        (["offsets"], "GET") => {
            Ok(Answer::ok(shapes::offsets(&offsets::read(herder, name).await?)))
        }
        (["offsets"], "PATCH") => alter_offsets(herder, name, request.body).await,
        (["offsets"], "DELETE") => {
            offsets::reset(herder, name).await?;
            Ok(Answer::ok(json!({
                "message": "The offsets for this connector have been reset successfully",
            })))
        }
        (["signals"], "POST") => ask(herder, name, request.body).await,
        (["topics"], "GET") => Ok(Answer::ok(shapes::topics(name, &view()?))),
        (["topics", "reset"], "PUT") => Ok(herder.reset_topics(name).await.map(done(200))?),
        (
            []
            | ["config" | "status" | "tasks" | "tasks-config" | "restart" | "pause" | "resume"]
            | ["stop" | "offsets" | "signals" | "topics"]
            | ["tasks", _, "status" | "restart"]
            | ["topics", "reset"],
            _,
        ) => Err(Answer::no_such_method()),
        _ => Err(Answer::no_such_path()),
    }
}

fn list(herder: &dyn Herder, target: &RequestTarget) -> Answered {
    let expand: Vec<&str> = target.all("expand").collect();
    let names = herder.names();
    if expand.is_empty() {
        return Ok(Answer::ok(json!(names)));
    }
    let worker_id = &herder.options().worker_id;
    let mut all = Map::new();
    for name in names {
        // Gone since.
        let Ok(view) = herder.view(&name) else { continue };
        let mut told = Map::new();
        for part in &expand {
            match *part {
                "status" => {
                    drop(told.insert("status".to_owned(), shapes::status(&name, &view, worker_id)))
                }
                "info" => drop(told.insert("info".to_owned(), shapes::info(&name, &view))),
                _ => {}
            }
        }
        all.insert(name, Value::Object(told));
    }
    Ok(Answer::ok(Value::Object(all)))
}

#[derive(Deserialize)]
struct CreateBody {
    name: Option<String>,
    #[serde(default)]
    config: Option<IgnoredAny>,
    initial_state: Option<String>,
}

async fn create(herder: &dyn Herder, bytes: &[u8]) -> Answered {
    let CreateBody { name, config, initial_state } = body(bytes)?;
    let config = config.and_then(|_| json_text::member(std::str::from_utf8(bytes).ok()?, "config"));
    let config = config.map(|config| properties(config.as_bytes())).transpose()?;
    let mut properties = present(config.unwrap_or_default());
    let named = name.or_else(|| properties.get("name").cloned()).map(|it| it.trim().to_owned());
    let Some(name) = named.filter(|name| !name.is_empty()) else {
        return Err(Answer::error(400, "the connector has no name: `name` is missing"));
    };
    properties.entry("name".to_owned()).or_insert_with(|| name.clone());
    let target = match initial_state.as_deref().map(str::to_uppercase).as_deref() {
        None | Some("RUNNING") => Target::Running,
        Some("PAUSED") => Target::Paused,
        Some("STOPPED") => Target::Stopped,
        Some(other) => {
            let message = format!("initial_state is RUNNING, PAUSED or STOPPED, not '{other}'");
            return Err(Answer::error(400, message));
        }
    };
    herder.create(&name, properties, target).await?;
    created(herder, &name)
}

fn created(herder: &dyn Herder, name: &str) -> Answered {
    let info = shapes::info(name, &herder.view(name)?);
    let location = Some(format!("/connectors/{}", target::encoded(name)));
    Ok(Answer { status: 201, body: Some(info), location })
}

async fn put(
    herder: &dyn Herder,
    name: &str,
    mut properties: BTreeMap<String, String>,
) -> Answered {
    properties.entry("name".to_owned()).or_insert_with(|| name.to_owned());
    match herder.put(name, properties).await? {
        Put::Created => created(herder, name),
        Put::Changed => Ok(Answer::ok(shapes::info(name, &herder.view(name)?))),
    }
}

async fn restart(herder: &dyn Herder, name: &str, target: &RequestTarget) -> Answered {
    let flag = |key| target.all(key).last().is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let (include_tasks, only_failed) = (flag("includeTasks"), flag("onlyFailed"));
    let view = herder.view(name)?;
    if include_tasks {
        herder.restart_tasks(name, only_failed).await?;
    }
    if !include_tasks && !only_failed {
        // A connector is nothing beside its tasks here: there is nothing to restart.
        return Ok(Answer::empty(204));
    }
    let view = herder.view(name).unwrap_or(view);
    let body = Some(shapes::status(name, &view, &herder.options().worker_id));
    Ok(Answer { status: 202, body, location: None })
}

#[derive(Deserialize)]
struct OffsetsBody {
    offsets: Option<Vec<OffsetBody>>,
}

#[derive(Deserialize)]
struct OffsetBody {
    partition: Value,
    offset: Option<Value>,
}

async fn alter_offsets(herder: &dyn Herder, name: &str, bytes: &[u8]) -> Answered {
    let OffsetsBody { offsets } = body(bytes)?;
    let parts: Vec<PartOffset> = offsets
        .unwrap_or_default()
        .into_iter()
        .map(|OffsetBody { partition, offset }| PartOffset { partition, offset })
        .collect();
    if parts.is_empty() {
        let message = "Partitions / offsets need to be provided for an alter offsets request";
        return Err(Answer::error(400, message));
    }
    offsets::alter(herder, name, parts).await?;
    let message = "The offsets for this connector have been altered successfully";
    Ok(Answer::ok(json!({ "message": message })))
}

#[derive(Deserialize)]
struct SignalBody {
    #[serde(default)]
    id: String,
    r#type: String,
    #[serde(default)]
    data: Value,
}

/// What Debezium takes from a table or a topic.
async fn ask(herder: &dyn Herder, name: &str, bytes: &[u8]) -> Answered {
    let SignalBody { id, r#type, data } = body(bytes)?;
    signals::signal(herder, name, &id, &r#type, &data).await?;
    Ok(Answer::empty(202))
}

fn task_number(name: &str, text: &str) -> Result<usize, Answer> {
    text.parse().map_err(|_| no_task(name, text))
}

fn no_task(name: &str, number: &str) -> Answer {
    Answer::error(404, format!("connector '{name}' has no task {number}"))
}

fn body<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Answer> {
    let wrong =
        |error| Answer::error(400, format!("the request's body is not as it should: {error}"));
    serde_json::from_slice(bytes).map_err(wrong)
}

/// A connector's properties. Numbers and booleans are what they would be between quotes, as Kafka
/// Connect has it.
fn properties(bytes: &[u8]) -> Result<BTreeMap<String, Option<String>>, Answer> {
    let _: BTreeMap<String, IgnoredAny> = body(bytes)?;
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    let (mut properties, mut nested) = (BTreeMap::new(), Vec::new());
    for (name, value) in json_text::members(text) {
        let name = json_text::string(name).into_owned();
        match value.as_bytes().first() {
            Some(b'{') => nested.push(format!("`{name}` is an object")),
            Some(b'[') => nested.push(format!("`{name}` is an array")),
            Some(b'n') => drop(properties.insert(name, None)),
            _ => drop(properties.insert(name, Some(json_text::string(value).into_owned()))),
        }
    }
    if nested.is_empty() {
        return Ok(properties);
    }
    let message = format!(
        "a property is a text, a number, true or false: {}; write a list as one text, such as \
         \"a,b\", and what belongs to a thing as keys with dots",
        nested.join(", ")
    );
    Err(Answer::error(400, message))
}

/// Without keys whose value is null.
fn present(given: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

#[cfg(test)]
mod tests;
