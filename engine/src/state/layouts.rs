//! What the values of an operator's entries are made of, where that may change in their time.
//!
//! An aggregate keeps one value per group for all that it computes. When something else is computed
//! from now on, values that are there stay as they are, and new ones are written in a new layout.
//! A value says in which it was written (a run does, by its number), and the meta record has all of
//! them:
//!
//! ```text
//! version 0   count   sum            groups that were not touched since
//! version 1   count   max            what came after sum was taken out and max was put in
//! version 2   count   max   sum      sum again: what version 0 has of it does not count
//! ```
//!
//! Invariants: a part that is new has nothing of what came before, whatever older layouts have of
//! its kind. Versions are never taken out or reordered.

use std::str::FromStr;

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

/// Versions that a value can name.
pub const VERSIONS_MAX: usize = 1 << 12;

/// Something that is kept beside others, and may come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// All that it depends on.
    pub is: String,
    /// The types of what is kept for it.
    pub states: Vec<String>,
    /// What people call it.
    pub name: String,
}

/// All layouts of an operator's values, the one that is written last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layouts(Vec<Vec<KeptPart>>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptPart {
    #[serde(flatten)]
    part: Part,
    /// The version that it came with.
    since: usize,
}

/// What becomes of kept state when something else is computed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evolution {
    /// What begins with nothing, by its name.
    pub added: Vec<String>,
    /// What is not kept any more.
    pub removed: Vec<String>,
}

impl Part {
    /// `None` if it cannot be said what its types are.
    pub fn new<'t>(
        is: String,
        name: String,
        states: impl Iterator<Item = &'t DataType>,
    ) -> Option<Part> {
        let text = |of: &DataType| {
            let text = of.to_string();
            (DataType::from_str(&text).ok().as_ref() == Some(of)).then_some(text)
        };
        Some(Part { is, name, states: states.map(text).collect::<Option<_>>()? })
    }

    fn is_same(&self, other: &Part) -> bool {
        let shapes = |part: &Part| part.states.iter().map(|of| shape(of)).collect::<Vec<_>>();
        self.is == other.is && shapes(self) == shapes(other)
    }

    pub fn types(&self) -> Option<Vec<DataType>> {
        self.states.iter().map(|text| DataType::from_str(text).ok()).collect()
    }
}

/// A type without the names within it, which say where a column stood (`Struct("n@2": Int64)`) and
/// make no difference to its bytes.
fn shape(of: &str) -> String {
    let (mut shape, mut in_name, mut escaped) = (String::new(), false, false);
    for c in of.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_name => escaped = true,
            '"' => in_name = !in_name,
            _ if in_name => {}
            c => shape.push(c),
        }
    }
    shape
}

impl Evolution {
    pub fn is_none(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Layouts {
    /// Of values that were never written otherwise.
    pub fn new(parts: &[Part]) -> Layouts {
        Layouts(vec![parts.iter().map(|part| KeptPart { part: part.clone(), since: 0 }).collect()])
    }

    /// The version that is written.
    pub fn latest(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// The parts that are written.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.last().into_iter().flatten().map(|kept| &kept.part)
    }

    /// The same, with these from now on; `None` if nothing would be left of what is there.
    pub fn evolve(&self, parts: &[Part]) -> Option<(Layouts, Evolution)> {
        let latest = self.0.last()?;
        let mut left: Vec<&KeptPart> = latest.iter().collect();
        let mut evolution = Evolution::default();
        let version = self.0.len();
        let next = parts.iter().map(|part| {
            let found = left.iter().position(|kept| kept.part.is_same(part));
            let since = match found {
                Some(at) => left.remove(at).since,
                None => {
                    evolution.added.push(part.name.clone());
                    version
                }
            };
            KeptPart { part: part.clone(), since }
        });
        let next: Vec<KeptPart> = next.collect();
        if left.len() == latest.len() && evolution.added.len() == parts.len() {
            return (latest.is_empty() && parts.is_empty())
                .then(|| (self.clone(), Evolution::default()));
        }
        evolution.removed = left.iter().map(|kept| kept.part.name.clone()).collect();
        let is_same = next.len() == latest.len()
            && next.iter().zip(latest).all(|(next, latest)| {
                next.part.is_same(&latest.part) && next.since == latest.since
            });
        let mut evolved = self.clone();
        if !is_same {
            if version == VERSIONS_MAX {
                return None;
            }
            evolved.0.push(next);
        }
        Some((evolved, evolution))
    }

    /// The types of a version's values, part by part.
    pub fn types(&self, version: usize) -> Option<Vec<Vec<DataType>>> {
        self.0.get(version)?.iter().map(|kept| kept.part.types()).collect()
    }

    /// Where a version has each part that is written now, if it has it.
    pub fn places(&self, version: usize) -> Vec<Option<usize>> {
        let (Some(latest), Some(older)) = (self.0.last(), self.0.get(version)) else {
            return Vec::new();
        };
        let is_that = |now: &KeptPart, then: &KeptPart| {
            now.since == then.since && now.part.is_same(&then.part)
        };
        latest.iter().map(|now| older.iter().position(|then| is_that(now, then))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str) -> Part {
        Part::new(name.to_owned(), name.to_owned(), [DataType::Int64].iter()).unwrap()
    }

    fn parts(names: &[&str]) -> Vec<Part> {
        names.iter().map(|name| part(name)).collect()
    }

    #[test]
    fn what_stays_is_found_and_what_comes_back_begins_anew() {
        let first = Layouts::new(&parts(&["count", "sum"]));
        assert_eq!(
            first.evolve(&parts(&["count", "sum"])).unwrap(),
            (first.clone(), Evolution::default())
        );
        let (second, evolution) = first.evolve(&parts(&["max", "count"])).unwrap();
        assert_eq!(
            (evolution.added, evolution.removed),
            (vec!["max".to_owned()], vec!["sum".to_owned()])
        );
        assert_eq!((second.latest(), second.places(0)), (1, vec![None, Some(0)]));
        let (third, evolution) = second.evolve(&parts(&["sum", "count", "max"])).unwrap();
        assert_eq!((evolution.added, evolution.removed.len()), (vec!["sum".to_owned()], 0));
        assert_eq!(third.places(0), [None, Some(0), None]);
        assert_eq!(third.places(1), [None, Some(1), Some(0)]);
        assert_eq!(third.places(2), [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn another_order_is_another_layout_and_nothing_begins_anew() {
        let first = Layouts::new(&parts(&["count", "sum"]));
        let (second, evolution) = first.evolve(&parts(&["sum", "count"])).unwrap();
        assert!(evolution.is_none());
        assert_eq!((second.latest(), second.places(0)), (1, vec![Some(1), Some(0)]));
    }

    #[test]
    fn names_within_types_make_no_difference() {
        assert_eq!(
            shape(r#"List(Struct("n@2": Int64, "a\"b@1": Utf8))"#),
            "List(Struct(: Int64, : Utf8))"
        );
        let of =
            |at: &str| Part { states: vec![format!("Struct({at:?}: Int64)")], ..part("first") };
        let (_, evolution) = Layouts::new(&[of("n@1")]).evolve(&[of("n@2")]).unwrap();
        assert!(evolution.is_none());
    }

    #[test]
    fn where_nothing_stays_nothing_evolves() {
        let first = Layouts::new(&parts(&["count"]));
        assert!(first.evolve(&parts(&["sum"])).is_none());
        assert!(first.evolve(&[]).is_none());
        assert!(Layouts::new(&[]).evolve(&parts(&["sum"])).is_none());
        assert!(Layouts::new(&[]).evolve(&[]).is_some());
        let as_float = Part { states: vec!["Float64".to_owned()], ..part("count") };
        assert!(first.evolve(&[as_float]).is_none());
    }

    #[test]
    fn types_are_read_back() {
        let types = [
            DataType::Utf8,
            DataType::Decimal128(38, 4),
            DataType::Timestamp(arrow::datatypes::TimeUnit::Millisecond, Some("UTC".into())),
            DataType::new_list(DataType::Int64, true),
        ];
        for of in types {
            let Some(part) = Part::new("x".to_owned(), "x".to_owned(), [of.clone()].iter()) else {
                panic!("{of}");
            };
            assert_eq!(part.types().unwrap(), [of]);
        }
    }
}
