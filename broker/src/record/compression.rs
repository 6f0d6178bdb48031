//! The four codecs of a record batch, each bounded: a bomb is an error, not an allocation.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

/// How the records of a batch are compressed: attributes bits 0–2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// The codec in the low bits of a batch's attributes; `None` for the numbers that have none.
    pub fn from_attributes(attributes: i16) -> Option<Compression> {
        match attributes & 0x07 {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// The attribute bits of this codec.
    pub fn attribute_bits(self) -> i16 {
        self as i16
    }

    /// Compresses `plain` as a whole.
    pub fn compress(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(plain.to_vec()),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                encoder.write_all(plain)?;
                encoder.finish()
            }
            Compression::Snappy => {
                snap::raw::Encoder::new().compress_vec(plain).map_err(io::Error::other)
            }
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(plain)?;
                encoder.finish().map_err(io::Error::other)
            }
            Compression::Zstd => zstd::bulk::compress(plain, zstd::DEFAULT_COMPRESSION_LEVEL),
        }
    }

    /// Restores what was compressed; fails if that would exceed `bytes_max`.
    pub fn decompress(self, packed: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(packed.to_vec()),
            Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(packed), bytes_max),
            Compression::Snappy => snappy(packed, bytes_max),
            Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(packed), bytes_max),
            Compression::Zstd => {
                read_bounded(zstd::stream::read::Decoder::with_buffer(packed)?, bytes_max)
            }
        }
    }
}

/// The codec's name as in Kafka's `compression.type`.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        })
    }
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(name: &str) -> Result<Compression, String> {
        match name {
            "none" | "uncompressed" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            "snappy" => Ok(Compression::Snappy),
            "lz4" => Ok(Compression::Lz4),
            "zstd" => Ok(Compression::Zstd),
            _ => Err(format!("unknown codec '{name}': none, gzip, snappy, lz4 or zstd")),
        }
    }
}

fn too_large(bytes_max: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("decompresses to more than {bytes_max} bytes"),
    )
}

fn read_bounded(mut from: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    from.by_ref().take(bytes_max as u64 + 1).read_to_end(&mut plain)?;
    if plain.len() > bytes_max { Err(too_large(bytes_max)) } else { Ok(plain) }
}

/// What Java clients put before snappy blocks (xerial's stream format).
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic, version i32, lowest compatible version i32.
const XERIAL_HEADER_LEN: usize = 16;

/// Snappy comes bare (librdkafka, Go) or in xerial's stream of length-prefixed blocks (Java).
fn snappy(packed: &[u8], bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    if !packed.starts_with(XERIAL_MAGIC) {
        snappy_block(packed, &mut plain, bytes_max)?;
        return Ok(plain);
    }
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "snappy stream is cut short");
    let mut rest = packed.get(XERIAL_HEADER_LEN..).ok_or_else(cut)?;
    while !rest.is_empty() {
        let (len, tail) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let block = tail.get(..u32::from_be_bytes(*len) as usize).ok_or_else(cut)?;
        snappy_block(block, &mut plain, bytes_max)?;
        rest = &tail[block.len()..];
    }
    Ok(plain)
}

fn snappy_block(block: &[u8], plain: &mut Vec<u8>, bytes_max: usize) -> io::Result<()> {
    let len = snap::raw::decompress_len(block).map_err(io::Error::other)?;
    if plain.len().saturating_add(len) > bytes_max {
        return Err(too_large(bytes_max));
    }
    // A block cannot grow by more than its own format allows: 64 bytes from each 3-byte copy.
    if len > block.len().saturating_mul(32) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "snappy block claims too much"));
    }
    let start = plain.len();
    plain.resize(start + len, 0);
    snap::raw::Decoder::new()
        .decompress(block, &mut plain[start..])
        .map(|_| ())
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    #[test]
    fn every_codec_restores_what_it_packed() {
        let plain = b"one line of text, and ".repeat(500);
        for codec in ALL {
            let packed = codec.compress(&plain).unwrap();
            assert_eq!(codec.decompress(&packed, plain.len()).unwrap(), plain, "{codec}");
            assert_eq!(codec.to_string().parse::<Compression>().unwrap(), codec);
            assert_eq!(Compression::from_attributes(codec.attribute_bits()), Some(codec));
        }
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let plain = vec![0u8; 1 << 20];
        for codec in &ALL[1..] {
            let packed = codec.compress(&plain).unwrap();
            let error = codec.decompress(&packed, plain.len() - 1).unwrap_err();
            assert!(error.to_string().contains("more than 1048575 bytes"), "{codec}: {error}");
        }
    }

    #[test]
    fn snappy_from_java_is_read_block_by_block() {
        let mut stream = XERIAL_MAGIC.to_vec();
        stream.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for part in [b"hello ".as_slice(), b"world"] {
            let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
            stream.extend((block.len() as u32).to_be_bytes());
            stream.extend(block);
        }
        assert_eq!(Compression::Snappy.decompress(&stream, 100).unwrap(), b"hello world");
        stream.pop();
        assert!(Compression::Snappy.decompress(&stream, 100).is_err());
    }
}
