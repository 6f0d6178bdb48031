//! Times and lengths of them, as Flink spells them.

use chrono::format::{Item, StrftimeItems};
use datafusion_sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion_sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, DataType, DateTimeField, Expr, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, Interval, TimezoneInfo, Value,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::{binary, call, cast, taken, text, whole};

/// Functions of times that take a unit, or give a number of them.
pub fn of_times(name: &str, list: &mut FunctionArgumentList, span: Span) -> Option<Expr> {
    match (name, list.args.len()) {
        ("convert_tz", 3) => {
            let (clock, from, to) = (taken(list, 0)?, taken(list, 1)?, taken(list, 2)?);
            Some(convert_tz(clock, from, to, span))
        }
        ("from_unixtime", 2) => {
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(given))) = &list.args[1]
            else {
                return None;
            };
            let Value::SingleQuotedString(pattern) = &given.value else { return None };
            // The second argument of the built-in one is a zone.
            let signs = match pattern.contains('%') {
                true => pattern.clone(),
                false => strftime(pattern).ok().filter(|_| pattern.contains(['y', 'H', 'm']))?,
            };
            let time = call("from_unixtime", vec![taken(list, 0)?]);
            Some(call("to_char", vec![time, text(&signs, span)]))
        }
        ("unix_timestamp", 1) => Some(seconds(taken(list, 0)?)),
        ("timestampdiff", 3) => {
            let unit = unit(&list.args[0])?;
            let unit = text(&unit, span);
            Some(call("timestampdiff", vec![unit, taken(list, 1)?, taken(list, 2)?]))
        }
        ("timestampadd", 3) => {
            let unit = unit(&list.args[0])?;
            // Intervals that differ from row to row are none of the planner's.
            let count = list.args[1].to_string().replace(' ', "").parse::<i64>().ok();
            // A date has no hours that could be added to.
            let of_days = ["year", "month", "week", "day"].contains(&&*unit);
            let Some(count) = count.filter(|_| of_days) else {
                let unit = text(&unit, span);
                return Some(call("timestampadd", vec![unit, taken(list, 1)?, taken(list, 2)?]));
            };
            let length = length(&format!("{count} {unit}"), span);
            Some(binary(taken(list, 2)?, BinaryOperator::Plus, length))
        }
        _ => None,
    }
}

/// Of a time that is read without its minutes, or its day, the beginning: chrono reads none that
/// lacks one of them, or drops its hour.
pub fn complete(list: &mut FunctionArgumentList) -> Option<()> {
    let [said, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] =
        list.args.as_mut_slice()
    else {
        return None;
    };
    let FunctionArg::Unnamed(FunctionArgExpr::Expr(said)) = said else { return None };
    let Value::SingleQuotedString(signs) = &mut value.value else { return None };
    let has = |sign: &str| signs.contains(sign);
    let (more_signs, more) = match () {
        () if ["%s", "%T", "%R", "%c", "%+", "%j", "%D", "%x", "%F %H:"]
            .iter()
            .any(|of| has(of)) =>
        {
            return None;
        }
        () if has("%H") && !has("%M") => (" :%M", " :00"),
        () if has("%Y") && !has("%m") && !has("%b") && !has("%B") => (" %m-%d", " 01-01"),
        () if has("%Y") && has("%m") && !has("%d") && !has("%e") => (" %d", " 01"),
        () => return None,
    };
    signs.push_str(more_signs);
    let whole = std::mem::replace(said, super::nothing());
    *said = binary(whole, BinaryOperator::StringConcat, text(more, value.span));
    Some(())
}

/// Whole seconds since 1970.
pub fn seconds(time: Expr) -> Expr {
    whole(epoch(time))
}

/// A unit that stands as a name.
fn unit(argument: &FunctionArg) -> Option<String> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(unit))) => {
            let unit = unit.value.to_lowercase();
            Some(unit.strip_prefix("sql_tsi_").map(str::to_owned).unwrap_or(unit))
        }
        _ => None,
    }
}

/// `floor(t TO HOUR)`.
pub fn floor(time: Expr, unit: &DateTimeField, span: Span) -> Expr {
    call("date_trunc", vec![text(&unit.to_string().to_lowercase(), span), time])
}

/// `ceil(t TO HOUR)`: the time itself where it is a whole one.
pub fn ceil(time: Expr, unit: &DateTimeField, span: Span) -> Expr {
    let whole = floor(time.clone(), unit, span);
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen {
            condition: binary(whole.clone(), BinaryOperator::Eq, time),
            result: whole.clone(),
        }],
        else_result: Some(Box::new(binary(
            whole,
            BinaryOperator::Plus,
            match unit {
                DateTimeField::Quarter => length("3 month", span),
                unit => length(&format!("1 {unit}").to_lowercase(), span),
            },
        ))),
    }
}

/// `INTERVAL '1-2' YEAR TO MONTH` and `'1 02:03:04' DAY TO SECOND`, by units that are named.
pub fn interval(interval: &mut Interval) -> Option<()> {
    const CLOCK: [&str; 3] = ["hours", "minutes", "seconds"];
    let place = |field: &DateTimeField| match field {
        DateTimeField::Hour | DateTimeField::Hours => Some(0),
        DateTimeField::Minute | DateTimeField::Minutes => Some(1),
        DateTimeField::Second | DateTimeField::Seconds => Some(2),
        _ => None,
    };
    let (first, last) = (interval.leading_field.as_ref()?, interval.last_field.as_ref()?);
    let Expr::Value(value) = interval.value.as_mut() else { return None };
    let Value::SingleQuotedString(text) = &mut value.value else { return None };
    let (sign, length) = match text.trim().strip_prefix('-') {
        Some(length) => ("-", length),
        None => ("", text.trim()),
    };
    let mut parts: Vec<(&str, &str)> = Vec::new();
    match first {
        DateTimeField::Year | DateTimeField::Years => {
            let (years, months) = length.split_once('-')?;
            parts.extend([(years, "years"), (months, "months")]);
        }
        DateTimeField::Day | DateTimeField::Days => {
            let (days, clock) = length.split_once(' ')?;
            parts.push((days, "days"));
            parts.extend(clock.split(':').zip(&CLOCK[..=place(last)?]).map(|(n, unit)| (n, *unit)));
        }
        first => {
            let units = CLOCK.get(place(first)?..=place(last)?)?;
            parts.extend(length.split(':').zip(units).map(|(n, unit)| (n, *unit)));
        }
    }
    let named = parts.into_iter().map(|(count, unit)| format!("{sign}{} {unit}", count.trim()));
    *text = named.collect::<Vec<_>>().join(" ");
    (interval.leading_field, interval.last_field) = (None, None);
    Some(())
}

/// The text of an interval that is a number alone, and where it stands. Batch engines take it for
/// seconds; who writes `INTERVAL '1' HOR` means something else, and gets a column of that name.
pub fn without_unit(interval: &Interval) -> Option<(&str, Span)> {
    let Interval { value, leading_field: None, .. } = interval else { return None };
    let Expr::Value(value) = value.as_ref() else { return None };
    let Value::SingleQuotedString(text) = &value.value else { return None };
    let is_number = text.trim().parse::<f64>().is_ok();
    is_number.then_some((text, value.span))
}

/// `convert_tz('2020-01-01 00:00:00', 'UTC', 'Europe/Berlin')`: the clock of another zone.
fn convert_tz(clock: Expr, from: Expr, to: Expr, span: Span) -> Expr {
    let at = |time: Expr, zone: Expr| Expr::AtTimeZone {
        timestamp: Box::new(time),
        time_zone: Box::new(zone),
    };
    let there = at(at(cast(clock, DataType::Timestamp(None, TimezoneInfo::None)), from), to);
    call("to_char", vec![call("to_local_time", vec![there]), text("%Y-%m-%d %H:%M:%S", span)])
}

fn length(text_of: &str, span: Span) -> Expr {
    cast(text(text_of, span), DataType::Interval { fields: None, precision: None })
}

fn epoch(time: Expr) -> Expr {
    call("date_part", vec![text("epoch", Span::empty()), time])
}

/// What `date_part` calls the part of a time that such a function gives.
pub fn unit_of(function: &str) -> Option<&str> {
    match function {
        "year" | "quarter" | "month" | "week" | "hour" | "minute" | "second" => Some(function),
        "dayofyear" => Some("doy"),
        "dayofmonth" => Some("day"),
        "dayofweek" => Some("dow"),
        _ => None,
    }
}

/// The sign that means nothing to strftime, if there is one.
pub fn checked(signs: &str) -> Result<(), String> {
    let is_whole = |signs: &str| StrftimeItems::new(signs).all(|item| item != Item::Error);
    if is_whole(signs) {
        return Ok(());
    }
    let starts: Vec<usize> = signs.match_indices('%').map(|(at, _)| at).collect();
    let wrong = starts.into_iter().find(|at| {
        let rest = &signs[*at..];
        let next = rest[1..].find('%').map_or(rest, |end| &rest[..=end]);
        !is_whole(next)
    });
    Err(signs[wrong.unwrap_or_default()..].chars().take(2).collect())
}

/// `yyyy-MM-dd'T'HH:mm` to `%Y-%m-%dT%H:%M`; what cannot be said so.
pub fn strftime(pattern: &str) -> Result<String, String> {
    let mut signs = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let after = rest.trim_start_matches(first);
        let run = &rest[..rest.len() - after.len()];
        rest = after;
        let sign = match run {
            "yyyy" | "uuuu" => "%Y",
            "yy" | "uu" => "%y",
            "M" => "%-m",
            "MM" => "%m",
            "MMM" => "%b",
            "MMMM" => "%B",
            "d" => "%-d",
            "dd" => "%d",
            "DDD" => "%j",
            "H" => "%-H",
            "HH" => "%H",
            "h" => "%-I",
            "hh" => "%I",
            "m" => "%-M",
            "mm" => "%M",
            "s" => "%-S",
            "ss" => "%S",
            "SSS" => "%3f",
            "SSSSSS" => "%6f",
            "SSSSSSSSS" => "%9f",
            "a" => "%p",
            "E" | "EE" | "EEE" => "%a",
            "EEEE" => "%A",
            "X" | "XX" | "Z" => "%z",
            "XXX" => "%:z",
            "''" => "'",
            "'" => {
                let (quoted, after) = rest.split_once('\'').ok_or_else(|| run.to_owned())?;
                rest = after;
                quoted
            }
            _ if first.is_ascii_alphabetic() => return Err(run.to_owned()),
            _ => run,
        };
        signs.push_str(sign);
    }
    Ok(signs)
}

#[cfg(test)]
mod tests {
    use super::{checked, strftime};

    #[test]
    fn signs_that_mean_nothing_are_named() {
        for (signs, wrong) in [("%Q", "%Q"), ("%Y-%m-%!", "%!"), ("%Y %", "%")] {
            assert_eq!(checked(signs), Err(wrong.to_owned()), "{signs}");
        }
        for signs in ["%Y-%m-%dT%H:%M:%S%.3f", "100%%", "", "%-d %B"] {
            assert_eq!(checked(signs), Ok(()), "{signs}");
        }
    }

    #[test]
    fn patterns_of_java_are_said_in_signs() {
        for (pattern, signs) in [
            ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "%Y-%m-%dT%H:%M:%S.%3f%:z"),
            ("d. MMMM yy, h 'o''clock' a", "%-d. %B %y, %-I oclock %p"),
            ("EEEE", "%A"),
        ] {
            assert_eq!(strftime(pattern).as_deref(), Ok(signs), "{pattern}");
        }
        assert_eq!(strftime("yyyy-QQ"), Err("QQ".to_owned()));
        assert_eq!(strftime("yyyy'"), Err("'".to_owned()));
    }
}
