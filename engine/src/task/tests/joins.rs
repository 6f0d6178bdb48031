//! Joins with tables beside batch DataFusion, and what tables are made of.

use arrow::datatypes::DataType;

use super::*;
use crate::pipeline::{Column, ColumnFrom, OnError, SourceKind};
use crate::testing::source;

/// `id`, `label`, with a key from the record where it deletes.
fn names() -> Source {
    let columns = [("id", DataType::Utf8), ("label", DataType::Utf8), ("rank", DataType::Int64)];
    Source { kind: SourceKind::Table { key: vec![0] }, ..source("names", Format::Json, &columns) }
}

#[derive(Clone, Debug)]
enum Change {
    Put { id: String, label: Option<String>, rank: i64 },
    Delete { id: String },
}

fn change() -> impl Strategy<Value = Change> {
    let id = || "[abc]{0,2}";
    prop_oneof![
        4 => (id(), prop::option::weighted(0.9, "[xyz]{1}"), 0..9i64)
            .prop_map(|(id, label, rank)| Change::Put { id, label, rank }),
        1 => id().prop_map(|id| Change::Delete { id }),
    ]
}

fn log(changes: &[Change]) -> Vec<LogBatch> {
    let mut log: Vec<LogBatch> = Vec::new();
    for part in changes.chunks(5) {
        let mut builder = BatchBuilder::default();
        for change in part {
            match change {
                Change::Put { id, label, rank } => {
                    let value = serde_json::json!({"id": id, "label": label, "rank": rank});
                    let value = value.to_string();
                    builder.append(NOW.0, Some(id.as_bytes()), Some(value.as_bytes()));
                }
                Change::Delete { id } => builder.append(NOW.0, Some(id.as_bytes()), None),
            }
        }
        let base = log.last().map_or(Offset::ZERO, LogBatch::next_offset);
        log.push(builder.build(ProducerStamp::NONE).stamped(base, LeaderEpoch(0)));
    }
    log
}

/// The table as it stands after all changes.
fn final_rows(source: &Source, changes: &[Change]) -> RecordBatch {
    let mut rows = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put { id, label, rank } => {
                rows.insert(id.clone(), (label.clone(), *rank));
            }
            Change::Delete { id } => {
                rows.remove(id);
            }
        }
    }
    let ids: StringArray = rows.keys().map(Some).collect();
    let labels: StringArray = rows.values().map(|(label, _)| label.as_deref()).collect();
    let ranks: Int64Array = rows.values().map(|(_, rank)| Some(*rank)).collect();
    let columns = vec![Arc::new(ids) as _, Arc::new(labels) as _, Arc::new(ranks) as _];
    RecordBatch::try_new(source.schema.clone(), columns).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn joins_with_a_table_equal_batch_sql_through_crashes(
        logs in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(event(), 1..12), 0..6), 1..4,
        ),
        changes in prop::collection::vec(change(), 0..30),
        steps in prop::collection::vec((0..4usize, 1..3usize, fate()), 0..20),
        form in 0..9usize,
    ) {
        let (events, names) = (patient(events("a")), names());
        let sql = [
            format!("SELECT {WINDOW} AS w, label, count(*) AS c, max(rank) AS r FROM a
                     JOIN names ON a.key = names.id WHERE rank > 2 GROUP BY {WINDOW}, label"),
            format!("SELECT {WINDOW} AS w, label, count(*) AS c, count(rank) AS r FROM a
                     LEFT JOIN names ON a.key = names.id AND n < rank GROUP BY {WINDOW}, label"),
            "SELECT n, label FROM names RIGHT JOIN a ON a.key = label || 'b'".to_owned(),
            "SELECT n, key FROM a LEFT SEMI JOIN names ON a.key = names.id".to_owned(),
            format!("SELECT w, one.label AS one, two.label AS two, c
                     FROM (SELECT {WINDOW} AS w, key, count(*) AS c FROM a
                           LEFT ANTI JOIN names ON a.n = names.rank GROUP BY {WINDOW}, key) AS g
                     LEFT JOIN names AS one ON g.c = one.rank
                     JOIN names AS two ON g.key = two.id"),
            "SELECT n, label FROM a CROSS JOIN names".to_owned(),
            "SELECT n, label FROM a LEFT JOIN names ON n BETWEEN rank - 1 AND rank + 1".to_owned(),
            "SELECT label FROM names JOIN a ON label < key".to_owned(),
            "SELECT n FROM a WHERE NOT EXISTS (SELECT 1 FROM names WHERE rank > a.n)".to_owned(),
        ];
        let sql = &sql[form];
        block_on(async {
            let topology = topology(sql, &[&events, &names]).await.unwrap();
            let mut world = World::new(topology);
            world.tables.insert(TopicPartition::new("names", 0), log(&changes));
            world.fill(&logs);
            walk(&mut world, &steps);
            world.run_to_end();
            let all: Vec<Event> = logs.into_iter().flatten().flatten().collect();
            let engine = batch_engine(&[
                (&events, vec![table(&events, &all)]),
                (&names, vec![final_rows(&names, &changes)]),
            ]);
            assert_same(world.out(), &answer(&engine, sql).await);
        });
    }
}

/// Rows have the whole table for partners where nothing is compared for equality: they are looked
/// at a few at a time.
#[tokio::test]
async fn many_candidates_are_sifted_in_pieces() {
    let (events, names) = (events("a"), names());
    let sql = "SELECT n, rank FROM a JOIN names ON rank % 1000 = n";
    let mut world = World::new(topology(sql, &[&events, &names]).await.unwrap());
    let ranks = (0..20_000).map(|rank| Change::Put { id: rank.to_string(), label: None, rank });
    world.tables.insert(TopicPartition::new("names", 0), log(&ranks.collect::<Vec<_>>()));
    let rows = (0..100).map(|n| Event { time: n, key: None, n: Some(n) }.json());
    world.produce("a", 0, &rows.collect::<Vec<_>>());
    world.run_to_end();
    let met = world.out().iter().map(|row| (row["n"].as_i64(), row["rank"].as_i64()));
    let expected = (0..100).flat_map(|n| (0..20).map(move |at| (Some(n), Some(n + 1000 * at))));
    assert_eq!(met.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_change_of_the_table_changes_what_comes_after() {
    let (events, names) = (events("a"), names());
    let sql = "SELECT n, label FROM a JOIN names ON key = id";
    let mut world = World::new(topology(sql, &[&events, &names]).await.unwrap());
    let put =
        |label: &str| Change::Put { id: "a".to_owned(), label: Some(label.to_owned()), rank: 1 };
    let changes = log(&[put("old"), put("b"), put("b"), put("b"), put("b"), put("new")]);
    world.tables.insert(TopicPartition::new("names", 0), changes[..1].to_vec());
    world.produce("a", 0, &[at(1)]);
    world.produce("a", 0, &[at(2)]);
    let mut task = world.start();
    let partition = TopicPartition::new("a", 0);
    task.process(&world.fetch(&task, &partition, 1).unwrap(), NOW).unwrap();
    let fetched = FetchedBatches {
        partition: TopicPartition::new("names", 0),
        batches: changes,
        next_offset: Offset(6),
        end_offset: Offset(6),
    };
    task.process_table(&fetched, Offset(5)).unwrap();
    assert!(!world.fetch(&task, &partition, 9).unwrap().batches.is_empty());
    task.process(&world.fetch(&task, &partition, 9).unwrap(), NOW).unwrap();
    world.write(task.commit(NOW).unwrap());
    let labels: Vec<&Value> = world.out().iter().map(|row| &row["label"]).collect();
    assert_eq!(labels, ["b", "new"]);
    assert_eq!(task.tables().collect::<Vec<_>>(), [("names", 1)]);
}

#[tokio::test]
async fn a_record_that_is_no_row_of_its_table_stops_or_is_skipped() {
    let events = events("a");
    let bad = || {
        let mut builder = BatchBuilder::default();
        builder.append(NOW.0, None, Some(br#"{"id":"a","rank":1}"#));
        builder.append(NOW.0, None, Some(br#"{"id":"#));
        // It decodes, and the filter fails.
        builder.append(NOW.0, None, Some(br#"{"id":"b","rank":0}"#));
        builder.append(NOW.0, None, Some(br#"{"id":"c","rank":2}"#));
        let batch = builder.build(ProducerStamp::NONE).stamped(Offset(7), LeaderEpoch(0));
        let partition = TopicPartition::new("names", 0);
        let end = Offset(11);
        FetchedBatches { partition, batches: vec![batch], next_offset: end, end_offset: end }
    };
    let sql = "SELECT n FROM a JOIN names ON key = id WHERE 10 / rank > 1";
    let fail = names();
    let topology_of = |source: Source| {
        let events = events.clone();
        async move { topology(sql, &[&events, &source]).await.unwrap() }
    };
    let mut task = World::new(topology_of(fail.clone()).await).start();
    let error = task.process_table(&bad(), Offset(7)).unwrap_err().to_string();
    assert!(error.starts_with("topic 'names', partition 0, offset 8: "), "{error}");
    let skip = Source { on_error: OnError::Skip, ..fail };
    let mut task = World::new(topology_of(skip).await).start();
    task.process_table(&bad(), Offset(7)).unwrap();
    assert_eq!(task.counts().skipped, 2);
    assert_eq!(task.tables().collect::<Vec<_>>(), [("names", 2)]);
}

/// The key of a raw table is the record's; a record without a value deletes there too.
#[tokio::test]
async fn a_raw_table_is_keyed_by_its_records() {
    let mut raw =
        source("names", Format::Raw, &[("id", DataType::Utf8), ("label", DataType::Utf8)]);
    raw.columns[0] = Column { name: "id".to_owned(), from: ColumnFrom::Key };
    raw.kind = SourceKind::Table { key: vec![0] };
    let events = events("a");
    let sql = "SELECT n, label FROM a LEFT JOIN names ON key = id";
    let mut world = World::new(topology(sql, &[&events, &raw]).await.unwrap());
    let mut builder = BatchBuilder::default();
    builder.append(NOW.0, Some(b"a"), Some(b"first"));
    builder.append(NOW.0, Some(b"b"), Some(b"second"));
    builder.append(NOW.0, Some(b"b"), None);
    let batch = builder.build(ProducerStamp::NONE).stamped(Offset(0), LeaderEpoch(0));
    world.tables.insert(TopicPartition::new("names", 0), vec![batch]);
    let of = |key: &str| Event { time: 1, key: Some(key.to_owned()), n: Some(1) }.json();
    world.produce("a", 0, &[of("a"), of("b")]);
    let task = world.run_to_end();
    assert_eq!(task.tables().collect::<Vec<_>>(), [("names", 1)]);
    let labels: Vec<&Value> = world.out().iter().map(|row| &row["label"]).collect();
    assert_eq!(labels, [&Value::from("first"), &Value::Null]);
}
