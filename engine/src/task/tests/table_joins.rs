//! Tables read by themselves and joined with each other, beside batch SQL over the tables as they
//! stand at the end, through crashes.

use arrow::datatypes::DataType;

use super::*;
use crate::pipeline::SourceKind;
use crate::testing::source;

#[derive(Clone, Debug)]
pub(super) enum Edit {
    Put { id: i64, key: Option<String>, n: Option<i64> },
    Delete { id: i64 },
}

pub(super) fn edit() -> impl Strategy<Value = Edit> {
    let key = prop::option::weighted(0.9, "[ab]{0,1}");
    prop_oneof![
        3 => (0..8i64, key, prop::option::weighted(0.8, 0..5i64))
            .prop_map(|(id, key, n)| Edit::Put { id, key, n }),
        1 => (0..8i64).prop_map(|id| Edit::Delete { id }),
    ]
}

/// Edits as batches of a table's topic.
pub(super) fn edits() -> impl Strategy<Value = Vec<Vec<Edit>>> {
    prop::collection::vec(prop::collection::vec(edit(), 1..6), 0..10)
}

pub(super) fn people(name: &str) -> Source {
    let columns = [("id", DataType::Int64), ("key", DataType::Utf8), ("n", DataType::Int64)];
    Source { kind: SourceKind::Table { key: vec![0] }, ..source(name, Format::Json, &columns) }
}

pub(super) fn log(batches: &[Vec<Edit>]) -> Vec<LogBatch> {
    let mut log: Vec<LogBatch> = Vec::new();
    for batch in batches {
        let mut builder = BatchBuilder::default();
        for edit in batch {
            match edit {
                Edit::Put { id, key, n } => {
                    let value = serde_json::json!({"id": id, "key": key, "n": n}).to_string();
                    let id = id.to_string();
                    builder.append(NOW.0, Some(id.as_bytes()), Some(value.as_bytes()));
                }
                Edit::Delete { id } => {
                    builder.append(NOW.0, Some(id.to_string().as_bytes()), None);
                }
            }
        }
        let base = log.last().map_or(Offset::ZERO, LogBatch::next_offset);
        log.push(builder.build(ProducerStamp::NONE).stamped(base, LeaderEpoch(0)));
    }
    log
}

pub(super) fn final_rows(source: &Source, batches: &[Vec<Edit>]) -> RecordBatch {
    let mut rows = BTreeMap::new();
    for edit in batches.iter().flatten() {
        match edit {
            Edit::Put { id, key, n } => {
                rows.insert(*id, (key.clone(), *n));
            }
            Edit::Delete { id } => {
                rows.remove(id);
            }
        }
    }
    let ids: Int64Array = rows.keys().copied().map(Some).collect();
    let keys: StringArray = rows.values().map(|(key, _)| key.as_deref()).collect();
    let numbers: Int64Array = rows.values().map(|(_, n)| *n).collect();
    let columns = vec![Arc::new(ids) as _, Arc::new(keys) as _, Arc::new(numbers) as _];
    RecordBatch::try_new(source.schema.clone(), columns).unwrap()
}

fn check(
    sql: &str,
    key: &[usize],
    left: &[Vec<Edit>],
    right: &[Vec<Edit>],
    steps: &[(usize, usize, Fate)],
) {
    let (l, r) = (people("l"), people("r"));
    block_on(async {
        println!("{sql}");
        let mut topology = topology(sql, &[&l, &r]).await.unwrap();
        if topology.updating {
            topology.sink.key = key.to_vec();
        }
        let mut world = World::new(topology);
        world.inputs.insert(TopicPartition::new("l", 0), log(left));
        world.inputs.insert(TopicPartition::new("r", 0), log(right));
        walk(&mut world, steps);
        world.run_to_end();
        let engine =
            batch_engine(&[(&l, vec![final_rows(&l, left)]), (&r, vec![final_rows(&r, right)])]);
        assert_same(&world.answer(), &answer(&engine, sql).await);
    });
}

const ON: [&str; 4] = [
    "l.key = r.key",
    "l.n = r.id",
    "l.key = r.key AND l.n < r.n",
    "(l.key IS NOT DISTINCT FROM r.key) AND l.n = r.n AND l.id + r.id > 5",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn joins_of_tables_fold_to_batch_sql_through_crashes(
        left in edits(),
        right in edits(),
        steps in prop::collection::vec((0..2usize, 1..3usize, fate()), 0..30),
        on in 0..ON.len(),
        kind in 0..8usize,
    ) {
        let columns = "l.id AS lid, r.id AS rid, l.key AS lk, r.n AS rn";
        let (kind, columns, key) = [
            ("JOIN", columns, &[0, 1][..]),
            ("LEFT JOIN", columns, &[0, 1]),
            ("RIGHT JOIN", columns, &[0, 1]),
            ("FULL JOIN", columns, &[0, 1]),
            ("LEFT SEMI JOIN", "l.id, l.key", &[0]),
            ("LEFT ANTI JOIN", "l.id, l.key", &[0]),
            ("RIGHT SEMI JOIN", "r.id, r.key", &[0]),
            ("RIGHT ANTI JOIN", "r.id, r.key", &[0]),
        ][kind];
        let on = ON[on];
        let sql = format!("SELECT {columns} FROM l {kind} r ON {on}");
        check(&sql, key, &left, &right, &steps);
    }

    #[test]
    fn what_is_made_of_tables_folds_to_batch_sql_through_crashes(
        left in edits(),
        right in edits(),
        steps in prop::collection::vec((0..2usize, 1..3usize, fate()), 0..30),
        form in 0..21usize,
    ) {
        let (sql, key) = [
            ("SELECT id, upper(key) AS k FROM l WHERE n > 1", &[0][..]),
            ("SELECT key FROM l WHERE id <> 3 GROUP BY key", &[0]),
            ("SELECT r.key, count(*) AS c, sum(l.n) AS s FROM l JOIN r ON l.n = r.id
              GROUP BY r.key", &[0]),
            ("SELECT g.key, g.c, r.id FROM (SELECT key, count(*) AS c FROM l GROUP BY key) AS g
              LEFT JOIN r ON g.c = r.id", &[0, 2]),
            ("SELECT a.id AS a, b.id AS b, c.n FROM l AS a JOIN l AS b ON a.n = b.id
              LEFT JOIN r AS c ON b.n = c.id", &[0]),
            ("SELECT id, key FROM l WHERE key IN (SELECT key FROM r WHERE n > 2)", &[0]),
            ("SELECT id, key FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE r.id = l.n)", &[0]),
            ("SELECT key FROM l INTERSECT SELECT key FROM r", &[0]),
            ("SELECT key, n FROM l EXCEPT SELECT key, n FROM r", &[0, 1]),
            ("SELECT l.id, t.total FROM l LEFT JOIN (SELECT sum(n) AS total FROM r) AS t ON true", &[0]),
            ("SELECT id, key FROM l WHERE n NOT IN (SELECT n FROM r)", &[0]),
            ("SELECT id, key FROM l WHERE n NOT IN (SELECT n FROM r WHERE n > 1 AND key = 'a')", &[0]),
            ("SELECT id FROM l WHERE n > (SELECT avg(n) FROM r)", &[0]),
            ("SELECT id, n - (SELECT min(n) FROM l) AS above FROM l", &[0]),
            ("SELECT id FROM l WHERE n = (SELECT count(*) FROM r WHERE key = 'b')", &[0]),
            ("SELECT id FROM l WHERE n < (SELECT count(*) FROM r WHERE r.key = l.key)", &[0]),
            ("SELECT key, count(*) AS c FROM l GROUP BY key
              HAVING count(*) >= (SELECT count(DISTINCT n) FROM r)", &[0]),
            ("SELECT id FROM l WHERE key = 'a' OR n IN (SELECT id FROM r)", &[0]),
            ("SELECT id FROM l WHERE key = 'a' OR NOT EXISTS (SELECT 1 FROM r WHERE r.id = l.n)", &[0]),
            ("SELECT l.id, c.c FROM l, LATERAL (SELECT count(*) AS c FROM r WHERE r.n = l.n) AS c",
             &[0]),
            ("SELECT max(n) AS most, min(key) AS least, count(DISTINCT key) AS keys, avg(n) AS mean
              FROM l WHERE n > 1", &[]),
        ][form];
        check(sql, key, &left, &right, &steps);
    }
}

/// They were told with the first record only, so that an empty input had no answer where batch SQL
/// has one.
#[tokio::test]
async fn the_totals_of_nothing_are_told_at_the_end() {
    for sql in [
        "SELECT count(*) AS c, sum(n) AS s FROM l",
        "SELECT count(*) AS c FROM l HAVING count(*) > 0",
        "SELECT c + 1 AS more FROM (SELECT count(*) AS c FROM l)",
        "SELECT count(*) AS c FROM l JOIN r ON l.n = r.id",
    ] {
        let (l, r) = (people("l"), people("r"));
        let mut world = World::new(topology(sql, &[&l, &r]).await.unwrap());
        for source in ["l", "r"] {
            world.inputs.insert(TopicPartition::new(source, 0), Vec::new());
        }
        // Told once: the second run finds it in its state.
        world.run_to_end();
        world.run_to_end();
        let engine =
            batch_engine(&[(&l, vec![final_rows(&l, &[])]), (&r, vec![final_rows(&r, &[])])]);
        assert_same(&world.answer(), &answer(&engine, sql).await);
    }
}

/// A join brings out what changed, and no more.
#[tokio::test]
async fn a_changed_row_takes_back_what_it_had_met() {
    let sql = "SELECT l.id, r.key FROM l LEFT JOIN r ON l.n = r.id";
    let (l, r) = (people("l"), people("r"));
    let mut topology = topology(sql, &[&l, &r]).await.unwrap();
    topology.sink.key = vec![0];
    let mut world = World::new(topology);
    let put = |id, key: &str, n| Edit::Put { id, key: Some(key.to_owned()), n: Some(n) };
    let left = log(&[vec![put(1, "a", 7), put(2, "b", 8)], vec![put(1, "other", 7)]]);
    let right = log(&[
        vec![put(7, "seven", 0)],
        vec![put(7, "SEVEN", 0), put(9, "nine", 0)],
        vec![Edit::Delete { id: 7 }],
    ]);
    world.inputs.insert(TopicPartition::new("l", 0), left);
    world.inputs.insert(TopicPartition::new("r", 0), right);
    let mut task = world.start();
    let mut told = Vec::new();
    for topic in ["l", "r", "r", "l", "r"] {
        let fetched = world.fetch(&task, &TopicPartition::new(topic, 0), 1).unwrap();
        task.process(&fetched, NOW).unwrap();
        let commit = task.commit(NOW).unwrap();
        let rows = commit.printed.iter().map(|rows| {
            let marks = (0..rows.len()).map(|row| if rows.is_retraction(row) { '-' } else { '+' });
            marks.collect::<String>()
        });
        told.push(rows.collect::<String>());
        world.write(commit);
    }
    // The fourth changes a column that nobody asked for.
    assert_eq!(told, ["++", "-+", "-+-+", "", "-+"]);
    assert_eq!(world.answer().len(), 2);
    assert_eq!(task.counts().tombstones, 1);
}
