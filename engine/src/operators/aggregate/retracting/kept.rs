//! Groups and their arguments as they are kept.
//!
//! ```text
//! key    group      1 u8, group key (arrow-row)
//!        arguments  2 u8, group key, set u16, arguments (arrow-row)
//! value  group      rows i64, per call (arguments i64, sum i128), was told u8, what was told
//!        arguments  how often they are there i64
//! ```

use std::sync::Arc;

use datafusion_common::Result;

use crate::state::changelog::{StateError, StateId};
use crate::state::disk::DiskError;
use crate::state::map::{Bytes, StateMap};

/// What the first byte of an entry's key says it is.
pub(super) const GROUP: u8 = 1;
const ARGUMENTS: u8 = 2;

/// A [`Number`] as it is kept.
pub(super) const NUMBER_LEN: usize = 8 + 16;

/// Arguments that are not NULL, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Number {
    pub count: i64,
    pub sum: i128,
}

#[derive(Debug, Default)]
pub(super) struct Group {
    pub rows: i64,
    /// One per call; nothing is meant where arguments are kept.
    pub numbers: Vec<Number>,
    /// What was answered last.
    pub told: Option<Box<[u8]>>,
}

impl Group {
    pub fn number(&mut self, call: usize) -> &mut Number {
        if self.numbers.len() <= call {
            self.numbers.resize(call + 1, Number::default());
        }
        &mut self.numbers[call]
    }

    fn value(&self, calls: usize) -> Bytes {
        let told = self.told.as_deref();
        let len = 8 + calls * NUMBER_LEN + 1 + told.map_or(0, <[u8]>::len);
        let mut value = Vec::with_capacity(len);
        value.extend_from_slice(&self.rows.to_be_bytes());
        for call in 0..calls {
            let number = self.numbers.get(call).copied().unwrap_or_default();
            value.extend_from_slice(&number.count.to_be_bytes());
            value.extend_from_slice(&number.sum.to_be_bytes());
        }
        value.push(told.is_some().into());
        value.extend_from_slice(told.unwrap_or_default());
        value.into()
    }

    fn parse(mut value: &[u8], calls: usize) -> Option<Group> {
        let (rows, rest) = value.split_first_chunk()?;
        value = rest;
        let mut group = Group { rows: i64::from_be_bytes(*rows), ..Group::default() };
        for _ in 0..calls {
            let (count, rest) = value.split_first_chunk()?;
            let (sum, rest) = rest.split_first_chunk()?;
            value = rest;
            let (count, sum) = (i64::from_be_bytes(*count), i128::from_be_bytes(*sum));
            group.numbers.push(Number { count, sum });
        }
        let (is_told, told) = value.split_first()?;
        group.told = (*is_told != 0).then(|| told.into());
        Some(group)
    }
}

pub(super) struct KeptGroups {
    groups: StateMap,
    arguments: StateMap,
    calls: usize,
}

fn place(key: &[u8], set: u16, arguments: &[u8]) -> Vec<u8> {
    [key, &set.to_be_bytes(), arguments].concat()
}

fn count_of(value: &[u8]) -> i64 {
    value.try_into().map_or(0, i64::from_be_bytes)
}

impl KeptGroups {
    /// `calls`: how many there are.
    pub fn new(id: StateId, calls: usize) -> KeptGroups {
        KeptGroups {
            groups: StateMap::new(id.key(&[&[GROUP]]), true),
            arguments: StateMap::new(id.key(&[&[ARGUMENTS]]), true),
            calls,
        }
    }

    pub fn maps(&mut self) -> [&mut StateMap; 2] {
        [&mut self.groups, &mut self.arguments]
    }

    pub fn len(&self) -> usize {
        self.groups.len() as usize
    }

    /// A group as it is kept; an empty one if there is none.
    pub fn get(&self, key: &[u8]) -> Result<Group, DiskError> {
        let value = self.groups.get(key)?;
        // What is in the map was encoded here, or checked when it was restored.
        Ok(value.and_then(|value| Group::parse(&value, self.calls)).unwrap_or_default())
    }

    /// Keeps a group, unless there is nothing of it. What is not `keyed` is there for ever.
    pub fn put(&mut self, key: &[u8], group: &Group, keyed: bool) -> Result<(), DiskError> {
        let is_empty = keyed
            && group.rows == 0
            && group.told.is_none()
            && self.arguments.with_prefix(key, None).next().transpose()?.is_none();
        match is_empty {
            true => self.groups.remove(key)?,
            false => self.groups.put(key, group.value(self.calls))?,
        };
        Ok(())
    }

    /// Arguments come so many times more, or less. 1 if they were not there and are now, -1 the
    /// other way round.
    pub fn add(
        &mut self,
        key: &[u8],
        set: u16,
        arguments: &[u8],
        times: i64,
    ) -> Result<i64, DiskError> {
        if times == 0 {
            return Ok(0);
        }
        let place = place(key, set, arguments);
        let before = self.arguments.get(&place)?.map_or(0, |count| count_of(&count));
        let after = before + times;
        match after {
            0 => self.arguments.remove(&place)?,
            count => self.arguments.put(&place, Arc::from(&count.to_be_bytes()[..]))?,
        };
        Ok(i64::from(after > 0) - i64::from(before > 0))
    }

    /// The arguments of a group, sorted, and how often each is there.
    pub fn arguments(
        &self,
        key: &[u8],
        set: usize,
    ) -> impl Iterator<Item = Result<(Box<[u8]>, i64), DiskError>> {
        let prefix = place(key, set as u16, &[]);
        let entries = self.arguments.with_prefix(&prefix, None);
        entries.map(move |entry| {
            let (place, count) = entry?;
            Ok((place[prefix.len()..].into(), count_of(&count)))
        })
    }

    pub fn first(&self, key: &[u8], set: usize) -> Result<Option<Box<[u8]>>, DiskError> {
        for arguments in self.arguments(key, set) {
            let (arguments, count) = arguments?;
            if count > 0 {
                return Ok(Some(arguments));
            }
        }
        Ok(None)
    }

    pub fn last(&self, key: &[u8], set: usize) -> Result<Option<Box<[u8]>>, DiskError> {
        let prefix = place(key, set as u16, &[]);
        let mut last = self.arguments.last_with_prefix(&prefix)?;
        while let Some(place) = last.filter(|place| place.starts_with(&prefix)) {
            if self.arguments.get(&place)?.is_some_and(|count| count_of(&count) > 0) {
                return Ok(Some(place[prefix.len()..].into()));
            }
            last = self.arguments.last_before(&place)?;
        }
        Ok(None)
    }

    /// Forgets a group with its arguments.
    pub fn forget(&mut self, key: &[u8]) -> Result<(), DiskError> {
        self.groups.remove(key)?;
        self.arguments.remove_with_prefix(key)
    }

    /// Takes up an entry, or learns that it has gone.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StateError> {
        let damaged = || StateError::Damaged(format!("an aggregate's entry at key {key:02x?}"));
        match key.split_first().ok_or_else(damaged)? {
            (&GROUP, key) => {
                value
                    .map(|value| Group::parse(value, self.calls).ok_or_else(damaged))
                    .transpose()?;
                Ok(self.groups.restore(key, value)?)
            }
            (&ARGUMENTS, key) => {
                value.map(|value| <[u8; 8]>::try_from(value).map_err(|_| damaged())).transpose()?;
                Ok(self.arguments.restore(key, value)?)
            }
            _ => Err(damaged()),
        }
    }
}
