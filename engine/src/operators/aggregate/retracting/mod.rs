//! Groups of rows that may be taken back, told whenever they change.
//!
//! The rule is that of [`super::updating`]: what has come out, less what was taken back, is what
//! batch SQL answers over the rows that came in and were not taken back. A group whose last row
//! goes is gone itself; without GROUP BY, the one group stays, and answers as over no rows.
//!
//! Counts, and sums of integers and decimals, are kept as numbers, since taking a row back from
//! them is exact. For everything else, a group keeps its arguments, sorted, each with how often it
//! is there: the least and the greatest are at their ends, and different ones are counted as they
//! come and go. What is left (sums of floats among it: taking back loses digits) is computed anew
//! from all arguments when a group changes, at a cost that grows with what is in the group.
//!
//! A group also keeps the answer that was told, so that exactly that is taken back.
//!
//! - [`kinds`]: how each call is kept; [`kept`]: groups and their arguments.

mod kept;
mod kinds;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::kernels::zip::zip;
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use arrow_row::RowConverter;
use datafusion_common::{Result, ScalarValue, exec_datafusion_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::PhysicalExpr;

use super::partial::{AsTheyAre, BeforeMeeting};
use super::spec::{AggregateCall, AggregateSpec, groups_accumulator};
use super::updating::{Standing, answer_codec, told};
use crate::describe::{Described, Keeps, Until, Words};
use crate::operators::failed_groups::Failed;
use crate::operators::tables::{Entries, KeptTable, damaged};
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::plan::user_functions::aggregate::finishing;
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::state::map::StateMap;
use crate::time::Watermark;
use kept::{GROUP, Group, KeptGroups};
use kinds::{ArgumentSet, Kind, by_call, has_nan};

/// Groups that are told together: bounds the memory that telling takes.
const TOLD_MAX: usize = 1024;
/// Arguments that are computed together.
const ARGUMENTS_MAX: usize = 8192;

/// What to group by and what to compute, of rows that may be taken back.
#[derive(Debug)]
pub struct RetractingSpec {
    aggregate: Arc<AggregateSpec>,
    kinds: Vec<Kind>,
    sets: Vec<ArgumentSet>,
}

/// The operator.
pub struct RetractingAggregate {
    spec: Arc<RetractingSpec>,
    key_codec: Option<RowConverter>,
    /// Of the arguments of each set.
    argument_codecs: Vec<RowConverter>,
    answer_codec: Option<RowConverter>,
    kept: KeptGroups,
    /// Groups to which something has come since the last flush.
    touched: BTreeMap<Box<[u8]>, Touched>,
    /// The one group without a key is to be told even of no rows.
    begins: bool,
}

/// A group, and what has come to it that its arguments do not have yet.
struct Touched {
    group: Group,
    /// By set and arguments: how often they came, less how often they were taken back.
    came: BTreeMap<(u16, Box<[u8]>), i64>,
}

impl RetractingSpec {
    pub fn new(
        group: Vec<Arc<dyn PhysicalExpr>>,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> RetractingSpec {
        let keys = (0..group.len()).collect();
        let kinds: Vec<Kind> = calls.iter().map(Kind::of).collect();
        let sets = ArgumentSet::of(&calls, &kinds);
        let aggregate = Arc::new(AggregateSpec { group, keys, calls, schema });
        RetractingSpec { aggregate, kinds, sets }
    }

    fn numbers_len(&self) -> usize {
        self.kinds.len() * kept::NUMBER_LEN
    }
}

impl fmt::Display for RetractingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aggregate of changes{}", self.aggregate)
    }
}

impl OperatorSpec for RetractingSpec {
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
        BeforeMeeting::AsTheyAre(AsTheyAre::TakenBack)
    }

    fn describe(&self, words: &Words) -> Described {
        let aggregate = &self.aggregate;
        let by = aggregate.keys_in_words(words);
        let what = match self.sets.is_empty() {
            false => "the aggregates, and all arguments of those that no row can be taken out of",
            true => "the aggregates",
        };
        Described {
            title: "aggregate rows that change".to_owned(),
            details: aggregate.details(words),
            keeps: Keeps::new(what, by, Until::TakenBack),
        }
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        let (mut keys, mut told) = (Vec::new(), Vec::new());
        for (key, value) in entries.iter().filter(|(key, _)| key.first() == Some(&GROUP)) {
            let (is_told, answer) = value
                .get(8 + self.numbers_len()..)
                .and_then(<[u8]>::split_first)
                .ok_or_else(|| damaged(key))?;
            if *is_told != 0 {
                keys.push(&key[1..]);
                told.push(answer);
            }
        }
        let spec = &self.aggregate;
        let fields = spec.schema.fields();
        let types = spec.keys.iter().map(|&index| fields[index].data_type());
        let mut columns = Vec::new();
        for (codec, rows) in [(AggregateSpec::codec(types)?, keys), (answer_codec(spec)?, told)] {
            let Some(codec) = codec else { continue };
            let parser = codec.parser();
            columns.extend(codec.convert_rows(rows.iter().map(|row| parser.parse(row)))?);
        }
        let rows = RecordBatch::try_new(spec.schema.clone(), columns)?;
        Ok(vec![KeptTable { name: "groups", rows, keys: (0..spec.group.len()).collect() }])
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        let fields = self.aggregate.schema.fields();
        let keys = self.aggregate.keys.iter().map(|&index| fields[index].data_type());
        let codecs = self.sets.iter().map(|set| set.codec(&self.aggregate.calls));
        Ok(Box::new(RetractingAggregate {
            key_codec: AggregateSpec::codec(keys)?,
            argument_codecs: codecs.collect::<Result<_>>()?,
            answer_codec: answer_codec(&self.aggregate)?,
            kept: KeptGroups::new(id, self.kinds.len()),
            touched: BTreeMap::new(),
            begins: false,
            spec: self,
        }))
    }
}

impl RetractingAggregate {
    fn is_present(&self, group: &Group) -> bool {
        group.rows > 0 || self.key_codec.is_none()
    }

    /// How groups stand now.
    fn standing(&self, keys: &[Box<[u8]>]) -> Result<Standing> {
        let spec = &self.spec.aggregate;
        let groups: Vec<&Group> = keys.iter().map(|key| &self.touched[key].group).collect();
        let present = groups.iter().map(|group| self.is_present(group)).collect();
        let mut answers: Vec<Option<ArrayRef>> = Vec::new();
        for (index, kind) in self.spec.kinds.iter().enumerate() {
            let field = spec.schema.field(spec.group.len() + index);
            answers.push(match kind {
                Kind::Anew => None,
                Kind::Min | Kind::Max => self.extremes(index, keys)?,
                _ => {
                    let answer = |group: &&Group| {
                        let number = group.numbers.get(index).copied().unwrap_or_default();
                        kind.answer(number, field.data_type())
                    };
                    let answers = groups.iter().map(answer).collect::<Result<Vec<_>>>()?;
                    Some(ScalarValue::iter_to_array(answers)?)
                }
            });
        }
        let mut failed = Failed::new();
        for (number, set) in self.spec.sets.iter().enumerate() {
            failed.extend(self.compute_anew(number, set, keys, &mut answers)?);
        }
        Ok(Standing::new(present, answers.into_iter().flatten().collect(), failed))
    }

    /// The least or the greatest argument of each group; `None` if there is one that is no number.
    fn extremes(&self, call: usize, keys: &[Box<[u8]>]) -> Result<Option<ArrayRef>> {
        let Some(number) = self.spec.sets.iter().position(|set| set.calls.contains(&call)) else {
            return Ok(None);
        };
        let (set, codec) = (&self.spec.sets[number], &self.argument_codecs[number]);
        let nothing = codec.convert_columns(&set.nothing(&self.spec.aggregate.calls)?)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(match self.spec.kinds[call] {
                Kind::Min => self.kept.first(key, number)?,
                _ => self.kept.last(key, number)?,
            });
        }
        let parser = codec.parser();
        let rows = found.iter().map(|found| match found {
            Some(arguments) => parser.parse(arguments),
            None => nothing.row(0),
        });
        let column = codec.convert_rows(rows)?.swap_remove(0);
        Ok((!has_nan(&column)).then_some(column))
    }

    /// Fills in what the calls of a set answer that have no answer yet. The groups that fail.
    fn compute_anew(
        &self,
        number: usize,
        set: &ArgumentSet,
        keys: &[Box<[u8]>],
        answers: &mut [Option<ArrayRef>],
    ) -> Result<Failed> {
        let calls = &self.spec.aggregate.calls;
        let mut accumulators: Vec<(usize, Box<dyn GroupsAccumulator>)> = Vec::new();
        for &call in set.calls.iter().filter(|call| answers[**call].is_none()) {
            accumulators.push((call, groups_accumulator(&calls[call].function)?));
        }
        let mut failed = Failed::new();
        if accumulators.is_empty() {
            return Ok(failed);
        }
        let codec = &self.argument_codecs[number];
        let parser = codec.parser();
        // Some accumulators divide by how many rows a group has: those without any are left out.
        let mut filled = 0;
        let mut update = |rows: &mut Vec<Box<[u8]>>, of_group: &mut Vec<usize>| -> Result<()> {
            let groups = of_group.last().map_or(0, |last| last + 1);
            let columns = codec.convert_rows(rows.iter().map(|row| parser.parse(row)))?;
            for (_, accumulator) in &mut accumulators {
                accumulator.update_batch(&columns, of_group, None, groups)?;
            }
            rows.clear();
            of_group.clear();
            Ok(())
        };
        let (mut rows, mut of_group) = (Vec::new(), Vec::new());
        let mut places: Vec<Option<u32>> = vec![None; keys.len()];
        for (place, key) in places.iter_mut().zip(keys) {
            for arguments in self.kept.arguments(key, number) {
                let (arguments, count) = arguments?;
                for _ in 0..count {
                    let at = *place.get_or_insert_with(|| {
                        filled += 1;
                        filled - 1
                    });
                    rows.push(arguments.clone());
                    of_group.push(at as usize);
                    if rows.len() == ARGUMENTS_MAX {
                        update(&mut rows, &mut of_group)?;
                    }
                }
            }
        }
        if !rows.is_empty() {
            update(&mut rows, &mut of_group)?;
        }
        let places = UInt32Array::from(places);
        for (call, accumulator) in accumulators {
            let (answer, failing) = answer(&calls[call], accumulator, &places)?;
            answers[call] = Some(answer);
            failed.extend(failing);
        }
        Ok(failed)
    }

    /// How groups stood when they were told last.
    fn told(&self, keys: &[Box<[u8]>]) -> Result<Standing> {
        let told: Vec<Option<&[u8]>> =
            keys.iter().map(|key| self.touched[key].group.told.as_deref()).collect();
        let present = told.iter().map(|told| told.is_some()).collect();
        let Some(codec) = &self.answer_codec else {
            return Ok(Standing::new(present, Vec::new(), Failed::new()));
        };
        let parser = codec.parser();
        let missing = codec.convert_columns(&self.nothing()?)?;
        let missing = missing.row(0).data().to_vec();
        let rows = told.iter().map(|told| parser.parse(told.unwrap_or(&missing)));
        Ok(Standing::new(present, codec.convert_rows(rows)?, Failed::new()))
    }

    /// One row of answers that nobody looks at.
    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        let spec = &self.spec.aggregate;
        let answers = &spec.schema.fields()[spec.group.len()..];
        answers.iter().map(|field| ScalarValue::try_from(field.data_type())?.to_array()).collect()
    }

    /// The rows that tell how these groups have changed.
    fn tell(&mut self, keys: &[Box<[u8]>]) -> Result<Rows> {
        let (before, after) = (self.told(keys)?, self.standing(keys)?);
        let columns = match &self.key_codec {
            Some(codec) => {
                let parser = codec.parser();
                codec.convert_rows(keys.iter().map(|key| parser.parse(key)))?
            }
            None => Vec::new(),
        };
        let schema = &self.spec.aggregate.schema;
        let rows = told(schema, &columns, self.answer_codec.as_ref(), &before, &after)?;
        let answers = match &self.answer_codec {
            Some(codec) => Some(codec.convert_columns(&after.answers)?),
            None => None,
        };
        for (at, key) in keys.iter().enumerate() {
            let Some(touched) = self.touched.get_mut(key) else { continue };
            let answer = answers.as_ref().map_or(&[][..], |answers| answers.row(at).data());
            touched.group.told = after.present.value(at).then(|| answer.into());
        }
        Ok(rows)
    }

    /// Takes what has come to groups into their arguments.
    fn settle(&mut self) -> Result<()> {
        for (key, touched) in &mut self.touched {
            for ((set, arguments), times) in std::mem::take(&mut touched.came) {
                let appeared = self.kept.add(key, set, &arguments, times)?;
                for &call in &self.spec.sets[usize::from(set)].calls {
                    if self.spec.kinds[call] == Kind::CountDistinct {
                        touched.group.number(call).count += appeared;
                    }
                }
            }
        }
        Ok(())
    }

    fn store(&mut self) -> Result<()> {
        let keyed = self.key_codec.is_some();
        for (key, touched) in &self.touched {
            self.kept.put(key, &touched.group, keyed)?;
        }
        Ok(())
    }

    /// The group of a key, as it is now.
    fn touch(&mut self, key: &[u8]) -> Result<&mut Touched> {
        if !self.touched.contains_key(key) {
            let group = self.kept.get(key)?;
            self.touched.insert(key.into(), Touched { group, came: BTreeMap::new() });
        }
        self.touched.get_mut(key).ok_or_else(|| exec_datafusion_err!("a group is gone"))
    }
}

/// What a call answers for groups, by their places among those that have rows; which of them fail.
fn answer(
    call: &AggregateCall,
    mut accumulator: Box<dyn GroupsAccumulator>,
    places: &UInt32Array,
) -> Result<(ArrayRef, Failed)> {
    let (nothing, of_nothing) = finishing(|| call.of_nothing())?;
    let has_any: BooleanArray = places.iter().map(|place| Some(place.is_some())).collect();
    let (answer, failing) = match has_any.true_count() > 0 {
        true => {
            let (values, failing) = finishing(|| accumulator.evaluate(EmitTo::All))?;
            let answer = take(&values, places, None)?;
            (zip(&has_any, &answer, &nothing.to_scalar()?)?, failing)
        }
        false => (nothing.to_array_of_size(places.len())?, Failed::new()),
    };
    let reason = |(group, place): (usize, Option<u32>)| {
        let reason = match place {
            Some(place) => failing.get(&(place as usize)),
            None => of_nothing.get(&0),
        };
        Some((group, reason?.clone()))
    };
    Ok((answer, places.iter().enumerate().filter_map(reason).collect()))
}

impl Operator for RetractingAggregate {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let spec = &self.spec.aggregate;
        let mut columns = Vec::new();
        spec.arguments(&rows.batch, &mut columns)?;
        let keys = spec.key_rows(&rows.batch, self.key_codec.as_ref())?;
        Ok(Prepared { rows, columns, keys, late: 0, untimed: 0 })
    }

    fn apply(&mut self, _side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { rows, columns, keys, .. } = rows;
        let spec = self.spec.clone();
        let calls = by_call(&spec.aggregate, &columns);
        let mut arguments = Vec::new();
        for (set, codec) in spec.sets.iter().zip(&self.argument_codecs) {
            arguments.push(codec.convert_columns(set.columns(&calls))?);
        }
        for row in 0..rows.len() {
            let key = keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
            let times = if rows.is_retraction(row) { -1 } else { 1 };
            let touched = self.touch(key)?;
            touched.group.rows += times;
            for (call, (kind, arguments)) in spec.kinds.iter().zip(&calls).enumerate() {
                if kind.is_number() && arguments.takes(row, true) {
                    let number = touched.group.number(call);
                    number.count += times;
                    let value = kind.value(&arguments.args[0], row);
                    number.sum = number.sum.wrapping_add(value * i128::from(times));
                }
            }
            for (number, (set, arguments)) in spec.sets.iter().zip(&arguments).enumerate() {
                if set.takes(&calls, row) {
                    let at = (number as u16, arguments.row(row).data().into());
                    *touched.came.entry(at).or_default() += times;
                }
            }
        }
        Ok(())
    }

    fn has_unkeyed(&mut self) {
        self.begins = self.key_codec.is_none();
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        if std::mem::take(&mut self.begins) {
            self.touch(&[])?;
        }
        self.settle()?;
        let keys: Vec<Box<[u8]>> = self.touched.keys().cloned().collect();
        for keys in keys.chunks(TOLD_MAX) {
            out.push(self.tell(keys)?);
        }
        self.store()?;
        self.touched.clear();
        Ok(())
    }

    fn commit(&mut self, _changes: &mut Vec<Change>) -> Result<()> {
        // What was not told before is told after.
        self.settle()?;
        self.store()
    }

    fn forget(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.kept.forget(key)?)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        self.kept.maps().into()
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        self.kept.restore(key, value)
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.kept.len() }
    }
}
