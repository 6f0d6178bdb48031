//! How rows go from one operator to the next, and what the watermark does.

use std::sync::Arc;

use datafusion_common::Result as Evaluates;

use super::output::{LeftOutRows, Output, in_words};
use super::{Task, TaskError};
use crate::operators::aggregate::partial::{CombinedRows, Merged};
use crate::operators::failed_groups::{FailedGroups, going_on, heard};
use crate::operators::filter_project::Stage;
use crate::operators::{Operator, Prepared, reason};
use crate::pipeline::OnError;
use crate::rows::Rows;
use crate::tally::StageTally;
use crate::time::{self, Progress, WallTime, Watermark, progress};
use crate::topology::Port;

/// Rows for which nothing can fail any more on their way to a port.
pub(super) enum Ready {
    ForSink(Rows),
    /// For another part of the query, which gets them combined.
    ToCombine(Prepared),
    ForNode {
        rows: Prepared,
        /// Rows that came too late, if they are to be written somewhere.
        late: Option<Rows>,
    },
}

/// Whose stage rows go through.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Input(usize),
    Node(usize),
    /// Nothing happens to them before they are taken.
    Exchange,
}

/// What rows came to.
#[derive(Default)]
pub(super) struct Evaluated {
    pub ready: Vec<Ready>,
    /// What went through the stage.
    pub tally: StageTally,
    /// Rows that failed, by index, and why.
    pub failed: Vec<(usize, String)>,
}

impl Task {
    /// Everything that can fail for a row until it is taken, before anything is changed. Where it
    /// fails, the rows are halved until those that fail stand alone; or the first of them does, if
    /// that is to end it all.
    pub(super) fn evaluate(&self, place: Place, stage: &Stage, to: Port, rows: Rows) -> Evaluated {
        let mut evaluated = Evaluated::default();
        let way = (place, stage, to);
        udfs::search(|| self.evaluate_part(way, rows, 0, &mut evaluated));
        evaluated
    }

    /// Whether one row that fails ends it all.
    fn ends_at_first(&self, place: Place) -> bool {
        match place {
            Place::Input(input) => self.topology.inputs[input].source.on_error == OnError::Fail,
            Place::Node(_) | Place::Exchange => self.on_errors().any(|of| *of == OnError::Fail),
        }
    }

    fn evaluate_part(
        &self,
        way: (Place, &Stage, Port),
        rows: Rows,
        first_row: usize,
        evaluated: &mut Evaluated,
    ) {
        let count = rows.len();
        if count == 0 || (!evaluated.failed.is_empty() && self.ends_at_first(way.0)) {
            return;
        }
        match self.try_evaluate(way, rows.clone()) {
            Ok((ready, tally)) => {
                evaluated.ready.push(ready);
                evaluated.tally += &tally;
            }
            Err(error) if count == 1 => evaluated.failed.push((first_row, reason(error))),
            Err(_) => {
                let half = count / 2;
                for (start, len) in [(0, half), (half, count - half)] {
                    let part = rows.slice(start, len);
                    self.evaluate_part(way, part, first_row + start, evaluated);
                }
            }
        }
    }

    fn try_evaluate(
        &self,
        (place, stage, to): (Place, &Stage, Port),
        rows: Rows,
    ) -> Evaluates<(Ready, StageTally)> {
        let so_far = match place {
            Place::Input(input) => &self.input_tallies[input].stage,
            Place::Node(node) => &self.node_tallies[node].stage,
            Place::Exchange => &StageTally::default(),
        };
        let mut tally = StageTally::default();
        let rows = stage.apply_counted(rows, self.tables.all(), so_far, &mut tally)?;
        Ok((self.prepared(to, rows)?, tally))
    }

    fn prepared(&self, to: Port, rows: Rows) -> Evaluates<Ready> {
        Ok(match to {
            Port::Sink => match self.output.combiner() {
                Some(combiner) => Ready::ToCombine(combiner.prepare(rows)?),
                None => Ready::ForSink(rows),
            },
            Port::Node { node, side } => {
                let operator = &self.operators[node];
                if self.topology.late_topic.is_none() {
                    return Ok(Ready::ForNode { rows: operator.prepare(side, rows)?, late: None });
                }
                let prepared = operator.prepare(side, rows.clone())?;
                let late = match prepared.late {
                    0 => None,
                    _ => operator.late_rows(side, &rows)?,
                };
                Ready::ForNode { rows: prepared, late }
            }
        })
    }

    /// Takes rows where they go, and what comes of them further on.
    pub(super) fn take(&mut self, to: Port, ready: Ready, now: WallTime) -> Result<(), TaskError> {
        match (to, ready) {
            (Port::Node { node, side }, Ready::ForNode { rows, late }) => {
                if let Some(late) = late {
                    self.write_late(&late, now)?;
                }
                self.counts.late += rows.late as u64;
                self.counts.untimed += rows.untimed as u64;
                let tally = &mut self.node_tallies[node];
                tally.late += rows.late as u64;
                tally.untimed += rows.untimed as u64;
                tally.took(side, (rows.rows.len() + rows.late + rows.untimed) as u64);
                self.drive(node, now, |operator, out| operator.apply(side, rows, out))
            }
            (_, Ready::ForSink(rows)) => self.write_rows(&rows, now),
            (_, Ready::ToCombine(rows)) => {
                let goes_on = self.goes_on();
                let count = rows.rows.len();
                self.write(count, |output| going_on(goes_on, || output.combine(rows, now)))
            }
            // What was prepared for a node goes there.
            (Port::Sink, Ready::ForNode { .. }) => Ok(()),
        }
    }

    /// Lets an operator do something, and passes on what comes out.
    fn drive(
        &mut self,
        node: usize,
        now: WallTime,
        what: impl FnOnce(&mut dyn Operator, &mut Vec<Rows>) -> Evaluates<()>,
    ) -> Result<(), TaskError> {
        let mut out = Vec::new();
        self.operate(node, now, |operator| what(operator, &mut out))?;
        loop {
            out.drain(..).try_for_each(|rows| self.pass_on(node, rows, now))?;
            let more = self.operate(node, now, |operator| operator.go_on(&mut out))?;
            if !more && out.is_empty() {
                return Ok(());
            }
        }
    }

    /// Lets an operator do something, and leaves out the groups that fail in it.
    fn operate<T>(
        &mut self,
        node: usize,
        now: WallTime,
        what: impl FnOnce(&mut dyn Operator) -> Evaluates<T>,
    ) -> Result<T, TaskError> {
        let goes_on = self.goes_on();
        let operator = self.operators[node].as_mut();
        let (done, failed) = heard(|| going_on(goes_on, || udfs::search(|| what(operator))));
        let done = done.map_err(TaskError::evaluate("an operator"))?;
        for FailedGroups { rows, reasons } in failed {
            self.leave_out(&rows, &reasons, now)?;
        }
        Ok(done)
    }

    /// Does with rows that are of no single record what is to be done with those that fail. They
    /// have no offset: their dead letters are what is known of them, as JSON.
    fn leave_out(
        &mut self,
        rows: &Rows,
        reasons: &[String],
        now: WallTime,
    ) -> Result<(), TaskError> {
        let mut letters: Option<Arc<str>> = None;
        let mut fails = false;
        for on_error in self.on_errors() {
            match on_error {
                OnError::Fail => fails = true,
                OnError::Skip => {}
                OnError::DeadLetter { topic } => letters = Some(topic.as_str().into()),
            }
        }
        self.dirty = true;
        let topics = self.topics_read();
        if let (true, Some(reason)) = (fails, reasons.first()) {
            let row = in_words(&rows.slice(0, 1));
            return Err(TaskError::Row { topics, row, reason: reason.clone() });
        }
        let Some(letters) = letters else {
            self.counts.skipped += rows.len() as u64;
            return Ok(());
        };
        let query = self.topology.query.clone();
        let of = LeftOutRows { topic: &letters, from: &topics, rows, reasons, query: &query };
        let written = self.output.write_left_out_rows(&of, now);
        written.map_err(TaskError::evaluate("a dead letter cannot be encoded"))?;
        self.counts.dead_lettered += rows.len() as u64;
        Ok(())
    }

    /// The topics that its rows have come from.
    fn topics_read(&self) -> String {
        let of_sources = self.topology.inputs.iter().map(|input| input.source.topic.as_str());
        let exchanges = self.topology.exchanges.iter();
        let of_exchanges = exchanges.flat_map(|of| of.exchange.sources.iter().map(String::as_str));
        let mut topics: Vec<&str> = of_sources.chain(of_exchanges).collect();
        topics.sort_unstable();
        topics.dedup();
        topics.join(", ")
    }

    /// Rows of an operator through the stage after it.
    fn pass_on(&mut self, node: usize, rows: Rows, now: WallTime) -> Result<(), TaskError> {
        let topology = self.topology.clone();
        let (stage, to) = (&topology.nodes[node].stage, topology.nodes[node].to);
        self.node_tallies[node].rows_out += rows.len() as u64;
        self.pass(Place::Node(node), stage, to, rows, now)
    }

    /// Rows that are of no single record through a stage.
    pub(super) fn pass(
        &mut self,
        place: Place,
        stage: &Stage,
        to: Port,
        rows: Rows,
        now: WallTime,
    ) -> Result<(), TaskError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        let evaluated = self.evaluate(place, stage, to, rows.clone());
        if let Place::Node(node) = place {
            self.node_tallies[node].stage += &evaluated.tally;
        }
        for (row, reason) in evaluated.failed {
            self.leave_out(&rows.slice(row, 1), &[reason], now)?;
        }
        evaluated.ready.into_iter().try_for_each(|rows| self.take(to, rows, now))
    }

    /// Takes rows that were combined before they came here: for all that is known of them, they
    /// come now.
    pub(super) fn merge(
        &mut self,
        to: Port,
        rows: CombinedRows,
        now: WallTime,
    ) -> Result<(), TaskError> {
        let Port::Node { node, side } = to else { return Ok(()) };
        self.dirty = true;
        let merged = self.operate(node, now, |operator| operator.merge(side, rows))?;
        let Merged { taken, late } = merged;
        self.counts.rows_in += taken + late;
        self.counts.late += late;
        let tally = &mut self.node_tallies[node];
        tally.late += late;
        tally.took(side, taken + late);
        Ok(())
    }

    /// Writes rows; of those that the sink's format has no form for (NULL where its schema wants a
    /// value, a symbol that its enum has not), does with each what is to be done with those that
    /// fail.
    fn write_rows(&mut self, rows: &Rows, now: WallTime) -> Result<(), TaskError> {
        let count = rows.len();
        if count == 0 {
            return Ok(());
        }
        self.dirty = true;
        // All of them are encoded before one is written.
        // What changes whenever rows come is as of the latest of these (KIP-258).
        let untimed_ms = time::reached(&self.clocks, &self.exchange_clocks).unwrap_or(now.0);
        let Err(error) = self.output.write(rows, now, untimed_ms) else {
            self.counts.rows_out += count as u64;
            return self.leave_out_too_long();
        };
        if count > 1 {
            let half = count / 2;
            self.write_rows(&rows.slice(0, half), now)?;
            return self.write_rows(&rows.slice(half, count - half), now);
        }
        // What could not be written is nowhere to be taken back from.
        if rows.is_retraction(0) {
            return Ok(());
        }
        self.leave_out(rows, &[reason(error)], now)
    }

    fn write(
        &mut self,
        rows: usize,
        write: impl FnOnce(&mut Output) -> Evaluates<()>,
    ) -> Result<(), TaskError> {
        if rows == 0 {
            return Ok(());
        }
        self.dirty = true;
        self.counts.rows_out += rows as u64;
        write(&mut self.output).map_err(TaskError::evaluate("a row cannot be encoded"))?;
        self.leave_out_too_long()
    }

    /// Does with records that are longer than the sink's topic takes what is to be done with those
    /// that fail.
    pub(super) fn leave_out_too_long(&mut self) -> Result<(), TaskError> {
        let (too_long, size_max) = self.output.take_too_long();
        for record in too_long {
            let error = TaskError::TooLong {
                topic: self.output.topic().to_owned(),
                key: record.key.as_deref().map(shortened).unwrap_or_default(),
                size: record.size,
                size_max,
            };
            let mut letters = None;
            for on_error in self.on_errors() {
                match on_error {
                    OnError::Fail => return Err(error),
                    OnError::Skip => {}
                    OnError::DeadLetter { topic } => letters = Some(topic.as_str().into()),
                }
            }
            match letters {
                Some(topic) => {
                    let (query, reason) = (self.topology.query.clone(), error.to_string());
                    self.output.write_left_out(&topic, &record, &query, &reason);
                    self.counts.dead_lettered += 1;
                }
                None => self.counts.skipped += 1,
            }
            self.counts.rows_out -= 1;
        }
        Ok(())
    }

    /// What is to be done with records that fail, source by source.
    fn on_errors(&self) -> impl Iterator<Item = &OnError> {
        let of_exchanges = self.topology.exchanges.iter().map(|input| &input.exchange.on_error);
        let of_sources = self.topology.inputs.iter().map(|input| &input.source.on_error);
        of_exchanges.chain(of_sources)
    }

    /// Whether it goes on without what fails.
    pub(super) fn goes_on(&self) -> bool {
        !self.on_errors().any(|on_error| matches!(on_error, OnError::Fail))
    }

    /// Writes rows that came too late where the file says.
    fn write_late(&mut self, rows: &Rows, now: WallTime) -> Result<(), TaskError> {
        let Some(topic) = self.topology.late_topic.clone() else { return Ok(()) };
        self.dirty = true;
        let (query, watermark) = (&self.topology.query, self.watermark.to_string());
        let written = self.output.write_late(&topic, rows, query, &watermark, now);
        written.map_err(TaskError::evaluate("a late row cannot be encoded"))
    }

    /// Moves the watermark to where the clocks let it.
    pub fn tick(&mut self, now: WallTime) -> Result<(), TaskError> {
        self.ticked_at = now;
        self.progress = progress(&self.clocks, &self.exchange_clocks, now);
        match self.progress {
            Progress::At(watermark) => self.advance(watermark, now),
            Progress::AllIdle => self.release(self.future_bound_ms(now), self.settled_ms(now), now),
        }
    }

    fn advance(&mut self, watermark: Watermark, now: WallTime) -> Result<(), TaskError> {
        if watermark <= self.watermark {
            return Ok(());
        }
        self.watermark = watermark;
        (0..self.operators.len()).try_for_each(|node| {
            let watermark = self.topology.nodes[node].behind(watermark);
            self.drive(node, now, |operator, out| operator.advance(watermark, out))?;
            self.node_tallies[node].forgotten = self.operators[node].forgotten();
            Ok(())
        })
    }

    /// Nothing more is waited for: the watermark moves until no operator holds anything from before
    /// `bound_ms`, and no further than `most_ms`. What one of them lets go may be held by the next,
    /// which comes after it.
    fn release(&mut self, bound_ms: i64, most_ms: i64, now: WallTime) -> Result<(), TaskError> {
        for node in 0..self.operators.len() {
            if let Some(at) = self.released_at(node, bound_ms) {
                self.advance(at.min(Watermark(most_ms)), now)?;
            }
        }
        Ok(())
    }

    /// The watermark at which an operator holds nothing more from before `bound_ms`.
    pub(super) fn released_at(&self, node: usize, bound_ms: i64) -> Option<Watermark> {
        let at = self.operators[node].releases_at(bound_ms)?;
        Some(Watermark(at.0.saturating_add(self.topology.nodes[node].lag_ms)))
    }

    /// The input has ended.
    pub fn finish(&mut self, now: WallTime) -> Result<(), TaskError> {
        // The total of no rows at all is an answer too.
        self.dirty |= self.is_stateful();
        let bound_ms = self.future_bound_ms(now);
        self.release(bound_ms, i64::MAX, now)?;
        (0..self.operators.len()).try_for_each(|node| {
            self.drive(node, now, |operator, out| operator.finish(bound_ms, out))
        })
    }

    /// Brings out what operators hold back to be told together.
    pub(super) fn flush(&mut self, now: WallTime) -> Result<(), TaskError> {
        (0..self.operators.len())
            .try_for_each(|node| self.drive(node, now, |operator, out| operator.flush(out)))
    }

    /// Rows of now that are still to come are not from before this.
    pub(super) fn settled_ms(&self, now: WallTime) -> i64 {
        let of_sources = self.clocks.iter().map(|clock| clock.settled(now));
        let of_exchanges = self.exchange_clocks.iter().map(|clock| clock.settled(now));
        of_sources.chain(of_exchanges).min().unwrap_or(now.0)
    }

    /// Windows that start later are of clocks that are wrong.
    pub(super) fn future_bound_ms(&self, now: WallTime) -> i64 {
        let of_sources = self.clocks.iter().map(|clock| clock.future_bound(now).0);
        let of_exchanges = self.exchange_clocks.iter().map(|clock| clock.future_bound(now).0);
        of_sources.chain(of_exchanges).min().unwrap_or(now.0)
    }
}

/// A key, as people may recognise it.
fn shortened(key: &[u8]) -> String {
    const CHARS_MAX: usize = 60;
    let key = String::from_utf8_lossy(key);
    match key.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!(" with key '{}…'", &key[..end]),
        None => format!(" with key '{key}'"),
    }
}
