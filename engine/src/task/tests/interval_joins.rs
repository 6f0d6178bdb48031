//! Joins of streams beside batch DataFusion, through crashes.

use super::*;

type Logs = Vec<Vec<Vec<Event>>>;

/// Partitions whose rows come in the order of their times, so that none is late however the
/// partitions are interleaved.
fn sorted_logs() -> impl Strategy<Value = Logs> {
    let log = prop::collection::vec(event(), 1..30);
    let logs = prop::collection::vec((log, 1..6usize), 1..3);
    logs.prop_map(|logs| {
        let sorted = logs.into_iter().map(|(mut log, size)| {
            log.sort_by_key(|event| event.time);
            log.chunks(size).map(<[Event]>::to_vec).collect()
        });
        sorted.collect()
    })
}

fn fill(world: &mut World, topic: &str, logs: &Logs) {
    for (partition, batches) in logs.iter().enumerate() {
        for batch in batches {
            let values: Vec<String> = batch.iter().map(Event::json).collect();
            world.produce(topic, partition as i32, &values);
        }
    }
}

fn all(logs: &Logs) -> Vec<Event> {
    logs.iter().flatten().flatten().cloned().collect()
}

/// Runs `sql` over `a` and `b` and compares it with batch.
fn check(sql: &str, a: &Logs, b: &Logs, steps: &[(usize, usize, Fate)]) {
    check_beside((sql, None), sql, a, b, steps);
}

/// Runs `sql`, with a time to live, and compares it with what batch says of `asked`.
fn check_beside(
    (sql, state_ttl): (&str, Option<Duration>),
    asked: &str,
    a: &Logs,
    b: &Logs,
    steps: &[(usize, usize, Fate)],
) {
    let (left, right) = (events("a"), events("b"));
    block_on(async {
        let topology = topology_that_forgets(sql, &[&left, &right], state_ttl).await.unwrap();
        let mut world = World::new(topology);
        fill(&mut world, "a", a);
        fill(&mut world, "b", b);
        walk(&mut world, steps);
        let task = world.run_to_end();
        assert_eq!(task.counts().late, 0);
        let engine = batch_engine(&[
            (&left, vec![table(&left, &all(a))]),
            (&right, vec![table(&right, &all(b))]),
        ]);
        println!("{sql}");
        let expected = answer(&engine, asked).await;
        match world.topology.updating {
            true => assert_same(&world.answer(), &expected),
            false => assert_same(world.out(), &expected),
        }
    });
}

const NEAR: &str = "a.ts BETWEEN b.ts - INTERVAL '5 seconds' AND b.ts + INTERVAL '8 seconds'";

const CONDITIONS: [&str; 5] = [
    "a.key = b.key AND a.ts BETWEEN b.ts - INTERVAL '5 seconds' AND b.ts + INTERVAL '8 seconds'",
    "a.key = b.key AND a.n < b.n AND b.ts > a.ts AND b.ts - a.ts <= INTERVAL '20 seconds'",
    "a.ts <= b.ts + INTERVAL '1 second' AND a.ts >= b.ts AND b.n > 0",
    "a.key = b.key AND upper(a.key) = 'A' AND a.n > 3
     AND a.ts + INTERVAL '10 seconds' < b.ts AND b.ts < a.ts + INTERVAL '30 seconds'",
    "tumble_start(a.ts, INTERVAL '10 seconds') = tumble_start(b.ts, INTERVAL '10 seconds')
     AND a.key IS NOT DISTINCT FROM b.key",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn interval_joins_equal_batch_sql_through_crashes(
        a in sorted_logs(),
        b in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
        condition in 0..CONDITIONS.len(),
        kind in 0..8usize,
    ) {
        let columns = "a.n AS an, a.ts AS ats, b.key AS bkey, b.n AS bn";
        let (kind, columns) = [
            ("JOIN", columns),
            ("LEFT JOIN", columns),
            ("RIGHT JOIN", columns),
            ("FULL JOIN", columns),
            ("LEFT SEMI JOIN", "a.key, a.n"),
            ("LEFT ANTI JOIN", "a.key, a.n"),
            ("RIGHT SEMI JOIN", "b.key, b.n"),
            ("RIGHT ANTI JOIN", "b.key, b.n"),
        ][kind];
        let condition = CONDITIONS[condition];
        check(&format!("SELECT {columns} FROM a {kind} b ON {condition}"), &a, &b, &steps);
    }

    /// Rows of a join are looked at beside each other by the event time of either side, and put into
    /// windows after that.
    #[test]
    fn rows_of_joins_are_looked_at_in_order(
        a in sorted_logs(),
        b in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
        form in 0..7usize,
    ) {
        let lately = "OVER (PARTITION BY key ORDER BY ts
                            RANGE BETWEEN INTERVAL '6 seconds' PRECEDING AND CURRENT ROW)";
        let joined = |kind: &str, time: &str| format!(
            "SELECT a.key AS key, {time} AS ts, a.n AS an, b.n AS bn
             FROM a {kind} b ON a.key = b.key AND {NEAR}"
        );
        let sums = |of: &str| format!("SELECT key, ts, an, sum(an) {lately} AS s FROM ({of})");
        let sql = match form {
            0 => sums(&joined("JOIN", "a.ts")),
            1 => sums(&joined("LEFT JOIN", "a.ts")),
            2 => format!("SELECT key, ts, count(an) {lately} AS s
                          FROM ({})", joined("RIGHT JOIN", "b.ts")),
            3 => format!("SELECT window_start, max(s) AS most, count(*) AS rows FROM TUMBLE(
                            ({}), ts, INTERVAL '7 seconds') GROUP BY window_start, window_end",
                         sums(&joined("JOIN", "b.ts"))),
            4 => format!("SELECT key, ts, s, count(*) {lately} AS c FROM ({})",
                         sums(&joined("JOIN", "a.ts"))),
            5 => format!("SELECT key, ts, an, bn FROM (SELECT *, row_number() OVER (
                            PARTITION BY key ORDER BY ts, an, bn) AS place FROM ({}))
                          WHERE place <= 2", joined("JOIN", "b.ts")),
            _ => sums(&format!(
                "SELECT key, ts, n AS an FROM a
                 WHERE EXISTS (SELECT 1 FROM b WHERE a.key = b.key AND {NEAR})"
            )),
        };
        check(&sql, &a, &b, &steps);
    }

    /// The same by the end of the window that both rows lie in.
    #[test]
    fn rows_that_met_in_a_window_are_looked_at_in_order(
        a in sorted_logs(),
        b in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
    ) {
        let windows = |of: &str| {
            format!("HOP((SELECT * FROM {of}), ts, INTERVAL '4 seconds', INTERVAL '8 seconds')")
        };
        let sql = format!(
            "SELECT key, wt, n, sum(n) OVER (PARTITION BY key ORDER BY wt
                      RANGE BETWEEN INTERVAL '9 seconds' PRECEDING AND CURRENT ROW) AS s
             FROM (SELECT l.key AS key, l.window_time AS wt, l.n AS n
                   FROM {} AS l JOIN {} AS r ON l.key = r.key
                     AND l.window_start = r.window_start AND l.window_end = r.window_end)",
            windows("a"), windows("b"),
        );
        check(&sql, &a, &b, &steps);
    }

    /// The time to live of the query is how far apart rows may be that meet.
    #[test]
    fn joins_within_the_time_to_live_equal_batch_sql_with_that_bound(
        a in sorted_logs(),
        b in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
        kind in 0..8usize,
        seconds in 1..40u64,
        grouped in any::<bool>(),
        on in 0..3usize,
    ) {
        let on = ["a.key = b.key", "a.key = b.key AND a.n < b.n", "a.n = b.n"][on];
        let kinds = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "LEFT SEMI JOIN",
            "LEFT ANTI JOIN", "RIGHT SEMI JOIN", "RIGHT ANTI JOIN"];
        let of = if kind >= 6 { "b" } else { "a" };
        let window = format!("tumble_start({of}.ts, INTERVAL '10 seconds') AS w");
        let (columns, by) = match (kind < 4, grouped && (kind == 0 || kind >= 4)) {
            (_, true) => (format!("{window}, count(*) AS c"), " GROUP BY 1"),
            (true, false) => ("a.n AS an, b.key AS bkey, b.n AS bn".to_owned(), ""),
            (false, false) => (format!("{of}.key, {of}.n"), ""),
        };
        let kind = kinds[kind];
        let near = format!(
            "a.ts BETWEEN b.ts - INTERVAL '{seconds} seconds' AND b.ts + INTERVAL '{seconds} seconds'"
        );
        let sql = format!("SELECT {columns} FROM a {kind} b ON {on}{by}");
        let asked = format!("SELECT {columns} FROM a {kind} b ON {on} AND {near}{by}");
        let state_ttl = Some(Duration::from_secs(seconds));
        check_beside((&sql, state_ttl), &asked, &a, &b, &steps);
    }

    /// What one side has ever had, each of them once.
    #[test]
    fn sets_of_keys_fold_to_batch_sql(
        a in sorted_logs(),
        b in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
        form in 0..4usize,
    ) {
        let counted = "(SELECT key, count(*) AS c FROM a GROUP BY key) AS g";
        let sql = [
            "SELECT key FROM a INTERSECT SELECT key FROM b".to_owned(),
            "SELECT key, n FROM a EXCEPT SELECT key, n FROM b WHERE n > 0".to_owned(),
            format!("SELECT g.key, g.c FROM {counted} WHERE key IN
                     (SELECT key FROM b WHERE n > 0)"),
            format!("SELECT g.key, g.c FROM {counted} WHERE NOT EXISTS
                     (SELECT 1 FROM b WHERE b.n = g.c)"),
        ];
        check(&sql[form], &a, &b, &steps);
    }

    /// What the watermark says behind a join holds for the rows that have waited in it.
    #[test]
    fn windows_and_joins_after_joins_equal_batch_sql(
        a in sorted_logs(),
        b in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
        form in 0..8usize,
    ) {
        let window = |time: &str| format!("tumble_start({time}, INTERVAL '10 seconds')");
        let (wa, wb) = (window("a.ts"), window("b.ts"));
        let counted = |of: &str| format!(
            "(SELECT {} AS w, key, count(*) AS c FROM {of} GROUP BY 1, 2)", window("ts")
        );
        let (ca, cb) = (counted("a"), counted("b"));
        let hop = |of: &str| {
            format!("HOP((SELECT * FROM {of}), ts, INTERVAL '5 seconds', INTERVAL '10 seconds')")
        };
        let hopped = |of: &str| format!(
            "(SELECT window_start, window_end, key, count(*) AS c FROM {} GROUP BY 1, 2, 3)",
            hop(of)
        );
        let (ha, hb) = (hopped("a"), hopped("b"));
        let raw = |of: &str| format!("(SELECT window_end, key, n FROM {})", hop(of));
        let (raw_a, raw_b) = (raw("a"), raw("b"));
        let sql = [
            format!("SELECT {wa} AS w, count(*) AS c, count(b.n) AS m FROM a LEFT JOIN b
                     ON a.key = b.key AND {NEAR} GROUP BY 1"),
            format!("SELECT {wb} AS w, a.key, sum(a.n) AS s FROM a, b
                     WHERE a.key = b.key AND {NEAR} GROUP BY 1, 2"),
            format!("SELECT x.key, x.c AS xc, y.c AS yc, x.w FROM {ca} AS x FULL JOIN {cb} AS y
                     ON x.w = y.w AND x.key = y.key"),
            format!("SELECT x.key, x.w, y.n FROM {ca} AS x LEFT JOIN b AS y
                     ON x.w = tumble_start(y.ts, INTERVAL '10 seconds') AND x.c = y.n % 4"),
            format!("SELECT x.n AS x, y.n AS y, a.n AS a FROM b AS x JOIN a
                     ON a.ts BETWEEN x.ts AND x.ts + INTERVAL '3 seconds' AND a.key = x.key
                     LEFT JOIN b AS y
                     ON y.ts BETWEEN a.ts AND a.ts + INTERVAL '3 seconds' AND a.key = y.key"),
            format!("SELECT x.key, x.c AS xc, y.c AS yc, x.window_end AS w FROM {ha} AS x
                     FULL JOIN {hb} AS y ON x.window_start = y.window_start AND x.key = y.key"),
            format!("SELECT x.n AS xn, y.n AS yn, x.window_end AS w FROM {raw_a} AS x
                     JOIN {raw_b} AS y ON x.window_end = y.window_end AND x.key = y.key"),
            format!("SELECT l.n AS l, r.n AS r FROM a AS l JOIN a AS r
                     ON l.key = r.key AND l.n < r.n AND r.ts >= l.ts
                     AND r.ts < l.ts + INTERVAL '15 seconds'"),
        ];
        check(&sql[form], &a, &b, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// A stream that is joined with its own maxima is read once and ranked.
    #[test]
    fn rows_with_the_most_of_their_group_equal_batch_sql(
        a in sorted_logs(),
        steps in prop::collection::vec((0..6usize, 1..3usize, fate()), 0..40),
        form in 0..5usize,
    ) {
        let w = "tumble_start(ts, INTERVAL '10 seconds') AS w";
        let sql = [
            format!("SELECT x.key, x.n, x.w, y.m FROM (SELECT key, n, {w} FROM a) AS x JOIN
                     (SELECT {w}, max(n) AS m FROM a GROUP BY 1) AS y ON x.w = y.w AND x.n = y.m"),
            format!("SELECT x.n, x.w, y.key FROM (SELECT {w}, key, min(n) AS m FROM a WHERE n > 0
                     GROUP BY 1, 2) AS y JOIN (SELECT key, n, {w} FROM a WHERE n > 0) AS x
                     ON x.w = y.w AND x.key = y.key AND x.n = y.m"),
            "SELECT x.key, x.n, m FROM a AS x JOIN (SELECT key, max(n) AS m FROM a GROUP BY key)
             AS g ON x.key = g.key AND x.n = g.m".to_owned(),
            "SELECT x.key, x.n FROM a AS x, (SELECT max(n) AS m FROM a) AS g WHERE x.n = g.m"
                .to_owned(),
            "SELECT key, n FROM a WHERE EXISTS (SELECT 1 FROM (SELECT key AS k, min(n) AS m FROM a
             GROUP BY key) AS g WHERE g.k = a.key AND g.m = a.n)"
                .to_owned(),
        ];
        let (sql, left) = (&sql[form], events("a"));
        block_on(async {
            let mut topology = topology(sql, &[&left]).await.unwrap();
            assert_eq!(topology.inputs.len(), 1, "{topology}");
            topology.sink.key = (0..topology.schema().fields().len()).collect();
            let mut world = World::new(topology);
            world.by_key = false;
            fill(&mut world, "a", &a);
            walk(&mut world, &steps);
            world.run_to_end();
            let engine = batch_engine(&[(&left, vec![table(&left, &all(&a))])]);
            let rows = match world.topology.updating {
                true => world.rows(),
                false => world.out().to_vec(),
            };
            assert_same(&rows, &answer(&engine, sql).await);
        });
    }
}

fn of(time: i64, key: &str, n: i64) -> String {
    Event { time, key: Some(key.to_owned()), n: Some(n) }.json()
}

async fn world(sql: &str) -> World {
    let mut world = World::new(topology(sql, &[&events("a"), &events("b")]).await.unwrap());
    world.produce("a", 0, &[] as &[&str]);
    world.produce("b", 0, &[] as &[&str]);
    world
}

fn take(world: &mut World, task: &mut Task, topic: &str) -> usize {
    let fetched = world.fetch(task, &TopicPartition::new(topic, 0), 1).unwrap();
    task.process(&fetched, NOW).unwrap();
    world.write(task.commit(NOW).unwrap());
    world.out().len()
}

#[tokio::test]
async fn a_row_without_a_partner_comes_when_none_can_come_any_more() {
    let sql = format!("SELECT a.n, b.n AS m FROM a LEFT JOIN b ON a.key = b.key AND {NEAR}");
    let mut world = world(&sql).await;
    world.produce("a", 0, &[of(10_000, "x", 1), of(12_000, "x", 2)]);
    world.produce("b", 0, &[of(15_000, "y", 3)]);
    // b may come until a + 5 s.
    world.produce("a", 0, &[of(15_001, "z", 4)]);
    world.produce("b", 0, &[of(15_001, "x", 5)]);
    world.produce("b", 0, &[of(40_000, "z", 6)]);
    world.produce("a", 0, &[of(17_001, "z", 7)]);
    let mut task = world.start();
    let mut seen = Vec::new();
    for topic in ["a", "b", "a", "b", "b", "a"] {
        seen.push(take(&mut world, &mut task, topic));
    }
    // 2 met 5 at once; 1 came when both streams were past 15 s; 4 and 7 wait.
    assert_eq!(seen, [0, 0, 0, 2, 2, 2]);
    assert_eq!(task.kept().groups, 5);
    let mut task = world.start();
    task.finish(NOW).unwrap();
    world.write(task.commit(NOW).unwrap());
    let rows: Vec<String> = world.out().iter().map(Value::to_string).collect();
    assert_eq!(
        rows,
        [r#"{"m":5,"n":2}"#, r#"{"m":null,"n":1}"#, r#"{"m":null,"n":4}"#, r#"{"m":null,"n":7}"#,]
    );
}

#[tokio::test]
async fn late_rows_are_counted_and_left_out() {
    let mut world = world(&format!("SELECT a.n, b.n AS m FROM a JOIN b ON {NEAR}")).await;
    world.produce("a", 0, &[of(10_000, "x", 1)]);
    world.produce("b", 0, &[of(10_000, "x", 2)]);
    world.produce("a", 0, &[of(9_999, "x", 3), of(10_000, "x", 4)]);
    let mut task = world.start();
    let seen = ["a", "b", "a"].map(|topic| take(&mut world, &mut task, topic));
    assert_eq!((seen, task.counts().late), ([0, 1, 2], 1));
}

/// A key that everything has makes pairs a few at a time.
#[tokio::test]
async fn a_skewed_key_comes_out_in_pieces() {
    let mut world = world(&format!("SELECT a.n, b.n AS m FROM a JOIN b ON {NEAR}")).await;
    let rows = |from: i64| (from..from + 200).map(|n| of(n, "x", n)).collect::<Vec<_>>();
    world.produce("a", 0, &rows(0));
    world.produce("b", 0, &rows(0));
    let mut setup = TaskSetup {
        topology: world.topology.clone(),
        batch_rows_max: 1000,
        task: 0,
        input_partitions: vec![vec![0], vec![0]],
        sink_partitions: 1,
    };
    setup.topology.sink.print = true;
    let mut task = Task::new(setup, NOW).unwrap();
    for topic in ["a", "b"] {
        let fetched = world.fetch(&task, &TopicPartition::new(topic, 0), 1).unwrap();
        task.process(&fetched, NOW).unwrap();
    }
    let commit = task.commit(NOW).unwrap();
    let lens: Vec<usize> = commit.printed.iter().map(Rows::len).collect();
    assert_eq!(lens.iter().sum::<usize>(), 40_000);
    assert!(lens.iter().all(|len| *len <= 2 * crate::operators::sides::PAIRS_MAX), "{lens:?}");
}

#[tokio::test]
async fn rows_that_are_done_leave_the_changelog() {
    let sql = format!("SELECT a.n, b.n AS m FROM a FULL JOIN b ON a.key = b.key AND {NEAR}");
    let mut world = world(&sql).await;
    for at in 0..50 {
        world.produce("a", 0, &[of(at * 1000, "x", at)]);
        world.produce("b", 0, &[of(at * 1000, "y", at)]);
    }
    walk(&mut world, &[(0, 1, Fate::Commits), (1, 1, Fate::DiesAfterWriting)].repeat(50));
    let mut restored = Changelog::default();
    for change in &world.changelog {
        restored.apply(Some(&change.key), change.value.as_deref());
    }
    // a is kept for 5 s and b for 8 s; and the meta record.
    assert_eq!(restored.keys().count(), 6 + 9 + 1);
}
