//! AlterClientQuotas: each entity as a whole, all that are well-formed together.

use std::collections::{HashMap, HashSet};

use super::Call;
use crate::broker::client_quotas::RULES_MAX;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k49_alter_client_quotas::*;
use crate::quotas::{Entity, Quota, Who};
use crate::security::acl::Operation;

type Refused = (ErrorCode, String);
type Change = (Entity, Quota, Option<f64>);

/// The longest name of a user or client.
const NAME_BYTES_MAX: usize = 1024;

pub async fn handle(call: &Call, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let may = call.may_on_cluster(Operation::AlterConfigs);
    let read = |entry: &AlterClientQuotasEntry| -> Result<Vec<Change>, Refused> {
        if !may {
            let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
            return Err((code, code.message().to_owned()));
        }
        let entity = entity(&entry.entity)?;
        changes(&entity, &entry.ops)
    };
    let mut read: Vec<Result<Vec<Change>, Refused>> = request.entries.iter().map(read).collect();
    let changes: Vec<Change> = read.iter().flatten().flatten().cloned().collect();
    if !request.validate_only
        && !changes.is_empty()
        && let Err(refused) = alter(call, changes).await
    {
        for one in read.iter_mut().filter(|one| one.is_ok()) {
            *one = Err(refused.clone());
        }
    }
    let entries = request.entries.into_iter().zip(read).map(|(entry, read)| {
        let (error_code, error_message) = match read {
            Ok(_) => (ErrorCode::NONE, None),
            Err((error_code, message)) => (error_code, Some(message)),
        };
        AlterClientQuotasResult { error_code, error_message, entity: told(entry.entity) }
    });
    AlterClientQuotasResponse { entries: entries.collect(), ..Default::default() }
}

/// An entity as it was understood: of each type one part.
fn told(parts: Vec<AlterClientQuotasEntity>) -> Vec<AlterClientQuotasResultEntity> {
    let mut told: Vec<AlterClientQuotasResultEntity> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for AlterClientQuotasEntity { entity_type, entity_name } in parts {
        match places.get(&entity_type) {
            Some(&place) => told[place].entity_name = entity_name,
            None => {
                places.insert(entity_type.clone(), told.len());
                told.push(AlterClientQuotasResultEntity { entity_type, entity_name });
            }
        }
    }
    told
}

async fn alter(call: &Call, changes: Vec<Change>) -> Result<(), Refused> {
    let broker = call.broker();
    let new = changes.iter().filter(|(_, _, value)| value.is_some()).count();
    if broker.quotas().len() + new > RULES_MAX {
        let why = format!("there would be more than {RULES_MAX} entities with quotas");
        return Err((ErrorCode::POLICY_VIOLATION, why));
    }
    let (by, count) = (call.identity.principal.as_str(), changes.len());
    tracing::info!(target: "millstream::audit", ?by, count, "changed quotas");
    let changed = broker.change_quotas(changes).await;
    changed.map_err(|error| (ErrorCode(error.code()), error.to_string()))
}

fn entity(parts: &[AlterClientQuotasEntity]) -> Result<Entity, Refused> {
    let invalid = |why: String| Err((ErrorCode::INVALID_REQUEST, why));
    let mut entity = Entity::default();
    for AlterClientQuotasEntity { entity_type, entity_name } in parts {
        let is_bad = |name: &String| name.is_empty() || name.len() > NAME_BYTES_MAX;
        if entity_name.as_ref().is_some_and(is_bad) {
            return invalid(format!("the name of a {entity_type} is empty or too long"));
        }
        // Of two parts of a type the later one counts.
        if !entity.set(entity_type, Who::new(entity_name.as_deref())) {
            return invalid(format!("Unhandled client quota entity type: {entity_type}"));
        }
    }
    match entity.check() {
        Ok(()) => Ok(entity),
        Err(why) => invalid(why),
    }
}

fn changes(entity: &Entity, ops: &[AlterClientQuotasOp]) -> Result<Vec<Change>, Refused> {
    let invalid = |why: String| (ErrorCode::INVALID_REQUEST, why);
    let change = |op: &AlterClientQuotasOp| {
        let quota = match Quota::find(&op.key, entity) {
            // What is not there need not be taken away.
            None if op.remove => return Ok(None),
            found => {
                found.ok_or_else(|| invalid(format!("Invalid configuration key {}", op.key)))?
            }
        };
        if op.remove {
            return Ok(Some((entity.clone(), quota, None)));
        }
        quota.check(op.value).map_err(invalid)?;
        Ok(Some((entity.clone(), quota, Some(op.value))))
    };
    let mut keys = HashSet::new();
    if let Some(op) = ops.iter().find(|op| !keys.insert(&op.key)) {
        return Err(invalid(format!("Duplicate quota key {}", op.key)));
    }
    ops.iter().filter_map(|op| change(op).transpose()).collect()
}
