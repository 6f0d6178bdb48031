//! Functions that give up at some rows.

use millstream_udf::{Aggregate, Retract, State, udf};

#[udf]
fn strict_half(n: i64) -> i64 {
    assert!(n % 2 == 0, "{n} is odd");
    n / 2
}

#[udf(table)]
fn strict_words(text: &str) -> impl Iterator<Item = &str> {
    assert!(!text.contains('!'), "'{text}' is too loud");
    text.split_whitespace()
}

#[derive(Default, State)]
struct StrictSum {
    sum: i64,
}

#[udf(retracts)]
impl Aggregate for StrictSum {
    type Row<'a> = i64;
    type Value = i64;

    fn update(&mut self, n: i64) {
        assert!(n >= 0, "{n} is less than nothing");
        self.sum += n;
    }

    fn merge(&mut self, other: StrictSum) {
        self.sum += other.sum;
    }

    fn finish(&self) -> i64 {
        self.sum
    }
}

impl Retract for StrictSum {
    fn retract(&mut self, n: i64) {
        self.sum -= n;
    }
}

/// A sum that nobody wants to hear of where it is 13.
#[derive(Default, State)]
struct LuckySum {
    sum: i64,
}

#[udf(retracts)]
impl Aggregate for LuckySum {
    type Row<'a> = i64;
    type Value = i64;

    fn update(&mut self, n: i64) {
        self.sum += n;
    }

    fn merge(&mut self, other: LuckySum) {
        self.sum += other.sum;
    }

    fn finish(&self) -> i64 {
        assert!(self.sum != 13, "13 brings bad luck");
        self.sum
    }
}

impl Retract for LuckySum {
    fn retract(&mut self, n: i64) {
        self.sum -= n;
    }
}

/// A sum that gives up beyond 1,000.
#[derive(Default, State)]
struct BoundedSum {
    sum: i64,
}

#[udf]
impl Aggregate for BoundedSum {
    type Row<'a> = i64;
    type Value = i64;

    fn update(&mut self, n: i64) {
        self.sum += n;
        assert!(self.sum <= 1000, "it comes to {}", self.sum);
    }

    fn merge(&mut self, other: BoundedSum) {
        self.update(other.sum);
    }

    fn finish(&self) -> i64 {
        self.sum
    }
}
