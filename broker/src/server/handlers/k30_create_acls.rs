//! CreateAcls: those that are well-formed are added together.

use std::net::IpAddr;

use super::Call;
use super::acls::{Refused, change, check_permitted};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k30_create_acls::*;
use crate::security::acl::{
    ANY_NAME, Acl, CLUSTER_NAME, Operation, PatternType, Permission, ResourceType,
};
use crate::security::store::ACLS_MAX;

pub async fn handle(call: &Call, request: CreateAclsRequest) -> CreateAclsResponse {
    let permitted = check_permitted(call, Operation::Alter);
    let mut read: Vec<Result<Acl, Refused>> = request
        .creations
        .into_iter()
        .map(|creation| permitted.clone().and_then(|()| acl(creation)))
        .collect();
    let add: Vec<Acl> = read.iter().flatten().cloned().collect();
    if !add.is_empty()
        && let Err(refused) = create(call, add).await
    {
        for one in read.iter_mut().filter(|one| one.is_ok()) {
            *one = Err(refused.clone());
        }
    }
    let results = read.into_iter().map(|one| match one {
        Ok(_) => AclCreationResult { error_code: ErrorCode::NONE, error_message: None },
        Err((error_code, message)) => {
            AclCreationResult { error_code, error_message: Some(message) }
        }
    });
    CreateAclsResponse { results: results.collect(), ..CreateAclsResponse::default() }
}

async fn create(call: &Call, add: Vec<Acl>) -> Result<(), Refused> {
    let known = call.broker().security().contents();
    let new = add.iter().filter(|acl| !known.acls.contains(acl)).count();
    if new == 0 {
        return Ok(());
    }
    if known.acls.len() + new > ACLS_MAX {
        let why = format!("there would be more than {ACLS_MAX} rules; prefixed ones need fewer");
        return Err((ErrorCode::POLICY_VIOLATION, why));
    }
    for acl in &add {
        let Acl { resource_type, name, principal, operation, permission, .. } = acl;
        tracing::info!(target: "millstream::audit", by = ?call.identity.principal.as_str(),
            ?principal, %permission, %operation, %resource_type, ?name, "added a rule");
    }
    change(call, add, Vec::new()).await
}

/// A rule, if Kafka would take it for one.
fn acl(creation: AclCreation) -> Result<Acl, Refused> {
    let invalid = |why: String| (ErrorCode::INVALID_REQUEST, why);
    let number = |what: &str, number: i8| invalid(format!("Invalid {what} {number}"));
    let resource_type = ResourceType::from_i8(creation.resource_type)
        .ok_or_else(|| number("resourceType", creation.resource_type))?;
    let pattern_type = PatternType::from_i8(creation.resource_pattern_type)
        .ok_or_else(|| number("patternType", creation.resource_pattern_type))?;
    let operation = Operation::from_i8(creation.operation)
        .ok_or_else(|| number("operation", creation.operation))?;
    let permission = Permission::from_i8(creation.permission_type)
        .ok_or_else(|| number("permissionType", creation.permission_type))?;
    let name = creation.resource_name;
    if name.is_empty() {
        return Err(invalid("Invalid empty resource name".to_owned()));
    }
    if resource_type == ResourceType::Cluster && name != CLUSTER_NAME {
        let why = format!("The only valid name for the CLUSTER resource is {CLUSTER_NAME}");
        return Err(invalid(why));
    }
    let is_principal = creation
        .principal
        .split_once(':')
        .is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
    if !is_principal {
        let why = format!("expected a principal such as User:alice, not '{}'", creation.principal);
        return Err(invalid(why));
    }
    let (principal, host) = (creation.principal, creation.host);
    // Clients have addresses and no names: a rule for a name would never hold.
    if host != ANY_NAME && host.parse::<IpAddr>().is_err() {
        let why = format!("expected an address such as 10.0.0.1 as host, or *, not '{host}'");
        return Err(invalid(why));
    }
    Ok(Acl { resource_type, name, pattern_type, principal, host, operation, permission })
}
