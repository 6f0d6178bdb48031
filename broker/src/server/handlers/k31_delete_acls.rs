//! DeleteAcls: all that the filters let through goes together.

use super::Call;
use super::acls::{Numbers, Refused, change, check_permitted, filter};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k31_delete_acls::*;
use crate::security::acl::{Acl, Operation};

pub async fn handle(call: &Call, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let permitted = check_permitted(call, Operation::Alter);
    let contents = call.broker().security().contents();
    let find = |wanted: DeleteAclsFilter| -> Result<Vec<Acl>, Refused> {
        permitted.clone()?;
        let numbers = Numbers {
            resource_type: wanted.resource_type_filter,
            pattern_type: wanted.pattern_type_filter,
            operation: wanted.operation,
            permission: wanted.permission_type,
        };
        let (name, principal) = (wanted.resource_name_filter, wanted.principal_filter);
        let filter = filter(&numbers, name, principal, wanted.host_filter)?;
        Ok(contents.acls.iter().filter(|acl| filter.matches(acl)).cloned().collect())
    };
    let mut found: Vec<Result<Vec<Acl>, Refused>> = request.filters.into_iter().map(find).collect();
    let remove: Vec<Acl> = found.iter().flatten().flatten().cloned().collect();
    if !remove.is_empty() {
        let (by, count) = (call.identity.principal.as_str(), remove.len());
        tracing::info!(target: "millstream::audit", ?by, count, "removed rules");
        if let Err(refused) = change(call, Vec::new(), remove).await {
            for one in found.iter_mut().filter(|one| one.is_ok()) {
                *one = Err(refused.clone());
            }
        }
    }
    let filter_results = found.into_iter().map(|found| match found {
        Ok(acls) => DeleteAclsFilterResult {
            error_code: ErrorCode::NONE,
            error_message: None,
            matching_acls: acls.into_iter().map(deleted).collect(),
        },
        Err((error_code, message)) => DeleteAclsFilterResult {
            error_code,
            error_message: Some(message),
            matching_acls: Vec::new(),
        },
    });
    DeleteAclsResponse { filter_results: filter_results.collect(), ..Default::default() }
}

fn deleted(acl: Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl {
        error_code: ErrorCode::NONE,
        error_message: None,
        resource_type: acl.resource_type as i8,
        resource_name: acl.name,
        pattern_type: acl.pattern_type as i8,
        principal: acl.principal,
        host: acl.host,
        operation: acl.operation as i8,
        permission_type: acl.permission as i8,
    }
}
