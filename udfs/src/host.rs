//! The engine that compiles and runs modules: one for a process.
//!
//! - Time is counted by epochs of [`TICK`]: a thread counts while calls are under way, and sleeps
//!   while there are none.
//! - Compiled modules are kept in a directory of our own by the content they were compiled from
//!   and by the engine's version and settings, so that a large module is compiled once. Of these
//!   files no more are kept than [`CACHE_FILES_MAX`], of no more than [`CACHE_BYTES_MAX`] together:
//!   those go first that were used least recently.

use std::collections::BTreeMap;
use std::fs::FileTimes;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use ring::digest::{Context, SHA256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Module};

use crate::guest_log::{Rate, SharedRate};
use crate::http::Fetch;
use crate::limits::Limits;

/// One epoch.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// What engines have unless something else is said, in bytes.
const ASYNC_STACK_BYTES: usize = 2 << 20;
/// Modules from this size on take seconds to compile: those of Python and JavaScript.
const LONG_BYTES: usize = 4 << 20;
/// The most compiled modules that are kept, and the bytes that they may have.
const CACHE_FILES_MAX: usize = 256;
const CACHE_BYTES_MAX: u64 = 1 << 30;
/// What the file of a compiled module ends with, and one that is not written yet.
const COMPILED: &str = "cwasm";
const UNFINISHED: &str = "unfinished";
/// Whoever wrote a file that is still unfinished after so long has been killed.
const UNFINISHED_MAX: Duration = Duration::from_secs(3600);
/// What the file of a compiled module begins with.
const MAGIC: &[u8; 8] = b"msudf\0\0\x01";

pub struct Host {
    engine: Engine,
    /// Where compiled modules are kept.
    cache: Option<PathBuf>,
    calls: Arc<Calls>,
    fetch: OnceLock<Arc<dyn Fetch>>,
    settings: Settings,
    /// What modules say, by their names.
    rates: Mutex<BTreeMap<String, SharedRate>>,
    /// The same with other stacks, which are an engine's, by their bytes.
    others: Mutex<BTreeMap<usize, Arc<Host>>>,
}

#[derive(Clone, Copy)]
struct Settings {
    has_time_limits: bool,
    stack_bytes: usize,
}

/// Calls under way, and the thread that counts epochs for them.
struct Calls {
    count: AtomicUsize,
    /// Whether the thread sleeps until there is one.
    is_parked: AtomicBool,
    ticker: Thread,
}

impl Host {
    /// An engine that keeps what it has compiled in `cache`, if that is given.
    ///
    /// # Errors
    ///
    /// Where the processor or the system lack something that compiled code needs.
    pub fn new(cache: Option<PathBuf>) -> Result<Arc<Host>, String> {
        let settings = Settings { has_time_limits: true, stack_bytes: Limits::STACK_BYTES };
        Host::with(cache, settings)
    }

    /// An engine of which nothing ends a call that takes too long, to measure what that costs.
    ///
    /// # Errors
    ///
    /// As [`Host::new`].
    #[doc(hidden)]
    pub fn without_time_limits() -> Result<Arc<Host>, String> {
        let settings = Settings { has_time_limits: false, stack_bytes: Limits::STACK_BYTES };
        Host::with(None, settings)
    }

    fn with(cache: Option<PathBuf>, settings: Settings) -> Result<Arc<Host>, String> {
        let mut config = Config::new();
        let Settings { has_time_limits, stack_bytes } = settings;
        config.epoch_interruption(has_time_limits).max_wasm_stack(stack_bytes);
        // Nobody has one; but it may not be less.
        config.async_stack_size(stack_bytes.max(ASYNC_STACK_BYTES));
        // Calls of components are three times as fast without it, and no guest awaits anything.
        config.concurrency_support(false);
        let engine = Engine::new(&config).map_err(|error| format!("{error:#}"))?;
        let calls = Arc::new_cyclic(|calls| {
            let ticker = spawn_ticker(engine.clone(), calls.clone());
            Calls { count: AtomicUsize::new(0), is_parked: AtomicBool::new(true), ticker }
        });
        let (fetch, rates, others) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Ok(Arc::new(Host { engine, cache, calls, fetch, settings, rates, others }))
    }

    /// How much the module of a name says, by all its instances.
    pub(crate) fn rate(&self, module: &str) -> SharedRate {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.entry(module.to_owned()).or_insert_with(|| Rate::new(module)).clone()
    }

    /// The same for guests whose calls may take so much of the stack.
    pub(crate) fn with_stack(self: &Arc<Host>, stack_bytes: usize) -> Result<Arc<Host>, String> {
        if stack_bytes == self.settings.stack_bytes {
            return Ok(self.clone());
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = others.get(&stack_bytes) {
            return Ok(host.clone());
        }
        let host = Host::with(self.cache.clone(), Settings { stack_bytes, ..self.settings })?;
        if let Some(fetch) = self.fetch() {
            host.fetch_by(fetch);
        }
        others.insert(stack_bytes, host.clone());
        Ok(host)
    }

    /// Lets guests to whom that is granted send requests by this. Only the first one counts.
    pub fn fetch_by(&self, fetch: Arc<dyn Fetch>) {
        let _ = self.fetch.set(fetch);
    }

    pub(crate) fn fetch(&self) -> Option<Arc<dyn Fetch>> {
        self.fetch.get().cloned()
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Lets epochs pass while it is there.
    pub(crate) fn call(&self) -> Call<'_> {
        self.calls.count.fetch_add(1, Ordering::SeqCst);
        if self.calls.is_parked.swap(false, Ordering::SeqCst) {
            self.calls.ticker.unpark();
        }
        Call(&self.calls)
    }

    /// Compiles a core module, or takes it as it was compiled before.
    pub(crate) fn module(&self, wasm: &[u8]) -> wasmtime::Result<Module> {
        if let Some(compiled) = self.cached(wasm) {
            // SAFETY: we wrote these bytes ourselves; see `cached`.
            if let Ok(module) = unsafe { Module::deserialize(&self.engine, compiled) } {
                return Ok(module);
            }
        }
        self.tell_of_long(wasm);
        let module = Module::from_binary(&self.engine, wasm)?;
        if let Ok(compiled) = module.serialize() {
            self.keep(wasm, &compiled);
        }
        Ok(module)
    }

    /// Compiles a component, or takes it as it was compiled before.
    pub(crate) fn component(&self, wasm: &[u8]) -> wasmtime::Result<Component> {
        if let Some(compiled) = self.cached(wasm) {
            // SAFETY: we wrote these bytes ourselves; see `cached`.
            if let Ok(component) = unsafe { Component::deserialize(&self.engine, compiled) } {
                return Ok(component);
            }
        }
        self.tell_of_long(wasm);
        let component = Component::from_binary(&self.engine, wasm)?;
        if let Ok(compiled) = component.serialize() {
            self.keep(wasm, &compiled);
        }
        Ok(component)
    }

    /// Whoever waits for a module of a whole language is told what for.
    fn tell_of_long(&self, wasm: &[u8]) {
        if wasm.len() >= LONG_BYTES {
            let megabytes = wasm.len() >> 20;
            let kept = if self.cache.is_some() { "; it is kept for the next time" } else { "" };
            tracing::info!("compiles a module of {megabytes} MiB, which takes a while{kept}");
        }
    }

    /// What was compiled from these bytes by an engine like this one: a file of ours alone, that is
    /// whole. Compiled code runs unchecked, so that a file that others can write is none.
    fn cached(&self, wasm: &[u8]) -> Option<Vec<u8>> {
        let path = self.cache_path(self.cache.as_ref()?, wasm);
        if !is_ours_alone(&path) {
            return None;
        }
        let file = std::fs::read(&path).ok()?;
        let rest = file.strip_prefix(MAGIC)?;
        let (digest, compiled) = rest.split_at_checked(SHA256.output_len())?;
        // It was used: others go before it.
        let now = FileTimes::new().set_accessed(SystemTime::now());
        let _ = std::fs::File::open(&path).and_then(|file| file.set_times(now));
        (digest == ring::digest::digest(&SHA256, compiled).as_ref()).then(|| compiled.to_vec())
    }

    /// A cache that cannot be written costs time alone, and a line in the log.
    fn keep(&self, wasm: &[u8], compiled: &[u8]) {
        let Some(directory) = &self.cache else { return };
        let path = self.cache_path(directory, wasm);
        if let Err(error) = write(directory, &path, compiled) {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled module");
        }
        prune(directory, CACHE_FILES_MAX, CACHE_BYTES_MAX);
    }

    fn cache_path(&self, directory: &Path, wasm: &[u8]) -> PathBuf {
        let mut context = Context::new(&SHA256);
        let mut hasher = Hasher(&mut context);
        std::hash::Hash::hash(&self.engine.precompile_compatibility_hash(), &mut hasher);
        context.update(wasm);
        directory.join(format!("{}.{COMPILED}", hex(context.finish().as_ref())))
    }
}

/// One call under way.
pub(crate) struct Call<'a>(&'a Calls);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Counts epochs until the host is gone.
fn spawn_ticker(engine: Engine, calls: Weak<Calls>) -> Thread {
    let ticking = std::thread::Builder::new().name("udf-epochs".to_owned()).spawn(move || {
        // The host is being made.
        std::thread::park();
        let mut last = Instant::now();
        while let Some(calls) = calls.upgrade() {
            calls.is_parked.store(true, Ordering::SeqCst);
            let is_idle = calls.count.load(Ordering::SeqCst) == 0;
            if !is_idle {
                calls.is_parked.store(false, Ordering::SeqCst);
            }
            drop(calls);
            match is_idle {
                true => std::thread::park(),
                false => std::thread::park_timeout(TICK.saturating_sub(last.elapsed())),
            }
            if last.elapsed() >= TICK {
                engine.increment_epoch();
                last = Instant::now();
            }
        }
    });
    ticking.expect("a thread can be started").thread().clone()
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.ticker.unpark();
    }
}

/// Takes what a hash is made of.
struct Hasher<'a>(&'a mut Context);

impl std::hash::Hasher for Hasher<'_> {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

/// The SHA-256 of a module's bytes, as hexadecimal digits.
pub fn content_hash(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(unix)]
fn is_ours_alone(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return false };
    // SAFETY: it takes nothing and cannot fail.
    let ours = unsafe { libc::geteuid() };
    found.is_file() && found.uid() == ours && found.mode() & 0o022 == 0
}

#[cfg(not(unix))]
fn is_ours_alone(path: &Path) -> bool {
    path.is_file()
}

fn write(directory: &Path, path: &Path, compiled: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let unfinished = path.with_extension(format!("{}.{UNFINISHED}", std::process::id()));
    let mut file = options.open(&unfinished)?;
    file.write_all(MAGIC)?;
    file.write_all(ring::digest::digest(&SHA256, compiled).as_ref())?;
    file.write_all(compiled)?;
    file.sync_all()?;
    std::fs::rename(unfinished, path)
}

/// Deletes the compiled modules that were used least recently, beyond what is kept, and what those
/// have left who were killed while they wrote. What cannot be deleted stays.
fn prune(directory: &Path, files_max: usize, bytes_max: u64) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut compiled = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(about) = entry.metadata() else { continue };
        let Ok(used) = about.accessed().or_else(|_| about.modified()) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some(COMPILED) => compiled.push((used, about.len(), path)),
            Some(UNFINISHED) if used.elapsed().is_ok_and(|since| since > UNFINISHED_MAX) => {
                let _ = std::fs::remove_file(path);
            }
            _ => {}
        }
    }
    compiled.sort_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    for (at, (_, size, path)) in compiled.into_iter().enumerate() {
        bytes += size;
        // The newest is the one that is needed now.
        if at > 0 && (at >= files_max || bytes > bytes_max) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_modules_that_were_not_used_for_long_are_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let file = |name: &str, bytes: usize, age_s: u64| {
            std::fs::write(directory.join(name), vec![0; bytes]).unwrap();
            let file = std::fs::File::options().write(true).open(directory.join(name)).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age_s);
            file.set_times(FileTimes::new().set_accessed(then)).unwrap();
        };
        let left = || {
            let names = std::fs::read_dir(directory).unwrap().flatten();
            let mut names: Vec<String> =
                names.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        };
        file("a.cwasm", 10, 50);
        file("b.cwasm", 10, 10);
        file("c.cwasm", 10, 30);
        file("d.1.unfinished", 10, 7200);
        file("e.2.unfinished", 10, 60);
        file("notes.txt", 10, 9000);
        prune(directory, 3, 30);
        assert_eq!(left(), "a.cwasm b.cwasm c.cwasm e.2.unfinished notes.txt");
        prune(directory, 3, 29);
        assert_eq!(left(), "b.cwasm c.cwasm e.2.unfinished notes.txt");
        file("f.cwasm", 1000, 0);
        prune(directory, 2, 2000);
        assert_eq!(left(), "b.cwasm e.2.unfinished f.cwasm notes.txt");
        prune(directory, 2, 20);
        assert_eq!(left(), "e.2.unfinished f.cwasm notes.txt");
    }

    /// A module that is used again and again stays, however old it is.
    #[test]
    fn a_compiled_module_that_is_used_is_young() {
        const ADD: &str = "(module (func (export \"add\") (param i64) (result i64) local.get 0))";
        let directory = tempfile::tempdir().unwrap();
        let wasm = wat::parse_str(ADD).unwrap();
        let host = || Host::new(Some(directory.path().to_owned())).unwrap();
        host().module(&wasm).unwrap();
        let path = host().cache_path(directory.path(), &wasm);
        let long_ago = SystemTime::now() - Duration::from_secs(100_000);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
        host().module(&wasm).unwrap();
        assert!(path.metadata().unwrap().accessed().unwrap() > long_ago);
    }
}
