//! ACLs between Kafka's numbers and ours: what the three APIs about them have in common.

use super::{Call, blocking};
use crate::protocol::ErrorCode;
use crate::security::acl::{
    Acl, AclFilter, Operation, PatternFilter, PatternType, Permission, ResourceType,
};

/// A code and what to say with it.
pub type Refused = (ErrorCode, String);

/// Kafka's number for whatever there is, and that for all patterns that are about a name.
const ANY: i8 = 1;
const MATCH: i8 = 2;

/// Whether the client may do that to rules, and there are any.
pub fn check_permitted(call: &Call, operation: Operation) -> Result<(), Refused> {
    if !call.may_on_cluster(operation) {
        let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return Err((code, code.message().to_owned()));
    }
    match call.has_rules() {
        true => Ok(()),
        false => Err((ErrorCode::SECURITY_DISABLED, "No Authorizer is configured.".to_owned())),
    }
}

/// The parts of a filter as requests have them.
pub struct Numbers {
    pub resource_type: i8,
    pub pattern_type: i8,
    pub operation: i8,
    pub permission: i8,
}

/// A number that stands for one or, as 1, for all.
fn one_or_all<T>(number: i8, one: Option<T>, what: &str) -> Result<Option<T>, Refused> {
    match (number, one) {
        (ANY, _) => Ok(None),
        (_, Some(one)) => Ok(Some(one)),
        (other, None) => {
            let why = format!("{other} is no {what} that is known here");
            Err((ErrorCode::INVALID_REQUEST, why))
        }
    }
}

pub fn filter(
    numbers: &Numbers,
    name: Option<String>,
    principal: Option<String>,
    host: Option<String>,
) -> Result<AclFilter, Refused> {
    let Numbers { resource_type, pattern_type, operation, permission } = *numbers;
    let one = ResourceType::from_i8(resource_type);
    let resource_type = one_or_all(resource_type, one, "resource type")?;
    let pattern = match pattern_type {
        ANY => PatternFilter::Any,
        MATCH => PatternFilter::Match,
        other => match PatternType::from_i8(other) {
            Some(one) => PatternFilter::Only(one),
            None => {
                let why = format!("{other} is no pattern type that is known here");
                return Err((ErrorCode::INVALID_REQUEST, why));
            }
        },
    };
    let operation = one_or_all(operation, Operation::from_i8(operation), "operation")?;
    let permission = one_or_all(permission, Permission::from_i8(permission), "permission")?;
    Ok(AclFilter { resource_type, name, pattern, principal, host, operation, permission })
}

/// Changes rules, off the async threads.
pub async fn change(call: &Call, add: Vec<Acl>, remove: Vec<Acl>) -> Result<(), Refused> {
    let store = call.broker().security().clone();
    let changed = blocking(move || store.change_acls(add, &remove)).await;
    changed.map_err(|error| {
        tracing::error!(%error, "cannot keep ACLs");
        (ErrorCode::KAFKA_STORAGE_ERROR, error.to_string())
    })
}
