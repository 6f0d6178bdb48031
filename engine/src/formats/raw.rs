//! The value as it is, in a single column: text, bytes, or what its text spells. A null value is
//! a row with NULL.
//!
//! Keys are read so unless another format is declared; a key of one column is written so. Text
//! must be UTF-8; numbers, booleans and times are read as JSON's strings are.

use arrow::array::ArrayRef;
use arrow::datatypes::FieldRef;

use super::builders::ColumnBuilder;
use super::columns::expectation;
use super::{DecodeError, FormatError, excerpt};
use crate::type_names::type_text;

/// Each column takes the whole of every value.
pub struct RawDecoder {
    columns: Vec<ColumnBuilder>,
}

impl RawDecoder {
    pub fn new(fields: &[FieldRef]) -> Result<RawDecoder, FormatError> {
        let column = |field: &FieldRef| {
            if field.data_type().is_nested() {
                return Err(FormatError::Type {
                    column: field.name().clone(),
                    format: "raw",
                    data_type: type_text(field.data_type()),
                });
            }
            ColumnBuilder::new(field, "raw")
        };
        Ok(RawDecoder { columns: fields.iter().map(column).collect::<Result<_, _>>()? })
    }

    /// Takes one value; nothing of it after an error.
    pub fn append(&mut self, value: Option<&[u8]>) -> Result<(), DecodeError> {
        for at in 0..self.columns.len() {
            let column = &mut self.columns[at];
            let row = column.len();
            if let Err(error) = put(column, value) {
                column.truncate(row);
                self.columns[..at].iter_mut().for_each(|column| column.truncate(row));
                return Err(error);
            }
        }
        Ok(())
    }

    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.columns.iter_mut().map(ColumnBuilder::finish).collect()
    }
}

fn put(column: &mut ColumnBuilder, value: Option<&[u8]>) -> Result<(), DecodeError> {
    let name = |column: &ColumnBuilder| column.name().to_owned();
    let Some(value) = value else {
        return column.null().map_err(|_| DecodeError::Null { column: name(column) });
    };
    if column.is_binary() {
        return column.bytes(value).map_err(|_| wrong(column, value));
    }
    let text = str::from_utf8(value).map_err(|error| {
        let (at, excerpt) = (error.valid_up_to(), excerpt(value));
        DecodeError::Utf8 { column: name(column), at, excerpt }
    })?;
    column.text(text).map_err(|_| wrong(column, value))
}

fn wrong(column: &ColumnBuilder, value: &[u8]) -> DecodeError {
    DecodeError::Field {
        column: column.name().to_owned(),
        position: 1,
        text: excerpt(value),
        expected: expectation(column.data_type()),
    }
}
