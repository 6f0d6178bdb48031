//! Where in a TOML file each byte of a string's value stands.
//!
//! The parser gives a string's value and the span of its spelling, quotes and escapes included.
//! SQL inside such a string reports mistakes by byte of the value; this leads them back.

/// For each byte of the value its offset in the file, and one more for the end. `spelling` is the
/// string with its quotes, which starts at `start`. `None` where the two do not fit together.
pub(crate) fn value_offsets(spelling: &str, start: usize, value: &str) -> Option<Vec<usize>> {
    let (quote, escapes) = ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find(|quote| {
            spelling.len() >= 2 * quote.len()
                && spelling.starts_with(quote)
                && spelling.ends_with(quote)
        })
        .map(|quote| (quote, quote.starts_with('"')))?;
    let mut index = quote.len();
    let end = spelling.len() - quote.len();
    if quote.len() == 3 {
        // A newline right after the opening quotes is not part of the value.
        let rest = &spelling[index..];
        index += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    let mut offsets = Vec::with_capacity(value.len() + 1);
    while index < end {
        let rest = &spelling[index..end];
        let character = rest.chars().next()?;
        let (length, bytes) = match character {
            '\\' if escapes => escape(rest)?,
            '\r' if rest.starts_with("\r\n") && offsets_expect_newline(value, &offsets) => (2, 1),
            _ => (character.len_utf8(), character.len_utf8()),
        };
        let one_to_one = length == bytes;
        offsets.extend((0..bytes).map(|byte| start + index + if one_to_one { byte } else { 0 }));
        index += length;
    }
    offsets.push(start + end);
    (offsets.len() == value.len() + 1).then_some(offsets)
}

/// Whether the value has a bare newline where the file has both carriage return and newline.
fn offsets_expect_newline(value: &str, offsets: &[usize]) -> bool {
    value.as_bytes().get(offsets.len()) == Some(&b'\n')
}

/// Length of the escape and of the character it stands for.
fn escape(rest: &str) -> Option<(usize, usize)> {
    let hexadecimal = |digits: usize| {
        let digits = rest.get(2..2 + digits)?;
        let character = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
        Some((2 + digits.len(), character.len_utf8()))
    };
    match rest[1..].chars().next()? {
        'u' => hexadecimal(4),
        'U' => hexadecimal(8),
        'x' => hexadecimal(2),
        'b' | 't' | 'n' | 'f' | 'r' | 'e' | '"' | '\\' => Some((2, 1)),
        // The end of a line, and the white space that follows it, are left out.
        _ => {
            let after = &rest[1..];
            Some((1 + after.len() - after.trim_start().len(), 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The value that toml reads, and the offsets of its bytes.
    fn offsets(spelling: &str) -> (String, Vec<usize>) {
        let value = toml::de::DeValue::parse(spelling).unwrap();
        let value = value.get_ref().as_str().unwrap().to_owned();
        let offsets = value_offsets(spelling, 0, &value).expect(spelling);
        (value, offsets)
    }

    #[test]
    fn every_spelling_leads_back() {
        assert_eq!(offsets("\"ab\""), ("ab".to_owned(), vec![1, 2, 3]));
        assert_eq!(offsets("'a\"'"), ("a\"".to_owned(), vec![1, 2, 3]));
        assert_eq!(offsets("\"a\\\"b\""), ("a\"b".to_owned(), vec![1, 2, 4, 5]));
        assert_eq!(offsets("\"\\u00e4b\""), ("äb".to_owned(), vec![1, 1, 7, 8]));
        assert_eq!(offsets("\"\"\"\na\nb\"\"\""), ("a\nb".to_owned(), vec![4, 5, 6, 7]));
        assert_eq!(offsets("\"\"\"a \\\n  b\"\"\""), ("a b".to_owned(), vec![3, 4, 9, 10]));
        assert_eq!(offsets("'''\r\na'''"), ("a".to_owned(), vec![5, 6]));
    }

    proptest! {
        #[test]
        fn what_toml_writes_leads_back(value in ".{0,20}") {
            let spelling = toml::Value::String(value.clone()).to_string();
            let offsets = value_offsets(&spelling, 0, &value).expect("fits");
            prop_assert_eq!(offsets.len(), value.len() + 1);
            prop_assert!(offsets.is_sorted());
        }
    }
}
