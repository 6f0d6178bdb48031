//! What a call of a function costs, beside the same function here: `cargo bench --bench functions`.
//!
//! Each way to call a function takes turns with the native one, over batches of 8,192 rows; the
//! median of the turns counts. Printed are nanoseconds a row, rows a second, and the ratio. Then
//! what the time limit costs, a call of one row, an instance, and a load.
//!
//! Python's and JavaScript's examples are measured where `--test languages` has built them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
use udfs::{Abi, Host, Limits, Module, Options};

const ROWS: usize = 8192;
const TURNS: usize = 301;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modules").join(name)
}

fn options(wit: Option<&str>) -> Options {
    let wit = wit.map(|name| std::fs::read_to_string(path(name)).expect("it is in the repository"));
    let limits = Limits { time: Duration::from_secs(10), ..Limits::default() };
    Options { name: "bench".to_owned(), limits, wit, ..Options::default() }
}

fn call(module: &Module, name: &str, arguments: &[ArrayRef]) -> ArrayRef {
    let functions = module.functions();
    let function = functions.iter().position(|function| function.name == name);
    let rows = arguments[0].len();
    module.evaluate(function.expect("it has it"), arguments, rows).expect("it works")
}

/// The medians of both, in nanoseconds a row.
fn pair(native: impl Fn() -> ArrayRef, guest: impl Fn() -> ArrayRef) -> (f64, f64) {
    pair_of(TURNS, native, guest)
}

fn pair_of(
    turns: usize,
    native: impl Fn() -> ArrayRef,
    guest: impl Fn() -> ArrayRef,
) -> (f64, f64) {
    assert_eq!(&native(), &guest());
    let time = |work: &dyn Fn() -> ArrayRef| {
        let began = Instant::now();
        std::hint::black_box(work());
        began.elapsed().as_nanos() as f64 / ROWS as f64
    };
    let (mut natives, mut guests) = (Vec::new(), Vec::new());
    for _ in 0..turns {
        natives.push(time(&native));
        guests.push(time(&guest));
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[turns / 2]
    };
    (median(&mut natives), median(&mut guests))
}

fn told(what: &str, (native, guest): (f64, f64)) {
    println!(
        "{what:34} {guest:9.1} ns/row {:8.1} M rows/s   native {native:6.2} ns   {:.2} of native",
        1000.0 / guest,
        native / guest
    );
}

fn domains(texts: &StringArray) -> ArrayRef {
    let mut domains = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for text in texts {
        domains.append_option(text.and_then(|text| Some(text.split_once('@')?.1)));
    }
    Arc::new(domains.finish())
}

fn upper(texts: &StringArray) -> ArrayRef {
    Arc::new(texts.iter().map(|text| Some(text?.to_ascii_uppercase())).collect::<StringArray>())
}

/// A module of each kind.
struct Modules {
    /// By columns.
    rust: Module,
    c: Module,
    /// Typed.
    typed_rust: Module,
    typed_c: Module,
    core: Module,
}

const CORE: &str = "(module (func (export \"add\") (param i64 i64) (result i64)
    local.get 0 local.get 1 i64.add))";

impl Modules {
    fn load(host: &Arc<Host>) -> Modules {
        let load = |name: &str, wit| Module::load(host, &path(name), options(wit)).expect(name);
        Modules {
            rust: load("kinds.wasm", None),
            c: load("text.wasm", None),
            typed_rust: load("typed_rust.wasm", Some("typed_rust.wit")),
            typed_c: load("typed.wasm", Some("typed.wit")),
            core: Module::new(host, CORE.as_bytes(), options(None)).expect("it is right"),
        }
    }

    fn each(&self) -> [(&str, &Module); 5] {
        [
            ("by columns, Rust (kinds.wasm)", &self.rust),
            ("by columns, C (text.wasm)", &self.c),
            ("typed, Rust (typed_rust.wasm)", &self.typed_rust),
            ("typed, C (typed.wasm)", &self.typed_c),
            ("core module", &self.core),
        ]
    }
}

fn main() {
    let host = Host::new(None).expect("this machine runs it");
    let modules = Modules::load(&host);
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    let emails = (0..ROWS).map(|n| Some(format!("somebody{n}@example{}.org", n % 100)));
    let emails: ArrayRef = Arc::new(emails.collect::<StringArray>());
    of_numbers(&modules, &numbers);
    of_texts(&modules, &emails);
    of_large_ones(&numbers, &emails);
    time_limit(&modules, &numbers, &emails);
    one_row(&modules, &numbers);
    instances_and_loads(&modules);
}

fn score(numbers: &ArrayRef) -> ArrayRef {
    let of = numbers.as_primitive::<Int64Type>();
    Arc::new(of.unary::<_, Int64Type>(|n| n.wrapping_mul(3).wrapping_add(1)))
}

fn of_numbers(modules: &Modules, numbers: &ArrayRef) {
    let Modules { rust, c, typed_rust, typed_c, core } = modules;
    let one = std::slice::from_ref(numbers);
    let two = [numbers.clone(), numbers.clone()];
    let of = numbers.as_primitive::<Int64Type>();
    let add = || -> ArrayRef { Arc::new(of.unary::<_, Int64Type>(|n| n.wrapping_add(n))) };
    told("i64, by columns, Rust", pair(|| score(numbers), || call(rust, "score", one)));
    told("i64, by columns, C", pair(|| score(numbers), || call(c, "score_all", one)));
    told("i64, by columns, C, row by row", pair(|| score(numbers), || call(c, "score", one)));
    told("i64, core module", pair(add, || call(core, "add", &two)));
    for (language, typed) in [("Rust", typed_rust), ("C", typed_c)] {
        told(&format!("i64, typed, {language}"), pair(add, || call(typed, "add", &two)));
        let lists = pair(add, || call(typed, "doubles", one));
        told(&format!("i64, typed, lists of options, {language}"), lists);
    }
}

fn of_texts(modules: &Modules, emails: &ArrayRef) {
    let Modules { rust, c, typed_rust, typed_c, .. } = modules;
    let texts = emails.as_string::<i32>();
    let one = std::slice::from_ref(emails);
    let domain = |module| move || call(module, "email_domain", one);
    told("text, by columns, Rust", pair(|| domains(texts), domain(rust)));
    told("text, by columns, C", pair(|| domains(texts), domain(c)));
    told("text, typed, Rust", pair(|| domains(texts), domain(typed_rust)));
    for (language, typed) in [("Rust", typed_rust), ("C", typed_c)] {
        let shout = pair(|| upper(texts), || call(typed, "shout", one));
        told(&format!("text, typed, upper case, {language}"), shout);
    }
}

fn of_large_ones(numbers: &ArrayRef, emails: &ArrayRef) {
    /// Of a second's batch or so.
    const TURNS: usize = 9;
    // They take ten seconds to compile.
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("udfs");
    let host = Host::new(Some(built.join("compiled"))).expect("this machine runs it");
    for language in ["python", "javascript"] {
        let path = built.join("examples/udfs").join(language).join("udf.wasm");
        if !path.exists() {
            println!("{language}: not built");
            continue;
        }
        let module = Module::load(&host, &path, options(None)).expect("it is right");
        let texts = emails.as_string::<i32>();
        let abi = match module.info().abi {
            Abi::Columns => "by columns",
            _ => "typed",
        };
        let one = std::slice::from_ref(numbers);
        let score = pair_of(TURNS, || score(numbers), || call(&module, "score", one));
        told(&format!("i64, {abi}, {language}"), score);
        let one = std::slice::from_ref(emails);
        let domain = || call(&module, "email_domain", one);
        told(&format!("text, {abi}, {language}"), pair_of(TURNS, || domains(texts), domain));
    }
}

/// The same modules with and without it.
fn time_limit(modules: &Modules, numbers: &ArrayRef, emails: &ArrayRef) {
    let host = Host::without_time_limits().expect("this machine runs it");
    let free = Modules::load(&host);
    let (one, text) = (std::slice::from_ref(numbers), std::slice::from_ref(emails));
    let two = [numbers.clone(), numbers.clone()];
    let both: [(&str, &Module, &Module, &str, &[ArrayRef]); 5] = [
        ("i64, by columns, Rust", &free.rust, &modules.rust, "score", one),
        ("text, by columns, Rust", &free.rust, &modules.rust, "email_domain", text),
        ("text, by columns, C", &free.c, &modules.c, "email_domain", text),
        ("i64, typed, Rust", &free.typed_rust, &modules.typed_rust, "add", &two),
        ("i64, core module", &free.core, &modules.core, "add", &two),
    ];
    for (what, free, limited, name, arguments) in both {
        let (without, with) =
            pair(|| call(free, name, arguments), || call(limited, name, arguments));
        let more = (with / without - 1.0) * 100.0;
        println!(
            "the time limit: {what:30} {with:6.1} ns/row, {without:6.1} without: {more:+.0} %"
        );
    }
}

fn one_row(modules: &Modules, numbers: &ArrayRef) {
    let few = numbers.slice(0, 1);
    let (one, two) = (std::slice::from_ref(&few), [few.clone(), few.clone()]);
    for (what, module) in modules.each() {
        let has_score = module.functions().iter().any(|function| function.name == "score");
        let took = each(10_000, || match has_score {
            true => call(module, "score", one),
            false => call(module, "add", &two),
        });
        println!("a call of one row: {what:34} {took:.2?}");
    }
}

/// What one of so many takes.
fn each<T>(times: u32, work: impl Fn() -> T) -> Duration {
    let began = Instant::now();
    for _ in 0..times {
        std::hint::black_box(work());
    }
    began.elapsed() / times
}

fn instances_and_loads(modules: &Modules) {
    for (what, module) in modules.each() {
        let took = each(1000, || module.start_one().expect("it starts"));
        println!("an instance: {what:34} {took:.1?}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let fresh = || Host::new(None).expect("this machine runs it");
    let cached = || Host::new(Some(dir.path().to_owned())).expect("this machine runs it");
    Modules::load(&cached());
    let loads: [(&str, Option<&str>); 4] = [
        ("kinds.wasm", None),
        ("text.wasm", None),
        ("typed_rust.wasm", Some("typed_rust.wit")),
        ("typed.wasm", Some("typed.wit")),
    ];
    for (name, wit) in loads {
        let load = |host: &Arc<Host>| {
            let took = (0..5).map(|_| {
                let began = Instant::now();
                Module::load(host, &path(name), options(wit)).expect(name);
                began.elapsed()
            });
            took.min().unwrap_or_default()
        };
        let (compiled, kept) = (load(&fresh()), load(&cached()));
        println!("a load: {name:20} compiled {compiled:.1?}, as it was compiled before {kept:.1?}");
    }
}
