//! Keys that are left alone are forgotten, and begin anew.

use std::time::Duration;

use super::*;
use crate::testing::query;

/// Keys live for so long.
async fn forgetting(sql: &str, source: &Source, ttl_ms: u64) -> Topology {
    let mut query = query(sql, &[source]).await;
    query.state_ttl = Some(Duration::from_millis(ttl_ms));
    let topology = Topology::new(&query, &[Arc::new(source.clone())]).unwrap();
    assert!(topology.nodes.iter().any(|node| node.operator.forgets()), "{sql}");
    topology
}

/// What is kept of a key: how many rows, their sum, and when the last one came.
type Group = (i64, Option<i64>, i64);

/// The rule, in a few lines.
#[derive(Clone)]
struct Model {
    ttl_ms: i64,
    watermark_ms: i64,
    groups: BTreeMap<Option<String>, Group>,
    /// Answers about groups that were forgotten.
    stand: Vec<Value>,
    forgotten: u64,
}

impl Model {
    fn take(&mut self, events: &[Event], watermark_ms: i64) {
        for Event { time, key, n } in events {
            let group = self.groups.entry(key.clone()).or_insert((0, None, i64::MIN));
            group.0 += 1;
            group.1 = n.map_or(group.1, |n| Some(group.1.unwrap_or(0) + n));
            group.2 = group.2.max(*time).max(self.watermark_ms);
        }
        self.watermark_ms = watermark_ms;
        let before_ms = watermark_ms.saturating_sub(self.ttl_ms);
        let (gone, live) = std::mem::take(&mut self.groups)
            .into_iter()
            .partition(|(_, (_, _, last_ms))| *last_ms < before_ms);
        self.groups = live;
        self.stand.extend(rows(&gone));
        self.forgotten += gone.len() as u64;
    }
}

fn rows(groups: &BTreeMap<Option<String>, Group>) -> Vec<Value> {
    let row = |(key, (count, total, _)): (&Option<String>, &Group)| serde_json::json!({"key": key, "c": count, "total": total});
    groups.iter().map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// With everything in memory or nothing, and with crashes between any two commits.
    #[test]
    fn groups_that_are_left_alone_begin_anew_through_crashes(
        log in prop::collection::vec(prop::collection::vec(event(), 1..12), 0..20),
        fates in prop::collection::vec(fate(), 40),
        ttl_ms in 1..60_000i64,
        spills in any::<bool>(),
    ) {
        let source = events("a");
        let sql = "SELECT key, count(*) AS c, sum(n) AS total FROM a GROUP BY key";
        block_on(async {
            let mut world = World::new(forgetting(sql, &source, ttl_ms as u64).await);
            world.fill(std::slice::from_ref(&log));
            if spills {
                world.disk.on();
            }
            let groups = BTreeMap::new();
            let watermark_ms = i64::MIN;
            let mut model =
                Model { ttl_ms, watermark_ms, groups, stand: Vec::new(), forgotten: 0 };
            let mut committed = (model.clone(), 0);
            let partition = TopicPartition::new("a", 0);
            let (mut task, mut at) = (world.start(), 0);
            for fate in fates.into_iter().chain([Fate::Goes; 20]).chain([Fate::Commits]) {
                if let Some(fetched) = world.fetch(&task, &partition, 1) {
                    task.process(&fetched, NOW).unwrap();
                    model.take(&log[at], task.watermark().unwrap().0);
                    at += 1;
                }
                match fate {
                    Fate::Goes | Fate::BeginsToCommit => continue,
                    Fate::Commits => world.commit(&mut task),
                    Fate::DiesBeforeWriting => {
                        task.commit(NOW).unwrap();
                        task = world.start();
                        (model, at) = committed.clone();
                        continue;
                    }
                    Fate::DiesAfterWriting => {
                        let commit = task.commit(NOW).unwrap();
                        world.write(commit);
                        task = world.start();
                    }
                }
                committed = (model.clone(), at);
                let expected: Vec<Value> =
                    model.stand.iter().cloned().chain(rows(&model.groups)).collect();
                assert_same(&world.rows(), &expected);
                assert_eq!(task.kept().groups, model.groups.len());
            }
        });
    }

    /// Whatever keeps something by key: keys that are never left alone answer as in a batch, and
    /// those that are forgotten are so alike with crashes and without.
    #[test]
    fn other_operators_forget_alike_through_crashes(
        log in prop::collection::vec(prop::collection::vec(event(), 1..12), 0..12),
        steps in prop::collection::vec((0..1usize, Just(1usize), fate()), 0..20),
        ttl_ms in 1..60_000u64,
    ) {
        let counts = "(SELECT key, n, count(*) AS c FROM a GROUP BY key, n)";
        let sqls = [
            "SELECT DISTINCT key, n % 3 AS m FROM a".to_owned(),
            format!("SELECT c, count(*) AS groups, max(n) AS most FROM {counts} GROUP BY c"),
            "SELECT key, n, r FROM (SELECT key, n, ts, row_number() OVER (PARTITION BY key
             ORDER BY n DESC, ts) AS r FROM a) WHERE r <= 2".to_owned(),
            "SELECT key, n FROM (SELECT key, n, row_number() OVER (PARTITION BY key
             ORDER BY ts) AS r FROM a) WHERE r = 1".to_owned(),
            format!("SELECT key, n, c FROM (SELECT key, n, c, row_number() OVER (PARTITION BY key
             ORDER BY c DESC, n) AS r FROM {counts}) WHERE r <= 2"),
            format!("SELECT l.key, l.n, r.c FROM {counts} AS l LEFT JOIN
             (SELECT key, count(*) AS c FROM a GROUP BY key) AS r ON l.key = r.key"),
        ];
        block_on(async {
            let all: Vec<Event> = log.iter().flatten().cloned().collect();
            let logs = std::slice::from_ref(&log);
            for sql in &sqls {
                let patient = patient(events("a"));
                let mut world = World::new(forgetting(sql, &patient, 2_000_000_000).await);
                world.fill(logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let shown = if world.topology.updating { world.rows() } else { world.out().to_vec() };
                assert_same(&shown, &batch_answer(sql, &patient, &all).await);
                let source = events("a");
                let topology = forgetting(sql, &source, ttl_ms).await;
                let answers = [steps.as_slice(), &[]].map(|steps| {
                    let mut world = World::new(topology.clone());
                    // What stands of a key that was forgotten has the key of its next rows.
                    world.by_key = false;
                    world.fill(logs);
                    walk(&mut world, steps);
                    let mut task = world.start();
                    let partition = TopicPartition::new("a", 0);
                    while let Some(fetched) = world.fetch(&task, &partition, 1) {
                        task.process(&fetched, NOW).unwrap();
                    }
                    world.commit(&mut task);
                    (world.rows(), world.out().to_vec(), task.kept())
                });
                // What changes is told at commits: it reaches what follows at other times then.
                if topology.nodes.len() > 1 {
                    continue;
                }
                let [(shown, out, kept), (shown_at_once, out_at_once, kept_at_once)] = answers;
                assert_eq!(kept, kept_at_once, "{sql}");
                if topology.updating {
                    assert_same(&shown, &shown_at_once);
                } else {
                    assert_same(&out, &out_at_once);
                }
            }
        });
    }
}
