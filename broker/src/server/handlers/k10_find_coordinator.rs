//! FindCoordinator: it is always this node.

use std::ops::RangeInclusive;

use super::Call;
use super::k03_metadata::create_internal;
use crate::protocol::ErrorCode;
use crate::protocol::messages::k10_find_coordinator::*;
use crate::security::acl::Operation;
use crate::topics::{CONSUMER_OFFSETS, TRANSACTION_STATE};

/// The first version that asks for several keys.
const KEYS_FROM: i16 = 4;
/// Groups and transactional ids; share groups (2) are not served.
const KEY_TYPES: RangeInclusive<i8> = 0..=1;

type Refused = (ErrorCode, String);

pub async fn handle(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let has_many = call.version >= KEYS_FROM;
    let keys = if has_many { request.coordinator_keys } else { vec![request.key] };
    let checked: Vec<(String, Result<(), Refused>)> = keys
        .into_iter()
        .map(|key| {
            let checked = check(call, request.key_type, &key);
            (key, checked)
        })
        .collect();
    // Its topic is created by whoever first asks for a coordinator and may, as at Kafka.
    let topic = if request.key_type == 0 { CONSUMER_OFFSETS } else { TRANSACTION_STATE };
    let is_ready = match checked.iter().any(|(_, checked)| checked.is_ok()) {
        true => create_internal(call, topic).await,
        false => Ok(()),
    };
    let is_ready = is_ready.map_err(|code| (code, format!("topic {topic} cannot be created")));
    let find = |(key, checked): (String, Result<(), Refused>)| match checked
        .and_then(|()| is_ready.clone())
    {
        Ok(()) => Coordinator {
            key,
            node_id: call.broker().node_id(),
            host: call.advertised.host.clone(),
            port: i32::from(call.advertised.port),
            error_code: ErrorCode::NONE,
            error_message: Some("NONE".to_owned()),
        },
        Err((error_code, message)) => Coordinator {
            key,
            node_id: -1,
            host: String::new(),
            port: -1,
            error_code,
            error_message: Some(message),
        },
    };
    let mut coordinators: Vec<Coordinator> = checked.into_iter().map(find).collect();
    let Some(only) = coordinators.pop_if(|_| !has_many) else {
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    };
    let Coordinator { node_id, host, port, error_code, error_message, .. } = only;
    FindCoordinatorResponse {
        error_code,
        error_message,
        node_id,
        host,
        port,
        ..FindCoordinatorResponse::default()
    }
}

/// What there is against telling where a key's coordinator is.
fn check(call: &Call, key_type: i8, key: &str) -> Result<(), Refused> {
    if !KEY_TYPES.contains(&key_type) {
        let why = format!("no coordinator for keys of type {key_type}");
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    let (may, denied) = if key_type == 0 {
        let may = call.may_on_group(Operation::Describe, key);
        (may, ErrorCode::GROUP_AUTHORIZATION_FAILED)
    } else {
        let may = call.may_on_transactional_id(Operation::Describe, key);
        (may, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    };
    if !may {
        return Err((denied, denied.message().to_owned()));
    }
    Ok(())
}
