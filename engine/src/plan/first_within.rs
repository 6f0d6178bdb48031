//! `first_within(ts, INTERVAL '1' HOUR) OVER (PARTITION BY k ORDER BY ts)`: whether a row has no
//! double among those before it.
//!
//! The first row of a partition is first. Every other row is if it comes no less than the interval
//! after the last one that was. So of rows that come again and again, one comes through per
//! interval, and a key can be forgotten once an interval has passed.

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

pub const FIRST_WITHIN: &str = "first_within";

/// For any registry that plans or runs our queries.
pub fn function() -> Arc<WindowUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(WindowUDF::from(FirstWithin { signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FirstWithin {
    signature: Signature,
}

impl WindowUDFImpl for FirstWithin {
    fn name(&self) -> &str {
        FIRST_WITHIN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [time @ DataType::Timestamp(..), DataType::Interval(_)] => {
                Ok(vec![time.clone(), DataType::Interval(IntervalUnit::MonthDayNano)])
            }
            _ => plan_err!("{FIRST_WITHIN} takes a timestamp and an interval"),
        }
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Boolean, false)))
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::None
    }
}

#[derive(Debug)]
struct Evaluator;

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        if rows == 0 {
            return Ok(Arc::new(BooleanArray::from(Vec::<bool>::new())));
        }
        let Some(times) = times_ns(&values[0]) else {
            return exec_err!("{FIRST_WITHIN} takes a timestamp");
        };
        let within = ScalarValue::try_from_array(&values[1], 0)?;
        let within_ns = match fixed_length_ns(&within, "length") {
            Ok(within_ns) => i128::from(within_ns),
            Err(reason) => return exec_err!("{reason}"),
        };
        let mut first: Option<i128> = None;
        let is_first = times.into_iter().map(|time| {
            let is_first = first.is_none_or(|first| time - first >= within_ns);
            if is_first {
                first = Some(time);
            }
            is_first
        });
        Ok(Arc::new(is_first.map(Some).collect::<BooleanArray>()))
    }
}
