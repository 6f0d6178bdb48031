//! Converters of values without parts.

use std::borrow::Cow;

use bytes::Bytes;

use crate::config::class_name;
use crate::data::number::{double_to_string, float_to_string};
use crate::data::text_form::iso;
use crate::data::{DataError, Schema, SchemaAndValue, Text, Type, Value};

/// The numbers that have a converter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    Short,
    Integer,
    Long,
    Float,
    Double,
}

pub(super) fn write_string(value: &Value, out: &mut Vec<u8>) {
    let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
    match value {
        Value::Null => text("null"),
        Value::Boolean(value) => text(if *value { "true" } else { "false" }),
        Value::Int8(number) => text(&number.to_string()),
        Value::Int16(number) => text(&number.to_string()),
        Value::Int32(number) => text(&number.to_string()),
        Value::Int64(number) => text(&number.to_string()),
        Value::Float32(number) => text(&float_to_string(*number)),
        Value::Float64(number) => text(&double_to_string(*number)),
        Value::Decimal(number) => text(&number.to_string()),
        Value::String(value) => text(value),
        Value::Bytes(bytes) => out.extend_from_slice(bytes),
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => text(&iso(value)),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                write_string(item, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                write_string(key, out);
                out.push(b'=');
                write_string(value, out);
            }
            out.push(b'}');
        }
        Value::Struct(value) => {
            out.extend_from_slice(b"Struct{");
            let mut first = true;
            for (field, value) in value.schema().fields().iter().zip(value.values()) {
                if value.is_null() {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend_from_slice(field.name.as_bytes());
                out.push(b'=');
                write_string(value, out);
            }
            out.push(b'}');
        }
    }
}

/// What is no UTF-8 is replaced, letter by letter, as in Java.
pub(super) fn read_string(bytes: Option<&Bytes>) -> SchemaAndValue {
    let value = bytes.map_or(Value::Null, |bytes| {
        Value::String(match String::from_utf8_lossy(bytes) {
            Cow::Borrowed(_) => Text::from_utf8(bytes.clone()).expect("it was just looked at"),
            Cow::Owned(text) => text.into(),
        })
    });
    SchemaAndValue { schema: Some(Schema::optional_string()), value }
}

pub(super) fn write_bytes(data: &SchemaAndValue, out: &mut Vec<u8>) -> Result<(), DataError> {
    let fits = data.schema.as_ref().is_none_or(|schema| schema.type_() == Type::Bytes);
    match &data.value {
        Value::Bytes(bytes) if fits => out.extend_from_slice(bytes),
        other => {
            return Err(DataError(format!(
                "{} where ByteArrayConverter expects bytes; another converter can write it",
                other.kind()
            )));
        }
    }
    Ok(())
}

pub(super) fn read_bytes(bytes: Option<&Bytes>) -> SchemaAndValue {
    let value = bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.clone()));
    SchemaAndValue { schema: Some(Schema::optional_bytes()), value }
}

pub(super) fn write_boolean(value: &Value, out: &mut Vec<u8>) -> Result<(), DataError> {
    let Value::Boolean(value) = value else {
        return Err(DataError(format!(
            "{} where BooleanConverter expects a boolean",
            value.kind()
        )));
    };
    out.push(u8::from(*value));
    Ok(())
}

pub(super) fn read_boolean(bytes: Option<&Bytes>) -> Result<SchemaAndValue, DataError> {
    let value = match bytes.map(|bytes| &bytes[..]) {
        None => Value::Null,
        Some([0]) => Value::Boolean(false),
        Some([1]) => Value::Boolean(true),
        Some([other]) => return Err(DataError(format!("byte {other} where a boolean is 0 or 1"))),
        Some(other) => {
            return Err(DataError(format!("{} bytes where a boolean is one", other.len())));
        }
    };
    Ok(SchemaAndValue { schema: Some(Schema::optional_boolean()), value })
}

impl NumberType {
    pub(super) fn class(self) -> &'static str {
        match self {
            NumberType::Short => "org.apache.kafka.connect.converters.ShortConverter",
            NumberType::Integer => "org.apache.kafka.connect.converters.IntegerConverter",
            NumberType::Long => "org.apache.kafka.connect.converters.LongConverter",
            NumberType::Float => "org.apache.kafka.connect.converters.FloatConverter",
            NumberType::Double => "org.apache.kafka.connect.converters.DoubleConverter",
        }
    }

    fn converter(self) -> &'static str {
        class_name(self.class())
    }

    fn schema(self) -> Schema {
        match self {
            NumberType::Short => Schema::optional_int16(),
            NumberType::Integer => Schema::optional_int32(),
            NumberType::Long => Schema::optional_int64(),
            NumberType::Float => Schema::optional_float32(),
            NumberType::Double => Schema::optional_float64(),
        }
    }

    pub(super) fn write(self, value: &Value, out: &mut Vec<u8>) -> Result<(), DataError> {
        match (self, value) {
            (NumberType::Short, Value::Int16(number)) => out.extend(number.to_be_bytes()),
            (NumberType::Integer, Value::Int32(number)) => out.extend(number.to_be_bytes()),
            (NumberType::Long, Value::Int64(number)) => out.extend(number.to_be_bytes()),
            (NumberType::Float, Value::Float32(number)) => out.extend(number.to_be_bytes()),
            (NumberType::Double, Value::Float64(number)) => out.extend(number.to_be_bytes()),
            (_, other) => {
                let (found, of) = (other.kind(), self.schema().type_());
                let converter = self.converter();
                return Err(DataError(format!("{found} where {converter} expects {of}")));
            }
        }
        Ok(())
    }

    pub(super) fn read(self, bytes: Option<&Bytes>) -> Result<SchemaAndValue, DataError> {
        let schema = self.schema();
        let Some(bytes) = bytes else {
            return Ok(SchemaAndValue { schema: Some(schema), value: Value::Null });
        };
        let wrong = |_| {
            let converter = self.converter();
            DataError(format!("{} bytes are no {} for {converter}", bytes.len(), schema.type_()))
        };
        let bytes = &bytes[..];
        let value = match self {
            NumberType::Short => bytes.try_into().map(i16::from_be_bytes).map(Value::Int16),
            NumberType::Integer => bytes.try_into().map(i32::from_be_bytes).map(Value::Int32),
            NumberType::Long => bytes.try_into().map(i64::from_be_bytes).map(Value::Int64),
            NumberType::Float => bytes.try_into().map(f32::from_be_bytes).map(Value::Float32),
            NumberType::Double => bytes.try_into().map(f64::from_be_bytes).map(Value::Float64),
        };
        Ok(SchemaAndValue { value: value.map_err(wrong)?, schema: Some(schema) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Converter;
    use super::*;
    use crate::data::{SchemaBuilder, Struct};

    fn there_and_back(mut converter: Converter, value: Value) {
        let mut out = Vec::new();
        assert!(converter.write(&SchemaAndValue::schemaless(value.clone()), &mut out).unwrap());
        assert_eq!(converter.read(Some(&out.into())).unwrap().value, value);
        assert!(!converter.write(&SchemaAndValue::NULL, &mut Vec::new()).unwrap());
        assert_eq!(converter.read(None).unwrap().value, Value::Null);
    }

    #[test]
    fn values_go_there_and_back() {
        there_and_back(Converter::String, Value::string("é"));
        there_and_back(Converter::ByteArray, Value::Bytes(Bytes::from_static(&[0, 255])));
        there_and_back(Converter::Boolean, Value::Boolean(true));
        there_and_back(Converter::Number(NumberType::Short), Value::Int16(-2));
        there_and_back(Converter::Number(NumberType::Integer), Value::Int32(-2));
        there_and_back(Converter::Number(NumberType::Long), Value::Int64(-2));
        there_and_back(Converter::Number(NumberType::Float), Value::Float32(-2.5));
        there_and_back(Converter::Number(NumberType::Double), Value::Float64(-2.5));
        there_and_back(Converter::Simple, Value::Int16(300));
        let mut out = Vec::new();
        Converter::Number(NumberType::Long)
            .write(&SchemaAndValue::schemaless(Value::Int64(258)), &mut out)
            .unwrap();
        assert_eq!(out, [0, 0, 0, 0, 0, 0, 1, 2]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let text = SchemaAndValue::text("a");
        for mut converter in
            [Converter::ByteArray, Converter::Boolean, Converter::Number(NumberType::Float)]
        {
            assert!(converter.write(&text, &mut Vec::new()).is_err());
        }
        let five = Bytes::from_static(&[0; 5]);
        let error = Converter::Number(NumberType::Long).read(Some(&five)).unwrap_err();
        assert_eq!(error.0, "5 bytes are no int64 for LongConverter");
        assert!(Converter::Boolean.read(Some(&Bytes::from_static(&[2]))).is_err());
        let broken = Bytes::from_static(b"a\xffb");
        assert_eq!(read_string(Some(&broken)).value, Value::string("a\u{fffd}b"));
        assert_eq!(Converter::Simple.read(Some(&broken)).unwrap().value, Value::Bytes(broken));
    }

    #[test]
    fn text_of_values_with_parts_is_javas() {
        let schema = SchemaBuilder::structure().field("a", Schema::int32());
        let schema = schema.field("b", Schema::optional_string()).field("c", Schema::float64());
        let values = vec![Value::Int32(1), Value::Null, Value::Float64(2.0)];
        let value = Value::structure(Struct::with_values(&schema.build(), values));
        let map = [(Value::string("k"), Value::array(vec![value, Value::Null]))];
        let text = super::super::value_to_string(&Value::map(map.into_iter().collect()));
        assert_eq!(text, "{k=[Struct{a=1,c=2.0}, null]}");
    }
}
