//! Functions of all kinds.

use std::collections::BTreeMap;

use millstream_udf::{
    Aggregate, Bytea, Date, Decimal, Json, Level, Retract, Row, State, Time, Timestamp,
    TimestampTz, config, log, udf,
};

#[udf]
fn email_domain(email: &str) -> Option<&str> {
    Some(email.split_once('@')?.1)
}

#[udf]
fn score(n: i64) -> i64 {
    n.wrapping_mul(3).wrapping_add(1)
}

// --- what fails, and what differs from time to time ---

#[udf]
fn checked_half(n: i64) -> Result<i64, String> {
    if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
}

#[udf]
fn panics(n: i64) -> i64 {
    log(Level::Info, "it is about to go wrong");
    let none: Option<i64> = (n > 0).then_some(n);
    none.expect("it is above zero")
}

#[udf(volatile)]
fn greeting() -> Option<String> {
    config("greeting")
}

// --- NULL, defaults ---

#[udf(default(otherwise = "'?'"))]
fn first_of(first: Option<&str>, second: Option<&str>, otherwise: &str) -> String {
    first.or(second).unwrap_or(otherwise).to_owned()
}

#[udf(default(digits = 2))]
fn round_to(x: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (x * scale).round() / scale
}

// --- a type after the other ---

#[derive(Row)]
struct All {
    truth: Option<bool>,
    tiny: Option<i8>,
    small: Option<u16>,
    real: Option<f32>,
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

#[udf]
fn total(items: Vec<i64>) -> i64 {
    items.into_iter().fold(0, i64::wrapping_add)
}

// --- tables ---

#[derive(Row)]
struct Word<'a> {
    word: &'a str,
    position: i32,
}

#[udf(table)]
fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    text.split_whitespace().zip(1..).map(|(word, position)| Word { word, position })
}

#[udf(table)]
fn repeated(n: Option<i64>, times: i32) -> Vec<Option<i64>> {
    vec![n; times.max(0) as usize]
}

#[udf(table)]
fn divisors(of: i64) -> impl Iterator<Item = Result<i64, String>> {
    let wrong = (of <= 0).then(|| Err(format!("{of} has no divisors")));
    wrong.into_iter().chain((1..=of).filter(move |n| of % n == 0).map(Ok))
}

// --- aggregates ---

/// Sum of products by weight.
#[derive(Default, State)]
struct WeightedMean {
    sum: i64,
    weights: i64,
}

#[udf(retracts)]
impl Aggregate for WeightedMean {
    type Row<'a> = (i64, i64);
    type Value = Option<f64>;

    fn update(&mut self, (value, weight): (i64, i64)) {
        self.sum += value * weight;
        self.weights += weight;
    }

    fn merge(&mut self, other: WeightedMean) {
        self.sum += other.sum;
        self.weights += other.weights;
    }

    fn finish(&self) -> Option<f64> {
        (self.weights != 0).then(|| self.sum as f64 / self.weights as f64)
    }
}

impl Retract for WeightedMean {
    fn retract(&mut self, (value, weight): (i64, i64)) {
        self.sum -= value * weight;
        self.weights -= weight;
    }
}

/// How often each text came.
#[derive(Default, State)]
struct Mode {
    counts: BTreeMap<String, u64>,
}

#[udf]
impl Aggregate for Mode {
    type Row<'a> = &'a str;
    type Value = Option<String>;

    fn update(&mut self, text: &str) {
        *self.counts.entry(text.to_owned()).or_default() += 1;
    }

    fn merge(&mut self, other: Mode) {
        for (text, count) in other.counts {
            *self.counts.entry(text).or_default() += count;
        }
    }

    /// The least of those that came most often.
    fn finish(&self) -> Option<String> {
        let most = self.counts.iter().rev().max_by_key(|(_, count)| **count)?;
        Some(most.0.clone())
    }
}
