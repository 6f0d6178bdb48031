//! Groups in two parts: what has come since the last commit, in accumulators, and what was
//! committed, as bytes.
//!
//! The accumulators hold what is new of all windows together, so a batch is taken in one go
//! whatever windows its rows lie in, and a commit costs what has changed, not what is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::compute::{cast, interleave, take};
use arrow::datatypes::DataType;
use arrow_row::{RowConverter, Rows as KeyRows};
use datafusion_common::Result;
use datafusion_expr::EmitTo;

use super::accumulated::{Groups, take_states};
use super::spec::AggregateSpec;
use crate::operators::failed_groups::Failed;
use crate::plan::user_functions::aggregate::finishing;
use crate::state::changelog::{StateError, StateId};
use crate::state::layouts::Layouts;
use crate::state::map::Bytes;
pub use crate::state::store::GROUP;
use crate::state::store::{Run, RunNumber, WindowStore};

/// Runs are not merged beyond this, so that no record of the changelog outgrows what a topic
/// takes (`max.message.bytes` is 1 MiB by default).
const RUN_BYTES_MAX: usize = 256 << 10;

/// Groups of an aggregate, by window and key. Where there are no windows, all lie in that of 0.
pub struct GroupState {
    pub spec: Arc<AggregateSpec>,
    /// Of the group keys; `None` if there are none.
    pub key_codec: Option<RowConverter>,
    /// Of all states of all calls; `None` if there are none.
    state_codec: Option<RowConverter>,
    /// The version of the layout that is written.
    version: usize,
    /// By version: those that are not written any more.
    older: BTreeMap<usize, OlderLayout>,
    pub new: Groups,
    pub committed: WindowStore,
}

/// How states were written before.
struct OlderLayout {
    codec: RowConverter,
    /// For each call, where its states begin among those of a value, if they are there.
    places: Vec<Option<usize>>,
}

/// A run's number and its state.
pub type StoredRun<'r> = (RunNumber, &'r [u8]);

impl GroupState {
    pub fn new(spec: Arc<AggregateSpec>, id: StateId) -> Result<GroupState> {
        let fields = spec.schema.fields();
        let keys = spec.keys.iter().map(|&index| fields[index].data_type());
        let states = spec.calls.iter().flat_map(|call| &call.state_fields);
        let mut committed = WindowStore::new(id);
        let is_single = states.clone().all(|field| has_one_length(field.data_type()));
        committed.single_up_to(is_single.then_some(0));
        Ok(GroupState {
            key_codec: AggregateSpec::codec(keys)?,
            state_codec: AggregateSpec::codec(states.map(|field| field.data_type()))?,
            version: 0,
            older: BTreeMap::new(),
            new: Groups::new(&spec)?,
            committed,
            spec,
        })
    }

    /// Each window is a session, of which there are many.
    pub fn of_sessions(self) -> GroupState {
        GroupState { committed: self.committed.uncounted(), ..self }
    }

    /// Goes on with states that were written in other layouts.
    pub fn take_layouts(&mut self, layouts: &Layouts) -> Result<(), StateError> {
        let damaged = || StateError::Damaged("the layout of an aggregate's state".to_owned());
        self.version = layouts.latest();
        let states = self.spec.calls.iter().flat_map(|call| &call.state_fields);
        let mut is_single = states.map(|field| field.data_type()).all(has_one_length);
        for version in 0..self.version {
            let mut types = layouts.types(version).ok_or_else(damaged)?;
            is_single &= types.iter().flatten().all(has_one_length);
            let places = layouts.places(version);
            for (call, place) in self.spec.calls.iter().zip(&places) {
                if let Some(part) = *place {
                    // Names within them may have changed, and are those of now.
                    let now = call.state_fields.iter().map(|field| field.data_type().clone());
                    types[part] = now.collect();
                }
            }
            let mut starts = Vec::with_capacity(types.len());
            types.iter().fold(0, |start, types| {
                starts.push(start);
                start + types.len()
            });
            let codec = AggregateSpec::codec(types.iter().flatten()).ok().flatten();
            let codec = codec.ok_or_else(damaged)?;
            let places = places.into_iter();
            let places = places.map(|place| place.map(|part| starts[part])).collect();
            self.older.insert(version, OlderLayout { codec, places });
        }
        self.committed.single_up_to(is_single.then_some(self.version));
        Ok(())
    }

    /// The columns of group keys, in the order of `keys`.
    pub fn key_columns<'k>(&self, keys: impl Iterator<Item = &'k [u8]>) -> Result<Vec<ArrayRef>> {
        let Some(codec) = &self.key_codec else { return Ok(Vec::new()) };
        let parser = codec.parser();
        Ok(codec.convert_rows(keys.map(|key| parser.parse(key)))?)
    }

    /// What each call answers for these groups, in their order, and for which one does not.
    pub fn answers(groups: &mut Groups, order: &[usize]) -> Result<(Vec<ArrayRef>, Failed)> {
        let places: UInt64Array = order.iter().map(|&group| Some(group as u64)).collect();
        let mut failed = Failed::new();
        let answers = groups.accumulators.iter_mut().map(|accumulator| {
            let (values, failing) = finishing(|| accumulator.evaluate(EmitTo::All))?;
            failed.extend(failing);
            Ok(take(&values, &places, None)?)
        });
        let answers = answers.collect::<Result<_>>()?;
        if !failed.is_empty() {
            let of_group = |(at, group)| Some((at, failed.get(group)?.clone()));
            failed = order.iter().enumerate().filter_map(of_group).collect();
        }
        Ok((answers, failed))
    }

    /// Takes what is new into the committed state. The groups that have changed, in the order of
    /// windows and keys.
    pub fn commit(&mut self) -> Result<Vec<Changed>> {
        if self.new.table.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.new.states()?;
        let encoded = self.encode(&states)?;
        let mut changed = Vec::with_capacity(self.new.table.len());
        let mut merging = Merging::default();
        for group in self.new.table.sorted() {
            let (window_start_ms, key) =
                (self.new.table.window_start_ms(group), self.new.table.key(group));
            let state = encoded.as_ref().map_or(&[][..], |rows| rows.row(group).data());
            let before = self.committed.runs(window_start_ms, key)?;
            let kept = match self.committed.is_single() {
                true => 0,
                false => runs_to_keep(&before, state.len()),
            };
            let mut after = before[..kept].to_vec();
            if kept == before.len() {
                let place = before.last().map_or(0, |run| run.number.place() + 1);
                let number = RunNumber::new(self.version, place);
                after.push(Run { number, state: state.into() });
            } else {
                for run in before[kept..].iter().filter(|run| !run.state.is_empty()) {
                    merging.groups.push(merging.of.len());
                    merging.runs.push(run.clone());
                }
                let merged = self.merged(&before[kept]);
                for run in before[kept..].iter().filter(|run| run.number != merged) {
                    self.committed.remove(window_start_ms, key, run.number)?;
                }
                merging.of.push((changed.len(), group));
            }
            changed.push(Changed { window_start_ms, key: key.into(), before, after });
        }
        self.merge_runs(merging, &states, &mut changed)?;
        for Changed { window_start_ms, key, before, after } in &changed {
            if let Some(last) = after.last() {
                let was_there = before.iter().any(|run| run.number == last.number);
                self.committed.put_known(*window_start_ms, key, last.clone(), was_there)?;
            }
        }
        self.new.clear(&self.spec)?;
        Ok(changed)
    }

    /// Notes that the group without a key is there, though no row has come: as a run without a
    /// state. Whether that is news.
    pub fn begin(&mut self, window_start_ms: i64) -> Result<bool> {
        let is_there = !self.committed.runs(window_start_ms, &[])?.is_empty();
        if !is_there {
            let run = Run { number: RunNumber::new(self.version, 0), state: Bytes::from(&[][..]) };
            self.committed.put(window_start_ms, &[], run)?;
        }
        Ok(!is_there)
    }

    /// What a run is called that others were merged into.
    fn merged(&self, first: &Run) -> RunNumber {
        RunNumber::new(self.version, first.number.place())
    }

    /// Merges committed runs with what is new of the same groups.
    fn merge_runs(
        &self,
        merging: Merging,
        states: &[Vec<ArrayRef>],
        changed: &mut [Changed],
    ) -> Result<()> {
        if merging.of.is_empty() {
            return Ok(());
        }
        let mut merged = Groups::new(&self.spec)?;
        let runs: Vec<StoredRun<'_>> = merging.runs.iter().map(Run::stored).collect();
        let total = merging.of.len();
        // Given no rows at all, accumulators would take it that every group has had some.
        if !runs.is_empty() {
            merged.merge_into(&self.spec, &self.decode(&runs)?, &merging.groups, total)?;
        }
        let new: Vec<usize> = merging.of.iter().map(|(_, group)| *group).collect();
        let new_states = take_states(states, &new)?;
        merged.merge_into(&self.spec, &new_states, &(0..total).collect::<Vec<_>>(), total)?;
        let encoded = self.encode(&merged.states()?)?;
        for (at, (place, _)) in merging.of.iter().enumerate() {
            let Changed { before, after, .. } = &mut changed[*place];
            let state = encoded.as_ref().map_or(&[][..], |rows| rows.row(at).data());
            // It takes the place of the first one that was merged.
            after.push(Run { number: self.merged(&before[after.len()]), state: state.into() });
        }
        Ok(())
    }

    /// Takes up what [`GroupState::commit`] has written, the first byte of the key left out.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"));
        Ok(self.committed.restore(key, value).ok_or_else(damaged)??)
    }

    fn encode(&self, states: &[Vec<ArrayRef>]) -> Result<Option<KeyRows>> {
        let Some(codec) = &self.state_codec else { return Ok(None) };
        let fields = self.spec.calls.iter().flat_map(|call| &call.state_fields);
        let columns = states
            .iter()
            .flatten()
            .zip(fields)
            .map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(column.clone()),
                false => cast(column, field.data_type()),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(codec.convert_columns(&columns)?))
    }

    /// The states of each call, one row per run.
    pub fn decode(&self, runs: &[StoredRun<'_>]) -> Result<Vec<Vec<ArrayRef>>> {
        let Some(codec) = &self.state_codec else { return Ok(Vec::new()) };
        if runs.iter().any(|(number, _)| number.version() != self.version) {
            return self.decode_versions(runs, codec);
        }
        let parser = codec.parser();
        let columns = codec.convert_rows(runs.iter().map(|(_, run)| parser.parse(run)))?;
        Ok(self.by_call(columns))
    }

    fn by_call(&self, columns: Vec<ArrayRef>) -> Vec<Vec<ArrayRef>> {
        let (mut columns, calls) = (columns.into_iter(), self.spec.calls.iter());
        calls.map(|call| columns.by_ref().take(call.state_fields.len()).collect()).collect()
    }

    /// The same, of runs in several layouts: what one of them does not have is as of no rows.
    fn decode_versions(
        &self,
        runs: &[StoredRun<'_>],
        latest: &RowConverter,
    ) -> Result<Vec<Vec<ArrayRef>>> {
        let mut of_version: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, (number, _)) in runs.iter().enumerate() {
            of_version.entry(number.version()).or_default().push(at);
        }
        let mut parts: Vec<Vec<ArrayRef>> = Vec::new();
        // Where each run is among all parts.
        let mut places = vec![(0, 0); runs.len()];
        for (part, (version, of)) in of_version.into_iter().enumerate() {
            of.iter().enumerate().for_each(|(row, &at)| places[at] = (part, row));
            let older = self.older.get(&version);
            let codec = older.map_or(latest, |older| &older.codec);
            let parser = codec.parser();
            let rows = of.iter().map(|&at| parser.parse(runs[at].1));
            let columns = codec.convert_rows(rows)?;
            parts.push(match older {
                None => columns,
                Some(older) => self.as_of_now(older, &columns, of.len())?,
            });
        }
        let column = |index: usize| {
            let of_parts: Vec<&dyn Array> = parts.iter().map(|part| part[index].as_ref()).collect();
            interleave(&of_parts, &places)
        };
        let count = parts.first().map_or(0, Vec::len);
        let columns = (0..count).map(column).collect::<Result<Vec<_>, _>>()?;
        Ok(self.by_call(columns))
    }

    /// The columns of an older layout as those of the one that is written.
    fn as_of_now(
        &self,
        older: &OlderLayout,
        columns: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<ArrayRef>> {
        let mut now = Vec::new();
        for (call, place) in self.spec.calls.iter().zip(&older.places) {
            match place {
                Some(start) => {
                    now.extend_from_slice(&columns[*start..start + call.state_fields.len()]);
                }
                None => {
                    let first = UInt64Array::from(vec![0; rows]);
                    for nothing in call.state_of_nothing()? {
                        now.push(take(&nothing, &first, None)?);
                    }
                }
            }
        }
        Ok(now)
    }
}

/// Whether arrow-row writes all values of this type, NULL too, in as many bytes.
fn has_one_length(of: &DataType) -> bool {
    of.is_primitive() || matches!(of, DataType::Boolean | DataType::FixedSizeBinary(_))
}

/// A group, and its runs before a commit and after it.
pub struct Changed {
    pub window_start_ms: i64,
    pub key: Box<[u8]>,
    pub before: Vec<Run>,
    pub after: Vec<Run>,
}

/// Groups whose last committed runs are to be merged with what is new.
#[derive(Default)]
struct Merging {
    /// The place among those that have changed, and the group among those that are new.
    of: Vec<(usize, usize)>,
    /// Runs to merge, each with its place in `of`.
    runs: Vec<Run>,
    groups: Vec<usize>,
}

/// How many of a group's runs stay as they are when one of `new_len` bytes comes: the last ones
/// are merged with it while they are no more than twice as large.
fn runs_to_keep(runs: &[Run], new_len: usize) -> usize {
    let mut merged_len = new_len;
    let mut kept = runs.len();
    while let Some(run) = kept.checked_sub(1).map(|last| &runs[last]) {
        if run.state.len() > 2 * merged_len || run.state.len() + merged_len > RUN_BYTES_MAX {
            break;
        }
        merged_len += run.state.len();
        kept -= 1;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(place: u32, len: usize) -> Run {
        Run { number: RunNumber::new(0, place), state: vec![0; len].into() }
    }

    #[test]
    fn runs_of_like_size_merge_and_larger_ones_stay() {
        assert_eq!(runs_to_keep(&[], 10), 0);
        assert_eq!(runs_to_keep(&[run(0, 10)], 10), 0);
        assert_eq!(runs_to_keep(&[run(0, 21)], 10), 1);
        assert_eq!(runs_to_keep(&[run(0, 70), run(1, 20)], 10), 1);
        assert_eq!(runs_to_keep(&[run(0, 60), run(1, 20)], 10), 0);
        assert_eq!(runs_to_keep(&[run(0, RUN_BYTES_MAX)], RUN_BYTES_MAX), 1);
    }
}
