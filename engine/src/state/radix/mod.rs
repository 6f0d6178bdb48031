//! A sorted map of bytes: a radix tree whose nodes know only which byte their keys differ in.
//!
//! ```text
//!            ┌ byte 9 ┐                 what stands before byte 9 is the same in all keys beneath
//!        'a' │        │ 'c'             (and in no node: the keys at the leaves have it)
//!      ┌ byte 12 ┐   key, value
//!  end │         │ 'x'
//!  key, value   key, value
//! ```
//!
//! Looking up a key goes down by the bytes that matter, three or four of them among millions of
//! keys, and compares the key once at the end: a sorted tree would compare some twenty keys that
//! lie far apart in memory. This is the crit-bit tree (Morrison's PATRICIA, 1968) by bytes, its
//! nodes as large as they have children: a bitmap says which there are, and where.
//!
//! Invariants: an inner node has at least two members; the bytes that it does not look at are
//! equal in all of its keys; depths grow on the way down. Nothing recurses: keys are what users
//! have in their records, and may make the tree as deep as keys are long.

mod range;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Bound;

use super::map::Bytes;
pub use range::Range;
use range::Step;

pub struct RadixMap<V> {
    root: Option<Node<V>>,
}

impl<V> Default for RadixMap<V> {
    fn default() -> Self {
        RadixMap { root: None }
    }
}

enum Node<V> {
    Leaf(Leaf<V>),
    Inner(Box<Inner<V>>),
}

struct Leaf<V> {
    key: Bytes,
    value: V,
}

struct Inner<V> {
    /// The first byte in which its keys differ.
    depth: usize,
    /// Which bytes there are children for.
    present: [u64; 4],
    /// In the order of their bytes.
    children: Vec<Node<V>>,
    /// That of the key that ends here: it is before all others.
    ended: Option<Box<Leaf<V>>>,
}

impl<V> Inner<V> {
    fn new(depth: usize) -> Inner<V> {
        Inner { depth, present: [0; 4], children: Vec::new(), ended: None }
    }

    fn has(&self, byte: u8) -> bool {
        self.present[usize::from(byte >> 6)] >> (byte & 63) & 1 != 0
    }

    /// How many children have lesser bytes.
    fn rank(&self, byte: u8) -> usize {
        let word = usize::from(byte >> 6);
        let before: u32 = self.present[..word].iter().map(|bits| bits.count_ones()).sum();
        let within = self.present[word] & ((1 << (byte & 63)) - 1);
        (before + within.count_ones()) as usize
    }

    fn child(&self, byte: u8) -> Option<&Node<V>> {
        if self.has(byte) { self.children.get(self.rank(byte)) } else { None }
    }

    fn child_mut(&mut self, byte: u8) -> Option<&mut Node<V>> {
        if !self.has(byte) {
            return None;
        }
        let at = self.rank(byte);
        self.children.get_mut(at)
    }

    /// Takes in what is found by this byte, or by the end of its key.
    fn add(&mut self, byte: Option<u8>, node: Node<V>) {
        match (byte, node) {
            (Some(byte), node) => {
                let at = self.rank(byte);
                self.children.insert(at, node);
                self.present[usize::from(byte >> 6)] |= 1 << (byte & 63);
            }
            (None, Node::Leaf(leaf)) => self.ended = Some(Box::new(leaf)),
            (None, Node::Inner(_)) => unreachable!("keys beneath a node are longer than its depth"),
        }
    }

    fn take_child(&mut self, byte: u8) -> Option<Node<V>> {
        if !self.has(byte) {
            return None;
        }
        let at = self.rank(byte);
        self.present[usize::from(byte >> 6)] &= !(1 << (byte & 63));
        Some(self.children.remove(at))
    }

    /// Its only member, if there is but one left.
    fn only(&mut self) -> Option<Node<V>> {
        match (self.children.len(), self.ended.is_some()) {
            (1, false) => self.children.pop(),
            (0, true) => self.ended.take().map(|leaf| Node::Leaf(*leaf)),
            _ => None,
        }
    }
}

/// The first byte in which two keys differ, if any; where one has ended, the other goes on.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let both = one.len().min(other.len());
    // By words: keys of one map have long beginnings in common.
    let mut at = 0;
    while let (Some(a), Some(b)) = (one[at..both].first_chunk(), other[at..both].first_chunk()) {
        let differs = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differs != 0 {
            return Some(at + differs.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = one[at..both].iter().zip(&other[at..both]).position(|(a, b)| a != b);
    match rest {
        Some(rest) => Some(at + rest),
        None if one.len() == other.len() => None,
        None => Some(both),
    }
}

impl<V> RadixMap<V> {
    pub fn get(&self, key: &[u8]) -> Option<&V> {
        let mut node = self.root.as_ref()?;
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Inner(inner) => match key.get(inner.depth) {
                    Some(&byte) => node = inner.child(byte)?,
                    None => break inner.ended.as_deref()?,
                },
            }
        };
        (*leaf.key == *key).then_some(&leaf.value)
    }

    /// The key as the map has it, and what it leads to.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<(&Bytes, &mut V)> {
        let mut node = self.root.as_mut()?;
        let leaf = loop {
            match node {
                Node::Leaf(leaf) => break leaf,
                Node::Inner(inner) => match key.get(inner.depth) {
                    Some(&byte) => node = inner.child_mut(byte)?,
                    None => break inner.ended.as_deref_mut()?,
                },
            }
        };
        (*leaf.key == *key).then_some((&leaf.key, &mut leaf.value))
    }

    /// Any leaf that has as much in common with the key as one can have.
    fn nearest(&self, key: &[u8]) -> Option<&Leaf<V>> {
        let mut node = self.root.as_ref()?;
        loop {
            let inner = match node {
                Node::Leaf(leaf) => return Some(leaf),
                Node::Inner(inner) => inner,
            };
            let child = match key.get(inner.depth) {
                Some(&byte) => inner.child(byte),
                None => None,
            };
            node = match (child, inner.children.first(), inner.ended.as_deref()) {
                (Some(child), ..) | (None, Some(child), None) => child,
                (None, _, ended) => return ended,
            };
        }
    }

    /// Puts a value in the place of the one of its key. The one that was there.
    pub fn insert(&mut self, key: Bytes, value: V) -> Option<V> {
        let Some(nearest) = self.nearest(&key) else {
            self.root = Some(Node::Leaf(Leaf { key, value }));
            return None;
        };
        let Some(depth) = first_difference(&key, &nearest.key) else {
            let (_, there) = self.get_mut(&key).expect("it was just found");
            return Some(std::mem::replace(there, value));
        };
        let theirs = nearest.key.get(depth).copied();
        let ours = key.get(depth).copied();
        let mut node = self.root.as_mut().expect("it has a leaf");
        while let Node::Inner(inner) = &*node
            && inner.depth < depth
        {
            let Node::Inner(inner) = node else { unreachable!("it was one just now") };
            // What is nearest was found through the bytes of the key until they differ.
            node = inner.child_mut(key[inner.depth]).expect("the way to what is nearest");
        }
        let leaf = Node::Leaf(Leaf { key, value });
        match node {
            Node::Inner(inner) if inner.depth == depth => inner.add(ours, leaf),
            _ => {
                let fork = Node::Inner(Box::new(Inner::new(depth)));
                let below = std::mem::replace(node, fork);
                let Node::Inner(fork) = node else { unreachable!("it was put there") };
                fork.add(theirs, below);
                fork.add(ours, leaf);
            }
        }
        None
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<V> {
        self.get(key)?;
        // The last node that the key goes through, and the way into it.
        let mut node = self.root.as_mut()?;
        while let Node::Inner(inner) = &*node {
            let byte = key.get(inner.depth);
            let child = byte.and_then(|&byte| inner.child(byte));
            if !matches!(child, Some(Node::Inner(_))) {
                break;
            }
            let Node::Inner(inner) = node else { unreachable!("it was one just now") };
            node = inner.child_mut(key[inner.depth]).expect("it is there");
        }
        let Node::Inner(inner) = node else {
            let Some(Node::Leaf(leaf)) = self.root.take() else { return None };
            return Some(leaf.value);
        };
        let gone = match key.get(inner.depth) {
            Some(&byte) => match inner.take_child(byte)? {
                Node::Leaf(leaf) => leaf,
                Node::Inner(_) => unreachable!("the way ends above a leaf"),
            },
            None => *inner.ended.take()?,
        };
        if let Some(only) = inner.only() {
            *node = only;
        }
        Some(gone.value)
    }

    /// Entries within these bounds, in the order of their keys.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<'_, V> {
        let is_empty = match (from, to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        };
        if is_empty {
            return Range::default();
        }
        let end = match to {
            Bound::Unbounded => None,
            Bound::Included(key) => self.behind(Bound::Excluded(key)).next_leaf(),
            Bound::Excluded(key) => self.behind(Bound::Included(key)).next_leaf(),
        };
        Range { end, ..self.behind(from) }
    }

    pub fn all(&self) -> Range<'_, V> {
        self.behind(Bound::Unbounded)
    }

    /// Entries whose keys begin with `prefix`.
    pub fn with_prefix(&self, prefix: &[u8]) -> Range<'_, V> {
        let mut node = self.root.as_ref();
        while let Some(Node::Inner(inner)) = node
            && let Some(&byte) = prefix.get(inner.depth)
        {
            node = inner.child(byte);
        }
        // All keys beneath have the bytes in common that were not looked at.
        let is_theirs = node.is_some_and(|node| last_of(node).0.starts_with(prefix));
        Range { next: node.filter(|_| is_theirs), ..Range::default() }
    }

    /// All from there on.
    fn behind(&self, from: Bound<&[u8]>) -> Range<'_, V> {
        let mut range = Range::default();
        match from {
            Bound::Unbounded => range.next = self.root.as_ref(),
            Bound::Included(key) => self.seek(key, true, &mut range),
            Bound::Excluded(key) => self.seek(key, false, &mut range),
        }
        range
    }

    /// The first key that is not before `key`, or behind it.
    fn seek<'m>(&'m self, key: &[u8], included: bool, range: &mut Range<'m, V>) {
        let Some(nearest) = self.nearest(key) else { return };
        let difference = first_difference(key, &nearest.key);
        let depth = difference.unwrap_or(key.len());
        let mut node = self.root.as_ref().expect("it has a leaf");
        loop {
            match node {
                Node::Inner(inner) if inner.depth < depth => {
                    let byte = key[inner.depth];
                    range.way.push(Step { inner, next: inner.rank(byte) + 1 });
                    node = inner.child(byte).expect("the way to what is nearest");
                }
                Node::Inner(inner) if inner.depth == depth => {
                    // Those with the key's own byte were gone through, if there were any.
                    let next = match (key.get(depth), difference) {
                        (Some(&byte), _) => inner.rank(byte),
                        (None, None) if included => {
                            range.next = Some(node);
                            return;
                        }
                        // The key ends here, and is the one that is left out; or there is none.
                        (None, _) => 0,
                    };
                    range.way.push(Step { inner, next });
                    return;
                }
                // Everything beneath is before the key, or it is behind it.
                _ => {
                    let is_behind = match difference {
                        Some(at) => key.get(at) < nearest.key.get(at),
                        None => included,
                    };
                    range.next = is_behind.then_some(node);
                    return;
                }
            }
        }
    }

    /// The last key before `end`; of all, if there is no end.
    pub fn last_before(&self, end: Bound<&[u8]>) -> Option<(&Bytes, &V)> {
        let (key, included) = match end {
            Bound::Unbounded => return self.root.as_ref().map(last_of),
            Bound::Included(key) => (key, true),
            Bound::Excluded(key) => (key, false),
        };
        let nearest = self.nearest(key)?;
        let difference = first_difference(key, &nearest.key);
        let depth = difference.unwrap_or(key.len());
        let mut node = self.root.as_ref()?;
        // What lies before the way, as near to it as there is.
        let mut before = None;
        loop {
            match node {
                Node::Inner(inner) if inner.depth < depth => {
                    let byte = key[inner.depth];
                    before = inner.last_member_before(byte).or(before);
                    node = inner.child(byte).expect("the way to what is nearest");
                }
                Node::Inner(inner) if inner.depth == depth => {
                    let found = match (key.get(depth), difference) {
                        (Some(&byte), _) => inner.last_member_before(byte),
                        (None, None) if included => inner.ended.as_deref().map(Member::Leaf),
                        (None, _) => None,
                    };
                    return found.or(before).map(Member::last);
                }
                _ => {
                    let is_before = match difference {
                        Some(at) => nearest.key.get(at) < key.get(at),
                        None => included,
                    };
                    return match is_before {
                        true => Some(last_of(node)),
                        false => before.map(Member::last),
                    };
                }
            }
        }
    }

    /// Keeps those of which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        let mut kept = RadixMap { root: None };
        self.drain(|leaf| {
            if keep(&leaf.value) {
                kept.insert(leaf.key, leaf.value);
            }
        });
        *self = kept;
    }

    /// Takes out everything, in no order.
    fn drain(&mut self, mut each: impl FnMut(Leaf<V>)) {
        let mut nodes: Vec<Node<V>> = self.root.take().into_iter().collect();
        while let Some(node) = nodes.pop() {
            match node {
                Node::Leaf(leaf) => each(leaf),
                Node::Inner(mut inner) => {
                    nodes.append(&mut inner.children);
                    if let Some(leaf) = inner.ended.take() {
                        each(*leaf);
                    }
                }
            }
        }
    }
}

impl<V> Drop for RadixMap<V> {
    fn drop(&mut self) {
        self.drain(drop);
    }
}

impl<V> fmt::Debug for RadixMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RadixMap")
    }
}

/// What is found by one byte, or by the end of a key.
enum Member<'m, V> {
    Leaf(&'m Leaf<V>),
    Node(&'m Node<V>),
}

impl<'m, V> Member<'m, V> {
    fn last(self) -> (&'m Bytes, &'m V) {
        match self {
            Member::Leaf(leaf) => (&leaf.key, &leaf.value),
            Member::Node(node) => last_of(node),
        }
    }
}

impl<V> Inner<V> {
    fn last_member_before(&self, byte: u8) -> Option<Member<'_, V>> {
        match self.rank(byte).checked_sub(1) {
            Some(last) => self.children.get(last).map(Member::Node),
            None => self.ended.as_deref().map(Member::Leaf),
        }
    }
}

fn last_of<V>(mut node: &Node<V>) -> (&Bytes, &V) {
    loop {
        match node {
            Node::Leaf(leaf) => return (&leaf.key, &leaf.value),
            Node::Inner(inner) => node = inner.children.last().expect("two members or more"),
        }
    }
}
