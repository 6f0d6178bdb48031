//! Pieces of JSON as they stand in a text: nothing is parsed that need not be, so numbers keep
//! their digits and fields their order.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The text, if it is one JSON value and nothing else; blanks around it are cut off.
pub fn check(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        format!("not UTF-8: byte {} is {:#04x}", error.valid_up_to(), bytes[error.valid_up_to()])
    })?;
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(text.trim_ascii()),
        Err(_) if text.trim_ascii().is_empty() => Err("empty".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The way to a piece of JSON (RFC 6901): `/data/items/0`; the empty one is the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    pub fn parse(text: &str) -> Result<Pointer, String> {
        if text.is_empty() {
            return Ok(Pointer::default());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("a JSON pointer begins with a slash, as '/{text}'"));
        };
        let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
        Ok(Pointer(rest.split('/').map(step).collect()))
    }

    /// By the names of fields and the numbers of items.
    pub fn of_steps(steps: impl IntoIterator<Item = String>) -> Pointer {
        Pointer(steps.into_iter().collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it leads to in `json`, which must be a valid text.
    pub fn find<'a>(&self, json: &'a str) -> Option<&'a str> {
        self.0.iter().try_fold(json.trim_ascii(), |at, step| match at.as_bytes().first()? {
            b'{' => member(at, step),
            b'[' => items(at).nth(step.parse().ok()?),
            _ => None,
        })
    }
}

/// The value of a field of an object; of a name that stands twice, the last one's.
pub fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    members(object).filter(|(known, _)| string(known).as_ref() == name).last().map(|(_, it)| it)
}

/// Names, as they stand, and values of an object.
pub fn members(object: &str) -> impl Iterator<Item = (&str, &str)> {
    Pieces::new(object, b'{').filter_map(|piece| {
        let end = string_end(piece.as_bytes())?;
        let (name, rest) = piece.split_at(end);
        Some((name, rest.trim_ascii_start().strip_prefix(':')?.trim_ascii()))
    })
}

/// The items of an array.
pub fn items(array: &str) -> impl Iterator<Item = &str> {
    Pieces::new(array, b'[')
}

/// What a string says; any other piece as it stands.
pub fn string(piece: &str) -> Cow<'_, str> {
    let Some(inner) = piece.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(piece);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    // Half a surrogate pair is the one thing that is JSON and no text.
    serde_json::from_str(piece).map_or(Cow::Borrowed(inner), Cow::Owned)
}

/// What lies between the commas of an object or an array.
struct Pieces<'a> {
    rest: &'a str,
}

impl<'a> Pieces<'a> {
    fn new(text: &'a str, open: u8) -> Pieces<'a> {
        let text = text.trim_ascii();
        let inner = match text.as_bytes() {
            [first, .., _] if *first == open => text[1..text.len() - 1].trim_ascii(),
            _ => "",
        };
        Pieces { rest: inner }
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let bytes = self.rest.as_bytes();
        let (mut at, mut depth) = (0, 0usize);
        while at < bytes.len() {
            match bytes[at] {
                b'"' => {
                    at += string_end(&bytes[at..]).unwrap_or(bytes.len() - at);
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => break,
                _ => {}
            }
            at += 1;
        }
        let piece = self.rest[..at].trim_ascii();
        self.rest = self.rest.get(at + 1..).unwrap_or_default().trim_ascii();
        Some(piece)
    }
}

/// Where the string that stands first ends, its quotes included.
fn string_end(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn pieces_are_found_as_they_stand() {
        let text = r#" { "a" : [1.50, {"b,c\"": "x\\"}, []], "n": null, "a\/b": 1e400, "": {} } "#;
        let text = check(text.as_bytes()).unwrap();
        let find = |pointer: &str| Pointer::parse(pointer).unwrap().find(text);
        assert_eq!(find(""), Some(text));
        assert_eq!(find("/a/0"), Some("1.50"));
        assert_eq!(find("/a/1/b,c\""), Some(r#""x\\""#));
        assert_eq!(find("/a/2"), Some("[]"));
        assert_eq!(find("/a~1b"), Some("1e400"));
        assert_eq!(find("/"), Some("{}"));
        assert_eq!(
            (find("/n"), find("/n/x"), find("/a/3"), find("/z")),
            (Some("null"), None, None, None)
        );
        assert_eq!(items("[]").count() + items(" {} ").count() + items("3").count(), 0);
        assert_eq!(string(r#""x\\""#), "x\\");
        assert!(Pointer::parse("a").unwrap_err().contains("'/a'"));
        assert_eq!(member(r#"{"a":1,"a":2}"#, "a"), Some("2"));
    }

    #[test]
    fn what_is_no_json_is_said() {
        assert_eq!(check(b" "), Err("empty".to_owned()));
        assert!(check(b"{\"a\":1} x").unwrap_err().contains("trailing characters"));
        assert_eq!(check(b"ab\xff"), Err("not UTF-8: byte 2 is 0xff".to_owned()));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~é\"\\\\,{}\\[\\]]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            let object = prop::collection::btree_map("[a-c\"\\\\/~]{0,2}", inner.clone(), 0..4);
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(Value::from),
                object.prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_piece_is_what_a_parser_finds(json in any_json(), pretty in any::<bool>()) {
            let text = if pretty { format!("{json:#}") } else { json.to_string() };
            let text = check(text.as_bytes()).unwrap();
            same(&json, text);
        }
    }

    fn same(json: &Value, text: &str) {
        assert_eq!(&serde_json::from_str::<Value>(text).unwrap(), json);
        match json {
            Value::Array(all) => {
                let found: Vec<&str> = items(text).collect();
                assert_eq!(found.len(), all.len());
                all.iter().zip(found).for_each(|(json, text)| same(json, text));
            }
            Value::Object(all) => {
                assert_eq!(members(text).count(), all.len());
                all.iter().for_each(|(name, json)| same(json, member(text, name).unwrap()));
            }
            Value::String(says) => assert_eq!(&string(text), says),
            _ => {}
        }
    }
}
