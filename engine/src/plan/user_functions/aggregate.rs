//! A value for a group of rows.
//!
//! The rule: a group's state is bytes that the module gives and takes back, so that it is kept,
//! moved and merged as any other; NULL is that of a group without rows. One call has all rows of a
//! batch, and the states of the groups that they are of. A group that has no value in the end fails
//! by itself, where somebody asks for that ([`finishing`]). So does one whose state a module cannot
//! go on from, where whoever works goes on without it ([`goes_on`]): the reason is its state then,
//! which no row changes, and wherever it goes it makes a group fail.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::compute::{concat, filter, prep_null_mask_filter, take};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature,
};
use udfs::CallError;

use super::Overloads;
use super::slot::Current;
use crate::operators::failed_groups::{Failed, goes_on};
use crate::operators::reason;

/// How the state of a group begins that failed; the reason follows, in UTF-8. A module that gives
/// such a state says that its group fails.
const FAILED: &[u8] = b"\0millstream: failed\0";

thread_local! {
    /// Groups that have no value, where somebody asks for them.
    static FAILING: RefCell<Option<Failed>> = const { RefCell::new(None) };
}

/// Has an aggregate say what its groups come to. Those for which a module fails have NULL, and are
/// told of by their places among all of them.
pub(crate) fn finishing<T>(finish: impl FnOnce() -> Result<T>) -> Result<(T, Failed)> {
    let before = FAILING.replace(Some(Failed::new()));
    let finished = finish();
    let failed = FAILING.replace(before).unwrap_or_default();
    finished.map(|values| (values, failed))
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Aggregate(pub Overloads);

impl Aggregate {
    fn states(&self, args: &AccumulatorArgs<'_>) -> Result<States> {
        let types = args.expr_fields.iter().map(|field| field.data_type().clone());
        self.states_of(&types.collect::<Vec<_>>())
    }

    fn states_of(&self, types: &[DataType]) -> Result<States> {
        let (place, _) = self.0.chosen(types)?;
        Ok(States { overloads: self.0.clone(), place, states: Vec::new() })
    }
}

/// Whether it is of a module.
pub(crate) fn is_of_module(function: &AggregateUDF) -> bool {
    function.inner().downcast_ref::<Aggregate>().is_some()
}

/// Fails if one of these rows does, whatever group it is of; changes nothing. What is built in
/// fails for no row.
///
/// An aggregate takes all rows of a batch at once, and what others have taken of them by then
/// cannot be taken back: so a row that fails has to be found before.
pub(crate) fn try_rows(
    function: &AggregateUDF,
    arguments: &[ArrayRef],
    mask: Option<&BooleanArray>,
) -> Result<()> {
    let Some(aggregate) = function.inner().downcast_ref::<Aggregate>() else { return Ok(()) };
    // Without arguments all rows are alike.
    let Some(first) = arguments.first() else { return Ok(()) };
    let types: Vec<DataType> = arguments.iter().map(|of| of.data_type().clone()).collect();
    let mut states = aggregate.states_of(&types)?;
    states.grow(1);
    let (arguments, groups) = passing(arguments, &vec![0; first.len()], mask)?;
    states.update(&arguments, &groups, false)
}

/// Why a group failed that has this state.
fn failure(state: &[u8]) -> Option<String> {
    state.strip_prefix(FAILED).map(|reason| String::from_utf8_lossy(reason).into_owned())
}

impl AggregateUDFImpl for Aggregate {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerced(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.0.chosen(types)?.1.returns.clone())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[state]", args.name);
        Ok(vec![Arc::new(Field::new(name, DataType::Binary, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.states(&args)?)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.states(&args)?))
    }
}

/// The states of groups, by their numbers.
#[derive(Clone, Debug)]
struct States {
    overloads: Overloads,
    /// Which overload it is.
    place: usize,
    states: Vec<Option<Vec<u8>>>,
}

/// The groups of some rows: each once, and for each row the place of its group among them.
struct Touched {
    groups: Vec<usize>,
    places: UInt32Array,
}

impl Touched {
    fn new(group_indices: &[usize]) -> Touched {
        let mut groups = Vec::new();
        let mut place_of = HashMap::new();
        let places = group_indices.iter().map(|group| {
            *place_of.entry(*group).or_insert_with(|| {
                groups.push(*group);
                groups.len() as u32 - 1
            })
        });
        let places = UInt32Array::from_iter_values(places);
        Touched { groups, places }
    }
}

impl States {
    fn failed(&self, error: &CallError) -> DataFusionError {
        exec_datafusion_err!("function {}: {}", self.overloads.name(), error.reason)
    }

    /// The module that is there now, and the function's number in it.
    fn current(&self) -> (Arc<Current>, usize) {
        let current = self.overloads.slot.current();
        let function = current.indices[self.place];
        (current, function)
    }

    fn of(&self, groups: &[usize]) -> BinaryArray {
        groups.iter().map(|group| self.states[*group].as_deref()).collect()
    }

    fn put(&mut self, groups: &[usize], states: &BinaryArray) {
        for (group, state) in groups.iter().zip(states) {
            self.states[*group] = state.map(<[u8]>::to_vec);
        }
    }

    /// Why a group failed.
    fn failure(&self, group: usize) -> Option<String> {
        self.states[group].as_deref().and_then(failure)
    }

    /// Has a group fail for good.
    fn fail(&mut self, group: usize, reason: &str) {
        self.states[group] = Some([FAILED, reason.as_bytes()].concat());
    }

    /// The places in `group_indices` that are of groups that have not failed.
    fn standing(&self, group_indices: &[usize]) -> Vec<usize> {
        let stands = |place: &usize| self.failure(group_indices[*place]).is_none();
        (0..group_indices.len()).filter(stands).collect()
    }

    fn grow(&mut self, total: usize) {
        if self.states.len() < total {
            self.states.resize(total, None);
        }
    }

    /// Takes rows into their groups. Groups that fail for good are left out of it, where that may
    /// be.
    fn update_each(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        is_retraction: bool,
    ) -> Result<()> {
        let standing = self.standing(group_indices);
        if standing.len() < group_indices.len() {
            let (values, groups) = rows_at(values, group_indices, &standing)?;
            return self.update_each(&values, &groups, is_retraction);
        }
        let Err(error) = self.update(values, group_indices, is_retraction) else { return Ok(()) };
        self.apart(error, group_indices, |states, places| {
            let (values, groups) = rows_at(values, group_indices, places)?;
            states.update_each(&values, &groups, is_retraction)
        })
    }

    /// Goes on after some groups failed together: has the single one fail, or does the work again
    /// by halves of them.
    fn apart(
        &mut self,
        error: DataFusionError,
        group_indices: &[usize],
        work: impl Fn(&mut States, &[usize]) -> Result<()>,
    ) -> Result<()> {
        if !goes_on() {
            return Err(error);
        }
        let mut groups = group_indices.to_vec();
        groups.sort_unstable();
        groups.dedup();
        if let [group] = groups[..] {
            let reason = reason(error);
            self.fail(group, &format!("{reason}; its group has no value from there on"));
            return Ok(());
        }
        let middle = groups[groups.len() / 2];
        let (left, right): (Vec<usize>, Vec<usize>) =
            (0..group_indices.len()).partition(|place| group_indices[*place] < middle);
        work(self, &left)?;
        work(self, &right)
    }

    fn update(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        is_retraction: bool,
    ) -> Result<()> {
        if group_indices.is_empty() {
            return Ok(());
        }
        let signature = &self.overloads.slot.signatures[self.place];
        let rows = group_indices.len();
        let arguments = self.overloads.with_defaults(signature, values.to_vec(), rows)?;
        let Touched { groups, places } = Touched::new(group_indices);
        let states = self.of(&groups);
        let (current, function) = self.current();
        let updated = current.module.update(function, &states, &places, &arguments, is_retraction);
        let updated = updated.map_err(|error| self.failed(&error))?;
        self.put(&groups, &updated);
        Ok(())
    }

    /// Adds states to those of groups, as [`States::update_each`].
    fn merge_each(&mut self, others: &BinaryArray, group_indices: &[usize]) -> Result<()> {
        for (other, group) in others.iter().zip(group_indices) {
            if let (Some(reason), None) = (other.and_then(failure), self.failure(*group)) {
                self.fail(*group, &reason);
            }
        }
        let mut kept = self.standing(group_indices);
        // A state that is NULL adds nothing.
        kept.retain(|row| others.is_valid(*row));
        if kept.is_empty() {
            return Ok(());
        }
        let others: BinaryArray = kept.iter().map(|row| Some(others.value(*row))).collect();
        let groups: Vec<usize> = kept.iter().map(|row| group_indices[*row]).collect();
        let Err(error) = self.merge(&others, &groups) else { return Ok(()) };
        self.apart(error, &groups, |states, places| {
            let others: BinaryArray = places.iter().map(|row| Some(others.value(*row))).collect();
            let groups: Vec<usize> = places.iter().map(|row| groups[*row]).collect();
            states.merge_each(&others, &groups)
        })
    }

    fn merge(&mut self, others: &BinaryArray, group_indices: &[usize]) -> Result<()> {
        let Touched { groups, places } = Touched::new(group_indices);
        let states = self.of(&groups);
        let (current, function) = self.current();
        let merged = current.module.merge(function, &states, &places, others);
        let merged = merged.map_err(|error| self.failed(&error))?;
        self.put(&groups, &merged);
        Ok(())
    }

    fn finish(&self, states: &[Option<Vec<u8>>]) -> Result<ArrayRef> {
        if let Some(reason) = states.iter().flatten().find_map(|state| failure(state)) {
            return Err(exec_datafusion_err!("{reason}"));
        }
        let states: BinaryArray = states.iter().map(Option::as_deref).collect();
        let (current, function) = self.current();
        current.module.finish(function, &states).map_err(|error| self.failed(&error))
    }

    /// The same, but that a group that fails has NULL and is told of, if somebody asks for it.
    fn finish_each(&self, states: &[Option<Vec<u8>>], first: usize) -> Result<ArrayRef> {
        let error = match self.finish(states) {
            Ok(values) => return Ok(values),
            Err(error) => error,
        };
        if FAILING.with_borrow(Option::is_none) {
            return Err(error);
        }
        let count = states.len();
        if count <= 1 {
            FAILING.with_borrow_mut(|failing| {
                failing.get_or_insert_default().insert(first, reason(error));
            });
            let returns = &self.overloads.slot.signatures[self.place].returns;
            return Ok(new_null_array(returns, count));
        }
        let (left, right) = states.split_at(count / 2);
        let left = self.finish_each(left, first)?;
        let right = self.finish_each(right, first + count / 2)?;
        Ok(concat(&[&left, &right])?)
    }

    fn bytes(&self) -> usize {
        let of_states = self.states.iter().flatten().map(Vec::capacity).sum::<usize>();
        of_states + self.states.capacity() * size_of::<Option<Vec<u8>>>()
    }
}

/// The rows that a FILTER lets pass, and their groups.
fn passing(
    columns: &[ArrayRef],
    group_indices: &[usize],
    mask: Option<&BooleanArray>,
) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
    let Some(mask) = mask else { return Ok((columns.to_vec(), group_indices.to_vec())) };
    let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
    let columns = columns.iter().map(|column| filter(column, &mask)).collect::<Result<_, _>>()?;
    let groups = mask.values().set_indices().map(|row| group_indices[row]).collect();
    Ok((columns, groups))
}

/// These rows, and their groups.
fn rows_at(
    columns: &[ArrayRef],
    group_indices: &[usize],
    places: &[usize],
) -> Result<(Vec<ArrayRef>, Vec<usize>)> {
    let taken: UInt64Array = places.iter().map(|place| Some(*place as u64)).collect();
    let columns = columns.iter().map(|column| take(column, &taken, None));
    let groups = places.iter().map(|place| group_indices[*place]).collect();
    Ok((columns.collect::<Result<_, _>>()?, groups))
}

impl GroupsAccumulator for States {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let (values, groups) = passing(values, group_indices, opt_filter)?;
        self.update_each(&values, &groups, false)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        self.merge_each(values[0].as_binary(), group_indices)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let states = emit_to.take_needed(&mut self.states);
        self.finish_each(&states, 0)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let states = emit_to.take_needed(&mut self.states);
        Ok(vec![Arc::new(states.iter().map(Option::as_deref).collect::<BinaryArray>())])
    }

    /// Each row as a group of its own.
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |column| column.len());
        let mut each = States { states: vec![None; rows], ..self.clone() };
        let groups: Vec<usize> = (0..rows).collect();
        let (values, groups) = passing(values, &groups, opt_filter)?;
        each.update_each(&values, &groups, false)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.bytes()
    }
}

/// The same, of a single group.
#[derive(Debug)]
struct OneGroup(States);

impl OneGroup {
    fn update(&mut self, values: &[ArrayRef], is_retraction: bool) -> Result<()> {
        self.0.grow(1);
        let rows = values.first().map_or(0, |column| column.len());
        self.0.update_each(values, &vec![0; rows], is_retraction)
    }
}

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.update(values, false)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.update(values, true)
    }

    fn supports_retract_batch(&self) -> bool {
        let signature = &self.0.overloads.slot.signatures[self.0.place];
        signature.kind == udfs::Kind::Aggregate { retracts: true }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.grow(1);
        self.0.merge_each(states[0].as_binary(), &vec![0; states[0].len()])
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.grow(1);
        Ok(vec![ScalarValue::Binary(self.0.states[0].clone())])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.grow(1);
        ScalarValue::try_from_array(&self.0.finish_each(&self.0.states, 0)?, 0)
    }

    fn size(&self) -> usize {
        self.0.bytes()
    }
}
