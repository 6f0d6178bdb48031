//! DeleteAcls: all that the filters let through goes together.
//!
//! A filter that names one rule, as Kafka's tools send them, is looked up; all others are held
//! against every rule there is, and are bounded therefore.

use std::collections::HashSet;

use super::acls::{Numbers, Refused, change, check_permitted, filter};
use super::{Call, blocking};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k31_delete_acls::*;
use crate::security::acl::{Acl, AclFilter, Acls, Operation};
use crate::security::store::ACLS_MAX;

/// Filters that are held against every rule, in one request.
const SEARCHES_MAX: usize = 100;
/// Rules that all filters of a request may let through together, those counted that several do.
const FOUND_MAX: usize = 2 * ACLS_MAX;

pub async fn handle(call: &Call, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let permitted = check_permitted(call, Operation::Alter);
    let contents = call.broker().security().contents();
    let filters = match permitted {
        Ok(()) => filters(request.filters),
        Err(refused) => request.filters.iter().map(|_| Err(refused.clone())).collect(),
    };
    let mut found = blocking(move || find(&contents.acls, filters)).await;
    // A rule that several filters let through goes once.
    let remove: HashSet<&Acl> = found.iter().flatten().flatten().collect();
    let remove: Vec<Acl> = remove.into_iter().cloned().collect();
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

fn filters(wanted: Vec<DeleteAclsFilter>) -> Vec<Result<AclFilter, Refused>> {
    let read = |wanted: DeleteAclsFilter| {
        let numbers = Numbers {
            resource_type: wanted.resource_type_filter,
            pattern_type: wanted.pattern_type_filter,
            operation: wanted.operation,
            permission: wanted.permission_type,
        };
        let (name, principal) = (wanted.resource_name_filter, wanted.principal_filter);
        filter(&numbers, name, principal, wanted.host_filter)
    };
    wanted.into_iter().map(read).collect()
}

/// What each filter lets through.
fn find(acls: &Acls, filters: Vec<Result<AclFilter, Refused>>) -> Vec<Result<Vec<Acl>, Refused>> {
    let (mut searches, mut room) = (0, FOUND_MAX);
    let mut find = |filter: AclFilter| {
        let found: Vec<Acl> = match filter.only() {
            Some(acl) => Some(acl).filter(|acl| acls.contains(acl)).into_iter().collect(),
            None if searches == SEARCHES_MAX => {
                let why = format!(
                    "more than {SEARCHES_MAX} filters of a request leave something open; send \
                     the others in another one, or name rules in full"
                );
                return Err((ErrorCode::POLICY_VIOLATION, why));
            }
            None => {
                searches += 1;
                acls.iter().filter(|acl| filter.matches(acl)).take(room + 1).cloned().collect()
            }
        };
        if found.len() > room {
            let why = format!("the filters of a request let more than {FOUND_MAX} rules through");
            return Err((ErrorCode::POLICY_VIOLATION, why));
        }
        room -= found.len();
        Ok(found)
    };
    filters.into_iter().map(|filter| filter.and_then(&mut find)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::acl::{PatternFilter, PatternType, Permission, ResourceType};

    fn acl(name: usize) -> Acl {
        Acl {
            resource_type: ResourceType::Topic,
            name: format!("t{name}"),
            pattern_type: PatternType::Literal,
            principal: "User:a".into(),
            host: "*".into(),
            operation: Operation::Read,
            permission: Permission::Allow,
        }
    }

    fn exactly(acl: Acl) -> AclFilter {
        AclFilter {
            resource_type: Some(acl.resource_type),
            name: Some(acl.name),
            pattern: PatternFilter::Only(acl.pattern_type),
            principal: Some(acl.principal),
            host: Some(acl.host),
            operation: Some(acl.operation),
            permission: Some(acl.permission),
        }
    }

    /// A request of 16 MB can have a million filters, where there can be 100,000 rules.
    #[test]
    fn what_deleting_costs_is_bounded() {
        let acls: Acls = (0..5_000).map(acl).collect();
        let all = (0..6_000).map(|number| Ok(exactly(acl(number)))).collect();
        let found = find(&acls, all);
        assert!(found[..5_000].iter().all(|found| found.as_ref().unwrap().len() == 1));
        assert!(found[5_000..].iter().all(|found| found.as_ref().unwrap().is_empty()));

        let filters = (0..=SEARCHES_MAX).map(|_| Ok(AclFilter::ALL)).collect();
        let found = find(&acls, filters);
        let lens = found.iter().map(|found| found.as_ref().map_or(0, Vec::len));
        assert_eq!(lens.sum::<usize>(), FOUND_MAX, "and no more");
        assert_eq!(found[SEARCHES_MAX].as_ref().unwrap_err().0, ErrorCode::POLICY_VIOLATION);
        let narrow = |number| AclFilter { name: Some(format!("t{number}")), ..AclFilter::ALL };
        let found = find(&acls, (0..=SEARCHES_MAX).map(|number| Ok(narrow(number))).collect());
        assert!(found[..SEARCHES_MAX].iter().all(|found| found.as_ref().unwrap().len() == 1));
        assert!(found[SEARCHES_MAX].as_ref().unwrap_err().1.contains("another one"));
    }
}
