//! The tasks that a run of pipelines is made of, and what each is called.

use std::sync::Arc;
use std::time::Duration;

use broker::client::ClientError;
use broker::ids::{Offset, TopicPartition};

use super::restore::Note;
use super::shown::ShownFrom;
use super::snapshots::RestoreError;
use super::{RunError, now, topics};
use crate::pipeline::{Guarantee, Pipeline};
use crate::state::{StateError, changelog};
use crate::task::{Task, TaskError, TaskSetup};
use crate::topology::{Topology, split};

/// A task of a query, and what it takes to run it.
#[derive(Clone)]
pub struct Planned {
    pub pipeline: Arc<str>,
    pub query: Arc<str>,
    /// Of all queries of the run.
    pub query_index: usize,
    /// Of all tasks of the query.
    pub task_index: usize,
    /// Which part of the query, and which task of it.
    pub part: usize,
    pub task: usize,
    pub tasks: usize,
    /// Any part of the query keeps state.
    pub is_stateful: bool,
    pub topology: Topology,
    /// What the sink's topic is made like.
    pub first_input: Option<String>,
    pub commit_interval: Duration,
    pub guarantee: Guarantee,
    pub batch_rows_max: usize,
    /// How many other workers keep a copy of what it keeps.
    pub copies_wanted: usize,
    /// What its state may take of memory.
    pub state_bytes_max: usize,
    pub sink_partitions: Option<i32>,
    /// Where it reads, if its rows are shown and nothing is written or committed.
    pub shown: Option<Arc<ShownFrom>>,
}

/// All tasks of all queries, in the order of queries, parts and tasks.
pub fn plan(pipelines: &[Pipeline]) -> Result<Vec<Planned>, RunError> {
    let mut planned: Vec<Planned> = Vec::new();
    let queries = pipelines.iter().flat_map(|of| of.queries.iter().map(move |query| (of, query)));
    for (query_index, (pipeline, query)) in queries.enumerate() {
        let name: Arc<str> = pipeline.name.as_str().into();
        let topology = Topology::new(query, &pipeline.sources)
            .map_err(|error| RunError::Topology { pipeline: name.clone(), error })?;
        let tasks = pipeline.settings.tasks;
        let id = format!("{name}-{}", query.name);
        let first_input = topology.inputs.first().map(|input| input.source.topic.clone());
        let parts = split(topology, &id, tasks);
        let is_stateful = parts.iter().any(|part| !part.nodes.is_empty());
        let all = parts.into_iter().enumerate().flat_map(|(part, topology)| {
            (0..tasks).map(move |task| (part, task, topology.clone()))
        });
        for (task_index, (part, task, topology)) in all.enumerate() {
            let next = Planned {
                pipeline: name.clone(),
                query: query.name.as_str().into(),
                query_index,
                task_index,
                part,
                task,
                tasks,
                is_stateful,
                topology,
                first_input: first_input.clone(),
                commit_interval: pipeline.settings.commit_interval,
                guarantee: pipeline.settings.guarantee,
                batch_rows_max: pipeline.settings.batch_rows_max,
                copies_wanted: pipeline.settings.standby_replicas,
                state_bytes_max: 0,
                sink_partitions: query.sink.partitions,
                shown: None,
            };
            if planned.iter().any(|other| other.id() == next.id()) {
                let (id, Planned { pipeline, query, .. }) = (next.id(), next);
                return Err(RunError::SameName { pipeline, query, id });
            }
            Task::new(next.setup(|_| 1), now()).map_err(|error| {
                let (pipeline, query) = (next.pipeline.clone(), next.query.clone());
                RunError::Task { pipeline, query, error }
            })?;
            planned.push(next);
        }
    }
    share_memory(pipelines, &mut planned);
    Ok(planned)
}

/// Half of what a pipeline's state may take of memory is for what its tasks hold, the other half
/// for reading from disk.
fn share_memory(pipelines: &[Pipeline], planned: &mut [Planned]) {
    for pipeline in pipelines {
        let is_own = |planned: &&mut Planned| {
            *planned.pipeline == *pipeline.name && !planned.topology.nodes.is_empty()
        };
        let tasks = planned.iter_mut().filter(is_own).count().max(1);
        for task in planned.iter_mut().filter(is_own) {
            task.state_bytes_max = pipeline.settings.state_memory / 2 / tasks;
        }
    }
}

impl Planned {
    pub fn reads(&self, topic: &str) -> bool {
        self.topology.inputs.iter().any(|input| input.source.topic == topic)
            || self.reads_exchange(topic)
    }

    pub fn reads_exchange(&self, topic: &str) -> bool {
        self.topology.exchanges.iter().any(|input| input.exchange.topic == topic)
    }

    pub fn joins(&self, topic: &str) -> bool {
        self.topology.tables.iter().any(|table| table.source.topic == topic)
    }

    /// The topic that it writes, beside dead letters.
    pub fn writes(&self) -> &str {
        match &self.topology.writes {
            Some(writes) => &writes.exchange.topic,
            None => &self.topology.sink.topic,
        }
    }

    /// Its share of a source's partitions.
    pub fn share(&self, partitions: i32) -> Vec<i32> {
        let (task, tasks) = (self.task as i32, self.tasks as i32);
        (0..partitions).filter(|partition| partition % tasks == task).collect()
    }

    /// All partitions that it reads, tables aside.
    pub fn reads_of(&self, partitions: &topics::Partitions) -> Vec<TopicPartition> {
        let mut reads = Vec::new();
        for input in &self.topology.inputs {
            let topic: Arc<str> = input.source.topic.as_str().into();
            let count = partitions.get(&*topic).copied().unwrap_or(1);
            let own = self.share(count).into_iter();
            reads.extend(own.map(|at| TopicPartition::new(topic.clone(), at)));
        }
        for input in &self.topology.exchanges {
            reads.push(TopicPartition::new(input.exchange.topic.as_str(), self.task as i32));
        }
        reads.sort();
        reads.dedup();
        reads
    }

    /// What it is made of, once it is known how many partitions a topic has.
    pub fn setup(&self, partitions: impl Fn(&str) -> i32) -> TaskSetup {
        let inputs = self.topology.inputs.iter();
        TaskSetup {
            batch_rows_max: self.batch_rows_max,
            task: self.task,
            input_partitions: inputs
                .map(|input| self.share(partitions(&input.source.topic)))
                .collect(),
            sink_partitions: partitions(&self.topology.sink.topic),
            topology: self.topology.clone(),
        }
    }

    /// The same, by what is known of topics.
    pub fn setup_in(&self, partitions: &topics::Partitions) -> TaskSetup {
        self.setup(|topic: &str| partitions.get(topic).copied().unwrap_or(1))
    }

    /// A task without state, which would be a new one.
    pub fn fresh_task(&self, partitions: &topics::Partitions) -> Result<Task, RunError> {
        let task = Task::new(self.setup_in(partitions), now());
        let mut task = task.map_err(|error| self.task_error(error))?;
        task.begin_state(uuid::Uuid::new_v4().to_string());
        let inputs = self.topology.inputs.iter().map(|input| &input.source.topic);
        let ids = inputs.filter_map(|topic| partitions.ids.get_key_value(topic));
        task.reads_topics(ids.map(|(topic, id)| (topic.clone(), id.clone())).collect());
        Ok(task)
    }

    /// Whether its task keeps anything.
    pub fn keeps(&self) -> bool {
        !self.topology.nodes.is_empty()
    }

    /// What all names of the query begin with.
    pub fn name(&self) -> String {
        format!("{}-{}", self.pipeline, self.query)
    }

    /// The group that keeps the place in what is read. Each part of a query has one: two parts that
    /// read the same topic are not equally far. The first has the query's name however many tasks
    /// there are, so that another number of tasks finds what the last one left.
    pub fn group(&self) -> String {
        match self.part {
            0 => self.name(),
            part => format!("{}-{part}", self.name()),
        }
    }

    /// The task's transactional id.
    pub fn id(&self) -> String {
        match self.tasks {
            1 => self.name(),
            tasks => format!("{}-{}-{}of{tasks}", self.name(), self.part, self.task),
        }
    }

    pub fn changelog(&self) -> TopicPartition {
        let topic = changelog::topic(&self.name(), self.part, self.tasks);
        TopicPartition::new(topic, self.task as i32)
    }

    /// What a task commits that has no partition to read: that it has told the next part of the
    /// query something although nobody has a place yet. It stands at the partition of its own
    /// number of what it writes, which this part never reads.
    pub fn mark(&self) -> Option<(TopicPartition, Offset, Note)> {
        let topic: Arc<str> = self.topology.writes.as_ref()?.exchange.topic.as_str().into();
        let at = TopicPartition::new(topic, self.task as i32);
        Some((at, Offset::ZERO, Note { tasks: self.tasks, latest_ms: None }))
    }

    /// What is committed beside the offset of a partition.
    pub fn note(&self, task: &Task, partition: &TopicPartition) -> Note {
        let has_no_state = self.tasks > 1 && !task.is_stateful();
        let latest_ms = if has_no_state { task.latest_ms(partition) } else { None };
        Note { tasks: self.tasks, latest_ms }
    }

    pub fn task_error(&self, error: TaskError) -> RunError {
        let (pipeline, query) = (self.pipeline.clone(), self.query.clone());
        RunError::Task { pipeline, query, error }
    }

    pub fn state_error(&self, error: StateError) -> RunError {
        let (pipeline, query) = (self.pipeline.clone(), self.query.clone());
        RunError::State { pipeline, query, error }
    }

    pub fn restore_error(&self, error: RestoreError) -> RunError {
        match error {
            RestoreError::Client(error) => self.client_error("its changelog cannot be read", error),
            RestoreError::State(error) => self.state_error(error),
        }
    }

    pub fn client_error(&self, doing: &'static str, error: ClientError) -> RunError {
        let (pipeline, query) = (self.pipeline.clone(), self.query.clone());
        RunError::Client { pipeline, query, doing, error }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::PathBuf;

    use super::*;
    use crate::pipeline::load;

    /// Both halves of a join of a stream with its own aggregate read the stream. They had one group
    /// between them: the half that started later went on where the other had committed, and its
    /// rows were lost.
    #[test]
    fn no_two_tasks_keep_one_place() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipelines");
        let nexmark = folder.join("nexmark");
        let files = [folder, nexmark].into_iter().flat_map(|folder| folder.read_dir().unwrap());
        let files = files.map(|entry| entry.unwrap().path());
        let (mut pipelines, mut most) = (0, 0);
        for file in files.filter(|file| file.extension().is_some_and(|of| of == "sql")) {
            let (mut found, _) = load(&[file]).unwrap();
            found[0].settings.tasks = 3;
            let planned = plan(&found).unwrap();
            let partitions = |task: &Planned| {
                let topics = task.topology.inputs.iter().map(|input| &input.source.topic);
                let counts: BTreeMap<_, _> = topics.map(|topic| (topic.clone(), 7)).collect();
                task.reads_of(&topics::Partitions::from(counts))
            };
            let places = |task: &Planned| {
                let group = task.group();
                partitions(task).into_iter().map(move |at| (group.clone(), at)).collect::<Vec<_>>()
            };
            let all: Vec<_> = planned.iter().flat_map(places).collect();
            let distinct: BTreeSet<_> = all.iter().collect();
            assert_eq!(distinct.len(), all.len(), "{}: {all:#?}", found[0].name);
            let parts: BTreeSet<usize> = planned.iter().map(|task| task.part).collect();
            (pipelines, most) = (pipelines + 1, most.max(parts.len()));
        }
        assert!(pipelines > 10 && most > 3, "{pipelines} pipelines, {most} parts");
    }
}
