//! What the APIs of share groups (KIP-932) have in common: who asks, and what is said of records.

use std::sync::Arc;

use uuid::Uuid;

use super::{Call, permitted_topic};
use crate::coordinator::shares::partition::{Acknowledgement, Refused, Verdict};
use crate::coordinator::shares::service::AcknowledgeError;
use crate::coordinator::shares::sessions::Owner;
use crate::coordinator::state_log::StateLogError;
use crate::protocol::ErrorCode;
use crate::security::acl::Operation;

/// What has become of acknowledgements, with a reason where there is more to say than the code.
pub type Outcome = Result<(), (ErrorCode, Option<String>)>;

/// Said of a batch of records: from, to, and Kafka's numbers of verdicts.
pub type Said = (i64, i64, Vec<i8>);

/// The member that a request names, if the client may be in its group.
pub fn owner(call: &Call, group: Option<&str>, member: Option<&str>) -> Result<Owner, ErrorCode> {
    let group = group.unwrap_or_default();
    if !call.may_on_group(Operation::Read, group) {
        return Err(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    }
    let member = member.unwrap_or_default();
    if group.is_empty() || member.is_empty() || member.len() > MEMBER_ID_BYTES_MAX {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(Owner { group: group.into(), member: member.into() })
}

/// Members make their ids themselves: 22 letters of a UUID.
const MEMBER_ID_BYTES_MAX: usize = 255;

/// Takes what a member says of records of one partition. It is under way when this returns, and
/// durable when the future ends.
pub fn acknowledge(
    call: &Call,
    owner: &Owner,
    topic_id: Uuid,
    index: i32,
    said: Vec<Said>,
) -> impl Future<Output = Outcome> + 'static {
    let begun = begin(call, owner, topic_id, index, said);
    let owner = owner.clone();
    async move {
        let Some(acknowledging) = begun? else { return Ok(()) };
        acknowledging.await.map_err(|error| match error {
            AcknowledgeError::Refused(refused) => {
                let code = match refused {
                    Refused::NotAcquired(_) => ErrorCode::INVALID_RECORD_STATE,
                    Refused::Beyond(_) => ErrorCode::INVALID_REQUEST,
                };
                (code, Some(refused.to_string()))
            }
            AcknowledgeError::NotKept(error) => {
                (not_kept(&owner.group, &error), Some(error.to_string()))
            }
        })
    }
}

type Acknowledging = futures::future::BoxFuture<'static, Result<(), AcknowledgeError>>;

fn begin(
    call: &Call,
    owner: &Owner,
    topic_id: Uuid,
    index: i32,
    said: Vec<Said>,
) -> Result<Option<Acknowledging>, (ErrorCode, Option<String>)> {
    let plain = |code: ErrorCode| (code, None);
    let all = acknowledgements(said).ok_or(plain(ErrorCode::INVALID_REQUEST))?;
    let topic = permitted_topic(call, Operation::Read, true, "", topic_id).map_err(plain)?;
    topic.partition(index).ok_or(plain(UNKNOWN))?;
    if all.is_empty() {
        return Ok(None);
    }
    let shares = call.broker().shares();
    let slot = shares.existing(&owner.group, (topic_id, index)).ok_or(plain(UNKNOWN))?;
    Ok(Some(shares.acknowledge(&slot, &owner.member, &all)))
}

const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

/// `None` if they make no sense: not in order, or not of the right number.
fn acknowledgements(said: Vec<Said>) -> Option<Vec<Acknowledgement>> {
    let mut end = i64::MIN;
    let each = said.into_iter().map(|(first, last, types)| {
        let count = usize::try_from(last.checked_sub(first)?.checked_add(1)?).ok()?;
        let is_whole = count > 0 && (types.len() == 1 || types.len() == count);
        let follows = first >= end;
        end = last.saturating_add(1);
        let verdicts = types.into_iter().map(Verdict::of).collect::<Option<Vec<_>>>()?;
        (is_whole && follows && first >= 0).then_some(Acknowledgement { first, last, verdicts })
    });
    each.collect()
}

/// The code for state of a share group that did not reach the log.
pub fn not_kept(group: &str, error: &StateLogError) -> ErrorCode {
    tracing::warn!(group, %error, "the coordinator of share groups cannot keep its state");
    ErrorCode::COORDINATOR_NOT_AVAILABLE
}

/// The group, if it shares partitions and has no members: only then its offsets may be changed.
pub fn idle_group(call: &Call, group: &str) -> Result<Arc<str>, (ErrorCode, String)> {
    use crate::coordinator::groups::Described;
    match call.broker().groups().describe(group).map(|group| group.described) {
        Some(Described::Share { members, .. }) if members.is_empty() => Ok(group.into()),
        Some(Described::Share { .. }) => Err((ErrorCode::NON_EMPTY_GROUP, NOT_EMPTY.to_owned())),
        Some(_) => {
            let reason = format!("Group {group} is not a share group.");
            Err((ErrorCode::GROUP_ID_NOT_FOUND, reason))
        }
        None => Err((ErrorCode::GROUP_ID_NOT_FOUND, format!("Group {group} not found."))),
    }
}

const NOT_EMPTY: &str = "The group has members: its offsets change once they are gone.";
