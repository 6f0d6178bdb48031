//! `first_within(ts, INTERVAL '1' HOUR) OVER (PARTITION BY k ORDER BY ts)`: whether a row has no
//! double among those before it; `last_within`: whether it is the last of those doubles.
//!
//! The first row of a partition is first. Every other row is if it comes no less than the interval
//! after the last one that was. So of rows that come again and again, one comes through per
//! interval, and a key can be forgotten once an interval has passed. The last row is the one before
//! the next first.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion_expr::{
    LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion_physical_expr::PhysicalExpr;

use super::windows::fixed_length_ns;
use crate::operators::over::calls::times_ns;

/// Which one of rows that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    First,
    Last,
}

impl Which {
    const ALL: [Which; 2] = [Which::First, Which::Last];

    /// Which row a function tells.
    pub fn of(function: &str) -> Option<Which> {
        Which::ALL.into_iter().find(|which| which.function() == function)
    }

    /// The name of the window function.
    pub fn function(self) -> &'static str {
        match self {
            Which::First => "first_within",
            Which::Last => "last_within",
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Which::First => "first",
            Which::Last => "last",
        })
    }
}

/// For any registry that plans or runs our queries.
pub fn functions() -> [Arc<WindowUDF>; 2] {
    Which::ALL.map(|which| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(WindowUDF::from(OneWithin { which, signature }))
    })
}

/// For each of rows in the order of their times, in ns, from `from` on, whether it is the one.
/// `first_ns` is when the first row of the doubles before was, and then of the last ones.
pub fn ones(
    which: Which,
    within_ns: i64,
    times_ns: &[i128],
    rows: Range<usize>,
    first_ns: &mut Option<i128>,
) -> Vec<bool> {
    let is_next = |time: i128, first: i128| time - first >= i128::from(within_ns);
    let of = |row: usize| {
        let time = times_ns[row];
        let is_first = first_ns.is_none_or(|first| is_next(time, first));
        let first = if is_first { *first_ns.insert(time) } else { first_ns.unwrap_or(time) };
        match which {
            Which::First => is_first,
            Which::Last => times_ns.get(row + 1).is_none_or(|next| is_next(*next, first)),
        }
    };
    rows.map(of).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneWithin {
    which: Which,
    signature: Signature,
}

impl WindowUDFImpl for OneWithin {
    fn name(&self) -> &str {
        self.which.function()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [time @ DataType::Timestamp(..), DataType::Interval(_)] => {
                Ok(vec![time.clone(), DataType::Interval(IntervalUnit::MonthDayNano)])
            }
            _ => plan_err!("{} takes a timestamp and an interval", self.name()),
        }
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator { which: self.which }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Boolean, false)))
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::None
    }
}

#[derive(Debug)]
struct Evaluator {
    which: Which,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if rows == 0 {
            return Ok(Arc::new(BooleanArray::from(Vec::<bool>::new())));
        }
        let function = self.which.function();
        let Some(times) = times_ns(&values[0]) else {
            return exec_err!("{function} takes a timestamp");
        };
        let within = ScalarValue::try_from_array(&values[1], 0)?;
        let within_ns = match fixed_length_ns(&within, "length") {
            Ok(within_ns) => within_ns,
            Err(reason) => return exec_err!("{reason}"),
        };
        let ones = ones(self.which, within_ns, &times, 0..rows, &mut None);
        Ok(Arc::new(BooleanArray::from(ones)))
    }
}
