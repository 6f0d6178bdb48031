//! Texts with parts: arrays and hstore.
//!
//! ```text
//!  [0:1]={{1,2},{3,NULL}}     {a,"b ""c",NULL}     "key"=>"value", "other"=>NULL
//! ```

use bytes::Bytes;

use super::BadValue;

/// PostgreSQL's own limit on the dimensions of an array.
pub const DEPTH_MAX: usize = 6;

/// An array as it is written: items, each of them null, a text or an array again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Null,
    Text(Bytes),
    Array(Vec<Item>),
}

impl Item {
    /// How deep arrays are in one another; an empty one is as deep as it is wanted.
    fn depth(&self) -> usize {
        match self {
            Item::Array(items) => 1 + items.first().map_or(0, Item::depth),
            _ => 0,
        }
    }
}

/// Reads an array, and makes it `depth` deep: the type of a column does not say how deep its
/// arrays are. Deeper ones lose their inner brackets, shallower ones gain outer ones.
pub fn array(text: &Bytes, delimiter: u8, depth: usize) -> Result<Vec<Item>, BadValue> {
    let bad = || BadValue::new(text, "is no array");
    let mut at = 0;
    if text.first() == Some(&b'[') {
        at = memchr::memchr(b'=', text).ok_or_else(bad)? + 1;
    }
    // The arrays that are open, outermost first.
    let mut open: Vec<Vec<Item>> = Vec::new();
    loop {
        match text.get(at).ok_or_else(bad)? {
            b'{' if open.len() < DEPTH_MAX => {
                open.push(Vec::new());
                at += 1;
            }
            b'}' => {
                let done = open.pop().ok_or_else(bad)?;
                at += 1;
                match open.last_mut() {
                    Some(outer) => outer.push(Item::Array(done)),
                    None if at == text.len() => return Ok(with_depth(done, depth)),
                    None => return Err(bad()),
                }
            }
            byte if *byte == delimiter && !open.is_empty() => at += 1,
            _ => {
                let (item, end) = item(text, at, delimiter).ok_or_else(bad)?;
                open.last_mut().ok_or_else(bad)?.push(item);
                at = end;
            }
        }
    }
}

/// The item that begins at `at`, and where it ends.
fn item(text: &Bytes, at: usize, delimiter: u8) -> Option<(Item, usize)> {
    if text.get(at) == Some(&b'"') {
        let (item, end) = quoted(text, at + 1)?;
        return Some((Item::Text(item), end));
    }
    let length = text[at..].iter().position(|byte| *byte == delimiter || *byte == b'}')?;
    let item = text.slice(at..at + length);
    let item = if item.eq_ignore_ascii_case(b"null") {
        Item::Null
    } else if memchr::memchr(b'\\', &item).is_some() {
        Item::Text(unescaped(&item))
    } else {
        Item::Text(item)
    };
    Some((item, at + length))
}

/// The text from `from` up to a quote that is not escaped, and what is behind the quote.
fn quoted(text: &Bytes, from: usize) -> Option<(Bytes, usize)> {
    let mut at = from;
    let mut escapes = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            let inner = text.slice(from..at);
            return Some((if escapes { unescaped(&inner) } else { inner }, at + 1));
        }
        escapes = true;
        at += 2;
    }
}

fn unescaped(text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    out.into()
}

fn with_depth(mut items: Vec<Item>, depth: usize) -> Vec<Item> {
    if items.is_empty() {
        return items;
    }
    let mut is = 1 + items.first().map_or(0, Item::depth);
    while is > depth.max(1) {
        items = items.into_iter().flat_map(inner).collect();
        is -= 1;
    }
    while is < depth {
        items = vec![Item::Array(items)];
        is += 1;
    }
    items
}

fn inner(item: Item) -> Vec<Item> {
    match item {
        Item::Array(items) => items,
        other => vec![other],
    }
}

/// Reads an hstore: keys, each with a value or null.
pub fn hstore(text: &Bytes) -> Result<Vec<(Bytes, Option<Bytes>)>, BadValue> {
    let bad = || BadValue::new(text, "is no hstore");
    let mut pairs = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if !pairs.is_empty() {
            at += text[at..].strip_prefix(b", ").map(|_| 2).ok_or_else(bad)?;
        }
        let (key, end) = quoted_at(text, at).ok_or_else(bad)?;
        at = end + text[end..].strip_prefix(b"=>").map(|_| 2).ok_or_else(bad)?;
        if text[at..].starts_with(b"NULL") {
            pairs.push((key, None));
            at += 4;
        } else {
            let (value, end) = quoted_at(text, at).ok_or_else(bad)?;
            pairs.push((key, Some(value)));
            at = end;
        }
    }
    Ok(pairs)
}

fn quoted_at(text: &Bytes, at: usize) -> Option<(Bytes, usize)> {
    (text.get(at) == Some(&b'"')).then(|| quoted(text, at + 1)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &'static str) -> Item {
        Item::Text(Bytes::from_static(text.as_bytes()))
    }

    fn read(text: &'static str, depth: usize) -> Result<Vec<Item>, BadValue> {
        array(&Bytes::from_static(text.as_bytes()), b',', depth)
    }

    #[test]
    fn arrays() {
        assert_eq!(read("{}", 1), Ok(vec![]));
        assert_eq!(read("{}", 2), Ok(vec![]));
        assert_eq!(
            read("{1,NULL,\"NULL\",\"\"}", 1),
            Ok(vec![text("1"), Item::Null, text("NULL"), text("")])
        );
        let expected = vec![text("with \"quotes\" and \\ slash"), text("a,}b")];
        assert_eq!(read(r#"{"with \"quotes\" and \\ slash","a,}b"}"#, 1), Ok(expected));
        let row = |a, b| Item::Array(vec![text(a), text(b)]);
        assert_eq!(read("[0:1][1:2]={{1,2},{3,4}}", 2), Ok(vec![row("1", "2"), row("3", "4")]));
        assert_eq!(array(&Bytes::from_static(b"{(1,2);(3,4)}"), b';', 1).unwrap().len(), 2);
        for broken in ["", "{", "}", "{1", "{\"a}", "1}", "{1}x", "[1", "{{{{{{{1}}}}}}}", "{\"a\\"]
        {
            assert!(read(broken, 1).is_err(), "{broken}");
        }
    }

    #[test]
    fn arrays_are_as_deep_as_their_schema() {
        assert_eq!(read("{{1,2},{3,4}}", 1), read("{1,2,3,4}", 1));
        let wrapped = Item::Array(vec![text("1"), text("2")]);
        assert_eq!(read("{1,2}", 2), Ok(vec![wrapped]));
    }

    #[test]
    fn hstores() {
        let read = |text: &'static str| hstore(&Bytes::from_static(text.as_bytes()));
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(
            read(r#""a"=>"1", "b c"=>NULL, "d"=>"x\"y""#),
            Ok(vec![
                (bytes("a"), Some(bytes("1"))),
                (bytes("b c"), None),
                (bytes("d"), Some(bytes("x\"y")))
            ])
        );
        for broken in ["\"a\"", "\"a\"=>", "a=>1", "\"a\"=>\"1\"\"b\"=>\"2\"", "\"a\"=>\"1"] {
            assert!(read(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn no_text_does_harm(text in r#"[{},"\\a\[=N> ]{0,20}"#, depth in 0_usize..4) {
            let text = Bytes::from(text);
            let _ = (array(&text, b',', depth), hstore(&text));
        }

        #[test]
        fn items_are_read_as_they_were_written(items: Vec<String>) {
            let escape = |item: &String| item.replace('\\', r"\\").replace('"', "\\\"");
            let written: Vec<_> = items.iter().map(|item| format!("\"{}\"", escape(item))).collect();
            let read = array(&Bytes::from(format!("{{{}}}", written.join(","))), b',', 1).unwrap();
            let expected: Vec<_> = items.into_iter().map(|item| Item::Text(item.into())).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
