//! The topology as steps: what its tasks do, in which parts, with what in between.

use std::sync::Arc;

use datafusion_physical_expr::expressions::{Column, Literal};
use datafusion_physical_expr::{PhysicalExpr, ScalarFunctionExpr, split_conjunction};

use super::plan::unnested;
use super::words::{Words, quoted};
use super::{
    Combining, Condition, Described, ExchangeDescription, Flow, RowStep, StateDescription, Step,
    StepKind,
};
use crate::operators::filter_project::{Stage, Step as StageStep};
use crate::operators::lookup_join::{LookupJoin, LookupKind};
use crate::operators::unnest::Unnest;
use crate::pipeline::Predicate;
use crate::plan::predicates;
use crate::plan::windows::is_list_of_windows;
use crate::state::changelog;
use crate::topology::{Port, TableInput, Topology, for_tasks, split};

/// All of a query's steps, and the topics between them.
pub struct LaidOut {
    pub steps: Vec<Step>,
    pub exchanges: Vec<ExchangeDescription>,
}

/// A topology on its way to steps.
struct Laying<'a> {
    topology: &'a Topology,
    words: &'a Words,
    predicates: &'a [Predicate],
    id: &'a str,
    tasks: usize,
    parts: Vec<Topology>,
    out: LaidOut,
}

pub(super) fn lay_out(
    topology: &Topology,
    words: &Words,
    predicates: &[Predicate],
    id: &str,
    tasks: usize,
) -> LaidOut {
    let topology = &for_tasks(topology.clone(), tasks);
    let parts = split(topology.clone(), id, tasks);
    let out = LaidOut { steps: Vec::new(), exchanges: Vec::new() };
    let mut laying = Laying { topology, words, predicates, id, tasks, parts, out };
    let from = laying.feeding(Port::Sink);
    let sink = &topology.sink;
    let mut details = Vec::new();
    if !sink.key.is_empty() {
        let fields = topology.schema().fields();
        let key: Vec<String> = sink.key.iter().map(|at| quoted(fields[*at].name())).collect();
        let mode = if topology.updating { "upserts by" } else { "key" };
        details.push(format!("{mode} {}", key.join(", ")));
    }
    laying.out.steps.push(Step {
        kind: StepKind::Sink,
        title: format!("write {}", sink.topic),
        topic: Some(sink.topic.clone()),
        details,
        state: None,
        part: laying.parts.len().saturating_sub(1),
        from,
        place: 0,
        stage: Vec::new(),
    });
    laying.out
}

impl Laying<'_> {
    /// Lays out all that goes into a port.
    fn feeding(&mut self, port: Port) -> Vec<Flow> {
        let topology = self.topology;
        let mut from = Vec::new();
        let inputs = topology.inputs.iter().enumerate().filter(|(_, input)| input.to == port);
        for (of_part, (of_whole, input)) in inputs.enumerate() {
            let part = self.part_reading(&input.source.topic, port);
            let key = if input.by_key { ", by key" } else { "" };
            let tables = self.tables(&input.stage, part);
            let (stage, details) = self.stage(&input.stage);
            self.out.steps.push(Step {
                kind: StepKind::Source,
                title: format!("read {}{key}", input.source.topic),
                topic: Some(input.source.topic.clone()),
                details,
                state: None,
                part,
                from: tables,
                // A part of a query that is cut has the inputs of one port.
                place: if self.is_whole() { of_whole } else { of_part },
                stage,
            });
            from.push(Flow { step: self.out.steps.len() - 1, exchange: None });
        }
        for (index, node) in topology.nodes.iter().enumerate().filter(|(_, of)| of.to == port) {
            let mut inputs = Vec::new();
            for side in 0..topology.sides(index) {
                let to = Port::Node { node: index, side };
                let exchange = self.exchange(index, side);
                let flows = self.feeding(to);
                inputs.extend(flows.into_iter().map(|flow| Flow { exchange, ..flow }));
            }
            let part = self.part_of(index);
            let Described { title, mut details, keeps } = node.operator.describe(self.words);
            let (stage, more) = self.stage(&node.stage);
            details.extend(more);
            inputs.extend(self.tables(&node.stage, part));
            let changelog = changelog::topic(self.id, part, self.tasks);
            self.out.steps.push(Step {
                kind: StepKind::Operator,
                title,
                topic: None,
                details,
                state: Some(StateDescription { keeps, changelog }),
                part,
                from: inputs,
                place: if self.is_whole() { index } else { 0 },
                stage,
            });
            from.push(Flow { step: self.out.steps.len() - 1, exchange: None });
        }
        from
    }

    fn tables(&mut self, stage: &Stage, part: usize) -> Vec<Flow> {
        let topology = self.topology;
        let joined = topology.tables.iter().enumerate().filter(|(table, _)| stage.joins(*table));
        let mut flows = Vec::new();
        for (place, table) in joined {
            let mut details = vec!["whole, by every task, before all else".to_owned()];
            let (stage, more) = self.stage(&table.stage);
            details.extend(more);
            self.out.steps.push(Step {
                kind: StepKind::Table,
                title: format!("read table {}", table.source.topic),
                topic: Some(table.source.topic.clone()),
                details,
                state: None,
                part,
                from: Vec::new(),
                place,
                stage,
            });
            flows.push(Flow { step: self.out.steps.len() - 1, exchange: None });
        }
        flows
    }

    /// The query is not cut into parts.
    fn is_whole(&self) -> bool {
        self.tasks <= 1
    }

    /// The part that has a node: one each, if the query is cut.
    fn part_of(&self, node: usize) -> usize {
        let with_nodes = self.parts.iter().enumerate().filter(|(_, part)| !part.nodes.is_empty());
        match self.is_whole() {
            true => 0,
            false => with_nodes.map(|(at, _)| at).nth(node).unwrap_or_default(),
        }
    }

    /// The part that reads a topic and feeds a port.
    fn part_reading(&self, topic: &str, port: Port) -> usize {
        let written = |part: &Topology| part.writes.as_ref().map(|of| of.exchange.topic.clone());
        let wanted = match port {
            Port::Node { node, side } => self.exchange_topic(node, side),
            Port::Sink => None,
        };
        let reads = |part: &Topology| {
            part.inputs.iter().any(|input| input.source.topic == topic) && written(part) == wanted
        };
        self.parts.iter().position(reads).unwrap_or_default()
    }

    fn exchange_topic(&self, node: usize, side: usize) -> Option<String> {
        let part = &self.parts[self.part_of(node)];
        let to = Port::Node { node: 0, side };
        let input = part.exchanges.iter().find(|input| input.to == to)?;
        Some(input.exchange.topic.clone())
    }

    /// Which exchange feeds that side of a node.
    fn exchange(&mut self, node: usize, side: usize) -> Option<usize> {
        let topic = self.exchange_topic(node, side)?;
        let part = &self.parts[self.part_of(node)];
        let input = part.exchanges.iter().find(|input| input.exchange.topic == topic)?;
        let exchange = &input.exchange;
        let keys = self.words.physicals(&exchange.keys);
        let combining = match (exchange.combines(), &exchange.as_they_are) {
            (Some(_), _) => Combining::Combined,
            (None, Some(why)) => Combining::OneByOne(why.in_words(self.words)),
            (None, None) => Combining::Nothing,
        };
        self.out.exchanges.push(ExchangeDescription { topic, keys, combining });
        Some(self.out.exchanges.len() - 1)
    }

    /// What happens to rows without anything being remembered, and the same in words.
    fn stage(&self, stage: &Stage) -> (Vec<RowStep>, Vec<String>) {
        let mut words = Vec::new();
        let mut before = None;
        let steps = stage.steps().iter().map(|step| {
            let described = self.stage_step(step, before, &mut words);
            before = Some(step);
            described
        });
        (steps.collect(), words)
    }

    fn stage_step(
        &self,
        step: &StageStep,
        before: Option<&StageStep>,
        said: &mut Vec<String>,
    ) -> RowStep {
        let words = self.words;
        match step {
            StageStep::Filter(predicate) => {
                said.push(format!("where {}", words.physical(predicate)));
                let conditions = split_conjunction(predicate).into_iter().map(|condition| {
                    let sql = words.physical(condition);
                    let span = predicates::place_of(self.predicates, &sql).cloned();
                    Condition { sql, span }
                });
                RowStep::Filter(conditions.collect())
            }
            StageStep::Project { exprs, schema } => {
                let computed = exprs.iter().zip(schema.fields()).filter_map(|(expr, field)| {
                    let name = field.name();
                    let is_new = !expr.is::<Column>() && !name.starts_with("__");
                    let of = words.physical(expr);
                    // Columns that have no name of their own are called by what they are.
                    let is_named = words.name(name) == quoted(name);
                    // What nothing reads any more is a constant in its place.
                    let is_unread = !is_named && expr.is::<Literal>();
                    (is_new && !is_unread)
                        .then(|| if is_named { format!("{} = {of}", quoted(name)) } else { of })
                });
                said.extend(computed);
                RowStep::Project
            }
            StageStep::Join(join) => {
                let text = self.lookup(join);
                said.push(text.clone());
                RowStep::Join { table: join.table_name.clone(), text }
            }
            StageStep::HappensAt(_) => RowStep::Project,
            StageStep::Unnest(unnest) if before.is_some_and(|of| lists_windows(of, unnest)) => {
                said.push("a row for each window that it lies in".to_owned());
                RowStep::Windows
            }
            StageStep::Unnest(unnest) => {
                let fields = unnest.schema.fields();
                let lists = unnest.list_columns().filter_map(|column| fields.get(column));
                let lists: Vec<String> =
                    lists.map(|field| unnested(&words.name(field.name())).to_owned()).collect();
                let lists = lists.join(", ");
                said.push(format!("a row for each element of {lists}"));
                RowStep::Unnest(lists)
            }
        }
    }

    fn lookup(&self, join: &LookupJoin) -> String {
        let kind = match join.kind {
            LookupKind::Inner => "join",
            LookupKind::Outer => "left join",
            LookupKind::Semi => "semi join",
            LookupKind::Anti => "anti join",
            LookupKind::NotIn => "null-aware anti join",
        };
        let table = &self.topology.tables[join.table];
        let mut text = format!("{kind} table {}", join.table_name);
        let pairs = join.keys.iter().zip(&table.join_keys);
        let pairs = pairs.map(|(left, right)| self.equality(left, right, table));
        let pairs: Vec<String> = pairs.collect();
        if !pairs.is_empty() {
            text.push_str(&format!(" on {}", pairs.join(" and ")));
        }
        if let Some(filter) = &join.filter {
            text.push_str(&format!(" where {}", self.words.physical(&filter.predicate)));
        }
        text
    }

    fn equality(
        &self,
        left: &Arc<dyn PhysicalExpr>,
        right: &Arc<dyn PhysicalExpr>,
        table: &TableInput,
    ) -> String {
        let (left, right) = (self.words.physical(left), self.words.physical(right));
        format!("{left} = {}.{right}", quoted(&table.source.name))
    }
}

/// Whether what is taken apart are the windows of each row.
fn lists_windows(before: &StageStep, unnest: &Unnest) -> bool {
    let StageStep::Project { exprs, .. } = before else { return false };
    let mut lists = unnest.list_columns().filter_map(|column| exprs.get(column));
    lists.any(|list| {
        let function = list.downcast_ref::<ScalarFunctionExpr>();
        function.is_some_and(|function| is_list_of_windows(function.fun()))
    })
}
