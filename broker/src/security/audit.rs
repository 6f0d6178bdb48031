//! How much is told of what was denied (`millstream::audit`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Lines of the audit in a second; of more only their number is told, so that nobody can fill a
/// disk by being denied.
const LINES_PER_SECOND_MAX: u32 = 100;
/// Of names that clients choose, so much is told.
pub const NAME_CHARACTERS_MAX: usize = 256;

/// What is told of a name that a client chose.
pub fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS_MAX).collect()
}

/// A bound on the lines of an audit.
#[derive(Debug, Default)]
pub struct AuditLines {
    state: Mutex<State>,
    /// The first line of a second has been left out.
    left_out: Notify,
}

#[derive(Debug)]
struct State {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for State {
    fn default() -> State {
        State { since: Instant::now(), lines: 0, left_out: 0 }
    }
}

impl State {
    fn begin_anew(&mut self) {
        let left_out = std::mem::take(self).left_out;
        if left_out > 0 {
            tracing::warn!(target: "millstream::audit", left_out, "left out lines: too many");
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl AuditLines {
    /// Whether there is room for a line.
    pub fn may_tell(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.elapsed() >= SECOND {
            state.begin_anew();
        }
        let may = state.lines < LINES_PER_SECOND_MAX;
        if may {
            state.lines += 1;
        } else {
            state.left_out += 1;
            if state.left_out == 1 {
                self.left_out.notify_one();
            }
        }
        may
    }

    /// Tells how many lines were left out also when none comes after them.
    pub async fn tell_left_out(&self) {
        loop {
            self.left_out.notified().await;
            tokio::time::sleep(SECOND).await;
            self.state.lock().unwrap_or_else(PoisonError::into_inner).begin_anew();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn lines_that_were_left_out_are_told_of_when_the_flood_is_over() {
        let audit = AuditLines::default();
        // All of it within one second, however slow the machine is.
        audit.state.lock().unwrap().since = Instant::now() + Duration::from_secs(3600);
        let told = (0..LINES_PER_SECOND_MAX + 7).filter(|_| audit.may_tell()).count();
        assert_eq!(told as u32, LINES_PER_SECOND_MAX);
        assert_eq!(audit.state.lock().unwrap().left_out, 7);
        let left_out = || audit.state.lock().unwrap().left_out;
        let until_told = async {
            while left_out() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = audit.tell_left_out() => unreachable!("it goes on"),
            () = until_told => {}
        }
        assert!(audit.may_tell(), "another second has begun");
        assert!(audit.tell_left_out().now_or_never().is_none(), "and there is nothing to tell");
    }
}
