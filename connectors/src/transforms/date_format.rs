//! Times as text by a pattern of Java's `SimpleDateFormat`, in UTC and English.
//!
//! ```text
//! y year  Y year of the week  M month (MMM Mar, MMMM March)  d day  D day of the year
//! E weekday (EEEE Monday)  u weekday, Monday 1  a AM/PM  H 0-23  k 1-24  K 0-11  h 1-12
//! m minute  s second  S ms
//! X zone (X +01, XX +0100, XXX +01:00)  Z zone (+0100)  z zone (UTC)  '…' text as it is
//! ```
//!
//! As in Java, a number goes on for as many digits as there are, unless another number follows at
//! once; and what follows the last field is left alone. Unlike there, 30 February is an error and
//! not 1 March: a value does not change without a word.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::data::civil::{Civil, is_date};

/// A pattern, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DateFormat {
    pattern: String,
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Text(String),
    /// A letter, and how often it stands there.
    Field(char, usize),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const KNOWN: &str = "yYMdDEuaHkKhmsSXZz";

impl DateFormat {
    pub(super) fn parse_pattern(pattern: &str) -> Result<DateFormat, String> {
        let mut items: Vec<Item> = Vec::new();
        let mut letters = pattern.chars().peekable();
        let add_text = |items: &mut Vec<Item>, letter: char| match items.last_mut() {
            Some(Item::Text(text)) => text.push(letter),
            _ => items.push(Item::Text(letter.to_string())),
        };
        while let Some(letter) = letters.next() {
            match letter {
                '\'' if letters.next_if_eq(&'\'').is_some() => add_text(&mut items, '\''),
                '\'' => loop {
                    match letters.next() {
                        None => return Err(format!("in '{pattern}' a quote is not closed")),
                        Some('\'') if letters.next_if_eq(&'\'').is_some() => {
                            add_text(&mut items, '\'');
                        }
                        Some('\'') => break,
                        Some(letter) => add_text(&mut items, letter),
                    }
                },
                letter if letter.is_ascii_alphabetic() => {
                    if !KNOWN.contains(letter) {
                        let known = KNOWN.chars().map(String::from).collect::<Vec<_>>().join(" ");
                        return Err(format!(
                            "the letter '{letter}' of '{pattern}' is none of {known}; text \
                             stands between single quotes"
                        ));
                    }
                    let mut count = 1;
                    while letters.next_if_eq(&letter).is_some() {
                        count += 1;
                    }
                    if letter == 'X' && count > 3 {
                        return Err(format!("'{pattern}': at most three X stand together"));
                    }
                    // Whoever wants a hundred digits of a year wants something else.
                    items.push(Item::Field(letter, count.min(20)));
                }
                letter => add_text(&mut items, letter),
            }
        }
        Ok(DateFormat { pattern: pattern.to_owned(), items })
    }

    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(super) fn format(&self, timestamp_ms: i64) -> String {
        let at = Civil::at(timestamp_ms);
        let mut out = String::new();
        for item in &self.items {
            match item {
                Item::Text(text) => out.push_str(text),
                Item::Field(letter, count) => format_field(*letter, *count, &at, &mut out),
            }
        }
        out
    }

    /// The time that a text says, in ms since 1970.
    pub(super) fn parse(&self, text: &str) -> Option<i64> {
        let mut parsed = Parsed::default();
        let mut rest = text;
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Item::Text(expected) => rest = rest.strip_prefix(expected.as_str())?,
                Item::Field(letter, count) => {
                    rest = rest.trim_start_matches([' ', '\t']);
                    let next = self.items.get(index + 1);
                    let abuts = matches!(next, Some(Item::Field(next, count))
                        if is_number(*next, *count));
                    rest = parsed.take(*letter, *count, abuts, rest)?;
                }
            }
        }
        parsed.timestamp_ms()
    }
}

/// Whether a field is written in digits.
fn is_number(letter: char, count: usize) -> bool {
    match letter {
        'M' => count < 3,
        letter => "yYdDuHkKhmsS".contains(letter),
    }
}

fn format_field(letter: char, count: usize, at: &Civil, out: &mut String) {
    let number = match letter {
        'y' if count == 2 => return out.push_str(&format!("{:02}", at.year.rem_euclid(100))),
        'Y' if count == 2 => return out.push_str(&format!("{:02}", week_year(at).rem_euclid(100))),
        'Y' => week_year(at),
        // Years before 1 are counted backwards.
        'y' if at.year < 1 => 1 - at.year,
        'y' => at.year,
        'M' if count >= 3 => return out.push_str(named(&MONTHS, at.month as usize - 1, count)),
        'E' => return out.push_str(named(&WEEKDAYS, at.weekday() as usize, count)),
        'a' => return out.push_str(if at.hour < 12 { "AM" } else { "PM" }),
        'X' => return out.push('Z'),
        'Z' => return out.push_str("+0000"),
        'z' if count >= 4 => return out.push_str("Coordinated Universal Time"),
        'z' => return out.push_str("UTC"),
        'M' => i64::from(at.month),
        'd' => i64::from(at.day),
        'D' => i64::from(at.day_of_year()),
        'u' => i64::from(at.weekday() + 1),
        'H' => i64::from(at.hour),
        'k' => i64::from(if at.hour == 0 { 24 } else { at.hour }),
        'K' => i64::from(at.hour % 12),
        'h' => i64::from(if at.hour % 12 == 0 { 12 } else { at.hour % 12 }),
        'm' => i64::from(at.minute),
        's' => i64::from(at.second),
        _ => i64::from(at.ms),
    };
    out.push_str(&format!("{number:0count$}"));
}

/// The year that a week belongs to, as English has it: it begins on Sunday, and the one with
/// 1 January is the first.
fn week_year(at: &Civil) -> i64 {
    let until_saturday = (5 - i64::from(at.weekday())).rem_euclid(7);
    let in_next = at.month == 12 && i64::from(at.day) + until_saturday > 31;
    at.year + i64::from(in_next)
}

fn named(names: &'static [&'static str], index: usize, count: usize) -> &'static str {
    if count >= 4 { names[index] } else { &names[index][..3] }
}

/// What was read so far.
#[derive(Debug)]
struct Parsed {
    year: i64,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    hour: Option<u32>,
    half_day_hour: Option<u32>,
    afternoon: bool,
    minute: u32,
    second: u32,
    ms: u32,
    zone_minutes: i64,
}

impl Default for Parsed {
    fn default() -> Parsed {
        Parsed {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: None,
            half_day_hour: None,
            afternoon: false,
            minute: 0,
            second: 0,
            ms: 0,
            zone_minutes: 0,
        }
    }
}

impl Parsed {
    /// Takes a field off the text. `abuts`: the next field is a number too, so this one has as
    /// many digits as letters.
    fn take<'a>(
        &mut self,
        letter: char,
        count: usize,
        abuts: bool,
        text: &'a str,
    ) -> Option<&'a str> {
        match letter {
            // A year of weeks tells no date without a week.
            'Y' => return None,
            'M' if count >= 3 => {
                let (month, rest) = name(&MONTHS, text)?;
                self.month = month as u32 + 1;
                return Some(rest);
            }
            'E' => return name(&WEEKDAYS, text).map(|(_, rest)| rest),
            'a' => {
                let half = text.get(..2)?;
                self.afternoon = half.eq_ignore_ascii_case("PM");
                return (self.afternoon || half.eq_ignore_ascii_case("AM")).then(|| &text[2..]);
            }
            'X' | 'Z' | 'z' => {
                let (minutes, rest) = zone(text)?;
                self.zone_minutes = minutes;
                return Some(rest);
            }
            _ => {}
        }
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let digits = if abuts { digits.min(count) } else { digits };
        // Nine digits are more than any field has.
        let number: u32 = text.get(..digits)?.parse().ok().filter(|_| digits <= 9)?;
        match letter {
            'y' if count <= 2 && digits == 2 => self.year = full_year(i64::from(number)),
            'y' => self.year = i64::from(number),
            'M' => self.month = number,
            'd' => self.day = number,
            'D' => self.day_of_year = Some(number),
            'H' => self.hour = Some(number),
            'k' => self.hour = Some(if number == 24 { 0 } else { number }),
            'K' => self.half_day_hour = Some(number),
            'h' => self.half_day_hour = Some(if number == 12 { 0 } else { number }),
            'm' => self.minute = number,
            's' => self.second = number,
            'S' => self.ms = number,
            _ => {}
        }
        Some(&text[digits..])
    }

    fn timestamp_ms(&self) -> Option<i64> {
        let hour = match (self.hour, self.half_day_hour) {
            (Some(hour), _) => hour,
            (None, Some(hour)) if hour < 12 => hour + if self.afternoon { 12 } else { 0 },
            (None, Some(_)) => return None,
            (None, None) => {
                if self.afternoon {
                    12
                } else {
                    0
                }
            }
        };
        let exists = is_date(self.year, self.month, self.day)
            && hour < 24
            && self.minute < 60
            && self.second < 60
            && self.ms < 1000;
        let (month, day) = if self.day_of_year.is_some() { (1, 1) } else { (self.month, self.day) };
        let (minute, second, ms) = (self.minute, self.second, self.ms);
        let civil = Civil { year: self.year, month, day, hour, minute, second, ms };
        let days = match self.day_of_year {
            Some(day) if (1..=366).contains(&day) => i64::from(day) - 1,
            Some(_) => return None,
            None => 0,
        };
        let shift = days * 24 * 60 - self.zone_minutes;
        exists.then(|| civil.timestamp_ms() + shift * 60_000)
    }
}

/// The name, in full or its first three letters, that the text begins with.
fn name<'a>(names: &[&str], text: &'a str) -> Option<(usize, &'a str)> {
    let begins =
        |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    let of = |length: fn(&str) -> usize| {
        let found = names.iter().position(|name| begins(&name[..length(name)]))?;
        Some((found, &text[length(names[found])..]))
    };
    of(str::len).or_else(|| of(|_| 3))
}

/// Minutes east of Greenwich.
fn zone(text: &str) -> Option<(i64, &str)> {
    let rest = ["UTC", "GMT", "UT"].iter().find_map(|name| text.strip_prefix(name));
    let named = rest.is_some();
    let rest = rest.unwrap_or(text);
    let sign = match rest.chars().next() {
        Some('+') => 1,
        Some('-') => -1,
        Some('Z') if !named => return Some((0, &rest[1..])),
        _ => return named.then_some((0, rest)),
    };
    let two = |text: &str| text.get(..2).and_then(|digits| digits.parse::<i64>().ok());
    let rest = &rest[1..];
    let hours = two(rest).filter(|hours| *hours < 24)?;
    let rest = &rest[2..];
    let after_colon = rest.strip_prefix(':').unwrap_or(rest);
    match two(after_colon).filter(|minutes| *minutes < 60) {
        Some(minutes) => Some((sign * (hours * 60 + minutes), &after_colon[2..])),
        None => Some((sign * hours * 60, rest)),
    }
}

/// The year with those last two digits that is at most 80 years ago or 20 years away.
fn full_year(last_digits: i64) -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let earliest = Civil::at(since_1970.as_millis() as i64).year - 80;
    earliest + (last_digits - earliest).rem_euclid(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_709_215_445_678; // Thursday, 29 February 2024, 14:04:05.678

    #[test]
    fn patterns_write_what_java_writes() {
        for (pattern, text) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2024-02-29T14:04:05.678Z"),
            ("yyyyMMdd", "20240229"),
            ("yy/M/d h:m a", "24/2/29 2:4 PM"),
            ("EEE, d MMM yyyy", "Thu, 29 Feb 2024"),
            ("EEEE MMMM u D K k", "Thursday February 4 60 2 14"),
            ("''yyyy'' 'o''clock'", "'2024' o'clock"),
            ("z Z XXX", "UTC +0000 Z"),
            ("yyyyyy", "002024"),
            ("YYYYMM", "202402"),
            ("YY", "24"),
        ] {
            assert_eq!(DateFormat::parse_pattern(pattern).unwrap().format(AT), text, "{pattern}");
        }
    }

    /// As `new SimpleDateFormat("YYYY-MM-dd", Locale.ENGLISH)` has it.
    #[test]
    fn the_last_days_of_a_year_may_be_of_the_next_ones_first_week() {
        let format = DateFormat::parse_pattern("YYYY-MM-dd").unwrap();
        let day =
            |year, month, day| crate::data::civil::days_of_date(year, month, day) * 86_400_000;
        for (at, text) in [
            (day(2024, 12, 28), "2024-12-28"),
            (day(2024, 12, 29), "2025-12-29"),
            (day(2024, 12, 31), "2025-12-31"),
            (day(2025, 1, 1), "2025-01-01"),
            (day(2022, 12, 31), "2022-12-31"),
            (day(2023, 1, 1), "2023-01-01"),
        ] {
            assert_eq!(format.format(at), text);
        }
        assert_eq!(format.parse("2024-12-28"), None);
    }

    #[test]
    fn patterns_read_what_they_write_and_what_java_reads() {
        for (pattern, text, expected) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSSX", "2024-02-29T14:04:05.678Z", Some(AT)),
            ("yyyy-MM-dd HH:mm:ss.SSS Z", "2024-02-29 16:04:05.678 +0200", Some(AT)),
            ("yyyyMMddHHmmssSSS", "20240229140405678", Some(AT)),
            ("d MMM yyyy hh:mm:ss.SSS a", "29 february 2024 02:04:05.678 pm", Some(AT)),
            ("yyyy-MM-dd", "2024-02-29 and more", Some(AT - AT.rem_euclid(86_400_000))),
            ("yyyy-M-d", "2024-02-9", Some(1_707_436_800_000)),
            ("yyyy-DDD", "2024-060", Some(AT - AT.rem_euclid(86_400_000))),
            ("yy", "70", Some(0)),
            ("yyyy-MM-dd", "2024-02-30", None),
            ("yyyy-MM-dd", "2024/02/30", None),
            ("HH:mm", "24:00", None),
            ("HH", "é", None),
            ("yyyy", "99999999999999", None),
        ] {
            let format = DateFormat::parse_pattern(pattern).unwrap();
            assert_eq!(format.parse(text), expected, "{pattern} of {text}");
        }
    }

    #[test]
    fn wrong_patterns_are_told() {
        for pattern in ["yyyy'T", "XXXX", "w", "YYYY-'W'ww"] {
            assert!(DateFormat::parse_pattern(pattern).is_err(), "{pattern}");
        }
    }
}
