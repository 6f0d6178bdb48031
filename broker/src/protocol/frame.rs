//! Requests and responses as they stand on a connection.
//!
//! ```text
//! request    i32 length │ i16 api key │ i16 version │ i32 correlation id │ string client id
//!                       │ tagged fields when the request is flexible │ body
//! response   i32 length │ i32 correlation id
//!                       │ tagged fields when the response is flexible │ body
//! ```
//!
//! The client id is never compact, and the header of an ApiVersions response is never flexible:
//! a client has to read it before it knows which versions the broker has (KIP-511).
//!
//! Frames are encoded with their length and decoded without it: whoever reads from a socket has
//! to see the length first, to bound it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::api::{ApiKey, Request, Response};
use super::error::{DecodeError, EncodeError, Fault, RequestError};
use super::types::Wire;
use super::wire::{Form, Reader, Writer};

/// A form for the header's classic fields.
const CLASSIC: Form = Form { version: 0, flexible: false };

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: ApiKey,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

/// An encoded frame in segments, for vectored writes: small fields lie together, large byte
/// strings are shared with whoever gave them.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    segments: VecDeque<Bytes>,
    remaining: usize,
}

impl Frame {
    pub(super) fn new(segments: Vec<Bytes>) -> Frame {
        let remaining = segments.iter().map(Bytes::len).sum();
        Frame { segments: segments.into(), remaining }
    }

    /// Bytes that are no response, with their length before them.
    pub fn bare(bytes: Vec<u8>) -> Frame {
        let length = i32::try_from(bytes.len()).expect("whoever makes it keeps it small");
        Frame::new(vec![Bytes::copy_from_slice(&length.to_be_bytes()), Bytes::from(bytes)])
    }

    pub fn segments(&self) -> impl Iterator<Item = &Bytes> {
        self.segments.iter()
    }

    /// Puts another frame behind this one, to be sent in the same write.
    pub fn append(&mut self, mut other: Frame) {
        self.segments.append(&mut other.segments);
        self.remaining += other.remaining;
    }
}

/// Sent with tokio's `write_all_buf`, which writes as many segments at once as the system takes.
impl Buf for Frame {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "a frame cannot advance past its end");
        self.remaining -= count;
        while count > 0 {
            let first = self.segments.front_mut().expect("the count lies within the segments");
            if count < first.len() {
                return first.advance(count);
            }
            count -= first.len();
            self.segments.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            *slice = IoSlice::new(segment);
            filled += 1;
        }
        filled
    }
}

/// Decodes a request from a frame without its length. Records and other bytes in the request
/// are slices of the frame and keep it alive: who stores them longer than the request lasts
/// should copy them. Bytes behind the request are ignored, as Kafka does.
///
/// A decoded request takes up to 38 times its frame (a frame full of empty groups in OffsetFetch;
/// Produce takes next to nothing), so the limit on frames is also the limit on memory.
pub fn decode_request(frame: Bytes) -> Result<(RequestHeader, Request), RequestError> {
    let mut input = Reader::new(frame);
    let header = decode_request_header(&mut input)?;
    let request = Request::decode(header.api, header.version, &mut input)?;
    Ok((header, request))
}

fn decode_request_header(input: &mut Reader) -> Result<RequestHeader, RequestError> {
    let of_header = |fault: Fault| fault.of("RequestHeader", 0);
    let api_key = input.i16().map_err(of_header)?;
    let version = input.i16().map_err(of_header)?;
    let correlation_id = input.i32().map_err(of_header)?;
    let Some(api) = ApiKey::from_i16(api_key) else {
        return Err(RequestError::UnknownApi { api_key, version, correlation_id });
    };
    if !api.versions().contains(&version) {
        return Err(RequestError::UnsupportedVersion { api, version, correlation_id });
    }
    let in_header = |fault: Fault| fault.of("RequestHeader", api.request_header_version(version));
    let client_id = Option::<String>::read(input, CLASSIC)
        .map_err(|fault| in_header(fault.within("client_id")))?;
    if api.request_header_version(version) >= 2 {
        input.tagged_fields(&mut |_, _| Ok(false)).map_err(in_header)?;
    }
    Ok(RequestHeader { api, version, correlation_id, client_id })
}

/// Encodes a response, length included, to be sent as it is.
pub fn encode_response(
    correlation_id: i32,
    version: i16,
    response: &Response,
) -> Result<Frame, EncodeError> {
    let api = response.api();
    let mut out = Writer::framed();
    out.put(&correlation_id.to_be_bytes());
    if api.response_header_version(version) >= 1 {
        out.put_tagged_fields(Vec::new());
    }
    response.encode(version, &mut out)?;
    out.into_frame().map_err(|refusal| refusal.of(api.name(), version))
}

/// Encodes a request, length included. The header's api must be the request's.
pub fn encode_request(header: &RequestHeader, request: &Request) -> Result<Frame, EncodeError> {
    let RequestHeader { api, version, .. } = *header;
    debug_assert_eq!(api, request.api());
    let of_header = |refusal: super::error::Refusal| refusal.of("RequestHeader", version);
    let mut out = Writer::framed();
    out.put(&(api as i16).to_be_bytes());
    out.put(&version.to_be_bytes());
    out.put(&header.correlation_id.to_be_bytes());
    let client_id = header.client_id.write(&mut out, CLASSIC);
    client_id.map_err(|refusal| of_header(refusal.within("client_id")))?;
    if api.request_header_version(version) >= 2 {
        out.put_tagged_fields(Vec::new());
    }
    request.encode(version, &mut out)?;
    out.into_frame().map_err(of_header)
}

/// Decodes a response from a frame without its length: its correlation id and itself.
pub fn decode_response(
    api: ApiKey,
    version: i16,
    frame: Bytes,
) -> Result<(i32, Response), DecodeError> {
    let mut input = Reader::new(frame);
    let header_version = api.response_header_version(version);
    let of_header = |fault: Fault| fault.of("ResponseHeader", header_version);
    let correlation_id = input.i32().map_err(of_header)?;
    if header_version >= 1 {
        input.tagged_fields(&mut |_, _| Ok(false)).map_err(of_header)?;
    }
    Ok((correlation_id, Response::decode(api, version, &mut input)?))
}
