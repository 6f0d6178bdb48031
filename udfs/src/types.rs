//! Names of types, as functions spell them, and Arrow's types.
//!
//! | name | Arrow |
//! |---|---|
//! | boolean | Boolean |
//! | tinyint, smallint, int, bigint; unsigned | Int8 … Int64; UInt8 … UInt64 |
//! | real, double | Float32, Float64 |
//! | decimal(p, s) | Decimal128(p, s), p from 1 to 38 |
//! | varchar, json | Utf8 |
//! | bytea | Binary |
//! | date | Date32 |
//! | time | Time64(Microsecond) |
//! | timestamp, timestamptz | Timestamp(Microsecond), without and with zone UTC |
//! | array<T> | List<T> |
//! | row<a T, b U> | Struct |

use std::fmt;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// Types within types: what is deeper is a mistake.
const DEPTH_MAX: usize = 16;
/// The longest name of a type, in bytes.
const TEXT_MAX: usize = 4096;

/// The zone of `timestamptz`.
pub const UTC: &str = "UTC";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no type '{0}': boolean, tinyint, smallint, int, bigint (unsigned), real, double, \
     decimal(p, s), varchar, bytea, json, date, time, timestamp, timestamptz, array<…> or \
     row<name type, …>"
)]
pub struct UnknownType(String);

/// The type that `text` names.
pub fn parse(text: &str) -> Result<DataType, UnknownType> {
    let unknown = || UnknownType(text.chars().take(80).collect());
    if text.len() > TEXT_MAX {
        return Err(unknown());
    }
    let mut rest = text;
    let data_type = parse_type(&mut rest, 0).ok_or_else(unknown)?;
    if rest.trim().is_empty() { Ok(data_type) } else { Err(unknown()) }
}

fn parse_type(rest: &mut &str, depth: usize) -> Option<DataType> {
    if depth > DEPTH_MAX {
        return None;
    }
    let word = word(rest)?.to_ascii_lowercase();
    Some(match &*word {
        "boolean" | "bool" => DataType::Boolean,
        "tinyint" => integer(rest, DataType::Int8, DataType::UInt8),
        "smallint" => integer(rest, DataType::Int16, DataType::UInt16),
        "int" | "integer" => integer(rest, DataType::Int32, DataType::UInt32),
        "bigint" => integer(rest, DataType::Int64, DataType::UInt64),
        "real" | "float" => DataType::Float32,
        "double" => DataType::Float64,
        "decimal" | "numeric" => decimal(rest)?,
        "varchar" | "text" | "string" | "json" => DataType::Utf8,
        "bytea" | "binary" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        "array" => {
            symbol(rest, '<')?;
            let item = parse_type(rest, depth + 1)?;
            symbol(rest, '>')?;
            DataType::new_list(item, true)
        }
        "row" | "struct" => {
            symbol(rest, '<')?;
            let mut fields = Vec::new();
            loop {
                let name = name(rest)?;
                fields.push(Field::new(name, parse_type(rest, depth + 1)?, true));
                if symbol(rest, ',').is_none() {
                    break;
                }
            }
            symbol(rest, '>')?;
            DataType::Struct(fields.into())
        }
        _ => return None,
    })
}

fn integer(rest: &mut &str, signed: DataType, unsigned: DataType) -> DataType {
    let mut ahead = *rest;
    match word(&mut ahead) {
        Some(next) if next.eq_ignore_ascii_case("unsigned") => {
            *rest = ahead;
            unsigned
        }
        _ => signed,
    }
}

fn decimal(rest: &mut &str) -> Option<DataType> {
    symbol(rest, '(')?;
    let precision: u8 = word(rest)?.parse().ok()?;
    symbol(rest, ',')?;
    let scale: i8 = word(rest)?.parse().ok()?;
    symbol(rest, ')')?;
    let fits = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
    fits.then_some(DataType::Decimal128(precision, scale))
}

/// A field's name: a word, or anything within double quotes.
fn name<'a>(rest: &mut &'a str) -> Option<&'a str> {
    match rest.trim_start().strip_prefix('"') {
        None => word(rest),
        Some(quoted) => {
            let (name, after) = quoted.split_once('"')?;
            *rest = after;
            Some(name)
        }
    }
}

fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start();
    let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '-');
    let (word, after) = text.split_at(text.find(is_end).unwrap_or(text.len()));
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn symbol(rest: &mut &str, wanted: char) -> Option<()> {
    *rest = rest.trim_start().strip_prefix(wanted)?;
    Some(())
}

/// A type by the name that [`parse`] reads, for messages.
pub struct Name<'a>(pub &'a DataType);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            DataType::Null => "null",
            DataType::Boolean => "boolean",
            DataType::Int8 => "tinyint",
            DataType::Int16 => "smallint",
            DataType::Int32 => "int",
            DataType::Int64 => "bigint",
            DataType::UInt8 => "tinyint unsigned",
            DataType::UInt16 => "smallint unsigned",
            DataType::UInt32 => "int unsigned",
            DataType::UInt64 => "bigint unsigned",
            DataType::Float32 => "real",
            DataType::Float64 => "double",
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "varchar",
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea",
            DataType::Date32 => "date",
            DataType::Time64(_) => "time",
            DataType::Timestamp(_, None) => "timestamp",
            DataType::Timestamp(_, Some(_)) => "timestamptz",
            DataType::Decimal128(precision, scale) => {
                return write!(f, "decimal({precision}, {scale})");
            }
            DataType::List(item) => return write!(f, "array<{}>", Name(item.data_type())),
            DataType::Struct(fields) => return write_row(f, fields),
            other => return write!(f, "{other}"),
        };
        f.write_str(name)
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, fields: &Fields) -> fmt::Result {
    f.write_str("row<")?;
    for (index, field) in fields.iter().enumerate() {
        let comma = if index > 0 { ", " } else { "" };
        let plain = field.name().chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let quote = if plain && !field.name().is_empty() { "" } else { "\"" };
        write!(f, "{comma}{quote}{}{quote} {}", field.name(), Name(field.data_type()))?;
    }
    f.write_str(">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in [
            "boolean",
            "tinyint unsigned",
            "bigint",
            "decimal(38, 10)",
            "varchar",
            "timestamptz",
            "array<array<int unsigned>>",
            "row<a varchar, \"b c\" array<double>, d row<e date>>",
        ] {
            assert_eq!(Name(&parse(text).unwrap()).to_string(), text);
        }
        assert_eq!(parse(" JSON ").unwrap(), DataType::Utf8);
        assert_eq!(parse("Int").unwrap(), DataType::Int32);
    }

    #[test]
    fn what_is_no_type_is_refused() {
        let deep = "array<".repeat(1000);
        for text in [
            "",
            "integ",
            "int int",
            "decimal",
            "decimal(39, 1)",
            "decimal(5, 6)",
            "array<int",
            "array<>",
            "row<>",
            "row<a>",
            "row<a int,>",
            "int>",
            &deep,
        ] {
            parse(text).unwrap_err();
        }
        let message = parse("intt").unwrap_err().to_string();
        assert!(message.starts_with("there is no type 'intt': boolean"), "{message}");
    }
}
