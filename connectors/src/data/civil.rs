//! Dates of the Gregorian calendar and times of day, in UTC.

pub const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// With a year 0 before year 1.
    pub year: i64,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub ms: u32,
}

impl Civil {
    /// At that many ms since 1970.
    pub fn at(timestamp_ms: i64) -> Civil {
        let (year, month, day) = date_of_days(timestamp_ms.div_euclid(MS_PER_DAY));
        let ms = timestamp_ms.rem_euclid(MS_PER_DAY) as u32;
        let (hour, minute) = (ms / 3_600_000, ms / 60_000 % 60);
        Civil { year, month, day, hour, minute, second: ms / 1000 % 60, ms: ms % 1000 }
    }

    /// In ms since 1970.
    pub fn timestamp_ms(&self) -> i64 {
        let time = (self.hour * 3600 + self.minute * 60 + self.second) * 1000 + self.ms;
        days_of_date(self.year, self.month, self.day) * MS_PER_DAY + i64::from(time)
    }

    /// The day of the week, Monday being 0.
    pub fn weekday(&self) -> u32 {
        (days_of_date(self.year, self.month, self.day) + 3).rem_euclid(7) as u32
    }

    /// The day of the year, from 1 on.
    pub fn day_of_year(&self) -> u32 {
        let first = days_of_date(self.year, 1, 1);
        (days_of_date(self.year, self.month, self.day) - first + 1) as u32
    }
}

/// Whether there is such a date.
pub fn is_date(year: i64, month: u32, day: u32) -> bool {
    (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01, by eras of 400 years that begin on March 1.
pub fn days_of_date(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month = i64::from(month);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5;
    let of_year = of_year + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The year, month and day that is so many days after 1970-01-01.
pub fn date_of_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = (if month < 10 { month + 3 } else { month - 9 }) as u32;
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_days_are_right() {
        assert_eq!(days_of_date(1970, 1, 1), 0);
        assert_eq!(days_of_date(2000, 3, 1), 11_017);
        assert_eq!(date_of_days(-1), (1969, 12, 31));
        assert_eq!(date_of_days(19_782), (2024, 2, 29));
        assert_eq!(Civil::at(0).weekday(), 3, "a Thursday");
        assert_eq!(Civil::at(1_709_164_800_000).day_of_year(), 60);
        assert!(is_date(2024, 2, 29) && !is_date(2023, 2, 29) && !is_date(1900, 2, 29));
        assert!(is_date(2000, 2, 29) && !is_date(2024, 13, 1) && !is_date(2024, 4, 31));
    }

    proptest! {
        #[test]
        fn times_go_there_and_back(ms in -1_000_000_000_000_000i64..1_000_000_000_000_000) {
            let civil = Civil::at(ms);
            prop_assert_eq!(civil.timestamp_ms(), ms);
            prop_assert!(is_date(civil.year, civil.month, civil.day));
        }
    }
}
