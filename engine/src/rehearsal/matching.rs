//! What was expected beside what came.
//!
//! Two numbers are equal if they differ by less than a billionth; two times are equal if they are
//! the same moment, however it is written.

use serde_json::Value as Json;

use super::logs::LoggedRecord;
use super::parsed;
use crate::pipeline::Span;
use crate::pipeline::cases::{
    CaseRecord, CaseValue, Expected, ExpectedCount, Matching, parse_time_ms,
};

/// Where a case did not go as expected.
#[derive(Clone, Debug)]
pub struct Mismatch {
    pub span: Span,
    /// `topic 'a': 2 rows expected, 3 came`.
    pub message: String,
    pub differences: Vec<Difference>,
    /// What became of records that are no rows of it: `1 row was late`.
    pub notes: Vec<String>,
}

/// One thing that is not as expected.
#[derive(Clone, Debug)]
pub enum Difference {
    /// It did not come; where it was expected.
    Missing { expected: String, span: Span },
    /// It came and nobody expected it.
    Unexpected { got: String },
    /// Instead of a row that was expected, one came that is much like it: which columns differ, as
    /// `column`, what was expected, what came.
    Changed { expected: String, got: String, span: Span, columns: Vec<(String, String, String)> },
}

impl Mismatch {
    pub(super) fn failed(span: &Span, reason: String) -> Mismatch {
        Mismatch { span: span.clone(), message: reason, differences: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn count(expected: &ExpectedCount, found: u64) -> Mismatch {
        let ExpectedCount { what, count, span } = expected;
        let message = format!("{what}: {count} expected, {found} counted");
        Mismatch { span: span.clone(), message, differences: Vec::new(), notes: Vec::new() }
    }
}

/// Something that came, as far as it can be compared.
struct Got {
    /// As it is shown.
    shown: String,
    value: Option<String>,
    json: Option<Json>,
    record: Option<LoggedRecord>,
}

/// Compares rows of a query, or records where more than rows is asked for. What is compared as
/// rows must come of a query.
pub(super) fn compare(
    expected: &Expected,
    rows: Vec<String>,
    records: &[LoggedRecord],
    of_query: bool,
    updating: bool,
) -> Result<Option<Mismatch>, String> {
    let as_rows = |row: &CaseRecord| !row.is_record && matches!(row.value, CaseValue::Columns(_));
    let of_rows = of_query
        && expected.matching != Matching::ByKey
        && expected.rows.iter().all(as_rows)
        && !(updating && expected.matching == Matching::InOrder);
    let by_key =
        expected.matching == Matching::ByKey || updating && expected.matching != Matching::InOrder;
    let got: Vec<Got> = match of_rows {
        true => rows.into_iter().map(Got::row).collect(),
        false if by_key => latest(records).into_iter().map(Got::record).collect(),
        false => records.iter().cloned().map(Got::record).collect(),
    };
    let what = if of_rows { "row" } else { "record" };
    let pairs = match expected.matching {
        Matching::InOrder => in_order(&expected.rows, &got),
        Matching::AnyOrder | Matching::ByKey => any_order(&expected.rows, &got),
    };
    let matched = pairs.iter().flatten().count();
    if matched == expected.rows.len() && matched == got.len() {
        return Ok(None);
    }
    let wanted = plural(expected.rows.len(), what);
    let came = match got.len() {
        0 => "none came".to_owned(),
        1 if expected.rows.len() == 1 => "another came".to_owned(),
        count if count == expected.rows.len() => format!("{matched} of them came"),
        count => format!("{count} came"),
    };
    let message = format!("'{}': {wanted} expected, {came}", expected.of);
    let differences = differences(expected, &got, &pairs);
    let notes = Vec::new();
    Ok(Some(Mismatch { span: expected.span.clone(), message, differences, notes }))
}

pub(super) fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// The last record of each key, in the order in which those came, without those deleted.
fn latest(records: &[LoggedRecord]) -> Vec<LoggedRecord> {
    let is_last = |at: usize, record: &LoggedRecord| {
        records[at + 1..].iter().all(|later| later.key != record.key)
    };
    let last = records.iter().enumerate().filter(|(at, record)| is_last(*at, record));
    last.map(|(_, record)| record).filter(|record| record.value.is_some()).cloned().collect()
}

/// For each expected row, the one that came for it.
type Pairs = Vec<Option<usize>>;

/// Rows at the same place from the beginning; behind the first that differs, those from the end.
fn in_order(expected: &[CaseRecord], got: &[Got]) -> Pairs {
    let fits = |at: usize, of: usize| is_as_expected(&expected[at], &got[of]);
    let mut pairs = vec![None; expected.len()];
    let shorter = expected.len().min(got.len());
    let head = (0..shorter).take_while(|at| fits(*at, *at)).count();
    (0..head).for_each(|at| pairs[at] = Some(at));
    for back in 1..=shorter - head {
        let (at, of) = (expected.len() - back, got.len() - back);
        if !fits(at, of) {
            break;
        }
        pairs[at] = Some(of);
    }
    pairs
}

/// As many pairs as there can be (Kuhn's augmenting paths): a row that names few columns does not
/// take the place of one that names more.
fn any_order(expected: &[CaseRecord], got: &[Got]) -> Pairs {
    let fits: Vec<Vec<usize>> = expected
        .iter()
        .map(|row| (0..got.len()).filter(|of| is_as_expected(row, &got[*of])).collect())
        .collect();
    let mut taken: Vec<Option<usize>> = vec![None; got.len()];
    for at in 0..expected.len() {
        let mut seen = vec![false; got.len()];
        augment(at, &fits, &mut taken, &mut seen);
    }
    let mut pairs = vec![None; expected.len()];
    for (of, at) in taken.iter().enumerate() {
        if let Some(at) = at {
            pairs[*at] = Some(of);
        }
    }
    pairs
}

/// Goes no deeper than there are rows in one test.
fn augment(at: usize, fits: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for &of in &fits[at] {
        if std::mem::replace(&mut seen[of], true) {
            continue;
        }
        if taken[of].is_none_or(|other| augment(other, fits, taken, seen)) {
            taken[of] = Some(at);
            return true;
        }
    }
    false
}

impl Got {
    fn row(text: String) -> Got {
        Got { json: parsed(&text), shown: text.clone(), value: Some(text), record: None }
    }

    fn record(record: LoggedRecord) -> Got {
        let value = record.value.clone();
        let json = value.as_deref().and_then(parsed);
        let key = record.key.as_ref().map(|key| format!("{key} → ")).unwrap_or_default();
        let shown = format!("{key}{}", value.as_deref().unwrap_or("(tombstone)"));
        Got { shown, value, json, record: Some(record) }
    }
}

fn is_as_expected(expected: &CaseRecord, got: &Got) -> bool {
    let value = match (&expected.value, &got.value) {
        (CaseValue::Tombstone, value) => value.is_none(),
        (_, None) => false,
        (CaseValue::Text(text), Some(value)) => {
            let json = parsed(text).zip(got.json.as_ref());
            text == value || json.is_some_and(|(one, other)| alike(&one, other))
        }
        (CaseValue::Columns(columns), Some(_)) => {
            let Some(Json::Object(row)) = &got.json else { return false };
            columns.iter().all(|(name, value)| alike(value, row.get(name).unwrap_or(&Json::Null)))
        }
    };
    value && got.record.as_ref().is_none_or(|record| is_record_as_expected(expected, record))
}

fn is_record_as_expected(expected: &CaseRecord, got: &LoggedRecord) -> bool {
    let key = expected.key.as_ref().is_none_or(|key| {
        let Some(got) = &got.key else { return false };
        key == got || matches!((parsed(key), parsed(got)), (Some(one), Some(other)) if one == other)
    });
    key && expected.timestamp_ms.is_none_or(|time| time == got.timestamp_ms)
        && expected.partition.is_none_or(|partition| partition == got.partition)
        && expected.headers.iter().all(|header| got.headers.contains(header))
}

fn alike(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => {
            let (Some(one), Some(other)) = (one.as_f64(), other.as_f64()) else {
                return false;
            };
            one == other || (one - other).abs() <= one.abs().max(other.abs()) * 1e-9
        }
        (Json::String(one), Json::String(other)) => {
            one == other
                || matches!((moment(one), moment(other)), (Some(one), Some(other)) if one == other)
        }
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|other| alike(value, other)))
        }
        _ => one == other,
    }
}

/// Text that begins like a time.
fn moment(text: &str) -> Option<i64> {
    let is_date = text.len() >= "2013-01-01".len()
        && text.bytes().take(4).all(|byte| byte.is_ascii_digit())
        && text.as_bytes()[4] == b'-';
    is_date.then(|| parse_time_ms(text)).flatten()
}

/// What is missing and what came too much; the two that are most alike, together.
fn differences(expected: &Expected, got: &[Got], pairs: &Pairs) -> Vec<Difference> {
    let mut left: Vec<usize> = (0..got.len()).filter(|of| !pairs.contains(&Some(*of))).collect();
    let mut differences = Vec::new();
    for (row, _) in expected.rows.iter().zip(pairs).filter(|(_, pair)| pair.is_none()) {
        let shown = shown(row);
        let nearest = left
            .iter()
            .enumerate()
            .map(|(at, of)| (at, columns_apart(row, &got[*of])))
            .filter_map(|(at, apart)| apart.map(|apart| (at, apart)))
            .min_by_key(|(_, apart)| apart.len());
        let span = row.span.clone();
        differences.push(match nearest {
            Some((at, columns)) => {
                let got = got[left.remove(at)].shown.clone();
                Difference::Changed { expected: shown, got, span, columns }
            }
            None => Difference::Missing { expected: shown, span },
        });
    }
    let unexpected = left.into_iter().map(|of| got[of].shown.clone());
    differences.extend(unexpected.map(|got| Difference::Unexpected { got }));
    differences
}

/// In which columns two rows differ, if they have at least one in common.
fn columns_apart(expected: &CaseRecord, got: &Got) -> Option<Vec<(String, String, String)>> {
    let CaseValue::Columns(columns) = &expected.value else { return None };
    let Some(Json::Object(row)) = &got.json else { return None };
    let apart: Vec<_> = columns
        .iter()
        .map(|(name, value)| (name, value, row.get(name).unwrap_or(&Json::Null)))
        .filter(|(_, value, got)| !alike(value, got))
        .map(|(name, value, got)| (name.clone(), value.to_string(), got.to_string()))
        .collect();
    (apart.len() < columns.len() && !apart.is_empty()).then_some(apart)
}

fn shown(row: &CaseRecord) -> String {
    let value = match &row.value {
        CaseValue::Tombstone => "(tombstone)".to_owned(),
        CaseValue::Text(text) => text.clone(),
        CaseValue::Columns(columns) => {
            let columns =
                columns.iter().map(|(name, value)| format!("{}:{value}", Json::from(&**name)));
            format!("{{{}}}", columns.collect::<Vec<_>>().join(","))
        }
    };
    match &row.key {
        Some(key) => format!("{key} → {value}"),
        None => value,
    }
}
