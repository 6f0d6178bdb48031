//! DescribeCluster: one node, which is broker and controller.

use super::{Call, OPERATIONS_NOT_ASKED};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k60_describe_cluster::*;

/// Kafka's numbers for whom a request is about.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub async fn handle(call: &Call, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let broker = call.broker();
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: match request.endpoint_type {
                CONTROLLERS => ErrorCode::MISMATCHED_ENDPOINT_TYPE,
                _ => ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            },
            error_message: Some("this listener is one for brokers".to_owned()),
            endpoint_type: BROKERS,
            ..DescribeClusterResponse::default()
        };
    }
    DescribeClusterResponse {
        error_message: None,
        endpoint_type: BROKERS,
        cluster_id: broker.cluster_id().to_owned(),
        controller_id: broker.node_id(),
        brokers: vec![DescribeClusterBroker {
            broker_id: broker.node_id(),
            host: call.advertised.host.clone(),
            port: i32::from(call.advertised.port),
            rack: None,
            is_fenced: false,
        }],
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => call.cluster_operations(),
            false => OPERATIONS_NOT_ASKED,
        },
        ..DescribeClusterResponse::default()
    }
}
