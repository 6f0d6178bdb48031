//! What a sink writes of one record: a line.

use crate::convert::json::{JsonConverter, JsonOptions};
use crate::convert::value_to_string;
use crate::data::{SchemaAndValue, Text, Value};

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// Text as it is, all else as JSON.
    Text,
    Json,
    /// With a header.
    Csv {
        delimiter: u8,
    },
}

/// Writes values as lines.
#[derive(Clone, Debug)]
pub struct Rows {
    format: RowFormat,
    json: JsonConverter,
}

impl Rows {
    pub fn new(format: RowFormat) -> Rows {
        let options = JsonOptions { schemas: false, ..JsonOptions::default() };
        Rows { format, json: JsonConverter::new(options) }
    }

    pub fn format(&self) -> RowFormat {
        self.format
    }

    /// Appends a value as a line. Where `columns` are not known yet, the value says what they are,
    /// and a header comes first. An error says why it cannot be written; then nothing was.
    pub fn append(
        &mut self,
        value: &SchemaAndValue,
        columns: &mut Option<Vec<Text>>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let start = out.len();
        let result = match (self.format, &value.value) {
            (RowFormat::Csv { delimiter }, _) => self.csv(value, delimiter, columns, out),
            (RowFormat::Text, Value::String(text)) => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            (RowFormat::Text, Value::Bytes(bytes)) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            _ => self.json.write(value, out).map(drop).map_err(|error| error.to_string()),
        };
        match result {
            Ok(()) => out.push(b'\n'),
            Err(_) => out.truncate(start),
        }
        result
    }

    fn csv(
        &mut self,
        value: &SchemaAndValue,
        delimiter: u8,
        columns: &mut Option<Vec<Text>>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let names = names(&value.value).ok_or_else(|| {
            format!("a row of CSV needs fields, and this is {}", value.value.kind())
        })?;
        if let Some(columns) = &*columns
            && let Some(name) = names.iter().find(|name| !columns.contains(*name))
        {
            return Err(format!("field '{name}' is none of the file's columns"));
        }
        if columns.is_none() {
            for (index, name) in names.iter().enumerate() {
                separate(index, delimiter, out);
                append_field(name, delimiter, out);
            }
            out.push(b'\n');
        }
        let columns: &Vec<Text> = columns.get_or_insert(names);
        for (index, name) in columns.iter().enumerate() {
            separate(index, delimiter, out);
            match field(&value.value, name) {
                None | Some(Value::Null) => {}
                Some(field @ (Value::Struct(_) | Value::Map(_) | Value::Array(_))) => {
                    let mut json = Vec::new();
                    let field = SchemaAndValue::schemaless(field.clone());
                    self.json.write(&field, &mut json).map_err(|error| error.to_string())?;
                    append_field(&String::from_utf8_lossy(&json), delimiter, out);
                }
                Some(field) => append_field(&value_to_string(field), delimiter, out),
            }
        }
        Ok(())
    }
}

/// The fields of a struct, or the keys of a map.
fn names(value: &Value) -> Option<Vec<Text>> {
    match value {
        Value::Struct(value) => {
            Some(value.schema().fields().iter().map(|field| field.name.clone()).collect())
        }
        Value::Map(map) => map
            .keys()
            .map(|key| match key {
                Value::String(name) => Some(name.clone()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// A field of a struct or a map.
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Struct(value) => value.get(name),
        Value::Map(map) => map.get(&Value::string(name)),
        _ => None,
    }
}

fn separate(index: usize, delimiter: u8, out: &mut Vec<u8>) {
    if index > 0 {
        out.push(delimiter);
    }
}

fn append_field(text: &str, delimiter: u8, out: &mut Vec<u8>) {
    let special = |byte: u8| byte == delimiter || matches!(byte, b'"' | b'\n' | b'\r');
    if !text.bytes().any(special) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn lines(format: RowFormat, values: &[&str]) -> (String, Vec<String>) {
        let options = JsonOptions { schemas: false, ..JsonOptions::default() };
        let mut json = JsonConverter::new(options);
        let (mut rows, mut columns) = (Rows::new(format), None);
        let (mut out, mut refused) = (Vec::new(), Vec::new());
        for value in values {
            let value = json.read(Some(&Bytes::copy_from_slice(value.as_bytes()))).unwrap();
            refused.extend(rows.append(&value, &mut columns, &mut out).err());
        }
        (String::from_utf8(out).unwrap(), refused)
    }

    #[test]
    fn values_are_written_as_lines() {
        let values =
            [r#"{"a":1, "b":"x;\n\"y\"","c":[1]}"#, r#"{"c":null,"a":2.5}"#, r#"{"d":1}"#, "7"];
        let (csv, refused) = lines(RowFormat::Csv { delimiter: b';' }, &values);
        assert_eq!(csv, "a;b;c\n1;\"x;\n\"\"y\"\"\";[1]\n2.5;;\n");
        assert_eq!(
            refused,
            [
                "field 'd' is none of the file's columns",
                "a row of CSV needs fields, and this is an int64"
            ]
        );
        let (json, _) = lines(RowFormat::Json, &["{\"a\" :\n 1}", "\"text\""]);
        assert_eq!(json, "{\"a\":1}\n\"text\"\n");
        let (text, _) = lines(RowFormat::Text, &["{\"a\" :\n 1}", "\"text\""]);
        assert_eq!(text, "{\"a\":1}\ntext\n");
    }
}
