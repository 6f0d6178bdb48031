//! DescribeCluster: the brokers and the cluster id, without topics (KIP-700).

use crate::protocol::error_code::ErrorCode;
use crate::protocol::message::messages;

messages! {
    /// v1 brokers or controllers (KIP-919), v2 fenced brokers too (KIP-1073).
    DescribeClusterRequest: 0..=2, flexible 0.. {
        include_cluster_authorized_operations: bool;
        /// 1 brokers, 2 controllers.
        endpoint_type: i8 = 1, in 1..;
        include_fenced_brokers: bool, in 2..;
    }

    DescribeClusterResponse: 0..=2, flexible 0.. {
        throttle_time_ms: i32;
        error_code: ErrorCode;
        error_message: Option<String>;
        endpoint_type: i8 = 1, in 1..;
        cluster_id: String;
        controller_id: i32 = -1;
        brokers: Vec<DescribeClusterBroker>;
        cluster_authorized_operations: i32 = i32::MIN;
    }

    DescribeClusterBroker {
        broker_id: i32;
        host: String;
        port: i32;
        rack: Option<String>;
        is_fenced: bool, in 2..;
    }
}
