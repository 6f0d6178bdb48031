//! What queries tell Prometheus, from the same numbers as `millstream top` shows.

use std::fmt::Write as _;

use serde_json::Value;

/// Counts: the name, what they count, and what the snapshot calls it.
const COUNTERS: [(&str, &str, &str); 7] = [
    ("rows_read", "Records read that were rows", "rows_in"),
    ("rows_written", "Rows written to the sink", "rows_out"),
    ("rows_late", "Rows whose window had closed", "late"),
    ("rows_untimed", "Rows without an event time, where a window needs one", "untimed"),
    ("rows_future", "Rows too far in the future to move the watermark", "future"),
    ("records_skipped", "Records left out because they failed", "skipped"),
    ("records_dead_lettered", "Records that failed, written elsewhere", "dead_lettered"),
];

const GAUGES: [(&str, &str, &str); 3] = [
    ("lag_records", "Records that are there and have not been read", "lag"),
    ("open_windows", "Windows and sessions that are open", "windows"),
    ("state_entries", "Groups, rows or whatever else is kept one of by key", "entries"),
];

/// Families of metrics in the OpenMetrics text format, without its end.
pub fn text(snapshot: &Value) -> String {
    let empty = Vec::new();
    let queries = snapshot["queries"].as_array().unwrap_or(&empty);
    let mut out = String::new();
    for (name, help, of) in COUNTERS {
        family(&mut out, name, help, "counter");
        for query in queries {
            sample(&mut out, &format!("{name}_total"), &labels(query), query[of].as_f64());
        }
    }
    for (name, help, of) in GAUGES {
        family(&mut out, name, help, "gauge");
        for query in queries {
            sample(&mut out, name, &labels(query), query[of].as_f64());
        }
    }
    family(&mut out, "watermark_seconds", "No row before it is waited for, since 1970", "gauge");
    for query in queries {
        let seconds = query["watermark_ms"].as_f64().map(|ms| ms / 1000.0);
        sample(&mut out, "watermark_seconds", &labels(query), seconds);
    }
    family(&mut out, "rows_dropped", "Rows that went no further, by what kept them", "counter");
    for query in queries {
        for reason in query["dropped"].as_array().unwrap_or(&empty) {
            let by = escaped(reason["why"].as_str().unwrap_or_default());
            let labels = format!("{},by=\"{by}\"", labels(query));
            sample(&mut out, "rows_dropped_total", &labels, reason["rows"].as_f64());
        }
    }
    out
}

fn family(out: &mut String, name: &str, help: &str, kind: &str) {
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "# HELP millstream_query_{name} {help}.\n# TYPE millstream_query_{name} {kind}\n"
    );
}

/// What is not known is left out.
fn sample(out: &mut String, name: &str, labels: &str, value: Option<f64>) {
    if let Some(value) = value {
        let _ = writeln!(out, "millstream_query_{name}{{{labels}}} {value}");
    }
}

fn labels(query: &Value) -> String {
    let of = |name: &str| escaped(query[name].as_str().unwrap_or_default());
    format!("pipeline=\"{}\",query=\"{}\"", of("pipeline"), of("query"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
