//! UpdateFeatures: the features are at their latest levels, and stay there. Asking for what is so
//! already goes well.

use super::Call;
use super::k18_api_versions::features;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k57_update_features::*;
use crate::security::acl::Operation;

/// Kafka's numbers for what is wanted of a feature.
mod upgrade_type {
    pub const UPGRADE: i8 = 1;
    pub const DOWNGRADES: [i8; 2] = [2, 3];
    /// What the flag of the first version stands for.
    pub const SAFE_DOWNGRADE: i8 = 2;
}

/// The first version that answers for all together.
const NO_RESULTS_FROM: i16 = 2;

type Refused = (ErrorCode, String);

pub async fn handle(call: &Call, request: UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let names: Vec<String> =
        request.feature_updates.iter().map(|one| one.feature.clone()).collect();
    match update(call, request) {
        Ok(()) => {
            let result = |feature| UpdatableFeatureResult { feature, ..Default::default() };
            let told = names.into_iter().filter(|_| call.version < NO_RESULTS_FROM);
            UpdateFeaturesResponse {
                error_message: None,
                results: told.map(result).collect(),
                ..Default::default()
            }
        }
        Err((error_code, message)) => UpdateFeaturesResponse {
            error_code,
            error_message: Some(message),
            ..Default::default()
        },
    }
}

fn update(call: &Call, request: UpdateFeaturesRequest) -> Result<(), Refused> {
    if !call.may_on_cluster(Operation::Alter) {
        let code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return Err((code, code.message().to_owned()));
    }
    for update in &request.feature_updates {
        check(call.version, update).map_err(|why| {
            let FeatureUpdateKey { feature, max_version_level, .. } = update;
            let why = format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {max_version_level} for feature {feature}. {why}"
            );
            (ErrorCode::INVALID_UPDATE_VERSION, why)
        })?;
    }
    Ok(())
}

fn check(version: i16, update: &FeatureUpdateKey) -> Result<(), &'static str> {
    let wanted = update.max_version_level;
    let kind = match (version, update.allow_downgrade) {
        (0, true) => upgrade_type::SAFE_DOWNGRADE,
        (0, false) => upgrade_type::UPGRADE,
        _ => update.upgrade_type,
    };
    let is_downgrade = upgrade_type::DOWNGRADES.contains(&kind);
    if kind != upgrade_type::UPGRADE && !is_downgrade {
        return Err("The controller does not support the given upgrade type.");
    }
    let known = features().into_iter().find(|(name, _)| *name == update.feature);
    let (_, level) = known.ok_or("There is no such feature here.")?;
    match wanted.cmp(&level) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err("There is no such level yet."),
        std::cmp::Ordering::Less if wanted < 0 => Err("A feature version cannot be less than 0."),
        std::cmp::Ordering::Less if !is_downgrade => {
            Err("Can't downgrade the version of this feature without setting the upgrade type to \
                 either safe or unsafe downgrade.")
        }
        std::cmp::Ordering::Less => Err("It stays at its latest level here."),
    }
}
