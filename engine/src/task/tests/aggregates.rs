//! Aggregates without a window, and windows of windows.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever was told in between, it folds to what batch SQL answers.
    #[test]
    fn an_aggregate_that_updates_folds_to_batch_sql_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30),
    ) {
        let source = events("a");
        let sql = "SELECT key, count(*) AS rows, sum(n) AS total, min(n) AS least,
                          avg(n) AS mean, median(n) AS middle, count(DISTINCT n) AS numbers
                   FROM a WHERE n IS NULL OR n <> 7 GROUP BY key HAVING sum(n) > 0";
        block_on(async {
            let mut world = World::new(topology(sql, &[&source]).await.unwrap());
            world.fill(&logs);
            walk(&mut world, &steps);
            world.run_to_end();
            let all: Vec<Event> = logs.into_iter().flatten().flatten().collect();
            assert_same(&world.answer(), &batch_answer(sql, &source, &all).await);
        });
    }

    /// The inner one takes rows back, so the outer one has to.
    #[test]
    fn an_aggregate_of_changes_folds_to_batch_sql_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30),
    ) {
        let source = events("a");
        let inner = "SELECT key, count(*) AS c, sum(n) AS s, max(n) AS m FROM a GROUP BY key";
        let sqls = [
            format!(
                "SELECT c % 3 AS part, count(*) AS keys, sum(s) AS total, min(m) AS least,
                        max(key) AS last, avg(s) AS mean, median(c) AS middle,
                        count(DISTINCT m) AS numbers, sum(s) FILTER (WHERE m > 0) AS positive,
                        sum(arrow_cast(s, 'Decimal128(20, 2)')) AS exact, count(m) AS present,
                        string_agg(key, ',' ORDER BY key) AS all_keys
                 FROM ({inner}) GROUP BY c % 3"
            ),
            format!("SELECT count(*) AS keys, max(s) AS most FROM ({inner})"),
            format!("SELECT DISTINCT c FROM ({inner}) WHERE s > 0"),
        ];
        block_on(async {
            for sql in sqls {
                let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
                if !all.is_empty() {
                    assert_same(&world.answer(), &batch_answer(&sql, &source, &all).await);
                }
            }
        });
    }

    #[test]
    fn distinct_rows_come_once(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30),
    ) {
        let source = events("a");
        let sql = "SELECT DISTINCT key, n % 3 AS m FROM a";
        block_on(async {
            let mut world = World::new(topology(sql, &[&source]).await.unwrap());
            world.fill(&logs);
            walk(&mut world, &steps);
            world.run_to_end();
            let all: Vec<Event> = logs.into_iter().flatten().flatten().collect();
            assert_same(world.out(), &batch_answer(sql, &source, &all).await);
        });
    }

    #[test]
    fn windows_of_windows_equal_batch_sql_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30),
    ) {
        let source = patient(events("a"));
        let inner = format!(
            "SELECT {WINDOW} AS ws, tumble_end(ts, INTERVAL '10 seconds') AS we, key,
                    count(*) AS c FROM a GROUP BY 1, 2, 3"
        );
        let sqls = [
            format!("SELECT ws, max(c) AS most, count(*) AS keys FROM ({inner}) GROUP BY ws"),
            format!(
                "SELECT tumble_start(ws, INTERVAL '30 seconds') AS w, sum(c) AS total
                 FROM ({inner}) GROUP BY 1"
            ),
            format!(
                "SELECT tumble_start(we, INTERVAL '25 seconds') AS w, sum(c) AS total
                 FROM ({inner}) GROUP BY 1"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
                assert_same(world.out(), &batch_answer(&sql, &source, &all).await);
            }
        });
    }
}

#[tokio::test]
async fn what_changes_is_told_once_a_commit() {
    let source = events("a");
    let sql = "SELECT key, sum(n) AS total FROM a GROUP BY key";
    let mut world = World::new(topology(sql, &[&source]).await.unwrap());
    let event = |key: &str, n| Event { time: 1, key: Some(key.to_owned()), n: Some(n) }.json();
    world.produce("a", 0, &[event("x", 1), event("x", 2), event("y", 5)]);
    world.produce("a", 0, &[event("x", 4), event("y", 0)]);
    let mut task = world.start();
    let mut told = Vec::new();
    while let Some(fetched) = world.fetch(&task, &TopicPartition::new("a", 0), 1) {
        task.process(&fetched, NOW).unwrap();
        let commit = task.commit(NOW).unwrap();
        let rows = commit.printed.iter().map(|rows| {
            let marks = (0..rows.len()).map(|row| if rows.is_retraction(row) { '-' } else { '+' });
            marks.collect::<String>()
        });
        told.push(rows.collect::<String>());
        world.write(commit);
    }
    // The second time, y answers as before.
    assert_eq!(told, ["++", "-+"]);
    assert_eq!(world.answer().len(), 2);
}

/// Random queries found that accumulators of a group without rows answer whatever they began with
/// (the least number there is for `max`), and that a condition which never holds went below an
/// aggregate without GROUP BY, which has a row all the same.
#[tokio::test]
async fn what_is_computed_of_no_rows_is_what_batch_sql_computes() {
    let source = events("a");
    let calls = "count(*) AS c, count(DISTINCT n) AS d, sum(n) AS s, max(n) AS m, min(key) AS k,
                 avg(n) AS a, median(n) AS p, sum(DISTINCT n) AS sd";
    let none = calls.replace(" AS", " FILTER (WHERE n > 1000) AS");
    let inner = "SELECT key, n, count(*) AS i FROM a GROUP BY key, n";
    let all: Vec<Event> = (0..9)
        .map(|at| Event { time: at, key: (at % 4 > 0).then(|| "x".to_owned()), n: Some(at % 3) })
        .collect();
    for sql in [
        format!("SELECT {calls} FROM a WHERE n > 1000"),
        format!("SELECT {calls} FROM a WHERE n > 1"),
        format!("SELECT {calls} FROM ({inner}) WHERE n > 1000"),
        format!("SELECT {calls} FROM ({inner}) WHERE i > 1"),
        format!("SELECT {none} FROM ({inner})"),
        format!("SELECT key, {none} FROM ({inner}) GROUP BY key"),
        format!("SELECT c FROM (SELECT {calls} FROM a) WHERE c IS NULL"),
        format!("SELECT c FROM (SELECT {calls} FROM ({inner})) WHERE c IS NULL AND s > 0"),
    ] {
        println!("{sql}");
        let mut world = World::new(topology(&sql, &[&source]).await.unwrap());
        world.by_key = false;
        for part in all.chunks(2) {
            world.produce("a", 0, &part.iter().map(Event::json).collect::<Vec<_>>());
        }
        let fates = [Fate::Commits, Fate::DiesAfterWriting, Fate::Commits, Fate::Commits];
        walk(&mut world, &fates.map(|fate| (0, 1, fate)));
        world.run_to_end();
        assert_same(&world.rows(), &batch_answer(&sql, &source, &all).await);
    }
}
