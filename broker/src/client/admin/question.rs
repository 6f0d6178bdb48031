//! What can be asked of a broker: the APIs that are served here.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::protocol::{
    Ask, DecodeError, EncodeError, Frame, Message, RequestHeader, decode_response, encode_request,
};

/// A request and what answers it.
pub(in crate::client) trait Question: Clone {
    const KEY: i16;
    /// Kafka's name.
    const NAME: &'static str;
    type Answer;

    fn versions() -> RangeInclusive<i16>;
    fn encode(self, version: i16, id: i32, client_id: &str) -> Result<Frame, EncodeError>;
    /// The correlation id, and the answer if it is one to this.
    fn decode(version: i16, frame: Bytes) -> Result<(i32, Option<Self::Answer>), DecodeError>;
}

impl<R: Ask + Message + Clone> Question for R {
    const KEY: i16 = R::API as i16;
    const NAME: &'static str = R::API.name();
    type Answer = <R as Ask>::Answer;

    fn versions() -> RangeInclusive<i16> {
        R::API.versions()
    }

    fn encode(self, version: i16, id: i32, client_id: &str) -> Result<Frame, EncodeError> {
        let header = RequestHeader {
            api: R::API,
            version,
            correlation_id: id,
            client_id: Some(client_id.to_owned()),
        };
        encode_request(&header, &self.into())
    }

    fn decode(version: i16, frame: Bytes) -> Result<(i32, Option<Self::Answer>), DecodeError> {
        let (id, response) = decode_response(R::API, version, frame)?;
        Ok((id, R::answer(response)))
    }
}
