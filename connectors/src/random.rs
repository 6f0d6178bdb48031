//! Chance, to keep apart what would meet again and again.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Another number each time: nothing that must not be guessed.
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::random;

    #[test]
    fn it_is_another_each_time() {
        assert_ne!(random(), random());
    }
}
