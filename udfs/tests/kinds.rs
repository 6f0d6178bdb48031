//! Functions of all kinds and types, of `guests/rust/examples/kinds.rs`, against the same
//! functions here. How its module is built stands in `guests/rust/README.md`.

mod arrays;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrays::Values;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, UInt32Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
use proptest::prelude::*;
use udfs::{Host, Kind, Module, Options};

static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(None).unwrap());
static MODULE: LazyLock<Module> = LazyLock::new(|| load(Options::default()));

fn load(options: Options) -> Module {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules/kinds.wasm");
    Module::load(&HOST, &path, Options { name: "kinds".to_owned(), ..options }).unwrap()
}

fn number(name: &str) -> usize {
    MODULE.functions().iter().position(|function| function.name == name).expect(name)
}

fn call(name: &str, arguments: &[ArrayRef], rows: usize) -> Result<ArrayRef, String> {
    let values = MODULE.evaluate(number(name), arguments, rows);
    values.map_err(|error| format!("{error} (row {:?})", error.row))
}

fn numbers(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<Int64Array>())
}

fn texts<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

#[test]
fn functions_of_each_kind_are_described() {
    let signatures: Vec<String> = MODULE.functions().iter().map(ToString::to_string).collect();
    expect_test::expect![[r#"
        email_domain(email varchar) → varchar
        score(n bigint) → bigint
        checked_half(n bigint) → bigint
        panics(n bigint) → bigint
        greeting() → varchar
        first_of(first varchar, second varchar, otherwise varchar = '?') → varchar
        round_to(x double, digits int = 2) → double
        same(all row<truth boolean, tiny tinyint, small smallint unsigned, real real, bytes bytea, json varchar, date date, time time, local timestamp, zoned timestamptz, price decimal(20, 4), tags array<varchar>, nested array<array<int>>>) → row<truth boolean, tiny tinyint, small smallint unsigned, real real, bytes bytea, json varchar, date date, time time, local timestamp, zoned timestamptz, price decimal(20, 4), tags array<varchar>, nested array<array<int>>>
        total(items array<bigint>) → bigint
        words(text varchar) → table of row<word varchar, position int>
        repeated(n bigint, times int) → table of bigint
        divisors(of bigint) → table of bigint
        weighted_mean(value bigint, weight bigint) → double
        mode(text varchar) → varchar"#]].assert_eq(&signatures.join("\n"));
    let of = |name: &str| &MODULE.functions()[number(name)];
    assert!(of("score").deterministic && !of("greeting").deterministic);
    assert_eq!(of("weighted_mean").kind, Kind::Aggregate { retracts: true });
    assert_eq!(of("mode").kind, Kind::Aggregate { retracts: false });
    assert!(of("first_of").arguments.iter().all(|argument| argument.nullable));
}

#[test]
fn a_row_that_fails_is_named_and_a_panic_has_its_message() {
    let rows = numbers([Some(2), None, Some(4), Some(7)]);
    let error = call("checked_half", &[rows], 4).unwrap_err();
    assert_eq!(error, "checked_half: 7 is odd (row Some(3))");
    let error = call("panics", &[numbers([Some(1), Some(0)])], 2).unwrap_err();
    expect_test::expect!["panics: it gave up (unreachable): panicked at examples/kinds.rs:31:10:; it is above zero (row None)"].assert_eq(&error);
    let fine = call("panics", &[numbers([Some(1)])], 1).unwrap();
    assert_eq!(fine.as_primitive::<Int64Type>().values(), &[1]);
}

#[test]
fn values_of_the_pipeline_file_are_read() {
    let config = BTreeMap::from([("greeting".to_owned(), "grüezi".to_owned())]);
    let module = load(Options { config: Arc::new(config), ..Options::default() });
    let greetings = module.evaluate(number("greeting"), &[], 2).unwrap();
    assert_eq!(greetings.as_string::<i32>(), &StringArray::from(vec!["grüezi"; 2]));
    let nothing = call("greeting", &[], 9).unwrap();
    assert_eq!((nothing.len(), nothing.null_count()), (9, 9));
}

#[test]
fn null_is_seen_by_the_arguments_that_are_options() {
    let first = texts([Some("a"), None, None, None]);
    let second = texts([Some("b"), Some("b"), None, None]);
    let otherwise = texts([Some("c"), Some("c"), Some("é"), None]);
    let values = call("first_of", &[first, second, otherwise], 4).unwrap();
    let expected = StringArray::from(vec![Some("a"), Some("b"), Some("é"), None]);
    assert_eq!(values.as_string::<i32>(), &expected);
    let within = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(i64::MAX), Some(1)]),
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let totals = call("total", &[Arc::new(within)], 4).unwrap();
    let expected = Int64Array::from(vec![Some(i64::MIN), None, None, Some(0)]);
    assert_eq!(totals.as_primitive::<Int64Type>(), &expected);
}

/// Words, of which some come often.
fn keys() -> impl Strategy<Value = Vec<(usize, Option<String>, Option<i64>, Option<i64>)>> {
    let text = proptest::option::weighted(0.9, "[abé]{0,1}");
    let number = || proptest::option::weighted(0.9, -1000i64..1000);
    proptest::collection::vec((0usize..6, text, number(), number()), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_type_comes_back_as_it_was(seed in any::<u64>(), length in 0usize..70, cut in 0usize..9) {
        let mut random = arrays::random(seed);
        let returns = &MODULE.functions()[number("same")].returns;
        let all = arrays::any(returns, length + cut, Values::Any, &mut random);
        let all = all.slice(cut, length);
        let same = call("same", std::slice::from_ref(&all), length).unwrap();
        prop_assert_eq!(&same, &all);
    }

    #[test]
    fn tables_have_the_rows_of_each_row(
        texts in proptest::collection::vec(proptest::option::of("[ab é]{0,9}"), 0..40),
        numbers in proptest::collection::vec(
            (proptest::option::of(any::<i64>()), proptest::option::of(-1i32..4)), 0..40),
    ) {
        let given: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let (of, rows) = MODULE.expand(number("words"), &[given], texts.len()).unwrap();
        let expected = texts.iter().enumerate().flat_map(|(row, text)| {
            let words = text.as_deref().unwrap_or_default().split_whitespace();
            words.zip(1..).map(move |(word, position)| (row as u32, word.to_owned(), position))
        });
        let (words, positions) = (rows.as_struct().column(0), rows.as_struct().column(1));
        let (words, positions) = (words.as_string::<i32>(), positions.as_primitive::<Int32Type>());
        let found = (0..of.len())
            .map(|at| (of.value(at), words.value(at).to_owned(), positions.value(at)));
        prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());

        // NULL is a value of the first argument, and not of the second.
        let n: ArrayRef = Arc::new(numbers.iter().map(|(n, _)| *n).collect::<Int64Array>());
        let times: ArrayRef = Arc::new(numbers.iter().map(|(_, t)| *t).collect::<Int32Array>());
        let (of, rows) = MODULE.expand(number("repeated"), &[n, times], numbers.len()).unwrap();
        let expected = numbers.iter().enumerate().flat_map(|(row, (n, times))| {
            std::iter::repeat_n((row as u32, *n), times.unwrap_or(0).max(0) as usize)
        });
        let found = of.values().iter().copied().zip(rows.as_primitive::<Int64Type>());
        prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }

    #[test]
    fn aggregates_are_as_if_computed_here_however_they_are_split(
        rows in keys(), pieces in 1usize..5, taken_back in 0usize..30,
    ) {
        let groups = 6;
        let taken_back = taken_back.min(rows.len());
        // Each piece is aggregated by itself, in calls of its own, and the states are merged.
        let piece = rows.len().div_ceil(pieces).max(1);
        let merged = |name: &str, arguments: &dyn Fn(&[Row]) -> Vec<ArrayRef>| {
            let mut all = new_states(groups);
            let every: UInt32Array = (0..groups as u32).rev().collect();
            for piece in rows.chunks(piece) {
                let mut states = new_states(groups);
                for calls in piece.chunks(7) {
                    let given = arguments(calls);
                    states = update(name, &states, calls, &given, false);
                }
                // In another order than their own: which group each belongs to is said.
                let order: Vec<u32> = (0..groups as u32).rev().collect();
                let others = arrow::compute::take(&states, &UInt32Array::from(order), None);
                let others = others.unwrap().as_binary::<i32>().clone();
                all = MODULE.merge(number(name), &all, &every, &others).unwrap();
            }
            all
        };
        let modes = merged("mode", &|rows| vec![texts(rows.iter().map(|row| row.1.as_deref()))]);
        let modes = MODULE.finish(number("mode"), &modes).unwrap();
        let means = merged("weighted_mean", &weighted);
        let means_after = update(
            "weighted_mean", &means, &rows[..taken_back], &weighted(&rows[..taken_back]), true);
        let finish = |states| MODULE.finish(number("weighted_mean"), states).unwrap();
        let (means, means_after) = (finish(&means), finish(&means_after));

        let expected = (0..groups).map(|group| mode_of(group, &rows));
        prop_assert_eq!(modes.as_string::<i32>(), &expected.collect::<StringArray>());
        let expected = (0..groups).map(|group| mean_of(group, &rows));
        prop_assert_eq!(means.as_primitive::<Float64Type>(), &expected.collect::<Float64Array>());
        let expected = (0..groups).map(|group| mean_of(group, &rows[taken_back..]));
        let expected: Float64Array = expected.collect();
        prop_assert_eq!(means_after.as_primitive::<Float64Type>(), &expected);
    }
}

type Row = (usize, Option<String>, Option<i64>, Option<i64>);

/// States of groups without rows.
fn new_states(groups: usize) -> BinaryArray {
    BinaryArray::from_opt_vec(vec![None; groups])
}

fn update(
    name: &str,
    states: &BinaryArray,
    rows: &[Row],
    arguments: &[ArrayRef],
    is_retraction: bool,
) -> BinaryArray {
    let groups: UInt32Array = rows.iter().map(|row| Some(row.0 as u32)).collect();
    MODULE.update(number(name), states, &groups, arguments, is_retraction).unwrap()
}

fn weighted(rows: &[Row]) -> Vec<ArrayRef> {
    vec![numbers(rows.iter().map(|row| row.2)), numbers(rows.iter().map(|row| row.3))]
}

fn mean_of(group: usize, rows: &[Row]) -> Option<f64> {
    let of = rows.iter().filter(|row| row.0 == group);
    let pairs: Vec<(i64, i64)> = of.filter_map(|row| Some((row.2?, row.3?))).collect();
    let weights: i64 = pairs.iter().map(|(_, weight)| weight).sum();
    let sum: i64 = pairs.iter().map(|(value, weight)| value * weight).sum();
    (weights != 0).then(|| sum as f64 / weights as f64)
}

fn mode_of(group: usize, rows: &[Row]) -> Option<&str> {
    let mut counts = BTreeMap::<&str, i64>::new();
    for text in rows.iter().filter(|row| row.0 == group).filter_map(|row| row.1.as_deref()) {
        *counts.entry(text).or_default() += 1;
    }
    let most = counts.values().max()?;
    counts.iter().find(|(_, count)| *count == most).map(|(text, _)| *text)
}

#[test]
fn tables_and_aggregates_refuse_what_makes_no_sense() {
    let error = MODULE.expand(number("divisors"), &[numbers([Some(6), None, Some(0)])], 3);
    let error = error.unwrap_err();
    assert_eq!((&*error.reason, error.row), ("0 has no divisors", Some(2)));
    let (of, rows) = MODULE.expand(number("divisors"), &[numbers([None, Some(6)])], 2).unwrap();
    assert_eq!(of.values(), &[1, 1, 1, 1]);
    assert_eq!(rows.as_primitive::<Int64Type>().values(), &[1, 2, 3, 6]);
    // Nothing is there to be said of no rows.
    let (of, rows) = MODULE.expand(number("divisors"), &[numbers([None])], 1).unwrap();
    assert_eq!((of.len(), rows.len()), (0, 0));
    // A state of another version.
    let states = BinaryArray::from_vec(vec![b"xyz"]);
    let error = MODULE.finish(number("weighted_mean"), &states).unwrap_err();
    assert_eq!(error.reason, "the state that was kept is of another version of this function");
    // Rows that are taken back from what cannot.
    let error = MODULE.update(
        number("mode"),
        &new_states(1),
        &UInt32Array::from(vec![0]),
        &[texts([Some("a")])],
        true,
    );
    assert_eq!(error.unwrap_err().to_string(), "mode: it cannot take rows back");
    // A group that is not there is nobody's.
    let error = MODULE.update(
        number("mode"),
        &new_states(1),
        &UInt32Array::from(vec![1]),
        &[texts([Some("a")])],
        false,
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("index out of bounds: the len is 1 but the index is 1"), "{error}");
}
