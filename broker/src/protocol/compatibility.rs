//! Which APIs are served in which versions, beside Apache Kafka's: the table of the README.

use super::absent::ABSENT_APIS;
use super::api::ApiKey;

/// What Apache Kafka 4.1 tells its clients by ApiVersions: key, first and last version.
#[rustfmt::skip]
pub const KAFKA_4_1: &[(i16, i16, i16)] = &[
    (0, 0, 13), (1, 4, 18), (2, 1, 10), (3, 0, 13), (8, 2, 9), (9, 1, 9), (10, 0, 6), (11, 0, 9),
    (12, 0, 4), (13, 0, 5), (14, 0, 5), (15, 0, 6), (16, 0, 5), (17, 0, 1), (18, 0, 4),
    (19, 2, 7), (20, 1, 6), (21, 0, 2), (22, 0, 5), (23, 2, 4), (24, 0, 5), (25, 0, 4),
    (26, 0, 5), (27, 1, 1), (28, 0, 5), (29, 1, 3), (30, 1, 3), (31, 1, 3), (32, 1, 4),
    (33, 0, 2), (34, 1, 2), (35, 1, 4), (36, 0, 2), (37, 0, 3), (38, 1, 3), (39, 1, 2),
    (40, 1, 2), (41, 1, 3), (42, 0, 2), (43, 0, 2), (44, 0, 1), (45, 0, 1), (46, 0, 0),
    (47, 0, 0), (48, 0, 1), (49, 0, 1), (50, 0, 0), (51, 0, 0), (55, 0, 2), (57, 0, 2),
    (60, 0, 2), (61, 0, 0), (64, 0, 0), (65, 0, 0), (66, 0, 2), (68, 0, 1), (69, 0, 1),
    (74, 0, 1), (75, 0, 0), (76, 1, 1), (77, 1, 1), (78, 1, 1), (79, 1, 1), (80, 0, 0),
    (81, 0, 0), (83, 0, 0), (84, 0, 0), (85, 0, 0), (86, 0, 0), (87, 0, 0), (90, 0, 0),
    (91, 0, 0), (92, 0, 0),
];

/// What is to be known of an API that is served.
fn note(api: ApiKey) -> &'static str {
    match api {
        ApiKey::Produce => "served from v3 on; older ones are named for librdkafka's sake",
        ApiKey::Fetch => "with sessions; followers do not fetch, there is one broker",
        ApiKey::ListOffsets => "all is local, no tiered storage",
        ApiKey::FindCoordinator => {
            "of groups, share groups among them, and transactional ids; there is no persister to be \
             found"
        }
        ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => {
            "classic groups, with static members; members of the old protocol in groups of the new"
        }
        ApiKey::ApiVersions => {
            "with the features `group.version` at 1, `share.version` at 1 and \
             `transaction.version` at 2"
        }
        ApiKey::InitProducerId | ApiKey::EndTxn | ApiKey::TxnOffsetCommit => {
            "transactions v1 and v2 (KIP-890)"
        }
        ApiKey::SaslHandshake => "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER",
        ApiKey::SaslAuthenticate => "with sessions that end (KIP-368)",
        ApiKey::WriteTxnMarkers => "to end transactions that hang",
        ApiKey::Metadata => {
            "a topic that is created by asking for it is there at once, without a first answer of \
             LEADER_NOT_AVAILABLE"
        }
        ApiKey::ConsumerGroupHeartbeat => {
            "groups of KIP-848: `uniform` and `range`, topics by name or expression, upgrade and \
             downgrade online"
        }
        ApiKey::ShareGroupHeartbeat => "members of share groups (KIP-932)",
        ApiKey::ShareFetch => {
            "a member that dies is noticed by its connection, too; where a group begins in a \
             partition is durable with the first fetch"
        }
        ApiKey::DescribeConfigs => {
            "of topics, groups, brokers and client metrics; loggers have none here"
        }
        ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs => {
            "of topics, groups, brokers and client metrics; a name that is not known is refused, while Kafka keeps it for \
             plug-ins"
        }
        ApiKey::AlterReplicaLogDirs => "there is one log directory, where all is already",
        ApiKey::ElectLeaders => "the one broker leads all that there is",
        ApiKey::AlterPartitionReassignments | ApiKey::ListPartitionReassignments => {
            "all is on the one broker, and nothing is ever under way"
        }
        ApiKey::UpdateFeatures => "features are at their latest levels, and stay there",
        ApiKey::UnregisterBroker => "the broker that answers cannot be unregistered",
        ApiKey::AlterClientQuotas => {
            "every quota of Kafka's, with its order of precedence, kept to as it does (KIP-219, \
             KIP-599, KIP-612)"
        }
        _ => "",
    }
}

/// The table as Markdown, a row for each API that Kafka serves to clients.
pub fn markdown() -> String {
    let mut table =
        "| API | key | Millstream | Kafka 4.1 | note |\n|---|--:|---|---|---|\n".to_owned();
    for (key, first, last) in KAFKA_4_1 {
        let kafkas = versions(*first, *last);
        let absent = ABSENT_APIS.iter().find(|absent| absent.0 == *key);
        let (name, ours, note) = match (ApiKey::from_i16(*key), absent) {
            (Some(api), _) => {
                let (first, last) = api.advertised_versions().into_inner();
                (api.name(), versions(first, last), note(api))
            }
            (None, Some((_, name, reason))) => (*name, "–".to_owned(), *reason),
            (None, None) => ("?", "?".to_owned(), "neither served nor known to be absent"),
        };
        table += &format!("| {name} | {key} | {ours} | {kafkas} | {note} |\n");
    }
    table
}

fn versions(first: i16, last: i16) -> String {
    if first == last { format!("{first}") } else { format!("{first}–{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_served_in_kafkas_versions() {
        for api in ApiKey::ALL {
            let kafkas = KAFKA_4_1.iter().find(|(key, ..)| *key == *api as i16);
            let kafkas = kafkas.map(|(_, first, last)| *first..=*last);
            assert_eq!(Some(api.advertised_versions()), kafkas, "{api}");
        }
        assert!(!markdown().contains('?'), "{}", markdown());
    }
}
