//! What is usual: the text that comes most often in a group.

use std::collections::BTreeMap;

use millstream_udf::{Aggregate, Retract, State, udf};

/// How often each text came.
#[derive(Default, State)]
struct Usual {
    counts: BTreeMap<String, u64>,
}

#[udf(retracts)]
impl Aggregate for Usual {
    type Row<'a> = &'a str;
    type Value = Option<String>;

    fn update(&mut self, text: &str) {
        match self.counts.get_mut(text) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(text.to_owned(), 1);
            }
        }
    }

    fn merge(&mut self, other: Usual) {
        for (text, count) in other.counts {
            *self.counts.entry(text).or_default() += count;
        }
    }

    /// Of those that come equally often, the first by the alphabet.
    fn finish(&self) -> Option<String> {
        let most = self.counts.iter().rev().max_by_key(|(_, count)| **count)?;
        Some(most.0.clone())
    }
}

impl Retract for Usual {
    fn retract(&mut self, text: &str) {
        if let Some(count) = self.counts.get_mut(text) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(text);
            }
        }
    }
}
