//! Groups of rows that may be taken back, told whenever they change.
//!
//! The rule is that of [`super::updating`]: what has come out, less what was taken back, is what
//! batch SQL answers over the rows that came in and were not taken back. A group whose last row
//! goes is gone itself; without GROUP BY, the one group stays, and answers as over no rows.
//!
//! Counts, and sums of integers and decimals, are kept as numbers, since taking a row back from
//! them is exact. For everything else (sums of floats among it: taking back loses digits), a group
//! keeps its arguments, each with how often it is there, and is computed anew from those when it
//! changes. So MIN, MAX, DISTINCT and percentiles are right whatever goes, at a cost that grows
//! with what is in the group.
//!
//! A group also keeps the answer that was told, so that exactly that is taken back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, SchemaRef, UInt64Type};
use arrow_row::RowConverter;
use datafusion_common::{Result, ScalarValue, exec_datafusion_err};
use datafusion_expr::{EmitTo, GroupsAccumulator};
use datafusion_physical_expr::PhysicalExpr;

use super::spec::{AggregateCall, AggregateSpec, groups_accumulator};
use super::updating::{Standing, answer_codec, told};
use crate::describe::{Described, Keeps, Until, Words};
use crate::operators::tables::{Entries, KeptTable, damaged};
use crate::operators::{Distribution, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{Change, StateError, StateId};
use crate::time::Watermark;

/// Groups that are told together: bounds the memory that telling takes.
const TOLD_MAX: usize = 1024;
/// Arguments that are computed together.
const ARGUMENTS_MAX: usize = 8192;

/// What the first byte of an entry's key says it is.
const GROUP: u8 = 1;
const ARGUMENTS: u8 = 2;

/// What to group by and what to compute, of rows that may be taken back.
#[derive(Debug)]
pub struct RetractingSpec {
    aggregate: Arc<AggregateSpec>,
    kinds: Vec<Kind>,
}

/// How a call is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Count,
    SumSigned,
    SumUnsigned,
    SumDecimal,
    /// From all arguments.
    Anew,
}

/// The operator.
pub struct RetractingAggregate {
    spec: Arc<RetractingSpec>,
    id: StateId,
    key_codec: Option<RowConverter>,
    /// Of the arguments that are kept; `None` if there are none.
    argument_codec: Option<RowConverter>,
    answer_codec: Option<RowConverter>,
    groups: HashMap<Box<[u8]>, Group>,
    /// Groups to which something has come since the last flush.
    touched: BTreeSet<Box<[u8]>>,
    /// The same since the last commit, with the arguments that came.
    changed: BTreeMap<Box<[u8]>, BTreeSet<Box<[u8]>>>,
}

#[derive(Default)]
struct Group {
    rows: i64,
    /// One per call; nothing is meant where it is computed anew.
    numbers: Vec<Number>,
    /// How often each row of arguments is there.
    arguments: BTreeMap<Box<[u8]>, i64>,
    /// What was answered last.
    told: Option<Box<[u8]>>,
}

/// Arguments that are not NULL, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Number {
    count: i64,
    sum: i128,
}

/// A [`Number`] in the changelog.
const NUMBER_LEN: usize = 8 + 16;

impl RetractingSpec {
    pub fn new(
        group: Vec<Arc<dyn PhysicalExpr>>,
        calls: Vec<AggregateCall>,
        schema: SchemaRef,
    ) -> RetractingSpec {
        let keys = (0..group.len()).collect();
        let kinds = calls.iter().map(Kind::of).collect();
        let aggregate = Arc::new(AggregateSpec { group, keys, calls, schema });
        RetractingSpec { aggregate, kinds }
    }

    /// The types of the arguments that are kept, with those of the filters.
    fn argument_types(&self) -> Vec<DataType> {
        let mut types = Vec::new();
        for (call, kind) in self.aggregate.calls.iter().zip(&self.kinds) {
            if *kind == Kind::Anew {
                types.extend(call.arg_types.iter().cloned());
                types.extend(call.filter.as_ref().map(|_| DataType::Boolean));
            }
        }
        types
    }
}

impl Kind {
    fn of(call: &AggregateCall) -> Kind {
        let function = &call.function;
        if function.is_distinct() {
            return Kind::Anew;
        }
        match (function.fun().name(), function.field().data_type()) {
            ("count", _) if call.args.len() == 1 => Kind::Count,
            ("sum", DataType::Int64) => Kind::SumSigned,
            ("sum", DataType::UInt64) => Kind::SumUnsigned,
            ("sum", DataType::Decimal128(..)) => Kind::SumDecimal,
            _ => Kind::Anew,
        }
    }

    /// What an argument adds to the sum.
    fn value(self, argument: &ArrayRef, row: usize) -> i128 {
        match self {
            Kind::SumSigned => argument.as_primitive::<Int64Type>().value(row).into(),
            Kind::SumUnsigned => argument.as_primitive::<UInt64Type>().value(row).into(),
            Kind::SumDecimal => argument.as_primitive::<Decimal128Type>().value(row),
            Kind::Count | Kind::Anew => 0,
        }
    }

    /// What the call answers. Sums wrap around, as DataFusion's do.
    fn answer(self, number: Number, of: &DataType) -> Result<ScalarValue> {
        if self == Kind::Count {
            return Ok(ScalarValue::Int64(Some(number.count)));
        }
        if number.count == 0 {
            return ScalarValue::try_from(of);
        }
        Ok(match *of {
            DataType::UInt64 => ScalarValue::UInt64(Some(number.sum as u64)),
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(Some(number.sum), precision, scale)
            }
            _ => ScalarValue::Int64(Some(number.sum as i64)),
        })
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

    fn describe(&self, words: &Words) -> Described {
        let aggregate = &self.aggregate;
        let by = aggregate.keys_in_words(words);
        let what = match self.kinds.contains(&Kind::Anew) {
            true => "the aggregates, and all arguments of those that no row can be taken out of",
            false => "the aggregates",
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
            let numbers = self.kinds.len() * NUMBER_LEN;
            let (is_told, answer) = value
                .get(8 + numbers..)
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
        let arguments = self.argument_types();
        Ok(Box::new(RetractingAggregate {
            key_codec: AggregateSpec::codec(keys)?,
            argument_codec: AggregateSpec::codec(arguments.iter())?,
            answer_codec: answer_codec(&self.aggregate)?,
            groups: HashMap::new(),
            touched: BTreeSet::new(),
            changed: BTreeMap::new(),
            id,
            spec: self,
        }))
    }
}

/// The columns of one call, as [`AggregateSpec::arguments`] has found them.
struct Arguments<'a> {
    args: &'a [ArrayRef],
    filter: Option<&'a BooleanArray>,
}

/// Takes `columns` apart, call by call.
fn by_call<'a>(spec: &AggregateSpec, mut columns: &'a [ArrayRef]) -> Vec<Arguments<'a>> {
    let calls = spec.calls.iter().map(|call| {
        let (args, rest) = columns.split_at(call.args.len());
        let (filter, rest) = rest.split_at(usize::from(call.filter.is_some()));
        columns = rest;
        Arguments { args, filter: filter.first().map(AsArray::as_boolean) }
    });
    calls.collect()
}

impl Group {
    fn add(&mut self, kinds: &[Kind], calls: &[Arguments<'_>], row: usize, times: i64) {
        self.rows += times;
        self.numbers.resize(kinds.len(), Number::default());
        for ((number, kind), call) in self.numbers.iter_mut().zip(kinds).zip(calls) {
            let is_taken = call.filter.is_none_or(|filter| filter.value(row));
            if *kind == Kind::Anew || !is_taken || call.args[0].is_null(row) {
                continue;
            }
            number.count += times;
            number.sum =
                number.sum.wrapping_add(kind.value(&call.args[0], row) * i128::from(times));
        }
    }
}

impl RetractingAggregate {
    fn is_present(&self, group: &Group) -> bool {
        group.rows > 0 || self.key_codec.is_none()
    }

    /// How groups stand now.
    fn standing(&self, keys: &[&[u8]]) -> Result<Standing> {
        let spec = &self.spec.aggregate;
        let groups: Vec<&Group> = keys.iter().map(|key| &self.groups[*key]).collect();
        let present = groups.iter().map(|group| Some(self.is_present(group))).collect();
        let mut accumulators: Vec<Option<Box<dyn GroupsAccumulator>>> = Vec::new();
        for (call, kind) in spec.calls.iter().zip(&self.spec.kinds) {
            let anew = (*kind == Kind::Anew).then(|| groups_accumulator(&call.function));
            accumulators.push(anew.transpose()?);
        }
        self.accumulate(&groups, &mut accumulators)?;
        let mut answers = Vec::new();
        for (index, accumulator) in accumulators.iter_mut().enumerate() {
            let field = spec.schema.field(spec.group.len() + index);
            answers.push(match accumulator {
                Some(accumulator) => accumulator.evaluate(EmitTo::All)?,
                None => {
                    let kind = self.spec.kinds[index];
                    let of = |group: &&Group| {
                        let number = group.numbers.get(index).copied().unwrap_or_default();
                        kind.answer(number, field.data_type())
                    };
                    let answers = groups.iter().map(of).collect::<Result<Vec<_>>>()?;
                    ScalarValue::iter_to_array(answers)?
                }
            });
        }
        Ok(Standing { present, answers })
    }

    /// Gives the arguments of groups to accumulators, as often as they are there.
    fn accumulate(
        &self,
        groups: &[&Group],
        accumulators: &mut [Option<Box<dyn GroupsAccumulator>>],
    ) -> Result<()> {
        let Some(codec) = &self.argument_codec else { return Ok(()) };
        let parser = codec.parser();
        let (mut rows, mut of_group) = (Vec::new(), Vec::new());
        let mut all = groups.iter().enumerate().flat_map(|(index, group)| {
            group.arguments.iter().flat_map(move |(arguments, count)| {
                let count = usize::try_from(*count).unwrap_or_default();
                std::iter::repeat_n((index, arguments), count)
            })
        });
        loop {
            rows.clear();
            of_group.clear();
            for (group, arguments) in all.by_ref().take(ARGUMENTS_MAX) {
                rows.push(parser.parse(arguments));
                of_group.push(group);
            }
            let columns = codec.convert_rows(rows.iter().copied())?;
            self.update(&columns, &of_group, groups.len(), accumulators)?;
            if rows.len() < ARGUMENTS_MAX {
                return Ok(());
            }
        }
    }

    fn update(
        &self,
        mut columns: &[ArrayRef],
        of_group: &[usize],
        groups: usize,
        accumulators: &mut [Option<Box<dyn GroupsAccumulator>>],
    ) -> Result<()> {
        for (accumulator, call) in accumulators.iter_mut().zip(&self.spec.aggregate.calls) {
            let Some(accumulator) = accumulator else { continue };
            let (args, rest) = columns.split_at(call.args.len());
            let (filter, rest) = rest.split_at(usize::from(call.filter.is_some()));
            let filter = filter.first().map(AsArray::as_boolean);
            accumulator.update_batch(args, of_group, filter, groups)?;
            columns = rest;
        }
        Ok(())
    }

    /// How groups stood when they were told last.
    fn told(&self, keys: &[&[u8]]) -> Result<Standing> {
        let told: Vec<Option<&[u8]>> =
            keys.iter().map(|key| self.groups[*key].told.as_deref()).collect();
        let present = told.iter().map(|told| Some(told.is_some())).collect();
        let Some(codec) = &self.answer_codec else {
            return Ok(Standing { present, answers: Vec::new() });
        };
        let parser = codec.parser();
        let missing = codec.convert_columns(&self.nothing()?)?;
        let missing = missing.row(0).data().to_vec();
        let rows = told.iter().map(|told| parser.parse(told.unwrap_or(&missing)));
        Ok(Standing { present, answers: codec.convert_rows(rows)? })
    }

    /// One row of answers that nobody looks at.
    fn nothing(&self) -> Result<Vec<ArrayRef>> {
        let spec = &self.spec.aggregate;
        let answers = &spec.schema.fields()[spec.group.len()..];
        answers.iter().map(|field| ScalarValue::try_from(field.data_type())?.to_array()).collect()
    }

    /// The rows that tell how these groups have changed.
    fn tell(&mut self, keys: &[Box<[u8]>]) -> Result<Rows> {
        let refs: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let (before, after) = (self.told(&refs)?, self.standing(&refs)?);
        let columns = match &self.key_codec {
            Some(codec) => {
                let parser = codec.parser();
                codec.convert_rows(refs.iter().map(|key| parser.parse(key)))?
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
            let Some(group) = self.groups.get_mut(key) else { continue };
            let answer = answers.as_ref().map_or(&[][..], |answers| answers.row(at).data());
            group.told = after.present.value(at).then(|| answer.into());
        }
        Ok(rows)
    }

    fn group_value(group: &Group) -> Vec<u8> {
        let told = group.told.as_deref();
        let len = 8 + group.numbers.len() * NUMBER_LEN + 1 + told.map_or(0, <[u8]>::len);
        let mut value = Vec::with_capacity(len);
        value.extend_from_slice(&group.rows.to_be_bytes());
        for number in &group.numbers {
            value.extend_from_slice(&number.count.to_be_bytes());
            value.extend_from_slice(&number.sum.to_be_bytes());
        }
        value.push(told.is_some().into());
        value.extend_from_slice(told.unwrap_or_default());
        value
    }

    fn parse_group(&self, mut value: &[u8]) -> Option<Group> {
        let (rows, rest) = value.split_first_chunk()?;
        value = rest;
        let mut group = Group { rows: i64::from_be_bytes(*rows), ..Group::default() };
        for _ in &self.spec.kinds {
            let (count, rest) = value.split_first_chunk()?;
            let (sum, rest) = rest.split_first_chunk()?;
            value = rest;
            let (count, sum) = (i64::from_be_bytes(*count), i128::from_be_bytes(*sum));
            group.numbers.push(Number { count, sum });
        }
        let (is_told, told) = value.split_first()?;
        group.told = (*is_told != 0).then(|| told.into());
        Some(group)
    }

    fn restore_arguments(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let (len, rest) = key.split_first_chunk()?;
        let (key, arguments) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        let count = i64::from_be_bytes(value.try_into().ok()?);
        // Groups come before arguments.
        self.groups.get_mut(key)?.arguments.insert(arguments.into(), count);
        Some(())
    }
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
        let arguments = match &self.argument_codec {
            Some(codec) => Some(codec.convert_columns(&kept_columns(&spec.kinds, &calls))?),
            None => None,
        };
        for row in 0..rows.len() {
            let key = keys.as_ref().map_or(&[][..], |keys| keys.row(row).data());
            let times = if rows.is_retraction(row) { -1 } else { 1 };
            if !self.groups.contains_key(key) {
                self.groups.insert(key.into(), Group::default());
            }
            let missing = || exec_datafusion_err!("a group is gone");
            let group = self.groups.get_mut(key).ok_or_else(missing)?;
            group.add(&spec.kinds, &calls, row, times);
            if !self.touched.contains(key) {
                self.touched.insert(key.into());
                self.changed.entry(key.into()).or_default();
            }
            let Some(arguments) = &arguments else { continue };
            let arguments = arguments.row(row).data();
            match group.arguments.get_mut(arguments) {
                Some(count) => *count += times,
                None => {
                    group.arguments.insert(arguments.into(), times);
                }
            }
            let changed = self.changed.get_mut(key).ok_or_else(missing)?;
            if !changed.contains(arguments) {
                changed.insert(arguments.into());
            }
        }
        Ok(())
    }

    fn advance(&mut self, _watermark: Watermark, _out: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _bound_ms: i64, _out: &mut Vec<Rows>) -> Result<()> {
        Ok(())
    }

    fn releases_at(&self, _bound_ms: i64) -> Option<Watermark> {
        None
    }

    fn earliest_ms(&self) -> Option<i64> {
        None
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let touched: Vec<Box<[u8]>> = std::mem::take(&mut self.touched).into_iter().collect();
        for keys in touched.chunks(TOLD_MAX) {
            out.push(self.tell(keys)?);
        }
        Ok(())
    }

    fn commit(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        for (key, touched) in std::mem::take(&mut self.changed) {
            let Some(group) = self.groups.get_mut(&key) else { continue };
            for arguments in touched {
                let count = group.arguments.get(&arguments).copied().unwrap_or_default();
                let value = (count != 0).then(|| count.to_be_bytes().to_vec());
                if count == 0 {
                    group.arguments.remove(&arguments);
                }
                changes.push(Change { key: argument_key(self.id, &key, &arguments), value });
            }
            let is_empty =
                group.rows == 0 && group.arguments.is_empty() && self.key_codec.is_some();
            let value = (!is_empty).then(|| RetractingAggregate::group_value(group));
            changes.push(Change { key: self.id.key(&[&[GROUP], &key]), value });
            if is_empty {
                self.groups.remove(&key);
            }
        }
        Ok(())
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let value = value.unwrap_or_default();
        let restored = match key.split_first() {
            Some((&GROUP, key)) => self.parse_group(value).map(|group| {
                self.groups.insert(key.into(), group);
            }),
            Some((&ARGUMENTS, rest)) => self.restore_arguments(rest, value),
            _ => None,
        };
        restored
            .ok_or_else(|| StateError::Damaged(format!("an aggregate's entry at key {key:02x?}")))
    }

    fn restored(&mut self, _watermark: Watermark) -> Result<()> {
        Ok(())
    }

    fn kept(&self) -> Kept {
        Kept { windows: 0, groups: self.groups.len() }
    }
}

/// The changelog's key of a group's row of arguments.
fn argument_key(id: StateId, key: &[u8], arguments: &[u8]) -> Vec<u8> {
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    id.key(&[&[ARGUMENTS], &len.to_be_bytes(), key, arguments])
}

/// Columns of the calls that are computed anew, filters included.
fn kept_columns(kinds: &[Kind], calls: &[Arguments<'_>]) -> Vec<ArrayRef> {
    let mut columns = Vec::new();
    for (_, call) in kinds.iter().zip(calls).filter(|(kind, _)| **kind == Kind::Anew) {
        columns.extend(call.args.iter().cloned());
        columns.extend(call.filter.map(|filter| Arc::new(filter.clone()) as ArrayRef));
    }
    columns
}
