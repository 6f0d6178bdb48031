//! DescribeAcls.

use super::Call;
use super::acls::{Numbers, Refused, check_permitted, filter};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k29_describe_acls::*;
use crate::security::acl::Operation;

pub async fn handle(call: &Call, request: DescribeAclsRequest) -> DescribeAclsResponse {
    match describe(call, request) {
        Ok(resources) => {
            let error_code = ErrorCode::NONE;
            let (throttle_time_ms, error_message) = (0, None);
            DescribeAclsResponse { throttle_time_ms, error_code, error_message, resources }
        }
        Err((error_code, message)) => DescribeAclsResponse {
            error_code,
            error_message: Some(message),
            ..DescribeAclsResponse::default()
        },
    }
}

fn describe(
    call: &Call,
    request: DescribeAclsRequest,
) -> Result<Vec<DescribeAclsResource>, Refused> {
    check_permitted(call, Operation::Describe)?;
    let numbers = Numbers {
        resource_type: request.resource_type_filter,
        pattern_type: request.pattern_type_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let (name, principal) = (request.resource_name_filter, request.principal_filter);
    let filter = filter(&numbers, name, principal, request.host_filter)?;
    let contents = call.broker().security().contents();
    let mut resources: Vec<DescribeAclsResource> = Vec::new();
    // In order of resources.
    for acl in contents.acls.iter().filter(|acl| filter.matches(acl)) {
        let (resource_type, pattern_type) = (acl.resource_type as i8, acl.pattern_type as i8);
        let described = AclDescription {
            principal: acl.principal.clone(),
            host: acl.host.clone(),
            operation: acl.operation as i8,
            permission_type: acl.permission as i8,
        };
        let same = |of: &&mut DescribeAclsResource| {
            (of.resource_type, of.pattern_type) == (resource_type, pattern_type)
                && of.resource_name == acl.name
        };
        match resources.last_mut().filter(same) {
            Some(resource) => resource.acls.push(described),
            None => resources.push(DescribeAclsResource {
                resource_type,
                resource_name: acl.name.clone(),
                pattern_type,
                acls: vec![described],
            }),
        }
    }
    Ok(resources)
}
