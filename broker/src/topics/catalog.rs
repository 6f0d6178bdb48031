//! The list of topics on disk: `topics.json`, replaced as a whole with every change.
//!
//! ```json
//! {"version":1,
//!  "topics":[{"name":"flights","id":"…","partitions":3,"configs":{"retention.ms":"-1"}}],
//!  "deleting":[{"name":"old","id":"…","partitions":1}],
//!  "brokers":{"of_cluster":{"log.retention.ms":"1000"}}}
//! ```
//!
//! Beside the topics, it has what was set for brokers, groups and clients while they ran.
//!
//! A deletion first moves the topic to `deleting`, which is the moment at which it is gone; then
//! its directories are renamed out of the way and removed, which a restart finishes if need be.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::log::disk::Disk;
use crate::log::{Doing, StorageError};
use crate::quotas::Quotas;

const FILE: &str = "topics.json";
/// The form that is written. A change that older versions would misread needs a higher number.
const VERSION: u32 = 1;
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What is kept of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    pub name: String,
    pub id: Uuid,
    pub partitions: i32,
    /// Those set for this topic.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<String, String>,
}

impl TopicRecord {
    /// The name of a partition's directory.
    pub fn dir_name(&self, partition: i32) -> String {
        format!("{}-{partition}", self.name)
    }

    /// The name that the directory has once the topic is gone, as Kafka's: unlike the topic's
    /// name it never comes again.
    fn deleted_dir_name(&self, partition: i32) -> String {
        // A long topic name is cut so that the whole stays within a file name's 255.
        let name: String = self.name.chars().take(190).collect();
        format!("{name}-{partition}.{}-delete", self.id.simple())
    }
}

/// What was set for all brokers while they ran, and for this one, which goes before, by the names
/// that settings of brokers have; and for single groups, by those that settings of groups have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DynamicConfigs {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of_cluster: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of_node: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of_groups: BTreeMap<String, BTreeMap<String, String>>,
    /// By the names of subscriptions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub of_client_metrics: BTreeMap<String, BTreeMap<String, String>>,
    /// How much clients may have.
    #[serde(default, skip_serializing_if = "Quotas::is_empty")]
    pub quotas: Quotas,
}

/// Why the catalog cannot be read or written.
#[derive(Clone, Debug, Error)]
pub enum CatalogError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(
        "{}: written by a newer version (format {found}, this one knows up to {VERSION}); run that \
         version, or another data directory",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{}: malformed: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    topics: Vec<TopicRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deleting: Vec<TopicRecord>,
    #[serde(default)]
    brokers: DynamicConfigs,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The topics of a data directory.
#[derive(Debug)]
pub struct Catalog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    topics: BTreeMap<String, TopicRecord>,
    deleting: Vec<TopicRecord>,
    brokers: DynamicConfigs,
}

impl Catalog {
    /// Reads the catalog in `dir`, and finishes deletions that were interrupted.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Catalog, CatalogError> {
        let path = dir.join(FILE);
        let Contents { topics, deleting, brokers, .. } = match disk.read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::default(),
            Err(error) => return Err(StorageError::new(&path, "read topics", error).into()),
        };
        let topics = topics.into_iter().map(|topic| (topic.name.clone(), topic));
        let (dir, topics) = (dir.to_owned(), topics.collect());
        let mut catalog = Catalog { disk, dir, topics, deleting, brokers };
        catalog.set_aside()?;
        catalog.finish_deletions()?;
        Ok(catalog)
    }

    pub fn topics(&self) -> impl Iterator<Item = &TopicRecord> {
        self.topics.values()
    }

    pub fn get(&self, name: &str) -> Option<&TopicRecord> {
        self.topics.get(name)
    }

    /// The broker's settings that were changed while it ran.
    pub fn dynamic(&self) -> &DynamicConfigs {
        &self.brokers
    }

    /// Replaces them; they are durable when this returns.
    pub fn put_dynamic(&mut self, brokers: DynamicConfigs) -> Result<(), CatalogError> {
        let before = std::mem::replace(&mut self.brokers, brokers);
        self.store().inspect_err(|_| self.brokers = before)
    }

    /// Adds a topic, or replaces what is known of it; it is durable when this returns.
    pub fn put(&mut self, topic: TopicRecord) -> Result<(), CatalogError> {
        let before = self.topics.insert(topic.name.clone(), topic.clone());
        self.store().inspect_err(|_| {
            match before {
                Some(before) => self.topics.insert(topic.name, before),
                None => self.topics.remove(&topic.name),
            };
        })
    }

    /// Removes a topic: gone for good when this returns, its directories out of the way.
    /// [`Catalog::finish_deletions`] frees their room.
    pub fn delete(&mut self, name: &str) -> Result<(), CatalogError> {
        let Some(topic) = self.topics.remove(name) else { return Ok(()) };
        self.deleting.push(topic);
        if let Err(error) = self.store() {
            let topic = self.deleting.pop().expect("pushed above");
            self.topics.insert(topic.name.clone(), topic);
            return Err(error);
        }
        self.set_aside()
    }

    /// Renames the directories of deleted topics, so that new ones can have their names.
    fn set_aside(&self) -> Result<(), CatalogError> {
        for topic in &self.deleting {
            for partition in 0..topic.partitions {
                let from = self.dir.join(topic.dir_name(partition));
                // A new topic may have the name by now.
                if self.topics.contains_key(&topic.name) {
                    continue;
                }
                match self.disk.rename(&from, &self.dir.join(topic.deleted_dir_name(partition))) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(StorageError::new(&from, "rename directory", error).into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Removes the directories of deleted topics.
    pub fn finish_deletions(&mut self) -> Result<(), CatalogError> {
        if self.deleting.is_empty() {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir).doing(&self.dir, "sync directory")?;
        for topic in &self.deleting {
            for partition in 0..topic.partitions {
                let path = self.dir.join(topic.deleted_dir_name(partition));
                match self.disk.remove_dir_all(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(StorageError::new(&path, "delete directory", error).into());
                    }
                    _ => {}
                }
            }
        }
        self.deleting.clear();
        self.store()
    }

    fn store(&self) -> Result<(), CatalogError> {
        let contents = Contents {
            version: VERSION,
            topics: self.topics.values().cloned().collect(),
            deleting: self.deleting.clone(),
            brokers: self.brokers.clone(),
        };
        let json = serde_json::to_vec_pretty(&contents).expect("strings and numbers are JSON");
        let path = self.dir.join(FILE);
        Ok(self.disk.replace(&path, &json).doing(&path, "write topics")?)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Contents, CatalogError> {
    let malformed = |error: serde_json::Error| CatalogError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    // The version first: of a newer form nothing else is known.
    let versioned: Versioned = serde_json::from_slice(bytes).map_err(malformed)?;
    if versioned.version > VERSION {
        return Err(CatalogError::Newer { path: path.to_owned(), found: versioned.version });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::disk::OsDisk;

    fn topic(name: &str, id: u128) -> TopicRecord {
        let id = Uuid::from_u128(id);
        TopicRecord { name: name.into(), id, partitions: 2, configs: BTreeMap::new() }
    }

    fn open(dir: &Path) -> Result<Catalog, CatalogError> {
        Catalog::open(Arc::new(OsDisk), dir)
    }

    #[test]
    fn topics_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = open(dir.path()).unwrap();
        let mut flights = topic("flights", 1);
        flights.configs.insert("retention.ms".into(), "-1".into());
        catalog.put(flights.clone()).unwrap();
        catalog.put(topic("other", 2)).unwrap();
        let catalog = open(dir.path()).unwrap();
        assert_eq!(catalog.topics().collect::<Vec<_>>(), [&flights, &topic("other", 2)]);
    }

    #[test]
    fn an_interrupted_deletion_is_finished_and_spares_a_new_topic_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        let mut catalog = open(dir.path()).unwrap();
        catalog.put(topic("a", 1)).unwrap();
        for name in ["a-0", "a-1", "stranger-0"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        catalog.delete("a").unwrap();
        assert!(!dir.path().join("a-0").exists());
        std::fs::create_dir(dir.path().join("a-0")).unwrap();
        catalog.put(topic("a", 3)).unwrap();
        drop(catalog);
        let catalog = open(dir.path()).unwrap();
        assert_eq!(catalog.topics().collect::<Vec<_>>(), [&topic("a", 3)]);
        let mut names = OsDisk.list(dir.path()).unwrap();
        names.sort();
        assert_eq!(names, ["a-0", "stranger-0", "topics.json"]);

        // A crash right after the catalog was written, before anything was renamed.
        let mut catalog = open(dir.path()).unwrap();
        catalog.deleting.push(catalog.topics.remove("a").unwrap());
        catalog.store().unwrap();
        assert_eq!(open(dir.path()).unwrap().topics().count(), 0);
        assert!(!dir.path().join("a-0").exists());
    }

    #[test]
    fn a_newer_form_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        std::fs::write(&file, r#"{"version":9,"themes":[]}"#).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: written by a newer", file.display())), "{error}");
        assert!(error.contains("format 9, this one knows up to 1"), "{error}");
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), CatalogError::Malformed { .. }));
    }
}
