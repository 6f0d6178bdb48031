//! ApiVersions: which APIs and versions the broker has; the first request of most connections.

use crate::protocol::api::ApiKey;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v3 the client names itself (KIP-511).
    ApiVersionsRequest: 0..=4, flexible 3.. {
        client_software_name: String, in 3.., ignorable;
        client_software_version: String, in 3.., ignorable;
    }

    /// v3 features (KIP-584). v4 permits features whose lowest version is 0.
    ApiVersionsResponse: 0..=4, flexible 3.. {
        error_code: ErrorCode;
        api_keys: Vec<ApiVersion>;
        throttle_time_ms: i32, in 1.., ignorable;
        supported_features: Vec<SupportedFeatureKey>, in 3.., tag 0, ignorable;
        finalized_features_epoch: i64 = -1, in 3.., tag 1, ignorable;
        finalized_features: Vec<FinalizedFeatureKey>, in 3.., tag 2, ignorable;
        zk_migration_ready: bool, in 3.., tag 3, ignorable;
    }

    ApiVersion {
        api_key: i16;
        min_version: i16;
        max_version: i16;
    }

    SupportedFeatureKey {
        name: String;
        min_version: i16;
        max_version: i16;
    }

    FinalizedFeatureKey {
        name: String;
        max_version_level: i16;
        min_version_level: i16;
    }
}

impl ApiVersionsResponse {
    /// All that is served, by the table of APIs. With [`ErrorCode::UNSUPPORTED_VERSION`], encoded
    /// as version 0, it answers a client that asked in a version newer than ours.
    pub fn served(error_code: ErrorCode) -> ApiVersionsResponse {
        let version = |api: &ApiKey| {
            let (min_version, max_version) = api.advertised_versions().into_inner();
            ApiVersion { api_key: *api as i16, min_version, max_version }
        };
        let api_keys = ApiKey::ALL.iter().map(version).collect();
        ApiVersionsResponse { error_code, api_keys, ..Default::default() }
    }
}
