//! In which directory a record's file is: by its fields and its time, as Hive has it.
//!
//! ```text
//! country=DE/year=2026/month=01/day=02/hour=03/
//! ```

use std::fmt::Write as _;

use super::rows::field;
use crate::convert::value_to_string;
use crate::data::civil::Civil;
use crate::data::{ConnectRecord, Value};

/// What stands for a field that is null or not there.
const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";

/// How fine time divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeStep {
    Year,
    Month,
    Day,
    Hour,
}

/// Directories by fields, then by the record's time in UTC.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    pub fields: Vec<String>,
    pub time: Option<TimeStep>,
}

impl Layout {
    /// A path that ends with a slash, or nothing.
    pub fn dir(&self, record: &ConnectRecord) -> String {
        let mut dir = String::new();
        for name in &self.fields {
            escape(name, &mut dir);
            dir.push('=');
            match field(&record.value.value, name) {
                None | Some(Value::Null) => dir.push_str(NO_VALUE),
                Some(value) => match value_to_string(value) {
                    text if text.is_empty() => dir.push_str(NO_VALUE),
                    text => {
                        escape(&text, &mut dir);
                    }
                },
            }
            dir.push('/');
        }
        if let Some(step) = self.time {
            let at = Civil::at(record.timestamp_ms.unwrap_or(0));
            let parts = [
                (TimeStep::Year, format!("year={:04}/", at.year)),
                (TimeStep::Month, format!("month={:02}/", at.month)),
                (TimeStep::Day, format!("day={:02}/", at.day)),
                (TimeStep::Hour, format!("hour={:02}/", at.hour)),
            ];
            dir.extend(parts.into_iter().filter(|(of, _)| *of <= step).map(|(_, part)| part));
        }
        dir
    }
}

/// Whether the name of a directory says all of a field's value: names are bounded.
pub fn says_all(value: &Value, name: &str) -> bool {
    match field(value, name) {
        // Each byte is three at the most.
        Some(Value::String(text)) if text.len() <= NAME_BYTES_MAX / 3 => true,
        Some(value) => escape(&value_to_string(value), &mut String::new()),
        None => true,
    }
}

/// The longest part of a directory's name.
const NAME_BYTES_MAX: usize = 200;

/// As Hive does: what has a meaning in paths or to Hive is `%` and two digits. Names of files are
/// bounded, so what is very long is cut: `false`.
fn escape(text: &str, out: &mut String) -> bool {
    let start = out.len();
    for c in text.chars() {
        if out.len() - start >= NAME_BYTES_MAX {
            return false;
        }
        let special = c.is_control() || "\"#%'*/:=?\\{}[]^".contains(c);
        // Neither a hidden name nor a way out.
        let first_dot = c == '.' && out.len() == start;
        if special || first_dot {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(c);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{SchemaAndValue, Text};

    #[test]
    fn fields_and_time_are_directories() {
        let map = [("c", Value::string("../a/b=ü")), ("n", Value::Int64(5)), ("e", Value::Null)];
        let map = map.into_iter().map(|(name, value)| (Value::string(name), value)).collect();
        let value = SchemaAndValue::schemaless(Value::map(map));
        let mut record = ConnectRecord::new(&Text::from("t"), SchemaAndValue::NULL, value);
        record.timestamp_ms = Some(1_767_322_800_000);
        let fields = ["c", "n", "e", "none"].map(str::to_owned).to_vec();
        let layout = Layout { fields, time: Some(TimeStep::Day) };
        assert_eq!(
            layout.dir(&record),
            "c=%2E.%2Fa%2Fb%3Dü/n=5/e=__HIVE_DEFAULT_PARTITION__/\
             none=__HIVE_DEFAULT_PARTITION__/year=2026/month=01/day=02/"
        );
        assert_eq!(Layout::default().dir(&record), "");
    }
}
