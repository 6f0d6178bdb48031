//! Functions that give up at some rows.

use millstream_udf::{Aggregate, Retract};

fn strict_half(n: i64) -> i64 {
    assert!(n % 2 == 0, "{n} is odd");
    n / 2
}

fn strict_words(text: &str) -> impl Iterator<Item = &str> {
    assert!(!text.contains('!'), "'{text}' is too loud");
    text.split_whitespace()
}

millstream_udf::state! {
    struct StrictSum {
        sum: i64,
    }
}

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

millstream_udf::functions! {
    strict_half(n: i64) -> i64;
    table strict_words(text: &str) -> &str;
    aggregate strict_sum(n: i64) -> i64 = StrictSum, retracts;
}
