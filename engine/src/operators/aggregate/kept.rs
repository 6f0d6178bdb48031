//! Groups as the changelog has them, as tables for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use datafusion_common::{Result, exec_datafusion_err};

use super::accumulated::Groups;
use super::runs::{GROUP, GroupState};
use super::spec::AggregateSpec;
use crate::operators::tables::{Entries, KeptTable, damaged};
use crate::state::changelog::StateId;
use crate::state::store::{RunNumber, split_run};

/// Groups that are computed together: bounds the memory that this takes.
const GROUPS_MAX: usize = 8192;

/// A group by its window and key.
pub(super) type Place<'a> = (i64, &'a [u8]);

/// The runs of each group, by their numbers.
pub(super) type Runs<'a> = BTreeMap<Place<'a>, BTreeMap<RunNumber, &'a [u8]>>;

/// All runs among entries of an aggregate.
fn runs<'a>(entries: &Entries<'a>) -> Result<Runs<'a>> {
    let mut runs = Runs::new();
    for (key, value) in entries.iter().filter(|(key, _)| key.first() == Some(&GROUP)) {
        let (start, group, number) = split_run(&key[1..]).ok_or_else(|| damaged(key))?;
        runs.entry((start, group)).or_default().insert(number, value);
    }
    Ok(runs)
}

/// The groups with what they come to. `columns`: those of the group expressions.
pub(super) fn table(
    name: &'static str,
    spec: &Arc<AggregateSpec>,
    entries: &Entries<'_>,
    columns: impl Fn(&GroupState, &[Place<'_>]) -> Result<Vec<ArrayRef>>,
) -> Result<KeptTable> {
    let mut state = GroupState::new(spec.clone(), StateId::of(""))?;
    let layouts = state.take_layouts(&entries.layouts);
    layouts.map_err(|error| exec_datafusion_err!("{error}"))?;
    let runs = runs(entries)?;
    // The group without a key may be there, with a run that has no state, before any row.
    let is_state = |run: &[u8]| spec.calls.is_empty() || !run.is_empty();
    let of_rows = runs.iter().filter(|(_, runs)| runs.values().any(|run| is_state(run)));
    let places: Vec<Place<'_>> = of_rows.map(|(place, _)| *place).collect();
    let mut batches = Vec::new();
    for places in places.chunks(GROUPS_MAX) {
        let (mut of_group, mut states) = (Vec::new(), Vec::new());
        for (group, place) in places.iter().enumerate() {
            for (number, run) in runs[place].iter().filter(|(_, run)| is_state(run)) {
                of_group.push(group);
                states.push((*number, *run));
            }
        }
        let mut groups = Groups::new(spec)?;
        groups.merge_into(spec, &state.decode(&states)?, &of_group, places.len())?;
        let order: Vec<usize> = (0..places.len()).collect();
        let mut columns = columns(&state, places)?;
        // What has no value is NULL.
        columns.extend(GroupState::answers(&mut groups, &order)?.0);
        batches.push(RecordBatch::try_new(spec.schema.clone(), columns)?);
    }
    let rows = concat_batches(&spec.schema, &batches)?;
    Ok(KeptTable { name, rows, keys: (0..spec.group.len()).collect() })
}
