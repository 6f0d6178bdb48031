//! Random numbers that are the same each time (SplitMix64).

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// Those of one record: they do not depend on the records before it.
    pub fn of(seed: u64, number: u64) -> Random {
        let mut random = Random(seed ^ number.wrapping_mul(STEP).rotate_left(32));
        // Neighbours are to have nothing in common.
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to, and not including, `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From one to the other, both included.
    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        let span = most.wrapping_sub(least) as u64;
        match span.checked_add(1) {
            Some(end) => least.wrapping_add(self.below(end) as i64),
            None => self.next() as i64,
        }
    }

    /// From 0 up to, and not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_each_time_and_evenly_spread() {
        let first = |number| Random::of(7, number).next();
        assert_eq!(first(3), first(3));
        assert_ne!(first(3), Random::of(8, 3).next());
        let mut counts = [0u32; 10];
        for number in 0..10_000 {
            counts[Random::of(7, number).below(10) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        let mut random = Random::of(0, 0);
        for _ in 0..1000 {
            assert!((-3..=3).contains(&random.between(-3, 3)));
            assert!((0.0..1.0).contains(&random.share()));
        }
        assert_eq!(random.between(5, 5), 5);
        random.between(i64::MIN, i64::MAX);
    }
}
