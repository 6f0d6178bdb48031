//! A value for each row; of a table function, the list of its rows.

use std::sync::{Arc, PoisonError};

use arrow::array::{ArrayRef, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use udfs::Kind;

use super::Overloads;
use super::slot::{Constant, Current};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Scalar(pub Overloads);

impl ScalarUDFImpl for Scalar {
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
        let signature = self.0.chosen(types)?.1;
        Ok(match signature.kind {
            Kind::Table => DataType::List(item(signature)),
            Kind::Scalar | Kind::Aggregate { .. } => signature.returns.clone(),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (place, signature) = self.0.chosen(&types)?;
        let current = self.0.slot.current();
        if self.0.signature.volatility == Volatility::Immutable
            && let Some(constants) = constants(&args.args)
        {
            return match self.constant(&current, place, signature, constants)? {
                Ok(value) => Ok(ColumnarValue::Scalar(value)),
                Err(reason) => exec_err!("function {}: {reason}", self.0.name()),
            };
        }
        let rows = args.number_rows;
        let given = args.args.into_iter().map(|argument| argument.into_array(rows));
        let given = given.collect::<Result<Vec<ArrayRef>>>()?;
        match self.call(&current, place, signature, given, rows)? {
            Ok(values) => Ok(ColumnarValue::Array(values)),
            Err(reason) => exec_err!("function {}: {reason}", self.0.name()),
        }
    }
}

impl Scalar {
    /// The values, or why the function gives none.
    fn call(
        &self,
        current: &Current,
        place: usize,
        signature: &udfs::Signature,
        given: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<Result<ArrayRef, String>> {
        let arrays = self.0.with_defaults(signature, given, rows)?;
        let (module, index) = (&current.module, current.indices[place]);
        let values = match signature.kind {
            Kind::Table => module
                .expand(index, &arrays, rows)
                .map(|(of, values)| Arc::new(lists(signature, &of, values, rows)) as ArrayRef),
            Kind::Scalar | Kind::Aggregate { .. } => module.evaluate(index, &arrays, rows),
        };
        Ok(values.map_err(|error| error.reason))
    }

    /// The value for arguments that are the same for all rows: as it was, if they were these last
    /// time.
    fn constant(
        &self,
        current: &Current,
        overload: usize,
        signature: &udfs::Signature,
        arguments: Vec<ScalarValue>,
    ) -> Result<Result<ScalarValue, String>> {
        let mut last = current.constant.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref()
            && last.overload == overload
            && last.arguments == arguments
        {
            return Ok(last.value.clone());
        }
        let given = arguments.iter().map(|argument| argument.to_array_of_size(1));
        let given = given.collect::<Result<Vec<ArrayRef>>>()?;
        let value = match self.call(current, overload, signature, given, 1)? {
            Ok(values) => Ok(ScalarValue::try_from_array(&values, 0)?),
            Err(reason) => Err(reason),
        };
        *last = Some(Constant { overload, arguments, value: value.clone() });
        Ok(value)
    }
}

fn constants(arguments: &[ColumnarValue]) -> Option<Vec<ScalarValue>> {
    let constants = arguments.iter().map(|argument| match argument {
        ColumnarValue::Scalar(value) => Some(value.clone()),
        ColumnarValue::Array(_) => None,
    });
    constants.collect()
}

fn item(signature: &udfs::Signature) -> FieldRef {
    Arc::new(Field::new_list_field(signature.returns.clone(), true))
}

/// For each row the list of those values that are `of` it.
fn lists(
    signature: &udfs::Signature,
    of: &UInt32Array,
    values: ArrayRef,
    rows: usize,
) -> ListArray {
    let mut lengths = vec![0; rows];
    of.values().iter().for_each(|row| lengths[*row as usize] += 1);
    ListArray::new(item(signature), OffsetBuffer::from_lengths(lengths), values, None)
}
