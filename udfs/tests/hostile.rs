//! Guests that lie, loop, hoard and chatter: each costs its own call, and the next one is as if
//! nothing had been. What the process takes stays bounded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, UInt32Array};
use arrow::datatypes::Int64Type;
use udfs::{Host, Limits, Module, Options};

static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(None).unwrap());

const MEMORY: usize = 16 << 20;
const TIME: Duration = Duration::from_millis(100);
/// More than the time limit, since the machine may have other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn load(name: &str, wit: Option<&str>) -> Module {
    load_for(name, wit, TIME)
}

fn load_for(name: &str, wit: Option<&str>, time: Duration) -> Module {
    let path = |name: &str| -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules").join(name)
    };
    let options = Options {
        name: "m".to_owned(),
        limits: Limits { memory_bytes: MEMORY, time, ..Limits::default() },
        wit: wit.map(|name| std::fs::read_to_string(path(name)).unwrap()),
        config: Arc::new([("greeting".to_owned(), "x".repeat(100_000))].into()),
        ..Options::default()
    };
    Module::load(&HOST, &path(name), options).unwrap()
}

fn number(module: &Module, name: &str) -> usize {
    module.functions().iter().position(|function| function.name == name).expect(name)
}

/// Three rows, of which the first says what becomes of them.
fn rows(first: i64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![first, 0, 0]))
}

fn call(module: &Module, name: &str, first: i64) -> Result<ArrayRef, String> {
    let began = Instant::now();
    let function = number(module, name);
    let given = match name {
        "table" => module.expand(function, &[rows(first)], 3).map(|(_, values)| values),
        _ => module.evaluate(function, &[rows(first)], 3),
    };
    assert!(began.elapsed() < PATIENCE, "{name}({first}) took {:?}", began.elapsed());
    given.map_err(|error| error.to_string())
}

/// All is well, whatever was before.
fn is_fine(module: &Module, name: &str) {
    let values = call(module, name, 0).unwrap();
    assert_eq!((values.len(), values.null_count()), (3, 0));
}

#[test]
fn what_a_guest_gives_is_not_believed() {
    let module = load("hostile.wasm", None);
    let mut told = Vec::new();
    let cases: [(&str, &[i64]); 5] = [
        (
            "number",
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22],
        ),
        ("text", &[7, 8, 12, 20, 23, 40, 41, 42, 43, 44, 45, 46, 48]),
        ("list", &[9, 16, 40, 41, 42, 43, 44, 47]),
        ("table", &[10, 11, 12, 40]),
        ("price", &[18, 60, 61]),
    ];
    for (name, cases) in cases {
        for case in cases {
            let error = match call(&module, name, *case) {
                Ok(values) => format!("{name}: it was taken for {values:?}"),
                Err(error) => error,
            };
            told.push(format!("{case} {error}"));
            is_fine(&module, name);
        }
    }
    expect_test::expect![[r#"
        1 number: pointer out of bounds of memory
        2 number: return pointer not aligned
        3 number: invalid expected discriminant
        4 number: list pointer/length out of bounds of memory
        5 number: list pointer/length out of bounds of memory
        6 number: list pointer/length out of bounds of memory
        7 number: list pointer/length out of bounds of memory
        8 number: list pointer/length out of bounds of memory
        9 number: what it gave is wrong: column 0 (bigint): 4294967295 items, more than 268435456
        10 number: what it gave is wrong: column 0 (bigint): 24 bytes of values, 2147483648 are needed
        11 number: what it gave is wrong: column 0 (bigint): 24 bytes of values, 32 are needed
        12 number: it gave 2 values, and 3 are needed
        13 number: what it gave is wrong: column 0 (bigint): 3 items are NULL, and it has no validity
        14 number: what it gave is wrong: column 0 (bigint): there is no node for it
        15 number: what it gave is wrong: 1 nodes and 0 buffers are left over after 1 columns
        16 number: what it gave is wrong: column 0 (bigint): there is no buffer of values
        17 number: what it gave is wrong: 0 nodes and 1 buffers are left over after 1 columns
        18 number: what it gave is wrong: column 0 (bigint): 23 bytes of values, 24 are needed
        19 number: list pointer is not aligned
        20 number: what it gave is wrong: column 0 (bigint): 0 bytes of values, 24 are needed
        21 number: it gave 0 values, and 3 are needed
        22 number: too much data is being copied between the host and the guest: fuel allocated for hostcalls has been exhausted
        7 text: list pointer/length out of bounds of memory
        8 text: list pointer/length out of bounds of memory
        12 text: it gave 2 values, and 3 are needed
        20 text: what it gave is wrong: column 0 (varchar): 0 bytes of offsets, 16 are needed
        23 text: list pointer/length out of bounds of memory
        40 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Offset invariant failure: Could not convert offset -1 to usize at position 1
        41 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Offset invariant failure: non-monotonic offset at slot 0: 1 > 0
        42 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Last offset 2147483647 of Utf8 is larger than values length 3
        43 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Last offset 4 of Utf8 is larger than values length 3
        44 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Error converting offset[0] (-5) to usize for Utf8
        45 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Invalid UTF8 sequence at string index 0 (0..1): invalid utf-8 sequence of 1 bytes from index 0
        46 text: what it gave is wrong: column 0 (varchar): Invalid argument error: incomplete utf-8 byte sequence from index 0
        48 text: what it gave is wrong: column 0 (varchar): Invalid argument error: Offset invariant failure: non-monotonic offset at slot 0: 3 > 1
        9 list: what it gave is wrong: column 0 (array<bigint>): 4294967295 items, more than 268435456
        16 list: what it gave is wrong: column 0 (array<bigint>): there is no buffer of values
        40 list: what it gave is wrong: column 0 (array<bigint>): Invalid argument error: Offset invariant failure: Could not convert offset -1 to usize at position 1
        41 list: what it gave is wrong: column 0 (array<bigint>): Invalid argument error: Offset invariant failure: non-monotonic offset at slot 0: 1 > 0
        42 list: what it gave is wrong: column 0 (array<bigint>): Invalid argument error: Last offset 2147483647 of List(Int64) is larger than values length 3
        43 list: what it gave is wrong: column 0 (array<bigint>): Invalid argument error: Last offset 4 of List(Int64) is larger than values length 3
        44 list: what it gave is wrong: column 0 (array<bigint>): Invalid argument error: Error converting offset[0] (-5) to usize for List(Int64)
        47 list: what it gave is wrong: column 0 (array<bigint>): Invalid argument error: Last offset 3 of List(Int64) is larger than values length 0
        10 table: what it gave is wrong: column 0 (int unsigned): 12 bytes of values, 1073741824 are needed
        11 table: what it gave is wrong: column 0 (int unsigned): 12 bytes of values, 16 are needed
        12 table: the rows that its results are of are not in order, or not there
        40 table: the rows that its results are of are not in order, or not there
        18 price: what it gave is wrong: column 0 (decimal(5, 2)): 47 bytes of values, 48 are needed
        60 price: what it gave is wrong: column 0 (decimal(5, 2)): Invalid argument error: 1000.00 is too large to store in a Decimal128 of precision 5. Max is 999.99
        61 price: what it gave is wrong: column 0 (decimal(5, 2)): Invalid argument error: -1701411834604692317316873037158841057.28 is too small to store in a Decimal128 of precision 5. Min is -999.99"#]].assert_eq(&told.join("\n"));
}

#[test]
fn what_a_guest_says_of_a_failure_is_not_believed() {
    let module = load("hostile.wasm", None);
    let of = |case: i64| {
        let error = module.evaluate(number(&module, "number"), &[rows(case)], 3).unwrap_err();
        is_fine(&module, "number");
        assert!(error.reason.len() < 2000, "{} bytes", error.reason.len());
        format!("{case} {} {:?}", error.reason.chars().take(90).collect::<String>(), error.row)
    };
    let told: Vec<String> = (70..=74).map(of).collect();
    expect_test::expect![[r#"
        70 no None
        71 invalid utf-8 sequence of 1 bytes from index 0 None
        72 string pointer/length out of bounds of memory None
        73 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx None
        74 invalid option discriminant None"#]].assert_eq(&told.join("\n"));
}

#[test]
fn guests_that_loop_hoard_and_chatter_are_stopped() {
    let module = load("hostile.wasm", None);
    let of = |case: i64| {
        let given = call(&module, "number", case);
        is_fine(&module, "number");
        let told = given.map_or_else(|error| error, |_| "it is no harm".to_owned());
        format!("{case} {}", told.chars().take(110).collect::<String>())
    };
    let told: Vec<String> = (80..=91).map(of).collect();
    expect_test::expect![[r#"
        80 number: it takes longer than 100ms (its `time` limit)
        81 number: it wants more than 16777216 bytes of memory (its `memory` limit)
        82 number: its calls are nested too deeply (stack overflow)
        83 number: it takes longer than 100ms (its `time` limit)
        84 number: invalid utf-8 sequence of 1 bytes from index 1024
        85 number: it takes longer than 100ms (its `time` limit)
        86 number: string pointer/length out of bounds of memory
        87 number: unexpected discriminant: 9
        88 number: invalid utf-8 sequence of 1 bytes from index 1024
        89 number: pointer out of bounds
        90 number: it takes longer than 100ms (its `time` limit)
        91 number: it gave up (unreachable)"#]]
    .assert_eq(&told.join("\n"));
}

/// As tasks look for rows that fail: by halves. Why each of them does.
fn search(module: &Module, function: usize, given: &[ArrayRef], failed: &mut Vec<String>) {
    let count = given[0].len();
    match module.evaluate(function, given, count) {
        Ok(_) => {}
        Err(error) if count == 1 => failed.push(error.reason),
        Err(_) => {
            let half = count / 2;
            for (start, len) in [(0, half), (half, count - half)] {
                let part: Vec<ArrayRef> = given.iter().map(|of| of.slice(start, len)).collect();
                search(module, function, &part, failed);
            }
        }
    }
}

/// Thousands of them cost hours: the whole time of each.
#[test]
fn a_batch_of_guests_that_never_end_costs_no_more_than_the_limit() {
    const ROWS: usize = 8192;
    let columns = load("hostile.wasm", None);
    let typed = load("hostile_typed.wasm", Some("hostile_typed.wit"));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"; ROWS]));
    // Those that loop, grow their stack by turns, and log without end.
    for (module, name, case) in [
        (&columns, "number", 80),
        (&columns, "number", 85),
        (&columns, "number", 90),
        (&typed, "text", 12),
    ] {
        let cases: ArrayRef = Arc::new(Int64Array::from(vec![case; ROWS]));
        let given = if name == "text" { vec![cases, texts.clone()] } else { vec![cases] };
        let (began, mut failed) = (Instant::now(), Vec::new());
        udfs::search(|| search(module, number(module, name), &given, &mut failed));
        assert!(began.elapsed() < PATIENCE, "{name}({case}) took {:?}", began.elapsed());
        assert_eq!(failed.len(), ROWS);
        let of = |part: &str| failed.iter().filter(|reason| reason.contains(part)).count();
        let (whole, cut, none) =
            (of("100ms (its `time` limit)"), of("which is cut"), of("was not called"));
        assert_eq!(whole + cut + none, ROWS, "{:?}", failed[0]);
        // Of a second, half by 100 ms, and half by the 10 ms that are the least.
        assert_eq!((whole, cut), (5, 50), "{name}({case})");
    }
    is_fine(&columns, "number");
}

/// What is called besides the function itself: `cabi_realloc`, and what is told that its result was
/// read.
#[test]
fn guests_with_bad_manners_between_calls_are_stopped() {
    let module = load("hostile.wasm", None);
    let mut told = Vec::new();
    for mode in (1001..=1008).chain(1010..=1012) {
        // It is in force from then on, or at the end of that call.
        let given = call(&module, "number", mode).and_then(|_| call(&module, "number", 0));
        let said = given.map_or_else(|error| error, |_| "it is no harm".to_owned());
        told.push(format!("{mode} {}", said.chars().take(110).collect::<String>()));
        // An instance in which nothing was wrong yet may still do so once.
        let again = (0..3).any(|_| call(&module, "number", 0).is_ok());
        assert!(again || mode == 1003, "{mode}: nothing helps");
    }
    expect_test::expect![[r#"
        1001 number: realloc return: beyond end of memory
        1002 number: realloc return: result not aligned
        1003 it is no harm
        1004 number: it takes longer than 100ms (its `time` limit)
        1005 number: wasm trap: cannot leave component instance
        1006 number: wasm trap: cannot leave component instance
        1007 number: it gave up (unreachable)
        1008 number: it wants more than 16777216 bytes of memory (its `memory` limit)
        1010 number: it gave up (unreachable)
        1011 number: it takes longer than 100ms (its `time` limit)
        1012 number: wasm trap: cannot leave component instance"#]]
    .assert_eq(&told.join("\n"));
}

/// The same by the loop over rows that is added to a component.
#[test]
fn typed_guests_are_not_believed_either() {
    let module = load("hostile_typed.wasm", Some("hostile_typed.wit"));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "é", "漢"]));
    let text = |case: i64| {
        let given = module.evaluate(number(&module, "text"), &[rows(case), texts.clone()], 3);
        given.map_err(|error| {
            let reason: String = error.reason.chars().take(90).collect();
            format!("{reason} {:?}", error.row)
        })
    };
    let mut told = Vec::new();
    for case in (1..=9).chain(11..=13) {
        let said = text(case).map_or_else(|error| error, |_| "it is no harm".to_owned());
        told.push(format!("text {case}: {said}"));
        assert_eq!(&text(0).unwrap(), &texts);
    }
    let arm = |mode: i64| {
        let mode: ArrayRef = Arc::new(Int64Array::from(vec![mode]));
        let armed = module.evaluate(number(&module, "arm"), &[mode.clone()], 1).unwrap();
        assert_eq!(&armed, &mode);
    };
    for mode in [1001, 1003, 1004, 1007, 1008, 1009, 1010, 1011] {
        arm(mode);
        let said = text(0).map_or_else(|error| error, |_| "it is no harm".to_owned());
        told.push(format!("after {mode}: {said}"));
        arm(0);
        assert_eq!(&text(0).unwrap(), &texts);
    }
    for mode in (1..=7).chain([9]) {
        arm(mode);
        let given = module.evaluate(number(&module, "all"), std::slice::from_ref(&texts), 3);
        let error = given.map_or_else(|e| e.to_string(), |_| "it is no harm".to_owned());
        told.push(format!("all {mode}: {}", error.chars().take(110).collect::<String>()));
        arm(0);
        let all = module.evaluate(number(&module, "all"), std::slice::from_ref(&texts), 3);
        assert_eq!(&all.unwrap(), &texts);
    }
    expect_test::expect![[r#"
        text 1: it reads or writes beyond its memory, as when its calls are nested too deeply None
        text 2: it reads or writes beyond its memory, as when its calls are nested too deeply None
        text 3: it reads or writes beyond its memory, as when its calls are nested too deeply None
        text 4: what it gave is wrong: column 0 (varchar): Invalid argument error: Invalid UTF8 sequence a None
        text 5: what it gave is wrong: column 0 (varchar): Invalid argument error: Invalid UTF8 sequence a None
        text 6: no Some(0)
        text 7: invalid utf-8 sequence of 1 bytes from index 1024 None
        text 8: it reads or writes beyond its memory, as when its calls are nested too deeply None
        text 9: invalid utf-8 sequence of 1 bytes from index 0 None
        text 11: it gave up (unreachable) None
        text 12: it takes longer than 100ms (its `time` limit) None
        text 13: it wants more than 16777216 bytes of memory (its `memory` limit) None
        after 1001: it reads or writes beyond its memory, as when its calls are nested too deeply None
        after 1003: it is no harm
        after 1004: it takes longer than 100ms (its `time` limit) None
        after 1007: it gave up (unreachable) None
        after 1008: it wants more than 16777216 bytes of memory (its `memory` limit) None
        after 1009: it is no harm
        after 1010: it gave up (unreachable) None
        after 1011: it takes longer than 100ms (its `time` limit) None
        all 1: all: what it gave is wrong: it gave 2 values for 3 rows
        all 2: all: what it gave is wrong: it gave 4 values for 3 rows
        all 3: all: it reads or writes beyond its memory, as when its calls are nested too deeply
        all 4: all: it reads or writes beyond its memory, as when its calls are nested too deeply
        all 5: all: it reads or writes beyond its memory, as when its calls are nested too deeply
        all 6: all: it reads or writes beyond its memory, as when its calls are nested too deeply
        all 7: all: what it gave is wrong: column 0 (varchar): Invalid argument error: Invalid UTF8 sequence at string index 
        all 9: all: what it gave is wrong: it gave 98304 values for 3 rows"#]].assert_eq(&told.join("\n"));
}

/// Of a batch of many rows, each says that it is a megabyte.
#[test]
fn results_are_bounded() {
    // However slow the machine is, it is their size that is told of.
    let long = Duration::from_secs(60);
    let module = load_for("hostile_typed.wasm", Some("hostile_typed.wit"), long);
    let count = 8192;
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![10; count]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"; count]));
    let given = module.evaluate(number(&module, "text"), &[numbers, texts], count);
    let error = given.unwrap_err().to_string();
    assert_eq!(error, format!("text: the values of a batch take more than {} bytes", 64 << 20));
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < 1 << 20, "the process took {kilobytes} kB");
    }
}

/// Rows that a table function's results are of have to be there, and in order.
#[test]
fn rows_of_results_are_looked_at() {
    let module = load("hostile.wasm", None);
    let (of, values) = module.expand(number(&module, "table"), &[rows(0)], 3).unwrap();
    assert_eq!(of, UInt32Array::from(vec![0, 1, 2]));
    assert_eq!(values.as_primitive::<Int64Type>().values(), &[0, 1, 2]);
    // It is told of two rows, and speaks of three.
    let error = module.expand(number(&module, "table"), &[rows(40)], 3).unwrap_err();
    assert_eq!(error.reason, "the rows that its results are of are not in order, or not there");
}
