//! Functions of each kind of module against the same functions here, and guests with bad manners.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{
    Array, ArrayData, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Float64Array,
    Int64Array, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, UInt32Type,
};
use proptest::prelude::*;
use udfs::{Abi, Grants, Host, Limits, LoadError, Module, Options};

static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(None).unwrap());

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules").join(name)
}

/// Modules that nothing is done to.
static COLUMNS: LazyLock<Module> = LazyLock::new(|| load("text.wasm"));
static TYPED: LazyLock<Module> = LazyLock::new(typed);
static CORE: LazyLock<Module> =
    LazyLock::new(|| Module::new(&HOST, PLAIN.as_bytes(), options()).unwrap());

fn options() -> Options {
    let limits =
        Limits { memory_bytes: 64 << 20, time: Duration::from_secs(1), ..Limits::default() };
    Options { name: "m".to_owned(), limits, ..Options::default() }
}

fn load(name: &str) -> Module {
    Module::load(&HOST, &path(name), options()).unwrap()
}

fn typed() -> Module {
    let wit = std::fs::read_to_string(path("typed.wit")).unwrap();
    let options = Options { wit: Some(wit), ..options() };
    Module::load(&HOST, &path("typed.wasm"), options).unwrap()
}

fn number(module: &Module, name: &str) -> usize {
    module.functions().iter().position(|function| function.name == name).expect(name)
}

fn call(module: &Module, name: &str, arguments: &[ArrayRef]) -> Result<ArrayRef, String> {
    let rows = arguments.first().map_or(3, |array| array.len());
    let values = module.evaluate(number(module, name), arguments, rows);
    values.map_err(|error| error.to_string())
}

fn numbers(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[test]
fn modules_say_what_they_have() {
    let described = |module: Module| {
        let signatures = module.functions().iter().map(ToString::to_string);
        (module.info().abi, signatures.collect::<Vec<_>>())
    };
    let (abi, signatures) = described(load("text.wasm"));
    assert_eq!(abi, Abi::Columns);
    expect_test::expect![[r#"
        email_domain(text varchar) → varchar
        score(number bigint) → bigint
        not_it(truth boolean) → boolean
        or_zero(amount double) → double
        one() → int
        positive(number bigint) → bigint
        greeting() → varchar"#]]
    .assert_eq(&signatures[..7].join("\n"));
    let (abi, signatures) = described(typed());
    assert_eq!(abi, Abi::Typed);
    expect_test::expect![[r#"
        add(a bigint, b bigint) → bigint
        half(x double) → double
        shout(s varchar) → varchar
        length_or(s varchar) → int unsigned
        checked(x bigint) → bigint
        total(items array<bigint>) → bigint
        swap(p row<x int, label varchar>) → row<x int, label varchar>
        name_of(c varchar) → varchar
        doubles(xs bigint) → bigint"#]]
    .assert_eq(&signatures.join("\n"));
}

/// Functions that turn all bits of a number.
const PLAIN: &str = r#"(module
    (func (export "i64") (param i64) (result i64) (i64.xor (local.get 0) (i64.const -1)))
    (func (export "i32") (param i32) (result i32) (i32.xor (local.get 0) (i32.const -1)))
    (func (export "f64") (param f64) (result f64)
        (f64.reinterpret_i64 (i64.xor (i64.reinterpret_f64 (local.get 0)) (i64.const -1))))
    (func (export "f32") (param f32) (result f32)
        (f32.reinterpret_i32 (i32.xor (i32.reinterpret_f32 (local.get 0)) (i32.const -1)))))"#;

/// Length, validity and bytes of an array of numbers, since NaN is not itself.
fn bits_of(data: &ArrayData) -> (usize, Vec<Option<Vec<u8>>>) {
    let width = data.data_type().primitive_width().unwrap();
    let bytes = data.buffers()[0].as_slice();
    let item = |at: usize| {
        let from = (data.offset() + at) * width;
        data.is_valid(at).then(|| bytes[from..from + width].to_vec())
    };
    (data.len(), (0..data.len()).map(item).collect())
}

/// Text of all lengths, some of it NULL.
fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
    let text = prop_oneof![
        3 => "[a-z@.é漢]{0,12}",
        1 => "\\PC{0,200}",
        1 => Just("x".repeat(100_000) + "@end"),
    ];
    proptest::collection::vec(proptest::option::weighted(0.9, text), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn columns_of_text_are_as_if_computed_here(texts in texts(), cut in 0usize..8) {
        let array = StringArray::from(texts.clone());
        let cut = cut.min(array.len());
        let given: ArrayRef = Arc::new(array.slice(cut, array.len() - cut));
        let given = std::slice::from_ref(&given);
        let domains = call(&COLUMNS, "email_domain", given).unwrap();
        let texts = || texts[cut..].iter().map(Option::as_deref);
        let expected: StringArray = texts().map(|text| Some(text?.split_once('@')?.1)).collect();
        prop_assert_eq!(domains.as_string::<i32>(), &expected);
        // The same by typed functions, of which one sees NULL.
        let shouted = call(&TYPED, "shout", given).unwrap();
        let expected: StringArray = texts().map(|text| Some(text?.to_ascii_uppercase())).collect();
        prop_assert_eq!(shouted.as_string::<i32>(), &expected);
        let lengths = call(&TYPED, "length_or", given).unwrap();
        let expected = texts().map(|text| text.map_or(77, |text| text.len() as u32));
        prop_assert_eq!(lengths.as_primitive::<UInt32Type>(), &UInt32Array::from_iter_values(expected));
    }

    /// Numbers of each type that core modules have, by one that turns their bits, so that each is
    /// there: NaN, infinity, -0.
    #[test]
    fn numbers_of_core_modules_are_as_if_computed_here(
        values in proptest::collection::vec(proptest::option::weighted(0.8, any::<u64>()), 0..200),
        cut in 0usize..20,
    ) {
        let cut = cut.min(values.len());
        fn case<T: ArrowPrimitiveType>(
            name: &str,
            values: &[Option<u64>],
            cut: usize,
            of: impl Fn(u64) -> T::Native,
            turned: impl Fn(u64) -> T::Native,
        ) -> (ArrayData, ArrayData) {
            let array: PrimitiveArray<T> = values.iter().map(|bits| bits.map(&of)).collect();
            let given: ArrayRef = Arc::new(array.slice(cut, array.len() - cut));
            let found = call(&CORE, name, &[given]).unwrap();
            let expected: PrimitiveArray<T> =
                values[cut..].iter().map(|bits| bits.map(&turned)).collect();
            (found.to_data(), expected.into_data())
        }
        let (found, expected) = case::<Int64Type>("i64", &values, cut, |n| n as i64, |n| !n as i64);
        prop_assert_eq!(found, expected);
        let (found, expected) = case::<Int32Type>("i32", &values, cut, |n| n as i32, |n| !n as i32);
        prop_assert_eq!(found, expected);
        let (found, expected) = case::<Float64Type>(
            "f64", &values, cut, f64::from_bits, |bits| f64::from_bits(!bits));
        prop_assert_eq!(bits_of(&found), bits_of(&expected));
        let f32 = |bits: u64| f32::from_bits(bits as u32);
        let (found, expected) = case::<Float32Type>("f32", &values, cut, f32, |bits| f32(!bits));
        prop_assert_eq!(bits_of(&found), bits_of(&expected));
    }

    #[test]
    fn columns_of_numbers_are_as_if_computed_here(
        values in proptest::collection::vec(proptest::option::weighted(0.8, any::<i64>()), 0..200),
        cut in 0usize..20,
    ) {
        let (module, typed) = (&*COLUMNS, &*TYPED);
        let cut = cut.min(values.len());
        let all = numbers(&values);
        let given = all.slice(cut, all.len() - cut);
        let score = |n: i64| n.wrapping_mul(3).wrapping_add(1);
        let mapped = |by: &dyn Fn(i64) -> i64| -> Int64Array {
            values[cut..].iter().map(|value| value.map(by)).collect()
        };
        for name in ["score", "score_all"] {
            let scores = call(module, name, std::slice::from_ref(&given)).unwrap();
            prop_assert_eq!(scores.as_primitive::<Int64Type>(), &mapped(&score));
        }
        let sums = call(typed, "add", &[given.clone(), given.clone()]).unwrap();
        prop_assert_eq!(sums.as_primitive::<Int64Type>(), &mapped(&|n| n.wrapping_add(n)));
        let doubles = call(typed, "doubles", &[given.clone()]).unwrap();
        prop_assert_eq!(doubles.as_primitive::<Int64Type>(), &mapped(&|n| n.wrapping_mul(2)));
        let even: Vec<_> = values[cut..].iter().map(|value| value.map(|n| n % 2 == 0)).collect();
        let odd: BooleanArray = even.iter().map(|even| even.map(|even| !even)).collect();
        let given: ArrayRef = Arc::new(BooleanArray::from(even));
        let not = call(module, "not_it", &[given]).unwrap();
        prop_assert_eq!(not.as_boolean(), &odd);
    }
}

#[test]
fn null_is_seen_by_those_who_ask_for_it() {
    let module = load("text.wasm");
    let amounts: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-2.0)]));
    let values = call(&module, "or_zero", &[amounts]).unwrap();
    assert_eq!(values.as_ref(), &Float64Array::from(vec![1.5, 0.0, -2.0]) as &dyn Array);
    // Only NULL: nobody is called.
    let values = call(&module, "trap", &[numbers(&[None, None])]).unwrap();
    assert_eq!(values.as_ref(), &Int64Array::from(vec![None, None]) as &dyn Array);
    let ones = call(&module, "one", &[]).unwrap();
    assert_eq!(ones.as_primitive::<Int32Type>().values(), &[1, 1, 1]);
    let typed = typed();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("é"), None]));
    let lengths = call(&typed, "length_or", &[texts]).unwrap();
    assert_eq!(lengths.as_primitive::<UInt32Type>().values(), &[2, 77]);
}

#[test]
fn typed_values_of_every_shape_go_in_and_out() {
    let module = typed();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(i64::MAX), Some(1)]),
        None,
        Some(vec![]),
    ]);
    let totals = call(&module, "total", &[Arc::new(lists)]).unwrap();
    assert_eq!(
        totals.as_ref(),
        &Int64Array::from(vec![Some(i64::MIN), None, Some(0)]) as &dyn Array
    );
    let within = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None])]);
    let error = call(&module, "total", &[Arc::new(within)]).unwrap_err();
    assert_eq!(error, "total: an argument has NULL within it, and its type no option there");

    let fields =
        [Field::new("x", DataType::Int32, true), Field::new("label", DataType::Utf8, true)];
    let columns = vec![
        Arc::new(arrow::array::Int32Array::from(vec![1, 2])) as ArrayRef,
        Arc::new(StringArray::from(vec![Some("é"), None])),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).unwrap();
    let points: ArrayRef = Arc::new(StructArray::from(batch));
    let swapped = call(&module, "swap", &[points]).unwrap();
    let swapped = swapped.as_struct();
    assert_eq!(swapped.column(0).as_primitive::<Int32Type>().values(), &[-1, -2]);
    let labels = StringArray::from(vec![None, Some("none")]);
    assert_eq!(swapped.column(1).as_string::<i32>(), &labels);

    let colours: ArrayRef = Arc::new(StringArray::from(vec!["red", "green"]));
    let others = call(&module, "name_of", &[colours]).unwrap();
    assert_eq!(others.as_string::<i32>(), &StringArray::from(vec!["green", "red"]));
    let colours: ArrayRef = Arc::new(StringArray::from(vec!["blue"]));
    let error = call(&module, "name_of", &[colours]).unwrap_err();
    assert_eq!(error, "name_of: 'blue' is none of red, green");
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["straße", ""]));
    let shouted = call(&module, "shout", &[texts]).unwrap();
    assert_eq!(shouted.as_string::<i32>(), &StringArray::from(vec!["STRAßE", ""]));
    let halves: ArrayRef = Arc::new(Float64Array::from(vec![3.0, -1.0]));
    let halves = call(&module, "half", &[halves]).unwrap();
    assert_eq!(halves.as_ref(), &Float64Array::from(vec![Some(1.5), None]) as &dyn Array);
}

#[test]
fn a_guest_names_the_row_that_fails() {
    let columns = load("text.wasm");
    let rows = numbers(&[Some(3), None, Some(0), Some(1)]);
    let error = columns.evaluate(number(&columns, "positive"), &[rows], 4).unwrap_err();
    assert_eq!((&*error.reason, error.row), ("it is not above zero", Some(2)));
    let typed = typed();
    let rows = numbers(&[Some(3), None, Some(-1)]);
    let error = typed.evaluate(number(&typed, "checked"), &[rows], 3).unwrap_err();
    assert_eq!((&*error.reason, error.row), ("below zero", Some(2)));
    let fine = call(&typed, "checked", &[numbers(&[Some(3), Some(4)])]).unwrap();
    assert_eq!(fine.as_primitive::<Int64Type>().values(), &[3, 4]);
}

#[test]
fn guests_with_bad_manners_harm_nobody() {
    let module = load("text.wasm");
    let rows = numbers(&[Some(1), Some(2)]);
    let of = |name: &str| {
        let said = call(&module, name, std::slice::from_ref(&rows)).unwrap_err();
        // And the next call goes well.
        let scores = call(&module, "score", std::slice::from_ref(&rows)).unwrap();
        assert_eq!(scores.as_primitive::<Int64Type>().values(), &[4, 7]);
        said
    };
    let told = ["too_few", "no_text", "endless", "hungry", "trap"].map(of).join("\n");
    expect_test::expect![[r#"
        too_few: it gave 1 values, and 2 are needed
        no_text: what it gave is wrong: column 0 (varchar): Invalid argument error: Invalid UTF8 sequence at string index 0 (0..2): invalid utf-8 sequence of 1 bytes from index 0
        endless: it takes longer than 1s (its `time` limit)
        hungry: it wants more than 67108864 bytes of memory (its `memory` limit)
        trap: it gave up (unreachable): these are my last words"#]].assert_eq(&told);
    // C has its own stack in its memory; other languages have the engine's alone.
    let deep = call(&module, "deep", &[numbers(&[Some(10_000_000)])]).unwrap_err();
    assert_eq!(
        deep,
        "deep: it reads or writes beyond its memory, as when its calls are nested too deeply"
    );
    let deep = "(module (func $f (export \"f\") (param i64) (result i64) local.get 0 call $f i64.const 1 i64.add))";
    let deep = Module::new(&HOST, deep.as_bytes(), options()).unwrap();
    let told = call(&deep, "f", &[numbers(&[Some(1)])]).unwrap_err();
    assert_eq!(told, "f: its calls are nested too deeply (stack overflow) (in f)");
    let fine = call(&module, "deep", &[numbers(&[Some(4)])]).unwrap();
    assert_eq!(fine.as_primitive::<Int64Type>().values(), &[10]);
    call(&module, "talkative", &[rows]).unwrap();
}

#[test]
fn guests_read_what_the_file_has_for_them() {
    let config = BTreeMap::from([("greeting".to_owned(), "grüezi".to_owned())]);
    let options = Options { config: Arc::new(config), ..options() };
    let module = Module::load(&HOST, &path("text.wasm"), options).unwrap();
    let greetings = call(&module, "greeting", &[]).unwrap();
    assert_eq!(greetings.as_string::<i32>(), &StringArray::from(vec!["grüezi"; 3]));
    let nothing = call(&load("text.wasm"), "greeting", &[]).unwrap();
    assert_eq!(nothing.null_count(), 3);
}

const NUMBERS: &str = r#"(module
    (func (export "add") (param i64 i64) (result i64) local.get 0 local.get 1 i64.add)
    (func (export "halve") (param f64) (result f64) local.get 0 f64.const 2 f64.div)
    (func (export "divide") (param i32 i32) (result i32) local.get 0 local.get 1 i32.div_s)
    (func (export "answer") (result i32) i32.const 42)
    (func (export "nothing") (param i32)))"#;

#[test]
fn modules_of_numbers_are_called_as_they_are() {
    let module = Module::new(&HOST, NUMBERS.as_bytes(), options()).unwrap();
    assert_eq!(module.info().abi, Abi::Core);
    let signatures: Vec<String> = module.functions().iter().map(ToString::to_string).collect();
    assert_eq!(
        signatures,
        [
            "add(a0 bigint, a1 bigint) → bigint",
            "halve(a0 double) → double",
            "divide(a0 int, a1 int) → int",
            "answer() → int",
        ]
    );
    let rows = numbers(&[Some(i64::MAX), None, Some(2)]);
    let sums = call(&module, "add", &[rows.clone(), numbers(&[Some(1), Some(1), Some(1)])]);
    let expected = Int64Array::from(vec![Some(i64::MIN), None, Some(3)]);
    assert_eq!(sums.unwrap().as_ref(), &expected as &dyn Array);
    let ints =
        |values: &[i32]| Arc::new(arrow::array::Int32Array::from(values.to_vec())) as ArrayRef;
    let error = call(&module, "divide", &[ints(&[4, 1]), ints(&[2, 0])]).unwrap_err();
    assert_eq!(error, "divide: wasm trap: integer divide by zero");
    let answers = call(&module, "answer", &[]).unwrap();
    assert_eq!(answers.as_primitive::<Int32Type>().values(), &[42, 42, 42]);
}

#[test]
fn what_is_no_module_is_refused_with_the_reason() {
    let of = |bytes: &[u8]| Module::new(&HOST, bytes, options()).unwrap_err().to_string();
    let wrong_version = std::fs::read(path("text.wasm")).unwrap();
    let from = b"millstream:udf/functions@0.1.0";
    let mut wrong_version = wrong_version;
    while let Some(at) = wrong_version.windows(from.len()).position(|window| window == from) {
        wrong_version[at..at + from.len()].copy_from_slice(b"millstream:udf/functions@9.1.0");
    }
    let told = [
        of(b""),
        of(b"PK\x03\x04"),
        of(b"hello"),
        of(b"(module (func"),
        of(b"\0asm\x01\0\0\0\xff\xff"),
        of(b"(module)"),
        of(b"(module (func (export \"f\") (param i32)))"),
        of(b"(module (import \"gods\" \"fate\" (func)) (func (export \"f\") (result i32) i32.const 1))"),
        of(b"(module (func (export \"f\") (result i32) i32.const 1) (func $s unreachable) (start $s))"),
        of(b"(module (memory 100000) (func (export \"f\") (result i32) i32.const 1))"),
        of(b"(component)"),
        of(b"(component (import \"gods\" (func)))"),
        of(&wrong_version),
        Module::load(&HOST, Path::new("/nowhere/a.wasm"), options()).unwrap_err().to_string(),
    ];
    expect_test::expect![[r#"
        it is no WebAssembly, neither a module or component (.wasm) nor their text (.wat)
        it is no WebAssembly, neither a module or component (.wasm) nor their text (.wat)
        it is no WebAssembly, neither a module or component (.wasm) nor their text (.wat)
        its text is wrong: expected `)`
             --> <anon>:1:14
              |
            1 | (module (func
              |              ^
        it is no valid WebAssembly: malformed section id (at offset 0x8)
        it exports no function that can be called
        it exports no function that can be called: 'f' is not a function of numbers with one result
        it imports 'gods.fate', which nobody has
        it cannot be started: it gave up (unreachable) (in s)
        it is no valid WebAssembly: failed to parse WebAssembly module: memory size must be at most 0x10000 65536-byte pages (at offset 0x16)
        it exports no function that can be called
        it imports 'gods', which nobody has
        it was made for millstream:udf/functions@9.1.0, and this is millstream:udf/functions@0.1.0: build it with the WIT of this version (`millstream udf new` writes it)
        cannot read /nowhere/a.wasm: No such file or directory (os error 2)"#]].assert_eq(&told.join("\n"));
}

#[test]
fn compiled_modules_are_kept_and_only_our_own_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("udfs");
    let load = || {
        let host = Host::new(Some(cache.clone())).unwrap();
        let module = Module::load(&host, &path("text.wasm"), options()).unwrap();
        call(&module, "score", &[numbers(&[Some(1)])]).unwrap().as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(load(), 4);
    let files = || -> Vec<PathBuf> {
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let [file] = &files()[..] else { panic!("{:?}", files()) };
    let written = std::fs::metadata(file).unwrap().modified().unwrap();
    assert_eq!(load(), 4);
    assert_eq!(std::fs::metadata(file).unwrap().modified().unwrap(), written);
    // What was changed is compiled anew.
    let mut bytes = std::fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    assert_eq!(load(), 4);
    assert_ne!(std::fs::read(file).unwrap(), bytes);
    // What others can write is not looked at.
    let written = std::fs::read(file).unwrap();
    std::os::unix::fs::symlink(file, cache.join("elsewhere")).unwrap();
    let mut open = std::fs::metadata(file).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o666);
    std::fs::set_permissions(file, open).unwrap();
    assert_eq!(load(), 4);
    assert_eq!(std::fs::read(file).unwrap(), written);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_directory_that_is_not_there_cannot_be_granted() {
    let directory = udfs::Directory { path: "/nowhere".into(), writable: false };
    let grants =
        Grants { directories: BTreeMap::from([("d".to_owned(), directory)]), ..Grants::default() };
    let error = Module::load(&HOST, &path("text.wasm"), Options { grants, ..options() });
    let error = error.unwrap_err();
    assert!(matches!(error, LoadError::Start(_)), "{error}");
    assert!(error.to_string().contains("cannot open directory /nowhere"), "{error}");
}

/// A wait is no time of the guest, so that nothing would end it.
#[test]
fn a_guest_that_waits_goes_on_at_once() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "wait") (param i64) (result i32)
            ;; the clock, for as long as there is
            (i64.store (i32.const 0) (local.get 0))
            (i64.store (i32.const 24) (i64.const -1))
            (if (i32.ne (i32.const 0)
                        (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
                (then unreachable))
            (if (i64.ne (i64.load (i32.const 64)) (local.get 0)) (then unreachable))
            (i32.load (i32.const 128)))
        (func (export "far") (param i32) (result i32)
            (call $poll (local.get 0) (i32.const 64) (i32.const 1) (i32.const 128))))"#;
    let module = Module::new(&HOST, text.as_bytes(), options()).unwrap();
    let events = call(&module, "wait", &[numbers(&[Some(7)])]).unwrap();
    assert_eq!(events.as_primitive::<Int32Type>().values(), &[1]);
    let far: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![-1]));
    let fault = call(&module, "far", &[far]).unwrap();
    assert_eq!(fault.as_primitive::<Int32Type>().values(), &[21]);
}

/// Memory of a call in C was what `memory.grow` gave, and was taken to be in one piece. Where a
/// function used malloc too, the pieces of both lay between each other: what the function kept was
/// overwritten, or memory ran out.
#[test]
fn memory_of_a_call_keeps_out_of_that_of_the_function() {
    let module = load("text.wasm");
    for round in 0..60usize {
        let text = "x".repeat(round * 10);
        let given: ArrayRef = Arc::new(StringArray::from(vec![&*text; 300]));
        let overwritten = call(&module, "keeps", &[given]).unwrap();
        assert_eq!(overwritten.as_primitive::<Int64Type>(), &Int64Array::from(vec![0; 300]));
    }
}

/// What lies between a module in C and WASI kept its own state in memory of the first call that
/// needed it: functions that used files, the environment or printf did so in the first call of an
/// instance, and from then on gave up.
#[test]
fn files_and_the_environment_are_there_in_each_call() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("words.txt"), "hello, ").unwrap();
    let directory = udfs::Directory { path: data.path().to_owned(), writable: false };
    let grants = Grants {
        directories: BTreeMap::from([("/data".to_owned(), directory)]),
        environment: BTreeMap::from([("GREETED".to_owned(), "world".to_owned())]),
        ..Grants::default()
    };
    let module = Module::load(&HOST, &path("files.wasm"), Options { grants, ..options() }).unwrap();
    for round in 0..1000 {
        // Now more than a call has had before, now less.
        let rows = 1 + round * 37 % 101;
        let given: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let found = call(&module, "outside", &[given]).unwrap();
        assert!(found.as_string::<i32>().iter().all(|text| text == Some("hello, world")));
    }
    let granted_nothing = load("files.wasm");
    let found = call(&granted_nothing, "outside", &[numbers(&[Some(1)])]).unwrap();
    assert_eq!(found.as_string::<i32>().value(0), "no filenobody");
}

/// What is on its way to a function and back is none of its memory.
#[test]
fn a_typed_function_needs_no_more_memory_than_it_has() {
    let text = r#"(module
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 64))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.add (global.get $next) (local.get 3)))
            (i32.sub (global.get $next) (local.get 3)))
        (func (export "same") (param i32 i32) (result i32)
            (i32.store (i32.const 0) (local.get 0))
            (i32.store (i32.const 4) (local.get 1))
            (i32.const 0))
        (func (export "cabi_post_same") (param i32) (global.set $next (i32.const 64))))"#;
    let wit = "package a:b; world w { export same: func(s: string) -> string; }".to_owned();
    let limits = Limits { memory_bytes: 64 << 10, ..Limits::default() };
    let options = Options { limits, wit: Some(wit), ..options() };
    let module = Module::new(&HOST, text.as_bytes(), options).unwrap();
    let texts = (0..8192).map(|n| Some(n.to_string().repeat(100)));
    let texts: ArrayRef = Arc::new(texts.collect::<StringArray>());
    assert_eq!(&call(&module, "same", std::slice::from_ref(&texts)).unwrap(), &texts);
}

/// Calls within calls have the stack that the file says, on whatever thread they are.
#[test]
fn stacks_are_as_deep_as_the_limit_says() {
    let text = r#"(module (func $depth (export "depth") (param i64) (result i64)
        (if (result i64) (i64.eqz (local.get 0))
            (then (i64.const 0))
            (else (i64.add (i64.const 1)
                (call $depth (i64.sub (local.get 0) (i64.const 1))))))))"#;
    let depth = |stack_bytes: usize, depth: i64| {
        let limits = Limits { time: Duration::from_secs(20), stack_bytes, ..Limits::default() };
        let options = Options { name: "depth".to_owned(), limits, ..Options::default() };
        let module = Module::new(&HOST, text.as_bytes(), options).unwrap();
        let of: ArrayRef = Arc::new(Int64Array::from(vec![depth]));
        module.evaluate(0, &[of], 1).map(|found| found.as_primitive::<Int64Type>().value(0))
    };
    // A call takes 16 bytes of it at least, and fewer than 128.
    for stack_bytes in [64 << 10, Limits::STACK_BYTES, 16 << 20] {
        let fits = stack_bytes as i64 / 128;
        assert_eq!(depth(stack_bytes, fits), Ok(fits));
        let error = depth(stack_bytes, stack_bytes as i64 / 16 + 1).unwrap_err();
        assert!(error.reason.contains("stack overflow"), "{error}");
    }
}
