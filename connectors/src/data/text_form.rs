//! Values as text, and what text stands for: the form of Connect's headers.
//!
//! ```text
//! 42  -1.5  true  2024-02-29  12:30:00.000Z  2024-02-29T12:30:00.000Z
//! ["a", 1]  {"k": [1, 2]}  and everything else is a string
//! ```
//!
//! As Connect's `Values` does it: an integer is of the smallest type that holds it; the items of
//! an array get the type that fits them all. Four things differ, each lest a value change on its
//! way: a number with a fraction is a float32 only if that holds it, otherwise a float64; what
//! follows a whole array or map makes the text a string; quotes that were escaped come back
//! without their backslash; and a date that does not exist is a string. Times are UTC.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::civil::{Civil, MS_PER_DAY, days_of_date, is_date};
use super::number::{double_to_string, float_to_string};
use super::{Decimal, Map, Schema, SchemaAndValue, SchemaBuilder, Struct, Type, Value};

/// Deeper nesting is text.
const DEPTH_MAX: usize = 100;

/// The text of a value; of null there is none.
pub fn to_text(value: &Value) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let mut out = String::new();
    append(value, false, &mut out);
    Some(out)
}

fn append(value: &Value, embedded: bool, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int8(number) => out.push_str(&number.to_string()),
        Value::Int16(number) => out.push_str(&number.to_string()),
        Value::Int32(number) => out.push_str(&number.to_string()),
        Value::Int64(number) => out.push_str(&number.to_string()),
        Value::Float32(number) => out.push_str(&float_to_string(*number)),
        Value::Float64(number) => out.push_str(&double_to_string(*number)),
        Value::Decimal(number) => out.push_str(&number.to_string()),
        Value::String(text) if embedded => append_quoted(text, out),
        Value::String(text) => out.push_str(text),
        Value::Bytes(bytes) if embedded => append_quoted(&STANDARD.encode(bytes), out),
        Value::Bytes(bytes) => out.push_str(&STANDARD.encode(bytes)),
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => out.push_str(&iso(value)),
        Value::Array(items) => {
            let items = items.iter().map(|item| move |out: &mut String| append(item, true, out));
            append_list('[', items, ']', out);
        }
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| {
                move |out: &mut String| {
                    append(key, true, out);
                    out.push(':');
                    append(value, true, out);
                }
            });
            append_list('{', entries, '}', out);
        }
        Value::Struct(value) => append_struct(value, out),
    }
}

fn append_struct(value: &Struct, out: &mut String) {
    let fields = value.schema().fields().iter().enumerate().map(|(index, field)| {
        move |out: &mut String| {
            append_quoted(&field.name, out);
            out.push(':');
            append(value.at(index), true, out);
        }
    });
    append_list('{', fields, '}', out);
}

fn append_list(
    open: char,
    items: impl Iterator<Item = impl FnOnce(&mut String)>,
    close: char,
    out: &mut String,
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        item(out);
    }
    out.push(close);
}

fn append_quoted(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(&text.replace('\\', "\\\\").replace('"', "\\\""));
    out.push('"');
}

/// A date, a time or a timestamp in the form of ISO 8601; a timestamp at midnight as a date.
pub fn iso(value: &Value) -> String {
    let date = |c: Civil| format!("{:04}-{:02}-{:02}", c.year, c.month, c.day);
    let time = |c: Civil| format!("{:02}:{:02}:{:02}.{:03}Z", c.hour, c.minute, c.second, c.ms);
    match value {
        Value::Date(days) => date(Civil::at(i64::from(*days) * MS_PER_DAY)),
        Value::Time(ms) => time(Civil::at(i64::from(*ms))),
        Value::Timestamp(ms) if ms % MS_PER_DAY == 0 => date(Civil::at(*ms)),
        Value::Timestamp(ms) => {
            let at = Civil::at(*ms);
            format!("{}T{}", date(at), time(at))
        }
        other => panic!("{} is no point in time", other.kind()),
    }
}

/// What the text stands for, with its schema.
pub fn parse(text: &str) -> SchemaAndValue {
    let mut parser = Parser { text, at: 0 };
    let whole = parser.value(false, 0).filter(|_| text[parser.at..].trim().is_empty());
    whole.unwrap_or_else(|| SchemaAndValue::new(&Schema::string(), Value::string(text)))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

const DELIMITERS: [char; 7] = [':', ',', '{', '}', '[', ']', '"'];

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Takes that delimiter, and blanks before it, if it is next.
    fn takes(&mut self, delimiter: char) -> bool {
        let rest = self.rest();
        let Some(after) = rest.trim_start().strip_prefix(delimiter) else { return false };
        self.at += rest.len() - after.len();
        true
    }

    /// Where the next delimiter is that is not escaped.
    fn token_end(&self, from: usize) -> usize {
        let mut escaped = false;
        for (index, letter) in self.text[from..].char_indices() {
            match letter {
                '\\' => escaped = !escaped,
                letter if DELIMITERS.contains(&letter) && !escaped => return from + index,
                _ => escaped = false,
            }
        }
        self.text.len()
    }

    /// A value; embedded in an array or a map, or the whole text. `None`: it is no value.
    fn value(&mut self, embedded: bool, depth: usize) -> Option<SchemaAndValue> {
        if depth > DEPTH_MAX {
            return None;
        }
        if embedded && self.takes('"') {
            return self.quoted();
        }
        if self.takes('[') {
            return self.array(depth);
        }
        if self.takes('{') {
            return self.map(depth);
        }
        if let Some(temporal) = self.time_of_tokens() {
            return Some(temporal);
        }
        let end = self.token_end(self.at);
        let token = self.text[self.at..end].trim();
        self.at = end;
        Some(match token {
            "null" => SchemaAndValue::NULL,
            "true" => SchemaAndValue::new(&Schema::boolean(), Value::Boolean(true)),
            "false" => SchemaAndValue::new(&Schema::boolean(), Value::Boolean(false)),
            token => temporal(token).or_else(|| number(token))?,
        })
    }

    /// A time or a timestamp, whose colons are delimiters too.
    fn time_of_tokens(&mut self) -> Option<SchemaAndValue> {
        let start = self.at + self.rest().len() - self.rest().trim_start().len();
        for length in [TIMESTAMP_LENGTH, TIME_LENGTH] {
            let Some(text) = self.text.get(start..start + length) else { continue };
            let ends = self.token_end(start + length);
            if text.ends_with('Z')
                && self.text[start + length..ends].trim().is_empty()
                && let Some(found) = temporal(text)
            {
                self.at = ends;
                return Some(found);
            }
        }
        None
    }

    fn quoted(&mut self) -> Option<SchemaAndValue> {
        let mut content = String::new();
        let mut letters = self.rest().char_indices();
        while let Some((index, letter)) = letters.next() {
            match letter {
                '"' => {
                    self.at += index + 1;
                    let string =
                        || SchemaAndValue::new(&Schema::string(), Value::string(&*content));
                    return Some(temporal(&content).unwrap_or_else(string));
                }
                '\\' => match letters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => content.push(escaped),
                    Some((_, other)) => content.extend(['\\', other]),
                    None => return None,
                },
                _ => content.push(letter),
            }
        }
        None
    }

    fn array(&mut self, depth: usize) -> Option<SchemaAndValue> {
        let (mut items, mut of) = (Vec::new(), Merged::default());
        if self.takes(']') {
            return Some(SchemaAndValue::schemaless(Value::array(items)));
        }
        loop {
            let item = self.value(true, depth + 1)?;
            of.take(&item);
            items.push(item.value);
            if self.takes(']') {
                break;
            }
            if !self.takes(',') {
                return None;
            }
        }
        Some(match of.schema(&mut items.iter_mut()) {
            Some(of) => SchemaAndValue::new(&SchemaBuilder::array(of).build(), Value::array(items)),
            None => SchemaAndValue::schemaless(Value::array(items)),
        })
    }

    fn map(&mut self, depth: usize) -> Option<SchemaAndValue> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let (mut of_keys, mut of_values) = (Merged::default(), Merged::default());
        while !self.takes('}') {
            let key = self.value(true, depth + 1)?;
            if key.value.is_null() || !self.takes(':') {
                return None;
            }
            let value = self.value(true, depth + 1)?;
            of_keys.take(&key);
            of_values.take(&value);
            keys.push(key.value);
            values.push(value.value);
            if !self.takes(',') && !self.rest().trim_start().starts_with('}') {
                return None;
            }
        }
        let of_keys = of_keys.schema(&mut keys.iter_mut());
        let of_values = of_values.schema(&mut values.iter_mut());
        let schema =
            of_keys.zip(of_values).map(|(keys, values)| SchemaBuilder::map(keys, values).build());
        let map: Map = keys.into_iter().zip(values).collect();
        Some(SchemaAndValue { schema, value: Value::map(map) })
    }
}

const DATE_LENGTH: usize = "2024-02-29".len();
const TIME_LENGTH: usize = "12:30:00.000Z".len();
const TIMESTAMP_LENGTH: usize = DATE_LENGTH + 1 + TIME_LENGTH;

/// The date, time or timestamp that the text is.
fn temporal(text: &str) -> Option<SchemaAndValue> {
    let unescaped = text.replace("\\:", ":");
    let (schema, value) = match unescaped.len() {
        DATE_LENGTH => (SchemaBuilder::date(), Value::Date(date(&unescaped)?)),
        TIME_LENGTH => (SchemaBuilder::time(), Value::Time(time(&unescaped)?)),
        TIMESTAMP_LENGTH => {
            let (day, of_day) = unescaped.split_once('T')?;
            let ms = i64::from(date(day)?) * MS_PER_DAY + i64::from(time(of_day)?);
            (SchemaBuilder::timestamp(), Value::Timestamp(ms))
        }
        _ => return None,
    };
    Some(SchemaAndValue::new(&schema.build(), value))
}

/// The numbers at the `0`s of a pattern whose other letters must be there.
fn fields<const N: usize>(text: &str, pattern: &str) -> Option<[u32; N]> {
    let mut numbers = [0; N];
    let mut at = 0;
    if text.len() != pattern.len() {
        return None;
    }
    for (letter, expected) in text.bytes().zip(pattern.bytes()) {
        match (letter, expected) {
            (b'0'..=b'9', b'0') => numbers[at] = numbers[at] * 10 + u32::from(letter - b'0'),
            (letter, expected) if letter == expected => at = (at + 1).min(N - 1),
            _ => return None,
        }
    }
    Some(numbers)
}

fn date(text: &str) -> Option<i32> {
    let [year, month, day] = fields(text, "0000-00-00")?;
    let year = i64::from(year);
    is_date(year, month, day).then(|| days_of_date(year, month, day) as i32)
}

fn time(text: &str) -> Option<i32> {
    let [hour, minute, second, ms] = fields(text.strip_suffix('Z')?, "00:00:00.000")?;
    let exists = hour < 24 && minute < 60 && second < 60;
    exists.then_some((((hour * 60 + minute) * 60 + second) * 1000 + ms) as i32)
}

fn number(text: &str) -> Option<SchemaAndValue> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || first == '+' || first == '-') {
        return None;
    }
    let decimal: Decimal = text.parse().ok()?;
    if let Some(whole) = decimal.rescaled(0) {
        if let Ok(number) = i64::try_from(&whole.unscaled) {
            let (schema, value) = smallest(number);
            return Some(SchemaAndValue::new(&schema, value));
        }
        return Some(SchemaAndValue::new(
            &SchemaBuilder::decimal(decimal.scale).build(),
            Value::Decimal(Arc::new(decimal)),
        ));
    }
    let single: f32 = text.parse().ok()?;
    let exact = float_to_string(single).parse::<Decimal>().ok();
    let same = |other: &Decimal| {
        let scale = other.scale.max(decimal.scale);
        other.rescaled(scale) == decimal.rescaled(scale)
    };
    Some(match exact.as_ref().is_some_and(same) {
        true => SchemaAndValue::new(&Schema::float32(), Value::Float32(single)),
        false => SchemaAndValue::new(&Schema::float64(), Value::Float64(text.parse().ok()?)),
    })
}

fn smallest(number: i64) -> (Schema, Value) {
    if let Ok(number) = i8::try_from(number) {
        (Schema::int8(), Value::Int8(number))
    } else if let Ok(number) = i16::try_from(number) {
        (Schema::int16(), Value::Int16(number))
    } else if let Ok(number) = i32::try_from(number) {
        (Schema::int32(), Value::Int32(number))
    } else {
        (Schema::int64(), Value::Int64(number))
    }
}

/// Finds the type that fits all items.
#[derive(Default)]
struct Merged {
    common: Option<Schema>,
    incompatible: bool,
    has_nulls: bool,
}

impl Merged {
    fn take(&mut self, item: &SchemaAndValue) {
        let Some(schema) = &item.schema else {
            self.has_nulls |= item.value.is_null();
            // An empty array or map says nothing of what its items are.
            self.incompatible |= !item.value.is_null();
            return;
        };
        self.common = match self.common.take() {
            None => Some(schema.clone()),
            Some(common) if common == *schema => Some(common),
            Some(common) => match (width(&common), width(schema)) {
                // A float32 does not hold every int32.
                (Some(2 | 3), Some(4)) | (Some(4), Some(2 | 3)) => Some(Schema::float64()),
                (Some(a), Some(b)) => Some(if a >= b { common } else { schema.clone() }),
                _ => {
                    self.incompatible = true;
                    Some(common)
                }
            },
        };
    }

    /// The type, to which all items are brought; `None` if they have none in common.
    fn schema(self, items: &mut dyn Iterator<Item = &mut Value>) -> Option<Schema> {
        let common = self.common.filter(|_| !self.incompatible)?;
        for item in items {
            widen(item, common.type_());
        }
        Some(if self.has_nulls { common.to_builder().optional().build() } else { common })
    }
}

/// The order in which a number's type holds the ones before it.
fn width(schema: &Schema) -> Option<u32> {
    Some(match schema.type_() {
        Type::Int8 => 0,
        Type::Int16 => 1,
        Type::Int32 if schema.logical().is_none() => 2,
        Type::Int64 if schema.logical().is_none() => 3,
        Type::Float32 => 4,
        Type::Float64 => 5,
        _ => return None,
    })
}

fn widen(value: &mut Value, to: Type) {
    let (whole, float) = match *value {
        Value::Int8(number) => (i64::from(number), f64::from(number)),
        Value::Int16(number) => (i64::from(number), f64::from(number)),
        Value::Int32(number) => (i64::from(number), f64::from(number)),
        Value::Int64(number) => (number, number as f64),
        Value::Float32(number) => (number as i64, f64::from(number)),
        _ => return,
    };
    *value = match to {
        Type::Int16 => Value::Int16(whole as i16),
        Type::Int32 => Value::Int32(whole as i32),
        Type::Int64 => Value::Int64(whole),
        Type::Float32 => Value::Float32(float as f32),
        Type::Float64 => Value::Float64(float),
        _ => return,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (String, Value) {
        let SchemaAndValue { schema, value } = parse(text);
        (schema.map_or("none".to_owned(), |schema| format!("{schema:?}")), value)
    }

    #[test]
    fn scalars_are_recognised() {
        let check = |text: &str, schema: &str, value: Value| {
            assert_eq!(parsed(text), (schema.to_owned(), value), "{text}");
        };
        check("", "string", Value::string(""));
        check(" a b ", "string", Value::string(" a b "));
        check("true", "boolean", Value::Boolean(true));
        check("true}", "string", Value::string("true}"));
        check("null", "none", Value::Null);
        check("1", "int8", Value::Int8(1));
        check("1.0", "int8", Value::Int8(1));
        check("-300", "int16", Value::Int16(-300));
        check("70000", "int32", Value::Int32(70_000));
        check("3000000000", "int64", Value::Int64(3_000_000_000));
        check("1.5", "float32", Value::Float32(1.5));
        check("0.1", "float32", Value::Float32(0.1));
        check("3.14159265358979", "float64", Value::Float64(3.14159265358979));
        check("1-2", "string", Value::string("1-2"));
        check("2024-02-29", "org.apache.kafka.connect.data.Date:int32", Value::Date(19_782));
        check("2023-02-29", "string", Value::string("2023-02-29"));
        let time = "org.apache.kafka.connect.data.Time:int32";
        check("00:00:01.002Z", time, Value::Time(1002));
        let timestamp = "org.apache.kafka.connect.data.Timestamp:int64";
        check("1970-01-02T00:00:01.002Z", timestamp, Value::Timestamp(86_401_002));
        check("\"quoted\"", "string", Value::string("\"quoted\""));
    }

    #[test]
    fn arrays_and_maps_get_a_common_type() {
        let check = |text: &str, schema: &str, again: &str| {
            let (found, value) = parsed(text);
            assert_eq!(
                (found.as_str(), to_text(&value).as_deref()),
                (schema, Some(again)),
                "{text}"
            );
        };
        check("[]", "none", "[]");
        check("[1, 300]", "array<int16>", "[1,300]");
        check("[1, 2.5, 3]", "array<float32>", "[1.0,2.5,3.0]");
        check("[1, null]", "array<int8?>", "[1,null]");
        check("[\"a\", 1]", "none", "[\"a\",1]");
        check("{\"a\": 1, \"b\": 2}", "map<string, int8>", "{\"a\":1,\"b\":2}");
        check("[\"x\\\"y\\\\\"]", "array<string>", "[\"x\\\"y\\\\\"]");
        check("[[1],[2]]", "array<array<int8>>", "[[1],[2]]");
        for text in ["[1,]", "[,]", "{1:2", "[1] x", "{\"a\"}", "[a]", "{null:1}", "[1 2]"] {
            check(text, "string", text);
        }
        let deep = "[".repeat(10_000);
        check(&deep, "string", &deep);
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_what_is_read_keeps_its_text(
            text in r#"[\[\]{}":,\\ 0-9a-cTZ.\-+eé]{0,24}"#
        ) {
            let SchemaAndValue { schema, value } = parse(&text);
            if let Some(schema) = &schema {
                prop_assert_eq!(value.check(schema), Ok(()));
            }
            if let Some(shown) = to_text(&value) {
                prop_assert_eq!(parse(&shown).value, value, "{}", shown);
            }
        }
    }
}
