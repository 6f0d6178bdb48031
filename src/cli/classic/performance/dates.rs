//! Points in time, printed as Java prints them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Year, month and day of the Gregorian calendar.
fn date_of(days_since_1970: i64) -> (i64, i64, i64) {
    // Years that begin in March, in cycles of 400.
    let days = days_since_1970 + 719_468;
    let (cycle, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = cycle * 400 + year + i64::from(month <= 2);
    (year, month, day - (153 * from_march + 2) / 5 + 1)
}

/// How points in time are printed, in UTC: of Java's `SimpleDateFormat` the letters `yMdHmsS`, and
/// text in quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat(Vec<DatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum DatePart {
    Text(char),
    /// The letter, and how often it stands there.
    Number(char, usize),
}

impl DateFormat {
    pub fn new(pattern: &str) -> Result<DateFormat, String> {
        let mut parts = Vec::new();
        let mut quoted = false;
        for character in pattern.chars() {
            match (character, parts.last_mut()) {
                ('\'', _) => quoted = !quoted,
                (same, Some(DatePart::Number(letter, count))) if same == *letter && !quoted => {
                    *count += 1;
                }
                ('y' | 'M' | 'd' | 'H' | 'm' | 's' | 'S', _) if !quoted => {
                    parts.push(DatePart::Number(character, 1));
                }
                (other, _) if other.is_ascii_alphabetic() && !quoted => {
                    return Err(format!("date format '{pattern}': '{other}' is not known here"));
                }
                (other, _) => parts.push(DatePart::Text(other)),
            }
        }
        Ok(DateFormat(parts))
    }

    pub fn format(&self, at: SystemTime) -> String {
        let ms = match at.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        let (year, month, day) = date_of(days);
        let mut text = String::new();
        for part in &self.0 {
            let (number, width) = match part {
                DatePart::Text(character) => {
                    text.push(*character);
                    continue;
                }
                DatePart::Number('y', 2) => (year % 100, 2),
                DatePart::Number(letter, width) => {
                    let number = match letter {
                        'y' => year,
                        'M' => month,
                        'd' => day,
                        'H' => in_day / 3_600_000,
                        'm' => in_day / 60_000 % 60,
                        's' => in_day / 1_000 % 60,
                        _ => in_day % 1_000,
                    };
                    (number, *width)
                }
            };
            text.push_str(&format!("{number:0width$}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::groups::time::datetime_ms;

    #[test]
    fn dates_are_printed_as_java_prints_them() {
        let format = |pattern: &str, text: &str| {
            let ms = datetime_ms(text).unwrap();
            let at = match u64::try_from(ms) {
                Ok(ms) => UNIX_EPOCH + Duration::from_millis(ms),
                Err(_) => UNIX_EPOCH - Duration::from_millis(ms.unsigned_abs()),
            };
            DateFormat::new(pattern).unwrap().format(at)
        };
        for day in ["1969-12-31", "1970-01-01", "2000-02-29", "2100-03-01", "1900-02-28"] {
            assert_eq!(format("yyyy-MM-dd", day), day);
        }
        let text = "2026-11-05T01:02:03.045Z";
        assert_eq!(format("yyyy-MM-dd HH:mm:ss:SSS", text), "2026-11-05 01:02:03:045");
        assert_eq!(format("d.M.yy 'at' H", text), "5.11.26 at 1");
        assert!(DateFormat::new("EEE").unwrap_err().contains("'E'"));
    }
}
