//! What a query keeps, read back from its changelogs as committed, whether it runs or not.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use broker::client::{Client, ClientError};
use datafusion_physical_expr::expressions::Column;

use super::RunError;
use super::planned::{Planned, plan};
use super::restore::{ReadError, Wanted, read_changelog};
use crate::describe::{Described, Words};
use crate::operators::filter_project::{Stage, Step};
use crate::operators::tables::{Entries, KeptTable};
use crate::pipeline::Pipeline;
use crate::state::StateError;
use crate::state::changelog::{Meta, Restored, StateId};
use crate::task::TaskError;
use crate::topology::Node;

/// What one operator keeps, in all tasks of its query together.
#[derive(Clone, Debug)]
pub struct KeptState {
    /// What the operator does, in a line, and all that its state depends on.
    pub operator: String,
    pub fingerprint: String,
    /// Entries of the changelog, and how large their keys and values are.
    pub entries: u64,
    pub bytes: u64,
    pub changelog: String,
    /// Partitions of the changelog: one per task.
    pub partitions: i32,
    /// Without rows if only the counts were wanted.
    pub tables: Vec<KeptTable>,
}

/// Reads what a query of a pipeline keeps. `with_rows`: not only how much it is. The client is
/// only read from.
pub async fn read_kept(
    client: &dyn Client,
    pipeline: &Pipeline,
    query: &str,
    with_rows: bool,
) -> Result<Vec<KeptState>, RunError> {
    let planned = plan(std::slice::from_ref(pipeline))?;
    let words = pipeline.queries.iter().find(|of| of.name == query);
    let words = words.map(|query| Words::new(&query.plan));
    let mut kept: BTreeMap<(usize, usize), KeptState> = BTreeMap::new();
    for task in planned.iter().filter(|task| *task.query == *query) {
        if task.topology.nodes.is_empty() {
            continue;
        }
        let (restored, meta) = read_task(client, task).await?;
        let mut evolved = meta.map(|meta| meta.evolved(&task.topology.kept_for()));
        for (index, node) in task.topology.nodes.iter().enumerate() {
            let state = kept.entry((task.part, index)).or_insert_with(|| KeptState {
                operator: words.as_ref().map(|words| in_words(node, words)).unwrap_or_default(),
                fingerprint: node.kept_for(),
                entries: 0,
                bytes: 0,
                changelog: task.changelog().topic.to_string(),
                partitions: task.tasks as i32,
                tables: Vec::new(),
            });
            let entries: Vec<(&[u8], &[u8])> =
                restored.entries_of(StateId::of(&node.fingerprint)).collect();
            state.entries += entries.len() as u64;
            state.bytes +=
                entries.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() as u64;
            // Without rows, a table still has a name.
            if with_rows || state.tables.is_empty() {
                let id = StateId::of(&node.fingerprint).to_string();
                let layouts = evolved.as_mut().and_then(|evolved| evolved.remove(&id)?);
                let layouts = layouts.map(|(layouts, _)| layouts).unwrap_or_default();
                let of = if with_rows { entries } else { Vec::new() };
                let tables = tables(node, &Entries { of, layouts })
                    .map_err(|error| task.task_error(error))?;
                add(&mut state.tables, tables).map_err(|error| task.task_error(error))?;
            }
        }
    }
    Ok(kept.into_values().collect())
}

/// What an operator does, in a line.
fn in_words(node: &Node, words: &Words) -> String {
    let Described { title, details, .. } = node.operator.describe(words);
    match details.first() {
        Some(detail) => format!("{title}: {detail}"),
        None => title,
    }
}

async fn read_task(
    client: &dyn Client,
    task: &Planned,
) -> Result<(Restored, Option<Meta>), RunError> {
    let changelog = task.changelog();
    let failed = |error: ClientError| task.client_error("its changelog cannot be read", error);
    if client.topic(&changelog.topic).await.map_err(failed)?.is_none() {
        // It has never run.
        return Ok((Restored::default(), None));
    }
    let restored = match read_changelog(client, &changelog, Wanted::Entries).await {
        Ok(restored) => restored,
        Err(ReadError::Client(error)) => return Err(failed(error)),
        Err(ReadError::Batch(error)) => {
            return Err(task.state_error(StateError::Damaged(error.to_string())));
        }
    };
    let meta = restored.meta(&task.topology.kept_for());
    let meta = meta.map_err(|error| task.state_error(error))?;
    Ok((restored, meta))
}

fn tables(node: &Node, entries: &Entries<'_>) -> Result<Vec<KeptTable>, TaskError> {
    let tables = node.operator.tables(entries);
    let tables = tables.map_err(TaskError::evaluate("an operator's state"))?.into_iter();
    Ok(tables.map(|table| named_as_selected(node, table)).collect())
}

/// Rows that come out as they are kept have the names that the query gives them.
fn named_as_selected(node: &Node, table: KeptTable) -> KeptTable {
    let (schema, out) = (table.rows.schema(), node.operator.schema());
    let names = |schema: &Schema| {
        let fields = schema.fields().iter();
        fields.map(|field| field.name().clone()).collect::<Vec<String>>()
    };
    // The sides of a join may have as many columns as its answer, and others.
    if names(&schema) != names(&out) {
        return table;
    }
    let selected = selected(&node.stage);
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let name = selected.get(&index).unwrap_or(field.name());
        field.as_ref().clone().with_name(name)
    });
    let renamed = Schema::new(fields.collect::<Vec<_>>());
    let columns = table.rows.columns().to_vec();
    match RecordBatch::try_new(renamed.into(), columns) {
        Ok(rows) => KeptTable { rows, ..table },
        Err(_) => table,
    }
}

/// What the first projection after an operator calls its columns.
fn selected(stage: &Stage) -> BTreeMap<usize, String> {
    let steps = stage.clone().into_steps();
    let project = steps.into_iter().find_map(|step| match step {
        Step::Project { exprs, schema } => Some((exprs, schema)),
        _ => None,
    });
    let Some((exprs, schema)) = project else { return BTreeMap::new() };
    let named = exprs.iter().zip(schema.fields()).filter_map(|(expr, field)| {
        Some((expr.downcast_ref::<Column>()?.index(), field.name().clone()))
    });
    named.collect()
}

/// Takes the rows of another task to those that there are.
fn add(all: &mut Vec<KeptTable>, more: Vec<KeptTable>) -> Result<(), TaskError> {
    for table in more {
        match all.iter_mut().find(|other| other.name == table.name) {
            Some(other) => {
                let rows = concat_batches(&other.rows.schema(), [&other.rows, &table.rows]);
                other.rows =
                    rows.map_err(|error| TaskError::evaluate("an operator's state")(error.into()))?;
            }
            None => all.push(table),
        }
    }
    Ok(())
}
