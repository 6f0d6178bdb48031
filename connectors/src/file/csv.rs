//! Rows of CSV as RFC 4180 has them: fields between delimiters, in quotes where they hold a
//! delimiter, a quote (written twice) or a line end.

use std::borrow::Cow;

use super::encoding::Encoding;
use crate::data::{Schema, SchemaAndValue, SchemaBuilder, Struct, Text, Value};

const QUOTE: u8 = b'"';
/// More columns than anyone means.
const COLUMNS_MAX: usize = 10_000;

/// How a file's rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: u8,
    /// Whether the first row names the columns.
    pub header: bool,
    pub encoding: Encoding,
}

/// Finds where rows end.
#[derive(Clone, Copy, Debug)]
pub struct Scanner {
    delimiter: u8,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    FieldStart,
    Unquoted,
    Quoted,
    /// Behind a quote within quotes: the field's end, or the first of two.
    Quote,
}

impl Scanner {
    pub fn new(delimiter: u8) -> Scanner {
        Scanner { delimiter, state: State::FieldStart }
    }

    /// At the start of a row.
    pub fn reset(&mut self) {
        self.state = State::FieldStart;
    }

    /// Where in `bytes` the newline is that ends the row. `None`: not there; go on behind them.
    pub fn row_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                State::Quoted => match memchr::memchr(QUOTE, rest) {
                    Some(quote) => {
                        at += quote + 1;
                        self.state = State::Quote;
                    }
                    None => return None,
                },
                State::Unquoted => match memchr::memchr2(self.delimiter, b'\n', rest) {
                    Some(found) => {
                        at += found;
                        self.state = State::FieldStart;
                        if bytes[at] == b'\n' {
                            return Some(at);
                        }
                        at += 1;
                    }
                    None => return None,
                },
                State::FieldStart | State::Quote => {
                    let byte = rest[0];
                    self.state = match byte {
                        b'\n' => {
                            self.state = State::FieldStart;
                            return Some(at);
                        }
                        QUOTE => State::Quoted,
                        _ if byte == self.delimiter => State::FieldStart,
                        _ => State::Unquoted,
                    };
                    at += 1;
                }
            }
        }
        None
    }
}

/// The fields of a row, without its line end.
pub fn fields(row: &[u8], delimiter: u8, encoding: Encoding) -> Result<Vec<Text>, String> {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        if fields.len() >= COLUMNS_MAX {
            return Err(format!("a row of more than {COLUMNS_MAX} fields"));
        }
        let number = fields.len() + 1;
        let (field, next) = match row.get(at) {
            Some(&QUOTE) => {
                quoted(row, at + 1, delimiter).map_err(|what| at_field(what, number))?
            }
            _ => {
                let length = memchr::memchr(delimiter, &row[at..]).unwrap_or(row.len() - at);
                (Cow::Borrowed(&row[at..at + length]), at + length)
            }
        };
        let text = encoding.decode(&field).map_err(|what| at_field(&what, number))?;
        fields.push(Text::from(&*text));
        if next >= row.len() {
            return Ok(fields);
        }
        at = next + 1;
    }
}

fn at_field(what: &str, number: usize) -> String {
    format!("field {number} {what}")
}

/// A field whose first quote is before `start`, and where it ends.
fn quoted(row: &[u8], start: usize, delimiter: u8) -> Result<(Cow<'_, [u8]>, usize), &'static str> {
    let mut field = Vec::new();
    let mut at = start;
    loop {
        let Some(quote) = memchr::memchr(QUOTE, &row[at..]) else {
            return Err("has a quote that is never closed");
        };
        field.extend_from_slice(&row[at..at + quote]);
        at += quote + 1;
        match row.get(at) {
            Some(&QUOTE) => {
                field.push(QUOTE);
                at += 1;
            }
            Some(byte) if *byte != delimiter => {
                return Err("goes on behind its closing quote; quotes in it are written twice");
            }
            _ => return Ok((field.into(), at)),
        }
    }
}

/// The columns of one file.
#[derive(Clone, Debug)]
pub struct Columns {
    dialect: Dialect,
    schema: Schema,
}

impl Columns {
    /// By the first row of a file: the names, or, where it is no header, as many as it has.
    pub fn new(first: &[u8], dialect: Dialect) -> Result<Columns, String> {
        let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
        let names = fields(first, dialect.delimiter, dialect.encoding)?;
        let mut schema = SchemaBuilder::structure();
        let mut seen = std::collections::HashSet::new();
        for (index, name) in names.into_iter().enumerate() {
            let name = match dialect.header {
                true => Text::from(name.trim()),
                false => Text::from(format!("column{}", index + 1)),
            };
            if name.is_empty() {
                return Err(format!("column {} has no name in the header", index + 1));
            }
            if !seen.insert(name.clone()) {
                return Err(format!("the header names two columns '{name}'"));
            }
            schema = schema.field(name, Schema::optional_string());
        }
        Ok(Columns { dialect, schema: schema.build() })
    }

    /// The row as a struct of texts.
    pub fn row(&self, row: &[u8]) -> Result<SchemaAndValue, String> {
        let fields = fields(row, self.dialect.delimiter, self.dialect.encoding)?;
        let (found, expected) = (fields.len(), self.schema.fields().len());
        if found != expected {
            return Err(format!("{found} fields where the first row has {expected}"));
        }
        let values = fields.into_iter().map(Value::String).collect();
        let row = Struct::with_values(&self.schema, values);
        Ok(SchemaAndValue::new(&self.schema, Value::structure(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row_ends(text: &[u8], piece: usize) -> Vec<usize> {
        let mut scanner = Scanner::new(b',');
        let (mut ends, mut base) = (Vec::new(), 0);
        for chunk in text.chunks(piece) {
            let mut at = 0;
            while let Some(end) = scanner.row_end(&chunk[at..]) {
                ends.push(base + at + end);
                at += end + 1;
            }
            base += chunk.len();
        }
        ends
    }

    fn split(row: &str) -> Result<Vec<String>, String> {
        let fields = fields(row.as_bytes(), b',', Encoding::UTF_8)?;
        Ok(fields.into_iter().map(|field| field.to_string()).collect())
    }

    #[test]
    fn fields_are_split_and_unquoted() {
        assert_eq!(split("a,b,").unwrap(), ["a", "b", ""]);
        assert_eq!(split("").unwrap(), [""]);
        assert_eq!(split("\"a,\"\"b\"\"\n\",5\" nails").unwrap(), ["a,\"b\"\n", "5\" nails"]);
        assert_eq!(split("\"\",x").unwrap(), ["", "x"]);
        assert_eq!(split("a,\"b").unwrap_err(), "field 2 has a quote that is never closed");
        assert!(split("\"a\"b").unwrap_err().starts_with("field 1 goes on behind"));
        assert_eq!(fields(b"\xff", b',', Encoding::UTF_8).unwrap_err(), "field 1 is not UTF-8");
    }

    #[test]
    fn a_header_names_columns_and_rows_must_fit_it() {
        let dialect = Dialect { delimiter: b';', header: true, encoding: Encoding::UTF_8 };
        let columns = Columns::new(b"\xef\xbb\xbfid;\"full name\"", dialect).unwrap();
        let row = columns.row(b"1;x").unwrap();
        let Value::Struct(row) = row.value else { unreachable!() };
        assert_eq!(row.get("full name"), Some(&Value::string("x")));
        assert_eq!(columns.row(b"1").unwrap_err(), "1 fields where the first row has 2");
        assert!(Columns::new(b"a;a", dialect).unwrap_err().contains("two columns 'a'"));
        assert!(Columns::new(b"a;", dialect).unwrap_err().contains("column 2 has no name"));
        let columns = Columns::new(b"1;2", Dialect { header: false, ..dialect }).unwrap();
        assert_eq!(columns.schema.fields()[1].name, "column2");
        let latin = Dialect { encoding: Encoding::named("latin1").unwrap(), ..dialect };
        let columns = Columns::new(b"gr\xf6\xdfe;\"stra\xdfe\"", latin).unwrap();
        let Value::Struct(row) = columns.row(b"1;\"Caf\xe9 \"\"\xc0\"\"\"").unwrap().value else {
            unreachable!()
        };
        assert_eq!(row.get("straße"), Some(&Value::string("Café \"À\"")));
        assert_eq!(row.get("größe"), Some(&Value::string("1")));
    }

    proptest! {
        /// Written as CSV and read again, whatever is in the fields and however it is cut.
        #[test]
        fn what_is_written_is_read_back(
            rows in prop::collection::vec(
                prop::collection::vec("[a,\"\n\r ]{0,4}", 1..4), 0..5),
            piece in 1usize..9,
        ) {
            let mut text = String::new();
            let mut ends = Vec::new();
            for row in &rows {
                let quoted = row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\"")));
                text.push_str(&quoted.collect::<Vec<_>>().join(","));
                ends.push(text.len());
                text.push('\n');
            }
            prop_assert_eq!(row_ends(text.as_bytes(), piece), ends.clone());
            let mut start = 0;
            for (row, end) in rows.iter().zip(ends) {
                prop_assert_eq!(&split(&text[start..end]).unwrap(), row);
                start = end + 1;
            }
        }
    }
}
