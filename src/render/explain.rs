//! What a query does, as text for people and as JSON for programs.

use engine::describe::words::duration_text;
use engine::describe::{
    Combining, Flow, OutputMode, PlanNode, QueryDescription, SourceDescription, StateDescription,
    Step, StepKind, Until,
};
use engine::pipeline::{LateRows, OnError, Watermark};
use serde_json::{Value, json};

use super::table::plural;

/// Lines are broken before they are wider.
const WIDTH: usize = 100;

struct Colors {
    bold: &'static str,
    dim: &'static str,
    yellow: &'static str,
    reset: &'static str,
}

const PLAIN: Colors = Colors { bold: "", dim: "", yellow: "", reset: "" };
const COLORED: Colors =
    Colors { bold: "\x1b[1m", dim: "\x1b[2m", yellow: "\x1b[33m", reset: "\x1b[0m" };

/// For people.
pub fn text(query: &QueryDescription, color: bool) -> String {
    let colors = if color { COLORED } else { PLAIN };
    let Colors { bold, dim, yellow, reset } = colors;
    let mut out = format!("{bold}query {}{reset}\n\n{bold}Plan{reset}\n", query.name);
    plan(&query.plan, "  ", "  ", &mut out);
    out.push_str(&format!("\n{bold}Sources{reset}\n"));
    for source in &query.sources {
        wrap("  ", "    ", &source_words(source), "; ", &mut out);
    }
    let tasks = plural(query.tasks as i64, "task");
    out.push_str(&format!("\n{bold}Steps{reset}  {dim}{tasks}{reset}\n"));
    for (index, step) in query.steps.iter().enumerate() {
        let from: Vec<String> = step.from.iter().map(|flow| flow_words(query, flow)).collect();
        let from = match from.is_empty() {
            true => String::new(),
            false => format!("  {dim}← {}{reset}", from.join(", ")),
        };
        out.push_str(&format!("  {}  {}{from}\n", index + 1, step.title));
        let through = step.from.iter().filter_map(|flow| flow.exchange);
        let mut before: Vec<String> =
            through.filter_map(|at| combining_words(&query.exchanges[at].combining)).collect();
        before.dedup();
        for detail in before.iter().chain(&step.details) {
            wrap("       ", "         ", std::slice::from_ref(detail), "", &mut out);
        }
        if let Some(state) = &step.state {
            let words = state_words(state);
            wrap("     ▤ ", "       ", std::slice::from_ref(&words), "", &mut out);
            out.push_str(&format!("       {dim}{}{reset}\n", state.changelog));
        }
    }
    out.push_str(&format!("\n{bold}Answer{reset}\n"));
    wrap("  ", "    ", &output_words(query), "; ", &mut out);
    let columns = query.output.columns.iter();
    let columns: Vec<String> = columns.map(|(name, of)| format!("{name} {of}")).collect();
    wrap("  ", "    ", &columns, ", ", &mut out);
    for warning in &query.warnings {
        out.push('\n');
        let first = format!("{yellow}⚠{reset} ");
        wrap(&first, "  ", std::slice::from_ref(&warning.message), "", &mut out);
        out.push_str(&format!("  {dim}{}{reset}\n", warning.help));
    }
    out
}

/// From the outside in; what has several inputs branches.
fn plan(node: &PlanNode, first: &str, rest: &str, out: &mut String) {
    let mut items = node.items.clone();
    match items.first_mut() {
        Some(item) => *item = format!("{} {item}", node.clause),
        None => items.push(node.clause.clone()),
    }
    wrap(first, &format!("{rest}    "), &items, ", ", out);
    if let [only] = node.inputs.as_slice() {
        return plan(only, rest, rest, out);
    }
    for (index, input) in node.inputs.iter().enumerate() {
        let (branch, below) = match index + 1 == node.inputs.len() {
            true => ("└ ", "  "),
            false => ("├ ", "│ "),
        };
        plan(input, &format!("{rest}{branch}"), &format!("{rest}{below}"), out);
    }
}

/// Items one after the other, broken between them and, where one is too wide, between its words.
fn wrap(first: &str, rest: &str, items: &[String], separator: &str, out: &mut String) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for (index, item) in items.iter().enumerate() {
        let after = if index + 1 < items.len() { separator.trim_end() } else { "" };
        let words = item.split(' ').collect::<Vec<_>>();
        let fits = |line: &str, text: &str| shown_width(line) + text.chars().count() < WIDTH;
        let whole = format!("{item}{after}");
        let is_short = shown_width(rest) + whole.chars().count() < WIDTH;
        if !is_empty && is_short && !fits(&line, &whole) {
            out.push_str(line.trim_end());
            out.push('\n');
            (line, is_empty) = (rest.to_owned(), true);
        }
        for (at, word) in words.iter().enumerate() {
            let after = if at + 1 == words.len() { after } else { "" };
            if !is_empty && !fits(&line, &format!(" {word}{after}")) {
                out.push_str(line.trim_end());
                out.push('\n');
                (line, is_empty) = (rest.to_owned(), true);
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            line.push_str(after);
            is_empty = false;
        }
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Without what only colors.
fn shown_width(line: &str) -> usize {
    let mut escaped = false;
    line.chars()
        .filter(|character| {
            let was_escaped = escaped;
            escaped = *character == '\x1b' || escaped && *character != 'm';
            !was_escaped && !escaped
        })
        .count()
}

fn source_words(source: &SourceDescription) -> Vec<String> {
    let SourceDescription { name, topic, format, .. } = source;
    let on_error = format!("records that fail {}", on_error_words(&source.on_error));
    if let Some(key) = &source.table_key {
        let table = format!("table {name}: topic {topic}, {format}, key {}", key.join(", "));
        return vec![table, on_error];
    }
    let mut words = vec![format!("{name}: topic {topic}, {format}")];
    let time = source.event_time.as_deref().unwrap_or("the record's timestamp");
    words.push(format!("event time {time}"));
    words.push(format!("watermark {} behind it", duration_text(source.delay_ms)));
    words.push(match u128::try_from(source.idle_timeout_ms) {
        Ok(ms) if ms >= Watermark::NEVER_IDLE.as_millis() => "no partition is idle".to_owned(),
        _ => format!("a partition is idle after {}", duration_text(source.idle_timeout_ms)),
    });
    words.push(late_words(&source.late));
    words.push(on_error);
    words
}

fn late_words(late: &LateRows) -> String {
    match late {
        LateRows::Drop => "late rows are dropped".to_owned(),
        LateRows::Update { lateness } => {
            let ms = i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX);
            format!("rows up to {} late correct their window", duration_text(ms))
        }
        LateRows::Topic { topic } => format!("late rows go to topic {topic}"),
    }
}

fn on_error_words(on_error: &OnError) -> String {
    match on_error {
        OnError::Fail => "stop the query".to_owned(),
        OnError::Skip => "are skipped".to_owned(),
        OnError::DeadLetter { topic } => format!("go to topic {topic}"),
    }
}

fn flow_words(query: &QueryDescription, flow: &Flow) -> String {
    let step = flow.step + 1;
    match flow.exchange.map(|at| &query.exchanges[at]) {
        None => step.to_string(),
        Some(exchange) => {
            let keys = match exchange.keys.is_empty() {
                true => "all in one task".to_owned(),
                false => format!("by {}", exchange.keys.join(", ")),
            };
            format!("{step} through {} ({keys})", exchange.topic)
        }
    }
}

fn combining_words(combining: &Combining) -> Option<String> {
    match combining {
        Combining::Nothing => None,
        Combining::Combined => Some("rows of a group are combined before they meet".to_owned()),
        Combining::OneByOne(why) => Some(format!("rows meet one by one: {why}")),
    }
}

fn state_words(state: &StateDescription) -> String {
    let keeps = &state.keeps;
    let by = match keeps.by.is_empty() {
        true => String::new(),
        false => format!(" by {}", keeps.by.join(", ")),
    };
    format!("keeps {}{by}, {}", keeps.what, until_words(&keeps.until))
}

pub fn until_words(until: &Until) -> String {
    match until {
        Until::Watermark(at) => format!("until {at}"),
        Until::TakenBack => "until they are deleted or taken back".to_owned(),
        Until::Never => "for ever".to_owned(),
    }
}

fn output_words(query: &QueryDescription) -> Vec<String> {
    let output = &query.output;
    let mut words = vec![format!("topic {}, {}", output.topic, output.format)];
    let key = output.key.join(", ");
    words.push(match output.mode {
        OutputMode::Append => "each row is written once and stays".to_owned(),
        OutputMode::Upsert => {
            format!(
                "upserts by {key}: a record replaces the one before, one without a value deletes"
            )
        }
    });
    if output.mode == OutputMode::Append && !key.is_empty() {
        words.push(format!("key {key}"));
    }
    words
}

/// For programs.
pub fn json(query: &QueryDescription) -> Value {
    json!({
        "query": query.name,
        "plan": plan_json(&query.plan),
        "sources": query.sources.iter().map(source_json).collect::<Vec<_>>(),
        "tasks": query.tasks,
        "steps": query.steps.iter().map(step_json).collect::<Vec<_>>(),
        "exchanges": query.exchanges.iter().map(|exchange| {
            let (combined, not_combined) = match &exchange.combining {
                Combining::Nothing => (false, None),
                Combining::Combined => (true, None),
                Combining::OneByOne(why) => (false, Some(why)),
            };
            json!({
                "topic": exchange.topic,
                "keys": exchange.keys,
                "combined": combined,
                "not_combined": not_combined,
            })
        }).collect::<Vec<_>>(),
        "output": {
            "topic": query.output.topic,
            "format": query.output.format,
            "mode": match query.output.mode {
                OutputMode::Append => "append",
                OutputMode::Upsert => "upsert",
            },
            "key": query.output.key,
            "columns": query.output.columns.iter().map(|(name, of)| {
                json!({ "name": name, "type": of })
            }).collect::<Vec<_>>(),
        },
        "warnings": query.warnings.iter().map(|warning| {
            json!({ "message": warning.message, "help": warning.help })
        }).collect::<Vec<_>>(),
    })
}

fn plan_json(node: &PlanNode) -> Value {
    json!({
        "clause": node.clause,
        "items": node.items,
        "inputs": node.inputs.iter().map(plan_json).collect::<Vec<_>>(),
    })
}

fn source_json(source: &SourceDescription) -> Value {
    json!({
        "name": source.name,
        "topic": source.topic,
        "kind": if source.table_key.is_some() { "table" } else { "stream" },
        "key": source.table_key,
        "format": source.format,
        "event_time": source.event_time,
        "watermark_delay_ms": source.delay_ms,
        "idle_timeout_ms": source.idle_timeout_ms,
        "late": match &source.late {
            LateRows::Drop => json!("drop"),
            LateRows::Update { lateness } => json!({ "update_ms": lateness.as_millis() as u64 }),
            LateRows::Topic { topic } => json!({ "topic": topic }),
        },
        "on_error": match &source.on_error {
            OnError::Fail => json!("fail"),
            OnError::Skip => json!("skip"),
            OnError::DeadLetter { topic } => json!({ "dead_letter": topic }),
        },
    })
}

fn step_json(step: &Step) -> Value {
    let state = step.state.as_ref().map(|state| {
        json!({
            "keeps": state.keeps.what,
            "by": state.keeps.by,
            "until": match &state.keeps.until {
                Until::Watermark(at) => at.clone(),
                Until::TakenBack => "deleted or taken back".to_owned(),
                Until::Never => "never".to_owned(),
            },
            "grows_for_ever": state.keeps.until == Until::Never,
            "changelog": state.changelog,
        })
    });
    json!({
        "kind": match step.kind {
            StepKind::Source => "source",
            StepKind::Table => "table",
            StepKind::Operator => "operator",
            StepKind::Sink => "sink",
        },
        "title": step.title,
        "details": step.details,
        "state": state,
        "part": step.part,
        "from": step.from.iter().map(|flow| {
            json!({ "step": flow.step, "exchange": flow.exchange })
        }).collect::<Vec<_>>(),
    })
}
