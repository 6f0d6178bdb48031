//! The examples of each language give the same answers.
//!
//! The small modules are kept beside their sources, so that they need no tools. Where a language's
//! tools are found, its example is built as its README says, in a copy below `target`, and called
//! too. `MILLSTREAM_UDF_TOOLCHAINS=1` installs what can be installed there (npm, pip), and then
//! every language has to be built; `MILLSTREAM_UDF_TOOLCHAINS="c zig"` says so of these.
//! `MILLSTREAM_UDF_KEEP=1` puts what was built beside the sources.

mod answers;
mod arrays;
mod toolchains;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Once};
use std::time::{Duration, SystemTime};

use answers::number;
use arrays::Values;
use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use udfs::{Abi, Host, Limits, Module, Options};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Where the examples are built.
const COPY: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/udfs");

/// Compiled modules are kept: those of Python and JavaScript take ten seconds.
static HOST: LazyLock<Arc<Host>> =
    LazyLock::new(|| Host::new(Some(Path::new(COPY).join("compiled"))).unwrap());

/// How an example is built and called.
struct Language {
    /// Of its folder.
    name: &'static str,
    /// Whether its module is in the repository.
    is_kept: bool,
    /// That it has; what it has no values for is Python's and JavaScript's own affair.
    values: Values,
    limits: Limits,
}

const SMALL: Limits = Limits {
    memory_bytes: 16 << 20,
    time: Duration::from_secs(5),
    stack_bytes: Limits::STACK_BYTES,
    search: None,
    side_by_side: 1,
};
/// With an interpreter within.
const LARGE: Limits = Limits {
    memory_bytes: 256 << 20,
    time: Duration::from_secs(60),
    stack_bytes: Limits::STACK_BYTES,
    search: None,
    side_by_side: 1,
};

impl Language {
    fn folder(&self) -> PathBuf {
        Path::new(ROOT).join("examples/udfs").join(self.name)
    }

    fn load(&self, module: &Path) -> Module {
        let options = Options {
            name: self.name.to_owned(),
            limits: self.limits.clone(),
            config: Arc::new([("greeting".to_owned(), answers::GREETING.to_owned())].into()),
            ..<_>::default()
        };
        let module = Module::load(&HOST, module, options).unwrap();
        assert_eq!(module.info().abi, Abi::Columns);
        let http = udfs::http::INTERFACE;
        assert!(!module.info().imports.iter().any(|import| import == http), "it sends no requests");
        module
    }

    fn gives_the_answers(&self) {
        let built = self.built();
        if self.is_kept {
            let kept = self.folder().join("udf.wasm");
            if let Some(built) = built.as_ref().filter(|_| is_set("MILLSTREAM_UDF_KEEP")) {
                std::fs::write(&kept, std::fs::read(built).unwrap()).unwrap();
            }
            let length = std::fs::metadata(&kept).unwrap().len();
            assert!(length < 100_000, "{} is too long to be kept: {length}", kept.display());
            answers::of_all(&self.load(&kept), self.values);
        }
        if let Some(built) = built {
            answers::of_all(&self.load(&built), self.values);
            let typed = built.with_file_name("typed.wasm");
            if typed.exists() {
                let options = Options { limits: self.limits.clone(), ..Options::default() };
                let typed = Module::load(&HOST, &typed, options).unwrap();
                assert_eq!(typed.info().abi, Abi::Typed);
                answers::of_both(&typed);
            }
        }
    }

    /// The module as its README builds it, if there are the tools.
    fn built(&self) -> Option<PathBuf> {
        copy_sources();
        let folder = Path::new(COPY).join("examples/udfs").join(self.name);
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let mut blocks: Vec<&str> =
            readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        let build = blocks.pop().expect("the README says how it is built");
        let is_forced = toolchains::is_forced(self.name);
        if toolchains::find(self.name, &folder).is_err() && is_forced {
            for install in blocks {
                run(&folder, install).unwrap();
            }
        }
        if let Err(error) = toolchains::find(self.name, &folder) {
            assert!(!is_forced, "{}: there are no tools: {error}", self.name);
            let but = if self.is_kept { "only its kept module is called" } else { "it is skipped" };
            // Past the harness, which shows what a test prints only if it fails.
            let mut stderr = std::io::stderr();
            writeln!(stderr, "{}: {but}, its tools are not found", self.name).unwrap();
            return None;
        }
        let module = folder.join("udf.wasm");
        if modified(&module) < newest(&folder).max(newest(&Path::new(COPY).join("udfs"))) {
            run(&folder, build).unwrap();
        }
        Some(module)
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0")
}

fn run(folder: &Path, script: &str) -> Result<(), String> {
    // Paths of this machine are nobody's business.
    let flags = format!("--remap-path-prefix={COPY}=.");
    toolchains::succeed(toolchains::bash(folder, script).env("RUSTFLAGS", flags)).map(drop)
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When one of a folder's sources was changed last.
fn newest(folder: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let is_source = path.is_file() && !is_built(&name);
        if is_source {
            newest = newest.max(modified(&path));
        } else if path.is_dir() && !is_made(&name) {
            newest = newest.max(self::newest(&path));
        }
    }
    newest
}

/// Whether tools make a file of this name.
fn is_built(name: &str) -> bool {
    name.ends_with(".wasm") || name == "package-lock.json"
}

/// Whether tools make a folder of this name.
fn is_made(name: &str) -> bool {
    name.starts_with('.') || ["target", "node_modules", "__pycache__"].contains(&name)
}

/// Brings the copy of the examples and of what they use to the state of the sources. What has not
/// changed keeps its time.
fn copy_sources() {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let to = to.join(&name);
            if path.is_dir() {
                if !is_made(&name) {
                    copy(&path, &to);
                }
            } else if !is_built(&name) {
                let bytes = std::fs::read(&path).unwrap();
                if std::fs::read(&to).ok().as_ref() != Some(&bytes) {
                    std::fs::write(&to, bytes).unwrap();
                }
            }
        }
    }
    static COPIED: Once = Once::new();
    COPIED.call_once(|| {
        for folder in ["examples/udfs", "udfs/guests", "udfs/wit"] {
            copy(&Path::new(ROOT).join(folder), &Path::new(COPY).join(folder));
        }
    });
}

// --- a language after the other ---

#[test]
fn assemblyscript() {
    Language { name: "assemblyscript", is_kept: true, values: Values::Any, limits: SMALL }
        .gives_the_answers();
}

#[test]
fn c() {
    Language { name: "c", is_kept: true, values: Values::Any, limits: SMALL }.gives_the_answers();
}

#[test]
fn cpp() {
    Language { name: "cpp", is_kept: true, values: Values::Any, limits: SMALL }.gives_the_answers();
}

#[test]
fn go() {
    Language { name: "go", is_kept: false, values: Values::Any, limits: SMALL }.gives_the_answers();
}

/// As Go's modules are: asks for WASI before it can allocate, and for what the adapter has not; writes in pieces.
const LIKE_GO: &str = r#"(module
    (@custom "go:buildid" "1")
    (import "wasi_snapshot_preview1" "fd_write"
        (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "clock_time_get"
        (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 20000) "panic: \c3\a4\nit is at an end")
    ;; Two pieces, of 5 and 20 bytes.
    (data (i32.const 20100) "\20\4e\00\00\05\00\00\00\25\4e\00\00\14\00\00\00")
    (func (export "_initialize")
        (drop (call $time (i32.const 0) (i64.const 0) (i32.const 20200))))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "f") (param $n i64) (result i64)
        (if (i64.eqz (local.get $n)) (then
            (drop (call $write (i32.const 2) (i32.const 20100) (i32.const 2) (i32.const 20300)))
            (call $exit (i32.const 2))))
        ;; The time, what cannot be opened, and how many pages of memory there are.
        (i64.add
            (i64.mul (i64.load (i32.const 20200)) (i64.const 100))
            (i64.extend_i32_u (i32.add (i32.mul (memory.size) (i32.const 10))
                (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0)
                    (i32.const 0)))))))"#;

#[test]
fn modules_of_go_keep_their_memory_and_say_why_they_panic() {
    let wit = "package a:b; world w { export f: func(n: s64) -> s64; }";
    let options = Options { wit: Some(wit.to_owned()), ..Options::default() };
    let module = Module::new(&HOST, LIKE_GO.as_bytes(), options).unwrap();
    let call = |n: i64| {
        let given: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        module.evaluate(0, &[given], 1)
    };
    // 1 ns, 1 page, EBADF.
    assert_eq!(call(1).unwrap().as_primitive::<Int64Type>().values(), &[118]);
    let error = call(0).unwrap_err().to_string();
    assert_eq!(error, "f: it gave up (unreachable): panic: ä; it is at an end");
}

#[test]
fn javascript() {
    Language { name: "javascript", is_kept: false, values: Values::Plain, limits: LARGE }
        .gives_the_answers();
}

#[test]
fn python() {
    Language { name: "python", is_kept: false, values: Values::Plain, limits: LARGE }
        .gives_the_answers();
}

#[test]
fn rust() {
    Language { name: "rust", is_kept: true, values: Values::Any, limits: SMALL }
        .gives_the_answers();
}

#[test]
fn wat() {
    let path = Path::new(ROOT).join("examples/udfs/wat/udf.wat");
    let options = Options { name: "wat".to_owned(), limits: SMALL, ..<_>::default() };
    let module = Module::load(&HOST, &path, options).unwrap();
    assert_eq!(module.info().abi, Abi::Core);
    answers::scores(&module);
    let given: ArrayRef = Arc::new(Float64Array::from(vec![Some(-40.0), None, Some(100.0)]));
    let fahrenheit = module.evaluate(number(&module, "fahrenheit"), &[given], 3).unwrap();
    let expected = Float64Array::from(vec![Some(-40.0), None, Some(212.0)]);
    assert_eq!(fahrenheit.as_primitive::<Float64Type>(), &expected);
    let given: ArrayRef = Arc::new(Int64Array::from(vec![0, 255, -1]));
    let bits = module.evaluate(number(&module, "bits"), &[given], 3).unwrap();
    assert_eq!(bits.as_primitive::<Int64Type>().values(), &[0, 8, 64]);
}

#[test]
fn zig() {
    Language { name: "zig", is_kept: true, values: Values::Any, limits: SMALL }.gives_the_answers();
}

/// What the table in examples/udfs/README.md says.
#[test]
#[ignore = "measures; a person reads it"]
fn time_per_row() {
    const ROWS: usize = 8192;
    let numbers: ArrayRef = Arc::new((0..ROWS as i64).collect::<Int64Array>());
    let emails = (0..ROWS).map(|n| format!("somebody.{n}@example-{}.org", n % 97));
    let emails: ArrayRef = Arc::new(StringArray::from_iter_values(emails));
    let languages = ["assemblyscript", "c", "cpp", "go", "javascript", "python", "rust", "zig"];
    let columns = languages.map(|language| format!("{language}/udf.wasm"));
    let typed = ["javascript", "python"].map(|language| format!("{language}/typed.wasm"));
    for file in columns.iter().chain(&typed) {
        let path = Path::new(COPY).join("examples/udfs").join(file);
        let options = Options { name: file.to_owned(), limits: LARGE, ..<_>::default() };
        let Ok(module) = Module::load(&HOST, &path, options) else {
            println!("{file}: not built");
            continue;
        };
        let time = |name: &str, given: &ArrayRef| {
            let given = std::slice::from_ref(given);
            let fastest = (0..20).map(|_| {
                let begun = std::time::Instant::now();
                module.evaluate(number(&module, name), given, ROWS).unwrap();
                begun.elapsed().as_nanos() / ROWS as u128
            });
            fastest.min().unwrap()
        };
        let (score, domain) = (time("score", &numbers), time("email_domain", &emails));
        let info = module.info();
        println!(
            "{file}: score {score} ns, email_domain {domain} ns; {} bytes; imports {:?}",
            info.size, info.imports
        );
    }
}
