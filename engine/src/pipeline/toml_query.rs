//! `[[queries]]` of the TOML form: what is read, by steps or SQL, and where it goes.

use std::ops::Range;
use std::sync::Arc;

use toml::de::DeValue;

use super::diagnostic::Diagnostic;
use super::draft::{DraftEmit, DraftQuery, DraftSink, DraftStep, Named};
use super::duration::check_state_ttl;
use super::model::{Format, Source};
use super::names::check_topic;
use super::reader::{Mistakes, Value};
use super::steps::{StepsQuery, query_of_steps};
use super::tokens::parse_text;
use super::toml_file::{PARTITIONS_LIMIT, read_format, read_topic};

pub(crate) struct QueryReader<'a> {
    pub pipeline: &'a Named,
    pub sources: &'a [Arc<Source>],
    pub broken: &'a [String],
}

impl QueryReader<'_> {
    /// What the query is at each step goes to `upto`.
    pub fn read(
        &self,
        value: &Value<'_>,
        upto: &mut Vec<DraftStep>,
        mistakes: &mut Mistakes,
    ) -> Option<DraftQuery> {
        let mut named = Value { what: "the query".to_owned(), ..value.clone() };
        let mut table = named.table(mistakes)?;
        let name =
            table.get("name").and_then(|name| name.string(mistakes)).map(|name| name.named());
        if let Some(name) = &name {
            check_topic(name, &mut mistakes.list);
            named.what = format!("query '{}'", name.text);
            table.what.clone_from(&named.what);
            table.range = name.span.start..name.span.end;
        } else {
            table.range = first_line(&mistakes.file.text, &table.range);
        }
        let sink = table.get("sink");
        let unnamed = mistakes.span(&table.range);
        let unnamed = Named { text: self.pipeline.text.clone(), span: unnamed };
        let emit = table.get("emit").and_then(|emit| read_emit(&emit, mistakes));
        let state_ttl = table.get("state_ttl").and_then(|value| {
            let (ttl, span) = (value.duration(mistakes)?, mistakes.span(&value.range));
            check_state_ttl(ttl, &span, &mut mistakes.list);
            Some((ttl, span))
        });
        let sink = read_sink(sink, name.as_ref().unwrap_or(&unnamed), mistakes);
        let name = name.or_else(|| sink.as_ref().map(|sink| sink.topic.clone()));
        let name = name.unwrap_or(unnamed);
        let query = match (table.get("sql"), table.get("from")) {
            (Some(sql), None) => sql.string(mistakes).and_then(|text| {
                let parsed = parse_text(text.sql(), |parser| parser.parse_query());
                let query = parsed.map_err(|mistake| mistakes.push(mistake)).ok()?;
                Some(StepsQuery { query, upto: Vec::new(), key: Vec::new(), incomplete: false })
            }),
            (None, Some(from)) => self.read_steps(&from, table.get("steps"), mistakes),
            (sql, _) => {
                let message = match sql {
                    Some(_) => format!("{} has both 'sql' and 'from'", table.what),
                    None => format!("{} has neither 'from' nor 'sql'", table.what),
                };
                let span = mistakes.span(&table.range);
                let help = "from = \"source\" with steps = […], or sql = \"SELECT …\"";
                mistakes.push(Diagnostic::error(message, span).help(help));
                None
            }
        };
        table.has("steps");
        let span = mistakes.span(&value.range);
        table.finish(mistakes);
        let StepsQuery { query, upto: steps, key, incomplete } = query?;
        upto.extend(steps.into_iter().map(|step| DraftStep { query: name.text.clone(), ..step }));
        // Without a sink that can be read, the query is still looked at.
        let incomplete = incomplete || sink.is_none();
        let mut sink = sink.unwrap_or_else(|| default_sink(name.clone()));
        sink.state_ttl = state_ttl;
        match key.first() {
            Some(named) if !sink.key.is_empty() => {
                let message = "the sink has a key already";
                let help = "leave out 'key' or the step";
                mistakes.push(Diagnostic::error(message, named.span.clone()).help(help));
            }
            Some(_) => sink.key = key,
            None => {}
        }
        let columns = None;
        Some(DraftQuery { name, query, columns, incomplete, sink, emit, span })
    }

    fn read_steps(
        &self,
        from: &Value<'_>,
        steps: Option<Value<'_>>,
        mistakes: &mut Mistakes,
    ) -> Option<StepsQuery> {
        let from = from.string(mistakes)?.named();
        let source = self.sources.iter().find(|source| source.name == from.text);
        if source.is_none() && !self.broken.contains(&from.text) {
            let message = format!("there is no source '{}'", from.text);
            let names = self.sources.iter().map(|source| source.name.as_str());
            let diagnostic = Diagnostic::error(message, from.span.clone()).label("no such source");
            mistakes.push(diagnostic.did_you_mean(&from.text, names));
        }
        let steps = match steps {
            Some(steps) => steps.array(mistakes)?,
            None => Vec::new(),
        };
        let steps: Vec<Value<'_>> = steps
            .into_iter()
            .enumerate()
            .map(|(index, step)| Value { what: format!("step {}", index + 1), ..step })
            .collect();
        let event_time = match source {
            Some(source) => {
                source.event_time_column().map(|index| source.columns[index].name.as_str())
            }
            // Unknown, and reported already: any name, so that nothing is said about it.
            None => Some("event_time"),
        };
        let query = query_of_steps(&from, &steps, event_time, mistakes)?;
        source.map(|_| query)
    }
}

fn read_emit(value: &Value<'_>, mistakes: &mut Mistakes) -> Option<DraftEmit> {
    let given = value.string(mistakes)?.named();
    let changes = match given.text.as_str() {
        "changes" => true,
        "on window close" | "final" => false,
        other => {
            let message = format!("'{other}' says nothing about when results are told");
            let diagnostic = Diagnostic::error(message, given.span.clone());
            let known = ["changes", "on window close"];
            mistakes.push(diagnostic.did_you_mean(other, known.into_iter()));
            return None;
        }
    };
    Some(DraftEmit { changes, span: given.span })
}

fn first_line(text: &str, range: &Range<usize>) -> Range<usize> {
    let rest = text.get(range.clone()).unwrap_or_default();
    range.start..range.start + rest.find('\n').unwrap_or(rest.len())
}

fn default_sink(topic: Named) -> DraftSink {
    DraftSink {
        topic,
        partitions: None,
        format: Format::Json,
        key: Vec::new(),
        key_format: Format::Raw,
        value_without_key: false,
        value_without_timestamp: false,
        headers: Vec::new(),
        timestamp: None,
        print: false,
        state_ttl: None,
        columns: Vec::new(),
        not_null: Vec::new(),
    }
}

fn read_sink(
    value: Option<Value<'_>>,
    query: &Named,
    mistakes: &mut Mistakes,
) -> Option<DraftSink> {
    let mut sink = default_sink(query.clone());
    let Some(value) = value else { return Some(sink) };
    if let DeValue::String(_) = value.value {
        sink.topic = value.string(mistakes)?.named();
        check_topic(&sink.topic, &mut mistakes.list);
        return Some(sink);
    }
    let mut table = value.table(mistakes)?;
    sink.topic = read_topic(&mut table, mistakes).unwrap_or(sink.topic);
    let format = read_format(table.get("format"), Format::Json, mistakes);
    let key_format = read_format(table.get("key_format"), Format::Raw, mistakes);
    if let Some(key) = table.get("key").and_then(|key| key.strings(mistakes)) {
        sink.key = key.iter().map(|column| column.named()).collect();
    }
    if let Some(headers) = table.get("headers").and_then(|headers| headers.strings(mistakes)) {
        let headers = headers.iter().map(|column| column.named());
        sink.headers = headers.map(|column| (column.text.clone(), column)).collect();
    }
    let without_key = table.get("value_without_key").and_then(|value| value.boolean(mistakes));
    sink.value_without_key = without_key.unwrap_or(false);
    let timestamp = table.get("timestamp").and_then(|column| column.string(mistakes));
    sink.timestamp = timestamp.map(|column| column.named());
    let partitions = table.get("partitions").and_then(|value| {
        value.integer(1, PARTITIONS_LIMIT, mistakes).and_then(|number| i32::try_from(number).ok())
    });
    sink.partitions = partitions;
    sink.print = table.get("print").and_then(|value| value.boolean(mistakes)).unwrap_or(false);
    table.finish(mistakes);
    sink.format = format?;
    sink.key_format = key_format?;
    Some(sink)
}
