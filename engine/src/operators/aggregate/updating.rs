//! Groups that never are complete, told whenever they change.
//!
//! The rule: what has come out, less what was taken back, is what batch SQL answers over the rows
//! that came in. A group that changed between two flushes comes out once: its old row is taken back
//! and its new one follows, or only the latter if it is new. One that answers as before does not
//! come out. Groups come in the order of their keys. An aggregate without GROUP BY has one group,
//! which is there from the beginning, and answers as over no rows.
//!
//! Old and new row are computed from what is committed before and after, never from what was told,
//! so they are the same bytes whatever happened in between.
//!
//! Rows that come in are not taken back.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt64Array,
    new_null_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::SchemaRef;
use arrow_row::{RowConverter, SortField};
use datafusion_common::Result;
use datafusion_physical_expr::PhysicalExpr;

use super::accumulated::Groups;
use super::kept;
use super::partial::{BeforeMeeting, CombinedRows, Merged};
use super::runs::{GROUP, GroupState};
use super::spec::{AggregateCall, AggregateSpec};
use crate::describe::{Described, Keeps, Until, Words};
use crate::operators::failed_groups::{self, Failed};
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::{Distribution, ExprText, Identity, Kept, Operator, OperatorSpec, Prepared};
use crate::plan::user_functions::aggregate::finishing;
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::layouts::Layouts;
use crate::state::map::StateMap;
use crate::state::store::Run;
use crate::time::Watermark;

/// Where groups without a window lie.
const NO_WINDOW: i64 = 0;
/// Groups that are told together: bounds the memory that telling takes.
const TOLD_MAX: usize = 8192;

/// What to group by and what to compute, without a window.
#[derive(Debug)]
pub struct UpdatingSpec {
    aggregate: Arc<AggregateSpec>,
}

/// The operator.
pub struct UpdatingAggregate {
    groups: GroupState,
    /// Tells answers apart; `None` if nothing is computed.
    answer_codec: Option<RowConverter>,
    /// The one group without a key is to be told even of no rows.
    begins: bool,
}

impl UpdatingSpec {
    pub fn new(
        group: Vec<Arc<dyn PhysicalExpr>>,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> UpdatingSpec {
        let keys = (0..group.len()).collect();
        UpdatingSpec { aggregate: Arc::new(AggregateSpec { group, keys, calls, schema }) }
    }
}

impl fmt::Display for UpdatingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aggregate{}", self.aggregate)
    }
}

impl OperatorSpec for UpdatingSpec {
    fn schema(&self) -> &SchemaRef {
        &self.aggregate.schema
    }

    fn distribution(&self, _side: usize) -> Distribution {
        Distribution::by(self.aggregate.group.iter().cloned())
    }

    fn settles(&self) -> bool {
        true
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        vec![(0..self.aggregate.group.len()).collect()]
    }

    fn before_meeting(&self, _side: usize) -> BeforeMeeting {
        BeforeMeeting::of(&self.aggregate, None)
    }

    fn describe(&self, words: &Words) -> Described {
        let aggregate = &self.aggregate;
        let by = aggregate.keys_in_words(words);
        let (title, what) = match aggregate.calls.is_empty() {
            true => ("distinct", "a note"),
            false => ("aggregate", "the aggregates"),
        };
        let keeps = Keeps::new(what, by, Until::Never);
        Described { title: title.to_owned(), details: aggregate.details(words), keeps }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let table = kept::table("groups", &self.aggregate, entries, |state, places| {
            state.key_columns(places.iter().map(|(_, key)| *key))
        });
        Ok(vec![table?])
    }

    fn identity(&self, text: &ExprText<'_>) -> Option<Identity> {
        self.aggregate.identity("aggregate".to_owned(), text)
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        Ok(Box::new(UpdatingAggregate {
            answer_codec: answer_codec(&self.aggregate)?,
            groups: GroupState::new(self.aggregate.clone(), id)?,
            begins: false,
        }))
    }
}

/// Tells answers of all calls apart; `None` if there are none.
pub(super) fn answer_codec(spec: &AggregateSpec) -> Result<Option<RowConverter>> {
    let answers = &spec.schema.fields()[spec.group.len()..];
    let fields = answers.iter().map(|field| SortField::new(field.data_type().clone()));
    let fields: Vec<SortField> = fields.collect();
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(Some(RowConverter::new(fields)?))
}

/// How some groups stand: one row each, in an order that is the same before and after a change.
pub(super) struct Standing {
    /// Whether there is such a group.
    pub present: BooleanArray,
    /// What each call answers; nothing is meant where there is no group.
    pub answers: Vec<ArrayRef>,
    /// Groups that would be there, if their aggregates had a value.
    pub failed: Failed,
}

impl Standing {
    /// A group without a value is none.
    pub fn new(present: Vec<bool>, answers: Vec<ArrayRef>, mut failed: Failed) -> Standing {
        failed.retain(|group, _| present[*group]);
        let is_there = |(group, present)| Some(present && !failed.contains_key(&group));
        let present = present.into_iter().enumerate().map(is_there).collect();
        Standing { present, answers, failed }
    }
}

/// The rows that groups with these `keys` give when they changed from one standing to another.
pub(super) fn told(
    schema: &SchemaRef,
    keys: &[ArrayRef],
    codec: Option<&RowConverter>,
    before: &Standing,
    after: &Standing,
) -> Result<Rows> {
    let count = before.present.len();
    let same = match codec {
        Some(codec) => {
            let before = codec.convert_columns(&before.answers)?;
            let after = codec.convert_columns(&after.answers)?;
            (0..count).map(|group| before.row(group) == after.row(group)).collect()
        }
        None => vec![true; count],
    };
    let (mut places, mut retracts) = (Vec::new(), Vec::new());
    for (group, same) in same.into_iter().enumerate() {
        let (was, is) = (before.present.value(group), after.present.value(group));
        if was && is && same {
            continue;
        }
        for (told, place, retracted) in [(was, group, true), (is, count + group, false)] {
            if told {
                places.push(place as u64);
                retracts.push(retracted);
            }
        }
    }
    let places = UInt64Array::from(places);
    let of_group: UInt64Array = places.values().iter().map(|place| place % count as u64).collect();
    tell_failed(schema, keys, after)?;
    let mut columns = Vec::with_capacity(schema.fields().len());
    for key in keys {
        columns.push(take(key, &of_group, None)?);
    }
    for (before, after) in before.answers.iter().zip(&after.answers) {
        columns.push(take(&concat(&[before, after])?, &places, None)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
    let untimed = Int64Array::new_null(places.len());
    Ok(Rows::changes(batch, untimed, BooleanArray::from(retracts)))
}

/// Says which groups have no value.
fn tell_failed(schema: &SchemaRef, keys: &[ArrayRef], of: &Standing) -> Result<()> {
    if of.failed.is_empty() {
        return Ok(());
    }
    let places: UInt64Array = of.failed.keys().map(|at| Some(*at as u64)).collect();
    let columns = keys.iter().chain(&of.answers).map(|column| Ok(take(column, &places, None)?));
    let batch = RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?;
    let untimed = Int64Array::new_null(places.len());
    failed_groups::tell(Rows::new(batch, untimed), of.failed.values().cloned().collect())
}

/// How groups with these runs stand.
pub(super) fn standing<'r>(
    groups: &GroupState,
    of: impl Iterator<Item = &'r [Run]>,
) -> Result<Standing> {
    let spec = &groups.spec;
    let (mut of_group, mut runs) = (Vec::new(), Vec::new());
    let mut present = Vec::new();
    for (group, of) in of.enumerate() {
        present.push(!of.is_empty());
        for run in of.iter().filter(|run| spec.calls.is_empty() || !run.state.is_empty()) {
            of_group.push(group);
            runs.push(run.stored());
        }
    }
    if runs.is_empty() {
        // Only the group without a key is there without a row.
        return match present.as_slice() {
            [true] => of_nothing(spec),
            _ => Ok(absent(spec, present.len())),
        };
    }
    let mut merged = Groups::new(spec)?;
    merged.merge_into(spec, &groups.decode(&runs)?, &of_group, present.len())?;
    let order: Vec<usize> = (0..present.len()).collect();
    let (answers, failed) = GroupState::answers(&mut merged, &order)?;
    Ok(Standing::new(present, answers, failed))
}

/// How the group without a key stands before any row has come.
fn of_nothing(spec: &AggregateSpec) -> Result<Standing> {
    let mut failed = Failed::new();
    let answers = spec.calls.iter().map(|call| {
        let (value, failing) = finishing(|| call.of_nothing())?;
        failed.extend(failing);
        value.to_array_of_size(1)
    });
    let answers = answers.collect::<Result<_>>()?;
    Ok(Standing::new(vec![true], answers, failed))
}

/// How groups stand that are not there. (Accumulators that were given nothing have no groups.)
pub(super) fn absent(spec: &AggregateSpec, count: usize) -> Standing {
    let types = spec.schema.fields()[spec.group.len()..].iter();
    let answers = types.map(|field| new_null_array(field.data_type(), count)).collect();
    Standing::new(vec![false; count], answers, Failed::new())
}

impl Operator for UpdatingAggregate {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let spec = &self.groups.spec;
        let mut columns = Vec::new();
        spec.arguments(&rows.batch, &mut columns)?;
        let keys = spec.key_rows(&rows.batch, self.groups.key_codec.as_ref())?;
        Ok(Prepared { rows, columns, keys, late: 0, untimed: 0 })
    }

    fn has_unkeyed(&mut self) {
        let spec = &self.groups.spec;
        self.begins = spec.group.is_empty() && !spec.calls.is_empty();
    }

    fn apply(&mut self, _side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, keys, .. } = rows;
        let spec = self.groups.spec.clone();
        self.groups.new.take(&spec, &vec![NO_WINDOW; rows.len()], keys.as_ref(), &columns)?;
        Ok(())
    }

    fn merge(&mut self, _side: usize, rows: CombinedRows) -> Result<Merged> {
        let spec = self.groups.spec.clone();
        rows.merge_into(&mut self.groups.new, &spec, |_| true)
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        if std::mem::take(&mut self.begins)
            && self.groups.new.table.is_empty()
            && self.groups.begin(NO_WINDOW)?
        {
            let spec = &self.groups.spec;
            let (before, after) = (absent(spec, 1), of_nothing(spec)?);
            out.push(told(&spec.schema, &[], self.answer_codec.as_ref(), &before, &after)?);
        }
        let changed = self.groups.commit()?;
        for part in changed.chunks(TOLD_MAX) {
            let before = standing(&self.groups, part.iter().map(|group| &group.before[..]))?;
            let after = standing(&self.groups, part.iter().map(|group| &group.after[..]))?;
            let columns = self.groups.key_columns(part.iter().map(|group| &*group.key))?;
            let (schema, codec) = (&self.groups.spec.schema, self.answer_codec.as_ref());
            out.push(told(schema, &columns, codec, &before, &after)?);
        }
        Ok(())
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        self.groups.committed.take(NO_WINDOW, key)?;
        Ok(())
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.groups.committed.maps().into()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        match key.split_first() {
            Some((&GROUP, rest)) => self.groups.restore(rest, value),
            _ => Err(StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"))),
        }
    }

    fn take_layouts(&mut self, layouts: &Layouts) -> Result<(), StateError> {
        self.groups.take_layouts(layouts)
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.groups.committed.kept().1 }
    }
}
