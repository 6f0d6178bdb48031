//! AlterReplicaLogDirs: there is one directory, in which every replica is already.

use super::{Call, partition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::k34_alter_replica_log_dirs::*;
use crate::security::acl::Operation;

pub async fn handle(
    call: &Call,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let may = call.may_on_cluster(Operation::Alter);
    let own = call.broker().config().data_dir.canonicalize().ok();
    let mut results: Vec<AlterReplicaLogDirTopicResult> = Vec::new();
    for dir in request.dirs {
        let path = std::path::Path::new(&dir.path);
        let is_own =
            path.is_absolute() && path.canonicalize().ok().is_some_and(|path| Some(path) == own);
        for topic in dir.topics {
            let moved = |index: &i32| {
                let error_code = match partition(call, &topic.name, *index) {
                    _ if !may => ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
                    _ if !is_own => ErrorCode::LOG_DIR_NOT_FOUND,
                    Ok(_) => ErrorCode::NONE,
                    Err(code) => code,
                };
                AlterReplicaLogDirPartitionResult { partition_index: *index, error_code }
            };
            let partitions = topic.partitions.iter().map(moved).collect();
            results.push(AlterReplicaLogDirTopicResult { topic_name: topic.name, partitions });
        }
    }
    AlterReplicaLogDirsResponse { results, ..Default::default() }
}
