//! Rows that are combined before they meet: what comes of them is what comes of single rows.

use super::split::Cluster;
use super::*;
use crate::operators::aggregate::partial::{AsTheyAre, Limits};
use crate::pipeline::{Emit, LateRows};
use crate::testing::query;
use crate::topology::{Exchange, split};

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// What is done with rows that can be combined.
#[derive(Clone, Copy, Debug)]
enum How {
    OneByOne,
    Combined(Limits),
}

/// As usual, whenever there is more than nothing, and hardly ever.
const LIMITS: [Limits; 3] = [
    Limits { bytes_max: 4 << 20, tried_min: 1024 },
    Limits { bytes_max: 300, tried_min: 1000 },
    Limits { bytes_max: 2000, tried_min: 2 },
];

impl Cluster {
    fn combining(mut self, how: How) -> Cluster {
        self.combine(how);
        self
    }

    fn combine(&mut self, how: How) {
        let set = |exchange: &mut Arc<Exchange>| {
            let mut changed = (**exchange).clone();
            let Some(partial) = exchange.combines().cloned() else { return };
            match how {
                How::OneByOne => changed.as_they_are = Some(AsTheyAre::Late),
                How::Combined(limits) => {
                    let mut partial = (*partial).clone();
                    partial.limits = limits;
                    changed.partial = Some(Arc::new(partial));
                }
            }
            *exchange = Arc::new(changed);
        };
        for part in &mut self.parts {
            part.exchanges.iter_mut().for_each(|input| set(&mut input.exchange));
            part.writes.iter_mut().for_each(|writes| set(&mut writes.exchange));
        }
    }

    /// How many records between tasks hold rows as they are, and how many combined ones.
    pub(super) fn sent(&self) -> (usize, usize) {
        let exchanges: Vec<&str> = self
            .parts
            .iter()
            .flat_map(|part| &part.exchanges)
            .map(|input| input.exchange.topic.as_str())
            .collect();
        let logs = self.logs.iter().filter(|(of, _)| exchanges.contains(&&*of.topic));
        let (mut single, mut combined) = (0, 0);
        for batch in logs.flat_map(|(_, log)| log) {
            for record in batch.records().unwrap().iter() {
                match record.unwrap().value.unwrap() {
                    [1, flags, ..] => single += usize::from(flags & 1 != 0),
                    [2, ..] => combined += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        (single, combined)
    }
}

type Logs = Vec<Vec<Vec<Event>>>;

fn logs() -> impl Strategy<Value = Logs> {
    let logs = prop::collection::vec(
        prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6),
        1..5,
    );
    logs.prop_filter("rows", |logs: &Logs| logs.iter().any(|log| !log.is_empty()))
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Fate)>> {
    prop::collection::vec((0..1000usize, 1..3usize, fate()), 0..60)
}

const QUERIES: &[&str] = &[
    "SELECT key, count(*) AS c, count(n) AS cn, sum(n) AS s, avg(n) AS mean, min(key) AS least,
       max(n) AS most, stddev(n) AS spread, bool_and(n > 0) AS all_positive,
       sum(n) FILTER (WHERE n > 0) AS positive FROM a GROUP BY key",
    "SELECT count(*) AS c, sum(n) AS s, max(key) AS most FROM a",
    "SELECT DISTINCT key, n % 3 AS m FROM a",
    "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, tumble_end(ts, INTERVAL '10 seconds') AS e,
       n % 2 AS m, key, count(*) AS c, min(key) AS least, avg(n) AS mean FROM a GROUP BY 1, 2, 3, 4",
    "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, count(*) AS c, sum(n) AS s
     FROM a GROUP BY 1 HAVING count(*) > 1",
    "SELECT window_start, window_end, key, sum(n) AS s
     FROM HOP((SELECT * FROM a), ts, INTERVAL '5 seconds', INTERVAL '12 seconds')
     GROUP BY window_start, window_end, key",
    "SELECT window_start, window_end, max(n) AS most
     FROM CUMULATE((SELECT * FROM a), ts, INTERVAL '5 seconds', INTERVAL '15 seconds')
     GROUP BY window_start, window_end",
    "SELECT w, max(c) AS most, count(*) AS keys FROM (
       SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key, count(*) AS c FROM a GROUP BY 1, 2
     ) GROUP BY w",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Answered at the end of windows and before it, for ever and until keys are forgotten, which
    /// none is.
    #[test]
    fn combined_rows_answer_what_batch_sql_answers_through_crashes(
        logs in logs(),
        tasks in 2..4usize,
        steps in steps(),
        limits in 0..LIMITS.len(),
        emit in prop_oneof![Just(Emit::Final), Just(Emit::Changes)],
        forgets in any::<bool>(),
    ) {
        let source = patient(events("a"));
        let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
        block_on(async {
            for sql in QUERIES {
                let mut query = query(sql, &[&source]).await;
                (query.emit, query.state_ttl) = (emit, forgets.then_some(DAY));
                let topology = Topology::new(&query, &[Arc::new(source.clone())]).unwrap();
                let updating = topology.updating;
                let how = How::Combined(LIMITS[limits]);
                let mut cluster = Cluster::new(topology, tasks, &logs).combining(how);
                cluster.walk(&steps);
                cluster.run_to_end();
                let batch = batch_answer(sql, &source, &all).await;
                match updating {
                    true => assert_same(&cluster.sink.answer(), &batch),
                    false => assert_same(cluster.sink.out(), &batch),
                }
                let (single, combined) = cluster.sent();
                assert!(combined > 0, "{sql}");
                assert!(single == 0 || LIMITS[limits].tried_min < 1000, "{sql}: {single}");
            }
        });
    }

    /// Which rows are late does not depend on how they go from task to task.
    #[test]
    fn combined_rows_are_as_late_as_single_ones(
        logs in logs(),
        tasks in 2..4usize,
        steps in steps(),
        limits in 0..LIMITS.len(),
        late in prop_oneof![
            Just(LateRows::Drop),
            Just(LateRows::Update { lateness: std::time::Duration::from_secs(20) }),
        ],
    ) {
        let mut source = events("a");
        source.watermark.late = late;
        block_on(async {
            for sql in QUERIES {
                let mut told = Vec::new();
                for how in [How::OneByOne, How::Combined(LIMITS[limits])] {
                    let topology = topology(sql, &[&source]).await.unwrap();
                    let updating = topology.updating;
                    let mut cluster = Cluster::new(topology, tasks, &logs).combining(how);
                    cluster.walk(&steps);
                    let counts = cluster.run_to_end();
                    let out = match updating {
                        true => cluster.sink.answer(),
                        false => cluster.sink.out().to_vec(),
                    };
                    told.push((comparable(&out), counts));
                }
                assert_eq!(told[0], told[1], "{sql}");
            }
        });
    }

    /// What lies between the tasks may be of a version that combined nothing, or of a query whose
    /// rows were combined and are not any more.
    #[test]
    fn single_and_combined_rows_stand_beside_each_other(
        logs in logs(),
        tasks in 2..4usize,
        walks in prop::collection::vec((steps(), 0..LIMITS.len() + 1), 1..4),
    ) {
        let source = patient(events("a"));
        let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
        block_on(async {
            for sql in QUERIES {
                let topology = topology(sql, &[&source]).await.unwrap();
                let updating = topology.updating;
                let mut cluster = Cluster::new(topology.clone(), tasks, &logs);
                for (steps, how) in &walks {
                    cluster.parts = split(topology.clone(), "p-q", tasks);
                    cluster.combine(LIMITS.get(*how).map_or(How::OneByOne, |of| How::Combined(*of)));
                    cluster.walk(steps);
                }
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

/// Many rows of few keys become few records, and late rows are counted one by one.
#[tokio::test]
async fn as_many_records_as_groups_and_as_many_late_rows_as_rows() {
    let mut source = events("a");
    source.watermark.delay = std::time::Duration::from_secs(1);
    let at = |time: i64| Event { time, key: Some((time % 3).to_string()), n: Some(1) };
    let log = vec![
        (0..3000).map(at).collect(),
        (0..10).map(|second| at(second * 10_000)).collect(),
        (0..600).map(at).collect::<Vec<_>>(),
    ];
    let sql = "SELECT tumble_start(ts, INTERVAL '10 seconds') AS w, key, count(*) AS c FROM a
               GROUP BY 1, 2";
    let how = [How::OneByOne, How::Combined(Limits::default())];
    for how in how {
        let topology = topology(sql, &[&source]).await.unwrap();
        let logs = [log.clone(), vec![vec![at(100_000)]]];
        let mut cluster = Cluster::new(topology, 2, &logs).combining(how);
        // The task that reads the other partition is ahead, and holds back nothing.
        cluster.walk(&[(8, 1, Fate::Commits)]);
        let counts = cluster.run_to_end();
        assert_eq!((counts[1].rows_in, counts[1].late), (3611, 600), "{how:?}");
        let first = cluster.sink.out().iter().map(|row| row["c"].as_u64().unwrap());
        assert_eq!(first.sum::<u64>(), 3011, "{how:?}");
        let (single, combined) = cluster.sent();
        match how {
            How::OneByOne => assert!(single > 2 && combined == 0, "{single} {combined}"),
            // Three commits, and two tasks that read.
            How::Combined(_) => assert!(single == 0 && combined <= 5, "{single} {combined}"),
        }
    }
}

/// What was combined for one aggregate is never taken for another one's.
#[tokio::test]
async fn rows_combined_for_another_aggregate_are_refused() {
    let source = patient(events("a"));
    let event = Event { time: 1, key: Some("k".to_owned()), n: Some(1) };
    let one = "SELECT key, count(*) AS c FROM a GROUP BY key";
    let one = topology(one, &[&source]).await.unwrap();
    let mut cluster = Cluster::new(one, 2, &[vec![vec![event]]]);
    cluster.walk(&[(0, 1, Fate::Commits)]);
    let other = "SELECT upper(key) AS k, count(*) AS c FROM a GROUP BY 1";
    let other = topology(other, &[&source]).await.unwrap();
    cluster.parts = split(other, "p-q", 2);
    let refused: Vec<String> = (0..2)
        .filter_map(|task| {
            let partition = TopicPartition::new("p-q-0of2-repartition", task);
            let batches = cluster.logs[&partition].clone();
            let next_offset = batches.last()?.next_offset();
            let end_offset = next_offset;
            let mut reader = cluster.start(1, task as usize);
            let fetched = FetchedBatches { partition, batches, next_offset, end_offset };
            reader.process(&fetched, NOW).err().map(|error| error.to_string())
        })
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("rows combined for another aggregate"), "{refused:?}");
}
