//! Files that are nearly modules: whatever they are, they are loaded or refused. Nothing panics,
//! nothing takes long, nothing takes much memory; and what is loaded can be called.
//!
//! Each round is of a seed of its own, which a failure tells. `MILLSTREAM_FUZZ_ROUNDS` makes more
//! rounds than the test has by itself, `MILLSTREAM_FUZZ_SEED` begins elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::concat;
use udfs::{Host, Kind, Limits, Module, Options};

static HOST: LazyLock<Arc<Host>> = LazyLock::new(|| Host::new(None).unwrap());

/// A round that takes longer hangs, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the whole test may take, in kilobytes.
#[cfg(target_os = "linux")]
const MEMORY_MAX: u64 = 1 << 20;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // Splitmix: seeds that follow each other give what has nothing in common.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules").join(name)
}

/// A module, and its types where it does not carry them.
type Base = (Vec<u8>, Option<String>);

fn bases() -> Vec<Base> {
    let read = |name: &str| std::fs::read(path(name)).unwrap();
    let wit = |name: &str| Some(std::fs::read_to_string(path(name)).unwrap());
    let text = |text: &str| (wat::parse_str(text).unwrap(), None);
    vec![
        (read("typed.wasm"), wit("typed.wit")),
        (read("hostile_typed.wasm"), wit("hostile_typed.wit")),
        (read("hostile.wasm"), None),
        (read("typed.wasm"), None),
        text(CORE),
        text(COMPONENT),
        text(COMPONENT),
    ]
}

const CORE: &str = r#"(module
    (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
    (memory (export "memory") 1 3)
    (table 4 funcref)
    (global $g (mut i64) (i64.const 5))
    (elem (i32.const 0) $add $start)
    (data (i32.const 8) "some data")
    (func $start (global.set $g (i64.const 7)))
    (start $start)
    (func $add (export "add") (param i64 i64) (result i64)
        (i64.add (global.get $g) (i64.add (local.get 0) (local.get 1))))
    (func (export "sum") (param $n i32) (result i32) (local $sum i32)
        (block (loop
            (br_if 1 (i32.eqz (local.get $n)))
            (local.set $sum (i32.add (local.get $sum) (local.get $n)))
            (local.set $n (i32.sub (local.get $n) (i32.const 1)))
            (br 0)))
        (local.get $sum))
    (func (export "chance") (result i32)
        (drop (call $random (i32.const 0) (i32.const 4)))
        (i32.load (i32.const 0))))"#;

const COMPONENT: &str = r#"(component
    (core module $m
        (memory (export "memory") 1)
        (global $next (mut i32) (i32.const 64))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $next (i32.add (global.get $next) (local.get 3)))
            (i32.sub (global.get $next) (local.get 3)))
        (func (export "same") (param i32 i32) (result i32)
            (i32.store (i32.const 0) (local.get 0))
            (i32.store (i32.const 4) (local.get 1))
            (i32.const 0))
        (func (export "add") (param i64 i64) (result i64)
            (i64.add (local.get 0) (local.get 1)))
        (func (export "done") (param i32) (global.set $next (i32.const 64))))
    (core instance $i (instantiate $m))
    (alias core export $i "memory" (core memory $memory))
    (alias core export $i "realloc" (core func $realloc))
    (alias core export $i "same" (core func $core_same))
    (alias core export $i "add" (core func $core_add))
    (alias core export $i "done" (core func $done))
    (type $text (func (param "s" string) (result string)))
    (func $same (type $text) (canon lift (core func $core_same)
        (memory $memory) (realloc $realloc) (post-return $done)))
    (func $add (param "a" s64) (param "b" s64) (result s64) (canon lift (core func $core_add)))
    (export "same" (func $same))
    (export "add" (func $add)))"#;

/// The sections of a module or component, as they stand: from, and to.
fn sections(wasm: &[u8]) -> Vec<(usize, usize)> {
    let (mut at, mut found) = (8, Vec::new());
    while at < wasm.len() {
        let (mut length, mut shift, mut next) = (0usize, 0, at + 1);
        while let Some(byte) = wasm.get(next).filter(|_| shift < 35) {
            length |= usize::from(byte & 0x7f) << shift;
            (shift, next) = (shift + 7, next + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let end = next.saturating_add(length).min(wasm.len());
        found.push((at, end));
        at = end;
    }
    found
}

fn change(wasm: &mut Vec<u8>, random: &mut Random) {
    const EDGES: [u8; 8] = [0, 1, 0x0f, 0x40, 0x7f, 0x80, 0xfe, 0xff];
    if wasm.len() < 9 {
        return wasm.push(random.next() as u8);
    }
    let at = random.below(wasm.len());
    let length = random.below(16).min(wasm.len() - at);
    match random.below(10) {
        0 | 1 => wasm[at] ^= 1 << random.below(8),
        2 | 3 => wasm[at] = *random.of(&EDGES),
        4 => wasm[at] = wasm[at].wrapping_add(1),
        5 => wasm.truncate(at),
        6 => drop(wasm.drain(at..at + length)),
        7 => {
            let piece = wasm[at..at + length].to_vec();
            let to = random.below(wasm.len());
            drop(wasm.splice(to..to, piece));
        }
        8 => {
            let sections = sections(wasm);
            let (from, to) = *random.of(&sections);
            let section: Vec<u8> = wasm.drain(from..to).collect();
            // Elsewhere, twice, or nowhere.
            for _ in 0..random.below(3) {
                let places = self::sections(wasm);
                let to = places.get(random.below(places.len())).map_or(wasm.len(), |place| place.0);
                drop(wasm.splice(to..to, section.iter().copied()));
            }
        }
        _ => {
            let bytes: Vec<u8> = (0..random.below(8)).map(|_| random.next() as u8).collect();
            drop(wasm.splice(at..at, bytes));
        }
    }
}

/// Text of WebAssembly of which some words are elsewhere, or others.
fn changed_text(random: &mut Random) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "(",
        ")",
        "(module",
        "(component",
        "(func",
        "(memory",
        "(table",
        "(type",
        "(loop",
        "i32",
        "i64",
        "f64",
        "funcref",
        "-1",
        "4294967295",
        "65536",
        "18446744073709551615",
        "\"memory\"",
        "$m",
        "(export \"f\")",
        "unreachable",
        "call",
        "v128",
        "string",
    ];
    let text = *random.of(&[CORE, COMPONENT]);
    let spaced = text.replace('(', " (").replace(')', " ) ");
    let mut words: Vec<&str> = spaced.split_whitespace().collect();
    for _ in 0..1 + random.below(4) {
        let at = random.below(words.len());
        match random.below(4) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, *random.of(&WORDS)),
            2 => words[at] = *random.of(&WORDS),
            _ => {
                let other = random.below(words.len());
                words.swap(at, other);
            }
        }
    }
    words.join(" ").into_bytes()
}

/// Loads what a seed gives, and calls all that it has. Whether it was loaded.
fn round(seed: u64, bases: &[Base]) -> bool {
    let mut random = Random(seed);
    let (bytes, wit) = match random.below(4) {
        0 => (changed_text(&mut random), None),
        _ => {
            let (mut wasm, wit) = random.of(bases).clone();
            for _ in 0..1 + random.below(3) {
                change(&mut wasm, &mut random);
            }
            (wasm, wit)
        }
    };
    let limits =
        Limits { memory_bytes: 4 << 20, time: Duration::from_millis(20), ..Limits::default() };
    let options = Options { name: "m".to_owned(), limits, wit, ..Options::default() };
    let Ok(module) = Module::new(&HOST, &bytes, options) else { return false };
    for (index, function) in module.functions().iter().enumerate() {
        let arguments: Vec<ArrayRef> = function
            .arguments
            .iter()
            .map(|argument| {
                // A value that is zero or empty, and one that is NULL.
                let zero = zero(&argument.data_type);
                concat(&[&zero, &new_null_array(&argument.data_type, 1)]).unwrap()
            })
            .collect();
        // What comes of it is the module's affair.
        let _ = match function.kind {
            Kind::Scalar => module.evaluate(index, &arguments, 2).map(|values| values.len()),
            Kind::Table => module.expand(index, &arguments, 2).map(|(of, _)| of.len()),
            Kind::Aggregate { .. } => Ok(0),
        };
    }
    true
}

fn zero(data_type: &arrow::datatypes::DataType) -> ArrayRef {
    let nulls = new_null_array(data_type, 1).to_data();
    let data = nulls.into_builder().nulls(None).build();
    data.map_or_else(|_| new_null_array(data_type, 1), arrow::array::make_array)
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect(variable))
}

#[test]
fn what_is_nearly_a_module_is_loaded_or_refused() {
    let (first, rounds) =
        (number("MILLSTREAM_FUZZ_SEED", 1), number("MILLSTREAM_FUZZ_ROUNDS", 400));
    let (tell, told) = channel();
    let rounds = std::thread::spawn(move || {
        let bases = bases();
        let mut loaded = 0u64;
        for seed in first..first + rounds {
            tell.send(seed).unwrap();
            match catch_unwind(AssertUnwindSafe(|| round(seed, &bases))) {
                Ok(is_loaded) => loaded += u64::from(is_loaded),
                Err(_) => panic!("MILLSTREAM_FUZZ_SEED={seed}"),
            }
        }
        (loaded, rounds)
    });
    let mut seed = first;
    loop {
        match told.recv_timeout(PATIENCE) {
            Ok(next) => seed = next,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                panic!("MILLSTREAM_FUZZ_SEED={seed} takes more than {PATIENCE:?}")
            }
        }
    }
    let (loaded, rounds) = rounds.join().unwrap();
    // It would be no test of what is called if nothing were.
    assert!(loaded * 20 >= rounds, "{loaded} of {rounds} were loaded");
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kilobytes: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kilobytes < MEMORY_MAX, "the process took {kilobytes} kB");
    }
}

/// What no mutation comes to by itself.
#[test]
fn what_is_made_to_be_too_much_is_refused_or_stopped() {
    let of = |bytes: &[u8]| {
        let limits =
            Limits { memory_bytes: 4 << 20, time: Duration::from_millis(50), ..Limits::default() };
        let options = Options { name: "m".to_owned(), limits, ..Options::default() };
        match Module::new(&HOST, bytes, options) {
            Ok(_) => "loaded".to_owned(),
            Err(error) => {
                let text = error.to_string();
                text.lines().next().unwrap_or_default().chars().take(120).collect()
            }
        }
    };
    let function = "(func (export \"f\") (result i32) (i32.const 1))";
    let deep = format!("(module (func {}{}))", "(block ".repeat(100_000), ")".repeat(100_000));
    let blocks = format!(
        "(module (func (export \"f\") (result i32) {} {} (i32.const 1)))",
        "block ".repeat(20_000),
        "end ".repeat(20_000)
    );
    let locals = format!("(module {function} (func (local {})))", "i64 ".repeat(60_000));
    let memories = format!("(module {} {function})", "(memory 0) ".repeat(90));
    let instances = format!(
        "(component (core module $m (memory 1)) {})",
        "(core instance (instantiate $m)) ".repeat(1500)
    );
    let nested = format!("{}{}", "(component ".repeat(500), ")".repeat(500));
    let types = {
        // Each is twice the one before it.
        let twice = (1..40).map(|n| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1));
        let twice: String = twice.collect();
        format!("(component (type $t0 (tuple u8)) {twice})")
    };
    let told = [
        of(deep.as_bytes()),
        of(blocks.as_bytes()),
        of(locals.as_bytes()),
        of(memories.as_bytes()),
        of(instances.as_bytes()),
        of(nested.as_bytes()),
        of(types.as_bytes()),
        of(format!("(module (memory 65536) {function})").as_bytes()),
        of(format!("(module (table 100000000 funcref) {function})").as_bytes()),
        of(format!("(module {function} (func $s (loop (br 0))) (start $s))").as_bytes()),
        of(format!("(module {function} (func $s (call $s)) (start $s))").as_bytes()),
    ];
    expect_test::expect![[r#"
        it exports no function that can be called
        loaded
        it is no valid WebAssembly: failed to compile: wasm[0]::function[1]: WebAssembly translation error: Invalid input WebAss
        loaded
        it is no valid WebAssembly: instances count exceeds limit of 1000 (at offset 0x25)
        its text is wrong: item nesting too deep at <anon>:1:1102
        it is no valid WebAssembly: effective type size exceeds the limit of 1000000 (at offset 0x57)
        it cannot be started: it wants more than 4194304 bytes of memory (its `memory` limit)
        it cannot be started: table minimum size of 100000000 elements exceeds table limits
        it cannot be started: it takes longer than 50ms (its `time` limit) (in s)
        it cannot be started: its calls are nested too deeply (stack overflow) (in s)"#]].assert_eq(&told.join("\n"));
}
