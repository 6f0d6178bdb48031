//! Orders to a worker that runs, by its REST API.

use std::path::PathBuf;

use connectors::rest::encoded;
use serde_json::{Value, json};

use super::files;
use super::rest_client::{Rest, refused};
use crate::cli::Failure;
use crate::cli::stdout::print;
use crate::render::table::Table;

fn path(name: &str, behind: &str) -> String {
    format!("/connectors/{}{behind}", encoded(name))
}

/// The names that were given, or all there are.
fn chosen(rest: &Rest, names: &[String]) -> Result<Vec<String>, Failure> {
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let all = rest.ask("GET", "/connectors", None)?;
    let all = all.as_array().into_iter().flatten();
    let mut all: Vec<String> = all.filter_map(|one| one.as_str().map(str::to_owned)).collect();
    all.sort();
    Ok(all)
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A count, or nothing where a worker does not tell it.
fn count(value: &Value) -> String {
    value.as_u64().map_or_else(String::new, |count| count.to_string())
}

/// How a connector stands altogether: as its tasks that most ask for attention.
fn altogether(status: &Value) -> String {
    let own = text(&status["connector"]["state"]);
    let tasks = status["tasks"].as_array().into_iter().flatten();
    let states: Vec<&str> = tasks.filter_map(|task| task["state"].as_str()).collect();
    let worst = ["FAILED", "RESTARTING", "DEGRADED", "UNASSIGNED"];
    match worst.iter().find(|state| states.contains(state)) {
        Some(state) if own == "RUNNING" => (*state).to_owned(),
        _ => own,
    }
}

/// `millstream connect list`.
pub fn list(rest: &Rest, json: bool) -> Result<(), Failure> {
    let all = rest.ask("GET", "/connectors?expand=status&expand=info", None)?;
    if json {
        return print(&pretty(&all));
    }
    let rows = all.as_object().into_iter().flatten().map(|(name, told)| {
        let status = &told["status"];
        let tasks = status["tasks"].as_array().map_or(0, Vec::len);
        let class = text(&told["info"]["config"]["connector.class"]);
        vec![name.clone(), text(&status["type"]), altogether(status), tasks.to_string(), class]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        eprintln!("no connectors");
        return Ok(());
    }
    let columns = ["NAME", "TYPE", "STATE", "TASKS", "CLASS"];
    let columns = columns.map(|name| (name, name == "TASKS"));
    print(&Table::new(columns).lines(&rows))
}

/// `millstream connect status`.
pub fn status(rest: &Rest, names: &[String], json: bool) -> Result<(), Failure> {
    let (mut rows, mut traces, mut all) = (Vec::new(), String::new(), Vec::new());
    for name in chosen(rest, names)? {
        let status = rest.ask("GET", &path(&name, "/status"), None)?;
        let state = text(&status["connector"]["state"]);
        let none = String::new;
        let worker = text(&status["connector"]["worker_id"]);
        rows.push(vec![name.clone(), none(), state, none(), none(), worker]);
        for task in status["tasks"].as_array().into_iter().flatten() {
            let (number, state) = (task["id"].to_string(), text(&task["state"]));
            let (records, skipped) = (count(&task["records"]), count(&task["skipped"]));
            if let Some(trace) = task["trace"].as_str() {
                traces.push_str(&format!("{name}, task {number}: {trace}\n"));
            }
            let worker = text(&task["worker_id"]);
            rows.push(vec![name.clone(), number, state, records, skipped, worker]);
        }
        all.push(status);
    }
    if json {
        return print(&pretty(&json!(all)));
    }
    if rows.is_empty() {
        eprintln!("no connectors");
        return Ok(());
    }
    let columns = ["NAME", "TASK", "STATE", "RECORDS", "SKIPPED", "WORKER"];
    let columns = columns.map(|name| (name, ["TASK", "RECORDS", "SKIPPED"].contains(&name)));
    print(&format!("{}{traces}", Table::new(columns).lines(&rows)))
}

/// `millstream connect create`.
pub fn create(rest: &Rest, paths: &[PathBuf]) -> Result<(), Failure> {
    let files = files::read(paths)?;
    for connector in &files.connectors {
        let properties = json!(connector.properties);
        let path = path(&connector.name, "/config");
        let (status, answer) = rest.exchange("PUT", &path, Some(&properties))?;
        match status {
            200 => eprintln!("changed connector '{}'", connector.name),
            201 => eprintln!("created connector '{}'", connector.name),
            401 => return Err(refused(status, &answer, &path)),
            _ => {
                let message = text(&answer["message"]);
                let message = message.split("\nYou can also").next().unwrap_or(&message);
                return Err(Failure::running(format!("'{}': {message}", connector.name)));
            }
        }
    }
    Ok(())
}

/// `millstream connect pause`, `resume`, `stop`.
pub fn each(rest: &Rest, names: &[String], order: &str, done: &str) -> Result<(), Failure> {
    for name in chosen(rest, names)? {
        rest.ask("PUT", &path(&name, &format!("/{order}")), None)?;
        eprintln!("{done} connector '{name}'");
    }
    Ok(())
}

/// `millstream connect restart`.
pub fn restart(rest: &Rest, names: &[String], only_failed: bool) -> Result<(), Failure> {
    for name in chosen(rest, names)? {
        let query = format!("/restart?includeTasks=true&onlyFailed={only_failed}");
        rest.ask("POST", &path(&name, &query), None)?;
        eprintln!("restarted connector '{name}'");
    }
    Ok(())
}

/// `millstream connect snapshot`.
pub fn signal(rest: &Rest, name: &str, kind: &str, data: &Value) -> Result<(), Failure> {
    let body = json!({ "type": kind, "data": data });
    rest.ask("POST", &path(name, "/signals"), Some(&body))?;
    eprintln!("asked connector '{name}': `millstream connect offsets {name}` shows how far it is");
    Ok(())
}

/// `millstream connect delete`.
pub fn delete(rest: &Rest, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Err(Failure::usage("name the connectors to delete"));
    }
    for name in names {
        rest.ask("DELETE", &path(name, ""), None)?;
        eprintln!("deleted connector '{name}'; its offsets stay");
    }
    Ok(())
}

/// `millstream connect config`.
pub fn config(
    rest: &Rest,
    name: &str,
    set: &[(String, String)],
    unset: &[String],
) -> Result<(), Failure> {
    let path = path(name, "/config");
    let config = match set.is_empty() && unset.is_empty() {
        true => rest.ask("GET", &path, None)?,
        false => {
            let mut changes = json!({});
            for (key, value) in set {
                changes[key] = json!(value);
            }
            for key in unset {
                changes[key] = Value::Null;
            }
            rest.ask("PATCH", &path, Some(&changes))?["config"].take()
        }
    };
    let lines = config.as_object().into_iter().flatten();
    print(&lines.map(|(key, value)| format!("{key}={}\n", text(value))).collect::<String>())
}

/// `millstream connect offsets`.
pub fn offsets(rest: &Rest, name: &str, reset: bool) -> Result<(), Failure> {
    let path = path(name, "/offsets");
    if reset {
        rest.ask("DELETE", &path, None)?;
        eprintln!("connector '{name}' begins anew when it is resumed");
        return Ok(());
    }
    let offsets = rest.ask("GET", &path, None)?;
    let parts = offsets["offsets"].as_array().into_iter().flatten();
    let lines = parts.map(|part| format!("{} {}\n", part["partition"], part["offset"]));
    print(&lines.collect::<String>())
}
