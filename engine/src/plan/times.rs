//! Flink's `to_timestamp_ltz`: points in time from numbers and text.
//!
//! | call | gives |
//! |---|---|
//! | `to_timestamp_ltz(n, 3)`, `to_timestamp_ltz(n)` | the time n ms after 1970 |
//! | `to_timestamp_ltz(n, 0)` | the time n s after 1970 |
//! | `to_timestamp_ltz('2013-01-01 10:00:00')` | that time in UTC, unless it names another zone |
//!
//! Text that says no time gives NULL, as there.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::pipeline::cases::parse_time_ms;

const NAME: &str = "to_timestamp_ltz";
const UTC: &str = "+00:00";

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestampLtz {
    signature: Signature,
}

/// For any registry that plans or runs our queries.
pub fn function() -> Arc<ScalarUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(ScalarUDF::from(ToTimestampLtz { signature }))
}

impl ScalarUDFImpl for ToTimestampLtz {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let is_text =
            |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        match types {
            [text] if is_text(text) => Ok(vec![DataType::Utf8]),
            [number] if number.is_numeric() || number.is_null() => Ok(vec![DataType::Int64]),
            [number, precision]
                if (number.is_numeric() || number.is_null()) && precision.is_integer() =>
            {
                Ok(vec![DataType::Int64, DataType::Int64])
            }
            _ => plan_err!(
                "{NAME} takes a number and its precision, 0 for seconds or 3 for milliseconds; or \
                 text"
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let factor = match args.args.get(1) {
            None | Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(3)))) => 1,
            Some(ColumnarValue::Scalar(ScalarValue::Int64(Some(0)))) => 1_000,
            Some(_) => return exec_err!("the precision of {NAME} is 0 (seconds) or 3 (ms)"),
        };
        let values = args.args[0].to_array(args.number_rows)?;
        let times: TimestampMillisecondArray = match values.data_type() {
            DataType::Utf8 => {
                let texts = values.as_string::<i32>().iter();
                texts.map(|text| text.and_then(parse_time_ms)).collect()
            }
            _ => {
                let numbers: ArrayRef = cast(&values, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>().iter();
                // Beyond what can be counted there is no time.
                numbers.map(|number| number.and_then(|of| of.checked_mul(factor))).collect()
            }
        };
        Ok(ColumnarValue::Array(Arc::new(times.with_timezone(UTC))))
    }
}
