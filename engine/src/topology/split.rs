//! A topology shared by several tasks: cut where rows have to meet.
//!
//! ```text
//! input ─ stage ─ node (by key) ─ node (by another key) ─ sink                     one task
//!
//! input ─ stage ═ exchange      input ─ stage ═ exchange      input ─ stage ═ exchange
//!              ╲╱ by key                     ╲╱                            │       N tasks each
//! exchange ─ node ═ exchange    exchange ─ node ═ exchange     exchange ─ node ═ exchange
//!              ╲╱ by another                 ╲╱                            │
//! exchange ─ node ─ sink        exchange ─ node ─ sink         exchange ─ node ─ sink
//! ```
//!
//! Rows of one key go to one partition of a topic (an exchange), and so to one task of the part
//! that follows. An operator says by which columns its rows have to meet ([`Distribution`]); one
//! that does not say so gets all rows in one task. Rows of one group may be combined before they
//! are written ([`partial`](crate::operators::aggregate::partial)). An answer that is updated is
//! cut once more where the changes of one key of its topic may come from several tasks, or in
//! another order than they happened in.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::{ExchangeInput, Input, Node, Port, Topology};
use crate::operators::Distribution;
use crate::operators::aggregate::partial::{AsTheyAre, BeforeMeeting, Partial};
use crate::operators::filter_project::Stage;
use crate::operators::one_of_key::OneOfKeySpec;
use crate::pipeline::OnError;

/// A topic between two parts of a topology. Its partitions are the tasks of the part that reads it.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub topic: String,
    pub schema: SchemaRef,
    /// Rows with equal values meet; all of them do if there are none.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// Rows for which this holds go to every task.
    pub to_all: Option<Arc<dyn PhysicalExpr>>,
    /// What rows are once they are combined. They may be from before the query was changed, though
    /// none is combined any more.
    pub partial: Option<Arc<Partial>>,
    /// Why rows for an aggregate are not combined.
    pub as_they_are: Option<AsTheyAre>,
    /// How many parts write it.
    pub writers: usize,
    /// Tasks of each part.
    pub tasks: usize,
    /// The least of the sources behind it.
    pub future_bound: Duration,
    /// The longest idle timeout and delay of the sources behind it, together.
    pub patience: Duration,
    /// `Fail` if that is what any of the sources behind it says; else a topic for dead letters, if
    /// one of them has that.
    pub on_error: OnError,
    /// The topics of the sources behind it.
    pub sources: Vec<String>,
}

/// Where a part's rows go if not to the sink.
#[derive(Clone, Debug)]
pub struct Writes {
    pub exchange: Arc<Exchange>,
    /// Which of the exchange's writers the part is.
    pub writer: usize,
}

/// Cuts a topology into parts of that many tasks, each part after those that feed it. `id` names
/// what is kept in the broker. One task needs no exchange: it gets all rows anyway.
pub fn split(whole: Topology, id: &str, tasks: usize) -> Vec<Topology> {
    if tasks <= 1 {
        return vec![whole];
    }
    let whole = for_tasks(whole, tasks);
    let exchanges = exchanges(&whole, id, tasks);
    let mut next_writer = vec![0; exchanges.len()];
    let mut writes = |port: Port| {
        let at = exchanges.iter().position(|input| input.to == port)?;
        next_writer[at] += 1;
        Some(Writes { exchange: exchanges[at].exchange.clone(), writer: next_writer[at] - 1 })
    };
    let mut parts = Vec::new();
    for (index, node) in whole.nodes.iter().enumerate() {
        let feeding: Vec<&ExchangeInput> =
            exchanges.iter().filter(|input| is_of(input.to, index)).collect();
        for input in &feeding {
            parts.extend(source_part(&whole, input.to, &mut writes));
        }
        let read = feeding.into_iter().map(|input| ExchangeInput {
            exchange: input.exchange.clone(),
            to: Port::Node { node: 0, side: side(input.to) },
        });
        let fingerprint = format!("{}\nin {tasks} tasks", node.fingerprint);
        parts.push(with_tables(Topology {
            inputs: Vec::new(),
            exchanges: read.collect(),
            nodes: vec![Node { to: Port::Sink, fingerprint, ..node.clone() }],
            writes: writes(node.to),
            schema: node.stage.schema().clone(),
            ..whole.clone()
        }));
    }
    parts.extend(source_part(&whole, Port::Sink, &mut writes));
    parts
}

/// What is cut: with the changes of each key of the sink in one task, which orders them. Where they
/// come from one task anyway, nothing is to be done.
pub fn for_tasks(mut whole: Topology, tasks: usize) -> Topology {
    let is_keyed = whole.updating && !whole.sink.key.is_empty();
    if tasks <= 1 || !is_keyed || comes_by_sink_key(&whole) {
        return whole;
    }
    let spec = OneOfKeySpec { schema: whole.schema.clone(), key: whole.sink.key.clone() };
    let to = Port::Node { node: whole.nodes.len(), side: 0 };
    let lag_ms = whole.nodes.iter().map(|node| node.lag_ms).max().unwrap_or(0);
    whole.inputs.iter_mut().filter(|input| input.to == Port::Sink).for_each(|of| of.to = to);
    whole.nodes.iter_mut().filter(|node| node.to == Port::Sink).for_each(|of| of.to = to);
    whole.nodes.push(Node {
        stage: Stage::new(whole.schema.clone()),
        to: Port::Sink,
        lag_ms,
        fingerprint: spec.to_string(),
        parts: Vec::new(),
        operator: Arc::new(spec),
    });
    whole
}

/// Whether changes of one key of the sink come from one task, and in their order.
fn comes_by_sink_key(whole: &Topology) -> bool {
    let reads = whole.inputs.iter().any(|input| input.to == Port::Sink);
    let mut last = whole.nodes.iter().enumerate().filter(|(_, node)| node.to == Port::Sink);
    let (Some((at, _)), None, false) = (last.next(), last.next(), reads) else { return false };
    comes_by(whole, at, &whole.sink.key) && tells_in_order(whole, at)
}

/// Whether rows that are alike in these columns come out of one task of a node.
fn comes_by(whole: &Topology, at: usize, columns: &[usize]) -> bool {
    let node = &whole.nodes[at];
    let is_together = |side| matches!(node.operator.distribution(side), Distribution::Together);
    if (0..whole.sides(at)).all(is_together) {
        return true;
    }
    let by = node.operator.comes_by().into_iter();
    let mut by = by.filter_map(|by| node.stage.places_of(by));
    by.any(|by| by.iter().all(|column| columns.contains(column)))
}

/// Whether a row that replaces another comes out behind it. A join passes on what comes in, and of
/// two tasks that feed it the one may tell of the new row before the other takes the old one back:
/// so all that it puts together has to come from one task before it, too.
fn tells_in_order(whole: &Topology, at: usize) -> bool {
    let operator = &whole.nodes[at].operator;
    if operator.settles() {
        return true;
    }
    (0..whole.sides(at)).all(|side| {
        let to = Port::Node { node: at, side };
        let feeding = whole.nodes.iter().enumerate().filter(|(_, node)| node.to == to);
        let feeding: Vec<usize> = feeding.map(|(at, _)| at).collect();
        let keys = match operator.distribution(side) {
            Distribution::Together => Vec::new(),
            Distribution::ByKey(keys) => keys,
        };
        let column = |key: &Arc<dyn PhysicalExpr>| Some(key.downcast_ref::<Column>()?.index());
        let keys: Vec<usize> = keys.iter().filter_map(column).collect();
        match feeding[..] {
            [] => true,
            [before] => {
                let reads = whole.inputs.iter().any(|input| input.to == to);
                !reads && comes_by(whole, before, &keys) && tells_in_order(whole, before)
            }
            _ => false,
        }
    })
}

/// What each side of each node reads.
fn exchanges(whole: &Topology, id: &str, tasks: usize) -> Vec<ExchangeInput> {
    let bounds = whole.inputs.iter().map(|input| input.source.watermark.future_bound);
    let future_bound = bounds.min().unwrap_or_default();
    let patiences = whole.inputs.iter().map(|input| &input.source.watermark);
    let patiences = patiences.map(|rules| rules.idle_timeout.saturating_add(rules.delay));
    let patience = patiences.max().unwrap_or_default();
    let on_errors = || whole.inputs.iter().map(|input| &input.source.on_error);
    let on_error = on_errors()
        .find(|of| **of == OnError::Fail)
        .or_else(|| on_errors().find(|of| **of != OnError::Skip))
        .unwrap_or(&OnError::Skip);
    let mut sources: Vec<String> =
        whole.inputs.iter().map(|input| input.source.topic.clone()).collect();
    sources.dedup();
    let sides = |node: usize| (0..whole.sides(node)).map(move |side| Port::Node { node, side });
    let ports = (0..whole.nodes.len()).flat_map(sides);
    let exchange = |(number, to): (usize, Port)| {
        let inputs = whole.inputs.iter().filter(|input| input.to == to);
        let of_input = inputs.map(|input| input.stage.schema().clone());
        let nodes = whole.nodes.iter().filter(|node| node.to == to);
        let of_node = nodes.map(|node| node.stage.schema().clone());
        let writers = usize::from(whole.inputs.iter().any(|input| input.to == to))
            + whole.nodes.iter().filter(|node| node.to == to).count();
        let schema = of_input.chain(of_node).next()?;
        let keys = match to {
            Port::Node { node, side } => match whole.nodes[node].operator.distribution(side) {
                Distribution::Together => Vec::new(),
                Distribution::ByKey(keys) => keys,
            },
            Port::Sink => Vec::new(),
        };
        let (partial, as_they_are) = combined(whole, to);
        let to_all = match to {
            Port::Node { node, side } => whole.nodes[node].operator.to_all(side),
            Port::Sink => None,
        };
        let exchange = Arc::new(Exchange {
            topic: format!("{id}-{number}of{tasks}-repartition"),
            // Rows that were written before the query was changed lack what it reads since.
            schema: nullable(&schema),
            keys,
            to_all,
            partial,
            as_they_are,
            writers,
            tasks,
            future_bound,
            patience,
            on_error: on_error.clone(),
            sources: sources.clone(),
        });
        Some(ExchangeInput { exchange, to })
    };
    ports.enumerate().filter_map(exchange).collect()
}

/// What rows are once they are combined, and why they are not.
fn combined(whole: &Topology, to: Port) -> (Option<Arc<Partial>>, Option<AsTheyAre>) {
    let Port::Node { node, side } = to else { return (None, None) };
    let node = &whole.nodes[node];
    match node.operator.before_meeting(side) {
        BeforeMeeting::Nothing => (None, None),
        BeforeMeeting::AsTheyAre(why) => (None, Some(why)),
        BeforeMeeting::Combine { aggregate, bound, unless } => {
            let late_alone = bound.is_some() && whole.late_topic.is_some();
            let unless = unless.or(late_alone.then_some(AsTheyAre::Late));
            let partial = Partial::new(aggregate, bound, &node.fingerprint, &node.parts);
            (Some(Arc::new(partial)), unless)
        }
    }
}

impl Exchange {
    /// How rows are combined before they are written, if they are.
    pub fn combines(&self) -> Option<&Arc<Partial>> {
        self.partial.as_ref().filter(|_| self.as_they_are.is_none())
    }
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<_> = fields.map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(Schema::new(fields))
}

/// The part that reads sources and feeds `port`, if there is one.
fn source_part(
    whole: &Topology,
    port: Port,
    writes: &mut impl FnMut(Port) -> Option<Writes>,
) -> Option<Topology> {
    let inputs = whole.inputs.iter().filter(|input| input.to == port);
    let inputs: Vec<Input> =
        inputs.map(|input| Input { to: Port::Sink, ..input.clone() }).collect();
    let schema = inputs.first()?.stage.schema().clone();
    let writes = writes(port);
    let (exchanges, nodes) = (Vec::new(), Vec::new());
    Some(with_tables(Topology { inputs, exchanges, nodes, writes, schema, ..whole.clone() }))
}

/// With the tables that its stages join, and no others.
fn with_tables(mut part: Topology) -> Topology {
    let joins = |table: usize| {
        part.inputs.iter().any(|input| input.stage.joins(table))
            || part.nodes.iter().any(|node| node.stage.joins(table))
    };
    let kept: Vec<usize> = (0..part.tables.len()).filter(|&table| joins(table)).collect();
    let place = |table: usize| kept.partition_point(|&other| other < table);
    part.inputs.iter_mut().for_each(|input| input.stage.renumber_tables(place));
    part.nodes.iter_mut().for_each(|node| node.stage.renumber_tables(place));
    part.tables = kept.iter().map(|&table| part.tables[table].clone()).collect();
    part
}

fn is_of(port: Port, of: usize) -> bool {
    matches!(port, Port::Node { node, .. } if node == of)
}

fn side(port: Port) -> usize {
    match port {
        Port::Node { side, .. } => side,
        Port::Sink => 0,
    }
}
