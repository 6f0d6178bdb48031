//! A value for a group of rows.
//!
//! The rule: a group's state is bytes that the module gives and takes back, so that it is kept,
//! moved and merged as any other; NULL is that of a group without rows. One call has all rows of a
//! batch, and the states of the groups that they are of. A group that has no value in the end fails
//! by itself, where somebody asks for that ([`finishing`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, UInt32Array, new_null_array,
};
use arrow::compute::{concat, filter, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_datafusion_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature,
};
use udfs::CallError;

use super::Overloads;
use super::slot::Current;
use crate::operators::failed_groups::Failed;
use crate::operators::reason;

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

    fn grow(&mut self, total: usize) {
        if self.states.len() < total {
            self.states.resize(total, None);
        }
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

    fn merge(&mut self, others: &ArrayRef, group_indices: &[usize]) -> Result<()> {
        // A state that is NULL adds nothing.
        let there = others.as_binary::<i32>();
        let kept: Vec<usize> = (0..there.len()).filter(|row| there.is_valid(*row)).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let others: BinaryArray = kept.iter().map(|row| Some(there.value(*row))).collect();
        let of_kept: Vec<usize> = kept.iter().map(|row| group_indices[*row]).collect();
        let Touched { groups, places } = Touched::new(&of_kept);
        let states = self.of(&groups);
        let (current, function) = self.current();
        let merged = current.module.merge(function, &states, &places, &others);
        let merged = merged.map_err(|error| self.failed(&error))?;
        self.put(&groups, &merged);
        Ok(())
    }

    fn finish(&self, states: &[Option<Vec<u8>>]) -> Result<ArrayRef> {
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
        self.update(&values, &groups, false)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        self.merge(&values[0], group_indices)
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
        each.update(&values, &groups, false)?;
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
        self.0.update(values, &vec![0; rows], is_retraction)
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
        self.0.merge(&states[0], &vec![0; states[0].len()])
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
