//! One RFC 4180 row per record: fields go straight into the builders of the columns that are
//! wanted, the others are only counted.
//!
//! A field may be quoted, a quote within quotes is doubled or comes after the escape character, if
//! there is one, and quoted fields may hold delimiters and line breaks. A quote inside an unquoted
//! field is an ordinary character. A line break at the record's end is not part of it. Without
//! quotes and line breaks, as most records are, the fields are found by searching for delimiters
//! alone.

use arrow::array::{ArrayRef, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::Field;
use memchr::{memchr_iter, memchr2, memchr3};

use super::columns::{TextColumn, expectation, text_column};
use super::json::Indexed;
use super::{DecodeError, FormatError, excerpt};
use crate::pipeline::CsvOptions;
use crate::type_names::type_text;

/// Decodes the wanted ones of a record's fields.
pub struct CsvDecoder {
    options: CsvOptions,
    /// Names of all fields that a record has, in order.
    names: Vec<String>,
    /// Bytes with which a header may begin.
    header_begins: [bool; 256],
    /// By position, ascending.
    wanted: Vec<Wanted>,
    /// Room for a field whose doubled quotes were taken out.
    scratch: Vec<u8>,
}

struct Wanted {
    position: usize,
    field: Field,
    column: Box<dyn TextColumn>,
}

/// Whether a record is a header.
enum Header {
    No,
    Same,
    /// Of other columns than the source has, or in another order.
    Other(String),
}

/// What editors on Windows put before the first line of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Of more names nobody reads.
const NAMES_SHOWN_MAX: usize = 20;

/// What became of the records of one call.
pub struct CsvColumns {
    /// Of the records that were rows, in the order of the wanted fields.
    pub columns: Vec<ArrayRef>,
    /// Places of records that were headers.
    pub headers: Vec<usize>,
}

/// One field as it stands in the record.
struct RawField<'a> {
    text: &'a [u8],
    /// Where the field begins in the record, quote included.
    start: usize,
    quoted: bool,
    /// Doubled quotes are in it.
    doubled: bool,
}

impl CsvDecoder {
    /// `fields` are all that a record has; `wanted` the positions to decode, ascending.
    pub fn new(
        options: &CsvOptions,
        fields: &[Field],
        wanted: &[usize],
    ) -> Result<CsvDecoder, FormatError> {
        let wanted = wanted
            .iter()
            .map(|&position| {
                let field = fields[position].clone();
                let column = text_column(field.data_type()).ok_or_else(|| FormatError::Type {
                    column: field.name().clone(),
                    format: "CSV",
                    data_type: type_text(field.data_type()),
                })?;
                Ok(Wanted { position, field, column })
            })
            .collect::<Result<_, FormatError>>()?;
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let header_begins = header_begins(options, &names);
        Ok(CsvDecoder {
            options: options.clone(),
            names,
            header_begins,
            wanted,
            scratch: Vec::new(),
        })
    }

    pub fn decode(
        &mut self,
        values: &[Indexed<'_>],
        failed: &mut Vec<(usize, DecodeError)>,
    ) -> CsvColumns {
        let mut headers = Vec::new();
        let mut good = Vec::new();
        let failed_before = failed.len();
        for &(index, value) in values {
            let value = without_line_break(value);
            let header = if self.begins_as_header(value) { self.header(value) } else { Header::No };
            if let Header::Same = header {
                headers.push(index);
                continue;
            }
            let mut taken = 0;
            let row = match header {
                Header::Other(reason) => Err(DecodeError::CsvHeader { reason }),
                _ => self.row(value, &mut taken).map_err(|error| self.unless_header(value, error)),
            };
            for wanted in &mut self.wanted[taken..] {
                wanted.column.append_null();
            }
            good.push(row.is_ok());
            if let Err(error) = row {
                failed.push((index, error));
            }
        }
        let mut columns: Vec<ArrayRef> =
            self.wanted.iter_mut().map(|wanted| wanted.column.finish()).collect();
        if failed.len() > failed_before {
            let good = BooleanArray::from(good);
            for column in &mut columns {
                *column = filter(column, &good).expect("column and mask have one length");
            }
        }
        CsvColumns { columns, headers }
    }

    /// Appends one record's fields; `taken` counts the columns that got theirs, also on error.
    fn row(&mut self, value: &[u8], taken: &mut usize) -> Result<(), DecodeError> {
        let text = str::from_utf8(value).map_err(|error| self.invalid_utf8(value, &error))?;
        if memchr3(self.options.quote, b'\n', b'\r', value).is_some() {
            return self.quoted_row(value, taken);
        }
        let mut start = 0;
        let mut position = 0;
        for end in memchr_iter(self.options.delimiter, value) {
            // Delimiter positions are character boundaries: it is an ASCII byte.
            self.field(position, &text[start..end], false, taken)?;
            start = end + 1;
            position += 1;
        }
        self.field(position, &text[start..], false, taken)?;
        self.check_count(position + 1, value)
    }

    fn quoted_row(&mut self, value: &[u8], taken: &mut usize) -> Result<(), DecodeError> {
        let mut position = 0;
        for field in fields(&self.options, value) {
            let field = field.map_err(|reason| DecodeError::Quoting {
                position: position + 1,
                reason,
                excerpt: excerpt(value),
            })?;
            if field.doubled {
                let mut scratch = std::mem::take(&mut self.scratch);
                undouble(field.text, &self.options, &mut scratch);
                let result = self.field(position, as_text(&scratch), true, taken);
                self.scratch = scratch;
                result?;
            } else {
                self.field(position, as_text(field.text), field.quoted, taken)?;
            }
            position += 1;
        }
        self.check_count(position, value)
    }

    #[inline]
    fn field(
        &mut self,
        position: usize,
        text: &str,
        quoted: bool,
        taken: &mut usize,
    ) -> Result<(), DecodeError> {
        let Some(wanted) = self.wanted.get_mut(*taken) else { return Ok(()) };
        if wanted.position != position {
            return Ok(());
        }
        let null_token = !quoted && self.options.null.as_deref() == Some(text);
        if null_token || (text.is_empty() && !wanted.column.is_text()) {
            if !wanted.field.is_nullable() {
                return Err(DecodeError::Null { column: wanted.field.name().clone() });
            }
            wanted.column.append_null();
        } else if !wanted.column.append(text) {
            return Err(DecodeError::Field {
                column: wanted.field.name().clone(),
                position: position + 1,
                text: excerpt(text.as_bytes()),
                expected: expectation(wanted.field.data_type()),
            });
        }
        *taken += 1;
        Ok(())
    }

    fn check_count(&self, found: usize, value: &[u8]) -> Result<(), DecodeError> {
        let expected = self.names.len();
        if found == expected {
            return Ok(());
        }
        Err(DecodeError::FieldCount { found, expected, excerpt: excerpt(value) })
    }

    /// Whether the first field is called like a column.
    fn begins_as_header(&self, value: &[u8]) -> bool {
        if !value.first().is_some_and(|first| self.header_begins[usize::from(*first)]) {
            return false;
        }
        let value = value.strip_prefix(BYTE_ORDER_MARK).unwrap_or(value);
        let value = value.strip_prefix(&[self.options.quote]).unwrap_or(value);
        let end = memchr2(self.options.delimiter, self.options.quote, value);
        let first = value[..end.unwrap_or(value.len())].trim_ascii();
        self.names.iter().any(|name| first.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// What a record says that begins as a header may.
    #[cold]
    fn header(&self, value: &[u8]) -> Header {
        let value = value.strip_prefix(BYTE_ORDER_MARK).unwrap_or(value);
        let fields = fields(&self.options, value).map(|field| Some(as_name(field.ok()?.text)));
        let Some(fields) = fields.collect::<Option<Vec<String>>>() else { return Header::No };
        let same = |(field, name): (&String, &String)| field.eq_ignore_ascii_case(name);
        let is_same = fields.len() == self.names.len();
        if is_same && fields.iter().zip(&self.names).all(same) {
            return Header::Same;
        }
        // One value may be called like a column; most of them are in a header alone.
        let is_named = |name: &&String| fields.iter().any(|field| field.eq_ignore_ascii_case(name));
        let named = self.names.iter().filter(is_named).count();
        if named < 2 || named * 2 <= self.names.len() {
            return Header::No;
        }
        Header::Other(format!(
            "the header names {}, and the source's columns are {}: they go by position, so declare \
             all fields, in the header's order and by its names",
            listed(&fields),
            listed(&self.names)
        ))
    }

    /// A record that is no row may be a header of other columns: then that is why.
    #[cold]
    fn unless_header(&self, value: &[u8], error: DecodeError) -> DecodeError {
        if !self.options.header {
            return error;
        }
        match self.header(value) {
            Header::Other(reason) => DecodeError::CsvHeader { reason },
            Header::Same | Header::No => error,
        }
    }

    #[cold]
    fn invalid_utf8(&self, value: &[u8], error: &std::str::Utf8Error) -> DecodeError {
        let at = error.valid_up_to();
        let before = fields(&self.options, value)
            .map_while(Result::ok)
            .take_while(|field| field.start <= at)
            .count();
        let column = self.names.get(before.saturating_sub(1)).or(self.names.last());
        DecodeError::Utf8 {
            column: column.cloned().unwrap_or_default(),
            at,
            excerpt: excerpt(value),
        }
    }
}

/// With which bytes a record begins that names columns first, in any order.
fn header_begins(options: &CsvOptions, names: &[String]) -> [bool; 256] {
    let mut begins = [false; 256];
    if !options.header {
        return begins;
    }
    let first = names.iter().filter_map(|name| name.bytes().next());
    for byte in first.chain([options.quote, b' ', BYTE_ORDER_MARK[0]]) {
        begins[usize::from(byte.to_ascii_lowercase())] = true;
        begins[usize::from(byte.to_ascii_uppercase())] = true;
    }
    begins
}

/// A field as the name of a column.
fn as_name(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim().to_owned()
}

fn listed(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX).map(|name| excerpt(name.as_bytes()));
    let more = if names.len() > NAMES_SHOWN_MAX { ", …" } else { "" };
    format!("{}{more}", shown.collect::<Vec<_>>().join(", "))
}

fn without_line_break(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// Parts of checked text, cut at ASCII bytes.
fn as_text(part: &[u8]) -> &str {
    str::from_utf8(part).expect("the record was checked, and is cut at ASCII bytes only")
}

/// Of each two bytes that begin with a quote or the escape character the second.
fn undouble(text: &[u8], options: &CsvOptions, into: &mut Vec<u8>) {
    into.clear();
    let escape = options.escape.unwrap_or(options.quote);
    let mut rest = text;
    while let Some(at) = memchr2(options.quote, escape, rest) {
        into.extend_from_slice(&rest[..at]);
        into.extend_from_slice(rest.get(at + 1..at + 2).unwrap_or_default());
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    into.extend_from_slice(rest);
}

/// The fields of one record; ends after the first error.
fn fields<'a>(
    options: &CsvOptions,
    value: &'a [u8],
) -> impl Iterator<Item = Result<RawField<'a>, &'static str>> + use<'a> {
    let (delimiter, quote, escape) = (options.delimiter, options.quote, options.escape);
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next.take()?;
        let rest = &value[start..];
        let field = if rest.first() == Some(&quote) {
            quoted_field(rest, start, quote, escape.unwrap_or(quote))
        } else {
            plain_field(rest, start, delimiter)
        };
        Some(field.and_then(|(field, len)| match value.get(start + len) {
            None => Ok(field),
            Some(&byte) if byte == delimiter => {
                next = Some(start + len + 1);
                Ok(field)
            }
            Some(b'\n' | b'\r') => Err("a line break outside quotes"),
            Some(_) => Err("text after the closing quote"),
        }))
    })
}

/// A field that begins with a quote, and its length with both quotes.
fn quoted_field(
    rest: &[u8],
    start: usize,
    quote: u8,
    escape: u8,
) -> Result<(RawField<'_>, usize), &'static str> {
    let mut doubled = false;
    let mut at = 1;
    loop {
        at += memchr2(quote, escape, rest.get(at..).unwrap_or_default())
            .ok_or("the closing quote is missing")?;
        if rest[at] == escape && escape != quote {
            doubled = true;
            at += 2;
            continue;
        }
        if rest.get(at + 1) != Some(&quote) {
            let text = &rest[1..at];
            return Ok((RawField { text, start, quoted: true, doubled }, at + 1));
        }
        doubled = true;
        at += 2;
    }
}

fn plain_field(
    rest: &[u8],
    start: usize,
    delimiter: u8,
) -> Result<(RawField<'_>, usize), &'static str> {
    let len = memchr3(delimiter, b'\n', b'\r', rest).unwrap_or(rest.len());
    Ok((RawField { text: &rest[..len], start, quoted: false, doubled: false }, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Int64Type};
    use proptest::prelude::*;

    fn decoder(options: CsvOptions, wanted: &[usize]) -> CsvDecoder {
        let fields = [
            Field::new("id", DataType::Int64, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("delay", DataType::Int64, true),
        ];
        CsvDecoder::new(&options, &fields, wanted).unwrap()
    }

    fn decode(decoder: &mut CsvDecoder, values: &[&[u8]]) -> (CsvColumns, Vec<(usize, String)>) {
        let indexed: Vec<Indexed> = values.iter().copied().enumerate().collect();
        let mut failed = Vec::new();
        let columns = decoder.decode(&indexed, &mut failed);
        (columns, failed.into_iter().map(|(at, error)| (at, error.to_string())).collect())
    }

    #[test]
    fn headers_nulls_and_quotes() {
        let options =
            CsvOptions { header: true, null: Some("NA".to_owned()), ..CsvOptions::default() };
        let mut decoder = decoder(options, &[1, 2]);
        let (rows, failed) = decode(
            &mut decoder,
            &[
                b"id,name,delay",
                b"1,NA,NA\r\n",
                b"2,\"NA\",\"\"",
                b"3,\"a \"\"b\"\", c\nd\",-5\n",
                b"4,,7",
                b"\"id\",\"name\",delay",
                b"5,it\"s,8",
            ],
        );
        assert_eq!(failed, []);
        assert_eq!(rows.headers, [0, 5]);
        let names: Vec<_> = rows.columns[0].as_string::<i32>().iter().collect();
        assert_eq!(names, [None, Some("NA"), Some("a \"b\", c\nd"), Some(""), Some("it\"s")]);
        let delays: Vec<_> = rows.columns[1].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(delays, [None, None, Some(-5), Some(7), Some(8)]);
    }

    #[test]
    fn a_header_of_other_columns_is_told_and_never_a_row() {
        let options = CsvOptions { header: true, ..CsvOptions::default() };
        // Only text is wanted: any line could be a row.
        let mut decoder = decoder(options.clone(), &[1]);
        let (rows, failed) = decode(
            &mut decoder,
            &[
                b"\xef\xbb\xbfID, Name ,\"Delay\"",
                b"name,id,delay",
                b"1,a,10",
                b"delay,7,x",
                b"id,name,delay,origin",
                b"origin,id,name,delay",
                b"id,name",
                b"2,name,11",
            ],
        );
        assert_eq!(rows.headers, [0]);
        let names: Vec<_> = rows.columns[0].as_string::<i32>().iter().flatten().collect();
        assert_eq!(names, ["a", "7", "name"]);
        let said: Vec<String> =
            failed.iter().map(|(at, reason)| format!("{at}: {reason}\n")).collect();
        expect_test::expect![[r#"
            1: the header names "name", "id", "delay", and the source's columns are "id", "name", "delay": they go by position, so declare all fields, in the header's order and by its names
            4: the header names "id", "name", "delay", "origin", and the source's columns are "id", "name", "delay": they go by position, so declare all fields, in the header's order and by its names
            5: the header names "origin", "id", "name", "delay", and the source's columns are "id", "name", "delay": they go by position, so declare all fields, in the header's order and by its names
            6: the header names "id", "name", and the source's columns are "id", "name", "delay": they go by position, so declare all fields, in the header's order and by its names
        "#]].assert_eq(&said.concat());
        // Nothing is taken for a header where none is said to be.
        let mut decoder = super::tests::decoder(CsvOptions { header: false, ..options }, &[1]);
        let (rows, failed) = decode(&mut decoder, &[b"name,id,delay"]);
        assert_eq!((rows.headers.len(), failed.len(), rows.columns[0].len()), (0, 0, 1));
    }

    #[test]
    fn a_bad_record_is_named_and_its_neighbours_kept() {
        let mut decoder = decoder(CsvOptions::default(), &[0, 2]);
        let (rows, failed) = decode(
            &mut decoder,
            &[
                b"1,a,10",
                b"2,b",
                b"3,c,30,4",
                b"4,d,soon",
                b"5,\"e,50",
                b"6,\"f\"g,60",
                b"7,\xff,70",
                b"8,h\ni,80",
                b"9,j,90",
            ],
        );
        let ids: Vec<_> = rows.columns[0].as_primitive::<Int64Type>().iter().collect();
        assert_eq!(ids, [Some(1), Some(9)]);
        let reasons = [
            (1, "2 fields, where the source has 3 columns; the record begins \"2,b\""),
            (2, "4 fields, where the source has 3 columns; the record begins \"3,c,30,4\""),
            (3, "column 'delay' (field 3): \"soon\" is not a whole number of 64 bits"),
            (4, "field 2: the closing quote is missing; the record begins \"5,\\\"e,50\""),
            (5, "field 2: text after the closing quote; the record begins \"6,\\\"f\\\"g,60\""),
            (
                6,
                "column 'name': invalid UTF-8 at byte 2 of the record, which begins \"7,\u{fffd},70\"",
            ),
            (7, "field 2: a line break outside quotes; the record begins \"8,h\\ni,80\""),
        ];
        assert_eq!(failed, reasons.map(|(at, reason)| (at, reason.to_owned())));
    }

    #[test]
    fn excerpts_are_bounded() {
        let mut decoder = decoder(CsvOptions::default(), &[0]);
        let long = vec![b'x'; 50_000_000];
        let (_, failed) = decode(&mut decoder, &[&long]);
        assert!(failed[0].1.len() < 300, "{}", failed[0].1.len());
    }

    /// As `csv-core` splits a record that it and RFC 4180 agree on.
    fn split_by_csv_core(value: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = csv_core::Reader::new();
        let (mut output, mut ends) = (vec![0; value.len() + 8], vec![0; value.len() + 8]);
        let (_, mut read, mut written, mut fields) =
            reader.read_record(value, &mut output, &mut ends);
        while read < value.len() || fields == 0 {
            let (_, more, wrote, ended) =
                reader.read_record(&value[read..], &mut output[written..], &mut ends[fields..]);
            (read, written, fields) = (read + more, written + wrote, fields + ended);
            if more == 0 {
                break;
            }
        }
        let (_, _, _, ended) = reader.read_record(&[], &mut output[written..], &mut ends[fields..]);
        fields += ended;
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends[..fields]).map(|(start, &end)| output[start..end].to_vec()).collect()
    }

    proptest! {
        #[test]
        fn fields_agree_with_csv_core(
            texts in prop::collection::vec("[a-c,\" \n]{0,6}", 2..6),
        ) {
            let quoted: Vec<String> = texts.iter().map(|text| {
                if text.contains(['"', ',', '\n']) {
                    format!("\"{}\"", text.replace('"', "\"\""))
                } else {
                    text.clone()
                }
            }).collect();
            let record = quoted.join(",");
            let ours: Vec<Vec<u8>> = fields(&CsvOptions::default(), record.as_bytes())
                .map(|field| {
                    let field = field.unwrap();
                    let mut text = Vec::new();
                    undouble(field.text, &CsvOptions::default(), &mut text);
                    if field.doubled { text } else { field.text.to_vec() }
                })
                .collect();
            let expected: Vec<Vec<u8>> =
                texts.iter().map(|text| text.clone().into_bytes()).collect();
            prop_assert_eq!(&ours, &expected);
            prop_assert_eq!(ours, split_by_csv_core(record.as_bytes()));
        }

        #[test]
        fn nothing_panics(values in prop::collection::vec(hostile(), 0..20)) {
            let options = CsvOptions { header: true, ..CsvOptions::default() };
            let mut decoder = decoder(options, &[0, 1]);
            let borrowed: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let (rows, failed) = decode(&mut decoder, &borrowed);
            let seen = rows.columns[0].len() + failed.len() + rows.headers.len();
            prop_assert_eq!(seen, values.len());
        }
    }

    fn hostile() -> impl Strategy<Value = Vec<u8>> {
        let bytes = b"a1,\"\n\r\xc3\xa4".to_vec();
        prop::collection::vec(prop::sample::select(bytes), 0..12)
    }
}
