//! Spans of time as Kafka takes them in settings and commands (ISO 8601).

/// `P1DT2H30M10.5S`, in ms; negative with a `-` before it.
pub fn iso_ms(text: &str) -> Option<i64> {
    let upper = text.to_ascii_uppercase();
    let (sign, rest) = match upper.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, upper.strip_prefix('+').unwrap_or(&upper)),
    };
    let rest = rest.strip_prefix('P')?;
    let (days, clock) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, clock)) => (days, Some(clock)),
        None => (rest, None),
    };
    let mut total = 0.0;
    let mut any = false;
    if !days.is_empty() {
        total += days.strip_suffix('D')?.parse::<i64>().ok()? as f64 * 86_400_000.0;
        any = true;
    }
    let mut digits = String::new();
    let mut units = [('H', 3_600_000.0), ('M', 60_000.0), ('S', 1_000.0)].into_iter();
    for character in clock.unwrap_or_default().chars() {
        if character.is_ascii_digit() || matches!(character, '.' | '-' | '+') {
            digits.push(character);
            continue;
        }
        // Each unit once, from the largest down.
        let (_, unit) = units.find(|(name, _)| *name == character)?;
        total += digits.parse::<f64>().ok()? * unit;
        digits.clear();
        any = true;
    }
    let whole = any && digits.is_empty() && total.is_finite() && total.abs() < 9e15;
    whole.then_some(sign * total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, ms) in [
            ("PT1H", 3_600_000),
            ("P1D", 86_400_000),
            ("P1DT2H30M10.5S", 95_410_500),
            ("-PT1M", -60_000),
            ("pt0s", 0),
            ("PT0.5S", 500),
        ] {
            assert_eq!(iso_ms(text), Some(ms), "{text}");
        }
        for wrong in ["", "P", "PT", "xx", "PT1S1H", "PT1", "P1H", "1h", "P1DT", "P99999999999D"] {
            assert_eq!(iso_ms(wrong), None, "{wrong}");
        }
    }
}
