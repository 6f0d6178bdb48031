//! The APIs of Kafka 4 that are not served, each with the reason. ApiVersions does not name them,
//! so clients do not call them; a request for one closes the connection, as at Kafka.

/// Key, Kafka's name, and why it is not here.
pub const ABSENT_APIS: &[(i16, &str, &str)] = &[
    (4, "LeaderAndIsr", "for ZooKeeper controllers, gone in Kafka 4"),
    (5, "StopReplica", "for ZooKeeper controllers, gone in Kafka 4"),
    (6, "UpdateMetadata", "for ZooKeeper controllers, gone in Kafka 4"),
    (7, "ControlledShutdown", "for ZooKeeper controllers, gone in Kafka 4"),
    (38, "CreateDelegationToken", NO_TOKENS),
    (39, "RenewDelegationToken", NO_TOKENS),
    (40, "ExpireDelegationToken", NO_TOKENS),
    (41, "DescribeDelegationToken", NO_TOKENS),
    (52, "Vote", BETWEEN_BROKERS),
    (53, "BeginQuorumEpoch", BETWEEN_BROKERS),
    (54, "EndQuorumEpoch", BETWEEN_BROKERS),
    (55, "DescribeQuorum", ONE_BROKER),
    (56, "AlterPartition", BETWEEN_BROKERS),
    (58, "Envelope", BETWEEN_BROKERS),
    (59, "FetchSnapshot", BETWEEN_BROKERS),
    (62, "BrokerRegistration", BETWEEN_BROKERS),
    (63, "BrokerHeartbeat", BETWEEN_BROKERS),
    (67, "AllocateProducerIds", BETWEEN_BROKERS),
    (70, "ControllerRegistration", BETWEEN_BROKERS),
    (71, "GetTelemetrySubscriptions", NO_TELEMETRY),
    (72, "PushTelemetry", NO_TELEMETRY),
    (73, "AssignReplicasToDirs", BETWEEN_BROKERS),
    (80, "AddRaftVoter", ONE_BROKER),
    (81, "RemoveRaftVoter", ONE_BROKER),
    (82, "UpdateRaftVoter", BETWEEN_BROKERS),
    (83, "InitializeShareGroupState", PERSISTER),
    (84, "ReadShareGroupState", PERSISTER),
    (85, "WriteShareGroupState", PERSISTER),
    (86, "DeleteShareGroupState", PERSISTER),
    (87, "ReadShareGroupStateSummary", PERSISTER),
    (88, "StreamsGroupHeartbeat", "the streams runtime is our own and uses ordinary groups"),
    (89, "StreamsGroupDescribe", "the streams runtime is our own and uses ordinary groups"),
];

/// Those of them that clients call at Kafka, by key and name.
pub fn absent_for_clients() -> impl Iterator<Item = (i16, &'static str)> {
    let for_clients =
        ABSENT_APIS.iter().filter(|(key, _, why)| *key > 7 && *why != BETWEEN_BROKERS);
    for_clients.map(|(key, name, _)| (*key, *name))
}

const BETWEEN_BROKERS: &str = "between brokers and controllers only";
const NO_TELEMETRY: &str = "client metrics are not collected";
const NO_TOKENS: &str =
    "delegation tokens are not given; SCRAM or OAUTHBEARER serve in their place";
const ONE_BROKER: &str = "there is one broker, which is leader and controller of all";
const PERSISTER: &str = "between brokers and the persister of share groups (KIP-932) only";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ApiKey;

    #[test]
    fn every_key_is_either_served_or_absent() {
        let served = ApiKey::ALL.iter().map(|api| *api as i16);
        let mut keys: Vec<i16> = served.chain(ABSENT_APIS.iter().map(|absent| absent.0)).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..=92).collect::<Vec<i16>>());
    }

    #[test]
    fn names_are_kafkas() {
        for (key, name, _) in ABSENT_APIS {
            if let Ok(theirs) = kafka_protocol::messages::ApiKey::try_from(*key) {
                assert_eq!(format!("{theirs:?}"), *name);
            }
        }
        for api in ApiKey::ALL {
            let theirs = kafka_protocol::messages::ApiKey::try_from(*api as i16).unwrap();
            assert_eq!(format!("{theirs:?}"), api.name());
        }
    }
}
