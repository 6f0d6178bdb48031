//! How calls are kept when rows may be taken back, and which arguments are kept for them.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::datatypes::{
    DataType, Decimal128Type, Float16Type, Float32Type, Float64Type, Int64Type, UInt64Type,
};
use arrow_row::{RowConverter, SortField};
use datafusion_common::{Result, ScalarValue};

use super::kept::Number;
use crate::operators::aggregate::spec::{AggregateCall, AggregateSpec};

/// How a call is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    SumSigned,
    SumUnsigned,
    SumDecimal,
    /// How many arguments are different.
    CountDistinct,
    /// The first one of the arguments.
    Min,
    /// The last one.
    Max,
    /// From all arguments.
    Anew,
}

impl Kind {
    pub fn of(call: &AggregateCall) -> Kind {
        let function = &call.function;
        let (name, of) = (function.fun().name(), function.field().data_type().clone());
        match (name, function.is_distinct(), call.args.len()) {
            ("min", _, 1) if is_sorted(&call.arg_types[0]) => Kind::Min,
            ("max", _, 1) if is_sorted(&call.arg_types[0]) => Kind::Max,
            ("count", true, 1) => Kind::CountDistinct,
            ("count", false, 1) => Kind::Count,
            ("sum", false, 1) => match of {
                DataType::Int64 => Kind::SumSigned,
                DataType::UInt64 => Kind::SumUnsigned,
                DataType::Decimal128(..) => Kind::SumDecimal,
                _ => Kind::Anew,
            },
            _ => Kind::Anew,
        }
    }

    /// Whether no arguments are kept.
    pub fn is_number(self) -> bool {
        matches!(self, Kind::Count | Kind::SumSigned | Kind::SumUnsigned | Kind::SumDecimal)
    }

    /// Whether a NULL makes no difference.
    fn skips_nulls(self) -> bool {
        self != Kind::Anew
    }

    /// What an argument adds to the sum.
    pub fn value(self, argument: &ArrayRef, row: usize) -> i128 {
        match self {
            Kind::SumSigned => argument.as_primitive::<Int64Type>().value(row).into(),
            Kind::SumUnsigned => argument.as_primitive::<UInt64Type>().value(row).into(),
            Kind::SumDecimal => argument.as_primitive::<Decimal128Type>().value(row),
            _ => 0,
        }
    }

    /// What the call answers, if that is a number. Sums wrap around, as DataFusion's do.
    pub fn answer(self, number: Number, of: &DataType) -> Result<ScalarValue> {
        if matches!(self, Kind::Count | Kind::CountDistinct) {
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

/// Whether the order of arrow-row is that by which MIN and MAX go, NaN aside.
fn is_sorted(of: &DataType) -> bool {
    of.is_integer()
        || of.is_floating()
        || of.is_temporal() && !matches!(of, DataType::Interval(_) | DataType::Duration(_))
        || matches!(
            of,
            DataType::Boolean
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::Decimal128(..)
                | DataType::Decimal256(..)
        )
}

/// Whether any of the values is not a number.
pub(super) fn has_nan(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Float16 => {
            column.as_primitive::<Float16Type>().iter().flatten().any(|value| value.is_nan())
        }
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
        _ => false,
    }
}

/// The columns of one call, as [`AggregateSpec::arguments`] has found them.
pub(super) struct Arguments<'a> {
    pub args: &'a [ArrayRef],
    filter: Option<&'a BooleanArray>,
}

impl Arguments<'_> {
    /// Whether the call looks at a row.
    pub fn takes(&self, row: usize, skips_nulls: bool) -> bool {
        self.filter.is_none_or(|filter| filter.value(row))
            && !(skips_nulls && self.args.first().is_some_and(|argument| argument.is_null(row)))
    }
}

/// Takes `columns` apart, call by call.
pub(super) fn by_call<'a>(spec: &AggregateSpec, mut columns: &'a [ArrayRef]) -> Vec<Arguments<'a>> {
    let calls = spec.calls.iter().map(|call| {
        let (args, rest) = columns.split_at(call.args.len());
        let (filter, rest) = rest.split_at(usize::from(call.filter.is_some()));
        columns = rest;
        Arguments { args, filter: filter.first().map(AsArray::as_boolean) }
    });
    calls.collect()
}

/// Arguments that are kept, for one call or for several that look at the same ones.
#[derive(Debug)]
pub(super) struct ArgumentSet {
    pub calls: Vec<usize>,
    skips_nulls: bool,
}

impl ArgumentSet {
    pub fn of(calls: &[AggregateCall], kinds: &[Kind]) -> Vec<ArgumentSet> {
        let mut sets: Vec<ArgumentSet> = Vec::new();
        for (at, kind) in kinds.iter().enumerate().filter(|(_, kind)| !kind.is_number()) {
            let skips_nulls = kind.skips_nulls();
            let same = sets.iter_mut().find(|set| {
                let (other, call) = (&calls[set.calls[0]], &calls[at]);
                set.skips_nulls == skips_nulls
                    && other.args == call.args
                    && other.filter == call.filter
            });
            match same {
                Some(set) => set.calls.push(at),
                None => sets.push(ArgumentSet { calls: vec![at], skips_nulls }),
            }
        }
        sets
    }

    fn types<'c>(&self, calls: &'c [AggregateCall]) -> &'c [DataType] {
        &calls[self.calls[0]].arg_types
    }

    pub fn codec(&self, calls: &[AggregateCall]) -> Result<RowConverter> {
        let fields = self.types(calls).iter().map(|of| SortField::new(of.clone()));
        Ok(RowConverter::new(fields.collect())?)
    }

    /// One row of NULLs.
    pub fn nothing(&self, calls: &[AggregateCall]) -> Result<Vec<ArrayRef>> {
        Ok(self.types(calls).iter().map(|of| new_null_array(of, 1)).collect())
    }

    pub fn columns<'a>(&self, calls: &[Arguments<'a>]) -> &'a [ArrayRef] {
        calls[self.calls[0]].args
    }

    pub fn takes(&self, calls: &[Arguments<'_>], row: usize) -> bool {
        calls[self.calls[0]].takes(row, self.skips_nulls)
    }
}
