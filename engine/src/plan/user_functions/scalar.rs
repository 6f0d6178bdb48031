//! A value for each row; of a table function, the list of its rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature};
use udfs::Kind;

use super::Overloads;

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
        let rows = args.number_rows;
        let given = args.args.into_iter().map(|argument| argument.into_array(rows));
        let given = given.collect::<Result<Vec<ArrayRef>>>()?;
        let arrays = self.0.with_defaults(signature, given, rows)?;
        let current = self.0.slot.current();
        let (module, index) = (&current.module, current.indices[place]);
        let values = match signature.kind {
            Kind::Table => module
                .expand(index, &arrays, rows)
                .map(|(of, values)| Arc::new(lists(signature, &of, values, rows)) as ArrayRef),
            Kind::Scalar | Kind::Aggregate { .. } => module.evaluate(index, &arrays, rows),
        };
        match values {
            Ok(values) => Ok(ColumnarValue::Array(values)),
            Err(error) => exec_err!("function {}: {}", self.0.name(), error.reason),
        }
    }
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
