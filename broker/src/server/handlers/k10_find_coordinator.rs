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

pub async fn handle(call: &Call, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    // Its topic is created by whoever first asks for a coordinator, as at Kafka.
    let topic = if request.key_type == 0 { CONSUMER_OFFSETS } else { TRANSACTION_STATE };
    let is_ready = if KEY_TYPES.contains(&request.key_type) {
        create_internal(call, topic).await
    } else {
        Ok(())
    };
    let find = |key: String| match check(call, request.key_type, &key, is_ready, topic) {
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
    if call.version >= KEYS_FROM {
        let coordinators = request.coordinator_keys.into_iter().map(find).collect();
        return FindCoordinatorResponse { coordinators, ..FindCoordinatorResponse::default() };
    }
    let Coordinator { node_id, host, port, error_code, error_message, .. } = find(request.key);
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
fn check(
    call: &Call,
    key_type: i8,
    key: &str,
    is_ready: Result<(), ErrorCode>,
    topic: &str,
) -> Result<(), (ErrorCode, String)> {
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
    is_ready.map_err(|code| (code, format!("topic {topic} cannot be created")))
}
