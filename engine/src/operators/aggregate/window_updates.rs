//! Groups per window, told whenever they change: before their window closes, after it, or both.
//!
//! The rule: what has come out for a window, less what was taken back, is what batch SQL answers
//! over the rows that came for it so far. With `early`, that holds from a window's first row on;
//! else from its end on. A window takes rows for the grace after its end (rows that come then
//! would be late without it); after that what was told stands, and its state is gone.
//!
//! Changes are told together, before each commit and before a window's state goes; a group that
//! answers as it was told does not come out. The old row and the new one are computed from what is
//! committed before and after, as in [`updating`](super::updating).

use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow_row::RowConverter;
use datafusion_common::Result;

use super::closed::{CLOSED, ClosedWindows};
use super::partial::{BeforeMeeting, CombinedRows, Merged};
use super::runs::{GROUP, GroupState};
use super::session::Telling;
use super::updating::{Standing, absent, answer_codec, standing, told};
use super::window::WindowSpec;
use crate::describe::words::duration_text;
use crate::describe::{Described, Until, Words};
use crate::formats::decode::times_ms;
use crate::operators::tables::{Entries, KeptTable};
use crate::operators::{Distribution, ExprText, Identity, Kept, Operator, OperatorSpec, Prepared};
use crate::rows::Rows;
use crate::state::changelog::{StateError, StateId};
use crate::state::layouts::Layouts;
use crate::state::map::StateMap;
use crate::time::Watermark;

/// Groups that are told together: bounds the memory that telling takes.
const TOLD_MAX: usize = 8192;

/// Windows, and when their groups are told.
#[derive(Debug)]
pub struct WindowUpdatesSpec {
    window: Arc<WindowSpec>,
    /// Groups are told from the first row on, not only from the window's end.
    early: bool,
    /// How long after its end a window takes rows.
    grace_ms: i64,
}

/// No group's key is behind it: those of arrow-row do not begin like that.
const LAST_KEY: &[u8] = &[u8::MAX; 16];

/// A group by its window and key.
type Place = (i64, Box<[u8]>);

/// The operator.
pub struct WindowUpdates {
    spec: Arc<WindowUpdatesSpec>,
    groups: GroupState,
    closed: ClosedWindows,
    /// Tells answers apart; `None` if nothing is computed.
    answer_codec: Option<RowConverter>,
}

impl WindowUpdatesSpec {
    pub fn new(window: WindowSpec, early: bool, grace_ms: i64) -> WindowUpdatesSpec {
        WindowUpdatesSpec { window: Arc::new(window), early, grace_ms }
    }
}

impl fmt::Display for WindowUpdatesSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.window)?;
        if self.early {
            write!(f, "\n  told as it changes")?;
        }
        match self.grace_ms {
            0 => Ok(()),
            grace_ms => write!(f, "\n  late rows for {grace_ms} ms"),
        }
    }
}

impl OperatorSpec for WindowUpdatesSpec {
    fn schema(&self) -> &SchemaRef {
        self.window.schema()
    }

    fn distribution(&self, side: usize) -> Distribution {
        self.window.distribution(side)
    }

    fn settles(&self) -> bool {
        true
    }

    fn comes_by(&self) -> Vec<Vec<usize>> {
        self.window.comes_by()
    }

    fn before_meeting(&self, side: usize) -> BeforeMeeting {
        self.window.before_meeting(side)
    }

    fn describe(&self, words: &Words) -> Described {
        let until = match self.grace_ms {
            0 => "the watermark passes the end of their window".to_owned(),
            grace => {
                format!("the watermark is {} past the end of their window", duration_text(grace))
            }
        };
        let mut described = self.window.described(words, Until::Watermark(until));
        let telling = Telling { early: self.early, grace_ms: self.grace_ms };
        described.details.extend(telling.in_words());
        described
    }

    fn tables(&self, entries: &Entries<'_>) -> Result<Vec<KeptTable>> {
        self.window.tables(entries)
    }

    fn identity(&self, text: &ExprText<'_>) -> Option<Identity> {
        let identity = self.window.identity(text)?;
        let early = if self.early { "\n  told as it changes" } else { "" };
        let late = match self.grace_ms {
            0 => String::new(),
            grace_ms => format!("\n  late rows for {grace_ms} ms"),
        };
        Some(Identity { text: format!("{}{early}{late}", identity.text), ..identity })
    }

    fn start(self: Arc<Self>, id: StateId) -> Result<Box<dyn Operator>> {
        let aggregate = &self.window.aggregate;
        Ok(Box::new(WindowUpdates {
            groups: GroupState::new(aggregate.clone(), id)?,
            closed: ClosedWindows::new(id, self.window.reach_ms),
            answer_codec: answer_codec(aggregate)?,
            spec: self,
        }))
    }
}

impl WindowUpdates {
    fn end_ms(&self, start_ms: i64) -> i64 {
        start_ms.saturating_add(self.spec.window.reach_ms)
    }

    /// The latest start of windows that end by then.
    fn last_start_ms(&self, end_ms: i64) -> i64 {
        end_ms.saturating_sub(self.spec.window.reach_ms)
    }

    fn tell<'k>(
        &self,
        of: impl Iterator<Item = (i64, &'k [u8])> + Clone,
        before: &Standing,
        after: &Standing,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        let window = &self.spec.window;
        let columns = window.group_columns(&self.groups, of)?;
        let rows = told(window.schema(), &columns, self.answer_codec.as_ref(), before, after)?;
        let bounds = times_ms(rows.batch.column(window.bound));
        let last_ms = |bound_ms: i64| self.end_ms(bound_ms).saturating_sub(1);
        let event_times_ms: Option<Int64Array> = bounds.map(|bounds| bounds.unary(last_ms));
        out.push(match event_times_ms {
            Some(event_times_ms) => Rows { event_times_ms, ..rows },
            None => rows,
        });
        Ok(())
    }

    /// Takes what is new into the committed state, and tells what of it is to be told.
    fn settle(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        let mut changed = self.groups.commit()?;
        changed.retain(|group| {
            self.spec.early || self.end_ms(group.window_start_ms) <= self.closed.up_to.0
        });
        for part in changed.chunks(TOLD_MAX) {
            let before = standing(&self.groups, part.iter().map(|group| &group.before[..]))?;
            let after = standing(&self.groups, part.iter().map(|group| &group.after[..]))?;
            let of = part.iter().map(|group| (group.window_start_ms, &*group.key));
            self.tell(of, &before, &after, out)?;
        }
        Ok(())
    }

    /// Tells all groups of windows that start within these bounds, for the first time.
    fn tell_all(
        &self,
        after_ms: Option<i64>,
        last_start_ms: i64,
        out: &mut Vec<Rows>,
    ) -> Result<()> {
        // No key is behind this one, so all groups of the window are passed over.
        let mut last = after_ms.map(|after_ms| (after_ms, LAST_KEY.into()));
        loop {
            let after = last.as_ref().map(|(start_ms, key): &Place| (*start_ms, &**key));
            let groups = self.groups.committed.groups_up_to(last_start_ms, after, TOLD_MAX)?;
            let before = absent(&self.groups.spec, groups.len());
            let after = standing(&self.groups, groups.iter().map(|group| &group.runs[..]))?;
            let of = groups.iter().map(|group| (group.window_start_ms, &*group.key));
            self.tell(of, &before, &after, out)?;
            match groups.into_iter().next_back() {
                Some(group) => last = Some((group.window_start_ms, group.key)),
                None => return Ok(()),
            }
        }
    }

    /// Forgets windows that start no later than that.
    fn forget(&mut self, after_ms: Option<i64>, last_start_ms: i64) -> Result<()> {
        let committed = &mut self.groups.committed;
        let after = after_ms.map(|after_ms| (after_ms, LAST_KEY));
        loop {
            let groups = committed.groups_up_to(last_start_ms, after, TOLD_MAX)?;
            for group in &groups {
                committed.remove_group(group)?;
            }
            if groups.len() < TOLD_MAX {
                return Ok(());
            }
        }
    }

    fn starts_ms(&self) -> impl Iterator<Item = i64> {
        let new = self.groups.new.table.window_starts_ms().iter().copied();
        new.chain(self.groups.committed.starts_ms())
    }

    /// Starts of windows that have not ended.
    fn unended_ms(&self) -> impl Iterator<Item = i64> {
        self.starts_ms().filter(|start_ms| self.end_ms(*start_ms) > self.closed.up_to.0)
    }
}

impl Operator for WindowUpdates {
    fn prepare(&self, _side: usize, rows: Rows) -> Result<Prepared> {
        let grace_ms = self.spec.grace_ms;
        let is_open = |start_ms| self.closed.is_open(start_ms, grace_ms);
        self.spec.window.prepare(rows, &self.groups, is_open)
    }

    fn late_rows(&self, _side: usize, rows: &Rows) -> Result<Option<Rows>> {
        let grace_ms = self.spec.grace_ms;
        let is_open = |start_ms| self.closed.is_open(start_ms, grace_ms);
        Ok(Some(self.spec.window.late_rows(rows, is_open)?))
    }

    fn apply(&mut self, _side: usize, rows: Prepared, _out: &mut Vec<Rows>) -> Result<()> {
        let Prepared { columns, keys, .. } = rows;
        let starts = columns[0].as_primitive::<Int64Type>().values();
        if starts.is_empty() {
            return Ok(());
        }
        let aggregate = self.spec.window.aggregate.clone();
        self.groups.new.take(&aggregate, starts, keys.as_ref(), &columns[1..])?;
        Ok(())
    }

    fn merge(&mut self, _side: usize, rows: CombinedRows) -> Result<Merged> {
        let is_open = |start_ms| self.closed.is_open(start_ms, self.spec.grace_ms);
        rows.merge_into(&mut self.groups.new, &self.spec.window.aggregate, is_open)
    }

    fn advance(&mut self, watermark: Watermark, out: &mut Vec<Rows>) -> Result<()> {
        let before = self.closed.up_to;
        if watermark <= before {
            return Ok(());
        }
        let ended = self.last_start_ms(watermark.0);
        let over = ended.saturating_sub(self.spec.grace_ms);
        let ends_any = self.unended_ms().any(|start_ms| start_ms <= ended);
        if ends_any || self.starts_ms().any(|start_ms| start_ms <= over) {
            self.settle(out)?;
            if !self.spec.early {
                let told = (before > Watermark::MIN).then(|| self.last_start_ms(before.0));
                self.tell_all(told, ended, out)?;
            }
            self.forget(None, over)?;
        }
        self.closed.close_up_to(watermark)?;
        Ok(())
    }

    /// Windows that start later than `bound_ms` do not move the watermark: they are remembered one
    /// by one as closed, and take no late rows.
    fn finish(&mut self, _bound_ms: i64, out: &mut Vec<Rows>) -> Result<()> {
        self.settle(out)?;
        let beyond: Vec<i64> = self.unended_ms().collect();
        let Some(&first) = beyond.iter().min() else { return Ok(()) };
        if !self.spec.early {
            self.tell_all(Some(first.saturating_sub(1)), i64::MAX, out)?;
        }
        self.forget(Some(first.saturating_sub(1)), i64::MAX)?;
        self.closed.close_beyond(beyond)?;
        Ok(())
    }

    fn releases_at(&self, bound_ms: i64) -> Option<Watermark> {
        let last = self.unended_ms().filter(|start_ms| *start_ms <= bound_ms).max()?;
        Some(Watermark(self.end_ms(last)))
    }

    fn earliest_ms(&self) -> Option<i64> {
        self.unended_ms().min()
    }

    fn flush(&mut self, out: &mut Vec<Rows>) -> Result<()> {
        self.settle(out)
    }

    fn maps(&mut self) -> Vec<&mut StateMap> {
        let mut maps: Vec<&mut StateMap> = self.groups.committed.maps().into();
        maps.push(self.closed.map());
        maps
    }

    fn restores_in_place(&self) -> bool {
        true
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        match key.split_first() {
            Some((&GROUP, rest)) => self.groups.restore(rest, value),
            Some((&CLOSED, rest)) => self.closed.restore(rest, value),
            _ => Err(StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"))),
        }
    }

    fn take_layouts(&mut self, layouts: &Layouts) -> Result<(), StateError> {
        self.groups.take_layouts(layouts)
    }

    fn restored(&mut self, watermark: Watermark) -> Result<()> {
        Ok(self.closed.restored(watermark)?)
    }

    fn kept(&self) -> Kept {
        let (windows, groups) = self.groups.committed.kept();
        Kept { windows, groups }
    }
}
