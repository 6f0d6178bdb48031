//! Kafka's error codes: names, numbers, whether trying again can help, and a message for people.

use std::fmt;

/// An error as it stands in a response. 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub i16);

macro_rules! error_codes {
    ($($code:literal $name:ident $(, retriable $(@ $retriable:tt)?)? : $message:literal;)+) => {
        impl ErrorCode {
            $( pub const $name: ErrorCode = ErrorCode($code); )+

            /// Every code that is known, [`ErrorCode::NONE`] included.
            pub const ALL: &[ErrorCode] = &[$( ErrorCode::$name, )+];

            /// Kafka's name, or `UNKNOWN` for a code that is not known here.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $( $code => stringify!($name), )+
                    _ => "UNKNOWN",
                }
            }

            /// Whether the same request may succeed later, or at another broker.
            pub fn is_retriable(self) -> bool {
                match self.0 {
                    $( $code => false $(|| true $($retriable)?)?, )+
                    _ => false,
                }
            }

            pub fn message(self) -> &'static str {
                match self.0 {
                    $( $code => $message, )+
                    _ => "an error code that is not known here",
                }
            }
        }
    };
}

error_codes! {
    -1 UNKNOWN_SERVER_ERROR: "the server met an error that it did not expect";
    0 NONE: "success";
    1 OFFSET_OUT_OF_RANGE: "the offset lies outside of the log";
    2 CORRUPT_MESSAGE, retriable: "the batch fails its checksum or is malformed";
    3 UNKNOWN_TOPIC_OR_PARTITION, retriable: "there is no such topic or partition here";
    4 INVALID_FETCH_SIZE: "the fetch size is invalid";
    5 LEADER_NOT_AVAILABLE, retriable: "the partition has no leader at the moment";
    6 NOT_LEADER_OR_FOLLOWER, retriable: "this broker does not have the partition";
    7 REQUEST_TIMED_OUT, retriable: "the request took longer than its timeout";
    8 BROKER_NOT_AVAILABLE: "the broker is not available";
    9 REPLICA_NOT_AVAILABLE, retriable: "the replica is not available";
    10 MESSAGE_TOO_LARGE: "the batch is larger than max.message.bytes";
    11 STALE_CONTROLLER_EPOCH: "the controller has moved";
    12 OFFSET_METADATA_TOO_LARGE: "the metadata beside the offset is too long";
    13 NETWORK_EXCEPTION, retriable: "the connection ended before the response";
    14 COORDINATOR_LOAD_IN_PROGRESS, retriable: "the coordinator is still loading its state";
    15 COORDINATOR_NOT_AVAILABLE, retriable: "there is no coordinator at the moment";
    16 NOT_COORDINATOR, retriable: "this broker is not the coordinator";
    17 INVALID_TOPIC_EXCEPTION: "the topic's name is invalid, or the topic is internal";
    18 RECORD_LIST_TOO_LARGE: "the batches are larger than a segment may be";
    19 NOT_ENOUGH_REPLICAS, retriable: "too few replicas are in sync, nothing was written";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND, retriable: "written, but to too few replicas";
    21 INVALID_REQUIRED_ACKS: "acks must be 0, 1 or -1";
    22 ILLEGAL_GENERATION: "the group is at another generation";
    23 INCONSISTENT_GROUP_PROTOCOL: "the member has no protocol in common with its group";
    24 INVALID_GROUP_ID: "the group id is invalid";
    25 UNKNOWN_MEMBER_ID: "the group has no such member";
    26 INVALID_SESSION_TIMEOUT: "the session timeout is outside of the broker's bounds";
    27 REBALANCE_IN_PROGRESS: "the group rebalances, join again";
    28 INVALID_COMMIT_OFFSET_SIZE: "the offset commit is too large to be stored";
    29 TOPIC_AUTHORIZATION_FAILED: "not permitted on this topic";
    30 GROUP_AUTHORIZATION_FAILED: "not permitted on this group";
    31 CLUSTER_AUTHORIZATION_FAILED: "not permitted on this cluster";
    32 INVALID_TIMESTAMP: "a record's timestamp is outside of the permitted range";
    33 UNSUPPORTED_SASL_MECHANISM: "the SASL mechanism is not supported";
    34 ILLEGAL_SASL_STATE: "the request does not fit the state of the SASL exchange";
    35 UNSUPPORTED_VERSION: "this version of the api is not supported";
    36 TOPIC_ALREADY_EXISTS: "a topic of this name exists already";
    37 INVALID_PARTITIONS: "the number of partitions is invalid";
    38 INVALID_REPLICATION_FACTOR: "the replication factor is below 1 or above the broker count";
    39 INVALID_REPLICA_ASSIGNMENT: "the replica assignment is invalid";
    40 INVALID_CONFIG: "the configuration is invalid";
    41 NOT_CONTROLLER, retriable: "this broker is not the controller";
    42 INVALID_REQUEST: "the request contradicts itself";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT: "the log's record format does not permit this";
    44 POLICY_VIOLATION: "the request violates a policy of the broker";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER: "a batch of this producer is missing before this one";
    46 DUPLICATE_SEQUENCE_NUMBER: "the batch was appended already";
    47 INVALID_PRODUCER_EPOCH: "the producer's epoch is outdated";
    48 INVALID_TXN_STATE: "the transaction's state does not permit this";
    49 INVALID_PRODUCER_ID_MAPPING: "the transactional id has another producer id";
    50 INVALID_TRANSACTION_TIMEOUT: "the timeout is above transaction.max.timeout.ms";
    51 CONCURRENT_TRANSACTIONS, retriable: "the transaction's last change is still under way";
    52 TRANSACTION_COORDINATOR_FENCED: "the transaction has a newer coordinator";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "not permitted on this transactional id";
    54 SECURITY_DISABLED: "security features are off";
    55 OPERATION_NOT_ATTEMPTED: "not attempted, since another part of the request failed";
    56 KAFKA_STORAGE_ERROR, retriable: "the log's disk failed";
    57 LOG_DIR_NOT_FOUND: "the broker has no such log directory";
    58 SASL_AUTHENTICATION_FAILED: "SASL authentication failed";
    59 UNKNOWN_PRODUCER_ID: "the partition no longer remembers this producer";
    60 REASSIGNMENT_IN_PROGRESS: "the partition is being reassigned";
    61 DELEGATION_TOKEN_AUTH_DISABLED: "delegation tokens are off";
    62 DELEGATION_TOKEN_NOT_FOUND: "there is no such delegation token";
    63 DELEGATION_TOKEN_OWNER_MISMATCH: "the principal does not own the delegation token";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: "delegation tokens need another kind of connection";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED: "not permitted on this delegation token";
    66 DELEGATION_TOKEN_EXPIRED: "the delegation token has expired";
    67 INVALID_PRINCIPAL_TYPE: "the type of principal is not supported";
    68 NON_EMPTY_GROUP: "the group still has members";
    69 GROUP_ID_NOT_FOUND: "there is no such group";
    70 FETCH_SESSION_ID_NOT_FOUND, retriable: "there is no such fetch session";
    71 INVALID_FETCH_SESSION_EPOCH, retriable: "the fetch session is at another epoch";
    72 LISTENER_NOT_FOUND, retriable: "the leader has no listener of this name";
    73 TOPIC_DELETION_DISABLED: "topics may not be deleted here";
    74 FENCED_LEADER_EPOCH, retriable: "the request's leader epoch is older than the partition's";
    75 UNKNOWN_LEADER_EPOCH, retriable: "the request's leader epoch is newer than the partition's";
    76 UNSUPPORTED_COMPRESSION_TYPE: "the client cannot decompress this partition";
    77 STALE_BROKER_EPOCH: "the broker has registered anew since";
    78 OFFSET_NOT_AVAILABLE, retriable: "the new leader does not know its high watermark yet";
    79 MEMBER_ID_REQUIRED: "join again with the member id of this response";
    80 PREFERRED_LEADER_NOT_AVAILABLE, retriable: "the preferred leader is not available";
    81 GROUP_MAX_SIZE_REACHED: "the group has as many members as it may have";
    82 FENCED_INSTANCE_ID: "another member has taken this group.instance.id";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE, retriable: "no replica may become leader at the moment";
    84 ELECTION_NOT_NEEDED, retriable: "the partition has the right leader already";
    85 NO_REASSIGNMENT_IN_PROGRESS: "the partition is not being reassigned";
    86 GROUP_SUBSCRIBED_TO_TOPIC: "the group still reads this topic";
    87 INVALID_RECORD: "a record is invalid for this topic";
    88 UNSTABLE_OFFSET_COMMIT, retriable: "offsets wait for a transaction to end";
    89 THROTTLING_QUOTA_EXCEEDED, retriable: "the quota is used up";
    90 PRODUCER_FENCED: "a newer producer has the same transactional id";
    91 RESOURCE_NOT_FOUND: "there is no such resource";
    92 DUPLICATE_RESOURCE: "the request names a resource twice";
    93 UNACCEPTABLE_CREDENTIAL: "the credential does not meet the rules";
    94 INCONSISTENT_VOTER_SET: "sender and receiver disagree about the voters";
    95 INVALID_UPDATE_VERSION: "the update's version is invalid";
    96 FEATURE_UPDATE_FAILED: "the features could not be updated";
    97 PRINCIPAL_DESERIALIZATION_FAILURE: "the forwarded principal cannot be read";
    98 SNAPSHOT_NOT_FOUND: "there is no such snapshot";
    99 POSITION_OUT_OF_RANGE: "the position lies outside of the snapshot";
    100 UNKNOWN_TOPIC_ID, retriable: "there is no topic of this id here";
    101 DUPLICATE_BROKER_REGISTRATION: "the broker id is registered already";
    102 BROKER_ID_NOT_REGISTERED: "the broker id is not registered";
    103 INCONSISTENT_TOPIC_ID, retriable: "the log has another topic id";
    104 INCONSISTENT_CLUSTER_ID: "the cluster has another id";
    105 TRANSACTIONAL_ID_NOT_FOUND: "there is no such transactional id";
    106 FETCH_SESSION_TOPIC_ID_ERROR, retriable: "the fetch session mixes topic names and ids";
    107 INELIGIBLE_REPLICA: "the replica may not join those in sync";
    108 NEW_LEADER_ELECTED: "the change made the partition elect another leader";
    109 OFFSET_MOVED_TO_TIERED_STORAGE: "the offset has moved to tiered storage";
    110 FENCED_MEMBER_EPOCH: "the coordinator has fenced this member epoch";
    111 UNRELEASED_INSTANCE_ID: "the group.instance.id still belongs to another member";
    112 UNSUPPORTED_ASSIGNOR: "the assignor is not supported by the whole group";
    113 STALE_MEMBER_EPOCH: "the member epoch is outdated";
    114 MISMATCHED_ENDPOINT_TYPE: "the request came to an endpoint of the wrong type";
    115 UNSUPPORTED_ENDPOINT_TYPE: "the type of endpoint is not supported";
    116 UNKNOWN_CONTROLLER_ID: "there is no such controller";
    117 UNKNOWN_SUBSCRIPTION_ID: "the telemetry subscription is outdated";
    118 TELEMETRY_TOO_LARGE: "the telemetry is larger than the broker takes";
    119 INVALID_REGISTRATION: "the controller refuses the registration";
    120 TRANSACTION_ABORTABLE: "the transaction has to be aborted, the producer may go on";
    121 INVALID_RECORD_STATE: "the record's state does not permit this acknowledgement";
    122 SHARE_SESSION_NOT_FOUND, retriable: "there is no such share session";
    123 INVALID_SHARE_SESSION_EPOCH, retriable: "the share session is at another epoch";
    124 FENCED_STATE_EPOCH: "the share coordinator has fenced this state epoch";
    125 INVALID_VOTER_KEY: "the voter's key does not match";
    126 DUPLICATE_VOTER: "the voter is a voter already";
    127 VOTER_NOT_FOUND: "there is no such voter";
    128 INVALID_REGULAR_EXPRESSION: "the regular expression is invalid";
    129 REBOOTSTRAP_REQUIRED: "the client has to begin again with its bootstrap servers";
    130 STREAMS_INVALID_TOPOLOGY: "the streams topology is invalid";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH: "the streams topology epoch is invalid";
    132 STREAMS_TOPOLOGY_FENCED: "the streams topology epoch is outdated";
    133 SHARE_SESSION_LIMIT_REACHED, retriable: "there are as many share sessions as there may be";
}

impl ErrorCode {
    pub fn is_error(self) -> bool {
        self != ErrorCode::NONE
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.name(), self.0, self.message())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::error::ResponseError;

    use super::*;

    #[test]
    fn numbers_names_and_retries_are_kafkas() {
        for code in -1..200 {
            let ours = ErrorCode::ALL.iter().find(|known| known.0 == code);
            let Some(theirs) = ResponseError::try_from_code(code) else { continue };
            if let ResponseError::Unknown(_) = theirs {
                assert_eq!(ours, None, "{code}");
                continue;
            }
            let ours = ours.unwrap_or_else(|| panic!("{code} {theirs} is missing"));
            let letters = |name: &str| name.replace('_', "").to_lowercase();
            assert_eq!(letters(ours.name()), letters(&theirs.to_string()));
            // Kafka 4 made this one retriable for transactions v2 (KIP-890).
            let retriable = theirs.is_retriable() || *ours == ErrorCode::CONCURRENT_TRANSACTIONS;
            assert_eq!(ours.is_retriable(), retriable, "{ours}");
        }
    }

    #[test]
    fn an_error_tells_its_name_number_and_meaning() {
        let text = "UNKNOWN_TOPIC_ID (100): there is no topic of this id here";
        assert_eq!(ErrorCode::UNKNOWN_TOPIC_ID.to_string(), text);
        assert!(!ErrorCode::NONE.is_error() && ErrorCode(1234).is_error());
    }
}
