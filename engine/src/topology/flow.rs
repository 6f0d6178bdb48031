//! A topology as it grows: from the inputs on, one step after the other.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::{Input, Node, Port, TableInput};
use crate::operators::OperatorSpec;
use crate::operators::filter_project::Step;

/// What there is of a topology so far.
#[derive(Clone, Default)]
pub struct Builder {
    pub inputs: Vec<Input>,
    pub tables: Vec<TableInput>,
    pub nodes: Vec<Node>,
}

/// Rows of one schema that come from the ends of what there is so far.
pub struct Flow {
    ends: Vec<End>,
    pub schema: SchemaRef,
    /// Rows may be taken back.
    pub updating: bool,
    /// How much older than the watermark of the task rows may be that come from operators.
    pub lag_ms: i64,
}

/// What has nowhere to go yet.
#[derive(Clone, Copy)]
enum End {
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
        let lag_ms = flows.iter().map(|flow| flow.lag_ms).max().unwrap_or(0);
        let ends = flows.into_iter().flat_map(|flow| flow.ends).collect();
        Flow { ends, schema, updating, lag_ms }
    }
}

impl Builder {
    pub fn input(&mut self, input: Input) -> Flow {
        let schema = input.stage.schema().clone();
        self.inputs.push(input);
        let ends = vec![End::Input(self.inputs.len() - 1)];
        Flow { ends, schema, updating: false, lag_ms: 0 }
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
        let mut fingerprint = operator.to_string();
        let mut updating = changes == Changes::Updating;
        let lag_ms = flows.iter().map(|flow| flow.lag_ms).max().unwrap_or(0);
        for (side, flow) in flows.into_iter().enumerate() {
            updating |= flow.updating && changes == Changes::AsInput;
            for end in flow.ends {
                let before = match end {
                    End::Input(input) => {
                        self.inputs[input].to = Port::Node { node, side };
                        self.inputs[input].to_string()
                    }
                    End::Node(before) => {
                        self.nodes[before].to = Port::Node { node, side };
                        let Node { stage, fingerprint, .. } = &self.nodes[before];
                        format!("{fingerprint}\nthen{stage}")
                    }
                };
                self.describe(&mut fingerprint, side, &before, end);
            }
        }
        // The same part of a plan may stand in it twice, each with its own state.
        let same =
            self.nodes.iter().filter(|node| node.fingerprint.starts_with(&fingerprint)).count();
        if same > 0 {
            let _ = write!(fingerprint, "\nonce more: {same}");
        }
        let schema = operator.schema().clone();
        let stage = crate::operators::filter_project::Stage::new(schema.clone());
        self.nodes.push(Node { operator, stage, to: Port::Sink, lag_ms, fingerprint });
        Flow { ends: vec![End::Node(node)], schema, updating, lag_ms }
    }

    /// Adds to a node's fingerprint what comes before it.
    fn describe(&self, fingerprint: &mut String, side: usize, before: &str, end: End) {
        let stage = match end {
            End::Input(input) => &self.inputs[input].stage,
            End::Node(node) => &self.nodes[node].stage,
        };
        let tables = self.tables.iter().enumerate().filter(|(index, _)| stage.joins(*index));
        let tables: Vec<String> = tables.map(|(_, table)| format!("\n{table}")).collect();
        let before = format!("from {side}: {before}{}", tables.concat());
        // Writing to a string cannot fail.
        for line in before.lines() {
            let _ = write!(fingerprint, "\n  {line}");
        }
    }
}
