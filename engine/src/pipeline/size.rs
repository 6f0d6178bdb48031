//! Sizes as people write them: `512MB`, `2 GiB`.

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    #[error("a size is a number and a unit, such as '512MB' or '2GiB'")]
    Shape,
    #[error("'{0}' is no unit of size; there are B, kB, MB, GB, TB and KiB, MiB, GiB, TiB")]
    Unit(String),
    #[error("at least 16MB are needed")]
    TooSmall,
    #[error("this size is too large")]
    TooLarge,
}

/// What queries need at least for what they remember.
const STATE_LEAST: usize = 16_000_000;

/// Bytes for what queries remember.
pub(super) fn parse_state_memory(text: &str) -> Result<usize, SizeError> {
    match parse_size(text)? {
        bytes if bytes < STATE_LEAST => Err(SizeError::TooSmall),
        bytes => Ok(bytes),
    }
}

/// What nested calls of a module may take, in bytes: from 64 KiB to 64 MiB.
pub fn parse_stack(text: &str) -> Result<usize, String> {
    match parse_size(text) {
        Ok(bytes) if (64 << 10..=64 << 20).contains(&bytes) => Ok(bytes),
        Ok(_) => Err("'stack' must be from 64KiB to 64MiB".to_owned()),
        Err(error) => Err(format!("'stack': {error}")),
    }
}

/// Bytes.
pub fn parse_size(text: &str) -> Result<usize, SizeError> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(SizeError::Shape);
    }
    let unit = unit.trim();
    let unit_bytes: usize = match unit.to_ascii_lowercase().as_str() {
        "" => return Err(SizeError::Shape),
        "b" => 1,
        "kb" => 1_000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        "tb" => 1_000_000_000_000,
        "tib" => 1 << 40,
        _ => return Err(SizeError::Unit(unit.to_owned())),
    };
    let number = number.parse::<usize>().map_err(|_| SizeError::TooLarge)?;
    number.checked_mul(unit_bytes).ok_or(SizeError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        assert_eq!(parse_state_memory("512MB"), Ok(512_000_000));
        assert_eq!(parse_state_memory(" 2 GiB "), Ok(2 << 30));
        assert_eq!(parse_state_memory("16777216b"), Ok(16 << 20));
        assert_eq!(parse_state_memory("64"), Err(SizeError::Shape));
        assert_eq!(parse_state_memory("many MB"), Err(SizeError::Shape));
        assert_eq!(parse_state_memory("1 MB"), Err(SizeError::TooSmall));
        assert_eq!(parse_state_memory("5 MX"), Err(SizeError::Unit("MX".to_owned())));
        assert_eq!(parse_state_memory("99999999999999 TB"), Err(SizeError::TooLarge));
    }
}
