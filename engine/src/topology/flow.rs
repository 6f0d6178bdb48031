//! A topology as it grows: from the inputs on, one step after the other.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::PhysicalExpr;

use super::lineage::Lineage;
use super::{Input, Node, Port, TableInput};
use crate::operators::filter_project::Step;
use crate::operators::{Identity, OperatorSpec};
use crate::state::changelog::COMPUTED;
use crate::state::layouts::Part;

/// What stands in a fingerprint behind that of another node that is alike.
const ONCE_MORE: &str = "\nonce more: ";

/// What there is of a topology so far.
#[derive(Clone, Default)]
pub struct Builder {
    pub inputs: Vec<Input>,
    pub tables: Vec<TableInput>,
    pub nodes: Vec<Node>,
}

/// Rows of one schema that come from the ends of what there is so far.
pub struct Flow {
    pub(super) ends: Vec<End>,
    pub schema: SchemaRef,
    /// Rows may be taken back.
    pub updating: bool,
    /// Rows are those of windows, and come and are taken back until these have closed, no longer.
    pub of_windows: bool,
    /// How much older than the watermark of the task rows may be that come from operators.
    pub lag_ms: i64,
}

/// What has nowhere to go yet.
#[derive(Clone, Copy)]
pub(super) enum End {
    Input(usize),
    Node(usize),
}

/// Whether an operator takes back rows that it gave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Changes {
    /// Never, whatever comes in.
    Final,
    /// If rows that come in are taken back.
    AsInput,
    /// Always.
    Updating,
}

impl Flow {
    /// Rows of all of these.
    pub fn union(schema: SchemaRef, flows: Vec<Flow>) -> Flow {
        let updating = flows.iter().any(|flow| flow.updating);
        let of_windows = flows.iter().all(|flow| flow.of_windows);
        let lag_ms = flows.iter().map(|flow| flow.lag_ms).max().unwrap_or(0);
        let ends = flows.into_iter().flat_map(|flow| flow.ends).collect();
        Flow { ends, schema, updating, of_windows, lag_ms }
    }
}

impl Builder {
    pub fn input(&mut self, input: Input) -> Flow {
        let schema = input.stage.schema().clone();
        self.inputs.push(input);
        let ends = vec![End::Input(self.inputs.len() - 1)];
        Flow { ends, schema, updating: false, of_windows: false, lag_ms: 0 }
    }

    /// The number of a table that joins may name.
    pub fn table(&mut self, table: TableInput) -> usize {
        self.tables.push(table);
        self.tables.len() - 1
    }

    /// Takes rows through one more step.
    pub fn push(&mut self, flow: Flow, step: Step) -> Flow {
        let mut schema = flow.schema;
        for end in &flow.ends {
            let stage = match *end {
                End::Input(input) => &mut self.inputs[input].stage,
                End::Node(node) => &mut self.nodes[node].stage,
            };
            stage.push(step.clone());
            schema = stage.schema().clone();
        }
        Flow { schema, ..flow }
    }

    /// An operator that takes rows of these, one flow per side.
    pub fn node(
        &mut self,
        flows: Vec<Flow>,
        operator: Arc<dyn OperatorSpec>,
        changes: Changes,
    ) -> Flow {
        let node = self.nodes.len();
        let (mut fingerprint, mut parts) = self.identity(&flows, operator.as_ref());
        let mut updating = changes == Changes::Updating;
        let lag_ms = flows.iter().map(|flow| flow.lag_ms).max().unwrap_or(0);
        for (side, flow) in flows.into_iter().enumerate() {
            updating |= flow.updating && changes == Changes::AsInput;
            for end in flow.ends {
                match end {
                    End::Input(input) => self.inputs[input].to = Port::Node { node, side },
                    End::Node(before) => self.nodes[before].to = Port::Node { node, side },
                }
            }
        }
        // The same part of a plan may stand in it twice, each with its own state. Which is which is
        // known by what they compute, so that does not change.
        let is_same = |node: &&Node| {
            let rest = node.fingerprint.strip_prefix(&fingerprint);
            let is_mark = |rest: &str| rest.starts_with(COMPUTED) || rest.starts_with(ONCE_MORE);
            rest.is_some_and(|rest| rest.is_empty() || is_mark(rest))
        };
        let same = self.nodes.iter().filter(is_same).count();
        if same > 0 {
            for part in std::mem::take(&mut parts) {
                let _ = write!(fingerprint, "{COMPUTED}{}", part.is);
            }
            let _ = write!(fingerprint, "{ONCE_MORE}{same}");
        }
        let schema = operator.schema().clone();
        let stage = crate::operators::filter_project::Stage::new(schema.clone());
        self.nodes.push(Node { operator, stage, to: Port::Sink, lag_ms, fingerprint, parts });
        Flow { ends: vec![End::Node(node)], schema, updating, of_windows: false, lag_ms }
    }

    /// What the state of an operator depends on that takes these, and what may come and go.
    fn identity(&self, flows: &[Flow], operator: &dyn OperatorSpec) -> (String, Vec<Part>) {
        let ends = |flow: &Flow| flow.ends.iter().map(|end| self.lineage(*end)).collect::<Vec<_>>();
        let sides: Vec<Vec<Lineage>> = flows.iter().map(ends).collect();
        let text = |expr: &Arc<dyn PhysicalExpr>| {
            let mut texts: Vec<String> = sides[0].iter().map(|from| from.text(expr)).collect();
            texts.dedup();
            texts.join(" | ")
        };
        if let [lineages] = sides.as_slice()
            && let Some(Identity { text, parts }) = operator.identity(&text)
        {
            let from = lineages.iter().flat_map(|lineage| lineage.from.lines());
            let from = from.map(|line| format!("\n  from {line}")).collect::<String>();
            return (format!("{text}{from}"), parts);
        }
        let mut fingerprint = operator.to_string();
        for (side, flow) in flows.iter().enumerate() {
            flow.ends.iter().for_each(|end| self.describe(&mut fingerprint, side, *end));
        }
        (fingerprint, Vec::new())
    }

    fn lineage(&self, of: End) -> Lineage {
        match of {
            End::Input(input) => Lineage::of_input(&self.inputs[input], &self.tables),
            End::Node(node) => Lineage::of_node(&self.nodes[node], &self.tables),
        }
    }

    /// Adds to a node's fingerprint what comes before it, as it is.
    fn describe(&self, fingerprint: &mut String, side: usize, end: End) {
        let (stage, before) = match end {
            End::Input(input) => {
                let input = &self.inputs[input];
                (&input.stage, input.to_string())
            }
            End::Node(node) => {
                let node = &self.nodes[node];
                (&node.stage, format!("{}\nthen{}", node.kept_for(), node.stage))
            }
        };
        let types = stage.schema().fields().iter().map(|field| field.data_type().to_string());
        let types = types.collect::<Vec<_>>().join(", ");
        let tables = self.tables.iter().enumerate().filter(|(index, _)| stage.joins(*index));
        let tables: Vec<String> = tables.map(|(_, table)| format!("\n{table}")).collect();
        let before = format!("from {side}: {before}\ntypes {types}{}", tables.concat());
        // Writing to a string cannot fail.
        for line in before.lines() {
            let _ = write!(fingerprint, "\n  {line}");
        }
    }
}
