//! Entries of the tree one after the other.

use super::{Inner, Leaf, Node};
use crate::state::map::Bytes;

/// The way down to what comes next.
pub(super) struct Way<'m, V> {
    /// The first steps, which are all that there are but for odd keys.
    first: [Option<Step<'m, V>>; WAY_LEN],
    len: usize,
    more: Vec<Step<'m, V>>,
}

const WAY_LEN: usize = 8;

pub(super) struct Step<'m, V> {
    pub(super) inner: &'m Inner<V>,
    /// The child that is next.
    pub(super) next: usize,
}

impl<V> Default for Way<'_, V> {
    fn default() -> Self {
        Way { first: [const { None }; WAY_LEN], len: 0, more: Vec::new() }
    }
}

impl<'m, V> Way<'m, V> {
    pub(super) fn push(&mut self, step: Step<'m, V>) {
        match self.first.get_mut(self.len) {
            Some(place) => {
                *place = Some(step);
                self.len += 1;
            }
            None => self.more.push(step),
        }
    }

    fn last_mut(&mut self) -> Option<&mut Step<'m, V>> {
        match self.more.last_mut() {
            Some(step) => Some(step),
            None => self.first[..self.len].last_mut()?.as_mut(),
        }
    }

    fn pop(&mut self) {
        if self.more.pop().is_none() {
            self.len = self.len.saturating_sub(1);
        }
    }
}

/// Entries in the order of their keys.
pub struct Range<'m, V> {
    pub(super) way: Way<'m, V>,
    /// What comes before that of the way.
    pub(super) next: Option<&'m Node<V>>,
    /// The first one that is not of them.
    pub(super) end: Option<&'m Leaf<V>>,
}

impl<V> Default for Range<'_, V> {
    fn default() -> Self {
        Range { way: Way::default(), next: None, end: None }
    }
}

impl<'m, V> Range<'m, V> {
    pub(super) fn next_leaf(&mut self) -> Option<&'m Leaf<V>> {
        let mut node = match self.next.take() {
            Some(node) => node,
            None => loop {
                let step = self.way.last_mut()?;
                let inner: &'m Inner<V> = step.inner;
                if let Some(child) = inner.children.get(step.next) {
                    step.next += 1;
                    break child;
                }
                self.way.pop();
            },
        };
        loop {
            let inner = match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => inner,
            };
            if let Some(leaf) = inner.ended.as_deref() {
                self.way.push(Step { inner, next: 0 });
                return Some(leaf);
            }
            self.way.push(Step { inner, next: 1 });
            node = inner.children.first().expect("two members or more");
        }
    }
}

impl<'m, V> Iterator for Range<'m, V> {
    type Item = (&'m Bytes, &'m V);

    fn next(&mut self) -> Option<Self::Item> {
        let leaf = self.next_leaf()?;
        if self.end.is_some_and(|end| std::ptr::eq(end, leaf)) {
            (self.way, self.next) = (Way::default(), None);
            return None;
        }
        Some((&leaf.key, &leaf.value))
    }
}
