//! Functions over groups of rows.

use std::collections::BTreeMap;

use crate::abi::{Batch, Failure};
use crate::input::{Input, Inputs};
use crate::output::{Output, Outputs, Texts};

/// The state of a group, from which the function's value is computed. `default()` is that of a
/// group without rows.
///
/// ```
/// use millstream_udf::{Aggregate, State, udf};
///
/// #[derive(Default, State)]
/// struct Mean {
///     sum: f64,
///     count: i64,
/// }
///
/// #[udf]
/// impl Aggregate for Mean {
///     type Row<'a> = f64;
///     type Value = Option<f64>;
///
///     fn update(&mut self, x: f64) {
///         self.sum += x;
///         self.count += 1;
///     }
///
///     fn merge(&mut self, other: Mean) {
///         self.sum += other.sum;
///         self.count += other.count;
///     }
///
///     fn finish(&self) -> Option<f64> {
///         (self.count > 0).then(|| self.sum / self.count as f64)
///     }
/// }
/// ```
pub trait Aggregate: State + Default {
    /// The arguments of a row: one, or a tuple of several.
    type Row<'a>;
    type Value: Output;

    fn update(&mut self, row: Self::Row<'_>);

    /// Adds the rows of a part of the group that was computed elsewhere. In which parts a group
    /// comes, and in what order, makes no difference to its value.
    fn merge(&mut self, other: Self);

    fn finish(&self) -> Self::Value;
}

/// An aggregate that takes back rows that it was given before.
pub trait Retract: Aggregate {
    fn retract(&mut self, row: Self::Row<'_>);
}

/// What can be kept as bytes, in the same way by every version of a module that reads it: a change
/// of its fields makes what was kept unreadable.
pub trait State: Sized {
    fn write(&self, to: &mut Vec<u8>);
    /// Takes what [`State::write`] wrote from the front; none, if that is not there.
    fn read(from: &mut &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($type:ty)*) => {
        $(impl State for $type {
            fn write(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }

            fn read(from: &mut &[u8]) -> Option<$type> {
                let (bytes, rest) = from.split_first_chunk()?;
                *from = rest;
                Some(<$type>::from_le_bytes(*bytes))
            }
        })*
    };
}

numbers!(i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64);

impl State for bool {
    fn write(&self, to: &mut Vec<u8>) {
        u8::from(*self).write(to);
    }

    fn read(from: &mut &[u8]) -> Option<bool> {
        Some(u8::read(from)? == 1)
    }
}

impl State for String {
    fn write(&self, to: &mut Vec<u8>) {
        (self.len() as u32).write(to);
        to.extend_from_slice(self.as_bytes());
    }

    fn read(from: &mut &[u8]) -> Option<String> {
        let length = u32::read(from)? as usize;
        let (text, rest) = from.split_at_checked(length)?;
        *from = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

macro_rules! tuples {
    ($($($part:ident)*;)*) => {
        $(#[allow(non_snake_case, reason = "a part is named as its type")]
        impl<$($part: State),*> State for ($($part,)*) {
            fn write(&self, to: &mut Vec<u8>) {
                let ($($part,)*) = self;
                $($part.write(to);)*
            }

            fn read(from: &mut &[u8]) -> Option<Self> {
                Some(($($part::read(from)?,)*))
            }
        })*
    };
}

tuples! {
    A B;
    A B C;
    A B C D;
}

impl<T: State> State for Option<T> {
    fn write(&self, to: &mut Vec<u8>) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut &[u8]) -> Option<Option<T>> {
        match bool::read(from)? {
            true => T::read(from).map(Some),
            false => Some(None),
        }
    }
}

impl<T: State> State for Vec<T> {
    fn write(&self, to: &mut Vec<u8>) {
        (self.len() as u32).write(to);
        self.iter().for_each(|item| item.write(to));
    }

    fn read(from: &mut &[u8]) -> Option<Vec<T>> {
        let length = u32::read(from)?;
        (0..length).map(|_| T::read(from)).collect()
    }
}

impl<K: State + Ord, V: State> State for BTreeMap<K, V> {
    fn write(&self, to: &mut Vec<u8>) {
        (self.len() as u32).write(to);
        self.iter().for_each(|(key, value)| {
            key.write(to);
            value.write(to);
        });
    }

    fn read(from: &mut &[u8]) -> Option<BTreeMap<K, V>> {
        let length = u32::read(from)?;
        (0..length).map(|_| Some((K::read(from)?, V::read(from)?))).collect()
    }
}

/// The states of groups; NULL is that of a new one.
///
/// # Errors
///
/// If bytes are of no state.
pub fn states<S: Aggregate>(inputs: &mut Inputs<'_>, batch: &Batch) -> Result<Vec<S>, Failure> {
    let column = <&[u8]>::column(inputs);
    let count = batch.nodes[0].length as usize;
    (0..count).map(|at| <&[u8]>::get(&column, at).map_or_else(|| Ok(S::default()), state)).collect()
}

fn state<S: State>(mut bytes: &[u8]) -> Result<S, Failure> {
    let state = S::read(&mut bytes).filter(|_| bytes.is_empty());
    state.ok_or_else(|| Failure {
        row: None,
        message: "the state that was kept is of another version of this function".to_owned(),
    })
}

/// The states as the host keeps them.
///
/// # Errors
///
/// If they are too long together.
pub fn save<S: State>(states: &[S]) -> Result<Outputs, Failure> {
    let mut column = Texts::default();
    let mut bytes = Vec::new();
    for state in states {
        bytes.clear();
        state.write(&mut bytes);
        (&*bytes).put(&mut column).map_err(|message| Failure { row: None, message })?;
    }
    Ok(Outputs::of(column))
}

/// Adds states to those of groups.
///
/// # Errors
///
/// If bytes are of no state.
pub fn merge<S: Aggregate>(
    mut states: Vec<S>,
    inputs: &mut Inputs<'_>,
    batch: &Batch,
) -> Result<Outputs, Failure> {
    let groups = u32::column(inputs);
    let others = <&[u8]>::column(inputs);
    for row in 0..batch.rows {
        let (group, other) = (u32::get(&groups, row), <&[u8]>::get(&others, row));
        if let (Some(group), Some(other)) = (group, other) {
            states[group as usize].merge(state(other)?);
        }
    }
    save(&states)
}

/// The values of groups.
///
/// # Errors
///
/// If a value is an error.
pub fn finish<S: Aggregate>(states: &[S]) -> Result<Outputs, Failure> {
    let mut values = <S::Value as Output>::Column::default();
    for (at, state) in states.iter().enumerate() {
        let put = state.finish().put(&mut values);
        put.map_err(|message| Failure { row: Some(at as u32), message })?;
    }
    Ok(Outputs::of(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_were_written() {
        type Kept = BTreeMap<String, Vec<Option<(i64, bool)>>>;
        let kept: Kept = BTreeMap::from([
            (String::new(), vec![]),
            ("é".to_owned(), vec![Some((i64::MIN, true)), None]),
        ]);
        let mut bytes = Vec::new();
        kept.write(&mut bytes);
        assert_eq!(state::<Kept>(&bytes).ok(), Some(kept));
        for length in 0..bytes.len() {
            assert!(state::<Kept>(&bytes[..length]).is_err(), "of {length} bytes");
        }
    }
}
