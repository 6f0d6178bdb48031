//! Lists to rows.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn lists_to_rows_equal_batch_sql_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..4), 1..3,
        ),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..20),
    ) {
        let source = patient(events("a"));
        let sqls = [
            // NULL, empty and longer ones, side by side.
            "SELECT key, unnest(range(n % 4)) AS e, unnest(make_array(n, n + 1)) AS f, ts FROM a",
            "SELECT unnest(CASE WHEN n > 0 THEN range(n % 3) END) AS e, n FROM a",
            "SELECT unnest(unnest(make_array(make_array(n, 1), range(n % 3)))) AS e, key FROM a",
            "SELECT unnest(unnest(make_array(range(n % 3), make_array(n)))) AS deep,
                    unnest(make_array(range(n % 3), make_array(n))) AS shallow FROM a",
            "SELECT unnest(named_struct('x', n, 'y', key)) FROM a WHERE n > 0",
            "SELECT e, count(*) AS c FROM (SELECT unnest(range(n % 4)) AS e FROM a) WHERE e > 0
             GROUP BY e",
            "SELECT key, n, u.e FROM a CROSS JOIN UNNEST(range(n % 4)) AS u(e)",
            "SELECT key, n, e, place FROM a LEFT JOIN LATERAL UNNEST(CASE WHEN n > 0 THEN
               range(n % 3) END) WITH ORDINALITY AS u(e, place) ON TRUE",
            "SELECT a.key, u.x, y FROM a, UNNEST(CASE WHEN n % 2 = 0 THEN
               make_array(named_struct('x', n, 'y', key), named_struct('x', n + 1, 'y', 'z'))
               ELSE make_array() END) AS u",
            "SELECT key, e, count(*) AS c FROM a CROSS JOIN LATERAL generate_series(1, n % 4) AS g(e)
             WHERE e <> 2 GROUP BY key, e",
            "SELECT key, e, sum(e) OVER (PARTITION BY key ORDER BY ts
               RANGE BETWEEN INTERVAL '6 seconds' PRECEDING AND CURRENT ROW) AS s
             FROM (SELECT key, ts, unnest(range(n % 4)) AS e FROM a)",
        ];
        block_on(async {
            for sql in sqls {
                let mut world = World::new(topology(sql, &[&source]).await.unwrap());
                world.fill(&logs);
                walk(&mut world, &steps);
                world.run_to_end();
                let all: Vec<Event> = logs.iter().flatten().flatten().cloned().collect();
                let ours = match world.topology.updating {
                    true => world.answer(),
                    false => world.out().to_vec(),
                };
                assert_same(&ours, &batch_answer(sql, &source, &all).await);
            }
        });
    }
}

/// What the lists of a row come to, without any UNNEST in FROM.
#[test]
fn lists_beside_their_rows_are_what_unnest_in_select_gives() {
    let source = patient(events("a"));
    let event = |n: i64| Event { time: n, key: Some(format!("k{n}")), n: Some(n % 7 - 2) };
    let rows: Vec<Event> = (0..40).map(event).collect();
    for (by_from, by_select) in [
        (
            "SELECT key, n, e FROM a CROSS JOIN UNNEST(range(n)) AS u(e) WHERE e > 0",
            "SELECT key, n, e FROM (SELECT key, n, unnest(range(n)) AS e FROM a) WHERE e > 0",
        ),
        (
            "SELECT key, n, e FROM a LEFT JOIN UNNEST(range(n)) AS u(e) ON TRUE",
            "SELECT key, n, unnest(CASE WHEN n > 0 THEN range(n)
               ELSE make_array(CAST(NULL AS BIGINT)) END) AS e FROM a",
        ),
        (
            "SELECT key, p, q FROM a CROSS JOIN UNNEST(make_array(
               named_struct('x', n, 'y', key), named_struct('x', n * 2, 'y', 'z'))) AS u(p, q)",
            "SELECT key, n AS p, key AS q FROM a UNION ALL SELECT key, n * 2, 'z' FROM a",
        ),
        (
            "SELECT key, place FROM a CROSS JOIN UNNEST(range(n)) WITH ORDINALITY AS u(e, place)",
            "SELECT key, unnest(range(1, n + 1)) AS place FROM a",
        ),
    ] {
        block_on(async {
            let mut world = World::new(topology(by_from, &[&source]).await.unwrap());
            world.fill(&[vec![rows.clone()]]);
            world.run_to_end();
            assert_same(world.out(), &batch_answer(by_select, &source, &rows).await);
        });
    }
}
