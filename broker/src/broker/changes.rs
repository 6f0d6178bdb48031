//! Changing topics: one change at a time, in the catalog first, off the async threads.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use uuid::Uuid;

use super::{Broker, PARTITIONS_MAX, Topic, TopicError, topic};
use crate::client::NewTopic;
use crate::log::{Doing, Partition};
use crate::topics::{Catalog, TopicConfig, TopicRecord, config, name};

impl Broker {
    /// Checks what [`Broker::create_topic`] would refuse, and does nothing.
    pub fn check_topic(&self, new: &NewTopic) -> Result<(), TopicError> {
        name::check(&new.name)?;
        if self.topic(&new.name).is_some() {
            return Err(TopicError::Exists(new.name.clone()));
        }
        self.topics_ref(|topics| {
            name::check_collision(&new.name, topics.by_name.keys().map(|name| &**name))
        })?;
        let partitions = new.partitions.unwrap_or(self.config.partitions_default);
        check_partitions(&new.name, partitions)?;
        Ok(config::check(&new.configs)?)
    }

    /// Creates a topic; it is durable when this returns.
    pub async fn create_topic(self: &Arc<Self>, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        self.change(move |broker, catalog| {
            broker.check_topic(&new)?;
            let record = TopicRecord {
                name: new.name,
                id: Uuid::new_v4(),
                partitions: new.partitions.unwrap_or(broker.config.partitions_default),
                configs: new.configs,
            };
            broker.check_way(&record, 0)?;
            catalog.put(record.clone())?;
            broker.grow(&record, Vec::new())
        })
        .await
    }

    /// The topic, created with the defaults if there is none and the broker may do so.
    pub async fn topic_or_create(self: &Arc<Self>, name: &str) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        if !self.config.auto_create_topics {
            return Err(TopicError::Unknown(name.to_owned()));
        }
        let new = NewTopic { name: name.to_owned(), partitions: None, configs: BTreeMap::new() };
        match self.create_topic(new).await {
            Err(TopicError::Exists(_)) => {
                self.topic(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))
            }
            created => created,
        }
    }

    /// Deletes a topic and its records. It is gone for good when this returns.
    pub async fn delete_topic(self: &Arc<Self>, name: &str) -> Result<(), TopicError> {
        let topic_id = self.topic(name).map(|topic| topic.id);
        self.remove_topic(name.to_owned()).await?;
        if let Err(error) = self.groups().topic_deleted(name).await {
            tracing::warn!(topic = name, %error, "groups keep offsets of a deleted topic");
        }
        let is_other = |_: &str, (of, _): (Uuid, i32)| Some(of) != topic_id;
        if let Err(error) = self.shares().retain(is_other).await {
            tracing::warn!(topic = name, %error, "share groups keep state of a deleted topic");
        }
        Ok(())
    }

    async fn remove_topic(self: &Arc<Self>, name: String) -> Result<(), TopicError> {
        self.change(move |broker, catalog| {
            let topic = broker.topic(&name).ok_or_else(|| TopicError::Unknown(name.clone()))?;
            broker.topics_mut(|topics| {
                topics.by_name.remove(&topic.name);
                topics.by_id.remove(&topic.id);
            });
            if let Err(error) = catalog.delete(&name) {
                if catalog.get(&name).is_some() {
                    broker.topics_mut(|topics| topics.put(topic));
                }
                return Err(error.into());
            }
            for partition in topic.partitions() {
                partition.abandon();
            }
            Ok(catalog.finish_deletions()?)
        })
        .await
    }

    /// Adds partitions, up to `total`.
    pub async fn create_partitions(
        self: &Arc<Self>,
        name: &str,
        total: i32,
    ) -> Result<Arc<Topic>, TopicError> {
        let name = name.to_owned();
        self.change(move |broker, catalog| {
            let topic = broker.topic(&name).ok_or_else(|| TopicError::Unknown(name.clone()))?;
            check_partitions(&name, total)?;
            let now = topic.partitions_count();
            if total <= now {
                return Err(TopicError::FewerPartitions { name, now, wanted: total });
            }
            let record = catalog.get(&name).expect("a topic is in the catalog");
            let record = TopicRecord { partitions: total, ..record.clone() };
            broker.check_way(&record, now)?;
            catalog.put(record.clone())?;
            broker.grow(&record, topic.partitions.clone())
        })
        .await
    }

    /// Replaces the configs set for a topic; they take effect at once.
    pub async fn set_topic_configs(
        self: &Arc<Self>,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, TopicError> {
        let name = name.to_owned();
        self.change(move |broker, catalog| {
            let topic = broker.topic(&name).ok_or_else(|| TopicError::Unknown(name.clone()))?;
            let config = TopicConfig::new(configs.clone(), broker.topic_defaults())?;
            let record = catalog.get(&name).expect("a topic is in the catalog");
            let record = TopicRecord { configs, ..record.clone() };
            catalog.put(record.clone())?;
            for partition in topic.partitions() {
                partition.set_config(broker.log_config(&config));
            }
            Ok(broker.show(&record, config, topic.partitions.clone()))
        })
        .await
    }

    /// Runs a change of topics off the async threads, one at a time.
    pub(super) async fn change<T: Send + 'static, E: From<TopicError> + Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Arc<Broker>, &mut Catalog) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let broker = self.clone();
        let run = move || {
            let mut catalog = broker.catalog.lock().unwrap_or_else(PoisonError::into_inner);
            if broker.is_shutting_down() {
                return Err(TopicError::ShuttingDown.into());
            }
            change(&broker, &mut catalog)
        };
        tokio::task::spawn_blocking(run).await.expect("changes of topics do not panic")
    }

    /// A directory that is there already would bring its records into the new partition.
    fn check_way(&self, record: &TopicRecord, from: i32) -> Result<(), TopicError> {
        let dirs = (from..record.partitions).map(|n| self.config.data_dir.join(record.dir_name(n)));
        match dirs.into_iter().find(|dir| self.disk.metadata(dir).is_ok()) {
            Some(dir) => Err(TopicError::InTheWay { name: record.name.clone(), dir }),
            None => Ok(()),
        }
    }

    /// Opens the partitions that `record` has beyond `partitions`, then shows the topic.
    fn grow(
        &self,
        record: &TopicRecord,
        mut partitions: Vec<Arc<Partition>>,
    ) -> Result<Arc<Topic>, TopicError> {
        let config = TopicConfig::new(record.configs.clone(), self.topic_defaults())?;
        for number in partitions.len() as i32..record.partitions {
            partitions.push(self.open_partition(record, &config, number)?);
        }
        let dir = &self.config.data_dir;
        self.disk.sync_dir(dir).doing(dir, "sync directory")?;
        Ok(self.show(record, config, partitions))
    }

    pub(super) fn show(
        &self,
        record: &TopicRecord,
        config: TopicConfig,
        partitions: Vec<Arc<Partition>>,
    ) -> Arc<Topic> {
        let topic = Arc::new(topic(record, config, partitions));
        self.topics_mut(|topics| topics.put(topic.clone()));
        topic
    }
}

fn check_partitions(name: &str, partitions: i32) -> Result<(), TopicError> {
    if (1..=PARTITIONS_MAX).contains(&partitions) {
        return Ok(());
    }
    Err(TopicError::Partitions { name: name.to_owned(), partitions })
}
