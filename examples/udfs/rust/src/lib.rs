//! The functions of all the examples, in Rust.

use std::collections::BTreeMap;

use millstream_udf::{
    Aggregate, Bytea, Date, Decimal, Json, Level, Retract, Row, State, Time, Timestamp,
    TimestampTz, config, log, udf,
};

#[udf]
fn score(n: i64) -> i64 {
    n.wrapping_mul(3).wrapping_add(1)
}

#[udf]
fn email_domain(email: &str) -> Option<&str> {
    Some(email.split_once('@')?.1)
}

// --- a table: rows for each row ---

#[derive(Row)]
struct Word<'a> {
    word: &'a str,
    position: i32,
}

#[udf(table)]
fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let words = text.split(' ').filter(|word| !word.is_empty());
    words.zip(1..).map(|(word, position)| Word { word, position })
}

// --- an aggregate: a value for a group of rows ---

/// How often each number came.
#[derive(Default, State)]
struct Mode {
    counts: BTreeMap<i64, u64>,
}

#[udf(retracts)]
impl Aggregate for Mode {
    type Row<'a> = i64;
    type Value = Option<i64>;

    fn update(&mut self, n: i64) {
        *self.counts.entry(n).or_default() += 1;
    }

    fn merge(&mut self, other: Mode) {
        for (n, count) in other.counts {
            *self.counts.entry(n).or_default() += count;
        }
    }

    /// The least of those that came most often.
    fn finish(&self) -> Option<i64> {
        self.counts.iter().rev().max_by_key(|(_, count)| **count).map(|(n, _)| *n)
    }
}

impl Retract for Mode {
    fn retract(&mut self, n: i64) {
        let count = self.counts.entry(n).or_default();
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&n);
        }
    }
}

// --- NULL, a default, what fails, what the pipeline file has ---

#[udf(default(otherwise = "'?'"))]
fn first_of<'a>(
    first: Option<&'a str>,
    second: Option<&'a str>,
    otherwise: Option<&'a str>,
) -> Option<&'a str> {
    first.or(second).or(otherwise)
}

#[udf]
fn half(n: i64) -> Result<i64, String> {
    if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
}

#[udf(volatile)]
fn greeting() -> Option<String> {
    log(Level::Debug, "greets");
    config("greeting")
}

// --- a type after the other ---

#[derive(Row)]
struct All {
    truth: Option<bool>,
    tiny: Option<i8>,
    small: Option<u16>,
    large: Option<u64>,
    real: Option<f32>,
    double: Option<f64>,
    bytes: Option<Bytea>,
    json: Option<Json<String>>,
    date: Option<Date>,
    time: Option<Time>,
    local: Option<Timestamp>,
    zoned: Option<TimestampTz>,
    price: Option<Decimal<20, 4>>,
    tags: Option<Vec<Option<String>>>,
    nested: Option<Vec<Option<Vec<Option<i32>>>>>,
}

/// Reads each type, and writes it as it was.
#[udf]
fn same(all: Option<All>) -> Option<All> {
    all
}
