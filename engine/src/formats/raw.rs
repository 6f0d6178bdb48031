//! The value as it is, in a single column. A null value is a row with NULL.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, LargeBinaryArray, LargeStringArray, StringArray,
    StringViewArray,
};
use arrow::datatypes::DataType;

/// A column of `data_type` from byte strings that are known to be valid in it; `None` if it is
/// no type of text or bytes.
pub fn bytes_column<'a>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Option<ArrayRef> {
    // Lossless: text was checked by `invalid_utf8` before it comes here.
    let text = |value: Option<&'a [u8]>| value.map(|value| str::from_utf8(value).unwrap_or(""));
    Some(match data_type {
        DataType::Utf8 => Arc::new(values.map(text).collect::<StringArray>()),
        DataType::LargeUtf8 => Arc::new(values.map(text).collect::<LargeStringArray>()),
        DataType::Utf8View => Arc::new(values.map(text).collect::<StringViewArray>()),
        DataType::Binary => Arc::new(values.collect::<BinaryArray>()),
        DataType::LargeBinary => Arc::new(values.collect::<LargeBinaryArray>()),
        DataType::BinaryView => Arc::new(values.collect::<BinaryViewArray>()),
        _ => return None,
    })
}

/// Where `value` stops being valid in a column of `data_type`; `None` if it is valid.
pub fn invalid_utf8(data_type: &DataType, value: &[u8]) -> Option<usize> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            str::from_utf8(value).err().map(|error| error.valid_up_to())
        }
        _ => None,
    }
}
