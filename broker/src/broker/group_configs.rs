//! Settings of single groups, which change while the broker runs, and what the coordinator of
//! groups sees of the broker.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Broker, BrokerConfig, DynamicConfigError, TopicError};
use crate::client::Isolation;
use crate::coordinator::groups::consumer::ConsumerConfig;
use crate::coordinator::groups::consumer::topics::{TopicFacts, Topics};
use crate::coordinator::groups::{GroupConfig, GroupSettings, Host};
use crate::durations;

type Configs = BTreeMap<String, String>;

/// A setting of groups, by Kafka's names.
#[derive(Debug)]
pub struct GroupConfigDefinition {
    pub name: &'static str,
    pub doc: &'static str,
    kind: Kind,
}

/// What values mean.
#[derive(Debug)]
enum Kind {
    /// How members are kept, and the settings of the groups that it is for.
    Members {
        of: fn(&GroupConfig) -> &ConsumerConfig,
        default: fn(&ConsumerConfig) -> i32,
        range: fn(&ConsumerConfig) -> RangeInclusive<i32>,
    },
    LockDuration,
    Start,
    Isolation,
}

const HEARTBEAT: Kind = Kind::Members {
    of: |groups| &groups.consumer,
    default: |config| config.heartbeat_interval_ms,
    range: |config| config.heartbeat_interval_ms_min..=config.heartbeat_interval_ms_max,
};
const SESSION: Kind = Kind::Members {
    of: |groups| &groups.consumer,
    default: |config| config.session_timeout_ms,
    range: |config| config.session_timeout_ms_min..=config.session_timeout_ms_max,
};
const SHARE_HEARTBEAT: Kind = Kind::Members {
    of: |groups| &groups.share,
    default: |config| config.heartbeat_interval_ms,
    range: |config| config.heartbeat_interval_ms_min..=config.heartbeat_interval_ms_max,
};
const SHARE_SESSION: Kind = Kind::Members {
    of: |groups| &groups.share,
    default: |config| config.session_timeout_ms,
    range: |config| config.session_timeout_ms_min..=config.session_timeout_ms_max,
};

/// Of each kind of groups first the interval of heartbeats, and after it the longer timeout of
/// sessions.
pub const GROUP_CONFIGS: &[GroupConfigDefinition] = &[
    GroupConfigDefinition {
        name: "consumer.heartbeat.interval.ms",
        doc: "how often members of the new group protocol are told to be heard of",
        kind: HEARTBEAT,
    },
    GroupConfigDefinition {
        name: "consumer.session.timeout.ms",
        doc: "how long a member of the new group protocol may be silent before it is gone",
        kind: SESSION,
    },
    GroupConfigDefinition {
        name: "share.heartbeat.interval.ms",
        doc: "how often members of a share group are told to be heard of",
        kind: SHARE_HEARTBEAT,
    },
    GroupConfigDefinition {
        name: "share.session.timeout.ms",
        doc: "how long a member of a share group may be silent before it is gone",
        kind: SHARE_SESSION,
    },
    GroupConfigDefinition {
        name: AUTO_OFFSET_RESET,
        doc: "where a share group begins in a partition: latest, earliest, or by_duration: and an \
              ISO-8601 duration before now, such as by_duration:PT1H",
        kind: Kind::Start,
    },
    GroupConfigDefinition {
        name: ISOLATION_LEVEL,
        doc: "whether members of a share group are given what transactions have not committed: \
              read_uncommitted or read_committed",
        kind: Kind::Isolation,
    },
    GroupConfigDefinition {
        name: LOCK_DURATION,
        doc: "how long a member of a share group has a record before that is given to another",
        kind: Kind::LockDuration,
    },
];

const AUTO_OFFSET_RESET: &str = "share.auto.offset.reset";
const ISOLATION_LEVEL: &str = "share.isolation.level";
const LOCK_DURATION: &str = "share.record.lock.duration.ms";

/// How the members of one share group are given records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareSettings {
    pub start: Start,
    pub isolation: Isolation,
    pub lock_ms: i32,
}

/// Where a share group begins in a partition that it has nothing of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Latest,
    Earliest,
    Ago { ms: i64 },
}

impl Start {
    fn parse(value: &str) -> Option<Start> {
        match value {
            "latest" => Some(Start::Latest),
            "earliest" => Some(Start::Earliest),
            value => {
                let ago = value.strip_prefix("by_duration:")?;
                let ms = durations::iso_ms(ago).filter(|ms| *ms >= 0)?;
                Some(Start::Ago { ms })
            }
        }
    }
}

fn isolation(value: &str) -> Option<Isolation> {
    match value {
        "read_uncommitted" => Some(Isolation::ReadUncommitted),
        "read_committed" => Some(Isolation::ReadCommitted),
        _ => None,
    }
}

impl GroupConfigDefinition {
    /// What holds for groups that have no value of their own.
    pub fn given(&self, broker: &BrokerConfig) -> String {
        match &self.kind {
            Kind::Members { of, default, .. } => default(of(&broker.groups)).to_string(),
            Kind::LockDuration => broker.shares.lock_ms.to_string(),
            Kind::Start => "latest".to_owned(),
            Kind::Isolation => "read_uncommitted".to_owned(),
        }
    }

    pub fn is_number(&self) -> bool {
        matches!(self.kind, Kind::Members { .. } | Kind::LockDuration)
    }

    /// What was expected, if the value is not that.
    fn check(&self, value: &str, broker: &BrokerConfig) -> Result<(), String> {
        let number = |range: RangeInclusive<i32>| {
            let is_in = value.parse().is_ok_and(|number| range.contains(&number));
            let (first, last) = range.into_inner();
            is_in.then_some(()).ok_or(format!("expected a whole number from {first} to {last}"))
        };
        let one_of = |is: bool, which: &str| is.then_some(()).ok_or(format!("expected {which}"));
        let shares = &broker.shares;
        match &self.kind {
            Kind::Members { of, range, .. } => number(range(of(&broker.groups))),
            Kind::LockDuration => number(shares.lock_ms_min..=shares.lock_ms_max),
            Kind::Start => one_of(
                Start::parse(value).is_some(),
                "latest, earliest, or a duration such as by_duration:PT1H",
            ),
            Kind::Isolation => {
                one_of(isolation(value).is_some(), "read_uncommitted or read_committed")
            }
        }
    }
}

fn check(configs: &Configs, broker: &BrokerConfig) -> Result<(), DynamicConfigError> {
    for (name, value) in configs {
        let known = GROUP_CONFIGS.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| DynamicConfigError::UnknownOfGroup(name.clone()))?;
        known.check(value.trim(), broker).map_err(|expected| DynamicConfigError::Invalid {
            name: name.clone(),
            value: value.clone(),
            expected,
        })?;
    }
    let number = |known: &GroupConfigDefinition| -> Option<i32> {
        let set = configs.get(known.name).and_then(|value| value.trim().parse().ok());
        set.or_else(|| known.given(broker).parse().ok())
    };
    let members: Vec<_> =
        GROUP_CONFIGS.iter().filter(|known| matches!(known.kind, Kind::Members { .. })).collect();
    for pair in members.chunks(2) {
        let [less, more] = pair else { continue };
        if let (Some(value), Some(bound)) = (number(less), number(more))
            && value >= bound
        {
            let (name, value) = (less.name.to_owned(), value.to_string());
            let expected = format!("expected less than {}", more.name);
            return Err(DynamicConfigError::Invalid { name, value, expected });
        }
    }
    Ok(())
}

impl Broker {
    /// What was set for one group.
    pub fn group_configs(&self, group: &str) -> Configs {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        dynamic.of_groups.get(group).cloned().unwrap_or_default()
    }

    /// How members of a share group are given records.
    pub fn share_settings(&self, group: &str) -> ShareSettings {
        let dynamic = self.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        let own = dynamic.of_groups.get(group);
        let set = |name: &str| own.and_then(|own| own.get(name)).map(|value| value.trim());
        ShareSettings {
            start: set(AUTO_OFFSET_RESET).and_then(Start::parse).unwrap_or(Start::Latest),
            isolation: set(ISOLATION_LEVEL)
                .and_then(isolation)
                .unwrap_or(Isolation::ReadUncommitted),
            lock_ms: set(LOCK_DURATION)
                .and_then(|value| value.parse().ok())
                .unwrap_or(self.config.shares.lock_ms),
        }
    }

    /// Checks what [`Broker::set_group_configs`] would refuse, and does nothing.
    pub fn check_group_configs(&self, configs: &Configs) -> Result<(), DynamicConfigError> {
        check(configs, &self.config)
    }

    /// Replaces what is set for one group. It is durable, and holds, when this returns.
    pub async fn set_group_configs(
        self: &Arc<Self>,
        group: &str,
        configs: Configs,
    ) -> Result<(), DynamicConfigError> {
        let group = group.to_owned();
        self.change(move |broker, catalog| {
            broker.check_group_configs(&configs)?;
            let mut dynamic = broker.dynamic_configs();
            match configs.is_empty() {
                true => _ = dynamic.of_groups.remove(&group),
                false => _ = dynamic.of_groups.insert(group, configs),
            }
            catalog.put_dynamic(dynamic.clone()).map_err(TopicError::from)?;
            *broker.dynamic.write().unwrap_or_else(PoisonError::into_inner) = dynamic;
            Ok(())
        })
        .await
    }
}

/// The broker as its coordinator of groups sees it; it does not keep it alive.
#[derive(Debug)]
pub(crate) struct GroupHost {
    broker: Weak<Broker>,
    /// As they were at the last change.
    topics: Mutex<Arc<Topics>>,
}

impl GroupHost {
    pub fn new(broker: &Arc<Broker>) -> GroupHost {
        GroupHost { broker: Arc::downgrade(broker), topics: Mutex::default() }
    }
}

impl Host for GroupHost {
    fn topics(&self) -> Arc<Topics> {
        let mut known = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(broker) = self.broker.upgrade() else { return known.clone() };
        // The count first: what changes meanwhile is looked at again. It begins at 0, as an empty
        // list of topics does, but not before there were any.
        let version = *broker.changes.borrow() + 1;
        if known.version() != version {
            let facts = |topic: &Arc<super::Topic>| {
                let facts = TopicFacts { id: topic.id, partitions: topic.partitions_count() };
                (topic.name.clone(), facts)
            };
            *known = Arc::new(Topics::new(version, broker.topics().iter().map(facts)));
        }
        known.clone()
    }

    fn group_settings(&self, group: &str) -> GroupSettings {
        let Some(broker) = self.broker.upgrade() else { return GroupSettings::default() };
        let dynamic = broker.dynamic.read().unwrap_or_else(PoisonError::into_inner);
        let Some(set) = dynamic.of_groups.get(group) else { return GroupSettings::default() };
        let number = |name: &str| set.get(name).and_then(|value| value.trim().parse().ok());
        GroupSettings {
            heartbeat_interval_ms: number(GROUP_CONFIGS[0].name),
            session_timeout_ms: number(GROUP_CONFIGS[1].name),
            share_heartbeat_interval_ms: number(GROUP_CONFIGS[2].name),
            share_session_timeout_ms: number(GROUP_CONFIGS[3].name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_begins_at_an_end_or_so_long_ago() {
        assert_eq!(Start::parse("latest"), Some(Start::Latest));
        assert_eq!(Start::parse("earliest"), Some(Start::Earliest));
        assert_eq!(Start::parse("by_duration:PT1S"), Some(Start::Ago { ms: 1_000 }));
        for wrong in ["by_duration:", "by_duration:-PT1S", "by_duration", "none", ""] {
            assert_eq!(Start::parse(wrong), None, "{wrong}");
        }
    }
}
