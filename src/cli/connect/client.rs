//! Orders to a worker that runs, by its REST API.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use connectors::rest::encoded;
use serde_json::{Value, json};

use super::files;
use crate::cli::Failure;
use crate::cli::stdout::print;
use crate::render::table::Table;

/// How long an answer may take: tasks are let end in order first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// No answer is longer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Asks, and wants to succeed.
fn ask(url: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let (status, answer) = exchange(url, method, path, body)?;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let message = answer["message"].as_str().map_or_else(
        || format!("{method} {path}: status {status}"),
        |message| message.split("\nYou can also").next().unwrap_or(message).to_owned(),
    );
    let failure = Failure::running(message);
    match status {
        404 => Err(failure.with_help("`millstream connect list` shows which there are")),
        _ => Err(failure),
    }
}

/// One request over a connection of its own; status and JSON.
fn exchange(
    url: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), Failure> {
    let authority = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    if url.starts_with("https://") {
        return Err(Failure::usage(format!("{url}: only http is spoken here")));
    }
    let address = match authority.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
        _ => format!("{authority}:80"),
    };
    let failed = |error: std::io::Error| {
        Failure::running(format!("{url}: {error}"))
            .with_help("start a worker by `millstream connect FILE…`, or name one by --url")
    };
    let mut stream = TcpStream::connect(&address).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(failed)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(failed)?;
    stream.write_all(body.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    parse(&answer).ok_or_else(|| Failure::running(format!("{url}: no answer of a REST API")))
}

/// The status and the body of a whole answer.
fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = match chunked {
        true => &unchunked(&answer[end + 4..])?,
        false => &answer[end + 4..],
    };
    Some((status, serde_json::from_slice(body).unwrap_or(Value::Null)))
}

/// Kafka Connect's own server sends long bodies in chunks.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        let chunk = rest.get(end + 2..(end + 2).checked_add(size)?)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

fn path(name: &str, rest: &str) -> String {
    format!("/connectors/{}{rest}", encoded(name))
}

/// The names that were given, or all there are.
fn chosen(url: &str, names: &[String]) -> Result<Vec<String>, Failure> {
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let all = ask(url, "GET", "/connectors", None)?;
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
pub fn list(url: &str, json: bool) -> Result<(), Failure> {
    let all = ask(url, "GET", "/connectors?expand=status&expand=info", None)?;
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
pub fn status(url: &str, names: &[String], json: bool) -> Result<(), Failure> {
    let (mut rows, mut traces, mut all) = (Vec::new(), String::new(), Vec::new());
    for name in chosen(url, names)? {
        let status = ask(url, "GET", &path(&name, "/status"), None)?;
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
pub fn create(url: &str, paths: &[PathBuf]) -> Result<(), Failure> {
    let files = files::read(paths)?;
    for connector in &files.connectors {
        let properties = json!(connector.properties);
        let path = path(&connector.name, "/config");
        let (status, answer) = exchange(url, "PUT", &path, Some(&properties))?;
        match status {
            200 => eprintln!("changed connector '{}'", connector.name),
            201 => eprintln!("created connector '{}'", connector.name),
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
pub fn each(url: &str, names: &[String], order: &str, done: &str) -> Result<(), Failure> {
    for name in chosen(url, names)? {
        ask(url, "PUT", &path(&name, &format!("/{order}")), None)?;
        eprintln!("{done} connector '{name}'");
    }
    Ok(())
}

/// `millstream connect restart`.
pub fn restart(url: &str, names: &[String], only_failed: bool) -> Result<(), Failure> {
    for name in chosen(url, names)? {
        let query = format!("/restart?includeTasks=true&onlyFailed={only_failed}");
        ask(url, "POST", &path(&name, &query), None)?;
        eprintln!("restarted connector '{name}'");
    }
    Ok(())
}

/// `millstream connect snapshot`.
pub fn signal(url: &str, name: &str, kind: &str, data: &Value) -> Result<(), Failure> {
    let body = json!({ "type": kind, "data": data });
    ask(url, "POST", &path(name, "/signals"), Some(&body))?;
    eprintln!("asked connector '{name}': `millstream connect offsets {name}` shows how far it is");
    Ok(())
}

/// `millstream connect delete`.
pub fn delete(url: &str, names: &[String]) -> Result<(), Failure> {
    if names.is_empty() {
        return Err(Failure::usage("name the connectors to delete"));
    }
    for name in names {
        ask(url, "DELETE", &path(name, ""), None)?;
        eprintln!("deleted connector '{name}'; its offsets stay");
    }
    Ok(())
}

/// `millstream connect config`.
pub fn config(
    url: &str,
    name: &str,
    set: &[(String, String)],
    unset: &[String],
) -> Result<(), Failure> {
    let path = path(name, "/config");
    let config = match set.is_empty() && unset.is_empty() {
        true => ask(url, "GET", &path, None)?,
        false => {
            let mut changes = json!({});
            for (key, value) in set {
                changes[key] = json!(value);
            }
            for key in unset {
                changes[key] = Value::Null;
            }
            ask(url, "PATCH", &path, Some(&changes))?["config"].take()
        }
    };
    let lines = config.as_object().into_iter().flatten();
    print(&lines.map(|(key, value)| format!("{key}={}\n", text(value))).collect::<String>())
}

/// `millstream connect offsets`.
pub fn offsets(url: &str, name: &str, reset: bool) -> Result<(), Failure> {
    let path = path(name, "/offsets");
    if reset {
        ask(url, "DELETE", &path, None)?;
        eprintln!("connector '{name}' begins anew when it is resumed");
        return Ok(());
    }
    let offsets = ask(url, "GET", &path, None)?;
    let parts = offsets["offsets"].as_array().into_iter().flatten();
    let lines = parts.map(|part| format!("{} {}\n", part["partition"], part["offset"]));
    print(&lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_in_chunks() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        assert_eq!(parse(plain), Some((200, json!([]))));
        let chunked = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n\
            3\r\n{\"a\r\n4;x\r\n\":1}\r\n0\r\n\r\n";
        assert_eq!(parse(chunked), Some((404, json!({ "a": 1 }))));
        assert_eq!(parse(b"HTTP/1.1 204 No Content\r\n\r\n"), Some((204, Value::Null)));
        assert_eq!(parse(b"SSH-2.0"), None);
    }
}
