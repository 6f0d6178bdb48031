//! ApiVersions: only what has a handler is named.

use std::ops::RangeInclusive;

use super::{Call, SERVED, versions};
use crate::coordinator::transactions::Protocol;
use crate::protocol::ErrorCode;
use crate::protocol::message::Message;
use crate::protocol::messages::k18_api_versions::*;

pub const VERSIONS: RangeInclusive<i16> = ApiVersionsRequest::VERSIONS;

pub async fn handle(call: &Call, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = [&request.client_software_name, &request.client_software_version];
    if call.version >= 3 && !named.into_iter().all(|name| is_software_name(name)) {
        let error_code = ErrorCode::INVALID_REQUEST;
        return ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() };
    }
    let mut response = served(ErrorCode::NONE);
    let (name, latest) = (TRANSACTIONS.to_owned(), Protocol::V2 as i16);
    if call.version >= FEATURES_FROM_ZERO_SINCE {
        let feature =
            SupportedFeatureKey { name: name.clone(), min_version: 0, max_version: latest };
        response.supported_features = vec![feature];
    }
    let (max_version_level, min_version_level) = (latest, latest);
    response.finalized_features =
        vec![FinalizedFeatureKey { name, max_version_level, min_version_level }];
    response.finalized_features_epoch = FEATURES_EPOCH;
    response
}

/// The answer to a version that is newer than ours, in the form of version 0 (KIP-511).
pub fn unsupported() -> ApiVersionsResponse {
    served(ErrorCode::UNSUPPORTED_VERSION)
}

/// The feature by which clients choose transactions of version 2 (KIP-890).
const TRANSACTIONS: &str = "transaction.version";
/// The version of the features as a whole: they never change.
const FEATURES_EPOCH: i64 = 0;
/// Earlier clients take a feature that begins at 0 for malformed.
const FEATURES_FROM_ZERO_SINCE: i16 = 4;

fn served(error_code: ErrorCode) -> ApiVersionsResponse {
    let api_keys = SERVED.iter().filter_map(|api| {
        let (served, advertised) = (versions(*api)?, api.advertised_versions());
        // More may be advertised than is served, at the lower end, for the sake of old clients.
        let all = *served.start() == *api.versions().start();
        let min_version = if all { *advertised.start() } else { *served.start() };
        Some(ApiVersion { api_key: *api as i16, min_version, max_version: *served.end() })
    });
    ApiVersionsResponse { error_code, api_keys: api_keys.collect(), ..Default::default() }
}

/// Kafka's rule: letters, digits, and '-' or '.' in between.
fn is_software_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    ends(name.chars().next()) && ends(name.chars().last()) && name.chars().all(inner)
}
