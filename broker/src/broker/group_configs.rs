//! Settings of single groups, which change while the broker runs, and what the coordinator of
//! groups sees of the broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Broker, DynamicConfigError, TopicError};
use crate::coordinator::groups::consumer::ConsumerConfig;
use crate::coordinator::groups::consumer::topics::{TopicFacts, Topics};
use crate::coordinator::groups::{GroupConfig, GroupSettings, Host};

type Configs = BTreeMap<String, String>;

/// A setting of groups, by Kafka's names.
#[derive(Debug)]
pub struct GroupConfigDefinition {
    pub name: &'static str,
    pub doc: &'static str,
    /// The settings of the groups that it is for.
    of: fn(&GroupConfig) -> &ConsumerConfig,
    default: fn(&ConsumerConfig) -> i32,
    range: fn(&ConsumerConfig) -> std::ops::RangeInclusive<i32>,
}

/// Of each kind of groups the interval of heartbeats, and after it the longer timeout of sessions.
pub const GROUP_CONFIGS: &[GroupConfigDefinition] = &[
    GroupConfigDefinition {
        name: "consumer.heartbeat.interval.ms",
        doc: "how often members of the new group protocol are told to be heard of",
        of: |groups| &groups.consumer,
        default: |config| config.heartbeat_interval_ms,
        range: |config| config.heartbeat_interval_ms_min..=config.heartbeat_interval_ms_max,
    },
    GroupConfigDefinition {
        name: "consumer.session.timeout.ms",
        doc: "how long a member of the new group protocol may be silent before it is gone",
        of: |groups| &groups.consumer,
        default: |config| config.session_timeout_ms,
        range: |config| config.session_timeout_ms_min..=config.session_timeout_ms_max,
    },
    GroupConfigDefinition {
        name: "share.heartbeat.interval.ms",
        doc: "how often members of a share group are told to be heard of",
        of: |groups| &groups.share,
        default: |config| config.heartbeat_interval_ms,
        range: |config| config.heartbeat_interval_ms_min..=config.heartbeat_interval_ms_max,
    },
    GroupConfigDefinition {
        name: "share.session.timeout.ms",
        doc: "how long a member of a share group may be silent before it is gone",
        of: |groups| &groups.share,
        default: |config| config.session_timeout_ms,
        range: |config| config.session_timeout_ms_min..=config.session_timeout_ms_max,
    },
];

impl GroupConfigDefinition {
    /// What holds for groups that have no value of their own.
    pub fn given(&self, groups: &GroupConfig) -> i32 {
        (self.default)((self.of)(groups))
    }
}

fn check(configs: &Configs, groups: &GroupConfig) -> Result<(), DynamicConfigError> {
    for (name, value) in configs {
        let known = GROUP_CONFIGS.iter().find(|known| known.name == name);
        let known = known.ok_or_else(|| DynamicConfigError::UnknownOfGroup(name.clone()))?;
        let range = (known.range)((known.of)(groups));
        if !value.trim().parse().is_ok_and(|number| range.contains(&number)) {
            let (first, last) = range.into_inner();
            return Err(DynamicConfigError::Invalid {
                name: name.clone(),
                value: value.clone(),
                expected: format!("expected a whole number from {first} to {last}"),
            });
        }
    }
    let number = |known: &GroupConfigDefinition| {
        let set = configs.get(known.name).and_then(|value| value.trim().parse().ok());
        set.unwrap_or(known.given(groups))
    };
    for pair in GROUP_CONFIGS.chunks(2) {
        let [less, more] = pair else { continue };
        if number(less) >= number(more) {
            let (name, value) = (less.name.to_owned(), number(less).to_string());
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

    /// Checks what [`Broker::set_group_configs`] would refuse, and does nothing.
    pub fn check_group_configs(&self, configs: &Configs) -> Result<(), DynamicConfigError> {
        check(configs, &self.config.groups)
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
