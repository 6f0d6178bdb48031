//! How the pipelines of a process stand, as a table.

use engine::time::Watermark;
use serde_json::Value;

use super::status::grouped;
use super::table::Table;

/// What has dropped fewer rows is left out.
const REASONS_SHOWN_MAX: usize = 12;

pub fn text(look: &Value) -> String {
    let empty = Vec::new();
    let queries = look["queries"].as_array().unwrap_or(&empty);
    let mut table = Table::new([
        ("query", false),
        ("phase", false),
        ("in/s", true),
        ("out/s", true),
        ("rows in", true),
        ("rows out", true),
        ("lag", true),
        ("buffer", true),
        ("watermark", false),
        ("behind", true),
        ("windows", true),
        ("entries", true),
        ("copies", true),
        ("late", true),
    ]);
    let now_ms = look["at_ms"].as_u64().unwrap_or_default();
    let rows: Vec<Vec<String>> = queries.iter().map(|query| row(query, now_ms)).collect();
    let mut out = format!("process {}\n{}", look["pid"], table.lines(&rows));
    let connectors = look["connectors"].as_array().unwrap_or(&empty);
    if !connectors.is_empty() {
        let mut table = Table::new([("connector", false), ("state", false), ("records", true)]);
        let rows: Vec<Vec<String>> = connectors
            .iter()
            .map(|of| vec![text_of(of, "name"), text_of(of, "state"), number(of, "records")])
            .collect();
        out.push_str(&format!("\n{}", table.lines(&rows)));
    }
    let mut dropped: Vec<(u64, Vec<String>)> = Vec::new();
    for query in queries {
        for reason in query["dropped"].as_array().unwrap_or(&empty) {
            let rows = reason["rows"].as_u64().unwrap_or_default();
            let of = vec![grouped(rows), text_of(query, "query"), text_of(reason, "why")];
            dropped.push((rows, [of, vec![text_of(reason, "at")]].concat()));
        }
    }
    if !dropped.is_empty() {
        dropped.sort_by_key(|(rows, _)| std::cmp::Reverse(*rows));
        dropped.truncate(REASONS_SHOWN_MAX);
        let mut table =
            Table::new([("dropped", true), ("query", false), ("by", false), ("at", false)]);
        let rows: Vec<Vec<String>> = dropped.into_iter().map(|(_, row)| row).collect();
        out.push_str(&format!("\n{}", table.lines(&rows)));
    }
    out
}

/// How many tasks of others it could take over, and how far behind their state is.
fn copies(standby: &Value) -> String {
    let (tasks, behind) = (standby["tasks"].as_u64(), standby["behind"].as_u64());
    match (tasks.unwrap_or_default(), behind.unwrap_or_default()) {
        (0, _) => String::new(),
        (tasks, 0) => grouped(tasks),
        (tasks, behind) => format!("{}, {} behind", grouped(tasks), grouped(behind)),
    }
}

fn row(query: &Value, now_ms: u64) -> Vec<String> {
    let watermark_ms = query["watermark_ms"].as_i64();
    let rate = |name: &str| query[name].as_f64().map_or("".to_owned(), |rate| grouped(rate as u64));
    let behind =
        watermark_ms.map(|at| i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_sub(at));
    vec![
        text_of(query, "query"),
        text_of(query, "phase"),
        rate("rows_in_per_s"),
        rate("rows_out_per_s"),
        number(query, "rows_in"),
        number(query, "rows_out"),
        number(query, "lag"),
        query["buffered_percent"].as_u64().map_or_else(String::new, |part| format!("{part} %")),
        watermark_ms.map(|at| Watermark(at).to_string()).unwrap_or_default(),
        behind.map(span).unwrap_or_default(),
        number(query, "windows"),
        number(query, "entries"),
        copies(&query["standby"]),
        number(query, "late"),
    ]
}

fn text_of(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

fn number(of: &Value, name: &str) -> String {
    of[name].as_u64().map(grouped).unwrap_or_default()
}

/// `12.3 s`, `5 min`, `3 h`, `12 d`.
fn span(ms: i64) -> String {
    match ms / 1000 {
        ..0 => format!("-{}", span(ms.saturating_neg().max(1))),
        0..120 => format!("{:.1} s", ms as f64 / 1000.0),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", grouped(seconds.unsigned_abs() / 86_400)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_connectors_and_what_was_dropped() {
        let look = json!({
            "pid": 7, "at_ms": 1_700_000_100_000u64,
            "queries": [
                { "query": "large", "phase": "running", "rows_in": 27_004, "rows_out": 12,
                  "rows_in_per_s": 1_234.5, "rows_out_per_s": 1.0, "lag": 0, "windows": 0,
                  "entries": 0, "late": 0, "watermark_ms": null, "buffered_percent": 3,
                  "dropped": [{ "why": "where amount > 100.0", "at": "a.toml:3", "rows": 26_992 }] },
                { "query": "hours", "phase": "running", "rows_in": 27_004, "rows_out": 12,
                  "lag": 17, "windows": 2, "entries": 31, "late": 1,
                  "watermark_ms": 1_700_000_000_000u64, "dropped": [] },
            ],
            "connectors": [{ "name": "file", "state": "caught up", "records": 27_004 }],
        });
        expect![[r#"
            process 7
            query  phase     in/s  out/s  rows in  rows out  lag  buffer  watermark             behind  windows  entries  copies  late
            large  running  1,234      1   27,004        12    0     3 %                                      0        0             0
            hours  running                 27,004        12   17          2023-11-14T22:13:20  100.0 s        2       31             1

            connector  state      records
            file       caught up   27,004

            dropped  query  by                    at
             26,992  large  where amount > 100.0  a.toml:3
        "#]].assert_eq(&text(&look));
        assert_eq!(span(-1_500), "-1.5 s");
    }
}
