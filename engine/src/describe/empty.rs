//! Why a query has written nothing: where its rows have come to an end, or what they wait for.
//!
//! Steps are gone through in the order in which rows pass them, each with what it was given and
//! what it gave. The last one that was given rows and gave none is what it is about; before any
//! rows came, it is the sources.

use crate::pipeline::Span;
use crate::runtime::{Phase, QueryProgress};
use crate::tally::{Dropped, InputTally, NodeTally, StepTally};
use crate::time::{PartitionTime, WallTime, Watermark};

use super::words::duration_text;
use super::{QueryDescription, RowStep, SourceDescription, Step, StepKind, Until};

/// What became of all rows of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyEmpty {
    /// In a few words.
    pub verdict: String,
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    /// What it says stands there in the file.
    pub place: Option<Span>,
    /// This is why.
    pub is_reason: bool,
    /// It says more of the line above.
    pub is_detail: bool,
}

/// Of more partitions that hold a watermark back nobody reads.
const PARTITIONS_SHOWN_MAX: usize = 5;

/// Why a row lies in no window.
pub const BETWEEN_WINDOWS: &str = "between windows, whose slide is longer than they are";

#[derive(Default)]
struct Explaining {
    lines: Vec<Line>,
    verdict: Option<String>,
    /// Rows wait for the watermark.
    waits: bool,
}

/// `None` if it has written something.
pub fn why_empty(
    query: &QueryDescription,
    progress: &QueryProgress,
    now: WallTime,
) -> Option<WhyEmpty> {
    if progress.counts.rows_out > 0 {
        return None;
    }
    let mut explaining = Explaining::default();
    let verdict = match progress.phase {
        Phase::Starting => Some("it is still waiting for its topics and its turn"),
        Phase::Restoring => Some("it is still reading its state back"),
        Phase::LoadingTables => Some("it is still waiting for the tables that it joins"),
        Phase::Elsewhere => Some("other processes have all of its tasks"),
        Phase::Failed => Some("it has failed"),
        Phase::Running | Phase::Finished => None,
    };
    if verdict.is_none() {
        for step in &query.steps {
            match step.kind {
                StepKind::Source => explaining.source(step, progress),
                StepKind::Operator => explaining.operator(query, step, progress),
                StepKind::Table | StepKind::Sink => {}
            }
        }
        if explaining.waits {
            explaining.watermark(query, progress, now);
        }
    }
    let verdict = verdict.map(str::to_owned).or(explaining.verdict);
    let verdict = verdict.unwrap_or_else(|| "nothing has come of its rows yet".to_owned());
    Some(WhyEmpty { verdict, lines: explaining.lines })
}

impl Explaining {
    fn line(&mut self, text: String, place: Option<Span>, is_reason: bool) {
        self.lines.push(Line { text, place, is_reason, is_detail: false });
    }

    fn detail(&mut self, text: String, place: Option<Span>, is_reason: bool) {
        self.lines.push(Line { text, place, is_reason, is_detail: true });
    }

    fn source(&mut self, step: &Step, progress: &QueryProgress) {
        let account = progress.parts.get(step.part);
        let nothing = InputTally::default();
        let tally = account.and_then(|of| of.inputs.get(step.place)).unwrap_or(&nothing);
        let topic = step.topic.as_deref().unwrap_or_default();
        let InputTally { records, failed, tombstones, rows, untimed, stage } = tally;
        let mut text = format!("{}: {}", step.title, count(*records, "record"));
        if *records == 0 {
            let from = progress.resumed_from.iter().flat_map(|from| &from.offsets);
            let of_topic = from.filter(|(partition, _)| *partition.topic == *topic);
            let read_before: i64 = of_topic.map(|(_, offset)| offset.0).sum();
            let verdict = match (read_before, progress.lag) {
                (0, 0) => format!("topic {topic} is empty"),
                (before, 0) => {
                    let before = count(before.unsigned_abs(), "record");
                    text.push_str(&format!("; {before} were read by an earlier run"));
                    format!("nothing new has come to topic {topic} since an earlier run")
                }
                (_, lag) => format!("{} wait to be read", count(lag, "record")),
            };
            self.verdict.get_or_insert(verdict);
            return self.line(text, None, true);
        }
        text.push_str(&format!(", {}", count(*rows, "row")));
        for (many, what) in [
            (failed, "could not be read as rows"),
            (tombstones, "without a value"),
            (untimed, "without an event time"),
        ] {
            if *many > 0 {
                text.push_str(&format!("; {} {what}", grouped(*many)));
            }
        }
        if *rows == 0 {
            self.verdict = Some(format!("no record of topic {topic} is a row"));
        }
        self.line(text, None, *rows == 0);
        self.stage(&step.stage, &stage.0, progress);
    }

    /// What rows went through without anything being remembered.
    fn stage(&mut self, steps: &[RowStep], tallies: &[StepTally], progress: &QueryProgress) {
        for (step, tally) in steps.iter().zip(tallies) {
            let StepTally { rows_in, rows_out, dropped } = tally;
            let none = *rows_in > 0 && *rows_out == 0;
            let of = count(*rows_in, "row");
            match step {
                RowStep::Filter(conditions) if rows_out < rows_in => {
                    let sql: Vec<&str> = conditions.iter().map(|of| of.sql.as_str()).collect();
                    let sql = sql.join(" AND ");
                    let passed = if none { "none".to_owned() } else { grouped(*rows_out) };
                    let place = match conditions.as_slice() {
                        [only] => only.span.clone(),
                        _ => None,
                    };
                    self.line(format!("where {sql}: {passed} of {of} passed"), place, none);
                    if !none {
                        continue;
                    }
                    let at = conditions.iter().find_map(|of| of.span.as_ref());
                    let at = at.map(|span| format!(" at line {}", span.line_column().0));
                    let at = at.unwrap_or_default();
                    self.verdict = Some(format!("the filter{at} has dropped {}", all(*rows_in)));
                    for (condition, dropped) in conditions.iter().zip(dropped) {
                        let mut text =
                            format!("{} dropped {}", condition.sql, grouped(dropped.rows));
                        if dropped.nulls > 0 && dropped.nulls == dropped.rows {
                            text.push_str(
                                ", since it is NULL: are these fields there, under these names?",
                            );
                        } else if dropped.nulls > 0 {
                            text.push_str(&format!(", {} as NULL", grouped(dropped.nulls)));
                        }
                        let is_new = conditions.len() > 1 || dropped.nulls > 0;
                        if dropped.rows > 0 && is_new {
                            let place = condition.span.clone().filter(|_| conditions.len() > 1);
                            self.detail(text, place, true);
                        }
                    }
                }
                RowStep::Join { table, text } if rows_out < rows_in => {
                    let has = progress.tables.iter().find(|(name, _)| name == table);
                    let has = has.map_or(0, |(_, rows)| *rows);
                    let passed = if none { "none".to_owned() } else { grouped(*rows_out) };
                    let text = format!(
                        "{text}: {passed} of {of} passed; the table has {}",
                        count(has, "row")
                    );
                    self.line(text, None, none);
                    if none {
                        self.verdict = Some(match has {
                            0 => format!("table {table}, which it joins, is empty"),
                            _ => format!("of {of}, none passed the join with table {table}"),
                        });
                    }
                }
                RowStep::Unnest(list) => self.lists(list, *rows_in, dropped.first(), none),
                RowStep::Windows => self.windows(*rows_in, dropped.first().copied(), none),
                _ => {}
            }
        }
    }

    /// Rows without elements.
    fn lists(&mut self, list: &str, rows_in: u64, dropped: Option<&Dropped>, none: bool) {
        let of = count(rows_in, "row");
        if none {
            self.line(format!("{list}: no element in {of}"), None, true);
            self.verdict = Some(format!("{list} has had no elements"));
        } else if let Some(without) = dropped.map(|of| of.rows).filter(|rows| *rows > 0) {
            let text = format!("{list}: no element in {} of {of}", grouped(without));
            self.line(text, None, false);
        }
    }

    /// Rows that lie in no window.
    fn windows(&mut self, rows_in: u64, dropped: Option<Dropped>, none: bool) {
        let Dropped { rows, nulls } = dropped.unwrap_or_default();
        let of = count(rows_in, "row");
        let between = format!("lie {BETWEEN_WINDOWS}");
        for (many, what) in [(rows - nulls, &*between), (nulls, "are without an event time")] {
            if many > 0 {
                self.line(format!("{} of {of} {what}", grouped(many)), None, none);
            }
        }
        if none {
            self.verdict = Some(match nulls == rows {
                true => format!("none of {of} has an event time"),
                false => format!("{} lie {BETWEEN_WINDOWS}", all(rows)),
            });
        }
    }

    fn operator(&mut self, query: &QueryDescription, step: &Step, progress: &QueryProgress) {
        let Some(account) = progress.parts.get(step.part) else { return };
        let Some(tally) = account.nodes.get(step.place) else { return };
        let NodeTally { rows_in, late, untimed, rows_out, forgotten, stage } = tally;
        let given: u64 = rows_in.iter().sum();
        if given == 0 {
            return;
        }
        let side = |at: usize| rows_in.get(at).copied().unwrap_or(0);
        let sides = sides(query, step);
        let mut text = match sides.as_slice() {
            [left, right] => format!(
                "{}: {} of {left}, {} of {right}",
                step.title,
                count(side(0), "row"),
                count(side(1), "row")
            ),
            _ => format!("{}: {}", step.title, count(given, "row")),
        };
        for (many, what) in [(late, "too late"), (untimed, "without an event time")] {
            if *many > 0 {
                text.push_str(&format!("; {} {what}", grouped(*many)));
            }
        }
        if *forgotten > 0 {
            let keys = count(*forgotten, "key");
            text.push_str(&format!("; {keys} left alone and forgotten"));
        }
        if *rows_out > 0 {
            self.line(format!("{text}; {} came out", grouped(*rows_out)), None, false);
            return self.stage(&step.stage, &stage.0, progress);
        }
        let kept = account.kept.get(step.place).copied().unwrap_or_default();
        let state = step.state.as_ref();
        let until = state.and_then(|state| match &state.keeps.until {
            Until::Watermark(until) => Some(until),
            Until::TakenBack | Until::Never => None,
        });
        let earliest = account.earliest_ms.get(step.place).copied().flatten();
        let empty_side = sides.len() == 2 && (side(0) == 0 || side(1) == 0);
        self.verdict = Some(if *late == given {
            format!("{} came too late", all(given))
        } else if *untimed == given {
            format!("none of {} has an event time", count(given, "row"))
        } else if empty_side {
            let missing = if side(0) == 0 { &sides[0] } else { &sides[1] };
            format!("the join has had no rows of {missing} to meet")
        } else if sides.len() == 2 && earliest.is_none() {
            format!("no rows of {} and {} have met", sides[0], sides[1])
        } else {
            "its rows wait for the watermark".to_owned()
        });
        self.line(text, None, true);
        if let (Some(until), Some(earliest)) = (until, earliest) {
            self.waits = true;
            let what = if kept.windows > 0 { "window" } else { "row" };
            let held = count(kept.windows.max(kept.groups) as u64, what);
            let from = Watermark(earliest);
            self.detail(format!("{held} kept, the earliest of {from}, until {until}"), None, true);
        }
    }

    /// Which partitions hold the watermark back.
    fn watermark(&mut self, query: &QueryDescription, progress: &QueryProgress, now: WallTime) {
        let watermark = progress.parts.iter().filter_map(|account| account.watermark).min();
        let watermark = watermark.map_or("nowhere yet".to_owned(), |at| format!("at {at}"));
        self.line(format!("the watermark is {watermark}"), None, false);
        let mut waiting: Vec<(Option<i64>, String)> = Vec::new();
        let mut idle = 0;
        for step in query.steps.iter().filter(|step| step.kind == StepKind::Source) {
            let source = query.sources.iter().find(|of| Some(&of.topic) == step.topic.as_ref());
            let Some(source) = source else { continue };
            let account = progress.parts.get(step.part);
            let partitions = account.and_then(|of| of.partitions.get(step.place));
            for time in partitions.into_iter().flatten() {
                if is_idle(source, time, now) {
                    idle += 1;
                } else {
                    waiting.push(partition_words(source, time));
                }
            }
        }
        waiting.sort();
        waiting.dedup();
        let more = waiting.len().saturating_sub(PARTITIONS_SHOWN_MAX);
        if let Some((_, first)) = waiting.first() {
            let first = first.split(": ").next().unwrap_or(first);
            let verdict = self.verdict.get_or_insert_default();
            if verdict.contains("wait for the watermark") {
                verdict.push_str(&format!(", which {first} holds back"));
            }
        }
        for (index, (_, words)) in waiting.into_iter().take(PARTITIONS_SHOWN_MAX).enumerate() {
            self.detail(words, None, index == 0);
        }
        if more > 0 {
            self.detail(format!("… and {} more", count(more as u64, "partition")), None, false);
        }
        if idle > 0 {
            let idle = count(idle, "partition");
            self.detail(format!("{idle} idle, which hold nothing back"), None, false);
        }
    }
}

/// The names of what an operator with two sides reads.
fn sides(query: &QueryDescription, step: &Step) -> Vec<String> {
    let operators = step.from.iter().map(|flow| &query.steps[flow.step]);
    let operators: Vec<&Step> = operators.filter(|of| of.kind != StepKind::Table).collect();
    if operators.len() != 2 || !step.title.contains("join") {
        return Vec::new();
    }
    let name = |of: &&Step| match &of.topic {
        Some(topic) => topic.clone(),
        None => format!("'{}'", of.title),
    };
    operators.iter().map(name).collect()
}

fn is_idle(source: &SourceDescription, time: &PartitionTime, now: WallTime) -> bool {
    time.caught_up && now.0 >= time.active_at.0.saturating_add(source.idle_timeout_ms)
}

/// A partition that is waited for, by its watermark.
fn partition_words(source: &SourceDescription, time: &PartitionTime) -> (Option<i64>, String) {
    let at = format!("partition {} of '{}'", time.partition, source.topic);
    let Some(latest_ms) = time.latest_ms else {
        let words = match time.caught_up {
            true => {
                let idle = duration_text(source.idle_timeout_ms);
                format!("{at}: no row with a time has come; it is idle {idle} after the last one")
            }
            false => format!("{at}: nothing has been read of it yet"),
        };
        return (None, words);
    };
    let watermark_ms = latest_ms.saturating_sub(source.delay_ms);
    let behind = match source.delay_ms {
        0 => String::new(),
        delay => format!(", {} before its latest row", duration_text(delay)),
    };
    (Some(watermark_ms), format!("{at}: watermark {}{behind}", Watermark(watermark_ms)))
}

fn all(rows: u64) -> String {
    if rows == 1 { "the only row".to_owned() } else { format!("all {}", count(rows, "row")) }
}

/// `1 row`, `27,004 rows`.
fn count(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Digits in threes.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
