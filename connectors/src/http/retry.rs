//! Which answers are tried again, and when.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

/// Status codes: `429, 500-599, 5xx, 400-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCodes(Vec<RangeInclusive<u16>>);

impl StatusCodes {
    pub fn parse(items: &[String]) -> Result<StatusCodes, String> {
        items.iter().map(|item| range(item)).collect::<Result<_, _>>().map(StatusCodes)
    }

    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

fn range(item: &str) -> Result<RangeInclusive<u16>, String> {
    let code = |text: &str| {
        let code = text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
        code.ok_or_else(|| {
            format!("'{item}' is no status code from 100 to 599, no range such as 500-599, nor 5xx")
        })
    };
    if let Some(class) = item.strip_suffix("xx") {
        let first = code(&format!("{class}00"))?;
        return Ok(first..=first + 99);
    }
    match item.split_once('-') {
        None => code(item).map(|code| code..=code),
        Some((first, last)) if last.trim().is_empty() => Ok(code(first)?..=599),
        Some((first, last)) => Ok(code(first)?..=code(last)?),
    }
}

/// How often and how soon one thing is tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// `None`: for ever.
    pub retries_max: Option<u32>,
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// The longest that a server's Retry-After is followed.
    pub retry_after_max: Duration,
}

impl RetryPolicy {
    /// How long to wait after so many failures; `None`: that was enough. `random` spreads those
    /// who failed together: between half of the pause and all of it.
    pub fn pause(&self, failures: u32, asked: Option<Duration>, random: u64) -> Option<Duration> {
        if self.retries_max.is_some_and(|max| failures > max) {
            return None;
        }
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1).min(31));
        let pause = self.backoff.saturating_mul(doubled).min(self.backoff_max);
        let spread = pause.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64));
        let asked = asked.unwrap_or_default().min(self.retry_after_max);
        Some(spread.max(asked))
    }
}

/// What a Retry-After says: seconds, or a date.
pub fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Result<StatusCodes, String> {
        let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
        StatusCodes::parse(&items)
    }

    #[test]
    fn codes_are_listed_by_number_range_and_class() {
        let listed = codes("408, 429, 5xx").unwrap();
        let all: Vec<u16> = (100..600).filter(|code| listed.contains(*code)).collect();
        assert_eq!((all.len(), all[0], all[1], all[2]), (102, 408, 429, 500));
        assert!(codes("400-").unwrap().contains(599));
        assert!(!codes("400-404").unwrap().contains(405));
        for wrong in ["abc", "99", "6xx", "500-9999", "-500"] {
            assert!(codes(wrong).unwrap_err().contains("no status code"), "{wrong}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_a_server_may_ask_for_longer() {
        let policy = RetryPolicy {
            retries_max: Some(4),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_millis(500),
            retry_after_max: Duration::from_secs(60),
        };
        let ms = |failures, random| policy.pause(failures, None, random).map(|it| it.as_millis());
        let all: Vec<_> = (1..=5).map(|failures| ms(failures, u64::MAX)).collect();
        assert_eq!(all, [Some(100), Some(200), Some(400), Some(500), None]);
        assert_eq!(ms(2, 0), Some(100));
        let asked = |seconds| policy.pause(1, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(asked(7), Some(Duration::from_secs(7)));
        assert_eq!(asked(7_000), Some(Duration::from_secs(60)));
        let for_ever = RetryPolicy { retries_max: None, ..policy };
        assert_eq!(for_ever.pause(u32::MAX, None, 0), Some(Duration::from_millis(250)));
    }

    #[test]
    fn a_server_asks_by_seconds_or_by_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        let at = |text| retry_after(text, now);
        assert_eq!(at("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(at("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(at("soon"), None);
    }
}
