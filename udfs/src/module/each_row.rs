//! Functions that ask servers: each row is a call of its own, several at the same time.
//!
//! ```text
//! rows ─► those whose answer is not known ─┬─► an instance ─┬─► answers, in the order of rows
//!                                          ├─► an instance ─┤   or why the first one failed
//!                                          └─► …            ┘
//! ```
//!
//! The rule: each row is called once, in a search for rows that fail as well, and has all of `time`
//! unless many before it ran out of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::concat;
use arrow::datatypes::UInt32Type;
use arrow::row::{RowConverter, SortField};

use super::{Module, Stopped, THREAD_STACK_BYTES};
use crate::program::Invocation;
use crate::search::{self, Answer, Cost, Question};
use crate::signature::Kind;
use crate::{CallError, caller, http, interrupt};

impl Module {
    pub(super) fn calls_each_row(&self) -> bool {
        self.options.limits.side_by_side > 1
            && !self.options.grants.http.is_empty()
            && self.info.imports.iter().any(|import| import == http::INTERFACE)
    }

    pub(super) fn each_row(&self, invocation: &Invocation<'_>) -> Result<Vec<ArrayRef>, CallError> {
        let function = invocation.function;
        let questions = self.questions(invocation);
        let known = |row: usize| search::answer(&questions.as_ref()?[row]);
        let mut answers: Vec<Option<Answer>> = (0..invocation.rows).map(known).collect();
        let asked: Vec<usize> =
            (0..invocation.rows).filter(|row| answers[*row].is_none()).collect();
        for (row, answer) in self.ask(invocation, &asked)? {
            answers[row] = Some(answer);
        }
        let failed = answers.iter().enumerate().find_map(|(row, answer)| match answer {
            Some(Err(reason)) => Some((row, reason.clone())),
            _ => None,
        });
        if let Some((row, reason)) = failed {
            if let Some(questions) = questions {
                let of_rows = questions.into_iter().zip(answers);
                search::remember(of_rows.filter_map(|(of, answer)| Some((of, answer?))));
            }
            return Err(CallError { row: Some(row), ..self.wrong(function, reason) });
        }
        let answers: Vec<Vec<ArrayRef>> = answers.into_iter().flatten().flatten().collect();
        self.together(invocation, &answers)
    }

    /// What tells rows apart, if that can be said and is of use.
    fn questions(&self, invocation: &Invocation<'_>) -> Option<Vec<Question>> {
        if !search::is_on() || invocation.arguments.is_empty() {
            return None;
        }
        let types = invocation.arguments.iter().map(|of| SortField::new(of.data_type().clone()));
        let converter = RowConverter::new(types.collect()).ok()?;
        let rows = converter.convert_columns(invocation.arguments).ok()?;
        let question =
            |row: usize| (self.key(), invocation.function, Box::from(rows.row(row).data()));
        Some((0..invocation.rows).map(question).collect())
    }

    /// Calls these rows, by as many instances as may do so at the same time.
    fn ask(
        &self,
        invocation: &Invocation<'_>,
        rows: &[usize],
    ) -> Result<Vec<(usize, Answer)>, CallError> {
        let count = rows.len().min(self.options.limits.side_by_side);
        let asking = Asking {
            module: self,
            invocation,
            rows,
            among: count,
            next: AtomicUsize::new(0),
            // Whoever does not look for others that fail needs no more than the first.
            stops_at_first: !search::is_on(),
            is_over: AtomicBool::new(false),
            cost: Mutex::new(search::cost(self.key())),
            caller: caller::current(),
            unwanted: interrupt::signal(),
        };
        let stack = THREAD_STACK_BYTES + self.options.limits.stack_bytes;
        let span = tracing::Span::current();
        let work = || span.in_scope(|| asking.work());
        let answers = std::thread::scope(|scope| {
            let mut threads = Vec::with_capacity(count);
            for _ in 0..count {
                match std::thread::Builder::new().stack_size(stack).spawn_scoped(scope, work) {
                    Ok(thread) => threads.push(thread),
                    // Those that are there do it all.
                    Err(_) if !threads.is_empty() => break,
                    Err(error) => return Err(format!("there is no thread for the call: {error}")),
                }
            }
            let mut answers = Vec::with_capacity(rows.len());
            for thread in threads {
                match thread.join() {
                    Ok(some) => answers.extend(some),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(answers)
        });
        search::set_cost(self.key(), asking.cost());
        if interrupt::gives_up() {
            return Err(self.unwanted(invocation.function));
        }
        answers.map_err(|reason| self.wrong(invocation.function, reason))
    }

    /// The columns of all rows.
    fn together(
        &self,
        invocation: &Invocation<'_>,
        answers: &[Vec<ArrayRef>],
    ) -> Result<Vec<ArrayRef>, CallError> {
        let wrong = |reason: String| self.wrong(invocation.function, reason);
        let is_table = self.functions[invocation.function].kind == Kind::Table;
        let mut of = Vec::new();
        for (row, columns) in answers.iter().enumerate() {
            let lengths_fit = match is_table {
                true => {
                    let places = columns[0].as_primitive::<UInt32Type>();
                    of.extend(std::iter::repeat_n(row as u32, places.len()));
                    places.len() == columns[1].len()
                        && places.null_count() == 0
                        && places.values().iter().all(|place| *place == 0)
                }
                false => columns[0].len() == 1,
            };
            if !lengths_fit {
                let reason = format!("it gave {} values for one row", columns[0].len());
                return Err(CallError { row: Some(row), ..wrong(reason) });
            }
        }
        let column = |at: usize| {
            let parts: Vec<&dyn Array> = answers.iter().map(|of| of[at].as_ref()).collect();
            concat(&parts).map_err(|error| wrong(error.to_string()))
        };
        let mut columns = (0..invocation.results.len()).map(column);
        match is_table {
            false => columns.collect(),
            true => {
                let places: ArrayRef = std::sync::Arc::new(UInt32Array::from(of));
                let values = columns.next_back().into_iter();
                std::iter::once(Ok(places)).chain(values).collect()
            }
        }
    }
}

/// Rows that are being asked for.
struct Asking<'a> {
    module: &'a Module,
    invocation: &'a Invocation<'a>,
    rows: &'a [usize],
    among: usize,
    /// The place among the rows of the next one.
    next: AtomicUsize,
    stops_at_first: bool,
    is_over: AtomicBool,
    cost: Mutex<Cost>,
    caller: Option<caller::Caller>,
    unwanted: interrupt::Signal,
}

impl Asking<'_> {
    /// Takes one row after the other until there are no more.
    fn work(&self) -> Vec<(usize, Answer)> {
        let mut running = None;
        let mut answers = Vec::new();
        while !self.is_over.load(Ordering::Relaxed) && !self.unwanted.is_set() {
            let Some(row) = self.rows.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let answer = self.row(*row, &mut running);
            if answer.is_err() && self.stops_at_first {
                self.is_over.store(true, Ordering::Relaxed);
            }
            answers.push((*row, answer));
        }
        if let Some(running) = running {
            self.module.give_back(running);
        }
        answers
    }

    fn row(&self, row: usize, running: &mut Option<crate::program::Running>) -> Answer {
        let limits = &self.module.options.limits;
        let Some(time) = self.cost().time_for(1, limits) else {
            return Err(search::not_called(limits));
        };
        let of_row: Vec<ArrayRef> =
            self.invocation.arguments.iter().map(|of| of.slice(row, 1)).collect();
        let invocation = Invocation { arguments: &of_row, rows: 1, ..*self.invocation };
        let how = super::How { time, among: self.among, caller: self.caller.clone() };
        let called = self.module.call(running, &invocation, &how);
        called.map_err(|Stopped { error, ran_out }| {
            if ran_out {
                self.cost.lock().unwrap_or_else(PoisonError::into_inner).ran_out(1, time);
            }
            error.reason
        })
    }

    fn cost(&self) -> Cost {
        *self.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
