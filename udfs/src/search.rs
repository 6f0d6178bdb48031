//! The search for the rows at fault in a batch, and what it may cost.
//!
//! A batch that fails is called again in parts, until those that fail stand alone. So one row that
//! never ends costs its `time` about twice, and thousands of them would cost hours. The rule:
//!
//! - A part of a batch that took too long has its share of the time; a single row has all of it, so
//!   that none fails that is only one of many slow ones.
//! - Single rows that run out of it may take the limit `search` of a batch together: those of the
//!   first half all of `time` each, the others a hundredth of it. What is left then fails at once,
//!   and is not called.
//!
//! What rows came to that are called one by one ([`crate::http`]) is remembered, so that none of
//! them is called twice.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use arrow::array::ArrayRef;

use crate::host::TICK;
use crate::limits::Limits;

thread_local! {
    static SEARCH: RefCell<Option<Search>> = const { RefCell::new(None) };
}

/// What a module's function gave for a row, or why it gave nothing.
pub(crate) type Answer = Result<Vec<ArrayRef>, String>;

/// A function of a module, and the arguments of a row.
pub(crate) type Question = (usize, usize, Box<[u8]>);

#[derive(Default)]
struct Search {
    /// By module.
    costs: HashMap<usize, Cost>,
    answers: HashMap<Question, Answer>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Rows of the longest call that ran out of time.
    rows: usize,
    /// What single rows have had that ran out of it.
    spent: Duration,
}

/// Does work by this thread in which one batch is called, perhaps in parts. Within such work it is
/// a part of that.
pub fn search<T>(work: impl FnOnce() -> T) -> T {
    if is_on() {
        return work();
    }
    SEARCH.set(Some(Search::default()));
    let done = work();
    SEARCH.set(None);
    done
}

pub(crate) fn is_on() -> bool {
    SEARCH.with_borrow(Option::is_some)
}

/// What calls of a module have cost so far.
pub(crate) fn cost(module: usize) -> Cost {
    let found = SEARCH.with_borrow(|search| search.as_ref()?.costs.get(&module).copied());
    found.unwrap_or_default()
}

pub(crate) fn set_cost(module: usize, cost: Cost) {
    SEARCH.with_borrow_mut(|search| {
        if let Some(search) = search {
            search.costs.insert(module, cost);
        }
    });
}

pub(crate) fn answer(question: &Question) -> Option<Answer> {
    SEARCH.with_borrow(|search| search.as_ref()?.answers.get(question).cloned())
}

pub(crate) fn remember(answers: impl Iterator<Item = (Question, Answer)>) {
    SEARCH.with_borrow_mut(|search| {
        if let Some(search) = search {
            search.answers.extend(answers);
        }
    });
}

impl Cost {
    /// How long a call may take; `None` if nothing is left.
    pub fn time_for(&self, rows: usize, limits: &Limits) -> Option<Duration> {
        let (time, search) = (limits.time, limits.search());
        match self.rows {
            _ if self.spent >= search => None,
            0 => Some(time),
            _ if rows == 1 && self.spent < search / 2 => Some(time),
            _ if rows == 1 => Some((time / 100).max(TICK)),
            of => Some(time.mul_f64((rows as f64 / of as f64).min(1.0))),
        }
    }

    /// A call ran out of its time.
    pub fn ran_out(&mut self, rows: usize, time: Duration) {
        self.rows = self.rows.max(rows);
        if rows == 1 {
            self.spent += time.max(TICK);
        }
    }
}

/// Why a row fails for which no time is left.
pub(crate) fn not_called(limits: &Limits) -> String {
    format!(
        "it was not called: other rows of its batch ran out of time and took {:?} together (its \
         `search` limit)",
        limits.search()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory_bytes: 0,
        time: Duration::from_secs(1),
        search: None,
        stack_bytes: 0,
        side_by_side: 1,
    };

    /// One endless row in thousands cost its time at each step of the search for it.
    #[test]
    fn each_part_of_a_slow_batch_has_its_share_of_the_time() {
        let time = LIMITS.time;
        let mut cost = Cost::default();
        let of = |cost: &Cost, rows| cost.time_for(rows, &LIMITS);
        assert_eq!((of(&cost, 8_000), of(&cost, 1)), (Some(time), Some(time)));
        cost.ran_out(8_000, time);
        assert_eq!((of(&cost, 4_000), of(&cost, 1_000)), (Some(time / 2), Some(time / 8)));
        assert_eq!(of(&cost, 1), Some(time), "a row by itself has all of it");
        cost.ran_out(1_000, time / 8);
        cost.ran_out(1, time);
        assert_eq!(of(&cost, 4_000), Some(time / 2), "the batch is the longest of them");
    }

    /// Thousands of endless rows cost hours.
    #[test]
    fn rows_that_never_end_cost_no_more_than_the_limit() {
        let mut cost = Cost::default();
        let (mut taken, mut had) = (Duration::ZERO, Vec::new());
        while let Some(time) = cost.time_for(1, &LIMITS) {
            taken += time;
            had.push(time);
            cost.ran_out(1, time);
        }
        assert_eq!((taken, had.len()), (Duration::from_secs(10), 5 + 500));
        assert_eq!((had[4], had[5]), (LIMITS.time, Duration::from_millis(10)));
        assert_eq!(cost.time_for(100, &LIMITS), None);
        let short = Limits { time: Duration::from_millis(10), ..LIMITS };
        let mut cost = Cost::default();
        cost.ran_out(2, short.time);
        let count = std::iter::from_fn(|| {
            let time = cost.time_for(1, &short)?;
            cost.ran_out(1, time);
            Some(())
        });
        assert_eq!(count.count(), 10);
    }

    #[test]
    fn what_is_known_is_of_one_search() {
        let mut told = Cost::default();
        told.ran_out(1, Duration::from_secs(1));
        set_cost(1, told);
        assert_eq!((is_on(), cost(1)), (false, Cost::default()));
        search(|| {
            set_cost(1, told);
            assert_eq!((cost(1), cost(2)), (told, Cost::default()));
            search(|| assert_eq!(cost(1), told, "it is the same"));
            remember([((1, 0, Box::from(&b"a"[..])), Err("no".to_owned()))].into_iter());
            assert!(answer(&(1, 0, Box::from(&b"a"[..]))).is_some());
            assert!(answer(&(1, 1, Box::from(&b"a"[..]))).is_none());
        });
        search(|| assert!(answer(&(1, 0, Box::from(&b"a"[..]))).is_none()));
    }
}
