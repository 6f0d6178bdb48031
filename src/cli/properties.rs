//! Java's `.properties` files, which Kafka's settings come in.
//!
//! ```text
//! # a comment          key = value          key: value \
//! ! a comment          key value                goes on without the blanks before it
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::Failure;

/// Settings by name; the last of several wins.
pub type Properties = BTreeMap<String, String>;

/// No file of settings is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads a file.
pub fn read(path: &Path) -> Result<Properties, Failure> {
    let failed = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(failed(format!("{size} bytes are too many for a file of properties")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    Ok(parse(&text))
}

/// `KEY=VALUE` from the command line; a key alone has an empty value.
pub fn pair(text: &str) -> (String, String) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (key.trim().to_owned(), value.to_owned())
}

/// Reads text. Every text is a file of properties.
pub fn parse(text: &str) -> Properties {
    let mut properties = Properties::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut logical = line.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while goes_on(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = split(&logical);
        properties.insert(unescaped(key), unescaped(value));
    }
    properties
}

/// Whether a line ends with an odd number of backslashes: the last one escapes the line's end.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|character: char| {
        let ends = !escaped && (matches!(character, '=' | ':') || character.is_whitespace());
        escaped = character == '\\' && !escaped;
        ends
    });
    let Some(end) = end else { return (line, "") };
    let rest = line[end..].trim_start();
    (&line[..end], rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_java_reads_them() {
        let text = "# comment\n! another\n\na=1\n b : 2\nc 3\nlong = one,\\\n    two\n\
                    tab=\\t|\\u0041\nkey\\=with=x\nempty\nlast=1\nlast=2\\\\\n";
        let expected = [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("long", "one,two"),
            ("tab", "\t|A"),
            ("key=with", "x"),
            ("empty", ""),
            ("last", "2\\"),
        ];
        let expected: Properties =
            expected.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        assert_eq!(parse(text), expected);
    }

    #[test]
    fn what_is_cut_off_is_no_panic() {
        assert_eq!(parse("a=1\\")["a"], "1");
        assert_eq!(parse("a=\\u12")["a"], "\u{12}");
        assert_eq!(parse("a=\\ud800")["a"], "\u{fffd}");
    }
}
