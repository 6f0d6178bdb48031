//! The consumer protocol, embedded in JoinGroup and SyncGroup as bytes with the version first.
//!
//! Newer versions only ever add fields at the end, so a version beyond these is read as the newest
//! known one ([`decode`]).

use bytes::Bytes;

use crate::protocol::error::DecodeError;
use crate::protocol::message::{Message, messages};
use crate::protocol::wire::Reader;

messages! {
    /// What a member reads. v1 what it owns (KIP-429), v2 since which generation (KIP-792), v3 its
    /// rack (KIP-881).
    ConsumerProtocolSubscription: 0..=3 {
        topics: Vec<String>;
        user_data: Option<Bytes>;
        owned_partitions: Vec<TopicPartition>, in 1.., ignorable;
        generation_id: i32 = -1, in 2.., ignorable;
        rack_id: Option<String>, in 3.., ignorable;
    }

    TopicPartition {
        topic: String;
        partitions: Vec<i32>;
    }

    /// What a member is given.
    ConsumerProtocolAssignment: 0..=3 {
        assigned_partitions: Vec<TopicPartition>;
        user_data: Option<Bytes>;
    }
}

/// Reads a subscription or assignment, and the version that it claims.
pub fn decode<T: Message>(bytes: &Bytes) -> Result<(i16, T), DecodeError> {
    let mut input = Reader::new(bytes.clone());
    let version = input.i16().map_err(|fault| fault.within("version").of(T::NAME, 0))?;
    let message = T::decode(&mut input, version.min(*T::VERSIONS.end()))?;
    Ok((version, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_version_is_read_as_the_newest_known() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["flights".into()],
            generation_id: 7,
            rack_id: Some("r1".into()),
            ..Default::default()
        };
        let mut newer = subscription.encode_versioned(3).unwrap().to_vec();
        newer[..2].copy_from_slice(&9i16.to_be_bytes());
        newer.extend(b"a field that we do not know");
        assert_eq!(decode(&newer.into()).unwrap(), (9, subscription));
    }

    #[test]
    fn a_negative_version_is_refused() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0]);
        let error = decode::<ConsumerProtocolAssignment>(&bytes).unwrap_err();
        let text = "ConsumerProtocolAssignment v-1 at byte 2: no such version, known are v0..v3";
        assert_eq!(error.to_string(), text);
    }
}
