//! Options of Flink's Kafka tables in our words, so that a `CREATE TABLE` runs as it was written.
//!
//! | there | here |
//! |---|---|
//! | `connector` = `kafka`, `upsert-kafka` | nothing: every table is a topic |
//! | `scan.startup.mode`, `scan.startup.timestamp-millis` | `start` |
//! | `scan.watermark.idle-timeout` | `watermark.idle_timeout` |
//! | `value.fields-include` = `EXCEPT_KEY` | `value.without_key` |
//! | `json.ignore-parse-errors`, of other formats too | `on_error` = `skip` |
//! | `csv.field-delimiter`, `quote-character`, `escape-character` | `csv.delimiter`, … |
//!
//! What a table cannot say here is a mistake if its answers would be others, and worth a warning if
//! not: whose brokers they are, groups, parallelism.

use super::diagnostic::Diagnostic;
use super::draft::Named;
use super::elsewhere;
use super::format_options::{FORMATS, family};

const ELSEWHERE: &str = "tables are topics; CREATE CONNECTOR fills and empties those, such as with \
                         files, PostgreSQL or HTTP (millstream connect plugins)";

/// What becomes of an option.
enum Becomes {
    /// Ours, with this value or its own.
    Ours(&'static str, Option<&'static str>),
    /// It says what is so anyway.
    Nothing,
    /// It means nothing here, for this reason.
    Ignored(&'static str),
    Refused(String, &'static str),
    /// One that is not Flink's.
    Itself,
}

use Becomes::{Ignored, Itself, Nothing, Ours, Refused};

/// `is_table`: it has a primary key.
pub(crate) fn in_our_words(
    table: &Named,
    is_table: bool,
    given: Vec<(Named, Named)>,
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<(Named, Named)> {
    let startup = Startup::of(&given);
    let mut ours: Vec<(Named, Named)> = Vec::new();
    for (key, value) in given {
        let becomes = match is_prefixed(&key.text) {
            Some((prefix, option)) => of_format(prefix, option, &value.text),
            None => of_table(&key.text, &value.text, is_table, &startup),
        };
        match becomes {
            Itself => ours.push((key, value)),
            Nothing => {}
            Ours(name, instead) => {
                // What stands before a format's option, such as `value.`, stays there.
                let before = key.text.find(name.split('.').next().unwrap_or(name));
                let before = before.filter(|_| name.contains('.') && is_of_format(name));
                let text = format!("{}{name}", &key.text[..before.unwrap_or(0)]);
                let value = match instead {
                    Some(instead) => Named { text: instead.to_owned(), ..value },
                    None => value,
                };
                // Two options may come to the same.
                if !ours.iter().any(|(other, _)| other.text == text) {
                    ours.push((Named { text, ..key }, value));
                }
            }
            Ignored(why) => {
                let message =
                    format!("'{}' of table '{}' means nothing here", key.text, table.text);
                mistakes.push(Diagnostic::warning(message, key.span).help(why));
            }
            Refused(message, help) => {
                mistakes.push(Diagnostic::error(message, value.span).help(help));
            }
        }
    }
    ours
}

/// `value.json.ignore-parse-errors` is of `json`: its option is what comes after.
fn is_prefixed(key: &str) -> Option<(&str, &str)> {
    let rest = key.strip_prefix("value.").or_else(|| key.strip_prefix("key.")).unwrap_or(key);
    let (format, option) = rest.split_once('.')?;
    is_of_format(rest).then_some((format, option))
}

fn is_of_format(key: &str) -> bool {
    let format = key.split('.').next().unwrap_or_default();
    FORMATS.contains(&format) || FORMATS.iter().any(|known| family(known) == format)
}

fn of_format(format: &str, option: &str, value: &str) -> Becomes {
    let is_true = value.eq_ignore_ascii_case("true");
    match (format, option) {
        (_, "ignore-parse-errors") if is_true => Ours("on_error", Some("skip")),
        (_, "ignore-parse-errors") => Nothing,
        (_, "fail-on-missing-field") if is_true => Refused(
            "a field that is missing is NULL here".to_owned(),
            "declare the column NOT NULL: a record without it is bad then, as on_error says",
        ),
        (_, "fail-on-missing-field" | "schema-include" | "charset") => Nothing,
        (_, "timestamp-format.standard") if value.eq_ignore_ascii_case("ISO-8601") => Nothing,
        (_, "timestamp-format.standard") => {
            Ignored("both forms of a time are read; times are written as in ISO 8601")
        }
        ("csv", "field-delimiter") => Ours("csv.delimiter", None),
        ("csv", "quote-character") => Ours("csv.quote", None),
        ("csv", "escape-character") => Ours("csv.escape", None),
        ("csv", "null-literal") => Ours("csv.null", None),
        ("csv", "allow-comments" | "disable-quote-character") if !is_true => Nothing,
        ("csv", "allow-comments" | "disable-quote-character" | "array-element-delimiter") => {
            Refused(format!("'csv.{option}' cannot be had"), "read lines with format = 'raw'")
        }
        ("avro-confluent", "url" | "subject") => Refused(
            "schemas of a registry are read from files here".to_owned(),
            "'avro.registry' = 'directory with a file ID.avsc per schema'",
        ),
        ("json" | "debezium-json", option) if option.contains('-') => {
            Ignored("JSON is read as it is, and NULLs and keys are written as JSON has them")
        }
        _ => Itself,
    }
}

fn of_table(key: &str, value: &str, is_table: bool, startup: &Startup) -> Becomes {
    match (key, value) {
        ("connector", "upsert-kafka") if !is_table => Refused(
            "'upsert-kafka' is of tables with a key".to_owned(),
            "declare its PRIMARY KEY (…) NOT ENFORCED",
        ),
        ("connector", "kafka" | "upsert-kafka") => Nothing,
        ("connector", "print") => Ours("print", Some("true")),
        ("connector", other) => Refused(format!("a table cannot be of '{other}'"), ELSEWHERE),
        ("topic-pattern", _) => Refused(
            "a table is of one topic".to_owned(),
            "declare one for each, and read them by UNION ALL",
        ),
        ("properties.bootstrap.servers", _) => {
            Ignored("which cluster it is says --bootstrap-server HOST:PORT")
        }
        ("properties.group.id", _) => Ignored("queries have groups that are named after them"),
        ("properties.auto.offset.reset", _) => Nothing,
        (key, _) if key.starts_with("properties.") => {
            Ignored("clients of the cluster are set by --command-config FILE")
        }
        ("scan.startup.mode", _) => startup.becomes(),
        ("scan.startup.timestamp-millis", _) => match startup.mode.as_deref() {
            Some("timestamp") => Ours("start", None),
            _ => Ignored("'scan.startup.mode' is no 'timestamp'"),
        },
        ("scan.startup.specific-offsets", _) => Nothing,
        ("scan.bounded.mode", "unbounded") => Nothing,
        ("scan.bounded.mode", _) => Refused(
            "how far a table is read is not said in the file".to_owned(),
            "millstream run --until-end reads what is there, and ends",
        ),
        ("scan.watermark.idle-timeout", _) => Ours("watermark.idle_timeout", None),
        ("scan.topic-partition-discovery.interval", _) => Nothing,
        ("scan.parallelism" | "sink.parallelism", _) => {
            Ignored("how many tasks share each query says SET 'tasks' = '4'")
        }
        ("sink.delivery-guarantee", "exactly-once") => Nothing,
        ("sink.delivery-guarantee", _) => {
            Ignored("it is for the whole file: SET 'guarantee' = 'at-least-once'")
        }
        ("sink.transactional-id-prefix", _) => {
            Ignored("transactional ids are named after the queries")
        }
        ("sink.partitioner", "default") => Nothing,
        ("sink.partitioner", _) => Ignored("rows of a key go where Kafka's producers send it"),
        ("value.fields-include", "ALL") => Nothing,
        ("value.fields-include", "EXCEPT_KEY") => Ours("value.without_key", Some("true")),
        (key, _) if key.starts_with("sink.buffer-flush.") => {
            Ignored("rows are committed together each SET 'commit.interval' = '100ms'")
        }
        (key, _) => match elsewhere::option(key) {
            Some(ours) => Refused(format!("'{key}' is an option of ksqlDB"), ours),
            None => Itself,
        },
    }
}

/// What `SET` sets in Flink, in our words: the key and value, or what is said of it.
pub(crate) fn setting_in_our_words(key: Named, value: Named) -> Result<(Named, Named), Diagnostic> {
    let ours = |name: &str, value: Named| {
        Ok((Named { text: name.to_owned(), span: key.span.clone() }, value))
    };
    let ignored = |why: &str| {
        let message = format!("'{}' means nothing here", key.text);
        Err(Diagnostic::warning(message, key.span.clone()).help(why))
    };
    match (key.text.as_str(), value.text.as_str()) {
        ("parallelism.default" | "table.exec.resource.default-parallelism", _) => {
            ours("tasks", value)
        }
        // Kept for ever, as here.
        ("table.exec.state.ttl", "0" | "0 ms" | "0 s") => ignored("it is the default"),
        ("table.exec.state.ttl", ms) if ms.bytes().all(|digit| digit.is_ascii_digit()) => {
            ours("state.ttl", Named { text: format!("{ms} ms"), ..value })
        }
        ("table.exec.state.ttl", _) => ours("state.ttl", value),
        ("table.local-time-zone", "UTC" | "Etc/UTC" | "GMT") => {
            ignored("times without a zone are in UTC")
        }
        ("table.local-time-zone", _) => {
            let message = "times without a zone are in UTC here";
            let help = "say the zone where it counts: ts AT TIME ZONE 'Europe/Zurich'";
            Err(Diagnostic::error(message, value.span).help(help))
        }
        ("execution.runtime-mode", "batch" | "BATCH") => {
            let message = "a pipeline file is run as a stream";
            let help = "millstream run --until-end reads what is there, and ends";
            Err(Diagnostic::error(message, value.span).help(help))
        }
        ("execution.checkpointing.interval", _) => {
            ignored("what is written is committed each SET 'commit.interval' = '100ms'")
        }
        ("execution.checkpointing.mode", _) => {
            ignored("it is exactly-once unless SET 'guarantee' = 'at-least-once'")
        }
        ("table.exec.source.idle-timeout", _) => {
            ignored("it is said of each table: 'watermark.idle_timeout' = '1 min'")
        }
        (known, _) if FLINK_SETTINGS.iter().any(|prefix| known.starts_with(prefix)) => {
            ignored("it is one of Flink's settings")
        }
        _ => Ok((key, value)),
    }
}

/// What keys of Flink begin with.
const FLINK_SETTINGS: [&str; 9] = [
    "execution.",
    "parallelism.",
    "pipeline.operator",
    "pipeline.object",
    "restart-strategy",
    "sql-client.",
    "state.backend",
    "state.checkpoints",
    "table.",
];

/// Where reading begins, which several options say together.
struct Startup {
    mode: Option<String>,
    reset: Option<String>,
}

impl Startup {
    fn of(given: &[(Named, Named)]) -> Startup {
        let find = |key: &str| {
            let found = given.iter().find(|(given, _)| given.text == key);
            found.map(|(_, value)| value.text.clone())
        };
        Startup { mode: find("scan.startup.mode"), reset: find("properties.auto.offset.reset") }
    }

    fn becomes(&self) -> Becomes {
        match (self.mode.as_deref(), self.reset.as_deref()) {
            (Some("latest-offset") | Some("group-offsets"), Some("latest"))
            | (Some("latest-offset"), _) => Ours("start", Some("latest")),
            (Some("earliest-offset" | "group-offsets"), _) => Ours("start", Some("earliest")),
            // The time itself is what it becomes.
            (Some("timestamp"), _) => Nothing,
            (mode, _) => Refused(
                format!("there is no beginning '{}'", mode.unwrap_or_default()),
                "'earliest-offset', 'latest-offset', 'timestamp' or 'group-offsets'; or 'start' = \
                 'earliest', 'latest' or a time",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
