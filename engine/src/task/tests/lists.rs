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
