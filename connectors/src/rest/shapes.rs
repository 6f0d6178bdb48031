//! What is told of connectors, as Kafka Connect puts it.

use serde_json::{Map, Value, json};

use crate::herder::offsets::PartOffset;
use crate::herder::{TaskState, TaskView, View};
use crate::plugin::ConnectorKind;

pub(super) fn kind(kind: ConnectorKind) -> &'static str {
    match kind {
        ConnectorKind::Source => "source",
        ConnectorKind::Sink => "sink",
    }
}

/// Of a connector whose properties are not right here, nobody can say what it is.
fn kind_of(view: &View) -> &'static str {
    view.kind().map_or("unknown", kind)
}

pub(super) fn info(name: &str, view: &View) -> Value {
    let tasks = (0..view.tasks.len()).map(|number| json!({ "connector": name, "task": number }));
    json!({
        "name": name,
        "config": view.properties,
        "tasks": tasks.collect::<Vec<_>>(),
        "type": kind_of(view),
    })
}

pub(super) fn status(name: &str, view: &View, worker_id: &str) -> Value {
    let tasks = view.tasks.iter().enumerate().map(|(number, task)| of_task(number, task));
    // A connector is nothing beside its tasks here: who runs the first has it.
    let first = view.tasks.iter().find_map(|task| task.worker_id.as_deref());
    let mut connector = json!({
        "state": view.target.name(),
        "worker_id": first.unwrap_or(worker_id),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(trace) = &view.trace {
        connector["state"] = json!(TaskState::Failed.name());
        connector["trace"] = json!(trace);
    }
    json!({
        "name": name,
        "connector": connector,
        "tasks": tasks.collect::<Vec<_>>(),
        "type": kind_of(view),
    })
}

pub(super) fn task(number: usize, view: &View) -> Option<Value> {
    view.tasks.get(number).map(|task| of_task(number, task))
}

/// Beside what Kafka tells: how many records it has moved and left out. Clients want a worker's id
/// to be a text always.
fn of_task(number: usize, task: &TaskView) -> Value {
    let mut told = json!({
        "id": number,
        "state": task.state.name(),
        "worker_id": task.worker_id.as_deref().unwrap_or_default(),
        "version": env!("CARGO_PKG_VERSION"),
        "records": task.records,
        "skipped": task.skipped,
    });
    if let Some(trace) = &task.trace {
        told["trace"] = json!(trace);
    }
    told
}

/// The properties of a task: its connector's, and which it is.
fn task_properties(number: usize, view: &View) -> Value {
    let mut properties = json!(view.properties);
    properties["task.id"] = json!(number.to_string());
    properties
}

pub(super) fn tasks(name: &str, view: &View) -> Value {
    let tasks = (0..view.tasks.len()).map(|number| {
        let id = json!({ "connector": name, "task": number });
        json!({ "id": id, "config": task_properties(number, view) })
    });
    tasks.collect()
}

pub(super) fn tasks_config(name: &str, view: &View) -> Value {
    let tasks = (0..view.tasks.len())
        .map(|number| (format!("{name}-{number}"), task_properties(number, view)));
    Value::Object(tasks.collect())
}

pub(super) fn offsets(parts: &[PartOffset]) -> Value {
    let parts =
        parts.iter().map(|part| json!({ "partition": part.partition, "offset": part.offset }));
    json!({ "offsets": parts.collect::<Vec<_>>() })
}

pub(super) fn topics(name: &str, view: &View) -> Value {
    let topics: Vec<String> = view.topics().iter().map(|topic| topic.to_string()).collect();
    let mut told = Map::new();
    told.insert(name.to_owned(), json!({ "topics": topics }));
    Value::Object(told)
}
