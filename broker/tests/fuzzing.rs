//! The fuzz targets' entry points with a bounded number of seeded inputs, in every run of the
//! tests. `FUZZ_INPUTS=1000000` makes it a longer search; the seed of a failure is in its message.

#[path = "../fuzz/entries.rs"]
mod entries;

use std::panic::{AssertUnwindSafe, catch_unwind};

use broker::ids::{ProducerEpoch, ProducerId};
use broker::protocol::ApiKey;
use broker::record::{BatchBuilder, Compression, ProducerStamp};

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn inputs() -> u64 {
    let given = std::env::var("FUZZ_INPUTS").ok();
    given.map_or(300, |count| count.parse().expect("FUZZ_INPUTS is a number"))
}

/// A small generator of our own, so that a seed means the same forever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Bytes that look like a message now and then: mostly small numbers, which are plausible
    /// lengths, and some that are the largest or none.
    fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let small = 2 + self.below(8) as u8;
        let byte = |random: &mut Random| match random.below(8) {
            0 => random.next() as u8,
            1 => 0xff,
            2..5 => 0,
            _ => random.next() as u8 % small,
        };
        (0..self.below(len_max)).map(|_| byte(self)).collect()
    }
}

/// Runs one input; says which it was if that panics.
fn with_seed<T>(seed: u64, what: &str, run: impl FnOnce(Random) -> T) -> T {
    let run = || run(Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| panic!("{what}, seed {seed}"))
}

/// Every decoder in every version, so that none is left to chance.
fn each_version(decode: fn(&[u8]) -> bool) {
    for (key, api) in ApiKey::ALL.iter().enumerate() {
        let mut decoded = 0;
        let versions = api.versions().end() + 1;
        for seed in 0..inputs() {
            let version = (seed % versions as u64) as u8;
            let what = format!("{api} v{version}");
            decoded += u64::from(with_seed(seed, &what, |mut random| {
                let mut input = vec![key as u8, version];
                input.extend(random.bytes(200));
                decode(&input)
            }));
            // Nothing but zeros, or a header of zeros and empty lists in the compact form: the least
            // that could be meant.
            let len = 2 + seed as usize % 100;
            let mut input = vec![key as u8, version];
            input.resize(len, 0);
            decoded += u64::from(decode(&input));
            if let Some(body) = input[2..].split_last_mut().and_then(|(_, body)| body.get_mut(7..))
            {
                body.fill(1);
                decoded += u64::from(decode(&input));
            }
        }
        assert!(decoded > 0, "not one input got through the decoder of {api}");
    }
}

#[test]
fn every_request_decoder() {
    each_version(entries::request);
}

#[test]
fn every_response_decoder() {
    each_version(entries::response);
}

fn batch(codec: Compression, records: usize, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for number in 0..records as i64 {
        builder.append_with_headers(number, Some(b"key"), Some(value), &[("h", Some(b"v"))]);
    }
    let (producer_id, epoch) = (ProducerId(1), ProducerEpoch(0));
    let stamp = ProducerStamp { producer_id, epoch, base_sequence: 0, transactional: true };
    builder.build(stamp).into_bytes().to_vec()
}

#[test]
fn damaged_batches() {
    for codec in CODECS {
        let whole = batch(codec, 5, b"a value of some length");
        assert_eq!(entries::record_batch(&whole), 10, "read twice, {codec}");
        let mut read = 0;
        for seed in 0..inputs() {
            read += with_seed(seed, &codec.to_string(), |mut random| {
                let mut damaged = [&whole[..], &whole[..]].concat();
                for _ in 0..=random.below(3) {
                    let at = random.below(damaged.len());
                    damaged[at] = random.next() as u8;
                }
                damaged.truncate(random.below(damaged.len() + 1));
                entries::record_batch(&damaged)
            });
        }
        assert!(read > 0, "not one record of {codec} was read");
    }
    for seed in 0..inputs() {
        with_seed(seed, "no batch", |mut random| entries::record_batch(&random.bytes(300)));
    }
}

/// What 300 MB of zeros become: little to send, and more than a batch may hold.
#[test]
fn decompression_bombs() {
    let header = batch(Compression::None, 1, b"")[..broker::record::HEADER_LEN].to_vec();
    let plain = vec![0; broker::record::DECOMPRESSED_BYTES_MAX + 1];
    for codec in [Compression::Gzip, Compression::Zstd] {
        let mut bomb = header.clone();
        // The low byte of the attributes, and as many records as there can be.
        bomb[22] = codec.attribute_bits() as u8;
        bomb[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
        bomb.extend(codec.compress(&plain).unwrap());
        assert!(bomb.len() < 2 << 20, "{codec}: {} bytes", bomb.len());
        assert_eq!(entries::record_batch(&bomb), 0, "{codec}");
        for seed in 0..3 {
            with_seed(seed, &codec.to_string(), |mut random| {
                let mut damaged = bomb.clone();
                let at = header.len() + random.below(64);
                damaged[at] ^= 1 << random.below(8);
                entries::record_batch(&damaged)
            });
        }
    }
}
