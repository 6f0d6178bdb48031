//! What is at a path of a JSON text, cut out as it stands there.
//!
//! All of the text is read, so that what is no JSON is found out whatever the path, and nothing of
//! it is built. Of fields with one name the last one counts. Numbers keep their digits: nothing
//! makes binary fractions of them.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};

use datafusion_common::{Result, exec_err};

pub(super) use crate::formats::json::reader::Kind;
use crate::formats::json::reader::{Quoted, Reader, SyntaxError, unescape};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(i64),
    /// All items of an array, or fields of an object.
    All,
}

/// A value of JSON, as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'j> {
    pub kind: Kind,
    raw: &'j str,
}

impl<'j> Found<'j> {
    pub fn is_scalar(self) -> bool {
        !matches!(self.kind, Kind::Array | Kind::Object)
    }

    /// A number or truth value as it stands.
    pub fn plain(self) -> Option<&'j str> {
        let is_plain = matches!(self.kind, Kind::Number | Kind::True | Kind::False);
        is_plain.then_some(self.raw)
    }

    /// A string without quotes and escapes; `None` for all else.
    pub fn text(self) -> Option<Cow<'j, str>> {
        let inside = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        said(Quoted { text: inside, escaped: inside.contains('\\') }).ok()
    }

    /// Items of an array or fields of an object.
    pub fn len(self) -> Option<usize> {
        let mut reader = Reader::new(self.raw);
        match self.kind {
            Kind::Array => items(&mut reader, |reader| reader.skip()).ok(),
            Kind::Object => {
                let mut names = HashMap::new();
                fields(&mut reader, |name, reader| {
                    names.insert(name.into_owned(), ());
                    reader.skip()
                })
                .ok()?;
                Some(names.len())
            }
            _ => None,
        }
    }

    /// Without blanks, and of each name the last value, at the place of the first; `None` if it has
    /// strings that are none.
    pub fn json(self) -> Option<String> {
        let mut json = String::with_capacity(self.raw.len());
        compact(&mut Reader::new(self.raw), &mut json).ok()?;
        Some(json)
    }
}

/// `None` where the path leads nowhere, and where the text is no JSON.
pub(super) fn find<'j>(json: &'j str, path: &[Step]) -> Option<Found<'j>> {
    let mut reader = Reader::new(json);
    let found = at(&mut reader, path).ok()?;
    reader.skip_blanks();
    found.filter(|_| reader.is_at_end())
}

/// All that a path with [`Step::All`] leads to, as JSON text of an array; `None` where what stands
/// before that leads nowhere, and where the text is no JSON.
pub(super) fn gather(json: &str, path: &[Step]) -> Option<String> {
    let all = path.iter().position(|step| *step == Step::All)?;
    let from = find(json, &path[..all])?;
    let mut found = Vec::new();
    gather_at(&mut Reader::new(from.raw), &path[all..], &mut found).ok()?;
    let items: Option<Vec<String>> = found.into_iter().map(Found::json).collect();
    Some(format!("[{}]", items?.join(",")))
}

/// What the path leads to within the value that comes next, in its order; past that.
fn gather_at<'j>(
    reader: &mut Reader<'j>,
    path: &[Step],
    into: &mut Vec<Found<'j>>,
) -> Result<(), SyntaxError> {
    let Some((step, rest)) = path.split_first() else {
        into.push(Found { kind: reader.kind()?, raw: reader.raw()? });
        return Ok(());
    };
    match (step, reader.kind()?) {
        (Step::All, Kind::Array) => {
            items(reader, |reader| gather_at(reader, rest, into))?;
        }
        (Step::All, Kind::Object) => {
            let mut places: HashMap<Cow<'j, str>, usize> = HashMap::new();
            let mut each: Vec<Vec<Found<'j>>> = Vec::new();
            fields(reader, |name, reader| {
                let mut of_field = Vec::new();
                gather_at(reader, rest, &mut of_field)?;
                match places.get(&name) {
                    Some(&place) => each[place] = of_field,
                    None => {
                        places.insert(name, each.len());
                        each.push(of_field);
                    }
                }
                Ok(())
            })?;
            into.extend(each.into_iter().flatten());
        }
        _ => {
            if let Some(of) = at(reader, &path[..1])? {
                gather_at(&mut Reader::new(of.raw), rest, into)?;
            }
        }
    }
    Ok(())
}

/// What is at the path within the value that comes next; past that.
fn at<'j>(reader: &mut Reader<'j>, path: &[Step]) -> Result<Option<Found<'j>>, SyntaxError> {
    let kind = reader.kind()?;
    let mut found = None;
    match (path.split_first(), kind) {
        (None, _) => found = Some(Found { kind, raw: reader.raw()? }),
        (Some((Step::Key(key), rest)), Kind::Object) => fields(reader, |name, reader| {
            match name == key.as_str() {
                true => found = at(reader, rest)?,
                false => reader.skip()?,
            }
            Ok(())
        })?,
        (Some((Step::Index(index), rest)), Kind::Array) => {
            let wanted = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
            // From the end: the last ones so far, as many as that.
            let (mut place, mut last) = (0, VecDeque::new());
            let count = items(reader, |reader| {
                match *index {
                    index if index < 0 => {
                        last.push_back(at(reader, rest)?);
                        if last.len() > wanted {
                            last.pop_front();
                        }
                    }
                    _ if place == wanted => found = at(reader, rest)?,
                    _ => reader.skip()?,
                }
                place += 1;
                Ok(())
            })?;
            if *index < 0 && count >= wanted {
                found = last.pop_front().flatten();
            }
        }
        // Of all, there is no one thing.
        _ => reader.skip()?,
    }
    Ok(found)
}

/// Takes each item of the array that comes next; how many there are.
fn items<'j>(
    reader: &mut Reader<'j>,
    mut take: impl FnMut(&mut Reader<'j>) -> Result<(), SyntaxError>,
) -> Result<usize, SyntaxError> {
    let mut count = 0;
    let mut more = reader.open(b']');
    while more {
        take(reader)?;
        count += 1;
        more = reader.next(b']')?;
    }
    Ok(count)
}

/// Takes each field of the object that comes next.
fn fields<'j>(
    reader: &mut Reader<'j>,
    mut take: impl FnMut(Cow<'j, str>, &mut Reader<'j>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    let mut more = reader.open(b'}');
    while more {
        let name = reader.name()?;
        let name = said(name).map_err(|reason| reader.error(reason))?;
        take(name, reader)?;
        more = reader.next(b'}')?;
    }
    Ok(())
}

fn said(quoted: Quoted<'_>) -> Result<Cow<'_, str>, &'static str> {
    if !quoted.escaped {
        return Ok(Cow::Borrowed(quoted.text));
    }
    let mut text = String::new();
    unescape(quoted.text, &mut text)?;
    Ok(Cow::Owned(text))
}

/// The value that comes next, which is not nested too deeply: all of it was skipped before.
fn compact<'j>(reader: &mut Reader<'j>, json: &mut String) -> Result<(), SyntaxError> {
    match reader.kind()? {
        Kind::Array => {
            json.push('[');
            let from = json.len();
            items(reader, |reader| {
                json.push_str(if json.len() > from { "," } else { "" });
                compact(reader, json)
            })?;
            json.push(']');
        }
        Kind::Object => {
            let mut places: HashMap<Cow<'j, str>, usize> = HashMap::new();
            let mut written: Vec<String> = Vec::new();
            fields(reader, |name, reader| {
                let mut field = serde_json::Value::from(&*name).to_string();
                field.push(':');
                compact(reader, &mut field)?;
                match places.get(&name) {
                    Some(&place) => written[place] = field,
                    None => {
                        places.insert(name, written.len());
                        written.push(field);
                    }
                }
                Ok(())
            })?;
            json.push('{');
            json.push_str(&written.join(","));
            json.push('}');
        }
        Kind::String => {
            let string = reader.string()?;
            let text = said(string).map_err(|reason| reader.error(reason))?;
            match string.escaped {
                true => json.push_str(&serde_json::Value::from(&*text).to_string()),
                false => json.extend(["\"", &*text, "\""]),
            }
        }
        _ => json.push_str(reader.raw()?),
    }
    Ok(())
}

pub(super) fn parse_path(path: &str) -> Result<Vec<Step>> {
    let wrong = || exec_err!("'{path}' is no JSON path: write $.name[0][\"other name\"][*]");
    let path = path.trim();
    let mode = ["lax", "strict"].into_iter().find_map(|mode| {
        let rest = path.get(..mode.len()).filter(|word| word.eq_ignore_ascii_case(mode));
        rest.map(|_| path[mode.len()..].trim_start())
    });
    let Some(mut rest) = mode.unwrap_or(path).strip_prefix('$') else { return wrong() };
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.').filter(|after| !after.starts_with('[')) {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            steps.push(match name {
                "" => return wrong(),
                "*" => Step::All,
                name => Step::Key(name.to_owned()),
            });
            rest = next;
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        let quoted = ["\"", "'"].into_iter().find_map(|quote| {
            let inside = rest.strip_prefix('[')?.strip_prefix(quote)?;
            inside.split_once(&format!("{quote}]"))
        });
        if let Some((name, next)) = quoted {
            steps.push(Step::Key(name.to_owned()));
            rest = next;
            continue;
        }
        let inside = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
        let Some((inside, next)) = inside else { return wrong() };
        steps.push(match (inside.trim(), inside.trim().parse()) {
            ("*", _) => Step::All,
            (_, Ok(index)) => Step::Index(index),
            _ => return wrong(),
        });
        rest = next;
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn at(json: &str, path: &str) -> Option<String> {
        find(json, &parse_path(path).unwrap())?.json()
    }

    #[test]
    fn paths_lead_somewhere() {
        let json = r#"{"a":[{"b c":1},"x"], "n":null, "z":{"y":1.0,"x":[]}, "n2":0,
            "big": 12345678901234567890.10, "a2":"\u00e9\""}"#;
        for (path, expected) in [
            ("$.a[0][\"b c\"]", "1"),
            ("$['a'][-1]", "\"x\""),
            ("$['a'][-2]", "{\"b c\":1}"),
            ("lax $.n", "null"),
            ("strict$['a'][1]", "\"x\""),
            ("$.z", "{\"y\":1.0,\"x\":[]}"),
            ("$.a", "[{\"b c\":1},\"x\"]"),
            ("$.[\"a2\"]", "\"é\\\"\""),
            ("$.big", "12345678901234567890.10"),
        ] {
            assert_eq!(at(json, path).as_deref(), Some(expected), "{path}");
        }
        for nowhere in ["$.b", "$.a.b", "$.a[2]", "$.a[-3]", "$[0]", "$.n.x", "$.n2[0]"] {
            assert_eq!(at(json, nowhere), None, "{nowhere}");
        }
        for (path, expected) in [
            ("$.a[*]", Some("[{\"b c\":1},\"x\"]")),
            ("$.a[*]['b c']", Some("[1]")),
            (
                "lax $.*",
                Some(
                    "[[{\"b c\":1},\"x\"],null,{\"y\":1.0,\"x\":[]},0,12345678901234567890.10,\"é\\\"\"]",
                ),
            ),
            ("$.*[0]", Some("[{\"b c\":1}]")),
            ("$.z.x[ * ].y", Some("[]")),
            ("$.n[*]", Some("[]")),
            ("$.none[*]", None),
        ] {
            let path = parse_path(path).unwrap();
            assert_eq!(gather(json, &path).as_deref(), expected, "{path:?}");
            assert!(find(json, &path).is_none(), "{path:?}");
        }
        assert_eq!(gather("{\"a\":[1}", &parse_path("$.a[*]").unwrap()), None);
        let twice = r#"{"a":{"b":1},"c":2,"a":{"b":3}}"#;
        assert_eq!(gather(twice, &parse_path("$.*.b").unwrap()).as_deref(), Some("[3]"));
        for wrong in ["a", "$a", "$.", "$[", "$[x]", "$..a", "", "$[*", "$.a[**]"] {
            assert!(parse_path(wrong).is_err(), "{wrong}");
        }
        // The last one of a name; and what is no JSON behind what is found.
        assert_eq!(at(r#"{"a":1,"b":2,"a":{"c":3}}"#, "$.a.c").as_deref(), Some("3"));
        assert_eq!(at(r#"{"a":1,"b":2,"a":3}"#, "$").as_deref(), Some(r#"{"a":3,"b":2}"#));
        for broken in ["{\"a\":1", "{\"a\":1}}", "{\"a\":1,\"b\":nul}", "", "{\"a\":1} x"] {
            assert_eq!(at(broken, "$.a"), None, "{broken}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f32>().prop_map(|of| Value::from(f64::from(of.round()))),
            "\\PC{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect::<Value>()),
            ]
        })
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof!["[abc]".prop_map(Step::Key), (-3i64..3).prop_map(Step::Index)];
        prop::collection::vec(step, 0..4)
    }

    /// The same by all of the value, built.
    fn followed(value: &Value, path: &[Step]) -> Option<Value> {
        path.iter()
            .try_fold(value, |value, step| match step {
                Step::Key(key) => value.as_object()?.get(key),
                Step::Index(index) => {
                    let items = value.as_array()?;
                    let place = match usize::try_from(*index) {
                        Ok(place) => place,
                        Err(_) => items.len().checked_sub(index.unsigned_abs() as usize)?,
                    };
                    items.get(place)
                }
                Step::All => None,
            })
            .cloned()
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_tree_has(value in json(), path in steps()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let found = find(&text, &path).and_then(Found::json);
                prop_assert_eq!(found, followed(&value, &path).map(|found| found.to_string()));
                let count = find(&text, &path).and_then(Found::len);
                prop_assert_eq!(count, followed(&value, &path).and_then(|found| match found {
                    Value::Array(items) => Some(items.len()),
                    Value::Object(fields) => Some(fields.len()),
                    _ => None,
                }));
            }
        }

        #[test]
        fn no_text_panics(text in "[{}\\[\\]\",:0-9a-c ]{0,30}", path in steps()) {
            let tree: Option<Value> = serde_json::from_str(&text).ok();
            let found = find(&text, &[]).and_then(Found::json);
            prop_assert_eq!(found.is_some(), tree.is_some());
            let _ = find(&text, &path).map(|found| (found.len(), found.text(), found.json()));
        }
    }
}
