//! The coordinators' errors as Kafka's codes.

use crate::coordinator::groups::GroupError;
use crate::coordinator::transactions::TransactionError;
use crate::protocol::ErrorCode;

impl From<GroupError> for ErrorCode {
    fn from(error: GroupError) -> ErrorCode {
        match error {
            GroupError::CoordinatorNotAvailable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
            GroupError::InvalidGroupId => ErrorCode::INVALID_GROUP_ID,
            GroupError::IllegalGeneration => ErrorCode::ILLEGAL_GENERATION,
            GroupError::InconsistentGroupProtocol => ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
            GroupError::UnknownMemberId => ErrorCode::UNKNOWN_MEMBER_ID,
            GroupError::InvalidSessionTimeout => ErrorCode::INVALID_SESSION_TIMEOUT,
            GroupError::RebalanceInProgress => ErrorCode::REBALANCE_IN_PROGRESS,
            GroupError::MemberIdRequired => ErrorCode::MEMBER_ID_REQUIRED,
            GroupError::GroupMaxSizeReached => ErrorCode::GROUP_MAX_SIZE_REACHED,
            GroupError::FencedInstanceId => ErrorCode::FENCED_INSTANCE_ID,
            GroupError::OffsetMetadataTooLarge => ErrorCode::OFFSET_METADATA_TOO_LARGE,
            GroupError::InvalidCommitOffsetSize => ErrorCode::INVALID_COMMIT_OFFSET_SIZE,
            GroupError::NonEmptyGroup => ErrorCode::NON_EMPTY_GROUP,
            GroupError::GroupIdNotFound => ErrorCode::GROUP_ID_NOT_FOUND,
            GroupError::GroupSubscribedToTopic => ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC,
            GroupError::UnstableOffsetCommit => ErrorCode::UNSTABLE_OFFSET_COMMIT,
            GroupError::InvalidProducerEpoch => ErrorCode::INVALID_PRODUCER_EPOCH,
            GroupError::InvalidRequest => ErrorCode::INVALID_REQUEST,
            GroupError::UnsupportedVersion => ErrorCode::UNSUPPORTED_VERSION,
            GroupError::FencedMemberEpoch => ErrorCode::FENCED_MEMBER_EPOCH,
            GroupError::StaleMemberEpoch => ErrorCode::STALE_MEMBER_EPOCH,
            GroupError::UnreleasedInstanceId => ErrorCode::UNRELEASED_INSTANCE_ID,
            GroupError::UnsupportedAssignor => ErrorCode::UNSUPPORTED_ASSIGNOR,
            GroupError::InvalidRegularExpression => ErrorCode::INVALID_REGULAR_EXPRESSION,
        }
    }
}

/// `knows_fencing`: the request's version has PRODUCER_FENCED (KIP-588).
pub fn of_transaction(error: &TransactionError, knows_fencing: bool) -> ErrorCode {
    match error {
        TransactionError::InvalidProducerIdMapping => ErrorCode::INVALID_PRODUCER_ID_MAPPING,
        TransactionError::Fenced if knows_fencing => ErrorCode::PRODUCER_FENCED,
        TransactionError::Fenced => ErrorCode::INVALID_PRODUCER_EPOCH,
        TransactionError::InvalidState => ErrorCode::INVALID_TXN_STATE,
        TransactionError::NotAdded => ErrorCode::TRANSACTION_ABORTABLE,
        TransactionError::InvalidTimeout => ErrorCode::INVALID_TRANSACTION_TIMEOUT,
        TransactionError::EmptyId => ErrorCode::INVALID_REQUEST,
        TransactionError::Unavailable(reason) => {
            tracing::warn!(reason, "the transaction coordinator cannot keep its state");
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        }
    }
}
