//! The first rows of each key, rows beside others in event time, and rows without their doubles.

use super::*;

fn logs() -> impl Strategy<Value = Vec<Vec<Vec<Event>>>> {
    prop::collection::vec(prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4)
}

fn steps() -> impl Strategy<Value = Vec<(usize, usize, Fate)>> {
    prop::collection::vec((0..4usize, 1..3usize, fate()), 0..30)
}

/// A world after this walk to the end.
async fn walked(
    sql: &str,
    source: &Source,
    logs: &[Vec<Vec<Event>>],
    steps: &[(usize, usize, Fate)],
) -> World {
    let mut world = World::new(topology(sql, &[source]).await.unwrap());
    world.fill(logs);
    walk(&mut world, steps);
    world.run_to_end();
    world
}

fn all(logs: &[Vec<Vec<Event>>]) -> Vec<Event> {
    logs.iter().flatten().flatten().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever was told in between, it folds to what batch SQL answers.
    #[test]
    fn the_first_rows_of_each_key_fold_to_batch_sql_through_crashes(
        logs in logs(), steps in steps(), limit in 1..4,
    ) {
        let source = events("a");
        let sqls = [
            format!(
                "SELECT key, n, ts, rn FROM (SELECT *, row_number() OVER (
                   PARTITION BY key ORDER BY n DESC, ts) AS rn FROM a) WHERE rn <= {limit}"
            ),
            format!(
                "SELECT key, n, ts FROM a
                 QUALIFY row_number() OVER (PARTITION BY key ORDER BY n DESC, ts) <= {limit}"
            ),
            format!(
                "SELECT key, n, rank() OVER (PARTITION BY key ORDER BY n NULLS FIRST) AS r
                 FROM a QUALIFY r <= {limit}"
            ),
            format!(
                "SELECT key, n, ts, dense_rank() OVER (PARTITION BY key ORDER BY n) AS r
                 FROM a WHERE n > 0 QUALIFY r <= {limit} AND r <> 2"
            ),
            format!(
                "SELECT DISTINCT ON (key) key, n + 1 AS m, ts FROM a ORDER BY key, n DESC, ts"
            ),
            // Ranks of an answer that changes.
            format!(
                "SELECT key, c, total FROM (SELECT key, count(*) AS c, sum(n) AS total FROM a
                 GROUP BY key) QUALIFY row_number() OVER (ORDER BY c DESC, key) <= {limit}"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let mut topology = topology(&sql, &[&source]).await.unwrap();
                assert!(topology.updating, "{sql}");
                topology.sink.key = (0..topology.schema.fields().len()).collect();
                let mut world = World::new(topology);
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let batch = batch_answer(&sql, &source, &all(&logs)).await;
                assert_same(&world.rows(), &batch);
            }
        });
    }

    #[test]
    fn the_first_rows_of_each_window_are_final_and_equal_batch_sql_through_crashes(
        logs in logs(), steps in steps(), limit in 1..4,
    ) {
        let source = patient(events("a"));
        let windowed = format!(
            "SELECT ts, key, n, {WINDOW} AS ws, tumble_end(ts, INTERVAL '10 seconds') AS we FROM a"
        );
        let counted =
            format!("SELECT ws, we, key, count(*) AS c FROM ({windowed}) GROUP BY ws, we, key");
        let sqls = [
            format!(
                "SELECT ws, key, n, ts, rn FROM (SELECT *, row_number() OVER (
                   PARTITION BY ws, we, key ORDER BY n, ts) AS rn FROM ({windowed}))
                 WHERE rn <= {limit}"
            ),
            format!(
                "SELECT ws, key, c FROM ({counted}) QUALIFY row_number() OVER (
                   PARTITION BY ws, we ORDER BY c DESC, key) <= {limit}"
            ),
            format!(
                "SELECT ws, key, c, rank() OVER (PARTITION BY ws ORDER BY c DESC) AS r
                 FROM ({counted}) QUALIFY r <= {limit}"
            ),
            // A window of what came out of a window.
            format!(
                "SELECT tumble_start(ws, INTERVAL '30 seconds') AS w, count(*) AS rows, sum(c) AS s
                 FROM (SELECT ws, c FROM ({counted}) QUALIFY row_number() OVER (
                   PARTITION BY ws, we ORDER BY c DESC, key) <= {limit}) GROUP BY 1"
            ),
        ];
        block_on(async {
            for sql in sqls {
                let world = walked(&sql, &source, &logs, &steps).await;
                assert!(!world.topology.updating, "{sql}");
                let batch = batch_answer(&sql, &source, &all(&logs)).await;
                assert_same(world.out(), &batch);
            }
        });
    }
}
