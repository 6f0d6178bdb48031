//! What the file source reads, in any of its ways, and how far that is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::directory::{Directory, Known};
use super::open::{Counts, Piece, ReadOptions, Taken};
use super::pattern::Pattern;
use super::position::Position;
use super::share::Share;
use super::stdin::{self, Stdin};
use super::tail::{Filled, Tail, TailError};
use super::whole::{Content, Which, Whole, WholeOptions};
use crate::config::ConnectorConfig;
use crate::offsets::{SourceOffset, SourcePartition};

/// One of the ways to read.
pub enum Input {
    Tail { tail: Box<Tail>, partition: SourcePartition, stored: Option<Position> },
    Directory { directory: Box<Directory>, base: PathBuf, part: (usize, usize) },
    Whole { whole: Box<Whole>, part: (usize, usize) },
    Stdin(Box<Stdin>),
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Input")
    }
}

/// What a fill hands over.
pub enum Item<'a> {
    Piece(Piece<'a>),
    /// A name and a content.
    File(&'a str, &'a [u8]),
}

/// The part of the input that says that a task has looked for files: those that it finds later are
/// new.
fn begun((task, tasks): (usize, usize)) -> SourcePartition {
    SourcePartition::new(&[("begun", &format!("{}/{tasks}", task + 1))])
}

/// Whether a task has looked for files before, also when there were fewer or more tasks.
fn has_begun(
    stored: &BTreeMap<SourcePartition, SourceOffset>,
    (task, tasks): (usize, usize),
) -> bool {
    let others = format!("/{tasks}");
    let by_others = stored.keys().any(|partition| {
        let by = partition.to_json();
        by.get("begun").and_then(Value::as_str).is_some_and(|by| !by.ends_with(&others))
    });
    by_others || stored.contains_key(&begun((task, tasks)))
}

/// Whether the source can go on from that.
pub fn check_offset(
    config: &ConnectorConfig,
    partition: &Value,
    offset: &Value,
) -> Result<(), String> {
    let file = config.text("file");
    if file == stdin::NAME {
        return Err("the connector reads standard input, of which no offsets are kept".to_owned());
    }
    if partition.get("begun").is_some() {
        return Ok(());
    }
    let Some(name) = partition.get("filename").and_then(Value::as_str) else {
        return Err(format!(
            "partition {partition} has no text `filename`; GET /connectors/{}/offsets shows those \
             that there are",
            config.name()
        ));
    };
    let is_whole = config.text("format") == "whole";
    let is_one = !is_whole && matches!(Pattern::new(&config.path("file")), Ok(None));
    if is_one && name != file {
        return Err(format!("partition {partition}: the connector reads `filename` '{file}'"));
    }
    if is_whole {
        return match Content::from_json(offset) {
            Some(_) => Ok(()),
            None => Err(format!(
                "offset {offset} of '{name}' needs `bytes`, `modified_ns` and `crc32c`, which say \
                 what content was taken; null has it taken again"
            )),
        };
    }
    let at = || match offset.get("position") {
        None => format!("offset {offset} of '{name}' has no `position`"),
        Some(at) => format!("`position` of '{name}' is {at}"),
    };
    if Position::from_json(offset).is_none() {
        return Err(format!("{}: it is a whole number of bytes, at least 0", at()));
    }
    if !is_one && offset.get("path").and_then(Value::as_str).is_none() {
        return Err(format!(
            "offset {offset} of '{name}' has no `path`, which says where the file was last"
        ));
    }
    Ok(())
}

/// Names are those below the directory, which may be elsewhere at the next start.
fn to_json(known: &Known, base: &Path) -> Value {
    let below = |path: &PathBuf| path.strip_prefix(base).unwrap_or(path).to_string_lossy().into();
    let mut json = known.at.to_json();
    json["path"] = below(&known.path);
    if !known.former.is_empty() {
        json["former"] = known.former.iter().map(below).collect();
    }
    json
}

impl Input {
    pub fn tail(
        path: PathBuf,
        filename: &str,
        options: ReadOptions,
        stored: &BTreeMap<SourcePartition, SourceOffset>,
    ) -> Input {
        let partition = SourcePartition::new(&[("filename", filename)]);
        let stored = stored.get(&partition).and_then(|at| Position::from_json(&at.0));
        let tail = Box::new(Tail::new(path, options, stored.clone()));
        Input::Tail { tail, partition, stored }
    }

    pub fn directory(
        pattern: Pattern,
        options: ReadOptions,
        stored: &BTreeMap<SourcePartition, SourceOffset>,
        part: (usize, usize),
        share: Share,
    ) -> Input {
        let base = pattern.root().to_owned();
        // Also what other tasks have read: which of it comes to be this one's is not known yet.
        let known = stored.iter().filter_map(|(partition, offset)| {
            let path = base.join(offset.0.get("path")?.as_str()?);
            let former = offset.0.get("former").and_then(Value::as_array).into_iter().flatten();
            let former = former.filter_map(Value::as_str).map(|name| base.join(name)).collect();
            let at = Position::from_json(&offset.0)?;
            Some((partition.clone(), Known { path, former, at }))
        });
        let (known, begun) = (known.collect(), has_begun(stored, part));
        let directory = Box::new(Directory::new(pattern, options, known, begun, share));
        Input::Directory { directory, base, part }
    }

    pub fn whole(
        which: Which,
        options: WholeOptions,
        stored: &BTreeMap<SourcePartition, SourceOffset>,
        part: (usize, usize),
        share: Share,
    ) -> Input {
        let taken = stored.iter().filter_map(|(partition, offset)| {
            let partition = partition.to_json();
            let name = partition.get("filename")?.as_str()?;
            Some((name.to_owned(), Content::from_json(&offset.0)?))
        });
        let begun = has_begun(stored, part);
        let whole = Box::new(Whole::new(which, options, taken.collect(), begun, share));
        Input::Whole { whole, part }
    }

    /// Hands over what is at hand until `take` says that it is enough for now.
    pub fn fill(&mut self, mut take: impl FnMut(Item<'_>) -> Taken) -> Result<Filled, TailError> {
        match self {
            Input::Tail { tail, .. } => tail.fill(|piece| take(Item::Piece(piece))),
            Input::Directory { directory, .. } => directory.fill(|piece| take(Item::Piece(piece))),
            Input::Stdin(stdin) => stdin.fill(|piece| take(Item::Piece(piece))),
            Input::Whole { whole, .. } => {
                whole.fill(|name, content| matches!(take(Item::File(name, content)), Taken::More))
            }
        }
    }

    /// Something may have happened outside.
    pub fn look_again(&mut self) {
        if let Input::Directory { directory, .. } = self {
            directory.look_again();
        }
    }

    /// The offsets that have changed since the last call.
    pub fn take_offsets(&mut self) -> Vec<(SourcePartition, SourceOffset)> {
        let mut offsets = Vec::new();
        match self {
            Input::Tail { tail, partition, stored } => {
                let position = tail.position();
                if position != *stored
                    && let Some(position) = position
                {
                    offsets.push((partition.clone(), SourceOffset(position.to_json())));
                    *stored = Some(position);
                }
            }
            Input::Directory { directory, base, part } => {
                if directory.take_begun() {
                    offsets.push((begun(*part), SourceOffset(json!({ "begun": true }))));
                }
                for (partition, known) in directory.take_changed() {
                    let offset = known.map_or(Value::Null, |known| to_json(&known, base));
                    offsets.push((partition, SourceOffset(offset)));
                }
            }
            Input::Whole { whole, part } => {
                if whole.take_begun() {
                    offsets.push((begun(*part), SourceOffset(json!({ "begun": true }))));
                }
                for (name, content) in whole.take_changed() {
                    let partition = SourcePartition::new(&[("filename", &name)]);
                    let offset = content.map_or(Value::Null, Content::to_json);
                    offsets.push((partition, SourceOffset(offset)));
                }
            }
            Input::Stdin(_) => {}
        }
        offsets
    }

    /// Why nothing can be read: what is to be read is not there.
    pub fn missing(&self) -> Option<String> {
        match self {
            Input::Tail { tail, .. } => tail.missing(),
            Input::Directory { directory, .. } => directory.missing(),
            Input::Whole { whole, .. } => whole.missing(),
            Input::Stdin(_) => None,
        }
    }

    pub fn take_counts(&mut self) -> Counts {
        match self {
            Input::Tail { tail, .. } => tail.take_counts(),
            Input::Directory { directory, .. } => directory.take_counts(),
            Input::Whole { whole, .. } => whole.take_counts(),
            Input::Stdin(stdin) => stdin.take_counts(),
        }
    }

    /// Bytes known to be there and not handed over, where that can be known.
    pub fn remaining_bytes(&self) -> Option<u64> {
        match self {
            Input::Tail { tail, .. } => Some(tail.remaining_bytes()),
            Input::Directory { directory, .. } => Some(directory.remaining_bytes()),
            Input::Whole { .. } | Input::Stdin(_) => None,
        }
    }
}
