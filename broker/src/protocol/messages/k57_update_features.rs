//! UpdateFeatures (KIP-584).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v2 answers for all together.
    UpdateFeaturesRequest: 0..=2, flexible 0.. {
        timeout_ms: i32 = 60000;
        feature_updates: Vec<FeatureUpdateKey>;
        validate_only: bool, in 1..;
    }

    FeatureUpdateKey {
        feature: String;
        max_version_level: i16;
        allow_downgrade: bool, in 0..=0;
        /// 1 up, 2 down where nothing is lost, 3 down in any case.
        upgrade_type: i8 = 1, in 1..;
    }

    UpdateFeaturesResponse: 0..=2, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
        results: Vec<UpdatableFeatureResult>, in 0..=1, ignorable;
    }

    UpdatableFeatureResult {
        feature: String;
        error_code: ErrorCode;
        error_message: Option<String> = Some(String::new());
    }
}
