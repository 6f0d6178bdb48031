//! A query cut into parts of several tasks answers what one task answers.

use arrow::datatypes::{DataType, Schema};

use super::table_joins::{Edit, edit, edits, final_rows, log, people};
use super::*;
use crate::pipeline::{ColumnFrom, SourceKind};
use crate::testing::{source, timestamp};
use crate::topology::split;

/// All tasks of a query, and the topics between them.
pub(super) struct Cluster {
    pub(super) parts: Vec<Topology>,
    tasks: usize,
    pub(super) logs: BTreeMap<TopicPartition, Vec<LogBatch>>,
    /// By part and task: what it has committed.
    committed: BTreeMap<(usize, usize), (Vec<Change>, BTreeMap<TopicPartition, Offset>)>,
    /// What has come out at the end.
    pub(super) sink: World,
}

impl Cluster {
    pub(super) fn new(whole: Topology, tasks: usize, logs: &[Vec<Vec<Event>>]) -> Cluster {
        let mut inputs = World::new(whole.clone());
        inputs.fill(logs);
        Cluster::of(whole, tasks, inputs.inputs)
    }

    pub(super) fn of(
        whole: Topology,
        tasks: usize,
        inputs: BTreeMap<TopicPartition, Vec<LogBatch>>,
    ) -> Cluster {
        let mut sink = World::new(whole.clone());
        sink.inputs = inputs;
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

    pub(super) fn start(&self, part: usize, task: usize) -> Task {
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
        let started = Task::new(setup, NOW).unwrap();
        let nothing = Default::default();
        let (changelog, offsets) = self.committed.get(&(part, task)).unwrap_or(&nothing);
        let (mut started, _) = Disk::default().restore(started, changelog);
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

    pub(super) fn walk(&mut self, steps: &[(usize, usize, Fate)]) {
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

    /// What tasks have counted, those of each part together.
    pub(super) fn run_to_end(&mut self) -> Vec<Counts> {
        let mut counts = vec![Counts::default(); self.parts.len()];
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
                let (of_task, of_part) = (at_work.counts(), &mut counts[part]);
                of_part.rows_in += of_task.rows_in;
                of_part.late += of_task.late;
                of_part.untimed += of_task.untimed;
            }
        }
        counts
    }
}

/// A table whose key is that of its records, so that tasks can share it.
fn keyed(mut source: Source, key: usize) -> Source {
    source.columns[key].from = ColumnFrom::Key;
    source.kind = SourceKind::Table { key: vec![key] };
    source
}

/// The edits of a table in partitions, by their ids.
fn partitioned(topic: &str, edits: &[Vec<Edit>]) -> BTreeMap<TopicPartition, Vec<LogBatch>> {
    let of = |partition: i64| {
        let is_own = |edit: &&Edit| match edit {
            Edit::Put { id, .. } | Edit::Delete { id } => id % 2 == partition,
        };
        let own = edits.iter().map(|batch| batch.iter().filter(is_own).cloned().collect());
        let own: Vec<Vec<Edit>> = own.filter(|batch: &Vec<Edit>| !batch.is_empty()).collect();
        (TopicPartition::new(topic, partition as i32), log(&own))
    };
    (0..2).map(of).collect()
}

/// Queries over tables, and the columns of the sink's key.
const OF_TABLES: [(&str, &[usize]); 11] = [
    ("SELECT id, key, n FROM l WHERE n > 0", &[0]),
    ("SELECT key, count(*) AS c, sum(n) AS s FROM l GROUP BY key", &[0]),
    ("SELECT l.id AS lid, r.id AS rid, r.n FROM l JOIN r ON l.n = r.id", &[0, 1]),
    ("SELECT l.id AS lid, r.id AS rid, r.n FROM l FULL JOIN r ON l.id = r.id", &[0, 1]),
    ("SELECT id, key FROM l WHERE id IN (SELECT n FROM r)", &[0]),
    // A row that moves from one task to another keeps its key.
    ("SELECT l.id, l.n, r.key FROM l JOIN r ON l.n = r.id", &[0]),
    ("SELECT l.id, r.key FROM l LEFT JOIN r ON l.n = r.id", &[0]),
    ("SELECT n, id, key FROM (SELECT *, row_number() OVER (PARTITION BY n ORDER BY key, id) AS rn
      FROM l) WHERE rn <= 100", &[1]),
    ("SELECT id, key, n FROM l WHERE n IN (SELECT id FROM r)", &[0]),
    // So does one that several tasks bring to the one that writes it.
    ("SELECT l.id, l.n, r.key, s.n AS m FROM l LEFT JOIN r ON l.n = r.id
      LEFT JOIN r AS s ON l.id = s.id", &[0]),
    ("SELECT r.id AS rid, l.id, l.n FROM r RIGHT JOIN l ON r.n = l.n
      WHERE EXISTS (SELECT 1 FROM r AS e WHERE e.id = l.id)", &[0, 1]),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Tables shared by their keys, deletions among their records.
    #[test]
    fn tables_that_tasks_share_fold_to_batch_sql_through_crashes(
        left in edits(),
        right in edits(),
        tasks in 2..4usize,
        steps in prop::collection::vec((0..1000usize, 1..3usize, fate()), 0..60),
    ) {
        let (l, r) = (keyed(people("l"), 0), keyed(people("r"), 0));
        block_on(async {
            for (sql, key) in OF_TABLES {
                let mut topology = topology(sql, &[&l, &r]).await.unwrap();
                topology.sink.key = key.to_vec();
                let mut inputs = partitioned("l", &left);
                inputs.append(&mut partitioned("r", &right));
                let mut cluster = Cluster::of(topology, tasks, inputs);
                let shared = cluster.parts.iter().flat_map(|part| &part.exchanges);
                let by_key = shared.filter(|input| input.exchange.to_all.is_some());
                assert!(by_key.count() > 0, "{sql}");
                cluster.walk(&steps);
                cluster.run_to_end();
                let rows = [(&l, vec![final_rows(&l, &left)]), (&r, vec![final_rows(&r, &right)])];
                let batch = answer(&batch_engine(&rows), sql).await;
                assert_same(&cluster.sink.rows(), &batch);
            }
        });
    }

    /// A row was lost where the task that writes it heard of its new form, from one task, before the
    /// old one was taken back by another.
    #[test]
    fn rows_that_several_tasks_bring_stand_as_they_came_last(
        left in prop::collection::vec(prop::collection::vec(edit(), 1..3), 30..40),
        steps in prop::collection::vec((0..1000usize, 1..2usize, Just(Fate::Commits)), 600..800),
    ) {
        let (l, r) = (keyed(people("l"), 0), keyed(people("r"), 0));
        let right: Vec<Vec<Edit>> =
            (0..8).map(|id| vec![Edit::Put { id, key: None, n: Some(id) }]).collect();
        block_on(async {
            for (sql, key) in &OF_TABLES[OF_TABLES.len() - 2..] {
                let mut topology = topology(sql, &[&l, &r]).await.unwrap();
                topology.sink.key = key.to_vec();
                let mut inputs = partitioned("l", &left);
                inputs.append(&mut partitioned("r", &right));
                let mut cluster = Cluster::of(topology, 3, inputs);
                cluster.walk(&steps);
                cluster.run_to_end();
                let rows = [(&l, vec![final_rows(&l, &left)]), (&r, vec![final_rows(&r, &right)])];
                let batch = answer(&batch_engine(&rows), sql).await;
                assert_same(&cluster.sink.rows(), &batch);
            }
        });
    }

    /// A stream and a table as it was, shared by the table's key.
    #[test]
    fn a_table_as_it_was_that_tasks_share_answers_as_in_one_task(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..3,
        ),
        versions in prop::collection::vec(("[ab]{0,1}", 0..100_000i64, prop::option::weighted(0.8, 0..9i64)), 0..30),
        tasks in 2..4usize,
        steps in prop::collection::vec((0..1000usize, 1..3usize, fate()), 0..60),
    ) {
        let a = patient(events("a"));
        let columns = [("at", timestamp()), ("key", DataType::Utf8), ("rate", DataType::Int64)];
        let rates = patient(keyed(source("rates", Format::Json, &columns), 1));
        let mut builder = BatchBuilder::default();
        for (key, at, rate) in &versions {
            let value = rate.map(|rate| format!(r#"{{"at": {at}, "rate": {rate}}}"#));
            builder.append(*at, Some(key.as_bytes()), value.as_deref().map(str::as_bytes));
        }
        let log = match versions.is_empty() {
            true => Vec::new(),
            false => vec![builder.build(ProducerStamp::NONE).stamped(Offset::ZERO, LeaderEpoch(0))],
        };
        block_on(async {
            for kind in ["JOIN", "LEFT JOIN"] {
                let sql = format!(
                    "SELECT a.key, a.n, rates.rate FROM a {kind} rates
                     ON a.key = rates.key AND system_time_as_of(a.ts, rates.at)"
                );
                let topology = topology(&sql, &[&a, &rates]).await.unwrap();
                let mut alone = World::new(topology.clone());
                alone.fill(&logs);
                alone.inputs.insert(TopicPartition::new("rates", 0), log.clone());
                let mut cluster = Cluster::of(topology, tasks, alone.inputs.clone());
                alone.run_to_end();
                cluster.walk(&steps);
                cluster.run_to_end();
                assert_same(cluster.sink.out(), alone.out());
            }
        });
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

/// Two versions of a query each, of which the second computes one thing more and reads a column
/// more for it, and both columns that both have.
const CHANGED: [(&str, &str, &str); 2] = [
    (
        "SELECT key AS k, count(*) AS c, sum(n) AS total FROM a GROUP BY key",
        "SELECT max(ts) AS latest, key AS k, sum(n) AS total, count(*) AS c FROM a GROUP BY key",
        "SELECT key AS k, sum(n) AS total, count(*) AS c FROM a GROUP BY key",
    ),
    (
        "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key AS k, sum(n) AS total FROM a
         GROUP BY 1, 2",
        "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key AS k, sum(n) AS total,
           count(DISTINCT ts) AS times FROM a GROUP BY 1, 2",
        "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key AS k, sum(n) AS total FROM a
         GROUP BY 1, 2",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// What lies between the tasks when the query changes was written for the one before.
    #[test]
    fn what_is_kept_goes_on_in_several_tasks_through_a_change(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..5,
        ),
        tasks in 2..4usize,
        before in prop::collection::vec((0..1000usize, 1..3usize, fate()), 0..40),
        after in prop::collection::vec((0..1000usize, 1..3usize, fate()), 0..40),
    ) {
        let mut source = patient(events("a"));
        // Nor does a column that is never NULL stand in what was written before it was read.
        let fields = source.schema.fields().iter().map(|field| {
            field.as_ref().clone().with_nullable(field.name() != "ts")
        });
        source.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
        prop_assume!(!all.is_empty());
        block_on(async {
            for (first, second, both) in CHANGED {
                let mut cluster = Cluster::new(topology(first, &[&source]).await.unwrap(), tasks, &logs);
                cluster.sink.is_reshaped = true;
                cluster.walk(&before);
                let changed = topology(second, &[&source]).await.unwrap();
                let updating = changed.updating;
                cluster.parts = split(changed.clone(), "p-q", tasks);
                cluster.sink.topology = changed;
                cluster.walk(&after);
                cluster.run_to_end();
                let mut told = match updating {
                    true => cluster.sink.latest.values().cloned().collect::<Vec<_>>(),
                    false => cluster.sink.out().to_vec(),
                };
                for row in &mut told {
                    let row = row.as_object_mut().unwrap();
                    row.retain(|name, _| name != "latest" && name != "times");
                }
                assert_same(&told, &batch_answer(both, &source, &all).await);
            }
        });
    }
}

/// Records between tasks once held as many rows as they had come to, whatever their size, and were
/// longer than any topic takes.
#[tokio::test]
async fn records_between_tasks_stay_short_however_wide_rows_are() {
    let source = patient(events("a"));
    // One by one, and combined.
    for (sql, keys, batches_min) in [
        ("SELECT key, count(*) AS c, array_agg(n) AS all_of_them FROM a GROUP BY key", 3, 10),
        ("SELECT key, count(*) AS c FROM a GROUP BY key", 1500, 5),
    ] {
        let wide = |time| {
            let key = format!("{}{}", "k".repeat(2000), time % keys);
            Event { time, key: Some(key), n: None }
        };
        let logs = vec![vec![(0..3000).map(wide).collect::<Vec<_>>()]];
        let mut topology = topology(sql, &[&source]).await.unwrap();
        topology.sink.key = vec![0];
        let mut cluster = Cluster::new(topology, 2, &logs);
        let mut task = cluster.start(0, 0);
        let partition = TopicPartition::new("a", 0);
        while cluster.read(&mut task, &partition, 100) {}
        let commit = task.commit(NOW).unwrap();
        let sizes: Vec<usize> = commit.outputs.iter().map(|(_, batch)| batch.size()).collect();
        assert!(sizes.len() > batches_min, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size < 1 << 20), "{sizes:?}");
        cluster.run_to_end();
        let counts: Vec<_> = cluster.sink.rows().iter().map(|row| row["c"].clone()).collect();
        assert_eq!(counts, vec![3000 / keys; keys as usize]);
    }
}
