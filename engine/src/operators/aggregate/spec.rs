//! What an aggregate is made of: group expressions and calls.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow_row::{RowConverter, Rows as KeyRows, SortField};
use datafusion_common::{Result, ScalarValue, plan_err};
use datafusion_expr::GroupsAccumulator;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::GroupsAccumulatorAdapter;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregate};

use crate::describe::Words;
use crate::operators::filter_project::{evaluate, mask};
use crate::operators::{ExprText, Identity};
use crate::plan::user_functions::aggregate::try_rows;
use crate::state::layouts::Part;

/// What to group by and what to compute.
#[derive(Debug)]
pub struct AggregateSpec {
    /// All group expressions, bounds of a window among them.
    pub(super) group: Vec<Arc<dyn PhysicalExpr>>,
    /// Group expressions other than the bounds of a window.
    pub(super) keys: Vec<usize>,
    pub(super) calls: Vec<AggregateCall>,
    /// Group expressions, then calls.
    pub(super) schema: SchemaRef,
}

/// One aggregate function with its arguments.
#[derive(Debug)]
pub struct AggregateCall {
    pub function: Arc<AggregateFunctionExpr>,
    /// Arguments, then what the function orders by.
    pub args: Vec<Arc<dyn PhysicalExpr>>,
    pub arg_types: Vec<DataType>,
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    pub state_fields: Vec<FieldRef>,
}

impl AggregateSpec {
    pub(super) fn new_accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        self.calls.iter().map(|call| groups_accumulator(&call.function)).collect()
    }

    /// Keys of rows, by the codec of their types.
    pub(super) fn key_rows(
        &self,
        batch: &RecordBatch,
        codec: Option<&RowConverter>,
    ) -> Result<Option<KeyRows>> {
        let Some(codec) = codec else { return Ok(None) };
        let keys = self.keys.iter().map(|&index| evaluate(batch, self.group[index].as_ref()));
        Ok(Some(codec.convert_columns(&keys.collect::<Result<Vec<_>>>()?)?))
    }

    /// Appends, for each call, its arguments and then, if it has a filter, which rows it takes.
    /// Fails if one of the rows does.
    pub(super) fn arguments(&self, batch: &RecordBatch, into: &mut Vec<ArrayRef>) -> Result<()> {
        for call in &self.calls {
            let from = into.len();
            for arg in &call.args {
                into.push(evaluate(batch, arg.as_ref())?);
            }
            let filter = match &call.filter {
                Some(filter) => Some(mask(batch, filter.as_ref())?),
                None => None,
            };
            try_rows(call.function.fun(), &into[from..], filter.as_ref())?;
            if let Some(filter) = filter {
                into.push(Arc::new(filter));
            }
        }
        Ok(())
    }

    /// Its calls, each as `total = sum(amount)`.
    pub(super) fn calls_in_words(&self, words: &Words) -> Vec<String> {
        self.calls.iter().map(|call| words.computed(call.function.name())).collect()
    }

    /// What groups are told apart by, bounds of a window aside.
    pub(super) fn keys_in_words(&self, words: &Words) -> Vec<String> {
        self.keys.iter().map(|key| words.physical(&self.group[*key])).collect()
    }

    /// Keys, then calls.
    pub(super) fn details(&self, words: &Words) -> Vec<String> {
        let keys = self.keys_in_words(words);
        let by = (!keys.is_empty()).then(|| format!("by {}", keys.join(", ")));
        by.into_iter().chain(self.calls_in_words(words)).collect()
    }

    /// What its state depends on, bounds of windows aside: keys, and each call as a part.
    pub(super) fn identity(&self, head: String, text: &ExprText<'_>) -> Option<Identity> {
        let keys = self.keys.iter().map(|&key| {
            let of = self.schema.field(key).data_type();
            format!("\n  key {} of type {of}", text(&self.group[key]))
        });
        let parts = self.calls.iter().map(|call| {
            let states = call.state_fields.iter().map(|field| field.data_type());
            Part::new(call.in_text(text), call.function.name().to_owned(), states)
        });
        let parts = parts.collect::<Option<Vec<Part>>>()?;
        Some(Identity { text: format!("{head}{}", keys.collect::<String>()), parts })
    }

    pub fn codec<'a>(types: impl Iterator<Item = &'a DataType>) -> Result<Option<RowConverter>> {
        let fields: Vec<SortField> = types.cloned().map(SortField::new).collect();
        if fields.is_empty() {
            return Ok(None);
        }
        Ok(Some(RowConverter::new(fields)?))
    }
}

impl AggregateCall {
    /// `sum(DISTINCT amount) where …`
    fn in_text(&self, text: &dyn Fn(&Arc<dyn PhysicalExpr>) -> String) -> String {
        let function = &self.function;
        let arguments = function.expressions();
        let args: Vec<String> = arguments.iter().map(text).collect();
        let distinct = if function.is_distinct() { "DISTINCT " } else { "" };
        let mut words = format!("{}({distinct}{})", function.fun().name(), args.join(", "));
        if !function.order_bys().is_empty() {
            let by = function.order_bys().iter().map(|by| {
                let how = if by.options.descending { " DESC" } else { "" };
                let nulls = if by.options.nulls_first { " NULLS FIRST" } else { "" };
                format!("{}{how}{nulls}", text(&by.expr))
            });
            words.push_str(&format!(" ordered by {}", by.collect::<Vec<_>>().join(", ")));
        }
        if function.ignore_nulls() {
            words.push_str(" ignoring nulls");
        }
        if let Some(filter) = &self.filter {
            words.push_str(&format!(" where {}", text(filter)));
        }
        words
    }

    /// What is kept of it where no row has come.
    pub(super) fn state_of_nothing(&self) -> Result<Vec<ArrayRef>> {
        let states = self.function.create_accumulator()?.state()?.into_iter();
        let typed = states.zip(&self.state_fields);
        let typed = typed.map(|(state, field)| state.cast_to(field.data_type())?.to_array());
        typed.collect()
    }

    /// What it answers over no rows. (Of a group that was given none, a vectorised accumulator
    /// may answer anything.)
    pub(super) fn of_nothing(&self) -> Result<ScalarValue> {
        self.function.create_accumulator()?.evaluate()
    }

    /// `input`: what its arguments are columns of.
    pub fn new(lowered: LoweredAggregate, input: &Schema) -> Result<AggregateCall> {
        let function = lowered.aggregate;
        let ordered = !function.order_bys().is_empty();
        // These do not sort what they are given, and a stream does not come sorted.
        let needs_sorted_input = function.order_sensitivity().hard_requires()
            && !function.fun().supports_within_group_clause()
            && function.fun().name() != "string_agg";
        if ordered && needs_sorted_input {
            let name = function.fun().name();
            return plan_err!("ORDER BY within {name} is not there yet; leave it out");
        }
        let mut args = function.expressions();
        args.extend(function.order_bys().iter().map(|by| by.expr.clone()));
        let arg_types = args.iter().map(|arg| arg.data_type(input)).collect::<Result<_>>()?;
        let state_fields = function.state_fields()?;
        Ok(AggregateCall { function, args, arg_types, filter: lowered.filter, state_fields })
    }
}

pub(super) fn groups_accumulator(
    function: &Arc<AggregateFunctionExpr>,
) -> Result<Box<dyn GroupsAccumulator>> {
    if function.groups_accumulator_supported() {
        return function.create_groups_accumulator();
    }
    let function = function.clone();
    Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
}

/// Keys and calls, a line each.
impl fmt::Display for AggregateSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |index: usize| self.schema.field(index).name();
        for &key in &self.keys {
            write!(f, "\n  key {} = {}", name(key), self.group[key])?;
        }
        for call in &self.calls {
            let distinct = if call.function.is_distinct() { "DISTINCT " } else { "" };
            let args: Vec<String> = call.args.iter().map(|arg| arg.to_string()).collect();
            let function = call.function.fun().name();
            write!(f, "\n  {} = {function}({distinct}{})", call.function.name(), args.join(", "))?;
            if !call.function.order_bys().is_empty() {
                let by: Vec<String> =
                    call.function.order_bys().iter().map(ToString::to_string).collect();
                write!(f, " ordered by {}", by.join(", "))?;
            }
            if call.function.ignore_nulls() {
                f.write_str(" ignoring nulls")?;
            }
            if let Some(filter) = &call.filter {
                write!(f, " where {filter}")?;
            }
        }
        Ok(())
    }
}
