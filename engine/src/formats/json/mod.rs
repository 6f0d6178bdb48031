//! One JSON object per record, by the names of the columns.
//!
//! Fields that no column names are passed over; a missing field is NULL. Of a name that stands
//! twice the last counts. The text goes straight into the columns: no tree, no tape.
//!
//! | JSON | goes into |
//! |---|---|
//! | number | every number it fits in; times and dates as a count of the column's unit; text |
//! | string | text; numbers and booleans that it spells; ISO 8601 times and dates; base64 bytes |
//! | true, false | boolean, text |
//! | object | struct, map (keys are text), or text as it stands |
//! | array | list, or text as it stands |
//! | null | NULL |
//!
//! Rows are written with all columns, NULL as `null`, times in ISO 8601, bytes in base64, floats
//! that JSON has no word for as `null`.
//!
//! A record that is no JSON, or does not fit, costs itself alone: the error names the field by its
//! path, what stands there and what should.

pub mod encode;
pub mod reader;
mod times;

use arrow::array::ArrayRef;
use arrow::datatypes::Fields;
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::engine::{DecodePaddingMode, GeneralPurpose};

use self::reader::{Kind, Quoted, Reader, SyntaxError, unescape};
use super::builders::{ColumnBuilder, Meaning, Put, Refused};
use super::fault::{Fault, Step};
use super::{DecodeError, FormatError, excerpt};

/// Takes both forms of the last two letters, with padding or without.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

pub struct JsonDecoder {
    rows: ColumnBuilder,
    scratch: Scratch,
}

/// Room for strings whose escapes were taken out, and for bytes.
#[derive(Default)]
struct Scratch {
    text: String,
    name: String,
    bytes: Vec<u8>,
}

/// A value and its place among those that came with it.
pub type Indexed<'a> = (usize, &'a [u8]);

/// Why a value is no row.
#[derive(Debug)]
enum Failure {
    Syntax(SyntaxError),
    Fault(Box<Fault>),
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Failure {
        Failure::Syntax(error)
    }
}

impl JsonDecoder {
    /// A decoder of these fields.
    pub fn new(fields: Fields) -> Result<JsonDecoder, FormatError> {
        let rows = ColumnBuilder::rows(fields, "JSON")?;
        Ok(JsonDecoder { rows, scratch: Scratch::default() })
    }

    /// Takes the columns of all good values, in order; `failed` takes the places and reasons of
    /// others.
    pub fn decode(
        &mut self,
        values: &[Indexed<'_>],
        failed: &mut Vec<(usize, DecodeError)>,
    ) -> Vec<ArrayRef> {
        for (index, value) in values {
            if let Err(error) = self.append(value) {
                failed.push((*index, error));
            }
        }
        self.finish()
    }

    /// Takes one value, which must be one row; nothing of it after an error.
    pub fn append(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let row = self.rows.len();
        let taken = self.take(value);
        if taken.is_err() {
            self.rows.truncate(row);
        }
        taken
    }

    pub fn rows(&mut self) -> &mut ColumnBuilder {
        &mut self.rows
    }

    pub fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows.finish_columns()
    }

    fn take(&mut self, value: &[u8]) -> Result<(), DecodeError> {
        let syntax = |reason: String| DecodeError::JsonSyntax { reason, excerpt: excerpt(value) };
        let text = str::from_utf8(value)
            .map_err(|error| syntax(format!("invalid UTF-8 at byte {}", error.valid_up_to())))?;
        let mut reader = Reader::new(text);
        reader.skip_blanks();
        if reader.is_at_end() {
            return Err(syntax("it is empty".to_owned()));
        }
        let taken = take(&mut reader, &mut self.rows, &mut self.scratch);
        taken.map_err(|failure| failure.into_error(value))?;
        reader.skip_blanks();
        if reader.is_at_end() {
            return Ok(());
        }
        let mut count = 1;
        while reader.skip().is_ok() {
            count += 1;
            reader.skip_blanks();
        }
        match count {
            1 => Err(syntax("something follows the value".to_owned())),
            _ => Err(DecodeError::JsonCount { count, excerpt: excerpt(value) }),
        }
    }
}

impl Failure {
    fn into_error(self, value: &[u8]) -> DecodeError {
        match self {
            Failure::Syntax(SyntaxError { at, reason }) => {
                let reason = match reason {
                    "it ends in the middle" => reason.to_owned(),
                    _ => format!("{reason} at byte {at}"),
                };
                DecodeError::JsonSyntax { reason, excerpt: excerpt(value) }
            }
            Failure::Fault(fault) => fault.into_error("JSON", value),
        }
    }
}

/// The JSON `text` as a value of `column`: for defaults that schemas declare.
pub fn put_json(text: &str, column: &mut ColumnBuilder) -> Result<(), Box<Fault>> {
    let mut reader = Reader::new(text);
    match take(&mut reader, column, &mut Scratch::default()) {
        Ok(()) => Ok(()),
        Err(Failure::Fault(fault)) => Err(fault),
        Err(Failure::Syntax(error)) => Err(Fault::new(error.reason.to_owned(), "JSON".to_owned())),
    }
}

fn take(
    reader: &mut Reader<'_>,
    column: &mut ColumnBuilder,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let refused = |column: &ColumnBuilder, refused: Refused, found: &str| {
        Failure::Fault(Fault::refused(column, refused, found.to_owned()))
    };
    match reader.kind()? {
        Kind::Number => {
            let number = reader.number()?;
            let put = match (number.integer, column.meaning) {
                (Some(integer), None) => column.count(integer),
                (Some(integer), Some(meaning)) => put_meant(column, integer, meaning),
                (None, _) => column.number(number.text),
            };
            put.map_err(|why| refused(column, why, &shown(number.text)))
        }
        Kind::String => {
            let quoted = reader.string()?;
            let put = put_string(quoted, column, scratch);
            put.map_err(|why| {
                refused(column, why, &format!("the text {}", shown_text(quoted.text)))
            })
        }
        Kind::True => {
            reader.literal("true")?;
            column.boolean(true).map_err(|why| refused(column, why, "true"))
        }
        Kind::False => {
            reader.literal("false")?;
            column.boolean(false).map_err(|why| refused(column, why, "false"))
        }
        Kind::Null => {
            reader.literal("null")?;
            column.null().map_err(|why| refused(column, why, "null"))
        }
        Kind::Object if column.as_struct().is_some() => take_struct(reader, column, scratch),
        Kind::Object if column.entries().is_some() => take_map(reader, column, scratch),
        Kind::Array if column.items().is_some() => take_list(reader, column, scratch),
        kind => {
            let raw = reader.raw()?;
            if column.is_text() {
                return column.text(raw).map_err(|why| refused(column, why, "a long value"));
            }
            let what = if kind == Kind::Object { "an object" } else { "an array" };
            Err(refused(column, Refused::Type, what))
        }
    }
}

fn put_meant(column: &mut ColumnBuilder, value: i64, meaning: Meaning) -> Put {
    match meaning {
        Meaning::Instant(unit) => column.instant(value, unit),
        Meaning::Days => column.days(value),
        Meaning::TimeOfDay(unit) => column.time_of_day(value, unit),
        Meaning::Decimal(_) => column.integer(value),
    }
}

fn put_string(quoted: Quoted<'_>, column: &mut ColumnBuilder, scratch: &mut Scratch) -> Put {
    let text = if quoted.escaped {
        unescape(quoted.text, &mut scratch.text).map_err(|_| Refused::Type)?;
        scratch.text.as_str()
    } else {
        quoted.text
    };
    if let Some(Meaning::Decimal(scale)) = column.meaning {
        base64_bytes(text, &mut scratch.bytes).ok_or(Refused::Type)?;
        return column.decimal(twos_complement(&scratch.bytes).ok_or(Refused::Type)?, scale);
    }
    if column.is_binary() {
        base64_bytes(text, &mut scratch.bytes).ok_or(Refused::Type)?;
        return column.bytes(&scratch.bytes);
    }
    column.text(text)
}

fn base64_bytes(text: &str, into: &mut Vec<u8>) -> Option<()> {
    into.clear();
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe { URL_SAFE } else { STANDARD };
    engine.decode_vec(text, into).ok()
}

/// A number from its big-endian bytes; `None` if it has more than 128 bits.
pub fn twos_complement(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let filler = if negative { 0xff } else { 0 };
    let (extra, bytes) = bytes.split_at(bytes.len().saturating_sub(16));
    if extra.iter().any(|byte| *byte != filler) {
        return None;
    }
    let mut wide = [filler; 16];
    wide[16 - bytes.len()..].copy_from_slice(bytes);
    let value = i128::from_be_bytes(wide);
    ((value < 0) == negative).then_some(value)
}

fn take_struct(
    reader: &mut Reader<'_>,
    column: &mut ColumnBuilder,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let row = column.len();
    if reader.open(b'}') {
        let of = column.as_struct().expect("asked for by the caller");
        let mut position = 0;
        loop {
            let name = reader.name()?;
            let found = if name.escaped {
                unescape(name.text, &mut scratch.name).map_err(|reason| reader.error(reason))?;
                of.find(position, &scratch.name)
            } else {
                of.find(position, name.text)
            };
            match found {
                Some(index) => {
                    let below = &mut of.columns[index];
                    if below.len() > row {
                        below.truncate(row);
                    }
                    take(reader, below, scratch).map_err(|failure| failure.within(below))?;
                }
                None => reader.skip()?,
            }
            position += 1;
            if !reader.next(b'}')? {
                break;
            }
        }
    }
    column.end_struct().map_err(|missing| {
        let of = column.as_struct().expect("a struct has ended");
        let below = &of.columns[missing];
        let fault = Fault::refused(below, Refused::Null, "missing".to_owned());
        Failure::Fault(fault).within(below)
    })
}

fn take_map(
    reader: &mut Reader<'_>,
    column: &mut ColumnBuilder,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let (keys, values) = column.entries().expect("asked for by the caller");
    if reader.open(b'}') {
        loop {
            let name = reader.name()?;
            let refused = |keys: &ColumnBuilder, why| {
                let found = format!("the name {}", shown_text(name.text));
                Failure::Fault(Fault::refused(keys, why, found))
            };
            put_string(name, keys, scratch).map_err(|why| refused(keys, why))?;
            let taken = take(reader, values, scratch);
            taken.map_err(|failure| failure.at(|| Step::Key(shown_text(name.text))))?;
            if !reader.next(b'}')? {
                break;
            }
        }
    }
    column.end_map().map_err(|why| full(column, why))
}

fn take_list(
    reader: &mut Reader<'_>,
    column: &mut ColumnBuilder,
    scratch: &mut Scratch,
) -> Result<(), Failure> {
    let items = column.items().expect("asked for by the caller");
    let first = items.len();
    if reader.open(b']') {
        loop {
            let taken = take(reader, items, scratch);
            taken.map_err(|failure| failure.at(|| Step::Index(items.len() - first)))?;
            if !reader.next(b']')? {
                break;
            }
        }
    }
    column.end_list().map_err(|why| full(column, why))
}

fn full(column: &ColumnBuilder, why: Refused) -> Failure {
    Failure::Fault(Fault::refused(column, why, "an array of another length".to_owned()))
}

impl Failure {
    fn within(self, column: &ColumnBuilder) -> Failure {
        self.at(|| Step::Field(column.name().to_owned()))
    }

    fn at(mut self, step: impl FnOnce() -> Step) -> Failure {
        if let Failure::Fault(fault) = &mut self {
            fault.push(step());
        }
        self
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// A string as it stands in the record, bounded.
fn shown_text(quoted: &str) -> String {
    let text = shown(quoted);
    let more = if text.len() < quoted.len() { "…" } else { "" };
    format!("\"{text}\"{more}")
}

#[cfg(test)]
mod tests;
