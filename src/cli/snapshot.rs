//! How a run stands, as `millstream top` and Prometheus read it.

use std::time::{SystemTime, UNIX_EPOCH};

use connectors::{ConnectorKind, ConnectorState, ConnectorStatus};
use engine::describe::empty::BETWEEN_WINDOWS;
use engine::describe::{QueryDescription, RowStep, Step, StepKind};
use engine::runtime::{Phase, QueryProgress};
use engine::tally::Dropped;
use serde_json::{Value, json};

/// The form of what is told: others are refused.
#[cfg_attr(not(unix), allow(dead_code))]
pub const VERSION: u64 = 1;

/// All of it, now.
pub fn snapshot(
    described: &[QueryDescription],
    queries: &[QueryProgress],
    connectors: &[ConnectorStatus],
) -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let queries = described.iter().zip(queries);
    json!({
        "version": VERSION,
        "pid": std::process::id(),
        "at_ms": u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        "queries": queries.map(|(query, progress)| of_query(query, progress)).collect::<Vec<_>>(),
        "connectors": connectors.iter().map(of_connector).collect::<Vec<_>>(),
    })
}

fn of_query(query: &QueryDescription, progress: &QueryProgress) -> Value {
    let counts = progress.counts;
    let kept = progress.parts.iter().flat_map(|part| &part.kept);
    let (windows, entries) =
        kept.fold((0, 0), |(windows, of), kept| (windows + kept.windows, of + kept.groups));
    let tables = progress.tables.iter();
    json!({
        "pipeline": *progress.pipeline,
        "query": *progress.query,
        "topic": query.output.topic,
        "phase": phase(progress.phase),
        "rows_in": counts.rows_in,
        "rows_out": counts.rows_out,
        "lag": progress.lag,
        "buffered_percent": progress.buffered_percent,
        "watermark_ms": progress.watermark.map(|watermark| watermark.0),
        "windows": windows,
        "entries": entries,
        "standby": json!({
            "tasks": progress.standby.tasks,
            "behind": progress.standby.behind,
        }),
        "tables": tables.map(|(name, rows)| json!({ "name": name, "rows": rows }))
            .collect::<Vec<_>>(),
        "late": counts.late,
        "untimed": counts.untimed,
        "future": counts.future,
        "skipped": counts.skipped,
        "dead_lettered": counts.dead_lettered,
        "dropped": query.steps.iter().flat_map(|step| dropped(step, progress)).collect::<Vec<_>>(),
    })
}

/// What a step has kept from going on, and why.
fn dropped(step: &Step, progress: &QueryProgress) -> Vec<Value> {
    let Some(part) = progress.parts.get(step.part) else { return Vec::new() };
    let mut reasons: Vec<(String, Option<String>, u64)> = Vec::new();
    let stage = match step.kind {
        StepKind::Source => part.inputs.get(step.place).map(|tally| {
            reasons.push((format!("{}: no rows", step.title), None, tally.failed));
            reasons.push((format!("{}: no value", step.title), None, tally.tombstones));
            &tally.stage
        }),
        StepKind::Operator => part.nodes.get(step.place).map(|tally| {
            reasons.push((format!("{}: too late", step.title), None, tally.late));
            reasons.push((format!("{}: without an event time", step.title), None, tally.untimed));
            reasons.push((format!("{}: left alone, forgotten", step.title), None, tally.forgotten));
            &tally.stage
        }),
        StepKind::Table | StepKind::Sink => None,
    };
    let tallies = stage.map(|stage| stage.0.as_slice()).unwrap_or_default();
    for (row_step, tally) in step.stage.iter().zip(tallies) {
        let rows = tally.rows_in.saturating_sub(tally.rows_out);
        match row_step {
            RowStep::Filter(conditions) => {
                let sql: Vec<&str> = conditions.iter().map(|of| of.sql.as_str()).collect();
                let span = conditions.iter().find_map(|condition| condition.span.as_ref());
                let at = span
                    .map(|span| format!("{}:{}", span.file.path.display(), span.line_column().0));
                reasons.push((format!("where {}", sql.join(" AND ")), at, rows));
            }
            RowStep::Join { text, .. } => reasons.push((text.clone(), None, rows)),
            RowStep::Unnest(list) => {
                let without = tally.dropped.iter().map(|dropped| dropped.rows).sum();
                reasons.push((format!("{list}: no element"), None, without));
            }
            RowStep::Windows => {
                let Dropped { rows, nulls } = tally.dropped.first().copied().unwrap_or_default();
                reasons.push((BETWEEN_WINDOWS.to_owned(), None, rows - nulls));
                reasons.push(("windows: without an event time".to_owned(), None, nulls));
            }
            RowStep::Project => {}
        }
    }
    let reasons = reasons.into_iter().filter(|(_, _, rows)| *rows > 0);
    reasons.map(|(why, at, rows)| json!({ "why": why, "at": at, "rows": rows })).collect()
}

fn of_connector(connector: &ConnectorStatus) -> Value {
    json!({
        "name": connector.name,
        "kind": match connector.kind {
            ConnectorKind::Source => "source",
            ConnectorKind::Sink => "sink",
        },
        "state": match &connector.state {
            ConnectorState::Starting => "starting",
            ConnectorState::Running => "running",
            ConnectorState::CaughtUp => "caught up",
            ConnectorState::Finished => "finished",
            ConnectorState::Failed(_) => "failed",
        },
        "records": connector.records,
        "bytes": connector.bytes,
        "total_bytes": connector.total_bytes,
        "skipped": connector.skipped,
    })
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Failed => "failed",
        Phase::Starting => "starting",
        Phase::Restoring => "restoring",
        Phase::LoadingTables => "tables",
        Phase::Running => "running",
        Phase::Finished => "finished",
        Phase::Elsewhere => "elsewhere",
    }
}
