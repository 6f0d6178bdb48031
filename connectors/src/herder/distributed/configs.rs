//! Which connectors a group has: a compacted topic, by default `connect-configs`.
//!
//! ```text
//! key                       value
//! connector-NAME            {"properties": {…}}                            null: there is none
//! target-state-NAME         {"state": "STARTED" | "PAUSED", "state.v2": … | "STOPPED"}
//! commit-NAME               {"tasks": 3, "by": "millstream"}   of the connector's properties
//! tasks-count-record-NAME   {"task-count": 3}    tasks of earlier configurations are fenced
//! restart-connector-NAME    {"only-failed": true, "include-tasks": true}   once, not at a start
//! restart-task-NAME-N       {}                                             of our own
//! logger-cluster-NAME       {"level": "DEBUG"}                             once, not at a start
//! ```
//!
//! These are Kafka Connect's own records, so its topic can be taken over. What it writes beside
//! them (`task-…`) follows from a connector's properties here.
//!
//! How many tasks there are is written down, since properties may mean something else at each
//! worker (`${env:…}`): by whoever writes them, who has to have understood them; for those that
//! Kafka Connect has written, whose connectors divide themselves otherwise, by the first worker
//! that understands them.
//!
//! Any worker writes, one at a time: each change is a transaction of the id `connect-cluster-GROUP`
//! (KIP-618). Whoever begins one fences the one before, reads to the end, decides by what stands
//! there and commits; who is fenced meanwhile begins anew. So no change is made on knowledge that
//! is out of date, and there is no leader to be reached.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use broker::client::{Client, ClientError, Isolation, NewTopic, Producer, ProducerOptions};
use broker::ids::{Offset, TopicPartition};
use broker::record::BatchBuilder;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::followed::{Apply, Followed, Seen};
use crate::clock;
use crate::herder::{HerderError, Target};
use crate::random::random;
use crate::topics;

/// How often a change is begun anew because others make one.
pub(in crate::herder) const ATTEMPTS_MAX: usize = 50;
/// Within that time somebody else's change is most likely done.
const GIVE_WAY_MAX: Duration = Duration::from_millis(100);
/// Who has counted tasks.
const BY: &str = "millstream";
/// How long a change that somebody else has begun is waited for. It takes some milliseconds.
const UNDECIDED_PATIENCE: Duration = Duration::from_secs(1);

/// One connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub properties: BTreeMap<String, String>,
    /// Where its properties stand: each change has another place.
    pub at: Offset,
}

/// When tasks of earlier configurations were fenced last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fenced {
    /// How many there may have been since.
    pub tasks: usize,
    at: Offset,
}

/// How many tasks a connector was found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    tasks: usize,
    at: Offset,
}

/// What is to be started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    Tasks { connector: String, only_failed: bool },
    Task { connector: String, number: usize },
}

/// All that the topic says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Configs {
    connectors: BTreeMap<String, Declared>,
    targets: BTreeMap<String, Target>,
    counted: BTreeMap<String, Counted>,
    fenced: BTreeMap<String, Fenced>,
    restarts: BTreeMap<String, (Offset, Restart)>,
    levels: BTreeMap<String, (Offset, String)>,
}

impl Configs {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.connectors.keys().map(String::as_str)
    }

    pub fn get(&self, name: &str) -> Option<&Declared> {
        self.connectors.get(name)
    }

    pub fn target(&self, name: &str) -> Target {
        self.targets.get(name).copied().unwrap_or_default()
    }

    /// How many tasks a connector has by its properties; `None`: nobody has understood them yet.
    pub fn tasks(&self, name: &str) -> Option<usize> {
        let at = self.connectors.get(name)?.at;
        self.counted.get(name).filter(|counted| counted.at > at).map(|counted| counted.tasks)
    }

    /// How many tasks of earlier configurations may still write; `None`: none can.
    pub fn to_fence(&self, name: &str) -> Option<usize> {
        let at = self.connectors.get(name)?.at;
        match self.fenced.get(name) {
            Some(fenced) if fenced.at > at => None,
            Some(fenced) => Some(fenced.tasks),
            None => Some(0),
        }
    }

    /// What was ordered from an offset on, in the order in which it was.
    pub fn restarts_from(&self, from: Offset) -> Vec<(Offset, Restart)> {
        let later = self.restarts.values().filter(|(at, _)| *at >= from);
        let mut later: Vec<_> = later.cloned().collect();
        later.sort_by_key(|(at, _)| *at);
        later
    }

    /// The levels of loggers that were ordered from an offset on.
    pub fn levels_from(&self, from: Offset) -> Vec<(String, String)> {
        let later = self.levels.iter().filter(|(_, (at, _))| *at >= from);
        later.map(|(logger, (_, level))| (logger.clone(), level.clone())).collect()
    }

    /// How many tasks there may have been since some were fenced.
    pub fn fenced_tasks(&self, name: &str) -> usize {
        self.fenced.get(name).map_or(0, |fenced| fenced.tasks)
    }
}

impl Apply for Configs {
    fn apply(&mut self, offset: Offset, key: &str, value: Option<&[u8]>) {
        let value = value.and_then(|value| serde_json::from_slice::<Value>(value).ok());
        if let Some(name) = key.strip_prefix("connector-") {
            match value.and_then(|value| properties(&value)) {
                Some(properties) => {
                    let declared = Declared { properties, at: offset };
                    self.connectors.insert(name.to_owned(), declared);
                }
                None => drop(self.connectors.remove(name)),
            }
        } else if let Some(name) = key.strip_prefix("target-state-") {
            match value.and_then(|value| target(&value)) {
                Some(target) => drop(self.targets.insert(name.to_owned(), target)),
                None => drop(self.targets.remove(name)),
            }
        } else if let Some(name) = key.strip_prefix("commit-") {
            let ours = value.filter(|value| value["by"] == BY);
            if let Some(tasks) = ours.and_then(|value| value["tasks"].as_u64()) {
                let counted = Counted { tasks: tasks as usize, at: offset };
                self.counted.insert(name.to_owned(), counted);
            }
        } else if let Some(name) = key.strip_prefix("tasks-count-record-") {
            let tasks = value.and_then(|value| value["task-count"].as_u64());
            let fenced = tasks.map(|tasks| Fenced { tasks: tasks as usize, at: offset });
            match fenced {
                Some(fenced) => drop(self.fenced.insert(name.to_owned(), fenced)),
                None => drop(self.fenced.remove(name)),
            }
        } else if let Some(logger) = key.strip_prefix("logger-cluster-") {
            let level = value.and_then(|value| Some(value["level"].as_str()?.to_owned()));
            match level {
                Some(level) => drop(self.levels.insert(logger.to_owned(), (offset, level))),
                None => drop(self.levels.remove(logger)),
            }
        } else if let Some(restart) = value.and_then(|value| restart(key, &value)) {
            self.restarts.insert(key.to_owned(), (offset, restart));
        }
    }
}

fn properties(value: &Value) -> Option<BTreeMap<String, String>> {
    let properties = value["properties"].as_object()?.iter();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(properties.filter_map(|(key, value)| Some((key.clone(), text(value)?))).collect())
}

fn target(value: &Value) -> Option<Target> {
    match value["state.v2"].as_str().or(value["state"].as_str())? {
        "STARTED" => Some(Target::Running),
        "PAUSED" => Some(Target::Paused),
        "STOPPED" => Some(Target::Stopped),
        _ => None,
    }
}

fn restart(key: &str, value: &Value) -> Option<Restart> {
    if let Some(name) = key.strip_prefix("restart-connector-") {
        // Without its tasks there is nothing to restart here.
        let with_tasks = value["include-tasks"].as_bool()?;
        let only_failed = value["only-failed"].as_bool()?;
        return with_tasks.then(|| Restart::Tasks { connector: name.to_owned(), only_failed });
    }
    let (name, number) = key.strip_prefix("restart-task-")?.rsplit_once('-')?;
    Some(Restart::Task { connector: name.to_owned(), number: number.parse().ok()? })
}

/// A record of the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change(String, Option<Value>);

impl Change {
    pub fn connector(name: &str, properties: &BTreeMap<String, String>) -> Change {
        Change(format!("connector-{name}"), Some(json!({ "properties": properties })))
    }

    pub fn tasks(name: &str, tasks: usize) -> Change {
        Change(format!("commit-{name}"), Some(json!({ "tasks": tasks, "by": BY })))
    }

    pub fn deleted(name: &str) -> Vec<Change> {
        ["connector", "target-state"].map(|kind| Change(format!("{kind}-{name}"), None)).into()
    }

    pub fn target(name: &str, target: Target) -> Change {
        // The first is what Connect older than KIP-875 reads.
        let (state, state_v2) = match target {
            Target::Running => ("STARTED", "STARTED"),
            Target::Paused => ("PAUSED", "PAUSED"),
            Target::Stopped => ("PAUSED", "STOPPED"),
        };
        let value = json!({ "state": state, "state.v2": state_v2 });
        Change(format!("target-state-{name}"), Some(value))
    }

    pub fn fenced(name: &str, tasks: usize) -> Change {
        Change(format!("tasks-count-record-{name}"), Some(json!({ "task-count": tasks })))
    }

    pub fn level(logger: &str, level: &str) -> Change {
        Change(format!("logger-cluster-{logger}"), Some(json!({ "level": level })))
    }

    pub fn restart(restart: &Restart) -> Change {
        match restart {
            Restart::Tasks { connector, only_failed } => {
                let value = json!({ "only-failed": only_failed, "include-tasks": true });
                Change(format!("restart-connector-{connector}"), Some(value))
            }
            Restart::Task { connector, number } => {
                Change(format!("restart-task-{connector}-{number}"), Some(json!({})))
            }
        }
    }
}

/// The topic, followed and written to.
pub(super) struct ConfigTopic {
    client: Arc<dyn Client>,
    partition: TopicPartition,
    followed: Followed<Configs>,
    transactional_id: String,
    /// Of this process; with others, it is the transactional id that sees to it.
    changing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for ConfigTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigTopic({})", self.partition)
    }
}

impl ConfigTopic {
    /// Reads all that is there.
    pub async fn open(
        client: Arc<dyn Client>,
        name: &str,
        group: &str,
    ) -> Result<ConfigTopic, HerderError> {
        let wanted = NewTopic::new(name, 1).with_config("cleanup.policy", "compact");
        let failed = |error: ClientError| HerderError::Failed(format!("topic '{name}': {error}"));
        let info = topics::ensure(&*client, &wanted).await.map_err(failed)?;
        if info.partitions != 1 {
            return Err(HerderError::Failed(format!(
                "topic '{name}' has {} partitions, and order is kept in one alone; name another \
                 as config.storage.topic",
                info.partitions
            )));
        }
        let partition = TopicPartition::new(name, 0);
        let followed = Followed::start(client.clone(), vec![partition.clone()]);
        let transactional_id = format!("connect-cluster-{group}");
        let changing = tokio::sync::Mutex::default();
        let topic = ConfigTopic { client, partition, followed, transactional_id, changing };
        topic.read_to_end().await?;
        Ok(topic)
    }

    pub fn now(&self) -> watch::Ref<'_, Seen<Configs>> {
        self.followed.now()
    }

    pub fn watch(&self) -> watch::Receiver<Seen<Configs>> {
        self.followed.watch()
    }

    /// Waits until it is read so far.
    pub async fn reach(&self, end: Offset) {
        self.followed.reach(&[end]).await;
    }

    /// Waits until all is read that was written before this was called. Who was killed in the
    /// middle of a change would have everybody wait until his transaction times out, so one that
    /// is not decided in time is ended: who is alive begins it anew.
    pub async fn read_to_end(&self) -> Result<(), HerderError> {
        let ends = async |isolation| {
            let ends = self.followed.ends(isolation).await;
            ends.map_err(|error| self.failed(error))
        };
        let written = ends(Isolation::ReadUncommitted).await?;
        let reached = self.followed.reach(&written);
        if tokio::time::timeout(UNDECIDED_PATIENCE, reached).await.is_err() {
            if ends(Isolation::ReadCommitted).await? < written {
                drop(self.producer().await?);
            }
            self.followed.reach(&written).await;
        }
        Ok(())
    }

    /// Fences whoever has made one before, and ends what he has left open.
    async fn producer(&self) -> Result<Box<dyn Producer>, HerderError> {
        let transactional_id = Some(self.transactional_id.clone());
        let options = ProducerOptions { transactional_id, ..ProducerOptions::default() };
        self.client.producer(options).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ClientError) -> HerderError {
        HerderError::Failed(format!("topic '{}': {error}", self.partition.topic))
    }

    /// Writes what `decide` makes of what stands there; it may be asked more than once. What it
    /// has written is known here at the end.
    pub async fn change(
        &self,
        decide: impl Fn(&Configs) -> Result<Vec<Change>, HerderError> + Send,
    ) -> Result<(), HerderError> {
        for _ in 0..ATTEMPTS_MAX {
            let changing = self.begin().await?;
            let changes = decide(&changing.configs)?;
            if changing.commit(changes).await? {
                return Ok(());
            }
        }
        Err(self.contended())
    }

    pub fn contended(&self) -> HerderError {
        HerderError::Failed(format!(
            "topic '{}': others change it all the time; try again",
            self.partition.topic
        ))
    }

    /// Begins a change, which keeps all others out until it is committed or dropped, but for those
    /// of other processes: they keep this one out.
    pub async fn begin(&self) -> Result<Changing<'_>, HerderError> {
        let alone = self.changing.lock().await;
        let producer = self.producer().await?;
        self.read_to_end().await?;
        let configs = self.now().state.clone();
        Ok(Changing { topic: self, producer, configs, _alone: alone })
    }

    async fn write(
        &self,
        producer: &mut dyn Producer,
        changes: Vec<Change>,
    ) -> Result<(), ClientError> {
        producer.begin().await?;
        let mut batch = BatchBuilder::default();
        for Change(key, value) in changes {
            let value = value.map(|value| value.to_string());
            let value = value.as_deref().map(str::as_bytes);
            batch.append(clock::now_ms(), Some(key.as_bytes()), value);
        }
        producer.send(&self.partition, batch).await?;
        producer.commit(None).await
    }
}

/// A change that is being made.
pub(super) struct Changing<'a> {
    topic: &'a ConfigTopic,
    producer: Box<dyn Producer>,
    /// All that is there.
    pub configs: Configs,
    _alone: tokio::sync::MutexGuard<'a, ()>,
}

impl<'a> Changing<'a> {
    /// For a change of something else: whoever begins a change of connectors meanwhile fences it.
    pub fn into_parts(self) -> (Box<dyn Producer>, tokio::sync::MutexGuard<'a, ()>) {
        (self.producer, self._alone)
    }

    /// False if somebody else has begun a change since: what this one knows is out of date.
    pub async fn commit(mut self, changes: Vec<Change>) -> Result<bool, HerderError> {
        if changes.is_empty() {
            return Ok(true);
        }
        match self.topic.write(&mut *self.producer, changes).await {
            Ok(()) => self.topic.read_to_end().await.map(|()| true),
            Err(ClientError::Fenced { .. }) => {
                drop(self);
                give_way().await;
                Ok(false)
            }
            Err(error) => Err(self.topic.failed(error)),
        }
    }
}

/// Waits for a time of chance: those who begin again at once could overtake each other for ever.
async fn give_way() {
    let share = random() as f64 / u64::MAX as f64;
    tokio::time::sleep(GIVE_WAY_MAX.mul_f64(share)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(records: &[(&str, &str)]) -> Configs {
        let mut configs = Configs::default();
        for (offset, (key, value)) in records.iter().enumerate() {
            let value = (*value != "null").then_some(value.as_bytes());
            configs.apply(Offset(offset as i64), key, value);
        }
        configs
    }

    #[test]
    fn what_kafka_connect_has_written_is_understood() {
        let configs = applied(&[
            ("session-key", r#"{"key":"x","algorithm":"HmacSHA256","creation-timestamp":1}"#),
            ("connector-a-b", r#"{"properties":{"connector.class":"C","n":"1"}}"#),
            ("task-a-b-0", r#"{"properties":{"task.class":"T"}}"#),
            ("commit-a-b", r#"{"tasks":1}"#),
            ("connector-gone", r#"{"properties":{}}"#),
            ("connector-gone", "null"),
            ("target-state-a-b", r#"{"state":"PAUSED","state.v2":"STOPPED"}"#),
            ("target-state-old", r#"{"state":"PAUSED"}"#),
            ("restart-connector-a-b", r#"{"only-failed":true,"include-tasks":true}"#),
            ("restart-connector-c", r#"{"only-failed":false,"include-tasks":false}"#),
            ("connector-c", "nonsense"),
        ]);
        assert_eq!(configs.names().collect::<Vec<_>>(), ["a-b"]);
        let declared = configs.get("a-b").unwrap();
        assert_eq!((declared.properties["n"].as_str(), declared.at), ("1", Offset(1)));
        assert_eq!(configs.target("a-b"), Target::Stopped);
        assert_eq!(configs.target("old"), Target::Paused);
        assert_eq!(configs.target("c"), Target::Running);
        let restart = Restart::Tasks { connector: "a-b".to_owned(), only_failed: true };
        assert_eq!(configs.restarts_from(Offset(3)), [(Offset(8), restart)]);
        assert_eq!(configs.restarts_from(Offset(9)), []);
    }

    #[test]
    fn each_configuration_has_the_tasks_before_it_fenced_once() {
        let connector = ("connector-a", r#"{"properties":{}}"#);
        let fenced = ("tasks-count-record-a", r#"{"task-count":3}"#);
        assert_eq!(applied(&[connector]).to_fence("a"), Some(0));
        assert_eq!(applied(&[connector, fenced]).to_fence("a"), None);
        assert_eq!(applied(&[connector, fenced, connector]).to_fence("a"), Some(3));
        let anew = applied(&[connector, fenced, ("connector-a", "null"), connector]);
        assert_eq!(anew.to_fence("a"), Some(3), "those of the one that was deleted");
    }

    #[test]
    fn changes_are_read_as_they_were_meant() {
        let mut configs = Configs::default();
        let properties = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let task = Restart::Task { connector: "a-1".to_owned(), number: 2 };
        let mut changes = vec![
            Change::connector("a-1", &properties),
            Change::target("a-1", Target::Paused),
            Change::fenced("a-1", 4),
            Change::restart(&task),
            Change::level("connectors::file", "DEBUG"),
        ];
        let apply = |configs: &mut Configs, changes: Vec<Change>| {
            for (offset, Change(key, value)) in changes.into_iter().enumerate() {
                let value = value.map(|value| value.to_string());
                configs.apply(Offset(offset as i64), &key, value.as_deref().map(str::as_bytes));
            }
        };
        apply(&mut configs, std::mem::take(&mut changes));
        assert_eq!(configs.get("a-1").unwrap().properties, properties);
        assert_eq!(configs.target("a-1"), Target::Paused);
        assert_eq!((configs.to_fence("a-1"), configs.fenced_tasks("a-1")), (None, 4));
        assert_eq!(configs.restarts_from(Offset::ZERO), [(Offset(3), task)]);
        let level = ("connectors::file".to_owned(), "DEBUG".to_owned());
        assert_eq!(configs.levels_from(Offset(4)), [level]);
        assert_eq!(configs.levels_from(Offset(5)), []);
        apply(&mut configs, Change::deleted("a-1"));
        assert_eq!((configs.get("a-1"), configs.target("a-1")), (None, Target::Running));
    }
}
