//! A pipeline as a picture: topics, and what connectors and queries do with them.
//!
//! ```text
//! connectors, descriptions of queries ─► Picture ─┬─ layout ─► svg
//!                                                 └─ mermaid
//! ```
//!
//! - [`layout`]: where boxes stand and how arrows run; [`svg`], [`mermaid`]: the picture in these
//!   languages.
//!
//! What a query does stands in a frame of its own; topics and connectors stand outside, since
//! others may share them.

mod layout;
mod mermaid;
mod svg;

use std::collections::BTreeMap;

use engine::describe::{Combining, Keeps, QueryDescription, StepKind};

use super::explain::until_words;

pub use mermaid::mermaid;
pub use svg::svg;

/// Longer lines are cut.
const LINE_CHARS_MAX: usize = 60;
/// A box with more lines is cut: `millstream explain` has them all.
const LINES_MAX: usize = 9;

/// Boxes and arrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub frames: Vec<String>,
    pub nodes: Vec<Node>,
    pub arrows: Vec<Arrow>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub title: String,
    pub lines: Vec<String>,
    /// What is remembered.
    pub state: Vec<String>,
    /// The frame that it stands in.
    pub frame: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connector,
    Topic,
    Step,
    /// A topic between tasks of one query.
    Exchange,
}

/// From one box to another, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    pub label: Option<String>,
    /// A table that is read whole.
    pub dashed: bool,
}

/// A connector, as far as it is drawn.
pub struct ConnectorEnds {
    pub name: String,
    /// A file, or what else is outside.
    pub outside: String,
    pub topics: Vec<String>,
    pub is_source: bool,
}

/// A picture that grows.
#[derive(Default)]
struct Drawing {
    picture: Picture,
    /// Topics by name.
    topics: BTreeMap<String, usize>,
}

pub fn picture(connectors: &[ConnectorEnds], queries: &[QueryDescription]) -> Picture {
    let mut drawing = Drawing::default();
    for connector in connectors.iter().filter(|connector| connector.is_source) {
        let at = drawing.connector(connector);
        for topic in &connector.topics {
            let topic = drawing.topic(topic);
            drawing.arrow(at, topic, None, false);
        }
    }
    queries.iter().for_each(|query| drawing.query(query));
    for connector in connectors.iter().filter(|connector| !connector.is_source) {
        let at = drawing.connector(connector);
        for topic in &connector.topics {
            let topic = drawing.topic(topic);
            drawing.arrow(topic, at, None, false);
        }
    }
    drawing.picture
}

impl Drawing {
    fn add(&mut self, kind: Kind, title: &str, lines: Vec<String>, frame: Option<usize>) -> usize {
        let title = cut(title);
        let state = Vec::new();
        self.picture.nodes.push(Node { kind, title, lines: cut_all(lines), state, frame });
        self.picture.nodes.len() - 1
    }

    fn arrow(&mut self, from: usize, to: usize, label: Option<String>, dashed: bool) {
        let arrow = Arrow { from, to, label, dashed };
        if !self.picture.arrows.contains(&arrow) {
            self.picture.arrows.push(arrow);
        }
    }

    fn connector(&mut self, connector: &ConnectorEnds) -> usize {
        self.add(Kind::Connector, &connector.name, vec![connector.outside.clone()], None)
    }

    fn topic(&mut self, name: &str) -> usize {
        if let Some(at) = self.topics.get(name) {
            return *at;
        }
        let at = self.add(Kind::Topic, name, Vec::new(), None);
        self.topics.insert(name.to_owned(), at);
        at
    }

    fn query(&mut self, query: &QueryDescription) {
        self.picture.frames.push(match query.tasks {
            1 => format!("query {}", query.name),
            tasks => format!("query {} · {tasks} tasks", query.name),
        });
        let frame = Some(self.picture.frames.len() - 1);
        // Where rows of a step come from in the picture: its box, or the topic that it reads.
        let mut boxes: Vec<usize> = Vec::new();
        for step in &query.steps {
            let at = match step.kind {
                StepKind::Table | StepKind::Sink => {
                    self.topic(step.topic.as_deref().unwrap_or("?"))
                }
                StepKind::Source => {
                    let topic = self.topic(step.topic.as_deref().unwrap_or("?"));
                    let feeds_sink = query
                        .steps
                        .last()
                        .is_some_and(|sink| sink.from.iter().any(|flow| flow.step == boxes.len()));
                    if step.details.is_empty() && !feeds_sink {
                        topic
                    } else {
                        let at = self.add(Kind::Step, "each row", step.details.clone(), frame);
                        self.arrow(topic, at, None, false);
                        at
                    }
                }
                StepKind::Operator => {
                    let at = self.add(Kind::Step, &step.title, step.details.clone(), frame);
                    let keeps = step.state.as_ref().map(|state| &state.keeps);
                    self.picture.nodes[at].state = keeps.map(state_lines).unwrap_or_default();
                    at
                }
            };
            for flow in &step.from {
                let from = boxes[flow.step];
                let from_step = &query.steps[flow.step];
                let is_table = from_step.kind == StepKind::Table;
                let label = match step.kind {
                    StepKind::Sink => step.details.first().cloned(),
                    _ => is_table.then(|| "table".to_owned()),
                };
                match flow.exchange.map(|at| &query.exchanges[at]) {
                    None => self.arrow(from, at, label, is_table),
                    Some(exchange) => {
                        let title = match exchange.keys.is_empty() {
                            true => "all to one task".to_owned(),
                            false => format!("by {}", exchange.keys.join(", ")),
                        };
                        let mut lines = vec![exchange.topic.clone()];
                        if exchange.combining == Combining::Combined {
                            lines.push("combined by group before".to_owned());
                        }
                        let through = self.exchange(&title, lines, frame);
                        self.arrow(from, through, None, is_table);
                        self.arrow(through, at, label, false);
                    }
                }
            }
            boxes.push(at);
        }
    }

    /// One box for each topic, however many feed it.
    fn exchange(&mut self, title: &str, lines: Vec<String>, frame: Option<usize>) -> usize {
        let lines = cut_all(lines);
        let known = self.picture.nodes.iter().position(|other| {
            other.kind == Kind::Exchange && other.lines == lines && other.frame == frame
        });
        known.unwrap_or_else(|| self.add(Kind::Exchange, title, lines, frame))
    }
}

fn state_lines(keeps: &Keeps) -> Vec<String> {
    let by = match keeps.by.is_empty() {
        true => String::new(),
        false => format!(" by {}", keeps.by.join(", ")),
    };
    let lines = vec![format!("keeps {}{by}", keeps.what), until_words(&keeps.until)];
    cut_all(lines)
}

fn cut_all(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LINES_MAX);
    if more > 0 {
        lines.truncate(LINES_MAX - 1);
        lines.push(format!("… {} more", more + 1));
    }
    lines.iter().map(|line| cut(line)).collect()
}

fn cut(line: &str) -> String {
    if line.chars().count() <= LINE_CHARS_MAX {
        return line.to_owned();
    }
    let kept: String = line.chars().take(LINE_CHARS_MAX - 1).collect();
    format!("{}…", kept.trim_end())
}
