//! What a guest says: through the host's `log`, or on standard output and error.
//!
//! The rule: lines go to the log with the names of the function and of the pipeline and query that
//! call it, each cut at [`LINE_MAX`], no more of them
//! than [`LINES_MAX`] for one call, and [`LINES_PER_SECOND_MAX`] of all instances. The last words
//! before a failure are part of its message. Who asks for what is not granted is told of, once.

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tracing::{Level, debug, error, info, warn};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::caller::Caller;

/// Bytes of a line that are kept.
const LINE_MAX: usize = 1024;
/// Lines of one call that are kept.
const LINES_MAX: usize = 100;
/// Lines of all calls that are kept: rows that fail are called several times, to find them.
const LINES_PER_SECOND_MAX: usize = 100;
/// Lines that a failure's message has.
const LAST_WORDS: usize = 4;
/// Bytes that a guest may write at once.
const WRITE_MAX: usize = 64 << 10;

/// What all instances of a module have said in a second.
#[derive(Debug)]
pub(crate) struct Rate {
    module: String,
    began: Instant,
    lines: usize,
    /// What they have asked for that is not granted.
    asked: Vec<Asked>,
}

/// What a guest may ask for and gets another thing instead, where it is not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Clock,
    Random,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Asked::Clock => "the time, and its clock stands still: grants.clock = true lets it go",
            Asked::Random => "random numbers, and gets zeros: grants.random = true grants them",
        })
    }
}

pub(crate) type SharedRate = Arc<Mutex<Rate>>;

impl Rate {
    pub fn new(module: &str) -> SharedRate {
        let (module, began) = (module.to_owned(), Instant::now());
        Arc::new(Mutex::new(Rate { module, began, lines: 0, asked: Vec::new() }))
    }

    /// Whether one more line may be said.
    fn allows(&mut self, now: Instant) -> bool {
        let dropped = self.lines.saturating_sub(LINES_PER_SECOND_MAX);
        if now.saturating_duration_since(self.began) >= Duration::from_secs(1) {
            (self.began, self.lines) = (now, 0);
            if dropped > 0 {
                let module = &self.module;
                warn!(target: "udf", function = %module, "has said {dropped} lines more, which were dropped: \
                    no more than {LINES_PER_SECOND_MAX} a second are kept");
            }
        }
        self.lines += 1;
        self.lines <= LINES_PER_SECOND_MAX
    }
}

#[derive(Clone, Debug)]
pub(crate) struct GuestLog(Arc<Mutex<Said>>);

#[derive(Debug)]
struct Said {
    module: String,
    rate: SharedRate,
    /// Whether it was called, and not only started.
    is_called: bool,
    /// Whoever calls it.
    caller: Option<Caller>,
    /// Lines of this call, those that were dropped too.
    lines: usize,
    /// The first line that tells of something wrong, and the last ones.
    first: Option<String>,
    last: Vec<String>,
}

impl GuestLog {
    pub fn new(module: &str, rate: &SharedRate) -> GuestLog {
        let (module, rate) = (module.to_owned(), rate.clone());
        let (is_called, caller, first, last) = (false, None, None, Vec::new());
        let said = Said { module, rate, is_called, caller, lines: 0, first, last };
        GuestLog(Arc::new(Mutex::new(said)))
    }

    /// A call begins.
    pub fn begin(&self, caller: Option<&Caller>) {
        let mut said = self.lock();
        said.is_called = true;
        if said.caller.as_ref() != caller {
            said.caller = caller.cloned();
        }
        said.lines = 0;
        said.first = None;
        said.last.clear();
    }

    /// What a guest said last that tells of something wrong: some begin with what it is, and end
    /// with where it was.
    pub fn last_words(&self) -> String {
        let mut said = self.lock();
        let mut text = String::new();
        if let Some(first) = said.first.take().filter(|first| !said.last.contains(first)) {
            text = format!("{first}; …");
        }
        for line in std::mem::take(&mut said.last) {
            let _ = write!(text, "{}{line}", if text.is_empty() { "" } else { "; " });
        }
        text
    }

    pub fn say(&self, level: Level, line: &str) {
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let line = &line[..line.floor_char_boundary(LINE_MAX)];
        let mut said = self.lock();
        said.lines += 1;
        if said.lines > LINES_MAX {
            if said.lines == LINES_MAX + 1 {
                said.tell(
                    Level::WARN,
                    format_args!(
                        "says more than {LINES_MAX} lines in one call: the others are dropped"
                    ),
                );
            }
        } else if said.rate.lock().unwrap_or_else(PoisonError::into_inner).allows(Instant::now()) {
            said.tell(level, format_args!("{line}"));
        }
        if level == Level::ERROR {
            if said.last.len() == LAST_WORDS {
                said.last.remove(0);
            }
            said.first.get_or_insert_with(|| line.to_owned());
            said.last.push(line.to_owned());
        }
    }

    /// It asks for what is not granted. What its language asks for while it starts says nothing of
    /// the function.
    pub fn asks_for(&self, asked: Asked) {
        let said = self.lock();
        if !said.is_called {
            return;
        }
        let mut rate = said.rate.lock().unwrap_or_else(PoisonError::into_inner);
        if !rate.asked.contains(&asked) {
            rate.asked.push(asked);
            drop(rate);
            said.tell(Level::WARN, format_args!("asks for {asked}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn stream(&self, level: Level) -> LogStream {
        LogStream { log: self.clone(), level, line: Vec::new() }
    }
}

/// A line with the names of those whom it is of.
macro_rules! line {
    ($event:ident, $said:ident, $text:ident) => {
        match &$said.caller {
            Some(Caller { pipeline, query }) => $event!(
                target: "udf", %pipeline, %query, function = %$said.module, "{}", $text
            ),
            None => $event!(target: "udf", function = %$said.module, "{}", $text),
        }
    };
}

impl Said {
    fn tell(&self, level: Level, text: fmt::Arguments<'_>) {
        match level {
            Level::ERROR => line!(error, self, text),
            Level::WARN => line!(warn, self, text),
            Level::INFO => line!(info, self, text),
            _ => line!(debug, self, text),
        }
    }
}

/// Standard output or error of a guest.
#[derive(Clone, Debug)]
pub(crate) struct LogStream {
    log: GuestLog,
    level: Level,
    /// A line without its end.
    line: Vec<u8>,
}

impl LogStream {
    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                self.say();
            }
        }
    }

    fn say(&mut self) {
        let line = std::mem::take(&mut self.line);
        self.log.say(self.level, &String::from_utf8_lossy(&line));
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    /// Languages flush what they print without a line's end.
    fn flush(&mut self) -> StreamResult<()> {
        if !self.line.is_empty() {
            self.say();
        }
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_lines_are_kept_than_so_many_in_a_second() {
        let rate = Rate::new("m");
        let mut rate = rate.lock().unwrap();
        let began = rate.began;
        let kept = |rate: &mut Rate, after_ms: u64| {
            let now = began + Duration::from_millis(after_ms);
            (0..1_000).filter(|_| rate.allows(now)).count()
        };
        assert_eq!(kept(&mut rate, 0), LINES_PER_SECOND_MAX);
        assert_eq!(kept(&mut rate, 999), 0);
        assert_eq!(kept(&mut rate, 1_000), LINES_PER_SECOND_MAX);
    }

    #[test]
    fn last_words_are_the_last_lines_of_errors() {
        let log = GuestLog::new("m", &Rate::new("m"));
        let mut stream = log.stream(Level::ERROR);
        stream.take(b"one\ntw");
        stream.take(b"o\nthree\nfour\nfive\nrest");
        log.say(Level::INFO, "not this");
        assert_eq!(log.last_words(), "one; …; two; three; four; five");
        stream.flush().unwrap();
        assert_eq!(log.last_words(), "rest");
        log.begin(None);
        stream.take(&[b'x'; 1 << 20]);
        stream.take(b"\n");
        assert_eq!(log.last_words().len(), LINE_MAX);
    }
}
