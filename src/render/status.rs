//! What a running pipeline says of itself on stderr: a checklist when it starts, then progress
//! while an input catches up.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// In a log file one line in this time is enough.
const LOG_LINE_EVERY: Duration = Duration::from_secs(10);
/// A person sees a line that moves.
const TERMINAL_LINE_EVERY: Duration = Duration::from_millis(200);

/// One line of the checklist: what, and how it stands.
pub fn checked(what: &str, how: &str) {
    let (green, reset) =
        if io::stderr().is_terminal() { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
    eprintln!("  {green}✓{reset} {what:<11} {how}");
}

/// What was at work, and is not any more.
pub fn failed(what: &str, how: &str) {
    let (red, reset) = if io::stderr().is_terminal() { ("\x1b[31m", "\x1b[0m") } else { ("", "") };
    eprintln!("  {red}✗{reset} {what:<11} {how}");
}

/// A line of the checklist that needs no doing.
pub fn pointer(what: &str, how: &str) {
    eprintln!("  → {what:<11} {how}");
}

/// How far an input has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What is going on: `reading flights.csv`.
    pub phase: String,
    pub done: u64,
    /// Of how many, if that is known.
    pub total: Option<u64>,
    pub unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Records,
    Bytes,
}

/// Shows readings: on a terminal one line that is written over, else a line now and then.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    /// When the phase began, and at what count.
    began: Option<(String, Instant, u64)>,
    last_line: Option<Instant>,
    line_is_open: bool,
}

impl Progress {
    pub fn new() -> Progress {
        Progress {
            terminal: io::stderr().is_terminal(),
            began: None,
            last_line: None,
            line_is_open: false,
        }
    }

    /// How long to wait between two readings.
    pub fn interval(&self) -> Duration {
        if self.terminal { TERMINAL_LINE_EVERY } else { LOG_LINE_EVERY }
    }

    /// Shows `reading` unless the last one is too fresh.
    pub fn show(&mut self, reading: &Reading, now: Instant) {
        // Less is done than before where others have taken over some of it.
        let goes_on = |(phase, _, done): &(String, Instant, u64)| {
            *phase == reading.phase && *done <= reading.done
        };
        if !self.began.as_ref().is_some_and(goes_on) {
            self.began = Some((reading.phase.clone(), now, reading.done));
        }
        let due = self.last_line.is_none_or(|last| now.duration_since(last) >= self.interval());
        let Some((_, began, done_at_start)) = &self.began else { return };
        let elapsed = now.duration_since(*began);
        // The first moments give no rate worth showing; short inputs need no progress at all.
        if !due || elapsed < TERMINAL_LINE_EVERY {
            return;
        }
        self.last_line = Some(now);
        let line = progress_line(reading, reading.done - done_at_start, elapsed);
        if self.terminal {
            eprint!("\r\x1b[2K  {line}");
            // A progress line that cannot be shown is no reason to stop.
            let _ = io::stderr().flush();
            self.line_is_open = true;
        } else {
            eprintln!("  {line}");
        }
    }

    /// Takes the moving line away, before something else is written.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.line_is_open) {
            eprint!("\r\x1b[2K");
        }
    }
}

fn progress_line(reading: &Reading, done_since: u64, elapsed: Duration) -> String {
    let rate = done_since as f64 / elapsed.as_secs_f64().max(0.001);
    let mut line = format!("{}: {}", reading.phase, amount(reading.done, reading.unit));
    if let Some(total) = reading.total {
        let percent = 100.0 * reading.done as f64 / total.max(1) as f64;
        // Writing to a string does not fail.
        let _ = write!(line, " of {} ({percent:.0} %)", amount(total, reading.unit));
    }
    let _ = write!(line, ", {}/s", amount(rate as u64, reading.unit));
    if let Some(left) = reading.total.and_then(|total| total.checked_sub(reading.done))
        && rate >= 1.0
    {
        let _ = write!(line, ", {} left", duration(Duration::from_secs_f64(left as f64 / rate)));
    }
    line
}

/// `27,004`, or `2.1 MB`.
pub fn amount(count: u64, unit: Unit) -> String {
    match unit {
        Unit::Records => grouped(count),
        Unit::Bytes => bytes(count),
    }
}

/// Digits in threes.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut size = count as f64;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{size:.1} {}", UNITS[unit]) }
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_phase_count_rate_and_time_left() {
        let reading = Reading {
            phase: "reading flights.csv".to_owned(),
            done: 30_000_000,
            total: Some(90_000_000),
            unit: Unit::Bytes,
        };
        assert_eq!(
            progress_line(&reading, 20_000_000, Duration::from_secs(2)),
            "reading flights.csv: 30.0 MB of 90.0 MB (33 %), 10.0 MB/s, 6 s left"
        );
        let reading = Reading { total: None, unit: Unit::Records, ..reading };
        assert_eq!(
            progress_line(&reading, 2_000_000, Duration::from_secs(2)),
            "reading flights.csv: 30,000,000, 1,000,000/s"
        );
    }

    #[test]
    fn amounts_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_000_000), "1.0 MB");
        assert_eq!(duration(Duration::from_secs(3_725)), "1 h 2 min");
    }
}
