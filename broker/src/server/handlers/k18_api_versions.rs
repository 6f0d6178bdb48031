//! ApiVersions: the table of APIs, and the features.
//!
//! Of the features that Kafka 4.1 names, clients go by three: producers take transactions of
//! version 2 where `transaction.version` is finalized at 2 (KIP-890), `group.version` at 1 says
//! that groups rebalance by the new protocol, too (KIP-848), and `share.version` at 1 that there
//! are share groups (KIP-932). The others are left out, since each would promise what is not here:
//! `metadata.version` and `kraft.version` a quorum of controllers whose log has that form,
//! `streams.version` a still newer group protocol (clients look for its APIs, too),
//! `eligible.leader.replicas.version` replicas. A feature that is not named counts as level 0.

use super::Call;
use crate::coordinator::transactions::Protocol;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k18_api_versions::*;

pub async fn handle(call: &Call, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = [&request.client_software_name, &request.client_software_version];
    if call.version >= 3 && !named.into_iter().all(|name| is_software_name(name)) {
        let error_code = ErrorCode::INVALID_REQUEST;
        return ApiVersionsResponse { error_code, ..ApiVersionsResponse::default() };
    }
    let mut response = ApiVersionsResponse::served(ErrorCode::NONE);
    let features = features();
    if call.version >= FEATURES_FROM_ZERO_SINCE {
        let supported = |(name, max_version): (&str, i16)| SupportedFeatureKey {
            name: name.to_owned(),
            min_version: 0,
            max_version,
        };
        response.supported_features = features.map(supported).into();
    }
    let finalized = |(name, level): (&str, i16)| FinalizedFeatureKey {
        name: name.to_owned(),
        max_version_level: level,
        min_version_level: level,
    };
    response.finalized_features = features.map(finalized).into();
    response.finalized_features_epoch = FEATURES_EPOCH;
    response
}

/// Features with their levels, which are the latest.
pub fn features() -> [(&'static str, i16); 3] {
    [(GROUPS, GROUPS_LATEST), (SHARES, SHARES_LATEST), (TRANSACTIONS, Protocol::V2.version())]
}

/// The answer to a version that is newer than ours, in the form of version 0 (KIP-511).
pub fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse::served(ErrorCode::UNSUPPORTED_VERSION)
}

/// The feature that says that there are groups of the new protocol.
const GROUPS: &str = "group.version";
const GROUPS_LATEST: i16 = 1;
/// The feature that says that there are share groups (KIP-932).
const SHARES: &str = "share.version";
const SHARES_LATEST: i16 = 1;
/// The feature by which clients choose transactions of version 2 (KIP-890).
const TRANSACTIONS: &str = "transaction.version";
/// The version of the features as a whole: they never change.
const FEATURES_EPOCH: i64 = 0;
/// Earlier clients take a feature that begins at 0 for malformed.
const FEATURES_FROM_ZERO_SINCE: i16 = 4;

/// Kafka's rule: letters, digits, and '-' or '.' in between.
fn is_software_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    ends(name.chars().next()) && ends(name.chars().last()) && name.chars().all(inner)
}
