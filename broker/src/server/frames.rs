//! Bytes of a socket to frames: bounded before they are read, and taken as they really arrive.
//!
//! ```text
//! i32 length │ i16 api key │ i16 version │ …
//! └────────── looked at before anything more is read ┘
//! ```

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

use super::ServerConfig;
use super::memory::{Budget, Lease};
use crate::protocol::ApiKey;

/// Small requests, several of them if they are pipelined, come by one read of this size.
const AHEAD_BYTES: usize = 4096;
const LENGTH_BYTES: usize = 4;
/// Length, api key and version.
const HEAD_BYTES: usize = 8;
/// Api key, version and correlation id: less is no request.
const FRAME_BYTES_MIN: usize = 8;
/// What a frame takes before anything of it has arrived, and in which the budget has no part.
const FREE_BYTES: usize = 16 * 1024;
/// Up to here a frame's buffer grows by `FAST_GROWTH`, beyond it by 2: each time all that has come
/// is copied, and most produce requests, which are not larger, should be copied once or twice.
const FAST_GROWTH_BYTES: usize = 1 << 20;
const FAST_GROWTH: usize = 8;
/// How much a decoded request can take for each byte of its frame. Produce is mostly records,
/// which stay as they are.
const DECODED_FACTOR: usize = 38;
/// A frame that comes slower than this, over the time of a stall, is not waited for.
const BYTES_PER_SECOND_MIN: usize = 256 * 1024;

/// One request, not yet decoded.
#[derive(Debug)]
pub struct RawFrame {
    pub bytes: Bytes,
    pub lease: Lease,
}

/// Why a connection brings no more frames.
#[derive(Debug, Error)]
pub enum FrameError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection ended after {have} of the {need} bytes of a request")]
    CutOff { have: usize, need: usize },
    #[error("not a request of Kafka's protocol: {0}")]
    Foreign(&'static str),
    #[error("a request of {0} bytes is none")]
    Length(i32),
    #[error("a request of {length} bytes is larger than the {max} that {api} may have")]
    TooLong { api: ApiKey, length: usize, max: usize },
    #[error("a request asks for api key {0}, which is not served here")]
    UnknownApi(i16),
    #[error("a request asks for {api} v{version}, which is not served here")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    #[error("a request asks for {0} before it is known who asks")]
    Unknown(ApiKey),
    #[error("a message of {length} bytes is larger than the {max} before authentication")]
    MessageTooLong { length: i64, max: usize },
}

/// Reads frames, one after the other.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: R,
    /// What came with what was asked for. A connection on which nothing comes has no buffer.
    ahead: Bytes,
    produce_bytes_max: usize,
    request_bytes_max: usize,
    stall_timeout: Duration,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    frame: Option<Incoming>,
    limits: Limits,
    /// What a slow client is measured by; `None` between frames.
    pace: Option<Pace>,
    /// It is not the client that holds up the frame now.
    waits_for_memory: bool,
}

/// What may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// All requests.
    Known,
    /// Of a client that is not known yet: only how it becomes known, in frames up to so many bytes.
    Unknown { bytes_max: usize },
    /// A frame of bytes that are no request, up to so many.
    Bare { bytes_max: usize },
}

/// How far a frame had come, and when. Whoever holds a part of the budget must go on, however much
/// has come before.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    have: usize,
}

/// A frame whose head was good.
#[derive(Debug)]
struct Incoming {
    bytes: BytesMut,
    len: usize,
    /// Bytes of the budget for each byte.
    weight: usize,
    lease: Lease,
}

impl Pace {
    /// Starts anew once as much has come as must come in the time of a stall.
    fn after(self, have: usize, stall_timeout: Duration) -> Pace {
        let enough = stall_timeout.as_secs_f64() * BYTES_PER_SECOND_MIN as f64;
        let is_enough = (have - self.have) as f64 >= enough;
        if is_enough { Pace { since: Instant::now(), have } } else { self }
    }
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub fn new(input: R, config: &ServerConfig) -> FrameReader<R> {
        FrameReader {
            input,
            ahead: Bytes::new(),
            produce_bytes_max: config.produce_bytes_max,
            request_bytes_max: config.request_bytes_max,
            stall_timeout: config.stall_timeout,
            head: [0; HEAD_BYTES],
            head_len: 0,
            frame: None,
            limits: Limits::Known,
            pace: None,
            waits_for_memory: false,
        }
    }

    /// Says what may come from the next frame on.
    pub fn limit(&mut self, limits: Limits) {
        debug_assert!(self.head_len == 0 && self.frame.is_none(), "between frames");
        self.limits = limits;
    }

    /// When the frame that has begun must have ended, or have come further; `None` between frames.
    pub fn deadline(&self) -> Option<Instant> {
        self.pace.filter(|_| !self.waits_for_memory).map(|pace| pace.since + self.stall_timeout)
    }

    /// The next frame, or `None` if the connection has ended between frames. Safe to cancel.
    pub async fn next(&mut self, budget: &Budget) -> Result<Option<RawFrame>, FrameError> {
        while self.frame.is_none() {
            let need = match self.limits {
                Limits::Bare { .. } => LENGTH_BYTES,
                _ => HEAD_BYTES,
            };
            if self.head_len == need {
                self.frame = Some(self.check_head()?);
                break;
            }
            if self.ahead.is_empty() {
                self.ahead = read_ahead(&mut self.input).await?;
            }
            let read = self.ahead.len().min(need - self.head_len);
            match (read, self.head_len) {
                (0, 0) => return Ok(None),
                (0, have) => return Err(FrameError::CutOff { have, need }),
                (_, have) => {
                    self.head[have..][..read].copy_from_slice(&take(&mut self.ahead, read))
                }
            }
            self.head_len += read;
            self.pace.get_or_insert_with(|| Pace { since: Instant::now(), have: 0 });
        }
        let frame = self.frame.as_mut().expect("set above");
        while frame.bytes.len() < frame.len {
            let (have, missing) = (frame.bytes.len(), frame.len - frame.bytes.len());
            if frame.bytes.capacity() == have {
                let factor = if have < FAST_GROWTH_BYTES { FAST_GROWTH } else { 2 };
                let more = missing.min((have * (factor - 1)).max(FREE_BYTES));
                if have + more > FREE_BYTES {
                    self.waits_for_memory = true;
                    let since = Instant::now();
                    budget.cover(&mut frame.lease, (have + more) * frame.weight).await;
                    self.waits_for_memory = false;
                    if let Some(pace) = &mut self.pace {
                        pace.since += since.elapsed();
                    }
                }
                frame.bytes.reserve(more);
            }
            let read = if self.ahead.is_empty() && missing >= AHEAD_BYTES {
                self.input.read_buf(&mut (&mut frame.bytes).limit(missing)).await?
            } else {
                if self.ahead.is_empty() {
                    self.ahead = read_ahead(&mut self.input).await?;
                }
                let read = self.ahead.len().min(missing).min(frame.bytes.capacity() - have);
                frame.bytes.put(take(&mut self.ahead, read));
                read
            };
            if read == 0 {
                return Err(FrameError::CutOff { have, need: frame.len });
            }
            self.pace = self.pace.map(|pace| pace.after(have + read, self.stall_timeout));
        }
        self.head_len = 0;
        self.pace = None;
        let frame = self.frame.take().expect("set above");
        Ok(Some(RawFrame { bytes: frame.bytes.freeze(), lease: frame.lease }))
    }

    /// Decides by the first bytes whether the rest is worth reading.
    fn check_head(&self) -> Result<Incoming, FrameError> {
        let [l0, l1, l2, l3, k0, k1, v0, v1] = self.head;
        if let Some(what) = foreign(&self.head) {
            return Err(FrameError::Foreign(what));
        }
        let length = i32::from_be_bytes([l0, l1, l2, l3]);
        if let Limits::Bare { bytes_max } = self.limits {
            return bare(length, bytes_max);
        }
        let len = match usize::try_from(length) {
            Ok(len) if len >= FRAME_BYTES_MIN => len,
            _ => return Err(FrameError::Length(length)),
        };
        let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
        let api = ApiKey::from_i16(key).ok_or(FrameError::UnknownApi(key))?;
        let served = api.versions().contains(&version);
        if self.limits != Limits::Known && !leads_to_authentication(api) {
            return Err(FrameError::Unknown(api));
        }
        // Asked too high, ApiVersions is answered all the same, with what is served (KIP-511).
        if !served && api != ApiKey::ApiVersions {
            return Err(FrameError::UnsupportedVersion { api, version });
        }
        let (max, weight) = match (self.limits, api) {
            (Limits::Unknown { bytes_max }, _) => (bytes_max, 1),
            (_, ApiKey::Produce) => (self.produce_bytes_max, 1),
            _ => (self.request_bytes_max, DECODED_FACTOR),
        };
        if len > max {
            return Err(FrameError::TooLong { api, length: len, max });
        }
        let mut bytes = BytesMut::with_capacity(len.min(FREE_BYTES));
        bytes.put_slice(&self.head[LENGTH_BYTES..]);
        Ok(Incoming { bytes, len, weight, lease: Lease::default() })
    }
}

/// What has arrived, up to `AHEAD_BYTES`; nothing if the connection has ended. Safe to cancel, and
/// nothing is allocated while this waits.
async fn read_ahead(input: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    poll_fn(|cx| {
        let mut bytes = [MaybeUninit::uninit(); AHEAD_BYTES];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(&mut *input).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
    })
    .await
}

/// The first `len` of `ahead`, whose memory is free once all is taken.
fn take(ahead: &mut Bytes, len: usize) -> Bytes {
    if len == ahead.len() { std::mem::take(ahead) } else { ahead.split_to(len) }
}

/// What is served to whoever is not known yet.
fn leads_to_authentication(api: ApiKey) -> bool {
    matches!(api, ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
}

/// A frame without a request's head.
fn bare(length: i32, max: usize) -> Result<Incoming, FrameError> {
    let len = usize::try_from(length).ok().filter(|len| *len <= max);
    let Some(len) = len else {
        return Err(FrameError::MessageTooLong { length: i64::from(length), max });
    };
    let bytes = BytesMut::with_capacity(len.min(FREE_BYTES));
    Ok(Incoming { bytes, len, weight: 1, lease: Lease::default() })
}

/// What else comes to a port now and then.
fn foreign(head: &[u8; HEAD_BYTES]) -> Option<&'static str> {
    match head {
        [0x16, 0x03, ..] => Some("it begins a TLS session, and this listener speaks plain text"),
        [b'G', b'E', b'T', b' ', ..] | [b'P', b'O', b'S', b'T', ..] => Some("it is HTTP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A produce request of `len` bytes, each of which tells its place.
    fn frame(len: usize, number: usize) -> Vec<u8> {
        let mut frame = (len as u32).to_be_bytes().to_vec();
        frame.extend_from_slice(&[0, 0, 0, 9]);
        frame.extend((4..len).map(|at| (at * 7 + number) as u8));
        frame
    }

    /// How much is kept while nothing more comes.
    async fn ahead(reader: &mut FrameReader<impl AsyncRead + Unpin>, budget: &Budget) -> usize {
        let waited = tokio::time::timeout(Duration::from_millis(1), reader.next(budget)).await;
        assert!(waited.is_err(), "it waits for more");
        reader.ahead.len()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_are_the_same_however_they_arrive(
            lens in prop::collection::vec(
                prop_oneof![8..100_usize, 4_000..5_000_usize, 10_000..300_000_usize], 1..6),
            chunks in prop::collection::vec(
                prop_oneof![1..20_usize, 4_090..4_110_usize, 1_000..200_000_usize], 1..20),
        ) {
            let sent: Vec<Vec<u8>> =
                lens.iter().enumerate().map(|(number, len)| frame(*len, number)).collect();
            let bytes = sent.concat();
            // Not so small that a large frame comes in thousands of them.
            let least = bytes.len() / 200;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let read = runtime.expect("a runtime").block_on(async {
                let (mut client, server) = tokio::io::duplex(1 << 20);
                let config = ServerConfig::new("127.0.0.1:0");
                let budget = Budget::new(1 << 20);
                let mut reader = FrameReader::new(server, &config);
                let send = async {
                    let mut rest = bytes.as_slice();
                    for chunk in chunks.iter().cycle() {
                        let (now, later) = rest.split_at(rest.len().min(*chunk.max(&least)));
                        client.write_all(now).await.expect("it reads");
                        tokio::task::yield_now().await;
                        rest = later;
                        if rest.is_empty() {
                            break;
                        }
                    }
                    drop(client);
                };
                let receive = async {
                    let mut read = Vec::new();
                    while let Some(frame) = reader.next(&budget).await.expect("good frames") {
                        read.push(frame.bytes);
                    }
                    read
                };
                tokio::join!(send, receive).1
            });
            prop_assert_eq!(read.len(), sent.len());
            for (read, sent) in read.iter().zip(&sent) {
                prop_assert!(read[..] == sent[LENGTH_BYTES..]);
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_of_what_has_been_taken() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let budget = Budget::new(1 << 20);
        let mut reader = FrameReader::new(server, &ServerConfig::new("127.0.0.1:0"));
        assert_eq!(ahead(&mut reader, &budget).await, 0);
        // Two requests by one read; the second stays until it is asked for.
        client.write_all(&[frame(100, 0), frame(60, 1)].concat()).await.unwrap();
        assert_eq!(reader.next(&budget).await.unwrap().unwrap().bytes.len(), 100);
        assert_eq!(reader.ahead.len(), 64);
        assert_eq!(reader.next(&budget).await.unwrap().unwrap().bytes.len(), 60);
        assert_eq!(ahead(&mut reader, &budget).await, 0);
        client.write_all(&frame(100, 0)[..50]).await.unwrap();
        drop(client);
        let cut_off = reader.next(&budget).await.unwrap_err();
        assert_eq!(
            cut_off.to_string(),
            "the connection ended after 46 of the 100 bytes of a request"
        );
    }
}
