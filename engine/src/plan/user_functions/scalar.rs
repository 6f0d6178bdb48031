//! A value for each row.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature};

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
        Ok(self.0.chosen(types)?.1.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        let (place, signature) = self.0.chosen(&types)?;
        let rows = args.number_rows;
        let given = args.args.into_iter().map(|argument| argument.into_array(rows));
        let given = given.collect::<Result<Vec<ArrayRef>>>()?;
        let arrays = self.0.with_defaults(signature, given, rows)?;
        let current = self.0.slot.current();
        match current.module.evaluate(current.indices[place], &arrays, rows) {
            Ok(values) => Ok(ColumnarValue::Array(values)),
            Err(error) => exec_err!("function {}: {}", self.0.name(), error.reason),
        }
    }
}
