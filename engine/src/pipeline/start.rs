//! Where a query begins to read: `earliest`, `latest`, or a time.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

use super::diagnostic::Diagnostic;
use super::draft::Named;
use super::model::Start;

const NS_PER_MS: i64 = 1_000_000;

/// `None` after a mistake.
pub(crate) fn read_start(
    given: &Named,
    is_table: bool,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Start> {
    let start = parse(&given.text);
    let span = || given.span.clone();
    match start {
        None => {
            let message = format!("'{}' is nowhere to begin", given.text);
            let help = "'earliest', 'latest', or a time such as '2026-01-01T00:00:00Z': the first \
                        record with that timestamp or a later one";
            mistakes.push(Diagnostic::error(message, span()).help(help));
        }
        Some(start) if is_table && start != Start::Earliest => {
            let message = "a table is read whole: there is no other beginning than 'earliest'";
            mistakes.push(Diagnostic::error(message, span()));
        }
        _ => {}
    }
    start
}

/// Times without a zone are in UTC; numbers are milliseconds since 1970.
fn parse(text: &str) -> Option<Start> {
    match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        number if number.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(Start::Time(number.parse().ok()?))
        }
        time => {
            let time_ns = string_to_timestamp_nanos(time).ok()?;
            Some(Start::Time(time_ns.div_euclid(NS_PER_MS)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_one_end_or_a_time() {
        for (text, start) in [
            ("earliest", Some(Start::Earliest)),
            ("latest", Some(Start::Latest)),
            ("1767225600000", Some(Start::Time(1_767_225_600_000))),
            ("2026-01-01T00:00:00Z", Some(Start::Time(1_767_225_600_000))),
            ("2026-01-01 01:00:00+01:00", Some(Start::Time(1_767_225_600_000))),
            ("2026-01-01", Some(Start::Time(1_767_225_600_000))),
            ("newest", None),
            ("", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(parse(text), start, "{text}");
        }
    }
}
