//! The tree beside a sorted map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Keys that share long beginnings, begin each other, and have many bytes at one place.
    let byte = prop_oneof![Just(0), Just(7), Just(255), any::<u8>()];
    prop_oneof![
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 255]), 0..5),
        prop::collection::vec(byte, 0..4),
        (any::<bool>(), any::<u8>(), 0..3u8).prop_map(|(long, byte, last)| {
            let mut key = vec![9; if long { 21 } else { 12 }];
            key.extend([byte, last]);
            key
        }),
    ]
}

/// A key to put, or to take out.
fn step() -> impl Strategy<Value = (Vec<u8>, Option<u32>)> {
    (key(), prop::option::weighted(0.7, any::<u32>()))
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded),
    ]
}

/// What the tree keeps to: see the invariants above.
fn check_nodes(map: &RadixMap<u32>) {
    let mut nodes: Vec<(&Node<u32>, usize)> = map.root.iter().map(|root| (root, 0)).collect();
    while let Some((node, depth)) = nodes.pop() {
        let Node::Inner(inner) = node else { continue };
        assert!(inner.depth >= depth);
        assert!(inner.children.len() + usize::from(inner.ended.is_some()) >= 2);
        let present: u32 = inner.present.iter().map(|bits| bits.count_ones()).sum();
        assert_eq!(present as usize, inner.children.len());
        nodes.extend(inner.children.iter().map(|child| (child, inner.depth + 1)));
    }
}

fn slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

proptest! {
    #[test]
    fn it_is_a_sorted_map(
        steps in prop::collection::vec(step(), 0..400),
        probes in prop::collection::vec((bound(), bound()), 40),
        odd_go in any::<bool>(),
    ) {
        let mut map = RadixMap::default();
        let mut model: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for (key, value) in steps {
            match value {
                Some(value) => prop_assert_eq!(
                    map.insert(key.as_slice().into(), value),
                    model.insert(key.clone(), value)
                ),
                None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
            }
            prop_assert_eq!(map.get(&key), model.get(&key));
            let found = map.get_mut(&key).map(|(key, value)| (key.to_vec(), *value));
            prop_assert_eq!(found, model.get(&key).map(|value| (key, *value)));
        }
        check_nodes(&map);
        if odd_go {
            map.retain(|value| value % 2 == 0);
            model.retain(|_, value| *value % 2 == 0);
            check_nodes(&map);
        }
        for (from, to) in probes {
            let found = map.range(slice(&from), slice(&to));
            let found: Vec<_> = found.map(|(key, value)| (key.to_vec(), *value)).collect();
            let is_within = |key: &[u8]| {
                let after = match &from {
                    Bound::Unbounded => true,
                    Bound::Included(from) => key >= &from[..],
                    Bound::Excluded(from) => key > &from[..],
                };
                after && match &to {
                    Bound::Unbounded => true,
                    Bound::Included(to) => key <= &to[..],
                    Bound::Excluded(to) => key < &to[..],
                }
            };
            let there = model.iter().filter(|(key, _)| is_within(key));
            let there: Vec<_> = there.map(|(key, value)| (key.clone(), *value)).collect();
            prop_assert_eq!(found, there);
            if let Bound::Included(prefix) = &from {
                let found = map.with_prefix(prefix);
                let found: Vec<_> = found.map(|(key, value)| (key.to_vec(), *value)).collect();
                let there = model.iter().filter(|(key, _)| key.starts_with(prefix));
                let there: Vec<_> = there.map(|(key, value)| (key.clone(), *value)).collect();
                prop_assert_eq!(found, there);
            }
            let last = map.last_before(slice(&to)).map(|(key, value)| (key.to_vec(), *value));
            let below = model.range::<[u8], _>((Bound::Unbounded, slice(&to))).next_back();
            prop_assert_eq!(last, below.map(|(key, value)| (key.clone(), *value)));
        }
    }
}

/// Were it dropped by recursion, a tree as deep as its keys are long would need more stack.
#[test]
fn a_deep_tree_needs_no_stack() {
    const KEYS: usize = 3000;
    let deep = || {
        let mut map = RadixMap::default();
        for len in 0..KEYS {
            map.insert(vec![b'a'; len].into(), len);
        }
        assert_eq!(map.all().count(), KEYS);
        map.retain(|len| len % 2 == 0);
        assert_eq!(map.last_before(Bound::Unbounded).map(|(_, len)| *len), Some(KEYS - 2));
    };
    let thread = std::thread::Builder::new().stack_size(64 << 10).spawn(deep);
    thread.unwrap().join().unwrap();
}
