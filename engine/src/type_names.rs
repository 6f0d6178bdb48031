//! Types by the names that files give them, where libraries give them Arrow's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

/// A message in which types are named as files name them, where it has Arrow's names.
pub fn with_types_of_files(message: &str) -> String {
    const NAMES: [&str; 24] = [
        "Utf8",
        "LargeUtf8",
        "Utf8View",
        "Boolean",
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "Float32",
        "Float64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "Date32",
        "LargeBinary",
        "BinaryView",
        "Timestamp",
        "Decimal128",
        "List",
        "LargeList",
        "Duration",
        "Interval",
        "Time64",
    ];
    let mut said = String::with_capacity(message.len());
    let mut rest = message;
    while !rest.is_empty() {
        let is_of_word = |sign: char| sign.is_alphanumeric() || sign == '_';
        let word = rest.len() - rest.trim_start_matches(is_of_word).len();
        if word == 0 {
            let end = rest.find(is_of_word).unwrap_or(rest.len());
            said.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let whole = word + in_parentheses(&rest[word..]);
        let parsed = NAMES.contains(&&rest[..word]).then(|| {
            [whole, word]
                .into_iter()
                .find_map(|end| Some((end, rest[..end].parse::<DataType>().ok()?)))
        });
        match parsed.flatten() {
            Some((end, data_type)) => {
                said.push_str(&type_text(&data_type));
                rest = &rest[end..];
            }
            None => {
                said.push_str(&rest[..word]);
                rest = &rest[word..];
            }
        }
    }
    said
}

/// How long what stands in parentheses is at the beginning of a text, these included.
fn in_parentheses(text: &str) -> usize {
    let mut depth = 0usize;
    for (at, sign) in text.char_indices() {
        match sign {
            '(' => depth += 1,
            _ if depth == 0 => return 0,
            ')' if depth == 1 => return at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    0
}

/// A type as files name it.
pub fn type_text(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int8 => "tinyint".to_owned(),
        DataType::Int16 => "smallint".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, None) => "timestamp".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::Decimal256(precision, scale) => format!("decimal({precision}, {scale})"),
        DataType::UInt8 => "tinyint unsigned".to_owned(),
        DataType::UInt16 => "smallint unsigned".to_owned(),
        DataType::UInt32 => "int unsigned".to_owned(),
        DataType::UInt64 => "bigint unsigned".to_owned(),
        DataType::FixedSizeBinary(length) => format!("binary({length})"),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            format!("{}[]", type_text(of.data_type()))
        }
        DataType::Struct(fields) => {
            let field = |of: &Arc<Field>| format!("{} {}", of.name(), type_text(of.data_type()));
            format!("row<{}>", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(of) if of.len() == 2 => {
                format!("map<{}, {}>", type_text(of[0].data_type()), type_text(of[1].data_type()))
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_types_as_files_do() {
        for (said, shown) in [
            (
                "Cannot cast string 'x' to value of Int64 type",
                "Cannot cast string 'x' to value of bigint type",
            ),
            ("Utf8 and Timestamp(ms) (of Int32, twice)", "text and timestamp (of int, twice)"),
            ("Decimal128(10, 2), List(Utf8) or Utf8s", "decimal(10, 2), text[] or Utf8s"),
            ("Timestamp(ns, \"UTC\")é", "timestamptzé"),
            ("Time64(ns) or UInt64", "time or bigint unsigned"),
            ("Timestamp( is not closed", "Timestamp( is not closed"),
            ("(", "("),
        ] {
            assert_eq!(with_types_of_files(said), shown);
        }
    }
}
