//! What a call of a function costs, beside the same function here: `cargo bench --bench functions`.
//!
//! Each way to call a function takes turns with the native one, over batches of 8,192 rows; the
//! median of the turns counts. Printed are nanoseconds a row, rows a second, and the ratio.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
use udfs::{Host, Limits, Module, Options};

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
    assert_eq!(&native(), &guest());
    let time = |work: &dyn Fn() -> ArrayRef| {
        let began = Instant::now();
        std::hint::black_box(work());
        began.elapsed().as_nanos() as f64 / ROWS as f64
    };
    let (mut natives, mut guests) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        natives.push(time(&native));
        guests.push(time(&guest));
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[TURNS / 2]
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

fn main() {
    let host = Host::new(None).expect("this machine runs it");
    let load = |name: &str, wit| {
        let began = Instant::now();
        let module = Module::load(&host, &path(name), options(wit)).expect(name);
        println!("{name}: compiled and started in {:.1?}", began.elapsed());
        module
    };
    let columns = load("text.wasm", None);
    let of_rust = load("kinds.wasm", None);
    let typed = load("typed.wasm", Some("typed.wit"));
    let text = "(module (func (export \"add\") (param i64 i64) (result i64)
        local.get 0 local.get 1 i64.add))";
    let core = Module::new(&host, text.as_bytes(), options(None)).expect("it is right");

    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    let one = std::slice::from_ref(&numbers);
    let two = [numbers.clone(), numbers.clone()];
    let of = numbers.as_primitive::<Int64Type>();
    let score = || -> ArrayRef {
        Arc::new(of.unary::<_, Int64Type>(|n| n.wrapping_mul(3).wrapping_add(1)))
    };
    let add = || -> ArrayRef { Arc::new(of.unary::<_, Int64Type>(|n| n.wrapping_add(n))) };
    told("i64, by columns, Rust", pair(score, || call(&of_rust, "score", one)));
    told("i64, by columns, C", pair(score, || call(&columns, "score", one)));
    told("i64, core module", pair(add, || call(&core, "add", &two)));
    told("i64, typed", pair(add, || call(&typed, "add", &two)));
    told("i64, typed, lists of options", pair(add, || call(&typed, "doubles", one)));

    let emails = (0..ROWS).map(|n| Some(format!("somebody{n}@example{}.org", n % 100)));
    let emails: ArrayRef = Arc::new(emails.collect::<StringArray>());
    let texts = emails.as_string::<i32>();
    let one = std::slice::from_ref(&emails);
    let domain = |module| move || call(module, "email_domain", one);
    told("text, by columns, Rust", pair(|| domains(texts), domain(&of_rust)));
    told("text, by columns, C", pair(|| domains(texts), domain(&columns)));
    told("text, typed", pair(|| upper(texts), || call(&typed, "shout", one)));

    let few = numbers.slice(0, 1);
    let one = std::slice::from_ref(&few);
    let began = Instant::now();
    for _ in 0..10_000 {
        std::hint::black_box(call(&columns, "score", one));
    }
    println!("a call by columns of one row: {:.0} ns", began.elapsed().as_nanos() as f64 / 1e4);
    let dir = tempfile::tempdir().expect("a directory");
    let cached = || Host::new(Some(dir.path().to_owned())).expect("this machine runs it");
    Module::load(&cached(), &path("text.wasm"), options(None)).expect("it loads");
    let host = cached();
    let began = Instant::now();
    Module::load(&host, &path("text.wasm"), options(None)).expect("it loads");
    println!("text.wasm from the directory of compiled modules: {:.1?}", began.elapsed());
}
