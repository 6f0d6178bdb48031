//! What can be asked of a broker: the APIs that are served here, and one that only others serve.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::protocol::messages::k69_consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use crate::protocol::{
    Ask, DecodeError, EncodeError, Frame, Message, RequestHeader, decode_answer, decode_response,
    encode_question, encode_request,
};

/// A request and what answers it.
pub(super) trait Question: Clone {
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

impl Question for ConsumerGroupDescribeRequest {
    const KEY: i16 = 69;
    const NAME: &'static str = "ConsumerGroupDescribe";
    type Answer = ConsumerGroupDescribeResponse;

    fn versions() -> RangeInclusive<i16> {
        Self::VERSIONS
    }

    fn encode(self, version: i16, id: i32, client_id: &str) -> Result<Frame, EncodeError> {
        encode_question(Self::KEY, version, id, client_id, &self)
    }

    fn decode(version: i16, frame: Bytes) -> Result<(i32, Option<Self::Answer>), DecodeError> {
        let (id, answer) = decode_answer(version, frame)?;
        Ok((id, Some(answer)))
    }
}
