//! Any number of rows for each row, as the list of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature};

use super::Overloads;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Table(pub Overloads);

impl ScalarUDFImpl for Table {
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
        Ok(DataType::List(item(self.0.chosen(types)?.1)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (place, signature) = self.0.chosen(&types)?;
        let rows = args.number_rows;
        let given = args.args.into_iter().map(|argument| argument.into_array(rows));
        let given = given.collect::<Result<Vec<ArrayRef>>>()?;
        let arrays = self.0.with_defaults(signature, given, rows)?;
        let current = self.0.slot.current();
        let (of, values) = match current.module.expand(current.indices[place], &arrays, rows) {
            Ok(expanded) => expanded,
            Err(error) => return exec_err!("function {}: {}", self.0.name(), error.reason),
        };
        let mut lengths = vec![0; rows];
        for row in of.values() {
            lengths[*row as usize] += 1;
        }
        let offsets = OffsetBuffer::from_lengths(lengths);
        let lists = ListArray::try_new(item(signature), offsets, values, None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

fn item(signature: &udfs::Signature) -> FieldRef {
    Arc::new(Field::new_list_field(signature.returns.clone(), true))
}
