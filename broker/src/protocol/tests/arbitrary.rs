//! Random values of every declared struct, from a seed.

use bytes::Bytes;
use uuid::Uuid;

use crate::protocol::error_code::ErrorCode;
use crate::protocol::types::Wire;
use crate::protocol::wire::Form;

/// A random value in which all is set that the version has.
pub trait Arbitrary: Wire {
    fn arbitrary(random: &mut Random, form: Form) -> Self;
}

/// SplitMix64: small, seeded, and good enough to vary values.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.bits() as u8).collect()
    }

    pub fn field<T: Arbitrary>(&mut self, form: Form, nullable: bool) -> T {
        loop {
            let value = T::arbitrary(self, form);
            if nullable || !value.is_null() {
                return value;
            }
        }
    }

    /// Mostly short; now and then long enough that its length takes two bytes as a varint, or
    /// that bytes are shared instead of copied.
    fn length(&mut self) -> usize {
        match self.below(40) {
            0 => 128 + self.below(200),
            1 => 2000 + self.below(100),
            _ => self.below(12),
        }
    }
}

macro_rules! arbitrary_integers {
    ($($type:ty)+) => { $(
        impl Arbitrary for $type {
            fn arbitrary(random: &mut Random, _: Form) -> Self {
                match random.below(4) {
                    0 => 0,
                    1 => (0 as $type).wrapping_sub(1),
                    _ => random.bits() as $type,
                }
            }
        }
    )+ };
}

arbitrary_integers! { i8 i16 i32 i64 u16 }

impl Arbitrary for f64 {
    fn arbitrary(random: &mut Random, _: Form) -> Self {
        random.bits() as f64 / 1000.0
    }
}

impl Arbitrary for bool {
    fn arbitrary(random: &mut Random, _: Form) -> Self {
        random.below(2) == 1
    }
}

impl Arbitrary for ErrorCode {
    fn arbitrary(random: &mut Random, _: Form) -> Self {
        ErrorCode::ALL[random.below(ErrorCode::ALL.len())]
    }
}

impl Arbitrary for Uuid {
    fn arbitrary(random: &mut Random, _: Form) -> Self {
        Uuid::from_u64_pair(random.bits(), random.bits())
    }
}

impl Arbitrary for String {
    fn arbitrary(random: &mut Random, _: Form) -> Self {
        (0..random.length())
            .map(|_| ['a', 'Z', '.', '-', 'ø', '流', '🚂'][random.below(7)])
            .collect()
    }
}

impl Arbitrary for Bytes {
    fn arbitrary(random: &mut Random, _: Form) -> Self {
        let length = random.length();
        random.bytes(length).into()
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(random: &mut Random, form: Form) -> Self {
        (0..random.below(4)).map(|_| T::arbitrary(random, form)).collect()
    }
}

impl<T: Arbitrary> Arbitrary for Option<T>
where
    Option<T>: Wire,
{
    fn arbitrary(random: &mut Random, form: Form) -> Self {
        (random.below(4) > 0).then(|| T::arbitrary(random, form))
    }
}
