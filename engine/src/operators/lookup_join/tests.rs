//! The table beside a plain map, and joins beside two loops.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_expr::Operator;
use datafusion_physical_expr::expressions::{BinaryExpr, Column};
use proptest::prelude::*;

use super::*;

fn schema(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| Field::new(*name, DataType::Int64, true);
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn batch(names: &[&str], columns: Vec<Vec<Option<i64>>>) -> RecordBatch {
    let columns = columns.into_iter().map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
    RecordBatch::try_new(schema(names), columns.collect()).unwrap()
}

/// One row of the table: what it is joined by, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    join: Option<i64>,
    value: i64,
}

#[derive(Clone, Debug)]
enum Step {
    Upsert { key: i64, row: Row, filtered: bool },
    Delete { key: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let row = (prop::option::weighted(0.9, 0..4i64), any::<i64>());
    let row = row.prop_map(|(join, value)| Row { join, value });
    prop_oneof![
        8 => (0..12i64, row, prop::bool::weighted(0.2))
            .prop_map(|(key, row, filtered)| Step::Upsert { key, row, filtered }),
        2 => (0..12i64).prop_map(|key| Step::Delete { key }),
    ]
}

/// The same table as a list: rows by key, in the order in which they came.
#[derive(Default)]
struct Model(Vec<(i64, Row)>);

impl Model {
    fn apply(&mut self, step: &Step) {
        let (Step::Upsert { key, .. } | Step::Delete { key }) = step;
        self.0.retain(|(other, _)| other != key);
        if let Step::Upsert { key, row, filtered: false } = step {
            self.0.push((*key, *row));
        }
    }
}

fn empty_table(nulls_equal: bool) -> Table {
    let int = [DataType::Int64];
    Table::new(schema(&["join", "value"]), &int, &int, nulls_equal).unwrap()
}

fn apply(table: &mut Table, steps: &[Step]) {
    let record_key = |key: i64| key.to_be_bytes();
    let record_keys: Vec<[u8; 8]> = steps
        .iter()
        .map(|(Step::Upsert { key, .. } | Step::Delete { key })| record_key(*key))
        .collect();
    let (mut joins, mut values) = (Vec::new(), Vec::new());
    let mut changes = Vec::new();
    for (step, record_key) in steps.iter().zip(&record_keys) {
        changes.push(match step {
            Step::Upsert { key, row, filtered } => {
                let keys: ArrayRef = Arc::new(Int64Array::from(vec![*key]));
                let place = (!filtered).then_some(joins.len());
                if !filtered {
                    joins.push(row.join);
                    values.push(Some(row.value));
                }
                let key = table.keys(&[keys], 1).unwrap().remove(0);
                Change::Upsert { record_key: Some(record_key), key, row: place }
            }
            Step::Delete { .. } => Change::Delete { record_key },
        });
    }
    let rows = batch(&["join", "value"], vec![joins, values]);
    let join_keys = vec![rows.column(0).clone()];
    table.apply(changes, &rows, &join_keys).unwrap();
}

fn values(column: &ArrayRef) -> Vec<Option<i64>> {
    column.as_primitive::<Int64Type>().iter().collect()
}

fn found(table: &Table, join: Option<i64>) -> Vec<i64> {
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![join]));
    let rows: Vec<Option<RowId>> =
        table.find(&[keys], 1).unwrap().remove(0).iter().copied().map(Some).collect();
    values(&table.gather(&rows).unwrap()[1]).into_iter().flatten().collect()
}

proptest! {
    #[test]
    fn a_table_holds_the_latest_row_of_each_key(
        batches in prop::collection::vec(prop::collection::vec(step(), 0..20), 0..40),
        again in 1..8usize,
        nulls_equal in any::<bool>(),
    ) {
        let mut table = empty_table(nulls_equal);
        let mut model = Model::default();
        // Often enough for rows that are gone to be swept.
        for _ in 0..again {
            for steps in &batches {
                apply(&mut table, steps);
                steps.iter().for_each(|step| model.apply(step));
                prop_assert_eq!(table.rows(), model.0.len() as u64);
                for join in (0..4).map(Some).chain([None]) {
                    let of_key = model.0.iter().filter(|(_, row)| row.join == join);
                    let of_key = of_key.filter(|(_, row)| nulls_equal || row.join.is_some());
                    let expected: Vec<i64> = of_key.map(|(_, row)| row.value).collect();
                    prop_assert_eq!(found(&table, join), expected);
                }
            }
        }
    }

    #[test]
    fn a_join_is_two_loops(
        steps in prop::collection::vec(step(), 0..30),
        stream in prop::collection::vec((prop::option::weighted(0.9, 0..5i64), any::<i64>()), 0..20),
        kind in prop::sample::select(vec![
            LookupKind::Inner, LookupKind::Outer, LookupKind::Semi, LookupKind::Anti,
            LookupKind::NotIn,
        ]),
        table_first in any::<bool>(),
        filtered in any::<bool>(),
    ) {
        let filtered = filtered && kind != LookupKind::NotIn;
        let mut table = empty_table(false);
        let mut model = Model::default();
        for part in steps.chunks(7) {
            apply(&mut table, part);
            part.iter().for_each(|step| model.apply(step));
        }
        let both = if table_first { ["join", "value", "k", "n"] } else { ["k", "n", "join", "value"] };
        let with_table = matches!(kind, LookupKind::Inner | LookupKind::Outer);
        let out: &[&str] = if with_table { &both } else { &["k", "n"] };
        let place = |name: &str| both.iter().position(|other| *other == name).unwrap();
        let column = |name: &str| Arc::new(Column::new(name, place(name))) as _;
        let larger = BinaryExpr::new(column("value"), Operator::Gt, column("n"));
        let filter = PairFilter { predicate: Arc::new(larger), schema: schema(&both) };
        let join = LookupJoin {
            kind,
            table: 0,
            table_name: "t".to_owned(),
            keys: vec![Arc::new(Column::new("k", 0))],
            filter: filtered.then_some(filter),
            table_first,
            schema: schema(out),
        };
        let (keys, numbers): (Vec<_>, Vec<_>) = stream.iter().copied().unzip();
        let times = Int64Array::from((0..stream.len() as i64).collect::<Vec<_>>());
        let rows = batch(&["k", "n"], vec![keys, numbers.into_iter().map(Some).collect()]);
        let rows = Rows::new(rows, times);
        let joined = join.apply(rows, &table).unwrap();
        let mut expected: Vec<BTreeMap<&str, Option<i64>>> = Vec::new();
        let mut expected_times = Vec::new();
        for (time, (k, n)) in stream.iter().enumerate() {
            let meets = |row: &&Row| row.join.is_some() && row.join == *k;
            let meets = model.0.iter().map(|(_, row)| row).filter(meets);
            let meets: Vec<&Row> = meets.filter(|row| !filtered || row.value > *n).collect();
            let mut come = |row: Option<&Row>| {
                let mut names = BTreeMap::from([("k", *k), ("n", Some(*n))]);
                if with_table {
                    names.insert("join", row.and_then(|row| row.join));
                    names.insert("value", row.map(|row| row.value));
                }
                expected.push(names);
                expected_times.push(time as i64);
            };
            match kind {
                LookupKind::Inner => meets.into_iter().for_each(|row| come(Some(row))),
                LookupKind::Outer if meets.is_empty() => come(None),
                LookupKind::Outer => meets.into_iter().for_each(|row| come(Some(row))),
                LookupKind::Semi if !meets.is_empty() => come(None),
                LookupKind::Anti if meets.is_empty() => come(None),
                LookupKind::NotIn if model.0.is_empty() => come(None),
                LookupKind::NotIn => {
                    let has_null = model.0.iter().any(|(_, row)| row.join.is_none());
                    if k.is_some() && !has_null && meets.is_empty() {
                        come(None);
                    }
                }
                LookupKind::Semi | LookupKind::Anti => {}
            }
        }
        let columns: Vec<_> = joined.batch.columns().iter().map(values).collect();
        let ours: Vec<BTreeMap<&str, Option<i64>>> = (0..joined.batch.num_rows())
            .map(|row| out.iter().enumerate().map(|(at, name)| (*name, columns[at][row])).collect())
            .collect();
        prop_assert_eq!(ours, expected);
        prop_assert_eq!(joined.event_times_ms.values().to_vec(), expected_times);
    }
}

#[test]
fn rows_that_are_gone_are_swept() {
    let mut table = empty_table(false);
    for round in 0..5_000 {
        let row = Row { join: Some(round % 3), value: round };
        apply(&mut table, &[Step::Upsert { key: round % 7, row, filtered: false }]);
    }
    assert_eq!(table.rows(), 7);
    assert!(table.held_rows() <= 2 * 1024 + 7, "{} rows are held", table.held_rows());
    let all: Vec<i64> = (0..3).flat_map(|join| found(&table, Some(join))).collect();
    assert_eq!(all.iter().copied().min(), Some(4_993));
    assert_eq!(all.len(), 7);
}
