//! What the examples of all languages are asked, and what they have to answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, StringArray, UInt32Array};
use arrow::datatypes::{Int32Type, Int64Type};
use udfs::{Kind, Module};

use crate::arrays::{self, Values};

/// What the pipeline file has for the module.
pub const GREETING: &str = "grüezi 🦀";

pub fn number(module: &Module, name: &str) -> usize {
    module.functions().iter().position(|function| function.name == name).expect(name)
}

/// The two functions that each language has, however its module is called.
pub fn of_both(module: &Module) {
    scores(module);
    domains(module);
}

/// All functions, of a module that is called by columns, and whose language has these values.
pub fn of_all(module: &Module, values: Values) {
    described(module);
    of_both(module);
    words(module);
    modes(module);
    first_of(module);
    half(module);
    greeting(module);
    // More than once: what a call leaves behind does not harm the next.
    for seed in 1..20 {
        same(module, values, seed * 7919);
    }
}

fn described(module: &Module) {
    let signatures: Vec<String> = module.functions().iter().map(ToString::to_string).collect();
    let all = "row<truth boolean, tiny tinyint, small smallint unsigned, large bigint unsigned, \
        real real, double double, bytes bytea, json varchar, date date, time time, \
        local timestamp, zoned timestamptz, price decimal(20, 4), tags array<varchar>, \
        nested array<array<int>>>";
    let expected = [
        "score(n bigint) → bigint",
        "email_domain(email varchar) → varchar",
        "words(text varchar) → table of row<word varchar, position int>",
        "mode(n bigint) → bigint",
        "first_of(first varchar, second varchar, otherwise varchar = '?') → varchar",
        "half(n bigint) → bigint",
        "greeting() → varchar",
        &format!("same(all {all}) → {all}"),
    ];
    assert_eq!(signatures, expected);
    for function in module.functions() {
        let name = &*function.name;
        let sees_null = ["first_of", "same"].contains(&name);
        assert!(function.arguments.iter().all(|of| of.nullable == sees_null), "{name}");
        assert_eq!(function.deterministic, name != "greeting", "{name}");
    }
    let mode = &module.functions()[number(module, "mode")];
    assert_eq!(mode.kind, Kind::Aggregate { retracts: true });
}

fn numbers() -> Vec<Option<i64>> {
    let one_past_f64 = (1 << 60) + 1;
    let numbers =
        [0, 1, -1, i64::MIN, i64::MAX, i64::MIN / 3, i64::MAX / 3, one_past_f64, -one_past_f64];
    let mut numbers: Vec<_> = numbers.into_iter().map(Some).collect();
    numbers.insert(3, None);
    numbers
}

pub fn scores(module: &Module) {
    let rows = numbers();
    let given: ArrayRef = Arc::new(Int64Array::from(rows.clone()));
    let scores = module.evaluate(number(module, "score"), &[given], rows.len()).unwrap();
    let score = |n: i64| n.wrapping_mul(3).wrapping_add(1);
    let expected: Int64Array = rows.into_iter().map(|n| n.map(score)).collect();
    assert_eq!(scores.as_primitive::<Int64Type>(), &expected);
}

fn domains(module: &Module) {
    let long = format!("{}@{}", "ä".repeat(30_000), "漢".repeat(30_000));
    let texts = [
        Some("a@b.example"),
        Some(""),
        Some("@"),
        Some("@at.start"),
        Some("at.end@"),
        None,
        Some("two@at@signs"),
        Some("none"),
        Some("grüße@straße.de"),
        Some("漢字@例え.jp"),
        Some("🦀@\u{1f468}\u{200d}\u{1f469}"),
        Some("e\u{301}@e\u{301}\0nul"),
        Some(&long),
    ];
    let expected: StringArray =
        texts.iter().map(|text| Some((*text)?.split_once('@')?.1)).collect();
    let given: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    // More than once: what a call leaves behind does not harm the next.
    for _ in 0..3 {
        let given = std::slice::from_ref(&given);
        let domains = module.evaluate(number(module, "email_domain"), given, texts.len()).unwrap();
        assert_eq!(domains.as_string::<i32>(), &expected);
    }
    // The function sees no NULL, and is not called for nothing but NULL.
    let nothing: ArrayRef = Arc::new(StringArray::new_null(4));
    let nothing = module.evaluate(number(module, "email_domain"), &[nothing], 4).unwrap();
    assert_eq!((nothing.len(), nothing.null_count()), (4, 4));
    let no_rows: ArrayRef = Arc::new(StringArray::new_null(0));
    let no_rows = module.evaluate(number(module, "email_domain"), &[no_rows], 0).unwrap();
    assert_eq!(no_rows.len(), 0);
}

fn words(module: &Module) {
    let many = "né 🦀 \t漢字 \u{feff}  ".repeat(5000);
    let texts =
        [Some("  two words "), Some(""), None, Some(" "), Some("a"), Some("é\0 b"), Some(&many)];
    let given: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let (of, rows) = module.expand(number(module, "words"), &[given], texts.len()).unwrap();
    let expected = texts.iter().enumerate().flat_map(|(row, text)| {
        let words = text.unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        words.zip(1..).map(move |(word, position)| (row as u32, word, position))
    });
    let rows = rows.as_struct();
    let words = rows.column(0).as_string::<i32>();
    let positions = rows.column(1).as_primitive::<Int32Type>();
    let found = (0..of.len()).map(|at| (of.value(at), words.value(at), positions.value(at)));
    assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let nothing: ArrayRef = Arc::new(StringArray::from(vec!["", " "]));
    let (of, rows) = module.expand(number(module, "words"), &[nothing], 2).unwrap();
    assert_eq!((of.len(), rows.len()), (0, 0));
}

/// Groups of numbers, aggregated in pieces that are merged, and of which rows are taken back.
fn modes(module: &Module) {
    const GROUPS: usize = 5;
    let mode = number(module, "mode");
    let candidates = numbers();
    let mut random = arrays::random(4711);
    let rows: Vec<(u32, Option<i64>)> = (0..200)
        // The last group has no rows.
        .map(|_| (random() as u32 % 4, candidates[random() as usize % candidates.len()]))
        .collect();
    let states = |of: &[(u32, Option<i64>)], states: &BinaryArray, is_retraction: bool| {
        let groups: UInt32Array = of.iter().map(|row| Some(row.0)).collect();
        let given: ArrayRef = Arc::new(of.iter().map(|row| row.1).collect::<Int64Array>());
        module.update(mode, states, &groups, &[given], is_retraction).unwrap()
    };
    let finish = |states: &BinaryArray| {
        module.finish(mode, states).unwrap().as_primitive::<Int64Type>().clone()
    };
    let new = BinaryArray::from_opt_vec(vec![None; GROUPS]);
    assert_eq!(finish(&new), Int64Array::new_null(GROUPS));
    let every = UInt32Array::from_iter_values(0..GROUPS as u32);
    let mut all = new.clone();
    for piece in rows.chunks(70) {
        let of_piece = piece.chunks(30).fold(new.clone(), |kept, rows| states(rows, &kept, false));
        all = module.merge(mode, &all, &every, &of_piece).unwrap();
    }
    assert_eq!(finish(&all), expected_modes(GROUPS, &rows));
    let after = states(&rows[..150], &all, true);
    assert_eq!(finish(&after), expected_modes(GROUPS, &rows[150..]));
    let nothing = states(&rows[150..], &after, true);
    assert_eq!(finish(&nothing), Int64Array::new_null(GROUPS));
    // States that are merged are of any group, or new.
    let one = UInt32Array::from(vec![2; GROUPS]);
    let merged = module.merge(mode, &new, &one, &all).unwrap();
    let together: Vec<_> = rows.iter().map(|row| (2, row.1)).collect();
    assert_eq!(finish(&merged), expected_modes(GROUPS, &together));
    let merged = module.merge(mode, &all, &every, &new).unwrap();
    assert_eq!(finish(&merged), expected_modes(GROUPS, &rows));
}

/// The least of the numbers that come most often.
fn expected_modes(groups: usize, rows: &[(u32, Option<i64>)]) -> Int64Array {
    let mode = |group: usize| {
        let mut counts = BTreeMap::<i64, usize>::new();
        for n in rows.iter().filter(|row| row.0 as usize == group).filter_map(|row| row.1) {
            *counts.entry(n).or_default() += 1;
        }
        let most = *counts.values().max()?;
        counts.into_iter().find(|(_, count)| *count == most).map(|(n, _)| n)
    };
    (0..groups).map(mode).collect()
}

fn first_of(module: &Module) {
    let column = |texts: [Option<&'static str>; 5]| -> ArrayRef {
        Arc::new(StringArray::from(texts.to_vec()))
    };
    let first = column([Some("a"), None, None, None, Some("")]);
    let second = column([Some("b"), Some("é"), None, None, None]);
    let otherwise = column([None, Some("c"), Some("漢"), None, None]);
    let given = [first, second, otherwise];
    let values = module.evaluate(number(module, "first_of"), &given, 5).unwrap();
    let expected = column([Some("a"), Some("é"), Some("漢"), None, Some("")]);
    assert_eq!(&values, &expected);
}

fn half(module: &Module) {
    let half = number(module, "half");
    let ask = |rows: Vec<Option<i64>>| {
        let given: ArrayRef = Arc::new(Int64Array::from(rows.clone()));
        module.evaluate(half, &[given], rows.len())
    };
    let halves = ask(vec![Some(i64::MIN), None, Some(-2), Some(6)]).unwrap();
    let expected = Int64Array::from(vec![Some(i64::MIN / 2), None, Some(-1), Some(3)]);
    assert_eq!(halves.as_primitive::<Int64Type>(), &expected);
    let error = ask(vec![Some(2), None, Some(4), Some(-i64::MAX), Some(5)]).unwrap_err();
    assert_eq!(error.to_string(), "half: -9223372036854775807 is odd");
    assert_eq!(error.row, Some(3));
    // The instance goes on after that.
    let halves = ask(vec![Some(2)]).unwrap();
    assert_eq!(halves.as_primitive::<Int64Type>().values(), &[1]);
}

fn greeting(module: &Module) {
    let greetings = module.evaluate(number(module, "greeting"), &[], 3).unwrap();
    assert_eq!(greetings.as_string::<i32>(), &StringArray::from(vec![GREETING; 3]));
}

/// Each type comes back as it was.
fn same(module: &Module, values: Values, seed: u64) {
    let function = number(module, "same");
    let returns = &module.functions()[function].returns;
    let mut random = arrays::random(seed);
    let (length, cut) = (random() as usize % 100, random() as usize % 9);
    let all = arrays::any(returns, length + cut, values, &mut random).slice(cut, length);
    let same = module.evaluate(function, std::slice::from_ref(&all), length).unwrap();
    assert_eq!(&same, &all, "of seed {seed}");
}
