//! The latest offset of each key, in bounded memory.
//!
//! Keys are kept as 128 bits of a hash whose secret is drawn anew for each map, so that nobody can
//! make two keys that are taken for one. A map that is full takes no further keys; records with a
//! key that is not in the map are kept, so that a full map costs room in the log, never data.

use std::hash::{BuildHasher, RandomState};

use crate::ids::Offset;

/// Hash of the key, twice, and the offset plus one; 0 there marks a slot that is free.
type Slot = [u64; 3];

pub(super) const SLOT_LEN: usize = size_of::<Slot>();
/// The share of slots that are filled at most, in tenths; beyond it probes become long.
const LOAD_TENTHS_MAX: usize = 9;

#[derive(Debug)]
pub(super) struct OffsetMap {
    slots: Vec<Slot>,
    filled: usize,
    secrets: [RandomState; 2],
}

impl OffsetMap {
    /// Room for `keys`, or for fewer within `bytes_max`.
    pub fn new(keys: u64, bytes_max: usize) -> OffsetMap {
        let wanted = keys.saturating_mul(10) / LOAD_TENTHS_MAX as u64 + 1;
        let slots = wanted.min((bytes_max / SLOT_LEN) as u64).max(2) as usize;
        // Zeroed memory costs nothing until it is touched.
        OffsetMap { slots: vec![[0; 3]; slots], filled: 0, secrets: Default::default() }
    }

    /// Notes that `key` is at `offset`; offsets must grow. False if there is no room for it.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let (index, hash) = self.find(key);
        if self.slots[index][2] == 0 {
            if (self.filled + 1) * 10 > self.slots.len() * LOAD_TENTHS_MAX {
                return false;
            }
            self.filled += 1;
        }
        self.slots[index] = [hash[0], hash[1], offset.0 as u64 + 1];
        true
    }

    /// Where `key` was last, if it is in the map.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let (index, _) = self.find(key);
        self.slots[index][2].checked_sub(1).map(|offset| Offset(offset as i64))
    }

    /// The key's slot, or the free one where it belongs.
    fn find(&self, key: &[u8]) -> (usize, [u64; 2]) {
        let hash = [self.secrets[0].hash_one(key), self.secrets[1].hash_one(key)];
        let mut index = (hash[0] % self.slots.len() as u64) as usize;
        // There is always a free slot: the load is below one.
        while self.slots[index][2] != 0 && self.slots[index][..2] != hash {
            index = (index + 1) % self.slots.len();
        }
        (index, hash)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_holds_as_many_keys_as_it_has_room_for_and_goes_on_with_those() {
        let mut map = OffsetMap::new(u64::MAX, 100 * SLOT_LEN);
        let mut model = HashMap::new();
        for offset in 0..1_000i64 {
            let key = format!("key {}", offset * 7 % 143);
            if map.put(key.as_bytes(), Offset(offset)) {
                model.insert(key, offset);
            } else {
                assert!(!model.contains_key(&key), "a key that is there is updated");
            }
        }
        assert_eq!(model.len(), 90);
        for number in 0..143 {
            let key = format!("key {number}");
            assert_eq!(map.get(key.as_bytes()), model.get(&key).map(|offset| Offset(*offset)));
        }
    }

    #[test]
    fn a_small_log_takes_a_small_map() {
        let map = OffsetMap::new(9, 128 << 20);
        assert_eq!(map.slots.len(), 11);
        let mut map = OffsetMap::new(0, 0);
        assert!(map.put(b"one", Offset(0)) && !map.put(b"two", Offset(1)));
    }
}
