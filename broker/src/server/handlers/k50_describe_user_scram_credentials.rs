//! DescribeUserScramCredentials: mechanisms and iterations, nothing that helps to guess.

use std::collections::HashMap;

use super::Call;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k50_describe_user_scram_credentials::*;
use crate::security::acl::Operation;
use crate::security::scram::ScramMechanism;

pub async fn handle(
    call: &Call,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    if !call.may_on_cluster(Operation::Describe) {
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return DescribeUserScramCredentialsResponse {
            error_code,
            error_message: Some(error_code.message().to_owned()),
            ..DescribeUserScramCredentialsResponse::default()
        };
    }
    let contents = call.broker().security().contents();
    let wanted = request.users.filter(|users| !users.is_empty());
    let results = match wanted {
        None => contents.users().map(|(name, of)| described(name.to_owned(), of)).collect(),
        Some(users) => {
            let mut times: HashMap<String, usize> = HashMap::new();
            for user in &users {
                *times.entry(user.name.clone()).or_default() += 1;
            }
            // All of the same name have one answer.
            let each = users.into_iter().filter_map(|user| Some((times.remove(&user.name)?, user)));
            let describe = |(times, user): (usize, UserName)| match contents.user(&user.name) {
                _ if times > 1 => {
                    let why = format!("the user '{}' is named more than once", user.name);
                    refused(user.name, ErrorCode::DUPLICATE_RESOURCE, why)
                }
                Some(of) => described(user.name, of),
                None => {
                    let why = format!("there is no user '{}'", user.name);
                    refused(user.name, ErrorCode::RESOURCE_NOT_FOUND, why)
                }
            };
            each.map(describe).collect()
        }
    };
    let (throttle_time_ms, error_code, error_message) = (0, ErrorCode::NONE, None);
    DescribeUserScramCredentialsResponse { throttle_time_ms, error_code, error_message, results }
}

fn described(user: String, of: Vec<(ScramMechanism, u32)>) -> DescribeUserScramCredentialsResult {
    let infos = of.into_iter().map(|(mechanism, iterations)| CredentialInfo {
        mechanism: mechanism.number(),
        iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
    });
    let (error_code, error_message) = (ErrorCode::NONE, None);
    let credential_infos = infos.collect();
    DescribeUserScramCredentialsResult { user, error_code, error_message, credential_infos }
}

fn refused(user: String, error_code: ErrorCode, why: String) -> DescribeUserScramCredentialsResult {
    let (error_message, credential_infos) = (Some(why), Vec::new());
    DescribeUserScramCredentialsResult { user, error_code, error_message, credential_infos }
}
