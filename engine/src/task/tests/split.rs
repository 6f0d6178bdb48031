//! A query cut into parts of several tasks answers what one task answers.

use super::*;
use crate::topology::split;

/// All tasks of a query, and the topics between them.
struct Cluster {
    parts: Vec<Topology>,
    tasks: usize,
    logs: BTreeMap<TopicPartition, Vec<LogBatch>>,
    /// By part and task: what it has committed.
    committed: BTreeMap<(usize, usize), (Vec<Change>, BTreeMap<TopicPartition, Offset>)>,
    /// What has come out at the end.
    sink: World,
}

impl Cluster {
    fn new(whole: Topology, tasks: usize, logs: &[Vec<Vec<Event>>]) -> Cluster {
        let mut sink = World::new(whole.clone());
        sink.fill(logs);
        let mut logs = sink.inputs.clone();
        let parts = split(whole, "p-q", tasks);
        for part in &parts {
            for input in &part.exchanges {
                for task in 0..tasks {
                    let log = TopicPartition::new(input.exchange.topic.as_str(), task as i32);
                    logs.insert(log, Vec::new());
                }
            }
        }
        Cluster { parts, tasks, logs, committed: BTreeMap::new(), sink }
    }

    /// The partitions that a task reads.
    fn partitions(&self, part: usize, task: usize) -> Vec<TopicPartition> {
        let topology = &self.parts[part];
        let is_read = |partition: &&TopicPartition| {
            let number = partition.partition as usize;
            let of_source =
                topology.inputs.iter().any(|input| input.source.topic == *partition.topic);
            let of_exchange =
                topology.exchanges.iter().any(|input| input.exchange.topic == *partition.topic);
            of_source && number % self.tasks == task || of_exchange && number == task
        };
        self.logs.keys().filter(is_read).cloned().collect()
    }

    fn start(&self, part: usize, task: usize) -> Task {
        let partitions = self.partitions(part, task);
        let of = |topic: &str| {
            let own = partitions.iter().filter(|partition| *partition.topic == *topic);
            own.map(|partition| partition.partition).collect()
        };
        let topology = self.parts[part].clone();
        let setup = TaskSetup {
            batch_rows_max: 7,
            task,
            input_partitions: topology.inputs.iter().map(|one| of(&one.source.topic)).collect(),
            sink_partitions: 2,
            topology,
        };
        let mut started = Task::new(setup, NOW).unwrap();
        let nothing = Default::default();
        let (changelog, offsets) = self.committed.get(&(part, task)).unwrap_or(&nothing);
        Disk::default().restore(&mut started, changelog);
        for partition in partitions {
            let next = offsets.get(&partition).copied().unwrap_or_default();
            let position = Position { next, end: self.end(&partition) };
            started.start_at(&partition, position, NOW);
        }
        started
    }

    fn end(&self, partition: &TopicPartition) -> Offset {
        self.logs[partition].last().map_or(Offset::ZERO, LogBatch::next_offset)
    }

    /// Lets a task read on; false if there is nothing.
    fn read(&self, task: &mut Task, partition: &TopicPartition, max: usize) -> bool {
        let Some(position) = task.position(partition) else { return false };
        let log = &self.logs[partition];
        let from = log.iter().position(|batch| batch.next_offset() > position.next);
        let Some(from) = from else { return false };
        let batches: Vec<LogBatch> = log[from..].iter().take(max.max(1)).cloned().collect();
        let next_offset = batches.last().unwrap().next_offset();
        let end_offset = self.end(partition);
        let fetched =
            FetchedBatches { partition: partition.clone(), batches, next_offset, end_offset };
        task.process(&fetched, NOW).unwrap();
        true
    }

    fn write(&mut self, part: usize, task: usize, mut commit: Commit) {
        let (changelog, offsets) = self.committed.entry((part, task)).or_default();
        changelog.append(&mut commit.changes);
        offsets.extend(std::mem::take(&mut commit.offsets));
        let mut outside = Vec::new();
        for (to, builder) in commit.outputs {
            match self.logs.get_mut(&to) {
                Some(log) => {
                    let base = log.last().map_or(Offset::ZERO, LogBatch::next_offset);
                    log.push(builder.build(ProducerStamp::NONE).stamped(base, LeaderEpoch(0)));
                }
                None => outside.push((to, builder)),
            }
        }
        self.sink.write(Commit { outputs: outside, ..commit });
    }

    fn walk(&mut self, steps: &[(usize, usize, Fate)]) {
        let mut running: BTreeMap<(usize, usize), (Task, Option<Commit>)> = BTreeMap::new();
        for &(choice, max, fate) in steps {
            let (part, task) = (choice % self.parts.len(), choice / 7 % self.tasks);
            let at_work = running.remove(&(part, task));
            let (mut at_work, mut under_way) =
                at_work.unwrap_or_else(|| (self.start(part, task), None));
            let partitions = self.partitions(part, task);
            if !partitions.is_empty() {
                self.read(&mut at_work, &partitions[choice / 3 % partitions.len()], max);
            }
            if matches!(fate, Fate::Commits | Fate::BeginsToCommit)
                && let Some(commit) = under_way.take()
            {
                self.write(part, task, commit);
            }
            match fate {
                Fate::Goes => {}
                Fate::Commits => self.write(part, task, at_work.commit(NOW).unwrap()),
                Fate::BeginsToCommit => under_way = Some(at_work.commit(NOW).unwrap()),
                Fate::DiesBeforeWriting => {
                    at_work.commit(NOW).unwrap();
                    continue;
                }
                Fate::DiesAfterWriting => {
                    let last = under_way.unwrap_or_else(|| at_work.commit(NOW).unwrap());
                    self.write(part, task, last);
                    continue;
                }
            }
            running.insert((part, task), (at_work, under_way));
        }
        // Those that live on end with what they had read, as at a stop.
        for ((part, task), (mut at_work, under_way)) in running {
            if let Some(commit) = under_way {
                self.write(part, task, commit);
            }
            self.write(part, task, at_work.commit(NOW).unwrap());
        }
    }

    fn run_to_end(&mut self) {
        for part in 0..self.parts.len() {
            for task in 0..self.tasks {
                let mut at_work = self.start(part, task);
                for partition in self.partitions(part, task) {
                    while self.read(&mut at_work, &partition, 2) {
                        self.write(part, task, at_work.commit(NOW).unwrap());
                    }
                }
                at_work.finish(NOW).unwrap();
                self.write(part, task, at_work.commit(NOW).unwrap());
            }
        }
    }
}

const QUERIES: &[&str] = &[
    "SELECT l.n AS l, r.n AS r FROM a AS l LEFT JOIN a AS r ON l.key = r.key AND l.n < r.n
     AND r.ts BETWEEN l.ts AND l.ts + INTERVAL '15 seconds'",
    "SELECT key, n FROM a WHERE n > 0 EXCEPT SELECT key, n FROM a WHERE n % 2 = 0",
    "SELECT key, n FROM a WHERE n > 0",
    "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key, count(*) AS c, sum(n) AS s FROM a
     GROUP BY 1, 2",
    "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, count(*) AS c FROM a GROUP BY 1",
    "SELECT w, max(c) AS most FROM (
       SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key, count(*) AS c FROM a GROUP BY 1, 2
     ) GROUP BY w",
    "SELECT key, sum(n) AS s, count(DISTINCT n) AS d FROM a GROUP BY key",
    "SELECT c, count(*) AS keys FROM (SELECT key, count(*) AS c FROM a GROUP BY key) GROUP BY c",
    "SELECT count(*) AS rows, sum(n) AS s FROM a",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn several_tasks_answer_what_batch_sql_answers_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..5,
        ),
        tasks in 2..4usize,
        steps in prop::collection::vec((0..1000usize, 1..3usize, fate()), 0..60),
    ) {
        let source = patient(events("a"));
        let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
        prop_assume!(!all.is_empty());
        block_on(async {
            for sql in QUERIES {
                let topology = topology(sql, &[&source]).await.unwrap();
                let updating = topology.updating;
                let mut cluster = Cluster::new(topology, tasks, &logs);
                cluster.walk(&steps);
                cluster.run_to_end();
                let batch = batch_answer(sql, &source, &all).await;
                match updating {
                    true => assert_same(&cluster.sink.answer(), &batch),
                    false => assert_same(cluster.sink.out(), &batch),
                }
            }
        });
    }
}
