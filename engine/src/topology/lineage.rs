//! What columns are made of, told by the names of sources' columns.
//!
//! A plan that reads one more column has all others in other places. What it does with them may be
//! the same as before, and so may be what was kept of them: so an operator whose state may evolve
//! tells what its state depends on by names, and not by places.

use std::sync::Arc;

use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::Column;

use super::{Input, Node, TableInput};
use crate::operators::filter_project::{Stage, Step};
use crate::operators::lookup_join::{LookupJoin, LookupKind};
use crate::pipeline::{ColumnFrom, Source};

/// Where rows come from, and what each of their columns is.
#[derive(Clone, Debug)]
pub struct Lineage {
    pub from: String,
    /// Over columns of sources, each known by its name alone.
    columns: Vec<Arc<dyn PhysicalExpr>>,
}

/// What is known by its name alone.
fn named(name: String) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(&name, 0))
}

/// With its type: what was made of other values is something else, though its bytes look alike.
/// What is computed is known by what it is computed of.
fn column_of(source: &Source, at: usize) -> String {
    let data_type = source.schema.field(at).data_type();
    match &source.columns[at].from {
        ColumnFrom::Computed(expr) => format!("({}) {data_type}", expr),
        _ => format!("{:?} {data_type}", source.columns[at].name),
    }
}

impl Lineage {
    /// Of the rows that come out of an input's stage.
    pub fn of_input(input: &Input, tables: &[TableInput]) -> Lineage {
        let name = |&at: &usize| named(column_of(&input.source, at));
        let columns = input.projection.iter().map(name).collect();
        let what = if input.by_key { "input by key" } else { "input" };
        let from = format!("{what} {}", input.source.topic);
        Lineage { from, columns }.through(&input.stage, tables)
    }

    /// Of the rows that come out of a node's stage.
    pub fn of_node(node: &Node, tables: &[TableInput]) -> Lineage {
        let columns = node.operator.schema().fields().iter().enumerate();
        let columns = columns.map(|(at, field)| named(format!("{at} {:?}", field.name())));
        let columns = columns.collect();
        Lineage { from: node.kept_for(), columns }.through(&node.stage, tables)
    }

    fn through(mut self, stage: &Stage, tables: &[TableInput]) -> Lineage {
        for step in stage.steps() {
            match step {
                Step::Filter(predicate) => {
                    self.from = format!("{}\n  filter {}", self.from, self.text(predicate));
                }
                Step::Project { exprs, .. } => {
                    self.columns = exprs.iter().map(|expr| self.inlined(expr)).collect();
                }
                Step::HappensAt(column) => {
                    self.from = format!("{}\n  at {}", self.from, self.columns[*column]);
                }
                Step::Join(join) => self = self.joined(join, &tables[join.table]),
                Step::Unnest(unnest) => {
                    // All that comes in comes out several times.
                    let of: Vec<String> = self.columns.iter().map(ToString::to_string).collect();
                    let what = format!("{unnest} of {}", of.join(", "));
                    let count = unnest.schema.fields().len();
                    self.from = format!("{}\n  {what}", self.from);
                    self.columns = (0..count).map(|at| named(format!("{at} of {what}"))).collect();
                }
            }
        }
        self
    }

    fn joined(self, join: &LookupJoin, table: &TableInput) -> Lineage {
        let name =
            |&at: &usize| named(format!("{}.{}", table.source.name, column_of(&table.source, at)));
        let columns = table.projection[..table.columns_wanted].iter().map(name).collect();
        let rows = Lineage { from: format!("table {}", table.source.topic), columns };
        let rows = rows.through(&table.stage, &[]);
        let texts = |of: &Lineage, exprs: &[Arc<dyn PhysicalExpr>]| {
            exprs.iter().map(|expr| of.text(expr)).collect::<Vec<_>>().join(", ")
        };
        let found_by = texts(&rows, &table.join_keys);
        let nulls = if table.nulls_equal { ", nulls equal" } else { "" };
        let by = texts(&self, &join.keys);
        let (mut first, mut second) = (&self.columns, &rows.columns);
        if join.table_first {
            std::mem::swap(&mut first, &mut second);
        }
        let both = Lineage { from: String::new(), columns: [&first[..], &second[..]].concat() };
        let filter = join.filter.as_ref().map(|of| format!(" where {}", both.text(&of.predicate)));
        let from = format!(
            "{}\n  {:?} join {} found by {found_by}{nulls} by {by}{}",
            self.from,
            join.kind,
            rows.from.replace('\n', " "),
            filter.unwrap_or_default()
        );
        let columns = match join.kind {
            LookupKind::Inner | LookupKind::Outer => both.columns,
            LookupKind::Semi | LookupKind::Anti | LookupKind::NotIn => self.columns,
        };
        Lineage { from, columns }
    }

    /// An expression over these rows, wherever their columns are.
    pub fn text(&self, expr: &Arc<dyn PhysicalExpr>) -> String {
        self.inlined(expr).to_string()
    }

    /// An expression over these rows as one over what they are made of.
    fn inlined(&self, expr: &Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        let inlined = expr.clone().transform_up(|expr| {
            let column = expr.downcast_ref::<Column>();
            let is = column.and_then(|column| self.columns.get(column.index())).cloned();
            Ok(is.map_or_else(|| Transformed::no(expr), Transformed::yes))
        });
        // One that cannot be taken apart stays as it is, places and all.
        inlined.map_or_else(|_| expr.clone(), |inlined| inlined.data)
    }
}
